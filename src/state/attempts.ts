/** The loop guard: how often a user was asked to step up, so that nobody is sent in circles. */
import type { Identity } from '../model/identity.ts';
import { createCache } from '../shared/cache.ts';
import { authenticationEvent } from './event.ts';
import type { State } from './state.ts';
import { attemptField } from './store.ts';

/** One answer that asks for a step-up. */
export interface StepUp {
  readonly identity: Identity;
  /** The application's id. */
  readonly application: string;
  /** What is asked for, as one text. */
  readonly requirement: string;
  /** A browser is sent to the portal; each time counts. Otherwise each authentication event counts once, so that
   *  parallel calls with one token are one attempt. */
  readonly byRedirect: boolean;
  /** Process clock, milliseconds since the epoch. */
  readonly nowMs: number;
  readonly attemptsMax: number;
}

export interface Attempt {
  /** Asking again would not help: the answer is a plain refusal. */
  readonly isExhausted: boolean;
  /** From 1. */
  readonly attempt: number;
}

export interface Attempts {
  /** Never fails: while the store does not answer, everybody is asked as if for the first time. */
  count(stepUp: StepUp): Attempt | Promise<Attempt>;
  /** The user was let in: what was asked of him there is forgotten. Nobody waits for it. True: it was asked by this
   *  process within the last ten minutes, so a step-up has succeeded. */
  clear(identity: Identity, application: string, nowMs: number): boolean;
}

/** Counts in the state store; a count is forgotten ten minutes after its last attempt.
 *
 *  An allow would cost the store a command each, and nearly always there is nothing to forget. So what was forgotten
 *  is remembered here for half a minute, unless this process counts an attempt meanwhile: of a user at work the store
 *  hears twice a minute for each application. What another replica counts within that time is forgotten by the first
 *  allow after it. */
export function createAttempts({ store, keys }: State): Attempts {
  const forgotten = createCache<string, true>({ entriesMax: REMEMBERED_MAX });
  const asked = createCache<string, true>({ entriesMax: REMEMBERED_MAX });
  return {
    count({ identity, application, requirement, byRedirect, nowMs, attemptsMax }) {
      const name = localName(identity, application);
      asked.set(name, true, nowMs + LIFETIME_MS);
      const event = byRedirect ? undefined : authenticationEvent(identity);
      // Nothing tells one call of such a program from the next: parallel ones would be refused at once.
      if (!byRedirect && event === undefined) return FIRST;
      forgotten.delete(name);
      try {
        const counted = store.countAttempt(keys.identityKeys(identity)[0], {
          field: attemptField(application, requirement),
          event: event && keys.eventHashes(event)[0],
          max: attemptsMax,
          lifetimeMs: LIFETIME_MS,
          nowMs,
        });
        return counted instanceof Promise ? counted.then(attemptOf, () => FIRST) : attemptOf(counted);
      } catch {
        return FIRST;
      }
    },
    clear(identity, application, nowMs) {
      const name = localName(identity, application);
      const hasSucceeded = asked.size > 0 && asked.get(name, nowMs) === true;
      if (hasSucceeded) asked.delete(name);
      if (forgotten.get(name, nowMs)) return hasSucceeded;
      forgotten.set(name, true, nowMs + FORGOTTEN_MS);
      const again = (): void => forgotten.delete(name);
      try {
        const clearing = store.clearAttempts(keys.identityKeys(identity)[0], application);
        if (clearing instanceof Promise) clearing.catch(again);
      } catch {
        again();
      }
      return hasSucceeded;
    },
  };
}

const FIRST: Attempt = Object.freeze({ isExhausted: false, attempt: 1 });
const LIFETIME_MS = 600_000;
const FORGOTTEN_MS = 30_000;
const REMEMBERED_MAX = 10_000;

function attemptOf({ isExhausted, count }: { readonly isExhausted: boolean; readonly count: number }): Attempt {
  return { isExhausted, attempt: Math.max(1, count) };
}

/** Does not leave this process. */
function localName({ issuer = '', subject, email = '' }: Identity, application: string): string {
  return subject === undefined ? `${application}\n\n${email}` : `${application}\n${issuer}\n${subject}`;
}
