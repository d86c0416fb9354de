import { createKeySets } from '../facts/key-set.ts';
import { byPlace } from '../policy/fault-text.ts';
import { createLoader } from '../revision.ts';
import { CONFIG_HELP, CONFIG_OPTIONS, parsed } from './arguments.ts';
import type { Command } from './arguments.ts';
import { countText, overridesFrom, printedFaults } from './configuration.ts';

const HELP = `Usage: postern validate [--config DIR] [--strict]

Loads and compiles a config folder as serve would, without serving. Prints every fault with its place and what to do.
Exit 0: it would load. Exit 1: it would not, or with --strict there are warnings.

${CONFIG_HELP}
      --strict         warnings count as faults
`;

/** `postern validate`: what passes here loads in production. */
export const validate: Command = {
  summary: 'load and compile as serve would, without serving',
  help: HELP,
  async run(args, terminal) {
    const { values } = parsed(args, { ...CONFIG_OPTIONS, strict: { type: 'boolean', default: false } });
    const loader = createLoader({
      folder: values.config,
      overrides: overridesFrom(values.set, terminal),
      keySets: createKeySets(),
      makesKeys: false,
    });
    const { revision, faults: found, id } = await loader.load();
    const faults = [...found, ...((await revision?.warnings()) ?? [])].toSorted(byPlace);
    const tried = revision?.shadow?.faults ?? [];
    terminal.error(printedFaults([...faults, ...tried], terminal));
    if (!revision) {
      terminal.error(`${values.config}: ${countText(faults)}\n`);
      return 1;
    }
    const { set } = revision;
    terminal.out(
      `${values.config}: revision ${id} would load: ${set.applications.length} applications, ${set.groups.length} groups, ${set.resourceRules.length} resource rules; ${countText(faults)}${revision.shadow && !revision.shadow.compiled ? `; in the shadow policies, which would not be tried, ${countText(tried)}` : ''}\n`,
    );
    return values.strict && faults.length + tried.length > 0 ? 1 : 0;
  },
};
