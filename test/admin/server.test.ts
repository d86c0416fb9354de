import { createHash } from 'node:crypto';
import { request as httpRequest } from 'node:http';
import type { IncomingHttpHeaders } from 'node:http';
import { connect } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { BODY_MAX_BYTES, bearerToken, callerOf, startAdminServer } from '../../src/admin/server.ts';
import type {
  AdminGroup,
  AdminRequest,
  AdminRoute,
  AdminServer,
  AdminServerOptions,
  AdminToken,
} from '../../src/admin/server.ts';

const READER = 'reader-token-of-forty-characters-or-more-1';
const WRITER = 'writer-token-of-forty-characters-or-more-1';
const BOTH = 'token-of-both-of-forty-characters-or-more-1';

function token(name: string, secret: string, scopes: readonly string[]): AdminToken {
  return { name, sha256: createHash('sha256').update(secret).digest('hex'), scopes };
}

const TOKENS = [
  token('reader', READER, ['read']),
  token('writer', WRITER, ['write']),
  token('both', BOTH, ['read', 'write']),
];

let server: AdminServer | undefined;
let address = '';

afterEach(async () => {
  await server?.stop(0);
  server = undefined;
});

async function serve(more: Partial<AdminServerOptions>): Promise<void> {
  server = await startAdminServer({ address: '127.0.0.1:0', routes: [], tokens: () => TOKENS, ...more });
  address = server.address;
}

