/** A program with everything that a dashboard may ask about, and traffic that makes it happen: allowed, refused, asked to
 *  step up with and without success, 503, 400, reloads that are taken up and refused, keys that cannot be read. */
import { randomBytes } from 'node:crypto';
import { rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { encodeRequest } from '../envoy/official.ts';
import { startKeyServer } from '../facts/key-server.ts';
import { pairFor, publicJwk } from '../facts/token-maker.ts';
import { PORTO, TOKYO, VIGO, learningFolder, login, requestOf, strong, weak } from '../learning-program.ts';
import { serve } from '../served.ts';
import { startServer } from '../state/redis-server.ts';
import { startReceiver } from '../tracing/receiver.ts';
import type { ReceivedSpan } from '../tracing/receiver.ts';

export interface Busy {
  /** Of the admin port. */
  readonly target: string;
  /** What the collector of traces has got. */
  readonly spans: readonly ReceivedSpan[];
  text(): string;
  stop(): Promise<void>;
}

export async function startBusy(): Promise<Busy> {
  const redis = await startServer();
  const keys = await startKeyServer();
  keys.answerKeys([publicJwk(pairFor('ES256'), { kid: 'k1' })]);
  const broken = createServer((_, response) => response.writeHead(500).end()).listen(0, '127.0.0.1');
  const receiver = await startReceiver();
  const folder = learningFolder({
    'postern.yaml': settings(keys.url, (broken.address() as AddressInfo).port, redis.url, receiver.url),
    'policies/all.yaml': policies(),
    'policies-next/all.yaml': policies().replaceAll('decision: bypass', 'decision: deny'),
    'state.key': `${randomBytes(32).toString('base64')}\n`,
  });
  const served = await serve(folder);
  const state = { isOver: false };
  const loops = Promise.all([ask(served.client.check, state), reload(folder, state)]);
  // What goes wrong is told when it is stopped.
  loops.catch(() => undefined);
  return {
    target: served.admin,
    spans: receiver.spans,
    text: served.text,
    async stop() {
      state.isOver = true;
      try {
        await loops;
      } finally {
        await served.kill();
        receiver.close();
        broken.close();
        broken.closeAllConnections();
        await keys.close();
        await redis.stop();
        rmSync(folder, { recursive: true, force: true });
      }
    },
  };
}

function settings(keys: string, brokenPort: number, redis: string, collector: string): string {
  return `identity:
  tokens:
    - { issuer: "https://login.example.com", audiences: [orders], keys: { url: "${keys}" }, from: [{ bearer: authorization }] }
    - { issuer: "https://gone.example.com", audiences: [orders], keys: { url: "http://127.0.0.1:${brokenPort}/keys" }, from: [{ header: x-gone }] }
geo: { headers: { country: cf-ipcountry, city: cf-ipcity, latitude: cf-iplatitude, longitude: cf-iplongitude } }
state: { redis: { url: "${redis}", key_file: state.key, timeout_ms: 5000 } }
tracing: { otlp_url: "${collector}" }
shadow: policies-next
`;
}

function policies(): string {
  const allow = 'decision: allow, include: [{ email_domain: { domain: example.com } }]';
  const flows =
    'lowRiskAuthenticationFlow: { name: Password }, mediumRiskAuthenticationFlow: { name: Password and Second Factor }, highRiskAuthenticationFlow: { name: Password and Second Factor }';
  const expires = new Date(Date.now() + 30 * 86_400_000).toISOString().replace(/\.\d+/, '');
  return `applications:
  - { id: 9a4b2f0e-3f55-4a57-9b0e-000000000001, name: Orders, destinations: [orders.example.com], policies: [{ name: A, ${allow} }] }
  - { id: 9a4b2f0e-3f55-4a57-9b0e-000000000002, name: Office, destinations: [office.example.com], policies: [{ name: B, ${allow} }] }
  - { id: 9a4b2f0e-3f55-4a57-9b0e-000000000003, name: Open, destinations: [open.example.com], policies: [{ name: C, decision: bypass, include: [{ everyone: {} }] }] }
resource_rules:
  - { id: 0c3c0000-0000-4000-8000-000000000001, name: Orders, resourceId: 9a4b2f0e-3f55-4a57-9b0e-000000000001, groups: [{ name: All Groups }], lowRiskThreshold: 30, mediumRiskThreshold: 70, locationHistoryContext: { riskPoint: 50 }, travelVelocityContext: { riskPoint: 50 }, ${flows} }
  - { id: 0c3c0000-0000-4000-8000-000000000002, name: Office, resourceId: 9a4b2f0e-3f55-4a57-9b0e-000000000002, groups: [{ name: All Groups }], lowRiskThreshold: 30, mediumRiskThreshold: 70, ipContext: { allowedIpRanges: [198.51.100.0/24], riskPoint: 10, denyAccess: true }, ${flows} }
service_tokens:
  - { id: 3537a672-e4d8-4d89-aab9-26cb622918a1, name: ci, client_id: ci.access, client_secret_sha256: ${'a'.repeat(64)}, enabled: true, expires_at: ${expires} }
`;
}

async function ask(check: (request: Uint8Array) => Promise<unknown>, state: { isOver: boolean }): Promise<void> {
  for (let round = 0; !state.isOver; round += 1) {
    const user = `user-${round}`;
    const minutes = round % 50;
    const again = strong(0, { user: 'somebody' });
    const requests = [
      requestOf({ token: again, from: PORTO }),
      requestOf({ token: again, from: PORTO }),
      // Asked to step up, then let in; known, then far away too soon.
      requestOf({ token: weak(0, { user }), from: PORTO }),
      requestOf({ token: strong(0, { user }), from: PORTO }),
      requestOf({ token: weak(1, { user }), from: PORTO, at: 1 }),
      requestOf({ token: weak(2, { user }), from: TOKYO, at: 2 }),
      // Nobody knows where this one is.
      requestOf({ token: weak(3, { user }), at: 3 }),
      // A loop: asked again and again.
      ...[0, 1, 2, 3].map((at) => requestOf({ token: weak(at, { user: `${user}-loop` }), from: VIGO, at })),
      requestOf({ token: login({ user, amr: ['pwd'] }), host: 'office.example.com' }),
      requestOf({ from: PORTO }),
      requestOf({ token: 'nonsense' }),
      requestOf({ headers: { 'x-gone': 'eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJ4In0.eA' } }),
      requestOf({ headers: { 'x-gone': login({ amr: ['pwd'], claims: { iss: 'https://gone.example.com' } }) } }),
      requestOf({ host: 'open.example.com' }),
      requestOf({ host: 'nowhere.example.com' }),
      encodeRequest({ attributes: { request: { http: { method: 'GET', host: 'open.example.com', path: '/%00' } } } }),
    ];
    for (const one of requests) await check(one);
    await sleep(100 + minutes);
  }
}

/** Every few seconds a change that is taken up, and now and then one that is refused first. */
async function reload(folder: string, state: { isOver: boolean }): Promise<void> {
  const file = join(folder, 'policies/more.yaml');
  for (let round = 0; !state.isOver; round += 1) {
    if (round % 2 === 1) {
      writeFileSync(file, 'applications: [{ nme: x }]\n');
      await sleep(3_000);
    }
    writeFileSync(file, `# ${round}\napplications: []\n`);
    await sleep(4_000);
  }
}
