import { EvaluationContext } from '../model/context.ts';
import type { FactName } from '../model/context.ts';
import type { Decision } from '../model/decision.ts';
import type { Headers, RequestFacts, RequestRefusal } from '../model/request.ts';
import { gather } from '../facts/gather.ts';
import type { FactFinished, Sources } from '../facts/gather.ts';
import type { Stage } from '../metrics.ts';
import type { CompiledApplication } from '../policy/compile.ts';
import type { DestinationIndex } from '../policy/destinations.ts';
import { decide, lateDecision, noApplication, refused } from '../policy/engine.ts';
import type { EngineDecision } from '../policy/engine.ts';
import { answerFor, isBrowserNavigation } from './answer.ts';
import type { AnswerOptions } from './answer.ts';
import type { PortalVisit } from './portal.ts';
import { readHeaders, readRequest } from './request.ts';
import { encodeAnswer, failureAnswer } from './response.ts';

/** A request's whole day: the bytes of a CheckRequest in, the bytes of a CheckResponse out. Never throws, never
 *  rejects, never answers zero bytes; a promise only where something had to be waited for. */
export type Check = (request: Uint8Array, call: CheckCall) => Uint8Array | Promise<Uint8Array>;

/** What a transport tells of one call. */
export interface CheckCall {
  /** When the caller gives up, milliseconds since the epoch; `Infinity`: it does not say. */
  readonly deadlineMs: number;
  /** Aborted when the caller goes away before the answer. Made only when somebody asks for it. */
  readonly signal: AbortSignal;
  /** The caller has gone away: nothing is sent, nothing counts as a decision. */
  readonly cancelled: boolean;
  /** What the call itself carries under this lower-case name, beside the request that it asks about; undefined:
   *  nothing, or more than one. Envoy's tracing tells its own span here (`traceparent`), also where the request has
   *  none. Absent: the transport carries nothing. */
  metadata?(name: string): string | undefined;
}

/** One revision, whole: a request reads it once and sees no other. */
export interface Snapshot {
  /** First 12 hex digits of the SHA-256 over names and bytes of all files. */
  readonly revision: string;
  readonly destinations: DestinationIndex<CompiledApplication>;
  /** Policies that are only tried: nobody is answered by them. Undefined: none are. */
  readonly shadow: DestinationIndex<CompiledApplication> | undefined;
  readonly sources: Sources;
  readonly answers: AnswerOptions;
  /** The signed assertion for the upstream; undefined: none is sent. */
  readonly assertion: ((decision: Decision, decisionId: string, nowMs: number) => Promise<string>) | undefined;
  /** Where a browser is sent for a step-up; undefined: no portal. */
  readonly portal: ((visit: PortalVisit) => Promise<string>) | undefined;
}

/** A decision after what only state can tell: the attempts so far. */
export interface Settled {
  readonly decision: EngineDecision;
  /** From 1; of a step-up that sends a browser to the portal. */
  readonly attempt: number;
}

/** A check that is over, for metrics and log. */
export interface CheckFinished {
  readonly decision: EngineDecision;
  readonly decisionId: string;
  /** The revision that decided. */
  readonly snapshot: Snapshot;
  readonly request: RequestFacts | undefined;
  readonly context: EvaluationContext | undefined;
  readonly application: CompiledApplication | undefined;
  readonly seconds: number;
  readonly call: CheckCall;
  /** Those that were waited for, where `keepsFactTimes`. */
  readonly facts: readonly FactTime[] | undefined;
}

/** How long a fact was waited for. */
export interface FactTime {
  readonly fact: FactName;
  /** From the beginning of the check to that of the waiting. */
  readonly sinceSeconds: number;
  readonly seconds: number;
  readonly had: boolean;
}

export interface CheckParts {
  /** The running revision; undefined: none is loaded yet. */
  snapshot(): Snapshot | undefined;
  /** Milliseconds since the epoch. */
  nowMs(): number;
  /** Milliseconds that only go up. */
  monotonicMs(): number;
  /** A random id, never used twice. */
  newId(): string;
  /** After the decision: counts step-ups, remembers what was allowed. */
  settle(
    decision: EngineDecision,
    context: EvaluationContext,
    application: CompiledApplication,
    byRedirect: boolean,
  ): Settled | Promise<Settled>;
  /** Whether `finished` is told of each fact's time too. */
  readonly keepsFactTimes?: boolean | undefined;
  readonly watch: {
    stage(stage: Stage, seconds: number): void;
    readonly fact: FactFinished;
    finished(check: CheckFinished): void;
    /** We failed: the answer is an explicit 503. */
    failed(error: unknown, decisionId: string): void;
  };
}

