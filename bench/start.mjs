/** Cold start and reload, counted by answers. */
import { rmSync } from 'node:fs';
import { isAllowed, mustAllow, requestBytes, writeConfig, writePolicies } from './material.mjs';
import { startNoOp, startPostern } from './servers.mjs';

/** Milliseconds from starting the process to its first answer. */
export async function measureNoOpStart(answer, request) {
  const server = await startNoOp(answer, { isPinned: false });
  await server.check(request);
  const ms = performance.now() - server.beganMs;
  server.stop();
  return ms;
}

/** Cold start to the first allow; with `reloads` also, after all files have been written anew: from the last write to
 *  the first answer of the new set, and the longest check of a caller who checks all the while. */
export async function measureStart({ jwks, token, applications, reloads = false }) {
  const folder = writeConfig({ jwks, applications });
  const server = await startPostern(folder, { isPinned: false });
  try {
    const request = requestBytes({ token, host: `app-${applications - 1}.example.com` });
    mustAllow(await server.check(request), 'start');
    const startMs = performance.now() - server.beganMs;
    if (!reloads) return { startMs };
    const added = requestBytes({ token, host: 'added.example.com' });
    if (isAllowed(await server.check(added))) throw new Error('the added application is there already');
    const warm = performance.now() + 3000;
    while (performance.now() < warm) await server.check(request);
    const calmEnd = performance.now() + 2000;
    const calmMs = await checkUntil(server, request, async () => performance.now() > calmEnd);
    writePolicies(folder, { applications, extra: 'added.example.com' });
    const writtenMs = performance.now();
    const longestMs = await checkUntil(server, request, async () => isAllowed(await server.check(added)));
    return { startMs, liveMs: performance.now() - writtenMs, longestMs, calmMs };
  } finally {
    server.stop();
    rmSync(folder, { recursive: true });
  }
}

const PAUSE_MS = 1;

/** The longest check, one after another with a short pause, until something holds. */
async function checkUntil(server, request, isOver) {
  let longest = 0;
  for (;;) {
    const began = performance.now();
    mustAllow(await server.check(request), 'while reloading');
    longest = Math.max(longest, performance.now() - began);
    const asked = performance.now();
    if (await isOver()) return longest;
    longest = Math.max(longest, performance.now() - asked);
    await new Promise((resolve) => {
      setTimeout(resolve, PAUSE_MS);
    });
  }
}
