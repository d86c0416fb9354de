/** The same Envoy file over other connections: HTTP/2 and gRPC callers, client certificates, a unix socket and mutual
 *  TLS towards Postern, names with underscores let through. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect as connectHttp2 } from 'node:http2';
import type { IncomingHttpHeaders } from 'node:http2';
import { request as httpsRequest } from 'node:https';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeDemoFolder } from '../../src/demo/folder.ts';
import type { DemoFolder } from '../../src/demo/folder.ts';
import {
  ENVOY_PROGRAM,
  ENVOY_VERSION,
  envoyFile,
  send,
  startEnvoy,
  startPostern,
  startUpstream,
} from '../../src/demo/parts.ts';
import type { Envoy, Part, Upstream } from '../../src/demo/parts.ts';

const begun: Part[] = [];
let work: string;
let folder: DemoFolder;
let upstream: Upstream;
let ca: string;

beforeAll(async () => {
  if (!existsSync(ENVOY_PROGRAM))
    throw new Error(`Envoy ${ENVOY_VERSION} is missing; get it with: node test/real-parts.mjs envoy`);
  work = mkdtempSync(join(tmpdir(), 'postern-connections-'));
  folder = await makeDemoFolder(join(work, 'demo'), Date.now());
  upstream = await startUpstream();
  begun.push(upstream);
  ca = makeCertificates(work);
});

afterAll(async () => {
  for (const part of begun.toReversed()) await part.stop();
  rmSync(work, { recursive: true, force: true });
});

async function begin(
  name: string,
  edit: (text: string) => string,
  check?: string,
  config = folder.config,
): Promise<Envoy> {
  const postern = await startPostern(config, check);
  begun.push(postern);
  const port = Number(postern.check.split(':').at(-1)) || 9001;
  const place = join(work, name);
  mkdirSync(place);
  const envoy = await startEnvoy(
    ENVOY_PROGRAM,
    edit(envoyFile({ listener: 0, upstream: upstream.port, postern: port })),
    place,
  );
  begun.push(envoy);
  return envoy;
}

describe('HTTP/2', () => {
  let envoy: Envoy;
  beforeAll(async () => {
    envoy = await begin('http2', (text) => text);
  });

  it.each([
    ['nobody', undefined, '/', 401],
    ['ann', 'ann', '/', 200],
    ['mallory', 'mallory', '/', 403],
    ['ann at /admin', 'ann', '/admin', 401],
    ['ann at /admin after a code', 'ann-strong', '/admin', 200],
  ] as const)('%s', async (_, token, path, status) => {
    const answer = await ask(envoy.port, path, token ? { authorization: `Bearer ${folder.tokens.get(token)}` } : {});
    expect(answer.headers[':status']).toBe(status);
  });

  it('a gRPC caller gets a gRPC status, and the challenge as a header', async () => {
    const grpc = { 'content-type': 'application/grpc', te: 'trailers', ':method': 'POST' };
    const weak = await ask(envoy.port, '/admin', { ...grpc, authorization: `Bearer ${folder.tokens.get('ann')}` });
    expect(weak.headers).toMatchObject({ ':status': 200, 'grpc-status': '16' });
    expect(weak.headers['www-authenticate']).toContain('insufficient_user_authentication');
    const denied = await ask(envoy.port, '/', { ...grpc, authorization: `Bearer ${folder.tokens.get('mallory')}` });
    expect(denied.headers).toMatchObject({ ':status': 200, 'grpc-status': '7' });
    const twoReadings = await ask(envoy.port, '/a;b', grpc);
    expect(twoReadings.headers).toMatchObject({ ':status': 200, 'grpc-status': '3' });
  });

  it('two authorization headers are no token', async () => {
    const token = `Bearer ${folder.tokens.get('ann')}`;
    const lines = [`GET / HTTP/1.1`, 'host: orders.example.com', `authorization: ${token}`, `authorization: ${token}`];
    expect(await firstLine(envoy.port, [...lines, 'connection: close'])).toContain(' 401 ');
    expect(await firstLine(envoy.port, [...lines.slice(0, 3), 'connection: close'])).toContain(' 200 ');
  });
});

it('names with underscores that Envoy lets through do not reach the upstream either', async () => {
  const envoy = await begin('underscores', (text) =>
    text.replace(
      /common_http_protocol_options: \{ headers_with_underscores_action: REJECT_REQUEST \}/,
      'common_http_protocol_options: {}',
    ),
  );
  const { status, body } = await send(envoy.port, {
    host: 'orders.example.com',
    path: '/',
    headers: {
      authorization: `Bearer ${folder.tokens.get('ann')}`,
      x_postern_user: 'root',
      'X_Postern-Email': 'root@example.com',
      x_other: 'kept',
    },
  });
  expect(status).toBe(200);
  const { headers } = JSON.parse(body) as { headers: Record<string, string> };
  expect(headers).toMatchObject({ 'x-postern-user': 'ann@example.com', x_other: 'kept' });
  expect(JSON.stringify(headers)).not.toContain('root');
});

it('over a unix socket', async () => {
  const socket = join(work, 'check.sock');
  const envoy = await begin(
    'socket',
    (text) =>
      text.replace(/socket_address: \{ address: 127\.0\.0\.1, port_value: 9001 \}/, `pipe: { path: ${socket} }`),
    `unix://${socket}`,
  );
  const answer = await send(envoy.port, {
    host: 'orders.example.com',
    path: '/',
    headers: { authorization: `Bearer ${folder.tokens.get('ann')}` },
  });
  expect(answer.status).toBe(200);
  expect((await send(envoy.port, { host: 'orders.example.com', path: '/' })).status).toBe(401);
});

it('over mutual TLS towards Postern; a caller without a certificate is not answered', async () => {
  const config = join(work, 'tls');
  execFileSync('cp', ['-r', folder.config, config]);
  const settings = readFileSync(join(config, 'postern.yaml'), 'utf8');
  writeFileSync(
    join(config, 'postern.yaml'),
    `${settings}\nlisten: { tls: { certificate: ${ca}/server.pem, key: ${ca}/server.key, client_ca: ${ca}/ca.pem } }\n`,
  );
  const withTls = (certificates: string) => (text: string) =>
    text.replace(
      '    - name: postern\n      type: STATIC\n',
      `    - name: postern\n      type: STATIC\n      transport_socket:\n        name: envoy.transport_sockets.tls\n        typed_config:\n          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext\n          common_tls_context: { alpn_protocols: [h2], validation_context: { trusted_ca: { filename: ${ca}/ca.pem } }${certificates} }\n`,
    );
  const ours = `, tls_certificates: [{ certificate_chain: { filename: ${ca}/client.pem }, private_key: { filename: ${ca}/client.key } }]`;
  const ask200 = {
    host: 'orders.example.com',
    path: '/',
    headers: { authorization: `Bearer ${folder.tokens.get('ann')}` },
  };
  expect((await send((await begin('mtls', withTls(ours), undefined, config)).port, ask200)).status).toBe(200);
  expect((await send((await begin('tls-only', withTls(''), undefined, config)).port, ask200)).status).toBe(503);
});

it('client certificates decide: the right name enters, another and none do not', async () => {
  const config = join(work, 'certificates');
  mkdirSync(join(config, 'policies'), { recursive: true });
  writeFileSync(join(config, 'postern.yaml'), `certificates: { from: [peer], trusted_authorities: ${ca}/ca.pem }\n`);
  writeFileSync(
    join(config, 'policies/machines.yaml'),
    'applications: [{ id: 9a4b2f0e-3f55-4a57-9b0e-000000000001, name: Machines, destinations: [orders.example.com], policies: [{ name: api, decision: non_identity, include: [{ common_name: { common_name: api } }] }] }]\n',
  );
  const envoy = await begin(
    'client-certificates',
    (text) =>
      text.replace(
        '        - filters:\n',
        `        - transport_socket:\n            name: envoy.transport_sockets.tls\n            typed_config:\n              "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext\n              common_tls_context: { tls_certificates: [{ certificate_chain: { filename: ${ca}/server.pem }, private_key: { filename: ${ca}/server.key } }], validation_context: { trusted_ca: { filename: ${ca}/ca.pem } } }\n          filters:\n`,
      ),
    undefined,
    config,
  );
  expect(await statusWith(envoy.port, 'client')).toBe(200);
  expect(await statusWith(envoy.port, 'other')).toBe(403);
  expect(await statusWith(envoy.port, undefined)).toBe(403);
});

/** The status line of a request that no client has touched. */
function firstLine(port: number, lines: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('error', reject);
    socket.once('data', (chunk: Buffer) => {
      resolve(chunk.toString('latin1').split('\r\n')[0] ?? '');
      socket.destroy();
    });
    socket.write(`${lines.join('\r\n')}\r\n\r\n`);
  });
}

