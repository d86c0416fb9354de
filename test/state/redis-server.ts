/** Real servers for tests: redis-server, or another that takes the same arguments. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, sep } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

export interface TestServer {
  readonly port: number;
  readonly url: string;
  /** Sends one command as redis-cli would, on a connection of its own; resolves with the raw reply. */
  command(...words: readonly string[]): Promise<string>;
  /** Sent to the process. */
  signal(signal: NodeJS.Signals): void;
  /** Starts it again on the same port, empty, after it was killed. */
  start(): Promise<void>;
  stop(): Promise<void>;
}

/** Starts a server on a free port of the loopback interface. Nothing is written to disk but its log. */
export async function startServer(args: readonly string[] = [], program = 'redis-server'): Promise<TestServer> {
  const folder = mkdtempSync(join(tmpdir(), 'postern-redis-'));
  const port = await freePort();
  let child: ChildProcess | undefined;
  let output = '';
  const server: TestServer = {
    port,
    url: `redis://127.0.0.1:${port}`,
    command: (...words) => command(port, words),
    signal: (signal) => void child?.kill(signal),
    async start() {
      const isTls = args.includes('--tls-port');
      const base = ['--port', isTls ? '0' : String(port), '--bind', '127.0.0.1', '--dir', folder];
      const tls = isTls ? ['--tls-port', String(port)] : [];
      const started = spawn(program, [...base, '--save', '', '--appendonly', 'no', ...withoutTlsPort(args), ...tls], {
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      child = started;
      let failure: Error | undefined;
      started.once('error', (error) => (failure = error));
      started.stdout?.on('data', (chunk: Buffer) => (output += chunk.toString()));
      started.stderr?.on('data', (chunk: Buffer) => (output += chunk.toString()));
      const end = Date.now() + 20_000;
      while (!output.includes('Ready to accept connections')) {
        if (failure)
          throw new Error(`${program} is missing: node test/real-parts.mjs redis-server (${failure.message})`);
        if (started.exitCode !== null || Date.now() > end) throw new Error(`${program} did not start:\n${output}`);
        await sleep(20);
      }
      output = '';
    },
    async stop() {
      if (child && child.exitCode === null && child.signalCode === null) {
        child.kill('SIGCONT');
        child.kill('SIGKILL');
        await once(child, 'exit');
      }
      rmSync(folder, { recursive: true, force: true });
    },
  };
  await server.start();
  return server;
}

/** The server that `test/real-parts.mjs` gets. Throws where it is missing, with the way to get it. */
export function valkeyProgram(): string {
  const folder = join(import.meta.dirname, '../../.venv-valkey');
  try {
    const found = readdirSync(folder, { recursive: true, encoding: 'utf8' }).find((name) =>
      name.endsWith(`${sep}valkey-server`),
    );
    if (found !== undefined) return join(folder, found);
  } catch {
    // Said below.
  }
  throw new Error('Valkey is missing: node test/real-parts.mjs valkey');
}

/** Kills the process at once, and waits until it is gone. */
export async function kill(server: TestServer): Promise<void> {
  server.signal('SIGKILL');
  await until(async () => !(await answers(server.port)));
}

/** Three masters that share the slots, each answering for its own while another is down. */
export async function startCluster(program = 'redis-server'): Promise<readonly TestServer[]> {
  const servers: TestServer[] = [];
  for (let index = 0; index < 3; index += 1) {
    servers.push(
      await startServer(
        ['--cluster-enabled', 'yes', '--cluster-require-full-coverage', 'no', '--cluster-node-timeout', '2000'],
        program,
      ),
    );
  }
  const [first] = servers;
  if (!first) throw new Error('no server was started');
  for (const [index, server] of servers.entries()) {
    const from = Math.floor((16_384 * index) / 3);
    const to = Math.floor((16_384 * (index + 1)) / 3) - 1;
    await server.command('CLUSTER', 'ADDSLOTSRANGE', String(from), String(to));
    await server.command('CLUSTER', 'SET-CONFIG-EPOCH', String(index + 1));
    if (server !== first) await server.command('CLUSTER', 'MEET', '127.0.0.1', String(first.port));
  }
  for (const server of servers) {
    await until(async () => {
      const info = await server.command('CLUSTER', 'INFO');
      return info.includes('cluster_state:ok') && info.includes('cluster_slots_assigned:16384');
    });
  }
  return servers;
}

/** Waits for a condition. */
export async function until(condition: () => boolean | Promise<boolean>, limitMs = 20_000): Promise<void> {
  const end = Date.now() + limitMs;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error('it did not come true in time');
    await sleep(20);
  }
}

function withoutTlsPort(args: readonly string[]): readonly string[] {
  const place = args.indexOf('--tls-port');
  return place < 0 ? args : [...args.slice(0, place), ...args.slice(place + 2)];
}

/** The cluster bus listens 10,000 ports higher, so that one must be free as well. */
async function freePort(): Promise<number> {
  for (;;) {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    server.close();
    await once(server, 'close');
    if (port + 10_000 < 65_536) return port;
  }
}

async function command(port: number, words: readonly string[]): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port });
  try {
    await once(socket, 'connect');
    const encoded = words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join('');
    // A second command marks the end of the first one's reply, whatever that is.
    socket.write(`*${words.length}\r\n${encoded}*2\r\n$4\r\nECHO\r\n$4\r\nDONE\r\n`);
    let reply = '';
    for await (const chunk of socket) {
      reply += String(chunk);
      if (reply.endsWith('$4\r\nDONE\r\n')) return reply.slice(0, -'$4\r\nDONE\r\n'.length).trimEnd();
    }
    throw new Error(`the server closed the connection after: ${reply}`);
  } finally {
    socket.destroy();
  }
}

async function answers(port: number): Promise<boolean> {
  try {
    await command(port, ['PING']);
    return true;
  } catch {
    return false;
  }
}
