/** The payload that Envoy's jwt_authn filter verified and left in the dynamic metadata
 *  (`payload_in_metadata`). Safe only where that filter runs before ext_authz and its namespace is among
 *  `metadata_context_namespaces`. */
import { NOBODY } from '../model/identity.ts';
import type { IdentityFact } from '../model/identity.ts';
import type { RequestFacts } from '../model/request.ts';
import { isObject } from '../shared/object.ts';
import { compileClaims } from './claims.ts';
import type { ClaimPaths, MapClaims, Provider, ProviderSource } from './claims.ts';
import { timesWrong } from './token.ts';

export interface EnvoyJwtAuthnOptions {
  /** Of the filter metadata, usually `envoy.filters.http.jwt_authn`. */
  readonly namespace: string;
  /** Metadata key → how its payload is read; the first key that is present counts. */
  readonly payloads: Readonly<Record<string, { readonly provider?: ProviderSource; readonly claims: ClaimPaths }>>;
}

/** undefined: Envoy left no payload. */
export type ReadEnvoyJwtAuthn = (request: RequestFacts, processNowMs: number) => IdentityFact | undefined;

/** The settings give no other, and tokens have this one by default. */
const CLOCK_SKEW_SECONDS = 30;

/** Prepares the reading, once, at load. */
export function createEnvoyJwtAuthn(options: EnvoyJwtAuthnOptions, providers: readonly Provider[]): ReadEnvoyJwtAuthn {
  const payloads: readonly (readonly [string, MapClaims])[] = Object.entries(options.payloads).map(([key, payload]) => [
    key,
    compileClaims({
      paths: payload.claims,
      provider: payload.provider,
      providers,
      source: 'envoy_jwt_authn',
      clockSkewSeconds: CLOCK_SKEW_SECONDS,
    }),
  ]);
  return (request, processNowMs) => {
    const metadata = request.metadata(options.namespace);
    if (metadata === undefined) return undefined;
    for (const [key, mapClaims] of payloads) {
      if (Object.hasOwn(metadata, key)) return readPayload(metadata[key], mapClaims, processNowMs);
    }
    return undefined;
  };
}

function readPayload(payload: unknown, mapClaims: MapClaims, processNowMs: number): IdentityFact {
  if (!isObject(payload)) return { state: 'invalid', why: "Envoy's JWT payload is no object" };
  const wrong = timesWrong(payload, processNowMs, CLOCK_SKEW_SECONDS);
  if (wrong !== undefined) return { state: 'invalid', why: `Envoy's JWT payload: ${wrong}` };
  const identity = mapClaims(payload);
  return identity.subject === undefined && identity.email === undefined ? NOBODY : { state: 'known', identity };
}
