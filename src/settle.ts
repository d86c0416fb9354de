/** After the decision: what only state can tell of it, and what state is told. */
import type { CheckParts, Settled } from './envoy/check.ts';
import type { Learner } from './learning.ts';
import type { EvaluationContext } from './model/context.ts';
import { requirementOf } from './policy/adaptive.ts';
import { exhausted } from './policy/engine.ts';
import { following } from './shared/following.ts';
import type { Attempts } from './state/attempts.ts';

export interface SettleOptions {
  readonly attempts: Attempts;
  readonly learn: Learner;
  readonly attemptsMax: () => number;
  /** A check waits no longer than this for the store in all, gathering included; undefined: it never has to wait. */
  readonly timeoutMs: number | undefined;
  /** A user who had been asked to step up was let in; `application` is the name. */
  readonly stepUpSucceeded: (application: string) => void;
}

/** Counts a step-up, and refuses it where asking again would not help; learns from an allow, and forgets what was asked
 *  before it. What the store does not do in time is not waited for, and the answer is what was decided. */
export function createSettle(options: SettleOptions): CheckParts['settle'] {
  const { attempts, learn, attemptsMax, timeoutMs, stepUpSucceeded } = options;
  return (decision, context, application, byRedirect) => {
    const { identity, challenge } = decision;
    if (!identity || !application.adaptive) return { decision, attempt: 0 };
    const { id, name } = application.named;
    if (decision.outcome === 'allow') {
      if (attempts.clear(identity, id, context.processNowMs)) stepUpSucceeded(name);
      const learned = following(learn(decision, context, application), (cookies): Settled => ({
        decision: cookies.length === 0 ? decision : { ...decision, cookies },
        attempt: 0,
      }));
      return inTime(learned, context, timeoutMs, { decision, attempt: 0 });
    }
    if (decision.outcome !== 'step_up' || !challenge) return { decision, attempt: 0 };
    const counted = attempts.count({
      identity,
      application: id,
      requirement: requirementOf(challenge),
      byRedirect,
      nowMs: context.processNowMs,
      attemptsMax: attemptsMax(),
    });
    const settled = following(counted, ({ isExhausted, attempt }): Settled => ({
      decision: isExhausted ? exhausted(decision) : decision,
      attempt,
    }));
    return inTime(settled, context, timeoutMs, { decision, attempt: 1 });
  };
}

/** What has been waited for the store already is not waited for again. */
function inTime(
  settled: Settled | Promise<Settled>,
  context: EvaluationContext,
  timeoutMs: number | undefined,
  unsettled: Settled,
): Settled | Promise<Settled> {
  if (!(settled instanceof Promise) || timeoutMs === undefined) return settled;
  const leftMs = timeoutMs - context.stateWaitedMs;
  if (leftMs <= 0) {
    settled.catch(() => undefined);
    return unsettled;
  }
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<Settled>((resolve) => {
    // An answer that is here and not read yet, because this process was held up, still counts.
    timer = setTimeout(() => setImmediate(resolve, unsettled), leftMs);
  });
  return Promise.race([settled, late]).finally(() => clearTimeout(timer));
}
