/** One line per decision, for those who must explain or count them later. */
import { isDeepStrictEqual } from 'node:util';
import type { Address } from './model/address.ts';
import { EvaluationContext } from './model/context.ts';
import type { Decision, Named } from './model/decision.ts';
import type { RequestFacts } from './model/request.ts';
import type { CheckFinished } from './envoy/check.ts';
import type { DecisionLine } from './decision-log-shape.ts';
import { harmlessJson, redactedText, timeText } from './log.ts';
import type { Logger } from './log.ts';
import { REPLAY_KEY, encodeFacts } from './policy/replay.ts';
import type { ReplayFacts } from './policy/replay.ts';
import { openLineFile } from './log-file.ts';
import type { LineFile } from './log-file.ts';

/** What is known of a check once it is decided. Absent members are left out of the line. */
export interface DecisionRecord {
  readonly decisionId: string;
  /** When it was decided, milliseconds since the epoch. */
  readonly timeMs: number;
  readonly durationMs: number;
  readonly revision: string;
  readonly decision: Decision;
  /** Undefined for a request that could not be read. */
  readonly request: RequestFacts | undefined;
  /** The client's address as the settings say it is found. Asked for only where the line is written. */
  readonly clientAddress: () => Address | undefined;
  /** ISO 3166-1 alpha-2, of the address. Nothing finer is written. */
  readonly country: string | undefined;
  /** The `traceparent` that came with the call itself, which is nearer than the request's own; undefined: none did.
   *  Asked for only where the line is written. */
  readonly traceparent?: (() => string | undefined) | undefined;
  /** What it was decided on; undefined for a request that could not be read. Asked for only where it is written. */
  readonly facts: () => ReplayFacts | undefined;
}

/** Which decisions are logged, and with what. */
export interface DecisionLogMode {
  /** `deny`: everything that is not an allow. */
  readonly decisions: 'all' | 'deny' | 'none';
  /** Of the allows, where all are logged: 0 to 1. */
  readonly allow_sample: number;
  /** `replay`: with the facts that each was decided on. */
  readonly requests: 'none' | 'replay';
}

/** Takes every decision and writes those that `mode` asks for; told the mode anew each time, so that a reload changes
 *  it. Never waits and never throws; a line that finds the buffer full is dropped and `dropped` told. */
export function createDecisionLog(options: {
  readonly output: Pick<DecisionOutput, 'line'>;
  readonly mode: () => DecisionLogMode;
  readonly dropped?: (() => void) | undefined;
}): (record: DecisionRecord) => void {
  return (record) => {
    const mode = options.mode();
    if (!isLogged(record, mode)) return;
    if (!options.output.line(decisionLine(record, mode))) options.dropped?.();
  };
}

/** Where lines of decisions go: standard output, with the rest of the log, or a file of their own. */
export interface DecisionOutput {
  /** False where the line was dropped. */
  line(text: string): boolean;
  /** From here on lines go to this file; undefined: to standard output. Rejects where the file cannot be opened; lines
   *  then go on where they went before. */
  use(file: DecisionFile | undefined): Promise<void>;
  /** Writes out what waits in the file, for a second at most. */
  close(): Promise<void>;
}

export interface DecisionFile {
  /** Relative to the working directory, or absolute. */
  readonly path: string;
  readonly max_bytes: number;
  /** Older files. */
  readonly keep: number;
}

/** Begins with standard output. `lost` is told of lines that were taken and then could not be written. */
export function createDecisionOutput(logger: Logger, lost: (lines: number) => void): DecisionOutput {
  let current: { readonly file: DecisionFile; readonly lines: LineFile } | undefined;
  return {
    line: (text) => (current ? current.lines.write(text) : logger.line(text)),
    async use(file) {
      if (isDeepStrictEqual(file, current?.file)) return;
      const before = current;
      current = file && { file, lines: await openDecisionFile(file, logger, lost) };
      await before?.lines.close();
    },
    close: async () => current?.lines.close(),
  };
}

/** The line itself: a JSON object without line breaks. Of the request it holds method, host, path and, where its
 *  `traceparent` is valid, the ids of trace and span; never the query, a header, a cookie, a body or a token.
 *  With `requests: replay` it holds the facts of the decision too, as `policy/replay.ts` writes them. */
