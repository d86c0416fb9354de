/** Files that the admin APIs write: whole, or not at all. */
import { createHash, randomUUID } from 'node:crypto';
import { mkdir, open, readFile, readdir, rename, rmdir, stat, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { flush, flushFolder } from '../shared/flush.ts';

export interface FileWrite {
  /** Absolute. */
  readonly path: string;
  /** Undefined: the file is removed. */
  readonly bytes: Uint8Array | undefined;
  /** SHA-256 of what is there now, hex; undefined: nothing. */
  readonly before: string | undefined;
  /** Called the moment the folder holds the new file, in the same turn of the event loop. */
  readonly written: () => void;
}

/** Writes a file so that whoever reads the folder, now or after a crash at any moment, finds the old file or the new
 *  one: a dot file beside it is written and flushed, and then renamed; the folder is flushed last. Readers pass over
 *  dot files.
 *
 *  False: the folder holds another file than `before`, which is left as it is. Throws the system's error where the
 *  file could not be written; nothing is left behind then. After the rename nothing is thrown: what the flush of the
 *  folder failed with is handed to `unflushed`. */
export async function writeManagedFile(write: FileWrite, unflushed: (error: unknown) => void): Promise<boolean> {
  const { path, bytes, before, written } = write;
  const folder = dirname(path);
  const made: string[] = [];
  const temporary = join(folder, `.${basename(path)}.${randomUUID()}${TEMPORARY}`);
  try {
    if (bytes) {
      await makeFolders(folder, made);
      await writeFlushed(temporary, bytes);
    }
    const isAsExpected = (await hashOf(path)) === before;
    if (isAsExpected) await (bytes ? rename(temporary, path) : unlink(path));
    else await leaveNothing(temporary, made);
    if (!isAsExpected) return false;
  } catch (error) {
    await leaveNothing(temporary, made);
    throw error;
  }
  written();
  try {
    for (const one of [folder, ...made.map((below) => dirname(below))]) await flushFolder(one);
  } catch (error) {
    unflushed(error);
  }
  return true;
}

/** Removes what a process that was killed while it wrote has left in a folder. Another process may be writing there
 *  now, so that only what is older than a minute goes. Whatever fails is left. */
export async function removeLeftovers(folder: string, nowMs: number): Promise<void> {
  const names = await readdir(folder).catch(() => []);
  for (const name of names) {
    if (!name.startsWith('.') || !name.endsWith(TEMPORARY)) continue;
    const path = join(folder, name);
    const found = await stat(path).catch(() => undefined);
    if (found && nowMs - found.mtimeMs > LEFT_MS) await unlink(path).catch(() => undefined);
  }
}

const TEMPORARY = '.new';
const LEFT_MS = 60_000;

/** Makes a folder and those above it; `made` tells which, the topmost first, also where it fails half-way. */
async function makeFolders(folder: string, made: string[]): Promise<void> {
  if (await isThere(folder)) return;
  if (dirname(folder) !== folder) await makeFolders(dirname(folder), made);
  try {
    await mkdir(folder);
    made.push(folder);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
  }
}

async function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

async function writeFlushed(path: string, bytes: Uint8Array): Promise<void> {
  const handle = await open(path, 'wx');
  try {
    await handle.writeFile(bytes);
    await flush(handle);
  } finally {
    await handle.close();
  }
}

async function hashOf(path: string): Promise<string | undefined> {
  try {
    return createHash('sha256')
      .update(await readFile(path))
      .digest('hex');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}

async function leaveNothing(temporary: string, made: readonly string[]): Promise<void> {
  await unlink(temporary).catch(() => undefined);
  // One that somebody has put something into meanwhile stays.
  for (const folder of made.toReversed()) await rmdir(folder).catch(() => undefined);
}
