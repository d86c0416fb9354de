/** Who is asking: tokens, then what Envoy's jwt_authn filter verified, then trusted headers. The first that holds a
 *  value decides alone; a value that proves invalid is never replaced by a later source. */
import { NOBODY } from '../model/identity.ts';
import type { Identity, IdentityFact } from '../model/identity.ts';
import type { Headers, RequestFacts } from '../model/request.ts';
import type { CacheResult } from '../shared/cache.ts';
import { compileClaims, own } from './claims.ts';
import type { Claims, ClaimPaths, Provider, ProviderSource } from './claims.ts';
import { createEnvoyJwtAuthn } from './envoy-jwt-authn.ts';
import type { EnvoyJwtAuthnOptions } from './envoy-jwt-authn.ts';
import { createIdentityHeaders } from './identity-headers.ts';
import type { IdentityHeadersOptions } from './identity-headers.ts';
import type { KeySource } from './key-set.ts';
import { createTokenVerifier, isCloudflareIssuer } from './token.ts';
import type { TokenResult, TokenRules, VerifyToken } from './token.ts';

/** `identity` of the settings. */
export interface IdentityOptions {
  readonly providers: readonly Provider[];
  /** In order. */
  readonly tokens: readonly TokenOptions[];
  readonly envoy_jwt_authn: EnvoyJwtAuthnOptions & { readonly enabled: boolean };
  readonly headers: IdentityHeadersOptions & { readonly enabled: boolean };
}

/** One entry of `identity.tokens`. */
export interface TokenOptions {
  readonly issuer: string;
  readonly audiences: readonly string[];
  readonly keys: KeysOption;
  /** In order. */
  readonly from: readonly TokenLocation[];
  readonly algorithms: readonly string[];
  readonly clock_skew_seconds: number;
  readonly provider?: ProviderSource;
  readonly claims: ClaimPaths;
  /** A Cloudflare Access issuer under a host of another name. */
  readonly cloudflare: boolean;
}

export type KeysOption = { readonly url: string } | { readonly file: string };

/** Header names are lower case. `bearer`: a header with the scheme `Bearer` (RFC 6750 section 2.1). */
export type TokenLocation = { readonly header: string } | { readonly cookie: string } | { readonly bearer: string };

export interface IdentitySurroundings {
  /** The keys of an entry: those of a file of the revision, or of a URL. */
  readonly keys: (option: KeysOption) => KeySource;
  /** Verified tokens that are remembered, per location; default 10 000. */
  readonly tokensMax?: number | undefined;
  readonly onCacheRequest?: ((result: CacheResult) => void) | undefined;
}

/** What a request says of who is asking, before any application's own conditions. */
export interface IdentityReading {
  readonly fact: IdentityFact;
  /** The proof of a service token behind Cloudflare Access; never an identity. */
  readonly serviceJwt: ServiceJwt | undefined;
  /** A source held a value, acceptable or not. */
  readonly sent: boolean;
}

/** Cloudflare Access' application token of a service: `common_name` is the service token's client id. */
export interface ServiceJwt {
  readonly commonName: string;
  readonly audiences: readonly string[];
}

export interface IdentitySource {
  /** A promise only where a token has to be verified, or its keys are still being read. */
  read(request: RequestFacts, processNowMs: number): IdentityReading | Promise<IdentityReading>;
}

/** What an application asks of identities beyond what their issuers' entries do. */
export interface ApplicationConditions {
  /** `aud`: the identity must have been issued for one of these; empty: for any. */
  readonly audiences: readonly string[];
  /** `allowed_idps`, lower case: the login must have come from one of these; empty: from any. */
  readonly allowedProviders: readonly string[];
}

export const NOTHING_READ: IdentityReading = Object.freeze({ fact: NOBODY, serviceJwt: undefined, sent: false });

/** Prepares all sources of a revision. */
export function createIdentitySource(options: IdentityOptions, surroundings: IdentitySurroundings): IdentitySource {
  const locations = compileLocations(options, surroundings);
  const readEnvoy = options.envoy_jwt_authn.enabled
    ? createEnvoyJwtAuthn(options.envoy_jwt_authn, options.providers)
    : undefined;
  const readHeaders = options.headers.enabled ? createIdentityHeaders(options.headers, options.providers) : undefined;
  return {
    read(request, processNowMs) {
      for (const location of locations) {
        const reading = location(request.headers, processNowMs);
        if (reading !== undefined) return reading;
      }
      const fact = readEnvoy?.(request, processNowMs) ?? readHeaders?.(request);
      return fact === undefined ? NOTHING_READ : { fact, serviceJwt: undefined, sent: true };
    },
  };
}

