/** Details of a transaction, from the bytes that Envoy sends to what the rules make of them. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import * as fc from 'fast-check';
import { readRequest } from '../../src/envoy/request.ts';
import { valueAt } from '../../src/facts/json-pointer.ts';
import { createKeySets } from '../../src/facts/key-set.ts';
import { createTransactionReader } from '../../src/facts/transaction.ts';
import type { TransactionSource } from '../../src/policy/objects.ts';
import { encodeRequest } from '../envoy/official.ts';
import { PLACE } from '../rules/contexts.ts';
import { IDENTITY, ORDERS, annToken, wholeCheck } from './whole-check.ts';
import type { Whole } from './whole-check.ts';

const JSON_TYPE = { 'content-type': 'application/json' };

/** `text: …`, `absent` or `unknown`. */
function detail(source: TransactionSource, http: Readonly<Record<string, unknown>>): string {
  const request = readRequest(
    encodeRequest({
      attributes: { request: { http: { method: 'POST', host: 'orders.example.com', path: '/', ...http } } },
    }),
  );
  if (!('method' in request)) throw new Error(request.why);
  const read = createTransactionReader([{ name: 'amount', source, usage: ['RBA', 'TVS'], place: PLACE }]);
  const found = read(request).get('amount');
  return found?.state === 'text' ? `text: ${found.value}` : (found?.state ?? 'not gathered');
}

const raw = (...entries: readonly (readonly [string, string | Buffer])[]) => ({
  header_map: { headers: entries.map(([key, value]) => ({ key, raw_value: Buffer.from(value as string) })) },
});

describe('in a header', () => {
  it.each<[string, Readonly<Record<string, unknown>>, string]>([
    ['as sent', { headers: { 'x-amount': '640' } }, 'text: 640'],
    ['nothing between', { headers: { 'x-amount': '' } }, 'text: '],
    ['not sent', {}, 'absent'],
    ['another one', { headers: { 'x-amounts': '640' } }, 'absent'],
    ['sent twice, joined', { headers: { 'x-amount': '1,640' } }, 'unknown'],
    ['sent twice, apart', raw(['x-amount', '1'], ['x-amount', '640']), 'unknown'],
    ['sent once, apart', raw(['x-amount', '640'], ['x-other', '1']), 'text: 640'],
    ['the same twice', raw(['x-amount', '640'], ['X-Amount', '640']), 'unknown'],
    ['bytes beyond ASCII', raw(['x-amount', Buffer.from([0x36, 0xff])]), 'unknown'],
  ])('%s', (_, http, expected) => {
    expect(detail({ header: 'x-amount' }, http)).toBe(expected);
  });
});

describe('in the query', () => {
  it.each([
    ['/?amount=640', 'text: 640'],
    ['/?a=1&amount=640&b=2', 'text: 640'],
    ['/', 'absent'],
    ['/?', 'absent'],
    ['/?amounts=640', 'absent'],
    ['/?Amount=640', 'absent'],
    ['/?amount=', 'text: '],
    ['/?amount', 'text: '],
    ['/?amount=a%20b+c', 'text: a b c'],
    ['/?amount=1%2B1', 'text: 1+1'],
    ['/?amount=%E2%82%AC', 'text: €'],
    ['/?%61mount=640', 'text: 640'],
    ['/?amount=1&amount=640', 'unknown'],
    ['/?amount=1&%61mount=640', 'unknown'],
    ['/?amount=640&amount=640', 'unknown'],
    ['/?amount=%zz', 'unknown'],
    ['/?amount=%', 'unknown'],
    ['/?amount=%ff', 'unknown'],
    ['/?amount=%c0%ae', 'unknown'],
    ['/?other=%zz&amount=640', 'text: 640'],
    ['/?%zz=1&amount=640', 'unknown'],
    ['/?a=1;amount=640', 'unknown'],
    ['/?amount=640;b=1', 'unknown'],
    ['/?amount=1&x=2;amount=640', 'unknown'],
    ['/?amount=640&x=2;y', 'text: 640'],
    ['/?amount=1=2', 'text: 1=2'],
  ])('%s: %s', (path, expected) => {
    expect(detail({ query: 'amount' }, { path })).toBe(expected);
  });
});

