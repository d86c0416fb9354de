/** Risk engines against a real server, from the files of a configuration to the answer of a check. */
import type { ServerResponse } from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createKeySets } from '../../src/facts/key-set.ts';
import { createOutbound } from '../../src/facts/outbound.ts';
import type { EngineSurroundings } from '../../src/facts/risk-engine.ts';
import { sendAnswer, startEngineServer } from './engine-server.ts';
import type { EngineCall, EngineServer } from './engine-server.ts';
import { IDENTITY, ORDERS, annToken, wholeCheck } from './whole-check.ts';
import type { Whole } from './whole-check.ts';

const PASSWORD = 'correct horse';

let server: EngineServer;
let whole: Whole | undefined;
let engines: EngineSurroundings;
let failures: string[];
let cache: string[];
let aheadMs: number;

beforeEach(async () => {
  server = await startEngineServer();
  failures = [];
  cache = [];
  aheadMs = 0;
  engines = {
    outbound: createOutbound({ guarded: true }),
    nowMs: () => Date.now() + aheadMs,
    onCacheRequest: (result) => cache.push(result),
    onFailed: (engine, why) => failures.push(`${engine}: ${why}`),
  };
});

afterEach(async () => {
  whole?.close();
  whole = undefined;
  await server.close();
});

interface Parts {
  /** Further members of the engine. */
  readonly engine?: string;
  /** Points of the rules `high` (a score above 65) and `down` (it failed); absent: the rule is not used. */
  readonly points?: { readonly high?: number; readonly down?: number };
  readonly limit?: number;
  readonly onUnknown?: string;
  readonly timeoutMs?: number;
  /** How many resource rules ask it. */
  readonly rules?: number;
  readonly settings?: string;
  readonly transaction?: string;
}

const id = (kind: number, number: number): string => `${kind}0000000-0000-4000-8000-00000000000${number}`;

function filesOf({
  engine = '',
  points = { high: 35, down: 20 },
  limit = 10,
  onUnknown,
  timeoutMs = 2_000,
  rules = 1,
  settings = '',
  transaction = '{}',
}: Parts = {}): Record<string, string> {
  const used = Object.entries(points).map(
    ([rule, riskPoint]) => `{ transactionRuleId: ${rule}, riskPoint: ${riskPoint} }`,
  );
  const ruleOf = (index: number): string =>
    `{ id: ${id(1, index)}, name: R${index}, resourceId: ${ORDERS}, groups: [{ name: All Groups }], riskEngineContexts: [{ name: e, riskPoint: 100, riskLimit: ${limit}, transactionRuleRisks: [${used.join(', ')}]${onUnknown === undefined ? '' : `, onUnknown: ${onUnknown}`} }], lowRiskAuthenticationFlow: { name: Password }, mediumRiskAuthenticationFlow: { name: Password }, highRiskAuthenticationFlow: { name: Password and Second Factor } }`;
  return {
    'postern.yaml': `${IDENTITY}${settings}`,
    'keys/engine.password': `${PASSWORD}\n`,
    'policies/all.yaml': `
applications: [{ id: ${ORDERS}, name: Orders, destinations: [orders.example.com], transaction: ${transaction}, policies: [{ name: A, decision: allow, include: [{ email_domain: { domain: example.com } }] }] }]
resource_rules: [${Array.from({ length: rules }, (_, index) => ruleOf(index)).join(', ')}]
risk_engines: [{ id: ${id(2, 1)}, name: Engine, url: "${server.url}", company_id: acme, risk_provider: generic, identifier: postern, timeout_ms: ${timeoutMs}${engine}, rules: [{ id: ${id(3, 1)}, name: high, item: Risk, operator: GREATER_THAN, value: 65 }, { id: ${id(3, 2)}, name: down, item: serviceStatus, operator: EQUALS, value: FAILURE }] }]
`,
  };
}

async function load(parts: Parts = {}): Promise<Whole> {
  whole = await wholeCheck(filesOf(parts), { keySets: createKeySets(), engines });
  return whole;
}

const outcomeOf = async (loaded: Whole, http: Readonly<Record<string, unknown>> = {}): Promise<string> =>
  String((await loaded.ask(http))['outcome']);

const scoring =
  (riskScore: unknown, more: object = {}) =>
  (_: EngineCall, response: ServerResponse): void =>
    sendAnswer(response, { riskScore, ...more });

