/** `postern.yaml`, the environment and `--set`, as one frozen value with every default filled in. Keys are spelt as
 *  users write them; an optional setting that is not given is `undefined`. Files are named as written: relative to
 *  the config folder, or absolute. */
import type { ClaimPaths } from './facts/claims.ts';
import { SETTINGS_FILE } from './files.ts';
import type { FileReference } from './files.ts';
import { at } from './model/fault.ts';
import type { Fault, Place, Report } from './model/fault.ts';
import type { ProviderObject } from './model/objects.ts';
import { checkSettings } from './settings-checks.ts';
import { sourceOf, wholly, withOverrides } from './settings-overrides.ts';
import type { Override } from './settings-overrides.ts';
import { settingsShape } from './settings-shape.ts';
import type { UPSTREAM_VALUES } from './settings-shape.ts';
import { changedNames } from './shared/changed.ts';
import type { SignatureAlgorithm } from './shared/jose.ts';
import type { ListenAddress } from './shared/listen.ts';
import { withNulls } from './shared/json-schema.ts';
import { shaped, withoutNulls, z } from './shared/shape.ts';
import type { Shape } from './shared/shape.ts';

export interface Settings {
  readonly listen: ListenSettings;
  /** The folder of policy files. */
  readonly policies: string;
  /** A folder of policies that are only tried; undefined: none. */
  readonly shadow: string | undefined;
  readonly client_address: {
    readonly from: 'envoy' | 'forwarded';
    /** With `forwarded`: entries of x-forwarded-for, from the right, that are our own proxies. */
    readonly trusted_hops: number;
  };
  readonly identity: IdentitySettings;
  readonly certificates: CertificateSettings;
  readonly geo: GeoSettings;
  /** `token`, `metadata`, or the lower-case name of a trusted header. */
  readonly posture: { readonly from: string };
  readonly risk_scores: { readonly from: 'token' | 'state' };
  /** Lower case; undefined: the single-header form is off, unless an application turns it on. */
  readonly service_tokens_header: string | undefined;
  readonly external_evaluation: ExternalEvaluationSettings;
  readonly risk: RiskSettings;
  readonly step_up: {
    /** The `realm` of challenges; undefined: none is sent. */
    readonly realm: string | undefined;
    /** Where browsers are sent; undefined: they get the 401 too. */
    readonly portal_url: string | undefined;
    /** PEM of the private key that signs the state; created where missing and needed. */
    readonly portal_key: string;
    readonly attempts_max: number;
  };
  readonly login: {
    /** Where browsers without a session are sent; undefined: 401. */
    readonly url: string | undefined;
  };
  readonly upstream: UpstreamSettings;
  readonly state: StateSettings;
  readonly admin: {
    /** Empty: the admin APIs do not exist. */
    readonly tokens: readonly AdminToken[];
    /** Account and zone ids that the admin API answers for, lower case. */
    readonly accounts: readonly string[];
    /** Where callers reach the admin port; undefined: at its address. */
    readonly url: string | undefined;
  };
  readonly log: LogSettings;
  /** Undefined: nothing is traced. Only a restart changes it. */
  readonly tracing: TracingSettings | undefined;
}

/** Only a restart changes these. */
export interface ListenSettings {
  readonly check: ListenAddress;
  readonly admin: Extract<ListenAddress, { readonly kind: 'tcp' }>;
  /** TLS of the check port; undefined: clear text. */
  readonly tls: TlsSettings | undefined;
}

export interface TlsSettings {
  readonly certificate: string;
  readonly key: string;
  /** With it, callers must show a certificate of one of these authorities. */
  readonly client_ca: string | undefined;
}

export interface IdentitySettings {
  readonly providers: readonly ProviderObject[];
  readonly tokens: readonly TokenSettings[];
  readonly envoy_jwt_authn: {
    readonly enabled: boolean;
    readonly namespace: string;
    /** Metadata key → how its payload is read, in order. */
    readonly payloads: Readonly<Record<string, PayloadSettings>>;
  };
  readonly headers: {
    readonly enabled: boolean;
    /** Lower case. */
    readonly email: string;
    /** Lower case. */
    readonly groups: string;
    /** The id of a configured provider, lower case. */
    readonly provider: string | undefined;
  };
}