interface Reply {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

function ask(
  method: string,
  path: string,
  headers: Readonly<Record<string, string>> = {},
  body?: string | Buffer,
): Promise<Reply> {
  const [host = '', port = ''] = address.split(':');
  return new Promise((resolve, reject) => {
    const outgoing = httpRequest({ host, port: Number(port), method, path, headers, agent: false }, (incoming) => {
      const chunks: Buffer[] = [];
      incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
      incoming.once('error', reject);
      incoming.once('end', () =>
        resolve({
          status: incoming.statusCode ?? 0,
          headers: incoming.headers,
          body: Buffer.concat(chunks).toString(),
        }),
      );
    });
    outgoing.once('error', reject);
    outgoing.end(body);
  });
}

function bearer(secret: string): { readonly authorization: string } {
  return { authorization: `Bearer ${secret}` };
}

/** A route that says how it was called. */
function echo(method: AdminRoute['method'], path: string, scope: AdminRoute['scope']): AdminRoute {
  return {
    method,
    path,
    scope,
    handle: (request) => ({
      status: 200,
      body: JSON.stringify({
        route: `${method} ${path}`,
        method: request.method,
        path: request.path,
        query: [...request.query],
        parameters: Object.fromEntries(request.parameters),
        body: Buffer.from(request.body).toString(),
        caller: request.caller?.name,
      }),
    }),
  };
}

describe('the routes', () => {
  const routes = [
    echo('GET', '/groups', 'open'),
    echo('POST', '/groups', 'open'),
    echo('GET', '/groups/', 'open'),
    echo('GET', '/groups/all', 'open'),
    echo('GET', '/groups/{group}', 'open'),
    echo('DELETE', '/groups/{group}', 'open'),
    echo('GET', '/{account}/groups/{group}/rules', 'open'),
    echo('GET', '/', 'open'),
  ];

  it.each<[string, string, string, object]>([
    ['GET', '/', 'GET /', {}],
    ['GET', '/groups', 'GET /groups', {}],
    ['POST', '/groups', 'POST /groups', {}],
    ['GET', '/groups/', 'GET /groups/', {}],
    ['GET', '/groups/all', 'GET /groups/all', {}],
    ['GET', '/groups/8f1c', 'GET /groups/{group}', { group: '8f1c' }],
    ['DELETE', '/groups/all', 'DELETE /groups/{group}', { group: 'all' }],
    ['GET', '/groups/a%2Fb%20c', 'GET /groups/{group}', { group: 'a/b c' }],
    ['GET', '/groups/__proto__', 'GET /groups/{group}', { group: '__proto__' }],
    ['GET', '/x/groups/y/rules?z=1', 'GET /{account}/groups/{group}/rules', { account: 'x', group: 'y' }],
  ])('%s %s is %s', async (method, path, route, parameters) => {
    await serve({ routes });
    const { status, body } = await ask(method, path);
    expect(status).toBe(200);
    const called = JSON.parse(body) as { route: string; parameters: object };
    expect(called.route).toBe(route);
    expect(Object.entries(called.parameters)).toEqual(Object.entries(parameters));
  });

  it.each([
    '/nothing',
    '/groups/a/b',
    '//groups',
    '/Groups',
    '/groups/%zz',
    '/groups/%ff',
    '//groups//rules',
    '/./groups',
    '*',
  ])('%s is not found, with an empty body', async (path) => {
    await serve({ routes });
    const { status, body, headers } = await ask('GET', path);
    expect([status, body, headers['content-length']]).toEqual([404, '', '0']);
  });

  it.each([
    ['PUT', '/groups', 'GET, HEAD, POST'],
    ['OPTIONS', '/groups', 'GET, HEAD, POST'],
    ['TRACE', '/groups/8f1c', 'GET, HEAD, DELETE'],
    ['POST', '/', 'GET, HEAD'],
  ])('%s %s is not allowed, and what is is told', async (method, path, allow) => {
    await serve({ routes });
    const { status, body, headers } = await ask(method, path);
    expect([status, body, headers.allow]).toEqual([405, '', allow]);
  });

  it('answer HEAD as GET, without the body and with its length', async () => {
    await serve({ routes });
    const got = await ask('GET', '/groups/1');
    const head = await ask('HEAD', '/groups/1');
    expect([head.status, head.body]).toEqual([200, '']);
    // The echo tells the method, one letter longer.
    expect(Number(head.headers['content-length'])).toBe(got.body.length + 1);
  });

  it('are told the query, form-decoded, and the body', async () => {
    await serve({ routes });
    const { body } = await ask('POST', '/groups?name=a+b%20c&name=&x', {}, '{"name":"Engineering"}');
    expect(JSON.parse(body)).toMatchObject({
      path: '/groups',
      query: [
        ['name', 'a b c'],
        ['name', ''],
        ['x', ''],
      ],
      body: '{"name":"Engineering"}',
    });
  });

  it('are never cached or guessed at, unless they say so', async () => {
    await serve({
      routes: [
        echo('GET', '/', 'open'),
        {
          method: 'GET',
          path: '/certs',
          scope: 'open',
          handle: () => ({
            status: 200,
            headers: { 'cache-control': 'public, max-age=300' },
            body: new Uint8Array([0x7b, 0x7d]),
          }),
        },
      ],
    });
    const { headers } = await ask('GET', '/');
    expect([headers['cache-control'], headers['x-content-type-options']]).toEqual(['no-store', 'nosniff']);
    const certs = await ask('GET', '/certs');
    expect([certs.headers['cache-control'], certs.body]).toEqual(['public, max-age=300', '{}']);
  });
});

describe('tokens', () => {
  const routes = [echo('GET', '/read', 'read'), echo('POST', '/write', 'write'), echo('GET', '/open', 'open')];

  it.each<[string, string, Readonly<Record<string, string>>, number, string?]>([
    ['GET', '/read', bearer(READER), 200, 'reader'],
    ['HEAD', '/read', bearer(READER), 200],
    ['GET', '/read', { authorization: `bearer  ${READER} ` }, 200, 'reader'],
    ['GET', '/read', bearer(BOTH), 200, 'both'],
    ['POST', '/write', bearer(BOTH), 200, 'both'],
    ['POST', '/write', bearer(WRITER), 200, 'writer'],
    ['GET', '/read', bearer(WRITER), 403],
    ['POST', '/write', bearer(READER), 403],
    ['GET', '/read', {}, 401],
    ['GET', '/read', bearer('wrong'), 401],
    ['GET', '/read', bearer(`${READER}x`), 401],
    ['GET', '/read', bearer(''), 401],
    ['GET', '/read', { authorization: READER }, 401],
    ['GET', '/read', { authorization: `Basic ${READER}` }, 401],
    ['GET', '/read', bearer(TOKENS[0]?.sha256 ?? ''), 401],
    ['GET', '/open', {}, 200],
    ['GET', '/open', bearer('wrong'), 200],
  ])('%s %s with %j is %s', async (method, path, headers, status, name) => {
    await serve({ routes });
    const reply = await ask(method, path, headers);
    expect(reply.status).toBe(status);
    expect(reply.headers['www-authenticate']).toBe(status === 401 ? 'Bearer' : undefined);
    if (name !== undefined) expect(JSON.parse(reply.body)).toMatchObject({ caller: name });
  });

  it.each(['/read', '/write', '/nothing'])('where none is configured, %s does not exist', async (path) => {
    await serve({ routes, tokens: () => [] });
    for (const method of ['GET', 'POST', 'OPTIONS']) {
      const { status, body } = await ask(method, path, bearer(READER));
      expect([status, body]).toEqual([404, '']);
    }
    expect((await ask('GET', '/open')).status).toBe(200);
  });

  it('are read anew for every request', async () => {
    let tokens: readonly AdminToken[] = TOKENS;
    await serve({ routes, tokens: () => tokens });
    expect((await ask('GET', '/read', bearer(READER))).status).toBe(200);
    tokens = [token('other', BOTH, ['read'])];
    expect((await ask('GET', '/read', bearer(READER))).status).toBe(401);
    expect((await ask('GET', '/read', bearer(BOTH))).status).toBe(200);
  });

  it('with a hash that is none are nobody', () => {
    const empty = createHash('sha256').update('').digest('hex');
    expect(callerOf({ secret: 'x' }, [{ name: 'a', sha256: '', scopes: ['read'] }])).toBeUndefined();
    expect(callerOf({ secret: 'x' }, [{ name: 'a', sha256: empty.slice(2), scopes: ['read'] }])).toBeUndefined();
    expect(callerOf({ secret: 'x' }, [])).toBeUndefined();
  });

  it('of the same hash are the first', () => {
    expect(
      callerOf({ secret: READER, actor: 'ann' }, [token('one', READER, []), token('two', READER, ['read'])]),
    ).toEqual({
      name: 'one',
      actor: 'ann',
      scopes: [],
    });
  });

  it.each([
    [undefined, undefined],
    ['Bearer abc', 'abc'],
    ['BEARER abc', 'abc'],
    ['Bearer', undefined],
    ['Bearer  ', undefined],
    ['Bearerabc', undefined],
    ['Token abc', undefined],
  ])('in the header %j are %j', (authorization, secret) => {
    const presented = bearerToken(authorization === undefined ? {} : { authorization });
    expect(presented).toEqual(secret === undefined ? undefined : { secret });
  });
});

describe('a group of routes', () => {
  const refusals: string[] = [];
  const group: AdminGroup = {
    prefix: '/client/v4',
    routes: [
      echo('GET', '/client/v4/groups', 'read'),
      echo('POST', '/client/v4/groups', 'write'),
      {
        method: 'DELETE',
        path: '/client/v4/groups',
        scope: 'write',
        handle() {
          throw new Error('disk full');
        },
      },
    ],
    presented: (headers) =>
      typeof headers['x-auth-key'] === 'string'
        ? { secret: headers['x-auth-key'], actor: 'ann' }
        : bearerToken(headers),
    refuse(refusal, request: AdminRequest) {
      refusals.push(`${refusal.kind} ${request.method} ${request.path} ${request.caller?.name ?? '-'}`);
      return {
        status: 400,
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ refused: refusal.kind }),
      };
    },
  };

