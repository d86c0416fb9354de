import type { Address } from '../model/address.ts';
import { addressFromBytes, fourBytes, sixBytes } from './address.ts';
import { quoted, readText } from './shape.ts';
import type { Finding, Shape } from './shape.ts';

/** A block of addresses (RFC 4632, RFC 4291): all that share the first `prefix` bits. Host bits are zero. */
export interface Cidr {
  /** Canonical, with its prefix: `203.0.113.0/24`, `2001:db8::/32`. */
  readonly text: string;
  readonly family: 4 | 6;
  /** The first address of the block; 4 or 16 bytes, network order. */
  readonly bytes: Uint8Array;
  /** Bits: 0–32 or 0–128. */
  readonly prefix: number;
}

/** Many blocks as one, made to be asked often. */
export interface PrefixTable {
  /** Whether the address is in any of the blocks. An IPv4 address is never in an IPv6 block, nor the reverse.
   *  Allocates nothing. */
  has(address: Address): boolean;
  /** How many blocks are kept, those inside others left out. */
  readonly size: number;
}

/** Reads an address or a block as users write it. A bare address is a block of one; host bits are masked off;
 *  `::ffff:a.b.c.d`, with a prefix of 96 bits or more, is IPv4. Anything else is `cidr_invalid`. */
export function parseCidr(written: string): { readonly value: Cidr } | Finding {
  const slash = written.indexOf('/');
  const host = slash < 0 ? written : written.slice(0, slash);
  const wrong = hostFinding(written, host);
  if (wrong) return wrong;
  const isSix = host.includes(':');
  const bytes = isSix ? sixBytes(host) : fourBytes(host);
  const address = bytes && addressFromBytes(bytes);
  if (!address) return invalid(written, WRITE_BLOCK);

  const widest = isSix ? 128 : 32;
  const length = slash < 0 ? String(widest) : written.slice(slash + 1);
  if (!/^\d{1,9}$/.test(length)) return invalid(written, `write the prefix in bits, from /0 to /${widest}`);
  const bits = Number(length);
  if (length !== String(bits)) return invalid(written, `write the prefix without leading zeros: "${host}/${bits}"`);
  if (bits > widest) return invalid(written, `the prefix of an IPv${isSix ? 6 : 4} block is at most /${widest}`);
  if (!isSix || address.family === 6) return { value: block(address, bits) };
  if (bits < 96) return invalid(written, `write the IPv4 block itself, e.g. "${address.text}/24"`);
  return { value: block(address, bits - 96) };
}

/** The shape of an address or block in a policy file. */
export function cidrText(): Shape<Cidr> {
  return readText(parseCidr);
}

/** What is wrong with an item of a list of type IP; undefined: nothing. */
export function ipListItemFinding(item: string): Finding | undefined {
  const read = parseCidr(item);
  return 'value' in read ? undefined : read;
}

/** The blocks of a list of type IP. Items that are none are left out: they stop the loading elsewhere. */
export function cidrsOf(items: readonly { readonly value: string }[]): readonly Cidr[] {
  return items.flatMap((item) => {
    const read = parseCidr(item.value);
    return 'value' in read ? [read.value] : [];
  });
}

/** Whether every address of `inner` is in `outer`. */
export function isWithin(inner: Cidr, outer: Cidr): boolean {
  return inner.family === outer.family && inner.prefix >= outer.prefix && startsWith(inner.bytes, outer);
}

/** Builds the table of many blocks. Two blocks are disjoint or one holds the other, so that after leaving out the
 *  held ones, an address can only be in the last block that begins at or before it. */
export function prefixTable(cidrs: readonly Cidr[]): PrefixTable {
  const four = outermost(cidrs, 4);
  const six = outermost(cidrs, 6);
  const inFour = ipv4Search(four);
  const inSix = ipv6Search(six);
  return Object.freeze({
    has: (address: Address) => (address.family === 4 ? inFour(address.bytes) : inSix(address.bytes)),
    size: four.length + six.length,
  });
}

