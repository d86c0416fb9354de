/** After the decision: what a request that was let in leaves in the user's record. */
import { isBrowserNavigation } from './envoy/answer.ts';
import { Recollection } from './facts/history.ts';
import { machineMarks, machineSetCookie, newNonce, presentedMachine, readMachineCookie } from './facts/machine.ts';
import type { EvaluationContext } from './model/context.ts';
import type { AdaptiveMemory } from './policy/adaptive.ts';
import type { CompiledApplication } from './policy/compile.ts';
import type { EngineDecision } from './policy/engine.ts';
import { currentPlace } from './risk/location-history.ts';
import { isAdmitted } from './flow/satisfaction.ts';
import type { StateKeys } from './state/keys.ts';
import { learn } from './state/learn.ts';
import type { LearnableEvent, Learned, LearnSettings, MachineEvent } from './state/learn.ts';
import type { State } from './state/state.ts';
import { updateUser } from './state/update.ts';
import type { UpdateResult } from './state/update.ts';

export interface LearnerOptions {
  readonly state: State;
  /** `risk` of the settings in force. */
  readonly settings: () => LearnSettings;
  /** A write lost against others three times, and was given up. */
  readonly onConflict: () => void;
  /** The store failed. */
  readonly onFailure: (error: unknown) => void;
}

/** Remembers the authentication event of a request that was let in, where its application has a rule that asks for
 *  that, and the record does not have the event yet. Gives the `Set-Cookie` values for the answer. A promise only where
 *  the store has to be waited for; never throws and never rejects: what could not be written changes no answer. */
export type Learner = (
  decision: EngineDecision,
  context: EvaluationContext,
  application: CompiledApplication,
) => readonly string[] | Promise<readonly string[]>;

export function createLearner({ state, settings, onConflict, onFailure }: LearnerOptions): Learner {
  const { store, keys } = state;
  const failed = (error: unknown): readonly string[] => {
    onFailure(error);
    return NO_COOKIES;
  };
  return (decision, context, application) => {
    const memory = decision.outcome === 'allow' ? decision.adaptive?.memory : undefined;
    const record = context.history.state === 'known' ? context.history.record : undefined;
    if (!memory?.learn || !(record instanceof Recollection)) return NO_COOKIES;
    const { names, eventHashes, eventKnown, read } = record;
    if (!eventHashes) return NO_COOKIES;
    const isAdmitting = memory.admit && !isAdmitted(context.history, application.named.id);
    if (eventKnown && !isAdmitting) return NO_COOKIES;
    const machine = memory.recognizeMachine ? machineOf(memory, context, keys) : undefined;
    const event = eventOf(record, eventHashes, context, machine, isAdmitting ? application.named.id : undefined);
    let outcome: Learned['machine'];
    const finished = (result: UpdateResult): readonly string[] => {
      if (result === 'conflict') onConflict();
      const cookie = result === 'written' && machine ? cookieOf(outcome, machine) : undefined;
      return cookie === undefined ? NO_COOKIES : [cookie];
    };
    try {
      const result = updateUser(store, names, read, (before) => {
        const learned = learn(before, event, settings());
        outcome = learned?.machine;
        return learned?.record;
      });
      return result instanceof Promise ? result.then(finished).catch(failed) : finished(result);
    } catch (error) {
      return failed(error);
    }
  };
}

const NO_COOKIES: readonly string[] = Object.freeze([]);

/** The browser, with the nonces that it would be given. */
interface Browser extends MachineEvent {
  /** The machine nonce of the cookie it sent; undefined: none. */
  readonly nonce: string | undefined;
  readonly freshNonce: string;
  readonly freshSequence: string;
}

function machineOf(memory: AdaptiveMemory, { request }: EvaluationContext, keys: StateKeys): Browser {
  const cookie = readMachineCookie(request.headers);
  const freshNonce = newNonce();
  const freshSequence = newNonce();
  return {
    presented: presentedMachine(cookie, keys),
    marks: machineMarks(request.headers, keys),
    refreshMarks: memory.refreshMarks,
    // What a page loads would be given a cookie too, and each of them another.
    register: memory.registerMachine && isBrowserNavigation(request),
    fresh: { nonceHash: keys.nonceHashes(freshNonce)[0], sequenceHash: keys.nonceHashes(freshSequence)[0] },
    nonce: cookie.state === 'one' ? cookie.nonce : undefined,
    freshNonce,
    freshSequence,
  };
}

function cookieOf(outcome: Learned['machine'], browser: Browser): string | undefined {
  if (outcome === 'registered') return machineSetCookie(browser.freshNonce, browser.freshSequence);
  if (outcome === 'kept' && browser.nonce !== undefined) return machineSetCookie(browser.nonce, browser.freshSequence);
  return undefined;
}

function eventOf(
  record: Recollection,
  hashes: LearnableEvent['hashes'],
  context: EvaluationContext,
  machine: MachineEvent | undefined,
  admitTo: string | undefined,
): LearnableEvent {
  const { latitude, longitude } = context.location ?? {};
  return {
    hashes,
    nowMs: context.nowMs,
    coordinates: latitude === undefined || longitude === undefined ? undefined : { latitude, longitude },
    place: currentPlace(context),
    addressHashes: record.addressHashes,
    admitTo,
    machine,
  };
}
