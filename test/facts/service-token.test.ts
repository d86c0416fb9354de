import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { createServiceTokens, secretHeaders } from '../../src/facts/service-token.ts';
import type { CredentialPlaces } from '../../src/facts/service-token.ts';
import type { ServiceCredentialsFact } from '../../src/model/facts.ts';
import type { ServiceTokenObject } from '../../src/model/objects.ts';
import { connectionRequest } from './connection-request.ts';
import type { ConnectionRequest } from './connection-request.ts';

const NOW = Date.parse('2026-06-01T00:00:00Z');
const ID = 'cf-access-client-id';
const SECRET = 'cf-access-client-secret';

const TOKENS = createServiceTokens([
  token('ci', { client_secret_sha256: digest('s3cret') }),
  token('off', { enabled: false, previous_client_secret_sha256: digest('old') }),
  token('on', { enabled: true }),
  token('ends', { expires_at: '2026-06-01T02:00:00+02:00' }),
  token('later', { expires_at: '2026-06-01T00:00:00.001Z' }),
  token('broken-date', { expires_at: 'soon' }),
  token('rotated', {
    previous_client_secret_sha256: digest('old').toUpperCase(),
    previous_client_secret_expires_at: '2026-06-01T00:00:00.001Z',
  }),
  token('rotated-ended', {
    previous_client_secret_sha256: digest('old'),
    previous_client_secret_expires_at: '2026-06-01T00:00:00Z',
  }),
  token('rotated-open', { previous_client_secret_sha256: digest('old') }),
  token('zero', { client_secret_sha256: 'hello', previous_client_secret_sha256: '0'.repeat(64) }),
]);

const PLACES: CredentialPlaces = { header: 'authorization', serviceJwt: undefined };

function read(headers: ConnectionRequest['headers'], places: Partial<CredentialPlaces> = {}): ServiceCredentialsFact {
  return TOKENS.read(connectionRequest(headers ? { headers } : {}), { ...PLACES, ...places }, NOW);
}

const two = (id: string, secret: string): Record<string, string> => ({ [ID]: id, [SECRET]: secret });
const json = (id: unknown, secret: unknown): string => JSON.stringify({ [ID]: id, [SECRET]: secret });
const valid = (name: string): ServiceCredentialsFact => ({
  state: 'valid',
  tokenId: `id-${name}`,
  name,
  clientId: `${name}.access`,
});

describe('credentials', () => {
  it.each<[string, ConnectionRequest['headers'], ServiceCredentialsFact]>([
    ['two headers', two('ci.access', 's3cret'), valid('ci')],
    ['two headers with white space', two(' ci.access ', ' s3cret '), valid('ci')],
    ['one header', { authorization: json('ci.access', 's3cret') }, valid('ci')],
    [
      'one header with white space and another member',
      { authorization: ` {"x":1,${json('ci.access', 's3cret').slice(1)} ` },
      valid('ci'),
    ],
    ['enabled: true', two('on.access', 's3cret'), valid('on')],
    ['an end to come', two('later.access', 's3cret'), valid('later')],
    ['the current secret after rotation', two('rotated.access', 's3cret'), valid('rotated')],
    ['the previous secret until its end', two('rotated.access', 'old'), valid('rotated')],
    ['the previous secret without end', two('rotated-open.access', 'old'), valid('rotated-open')],
    ['the current secret when the previous has ended', two('rotated-ended.access', 's3cret'), valid('rotated-ended')],
  ])('are valid: %s', (_, headers, expected) => {
    expect(read(headers)).toEqual(expected);
  });

  it.each<[string, ConnectionRequest['headers'], string]>([
    ['nothing', {}, 'absent'],
    ['both empty', two('', ' '), 'absent'],
    ['a bearer token', { authorization: 'Bearer abc' }, 'absent'],
    ['a long bearer token', { authorization: `Bearer ${'a'.repeat(3000)}` }, 'absent'],
    ['two bearer tokens', { authorization: ['Bearer a', 'Bearer b'] }, 'absent'],
    ['JSON in another header', { 'x-other': json('ci.access', 's3cret') }, 'absent'],

    ['only an id', { [ID]: 'ci.access' }, 'malformed'],
    ['only a secret', { [SECRET]: 's3cret' }, 'malformed'],
    ['an empty id', two('', 's3cret'), 'malformed'],
    ['an empty secret', two('ci.access', ''), 'malformed'],
    ['a joined id', two('ci.access,ci.access', 's3cret'), 'malformed'],
    ['a joined secret', two('ci.access', 's3cret,s3cret'), 'malformed'],
    ['two ids', { [ID]: ['ci.access', 'ci.access'], [SECRET]: 's3cret' }, 'malformed'],
    ['two secrets', { [ID]: 'ci.access', [SECRET]: ['s3cret', 's3cret'] }, 'malformed'],
    ['an unreadable secret', two('ci.access', 's3cret\uFFFD'), 'malformed'],
    ['both styles', { ...two('ci.access', 's3cret'), authorization: json('ci.access', 's3cret') }, 'malformed'],
    ['both styles, one broken', { [ID]: 'ci.access', authorization: '{' }, 'malformed'],
    ['broken JSON', { authorization: '{"cf-access-client-id":' }, 'malformed'],
    ['two objects', { authorization: `${json('ci.access', 's3cret')},${json('ci.access', 's3cret')}` }, 'malformed'],
    ['two values, one an object', { authorization: [json('ci.access', 's3cret'), 'Bearer x'] }, 'malformed'],
    ['no id in JSON', { authorization: `{"${SECRET}":"s3cret"}` }, 'malformed'],
    ['an empty secret in JSON', { authorization: json('ci.access', '') }, 'malformed'],
    ['a number in JSON', { authorization: json('ci.access', 5) }, 'malformed'],
    ['an inherited member', { authorization: `{"__proto__":${json('ci.access', 's3cret')}}` }, 'malformed'],
    ['a long id', two('a'.repeat(1025), 's3cret'), 'malformed'],
    ['a long secret', two('ci.access', 'a'.repeat(1025)), 'malformed'],
    ['a long secret in bytes', two('ci.access', 'é'.repeat(513)), 'malformed'],
    ['a long object', { authorization: json('ci.access', 'a'.repeat(1024)) }, 'malformed'],

    ['an unknown id', two('nobody.access', 's3cret'), 'refused'],
    ['an id in another case', two('CI.access', 's3cret'), 'refused'],
    ['the token’s id in place of its client id', two('id-ci', 's3cret'), 'refused'],
    ['a wrong secret', two('ci.access', 'S3cret'), 'refused'],
    ['the digest for a secret', two('ci.access', digest('s3cret')), 'refused'],
    ['a wrong secret in JSON', { authorization: json('ci.access', 'x') }, 'refused'],
    ['a secret of the greatest length', two('ci.access', 'a'.repeat(1024)), 'refused'],
    ['disabled, current', two('off.access', 's3cret'), 'refused'],
    ['disabled, previous', two('off.access', 'old'), 'refused'],
    ['ended at this instant', two('ends.access', 's3cret'), 'refused'],
    ['an end that is no date', two('broken-date.access', 's3cret'), 'refused'],
    ['a previous secret ended at this instant', two('rotated-ended.access', 'old'), 'refused'],
    ['an old secret where there is none', two('ci.access', 'old'), 'refused'],
    ['a digest that is none', two('zero.access', 'hello'), 'refused'],
  ])('%s: %s', (_, headers, state) => {
    expect(read(headers).state).toBe(state);
  });

  it('are looked for in one header only where one is named', () => {
    const headers = { authorization: json('ci.access', 's3cret') };
    expect(read(headers, { header: undefined }).state).toBe('absent');
    expect(read({ 'x-token': json('ci.access', 's3cret') }, { header: 'x-token' })).toEqual(valid('ci'));
  });

  it('never appear in what is said of them', () => {
    const marker = 'MARKER-SECRET';
    for (const headers of [two('ci.access', marker), two(marker, ''), { authorization: `{"${SECRET}":"${marker}"` }]) {
      expect(JSON.stringify(read(headers))).not.toContain(marker);
    }
  });
});

