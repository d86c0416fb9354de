import { describe, expect, it } from 'vitest';
import type { Verdict } from '../../src/model/verdict.ts';
import { ruleTypes } from '../../src/rules/registry.ts';
import {
  ann,
  certified,
  contextOf,
  from,
  inCountry,
  invalidToken,
  judgeOf,
  loggedIn,
  nobody,
  PLACE,
  PROVIDERS,
  scopeOf,
  unverifiableToken,
} from './contexts.ts';
import type { Facts, ProviderName } from './contexts.ts';

const { OKTA, ENTRA, GH, GOOG, SAML, OIDC } = PROVIDERS;
const LIST = 'aaaaaaaa-0000-4000-8000-000000000001';
const EMPTY_LIST = 'aaaaaaaa-0000-4000-8000-000000000002';
const IP_LIST = 'bbbbbbbb-0000-4000-8000-000000000001';
const EMPTY_IP_LIST = 'bbbbbbbb-0000-4000-8000-000000000002';
const TOKEN = 'cccccccc-0000-4000-8000-000000000001';
const APPLICATION = 'dddddddd-0000-4000-8000-000000000001';
const ENTRA_GROUP = '5f3a0000-0000-4000-8000-000000000001';
const ACCOUNT = '023e105f4ecef8ad9ca31a8372d0c353';
const UID = 'eeeeeeee-0000-4000-8000-000000000001';
const EVALUATE = 'https://policy.example.com/evaluate';
const KEYS = 'https://policy.example.com/keys';

const parts = {
  lists: [
    list(LIST, 'EMAIL', ['ANN@example.com']),
    list(EMPTY_LIST, 'EMAIL', []),
    list(IP_LIST, 'IP', ['198.51.100.4', '10.0.0.0/8']),
    list(EMPTY_IP_LIST, 'IP', []),
  ],
  serviceTokens: [{ id: TOKEN, name: 'ci', client_id: 'ci.access', client_secret_sha256: '', place: PLACE }],
  applications: [{ id: APPLICATION, issuesTokens: true }],
  groups: {
    G: { include: [{ email_domain: { domain: 'example.com' } }] },
    H: { include: [{ group: { id: 'G' } }], exclude: [{ geo: { country_code: 'KP' } }] },
  },
  accounts: [ACCOUNT],
  evaluationHosts: ['policy.example.com'],
};
const scope = scopeOf(parts);
const headerScope = scopeOf({ ...parts, postureFromIdentity: false, riskScoreFromIdentity: false });

const posture = { device_posture: { integration_uid: UID } };
const login = { login_method: { id: OKTA.id } };
const mfa = { auth_method: { auth_method: 'mfa' } };
const c1 = { auth_context: { id: 'a3f1', ac_id: 'c1', identity_provider_id: ENTRA.id } };
const entraGroup = { azureAD: { id: ENTRA_GROUP, identity_provider_id: ENTRA.id } };
const account = { cloudflare_account_member: { account_id: ACCOUNT } };
const evaluation = { external_evaluation: { evaluate_url: EVALUATE, keys_url: KEYS } };
const mail = { email: { email: 'ann@example.com' } };
const domain = { email_domain: { domain: 'example.com' } };
const emails = { email_list: { id: LIST } };
const addresses = { ip_list: { id: IP_LIST } };
const everyone = { everyone: {} };
const anyToken = { any_valid_service_token: {} };
const token = { service_token: { token_id: TOKEN } };
const certificate = { certificate: {} };
const api = { common_name: { common_name: 'api' } };
const linked = { linked_app_token: { app_uid: APPLICATION } };

const valid = credentials({ state: 'valid', tokenId: TOKEN, name: 'ci', clientId: 'ci.access' });
const otherValid = credentials({
  state: 'valid',
  tokenId: 'cccccccc-0000-4000-8000-000000000009',
  name: 'other',
  clientId: 'other.access',
});
const refused = credentials({ state: 'refused', why: 'wrong secret' });
const malformed = credentials({ state: 'malformed', why: 'no secret' });

const noEmail = loggedIn({ sub: 'x' });
const hundred = Array.from({ length: 100 }, (_, number) => `group ${number}`);

/** What the caller is, in words; what was gathered; the verdict. */
type Row = readonly [facts: string, gathered: Facts, verdict: Verdict];

