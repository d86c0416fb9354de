/** The shape of `postern.yaml`: every key, its bounds, its default and what it is for. */
import { isIP } from 'node:net';
import { DEFAULT_CLAIM_PATHS } from './facts/claims.ts';
import { countryFinding, isCountry } from './shared/country.ts';
import { domainText, emailText, normalDomain } from './shared/email.ts';
import { isLoopbackHost } from './shared/host.ts';
import { SIGNATURE_KEYS } from './shared/jose.ts';
import type { SignatureAlgorithm } from './shared/jose.ts';
import { readListenAddress } from './shared/listen.ts';
import type { ListenAddress } from './shared/listen.ts';
import {
  also,
  checkedText,
  exactObject,
  flag,
  id,
  integer,
  listOf,
  number,
  quoted,
  readText,
  text,
  word,
  z,
} from './shared/shape.ts';
import type { Finding, Shape } from './shared/shape.ts';

/** Types of identity providers. Source: Cloudflare Access, identity provider `type`. */
export const PROVIDER_TYPES = [
  'onetimepin',
  'azureAD',
  'saml',
  'centrify',
  'facebook',
  'github',
  'google-apps',
  'google',
  'linkedin',
  'oidc',
  'okta',
  'onelogin',
  'pingone',
  'yandex',
  'cloudflare',
] as const;

/** What an allowed request may carry to the upstream. */
export const UPSTREAM_VALUES = [
  'subject',
  'email',
  'name',
  'groups',
  'provider',
  'application',
  'policy',
  'resource_rule',
  'risk_level',
  'risk_score',
  'decision_id',
] as const;

/** Header → what it carries, unless the settings say otherwise. */
export const UPSTREAM_DEFAULTS = {
  'x-postern-user': 'subject',
  'x-postern-email': 'email',
  'x-postern-policy': 'policy',
  'x-postern-risk': 'risk_level',
} as const satisfies Readonly<Record<string, (typeof UPSTREAM_VALUES)[number]>>;

/** A header that Postern must not set: it belongs to the connection, to routing, or to Envoy itself. */
export function isReservedHeader(name: string): boolean {
  return RESERVED_HEADERS.has(name) || name.startsWith('x-envoy-');
}

type TcpAddress = Extract<ListenAddress, { readonly kind: 'tcp' }>;
type Location = { readonly header: string } | { readonly cookie: string } | { readonly bearer: string };
type KeySource = { readonly url: string } | { readonly file: string };

const RESERVED_HEADERS: ReadonlySet<string> = new Set([
  'host',
  'connection',
  'content-length',
  'transfer-encoding',
  'te',
  'upgrade',
  'keep-alive',
  'trailer',
]);

/** Linux: 108 bytes with the final NUL. */
const MAX_SOCKET_PATH = 107;

const listen = section({
  check: preset(
    checkAddress(),
    '127.0.0.1:9001',
    'Where Envoy calls: `host:port`, `[v6]:port` or `unix:///path`. Port 0 picks a free one. Changed by a restart only.',
  ),
  admin: preset(
    adminAddress(),
    '127.0.0.1:9002',
    'The admin port (HTTP): `host:port` or `[v6]:port`. Changed by a restart only.',
  ),
  tls: optional(
    exactObject({
      certificate: path('PEM file: the certificate of the check port, with its intermediates.'),
      key: path('PEM file: the private key of that certificate.'),
      client_ca: optional(
        path(),
        'PEM file: with it, callers must show a certificate of one of these authorities (mTLS).',
      ),
    }),
    'TLS of the check port. Without it: clear-text HTTP/2.',
  ),
}).describe('Where Postern listens.');

const clientAddress = section({
  from: preset(
    word(['envoy', 'forwarded']),
    'envoy',
    '`envoy`: the peer of the connection as Envoy tells it; `forwarded`: an entry of x-forwarded-for.',
  ),
  trusted_hops: preset(
    bounded(0, 100),
    0,
    'With `forwarded`: how many entries of x-forwarded-for, from the right, are our own proxies.',
  ),
}).describe("Whose address counts as the client's.");