/** One kind of accepted token. */
export interface TokenSettings {
  /** Compared with `iss` character by character. */
  readonly issuer: string;
  /** Any of these must be in `aud`. */
  readonly audiences: readonly string[];
  readonly keys: KeySetSource;
  readonly from: readonly TokenLocation[];
  readonly algorithms: readonly SignatureAlgorithm[];
  readonly clock_skew_seconds: number;
  readonly provider: ProviderSource | undefined;
  readonly claims: ClaimPaths;
  /** Said to be a Cloudflare Access issuer. Its host says so too, where it ends in `.cloudflareaccess.com`. */
  readonly cloudflare: boolean;
  readonly place: Place;
}

export interface PayloadSettings {
  readonly provider: ProviderSource | undefined;
  readonly claims: ClaimPaths;
}

/** A JSON Web Key Set: fetched, or a file of the config folder. */
export type KeySetSource = { readonly url: string } | { readonly file: string };

/** Where a token is looked for. Header names are lower case. `bearer`: a header with the scheme `Bearer`. */
export type TokenLocation = { readonly header: string } | { readonly cookie: string } | { readonly bearer: string };

/** The id of a configured provider, lower case, or the paths of the claim that names one. */
export type ProviderSource = string | { readonly claim: readonly string[] };

export interface CertificateSettings {
  /** The first that shows a certificate is used. */
  readonly from: readonly ('peer' | 'xfcc')[];
  /** PEM; when set, chain, dates and usage are checked here too. */
  readonly trusted_authorities: string | undefined;
  readonly verified_by_envoy: boolean;
}

export interface GeoSettings {
  readonly city_database: string | undefined;
  readonly asn_database: string | undefined;
  readonly anonymous_database: string | undefined;
  /** Trusted location headers, lower case; used where no database answers. */
  readonly headers: {
    readonly country: string | undefined;
    readonly city: string | undefined;
    readonly latitude: string | undefined;
    readonly longitude: string | undefined;
    readonly isp: string | undefined;
    readonly anonymous: string | undefined;
  };
  readonly private_addresses: 'unknown' | { readonly country: string; readonly city: string | undefined };
}

export interface ExternalEvaluationSettings {
  /** PEM of an RSA private key; created where missing and needed. */
  readonly signing_key: string;
  readonly timeout_ms: number;
  /** `host` or `host:port`, lower case. Empty: the rule cannot be used. */
  readonly allow_hosts: readonly string[];
  readonly cache_seconds: number;
  /** The `iss` of our question. */
  readonly issuer: string;
}

export interface RiskSettings {
  readonly locations_max: number;
  /** 0: no expiry. */
  readonly location_lifetime_hours: number;
  readonly location_trust_threshold: number;
  readonly location_check_ip: boolean;
  readonly travel_velocity_max_kmh: number;
  readonly travel_distance_min_km: number;
  readonly score: 'sum' | 'percent';
  /** Places that are always trusted. */
  readonly expected_locations: readonly ExpectedLocation[];
  /** Points of the marks of a machine that differ from those recorded. */
  readonly machine: {
    readonly points: { readonly browser: number; readonly platform: number; readonly language: number };
  };
}

export interface ExpectedLocation {
  /** Upper case. */
  readonly country: string;
  /** undefined: any. */
  readonly city: string | undefined;
  /** undefined: any. */
  readonly isp: string | undefined;
  /** Normalised; undefined: everyone. */
  readonly emails: readonly string[] | undefined;
}

/** What an allowed request may carry to the upstream. */
export type UpstreamValue = (typeof UPSTREAM_VALUES)[number];

export interface UpstreamSettings {
  /** Lower-case header name → what it carries. No name is in `remove` too. */
  readonly headers: Readonly<Record<string, UpstreamValue>>;
  /** Lower-case header names. */
  readonly remove: readonly string[];
  readonly assertion: AssertionSettings | undefined;
}

