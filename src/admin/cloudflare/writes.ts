/** What writing has in common for all kinds of objects that Cloudflare's API keeps. */
import { randomUUID } from 'node:crypto';
import type { Place } from '../../model/fault.ts';
import type { PolicySet } from '../../policy/objects.ts';
import { NOUNS } from '../../policy/owners.ts';
import { FILE_KEYS } from '../../policy/shape.ts';
import { canonical } from '../../shared/canonical.ts';
import { isManaged } from '../managed.ts';
import { createRepeats } from '../repeats.ts';
import type { AdminRevision, Managed, Plan, WriteRefusal } from '../managed.ts';
import type { AdminCaller, AdminResponse } from '../server.ts';
import { invalid, notFound, timeText, writeRefused } from './answers.ts';
import { isRefusal } from './call.ts';
import type { AdminRefusal, Call, Data, Endpoint } from './call.ts';
import { byText } from '../../shared/order.ts';

/** Lists of a policy file that this API writes. */
export type ManagedKey = 'groups' | 'service_tokens' | 'lists' | 'policies';

type KindOf<K extends ManagedKey> = (typeof FILE_KEYS)[K]['kind'];
export type ObjectOf<K extends ManagedKey> = PolicySet[KindOf<K>][number];

/** The answer that shows an object. */
export type Shown<K extends ManagedKey> = (object: ObjectOf<K>, revision: AdminRevision) => AdminResponse;

export interface Creation<K extends ManagedKey> {
  readonly key: K;
  /** As sent, by which a repetition is told. */
  readonly sent: Data;
  /** What is written besides id and times. Called once. */
  readonly content: () => Data;
  readonly shown: Shown<K>;
  /** Repetitions are only those that a client says are: objects of this kind may be made alike on purpose. */
  readonly mayBeAlike: boolean;
}

export interface Replacement<K extends ManagedKey> {
  readonly key: K;
  /** In any letter case. */
  readonly id: string;
  /** The object's new content without id and times, or an answer that refuses. May be called more than once: what it
   *  gave last is what is written. */
  readonly content: (object: ObjectOf<K>, revision: AdminRevision) => Data | AdminRefusal;
  /** Where in the body that stands which is at fault in the object; RFC 6901. The same where absent. */
  readonly inBody?: (pointer: string) => string;
  readonly shown: Shown<K>;
}

export interface Removal<K extends ManagedKey> {
  readonly key: K;
  readonly id: string;
  readonly shown: Shown<K>;
}

export interface Writes {
  /** Milliseconds since the epoch. */
  now(): number;
  /** Makes an object with a new id. A client whose connection broke asks again: the same content from the same token
   *  within a minute is answered with the object that was made, while that stands as it was made. */
  create<K extends ManagedKey>(call: Call, creation: Creation<K>): Promise<AdminResponse>;
  /** Puts new content in place of the old; the same content is not written. */
  replace<K extends ManagedKey>(call: Call, replacement: Replacement<K>): Promise<AdminResponse>;
  remove<K extends ManagedKey>(call: Call, removal: Removal<K>): Promise<AdminResponse>;
}

export interface WritesOptions {
  readonly managed: Managed;
  /** Milliseconds since the epoch. */
  readonly now?: (() => number) | undefined;
  readonly newId?: (() => string) | undefined;
}

