import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compileClaims, DEFAULT_CLAIM_PATHS, readGroups } from '../../src/facts/claims.ts';
import type { ClaimMapping, ClaimPaths, Claims } from '../../src/facts/claims.ts';
import type { Identity } from '../../src/model/identity.ts';

const OKTA = '11111111-1111-1111-1111-111111111111';
const GITHUB = '22222222-2222-2222-2222-222222222222';
const providers = [
  { id: OKTA, type: 'okta' },
  { id: GITHUB, type: 'github' },
];

function identityOf(claims: Claims, paths: Partial<ClaimPaths> = {}, more: Partial<ClaimMapping> = {}): Identity {
  return compileClaims({
    paths: { ...DEFAULT_CLAIM_PATHS, ...paths },
    provider: undefined,
    providers,
    source: 'token',
    clockSkewSeconds: 30,
    ...more,
  })(claims);
}

it('a token with everything becomes an identity with everything', () => {
  const claims = {
    iss: 'https://login.example.com',
    aud: ['orders', 'billing'],
    sub: 'user-1',
    email: 'Ann@EXAMPLE.com',
    name: 'Ann',
    groups: ['Everyone'],
    amr: ['pwd', 'otp'],
    acr: 'loa2',
    auth_time: 1_700_000_000,
    iat: 1_700_000_001,
    exp: 1_700_000_601,
    sid: 's1',
    jti: 'j1',
    country: 'CA',
    devicePosture: { U: { success: true } },
    user_risk_score: 'Medium',
    saml_attributes: { dept: ['ops', 'eng'] },
    oidc_fields: { admin: true },
    acrs: ['c1', 'c3'],
    account_id: '023e105f4ecef8ad9ca31a8372d0c353',
    user_exists: false,
  };
  expect(identityOf(claims, {}, { provider: OKTA })).toEqual({
    source: 'token',
    issuer: 'https://login.example.com',
    audiences: ['orders', 'billing'],
    subject: 'user-1',
    email: 'ann@example.com',
    name: 'Ann',
    provider: { id: OKTA, type: 'okta' },
    groups: [{ id: 'Everyone', name: 'Everyone', email: undefined }],
    groupsIncomplete: false,
    groupsClaim: ['Everyone'],
    amr: ['pwd', 'otp'],
    acr: 'loa2',
    authTime: 1_700_000_000,
    issuedAt: 1_700_000_001,
    expiresAt: 1_700_000_601,
    session: 's1',
    tokenId: 'j1',
    country: 'CA',
    posture: new Map([['U', { success: true }]]),
    riskScore: 'Medium',
    samlAttributes: new Map([['dept', ['ops', 'eng']]]),
    oidcClaims: new Map([['admin', true]]),
    hasOidcFields: true,
    authContexts: ['c1', 'c3'],
    accounts: ['023e105f4ecef8ad9ca31a8372d0c353'],
    userExists: false,
    clockSkewSeconds: 30,
  } satisfies Identity);
});

it('a token with nothing becomes an identity with nothing', () => {
  expect(identityOf({})).toEqual({
    source: 'token',
    issuer: undefined,
    audiences: [],
    subject: undefined,
    email: undefined,
    name: undefined,
    provider: undefined,
    groups: [],
    groupsIncomplete: false,
    groupsClaim: undefined,
    amr: undefined,
    acr: undefined,
    authTime: undefined,
    issuedAt: undefined,
    expiresAt: undefined,
    session: undefined,
    tokenId: undefined,
    country: undefined,
    posture: undefined,
    riskScore: undefined,
    samlAttributes: new Map(),
    oidcClaims: new Map(),
    hasOidcFields: false,
    authContexts: [],
    accounts: [],
    userExists: true,
    clockSkewSeconds: 30,
  } satisfies Identity);
});