/** Makes the one function that everything else exists for. */
export function createCheck(parts: CheckParts): Check {
  return (bytes, call) => {
    const decisionId = parts.newId();
    let revision = '';
    try {
      const snapshot = parts.snapshot();
      revision = snapshot?.revision ?? '';
      if (!snapshot) throw new Error('no revision is loaded');
      const day = new Day(parts, snapshot, call, decisionId);
      const answer = day.run(bytes);
      return answer instanceof Promise
        ? answer.catch((error: unknown) => failure(parts, error, decisionId, revision))
        : answer;
    } catch (error) {
      return failure(parts, error, decisionId, revision);
    }
  };
}

function failure(parts: CheckParts, error: unknown, decisionId: string, revision: string): Uint8Array {
  try {
    parts.watch.failed(error, decisionId);
  } finally {
    // oxlint-disable-next-line no-unsafe-finally -- whatever fails, the answer is an explicit refusal
    return failureAnswer(decisionId, revision);
  }
}

/** One request from bytes to bytes. */
class Day {
  readonly #parts: CheckParts;
  readonly #snapshot: Snapshot;
  readonly #call: CheckCall;
  readonly #decisionId: string;
  readonly #beganMs: number;
  #stageBeganMs: number;
  #late: Late | undefined;
  /** Undefined: it could not be read. */
  #request: RequestFacts | undefined;
  /** Headers of a request that cannot be read. */
  #unreadable: Headers | undefined;
  /** Undefined: none covers the request. */
  #application: CompiledApplication | undefined;
  /** Undefined where nothing had to be gathered, because there is no application. */
  #context: EvaluationContext | undefined;
  #facts: FactTime[] | undefined;
  /** The answer, once there is one: whoever comes later gets the same. */
  #answer: Uint8Array | undefined;

  constructor(parts: CheckParts, snapshot: Snapshot, call: CheckCall, decisionId: string) {
    this.#parts = parts;
    this.#snapshot = snapshot;
    this.#call = call;
    this.#decisionId = decisionId;
    this.#beganMs = parts.monotonicMs();
    this.#stageBeganMs = this.#beganMs;
  }

