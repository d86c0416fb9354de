import { setTimeout as sleep } from 'node:timers/promises';
import { processOf } from './machine.mjs';
import { until } from './processes.mjs';

/** Ann and nobody, one after the other, again and again; `status(token)` asks. What it tells at the end: the answers that
 *  each has seen, how often ann asked, and how often she got another one than 200. */
export function startTraffic(status) {
  const seen = { ann: new Map(), nobody: new Map() };
  const state = { over: false, error: undefined };
  const note = (name, found) => seen[name].set(found, (seen[name].get(found) ?? 0) + 1);
  const running = (async () => {
    while (!state.over) {
      note('ann', await status('ann'));
      note('nobody', await status());
      await sleep(20);
    }
  })().catch((error) => (state.error = error));
  return {
    async stop() {
      state.over = true;
      await running;
      if (state.error) throw state.error;
      const text = (counts) => [...counts.keys()].toSorted().join(',');
      const asked = [...seen.ann.values()].reduce((sum, count) => sum + count, 0);
      return { ann: text(seen.ann), nobody: text(seen.nobody), asked, refused: asked - (seen.ann.get(200) ?? 0) };
    },
  };
}

/** Postern in its container, killed while they ask: nobody is let in by it, and ann is again. */
export async function checkKilled(expect, status) {
  const traffic = startTraffic(status);
  await sleep(1_000);
  process.kill(processOf('/app/dist/main.js'), 'SIGKILL');
  await sleep(1_000);
  await until('Postern again', async () => (await status('ann')) === 200, 120_000, 100);
  const { nobody, ann } = await traffic.stop();
  await expect('Postern killed under traffic: what nobody saw', /^401(,503)?$/, nobody);
  await expect('Postern killed under traffic: what ann saw', /^200(,503)?$/, ann);
}
