/** The check without gRPC: from bytes to bytes as the server calls it, with the real metrics behind it. */
import { randomUUID } from 'node:crypto';
import { createCheck } from '../dist/envoy/check.js';
import { createKeySets } from '../dist/facts/key-set.js';
import { createMetrics } from '../dist/metrics.js';
import { createLoader } from '../dist/revision.js';

/** Loads a folder. `stages` holds the seconds spent in each stage so far. `tracing`: as the app has it. */
export async function openCheck(folder, { tracing } = {}) {
  const metrics = createMetrics();
  const loader = createLoader({ folder, overrides: [], keySets: createKeySets(), makesKeys: false });
  const { revision, faults } = await loader.load();
  if (!revision) throw new Error(JSON.stringify(faults.slice(0, 3)));
  const stages = { map: 0, gather: 0, decide: 0, respond: 0 };
  const check = createCheck({
    snapshot: () => revision.snapshot,
    nowMs: Date.now,
    monotonicMs: () => performance.now(),
    newId: randomUUID,
    keepsFactTimes: tracing !== undefined,
    settle: (decision) => ({ decision, attempt: 1 }),
    watch: {
      stage(stage, seconds) {
        stages[stage] += seconds;
        metrics.stageFinished(stage, seconds);
      },
      fact: metrics.factFinished,
      finished(finished) {
        const { decision, seconds } = finished;
        metrics.checkFinished(decision.outcome, seconds, tracing?.record(finished));
        metrics.decided(decision.application?.name, decision.outcome, decision.reason);
      },
      failed(error) {
        throw error;
      },
    },
  });
  return { check: (bytes) => check(bytes, CALL), stages, destinations: revision.snapshot.destinations };
}

const CALL = { deadlineMs: Infinity, signal: undefined, cancelled: false };
