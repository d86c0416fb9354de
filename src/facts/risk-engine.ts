/** Asking external risk engines how risky a request is: a token first, then the score. Source: Entrust's Generic API. */
import { hash } from 'node:crypto';
import type { EngineAnswer } from '../model/adaptive-facts.ts';
import type { EvaluationContext } from '../model/context.ts';
import type { Identity } from '../model/identity.ts';
import type { RiskEngineObject, TransactionDetailObject } from '../policy/objects.ts';
import type { CacheResult } from '../shared/cache.ts';
import { own } from './claims.ts';
import { before, jsonObject, OutboundError } from './outbound.ts';
import type { Outbound } from './outbound.ts';
import { createQuestions } from './questions.ts';
import type { Kept } from './questions.ts';

/** One engine, with its token and its answers. */
export interface RiskEngineClient {
  /** How risky the engine finds what is told. Never rejects: what fails is the answer `failure`. */
  ask(told: Told): EngineAnswer | Promise<EngineAnswer>;
}

/** What an engine is told of one request. */
export interface Told {
  readonly identity: Identity;
  /** The client's; undefined: unknown. */
  readonly address: string | undefined;
  /** The transaction's details that risk may see, in the order of their declaration. */
  readonly details: Readonly<Record<string, string>>;
  /** Names of details that nobody can tell. Without them the engine would find the request better than it is, so that
   *  it is not asked. */
  readonly unknown: readonly string[];
}

export interface RiskEngineOptions {
  readonly engine: Omit<RiskEngineObject, 'rules' | 'place'>;
  /** Undefined: none is sent. */
  readonly password: string | undefined;
  /** `IDaaS_AccountId`. */
  readonly account: string;
}

export interface EngineSurroundings {
  readonly outbound: Outbound;
  /** Milliseconds since the epoch. */
  readonly nowMs?: (() => number) | undefined;
  readonly onCacheRequest?: ((result: CacheResult) => void) | undefined;
  /** Told why an engine gave no answer; never a part of the question, the answer or the credentials. */
  readonly onFailed?: ((engine: string, why: string) => void) | undefined;
}

/** Prepares an engine. Nothing is asked before it is needed. */
export function createRiskEngine(
  { engine, password, account }: RiskEngineOptions,
  { outbound, nowMs = Date.now, onCacheRequest, onFailed }: EngineSurroundings,
): RiskEngineClient {
  const base = engine.url.replace(/\/+$/, '');
  const who = { companyId: engine.companyId, riskProvider: engine.riskProvider };
  const failed = (error: unknown): EngineAnswer => {
    const why = error instanceof OutboundError ? error.message : 'it failed';
    onFailed?.(engine.name, why);
    return { state: 'failure', why };
  };
  const questions = createQuestions<EngineAnswer>({ answersMax: ANSWERS_MAX, failed, nowMs, onCacheRequest });
  let token: Token | undefined;
  let fetching: Promise<Token> | undefined;

  async function fetchToken(): Promise<Token> {
    // A deadline of its own: it may serve others than who asked first.
    const { bytes } = await outbound(
      {
        url: `${base}/v1/authenticate`,
        json: { ...who, identifier: engine.identifier, password },
        bytesMax: ANSWER_BYTES_MAX,
      },
      AbortSignal.timeout(engine.timeoutMs),
    );
    const text = own(jsonObject(bytes), 'token');
    if (typeof text !== 'string' || text === '') throw new OutboundError('expected a token, found none');
    return { text, untilMs: nowMs() + engine.tokenSeconds * 1000 };
  }

  /** @param refused Not this one. */
  function freshToken(refused?: Token): Token | Promise<Token> {
    if (token && token !== refused && nowMs() < token.untilMs) return token;
    fetching ??= fetchToken()
      .then((fresh) => {
        token = fresh;
        return fresh;
      })
      .finally(() => {
        fetching = undefined;
      });
    return fetching;
  }

  async function score(question: Readonly<Record<string, unknown>>, told: Told): Promise<Kept<EngineAnswer>> {
    const deadline = AbortSignal.timeout(engine.timeoutMs);
    const ask = (held: Token): Promise<{ readonly bytes: Uint8Array }> =>
      outbound(
        {
          url: `${base}/v1/riskscore`,
          headers: { authorization: held.text },
          json: question,
          bytesMax: ANSWER_BYTES_MAX,
        },
        deadline,
      );
    const first = await before(deadline, Promise.resolve(freshToken()));
    const { bytes } = await ask(first).catch(async (error: unknown) => {
      if (!(error instanceof OutboundError) || error.status !== 401) throw error;
      return ask(await before(deadline, Promise.resolve(freshToken(first))));
    });
    return {
      answer: answerOf(jsonObject(bytes), engine, told.identity),
      untilMs: nowMs() + engine.cacheSeconds * 1000,
    };
  }

  return {
    ask(told) {
      if (told.unknown.length > 0) return failed(new OutboundError('a detail of the transaction cannot be told'));
      const question = { ...who, ...told.details, ...userMembers(told, account, engine.failOnUserMismatch) };
      const key = hash('sha256', JSON.stringify([told.identity.issuer, question]), 'base64');
      return questions.ask(key, () => score(question, told));
    },
  };
}

/** What one engine is told of a request, of which the details have been gathered. */
export function toldOf(
  declared: readonly TransactionDetailObject[],
  identity: Identity,
  { transaction, address }: EvaluationContext,
): Told {
  const details: Record<string, string> = {};
  const unknown: string[] = [];
  for (const { name, usage } of declared) {
    const detail = usage.includes('RBA') ? transaction.get(name) : undefined;
    if (detail?.state === 'unknown') unknown.push(name);
    // As data: a detail may have any name.
    else if (detail?.state === 'text') Object.defineProperty(details, name, { value: detail.value, enumerable: true });
  }
  return { identity, address: address?.text, details, unknown };
}

/** Whether an answer is about another user: it names one, and he is neither the user's e-mail, in any case, nor his
 *  subject. */
export function isAboutAnother(userId: unknown, { email, subject }: Pick<Identity, 'email' | 'subject'>): boolean {
  if (userId === undefined || userId === null) return false;
  if (typeof userId !== 'string') return true;
  return userId !== subject && userId.toLowerCase() !== email?.toLowerCase();
}

const ANSWERS_MAX = 10_000;
const ANSWER_BYTES_MAX = 64 * 1024;

interface Token {
  readonly text: string;
  /** Milliseconds since the epoch. */
  readonly untilMs: number;
}

/** What is undefined is left out. */
function userMembers(
  { identity, address }: Told,
  account: string,
  withAliases: boolean,
): Readonly<Record<string, unknown>> {
  const { email, subject } = identity;
  return {
    IDaaS_AccountId: account,
    IDaaS_UserId: email ?? subject,
    IDaaS_UserUuid: subject,
    IDaaS_ClientIpAddress: address,
    IDaaS_UserAliases: withAliases ? [email, subject].filter((alias) => alias !== undefined) : undefined,
  };
}

function answerOf(
  answer: Readonly<Record<string, unknown>>,
  { failOnUserMismatch }: RiskEngineOptions['engine'],
  identity: Identity,
): EngineAnswer {
  const riskScore = own(answer, 'riskScore');
  if (typeof riskScore !== 'number' || !Number.isFinite(riskScore))
    throw new OutboundError('expected a riskScore that is a number, found none');
  const mismatch = failOnUserMismatch && isAboutAnother(own(answer, 'userId'), identity);
  return { state: 'answered', riskScore, mismatch };
}
