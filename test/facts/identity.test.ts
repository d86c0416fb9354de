import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DEFAULT_CLAIM_PATHS } from '../../src/facts/claims.ts';
import {
  createIdentitySource,
  forApplication,
  NOTHING_READ,
  readBearer,
  serviceJwtForApplication,
} from '../../src/facts/identity.ts';
import type { IdentityOptions, IdentityReading, IdentitySurroundings, TokenOptions } from '../../src/facts/identity.ts';
import { createKeySets, fixedKeySource, readKeySetFile } from '../../src/facts/key-set.ts';
import type { KeySource } from '../../src/facts/key-set.ts';
import type { RequestFacts } from '../../src/model/request.ts';
import type { IdentitySettings } from '../../src/settings.ts';
import { startKeyServer } from './key-server.ts';
import type { KeyServer } from './key-server.ts';
import { AUDIENCE, ISSUER, keySetBytes, NOW, NOW_MS, pairFor, publicJwk, requestWith, tokenOf } from './token-maker.ts';

const OKTA = '11111111-1111-1111-1111-111111111111';
const NAMESPACE = 'envoy.filters.http.jwt_authn';
const CLOUDFLARE = 'https://example.cloudflareaccess.com';

const keys = keySource(publicJwk(pairFor('ES256'), { kid: 'k1' }));
const unreachable: KeySource = {
  current: () => undefined,
  find: () => ({ state: 'unavailable', why: 'the key set could not be read' }),
};

function keySource(...jwks: readonly unknown[]): KeySource {
  const file = readKeySetFile(keySetBytes(...jwks));
  if (!('set' in file)) throw new Error(JSON.stringify(file.findings));
  return fixedKeySource(file.set);
}

function entry(more: Partial<TokenOptions> = {}): TokenOptions {
  return {
    issuer: ISSUER,
    audiences: [AUDIENCE],
    keys: { file: 'keys/jwks.json' },
    from: [{ header: 'cf-access-jwt-assertion' }, { cookie: 'CF_Authorization' }, { bearer: 'authorization' }],
    algorithms: ['ES256'],
    clock_skew_seconds: 30,
    provider: OKTA,
    claims: DEFAULT_CLAIM_PATHS,
    cloudflare: false,
    ...more,
  };
}

function options(more: Partial<IdentityOptions> = {}): IdentityOptions {
  return {
    providers: [{ id: OKTA, type: 'okta' }],
    tokens: [entry()],
    envoy_jwt_authn: { enabled: false, namespace: NAMESPACE, payloads: { payload: { claims: DEFAULT_CLAIM_PATHS } } },
    headers: { enabled: false, email: 'x-forwarded-email', groups: 'x-forwarded-groups' },
    ...more,
  };
}

/** What `keys.url` names in these tests: nothing that can be had. */
const surroundings: IdentitySurroundings = { keys: (option) => ('file' in option ? keys : unreachable) };

async function read(request: RequestFacts, more: Partial<IdentityOptions> = {}): Promise<IdentityReading> {
  return createIdentitySource(options(more), surroundings).read(request, NOW_MS);
}

/** The state, and who it is. */
function told({ fact }: IdentityReading): string {
  return fact.state === 'known' ? (fact.identity.subject ?? fact.identity.email ?? '?') : fact.state;
}

/** What is read of a token of these claims. */
function readClaims(
  claims: Readonly<Record<string, unknown>>,
  more: Partial<TokenOptions> = {},
): Promise<IdentityReading> {
  return read(requestWith({ authorization: `Bearer ${tokenOf({ claims })}` }), { tokens: [entry(more)] });
}

function cookies(...values: readonly string[]): RequestFacts {
  return requestWith({ cookie: values.map((value) => `CF_Authorization=${value}`).join('; ') });
}

function expiredOnes(count: number): string[] {
  return Array.from({ length: count }, (_, index) => tokenOf({ claims: { sub: `old-${index}`, exp: NOW - 60 } }));
}

const good = tokenOf();
const bob = tokenOf({ claims: { sub: 'bob' } });
const expired = tokenOf({ claims: { exp: NOW - 60 } });
const forged = tokenOf({ pair: pairFor('ES256', 'second') });

