import { describe, expect, it } from 'vitest';
import type { Fault } from '../src/model/fault.ts';
import { parseYaml } from '../src/policy/yaml.ts';
import {
  changedOnlyAtRestart,
  defaultSettings,
  readSettings,
  referencedFiles,
  settingsSchema,
} from '../src/settings.ts';
import type { Settings } from '../src/settings.ts';
import { settingNames } from '../src/settings-overrides.ts';

const OKTA = '11111111-1111-1111-1111-111111111111';
const HUB = '22222222-2222-2222-2222-222222222222';
const DIGEST = '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08';

interface Outcome {
  readonly settings: Settings | undefined;
  readonly faults: readonly Fault[];
}

function from(yaml: string): Outcome {
  const parsed = parseYaml(yaml, 'postern.yaml');
  if ('faults' in parsed) throw new Error(parsed.faults.map(({ text }) => text).join());
  const faults: Fault[] = [];
  return { settings: readSettings({ data: parsed.data }, (one) => void faults.push(one)), faults };
}

function good(yaml: string): Settings {
  const { settings, faults } = from(yaml);
  expect(faults).toEqual([]);
  if (!settings) throw new Error('expected settings, found none');
  return settings;
}

/** `code at.a[0].place`, with `warning` before it where it is one. */
function told(yaml: string): string[] {
  return from(yaml)
    .faults.map(({ severity, code, place }) => {
      const path = place.path.map((step, index) =>
        typeof step === 'number' ? `[${step}]` : index ? `.${step}` : step,
      );
      return `${severity === 'warning' ? 'warning ' : ''}${code} ${path.join('')}`;
    })
    .toSorted();
}

describe('the defaults', () => {
  it.each([
    '',
    '{}',
    '# nothing\n',
    'log: {}',
    'risk: { machine: { points: {} } }',
    'listen: null',
    'log: { level: null }',
    'client_address: { trusted_hops: 0 }',
  ])('are those of %j', (yaml) => {
    expect(good(yaml)).toEqual(defaultSettings());
  });

  it('are these', () => {
    expect(defaultSettings()).toEqual({
      listen: {
        check: { kind: 'tcp', host: '127.0.0.1', port: 9001 },
        admin: { kind: 'tcp', host: '127.0.0.1', port: 9002 },
      },
      policies: 'policies',
      client_address: { from: 'envoy', trusted_hops: 0 },
      identity: {
        providers: [],
        tokens: [],
        envoy_jwt_authn: { enabled: false, namespace: 'envoy.filters.http.jwt_authn', payloads: {} },
        headers: { enabled: false, email: 'x-forwarded-email', groups: 'x-forwarded-groups' },
      },
      certificates: { from: ['peer'], verified_by_envoy: true },
      geo: { headers: {}, private_addresses: 'unknown' },
      posture: { from: 'token' },
      risk_scores: { from: 'token' },
      external_evaluation: {
        signing_key: 'keys/evaluation.pem',
        timeout_ms: 2000,
        allow_hosts: [],
        cache_seconds: 60,
        issuer: 'postern',
      },
      risk: {
        locations_max: 5,
        location_lifetime_hours: 0,
        location_trust_threshold: 1,
        location_check_ip: false,
        travel_velocity_max_kmh: 800,
        travel_distance_min_km: 50,
        score: 'sum',
        expected_locations: [],
        machine: { points: { browser: 10, platform: 10, language: 10 } },
      },
      step_up: { portal_key: 'keys/portal.pem', attempts_max: 2 },
      login: {},
      upstream: {
        headers: {
          'x-postern-user': 'subject',
          'x-postern-email': 'email',
          'x-postern-policy': 'policy',
          'x-postern-risk': 'risk_level',
        },
        remove: [],
      },
      state: { memory: { users_max: 100_000 } },
      admin: { tokens: [], accounts: [] },
      log: { level: 'info', decisions: 'deny', allow_sample: 1, requests: 'none' },
    });
  });

  it('of a token: where it is looked for, its algorithms, its claims', () => {
    const [token] = good(tokens('')).identity.tokens;
    expect(token).toEqual({
      issuer: 'https://issuer.example.com',
      audiences: ['a'],
      keys: { file: 'keys/jwks.json' },
      from: [{ header: 'cf-access-jwt-assertion' }, { cookie: 'CF_Authorization' }, { bearer: 'authorization' }],
      algorithms: ['RS256', 'ES256'],
      clock_skew_seconds: 30,
      claims: {
        subject: ['sub'],
        email: ['email'],
        groups: ['groups'],
        amr: ['amr'],
        acr: ['acr'],
        auth_time: ['auth_time'],
        session: ['sid'],
        country: ['country'],
        posture: ['devicePosture'],
        risk_score: ['user_risk_score'],
        saml_attributes: ['saml_attributes'],
        oidc_claims: ['oidc_fields'],
        auth_contexts: ['acrs'],
        account: ['account_id'],
        user_exists: ['user_exists'],
      },
      cloudflare: false,
      place: { file: 'postern.yaml', path: ['identity', 'tokens', 0] },
    });
  });

  it('cannot be changed by whoever has them', () => {
    const settings = good(`identity: { providers: [{ id: ${OKTA}, name: Okta, type: okta, domains: [a.example] }] }`);
    const unfrozen: string[] = [];
    walk(settings, 'settings', (value, path) => {
      if (!Object.isFrozen(value)) unfrozen.push(path);
    });
    expect(unfrozen).toEqual([]);
  });
});

