/** `postern.yaml`, the environment and `--set`, as one frozen value with every default filled in. Keys are spelt as
 *  users write them; an optional setting that is not given is `undefined`. Files are named as written: relative to
 *  the config folder, or absolute. */
import type { Place } from './model/fault.ts';
import type { ProviderObject } from './model/objects.ts';

export interface Settings {
  readonly listen: ListenSettings;
  /** The folder of policy files. */
  readonly policies: string;
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
  };
  readonly log: LogSettings;
}

/** Only a restart changes these. */
export interface ListenSettings {
  readonly check: ListenAddress;
  readonly admin: TcpAddress;
  /** TLS of the check port; undefined: clear text. */
  readonly tls: TlsSettings | undefined;
}

export type ListenAddress = TcpAddress | UnixAddress;

export interface TcpAddress {
  readonly kind: 'tcp';
  /** As gRPC and people write it: `127.0.0.1:9001`, `[::1]:9001`. */
  readonly text: string;
  /** Without brackets. */
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
}

export interface UnixAddress {
  readonly kind: 'unix';
  /** `unix:///run/postern/check.sock`. */
  readonly text: string;
  /** Absolute. */
  readonly path: string;
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
  readonly algorithms: readonly SigningAlgorithm[];
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

/** Every claim has at least one path; the first that holds a value counts. */
export type ClaimPaths = { readonly [claim in keyof typeof CLAIM_DEFAULTS]: readonly string[] };

/** Where each part of an identity is found in a token, unless the settings say otherwise. */
export const CLAIM_DEFAULTS = {
  subject: 'sub',
  email: 'email',
  groups: 'groups',
  amr: 'amr',
  acr: 'acr',
  auth_time: 'auth_time',
  session: 'sid',
  country: 'country',
  posture: 'devicePosture',
  risk_score: 'user_risk_score',
  saml_attributes: 'saml_attributes',
  oidc_claims: 'oidc_fields',
  auth_contexts: 'acrs',
  account: 'account_id',
  user_exists: 'user_exists',
} as const;

/** What a token may be signed with: RFC 7518 and RFC 8037, without `none` and the shared-secret algorithms. */
export const SIGNING_ALGORITHMS = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
] as const;

export type SigningAlgorithm = (typeof SIGNING_ALGORITHMS)[number];

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
  /** `redis://` or `rediss://`, without a password. */
  readonly url: string;
  /** One or two lines, each 32 random bytes or more in base64. */
  readonly key_file: string;
  /** Holds the password alone; undefined: none is sent. */
  readonly password_file: string | undefined;
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
  /** Which decisions are logged. */
  readonly decisions: 'all' | 'deny' | 'none';
}
