/** The last requests that were not let in, with what each was decided on, so that it can be explained later. */
import type { CheckFinished } from '../../envoy/check.ts';
import { decidedFacts } from '../../decision-log.ts';
import { redactedText } from '../../log.ts';
import type { Outcome, Reason } from '../../model/decision.ts';

/** No token, cookie, header, query or body is in it. */
export interface Refusal {
  readonly id: string;
  /** Milliseconds since the epoch. */
  readonly timeMs: number;
  readonly outcome: Outcome;
  readonly reason: Reason;
  readonly why: string;
  /** Undefined: the request could not be read. */
  readonly request: { readonly method: string; readonly host: string; readonly path: string } | undefined;
  readonly application: string | undefined;
  readonly policy: string | undefined;
  readonly clientAddress: string | undefined;
  /** E-mail address or subject of the caller. */
  readonly who: string | undefined;
  readonly revision: string;
  /** The facts as JSON (`policy/replay.ts`); undefined as `request` is. */
  readonly facts: string | undefined;
}

export interface Recent {
  record(check: CheckFinished, timeMs: number): void;
  /** The newest first. */
  list(): readonly Refusal[];
  find(id: string): Refusal | undefined;
  /** Refusals that were passed over, because too many came in one second. */
  readonly passedOver: number;
}

/** Remembers up to `max`. Of one second no more than that many are looked at, so that a flood of refusals costs no
 *  more than a few: to keep the facts of one takes longer than to decide it. */
export function createRecent(max = 100): Recent {
  const kept: Refusal[] = [];
  let second = 0;
  let inSecond = 0;
  let passedOver = 0;
  return {
    record(check, timeMs) {
      if (check.decision.outcome === 'allow') return;
      const now = Math.floor(timeMs / 1000);
      if (now !== second) {
        second = now;
        inSecond = 0;
      }
      inSecond += 1;
      if (inSecond > max) {
        passedOver += 1;
        return;
      }
      if (kept.length === max) kept.shift();
      kept.push(refusalOf(check, timeMs));
    },
    list: () => kept.toReversed(),
    find: (id) => kept.find((one) => one.id === id),
    get passedOver() {
      return passedOver;
    },
  };
}

const PATH_MAX = 2_048;
const WHY_MAX = 1_024;

function refusalOf(check: CheckFinished, timeMs: number): Refusal {
  const { decision, request, snapshot } = check;
  const identity = decision.identity ?? decision.linkedIdentity;
  return {
    id: check.decisionId,
    timeMs,
    outcome: decision.outcome,
    reason: decision.reason,
    why: redactedText(decision.why, WHY_MAX),
    request: request && {
      method: request.method.slice(0, 32),
      host: request.host,
      path: redactedText(request.path, PATH_MAX),
    },
    application: decision.application?.name,
    policy: decision.policy?.name,
    clientAddress: request && snapshot.sources.clientAddress(request)?.text,
    who: (identity?.email ?? identity?.subject)?.slice(0, 320),
    revision: snapshot.revision,
    facts: request && JSON.stringify(decidedFacts(check, timeMs)),
  };
}
