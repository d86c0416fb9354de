import { NO_RECORD } from '../../src/state/record.ts';
import type { UserRecord } from '../../src/state/record.ts';

/** A record with something in every member. */
export function recordOf(changes: Partial<UserRecord> = {}): UserRecord {
  const timeMs = Date.UTC(2026, 2, 4, 14, 30);
  return {
    ...NO_RECORD,
    version: 1,
    last: { timeMs, latitude: 41.1579, longitude: -8.6291 },
    places: [
      {
        country: 'PT',
        city: 'Porto',
        isp: undefined,
        addressHash: 'a'.repeat(22),
        private: false,
        firstMs: timeMs,
        lastMs: timeMs,
        count: 1,
      },
    ],
    machines: [
      {
        nonceHash: 'n'.repeat(22),
        sequenceHash: 's'.repeat(22),
        previousHash: undefined,
        marks: { browser: 'b', platform: 'p', language: 'l' },
        createdMs: timeMs,
        usedMs: timeMs,
      },
    ],
    events: ['e1', 'e2'],
    admitted: { '9a4b2f0e-3f55-4a57-9b0e-000000000001': ['e2'] },
    ...changes,
  };
}
