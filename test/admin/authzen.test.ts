/** AuthZEN over HTTP, as a policy enforcement point would speak it. */
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { authzenApi, authzenMetadata } from '../../src/admin/authzen.ts';
import { startAdminServer } from '../../src/admin/server.ts';
import type { AdminServer, AdminToken } from '../../src/admin/server.ts';
import type { StatedAgainst } from '../../src/cases/stated.ts';
import type { Remembered } from '../../src/facts/history.ts';
import type { LearnedPlace } from '../../src/model/adaptive-facts.ts';
import { createKeySets } from '../../src/facts/key-set.ts';
import { createLoader } from '../../src/revision.ts';
import type { Revision } from '../../src/revision.ts';

const OKTA = '11111111-1111-1111-1111-111111111111';
const ORDERS = '9a4b2f0e-3f55-4a57-9b0e-000000000001';
const NOW_MS = Date.parse('2026-03-04T14:30:00Z');
const SHA_OF = (text: string): string => createHash('sha256').update(text).digest('hex');

let folder: string;
let revision: Revision;
let server: AdminServer;
let url: string | undefined;
/** What stands in for the state of a running program. */
const PLACE: LearnedPlace = {
  country: 'CA',
  city: undefined,
  isp: undefined,
  addressHash: '',
  private: false,
  firstMs: 0,
  lastMs: NOW_MS,
  count: 9,
};
const kept: { level: unknown; asked: string[]; remembered: Remembered } = {
  level: undefined,
  asked: [],
  remembered: {
    history: {
      state: 'known',
      record: {
        last: undefined,
        places: [PLACE],
        admitted: new Map(),
        event: undefined,
        eventKnown: false,
        addressHashes: [],
      },
    },
    machine: { state: 'unavailable' },
  },
};
let tokens: readonly AdminToken[];
const EVERYBODY: readonly AdminToken[] = [
  { name: 'reader', sha256: SHA_OF('let-me-read'), scopes: ['read'] },
  { name: 'writer', sha256: SHA_OF('let-me-write'), scopes: ['write'] },
];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'postern-authzen-'));
  mkdirSync(join(folder, 'policies'));
  writeFileSync(
    join(folder, 'postern.yaml'),
    `identity: { providers: [{ id: ${OKTA}, name: Okta, type: okta }] }\ngeo: { headers: { country: x-country } }\nrisk_scores: { from: state }\n`,
  );
  writeFileSync(
    join(folder, 'policies/all.yaml'),
    `applications:
  - id: ${ORDERS}
    name: Orders
    destinations: [orders.example.com/api]
    policies:
      - { name: CI, decision: non_identity, include: [{ service_token: { token_id: 3537a672-e4d8-4d89-aab9-26cb622918a1 } }] }
      - { name: Mallory, decision: deny, include: [{ email: { email: mallory@example.com } }] }
      - name: Staff
        decision: allow
        include: [{ email_domain: { domain: example.com } }, { group: { id: 8f1c0000-0000-4000-8000-000000000001 } }]
        exclude: [{ geo: { country_code: US } }]
  - id: 9a4b2f0e-3f55-4a57-9b0e-000000000002
    name: Old
    destinations: [old.example.com]
    session_duration: 1h
    policies: [{ name: Anybody, decision: allow, include: [{ email_domain: { domain: example.com } }] }]
  - id: 9a4b2f0e-3f55-4a57-9b0e-000000000003
    name: Risky
    destinations: [risky.example.com]
    policies: [{ name: Staff, decision: allow, include: [{ email_domain: { domain: example.com } }], exclude: [{ user_risk_score: { user_risk_score: [high] } }] }]
groups:
  - { id: 8f1c0000-0000-4000-8000-000000000001, name: Okta admins, include: [{ okta: { name: admins, identity_provider_id: ${OKTA} } }] }
service_tokens:
  - { id: 3537a672-e4d8-4d89-aab9-26cb622918a1, name: ci, client_id: 88bf3b6d86161464f6509f7219099e57.access, client_secret_sha256: ${SHA_OF('x')} }
  - { id: 3537a672-e4d8-4d89-aab9-26cb622918a2, name: off, client_id: 88bf3b6d86161464f6509f7219099e58.access, client_secret_sha256: ${SHA_OF('y')}, enabled: false }
  - { id: 3537a672-e4d8-4d89-aab9-26cb622918a3, name: ended, client_id: 88bf3b6d86161464f6509f7219099e59.access, client_secret_sha256: ${SHA_OF('z')}, expires_at: 2026-01-01T00:00:00Z }
resource_rules:
  - id: 0c3c0000-0000-4000-8000-000000000002
    name: Risky, staff
    resourceId: 9a4b2f0e-3f55-4a57-9b0e-000000000003
    enabled: true
    groups: [{ name: All Groups }]
    acrFilter: NA
    lowRiskThreshold: 30
    mediumRiskThreshold: 70
    locationHistoryContext: { riskPoint: 40, denyAccess: false, onUnknown: RISK }
    lowRiskAuthenticationFlow: { name: Password }
    mediumRiskAuthenticationFlow: { name: Access Denied }
    highRiskAuthenticationFlow: { name: Access Denied }
  - id: 0c3c0000-0000-4000-8000-000000000001
    name: Orders, staff
    resourceId: ${ORDERS}
    enabled: true
    groups: [{ name: All Groups }]
    acrFilter: NA
    lowRiskThreshold: 30
    mediumRiskThreshold: 70
    ipContext: { allowedIpRanges: [203.0.113.0/24], riskPoint: 40, denyAccess: false }
    lowRiskAuthenticationFlow: { name: Password }
    mediumRiskAuthenticationFlow: { name: Second factor }
    highRiskAuthenticationFlow: { name: Access Denied }
authentication_flows:
  - { id: 0c3c0000-0000-4000-8000-0000000000f1, name: Second factor, userLoginFirstStep: PASSWORD, userLoginSecondStep: [OTP], acrValues: [urn:example:loa:2, phr], maxAge: 600 }
`,
  );
  const loaded = await createLoader({ folder, overrides: [], keySets: createKeySets(), makesKeys: false }).load();
  if (!loaded.revision) throw new Error(JSON.stringify(loaded.faults, null, 1));
  revision = loaded.revision;
  tokens = EVERYBODY;
  const { id, snapshot, set, settings } = revision;
  const { destinations, sources } = snapshot;
  const against = { revision: id, destinations, sources, set, providers: settings.identity.providers, tokens: [] };
  const reads: StatedAgainst['reads'] = {
    riskScore: () => ({ state: 'known', level: kept.level }),
    remembered(identity) {
      kept.asked.push(`${identity.issuer ?? ''} ${identity.subject ?? ''}`);
      return kept.remembered;
    },
  };
  server = await startAdminServer({
    address: '127.0.0.1:0',
    tokens: () => tokens,
    groups: [authzenApi({ against: () => ({ ...against, reads }), nowMs: () => NOW_MS })],
    routes: [authzenMetadata({ url: () => url, isServed: () => tokens.length > 0 })],
    failed(error) {
      throw error;
    },
  });
});

