/** Measures Postern against a server on the same gRPC library that does nothing, and against itself at other sizes:
 *  what is compared is always measured in the same run. `--quick` takes less than a minute and says less;
 *  `--only=servers` is one part alone. */
import { fork } from 'node:child_process';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { measureCases } from './cases.mjs';
import { measureHistory, STORES } from './history.mjs';
import { openCheck } from './in-process.mjs';
import { measureLatency } from './latency.mjs';
import { createIssuer, median, mustAllow, requestBytes, writeAllTypes, writeConfig } from './material.mjs';
import { PINS, startNoOp, startPostern } from './servers.mjs';
import { measureNoOpStart, measureStart } from './start.mjs';
import { measureThroughput } from './throughput.mjs';

const isQuick = process.argv.includes('--quick');
const rows = [];
const PERCENTILES = [
  ['p50', 'p50'],
  ['p99', 'p99'],
  ['p999', 'p99.9'],
];

const { jwks, sign } = await createIssuer();
const token = await sign();
const request = requestBytes({ token });
const folder = writeConfig({ jwks });
const answer = await (await openCheck(folder)).check(request);
mustAllow(answer, 'in process');

console.log(
  `${cpus().length} × ${cpus()[0]?.model.trim()}, Node ${process.version}, ${process.platform}-${process.arch}`,
);
console.log(
  `servers ${PINS ? 'pinned to processor 0' : 'not pinned'}; request ${request.length} bytes, answer ${answer.length}`,
);
console.log(isQuick ? 'quick: shorter and noisier' : 'full');

const parts = {
  servers: benchServers,
  starts: benchStarts,
  decide: benchDecide,
  tracing: benchTracing,
  memory: benchMemory,
  history: benchHistory,
  cases: benchCases,
};
const only = process.argv.find((word) => word.startsWith('--only='))?.slice('--only='.length);
if (only !== undefined && !Object.hasOwn(parts, only))
  throw new Error(`expected one of ${Object.keys(parts).join(', ')}`);
for (const [name, part] of Object.entries(parts)) if (only === undefined || only === name) await part();
printTable();
process.exit();

async function benchServers() {
  const noOp = await startNoOp(answer);
  const postern = await startPostern(folder);
  const everyType = await startPostern(writeAllTypes({ jwks }));
  try {
    mustAllow(await postern.check(request), 'served');
    mustAllow(await everyType.check(request), 'served by every type of rule');
    const options = isQuick ? { rounds: 3, seconds: 1 } : { rounds: 7, seconds: 3 };
    const [ours, theirs, every] = await measureThroughput([postern, noOp, everyType], request, options);
    add('checks per second', ours.rate, theirs.rate, 0, '≥ 0.70', (ratio) => ratio >= 0.7);
    add('server busy, share of a processor', ours.busy, theirs.busy, 2);
    add('CPU ms per 1,000 checks', ours.cpuMs, theirs.cpuMs, 1);
    addRow(
      'CPU, no-op ÷ Postern',
      '',
      '',
      (theirs.cpuMs / ours.cpuMs).toFixed(2),
      '≥ 0.70',
      theirs.cpuMs / ours.cpuMs >= 0.7,
    );
    add('checks per second, all 26 types of rules', every.rate, theirs.rate, 0, '≥ 0.70', (ratio) => ratio >= 0.7);
    add('CPU ms per 1,000 checks, all 26 types (base: one rule)', every.cpuMs, ours.cpuMs, 1);
    for (const rate of [500, 2000]) {
      // In turns, and the median of many short runs: one bad second of the machine is one bad run.
      const load = { rate, seconds: 2 };
      const runs = { ours: [], theirs: [] };
      for (let round = 0; round < (isQuick ? 3 : 9); round++) {
        runs.theirs.push(await measureLatency(noOp, request, load));
        runs.ours.push(await measureLatency(postern, request, load));
      }
      for (const [name, label] of PERCENTILES) {
        const [latency, base] = [runs.ours, runs.theirs].map((of) => median(of.map((one) => one[name])));
        const isGoal = name === 'p99';
        add(`${label} ms at ${rate}/s`, latency, base, 2, isGoal ? '≤ 2.00' : '', isGoal ? (r) => r <= 2 : undefined);
      }
    }
  } finally {
    noOp.stop();
    postern.stop();
    everyType.stop();
  }
}

async function benchStarts() {
  const noOpMs = await measureNoOpStart(answer, request);
  const one = await measureStart({ jwks, token, applications: 1 });
  add('cold start ms, 1 application', one.startMs, noOpMs, 0);
  const many = await measureStart({ jwks, token, applications: 10_000, reloads: true });
  add('cold start ms, 10,000 applications', many.startMs, noOpMs, 0);
  addRow('10,000 applications: last write to live, ms', many.liveMs.toFixed(0));
  add('longest check ms while reloading (base: calm)', many.longestMs, many.calmMs, 1);
}

