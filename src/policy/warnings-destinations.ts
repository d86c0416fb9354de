/** Destinations that do not decide what they seem to. */
import { warning } from '../model/fault.ts';
import type { Place, Report } from '../model/fault.ts';
import { quoted } from '../shared/shape.ts';
import { coversHost, coversPath, destinationOf } from './destinations.ts';
import type { Destination } from './destinations.ts';
import type { ApplicationObject, PolicySet } from './objects.ts';

/** Reports paths on wildcard hosts that an exact host hides, and patterns of two applications that only the order of
 *  their text tells apart. */
export async function warnOfDestinations(set: PolicySet, report: Report, pause: () => Promise<void>): Promise<void> {
  const all: Placed[] = [];
  for (const application of set.applications) {
    for (const written of application.destinations) {
      const parsed = destinationOf(written);
      if (!('code' in parsed)) all.push({ application, place: written.place, destination: parsed.value });
    }
    await pause();
  }
  await warnOfHidden(all, report, pause);
  await warnOfTies(all, report, pause);
}

interface Placed {
  readonly application: ApplicationObject;
  readonly place: Place;
  readonly destination: Destination;
}

/** Comparing every wildcard with every host is left off after so many, which take a tenth of a second. */
const COMPARISONS_MAX = 1_000_000;

async function warnOfHidden(all: readonly Placed[], report: Report, pause: () => Promise<void>): Promise<void> {
  const exact = all.filter(({ destination }) => destination.hostWildcards === 0);
  let comparisons = 0;
  for (const wildcard of all) {
    const { destination, application, place } = wildcard;
    if (destination.hostWildcards === 0 || isWholeHost(destination)) continue;
    comparisons += exact.length;
    if (comparisons > COMPARISONS_MAX) return;
    const hiding = exact.find(
      (one) =>
        one.application !== application &&
        coversHost(destination, one.destination.hostText) &&
        hidesPath(one.destination, destination),
    );
    if (hiding) {
      report(
        warning(
          place,
          'destination_hidden',
          `at ${hiding.destination.hostText} application ${quoted(hiding.application.name)} decides, since an exact host comes before any path of ${quoted(destination.text)}`,
          `add ${hiding.destination.hostText} with this path, where it is meant to hold`,
        ),
      );
    }
    await pause();
  }
}

function isWholeHost({ pathPieces }: Destination): boolean {
  return pathPieces.length === 1 && pathPieces[0] === '';
}

/** Whether every path of `inner` is one of `outer`, as far as that is plain. */
function hidesPath(outer: Destination, inner: Destination): boolean {
  if (isWholeHost(outer)) return true;
  return inner.pathPieces.length === 1 && coversPath(outer.pathPieces, inner.pathPieces[0] ?? '');
}

async function warnOfTies(all: readonly Placed[], report: Report, pause: () => Promise<void>): Promise<void> {
  const ranks = new Map<string, Placed[]>();
  for (const one of all) {
    const { hostWildcards, hostLiterals, hostText, pathLiterals, pathPieces } = one.destination;
    // Without a wildcard, equal rank and overlap are equality, which is a fault.
    if (hostWildcards === 0 && pathPieces.length === 1) continue;
    const host = hostWildcards === 0 ? hostText : `${hostWildcards} ${hostLiterals}`;
    const rank = `${host} ${pathLiterals} ${pathPieces.length}`;
    const same = ranks.get(rank);
    if (same) same.push(one);
    else ranks.set(rank, [one]);
  }
  let comparisons = 0;
  for (const same of ranks.values()) {
    for (const [index, one] of same.entries()) {
      comparisons += index;
      if (comparisons > COMPARISONS_MAX / 10) return;
      const other = same
        .slice(0, index)
        .find((before) => before.application !== one.application && overlaps(before.destination, one.destination));
      if (other) {
        report(
          warning(
            one.place,
            'destination_tie',
            `${quoted(one.destination.text)} and ${quoted(other.destination.text)} of application ${quoted(other.application.name)} are equally specific, and some requests match both`,
            'make one of them more specific; now the lesser text decides',
          ),
        );
      }
      await pause();
    }
  }
}

function overlaps(a: Destination, b: Destination): boolean {
  return hostsOverlap(a, b) && pathsOverlap(a.pathPieces, b.pathPieces);
}

function hostsOverlap(a: Destination, b: Destination): boolean {
  if (a.host === '*' || b.host === '*') return true;
  if (a.host.length !== b.host.length) return false;
  const labels = b.host;
  return a.host.every((label, index) => {
    const other = labels[index] ?? '';
    if (typeof label === 'string') return typeof other === 'string' ? label === other : fits(other, label);
    if (typeof other === 'string') return fits(label, other);
    return globsOverlap([label.before, label.after], [other.before, other.after]);
  });
}

function fits({ before, after }: { readonly before: string; readonly after: string }, label: string): boolean {
  return label.length >= before.length + after.length && label.startsWith(before) && label.endsWith(after);
}

/** A pattern covers what it matches and everything below. */
function pathsOverlap(a: readonly string[], b: readonly string[]): boolean {
  return (
    globsOverlap(a, b) || globsOverlap(below(a), b) || globsOverlap(a, below(b)) || globsOverlap(below(a), below(b))
  );
}

function below(pieces: readonly string[]): readonly string[] {
  return [...pieces.slice(0, -1), `${pieces.at(-1) ?? ''}/`, ''];
}

/** Whether one text matches both globs, given as the pieces between their `*`. */
function globsOverlap(a: readonly string[], b: readonly string[]): boolean {
  const left = tokens(a);
  const right = tokens(b);
  // reachable[j]: some text is matched by the tokens of `left` so far and by the first j of `right`.
  let reachable = [true];
  for (const token of right) reachable.push(token === '*' && (reachable.at(-1) ?? false));
  for (const token of left) {
    const next = [token === '*' && (reachable[0] ?? false)];
    for (const [j, other] of right.entries()) {
      next.push(
        token === '*' || other === '*'
          ? (reachable[j + 1] ?? false) || (next[j] ?? false)
          : token === other && (reachable[j] ?? false),
      );
    }
    reachable = next;
  }
  return reachable[right.length] ?? false;
}

function tokens(pieces: readonly string[]): readonly string[] {
  return pieces.flatMap((piece, index) => (index === 0 ? [...piece] : ['*', ...piece]));
}