it('takes the settings as they are', () => {
  const settings: IdentitySettings = {
    ...options(),
    providers: [],
    tokens: [],
    envoy_jwt_authn: { enabled: false, namespace: NAMESPACE, payloads: {} },
    headers: { enabled: false, email: 'x-forwarded-email', groups: 'x-forwarded-groups', provider: undefined },
  };
  expect(createIdentitySource(settings, surroundings).read(requestWith({}), NOW_MS)).toBe(NOTHING_READ);
});

describe('where a token is found', () => {
  it.each([
    ['nowhere', {}, 'nobody', false],
    ['in the header', { 'cf-access-jwt-assertion': good }, 'user-1', true],
    ['in the header, with white space around', { 'cf-access-jwt-assertion': ` ${good} ` }, 'user-1', true],
    ['in the cookie', { cookie: `a=b; CF_Authorization=${good}` }, 'user-1', true],
    ['in authorization', { authorization: `Bearer ${good}` }, 'user-1', true],
    ['in authorization, any letter case', { authorization: `bEARER   ${good}` }, 'user-1', true],
    ['a blank header', { 'cf-access-jwt-assertion': '  ' }, 'nobody', false],
    [
      'a blank header, then the cookie',
      { 'cf-access-jwt-assertion': '', cookie: `CF_Authorization=${good}` },
      'user-1',
      true,
    ],
    ['an empty cookie', { cookie: 'CF_Authorization=' }, 'nobody', false],
    [
      'an empty cookie, then authorization',
      { cookie: 'CF_Authorization=', authorization: `Bearer ${good}` },
      'user-1',
      true,
    ],
    ['a cookie whose name only begins so', { cookie: `CF_Authorization2=${good}` }, 'nobody', false],
    ['another scheme', { authorization: 'Basic YTpi' }, 'nobody', false],
    ['another scheme with commas', { authorization: 'Digest username="ann", realm="a"' }, 'nobody', false],
    [
      'service credentials as JSON',
      { authorization: '{"cf-access-client-id":"a","cf-access-client-secret":"b"}' },
      'nobody',
      false,
    ],
    ['a scheme that only begins so', { authorization: `Bearerx ${good}` }, 'nobody', false],
    ['the first place wins', { 'cf-access-jwt-assertion': good, cookie: `CF_Authorization=${bob}` }, 'user-1', true],
    [
      'the first place wins, even with a bad token',
      { 'cf-access-jwt-assertion': expired, authorization: `Bearer ${good}` },
      'invalid',
      true,
    ],
    ['a bare Bearer', { authorization: 'Bearer' }, 'invalid', true],
    ['a bare Bearer with space', { authorization: 'Bearer  ' }, 'invalid', true],
    ['an opaque token', { authorization: 'Bearer opaque' }, 'invalid', true],
    ['a comma in the header', { 'cf-access-jwt-assertion': `${good},${good}` }, 'invalid', true],
    ['two headers', { 'cf-access-jwt-assertion': [good, good] }, 'invalid', true],
    ['two headers of authorization', { authorization: [`Bearer ${good}`, `Bearer ${good}`] }, 'invalid', true],
    ['a comma in authorization', { authorization: `Bearer ${good},${good}` }, 'invalid', true],
    ['a token behind another scheme', { authorization: `Basic YTpi, Bearer ${good}` }, 'invalid', true],
    ['bytes that are no text', { 'cf-access-jwt-assertion': `${good}\uFFFD` }, 'invalid', true],
    ['over 16384 characters', { 'cf-access-jwt-assertion': 'x'.repeat(16_385) }, 'invalid', true],
  ])('%s', async (_, headers, who, sent) => {
    const reading = await read(requestWith(headers));
    expect([told(reading), reading.sent]).toEqual([who, sent]);
  });

  it('a token in a bearer position of another header', () => {
    expect(readBearer(requestWith({ 'x-token': 'Bearer abc' }).headers, 'x-token')).toEqual({
      state: 'one',
      value: 'abc',
    });
  });
});

