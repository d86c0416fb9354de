import type { Place, Position } from '../model/fault.ts';
import { positions } from './yaml.ts';

/** The line and column of a place in the text of its file. A path that leads to nothing is where it ends: at the
 *  object that lacks the key. */
export function locate(place: Place, source: string): Position {
  return place.position ?? positions(source)(place.path, place.atKey === true);
}

/** Locates many places; each file is parsed once. A file whose text is not at hand is meant as a whole: 1:1. */
export function createLocator(sources: (file: string) => string | undefined): (place: Place) => Position {
  const files = new Map<string, ReturnType<typeof positions> | undefined>();
  return (place) => {
    if (place.position) return place.position;
    if (!files.has(place.file)) {
      const source = sources(place.file);
      files.set(place.file, source === undefined ? undefined : positions(source));
    }
    return files.get(place.file)?.(place.path, place.atKey === true) ?? { line: 1, column: 1 };
  };
}
