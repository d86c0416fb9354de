/** What it costs to remember users: many of them have authenticated before, and now ask again, at an application that
 *  looks at what they did and at one that does not, of the same server in the same run. */
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { measureLatency } from './latency.mjs';
import { median, mustAllow, requestBytes } from './material.mjs';
import { startPostern } from './servers.mjs';

const RATE = 500;
const IN_HAND = 64;

/** Where state can be kept here: always in memory, and in Redis where there is one. */
export const STORES =
  spawnSync('sh', ['-c', 'command -v redis-server']).status === 0 ? ['memory', 'redis'] : ['memory'];

/** Latency at 500/s with and without history, in milliseconds, and what a user takes, in bytes. */
export async function measureHistory(store, { users, rounds, seconds }) {
  const redis = store === 'redis' ? await startRedis() : undefined;
  const folder = writeFolder(redis?.url);
  const server = await startPostern(folder);
  try {
    mustAllow(await server.check(requestOf(0, 'learned.example.com')), 'history');
    const before = await bytesUsed(server, redis);
    await inTurns(users, (user) => server.check(requestOf(user, 'learned.example.com')));
    const after = await bytesUsed(server, redis);
    const random = randomUsers(users);
    const load = { rate: RATE, seconds };
    // In turns, and medians: one bad second of the machine is one bad round.
    const plain = [];
    const learned = [];
    for (let round = 0; round < rounds; round++) {
      plain.push(await measureLatency(server, () => requestOf(random(), 'plain.example.com'), load));
      learned.push(await measureLatency(server, () => requestOf(random(), 'learned.example.com'), load));
    }
    return { plain: medians(plain), learned: medians(learned), userBytes: (after - before) / users };
  } finally {
    server.stop();
    redis?.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

function medians(runs) {
  return Object.fromEntries(Object.keys(runs[0]).map((name) => [name, median(runs.map((one) => one[name]))]));
}

function writeFolder(redisUrl) {
  const folder = mkdtempSync(join(tmpdir(), 'postern-bench-history-'));
  mkdirSync(join(folder, 'policies'));
  writeFileSync(join(folder, 'state.key'), randomBytes(32).toString('base64'));
  const state =
    redisUrl === undefined
      ? 'state: { memory: { users_max: 1000000 } }'
      : `state: { redis: { url: "${redisUrl}", key_file: state.key, timeout_ms: 1000 } }`;
  writeFileSync(join(folder, 'postern.yaml'), `${SETTINGS}${state}\n`);
  writeFileSync(join(folder, 'policies/all.yaml'), POLICIES);
  return folder;
}

/** Logins as Envoy's jwt_authn filter has verified them, so that no signature is part of what is measured. */
const SETTINGS = `
identity: { envoy_jwt_authn: { enabled: true, payloads: { payload: {} } } }
geo: { headers: { country: x-country, city: x-city, latitude: x-latitude, longitude: x-longitude, isp: x-isp } }
log: { decisions: none }
`;

const POLICY = 'policies: [{ name: Engineers, decision: allow, include: [{ email_domain: { domain: example.com } }] }]';
const FLOWS =
  'lowRiskAuthenticationFlow: { name: Password }, mediumRiskAuthenticationFlow: { name: Password and Second Factor }, highRiskAuthenticationFlow: { name: Password and Second Factor }';

const POLICIES = `
applications:
  - { id: 9a4b2f0e-3f55-4a57-9b0e-000000000001, name: Plain, destinations: [plain.example.com], ${POLICY} }
  - { id: 9a4b2f0e-3f55-4a57-9b0e-000000000002, name: Learned, destinations: [learned.example.com], ${POLICY} }
resource_rules:
  - { id: 0c3c0000-0000-4000-8000-000000000001, name: Plain, resourceId: 9a4b2f0e-3f55-4a57-9b0e-000000000001, groups: [{ name: All Groups }], ipContext: { allowedIpRanges: [203.0.113.0/24], riskPoint: 100 }, ${FLOWS} }
  - { id: 0c3c0000-0000-4000-8000-000000000002, name: Learned, resourceId: 9a4b2f0e-3f55-4a57-9b0e-000000000002, groups: [{ name: All Groups }], locationHistoryContext: { riskPoint: 40 }, travelVelocityContext: { riskPoint: 60 }, ${FLOWS} }
`;

const LOGGED_IN = Math.floor(Date.now() / 1000);

function requestOf(user, host) {
  return requestBytes({
    token: undefined,
    host,
    headers: {
      'x-country': 'PT',
      'x-city': `City ${user % 1000}`,
      'x-isp': `Provider ${user % 20}`,
      'x-latitude': String(36 + (user % 100) / 20),
      'x-longitude': '-8.6291',
    },
    claims: {
      iss: 'https://idp.example',
      sub: `user-${user}`,
      email: `user-${user}@example.com`,
      amr: ['pwd', 'otp'],
      auth_time: LOGGED_IN,
      exp: LOGGED_IN + 86_400,
    },
  });
}

/** The same for every store. */
function randomUsers(users) {
  let state = 1;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state % users;
  };
}

async function inTurns(count, run) {
  let next = 0;
  const worker = async () => {
    while (next < count) await run(next++);
  };
  await Promise.all(Array.from({ length: IN_HAND }, worker));
}

/** Of the process that keeps the users. */
async function bytesUsed(server, redis) {
  if (redis) return redis.bytesUsed();
  const metrics = await (await fetch(`http://${server.admin}/metrics`)).text();
  return Number(/^process_resident_memory_bytes (\S+)$/m.exec(metrics)?.[1]);
}

async function startRedis() {
  const port = await freePort();
  const args = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', tmpdir()];
  const child = spawn('redis-server', args, { stdio: 'ignore' });
  const ask = (words) => spawnSync('redis-cli', ['-p', String(port), ...words], { encoding: 'utf8' }).stdout;
  for (const end = Date.now() + 10_000; !ask(['PING']).includes('PONG'); await sleep(50))
    if (Date.now() > end) throw new Error('redis-server did not start');
  return {
    url: `redis://127.0.0.1:${port}`,
    bytesUsed: () => Number(/used_memory:(\d+)/.exec(ask(['INFO', 'memory']))?.[1]),
    stop: () => child.kill('SIGKILL'),
  };
}

function freePort() {
  return new Promise((resolve) => {
    const server = createServer();
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}
