/** What every check of this process is made with: clocks, state, and all who hear of it when it is over. */
import { randomUUID } from 'node:crypto';
import { createDecisionLog, decidedFacts } from './decision-log.ts';
import type { DecisionOutput } from './decision-log.ts';
import type { CheckFinished, CheckParts } from './envoy/check.ts';
import { createFailureLog } from './failure-log.ts';
import type { FailureLog } from './failure-log.ts';
import { createLearner } from './learning.ts';
import type { Live } from './live.ts';
import type { Logger } from './log.ts';
import type { Metrics } from './metrics.ts';
import { createSettle } from './settle.ts';
import { createShadow } from './shadow.ts';
import { createAttempts } from './state/attempts.ts';
import type { State } from './state/state.ts';
import type { Status } from './status.ts';
import type { Tracing } from './tracing.ts';

export interface CheckSurroundings {
  readonly live: Pick<Live, 'current'>;
  readonly state: State;
  readonly metrics: Metrics;
  readonly decisions: DecisionOutput;
  readonly status: Status;
  /** Undefined: nothing is traced. */
  readonly tracing: Tracing | undefined;
  readonly logger: Logger;
  /** Of failures. */
  readonly log: FailureLog;
}

export function checkParts(surroundings: CheckSurroundings): CheckParts {
  const { live, state, metrics, decisions, status, tracing, logger, log: logFailure } = surroundings;
  const revision = live.current;
  const logWarning = createFailureLog({ logger: { error: logger.warn } });
  const logDifference = createFailureLog({ logger: { error: logger.info } });
  const learn = createLearner({
    state,
    settings: () => revision().settings.risk,
    onConflict: () => metrics.stateError('conflict'),
    onFailure: (error) => logFailure('state', 'an authentication could not be remembered', { error }),
  });
  const shadow = createShadow({ metrics, differs: logDifference, failed: logFailure });
  const logDecision = createDecisionLog({
    output: decisions,
    mode: () => revision().settings.log,
    dropped: () => metrics.decisionLogDropped(1),
  });
  return {
    snapshot: () => revision().snapshot,
    nowMs: Date.now,
    monotonicMs: () => performance.now(),
    newId: randomUUID,
    keepsFactTimes: tracing !== undefined,
    settle: createSettle({
      attempts: createAttempts(state),
      learn,
      attemptsMax: () => revision().settings.step_up.attempts_max,
      // Fixed at start, like the store itself; in memory nothing has to be waited for.
      timeoutMs: revision().settings.state.redis?.timeout_ms,
      stepUpSucceeded: metrics.stepUpSucceeded,
    }),
    watch: {
      stage: metrics.stageFinished,
      fact: metrics.factFinished,
      finished(check) {
        count(check, metrics, tracing?.record(check));
        status.record(check);
        shadow.record(check);
        noteCopy(check, logWarning);
        logDecision({
          decisionId: check.decisionId,
          timeMs: Date.now(),
          durationMs: check.seconds * 1000,
          revision: check.snapshot.revision,
          decision: check.decision,
          request: check.request,
          clientAddress: () => check.request && check.snapshot.sources.clientAddress(check.request),
          country: check.context?.location?.country,
          traceparent: () => check.call.metadata?.('traceparent'),
          facts: () => decidedFacts(check, Date.now()),
        });
      },
      failed(error, decisionId) {
        metrics.checkFailed('thrown');
        metrics.decided(undefined, 'unavailable', 'internal_error');
        logFailure('thrown', 'a check failed and was answered 503', { decision_id: decisionId, error });
      },
    },
  };
}

function count({ decision, seconds }: CheckFinished, metrics: Metrics, traceId: string | undefined): void {
  const application = decision.application?.name;
  metrics.checkFinished(decision.outcome, seconds, traceId);
  metrics.decided(application, decision.outcome, decision.reason);
  if (decision.riskLevel) metrics.riskLevel(application, decision.riskLevel);
  if (!decision.adaptive) return;
  for (const rule of decision.adaptive.trace.rules) {
    for (const { name, verdict, unknown } of rule.factors)
      metrics.factorVerdict(name.replace(/\.\d+$/, ''), unknown ? 'UNKNOWN' : verdict);
  }
}

/** A machine's cookie came with a sequence nonce of long ago: somebody may have copied it. */
function noteCopy({ context, decision, decisionId }: CheckFinished, log: FailureLog): void {
  if (context?.machine.state !== 'absent' || context.machine.copied !== true) return;
  const application = decision.application?.name;
  log('machine_copy', 'a machine cookie is an old one, or a copy of it', { decision_id: decisionId, application });
}
