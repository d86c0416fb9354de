/** What a JSON pointer leads to, in the sender's own spelling: parsing would quietly settle members that are there
 *  twice, and round long numbers. Source: RFC 6901, RFC 8259. */

/** `several`: on the way some object has the member twice, so that readers may disagree on which one counts. */
export type PointedValue =
  | { readonly state: 'absent' }
  | { readonly state: 'several' }
  | { readonly state: 'found'; /** The value's own JSON. */ readonly source: string };

/** Follows the unescaped tokens of a pointer. `json` is known to be JSON, so that only strings and brackets matter. */
export function valueAt(json: string, tokens: readonly string[]): PointedValue {
  let at = afterSpace(json, 0);
  for (const token of tokens) {
    const open = json.charCodeAt(at);
    const next = open === OPEN_BRACE ? member(json, at, token) : open === OPEN_BRACKET ? element(json, at, token) : -1;
    if (next === 'several') return { state: 'several' };
    if (next < 0) return { state: 'absent' };
    at = next;
  }
  return { state: 'found', source: json.slice(at, valueEnd(json, at)) };
}

/** Where the value of an object's member begins; -1: it has none of that name. */
function member(json: string, start: number, name: string): number | 'several' {
  let found = -1;
  let at = afterSpace(json, start + 1);
  while (json.charCodeAt(at) === QUOTE) {
    const keyEnd = stringEnd(json, at);
    const written = json.slice(at + 1, keyEnd - 1);
    const key = written.includes('\\') ? (JSON.parse(`"${written}"`) as string) : written;
    // Past the colon.
    const value = afterSpace(json, afterSpace(json, keyEnd) + 1);
    if (key === name) {
      if (found >= 0) return 'several';
      found = value;
    }
    at = afterComma(json, valueEnd(json, value));
  }
  return found;
}

/** Where the element of an array begins; -1: it has none of that number. */
function element(json: string, start: number, token: string): number {
  if (!/^(?:0|[1-9]\d{0,8})$/.test(token)) return -1;
  let at = afterSpace(json, start + 1);
  for (let left = Number(token); json.charCodeAt(at) !== CLOSE_BRACKET; left -= 1) {
    if (left === 0) return at;
    at = afterComma(json, valueEnd(json, at));
  }
  return -1;
}

function valueEnd(json: string, start: number): number {
  const first = json.charCodeAt(start);
  if (first === QUOTE) return stringEnd(json, start);
  if (first !== OPEN_BRACE && first !== OPEN_BRACKET) {
    let end = start;
    while (end < json.length && !isEnd(json.charCodeAt(end))) end += 1;
    return end;
  }
  let depth = 0;
  let at = start;
  do {
    const unit = json.charCodeAt(at);
    if (unit === QUOTE) {
      at = stringEnd(json, at);
      continue;
    }
    if (unit === OPEN_BRACE || unit === OPEN_BRACKET) depth += 1;
    else if (unit === CLOSE_BRACE || unit === CLOSE_BRACKET) depth -= 1;
    at += 1;
  } while (depth > 0 && at < json.length);
  return at;
}

/** After the closing quote. */
function stringEnd(json: string, start: number): number {
  let at = start + 1;
  while (at < json.length && json.charCodeAt(at) !== QUOTE) at += json.charCodeAt(at) === BACKSLASH ? 2 : 1;
  return at + 1;
}

function afterComma(json: string, from: number): number {
  const at = afterSpace(json, from);
  return json.charCodeAt(at) === COMMA ? afterSpace(json, at + 1) : at;
}

function afterSpace(json: string, from: number): number {
  let at = from;
  while (isSpace(json.charCodeAt(at))) at += 1;
  return at;
}

function isEnd(unit: number): boolean {
  return unit === COMMA || unit === CLOSE_BRACE || unit === CLOSE_BRACKET || isSpace(unit);
}

function isSpace(unit: number): boolean {
  return unit === 0x20 || unit === 0x0a || unit === 0x0d || unit === 0x09;
}

const QUOTE = 34;
const COMMA = 44;
const OPEN_BRACKET = 91;
const BACKSLASH = 92;
const CLOSE_BRACKET = 93;
const OPEN_BRACE = 123;
const CLOSE_BRACE = 125;
