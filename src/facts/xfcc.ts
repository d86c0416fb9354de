/** Envoy's `x-forwarded-client-cert` header. Source: Envoy docs, HTTP connection manager, x-forwarded-client-cert. */
import type { RequestFacts } from '../model/request.ts';

/** The last element of the header: the certificate of this connection, where Envoy replaces the header or appends
 *  to it. Earlier elements are what others claimed. */
export interface XfccElement {
  /** SHA-256 of the certificate as it was sent; undefined: absent or empty. */
  readonly hash: string | undefined;
  /** The leaf, PEM; undefined: absent or empty. */
  readonly certificate: string | undefined;
  /** The whole chain as the peer sent it, PEM; undefined: absent or empty. */
  readonly chain: string | undefined;
  /** A distinguished name as RFC 2253 writes it, escapes kept; empty where the certificate has an empty one. */
  readonly subject: string | undefined;
  readonly uris: readonly string[];
  readonly dnsNames: readonly string[];
}

export type XfccReading =
  | { readonly state: 'absent' }
  | { readonly state: 'unreadable'; readonly why: string }
  | { readonly state: 'present'; readonly element: XfccElement };

export const XFCC_HEADER = 'x-forwarded-client-cert';

/** Reads the header of a request; several are one list, in order. */
export function xfccOf(request: RequestFacts): XfccReading {
  const values = request.headers.all(XFCC_HEADER);
  if (values.length === 0) return ABSENT;
  return readXfcc(values.length === 1 ? (values[0] ?? '') : values.join(','));
}

/** Reads the header's value. It is `element *("," element)`, an element `pair *(";" pair)`, a pair `key=value`; a value
 *  is plain, without `,` `;` `"`, or quoted, where `\` takes the next character with it. A header that breaks this
 *  anywhere is unreadable as a whole and never partly used: also one longer than 65,536 characters, with control or
 *  non-ASCII characters, with a key twice that may come once, with escapes in `Cert` or `Chain` that do not decode, or
 *  whose last element says nothing of a certificate. Unknown keys are skipped. Time is linear. */
export function readXfcc(header: string): XfccReading {
  if (header.length > MAX_HEADER) return unreadable('it is too long');
  if (!/^[\t\x20-\x7e]*$/.test(header)) return unreadable('it holds a character that has no place there');
  let at = 0;
  for (;;) {
    const element = new ElementReader(header, at);
    const broken = element.read();
    if (broken !== undefined) return unreadable(broken);
    if (element.at === header.length) return element.finished();
    at = element.at + 1;
  }
}

/** Percent-decoded text; `+` stays. Undefined where an escape is broken or the bytes are no UTF-8. */
export function percentDecoded(value: string): string | undefined {
  try {
    return decodeURIComponent(value);
  } catch {
    return undefined;
  }
}

const MAX_HEADER = 65_536;
const ABSENT: XfccReading = Object.freeze({ state: 'absent' });

const ONCE_ONLY: ReadonlySet<string> = new Set(['hash', 'cert', 'chain', 'subject', 'issuer']);
const MAX_KEY = 64;
const TAB = 0x09;
const SPACE = 0x20;
const QUOTE = 0x22;
const COMMA = 0x2c;
const SEMICOLON = 0x3b;
const BACKSLASH = 0x5c;

class ElementReader {
  at: number;
  readonly #header: string;
  readonly #once = new Map<string, string>();
  readonly #uris: string[] = [];
  readonly #dnsNames: string[] = [];

  constructor(header: string, start: number) {
    this.#header = header;
    this.at = start;
  }

  /** Reads up to the comma after the element, or the end. Gives what is wrong, or undefined. */
  read(): string | undefined {
    for (;;) {
      this.#skipBlanks();
      const key = this.#readKey();
      if (key === undefined) return 'a key or its "=" is missing';
      const isQuoted = this.#header.charCodeAt(this.at) === QUOTE;
      const value = isQuoted ? this.#readQuoted() : this.#readPlain();
      if (value === undefined) return 'a quote is not closed';
      this.#skipBlanks();
      const next = this.#header.charCodeAt(this.at);
      const isEnd = this.at === this.#header.length;
      if (!isEnd && next !== COMMA && next !== SEMICOLON) return 'text stands beside a quoted value';
      const broken = this.#keep(key, value, isQuoted);
      if (broken !== undefined) return broken;
      if (isEnd || next === COMMA) return undefined;
      this.at++;
    }
  }

  /** As the last element. */
  finished(): XfccReading {
    const element: XfccElement = {
      hash: this.#once.get('hash') || undefined,
      certificate: this.#once.get('cert') || undefined,
      chain: this.#once.get('chain') || undefined,
      subject: this.#once.get('subject'),
      uris: this.#uris,
      dnsNames: this.#dnsNames,
    };
    const says =
      element.hash ?? element.certificate ?? (element.subject || undefined) ?? element.uris[0] ?? element.dnsNames[0];
    return says === undefined
      ? unreadable('its last element says nothing of a certificate')
      : { state: 'present', element };
  }

  #keep(key: string, value: string, isQuoted: boolean): string | undefined {
    if (key === 'uri' || key === 'dns') {
      const text = isQuoted ? value.replaceAll(/\\(.)/g, '$1') : value;
      if (text !== '') (key === 'uri' ? this.#uris : this.#dnsNames).push(text);
      return undefined;
    }
    if (!ONCE_ONLY.has(key)) return undefined;
    if (this.#once.has(key)) return `the key ${key} comes twice`;
    if (key !== 'cert' && key !== 'chain') {
      this.#once.set(key, value);
      return undefined;
    }
    const decoded = percentDecoded(value);
    if (decoded === undefined) return `the key ${key} does not decode`;
    this.#once.set(key, decoded);
    return undefined;
  }

  /** Letters up to the `=`, in lower case; leaves `at` after it. */
  #readKey(): string | undefined {
    const start = this.at;
    while (isLetter(this.#header.charCodeAt(this.at))) this.at++;
    const length = this.at - start;
    if (length === 0 || length > MAX_KEY || this.#header.charAt(this.at) !== '=') return undefined;
    this.at++;
    return this.#header.slice(start, start + length).toLowerCase();
  }

  /** Up to a separator or a quote, without the blanks before it. */
  #readPlain(): string {
    const start = this.at;
    let end = start;
    for (; this.at < this.#header.length; this.at++) {
      const unit = this.#header.charCodeAt(this.at);
      if (unit === COMMA || unit === SEMICOLON || unit === QUOTE) break;
      if (unit !== SPACE && unit !== TAB) end = this.at + 1;
    }
    return this.#header.slice(start, end);
  }

  /** What is between the quotes, escapes kept; leaves `at` after the closing one. Undefined: it is not there. */
  #readQuoted(): string | undefined {
    const start = this.at + 1;
    for (this.at = start; this.at < this.#header.length; this.at++) {
      const unit = this.#header.charCodeAt(this.at);
      if (unit === BACKSLASH) this.at++;
      else if (unit === QUOTE) return this.#header.slice(start, this.at++);
    }
    return undefined;
  }

  #skipBlanks(): void {
    for (;;) {
      const unit = this.#header.charCodeAt(this.at);
      if (unit !== SPACE && unit !== TAB) return;
      this.at++;
    }
  }
}

function isLetter(unit: number): boolean {
  return (unit >= 65 && unit <= 90) || (unit >= 97 && unit <= 122);
}

function unreadable(why: string): XfccReading {
  return { state: 'unreadable', why: `${XFCC_HEADER}: ${why}` };
}