describe('the score decides', () => {
  it.each([
    [66.5, 'step_up'],
    [65, 'allow'],
    [-3, 'allow'],
    [1e9, 'step_up'],
  ])('%s: %s', async (score, outcome) => {
    server.riskscore(scoring(score));
    expect(await outcomeOf(await load())).toBe(outcome);
    expect(failures).toEqual([]);
  });

  it('of a failing engine: 20 points, more than 10 and no more than 20', async () => {
    server.riskscore((_, response) => response.writeHead(500).end());
    expect(await outcomeOf(await load({ limit: 10 }))).toBe('step_up');
    whole?.close();
    aheadMs = 2_000;
    expect(await outcomeOf(await load({ limit: 20 }))).toBe('allow');
  });

  it('of a failing engine without a rule on its status is unknown: a risk, or 503 where that is said', async () => {
    server.riskscore((_, response) => response.writeHead(500).end());
    expect(await outcomeOf(await load({ points: { high: 35 } }))).toBe('step_up');
    whole?.close();
    aheadMs = 2_000;
    const loaded = await load({ points: { high: 35 }, onUnknown: 'UNAVAILABLE' });
    expect(await loaded.ask({})).toMatchObject({ outcome: 'unavailable', reason: 'fact_unavailable' });
  });

  it.each<[string, string, unknown, string]>([
    ['another user, checked', ', fail_on_user_mismatch: true', 'eve', 'step_up'],
    ['his e-mail in other letters, checked', ', fail_on_user_mismatch: true', 'ANN@Example.com', 'allow'],
    ['his subject, checked', ', fail_on_user_mismatch: true', 'user-1', 'allow'],
    ['his subject in other letters, checked', ', fail_on_user_mismatch: true', 'USER-1', 'step_up'],
    ['nobody, checked', ', fail_on_user_mismatch: true', undefined, 'allow'],
    ['null, checked', ', fail_on_user_mismatch: true', null, 'allow'],
    ['something that is no text, checked', ', fail_on_user_mismatch: true', 7, 'step_up'],
    ['another user, not checked', '', 'eve', 'allow'],
  ])('for %s', async (_, engine, userId, outcome) => {
    server.riskscore(scoring(3, { userId, companyId: 'other' }));
    expect(await outcomeOf(await load({ engine, points: { high: 35 } }))).toBe(outcome);
    expect(server.of('riskscore')[0]?.body['IDaaS_UserAliases']).toEqual(
      engine === '' ? undefined : ['ann@example.com', 'user-1'],
    );
  });
});

describe('what is said', () => {
  it('first to get a token, then to use it as it came', async () => {
    server.authenticate((_, response) => sendAnswer(response, { token: 'Bearer as it came', more: 1 }));
    await (await load({ engine: ', password_file: keys/engine.password' })).ask({});
    expect(server.calls.map(({ method, path }) => `${method} ${path}`)).toEqual([
      'POST /engine/v1/authenticate',
      'POST /engine/v1/riskscore',
    ]);
    const [first, second] = server.calls;
    expect(first?.headers['content-type']).toBe('application/json');
    expect(first?.headers.authorization).toBeUndefined();
    expect(first?.body).toEqual({
      companyId: 'acme',
      riskProvider: 'generic',
      identifier: 'postern',
      password: PASSWORD,
    });
    expect(second?.headers.authorization).toBe('Bearer as it came');
    expect(second?.body).toEqual({
      companyId: 'acme',
      riskProvider: 'generic',
      IDaaS_AccountId: '',
      IDaaS_UserId: 'ann@example.com',
      IDaaS_UserUuid: 'user-1',
      IDaaS_ClientIpAddress: '203.0.113.7',
    });
  });

  it('no password without a file, the first account, and a subject where there is no e-mail', async () => {
    const loaded = await load({ settings: 'admin: { accounts: [023e105f4ecef8ad9ca31a8372d0c353] }\n' });
    const claims = { email: undefined, groups: [] };
    await loaded.ask({ headers: { authorization: `Bearer ${annToken(claims)}` } });
    // Without an e-mail the policy does not let him in, but the engine is asked all the same.
    expect(server.calls[0]?.body).toEqual({ companyId: 'acme', riskProvider: 'generic', identifier: 'postern' });
    expect(server.calls[1]?.body).toMatchObject({
      IDaaS_AccountId: '023e105f4ecef8ad9ca31a8372d0c353',
      IDaaS_UserId: 'user-1',
      IDaaS_UserUuid: 'user-1',
    });
  });

  const TRANSACTION =
    '{ amount: { body: /amount }, kind: { query: kind }, secret: { header: x-secret, usage: [TVS] }, note: { header: x-note } }';
  const pay = (amount: string, more: object = {}) => ({
    path: '/?kind=gift',
    raw_body: Buffer.from(`{"amount":${amount}}`),
    headers: { 'content-type': 'application/json', 'x-secret': 's', ...more },
  });

  it('every detail that risk may see, under its name', async () => {
    const loaded = await load({ transaction: TRANSACTION });
    await loaded.ask(pay('640'));
    const { amount, kind, secret, note } = server.of('riskscore')[0]?.body ?? {};
    expect({ amount, kind, secret, note }).toEqual({ amount: '640', kind: 'gift', secret: undefined, note: undefined });
  });

  it('nothing where a detail cannot be told: the engine would find the request better than it is', async () => {
    const loaded = await load({ transaction: TRANSACTION });
    expect(await outcomeOf(loaded, pay('640.5'))).toBe('step_up');
    expect(server.calls).toEqual([]);
    expect(failures).toEqual(['Engine: a detail of the transaction cannot be told']);
    expect(await outcomeOf(loaded, pay('640', { 'x-secret': 'a,b' }))).toBe('allow');
  });

  it('nothing by a disabled engine, or about nobody', async () => {
    const disabled = await load({ engine: ', enabled: false' });
    expect(await outcomeOf(disabled)).toBe('allow');
    whole?.close();
    expect(await outcomeOf(await load(), { headers: { authorization: '' } })).toBe('unauthenticated');
    expect(server.calls).toEqual([]);
  });
});

