/** The revision in force, and how another one takes its place. */
import type { Prepared } from './admin/managed.ts';
import { logRefused } from './configuration-log.ts';
import type { FileChange, WatchedFolder } from './files.ts';
import type { Logger } from './log.ts';
import type { Metrics } from './metrics.ts';
import type { Loaded, Loader, Revision } from './revision.ts';
import type { Status } from './status.ts';

export interface Live {
  /** Read once by each request. */
  current(): Revision;
  /** Tells everybody of the revision that it began with. */
  begin(): void;
  /** Makes the folder as it is live; its faults where it cannot be. One at a time. Rejects where it cannot be read. */
  reload(): Promise<Loaded['faults']>;
  /** Compiles the folder with one file changed, aside; to be made live by whoever then writes the file. */
  prepare(change: FileChange): Promise<Prepared>;
}

export interface LiveOptions {
  readonly loader: Loader;
  /** With a revision. */
  readonly first: Loaded;
  readonly metrics: Pick<Metrics, 'reloaded'>;
  readonly status: Pick<Status, 'live' | 'refused'>;
  readonly logger: Logger;
  /** Told of what must be watched besides the config folder, of sets with faults, too. */
  readonly onRead: (outside: readonly WatchedFolder[]) => void;
  /** A revision is in force. `before`: the one whose place it took; undefined at the start. */
  readonly onLive: (revision: Revision, found: Loaded['faults'], before: Revision | undefined) => void;
}

export function createLive(options: LiveOptions): Live {
  const { loader, first, metrics, status, logger, onRead, onLive } = options;
  if (!first.revision) throw new Error('expected a revision to begin with, found faults');
  let revision = first.revision;
  /** What was refused last, or could not even be read, where nothing went live since. */
  let refused: Loaded | 'unread' | undefined;

  function goLive(next: Loaded, compiled: Revision): void {
    const before = revision;
    // The one assignment: a request has read the old revision, or reads this one.
    revision = compiled;
    told(next, before);
    logger.info('revision is live', { revision: revision.id, before: before.id });
  }

  function told({ faults }: Loaded, before: Revision | undefined): void {
    onLive(revision, faults, before);
    status.live();
    metrics.reloaded('success', Date.now() / 1000);
  }

  async function loaded(): Promise<Loaded> {
    try {
      return await loader.load();
    } catch (error) {
      refused = 'unread';
      metrics.reloaded('failure', Date.now() / 1000);
      status.refused([], 'failed');
      logger.error(`a changed configuration could not be read; revision ${revision.id} stays in force`, { error });
      throw error;
    }
  }

  return {
    current: () => revision,
    begin: () => told(first, undefined),
    async reload() {
      const next = await loaded();
      // The files are still those that were refused.
      if (next === refused) return next.faults;
      if (next.revision?.id === revision.id) {
        // What was wrong has been taken back: the files say again what runs.
        if (refused) metrics.reloaded('success', Date.now() / 1000);
        status.live();
        refused = undefined;
        return next.faults;
      }
      onRead(next.outside);
      refused = next.revision ? undefined : next;
      if (next.revision) goLive(next, next.revision);
      else {
        metrics.reloaded('failure', Date.now() / 1000);
        status.refused(next.faults, 'refused');
        logRefused(logger, next, revision.id);
      }
      return next.faults;
    },
    async prepare(change) {
      const { loaded: next, unchanged, keep } = await loader.loadWith(change);
      return {
        faults: next.faults,
        unchanged,
        use() {
          if (!next.revision) throw new Error('a set with faults cannot be used');
          keep();
          goLive(next, next.revision);
        },
      };
    },
  };
}
