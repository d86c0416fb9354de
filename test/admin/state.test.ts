/** What is remembered of users, over the admin port: the API alone, and with the program that decides by it. */
import { createHash } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { startAdminServer } from '../../src/admin/server.ts';
import type { AdminServer } from '../../src/admin/server.ts';
import { stateApi } from '../../src/admin/state.ts';
import { createStateKeys } from '../../src/state/keys.ts';
import { createMemoryStore } from '../../src/state/memory.ts';
import { attemptField, StateError } from '../../src/state/store.ts';
import type { StateStore } from '../../src/state/store.ts';
import { ADMIN_TOKEN, SETTINGS, startLearning, strong, weak } from '../learning-program.ts';
import type { LearningProgram } from '../learning-program.ts';
import { recordOf } from '../state/records.ts';

const READER = 'reader-token-of-forty-characters-or-more-1';
const WRITER = 'writer-token-of-forty-characters-or-more-1';

function sha256(secret: string): string {
  return createHash('sha256').update(secret).digest('hex');
}

const [NEW, OLD] = [1, 2].map((seed) => Buffer.from(Array.from({ length: 32 }, (_, index) => (index * seed) % 251)));
if (!NEW || !OLD) throw new Error('two keys are needed');
const keys = createStateKeys([NEW, OLD]);
const ANN = '?issuer=https%3A%2F%2Fidp.example&subject=ann';
const names = keys.userKeys('https://idp.example', 'ann');
const [first, second = ''] = names;

let server: AdminServer | undefined;
let store: StateStore;
const logged: string[] = [];

afterEach(async () => {
  await server?.stop(0);
  server = undefined;
  logged.length = 0;
});

async function serve(changes: Partial<StateStore> = {}, readsLevels = true, hasTokens = true): Promise<void> {
  store = { ...createMemoryStore({ usersMax: 2, nowMs: Date.now }), ...changes };
  server = await startAdminServer({
    address: '127.0.0.1:0',
    routes: [],
    groups: [
      stateApi({
        state: { store, keys },
        readsLevels: () => readsLevels,
        logger: { info: (message, fields) => void logged.push(`${message} ${JSON.stringify(fields)}`) },
      }),
    ],
    tokens: () =>
      hasTokens
        ? [
            { name: 'reader', sha256: sha256(READER), scopes: ['read'] },
            { name: 'writer', sha256: sha256(WRITER), scopes: ['write'] },
          ]
        : [],
  });
}

async function ask(method: string, path: string, body?: string, token = method === 'GET' ? READER : WRITER) {
  const response = await fetch(`http://${server?.address}${path}`, {
    method,
    headers: { authorization: `Bearer ${token}` },
    ...(body === undefined ? {} : { body }),
  });
  const text = await response.text();
  return { status: response.status, body: text === '' ? undefined : (JSON.parse(text) as unknown) };
}

describe('erasing a user', () => {
  it('removes record, counts and level under both keys, and says nothing of whom', async () => {
    await serve();
    for (const name of names) {
      await store.write(name, recordOf(), 0);
      await store.writeRiskLevel(name, 'high');
      await store.countAttempt(name, {
        field: attemptField('orders', 'mfa'),
        event: undefined,
        max: 1,
        lifetimeMs: 600_000,
        nowMs: Date.now(),
      });
    }
    expect(await ask('DELETE', `/api/state/users${ANN}`)).toEqual({ status: 204, body: undefined });
    for (const name of names) {
      expect(await store.read(name)).toBeUndefined();
      expect(await store.readRiskLevel(name)).toBeUndefined();
    }
    expect(logged).toEqual(['what was remembered of a user is erased {"token":"writer"}']);
  });

  it('of whom nothing is remembered is 204 too', async () => {
    await serve();
    expect(await ask('DELETE', '/api/state/users?issuer=x&subject=nobody')).toEqual({ status: 204, body: undefined });
    expect(await ask('DELETE', '/api/state/users?email=Ann@Example.com')).toEqual({ status: 204, body: undefined });
  });
});