describe('what is read', () => {
  it.each<[string, (settings: Settings) => unknown, unknown]>([
    ['listen: { check: "[::1]:0" }', ({ listen }) => listen.check, { kind: 'tcp', host: '::1', port: 0 }],
    ['listen: { check: localhost:9001 }', ({ listen }) => listen.check, { kind: 'tcp', host: 'localhost', port: 9001 }],
    [
      'listen: { check: unix:///run/postern/check.sock }',
      ({ listen }) => listen.check,
      { kind: 'unix', path: '/run/postern/check.sock' },
    ],
    ['policies: ./rules/', ({ policies }) => policies, 'rules'],
    ['policies: ../rules', ({ policies }) => policies, '../rules'],
    ['service_tokens_header: Authorization', (settings) => settings.service_tokens_header, 'authorization'],
    ['posture: { from: X-Posture }', ({ posture }) => posture.from, 'x-posture'],
    ['posture: { from: metadata }', ({ posture }) => posture.from, 'metadata'],
    ['geo: { headers: { country: CF-IPCountry } }', ({ geo }) => geo.headers.country, 'cf-ipcountry'],
    [
      'geo: { private_addresses: { country: ca, city: Ottawa } }',
      ({ geo }) => geo.private_addresses,
      { country: 'CA', city: 'Ottawa' },
    ],
    [
      'risk: { expected_locations: [{ country: es, emails: [Ann@Example.COM] }] }',
      ({ risk }) => risk.expected_locations,
      [{ country: 'ES', emails: ['ann@example.com'] }],
    ],
    [
      'external_evaluation: { allow_hosts: [Policy.Example.com, "localhost:8443", "[::1]:80", 10.0.0.1, bücher.example] }',
      (settings) => settings.external_evaluation.allow_hosts,
      ['policy.example.com', 'localhost:8443', '[::1]:80', '10.0.0.1', 'xn--bcher-kva.example'],
    ],
    [
      `admin: { tokens: [{ name: ci, sha256: ${DIGEST.toUpperCase()}, scopes: [write] }], accounts: [023E105F4ECEF8AD9CA31A8372D0C353] }`,
      ({ admin }) => admin,
      { tokens: [{ name: 'ci', sha256: DIGEST, scopes: ['write'] }], accounts: ['023e105f4ecef8ad9ca31a8372d0c353'] },
    ],
    [
      `identity: { providers: [{ id: "${HUB.toUpperCase().replaceAll('-', '')}", name: Hub, type: github, domains: ["@Example.com"] }] }`,
      ({ identity }) => identity.providers,
      [
        {
          id: HUB.replaceAll('-', ''),
          name: 'Hub',
          type: 'github',
          domains: ['example.com'],
          place: { file: 'postern.yaml', path: ['identity', 'providers', 0] },
        },
      ],
    ],
    [
      tokens('claims: { email: [upn, email], groups: https://example.com/groups }, provider: { claim: idp.id }'),
      ({ identity }) => [
        identity.tokens[0]?.claims.email,
        identity.tokens[0]?.claims.groups,
        identity.tokens[0]?.claims.subject,
        identity.tokens[0]?.provider,
      ],
      [['upn', 'email'], ['https://example.com/groups'], ['sub'], { claim: ['idp.id'] }],
    ],
    [
      'identity: { envoy_jwt_authn: { enabled: true, payloads: { b: {}, a: { claims: { email: mail } } } } }',
      ({ identity }) =>
        Object.entries(identity.envoy_jwt_authn.payloads).map(([key, { claims }]) => [key, claims.email, claims.amr]),
      [
        ['b', ['email'], ['amr']],
        ['a', ['mail'], ['amr']],
      ],
    ],
    [
      `identity: { providers: [{ id: abcdabcd-0000-0000-0000-000000000000, name: A, type: saml }], headers: { provider: ABCDABCD-0000-0000-0000-000000000000 } }`,
      ({ identity }) => identity.headers.provider,
      'abcdabcd-0000-0000-0000-000000000000',
    ],
    ['upstream: { headers: {} }', ({ upstream }) => upstream.headers, {}],
    [
      'upstream: { assertion: { header: x-assertion } }',
      ({ upstream }) => upstream.assertion,
      { header: 'x-assertion', key: 'keys/assertion.pem', lifetime_seconds: 60 },
    ],
    [
      'state: { redis: { url: "rediss://user@cache.example.com:6380/1", key_file: keys/state.key } }',
      ({ state }) => state.redis,
      { url: 'rediss://user@cache.example.com:6380/1', key_file: 'keys/state.key', timeout_ms: 50 },
    ],
    [
      'state: { redis: { urls: ["redis://a:7000", "redis://b:7000"], key_file: k, trusted_authorities: tls/redis.pem } }',
      ({ state }) => state.redis,
      {
        urls: ['redis://a:7000', 'redis://b:7000'],
        key_file: 'k',
        trusted_authorities: 'tls/redis.pem',
        timeout_ms: 50,
      },
    ],
    [
      'step_up: { portal_url: "http://127.0.0.1:8080/step-up?a=1" }',
      (settings) => settings.step_up.portal_url,
      'http://127.0.0.1:8080/step-up?a=1',
    ],
  ])('%s', (yaml, pick, expected) => {
    expect(pick(good(yaml))).toEqual(expected);
  });
});

