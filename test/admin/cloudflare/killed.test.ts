/** The program killed while clients write: what was answered is there when it is started again, and nothing is half. */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { ask, newFolder, removeFolder, serve } from './served.ts';
import type { Served } from './served.ts';

const ROUNDS = 5;

/** Makes and changes groups until the program is gone. `answered`: the last answered name of each, by id; `asked`: the
 *  last name that each writer sent. */
async function writeUntilKilled(
  served: Served,
  writer: number,
  answered: Map<string, string>,
  asked: Map<number, string>,
): Promise<void> {
  for (let count = 0; ; count += 1) {
    const name = `writer ${writer}, ${count} ${Math.random()}`;
    const known = [...answered.keys()].filter((_, index) => index % 3 === writer);
    const id = count % 2 === 1 ? known[count % known.length] : undefined;
    const body = { name, include: [{ ip: { ip: `10.${writer}.${count % 250}.0/24` } }] };
    asked.set(writer, name);
    try {
      const answer = await ask(
        served,
        id === undefined ? 'POST' : 'PUT',
        `access/groups${id === undefined ? '' : `/${id}`}`,
        body,
      );
      expect([200, 201]).toContain(answer.status);
      const made = answer.body?.result as { readonly id: string } | undefined;
      if (made) answered.set(made.id, name);
    } catch (error) {
      if (error instanceof TypeError) return;
      throw error;
    }
  }
}

it(`${ROUNDS} times over`, async () => {
  const folder = newFolder();
  const answered = new Map<string, string>();
  const asked = new Map<number, string>();
  let served = await serve(folder);
  try {
    for (let round = 0; round < ROUNDS; round += 1) {
      const before = answered.size;
      const writing = Promise.all([0, 1, 2].map(async (writer) => writeUntilKilled(served, writer, answered, asked)));
      while (answered.size < before + 5) await sleep(5);
      await sleep(round * 13);
      await served.kill();
      await writing;
      served = await serve(folder);
      const { body } = await ask(served, 'GET', 'access/groups');
      const groups = body?.result as readonly { readonly id: string; readonly name: string }[] | undefined;
      const found = new Map(groups?.map(({ id, name }) => [id, name]));
      // The old one or, where its answer was still to come, the new one.
      const underWay = new Set(asked.values());
      const lost = [...answered].filter(([id, name]) => {
        const there = found.get(id);
        return there === undefined || (there !== name && !underWay.has(there));
      });
      expect(lost).toEqual([]);
      for (const [id, name] of found) if (answered.has(id)) answered.set(id, name);
      expect(found.size - answered.size - 1).toBeLessThanOrEqual(3 * (round + 1));
    }
    expect(answered.size).toBeGreaterThanOrEqual(ROUNDS * 5);
  } finally {
    await served.kill();
    removeFolder(folder);
  }
}, 180_000);