const provider = exactObject({
  id: id().describe('UUID; what rules name as `identity_provider_id` and `login_method`.'),
  name: text(350).describe('A name of its own.'),
  type: word(PROVIDER_TYPES, 'provider_type_unknown').describe("The provider's type, as Cloudflare Access names it."),
  domains: preset(listOf(domainText()), [], 'Users of these e-mail domains have this as their domain-based provider.'),
});

const providerSource = z.union([
  id('write the id of one of identity.providers'),
  exactObject({ claim: claimPaths().describe('Dotted path of the claim that holds the id of the provider.') }),
]);

const claims = section(
  Object.fromEntries(
    Object.entries(DEFAULT_CLAIM_PATHS).map(([claim, fallback]: [string, readonly string[]]) => [
      claim,
      preset(
        claimPaths(),
        fallback[0],
        `Dotted path of the claim for ${claim}, or a list: the first that holds a value.`,
      ),
    ]),
  ) as unknown as { [claim in keyof typeof DEFAULT_CLAIM_PATHS]: Shape<readonly string[]> },
).describe('Where each part of the identity is found in the token.');

const token = exactObject({
  issuer: text().describe('Compared with `iss` character by character.'),
  audiences: some(text(), 'an audience').describe('Any of these must be in `aud`.'),
  keys: exactlyOne<KeySource>({
    url: url('https or loopback').describe('Where the JSON Web Key Set is fetched.'),
    file: path('A JSON Web Key Set in the config folder; reloaded when it changes.'),
  }).describe("The issuer's public keys."),
  from: preset(
    some(
      exactlyOne<Location>({
        header: headerName().describe('A header that holds the token alone.'),
        cookie: cookieName().describe('A cookie.'),
        bearer: headerName().describe('A header of the form `Bearer <token>`.'),
      }),
      'a location',
    ),
    [{ header: 'cf-access-jwt-assertion' }, { cookie: 'CF_Authorization' }, { bearer: 'authorization' }],
    'Where the token is looked for, in order.',
  ),
  algorithms: preset(
    some(algorithm(), 'an algorithm'),
    ['RS256', 'ES256'],
    'Accepted signatures: RS, PS and ES 256/384/512, EdDSA.',
  ),
  clock_skew_seconds: preset(bounded(0, 300), 30, 'How far the clocks may differ.'),
  provider: optional(providerSource, 'The provider that every such token comes from, or the claim that names it.'),
  claims,
  cloudflare: preset(flag(), false, 'A Cloudflare Access issuer under another host name than cloudflareaccess.com.'),
});

const identity = section({
  providers: preset(listOf(provider), [], 'Identity providers.'),
  tokens: preset(listOf(token), [], 'Accepted tokens, in order; the first whose location holds a value is used.'),
  envoy_jwt_authn: section({
    enabled: preset(flag(), false, 'Whether that payload is trusted.'),
    namespace: preset(text(), 'envoy.filters.http.jwt_authn', 'The namespace of dynamic metadata it is found in.'),
    payloads: preset(
      z.record(
        z.string(),
        exactObject({
          provider: optional(providerSource, 'The provider that these tokens come from, or the claim that names it.'),
          claims,
        }),
      ),
      {},
      'Metadata key (payload_in_metadata) → how its payload is read. The first key present is used.',
    ),
  }).describe("The payload that Envoy's jwt_authn filter verified, told in dynamic metadata."),
  headers: section({
    enabled: preset(
      flag(),
      false,
      "Whether plain headers are trusted. Only behind a proxy that removes the client's own copies.",
    ),
    email: preset(headerName(), 'x-forwarded-email', "The header with the user's e-mail address."),
    groups: preset(headerName(), 'x-forwarded-groups', 'The header with the group names, split at commas.'),
    provider: optional(id('write the id of one of identity.providers'), 'The provider these users come from.'),
  }).describe('Identity from plain headers.'),
}).describe('How Postern knows who is asking.');

