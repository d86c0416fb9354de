/** Calls to servers that do not do what they should. */
import { createServer } from 'node:http';
import type { RequestListener } from 'node:http';
import { createServer as createRawServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { createServer as createSecureServer } from 'node:https';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { brotliCompressSync, gzipSync } from 'node:zlib';
import { afterEach, describe, expect, it } from 'vitest';
import { before, createOutbound, jsonObject, OutboundError } from '../../src/facts/outbound.ts';
import { isLoopbackHost } from '../../src/shared/host.ts';
import type { OutboundOptions, OutboundRequest } from '../../src/facts/outbound.ts';
import { addressOf } from '../rules/contexts.ts';
import { reachOf } from '../../src/shared/address.ts';
import { selfSigned } from './self-signed.ts';

const servers: Server[] = [];

afterEach(async () => {
  for (const server of servers.splice(0)) {
    if ('closeAllConnections' in server) (server as { closeAllConnections(): void }).closeAllConnections();
    await new Promise((resolve) => void server.close(resolve));
  }
});

async function listening(server: Server): Promise<number> {
  servers.push(server);
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  return (server.address() as AddressInfo).port;
}

async function serving(listener: RequestListener): Promise<string> {
  return `http://127.0.0.1:${await listening(createServer(listener))}`;
}

/** Sends these bytes to whoever connects. */
async function speaking(speak: (socket: Socket) => void): Promise<string> {
  const server = createRawServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () => speak(socket));
  });
  return `http://127.0.0.1:${await listening(server)}`;
}

const SOON_MS = 80;
/** Long enough for any answer on a busy machine. */
const LATE_MS = 20_000;

/** What came, or why nothing did. */
async function outcome(
  request: Partial<OutboundRequest> & { readonly url: string },
  timeoutMs = LATE_MS,
  options: OutboundOptions = { guarded: false },
): Promise<string> {
  try {
    const { bytes } = await createOutbound(options)({ bytesMax: 100, ...request }, AbortSignal.timeout(timeoutMs));
    return Buffer.from(bytes).toString();
  } catch (error) {
    if (!(error instanceof OutboundError)) throw error;
    return `failed: ${error.message}`;
  }
}

describe('a server that', () => {
  const long = 'x'.repeat(101);
  it.each<[string, RequestListener, string]>([
    ['answers', (_, response) => response.end('{}'), '{}'],
    ['answers at the limit', (_, response) => response.end('x'.repeat(100)), 'x'.repeat(100)],
    ['answers in pieces', (_, response) => void (response.write('{'), setTimeout(() => response.end('}'), 20)), '{}'],
    ['says 403', (_, response) => response.writeHead(403).end('{}'), 'failed: expected status 200, found 403'],
    ['says 204', (_, response) => response.writeHead(204).end(), 'failed: expected status 200, found 204'],
    [
      'redirects',
      (_, response) => response.writeHead(302, { location: 'http://127.0.0.1/' }).end(),
      'failed: expected status 200, found 302',
    ],
    ['says too much', (_, response) => response.end(long), 'failed: expected at most 100 bytes, found more'],
    [
      'says too much in pieces',
      (_, response) => {
        for (let i = 0; i < 101; i += 1) response.write('x');
      },
      'failed: expected at most 100 bytes, found more',
    ],
    [
      'packs its answer',
      (_, response) => response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync('{}')),
      '{}',
    ],
    [
      'packs it otherwise',
      (_, response) => response.writeHead(200, { 'content-encoding': 'br' }).end(brotliCompressSync('{}')),
      '{}',
    ],
    [
      'packs too much',
      (_, response) => response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync('x'.repeat(9_000))),
      'failed: expected at most 100 bytes, found more',
    ],
    [
      'says it has packed and has not',
      (_, response) => response.writeHead(200, { 'content-encoding': 'gzip' }).end('{}'),
      'failed: the answer cannot be unpacked',
    ],
    [
      'packs in its own way',
      (_, response) => response.writeHead(200, { 'content-encoding': 'zz' }).end('{}'),
      'failed: the answer cannot be unpacked',
    ],
    ['hangs up', (request) => request.socket.destroy(), 'failed: ECONNRESET'],
    [
      'breaks off',
      (_, response) => {
        response.writeHead(200, { 'content-length': 50 }).write('{');
        setTimeout(() => response.destroy(), 20);
      },
      'failed: the connection broke off',
    ],
  ])('%s', async (_, listener, expected) => {
    expect(await outcome({ url: await serving(listener) })).toBe(expected);
  });

  it.each<[string, (socket: Socket) => void, string | RegExp]>([
    ['resets', (socket) => socket.resetAndDestroy(), 'failed: ECONNRESET'],
    ['speaks no HTTP', (socket) => socket.end('SSH-2.0-OpenSSH\r\n'), /^failed: HPE_/],
    [
      'sends headers without end',
      (socket) => socket.write(`HTTP/1.1 200 OK\r\nx: ${'y'.repeat(40_000)}\r\n`),
      /^failed: HPE_/,
    ],
    [
      'changes the protocol',
      (socket) => socket.end('HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n'),
      'failed: the connection broke off',
    ],
    [
      'ends a chunk early',
      (socket) => socket.end('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{'),
      'failed: the connection broke off',
    ],
  ])('%s', async (_, speak, expected) => {
    expect(await outcome({ url: await speaking(speak) })).toMatch(expected);
  });

  it.each<[string, (socket: Socket) => void]>([
    ['says nothing', () => undefined],
    ['says hardly anything', (socket) => socket.write('HTTP/1.1 200 OK\r\n')],
    ['sends headers drop by drop', (socket) => void drip(socket, 'HTTP/1.1 200 OK\r\n', 'a: b\r\n')],
    [
      'sends its answer drop by drop',
      (socket) => void drip(socket, 'HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\n', '.'),
    ],
  ])('%s is given up in time', async (_, speak) => {
    expect(await outcome({ url: await speaking(speak) }, SOON_MS)).toBe('failed: no answer in time');
  });

  it('is not there', async () => {
    const server = createServer();
    const port = await listening(server);
    await new Promise((resolve) => void server.close(resolve));
    expect(await outcome({ url: `http://127.0.0.1:${port}` })).toBe('failed: ECONNREFUSED');
  });

  it('nobody knows', async () => {
    const resolve = ((_: string, __: object, done: (error: Error, found: []) => void) =>
      done(Object.assign(new Error('no'), { code: 'ENOTFOUND' }), [])) as unknown as NonNullable<
      OutboundOptions['resolve']
    >;
    expect(await outcome({ url: 'http://evaluate.test/' }, LATE_MS, { guarded: true, resolve })).toBe(
      'failed: ENOTFOUND',
    );
  });

  it('is not called once it is too late', async () => {
    let asked = 0;
    const url = await serving((_, response) => void ((asked += 1), response.end('{}')));
    await expect(createOutbound({ guarded: false })({ url, bytesMax: 9 }, AbortSignal.abort())).rejects.toThrow(
      'no answer in time',
    );
    expect(asked).toBe(0);
  });
});

