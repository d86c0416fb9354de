/** The OpenID AuthZEN Authorization API 1.0: whoever enforces elsewhere than in Envoy asks the same policies, and states
 *  what Envoy and a token would have told. Nothing is learned of it, and no step-up counts as an attempt. */
import { refusalWords } from '../envoy/bodies.ts';
import type { RefusalOutcome } from '../envoy/bodies.ts';
import { decideStated } from '../cases/stated.ts';
import type { StatedAgainst, StatedDecision } from '../cases/stated.ts';
import { createPause } from '../shared/pause.ts';
import { readEvaluation } from './authzen-request.ts';
import type { Evaluation } from './authzen-request.ts';
import { REFUSAL_STATUS } from './server.ts';
import type { AdminGroup, AdminRequest, AdminResponse, AdminRoute, Refusal } from './server.ts';
import { isObject } from '../shared/object.ts';
import { jsonBody } from './json-body.ts';

export interface AuthzenOptions {
  /** The revision that decides, asked for once per request. */
  readonly against: () => StatedAgainst & { readonly revision: string };
  /** Milliseconds since the epoch. */
  readonly nowMs: () => number;
}

/** `POST /access/v1/evaluation` and `/evaluations`, scope read. AuthZEN 1.0, sections 6, 7 and 10.1. */
export function authzenApi(options: AuthzenOptions): AdminGroup {
  return {
    prefix: '/access/v1',
    routes: [
      { method: 'POST', path: '/access/v1/evaluation', scope: 'read', handle: (request) => evaluate(request, options) },
      {
        method: 'POST',
        path: '/access/v1/evaluations',
        scope: 'read',
        handle: (request) => evaluateAll(request, options),
      },
    ],
    refuse: (refusal, request) => failed(REFUSAL_STATUS[refusal.kind], REFUSAL_TEXTS[refusal.kind], request),
  };
}

/** `GET /.well-known/authzen-configuration`: open, as discovery is; 404 where there are no tokens, and so no API.
 *  AuthZEN 1.0, section 9. */
export function authzenMetadata(options: {
  /** The https URL under which the admin port is reached; undefined: the address that the request was sent to. */
  readonly url: () => string | undefined;
  readonly isServed: () => boolean;
}): AdminRoute {
  return {
    method: 'GET',
    path: '/.well-known/authzen-configuration',
    scope: 'open',
    handle({ headers }) {
      if (!options.isServed()) return { status: 404 };
      const base =
        options.url()?.replace(/\/$/, '') ?? (isAuthority(headers.host) ? `http://${headers.host}` : undefined);
      if (base === undefined) return { status: 404 };
      return json(200, {
        policy_decision_point: base,
        access_evaluation_endpoint: `${base}/access/v1/evaluation`,
        access_evaluations_endpoint: `${base}/access/v1/evaluations`,
      });
    },
  };
}

/** Items of one request. */
const EVALUATIONS_MAX = 1_000;
const SEMANTICS = ['execute_all', 'deny_on_first_deny', 'permit_on_first_permit'] as const;
type Semantic = (typeof SEMANTICS)[number];
const DEFAULTED = ['subject', 'action', 'resource', 'context'] as const;

const REFUSAL_TEXTS: Readonly<Record<Refusal['kind'], string>> = {
  unauthenticated: 'expected an admin token as Authorization: Bearer',
  forbidden: 'expected a token with the scope read',
  not_found: 'expected /access/v1/evaluation or /access/v1/evaluations',
  method_not_allowed: 'expected POST',
  too_large: 'expected at most 4 MiB',
  failed: 'Postern failed; see its log',
};

/** What a caller of Envoy would have got, as the key of reasons. Section 5.5.2. */
const HTTP_STATUS: Readonly<Record<RefusalOutcome, string>> = {
  unauthenticated: '401',
  step_up: '401',
  deny: '403',
  bad_request: '400',
  unavailable: '503',
};

/** A decision as AuthZEN has it. Section 5.5. */
interface AuthzenDecision {
  readonly decision: boolean;
  readonly context?: Readonly<Record<string, unknown>>;
}

type JsonObject = Readonly<Record<string, unknown>>;

async function evaluate(request: AdminRequest, options: AuthzenOptions): Promise<AdminResponse> {
  const body = bodyOf(request);
  if ('wrong' in body) return failed(400, body.wrong, request);
  return evaluateOne(body.value, request, options);
}

async function evaluateOne(value: JsonObject, request: AdminRequest, options: AuthzenOptions): Promise<AdminResponse> {
  const against = options.against();
  const evaluation = readEvaluation(value, against, options.nowMs());
  if ('wrong' in evaluation) return failed(400, evaluation.wrong, request);
  return json(200, await decided(evaluation, against, options), request);
}

