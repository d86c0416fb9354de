import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { own } from '../../src/facts/claims.ts';
import { fixedKeySource, readKeySetFile } from '../../src/facts/key-set.ts';
import type { KeyLookup, KeySet, KeySource } from '../../src/facts/key-set.ts';
import { createTokenVerifier, isCloudflareIssuer, timesWrong } from '../../src/facts/token.ts';
import type { TokenResult, TokenRules } from '../../src/facts/token.ts';
import {
  AUDIENCE,
  encoded,
  ISSUER,
  keySetBytes,
  NOW,
  NOW_MS,
  pairFor,
  publicJwk,
  signatureOf,
  tokenOf,
} from './token-maker.ts';

const ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA'] as const;

function setOf(...keys: readonly unknown[]): KeySet {
  const read = readKeySetFile(keySetBytes(...keys));
  if (!('set' in read)) throw new Error(JSON.stringify(read.findings));
  return read.set;
}

const everyKey = setOf(
  ...['RS256', 'ES256', 'ES384', 'ES512', 'EdDSA'].map((algorithm) => publicJwk(pairFor(algorithm), { kid: 'k1' })),
  publicJwk(pairFor('RS256', 'second'), { kid: 'k2' }),
);

function rules(more: Partial<TokenRules<string>> = {}): TokenRules<string> {
  return {
    issuer: ISSUER,
    audiences: [AUDIENCE, 'billing'],
    keys: fixedKeySource(everyKey),
    algorithms: ALGORITHMS,
    clockSkewSeconds: 30,
    cloudflare: false,
    accept: (claims) => String(own(claims, 'sub')),
    ...more,
  };
}

function verifierOf(
  ...entries: readonly TokenRules<string>[]
): (token: string, nowMs?: number) => Promise<TokenResult<string>> {
  const verify = createTokenVerifier(entries.length > 0 ? entries : [rules()], { entriesMax: 100 });
  return async (token, nowMs = NOW_MS) => verify(token, nowMs);
}

/** How a token ends that is verified with these keys. */
async function tried(...keys: readonly unknown[]): Promise<string> {
  return (await verifierOf(rules({ keys: fixedKeySource(setOf(...keys)) }))(tokenOf())).state;
}

function signed(head: unknown, body: unknown): string {
  const input = `${encoded(head)}.${encoded(body)}`;
  return `${input}.${signatureOf(input, 'ES256', pairFor('ES256'))}`;
}

function tokenFrom(iss: string, aud: string): string {
  return tokenOf({ claims: { iss, aud } });
}

function later<T>(): { readonly promise: Promise<T>; readonly resolve: (value: T) => void } {
  const resolvers: ((value: T) => void)[] = [];
  const promise = new Promise<T>((resolve) => {
    resolvers.push(resolve);
  });
  return { promise, resolve: (value) => resolvers.forEach((resolve) => resolve(value)) };
}

const GOOD = { state: 'verified', product: 'user-1' };

/** A source whose set can be exchanged, and that counts. */
function changingSource(
  set: KeySet | undefined,
): KeySource & { set: KeySet | undefined; asked: number; answer?: Promise<KeyLookup> } {
  return {
    set,
    asked: 0,
    current() {
      return this.set;
    },
    find(algorithm, kid) {
      this.asked += 1;
      if (this.answer) return this.answer;
      return this.set
        ? fixedKeySource(this.set).find(algorithm, kid)
        : { state: 'unavailable', why: 'the key set could not be read' };
    },
  };
}

