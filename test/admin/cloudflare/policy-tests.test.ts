/** The policy tester: who of some users would be let in, told without letting anybody in. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { CLIENTS, resultOf } from './clients.ts';
import { ACCOUNT, IDS, READER, WRITER, ask, newFolder, removeFolder, serve } from './served.ts';
import type { Answer, Served } from './served.ts';

// A busy machine takes its time.
vi.setConfig({ testTimeout: 120_000 });

const STAFF = '7e000000-0000-4000-8000-000000000001';
const TESTS = 'zeroTrust.access.applications.policyTests';
const PATH = 'access/policy-tests';
const account = { account_id: ACCOUNT };
const staff = { name: 'inline', decision: 'allow', include: [{ email_domain: { domain: 'example.com' } }] };

let folder: string;
let served: Served;
beforeAll(async () => {
  folder = newFolder(
    `policies: [{ id: ${STAFF}, name: Staff, decision: allow, include: [{ email_domain: { domain: example.com } }] }]\n`,
  );
  mkdirSync(join(folder, 'tests'));
  writeFileSync(
    join(folder, 'tests/orders.yaml'),
    `- name: staff
  request: { host: orders.example.com }
  identity: { email: ann@example.com, subject: u1, name: Ann }
  expect: { outcome: deny }
- name: strangers
  request: { host: orders.example.com }
  expect: { outcome: deny }
  table:
    - { identity: { email: bob@other.example } }
    - { identity: { email: bob@other.example } }
    - { identity: { email: eve@example.com, provider: ${IDS.okta} } }
`,
  );
  served = await serve(folder);
});
afterAll(async () => {
  await served?.kill();
  removeFolder(folder);
});

describe.each(Object.entries(CLIENTS))('%s', (_, connect) => {
  it('asks about the users of the cases, and reads who is approved and who is not', async () => {
    const client = connect(served);
    const made = resultOf(await client.call(`${TESTS}.create`, [], { ...account, policies: [STAFF] }));
    expect(made).toEqual({ id: expect.stringMatching(/^[0-9a-f]{64}$/), status: 'success' });
    const id = String(made['id']);
    expect(resultOf(await client.call(`${TESTS}.get`, [id], account))).toEqual({
      id,
      status: 'complete',
      total_users: 3,
      users_approved: 2,
      users_blocked: 1,
      users_errored: 0,
      percent_approved: 67,
      percent_blocked: 33,
      percent_errored: 0,
      percent_users_processed: 100,
    });
    const users = async (status?: string): Promise<unknown> =>
      resultOf(
        await client.all(`${TESTS}.users.list`, [id], { ...account, ...(status === undefined ? {} : { status }) }),
      );
    expect(await users()).toEqual([
      { id: 'u1', email: 'ann@example.com', name: 'Ann', status: 'approved' },
      { id: 'bob@other.example', email: 'bob@other.example', status: 'blocked' },
      { id: 'eve@example.com', email: 'eve@example.com', status: 'approved' },
    ]);
    expect(await users('fail')).toMatchObject([{ email: 'bob@other.example' }]);
    expect(await users('error')).toEqual([]);
    client.close();
  });
});

async function statuses(body: object): Promise<unknown> {
  const made = await ask(served, 'POST', PATH, body);
  expect(made.body?.errors).toEqual([]);
  const { id } = { ...(made.body?.result as { readonly id: string }) };
  const users = await ask(served, 'GET', `${PATH}/${id}/users`);
  return (users.body?.result as readonly { readonly status: string }[] | undefined)?.map(({ status }) => status);
}

describe('users that are named', () => {
  const ann = { email: 'ann@example.com', provider: IDS.okta, amr: ['pwd', 'otp'] };
  it.each<[string, readonly unknown[], readonly object[], readonly string[]]>([
    ['nobody', [staff], [], []],
    ['one of each', [staff], [ann, { email: 'bob@other.example' }], ['approved', 'blocked']],
    ['a deny policy before', [{ ...staff, name: 'no', decision: 'deny' }, STAFF], [ann], ['blocked']],
    [
      'bypass',
      [{ ...staff, decision: 'bypass', include: [{ everyone: {} }] }],
      [{ email: 'x@y.example' }],
      ['approved'],
    ],
    [
      'what only a source could tell is an error',
      [{ ...staff, require: [{ geo: { country_code: 'CA' } }] }],
      [ann],
      ['error'],
    ],
    [
      'what a token does not say is none',
      [{ ...staff, require: [{ auth_method: { auth_method: 'mfa' } }] }],
      [{ email: 'ann@example.com' }],
      ['blocked'],
    ],
    ['a method that was used', [{ ...staff, require: [{ auth_method: { auth_method: 'otp' } }] }], [ann], ['approved']],
    ['groups by name', [{ ...staff, include: [{ group: { id: 'Base' } }] }], [ann], ['approved']],
  ])('%s', async (_, policies, users, expected) => {
    expect(await statuses({ policies, users })).toEqual(expected);
  });
});

describe('refusals', () => {
  const told = ({ status, body }: Answer): string =>
    `${status} ${(body?.errors ?? []).map(({ message, source }) => `${/: (\w+):/.exec(message)?.[1] ?? message} ${source?.pointer ?? ''}`).join(', ')}`.trim();
  it.each<[string, unknown, string]>([
    ['no policies', {}, '400 type_wrong /policies'],
    ['none at all', { policies: [] }, '400 type_wrong /policies'],
    ['a policy that is not there', { policies: [STAFF, IDS.group] }, '400 policy_unknown /policies/1'],
    [
      'a fault in a policy',
      { policies: [{ ...staff, include: [{ ip: { ip: 'x' } }] }] },
      '400 cidr_invalid /policies/0/include/0/ip/ip',
    ],
    ['a key that is none', { policies: [STAFF], user: [] }, '400 key_unknown /user'],
    ['a user who is no identity', { policies: [STAFF], users: [{ mail: 'x' }] }, '400 key_unknown /users/0/mail'],
    [
      'a provider that is not there',
      { policies: [STAFF], users: [{ provider: 'nowhere' }] },
      '400 provider_unknown /users/0/provider',
    ],
    ['users no list', { policies: [STAFF], users: {} }, '400 type_wrong /users'],
  ])('%s', async (_, body, expected) => {
    expect(told(await ask(served, 'POST', PATH, body))).toBe(expected);
  });

  it('another id, another status', async () => {
    expect((await ask(served, 'GET', `${PATH}/${'0'.repeat(64)}`)).status).toBe(404);
    const made = await ask(served, 'POST', PATH, { policies: [STAFF] });
    const { id } = { ...(made.body?.result as { readonly id: string }) };
    expect(told(await ask(served, 'GET', `${PATH}/${id}/users?status=maybe`))).toBe('400 parameter_invalid');
  });

  it('whoever may read may ask, and nothing is changed by it', async () => {
    const headers = (token: string) => ({ authorization: `Bearer ${token}` });
    const before = (await ask(served, 'GET', 'access/apps')).headers.get('postern-revision');
    const body = { policies: [STAFF] };
    const answer = await ask(served, 'POST', PATH, body, headers(READER));
    expect([answer.status, answer.headers.get('postern-revision')]).toEqual([200, before]);
    expect((await ask(served, 'POST', PATH, body, headers(WRITER))).status).toBe(403);
    const apps = await ask(served, 'GET', 'access/apps');
    expect(apps.body?.result_info).toMatchObject({ total_count: 1 });
  });

  it('a hundred are kept: the oldest goes', async () => {
    const first = await ask(served, 'POST', PATH, { policies: [staff], users: [] });
    const { id } = { ...(first.body?.result as { readonly id: string }) };
    expect((await ask(served, 'GET', `${PATH}/${id}`)).status).toBe(200);
    for (let count = 0; count < 100; count += 1) await ask(served, 'POST', PATH, { policies: [staff], users: [] });
    expect((await ask(served, 'GET', `${PATH}/${id}`)).status).toBe(404);
  });
});
