import type { TransactionDetail } from '../model/adaptive-facts.ts';
import type { EvaluationContext } from '../model/context.ts';
import { at, fault } from '../model/fault.ts';
import { exactObject, integer, quoted, text } from '../shared/shape.ts';
import type { ShapeOutput } from '../shared/shape.ts';
import { contextKeys } from './context-keys.ts';
import type { FactorScope, FactorType, TransactionRule } from './factor.ts';
import { numericComparison } from './operators.ts';
import { ruleRisks } from './rule-risks.ts';

const shape = exactObject({
  ...contextKeys,
  name: text().describe('Name of the context.'),
  riskLimit: integer(0, 1000).optional().describe('Points up to which it is no risk. Default 0.'),
  transactionRuleRisks: ruleRisks().describe('Rules of transaction_rules, with their points.'),
});

type TransactionContext = ShapeOutput<typeof shape>;

/** Whether the details of the transaction trigger rules whose points exceed a limit. Source: Entrust's
 *  TransactionContext. */
export const transaction: FactorType<TransactionContext> = {
  name: 'transaction',
  property: 'transactionContexts',
  isList: true,
  description: 'At risk where the points of the transaction rules that trigger exceed the limit.',
  shape,
  needs: () => [{ fact: 'transaction' }],
  link(context, place, scope, report) {
    for (const [index, { transactionRuleId }] of context.transactionRuleRisks.entries()) {
      if (scope.transactionRule(transactionRuleId)) continue;
      const near = scope.nearest('transaction_rule', transactionRuleId);
      report(
        fault(
          at(place, 'transactionRuleRisks', index, 'transactionRuleId'),
          'transaction_rule_unknown',
          `no transaction rule has the id or name ${quoted(transactionRuleId)}`,
          near === undefined ? 'declare it under transaction_rules:' : `did you mean ${quoted(near)}?`,
        ),
      );
    }
  },
  compile(context, scope) {
    const limit = context.riskLimit ?? 0;
    const visible = visibleDetails(scope);
    const rules = context.transactionRuleRisks.flatMap(({ transactionRuleId, riskPoint }) => {
      const rule = scope.transactionRule(transactionRuleId);
      if (!rule) return [];
      return [
        {
          item: rule.item,
          riskPoint,
          triggers: compileTransactionRule(rule),
          // Leaving every detail out must not help.
          triggersOnNothing: rule.required && scope.transactionDetails.has(rule.item),
        },
      ];
    });
    return ({ transaction: details }) => {
      const isEvaluated = isAnyDetail(details, visible);
      let accumulated = 0;
      for (const rule of rules) {
        const detail = visible.has(rule.item) ? details.get(rule.item) : undefined;
        if (isEvaluated ? rule.triggers(detail) : rule.triggersOnNothing) accumulated += rule.riskPoint;
      }
      return accumulated > limit ? 'RISK' : 'NO_RISK';
    };
  },
  unknownCounts: () => 'RISK',
  seen: ({ transaction: details }: EvaluationContext) =>
    details.size === 0
      ? 'no details'
      : [...details].map(([name, detail]) => `${name} ${detail.state === 'text' ? 'given' : detail.state}`).join(', '),
};

/** Whether a rule triggers on a detail; undefined and `absent` are alike. What cannot be read triggers. */
export function compileTransactionRule(rule: TransactionRule): (detail: TransactionDetail | undefined) => boolean {
  const compare = rule.type === 'Numeric' ? numericRule(rule) : stringRule(rule);
  const absent = rule.required || compare(rule.default ?? (rule.type === 'Numeric' ? '0' : ''));
  return (detail) => {
    if (detail === undefined || detail.state === 'absent') return absent;
    return detail.state === 'unknown' || compare(detail.value);
  };
}

function visibleDetails({ transactionDetails }: FactorScope): ReadonlySet<string> {
  return new Set([...transactionDetails].filter(([, { usage }]) => usage.includes('RBA')).map(([name]) => name));
}

function isAnyDetail(details: ReadonlyMap<string, TransactionDetail>, visible: ReadonlySet<string>): boolean {
  for (const name of visible) {
    const detail = details.get(name);
    if (detail !== undefined && detail.state !== 'absent') return true;
  }
  return false;
}

/** Whole numbers of any size; a detail that is none triggers. */
function numericRule({ operator, value }: TransactionRule): (found: string) => boolean {
  // A value that is no whole number is not loaded; should one be, the rule always triggers.
  const written = [value].flat();
  const values = written.every((one) => /^-?[0-9]+$/.test(one)) ? written.map(BigInt) : [];
  const isHeld = numericComparison(operator, values);
  return (found) => !/^-?[0-9]{1,40}$/.test(found) || isHeld(BigInt(found));
}

function stringRule({ operator, value }: TransactionRule): (found: string) => boolean {
  const values = new Set([value].flat());
  const [wanted = ''] = values;
  switch (operator) {
    case 'EQUALS':
      return (found) => found === wanted;
    case 'NOT_EQUALS':
      return (found) => found !== wanted;
    case 'CONTAINS':
      return (found) => found.includes(wanted);
    case 'STARTS_WITH':
      return (found) => found.startsWith(wanted);
    case 'ENDS_WITH':
      return (found) => found.endsWith(wanted);
    case 'IN':
      return (found) => values.has(found);
    default:
      // No such operator is loaded.
      return () => true;
  }
}
