/** Servers as child processes, and a client that passes bytes through. */
import { spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Client, credentials } from '@grpc/grpc-js';
import { METHOD } from './material.mjs';

const canPin = spawnSync('taskset', ['-c', '0', 'true']).status === 0;

/** Whether servers get a processor of their own. */
export const PINS = canPin;

/** Starts Postern on a config folder; settles when it says that it is ready. */
export function startPostern(folder, { isPinned = true, nodeOptions = [] } = {}) {
  const main = fileURLToPath(new URL('../dist/main.js', import.meta.url));
  const sets = ['--set', 'listen.check=127.0.0.1:0', '--set', 'listen.admin=127.0.0.1:0'];
  return start([...nodeOptions, main, 'serve', '--config', folder, ...sets], isPinned);
}

/** Starts the server that does nothing. */
export function startNoOp(answer, { isPinned = true } = {}) {
  const main = fileURLToPath(new URL('no-op-server.mjs', import.meta.url));
  return start([main, METHOD, Buffer.from(answer).toString('base64')], isPinned);
}

async function start(args, isPinned) {
  const beganMs = performance.now();
  const words = [...(isPinned && canPin ? ['taskset', '-c', '0'] : []), process.execPath, ...args];
  const child = spawn(words[0], words.slice(1), { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout });
  const { check: address, admin } = await new Promise((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`a server ended with ${code}`)));
    lines.on('line', (line) => {
      const { msg, ...ready } = JSON.parse(line);
      if (msg === 'ready') resolve(ready);
      else if (JSON.parse(line).level === 'error') console.error(line);
    });
  });
  const client = new Client(address, credentials.createInsecure());
  return {
    beganMs,
    /** `host:port` of the admin port; undefined: there is none. */
    admin,
    /** One check; calls back with an error or the bytes. */
    call: (bytes, done) => void client.makeUnaryRequest(METHOD, same, same, bytes, done),
    check: (bytes) =>
      new Promise((resolve, reject) => {
        client.makeUnaryRequest(METHOD, same, same, bytes, (error, answer) =>
          error ? reject(error) : resolve(answer),
        );
      }),
    /** Seconds of processor time so far; undefined where the system does not tell. */
    cpuSeconds: () => cpuSeconds(child.pid),
    stop() {
      client.close();
      child.removeAllListeners('exit');
      child.kill('SIGKILL');
    },
  };
}

function same(bytes) {
  return bytes;
}

/** In ticks of 10 ms: user and system time of all threads. */
function cpuSeconds(pid) {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1].split(' ');
    return (Number(fields[11]) + Number(fields[12])) / 100;
  } catch {
    return undefined;
  }
}
