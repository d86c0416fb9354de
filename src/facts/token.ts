/** Verifying tokens: compact JWS (RFC 7515) that carry JWT claims (RFC 7519), in the order that decides what is
 *  merely unacceptable and what could not be verified. */
import { hash } from 'node:crypto';
import { createCache } from '../shared/cache.ts';
import type { Cache, CacheOptions } from '../shared/cache.ts';
import { hasSignature, isSignatureAlgorithm } from '../shared/jose.ts';
import type { SignatureAlgorithm } from '../shared/jose.ts';
import { isObject } from '../shared/object.ts';
import { audiencesOf, own } from './claims.ts';
import type { Claims } from './claims.ts';
import type { KeyLookup, KeySet, KeySource } from './key-set.ts';

/** What a token must be like, and what is made of its claims once it is verified. */
export interface TokenRules<Product> {
  /** Equal to `iss`, character by character. */
  readonly issuer: string;
  /** `aud` must hold one of these. */
  readonly audiences: readonly string[];
  readonly keys: KeySource;
  readonly algorithms: readonly string[];
  readonly clockSkewSeconds: number;
  /** A Cloudflare Access issuer, whose organisation tokens (`type: org`) are for its own pages only. */
  readonly cloudflare: boolean;
  readonly accept: (claims: Claims) => Product;
}

/** `invalid`: not acceptable. `unavailable`: the keys could not be had. `why` is for the log; it never holds the
 *  token or any value of it. */
export type TokenResult<Product> =
  | { readonly state: 'verified'; readonly product: Product }
  | { readonly state: 'invalid'; readonly why: string }
  | { readonly state: 'unavailable'; readonly why: string };

/** A promise only where the token is not known yet and its form is right. Rejects only where `accept` throws. */
export type VerifyToken<Product> = (
  token: string,
  processNowMs: number,
) => TokenResult<Product> | Promise<TokenResult<Product>>;

/** Longer ones are no tokens. */
export const TOKEN_LENGTH_MAX = 16_384;

/** Of the tokens that are remembered. What is made of one takes some 3.5 bytes for each of its characters: 10 000 of
 *  9 KB with 150 groups took 320 MB. */
const TOKEN_CHARACTERS_MAX = 16 * 1024 * 1024;

/** A verified token is not verified again for this long. */
const REMEMBERED_MS = 60_000;

/** A verifier of tokens of any of these issuers; of two entries with one issuer the first counts. Tokens found good
 *  are remembered by their digest until they expire, for a minute, and while the key set that verified them is in
 *  force. Equal tokens at one time are verified once. */
export function createTokenVerifier<Product>(
  entries: readonly TokenRules<Product>[],
  cache: CacheOptions,
): VerifyToken<Product> {
  const verified: Cache<string, Remembered<Product>> = createCache({
    weightMax: TOKEN_CHARACTERS_MAX,
    ...cache,
  });
  const underWay = new Map<string, Promise<Outcome<Product>>>();
  return (token, processNowMs) => {
    if (token.length > TOKEN_LENGTH_MAX) return invalid(`expected at most ${TOKEN_LENGTH_MAX} characters`);
    const digest = hash('sha256', token, 'base64');
    const known = verified.get(digest, processNowMs);
    if (known !== undefined && known.keys.current() === known.set) return known.result;
    let verifying = underWay.get(digest);
    if (verifying === undefined) {
      const parsed = parseToken(token);
      if (typeof parsed === 'string') return invalid(parsed);
      const chosen = chooseRules(parsed, entries);
      if (typeof chosen === 'string') return invalid(chosen);
      const { keys } = chosen.rules;
      verifying = verify(chosen, processNowMs)
        .then((outcome) => {
          if (outcome.set !== undefined) {
            const untilMs = Math.min(outcome.expiresAt * 1000, processNowMs + REMEMBERED_MS);
            if (untilMs > processNowMs)
              verified.set(digest, { keys, set: outcome.set, result: outcome.result }, untilMs, token.length);
          }
          return outcome;
        })
        .finally(() => {
          underWay.delete(digest);
        });
      underWay.set(digest, verifying);
    }
    // Those who joined later have a later clock.
    return verifying.then((outcome) =>
      outcome.set === undefined || processNowMs < outcome.endMs ? outcome.result : EXPIRED,
    );
  };
}