export function decisionLine(record: DecisionRecord, mode: DecisionLogMode): string {
  const { decision, request } = record;
  const identity = decision.identity ?? decision.linkedIdentity;
  const trace = traceOf(record.traceparent?.() ?? (request && traceparentOf(request)));
  const line: DecisionLine = {
    level: 'info',
    time: timeText(record.timeMs),
    msg: 'decision',
    decision_id: record.decisionId,
    outcome: decision.outcome,
    reason: decision.reason,
    why: redactedText(decision.why, WHY_MAX),
    method: request && cut(request.method, METHOD_MAX),
    host: request && cut(request.host, HOST_MAX),
    path: request && redactedText(request.path, PATH_MAX),
    client_address: record.clientAddress()?.text,
    country: record.country,
    application: named(decision.application),
    policy: named(decision.policy),
    resource_rule: named(decision.resourceRule),
    risk_level: decision.riskLevel,
    risk_score: decision.riskScore,
    subject: identity?.subject && cut(identity.subject, SUBJECT_MAX),
    email: identity?.email && cut(identity.email, SUBJECT_MAX),
    provider: decision.identity?.provider?.id,
    principal: request?.principal ? redactedText(request.principal, PRINCIPAL_MAX) : undefined,
    revision: record.revision,
    duration_ms: Math.round(record.durationMs * 1_000) / 1_000,
    trace_id: trace?.traceId,
    span_id: trace?.spanId,
    trace_flags: trace?.flags,
    allow_sample: decision.outcome === 'allow' && mode.allow_sample < 1 ? mode.allow_sample : undefined,
    [REPLAY_KEY]: mode.requests === 'replay' ? record.facts() : undefined,
  };
  return harmlessJson(JSON.stringify(line));
}

/** What a check was decided on, so that it can be decided again; undefined where the request could not be read. What
 *  looks like a token is cut out of every text, a path above all: a decision does not hang on it, because no destination
 *  is written with a token in it. */
export function decidedFacts(
  { request, context, application }: Pick<CheckFinished, 'request' | 'context' | 'application'>,
  timeMs: number,
): ReplayFacts | undefined {
  // Nothing was gathered of a request that no application covers.
  return request && withoutTokens(encodeFacts(context ?? new EvaluationContext(request, timeMs), application));
}

const WHY_MAX = 1_024;
const METHOD_MAX = 32;
const HOST_MAX = 255;
const PATH_MAX = 2_048;
const SUBJECT_MAX = 320;
/** Of a SPIFFE id: its specification, section 2.3. */
const PRINCIPAL_MAX = 2_048;
/** No text that deciding reads is longer: the longest path. */
const FACT_MAX = 8_192;
/** Version, trace id, parent id, flags. Later versions may add more after another dash. W3C Trace Context, section 3.2. */
const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-|$)/;
const TRACEPARENT_LENGTH = 55;

/** An allow is chosen by its decision id, which is random and nobody else's choice: with the trace id, a caller could
 *  choose to stay out of the log. */
function isLogged({ decision, decisionId }: DecisionRecord, mode: DecisionLogMode): boolean {
  if (mode.decisions === 'none') return false;
  if (decision.outcome !== 'allow') return true;
  if (mode.decisions === 'deny') return false;
  return mode.allow_sample >= 1 || Number.parseInt(decisionId.slice(0, 8), 16) / 2 ** 32 < mode.allow_sample;
}

function openDecisionFile(file: DecisionFile, logger: Logger, lost: (lines: number) => void): Promise<LineFile> {
  return openLineFile({
    path: file.path,
    maxBytes: file.max_bytes,
    keep: file.keep,
    lost,
    failed: (error) => logger.error('decisions could not be written to their file', { path: file.path, error }),
  });
}

function named(words: Named | undefined): { readonly id: string; readonly name: string } | undefined {
  return words && { id: words.id, name: words.name };
}

function traceparentOf(request: RequestFacts): string | undefined {
  const header = request.headers.single('traceparent');
  return header.state === 'one' ? header.value : undefined;
}

function traceOf(
  traceparent: string | undefined,
): { readonly traceId: string; readonly spanId: string; readonly flags: string } | undefined {
  if (traceparent === undefined) return undefined;
  const [, traceId, spanId, flags] = TRACEPARENT.exec(traceparent) ?? [];
  if (traceId === undefined || spanId === undefined || flags === undefined) return undefined;
  // Version 00 ends after the flags.
  if (traceparent.startsWith('00') && traceparent.length !== TRACEPARENT_LENGTH) return undefined;
  return { traceId, spanId, flags };
}

function withoutTokens(facts: ReplayFacts): ReplayFacts {
  const text = JSON.stringify(facts, (_, value: unknown) =>
    typeof value === 'string' ? redactedText(value, FACT_MAX) : value,
  );
  return JSON.parse(text) as ReplayFacts;
}

function cut(text: string, max: number): string {
  return text.length > max ? `${text.slice(0, max - 1)}…` : text;
}
