#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { UsageError } from './cli/arguments.ts';
import type { Command, Terminal } from './cli/arguments.ts';

/** Commands are loaded when they are run, so that none pays for another's libraries. */
const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  serve: async () => (await import('./cli/serve.ts')).serve,
  validate: async () => (await import('./cli/validate.ts')).validate,
  explain: async () => (await import('./cli/explain.ts')).explain,
  test: async () => (await import('./cli/test.ts')).test,
  diff: async () => (await import('./cli/diff.ts')).diff,
  schema: async () => (await import('./cli/schema.ts')).schema,
};

async function main(args: readonly string[], terminal: Terminal): Promise<number> {
  const [word, ...rest] = args;
  if (word === '--version' || word === '-v') {
    terminal.out(`postern ${version()}\n`);
    return 0;
  }
  if (word === undefined || word === '--help' || word === '-h' || word === 'help') {
    (word === undefined ? terminal.error : terminal.out)(await overview());
    return word === undefined ? 1 : 0;
  }
  const load = Object.hasOwn(COMMANDS, word) ? COMMANDS[word] : undefined;
  if (!load) {
    terminal.error(`postern: unknown command ${JSON.stringify(word)}\nType: postern --help\n`);
    return 1;
  }
  const command = await load();
  if (rest.includes('--help') || rest.includes('-h')) {
    terminal.out(command.help);
    return 0;
  }
  try {
    return await command.run(rest, terminal);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    terminal.error(`postern ${word}: ${error.message}\nType: postern ${word} --help\n`);
    return 1;
  }
}

async function overview(): Promise<string> {
  const lines = await Promise.all(
    Object.entries(COMMANDS).map(async ([word, load]) => `  ${word.padEnd(10)} ${(await load()).summary}\n`),
  );
  return `postern ${version()}: decides who may enter, and how strongly they must have proved it, for Envoy

Usage: postern COMMAND [OPTIONS]

${lines.join('')}
Type: postern COMMAND --help
`;
}

function version(): string {
  const file = readFileSync(new URL('../package.json', import.meta.url), 'utf8');
  return (JSON.parse(file) as { version: string }).version;
}

const terminal: Terminal = {
  out: (written) => void process.stdout.write(written),
  error: (written) => void process.stderr.write(written),
  colors: process.stderr.isTTY === true && process.stdout.isTTY === true && !process.env['NO_COLOR'],
  environment: process.env,
  input: async () => text(process.stdin),
};

// A reader that goes away (`postern schema | head`) is no failure of ours.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

process.exitCode = await main(process.argv.slice(2), terminal).catch((error: unknown) => {
  terminal.error(`postern: ${error instanceof Error ? error.message : String(error)}\n`);
  return 1;
});
