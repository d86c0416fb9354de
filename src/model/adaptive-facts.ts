/** What is remembered of a user, read before this request's own event.. */
export type HistoryFact =
  | { readonly state: 'unavailable' }
  | { readonly state: 'known'; readonly record: HistoryRecord };

export interface HistoryRecord {
  /** The last recorded authentication; undefined: none. */
  readonly last: { readonly timeMs: number; readonly latitude: number; readonly longitude: number } | undefined;
  readonly places: readonly LearnedPlace[];
  /** Application id → hashes of authentication events admitted to it (disableSSO). */
  readonly admitted: ReadonlyMap<string, readonly string[]>;
  /** Hash of this request's authentication event; undefined where the identity has none (headers). */
  readonly event: string | undefined;
  /** Whether that event is already in the record. */
  readonly eventKnown: boolean;
  /** Hashes of this request's client address (IPv4 whole, IPv6 its /64), one under every key that reads; empty where
   *  the address is unknown. Compared with LearnedPlace.addressHash. */
  readonly addressHashes: readonly string[];
}

export interface LearnedPlace {
  readonly country: string | undefined;
  readonly city: string | undefined;
  readonly isp: string | undefined;
  readonly addressHash: string;
  /** Told by the address alone, because it is private and nothing names its country. */
  readonly private: boolean;
  readonly firstMs: number;
  readonly lastMs: number;
  readonly count: number;
}

export type MachineFact =
  | { readonly state: 'unavailable' }
  | {
      readonly state: 'absent';
      readonly why: string;
      /** The machine is known, and its sequence nonce is an old one: the cookie may have been copied. */
      readonly copied?: boolean;
    }
  | { readonly state: 'present'; /** Points of the marks that differ. */ readonly risk: number };

/** One transaction detail of the request.. */
export type TransactionDetail =
  | { readonly state: 'absent' }
  | { readonly state: 'unknown'; readonly why: string }
  | { readonly state: 'text'; readonly value: string };

export type EngineAnswer =
  | { readonly state: 'failure'; readonly why: string }
  | { readonly state: 'disabled' }
  | { readonly state: 'answered'; readonly riskScore: number; readonly mismatch: boolean };