describe('the token', () => {
  const noCache = ', cache_seconds: 0';

  it('is used again until its time is over', async () => {
    const loaded = await load({ engine: `${noCache}, token_seconds: 60` });
    for (let i = 0; i < 3; i += 1) await loaded.ask({});
    aheadMs = 59_000;
    await loaded.ask({});
    expect(server.of('authenticate')).toHaveLength(1);
    aheadMs = 60_001;
    await loaded.ask({});
    expect(server.of('authenticate')).toHaveLength(2);
    expect(server.of('riskscore').map(({ headers }) => headers.authorization)).toEqual([
      ...Array<string>(4).fill('token-1'),
      'token-2',
    ]);
  });

  it('is replaced once after a 401, within the same question', async () => {
    const loaded = await load({ engine: noCache });
    await loaded.ask({});
    server.riskscore(({ headers }, response) => {
      if (headers.authorization === 'token-1') response.writeHead(401).end();
      else sendAnswer(response, { riskScore: 3 });
    });
    expect(await outcomeOf(loaded)).toBe('allow');
    expect(await outcomeOf(loaded)).toBe('allow');
    expect(failures).toEqual([]);
    expect(server.of('authenticate')).toHaveLength(2);
    expect(server.of('riskscore')).toHaveLength(4);
  });

  it('is not replaced again and again', async () => {
    server.riskscore((_, response) => response.writeHead(401).end());
    expect(await outcomeOf(await load({ engine: noCache }))).toBe('step_up');
    expect(failures).toEqual(['Engine: expected status 200, found 401']);
    expect([server.of('authenticate').length, server.of('riskscore').length]).toEqual([2, 2]);
  });

  it('is asked for once by those who come together', async () => {
    const loaded = await load({ engine: noCache });
    const asking = ['a', 'b', 'c'].map((sub) =>
      outcomeOf(loaded, { headers: { authorization: `Bearer ${annToken({ sub })}` } }),
    );
    expect(await Promise.all(asking)).toEqual(['allow', 'allow', 'allow']);
    expect([server.of('authenticate').length, server.of('riskscore').length]).toEqual([1, 3]);
  });

  it('outlives a reload, and another password does not use it', async () => {
    const loaded = await load({ engine: ', password_file: keys/engine.password' });
    await loaded.ask({});
    await loaded.reload({ 'policies/more.yaml': 'groups: []\n' });
    await loaded.ask({});
    expect([server.of('authenticate').length, server.of('riskscore').length]).toEqual([1, 1]);
    await loaded.reload({ 'keys/engine.password': 'another\n' });
    await loaded.ask({});
    expect(server.of('authenticate').map(({ body }) => body['password'])).toEqual([PASSWORD, 'another']);
    expect(server.of('riskscore').at(-1)?.headers.authorization).toBe('token-2');
  });
});