describe('faults', () => {
  it.each<[string, string[]]>([
    // Forms
    ['[]', ['type_wrong ']],
    ['lisen: {}', ['key_unknown lisen']],
    ['listen: { chek: a }', ['key_unknown listen.chek']],
    ['risk: { machine: { points: { browsr: 1 } } }', ['key_unknown risk.machine.points.browsr']],
    ['listen: 9001', ['type_wrong listen']],
    ['log: { level: verbose }', ['value_unknown log.level']],
    ['log: { decisions: some }', ['value_unknown log.decisions']],
    ['log: { decisions: all, allow_sample: 2 }', ['value_range log.allow_sample']],
    ['shadow: policies', ['path_invalid shadow']],
    ['shadow: ./policies/next/', ['path_invalid shadow']],
    ['{ shadow: rules, policies: rules/now }', ['path_invalid shadow']],
    ['shadow: ..', ['path_invalid shadow']],
    ['log: { requests: all }', ['value_unknown log.requests']],
    ['log: { file: {} }', ['key_missing log.file']],
    ['log: { file: { path: logs/ } }', ['path_invalid log.file.path']],
    [
      'log: { file: { path: ../decisions.log, max_bytes: 1000, keep: -1 } }',
      ['value_range log.file.keep', 'value_range log.file.max_bytes'],
    ],
    ['certificates: { from: [] }', ['value_empty certificates.from']],
    ['certificates: { from: [peer, cookie] }', ['value_unknown certificates.from[1]']],
    ['certificates: { verified_by_envoy: "yes" }', ['type_wrong certificates.verified_by_envoy']],
    ['step_up: { realm: " postern" }', ['value_padded step_up.realm']],
    ['step_up: { realm: "a \\"quoted\\" one" }', ['value_invalid step_up.realm']],
    ['policies: ""', ['value_empty policies']],
    ['policies: .', ['path_invalid policies']],
    ['policies: ..', ['path_invalid policies']],
    ['geo: { city_database: geo/ }', ['path_invalid geo.city_database']],
    // Several at once
    [
      'log: { level: loud }\nrisk: { score: mean, locations_max: 11 }\nadmni: {}',
      ['key_unknown admni', 'value_range risk.locations_max', 'value_unknown log.level', 'value_unknown risk.score'],
    ],
    // Addresses
    ...[
      ':9001',
      '*:9001',
      '9001',
      'localhost',
      '::1:9001',
      '[::1]',
      '[localhost]:1',
      '127.0.0.1:65536',
      '1.2.3:4',
      '300.1.1.1:80',
      'a b:1',
      'unix:check.sock',
      'unix://run/check.sock',
      'unix:///run/',
      `unix:///${'x'.repeat(107)}`,
      'http://127.0.0.1:9001',
    ].map((address): [string, string[]] => [
      `listen: { check: ${JSON.stringify(address)} }`,
      ['address_invalid listen.check'],
    ]),
    ['listen: { admin: unix:///run/admin.sock }', ['address_invalid listen.admin']],
    ['listen: { tls: { certificate: a.pem } }', ['key_missing listen.tls']],
    // Ranges: both ends outside
    ...(
      [
        ['client_address.trusted_hops', -1, 101],
        ['external_evaluation.timeout_ms', 0, 60_001],
        ['external_evaluation.cache_seconds', -1, 86_401],
        ['risk.locations_max', -1, 11],
        ['risk.location_lifetime_hours', -1, 876_001],
        ['risk.location_trust_threshold', 0, 101],
        ['risk.travel_velocity_max_kmh', 99, 1201],
        ['risk.travel_distance_min_km', -1, 20_041],
        ['step_up.attempts_max', 0, 101],
      ] as const
    ).flatMap(([dotted, below, above]) => {
      const [section, key] = dotted.split('.');
      const fixed = section === 'client_address' ? 'from: forwarded, ' : '';
      return [below, above].map((value): [string, string[]] => [
        `${section}: { ${fixed}${key}: ${value} }`,
        [`value_range ${dotted}`],
      ]);
    }),
    ['risk: { locations_max: 2.5 }', ['value_range risk.locations_max']],
    ['risk: { locations_max: "5" }', ['type_wrong risk.locations_max']],
    ['risk: { travel_velocity_max_kmh: .inf }', ['type_wrong risk.travel_velocity_max_kmh']],
    [tokens('clock_skew_seconds: 301'), ['value_range identity.tokens[0].clock_skew_seconds']],
    // Providers
    [
      'identity: { providers: [{}] }',
      ['key_missing identity.providers[0]', 'key_missing identity.providers[0]', 'key_missing identity.providers[0]'],
    ],
    ['identity: { providers: [{ id: okta, name: Okta, type: okta }] }', ['uuid_invalid identity.providers[0].id']],
    [
      `identity: { providers: [{ id: ${OKTA}, name: Okta, type: Okta }] }`,
      ['provider_type_unknown identity.providers[0].type'],
    ],
    [providers(`{ id: ${OKTA.toUpperCase()}, name: Hub, type: github }`), ['id_duplicate identity.providers[1].id']],
    [providers(`{ id: ${HUB}, name: Okta, type: github }`), ['name_duplicate identity.providers[1].name']],
    [
      providers(`{ id: ${HUB}, name: Hub, type: github, domains: [b.example, "@A.Example"] }`),
      ['domain_claimed_twice identity.providers[1].domains[1]'],
    ],
    [
      providers(`{ id: ${HUB}, name: Hub, type: github, domains: [localhost] }`),
      ['domain_invalid identity.providers[1].domains[0]'],
    ],
    [tokens(`provider: ${OKTA}`), ['provider_unknown identity.tokens[0].provider']],
    [tokens('provider: okta'), ['uuid_invalid identity.tokens[0].provider']],
    [
      tokens('provider: { claims: idp }'),
      ['key_missing identity.tokens[0].provider', 'key_unknown identity.tokens[0].provider.claims'],
    ],
    [`identity: { headers: { provider: ${OKTA} } }`, ['provider_unknown identity.headers.provider']],
    [
      `identity: { envoy_jwt_authn: { payloads: { p: { provider: ${OKTA} } } } }`,
      ['provider_unknown identity.envoy_jwt_authn.payloads.p.provider'],
    ],
    ['identity: { envoy_jwt_authn: { enabled: true } }', ['key_missing identity.envoy_jwt_authn']],
    // Tokens
    ['identity: { tokens: [{ audiences: [a], keys: { file: a } }] }', ['key_missing identity.tokens[0]']],
    [
      'identity: { tokens: [{ issuer: i, audiences: [], keys: { file: a } }] }',
      ['value_empty identity.tokens[0].audiences'],
    ],
    [
      'identity: { tokens: [{ issuer: i, audiences: a, keys: { file: a } }] }',
      ['type_wrong identity.tokens[0].audiences'],
    ],
    ['identity: { tokens: [{ issuer: i, audiences: [a] }] }', ['key_missing identity.tokens[0]']],
    ['identity: { tokens: [{ issuer: i, audiences: [a], keys: {} }] }', ['key_missing identity.tokens[0].keys']],
    [
      'identity: { tokens: [{ issuer: i, audiences: [a], keys: { file: a, url: "https://a.example" } }] }',
      ['key_conflict identity.tokens[0].keys'],
    ],
    ...['none', 'HS256', 'rs256', 'RS1', 'ES256K'].map((name): [string, string[]] => [
      tokens(`algorithms: [RS256, ${name}]`),
      ['algorithm_invalid identity.tokens[0].algorithms[1]'],
    ]),
    [tokens('algorithms: []'), ['value_empty identity.tokens[0].algorithms']],
    [tokens('from: []'), ['value_empty identity.tokens[0].from']],
    [
      tokens('from: [{ query: token }]'),
      ['key_missing identity.tokens[0].from[0]', 'key_unknown identity.tokens[0].from[0].query'],
    ],
    [tokens('from: [{ header: a, cookie: b }]'), ['key_conflict identity.tokens[0].from[0]']],
    [tokens('from: [{ header: "a b" }]'), ['header_invalid identity.tokens[0].from[0].header']],
    [tokens('from: [{ cookie: "a=b" }]'), ['cookie_invalid identity.tokens[0].from[0].cookie']],
    [tokens('claims: { email: [] }'), ['value_empty identity.tokens[0].claims.email']],
    [tokens('claims: { mail: upn }'), ['key_unknown identity.tokens[0].claims.mail']],
    // URLs
    ...[
      'not a url',
      '//a.example/k',
      'https:/a.example',
      'https:///k',
      'ftp://a.example',
      'https://a.example\\k',
      'https://a.example/#k',
      'https://user@a.example/',
      'https://',
    ].map((url): [string, string[]] => [keys(url), ['url_invalid identity.tokens[0].keys.url']]),
    [keys('http://keys.example.com/'), ['url_insecure identity.tokens[0].keys.url']],
    ['tracing: {}', ['key_missing tracing']],
    ['tracing: { otlp_url: "ftp://a/" }', ['url_invalid tracing.otlp_url']],
    ['tracing: { otlp_url: "https://user:secret@a/" }', ['url_invalid tracing.otlp_url']],
    ['tracing: { otlp_url: "https://a/", sample: 1.5 }', ['value_range tracing.sample']],
    [keys('http://127.0.0.1.example.com/'), ['url_insecure identity.tokens[0].keys.url']],
    ['login: { url: "/login" }', ['url_invalid login.url']],
    ['state: { redis: { url: "http://a:1", key_file: k } }', ['url_invalid state.redis.url']],
    ['state: { redis: { url: "redis://:secret@a:1/0", key_file: k } }', ['secret_in_settings state.redis.url']],
    ['state: { redis: { url: "redis://a/x", key_file: k } }', ['url_invalid state.redis.url']],
    ['state: { redis: { url: "redis://a" } }', ['key_missing state.redis']],
    ['state: { redis: { key_file: k } }', ['key_missing state.redis']],
    ['state: { redis: { url: "redis://a%zz@b", key_file: k } }', ['url_invalid state.redis.url']],
    ['state: { redis: { url: "redis://a", urls: ["redis://b"], key_file: k } }', ['key_conflict state.redis']],
    ['state: { redis: { urls: [], key_file: k } }', ['value_empty state.redis.urls']],
    ['state: { redis: { urls: ["redis://a/1"], key_file: k } }', ['url_invalid state.redis.urls[0]']],
    ['state: { redis: { urls: ["redis://a", "rediss://b"], key_file: k } }', ['url_invalid state.redis.urls[1]']],
    ['state: { redis: { urls: ["redis://u@a", "redis://b"], key_file: k } }', ['url_invalid state.redis.urls[1]']],
    ['state: { redis: { urls: ["redis://:secret@a"], key_file: k } }', ['secret_in_settings state.redis.urls[0]']],
    // Hosts
    ...['https://a.example', 'a.example/path', 'a.example:99999', '*.example.com', '[::1', '1.2.3', 'a b'].map(
      (host): [string, string[]] => [
        `external_evaluation: { allow_hosts: [${JSON.stringify(host)}] }`,
        ['host_invalid external_evaluation.allow_hosts[0]'],
      ],
    ),
    // Countries and people
    ['geo: { private_addresses: { country: UK } }', ['country_unknown geo.private_addresses.country']],
    ['geo: { private_addresses: { country: T1 } }', ['country_unknown geo.private_addresses.country']],
    ['geo: { private_addresses: nowhere }', ['value_unknown geo.private_addresses']],
    ['risk: { expected_locations: [{ country: XX }] }', ['country_unknown risk.expected_locations[0].country']],
    [
      'risk: { expected_locations: [{ country: CA, emails: [ann] }] }',
      ['email_invalid risk.expected_locations[0].emails[0]'],
    ],
    ['risk: { expected_locations: [{ country: CA, emails: [] }] }', ['value_empty risk.expected_locations[0].emails']],
    // Headers
    ['service_tokens_header: "a:b"', ['header_invalid service_tokens_header']],
    ['posture: { from: "a b" }', ['header_invalid posture.from']],
    ['upstream: { headers: { X-User: subject } }', ['header_invalid upstream.headers.X-User']],
    ['upstream: { headers: { "x user": subject } }', ['header_invalid upstream.headers.x user']],
    ['upstream: { headers: { "": subject } }', ['header_invalid upstream.headers.']],
    ['upstream: { headers: { ":path": subject } }', ['header_invalid upstream.headers.:path']],
    ['upstream: { headers: { x-user: password } }', ['value_unknown upstream.headers.x-user']],
    ...[
      'host',
      'connection',
      'content-length',
      'transfer-encoding',
      'te',
      'upgrade',
      'keep-alive',
      'trailer',
      'x-envoy-peer-metadata',
    ].map((name): [string, string[]] => [
      `upstream: { headers: { ${name}: subject } }`,
      [`header_reserved upstream.headers.${name}`],
    ]),
    ['upstream: { assertion: { header: host } }', ['header_reserved upstream.assertion.header']],
    ['upstream: { remove: [host] }', ['header_reserved upstream.remove[0]']],
    ['upstream: { remove: [X-A] }', ['header_invalid upstream.remove[0]']],
    [
      'upstream: { headers: { x-user: subject }, remove: [x-a, x-user] }',
      ['header_set_and_removed upstream.remove[1]'],
    ],
    ['upstream: { headers: { x-user: subject }, remove: [x_user] }', ['header_set_and_removed upstream.remove[0]']],
    ['upstream: { remove: [x-postern-user] }', ['header_set_and_removed upstream.remove[0]']],
    ['upstream: { headers: { x-user: subject, x_user: email } }', ['header_duplicate upstream.headers.x_user']],
    [
      'upstream: { headers: { x-user: subject }, assertion: { header: x-user } }',
      ['header_duplicate upstream.assertion.header'],
    ],
    // Admin
    ['admin: { tokens: [{ name: a, sha256: abc, scopes: [read] }] }', ['digest_invalid admin.tokens[0].sha256']],
    [`admin: { tokens: [{ name: a, sha256: ${DIGEST}, scopes: [] }] }`, ['value_empty admin.tokens[0].scopes']],
    [
      `admin: { tokens: [{ name: a, sha256: ${DIGEST}, scopes: [admin] }] }`,
      ['value_unknown admin.tokens[0].scopes[0]'],
    ],
    [
      `admin: { tokens: [{ name: a, sha256: ${DIGEST}, scopes: [read] }, { name: a, sha256: ${DIGEST.toUpperCase()}, scopes: [read] }] }`,
      ['digest_duplicate admin.tokens[1].sha256', 'name_duplicate admin.tokens[1].name'],
    ],
    ['admin: { accounts: [mine] }', ['uuid_invalid admin.accounts[0]']],
    [`admin: { accounts: [${OKTA}, ${OKTA}] }`, ['id_duplicate admin.accounts[1]']],
  ])('%s', (yaml, expected) => {
    const { settings, faults } = from(yaml);
    expect(settings).toBeUndefined();
    expect(told(yaml)).toEqual(expected);
    for (const { text, mend } of faults) expect(text && mend).toBeTruthy();
  });

  it.each<[string, string[]]>([
    ['log: { allow_sample: 0.5 }', ['warning setting_without_effect log.allow_sample']],
    [
      'log: { decisions: none, requests: replay, file: { path: ../x.log } }',
      ['warning setting_without_effect log.file', 'warning setting_without_effect log.requests'],
    ],
    ['client_address: { trusted_hops: 1 }', ['warning setting_without_effect client_address.trusted_hops']],
    ['step_up: { portal_key: a.pem }', ['warning setting_without_effect step_up.portal_key']],
    ['step_up: { portal_url: "http://login.example.com" }', ['warning url_insecure step_up.portal_url']],
    ['login: { url: "http://login.example.com" }', ['warning url_insecure login.url']],
    [
      'tracing: { otlp_url: "http://collector:4318/v1/traces", headers_file: h }',
      ['warning url_insecure tracing.otlp_url'],
    ],
  ])('%s is a warning only', (yaml, expected) => {
    expect(told(yaml)).toEqual(expected);
    expect(from(yaml).settings).toBeDefined();
  });

  it.each<[string, string, string]>([
    ['lisen: {}', 'unknown key "lisen"', 'did you mean "listen"?'],
    [
      'log: { level: wran }',
      'expected trace, debug, info, warn, error, fatal or silent, found "wran"',
      'did you mean "warn"?',
    ],
    [
      'listen: { check: ":9001" }',
      'expected host:port, [v6]:port or unix:///path, found ":9001"',
      'write 0.0.0.0:9001 for every IPv4 address',
    ],
    ['listen: { check: "::1" }', 'expected host:port, [v6]:port or unix:///path, found "::1"', 'write [::1]:9001'],
    ['upstream: { headers: { X-User: subject } }', 'expected a lower-case header name, found "X-User"', 'write x-user'],
    [
      providers(`{ id: ${HUB}, name: Okta, type: github }`),
      'expected each identity provider to have a name of its own, found "Okta" again',
      'rename one of them; the first is identity.providers[0].name',
    ],
    [
      `identity: { providers: [{ id: ${OKTA}, name: Okta, type: okta }], headers: { provider: ${OKTA.replace('1', '7')} } }`,
      `no identity provider has the id "${OKTA.replace('1', '7')}"`,
      `did you mean "${OKTA}"?`,
    ],
  ])('%s says so and how to mend it', (yaml, text, mend) => {
    expect(from(yaml).faults).toMatchObject([{ text, mend }]);
  });

  it('tell what is wrong across the whole beside what is wrong in one value', () => {
    expect(
      told(
        `identity: { tokens: [{ issuer: i, audiences: [a], keys: { file: a }, provider: ${OKTA}, algorithms: [none] }] }\nlog: { level: x }`,
      ),
    ).toEqual([
      'algorithm_invalid identity.tokens[0].algorithms[0]',
      'provider_unknown identity.tokens[0].provider',
      'value_unknown log.level',
    ]);
  });

  it.each([
    'admin: { tokens: [SECRET] }',
    'admin: { tokens: SECRET }',
    'admin: { tokens: [{ name: a, sha256: SECRET, scopes: [read] }] }',
    'admin: { tokens: [{ name: a, sha256: " SECRET", scopes: [read] }] }',
    'admin: { tokens: [{ name: a, sha256: [SECRET], scopes: [read] }] }',
    'admin: { tokens: [{ name: a, sha256: a, scopes: SECRET }] }',
    'state: { redis: SECRET }',
    'state: { redis: { url: "redis://:SECRET@cache:6379", key_file: a } }',
    'state: { redis: { url: " redis://:SECRET@cache:6379", key_file: a } }',
    'state: { redis: { url: "redis//:SECRET@cache:6379", key_file: a } }',
    'identity: { tokens: [{ issuer: i, audiences: [a], keys: { url: "https://user:SECRET@a.example" } }] }',
    'identity: { tokens: [{ issuer: i, audiences: [a], keys: { url: "https//user:SECRET@a.example" } }] }',
    'login: { url: "https://user:SECRET@login.example.com" }',
  ])('%s is told without the secret', (yaml) => {
    const { settings, faults } = from(yaml);
    expect(settings).toBeUndefined();
    expect(faults.length).toBeGreaterThan(0);
    expect(JSON.stringify(faults)).not.toContain('SECRET');
  });
});

