/** Pages of docs/ whose commands are run as they stand. */
import { execFile, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

export const ROOT = join(import.meta.dirname, '../..');

/** Throws where one of them is missing. */
export function needPrograms(...programs: readonly string[]): void {
  for (const program of programs) {
    if (spawnSync(program, ['--version']).status !== 0)
      throw new Error(`${program} is missing; get it with: node test/real-parts.mjs ${program}`);
  }
}

/** The `sh` blocks of a page, in order. */
export function shellBlocks(page: string): readonly string[] {
  const text = readFileSync(join(ROOT, 'docs', page), 'utf8');
  return [...text.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, block]) => block ?? '');
}

/** Rejects where a command fails. */
export async function runShell(folder: string, commands: readonly string[]): Promise<void> {
  await promisify(execFile)('bash', ['-c', ['set -euo pipefail', ...commands].join('\n')], { cwd: folder });
}

export interface Ran {
  readonly status: number | null;
  /** What it printed, errors first. */
  readonly text: string;
}

/** The program itself. */
export function postern(...args: readonly string[]): Ran {
  const run = spawnSync(process.execPath, [join(ROOT, 'dist/main.js'), ...args], { encoding: 'utf8' });
  return { status: run.status, text: run.stderr + run.stdout };
}