/** One request over HTTP/2 in clear text. */
function ask(port: number, path: string, headers: Record<string, string>): Promise<{ headers: IncomingHttpHeaders }> {
  return new Promise((resolve, reject) => {
    const session = connectHttp2(`http://127.0.0.1:${port}`);
    session.on('error', reject);
    const stream = session.request(
      { ':path': path, ':authority': 'orders.example.com', ...headers },
      { endStream: headers[':method'] === undefined },
    );
    let seen: IncomingHttpHeaders = {};
    stream.on('response', (found) => (seen = found));
    stream.on('error', reject);
    stream.on('end', () => {
      session.close();
      resolve({ headers: seen });
    });
    stream.resume();
    if (headers[':method'] !== undefined) stream.end(Buffer.from([0, 0, 0, 0, 0]));
  });
}

function statusWith(port: number, certificate: 'client' | 'other' | undefined): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const identity = certificate && {
      cert: readFileSync(`${ca}/${certificate}.pem`),
      key: readFileSync(`${ca}/${certificate}.key`),
    };
    const call = httpsRequest(
      {
        host: '127.0.0.1',
        port,
        headers: { host: 'orders.example.com' },
        ca: readFileSync(`${ca}/ca.pem`),
        ...identity,
        agent: false,
        servername: 'localhost',
      },
      (response) => {
        response.resume();
        response.on('end', () => resolve(response.statusCode));
      },
    );
    call.on('error', reject);
    call.end();
  });
}

