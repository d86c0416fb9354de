/** What stands beside groups, asked by hand: secrets, bad bodies, what a client would never send. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { writeRefused } from '../../../src/admin/cloudflare/answers.ts';
import { IDS, READER, TOKEN, ask, digest, newFolder, removeFolder, serve } from './served.ts';
import type { Answer, Served } from './served.ts';

// A busy machine takes its time.
vi.setConfig({ testTimeout: 120_000 });

let folder: string;
let served: Served;
beforeAll(async () => {
  folder = newFolder();
  served = await serve(folder);
});
afterAll(async () => {
  await served?.kill();
  removeFolder(folder);
});

function told({ status, body }: Answer): string {
  const errors = (body?.errors ?? []).map(
    ({ code, message, source }) =>
      `${code} ${/^access\.api\.error\.(?:invalid_request: )?(\w+)/.exec(message)?.[1] ?? message}${source ? ` ${source.pointer}` : ''}`,
  );
  return `${status} ${errors.join(', ')}`.trim();
}

function resultIn<T = Record<string, string>>({ body }: Answer): T {
  if (body?.success !== true) throw new Error(JSON.stringify(body));
  return body.result as T;
}

const TOKENS = 'access/service_tokens';
const LISTS = 'gateway/lists';
const POLICIES = 'access/policies';
const staff = { name: 'staff', decision: 'allow', include: [{ everyone: {} }] };

describe('refusals', () => {
  it.each<[string, string, unknown, string]>([
    ['POST', TOKENS, {}, '400 12130 key_missing'],
    ['POST', TOKENS, { name: 'x', client_secret: 'mine' }, '400 12130 key_unknown /client_secret'],
    [
      'POST',
      TOKENS,
      { name: 'x', client_secret_sha256: digest('mine') },
      '400 12130 key_unknown /client_secret_sha256',
    ],
    ['POST', TOKENS, { name: 'x', duration: '-1h' }, '400 12130 duration_invalid /duration'],
    ['POST', TOKENS, { name: 'x', duration: 8760 }, '400 12130 type_wrong /duration'],
    ['POST', TOKENS, { name: 'x', duration: '99999999999999h' }, '201'],
    ['POST', TOKENS, { name: 'x', enabled: 'yes' }, '400 12130 type_wrong /enabled'],
    ['POST', TOKENS, { name: 'x', client_secret_version: 0 }, '400 12130 value_range /client_secret_version'],
    ['POST', TOKENS, { name: 'n'.repeat(351) }, '400 12130 value_too_long /name'],
    ['PUT', `${TOKENS}/${IDS.serviceToken}`, { name: 'x' }, '400 12130 defined_in_file'],
    ['POST', `${TOKENS}/${IDS.serviceToken}/rotate`, '', '400 12130 defined_in_file'],
    ['POST', `${TOKENS}/${IDS.serviceToken}/refresh`, '', '400 12130 defined_in_file'],
    ['POST', `${TOKENS}/${IDS.group}/rotate`, '', '404 12135 not_found'],
    ['POST', `${TOKENS}/${IDS.serviceToken}/rotate`, { secret: 'x' }, '400 12130 key_unknown /secret'],
    ['POST', LISTS, { name: 'x' }, '400 12130 key_missing'],
    ['POST', LISTS, { name: 'x', type: 'IP', items: 'x' }, '400 12130 type_wrong /items'],
    ['POST', LISTS, { name: 'x', type: 'IP', items: ['10.0.0.1'] }, '400 12130 type_wrong /items/0'],
    [
      'POST',
      LISTS,
      { name: 'x', type: 'IP', items: [{ value: '10.0.0.1' }, { value: 'ann' }] },
      '400 12130 cidr_invalid /items/1/value',
    ],
    [
      'POST',
      LISTS,
      { name: 'x', type: 'EMAIL', items: [{ value: '*@example.com' }] },
      '400 12130 email_invalid /items/0/value',
    ],
    ['PUT', `${LISTS}/${IDS.emails}`, { name: 'x' }, '400 12130 defined_in_file'],
    ['PATCH', `${LISTS}/${IDS.emails}`, { append: [] }, '400 12130 defined_in_file'],
    ['PATCH', `${LISTS}/${IDS.group}`, { append: [] }, '404 12135 not_found'],
    ['PATCH', `${LISTS}/${IDS.emails}`, { append: {} }, '400 12130 type_wrong /append'],
    ['PATCH', `${LISTS}/${IDS.emails}`, { remove: [{ value: 'x' }] }, '400 12130 type_wrong /remove/0'],
    ['PATCH', `${LISTS}/${IDS.emails}`, { items: [] }, '400 12130 key_unknown /items'],
    ['GET', `${LISTS}/${IDS.group}/items`, undefined, '404 12135 not_found'],
    ['POST', POLICIES, { ...staff, decision: 'maybe' }, '400 12130 value_unknown /decision'],
    [
      'POST',
      POLICIES,
      { ...staff, decision: 'bypass', include: [{ email: { email: 'ann@example.com' } }] },
      '400 12130 bypass_reads_identity /include/0/email',
    ],
    ['POST', POLICIES, { ...staff, isolation_required: true }, '400 12130 isolation_unsupported /isolation_required'],
    ['POST', POLICIES, { ...staff, session_duration: 'long' }, '400 12130 duration_invalid /session_duration'],
    ['POST', POLICIES, { ...staff, include: [] }, '400 12130 include_empty /include'],
    ['PATCH', `${POLICIES}/${IDS.group}`, {}, '405 7001'],
    ['POST', 'access/apps', {}, '405 7001'],
    ['PUT', `access/identity_providers/${IDS.okta}`, {}, '405 7001'],
    ['GET', `access/apps/${IDS.group}`, undefined, '404 12135 not_found'],
    ['GET', `access/apps/${IDS.application}/policies/${IDS.group}`, undefined, '404 12135 not_found'],
    ['GET', `access/identity_providers/${IDS.group}`, undefined, '404 12135 not_found'],
    [
      'GET',
      `access/identity_providers/${IDS.okta}/scim/groups?search_contains=a&search_starts_with=b`,
      undefined,
      '400 12130 parameter_invalid',
    ],
    [
      'GET',
      `access/identity_providers/${IDS.okta}/scim/groups?${'cf_resource_id=a&'.repeat(51)}`,
      undefined,
      '400 12130 parameter_invalid',
    ],
    [
      'GET',
      `/zones/${'0'.repeat(32)}/access/service_tokens`,
      undefined,
      '403 9109 Unauthorized to access requested resource',
    ],
    ['GET', `/zones/023e105f4ecef8ad9ca31a8372d0c353/gateway/lists`, undefined, '404 7003'],
  ])('%s %s %j', async (method, path, body, expected) => {
    const answer = await ask(served, method, path, body);
    expect(told(answer).startsWith(expected) ? expected : told(answer)).toBe(expected);
    if (answer.status === 201) await ask(served, 'DELETE', `${path}/${resultIn(answer)['id']}`);
  });

  it.each([
    ['POST', TOKENS],
    ['POST', `${TOKENS}/${IDS.serviceToken}/rotate`],
    ['POST', `${TOKENS}/${IDS.serviceToken}/refresh`],
    ['PATCH', `${LISTS}/${IDS.emails}`],
    ['POST', POLICIES],
  ])('%s %s with the scope read', async (method, path) => {
    const answer = await ask(served, method, path, {}, { authorization: `Bearer ${READER}` });
    expect(told(answer)).toBe('403 9109 Unauthorized to access requested resource');
  });
});

describe('objects made alike', () => {
  it('are two, unless the client says that it asks again', async () => {
    const body = { name: 'twin', duration: '1h' };
    const one = resultIn(await ask(served, 'POST', TOKENS, body));
    const two = resultIn(await ask(served, 'POST', TOKENS, body));
    expect(two['id']).not.toBe(one['id']);
    const again = { authorization: `Bearer ${TOKEN}`, 'x-stainless-retry-count': '1' };
    // The same answer, secret and all: the first one never arrived.
    expect(resultIn(await ask(served, 'POST', TOKENS, body, again))).toEqual(two);
    const list = { name: 'twins', type: 'EMAIL' };
    const first = resultIn(await ask(served, 'POST', LISTS, list));
    const second = resultIn(await ask(served, 'POST', LISTS, list));
    expect(second['id']).not.toBe(first['id']);
    for (const { id } of [one, two]) await ask(served, 'DELETE', `${TOKENS}/${id}`);
    for (const { id } of [first, second]) await ask(served, 'DELETE', `${LISTS}/${id}`);
  });
});

describe('items of a list', () => {
  it('keep when they came, are not doubled, and leave by their value', async () => {
    const made = resultIn(
      await ask(served, 'POST', LISTS, { name: 'l', type: 'EMAIL', items: [{ value: 'a@x.example' }] }),
    );
    const path = `${LISTS}/${made['id']}`;
    const file = join(folder, `policies/managed/lists/${made['id']}.json`);
    const old = readFileSync(file, 'utf8').replace(
      /("value": "a@x\.example",\s+"created_at": )"[^"]+"/,
      '$1"2026-01-01T00:00:00Z"',
    );
    expect(old).toContain('2026-01-01');
    writeFileSync(file, old);
    interface Item {
      readonly value: string;
      readonly description?: string;
      readonly created_at: string;
    }
    const edited = resultIn<{ readonly items: readonly Item[]; readonly count: number }>(
      await ask(served, 'PATCH', path, {
        append: [{ value: 'b@x.example' }, { value: 'a@x.example', description: 'again' }],
        remove: ['nobody@x.example'],
      }),
    );
    expect(edited.items.map(({ value, description }) => [value, description])).toEqual([
      ['b@x.example', undefined],
      ['a@x.example', 'again'],
    ]);
    expect(edited.items[1]?.created_at).toBe('2026-01-01T00:00:00Z');
    expect(told(await ask(served, 'PUT', path, { name: 'l', type: 'IP' }))).toBe('400 12130 type_changed /type');
    await ask(served, 'DELETE', path);
  });
});

describe('a disk that refuses', () => {
  it.each([
    [
      { kind: 'read_only', code: 'EROFS' },
      403,
      12130,
      'access.api.error.read_only: the policy folder cannot be written (EROFS); change its files instead',
      null,
    ],
    [{ kind: 'disk', code: 'ENOSPC' }, 500, 10001, 'the object could not be written (ENOSPC)', 'false'],
  ] as const)('%j', (refusal, status, code, message, retry) => {
    const answer = writeRefused('rev', refusal, 'group', 'x');
    expect([answer.status, answer.headers?.['x-should-retry'] ?? null]).toEqual([status, retry]);
    expect(JSON.parse(String(answer.body))).toMatchObject({ success: false, errors: [{ code, message }] });
  });
});

it('no secret that was ever made is in the log', async () => {
  const secrets: string[] = [];
  const made = resultIn(await ask(served, 'POST', TOKENS, { name: 'quiet' }));
  secrets.push(made['client_secret'] ?? '');
  const path = `${TOKENS}/${made['id']}`;
  secrets.push(resultIn(await ask(served, 'POST', `${path}/rotate`))['client_secret'] ?? '');
  secrets.push(resultIn(await ask(served, 'PUT', path, { client_secret_version: 3 }))['client_secret'] ?? '');
  expect(new Set(secrets.map((secret) => /^[0-9a-f]{64}$/.test(secret) && secret)).size).toBe(3);
  await vi.waitFor(
    () => expect(served.text().match(new RegExp(`"kind":"service token","id":"${made['id']}"`, 'g'))).toHaveLength(3),
    { timeout: 20_000, interval: 20 },
  );
  const lists = await ask(served, 'GET', TOKENS);
  for (const secret of secrets) {
    expect(served.text()).not.toContain(secret);
    expect(served.text()).not.toContain(digest(secret));
    expect(JSON.stringify(lists.body)).not.toContain(secret);
    expect(JSON.stringify(lists.body)).not.toContain(digest(secret));
  }
  await ask(served, 'DELETE', path);
});
