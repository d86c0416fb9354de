import { describe, expect, it } from 'vitest';
import type { Fault } from '../src/model/fault.ts';
import { parseYaml } from '../src/policy/yaml.ts';
import { readSettings } from '../src/settings.ts';
import type { Settings } from '../src/settings.ts';
import { readOverrides, settingNames, variableName } from '../src/settings-overrides.ts';

interface Given {
  readonly file?: unknown;
  readonly environment?: Readonly<Record<string, string | undefined>>;
  readonly set?: readonly string[];
}

function read({ file, environment = {}, set = [] }: Given): { settings: Settings | undefined; faults: Fault[] } {
  const faults: Fault[] = [];
  const report = (found: Fault): void => void faults.push(found);
  const overrides = readOverrides(
    {
      environment,
      assignments: set,
      parseValue(text) {
        const parsed = parseYaml(text, 'value');
        return 'data' in parsed ? { value: parsed.data } : { problem: parsed.faults[0]?.text ?? '' };
      },
    },
    report,
  );
  return { settings: readSettings({ data: file, overrides }, report), faults };
}

function good(given: Given): Settings {
  const { settings, faults } = read(given);
  expect(faults).toEqual([]);
  if (!settings) throw new Error('expected settings, found none');
  return settings;
}

describe('what wins', () => {
  const file = { log: { level: 'warn' } };
  const environment = { POSTERN_LOG_LEVEL: 'error' };

  it.each<[string, Given, string]>([
    ['the default, where nothing is given', {}, 'info'],
    ['the file', { file }, 'warn'],
    ['the environment over the file', { file, environment }, 'error'],
    ['--set over the environment', { file, environment, set: ['log.level=debug'] }, 'debug'],
    ['the last --set', { file, environment, set: ['log.level=debug', 'log.level=trace'] }, 'trace'],
    ['a part over the whole that was given before', { set: ['log={level: fatal}', 'log.level=debug'] }, 'debug'],
    ['the whole over a part that was given before', { set: ['log.level=debug', 'log={decisions: all}'] }, 'info'],
    ['null, so that the default is back', { file, set: ['log.level=info', 'log=null'] }, 'info'],
  ])('%s', (_, given, expected) => {
    expect(good(given).log.level).toBe(expected);
  });

  it('one key beside others of the file, which stays as it is', () => {
    const listen = Object.freeze({ check: '127.0.0.1:1', admin: '127.0.0.1:2' });
    const settings = good({ file: Object.freeze({ listen }), set: ['listen.check=127.0.0.1:0'] });
    expect([settings.listen.check, settings.listen.admin]).toMatchObject([{ port: 0 }, { port: 2 }]);
    expect(listen.check).toBe('127.0.0.1:1');
  });
});

describe('values', () => {
  it.each<[string, (settings: Settings) => unknown, unknown]>([
    ['listen.check=[::1]:0', ({ listen }) => listen.check, { kind: 'tcp', host: '::1', port: 0 }],
    ['listen.check=unix:///run/a=b.sock', ({ listen }) => listen.check, { kind: 'unix', path: '/run/a=b.sock' }],
    ['policies=123', ({ policies }) => policies, '123'],
    ['service_tokens_header=true', (settings) => settings.service_tokens_header, 'true'],
    ['posture.from=metadata', ({ posture }) => posture.from, 'metadata'],
    ['risk.locations_max=3', ({ risk }) => risk.locations_max, 3],
    ['risk.location_check_ip=true', ({ risk }) => risk.location_check_ip, true],
    ['certificates.from=[xfcc, peer]', ({ certificates }) => certificates.from, ['xfcc', 'peer']],
    ['geo.private_addresses={country: ca}', ({ geo }) => geo.private_addresses, { country: 'CA' }],
    ['geo.private_addresses=unknown', ({ geo }) => geo.private_addresses, 'unknown'],
    ['upstream.headers.x-who=email', ({ upstream }) => upstream.headers, { 'x-who': 'email' }],
    [
      'identity.tokens=[{issuer: i, audiences: [a], keys: {file: k}}]',
      ({ identity }) => identity.tokens.map(({ issuer }) => issuer),
      ['i'],
    ],
    ['listen.tls={certificate: a, key: b}', ({ listen }) => listen.tls, { certificate: 'a', key: 'b' }],
  ])('--set %s', (assignment, pick, expected) => {
    expect(pick(good({ set: [assignment] }))).toEqual(expected);
  });

  it.each<[string, string, (settings: Settings) => unknown, unknown]>([
    ['POSTERN_LISTEN_CHECK', '127.0.0.1:0', ({ listen }) => listen.check, { kind: 'tcp', host: '127.0.0.1', port: 0 }],
    ['POSTERN_CLIENT_ADDRESS_FROM', 'forwarded', (settings) => settings.client_address.from, 'forwarded'],
    ['POSTERN_STEP_UP_ATTEMPTS_MAX', '4', (settings) => settings.step_up.attempts_max, 4],
    [
      'POSTERN_EXTERNAL_EVALUATION_ALLOW_HOSTS',
      '[a.example]',
      (settings) => settings.external_evaluation.allow_hosts,
      ['a.example'],
    ],
    ['POSTERN_STATE_REDIS', '{url: "redis://a", key_file: k}', ({ state }) => state.redis?.url, 'redis://a'],
  ])('%s=%s', (variable, value, pick, expected) => {
    expect(pick(good({ environment: { [variable]: value } }))).toEqual(expected);
  });
});

