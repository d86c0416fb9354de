/** A client whose connection broke cannot know whether its object was made, and asks again. */
import { createHash } from 'node:crypto';
import { canonical } from '../shared/canonical.ts';

/** Objects that were made in the last minute, by what was asked for. Only digests are kept of both. */
export interface Repeats<T> {
  /** What was kept of the same request, where the object that it made stands as it was made.
   *  @param asked Whatever tells requests apart: who asked, and for what.
   *  @param written The object of an id as it is now; undefined: there is none. */
  find(asked: unknown, written: (id: string) => unknown): { readonly id: string; readonly kept: T } | undefined;
  keep(asked: unknown, made: { readonly id: string; readonly object: unknown; readonly kept: T }): void;
}

/** `now`: milliseconds since the epoch. */
export function createRepeats<T>(now: () => number): Repeats<T> {
  const known = new Map<string, Made<T>>();
  const forget = (): void => {
    for (const [old, { untilMs }] of known) if (untilMs <= now() || known.size >= MADE_MAX) known.delete(old);
  };
  return {
    find(asked, written) {
      const made = known.get(digestOf(asked));
      if (!made || made.untilMs <= now()) return undefined;
      const object = written(made.id);
      return object !== undefined && digestOf(object) === made.digest ? made : undefined;
    },
    keep(asked, { id, object, kept }) {
      forget();
      known.set(digestOf(asked), { id, digest: digestOf(object), kept, untilMs: now() + REMEMBERED_MS });
    },
  };
}

interface Made<T> {
  readonly id: string;
  readonly digest: string;
  readonly kept: T;
  readonly untilMs: number;
}

const REMEMBERED_MS = 60_000;
/** Far more than anybody makes in a minute; the oldest goes. */
const MADE_MAX = 1000;

function digestOf(data: unknown): string {
  return createHash('sha256').update(canonical(data)).digest('hex');
}
