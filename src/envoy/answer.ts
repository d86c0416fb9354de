/** From a decision to what Envoy and the caller are told. Pure: ids, signatures and addresses are handed in. */
import type { Challenge, Decision } from '../model/decision.ts';
import type { Identity, IdentityGroup } from '../model/identity.ts';
import type { Headers, RequestFacts } from '../model/request.ts';
import { refusalBody } from './bodies.ts';
import type { Audience, RefusalStatus } from './bodies.ts';
import type { AllowAnswer, Answer, AnswerMetadata, HeaderPair, RefusalAnswer } from './response.ts';

/** What a header to the upstream can carry. Always of this decision, never of the request's own headers. */
export type UpstreamField =
  | 'subject'
  | 'email'
  | 'name'
  | 'groups'
  | 'provider'
  | 'application'
  | 'policy'
  | 'resource_rule'
  | 'risk_level'
  | 'risk_score'
  | 'decision_id';

/** The settings that answers depend on, as `postern.yaml` names them. */
export interface AnswerSettings {
  readonly upstream: {
    /** Lower-case header name → what it carries. */
    readonly headers: Readonly<Record<string, UpstreamField>>;
    readonly remove: readonly string[];
    readonly assertion: { readonly header: string } | undefined;
  };
  readonly step_up: { readonly realm: string | undefined };
  readonly login: { readonly url: string | undefined };
}

/** The settings made ready, once for each revision. */
export interface AnswerOptions {
  readonly headers: readonly (readonly [name: string, field: UpstreamField])[];
  readonly remove: readonly string[];
  readonly assertionHeader: string | undefined;
  /** Every header name that Postern sets or removes on each allow. */
  readonly managed: ReadonlySet<string>;
  /** The same as CGI folds them. */
  readonly foldedNames: ReadonlySet<string>;
  /** Every managed name is of letters, digits and `-`, so that no such name is a variant of another. */
  readonly hasPlainNames: boolean;
  readonly realm: string | undefined;
  /** The login page up to the value of `return`, and what follows the value; undefined: there is no login page. */
  readonly login: { readonly before: string; readonly after: string } | undefined;
}

/** What belongs to one answer alone. */
export interface AnswerMoment {
  readonly decisionId: string;
  readonly revision: string;
  /** On an allow: the signed JWT for the upstream. */
  readonly assertion?: string | undefined;
  /** On a step-up: the portal's address with its signed state. Used for navigations that can be redirected. */
  readonly portalLocation?: string | undefined;
  /** Headers of a request that could not be read otherwise: they still tell a gRPC caller. */
  readonly unreadable?: Headers | undefined;
  /** On an allow: names of headers that carried a service token's secret, lower case. */
  readonly secretHeaders?: readonly string[] | undefined;
}

export function answerOptions(settings: AnswerSettings): AnswerOptions {
  const headers = Object.entries(settings.upstream.headers);
  const assertionHeader = settings.upstream.assertion?.header;
  const managed = new Set(headers.map(([name]) => name));
  if (assertionHeader !== undefined) managed.add(assertionHeader);
  const remove = settings.upstream.remove.filter((name) => !managed.has(name));
  for (const name of remove) managed.add(name);
  return Object.freeze({
    headers: Object.freeze(headers),
    remove: Object.freeze([...new Set(remove)]),
    assertionHeader,
    managed,
    foldedNames: new Set([...managed].map(folded)),
    hasPlainNames: [...managed].every(isPlainName),
    realm: settings.step_up.realm,
    login: settings.login.url === undefined ? undefined : loginParts(settings.login.url),
  });
}

/** What a decision becomes. Every managed header of an allow is set or removed, never both and never neither; so is
 *  every other spelling of it that the client sent (`_` for `-`, also `.` and the like), because those who hand headers
 *  on as CGI variables (RFC 3875 section 4.1.18) fold them together: most the first two, some (lighttpd, PHP) all.
 *  @param request Undefined where it could not be read; it is then answered as a program, or as a gRPC
 *  caller. */
export function answerFor(
  decision: Decision,
  request: RequestFacts | undefined,
  options: AnswerOptions,
  moment: AnswerMoment,
): Answer {
  if (decision.outcome === 'allow') return allowed(decision, request, options, moment);
  return refused(decision, request, options, moment);
}

/** Whether a person's browser asks for a page: `Sec-Fetch-Mode: navigate`, or GET or HEAD with an `Accept` that
 *  prefers `text/html` (the first of those with the highest weight). Never a gRPC call. Source: Fetch Metadata; RFC
 *  9110 section 12.5.1. */
export function isBrowserNavigation(request: RequestFacts): boolean {
  if (isGrpc(request)) return false;
  const mode = request.headers.single('sec-fetch-mode');
  if (mode.state === 'one' && mode.value === 'navigate') return true;
  return isGetOrHead(request) && prefersHtml(request.headers.all('accept').join(','));
}

/** Whether Envoy takes the caller for a gRPC client, and so turns a refusal into a gRPC status: `content-type` exactly
 *  `application/grpc`, or that and a `+`. The letter case counts. */
