import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import { test } from '../../src/cli/test.ts';
import { folderWith, POLICIES, removeFolders, SETTINGS } from './folders.ts';
import { run } from './terminal.ts';

const MAIN = fileURLToPath(new URL('../../dist/main.js', import.meta.url));

afterEach(removeFolders);

const GOOD = `- name: an engineer in Canada reaches orders
  request: { host: orders.example.com, path: /api, client_ip: 203.0.113.7, country: CA, time: 2026-03-04T15:00:00Z }
  identity: { email: ann@example.com, amr: [pwd] }
  expect: { outcome: allow, policy: Engineers, application: Orders, risk_level: LOW, risk_score: 0, resource_rule: "Orders, staff" }
`;

const STEP_UP = `- name: from elsewhere two factors are asked for
  request: { host: orders.example.com, client_ip: 198.51.100.7, country: CA, time: 2026-03-04T15:00:00Z }
  identity: { email: ann@example.com, amr: [pwd] }
  expect: { outcome: step_up, reason: step_up_required, acr_values: mfa, risk_level: MEDIUM }
`;

const BAD = `- name: "<she> is let in from France"
  request: { host: orders.example.com, client_ip: 203.0.113.7, country: FR, time: 2026-03-04T15:00:00Z }
  identity: { email: ann@example.com, amr: [pwd] }
  expect: { outcome: allow, policy: Engineers }
`;

function folder(tests: Readonly<Record<string, string>>, more: Readonly<Record<string, string>> = {}): string {
  const files = Object.entries(tests).map(([name, text]) => [`tests/${name}`, text] as const);
  return folderWith({
    'postern.yaml': SETTINGS,
    'policies/orders.yaml': POLICIES,
    ...Object.fromEntries(files),
    ...more,
  });
}

function steady(text: string): string {
  return text
    .replaceAll(/[\d.]+ ms/g, 'T ms')
    .replaceAll(/revision [0-9a-f]{12}/g, 'revision R')
    .replaceAll(/\/\S*postern-cases-\w+/g, 'FOLDER');
}

