import { policySchema } from '../policy/schema.ts';
import { settingsSchema } from '../settings.ts';
import { UsageError, parsed } from './arguments.ts';
import type { Command } from './arguments.ts';

const HELP = `Usage: postern schema [policies|settings]

Prints the JSON Schema of the policy files and of postern.yaml, for editors and checks:
as one document with both under "$defs", or the one that is named.

  postern schema policies > postern-policies.schema.json
  # yaml-language-server: $schema=./postern-policies.schema.json

  -h, --help           this text
`;

/** `postern schema`: the JSON Schema of what users write. */
export const schema: Command = {
  summary: 'print the JSON Schema of the policy files and of postern.yaml',
  help: HELP,
  async run(args, terminal) {
    const { positionals } = parsed(args, { help: { type: 'boolean', short: 'h' } }, true);
    const [which, ...more] = positionals;
    if (more.length > 0 || (which !== undefined && which !== 'policies' && which !== 'settings')) {
      throw new UsageError(`expected policies or settings, found ${JSON.stringify(positionals.join(' '))}`);
    }
    const document =
      which === 'policies'
        ? policySchema()
        : which === 'settings'
          ? settingsSchema()
          : {
              $schema: 'https://json-schema.org/draft/2020-12/schema',
              title: 'Postern',
              description: 'policies: the files under policies/. settings: postern.yaml.',
              $defs: { policies: policySchema(), settings: settingsSchema() },
            };
    terminal.out(`${JSON.stringify(document, null, 2)}\n`);
    return 0;
  },
};
