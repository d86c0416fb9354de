/** What is remembered of a user, read once for all who ask: learned places, the last place, admitted events, machines.
 *  Read before the request's own event is recorded. */
import type { Address } from '../model/address.ts';
import type { HistoryFact, HistoryRecord, LearnedPlace, MachineFact } from '../model/adaptive-facts.ts';
import type { EvaluationContext } from '../model/context.ts';
import type { Identity } from '../model/identity.ts';
import { following } from '../shared/following.ts';
import { authenticationEvent } from '../state/event.ts';
import type { Hashes, StateKeys } from '../state/keys.ts';
import { eventIn, lastAt, placesAt } from '../state/recall.ts';
import type { PlaceSettings } from '../state/recall.ts';
import { NO_RECORD } from '../state/record.ts';
import type { LastAuthentication } from '../state/record.ts';
import type { State } from '../state/state.ts';
import type { StateStore } from '../state/store.ts';
import { readUser } from '../state/update.ts';
import type { ReadUser } from '../state/update.ts';
import { machineFact } from './machine.ts';
import type { MachinePoints } from './machine.ts';

/** The facts that come of one read. */
export interface Remembered {
  readonly history: HistoryFact;
  readonly machine: MachineFact;
}

/** Reads what is remembered of the identity. A promise only where the store has to be waited for; rejects where it
 *  cannot answer. */
export type HistorySource = (identity: Identity, context: EvaluationContext) => Remembered | Promise<Remembered>;

export interface HistorySettings extends PlaceSettings {
  readonly machine: { readonly points: MachinePoints };
}

/** `state` is asked at each request, so that a revision may be built before there is a store. */
export function createHistorySource(state: () => State, settings: HistorySettings): HistorySource {
  const named = new WeakMap<Identity, Named>();
  return (identity, context) => {
    // Whoever stands in front vouches for these each time anew: there is no authentication event to learn from. And
    // subjects of nobody in particular may be the same for different people.
    if (identity.source === 'headers' || identity.issuer === undefined) return NOTHING_REMEMBERED;
    const { store, keys } = state();
    let user = named.get(identity);
    if (!user) {
      // A verified token is remembered for as long as it is used, and its identity with it.
      user = namedUser(identity, keys);
      named.set(identity, user);
    }
    const { names, eventHashes } = user;
    return following(readNow(store, names), (read): Remembered => {
      const { record } = read;
      return {
        history: {
          state: 'known',
          record: new Recollection({ names, eventHashes, read, keys, settings, context }),
        },
        machine: machineFact(
          record?.machines ?? NO_RECORD.machines,
          context.request.headers,
          keys,
          settings.machine.points,
          context.nowMs,
        ),
      };
    });
  };
}

/** A store that fails at once fails as one does that fails later. */
function readNow(store: StateStore, names: Hashes): ReadUser | Promise<ReadUser> {
  try {
    return readUser(store, names);
  } catch (error) {
    return Promise.reject(error);
  }
}

interface RecollectionParts {
  readonly names: Hashes;
  readonly eventHashes: Hashes | undefined;
  readonly read: ReadUser;
  readonly keys: StateKeys;
  readonly settings: PlaceSettings;
  readonly context: EvaluationContext;
}

/** A user's record as one request sees it. Hashes that only some factors compare are made when they are asked for. */
export class Recollection implements HistoryRecord {
  readonly last: LastAuthentication | undefined;
  readonly places: readonly LearnedPlace[];
  readonly event: string | undefined;
  readonly eventKnown: boolean;
  /** Names of the record. */
  readonly names: Hashes;
  /** Undefined: the identity has no event. */
  readonly eventHashes: Hashes | undefined;
  /** The record as it was read, to be changed. */
  readonly read: ReadUser;
  readonly #keys: StateKeys;
  readonly #address: Address | undefined;
  #addressHashes: readonly string[] | undefined;
  #admitted: ReadonlyMap<string, readonly string[]> | undefined;

  constructor({ names, eventHashes, read, keys, settings, context }: RecollectionParts) {
    const record = read.record ?? NO_RECORD;
    this.names = names;
    this.eventHashes = eventHashes;
    this.read = read;
    this.last = lastAt(record, context.nowMs);
    this.places = placesAt(record.places, context.nowMs, settings);
    this.event = eventHashes && eventIn(record, eventHashes);
    this.eventKnown = this.event !== undefined && record.events.includes(this.event);
    this.#keys = keys;
    this.#address = context.address;
  }

  get addressHashes(): readonly string[] {
    this.#addressHashes ??= this.#address ? this.#keys.addressHashes(this.#address) : [];
    return this.#addressHashes;
  }

  get admitted(): ReadonlyMap<string, readonly string[]> {
    this.#admitted ??= new Map(Object.entries(this.read.record?.admitted ?? NO_RECORD.admitted));
    return this.#admitted;
  }
}

interface Named {
  readonly names: Hashes;
  readonly eventHashes: Hashes | undefined;
}

function namedUser(identity: Identity, keys: StateKeys): Named {
  const event = authenticationEvent(identity);
  return { names: keys.identityKeys(identity), eventHashes: event && keys.eventHashes(event) };
}

const NOTHING_REMEMBERED: Remembered = Object.freeze({
  history: Object.freeze({
    state: 'known',
    record: Object.freeze({
      last: undefined,
      places: NO_RECORD.places,
      admitted: new Map<string, readonly string[]>(),
      event: undefined,
      eventKnown: false,
      addressHashes: Object.freeze([]),
    }),
  }),
  machine: Object.freeze({ state: 'absent', why: 'nothing is remembered of an identity without an issuer' }),
});
