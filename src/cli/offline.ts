import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { readYamlFolder } from '../files.ts';
import { linkStatement } from '../cases/stated.ts';
import { readCases } from '../cases/shape.ts';
import type { Case } from '../cases/shape.ts';
import { unreachableKeySets } from '../facts/key-set.ts';
import type { Fault, Place, Position } from '../model/fault.ts';
import { createExplainer } from '../policy/explain.ts';
import type { Explainer } from '../policy/explain.ts';
import { locatedFaults } from '../policy/fault-text.ts';
import type { LocatedFault } from '../policy/fault-text.ts';
import { createLocator } from '../policy/places.ts';
import { parseYaml } from '../policy/read.ts';
import { createLoader, statedAgainst } from '../revision.ts';
import type { Revision } from '../revision.ts';
import type { Override } from '../settings-overrides.ts';
import { UsageError } from './arguments.ts';

/** The folder of the users' own cases, in the config folder. */
export const TESTS_FOLDER = 'tests';

/** A config folder as the commands that never serve see it: nothing is asked over the network, nothing learned and no
 *  key made. */
export interface OfflineLoaded {
  readonly revision: Revision | undefined;
  readonly faults: readonly LocatedFault[];
}

export async function loadOffline(folder: string, overrides: readonly Override[]): Promise<OfflineLoaded> {
  const loader = createLoader({ folder, overrides, keySets: unreachableKeySets(), makesKeys: false });
  const { revision, faults } = await loader.load();
  return { revision, faults: faults.filter(({ fault }) => fault.severity === 'fault') };
}

/** What explains requests to a revision. */
export function explainerOf({ compiled, set, settings, source }: Revision): Explainer {
  const { tokens, providers } = settings.identity;
  const [entry] = tokens.length === 1 ? tokens : [];
  const id = typeof entry?.provider === 'string' ? entry.provider : undefined;
  return createExplainer({
    compiled,
    set,
    locate: createLocator(source),
    login: {
      issuer: entry?.issuer,
      audiences: entry?.audiences ?? [],
      provider: id === undefined ? undefined : { id, type: providers.find((one) => one.id === id)?.type },
      clockSkewSeconds: entry?.clock_skew_seconds ?? 30,
    },
  });
}

/** Cases with what is wrong with them. */
export interface CasesRead {
  readonly cases: readonly Case[];
  readonly faults: readonly LocatedFault[];
  /** How many files were read. */
  readonly files: number;
  /** Where something was written in them. */
  readonly locate: (place: Place) => Position;
}

/** The users' cases of a config folder, or of the files that are named: relative to the working directory, or to the
 *  config folder. Throws a UsageError where a named file cannot be read. */
export async function readFolderCases(
  folder: string,
  revision: Revision,
  named: readonly string[],
): Promise<CasesRead> {
  const texts = new Map<string, string>();
  if (named.length === 0) {
    for (const { name, bytes } of await readYamlFolder(folder, TESTS_FOLDER))
      texts.set(name, new TextDecoder().decode(bytes));
  } else for (const name of named) texts.set(name, await readNamed(folder, name));
  const faults: Fault[] = [];
  const report = (found: Fault): void => void faults.push(found);
  const against = statedAgainst(revision);
  const cases = [...texts].flatMap(([name, text]) => {
    const read = parseYaml(text, name);
    if ('data' in read) return readCases(read.data, name, report);
    read.faults.forEach(report);
    return [];
  });
  for (const one of cases) linkStatement(one, one.place, against, report);
  const source = (file: string): string | undefined => texts.get(file);
  return { cases, faults: locatedFaults(faults, source), files: texts.size, locate: createLocator(source) };
}

async function readNamed(folder: string, name: string): Promise<string> {
  for (const path of [resolve(name), resolve(folder, name)]) {
    const text = await readFile(path, 'utf8').catch(() => undefined);
    if (text !== undefined) return text;
  }
  throw new UsageError(`${name} cannot be read, neither here nor in ${folder}`);
}
