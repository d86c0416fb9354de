import { readYamlFolder } from '../files.ts';
import { linkStatement } from '../cases/stated.ts';
import { readCases } from '../cases/shape.ts';
import type { Case } from '../cases/shape.ts';
import { unreachableKeySets } from '../facts/key-set.ts';
import type { Fault } from '../model/fault.ts';
import { createExplainer } from '../policy/explain.ts';
import type { Explainer } from '../policy/explain.ts';
import { locatedFaults } from '../policy/fault-text.ts';
import type { LocatedFault } from '../policy/fault-text.ts';
import { createLocator } from '../policy/places.ts';
import { parseYaml } from '../policy/read.ts';
import { createLoader, statedAgainst } from '../revision.ts';
import type { Revision } from '../revision.ts';
import type { Override } from '../settings-overrides.ts';

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

/** The users' cases of a config folder, with what is wrong with them. `names`: only these files, as they are named in
 *  the folder; empty: all. Texts are kept for places. */
export async function readFolderCases(
  folder: string,
  revision: Revision,
  names: readonly string[],
): Promise<{ readonly cases: readonly Case[]; readonly faults: readonly LocatedFault[]; readonly files: number }> {
  const files = (await readYamlFolder(folder, TESTS_FOLDER)).filter(
    ({ name }) => names.length === 0 || names.includes(name),
  );
  const texts = new Map(files.map(({ name, bytes }) => [name, new TextDecoder().decode(bytes)]));
  const faults: Fault[] = [];
  const report = (found: Fault): void => void faults.push(found);
  const against = statedAgainst(revision);
  const cases = [...texts].flatMap(([name, text]) => {
    const parsed = parseYaml(text, name);
    if ('faults' in parsed) {
      parsed.faults.forEach(report);
      return [];
    }
    return readCases(parsed.data, name, report);
  });
  for (const one of cases) linkStatement(one, one.place, against, report);
  return { cases, faults: locatedFaults(faults, (file) => texts.get(file)), files: files.length };
}
