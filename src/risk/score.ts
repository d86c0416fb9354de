import type { RiskLevel } from '../model/decision.ts';

/** The score of a rule, unrounded: the points of its factors at risk, or (`percent`) their share of all its points. */
export function scoreOf(method: 'sum' | 'percent', pointsAtRisk: number, pointsInAll: number): number {
  if (method === 'sum') return pointsAtRisk;
  return pointsInAll === 0 ? 0 : (100 * pointsAtRisk) / pointsInAll;
}

/** The level of a score. A rule without factors is always LOW, whatever the thresholds. Source: `lowRiskThreshold` and
 *  `mediumRiskThreshold` of Entrust's ResourceRule. */
export function levelOf(score: number, hasFactors: boolean, lowBelow: number, mediumBelow: number): RiskLevel {
  if (!hasFactors || score < lowBelow) return 'LOW';
  return score < mediumBelow ? 'MEDIUM' : 'HIGH';
}

/** A score as it is shown: at most two decimals. */
export function shownScore(score: number): number {
  return Math.round(score * 100) / 100;
}