export interface AssertionSettings {
  readonly header: string;
  /** PEM of the private key; created where missing. */
  readonly key: string;
  readonly lifetime_seconds: number;
}

/** Only a restart changes this. */
export interface StateSettings {
  readonly memory: { readonly users_max: number };
  /** Where set, state is kept there and not in memory. */
  readonly redis: RedisSettings | undefined;
}

export interface RedisSettings {
  /** `redis://` or `rediss://`, without a password; undefined: a cluster. */
  readonly url: string | undefined;
  /** Some nodes of a cluster, in the same form; undefined: one server. */
  readonly urls: readonly string[] | undefined;
  /** One or two lines, each 32 random bytes or more in base64. */
  readonly key_file: string;
  /** Holds the password alone; undefined: none is sent. */
  readonly password_file: string | undefined;
  /** PEM of the authorities of the server's certificate; undefined: those that Node.js trusts. */
  readonly trusted_authorities: string | undefined;
  readonly timeout_ms: number;
}

export interface AdminToken {
  readonly name: string;
  /** SHA-256 of the token, 64 lower-case hex digits. */
  readonly sha256: string;
  readonly scopes: readonly ('read' | 'write')[];
}

export interface LogSettings {
  readonly level: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent';
  /** Which decisions are logged; `deny`: all that are no allow. */
  readonly decisions: 'all' | 'deny' | 'none';
  /** Of the allows, where all are logged: 0 to 1. */
  readonly allow_sample: number;
  /** `replay`: with the facts that a decision was made of. */
  readonly requests: 'none' | 'replay';
  /** For decisions, in place of standard output. */
  readonly file: LogFileSettings | undefined;
}

export interface LogFileSettings {
  readonly path: string;
  readonly max_bytes: number;
  /** Older files. */
  readonly keep: number;
}

export interface TracingSettings {
  readonly otlp_url: string;
  /** 0 to 1. */
  readonly sample: number;
  readonly service_name: string;
  /** `name: value` a line. */
  readonly headers_file: string | undefined;
}

export interface SettingsInput {
  /** What `postern.yaml` holds as plain data; undefined or null: nothing. */
  readonly data: unknown;
  /** Its name in faults. */
  readonly file?: string;
  readonly overrides?: readonly Override[];
}

/** Checks the settings and fills in the defaults. Every fault is reported, in its place in the file, or under the name
 *  of the flag or variable that gave the value; undefined where there was one. Warnings are reported and do no harm. */
export function readSettings(input: SettingsInput, report: Report): Settings | undefined {
  const { file = SETTINGS_FILE, overrides = [] } = input;
  const root: Place = { file, path: [] };
  let faults = 0;
  const reportHere = (found: Fault): void => {
    if (found.severity === 'fault') faults += 1;
    const source = sourceOf(found.place.path, input.data, overrides);
    const kept = withoutSecret(found);
    report(source === undefined ? kept : { ...kept, place: wholly(source) });
  };
  const data = withoutNulls(withOverrides(input.data ?? {}, overrides));
  const shape: Shape<ShapedSettings> = settingsShape;
  const settings = shaped(shape, data, root, reportHere);
  checkSettings(data, root, reportHere);
  return settings === undefined || faults > 0 ? undefined : frozen(withPlaces(settings, root));
}

/** The settings when nothing is set. */
export function defaultSettings(): Settings {
  const settings = readSettings({ data: {} }, () => {});
  if (!settings) throw new Error('expected the defaults to be without faults, found some');
  return settings;
}

