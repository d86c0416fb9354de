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

/** The levels that a rule can reach with these factors, in ascending order. */
export function reachableLevels(
  points: readonly number[],
  method: 'sum' | 'percent',
  lowBelow: number,
  mediumBelow: number,
): readonly RiskLevel[] {
  if (points.length === 0) return ['LOW'];
  const reached = new Set<RiskLevel>();
  const all = points.reduce((sum, point) => sum + point, 0);
  for (const sum of sumsOf(points)) reached.add(levelOf(scoreOf(method, sum, all), true, lowBelow, mediumBelow));
  return (['LOW', 'MEDIUM', 'HIGH'] as const).filter((level) => reached.has(level));
}

/** Every sum that some of the points can make. There are at most 100 × the number of points + 1 of them. */
function sumsOf(points: readonly number[]): ReadonlySet<number> {
  let sums: ReadonlySet<number> = new Set([0]);
  for (const point of points) sums = new Set([...sums].flatMap((sum) => [sum, sum + point]));
  return sums;
}