describe('a risk level', () => {
  it('is unscored at first, is set, read, changed and removed', async () => {
    await serve();
    const path = `/api/state/users/risk${ANN}`;
    expect(await ask('GET', path)).toEqual({ status: 200, body: { level: 'unscored' } });
    for (const level of ['low', 'medium', 'high']) {
      expect(await ask('PUT', path, JSON.stringify({ level }))).toEqual({ status: 200, body: { level } });
      expect(await ask('GET', path)).toEqual({ status: 200, body: { level } });
    }
    expect(await ask('DELETE', path)).toEqual({ status: 204, body: undefined });
    expect(await ask('GET', path)).toEqual({ status: 200, body: { level: 'unscored' } });
  });

  it('set under an older key is read, replaced under the first, and does not come back', async () => {
    await serve();
    await store.writeRiskLevel(second, 'high');
    expect(await ask('GET', `/api/state/users/risk${ANN}`)).toEqual({ status: 200, body: { level: 'high' } });
    await ask('PUT', `/api/state/users/risk${ANN}`, '{"level":"low"}');
    expect([await store.readRiskLevel(first), await store.readRiskLevel(second)]).toEqual(['low', undefined]);
    await store.writeRiskLevel(second, 'high');
    await ask('DELETE', `/api/state/users/risk${ANN}`);
    expect(await ask('GET', `/api/state/users/risk${ANN}`)).toEqual({ status: 200, body: { level: 'unscored' } });
  });

  it('of one user more than memory is set to keep is refused, and none of the others forgotten', async () => {
    await serve();
    const put = (subject: string) =>
      ask('PUT', `/api/state/users/risk?issuer=i&subject=${subject}`, '{"level":"high"}');
    expect([(await put('a')).status, (await put('b')).status]).toEqual([200, 200]);
    expect(await put('c')).toMatchObject({ status: 507, body: { errorCode: 'state_full' } });
    expect((await put('a')).status).toBe(200);
    expect(await ask('GET', '/api/state/users/risk?issuer=i&subject=b')).toMatchObject({ body: { level: 'high' } });
  });

  it('cannot be set where rules read it elsewhere', async () => {
    await serve({}, false);
    expect(await ask('PUT', `/api/state/users/risk${ANN}`, '{"level":"high"}')).toMatchObject({
      status: 409,
      body: { errorCode: 'risk_scores_elsewhere' },
    });
  });
});

describe('what is refused', () => {
  it.each<[string, string, string | undefined, number, string, readonly string[]]>([
    ['DELETE', '/api/state/users', undefined, 400, 'key_missing', ['issuer']],
    ['DELETE', '/api/state/users?issuer=i', undefined, 400, 'key_missing', ['subject']],
    ['DELETE', '/api/state/users?issuer=&subject=s', undefined, 400, 'value_empty', ['issuer']],
    ['DELETE', '/api/state/users?issuer=i&subject=', undefined, 400, 'value_empty', ['subject']],
    ['DELETE', '/api/state/users?issuer=i&subject=s&subject=t', undefined, 400, 'key_conflict', ['subject']],
    ['DELETE', '/api/state/users?issuer=i&subject=s&email=a@b.example', undefined, 400, 'key_conflict', ['email']],
    ['DELETE', '/api/state/users?email=nobody', undefined, 400, 'email_invalid', ['email']],
    ['DELETE', '/api/state/users?iss=i&subject=s', undefined, 400, 'key_unknown', ['iss']],
    ['GET', '/api/state/users/risk', undefined, 400, 'key_missing', ['issuer']],
    ['PUT', `/api/state/users/risk${ANN}`, undefined, 400, 'body_malformed', []],
    ['PUT', `/api/state/users/risk${ANN}`, 'high', 400, 'body_malformed', []],
    ['PUT', `/api/state/users/risk${ANN}`, '["high"]', 400, 'body_malformed', []],
    ['PUT', `/api/state/users/risk${ANN}`, '{"level":"low","level":"high"}', 400, 'body_malformed', []],
    ['PUT', `/api/state/users/risk${ANN}`, '{}', 400, 'key_missing', ['/level']],
    ['PUT', `/api/state/users/risk${ANN}`, '{"level":null}', 400, 'key_missing', ['/level']],
    ['PUT', `/api/state/users/risk${ANN}`, '{"level":"unscored"}', 400, 'risk_level_invalid', ['/level']],
    ['PUT', `/api/state/users/risk${ANN}`, '{"level":"High"}', 400, 'risk_level_invalid', ['/level']],
    ['PUT', `/api/state/users/risk${ANN}`, '{"level":"high","a/b":1}', 400, 'key_unknown', ['/a~1b']],
    ['GET', '/api/state/groups', undefined, 404, 'not_found', []],
    ['POST', `/api/state/users/risk${ANN}`, '{"level":"high"}', 405, 'method_not_allowed', []],
  ])('%s %s %s: %i %s', async (method, path, body, status, errorCode, parameters) => {
    await serve();
    const answer = await ask(method, path, body);
    expect(answer).toMatchObject({ status, body: { errorCode, parameters } });
    expect((answer.body as { errorMessage: string }).errorMessage.length).toBeGreaterThan(5);
    expect(logged).toEqual([]);
  });

  it.each<[string, string, string, number, string]>([
    ['GET', '/api/state/users/risk', WRITER, 403, 'forbidden'],
    ['PUT', '/api/state/users/risk', READER, 403, 'forbidden'],
    ['DELETE', '/api/state/users/risk', READER, 403, 'forbidden'],
    ['DELETE', '/api/state/users', READER, 403, 'forbidden'],
    ['DELETE', '/api/state/users', 'wrong', 401, 'unauthorized'],
  ])('%s %s with the wrong token: %s', async (method, path, token, status, errorCode) => {
    await serve();
    expect(await ask(method, `${path}${ANN}`, undefined, token)).toMatchObject({ status, body: { errorCode } });
  });

  it('without admin tokens nothing is there', async () => {
    await serve({}, true, false);
    expect(await ask('DELETE', `/api/state/users${ANN}`)).toEqual({ status: 404, body: undefined });
  });

  it('a store that does not answer is 503', async () => {
    const late = (): Promise<never> => Promise.reject(new StateError('late', 'no answer in time'));
    await serve({ erase: late, readRiskLevel: late, writeRiskLevel: late });
    for (const [method, path] of [
      ['DELETE', '/api/state/users'],
      ['GET', '/api/state/users/risk'],
      ['PUT', '/api/state/users/risk'],
      ['DELETE', '/api/state/users/risk'],
    ] as const) {
      const body = method === 'PUT' ? '{"level":"low"}' : undefined;
      expect(await ask(method, `${path}${ANN}`, body)).toMatchObject({
        status: 503,
        body: { errorCode: 'state_unavailable' },
      });
    }
    expect(logged).toEqual([]);
  });
});

