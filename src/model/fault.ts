/** Where in the user's files something was written. `path` leads from the root of the file to the node, e.g.
 *  `["groups", 0, "include", 2, "email"]`. Line and column are found from it only when somebody must be told. */
export interface Place {
  /** Relative to the config folder, with `/`, e.g. `policies/orders.yaml`. */
  readonly file: string;
  readonly path: readonly (string | number)[];
  /** The key itself is meant, not its value (an unknown key, a duplicate key). */
  readonly atKey?: boolean;
  /** Set where the parser already knows it (a syntax error); both count from 1. */
  readonly position?: Position;
}

export interface Position {
  readonly line: number;
  readonly column: number;
}

/** The user's file is wrong. Plain data: collected, sorted by place and reported all at once; never thrown. */
export interface Fault {
  readonly severity: 'fault' | 'warning';
  /** Stable, lower_snake_case, documented. */
  readonly code: string;
  /** What was expected, then what was found. Never a secret. */
  readonly text: string;
  /** What to do about it, in one line. */
  readonly mend: string;
  readonly place: Place;
}

/** Collects faults while a set is loaded. */
export type Report = (fault: Fault) => void;

/** A place further down. */
export function at(place: Place, ...steps: readonly (string | number)[]): Place {
  return { file: place.file, path: [...place.path, ...steps] };
}

export function fault(place: Place, code: string, text: string, mend: string): Fault {
  return { severity: 'fault', code, text, mend, place };
}

export function warning(place: Place, code: string, text: string, mend: string): Fault {
  return { severity: 'warning', code, text, mend, place };
}
