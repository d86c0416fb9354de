/** What changes while requests come in, seen through a real Envoy: policies, keys behind a URL, browsers on their way
 *  to a login page. */
import { createHash, createPublicKey, generateKeyPairSync } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { SignJWT, exportJWK, jwtVerify } from 'jose';
import type { JWK } from 'jose';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ORDERS, ORDERS_BROKEN, ORDERS_WITHOUT_ANN, makeDemoFolder } from '../../src/demo/folder.ts';
import type { DemoFolder, TokenName } from '../../src/demo/folder.ts';
import {
  ENVOY_PROGRAM,
  ENVOY_VERSION,
  envoyFile,
  send,
  startEnvoy,
  startPostern,
  startUpstream,
} from '../../src/demo/parts.ts';
import type { Answer, Envoy, Part, Postern } from '../../src/demo/parts.ts';

const begun: Part[] = [];
let work: string;
let demo: DemoFolder;
let postern: Postern;
let envoy: Envoy;

beforeAll(() => {
  if (!existsSync(ENVOY_PROGRAM))
    throw new Error(`Envoy ${ENVOY_VERSION} is missing; get it with: node test/real-parts.mjs envoy`);
});

beforeEach(async () => {
  work = mkdtempSync(join(tmpdir(), 'postern-life-'));
  demo = await makeDemoFolder(join(work, 'demo'), Date.now());
});

afterEach(async () => {
  for (const part of begun.splice(0).toReversed()) await part.stop();
  rmSync(work, { recursive: true, force: true });
});

async function start(): Promise<void> {
  const upstream = await startUpstream();
  begun.push(upstream);
  postern = await startPostern(demo.config);
  begun.push(postern);
  const ports = { listener: 0, upstream: upstream.port, postern: Number(postern.check.split(':').at(-1)) };
  envoy = await startEnvoy(ENVOY_PROGRAM, envoyFile(ports), work);
  begun.push(envoy);
}

function settings(more: string): void {
  const file = join(demo.config, 'postern.yaml');
  writeFileSync(file, `${readFileSync(file, 'utf8')}${more}`);
}

const ask = (path: string, token: string | undefined, headers: Record<string, string> = {}): Promise<Answer> =>
  send(envoy.port, {
    host: 'orders.example.com',
    path,
    headers: { ...headers, ...(token !== undefined && { authorization: `Bearer ${token}` }) },
  });

const askAs = (name: TokenName, path = '/', headers: Record<string, string> = {}): Promise<Answer> =>
  ask(path, demo.tokens.get(name), headers);

async function until(what: string, holds: () => Promise<boolean>, limitMs = 20_000): Promise<void> {
  for (const end = Date.now() + limitMs; Date.now() < end; await sleep(20)) if (await holds()) return;
  throw new Error(`waited in vain: ${what}\n${postern.lines.slice(-5).join('\n')}`);
}

describe('policies changed under load', () => {
  it('each answer is of the old or of the new ones, mallory never gets in, and nobody is answered 5xx', async () => {
    await start();
    const load = { isOn: true };
    const seen = new Map<string, number>();
    const wrong: string[] = [];
    const note = (who: string, { status, headers }: Answer, expected: readonly number[]): void => {
      seen.set(`${who} ${status}`, (seen.get(`${who} ${status}`) ?? 0) + 1);
      if (!expected.includes(status)) wrong.push(`${who}: ${status} ${headers.get('www-authenticate') ?? ''}`);
    };
    const callers = Array.from({ length: 4 }, async () => {
      while (load.isOn) {
        note('ann', await askAs('ann'), [200, 403]);
        note('mallory', await askAs('mallory'), [403]);
        note('nobody', await ask('/', undefined), [401]);
        note('ann at /admin', await askAs('ann', '/admin'), [401, 403]);
      }
    });
    for (let round = 0; round < 10; round += 1) {
      demo.writePolicies(`${ORDERS_WITHOUT_ANN}# ${round}\n`);
      await until('ann is out', async () => (await askAs('ann')).status === 403);
      // Once the new revision has spoken, the old one is silent.
      for (let again = 0; again < 3; again += 1) expect((await askAs('ann')).status).toBe(403);
      demo.writePolicies(`${ORDERS_BROKEN}# ${round}\n`);
      await until('the fault is told', async () =>
        postern.lines.some((line) => line.includes('policies/demo.yaml') && line.includes('group_unknown')),
      );
      expect((await askAs('ann')).status).toBe(403);
      demo.writePolicies(`${ORDERS}# ${round}\n`);
      await until('ann is in', async () => (await askAs('ann')).status === 200);
      for (let again = 0; again < 3; again += 1) expect((await askAs('ann')).status).toBe(200);
    }
    load.isOn = false;
    await Promise.all(callers);
    expect(wrong).toEqual([]);
    expect([...seen.keys()].toSorted()).toEqual([
      'ann 200',
      'ann 403',
      'ann at /admin 401',
      'ann at /admin 403',
      'mallory 403',
      'nobody 401',
    ]);
  }, 120_000);

  it('Postern killed and started again under load: 503 meanwhile, and never a pass', async () => {
    await start();
    const check = postern.check;
    const load = { isOn: true };
    const statuses = new Set<number>();
    const caller = (async () => {
      while (load.isOn) statuses.add((await askAs('mallory')).status);
    })();
    await postern.kill();
    await until('503', async () => (await askAs('ann')).status === 503);
    postern = await startPostern(demo.config, check);
    begun.push(postern);
    await until('ann is in again', async () => (await askAs('ann')).status === 200);
    load.isOn = false;
    await caller;
    expect([...statuses].toSorted()).toEqual([403, 503]);
  }, 60_000);
});