describe('files that are named', () => {
  it('are all of them, with what each is for and where it stands', () => {
    const settings = good(`
listen: { tls: { certificate: tls/server.pem, key: tls/server.key, client_ca: tls/ca.pem } }
identity:
  tokens:
    - { issuer: a, audiences: [a], keys: { url: "https://a.example/keys" } }
    - { issuer: b, audiences: [b], keys: { file: keys/jwks.json } }
certificates: { trusted_authorities: tls/clients.pem }
geo: { city_database: geo/city.mmdb, asn_database: geo/asn.mmdb, anonymous_database: /data/anonymous.mmdb }
external_evaluation: { signing_key: keys/e.pem }
step_up: { portal_url: https://login.example.com, portal_key: keys/p.pem }
upstream: { assertion: { header: x-assertion, key: keys/a.pem } }
state: { redis: { url: "redis://a", key_file: keys/state.key, password_file: keys/redis.txt, trusted_authorities: tls/redis.pem } }
`);
    expect(referencedFiles(settings).map(({ name, use, place }) => [name, use, place.path.join('.')])).toEqual([
      ['tls/server.pem', 'public', 'listen.tls.certificate'],
      ['tls/server.key', 'secret', 'listen.tls.key'],
      ['tls/ca.pem', 'public', 'listen.tls.client_ca'],
      ['keys/jwks.json', 'public', 'identity.tokens.1.keys.file'],
      ['tls/clients.pem', 'public', 'certificates.trusted_authorities'],
      ['geo/city.mmdb', 'public', 'geo.city_database'],
      ['geo/asn.mmdb', 'public', 'geo.asn_database'],
      ['/data/anonymous.mmdb', 'public', 'geo.anonymous_database'],
      ['keys/e.pem', 'made', 'external_evaluation.signing_key'],
      ['keys/p.pem', 'made', 'step_up.portal_key'],
      ['keys/a.pem', 'made', 'upstream.assertion.key'],
      ['keys/state.key', 'secret', 'state.redis.key_file'],
      ['keys/redis.txt', 'secret', 'state.redis.password_file'],
      ['tls/redis.pem', 'public', 'state.redis.trusted_authorities'],
    ]);
  });

  it('are hardly any where nothing is set', () => {
    expect(referencedFiles(defaultSettings()).map(({ name, use }) => [name, use])).toEqual([
      ['keys/evaluation.pem', 'made'],
    ]);
  });
});

