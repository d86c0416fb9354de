/** JSON Web Key Sets (RFC 7517 section 5): from a file, which is part of the revision, or from a URL, which outlives
 *  revisions and is kept fresh in the background. */
import { importPublicJwk, isSignatureAlgorithm, RSA_BITS_MIN, SIGNATURE_KEYS } from '../shared/jose.ts';
import type { KeyObject, SignatureAlgorithm } from '../shared/jose.ts';
import type { Finding } from '../shared/shape.ts';
import { createOutbound, OutboundError } from './outbound.ts';
import type { Outbound } from './outbound.ts';
import { isObject } from '../shared/object.ts';

/** One public key of a set. */
export interface VerificationKey {
  /** undefined: the set gives it none. */
  readonly kid: string | undefined;
  /** What it may verify: its type and curve fit, and its own `alg`, where it has one, is the same. */
  readonly algorithms: readonly SignatureAlgorithm[];
  readonly key: KeyObject;
}

/** Keys as they were read once. Two reads of the same bytes are the same object, so that what was verified with a
 *  set can be told from what was verified with another. */
export interface KeySet {
  readonly keys: readonly VerificationKey[];
}

/** What a set says of a token's `alg` and `kid`. `found`: at most four keys, and the set they are of. `missing`:
 *  the set was read and has no such key. `unavailable`: the set could not be had. */
export type KeyLookup =
  | { readonly state: 'found'; readonly set: KeySet; readonly keys: readonly VerificationKey[] }
  | { readonly state: 'missing'; readonly why: string }
  | { readonly state: 'unavailable'; readonly why: string };

/** Where a verifier gets its keys. */
export interface KeySource {
  /** A promise only while the set is being read. Never rejects. `kid` undefined: the token has none. */
  find(algorithm: SignatureAlgorithm, kid: string | undefined): KeyLookup | Promise<KeyLookup>;
  /** The set that is in force; undefined: none can be had. */
  current(): KeySet | undefined;
}

export interface KeySetsOptions {
  /** Milliseconds, monotonic. */
  readonly now?: (() => number) | undefined;
  /** Runs once after a delay; gives back how to call it off. Must not keep the process alive. */
  readonly schedule?: ((run: () => void, delayMs: number) => () => void) | undefined;
  /** Told of every read: seconds it took, and why it failed; undefined: it did not. */
  readonly onRead?: ((read: KeySetRead) => void) | undefined;
  /** For connecting and the whole answer; default 5 s. */
  readonly readTimeoutMs?: number | undefined;
  /** How long after its last successful read a set still serves; default a day. */
  readonly staleMaxMs?: number | undefined;
  /** How sets are read; default: whatever address their hosts have. */
  readonly outbound?: Outbound | undefined;
}

export interface KeySetRead {
  readonly url: string;
  readonly seconds: number;
  readonly failure: string | undefined;
}

/** The key sets of URLs, each read once for all who name it. They outlive revisions: a reload keeps what it has. */
export interface KeySets {
  /** The set of a URL. It is read at once where `start` was called, else when it is first needed. */
  source(url: string): KeySource;
  /** Drops the sets of all other URLs; to be called with the URLs of the revision in force. */
  keep(urls: Iterable<string>): void;
  /** Reads all sets that are not read yet, and renews them from now on. */
  start(): void;
  /** No more renewals. What is known stays usable. */
  stop(): void;
}

const READ_TIMEOUT_MS = 5_000;
const BYTES_MAX = 512 * 1024;
const KEYS_MAX = 100;
const TRIED_MAX = 4;
const LIFETIME_MIN_MS = 60_000;
const LIFETIME_MAX_MS = 24 * 3_600_000;
const LIFETIME_DEFAULT_MS = 600_000;
/** How much of its lifetime a set has behind it when it is renewed. */
const RENEWAL_SHARE = 0.8;
const STALE_MAX_MS = 24 * 3_600_000;
/** Between two reads that unknown key ids asked for. */
const UNKNOWN_KID_INTERVAL_MS = 30_000;
const RETRY_FIRST_MS = 1_000;
const RETRY_MAX_MS = 30_000;

