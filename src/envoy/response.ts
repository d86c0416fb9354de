/** The one place that turns an answer into the bytes of `envoy.service.auth.v3.CheckResponse`. Envoy lets a request
 *  through when `status.code` is 0, which is also what an empty answer, or one that lacks it, says: the code is
 *  therefore chosen here and nowhere else, 0 for an allow alone, beside an `ok_response` alone. */
import type { Outcome, Reason, RiskLevel } from '../model/decision.ts';
import { refusalBody } from './bodies.ts';
import type { RefusalOutcome } from './bodies.ts';
import { Writer } from './wire.ts';

export type Answer = AllowAnswer | RefusalAnswer;

/** A header: its name, a lower-case token, and its value. */
export type HeaderPair = readonly [name: string, value: string];

/** The request goes on. */
export interface AllowAnswer {
  readonly kind: 'allow';
  /** Put in place of whatever the client sent under these names. Each name once, no value empty. */
  readonly set: readonly HeaderPair[];
  /** Taken away; none of them is also set, or Envoy would remove what was set. */
  readonly remove: readonly string[];
  /** `Set-Cookie` values added to the upstream's response. */
  readonly cookies: readonly string[];
  readonly metadata: AnswerMetadata;
}

/** The client is answered in place of the upstream. Each outcome has its statuses. */
export type RefusalAnswer = {
  readonly kind: 'refusal';
  /** Each name once. */
  readonly headers: readonly HeaderPair[];
  readonly body: string;
  readonly metadata: AnswerMetadata;
} & (
  | { readonly outcome: 'unauthenticated' | 'step_up'; readonly httpStatus: 302 | 401 }
  | { readonly outcome: 'deny'; readonly httpStatus: 403 }
  | { readonly outcome: 'bad_request'; readonly httpStatus: 400 }
  | { readonly outcome: 'unavailable'; readonly httpStatus: 503 }
);

/** What Envoy's access log can print under `envoy.filters.http.ext_authz`; what is undefined is left out. The outcome
 *  is added by the encoder, so that it cannot differ from the answer. */
export interface AnswerMetadata {
  readonly decisionId: string;
  readonly reason: Reason;
  readonly revision: string;
  readonly application: string | undefined;
  readonly policy: string | undefined;
  readonly resourceRule: string | undefined;
  readonly riskLevel: RiskLevel | undefined;
  readonly riskScore: number | undefined;
}

/** The bytes of an answer; never none.
 *  @throws RangeError where a header cannot be sent as it is: a control character, a lone surrogate, no name, over
 *  16,384 bytes, an empty value, a name twice or both set and removed; also a risk score that is no finite number. */
export function encodeAnswer(answer: Answer): Uint8Array {
  writer.clear();
  const outcome: Outcome = answer.kind === 'allow' ? 'allow' : answer.outcome;
  writeMetadata(outcome, answer.metadata);
  if (answer.kind === 'allow') writeAllow(answer);
  else writeRefusal(answer);
  return writer.finish();
}

/** The explicit 503 for our own failure. Cannot itself fail. */
export function failureAnswer(decisionId: string, revision: string): Uint8Array {
  return unavailableAnswer('internal_error', decisionId, revision);
}

/** An explicit 503 that no decision stands behind: our own failure, too many checks waiting, too late. Cannot itself
 *  fail. */
export function unavailableAnswer(
  reason: 'internal_error' | 'overloaded' | 'fact_unavailable',
  decisionId: string,
  revision: string,
): Uint8Array {
  try {
    return encodeUnavailable(reason, decisionId, revision);
  } catch {
    return LAST_RESORT.slice();
  }
}

/** How Envoy is told, by google.rpc.Code: UNAUTHENTICATED, PERMISSION_DENIED, INVALID_ARGUMENT, UNAVAILABLE. */
const CODE: Readonly<Record<RefusalOutcome, 3 | 7 | 14 | 16>> = Object.freeze({
  unauthenticated: 16,
  step_up: 16,
  deny: 7,
  bad_request: 3,
  unavailable: 14,
});

/** Field numbers, from proto/. */
const FIELD = {
  response: { status: 1, denied: 2, ok: 3, metadata: 4 },
  status: { code: 1 },
  denied: { status: 1, headers: 2, body: 3 },
  httpStatus: { code: 1 },
  ok: { headers: 2, remove: 5, responseHeaders: 6 },
  option: { header: 1, append: 2, action: 3 },
  header: { key: 1, value: 2 },
  bool: { value: 1 },
  struct: { fields: 1 },
  entry: { key: 1, value: 2 },
  value: { number: 2, string: 3 },
} as const;

const OVERWRITE_IF_EXISTS_OR_ADD = 2;
/** Also what an absent action means. */
const APPEND_IF_EXISTS_OR_ADD = 0;

const MAX_HEADER_BYTES = 16_384;

/** Answers are written one after the other, never two at once, so one writer serves them all. It fills from the back:
 *  in each function below, the last field comes first. */
const writer = new Writer();

function writeAllow(answer: AllowAnswer): void {
  const mark = writer.written;
  for (let index = answer.cookies.length - 1; index >= 0; index--) {
    writeHeader(FIELD.ok.responseHeaders, 'set-cookie', answer.cookies[index] ?? '', true);
  }
  for (let index = answer.remove.length - 1; index >= 0; index--) {
    const name = checkedName(answer.remove[index] ?? '');
    if (answer.set.some(([other]) => other === name))
      throw new RangeError(`expected ${name} to be set or removed, found both`);
    writer.text(FIELD.ok.remove, name);
  }
  writeHeaders(FIELD.ok.headers, answer.set);
  writer.message(FIELD.response.ok, mark);
  // A status without a code has the code 0.
  writer.message(FIELD.response.status, writer.written);
}

