/** Which machine a request comes from: the cookie that a registered browser was given, and the marks by which a copy in
 *  another browser shows. Source: Entrust's MachineContext, whose machine and sequence nonces these are; RFC 6265bis for
 *  the `__Host-` prefix, which keeps other hosts and clear text from setting the cookie; W3C User-Agent Client Hints. */
import { randomBytes } from 'node:crypto';
import type { MachineFact } from '../model/adaptive-facts.ts';
import type { Headers } from '../model/request.ts';
import type { StateKeys } from '../state/keys.ts';
import { recallMachine } from '../state/recall.ts';
import type { PresentedMachine } from '../state/recall.ts';
import type { MachineMarks, MachineRecord } from '../state/record.ts';

/** Points of each mark that differs from the recorded one. */
export interface MachinePoints {
  readonly browser: number;
  readonly platform: number;
  readonly language: number;
}

/** What a request says of its machine. */
export type MachineCookie =
  | { readonly state: 'one'; readonly nonce: string; readonly sequence: string }
  | { readonly state: 'none'; readonly why: string };

/** Reads `<machine nonce>.<sequence nonce>`, 16 bytes each, base64url. Browsers send a cookie of this prefix once at
 *  most, so two of the name are nobody's. */
export function readMachineCookie(headers: Headers): MachineCookie {
  const values = headers.cookies(COOKIE_NAME);
  const [value] = values;
  if (value === undefined) return NO_COOKIE;
  if (values.length > 1) return TWO_COOKIES;
  const [, nonce, sequence] = /^([\w-]{22})\.([\w-]{22})$/.exec(value) ?? [];
  return nonce === undefined || sequence === undefined ? BROKEN_COOKIE : { state: 'one', nonce, sequence };
}

/** The value of `Set-Cookie`: for this host alone, out of reach of scripts, for as long as an unused machine is
 *  remembered. */
export function machineSetCookie(nonce: string, sequence: string): string {
  return `${COOKIE_NAME}=${nonce}.${sequence}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=${MAX_AGE_SECONDS}`;
}

/** 16 random bytes, base64url. */
export function newNonce(): string {
  return randomBytes(NONCE_BYTES).toString('base64url');
}

export function presentedMachine(cookie: MachineCookie, keys: StateKeys): PresentedMachine | undefined {
  if (cookie.state !== 'one') return undefined;
  return { nonceHashes: keys.nonceHashes(cookie.nonce), sequenceHashes: keys.nonceHashes(cookie.sequence) };
}

/** The marks of a request, hashed as they are recorded. */
export function machineMarks(headers: Headers, keys: StateKeys): MachineMarks {
  return {
    browser: keys.markHashes('browser', browserOf(headers))[0],
    platform: keys.markHashes('platform', platformOf(headers))[0],
    language: keys.markHashes('language', languageOf(headers))[0],
  };
}

/** Whether the request comes from one of the user's machines, and how much that has changed.
 *  @param machines Those of the user's record.
 *  @param nowMs The rules' clock. */
export function machineFact(
  machines: readonly MachineRecord[],
  headers: Headers,
  keys: StateKeys,
  points: MachinePoints,
  nowMs: number,
): MachineFact {
  const cookie = readMachineCookie(headers);
  if (cookie.state === 'none') return { state: 'absent', why: cookie.why };
  const presented = presentedMachine(cookie, keys);
  const recall = presented ? recallMachine(machines, presented, nowMs) : UNKNOWN;
  if (recall.state === 'unknown') return NOT_REGISTERED;
  if (recall.state === 'copied') return COPIED;
  const { marks } = recall.machine;
  let risk = 0;
  if (!keys.markHashes('browser', browserOf(headers)).includes(marks.browser)) risk += points.browser;
  if (!keys.markHashes('platform', platformOf(headers)).includes(marks.platform)) risk += points.platform;
  if (!keys.markHashes('language', languageOf(headers)).includes(marks.language)) risk += points.language;
  return { state: 'present', risk };
}

const COOKIE_NAME = '__Host-postern-machine';
const NONCE_BYTES = 16;
/** 90 days. */
const MAX_AGE_SECONDS = 7_776_000;

const NO_COOKIE: MachineCookie = Object.freeze({ state: 'none', why: 'no machine cookie' });
const TWO_COOKIES: MachineCookie = Object.freeze({ state: 'none', why: 'several machine cookies' });
const BROKEN_COOKIE: MachineCookie = Object.freeze({ state: 'none', why: 'the machine cookie cannot be read' });
const UNKNOWN = Object.freeze({ state: 'unknown' });
const NOT_REGISTERED: MachineFact = Object.freeze({
  state: 'absent',
  why: 'a machine that the user has not registered',
});
const COPIED: MachineFact = Object.freeze({
  state: 'absent',
  why: 'an old sequence nonce: possibly a copy of the cookie',
  copied: true,
});

/** The version of a browser changes every few weeks, and is written in digits and dots. */
function browserOf(headers: Headers): string {
  return headers.all('user-agent').join(',').replace(/[\d.]/g, '');
}

function platformOf(headers: Headers): string {
  return headers.all('sec-ch-ua-platform').join(',');
}

/** The tag that stands first; letter case does not matter in language tags (RFC 5646 section 2.1.1). */
function languageOf(headers: Headers): string {
  const [first = ''] = headers.all('accept-language').join(',').split(/[,;]/, 1);
  return first.trim().toLowerCase();
}