describe('a token that is good', () => {
  it.each(ALGORITHMS)('is verified with %s', async (algorithm) => {
    expect(await verifierOf()(tokenOf({ algorithm }))).toEqual(GOOD);
  });

  it.each([
    ['no typ', { header: { typ: undefined } }],
    ['typ jwt', { header: { typ: 'jwt' } }],
    ['typ application/JWT', { header: { typ: 'application/JWT' } }],
    ['typ at+jwt', { header: { typ: 'at+jwt' } }],
    ['typ Application/AT+JWT', { header: { typ: 'Application/AT+JWT' } }],
    ['a header member nobody knows', { header: { jku: 'https://evil.example/keys', x5u: 'x' } }],
    ['several audiences, one of them ours', { claims: { aud: ['other', 'billing'] } }],
    ['no iat', { claims: { iat: undefined } }],
    ['just not expired, within the skew', { claims: { exp: NOW - 29.9 } }],
    ['nbf at the edge of the skew', { claims: { nbf: NOW + 30 } }],
    ['iat at the edge of the skew', { claims: { iat: NOW + 30 } }],
    ['a payload that holds other scripts', { claims: { name: 'Åsa 名前 🙂' } }],
    ['type org, where the issuer is not Cloudflare', { claims: { type: 'org' } }],
  ])('may have %s', async (_, parts) => {
    expect(await verifierOf()(tokenOf(parts))).toEqual(GOOD);
  });

  it('without a kid is verified by the only key that fits', async () => {
    const only = rules({ keys: fixedKeySource(setOf(publicJwk(pairFor('ES256'), { kid: 'x' }))) });
    expect(await verifierOf(only)(tokenOf({ header: { kid: undefined } }))).toEqual(GOOD);
  });

  it('is verified by any of up to four keys of its kid', async () => {
    const wrong = publicJwk(pairFor('ES256', 'second'), { kid: 'k1' });
    const right = publicJwk(pairFor('ES256'), { kid: 'k1' });
    expect(await tried(wrong, wrong, wrong, right)).toBe('verified');
    expect(await tried(wrong, wrong, wrong, wrong, right)).toBe('invalid');
  });
});