async function evaluateAll(request: AdminRequest, options: AuthzenOptions): Promise<AdminResponse> {
  const body = bodyOf(request);
  if ('wrong' in body) return failed(400, body.wrong, request);
  const items = body.value['evaluations'] ?? [];
  if (!Array.isArray(items)) return failed(400, 'evaluations: expected a list', request);
  const semantic = semanticOf(body.value['options']);
  if (typeof semantic === 'object') return failed(400, semantic.wrong, request);
  if (items.length === 0) return evaluateOne(body.value, request, options);
  if (items.length > EVALUATIONS_MAX)
    return failed(400, `evaluations: expected at most ${EVALUATIONS_MAX}, found ${items.length}`, request);
  // One revision for all of them, and a turn for the checks in between.
  const against = options.against();
  const pause = createPause();
  const decisions: AuthzenDecision[] = [];
  for (const item of items as readonly unknown[]) {
    const evaluation = isObject(item)
      ? readEvaluation(withDefaults(item, body.value), against, options.nowMs())
      : { wrong: 'expected an object' };
    const decision =
      'wrong' in evaluation
        ? { decision: false, context: { error: { status: 400, message: evaluation.wrong } } }
        : await decided(evaluation, against, options);
    decisions.push(decision);
    if (semantic === 'deny_on_first_deny' && !decision.decision) break;
    if (semantic === 'permit_on_first_permit' && decision.decision) break;
    await pause();
  }
  return json(200, { evaluations: decisions }, request);
}

async function decided(
  evaluation: Evaluation,
  against: ReturnType<AuthzenOptions['against']>,
  options: AuthzenOptions,
): Promise<AuthzenDecision> {
  return answerOf(await decideStated(evaluation.statement, against, options.nowMs()), against.revision);
}

/** True on an allow and on nothing else. What is said beside it is what Envoy's dynamic metadata says of a check. */
function answerOf({ decision }: StatedDecision, revision: string): AuthzenDecision {
  const said = {
    outcome: decision.outcome,
    reason: decision.reason,
    application: decision.application?.name,
    policy: decision.policy?.name,
    resource_rule: decision.resourceRule?.name,
    risk_level: decision.riskLevel,
    risk_score: decision.riskScore,
    revision,
  };
  if (decision.outcome === 'allow') return { decision: true, context: said };
  const { detail } = refusalWords(decision.outcome);
  const status = HTTP_STATUS[decision.outcome];
  const { challenge } = decision;
  return {
    decision: false,
    context: {
      ...said,
      acr_values: challenge && challenge.acrValues.length > 0 ? challenge.acrValues.join(' ') : undefined,
      max_age: challenge?.maxAgeSeconds,
      reason_admin: { [status]: decision.why === '' ? decision.reason : `${decision.reason}: ${decision.why}` },
      reason_user: { [status]: detail },
    },
  };
}

/** Top-level members count for every item that has none of its own. Section 7.1.1. */
function withDefaults(item: JsonObject, top: JsonObject): JsonObject {
  return Object.fromEntries(
    DEFAULTED.flatMap((key) => {
      const value = Object.hasOwn(item, key) ? item[key] : top[key];
      return value === undefined ? [] : [[key, value]];
    }),
  );
}

function semanticOf(value: unknown): Semantic | { readonly wrong: string } {
  if (value === undefined) return 'execute_all';
  if (!isObject(value)) return { wrong: 'options: expected an object' };
  const written = value['evaluations_semantic'];
  if (written === undefined) return 'execute_all';
  const known = SEMANTICS.find((one) => one === written);
  return known ?? { wrong: `options.evaluations_semantic: expected ${SEMANTICS.join(', ')}` };
}

const NO_JSON = 'expected a JSON object that gives each key once and nests at most 500 levels, found none';

function bodyOf({ headers, body }: AdminRequest): { readonly value: JsonObject } | { readonly wrong: string } {
  const type = headers['content-type']?.split(';')[0]?.trim().toLowerCase();
  if (type !== 'application/json') return { wrong: 'expected content-type: application/json' };
  const read = jsonBody(body);
  if ('data' in read) return { value: read.data };
  return { wrong: read.wrong === 'bytes' || read.wrong === 'json' ? NO_JSON : 'expected a JSON object' };
}

/** A host that may stand in a URL: nothing of a request is put into one unread. */
function isAuthority(host: string | undefined): host is string {
  return host !== undefined && /^(?:[\w.-]+|\[[\da-f:.]+\])(?::\d{1,5})?$/i.test(host);
}

function json(status: number, value: object, request?: AdminRequest): AdminResponse {
  return {
    status,
    headers: { 'content-type': 'application/json', ...identified(request) },
    body: `${JSON.stringify(value)}\n`,
  };
}

/** An error message string, as section 10.1.2 asks for. */
function failed(status: number, message: string, request: AdminRequest): AdminResponse {
  return {
    status,
    headers: { 'content-type': 'text/plain; charset=utf-8', ...identified(request) },
    body: `${message}\n`,
  };
}

/** The caller's own id of the request comes back. Section 10.1.3. */
function identified(request: AdminRequest | undefined): Readonly<Record<string, string>> {
  const id = request?.headers['x-request-id'];
  return typeof id === 'string' ? { 'x-request-id': id } : {};
}
