import type { EngineAnswer, TransactionDetail } from '../model/adaptive-facts.ts';
import type { Address } from '../model/address.ts';
import type { EvaluationContext, FactName, LinkedTokenFact } from '../model/context.ts';
import type { CertificateFact, Location, PostureFact, RiskScoreFact, ServiceCredentialsFact } from '../model/facts.ts';
import type { Identity } from '../model/identity.ts';
import type { RequestFacts } from '../model/request.ts';
import type { Verdict } from '../model/verdict.ts';
import type { CompiledApplication } from '../policy/compile.ts';
import type { EvaluationSource } from './external-evaluation.ts';
import type { Remembered } from './history.ts';
import { forApplication, serviceJwtForApplication } from './identity.ts';
import type { IdentityReading, ServiceJwt } from './identity.ts';
import { toldOf } from './risk-engine.ts';
import type { Told } from './risk-engine.ts';

/** Where the facts of one revision come from. What may have to be waited for returns a promise only when it has to. */
export interface Sources {
  clientAddress(request: RequestFacts): Address | undefined;
  location(request: RequestFacts, address: Address | undefined): Location;
  certificate(request: RequestFacts, processNowMs: number): CertificateFact;
  identity(request: RequestFacts, processNowMs: number): IdentityReading | Promise<IdentityReading>;
  serviceCredentials(
    request: RequestFacts,
    header: string | undefined,
    serviceJwt: ServiceJwt | undefined,
    processNowMs: number,
  ): ServiceCredentialsFact;
  /** Names of the request's headers that carry a service token's secret. */
  secretHeaders(request: RequestFacts, header: string | undefined): readonly string[];
  posture(request: RequestFacts): PostureFact;
  /** The details of a transaction that an application declares, by its id. */
  transaction(application: string, request: RequestFacts): ReadonlyMap<string, TransactionDetail>;
  riskScore(identity: Identity | undefined): RiskScoreFact | Promise<RiskScoreFact>;
  /** What is remembered of the user, from before this request. */
  remembered(identity: Identity, context: EvaluationContext): Remembered | Promise<Remembered>;
  readonly evaluations: EvaluationSource;
  /** An enabled risk engine's answer, by its id. */
  riskEngine(engine: string, told: Told): EngineAnswer | Promise<EngineAnswer>;
  linkedToken(
    application: string,
    request: RequestFacts,
    processNowMs: number,
  ): LinkedTokenFact | Promise<LinkedTokenFact>;
}

/** What gathering tells of the facts that had to be waited for, once each, and of those that could not be had.
 *  `seconds` is how long it was waited: 0 where it was known at once that there is none. */
export type FactFinished = (fact: FactName, seconds: number, succeeded: boolean) => void;

/** Fills a context with what the application needs, and nothing else. Returns undefined when everything is there
 *  already; otherwise a promise that resolves when all is there or when `late` does. Facts that are not there by
 *  then stay unknown: nothing is written into the context any more. Never rejects: a source that fails leaves its
 *  fact unknown. */
export function gather(
  application: CompiledApplication,
  context: EvaluationContext,
  sources: Sources,
  watch: { readonly finished: FactFinished; readonly monotonicMs: () => number },
  late: () => Promise<void>,
): Promise<void> | undefined {
  const { facts } = application.needs;
  const { request, processNowMs } = context;
  const gathering: Gathering = { context, open: true, pending: [], waiting: new Set(), watch };
  const needsLocation = facts.has('location') || facts.has('history');
  if (facts.has('address') || needsLocation || facts.has('risk_engine'))
    context.address = sources.clientAddress(request);
  if (needsLocation) context.location = sources.location(request, context.address);
  if (facts.has('certificate')) context.certificate = sources.certificate(request, processNowMs);
  if (facts.has('posture')) context.posture = sources.posture(request);
  if (facts.has('transaction') || facts.has('risk_engine'))
    context.transaction = sources.transaction(application.named.id, request);
  if (facts.has('identity') || facts.has('service_token')) gatherIdentity(application, sources, gathering);
  if (facts.has('linked_token')) gatherLinkedTokens(application, sources, gathering);
  if (gathering.pending.length === 0) return undefined;
  return gatheredOr(late, gathering);
}

async function gatheredOr(late: () => Promise<void>, gathering: Gathering): Promise<void> {
  await Promise.race([allSettled(gathering.pending), late()]);
  gathering.open = false;
  for (const { fact, beganMs } of gathering.waiting) told(fact, beganMs, gathering, false);
}

interface Gathering {
  readonly context: EvaluationContext;
  /** False once the deadline has passed: late facts are dropped. */
  open: boolean;
  /** Grows while facts that others wait for come in. */
  readonly pending: Promise<void>[];
  /** Those of the pending ones that are not there yet. */
  readonly waiting: Set<Waiting>;
  readonly watch: { readonly finished: FactFinished; readonly monotonicMs: () => number };
}

interface Waiting {
  readonly fact: FactName;
  readonly beganMs: number;
}

function gatherIdentity(application: CompiledApplication, sources: Sources, gathering: Gathering): void {
  const { context } = gathering;
  // Until it is there: whoever it is, it could not be told.
  context.identity = { state: 'unavailable', why: 'the identity was not there in time' };
  whenThere('identity', gathering, sources.identity(context.request, context.processNowMs), (reading) => {
    context.identity = forApplication(reading, application);
    if (application.needs.facts.has('service_token')) {
      context.serviceCredentials = sources.serviceCredentials(
        context.request,
        application.serviceTokensHeader,
        serviceJwtForApplication(reading, application),
        context.processNowMs,
      );
    }
    gatherOfIdentity(application, sources, gathering);
  });
}

