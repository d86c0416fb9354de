import { readYamlFolder } from '../files.ts';
import { parseYaml } from '../policy/read.ts';
import { readCases } from './shape.ts';
import type { StatedIdentity } from './shape.ts';

/** Everybody who asks in the users' own cases of a config folder, each once, in the order of the files. What is wrong
 *  in a file is told by `postern test`; here it only leaves out what cannot be read. */
export async function caseIdentities(folder: string, below: string): Promise<readonly StatedIdentity[]> {
  const identities = new Map<string, StatedIdentity>();
  for (const { name, bytes } of await readYamlFolder(folder, below)) {
    const parsed = parseYaml(new TextDecoder().decode(bytes), name);
    const cases = 'data' in parsed ? readCases(parsed.data, name, () => undefined) : [];
    for (const { identity } of cases)
      if (typeof identity === 'object') identities.set(JSON.stringify(identity), identity);
  }
  return [...identities.values()];
}
