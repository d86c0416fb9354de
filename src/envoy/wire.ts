/** The protobuf wire format, as much of it as the check needs: a reader that steps through bytes, and a writer that
 *  fills them from the back, so that every length is known when it is written. Source: protobuf.dev, "Encoding". */

/** Tags are field number × 8 + wire type. */
export const VARINT = 0;
export const FIXED64 = 1;
export const LENGTH = 2;
const GROUP_START = 3;
const GROUP_END = 4;
const FIXED32 = 5;

/** Where in the bytes something lies. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/** Steps through the fields of a message. Every method that reads moves `at`; whatever would read past the end that
 *  it is given throws RangeError, as does all that no message may hold. */
export class Reader {
  readonly bytes: Buffer;
  at = 0;
  private high = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** The next field's tag, or 0 at the end of the message. */
  tag(end: number): number {
    if (this.at === end) return 0;
    const tag = this.low(end);
    if (tag < 8 || this.high !== 0) throw new RangeError(`expected a field number, found the tag ${tag}`);
    return tag;
  }

  /** A length and what it spans; `at` stands at the span's start. */
  length(end: number): Span {
    const length = this.low(end);
    const start = this.at;
    if (this.high !== 0 || length > end - start) throw new RangeError(`expected ${length} bytes, found fewer`);
    return { start, end: start + length };
  }

  /** As `length`, stepped over. */
  span(end: number): Span {
    const span = this.length(end);
    this.at = span.end;
    return span;
  }

  /** A signed 64-bit varint. Beyond 2^53 it loses its last digits, never its magnitude. */
  int64(end: number): number {
    const low = this.low(end);
    return (this.high | 0) * 0x1_0000_0000 + low;
  }

  double(end: number): number {
    if (end - this.at < 8) throw new RangeError('expected 8 bytes, found fewer');
    this.at += 8;
    return this.bytes.readDoubleLE(this.at - 8);
  }

  /** Steps over the value of a field that nobody reads. */
  skip(tag: number, end: number): void {
    switch (tag & 7) {
      case VARINT:
        this.low(end);
        return;
      case FIXED64:
        this.forward(8, end);
        return;
      case LENGTH:
        this.span(end);
        return;
      case FIXED32:
        this.forward(4, end);
        return;
      case GROUP_START:
        this.skipGroup(tag, end);
        return;
      default:
        throw new RangeError(`expected a wire type, found ${tag & 7}`);
    }
  }

  /** UTF-8, read leniently: what is none becomes U+FFFD. */
  text(span: Span): string {
    return span.start === span.end ? '' : this.bytes.toString('utf8', span.start, span.end);
  }

  /** As `text`, for what comes again and again: methods, hosts, names of headers. Those that came lately are handed out
   *  again, which takes a third of the time of making them. */
  word(span: Span): string {
    const { bytes } = this;
    const { start, end } = span;
    if (end - start > MAX_WORD) return this.text(span);
    let hash = end - start;
    let seen = 0;
    for (let index = start; index < end; index++) {
      const byte = bytes[index] ?? 0;
      hash = Math.imul(hash ^ byte, 0x0100_0193);
      seen |= byte;
    }
    if (seen >= 0x80) return this.text(span);
    const slot = (hash ^ (hash >>> 15)) & (WORDS - 1);
    const known = words[slot];
    if (known !== undefined && isWritten(known, bytes, start, end)) return known;
    const word = bytes.toString('latin1', start, end);
    words[slot] = word;
    return word;
  }

  private forward(count: number, end: number): void {
    if (end - this.at < count) throw new RangeError(`expected ${count} bytes, found fewer`);
    this.at += count;
  }

  /** The low 32 bits of a varint; the other 32 are left in `high`. */
  private low(end: number): number {
    const first = this.byte(end);
    this.high = 0;
    if (first < 0x80) return first;
    let low = first & 0x7f;
    for (let shift = 7; shift < 70; shift += 7) {
      const byte = this.byte(end);
      const bits = byte & 0x7f;
      if (shift < 28) low |= bits << shift;
      else if (shift === 28) {
        low |= bits << 28;
        this.high = bits >>> 4;
      } else if (shift < 63) this.high |= bits << (shift - 32);
      else this.high |= (bits & 1) << 31;
      if (byte < 0x80) {
        this.high >>>= 0;
        return low >>> 0;
      }
    }
    throw new RangeError('expected a number of at most ten bytes, found a longer one');
  }