const WRITE_BLOCK = 'write an address or a block, e.g. "203.0.113.0/24" or "2001:db8::/32"';

/** The mistakes that deserve a mend of their own. */
function hostFinding(written: string, host: string): Finding | undefined {
  const zone = host.indexOf('%');
  if (zone >= 0) return invalid(written, `a zone means nothing here: write "${host.slice(0, zone)}"`);
  const dotted = host.slice(host.lastIndexOf(':') + 1);
  if (!/^\d+(?:\.\d+)*$/.test(dotted) || (host.includes(':') && !dotted.includes('.'))) return undefined;
  const octets = dotted.split('.');
  if (octets.length !== 4) return invalid(written, 'write all four numbers, e.g. "203.0.113.0/24"');
  if (octets.some((octet) => octet.length > 1 && octet.startsWith('0')))
    return invalid(
      written,
      `a leading zero is octal to some and decimal to others: write ${octets.map((octet) => octet.replace(/^0+(?=\d)/, '')).join('.')}`,
    );
  if (octets.some((octet) => Number(octet) > 255)) return invalid(written, 'each of the four numbers is at most 255');
  return undefined;
}

function invalid(written: string, mend: string): Finding {
  return { code: 'cidr_invalid', text: `expected an IP address or CIDR block, found ${quoted(written)}`, mend };
}

function block(address: Address, prefix: number): Cidr {
  const bytes = address.bytes.map((byte, index) => byte & octetMask(prefix, index));
  return Object.freeze({
    text: `${addressFromBytes(bytes)?.text ?? address.text}/${prefix}`,
    family: address.family,
    bytes,
    prefix,
  });
}

/** The bits of octet `index` that a prefix of so many bits covers. */
function octetMask(prefix: number, index: number): number {
  const covered = Math.min(8, Math.max(0, prefix - index * 8));
  return (0xff << (8 - covered)) & 0xff;
}

function startsWith(bytes: Uint8Array, outer: Cidr): boolean {
  return outer.bytes.every((byte, index) => ((bytes[index] ?? 0) & octetMask(outer.prefix, index)) === byte);
}

function outermost(cidrs: readonly Cidr[], family: 4 | 6): readonly Cidr[] {
  const sorted = cidrs
    .filter((cidr) => cidr.family === family)
    .sort((a, b) => Buffer.compare(a.bytes, b.bytes) || a.prefix - b.prefix);
  const kept: Cidr[] = [];
  for (const cidr of sorted) {
    const last = kept.at(-1);
    if (!last || !isWithin(cidr, last)) kept.push(cidr);
  }
  return kept;
}

type Search = (bytes: Uint8Array) => boolean;

const NEVER: Search = () => false;

function ipv4Search(blocks: readonly Cidr[]): Search {
  if (blocks.length === 0) return NEVER;
  const first = Uint32Array.from(blocks, (cidr) => wordAt(cidr.bytes, 0));
  const last = Uint32Array.from(blocks, (cidr) => (wordAt(cidr.bytes, 0) | hostBits(cidr.prefix, 0)) >>> 0);
  const index = bucketIndex(first);
  return (bytes) => {
    const address = wordAt(bytes, 0);
    const bucket = index.bucketOf(address);
    if (bucket < 0) return false;
    let low = index.starts[bucket] ?? 0;
    let high = index.starts[bucket + 1] ?? 0;
    // Finds how many blocks begin at or before the address; those before `low` all do, those from `high` on do not.
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((first[middle] ?? 0) <= address) low = middle + 1;
      else high = middle;
    }
    return low > 0 && address <= (last[low - 1] ?? 0);
  };
}

