import type { Identity } from './identity.ts';

/** What Envoy and the caller are told. Only `allow` lets the request through. */
export type Outcome = 'allow' | 'unauthenticated' | 'step_up' | 'deny' | 'bad_request' | 'unavailable';

/** Every reason there is, with what it means: the closed list of the contract. */
export const REASONS = {
  policy_allowed: 'An allow or service-auth policy matched, and the authentication flow, if any, is satisfied.',
  policy_bypassed: 'A bypass policy matched, or a CORS preflight was let through.',
  policy_denied: 'A deny policy matched.',
  no_application: 'No application covers this host and path.',
  no_policy_matched: 'The application has no policy that lets this caller in.',
  not_authenticated: 'A login is needed, and nobody is logged in.',
  token_invalid: 'A token or service credentials were sent, and they are not acceptable.',
  session_expired: 'The token is older than the session duration.',
  step_up_required: 'The caller must authenticate more strongly or more recently.',
  step_up_exhausted: 'The caller was asked to step up too often in ten minutes.',
  risk_factor_denied: 'A risk factor that denies access is at risk.',
  risk_level_denied: 'The risk level of this request has no flow, or one that denies access.',
  no_resource_rule: 'The application is protected by resource rules, and none applies.',
  request_ambiguous: 'Path or host could be read in two ways.',
  request_malformed: 'The request cannot be read.',
  fact_unavailable: 'A fact that decides could not be had.',
  overloaded: 'Too many checks were waiting.',
  internal_error: 'Postern failed; see its log.',
} as const;

export type Reason = keyof typeof REASONS;

export type RiskLevel = 'LOW' | 'MEDIUM' | 'HIGH';

/** The name the metadata carries and the id the log carries. */
export interface Named {
  readonly id: string;
  readonly name: string;
}

/** What a step-up asks for. Source: RFC 9470. */
export interface Challenge {
  /** In order; empty: none is advertised. */
  readonly acrValues: readonly string[];
  /** Seconds; undefined: no limit applies. */
  readonly maxAgeSeconds: number | undefined;
  /** Only freshness fails: the methods would have sufficed. */
  readonly onlyFreshness: boolean;
  /** The portal is asked to make the user log in again (`prompt=login`). */
  readonly promptLogin: boolean;
}

/** What the engine says of one request, and what the front door needs to answer it. */
export interface Decision {
  readonly outcome: Outcome;
  readonly reason: Reason;
  readonly application: Named | undefined;
  /** The policy that decided. */
  readonly policy: Named | undefined;
  readonly resourceRule: Named | undefined;
  readonly riskLevel: RiskLevel | undefined;
  /** At most two decimals. */
  readonly riskScore: number | undefined;
  /** Who it was decided for, where somebody is logged in. */
  readonly identity: Identity | undefined;
  /** Upstream headers of a non_identity match by a linked application token. */
  readonly linkedIdentity: Pick<Identity, 'subject' | 'email'> | undefined;
  /** With `step_up` only. */
  readonly challenge: Challenge | undefined;
  /** With `unauthenticated`: a browser may be sent to the login page. */
  readonly loginMayHelp: boolean;
  /** With `unauthenticated`: the caller sent a token or credentials, which are not acceptable. */
  readonly tokenSent: boolean;
  /** `Set-Cookie` values to add on an allow: the machine cookie, or none. */
  readonly cookies: readonly string[];
  /** For the log and explain, never for the caller. */
  readonly why: string;
}
