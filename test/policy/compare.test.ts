import { describe, expect, it } from 'vitest';
import { compareSets } from '../../src/policy/compare.ts';
import type { PolicySet } from '../../src/policy/objects.ts';
import { load } from './loading.ts';

const ORDERS = '9a4b2f0e-3f55-4a57-9b0e-000000000001';

const BEFORE = `applications:
  - id: ${ORDERS}
    name: Orders
    destinations: [orders.example.com, shop.example.com/admin]
    session_duration: 24h
    policies:
      - name: No Russia
        decision: deny
        include: [{ geo: { country_code: RU } }]
      - name: Engineers
        decision: allow
        include: [{ group: { id: Engineering } }, { email: { email: ann@partner.example } }]
        require: [{ ip: { ip: 10.0.0.0/8 } }]
      - { id: 3a3a0000-0000-4000-8000-000000000001 }
policies:
  - id: 3a3a0000-0000-4000-8000-000000000001
    name: Everybody
    decision: allow
    include: [{ everyone: {} }]
groups:
  - id: 8f1c0000-0000-4000-8000-000000000001
    name: Engineering
    include: [{ email_domain: { domain: example.com } }]
lists:
  - { id: 5a6b0000-0000-4000-8000-000000000001, name: Contractors, type: EMAIL, items: [{ value: ann@partner.example }, { value: bob@partner.example }] }
service_tokens:
  - { id: 3537a672-e4d8-4d89-aab9-26cb622918a1, name: ci, client_id: 88bf.access, client_secret_sha256: ${'ab'.repeat(32)} }
resource_rules:
  - id: 0c3c0000-0000-4000-8000-000000000001
    name: Orders, staff
    resourceId: ${ORDERS}
    groups: [{ name: Engineering }]
    lowRiskThreshold: 30
    mediumRiskThreshold: 70
    ipContext: { allowedIpRanges: [203.0.113.0/24, 198.51.100.0/24], riskPoint: 40 }
    lowRiskAuthenticationFlow: { name: Password }
    mediumRiskAuthenticationFlow: { name: Strong }
authentication_flows:
  - { id: 1f1f0000-0000-4000-8000-000000000001, name: Strong, userLoginFirstStep: PASSWORD, userLoginSecondStep: [TOKEN, OTP] }
acrs: [{ id: 2c2c0000-0000-4000-8000-000000000001, name: phr }]
authenticators:
  - { issuer: https://example.okta.com, acr: { strong: [PASSWORD, TOKENPUSH] } }
transaction_rules:
  - { id: 4d4d0000-0000-4000-8000-000000000001, name: Large, item: amount, type: Numeric, operator: GREATER_THAN, value: 100 }
`;

async function setOf(text: string): Promise<PolicySet> {
  const { set, faults } = await load({ 'policies/a.yaml': text });
  expect(faults.filter(({ severity }) => severity === 'fault')).toEqual([]);
  return set;
}

async function told(before: string, after: string): Promise<readonly string[]> {
  return compareSets(await setOf(before), await setOf(after)).flatMap(({ kind, change, name, words }) =>
    words.length === 0
      ? [`${kind} ${name}: ${change}`]
      : words.map((word) => `${kind} ${name}: ${change === 'changed' ? '' : `${change}: `}${word}`),
  );
}