describe('a token is invalid', () => {
  const [header = '', payload = '', signature = ''] = tokenOf().split('.');
  const es256 = { alg: 'ES256', kid: 'k1' };

  it.each([
    ['', 'expected three parts'],
    ['opaque', 'expected three parts'],
    [`${header}.${payload}`, 'expected three parts'],
    [`${header}.${payload}.${signature}.x`, 'expected three parts'],
    [`${header}.${payload}.`, 'the signature is not base64url'],
    [`${header}.${payload}.${signature}=`, 'the signature is not base64url'],
    [`${header}.${payload}.${signature}\n`, 'the signature is not base64url'],
    [`${header}.${payload}.${signature.slice(0, -1)}_`, 'the signature is not base64url'],
    [`.${payload}.${signature}`, 'the header is no JSON object'],
    [`${header}=.${payload}.${signature}`, 'the header is no JSON object'],
    [`${header}..${signature}`, 'the payload is no JSON object'],
    [
      `${header}.${Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]).toString('base64url')}.${signature}`,
      'the payload is no JSON object',
    ],
    [signed([], {}), 'the header is no JSON object'],
    [signed('ES256', {}), 'the header is no JSON object'],
    [signed(es256, '[]'), 'the payload is no JSON object'],
    [signed(es256, 'null'), 'the payload is no JSON object'],
    [signed({ ...es256, crit: [] }, {}), 'the header has crit'],
    [signed({ ...es256, crit: ['exp'] }, {}), 'the header has crit'],
    [signed({ ...es256, b64: true }, {}), 'the header has b64'],
  ])('of this form: %s', async (token, why) => {
    expect(await verifierOf()(token)).toEqual({ state: 'invalid', why });
  });

  it.each([
    // Form of the header.
    ['typ of logout tokens', { header: { typ: 'logout+jwt' } }, 'typ is neither JWT nor at+jwt'],
    ['typ of security events', { header: { typ: 'secevent+jwt' } }, 'typ is neither JWT nor at+jwt'],
    ['typ of our own states', { header: { typ: 'postern-state+jwt' } }, 'typ is neither JWT nor at+jwt'],
    ['typ that is no text', { header: { typ: ['JWT'] } }, 'typ is neither JWT nor at+jwt'],
    ['typ null', { header: { typ: null } }, 'typ is neither JWT nor at+jwt'],
    // Algorithm.
    ['alg none', { header: { alg: 'none' } }, 'alg is none that is accepted'],
    ['alg HS256', { header: { alg: 'HS256' } }, 'alg is none that is accepted'],
    ['alg in another letter case', { header: { alg: 'es256' } }, 'alg is none that is accepted'],
    ['alg of a member every object has', { header: { alg: 'toString' } }, 'alg is none that is accepted'],
    ['no alg', { header: { alg: undefined } }, 'alg is none that is accepted'],
    // Issuer.
    ['another issuer', { claims: { iss: 'https://evil.example' } }, 'iss is none that is accepted'],
    ['a slash more', { claims: { iss: `${ISSUER}/` } }, 'iss is none that is accepted'],
    ['another letter case', { claims: { iss: ISSUER.toUpperCase() } }, 'iss is none that is accepted'],
    ['no issuer', { claims: { iss: undefined } }, 'iss is none that is accepted'],
    ['a list of issuers', { claims: { iss: [ISSUER] } }, 'iss is none that is accepted'],
    // Key.
    ['kid that is a number', { header: { kid: 1 } }, 'kid is no text'],
    ['kid null', { header: { kid: null } }, 'kid is no text'],
    ['unknown kid', { header: { kid: 'k9' } }, "no ES256 key fits the token's key id"],
    ['kid of a key of another type', { header: { kid: 'k2' } }, "no ES256 key fits the token's key id"],
    [
      'no kid, several keys',
      { algorithm: 'RS256', header: { kid: undefined } },
      'the token names no key, and 2 keys fit',
    ],
    // Signature.
    ['another key', { pair: pairFor('ES256', 'second') }, 'the signature is wrong'],
    ['RS256 presented as PS256', { algorithm: 'RS256', header: { alg: 'PS256' } }, 'the signature is wrong'],
    ['ES256 presented as RS256', { header: { alg: 'RS256' } }, 'the signature is wrong'],
    // Times.
    ['no exp', { claims: { exp: undefined } }, 'exp is missing, or no number'],
    ['exp as text', { claims: { exp: String(NOW + 600) } }, 'exp is missing, or no number'],
    ['exp null', { claims: { exp: null } }, 'exp is missing, or no number'],
    ['expired, skew included', { claims: { exp: NOW - 30 } }, 'the token has expired'],
    ['nbf beyond the skew', { claims: { nbf: NOW + 30.1 } }, 'the token is not valid yet'],
    ['nbf as text', { claims: { nbf: '0' } }, 'nbf is no number'],
    ['iat beyond the skew', { claims: { iat: NOW + 30.1 } }, 'the token was issued in the future'],
    ['iat as text', { claims: { iat: '0' } }, 'iat is no number'],
    ['iat null', { claims: { iat: null } }, 'iat is no number'],
    // Audience.
    ['no aud', { claims: { aud: undefined } }, 'aud is missing, or neither text nor a list of texts'],
    ['an aud that is a number', { claims: { aud: 5 } }, 'aud is missing, or neither text nor a list of texts'],
    [
      'an aud of which one is no text',
      { claims: { aud: [AUDIENCE, 5] } },
      'aud is missing, or neither text nor a list of texts',
    ],
    ['an empty aud', { claims: { aud: [] } }, 'the token is for another audience'],
    ['another aud', { claims: { aud: 'other' } }, 'the token is for another audience'],
    ['an aud in another letter case', { claims: { aud: 'ORDERS' } }, 'the token is for another audience'],
  ])('with %s', async (_, parts, why) => {
    expect(await verifierOf()(tokenOf(parts))).toEqual({ state: 'invalid', why });
  });

  it('with exp beyond all numbers', async () => {
    const body = `{"iss":"${ISSUER}","aud":"${AUDIENCE}","sub":"user-1","exp":1e999}`;
    expect(await verifierOf()(signed(es256, body))).toEqual({ state: 'invalid', why: 'exp is missing, or no number' });
  });

  it('with an algorithm that the issuer may not use', async () => {
    expect(await verifierOf(rules({ algorithms: ['RS256'] }))(tokenOf())).toEqual({
      state: 'invalid',
      why: 'alg is none that this issuer may use',
    });
  });

  it('over 16384 characters', async () => {
    expect(await verifierOf()(tokenOf({ claims: { filler: 'x'.repeat(13_000) } }))).toMatchObject({ state: 'invalid' });
    expect(await verifierOf()(tokenOf({ claims: { filler: 'x'.repeat(11_000) } }))).toEqual(GOOD);
  });

  it('of type org from Cloudflare Access', async () => {
    const cloudflare = verifierOf(rules({ cloudflare: true }));
    expect(await cloudflare(tokenOf({ claims: { type: 'org' } }))).toMatchObject({ state: 'invalid' });
    expect(await cloudflare(tokenOf({ claims: { type: 'app' } }))).toEqual(GOOD);
  });

  it.each([0, 1])('when any character of part %i is another', async (part) => {
    const token = tokenOf();
    const parts = token.split('.');
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.constantFrom(...'ABCxyz019-_'), async (place, letter) => {
        const text = parts[part] ?? '';
        const index = place % text.length;
        fc.pre(text[index] !== letter);
        const changed = parts.with(part, text.slice(0, index) + letter + text.slice(index + 1)).join('.');
        expect((await verifierOf()(changed)).state).toBe('invalid');
      }),
      { numRuns: 50 },
    );
  });

  it('when it is garbage', async () => {
    const good = tokenOf();
    const part = fc.oneof(fc.string(), fc.base64String(), fc.json().map(encoded), fc.constantFrom(...good.split('.')));
    await fc.assert(
      fc.asyncProperty(fc.array(part, { maxLength: 4 }), async (parts) => {
        fc.pre(parts.join('.') !== good);
        expect((await verifierOf()(parts.join('.'))).state).toBe('invalid');
      }),
    );
  });

  it('without its text in the reason', async () => {
    const token = tokenOf({ claims: { exp: NOW - 600 } });
    const { why } = (await verifierOf()(token)) as { why: string };
    for (const part of token.split('.')) expect(why).not.toContain(part);
  });
});

