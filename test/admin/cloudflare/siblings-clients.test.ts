/** Service tokens, lists, reusable policies and what can only be read, driven by Cloudflare's official clients. */
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { checkClient } from '../../envoy/check-client.ts';
import { decodeResponse, encodeRequest, metadataOf } from '../../envoy/official.ts';
import { CLIENTS, errorOf, resultOf } from './clients.ts';
import type { OfficialClient } from './clients.ts';
import { ACCOUNT, IDS, digest, newFolder, removeFolder, serve } from './served.ts';
import type { Served } from './served.ts';

// A busy machine takes its time.
vi.setConfig({ testTimeout: 120_000 });

const account = { account_id: ACCOUNT };
const zone = { zone_id: ACCOUNT };
const TOKENS = 'zeroTrust.access.serviceTokens';
const LISTS = 'zeroTrust.gateway.lists';
const POLICIES = 'zeroTrust.access.policies';

interface Token {
  readonly id: string;
  readonly client_id: string;
  readonly client_secret?: string;
  readonly duration?: string;
  readonly expires_at?: string;
  readonly created_at: string;
  readonly previous_client_secret_expires_at?: string;
}

describe.each(Object.entries(CLIENTS))('%s', (clientName, connect) => {
  const isOld = clientName === 'npm cloudflare 4';
  let folder: string;
  let served: Served;
  let client: OfficialClient;
  beforeAll(async () => {
    folder = newFolder(`scim_groups:
  - { identity_provider_id: ${IDS.okta}, id: a1, displayName: Everyone, externalId: x1, meta: { created: 2026-01-01T00:00:00Z, lastModified: 2026-01-02T00:00:00+01:00 } }
  - { identity_provider_id: ${IDS.okta}, id: a2, displayName: Core Engineers, externalId: x2 }
  - { identity_provider_id: ${IDS.entra}, id: a3, displayName: Everyone }
policies:
  - { id: 7e000000-0000-4000-8000-000000000001, name: Staff, decision: allow, include: [{ email_domain: { domain: example.com } }], approval_required: false }
applications:
  - { id: 9a4b2f0e-3f55-4a57-9b0e-00000000000a, name: Wiki, destinations: [wiki.example.com, wiki.example.com/admin], aud: wiki, policies: [{ id: 7e000000-0000-4000-8000-000000000001 }, { name: Inline, decision: deny, include: [{ everyone: {} }] }] }
`);
    served = await serve(folder);
    client = connect(served);
  });
  afterAll(async () => {
    client?.close();
    await served?.kill();
    removeFolder(folder);
  });

  describe('service tokens', () => {
    it('the secret is told once and kept as its digest alone', async () => {
      const made = resultOf(await client.call<Token>(`${TOKENS}.create`, [], { ...account, name: 'ci two' }));
      expect(made).toMatchObject({ name: 'ci two', duration: '8760h', enabled: true, client_secret_version: 1 });
      expect(made.client_id).toMatch(/^[0-9a-f]{32}\.access$/);
      expect(made.client_secret).toMatch(/^[0-9a-f]{64}$/);
      expect(Date.parse(made.expires_at ?? '') - Date.parse(made.created_at)).toBe(8760 * 3_600_000);
      const { client_secret: secret = '', ...rest } = made;
      expect(resultOf(await client.call<Token>(`${TOKENS}.get`, [made.id], account))).toEqual(rest);
      expect(resultOf(await client.all<Token>(`${TOKENS}.list`, [], zone))).toContainEqual(rest);
      const file = readFileSync(join(folder, `policies/managed/service_tokens/${made.id}.json`), 'utf8');
      expect(file).toContain(digest(secret));
      expect(file).not.toContain(secret);
      expect(served.text()).not.toContain(secret);
      expect(served.text()).not.toContain(digest(secret));
      resultOf(await client.call(`${TOKENS}.delete`, [made.id], account));
      expect(errorOf(await client.call(`${TOKENS}.get`, [made.id], account)).status).toBe(404);
    });

    it('opens what it is for, with the old and the new secret after a rotation, as long as each lasts', async () => {
      const made = resultOf(
        await client.call<Token>(`${TOKENS}.create`, [], { ...account, name: 'robot', duration: '24h' }),
      );
      writeFileSync(
        join(folder, 'policies/robot.yaml'),
        `applications: [{ id: 9a4b2f0e-3f55-4a57-9b0e-00000000000b, name: Robots, destinations: [robots.example.com], policies: [{ name: in, decision: non_identity, include: [{ service_token: { token_id: ${made.id} } }] }] }]\n`,
      );
      const check = checkClient(served.check);
      const outcome = async (secret: string | undefined): Promise<unknown> => {
        const headers = { 'cf-access-client-id': made.client_id, 'cf-access-client-secret': secret ?? '' };
        const http = { method: 'GET', host: 'robots.example.com', path: '/', headers };
        const answer = await check.check(encodeRequest({ attributes: { request: { http } } }));
        return metadataOf(decodeResponse(answer))['outcome'];
      };
      await vi.waitFor(async () => expect(await outcome(made.client_secret)).toBe('allow'), {
        timeout: 20_000,
        interval: 20,
      });
      const later = new Date(Date.now() + 3_600_000).toISOString().replace(/\.\d+/, '');
      const rotated = resultOf(
        await client.call<Token>(`${TOKENS}.rotate`, [made.id], {
          ...account,
          ...(isOld ? {} : { previous_client_secret_expires_at: later }),
        }),
      );
      expect(rotated).toMatchObject({ id: made.id, client_id: made.client_id, client_secret_version: 2 });
      expect(rotated.client_secret).toMatch(/^[0-9a-f]{64}$/);
      expect(rotated.client_secret).not.toBe(made.client_secret);
      expect(await outcome(rotated.client_secret)).toBe('allow');
      // The old client cannot say how long the secret before lasts: it ends at once.
      expect(await outcome(made.client_secret)).toBe(isOld ? 'unauthenticated' : 'allow');
      if (!isOld) expect(rotated.previous_client_secret_expires_at).toBe(later);

      const raised = resultOf(
        await client.call<Token>(`${TOKENS}.update`, [made.id], { ...account, client_secret_version: 3 }),
      );
      expect(raised.client_secret).toMatch(/^[0-9a-f]{64}$/);
      expect(await outcome(raised.client_secret)).toBe('allow');
      expect(await outcome(rotated.client_secret)).toBe('unauthenticated');
      const same = resultOf(
        await client.call<Token>(`${TOKENS}.update`, [made.id], {
          ...account,
          client_secret_version: 3,
          name: 'robot 2',
        }),
      );
      expect(same).toMatchObject({ name: 'robot 2', duration: '24h' });
      expect(same).not.toHaveProperty('client_secret');
      expect(
        errorOf(await client.call(`${TOKENS}.update`, [made.id], { ...account, client_secret_version: 2 })),
      ).toMatchObject({
        status: 400,
        errors: [{ source: { pointer: '/client_secret_version' } }],
      });
      resultOf(await client.call(`${TOKENS}.update`, [made.id], { ...account, enabled: false }));
      expect(await outcome(raised.client_secret)).toBe('unauthenticated');
      expect(errorOf(await client.call(`${TOKENS}.delete`, [made.id], account)).errors[0]?.message).toContain(
        'service_token_in_use: service token "robot 2" is used by policy "in" of application "Robots" (policies/robot.yaml:1:',
      );
      for (const { client_secret: secret = '' } of [made, rotated, raised]) expect(served.text()).not.toContain(secret);
      check.close();
    });

    it('last as long as they say, and a refresh counts from now', async () => {
      const forever = resultOf(
        await client.call<Token>(`${TOKENS}.create`, [], { ...account, name: 'f', duration: 'forever' }),
      );
      expect(forever).not.toHaveProperty('expires_at');
      expect(resultOf(await client.call<Token>(`${TOKENS}.refresh`, [forever.id], account))).not.toHaveProperty(
        'expires_at',
      );
      const short = resultOf(
        await client.call<Token>(`${TOKENS}.update`, [forever.id], { ...account, duration: '1h' }),
      );
      expect(Date.parse(short.expires_at ?? '')).toBeGreaterThan(Date.now() + 3_000_000);
      const path = join(folder, `policies/managed/service_tokens/${forever.id}.json`);
      writeFileSync(path, readFileSync(path, 'utf8').replace(short.expires_at ?? '?', '2026-01-01T00:00:00Z'));
      const refreshed = resultOf(await client.call<Token>(`${TOKENS}.refresh`, [forever.id], account));
      expect(Date.parse(refreshed.expires_at ?? '')).toBeGreaterThan(Date.now() + 3_000_000);
      expect(
        errorOf(await client.call(`${TOKENS}.create`, [], { ...account, name: 'b', duration: 'soon' })),
      ).toMatchObject({
        status: 400,
        errors: [{ message: expect.stringContaining('duration_invalid'), source: { pointer: '/duration' } }],
      });
      resultOf(await client.call(`${TOKENS}.delete`, [forever.id], account));
    });
  });

  describe('lists', () => {
    it('are made, read item by item, replaced, edited and removed, and decide', async () => {
      const made = resultOf(
        await client.call<Record<string, never>>(`${LISTS}.create`, [], {
          ...account,
          name: 'Partners',
          type: 'IP',
          description: 'who may',
          items: [{ value: '10.3.0.0/16', description: 'one' }, { value: '10.4.0.1' }],
        }),
      );
      const id = String(made['id']);
      expect(made).toMatchObject({ name: 'Partners', type: 'IP', description: 'who may' });
      const values = async (): Promise<unknown[]> =>
        resultOf(await client.all(`${LISTS}.items.list`, [id], isOld ? account : { ...account, per_page: 2 })).map(
          ({ value }) => value,
        );
      expect(await values()).toEqual(['10.3.0.0/16', '10.4.0.1']);
      const edited = resultOf(
        await client.call(`${LISTS}.edit`, [id], {
          ...account,
          append: [{ value: '10.5.0.0/16', description: 'five' }, { value: '10.6.0.0/16' }, { value: '10.7.0.0/16' }],
          remove: ['10.4.0.1'],
        }),
      );
      expect(edited).toMatchObject({ id, count: 4 });
      expect(await values()).toEqual(['10.3.0.0/16', '10.5.0.0/16', '10.6.0.0/16', '10.7.0.0/16']);
      const wrong = await client.call(`${LISTS}.edit`, [id], {
        ...account,
        append: [{ value: '10.8.0.0/16' }, { value: 'ann' }],
      });
      expect(errorOf(wrong)).toMatchObject({ status: 400, errors: [{ source: { pointer: '/append/1/value' } }] });
      resultOf(await client.call(`${LISTS}.update`, [id], { ...account, name: 'Partners 2' }));
      expect(await values()).toHaveLength(4);
      expect(resultOf(await client.call(`${LISTS}.get`, [id], account))).toMatchObject({
        name: 'Partners 2',
        count: 4,
      });
      resultOf(
        await client.call(`${LISTS}.update`, [id], {
          ...account,
          name: 'Partners 2',
          items: [{ value: '10.9.0.0/16' }],
        }),
      );
      expect(await values()).toEqual(['10.9.0.0/16']);
      const all = resultOf(await client.all(`${LISTS}.list`, [], account));
      expect(all.map(({ name }) => name)).toEqual(['Contractors', 'Offices', 'Partners 2']);
      const group = resultOf(
        await client.call('zeroTrust.access.groups.create', [], {
          ...account,
          name: 'by list',
          include: [{ ip_list: { id } }],
        }),
      );
      expect(errorOf(await client.call(`${LISTS}.delete`, [id], account)).errors[0]?.message).toContain(
        'list_in_use: ',
      );
      resultOf(await client.call('zeroTrust.access.groups.delete', [String(group['id'])], account));
      resultOf(await client.call(`${LISTS}.delete`, [id], account));
      expect(errorOf(await client.call(`${LISTS}.get`, [id], account)).status).toBe(404);
      const kept = resultOf(
        await client.call(`${LISTS}.create`, [], {
          ...account,
          name: 'Serials',
          type: 'SERIAL',
          items: [{ value: 'not checked' }],
        }),
      );
      resultOf(await client.call(`${LISTS}.delete`, [String(kept['id'])], account));
    });
  });

  describe('reusable policies', () => {
    it('are made, read, changed and removed; applications that name one are counted, and protect it', async () => {
      const params = {
        name: 'Contractors',
        decision: 'allow',
        include: [{ email_list: { id: IDS.emails } }],
        require: [{ geo: { country_code: 'CA' } }],
        session_duration: '12h',
        purpose_justification_required: false,
      };
      const made = resultOf(await client.call(`${POLICIES}.create`, [], { ...account, ...params }));
      expect(made).toMatchObject({ ...params, exclude: [], reusable: true, app_count: 0 });
      const id = String(made['id']);
      expect(resultOf(await client.call(`${POLICIES}.get`, [id], account))).toEqual(made);
      expect(resultOf(await client.all(`${POLICIES}.list`, [], account))).toContainEqual(made);
      const changed = resultOf(
        await client.call(`${POLICIES}.update`, [id], { ...account, ...params, decision: 'deny' }),
      );
      expect(changed).toMatchObject({ decision: 'deny', created_at: made['created_at'] });
      const refused = await client.call(`${POLICIES}.update`, [id], { ...account, ...params, approval_required: true });
      expect(errorOf(refused)).toMatchObject({
        status: 400,
        errors: [
          { message: expect.stringContaining('approval_unsupported'), source: { pointer: '/approval_required' } },
        ],
      });
      expect(resultOf(await client.call(`${POLICIES}.delete`, [id], account))).toEqual({ id });
      const staff = '7e000000-0000-4000-8000-000000000001';
      expect(resultOf(await client.call(`${POLICIES}.get`, [staff], account))).toMatchObject({ app_count: 1 });
      expect(errorOf(await client.call(`${POLICIES}.delete`, [staff], account)).errors[0]?.message).toContain(
        'policy "Staff" is defined in policies/more.yaml:6:',
      );
    });
  });

  describe('what can only be read', () => {
    const WIKI = '9a4b2f0e-3f55-4a57-9b0e-00000000000a';
    it('applications with their policies', async () => {
      const apps = resultOf(await client.all('zeroTrust.access.applications.list', [], account));
      expect(apps.map(({ name }) => name)).toEqual(expect.arrayContaining(['Orders', 'Wiki']));
      const wiki = resultOf(await client.call('zeroTrust.access.applications.get', [WIKI], account));
      expect(wiki).toMatchObject({
        id: WIKI,
        type: 'self_hosted',
        domain: 'wiki.example.com',
        destinations: [
          { type: 'public', uri: 'wiki.example.com' },
          { type: 'public', uri: 'wiki.example.com/admin' },
        ],
        policies: [
          { name: 'Staff', precedence: 1, reusable: true, app_count: 1 },
          { name: 'Inline', precedence: 2, reusable: false, decision: 'deny' },
        ],
      });
      const inside = resultOf(await client.all('zeroTrust.access.applications.policies.list', [WIKI], account));
      expect(inside.map(({ name, precedence }) => [name, precedence])).toEqual([
        ['Staff', 1],
        ['Inline', 2],
      ]);
      expect(errorOf(await client.call('zeroTrust.access.applications.delete', [WIKI], account)).status).toBe(405);
    });

    it('identity providers, without what is secret about them', async () => {
      const providers = resultOf(await client.all('zeroTrust.identityProviders.list', [], account));
      expect(providers).toHaveLength(7);
      expect(providers[0]).toEqual({ id: IDS.okta, name: 'okta', type: 'okta', config: {} });
      expect(resultOf(await client.call('zeroTrust.identityProviders.get', [IDS.entra], zone))).toMatchObject({
        type: 'azureAD',
      });
    });

    it('groups that a provider announced by SCIM', async () => {
      const list = async (params: object) =>
        client.all('zeroTrust.identityProviders.scim.groups.list', [IDS.okta], { ...account, ...params });
      const core = {
        id: 'a2',
        displayName: 'Core Engineers',
        externalId: 'x2',
        schemas: ['urn:ietf:params:scim:schemas:core:2.0:Group'],
      };
      if (isOld) {
        expect(
          resultOf(await client.all('zeroTrust.identityProviders.scim.groups.list', [IDS.okta], account)),
        ).toHaveLength(2);
        return;
      }
      expect(resultOf(await list({}))).toEqual([
        {
          ...core,
          id: 'a1',
          displayName: 'Everyone',
          externalId: 'x1',
          meta: { created: '2026-01-01T00:00:00Z', lastModified: '2026-01-01T23:00:00Z' },
        },
        core,
      ]);
      expect(resultOf(await list({ name: 'core engineers', per_page: 1 }))).toEqual([core]);
      expect(resultOf(await list({ cf_resource_id: ['a1', 'a2', 'a3'] }))).toHaveLength(2);
      expect(resultOf(await list({ idp_resource_id: ['x2'] }))).toEqual([core]);
      expect(errorOf(await list({ idp_resource_id: ['x2'], name: 'x' })).status).toBe(400);
      expect(errorOf(await list({ idp_resource_id: ['x2'], cf_resource_id: ['a2'] })).status).toBe(400);
      const nobody = await client.all('zeroTrust.identityProviders.scim.groups.list', [IDS.application], account);
      expect(errorOf(nobody)).toMatchObject({ status: 404, errors: [{ code: 12135 }] });
    });
  });

  it('everything is a file of its own, and there is nothing else', () => {
    const left = readdirSync(join(folder, 'policies/managed'), { recursive: true, encoding: 'utf8' });
    expect(
      left.filter((name) => name.includes('.')).every((name) => /^service_tokens\/[0-9a-f-]{36}\.json$/.test(name)),
    ).toBe(true);
  });
});
