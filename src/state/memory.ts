import { createCache } from '../shared/cache.ts';
import { readRecord } from './record.ts';
import { isFieldOf, StateError } from './store.ts';
import type { RiskLevelSet, StateStore } from './store.ts';

/** State in this process: nothing is waited for, nothing outlives it, replicas share nothing. Of records and of counts
 *  at most `usersMax` each are kept, the least recently used go first. Risk levels, which somebody set on purpose, do
 *  not go: where `usersMax` are set, a further one is refused.
 *
 *  A record is kept as its JSON text: one object for the collector to visit instead of some fifty, and what is read is
 *  the reader's own. */
export function createMemoryStore(options: { readonly usersMax: number; readonly nowMs: () => number }): StateStore {
  const { usersMax, nowMs } = options;
  const records = createCache<string, Kept>({ entriesMax: usersMax });
  const counts = createCache<string, Map<string, Counter>>({ entriesMax: usersMax });
  const levels = new Map<string, RiskLevelSet>();
  return {
    read(user) {
      const kept = records.get(user, nowMs());
      return kept && readRecord(kept.json);
    },
    write(user, record, expected) {
      const now = nowMs();
      if ((records.get(user, now)?.version ?? 0) !== expected) return false;
      records.set(user, { version: record.version, json: JSON.stringify(record) }, now + RECORD_LIFETIME_MS);
      return true;
    },
    removeRecord: (user) => records.delete(user),
    countAttempt(user, { field, event, max, lifetimeMs, nowMs: now }) {
      const counters = counts.get(user, now) ?? new Map<string, Counter>();
      let counter = counters.get(field);
      if (!counter || counter.untilMs <= now) counter = { count: 0, events: new Set(), untilMs: 0 };
      if (event !== undefined && counter.events.has(event)) return { isExhausted: false, count: counter.count };
      if (counter.count >= max) return { isExhausted: true, count: counter.count };
      counter.count += 1;
      if (event !== undefined) counter.events.add(event);
      counter.untilMs = now + lifetimeMs;
      // Set anew: the counters stand in the order of their last attempts.
      counters.delete(field);
      counters.set(field, counter);
      if (counters.size > COUNTERS_MAX)
        for (const oldest of counters.keys()) {
          counters.delete(oldest);
          break;
        }
      counts.set(user, counters, counter.untilMs);
      return { isExhausted: false, count: counter.count };
    },
    clearAttempts(user, application) {
      if (counts.size === 0) return;
      const counters = counts.get(user, nowMs());
      if (!counters) return;
      for (const field of counters.keys()) if (isFieldOf(field, application)) counters.delete(field);
      if (counters.size === 0) counts.delete(user);
    },
    readRiskLevel: (user) => levels.get(user),
    writeRiskLevel(user, level) {
      if (level === undefined) levels.delete(user);
      else if (levels.size >= usersMax && !levels.has(user))
        throw new StateError('full', `risk levels of ${usersMax} users are kept, which is state.memory.users_max`);
      else levels.set(user, level);
    },
    erase(users) {
      for (const user of users) {
        records.delete(user);
        counts.delete(user);
        levels.delete(user);
      }
    },
    close: () => Promise.resolve(),
  };
}

/** A record is forgotten this long after it was last written. */
export const RECORD_LIFETIME_MS = 90 * 24 * 3_600_000;

/** Counters of one user: as many applications as he can be sent in circles in at one time. The one counted longest ago
 *  goes. */
export const COUNTERS_MAX = 64;

interface Kept {
  readonly version: number;
  readonly json: string;
}

interface Counter {
  count: number;
  readonly events: Set<string>;
  untilMs: number;
}
