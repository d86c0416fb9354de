/** Asking an endpoint of the operator's own whether a user may enter: a signed question, a signed answer. Source:
 *  Cloudflare Access, External Evaluation rules. */
import { hash, randomBytes } from 'node:crypto';
import type { EvaluationContext } from '../model/context.ts';
import type { CertificateFact } from '../model/facts.ts';
import type { Identity } from '../model/identity.ts';
import type { CacheResult } from '../shared/cache.ts';
import { isSignatureAlgorithm, signCompact } from '../shared/jose.ts';
import type { SigningKey } from '../shared/jose.ts';
import { own } from './claims.ts';
import { createKeySets } from './key-set.ts';
import type { KeySets } from './key-set.ts';
import { before, jsonObject, OutboundError } from './outbound.ts';
import type { Outbound } from './outbound.ts';
import { createQuestions } from './questions.ts';
import type { Kept, Questions } from './questions.ts';
import { isSignedByAny, issuedWrong, parseToken, timesWrong } from './token.ts';

/** What all revisions share: answers, questions in flight, and the key sets of endpoints. */
export interface ExternalEvaluations {
  /** How one revision asks. */
  source(options: EvaluationOptions): EvaluationSource;
  /** Forgets the key sets of all other URLs; to be called with those of the revision in force. */
  keep(keysUrls: Iterable<string>): void;
}

export interface EvaluationOptions {
  /** RSA. Undefined: nobody is asked, and every verdict is `unavailable`. */
  readonly key: SigningKey | undefined;
  /** `iss` of the question. */
  readonly issuer: string;
  /** Connecting, keys and answer together. */
  readonly timeoutMs: number;
  /** How long an answer is used again, at most; never beyond its own `exp`. */
  readonly cacheSeconds: number;
}

/** Prepares the questions of one request. The context's address, location, certificate, service credentials and posture
 *  have been gathered. */
export type EvaluationSource = (
  application: EvaluatedApplication,
  identity: Identity,
  context: EvaluationContext,
) => AskEvaluation;

export interface EvaluatedApplication {
  readonly id: string;
  /** `aud`; empty: the id stands for it. */
  readonly audiences: readonly string[];
}

/** Asks one endpoint. Never rejects. */
export type AskEvaluation = (endpoint: EvaluationEndpoint) => Evaluation | Promise<Evaluation>;

export interface Evaluation {
  /** `unavailable`: there is no answer that can be believed. */
  readonly verdict: 'met' | 'unmet' | 'unavailable';
}

export interface EvaluationEndpoint {
  readonly evaluateUrl: string;
  readonly keysUrl: string;
}

export interface EvaluationsOptions {
  /** Guarded: who may write policies must not be able to aim Postern at this machine's neighbours. */
  readonly outbound: Outbound;
  /** Milliseconds since the epoch. */
  readonly nowMs?: (() => number) | undefined;
  /** Milliseconds, monotonic. */
  readonly monotonicMs?: (() => number) | undefined;
  readonly onCacheRequest?: ((result: CacheResult) => void) | undefined;
  /** Told why an endpoint gave no answer that can be believed; never a part of the question or the answer. */
  readonly onFailed?: ((host: string, why: string) => void) | undefined;
}

/** Starts with no answer and no key at all. */
export function createExternalEvaluations(options: EvaluationsOptions): ExternalEvaluations {
  const nowMs = options.nowMs ?? Date.now;
  const questions = createQuestions<Evaluation>({
    answersMax: ANSWERS_MAX,
    failed: () => UNAVAILABLE,
    nowMs,
    onCacheRequest: options.onCacheRequest,
  });
  const keySets = createKeySets({ outbound: options.outbound, now: options.monotonicMs, staleMaxMs: KEYS_KEPT_MS });
  const evaluations: Evaluations = { ...options, nowMs, questions, keySets };
  return {
    source: (revision) => (application, identity, context) =>
      asker(evaluations, revision, application, identity, context),
    keep: (urls) => keySets.keep(urls),
  };
}

