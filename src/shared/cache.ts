/** Bounded caches. The only place that knows lru-cache. Time is passed in, so that a cache and the decision that
 *  uses it agree on what has expired. */
import { LRUCache } from 'lru-cache';

export interface Cache<Key extends {}, Value extends {}> {
  /** undefined: not there, or no longer valid at `nowMs`. Counted as a hit or a miss. */
  get(key: Key, nowMs: number): Value | undefined;
  /** Valid while the time is before `untilMs`; `Infinity`: until it is crowded out. `weight` counts where there is a
   *  `weightMax`; an entry that alone weighs more is not kept. */
  set(key: Key, value: Value, untilMs: number, weight?: number): void;
  delete(key: Key): void;
  clear(): void;
  readonly size: number;
}

/** What has expired leaves from the rarely used end, so many for each entry that comes: a cache is as large as what is
 *  valid in it, and not as large as it was allowed to become. */
const EXPIRED_LEAVE = 2;

export interface CacheOptions {
  /** The least recently used entry goes first. */
  readonly entriesMax: number;
  /** Of all entries together, in whatever unit they are weighed in; undefined: they are not. */
  readonly weightMax?: number | undefined;
  /** Called for every `get`. */
  readonly onRequest?: ((result: CacheResult) => void) | undefined;
}

export type CacheResult = 'hit' | 'miss';

/** A cache of at most `entriesMax` entries, and of `weightMax` where others choose how large an entry is. */
export function createCache<Key extends {}, Value extends {}>(options: CacheOptions): Cache<Key, Value> {
  const { onRequest, weightMax } = options;
  const entries = new LRUCache<Key, { readonly value: Value; readonly untilMs: number }>({
    max: options.entriesMax,
    ...(weightMax !== undefined && { maxSize: weightMax }),
  });
  let latestMs = -Infinity;
  const dropExpired = () => {
    for (let dropped = 0; dropped < EXPIRED_LEAVE; dropped += 1) {
      const oldest = entries.rkeys().next();
      if (oldest.done) return;
      const untilMs = entries.peek(oldest.value)?.untilMs;
      if (untilMs === undefined || latestMs < untilMs) return;
      entries.delete(oldest.value);
    }
  };
  return {
    get(key, nowMs) {
      latestMs = nowMs;
      const entry = entries.get(key);
      if (entry !== undefined && nowMs < entry.untilMs) {
        onRequest?.('hit');
        return entry.value;
      }
      if (entry !== undefined) entries.delete(key);
      onRequest?.('miss');
      return undefined;
    },
    set(key, value, untilMs, weight = 1) {
      dropExpired();
      entries.set(key, { value, untilMs }, weightMax === undefined ? undefined : { size: Math.max(1, weight) });
    },
    delete(key) {
      entries.delete(key);
    },
    clear() {
      entries.clear();
    },
    get size() {
      return entries.size;
    },
  };
}
