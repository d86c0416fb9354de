/** Whether deciding costs the same however large the configuration is. Run as a child process; sends its rows. */
import { createIssuer, median, mustAllow, requestBytes, writeConfig } from './material.mjs';
import { openCheck } from './in-process.mjs';

const isQuick = process.argv.includes('--quick');
const ROUNDS = isQuick ? 9 : 25;
const CHECKS = isQuick ? 4000 : 10_000;
const SIZES = [10, 1000, 10_000];

const { jwks, sign } = await createIssuer();
const token = await sign();

const byApplications = await measure(
  (size) => ({ applications: size }),
  // The same number of hosts at every size, spread over all of them: the processor's caches are not what is compared.
  (size) => Array.from({ length: 8 }, (_, index) => `app-${Math.floor(((size - 1) * index) / 7)}.example.com`),
);
const byEntries = await measure(
  (size) => ({ applications: 1, entries: size }),
  () => ['app-0.example.com'],
);
process.send({ byApplications, byEntries });

/** Microseconds for each size: `find` an application for a host and path, `decide`. The sizes take turns. */
async function measure(config, hosts) {
  const runs = [];
  for (const size of SIZES) {
    const opened = await openCheck(writeConfig({ jwks, ...config(size) }));
    const names = hosts(size);
    const requests = names.map((host) => requestBytes({ token, host }));
    for (const request of requests) mustAllow(await opened.check(request), `${size}`);
    runs.push({ size, ...opened, names, requests, find: [], decided: [] });
  }
  for (let round = -3; round < ROUNDS; round++) {
    for (const run of runs) {
      const find = timeFind(run);
      const before = run.stages.decide;
      for (let index = 0; index < CHECKS; index++) run.check(run.requests[index % run.requests.length]);
      if (round < 0) continue;
      run.find.push(find);
      run.decided.push(((run.stages.decide - before) / CHECKS) * 1e6);
    }
  }
  return runs.map(({ size, find, decided }) => ({ size, find: median(find), decide: median(decided) }));
}

function timeFind({ destinations, names }) {
  const began = performance.now();
  for (let index = 0; index < CHECKS; index++) {
    if (!destinations.find(names[index % names.length], '/api/v1/orders')) throw new Error('not found');
  }
  return ((performance.now() - began) / CHECKS) * 1000;
}