  private byte(end: number): number {
    if (this.at >= end) throw new RangeError('expected another byte, found the end');
    return this.bytes[this.at++] ?? 0;
  }

  /** Groups went out of use with proto2, yet they are a way to write an unknown field. */
  private skipGroup(start: number, end: number): void {
    const open = [start];
    while (open.length > 0) {
      const tag = this.tag(end);
      const type = tag & 7;
      if (tag === 0 || open.length > 100) throw new RangeError('expected the end of a group, found none');
      if (type === GROUP_START) open.push(tag);
      else if (type !== GROUP_END) this.skip(tag, end);
      else if (open.pop() !== tag - 1) throw new RangeError('expected the end of a group, found that of another');
    }
  }
}

const MAX_WORD = 48;
const WORDS = 1024;

/** Words by a hash of their bytes. A newcomer takes the place of the one that has its slot. */
const words: (string | undefined)[] = Array.from({ length: WORDS }, () => undefined);

function isWritten(word: string, bytes: Buffer, start: number, end: number): boolean {
  if (word.length !== end - start) return false;
  for (let index = 0; index < word.length; index++) {
    if (word.charCodeAt(index) !== bytes[start + index]) return false;
  }
  return true;
}

/** Fills bytes from the back: what comes last is written first, and whatever encloses it knows its length by then.
 *  One writer serves many messages, one after the other. */
export class Writer {
  private bytes = Buffer.allocUnsafe(4096);
  /** Where the bytes that are written begin. */
  private start = this.bytes.length;

  /** Forgets what was written. */
  clear(): void {
    this.start = this.bytes.length;
  }

  /** How many bytes are written: the mark that `message` takes. */
  get written(): number {
    return this.bytes.length - this.start;
  }

  /** Encloses all that was written since the mark in a message field. */
  message(field: number, mark: number): void {
    this.varint(this.written - mark);
    this.varint(field * 8 + LENGTH);
  }

  text(field: number, text: string): void {
    const mark = this.written;
    this.characters(text);
    this.message(field, mark);
  }

  /** A whole number from 0 to 2^31 − 1. */
  number(field: number, value: number): void {
    this.varint(value);
    this.varint(field * 8 + VARINT);
  }

  double(field: number, value: number): void {
    this.make(8);
    this.bytes.writeDoubleLE(value, this.start);
    this.varint(field * 8 + FIXED64);
  }

  /** A copy of what was written. */
  finish(): Uint8Array {
    const copy = Buffer.allocUnsafe(this.written);
    this.bytes.copy(copy, 0, this.start);
    return copy;
  }

  private characters(text: string): void {
    const { length } = text;
    if (length > SHORT) {
      const size = Buffer.byteLength(text);
      this.make(size);
      this.bytes.write(text, this.start, size);
      return;
    }
    this.make(length);
    const { bytes, start } = this;
    for (let index = 0; index < length; index++) {
      const code = text.charCodeAt(index);
      if (code >= 0x80) {
        this.start += length;
        const size = Buffer.byteLength(text);
        this.make(size);
        this.bytes.write(text, this.start, size);
        return;
      }
      bytes[start + index] = code;
    }
  }

  private varint(value: number): void {
    if (value < 0x80) {
      this.make(1);
      this.bytes[this.start] = value;
      return;
    }
    let size = 1;
    for (let rest = value >>> 7; rest > 0; rest >>>= 7) size++;
    this.make(size);
    let at = this.start;
    let rest = value;
    for (; rest >= 0x80; rest >>>= 7) this.bytes[at++] = (rest & 0x7f) | 0x80;
    this.bytes[at] = rest;
  }

  /** Room for so many bytes in front. */
  private make(size: number): void {
    if (size > this.start) {
      const { written } = this;
      const larger = Buffer.allocUnsafe(Math.max(this.bytes.length * 2, written + size));
      this.bytes.copy(larger, larger.length - written, this.start);
      this.bytes = larger;
      this.start = larger.length - written;
    }
    this.start -= size;
  }
}

/** Up to here a loop over the characters is faster than a call into the engine. */
const SHORT = 48;