const EXAMPLES: readonly (readonly [rule: string, written: unknown, rows: readonly Row[]])[] = [
  [
    'group G (include email_domain example.com)',
    { group: { id: 'G' } },
    [
      ['ann', ann(), 'met'],
      ['bob@other.example', ann({ email: 'bob@other.example' }), 'unmet'],
      ['nobody', nobody, 'no_identity'],
    ],
  ],
  [
    'group H (include G, exclude geo KP)',
    { group: { id: 'H' } },
    [
      ['ann, from KP', { ...ann(), ...inCountry('KP') }, 'unmet'],
      ['ann, from CA', { ...ann(), ...inCountry('CA') }, 'met'],
      ['ann, no location source', { ...ann(), ...inCountry(undefined) }, 'unavailable'],
    ],
  ],
  [
    'any_valid_service_token',
    anyToken,
    [
      ['id and secret of ci', valid, 'met'],
      ['no such headers', {}, 'unmet'],
      ['id of ci, wrong secret', refused, 'unmet'],
      ['ci, but disabled or expired', credentials({ state: 'refused', why: 'expired' }), 'unmet'],
      ['one of the two headers', malformed, 'unmet'],
      ['Access service JWT of ci', valid, 'met'],
    ],
  ],
  [
    'auth_context c1',
    c1,
    [
      ['ENTRA, acrs ["c1","c3"]', ann({ acrs: ['c1', 'c3'] }, 'ENTRA'), 'met'],
      ['ENTRA, acrs "c1"', ann({ acrs: 'c1' }, 'ENTRA'), 'met'],
      ['ENTRA, acrs ["c2"]', ann({ acrs: ['c2'] }, 'ENTRA'), 'unmet'],
      ['ENTRA, acrs ["C1"]', ann({ acrs: ['C1'] }, 'ENTRA'), 'unmet'],
      ['ENTRA, no acrs', ann({}, 'ENTRA'), 'unmet'],
      ['OKTA, acrs ["c1"]', ann({ acrs: ['c1'] }, 'OKTA'), 'unmet'],
      ['acrs ["c1"], provider not stated', through(undefined, { acrs: ['c1'] }), 'not_stated'],
      ['nobody', nobody, 'no_identity'],
    ],
  ],
  [
    'auth_method mfa',
    mfa,
    [
      ['amr ["pwd","mfa"]', ann({ amr: ['pwd', 'mfa'] }), 'met'],
      ['amr "pwd mfa"', ann({ amr: 'pwd mfa' }), 'met'],
      ['amr ["pwd"]', ann({ amr: ['pwd'] }), 'unmet'],
      ['amr ["MFA"]', ann({ amr: ['MFA'] }), 'unmet'],
      ['amr []', ann({ amr: [] }), 'unmet'],
      ['no amr claim', ann(), 'not_stated'],
      ['nobody', nobody, 'no_identity'],
    ],
  ],
  [
    'azureAD 5f3a…',
    entraGroup,
    [
      ['ENTRA, groups ["5F3A…"]', ann({ groups: [ENTRA_GROUP.toUpperCase()] }, 'ENTRA'), 'met'],
      ['ENTRA, groups [{"id":"5f3a…"}]', ann({ groups: [{ id: ENTRA_GROUP }] }, 'ENTRA'), 'met'],
      ['ENTRA, another group', ann({ groups: ['5f3a'] }, 'ENTRA'), 'unmet'],
      ['ENTRA, no groups claim', ann({}, 'ENTRA'), 'unmet'],
      ['ENTRA, _claim_names', ann({ _claim_names: { groups: 'src1' } }, 'ENTRA'), 'unavailable'],
      ['ENTRA, hasgroups', ann({ hasgroups: true }, 'ENTRA'), 'unavailable'],
      [
        'ENTRA, _claim_names, and the group all the same',
        ann({ groups: [ENTRA_GROUP], _claim_names: { groups: 'src1' } }, 'ENTRA'),
        'met',
      ],
      ['OIDC, groups ["5f3a…"]', ann({ groups: [ENTRA_GROUP] }, 'OIDC'), 'unmet'],
      ['groups ["5f3a…"], provider claim absent', through(undefined, { groups: [ENTRA_GROUP] }), 'not_stated'],
      ['nobody', nobody, 'no_identity'],
      ['token of keys that cannot be had', unverifiableToken, 'unavailable'],
    ],
  ],
  [
    'certificate',
    certificate,
    [
      ['certificate, verified by Envoy', certified(), 'met'],
      ['none presented', {}, 'unmet'],
      ['presented, past its end', certified({ verified: 'no' }), 'unmet'],
      ['presented, nobody verifies', certified({ verified: 'no' }), 'unmet'],
      ['source.certificate is not PEM', { certificate: { state: 'unreadable', why: 'no PEM' } }, 'unavailable'],
      ['authorities, but no PEM', certified({ verified: 'unknown' }), 'unavailable'],
    ],
  ],
  [
    'common_name api',
    api,
    [
      ['verified, CN=api', certified(), 'met'],
      [
        'verified, CN web, DNS SAN api',
        certified({ commonName: { state: 'one', value: 'web' }, dnsNames: ['api'] }),
        'unmet',
      ],
      ['verified, CN API', certified({ commonName: { state: 'one', value: 'API' } }), 'unmet'],
      ['verified, no CN', certified({ commonName: { state: 'none' } }), 'unmet'],
      ['no certificate; service JWT claim common_name: api', { ...valid, ...nobody }, 'unmet'],
      ['no certificate; token claim common_name: api', ann({ common_name: 'api' }), 'unmet'],
      ['verified, CN=api,CN=web', certified({ commonName: { state: 'several' } }), 'not_stated'],
      ['principal spiffe://acme/api, no PEM', certified({ commonName: { state: 'hidden' } }), 'unavailable'],
      ['CN=api, not verified', certified({ verified: 'no' }), 'unmet'],
      ['CN=api, cannot be verified', certified({ verified: 'unknown' }), 'unavailable'],
      [
        'CN=web, cannot be verified',
        certified({ verified: 'unknown', commonName: { state: 'one', value: 'web' } }),
        'unmet',
      ],
      ['unreadable', { certificate: { state: 'unreadable', why: 'no PEM' } }, 'unavailable'],
    ],
  ],
  [
    'geo CA',
    { geo: { country_code: 'CA' } },
    [
      ['address in Canada', inCountry('CA'), 'met'],
      ['address in no database', inCountry('XX'), 'unmet'],
      ['source.address is a pipe, no country header', inCountry(undefined), 'unavailable'],
      ['not gathered', {}, 'unavailable'],
      ['the token says CA, the address FR', { ...ann({ country: 'CA' }), ...inCountry('FR') }, 'unmet'],
    ],
  ],
  ['geo ca', { geo: { country_code: 'ca' } }, [['address in Canada', inCountry('CA'), 'met']]],
  ['geo XX', { geo: { country_code: 'XX' } }, [['address in no database', inCountry('XX'), 'met']]],
  ['geo T1', { geo: { country_code: 'T1' } }, [['trusted country header T1', inCountry('T1', 'header'), 'met']]],
  [
    'device_posture U',
    posture,
    [
      ['{"U":{"success":true}}', ann({ devicePosture: { [UID]: { success: true, timestamp: '2026' } } }), 'met'],
      ['the uid in capitals', ann({ devicePosture: { [UID.toUpperCase()]: { success: true } } }), 'met'],
      ['{"U":{"success":false}}', ann({ devicePosture: { [UID]: { success: false } } }), 'unmet'],
      ['"true" as text', ann({ devicePosture: { [UID]: { success: 'true' } } }), 'unmet'],
      ['the entry is true', ann({ devicePosture: { [UID]: true } }), 'unmet'],
      ['ann, no posture claim', ann(), 'unmet'],
      ['ann, other uids only', ann({ devicePosture: { other: { success: true } } }), 'unmet'],
      ['nobody', nobody, 'no_identity'],
    ],
  ],
  [
    'email_domain example.com',
    domain,
    [
      ['Ann@EXAMPLE.com', ann({ email: 'Ann@EXAMPLE.com' }), 'met'],
      ['ann@sub.example.com', ann({ email: 'ann@sub.example.com' }), 'unmet'],
      ['ann@notexample.com', ann({ email: 'ann@notexample.com' }), 'unmet'],
      ['ann, email_verified: false', ann({ email_verified: false }), 'not_stated'],
      ['nobody', nobody, 'no_identity'],
    ],
  ],
  ['email_domain @example.com', { email_domain: { domain: '@example.com' } }, [['ann', ann(), 'met']]],
  [
    'email_domain bücher.example',
    { email_domain: { domain: 'bücher.example' } },
    [
      ['ann@xn--bcher-kva.example', ann({ email: 'ann@xn--bcher-kva.example' }), 'met'],
      ['ann@Bücher.example', ann({ email: 'ann@Bücher.example' }), 'met'],
    ],
  ],
  [
    'email_list L (ANN@example.com)',
    emails,
    [
      ['ann', ann(), 'met'],
      ['bob@example.com', ann({ email: 'bob@example.com' }), 'unmet'],
      ['identity without e-mail', noEmail, 'not_stated'],
      ['token expired', invalidToken, 'no_identity'],
    ],
  ],
  ['email_list of no items', { email_list: { id: EMPTY_LIST } }, [['ann', ann(), 'unmet']]],
  [
    'email ann@example.com',
    mail,
    [
      ['ANN@example.com', ann({ email: 'ANN@example.com' }), 'met'],
      ['ann+x@example.com', ann({ email: 'ann+x@example.com' }), 'unmet'],
      ['nobody', nobody, 'no_identity'],
      ['identity without e-mail', noEmail, 'not_stated'],
      ['an e-mail claim that is no address', ann({ email: 'ann' }), 'not_stated'],
      ['token of keys that cannot be had', unverifiableToken, 'unavailable'],
    ],
  ],
  [
    'everyone',
    everyone,
    [
      ['ann', ann(), 'met'],
      ['nobody', nobody, 'met'],
      ['service token only', valid, 'met'],
      ['token invalid', invalidToken, 'met'],
    ],
  ],
  [
    'external_evaluation',
    evaluation,
    [
      ['signed, nonce ours, success: true', { ...ann(), ...evaluated('met') }, 'met'],
      ['signed, nonce ours, success: false', { ...ann(), ...evaluated('unmet') }, 'unmet'],
      ['no answer in time, or 403, or a redirect', { ...ann(), ...evaluated('unavailable') }, 'unavailable'],
      ['signed success: true, other nonce or past exp', { ...ann(), ...evaluated('unavailable') }, 'unavailable'],
      ['not asked', ann(), 'unavailable'],
      ['nobody (not called)', nobody, 'no_identity'],
      ['nobody, and an answer nobody asked for', { ...nobody, ...evaluated('met') }, 'no_identity'],
    ],
  ],
  [
    'github-organization acme',
    { 'github-organization': { name: 'acme', identity_provider_id: GH.id } },
    [
      ['GH, groups ["acme/core"]', ann({ groups: ['acme/core'] }, 'GH'), 'met'],
      ['GH, groups ["Acme"]', ann({ groups: ['Acme'] }, 'GH'), 'met'],
      ['GH, groups [{ login: "acme" }]', ann({ groups: [{ login: 'acme' }] }, 'GH'), 'met'],
      ['GH, groups ["acme2"]', ann({ groups: ['acme2'] }, 'GH'), 'unmet'],
      ['OKTA, groups ["acme"]', ann({ groups: ['acme'] }, 'OKTA'), 'unmet'],
      ['nobody', nobody, 'no_identity'],
    ],
  ],
  [
    'github-organization acme, Core Team',
    { 'github-organization': { name: 'acme', team: 'Core Team', identity_provider_id: GH.id } },
    [
      ['GH, groups ["ACME/core-team"]', ann({ groups: ['ACME/core-team'] }, 'GH'), 'met'],
      ['GH, groups ["acme/Core Team"]', ann({ groups: ['acme/Core Team'] }, 'GH'), 'met'],
      [
        'GH, groups [{ organization, teams }]',
        ann({ groups: [{ organization: 'acme', teams: [{ name: 'Core Team', slug: 'core-team' }] }] }, 'GH'),
        'met',
      ],
      ['GH, groups ["other/core-team"]', ann({ groups: ['other/core-team'] }, 'GH'), 'unmet'],
    ],
  ],
  [
    'github-organization acme, core',
    { 'github-organization': { name: 'acme', team: 'core', identity_provider_id: GH.id } },
    [
      ['GH, groups ["acme"]', ann({ groups: ['acme'] }, 'GH'), 'unmet'],
      ['GH, groups ["acme/core2"]', ann({ groups: ['acme/core2'] }, 'GH'), 'unmet'],
      ['GH, groups ["acme/Core"]', ann({ groups: ['acme/Core'] }, 'GH'), 'met'],
    ],
  ],
  [
    'github-organization acme, C++',
    { 'github-organization': { name: 'acme', team: 'C++', identity_provider_id: GH.id } },
    [
      ['GH, groups ["acme/C#"], which would have the same slug', ann({ groups: ['acme/C#'] }, 'GH'), 'unmet'],
      ['GH, groups ["acme/c"], the slug', ann({ groups: ['acme/c'] }, 'GH'), 'met'],
    ],
  ],
  [
    'github-organization acme, 開発',
    { 'github-organization': { name: 'acme', team: '開発', identity_provider_id: GH.id } },
    [
      ['GH, groups ["acme/人事"]', ann({ groups: ['acme/人事'] }, 'GH'), 'unmet'],
      ['GH, groups ["acme/開発"]', ann({ groups: ['acme/開発'] }, 'GH'), 'met'],
    ],
  ],
  [
    'github-organization acme, 開発 a',
    { 'github-organization': { name: 'acme', team: '開発 a', identity_provider_id: GH.id } },
    [
      ['GH, groups ["acme/a"]', ann({ groups: ['acme/a'] }, 'GH'), 'unmet'],
      ['GH, groups ["acme/開発-a"]', ann({ groups: ['acme/開発-a'] }, 'GH'), 'met'],
    ],
  ],
  [
    'github-organization acme, team empty',
    { 'github-organization': { name: 'acme', team: '', identity_provider_id: GH.id } },
    [['GH, groups ["acme"]', ann({ groups: ['acme'] }, 'GH'), 'met']],
  ],
  [
    'github-organization acme, team null',
    { 'github-organization': { name: 'acme', team: null, identity_provider_id: GH.id } },
    [['GH, groups ["acme"]', ann({ groups: ['acme'] }, 'GH'), 'met']],
  ],
  [
    'gsuite eng@example.com',
    { gsuite: { email: 'eng@example.com', identity_provider_id: GOOG.id } },
    [
      ['GOOG, groups ["Eng@example.com"]', ann({ groups: ['Eng@example.com'] }, 'GOOG'), 'met'],
      ['GOOG, groups [{"email":"eng@example.com"}]', ann({ groups: [{ email: 'eng@example.com' }] }, 'GOOG'), 'met'],
      ['GOOG, groups ["eng"]', ann({ groups: ['eng'] }, 'GOOG'), 'unmet'],
      ['OKTA, groups ["eng@example.com"]', ann({ groups: ['eng@example.com'] }, 'OKTA'), 'unmet'],
      ['nobody', nobody, 'no_identity'],
    ],
  ],
  [
    'login_method OKTA',
    login,
    [
      ['ann through OKTA', ann(), 'met'],
      ['ann through ENTRA', ann({}, 'ENTRA'), 'unmet'],
      ['ann, provider claim absent', through(undefined), 'not_stated'],
      ['nobody', nobody, 'no_identity'],
    ],
  ],
  [
    'login_method OKTA, in capitals',
    { login_method: { id: OKTA.id.toUpperCase() } },
    [['ann through OKTA', ann(), 'met']],
  ],
  [
    'ip_list (198.51.100.4, 10.0.0.0/8)',
    addresses,
    [
      ['10.1.2.3', from('10.1.2.3'), 'met'],
      ['198.51.100.4', from('198.51.100.4'), 'met'],
      ['198.51.100.5', from('198.51.100.5'), 'unmet'],
      ['no client address', from(undefined), 'unavailable'],
    ],
  ],
  ['ip_list of no items', { ip_list: { id: EMPTY_IP_LIST } }, [['10.1.2.3', from('10.1.2.3'), 'unmet']]],
  ['ip 192.168.100.1/24', { ip: { ip: '192.168.100.1/24' } }, [['192.168.100.77', from('192.168.100.77'), 'met']]],
  [
    'ip 203.0.113.0/24',
    { ip: { ip: '203.0.113.0/24' } },
    [
      ['::ffff:203.0.113.9', from('::ffff:203.0.113.9'), 'met'],
      ['no client address', from(undefined), 'unavailable'],
    ],
  ],
  ['ip 0.0.0.0/0', { ip: { ip: '0.0.0.0/0' } }, [['2001:db8::1', from('2001:db8::1'), 'unmet']]],
  ['ip ::/0', { ip: { ip: '::/0' } }, [['203.0.113.7', from('203.0.113.7'), 'unmet']]],
  ['ip ::ffff:203.0.113.7', { ip: { ip: '::ffff:203.0.113.7' } }, [['203.0.113.7', from('203.0.113.7'), 'met']]],
  [
    'ip 203.0.113.7',
    { ip: { ip: '203.0.113.7' } },
    [
      ['203.0.113.8', from('203.0.113.8'), 'unmet'],
      ['203.0.113.7', from('203.0.113.7'), 'met'],
    ],
  ],
  [
    'okta Everyone',
    { okta: { name: 'Everyone', identity_provider_id: OKTA.id } },
    [
      ['OKTA, groups ["Everyone","Core"]', ann({ groups: ['Everyone', 'Core'] }), 'met'],
      ['OKTA, groups [{"name":"Everyone"}]', ann({ groups: [{ id: '00g1', name: 'Everyone' }] }), 'met'],
      ['OKTA, groups ["everyone"]', ann({ groups: ['everyone'] }), 'unmet'],
      ['ENTRA, groups ["Everyone"]', ann({ groups: ['Everyone'] }, 'ENTRA'), 'unmet'],
    ],
  ],
  [
    'okta Core',
    { okta: { name: 'Core', identity_provider_id: OKTA.id } },
    [
      ['OKTA, 100 groups, none of them Core', ann({ groups: hundred }), 'unavailable'],
      ['OKTA, 100 groups, one of them Core', ann({ groups: [...hundred.slice(1), 'Core'] }), 'met'],
      ['OKTA, 99 groups, none of them Core', ann({ groups: hundred.slice(1) }), 'unmet'],
    ],
  ],
  [
    'okta Core, by connection_id as in old exports',
    { okta: { name: 'Core', connection_id: OKTA.id } },
    [['OKTA, groups ["Core"]', ann({ groups: ['Core'] }), 'met']],
  ],
  [
    'saml dept = eng',
    { saml: { attribute_name: 'dept', attribute_value: 'eng', identity_provider_id: SAML.id } },
    [
      ['SAML, dept: ["ops","eng"]', ann({ saml_attributes: { dept: ['ops', 'eng'] } }, 'SAML'), 'met'],
      ['SAML, dept: "eng"', ann({ saml_attributes: { dept: 'eng' } }, 'SAML'), 'met'],
      ['SAML, dept: "engineering"', ann({ saml_attributes: { dept: 'engineering' } }, 'SAML'), 'unmet'],
      ['SAML, dept: "ops,eng"', ann({ saml_attributes: { dept: 'ops,eng' } }, 'SAML'), 'unmet'],
      ['SAML, no such attribute', ann({ saml_attributes: { Dept: 'eng' } }, 'SAML'), 'unmet'],
      ['SAML, no attributes', ann({}, 'SAML'), 'unmet'],
      ['OKTA, dept: "eng"', ann({ saml_attributes: { dept: 'eng' } }), 'unmet'],
      ['nobody', nobody, 'no_identity'],
    ],
  ],
  [
    'saml __proto__ = eng',
    { saml: { attribute_name: '__proto__', attribute_value: 'eng', identity_provider_id: SAML.id } },
    [['SAML, dept: "eng"', ann({ saml_attributes: { dept: 'eng' } }, 'SAML'), 'unmet']],
  ],
  [
    'oidc admin = true',
    { oidc: { claim_name: 'admin', claim_value: 'true', identity_provider_id: OIDC.id } },
    [
      ['OIDC, oidc_fields: {"admin": true}', ann({ oidc_fields: { admin: true } }, 'OIDC'), 'met'],
      ['OIDC, oidc_fields: {"admin": "true"}', ann({ oidc_fields: { admin: 'true' } }, 'OIDC'), 'met'],
      ['OIDC, oidc_fields: {"admin": 1}', ann({ oidc_fields: { admin: 1 } }, 'OIDC'), 'unmet'],
    ],
  ],
  [
    'oidc level = 7',
    { oidc: { claim_name: 'level', claim_value: '7', identity_provider_id: OIDC.id } },
    [
      ['OIDC, level: 7', ann({ level: 7 }, 'OIDC'), 'met'],
      ['OIDC, level: [3, 7]', ann({ level: [3, 7] }, 'OIDC'), 'met'],
      ['OIDC, level: [[7]]', ann({ level: [[7]] }, 'OIDC'), 'unmet'],
    ],
  ],
  [
    'oidc missing = null',
    { oidc: { claim_name: 'missing', claim_value: 'null', identity_provider_id: OIDC.id } },
    [
      ['OIDC, missing: null', ann({ missing: null }, 'OIDC'), 'unmet'],
      ['OIDC, missing: [null]', ann({ missing: [null] }, 'OIDC'), 'unmet'],
    ],
  ],
  [
    'oidc team = core',
    { oidc: { claim_name: 'team', claim_value: 'core', identity_provider_id: OIDC.id } },
    [
      ['OIDC, no oidc_fields, token claim team: ["core"]', ann({ team: ['core'] }, 'OIDC'), 'met'],
      ['OIDC, oidc_fields: {}, token claim team: "core"', ann({ oidc_fields: {}, team: 'core' }, 'OIDC'), 'unmet'],
      ['OIDC, team: {"name":"core"}', ann({ team: { name: 'core' } }, 'OIDC'), 'unmet'],
      ['OKTA, team: "core"', ann({ team: 'core' }), 'unmet'],
      ['nobody', nobody, 'no_identity'],
    ],
  ],
  [
    'service_token T',
    token,
    [
      ['id and secret of T', valid, 'met'],
      ['id and previous secret of T, before its end', valid, 'met'],
      ['valid credentials of U', otherValid, 'unmet'],
      ['id of T without secret', malformed, 'unmet'],
      ['id of T, wrong secret', refused, 'unmet'],
      ['no credentials', {}, 'unmet'],
    ],
  ],
  [
    'service_token T, in capitals',
    { service_token: { token_id: TOKEN.toUpperCase() } },
    [['id and secret of T', valid, 'met']],
  ],
  [
    'linked_app_token A',
    linked,
    [
      ['cf-access-token: JWT, aud of A, in date', linkedToken('met'), 'met'],
      ['bearer JWT, aud of B', linkedToken('unmet'), 'unmet'],
      ['bearer opaque string, or none', linkedToken('unmet'), 'unmet'],
      ['JWT whose keys cannot be had', linkedToken('unavailable'), 'unavailable'],
      ['not looked for', {}, 'unavailable'],
    ],
  ],
  [
    'linked_app_token A, in capitals',
    { linked_app_token: { app_uid: APPLICATION.toUpperCase() } },
    [['cf-access-token: JWT, aud of A, in date', linkedToken('met'), 'met']],
  ],
  [
    'user_risk_score low, medium',
    { user_risk_score: { user_risk_score: ['low', 'medium'] } },
    [
      ['ann, user_risk_score: "Medium"', ann({ user_risk_score: 'Medium' }), 'met'],
      ['ann, user_risk_score: "high"', ann({ user_risk_score: 'high' }), 'unmet'],
      ['ann, no score', ann(), 'unmet'],
      ['ann, user_risk_score: "severe"', ann({ user_risk_score: 'severe' }), 'not_stated'],
      ['ann, user_risk_score: 3', ann({ user_risk_score: 3 }), 'not_stated'],
      ['ann, user_risk_score: ["low"]', ann({ user_risk_score: ['low'] }), 'not_stated'],
    ],
  ],
  [
    'user_risk_score unscored',
    { user_risk_score: { user_risk_score: ['unscored'] } },
    [['ann, no score', ann(), 'met']],
  ],
  ['user_risk_score high', { user_risk_score: { user_risk_score: ['high'] } }, [['nobody', nobody, 'no_identity']]],
  [
    'cloudflare_account_member 023e…',
    account,
    [
      ['CF, account_id: "023e…"', ann({ account_id: ACCOUNT }, 'CF'), 'met'],
      ['CF, account_id in capitals, in a list', ann({ account_id: ['x', ACCOUNT.toUpperCase()] }, 'CF'), 'met'],
      ['CF, other account', ann({ account_id: 'ffff' }, 'CF'), 'unmet'],
      ['CF, none', ann({}, 'CF'), 'unmet'],
      ['OKTA, account_id: "023e…"', ann({ account_id: ACCOUNT }, 'OKTA'), 'unmet'],
      ['provider not stated', through(undefined, { account_id: ACCOUNT }), 'not_stated'],
      ['nobody', nobody, 'no_identity'],
    ],
  ],
  [
    'cloudflare_account_member, any of admin.accounts',
    { cloudflare_account_member: {} },
    [
      ['CF, account_id: "023e…"', ann({ account_id: ACCOUNT }, 'CF'), 'met'],
      ['CF, other account', ann({ account_id: 'ffff' }, 'CF'), 'unmet'],
    ],
  ],
];

