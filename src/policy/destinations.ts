import { domainToASCII } from 'node:url';
import { canonicalHost } from '../shared/host.ts';
import { canonicalPathText } from '../shared/path.ts';
import { quoted } from '../shared/shape.ts';
import type { Finding } from '../shared/shape.ts';

/** A pattern of hosts and paths that an application covers. Source: Cloudflare Access, application paths.
 *  At most one `*` per host label, which never crosses a dot, and one per path segment, which also matches `/`.
 *  A pattern covers what it matches and everything below, at a segment boundary. */
export interface Destination {
  /** As written. */
  readonly text: string;
  /** Equal for patterns that are the same once canonicalised. */
  readonly key: string;
  /** `*`: any host. Otherwise lower-case labels; one with a `*` is split there into what stands before and after. */
  readonly host: '*' | readonly HostLabel[];
  /** The host as canonical text, with its `*`. */
  readonly hostText: string;
  readonly hostLiterals: number;
  readonly hostWildcards: number;
  /** The path's literal pieces between its `*`: [""] is the whole host, ["/api"] has no `*`, ["/a", ""] is `/a*`. */
  readonly pathPieces: readonly string[];
  readonly pathLiterals: number;
}

export type HostLabel = string | { readonly before: string; readonly after: string };

/** Reads `host[/path]`. Faults: `destination_invalid`, `destination_unreachable`. */
export function parseDestination(text: string): { readonly value: Destination } | Finding {
  const scheme = /^[a-z][a-z0-9+.-]*:\/\//i.exec(text);
  if (scheme) return invalid(text, 'no scheme', `write ${quoted(text.slice(scheme[0].length))}`);
  if (/[\s\u0000-\u001f\u007f]/.test(text)) return invalid(text, 'no white space or control character', 'remove it');
  const slash = text.indexOf('/');
  const hostText = slash < 0 ? text : text.slice(0, slash);
  const pathText = slash < 0 ? '' : text.slice(slash);
  if (/[?#]/.test(text)) return invalid(text, 'no query or fragment', `write ${quoted(text.split(/[?#]/)[0] ?? '')}`);
  const host = parseHost(hostText, text);
  if ('code' in host) return host;
  const pieces = parsePath(pathText, text);
  if ('code' in pieces) return pieces;
  const pathPieces = pieces.value;
  return {
    value: Object.freeze({
      text,
      key: `${host.text}\n${pathPieces.join('\n')}`,
      host: host.labels,
      hostText: host.text,
      hostLiterals: host.text.replaceAll('*', '').length,
      hostWildcards:
        host.labels === '*'
          ? Number.POSITIVE_INFINITY
          : host.labels.filter((label) => typeof label !== 'string').length,
      pathPieces,
      pathLiterals: pathPieces.reduce((sum, piece) => sum + piece.length, 0),
    }),
  };
}

/** As `parseDestination`; read once for each object, whoever asks. Unchanged files keep their objects. */
export function destinationOf(written: { readonly text: string }): { readonly value: Destination } | Finding {
  let parsed = PARSED.get(written);
  if (!parsed) PARSED.set(written, (parsed = parseDestination(written.text)));
  return parsed;
}

const PARSED = new WeakMap<object, { readonly value: Destination } | Finding>();

/** Whether a pattern's path covers a canonical path. Linear in the path. */
export function coversPath(pieces: readonly string[], path: string): boolean {
  const first = pieces[0] ?? '';
  if (!path.startsWith(first)) return false;
  if (pieces.length === 1)
    return first === '' || path.length === first.length || path.charCodeAt(first.length) === SLASH;
  let from = first.length;
  for (let i = 1; i < pieces.length - 1; i += 1) {
    const piece = pieces[i] ?? '';
    // The leftmost place is always best: what stands between is free.
    const found = path.indexOf(piece, from);
    if (found < 0) return false;
    from = found + piece.length;
  }
  const last = pieces.at(-1) ?? '';
  if (last === '') return true;
  for (let found = path.indexOf(last, from); found >= 0; found = path.indexOf(last, found + 1)) {
    const end = found + last.length;
    if (end === path.length || path.charCodeAt(end) === SLASH) return true;
  }
  return false;
}

/** Whether a pattern's host covers a canonical host. IP literals match only exactly, or `*`. */
export function coversHost(destination: Destination, host: string): boolean {
  if (destination.host === '*') return true;
  if (destination.hostWildcards === 0) return destination.hostText === host;
  if (isIpLiteral(host)) return false;
  const labels = host.split('.');
  return (
    labels.length === destination.host.length &&
    destination.host.every((label, i) => coversLabel(label, labels[i] ?? ''))
  );
}

/** Sorts the more specific pattern first: host without `*`, fewer labels with `*`, more literal host characters,
 *  `*` alone last; then more literal path characters, fewer `*`, the lesser text in byte order. */
export function bySpecificity(a: Destination, b: Destination): number {
  return byHost(a, b) || byPath(a, b);
}

/** Finds the application of a request: the most specific pattern wins. */
export interface DestinationIndex<Target> {
  /** `host` and `path` canonical. */
  find(host: string, path: string): { readonly target: Target; readonly destination: Destination } | undefined;
  /** Every pattern that covers the request, the most specific first: for `explain`, not for the request path. */
  all(host: string, path: string): readonly { readonly target: Target; readonly destination: Destination }[];
}

interface Entry<Target> {
  readonly destination: Destination;
  readonly target: Target;
}

/** Builds an index: exact hosts by one look-up; wildcard hosts by one look-up per set of wildcard positions in use;
 *  literal paths by one look-up per segment; paths with `*` by their first segment. Ten thousand applications cost
 *  what ten cost. */
export class DestinationIndexBuilder<Target> {
  readonly #exact = new Map<string, PathIndex<Target>>();
  /** Label count → the sets of wildcard positions in use, a `*` or `.` for each label. */
  readonly #masks = new Map<number, Set<string>>();
  /** Host with its wildcard labels written `*` → the patterns of that form. */
  readonly #wildcards = new Map<
    string,
    Map<string, { readonly sample: Destination; readonly paths: PathIndex<Target> }>
  >();
  #any: PathIndex<Target> | undefined;
  readonly #entries: Entry<Target>[] = [];

  add(destination: Destination, target: Target): void {
    const entry: Entry<Target> = { destination, target };
    this.#entries.push(entry);
    this.#pathsFor(destination).add(entry);
  }

  build(): DestinationIndex<Target> {
    const exact = this.#exact;
    const any = this.#any;
    const entries = this.#entries;
    const find = (host: string, path: string): Entry<Target> | undefined =>
      exact.get(host)?.find(path) ?? this.#findWildcard(host, path) ?? any?.find(path);
    return {
      find,
      all: (host, path) =>
        entries
          .filter(({ destination }) => coversHost(destination, host) && coversPath(destination.pathPieces, path))
          .toSorted((a, b) => bySpecificity(a.destination, b.destination)),
    };
  }

  #pathsFor(destination: Destination): PathIndex<Target> {
    if (destination.host === '*') return (this.#any ??= new PathIndex());
    if (destination.hostWildcards === 0)
      return inserted(this.#exact, destination.hostText, () => new PathIndex<Target>());
    const labels = destination.host;
    const mask = labels.map((label) => (typeof label === 'string' ? '.' : '*')).join('');
    inserted(this.#masks, labels.length, () => new Set<string>()).add(mask);
    const form = labels.map((label) => (typeof label === 'string' ? label : '*')).join('.');
    const ofForm = inserted(this.#wildcards, form, () => new Map());
    return inserted(ofForm, destination.hostText, () => ({ sample: destination, paths: new PathIndex<Target>() }))
      .paths;
  }

  #findWildcard(host: string, path: string): Entry<Target> | undefined {
    if (this.#masks.size === 0 || isIpLiteral(host)) return undefined;
    const labels = host.split('.');
    const masks = this.#masks.get(labels.length);
    if (!masks) return undefined;
    let best: Entry<Target> | undefined;
    for (const mask of masks) {
      const form = labels.map((label, i) => (mask[i] === '*' ? '*' : label)).join('.');
      const ofForm = this.#wildcards.get(form);
      if (!ofForm) continue;
      for (const { sample, paths } of ofForm.values()) {
        if (!coversHost(sample, host)) continue;
        const entry = paths.find(path);
        if (entry && (!best || bySpecificity(entry.destination, best.destination) < 0)) best = entry;
      }
    }
    return best;
  }
}

/** The patterns of one host. */
class PathIndex<Target> {
  readonly #literal = new Map<string, Entry<Target>>();
  /** First segment, where it has no `*` → patterns, the most specific first. */
  readonly #bySegment = new Map<string, Entry<Target>[]>();
  readonly #general: Entry<Target>[] = [];

  add(entry: Entry<Target>): void {
    const { pathPieces } = entry.destination;
    const first = pathPieces[0] ?? '';
    if (pathPieces.length === 1) {
      if (!this.#literal.has(first)) this.#literal.set(first, entry);
      return;
    }
    const end = first.indexOf('/', 1);
    const list = end < 0 ? this.#general : inserted(this.#bySegment, first.slice(0, end), () => []);
    insertSorted(list, entry);
  }

  find(path: string): Entry<Target> | undefined {
    let best = this.#findLiteral(path);
    if (this.#bySegment.size > 0) {
      const end = path.indexOf('/', 1);
      best = better(best, firstCovering(this.#bySegment.get(end < 0 ? path : path.slice(0, end)), path));
    }
    if (this.#general.length > 0) best = better(best, firstCovering(this.#general, path));
    return best;
  }

  #findLiteral(path: string): Entry<Target> | undefined {
    if (this.#literal.size === 0) return undefined;
    const whole = this.#literal.get(path);
    if (whole) return whole;
    for (let end = path.lastIndexOf('/'); end >= 0; end = end === 0 ? -1 : path.lastIndexOf('/', end - 1)) {
      const found = this.#literal.get(path.slice(0, end));
      if (found) return found;
    }
    // `*` of OPTIONS has no slash; only what covers the whole host covers it.
    return this.#literal.get('');
  }
}

const SLASH = 47;

function better<Target>(a: Entry<Target> | undefined, b: Entry<Target> | undefined): Entry<Target> | undefined {
  if (!a || !b) return a ?? b;
  return byPath(a.destination, b.destination) <= 0 ? a : b;
}

function firstCovering<Target>(entries: readonly Entry<Target>[] | undefined, path: string): Entry<Target> | undefined {
  if (!entries) return undefined;
  for (const entry of entries) if (coversPath(entry.destination.pathPieces, path)) return entry;
  return undefined;
}

function insertSorted<Target>(list: Entry<Target>[], entry: Entry<Target>): void {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const there = list[middle];
    if (there && byPath(there.destination, entry.destination) <= 0) low = middle + 1;
    else high = middle;
  }
  list.splice(low, 0, entry);
}

function inserted<Key, Value>(map: Map<Key, Value>, key: Key, make: () => Value): Value {
  const there = map.get(key);
  if (there !== undefined) return there;
  const made = make();
  map.set(key, made);
  return made;
}

function byHost(a: Destination, b: Destination): number {
  if (a.hostWildcards !== b.hostWildcards) return a.hostWildcards < b.hostWildcards ? -1 : 1;
  return b.hostLiterals - a.hostLiterals;
}

function byPath(a: Destination, b: Destination): number {
  if (a.pathLiterals !== b.pathLiterals) return b.pathLiterals - a.pathLiterals;
  if (a.pathPieces.length !== b.pathPieces.length) return a.pathPieces.length - b.pathPieces.length;
  return byBytes(patternText(a), patternText(b)) || byBytes(a.key, b.key);
}

/** Canonical. A `*` that is no wildcard looks like one that is. */
function patternText({ hostText, pathPieces }: Destination): string {
  return hostText + pathPieces.join('*');
}

function byBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

function coversLabel(pattern: HostLabel, label: string): boolean {
  if (typeof pattern === 'string') return pattern === label;
  const { before, after } = pattern;
  if (before === '' && after === '') return true;
  return label.length >= before.length + after.length && label.startsWith(before) && label.endsWith(after);
}

function isIpLiteral(host: string): boolean {
  const last = host.charCodeAt(host.length - 1);
  // A canonical host that ends in a digit label is dotted IPv4; one in brackets is IPv6.
  return last === 93 || (last >= 48 && last <= 57 && /(?:^|\.)\d+$/.test(host));
}

function parseHost(
  hostText: string,
  text: string,
): { readonly text: string; readonly labels: '*' | readonly HostLabel[] } | Finding {
  if (hostText === '') return invalid(text, 'a host', 'write host/path, or */path for any host');
  if (hostText === '*') return { text: '*', labels: '*' };
  if (hostText.includes('@')) return invalid(text, 'no user info', 'remove everything up to the @');
  if (hostText.startsWith('[')) return parseIpv6(hostText, text);
  if (hostText.includes(':'))
    return invalid(
      text,
      'no port',
      `write ${quoted(text.replace(/:\d*/, ''))}; the port of a request is never compared`,
    );
  if (hostText.endsWith('.')) return invalid(text, 'no trailing dot', 'remove it');
  const labels: HostLabel[] = [];
  for (const written of hostText.split('.')) {
    const label = parseLabel(written, text);
    if (typeof label === 'object' && 'code' in label) return label;
    labels.push(label);
  }
  const starred = labels.some((label) => typeof label !== 'string');
  const canonicalText = labels
    .map((label) => (typeof label === 'string' ? label : `${label.before}*${label.after}`))
    .join('.');
  if (starred) {
    const literal = labels.filter((label) => typeof label === 'string');
    if (literal.length > 0 && literal.every((label) => /^(?:\d+|0x[0-9a-f]*)$/.test(label))) {
      return invalid(text, 'no * in an IP address', 'name each address as a destination of its own');
    }
    if (canonicalText.length > 253) return invalid(text, 'a host of at most 253 characters', 'shorten it');
    return { text: canonicalText, labels };
  }
  const host = canonicalHost(canonicalText);
  if (typeof host !== 'string')
    return invalid(text, 'a host name or IP address', `no request can have the host ${quoted(hostText)}`);
  return { text: host, labels: host.split('.') };
}

function parseIpv6(
  hostText: string,
  text: string,
): { readonly text: string; readonly labels: readonly HostLabel[] } | Finding {
  if (hostText.includes('*'))
    return invalid(text, 'no * in an IP address', 'name each address as a destination of its own');
  if (!hostText.endsWith(']')) return invalid(text, 'no port', 'end the host at the ]');
  const host = canonicalHost(hostText);
  return typeof host === 'string'
    ? { text: host, labels: [host] }
    : invalid(text, 'an IPv6 address in brackets', 'write it such as [2001:db8::1]');
}

function parseLabel(written: string, text: string): HostLabel | Finding {
  if (written === '') return invalid(text, 'no empty label in the host', 'remove the extra dot');
  const stars = written.split('*').length - 1;
  if (stars > 1)
    return invalid(
      text,
      'at most one * per host label',
      'use one *, which matches any run of characters within the label',
    );
  if (stars === 1 && /^xn--/i.test(written))
    return invalid(text, 'no * in a label beginning xn--', 'name each host, or use * for the whole label');
  // Only letters beyond ASCII are converted: the conversion would quietly cut at characters that end a URL's host.
  if (!/^[a-z0-9_*\u0080-\u{10ffff}-]+$/iu.test(written))
    return invalid(text, 'host labels of letters, digits, - and _', `correct ${quoted(written)}`);
  const ascii = /^[\u0000-\u007f]*$/.test(written) ? written.toLowerCase() : stars === 0 ? domainToASCII(written) : '';
  if (ascii === '' || !/^[a-z0-9_*-]+$/.test(ascii))
    return invalid(text, 'host labels of letters, digits, - and _', `correct ${quoted(written)}`);
  if (ascii.length > 63) return invalid(text, 'host labels of at most 63 characters', `shorten ${quoted(written)}`);
  if (stars === 0) return ascii;
  const at = ascii.indexOf('*');
  return { before: ascii.slice(0, at), after: ascii.slice(at + 1) };
}

function parsePath(pathText: string, text: string): { readonly value: readonly string[] } | Finding {
  if (pathText === '' || pathText === '/' || pathText === '/*') return { value: WHOLE_HOST };
  for (const segment of pathText.split('/')) {
    if (segment.split('*').length > 2)
      return invalid(
        text,
        'at most one * per path segment',
        'use one *, which matches any run of characters, / included',
      );
  }
  const encoded = pathText.replaceAll(/[^\u0000-\u007f]+/g, encodeURIComponent);
  // A raw `*` is the wildcard, an escaped one is a character, and canonical paths decode it: so the wildcards are
  // set aside behind a word that the path does not contain, with or without escapes.
  let aside = 'zSTARz';
  while (unescaped(encoded).includes(aside)) aside = `z${aside}`;
  const canonical = canonicalPathText(encoded.replaceAll('*', aside));
  if ('reason' in canonical) {
    return {
      code: 'destination_unreachable',
      text: `no request can have the path of ${quoted(text)}: ${canonical.why}`,
      mend: 'write the path as it is after normalisation; such requests are refused with 400 before any application is looked for',
    };
  }
  const path = canonical.path.endsWith('/') ? canonical.path.slice(0, -1) : canonical.path;
  const pieces = path.split(aside);
  return { value: pieces.length === 2 && pieces[0] === '/' && pieces[1] === '' ? WHOLE_HOST : Object.freeze(pieces) };
}

/** Its letters and digits. */
function unescaped(path: string): string {
  return path.replaceAll(/%[4-7][\da-f]/gi, (escape) => String.fromCharCode(Number.parseInt(escape.slice(1), 16)));
}

const WHOLE_HOST: readonly string[] = Object.freeze(['']);

function invalid(text: string, expected: string, mend: string): Finding {
  return { code: 'destination_invalid', text: `expected ${expected}, found ${quoted(text)}`, mend };
}