describe('a claim path', () => {
  it.each([
    ['a literal name', ['https://example.com/sub'], { 'https://example.com/sub': 'x' }, 'x'],
    ['a literal name with dots before the way down', ['a.b'], { 'a.b': 'x', a: { b: 'y' } }, 'x'],
    ['the way down', ['a.b'], { a: { b: 'y' } }, 'y'],
    ['the way down, where the literal name holds null', ['a.b'], { 'a.b': null, a: { b: 'y' } }, 'y'],
    ['nothing on the way', ['a.b.c'], { a: { b: 'y' } }, undefined],
    ['no index of a list', ['a.0'], { a: ['y'] }, undefined],
    ['no member of a text', ['a.length'], { a: 'yy' }, undefined],
    ['no inherited member', ['constructor.name'], { sub: 'x' }, undefined],
    ['no member of __proto__', ['__proto__.sub'], { sub: 'x' }, undefined],
    ['an own __proto__', ['__proto__.sub'], JSON.parse('{"__proto__":{"sub":"x"}}') as Claims, 'x'],
    ['the first path that holds a value', ['a', 'b', 'c'], { a: null, b: 'y', c: 'z' }, 'y'],
    ['the first path that holds a value, even of a wrong type', ['a', 'b'], { a: 5, b: 'y' }, undefined],
    ['no path that holds one', ['a', 'b'], { sub: 'x' }, undefined],
  ] as const)('is %s', (_, subject, claims, found) => {
    expect(identityOf(claims, { subject }).subject).toBe(found);
  });
});

describe('fields of the wrong type are absent', () => {
  it.each([
    ['subject', { sub: 5 }],
    ['subject', { sub: '' }],
    ['email', { email: ['ann@example.com'] }],
    ['email', { email: 'ann' }],
    ['email', { email: 'ann@localhost' }],
    ['email', { email: 'ann@example.com, bob@example.com' }],
    ['acr', { acr: 1 }],
    ['authTime', { auth_time: '1700000000' }],
    ['issuedAt', { iat: '1700000000' }],
    ['session', { sid: {} }],
    ['country', { country: 5 }],
    ['posture', { devicePosture: [] }],
    ['posture', { devicePosture: '{}' }],
    ['amr', { amr: 5 }],
    ['amr', { amr: {} }],
    ['amr', { amr: '' }],
    ['amr', { amr: [1, 2] }],
  ] as const)('%s of %j', (field, claims) => {
    expect(identityOf(claims)[field]).toBeUndefined();
  });
});

describe('e-mail', () => {
  it.each([
    [{ email: 'ANN@Bücher.Example' }, 'ann@xn--bcher-kva.example'],
    [{ email: 'ann+x@example.com' }, 'ann+x@example.com'],
    [{ email: 'ann@example.com', email_verified: true }, 'ann@example.com'],
    [{ email: 'ann@example.com', email_verified: null }, 'ann@example.com'],
    [{ email: 'ann@example.com', email_verified: false }, undefined],
    [{ email: 'ann@example.com', email_verified: 'false' }, undefined],
    [{ email: 'ann@example.com', email_verified: 'False' }, undefined],
    [{ email: 'ann@example.com', email_verified: 0 }, undefined],
    [{ email: 'ann@example.com', email_verified: '' }, undefined],
    [{ email: 'ann@example.com', email_verified: { toString: 1 } }, undefined],
    [{ email: 'ann@example.com', email_verified: 'True' }, 'ann@example.com'],
    [{ email: 'ann@example.com', email_verified: 1 }, 'ann@example.com'],
  ])('of %j is %s', (claims, email) => {
    expect(identityOf(claims).email).toBe(email);
  });
});

describe('amr', () => {
  it.each([
    [
      ['pwd', 'mfa'],
      ['pwd', 'mfa'],
    ],
    ['pwd mfa', ['pwd', 'mfa']],
    [' pwd  mfa ', ['pwd', 'mfa']],
    ['pwd', ['pwd']],
    [['pwd mfa'], ['pwd mfa']],
    [['pwd', 5], ['pwd']],
    [[], []],
  ])('of %j is %j', (amr, values) => {
    expect(identityOf({ amr }).amr).toEqual(values);
  });
});

