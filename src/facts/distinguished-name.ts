/** The one common name of a distinguished name, as text (RFC 4514, RFC 2253) and as DER. */
import { readElements, readObjectIdentifier } from './der.ts';

/** `none`: the name has no CN. `several`: it has several, or one that is no plain text. `unreadable`: it is no
 *  distinguished name in this notation. */
export type CommonName =
  | { readonly state: 'one'; readonly value: string }
  | { readonly state: 'none' | 'several' }
  | { readonly state: 'unreadable' };

/** Reads a distinguished name in the string form of RFC 4514 and its predecessor RFC 2253: types `CN`, `commonName`,
 *  `2.5.4.3`, `OID.2.5.4.3` in any case; multi-valued RDNs; escaped characters and hex pairs, which together are UTF-8;
 *  quoted values. A CN that is written as `#hex`, or holds a NUL or bad UTF-8, counts as `several`: it is there, and
 *  there is no one text to compare. What the grammar has no place for (`/C=CA/CN=x`, an unescaped `;`) is unreadable.
 *  Time is linear. */
export function commonNameOfText(text: string): CommonName {
  if (text.length > MAX_TEXT) return UNREADABLE;
  const names: CommonNames = [];
  let at = skipSpaces(text, 0);
  if (at === text.length) return NONE;
  for (;;) {
    at = readAttribute(text, at, names);
    if (at < 0) return UNREADABLE;
    if (at === text.length) return oneOf(names);
    // `,` or `+`: whether the next attribute is of the same RDN makes no difference to what its type is.
    at = skipSpaces(text, at + 1);
  }
}

/** Reads a `Name` (RFC 5280, 4.1.2.4) from its DER encoding. */
export function commonNameOfDer(name: Uint8Array): CommonName {
  const [sequence, ...rest] = readElements(name) ?? [];
  const relatives = sequence?.tag === SEQUENCE && rest.length === 0 ? readElements(sequence.content) : undefined;
  if (relatives === undefined) return UNREADABLE;
  const names: CommonNames = [];
  for (const relative of relatives) {
    const attributes = relative.tag === SET ? readElements(relative.content) : undefined;
    if (attributes === undefined) return UNREADABLE;
    for (const attribute of attributes) {
      const [type, value, ...more] = (attribute.tag === SEQUENCE && readElements(attribute.content)) || [];
      if (type === undefined || value === undefined || more.length > 0) return UNREADABLE;
      if (readObjectIdentifier(type) === COMMON_NAME) names.push(textOfDer(value.tag, value.content));
    }
  }
  return oneOf(names);
}

/** Every CN found, in order; undefined for one that is no plain text. */
type CommonNames = (string | undefined)[];

const NONE: CommonName = Object.freeze({ state: 'none' });
const SEVERAL: CommonName = Object.freeze({ state: 'several' });
const UNREADABLE: CommonName = Object.freeze({ state: 'unreadable' });
const COMMON_NAME = '2.5.4.3';
const MAX_TEXT = 65_536;
const SEQUENCE = 0x30;
const SET = 0x31;

function oneOf(names: CommonNames): CommonName {
  if (names.length === 0) return NONE;
  const [value] = names;
  return names.length > 1 || value === undefined ? SEVERAL : { state: 'one', value };
}

/** Reads `type=value` from `start` and gives the place of the separator after it, or of the end; -1: unreadable. */
function readAttribute(text: string, start: number, names: CommonNames): number {
  const equals = text.indexOf('=', start);
  if (equals < 0 || equals - start > MAX_TYPE) return -1;
  const type = text.slice(start, equals).trimEnd();
  if (!ATTRIBUTE_TYPE.test(type)) return -1;
  const value = new ValueReader(text, skipSpaces(text, equals + 1));
  if (!value.read()) return -1;
  if (COMMON_NAME_TYPES.has(type.toLowerCase())) names.push(value.text());
  return value.at;
}

const MAX_TYPE = 128;
const ATTRIBUTE_TYPE = /^(?:[A-Za-z][A-Za-z0-9-]*|(?:[Oo][Ii][Dd]\.)?\d+(?:\.\d+)*)$/;
const COMMON_NAME_TYPES: ReadonlySet<string> = new Set(['cn', 'commonname', '2.5.4.3', 'oid.2.5.4.3']);

const SPACE = 0x20;
const QUOTE = 0x22;
const HASH = 0x23;
const PLUS = 0x2b;
const COMMA = 0x2c;
const BACKSLASH = 0x5c;
/** Characters that must be escaped in a value, the separators aside (RFC 4514, 2.4). */
const FORBIDDEN: ReadonlySet<number> = new Set([0, QUOTE, 0x3b, 0x3c, 0x3e]);
/** Characters that an escape may stand before. */
const ESCAPABLE = ' "#+,;<=>\\';

