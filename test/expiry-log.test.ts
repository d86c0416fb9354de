import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createExpiryLog } from '../src/expiry-log.ts';
import type { ExpiryLog } from '../src/expiry-log.ts';
import type { Expiring } from '../src/facts/expiries.ts';

const HOUR_S = 3_600;
const lines: string[] = [];
let log: ExpiryLog;

beforeEach(() => {
  vi.useFakeTimers({ now: 0 });
  lines.length = 0;
  const line = (level: string) => (message: string, fields?: object) => {
    const { name, at, mend } = fields as Record<string, string>;
    expect(mend).not.toBe('');
    lines.push(`${level} ${message}: ${name} ${at}`);
  };
  log = createExpiryLog({ logger: { warn: line('warn'), error: line('error') }, nowMs: () => Date.now() });
});

afterEach(() => {
  log.stop();
  vi.useRealTimers();
});

const ends = (name: string, hours: number): Expiring => ({ kind: 'service_token', name, epochSeconds: hours * HOUR_S });

describe('what ends', () => {
  it('is told once when it is near, and once when it has ended', async () => {
    log.watch([ends('far', 1_000), ends('gone', -1), ends('near', 40), ends('next', 50)]);
    expect(lines).toEqual([
      'warn a service token has ended: gone 1969-12-31T23:00:00.000Z',
      'warn a service token ends in less than two days: near 1970-01-02T16:00:00.000Z',
    ]);
    lines.length = 0;
    await vi.advanceTimersByTimeAsync(3 * HOUR_S * 1_000);
    expect(lines).toEqual(['warn a service token ends in less than two days: next 1970-01-03T02:00:00.000Z']);
    await vi.advanceTimersByTimeAsync(38 * HOUR_S * 1_000);
    expect(lines.slice(1)).toEqual(['warn a service token has ended: near 1970-01-02T16:00:00.000Z']);
  });

  it('is not told again by a revision that has it still, but by one that has it anew', () => {
    log.watch([ends('near', 40)]);
    log.watch([ends('near', 40)]);
    expect(lines).toHaveLength(1);
    log.watch([ends('near', 41)]);
    log.watch([]);
    log.watch([ends('near', 40)]);
    expect(lines).toHaveLength(3);
  });

  it('is an error where it is a certificate', () => {
    log.watch([{ kind: 'trusted_authority', name: 'Root', epochSeconds: -HOUR_S }]);
    expect(lines).toEqual(['error an authority for client certificates has ended: Root 1969-12-31T23:00:00.000Z']);
  });

  it('is told no more once the log has stopped', async () => {
    log.watch([ends('near', 50)]);
    log.stop();
    await vi.advanceTimersByTimeAsync(60 * HOUR_S * 1_000);
    expect(lines).toEqual([]);
  });
});
