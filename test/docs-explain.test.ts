/** What docs/explain.md shows of the commands is what they print for the files that it shows. */
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Command } from '../src/cli/arguments.ts';
import { diff } from '../src/cli/diff.ts';
import { explain } from '../src/cli/explain.ts';
import { test as testCommand } from '../src/cli/test.ts';
import { run } from './cases/terminal.ts';

const PAGE = readFileSync(join(import.meta.dirname, '../docs/explain.md'), 'utf8');
const COMMANDS: Readonly<Record<string, Command>> = { explain, test: testCommand, diff };

/** Command line → what it prints. */
const shown = [...PAGE.matchAll(/^```console\n\$ postern (.*)\n([^]*?)^```$/gm)].map(
  ([, line = '', output = '']) => [line, output] as const,
);

let work: string;

beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), 'postern-docs-explain-'));
  const files = [...PAGE.matchAll(/^```yaml (\S+)\n([^]*?)^```$/gm)].map(
    ([, name = '', body = '']) => [name, body] as const,
  );
  const put = (name: string, body: string): void => {
    mkdirSync(dirname(join(work, name)), { recursive: true });
    writeFileSync(join(work, name), body);
  };
  for (const [name, body] of files) put(`config/${name}`, body);
  cpSync(join(work, 'config'), join(work, 'next'), { recursive: true });
  // The files of the changed folder name themselves in their first line.
  for (const [, body = '', name = ''] of PAGE.matchAll(/^```yaml\n(# (next\/\S+)\n[^]*?)^```$/gm)) put(name, body);
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

it('the page shows each command', () => {
  expect(new Set(shown.map(([line]) => line.split(' ')[0]))).toEqual(new Set(Object.keys(COMMANDS)));
});

it.each(shown)('postern %s', async (line, output) => {
  const [word = '', ...args] = line.split(' ');
  const command = COMMANDS[word];
  if (!command) throw new Error(`no command ${word}`);
  const ran = await run(
    command,
    args.map((arg) => (arg === 'config' || arg === 'next' ? join(work, arg) : arg)),
  );
  expect(steady(ran.out + ran.error)).toBe(steady(output));
});

/** Without what differs from run to run. */
function steady(text: string): string {
  return text
    .replaceAll(`${work}/`, '')
    .replaceAll(/revision [0-9a-f]{12}/g, 'revision R')
    .replaceAll(/[\d.]+ ms/g, 'T ms');
}