export function createWrites({ managed, now = Date.now, newId = randomUUID }: WritesOptions): Writes {
  const repeats = createRepeats<AdminResponse>(now);

  async function written(
    caller: AdminCaller,
    key: ManagedKey,
    name: string,
    plan: (revision: AdminRevision) => Plan<AdminResponse>,
    inBody: (pointer: string) => string = (pointer) => pointer,
  ): Promise<AdminResponse> {
    const outcome = await managed.write(caller, plan);
    if ('answer' in outcome) return outcome.answer;
    return writeRefused(managed.current().id, inTermsOf(outcome.refused, inBody), NOUNS[FILE_KEYS[key].kind], name);
  }

  function existing<K extends ManagedKey>(
    revision: AdminRevision,
    key: K,
    id: string,
  ): { readonly object: ObjectOf<K> } | { readonly answer: AdminResponse } {
    const object = objectOf(revision, key, id);
    if (!object) return { answer: notFound(revision.id) };
    if (!isManaged(revision, key, object)) return { answer: definedElsewhere(revision, key, object) };
    return { object };
  }

  return {
    now,
    create(call, { key, sent, content, shown, mayBeAlike }) {
      const { caller, request } = call;
      const isRepeated = !mayBeAlike || Number(request.headers['x-stainless-retry-count'] ?? 0) > 0;
      const asked = [caller.name, key, sent];
      const id = newId().toLowerCase();
      const instant = timeText(now());
      const object = { id, ...content(), created_at: instant, updated_at: instant };
      return written(caller, key, textOf(sent['name']), (revision) => {
        const before = isRepeated ? repeats.find(asked, (made) => objectOf(revision, key, made)?.written) : undefined;
        if (before) return { answer: before.kept };
        return {
          change: { key, id, object },
          done(after) {
            const answer = shown(theObject(after, key, id), after);
            repeats.keep(asked, { id, object, kept: answer });
            return answer;
          },
        };
      });
    },
    replace(call, { key, id, content, shown, inBody }) {
      const plan = (revision: AdminRevision): Plan<AdminResponse> => {
        const found = existing(revision, key, id);
        if ('answer' in found) return found;
        const { object } = found;
        const next = content(object, revision);
        if (isRefusal(next)) return { answer: next.response };
        const { id: _, created_at: createdAt, updated_at: __, uid: ___, ...old } = object.written;
        if (canonical(old) === canonical(next)) return { answer: shown(object, revision) };
        const times = { ...(createdAt === undefined ? {} : { created_at: createdAt }), updated_at: timeText(now()) };
        return {
          change: { key, id: object.id, object: { id: object.id, ...next, ...times } },
          done: (after) => shown(theObject(after, key, object.id), after),
        };
      };
      return written(call.caller, key, '', plan, inBody);
    },
    remove(call, { key, id, shown }) {
      const name = objectOf(call.revision, key, id)?.name ?? '';
      return written(call.caller, key, name, (revision) => {
        const found = existing(revision, key, id);
        if ('answer' in found) return found;
        const { object } = found;
        return {
          change: { key, id: object.id, object: undefined },
          done: (after) => shown(object, after),
        };
      });
    },
  };
}

/** Makes endpoints that write. */
export function writing(
  writes: Writes,
): (
  method: Endpoint['method'],
  path: string,
  handle: (call: Call, writes: Writes) => Promise<AdminResponse>,
) => Endpoint {
  return (method, path, handle) => ({ method, path, scope: 'write', handle: (call) => handle(call, writes) });
}

/** The object of an id in any letter case; of an id twice, the first. */
export function objectOf<K extends ManagedKey>(revision: AdminRevision, key: K, id: string): ObjectOf<K> | undefined {
  const wanted = id.toLowerCase();
  return objectsOf(revision, key).find((object) => object.id === wanted);
}

/** All objects of a kind: those of hand-written files by file and place, then the managed ones by when they were made,
 *  then by id, so that a change moves no other. */
export function inOrder<K extends ManagedKey>(revision: AdminRevision, key: K): readonly ObjectOf<K>[] {
  const objects = objectsOf(revision, key);
  const isOwn = new Map(objects.map((object) => [object, isManaged(revision, key, object)]));
  const managed = objects
    .filter((object) => isOwn.get(object) === true)
    .map((object) => ({ object, made: textOf(object.written['created_at']) }))
    .toSorted((a, b) => byText(a.made, b.made) || byText(a.object.id, b.object.id));
  return [...objects.filter((object) => isOwn.get(object) === false), ...managed.map(({ object }) => object)];
}

function objectsOf<K extends ManagedKey>({ set }: AdminRevision, key: K): readonly ObjectOf<K>[] {
  return set[FILE_KEYS[key].kind] as readonly ObjectOf<K>[];
}

function theObject<K extends ManagedKey>(revision: AdminRevision, key: K, id: string): ObjectOf<K> {
  const object = objectOf(revision, key, id);
  if (!object) throw new Error(`${key} ${id} was written and is not in revision ${revision.id}`);
  return object;
}

function inTermsOf(refusal: WriteRefusal, inBody: (pointer: string) => string): WriteRefusal {
  if (refusal.kind !== 'faults') return refusal;
  return {
    kind: 'faults',
    faults: refusal.faults.map((one) => ({
      ...one,
      pointer: one.pointer === undefined ? undefined : inBody(one.pointer),
    })),
  };
}

function definedElsewhere(
  revision: AdminRevision,
  key: ManagedKey,
  object: { readonly name: string; readonly place: Place },
): AdminResponse {
  const { line, column } = revision.locate(object.place);
  const noun = NOUNS[FILE_KEYS[key].kind];
  return invalid(
    revision.id,
    'defined_in_file',
    `${noun} ${JSON.stringify(object.name)} is defined in ${object.place.file}:${line}:${column}; change it there`,
  );
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
