/** Policies that are only tried: a request that has been answered is decided by them too, later, from the facts that
 *  were gathered for its answer. Neither the answer nor its time depends on it. */
import { isDeepStrictEqual } from 'node:util';
import type { CheckFinished } from './envoy/check.ts';
import type { FailureLog } from './failure-log.ts';
import { redactedText } from './log.ts';
import type { Metrics } from './metrics.ts';
import { EvaluationContext } from './model/context.ts';
import type { FactName } from './model/context.ts';
import type { Outcome } from './model/decision.ts';
import type { CompiledApplication } from './policy/compile.ts';
import { decide, noApplication } from './policy/engine.ts';
import type { EngineDecision } from './policy/engine.ts';

export interface Shadow {
  /** Takes a check that is over. Costs nothing where nothing is tried, and a place in a queue where something is. */
  record(check: CheckFinished): void;
}

export interface ShadowOptions {
  readonly metrics: Pick<Metrics, 'shadowDecided' | 'shadowDropped'>;
  /** Told where the two differ, and what went wrong; it writes a few a second. */
  readonly differs: FailureLog;
  readonly failed: FailureLog;
  /** Runs something once what is being done has been done; `setImmediate` where absent. */
  readonly later?: ((run: () => void) => void) | undefined;
  readonly monotonicMs?: (() => number) | undefined;
}

/** How the policies that are tried decide; `unknown`: they read facts that were not gathered, and might decide otherwise
 *  if they had been. */
export type ShadowOutcome = Outcome | 'unknown';

/** What came of trying one request. */
export interface Tried {
  readonly outcome: ShadowOutcome;
  /** By what is known; all that is not counts as unknown. */
  readonly decision: EngineDecision;
  /** Facts that the policies that are tried read and nobody gathered. */
  readonly missing: readonly string[];
}

/** Decides what it takes in small portions between other work. What finds too many waiting is dropped and counted. */
export function createShadow(options: ShadowOptions): Shadow {
  const { metrics, later = setImmediate, monotonicMs = () => performance.now() } = options;
  let waiting: CheckFinished[] = [];
  let isScheduled = false;
  const schedule = (): void => {
    isScheduled = true;
    later(work);
  };
  const work = (): void => {
    const end = monotonicMs() + PORTION_MS;
    let done = 0;
    while (done < waiting.length && (done === 0 || monotonicMs() < end)) {
      const check = waiting[done];
      if (check) tryOne(check, options);
      done += 1;
    }
    waiting = waiting.slice(done);
    if (waiting.length > 0) schedule();
    else isScheduled = false;
  };
  return {
    record(check) {
      if (!check.snapshot.shadow || !check.request) return;
      if (waiting.length >= WAITING_MAX) {
        metrics.shadowDropped();
        return;
      }
      waiting.push(check);
      if (!isScheduled) schedule();
    },
  };
}

/** Undefined: nothing is tried, or the request could not be read, which no policy changes. */
export function tried(check: CheckFinished): Tried | undefined {
  const { snapshot, request } = check;
  if (!snapshot.shadow || !request) return undefined;
  const application = snapshot.shadow.find(request.host, request.path)?.target;
  if (!application) return { outcome: 'deny', decision: noApplication(), missing: [] };
  const missing = missingFacts(application, check.application);
  const decision = decide(application, contextFor(application, check, missing));
  // An allow that needed no more than what is known is one; any other decision might have been another.
  const isCertain =
    missing.length === 0 || (decision.outcome === 'allow' && missing.every((one) => UNKNOWABLE.has(one)));
  return { outcome: isCertain ? decision.outcome : 'unknown', decision, missing };
}

/** Each keeps its request, with its body, until it is its turn. */
const WAITING_MAX = 256;
/** Checks that come in meanwhile wait no longer than this. */
const PORTION_MS = 2;
const HOST_MAX = 255;
const PATH_MAX = 2_048;

