import type { Place, Position } from '../model/fault.ts';
import { positions } from './yaml.ts';

/** The line and column of a place in the text of its file. A path that leads to nothing is where it ends: at the
 *  object that lacks the key. */
export function locate(place: Place, source: string): Position {
  return place.position ?? positions(source)(place.path, place.atKey === true);
}

/** Positions that were found in one text, by place in it. */
export type KnownPositions = Map<string, Position>;

/** Locates many places; each file is parsed once, and not at all where all its places are `known`. A file whose text is
 *  not at hand is meant as a whole: 1:1. */
export function createLocator(
  sources: (file: string) => string | undefined,
  known: (file: string) => KnownPositions | undefined = () => undefined,
): (place: Place) => Position {
  const files = new Map<string, ReturnType<typeof positions> | undefined>();
  return (place) => {
    if (place.position) return place.position;
    const positionsThere = known(place.file);
    const key = JSON.stringify([place.path, place.atKey === true]);
    const before = positionsThere?.get(key);
    if (before) return before;
    if (!files.has(place.file)) {
      const source = sources(place.file);
      files.set(place.file, source === undefined ? undefined : positions(source));
    }
    const position = files.get(place.file)?.(place.path, place.atKey === true) ?? { line: 1, column: 1 };
    positionsThere?.set(key, position);
    return position;
  };
}
