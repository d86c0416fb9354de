import { describe, expect, it } from 'vitest';
import { DEFAULT_CLAIM_PATHS } from '../../src/facts/claims.ts';
import type { TokenOptions } from '../../src/facts/identity.ts';
import { fixedKeySource, readKeySetFile } from '../../src/facts/key-set.ts';
import type { KeySource } from '../../src/facts/key-set.ts';
import { createLinkedTokens } from '../../src/facts/linked-token.ts';
import type { LinkedTokenFact } from '../../src/model/context.ts';
import { ISSUER, keySetBytes, NOW, NOW_MS, pairFor, publicJwk, requestWith, tokenOf } from './token-maker.ts';

const A = '9a4b2f0e-3f55-4a57-9b0e-00000000000a';
const B = '9a4b2f0e-3f55-4a57-9b0e-00000000000b';
const DOWN = '9a4b2f0e-3f55-4a57-9b0e-00000000000d';
const OWN_ISSUER = 'https://oauth.example.com';

const unreachable: KeySource = { current: () => undefined, find: () => ({ state: 'unavailable', why: 'down' }) };

function keySource(pair = pairFor('ES256')): KeySource {
  const file = readKeySetFile(keySetBytes(publicJwk(pair, { kid: 'k1' })));
  if (!('set' in file)) throw new Error(JSON.stringify(file.findings));
  return fixedKeySource(file.set);
}

const files = new Map([
  ['identity.json', keySource()],
  ['issued.json', keySource(pairFor('ES256', 'second'))],
]);

const entry: TokenOptions = {
  issuer: ISSUER,
  audiences: ['somebody-else'],
  keys: { file: 'identity.json' },
  from: [{ bearer: 'authorization' }],
  algorithms: ['ES256'],
  clock_skew_seconds: 60,
  claims: { ...DEFAULT_CLAIM_PATHS, email: ['mail'] },
  cloudflare: false,
};

const linked = createLinkedTokens(
  {
    applications: [
      { id: A, audiences: ['aud-of-a'], issuedTokens: undefined },
      {
        id: B.toUpperCase(),
        audiences: ['aud-of-b'],
        issuedTokens: { issuer: OWN_ISSUER, audiences: ['api'], keys: { file: 'issued.json' }, algorithms: ['ES256'] },
      },
      {
        id: DOWN,
        audiences: [],
        issuedTokens: {
          issuer: OWN_ISSUER,
          audiences: ['api'],
          keys: { url: 'https://down.example/keys' },
          algorithms: ['ES256'],
        },
      },
    ],
    tokens: [entry, { ...entry, issuer: 'https://b.example' }],
  },
  { keys: (option) => ('file' in option ? (files.get(option.file) ?? unreachable) : unreachable) },
);

async function read(application: string, headers: Parameters<typeof requestWith>[0]): Promise<LinkedTokenFact> {
  return linked.read(application, requestWith(headers), NOW_MS);
}

const ofA = tokenOf({ claims: { aud: 'aud-of-a', mail: 'ann@example.com' } });
const ofB = tokenOf({ pair: pairFor('ES256', 'second'), claims: { iss: OWN_ISSUER, aud: ['api'] } });

describe('a token of a linked application', () => {
  it.each([
    ['none', A, {}, 'unmet'],
    ['cf-access-token, with the audience of A', A, { 'cf-access-token': ofA }, 'met'],
    ['bearer, with the audience of A', A, { authorization: `Bearer ${ofA}` }, 'met'],
    [
      'bearer, of another issuer of identities',
      A,
      { authorization: `Bearer ${tokenOf({ claims: { iss: 'https://b.example', aud: 'aud-of-a' } })}` },
      'met',
    ],
    [
      "the issuer's own audience",
      A,
      { authorization: `Bearer ${tokenOf({ claims: { aud: 'somebody-else' } })}` },
      'unmet',
    ],
    ['the audience of B', A, { authorization: `Bearer ${tokenOf({ claims: { aud: 'aud-of-b' } })}` }, 'unmet'],
    ['opaque', A, { authorization: 'Bearer opaque' }, 'unmet'],
    ['expired', A, { 'cf-access-token': tokenOf({ claims: { aud: 'aud-of-a', exp: NOW - 60 } }) }, 'unmet'],
    [
      'expired within the skew of its entry',
      A,
      { 'cf-access-token': tokenOf({ claims: { aud: 'aud-of-a', exp: NOW - 59 } }) },
      'met',
    ],
    [
      'forged',
      A,
      { 'cf-access-token': tokenOf({ pair: pairFor('ES256', 'second'), claims: { aud: 'aud-of-a' } }) },
      'unmet',
    ],
    ['two headers', A, { 'cf-access-token': [ofA, ofA] }, 'unmet'],
    ['a comma', A, { 'cf-access-token': `${ofA},${ofA}` }, 'unmet'],
    ['an unacceptable one first', A, { 'cf-access-token': 'opaque', authorization: `Bearer ${ofA}` }, 'unmet'],
    ['a blank one first', A, { 'cf-access-token': ' ', authorization: `Bearer ${ofA}` }, 'met'],
    ['another scheme', A, { authorization: 'Basic YTpi' }, 'unmet'],
    ['issued by B itself', B, { authorization: `Bearer ${ofB}` }, 'met'],
    ['of B, asked for by an id in capitals', B.toUpperCase(), { authorization: `Bearer ${ofB}` }, 'met'],
    [
      'of an issuer of identities, with the audience of B',
      B,
      { authorization: `Bearer ${tokenOf({ claims: { aud: 'aud-of-b' } })}` },
      'unmet',
    ],
    ['issued by B, shown to A', A, { authorization: `Bearer ${ofB}` }, 'unmet'],
    ['keys that cannot be had', DOWN, { authorization: `Bearer ${ofB}` }, 'unavailable'],
    ['opaque, where keys cannot be had', DOWN, { authorization: 'Bearer opaque' }, 'unmet'],
    [
      'an application that is not known',
      '9a4b2f0e-3f55-4a57-9b0e-00000000000f',
      { authorization: `Bearer ${ofA}` },
      'unmet',
    ],
  ])('%s', async (_, application, headers, verdict) => {
    expect((await read(application, headers)).verdict).toBe(verdict);
  });

  it('says who it is of, for the upstream', async () => {
    expect(await read(A, { 'cf-access-token': ofA })).toEqual({
      verdict: 'met',
      identity: { subject: 'user-1', email: 'ann@example.com' },
    });
    expect(await read(B, { 'cf-access-token': ofB })).toEqual({
      verdict: 'met',
      identity: { subject: 'user-1', email: 'ann@example.com' },
    });
  });

  it('is known at once the next time', async () => {
    const first = await read(A, { 'cf-access-token': ofA });
    expect(linked.read(A, requestWith({ authorization: `Bearer ${ofA}` }), NOW_MS)).toBe(first);
  });
});
