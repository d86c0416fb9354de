import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { explanationShape } from '../../src/cases/explanation.ts';
import type { ExplanationJson } from '../../src/cases/explanation.ts';
import { explain } from '../../src/cli/explain.ts';
import { keySetBytes, pairFor, publicJwk, tokenOf } from '../facts/token-maker.ts';
import { folderWith, POLICIES, removeFolders, SETTINGS } from './folders.ts';
import { run } from './terminal.ts';

afterEach(removeFolders);

const CASES = `- name: ann from home
  request: { host: orders.example.com, client_ip: 198.51.100.1, country: CA, time: 2026-03-04T15:00:00Z }
  identity: { email: ann@example.com, amr: [pwd] }
  expect: { outcome: step_up }
`;

function folder(more: Readonly<Record<string, string>> = {}): string {
  return folderWith({
    'postern.yaml': SETTINGS,
    'policies/orders.yaml': POLICIES,
    'tests/orders.yaml': CASES,
    ...more,
  });
}

async function json(...args: readonly string[]): Promise<ExplanationJson> {
  const { code, out, error } = await run(explain, ['--json', ...args]);
  expect({ code, error }).toEqual({ code: 0, error: '' });
  return explanationShape.strict().parse(JSON.parse(out));
}

const ANN = ['--host', 'orders.example.com', '--as', 'ann@example.com', '--amr', 'pwd', '--at', '2026-03-04T15:00:00Z'];

