import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { credentials } from '@grpc/grpc-js';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { startCheckServer } from '../../src/envoy/server.ts';
import type { CheckServer, TlsMaterial } from '../../src/envoy/server.ts';
import { DENY, checkClient, serverOptions } from './check-client.ts';

const place = mkdtempSync(join(tmpdir(), 'postern-tls-'));
afterAll(() => rmSync(place, { recursive: true, force: true }));

const ours = authority('ours');
const theirs = authority('theirs');
const first = issued(ours, 'server-one');
const second = issued(ours, 'server-two');
const envoy = issued(ours, 'envoy');
const stranger = issued(theirs, 'stranger');

let server: CheckServer | undefined;
afterEach(async () => {
  await server?.stopNow();
  server = undefined;
});

async function serve(tls: TlsMaterial): Promise<CheckServer> {
  server = await startCheckServer(serverOptions(() => DENY, { tls }));
  return server;
}

describe('TLS', () => {
  it('serves who trusts our authority, and nobody in clear text', async () => {
    const { address } = await serve(first);
    expect(await ask(address, credentials.createSsl(ours.certificate))).toBe('answered');
    expect(await ask(address, credentials.createSsl(theirs.certificate))).toBe('refused');
    expect(await ask(address, credentials.createInsecure())).toBe('refused');
  });

  it('does not speak TLS 1.1', async () => {
    const { address } = await serve(first);
    expect(
      await handshake(address, { maxVersion: 'TLSv1.1', minVersion: 'TLSv1.1', ciphers: 'ALL:@SECLEVEL=0' }),
    ).toMatch(/^refused/);
    expect(await handshake(address, { maxVersion: 'TLSv1.2' })).toBe('server-one');
  });

  it('with a client authority serves only clients it signed', async () => {
    const { address } = await serve({ ...first, clientCa: ours.certificate });
    const as = (client: TlsMaterial) =>
      credentials.createSsl(ours.certificate, Buffer.from(client.key), Buffer.from(client.certificate));
    expect(await ask(address, as(envoy))).toBe('answered');
    expect(await ask(address, as(stranger))).toBe('refused');
    expect(await ask(address, credentials.createSsl(ours.certificate))).toBe('refused');
    expect(await ask(address, credentials.createInsecure())).toBe('refused');
  });

  it.each<[string, TlsMaterial]>([
    ['of two pairs', { certificate: first.certificate, key: second.key }],
    ['that is no PEM', { certificate: 'certificate', key: 'key' }],
    ['that is empty', { certificate: '', key: first.key }],
    // Node would take the public authorities instead, and serve half the world.
    ['with an empty client authority', { ...first, clientCa: '' }],
    ['with a client authority that is no PEM', { ...first, clientCa: 'authority' }],
  ])('does not start with material %s', async (_name, tls) => {
    await expect(serve(tls)).rejects.toThrow('listen.tls: expected PEM files of a certificate, its own key');
  });

  it('says nothing of the key where it does not fit', async () => {
    const text = await serve({ certificate: first.certificate, key: second.key }).catch(String);
    expect(text).not.toContain(second.key.toString().slice(40, 60));
  });
});

describe('replacing TLS material', () => {
  it('gives new connections the new certificate and leaves those there are alone', async () => {
    const { address, replaceTls } = await serve(first);
    const client = checkClient(address, credentials.createSsl(ours.certificate));
    await client.check(Buffer.alloc(0));
    expect(await handshake(address)).toBe('server-one');
    replaceTls(second);
    expect(await handshake(address)).toBe('server-two');
    expect(await client.check(Buffer.alloc(0))).toEqual(DENY);
    client.close();
  });

  it('replaces the client authority', async () => {
    const { address, replaceTls } = await serve({ ...first, clientCa: theirs.certificate });
    const as = credentials.createSsl(ours.certificate, Buffer.from(envoy.key), Buffer.from(envoy.certificate));
    expect(await ask(address, as)).toBe('refused');
    replaceTls({ ...first, clientCa: ours.certificate });
    expect(await ask(address, as)).toBe('answered');
  });

  it('keeps what it has where the new does not fit', async () => {
    const { address, replaceTls } = await serve(first);
    expect(() => replaceTls({ certificate: second.certificate, key: first.key })).toThrow(
      'listen.tls: expected PEM files',
    );
    expect(await handshake(address)).toBe('server-one');
    expect(await ask(address, credentials.createSsl(ours.certificate))).toBe('answered');
  });

  it('cannot begin or cease to ask for client certificates', async () => {
    const { address, replaceTls } = await serve({ ...first, clientCa: ours.certificate });
    expect(() => replaceTls(second)).toThrow('by a restart only');
    expect(await ask(address, credentials.createSsl(ours.certificate))).toBe('refused');
  });

  it('cannot turn TLS on', async () => {
    server = await startCheckServer(serverOptions(() => DENY));
    const plain = server;
    expect(() => plain.replaceTls(first)).toThrow('by a restart only');
  });
});

interface Authority {
  readonly name: string;
  readonly certificate: Buffer;
}

function authority(name: string): Authority {
  openssl(
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-days',
    '2',
    '-subj',
    `/CN=${name}`,
    '-keyout',
    `${name}.key`,
    '-out',
    `${name}.pem`,
  );
  return { name, certificate: readFileSync(join(place, `${name}.pem`)) };
}

function issued(by: Authority, name: string): { readonly certificate: Buffer; readonly key: Buffer } {
  writeFileSync(join(place, `${name}.ext`), 'subjectAltName=IP:127.0.0.1,DNS:localhost\n');
  openssl(
    'req',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-subj',
    `/CN=${name}`,
    '-keyout',
    `${name}.key`,
    '-out',
    `${name}.csr`,
  );
  openssl(
    'x509',
    '-req',
    '-days',
    '1',
    '-in',
    `${name}.csr`,
    '-CA',
    `${by.name}.pem`,
    '-CAkey',
    `${by.name}.key`,
    '-CAcreateserial',
    '-extfile',
    `${name}.ext`,
    '-out',
    `${name}.pem`,
  );
  return { certificate: readFileSync(join(place, `${name}.pem`)), key: readFileSync(join(place, `${name}.key`)) };
}

function openssl(...words: string[]): void {
  execFileSync('openssl', words, { cwd: place, stdio: 'pipe' });
}

async function ask(address: string, channel: Parameters<typeof checkClient>[1]): Promise<'answered' | 'refused'> {
  const client = checkClient(address, channel);
  try {
    expect(await client.check(Buffer.alloc(0), { deadline: Date.now() + 10_000 })).toEqual(DENY);
    return 'answered';
  } catch {
    return 'refused';
  } finally {
    client.close();
  }
}

/** The common name of the certificate that a new connection is shown. */
function handshake(address: string, versions: object = {}): Promise<string> {
  const [host = '', port = ''] = address.split(':');
  return new Promise((resolve) => {
    const socket = connect({ host, port: Number(port), ca: ours.certificate, ALPNProtocols: ['h2'], ...versions });
    socket.once('secureConnect', () => {
      resolve(String(socket.getPeerCertificate().subject.CN));
      socket.destroy();
    });
    socket.once('error', (error) => resolve(`refused: ${error.message}`));
  });
}