describe.each(EXAMPLES)('%s', (_, written, rows) => {
  it.each(rows)('%s', (__, gathered, verdict) => {
    expect(judgeOf(written, scope)(contextOf(gathered))).toBe(verdict);
  });
});

describe('device_posture where a header or the metadata has it', () => {
  it.each<Row>([
    ['nobody, passed', known({ [UID]: { success: true } }), 'met'],
    ['nobody, not passed', known({ [UID]: { success: false } }), 'unmet'],
    ['the header holds {"U":', { posture: { state: 'unavailable', why: 'broken JSON' } }, 'unavailable'],
    ['not gathered', {}, 'unavailable'],
    ['not gathered; the token says it passed', ann({ devicePosture: { [UID]: { success: true } } }), 'unavailable'],
  ])('%s', (_, gathered, verdict) => {
    expect(judgeOf(posture, headerScope)(contextOf(gathered))).toBe(verdict);
  });
});

describe('user_risk_score low where Postern keeps the levels itself', () => {
  const low = { user_risk_score: { user_risk_score: ['low'] } };
  it.each<Row>([
    ['ann, low', { ...ann(), riskScore: { state: 'known', level: 'low' } }, 'met'],
    ['ann, none', { ...ann(), riskScore: { state: 'known', level: undefined } }, 'unmet'],
    ['the state store failed', { ...ann(), riskScore: { state: 'unavailable', why: 'timeout' } }, 'unavailable'],
    ['not gathered; the token says low', ann({ user_risk_score: 'low' }), 'unavailable'],
    ['nobody', { riskScore: { state: 'known', level: 'low' } }, 'no_identity'],
  ])('%s', (_, gathered, verdict) => {
    expect(judgeOf(low, headerScope)(contextOf(gathered))).toBe(verdict);
  });
});

