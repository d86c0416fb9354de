import { parseArgs } from 'node:util';
import type { ParseArgsConfig } from 'node:util';

/** Where a command writes, and what it is run with: passed in, so that commands can be run in a test. */
export interface Terminal {
  readonly out: (text: string) => void;
  readonly error: (text: string) => void;
  /** Colours are for terminals, and for nobody who set NO_COLOR. */
  readonly colors: boolean;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** All of standard input as text. */
  readonly input: () => Promise<string>;
}

/** One command of the program: parses its own arguments and gives the exit code. */
export interface Command {
  readonly summary: string;
  readonly help: string;
  run(args: readonly string[], terminal: Terminal): Promise<number>;
}

/** What the user typed cannot be run; shown with a pointer to `--help`, exit 1. */
export class UsageError extends Error {}

type Options = NonNullable<ParseArgsConfig['options']>;

/** Parses options, unknown ones being a UsageError. */
export function parsed<const O extends Options>(
  args: readonly string[],
  options: O,
  positionals = false,
): ReturnType<typeof parseArgs<{ options: O; allowPositionals: boolean; strict: true }>> {
  try {
    return parseArgs({ args: [...args], options, allowPositionals: positionals, strict: true });
  } catch (error) {
    throw new UsageError(error instanceof Error ? firstSentence(error.message) : String(error));
  }
}

/** The options that every command that reads a config folder takes. */
export const CONFIG_OPTIONS = {
  config: { type: 'string', short: 'c', default: 'config' },
  set: { type: 'string', multiple: true, default: [] },
  help: { type: 'boolean', short: 'h', default: false },
} as const satisfies Options;

export const CONFIG_HELP = `  -c, --config DIR     the config folder (default: config)
      --set KEY=VALUE  override a setting by its dotted name; may be repeated.
                       The environment variable POSTERN_LISTEN_CHECK does the same for listen.check.
  -h, --help           this text`;

function firstSentence(message: string): string {
  return message.split(/\. |\n/)[0] ?? message;
}