  it.each<[string, string, Readonly<Record<string, string>>, string]>([
    ['GET', '/client/v4/groups', {}, 'unauthenticated GET /client/v4/groups -'],
    ['GET', '/client/v4/groups', bearer('wrong'), 'unauthenticated GET /client/v4/groups -'],
    ['GET', '/client/v4/groups', bearer(WRITER), 'forbidden GET /client/v4/groups writer'],
    ['GET', '/client/v4/nothing', bearer(READER), 'not_found GET /client/v4/nothing reader'],
    ['GET', '/client/v4', bearer(READER), 'not_found GET /client/v4 reader'],
    // Without credentials nobody learns what exists.
    ['GET', '/client/v4/nothing', {}, 'unauthenticated GET /client/v4/nothing -'],
    ['PATCH', '/client/v4/groups', {}, 'unauthenticated PATCH /client/v4/groups -'],
    ['PATCH', '/client/v4/groups', bearer(READER), 'method_not_allowed PATCH /client/v4/groups reader'],
    ['DELETE', '/client/v4/groups', bearer(WRITER), 'failed DELETE /client/v4/groups writer'],
  ])('refuses %s %s with %j in its own words', async (method, path, headers, refusal) => {
    refusals.length = 0;
    const failures: string[] = [];
    await serve({ groups: [group], failed: (error) => failures.push(String(error)) });
    const reply = await ask(method, path, headers);
    expect(refusals).toEqual([refusal]);
    expect([reply.status, reply.body]).toEqual([400, `{"refused":"${refusal.split(' ')[0]}"}`]);
    expect(reply.headers.allow).toBe(refusal.startsWith('method_not_allowed') ? 'GET, HEAD, POST, DELETE' : undefined);
    expect(reply.headers['www-authenticate']).toBe(refusal.startsWith('unauthenticated') ? 'Bearer' : undefined);
    expect(failures).toEqual(refusal.startsWith('failed') ? ['Error: disk full'] : []);
  });

