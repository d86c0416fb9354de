/** What Istio and Envoy Gateway really ask: CheckRequests captured from Envoys that istiod 1.31 and Envoy Gateway 1.9
 *  configured, and the filters that istiod generated. */
import { readFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execFileSync } from 'node:child_process';
import { Client, Metadata, credentials } from '@grpc/grpc-js';
import { afterAll, describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { ROOT, startPostern } from '../../src/demo/parts.ts';
import { createCheck } from '../../src/envoy/check.ts';
import { createKeySets } from '../../src/facts/key-set.ts';
import { createLoader } from '../../src/revision.ts';
import { CHECK_PATH } from '../envoy/check-client.ts';
import { decodeResponse, encodeRequest, metadataOf } from '../envoy/official.ts';

const CAPTURED = new URL('../fixtures/captured/', import.meta.url);

interface Captured {
  readonly attributes: {
    readonly source: Record<string, unknown>;
    readonly request: { readonly http: { readonly headers: Record<string, string> } };
  };
}

const istio = read('istio-mutual-tls');
const plain = read('istio-plain-text');
const gateway = read('envoy-gateway');

const SHOP = 'app.shop.svc.cluster.local';

const folders: string[] = [];

afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

/** Each is one application at one destination, with one policy. */
const APPLICATIONS = {
  mesh: { destination: SHOP, decision: 'non_identity', include: '{ certificate: {} }' },
  named: { destination: SHOP, decision: 'non_identity', include: '{ common_name: { common_name: client } }' },
  fromPod: { destination: SHOP, decision: 'bypass', include: '{ ip: { ip: 10.88.77.3 } }' },
  fromApp: { destination: SHOP, decision: 'bypass', include: '{ ip: { ip: 10.88.77.2 } }' },
  path: { destination: `${SHOP}/x`, decision: 'non_identity', include: '{ certificate: {} }' },
  otherPath: { destination: `${SHOP}/y`, decision: 'non_identity', include: '{ certificate: {} }' },
  loopback: { destination: '127.0.0.1', decision: 'non_identity', include: '{ certificate: {} }' },
  api: { destination: '127.0.0.1/api', decision: 'bypass', include: '{ ip: { ip: 127.0.0.1 } }' },
  forwarded: { destination: '127.0.0.1/api', decision: 'bypass', include: '{ ip: { ip: 192.0.2.2 } }' },
} as const;

const PEER = 'certificates: { from: [peer] }';
const XFCC = 'certificates: { from: [xfcc] }';
const FORWARDED = 'client_address: { from: forwarded }';

describe('Istio, a sidecar under mutual TLS', () => {
  it.each([
    ['the SPIFFE principal is a verified certificate', PEER, 'mesh', istio, 'allow', 'policy_allowed'],
    ['so is the last element of x-forwarded-client-cert', XFCC, 'mesh', istio, 'allow', 'policy_allowed'],
    ['without either there is none', PEER, 'mesh', without(istio, 'principal'), 'deny', 'no_policy_matched'],
    [
      'a header alone counts for nothing where it is not named',
      PEER,
      'mesh',
      withHeader(
        without(istio, 'principal'),
        'x-forwarded-client-cert',
        'Hash=00;URI=spiffe://cluster.local/ns/shop/sa/client',
      ),
      'deny',
      'no_policy_matched',
    ],
    [
      'a principal of a mesh shows no common name, which lets nobody in',
      PEER,
      'named',
      istio,
      'unavailable',
      'fact_unavailable',
    ],
    ['nor has its empty subject one', XFCC, 'named', istio, 'deny', 'no_policy_matched'],
    ["the client is the caller's pod", PEER, 'fromPod', istio, 'allow', 'policy_bypassed'],
    ['and not our own', PEER, 'fromApp', istio, 'deny', 'no_policy_matched'],
    ['the path is the one that was asked for', PEER, 'path', istio, 'allow', 'policy_allowed'],
    ['and no other', PEER, 'otherPath', istio, 'deny', 'no_application'],
  ] as const)('%s', async (_, settings, application, request, outcome, reason) => {
    expect(await decide(settings, application, request)).toMatchObject({ outcome, reason });
  });
});

describe('Istio, plain text under PERMISSIVE', () => {
  it.each([
    ['has no identity', PEER, 'loopback', plain, 'deny', 'no_policy_matched'],
    [
      'and cannot give itself one',
      XFCC,
      'loopback',
      withHeader(plain, 'x-forwarded-client-cert', 'forged'),
      'unavailable',
      'fact_unavailable',
    ],
  ] as const)('%s', async (_, settings, application, request, outcome, reason) => {
    expect(await decide(settings, application, request)).toMatchObject({ outcome, reason });
  });
});

describe('Envoy Gateway', () => {
  it.each([
    ['the client is the peer', PEER, 'api', gateway, 'allow', 'policy_bypassed'],
    ['or what it appended to x-forwarded-for', FORWARDED, 'forwarded', gateway, 'allow', 'policy_bypassed'],
    [
      'what the client wrote before that counts for nothing',
      FORWARDED,
      'forwarded',
      withHeader(gateway, 'x-forwarded-for', '192.0.2.2, 198.51.100.1'),
      'deny',
      'no_policy_matched',
    ],
    ['no certificate is told', PEER, 'loopback', gateway, 'deny', 'no_policy_matched'],
  ] as const)('%s', async (_, settings, application, request, outcome, reason) => {
    expect(await decide(settings, application, request)).toMatchObject({ outcome, reason });
  });

  it("what Envoy tells of its own call is not the client's", async () => {
    // The call's metadata holds an x-forwarded-for of Envoy's own.
    const { metadata } = JSON.parse(readFileSync(new URL('envoy-gateway.json', CAPTURED), 'utf8')) as {
      metadata: Record<string, string>;
    };
    expect(metadata['x-forwarded-for']).toBe('192.0.2.2');
    const postern = await startPostern(configuration(PEER, 'forwarded'));
    try {
      const answer = await call(postern.check, encodeRequest(gateway), metadata);
      expect(metadataOf(decodeResponse(answer))).toMatchObject({ outcome: 'deny', reason: 'no_policy_matched' });
    } finally {
      await postern.kill();
    }
  });
});

describe('the filter that istiod generates', () => {
  const filters = JSON.parse(readFileSync(new URL('istio-filters.json', CAPTURED), 'utf8')) as Record<
    string,
    unknown
  >[];
  const generated = filters.find((filter) => String(filter['@type']).endsWith('ext_authz.v3.ExtAuthz')) ?? {};

  it('closes where Postern cannot be reached, and tells no certificate by itself', () => {
    expect(generated).toMatchObject({ status_on_error: { code: 'ServiceUnavailable' } });
    for (const missing of [
      'failure_mode_allow',
      'include_peer_certificate',
      'encode_raw_headers',
      'validate_mutations',
    ])
      expect(generated).not.toHaveProperty(missing);
  });

  it.each(['sidecar.yaml', 'gateway.yaml'])('is taken by Envoy with what %s adds to it', (name) => {
    const patch = patchOf(name);
    expect(patch).toMatchObject({ include_peer_certificate: true, encode_raw_headers: true, validate_mutations: true });
    expect(validated({ ...generated, ...patch })).toContain('OK');
    expect(() => validated({ ...generated, ...patch, include_peer_certificates: true })).toThrow(
      /include_peer_certificates/,
    );
  });
});

interface EnvoyFilter {
  readonly kind: string;
  readonly spec: {
    readonly configPatches: readonly {
      readonly applyTo: string;
      readonly patch: { readonly value: { readonly typed_config: Record<string, unknown> } };
    }[];
  };
}

/** What the EnvoyFilter of a file merges into the ext_authz filter. */
function patchOf(name: string): Record<string, unknown> {
  const documents = parseAllDocuments(readFileSync(`${ROOT}deploy/istio/${name}`, 'utf8')).map(
    (one) => one.toJS() as EnvoyFilter,
  );
  const patches = documents.find(({ kind }) => kind === 'EnvoyFilter')?.spec.configPatches ?? [];
  const patch = patches.find(({ applyTo }) => applyTo === 'HTTP_FILTER');
  if (!patch) throw new Error(`${name} has no patch of an HTTP filter`);
  return patch.patch.value.typed_config;
}

/** What Envoy says of a listener with this filter; throws what is wrong. */
function validated(filter: Record<string, unknown>): string {
  const folder = mkdtempSync(join(tmpdir(), 'postern-filter-'));
  folders.push(folder);
  const text = readFileSync(`${ROOT}deploy/envoy/envoy.yaml`, 'utf8');
  const [from, to] = [
    text.indexOf(
      '                    typed_config:\n                      "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz',
    ),
    text.indexOf('                  - name: envoy.filters.http.router'),
  ];
  const own = { ...filter, grpc_service: { envoy_grpc: { cluster_name: 'postern' } } };
  const file = join(folder, 'envoy.yaml');
  writeFileSync(
    file,
    `${text.slice(0, from)}                    typed_config: ${JSON.stringify(own)}\n${text.slice(to)}`,
  );
  return execFileSync(`${ROOT}.venv-envoy/bin/envoy`, ['--mode', 'validate', '-c', file], {
    encoding: 'utf8',
    stdio: 'pipe',
  });
}

function read(name: string): Captured {
  return JSON.parse(readFileSync(new URL(`${name}.json`, CAPTURED), 'utf8')) as Captured;
}

function without(captured: Captured, key: string): Captured {
  const { [key]: _, ...source } = captured.attributes.source;
  return { ...captured, attributes: { ...captured.attributes, source } };
}

function withHeader(captured: Captured, name: string, value: string): Captured {
  const { request } = captured.attributes;
  const headers = { ...request.http.headers, [name]: value };
  return {
    ...captured,
    attributes: { ...captured.attributes, request: { ...request, http: { ...request.http, headers } } },
  };
}

function configuration(settings: string, application: keyof typeof APPLICATIONS): string {
  const { destination, decision, include } = APPLICATIONS[application];
  const folder = mkdtempSync(join(tmpdir(), 'postern-captured-'));
  folders.push(folder);
  mkdirSync(join(folder, 'policies'));
  writeFileSync(join(folder, 'postern.yaml'), `${settings}\n`);
  writeFileSync(
    join(folder, 'policies/one.yaml'),
    `applications: [{ id: 9a4b2f0e-3f55-4a57-9b0e-000000000001, name: One, destinations: [${destination}], policies: [{ name: Only, decision: ${decision}, include: [${include}] }] }]\n`,
  );
  return folder;
}

/** The dynamic metadata of the answer. */
async function decide(
  settings: string,
  application: keyof typeof APPLICATIONS,
  captured: Captured,
): Promise<Record<string, string | number | undefined>> {
  const loader = createLoader({
    folder: configuration(settings, application),
    overrides: [],
    keySets: createKeySets(),
    makesKeys: false,
  });
  const { revision, faults } = await loader.load();
  if (!revision) throw new Error(JSON.stringify(faults));
  const check = createCheck({
    snapshot: () => revision.snapshot,
    nowMs: Date.now,
    monotonicMs: () => performance.now(),
    newId: () => 'decision',
    settle: (decision) => ({ decision, attempt: 0 }),
    watch: {
      stage: () => undefined,
      fact: () => undefined,
      finished: () => undefined,
      failed(error) {
        throw error;
      },
    },
  });
  const bytes = await check(encodeRequest(captured), {
    deadlineMs: Infinity,
    signal: new AbortController().signal,
    cancelled: false,
  });
  return metadataOf(decodeResponse(bytes));
}

/** One Check with these words of metadata, as Envoy sends them. */
function call(address: string, request: Uint8Array, words: Record<string, string>): Promise<Buffer> {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(words)) metadata.set(name, value);
  const client = new Client(address, credentials.createInsecure());
  const asIs = (bytes: Buffer): Buffer => bytes;
  return new Promise<Buffer>((resolve, reject) => {
    client.makeUnaryRequest(CHECK_PATH, asIs, asIs, Buffer.from(request), metadata, (error, bytes) => {
      if (error || !bytes) reject(error ?? new Error('no bytes'));
      else resolve(bytes);
    });
  }).finally(() => client.close());
}