/** The identity as one application sees it. Nothing is allocated where it may pass. */
export function forApplication(reading: IdentityReading, conditions: ApplicationConditions): IdentityFact {
  const { fact, serviceJwt } = reading;
  if (fact.state !== 'known') {
    return serviceJwt !== undefined && !isMeantFor(serviceJwt.audiences, conditions) ? FOR_ANOTHER : fact;
  }
  if (!isMeantFor(fact.identity.audiences, conditions)) return FOR_ANOTHER;
  if (conditions.allowedProviders.length === 0) return fact;
  const { provider } = fact.identity;
  return provider !== undefined && conditions.allowedProviders.includes(provider.id) ? fact : NOBODY;
}

/** The service JWT as one application sees it; undefined: none, or one for another application. */
export function serviceJwtForApplication(
  reading: IdentityReading,
  conditions: Pick<ApplicationConditions, 'audiences'>,
): ServiceJwt | undefined {
  const { serviceJwt } = reading;
  return serviceJwt !== undefined && isMeantFor(serviceJwt.audiences, conditions) ? serviceJwt : undefined;
}

/** A token in a header of scheme `Bearer`, in any letter case. `absent`: no header, or another scheme. */
export function readBearer(headers: Headers, name: string): Found {
  const written = headers.single(name, { commaAllowed: true });
  if (written.state === 'absent') return ABSENT;
  if (written.state !== 'one') return { state: 'wrong', why: `${name}: ${written.state}` };
  const value = written.value.trim();
  const scheme = /^bearer(?![^ \t])/i.exec(value)?.[0];
  if (scheme === undefined) {
    // Envoy joins two headers into one value: a token may be in the second.
    return /,[ \t]*bearer(?![^ \t])/i.test(value) ? { state: 'wrong', why: `${name} has several values` } : ABSENT;
  }
  const token = value.slice(scheme.length).trim();
  if (token === '') return { state: 'wrong', why: `${name} has the scheme Bearer and no token` };
  return token.includes(',') ? { state: 'wrong', why: `${name} has several values` } : { state: 'one', value: token };
}

/** A token that is a header's whole value. */
export function readTokenHeader(headers: Headers, name: string): Found {
  const written = headers.single(name);
  if (written.state === 'absent') return ABSENT;
  if (written.state !== 'one') return { state: 'wrong', why: `${name}: ${written.state}` };
  const token = written.value.trim();
  return token === '' ? ABSENT : { state: 'one', value: token };
}

/** Whether a location holds a value, and whether it can be one token. */
export type Found =
  | { readonly state: 'absent' }
  | { readonly state: 'one'; readonly value: string }
  | { readonly state: 'wrong'; readonly why: string };

const ABSENT: Found = Object.freeze({ state: 'absent' });

const TOKENS_MAX = 10_000;

/** A browser sends one cookie per scope it was set in, and nothing tells which is whose. */
const COOKIES_TRIED_MAX = 5;

/** undefined: the location holds no value. */
type ReadLocation = (headers: Headers, processNowMs: number) => IdentityReading | Promise<IdentityReading> | undefined;

function compileLocations(options: IdentityOptions, surroundings: IdentitySurroundings): readonly ReadLocation[] {
  const rules = options.tokens.map((entry) => rulesOf(entry, options.providers, surroundings.keys));
  const places = new Map<string, { readonly location: TokenLocation; readonly entries: Set<number> }>();
  for (const [index, entry] of options.tokens.entries()) {
    for (const location of entry.from) {
      const key = JSON.stringify(location);
      const place = places.get(key) ?? { location, entries: new Set<number>() };
      place.entries.add(index);
      places.set(key, place);
    }
  }
  const verifiers = new Map<string, VerifyToken<IdentityReading>>();
  return [...places.values()].map(({ location, entries }) => {
    const key = [...entries].join(' ');
    let verify = verifiers.get(key);
    if (verify === undefined) {
      verify = createTokenVerifier(
        rules.filter((_, index) => entries.has(index)),
        { entriesMax: surroundings.tokensMax ?? TOKENS_MAX, onRequest: surroundings.onCacheRequest },
      );
      verifiers.set(key, verify);
    }
    return compileLocation(location, verify);
  });
}