/** What is edited → what is told of it. */
const EDITS: readonly (readonly [name: string, from: string | RegExp, to: string, wanted: readonly string[]])[] = [
  [
    'a country denied',
    'country_code: RU',
    'country_code: KP',
    [
      'applications Orders: policy No Russia: include: + geo country_code: KP',
      'applications Orders: policy No Russia: include: − geo country_code: RU',
    ],
  ],
  [
    'a rule of a group',
    'domain: example.com',
    'domain: example.org',
    [
      'groups Engineering: include: + email_domain domain: example.org',
      'groups Engineering: include: − email_domain domain: example.com',
    ],
  ],
  [
    'a requirement gone',
    'require: [{ ip: { ip: 10.0.0.0/8 } }]',
    'require: []',
    ['applications Orders: policy Engineers: require: − ip ip: 10.0.0.0/8'],
  ],
  [
    'a decision',
    'decision: deny',
    'decision: allow',
    ['applications Orders: policy No Russia: decision: deny → allow'],
  ],
  [
    'a destination',
    'shop.example.com/admin',
    'shop.example.com',
    [
      'applications Orders: destinations: + shop.example.com',
      'applications Orders: destinations: − shop.example.com/admin',
    ],
  ],
  [
    'a session',
    'session_duration: 24h',
    'session_duration: 90m',
    ['applications Orders: session_duration: 24 h → 90 min'],
  ],
  ['a name', 'name: Orders\n', 'name: Purchases\n', ['applications Purchases: name: Orders → Purchases']],
  [
    'a reusable policy',
    'include: [{ everyone: {} }]',
    'include: [{ everyone: {} }]\n    exclude: [{ geo: { country_code: KP } }]',
    ['policies Everybody: exclude: + geo country_code: KP'],
  ],
  [
    'the use of a reusable policy',
    '      - { id: 3a3a0000-0000-4000-8000-000000000001 }\n',
    '',
    ['applications Orders: − policy Everybody (reusable)'],
  ],
  [
    'an item of a list',
    '{ value: bob@partner.example }',
    '{ value: eve@partner.example }',
    ['lists Contractors: items: + eve@partner.example', 'lists Contractors: items: − bob@partner.example'],
  ],
  ['a secret', 'ab'.repeat(32), 'cd'.repeat(32), ['serviceTokens ci: client_secret: changed']],
  [
    'a service token switched off',
    'client_id: 88bf.access',
    'client_id: 88bf.access, enabled: false',
    ['serviceTokens ci: enabled: true → false'],
  ],
  ['points', 'riskPoint: 40', 'riskPoint: 80', ['resourceRules Orders, staff: factor ip: riskPoint: 40 → 80']],
  ['a factor gone', /    ipContext.*\n/, '', ['resourceRules Orders, staff: − factor ip']],
  [
    'a threshold',
    'lowRiskThreshold: 30',
    'lowRiskThreshold: 10',
    ['resourceRules Orders, staff: lowRiskThreshold: 30 → 10'],
  ],
  [
    'a rule switched off',
    'groups: [{ name: Engineering }]\n    low',
    'enabled: false\n    groups: [{ name: Engineering }]\n    low',
    ['resourceRules Orders, staff: enabled: true → false'],
  ],
  [
    'the flow of a level',
    '{ name: Strong }',
    '{ name: Passkey }',
    ['resourceRules Orders, staff: mediumRiskAuthenticationFlow: Strong → Passkey'],
  ],
  [
    'a flow',
    'userLoginSecondStep: [TOKEN, OTP]',
    'userLoginSecondStep: [TOKEN]',
    ['flows Strong: alternatives: + PASSWORD, then TOKEN', 'flows Strong: alternatives: − PASSWORD, then TOKEN or OTP'],
  ],
  ['an acr', 'name: phr', 'name: phrh', ['acrs phrh: name: phr → phrh']],
  [
    'an authenticator',
    '[PASSWORD, TOKENPUSH]',
    '[PASSWORD]',
    [
      'authenticators https://example.okta.com: acr: + strong proves PASSWORD',
      'authenticators https://example.okta.com: acr: − strong proves PASSWORD, TOKENPUSH',
    ],
  ],
  ['a transaction rule', 'value: 100', 'value: 500', ['transactionRules Large: value: 100 → 500']],
  [
    'a policy added',
    '      - name: Engineers',
    '      - name: Ann\n        decision: deny\n        include: [{ email: { email: ann@example.com } }]\n      - name: Engineers',
    [
      'applications Orders: + policy Ann, before Engineers',
      'applications Orders: policy Ann: decision: deny',
      'applications Orders: policy Ann: include: email email: ann@example.com',
    ],
  ],
  [
    'a group added',
    'groups:\n',
    'groups:\n  - { id: 8f1c0000-0000-4000-8000-000000000009, name: Partners, include: [{ email_domain: { domain: partner.example } }] }\n',
    [
      'groups Partners: added: is_default: false',
      'groups Partners: added: include: email_domain domain: partner.example',
    ],
  ],
  ['a list removed', /lists:\n.*\n/, '', ['lists Contractors: removed']],
  [
    'a group named by its id in place of its name',
    'group: { id: Engineering }',
    'group: { id: 8f1c0000-0000-4000-8000-000000000001 }',
    [],
  ],
];

describe('a change is told, and no other', () => {
  it.each(EDITS)('%s', async (_, from, to, wanted) => {
    const after = BEFORE.replace(from, to);
    expect(after).not.toBe(BEFORE);
    expect(await told(BEFORE, after)).toEqual(wanted);
  });

  it('the order of allow and deny policies', async () => {
    const [first = '', second = ''] = BEFORE.match(/ {6}- name: (?:No Russia|Engineers)\n(?: {8}.*\n)+/g) ?? [];
    const after = BEFORE.replace(first + second, second + first);
    expect(await told(BEFORE, after)).toEqual([
      'applications Orders: order of allow and deny policies: now Engineers, No Russia, Everybody (reusable)',
    ]);
  });
});

describe('what means the same is not told', () => {
  it.each([
    [
      'comments and white space',
      (text: string) => `# a comment\n${text.replace('name: Orders\n', 'name:   Orders # here\n')}`,
    ],
    [
      'the order of rules',
      (text: string) =>
        text.replace(
          '[{ group: { id: Engineering } }, { email: { email: ann@partner.example } }]',
          '[{ email: { email: ann@partner.example } }, { group: { id: Engineering } }]',
        ),
    ],
    ['host bits', (text: string) => text.replace('ip: 10.0.0.0/8', 'ip: 10.1.2.3/8')],
    ['letter case', (text: string) => text.replace('email: ann@partner.example }', 'email: Ann@Partner.Example }')],
    [
      'the order of items and ranges',
      (text: string) => text.replace('[203.0.113.0/24, 198.51.100.0/24]', '[198.51.100.0/24, 203.0.113.0/24]'),
    ],
    [
      'defaults written out',
      (text: string) =>
        text.replace('name: Strong }\n', 'name: Strong }\n    strictAccess: false\n    acrFilter: NA\n'),
    ],
    ['a duration in other units', (text: string) => text.replace('24h', '1440m')],
  ])('%s', async (_, edit) => {
    const after = edit(BEFORE);
    expect(after).not.toBe(BEFORE);
    expect(await told(BEFORE, after)).toEqual([]);
  });

  it('other files', async () => {
    const split = BEFORE.indexOf('groups:');
    const { set } = await load({ 'policies/a.yaml': BEFORE.slice(0, split), 'policies/z.yaml': BEFORE.slice(split) });
    expect(compareSets(await setOf(BEFORE), set)).toEqual([]);
  });
});
