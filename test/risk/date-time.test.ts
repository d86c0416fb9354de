import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { dateTime } from '../../src/risk/date-time.ts';
import { zoneClock } from '../../src/risk/time-zone.ts';
import { contextOf } from '../rules/contexts.ts';
import { factorOf, reportedOf, verdictOf } from './factors.ts';

const kolkata = {
  allowedTime: true,
  startTime: '09:30:00',
  endTime: '18:15:00',
  weekDays: ['Tue', 'Wed', 'Thu', 'Fri', 'Sat'],
  zoneId: 'Asia/Kolkata',
};
const saoPaulo = { startTime: '20:00:00', endTime: '04:30:00', weekDays: ['Sat'], zoneId: 'America/Sao_Paulo' };
const noon = { allowedTime: false, startTime: '12:00:00', endTime: '13:00:00' };
const lisbon = { startTime: '01:15:00', endTime: '01:45:00', weekDays: ['Sun'], zoneId: 'Europe/Lisbon' };
const auckland = { startTime: '09:00:00', endTime: '09:00:00', weekDays: ['Wed'], zoneId: 'Pacific/Auckland' };
const week = {
  allowedDateTime: true,
  startDateTime: '2027-04-05T06:00:00+02:00',
  endDateTime: '2027-04-12T06:00:00+02:00',
};

describe('a range of time', () => {
  it.each([
    [kolkata, '2026-09-15T04:00:00Z', 'NO_RISK', 'Tuesday 09:30, the start'],
    [kolkata, '2026-09-15T03:59:59Z', 'RISK', 'a second before the start'],
    [kolkata, '2026-09-15T12:45:00Z', 'RISK', 'Tuesday 18:15, the end'],
    [kolkata, '2026-09-15T12:44:59.999Z', 'NO_RISK', 'a moment before the end'],
    [kolkata, '2026-09-14T06:00:00Z', 'RISK', 'Monday 11:30'],
    [saoPaulo, '2026-09-13T07:29:59Z', 'NO_RISK', "Sunday 04:29:59, Saturday's night"],
    [saoPaulo, '2026-09-13T07:30:00Z', 'RISK', 'its end'],
    [saoPaulo, '2026-09-12T06:00:00Z', 'RISK', "Saturday 03:00, Friday's night"],
    [saoPaulo, '2026-09-12T23:00:00Z', 'NO_RISK', 'Saturday 20:00, its start'],
    [noon, '2026-03-04T12:20:00Z', 'RISK', 'inside a denied range, UTC, every day'],
    [noon, '2026-03-04T13:00:00Z', 'NO_RISK', 'its end'],
    [lisbon, '2026-10-25T00:30:00Z', 'NO_RISK', '01:30 the first time'],
    [lisbon, '2026-10-25T01:30:00Z', 'NO_RISK', '01:30 the second time'],
    [lisbon, '2026-10-25T01:50:00Z', 'RISK', '01:50 the second time'],
    [lisbon, '2026-03-29T00:59:59Z', 'RISK', '00:59:59, before the hour that is skipped'],
    [lisbon, '2026-03-29T01:00:00Z', 'RISK', '02:00, after it'],
    [auckland, '2026-06-09T12:10:00Z', 'NO_RISK', 'Wednesday 00:10: start and end alike are the whole day'],
    [auckland, '2026-06-09T11:59:59Z', 'RISK', 'Tuesday 23:59:59'],
    [auckland, '2026-06-10T11:59:59Z', 'NO_RISK', 'Wednesday 23:59:59'],
    [week, '2027-04-05T04:00:00Z', 'NO_RISK', 'the start of a range of dates'],
    [week, '2027-04-12T04:00:00Z', 'RISK', 'its end'],
    [{ ...week, allowedDateTime: false }, '2027-04-05T04:00:00Z', 'RISK', 'a denied range of dates'],
    [{ startDateTime: '2027-04-05T06:00:00Z' }, '9999-01-01T00:00:00Z', 'NO_RISK', 'no end'],
    [{ endDateTime: '2027-04-05T06:00:00Z' }, '0001-01-01T00:00:00Z', 'NO_RISK', 'no start'],
    [{ endTime: '06:00:00' }, '2026-03-04T00:00:00Z', 'NO_RISK', 'no start: from midnight'],
    [{ startTime: '18:00:00' }, '2026-03-04T23:59:59.999Z', 'NO_RISK', 'no end: to midnight'],
    [{ weekDays: ['Wed'] }, '2026-03-04T00:00:00Z', 'NO_RISK', 'a day alone'],
    [{ weekDays: ['Wed'] }, '2026-03-05T00:00:00Z', 'RISK', 'another day'],
    [
      { ...week, weekDays: [], allowedTime: false },
      '2027-04-05T04:00:00Z',
      'NO_RISK',
      'what an export carries besides',
    ],
    [{ startTime: '23:00:00', endTime: '01:00:00' }, '1969-12-31T23:30:00Z', 'NO_RISK', 'before the epoch'],
  ] as [object, string, string, string][])('%j at %s: %s (%s)', (written, at, verdict) => {
    expect(verdictOf(dateTime, written, contextOf({}, { timeMs: Date.parse(at) }))).toBe(verdict);
  });

  it('is told by the process clock where the request has no time', () => {
    const { judge } = factorOf(dateTime, { startTime: '14:00:00', endTime: '15:00:00' });
    expect(judge(contextOf({}, { timeMs: undefined }))).toBe('NO_RISK');
  });
});

