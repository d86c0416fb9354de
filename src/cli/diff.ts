import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { cameOf, cameText, createReplays } from '../cases/replays.ts';
import type { Came, ReplayReport } from '../cases/replays.ts';
import { runCase } from '../cases/run.ts';
import type { Case } from '../cases/shape.ts';
import { linkStatement } from '../cases/stated.ts';
import type { StatedAgainst, StatedDecision } from '../cases/stated.ts';
import type { Fault } from '../model/fault.ts';
import { compareSets } from '../policy/compare.ts';
import type { ObjectChange } from '../policy/compare.ts';
import { statedAgainst } from '../revision.ts';
import type { Revision } from '../revision.ts';
import type { Override } from '../settings-overrides.ts';
import { CONFIG_OPTIONS, parsed, UsageError } from './arguments.ts';
import type { Command, Terminal } from './arguments.ts';
import { countText, overridesFrom, printedFaults } from './configuration.ts';
import { explainerOf, loadOffline, readFolderCases } from './offline.ts';
import { printable } from './printable.ts';
import { openRevisionFolder } from './revision-folder.ts';
import type { RevisionFolder } from './revision-folder.ts';
import { settingsWords } from './settings-words.ts';

const HELP = `Usage: postern diff OLD NEW [--requests LOG] [--accept]

Says what a change of the policies does before it is rolled out: what the two sets say differently, in plain words; the
users' cases (tests/ of NEW) that come out otherwise; and with --requests the recorded requests that would.

OLD and NEW are config folders, or git:REV, the folder --config as a revision of git has it, or git:REV:DIR.

  postern diff git:main config --requests /var/log/postern/decisions.log

      --requests LOG   a decision log written with log.requests: replay and log.decisions: all; - for standard input
      --accept         exit 0 although something that was denied is allowed
      --json           as JSON
  -c, --config DIR     the folder that git:REV means (default: config)
      --set KEY=VALUE  override a setting of both
  -h, --help           this text

Nothing is asked over the network, learned or counted.
Exit 0: compared. Exit 1: one of the two cannot be loaded. Exit 3: some case or recorded request that was not allowed
would be, and --accept was not given.
`;

/** Denied becomes allowed. */
const LOOSENED = 3;

/** `postern diff`: what a change does. */
export const diff: Command = {
  summary: 'say what a change of the policies does before it is rolled out',
  help: HELP,
  async run(args, terminal) {
    const { values, positionals } = parsed(
      args,
      {
        ...CONFIG_OPTIONS,
        requests: { type: 'string' },
        accept: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
      },
      true,
    );
    const [oldName, newName, ...more] = positionals;
    if (oldName === undefined || newName === undefined || more.length > 0)
      throw new UsageError(`expected two config folders, OLD and NEW, found ${positionals.length}`);
    await checkLog(values.requests);
    const overrides = overridesFrom(values.set, terminal);
    const opened: RevisionFolder[] = [];
    try {
      for (const name of [oldName, newName]) opened.push(await openRevisionFolder(name, values.config));
      const sides: Side[] = [];
      for (const folder of opened) {
        const side = await loadSide(folder, overrides, terminal);
        if (!side) return 1;
        sides.push(side);
      }
      const [before, after] = sides;
      if (!before || !after) throw new Error('two folders were opened');
      const compared = await compare(before, after, values.requests, terminal);
      terminal.out(values.json ? `${JSON.stringify(jsonOf(compared), null, 2)}\n` : textOf(compared, terminal.colors));
      return loosens(compared) && !values.accept ? LOOSENED : 0;
    } finally {
      for (const folder of opened) await folder.remove();
    }
  },
};

interface Side {
  readonly folder: RevisionFolder;
  readonly revision: Revision;
}

/** Undefined: it has faults, which were printed. */
async function loadSide(
  folder: RevisionFolder,
  overrides: readonly Override[],
  terminal: Terminal,
): Promise<Side | undefined> {
  const { revision, faults } = await loadOffline(folder.path, overrides);
  if (revision) return { folder, revision };
  terminal.error(printedFaults(faults, terminal));
  terminal.error(`${folder.name}: ${countText(faults)}\n`);
  return undefined;
}

async function checkLog(log: string | undefined): Promise<void> {
  if (log === undefined || log === '-') return;
  const found = await stat(log).catch(() => undefined);
  if (!found) throw new UsageError(`${log} cannot be read`);
}