/** A CA, a server for localhost, and two clients: CN api and CN other. */
function makeCertificates(parent: string): string {
  const place = join(parent, 'certificates-made');
  mkdirSync(place);
  const openssl = (...words: string[]) =>
    execFileSync('openssl', words, { cwd: place, stdio: ['ignore', 'ignore', 'pipe'] });
  openssl(
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-keyout',
    'ca.key',
    '-out',
    'ca.pem',
    '-days',
    '2',
    '-subj',
    '/CN=Test CA',
    '-addext',
    'keyUsage=critical,keyCertSign,cRLSign',
  );
  for (const [name, subject, extensions] of [
    [
      'server',
      '/CN=localhost',
      'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\nkeyUsage=critical,digitalSignature',
    ],
    ['client', '/CN=api', 'extendedKeyUsage=clientAuth\nkeyUsage=critical,digitalSignature'],
    ['other', '/CN=other', 'subjectAltName=DNS:api\nextendedKeyUsage=clientAuth\nkeyUsage=critical,digitalSignature'],
  ] as const) {
    writeFileSync(join(place, `${name}.cnf`), extensions);
    openssl(
      'req',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-keyout',
      `${name}.key`,
      '-out',
      `${name}.csr`,
      '-subj',
      subject,
    );
    openssl(
      'x509',
      '-req',
      '-in',
      `${name}.csr`,
      '-CA',
      'ca.pem',
      '-CAkey',
      'ca.key',
      '-CAcreateserial',
      '-out',
      `${name}.pem`,
      '-days',
      '2',
      '-extfile',
      `${name}.cnf`,
    );
  }
  return place;
}
