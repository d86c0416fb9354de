import { describe, expect, it } from 'vitest';
import { createIdentityHeaders } from '../../src/facts/identity-headers.ts';
import { requestWith } from './token-maker.ts';

const PROVIDER = '11111111-1111-1111-1111-111111111111';

const read = createIdentityHeaders(
  { email: 'x-forwarded-email', groups: 'x-forwarded-groups', provider: PROVIDER.toUpperCase() },
  [{ id: PROVIDER, type: 'github' }],
);

describe('an identity in plain headers', () => {
  it.each([
    ['no header', {}, undefined],
    ['a blank one', { 'x-forwarded-email': '  ' }, undefined],
    ['groups alone', { 'x-forwarded-groups': 'staff' }, undefined],
    ['an address', { 'x-forwarded-email': ' Ann@EXAMPLE.com ' }, 'known'],
    ['a comma', { 'x-forwarded-email': 'ann@example.com,bob@example.com' }, 'invalid'],
    ['two values', { 'x-forwarded-email': ['ann@example.com', 'bob@example.com'] }, 'invalid'],
    ['no address', { 'x-forwarded-email': 'ann' }, 'invalid'],
    ['bytes that are no text', { 'x-forwarded-email': 'ann\uFFFD@example.com' }, 'invalid'],
  ])('%s', (_, headers, state) => {
    expect(read(requestWith(headers))?.state).toBe(state);
  });

  it('has an address, groups and a provider, and nothing else', () => {
    const request = requestWith({
      'x-forwarded-email': 'Ann@EXAMPLE.com',
      'x-forwarded-groups': ' acme/core, staff,,',
    });
    expect(read(request)).toMatchObject({
      state: 'known',
      identity: {
        source: 'headers',
        subject: undefined,
        email: 'ann@example.com',
        provider: { id: PROVIDER, type: 'github' },
        groups: [{ name: 'acme/core' }, { name: 'staff' }],
        groupsIncomplete: false,
        amr: undefined,
        authTime: undefined,
        issuedAt: undefined,
        posture: undefined,
        audiences: [],
      },
    });
  });

  it('has the groups of all its headers', () => {
    const headers = { 'x-forwarded-email': 'ann@example.com', 'x-forwarded-groups': ['a,b', 'c'] };
    expect(read(requestWith(headers))).toMatchObject({ identity: { groupsClaim: ['a', 'b', 'c'] } });
  });

  it('cannot tell of groups in a header that cannot be read', () => {
    const headers = { 'x-forwarded-email': 'ann@example.com', 'x-forwarded-groups': 'a,\uFFFD' };
    expect(read(requestWith(headers))).toMatchObject({ identity: { groups: [], groupsIncomplete: true } });
  });
});
