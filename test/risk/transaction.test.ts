import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { TransactionDetail } from '../../src/model/adaptive-facts.ts';
import type { TransactionRule } from '../../src/risk/factor.ts';
import { compileTransactionRule, transaction } from '../../src/risk/transaction.ts';
import { contextOf } from '../rules/contexts.ts';
import { reportedOf, verdictOf } from './factors.ts';

const text = (value: string): TransactionDetail => ({ state: 'text', value });
const twice: TransactionDetail = { state: 'unknown', why: 'sent twice' };
const absent: TransactionDetail = { state: 'absent' };

function rule(part: Partial<TransactionRule> & Pick<TransactionRule, 'item' | 'operator' | 'value'>): TransactionRule {
  return { id: part.item, name: part.item, type: 'Numeric', required: false, default: undefined, ...part };
}

const total = rule({ item: 'total', operator: 'GREATER_THAN', value: '250' });
const currency = rule({ item: 'currency', type: 'String', operator: 'NOT_EQUALS', value: 'EUR', default: 'EUR' });
const both = [
  { transactionRuleId: 'total', riskPoint: 25 },
  { transactionRuleId: 'currency', riskPoint: 15 },
];
const seen = { total: ['RBA', 'TVS'], currency: ['RBA', 'TVS'] } as const;

describe('points of the rules that trigger against the limit', () => {
  it.each([
    ['251 EUR: 25', 24, { total: text('251'), currency: text('EUR') }, 'RISK'],
    ['251 EUR: 25', 25, { total: text('251'), currency: text('EUR') }, 'NO_RISK'],
    ['980 SEK: 40', 39, { total: text('980'), currency: text('SEK') }, 'RISK'],
    ['980 SEK: 40', 40, { total: text('980'), currency: text('SEK') }, 'NO_RISK'],
    ['nothing at all is not evaluated', 0, { total: absent, currency: absent }, 'NO_RISK'],
    ['not even told', 0, {}, 'NO_RISK'],
    ['only EUR: the total is 0', 0, { total: absent, currency: text('EUR') }, 'NO_RISK'],
    ['"12.5" EUR: unreadable triggers', 0, { total: text('12.5'), currency: text('EUR') }, 'RISK'],
    ['given twice triggers', 24, { total: twice, currency: absent }, 'RISK'],
  ])('%s, limit %i', (_, riskLimit, details, verdict) => {
    const facts = contextOf({ transaction: new Map(Object.entries<TransactionDetail>(details)) });
    const parts = { transactionRules: [total, currency], transactionDetails: seen };
    const written = { name: 'payment', riskLimit, transactionRuleRisks: both };
    expect(verdictOf(transaction, written, facts, parts)).toBe(verdict);
  });

  it.each([
    ['the total required, nothing sent: 25', { ...total, required: true }, seen, 20, {}, 'RISK'],
    ['the same at its points', { ...total, required: true }, seen, 25, {}, 'NO_RISK'],
    [
      'required, but the application does not declare it',
      { ...total, required: true },
      { currency: ['RBA'] },
      20,
      {},
      'NO_RISK',
    ],
    [
      'required and not sent, beside another detail',
      { ...total, required: true },
      seen,
      20,
      { currency: text('EUR') },
      'RISK',
    ],
    [
      'total for verification only: risk does not see it',
      total,
      { ...seen, total: ['TVS'] },
      0,
      { total: text('980'), currency: text('EUR') },
      'NO_RISK',
    ],
    [
      'for verification only, and nothing else',
      total,
      { ...seen, total: ['TVS'] },
      0,
      { total: text('980') },
      'NO_RISK',
    ],
  ] as const)('%s', (_, first, transactionDetails, riskLimit, details, verdict) => {
    const facts = contextOf({ transaction: new Map(Object.entries<TransactionDetail>(details)) });
    const parts = { transactionRules: [first, currency], transactionDetails };
    const written = { name: 'payment', riskLimit, transactionRuleRisks: both };
    expect(verdictOf(transaction, written, facts, parts)).toBe(verdict);
  });
});

