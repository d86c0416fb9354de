/** Processes that a part starts, their logs in one folder, and their end: by process id, the newest first. */
import { execFile, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { createWriteStream, mkdirSync, mkdtempSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

export function workFolder(name) {
  return mkdtempSync(join(tmpdir(), `postern-mesh-${name}-`));
}

const ends = [];

/** `end` is called where the check is interrupted, the newest first; it may be called a second time. */
export function onInterrupt(end) {
  ends.push(end);
}

/** Ends what is running. */
export async function interrupt() {
  for (const end of ends.toReversed()) await Promise.resolve(end()).catch(() => undefined);
}

/** What one part has running. `start` gives the child; everything is ended by `stop`. */
export function crew(folder) {
  mkdirSync(join(folder, 'logs'), { recursive: true });
  const children = [];
  const all = {
    folder,
    start(name, command, args, options = {}) {
      const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
      const log = createWriteStream(join(folder, 'logs', `${name}.log`));
      const started = { name, child, text: '', gone: undefined };
      for (const stream of [child.stdout, child.stderr]) {
        stream?.pipe(log, { end: false });
        stream?.on('data', (chunk) => {
          started.text = (started.text + String(chunk)).slice(-1_000_000);
        });
      }
      child.on('error', (error) => (started.gone = error.message));
      child.on('exit', (code, signal) => (started.gone = `ended (${signal ?? code})`));
      children.push(started);
      return started;
    },
    async stop() {
      for (const { child, gone } of children.toReversed()) {
        if (gone !== undefined) continue;
        child.kill('SIGTERM');
        for (let tries = 0; tries < 100 && child.exitCode === null && child.signalCode === null; tries += 1)
          await sleep(100);
        if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
      }
    },
  };
  onInterrupt(all.stop);
  return all;
}

/** Waits until it holds; throws with the logs' whereabouts where it does not in time. */
export async function until(what, holds, limitMs = 120_000, everyMs = 250) {
  for (const end = Date.now() + limitMs; ; await sleep(everyMs)) {
    const value = await Promise.resolve()
      .then(holds)
      .catch(() => undefined);
    if (value) return value;
    if (Date.now() > end) throw new Error(`${what}: not within ${limitMs / 1000} s`);
  }
}

/** A program to its end, with `input` to read; gives what it wrote and its exit code, never throws. */
export function finished(command, args, { input = '', ...options } = {}) {
  return new Promise((resolve) => {
    const child = execFile(
      command,
      args,
      { encoding: 'utf8', maxBuffer: 50_000_000, timeout: 120_000, ...options },
      (error, stdout, stderr) => {
        const code = error ? (typeof error.code === 'number' ? error.code : 1) : 0;
        resolve({ code, stdout, stderr: error?.killed ? `${stderr}\n${command} took too long` : stderr });
      },
    );
    child.stdin.on('error', () => undefined);
    child.stdin.end(input);
  });
}

/** Free ports of the loopback address, below those that the system gives to connections: one of them could take a port
 *  before whoever it is meant for has bound it. */
export async function freePorts(count) {
  const ports = new Set();
  while (ports.size < count) {
    const port = randomInt(20_000, 32_000);
    if (!ports.has(port) && (await isFree(port))) ports.add(port);
  }
  return [...ports];
}

function isFree(port) {
  return new Promise((resolve) => {
    const server = createServer();
    server.on('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}
