/** How much each application is asked for, how it is answered and how fast: the last five minutes. */
import { CHECK_BUCKETS } from '../../metrics.ts';
import type { Outcome } from '../../model/decision.ts';

export interface Traffic {
  /** `application` is an id; undefined: none covers the request. */
  record(application: string | undefined, outcome: Outcome, seconds: number, timeMs: number): void;
  /** By id; `undefined` holds what no application covers. Applications without a request are not in it. */
  read(timeMs: number): ReadonlyMap<string | undefined, ApplicationTraffic>;
  /** Forgets all applications but these. */
  keep(applications: ReadonlySet<string>): void;
}

/** Counts of the last five minutes. */
export interface ApplicationTraffic {
  readonly requests: number;
  readonly allowed: number;
  readonly stepUps: number;
  readonly refused: number;
  readonly perMinute: number;
  /** Upper bounds in seconds of half and of 99 % of the checks; Infinity: more than a second. */
  readonly median: number;
  readonly p99: number;
}

/** `startedMs`: since when it counts, milliseconds since the epoch. */
export function createTraffic(startedMs: number): Traffic {
  const known = new Map<string | undefined, Minutes>();
  return {
    record(application, outcome, seconds, timeMs) {
      let minutes = known.get(application);
      if (!minutes) {
        minutes = new Minutes();
        known.set(application, minutes);
      }
      minutes.record(outcome, seconds, Math.floor(timeMs / MINUTE_MS));
    },
    read(timeMs) {
      const minute = Math.floor(timeMs / MINUTE_MS);
      // The minute that is not over counts with the part that is.
      const seen = Math.min(WINDOW - 1 + (timeMs % MINUTE_MS) / MINUTE_MS, (timeMs - startedMs) / MINUTE_MS);
      const read = new Map<string | undefined, ApplicationTraffic>();
      for (const [application, minutes] of known) {
        const traffic = minutes.read(minute, Math.max(seen, 1 / 60));
        if (traffic.requests > 0) read.set(application, traffic);
      }
      return read;
    },
    keep(applications) {
      for (const application of known.keys())
        if (application !== undefined && !applications.has(application)) known.delete(application);
    },
  };
}

const MINUTE_MS = 60_000;
const WINDOW = 5;
/** Allowed, step-ups, refused; then one per bucket, and one for what exceeds all. */
const ROW = 3 + CHECK_BUCKETS.length + 1;

/** Five minutes of one application, in a ring. */
class Minutes {
  readonly #counts = new Float64Array(WINDOW * ROW);
  readonly #minutes = new Float64Array(WINDOW).fill(-1);

  record(outcome: Outcome, seconds: number, minute: number): void {
    const slot = minute % WINDOW;
    const start = slot * ROW;
    if (this.#minutes[slot] !== minute) {
      this.#minutes[slot] = minute;
      this.#counts.fill(0, start, start + ROW);
    }
    this.#add(start + (outcome === 'allow' ? 0 : outcome === 'step_up' ? 1 : 2));
    let bucket = 0;
    while (bucket < CHECK_BUCKETS.length && seconds > (CHECK_BUCKETS[bucket] ?? 0)) bucket += 1;
    this.#add(start + 3 + bucket);
  }

  read(minute: number, minutes: number): ApplicationTraffic {
    const sum = new Float64Array(ROW);
    for (let slot = 0; slot < WINDOW; slot += 1) {
      const age = minute - (this.#minutes[slot] ?? -1);
      if (age < 0 || age >= WINDOW) continue;
      for (let place = 0; place < ROW; place += 1)
        sum[place] = (sum[place] ?? 0) + (this.#counts[slot * ROW + place] ?? 0);
    }
    const [allowed = 0, stepUps = 0, refused = 0] = sum;
    const requests = allowed + stepUps + refused;
    const buckets = sum.subarray(3);
    return {
      requests,
      allowed,
      stepUps,
      refused,
      perMinute: requests / minutes,
      median: boundOf(buckets, requests * 0.5),
      p99: boundOf(buckets, requests * 0.99),
    };
  }

  #add(place: number): void {
    this.#counts[place] = (this.#counts[place] ?? 0) + 1;
  }
}

function boundOf(buckets: Float64Array, wanted: number): number {
  let seen = 0;
  for (const [place, count] of buckets.entries()) {
    seen += count;
    if (seen >= wanted && seen > 0) return CHECK_BUCKETS[place] ?? Number.POSITIVE_INFINITY;
  }
  return 0;
}
