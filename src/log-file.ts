/** A file of lines that makes room for itself: once it is full it becomes `path.1`, what was `path.1` becomes `path.2`,
 *  and the oldest goes. */
import { open, rename, rm } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

export interface LineFileOptions {
  readonly path: string;
  /** A line that would make the file larger begins the next one; a single longer line has a file of its own. */
  readonly maxBytes: number;
  /** Older files that are kept; 0: none. */
  readonly keep: number;
  /** Bytes that may wait to be written before lines are dropped; 8 MiB where absent. */
  readonly bufferMaxBytes?: number | undefined;
  /** Told once, until writing succeeds again. */
  readonly failed: (error: unknown) => void;
  /** Lines that were taken and then could not be written. */
  readonly lost: (lines: number) => void;
  /** How long it waits before it tries again; 1 s where absent. */
  readonly retryMs?: number | undefined;
}

export interface LineFile {
  /** Never waits and never throws; false where the line was dropped, because too much waits already. */
  write(line: string): boolean;
  /** Writes out what waits, for a second at most. */
  close(): Promise<void>;
}

/** Opens the file for appending, mode 0640 where it is new. Rejects where that cannot be. */
export async function openLineFile(options: LineFileOptions): Promise<LineFile> {
  const handle = await openToAppend(options.path);
  const { size } = await handle.stat();
  return new RotatingFile(options, handle, size);
}

const BUFFER_MAX_BYTES = 8 * 1024 * 1024;
const WRITE_MAX_BYTES = 1024 * 1024;
const CLOSE_MAX_MS = 1_000;
const RETRY_MS = 1_000;
const MODE = 0o640;

class RotatingFile implements LineFile {
  readonly #options: LineFileOptions;
  /** Undefined after a failure, until it could be opened again. */
  #handle: FileHandle | undefined;
  #size: number;
  /** Beyond this size it is another file's turn. */
  #limit: number;
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #writing: Promise<void> | undefined;
  #closed: Promise<void> | undefined;
  #isFailing = false;

  constructor(options: LineFileOptions, handle: FileHandle, size: number) {
    this.#options = options;
    this.#handle = handle;
    this.#size = size;
    this.#limit = options.maxBytes;
  }

  write(line: string): boolean {
    if (this.#closed) return false;
    const bytes = Buffer.from(`${line}\n`);
    if (this.#waitingBytes + bytes.length > (this.#options.bufferMaxBytes ?? BUFFER_MAX_BYTES)) return false;
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
    this.#writing ??= this.#writeOut();
    return true;
  }

  close(): Promise<void> {
    this.#closed ??= this.#finish();
    return this.#closed;
  }

  async #finish(): Promise<void> {
    const stopping = new AbortController();
    const limit = sleep(CLOSE_MAX_MS, undefined, { signal: stopping.signal }).catch(() => undefined);
    await Promise.race([this.#writing, limit]);
    stopping.abort();
    if (this.#waiting.length > 0) this.#options.lost(this.#waiting.length);
    this.#waiting = [];
    await this.#handle?.close().catch(() => undefined);
  }

  async #writeOut(): Promise<void> {
    // One write for all that this turn of the event loop logs.
    await new Promise<void>((resume) => {
      setImmediate(resume);
    });
    while (this.#waiting.length > 0) {
      const lines = this.#take();
      try {
        await this.#append(lines);
        this.#isFailing = false;
      } catch (error) {
        this.#options.lost(lines.length);
        this.#fail(error);
        await this.#handle?.close().catch(() => undefined);
        this.#handle = undefined;
        if (this.#closed) break;
        await sleep(this.#options.retryMs ?? RETRY_MS);
      }
    }
    this.#writing = undefined;
  }

  /** As many lines as the file has room for, and one at least. */
  #take(): readonly Buffer[] {
    let bytes = this.#waiting[0]?.length ?? 0;
    const isFull = this.#size + bytes > this.#limit;
    const room = Math.min(WRITE_MAX_BYTES, isFull ? this.#options.maxBytes : this.#limit - this.#size);
    let count = 1;
    for (; count < this.#waiting.length; count += 1) {
      const more = this.#waiting[count]?.length ?? 0;
      if (bytes + more > room) break;
      bytes += more;
    }
    this.#waitingBytes -= bytes;
    return this.#waiting.splice(0, count);
  }

  async #append(lines: readonly Buffer[]): Promise<void> {
    const bytes = Buffer.concat(lines);
    if (this.#size > 0 && this.#size + bytes.length > this.#limit) await this.#rotate();
    const handle = this.#handle ?? (await this.#reopen());
    try {
      await handle.appendFile(bytes);
      this.#size += bytes.length;
    } catch (error) {
      // Half a line would spoil the one that follows it.
      await handle.truncate(this.#size).catch(() => undefined);
      throw error;
    }
  }

  async #reopen(): Promise<FileHandle> {
    const handle = await openToAppend(this.#options.path);
    this.#handle = handle;
    this.#size = (await handle.stat()).size;
    return handle;
  }

  /** Where the files cannot be moved, the one there is grows on by as much again before it is tried once more: the lines
   *  matter more than the size. */
  async #rotate(): Promise<void> {
    const { path, keep } = this.#options;
    await this.#handle?.close().catch(() => undefined);
    this.#handle = undefined;
    try {
      if (keep === 0) await rm(path, { force: true });
      for (let number = keep; number > 0; number -= 1) {
        const from = number === 1 ? path : `${path}.${number - 1}`;
        await rename(from, `${path}.${number}`).catch(unlessMissing);
      }
    } catch (error) {
      this.#fail(error);
    }
    await this.#reopen();
    this.#limit = this.#size + this.#options.maxBytes;
  }

  #fail(error: unknown): void {
    if (!this.#isFailing) this.#options.failed(error);
    this.#isFailing = true;
  }
}

function openToAppend(path: string): Promise<FileHandle> {
  return open(path, 'a', MODE);
}

function unlessMissing(error: unknown): void {
  if (!(error instanceof Error) || !('code' in error) || error.code !== 'ENOENT') throw error;
}