/** Reads a key set out of a file. Findings are the user's to mend; keys of types that verify nothing here (shared
 *  secrets, other curves) are passed over. */
export function readKeySetFile(
  bytes: Uint8Array,
): { readonly set: KeySet } | { readonly findings: readonly Finding[] } {
  const read = parseKeySet(bytes);
  if ('wrong' in read) return { findings: [keySetFinding(read.wrong)] };
  if (read.refused.length > 0) return { findings: read.refused.map(keySetFinding) };
  if (read.keys.length === 0)
    return { findings: [keySetFinding('expected at least one public key that verifies signatures, found none')] };
  return { set: { keys: read.keys } };
}

/** A set that never changes. */
export function fixedKeySource(set: KeySet): KeySource {
  return { find: (algorithm, kid) => lookedUp(set, algorithm, kid), current: () => set };
}

/** For commands that never go to the network: the sets of URLs cannot be had, so that their tokens can neither be
 *  accepted nor refused. */
export function unreachableKeySets(): KeySets {
  return {
    source: (url) => ({
      find: () => ({ state: 'unavailable', why: `the keys at ${url} are not read offline` }),
      current: () => undefined,
    }),
    keep: () => undefined,
    start: () => undefined,
    stop: () => undefined,
  };
}

/** Starts with no set at all. */
export function createKeySets(options: KeySetsOptions = {}): KeySets {
  const surroundings: Surroundings = {
    now: options.now ?? (() => performance.now()),
    schedule: options.schedule ?? scheduleUnreferenced,
    onRead: options.onRead,
    readTimeoutMs: options.readTimeoutMs ?? READ_TIMEOUT_MS,
    staleMaxMs: options.staleMaxMs ?? STALE_MAX_MS,
    outbound: options.outbound ?? createOutbound({ guarded: false }),
  };
  const sets = new Map<string, UrlKeySet>();
  let started = false;
  return {
    source(url) {
      let set = sets.get(url);
      if (set === undefined) {
        set = new UrlKeySet(url, surroundings);
        sets.set(url, set);
        if (started) set.start();
      }
      return set;
    },
    keep(urls) {
      const kept = new Set(urls);
      for (const [url, set] of sets) {
        if (kept.has(url)) continue;
        set.stop();
        sets.delete(url);
      }
    },
    start() {
      started = true;
      for (const set of sets.values()) set.start();
    },
    stop() {
      started = false;
      for (const set of sets.values()) set.stop();
    },
  };
}

interface Surroundings {
  readonly now: () => number;
  readonly schedule: (run: () => void, delayMs: number) => () => void;
  readonly onRead: ((read: KeySetRead) => void) | undefined;
  readonly readTimeoutMs: number;
  readonly staleMaxMs: number;
  readonly outbound: Outbound;
}

class UrlKeySet implements KeySource {
  readonly #url: string;
  readonly #surroundings: Surroundings;
  #set: KeySet | undefined = undefined;
  /** Of the body that `#set` was read from. */
  #text = '';
  #readAtMs = 0;
  /** Why the last read failed; undefined: it did not, or there was none. */
  #failure: string | undefined = undefined;
  #failuresInARow = 0;
  #reading: Promise<void> | undefined = undefined;
  #unknownKidReadAtMs = -Infinity;
  #renewing = false;
  #callOff: (() => void) | undefined = undefined;

  constructor(url: string, surroundings: Surroundings) {
    this.#url = url;
    this.#surroundings = surroundings;
  }

