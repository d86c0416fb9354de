/** A check waits for the state store as long as is set, in all, and its answer does not depend on what comes later. */
import { describe, expect, it } from 'vitest';
import type { Settled } from '../src/envoy/check.ts';
import type { CompiledApplication } from '../src/policy/compile.ts';
import { lateDecision } from '../src/policy/engine.ts';
import type { EngineDecision } from '../src/policy/engine.ts';
import { createSettle } from '../src/settle.ts';
import type { SettleOptions } from '../src/settle.ts';
import type { Attempt } from '../src/state/attempts.ts';
import { contextOf, identityOf } from './rules/contexts.ts';

const APPLICATION = { named: { id: 'orders', name: 'Orders' }, adaptive: {} } as unknown as CompiledApplication;
const NEVER = new Promise<never>(() => undefined);
const EXHAUSTED: Attempt = { isExhausted: true, attempt: 2 };

const CHALLENGE = { acrValues: ['mfa'], maxAgeSeconds: undefined, onlyFreshness: false, promptLogin: false };

function decided(outcome: 'allow' | 'step_up'): EngineDecision {
  const challenge = outcome === 'step_up' ? CHALLENGE : undefined;
  return { ...lateDecision(undefined), outcome, reason: 'policy_allowed', identity: identityOf(), challenge };
}

function settled(
  outcome: 'allow' | 'step_up',
  { waitedMs = 0, ...changes }: Partial<SettleOptions> & { readonly waitedMs?: number } = {},
): Settled | Promise<Settled> {
  const settle = createSettle({
    attempts: { count: () => EXHAUSTED, clear: () => false },
    learn: () => ['cookie'],
    attemptsMax: () => 2,
    timeoutMs: undefined,
    stepUpSucceeded: () => undefined,
    ...changes,
  });
  return settle(decided(outcome), contextOf({ stateWaitedMs: waitedMs }), APPLICATION, false);
}

function seen({ decision, attempt }: Settled): readonly unknown[] {
  return [decision.outcome, decision.cookies ?? [], attempt];
}

const later = <T>(value: T, ms = 5): Promise<T> => new Promise((resolve) => setTimeout(resolve, ms, value));

describe('settling', () => {
  it('with a store that answers at once is not waited for', () => {
    for (const timeoutMs of [undefined, 50]) {
      const allow = settled('allow', { timeoutMs });
      expect(allow instanceof Promise ? allow : seen(allow)).toEqual(['allow', ['cookie'], 0]);
      const refused = settled('step_up', { timeoutMs });
      expect(refused instanceof Promise ? refused : seen(refused)).toEqual(['deny', [], 2]);
    }
  });

  it('waits for what comes in time', async () => {
    const options = {
      attempts: { count: () => later(EXHAUSTED), clear: () => false },
      learn: () => later(['cookie']),
      timeoutMs: 20_000,
    };
    expect(seen(await settled('allow', options))).toEqual(['allow', ['cookie'], 0]);
    expect(seen(await settled('step_up', options))).toEqual(['deny', [], 2]);
  });

  const stuck = { attempts: { count: () => NEVER, clear: () => false }, learn: () => NEVER };

  it('waits no longer than is set, and answers what was decided', async () => {
    expect(seen(await settled('allow', { ...stuck, timeoutMs: 10 }))).toEqual(['allow', [], 0]);
    expect(seen(await settled('step_up', { ...stuck, timeoutMs: 10 }))).toEqual(['step_up', [], 1]);
  });

  it('waits for what is left of the time that gathering has used, and not at all where none is', async () => {
    expect(seen(await settled('step_up', { ...stuck, timeoutMs: 600_000, waitedMs: 599_990 }))).toEqual([
      'step_up',
      [],
      1,
    ]);
    const none = settled('step_up', { ...stuck, timeoutMs: 50, waitedMs: 50 });
    expect(none instanceof Promise ? none : seen(none)).toEqual(['step_up', [], 1]);
  });

  it('of what comes too late and fails leaves nothing behind', async () => {
    const unhandled: unknown[] = [];
    const note = (reason: unknown): void => void unhandled.push(reason);
    process.on('unhandledRejection', note);
    const failing = {
      attempts: { count: () => later(undefined, 20).then(() => Promise.reject(new Error('late'))), clear: () => false },
      timeoutMs: 50,
      waitedMs: 50,
    };
    await settled('step_up', failing);
    await later(undefined, 60);
    process.off('unhandledRejection', note);
    expect(unhandled).toEqual([]);
  });

  it.each<[string, boolean, readonly string[]]>([
    ['asked before', true, ['Orders']],
    ['not asked before', false, []],
  ])('tells of an allow of somebody %s', (_, was, expected) => {
    const told: string[] = [];
    void settled('allow', {
      attempts: { count: () => EXHAUSTED, clear: () => was },
      stepUpSucceeded: (name) => void told.push(name),
    });
    expect(told).toEqual(expected);
  });
});