describe('auth contexts and accounts', () => {
  it.each([
    ['c1', ['c1']],
    [
      ['c1', 'c2'],
      ['c1', 'c2'],
    ],
    [['c1', 2], ['c1']],
    ['c1 c2', ['c1 c2']],
    [5, []],
    [undefined, []],
  ])('of %j are %j', (value, values) => {
    const { authContexts, accounts } = identityOf({ acrs: value, account_id: value });
    expect([authContexts, accounts]).toEqual([values, values]);
  });
});

describe('whether the user exists', () => {
  it.each([
    [{}, true],
    [{ user_exists: true }, true],
    [{ user_exists: null }, true],
    [{ user_exists: 'false' }, true],
    [{ user_exists: 0 }, true],
    [{ user_exists: false }, false],
  ])('%j: %s', (claims, exists) => {
    expect(identityOf(claims).userExists).toBe(exists);
  });
});

describe('OIDC claims', () => {
  it.each([
    ['of their own object', { oidc_fields: { admin: true }, team: 'core' }, { admin: true }, true],
    ['of their own object, even an empty one', { oidc_fields: {}, team: 'core' }, {}, true],
    ["the token's own", { team: ['core'] }, { team: ['core'] }, false],
    [
      "the token's own, where there is no object",
      { oidc_fields: 'x', team: 'core' },
      { oidc_fields: 'x', team: 'core' },
      false,
    ],
  ])('are %s', (_, claims, found, own) => {
    const { oidcClaims, hasOidcFields } = identityOf(claims);
    expect([Object.fromEntries(oidcClaims), hasOidcFields]).toEqual([found, own]);
  });
});

describe('groups', () => {
  it.each([
    ['nothing', undefined, []],
    ['an empty list', [], []],
    ['one text', 'Everyone', [plain('Everyone')]],
    ['texts', ['Everyone', 'Core'], [plain('Everyone'), plain('Core')]],
    ['a text that is an address', ['Eng@Example.com'], [plain('Eng@Example.com', 'eng@example.com')]],
    ['one object', { id: '5f3a', name: 'Core' }, [{ id: '5f3a', name: 'Core', email: undefined }]],
    [
      'an object with an address',
      [{ email: 'Eng@example.com' }],
      [{ id: undefined, name: undefined, email: 'eng@example.com' }],
    ],
    [
      'an object with an address that is none',
      [{ id: 'a', email: 'eng' }],
      [{ id: 'a', name: undefined, email: undefined }],
    ],
    ['numbers', [5, 1.5, -7], [plain('5'), plain('1.5'), plain('-7')]],
    ['an object with a number', [{ id: 5 }], [{ id: '5', name: undefined, email: undefined }]],
    ['duplicates', ['a', 'a', { id: 'a' }, { id: 'a' }], [plain('a'), { id: 'a', name: undefined, email: undefined }]],
    ['what is no group', [null, true, [], ['a'], {}, '', { name: '' }], []],
  ])('of %s', (_, claim, list) => {
    expect(readGroups(claim, 'okta')).toEqual({ list, inexact: false });
  });

  it.each([
    ['organisation', 'acme', ['acme']],
    ['organisation and team', ['acme/core', 'ACME/core-team'], ['acme/core', 'ACME/core-team']],
    ['an object by name', [{ name: 'acme' }], ['acme']],
    ['an object by login', [{ login: 'acme', name: 'Acme Inc.' }], ['acme']],
    ['an object by organization', [{ organization: 'acme' }], ['acme']],
    ['a team', [{ name: 'acme', team: 'core' }], ['acme', 'acme/core']],
    [
      'a team by slug',
      [{ organization: 'acme', team: { name: 'Core Team', slug: 'core-team' } }],
      ['acme', 'acme/core-team'],
    ],
    [
      'several teams',
      [{ login: 'acme', teams: ['core', { name: 'Ops' }, { slug: 'web' }, 5, {}] }],
      ['acme', 'acme/core', 'acme/Ops', 'acme/web'],
    ],
    ['teams that are none', [{ name: 'acme', team: null, teams: null }], ['acme']],
    [
      'several organisations',
      [{ name: 'acme', teams: ['core'] }, { name: 'umbrella' }],
      ['acme', 'acme/core', 'umbrella'],
    ],
  ])('of GitHub: %s', (_, claim, names) => {
    for (const type of ['github', 'oidc', undefined]) {
      expect(readGroups(claim, type).list.map((group) => group.name)).toEqual(names);
    }
  });

  it('of other providers have no teams', () => {
    expect(
      readGroups([{ name: 'acme', organization: 'evil', team: 'core' }], 'okta').list.map(({ name }) => name),
    ).toEqual(['acme']);
  });

  it.each([
    ['no word of it', {}, undefined, false],
    ['distributed claims that name them', { _claim_names: { groups: 'src1' } }, undefined, true],
    ['distributed claims that name others', { _claim_names: { photo: 'src1' } }, undefined, false],
    ['distributed claims that are no object', { _claim_names: 'groups' }, undefined, false],
    ['hasgroups', { hasgroups: true }, undefined, true],
    ['hasgroups as text', { hasgroups: 'true' }, undefined, true],
    ['hasgroups: false', { hasgroups: false }, undefined, false],
    ['99 groups of Okta', { groups: groupsCounted(99) }, OKTA, false],
    ['100 groups of Okta', { groups: groupsCounted(100) }, OKTA, true],
    ['100 groups of GitHub', { groups: groupsCounted(100) }, GITHUB, false],
    ['a number that JSON cannot carry exactly', { groups: [2 ** 53] }, undefined, true],
  ])('are incomplete or not: %s', (_, claims, provider, incomplete) => {
    expect(identityOf(claims, {}, { provider }).groupsIncomplete).toBe(incomplete);
  });

  it('are incomplete where the claim that is mapped is elsewhere', () => {
    const claims = { _claim_names: { roles: 'src1' }, groups: ['a'] };
    expect(identityOf(claims, { groups: ['roles', 'groups'] }).groupsIncomplete).toBe(true);
  });
});