  it('reads credentials in its own way', async () => {
    await serve({ groups: [group] });
    const { body } = await ask('GET', '/client/v4/groups', { 'x-auth-key': READER });
    expect(JSON.parse(body)).toMatchObject({ caller: 'reader' });
  });

  it('does not exist, and does not speak, where no token is configured', async () => {
    refusals.length = 0;
    await serve({ groups: [group], tokens: () => [] });
    for (const path of ['/client/v4/groups', '/client/v4/nothing', '/client/v4']) {
      const { status, body } = await ask('GET', path, bearer(READER));
      expect([status, body]).toEqual([404, '']);
    }
    expect(refusals).toEqual([]);
  });

  it('has only what is below its prefix; of two the longer one', async () => {
    const inner: AdminGroup = {
      prefix: '/client/v4/inner',
      routes: [echo('GET', '/client/v4/inner/x', 'open')],
      refuse: () => ({ status: 418 }),
    };
    await serve({ groups: [group, inner], routes: [echo('GET', '/client/v44', 'open')] });
    expect((await ask('GET', '/client/v44')).status).toBe(200);
    expect((await ask('GET', '/client/v45')).status).toBe(404);
    expect((await ask('GET', '/client/v4/inner/y')).status).toBe(418);
  });
});

describe('bodies', () => {
  const counted: AdminRoute = {
    method: 'POST',
    path: '/',
    scope: 'open',
    handle: ({ body }) => ({ status: 200, body: String(body.byteLength) }),
  };

  it('of 4 MiB are read whole', async () => {
    await serve({ routes: [counted] });
    expect((await ask('POST', '/', {}, Buffer.alloc(BODY_MAX_BYTES))).body).toBe('4194304');
  });

  it('above that are refused, told or not', async () => {
    await serve({ routes: [counted] });
    expect(await statusOf(`POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${BODY_MAX_BYTES + 1}\r\n\r\n`)).toBe(
      '413',
    );
    const chunk = Buffer.alloc(BODY_MAX_BYTES + 1);
    const chunked = `POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n${chunk.length.toString(16)}\r\n`;
    expect(await statusOf(chunked, chunk)).toBe('413');
  });

  it('are not read from whom is not allowed', async () => {
    await serve({ routes: [{ ...counted, scope: 'write' }] });
    // Nothing of the announced body is ever sent.
    expect(await statusOf('POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n')).toBe('401');
  });

  it('that break off call nothing', async () => {
    let calls = 0;
    const failures: unknown[] = [];
    await serve({
      routes: [
        {
          ...counted,
          handle() {
            calls += 1;
            return { status: 200 };
          },
        },
        echo('GET', '/', 'open'),
      ],
      failed: (error) => failures.push(error),
    });
    const [host = '', port = ''] = address.split(':');
    await new Promise<void>((resolve) => {
      const socket = connect({ host, port: Number(port) }, () => {
        socket.write('POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf', () => socket.destroy());
      });
      socket.once('close', () => resolve());
    });
    expect((await ask('GET', '/')).status).toBe(200);
    expect([calls, failures]).toEqual([0, []]);
  });
});