/** Whether an issuer is Cloudflare Access by its host. */
export function isCloudflareIssuer(issuer: string): boolean {
  return URL.canParse(issuer) && new URL(issuer).hostname.endsWith('.cloudflareaccess.com');
}

/** `exp` and `nbf` where they are there, as RFC 7519 sections 4.1.4 and 4.1.5 have them. undefined: nothing is wrong. */
export function timesWrong(claims: Claims, processNowMs: number, skewSeconds: number): string | undefined {
  const now = processNowMs / 1000;
  const expiry = own(claims, 'exp');
  if (expiry !== undefined && !isFiniteNumber(expiry)) return 'exp is no number';
  if (expiry !== undefined && !(now < expiry + skewSeconds)) return 'the token has expired';
  const notBefore = own(claims, 'nbf');
  if (notBefore !== undefined && !isFiniteNumber(notBefore)) return 'nbf is no number';
  if (notBefore !== undefined && !(notBefore <= now + skewSeconds)) return 'the token is not valid yet';
  return undefined;
}

/** A token of the right form, of which nothing is verified. */
export interface ParsedToken {
  readonly compact: string;
  readonly algorithm: unknown;
  readonly kid: unknown;
  readonly claims: Claims;
}

/** The form of a compact JWS that carries JSON claims, and nothing else of it. Text: what is wrong with it. */
export function parseToken(compact: string): ParsedToken | string {
  const parts = compact.split('.', 4);
  const [header, payload, signature] = parts;
  if (parts.length !== 3 || header === undefined || payload === undefined || signature === undefined)
    return 'expected three parts';
  if (!isBase64Url(signature)) return 'the signature is not base64url';
  const protectedHeader = jsonObjectOf(header);
  if (protectedHeader === undefined) return 'the header is no JSON object';
  if (Object.hasOwn(protectedHeader, 'crit')) return 'the header has crit';
  if (Object.hasOwn(protectedHeader, 'b64')) return 'the header has b64';
  if (!isAcceptedType(own(protectedHeader, 'typ'))) return 'typ is neither JWT nor at+jwt';
  const claims = jsonObjectOf(payload);
  if (claims === undefined) return 'the payload is no JSON object';
  return { compact, algorithm: own(protectedHeader, 'alg'), kid: own(protectedHeader, 'kid'), claims };
}

/** Whether one of the keys signed it. */
export async function isSignedByAny(
  compact: string,
  keys: readonly { readonly key: Parameters<typeof hasSignature>[1] }[],
  algorithm: SignatureAlgorithm,
): Promise<boolean> {
  for (const { key } of keys) {
    if (await hasSignature(compact, key, algorithm)) return true;
  }
  return false;
}

/** `iat` where it is there (RFC 7519 section 4.1.6): not in the future. undefined: nothing is wrong. */
export function issuedWrong(claims: Claims, processNowMs: number, skewSeconds: number): string | undefined {
  const issuedAt = own(claims, 'iat');
  if (issuedAt === undefined) return undefined;
  if (!isFiniteNumber(issuedAt)) return 'iat is no number';
  return issuedAt <= processNowMs / 1000 + skewSeconds ? undefined : 'the token was issued in the future';
}

interface Remembered<Product> {
  readonly keys: KeySource;
  readonly set: KeySet;
  readonly result: TokenResult<Product>;
}

interface Chosen<Product> {
  readonly token: ParsedToken;
  readonly algorithm: SignatureAlgorithm;
  readonly kid: string | undefined;
  readonly rules: TokenRules<Product>;
}

/** Logout tokens, security events and our own states have types of their own. RFC 7519 section 5.1, RFC 9068. */
function isAcceptedType(type: unknown): boolean {
  return type === undefined || (typeof type === 'string' && /^(?:application\/)?(?:jwt|at\+jwt)$/i.test(type));
}