  current(): KeySet | undefined {
    if (this.#set === undefined) return undefined;
    const { now, staleMaxMs } = this.#surroundings;
    return now() - this.#readAtMs < staleMaxMs ? this.#set : undefined;
  }

  find(algorithm: SignatureAlgorithm, kid: string | undefined): KeyLookup | Promise<KeyLookup> {
    const set = this.current();
    if (set === undefined) {
      if (this.#reading === undefined && this.#failure !== undefined && this.#renewing) return this.#unavailable();
      return this.#read().then(() => this.#answer(algorithm, kid));
    }
    if (kid === undefined || set.keys.some((key) => key.kid === kid)) return lookedUp(set, algorithm, kid);
    return this.#findUnknown(algorithm, kid);
  }

  start(): void {
    this.#renewing = true;
    if (this.#callOff === undefined) void this.#read();
  }

  stop(): void {
    this.#renewing = false;
    this.#callOff?.();
    this.#callOff = undefined;
  }

  /** The set is there, and has no key of that id: it may have got one since. */
  #findUnknown(algorithm: SignatureAlgorithm, kid: string): KeyLookup | Promise<KeyLookup> {
    if (this.#reading === undefined) {
      const now = this.#surroundings.now();
      if (now - this.#unknownKidReadAtMs < UNKNOWN_KID_INTERVAL_MS) return this.#answer(algorithm, kid);
      this.#unknownKidReadAtMs = now;
    }
    return this.#read().then(() => this.#answer(algorithm, kid));
  }

  /** From what is known now. Where a key is not in an old set and no newer one can be had, nobody knows. */
  #answer(algorithm: SignatureAlgorithm, kid: string | undefined): KeyLookup {
    const set = this.current();
    if (set === undefined) return this.#unavailable();
    const lookup = lookedUp(set, algorithm, kid);
    const known = kid === undefined || set.keys.some((key) => key.kid === kid);
    return known || this.#failure === undefined ? lookup : this.#unavailable();
  }

  #unavailable(): KeyLookup {
    return {
      state: 'unavailable',
      why: `the key set at ${this.#url} could not be read: ${this.#failure ?? 'too old'}`,
    };
  }

  /** One read for all who ask while it lasts. Never rejects. */
  #read(): Promise<void> {
    this.#reading ??= this.#readOnce().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  async #readOnce(): Promise<void> {
    this.#callOff?.();
    this.#callOff = undefined;
    const { now, onRead } = this.#surroundings;
    const startedMs = now();
    let lifetimeMs = LIFETIME_DEFAULT_MS;
    let failure: string | undefined;
    try {
      const answer = await fetchKeySet(this.#url, this.#surroundings);
      lifetimeMs = answer.lifetimeMs;
      if (this.#set === undefined || answer.text !== this.#text) this.#set = { keys: answer.keys };
      this.#text = answer.text;
      this.#readAtMs = now();
    } catch (error) {
      failure = error instanceof OutboundError ? error.message : 'the key set could not be read';
    }
    this.#failure = failure;
    this.#failuresInARow = failure === undefined ? 0 : this.#failuresInARow + 1;
    this.#scheduleNext(lifetimeMs);
    onRead?.({ url: this.#url, seconds: (now() - startedMs) / 1000, failure });
  }

  #scheduleNext(lifetimeMs: number): void {
    if (!this.#renewing) return;
    const delayMs =
      this.#failuresInARow === 0
        ? lifetimeMs * RENEWAL_SHARE
        : Math.min(RETRY_FIRST_MS * 2 ** (this.#failuresInARow - 1), RETRY_MAX_MS);
    this.#callOff = this.#surroundings.schedule(() => {
      this.#callOff = undefined;
      void this.#read();
    }, delayMs);
  }
}

/** With a `kid`, the keys of that id; without, the only key that fits. */
function lookedUp(set: KeySet, algorithm: SignatureAlgorithm, kid: string | undefined): KeyLookup {
  const fitting = set.keys.filter(
    (key) => (kid === undefined || key.kid === kid) && key.algorithms.includes(algorithm),
  );
  if (fitting.length === 0) return { state: 'missing', why: `no ${algorithm} key fits the token's key id` };
  if (kid === undefined && fitting.length > 1) {
    return { state: 'missing', why: `the token names no key, and ${fitting.length} keys fit` };
  }
  return { state: 'found', set, keys: fitting.slice(0, TRIED_MAX) };
}

async function fetchKeySet(
  url: string,
  { outbound, readTimeoutMs }: Surroundings,
): Promise<{
  readonly keys: readonly VerificationKey[];
  readonly text: string;
  readonly lifetimeMs: number;
}> {
  const headers = { accept: 'application/jwk-set+json, application/json' };
  const { bytes, cacheControl } = await outbound(
    { url, headers, bytesMax: BYTES_MAX },
    AbortSignal.timeout(readTimeoutMs),
  );
  const read = parseKeySet(bytes);
  if ('wrong' in read) throw new OutboundError(read.wrong);
  return { keys: read.keys, text: Buffer.from(bytes).toString('latin1'), lifetimeMs: lifetimeOf(cacheControl) };
}

/** RFC 9111 section 5.2.2.1, within bounds. */
function lifetimeOf(cacheControl: string): number {
  const seconds = /(?:^|[\s,])max-age="?(\d{1,10})(?!\d)/i.exec(cacheControl)?.[1];
  if (seconds === undefined) return LIFETIME_DEFAULT_MS;
  return Math.min(Math.max(Number(seconds) * 1000, LIFETIME_MIN_MS), LIFETIME_MAX_MS);
}

type ParsedKeySet =
  | { readonly wrong: string }
  | {
      readonly keys: readonly VerificationKey[];
      /** What is wrong with keys that look meant. */ readonly refused: readonly string[];
    };

function parseKeySet(bytes: Uint8Array): ParsedKeySet {
  if (bytes.length > BYTES_MAX) return { wrong: `expected at most ${BYTES_MAX} bytes, found ${bytes.length}` };
  let data: unknown;
  try {
    data = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    return { wrong: 'expected JSON, found something else' };
  }
  const list = isObject(data) && Object.hasOwn(data, 'keys') ? data['keys'] : undefined;
  if (!Array.isArray(list)) return { wrong: 'expected an object with a list "keys" (RFC 7517), found something else' };
  if (list.length > KEYS_MAX) return { wrong: `expected at most ${KEYS_MAX} keys, found ${list.length}` };
  const keys: VerificationKey[] = [];
  const refused: string[] = [];
  for (const [index, jwk] of list.entries()) {
    const read = readKey(jwk);
    if (typeof read === 'string') refused.push(`key ${index + 1}: ${read}`);
    else if (read !== undefined) keys.push(read);
  }
  return { keys, refused };
}

/** undefined: not for verifying here. Text: what is wrong with it. */
function readKey(jwk: unknown): VerificationKey | string | undefined {
  if (!isObject(jwk)) return 'expected an object, found something else';
  if (Object.hasOwn(jwk, 'd')) return 'expected a public key, found a private one';
  const { kid, use, key_ops: operations, alg } = jwk as Readonly<Record<'kid' | 'use' | 'key_ops' | 'alg', unknown>>;
  if (kid !== undefined && typeof kid !== 'string') return 'expected a "kid" that is text, found something else';
  if (use !== undefined && use !== 'sig') return undefined;
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes('verify'))) return undefined;
  if (alg !== undefined && !(typeof alg === 'string' && isSignatureAlgorithm(alg))) return undefined;
  const algorithms = (Object.keys(SIGNATURE_KEYS) as SignatureAlgorithm[]).filter((name) => {
    const wanted: { readonly kty: string; readonly crv?: string } = SIGNATURE_KEYS[name];
    return (
      wanted.kty === jwk['kty'] &&
      (wanted.crv === undefined || wanted.crv === jwk['crv']) &&
      (alg === undefined || alg === name)
    );
  });
  if (algorithms.length === 0) return undefined;
  const key = importPublicJwk(jwk);
  if (key === undefined) return 'expected a public key, found one that cannot be read';
  const bits = key.asymmetricKeyDetails?.modulusLength;
  if (bits !== undefined && bits < RSA_BITS_MIN) return `expected ${RSA_BITS_MIN} bits or more, found ${bits}`;
  return { kid, algorithms, key };
}

function keySetFinding(wrong: string): Finding {
  return {
    code: 'key_set_invalid',
    text: wrong,
    mend: 'write {"keys":[…]} with the issuer\'s public keys as JSON Web Keys',
  };
}

function scheduleUnreferenced(run: () => void, delayMs: number): () => void {
  const timer = setTimeout(run, delayMs).unref();
  return () => {
    clearTimeout(timer);
  };
}
