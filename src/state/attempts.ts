/** The loop guard: how often a user was asked to step up, so that nobody is sent in circles. Kept in this process. */
import { createHmac, randomBytes } from 'node:crypto';
import type { Identity } from '../model/identity.ts';
import { createCache } from '../shared/cache.ts';

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
  count(stepUp: StepUp): Attempt;
  /** The user was let in: what was asked of him there is forgotten. */
  clear(identity: Identity, application: string): void;
}

/** Forgets a count ten minutes after its last attempt, and the users least recently asked beyond `usersMax`. Users and
 *  events are kept as HMAC-SHA-256 under a key of this process; an identity without issuer and subject is told by its
 *  e-mail address. */
export function createAttempts(usersMax: number): Attempts {
  const key = randomBytes(32);
  const hash = (...parts: readonly string[]): string =>
    createHmac('sha256', key).update(JSON.stringify(parts)).digest('base64url');
  const userOf = (identity: Identity, application: string): string =>
    hash(
      'user',
      identity.issuer ?? '',
      identity.subject ?? '',
      identity.subject ? '' : (identity.email ?? ''),
      application,
    );
  const users = createCache<string, Map<string, Counter>>({ entriesMax: usersMax });
  return {
    count({ identity, application, requirement, byRedirect, nowMs, attemptsMax }) {
      const user = userOf(identity, application);
      const counters = users.get(user, nowMs) ?? new Map<string, Counter>();
      let counter = counters.get(requirement);
      if (!counter || counter.untilMs <= nowMs) {
        counter = { count: 0, events: new Set(), untilMs: 0 };
        counters.set(requirement, counter);
      }
      const event = byRedirect ? undefined : eventOf(identity, hash);
      if (!byRedirect && (event === undefined || counter.events.has(event))) {
        return { isExhausted: false, attempt: Math.max(1, counter.count) };
      }
      if (counter.count >= attemptsMax) return { isExhausted: true, attempt: counter.count };
      counter.count += 1;
      if (event !== undefined) counter.events.add(event);
      counter.untilMs = nowMs + LIFETIME_MS;
      users.set(user, counters, counter.untilMs);
      return { isExhausted: false, attempt: counter.count };
    },
    clear(identity, application) {
      // Nearly always nobody has been asked anything, and then an allow pays for no hash.
      if (users.size > 0) users.delete(userOf(identity, application));
    },
  };
}

interface Counter {
  count: number;
  readonly events: Set<string>;
  untilMs: number;
}

const LIFETIME_MS = 600_000;

/** One authentication of a user: issuer, subject, session and the time he authenticated, else the time the token was
 *  issued; with neither time, the token's id. Undefined: the identity has no such event (trusted headers). */
function eventOf(identity: Identity, hash: (...parts: readonly string[]) => string): string | undefined {
  if (identity.source === 'headers') return undefined;
  const { issuer = '', subject = '', session = '', tokenId } = identity;
  const time = identity.authTime ?? identity.issuedAt;
  if (time !== undefined) return hash('event', issuer, subject, session, String(time));
  return tokenId === undefined ? undefined : hash('event', issuer, subject, 'jti', tokenId);
}