describe('failures', () => {
  it.each<[string, AdminRoute['handle']]>([
    [
      'throws',
      () => {
        throw new Error('broken');
      },
    ],
    ['rejects', () => Promise.reject(new Error('broken'))],
  ])('a handler that %s is a 500 that says nothing', async (_name, handle) => {
    const failures: string[] = [];
    await serve({
      routes: [{ method: 'GET', path: '/', scope: 'open', handle }],
      failed: (error, method, path) => failures.push(`${String(error)} ${method} ${path}`),
    });
    const { status, body } = await ask('GET', '/?secret=1');
    expect([status, body]).toEqual([500, '']);
    expect(failures).toEqual(['Error: broken GET /']);
  });
});

describe('names', () => {
  const routes = [echo('GET', '/', 'open'), echo('GET', '/read', 'read')];

  it.each([
    ['127.0.0.1:9002', 200],
    ['127.0.0.1', 200],
    ['10.1.2.3', 200],
    ['[::1]:9002', 200],
    ['localhost:9002', 200],
    ['LOCALHOST', 200],
    ['admin.localhost', 200],
    ['attacker.example', 421],
    ['attacker.example:9002', 421],
    ['127.0.0.1.attacker.example', 421],
    ['localhost.attacker.example', 421],
    ['[attacker]', 421],
    ['[', 421],
  ])('on loopback, open routes under the host %j are answered %s', async (host, status) => {
    await serve({ routes });
    expect((await ask('GET', '/', { host })).status).toBe(status);
  });

  it('do not matter to who has a token', async () => {
    await serve({ routes });
    expect((await ask('GET', '/read', { host: 'admin.example.com', ...bearer(READER) })).status).toBe(200);
  });

  it('are not known elsewhere than on loopback', async () => {
    await serve({ routes, address: '0.0.0.0:0' });
    address = address.replace('0.0.0.0', '127.0.0.1');
    expect((await ask('GET', '/', { host: 'postern.example.svc' })).status).toBe(200);
  });
});

describe('the address', () => {
  it('is told as it really is', async () => {
    await serve({});
    expect(address).toMatch(/^127\.0\.0\.1:[1-9][0-9]*$/);
    await server?.stop(0);
    await serve({ address: '[::1]:0' });
    expect(address).toMatch(/^\[::1\]:[1-9][0-9]*$/);
  });

  it('that is taken is one plain line', async () => {
    await serve({});
    await expect(startAdminServer({ address, routes: [], tokens: () => [] })).rejects.toThrow(
      `admin port ${address} is taken; stop the program that has it or set listen.admin`,
    );
  });

  it.each(['9002', 'unix:///run/admin.sock', '[::1]'])('%s is refused', async (written) => {
    await expect(startAdminServer({ address: written, routes: [], tokens: () => [] })).rejects.toThrow(
      `admin port ${written}: expected host:port or [v6]:port`,
    );
  });
});

describe('stopping', () => {
  it('does not wait for connections that are kept alive', async () => {
    await serve({ routes: [echo('GET', '/', 'open')] });
    const [host = '', port = ''] = address.split(':');
    const socket = connect({ host, port: Number(port) });
    await new Promise<void>((resolve) => {
      socket.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n');
      socket.once('data', () => resolve());
    });
    const closed = new Promise<string>((resolve) => void socket.once('close', () => resolve('closed')));
    await server?.stop(3_600_000);
    expect(await closed).toBe('closed');
  });

  it('cuts off who is slow, after the grace', async () => {
    await serve({ routes: [{ method: 'GET', path: '/', scope: 'open', handle: () => new Promise(() => undefined) }] });
    const lost = ask('GET', '/').then(
      () => 'answered',
      () => 'lost',
    );
    await new Promise((resolve) => void setTimeout(resolve, 30));
    const running = server;
    expect(running?.stop(20)).toBe(running?.stop(0));
    await running?.stop();
    expect(await lost).toBe('lost');
  });
});

/** The status of an answer to raw bytes that are never completed. */
function statusOf(head: string, body?: Buffer): Promise<string> {
  const [host = '', port = ''] = address.split(':');
  return new Promise((resolve) => {
    const socket = connect({ host, port: Number(port) }, () => {
      socket.write(head);
      if (body) socket.write(body);
    });
    socket.once('error', (error) => resolve(error.message));
    socket.once('data', (data: Buffer) => {
      socket.destroy();
      resolve(data.toString('latin1').split(' ')[1] ?? '');
    });
  });
}
