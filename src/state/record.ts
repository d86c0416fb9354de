/** What is remembered of one user, as plain data: it can be written as JSON and read back. Nothing in it is in clear
 *  that tells who the user is, from which address he came or what his machine's cookie holds. */
import type { LearnedPlace } from '../model/adaptive-facts.ts';
import { isObject } from '../shared/object.ts';

export interface UserRecord {
  /** Of this layout. A record of another form is not understood, and so not overwritten. */
  readonly form: 1;
  /** From 1; goes up by one with each write. For compare-and-set. */
  readonly version: number;
  /** The last recorded authentication that had coordinates (4 decimals); undefined: none. */
  readonly last: LastAuthentication | undefined;
  readonly places: readonly LearnedPlace[];
  readonly machines: readonly MachineRecord[];
  /** Hashes of the newest authentication events, the newest last. */
  readonly events: readonly string[];
  /** Application id → hashes of the authentication events admitted to it, the newest last. */
  readonly admitted: Readonly<Record<string, readonly string[]>>;
}

export interface LastAuthentication {
  readonly timeMs: number;
  readonly latitude: number;
  readonly longitude: number;
}

/** A browser that has been registered. All hashes are those of StateKeys. */
export interface MachineRecord {
  readonly nonceHash: string;
  readonly sequenceHash: string;
  /** Of the sequence nonce before the current one; undefined: there was none yet. */
  readonly previousHash: string | undefined;
  readonly marks: MachineMarks;
  readonly createdMs: number;
  readonly usedMs: number;
}

/** One hash for each mark; that of a header which was not sent is the hash of the empty text. */
export interface MachineMarks {
  readonly browser: string;
  readonly platform: string;
  readonly language: string;
}

/** The record of somebody of whom nothing is known yet. Its version is 0: it has never been written. */
export const NO_RECORD: UserRecord = Object.freeze({
  form: 1,
  version: 0,
  last: undefined,
  places: Object.freeze([]),
  machines: Object.freeze([]),
  events: Object.freeze([]),
  admitted: Object.freeze({}),
});

/** The form that this program writes. */
export const RECORD_FORM = 1;

/** Reads a record that was written with JSON.stringify. Undefined: it is not JSON, of another form, or any member is
 *  not what it should be; half a record is none. Unknown members are dropped. */
export function readRecord(json: string): UserRecord | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(json);
  } catch {
    return undefined;
  }
  if (!isObject(parsed) || parsed['form'] !== RECORD_FORM) return undefined;
  const { version, last, places, machines, events, admitted } = parsed;
  if (!isCount(version) || version < 1) return undefined;
  const lastRead = last === undefined ? undefined : lastOf(last);
  const placesRead = listOf(places, placeOf);
  const machinesRead = listOf(machines, machineOf);
  const eventsRead = listOf(events, textOf);
  const admittedRead = admittedOf(admitted);
  if (last !== undefined && !lastRead) return undefined;
  if (!placesRead || !machinesRead || !eventsRead || !admittedRead) return undefined;
  return {
    form: RECORD_FORM,
    version,
    last: lastRead,
    places: placesRead,
    machines: machinesRead,
    events: eventsRead,
    admitted: admittedRead,
  };
}

function lastOf(value: unknown): LastAuthentication | undefined {
  if (!isObject(value)) return undefined;
  const { timeMs, latitude, longitude } = value;
  if (!isTime(timeMs) || !isWithin(latitude, 90) || !isWithin(longitude, 180)) return undefined;
  return { timeMs, latitude, longitude };
}

function placeOf(value: unknown): LearnedPlace | undefined {
  if (!isObject(value)) return undefined;
  const { country, city, isp, addressHash, private: isPrivate, firstMs, lastMs, count } = value;
  if (!isTextOrAbsent(country) || !isTextOrAbsent(city) || !isTextOrAbsent(isp)) return undefined;
  if (typeof addressHash !== 'string' || typeof isPrivate !== 'boolean') return undefined;
  if (!isTime(firstMs) || !isTime(lastMs) || !isCount(count)) return undefined;
  return { country, city, isp, addressHash, private: isPrivate, firstMs, lastMs, count };
}

function machineOf(value: unknown): MachineRecord | undefined {
  if (!isObject(value)) return undefined;
  const { nonceHash, sequenceHash, previousHash, marks, createdMs, usedMs } = value;
  if (typeof nonceHash !== 'string' || typeof sequenceHash !== 'string' || !isTextOrAbsent(previousHash))
    return undefined;
  if (!isTime(createdMs) || !isTime(usedMs) || !isObject(marks)) return undefined;
  const { browser, platform, language } = marks;
  if (typeof browser !== 'string' || typeof platform !== 'string' || typeof language !== 'string') return undefined;
  return { nonceHash, sequenceHash, previousHash, marks: { browser, platform, language }, createdMs, usedMs };
}

function admittedOf(value: unknown): Readonly<Record<string, readonly string[]>> | undefined {
  if (!isObject(value)) return undefined;
  const admitted: [string, readonly string[]][] = [];
  for (const [application, events] of Object.entries(value)) {
    const read = listOf(events, textOf);
    if (!read) return undefined;
    admitted.push([application, read]);
  }
  return Object.fromEntries(admitted);
}

/** All or nothing. */
function listOf<T>(value: unknown, read: (item: unknown) => T | undefined): readonly T[] | undefined {
  if (!Array.isArray(value)) return undefined;
  const items: T[] = [];
  for (const item of value) {
    const one = read(item);
    if (one === undefined) return undefined;
    items.push(one);
  }
  return items;
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

function isTextOrAbsent(value: unknown): value is string | undefined {
  return value === undefined || typeof value === 'string';
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isTime(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value);
}

function isWithin(value: unknown, bound: number): value is number {
  return typeof value === 'number' && value >= -bound && value <= bound;
}
