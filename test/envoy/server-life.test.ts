import { chmodSync, existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { Server as NetServer } from 'node:net';
import { spawnSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client, credentials } from '@grpc/grpc-js';
import { afterEach, describe, expect, it } from 'vitest';
import { CHECK_SERVICE, startCheckServer } from '../../src/envoy/server.ts';
import type { CheckServer, CheckServerOptions } from '../../src/envoy/server.ts';
import { ALLOW, DENY, checkClient, deferred, serverOptions, until } from './check-client.ts';
import type { CheckClient } from './check-client.ts';

const after: (() => unknown)[] = [];

afterEach(async () => {
  for (const undo of after.splice(0).toReversed()) await undo();
});

async function serve(more: Partial<CheckServerOptions> = {}): Promise<CheckServer> {
  const server = await startCheckServer(serverOptions(() => DENY, more));
  after.push(() => server.stopNow());
  return server;
}

function clientOf(server: CheckServer): CheckClient {
  const client = checkClient(server.address);
  after.push(() => client.close());
  return client;
}

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'postern-server-'));
  after.push(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

describe('health', () => {
  it('is NOT_SERVING until told otherwise, for the server and for the service', async () => {
    const server = await serve();
    const client = clientOf(server);
    expect(await client.health('')).toBe('NOT_SERVING');
    expect(await client.health(CHECK_SERVICE)).toBe('NOT_SERVING');
    server.setServing(true);
    expect(await client.health('')).toBe('SERVING');
    expect(await client.health(CHECK_SERVICE)).toBe('SERVING');
    expect(await client.healthList()).toEqual({ '': 'SERVING', [CHECK_SERVICE]: 'SERVING' });
    server.setServing(false);
    expect(await client.health('')).toBe('NOT_SERVING');
  });

  it.each(['envoy.service.auth.v2.Authorization', 'grpc.health.v1.Health', '__proto__', 'constructor'])(
    'of the service %s is NOT_FOUND',
    async (service) => {
      const client = clientOf(await serve());
      await expect(client.health(service)).rejects.toMatchObject({ code: 5 });
    },
  );

  it('is watched: the state at once, then each change; SERVICE_UNKNOWN for another service', async () => {
    const server = await serve();
    const client = clientOf(server);
    server.setServing(true);
    const known = statuses(client, CHECK_SERVICE);
    const unknown = statuses(client, 'other');
    await until(() => known.length === 1 && unknown.length === 1);
    server.setServing(false);
    await until(() => known.length === 2);
    expect(known).toEqual(['SERVING', 'NOT_SERVING']);
    expect(unknown).toEqual(['SERVICE_UNKNOWN']);
  });
});

describe('reflection', () => {
  const proto = fileURLToPath(new URL('../../proto/', import.meta.url));
  const reflection = { proto: 'envoy/service/auth/v3/external_auth.proto', folders: [proto] };

  it.each(['grpc.reflection.v1', 'grpc.reflection.v1alpha'])('%s lists the service', async (version) => {
    const server = await serve({ reflection });
    const client = new Client(server.address, credentials.createInsecure());
    after.push(() => client.close());
    const stream = client.makeBidiStreamRequest(
      `/${version}.ServerReflection/ServerReflectionInfo`,
      (bytes: Buffer) => bytes,
      (bytes: Buffer) => bytes,
    );
    const answer = new Promise<string>((resolve, reject) => {
      stream.on('data', (bytes: Buffer) => resolve(bytes.toString('latin1')));
      stream.on('error', reject);
    });
    // ServerReflectionRequest { list_services: "" }
    stream.write(Buffer.from('3a00', 'hex'));
    const services = await answer;
    stream.end();
    expect(services).toContain(CHECK_SERVICE);
    expect(services).toContain('grpc.health.v1.Health');
  });

  it('whose file is missing is an error at start', async () => {
    const options = serverOptions(() => DENY, { reflection: { proto: 'none.proto', folders: [proto] } });
    await expect(startCheckServer(options)).rejects.toThrow(/none\.proto/);
  });

  it('is absent where it is not asked for', async () => {
    const client = clientOf(await serve());
    await expect(
      client.unary('/grpc.reflection.v1.ServerReflection/ServerReflectionInfo', Buffer.alloc(0)),
    ).rejects.toMatchObject({ code: 12 });
  });
});

describe('the address', () => {
  it.each([
    ['127.0.0.1:0', /^127\.0\.0\.1:[1-9][0-9]*$/],
    ['[::1]:0', /^\[::1\]:[1-9][0-9]*$/],
    ['localhost:0', /^(127\.0\.0\.1|\[::1\]):[1-9][0-9]*$/],
  ])('%s is told as it really is', async (address, real) => {
    const server = await serve({ address });
    expect(server.address).toMatch(real);
    expect(await clientOf(server).check(Buffer.alloc(0))).toEqual(DENY);
  });

  it.each([
    '9001',
    'localhost',
    ':9001',
    '127.0.0.1:65536',
    '127.0.0.1:-1',
    '::1:9001',
    'unix:check.sock',
    'unix://',
    'a b:1',
    '',
  ])('%j is refused', async (address) => {
    await expect(startCheckServer(serverOptions(() => DENY, { address }))).rejects.toThrow(
      `check port ${address}: expected host:port, [v6]:port or unix:///path`,
    );
  });

  it('that is taken is one plain line', async () => {
    const { address } = await serve();
    await expect(startCheckServer(serverOptions(() => DENY, { address }))).rejects.toThrow(
      `check port ${address} is taken; stop the program that has it or set listen.check`,
    );
  });

  it('of no interface is one plain line', async () => {
    await expect(startCheckServer(serverOptions(() => DENY, { address: '192.0.2.1:0' }))).rejects.toThrow(
      'check port 192.0.2.1:0: no interface of this machine has that address; correct listen.check',
    );
  });

  it('that does not resolve is one plain line', async () => {
    await expect(startCheckServer(serverOptions(() => DENY, { address: 'nowhere.invalid:0' }))).rejects.toThrow(
      'check port nowhere.invalid:0: the host name does not resolve; correct listen.check',
    );
  });
});

describe('a unix socket', () => {
  it('serves its owner and group, and is gone afterwards', async () => {
    const path = join(folder(), 'check.sock');
    const server = await serve({ address: `unix://${path}` });
    expect(server.address).toBe(`unix://${path}`);
    expect((statSync(path).mode & 0o777).toString(8)).toBe('660');
    expect(await clientOf(server).check(Buffer.alloc(0))).toEqual(DENY);
    await server.stopNow();
    expect(existsSync(path)).toBe(false);
  });

  it('is gone after a drain too', async () => {
    const path = join(folder(), 'check.sock');
    const server = await serve({ address: `unix://${path}` });
    await server.drain({ graceMs: 0, deadlineMs: 1_000 });
    expect(existsSync(path)).toBe(false);
  });

  it('that a killed process left behind is replaced', async () => {
    const path = join(folder(), 'check.sock');
    const script = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
    spawnSync(process.execPath, ['-e', script]);
    expect(statSync(path).isSocket()).toBe(true);
    const server = await serve({ address: `unix://${path}` });
    expect(await clientOf(server).check(Buffer.alloc(0))).toEqual(DENY);
  });

  it('that somebody answers is taken, and left alone', async () => {
    const path = join(folder(), 'check.sock');
    const other = await listening(path);
    await expect(startCheckServer(serverOptions(() => DENY, { address: `unix://${path}` }))).rejects.toThrow(
      `check port unix://${path} is taken`,
    );
    expect(other.listening && statSync(path).isSocket()).toBe(true);
  });

  it('is never put in the place of another file', async () => {
    const path = join(folder(), 'check.sock');
    writeFileSync(path, 'precious');
    await expect(startCheckServer(serverOptions(() => DENY, { address: `unix://${path}` }))).rejects.toThrow(
      'a file that is no socket is there',
    );
    expect(statSync(path).size).toBe(8);
  });

  it('in a folder that does not exist is one plain line', async () => {
    const path = join(folder(), 'none', 'check.sock');
    await expect(startCheckServer(serverOptions(() => DENY, { address: `unix://${path}` }))).rejects.toThrow(
      `check port unix://${path}: the folder does not exist; make it or correct listen.check`,
    );
  });
});

describe('draining', () => {
  it('says NOT_SERVING, answers on during the grace, finishes what is in hand, then closes', async () => {
    const slow = deferred<Uint8Array>();
    const server = await serve({ check: (bytes) => (bytes.byteLength === 0 ? DENY : slow.promise) });
    const client = clientOf(server);
    server.setServing(true);
    const inHand = client.check(Buffer.from('slow'));
    await until(() => server.waiting === 1);
    const drained = server.drain({ graceMs: 300, deadlineMs: 10_000 });
    expect(await client.health('')).toBe('NOT_SERVING');
    // Too late to change one's mind.
    server.setServing(true);
    expect(await client.health('')).toBe('NOT_SERVING');
    expect(await client.check(Buffer.alloc(0))).toEqual(DENY);
    await until(async () => !(await connects(server.address)));
    expect(server.waiting).toBe(1);
    slow.resolve(ALLOW);
    expect(await inHand).toEqual(ALLOW);
    await drained;
    await expect(client.check(Buffer.alloc(0), { deadline: Date.now() + 2_000 })).rejects.toThrow();
  });

  it('ends at its deadline although somebody watches the health', async () => {
    const server = await serve();
    const client = clientOf(server);
    server.setServing(true);
    const seen = statuses(client, '');
    await until(() => seen.length === 1);
    const drained = server.drain({ graceMs: 0, deadlineMs: 400 });
    await until(() => seen.length === 2);
    await drained;
    expect(seen).toEqual(['SERVING', 'NOT_SERVING']);
    expect(await connects(server.address)).toBe(false);
  });

  it('without anything in hand does not wait for its deadline', async () => {
    const server = await serve();
    const client = clientOf(server);
    await client.check(Buffer.alloc(0));
    await server.drain({ graceMs: 0, deadlineMs: 3_600_000 });
    expect(await connects(server.address)).toBe(false);
  });

  it('is cut short by stopping now, in the grace and after it', async () => {
    for (const graceMs of [3_600_000, 0]) {
      const server = await serve({ check: () => new Promise(() => undefined) });
      const client = clientOf(server);
      const lost = client.check(Buffer.alloc(0)).then(
        () => 'answered',
        () => 'lost',
      );
      await until(() => server.waiting === 1);
      const drained = server.drain({ graceMs, deadlineMs: 3_600_000 });
      if (graceMs === 0) await until(async () => !(await connects(server.address)));
      await server.stopNow();
      await drained;
      expect(await lost).toBe('lost');
      expect(await connects(server.address)).toBe(false);
    }
  });

  it('twice is draining once', async () => {
    const server = await serve();
    const first = server.drain({ graceMs: 0, deadlineMs: 100 });
    expect(server.drain({ graceMs: 5_000, deadlineMs: 100 })).toBe(first);
    await first;
    await server.stopNow();
  });
});

function statuses(client: CheckClient, service: string): string[] {
  const seen: string[] = [];
  client.watch(service).on('data', ({ status }: { status: string }) => seen.push(status));
  return seen;
}

function listening(path: string): Promise<NetServer> {
  return new Promise((resolve) => {
    const other = createServer((socket) => socket.destroy());
    after.push(() => new Promise((done) => void other.close(done)));
    other.listen(path, () => {
      chmodSync(path, 0o600);
      resolve(other);
    });
  });
}

function connects(address: string): Promise<boolean> {
  const [host = '', port = ''] = address.split(':');
  return new Promise((resolve) => {
    const socket = connect({ host, port: Number(port) });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
