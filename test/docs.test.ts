/** Files that the pages of docs/ show under a name load as they stand, and their cases pass. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { Command } from '../src/cli/arguments.ts';
import { test as testCommand } from '../src/cli/test.ts';
import { validate } from '../src/cli/validate.ts';

const DOCS = join(import.meta.dirname, '../docs');

interface Example {
  readonly page: string;
  /** The heading above. */
  readonly section: string;
  readonly files: ReadonlyMap<string, string>;
}

/** A block belongs to a file where its info string has a second word: the file's name in the config folder. */
const examples: readonly Example[] = readdirSync(DOCS)
  .filter((name) => name.endsWith('.md'))
  .flatMap((page) =>
    readFileSync(join(DOCS, page), 'utf8')
      .split(/^## /m)
      .map((text): Example => ({
        page,
        section: text.split('\n')[0] ?? '',
        files: new Map(
          [...text.matchAll(/^```(?:yaml|json) (\S+)\n(.*?)^```$/gms)].map(([, name = '', body = '']) => [name, body]),
        ),
      }))
      .filter(({ files }) => files.size > 0),
  );

const work = mkdtempSync(join(tmpdir(), 'postern-docs-'));

afterAll(() => {
  rmSync(work, { recursive: true, force: true });
});

async function run(command: Command, ...args: string[]): Promise<{ readonly status: number; readonly text: string }> {
  let text = '';
  const write = (more: string): void => {
    text += more;
  };
  const status = await command.run(args, {
    out: write,
    error: write,
    colors: false,
    environment: {},
    input: async () => '',
  });
  return { status, text };
}

describe('the reference', () => {
  it('is what the program says of itself', { timeout: 180_000 }, () => {
    const checked = spawnSync(process.execPath, [join(DOCS, 'generate.mjs'), '--check'], { encoding: 'utf8' });
    expect(checked.stderr).toBe('');
    expect(checked.status).toBe(0);
  });
});

describe('files of the pages', () => {
  it('are found', () => {
    const sections = examples.filter(({ page }) => page === 'step-up.md').map(({ section }) => section);
    expect(sections).toEqual(['Okta', 'Microsoft Entra ID', 'Auth0', 'Keycloak', 'Entrust Identity as a Service']);
  });

  it.each(examples.map((example) => [example.page, example.section, example] as const))(
    '%s, %s',
    async (_, __, { page, section, files }) => {
      const folder = join(work, `${page} ${section}`.replaceAll(/[^\w.]+/g, '-'));
      for (const [name, text] of files) {
        mkdirSync(dirname(join(folder, name)), { recursive: true });
        writeFileSync(join(folder, name), text);
      }
      const validated = await run(validate, '--config', folder, '--strict');
      expect(validated.text).toMatch(/ 0 faults\n$/);
      expect(validated.status).toBe(0);
      if (![...files.keys()].some((name) => name.startsWith('tests/'))) return;
      const tested = await run(testCommand, '--config', folder);
      expect(tested.text).toMatch(/^[1-9]\d* cases pass/);
      expect(tested.status).toBe(0);
    },
  );
});
