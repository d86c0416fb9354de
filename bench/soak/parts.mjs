/** The processes of a soak that are killed, hung and started again: Postern and Redis; and certificates for both ends. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { ROOT } from '../../dist/demo/parts.js';

/** Postern, which starts again on the port that it had. `heard(text)` waits for a line of its log that has this text
 *  and was written since the last `listen()`. */
export function createPostern(config) {
  let child;
  let check = '127.0.0.1:0';
  let lines = [];
  const postern = {
    admin: undefined,
    port: () => Number(check.split(':').at(-1)),
    async start() {
      const sets = ['--set', `listen.check=${check}`, '--set', 'listen.admin=127.0.0.1:0'];
      child = kept(
        spawn(process.execPath, [`${ROOT}dist/main.js`, 'serve', '--config', config, ...sets], {
          stdio: ['ignore', 'pipe', 'inherit'],
        }),
      );
      const started = child;
      const ready = await new Promise((resolve, reject) => {
        started.once('exit', (code) => reject(new Error(`Postern ended (${code}):\n${lines.slice(-5).join('\n')}`)));
        createInterface({ input: started.stdout }).on('line', (line) => {
          lines.push(line);
          if (line.includes('"msg":"ready"')) resolve(JSON.parse(line));
        });
      });
      ({ check } = ready);
      postern.admin = ready.admin;
    },
    listen() {
      lines = [];
    },
    heard: (text) => until(`a line with "${text}"`, () => lines.some((line) => line.includes(text))),
    /** Resolves once it is gone. */
    async end(signal) {
      postern.admin = undefined;
      await ended(child, signal);
    },
  };
  return postern;
}

/** redis-server, which keeps nothing on disk. */
export async function createRedis(folder) {
  const taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  const { port } = taken.address();
  taken.close();
  await once(taken, 'close');
  let child;
  const redis = {
    url: `redis://127.0.0.1:${port}`,
    async start() {
      const words = [
        '--port',
        String(port),
        '--bind',
        '127.0.0.1',
        '--dir',
        folder,
        '--save',
        '',
        '--appendonly',
        'no',
      ];
      child = kept(spawn('redis-server', words, { stdio: ['ignore', 'pipe', 'ignore'] }));
      let text = '';
      let failure;
      child.once('error', (error) => (failure = error));
      child.stdout.on('data', (chunk) => (text = `${text}${chunk}`.slice(-10_000)));
      await until('Redis', () => {
        if (failure) throw new Error('redis-server is missing: node test/real-parts.mjs redis-server');
        return text.includes('Ready to accept connections');
      });
    },
    signal: (signal) => void child.kill(signal),
    end: () => ended(child, 'SIGKILL'),
  };
  await redis.start();
  return redis;
}

/** Where this process ends before its time, nothing stays behind. */
const children = new Set();
process.once('exit', () => {
  for (const child of children) child.kill('SIGKILL');
});

function kept(child) {
  children.add(child);
  child.once('exit', () => children.delete(child));
  return child;
}

async function ended(child, signal) {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill(signal);
  await gone;
}

/** Waits for a condition; rejects where it does not come true in three minutes. */
export async function until(what, holds) {
  for (const end = Date.now() + 180_000; !(await holds()); await sleep(20))
    if (Date.now() > end) throw new Error(`waited in vain for ${what}`);
}

/** An authority of our own. `renew(folder, name, extensions)` puts a new certificate and key there as a Kubernetes
 *  Secret has them, tls.crt, tls.key and ca.crt, the three swapped in one step. */
export function createAuthority(work) {
  const openssl = (...words) => execFileSync('openssl', words, { cwd: work, stdio: 'pipe' });
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  openssl('req', '-x509', ...key, '-days', '2', '-subj', '/CN=Soak CA', '-keyout', 'ca.key', '-out', 'ca.crt');
  let count = 0;
  return {
    renew(folder, name, extensions) {
      const version = `..${(count += 1)}`;
      const place = join(folder, version);
      mkdirSync(place, { recursive: true });
      const [keyFile, request, certificate] = ['tls.key', 'request', 'tls.crt'].map((file) => join(place, file));
      writeFileSync(join(place, 'extensions'), extensions.join('\n'));
      openssl('req', ...key, '-subj', `/CN=${name}`, '-keyout', keyFile, '-out', request);
      const signed = ['-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '1'];
      openssl('x509', '-req', ...signed, '-in', request, '-extfile', join(place, 'extensions'), '-out', certificate);
      execFileSync('cp', [join(work, 'ca.crt'), place]);
      symlinkSync(version, join(folder, '..next'));
      renameSync(join(folder, '..next'), join(folder, '..data'));
      if (count > 2) return;
      for (const file of ['tls.crt', 'tls.key', 'ca.crt']) symlinkSync(`..data/${file}`, join(folder, file));
    },
  };
}
