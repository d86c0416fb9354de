import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readCases } from '../../src/cases/shape.ts';
import type { Case } from '../../src/cases/shape.ts';
import { decideStated, linkStatement } from '../../src/cases/stated.ts';
import type { StatedAgainst } from '../../src/cases/stated.ts';
import type { Fault } from '../../src/model/fault.ts';
import { faultsText } from '../../src/policy/fault-text.ts';
import { parseYaml } from '../../src/policy/read.ts';
import { statedAgainst } from '../../src/revision.ts';
import { folderWith, OKTA, ORDERS, POLICIES, removeFolders, revisionOf, SETTINGS } from './folders.ts';

const NOW_MS = Date.parse('2026-03-04T15:00:00Z');

let against: StatedAgainst;

beforeAll(async () => {
  against = statedAgainst(await revisionOf(folderWith({ 'postern.yaml': SETTINGS, 'policies/orders.yaml': POLICIES })));
});
afterAll(removeFolders);

function casesOf(text: string): { readonly cases: readonly Case[]; readonly text: string } {
  const faults: Fault[] = [];
  const parsed = parseYaml(text, 'tests/a.yaml');
  if ('faults' in parsed) throw new Error('no YAML');
  const cases = readCases(parsed.data, 'tests/a.yaml', (found) => faults.push(found));
  for (const one of cases) linkStatement(one, one.place, against, (found) => faults.push(found));
  return { cases, text: faultsText(faults, () => text) };
}

async function decided(request: string, more = ''): Promise<object> {
  const { cases, text } = casesOf(
    `- { name: x, request: { host: orders.example.com, ${request} }, ${more} expect: { outcome: allow } }`,
  );
  expect(text).toBe('');
  const [one] = cases;
  if (!one) throw new Error('no case');
  const { decision } = await decideStated(one, against, NOW_MS);
  const { outcome, reason, policy, riskLevel, riskScore, challenge } = decision;
  return { outcome, reason, policy: policy?.name, riskLevel, riskScore, acr: challenge?.acrValues.join(' ') };
}

const office = 'client_ip: 203.0.113.7, country: CA, time: 2026-03-04T15:00:00Z';
const ann = 'email: ann@example.com, amr: [pwd]';

describe('what is stated decides', () => {
  it.each([
    [
      'somebody',
      office,
      `identity: { ${ann} },`,
      { outcome: 'allow', policy: 'Engineers', riskLevel: 'LOW', riskScore: 0 },
    ],
    ['nobody', office, '', { outcome: 'unauthenticated', reason: 'not_authenticated' }],
    ['an invalid token', office, 'identity: invalid,', { outcome: 'unauthenticated', reason: 'token_invalid' }],
    [
      'a token of unreachable keys',
      office,
      'identity: unavailable,',
      { outcome: 'unavailable', reason: 'fact_unavailable' },
    ],
    [
      'another country',
      'client_ip: 203.0.113.7, country: FR, time: 2026-03-04T15:00:00Z',
      `identity: { ${ann} },`,
      { outcome: 'deny', reason: 'no_policy_matched' },
    ],
    [
      'a country that a trusted header tells',
      'client_ip: 203.0.113.7, headers: { CF-IPCountry: ca }, time: 2026-03-04T15:00:00Z',
      `identity: { ${ann} },`,
      { outcome: 'allow' },
    ],
    [
      'no country at all',
      'client_ip: 203.0.113.7, country: unknown, time: 2026-03-04T15:00:00Z',
      `identity: { ${ann} },`,
      { outcome: 'unavailable' },
    ],
    [
      'an address from outside',
      'client_ip: 198.51.100.1, country: CA, time: 2026-03-04T15:00:00Z',
      `identity: { ${ann} },`,
      { outcome: 'step_up', riskLevel: 'MEDIUM', riskScore: 40, acr: 'mfa' },
    ],
    [
      'an address from outside and two factors',
      'client_ip: 198.51.100.1, country: CA, time: 2026-03-04T15:00:00Z',
      'identity: { email: ann@example.com, amr: [pwd, otp] },',
      { outcome: 'allow', riskLevel: 'MEDIUM' },
    ],
    [
      'the night',
      'client_ip: 198.51.100.1, country: CA, time: 2026-03-05T04:00:00Z',
      `identity: { ${ann} },`,
      { outcome: 'deny', reason: 'risk_level_denied', riskScore: 100 },
    ],
    [
      'a group of the provider',
      office,
      `identity: { email: bob@other.example, groups: [partners], amr: pwd },`,
      { outcome: 'allow' },
    ],
    [
      'the same group at another provider',
      office,
      'identity: { email: bob@other.example, groups: [partners], provider: Entra },',
      { outcome: 'deny' },
    ],
    ['a service token', `${office}, service_token: ci`, '', { outcome: 'allow', policy: 'Robots' }],
    [
      'refused credentials',
      `${office}, service_token: refused`,
      '',
      { outcome: 'unauthenticated', reason: 'token_invalid' },
    ],
    [
      'an old login',
      office,
      `identity: { ${ann}, issued_at: 2026-03-03T14:00:00Z },`,
      { outcome: 'unauthenticated', reason: 'session_expired' },
    ],
    ['a path that two parsers read differently', `${office}, path: /a%2fb`, '', { outcome: 'bad_request' }],
  ])('%s', async (_, request, more, wanted) => {
    expect(await decided(request, more)).toMatchObject(wanted);
  });
});