/** `alg`, `iss` and the form of `kid`, before any key is asked for. Text: what is wrong. */
function chooseRules<Product>(token: ParsedToken, entries: readonly TokenRules<Product>[]): Chosen<Product> | string {
  const issuer = own(token.claims, 'iss');
  const rules = entries.find((entry) => entry.issuer === issuer);
  const { algorithm, kid } = token;
  if (typeof algorithm !== 'string' || !isSignatureAlgorithm(algorithm)) return 'alg is none that is accepted';
  if (rules === undefined) return 'iss is none that is accepted';
  if (!rules.algorithms.includes(algorithm)) return 'alg is none that this issuer may use';
  if (kid !== undefined && typeof kid !== 'string') return 'kid is no text';
  return { token, algorithm, kid, rules };
}

/** With a set: verified by a key of it. */
type Outcome<Product> =
  | { readonly set: undefined; readonly result: TokenResult<Product> }
  | {
      readonly set: KeySet;
      /** Seconds: the token's `exp`. */
      readonly expiresAt: number;
      /** The same in milliseconds, with the skew. */
      readonly endMs: number;
      readonly result: TokenResult<Product>;
    };

async function verify<Product>(
  { token, algorithm, kid, rules }: Chosen<Product>,
  processNowMs: number,
): Promise<Outcome<Product>> {
  const lookup: KeyLookup = await rules.keys.find(algorithm, kid);
  if (lookup.state === 'unavailable') return { set: undefined, result: { state: 'unavailable', why: lookup.why } };
  if (lookup.state === 'missing') return refusal(lookup.why);
  if (!(await isSignedByAny(token.compact, lookup.keys, algorithm))) return refusal('the signature is wrong');
  const { claims } = token;
  const { clockSkewSeconds: skewSeconds } = rules;
  const expiresAt = own(claims, 'exp');
  if (!isFiniteNumber(expiresAt)) return refusal('exp is missing, or no number');
  const wrong =
    timesWrong(claims, processNowMs, skewSeconds) ??
    issuedWrong(claims, processNowMs, skewSeconds) ??
    audienceWrong(claims, rules.audiences);
  if (wrong !== undefined) return refusal(wrong);
  if (rules.cloudflare && own(claims, 'type') === 'org') return refusal('the token is for the organisation only');
  const result = Object.freeze({ state: 'verified' as const, product: rules.accept(claims) });
  return { set: lookup.set, expiresAt, endMs: (expiresAt + skewSeconds) * 1000, result };
}

function audienceWrong(claims: Claims, accepted: readonly string[]): string | undefined {
  const audiences = audiencesOf(claims);
  if (audiences === undefined) return 'aud is missing, or neither text nor a list of texts';
  return audiences.some((audience) => accepted.includes(audience)) ? undefined : 'the token is for another audience';
}

function isFiniteNumber(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value);
}

/** undefined: not base64url, not UTF-8, not JSON, or no object. */
function jsonObjectOf(part: string): Readonly<Record<string, unknown>> | undefined {
  if (!isBase64Url(part)) return undefined;
  try {
    const value: unknown = JSON.parse(utf8.decode(Buffer.from(part, 'base64url')));
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** RFC 7515 section 2: without padding, and not empty. The bits beyond the last byte are zero, so that one token has
 *  one spelling. */
function isBase64Url(part: string): boolean {
  if (!/^[A-Za-z0-9_-]+$/.test(part)) return false;
  const last = BASE64URL.indexOf(part.charAt(part.length - 1));
  const rest = part.length % 4;
  return rest === 0 || (rest === 2 && last % 16 === 0) || (rest === 3 && last % 4 === 0);
}

const BASE64URL = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

function invalid(why: string): Invalid {
  return { state: 'invalid', why };
}

function refusal(why: string): { readonly set: undefined; readonly result: Invalid } {
  return { set: undefined, result: invalid(why) };
}

type Invalid = { readonly state: 'invalid'; readonly why: string };

const EXPIRED: Invalid = Object.freeze({ state: 'invalid', why: 'the token has expired' });
