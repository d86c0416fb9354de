/** Reading and changing a user's record under one or two names, while others may do the same. */
import { following } from '../shared/following.ts';
import type { Hashes } from './keys.ts';
import type { UserRecord } from './record.ts';
import type { StateStore } from './store.ts';

/** A user's record as it was read, with what is needed to write it. */
export interface ReadUser {
  /** Undefined: none. */
  readonly record: UserRecord | undefined;
  /** The version kept under the name that is written; 0: there is none. */
  readonly expected: number;
  /** The name of an older key under which the record was found; undefined: under the first one, or nowhere. */
  readonly oldName: string | undefined;
}

/** `written`, `unchanged` (there was nothing to write), or `conflict` (others were first, each time). */
export type UpdateResult = 'written' | 'unchanged' | 'conflict';

/** Reads a record under the first of its names; where there is none, under the second. Both are asked for at once, so
 *  that rotating keys costs nobody time. Fails as the store does. */
export function readUser(store: StateStore, names: Hashes): ReadUser | Promise<ReadUser> {
  const [first, second] = names;
  const reading = store.read(first);
  if (second === undefined) return following(reading, (record) => readAs(record, undefined));
  const readingOlder = store.read(second);
  // Where the first one has the record, it does not matter what became of the other.
  if (readingOlder instanceof Promise) readingOlder.catch(() => undefined);
  return following(reading, (record): ReadUser | Promise<ReadUser> =>
    record ? readAs(record, undefined) : following(readingOlder, (older) => readAs(older, second)),
  );
}

function readAs(record: UserRecord | undefined, oldName: string | undefined): ReadUser {
  return { record, expected: oldName === undefined ? (record?.version ?? 0) : 0, oldName: record && oldName };
}

/** Writes what `change` makes of a record that was read; where somebody else has written meanwhile, reads it again and
 *  changes that, three times in all. `change` is pure; its `version` does not matter, and undefined means that there is
 *  nothing to write. A record found under an older key is written under the first, and the old one removed. Fails as
 *  the store does. */
export function updateUser(
  store: StateStore,
  names: Hashes,
  read: ReadUser,
  change: (record: UserRecord | undefined) => UserRecord | undefined,
): UpdateResult | Promise<UpdateResult> {
  const [first] = names;
  const attempt = ({ record, expected, oldName }: ReadUser, left: number): UpdateResult | Promise<UpdateResult> => {
    const changed = change(record);
    if (!changed) return 'unchanged';
    return following(store.write(first, { ...changed, version: expected + 1 }, expected), (isWritten) => {
      if (isWritten) {
        return oldName === undefined ? 'written' : removed(store, oldName);
      }
      if (left <= 1) return 'conflict';
      return following(readUser(store, names), (again) => attempt(again, left - 1));
    });
  };
  return attempt(read, WRITES_MAX);
}

const WRITES_MAX = 3;

/** A record left under an older key does no harm: it is no longer read, and its life ends. */
function removed(store: StateStore, oldName: string): UpdateResult | Promise<UpdateResult> {
  try {
    const removing = store.removeRecord(oldName);
    return removing instanceof Promise
      ? removing.then(
          () => 'written',
          () => 'written',
        )
      : 'written';
  } catch {
    return 'written';
  }
}
