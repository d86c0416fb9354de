/** Whoever opens connections and leaves them alone keeps nobody away. */
import { once } from 'node:events';
import { createServer, get } from 'node:http';
import type { IncomingMessage, Server } from 'node:http';
import { connect } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { boundConnections } from '../../src/admin/connections.ts';
import { startAdminServer } from '../../src/admin/server.ts';
import { eventually } from '../served.ts';

const MOST = 4;
const sockets: Socket[] = [];
let server: Server;
let port: number;
/** Answers to `/slow` wait for this. */
let release: () => void;
let asked: number;

beforeEach(async () => {
  asked = 0;
  const released = new Promise<void>((resolve) => (release = resolve));
  server = createServer(async (request, response) => {
    asked += 1;
    if (request.url === '/slow') await released;
    response.end('answered');
  });
  boundConnections(server, MOST);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  port = (server.address() as AddressInfo).port;
});

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  server.closeAllConnections();
  server.close();
  await once(server, 'close');
});

async function silent(at = port): Promise<Socket> {
  const socket = connect(at, '127.0.0.1');
  sockets.push(socket);
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  return socket;
}

/** The status, or that the connection was closed. */
function ask(path: string, at = port): Promise<number | 'closed'> {
  return new Promise((resolve) => {
    const call = get({ host: '127.0.0.1', port: at, path, agent: false }, (response: IncomingMessage) => {
      response.resume();
      response.on('end', () => resolve(response.statusCode ?? 0));
    });
    call.on('error', () => resolve('closed'));
  });
}

const closed = (socket: Socket): Promise<true> => eventually(() => (socket.closed ? true : undefined));

describe('a bound on connections', () => {
  it('closes the one that has been silent for longest, and no other', async () => {
    const first = await silent();
    const others = [await silent(), await silent(), await silent()];
    expect(await ask('/')).toBe(200);
    await closed(first);
    expect(others.map((socket) => socket.closed)).toEqual([false, false, false]);
  });

  it('leaves alone what is being answered', async () => {
    const slow = ask('/slow');
    await eventually(() => asked === 1 || undefined);
    for (let count = 0; count < 3 * MOST; count += 1) await silent();
    expect(await ask('/')).toBe(200);
    release();
    expect(await slow).toBe(200);
  });

  it('closes the new one where all are being answered', async () => {
    const slow = Array.from({ length: MOST }, () => ask('/slow'));
    await eventually(() => asked === MOST || undefined);
    expect(await ask('/')).toBe('closed');
    release();
    expect(await Promise.all(slow)).toEqual(slow.map(() => 200));
    expect(await ask('/')).toBe(200);
  });

  it('counts one that has been answered as silent from then on', async () => {
    const kept = await silent();
    kept.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n');
    await once(kept, 'data');
    const [next] = [await silent(), await silent(), await silent()];
    await silent();
    await closed(kept);
    expect(next.closed).toBe(false);
  });
});

describe('the admin port', { timeout: 30_000 }, () => {
  it('answers a probe at once although hundreds of connections are open and silent', async () => {
    const route = { method: 'GET', path: '/livez', scope: 'open', handle: () => ({ status: 200 }) } as const;
    const admin = await startAdminServer({ address: '127.0.0.1:0', routes: [route], tokens: () => [] });
    const at = Number(admin.address.split(':')[1]);
    for (let count = 0; count < 400; count += 1) await silent(at);
    expect(await ask('/livez', at)).toBe(200);
    await admin.stop(0);
  });
});