it('has met and unmet examples of every type, and unknown ones of every type that can be unknown', () => {
  const seen = new Map<string, Set<string>>();
  for (const [, written, rows] of EXAMPLES) {
    const [word = ''] = Object.keys(written as object);
    const verdicts = seen.get(word) ?? new Set();
    seen.set(word, verdicts);
    for (const [, , verdict] of rows) verdicts.add(verdict === 'met' || verdict === 'unmet' ? verdict : 'unknown');
  }
  const missing = [...ruleTypes.keys()].flatMap((word) =>
    ['met', 'unmet', 'unknown']
      .filter((verdict) => !seen.get(word)?.has(verdict))
      .map((verdict) => `${word} ${verdict}`),
  );
  expect(missing.toSorted()).toEqual([
    'any_valid_service_token unknown',
    'everyone unknown',
    'everyone unmet',
    'service_token unknown',
  ]);
});

function list(id: string, type: string, items: readonly string[]) {
  return { id, name: type, type, items: items.map((value) => ({ value })), place: PLACE };
}

function credentials(serviceCredentials: NonNullable<Facts['serviceCredentials']>): Facts {
  return { serviceCredentials };
}

function through(provider: ProviderName | undefined, claims: Record<string, unknown> = {}): Facts {
  const facts = loggedIn({ sub: 'ann', email: 'ann@example.com', ...claims }, provider ?? 'OKTA');
  if (provider !== undefined || facts.identity?.state !== 'known') return facts;
  return { identity: { state: 'known', identity: { ...facts.identity.identity, provider: undefined } } };
}

function evaluated(verdict: Verdict): Facts {
  return { evaluations: new Map([[`${EVALUATE}\n${KEYS}`, verdict]]) };
}

function linkedToken(verdict: Verdict): Facts {
  return { linkedTokens: new Map([[APPLICATION, { verdict }]]) };
}

function known(entries: Record<string, unknown>): Facts {
  return { posture: { state: 'known', entries: new Map(Object.entries(entries)) } };
}
