/** Prometheus' own promtool, for tests. Debian: `apt-get install prometheus`. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** What it said, and whether it was content.
 *  @throws where there is no promtool, with how to get it. */
export async function promtool(...args: readonly string[]): Promise<{ readonly ok: boolean; readonly text: string }> {
  try {
    const { stdout, stderr } = await run('promtool', [...args], { maxBuffer: 16 * 1024 * 1024 });
    return { ok: true, text: stdout + stderr };
  } catch (error) {
    const { code, stdout, stderr } = error as { code?: unknown; stdout?: string; stderr?: string };
    if (code === 'ENOENT') throw new Error('no promtool: node test/real-parts.mjs prometheus', { cause: error });
    return { ok: false, text: `${stdout ?? ''}${stderr ?? ''}` };
  }
}
