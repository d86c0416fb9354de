import type { RequestRefusal } from '../model/request.ts';

/** The longest path that is read, in bytes. */
export const MAX_PATH = 8192;

/** A request target as it is compared with destinations: what two parsers could read differently is refused, not
 *  repaired, because Envoy forwards the target as it came.
 *  @param method RFC 9110 token; CONNECT has no path, and `*` belongs to OPTIONS alone.
 *  @param target Path and query as the client sent them.
 *  @returns The path without query, unreserved characters unescaped, other escapes in upper case, case and trailing
 *  slash kept; and the query after the first `?`, undefined where there is none. Source: RFC 3986 sections 2 and 6. */
export function canonicalPath(
  method: string,
  target: string,
): { readonly path: string; readonly query: string | undefined } | RequestRefusal {
  if (method === 'CONNECT') return malformed('CONNECT has no path');
  if (target === '*') {
    return method === 'OPTIONS' ? { path: '*', query: undefined } : malformed('the target * with a method but OPTIONS');
  }
  if (target.charCodeAt(0) !== SLASH) return malformed('the target does not start with /');
  if (target.includes('#')) return malformed('a fragment in the target');
  const mark = target.indexOf('?');
  if (mark === -1) {
    const path = canonical(target);
    return typeof path === 'string' ? { path, query: undefined } : path;
  }
  const query = target.slice(mark + 1);
  if (!isQuery(query)) return malformed('white space or a control character in the query');
  const path = canonical(target.slice(0, mark));
  return typeof path === 'string' ? { path, query } : path;
}

/** The path part alone, by the same law: for paths that a user writes. `?` and `#` are refused as malformed. A `*` is
 *  an ordinary character, and so is an escaped one, which is given back unescaped. */
export function canonicalPathText(path: string): { readonly path: string } | RequestRefusal {
  if (path.charCodeAt(0) !== SLASH) return malformed('the path does not start with /');
  const result = canonical(path);
  return typeof result === 'string' ? { path: result } : result;
}

const SLASH = 0x2f;
const DOT = 0x2e;
const PERCENT = 0x25;

const PLAIN = 0;
const ESCAPE = 1;
const TO_ESCAPE = 2;
const AMBIGUOUS = 4;
const INVALID = 8;

/** What a character means in a path, by its code below 0x80. */
const KIND = new Uint8Array(128).fill(INVALID);
for (let code = 0x21; code <= 0x7e; code++) KIND[code] = PLAIN;
for (const character of '"<>[]^`{|}') KIND[character.charCodeAt(0)] = TO_ESCAPE;
for (const character of '\\;') KIND[character.charCodeAt(0)] = AMBIGUOUS;
for (const character of '?#') KIND[character.charCodeAt(0)] = INVALID;
KIND[PERCENT] = ESCAPE;

/** Escaped characters that mean the same unescaped in every parser: unreserved, and the delimiters that a segment
 *  may hold, but `;`, which some parsers cut at. */
const DECODED = new Uint8Array(256);
for (const character of "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,=:@") {
  DECODED[character.charCodeAt(0)] = 1;
}

/** The value of a hex digit by its code; 255 for everything else. */
const HEX = new Uint8Array(128).fill(255);
for (let digit = 0; digit < 10; digit++) HEX[0x30 + digit] = digit;
for (let digit = 10; digit < 16; digit++) {
  HEX[0x41 + digit - 10] = digit;
  HEX[0x61 + digit - 10] = digit;
}

/** Most paths need no change: one scan tells, and the same string is given back. */
function canonical(path: string): string | RequestRefusal {
  if (path.length > MAX_PATH) return malformed(`a path over ${MAX_PATH} bytes`);
  let kinds = 0;
  let previous = 0;
  let dotted = false;
  let doubled = false;
  for (let index = 0; index < path.length; index++) {
    const code = path.charCodeAt(index);
    if (code > 0x7e) return malformed('a character outside printable ASCII in the path');
    kinds |= KIND[code] ?? INVALID;
    if (previous === SLASH) {
      if (code === SLASH) doubled = true;
      else if (code === DOT) dotted = true;
    }
    previous = code;
  }
  if ((kinds & INVALID) !== 0) return malformed('a character in the path that no path may hold');
  if ((kinds & ESCAPE) !== 0 && !hasWholeEscapes(path)) return malformed('% without two hex digits');
  if ((kinds & AMBIGUOUS) !== 0) return ambiguous('\\ or ; in the path');
  if (kinds === PLAIN) {
    if (doubled) return ambiguous('an empty segment');
    return dotted && hasDotSegment(path) ? ambiguous('a . or .. segment') : path;
  }
  const result = rewritten(path);
  if (typeof result !== 'string') return result;
  if (hasDoubleEscape(result)) return ambiguous('an escape of an escape');
  if (hasDotSegment(result)) return ambiguous('a . or .. segment');
  return result.includes('//') ? ambiguous('an empty segment') : result;
}