afterAll(async () => {
  await server.stop(0);
  rmSync(folder, { recursive: true });
});

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  readonly json: Record<string, unknown>;
}

async function post(path: string, body: unknown, headers: Record<string, string> = {}): Promise<Answer> {
  const response = await fetch(`http://${server.address}${path}`, {
    method: 'POST',
    headers: { authorization: 'Bearer let-me-read', 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
  const text = await response.text();
  const isJson = response.headers.get('content-type') === 'application/json';
  return {
    status: response.status,
    headers: response.headers,
    text,
    json: isJson ? (JSON.parse(text) as Record<string, unknown>) : {},
  };
}

const ANN = { type: 'user', id: 'ann@example.com' };
const READ = { name: 'can_read' };
const API = { type: 'route', id: 'https://orders.example.com/api/v1' };
const OFFICE = { ip: '203.0.113.7', country: 'CA' };

function evaluation(more: Record<string, unknown> = {}): Record<string, unknown> {
  return { subject: ANN, action: READ, resource: API, context: OFFICE, ...more };
}

const login = (properties: object): object => ({ ...ANN, properties });
const PASSWORD = { amr: ['pwd'], auth_time: '2026-03-04T14:29:00Z' };
const TWO = { amr: ['pwd', 'otp'], auth_time: NOW_MS / 1000 - 60 };

const NO_JSON = 'expected a JSON object that gives each key once and nests at most 500 levels, found none';

describe('one evaluation', () => {
  it.each<[string, object, boolean, string]>([
    ['a user whom a policy lets in', { subject: login(PASSWORD) }, true, 'policy_allowed'],
    [
      'a user by e-mail beside an id',
      { subject: { type: 'user', id: 'a', properties: { ...PASSWORD, email: 'Ann@EXAMPLE.com' } } },
      true,
      'policy_allowed',
    ],
    ['a user of another domain', { subject: { ...ANN, id: 'ann@example.org' } }, false, 'no_policy_matched'],
    [
      'a user by a group of his provider',
      {
        subject: {
          type: 'user',
          id: 'x',
          properties: { ...PASSWORD, email: 'x@example.org', groups: ['admins'], provider: 'Okta' },
        },
      },
      true,
      'policy_allowed',
    ],
    [
      'the same group without the provider',
      { subject: { type: 'user', id: 'x', properties: { ...PASSWORD, email: 'x@example.org', groups: ['admins'] } } },
      false,
      'no_policy_matched',
    ],
    ['one who is denied', { subject: { type: 'user', id: 'mallory@example.com' } }, false, 'policy_denied'],
    ['nobody', { subject: { type: 'anonymous', id: '-' } }, false, 'not_authenticated'],
    [
      'a service by its client id',
      { subject: { type: 'service', id: '88bf3b6d86161464f6509f7219099e57.access' } },
      true,
      'policy_allowed',
    ],
    ['a service by its name', { subject: { type: 'service', id: 'ci' } }, true, 'policy_allowed'],
    ['a service that is disabled', { subject: { type: 'service', id: 'off' } }, false, 'token_invalid'],
    ['a service that has ended', { subject: { type: 'service', id: 'ended' } }, false, 'token_invalid'],
    [
      'a country that is excluded',
      { subject: login(PASSWORD), context: { ip: '203.0.113.7', country: 'US' } },
      false,
      'no_policy_matched',
    ],
    [
      'no word of a place, of which one is excluded',
      { subject: login(PASSWORD), context: {} },
      false,
      'fact_unavailable',
    ],
    ['another host', { resource: { type: 'route', id: 'https://elsewhere.example.com/api' } }, false, 'no_application'],
    ['a path beside', { resource: { type: 'route', id: 'orders.example.com/apis' } }, false, 'no_application'],
    [
      'host and path as properties',
      {
        subject: login(PASSWORD),
        resource: { type: 'route', id: 'r-1', properties: { host: 'orders.example.com:443', path: '/api?x=1' } },
      },
      true,
      'policy_allowed',
    ],
    [
      'a path that two parsers could read differently',
      { resource: { type: 'route', id: 'https://orders.example.com/x/../api' } },
      false,
      'request_ambiguous',
    ],
    [
      'risk that wants more than a password',
      { subject: login(PASSWORD), context: { ip: '198.51.100.1', country: 'CA' } },
      false,
      'step_up_required',
    ],
    [
      'the same with a second factor',
      { subject: login(TWO), context: { ip: '198.51.100.1', country: 'CA' } },
      true,
      'policy_allowed',
    ],
    [
      'a session of unknown age',
      { subject: ANN, resource: { type: 'route', id: 'old.example.com/' } },
      false,
      'session_expired',
    ],
    [
      'a session that is young',
      { subject: login(PASSWORD), resource: { type: 'route', id: 'old.example.com/' } },
      true,
      'policy_allowed',
    ],
    [
      'a session that is old by then',
      {
        subject: login(PASSWORD),
        resource: { type: 'route', id: 'old.example.com/' },
        context: { time: '2026-03-04T16:00Z' },
      },
      false,
      'session_expired',
    ],
  ])('%s', async (_, more, decision, reason) => {
    const { status, json, headers } = await post('/access/v1/evaluation', evaluation({ ...more }));
    expect([status, headers.get('content-type')]).toEqual([200, 'application/json']);
    expect({ decision: json['decision'], reason: (json['context'] as { reason: string }).reason }).toEqual({
      decision,
      reason,
    });
  });

  it('says a step-up as the standard does, with why for either reader', async () => {
    const context = { ip: '198.51.100.1', country: 'CA' };
    const { json } = await post('/access/v1/evaluation', evaluation({ subject: login(PASSWORD), context }));
    expect(json).toEqual({
      decision: false,
      context: {
        outcome: 'step_up',
        reason: 'step_up_required',
        application: 'Orders',
        policy: 'Staff',
        resource_rule: 'Orders, staff',
        risk_level: 'MEDIUM',
        risk_score: 40,
        revision: revision.id,
        acr_values: 'urn:example:loa:2 phr',
        max_age: 600,
        reason_admin: { '401': expect.stringContaining('step_up_required: ') as unknown },
        reason_user: { '401': 'Confirm who you are once more and try again.' },
      },
    });
  });

  it('says of an allow what decided', async () => {
    const { json } = await post('/access/v1/evaluation', evaluation({ subject: login(PASSWORD) }));
    expect(json).toEqual({
      decision: true,
      context: {
        outcome: 'allow',
        reason: 'policy_allowed',
        application: 'Orders',
        policy: 'Staff',
        resource_rule: 'Orders, staff',
        risk_level: 'LOW',
        risk_score: 0,
        revision: revision.id,
      },
    });
  });

  it('is the same however often it is asked: no attempt is counted', async () => {
    const context = { ip: '198.51.100.1', country: 'CA' };
    for (let time = 0; time < 6; time += 1) {
      const { json } = await post('/access/v1/evaluation', evaluation({ subject: login(PASSWORD), context }));
      expect(json['context']).toMatchObject({ reason: 'step_up_required' });
    }
  });

  it.each<[string, object, unknown, boolean, string, string[]]>([
    [
      'whoever vouches for the user',
      { issuer: 'https://idp.example' },
      undefined,
      true,
      'policy_allowed',
      ['https://idp.example a'],
    ],
    ['nobody who vouches for him', {}, undefined, false, 'risk_level_denied', []],
    [
      'a high risk level that is kept',
      { issuer: 'https://idp.example' },
      'high',
      false,
      'no_policy_matched',
      ['https://idp.example a'],
    ],
    [
      'a low one that is stated',
      { issuer: 'https://idp.example', risk_score: 'low' },
      'high',
      true,
      'policy_allowed',
      ['https://idp.example a'],
    ],
  ])('reads what was learned, given %s', async (_, more, level, decision, reason, asked) => {
    kept.level = level;
    kept.asked = [];
    const subject = { type: 'user', id: 'a', properties: { ...PASSWORD, email: 'ann@example.com', ...more } };
    const resource = { type: 'route', id: 'risky.example.com' };
    const { json } = await post('/access/v1/evaluation', evaluation({ subject, resource }));
    expect([json['decision'], (json['context'] as { reason: string }).reason]).toEqual([decision, reason]);
    expect(kept.asked).toEqual(asked);
  });

  it('passes over what it does not know', async () => {
    const more = { foo: 'bar', subject: { ...login({ ...PASSWORD, department: 'Sales' }), future: 1 } };
    const { json } = await post(
      '/access/v1/evaluation',
      evaluation({ ...more, context: { ...OFFICE, weather: 'fair' } }),
    );
    expect(json['decision']).toBe(true);
  });

  it.each<[string, unknown, string]>([
    ['no subject', { action: READ, resource: API }, 'subject: expected an object'],
    ['no action', { subject: ANN, resource: API }, 'action: expected an object'],
    ['no resource', { subject: ANN, action: READ }, 'resource: expected an object'],
    ['a subject without type', evaluation({ subject: { id: 'a' } }), 'subject.type: expected text'],
    ['a subject without id', evaluation({ subject: { type: 'user' } }), 'subject.id: expected text'],
    ['an action without name', evaluation({ action: {} }), 'action.name: expected text'],
    ['a resource without type', evaluation({ resource: { id: 'x' } }), 'resource.type: expected text'],
    ['a resource without id', evaluation({ resource: { type: 'x' } }), 'resource.id: expected text'],
    ['a subject that is text', evaluation({ subject: 'ann' }), 'subject: expected an object'],
    ['an action whose name is a number', evaluation({ action: { name: 1 } }), 'action.name: expected text'],
    [
      'properties that are a list',
      evaluation({ subject: { ...ANN, properties: [] } }),
      'subject.properties: expected an object',
    ],
    ['a context that is text', evaluation({ context: 'x' }), 'context: expected an object'],
    [
      'a subject of another type',
      evaluation({ subject: { type: 'group', id: 'x' } }),
      'subject.type: expected user, service or anonymous',
    ],
    [
      'a resource that is no URL',
      evaluation({ resource: { type: 'book', id: '/todos' } }),
      'resource: expected properties.host, or a URL or host/path as id',
    ],
    [
      'an address that is none',
      evaluation({ context: { ip: 'here' } }),
      'request.client_ip: expected an IP address or unknown, found "here"',
    ],
    [
      'a time that is none',
      evaluation({ context: { time: 'noon' } }),
      'request.time: expected a date and time with an offset, found "noon"',
    ],
    ['a country that is none', evaluation({ context: { country: 'Canada' } }), 'request.country: '],
    [
      'a login at a time that is none',
      evaluation({ subject: login({ auth_time: 'noon' }) }),
      'subject.properties.auth_time: ',
    ],
    ['a login of a wrong type', evaluation({ subject: login({ amr: 5 }) }), 'subject.properties.amr: '],
    ['a provider that nobody has', evaluation({ subject: login({ provider: 'Oktaa' }) }), 'identity.provider: '],
    ['a service that nobody has', evaluation({ subject: { type: 'service', id: 'x' } }), 'request.service_token: '],
    ['a list', [], 'expected a JSON object'],
    ['text', '"x"', 'expected a JSON object'],
    ['no JSON', '{', NO_JSON],
    ['nothing', '', NO_JSON],
    ['a key twice', '{"subject":{},"subject":{}}', NO_JSON],
    ['nesting without end', `{"subject":${'['.repeat(100_000)}${']'.repeat(100_000)}}`, NO_JSON],
  ])('is refused with 400 and a message: %s', async (_, body, message) => {
    for (const path of ['/access/v1/evaluation', '/access/v1/evaluations']) {
      const { status, text, headers } = await post(path, body, { 'x-request-id': 'r-1' });
      expect([status, headers.get('x-request-id')]).toEqual([400, 'r-1']);
      expect(text).toContain(message);
    }
  });

  it('is refused without the content type', async () => {
    const { status } = await post('/access/v1/evaluation', evaluation(), { 'content-type': 'text/plain' });
    expect(status).toBe(400);
    const charset = { 'content-type': 'application/json; charset=utf-8' };
    expect((await post('/access/v1/evaluation', evaluation(), charset)).status).toBe(200);
  });

  it('is refused where it is not UTF-8', async () => {
    const response = await fetch(`http://${server.address}/access/v1/evaluation`, {
      method: 'POST',
      headers: { authorization: 'Bearer let-me-read', 'content-type': 'application/json' },
      body: Buffer.from(JSON.stringify(evaluation()).replace('ann@', 'ann\u00ff@'), 'latin1'),
    });
    expect(response.status).toBe(400);
  });
});

describe('several evaluations', () => {
  const items = [
    { subject: login(PASSWORD) },
    { subject: { type: 'user', id: 'mallory@example.com' } },
    {},
    { subject: login(PASSWORD), context: { ip: '203.0.113.7', country: 'US' } },
    { subject: login(PASSWORD), resource: 'x' },
    7,
  ];
  const top = { action: READ, resource: API, context: OFFICE, evaluations: items };
  const ask = async (more: object): Promise<unknown[]> => {
    const { status, json } = await post('/access/v1/evaluations', { ...top, ...more });
    expect(status).toBe(200);
    expect(Object.keys(json)).toEqual(['evaluations']);
    return (json['evaluations'] as { decision: boolean; context: { reason?: string; error?: object } }[]).map(
      ({ decision, context }) => [decision, context.reason ?? context.error],
    );
  };
  const ALL = [
    [true, 'policy_allowed'],
    [false, 'policy_denied'],
    [false, { status: 400, message: 'subject: expected an object' }],
    [false, 'no_policy_matched'],
    [false, { status: 400, message: 'resource: expected an object' }],
    [false, { status: 400, message: 'expected an object' }],
  ];

  it.each<[string, object | undefined, number]>([
    ['all, where nothing is said', undefined, 6],
    ['all, where nothing is said of it', {}, 6],
    ['all', { evaluations_semantic: 'execute_all', another_option: 1 }, 6],
    ['until the first denial', { evaluations_semantic: 'deny_on_first_deny' }, 2],
    ['until the first permit', { evaluations_semantic: 'permit_on_first_permit' }, 1],
  ])('are decided in order: %s', async (_, options, count) => {
    expect(await ask(options ? { options } : {})).toEqual(ALL.slice(0, count));
  });

  it('stop at an error as at a denial', async () => {
    const options = { evaluations_semantic: 'deny_on_first_deny' };
    expect(await ask({ options, evaluations: items.slice(2) })).toEqual(ALL.slice(2, 3));
  });

  it.each([[undefined], [[]]])('are one where the list is %j', async (evaluations) => {
    const { json } = await post('/access/v1/evaluations', evaluation({ subject: login(PASSWORD), evaluations }));
    expect(json['decision']).toBe(true);
  });

  it.each<[object, string]>([
    [{ evaluations: 'x' }, 'evaluations: expected a list'],
    [{ options: 'x' }, 'options: expected an object'],
    [{ options: { evaluations_semantic: 'maybe' } }, 'options.evaluations_semantic: expected execute_all'],
    [{ evaluations: Array.from({ length: 1_001 }, () => 0) }, 'evaluations: expected at most 1000, found 1001'],
  ])('are refused as a whole: %#', async (more, message) => {
    const { status, text } = await post('/access/v1/evaluations', { ...top, ...more });
    expect([status, text.startsWith(message)]).toEqual([400, true]);
  });
});

describe('the API', () => {
  it('is for tokens with the scope read, and says what is missing', async () => {
    const answers = [];
    for (const authorization of ['', 'Bearer wrong', 'Bearer let-me-write', 'Bearer let-me-read']) {
      const { status, headers } = await post('/access/v1/evaluation', evaluation(), {
        authorization,
        'x-request-id': 'a b',
      });
      answers.push([status, headers.get('www-authenticate'), headers.get('x-request-id')]);
    }
    expect(answers).toEqual([
      [401, 'Bearer', 'a b'],
      [401, 'Bearer', 'a b'],
      [403, null, 'a b'],
      [200, null, 'a b'],
    ]);
  });

  it('does not exist without tokens', async () => {
    tokens = [];
    expect((await post('/access/v1/evaluation', evaluation())).status).toBe(404);
    expect((await fetch(`http://${server.address}/.well-known/authzen-configuration`)).status).toBe(404);
    tokens = EVERYBODY;
  });

  it('tells where it is', async () => {
    const read = async (): Promise<unknown> => {
      const response = await fetch(`http://${server.address}/.well-known/authzen-configuration`);
      expect([response.status, response.headers.get('content-type')]).toEqual([200, 'application/json']);
      return response.json();
    };
    const at = (base: string): object => ({
      policy_decision_point: base,
      access_evaluation_endpoint: `${base}/access/v1/evaluation`,
      access_evaluations_endpoint: `${base}/access/v1/evaluations`,
    });
    expect(await read()).toEqual(at(`http://${server.address}`));
    url = 'https://postern.example.com/';
    expect(await read()).toEqual(at('https://postern.example.com'));
    url = undefined;
  });

  it('answers GET with 405, and other paths with 404', async () => {
    const get = (path: string): Promise<Response> =>
      fetch(`http://${server.address}${path}`, { headers: { authorization: 'Bearer let-me-read' } });
    expect([(await get('/access/v1/evaluation')).status, (await get('/access/v1/search/subject')).status]).toEqual([
      405, 404,
    ]);
  });
});