describe('what is reported', () => {
  it.each([
    [{}, ['date_time_empty']],
    [{ allowedTime: true, zoneId: 'UTC', weekDays: [] }, ['date_time_empty']],
    [{ ...week, startTime: '08:00:00' }, ['date_time_both']],
    [{ ...week, weekDays: ['Mon'] }, ['date_time_both']],
    [{ startDateTime: week.startDateTime, endDateTime: week.startDateTime }, ['date_time_order']],
    [{ startDateTime: '2027-04-05T06:00:00' }, ['date_time_invalid']],
    [{ startDateTime: '2027-02-29T06:00:00Z' }, ['date_time_invalid']],
    [{ startDateTime: '2027-13-01T06:00:00Z' }, ['date_time_invalid']],
    [{ startDateTime: '2027-04-05T24:00:00Z' }, ['date_time_invalid']],
    [{ startTime: '24:00:00' }, ['time_invalid']],
    [{ startTime: '8:00:00' }, ['time_invalid']],
    [{ startTime: '08:00' }, ['time_invalid']],
    [{ startTime: '08:00:00', zoneId: 'Europe/Atlantis' }, ['time_zone_unknown']],
    [{ startTime: '08:00:00', zoneId: '+02:00' }, ['time_zone_unknown']],
    [{ weekDays: ['Monday'] }, ['value_unknown']],
    [{ startTime: '08:00:00', riskPoint: 101 }, ['value_range']],
    [{ startTime: '08:00:00', onUnknown: 'ALLOW' }, ['value_unknown']],
    [{ startTime: '08:00:00', riskPoints: 5 }, ['key_unknown']],
  ])('%j: %j', (written, codes) => {
    expect(reportedOf(dateTime, written)).toEqual(codes);
  });
});

