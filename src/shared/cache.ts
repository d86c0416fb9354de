/** Bounded caches. The only place that knows lru-cache. Time is passed in, so that a cache and the decision that
 *  uses it agree on what has expired. */
import { LRUCache } from 'lru-cache';

export interface Cache<Key extends {}, Value extends {}> {
  /** undefined: not there, or no longer valid at `nowMs`. Counted as a hit or a miss. */
  get(key: Key, nowMs: number): Value | undefined;
  /** Valid while the time is before `untilMs`; `Infinity`: until it is crowded out. */
  set(key: Key, value: Value, untilMs: number): void;
  delete(key: Key): void;
  clear(): void;
  readonly size: number;
}

export interface CacheOptions {
  /** The least recently used entry goes first. */
  readonly entriesMax: number;
  /** Called for every `get`. */
  readonly onRequest?: ((result: CacheResult) => void) | undefined;
}

export type CacheResult = 'hit' | 'miss';

/** A cache of at most `entriesMax` entries. */
export function createCache<Key extends {}, Value extends {}>(options: CacheOptions): Cache<Key, Value> {
  const entries = new LRUCache<Key, { readonly value: Value; readonly untilMs: number }>({ max: options.entriesMax });
  const { onRequest } = options;
  return {
    get(key, nowMs) {
      const entry = entries.get(key);
      if (entry !== undefined && nowMs < entry.untilMs) {
        onRequest?.('hit');
        return entry.value;
      }
      if (entry !== undefined) entries.delete(key);
      onRequest?.('miss');
      return undefined;
    },
    set(key, value, untilMs) {
      entries.set(key, { value, untilMs });
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