describe('a token cannot be verified', () => {
  it('where the keys could not be had, whatever else is wrong with it later', async () => {
    const unavailable = verifierOf(rules({ keys: changingSource(undefined) }));
    expect(await unavailable(tokenOf())).toEqual({ state: 'unavailable', why: 'the key set could not be read' });
    expect(await unavailable(tokenOf({ claims: { exp: NOW - 600, aud: 'other' } }))).toMatchObject({
      state: 'unavailable',
    });
  });

  it('but is invalid where its form, alg, iss or kid are wrong already', async () => {
    const unavailable = verifierOf(rules({ keys: changingSource(undefined) }));
    for (const token of [
      'opaque',
      tokenOf({ header: { alg: 'none' } }),
      tokenOf({ claims: { iss: 'x' } }),
      tokenOf({ header: { kid: 5 } }),
    ]) {
      expect((await unavailable(token)).state).toBe('invalid');
    }
  });
});

describe('of several issuers', () => {
  it("the one that is the token's decides, with its own rules", async () => {
    const verify = verifierOf(
      rules({ issuer: 'https://a.example', algorithms: ['RS256'], accept: () => 'a' }),
      rules({ issuer: 'https://b.example', audiences: ['b'], accept: () => 'b' }),
    );
    expect(await verify(tokenFrom('https://b.example', 'b'))).toEqual({ state: 'verified', product: 'b' });
    expect(await verify(tokenFrom('https://b.example', AUDIENCE))).toMatchObject({ state: 'invalid' });
    expect(await verify(tokenFrom('https://a.example', AUDIENCE))).toMatchObject({ state: 'invalid' });
    expect(await verify(tokenOf({ algorithm: 'RS256', claims: { iss: 'https://a.example' } }))).toEqual({
      state: 'verified',
      product: 'a',
    });
  });
});