describe('a table', () => {
  it('is a case for each row, with what the row says in its place', () => {
    const { cases, text } = casesOf(`
- name: engineers
  request: { host: orders.example.com, country: CA }
  identity: { email: ann@example.com, amr: [pwd] }
  expect: { outcome: allow, risk_level: LOW }
  table:
    - name: with two factors
      identity: { amr: [pwd, otp] }
    - request: { country: FR }
      expect: { outcome: deny, reason: no_policy_matched }
    - { name: nobody, identity: nobody, expect: { outcome: unauthenticated } }
`);
    expect(text).toBe('');
    expect(cases.map(({ name, request, identity, expect: wanted }) => ({ name, request, identity, wanted }))).toEqual([
      {
        name: 'engineers: with two factors',
        request: { host: 'orders.example.com', country: 'CA' },
        identity: { email: 'ann@example.com', amr: ['pwd', 'otp'] },
        wanted: { outcome: 'allow', risk_level: 'LOW' },
      },
      {
        name: 'engineers: row 2',
        request: { host: 'orders.example.com', country: 'FR' },
        identity: { email: 'ann@example.com', amr: ['pwd'] },
        wanted: { outcome: 'deny', reason: 'no_policy_matched' },
      },
      {
        name: 'engineers: nobody',
        request: { host: 'orders.example.com', country: 'CA' },
        identity: 'nobody',
        wanted: { outcome: 'unauthenticated' },
      },
    ]);
  });
});

describe('faults of cases', () => {
  it.each([
    ['requests: {}', 'tests/a.yaml:1:14 key_unknown: unknown key "requests"\n  mend: did you mean "request"?\n'],
    [
      'request: { host: a.example, country: UK }, expect: { outcome: deny }',
      'tests/a.yaml:1:51 country_unknown: expected an ISO 3166-1 alpha-2 country code, XK, XX or T1, found "UK"\n  mend: did you mean "GB"?\n',
    ],
    [
      'request: { host: a.example, time: yesterday }, expect: { outcome: deny }',
      'tests/a.yaml:1:48 date_time_invalid: expected a date and time with an offset, found "yesterday"\n  mend: write e.g. 2026-03-04T14:30:00Z\n',
    ],
    [
      'request: { host: a.example }, expect: { outcome: alow }',
      'tests/a.yaml:1:63 value_unknown: expected allow, unauthenticated, step_up, deny, bad_request or unavailable, found "alow"\n  mend: did you mean "allow"?\n',
    ],
    [
      'request: { host: a.example }',
      'tests/a.yaml:1:3 case_expects_nothing: expected what must come of the request, found nothing\n  mend: add e.g. expect: { outcome: deny }\n',
    ],
    [
      'request: { path: / }, expect: { outcome: deny }',
      'tests/a.yaml:1:3 key_missing: missing key "host" of request\n  mend: add request: { host: … }\n',
    ],
    [
      'request: { host: a.example }, identity: { provider: Corporate Oka }, expect: { outcome: deny }',
      'tests/a.yaml:1:66 provider_unknown: no identity provider has the id or name "Corporate Oka"\n  mend: did you mean "Corporate Okta"?\n',
    ],
    [
      'request: { host: a.example, service_token: cj }, expect: { outcome: deny }',
      'tests/a.yaml:1:57 service_token_unknown: no service token has the id or name "cj"\n  mend: did you mean "ci"?\n',
    ],
    [
      'request: { host: a.example, linked_tokens: [Order] }, expect: { outcome: deny }',
      'tests/a.yaml:1:58 application_unknown: no application has the id or name "Order"\n  mend: did you mean "Orders"?\n',
    ],
    [
      'request: { host: a.example }, engines: { Fraud: FAILURE }, expect: { outcome: deny }',
      'tests/a.yaml:1:55 risk_engine_unknown: no risk engine has the id or name "Fraud"\n  mend: name an existing risk engine\n',
    ],
  ])('%s', (written, wanted) => {
    expect(casesOf(`- { name: x, ${written} }`).text).toBe(wanted);
  });

  it('names are told once', () => {
    const one = '- { name: x, request: { host: a.example }, expect: { outcome: deny } }\n';
    expect(casesOf(one + one).text).toContain('tests/a.yaml:2:3 name_duplicate: expected a name once, found "x" twice');
  });

  it('ids and names are taken in place of each other', () => {
    const { text } = casesOf(
      `- { name: x, request: { host: a.example, linked_tokens: [${ORDERS}], service_token: 88bf.access }, identity: { provider: ${OKTA} }, expect: { outcome: deny } }`,
    );
    expect(text).toBe('');
  });
});
