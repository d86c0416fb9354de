/** Whether memory stays bounded under callers, addresses, paths and tokens that hardly repeat. Run as a child process
 *  with --expose-gc; sends the used heap in MB. */
import { createIssuer, mustAllow, requestBytes, writeConfig } from './material.mjs';
import { openCheck } from './in-process.mjs';

const isQuick = process.argv.includes('--quick');
const STEPS = isQuick ? [0, 50_000, 150_000] : [0, 200_000, 1_000_000];
const CALLERS = isQuick ? 200 : 2000;

const { jwks, sign } = await createIssuer();
const tokens = [];
for (let index = 0; index < CALLERS; index++) tokens.push(await sign(`caller-${index}`));
const { check } = await openCheck(writeConfig({ jwks, applications: 10 }));
mustAllow(await check(requestBytes({ token: tokens[0] })), 'memory');

const rows = [];
let done = 0;
for (const step of STEPS) {
  for (; done < step; done++) await check(requestOf(done));
  globalThis.gc();
  const { heapUsed, rss } = process.memoryUsage();
  rows.push({ checks: step, heapMb: heapUsed / 1e6, rssMb: rss / 1e6 });
}
process.send(rows);

/** One in ten has a token that nobody has seen and whose signature is wrong. */
function requestOf(index) {
  const good = tokens[index % CALLERS];
  const token = index % 10 === 9 ? `${good.slice(0, -12)}${String(index).padStart(8, '0')}AAAA` : good;
  const address = `203.${(index >> 16) & 255}.${(index >> 8) & 255}.${index & 255}`;
  return requestBytes({ token, host: `app-${index % 10}.example.com`, path: `/orders/${index}`, address });
}