describe('postern test', () => {
  it('says that all pass', async () => {
    const { code, out, error } = await run(test, ['--config', folder({ 'a.yaml': GOOD, 'deep/b.yml': STEP_UP })]);
    expect({ code, out: steady(out), error }).toEqual({
      code: 0,
      out: '2 cases pass in T ms; revision R\n',
      error: '',
    });
  });

  it('names those that pass where it is asked to', async () => {
    const { out } = await run(test, ['--config', folder({ 'a.yaml': GOOD }), '--verbose']);
    expect(steady(out)).toBe(
      '✓ tests/a.yaml:1:3 an engineer in Canada reaches orders\n1 case passes in T ms; revision R\n',
    );
  });

  it('says what came out otherwise, which lines did it and what would have been allowed', async () => {
    const { code, out, error } = await run(test, ['--config', folder({ 'a.yaml': GOOD + BAD })]);
    expect({ code, out }).toEqual({ code: 1, out: '' });
    expect(steady(error)).toBe(`✗ tests/a.yaml:5:3 <she> is let in from France
    outcome  expected allow, found deny
    policy   expected Engineers, found none
    because no_policy_matched: The application has no policy that lets this caller in.
      policies/orders.yaml:18:9 policy Robots
      policies/orders.yaml:21:13 rule service_token token_id: 3537a672-e4d8-4d89-aab9-26cb622918a1
      policies/orders.yaml:11:9 policy Engineers
      policies/orders.yaml:17:13 rule geo country_code: CA
    would be allowed from CA
    would be allowed with the credentials of service token ci
    all of it: postern explain --config FOLDER --case '<she> is let in from France'
1 of 2 cases fail in T ms; revision R
`);
  });

  it.each([
    ['outcome: allow', 'outcome  expected allow, found step_up'],
    ['reason: policy_allowed', 'reason  expected policy_allowed, found step_up_required'],
    ['application: Other', 'application  expected Other, found Orders'],
    ['policy: Others', 'policy  expected Others, found Engineers'],
    ['resource_rule: Other', 'resource_rule  expected Other, found Orders, staff'],
    ['risk_level: LOW', 'risk_level  expected LOW, found MEDIUM'],
    ['risk_score: 41', 'risk_score  expected 41, found 40'],
    ['acr_values: [phr]', 'acr_values  expected phr, found mfa'],
    ['max_age: 300', 'max_age  expected 300, found none'],
  ])('compares %s', async (expected, told) => {
    const tests = STEP_UP.replace(/expect: .*/, `expect: { ${expected} }`);
    const { code, error } = await run(test, ['--config', folder({ 'a.yaml': tests })]);
    expect(code).toBe(1);
    expect(error).toContain(`\n    ${told}\n`);
  });

  it('expects no policy where it says so', async () => {
    const denied = BAD.replace('outcome: allow, policy: Engineers', 'outcome: deny, policy: none, resource_rule: none');
    expect(await run(test, ['--config', folder({ 'a.yaml': denied })])).toMatchObject({ code: 0 });
    const allowed = GOOD.replace(/expect: .*/, 'expect: { policy: none }');
    const { code, error } = await run(test, ['--config', folder({ 'a.yaml': allowed })]);
    expect(code).toBe(1);
    expect(error).toContain('policy  expected none, found Engineers');
  });

  it('takes objects by their ids, too', async () => {
    const tests = STEP_UP.replace(
      /expect: .*/,
      'expect: { application: 9a4b2f0e-3f55-4a57-9b0e-000000000001, resource_rule: 0c3c0000-0000-4000-8000-000000000001 }',
    );
    expect(await run(test, ['--config', folder({ 'a.yaml': tests })])).toMatchObject({ code: 0 });
  });

  it('runs the files that are named', async () => {
    const config = folder({ 'a.yaml': GOOD, 'b.yaml': BAD });
    expect(await run(test, ['--config', config, 'tests/a.yaml'])).toMatchObject({ code: 0 });
    expect(await run(test, ['--config', config, join(config, 'tests/b.yaml')])).toMatchObject({ code: 1 });
    expect(await run(test, ['--config', config, 'tests/c.yaml'])).toMatchObject({
      code: 1,
      error: `tests/c.yaml cannot be read, neither here nor in ${config}`,
    });
  });

  it('says that there are none', async () => {
    const { code, out } = await run(test, ['--config', folder({})]);
    expect({ code, out: steady(out) }).toEqual({
      code: 0,
      out: 'FOLDER: no cases; write some to FOLDER/tests/orders.yaml, as postern test --help shows\n',
    });
  });

  it('tells faults of cases and of policies as validate does', async () => {
    const cases = await run(test, ['--config', folder({ 'a.yaml': GOOD.replace('expect:', 'expected:') })]);
    expect(cases.code).toBe(1);
    expect(cases.error).toContain(
      'tests/a.yaml:4:3 key_unknown: unknown key "expected"\n  mend: did you mean "expect"?\n',
    );
    const broken = await run(test, ['--config', folder({ 'a.yaml': '- name: [' })]);
    expect(broken.error).toContain('tests/a.yaml:1:10 yaml_syntax');
    const policies = await run(test, ['--config', folder({ 'a.yaml': GOOD }, { 'policies/b.yaml': 'groups: 1' })]);
    expect(policies.code).toBe(1);
    expect(policies.error).toContain('policies/b.yaml:1:9 type_wrong');
  });

  it('writes JUnit', async () => {
    const config = folder({ 'a.yaml': GOOD + BAD });
    const file = join(config, 'junit.xml');
    await run(test, ['--config', config, '--junit', file]);
    expect(readFileSync(file, 'utf8').replace(/time="[\d.]+"/, 'time="T"')).toBe(`<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="postern test" tests="2" failures="1" errors="0" time="T">
  <testsuite name="tests/a.yaml" tests="2" failures="1" errors="0">
    <testcase classname="tests/a.yaml" name="an engineer in Canada reaches orders" file="tests/a.yaml" line="1"/>
    <testcase classname="tests/a.yaml" name="&lt;she&gt; is let in from France" file="tests/a.yaml" line="5">
      <failure message="outcome: expected allow, found deny; policy: expected Engineers, found none">outcome: expected allow, found deny
policy: expected Engineers, found none
no_policy_matched </failure>
    </testcase>
  </testsuite>
</testsuites>
`);
  });
});

