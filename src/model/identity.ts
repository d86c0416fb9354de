/** The logged-in user as the token (or Envoy's payload, or trusted headers) states him. Absent stays absent:
 *  nothing is invented. E-mail: ASCII lower case, domain as A-labels. Source: OpenID Connect Core 1.0 section 2, RFC 8176, Cloudflare Access' application token. */
export interface Identity {
  readonly source: 'token' | 'envoy_jwt_authn' | 'headers';
  readonly issuer: string | undefined;
  readonly audiences: readonly string[];
  readonly subject: string | undefined;
  readonly email: string | undefined;
  readonly name: string | undefined;
  /** The provider the login came from: its configured id (lower case), with its type where that is configured. */
  readonly provider: { readonly id: string; readonly type: string | undefined } | undefined;
  readonly groups: readonly IdentityGroup[];
  /** The token refers the reader elsewhere for groups (`_claim_names`, `hasgroups`, okta's limit of 100):
   *  a group that is not in the list is then unknown, not unmet. */
  readonly groupsIncomplete: boolean;
  /** The groups as the token has them, of whatever form, for those who pass them on; undefined: none. */
  readonly groupsClaim?: unknown;
  /** RFC 8176 values; undefined: the token has no amr claim. */
  readonly amr: readonly string[] | undefined;
  readonly acr: string | undefined;
  /** Seconds since the epoch. */
  readonly authTime: number | undefined;
  readonly issuedAt: number | undefined;
  readonly expiresAt: number | undefined;
  readonly session: string | undefined;
  /** The token's `jti`. */
  readonly tokenId: string | undefined;
  /** For the log only; the geo rule never reads it. */
  readonly country: string | undefined;
  /** Integration uid → entry as the token has it. */
  readonly posture: ReadonlyMap<string, unknown> | undefined;
  /** As the token has it, of whatever type. */
  readonly riskScore: unknown;
  readonly samlAttributes: ReadonlyMap<string, unknown>;
  /** The object at `claims.oidc_claims`, else the token's own top-level claims. */
  readonly oidcClaims: ReadonlyMap<string, unknown>;
  /** True where `oidcClaims` is an object of the token's own, not its top-level claims. */
  readonly hasOidcFields: boolean;
  readonly authContexts: readonly string[];
  readonly accounts: readonly string[];
  /** False only where the token says that the user does not exist. */
  readonly userExists: boolean;
  /** Seconds of clock skew of the entry that accepted it. */
  readonly clockSkewSeconds: number;
}

/** Somebody of whom nothing is stated: what states something writes over it. */
export const NOTHING_STATED: Omit<Identity, 'source'> = Object.freeze({
  issuer: undefined,
  audiences: Object.freeze([]),
  subject: undefined,
  email: undefined,
  name: undefined,
  provider: undefined,
  groups: Object.freeze([]),
  groupsIncomplete: false,
  amr: undefined,
  acr: undefined,
  authTime: undefined,
  issuedAt: undefined,
  expiresAt: undefined,
  session: undefined,
  tokenId: undefined,
  country: undefined,
  posture: undefined,
  riskScore: undefined,
  samlAttributes: new Map<string, unknown>(),
  oidcClaims: new Map<string, unknown>(),
  hasOidcFields: false,
  authContexts: Object.freeze([]),
  accounts: Object.freeze([]),
  userExists: true,
  clockSkewSeconds: 0,
});

/** A group as the provider names it. A plain string in the token stands for id, name and e-mail alike. */
export interface IdentityGroup {
  readonly id: string | undefined;
  readonly name: string | undefined;
  readonly email: string | undefined;
}

/** Who is asking. `invalid`: something was sent and is not acceptable. `unavailable`: it could not be verified,
 *  because its keys could not be had. `why` is for the log, never for the caller. */
export type IdentityFact =
  | { readonly state: 'nobody' }
  | { readonly state: 'invalid'; readonly why: string }
  | { readonly state: 'unavailable'; readonly why: string }
  | { readonly state: 'known'; readonly identity: Identity };

export const NOBODY: IdentityFact = Object.freeze({ state: 'nobody' });
