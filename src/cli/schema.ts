import { decisionLineSchema } from '../decision-log-shape.ts';
import { policySchema } from '../policy/schema.ts';
import { settingsSchema } from '../settings.ts';
import { UsageError, parsed } from './arguments.ts';
import type { Command } from './arguments.ts';

const HELP = `Usage: postern schema [policies|settings|decisions]

Prints the JSON Schema of the policy files and of postern.yaml, for editors and checks, and that of a line of the
decision log, for those who read it: as one document with all under "$defs", or the one that is named.

  postern schema policies > postern-policies.schema.json
  # yaml-language-server: $schema=./postern-policies.schema.json

  -h, --help           this text
`;

const SCHEMAS: Readonly<Record<string, () => object>> = {
  policies: policySchema,
  settings: settingsSchema,
  decisions: decisionLineSchema,
};

/** `postern schema`: the JSON Schema of what users write, and of what they read. */
export const schema: Command = {
  summary: 'print the JSON Schema of the policy files, of postern.yaml and of the decision log',
  help: HELP,
  async run(args, terminal) {
    const { positionals } = parsed(args, { help: { type: 'boolean', short: 'h' } }, true);
    const [which, ...more] = positionals;
    const known = which === undefined || Object.hasOwn(SCHEMAS, which);
    if (more.length > 0 || !known) {
      throw new UsageError(
        `expected ${Object.keys(SCHEMAS).join(', ')}, found ${JSON.stringify(positionals.join(' '))}`,
      );
    }
    const document =
      which === undefined
        ? {
            $schema: 'https://json-schema.org/draft/2020-12/schema',
            title: 'Postern',
            description:
              'policies: the files under policies/. settings: postern.yaml. decisions: a line of the decision log.',
            $defs: Object.fromEntries(Object.entries(SCHEMAS).map(([name, make]) => [name, make()])),
          }
        : SCHEMAS[which]?.();
    terminal.out(`${JSON.stringify(document, null, 2)}\n`);
    return 0;
  },
};
