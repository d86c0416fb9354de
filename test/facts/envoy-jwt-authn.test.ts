import { describe, expect, it } from 'vitest';
import { DEFAULT_CLAIM_PATHS } from '../../src/facts/claims.ts';
import { createEnvoyJwtAuthn } from '../../src/facts/envoy-jwt-authn.ts';
import { NOW, NOW_MS, requestWith } from './token-maker.ts';

const NAMESPACE = 'envoy.filters.http.jwt_authn';
const PROVIDER = '11111111-1111-1111-1111-111111111111';

const read = createEnvoyJwtAuthn(
  {
    namespace: NAMESPACE,
    payloads: {
      payload: { provider: PROVIDER, claims: DEFAULT_CLAIM_PATHS },
      other: { claims: { ...DEFAULT_CLAIM_PATHS, email: ['upn'] } },
    },
  },
  [{ id: PROVIDER, type: 'okta' }],
);

const good = {
  iss: 'https://login.example.com',
  sub: 'user-1',
  email: 'ann@example.com',
  exp: NOW + 600,
  aud: ['orders'],
};

describe("the payload of Envoy's jwt_authn filter", () => {
  it.each([
    ['no metadata', undefined, undefined],
    ['another key', { someone: good }, undefined],
    ['a key that every object has', { constructor: good }, undefined],
    ['a payload', { payload: good }, 'known'],
    ['the second key', { other: { sub: 'user-1' } }, 'known'],
    ['nobody in it', { payload: { iss: 'x', name: 'Ann' } }, 'nobody'],
    ['no exp', { payload: { ...good, exp: undefined } }, 'known'],
    ['expired within the skew', { payload: { ...good, exp: NOW - 29 } }, 'known'],
    ['expired', { payload: { ...good, exp: NOW - 30 } }, 'invalid'],
    ['not valid yet', { payload: { ...good, nbf: NOW + 31 } }, 'invalid'],
    ['exp that is no number', { payload: { ...good, exp: 'soon' } }, 'invalid'],
    ['text', { payload: 'eyJ' }, 'invalid'],
    ['a list', { payload: [good] }, 'invalid'],
    ['null', { payload: null }, 'invalid'],
    ['a bad first key, with a good second', { payload: 'eyJ', other: good }, 'invalid'],
  ])('%s', (_, metadata, state) => {
    const request = requestWith({}, metadata === undefined ? {} : { [NAMESPACE]: metadata });
    expect(read(request, NOW_MS)?.state).toBe(state);
  });

  it('is read as its key says', () => {
    const metadata = { [NAMESPACE]: { payload: good } };
    expect(read(requestWith({}, metadata), NOW_MS)).toMatchObject({
      state: 'known',
      identity: {
        source: 'envoy_jwt_authn',
        issuer: 'https://login.example.com',
        audiences: ['orders'],
        subject: 'user-1',
        email: 'ann@example.com',
        provider: { id: PROVIDER, type: 'okta' },
        clockSkewSeconds: 30,
      },
    });
    const second = read(requestWith({}, { [NAMESPACE]: { other: { upn: 'bob@example.com' } } }), NOW_MS);
    expect(second).toMatchObject({ state: 'known', identity: { email: 'bob@example.com', provider: undefined } });
  });

  it('is plain data on null prototypes, with doubles for numbers', () => {
    const payload: Record<string, unknown> = Object.assign(Object.create(null), {
      ...good,
      auth_time: 1_700_000_000.0,
    });
    const metadata: Record<string, unknown> = Object.assign(Object.create(null), { payload });
    expect(read(requestWith({}, { [NAMESPACE]: metadata }), NOW_MS)).toMatchObject({
      state: 'known',
      identity: { authTime: 1_700_000_000 },
    });
  });
});
