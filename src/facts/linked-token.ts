/** Tokens that one application issued and that another application's rule asks for (Cloudflare Access' rule
 *  `linked_app_token`). An unacceptable one is merely not there, because `Authorization` may be meant for the
 *  upstream. */
import type { LinkedTokenFact } from '../model/context.ts';
import type { Headers, RequestFacts } from '../model/request.ts';
import type { CacheResult } from '../shared/cache.ts';
import { compileClaims, DEFAULT_CLAIM_PATHS } from './claims.ts';
import type { ClaimPaths } from './claims.ts';
import { readBearer, readTokenHeader } from './identity.ts';
import type { IdentitySurroundings, KeysOption, TokenOptions } from './identity.ts';
import { createTokenVerifier, isCloudflareIssuer } from './token.ts';
import type { TokenResult, TokenRules, VerifyToken } from './token.ts';

/** An application that issues tokens. */
export interface IssuingApplication {
  /** Lower case. */
  readonly id: string;
  /** `aud`. */
  readonly audiences: readonly string[];
  /** How its tokens are verified; undefined: as those of any issuer of `identity.tokens`, with `aud` as audience. */
  readonly issuedTokens: IssuedTokensOptions | undefined;
}

export interface IssuedTokensOptions {
  readonly issuer: string;
  readonly audiences: readonly string[];
  readonly keys: KeysOption;
  readonly algorithms: readonly string[];
}

export interface LinkedTokensOptions {
  /** Those that a rule names. */
  readonly applications: readonly IssuingApplication[];
  /** `identity.tokens`. */
  readonly tokens: readonly TokenOptions[];
}

export interface LinkedTokens {
  /** Whether a token of this application was presented. An application that is not known: unmet. A promise only
   *  where a token has to be verified, or its keys are still being read. */
  read(applicationId: string, request: RequestFacts, processNowMs: number): LinkedTokenFact | Promise<LinkedTokenFact>;
}

/** Prepares the verifiers of a revision. */
export function createLinkedTokens(
  options: LinkedTokensOptions,
  surroundings: Pick<IdentitySurroundings, 'keys' | 'tokensMax' | 'onCacheRequest'>,
): LinkedTokens {
  const verifiers = new Map<string, VerifyToken<LinkedTokenFact>>();
  for (const application of options.applications) {
    verifiers.set(
      application.id.toLowerCase(),
      createTokenVerifier(rulesFor(application, options.tokens, surroundings.keys), {
        entriesMax: surroundings.tokensMax ?? TOKENS_MAX,
        onRequest: surroundings.onCacheRequest as ((result: CacheResult) => void) | undefined,
      }),
    );
  }
  return {
    read(applicationId, request, processNowMs) {
      const verify = verifiers.get(applicationId.toLowerCase());
      const token = verify === undefined ? undefined : presentedToken(request.headers);
      if (verify === undefined || token === undefined) return UNMET;
      const result = verify(token, processNowMs);
      return result instanceof Promise ? result.then(factOf) : factOf(result);
    },
  };
}

const TOKENS_MAX = 1_000;
const CLOCK_SKEW_SECONDS = 30;

const UNMET: LinkedTokenFact = Object.freeze({ verdict: 'unmet' });
const UNAVAILABLE: LinkedTokenFact = Object.freeze({ verdict: 'unavailable' });

/** The first place that holds a value counts; undefined: none does, or it cannot be one token. */
function presentedToken(headers: Headers): string | undefined {
  const own = readTokenHeader(headers, 'cf-access-token');
  const found = own.state === 'absent' ? readBearer(headers, 'authorization') : own;
  return found.state === 'one' ? found.value : undefined;
}

function factOf(result: TokenResult<LinkedTokenFact>): LinkedTokenFact {
  if (result.state === 'verified') return result.product;
  return result.state === 'unavailable' ? UNAVAILABLE : UNMET;
}

function rulesFor(
  application: IssuingApplication,
  tokens: readonly TokenOptions[],
  keys: IdentitySurroundings['keys'],
): readonly TokenRules<LinkedTokenFact>[] {
  const { issuedTokens } = application;
  if (issuedTokens !== undefined) {
    return [
      {
        issuer: issuedTokens.issuer,
        audiences: issuedTokens.audiences,
        keys: keys(issuedTokens.keys),
        algorithms: issuedTokens.algorithms,
        clockSkewSeconds: CLOCK_SKEW_SECONDS,
        cloudflare: isCloudflareIssuer(issuedTokens.issuer),
        accept: acceptAs(DEFAULT_CLAIM_PATHS),
      },
    ];
  }
  return tokens.map((entry) => ({
    issuer: entry.issuer,
    audiences: application.audiences,
    keys: keys(entry.keys),
    algorithms: entry.algorithms,
    clockSkewSeconds: entry.clock_skew_seconds,
    cloudflare: entry.cloudflare || isCloudflareIssuer(entry.issuer),
    accept: acceptAs(entry.claims),
  }));
}

/** Subject and e-mail fill the upstream's headers, and nothing else. */
function acceptAs(paths: ClaimPaths): TokenRules<LinkedTokenFact>['accept'] {
  const mapClaims = compileClaims({
    paths,
    provider: undefined,
    providers: [],
    source: 'token',
    clockSkewSeconds: CLOCK_SKEW_SECONDS,
  });
  return (claims) => {
    const { subject, email } = mapClaims(claims);
    return Object.freeze({ verdict: 'met' as const, identity: Object.freeze({ subject, email }) });
  };
}
