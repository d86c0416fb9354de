/** The variants of `deploy/envoy/envoy.yaml`: over a unix socket, and over mutual TLS to a Postern elsewhere. */
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { makeDemoFolder } from '../../src/demo/folder.ts';
import type { DemoFolder } from '../../src/demo/folder.ts';
import { ENVOY_PROGRAM, ROOT, envoyFile, send, startEnvoy, startPostern, startUpstream } from '../../src/demo/parts.ts';
import type { Part, Upstream } from '../../src/demo/parts.ts';
import { AUTHORITY, CLIENT, makeCertificateFiles } from '../fixtures/certificates/make.ts';

const ENVOYS = [ENVOY_PROGRAM, `${ROOT}.venv-envoy-1.36.2/bin/envoy`];
const SERVER = ['keyUsage = critical, digitalSignature', 'extendedKeyUsage = serverAuth'];

const begun: Part[] = [];
let work: string;
let folder: DemoFolder;
let upstream: Upstream;

beforeAll(async () => {
  for (const envoy of ENVOYS)
    if (!existsSync(envoy)) throw new Error(`${envoy} is missing; get it with: node test/real-parts.mjs envoy`);
  work = mkdtempSync(join(tmpdir(), 'postern-envoys-'));
  folder = await makeDemoFolder(join(work, 'demo'), Date.now());
  upstream = await startUpstream();
  begun.push(upstream);
  makeCertificateFiles(work, {
    authority: { subject: '/CN=Test CA', extensions: AUTHORITY },
    postern: {
      subject: '/CN=postern',
      by: 'authority',
      extensions: [...SERVER, 'subjectAltName = DNS:postern.postern.svc'],
    },
    stranger: {
      subject: '/CN=stranger',
      by: 'authority',
      extensions: [...SERVER, 'subjectAltName = DNS:other.postern.svc'],
    },
    envoy: { subject: '/CN=envoy', by: 'authority', extensions: CLIENT },
    selfSigned: { subject: '/CN=envoy', extensions: CLIENT },
  });
});

afterAll(async () => {
  for (const part of begun.toReversed()) await part.stop();
  rmSync(work, { recursive: true, force: true });
});

interface Bootstrap {
  node?: unknown;
  static_resources: {
    clusters: { name: string; load_assignment: unknown; type: string; transport_socket?: unknown }[];
  };
}

describe.each(['envoy-socket.yaml', 'envoy-mtls.yaml'])('%s', (name) => {
  it('says the same as envoy.yaml but for where Postern is', () => {
    expect(withoutPlace(name)).toEqual(withoutPlace('envoy.yaml'));
  });

  it.each(ENVOYS)('is taken by %s', (envoy) => {
    const place = mkdtempSync(join(work, 'validate-'));
    const file = join(place, 'envoy.yaml');
    writeFileSync(file, ownFile(name, place, { check: 9001, listener: 0 }));
    const { signed } = putCertificates(place);
    signed('envoy');
    expect(execFileSync(envoy, ['--mode', 'validate', '-c', file], { encoding: 'utf8', stdio: 'pipe' })).toContain(
      'OK',
    );
  });
});

it('over the unix socket: who may enters, who may not does not, and with Postern gone nobody does', async () => {
  const place = mkdtempSync(join(work, 'socket-'));
  const postern = await startPostern(folder.config, `unix://${place}/check.sock`);
  begun.push(postern);
  const envoy = await startEnvoy(ENVOY_PROGRAM, ownFile('envoy-socket.yaml', place, { check: 0, listener: 0 }), place);
  begun.push(envoy);
  expect(await statuses(envoy.port)).toEqual([200, 401]);
  await postern.kill();
  expect(await statuses(envoy.port)).toEqual([503, 503]);
});

