import { describe, expect, it } from 'vitest';
import { createFailureLog } from '../src/failure-log.ts';
import type { LogFields } from '../src/log.ts';

interface Setup {
  readonly lines: { readonly message: string; readonly fields: LogFields | undefined }[];
  fail(kind: string, times?: number): void;
  /** A second passes. */
  pass(): void;
}

function setup(): Setup {
  const lines: { message: string; fields: LogFields | undefined }[] = [];
  let due: (() => void)[] = [];
  let count = 0;
  const log = createFailureLog({
    logger: { error: (message, fields) => void lines.push({ message, fields }) },
    schedule(run, delayMs) {
      expect(delayMs).toBe(1000);
      due.push(run);
    },
  });
  return {
    lines,
    fail(kind, times = 1) {
      for (let one = 0; one < times; one += 1) log(kind, `${kind} failed`, { number: (count += 1) });
    },
    pass() {
      const runs = due;
      due = [];
      for (const run of runs) run();
    },
  };
}

describe('the log of failures', () => {
  it('writes the first at once, and counts the others of its second in one line', () => {
    const { lines, fail, pass } = setup();
    fail('overloaded', 1000);
    expect(lines).toEqual([{ message: 'overloaded failed', fields: { kind: 'overloaded', number: 1 } }]);
    pass();
    expect(lines.slice(1)).toEqual([
      { message: 'overloaded failed', fields: { kind: 'overloaded', number: 1000, suppressed: 999 } },
    ]);
  });

  it('writes one line a second however long it lasts, and none is lost from the count', () => {
    const { lines, fail, pass } = setup();
    for (let second = 0; second < 60; second += 1) {
      fail('overloaded', 500);
      pass();
    }
    expect(lines).toHaveLength(61);
    const told = lines.map(({ fields }) => Number(fields?.['suppressed'] ?? 1));
    expect(told.reduce((sum, one) => sum + one, 0)).toBe(60 * 500);
  });

  it('is quiet after a quiet second, and begins again', () => {
    const { lines, fail, pass } = setup();
    fail('late');
    pass();
    pass();
    expect(lines).toHaveLength(1);
    fail('late');
    expect(lines).toHaveLength(2);
  });

  it('lets no kind hide another', () => {
    const { lines, fail } = setup();
    fail('overloaded', 100);
    fail('thrown');
    expect(lines.map(({ fields }) => fields?.['kind'])).toEqual(['overloaded', 'thrown']);
  });
});
