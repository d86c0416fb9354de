/** Commands run in the test's own process, with what they wrote. */
import type { Command, Terminal } from '../../src/cli/arguments.ts';
import { UsageError } from '../../src/cli/arguments.ts';

export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly error: string;
}

/** As main does it: what cannot be run is exit 1 with a message. */
export async function run(command: Command, args: readonly string[], input = ''): Promise<Ran> {
  let out = '';
  let error = '';
  const terminal: Terminal = {
    out: (text) => void (out += text),
    error: (text) => void (error += text),
    colors: false,
    environment: {},
    input: async () => input,
  };
  try {
    return { code: await command.run(args, terminal), out, error };
  } catch (thrown) {
    if (!(thrown instanceof UsageError)) throw thrown;
    return { code: 1, out, error: error + thrown.message };
  }
}