describe('an Access service JWT', () => {
  it.each<[string, ConnectionRequest['headers'], string, string]>([
    ['of a listed token', {}, 'ci.access', 'valid'],
    ['with empty headers', two('', ''), 'ci.access', 'valid'],
    ['beside a bearer token', { authorization: 'Bearer x' }, 'ci.access', 'valid'],
    ['of a token that is not listed', {}, 'nobody.access', 'refused'],
    ['of a disabled token', {}, 'off.access', 'refused'],
    ['of an ended token', {}, 'ends.access', 'refused'],
    ['beside wrong credentials', two('ci.access', 'x'), 'ci.access', 'refused'],
    ['beside malformed credentials', { [ID]: 'ci.access' }, 'ci.access', 'malformed'],
  ])('%s', (_, headers, serviceJwt, state) => {
    expect(read(headers, { serviceJwt }).state).toBe(state);
  });

  it('yields to credentials in headers', () => {
    expect(read(two('on.access', 's3cret'), { serviceJwt: 'ci.access' })).toEqual(valid('on'));
    expect(read({}, { serviceJwt: 'ci.access' })).toEqual(valid('ci'));
  });
});

describe('secretHeaders', () => {
  it.each<[string, ConnectionRequest['headers'], string | undefined, readonly string[]]>([
    ['always', {}, undefined, [SECRET]],
    ['a bearer token stays', { authorization: 'Bearer x' }, 'authorization', [SECRET]],
    ['an object', { authorization: json('ci.access', 's3cret') }, 'authorization', [SECRET, 'authorization']],
    ['a broken object', { authorization: ' {' }, 'authorization', [SECRET, 'authorization']],
    ['one of two', { authorization: ['Bearer x', json('a', 'b')] }, 'authorization', [SECRET, 'authorization']],
    ['joined', { authorization: `Bearer x,${json('a', 'b')}` }, 'authorization', [SECRET, 'authorization']],
    ['a header nobody named', { authorization: json('a', 'b') }, undefined, [SECRET]],
  ])('%s', (_, headers, header, expected) => {
    expect(secretHeaders(connectionRequest(headers ? { headers } : {}), header)).toEqual(expected);
  });
});

function token(name: string, changes: Partial<ServiceTokenObject>): ServiceTokenObject {
  return {
    id: `id-${name}`,
    name,
    client_id: `${name}.access`,
    client_secret_sha256: digest('s3cret'),
    place: { file: 'tokens.yaml', path: [] },
    ...changes,
  };
}

function digest(secret: string): string {
  return createHash('sha256').update(secret).digest('hex');
}