function drip(socket: Socket, first: string, drop: string): void {
  socket.write(first);
  const timer = setInterval(() => (socket.destroyed ? clearInterval(timer) : void socket.write(drop)), 10);
}

describe('what is sent', () => {
  it('is the target as written, and JSON where there is some', async () => {
    const seen: string[] = [];
    const url = await serving((request, response) => {
      let body = '';
      request.on('data', (text: Buffer) => (body += text.toString()));
      request.on('end', () => {
        seen.push(`${request.method} ${request.url} ${request.headers['content-type'] ?? ''} ${body}`);
        response.end('{}');
      });
    });
    await outcome({ url: `${url}/a/./b/../%7e?q=%41'` });
    await outcome({ url });
    await outcome({ url: `${url}?q` });
    await outcome({ url: `${url}/é` });
    await outcome({ url: `${url}/x`, json: { a: 'é' }, headers: { authorization: 't' } });
    expect(seen).toEqual([
      "GET /a/./b/../%7e?q=%41'  ",
      'GET /  ',
      'GET /?q  ',
      'GET /%C3%A9  ',
      'POST /x application/json {"a":"é"}',
    ]);
  });

  it('asks for the addresses of a host once for all who call it at the same time', async () => {
    const port = await listening(createServer((_, response) => response.end('{}')));
    const waiting: ((error: null, found: readonly object[]) => void)[] = [];
    const resolve = ((_: string, __: object, done: (error: null, found: readonly object[]) => void) =>
      void waiting.push(done)) as unknown as NonNullable<OutboundOptions['resolve']>;
    const outbound = createOutbound({ guarded: false, resolve });
    const call = () => outbound({ url: `http://evaluate.test:${port}/`, bytesMax: 9 }, AbortSignal.timeout(LATE_MS));
    const calls = [call(), call(), call()];
    await expect.poll(() => waiting.length, { timeout: 5_000 }).toBe(1);
    waiting[0]?.(null, [{ address: '127.0.0.1', family: 4 }]);
    expect((await Promise.all(calls)).map(({ bytes }) => Buffer.from(bytes).toString())).toEqual(['{}', '{}', '{}']);
    expect(waiting).toHaveLength(1);
  });

  it('goes over a connection that is kept', async () => {
    const ports = new Set<number | undefined>();
    const url = await serving((request, response) => void (ports.add(request.socket.remotePort), response.end('{}')));
    const outbound = createOutbound({ guarded: false });
    for (let i = 0; i < 3; i += 1) await outbound({ url, bytesMax: 9 }, AbortSignal.timeout(LATE_MS));
    expect(ports.size).toBe(1);
  });
});