describe('an engine fails that', () => {
  const long = { riskScore: 1, more: 'x'.repeat(65_536) };
  it.each<[string, (call: EngineCall, response: ServerResponse) => void, RegExp]>([
    ['says 403', (_, response) => response.writeHead(403).end(), /found 403$/],
    ['says 201', (_, response) => response.writeHead(201).end('{"riskScore":1}'), /found 201$/],
    ['redirects', (_, response) => response.writeHead(307, { location: '/engine/v1/riskscore' }).end(), /found 307$/],
    ['says over 64 KB', (_, response) => sendAnswer(response, long), /at most 65536 bytes/],
    ['speaks no JSON', (_, response) => response.end('riskScore=1'), /expected a JSON object/],
    ['says a list', (_, response) => sendAnswer(response, [{ riskScore: 1 }]), /expected a JSON object/],
    ['says no score', (_, response) => sendAnswer(response, { score: 1 }), /expected a riskScore/],
    ['says a score as text', scoring('1'), /expected a riskScore/],
    ['says null', scoring(null), /expected a riskScore/],
    ['says an endless score', (_, response) => response.end('{"riskScore":1e999}'), /expected a riskScore/],
    ['resets', (_, response) => response.socket?.resetAndDestroy(), /ECONNRESET$/],
    [
      'breaks off',
      (_, response) => {
        response.writeHead(200, { 'content-length': 50 }).write('{"riskScore":1');
        setTimeout(() => response.destroy(), 20);
      },
      /broke off$/,
    ],
  ])('%s', async (_, handler, why) => {
    server.riskscore(handler);
    const loaded = await load({ points: { down: 20 } });
    expect(await outcomeOf(loaded)).toBe('step_up');
    expect(failures).toEqual([expect.stringMatching(why)]);
    expect(loaded.facts).toContainEqual({ fact: 'risk_engine', had: false });
  });

  it.each<[string, (call: EngineCall, response: ServerResponse) => void, RegExp]>([
    ['lets nobody authenticate', (_, response) => response.writeHead(401).end(), /found 401$/],
    ['gives no token', (_, response) => sendAnswer(response, {}), /expected a token/],
    ['gives an empty token', (_, response) => sendAnswer(response, { token: '' }), /expected a token/],
    ['gives a token that is no text', (_, response) => sendAnswer(response, { token: 1 }), /expected a token/],
    [
      'gives a token that no header can hold',
      (_, response) => sendAnswer(response, { token: 'a\r\nx: y' }),
      /ERR_INVALID_CHAR$/,
    ],
    ['redirects authentication', (_, response) => response.writeHead(302, { location: '/' }).end(), /found 302$/],
  ])('%s', async (_, handler, why) => {
    server.authenticate(handler);
    expect(await outcomeOf(await load({ points: { down: 20 } }))).toBe('step_up');
    expect(failures).toEqual([expect.stringMatching(why)]);
    expect(server.of('riskscore')).toHaveLength(0);
    expect(server.of('authenticate')).toHaveLength(1);
  });

  it('is not there', async () => {
    await server.close();
    expect(await outcomeOf(await load({ points: { down: 20 } }))).toBe('step_up');
    expect(failures).toEqual(['Engine: ECONNREFUSED']);
    server = await startEngineServer();
  });

  const late =
    (ms: number, body: unknown) =>
    (_: EngineCall, response: ServerResponse): void =>
      void setTimeout(() => sendAnswer(response, body), ms);

  it.each<[string, () => void]>([
    ['says nothing', () => server.riskscore(() => undefined)],
    ['says nothing when asked for a token', () => server.authenticate(() => undefined)],
    [
      'needs more than timeout_ms for both calls together, though less for each',
      () => {
        server.authenticate(late(200, { token: 't' }));
        server.riskscore(late(200, { riskScore: 1 }));
      },
    ],
    [
      'sends its answer drop by drop',
      () =>
        server.riskscore((_, response) => {
          response.writeHead(200);
          const timer = setInterval(() => (response.destroyed ? clearInterval(timer) : response.write(' ')), 10);
        }),
    ],
  ])('%s', async (_, tell) => {
    tell();
    expect(await outcomeOf(await load({ points: { down: 20 }, timeoutMs: 300 }))).toBe('step_up');
    expect(failures).toEqual(['Engine: no answer in time']);
  });

  it('is not waited for beyond the check’s deadline', async () => {
    let answer = (): void => undefined;
    server.riskscore((_, response) => {
      answer = () => sendAnswer(response, { riskScore: 1 });
    });
    const loaded = await load({ points: { down: 20 } });
    expect(await loaded.ask({}, 200)).toMatchObject({ outcome: 'step_up' });
    expect(loaded.facts).toContainEqual({ fact: 'risk_engine', had: false });
    // What came too late for one check serves the next.
    answer();
    expect(await outcomeOf(loaded)).toBe('allow');
    expect(server.of('riskscore')).toHaveLength(1);
  });
});

