/** Checks a second and processor time, in turns with the server that does nothing. */
import { median } from './material.mjs';

const IN_FLIGHT = 64;

/** Rows of `{ rate, cpuMs }` for each server: checks a second, milliseconds of processor time for 1,000 checks. */
export async function measureThroughput(servers, request, { rounds, seconds }) {
  const samples = servers.map(() => []);
  for (const server of servers) await load(server, request, Math.max(2, seconds));
  for (let round = 0; round < rounds; round++) {
    for (const [index, server] of servers.entries()) samples[index].push(await load(server, request, seconds));
  }
  return samples.map((rows) => ({
    rate: median(rows.map(({ rate }) => rate)),
    cpuMs: median(rows.map(({ cpuMs }) => cpuMs)),
    busy: median(rows.map(({ busy }) => busy)),
  }));
}

/** So many checks always under way. */
async function load(server, request, seconds) {
  const cpuBefore = server.cpuSeconds();
  const began = performance.now();
  const end = began + seconds * 1000;
  let done = 0;
  const lane = () =>
    new Promise((resolve, reject) => {
      const next = () => {
        if (performance.now() >= end) return resolve();
        return server.call(request, (error) => {
          if (error) return reject(error);
          done += 1;
          return next();
        });
      };
      next();
    });
  await Promise.all(Array.from({ length: IN_FLIGHT }, lane));
  const elapsed = (performance.now() - began) / 1000;
  const cpu = server.cpuSeconds() - cpuBefore;
  return { rate: done / elapsed, cpuMs: (cpu * 1e6) / done, busy: cpu / elapsed };
}