it('reads what a form says, of every query that has the parameter once', () => {
  const word = fc.string({ unit: 'binary', maxLength: 6 });
  fc.assert(
    fc.property(fc.array(fc.tuple(word, word), { maxLength: 5 }), word, fc.nat(4), (others, value, place) => {
      const pairs = others.filter(([name]) => name !== 'amount');
      pairs.splice(place, 0, ['amount', value]);
      const path = `/?${new URLSearchParams(pairs).toString()}`;
      const expected = value.includes('\uFFFD') ? 'unknown' : `text: ${value}`;
      fc.pre(!others.some(([name]) => name.includes('\uFFFD')));
      expect(detail({ query: 'amount' }, { path })).toBe(expected);
      expect(detail({ query: 'amount' }, { path: `${path}&amount=` })).toBe('unknown');
    }),
  );
});

describe('in the body', () => {
  const body = (text: string, headers: object = JSON_TYPE) => ({ raw_body: Buffer.from(text), headers });
  const amount = (written: string) => body(`{ "payment": { "amount": ${written}, "more": [1, {}] } }`);
  it.each<[string, Readonly<Record<string, unknown>>, string]>([
    ['a text', amount('"640"'), 'text: 640'],
    ['escapes', amount('"\\u0036\\n\\"40"'), 'text: 6\n"40'],
    ['true', amount('true'), 'text: true'],
    ['false', amount('false'), 'text: false'],
    ['null', amount('null'), 'absent'],
    ['a number', amount('640'), 'text: 640'],
    ['a negative one', amount('-640'), 'text: -640'],
    ['nought, whatever its sign', amount('-0'), 'text: 0'],
    ['the same number written otherwise', amount('64.0e1'), 'text: 640'],
    ['and with zeros', amount('640.00'), 'text: 640'],
    ['the greatest safe integer', amount('9007199254740991'), 'text: 9007199254740991'],
    ['one beyond', amount('9007199254740992'), 'unknown'],
    ['digits without end', amount('9'.repeat(5_000)), 'unknown'],
    ['zeros without end', amount('1e400'), 'unknown'],
    ['nought, however great', amount('0e999'), 'text: 0'],
    ['a fraction', amount('12.5'), 'unknown'],
    ['a fraction that a double would lose', amount('640.00000000000000000001'), 'unknown'],
    ['a small fraction', amount('1e-400'), 'unknown'],
    ['an object', amount('{ "value": 640 }'), 'unknown'],
    ['an array', amount('[640]'), 'unknown'],
    ['no such member', body('{ "payment": {} }'), 'absent'],
    ['no such way', body('{ "payment": 1 }'), 'absent'],
    ['way through null', body('{ "payment": null }'), 'absent'],
    ['another document', body('[]'), 'absent'],
    ['twice', body('{ "payment": { "amount": 1, "amount": 640 } }'), 'unknown'],
    ['twice, once escaped', body('{ "payment": { "amount": 1, "\\u0061mount": 640 } }'), 'unknown'],
    ['twice on the way', body('{ "payment": { "amount": 1 }, "payment": {} }'), 'unknown'],
    ['twice elsewhere', body('{ "x": 1, "x": 2, "payment": { "amount": 640, "y": { "z": 1, "z": 2 } } }'), 'text: 640'],
    ['twice below', body('{ "payment": { "amount": 640 , "__proto__": 1} }'), 'text: 640'],
    ['brackets in texts', body('{ "a": "}{][\\"", "payment": { "b": "\\\\", "amount": 640 } }'), 'text: 640'],
    ['no JSON', body('{ "payment": { "amount": 640 }'), 'unknown'],
    ['something after it', body('{ "payment": { "amount": 640 } } {}'), 'unknown'],
    ['a comment', body('{ /* */ "payment": { "amount": 640 } }'), 'unknown'],
    ['another type', body('{"payment":{"amount":640}}', { 'content-type': 'text/plain' }), 'unknown'],
    ['no type', body('{"payment":{"amount":640}}', {}), 'unknown'],
    [
      'two types',
      body('{"payment":{"amount":640}}', { 'content-type': 'application/json,application/json' }),
      'unknown',
    ],
    [
      'a +json type',
      body('{"payment":{"amount":640}}', { 'content-type': 'Application/vnd.pay+JSON ; v=1' }),
      'text: 640',
    ],
    [
      'UTF-8 said',
      body('{"payment":{"amount":640}}', { 'content-type': 'application/json; charset="UTF-8"' }),
      'text: 640',
    ],
    [
      'another charset',
      body('{"payment":{"amount":640}}', { 'content-type': 'application/json; charset=utf-7' }),
      'unknown',
    ],
    ['compressed', body('{"payment":{"amount":640}}', { ...JSON_TYPE, 'content-encoding': 'gzip' }), 'unknown'],
    ['bytes that are no UTF-8', { raw_body: Buffer.from([0x22, 0xff, 0x22]), headers: JSON_TYPE }, 'unknown'],
    ['partial', body('{"payment":{"amount":640}}', { ...JSON_TYPE, 'x-envoy-auth-partial-body': 'true' }), 'unknown'],
    ['whole', body('{"payment":{"amount":640}}', { ...JSON_TYPE, 'x-envoy-auth-partial-body': 'false' }), 'text: 640'],
    ['less than announced', body('{"payment":{"amount":640}}', { ...JSON_TYPE, 'content-length': '27' }), 'unknown'],
    ['as much as announced', body('{"payment":{"amount":640}}', { ...JSON_TYPE, 'content-length': '26' }), 'text: 640'],
    ['in `body` instead of `raw_body`', { body: '{"payment":{"amount":640}}', headers: JSON_TYPE }, 'text: 640'],
    ['none', { headers: JSON_TYPE }, 'absent'],
    ['none, and said so', { headers: { ...JSON_TYPE, 'content-length': '0' } }, 'absent'],
    ['announced and not there', { headers: { ...JSON_TYPE, 'content-length': '26' } }, 'unknown'],
    ['announced beyond reading', { headers: { ...JSON_TYPE, 'content-length': '1,26' } }, 'unknown'],
    ['chunked and not there', { headers: { ...JSON_TYPE, 'transfer-encoding': 'chunked' } }, 'unknown'],
  ])('%s', (_, http, expected) => {
    expect(detail({ body: '/payment/amount' }, http)).toBe(expected);
  });

  it.each([
    ['/a~1b/~0', '{ "a/b": { "~": "x" } }', 'text: x'],
    ['/list/1', '{ "list": [{ "a": [1, 2] }, "x", 3] }', 'text: x'],
    ['/list/3', '{ "list": [1, 2, 3] }', 'absent'],
    ['/list/01', '{ "list": [1, 2, 3] }', 'absent'],
    ['/list/-', '{ "list": [1] }', 'absent'],
    ['/', '{ "": "x" }', 'text: x'],
    ['/__proto__', '{}', 'absent'],
    ['/constructor', '{}', 'absent'],
  ])('pointer %s into %s', (pointer, text, expected) => {
    expect(detail({ body: pointer }, body(text))).toBe(expected);
  });

  it('says what parsing says, of every JSON that has its members once', () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 5 }), fc.integer({ min: 0, max: 4 }), fc.nat(), fc.nat(), (json, space, a, b) => {
        const text = JSON.stringify(JSON.parse(json), undefined, space);
        let expected: unknown = JSON.parse(text);
        const tokens: string[] = [];
        for (const number of [a, b]) {
          if (expected === null || typeof expected !== 'object') break;
          const keys = Object.keys(expected);
          const key = keys[number % Math.max(1, keys.length)];
          if (key === undefined) break;
          tokens.push(key);
          expected = (expected as Record<string, unknown>)[key];
        }
        const found = valueAt(text, tokens);
        expect(found.state === 'found' ? JSON.parse(found.source) : found).toEqual(expected);
      }),
      { numRuns: 500 },
    );
  });

  it('a number is the whole number that it is, however it is written, or unknown', () => {
    fc.assert(
      fc.property(
        fc.bigInt({ min: -(10n ** 18n), max: 10n ** 18n }),
        fc.integer({ min: -20, max: 20 }),
        fc.integer({ min: 0, max: 20 }),
        (digits, exponent, point) => {
          const sign = digits < 0n ? '-' : '';
          const written = String(digits < 0n ? -digits : digits).padStart(point + 1, '0');
          const fraction = written.slice(written.length - point);
          const number = `${sign}${BigInt(written.slice(0, written.length - point))}${fraction === '' || point === 0 ? '' : `.${fraction}`}e${exponent}`;
          const scale = exponent - point;
          const isWhole = scale >= 0 || digits % 10n ** BigInt(-scale) === 0n;
          const whole = scale >= 0 ? digits * 10n ** BigInt(scale) : digits / 10n ** BigInt(-scale);
          const isSafe = isWhole && whole <= 9007199254740991n && whole >= -9007199254740991n;
          expect(detail({ body: '/payment/amount' }, amount(number))).toBe(isSafe ? `text: ${whole}` : 'unknown');
        },
      ),
    );
  });

  it('nested a hundred thousand deep: no overflow', () => {
    const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;
    expect(detail({ body: '/amount' }, body(`{ "deep": ${deep}, "amount": 640 }`))).toBe('text: 640');
  });
});

