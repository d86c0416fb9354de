import { setTimeout as sleep } from 'node:timers/promises';

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
