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
