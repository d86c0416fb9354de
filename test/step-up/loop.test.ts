/** The whole loop of a step-up, through real Envoy: a real OpenID provider gives a weak login, Postern asks for a
 *  stronger one, the provider gives it, and the way is open. Once as a program, once as a browser. */
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { JSONWebKeySet } from 'jose';
import { decodeJwt } from 'jose';
import { chromium } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ENVOY_PROGRAM, envoyFile, startEnvoy, startPostern, startUpstream } from '../../src/demo/parts.ts';
import type { Envoy, Part, Postern } from '../../src/demo/parts.ts';
import { ask, redeem, startPortal } from './portal.ts';
import type { Asked, Portal } from './portal.ts';
import { CLIENT, CODE, PASSWORD, startProvider } from './provider.ts';
import type { OpenIdProvider } from './provider.ts';

const CHROMIUM = '/usr/bin/chromium';
const ORDERS = 'http://orders.example.test';
const PORTAL = 'http://portal.example.test';
const ISSUER = 'http://login.example.test';
const ADMIN_TOKEN = randomBytes(24).toString('hex');

const begun: Part[] = [];
let work: string;
let provider: OpenIdProvider;
let portal: Portal;
let postern: Postern;
let envoy: Envoy;

beforeAll(async () => {
  for (const [path, name] of [
    [ENVOY_PROGRAM, 'envoy'],
    [CHROMIUM, 'chromium'],
  ] as const) {
    if (!existsSync(path)) throw new Error(`${path} is missing; get it with: node test/real-parts.mjs ${name}`);
  }
  work = mkdtempSync(join(tmpdir(), 'postern-step-up-'));
  provider = await startProvider(ISSUER, `${PORTAL}/callback`);
  begun.push(provider);
  const config = join(work, 'config');
  mkdirSync(join(config, 'policies'), { recursive: true });
  writeFileSync(join(config, 'postern.yaml'), settings(provider.port));
  writeFileSync(join(config, 'policies/orders.yaml'), POLICIES);
  postern = await startPostern(config);
  begun.push(postern);
  portal = await startPortal({
    origin: PORTAL,
    domain: 'example.test',
    provider: () => provider,
    keys: async () => {
      const answer = await fetch(`http://${postern.admin}/api/portal/keys`, {
        headers: { authorization: `Bearer ${ADMIN_TOKEN}` },
      });
      return (await answer.json()) as JSONWebKeySet;
    },
  });
  begun.push(portal);
  const upstream = await startUpstream();
  begun.push(upstream);
  const ports = { listener: 0, upstream: upstream.port, postern: Number(postern.check.split(':').at(-1)) };
  envoy = await startEnvoy(ENVOY_PROGRAM, envoyFile(ports), work);
  begun.push(envoy);
}, 120_000);

afterAll(async () => {
  for (const part of begun.toReversed()) await part.stop();
  rmSync(work, { recursive: true, force: true });
});

