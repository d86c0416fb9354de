import { explanationSchema } from '../cases/explanation.ts';
import { casesSchema } from '../cases/shape.ts';
import { decisionLineSchema } from '../decision-log-shape.ts';
import { policySchema } from '../policy/schema.ts';
import { settingsSchema } from '../settings.ts';
import { UsageError, parsed } from './arguments.ts';
import type { Command } from './arguments.ts';

const HELP = `Usage: postern schema [policies|settings|cases|decisions|explanation]

Prints the JSON Schema of the policy files, of postern.yaml and of the cases under tests/, for editors and checks, and
those of a line of the decision log and of explain --json, for those who read them: as one document with all under
"$defs", or the one that is named.

  postern schema policies > postern-policies.schema.json
  # yaml-language-server: $schema=./postern-policies.schema.json

  -h, --help           this text
`;

const SCHEMAS: Readonly<Record<string, () => object>> = {
  policies: policySchema,
  settings: settingsSchema,
  cases: casesSchema,
  decisions: decisionLineSchema,
  explanation: explanationSchema,
};

/** `postern schema`: the JSON Schema of what users write, and of what they read. */
export const schema: Command = {
  summary: 'print the JSON Schemas of what users write and read',
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
              'policies: the files under policies/. settings: postern.yaml. cases: the files under tests/. decisions: a line of the decision log. explanation: what explain --json prints.',
            $defs: Object.fromEntries(Object.entries(SCHEMAS).map(([name, make]) => [name, make()])),
          }
        : SCHEMAS[which]?.();
    terminal.out(`${JSON.stringify(document, null, 2)}\n`);
    return 0;
  },
};
