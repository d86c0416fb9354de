/** What a user's record becomes when an authentication that was let in is remembered. Pure: times, hashes and nonces
 *  are handed in. Every list has a bound, and so has the whole. */
import type { LearnedPlace } from '../model/adaptive-facts.ts';
import { isSamePlace } from '../risk/location-history.ts';
import type { CurrentPlace } from '../risk/location-history.ts';
import type { Hashes } from './keys.ts';
import { eventIn, machinesAt, placesAt, recallMachine } from './recall.ts';
import type { PlaceSettings, PresentedMachine } from './recall.ts';
import { NO_RECORD } from './record.ts';
import type { LastAuthentication, MachineMarks, MachineRecord, UserRecord } from './record.ts';

/** An authentication event, at the request that was let in. */
export interface LearnableEvent {
  /** Of the event, one under each key that reads. */
  readonly hashes: Hashes;
  /** The rules' clock, milliseconds since the epoch. */
  readonly nowMs: number;
  /** Undefined: not known. */
  readonly coordinates: { readonly latitude: number; readonly longitude: number } | undefined;
  readonly place: CurrentPlace;
  /** Of the client's address, one under each key that reads; empty: the address is unknown. */
  readonly addressHashes: readonly string[];
  /** Id of the application that the event is admitted to; undefined: to none. */
  readonly admitTo: string | undefined;
  /** Undefined: no rule asked about the machine. */
  readonly machine: MachineEvent | undefined;
}

/** The browser that an event came from. */
export interface MachineEvent {
  /** Undefined: no cookie that can be read. */
  readonly presented: PresentedMachine | undefined;
  readonly marks: MachineMarks;
  /** A known machine's marks are recorded anew. Otherwise they stay, and go on telling a copy from the original. */
  readonly refreshMarks: boolean;
  /** A machine that is not known is registered. */
  readonly register: boolean;
  /** Hashes of nonces that nobody has seen yet: the sequence is used for any machine, the nonce for a new one. */
  readonly fresh: { readonly nonceHash: string; readonly sequenceHash: string };
}

export interface LearnSettings extends PlaceSettings {
  /** The address belongs to a place. */
  readonly location_check_ip: boolean;
}

export interface Learned {
  /** Of the version read: whoever writes it counts. */
  readonly record: UserRecord;
  /** Which cookie the browser is to be given: `kept` and `registered` have the fresh sequence nonce, `registered` the
   *  fresh machine nonce as well; undefined: none. */
  readonly machine: 'kept' | 'registered' | undefined;
}

/** Records an event, once. Undefined where there is nothing to write: the record has it already (and has admitted it,
 *  where that is asked), or it is more than a minute older than the last one recorded, so that a late message cannot
 *  turn back the clock. An event that the record has is not recorded again by being admitted to one more application. */
export function learn(
  record: UserRecord | undefined,
  event: LearnableEvent,
  settings: LearnSettings,
): Learned | undefined {
  const before = record ?? NO_RECORD;
  const hash = eventIn(before, event.hashes);
  const isKnown = before.events.includes(hash);
  const isAdmitted = event.admitTo === undefined || (before.admitted[event.admitTo]?.includes(hash) ?? false);
  if (isKnown && isAdmitted) return undefined;
  if (before.last && before.last.timeMs - event.nowMs > LATE_MAX_MS) return undefined;
  const admitted = isAdmitted || event.admitTo === undefined ? before.admitted : admit(before, event.admitTo, hash);
  if (isKnown) return { record: bounded({ ...before, admitted }), machine: undefined };
  const machine = learnMachine(before.machines, event);
  return {
    record: bounded({
      ...before,
      last: lastAfter(before.last, event),
      places: learnPlace(before.places, event, settings),
      machines: machine.machines,
      events: [...before.events, hash].slice(-EVENTS_MAX),
      admitted,
    }),
    machine: machine.outcome,
  };
}

const LATE_MAX_MS = 60_000;
const EVENTS_MAX = 16;
const MACHINES_MAX = 5;
const APPLICATIONS_MAX = 32;
const ADMITTED_MAX = 4;
/** Longer names of cities and internet providers are no names. */
const NAME_LENGTH_MAX = 100;
/** Of places as JSON: ten with ordinary names, and always one. */
const PLACES_BYTES_MAX = 2048;
/** Of the whole record as JSON. With all other lists full, 15 applications of four events each, or 32 of one, still
 *  fit beside them. */
const RECORD_BYTES_MAX = 6144;

/** Four decimals of a degree are eleven metres. */
function lastAfter(
  last: LastAuthentication | undefined,
  { coordinates, nowMs }: LearnableEvent,
): LastAuthentication | undefined {
  if (!coordinates || (last && nowMs < last.timeMs)) return last;
  return { timeMs: nowMs, latitude: rounded(coordinates.latitude), longitude: rounded(coordinates.longitude) };
}

function rounded(degrees: number): number {
  // Adding 0 turns -0, which JSON cannot say, into 0.
  return Math.round(degrees * 10_000) / 10_000 + 0;
}