describe('a program', () => {
  it('reads the challenge, authenticates as it says, and is let in', async () => {
    const orders = (token: string | undefined, path: string): Promise<Asked> =>
      ask({
        port: envoy.port,
        url: new URL(path, ORDERS),
        ...(token === undefined ? {} : { headers: { authorization: `Bearer ${token}` } }),
      });

    const anonymous = await orders(undefined, '/admin');
    expect(anonymous.status).toBe(401);
    expect(anonymous.headers['www-authenticate']).toBe('Bearer');

    const client = new Program();
    const weak = await client.authenticate({});
    expect(decodeJwt(weak)).toMatchObject({ sub: 'ann', amr: ['pwd'] });
    expect((await orders(weak, '/')).status).toBe(200);

    const refused = await orders(weak, '/admin');
    expect(refused.status).toBe(401);
    const challenge = parametersOf(String(refused.headers['www-authenticate']));
    expect(challenge).toEqual({
      error: 'insufficient_user_authentication',
      error_description: 'A different authentication level is required',
      acr_values: 'mfa',
    });

    const strong = await client.authenticate({ acr_values: challenge['acr_values'] ?? '' });
    expect(decodeJwt(strong)).toMatchObject({ sub: 'ann', amr: ['pwd', 'otp'], acr: 'mfa' });
    const admitted = await orders(strong, '/admin');
    expect(admitted.status).toBe(200);
    expect(JSON.parse(admitted.text)).toMatchObject({ headers: { 'x-postern-email': 'ann@example.com' } });
    // And the weak one is as weak as before; the next allow forgets that it was tried.
    expect((await orders(weak, '/admin')).status).toBe(401);
    expect((await orders(strong, '/admin')).status).toBe(200);
  });

  it('that needs a fresher login says so to the provider and gets one', async () => {
    const client = new Program();
    const first = await client.authenticate({});
    const fresh = async (token: string): Promise<Asked> =>
      ask({
        port: envoy.port,
        url: new URL('/fresh', ORDERS),
        headers: { authorization: `Bearer ${token}` },
      });
    // Until it is older than the one second that the flow allows.
    await new Promise((resolve) => {
      setTimeout(resolve, 2100);
    });
    const refused = await fresh(first);
    expect(refused.status).toBe(401);
    const challenge = parametersOf(String(refused.headers['www-authenticate']));
    expect(challenge).toEqual({
      error: 'insufficient_user_authentication',
      error_description: 'More recent authentication is required',
      max_age: '1',
    });
    const again = await client.authenticate({ max_age: challenge['max_age'] ?? '' });
    expect(Number(decodeJwt(again)['auth_time'])).toBeGreaterThan(Number(decodeJwt(first)['auth_time']));
  });
});

describe('a browser', () => {
  it('is sent to log in, then to log in more strongly, and comes back to the page it asked for', async () => {
    const rules = [
      `MAP orders.example.test 127.0.0.1:${envoy.port}`,
      `MAP portal.example.test 127.0.0.1:${portal.port}`,
      `MAP login.example.test 127.0.0.1:${provider.port}`,
    ].join(', ');
    const browser = await chromium.launch({
      executablePath: CHROMIUM,
      args: [
        '--no-sandbox',
        `--host-resolver-rules=${rules}`,
        '--disable-features=HttpsUpgrades,HttpsFirstBalancedMode',
      ],
    });
    begun.push({ stop: () => browser.close() });
    const page = await browser.newPage();

    await page.goto(`${ORDERS}/list?page=2`);
    expect(new URL(page.url()).origin).toBe(ISSUER);
    expect(await page.getByLabel('One-time code').count()).toBe(0);
    await page.getByLabel('Password').fill(PASSWORD);
    await page.getByRole('button').click();
    await page.waitForURL(`${ORDERS}/list?page=2`);
    expect(JSON.parse(await page.innerText('body'))).toMatchObject({ path: '/list?page=2' });

    await page.goto(`${ORDERS}/admin?tab=users`);
    expect(new URL(page.url()).origin).toBe(ISSUER);
    await page.getByLabel('Password').fill(PASSWORD);
    await page.getByLabel('One-time code').fill(CODE);
    await page.getByRole('button').click();
    await page.waitForURL(`${ORDERS}/admin?tab=users`);
    const seen = JSON.parse(await page.innerText('body')) as { headers: Record<string, string> };
    expect(seen).toMatchObject({ path: '/admin?tab=users' });
    expect(seen.headers['x-postern-email']).toBe('ann@example.com');

    expect(portal.states).toHaveLength(1);
    expect(portal.states[0]).toMatchObject({ acr_values: 'mfa', attempt: 1, return: `${ORDERS}/admin?tab=users` });
    expect(JSON.stringify(portal.states[0])).not.toContain('ann');
    await browser.close();
  }, 120_000);
});

/** A client of the provider without a browser: it keeps its cookies and fills in the forms. */
class Program {
  readonly #cookies = new Map<string, string>();

