/** Signing and verifying, RFC 7515 (JWS), RFC 7517 (JWK), RFC 7638 (thumbprints). The only place that knows jose. */
import { createPrivateKey, createPublicKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { calculateJwkThumbprint, CompactSign, compactVerify } from 'jose';

export type { KeyObject } from 'node:crypto';

/** The algorithms a signature may have here, with the key each takes. RFC 7518 section 3.1, RFC 8037 section 3.1;
 *  `none` and the shared-secret algorithms are not among them. */
export const SIGNATURE_KEYS = {
  RS256: { kty: 'RSA' },
  RS384: { kty: 'RSA' },
  RS512: { kty: 'RSA' },
  PS256: { kty: 'RSA' },
  PS384: { kty: 'RSA' },
  PS512: { kty: 'RSA' },
  ES256: { kty: 'EC', crv: 'P-256' },
  ES384: { kty: 'EC', crv: 'P-384' },
  ES512: { kty: 'EC', crv: 'P-521' },
  EdDSA: { kty: 'OKP', crv: 'Ed25519' },
} as const satisfies Readonly<Record<string, { readonly kty: string; readonly crv?: string }>>;

export type SignatureAlgorithm = keyof typeof SIGNATURE_KEYS;

export const RSA_BITS_MIN = 2048;

/** A public key as JSON, of the members that make the key and nothing else. */
export type PublicJwk = Readonly<Record<string, string>>;

/** A private key with everything that signing and publishing it needs. */
export interface SigningKey {
  readonly algorithm: SignatureAlgorithm;
  /** RFC 7638 SHA-256 thumbprint, base64url. */
  readonly thumbprint: string;
  /** The same in hex. */
  readonly thumbprintHex: string;
  readonly publicJwk: PublicJwk;
  readonly privateKey: KeyObject;
}

/** Reads a private key in PEM (PKCS #8, PKCS #1 or SEC 1): RSA of 2048 bits or more signs RS256, P-256 ES256,
 *  P-384 ES384, P-521 ES512, Ed25519 EdDSA. Otherwise what is wrong with it, without any of its content. */
export async function importSigningKey(
  pem: string | Uint8Array,
): Promise<{ readonly key: SigningKey } | { readonly wrong: string }> {
  let privateKey: KeyObject;
  try {
    privateKey = createPrivateKey({ key: Buffer.from(pem), format: 'pem' });
  } catch {
    return { wrong: 'expected an unencrypted private key in PEM, found something else' };
  }
  const publicJwk = publicJwkOf(createPublicKey(privateKey));
  const algorithm = publicJwk && algorithmFor(publicJwk);
  if (publicJwk === undefined || algorithm === undefined) {
    return { wrong: `expected an RSA, P-256, P-384, P-521 or Ed25519 key, found ${privateKey.asymmetricKeyType}` };
  }
  const bits = privateKey.asymmetricKeyDetails?.modulusLength;
  if (bits !== undefined && bits < RSA_BITS_MIN) {
    return { wrong: `expected an RSA key of ${RSA_BITS_MIN} bits or more, found ${bits}` };
  }
  const thumbprint = await thumbprintOf(publicJwk);
  return {
    key: {
      algorithm,
      thumbprint,
      thumbprintHex: Buffer.from(thumbprint, 'base64url').toString('hex'),
      publicJwk,
      privateKey,
    },
  };
}

/** A compact JWS over `payload` as JSON. The header is `alg`, then `header` (`kid`, `typ`, …). */
export function signCompact(
  payload: Readonly<Record<string, unknown>>,
  key: SigningKey,
  header: Readonly<Record<string, string>> = {},
): Promise<string> {
  return new CompactSign(Buffer.from(JSON.stringify(payload)))
    .setProtectedHeader({ ...header, alg: key.algorithm })
    .sign(key.privateKey);
}

/** Whether the compact JWS carries a signature of this key in this algorithm. Rejects for nothing: whatever goes
 *  wrong, it is no signature. */
export async function hasSignature(compact: string, key: KeyObject, algorithm: SignatureAlgorithm): Promise<boolean> {
  try {
    await compactVerify(compact, key, { algorithms: [algorithm] });
    return true;
  } catch {
    return false;
  }
}

/** RFC 7638 SHA-256 thumbprint of a public key, base64url. */
export function thumbprintOf(jwk: PublicJwk): Promise<string> {
  return calculateJwkThumbprint({ ...jwk }, 'sha256');
}

/** The public half as JSON; undefined for a key that JSON Web Keys have no form for. */
export function publicJwkOf(key: KeyObject): PublicJwk | undefined {
  try {
    return publicMembers(key.export({ format: 'jwk' }) as Readonly<Record<string, unknown>>);
  } catch {
    return undefined;
  }
}

/** The public key that a JSON Web Key describes; undefined where it describes none that verifies signatures here. */
export function importPublicJwk(jwk: Readonly<Record<string, unknown>>): KeyObject | undefined {
  const members = publicMembers(jwk);
  if (members === undefined) return undefined;
  try {
    return createPublicKey({ key: { ...members }, format: 'jwk' });
  } catch {
    return undefined;
  }
}

/** Whether a name is one of `SIGNATURE_KEYS`. */
export function isSignatureAlgorithm(name: string): name is SignatureAlgorithm {
  return Object.hasOwn(SIGNATURE_KEYS, name);
}

function algorithmFor(jwk: PublicJwk): SignatureAlgorithm | undefined {
  for (const [name, wanted] of Object.entries(SIGNATURE_KEYS)) {
    if (wanted.kty === jwk['kty'] && (!('crv' in wanted) || wanted.crv === jwk['crv']))
      return name as SignatureAlgorithm;
  }
  return undefined;
}

function publicMembers(jwk: Readonly<Record<string, unknown>>): PublicJwk | undefined {
  const names = PUBLIC_MEMBERS.get(jwk['kty']);
  if (names === undefined) return undefined;
  const members: Record<string, string> = {};
  for (const name of names) {
    const value = jwk[name];
    if (typeof value !== 'string') return undefined;
    members[name] = value;
  }
  return members;
}

const PUBLIC_MEMBERS: ReadonlyMap<unknown, readonly string[]> = new Map([
  ['RSA', ['kty', 'n', 'e']],
  ['EC', ['kty', 'crv', 'x', 'y']],
  ['OKP', ['kty', 'crv', 'x']],
]);