const certificates = section({
  from: preset(
    some(word(['peer', 'xfcc']), 'a source'),
    ['peer'],
    '`peer`: the certificate of the connection; `xfcc`: the last element of x-forwarded-client-cert. The first that shows one is used.',
  ),
  trusted_authorities: optional(
    path(),
    'PEM file; when set, chain, dates and clientAuth usage of client certificates are checked here too.',
  ),
  verified_by_envoy: preset(
    flag(),
    true,
    'Envoy verifies client certificates. false: without trusted_authorities none counts as verified.',
  ),
}).describe('Client certificates.');

const geo = section({
  city_database: optional(path(), 'MaxMind DB with city or country data; reloaded when it changes.'),
  asn_database: optional(path(), 'MaxMind DB with the networks and their providers.'),
  anonymous_database: optional(path(), 'MaxMind DB with anonymous addresses.'),
  headers: section({
    country: optional(headerName(), 'Country code, e.g. cf-ipcountry.'),
    city: optional(headerName(), 'City, e.g. cf-ipcity.'),
    latitude: optional(headerName(), 'Degrees, e.g. cf-iplatitude.'),
    longitude: optional(headerName(), 'Degrees, e.g. cf-iplongitude.'),
    isp: optional(headerName(), 'Internet provider.'),
    anonymous: optional(headerName(), '`true`, `1` or `yes` for an anonymous address.'),
  }).describe('Trusted location headers, used where no database answers. The proxy in front must set or remove them.'),
  private_addresses: preset(
    z.union([
      exactObject({
        country: countryCode().describe('ISO 3166-1 alpha-2.'),
        city: optional(text(), 'City.'),
      }),
      word(['unknown']),
    ]),
    'unknown',
    'Where private addresses are: `unknown`, or a country and city.',
  ),
}).describe('Where addresses are.');

const posture = section({
  from: preset(
    readText((value) =>
      isHeaderName(value) ? { value: value.toLowerCase() } : headerFinding(value, ', or token or metadata'),
    ),
    'token',
    '`token`, `metadata` (namespace postern.posture), or the name of a trusted header.',
  ),
}).describe('Where device posture is read.');

const riskScores = section({
  from: preset(word(['token', 'state']), 'token', '`token`, or `state`: set through the admin API.'),
}).describe('Where user risk levels are read.');

const externalEvaluation = section({
  signing_key: preset(
    path(),
    'keys/evaluation.pem',
    'PEM file: RSA private key, 2048 bits or more. Created with mode 0600 where missing, once a rule needs it.',
  ),
  timeout_ms: preset(bounded(1, 60_000), 2000, 'Connecting, keys and answer together.'),
  allow_hosts: preset(
    listOf(hostAndPort()),
    [],
    'Hosts (`host` or `host:port`) that evaluate_url and keys_url may name. http is allowed for a listed loopback host only.',
  ),
  cache_seconds: preset(bounded(0, 86_400), 60, "How long an answer is kept; never beyond the answer's own exp."),
  issuer: preset(text(), 'postern', 'The `iss` of the token that asks.'),
}).describe('External evaluation rules.');

const risk = section({
  locations_max: preset(bounded(0, 10), 5, 'Learned places per user.'),
  location_lifetime_hours: preset(bounded(0, 876_000), 0, 'How long a learned place counts; 0: no expiry.'),
  location_trust_threshold: preset(bounded(1, 100), 1, 'Authentications from a place before it counts.'),
  location_check_ip: preset(flag(), false, 'Whether the address (IPv6: its /64) belongs to the place.'),
  travel_velocity_max_kmh: preset(ranged(100, 1200), 800, 'Faster is a risk.'),
  travel_distance_min_km: preset(ranged(0, 20_040), 50, 'Shorter is no travel.'),
  score: preset(word(['sum', 'percent']), 'sum', 'How points become a score.'),
  expected_locations: preset(
    listOf(
      exactObject({
        country: countryCode().describe('ISO 3166-1 alpha-2.'),
        city: optional(text(), 'Absent: any.'),
        isp: optional(text(), 'Absent: any.'),
        emails: optional(some(emailText(), 'an e-mail address'), 'Absent: everyone.'),
      }),
    ),
    [],
    'Places that are always trusted.',
  ),
  machine: section({
    points: section({
      browser: preset(bounded(0, 1000), 10, 'User-Agent, without digits and dots.'),
      platform: preset(bounded(0, 1000), 10, 'Sec-CH-UA-Platform.'),
      language: preset(bounded(0, 1000), 10, 'The first tag of Accept-Language.'),
    }).describe('Points of each mark that differs from the recorded one.'),
  }).describe('Machine recognition.'),
}).describe('Risk factors.');