describe('a rule on one detail', () => {
  const least = rule({ item: 'total', operator: 'GREATER_THAN_OR_EQUAL', value: '640' });
  const iban = rule({ item: 'iban', type: 'String', operator: 'STARTS_WITH', value: 'PT50' });
  const kind = rule({ item: 'kind', type: 'String', operator: 'IN', value: ['gift', 'loan'], required: true });
  const large = rule({ item: 'total', operator: 'EQUALS', value: '123456789012345678901234567890' });
  it.each([
    [least, text('640'), true],
    [least, text('00639'), false],
    [least, absent, false],
    [least, undefined, false],
    [least, text('6e3'), true],
    [least, text(''), true],
    [least, text('+640'), true],
    [least, text(' 1'), true],
    [least, text('-999999'), false],
    [least, text('1'.repeat(41)), true],
    [least, twice, true],
    [iban, text('PT50 0002'), true],
    [iban, text('pt50 0002'), false],
    [iban, absent, false],
    [kind, text('loan'), true],
    [kind, text('rent'), false],
    [kind, absent, true],
    [large, text('123456789012345678901234567890'), true],
    [large, text('123456789012345678901234567891'), false],
    [rule({ item: 'n', operator: 'LESS_THAN', value: '5', default: '3' }), absent, true],
    [rule({ item: 'n', operator: 'NOT_EQUALS', value: '5' }), text('05'), false],
    [rule({ item: 'n', operator: 'IN', value: ['1', '2'] }), text('02'), true],
    [rule({ item: 's', type: 'String', operator: 'CONTAINS', value: 'b' }), text('abc'), true],
    [rule({ item: 's', type: 'String', operator: 'ENDS_WITH', value: 'bc' }), text('abc'), true],
    [rule({ item: 's', type: 'String', operator: 'EQUALS', value: 'abc' }), text('ABC'), false],
    [rule({ item: 's', type: 'String', operator: 'NOT_EQUALS', value: 'abc' }), absent, true],
  ])('%j, %j: %s', (written, detail, triggers) => {
    expect(compileTransactionRule(written)(detail)).toBe(triggers);
  });

  it('numbers of any size compare as numbers do', () => {
    const operators: [string, (a: bigint, b: bigint) => boolean][] = [
      ['EQUALS', (a, b) => a === b],
      ['NOT_EQUALS', (a, b) => a !== b],
      ['LESS_THAN', (a, b) => a < b],
      ['LESS_THAN_OR_EQUAL', (a, b) => a <= b],
      ['GREATER_THAN', (a, b) => a > b],
      ['GREATER_THAN_OR_EQUAL', (a, b) => a >= b],
    ];
    const number = fc.oneof(fc.bigInt({ min: -3n, max: 3n }), fc.bigInt({ min: -(10n ** 39n), max: 10n ** 39n }));
    fc.assert(
      fc.property(number, number, fc.constantFrom(...operators), (a, b, [operator, holds]) => {
        const judge = compileTransactionRule(rule({ item: 'n', operator, value: String(b) }));
        expect(judge(text(String(a)))).toBe(holds(a, b));
      }),
    );
  });
});

describe('what is reported', () => {
  it.each([
    [{ transactionRuleRisks: both }, ['key_missing']],
    [{ name: 'payment' }, ['key_missing']],
    [{ name: 'payment', transactionRuleRisks: [] }, ['value_empty']],
    [
      { name: 'payment', transactionRuleRisks: [{ transactionRuleId: 'nowhere', riskPoint: 1 }] },
      ['transaction_rule_unknown'],
    ],
    [{ name: 'payment', transactionRuleRisks: [{ transactionRuleId: 'total', riskPoint: 101 }] }, ['value_range']],
    [{ name: 'payment', transactionRuleRisks: both, riskLimit: 1001 }, ['value_range']],
  ])('%j: %j', (written, codes) => {
    expect(reportedOf(transaction, written, { transactionRules: [total, currency] })).toEqual(codes);
  });
});