function hasWholeEscapes(path: string): boolean {
  for (let at = path.indexOf('%'); at !== -1; at = path.indexOf('%', at + 3)) {
    if (escapeAt(path, at) === -1) return false;
  }
  return true;
}

/** The byte written as `%xx` at this place; -1 where there is none. */
function escapeAt(path: string, at: number): number {
  const high = HEX[path.charCodeAt(at + 1)] ?? 255;
  const low = HEX[path.charCodeAt(at + 2)] ?? 255;
  return high === 255 || low === 255 ? -1 : high * 16 + low;
}

/** Escapes brought to their one form: decoded where that is safe, otherwise in upper case; what a segment may not
 *  hold raw is escaped. */
function rewritten(path: string): string | RequestRefusal {
  let result = '';
  for (let index = 0; index < path.length; index++) {
    const code = path.charCodeAt(index);
    if (code !== PERCENT) {
      result += KIND[code] === TO_ESCAPE ? escaped(code) : path.charAt(index);
      continue;
    }
    const byte = escapeAt(path, index);
    if (byte === 0x2f || byte === 0x5c) return ambiguous('an escaped / or \\');
    if (byte <= 0x1f || byte === 0x7f) return ambiguous('an escaped control character');
    if (byte < 0x80) {
      result += DECODED[byte] === 1 ? String.fromCharCode(byte) : escaped(byte);
      index += 2;
      continue;
    }
    const length = sequenceLength(path, index, byte);
    if (length === 0) return ambiguous('escaped bytes that are not UTF-8');
    result += path.slice(index, index + length * 3).toUpperCase();
    index += length * 3 - 1;
  }
  return result;
}

/** How many escaped bytes make one character of shortest-form UTF-8 here; 0 where none do. Source: RFC 3629
 *  section 4. */
function sequenceLength(path: string, at: number, first: number): 0 | 2 | 3 | 4 {
  const second = byteAt(path, at + 3);
  if (first >= 0xc2 && first <= 0xdf) return isTail(second) ? 2 : 0;
  const third = byteAt(path, at + 6);
  if (first >= 0xe0 && first <= 0xef) {
    const low = first === 0xe0 ? 0xa0 : 0x80;
    const high = first === 0xed ? 0x9f : 0xbf;
    return second >= low && second <= high && isTail(third) ? 3 : 0;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    const low = first === 0xf0 ? 0x90 : 0x80;
    const high = first === 0xf4 ? 0x8f : 0xbf;
    return second >= low && second <= high && isTail(third) && isTail(byteAt(path, at + 9)) ? 4 : 0;
  }
  return 0;
}

function byteAt(path: string, at: number): number {
  return path.charCodeAt(at) === PERCENT ? escapeAt(path, at) : -1;
}

function isTail(byte: number): boolean {
  return byte >= 0x80 && byte <= 0xbf;
}

function escaped(byte: number): string {
  return `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
}

function hasDoubleEscape(path: string): boolean {
  for (let at = path.indexOf('%25'); at !== -1; at = path.indexOf('%25', at + 3)) {
    if (escapeAt(path, at + 2) !== -1) return true;
  }
  return false;
}

function hasDotSegment(path: string): boolean {
  for (let at = path.indexOf('/.'); at !== -1; at = path.indexOf('/.', at + 1)) {
    const end = path.charCodeAt(at + 2) === DOT ? at + 3 : at + 2;
    if (end === path.length || path.charCodeAt(end) === SLASH) return true;
  }
  return false;
}

function isQuery(query: string): boolean {
  for (let index = 0; index < query.length; index++) {
    const code = query.charCodeAt(index);
    if (code <= 0x20 || code === 0x7f) return false;
  }
  return true;
}

function malformed(why: string): RequestRefusal {
  return { reason: 'request_malformed', why };
}

function ambiguous(why: string): RequestRefusal {
  return { reason: 'request_ambiguous', why };
}