describe('asked once', () => {
  it('for cache_seconds; then without waiting', async () => {
    const loaded = await load();
    const headers = { authorization: `Bearer ${annToken()}` };
    for (let i = 0; i < 3; i += 1) await loaded.ask({ headers });
    expect(loaded.answer({ headers })).toEqual({ atOnce: true });
    expect(server.of('riskscore')).toHaveLength(1);
    aheadMs = 20_001;
    await loaded.ask({ headers });
    expect(server.of('riskscore')).toHaveLength(2);
    expect(cache).toEqual(['miss', 'hit', 'hit', 'hit', 'miss']);
  });

  it('for a second where it failed', async () => {
    server.riskscore((_, response) => response.writeHead(500).end());
    const loaded = await load();
    expect([await outcomeOf(loaded), await outcomeOf(loaded)]).toEqual(['step_up', 'step_up']);
    expect(server.of('riskscore')).toHaveLength(1);
    server.riskscore(undefined);
    aheadMs = 1_001;
    expect(await outcomeOf(loaded)).toBe('allow');
  });

  it('by equal questions in flight, and by two rules', async () => {
    const waiting: ServerResponse[] = [];
    server.riskscore((_, response) => void waiting.push(response));
    const loaded = await load({ rules: 2 });
    const asking = [1, 2, 3].map(() => outcomeOf(loaded));
    await expect.poll(() => waiting.length, { timeout: 5_000 }).toBe(1);
    asking.push(outcomeOf(loaded));
    for (const response of waiting) sendAnswer(response, { riskScore: 1 });
    expect(await Promise.all(asking)).toEqual(Array(4).fill('allow'));
    expect(server.of('riskscore')).toHaveLength(1);
  });

  it.each<[string, Readonly<Record<string, unknown>>, Readonly<Record<string, unknown>>]>([
    ['another user', {}, { headers: { authorization: `Bearer ${annToken({ sub: 'other' })}` } }],
    ['another detail', { path: '/?kind=a' }, { path: '/?kind=b' }],
    ['no detail', { path: '/?kind=a' }, {}],
  ])('but not for %s', async (_, first, second) => {
    const loaded = await load({ transaction: '{ kind: { query: kind } }' });
    await loaded.ask(first);
    await loaded.ask(second);
    expect(server.of('riskscore')).toHaveLength(2);
  });
});

describe('files', () => {
  it.each([
    [
      'an empty password',
      { 'keys/engine.password': '\n' },
      ', password_file: keys/engine.password',
      'password_file_invalid',
    ],
    [
      'a password of two lines',
      { 'keys/engine.password': 'a\nb\n' },
      ', password_file: keys/engine.password',
      'password_file_invalid',
    ],
    ['no such file', {}, ', password_file: keys/none', 'file_missing'],
  ])('%s is a fault where it is named', async (_, files, engine, code) => {
    await expect(
      wholeCheck({ ...filesOf({ engine }), ...files }, { keySets: createKeySets(), engines }),
    ).rejects.toThrow(code);
  });

  it('a URL with a query is a fault', async () => {
    const files = filesOf();
    const wrong = String(files['policies/all.yaml']).replace(server.url, `${server.url}?a`);
    await expect(
      wholeCheck({ ...files, 'policies/all.yaml': wrong }, { keySets: createKeySets(), engines }),
    ).rejects.toThrow('url_invalid');
  });

  it('a URL with a slash at its end is the same', async () => {
    const files = filesOf();
    const slash = String(files['policies/all.yaml']).replace(server.url, `${server.url}/`);
    whole = await wholeCheck({ ...files, 'policies/all.yaml': slash }, { keySets: createKeySets(), engines });
    expect(await outcomeOf(whole)).toBe('allow');
    expect(server.calls.map(({ path }) => path)).toEqual(['/engine/v1/authenticate', '/engine/v1/riskscore']);
  });
});
