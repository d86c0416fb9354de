import { isDeepStrictEqual } from 'node:util';

/** A name, what it stood for, and what it stands for now. */
export type Compared = readonly [name: string, before: unknown, after: unknown];

/** The names of what is not the same any more, in their order. */
export function changedNames(compared: readonly Compared[]): readonly string[] {
  return compared.filter(([, before, after]) => !isDeepStrictEqual(before, after)).map(([name]) => name);
}
