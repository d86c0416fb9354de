/** The one writer of objects that the admin APIs keep. Each is alone in a file of its own id below the policy folder,
 *  `managed/<list>/<id>.json`, and so part of the policy set like any other file: it is read back, validated and
 *  compiled by the same loader, survives restarts, and can be copied, reviewed and removed by hand. */
import { resolve } from 'node:path';
import type { Fault, Place, Position } from '../model/fault.ts';
import type { ProviderObject } from '../model/objects.ts';
import type { LocatedFault } from '../policy/fault-text.ts';
import type { ObjectKind, PolicySet } from '../policy/objects.ts';
import { NOUNS, ownerOf } from '../policy/owners.ts';
import { FILE_KEYS } from '../policy/shape.ts';
import type { FileKey } from '../policy/shape.ts';
import { normalName } from '../files.ts';
import type { FileChange } from '../files.ts';
import type { Logger } from '../log.ts';
import type { Turns } from '../shared/turns.ts';
import { pointedFault } from './managed-faults.ts';
import type { ManagedChange, PointedFault } from './managed-faults.ts';
import { removeLeftovers, writeManagedFile } from './managed-files.ts';
import type { AdminCaller } from './server.ts';

/** What runs, as far as the admin APIs read it. */
export interface AdminRevision {
  readonly id: string;
  readonly set: PolicySet;
  readonly settings: {
    /** The folder of policy files, relative to the config folder or absolute. */
    readonly policies: string;
    readonly admin: { readonly accounts: readonly string[] };
    readonly identity: { readonly providers: readonly ProviderObject[] };
  };
  locate(place: Place): Position;
}

/** What a write comes to, seen what runs when its turn has come. */
export type Plan<T> =
  /** Nothing is to be written. */
  | { readonly answer: T }
  /** The answer is made of the revision that holds the change. */
  | { readonly change: ManagedChange; readonly done: (revision: AdminRevision) => T };

export type WriteRefusal =
  /** The change is at fault; at least one. */
  | { readonly kind: 'faults'; readonly faults: readonly PointedFault[] }
  /** The object is named elsewhere; one text for each use, with file and line. */
  | { readonly kind: 'in_use'; readonly users: readonly string[] }
  /** The folder does not load as it is, whatever is changed. */
  | { readonly kind: 'folder'; readonly first: LocatedFault }
  /** `EROFS`, `EACCES` or `EPERM`. */
  | { readonly kind: 'read_only'; readonly code: string }
  /** The system's code: `ENOSPC` and whatever else is nobody's mistake. */
  | { readonly kind: 'disk'; readonly code: string };

export type Written<T> = { readonly answer: T } | { readonly refused: WriteRefusal };

export interface Managed {
  current(): AdminRevision;
  /** One write. Writes run one at a time. The whole set is compiled with the change in it; faults leave the disk as it
   *  is. What was compiled is live the moment the file is in its place, before this settles. `plan` may be called more
   *  than once: where the folder has changed meanwhile, it is asked again with what runs then. */
  write<T>(caller: AdminCaller, plan: (revision: AdminRevision) => Plan<T>): Promise<Written<T>>;
}

export interface ManagedOptions {
  /** The config folder. */
  readonly folder: string;
  /** Shared with the reload of changed files. */
  readonly turns: Turns;
  readonly current: () => AdminRevision;
  /** Loads the folder as it is and makes it live; the faults where it cannot be. */
  readonly reload: () => Promise<readonly LocatedFault[]>;
  /** Compiles the set with a file changed, aside. */
  readonly prepare: (change: FileChange) => Promise<Prepared>;
  readonly logger: Pick<Logger, 'info' | 'warn' | 'error'>;
}

/** A set with its change, not live yet. */
export interface Prepared {
  /** With a fault the set cannot be used. */
  readonly faults: readonly LocatedFault[];
  /** The folder without the change, at the same instant. */
  readonly unchanged: { readonly revision: string; readonly hash: string | undefined };
  /** Makes it live, at once. */
  use(): void;
}