/** Every file that the settings name, with where and what for. Files of policies are not among them. */
export function referencedFiles(settings: Settings): readonly FileReference[] {
  const references: FileReference[] = [];
  const add = (name: string | undefined, use: FileReference['use'], ...path: (string | number)[]): void => {
    if (name !== undefined) references.push({ name, use, place: { file: SETTINGS_FILE, path } });
  };
  const { listen, identity, certificates, geo, step_up: stepUp, upstream, state } = settings;
  add(listen.tls?.certificate, 'public', 'listen', 'tls', 'certificate');
  add(listen.tls?.key, 'secret', 'listen', 'tls', 'key');
  add(listen.tls?.client_ca, 'public', 'listen', 'tls', 'client_ca');
  for (const [index, token] of identity.tokens.entries()) {
    if ('file' in token.keys) add(token.keys.file, 'public', 'identity', 'tokens', index, 'keys', 'file');
  }
  add(certificates.trusted_authorities, 'public', 'certificates', 'trusted_authorities');
  add(geo.city_database, 'public', 'geo', 'city_database');
  add(geo.asn_database, 'public', 'geo', 'asn_database');
  add(geo.anonymous_database, 'public', 'geo', 'anonymous_database');
  add(settings.external_evaluation.signing_key, 'made', 'external_evaluation', 'signing_key');
  if (stepUp.portal_url !== undefined) add(stepUp.portal_key, 'made', 'step_up', 'portal_key');
  add(upstream.assertion?.key, 'made', 'upstream', 'assertion', 'key');
  if (state.redis) {
    const place = { file: SETTINGS_FILE, path: ['state', 'redis', 'key_file'] };
    references.push({ name: state.redis.key_file, use: 'secret', place, madeBy: 'openssl rand -base64 32' });
  }
  add(state.redis?.password_file, 'secret', 'state', 'redis', 'password_file');
  add(state.redis?.trusted_authorities, 'public', 'state', 'redis', 'trusted_authorities');
  add(settings.tracing?.headers_file, 'secret', 'tracing', 'headers_file');
  return references;
}

/** The settings that differ and that only a restart can change, by their dotted names. */
export function changedOnlyAtRestart(before: Settings, after: Settings): readonly string[] {
  return changedNames([
    ['listen.check', before.listen.check, after.listen.check],
    ['listen.admin', before.listen.admin, after.listen.admin],
    ['listen.tls', before.listen.tls, after.listen.tls],
    ['state.memory', before.state.memory, after.state.memory],
    ['state.redis', before.state.redis, after.state.redis],
    ['tracing', before.tracing, after.tracing],
  ]);
}

/** The JSON Schema of `postern.yaml`, draft 2020-12, with a description of every key. */
export function settingsSchema(): object {
  return {
    ...(withNulls(z.toJSONSchema(settingsShape, { io: 'input', unrepresentable: 'any' })) as object),
    title: 'postern.yaml',
    description: 'The settings of Postern. Every key is optional unless it is listed as required.',
  };
}

/** As the shape gives them, before places are added. */
type ShapedSettings = Omit<Settings, 'identity'> & {
  readonly identity: Omit<IdentitySettings, 'providers' | 'tokens'> & {
    readonly providers: readonly Omit<ProviderObject, 'place'>[];
    readonly tokens: readonly Omit<TokenSettings, 'place'>[];
  };
};

function withPlaces(settings: ShapedSettings, root: Place): Settings {
  const { identity } = settings;
  return {
    ...settings,
    identity: {
      ...identity,
      providers: identity.providers.map((one, index) => ({ ...one, place: at(root, 'identity', 'providers', index) })),
      tokens: identity.tokens.map((one, index) => ({ ...one, place: at(root, 'identity', 'tokens', index) })),
    },
  };
}

/** Where a secret could stand by mistake, a fault about the wrong kind of value does not repeat it. */
function withoutSecret(found: Fault): Fault {
  const [section, key] = found.place.path;
  const guarded = (section === 'admin' && key === 'tokens') || (section === 'state' && key === 'redis');
  if (!guarded || found.code !== 'type_wrong') return found;
  return { ...found, text: found.text.replace(/, found the (text|number) .*$/su, ', found a $1') };
}

function frozen<T>(value: T): T {
  if (value !== null && typeof value === 'object' && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const member of Object.values(value)) frozen(member);
  }
  return value;
}