async function benchDecide() {
  const { byApplications, byEntries } = await inChild('decide.mjs');
  addSizes('applications', byApplications);
  addSizes('e-mails and CIDRs in a rule', byEntries);
}

async function benchTracing() {
  const { off, ...traced } = await inChild('tracing.mjs');
  addRow('check µs, tracing off', off.toFixed(2));
  add('check µs, tracing on, trace not sampled (base: off)', traced.notSampled, off, 2);
  add('check µs, tracing on, trace sampled (base: off)', traced.sampled, off, 2);
}

async function benchMemory() {
  const [before, ...steps] = await inChild('memory.mjs', ['--expose-gc']);
  for (const { checks, heapMb } of steps) {
    add(`heap MB after ${checks.toLocaleString('en')} checks (base: 0)`, heapMb, before.heapMb, 1);
  }
  const [first, last] = steps;
  addRow('heap, last ÷ first of these', '', '', (last.heapMb / first.heapMb).toFixed(2));
}

async function benchHistory() {
  const users = isQuick ? 5_000 : 100_000;
  for (const store of STORES) {
    const { plain, learned, userBytes } = await measureHistory(store, { users, rounds: isQuick ? 1 : 9, seconds: 3 });
    const what = `${users.toLocaleString('en')} users in ${store}`;
    for (const [name, label] of PERCENTILES) {
      const isGoal = name === 'p99';
      const isMet = isGoal ? () => learned[name] - plain[name] <= 3 : undefined;
      add(
        `${label} ms at 500/s, ${what} (base: no history)`,
        learned[name],
        plain[name],
        2,
        isGoal ? '+ 3 ms' : '',
        isMet,
      );
    }
    addRow(`KB for each of ${what}`, (userBytes / 1000).toFixed(1));
  }
  const { jsonBytes, memoryBytes } = await inChild('records.mjs', ['--expose-gc']);
  addRow('KB of a full record', (jsonBytes / 1000).toFixed(1), '', '', '≤ 6.2', jsonBytes <= 6144);
  addRow('KB in memory for a user whose record is full', (memoryBytes / 1000).toFixed(1));
}

function inChild(name, execArgv = []) {
  return new Promise((resolve, reject) => {
    const child = fork(fileURLToPath(new URL(name, import.meta.url)), isQuick ? ['--quick'] : [], { execArgv });
    child.once('message', resolve);
    child.once('exit', (code) => (code === 0 ? undefined : reject(new Error(`${name} ended with ${code}`))));
  });
}

function addSizes(what, [base, ...others]) {
  for (const row of others) {
    const name = `${row.size.toLocaleString('en')} ${what} (base: ${base.size})`;
    add(`decide µs, ${name}`, row.decide, base.decide, 2, '≤ 1.30', (ratio) => ratio <= 1.3);
    add(
      `find + decide µs, ${name}`,
      row.find + row.decide,
      base.find + base.decide,
      2,
      '≤ 1.30',
      (ratio) => ratio <= 1.3,
    );
  }
}

async function benchCases() {
  const { readMs, runMs } = await measureCases(1_000);
  addRow("ms for 1,000 of the users' cases, once read", runMs.toFixed(0), '', '', '< 1,000', runMs < 1_000);
  addRow('ms for reading them', readMs.toFixed(0));
}

function add(name, value, base, digits, goal = '', isMet = undefined) {
  const ratio = value / base;
  addRow(name, value.toFixed(digits), base.toFixed(digits), ratio.toFixed(2), goal, isMet?.(ratio));
}

function addRow(name, value = '', base = '', ratio = '', goal = '', isMet = undefined) {
  const met = isMet === undefined ? '' : isMet ? 'met' : 'missed';
  rows.push([name, value, base, ratio, goal, met]);
  console.error(`… ${name} ${value} ${base} ${ratio}`);
}

function printTable() {
  const all = [['measured', 'Postern', 'no-op / base', 'ratio', 'goal', ''], ...rows];
  const widths = all[0].map((_, column) => Math.max(3, ...all.map((row) => row[column].length)));
  const line = (row) =>
    `| ${row.map((cell, column) => (column === 0 ? cell.padEnd(widths[column]) : cell.padStart(widths[column]))).join(' | ')} |`;
  const rule = `| ${widths.map((width, column) => (column === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`)).join(' | ')} |`;
  console.log(`\n${[line(all[0]), rule, ...all.slice(1).map(line)].join('\n')}`);
}
