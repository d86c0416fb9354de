/** The processes of the demo: an upstream that echoes, Postern, and Envoy from `deploy/envoy/envoy.yaml`. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

/** The repository's folder, with a slash at its end. */
export const ROOT = fileURLToPath(new URL('../..', import.meta.url));

export const ENVOY_VERSION = '1.40.0';
export const ENVOY_PROGRAM = `${ROOT}.venv-envoy/bin/envoy`;

/** A part that runs; `stop` ends it and resolves once it is gone. */
export interface Part {
  stop(): Promise<void>;
}

export interface Upstream extends Part {
  readonly port: number;
}

export interface Postern extends Part {
  /** `host:port` of the check port. */
  readonly check: string;
  /** `host:port` of the admin port. */
  readonly admin: string;
  readonly revision: string;
  /** Every line it has logged so far. */
  readonly lines: readonly string[];
  /** Ends the process at once, as a crash would. */
  kill(): Promise<void>;
}

export interface Envoy extends Part {
  readonly port: number;
}

/** What came back; header names in lower case. */
export interface Answer {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
}

/** One request of a program; header names in lower case. */
export interface Ask {
  readonly method?: string;
  readonly host: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** An HTTP server on a free port that answers with what reached it: `{ path, headers }`. */
export async function startUpstream(): Promise<Upstream> {
  const server = createServer((request, response) => {
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ path: request.url, headers: request.headers }));
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    async stop() {
      server.closeAllConnections();
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
      });
    },
  };
}

/** Postern as a process of its own, on free ports unless `check` says where to listen. Rejects with what it said where
 *  it does not become ready. */
export async function startPostern(config: string, check = '127.0.0.1:0'): Promise<Postern> {
  const ports = ['--set', `listen.check=${check}`, '--set', 'listen.admin=127.0.0.1:0'];
  const child = spawn(process.execPath, [`${ROOT}dist/main.js`, 'serve', '--config', config, ...ports], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const lines: string[] = [];
  const ready = await new Promise<{ check: string; admin: string; revision: string }>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) =>
      reject(new Error(`Postern ended (${code}) before it was ready:\n${lines.join('\n')}`)),
    );
    createInterface({ input: child.stderr }).on('line', (line) => lines.push(line));
    createInterface({ input: child.stdout }).on('line', (line) => {
      lines.push(line);
      if (line.includes('"msg":"ready"'))
        resolve(JSON.parse(line) as { check: string; admin: string; revision: string });
    });
  });
  return {
    ...ready,
    lines,
    async stop() {
      child.kill('SIGTERM');
      await sleep(100);
      // The first signal drains for seconds; here nobody is left to be answered.
      await ended(child, 'SIGTERM');
    },
    kill: () => ended(child, 'SIGKILL'),
  };
}

/** `deploy/envoy/envoy.yaml`, or another file there, with these ports in place of its own; 0 is a free one. */
export function envoyFile(
  ports: {
    readonly listener: number;
    readonly upstream: number;
    readonly postern: number;
  },
  name = 'envoy.yaml',
): string {
  const written = new Map([
    ['10000', ports.listener],
    ['10001', ports.upstream],
    ['9001', ports.postern],
    ['9901', 0],
  ]);
  const text = readFileSync(`${ROOT}deploy/envoy/${name}`, 'utf8');
  return text.replace(/port_value: (\d+)/g, (_, port: string) => `port_value: ${written.get(port) ?? port}`);
}

/** Envoy with this configuration, once it takes requests. `folder` receives its files and its log. */
export async function startEnvoy(program: string, configuration: string, folder: string): Promise<Envoy> {
  const file = join(folder, 'envoy.yaml');
  const addressFile = join(folder, 'envoy-admin-address');
  writeFileSync(file, configuration);
  rmSync(addressFile, { force: true });
  const child = spawn(
    program,
    [
      '-c',
      file,
      '--admin-address-path',
      addressFile,
      '--concurrency',
      '1',
      '--use-dynamic-base-id',
      '--log-level',
      'warning',
      '--log-path',
      join(folder, 'envoy.log'),
    ],
    { stdio: 'ignore' },
  );
  const seen: { failure?: string } = {};
  child.once('error', (error) => {
    seen.failure = error.message;
  });
  child.once('exit', (code) => {
    seen.failure = `it ended (${code})`;
  });
  for (const end = Date.now() + START_MS; Date.now() < end && seen.failure === undefined; await sleep(50)) {
    if (!existsSync(addressFile)) continue;
    const admin = Number(readFileSync(addressFile, 'utf8').split(':').at(-1));
    const port = await listenerPort(admin).catch(() => undefined);
    if (port !== undefined) return { port, stop: () => ended(child, 'SIGTERM') };
  }
  await ended(child, 'SIGKILL');
  throw new Error(`Envoy is not ready: ${seen.failure ?? `nothing heard for ${START_MS} ms`}; see ${folder}/envoy.log`);
}

/** Sends the request as it stands, on a connection of its own. */
export function send(port: number, { method = 'GET', host, path, headers = {} }: Ask): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const options = { host: '127.0.0.1', port, method, path, headers: { host, ...headers }, agent: false };
    const call = httpRequest(options, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (text: string) => {
        body += text;
      });
      response.on('error', reject);
      response.on('end', () => {
        const entries = Object.entries(response.headers).map(([name, value]) => [name, String(value)] as const);
        resolve({ status: response.statusCode ?? 0, headers: new Map(entries), body });
      });
    });
    call.on('error', reject);
    call.end();
  });
}

/** Whether nobody listens on this port of the loopback. */
export function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(false);
    });
    socket.once('error', () => resolve(true));
  });
}

const START_MS = 20_000;
const STOP_MS = 5_000;

async function listenerPort(admin: number): Promise<number | undefined> {
  const ready = await send(admin, { host: 'admin', path: '/ready' });
  if (ready.status !== 200) return undefined;
  const listeners = JSON.parse((await send(admin, { host: 'admin', path: '/listeners?format=json' })).body) as {
    listener_statuses?: { local_address: { socket_address: { port_value: number } } }[];
  };
  return listeners.listener_statuses?.[0]?.local_address.socket_address.port_value;
}

async function ended(child: ChildProcess, signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const gone = new Promise<void>((resolve) => {
    child.once('exit', () => resolve());
  });
  child.kill(signal);
  const late = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
  await gone;
  clearTimeout(late);
}
