/** IP addresses as text and bytes. */
import { isIPv6 } from 'node:net';
import ipaddr from 'ipaddr.js';
import type { Address } from '../model/address.ts';

/** Reads one IP address: `a.b.c.d` (decimal, no leading zeros), IPv6, and either with a port as proxies write them:
 *  `a.b.c.d:port`, `[v6]`, `[v6]:port`. A zone (RFC 4007, `%eth0`) is dropped; an IPv4-mapped address
 *  (`::ffff:a.b.c.d`, however it is spelled) is IPv4. Anything else, surrounding white space included, is undefined:
 *  short and octal forms are read differently by different parsers. */
export function parseAddress(text: string): Address | undefined {
  if (text.length > MAX_ADDRESS_TEXT) return undefined;
  if (text.startsWith('[')) {
    const close = text.indexOf(']');
    if (close < 0 || !isPortSuffix(text, close + 1)) return undefined;
    return sixAddress(text.slice(1, close));
  }
  const colon = text.indexOf(':');
  if (colon < 0) return fourAddress(text);
  if (text.includes(':', colon + 1)) return sixAddress(text);
  return isPortSuffix(text, colon) ? fourAddress(text.slice(0, colon)) : undefined;
}

/** The address with these 4 or 16 bytes (network order); IPv4-mapped ones become IPv4. Undefined for another length. */
export function addressFromBytes(bytes: Uint8Array): Address | undefined {
  if (bytes.length === 4) return { text: bytes.join('.'), family: 4, bytes };
  if (bytes.length !== 16) return undefined;
  if (isMapped(bytes)) return addressFromBytes(bytes.slice(12));
  return { text: sixText(bytes), family: 6, bytes };
}

/** The four bytes of a dotted IPv4 address without leading zeros; undefined: it is none. */
export function fourBytes(text: string): Uint8Array | undefined {
  const { length } = text;
  if (length < 7 || length > 15) return undefined;
  const bytes = new Uint8Array(4);
  let index = 0;
  let value = -1;
  for (let at = 0; at < length; at++) {
    const unit = text.charCodeAt(at);
    if (unit === DOT) {
      if (value < 0 || index === 3) return undefined;
      bytes[index++] = value;
      value = -1;
      continue;
    }
    const digit = unit - ZERO;
    if (digit < 0 || digit > 9 || value === 0) return undefined;
    value = value < 0 ? digit : value * 10 + digit;
    if (value > 255) return undefined;
  }
  if (value < 0 || index !== 3) return undefined;
  bytes[3] = value;
  return bytes;
}

/** The sixteen bytes of an IPv6 address without zone, port or brackets; a mapped one stays mapped. Undefined: none. */
export function sixBytes(text: string): Uint8Array | undefined {
  if (!isIPv6(text) || text.includes('%')) return undefined;
  const bytes = new Uint8Array(16);
  const end = text.length;
  const gap = text.indexOf('::');
  if (gap < 0) {
    writeGroups(text, 0, end, bytes);
    return bytes;
  }
  writeGroups(text, 0, gap, bytes);
  const tail = new Uint8Array(16);
  const written = writeGroups(text, gap + 2, end, tail);
  bytes.set(tail.subarray(0, written), 16 - written);
  return bytes;
}

/** True for addresses that say nothing about where on earth the client is: private (RFC 1918), shared (RFC 6598),
 *  loopback, link-local and unique-local (RFC 4193). */
export function isPrivateAddress(address: Address): boolean {
  return PRIVATE_RANGES.has(ipaddr.fromByteArray([...address.bytes]).range());
}

/** From how far away an address can be reached. `none`: by nobody as a server: unspecified, link-local (where clouds
 *  keep credentials), multicast, broadcast. An IPv6 address that stands for an IPv4 one (NAT64, 6to4, IPv4-compatible:
 *  RFC 6052, RFC 3056, RFC 4291) reaches what that one reaches. */
