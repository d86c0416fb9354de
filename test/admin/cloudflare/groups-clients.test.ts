/** Groups, driven by Cloudflare's official clients. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { ruleTypes } from '../../../src/rules/registry.ts';
import { checkClient } from '../../envoy/check-client.ts';
import { decodeResponse, encodeRequest, metadataOf } from '../../envoy/official.ts';
import { CLIENTS, errorOf, resultOf } from './clients.ts';
import type { OfficialClient } from './clients.ts';
import { ACCOUNT, IDS, RULES, newFolder, removeFolder, serve } from './served.ts';
import type { Served } from './served.ts';

// A busy machine takes its time.
vi.setConfig({ testTimeout: 120_000 });

const GROUPS = 'zeroTrust.access.groups';
const account = { account_id: ACCOUNT };

interface Group {
  readonly id: string;
  readonly name: string;
  readonly include: readonly object[];
  readonly exclude: readonly object[];
  readonly require: readonly object[];
  readonly is_default: boolean;
  readonly created_at?: string;
  readonly updated_at?: string;
}

it('has a rule of every type', () => {
  expect(Object.keys(RULES).toSorted()).toEqual([...ruleTypes.keys()].toSorted());
  expect(Object.keys(RULES)).toHaveLength(26);
});

describe.each(Object.entries(CLIENTS))('%s', (clientName, connect) => {
  let folder: string;
  let served: Served;
  let client: OfficialClient;
  beforeAll(async () => {
    folder = newFolder();
    served = await serve(folder);
    client = connect(served);
  });
  afterAll(async () => {
    client?.close();
    await served?.kill();
    removeFolder(folder);
  });

  it.each(Object.entries(RULES))(
    'a group of the rule %s: made, read, listed, changed, removed',
    async (word, value) => {
      const name = `group of ${word}`;
      const rules = { include: [{ [word]: value }], exclude: [{ geo: { country_code: 'KP' } }] };
      const made = resultOf(await client.call<Group>(`${GROUPS}.create`, [], { ...account, name, ...rules }));
      expect(made).toMatchObject({ name, ...rules, require: [], is_default: false });
      expect(made.id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
      expect(resultOf(await client.call<Group>(`${GROUPS}.get`, [made.id], account))).toEqual(made);
      const listed = resultOf(await client.all<Group>(`${GROUPS}.list`, [], account));
      expect(listed.find(({ id }) => id === made.id)).toEqual(made);
      const changed = resultOf(
        await client.call<Group>(`${GROUPS}.update`, [made.id], {
          ...account,
          name: `${name}, changed`,
          include: [{ email: { email: 'bob@example.com' } }, ...rules.include],
          require: [{ [word]: value }],
        }),
      );
      expect(changed).toMatchObject({
        id: made.id,
        name: `${name}, changed`,
        include: [{ email: { email: 'bob@example.com' } }, { [word]: value }],
        exclude: [],
        require: [{ [word]: value }],
        created_at: made.created_at,
      });
      expect(resultOf(await client.call<Group>(`${GROUPS}.get`, [made.id], account))).toEqual(changed);
      expect(resultOf(await client.call(`${GROUPS}.delete`, [made.id], account))).toEqual({ id: made.id });
      expect(errorOf(await client.call(`${GROUPS}.get`, [made.id], account))).toMatchObject({
        type: 'NotFoundError',
        status: 404,
        errors: [{ code: 12135 }],
      });
    },
  );

  it('sixty groups come back through as many pages as the client asks for, in the order they were made', async () => {
    const ids: string[] = [];
    for (let number = 0; number < 60; number += 1) {
      const name = `page ${String(number).padStart(2, '0')}`;
      const made = await client.call<Group>(`${GROUPS}.create`, [], {
        ...account,
        name,
        include: [{ ip: { ip: `10.0.0.${number}` } }],
      });
      ids.push(resultOf(made).id);
    }
    const sizes = clientName === 'npm cloudflare 4' ? [undefined] : [undefined, 25, 7, 60];
    for (const size of sizes) {
      const params = size === undefined ? account : { ...account, per_page: size };
      const listed = resultOf(await client.all<Group>(`${GROUPS}.list`, [], params)).map(({ id }) => id);
      expect(listed.filter((id) => ids.includes(id)).toSorted()).toEqual(ids.toSorted());
      expect(listed[0]).toBe(IDS.group);
      expect(new Set(listed).size).toBe(listed.length);
    }
    const named = async (params: object): Promise<string[]> =>
      resultOf(await client.all<Group>(`${GROUPS}.list`, [], { ...account, ...params })).map(({ name }) => name);
    expect(await named({ name: 'PAGE 07' })).toEqual(['page 07']);
    expect(await named({ name: 'page' })).toEqual([]);
    expect((await named({ search: 'age 1' })).toSorted()).toEqual(
      Array.from({ length: 10 }, (_, number) => `page 1${number}`),
    );
    expect(await named({ search: ids[3] ?? '' })).toEqual(['page 03']);
    expect(await named({ search: 'page 1', name: 'page 12' })).toEqual(['page 12']);
    for (const id of ids) resultOf(await client.call(`${GROUPS}.delete`, [id], account));
    expect(await named({ search: 'page' })).toEqual([]);
  });

  it('tells what is wrong by its type, and where by a pointer', async () => {
    const create = (params: object) => client.call(`${GROUPS}.create`, [], { ...account, ...params });
    expect(errorOf(await create({ name: 'x', include: [{ email: { email: 'ann' } }] }))).toMatchObject({
      type: 'BadRequestError',
      status: 400,
      errors: [
        {
          code: 12130,
          message: expect.stringMatching(/^access\.api\.error\.invalid_request: email_invalid: /),
          source: { pointer: '/include/0/email/email' },
        },
      ],
    });
    const many = errorOf(
      await create({ name: 'Base', include: [{ everyone: {} }, { ip: { ip: '300.0.0.1' } }], require: [{ geo: {} }] }),
    );
    expect(many.errors.map(({ source }) => source?.pointer).toSorted()).toEqual([
      '/include/1/ip/ip',
      '/name',
      '/require/0/geo',
    ]);
    expect(errorOf(await client.call(`${GROUPS}.list`, [], { account_id: 'f'.repeat(32) }))).toMatchObject({
      type: 'PermissionDeniedError',
      status: 403,
      errors: [{ code: 9109, message: 'Unauthorized to access requested resource' }],
    });
    const stranger = connect({ ...served, token: 'd'.repeat(48) });
    expect(errorOf(await stranger.call(`${GROUPS}.get`, [IDS.group], account))).toMatchObject({
      type: 'AuthenticationError',
      status: 401,
      errors: [{ code: 10000, message: 'Authentication error' }],
    });
    stranger.close();
    const used = resultOf(
      await client.call<Group>(`${GROUPS}.create`, [], { ...account, name: 'used', include: [{ everyone: {} }] }),
    );
    const user = resultOf(
      await client.call<Group>(`${GROUPS}.create`, [], {
        ...account,
        name: 'user',
        include: [{ group: { id: used.id } }],
      }),
    );
    const inUse = errorOf(await client.call(`${GROUPS}.delete`, [used.id], account));
    expect(inUse).toMatchObject({ type: 'BadRequestError', status: 400 });
    expect(inUse.errors[0]?.message).toContain(`group "user" (policies/managed/groups/${user.id}.json:`);
    resultOf(await client.call(`${GROUPS}.delete`, [user.id], account));
    resultOf(await client.call(`${GROUPS}.delete`, [used.id], account));
  });

  it('a zone sees the same groups', async () => {
    const zone = { zone_id: ACCOUNT };
    const made = resultOf(
      await client.call<Group>(`${GROUPS}.create`, [], { ...zone, name: 'zone', include: [{ everyone: {} }] }),
    );
    expect(resultOf(await client.call<Group>(`${GROUPS}.get`, [made.id], account))).toEqual(made);
    expect(resultOf(await client.all<Group>(`${GROUPS}.list`, [], zone))).toContainEqual(made);
    resultOf(await client.call(`${GROUPS}.delete`, [made.id], zone));
  });

  it('decides the next check, and is there again after the program was killed', async () => {
    let check = checkClient(served.check);
    const outcome = async (address: string): Promise<unknown> => {
      const source = { address: { socket_address: { address, port_value: 51000 } } };
      const http = { method: 'GET', host: 'office.example.com', path: '/', headers: {} };
      const answer = await check.check(encodeRequest({ attributes: { source, request: { http } } }));
      return metadataOf(decodeResponse(answer))['outcome'];
    };
    const office = (ip: string) => ({ ...account, name: 'office', include: [{ ip: { ip } }] });
    const made = resultOf(await client.call<Group>(`${GROUPS}.create`, [], office('10.1.0.0/16')));
    writeFileSync(
      join(folder, 'policies/office.yaml'),
      `applications: [{ id: 9a4b2f0e-3f55-4a57-9b0e-000000000002, name: Office, destinations: [office.example.com], policies: [{ name: in, decision: bypass, include: [{ group: { id: ${made.id} } }] }] }]\n`,
    );
    // What a person edits is live within a second; what the client asks for, with the answer.
    await vi.waitFor(async () => expect(await outcome('10.1.2.3')).toBe('allow'), { timeout: 20_000, interval: 20 });
    const changed = resultOf(await client.call<Group>(`${GROUPS}.update`, [made.id], office('10.2.0.0/16')));
    expect(await outcome('10.1.2.3')).toBe('deny');
    expect(await outcome('10.2.2.3')).toBe('allow');
    const before = resultOf(await client.all<Group>(`${GROUPS}.list`, [], account));

    check.close();
    client.close();
    await served.kill();
    served = await serve(folder);
    client = connect(served);
    check = checkClient(served.check);
    expect(await outcome('10.2.2.3')).toBe('allow');
    expect(resultOf(await client.call<Group>(`${GROUPS}.get`, [made.id], account))).toEqual(changed);
    expect(resultOf(await client.all<Group>(`${GROUPS}.list`, [], account))).toEqual(before);
    check.close();
  });
});
