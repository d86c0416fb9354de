import type { EngineDecision } from '../policy/engine.ts';
import type { Case, Expectation } from './shape.ts';
import { decideStated } from './stated.ts';
import type { StatedAgainst, StatedDecision } from './stated.ts';

/** One thing that came out otherwise than a case expects. */
export interface Difference {
  /** The key of `expect`. */
  readonly key: keyof Expectation;
  readonly expected: string;
  /** "none" where there is nothing. */
  readonly found: string;
}

/** One case that was run. */
export interface CaseResult extends StatedDecision {
  readonly case: Case;
  /** Empty: it passed. */
  readonly differences: readonly Difference[];
}

/** Runs one case. A promise only where a token of its headers has to be verified.
 *  @param nowMs When it is run, for cases without a time. */
export function runCase(one: Case, against: StatedAgainst, nowMs: number): CaseResult | Promise<CaseResult> {
  const decided = decideStated(one, against, nowMs);
  const result = (made: StatedDecision): CaseResult => ({
    ...made,
    case: one,
    differences: differencesOf(one.expect, made.decision),
  });
  return decided instanceof Promise ? decided.then(result) : result(decided);
}

const NONE = 'none';

/** What a decision has otherwise than was expected. Objects may be expected by name or by id. */
export function differencesOf(expected: Expectation, decision: EngineDecision): readonly Difference[] {
  const differences: Difference[] = [];
  const compare = (
    key: keyof Expectation,
    wanted: string | undefined,
    ...found: readonly (string | undefined)[]
  ): void => {
    if (wanted === undefined || found.includes(wanted)) return;
    if (wanted === NONE && found.every((one) => one === undefined || one === '')) return;
    differences.push({ key, expected: wanted, found: found.find((one) => one !== undefined && one !== '') ?? NONE });
  };
  const { application, policy, resourceRule, challenge } = decision;
  compare('outcome', expected.outcome, decision.outcome);
  compare('reason', expected.reason, decision.reason);
  compare('application', expected.application, application?.name, application?.id);
  compare('policy', expected.policy, policy?.name, policy?.id);
  compare('resource_rule', expected.resource_rule, resourceRule?.name, resourceRule?.id);
  compare('risk_level', expected.risk_level, decision.riskLevel);
  compare('risk_score', textOf(expected.risk_score), textOf(decision.riskScore));
  compare('acr_values', acrText(expected.acr_values), challenge && acrText(challenge.acrValues));
  compare('max_age', textOf(expected.max_age), textOf(challenge?.maxAgeSeconds));
  return differences;
}

function textOf(value: number | undefined): string | undefined {
  return value === undefined ? undefined : String(value);
}

/** As a challenge has them: in order, with blanks between. */
function acrText(values: string | readonly string[] | undefined): string | undefined {
  return values === undefined || typeof values === 'string' ? values : values.join(' ');
}