describe('laws', () => {
  const ZONES = [
    'UTC',
    'America/New_York',
    'Europe/Lisbon',
    'Australia/Lord_Howe',
    'Asia/Kathmandu',
    'Africa/Casablanca',
    'Pacific/Apia',
    'America/St_Johns',
    'Antarctica/Troll',
  ];
  const DAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];

  const instant = fc.integer({ min: Date.UTC(1970, 0, 1), max: Date.UTC(2060, 0, 1) });
  const time = fc.integer({ min: 0, max: 86_399 });

  it('a window holds what the calendar says', () => {
    const windows = fc.record({
      zone: fc.constantFrom(...ZONES),
      start: fc.option(time, { nil: undefined }),
      end: fc.option(time, { nil: undefined }),
      days: fc.subarray(DAYS, { minLength: 1 }),
      allowed: fc.boolean(),
      at: instant,
    });
    fc.assert(
      fc.property(windows, ({ zone, start, end, days, allowed, at }) => {
        const wall = wallClock(zone, at);
        const yesterday = DAYS[(DAYS.indexOf(wall.day) + 6) % 7] ?? '';
        const from = start ?? 0;
        const to = end ?? 86_400;
        const today = days.includes(wall.day);
        const inside =
          from < to
            ? today && wall.seconds >= from && wall.seconds < to
            : from === to
              ? today
              : (today && wall.seconds >= from) || (days.includes(yesterday) && wall.seconds < to);
        const written = {
          allowedTime: allowed,
          ...(start === undefined ? {} : { startTime: clock(start) }),
          ...(end === undefined ? {} : { endTime: clock(end) }),
          weekDays: days,
          zoneId: zone,
        };
        expect(verdictOf(dateTime, written, contextOf({}, { timeMs: at }))).toBe(
          inside === allowed ? 'NO_RISK' : 'RISK',
        );
      }),
      { numRuns: 600 },
    );
  });

  it("a zone's clock says the same whatever it was asked before", () => {
    const clocks = new Map(ZONES.map((zone) => [zone, zoneClock(zone)]));
    // Around changes of the clocks: every zone here that changes at all does so on some Sunday at night.
    const near = fc
      .tuple(
        fc.constantFrom(
          Date.UTC(2026, 2, 29, 1),
          Date.UTC(2026, 9, 25, 1),
          Date.UTC(2026, 2, 8, 7),
          Date.UTC(2026, 3, 4, 15),
        ),
        fc.integer({ min: -7200, max: 7200 }),
      )
      .map(([change, seconds]) => change + seconds * 1000);
    fc.assert(
      fc.property(
        fc.constantFrom(...ZONES),
        fc.array(fc.oneof(near, instant), { minLength: 1, maxLength: 6 }),
        (zone, instants) => {
          for (const ms of instants) {
            const seconds = Math.floor(ms / 1000);
            const offset = clocks.get(zone)?.(seconds) ?? Number.NaN;
            expect(mod(seconds + offset, 86_400)).toBe(wallClock(zone, ms).seconds);
          }
        },
      ),
      { numRuns: 400 },
    );
  });

  it('a change of the clocks is seen at its very second', () => {
    const newYork = zoneClock('America/New_York');
    const change = Date.UTC(2026, 2, 8, 7) / 1000;
    expect([change - 1, change, change - 1].map((at) => newYork?.(at))).toEqual([-18_000, -14_400, -18_000]);
    // Monrovia went from −00:44:30 to UTC within an hour.
    const monrovia = zoneClock('Africa/Monrovia');
    const jump = Date.UTC(1972, 0, 7, 0, 44, 30) / 1000;
    expect([jump - 1, jump].map((at) => monrovia?.(at))).toEqual([-2670, 0]);
  });
});

const FORMATS = new Map<string, Intl.DateTimeFormat>();

/** The calendar's own answer: the parts of the wall clock as `Intl` writes them, which the zone's clock never asks
 *  for. */
function wallClock(zone: string, ms: number): { readonly day: string; readonly seconds: number } {
  const format =
    FORMATS.get(zone) ??
    new Intl.DateTimeFormat('en-US', {
      timeZone: zone,
      hourCycle: 'h23',
      weekday: 'short',
      hour: '2-digit',
      minute: '2-digit',
      second: '2-digit',
    });
  FORMATS.set(zone, format);
  const parts = new Map<string, string>(format.formatToParts(ms).map(({ type, value }) => [type, value]));
  const [hour, minute, second] = ['hour', 'minute', 'second'].map((part) => Number(parts.get(part)));
  return { day: parts.get('weekday') ?? '', seconds: ((hour ?? 0) * 60 + (minute ?? 0)) * 60 + (second ?? 0) };
}

function clock(seconds: number): string {
  return new Date(seconds * 1000).toISOString().slice(11, 19);
}

function mod(value: number, by: number): number {
  return ((value % by) + by) % by;
}
