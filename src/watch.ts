/** Tells when something below some folders has changed. The only place that knows chokidar. */
import { lstat, readlink, realpath, stat } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';
import { watch } from 'chokidar';
import type { FSWatcher } from 'chokidar';
import { treeSignature } from './files.ts';
import type { WatchedFolder } from './files.ts';

export interface WatchOptions {
  /** Absolute or relative to the working directory; one that does not exist is watched as soon as it does. */
  readonly paths: readonly WatchedFolder[];
  /** Called once when the watch has begun, so that nothing written before is missed, and then after every burst of
   *  changes; never again before it has finished. Often nothing that matters has changed. Must not reject. */
  readonly onChange: () => void | Promise<void>;
  /** The system's watches failed (most often: too few inotify watches). The folders are then compared twice a second
   *  instead. Called at most once. */
  readonly onError: (error: Error) => void;
  /** A burst is over when nothing has happened for so long. */
  readonly quietMs?: number;
  /** While a burst goes on, `onChange` is called as often as this. */
  readonly longestMs?: number;
  /** How often all names, sizes and times are compared, in case the system told nothing. */
  readonly sweepMs?: number;
}

export interface FolderWatch {
  /** Settles when changes are told. */
  readonly ready: Promise<void>;
  /** Watches these folders from now on; those that were watched before go on without a gap. */
  setPaths(paths: readonly WatchedFolder[]): void;
  /** No call of `onChange` begins after this. Settles when one that is under way has ended. */
  stop(): Promise<void>;
}

/** Watches folders. Links are watched themselves, not what they lead to: so the swap of a Kubernetes volume's `..data`
 *  is told at once and not when the old version is removed. A folder that is replaced, or removed and made again, is
 *  found again within a quarter of a second. Names that begin with one dot are passed over. */
export function watchFolder(options: WatchOptions): FolderWatch {
  return new Watch(options);
}

const QUIET_MS = 100;
const LONGEST_MS = 2000;
const SWEEP_MS = 30_000;
const SWEEP_WITHOUT_EVENTS_MS = 500;

/** A folder itself is looked at this often: its watch dies with it, and another folder of its name has none. */
const LOOK_MS = 250;

const READY_MAX_MS = 5000;

class Watch implements FolderWatch {
  readonly ready: Promise<void>;
  readonly #onChange: () => void | Promise<void>;
  readonly #onError: (error: Error) => void;
  readonly #quietMs: number;
  readonly #longestMs: number;
  readonly #sweepMs: number;
  readonly #roots = new Map<string, Root>();
  #timer: NodeJS.Timeout | undefined;
  #looks: NodeJS.Timeout | undefined;
  #sweeps: NodeJS.Timeout | undefined;
  /** When the burst under way began; undefined: there is none. */
  #burstBegan: number | undefined;
  #running: Promise<void> | undefined;
  #isStopped = false;
  #hasFailed = false;

  constructor(options: WatchOptions) {
    this.#onChange = options.onChange;
    this.#onError = options.onError;
    this.#quietMs = options.quietMs ?? QUIET_MS;
    this.#longestMs = options.longestMs ?? LONGEST_MS;
    this.#sweepMs = options.sweepMs ?? SWEEP_MS;
    this.setPaths(options.paths);
    this.ready = this.#begin();
  }

