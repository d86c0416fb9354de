/** Mixed traffic through real Envoys while everything around Postern changes and fails, and a judge who knows what each
 *  request may be answered. Two replicas of Postern share a configuration, a Redis and a partner's key server, each
 *  behind an Envoy of its own: one lives from the beginning to the end, and its memory is looked at; the other is killed
 *  and drained. Exit 1 where an answer was wrong.
 *
 *  Usage: node bench/soak.mjs [--minutes 30] [--rate 200] [--out .demo/soak] */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { makeDemoFolder } from '../dist/demo/folder.js';
import { ENVOY_PROGRAM, ROOT, envoyFile, startEnvoy, startUpstream } from '../dist/demo/parts.js';
import { createFact } from './soak/facts.mjs';
import { createAuthority, createPostern, createRedis, until } from './soak/parts.mjs';
import { quantile, report, sampleOf } from './soak/record.mjs';
import { startTraffic } from './soak/traffic.mjs';
import { tellStories } from './soak/trouble.mjs';
import { createKinds, extendConfig, startKeyServer } from './soak/world.mjs';

const SAMPLE_MS = 5_000;

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '30' },
    rate: { type: 'string', default: '200' },
    out: { type: 'string', default: `${ROOT}.demo/soak` },
  },
});
const minutes = Number(values.minutes);
const rate = Number(values.rate);
if (!(minutes > 0) || !(rate > 0 && rate <= 1_000)) throw new Error('expected --minutes above 0 and --rate up to 1000');
if (!existsSync(ENVOY_PROGRAM)) throw new Error('Envoy is missing; get it with: node test/real-parts.mjs envoy');

const work = mkdtempSync(join(tmpdir(), 'postern-soak-'));
const begun = [];
const troubles = [];
const samples = [];
const run = { isOver: false, beganMs: 0 };
const seconds = () => (performance.now() - run.beganMs) / 1000;
process.once('SIGINT', () => (run.isOver = true));
process.once('SIGTERM', () => (run.isOver = true));

try {
  const { world, traffic } = await startAll();
  await soak(world, traffic);
  await traffic.stop();
  const { text, pictures } = report({ ...traffic, samples, troubles, minutes: seconds() / 60, rate });
  mkdirSync(values.out, { recursive: true });
  writeFileSync(join(values.out, 'soak.md'), text);
  writeFileSync(join(values.out, 'soak.json'), JSON.stringify({ samples, troubles }));
  writeFileSync(join(values.out, 'soak.svg'), pictures);
  console.log(`${text}\n${join(values.out, 'soak.svg')}`);
  for (const example of traffic.state.examples) console.error(`wrong: ${example}`);
  if (traffic.state.wrong > 0 || traffic.state.sent === 0) process.exitCode = 1;
} finally {
  for (const stop of begun.toReversed()) await stop();
  rmSync(work, { recursive: true, force: true });
}

async function startAll() {
  const { config, tokens } = await makeDemoFolder(join(work, 'demo'), Date.now());
  const redis = await createRedis(work);
  begun.push(() => redis.end());
  const keyServer = await startKeyServer();
  begun.push(keyServer.stop);
  const upstream = await startUpstream();
  begun.push(() => upstream.stop());
  const authority = createAuthority(work);
  const serverTls = join(work, 'server-tls');
  const renewCertificates = () => {
    const names = 'subjectAltName = DNS:postern.postern.svc';
    authority.renew(serverTls, 'postern', ['extendedKeyUsage = serverAuth', names]);
    authority.renew(join(work, 'tls'), 'envoy', ['extendedKeyUsage = clientAuth']);
  };
  renewCertificates();
  extendConfig(config, { redisUrl: redis.url, keysUrl: keyServer.url, tls: serverTls });
  const replicas = [];
  for (const [name, isSteady] of [
    ['the steady one', true],
    ['the mortal one', false],
  ]) {
    const postern = createPostern(config);
    begun.push(() => postern.end('SIGKILL'));
    await postern.start();
    const folder = join(work, isSteady ? 'envoy-1' : 'envoy-2');
    mkdirSync(folder);
    const ports = { listener: 0, upstream: upstream.port, postern: postern.port() };
    const envoy = await startEnvoy(ENVOY_PROGRAM, envoyConfiguration(ports, folder), folder);
    begun.push(() => envoy.stop());
    replicas.push({ name, isSteady, postern, envoyPort: envoy.port, up: createFact('up') });
  }
  const facts = {
    policies: createFact('in'),
    // Nobody has been learned yet.
    redis: createFact('away'),
    keyServer: createFact('up'),
    next: createFact('unknown'),
    old: createFact('fading'),
  };
  const generation = { current: 0 };
  const kinds = await createKinds({ config, tokens, keyServer, generation });
  const world = { facts, config, work, replicas, redis, keyServer, generation, renewCertificates };
  run.beganMs = performance.now();
  return { world, traffic: startTraffic({ replicas, kinds, facts, rate }) };
}

/** `deploy/envoy/envoy-mtls.yaml` and its secrets, with this run's ports and folders. */
function envoyConfiguration(ports, folder) {
  for (const name of ['tls-certificate.yaml', 'tls-authorities.yaml']) {
    const text = readFileSync(`${ROOT}deploy/envoy/${name}`, 'utf8');
    writeFileSync(join(folder, name), text.replaceAll('/etc/envoy/', `${work}/`));
  }
  return envoyFile(ports, 'envoy-mtls.yaml')
    .replaceAll('/etc/envoy/', `${folder}/`)
    .replace('address: postern.postern.svc', 'address: 127.0.0.1');
}

async function soak(world, traffic) {
  const endMs = run.beganMs + minutes * 60_000;
  await until(
    'both to know who is at home',
    () => traffic.isSettled('home', 200) && traffic.isSettled('home, strict', 200),
  );
  world.facts.redis.set('up');
  const note = async (name, troubleOf) => {
    const trouble = { name, fromS: seconds(), toS: undefined };
    if (name !== '') troubles.push(trouble);
    await troubleOf();
    trouble.toS = seconds();
  };
  const stories = tellStories({ world, traffic, note, isOver: () => run.isOver });
  const failed = stories.catch((error) => {
    traffic.state.wrong += 1;
    traffic.state.examples.push(`${seconds().toFixed(1)} s: ${error.message}`);
    run.isOver = true;
  });
  while (!run.isOver) {
    await Promise.race([sleep(SAMPLE_MS), failed]);
    const [steady, mortal] = await Promise.all(world.replicas.map(({ postern }) => sampleOf(postern.admin)));
    const latencies = traffic.takeLatencies();
    const [p50, p99, p999] = [0.5, 0.99, 0.999].map((share) => quantile(latencies, share));
    const { sent, wrong, late, unavailable } = traffic.state;
    samples.push({ atS: seconds(), steady, mortal, p50, p99, p999, sent, wrong, late, unavailable });
    if (performance.now() >= endMs) run.isOver = true;
  }
  await failed;
}
