import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openLineFile } from '../src/log-file.ts';
import type { LineFile, LineFileOptions } from '../src/log-file.ts';

let folder: string;
let failures: unknown[];
let lost: number;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postern-log-file-'));
  failures = [];
  lost = 0;
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

function opened(more: Partial<LineFileOptions> = {}): Promise<LineFile> {
  return openLineFile({
    path: join(folder, 'log'),
    maxBytes: 25,
    keep: 2,
    failed: (error) => failures.push(error),
    lost: (lines) => (lost += lines),
    retryMs: 1,
    ...more,
  });
}

/** File name → lines. */
function written(): Record<string, string[]> {
  return Object.fromEntries(
    readdirSync(folder)
      .toSorted()
      .map((name) => [name, readFileSync(join(folder, name), 'utf8').split('\n').slice(0, -1)]),
  );
}

const TEN = (n: number): string => `line ${String(n).padStart(4, '0')}`;

describe('a file of lines', () => {
  it('is appended to', async () => {
    for (const n of [1, 2]) {
      const file = await opened();
      expect(file.write(TEN(n))).toBe(true);
      await file.close();
    }
    expect(written()).toEqual({ log: [TEN(1), TEN(2)] });
    expect(statSync(join(folder, 'log')).mode & 0o777).toBe(0o640);
  });

  it.each([
    [0, { log: [8, 9] }],
    [1, { log: [8, 9], 'log.1': [6, 7] }],
    [2, { log: [8, 9], 'log.1': [6, 7], 'log.2': [4, 5] }],
    [9, { log: [8, 9], 'log.1': [6, 7], 'log.2': [4, 5], 'log.3': [2, 3], 'log.4': [0, 1] }],
  ])('keeps %d older ones, whole lines in each, written at once or one by one', async (keep, expected) => {
    for (const oneByOne of [false, true]) {
      let file = await opened({ keep });
      for (let n = 0; n < 10; n += 1) {
        file.write(TEN(n));
        if (!oneByOne) continue;
        await file.close();
        file = await opened({ keep });
      }
      await file.close();
      expect(written()).toEqual(
        Object.fromEntries(Object.entries(expected).map(([name, lines]) => [name, lines.map(TEN)])),
      );
      for (const name of Object.keys(written())) rmSync(join(folder, name));
    }
    expect([lost, failures]).toEqual([0, []]);
  });

  it('gives a line that is longer than a file one of its own', async () => {
    const file = await opened();
    const long = 'x'.repeat(100);
    for (const line of ['a', long, 'b']) file.write(line);
    await file.close();
    expect(written()).toEqual({ log: ['b'], 'log.1': [long], 'log.2': ['a'] });
  });

  it('drops what finds too much waiting, and says so to the one who writes', async () => {
    const file = await opened({ bufferMaxBytes: 25, maxBytes: 1_000 });
    expect([1, 2, 3].map((n) => file.write(TEN(n)))).toEqual([true, true, false]);
    await file.close();
    expect(file.write(TEN(4))).toBe(false);
    expect(written()).toEqual({ log: [TEN(1), TEN(2)] });
    expect(lost).toBe(0);
  });

  it('takes lines again once what waited is written', async () => {
    const file = await opened({ bufferMaxBytes: 25, maxBytes: 1_000 });
    for (let n = 0; n < 100; n += 1) {
      while (!file.write(TEN(n))) await new Promise((resume) => setImmediate(resume));
    }
    await file.close();
    expect(written()['log']).toEqual(Array.from({ length: 100 }, (_, n) => TEN(n)));
  });

  it('rejects where it cannot be opened', async () => {
    await expect(opened({ path: join(folder, 'missing/log') })).rejects.toThrow('ENOENT');
  });

  it('counts what it cannot write, says so once, and goes on when it can', async () => {
    const inner = join(folder, 'inner');
    mkdirSync(inner);
    const file = await opened({ path: join(inner, 'log'), keep: 0, maxBytes: 15 });
    file.write(TEN(0));
    await until(() => existsSync(join(inner, 'log')) && statSync(join(inner, 'log')).size > 0);
    // The next line needs a new file, in a folder that is no longer there.
    rmSync(inner, { recursive: true });
    for (let n = 1; n < 4; n += 1) file.write(TEN(n));
    await until(() => lost > 0);
    expect(failures).toHaveLength(1);
    mkdirSync(inner);
    await until(() => {
      file.write(TEN(9));
      return existsSync(join(inner, 'log')) && statSync(join(inner, 'log')).size > 0;
    });
    await file.close();
    expect(readFileSync(join(inner, 'log'), 'utf8')).toBe(`${TEN(9)}\n`);
    expect(failures).toHaveLength(1);
  });

  it('grows on where the older ones cannot be moved', async () => {
    // A folder that is not empty stands where the file should go: nobody can rename over it, root included.
    mkdirSync(join(folder, 'log.1/x'), { recursive: true });
    const file = await opened({ keep: 1 });
    for (let n = 0; n < 4; n += 1) file.write(TEN(n));
    await file.close();
    expect(readFileSync(join(folder, 'log'), 'utf8').split('\n')).toEqual([...[0, 1, 2, 3].map(TEN), '']);
    expect(failures).not.toEqual([]);
    expect(lost).toBe(0);
  });
});

async function until(isSo: () => boolean): Promise<void> {
  const end = Date.now() + 10_000;
  while (!isSo()) {
    if (Date.now() > end) throw new Error('not in time');
    await new Promise((resume) => setTimeout(resume, 2));
  }
}