export function reachOf(address: Address): 'any' | 'loopback' | 'none' {
  const range = ipaddr.fromByteArray([...address.bytes]).range();
  if (range === 'loopback') return 'loopback';
  if (UNREACHABLE_RANGES.has(range)) return 'none';
  const embedded = embeddedAddress(address);
  return embedded ? reachOf(embedded) : 'any';
}

const UNREACHABLE_RANGES: ReadonlySet<string> = new Set(['unspecified', 'linkLocal', 'multicast', 'broadcast']);

function embeddedAddress({ family, bytes }: Address): Address | undefined {
  if (family === 4) return undefined;
  if (bytes[0] === 0x20 && bytes[1] === 0x02) return addressFromBytes(bytes.slice(2, 6));
  const isNat64 = bytes[0] === 0 && bytes[1] === 0x64 && bytes[2] === 0xff && bytes[3] === 0x9b;
  const isZero = bytes.subarray(0, 8).every((byte) => byte === 0);
  return isNat64 || isZero ? addressFromBytes(bytes.slice(12)) : undefined;
}

const PRIVATE_RANGES: ReadonlySet<string> = new Set([
  'private',
  'carrierGradeNat',
  'loopback',
  'linkLocal',
  'uniqueLocal',
]);

const ZERO = 48;
const DOT = 46;
/** `[` 45 characters of address, a zone, `]` and a port: more than that is no address. */
const MAX_ADDRESS_TEXT = 128;

function fourAddress(text: string): Address | undefined {
  const bytes = fourBytes(text);
  return bytes && { text, family: 4, bytes };
}

function sixAddress(text: string): Address | undefined {
  const zone = text.indexOf('%');
  if (zone >= 0 && !/^[\w.~%-]+$/.test(text.slice(zone + 1))) return undefined;
  const bytes = sixBytes(zone < 0 ? text : text.slice(0, zone));
  return bytes && addressFromBytes(bytes);
}

/** Nothing, or `:` and a port of 1 to 65535, from `start` to the end. */
function isPortSuffix(text: string, start: number): boolean {
  if (start === text.length) return true;
  if (text.charCodeAt(start) !== 58) return false;
  const port = text.slice(start + 1);
  return /^\d{1,5}$/.test(port) && Number(port) >= 1 && Number(port) <= 65_535;
}

function isMapped(bytes: Uint8Array): boolean {
  for (let at = 0; at < 10; at++) if (bytes[at] !== 0) return false;
  return bytes[10] === 0xff && bytes[11] === 0xff;
}

/** Writes the groups of text that is known to be well-formed IPv6, and gives the number of bytes written. */
function writeGroups(text: string, start: number, end: number, bytes: Uint8Array): number {
  let length = 0;
  let at = start;
  while (at < end) {
    const colon = text.indexOf(':', at);
    const stop = colon < 0 || colon > end ? end : colon;
    const group = text.slice(at, stop);
    if (group.includes('.')) {
      bytes.set(fourBytes(group) ?? [], length);
      length += 4;
    } else {
      const value = Number.parseInt(group, 16);
      bytes[length] = value >> 8;
      bytes[length + 1] = value & 0xff;
      length += 2;
    }
    at = stop + 1;
  }
  return length;
}

/** RFC 5952: lower case, no leading zeros, the longest run of two or more zero groups (the first of equals) as `::`. */
function sixText(bytes: Uint8Array): string {
  const groups: number[] = [];
  for (let at = 0; at < 16; at += 2) groups.push(((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0));
  let gap = -1;
  let gapLength = 1;
  let run = 0;
  for (let at = 0; at < 8; at++) {
    run = groups[at] === 0 ? run + 1 : 0;
    if (run > gapLength) {
      gapLength = run;
      gap = at - run + 1;
    }
  }
  let text = '';
  for (let at = 0; at < 8; at++) {
    if (at === gap) {
      text += '::';
      at += gapLength - 1;
      continue;
    }
    if (text !== '' && !text.endsWith(':')) text += ':';
    text += (groups[at] ?? 0).toString(16);
  }
  return text;
}