describe('a verified token', () => {
  it('is known at once the next time', async () => {
    const results: string[] = [];
    const verify = createTokenVerifier([rules()], { entriesMax: 10, onRequest: (result) => results.push(result) });
    const token = tokenOf();
    const first = await verify(token, NOW_MS);
    expect(verify(token, NOW_MS + 59_999)).toBe(first);
    expect(results).toEqual(['miss', 'hit']);
  });

  it.each([
    ['a minute later', NOW + 600, 60_000, 'verified'],
    ['when it expires', NOW + 10, 10_000, 'verified'],
    ['when it has expired, skew included', NOW + 10, 40_000, 'invalid'],
  ])('is verified again %s', async (_, exp, laterMs, state) => {
    const verify = createTokenVerifier([rules()], { entriesMax: 10 });
    const token = tokenOf({ claims: { exp } });
    await verify(token, NOW_MS);
    const again = verify(token, NOW_MS + laterMs);
    expect(again).toBeInstanceOf(Promise);
    expect((await again).state).toBe(state);
  });

  it('makes room for others by its length, since its bearer has a say in that', async () => {
    const [first, second] = [tokenOf({ claims: { jti: 'a' } }), tokenOf({ claims: { jti: 'b' } })];
    const verify = createTokenVerifier([rules()], { entriesMax: 10, weightMax: first.length + second.length - 1 });
    await verify(first, NOW_MS);
    await verify(second, NOW_MS);
    expect(verify(second, NOW_MS)).not.toBeInstanceOf(Promise);
    const again = verify(first, NOW_MS);
    expect(again).toBeInstanceOf(Promise);
    expect((await again).state).toBe('verified');
  });

  it('is expired for those who join its verification after its end', async () => {
    const keys = changingSource(everyKey);
    const { promise, resolve } = later<KeyLookup>();
    keys.answer = promise;
    const verify = createTokenVerifier([rules({ keys })], { entriesMax: 10 });
    const token = tokenOf({ claims: { exp: NOW + 1 } });
    const asked = [verify(token, NOW_MS), verify(token, NOW_MS + 30_999), verify(token, NOW_MS + 31_000)];
    resolve(await fixedKeySource(everyKey).find('ES256', 'k1'));
    expect((await Promise.all(asked)).map((result) => result.state)).toEqual(['verified', 'verified', 'invalid']);
  });

  it('is verified again when the key set has changed, and no longer where its key is gone', async () => {
    const keys = changingSource(setOf(publicJwk(pairFor('ES256'), { kid: 'k1' })));
    const verify = createTokenVerifier([rules({ keys })], { entriesMax: 10 });
    const token = tokenOf();
    await verify(token, NOW_MS);
    expect(verify(token, NOW_MS)).not.toBeInstanceOf(Promise);
    keys.set = setOf(publicJwk(pairFor('ES256', 'second'), { kid: 'k1' }));
    expect(await verify(token, NOW_MS)).toEqual({ state: 'invalid', why: 'the signature is wrong' });
    keys.set = undefined;
    expect(await verify(token, NOW_MS)).toMatchObject({ state: 'unavailable' });
  });

  it('is verified once for all who bring it at the same time', async () => {
    const keys = changingSource(everyKey);
    let accepted = 0;
    const accept = (): string => `accepted ${(accepted += 1)}`;
    const verify = createTokenVerifier([rules({ keys, accept })], { entriesMax: 10 });
    const token = tokenOf();
    const results = await Promise.all(Array.from({ length: 5 }, () => verify(token, NOW_MS)));
    expect(new Set(results.map((result) => JSON.stringify(result))).size).toBe(1);
    expect([keys.asked, accepted]).toEqual([1, 1]);
  });

  it('is remembered, a refused or unverifiable one is not', async () => {
    const keys = changingSource(undefined);
    const verify = createTokenVerifier([rules({ keys })], { entriesMax: 10 });
    const expired = tokenOf({ claims: { exp: NOW - 60 } });
    expect((await verify(tokenOf(), NOW_MS)).state).toBe('unavailable');
    keys.set = everyKey;
    expect((await verify(tokenOf(), NOW_MS)).state).toBe('verified');
    await verify(expired, NOW_MS);
    await verify(expired, NOW_MS);
    expect(keys.asked).toBe(4);
  });
});

describe('the issuer of Cloudflare Access', () => {
  it.each([
    ['https://example.cloudflareaccess.com', true],
    ['https://example.cloudflareaccess.com/', true],
    ['https://cloudflareaccess.com', false],
    ['https://example.cloudflareaccess.com.evil.example', false],
    ['https://notcloudflareaccess.com', false],
    ['example.cloudflareaccess.com', false],
    ['https://evil.example/.cloudflareaccess.com', false],
  ])('%s: %s', (issuer, expected) => {
    expect(isCloudflareIssuer(issuer)).toBe(expected);
  });
});

describe('times that are there', () => {
  it.each([
    [{}, undefined],
    [{ exp: NOW - 29 }, undefined],
    [{ exp: NOW - 30 }, 'the token has expired'],
    [{ exp: null }, 'exp is no number'],
    [{ nbf: NOW + 30 }, undefined],
    [{ nbf: NOW + 31 }, 'the token is not valid yet'],
    [{ nbf: 'now' }, 'nbf is no number'],
  ])('%j', (claims, wrong) => {
    expect(timesWrong(claims, NOW_MS, 30)).toBe(wrong);
  });
});