function writeRefusal(answer: RefusalAnswer): void {
  const mark = writer.written;
  writer.text(FIELD.denied.body, answer.body);
  writeHeaders(FIELD.denied.headers, answer.headers);
  const status = writer.written;
  writer.number(FIELD.httpStatus.code, answer.httpStatus);
  writer.message(FIELD.denied.status, status);
  writer.message(FIELD.response.denied, mark);
  const code = writer.written;
  writer.number(FIELD.status.code, CODE[answer.outcome]);
  writer.message(FIELD.response.status, code);
}

function writeHeaders(field: number, headers: readonly HeaderPair[]): void {
  for (let index = headers.length - 1; index >= 0; index--) {
    const [name, value] = headers[index] ?? NO_HEADER;
    for (let other = 0; other < index; other++) {
      if (headers[other]?.[0] === name) throw new RangeError(`expected the header ${name} once, found it twice`);
    }
    writeHeader(field, name, value, false);
  }
}

const NO_HEADER: HeaderPair = Object.freeze(['', '']);

/** Both `append` and `append_action` always, because builds of Envoy differ in which of them they read. The message
 *  around `append` is there even where the value in it is false and takes no bytes. */
function writeHeader(field: number, name: string, value: string, isAppended: boolean): void {
  const mark = writer.written;
  const action = isAppended ? APPEND_IF_EXISTS_OR_ADD : OVERWRITE_IF_EXISTS_OR_ADD;
  if (action !== 0) writer.number(FIELD.option.action, action);
  const append = writer.written;
  if (isAppended) writer.number(FIELD.bool.value, 1);
  writer.message(FIELD.option.append, append);
  const header = writer.written;
  writer.text(FIELD.header.value, checkedValue(name, value));
  writer.text(FIELD.header.key, checkedName(name));
  writer.message(FIELD.option.header, header);
  writer.message(field, mark);
}

/** A lower-case token. Source: RFC 9110 section 5.6.2. */
function checkedName(name: string): string {
  if (name.length === 0 || name.length > MAX_HEADER_BYTES) throw new RangeError('expected a header name, found none');
  for (let index = 0; index < name.length; index++) {
    const code = name.charCodeAt(index);
    if (code >= 128 || NAME[code] !== 1)
      throw new RangeError('expected a header name of lower-case letters, found another');
  }
  return name;
}

const NAME = new Uint8Array(128);
for (const character of "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz") NAME[character.charCodeAt(0)] = 1;

/** Says nothing of the value itself, which may be a secret. */
function checkedValue(name: string, value: string): string {
  const { length } = value;
  if (length === 0) throw new RangeError(`expected a value for the header ${name}, found none`);
  let size = length;
  for (let index = 0; index < length; index++) {
    const code = value.charCodeAt(index);
    if (code < 0x20 || code === 0x7f)
      throw new RangeError(`expected a value for the header ${name}, found a control character`);
    if (code < 0x80) continue;
    size += code < 0x800 ? 1 : 2;
    if (code < 0xd800 || code > 0xdfff) continue;
    const next = value.charCodeAt(index + 1);
    if (code > 0xdbff || !(next >= 0xdc00 && next <= 0xdfff)) {
      throw new RangeError(`expected a value for the header ${name}, found half a character`);
    }
    // Two code units make one character of four bytes.
    index++;
  }
  if (size > MAX_HEADER_BYTES)
    throw new RangeError(`expected at most ${MAX_HEADER_BYTES} bytes for the header ${name}, found ${size}`);
  return value;
}

function writeMetadata(outcome: Outcome, metadata: AnswerMetadata): void {
  const mark = writer.written;
  writeText('revision', metadata.revision);
  if (metadata.riskScore !== undefined) writeNumber('risk_score', metadata.riskScore);
  if (metadata.riskLevel !== undefined) writeText('risk_level', metadata.riskLevel);
  if (metadata.resourceRule !== undefined) writeText('resource_rule', metadata.resourceRule);
  if (metadata.policy !== undefined) writeText('policy', metadata.policy);
  if (metadata.application !== undefined) writeText('application', metadata.application);
  writeText('reason', metadata.reason);
  writeText('outcome', outcome);
  writeText('decision_id', metadata.decisionId);
  writer.message(FIELD.response.metadata, mark);
}

function writeText(key: string, text: string): void {
  const mark = writer.written;
  writer.text(FIELD.value.string, text);
  writeEntry(key, mark);
}

function writeNumber(key: string, value: number): void {
  if (!Number.isFinite(value)) throw new RangeError(`expected a finite number for ${key}, found ${value}`);
  const mark = writer.written;
  writer.double(FIELD.value.number, value);
  writeEntry(key, mark);
}

/** Around a value written since the mark. */
function writeEntry(key: string, mark: number): void {
  writer.message(FIELD.entry.value, mark);
  writer.text(FIELD.entry.key, key);
  writer.message(FIELD.struct.fields, mark);
}

function encodeUnavailable(reason: Reason, decisionId: string, revision: string): Uint8Array {
  const body = refusalBody('program', 'unavailable', reason, 503, decisionId);
  return encodeAnswer({
    kind: 'refusal',
    outcome: 'unavailable',
    httpStatus: 503,
    headers: [
      ['content-type', body.contentType],
      ['cache-control', 'no-store'],
    ],
    body: body.text,
    metadata: {
      decisionId,
      reason,
      revision,
      application: undefined,
      policy: undefined,
      resourceRule: undefined,
      riskLevel: undefined,
      riskScore: undefined,
    },
  });
}

/** Made before the first request, for when not even that can be encoded. */
const LAST_RESORT = encodeUnavailable('internal_error', '', '');