const stepUp = section({
  realm: optional(realm(), 'The `realm` of WWW-Authenticate. Absent: none is sent.'),
  portal_url: optional(url('https or warned'), 'Where browsers are sent to step up. Absent: they get the 401 too.'),
  portal_key: preset(
    path(),
    'keys/portal.pem',
    'PEM file: private key (Ed25519, P-256 or RSA) that signs the state sent along. Created with mode 0600 where missing.',
  ),
  attempts_max: preset(bounded(1, 100), 2, 'Step-ups in ten minutes before 403, so that nobody loops.'),
}).describe('Asking for stronger or more recent authentication.');

const login = section({
  url: optional(url('https or warned'), 'Where browsers without a session are sent. Absent: 401.'),
}).describe('Login.');

const upstream = section({
  headers: preset(
    managedHeaders(),
    UPSTREAM_DEFAULTS,
    "Lower-case header name → what it carries. Each is set or, where there is no value, removed: the client's own copy never arrives.",
  ),
  remove: preset(listOf(managedName('remove')), [], 'Further headers that never reach the upstream.'),
  assertion: optional(
    exactObject({
      header: managedName('set').describe('The header that carries it.'),
      key: preset(path(), 'keys/assertion.pem', 'PEM file: private key. Created with mode 0600 where missing.'),
      lifetime_seconds: preset(bounded(1, 3600), 60, 'From issue to expiry.'),
    }),
    'A signed JWT about the decision, for the upstream to check.',
  ),
}).describe('What an allowed request carries to the upstream.');

const state = section({
  memory: section({
    users_max: preset(bounded(1, 10_000_000), 100_000, 'Records kept; the least recently used go first.'),
  }).describe('State in memory: the default. About 6 KB for each user at most.'),
  redis: optional(
    also(
      exactObject({
        url: optional(
          redisUrl(),
          'redis://host:port/database, or rediss:// for TLS. No password: see password_file. This or `urls`.',
        ),
        urls: optional(
          some(redisUrl(), 'a URL'),
          'Of a Redis Cluster: some of its nodes, from which the others are learnt. This or `url`.',
        ),
        key_file: path('One or two lines of 32 or more random bytes in base64; the first writes, both read.'),
        password_file: optional(path(), 'A file with the password alone.'),
        trusted_authorities: optional(
          path(),
          'PEM file: authorities of the server certificate. Default: those that Node.js trusts.',
        ),
        timeout_ms: preset(bounded(1, 60_000), 50, 'For each operation.'),
      }),
      redisFindings,
    ),
    'State in Redis or Valkey, shared by replicas.',
  ),
}).describe('What Postern remembers of users. Changed by a restart only.');

const admin = section({
  tokens: preset(
    listOf(
      exactObject({
        name: text(350).describe('Who uses it; logged with each write.'),
        sha256: digest().describe('SHA-256 of the token, 64 hex digits.'),
        scopes: some(word(['read', 'write']), 'a scope').describe(
          '`read`, `write` or both; neither implies the other.',
        ),
      }),
    ),
    [],
    'Tokens of the admin APIs. None: the APIs do not exist.',
  ),
  accounts: preset(
    listOf(id('write an account or zone id of 32 hex digits')),
    [],
    'Account and zone ids that the admin API answers for.',
  ),
  url: optional(
    url('https or loopback'),
    'The URL under which callers reach the admin port, where TLS ends in front of it; told in `/.well-known/authzen-configuration`.',
  ),
}).describe('The admin APIs.');

