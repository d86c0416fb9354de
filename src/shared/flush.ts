import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';

/** Writes out what the system still holds of a file or folder. Under Node's permission model some releases forbid that
 *  to everybody (Node 24): what was written is then there, and may only be lost with the power. */
export async function flush(handle: FileHandle): Promise<void> {
  try {
    await handle.sync();
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ERR_ACCESS_DENIED')) throw error;
  }
}

/** The same of the names in a folder. */
export async function flushFolder(path: string): Promise<void> {
  const handle = await open(path, constants.O_RDONLY);
  try {
    await flush(handle);
  } finally {
    await handle.close();
  }
}