describe('postern explain', () => {
  it('says everything in lines', async () => {
    const { code, out, error } = await run(explain, [
      '--config',
      folder(),
      ...ANN,
      '--path',
      '/api/v1?q=1',
      '--ip',
      '198.51.100.1',
      '--country',
      'FR',
    ]);
    expect({ code, error }).toEqual({ code: 0, error: '' });
    expect(out.replace(/revision [0-9a-f]{12}/, 'revision R'))
      .toBe(`DENY  no_policy_matched: The application has no policy that lets this caller in.
  GET orders.example.com/api/v1 at 2026-03-04T15:00:00.000Z, revision R

application  Orders  policies/orders.yaml:2:5
  covers it by orders.example.com  policies/orders.yaml:4:20

caller  ann@example.com, through Corporate Okta
  the token proves: amr pwd, time of authentication not stated

policies
  ✗ non_identity Robots: does not match  policies/orders.yaml:18:9
      include, any of
        ✗ service_token token_id: 3537a672-e4d8-4d89-aab9-26cb622918a1  saw service credentials absent  policies/orders.yaml:21:13
  ✗ deny No mallory: does not match  policies/orders.yaml:7:9
      include, any of
        ✗ email email: mallory@example.com  saw e-mail ann@example.com  policies/orders.yaml:10:13
  ✗ allow Engineers: does not match  policies/orders.yaml:11:9
      include, any of
        ✓ email_domain domain: example.com  saw e-mail ann@example.com  policies/orders.yaml:14:13
        ✗ group Partners  saw its rules, below  policies/orders.yaml:15:13
            include, any of
              ✗ email email: ann@partner.example  saw e-mail ann@example.com  policies/orders.yaml:26:9
              ✗ okta name: partners, identity_provider_id: 11111111-1111-1111-1111-111111111111  saw through 11111111-1111-1111-1111-111111111111: no groups  policies/orders.yaml:27:9
      require, all of
        ✗ geo country_code: CA  saw country FR (database)  policies/orders.yaml:17:13

decided by
  policies/orders.yaml:18:9  policy Robots
  policies/orders.yaml:21:13  rule service_token token_id: 3537a672-e4d8-4d89-aab9-26cb622918a1
  policies/orders.yaml:11:9  policy Engineers
  policies/orders.yaml:17:13  rule geo country_code: CA

would be allowed
  with the credentials of service token ci
  from CA, and with amr containing hwk, pop, fido, push, mca, swk, otp, sc, x509, sms, tel or grid
  from CA, and from 203.0.113.0/24
`);
  });

  it('gives a step-up with what the token proved and what is missing', async () => {
    const told = await json('--config', folder(), ...ANN, '--ip', '198.51.100.1', '--country', 'CA');
    expect(told).toMatchObject({
      outcome: 'step_up',
      policy: 'Engineers',
      resource_rule: 'Orders, staff',
      risk_level: 'MEDIUM',
      risk_score: 40,
      challenge: { acr_values: ['mfa'] },
      identity: { state: 'known', email: 'ann@example.com', amr: ['pwd'], provider_name: 'Corporate Okta' },
      adaptive: {
        rules: [
          {
            id: '0c3c0000-0000-4000-8000-000000000001',
            applies: true,
            factors: [
              { name: 'dateTime', verdict: 'NO_RISK', unknown: false, points: 60, deny: false },
              { name: 'ip', verdict: 'RISK', points: 40, saw: 'address 198.51.100.1', at: { line: 37, column: 16 } },
            ],
            score: 40,
            level: 'MEDIUM',
            flow: 'Password and Second Factor',
            result: 'ALLOW',
          },
        ],
        alternatives: [{ rule: '0c3c0000-0000-4000-8000-000000000001', satisfied: false }],
      },
    });
  });

  it('reads a CheckRequest, from a file or standard input, with options in its place', async () => {
    const config = folder();
    const request = {
      attributes: {
        source: { address: { socketAddress: { address: '203.0.113.9', portValue: 1 } } },
        request: { http: { method: 'GET', host: 'orders.example.com', path: '/', headers: { 'cf-ipcountry': 'CA' } } },
      },
    };
    writeFileSync(join(config, 'request.json'), JSON.stringify(request));
    expect(await json('--config', config, join(config, 'request.json'))).toMatchObject({ reason: 'not_authenticated' });
    expect(await json('--config', config, join(config, 'request.json'), ...ANN.slice(2))).toMatchObject({
      outcome: 'allow',
    });
    const { out } = await run(
      explain,
      ['--json', '--config', config, '-', '--host', 'other.example'],
      JSON.stringify(request),
    );
    expect(JSON.parse(out)).toMatchObject({
      reason: 'no_application',
      request: { host: 'other.example' },
      identity: { state: 'not_read' },
    });
  });

  it('explains a case of the users by its name', async () => {
    expect(await json('--config', folder(), '--case', 'ann from home')).toMatchObject({ outcome: 'step_up' });
    expect(await run(explain, ['--config', folder(), '--case', 'bob'])).toMatchObject({ code: 1 });
  });

  it('verifies tokens as serve does, where their keys are a file; where they are at a URL it says so', async () => {
    const withFile = folder({
      'postern.yaml': SETTINGS.replace('{ url: "https://login.example.com/keys" }', '{ file: keys.json }').replace(
        '[postern]',
        '[orders]',
      ),
      'keys.json': Buffer.from(keySetBytes(publicJwk(pairFor('ES256'), { kid: 'k1' }))).toString(),
    });
    const bearer = (claims: Record<string, unknown>) => `authorization: Bearer ${tokenOf({ claims })}`;
    const at = [
      '--at',
      '2026-03-04T14:30:00Z',
      '--host',
      'orders.example.com',
      '--country',
      'CA',
      '--ip',
      '203.0.113.1',
    ];
    expect(await json('--config', withFile, ...at, '--header', bearer({ amr: ['pwd'] }))).toMatchObject({
      outcome: 'allow',
      identity: { email: 'ann@example.com', issuer: 'https://login.example.com' },
    });
    const expired = bearer({ exp: Date.UTC(2026, 2, 4, 14) / 1000 });
    expect(await json('--config', withFile, ...at, '--header', expired)).toMatchObject({ reason: 'token_invalid' });
    const { outcome, identity } = await json(
      '--config',
      folder(),
      ...at,
      '--header',
      bearer({}).replace('orders', 'postern'),
    );
    expect({ outcome, state: identity.state, why: identity.why }).toEqual({
      outcome: 'unavailable',
      state: 'unverifiable',
      why: 'the keys at https://login.example.com/keys are not read offline',
    });
  });

  it('prints no token, credential, cookie, query or body, however it is asked', async () => {
    const marker = 'MARKER7f3a';
    const config = folder();
    const token = tokenOf({ claims: { [marker]: marker, jti: marker, sid: marker } });
    const request = {
      attributes: {
        request: {
          http: {
            method: 'POST',
            host: 'orders.example.com',
            path: `/?token=${marker}`,
            headers: {
              authorization: `Bearer ${token}`,
              cookie: `CF_Authorization=${marker}; other=${marker}`,
              'cf-access-client-id': '88bf.access',
              'cf-access-client-secret': marker,
              'cf-ipcountry': 'CA',
              'x-custom': marker,
            },
            body: marker,
          },
        },
      },
    };
    for (const mode of [[], ['--json']]) {
      for (const more of [[], ['--as', 'ann@example.com'], ['--header', `cf-access-token: ${token}`]]) {
        const ran = await run(explain, ['--config', config, '-', ...mode, ...more], JSON.stringify(request));
        expect(ran.code).toBe(0);
        for (const text of [ran.out, ran.error]) {
          expect(text).not.toContain(marker);
          for (const part of token.split('.')) expect(text).not.toContain(part);
        }
      }
    }
    const wrong = await run(explain, ['--config', config, '--host', 'a.example', '--header', `no-colon-${marker}`]);
    expect(wrong).toMatchObject({ code: 1, error: 'expected --header NAME:VALUE, found no colon' });
  });

  it('supposes a history where one is given', async () => {
    const rule = POLICIES.replace(/    dateTimeContext.*\n/, '    locationHistoryContext: { riskPoint: 60 }\n');
    const config = folder({
      'policies/orders.yaml': rule,
      'history.yaml': 'places: [{ country: CA, last: 2026-03-01T00:00:00Z }]\n',
    });
    const args = ['--config', config, ...ANN, '--ip', '203.0.113.1', '--country', 'CA'];
    expect(await json(...args)).toMatchObject({ outcome: 'step_up', risk_score: 60 });
    expect(await json(...args, '--history', join(config, 'history.yaml'))).toMatchObject({
      outcome: 'allow',
      risk_score: 0,
    });
  });
});