const log = section({
  level: preset(
    word(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']),
    'info',
    'The least severe line that is written.',
  ),
  decisions: preset(
    word(['all', 'deny', 'none']),
    'deny',
    'Which decisions are logged; `deny`: all that are no allow.',
  ),
  allow_sample: preset(
    ranged(0, 1),
    1,
    'The share of allows that is logged where `decisions` is `all`: 0.01 is one in a hundred, chosen at random. Refusals are never left out.',
  ),
  requests: preset(
    word(['none', 'replay']),
    'none',
    '`replay`: each logged decision carries the facts that it was made of, secrets as hashes, so that `postern diff --requests` can make it again.',
  ),
  file: optional(
    exactObject({
      path: path('The file that decisions are appended to. Relative to the config folder, and outside of it.'),
      max_bytes: preset(
        bounded(65_536, 1_099_511_627_776),
        104_857_600,
        'The size at which the file becomes `path.1` and a new one is begun.',
      ),
      keep: preset(bounded(0, 1000), 5, 'How many older files are kept: `path.1` is the youngest.'),
    }),
    'A file for the decisions, in place of standard output.',
  ),
}).describe('The log, on standard output.');

const tracing = exactObject({
  otlp_url: url('https or warned').describe('Where traces are taken, OTLP over HTTP: http://127.0.0.1:4318/v1/traces.'),
  sample: preset(
    ranged(0, 1),
    1,
    "Share of the traces that begin here which is kept. A caller's own choice is followed.",
  ),
  service_name: preset(text(350), 'postern', "OpenTelemetry's service.name."),
  headers_file: optional(path(), 'A file with headers for the collector, one `name: value` a line; reloaded.'),
});

/** The whole of `postern.yaml`, after nulls are dropped. */
export const settingsShape = exactObject({
  listen,
  policies: preset(folder(), 'policies', 'The folder of policy files.'),
  shadow: optional(
    folder(),
    'A second folder of policy files, whose policies are only tried: each request is decided by them too, after it has been answered, and where that would be another decision, metrics and log say so.',
  ),
  client_address: clientAddress,
  identity,
  certificates,
  geo,
  posture,
  risk_scores: riskScores,
  service_tokens_header: optional(
    headerName(),
    'A header with both service token credentials as JSON, in place of the two headers.',
  ),
  external_evaluation: externalEvaluation,
  risk,
  step_up: stepUp,
  login,
  upstream,
  state,
  admin,
  log,
  tracing: optional(tracing, 'Spans of checks, sent over OTLP. Absent: none. Changed by a restart only.'),
});

/** A section that may be left out: each of its keys then has its default. */
function section<S extends z.core.$ZodLooseShape>(keys: S): z.ZodType<z.output<z.ZodObject<S, z.core.$strict>>> {
  const shape = exactObject(keys);
  return shape.prefault({} as z.input<typeof shape>);
}

/** A key with a default, which is written as a user would write it. */
function preset<T>(shape: Shape<T>, written: unknown, description: string): Shape<T> {
  return shape.prefault(written).describe(description);
}

function optional<T>(shape: Shape<T>, description?: string): Shape<T | undefined> {
  const whole = shape.optional();
  return description === undefined ? whole : whole.describe(description);
}

/** A list with at least one item. */
function some<T>(item: Shape<T>, what: string): Shape<readonly T[]> {
  return also(listOf(item), (values) =>
    values.length > 0
      ? []
      : [{ code: 'value_empty', text: `expected ${what}, found an empty list`, mend: `list ${what}` }],
  ).meta({ minItems: 1 });
}

/** An object with exactly one of these keys. */
function exactlyOne<T>(keys: Record<string, Shape<unknown>>): Shape<T> {
  const names = Object.keys(keys);
  const shape = exactObject(Object.fromEntries(Object.entries(keys).map(([key, value]) => [key, optional(value)])));
  return also(shape, (value): readonly Finding[] => {
    const found = Object.keys(value);
    if (found.length === 1) return [];
    const expected = `expected one of ${names.join(', ')}`;
    return found.length === 0
      ? [{ code: 'key_missing', text: `${expected}, found none`, mend: `add ${names.join(' or ')}` }]
      : [{ code: 'key_conflict', text: `${expected}, found ${found.join(' and ')}`, mend: 'keep one of them' }];
  }).meta({ minProperties: 1, maxProperties: 1 }) as unknown as Shape<T>;
}

function bounded(min: number, max: number): Shape<number> {
  return integer(min, max).meta({ type: 'integer', minimum: min, maximum: max });
}

function ranged(min: number, max: number): Shape<number> {
  return number(min, max).meta({ minimum: min, maximum: max });
}

/** A file, relative to the config folder or absolute. */
function path(description?: string): Shape<string> {
  const shape = checkedText((value) =>
    value.includes('\0') || value.endsWith('/')
      ? { code: 'path_invalid', text: `expected the path of a file, found ${quoted(value)}`, mend: 'name a file' }
      : undefined,
  );
  return description === undefined ? shape : shape.describe(description);
}

function folder(): Shape<string> {
  return readText((value) => {
    const trimmed = value.replace(/^(?:\.\/)+/, '').replace(/\/+$/, '');
    return trimmed === '' || trimmed.includes('\0') || trimmed.split('/').every((step) => step === '.' || step === '..')
      ? {
          code: 'path_invalid',
          text: `expected a folder below the config folder, found ${quoted(value)}`,
          mend: 'write policies, and keep the policy files there',
        }
      : { value: trimmed };
  });
}

function checkAddress(): Shape<ListenAddress> {
  return readText<ListenAddress>((value) => {
    const address = readListenAddress(value);
    if (address?.kind !== 'unix') {
      return tcpAddress(
        value,
        address,
        value.startsWith('unix:') ? 'unix:///path' : 'host:port, [v6]:port or unix:///path',
      );
    }
    const bytes = Buffer.byteLength(address.path);
    if (bytes <= MAX_SOCKET_PATH && !address.path.endsWith('/')) return { value: address };
    return {
      code: 'address_invalid',
      text: `expected the path of a socket, at most ${MAX_SOCKET_PATH} bytes, found ${quoted(value)}`,
      mend: 'write a path such as unix:///run/postern/check.sock',
    };
  });
}

function adminAddress(): Shape<TcpAddress> {
  return readText((value) => tcpAddress(value, readListenAddress(value), 'host:port or [v6]:port'));
}

function tcpAddress(
  value: string,
  address: ListenAddress | undefined,
  expected: string,
): { readonly value: TcpAddress } | Finding {
  if (address?.kind === 'tcp') {
    const { host } = address;
    if (value.startsWith('[') ? isIP(host) === 6 : isIP(host) === 4 || isHostName(host)) return { value: address };
  }
  return {
    code: 'address_invalid',
    text: `expected ${expected}, found ${quoted(value)}`,
    mend: /^\*?:\d+$/.test(value)
      ? `write 0.0.0.0${value.replace('*', '')} for every IPv4 address`
      : isIP(value) === 6
        ? `write [${value}]:9001`
        : value.startsWith('unix:')
          ? 'write unix:// and an absolute path, such as unix:///run/postern/check.sock'
          : 'write an address such as 127.0.0.1:9001',
  };
}

/** A host name of one or more labels. Digits and dots alone are a mistyped address. */
function isHostName(host: string): boolean {
  return (
    host.length <= 253 &&
    /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*$/i.test(host) &&
    !/^[\d.]+$/.test(host)
  );
}

/** `http` leaves passwords and tokens in the open; a loopback host is excepted. A warning says so where browsers go. */
function url(scheme: 'https or loopback' | 'https or warned'): Shape<string> {
  return unprintedText((value) => {
    const parsed = URL.canParse(value) ? new URL(value) : undefined;
    if (parsed?.username || parsed?.password)
      return {
        code: 'url_invalid',
        text: 'expected a URL without a user name or password, found one',
        mend: 'remove what stands before the @',
      };
    if (!parsed || !/^https?:\/\/[^/?#\\]/i.test(value) || /[\s\\\u0000-\u001f\u007f]/.test(value))
      return {
        code: 'url_invalid',
        text: `expected an absolute https URL, found ${shownUrl(value)}`,
        mend: 'write a URL such as https://login.example.com/keys',
      };
    if (value.includes('#'))
      return { code: 'url_invalid', text: 'expected a URL without a fragment, found one', mend: 'remove the # part' };
    if (scheme === 'https or loopback' && parsed.protocol === 'http:' && !isLoopbackHost(parsed.hostname))
      return {
        code: 'url_insecure',
        text: `expected https, found http to ${quoted(parsed.hostname)}`,
        mend: 'write https; http is for loopback hosts only',
      };
    return undefined;
  });
}

function redisUrl(): Shape<string> {
  return unprintedText((value) => {
    const parsed = URL.canParse(value) ? new URL(value) : undefined;
    if (parsed?.password)
      return {
        code: 'secret_in_settings',
        text: 'expected a URL without a password, found one',
        mend: 'move it to a file and name that file in state.redis.password_file',
      };
    if (
      !parsed ||
      !/^rediss?:\/\/[^/?#]/.test(value) ||
      !/^\/?\d{0,5}$/.test(parsed.pathname) ||
      !/^(?:[^%]|%[0-9A-F]{2})*$/i.test(parsed.username) ||
      parsed.search ||
      parsed.hash
    )
      return {
        code: 'url_invalid',
        text: `expected redis:// or rediss://, a host and a database number, found ${shownUrl(value)}`,
        mend: 'write a URL such as redis://127.0.0.1:6379/0',
      };
    return undefined;
  });
}

/** What is wrong with the servers as a whole. */
function redisFindings(servers: {
  readonly url?: string | undefined;
  readonly urls?: readonly string[] | undefined;
}): readonly Finding[] {
  if (servers.url === undefined && servers.urls === undefined)
    return [{ code: 'key_missing', text: 'expected the key url, found none', mend: 'add url, or urls for a cluster' }];
  if (servers.url !== undefined && servers.urls !== undefined) {
    const mend = 'keep url for one server, urls for a cluster';
    return [{ code: 'key_conflict', text: 'expected url or urls, found both', mend }];
  }
  const nodes = (servers.urls ?? []).map((one) => new URL(one));
  const [first] = nodes;
  return nodes.flatMap((node, index): readonly Finding[] => {
    const at = ['urls', index];
    if (!/^\/?0?$/.test(node.pathname)) {
      const found = 'expected no database number, found one: a cluster has none but 0';
      return [{ code: 'url_invalid', text: found, mend: 'remove it', path: at }];
    }
    if (node.protocol === first?.protocol && node.username === first.username) return [];
    const found = 'expected the scheme and the user of the first URL, found others';
    return [{ code: 'url_invalid', text: found, mend: 'reach all nodes of the cluster in the same way', path: at }];
  });
}

function hostAndPort(): Shape<string> {
  return readText((value) => {
    const parts = /^(\[[0-9a-f:.]+\]|[^:[\]/?#@\\%\s]+)(?::(\d{1,5}))?$/i.exec(value);
    const written = parts?.[1] ?? '';
    const host = written.startsWith('[')
      ? URL.canParse(`http://${written}`)
        ? new URL(`http://${written}`).hostname
        : ''
      : (normalDomain(written) ?? written.toLowerCase());
    const port = parts?.[2];
    const good = (host.startsWith('[') || isIP(host) === 4 || isHostName(host)) && Number(port ?? 1) <= 65_535;
    if (good) return { value: port === undefined ? host : `${host}:${Number(port)}` };
    return {
      code: 'host_invalid',
      text: `expected a host or host:port, found ${quoted(value)}`,
      mend: value.includes('://') ? 'write the host of the URL alone' : 'write a host such as policy.example.com',
    };
  });
}

/** A header that is read; letter case does not count. */
function headerName(): Shape<string> {
  return readText((value) => (isHeaderName(value) ? { value: value.toLowerCase() } : headerFinding(value, '')));
}

/** Header name → what it carries. */
function managedHeaders(): Shape<Readonly<Record<string, (typeof UPSTREAM_VALUES)[number]>>> {
  return also(z.record(z.string(), word(UPSTREAM_VALUES)), (headers) =>
    Object.keys(headers).flatMap((name) => {
      const finding = managedFinding(name, 'set');
      return finding ? [{ ...finding, path: [name] }] : [];
    }),
  );
}

function managedName(use: 'set' | 'remove'): Shape<string> {
  return checkedText((value) => managedFinding(value, use));
}

/** What is wrong with the name of a header that Postern sets or removes; it is written in lower case, as it is sent. */
function managedFinding(value: string, use: 'set' | 'remove'): Finding | undefined {
  if (!isHeaderName(value)) return headerFinding(value, '');
  if (value !== value.toLowerCase())
    return {
      code: 'header_invalid',
      text: `expected a lower-case header name, found ${quoted(value)}`,
      mend: `write ${value.toLowerCase()}`,
    };
  if (use === 'set' && isReservedHeader(value))
    return {
      code: 'header_reserved',
      text: `expected a header that can be set, found ${quoted(value)}`,
      mend: 'choose another name: connection and routing headers, and x-envoy-, are reserved',
    };
  if (use === 'remove' && value === 'host')
    return {
      code: 'header_reserved',
      text: `expected a header that can be removed, found ${quoted(value)}`,
      mend: 'leave it out: Envoy never removes it',
    };
  return undefined;
}

function isHeaderName(value: string): boolean {
  return /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}$/.test(value);
}

function headerFinding(value: string, alternative: string): Finding {
  return {
    code: 'header_invalid',
    text: `expected the name of a header${alternative}, found ${quoted(value)}`,
    mend: 'write a name such as x-forwarded-email',
  };
}

function cookieName(): Shape<string> {
  return checkedText((value) =>
    isHeaderName(value)
      ? undefined
      : {
          code: 'cookie_invalid',
          text: `expected the name of a cookie, found ${quoted(value)}`,
          mend: 'write a name such as CF_Authorization',
        },
  );
}

function algorithm(): Shape<SignatureAlgorithm> {
  const names = Object.keys(SIGNATURE_KEYS) as [SignatureAlgorithm, ...SignatureAlgorithm[]];
  return word(names, 'algorithm_invalid');
}

function claimPaths(): Shape<readonly string[]> {
  const paths = z.union([text(), some(text(), 'a path')]);
  return paths.transform((value): readonly string[] => (typeof value === 'string' ? [value] : value));
}

/** A country that exists: neither "no data" nor Tor. */
function countryCode(): Shape<string> {
  return readText((value) => {
    const code = value.toUpperCase();
    return isCountry(code) ? { value: code } : countryFinding(value);
  });
}

/** Sent in quotes, so nothing that would end them. RFC 9110, quoted-string. */
function realm(): Shape<string> {
  return checkedText((value) =>
    /^[ !#-[\]-~]+$/.test(value)
      ? undefined
      : {
          code: 'value_invalid',
          text: 'expected printable ASCII without quotes or backslashes, found other characters',
          mend: 'write a plain word such as postern',
        },
  );
}

/** What looks like the secret itself is never printed. */
function digest(): Shape<string> {
  const shape = also(z.string() as Shape<string>, (value) =>
    /^[0-9a-f]{64}$/i.test(value)
      ? []
      : [
          {
            code: 'digest_invalid',
            text: `expected a SHA-256 digest of 64 hex digits, found ${value.length} other characters`,
            mend: 'write the digest, e.g. from: printf %s "$TOKEN" | sha256sum',
          },
        ],
  );
  return shape.transform((value) => value.toLowerCase());
}

/** Text that may hold a secret by mistake: what was found is not repeated. */
function unprintedText(check: (value: string) => Finding | undefined): Shape<string> {
  return also(z.string() as Shape<string>, (value) => {
    if (value.trim() === '')
      return [{ code: 'value_empty', text: 'expected text, found none', mend: 'write a value or remove the key' }];
    if (value.trim() !== value)
      return [{ code: 'value_padded', text: 'expected no white space at either end, found some', mend: 'remove it' }];
    const finding = check(value);
    return finding ? [finding] : [];
  });
}

/** For a message: not where it could hold a password. */
function shownUrl(value: string): string {
  return value.includes('@') ? 'other text' : quoted(value);
}
