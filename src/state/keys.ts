/** Names and hashes under which state is kept: HMAC-SHA-256 under a key that only Postern has, so that nobody who reads
 *  the store learns whose record it is, nor can try names until one fits. Source: RFC 2104; FIPS 198-1. */
import { createHmac, randomBytes } from 'node:crypto';
import type { Address } from '../model/address.ts';
import type { Identity } from '../model/identity.ts';
import type { Finding } from '../shared/shape.ts';

/** Every list has one item for each key that reads, one or two; the first is the one to write. */
export type Hashes = readonly [string, ...string[]];

/** What is hashed says its own word first, so that no address can pass for an event. Names of users are whole (43
 *  characters of base64url), all others the first 16 bytes (22 characters). */
export interface StateKeys {
  /** Names of the record of an issuer's subject: base64url(HMAC-SHA-256(key, "user" NUL issuer NUL subject)). */
  userKeys(issuer: string, subject: string): Hashes;
  /** Names for whoever this is. One without a subject (trusted headers) is told by his e-mail address. */
  identityKeys(identity: Pick<Identity, 'issuer' | 'subject' | 'email'>): Hashes;
  /** Of IPv4 the whole address, of IPv6 its /64. */
  addressHashes(address: Address): Hashes;
  nonceHashes(nonce: string): Hashes;
  /** `mark`: which one, such as `browser`. */
  markHashes(mark: string, value: string): Hashes;
  /** `parts` as authenticationEvent gives them. */
  eventHashes(parts: readonly string[]): Hashes;
}

/** From one or two keys; the first writes, all read. */
export function createStateKeys(keys: readonly [Uint8Array, ...Uint8Array[]]): StateKeys {
  const [first, ...others] = keys;
  const hashes = (bytes: number, ...parts: readonly (string | Uint8Array)[]): Hashes =>
    others.length === 0
      ? [hashed(first, bytes, parts)]
      : [hashed(first, bytes, parts), ...others.map((key) => hashed(key, bytes, parts))];
  const userKeys = (issuer: string, subject: string): Hashes => hashes(WHOLE, 'user', issuer, subject);
  return {
    userKeys,
    identityKeys({ issuer = '', subject, email }) {
      if (subject === undefined && email !== undefined) return hashes(WHOLE, 'email', issuer, email);
      return userKeys(issuer, subject ?? '');
    },
    addressHashes: ({ family, bytes }) => hashes(SHORT, 'address', family === 6 ? bytes.subarray(0, 8) : bytes),
    nonceHashes: (nonce) => hashes(SHORT, 'nonce', nonce),
    markHashes: (mark, value) => hashes(SHORT, 'mark', mark, value),
    eventHashes: (parts) => hashes(SHORT, 'event', ...parts),
  };
}

/** A key of this process alone, for state in memory. */
export function randomStateKeys(): StateKeys {
  return createStateKeys([randomBytes(KEY_BYTES_MIN)]);
}

/** Reads a key file: one or two lines, each the base64 (RFC 4648, section 4 or 5) of 32 random bytes or more. Empty
 *  lines do not count. Findings never repeat what is in the file. */
export function readStateKeys(text: string): { readonly value: StateKeys } | Finding {
  const lines = text.split(/\r?\n/).flatMap((line, index) => {
    const trimmed = line.trim();
    return trimmed === '' ? [] : [{ line: trimmed, number: index + 1 }];
  });
  if (lines.length < 1 || lines.length > 2) {
    return invalid(`expected one or two lines, found ${lines.length === 0 ? 'an empty file' : String(lines.length)}`);
  }
  const keys: Buffer[] = [];
  for (const { line, number } of lines) {
    if (!/^[\w+/-]+={0,2}$/.test(line)) return invalid(`line ${number}: expected base64, found other characters`);
    const key = Buffer.from(line, 'base64');
    if (key.length < KEY_BYTES_MIN)
      return invalid(`line ${number}: expected ${KEY_BYTES_MIN} bytes or more, found ${key.length}`);
    // Random bytes repeat no byte throughout; a placeholder does.
    if (new Set(key).size < DISTINCT_BYTES_MIN)
      return invalid(`line ${number}: expected random bytes, found hardly more than one byte repeated`);
    keys.push(key);
  }
  const [first, second] = keys;
  if (!first) return invalid('expected one or two lines, found none');
  if (second && first.equals(second)) return invalid('expected two different keys, found one key twice');
  return { value: createStateKeys(second ? [first, second] : [first]) };
}

const KEY_BYTES_MIN = 32;
/** 32 random bytes hold fewer distinct ones than this about once in 10^20 tries. */
const DISTINCT_BYTES_MIN = 8;
const WHOLE = 32;
const SHORT = 16;

function hashed(key: Uint8Array, bytes: number, parts: readonly (string | Uint8Array)[]): string {
  const hmac = createHmac('sha256', key);
  for (const [place, part] of parts.entries()) {
    if (place > 0) hmac.update('\0');
    hmac.update(part);
  }
  const digest = hmac.digest();
  return (bytes === WHOLE ? digest : digest.subarray(0, bytes)).toString('base64url');
}

function invalid(text: string): Finding {
  return {
    code: 'state_key_invalid',
    text,
    mend: 'write a line made with `openssl rand -base64 32`; to rotate, put the new line before the old one',
  };
}