export function isGrpc(request: Pick<RequestFacts, 'headers'>): boolean {
  if (!request.headers.has('content-type')) return false;
  const type = request.headers.all('content-type').join(',');
  return type === GRPC || type.startsWith(`${GRPC}+`);
}

/** The address that a browser comes back to: this request's own, in ASCII. Over 2,048 characters without its query; if
 *  still over, the origin's `/`. */
export function returnAddress(request: RequestFacts): string {
  const origin = `${request.scheme ?? 'https'}://${request.authority}`;
  const whole = origin + inAscii(request.target);
  if (whole.length <= MAX_RETURN) return whole;
  const mark = request.target.indexOf('?');
  const path = mark === -1 ? request.target : request.target.slice(0, mark);
  return origin.length + path.length <= MAX_RETURN ? origin + path : `${origin}/`;
}

/** A query may hold raw bytes beyond ASCII, which take up to nine characters each once they are escaped: escaped before
 *  their length is judged, they cannot make a `location` too long to be sent. */
function inAscii(target: string): string {
  return target.replace(/[^\x20-\x7e]+/g, encodeURIComponent);
}

const GRPC = 'application/grpc';
const MAX_RETURN = 2048;

function allowed(
  decision: Decision,
  request: RequestFacts | undefined,
  options: AnswerOptions,
  moment: AnswerMoment,
): AllowAnswer {
  const set: HeaderPair[] = [];
  const remove: string[] = [];
  for (const [name, field] of options.headers) {
    place(name, upstreamValue(field, decision, moment), set, remove);
  }
  if (options.assertionHeader !== undefined) place(options.assertionHeader, moment.assertion, set, remove);
  remove.push(...options.remove);
  if (moment.secretHeaders !== undefined) {
    for (const name of moment.secretHeaders) if (!options.managed.has(name)) remove.push(name);
  }
  if (request !== undefined) removeVariants(request, options, remove);
  return { kind: 'allow', set, remove, cookies: decision.cookies, metadata: metadataOf(decision, moment) };
}

/** White space alone is no value either: HTTP strips it on the way. */
function place(name: string, value: string | undefined, set: HeaderPair[], remove: string[]): void {
  if (value === undefined || value.trim() === '') remove.push(name);
  else set.push([name, value]);
}

function removeVariants(request: RequestFacts, options: AnswerOptions, remove: string[]): void {
  for (const name of request.headers.names()) {
    if (options.hasPlainNames && isPlainName(name)) continue;
    if (options.foldedNames.has(folded(name)) && !options.managed.has(name) && !remove.includes(name)) {
      remove.push(name);
    }
  }
}

function isPlainName(name: string): boolean {
  return !/[^a-z0-9-]/.test(name);
}

function folded(name: string): string {
  return name.replaceAll(/[^a-z0-9]/g, '-');
}

function upstreamValue(field: UpstreamField, decision: Decision, moment: AnswerMoment): string | undefined {
  const { identity, linkedIdentity } = decision;
  switch (field) {
    case 'subject':
      return identity ? identity.subject : linkedIdentity?.subject;
    case 'email':
      return identity ? identity.email : linkedIdentity?.email;
    case 'name':
      return identity?.name;
    case 'groups':
      return identity && groupsText(identity);
    case 'provider':
      return identity?.provider?.id;
    case 'application':
      return decision.application?.name;
    case 'policy':
      return decision.policy?.name;
    case 'resource_rule':
      return decision.resourceRule?.name;
    case 'risk_level':
      return decision.riskLevel;
    case 'risk_score':
      return decision.riskScore?.toString();
    case 'decision_id':
      return moment.decisionId;
  }
}

/** Names joined with `, `. A comma inside a name is written `%2C` and a percent sign `%25`, or whoever names a group
 *  `staff, admins` would be an admin to an upstream that splits at commas. */
function groupsText(identity: Identity): string {
  const names: string[] = [];
  for (const group of identity.groups) {
    const name = groupName(group);
    if (name !== undefined && name.trim() !== '') names.push(name.replaceAll('%', '%25').replaceAll(',', '%2C'));
  }
  return names.join(', ');
}

function groupName(group: IdentityGroup): string | undefined {
  return group.name ?? group.id ?? group.email;
}

function metadataOf(decision: Decision, moment: AnswerMoment): AnswerMetadata {
  return {
    decisionId: moment.decisionId,
    reason: decision.reason,
    revision: moment.revision,
    application: decision.application?.name,
    policy: decision.policy?.name,
    resourceRule: decision.resourceRule?.name,
    riskLevel: decision.riskLevel,
    riskScore: decision.riskScore,
  };
}