function ipv6Search(blocks: readonly Cidr[]): Search {
  if (blocks.length === 0) return NEVER;
  const first = words(blocks, () => 0);
  const last = words(blocks, hostBits);
  const index = bucketIndex(
    Float64Array.from(blocks, (cidr) => highBits(wordAt(cidr.bytes, 0), wordAt(cidr.bytes, 4))),
  );
  return (bytes) => {
    const a = wordAt(bytes, 0);
    const b = wordAt(bytes, 4);
    const c = wordAt(bytes, 8);
    const d = wordAt(bytes, 12);
    const bucket = index.bucketOf(highBits(a, b));
    if (bucket < 0) return false;
    let low = index.starts[bucket] ?? 0;
    let high = index.starts[bucket + 1] ?? 0;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compareWords(first, middle, a, b, c, d) <= 0) low = middle + 1;
      else high = middle;
    }
    return low > 0 && compareWords(last, low - 1, a, b, c, d) >= 0;
  };
}

interface BucketIndex {
  /** Where a key belongs; -1: before everything. */
  bucketOf(key: number): number;
  /** Bucket → how many keys are in the buckets before it; one more entry than buckets. */
  readonly starts: Uint32Array;
}

/** Cuts the span of sorted keys into as many equal buckets as there are keys. A search then looks at the few keys of
 *  one bucket: ten thousand blocks cost what ten do, and badly spread ones no more than a binary search. */
function bucketIndex(keys: Uint32Array | Float64Array): BucketIndex {
  const count = keys.length;
  const least = keys[0] ?? 0;
  const scale = count / ((keys[count - 1] ?? 0) - least + 1);
  const bucketOf = (key: number): number => (key < least ? -1 : Math.min(count - 1, Math.floor((key - least) * scale)));
  const starts = new Uint32Array(count + 1);
  for (const key of keys) {
    const next = bucketOf(key) + 1;
    starts[next] = (starts[next] ?? 0) + 1;
  }
  for (let bucket = 1; bucket <= count; bucket += 1) starts[bucket] = (starts[bucket] ?? 0) + (starts[bucket - 1] ?? 0);
  return { bucketOf, starts };
}

function words(blocks: readonly Cidr[], fill: (prefix: number, word: number) => number): Uint32Array {
  const all = new Uint32Array(blocks.length * 4);
  for (const [index, cidr] of blocks.entries())
    for (let word = 0; word < 4; word += 1)
      all[index * 4 + word] = wordAt(cidr.bytes, word * 4) | fill(cidr.prefix, word);
  return all;
}

/** Whether the 128-bit number at `index` is below (-1), equal to (0) or above (1) the one made of a, b, c, d. */
function compareWords(all: Uint32Array, index: number, a: number, b: number, c: number, d: number): -1 | 0 | 1 {
  const base = index * 4;
  const high = all[base] ?? 0;
  if (high !== a) return high < a ? -1 : 1;
  const second = all[base + 1] ?? 0;
  if (second !== b) return second < b ? -1 : 1;
  const third = all[base + 2] ?? 0;
  if (third !== c) return third < c ? -1 : 1;
  const fourth = all[base + 3] ?? 0;
  if (fourth === d) return 0;
  return fourth < d ? -1 : 1;
}

/** The first 53 bits, which is as much as a number can hold exactly. */
function highBits(first: number, second: number): number {
  return first * 0x20_0000 + (second >>> 11);
}

/** The bits of 32-bit word `word` that a prefix of so many bits leaves to the hosts. */
function hostBits(prefix: number, word: number): number {
  const covered = Math.min(32, Math.max(0, prefix - word * 32));
  return covered === 32 ? 0 : 0xffff_ffff >>> covered;
}

function wordAt(bytes: Uint8Array, offset: number): number {
  return (
    (((bytes[offset] ?? 0) << 24) |
      ((bytes[offset + 1] ?? 0) << 16) |
      ((bytes[offset + 2] ?? 0) << 8) |
      (bytes[offset + 3] ?? 0)) >>>
    0
  );
}
