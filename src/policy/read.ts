import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import type { Fault } from '../model/fault.ts';
import { createPause } from '../shared/pause.ts';
import type { ObjectKind, PolicySet } from './objects.ts';
import { noObjects, shapeFile } from './shape.ts';
import type { Objects, ShapedFile } from './shape.ts';
import { decodeFile, parseText } from './yaml.ts';

export { parseYaml } from './yaml.ts';

/** A policy file as it was read. */
export interface PolicyFile {
  readonly bytes: Uint8Array;
  /** Equal where the bytes are. */
  readonly hash: string;
}

/** All files together, shaped and not yet linked. */
export interface ShapedSet {
  readonly set: PolicySet;
  /** Unsorted. */
  readonly faults: readonly Fault[];
  /** Some file cannot be read, so that what it defines is not known: references to nothing may be right. */
  readonly isIncomplete: boolean;
}

export interface PolicyReader {
  /** Parses and shapes the policy files, by name relative to the config folder (`policies/orders.yaml`); names that
   *  are no policy files are left out. A file that is unchanged since the last call is not parsed again, and its
   *  objects are the same ones. The event loop keeps its turn. One call at a time. */
  read(files: ReadonlyMap<string, PolicyFile>): Promise<ShapedSet>;
  /** How many files have been parsed so far. */
  readonly parsed: number;
}

/** Whether a name is that of a policy file: `.yaml`, `.yml` or `.json`, and no part of it begins with a dot. */
export function isPolicyFile(name: string): boolean {
  return POLICY_EXTENSIONS.has(extname(name).toLowerCase()) && !name.split('/').some((part) => part.startsWith('.'));
}

/** `workerBytes`: files of at least so many bytes are parsed and shaped in a thread of their own. */
export function createPolicyReader(options: { readonly workerBytes?: number } = {}): PolicyReader {
  const { workerBytes = WORKER_BYTES } = options;
  const thread = createShapingThread();
  let known = new Map<string, Known>();
  let parsed = 0;
  return {
    get parsed() {
      return parsed;
    },
    async read(files) {
      const names = [...files.keys()].filter(isPolicyFile).toSorted();
      const next = new Map<string, Known>();
      const pause = createPause();
      try {
        for (const name of names) {
          const file = files.get(name);
          if (!file) continue;
          const before = known.get(name);
          if (before && before.hash === file.hash) {
            next.set(name, before);
            continue;
          }
          const inThread = file.bytes.length >= workerBytes && thread.canRun;
          const shaped = inThread ? await thread.shape(name, file.bytes) : await shapeHere(name, file.bytes, pause);
          parsed += 1;
          next.set(name, { hash: file.hash, shaped });
          await pause();
        }
      } finally {
        thread.rest();
      }
      known = next;
      return joined([...next.values()].map(({ shaped }) => shaped));
    },
  };
}

/** The bytes of one file as shaped objects; in slices. */
export function* shapeBytes(name: string, bytes: Uint8Array): Generator<void, ShapedFile> {
  const decoded = decodeFile(bytes, name);
  if ('fault' in decoded) return { objects: noObjects(), faults: [decoded.fault], isUnreadable: true };
  const { data, faults } = parseText(decoded.text, name);
  if (data === undefined) return { objects: noObjects(), faults, isUnreadable: faults.length > 0 };
  const shaped = yield* shapeFile(data, name);
  return { ...shaped, faults: [...faults, ...shaped.faults] };
}

/** What the thread is sent: a file, or that the last piece has arrived and the next may come. */
export type ToThread = { readonly name: string; readonly bytes: Uint8Array } | 'next';

/** What the thread sends: pieces of its result, each small enough to be taken over between two requests. An object
 *  with long lists comes alone or last, with these empty; their items follow as `items` for the list at `path`. */
export type FromThread =
  | { readonly kind: ObjectKind; readonly objects: readonly unknown[] }
  | { readonly path: readonly (string | number)[]; readonly items: readonly unknown[] }
  | { readonly faults: readonly Fault[] }
  | { readonly isUnreadable: boolean };

const POLICY_EXTENSIONS = new Set(['.yaml', '.yml', '.json']);

/** Parsing YAML takes 1.1 µs per byte: 32 KB hold up the loop for 35 ms, about what starting a thread costs in all. */
const WORKER_BYTES = 32 * 1024;