const UNAVAILABLE: Evaluation = Object.freeze({ verdict: 'unavailable' });

const ANSWERS_MAX = 10_000;
const KEYS_KEPT_MS = 3_600_000;
const ANSWER_BYTES_MAX = 64 * 1024;
const QUESTION_SECONDS = 60;
const SKEW_SECONDS = 30;
/** Cloudflare takes the RSA ones. */
const ALGORITHMS: ReadonlySet<string> = new Set(['RS256', 'RS384', 'RS512', 'ES256']);

interface Evaluations {
  readonly outbound: Outbound;
  readonly nowMs: () => number;
  readonly questions: Questions<Evaluation>;
  readonly keySets: KeySets;
  readonly onFailed?: EvaluationsOptions['onFailed'];
}

function asker(
  evaluations: Evaluations,
  revision: EvaluationOptions,
  application: EvaluatedApplication,
  identity: Identity,
  context: EvaluationContext,
): AskEvaluation {
  const { key } = revision;
  if (!key) return () => UNAVAILABLE;
  const told = identityMembers(identity, context);
  const audiences = application.audiences.length > 0 ? application.audiences : [application.id];
  // A renewed token is the same question.
  let digest: string;
  try {
    digest = hash('sha256', JSON.stringify([application.id, audiences, told]), 'base64');
  } catch {
    // Claims that are nested too deep to be written down: whatever needs no answer is decided all the same.
    return () => UNAVAILABLE;
  }
  const question: Question = {
    iss: revision.issuer,
    aud: audiences,
    sub: identity.subject,
    email: identity.email,
    identity: { ...told, iat: identity.issuedAt },
  };
  return (endpoint) =>
    evaluations.questions.ask(`${endpoint.evaluateUrl}\n${endpoint.keysUrl}\n${digest}`, async () => {
      try {
        return await evaluate(evaluations, revision, key, question, endpoint);
      } catch (error) {
        evaluations.onFailed?.(
          new URL(endpoint.evaluateUrl).host,
          error instanceof OutboundError ? error.message : 'it failed',
        );
        throw error;
      }
    });
}

interface Question {
  readonly iss: string;
  readonly aud: readonly string[];
  readonly sub: string | undefined;
  readonly email: string | undefined;
  readonly identity: Readonly<Record<string, unknown>>;
}

/** Rejects where there is no answer that can be believed. */
async function evaluate(
  { outbound, keySets, nowMs }: Evaluations,
  { timeoutMs, cacheSeconds }: EvaluationOptions,
  key: SigningKey,
  question: Question,
  { evaluateUrl, keysUrl }: EvaluationEndpoint,
): Promise<Kept<Evaluation>> {
  const deadline = AbortSignal.timeout(timeoutMs);
  const keys = keySets.source(keysUrl);
  // Where they are not known yet, they are read while the endpoint thinks.
  const reading = keys.current() === undefined ? keys.find('RS256', undefined) : undefined;
  const nonce = randomBytes(16).toString('hex');
  const issuedAt = Math.floor(nowMs() / 1000);
  const times = { iat: issuedAt, nbf: issuedAt, exp: issuedAt + QUESTION_SECONDS };
  const token = await signCompact({ ...question, ...times, type: 'app', nonce }, key, {
    kid: key.thumbprintHex,
    typ: 'JWT',
  });
  const answer = await outbound({ url: evaluateUrl, json: { token }, bytesMax: ANSWER_BYTES_MAX }, deadline);
  if (!/^application\/(?:[\w.+-]+\+)?json$/.test(answer.type)) throw new OutboundError('the answer is no JSON');
  const signed = own(jsonObject(answer.bytes), 'token');
  if (typeof signed !== 'string') throw new OutboundError('the answer holds no token');

  const parsed = parseToken(signed);
  if (typeof parsed === 'string') throw refused(parsed);
  const { algorithm, kid, claims } = parsed;
  if (typeof algorithm !== 'string' || !ALGORITHMS.has(algorithm) || !isSignatureAlgorithm(algorithm))
    throw refused('alg is none that is accepted');
  if (kid !== undefined && typeof kid !== 'string') throw refused('kid is no text');
  const read = reading && (await before(deadline, Promise.resolve(reading)));
  const found =
    read?.state === 'unavailable' ? read : await before(deadline, Promise.resolve(keys.find(algorithm, kid)));
  // What it says of an unreadable set holds its URL.
  if (found.state !== 'found') throw refused(found.state === 'missing' ? found.why : 'its keys could not be read');
  if (!(await isSignedByAny(signed, found.keys, algorithm))) throw refused('the signature is wrong');
  const verifiedMs = nowMs();
  const expiresAt = own(claims, 'exp');
  if (typeof expiresAt !== 'number') throw refused('exp is missing, or no number');
  const wrong = timesWrong(claims, verifiedMs, SKEW_SECONDS) ?? issuedWrong(claims, verifiedMs, SKEW_SECONDS);
  if (wrong !== undefined) throw refused(wrong);
  if (own(claims, 'nonce') !== nonce) throw refused('the nonce is not that of the question');
  const success = own(claims, 'success');
  if (typeof success !== 'boolean') throw refused('success is neither true nor false');
  return {
    answer: { verdict: success ? 'met' : 'unmet' },
    untilMs: Math.min(verifiedMs + cacheSeconds * 1000, expiresAt * 1000),
  };
}

