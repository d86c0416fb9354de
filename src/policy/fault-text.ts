import type { Fault, Position } from '../model/fault.ts';
import { createLocator } from './places.ts';
import type { KnownPositions } from './places.ts';
import { byText } from '../shared/order.ts';

/** A fault whose line and column are known. */
export interface LocatedFault {
  readonly fault: Fault;
  readonly position: Position;
}

/** Faults by file, line and column; where several stand in one place, in the order they were found. Each is given
 *  once, however often it was found. `sources` gives the text of a file, to find positions in, `known`
 *  those that were found in that text before. */
export function locatedFaults(
  faults: readonly Fault[],
  sources: (file: string) => string | undefined,
  known?: (file: string) => KnownPositions | undefined,
): readonly LocatedFault[] {
  const locate = createLocator(sources, known);
  const seen = new Set<string>();
  return faults
    .map((fault) => ({ fault, position: locate(fault.place) }))
    .filter(({ fault, position }) => {
      const key = `${fault.place.file}:${position.line}:${position.column} ${fault.code} ${fault.text}`;
      if (seen.has(key)) return false;
      seen.add(key);
      return true;
    })
    .toSorted(byPlace);
}

/** Sorts by file, line and column. */
export function byPlace(a: LocatedFault, b: LocatedFault): number {
  return (
    byText(a.fault.place.file, b.fault.place.file) ||
    a.position.line - b.position.line ||
    a.position.column - b.position.column
  );
}

/** Faults and warnings as `postern validate` prints them, sorted by place; "" where there are none.
 *  ```
 *  policies/orders.yaml:12:18 group_unknown: no group has the id or name "Enginering"
 *    mend: did you mean "Engineering"?
 *  ```
 *  A warning has the word `warning` before its code. `color`: for a terminal. */
export function faultsText(
  faults: readonly Fault[],
  sources: (file: string) => string | undefined,
  options: { readonly color?: boolean } = {},
): string {
  return locatedFaults(faults, sources)
    .map((one) => faultText(one, options.color === true))
    .join('');
}

/** One fault, in two lines. */
export function faultText({ fault, position }: LocatedFault, color = false): string {
  const paint = (code: number, text: string): string => (color ? `\u001B[${code}m${text}\u001B[0m` : text);
  const place = paint(BOLD, `${printable(fault.place.file)}:${position.line}:${position.column}`);
  const head =
    fault.severity === 'warning' ? `${paint(YELLOW, 'warning')} ${paint(YELLOW, fault.code)}` : paint(RED, fault.code);
  return `${place} ${head}: ${printable(fault.text)}\n  mend: ${printable(fault.mend)}\n`;
}

const BOLD = 1;
const RED = 31;
const YELLOW = 33;

/** What users wrote may hold line breaks or terminal controls; a fault is two lines and changes no terminal. */
function printable(text: string): string {
  return text.replaceAll(/[\u0000-\u001F\u007F-\u009F\u2028\u2029]/g, (character) =>
    JSON.stringify(character)
      .slice(1, -1)
      .replace(character, `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`),
  );
}
