import { writeFile } from 'node:fs/promises';
import { createCoverage } from '../cases/coverage.ts';
import type { CoverageReport } from '../cases/coverage.ts';
import { runCase } from '../cases/run.ts';
import type { CaseResult } from '../cases/run.ts';
import { REASONS } from '../model/decision.ts';
import type { Explainer } from '../policy/explain.ts';
import { statedAgainst } from '../revision.ts';
import type { Revision } from '../revision.ts';
import type { Override } from '../settings-overrides.ts';
import { watchFolder } from '../watch.ts';
import { CONFIG_HELP, CONFIG_OPTIONS, parsed } from './arguments.ts';
import type { Command, Terminal } from './arguments.ts';
import { printable } from './printable.ts';
import { countText, overridesFrom, printedFaults } from './configuration.ts';
import { junitText } from './junit.ts';
import { explainerOf, loadOffline, readFolderCases, TESTS_FOLDER } from './offline.ts';
import type { CasesRead } from './offline.ts';

const HELP = `Usage: postern test [--config DIR] [FILES]

Runs your own cases: what must come of a request, by the policies of a config folder, decided by the same code as serve.
Cases are read from tests/ of the config folder, or from FILES:

  - name: an engineer in Canada reaches orders
    request: { host: orders.example.com, path: /api, client_ip: 203.0.113.7, country: CA, time: 2026-03-04T14:30:00Z }
    identity: { email: ann@example.com, amr: [pwd, otp] }
    expect: { outcome: allow, policy: Engineers }

Nothing is asked over the network, learned or counted. Every key: postern schema cases.

      --watch          run again at every change of the config folder, until interrupted
      --junit FILE     write the results as JUnit XML, for CI
      --coverage       tell which policies, rules and factors no case decides
      --verbose        name the cases that pass, too

Exit 0: all pass, or there are none. Exit 1: a case fails, or cases or config folder have a fault.

${CONFIG_HELP}
`;

interface Options {
  readonly folder: string;
  readonly overrides: readonly Override[];
  readonly files: readonly string[];
  readonly junit: string | undefined;
  readonly coverage: boolean;
  readonly verbose: boolean;
}

/** `postern test`: the users' own cases. */
export const test: Command = {
  summary: 'run your own cases against the policies',
  help: HELP,
  async run(args, terminal) {
    const { values, positionals } = parsed(
      args,
      {
        ...CONFIG_OPTIONS,
        watch: { type: 'boolean', default: false },
        junit: { type: 'string' },
        coverage: { type: 'boolean', default: false },
        verbose: { type: 'boolean', default: false },
      },
      true,
    );
    const options: Options = {
      folder: values.config,
      overrides: overridesFrom(values.set, terminal),
      files: positionals,
      junit: values.junit,
      coverage: values.coverage,
      verbose: values.verbose,
    };
    if (values.watch) return watched(options, terminal);
    const { text, isGood } = await ran(options, terminal);
    (isGood ? terminal.out : terminal.error)(text);
    return isGood ? 0 : 1;
  },
};

/** Runs at every change until the process is interrupted. */
async function watched(options: Options, terminal: Terminal): Promise<number> {
  let last = '';
  const watch = watchFolder({
    paths: [{ path: options.folder, deep: true }],
    onError: (error) => terminal.error(`changes are looked for twice a second: ${error.message}\n`),
    async onChange() {
      const { text } = await ran(options, terminal).catch((error: unknown) => ({
        text: `${error instanceof Error ? error.message : String(error)}\n`,
      }));
      // Most of what a watch tells of is no change at all; the time that it took is one every time.
      const told = text.replace(/ in [\d.]+ ms/, '');
      if (told === last) return;
      last = told;
      terminal.out(`${text}\n`);
    },
  });
  await new Promise<void>((resolve) => {
    process.once('SIGINT', resolve);
    process.once('SIGTERM', resolve);
  });
  await watch.stop();
  return 0;
}

interface Ran {
  readonly text: string;
  readonly isGood: boolean;
}