function refused(why: string): OutboundError {
  return new OutboundError(`the token of the answer is refused: ${why}`);
}

/** The user as Cloudflare Access' get-identity tells of him, without `iat`. What is not known is left out; certificate,
 *  service token and WARP have Cloudflare's empty values. */
function identityMembers(identity: Identity, context: EvaluationContext): Readonly<Record<string, unknown>> {
  const { provider, accounts } = identity;
  const certificate = certificateMembers(context.certificate);
  const service = context.serviceCredentials.state === 'valid' ? context.serviceCredentials : undefined;
  const country = context.location?.country;
  return {
    id: identity.subject,
    user_uuid: identity.subject,
    name: identity.name,
    email: identity.email,
    idp: provider && { id: provider.id, type: provider.type },
    groups: identity.groupsClaim,
    amr: identity.amr,
    geo: country === undefined ? undefined : { country },
    ip: context.address?.text,
    devicePosture: postureOf(identity, context),
    oidc_fields: identity.hasOidcFields ? Object.fromEntries(identity.oidcClaims) : undefined,
    saml_attributes: identity.samlAttributes.size > 0 ? Object.fromEntries(identity.samlAttributes) : undefined,
    account_id: accounts.length > 1 ? accounts : accounts[0],
    auth_status: certificate.auth_status,
    common_name: certificate.common_name,
    service_token_id: service?.tokenId ?? '',
    service_token_status: service !== undefined,
    is_warp: false,
    is_gateway: false,
    mtls_auth: { cert_presented: certificate.cert_presented, auth_status: certificate.auth_status },
    version: 2,
  };
}

function postureOf(identity: Identity, { posture }: EvaluationContext): object | undefined {
  if (posture.state === 'unavailable') return undefined;
  const entries = posture.state === 'known' ? posture.entries : identity.posture;
  return entries && Object.fromEntries(entries);
}

interface CertificateMembers {
  readonly cert_presented: boolean;
  readonly auth_status: 'NONE' | 'SUCCESS' | 'FAILED';
  readonly common_name: string;
}

function certificateMembers(certificate: CertificateFact): CertificateMembers {
  if (certificate.state === 'none') return { cert_presented: false, auth_status: 'NONE', common_name: '' };
  const verified = certificate.state === 'present' && certificate.verified === 'yes' ? certificate : undefined;
  return {
    cert_presented: true,
    auth_status: verified ? 'SUCCESS' : 'FAILED',
    common_name: verified?.commonName.state === 'one' ? verified.commonName.value : '',
  };
}