  setPaths(paths: readonly WatchedFolder[]): void {
    const wanted = new Map(paths.map((folder) => [`${folder.path}\0${folder.deep}`, folder]));
    for (const [key, root] of this.#roots) {
      if (wanted.has(key)) continue;
      this.#roots.delete(key);
      void root.close();
    }
    for (const [key, folder] of wanted) {
      if (this.#isStopped || this.#roots.has(key)) continue;
      this.#roots.set(
        key,
        new Root(
          folder,
          () => this.#changed(),
          (error) => this.#failed(error),
        ),
      );
    }
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#looks);
    clearTimeout(this.#sweeps);
    await this.#running;
    await Promise.all([...this.#roots.values()].map((root) => root.close()));
  }

  async #begin(): Promise<void> {
    await Promise.all([...this.#roots.values()].map((root) => root.look()));
    await Promise.all([...this.#roots.values()].map((root) => root.sweep()));
    this.#lookAgain();
    this.#sweepAgain();
    this.#fire();
  }

  /** Something happened: wait until it is over. */
  #changed(): void {
    if (this.#isStopped) return;
    const now = performance.now();
    this.#burstBegan ??= now;
    clearTimeout(this.#timer);
    const left = this.#burstBegan + this.#longestMs - now;
    this.#timer = setTimeout(() => this.#fire(), Math.max(0, Math.min(this.#quietMs, left)));
  }

  #fire(): void {
    if (this.#isStopped) return;
    clearTimeout(this.#timer);
    // Told while one is under way: the timer is set when that one has ended.
    if (this.#running) return;
    this.#burstBegan = undefined;
    this.#running = Promise.resolve(this.#onChange()).finally(() => {
      this.#running = undefined;
      if (this.#burstBegan !== undefined) this.#changed();
    });
  }

  #failed(error: Error): void {
    if (this.#hasFailed || this.#isStopped) return;
    this.#hasFailed = true;
    this.#onError(error);
    this.#sweepAgain();
  }

  #lookAgain(): void {
    if (this.#isStopped) return;
    this.#looks = setTimeout(() => {
      void this.#each((root) => root.look()).then(() => this.#lookAgain());
    }, LOOK_MS);
    this.#looks.unref();
  }

  #sweepAgain(): void {
    if (this.#isStopped) return;
    clearTimeout(this.#sweeps);
    this.#sweeps = setTimeout(
      () => {
        void this.#each((root) => root.sweep()).then(() => this.#sweepAgain());
      },
      this.#hasFailed ? SWEEP_WITHOUT_EVENTS_MS : this.#sweepMs,
    );
    this.#sweeps.unref();
  }

  /** Tells once if any of the folders has changed. */
  async #each(hasChanged: (root: Root) => Promise<boolean>): Promise<void> {
    const changes = await Promise.all([...this.#roots.values()].map(hasChanged));
    if (changes.includes(true)) this.#changed();
  }
}

/** One folder with the watch on it, if it is there. */
class Root {
  readonly #folder: WatchedFolder;
  readonly #onEvent: () => void;
  readonly #onError: (error: Error) => void;
  #watcher: FSWatcher | undefined;
  /** The folder that is watched. */
  #identity: string | undefined;
  /** What its own links say. */
  #links: string | undefined;
  #signature: string | undefined;
  #isClosed = false;

  constructor(folder: WatchedFolder, onEvent: () => void, onError: (error: Error) => void) {
    this.#folder = folder;
    this.#onEvent = onEvent;
    this.#onError = onError;
  }

  /** Whether the folder is another one than before, or its links have moved. Settles when it is watched. */
  async look(): Promise<boolean> {
    const { path } = this.#folder;
    const identity = await identityOf(path);
    const links = `${await linkAt(path)}\0${await linkAt(join(path, '..data'))}`;
    const isOther = identity !== this.#identity;
    const hasMoved = links !== this.#links;
    this.#identity = identity;
    this.#links = links;
    if (isOther) await this.#watch();
    return isOther || hasMoved;
  }

  /** Whether anything below is not as it was at the sweep before. */
  async sweep(): Promise<boolean> {
    const before = this.#signature;
    this.#signature = await treeSignature(this.#folder);
    return before !== undefined && before !== this.#signature;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#watcher?.close();
  }

  async #watch(): Promise<void> {
    const old = this.#watcher;
    this.#watcher = undefined;
    await old?.close();
    const real = await realpath(this.#folder.path).catch(() => undefined);
    if (this.#isClosed || real === undefined) return;
    const watcher = watch(real, {
      ignoreInitial: true,
      followSymlinks: false,
      atomic: false,
      ignorePermissionErrors: true,
      ignored: (path) => isHidden(relative(real, path)),
      ...(this.#folder.deep ? {} : { depth: 0 }),
    });
    this.#watcher = watcher;
    await new Promise<void>((resolve) => {
      watcher.once('ready', resolve);
      // A folder that goes away while it is first read may never be ready.
      setTimeout(resolve, READY_MAX_MS).unref();
      watcher.on('all', () => this.#onEvent());
      // What the system says, before chokidar compares times: two edits within one tick of the clock have one time.
      watcher.on('raw', (_, path) => {
        if (typeof path !== 'string' || !isHidden(path)) this.#onEvent();
      });
      watcher.on('error', (error) => {
        this.#onError(error instanceof Error ? error : new Error(String(error)));
        resolve();
      });
    });
  }
}

/** `.git`, `.orders.yaml.swp`; not the `..data` and `..2026_01_31` of volumes. */
function isHidden(path: string): boolean {
  return path.split(sep).some((step) => step.length > 1 && step.startsWith('.') && !step.startsWith('..'));
}

async function identityOf(path: string): Promise<string | undefined> {
  return stat(path, { bigint: true }).then(
    (found) => (found.isDirectory() ? `${found.dev}:${found.ino}` : undefined),
    () => undefined,
  );
}

async function linkAt(path: string): Promise<string> {
  const found = await lstat(path).catch(() => undefined);
  return found?.isSymbolicLink() === true ? readlink(path).catch(() => '') : '';
}
