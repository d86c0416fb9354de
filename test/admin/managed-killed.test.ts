/** A writer killed at any moment of a write leaves a folder that loads and holds the old object or the new one. */
import { spawn } from 'node:child_process';
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, it } from 'vitest';
import { removeLeftovers } from '../../src/admin/managed-files.ts';
import { createKeySets } from '../../src/facts/key-set.ts';
import { createLoader } from '../../src/revision.ts';

const WRITER = fileURLToPath(new URL('managed-writer.mjs', import.meta.url));
const ID = '8f1c0000-0000-4000-8000-0000000000aa';
const KILLS = 200;
const folder = mkdtempSync(join(tmpdir(), 'postern-killed-'));
const groups = join(folder, 'policies/managed/groups');

afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Writer {
  /** Lets it write from a state on, kills it after so many milliseconds, and tells the last states begun and ended. */
  kill(first: number, afterMs: number): Promise<{ readonly began: number; readonly ended: number }>;
}

/** Started ahead of its turn, since starting takes longer than everything else. */
function startWriter(): Writer {
  const child: ChildProcessWithoutNullStreams = spawn(process.execPath, [WRITER, join(groups, `${ID}.json`), ID]);
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (text += chunk.toString()));
  const closed = once(child, 'close');
  const said = async (word: string): Promise<void> => {
    while (!text.includes(word)) {
      if (child.exitCode !== null) throw new Error(text);
      await Promise.race([once(child.stdout, 'data'), closed]);
    }
  };
  return {
    async kill(first, afterMs) {
      await said('ready');
      child.stdin.write(`${first}\n`);
      await said('begin');
      await sleep(afterMs);
      child.kill('SIGKILL');
      await closed;
      const last = (word: string): number =>
        Number([...text.matchAll(new RegExp(`^${word} (\\d+)$`, 'gm'))].at(-1)?.[1] ?? first - 1);
      return { began: last('begin'), ended: last('end') };
    },
  };
}

it(`the folder always loads and holds the old or the new object, ${KILLS} times`, async () => {
  mkdirSync(groups, { recursive: true });
  writeFileSync(join(folder, 'policies/base.yaml'), 'groups: []\n');
  const loader = createLoader({ folder, overrides: [], keySets: createKeySets({}), makesKeys: false });
  let state = 4;
  let within = 0;
  let next = startWriter();
  for (let kill = 0; kill < KILLS; kill += 1) {
    const writer = next;
    if (kill + 1 < KILLS) next = startWriter();
    const { began, ended } = await writer.kill(state + 1, (kill * 7) % 11);
    const { revision, faults } = await loader.load();
    expect(faults.filter(({ fault }) => fault.severity === 'fault')).toEqual([]);
    const group = revision?.set.groups.find(({ id }) => id === ID);
    const possible = [ended, began].filter((one) => group?.name === (one % 5 === 4 ? undefined : `generation ${one}`));
    expect(possible, `after ${began} began and ${ended} ended, found ${group?.name}`).not.toEqual([]);
    state = possible[0] ?? state;
    // The whole object, not a mixture of two.
    if (group) expect(group.written['include']).toEqual([{ ip: { ip: `10.0.${(state >> 8) & 255}.${state & 255}` } }]);
    if (began !== ended) within += 1;
  }
  // Otherwise hardly a kill fell into a write, and nothing has been shown.
  expect(within).toBeGreaterThan(KILLS / 10);
  // What the killed ones left is passed over, and removed once nobody can be writing it any more.
  const left = readdirSync(groups).filter((name) => name.startsWith('.'));
  expect(left).not.toEqual([]);
  const nowMs = Date.now();
  for (const name of left) utimesSync(join(groups, name), new Date(nowMs), new Date(nowMs));
  await removeLeftovers(groups, nowMs);
  expect(readdirSync(groups).filter((name) => name.startsWith('.'))).toEqual(left);
  await removeLeftovers(groups, nowMs + 61_000);
  expect(readdirSync(groups).filter((name) => name.startsWith('.'))).toEqual([]);
}, 300_000);