describe('a line of the decision log', () => {
  const line = {
    msg: 'decision',
    outcome: 'deny',
    reason: 'no_policy_matched',
    revision: '0123456789ab',
    time: '2026-03-04T15:00:00.000Z',
    method: 'GET',
    host: 'orders.example.com',
    path: '/',
    client_address: '203.0.113.1',
    country: 'FR',
    email: 'ann@example.com',
    subject: 'ann',
  };

  it('is decided by the little that it says', async () => {
    const { out } = await run(explain, ['--json', '--config', folder(), '-'], JSON.stringify(line));
    const told = JSON.parse(out) as ExplanationJson;
    expect(told).toMatchObject({
      reason: 'no_policy_matched',
      time: line.time,
      identity: { email: 'ann@example.com' },
    });
    expect(told.notes).toEqual([
      'the line says deny, no_policy_matched, by revision 0123456789ab',
      expect.stringContaining('decided by the little that the line says'),
    ]);
  });

  it('is decided by its facts where it holds them', async () => {
    const replay = {
      facts: ['identity', 'location', 'address', 'service_token'],
      process_time_ms: Date.parse(line.time),
      time_ms: Date.parse(line.time),
      method: 'GET',
      host: 'orders.example.com',
      path: '/',
      headers: [],
      address: '203.0.113.1',
      location: { country: 'CA', anonymous: false, source: 'header' },
      identity: {
        state: 'known',
        source: 'token',
        audiences: [],
        email: 'ann@example.com',
        groups: [],
        groups_incomplete: false,
        amr: ['pwd'],
        issued_at: Date.parse(line.time) / 1000,
        saml_attributes: [],
        oidc_claims: [],
        auth_contexts: [],
        accounts: [],
        user_exists: true,
        clock_skew_seconds: 30,
      },
    };
    const { out } = await run(explain, ['--json', '--config', folder(), '-'], JSON.stringify({ ...line, replay }));
    expect(JSON.parse(out)).toMatchObject({ outcome: 'allow', risk_level: 'LOW' });
    const poor = { ...replay, facts: ['identity'] };
    const without = await run(
      explain,
      ['--json', '--config', folder(), '-'],
      JSON.stringify({ ...line, replay: poor }),
    );
    expect((JSON.parse(without.out) as ExplanationJson).notes[1]).toBe(
      'not recorded, and so unknown: location, service_token, address',
    );
  });
});

describe('what cannot be explained is told, with exit 1', () => {
  it.each([
    ['no request', [], '', 'expected a file, - for standard input, --host or --case, found none'],
    ['two', ['a.json', 'b.json'], '', 'expected one file, found 2'],
    ['a file and a case', ['a.json', '--case', 'x'], '', 'expected a file or --case, found both'],
    ['options beside a case', ['--case', 'x', '--ip', '1.2.3.4'], '', 'expected --case alone, found --ip beside it'],
    ['no JSON', ['-'], 'hello', 'expected one JSON object in standard input'],
    ['a list', ['-'], '[]', 'expected one JSON object in standard input, found something else'],
    ['many lines', ['-'], '{}\n{}\n', 'expected one JSON object in standard input, found 2 lines of it: pass one'],
    ['no CheckRequest', ['-'], '{"attribute":{}}', 'standard input is no CheckRequest: '],
    [
      'an address that is none',
      ['--host', 'a.example', '--ip', '1.2.3'],
      '',
      'expected an IP address or unknown, found "1.2.3"',
    ],
    [
      'an unknown provider',
      ['--host', 'a.example', '--provider', 'Okto'],
      '',
      'no identity provider has the id or name "Okto"',
    ],
    ['a file that is not there', ['/nowhere/a.json'], '', '/nowhere/a.json cannot be read: '],
    ['an unknown option', ['--hots', 'a'], '', "Unknown option '--hots'"],
  ])('%s', async (_, args, input, wanted) => {
    const { code, error, out } = await run(explain, ['--config', folder(), ...args], input);
    expect({ code, out }).toEqual({ code: 1, out: '' });
    expect(error).toContain(wanted);
  });

  it('faults of the config folder', async () => {
    const config = folder({ 'policies/orders.yaml': 'applications: 1\n' });
    const { code, error } = await run(explain, ['--config', config, '--host', 'a.example']);
    expect(code).toBe(1);
    expect(error).toContain('policies/orders.yaml:1:15 type_wrong');
  });
});