function tryOne(check: CheckFinished, { metrics, differs, failed }: ShadowOptions): void {
  try {
    const found = tried(check);
    if (!found) return;
    const { decision, request } = check;
    // Who was asked too often was asked: attempts are no matter of policies.
    const real = decision.reason === 'step_up_exhausted' ? 'step_up' : decision.outcome;
    metrics.shadowDecided(decision.application?.name ?? found.decision.application?.name, real, found.outcome);
    if (real === found.outcome) return;
    differs(`shadow_${real}_${found.outcome}`, 'the policies that are tried would decide otherwise', {
      decision_id: check.decisionId,
      revision: check.snapshot.revision,
      method: request?.method,
      host: request?.host.slice(0, HOST_MAX),
      path: request && redactedText(request.path, PATH_MAX),
      application: decision.application?.name,
      outcome: decision.outcome,
      reason: decision.reason,
      policy: decision.policy?.name,
      shadow_application: found.decision.application?.name,
      shadow_outcome: found.outcome,
      shadow_reason: found.decision.reason,
      shadow_policy: found.decision.policy?.name,
      unknown_facts: found.missing.length > 0 ? found.missing : undefined,
    });
  } catch (error) {
    metrics.shadowDropped();
    failed('shadow', 'the policies that are tried could not be asked', { decision_id: check.decisionId, error });
  }
}

/** Told by the request at once, so that it is had although the policies in force do not ask. */
const TOLD_BY_REQUEST: ReadonlySet<FactName> = new Set(['address', 'location']);

/** Facts of which a context can say that they are unknown, so that no allow comes of their absence. */
const UNKNOWABLE: ReadonlySet<string> = new Set([
  'identity',
  'certificate',
  'posture',
  'risk_score',
  'history',
  'machine',
] satisfies FactName[]);

/** What the one application reads and was not gathered for the other. */
function missingFacts(wanted: CompiledApplication, gathered: CompiledApplication | undefined): readonly string[] {
  const known = MISSING.get(wanted) ?? new WeakMap<object, readonly string[]>();
  MISSING.set(wanted, known);
  const found = known.get(gathered ?? NOTHING_GATHERED);
  if (found) return found;
  const had = gathered?.needs;
  const missing = new Set<string>(
    [...wanted.needs.facts].filter((name) => !had?.facts.has(name) && !TOLD_BY_REQUEST.has(name)),
  );
  // What is gathered is gathered as the application asks: for its audiences, from its header, by its own details.
  const differs = (fact: FactName, one: unknown, other: unknown): void => {
    if (wanted.needs.facts.has(fact) && !isDeepStrictEqual(one, other)) missing.add(fact);
  };
  const { facts } = wanted.needs;
  if (facts.has('identity') || facts.has('service_token')) {
    differs('identity', wanted.audiences, gathered?.audiences);
    differs('identity', wanted.allowedProviders, gathered?.allowedProviders);
  }
  differs('service_token', wanted.audiences, gathered?.audiences);
  differs('service_token', wanted.serviceTokensHeader, gathered?.serviceTokensHeader);
  differs('transaction', wanted.source.transaction, gathered?.source.transaction);
  for (const id of wanted.needs.linkedTokens) if (!had?.linkedTokens.includes(id)) missing.add('linked_token');
  for (const id of wanted.needs.engines) if (!had?.engines.includes(id)) missing.add('risk_engine');
  for (const { evaluateUrl, keysUrl } of wanted.needs.evaluations) {
    if (!had?.evaluations.some((one) => one.evaluateUrl === evaluateUrl && one.keysUrl === keysUrl))
      missing.add('external_evaluation');
  }
  const list = Object.freeze([...missing].toSorted());
  known.set(gathered ?? NOTHING_GATHERED, list);
  return list;
}

const NOTHING_GATHERED = Object.freeze({});
const MISSING = new WeakMap<CompiledApplication, WeakMap<object, readonly string[]>>();

/** The facts of the check, with nothing of what its own policies concluded, and with what is missing as unknown. */
function contextFor(
  { needs }: CompiledApplication,
  { request, context: gathered, snapshot }: CheckFinished,
  missing: readonly string[],
): EvaluationContext {
  if (!request) throw new Error('a request that cannot be read is not tried');
  const context = new EvaluationContext(request, gathered?.processNowMs ?? Date.now());
  if (gathered) Object.assign(context, gathered, { groupVerdicts: undefined });
  const { facts } = needs;
  if (facts.has('address') || facts.has('location') || facts.has('history'))
    context.address ??= snapshot.sources.clientAddress(request);
  if (facts.has('location') || facts.has('history'))
    context.location ??= snapshot.sources.location(request, context.address);
  const why = 'the policies in force do not gather it';
  if (missing.includes('identity')) context.identity = { state: 'unavailable', why };
  if (missing.includes('certificate')) context.certificate = { state: 'unreadable', why };
  if (missing.includes('posture')) context.posture = { state: 'unavailable', why };
  if (missing.includes('risk_score')) context.riskScore = { state: 'unavailable', why };
  if (missing.includes('history')) context.history = { state: 'unavailable' };
  if (missing.includes('machine')) context.machine = { state: 'unavailable' };
  return context;
}
