import { createCache } from '../shared/cache.ts';
import type { CacheResult } from '../shared/cache.ts';

/** Questions to servers of others. Equal ones in flight are asked once; answers are kept as long as they say, failures
 *  for a second, so that a server in trouble is not asked by every request. */
export interface Questions<Answer extends {}> {
  /** The answer, at once where it is known. Never rejects: `failed` makes an answer of what `call` rejects with. The
   *  call goes on even if whoever asked first gives up, and answers the next. */
  ask(key: string, call: () => Promise<Kept<Answer>>): Answer | Promise<Answer>;
}

/** An answer and how long it may be used again: milliseconds since the epoch; a time that has passed: not at all. */
export interface Kept<Answer> {
  readonly answer: Answer;
  readonly untilMs: number;
}

export interface QuestionsOptions<Answer> {
  /** The least recently used answer goes first. */
  readonly answersMax: number;
  readonly failed: (error: unknown) => Answer;
  /** Milliseconds since the epoch. */
  readonly nowMs: () => number;
  readonly onCacheRequest?: ((result: CacheResult) => void) | undefined;
}

/** Starts with no answer at all. */
export function createQuestions<Answer extends {}>(options: QuestionsOptions<Answer>): Questions<Answer> {
  const { failed, nowMs } = options;
  const answers = createCache<string, Answer>({ entriesMax: options.answersMax, onRequest: options.onCacheRequest });
  const inFlight = new Map<string, Promise<Answer>>();
  return {
    ask(key, call) {
      const known = answers.get(key, nowMs());
      if (known !== undefined) return known;
      const underWay = inFlight.get(key);
      if (underWay) return underWay;
      const asking = call()
        .catch((error: unknown): Kept<Answer> => ({ answer: failed(error), untilMs: nowMs() + FAILURE_KEPT_MS }))
        .then(({ answer, untilMs }) => {
          if (untilMs > nowMs()) answers.set(key, answer, untilMs);
          return answer;
        })
        .finally(() => {
          inFlight.delete(key);
        });
      inFlight.set(key, asking);
      return asking;
    },
  };
}

const FAILURE_KEPT_MS = 1_000;