describe('several cookies of one name', () => {
  it.each([
    ['two, the first is good', [good, bob], 'user-1'],
    ['two, the second is good', [expired, good], 'user-1'],
    ['an empty one first', ['', good], 'user-1'],
    ['five, the last is good', [...expiredOnes(4), good], 'user-1'],
    ['six, the last is good', [...expiredOnes(5), good], 'invalid'],
    ['the same one six times, then a good one', [...Array.from({ length: 6 }, () => expired), good], 'user-1'],
    ['none is good', [expired, forged], 'invalid'],
    ['only empty ones', ['', ''], 'nobody'],
  ])('%s', async (_, values, who) => {
    expect(told(await read(cookies(...values)))).toBe(who);
  });

  it('where one cannot be verified and none is good, nobody can tell', async () => {
    const tokens = [entry(), entry({ issuer: 'https://b.example', keys: { url: 'https://b.example/keys' } })];
    const other = tokenOf({ claims: { iss: 'https://b.example' } });
    expect(told(await read(cookies(other, expired), { tokens }))).toBe('unavailable');
    expect(told(await read(cookies(expired, other), { tokens }))).toBe('unavailable');
    expect(told(await read(cookies(other, good), { tokens }))).toBe('user-1');
  });
});

describe('several issuers', () => {
  const second = 'https://b.example';
  const ofSecond = tokenOf({ claims: { iss: second, sub: 'of-second', aud: 'b' } });
  const tokens = [
    entry(),
    entry({
      issuer: second,
      audiences: ['b'],
      provider: undefined,
      from: [{ header: 'x-second' }, { bearer: 'authorization' }],
    }),
  ];

  it.each([
    ['at a place both list: the first', { authorization: `Bearer ${good}` }, 'user-1'],
    ['at a place both list: the second', { authorization: `Bearer ${ofSecond}` }, 'of-second'],
    [
      'at a place both list: neither',
      { authorization: `Bearer ${tokenOf({ claims: { iss: 'https://c.example' } })}` },
      'invalid',
    ],
    ['at a place that only the other lists', { 'cf-access-jwt-assertion': ofSecond }, 'invalid'],
    ['at a place that only the second lists', { 'x-second': ofSecond }, 'of-second'],
    ["the first entry's places come first", { 'x-second': ofSecond, cookie: `CF_Authorization=${good}` }, 'user-1'],
    [
      "the first entry's places come first, even its last",
      { 'x-second': ofSecond, authorization: `Bearer ${good}` },
      'user-1',
    ],
    [
      "a bad token at the first entry's place",
      { 'x-second': ofSecond, cookie: `CF_Authorization=${expired}` },
      'invalid',
    ],
  ])('%s', async (_, headers, who) => {
    expect(told(await read(requestWith(headers), { tokens }))).toBe(who);
  });
});

describe('the order of sources', () => {
  const all: Partial<IdentityOptions> = {
    envoy_jwt_authn: { ...options().envoy_jwt_authn, enabled: true },
    headers: { ...options().headers, enabled: true },
  };
  const metadata = { [NAMESPACE]: { payload: { sub: 'of-envoy' } } };

  it.each([
    ['a token', { authorization: `Bearer ${good}`, 'x-forwarded-email': 'h@example.com' }, metadata, 'user-1'],
    ["then Envoy's payload", { 'x-forwarded-email': 'h@example.com' }, metadata, 'of-envoy'],
    ['then headers', { 'x-forwarded-email': 'h@example.com' }, {}, 'h@example.com'],
    ['then nobody', {}, {}, 'nobody'],
    [
      'a bad token is not replaced',
      { authorization: `Bearer ${expired}`, 'x-forwarded-email': 'h@example.com' },
      metadata,
      'invalid',
    ],
    [
      'a bad payload is not replaced',
      { 'x-forwarded-email': 'h@example.com' },
      { [NAMESPACE]: { payload: 'x' } },
      'invalid',
    ],
    [
      'a payload that names nobody is not replaced',
      { 'x-forwarded-email': 'h@example.com' },
      { [NAMESPACE]: { payload: {} } },
      'nobody',
    ],
  ])('%s', async (_, headers, meta, who) => {
    expect(told(await read(requestWith(headers, meta), all))).toBe(who);
  });

  it('leaves out what is not enabled', async () => {
    expect(told(await read(requestWith({ 'x-forwarded-email': 'h@example.com' }, metadata)))).toBe('nobody');
  });
});