describe('the provider', () => {
  it.each([
    ['fixed', OKTA, {}, { id: OKTA, type: 'okta' }],
    ['fixed, in capitals', OKTA.toUpperCase(), {}, { id: OKTA, type: 'okta' }],
    ['of a claim', { claim: ['idp.id'] }, { idp: { id: GITHUB } }, { id: GITHUB, type: 'github' }],
    ['of a claim, not configured', { claim: ['idp.id'] }, { idp: { id: 'ABC' } }, { id: 'abc', type: undefined }],
    [
      'of a claim that every object has',
      { claim: ['idp'] },
      { idp: 'constructor' },
      { id: 'constructor', type: undefined },
    ],
    ['of a claim that is absent', { claim: ['idp.id'] }, {}, undefined],
    ['of a claim that is no text', { claim: ['idp.id'] }, { idp: { id: 5 } }, undefined],
    ['not stated', undefined, { idp: { id: GITHUB } }, undefined],
  ])('%s', (_, provider, claims, found) => {
    expect(identityOf(claims, {}, { provider }).provider).toEqual(found);
  });
});

it('whatever the claims are, mapping them never throws, and text stays text', () => {
  const names = [...Object.values(DEFAULT_CLAIM_PATHS).flat(), '_claim_names', 'hasgroups', 'aud', 'idp', '__proto__'];
  fc.assert(
    fc.property(fc.dictionary(fc.constantFrom(...names), fc.jsonValue({ maxDepth: 3 })), (claims) => {
      const identity = identityOf(claims, {}, { provider: { claim: ['idp'] } });
      for (const text of [identity.subject, identity.email, identity.acr, identity.session, identity.provider?.id]) {
        expect(['string', 'undefined']).toContain(typeof text);
      }
      for (const { id, name, email } of identity.groups) {
        expect([id, name, email].some((one) => one !== undefined)).toBe(true);
      }
    }),
  );
});

function plain(text: string, email?: string): object {
  return { id: text, name: text, email };
}

function groupsCounted(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `g${index}`);
}