/** Everything that differs. */
interface Compared {
  readonly before: Side;
  readonly after: Side;
  readonly settings: readonly string[];
  readonly objects: readonly (ObjectChange & { readonly at: string })[];
  /** How many cases were run by both. */
  readonly casesRun: number;
  readonly cases: readonly CaseChange[];
  /** Cases that one of the two cannot run, with why. */
  readonly casesLeft: readonly string[];
  /** Undefined: no log was given. */
  readonly requests: ReplayReport | undefined;
}

interface CaseChange {
  readonly name: string;
  readonly at: string;
  readonly before: Came;
  readonly after: Came;
  readonly loosens: boolean;
  /** Lines that decide now. */
  readonly decidedBy: readonly string[];
}

async function compare(before: Side, after: Side, log: string | undefined, terminal: Terminal): Promise<Compared> {
  const locators = { before: explainerOf(before.revision), after: explainerOf(after.revision) };
  return {
    before,
    after,
    settings: settingsWords(before.revision.settings, after.revision.settings),
    objects: compareSets(before.revision.set, after.revision.set).map((one) => {
      const { file, line, column } = locators[one.change === 'removed' ? 'before' : 'after'].at(one.place);
      return { ...one, at: `${file}:${line}:${column}` };
    }),
    ...(await compareCases(before, after)),
    requests: log === undefined ? undefined : await replayed(before, after, log, terminal),
  };
}

async function compareCases(before: Side, after: Side): Promise<Pick<Compared, 'casesRun' | 'cases' | 'casesLeft'>> {
  const read = await readFolderCases(after.folder.path, after.revision, []);
  const names = new Set(read.cases.map(({ name }) => name));
  const gone = await readFolderCases(before.folder.path, before.revision, []);
  const old = statedAgainst(before.revision);
  const now = statedAgainst(after.revision);
  const explainer = explainerOf(after.revision);
  const nowMs = Date.now();
  const cases: CaseChange[] = [];
  const left: string[] = read.faults
    .filter(({ fault }) => !fault.code.endsWith('_unknown') || fault.code === 'key_unknown')
    .map(({ fault, position }) => `${fault.place.file}:${position.line}:${position.column} ${fault.text}`);
  let run = 0;
  const all = [
    ...read.cases.map((one) => ({ one, locate: read.locate, suffix: '' })),
    // A case that the change takes away may be the one that it breaks.
    ...gone.cases
      .filter(({ name }) => !names.has(name))
      .map((one) => ({ one, locate: gone.locate, suffix: ` of ${before.folder.name}` })),
  ];
  for (const { one, locate, suffix } of all) {
    const { line, column } = locate(one.place);
    const at = `${one.place.file}:${line}:${column}${suffix}`;
    const fault = faultOf(one, old) ?? faultOf(one, now);
    if (fault) {
      const lacking = faultOf(one, old) ? before : after;
      left.push(`${at} ${one.name}: ${lacking.folder.name} has ${fault.text}`);
      continue;
    }
    run += 1;
    const [was, is] = [await runCase(one, old, nowMs), await runCase(one, now, nowMs)];
    const [cameBefore, cameAfter] = [cameOf(was.decision), cameOf(is.decision)];
    if (cameText(cameBefore) === cameText(cameAfter)) continue;
    cases.push({
      name: one.name,
      at,
      before: cameBefore,
      after: cameAfter,
      loosens: cameBefore.outcome !== 'allow' && cameAfter.outcome === 'allow',
      decidedBy: deciding(is, explainer),
    });
  }
  return { casesRun: run, cases, casesLeft: left };
}

function faultOf(one: Case, against: StatedAgainst): Fault | undefined {
  let first: Fault | undefined;
  linkStatement(one, one.place, against, (found) => (first ??= found));
  return first;
}

function deciding({ request, context }: StatedDecision, explainer: ReturnType<typeof explainerOf>): readonly string[] {
  if (!request || !context) return [];
  return explainer
    .explain(request.host, request.path, context, { changes: false })
    .decidedBy.slice(0, DECIDING_MAX)
    .map(({ what, text, at }) => `${at.file}:${at.line}:${at.column} ${what.replace('_', ' ')} ${text}`);
}

const DECIDING_MAX = 4;

async function replayed(before: Side, after: Side, log: string, terminal: Terminal): Promise<ReplayReport> {
  const replays = createReplays(before.revision.compiled, after.revision.compiled);
  if (log === '-') for (const line of (await terminal.input()).split('\n')) replays.add(line);
  else
    for await (const line of createInterface({ input: createReadStream(log), crlfDelay: Number.POSITIVE_INFINITY }))
      replays.add(line);
  return replays.report();
}

function loosens({ cases, requests }: Compared): boolean {
  return cases.some((one) => one.loosens) || requests?.groups.some((one) => one.loosens) === true;
}

