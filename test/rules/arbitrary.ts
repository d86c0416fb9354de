/** Generated values and facts of every rule type, from small pools, so that they often meet. */
import * as fc from 'fast-check';
import type { CertificateFact, PostureFact, RiskScoreFact, ServiceCredentialsFact } from '../../src/model/facts.ts';
import type { Verdict } from '../../src/model/verdict.ts';
import {
  certified,
  from,
  inCountry,
  invalidToken,
  loggedIn,
  nobody,
  PROVIDERS,
  unverifiableToken,
} from './contexts.ts';
import type { Facts, ProviderName } from './contexts.ts';

export const IDS = ['aaaaaaaa-0000-4000-8000-000000000001', 'aaaaaaaa-0000-4000-8000-000000000002'];
const WORDS = ['core', 'Core Team', 'core-team', 'c1', 'true', '7'];
const MAILS = ['ann@example.com', 'bob@example.com', 'ann@sub.example.com', 'eng@other.example'];
export const URLS = ['https://policy.example.com/a', 'https://policy.example.com/b'];

const provider = fc.constantFrom<ProviderName>('OKTA', 'ENTRA', 'CF');
const providerId = provider.map((name) => PROVIDERS[name].id);
const text = fc.constantFrom(...WORDS);

/** Word → values as users write them. */
export const VALUES: Readonly<Record<string, fc.Arbitrary<unknown>>> = {
  everyone: fc.constant({}),
  any_valid_service_token: fc.constant({}),
  service_token: fc.record({ token_id: fc.constantFrom(...IDS) }),
  certificate: fc.constant({}),
  common_name: fc.record({ common_name: fc.constantFrom('api', 'web') }),
  login_method: fc.record({ id: providerId }),
  email: fc.record({ email: fc.constantFrom(...MAILS) }),
  geo: fc.record({ country_code: fc.constantFrom('CA', 'FR', 'XX', 'T1') }),
  email_domain: fc.record({ domain: fc.constantFrom('example.com', 'sub.example.com', 'other.example') }),
  email_list: fc.constant({ id: IDS[0] }),
  ip: fc.record({ ip: fc.constantFrom('10.0.0.0/8', '10.128.0.0/9', '192.0.2.1', '2001:db8::/32', '::/0') }),
  ip_list: fc.constant({ id: IDS[1] }),
  auth_method: fc.record({ auth_method: fc.constantFrom('pwd', 'mfa') }),
  cloudflare_account_member: fc.oneof(
    fc.constant({}),
    fc.record({ account_id: fc.constantFrom('account-1', 'account-2') }),
  ),
  user_risk_score: fc.record({
    user_risk_score: fc.array(fc.constantFrom('low', 'medium', 'high', 'unscored'), { minLength: 1, maxLength: 3 }),
  }),
  auth_context: fc.record({ id: text, ac_id: text, identity_provider_id: providerId }),
  okta: fc.record({ name: text, identity_provider_id: providerId }),
  azureAD: fc.record({ id: text, identity_provider_id: providerId }),
  gsuite: fc.record({ email: fc.constantFrom(...MAILS), identity_provider_id: providerId }),
  'github-organization': fc.record(
    { name: text, team: fc.constantFrom('core', 'Core Team', 'core-team'), identity_provider_id: providerId },
    { requiredKeys: ['name', 'identity_provider_id'] },
  ),
  saml: fc.record({ attribute_name: text, attribute_value: text, identity_provider_id: providerId }),
  oidc: fc.record({ claim_name: text, claim_value: text, identity_provider_id: providerId }),
  device_posture: fc.record({ integration_uid: fc.constantFrom(...IDS, 'u') }),
  linked_app_token: fc.record({ app_uid: fc.constantFrom(...IDS) }),
  external_evaluation: fc.record({ evaluate_url: fc.constantFrom(...URLS), keys_url: fc.constantFrom(...URLS) }),
  group: fc.record({ id: fc.constantFrom('offices', 'staff') }),
};

