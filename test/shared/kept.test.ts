import { expect, it } from 'vitest';
import { createKept } from '../../src/shared/kept.ts';

it('a value is taken over while its inputs are the very same', () => {
  const kept = createKept();
  const file = { bytes: 1 };
  const first = kept.of('a', [file, 'x'], () => ({}));
  expect(kept.of('a', [file, 'x'], () => ({}))).toBe(first);
  const rows: readonly (readonly unknown[])[] = [[{ bytes: 1 }, 'x'], [file, 'y'], [file], [file, 'x', undefined], []];
  for (const inputs of rows) {
    kept.of('a', [file, 'x'], () => first);
    expect(kept.of('a', inputs, () => ({}))).not.toBe(first);
  }
});

it('names do not share values', () => {
  const kept = createKept();
  expect(kept.of('a', [], () => 1)).toBe(1);
  expect(kept.of('b', [], () => 2)).toBe(2);
});
