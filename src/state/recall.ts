/** What a user's record says at a given time: what has outlived its use is not said any more. Ages follow the rules'
 *  clock; a limit itself still counts. */
import type { LearnedPlace } from '../model/adaptive-facts.ts';
import type { Hashes } from './keys.ts';
import type { LastAuthentication, MachineRecord, UserRecord } from './record.ts';

const DAY_MS = 86_400_000;

/** How long each part is good for, whatever the settings say. */
const LAST_LIFE_MS = 30 * DAY_MS;
const PLACE_LIFE_MS = 90 * DAY_MS;
const MACHINE_UNUSED_MS = 90 * DAY_MS;
const MACHINE_LIFE_MS = 180 * DAY_MS;

/** The settings that bound learned places: Entrust's risk-based authentication settings. */
export interface PlaceSettings {
  readonly locations_max: number;
  /** 0: no expiry but the record's own. */
  readonly location_lifetime_hours: number;
}

/** Where the user was last; undefined: nowhere that is recent enough to travel from. */
export function lastAt(record: UserRecord, nowMs: number): LastAuthentication | undefined {
  const { last } = record;
  return last && nowMs - last.timeMs <= LAST_LIFE_MS ? last : undefined;
}

/** The places that are not too old, at most as many as the settings allow: those seen last. */
export function placesAt(
  places: readonly LearnedPlace[],
  nowMs: number,
  { locations_max: most, location_lifetime_hours: hours }: PlaceSettings,
): readonly LearnedPlace[] {
  const lifeMs = hours === 0 ? PLACE_LIFE_MS : Math.min(hours * 3_600_000, PLACE_LIFE_MS);
  const young = places.filter(({ lastMs }) => nowMs - lastMs <= lifeMs);
  return young.length <= most ? young : young.toSorted((a, b) => b.lastMs - a.lastMs).slice(0, most);
}

/** The machines that have neither grown old nor been left unused for too long. */
export function machinesAt(machines: readonly MachineRecord[], nowMs: number): readonly MachineRecord[] {
  return machines.filter(
    ({ createdMs, usedMs }) => nowMs - usedMs <= MACHINE_UNUSED_MS && nowMs - createdMs <= MACHINE_LIFE_MS,
  );
}

/** The two nonces of a machine cookie, hashed. */
export interface PresentedMachine {
  readonly nonceHashes: Hashes;
  readonly sequenceHashes: Hashes;
}

/** `copied`: the machine is known, and its sequence nonce is neither the current one nor the one before, so that the
 *  cookie is an old one or somebody else's copy. */
export type MachineRecall =
  | { readonly state: 'known'; readonly machine: MachineRecord }
  | { readonly state: 'copied'; readonly machine: MachineRecord }
  | { readonly state: 'unknown' };

/** Whose cookie this is. */
export function recallMachine(
  machines: readonly MachineRecord[],
  { nonceHashes, sequenceHashes }: PresentedMachine,
  nowMs: number,
): MachineRecall {
  for (const machine of machinesAt(machines, nowMs)) {
    if (!nonceHashes.includes(machine.nonceHash)) continue;
    const { sequenceHash, previousHash } = machine;
    const isCurrent =
      sequenceHashes.includes(sequenceHash) || (previousHash !== undefined && sequenceHashes.includes(previousHash));
    return { state: isCurrent ? 'known' : 'copied', machine };
  }
  return UNKNOWN_MACHINE;
}

const UNKNOWN_MACHINE: MachineRecall = Object.freeze({ state: 'unknown' });

/** The hash by which the record knows an event, where it does: keys rotate, and what was recorded under the older one
 *  keeps its hash. Otherwise the one to record it by. */
export function eventIn(record: UserRecord, hashes: Hashes): string {
  const [first, ...others] = hashes;
  for (const hash of others) {
    if (record.events.includes(hash) || Object.values(record.admitted).some((events) => events.includes(hash)))
      return hash;
  }
  return first;
}