function learnPlace(
  places: readonly LearnedPlace[],
  event: LearnableEvent,
  settings: LearnSettings,
): readonly LearnedPlace[] {
  const { place: here, addressHashes, nowMs } = event;
  const { location_check_ip: checksAddress } = settings;
  if (!isLearnable(here, addressHashes)) return placesAt(places, nowMs, settings);
  const [addressHash = ''] = addressHashes;
  // A place of an unknown address is found again by an unknown address alone.
  const comparable = addressHashes.length === 0 ? NO_ADDRESS : addressHashes;
  const known = places.find((place) => isSamePlace(place, here, comparable, checksAddress));
  const seen: LearnedPlace = known
    ? { ...known, addressHash, lastMs: Math.max(known.lastMs, nowMs), count: Math.min(known.count + 1, COUNT_MAX) }
    : {
        country: here.kind === 'named' ? here.country : undefined,
        city: here.kind === 'named' ? here.city : undefined,
        isp: here.kind === 'named' ? here.isp : undefined,
        addressHash,
        private: here.kind === 'private',
        firstMs: nowMs,
        lastMs: nowMs,
        count: 1,
      };
  return boundedPlaces(placesAt([seen, ...places.filter((place) => place !== known)], nowMs, settings));
}

const NO_ADDRESS: readonly string[] = [''];
/** Ten times the greatest threshold there is. */
const COUNT_MAX = 1000;

function isLearnable(here: CurrentPlace, addressHashes: readonly string[]): boolean {
  if (here.kind === 'named') return isShort(here.city) && isShort(here.isp);
  return here.kind === 'private' && addressHashes.length > 0;
}

function isShort(name: string | undefined): boolean {
  return name === undefined || name.length <= NAME_LENGTH_MAX;
}

function learnMachine(
  machines: readonly MachineRecord[],
  { machine, nowMs }: LearnableEvent,
): { readonly machines: readonly MachineRecord[]; readonly outcome: Learned['machine'] } {
  const young = machinesAt(machines, nowMs);
  if (!machine) return { machines: young, outcome: undefined };
  const { presented, marks, fresh } = machine;
  const recall = presented && recallMachine(young, presented, nowMs);
  if (presented && recall?.state === 'known') {
    const { machine: known } = recall;
    const { nonceHashes, sequenceHashes } = presented;
    const used: MachineRecord = {
      ...known,
      nonceHash: nonceHashes[0],
      // Whichever of the two nonces came, the browser may hold the current one, from an answer on its way. Hashed
      // under the newer key where that can be done: the older one will go.
      previousHash: sequenceHashes.includes(known.sequenceHash) ? sequenceHashes[0] : known.sequenceHash,
      sequenceHash: fresh.sequenceHash,
      marks: machine.refreshMarks ? marks : known.marks,
      usedMs: Math.max(known.usedMs, nowMs),
    };
    return { machines: young.map((one) => (one === known ? used : one)), outcome: 'kept' };
  }
  if (!machine.register) return { machines: young, outcome: undefined };
  const registered: MachineRecord = {
    nonceHash: fresh.nonceHash,
    sequenceHash: fresh.sequenceHash,
    previousHash: undefined,
    marks,
    createdMs: nowMs,
    usedMs: nowMs,
  };
  // The browser forgets the cookie that it came with, so whoever shows it from now on is somebody else.
  const others = recall?.state === 'copied' ? young.filter((one) => one !== recall.machine) : young;
  return { machines: [registered, ...newest(others, MACHINES_MAX - 1)], outcome: 'registered' };
}

function newest(machines: readonly MachineRecord[], most: number): readonly MachineRecord[] {
  return machines.length <= most ? machines : machines.toSorted((a, b) => b.usedMs - a.usedMs).slice(0, most);
}

/** The application admitted to last stands last. */
function admit({ admitted }: UserRecord, application: string, event: string): UserRecord['admitted'] {
  const others = Object.entries(admitted).filter(([id]) => id !== application);
  const events = [...(admitted[application] ?? []), event].slice(-ADMITTED_MAX);
  return Object.fromEntries([...others, [application, events] as const].slice(-APPLICATIONS_MAX));
}

/** The application admitted to longest ago goes. */
function bounded(record: UserRecord): UserRecord {
  let kept = record;
  while (bytesOf(kept) > RECORD_BYTES_MAX) {
    const applications = Object.entries(kept.admitted);
    if (applications.length === 0) return kept;
    kept = { ...kept, admitted: Object.fromEntries(applications.slice(1)) };
  }
  return kept;
}

/** The place seen longest ago goes. */
function boundedPlaces(places: readonly LearnedPlace[]): readonly LearnedPlace[] {
  let kept = places;
  while (bytesOf(kept) > PLACES_BYTES_MAX) {
    const oldest = kept.reduce((a, b) => (b.lastMs < a.lastMs ? b : a));
    kept = kept.filter((place) => place !== oldest);
  }
  return kept;
}

function bytesOf(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value));
}