/** Reads one value. Characters and the bytes of hex pairs are kept apart until a run of bytes is whole. */
class ValueReader {
  at: number;
  readonly #source: string;
  #value = '';
  #bytes: number[] = [];
  /** False: there is a value, but it is no text. */
  #isText = true;

  constructor(source: string, start: number) {
    this.#source = source;
    this.at = start;
  }

  /** The value; undefined where it is no plain text. */
  text(): string | undefined {
    return this.#isText && isPlain(this.#value) ? this.#value : undefined;
  }

  /** Stops at a separator or at the end; false: neither is there, or the value is ill-formed. */
  read(): boolean {
    const first = this.#source.charCodeAt(this.at);
    const isRead = first === QUOTE ? this.#readQuoted() : first === HASH ? this.#readHex() : this.#readPlain();
    if (!isRead) return false;
    this.#flush();
    const next = this.#source.charCodeAt(this.at);
    return this.at === this.#source.length || next === COMMA || next === PLUS;
  }

  #readPlain(): boolean {
    const source = this.#source;
    // Spaces at the end belong to the value only where they are escaped.
    let spaces = 0;
    for (; this.at < source.length; this.at++) {
      const unit = source.charCodeAt(this.at);
      if (unit === COMMA || unit === PLUS) return true;
      if (unit === SPACE) {
        spaces++;
        continue;
      }
      if (FORBIDDEN.has(unit)) return false;
      if (spaces > 0) this.#append(' '.repeat(spaces));
      spaces = 0;
      if (unit !== BACKSLASH) this.#append(source.charAt(this.at));
      else if (!this.#readEscape()) return false;
    }
    return true;
  }

  #readQuoted(): boolean {
    const source = this.#source;
    for (this.at++; this.at < source.length; this.at++) {
      const unit = source.charCodeAt(this.at);
      if (unit === QUOTE) {
        this.at = skipSpaces(source, this.at + 1);
        return true;
      }
      if (unit !== BACKSLASH) this.#append(source.charAt(this.at));
      else if (!this.#readEscape()) return false;
    }
    return false;
  }

  #readHex(): boolean {
    this.#isText = false;
    const start = this.at + 1;
    this.at = start;
    while (isHex(this.#source.charCodeAt(this.at))) this.at++;
    const digits = this.at - start;
    this.at = skipSpaces(this.#source, this.at);
    return digits > 0 && digits % 2 === 0;
  }

  /** From the backslash to the last character of the escape. */
  #readEscape(): boolean {
    const source = this.#source;
    const next = source.charAt(this.at + 1);
    if (next !== '' && ESCAPABLE.includes(next)) {
      this.#append(next);
      this.at++;
      return true;
    }
    if (!isHex(source.charCodeAt(this.at + 1)) || !isHex(source.charCodeAt(this.at + 2))) return false;
    this.#bytes.push(Number.parseInt(source.slice(this.at + 1, this.at + 3), 16));
    this.at += 2;
    return true;
  }

  #append(text: string): void {
    if (this.#bytes.length > 0) this.#flush();
    this.#value += text;
  }

  #flush(): void {
    if (this.#bytes.length === 0) return;
    const text = utf8(Uint8Array.from(this.#bytes));
    this.#bytes = [];
    if (text === undefined) this.#isText = false;
    else this.#value += text;
  }
}

function skipSpaces(text: string, start: number): number {
  let at = start;
  while (text.charCodeAt(at) === SPACE) at++;
  return at;
}

function isHex(unit: number): boolean {
  return (unit >= 48 && unit <= 57) || (unit >= 65 && unit <= 70) || (unit >= 97 && unit <= 102);
}

/** No NUL, no half of a surrogate pair, and nothing that stands for bytes that could not be read. */
function isPlain(text: string): boolean {
  return !text.includes('\u0000') && !text.includes('\uFFFD') && !/\p{Surrogate}/u.test(text);
}

/** A DirectoryString, or another of the string types certificates use; undefined where it is no plain text. */
function textOfDer(tag: number, content: Uint8Array): string | undefined {
  const text = decoded(tag, content);
  return text !== undefined && isPlain(text) ? text : undefined;
}

function decoded(tag: number, content: Uint8Array): string | undefined {
  switch (tag) {
    case 0x0c: // UTF8String
      return utf8(content);
    case 0x12: // NumericString
    case 0x13: // PrintableString
    case 0x14: // TeletexString: beyond ASCII, readers disagree on its meaning
    case 0x16: // IA5String
    case 0x1a: // VisibleString
      return content.every((byte) => byte < 0x80) ? Buffer.from(content).toString('latin1') : undefined;
    case 0x1e: // BMPString
      return content.length % 2 === 0 ? Buffer.from(content).swap16().toString('utf16le') : undefined;
    default:
      return undefined;
  }
}

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function utf8(bytes: Uint8Array): string | undefined {
  try {
    return UTF8.decode(bytes);
  } catch {
    return undefined;
  }
}
