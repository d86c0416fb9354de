/** One line per decision, for those who must explain or count them later. */
import type { Address } from './model/address.ts';
import type { Decision, Named } from './model/decision.ts';
import type { RequestFacts } from './model/request.ts';
import { redactedText, timeText } from './log.ts';
import type { Logger } from './log.ts';

/** `deny`: everything that is not an allow. */
export type DecisionsLogged = 'all' | 'deny' | 'none';

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
  /** The client's address as the settings say it is found. */
  readonly clientAddress: Address | undefined;
  /** ISO 3166-1 alpha-2, of the address. Nothing finer is written. */
  readonly country: string | undefined;
}

/** Takes every decision and writes those that `mode` asks for; told the mode anew each time, so that a reload changes
 *  it. Never waits and never throws; a line that finds the log's buffer full is dropped and `dropped` told. */
export function createDecisionLog(options: {
  readonly logger: Logger;
  readonly mode: () => DecisionsLogged;
  readonly dropped?: (() => void) | undefined;
}): (record: DecisionRecord) => void {
  return (record) => {
    const mode = options.mode();
    if (mode === 'none' || (mode === 'deny' && record.decision.outcome === 'allow')) return;
    if (!options.logger.line(decisionLine(record))) options.dropped?.();
  };
}

/** The line itself: a JSON object without line breaks. Of the request it holds method, host, path and, where its
 *  `traceparent` is valid (W3C Trace Context, section 3.2), the trace id; never the query, a header, a cookie, a body
 *  or a token. */
export function decisionLine(record: DecisionRecord): string {
  const { decision, request } = record;
  const identity = decision.identity ?? decision.linkedIdentity;
  return JSON.stringify({
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
    client_address: record.clientAddress?.text,
    country: record.country,
    application: named(decision.application),
    policy: named(decision.policy),
    resource_rule: named(decision.resourceRule),
    risk_level: decision.riskLevel,
    risk_score: decision.riskScore,
    subject: identity?.subject && cut(identity.subject, SUBJECT_MAX),
    email: identity?.email && cut(identity.email, SUBJECT_MAX),
    provider: decision.identity?.provider?.id,
    revision: record.revision,
    duration_ms: Math.round(record.durationMs * 1_000) / 1_000,
    trace_id: request && traceId(request),
  });
}

const WHY_MAX = 1_024;
const METHOD_MAX = 32;
const HOST_MAX = 255;
const PATH_MAX = 2_048;
const SUBJECT_MAX = 320;
/** Version, trace id, parent id, flags. Later versions may add more after another dash. */
const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-|$)/;

function named(words: Named | undefined): Named | undefined {
  return words && { id: words.id, name: words.name };
}

function traceId(request: RequestFacts): string | undefined {
  const header = request.headers.single('traceparent');
  if (header.state !== 'one') return undefined;
  const found = TRACEPARENT.exec(header.value);
  // Version 00 ends after the flags.
  if (!found || (header.value.startsWith('00') && header.value.length !== 55)) return undefined;
  return found[1];
}

function cut(text: string, max: number): string {
  return text.length > max ? `${text.slice(0, max - 1)}…` : text;
}