const id = (number: number): string => `11111111-0000-4000-8000-00000000000${number}`;

/** One rule per application, with 50 points, which denies at a limit of 0. */
const RULES = {
  least: 'item: total, type: Numeric, operator: GREATER_THAN_OR_EQUAL, value: 640',
  iban: 'item: iban, type: String, operator: STARTS_WITH, value: PT50',
  kind: 'item: kind, type: String, operator: IN, value: [gift, loan], required: true',
  exact: 'item: exact, type: Numeric, operator: EQUALS, value: "123456789012345678901234567890"',
} as const;

const over = 'item: amount, type: Numeric, operator: GREATER_THAN, value: 250';
const currency = 'item: currency, type: String, operator: NOT_EQUALS, value: EUR, default: EUR';

interface Guarded {
  readonly transaction: string;
  readonly rules: readonly string[];
  readonly limit?: number;
}

/** The points of the rules are 25, 15 in this order. */
async function guarded({ transaction, rules, limit = 0 }: Guarded): Promise<Whole> {
  return wholeCheck(
    {
      'postern.yaml': IDENTITY,
      'policies/all.yaml': `
applications: [{ id: ${ORDERS}, name: Orders, destinations: [orders.example.com], transaction: ${transaction}, policies: [{ name: A, decision: allow, include: [{ email_domain: { domain: example.com } }] }] }]
transaction_rules: [${rules.map((rule, index) => `{ id: ${id(index)}, name: r${index}, ${rule} }`).join(', ')}]
resource_rules: [{ id: 0c3c0000-0000-4000-8000-000000000001, name: R, resourceId: ${ORDERS}, groups: [{ name: All Groups }], transactionContexts: [{ name: t, riskPoint: 100, riskLimit: ${limit}, transactionRuleRisks: [${rules.map((_, index) => `{ transactionRuleId: r${index}, riskPoint: ${[25, 15][index]} }`).join(', ')}] }], lowRiskAuthenticationFlow: { name: Password }, mediumRiskAuthenticationFlow: { name: Password }, highRiskAuthenticationFlow: { name: Password and Second Factor } }]
`,
    },
    { keySets: createKeySets() },
  );
}

