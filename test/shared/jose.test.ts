import { createHash, generateKeyPairSync, verify } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { hasSignature, importPublicJwk, importSigningKey, signCompact, thumbprintOf } from '../../src/shared/jose.ts';
import type { SigningKey } from '../../src/shared/jose.ts';
import { pairFor, publicJwk, tokenOf } from '../facts/token-maker.ts';

async function imported(pem: string): Promise<SigningKey> {
  const result = await importSigningKey(pem);
  if ('wrong' in result) throw new Error(result.wrong);
  return result.key;
}

function pemOf(algorithm: string, type: 'pkcs8' | 'pkcs1' | 'sec1' = 'pkcs8', name = 'first'): string {
  return pairFor(algorithm, name).privateKey.export({ format: 'pem', type } as {
    format: 'pem';
    type: 'pkcs8';
  }) as string;
}

function decode(part: string): unknown {
  return JSON.parse(Buffer.from(part, 'base64url').toString());
}

describe('a signing key', () => {
  it.each([
    ['RS256', 'pkcs8'],
    ['RS256', 'pkcs1'],
    ['ES256', 'pkcs8'],
    ['ES256', 'sec1'],
    ['ES384', 'pkcs8'],
    ['ES512', 'pkcs8'],
    ['EdDSA', 'pkcs8'],
  ] as const)('for %s in %s signs what its public half verifies', async (algorithm, type) => {
    const key = await imported(pemOf(algorithm, type));
    const compact = await signCompact({ iss: 'postern', list: [1] }, key, { kid: key.thumbprint, typ: 'x+jwt' });
    const [header = '', payload = '', signature = ''] = compact.split('.');
    expect(decode(header)).toEqual({ alg: algorithm, kid: key.thumbprint, typ: 'x+jwt' });
    expect(decode(payload)).toEqual({ iss: 'postern', list: [1] });
    const digest = algorithm === 'EdDSA' ? null : `sha${algorithm.slice(2)}`;
    const by = { key: pairFor(algorithm).publicKey, dsaEncoding: 'ieee-p1363' as const };
    expect(verify(digest, Buffer.from(`${header}.${payload}`), by, Buffer.from(signature, 'base64url'))).toBe(true);
    expect(key.publicJwk).toEqual(publicJwk(pairFor(algorithm)));
  });

  it('has the thumbprint of RFC 7638, in base64url and in hex', async () => {
    const key = await imported(pemOf('EdDSA'));
    const { crv, kty, x } = key.publicJwk;
    const digest = createHash('sha256').update(JSON.stringify({ crv, kty, x }));
    expect(key.thumbprintHex).toBe(digest.copy().digest('hex'));
    expect(key.thumbprint).toBe(digest.digest('base64url'));
  });

  it('has the thumbprint that RFC 8037 A.3 gives', async () => {
    const jwk = { kty: 'OKP', crv: 'Ed25519', x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo' };
    expect(await thumbprintOf(jwk)).toBe('kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k');
  });

  it.each([
    ['no PEM', 'secret', 'expected an unencrypted private key in PEM, found something else'],
    [
      'a public key',
      pairFor('ES256').publicKey.export({ format: 'pem', type: 'spki' }) as string,
      'expected an unencrypted private key in PEM, found something else',
    ],
    [
      'an encrypted key',
      pairFor('ES256').privateKey.export({
        format: 'pem',
        type: 'pkcs8',
        cipher: 'aes-256-cbc',
        passphrase: 'x',
      }) as string,
      'expected an unencrypted private key in PEM, found something else',
    ],
    ['a small RSA key', pemOf('RS256', 'pkcs8', 'small'), 'expected an RSA key of 2048 bits or more, found 1024'],
    [
      'X25519',
      generateKeyPairSync('x25519').privateKey.export({ format: 'pem', type: 'pkcs8' }) as string,
      'expected an RSA, P-256, P-384, P-521 or Ed25519 key, found x25519',
    ],
    [
      'secp256k1',
      generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).privateKey.export({
        format: 'pem',
        type: 'pkcs8',
      }) as string,
      'expected an RSA, P-256, P-384, P-521 or Ed25519 key, found ec',
    ],
  ])('is not %s', async (_, pem, wrong) => {
    expect(await importSigningKey(pem)).toEqual({ wrong });
  });
});

describe('a signature', () => {
  const key = pairFor('ES256').publicKey;

  it.each([
    ['of this key', tokenOf(), true],
    ['of another key', tokenOf({ pair: pairFor('ES256', 'second') }), false],
    ['of another algorithm', tokenOf({ algorithm: 'RS256' }), false],
    ['that is none', 'a.b.c', false],
    ['of nothing', '', false],
  ])('%s', async (_, compact, found) => {
    expect(await hasSignature(compact, key, 'ES256')).toBe(found);
  });
});

describe('a public key as JSON', () => {
  it.each([
    ['of RSA', publicJwk(pairFor('RS256')), 'rsa'],
    ['with other members', publicJwk(pairFor('ES256'), { kid: 'a', x5c: ['x'] }), 'ec'],
    ['of a private key', pairFor('EdDSA').privateKey.export({ format: 'jwk' }) as Record<string, unknown>, 'ed25519'],
    ['of a shared secret', { kty: 'oct', k: 'AAAA' }, undefined],
    ['of no type', {}, undefined],
    ['of a point that is not on the curve', { kty: 'EC', crv: 'P-256', x: 'AAAA', y: 'AAAA' }, undefined],
    ['without a member', { kty: 'RSA', n: 'AAAA' }, undefined],
  ])('%s', (_, jwk, type) => {
    const key = importPublicJwk(jwk);
    expect([key?.asymmetricKeyType, key?.type]).toEqual([type, type && 'public']);
  });
});