describe('coverage', () => {
  it('names what no case decides', async () => {
    const { code, out } = await run(test, ['--config', folder({ 'a.yaml': GOOD }), '--coverage']);
    expect(code).toBe(0);
    expect(steady(out)).toBe(`○ policies/orders.yaml:7:9 no case is decided by policy No mallory
○ policies/orders.yaml:10:13 no case is decided by rule email email: mallory@example.com
○ policies/orders.yaml:15:13 no case is decided by rule group id: Partners
○ policies/orders.yaml:18:9 no case is decided by policy Robots
○ policies/orders.yaml:21:13 no case is decided by rule service_token token_id: 3537a672-e4d8-4d89-aab9-26cb622918a1
○ policies/orders.yaml:26:9 no case is decided by rule email email: ann@partner.example
○ policies/orders.yaml:27:9 no case is decided by rule okta name: partners, identity_provider_id: 11111111-1111-1111-1111-111111111111
○ policies/orders.yaml:37:16 no case is decided by factor ip
○ policies/orders.yaml:38:22 no case is decided by factor dateTime
covered: 1 of 1 applications, 1 of 3 policies, 2 of 7 rules, 1 of 1 resource rules, 0 of 2 factors; 5 of 14 lines
1 case passes in T ms; revision R
`);
  });

  it('is whole where each line decides some case', async () => {
    const table = `- name: all
  request: { host: orders.example.com, client_ip: 203.0.113.7, country: CA, time: 2026-03-04T15:00:00Z }
  table:
    - { identity: { email: ann@example.com, amr: [pwd] }, expect: { outcome: allow } }
    - { identity: { email: ann@partner.example, amr: [pwd] }, expect: { outcome: allow } }
    - { identity: { email: bob@other.example, groups: [partners], amr: [pwd] }, expect: { outcome: allow } }
    - { identity: { email: mallory@example.com }, expect: { outcome: deny } }
    - { request: { service_token: ci }, expect: { outcome: allow } }
    - { identity: { email: ann@example.com }, request: { client_ip: 198.51.100.7, time: 2026-03-05T04:00:00Z }, expect: { outcome: deny } }
`;
    const { out, error } = await run(test, ['--config', folder({ 'a.yaml': table }), '--coverage']);
    expect(error).toBe('');
    expect(steady(out)).toBe(
      'covered: 1 of 1 applications, 3 of 3 policies, 7 of 7 rules, 1 of 1 resource rules, 2 of 2 factors; 14 of 14 lines\n6 cases pass in T ms; revision R\n',
    );
  });
});

describe('watching', () => {
  it('runs again at every change, until interrupted', { timeout: 60_000 }, async () => {
    const config = folder({ 'a.yaml': GOOD });
    const child = spawn(process.execPath, [MAIN, 'test', '--config', config, '--watch'], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let text = '';
    child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (text += chunk.toString()));
    const until = async (wanted: string): Promise<void> => {
      const end = Date.now() + 25_000;
      while (!text.includes(wanted)) {
        if (Date.now() > end) throw new Error(`${wanted} was not written; found:\n${text}`);
        await sleep(20);
      }
    };
    try {
      await until('1 case passes');
      writeFileSync(join(config, 'tests/b.yaml'), BAD);
      await until('1 of 2 cases fail');
      writeFileSync(join(config, 'policies/orders.yaml'), POLICIES.replace('country_code: CA', 'country_code: FR'));
      await until('expected allow, found deny');
    } finally {
      child.kill('SIGINT');
      const [code] = (await once(child, 'exit')) as [number | null];
      expect(code).toBe(0);
    }
  });
});