  run(bytes: Uint8Array): Uint8Array | Promise<Uint8Array> {
    const request = readRequest(bytes);
    if (isRefusal(request)) {
      this.#unreadable = readHeaders(bytes);
      this.#finish('map');
      return this.#respond({ decision: refused(request), attempt: 0 });
    }
    this.#request = request;
    const application = this.#snapshot.destinations.find(request.host, request.path)?.target;
    this.#application = application;
    this.#finish('map');
    if (!application) return this.#respond({ decision: noApplication(), attempt: 0 });
    const context = new EvaluationContext(request, this.#parts.nowMs());
    this.#context = context;
    const { watch, keepsFactTimes } = this.#parts;
    const gathering = gather(
      application,
      context,
      this.#snapshot.sources,
      { finished: keepsFactTimes ? this.#keptFacts() : watch.fact, monotonicMs: this.#parts.monotonicMs },
      () => this.#deadline().reached,
    );
    if (!gathering) return this.#decide(application, context);
    return this.#inTime(gathering.then(() => this.#decide(application, context)));
  }

  #decide(application: CompiledApplication, context: EvaluationContext): Uint8Array | Promise<Uint8Array> {
    this.#finish('gather');
    const decision = decide(application, context);
    this.#finish('decide');
    // Nobody is answered, so nothing is counted and nothing is remembered.
    if (this.#call.cancelled) return this.#respond({ decision, attempt: 0 });
    const byRedirect =
      decision.outcome === 'step_up' && this.#snapshot.portal !== undefined && isRedirectable(context.request);
    const settled = this.#parts.settle(decision, context, application, byRedirect);
    if (!(settled instanceof Promise)) return this.#respond(settled);
    // It is decided: what is counted and remembered of it may cost the time there is, but never the answer.
    const unsettled = this.#deadline().reached.then((): Settled => ({ decision, attempt: 1 }));
    return this.#inTime(Promise.race([settled, unsettled]).then((value) => this.#respond(value)));
  }

  #respond({ decision, attempt }: Settled): Uint8Array | Promise<Uint8Array> {
    const { assertion, portal } = this.#snapshot;
    const request = this.#request;
    if (decision.outcome === 'allow' && assertion) {
      const signed = assertion(decision, this.#decisionId, this.#parts.nowMs());
      return this.#inTime(signed.then((token) => this.#encode(decision, { assertion: token })));
    }
    if (decision.challenge && portal && request && isRedirectable(request)) {
      const { challenge } = decision;
      const location = portal({ challenge, request, attempt, nowMs: this.#parts.nowMs(), id: this.#parts.newId() });
      return this.#inTime(location.then((url) => this.#encode(decision, { portalLocation: url })));
    }
    return this.#encode(decision);
  }

  #encode(
    decision: EngineDecision,
    signed?: { readonly assertion?: string; readonly portalLocation?: string },
  ): Uint8Array {
    if (this.#answer) return this.#answer;
    const { revision, answers, sources } = this.#snapshot;
    const request = this.#request;
    const application = this.#application;
    const bytes = encodeAnswer(
      answerFor(decision, request, answers, {
        decisionId: this.#decisionId,
        revision,
        assertion: signed?.assertion,
        portalLocation: signed?.portalLocation,
        secretHeaders: request && sources.secretHeaders(request, application?.serviceTokensHeader),
        unreadable: this.#unreadable,
      }),
    );
    this.#answer = bytes;
    this.#late?.cancel();
    this.#finish('respond');
    if (!this.#call.cancelled) {
      this.#parts.watch.finished({
        decision,
        decisionId: this.#decisionId,
        snapshot: this.#snapshot,
        request,
        context: this.#context,
        application,
        seconds: (this.#stageBeganMs - this.#beganMs) / 1000,
        call: this.#call,
        facts: this.#facts,
      });
    }
    return bytes;
  }

  #keptFacts(): FactFinished {
    const { watch, monotonicMs } = this.#parts;
    const facts: FactTime[] = [];
    this.#facts = facts;
    return (fact, seconds, had) => {
      facts.push({ fact, sinceSeconds: (monotonicMs() - this.#beganMs) / 1000 - seconds, seconds, had });
      watch.fact(fact, seconds, had);
    };
  }

  /** A check that is late all the same is answered 503 before the caller gives up. */
  #inTime(answer: Promise<Uint8Array>): Promise<Uint8Array> {
    const deadline = this.#deadline();
    if (deadline.guarded) return answer;
    deadline.guarded = true;
    const late = deadline.passed.then(() => this.#encode(lateDecision(this.#application)));
    return Promise.race([answer, late]);
  }

  #deadline(): Late {
    this.#late ??= new Late(this.#parts.nowMs(), this.#call.deadlineMs);
    return this.#late;
  }

  #finish(stage: Stage): void {
    const now = this.#parts.monotonicMs();
    this.#parts.watch.stage(stage, (now - this.#stageBeganMs) / 1000);
    this.#stageBeganMs = now;
  }
}

/** The check's own deadline: the earlier of the caller's less a tenth (5 to 50 ms, for deciding and the way back) and
 *  5 s. Envoy's default is 200 ms, Istio's is ten minutes. */
class Late {
  /** Somebody already answers when it has passed. */
  guarded = false;
  /** Facts still missing stay unknown from here on. */
  readonly reached: Promise<void>;
  /** Whatever is still being waited for now is given up. */
  readonly passed: Promise<void>;
  #timer: NodeJS.Timeout | undefined;

  constructor(nowMs: number, callerMs: number) {
    const allowedMs = callerMs - nowMs;
    const marginMs = Math.min(50, Math.max(5, allowedMs / 10));
    const waitMs = Math.max(0, Math.min(allowedMs - marginMs, 5000));
    let reach = (): void => undefined;
    let pass = (): void => undefined;
    this.reached = new Promise((resolve) => {
      reach = resolve;
    });
    this.passed = new Promise((resolve) => {
      pass = resolve;
    });
    this.#timer = setTimeout(() => {
      reach();
      this.#timer = setTimeout(pass, marginMs / 2);
    }, waitMs);
  }

  cancel(): void {
    clearTimeout(this.#timer);
  }
}

function isRefusal(reading: RequestFacts | RequestRefusal): reading is RequestRefusal {
  return 'reason' in reading;
}

/** A redirect would lose the body of any other method. */
function isRedirectable(request: RequestFacts): boolean {
  return (request.method === 'GET' || request.method === 'HEAD') && isBrowserNavigation(request);
}