async function ran(options: Options, terminal: Terminal): Promise<Ran> {
  const { folder, files } = options;
  const { revision, faults } = await loadOffline(folder, options.overrides);
  if (!revision) return { text: `${printedFaults(faults, terminal)}${folder}: ${countText(faults)}\n`, isGood: false };
  const read = await readFolderCases(folder, revision, files);
  if (read.faults.length > 0)
    return {
      text: `${printedFaults(read.faults, terminal)}${folder}: ${countText(read.faults)} in the cases\n`,
      isGood: false,
    };
  if (read.cases.length === 0)
    return {
      text: `${folder}: no cases; write some to ${folder}/${TESTS_FOLDER}/orders.yaml, as postern test --help shows\n`,
      isGood: true,
    };
  const began = performance.now();
  const results = await runAll(read, revision);
  const tookMs = performance.now() - began;
  const explainer = explainerOf(revision);
  if (options.junit !== undefined)
    await writeFile(
      options.junit,
      junitText(results, ({ case: one }) => read.locate(one.place), tookMs / 1000),
    );
  const failed = results.filter(({ differences }) => differences.length > 0);
  const parts = [
    ...(options.verbose
      ? results
          .filter(({ differences }) => differences.length === 0)
          .map((result) => `✓ ${placeOf(result, read)} ${result.case.name}\n`)
      : []),
    ...failed.map((result) => failureText(result, read, explainer, options.folder)),
    ...(options.coverage ? [coverageText(coverageOf(results, revision, explainer))] : []),
    `${failed.length > 0 ? `${failed.length} of ${results.length} cases fail` : `${results.length} ${results.length === 1 ? 'case passes' : 'cases pass'}`} in ${tookMs.toFixed(1)} ms; revision ${revision.id}\n`,
  ];
  return { text: parts.join(''), isGood: failed.length === 0 };
}

async function runAll({ cases }: CasesRead, revision: Revision): Promise<readonly CaseResult[]> {
  const against = statedAgainst(revision);
  const nowMs = Date.now();
  const results: CaseResult[] = [];
  for (const one of cases) {
    const result = runCase(one, against, nowMs);
    results.push(result instanceof Promise ? await result : result);
  }
  return results;
}

function placeOf({ case: one }: CaseResult, { locate }: CasesRead): string {
  const { line, column } = locate(one.place);
  return `${one.place.file}:${line}:${column}`;
}

/** What was expected and found, the lines that decided, and what would have been allowed. */
function failureText(result: CaseResult, read: CasesRead, explainer: Explainer, folder: string): string {
  const { case: one, differences, decision, request, context } = result;
  const width = Math.max(...differences.map(({ key }) => key.length));
  const lines = [
    `✗ ${placeOf(result, read)} ${one.name}`,
    ...differences.map(({ key, expected, found }) => `    ${key.padEnd(width)}  expected ${expected}, found ${found}`),
    `    because ${decision.reason}: ${decision.why === '' ? REASONS[decision.reason] : decision.why}`,
  ];
  if (request && context) {
    const wantsChanges = one.expect.outcome === 'allow';
    const explanation = explainer.explain(request.host, request.path, context, { changes: wantsChanges });
    for (const { what, text, at } of explanation.decidedBy.slice(0, DECIDERS_MAX))
      lines.push(`      ${at.file}:${at.line}:${at.column} ${what.replace('_', ' ')} ${text}`);
    for (const { text } of explanation.changes.slice(0, CHANGES_MAX)) lines.push(`    would be allowed ${text}`);
  }
  const quotedName = `'${one.name.replaceAll("'", String.raw`'\''`)}'`;
  lines.push(`    all of it: postern explain --config ${folder} --case ${quotedName}`);
  return `${lines.map((line) => printable(line)).join('\n')}\n`;
}

const DECIDERS_MAX = 6;
const CHANGES_MAX = 3;

function coverageOf(results: readonly CaseResult[], revision: Revision, explainer: Explainer): CoverageReport {
  const coverage = createCoverage(revision.compiled, revision.set, explainer.at);
  for (const { request, context } of results)
    if (request && context) coverage.add(explainer.explain(request.host, request.path, context, { changes: false }));
  return coverage.report();
}

const KIND_NAMES = {
  application: 'applications',
  policy: 'policies',
  rule: 'rules',
  resource_rule: 'resource rules',
  factor: 'factors',
} as const;

function coverageText({ counts, lines, missing }: CoverageReport): string {
  const told = (Object.keys(KIND_NAMES) as (keyof typeof KIND_NAMES)[])
    .filter((kind) => counts[kind].all > 0)
    .map((kind) => `${counts[kind].covered} of ${counts[kind].all} ${KIND_NAMES[kind]}`);
  return [
    ...missing.map(
      ({ kind, text, at }) =>
        `○ ${at.file}:${at.line}:${at.column} no case is decided by ${kind.replace('_', ' ')} ${text}`,
    ),
    `covered: ${told.join(', ')}; ${lines.covered} of ${lines.all} lines`,
    '',
  ].join('\n');
}