describe('whom a token names', () => {
  const service = {
    iss: CLOUDFLARE,
    type: 'app',
    sub: '',
    email: undefined,
    common_name: 'ci.access',
    aud: [AUDIENCE],
  };

  it.each([
    ['subject and e-mail', {}, 'user-1'],
    ['a subject alone', { email: undefined }, 'user-1'],
    ['an e-mail alone', { sub: undefined }, 'ann@example.com'],
    ['neither', { sub: undefined, email: undefined }, 'nobody'],
    ['an e-mail that is not verified, and no subject', { sub: '', email_verified: false }, 'nobody'],
  ])('%s', async (_, claims, who) => {
    const reading = await readClaims(claims);
    expect([told(reading), reading.serviceJwt]).toEqual([who, undefined]);
  });

  it('comes with the provider and the skew of its entry', async () => {
    expect((await readClaims({})).fact).toMatchObject({
      identity: { source: 'token', issuer: ISSUER, provider: { id: OKTA, type: 'okta' }, clockSkewSeconds: 30 },
    });
  });

  it.each([
    ['the token of a service', {}, CLOUDFLARE, 'ci.access'],
    ['no sub at all', { sub: undefined }, CLOUDFLARE, 'ci.access'],
    ['a subject', { sub: 'user-1' }, CLOUDFLARE, undefined],
    ['an e-mail', { email: 'ann@example.com' }, CLOUDFLARE, undefined],
    ['an e-mail that is none', { email: 'ann' }, CLOUDFLARE, undefined],
    ['another type', { type: 'org' }, CLOUDFLARE, undefined],
    ['no type', { type: undefined }, CLOUDFLARE, undefined],
    ['no common name', { common_name: undefined }, CLOUDFLARE, undefined],
    ['an empty common name', { common_name: '' }, CLOUDFLARE, undefined],
    ['a common name that is no text', { common_name: ['ci.access'] }, CLOUDFLARE, undefined],
    ['an issuer that is not Cloudflare', { iss: ISSUER }, ISSUER, undefined],
  ])('a service, by %s', async (_, claims, issuer, commonName) => {
    const reading = await readClaims({ ...service, ...claims }, { issuer });
    expect(reading.serviceJwt?.commonName).toBe(commonName);
    if (commonName !== undefined) expect(reading.fact.state).toBe('nobody');
  });

  it('a service, of an issuer that is said to be Cloudflare', async () => {
    const reading = await readClaims(
      { ...service, iss: 'https://access.example' },
      { issuer: 'https://access.example', cloudflare: true },
    );
    expect(reading).toMatchObject({
      fact: { state: 'nobody' },
      serviceJwt: { commonName: 'ci.access', audiences: [AUDIENCE] },
    });
  });
});