export function createManaged(options: ManagedOptions): Managed {
  const { folder, turns, current, reload, prepare, logger } = options;
  const tidied = new Set<string>();

  async function change(wanted: ManagedChange, caller: AdminCaller): Promise<WriteRefusal | 'again' | 'written'> {
    const before = current();
    const name = managedFile(before, wanted.key, wanted.id);
    const bytes = wanted.object && new TextEncoder().encode(fileText(wanted.key, wanted.object));
    const prepared = await prepare({ name, bytes });
    if (prepared.unchanged.revision !== before.id) {
      const first = (await reload()).find(({ fault }) => fault.severity === 'fault');
      return first ? { kind: 'folder', first } : 'again';
    }
    const faults = prepared.faults.filter(({ fault }) => fault.severity === 'fault');
    if (faults.length > 0) return refusal(wanted, name, faults, before);
    const path = resolve(folder, name);
    await tidy(resolve(path, '..'));
    try {
      const isWritten = await writeManagedFile(
        { path, bytes, before: prepared.unchanged.hash, written: () => prepared.use() },
        (error) => logger.warn('a written object may be lost if the power fails now', { file: name, error }),
      );
      if (!isWritten) return 'again';
    } catch (error) {
      const code = codeOf(error);
      logger.error('an object could not be written', { file: name, code });
      return READ_ONLY.has(code) ? { kind: 'read_only', code } : { kind: 'disk', code };
    }
    logger.info(wanted.object ? 'an object was written' : 'an object was removed', {
      token_name: caller.name,
      actor: caller.actor,
      kind: NOUNS[FILE_KEYS[wanted.key].kind],
      id: wanted.id,
      name: objectName(wanted, before),
      revision: current().id,
    });
    return 'written';
  }

  async function tidy(path: string): Promise<void> {
    if (tidied.has(path)) return;
    tidied.add(path);
    await removeLeftovers(path, Date.now());
  }

  return {
    current,
    write: (caller, plan) =>
      turns.take(async () => {
        for (let attempt = 1; ; attempt += 1) {
          const before = current();
          const planned = plan(before);
          if ('answer' in planned) {
            // What is not there may just have been put there by hand.
            if (attempt === 1) await reload();
            if (current().id !== before.id) continue;
            return planned;
          }
          const done = await change(planned.change, caller);
          if (done === 'written') return { answer: planned.done(current()) };
          if (done !== 'again') return { refused: done };
          if (attempt >= ATTEMPTS_MAX) throw new Error(`the policy folder changed ${attempt} times during one write`);
        }
      }),
  };
}

/** Whether an object is alone in the file of its own id: only such a one may be changed here. */
export function isManaged(
  revision: AdminRevision,
  key: FileKey,
  object: { readonly id: string; readonly place: Place },
): boolean {
  return (
    object.place.file === managedFile(revision, key, object.id) && objectsIn(revision.set, object.place.file) === 1
  );
}

const ATTEMPTS_MAX = 5;
const READ_ONLY: ReadonlySet<string> = new Set(['EROFS', 'EACCES', 'EPERM']);

/** As the loader names it: `policies/managed/groups/<id>.json`. */
function managedFile({ settings }: AdminRevision, key: FileKey, id: string): string {
  return `${normalName(settings.policies)}/managed/${key}/${id}.json`;
}

function fileText(key: FileKey, object: Readonly<Record<string, unknown>>): string {
  return `${JSON.stringify({ [key]: [object] }, undefined, 2)}\n`;
}

const COUNTS = new WeakMap<PolicySet, ReadonlyMap<string, number>>();

function objectsIn(set: PolicySet, file: string): number {
  let counts = COUNTS.get(set);
  if (!counts) {
    const next = new Map<string, number>();
    for (const kind of Object.keys(NOUNS) as ObjectKind[])
      for (const { place } of set[kind]) next.set(place.file, (next.get(place.file) ?? 0) + 1);
    counts = next;
    COUNTS.set(set, counts);
  }
  return counts.get(file) ?? 0;
}

/** The folder loads without the change, so every fault is the change's: in its own file, or where it is named. */
function refusal(
  wanted: ManagedChange,
  name: string,
  faults: readonly LocatedFault[],
  before: AdminRevision,
): WriteRefusal {
  if (wanted.object)
    return { kind: 'faults', faults: faults.map((one) => pointedFault(one, wanted, name, before.set)) };
  return { kind: 'in_use', users: [...new Set(faults.map((one) => userText(one, before.set)))] };
}

function userText({ fault, position }: LocatedFault, set: PolicySet): string {
  const place = placeText(fault, position);
  const owner = ownerOf(set, fault.place);
  return owner === undefined ? place : `${owner} (${place})`;
}

function placeText({ place }: Fault, { line, column }: Position): string {
  return `${place.file}:${line}:${column}`;
}

function objectName({ key, id, object }: ManagedChange, before: AdminRevision): unknown {
  if (object) return object['name'];
  const known = before.set[FILE_KEYS[key].kind].find((one) => 'id' in one && one.id === id);
  return known && 'name' in known ? known.name : undefined;
}

function codeOf(error: unknown): string {
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') return error.code;
  throw error;
}