describe('faults', () => {
  it.each<[string, Given, string, string, string]>([
    [
      'an unknown name',
      { set: ['listen.chek=a'] },
      '--set listen.chek',
      'setting_unknown',
      'did you mean listen.check?',
    ],
    ['no name', { set: ['=a'] }, '--set', 'setting_malformed', 'write --set listen.check=127.0.0.1:9001'],
    ['no value', { set: ['listen.check'] }, '--set', 'setting_malformed', 'write --set listen.check=127.0.0.1:9001'],
    [
      'a name below a value',
      { set: ['log.level.more=a'] },
      '--set log.level.more',
      'setting_unknown',
      'set it as a whole: --set log.level=VALUE',
    ],
    [
      'an item of a list',
      { set: ['admin.accounts.0=a'] },
      '--set admin.accounts.0',
      'setting_unknown',
      'did you mean admin.accounts?',
    ],
    [
      'an unknown name of a section',
      { set: ['log.colour=a'] },
      '--set log.colour',
      'setting_unknown',
      'known names here: log.level, log.decisions, log.allow_sample, log.requests, log.file',
    ],
    [
      'a name of the language',
      { set: ['__proto__.x=1'] },
      '--set __proto__.x',
      'setting_unknown',
      'write the name as in postern.yaml, with dots',
    ],
    [
      'an unknown variable',
      { environment: { POSTERN_LOG_LEVL: 'a' } },
      'POSTERN_LOG_LEVL',
      'setting_unknown',
      'did you mean POSTERN_LOG_LEVEL?',
    ],
    [
      'no YAML',
      { set: ['admin.accounts=[a'] },
      '--set admin.accounts',
      'setting_malformed',
      'write a number, true, false, text, or a list or object in flow style',
    ],
    ['a bad value of a flag', { set: ['log.level=wran'] }, '--set log.level', 'value_unknown', 'did you mean "warn"?'],
    [
      'a bad value of a variable',
      { environment: { POSTERN_LOG_LEVEL: '' } },
      'POSTERN_LOG_LEVEL',
      'value_unknown',
      'use trace, debug, info, warn, error, fatal or silent',
    ],
    ['a bad part of a whole', { set: ['log={level: wran}'] }, '--set log', 'value_unknown', 'did you mean "warn"?'],
    [
      'the wrong type',
      { environment: { POSTERN_RISK_LOCATIONS_MAX: 'many' } },
      'POSTERN_RISK_LOCATIONS_MAX',
      'type_wrong',
      'write a number',
    ],
  ])('%s', (_, given, file, code, mend) => {
    const { settings, faults } = read(given);
    expect(faults).toMatchObject([
      { severity: 'fault', code, mend, place: { file, path: [], position: { line: 1, column: 1 } } },
    ]);
    if (code.startsWith('setting_')) expect(settings).toBeDefined();
    else expect(settings).toBeUndefined();
  });

  it.each<[string, Given, string]>([
    [
      'the last that gave it',
      { environment: { POSTERN_LOG_LEVEL: 'a' }, set: ['log={level: b}', 'log.level=c', 'log.decisions=all'] },
      '--set log.level',
    ],
    [
      'one that gave a part of what lacks another',
      { set: ['listen.tls.certificate=a.pem'] },
      '--set listen.tls.certificate',
    ],
    [
      'the file, where it has what lacks a part',
      { file: { listen: { tls: { client_ca: 'a', key: 'b' } } }, set: ['listen.tls.client_ca=c'] },
      'postern.yaml',
    ],
  ])('name %s', (_, given, file) => {
    expect(read(given).faults).toMatchObject([{ place: { file } }]);
  });

  it.each(['constructor=1', 'log.constructor=1', 'upstream.headers.=subject', 'log.=1', '.log=1'])(
    'are told of --set %s',
    (assignment) => {
      expect(read({ set: [assignment] }).faults).toMatchObject([{ code: 'setting_unknown' }]);
    },
  );

  it('of the file stay in the file', () => {
    const { faults } = read({ file: { log: { level: 'wran' } }, set: ['log.decisions=all'] });
    expect(faults).toMatchObject([{ place: { file: 'postern.yaml', path: ['log', 'level'] } }]);
  });

  it('of the file are told where an override would have to go through a value', () => {
    const { faults } = read({ file: { log: 'info' }, set: ['log.level=debug'] });
    expect(faults).toMatchObject([{ code: 'type_wrong', place: { file: 'postern.yaml', path: ['log'] } }]);
  });

  it('never hold the value of an assignment that cannot be read', () => {
    const { faults } = read({
      set: ['admin.tokens=[SECRET', 'SECRET'.toLowerCase()],
      environment: { POSTERN_ADMIN_TOKENS: '{SECRET' },
    });
    expect(faults).toHaveLength(3);
    expect(JSON.stringify(faults)).not.toContain('SECRET');
  });
});

describe('other variables', () => {
  it.each([
    'PATH',
    'postern_log_level',
    'POSTERN',
    // What Kubernetes adds for services called postern and postern-admin.
    'POSTERN_SERVICE_HOST',
    'POSTERN_SERVICE_PORT',
    'POSTERN_SERVICE_PORT_GRPC',
    'POSTERN_PORT',
    'POSTERN_PORT_9001_TCP',
    'POSTERN_PORT_9001_TCP_ADDR',
    'POSTERN_ADMIN_SERVICE_HOST',
    'POSTERN_ADMIN_PORT_9002_TCP_PROTO',
  ])('%s is none of ours', (variable) => {
    good({ environment: { [variable]: 'tcp://10.0.0.1:9001' } });
  });

  it('no two settings have the same, and none looks like one of Kubernetes', () => {
    const names = settingNames().map(({ dotted }) => variableName(dotted));
    expect(new Set(names).size).toBe(names.length);
    expect(names.filter((name) => /_SERVICE_(?:HOST|PORT)|_PORT(?:_\d|$)/.test(name))).toEqual([]);
  });
});