describe('the identity as an application sees it', () => {
  const any = { audiences: [], allowedProviders: [] };

  it.each([
    ['no conditions', {}, any, 'user-1'],
    ['its audience', { aud: ['x', AUDIENCE] }, { ...any, audiences: ['x', 'y'] }, 'user-1'],
    ['another audience', {}, { ...any, audiences: ['x', 'y'] }, 'invalid'],
    ['its provider', {}, { ...any, allowedProviders: [OKTA] }, 'user-1'],
    ['another provider', {}, { ...any, allowedProviders: ['22222222-2222-2222-2222-222222222222'] }, 'nobody'],
    ['another audience and another provider', {}, { audiences: ['x'], allowedProviders: ['z'] }, 'invalid'],
  ])('%s', async (_, claims, conditions, who) => {
    const reading = await read(requestWith({ authorization: `Bearer ${tokenOf({ claims })}` }));
    expect(told({ ...reading, fact: forApplication(reading, conditions) })).toBe(who);
  });

  it('a provider that is not stated is none of those that are allowed', async () => {
    const reading = await read(requestWith({ authorization: `Bearer ${good}` }), {
      tokens: [entry({ provider: undefined })],
    });
    expect(forApplication(reading, { ...any, allowedProviders: [OKTA] }).state).toBe('nobody');
  });

  it('headers state no audience, and so cannot have been meant for this one', async () => {
    const headers = { ...options().headers, enabled: true };
    const reading = await read(requestWith({ 'x-forwarded-email': 'ann@example.com' }), { headers });
    expect(forApplication(reading, any).state).toBe('known');
    expect(forApplication(reading, { ...any, audiences: ['x'] }).state).toBe('invalid');
  });

  it.each(['nobody', 'invalid', 'unavailable'] as const)('%s stays so', (state) => {
    const fact = { state, why: '' };
    const reading: IdentityReading = { fact, serviceJwt: undefined, sent: true };
    expect(forApplication(reading, { audiences: ['x'], allowedProviders: ['y'] })).toBe(fact);
  });

  it('what may pass is passed on as it is', async () => {
    const reading = await read(requestWith({ authorization: `Bearer ${good}` }));
    expect(forApplication(reading, { audiences: [AUDIENCE], allowedProviders: [OKTA] })).toBe(reading.fact);
  });

  it('a service JWT is seen by the application it is for, and is invalid elsewhere', () => {
    const serviceJwt = { commonName: 'ci.access', audiences: ['a'] };
    const reading: IdentityReading = { ...NOTHING_READ, serviceJwt, sent: true };
    expect(serviceJwtForApplication(reading, any)).toBe(serviceJwt);
    expect(serviceJwtForApplication(reading, { audiences: ['a'] })).toBe(serviceJwt);
    expect(serviceJwtForApplication(reading, { audiences: ['b'] })).toBeUndefined();
    expect(forApplication(reading, { ...any, audiences: ['a'] }).state).toBe('nobody');
    expect(forApplication(reading, { ...any, audiences: ['b'] }).state).toBe('invalid');
  });
});

describe('waiting', () => {
  it('a token that is known, no token, and one that is none need none', async () => {
    const results: string[] = [];
    const source = createIdentitySource(options(), {
      ...surroundings,
      onCacheRequest: (result) => results.push(result),
    });
    const request = requestWith({ 'cf-access-jwt-assertion': good });
    const first = await source.read(request, NOW_MS);
    expect(source.read(request, NOW_MS)).toBe(first);
    expect(source.read(requestWith({ cookie: `CF_Authorization=${good}` }), NOW_MS)).toBe(first);
    expect(results).toEqual(['miss', 'hit', 'hit']);
    expect(source.read(requestWith({}), NOW_MS)).toBe(NOTHING_READ);
    expect(source.read(requestWith({ authorization: 'Bearer opaque' }), NOW_MS)).not.toBeInstanceOf(Promise);
  });
});

describe('with an issuer that publishes its keys', () => {
  let server: KeyServer;
  beforeAll(async () => {
    server = await startKeyServer();
  });
  afterAll(() => server.close());

  it('a new key is found, a lost one is missed, and a server that is down leaves it open', async () => {
    const sets = createKeySets();
    const source = createIdentitySource(options({ tokens: [entry({ keys: { url: server.url } })] }), {
      keys: (option) => ('url' in option ? sets.source(option.url) : keys),
    });
    const whoIs = async (token: string): Promise<string> =>
      told(await source.read(requestWith({ authorization: `Bearer ${token}` }), NOW_MS));
    const rotated = tokenOf({ pair: pairFor('ES256', 'second'), header: { kid: 'k2' } });
    server.answer((_, response) => response.writeHead(500).end());
    expect(await whoIs(good)).toBe('unavailable');
    server.answerKeys([publicJwk(pairFor('ES256'), { kid: 'k1' })]);
    expect(await whoIs(good)).toBe('user-1');
    server.answerKeys([publicJwk(pairFor('ES256', 'second'), { kid: 'k2' })]);
    expect(await whoIs(rotated)).toBe('user-1');
    expect(await whoIs(good)).toBe('invalid');
    sets.stop();
  });
});
