/** What is read and judged already, but whose facts nobody gathers yet. A file that asks for it is refused: judged
 *  without its facts, a transaction above its limit would pass for none at all. */
import { fault } from '../model/fault.ts';
import type { Report } from '../model/fault.ts';
import { rulesOf } from './lookups.ts';
import { isReference } from './objects.ts';
import type { PolicySet, RuleSetObject } from './objects.ts';

/** Names of risk factors, and the words of rules, without facts. */
const FACTORS: ReadonlySet<string> = new Set(['riskEngine']);
const RULES: ReadonlySet<string> = new Set(['external_evaluation']);

/** Reports `context_unsupported` and `rule_unsupported`. */
export function reportUnsupported(set: PolicySet, report: Report): void {
  for (const rule of set.resourceRules) {
    for (const { type, place } of rule.factors) {
      if (!FACTORS.has(type)) continue;
      report(
        fault(
          place,
          'context_unsupported',
          `the risk factor ${type} is not supported yet`,
          'remove it; all other contexts work',
        ),
      );
    }
  }
  const inline = set.applications.flatMap(({ policies }) => policies.filter((policy) => !isReference(policy)));
  const sets: readonly RuleSetObject[] = [
    ...set.groups,
    ...set.policies,
    ...inline.filter((policy) => 'include' in policy),
  ];
  for (const rules of sets) {
    for (const { word, place } of rulesOf(rules)) {
      if (RULES.has(word))
        report(fault(place, 'rule_unsupported', `the rule type ${word} is not supported yet`, 'remove it'));
    }
  }
}