  async authenticate(asked: Readonly<Record<string, string>>): Promise<string> {
    const redirectUri = `${PORTAL}/callback`;
    const url = new URL('/auth', ISSUER);
    const parameters = {
      client_id: CLIENT.id,
      redirect_uri: redirectUri,
      response_type: 'code',
      scope: 'openid email',
      state: createHash('sha256').update(JSON.stringify(asked)).digest('hex'),
      ...asked,
    };
    for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
    let next = url;
    for (let step = 0; step < 20; step += 1) {
      if (next.origin === PORTAL) return redeem(provider, String(next.searchParams.get('code')), redirectUri);
      let answer = await this.#send(next);
      if (answer.status === 200) {
        const form = new URLSearchParams({ password: PASSWORD, code: CODE }).toString();
        answer = await this.#send(next, form);
      }
      const { location } = answer.headers;
      if (location === undefined) throw new Error(`expected a redirect, found ${answer.status}: ${answer.text}`);
      next = new URL(location, next);
    }
    throw new Error('sent in circles');
  }

  async #send(url: URL, form?: string): Promise<Asked> {
    const cookie = [...this.#cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    const answer = await ask({
      port: provider.port,
      url,
      method: form === undefined ? 'GET' : 'POST',
      headers: { cookie, ...(form === undefined ? {} : { 'content-type': 'application/x-www-form-urlencoded' }) },
      ...(form === undefined ? {} : { body: form }),
    });
    for (const line of answer.headers['set-cookie'] ?? []) {
      const [name = '', value = ''] = (line.split(';')[0] ?? '').split('=');
      if (value === '') this.#cookies.delete(name);
      else this.#cookies.set(name, value);
    }
    return answer;
  }
}

/** Of a challenge (RFC 9110, section 11.3), whose values are all quoted and hold no quotes. */
function parametersOf(challenge: string): Record<string, string> {
  expect(challenge.startsWith('Bearer ')).toBe(true);
  return Object.fromEntries(
    [...challenge.matchAll(/(\w+)="([^"]*)"/g)].map(([, name = '', value = '']) => [name, value]),
  );
}

const settings = (providerPort: number): string => `\
identity:
  tokens:
    - issuer: ${ISSUER}
      audiences: [${CLIENT.id}]
      keys: { url: 'http://127.0.0.1:${providerPort}/jwks' }
      from: [{ bearer: authorization }, { cookie: session }]
      algorithms: [RS256]
login: { url: '${PORTAL}/login' }
step_up: { portal_url: '${PORTAL}/step-up', portal_key: keys/portal.pem }
admin:
  tokens: [{ name: portal, sha256: ${createHash('sha256').update(ADMIN_TOKEN).digest('hex')}, scopes: [read] }]
upstream:
  headers: { x-postern-email: email }
`;

const ID = '9a4b2f0e-3f55-4a57-9b0e-00000000000';
const policy = '[{ name: Staff, decision: allow, include: [{ email_domain: { domain: example.com } }] }]';
const flow = (name: string): string =>
  ['low', 'medium', 'high'].map((level) => `    ${level}RiskAuthenticationFlow: { name: ${name} }`).join('\n');

const POLICIES = `\
applications:
  - { id: ${ID}1, name: Orders, destinations: [orders.example.test], policies: ${policy} }
  - { id: ${ID}2, name: Administration, destinations: [orders.example.test/admin], policies: ${policy} }
  - { id: ${ID}3, name: Payments, destinations: [orders.example.test/fresh], policies: ${policy} }
resource_rules:
  - id: 0c3c0000-0000-4000-8000-000000000002
    name: Administration
    resourceId: ${ID}2
    groups: [{ name: All Groups }]
${flow('Password and Second Factor')}
  - id: 0c3c0000-0000-4000-8000-000000000003
    name: Payments
    resourceId: ${ID}3
    groups: [{ name: All Groups }]
${flow('Fresh password')}
authentication_flows:
  - { id: 0c3c0000-0000-4000-8000-0000000000f1, name: Fresh password, userLoginFirstStep: PASSWORD, maxAge: 1 }
`;
