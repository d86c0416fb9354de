import { also, exactObject, integer, listOf, text } from '../shared/shape.ts';
import type { Shape } from '../shared/shape.ts';

/** A rule with the points it adds when it triggers. */
export interface RuleRisk {
  /** Id or name. */
  readonly transactionRuleId: string;
  /** 0–100. */
  readonly riskPoint: number;
}

/** The shape of `transactionRuleRisks`: one entry or more. */
export function ruleRisks(): Shape<RuleRisk[]> {
  return also(
    listOf(
      exactObject({
        transactionRuleId: text().describe('The rule, by id or name.'),
        riskPoint: integer(0, 100).describe('Points that it adds when it triggers, 0 to 100.'),
      }),
    ),
    (rules) =>
      rules.length > 0
        ? []
        : [{ code: 'value_empty', text: 'expected at least one rule, found none', mend: 'add a rule with its points' }],
  );
}