describe('what only a restart can change', () => {
  it.each<[string, string[]]>([
    ['', []],
    ['log: { level: debug }', []],
    [`admin: { tokens: [{ name: a, sha256: ${DIGEST}, scopes: [read] }] }`, []],
    ['listen: { check: 127.0.0.1:9001 }', []],
    ['listen: { check: 127.0.0.1:9101 }', ['listen.check']],
    ['listen: { admin: 127.0.0.1:9102, tls: { certificate: a, key: b } }', ['listen.admin', 'listen.tls']],
    ['state: { memory: { users_max: 5 } }', ['state.memory']],
    ['state: { redis: { url: "redis://a", key_file: k } }', ['state.redis']],
    ['tracing: { otlp_url: "https://a/" }', ['tracing']],
  ])('%s', (yaml, expected) => {
    expect(changedOnlyAtRestart(defaultSettings(), good(yaml))).toEqual(expected);
    expect(changedOnlyAtRestart(good(yaml), defaultSettings())).toEqual(expected);
  });
});

describe('the JSON Schema', () => {
  it('describes every key, and gives no other', () => {
    const silent: string[] = [];
    walk(settingsSchema(), '', (value, path) => {
      const { properties, additionalProperties, description } = value as Record<string, unknown>;
      if (typeof properties !== 'object' || properties === null || path.endsWith('.properties')) return;
      if (additionalProperties !== false) silent.push(`${path} is open`);
      for (const [key, member] of Object.entries(properties)) {
        if (typeof (member as Record<string, unknown>)['description'] !== 'string') silent.push(`${path}.${key}`);
      }
      if (path === '' && typeof description !== 'string') silent.push('the whole');
    });
    expect(silent).toEqual([]);
  });

  it('has every name that can be set', () => {
    const names: string[] = [];
    const below = (schema: Record<string, unknown>, path: string): void => {
      for (const [key, member] of Object.entries(
        (schema['properties'] ?? {}) as Record<string, Record<string, unknown>>,
      )) {
        const dotted = path === '' ? key : `${path}.${key}`;
        names.push(dotted);
        below(member, dotted);
      }
    };
    below(settingsSchema() as Record<string, unknown>, '');
    expect(settingNames().map(({ dotted }) => dotted)).toEqual(names);
  });

  it('gives the defaults, and requires only what has none', () => {
    const schema = JSON.parse(JSON.stringify(settingsSchema())) as Record<string, never>;
    expect(schema).toMatchObject({
      type: 'object',
      additionalProperties: false,
      properties: {
        listen: { properties: { check: { default: '127.0.0.1:9001' }, tls: { required: ['certificate', 'key'] } } },
        risk: { properties: { locations_max: { type: ['integer', 'null'], minimum: 0, maximum: 10, default: 5 } } },
        identity: { properties: { tokens: { items: { required: ['issuer', 'audiences', 'keys'] } } } },
        log: {
          properties: {
            decisions: { anyOf: [{ enum: ['all', 'deny', 'none'] }, { type: 'null' }], default: 'deny' },
          },
        },
      },
    });
    expect(schema).not.toHaveProperty('required');
  });
});

function tokens(more: string): string {
  return `identity: { tokens: [{ issuer: "https://issuer.example.com", audiences: [a], keys: { file: keys/jwks.json }${more && `, ${more}`} }] }`;
}

function keys(url: string): string {
  return `identity: { tokens: [{ issuer: i, audiences: [a], keys: { url: ${JSON.stringify(url)} } }] }`;
}

function providers(second: string): string {
  return `identity: { providers: [{ id: ${OKTA}, name: Okta, type: okta, domains: [a.example] }, ${second}] }`;
}

function walk(value: unknown, path: string, visit: (value: object, path: string) => void): void {
  if (value === null || typeof value !== 'object') return;
  visit(value, path);
  for (const [key, member] of Object.entries(value)) walk(member, path === '' ? key : `${path}.${key}`, visit);
}