const KIND_NAMES: Readonly<Record<ObjectChange['kind'], string>> = {
  applications: 'applications',
  policies: 'reusable policies',
  groups: 'groups',
  lists: 'lists',
  serviceTokens: 'service tokens',
  scimGroups: 'SCIM groups',
  resourceRules: 'resource rules',
  flows: 'authentication flows',
  acrs: 'acrs',
  authenticators: 'authenticators',
  transactionRules: 'transaction rules',
  riskEngines: 'risk engines',
};

const MARKS = { added: '+', removed: '−', changed: '~' } as const;

function textOf(compared: Compared, color: boolean): string {
  const bold = (text: string): string => (color ? `\u001B[1m${text}\u001B[0m` : text);
  const alarm = (text: string): string => (color ? `\u001B[31m${text}\u001B[0m` : text);
  const { before, after, settings, objects, cases, requests } = compared;
  const sections: string[][] = [
    [`${before.folder.name}, revision ${before.revision.id} → ${after.folder.name}, revision ${after.revision.id}`],
  ];
  if (settings.length > 0) sections.push([bold('settings'), ...settings.map((word) => `  ${word}`)]);
  for (const [kind, title] of Object.entries(KIND_NAMES)) {
    const ofKind = objects.filter((one) => one.kind === kind);
    if (ofKind.length === 0) continue;
    sections.push([
      bold(title),
      ...ofKind.flatMap(({ change, name, at, words }) => [
        `  ${MARKS[change]} ${name}  ${at}`,
        ...words.map((word) => `      ${word}`),
      ]),
    ]);
  }
  if (settings.length === 0 && objects.length === 0) sections.push(['the two sets say the same']);
  const loosened = alarm('denied becomes allowed: ');
  if (cases.length > 0)
    sections.push([
      bold(`cases that come out otherwise (${cases.length} of ${compared.casesRun})`),
      ...cases.flatMap((one) => [
        `  ${one.at} ${one.name}`,
        `      ${one.loosens ? loosened : ''}${cameText(one.before)} → ${cameText(one.after)}`,
        ...one.decidedBy.map((line) => `      now by ${line}`),
      ]),
    ]);
  else sections.push([`cases: ${compared.casesRun === 0 ? 'none' : `all ${compared.casesRun} come out as before`}`]);
  if (compared.casesLeft.length > 0)
    sections.push([bold('cases that could not be run'), ...compared.casesLeft.map((text) => `  ${text}`)]);
  if (requests) sections.push(requestLines(requests, bold, loosened));
  if (loosens(compared))
    sections.push([alarm('something that was denied becomes allowed; --accept says that it is meant to')]);
  return `${sections.map((lines) => lines.map((line) => printable(line, color)).join('\n')).join('\n\n')}\n`;
}

function requestLines(report: ReplayReport, bold: (text: string) => string, loosened: string): string[] {
  const { lines, replayed: count, same, groups, left } = report;
  return [
    bold(`recorded requests: ${count} of ${lines} decided again, ${same} as before`),
    ...groups.flatMap((group) => [
      `  ${group.count} ${group.count === 1 ? 'request' : 'requests'}: ${group.loosens ? loosened : ''}${cameText(group.before)} → ${cameText(group.after)}`,
      ...group.examples.map(
        ({ request, who, time, decisionId }) =>
          `      e.g. ${request} by ${who ?? 'nobody'}${time === undefined ? '' : ` at ${time}`}${decisionId === undefined ? '' : `, decision ${decisionId}`}`,
      ),
    ]),
    ...[...left].map(([why, number]) => `  ${number} could not be decided again: ${why}`),
  ];
}

function jsonOf({ before, after, settings, objects, casesRun, cases, casesLeft, requests }: Compared): object {
  const side = ({ folder, revision }: Side): object => ({ folder: folder.name, revision: revision.id });
  return {
    old: side(before),
    new: side(after),
    settings,
    objects: objects.map(({ kind, change, name, at, words }) => ({ kind: KIND_NAMES[kind], change, name, at, words })),
    cases: {
      run: casesRun,
      changed: cases.map(({ decidedBy, ...one }) => ({ ...one, decided_by: decidedBy })),
      left: casesLeft,
    },
    requests: requests && {
      lines: requests.lines,
      replayed: requests.replayed,
      same: requests.same,
      groups: requests.groups.map(({ examples, ...group }) => ({
        ...group,
        examples: examples.map(({ decisionId, ...one }) => ({ decision_id: decisionId, ...one })),
      })),
      left: Object.fromEntries(requests.left),
    },
    denied_becomes_allowed: cases.some((one) => one.loosens) || requests?.groups.some((one) => one.loosens) === true,
  };
}