function rulesOf(
  entry: TokenOptions,
  providers: readonly Provider[],
  keys: IdentitySurroundings['keys'],
): TokenRules<IdentityReading> {
  const cloudflare = entry.cloudflare || isCloudflareIssuer(entry.issuer);
  const mapClaims = compileClaims({
    paths: entry.claims,
    provider: entry.provider,
    providers,
    source: 'token',
    clockSkewSeconds: entry.clock_skew_seconds,
  });
  return {
    issuer: entry.issuer,
    audiences: entry.audiences,
    keys: keys(entry.keys),
    algorithms: entry.algorithms,
    clockSkewSeconds: entry.clock_skew_seconds,
    cloudflare,
    accept(claims) {
      const identity = mapClaims(claims);
      if (identity.subject !== undefined || identity.email !== undefined) {
        return Object.freeze({
          fact: Object.freeze({ state: 'known' as const, identity }),
          serviceJwt: undefined,
          sent: true,
        });
      }
      const serviceJwt = cloudflare ? serviceJwtOf(claims, identity) : undefined;
      return Object.freeze({ fact: NOBODY, serviceJwt, sent: true });
    },
  };
}

/** Cloudflare Access: `type: app`, empty or no `sub`, no e-mail, and the client id as `common_name`. */
function serviceJwtOf(claims: Claims, identity: Identity): ServiceJwt | undefined {
  const commonName = own(claims, 'common_name');
  const isOfService =
    own(claims, 'type') === 'app' &&
    isEmpty(own(claims, 'sub')) &&
    isEmpty(own(claims, 'email')) &&
    !isEmpty(commonName);
  if (!isOfService || typeof commonName !== 'string') return undefined;
  return Object.freeze({ commonName, audiences: identity.audiences });
}

function isEmpty(value: unknown): boolean {
  return value === undefined || value === null || value === '';
}

function compileLocation(location: TokenLocation, verify: VerifyToken<IdentityReading>): ReadLocation {
  if ('cookie' in location) return (headers, now) => readCookies(headers.cookies(location.cookie), verify, now);
  const [find, name] = 'bearer' in location ? [readBearer, location.bearer] : [readTokenHeader, location.header];
  return (headers, processNowMs) => {
    const found = find(headers, name);
    if (found.state === 'absent') return undefined;
    if (found.state === 'wrong') return refused({ state: 'invalid', why: found.why });
    const result = verify(found.value, processNowMs);
    return result instanceof Promise ? result.then(readingOf) : readingOf(result);
  };
}

function readCookies(
  values: readonly string[],
  verify: VerifyToken<IdentityReading>,
  processNowMs: number,
): IdentityReading | Promise<IdentityReading> | undefined {
  const [first] = values;
  if (first === undefined) return undefined;
  if (values.length === 1 && first !== '') {
    const result = verify(first, processNowMs);
    return result instanceof Promise ? result.then(readingOf) : readingOf(result);
  }
  const tokens = [...new Set(values)].filter((value) => value !== '').slice(0, COOKIES_TRIED_MAX);
  return tokens.length === 0 ? undefined : firstVerified(tokens, verify, processNowMs);
}

/** One token that nobody can verify now leaves open whether it would have been the one. */
async function firstVerified(
  tokens: readonly string[],
  verify: VerifyToken<IdentityReading>,
  processNowMs: number,
): Promise<IdentityReading> {
  let failure: Exclude<TokenResult<IdentityReading>, { readonly state: 'verified' }> | undefined;
  for (const token of tokens) {
    const result = await verify(token, processNowMs);
    if (result.state === 'verified') return result.product;
    if (failure === undefined || (failure.state === 'invalid' && result.state === 'unavailable')) failure = result;
  }
  return failure === undefined ? NOTHING_READ : refused(failure);
}

function readingOf(result: TokenResult<IdentityReading>): IdentityReading {
  return result.state === 'verified' ? result.product : refused(result);
}

function refused(fact: IdentityFact): IdentityReading {
  return { fact, serviceJwt: undefined, sent: true };
}

function isMeantFor(
  audiences: readonly string[],
  { audiences: wanted }: Pick<ApplicationConditions, 'audiences'>,
): boolean {
  return wanted.length === 0 || audiences.some((audience) => wanted.includes(audience));
}

const FOR_ANOTHER: IdentityFact = Object.freeze({ state: 'invalid', why: 'the token is for another application' });
