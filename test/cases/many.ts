/** Many small applications, each with something else that lets a caller in or keeps him out. */
import { OKTA, ORDERS } from './folders.ts';

export const ENTRA = '22222222-2222-2222-2222-222222222222';
const TOKEN = '3537a672-e4d8-4d89-aab9-26cb622918a1';
const LIST = '5a6b0000-0000-4000-8000-000000000001';

const through = (id: string) => ({ identity_provider_id: id });
const allow = (include: unknown[], more: object = {}) => ({ name: 'Allow', decision: 'allow', include, ...more });

/** Name → policies of an application, each with something else that would have to change. */
export const POLICY_SETS: Readonly<Record<string, readonly unknown[]>> = {
  country: [allow([{ email_domain: { domain: 'example.com' } }], { require: [{ geo: { country_code: 'CA' } }] })],
  'excluded country': [allow([{ everyone: {} }], { exclude: [{ geo: { country_code: 'FR' } }] })],
  addresses: [
    { name: 'Office', decision: 'bypass', include: [{ ip: { ip: '10.0.0.0/8' } }, { ip: { ip: '2001:db8::/32' } }] },
  ],
  'list of addresses': [allow([{ everyone: {} }], { require: [{ ip_list: { id: LIST } }] })],
  group: [allow([{ okta: { name: 'staff', ...through(OKTA) } }, { azureAD: { id: 'g-1', ...through(ENTRA) } }])],
  method: [allow([{ everyone: {} }], { require: [{ auth_method: { auth_method: 'mfa' } }] })],
  provider: [allow([{ login_method: { id: ENTRA } }])],
  attributes: [
    allow([
      { saml: { attribute_name: 'dept', attribute_value: 'eng', ...through(OKTA) } },
      { oidc: { claim_name: 'team', claim_value: 'core', ...through(OKTA) } },
      { auth_context: { id: 'x', ac_id: 'c1', ...through(ENTRA) } },
    ]),
  ],
  posture: [allow([{ everyone: {} }], { require: [{ device_posture: { integration_uid: 'disk' } }] })],
  'risk score': [allow([{ everyone: {} }], { require: [{ user_risk_score: { user_risk_score: ['low'] } }] })],
  certificate: [{ name: 'Machines', decision: 'non_identity', include: [{ common_name: { common_name: 'api' } }] }],
  'service token': [{ name: 'Robots', decision: 'non_identity', include: [{ service_token: { token_id: TOKEN } }] }],
  session: [allow([{ everyone: {} }], { session_duration: '1h' })],
  'denied person': [
    { name: 'No', decision: 'deny', include: [{ email: { email: 'ann@example.com' } }] },
    allow([{ everyone: {} }]),
  ],
  'nested groups': [allow([{ group: { id: 'Outer' } }], { require: [{ group: { id: 'North' } }] })],
};

const ids = Object.keys(POLICY_SETS).map(
  (_, index) => `9a4b2f0e-3f55-4a57-9b0e-0000000001${String(index).padStart(2, '0')}`,
);

const rule = (index: number, more: object) => ({
  id: `0c3c0000-0000-4000-8000-00000000000${index}`,
  name: `Rule ${index}`,
  resourceId: ORDERS,
  groups: [{ name: 'All Groups' }],
  lowRiskThreshold: 30,
  mediumRiskThreshold: 70,
  lowRiskAuthenticationFlow: { name: 'Password' },
  mediumRiskAuthenticationFlow: { name: 'Password and Second Factor' },
  highRiskAuthenticationFlow: { name: 'Access Denied' },
  ...more,
});

/** What a policy file holds. */
export const DATA = {
  applications: [
    ...Object.entries(POLICY_SETS).map(([name, policies], index) => ({
      id: ids[index],
      name,
      destinations: [`a${index}.example.com`],
      policies,
    })),
    { id: ORDERS, name: 'Orders', destinations: ['orders.example.com'], policies: [allow([{ everyone: {} }])] },
  ],
  groups: [
    {
      id: '8f1c0000-0000-4000-8000-000000000001',
      name: 'North',
      include: [{ geo: { country_code: 'CA' } }, { geo: { country_code: 'US' } }],
    },
    {
      id: '8f1c0000-0000-4000-8000-000000000002',
      name: 'Outer',
      include: [{ group: { id: 'Inner' } }],
      exclude: [{ ip: { ip: '203.0.113.0/24' } }],
    },
    {
      id: '8f1c0000-0000-4000-8000-000000000003',
      name: 'Inner',
      include: [{ email_domain: { domain: 'example.com' } }],
    },
  ],
  lists: [{ id: LIST, name: 'Office', type: 'IP', items: [{ value: '192.0.2.0/24' }] }],
  service_tokens: [{ id: TOKEN, name: 'ci', client_id: 'ci.access', client_secret_sha256: 'ab'.repeat(32) }],
  resource_rules: [
    rule(1, {
      ipContext: { allowedIpRanges: ['192.0.2.0/24'], riskPoint: 40 },
      locationContext: { allowed: true, countryCodes: ['CA'], anonymousAllowed: true, riskPoint: 30 },
      dateTimeContext: { startTime: '08:00:00', endTime: '09:00:00', riskPoint: 10 },
    }),
  ],
};

/** Name → host of each application. */
export const hosts = [
  ...Object.keys(POLICY_SETS).map((name, index) => [name, `a${index}.example.com`] as const),
  ['resource rules', 'orders.example.com'] as const,
];