describe('the program', () => {
  let program: LearningProgram;
  let admin = '';
  beforeAll(async () => {
    program = await startLearning({
      'postern.yaml': `${SETTINGS}risk_scores: { from: state }
`,
      'policies/all.yaml': `applications:
  - id: 9a4b2f0e-3f55-4a57-9b0e-000000000001
    name: Orders
    destinations: [orders.example.com]
    policies: [{ name: A, decision: allow, include: [{ user_risk_score: { user_risk_score: [unscored, low] } }] }]
  - id: 9a4b2f0e-3f55-4a57-9b0e-000000000002
    name: History
    destinations: [history.example.com]
    policies: [{ name: A, decision: allow, include: [{ everyone: {} }] }]
resource_rules:
  - id: 0c3c0000-0000-4000-8000-000000000001
    name: History
    resourceId: 9a4b2f0e-3f55-4a57-9b0e-000000000002
    groups: [{ name: All Groups }]
    locationHistoryContext: { riskPoint: 100 }
    lowRiskAuthenticationFlow: { name: Password }
    mediumRiskAuthenticationFlow: { name: Password and Second Factor }
    highRiskAuthenticationFlow: { name: Password and Second Factor }
`,
    });
    const ready = program.lines.find((line) => line.includes('"msg":"ready"')) ?? '{}';
    admin = (JSON.parse(ready) as { admin: string }).admin;
  });
  afterAll(() => program.stop());

  const call = async (method: string, path: string, body?: object): Promise<number> => {
    const response = await fetch(
      `http://${admin}${path}?issuer=${encodeURIComponent('https://login.example.com')}&subject=ann`,
      { method, headers: { authorization: `Bearer ${ADMIN_TOKEN}` }, ...(body ? { body: JSON.stringify(body) } : {}) },
    );
    return response.status;
  };

  it('decides by the level that was set', async () => {
    const outcomes: unknown[] = [];
    for (const level of [undefined, 'low', 'high', 'medium', undefined]) {
      const status = level
        ? await call('PUT', '/api/state/users/risk', { level })
        : await call('DELETE', '/api/state/users/risk');
      expect(status).toBe(level ? 200 : 204);
      outcomes.push((await program.ask({ token: weak() })).outcome);
    }
    expect(outcomes).toEqual(['allow', 'allow', 'deny', 'deny', 'allow']);
  });

  it('knows an erased user no more: his place is a risk again', async () => {
    const from = { country: 'PT', city: 'Porto', latitude: 41.1579, longitude: -8.6291 };
    const host = 'history.example.com';
    const seen: unknown[] = [(await program.ask({ token: weak(0), from, host })).outcome];
    seen.push((await program.ask({ token: strong(1), from, at: 1, host })).outcome);
    seen.push((await program.ask({ token: weak(2), from, at: 2, host })).outcome);
    expect(await call('DELETE', '/api/state/users')).toBe(204);
    seen.push((await program.ask({ token: weak(2), from, at: 3, host })).outcome);
    expect(seen).toEqual(['step_up', 'allow', 'allow', 'step_up']);
    expect(program.lines.filter((line) => line.includes('erased')).join('')).not.toContain('ann');
  });
});