interface Known {
  readonly hash: string;
  readonly shaped: ShapedFile;
}

async function shapeHere(name: string, bytes: Uint8Array, pause: () => Promise<void>): Promise<ShapedFile> {
  const steps = shapeBytes(name, bytes);
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
    await pause();
  }
}

/** Who edits a file often edits another one soon; starting the thread takes several times as long as reading a small
 *  file does. */
const THREAD_RESTS_MS = 60_000;

interface ShapingThread {
  readonly canRun: boolean;
  shape(name: string, bytes: Uint8Array): Promise<ShapedFile>;
  /** It ends by itself, unless it is needed again soon. Meanwhile it keeps no process from ending. */
  rest(): void;
}

/** A thread that is started when first needed. From TypeScript sources it can run only where Node strips types. */
function createShapingThread(): ShapingThread {
  const extension = extname(import.meta.url);
  let worker: Worker | undefined;
  let ending: NodeJS.Timeout | undefined;
  return {
    canRun:
      (extension === '.js' || (process.features as { readonly typescript?: unknown }).typescript === 'strip') &&
      mayStartThreads(),
    async shape(name, bytes) {
      clearTimeout(ending);
      worker ??= new Worker(new URL(`./read-worker${extension}`, import.meta.url));
      worker.ref();
      try {
        return await received(worker, { name, bytes });
      } catch (error) {
        // Whatever became of it, the next file gets a new one.
        await worker.terminate();
        worker = undefined;
        throw error;
      } finally {
        worker?.unref();
      }
    },
    rest() {
      clearTimeout(ending);
      if (!worker) return;
      const resting = worker;
      ending = setTimeout(() => {
        worker = undefined;
        void resting.terminate();
      }, THREAD_RESTS_MS).unref();
    },
  };
}

/** False under Node's permission model where `--allow-worker` is not given: what is large is then read in slices here. */
function mayStartThreads(): boolean {
  const { permission } = process as { readonly permission?: { has(scope: string): boolean } };
  return permission?.has('worker') !== false;
}

function received(worker: Worker, file: ToThread): Promise<ShapedFile> {
  return new Promise((resolve, reject) => {
    const objects = noObjects();
    const faults: Fault[] = [];
    let last: unknown;
    const onMessage = (piece: FromThread): void => {
      if ('kind' in piece) {
        last = piece.objects.at(-1);
        for (const object of piece.objects) addObject(objects, piece.kind, object);
      } else if ('items' in piece) {
        listAt(last, piece.path).push(...piece.items);
      } else if ('faults' in piece) {
        faults.push(...piece.faults);
      } else {
        settle(() => {
          resolve({ objects, faults, isUnreadable: piece.isUnreadable });
        });
        return;
      }
      // The next piece comes only after the loop has had its turn.
      setImmediate(() => {
        worker.postMessage('next' satisfies ToThread, []);
      });
    };
    const onError = (error: unknown): void => {
      settle(() => {
        reject(error instanceof Error ? error : new Error(String(error)));
      });
    };
    const onExit = (code: number): void => {
      onError(new Error(`the thread that reads policies ended with code ${code}`));
    };
    const settle = (then: () => void): void => {
      worker.off('message', onMessage).off('error', onError).off('exit', onExit);
      then();
    };
    worker.on('message', onMessage).on('error', onError).on('exit', onExit);
    worker.postMessage(file, []);
  });
}

function addObject<K extends ObjectKind>(objects: Objects, kind: K, object: unknown): void {
  objects[kind].push(object as PolicySet[K][number]);
}

function listAt(object: unknown, path: readonly (string | number)[]): unknown[] {
  let found = object;
  for (const step of path) found = (found as Record<string | number, unknown>)[step];
  return found as unknown[];
}

function joined(files: readonly ShapedFile[]): ShapedSet {
  const set = noObjects();
  for (const { objects } of files) for (const kind of Object.keys(set) as ObjectKind[]) append(set, objects, kind);
  return {
    set,
    faults: files.flatMap((file) => file.faults),
    isIncomplete: files.some((file) => file.isUnreadable),
  };
}

function append<K extends ObjectKind>(set: Objects, objects: Objects, kind: K): void {
  for (const object of objects[kind]) set[kind].push(object);
}