/** What can only be asked once it is known who is asking. */
function gatherOfIdentity(application: CompiledApplication, sources: Sources, gathering: Gathering): void {
  const { context } = gathering;
  const { facts } = application.needs;
  const identity = context.identity.state === 'known' ? context.identity.identity : undefined;
  if (facts.has('risk_score')) {
    context.riskScore = { state: 'unavailable', why: 'the risk score was not there in time' };
    whenThere('risk_score', gathering, sources.riskScore(identity), (fact) => {
      context.riskScore = fact;
    });
  }
  if (identity && (facts.has('history') || facts.has('machine'))) {
    whenThere('history', gathering, sources.remembered(identity, context), ({ history, machine }) => {
      context.history = history;
      context.machine = machine;
    });
  }
  if (facts.has('external_evaluation') && identity) gatherEvaluations(application, identity, sources, gathering);
  if (facts.has('risk_engine') && identity) gatherEngines(application, identity, sources, gathering);
}

function gatherEvaluations(
  { needs, named, audiences }: CompiledApplication,
  identity: Identity,
  sources: Sources,
  gathering: Gathering,
): void {
  const { context } = gathering;
  const verdicts = new Map<string, Verdict>();
  context.evaluations = verdicts;
  const ask = sources.evaluations({ id: named.id, audiences }, identity, context);
  for (const endpoint of needs.evaluations) {
    const name = `${endpoint.evaluateUrl}\n${endpoint.keysUrl}`;
    verdicts.set(name, 'unavailable');
    whenThere('external_evaluation', gathering, ask(endpoint), ({ verdict }) => {
      verdicts.set(name, verdict);
    });
  }
}

function gatherEngines(
  { needs, source }: CompiledApplication,
  identity: Identity,
  sources: Sources,
  gathering: Gathering,
): void {
  const { context } = gathering;
  const answers = new Map<string, EngineAnswer>();
  context.engines = answers;
  const question = toldOf(source.transaction, identity, context);
  for (const engine of needs.engines) {
    answers.set(engine, LATE_ENGINE);
    whenThere('risk_engine', gathering, sources.riskEngine(engine, question), (answer) => {
      answers.set(engine, answer);
    });
  }
}

const LATE_ENGINE: EngineAnswer = Object.freeze({ state: 'failure', why: 'its answer was not there in time' });

function gatherLinkedTokens(application: CompiledApplication, sources: Sources, gathering: Gathering): void {
  const { context } = gathering;
  const tokens = new Map<string, LinkedTokenFact>(application.needs.linkedTokens.map((id) => [id, UNAVAILABLE_TOKEN]));
  context.linkedTokens = tokens;
  for (const id of application.needs.linkedTokens) {
    whenThere('linked_token', gathering, sources.linkedToken(id, context.request, context.processNowMs), (fact) => {
      tokens.set(id, fact);
    });
  }
}

const UNAVAILABLE_TOKEN: LinkedTokenFact = Object.freeze({ verdict: 'unavailable' satisfies Verdict });

/** Uses a fact at once where it is there, and later where it has to be waited for. */
function whenThere<T>(fact: FactName, gathering: Gathering, value: T | Promise<T>, use: (value: T) => void): void {
  if (!(value instanceof Promise)) {
    if (!isHad(value)) gathering.watch.finished(fact, 0, false);
    use(value);
    return;
  }
  gathering.pending.push(awaited(fact, gathering, value, use));
}

async function awaited<T>(
  fact: FactName,
  gathering: Gathering,
  value: Promise<T>,
  use: (value: T) => void,
): Promise<void> {
  const waiting = { fact, beganMs: gathering.watch.monotonicMs() };
  gathering.waiting.add(waiting);
  let got: T | undefined;
  try {
    got = await value;
  } catch {
    // Whoever is told that it could not be had learns no more than that.
  }
  const { context, watch } = gathering;
  if (STATE_FACTS.has(fact))
    context.stateWaitedMs = Math.max(context.stateWaitedMs, watch.monotonicMs() - waiting.beganMs);
  // Too late: that was told when the deadline passed.
  if (!gathering.open) return;
  gathering.waiting.delete(waiting);
  told(fact, waiting.beganMs, gathering, got !== undefined && isHad(got));
  if (got !== undefined) use(got);
}

/** What the state store is asked for. */
const STATE_FACTS: ReadonlySet<FactName> = new Set<FactName>(['history', 'risk_score']);

function told(fact: FactName, beganMs: number, { watch }: Gathering, succeeded: boolean): void {
  watch.finished(fact, (watch.monotonicMs() - beganMs) / 1000, succeeded);
}

/** Facts say themselves that they could not be had: in their state or verdict, or those of the fact they hold. */
function isHad(value: unknown): boolean {
  const { fact, state, verdict } = Object(value) as Readonly<Record<'fact' | 'state' | 'verdict', unknown>>;
  const holder = (fact ?? {}) as { readonly state?: unknown };
  return ![holder.state, state, verdict].includes('unavailable') && state !== 'failure';
}

/** Waits for all, those that join meanwhile included. */
async function allSettled(pending: Promise<void>[]): Promise<void> {
  for (let i = 0; i < pending.length; i += 1) await pending[i];
}
