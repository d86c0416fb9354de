/** Entrust's administration API, asked of the program itself. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startPostern } from '../../../src/demo/parts.ts';
import type { Postern } from '../../../src/demo/parts.ts';
import { checkClient } from '../../envoy/check-client.ts';
import { decodeResponse, encodeRequest, metadataOf } from '../../envoy/official.ts';

const APPLICATION = '9a4b2f0e-3f55-4a57-9b0e-000000000001';
const SECOND = '9a4b2f0e-3f55-4a57-9b0e-000000000002';
const GROUP = '8f1c0000-0000-4000-8000-000000000001';
const ACR = '5c1c0000-0000-4000-8000-000000000001';
const PROVIDER = '11111111-1111-4111-8111-111111111111';
const IN_FILE = '0c3c0000-0000-4000-8000-000000000001';
const SYSTEM = ['0c3c0000-0000-4000-8000-0000000000a1', '0c3c0000-0000-4000-8000-0000000000a2'] as const;
const UNKNOWN = '00000000-0000-4000-8000-0000000000ff';

const TOKENS = { all: 'a'.repeat(40), read: 'r'.repeat(40), write: 'w'.repeat(40) };
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

const SETTINGS = `\
identity:
  providers: [{ id: ${PROVIDER}, name: Okta, type: okta, domains: [example.com] }]
  headers: { enabled: true, email: x-email }
admin:
  tokens:
    - { name: all, sha256: ${sha256(TOKENS.all)}, scopes: [read, write] }
    - { name: reader, sha256: ${sha256(TOKENS.read)}, scopes: [read] }
    - { name: writer, sha256: ${sha256(TOKENS.write)}, scopes: [write] }
log: { decisions: none }
`;

const POLICIES = `\
applications:
  - { id: ${APPLICATION}, name: Orders, destinations: [orders.example.com], policies: [{ name: P, decision: allow, include: [{ everyone: {} }] }] }
  - { id: ${SECOND}, name: Billing, destinations: [billing.example.com], policies: [{ name: P, decision: allow, include: [{ everyone: {} }] }] }
groups: [{ id: ${GROUP}, name: Staff, include: [{ email_domain: { domain: example.com } }] }]
acrs: [{ id: ${ACR}, name: loa3 }]
transaction_rules: [{ id: 7d1f0b0a-0000-4000-8000-000000000001, name: Large, item: total, type: Numeric, operator: GREATER_THAN, value: 250 }]
authentication_flows: [{ id: 7d1f0b0a-0000-4000-8000-0000000000f1, name: Own, userLoginFirstStep: EXTERNAL }]
resource_rules:
  - id: ${IN_FILE}
    name: Orders, staff
    resourceId: ${APPLICATION}
    groups: [{ name: Staff }]
    lowRiskAuthenticationFlow: { name: External }
`;

const systemRule = (id: string, name: string): string =>
  JSON.stringify({
    resource_rules: [
      {
        id,
        name,
        resourceId: SECOND,
        groups: [{ name: 'All Groups' }],
        lowRiskAuthenticationFlow: { name: 'External' },
        systemResourceContext: true,
        apiVersion: 2,
      },
    ],
  });

let work: string;
let postern: Postern;

beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), 'postern-entrust-api-'));
  mkdirSync(join(work, 'policies/managed/resource_rules'), { recursive: true });
  writeFileSync(join(work, 'postern.yaml'), SETTINGS);
  writeFileSync(join(work, 'policies/orders.yaml'), POLICIES);
  for (const [index, id] of SYSTEM.entries())
    writeFileSync(join(work, `policies/managed/resource_rules/${id}.json`), systemRule(id, `System ${index + 1}`));
  postern = await startPostern(work);
}, 60_000);

afterAll(async () => {
  await postern.stop();
  rmSync(work, { recursive: true, force: true });
});

interface Answered {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  // oxlint-disable-next-line typescript/no-explicit-any -- JSON of many forms
  readonly body: any;
}

async function ask(
  method: string,
  path: string,
  body?: unknown,
  token: string | undefined = TOKENS.all,
): Promise<Answered> {
  const answer = await fetch(`http://${postern.admin}/api/web/${path}`, {
    method,
    headers: token === '' ? {} : { authorization: `Bearer ${token}` },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  const text = await answer.text();
  const isJson = answer.headers.get('content-type')?.startsWith('application/json') ?? false;
  return {
    status: answer.status,
    headers: answer.headers,
    text,
    body: isJson ? (JSON.parse(text) as unknown) : undefined,
  };
}

const fileOf = (id: string): string => join(work, `policies/managed/resource_rules/${id}.json`);

async function made(version: 1 | 2, body: Readonly<Record<string, unknown>>): Promise<Answered['body']> {
  const answer = await ask('POST', `v${version}/resourcerules`, { resourceId: APPLICATION, ...body });
  if (answer.status !== 200) throw new Error(answer.text);
  return answer.body;
}

async function outcomeOf(host: string): Promise<string | number | undefined> {
  const client = checkClient(postern.check);
  const http = { method: 'GET', host, path: '/', headers: { 'x-email': 'ann@example.com' } };
  const answer = await client.check(encodeRequest({ attributes: { request: { http } } }));
  client.close();
  return metadataOf(decodeResponse(answer))['outcome'];
}

describe('who may ask', () => {
  it.each([
    ['nobody', 'GET', '', 401, 'unauthorized'],
    ['an unknown token', 'GET', 'x'.repeat(40), 401, 'unauthorized'],
    ['a token that may only write, to read', 'GET', TOKENS.write, 403, 'forbidden'],
    ['a token that may only read, to write', 'POST', TOKENS.read, 403, 'forbidden'],
  ])('%s', async (_, method, token, status, errorCode) => {
    const answer = await ask(method, 'v2/resourcerules', method === 'POST' ? {} : undefined, token);
    expect(answer.status).toBe(status);
    expect(answer.body).toMatchObject({ errorCode, parameters: [] });
  });
});

describe('reading', () => {
  it('lists all rules by resource, name and id, in both versions alike', async () => {
    const { status, body, headers } = await ask('GET', 'v2/resourcerules', undefined, TOKENS.read);
    expect(status).toBe(200);
    expect(headers.get('postern-revision')).toMatch(/^[0-9a-f]{12}$/);
    expect(body.map(({ resourceName, name }: Record<string, string>) => `${resourceName}: ${name}`)).toEqual([
      'Billing: System 1',
      'Billing: System 2',
      'Orders: Orders, staff',
    ]);
    expect((await ask('GET', 'v1/resourcerules')).body).toEqual(body);
    expect(body[2]).toEqual({
      id: IN_FILE,
      name: 'Orders, staff',
      resourceId: APPLICATION,
      resourceName: 'Orders',
      groups: [{ name: 'Staff' }],
      lowRiskAuthenticationFlow: { name: 'External' },
      enabled: true,
      disableSSO: false,
      skipSecondFactorIfUserNotExist: false,
      strictAccess: false,
      apiVersion: 2,
    });
  });

  it('one rule, in any letter case of its id, and those of one resource', async () => {
    expect((await ask('GET', `v2/resourcerules/${IN_FILE.toUpperCase()}`)).body.name).toBe('Orders, staff');
    const of = await ask('GET', `v1/resourcerules/resource/${APPLICATION}`);
    expect(of.body.map(({ id }: { id: string }) => id)).toEqual([IN_FILE]);
  });

  it.each([
    [`v2/resourcerules/${UNKNOWN}`, 404, 'resource_rule_not_found'],
    [`v2/resourcerules/resource/${UNKNOWN}`, 404, 'resource_not_found'],
    [`v2/authenticationflows/${UNKNOWN}`, 404, 'authentication_flow_not_found'],
    ['v2/resources', 404, 'not_found'],
  ])('GET %s: %i %s', async (path, status, errorCode) => {
    const answer = await ask('GET', path);
    expect(answer.status).toBe(status);
    expect(answer.body.errorCode).toBe(errorCode);
  });

  it('flows, those of the system among them, and transaction rules', async () => {
    const { body: flows } = await ask('GET', 'v2/authenticationflows');
    expect(flows).toHaveLength(14);
    expect(flows[0]).toMatchObject({
      id: '00000000-0000-4000-8000-00000000f001',
      name: 'Access Denied',
      readOnly: true,
    });
    expect(flows.at(-1)).toMatchObject({ name: 'Own', userLoginFirstStep: 'EXTERNAL', readOnly: false });
    expect((await ask('GET', `v2/authenticationflows/${flows.at(-1).id}`)).body).toEqual(flows.at(-1));
    const { body: rules } = await ask('GET', 'v1/transactionrules');
    expect(rules).toEqual([
      expect.objectContaining({
        name: 'Large',
        item: 'total',
        type: 'Numeric',
        operator: 'GREATER_THAN',
        value: '250',
      }),
    ]);
    const refused = await ask('POST', 'v2/authenticationflows', {});
    expect(refused.status).toBe(405);
    expect(refused.headers.get('allow')).toBe('GET, HEAD');
  });
});

describe('writing', () => {
  it('without groups is for everyone, decides the next check, and is one file', async () => {
    expect(await outcomeOf('orders.example.com')).toBe('allow');
    const rule = await made(2, {
      name: 'Closed',
      strictAccess: true,
      lowRiskAuthenticationFlow: { name: 'access denied' },
    });
    expect(rule).toMatchObject({
      apiVersion: 2,
      groups: [{ id: '00000000-0000-4000-8000-00000000a110', name: 'All Groups' }],
      resourceName: 'Orders',
      enabled: true,
    });
    expect(JSON.stringify(rule)).not.toContain('null');
    expect(await outcomeOf('orders.example.com')).toBe('deny');
    expect(JSON.parse(readFileSync(fileOf(rule.id), 'utf8'))).toEqual({
      resource_rules: [expect.objectContaining({ id: rule.id, name: 'Closed' })],
    });
    const gone = await ask('DELETE', `v1/resourcerules/${rule.id}`);
    expect(gone.status).toBe(200);
    expect(gone.text).toBe('');
    expect(existsSync(fileOf(rule.id))).toBe(false);
    expect(await outcomeOf('orders.example.com')).toBe('allow');
  });

  it('version 1 has steps; version 2 makes it flows, and back is refused', async () => {
    const rule = await made(1, { name: 'Steps', lowRiskFirstStep: 'OTP' });
    expect(rule.apiVersion).toBe(1);
    const second = await ask('PUT', `v2/resourcerules/${rule.id}`, {
      name: 'Steps',
      lowRiskAuthenticationFlow: { name: 'Passkey' },
    });
    expect(second.status).toBe(200);
    expect(second.body).toMatchObject({ apiVersion: 2, resourceId: APPLICATION });
    expect(second.body).not.toHaveProperty('lowRiskFirstStep');
    const back = await ask('PUT', `v1/resourcerules/${rule.id}`, { name: 'Steps', lowRiskFirstStep: 'OTP' });
    expect(back.status).toBe(409);
    expect(back.body.errorCode).toBe('resource_rule_api_version');
    expect((await ask('DELETE', `v1/resourcerules/${rule.id}`)).status).toBe(200);
  });

  it('takes ids, objects and what a GET gave, and echoes them', async () => {
    const rule = await made(2, {
      name: 'By ids',
      groups: [GROUP],
      acrFilter: 'SPECIFIC',
      acrIds: [ACR],
      domainIdpFilter: 'SPECIFIC',
      domainIdpIds: [PROVIDER],
      lowRiskAuthenticationFlowId: '7d1f0b0a-0000-4000-8000-0000000000f1',
      description: null,
    });
    expect(rule).toMatchObject({
      groups: [{ id: GROUP }],
      acrs: [{ id: ACR }],
      domainIdps: [{ id: PROVIDER }],
      lowRiskAuthenticationFlow: { id: '7d1f0b0a-0000-4000-8000-0000000000f1' },
    });
    const { revision } = postern;
    const again = await ask('PUT', `v2/resourcerules/${rule.id}`, rule);
    expect(again.status).toBe(200);
    expect(again.body).toEqual(rule);
    expect(again.headers.get('postern-revision')).not.toBe(revision);
    const first = again.headers.get('postern-revision');
    // Nothing changed, so nothing was written.
    expect((await ask('PUT', `v2/resourcerules/${rule.id}`, rule)).headers.get('postern-revision')).toBe(first);
    await ask('DELETE', `v2/resourcerules/${rule.id}`);
  });

  it('asked again after a broken connection gives the rule that was made', async () => {
    const body = { name: 'Once', lowRiskAuthenticationFlow: { name: 'External' } };
    const rule = await made(2, body);
    expect((await made(2, body)).id).toBe(rule.id);
    await ask('DELETE', `v2/resourcerules/${rule.id}`);
    const another = await made(2, body);
    expect(another.id).not.toBe(rule.id);
    await ask('DELETE', `v2/resourcerules/${another.id}`);
  });

  it('many at once are all there', async () => {
    const rules = await Promise.all(
      Array.from({ length: 8 }, (_, index) => made(2, { name: `Side by side ${index}`, enabled: false })),
    );
    const { body } = await ask('GET', 'v2/resourcerules');
    for (const rule of rules) expect(body.map(({ id }: { id: string }) => id)).toContain(rule.id);
    for (const rule of rules) expect((await ask('DELETE', `v2/resourcerules/${rule.id}`)).status).toBe(200);
  });
});

describe('what is refused', () => {
  const rows: readonly (readonly [string, 1 | 2, unknown, number, string, readonly string[]])[] = [
    ['no JSON', 2, '{', 400, 'body_malformed', []],
    ['a list', 2, [], 400, 'body_malformed', []],
    ['no name', 2, { resourceId: APPLICATION }, 400, 'key_missing', []],
    ['an unknown resource', 2, { name: 'X', resourceId: UNKNOWN }, 400, 'resource_unknown', ['/resourceId']],
    [
      'thresholds out of order',
      2,
      { name: 'X', lowRiskThreshold: 55, mediumRiskThreshold: 20 },
      400,
      'threshold_order',
      ['/lowRiskThreshold'],
    ],
    [
      'an unknown key deep inside',
      2,
      { name: 'X', ipContext: { allowedIpRanges: ['10.0.0.0/8'], riskPoints: 10 } },
      400,
      'key_missing',
      ['/ipContext', '/ipContext/riskPoints'],
    ],
    ['an unknown group id', 2, { name: 'X', groups: [UNKNOWN] }, 400, 'group_unknown', ['/groups/0']],
    ['an unknown group', 2, { name: 'X', groups: [{ name: 'G' }] }, 400, 'group_unknown', ['/groups/0/name']],
    ['an unknown acr id', 2, { name: 'X', acrIds: [ACR, UNKNOWN] }, 400, 'acr_unknown', ['/acrIds/1']],
    [
      'an unknown flow id',
      2,
      { name: 'X', lowRiskAuthenticationFlowId: UNKNOWN },
      400,
      'flow_unknown',
      ['/lowRiskAuthenticationFlowId'],
    ],
    ['acrs in both forms', 2, { name: 'X', acrIds: [ACR], acrs: [] }, 400, 'key_conflict', ['/acrIds', '/acrs']],
    [
      'a flow in version 1',
      1,
      { name: 'X', lowRiskAuthenticationFlow: { name: 'Passkey' } },
      400,
      'flow_needs_v2',
      ['/lowRiskAuthenticationFlow'],
    ],
    ['steps in version 2', 2, { name: 'X', lowRiskFirstStep: 'OTP' }, 400, 'steps_need_v1', ['/lowRiskFirstStep']],
    [
      'two kinds of faults: all places, the message of the first',
      2,
      { name: 'X', enabled: 'yes', lowRiskThreshold: 900 },
      400,
      'type_wrong',
      ['/enabled', '/lowRiskThreshold'],
    ],
    ['a name that is taken', 2, { name: 'Orders, staff' }, 409, 'rule_name_duplicate', ['/name']],
  ];

  it.each(rows)('%s', async (_, version, body, status, errorCode, parameters) => {
    const files = readdirSync(join(work, 'policies/managed/resource_rules'));
    const sent =
      typeof body === 'object' && body !== null && !Array.isArray(body) ? { resourceId: APPLICATION, ...body } : body;
    const answer = await ask('POST', `v${version}/resourcerules`, sent);
    expect(answer.body).toMatchObject({ errorCode, parameters });
    expect(answer.status).toBe(status);
    expect(answer.body.errorMessage).not.toBe('');
    expect(readdirSync(join(work, 'policies/managed/resource_rules'))).toEqual(files);
  });

  it('names the nearest key', async () => {
    const answer = await ask('POST', 'v2/resourcerules', {
      name: 'X',
      resourceId: APPLICATION,
      ipContext: { allowedIpRanges: ['10.0.0.0/8'], riskPoint: 1, riskPoints: 10 },
    });
    expect(answer.body.errorMessage).toContain('riskPoint');
  });

  it('steps of a level that has a flow are dropped', async () => {
    const rule = await made(2, {
      name: 'Both',
      lowRiskFirstStep: 'OTP',
      lowRiskAuthenticationFlow: { name: 'External' },
    });
    expect(rule).not.toHaveProperty('lowRiskFirstStep');
    await ask('DELETE', `v2/resourcerules/${rule.id}`);
  });

  it.each(['PUT', 'DELETE'])('%s of a rule that is written in a file: it is said where', async (method) => {
    const body = method === 'PUT' ? { name: 'Orders, staff' } : undefined;
    const answer = await ask(method, `v2/resourcerules/${IN_FILE}`, body);
    expect(answer.status).toBe(409);
    expect(answer.body).toEqual({
      errorCode: 'resource_rule_not_managed',
      errorMessage: 'resource rule "Orders, staff" is defined in policies/orders.yaml:9:5; change it there',
      parameters: ['policies/orders.yaml'],
    });
  });

  it('an unknown id, and another resource', async () => {
    for (const method of ['PUT', 'DELETE'])
      expect(
        (await ask(method, `v2/resourcerules/${UNKNOWN}`, method === 'PUT' ? { name: 'X' } : undefined)).status,
      ).toBe(404);
    const rule = await made(2, { name: 'Moves', enabled: false });
    const answer = await ask('PUT', `v2/resourcerules/${rule.id}`, { name: 'Moves', resourceId: SECOND });
    expect(answer.status).toBe(400);
    expect(answer.body.parameters).toEqual(['/resourceId']);
    await ask('DELETE', `v2/resourcerules/${rule.id}`);
  });

  it('the last enabled rule of a system resource is not disabled, nor is any removed', async () => {
    const [first, second] = SYSTEM;
    const disable = (id: string, name: string): Promise<Answered> =>
      ask('PUT', `v2/resourcerules/${id}`, { name, enabled: false, lowRiskAuthenticationFlow: { name: 'External' } });
    // Two at once cannot both pass.
    const both = await Promise.all([disable(first, 'System 1'), disable(second, 'System 2')]);
    expect(both.map(({ status }) => status).toSorted()).toEqual([200, 409]);
    expect(both.find(({ status }) => status === 409)?.body.errorCode).toBe('resource_rule_last_enabled');
    const removed = await ask('DELETE', `v2/resourcerules/${first}`);
    expect(removed.status).toBe(409);
    expect(removed.body.errorCode).toBe('resource_rule_system');
    const kept = await ask('GET', `v2/resourcerules/${first}`);
    expect(kept.body.systemResourceContext).toBe(true);
  });

  it('while another file does not load, and says which', async () => {
    const file = join(work, 'policies/broken.yaml');
    writeFileSync(file, `groups: [{ id: ${UNKNOWN}, name: G, include: [] }]\n`);
    const answer = await ask('POST', 'v2/resourcerules', { name: 'X', resourceId: APPLICATION });
    rmSync(file);
    expect(answer.status).toBe(400);
    expect(answer.body).toMatchObject({ errorCode: 'set_has_faults', parameters: ['policies/broken.yaml'] });
    expect(answer.body.errorMessage).toContain('policies/broken.yaml:1:');
    await made(2, { name: 'After' });
  });
});

describe('a restart', () => {
  it('keeps everything', async () => {
    const before = (await ask('GET', 'v2/resourcerules')).body;
    await postern.kill();
    postern = await startPostern(work);
    expect((await ask('GET', 'v2/resourcerules')).body).toEqual(before);
  });
});

describe('without admin tokens', () => {
  it('the paths do not exist', async () => {
    const file = join(work, 'postern.yaml');
    const before = readFileSync(file, 'utf8');
    writeFileSync(file, before.replace(/admin:[\s\S]*?log:/, 'log:'));
    for (const end = Date.now() + 15_000; Date.now() < end;) {
      if ((await ask('GET', 'v2/resourcerules')).status === 404) break;
      await new Promise((resolve) => {
        setTimeout(resolve, 50);
      });
    }
    const answer = await ask('GET', 'v2/resourcerules');
    expect(answer.status).toBe(404);
    expect(answer.text).toBe('');
  });
});