describe('over mutual TLS', () => {
  it('a certificate that Postern does not know is not answered; renewed in place, it is, without a restart', async () => {
    const place = mkdtempSync(join(work, 'mtls-'));
    const { signed } = putCertificates(place);
    signed('selfSigned');
    const postern = await startPostern(configWithTls('postern'));
    begun.push(postern);
    const check = Number(postern.check.split(':').at(-1));
    const envoy = await startEnvoy(ENVOY_PROGRAM, ownFile('envoy-mtls.yaml', place, { check, listener: 0 }), place);
    begun.push(envoy);
    expect(await statuses(envoy.port)).toEqual([503, 503]);
    signed('envoy');
    expect(
      await eventually(
        () => statuses(envoy.port),
        ([status]) => status === 200,
      ),
    ).toEqual([200, 401]);
  });

  it("a Postern whose certificate is another service's is not believed", async () => {
    const place = mkdtempSync(join(work, 'stranger-'));
    putCertificates(place).signed('envoy');
    const postern = await startPostern(configWithTls('stranger'));
    begun.push(postern);
    const check = Number(postern.check.split(':').at(-1));
    const envoy = await startEnvoy(ENVOY_PROGRAM, ownFile('envoy-mtls.yaml', place, { check, listener: 0 }), place);
    begun.push(envoy);
    expect(await statuses(envoy.port)).toEqual([503, 503]);
  });
});

/** Of ann, who may, and of nobody. */
async function statuses(port: number): Promise<number[]> {
  const ask = { host: 'orders.example.com', path: '/' };
  const ann = await send(port, { ...ask, headers: { authorization: `Bearer ${folder.tokens.get('ann')}` } });
  return [ann.status, (await send(port, ask)).status];
}

async function eventually<T>(read: () => Promise<T>, holds: (value: T) => boolean): Promise<T> {
  for (const end = Date.now() + 20_000; ; await sleep(100)) {
    const value = await read();
    if (holds(value) || Date.now() > end) return value;
  }
}

/** The file with this test's ports and paths. */
function ownFile(name: string, place: string, ports: { check: number; listener: number }): string {
  const file = envoyFile({ listener: ports.listener, upstream: upstream.port, postern: ports.check }, name)
    .replaceAll('/etc/envoy/', `${place}/`)
    .replaceAll('/run/postern/check.sock', `${place}/check.sock`);
  // The name stays the one that the certificate must have; only its address is this machine's.
  return file.replace('address: postern.postern.svc', 'address: 127.0.0.1');
}

function withoutPlace(name: string): Bootstrap {
  const bootstrap = parse(readFileSync(`${ROOT}deploy/envoy/${name}`, 'utf8')) as Bootstrap;
  const postern = bootstrap.static_resources.clusters.find((cluster) => cluster.name === 'postern');
  if (!postern) throw new Error(`${name} has no cluster postern`);
  delete bootstrap.node;
  delete postern.transport_socket;
  postern.type = 'STATIC';
  postern.load_assignment = undefined;
  return bootstrap;
}

/** Envoy's folder with the secret files, and certificates as a Kubernetes Secret has them: swapped whole. */
function putCertificates(place: string): { signed(name: string): void } {
  for (const name of ['tls-certificate.yaml', 'tls-authorities.yaml'])
    writeFileSync(
      join(place, name),
      readFileSync(`${ROOT}deploy/envoy/${name}`, 'utf8').replaceAll('/etc/envoy/', `${place}/`),
    );
  mkdirSync(join(place, 'tls'));
  return {
    signed(name) {
      const version = join(place, 'tls', `..${name}`);
      mkdirSync(version);
      copyFileSync(join(work, `${name}.pem`), join(version, 'tls.crt'));
      copyFileSync(join(work, `${name}.key`), join(version, 'tls.key'));
      copyFileSync(join(work, 'authority.pem'), join(version, 'ca.crt'));
      symlinkSync(`..${name}`, join(place, 'tls/..data_tmp'));
      renameSync(join(place, 'tls/..data_tmp'), join(place, 'tls/..data'));
      for (const file of ['tls.crt', 'tls.key', 'ca.crt'])
        if (!existsSync(join(place, 'tls', file))) symlinkSync(`..data/${file}`, join(place, 'tls', file));
    },
  };
}

function configWithTls(name: string): string {
  const config = mkdtempSync(join(work, 'config-'));
  execFileSync('cp', ['-r', `${folder.config}/.`, config]);
  const tls = `{ certificate: ${work}/${name}.pem, key: ${work}/${name}.key, client_ca: ${work}/authority.pem }`;
  writeFileSync(
    join(config, 'postern.yaml'),
    `${readFileSync(join(config, 'postern.yaml'), 'utf8')}\nlisten: { tls: ${tls} }\n`,
  );
  return config;
}