function refused(
  decision: Decision,
  request: RequestFacts | undefined,
  options: AnswerOptions,
  moment: AnswerMoment,
): RefusalAnswer {
  const audience = audienceOf(request, moment.unreadable);
  const metadata = metadataOf(decision, moment);
  const headers: HeaderPair[] = [];
  const finish = (outcome: RefusalAnswer['outcome'], status: RefusalStatus): string => {
    const body = refusalBody(audience, outcome, decision.reason, status, moment.decisionId);
    headers.unshift(['content-type', body.contentType], ['cache-control', 'no-store']);
    if (audience === 'browser') headers.push(...PAGE_HEADERS);
    return body.text;
  };
  switch (decision.outcome) {
    case 'unauthenticated':
    case 'step_up': {
      const { outcome } = decision;
      const location = locationFor(decision, request, audience, options, moment);
      if (location !== undefined) {
        headers.push(['location', location]);
        return { kind: 'refusal', outcome, httpStatus: 302, headers, body: finish(outcome, 302), metadata };
      }
      headers.push(['www-authenticate', challengeOf(decision, options.realm)]);
      if (request?.headers.has('origin')) headers.push(['access-control-expose-headers', 'WWW-Authenticate']);
      return { kind: 'refusal', outcome, httpStatus: 401, headers, body: finish(outcome, 401), metadata };
    }
    case 'bad_request':
      // The status that Envoy would make of 400 is INTERNAL, as if we had failed.
      if (audience === 'grpc') headers.push(['grpc-status', '3']);
      return {
        kind: 'refusal',
        outcome: 'bad_request',
        httpStatus: 400,
        headers,
        body: finish('bad_request', 400),
        metadata,
      };
    case 'unavailable':
      return {
        kind: 'refusal',
        outcome: 'unavailable',
        httpStatus: 503,
        headers,
        body: finish('unavailable', 503),
        metadata,
      };
    default:
      return { kind: 'refusal', outcome: 'deny', httpStatus: 403, headers, body: finish('deny', 403), metadata };
  }
}

const PAGE_HEADERS: readonly HeaderPair[] = Object.freeze([
  ['content-security-policy', "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"],
  ['x-content-type-options', 'nosniff'],
]);

function audienceOf(request: RequestFacts | undefined, unreadable: Headers | undefined): Audience {
  if (request === undefined) return unreadable && isGrpc({ headers: unreadable }) ? 'grpc' : 'program';
  if (isGrpc(request)) return 'grpc';
  return isBrowserNavigation(request) ? 'browser' : 'program';
}

/** Where a browser is sent instead of the 401. Never with a method whose body would be lost. */
function locationFor(
  decision: Decision,
  request: RequestFacts | undefined,
  audience: Audience,
  options: AnswerOptions,
  moment: AnswerMoment,
): string | undefined {
  if (request === undefined || audience !== 'browser' || !isGetOrHead(request)) return undefined;
  if (decision.outcome === 'step_up') return moment.portalLocation;
  if (!decision.loginMayHelp || options.login === undefined) return undefined;
  return options.login.before + encodeURIComponent(returnAddress(request)) + options.login.after;
}

function isGetOrHead(request: RequestFacts): boolean {
  return request.method === 'GET' || request.method === 'HEAD';
}

function loginParts(url: string): { before: string; after: string } {
  const hash = url.indexOf('#');
  const after = hash === -1 ? '' : url.slice(hash);
  const base = hash === -1 ? url : url.slice(0, hash);
  if (!base.includes('?')) return { before: `${base}?return=`, after };
  return { before: /[?&]$/.test(base) ? `${base}return=` : `${base}&return=`, after };
}

/** RFC 6750 section 3 for a login, RFC 9470 section 3 for a step-up. Nothing of the request is in it. */
function challengeOf(decision: Decision, realm: string | undefined): string {
  if (decision.outcome !== 'step_up') return decision.tokenSent ? 'Bearer error="invalid_token"' : 'Bearer';
  const challenge = decision.challenge ?? PLAIN_CHALLENGE;
  const parameters: string[] = [];
  if (realm !== undefined && realm !== '') parameters.push(`realm=${quotedString(realm)}`);
  parameters.push('error="insufficient_user_authentication"');
  parameters.push(
    challenge.onlyFreshness
      ? 'error_description="More recent authentication is required"'
      : 'error_description="A different authentication level is required"',
  );
  if (challenge.acrValues.length > 0) parameters.push(`acr_values=${quotedString(challenge.acrValues.join(' '))}`);
  if (challenge.maxAgeSeconds !== undefined) parameters.push(`max_age="${challenge.maxAgeSeconds}"`);
  return `Bearer ${parameters.join(', ')}`;
}

const PLAIN_CHALLENGE: Challenge = Object.freeze({
  acrValues: [],
  maxAgeSeconds: undefined,
  onlyFreshness: false,
  promptLogin: false,
});

/** RFC 9110 section 5.6.4. */
function quotedString(text: string): string {
  return `"${text.replace(/["\\]/g, '\\$&')}"`;
}

/** Among the ranges of the highest weight above 0, the first is `text/html`. */
function prefersHtml(accept: string): boolean {
  let best = '';
  let bestWeight = 0;
  for (const range of accept.split(',')) {
    const [type = '', ...parameters] = range.split(';');
    const weight = weightOf(parameters);
    if (weight > bestWeight) {
      best = type.trim().toLowerCase();
      bestWeight = weight;
    }
  }
  return best === 'text/html';
}

function weightOf(parameters: readonly string[]): number {
  for (const parameter of parameters) {
    const match = /^q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)$/i.exec(parameter.trim());
    if (match) return Number(match[1]);
  }
  return 1;
}