describe('browsers', () => {
  const BROWSER = { accept: 'text/html,application/xhtml+xml', 'sec-fetch-mode': 'navigate' };

  beforeEach(async () => {
    settings(`login: { url: 'https://login.example.com/in?from=orders' }
step_up: { portal_url: 'https://portal.example.com/step-up', portal_key: keys/portal.pem, attempts_max: 2 }
`);
    await start();
  });

  it('without a session goes to the login page, with where to come back to', async () => {
    const { status, headers } = await ask('/a?b=1', undefined, BROWSER);
    expect(status).toBe(302);
    const location = new URL(String(headers.get('location')));
    expect(location.origin + location.pathname).toBe('https://login.example.com/in');
    expect(location.searchParams.get('from')).toBe('orders');
    expect([...location.searchParams.values()]).toContain('http://orders.example.com/a?b=1');
    expect(headers.get('cache-control')).toBe('no-store');
  });

  it.each([
    ['a program', {}],
    ['a script of a page', { accept: '*/*', 'sec-fetch-mode': 'cors' }],
  ])('%s without a session is told 401', async (_, headers) => {
    const answer = await ask('/a', undefined, headers);
    expect(answer.status).toBe(401);
    expect(answer.headers.has('location')).toBe(false);
  });

  it('with too weak a login goes to the portal, with a signed state, and twice at most', async () => {
    const { status, headers } = await askAs('ann', '/admin?x=1', BROWSER);
    expect(status).toBe(302);
    const location = new URL(String(headers.get('location')));
    expect(location.origin + location.pathname).toBe('https://portal.example.com/step-up');
    expect(location.searchParams.get('acr_values')).toBe('mfa');
    const key = createPublicKey(readFileSync(join(demo.config, 'keys/portal.pem')));
    const { payload } = await jwtVerify(String(location.searchParams.get('state')), key, {
      issuer: 'postern',
      audience: 'https://portal.example.com',
    });
    expect(payload).toMatchObject({ return: 'http://orders.example.com/admin?x=1', acr_values: 'mfa', attempt: 1 });
    expect((await askAs('ann', '/admin', BROWSER)).status).toBe(302);
    expect((await askAs('ann', '/admin', BROWSER)).status).toBe(403);
    expect((await askAs('ann-strong', '/admin', BROWSER)).status).toBe(200);
    expect((await askAs('ann', '/admin', BROWSER)).status).toBe(302);
  });

  it('who may not enter at all is sent nowhere', async () => {
    const { status, headers } = await askAs('mallory', '/', BROWSER);
    expect(status).toBe(403);
    expect(headers.has('location')).toBe(false);
    expect(headers.get('content-type')).toContain('text/html');
  });
});

describe('keys behind a URL', () => {
  it('are waited for, rotated, and missed', async () => {
    const first = issuer('first');
    const second = issuer('second');
    const served: { keys: JWK[] | undefined; asked: number } = { keys: undefined, asked: 0 };
    const server = createServer((_, response) => {
      served.asked += 1;
      response.writeHead(served.keys ? 200 : 500, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ keys: served.keys ?? [] }));
    });
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
    begun.push({
      async stop() {
        server.closeAllConnections();
        server.close();
      },
    });
    const { port } = server.address() as AddressInfo;
    const file = join(demo.config, 'postern.yaml');
    const url = `url: 'http://127.0.0.1:${port}/jwks.json'`;
    writeFileSync(file, readFileSync(file, 'utf8').replace('file: keys/jwks.json', url));
    await start();

    expect((await ask('/', await first.token())).status).toBe(503);
    expect((await ask('/', undefined)).status).toBe(401);
    served.keys = [await first.jwk()];
    await until('the keys are read', async () => (await ask('/', await first.token())).status === 200);
    expect((await ask('/', await second.token())).status).toBe(401);
    served.keys = [await first.jwk(), await second.jwk()];
    // Who asked a moment ago does not ask again for every token: half a minute at most.
    const rotated = async (): Promise<boolean> => (await ask('/', await second.token())).status === 200;
    await until('the new key is found', rotated, 60_000);
    // One that nobody publishes is no reason to ask for every request.
    const before = served.asked;
    const third = issuer('third');
    for (let i = 0; i < 20; i += 1) expect((await ask('/', await third.token())).status).toBe(401);
    expect(served.asked - before).toBeLessThanOrEqual(1);
    // The issuer goes away: what is known still counts.
    served.keys = undefined;
    expect((await ask('/', await first.token('2'))).status).toBe(200);
  }, 120_000);
});

function issuer(seed: string): { token(jti?: string): Promise<string>; jwk(): Promise<JWK> } {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const kid = createHash('sha256').update(seed).digest('hex').slice(0, 8);
  return {
    token: (jti = '1') =>
      new SignJWT({ email: 'ann@example.com', amr: ['pwd'], jti })
        .setProtectedHeader({ alg: 'RS256', kid })
        .setIssuer('https://login.example.com')
        .setAudience('orders')
        .setSubject('ann')
        .setIssuedAt()
        .setExpirationTime('1h')
        .sign(privateKey),
    jwk: async () => ({ ...(await exportJWK(publicKey)), kid, alg: 'RS256', use: 'sig' }),
  };
}