describe('a guarded call', () => {
  const resolving = (...addresses: readonly string[]): OutboundOptions => ({
    guarded: true,
    resolve: ((_: string, __: object, done: (error: null, found: readonly object[]) => void) =>
      done(
        null,
        addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
      )) as unknown as NonNullable<OutboundOptions['resolve']>,
  });
  const REFUSED = 'failed: an address that must not be called';

  it.each([
    'http://169.254.169.254/latest',
    'http://[fe80::1]/',
    'http://224.0.0.1/',
    'http://[ff02::1]/',
    'http://0.0.0.0/',
    'http://[::]/',
    'http://255.255.255.255/',
    'http://[::ffff:169.254.169.254]/',
    'http://[64:ff9b::a9fe:a9fe]/',
    'http://[2002:a9fe:a9fe::1]/',
  ])('%s is refused', async (url) => {
    expect(await outcome({ url }, LATE_MS, { guarded: true })).toBe(REFUSED);
  });

  it.each([
    [['169.254.169.254']],
    [['127.0.0.1']],
    [['::1']],
    [['::ffff:127.0.0.1']],
    [['64:ff9b::7f00:1']],
    [['0.0.0.0', 'fe80::1', '224.0.0.9']],
  ])('a name that leads to %j is refused', async (addresses) => {
    const port = await listening(createServer((_, response) => response.end('{}')));
    const url = `http://evaluate.test:${port}/`;
    expect(await outcome({ url }, LATE_MS, resolving(...addresses))).toBe(REFUSED);
    expect(await outcome({ url: url.replace('evaluate.test', '127.0.0.1') }, LATE_MS, { guarded: true })).toBe('{}');
  });

  it('a name of this machine may lead to this machine', async () => {
    const port = await listening(createServer((_, response) => response.end('{}')));
    expect(await outcome({ url: `http://x.localhost:${port}/` }, LATE_MS, resolving('127.0.0.1'))).toBe('{}');
    expect(await outcome({ url: `http://localhost:${port}/` }, LATE_MS, resolving('169.254.1.1', '127.0.0.1'))).toBe(
      '{}',
    );
  });

  it.each([
    ['10.0.0.1', 'any'],
    ['192.168.1.1', 'any'],
    ['fd00:ec2::254', 'any'],
    ['203.0.113.7', 'any'],
    ['2001:db8::1', 'any'],
    ['64:ff9b::203.0.113.7', 'any'],
    ['127.9.9.9', 'loopback'],
    ['::1', 'loopback'],
    ['::127.0.0.1', 'loopback'],
    ['0.1.2.3', 'none'],
    ['169.254.0.1', 'none'],
    ['febf::1', 'none'],
  ])('%s reaches %s', (address, reach) => {
    expect(reachOf(addressOf(address))).toBe(reach);
  });

  it.each([
    ['localhost', true],
    ['a.localhost', true],
    ['127.0.0.1', true],
    ['[::1]', true],
    ['localhost.example', false],
    ['127.0.0.1.example', false],
    ['notlocalhost', false],
  ])('%s means this machine: %s', (host, means) => {
    expect(isLoopbackHost(host)).toBe(means);
  });
});

it('over TLS only a certificate of a trusted authority counts', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'postern-outbound-'));
  try {
    const { key, cert } = selfSigned(folder);
    const port = await listening(createSecureServer({ key, cert }, (_, response) => response.end('{}')));
    const url = `https://localhost:${port}/`;
    expect(await outcome({ url })).toBe('failed: DEPTH_ZERO_SELF_SIGNED_CERT');
    expect(await outcome({ url }, LATE_MS, { guarded: true, authorities: cert })).toBe('{}');
    expect(
      await outcome({ url: url.replace('localhost', '127.0.0.1') }, LATE_MS, { guarded: true, authorities: cert }),
    ).toBe('failed: ERR_TLS_CERT_ALTNAME_INVALID');
  } finally {
    rmSync(folder, { recursive: true });
  }
});

it('what comes of a call first counts, and the deadline else', async () => {
  await expect(before(AbortSignal.timeout(LATE_MS), Promise.resolve(1))).resolves.toBe(1);
  await expect(before(AbortSignal.timeout(10), new Promise(() => undefined))).rejects.toThrow('no answer in time');
  await expect(before(AbortSignal.abort(), Promise.resolve(1))).rejects.toThrow('no answer in time');
  await expect(before(AbortSignal.timeout(LATE_MS), Promise.reject(new OutboundError('x')))).rejects.toThrow('x');
});

it.each(['[]', 'null', '1', '{', '"x"', ''])('%j is no JSON object', (text) => {
  expect(() => jsonObject(Buffer.from(text))).toThrow(OutboundError);
});