const claimValue = fc.oneof(text, fc.constantFrom(7, true, null), fc.array(fc.oneof(text, fc.constant(7))));
const claims = fc.record(
  {
    email: fc.constantFrom(...MAILS, 'none'),
    groups: fc.array(
      fc.oneof(text, fc.constantFrom(...MAILS, 'core/core-team', { id: 'core' }, { name: 'Core Team' })),
      {
        maxLength: 3,
      },
    ),
    hasgroups: fc.boolean(),
    amr: fc.array(fc.constantFrom('pwd', 'mfa'), { maxLength: 2 }),
    acrs: fc.array(text, { maxLength: 2 }),
    account_id: fc.constantFrom('account-1', 'account-2', 'account-3'),
    user_risk_score: fc.constantFrom('low', 'High', 'severe', 3),
    saml_attributes: fc.dictionary(text, claimValue, { maxKeys: 3 }),
    oidc_fields: fc.dictionary(text, claimValue, { maxKeys: 3 }),
    devicePosture: fc.dictionary(
      fc.constantFrom(...IDS, 'u'),
      fc.record({ success: fc.constantFrom(true, false, 'true') }),
    ),
  },
  { requiredKeys: [] },
);
const identity: fc.Arbitrary<Facts> = fc.oneof(
  { weight: 1, arbitrary: fc.constantFrom(nobody, invalidToken, unverifiableToken) },
  { weight: 4, arbitrary: fc.tuple(claims, provider).map(([stated, through]) => loggedIn(stated, through)) },
  { weight: 1, arbitrary: claims.map(withoutProvider) },
);
const verdict = fc.constantFrom<Verdict>('met', 'unmet', 'no_identity', 'not_stated', 'unavailable');
const certificate: fc.Arbitrary<Facts> = fc.oneof(
  fc
    .constantFrom<CertificateFact>({ state: 'none' }, { state: 'unreadable', why: '' })
    .map((fact) => ({ certificate: fact })),
  fc
    .record({
      verified: fc.constantFrom('yes' as const, 'no' as const, 'unknown' as const),
      commonName: fc.constantFrom(
        { state: 'one' as const, value: 'api' },
        { state: 'one' as const, value: 'other' },
        { state: 'several' as const },
        { state: 'none' as const },
        { state: 'hidden' as const },
      ),
    })
    .map(certified),
);

/** Everything that could have been gathered. */
export const facts: fc.Arbitrary<Facts> = fc
  .tuple(
    identity,
    fc.constantFrom('10.1.2.3', '10.200.0.1', '192.0.2.1', '2001:db8::1', '::1', undefined).map(from),
    fc.constantFrom('CA', 'FR', 'US', 'XX', 'T1', undefined).map((country) => inCountry(country)),
    certificate,
    fc.record({
      serviceCredentials: fc.constantFrom<ServiceCredentialsFact>(
        { state: 'absent' },
        { state: 'malformed', why: '' },
        { state: 'refused', why: '' },
        { state: 'valid', tokenId: IDS[0] ?? '', name: '', clientId: '' },
      ),
      posture: fc.oneof(
        fc.constant<PostureFact>({ state: 'unavailable', why: '' }),
        fc
          .dictionary(fc.constantFrom(...IDS, 'u'), fc.record({ success: fc.boolean() }))
          .map((entries): PostureFact => ({ state: 'known', entries: new Map(Object.entries(entries)) })),
      ),
      riskScore: fc.constantFrom<RiskScoreFact>(
        { state: 'unavailable', why: '' },
        { state: 'known', level: undefined },
        { state: 'known', level: 'low' },
        { state: 'known', level: 'severe' },
      ),
      linkedTokens: fc
        .tuple(verdict, verdict)
        .map((two) => new Map(two.map((one, n) => [IDS[n] ?? '', { verdict: one }]))),
      evaluations: fc
        .array(verdict, { minLength: 4, maxLength: 4 })
        .map((four) => new Map(four.map((one, n) => [`${URLS[n >> 1]}\n${URLS[n & 1]}`, one]))),
    }),
  )
  .map((parts) => Object.assign({}, ...parts) as Facts);

function withoutProvider(stated: Record<string, unknown>): Facts {
  const made = loggedIn(stated);
  if (made.identity?.state !== 'known') return made;
  return { identity: { state: 'known', identity: { ...made.identity.identity, provider: undefined } } };
}
