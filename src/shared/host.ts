import type { RequestRefusal } from '../model/request.ts';

/** A host as it is compared with destinations: lower-case ASCII without port and without one trailing dot; an IPv6
 *  literal in brackets as the WHATWG URL parser writes it. International names must come as A-labels.
 *  @param authority `host`, `host:port`, `[v6]` or `[v6]:port`, without user info.
 *  @returns The host; `request_malformed` where it is none; `request_ambiguous` where it ends in a number but is no
 *  dotted IPv4 address, because parsers disagree on those (`127.1`, `0x7f.0.0.1`). Source: WHATWG URL 3.5. */
export function canonicalHost(authority: string): string | RequestRefusal {
  if (authority.charCodeAt(0) === 0x5b) return bracketed(authority);
  let hasUpper = false;
  let labelStart = 0;
  let end = 0;
  scan: for (; end < authority.length; end++) {
    const code = authority.charCodeAt(end);
    switch (KIND[code] ?? OTHER) {
      case LABEL:
        continue;
      case UPPER:
        hasUpper = true;
        continue;
      case DOT:
        if (end === labelStart || end - labelStart > MAX_LABEL) return malformed('an empty or overlong label');
        labelStart = end + 1;
        continue;
      case COLON:
        break scan;
      default:
        return malformed('a character in the host that no host may hold');
    }
  }
  if (end < authority.length && !isPort(authority, end + 1)) return malformed('a port that is none');
  if (end === 0) return malformed('no host');
  // A name that ends in a dot is the same name: the last label is then the one before it.
  const hasDot = labelStart === end;
  const length = hasDot ? end - 1 : end;
  if (end - labelStart > MAX_LABEL) return malformed('an empty or overlong label');
  if (length > MAX_HOST) return malformed(`a host over ${MAX_HOST} characters`);
  const host = length === authority.length ? authority : authority.slice(0, length);
  const canonical = hasUpper ? host.toLowerCase() : host;
  return endsInNumber(canonical) && !isDottedAddress(canonical)
    ? ambiguous('a host that ends in a number but is no IPv4 address')
    : canonical;
}

const MAX_LABEL = 63;
const MAX_HOST = 253;

const OTHER = 0;
const LABEL = 1;
const UPPER = 2;
const DOT = 3;
const COLON = 4;

/** What a character means in a host, by its code below 0x80. */
const KIND = new Uint8Array(128);
for (const character of 'abcdefghijklmnopqrstuvwxyz0123456789-_') KIND[character.charCodeAt(0)] = LABEL;
for (const character of 'ABCDEFGHIJKLMNOPQRSTUVWXYZ') KIND[character.charCodeAt(0)] = UPPER;
KIND[0x2e] = DOT;
KIND[0x3a] = COLON;

function isPort(authority: string, start: number): boolean {
  const digits = authority.length - start;
  if (digits < 1 || digits > 5) return false;
  let port = 0;
  for (let index = start; index < authority.length; index++) {
    const digit = authority.charCodeAt(index) - 0x30;
    if (digit < 0 || digit > 9) return false;
    port = port * 10 + digit;
  }
  return port >= 1 && port <= 65_535;
}

function endsInNumber(host: string): boolean {
  const start = host.lastIndexOf('.') + 1;
  const first = host.charCodeAt(start);
  if (first < 0x30 || first > 0x39) return false;
  if (first === 0x30 && host.charCodeAt(start + 1) === 0x78) return true;
  for (let index = start + 1; index < host.length; index++) {
    const code = host.charCodeAt(index);
    if (code < 0x30 || code > 0x39) return false;
  }
  return true;
}

/** Four decimal numbers from 0 to 255 without leading zeros. */
function isDottedAddress(host: string): boolean {
  const parts = host.split('.');
  return parts.length === 4 && parts.every((part) => /^(?:0|[1-9][0-9]{0,2})$/.test(part) && Number(part) <= 255);
}

/** Whether a host name means this machine (RFC 6761, section 6.3), or is an address of it: clear text to it leaves no
 *  machine. */
export function isLoopbackHost(host: string): boolean {
  return (
    host === 'localhost' ||
    host.endsWith('.localhost') ||
    /^127(?:\.\d{1,3}){3}$/.test(host) ||
    /^\[?::1\]?$/.test(host)
  );
}

function bracketed(authority: string): string | RequestRefusal {
  const end = authority.indexOf(']');
  const literal = authority.slice(0, end + 1);
  // Only what an address is written with: no zone, nothing the URL parser would strip or decode.
  if (literal.length > 47 || !/^\[[0-9a-f:.]+\]$/i.test(literal)) return malformed('brackets without an IPv6 address');
  if (authority.length > end + 1 && (authority[end + 1] !== ':' || !isPort(authority, end + 2))) {
    return malformed('a port that is none');
  }
  const url = `http://${literal}/`;
  return URL.canParse(url) ? new URL(url).hostname : malformed('brackets without an IPv6 address');
}

function malformed(why: string): RequestRefusal {
  return { reason: 'request_malformed', why };
}

function ambiguous(why: string): RequestRefusal {
  return { reason: 'request_ambiguous', why };
}
