import type { EngineAnswer } from '../model/adaptive-facts.ts';
import { at, fault, warning } from '../model/fault.ts';
import { exactObject, integer, quoted, text } from '../shared/shape.ts';
import type { ShapeOutput } from '../shared/shape.ts';
import { contextKeys } from './context-keys.ts';
import type { EngineRule, FactorScope, FactorType } from './factor.ts';
import { numericComparison } from './operators.ts';
import { ruleRisks } from './rule-risks.ts';

const shape = exactObject({
  ...contextKeys,
  name: text().describe('Name of the context.'),
  riskLimit: integer(0, 1000).optional().describe('Points up to which it is no risk. Default 0.'),
  transactionRuleRisks: ruleRisks().describe('Rules of risk_engines, with their points.'),
});

type RiskEngineContext = ShapeOutput<typeof shape>;

/** Whether the answers of external risk engines trigger rules whose points exceed a limit. Source: Entrust's
 *  riskEngineContexts and its Generic API. */
export const riskEngine: FactorType<RiskEngineContext> = {
  name: 'riskEngine',
  property: 'riskEngineContexts',
  isList: true,
  description: 'At risk where the points of the risk engine rules that trigger exceed the limit.',
  shape,
  needs: (context, scope) => enginesOf(context, scope).map(({ id }) => ({ fact: 'risk_engine' as const, engine: id })),
  link(context, place, scope, report) {
    const warned = new Set<string>();
    for (const [index, { transactionRuleId }] of context.transactionRuleRisks.entries()) {
      const here = at(place, 'transactionRuleRisks', index, 'transactionRuleId');
      const found = scope.engineRule(transactionRuleId);
      if (!found) {
        const near = scope.nearest('engine_rule', transactionRuleId);
        report(
          fault(
            here,
            'engine_rule_unknown',
            `no rule of a risk engine has the id or name ${quoted(transactionRuleId)}`,
            near === undefined ? 'declare it under risk_engines: … rules:' : `did you mean ${quoted(near)}?`,
          ),
        );
      } else if (!found.engine.enabled && !warned.has(found.engine.id)) {
        warned.add(found.engine.id);
        report(
          warning(
            here,
            'engine_disabled',
            `the risk engine ${quoted(found.engine.name)} is disabled, so that its rules do not trigger`,
            'enable it, or remove its rules here',
          ),
        );
      }
    }
  },
  compile(context, scope) {
    const limit = context.riskLimit ?? 0;
    const parts = enginesOf(context, scope).map((engine) => enginePart(engine.id, context, scope));
    return ({ engines }) => {
      let accumulated = 0;
      let isUnknown = false;
      for (const part of parts) {
        const answer = engines.get(part.engine) ?? NOT_ASKED;
        if (answer.state === 'failure' && !part.readsStatus) isUnknown = true;
        for (const rule of part.rules) if (rule.triggers(answer)) accumulated += rule.riskPoint;
      }
      if (accumulated > limit) return 'RISK';
      return isUnknown ? 'UNKNOWN' : 'NO_RISK';
    };
  },
  unknownCounts: () => 'RISK',
  seen: ({ engines }) =>
    engines.size === 0
      ? 'no answers'
      : [...engines]
          .map(([id, answer]) =>
            answer.state === 'answered' ? `${id}: ${answer.riskScore}` : `${id}: ${answer.state}`,
          )
          .join(', '),
};

const NOT_ASKED: EngineAnswer = Object.freeze({ state: 'failure', why: 'not asked' });

/** The enabled engines that the context's rules belong to, each once. */
function enginesOf(context: RiskEngineContext, scope: FactorScope): readonly { readonly id: string }[] {
  const engines = new Map<string, { readonly id: string }>();
  for (const { transactionRuleId } of context.transactionRuleRisks) {
    const found = scope.engineRule(transactionRuleId);
    if (found?.engine.enabled === true) engines.set(found.engine.id, found.engine);
  }
  return [...engines.values()];
}

interface EnginePart {
  readonly engine: string;
  /** The context has a rule on the engine's status: a failure is then no unknown, but what that rule looks for. */
  readonly readsStatus: boolean;
  readonly rules: readonly { readonly riskPoint: number; readonly triggers: (answer: EngineAnswer) => boolean }[];
}

function enginePart(engine: string, context: RiskEngineContext, scope: FactorScope): EnginePart {
  const rules = context.transactionRuleRisks.flatMap(({ transactionRuleId, riskPoint }) => {
    const found = scope.engineRule(transactionRuleId);
    return found?.engine.id === engine ? [{ rule: found.rule, riskPoint }] : [];
  });
  return {
    engine,
    readsStatus: rules.some(({ rule }) => rule.item === 'serviceStatus'),
    rules: rules.map(({ rule, riskPoint }) => ({ riskPoint, triggers: compileEngineRule(rule) })),
  };
}

/** An answer about somebody else triggers every rule. */
function compileEngineRule(rule: EngineRule): (answer: EngineAnswer) => boolean {
  const values = [rule.value].flat();
  if (rule.item === 'serviceStatus') {
    const isEqual = rule.operator === 'EQUALS';
    const triggersOn = (status: string): boolean => values.includes(status) === isEqual;
    const onSuccess = triggersOn('SUCCESS');
    const onFailure = triggersOn('FAILURE');
    return (answer) => {
      if (answer.state === 'answered') return answer.mismatch || onSuccess;
      return answer.state === 'failure' && onFailure;
    };
  }
  const isHeld = numericComparison(rule.operator, values.map(Number));
  return (answer) => answer.state === 'answered' && (answer.mismatch || isHeld(answer.riskScore));
}
