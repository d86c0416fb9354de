/** Tokens and key sets for tests, made with node:crypto alone, so that what is verified was not signed by the same
 *  library. */
import { constants, generateKeyPairSync, sign } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import type { Body, Headers, RequestFacts, SingleHeader } from '../../src/model/request.ts';

export interface Pair {
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
}

const made = new Map<string, Pair>();

/** A pair for an algorithm. Equal names give the same pair. */
export function pairFor(algorithm: string, name = 'first'): Pair {
  const family = /^[RP]S/.test(algorithm) ? 'RSA' : algorithm;
  const key = `${family} ${name}`;
  let pair = made.get(key);
  if (pair === undefined) {
    pair =
      family === 'RSA'
        ? generateKeyPairSync('rsa', { modulusLength: name === 'small' ? 1024 : 2048 })
        : family === 'EdDSA'
          ? generateKeyPairSync('ed25519')
          : generateKeyPairSync('ec', { namedCurve: CURVES[family] ?? family });
    made.set(key, pair);
  }
  return pair;
}

const CURVES: Readonly<Record<string, string>> = { ES256: 'P-256', ES384: 'P-384', ES512: 'P-521' };

export function publicJwk(pair: Pair, more: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
  return { ...pair.publicKey.export({ format: 'jwk' }), ...more };
}

export function encoded(value: unknown): string {
  return Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');
}

export function signatureOf(input: string, algorithm: string, { privateKey }: Pair): string {
  const data = Buffer.from(input);
  const digest = `sha${algorithm.slice(2)}`;
  if (algorithm === 'EdDSA') return sign(null, data, privateKey).toString('base64url');
  if (algorithm.startsWith('PS')) {
    const padding = constants.RSA_PKCS1_PSS_PADDING;
    return sign(digest, data, { key: privateKey, padding, saltLength: Number(algorithm.slice(2)) / 8 }).toString(
      'base64url',
    );
  }
  return sign(digest, data, { key: privateKey, dsaEncoding: 'ieee-p1363' }).toString('base64url');
}

export const NOW_MS = Date.UTC(2026, 2, 4, 14, 30);
export const NOW = NOW_MS / 1000;
export const ISSUER = 'https://login.example.com';
export const AUDIENCE = 'orders';

export interface TokenParts {
  readonly algorithm?: string;
  readonly pair?: Pair;
  readonly header?: Readonly<Record<string, unknown>>;
  readonly claims?: Readonly<Record<string, unknown>>;
}

/** A token that is good in every way, but for what the parts say. `undefined` takes a member away. */
export function tokenOf({ algorithm = 'ES256', pair = pairFor(algorithm), header, claims }: TokenParts = {}): string {
  const input = `${encoded({ alg: algorithm, kid: 'k1', typ: 'JWT', ...header })}.${encoded({
    iss: ISSUER,
    aud: AUDIENCE,
    sub: 'user-1',
    email: 'ann@example.com',
    iat: NOW - 60,
    exp: NOW + 600,
    ...claims,
  })}`;
  return `${input}.${signatureOf(input, algorithm, pair)}`;
}

export function keySetBytes(...keys: readonly unknown[]): Uint8Array {
  return Buffer.from(JSON.stringify({ keys }));
}

/** A request whose header names each have one value or several; a cookie header is split as Envoy's would be. */
export function requestWith(
  headers: Readonly<Record<string, string | readonly string[]>>,
  metadata: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {},
): RequestFacts {
  return {
    method: 'GET',
    host: 'orders.example.com',
    path: '/',
    query: undefined,
    target: '/',
    authority: 'orders.example.com',
    scheme: 'https',
    headers: headersOf(new Map(Object.entries(headers).map(([name, value]) => [name, [value].flat()]))),
    timeMs: NOW_MS,
    sourceAddress: undefined,
    principal: '',
    certificate: '',
    body: { state: 'absent' } satisfies Body,
    metadata: (namespace) => (Object.hasOwn(metadata, namespace) ? metadata[namespace] : undefined),
    streamId: '1',
    protocol: 'HTTP/1.1',
  };
}

function headersOf(entries: ReadonlyMap<string, readonly string[]>): Headers {
  const all = (name: string): readonly string[] => entries.get(name) ?? [];
  return {
    has: (name) => entries.has(name),
    all,
    single(name, options): SingleHeader {
      const values = all(name);
      const [value] = values;
      if (value === undefined) return { state: 'absent' };
      if (values.length > 1 || (options?.commaAllowed !== true && value.includes(','))) return { state: 'several' };
      if (value.includes('\uFFFD')) return { state: 'unreadable' };
      return { state: 'one', value };
    },
    cookies: (name) =>
      all('cookie')
        .flatMap((value) => value.split(';'))
        .map((one) => one.trim())
        .filter((one) => one.startsWith(`${name}=`))
        .map((one) => one.slice(name.length + 1)),
    names: () => entries.keys(),
  };
}
