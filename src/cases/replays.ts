/** Recorded requests decided again by two revisions: what a change would have done to them. */
import type { Outcome } from '../model/decision.ts';
import type { CompiledApplication } from '../policy/compile.ts';
import type { DestinationIndex } from '../policy/destinations.ts';
import { decide, noApplication } from '../policy/engine.ts';
import type { EngineDecision } from '../policy/engine.ts';
import { decodeFacts, missingFacts, REPLAY_KEY } from '../policy/replay.ts';
import type { ReplayFacts } from '../policy/replay.ts';

/** What a decision came to, in the words by which changes are grouped. */
export interface Came {
  readonly outcome: Outcome;
  readonly reason: string;
  /** Of what decided: a policy, and of an adaptive decision the resource rule. */
  readonly by: string | undefined;
}

/** Requests that were decided one way and would be decided another. */
export interface ReplayGroup {
  readonly before: Came;
  readonly after: Came;
  readonly count: number;
  /** Something that was not allowed is allowed. */
  readonly loosens: boolean;
  /** The first few. */
  readonly examples: readonly ReplayExample[];
}

export interface ReplayExample {
  readonly decisionId: string | undefined;
  readonly time: string | undefined;
  /** `GET orders.example.com/api` */
  readonly request: string;
  readonly application: string | undefined;
  /** E-mail address or subject; undefined: nobody. */
  readonly who: string | undefined;
}

export interface ReplayReport {
  /** Lines of decisions in the log. */
  readonly lines: number;
  /** Decided again by both. */
  readonly replayed: number;
  readonly same: number;
  /** Those that loosen first, then the largest. */
  readonly groups: readonly ReplayGroup[];
  /** Lines that could not be decided again, by why. */
  readonly left: ReadonlyMap<string, number>;
}

export interface Replays {
  /** One line of a log; one that is no decision is passed over. */
  add(line: string): void;
  report(): ReplayReport;
}

/** Where requests of a revision are decided. */
export interface ReplaySide {
  readonly destinations: DestinationIndex<CompiledApplication>;
}

/** Decides the lines of a log again by two revisions. */
export function createReplays(before: ReplaySide, after: ReplaySide): Replays {
  const groups = new Map<string, { -readonly [K in keyof ReplayGroup]: ReplayGroup[K] }>();
  const left = new Map<string, number>();
  const leave = (why: string): void => void left.set(why, (left.get(why) ?? 0) + 1);
  let lines = 0;
  let replayed = 0;
  let same = 0;
  return {
    add(text) {
      const line = decisionLine(text);
      if (!line) return;
      lines += 1;
      if (line[REPLAY_KEY] === undefined) {
        leave(
          line['host'] === undefined ? 'the request could not be read' : 'no facts recorded (log.requests: replay)',
        );
        return;
      }
      const decoded = decodeFacts(line[REPLAY_KEY]);
      if ('wrong' in decoded) {
        leave(`facts that cannot be read: ${decoded.wrong}`);
        return;
      }
      const old = decidedBy(before, line[REPLAY_KEY], decoded.facts);
      const now = decidedBy(after, line[REPLAY_KEY], decoded.facts);
      const missing = [...new Set([...old.missing, ...now.missing])];
      if (missing.length > 0) {
        leave(`not recorded: ${missing.join(', ')}`);
        return;
      }
      replayed += 1;
      const [was, is] = [cameOf(old.decision), cameOf(now.decision)];
      const key = JSON.stringify([was, is]);
      if (key === JSON.stringify([was, was])) {
        same += 1;
        return;
      }
      const group = groups.get(key) ?? {
        before: was,
        after: is,
        count: 0,
        loosens: was.outcome !== 'allow' && is.outcome === 'allow',
        examples: [],
      };
      groups.set(key, group);
      group.count += 1;
      if (group.examples.length < EXAMPLES_MAX)
        group.examples = [...group.examples, exampleOf(line, decoded.facts, now.decision, old.decision)];
    },
    report: () => ({
      lines,
      replayed,
      same,
      groups: [...groups.values()].toSorted((a, b) => Number(b.loosens) - Number(a.loosens) || b.count - a.count),
      left,
    }),
  };
}

/** What a decision came to. */
export function cameOf({ outcome, reason, policy, resourceRule }: EngineDecision): Came {
  return { outcome, reason, by: outcome === 'allow' ? policy?.name : (resourceRule?.name ?? policy?.name) };
}

/** `allow, policy_allowed by Engineers` */
export function cameText({ outcome, reason, by }: Came): string {
  return `${outcome}, ${reason}${by === undefined ? '' : ` by ${by}`}`;
}

const EXAMPLES_MAX = 3;

function decisionLine(text: string): Record<string, unknown> | undefined {
  if (!text.includes('"decision"')) return undefined;
  try {
    const line: unknown = JSON.parse(text);
    return typeof line === 'object' && line !== null && (line as Record<string, unknown>)['msg'] === 'decision'
      ? (line as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}

/** Decided with facts of its own: what one decision leaves in a context is not for another. */
function decidedBy(
  { destinations }: ReplaySide,
  json: unknown,
  facts: ReplayFacts,
): { readonly decision: EngineDecision; readonly missing: readonly string[] } {
  const application = destinations.find(facts.host, facts.path)?.target;
  if (!application) return { decision: noApplication(), missing: [] };
  const missing = missingFacts(facts, application);
  const decoded = decodeFacts(json);
  if ('wrong' in decoded) throw new Error(decoded.wrong);
  return { decision: decide(application, decoded.context), missing };
}

function exampleOf(
  line: Record<string, unknown>,
  facts: ReplayFacts,
  now: EngineDecision,
  old: EngineDecision,
): ReplayExample {
  const text = (name: string): string | undefined => {
    const found = line[name];
    return typeof found === 'string' ? found : undefined;
  };
  return {
    decisionId: text('decision_id'),
    time: text('time'),
    request: `${facts.method} ${facts.host}${facts.path}`,
    application: now.application?.name ?? old.application?.name,
    who: text('email') ?? text('subject'),
  };
}