describe('rules on details, through gathering and deciding', () => {
  const sent = (written: string) => ({ raw_body: Buffer.from(written), headers: JSON_TYPE });
  it.each<[keyof typeof RULES, string, Readonly<Record<string, unknown>>, string]>([
    ['least', '{ query: total }', { path: '/?total=640' }, 'step_up'],
    ['least', '{ query: total }', { path: '/?total=00639' }, 'allow'],
    ['least', '{ query: total }', { path: '/' }, 'allow'],
    ['least', '{ query: total }', { path: '/?total=6e3' }, 'step_up'],
    ['least', '{ query: total }', { path: '/?total=1&total=1' }, 'step_up'],
    ['least', '{ body: /total }', sent('{"total":640}'), 'step_up'],
    ['least', '{ body: /total }', sent('{"total":639}'), 'allow'],
    ['least', '{ body: /total }', sent('{"total":6e3}'), 'step_up'],
    ['iban', '{ header: x-iban }', { headers: { 'x-iban': 'PT50 0002' } }, 'step_up'],
    ['iban', '{ header: x-iban }', { headers: { 'x-iban': 'pt50 0002' } }, 'allow'],
    ['iban', '{ header: x-iban }', {}, 'allow'],
    ['kind', '{ query: kind }', { path: '/?kind=loan' }, 'step_up'],
    ['kind', '{ query: kind }', { path: '/?kind=rent' }, 'allow'],
    ['kind', '{ query: kind }', { path: '/' }, 'step_up'],
    ['exact', '{ body: /n }', sent('{"n":"123456789012345678901234567890"}'), 'step_up'],
    ['exact', '{ body: /n }', sent('{"n":"123456789012345678901234567891"}'), 'allow'],
    ['exact', '{ body: /n }', sent('{"n":123456789012345678901234567891}'), 'step_up'],
  ])('%s, %s, %j: %s', async (rule, source, http, outcome) => {
    const whole = await guarded({
      transaction: `{ ${/item: (\w+)/.exec(RULES[rule])?.[1]}: ${source} }`,
      rules: [RULES[rule]],
    });
    try {
      expect(await whole.ask(http)).toMatchObject({ outcome });
    } finally {
      whole.close();
    }
  });

  const both = '{ amount: { query: amount }, currency: { query: currency } }';
  it.each<[string, Guarded, string, string]>([
    ['251 EUR: 25', { transaction: both, rules: [over, currency], limit: 24 }, '/?amount=251&currency=EUR', 'step_up'],
    ['251 EUR: 25', { transaction: both, rules: [over, currency], limit: 25 }, '/?amount=251&currency=EUR', 'allow'],
    ['980 SEK: 40', { transaction: both, rules: [over, currency], limit: 39 }, '/?amount=980&currency=SEK', 'step_up'],
    ['980 SEK: 40', { transaction: both, rules: [over, currency], limit: 40 }, '/?amount=980&currency=SEK', 'allow'],
    ['nothing: not evaluated', { transaction: both, rules: [over, currency] }, '/', 'allow'],
    ['only EUR', { transaction: both, rules: [over, currency] }, '/?currency=EUR', 'allow'],
    ['"12.5" EUR', { transaction: both, rules: [over, currency] }, '/?amount=12.5&currency=EUR', 'step_up'],
    [
      'required, nothing sent: 25',
      { transaction: both, rules: [`${over}, required: true`, currency], limit: 20 },
      '/',
      'step_up',
    ],
    [
      'for verification only: risk does not see it',
      { transaction: both.replace('query: amount', 'query: amount, usage: [TVS]'), rules: [over, currency] },
      '/?amount=980&currency=EUR',
      'allow',
    ],
  ])('%s, limit of %j', async (_, parts, path, outcome) => {
    const whole = await guarded(parts);
    try {
      expect(await whole.ask({ path })).toMatchObject({ outcome });
    } finally {
      whole.close();
    }
  });
});

describe('gathering', () => {
  let whole: Whole;
  beforeAll(async () => {
    whole = await guarded({ transaction: '{ amount: { header: x-amount } }', rules: [over] });
  });
  afterAll(() => whole.close());

  it('waits for nothing once the token is known', async () => {
    const headers = { authorization: `Bearer ${annToken({ iat: 1, exp: 32_503_680_000 })}`, 'x-amount': '1' };
    await whole.ask({ headers });
    expect(whole.answer({ headers })).toEqual({ atOnce: true });
  });
});
