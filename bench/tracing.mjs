/** What tracing costs a check: off, on for a trace that is not sampled, and on for one that is, its export included. Run
 *  as a child process; sends microseconds. */
import { createServer } from 'node:http';
import { setImmediate as turn } from 'node:timers/promises';
import { openCheck } from './in-process.mjs';
import { createIssuer, median, mustAllow, requestBytes, writeConfig } from './material.mjs';
import { startTracing } from '../dist/tracing.js';

const isQuick = process.argv.includes('--quick');
const ROUNDS = isQuick ? 9 : 25;
const CHECKS = 2000;

const collector = createServer((request, response) => {
  request.resume();
  request.on('end', () => response.end('{}'));
});
await new Promise((resolve) => {
  collector.listen(0, '127.0.0.1', resolve);
});
const { jwks, sign } = await createIssuer();
const token = await sign();
const request = requestBytes({ token });
const folder = writeConfig({ jwks });
const variants = {
  off: undefined,
  notSampled: tracing(0),
  sampled: tracing(1),
};
const runs = [];
for (const [name, one] of Object.entries(variants)) {
  const { check } = await openCheck(folder, { tracing: one });
  mustAllow(await check(request), name);
  runs.push({ name, check, times: [] });
}
for (let round = -3; round < ROUNDS; round++) {
  for (const { check, times } of runs) {
    const began = performance.now();
    for (let index = 0; index < CHECKS; index++) {
      check(request);
      // So that exports get their turns, as between real checks.
      if (index % 50 === 0) await turn();
    }
    if (round >= 0) times.push(((performance.now() - began) / CHECKS) * 1000);
  }
}
process.send(Object.fromEntries(runs.map(({ name, times }) => [name, median(times)])));

function tracing(sample) {
  return startTracing({
    url: `http://127.0.0.1:${collector.address().port}/v1/traces`,
    sample,
    serviceName: 'bench',
    headers: () => ({}),
    counted: () => undefined,
    failing: () => undefined,
  });
}
