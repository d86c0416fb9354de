import { describe, expect, it } from 'vitest';
import type { EngineAnswer } from '../../src/model/adaptive-facts.ts';
import type { EngineRule } from '../../src/risk/factor.ts';
import { riskEngine } from '../../src/risk/risk-engine.ts';
import { contextOf } from '../rules/contexts.ts';
import { factorScopeOf, reportedOf, verdictOf } from './factors.ts';

const high: EngineRule = { id: 'high', name: 'high', item: 'Risk', operator: 'GREATER_THAN', value: 65 };
const failed: EngineRule = {
  id: 'failed',
  name: 'failed',
  item: 'serviceStatus',
  operator: 'EQUALS',
  value: 'FAILURE',
};
const notWell: EngineRule = {
  id: 'notWell',
  name: 'notWell',
  item: 'serviceStatus',
  operator: 'NOT_EQUALS',
  value: 'SUCCESS',
};
const other: EngineRule = { id: 'other', name: 'other', item: 'Risk', operator: 'IN', value: [1, 2.5] };
const idle: EngineRule = { id: 'idle', name: 'idle', item: 'serviceStatus', operator: 'EQUALS', value: 'FAILURE' };
const engines = [
  { id: 'e1', name: 'First', enabled: true, rules: [high, failed, notWell] },
  { id: 'e2', name: 'Second', enabled: true, rules: [other] },
  { id: 'e3', name: 'Third', enabled: false, rules: [idle] },
];

const score = (riskScore: number, mismatch = false): EngineAnswer => ({ state: 'answered', riskScore, mismatch });
const timeOut: EngineAnswer = { state: 'failure', why: 'time-out' };

const withStatus = { high: 35, failed: 20 };
const scoreOnly = { high: 35 };

describe('the answers of risk engines', () => {
  it.each([
    ['66.5: 35', withStatus, 10, { e1: score(66.5) }, 'RISK'],
    ['65: 0', withStatus, 10, { e1: score(65) }, 'NO_RISK'],
    ['time-out: 20', withStatus, 10, { e1: timeOut }, 'RISK'],
    ['time-out: 20 at its limit', withStatus, 20, { e1: timeOut }, 'NO_RISK'],
    ['time-out, other operator', { high: 35, notWell: 20 }, 10, { e1: timeOut }, 'RISK'],
    ['time-out without a rule on the status', scoreOnly, 10, { e1: timeOut }, 'UNKNOWN, RISK'],
    ['never asked', scoreOnly, 10, {}, 'UNKNOWN, RISK'],
    ['about somebody else', scoreOnly, 10, { e1: score(3, true) }, 'RISK'],
    ['about somebody else: all its rules', withStatus, 54, { e1: score(3, true) }, 'RISK'],
    ['one fails, the other is enough', { high: 35, other: 15 }, 10, { e1: timeOut, e2: score(2.5) }, 'RISK'],
    ['one fails, the other is not', { high: 35, other: 15 }, 20, { e1: timeOut, e2: score(2.5) }, 'UNKNOWN, RISK'],
    ['one of a list', { other: 15 }, 10, { e2: score(2.5) }, 'RISK'],
    ['not of the list', { other: 15 }, 10, { e2: score(2) }, 'NO_RISK'],
  ])('%s', (_, points, riskLimit, answers, verdict) => {
    const written = {
      name: 'engines',
      riskLimit,
      transactionRuleRisks: Object.entries(points).map(([transactionRuleId, riskPoint]) => ({
        transactionRuleId,
        riskPoint,
      })),
    };
    const facts = contextOf({ engines: new Map(Object.entries<EngineAnswer>(answers)) });
    expect(verdictOf(riskEngine, written, facts, { engines })).toBe(verdict);
  });

  it('a disabled engine is not asked, its rules do not trigger, and it is warned of', () => {
    const written = {
      name: 'engines',
      transactionRuleRisks: [
        { transactionRuleId: 'idle', riskPoint: 50 },
        { transactionRuleId: 'high', riskPoint: 50 },
      ],
    };
    expect(reportedOf(riskEngine, written, { engines })).toEqual(['engine_disabled (warning)']);
    const context = riskEngine.shape.parse({ riskPoint: 10, ...written });
    const scope = factorScopeOf({ engines });
    expect(riskEngine.needs(context, scope)).toEqual([{ fact: 'risk_engine', engine: 'e1' }]);
    const facts = contextOf({
      engines: new Map([
        ['e1', score(1)],
        ['e3', { state: 'disabled' }],
      ]),
    });
    expect(riskEngine.compile(context, scope)(facts)).toBe('NO_RISK');
  });

  it.each([
    [{ name: 'x', transactionRuleRisks: [] }, ['value_empty']],
    [{ name: 'x', transactionRuleRisks: [{ transactionRuleId: 'nowhere', riskPoint: 5 }] }, ['engine_rule_unknown']],
  ])('%j: %j', (written, codes) => {
    expect(reportedOf(riskEngine, written, { engines })).toEqual(codes);
  });
});
