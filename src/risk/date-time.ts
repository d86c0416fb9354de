import type { EvaluationContext } from '../model/context.ts';
import { also, exactObject, flag, listOf, quoted, readText, word } from '../shared/shape.ts';
import type { Finding, ShapeOutput } from '../shared/shape.ts';
import { contextKeys } from './context-keys.ts';
import type { FactorJudge, FactorType } from './factor.ts';
import { zoneClock } from './time-zone.ts';

const DAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'] as const;
const DAY_SECONDS = 86_400;

const shape = also(
  exactObject({
    ...contextKeys,
    allowedDateTime: flag().optional().describe('Whether the range of dates is allowed or denied. Default true.'),
    startDateTime: dateTimeText().optional().describe('From when on, RFC 3339 with an offset; absent: always.'),
    endDateTime: dateTimeText().optional().describe('Until when, itself excluded; absent: for ever.'),
    allowedTime: flag().optional().describe('Whether the hours are allowed or denied. Default true.'),
    startTime: timeText().optional().describe('hh:mm:ss; absent: midnight.'),
    endTime: timeText().optional().describe('hh:mm:ss, itself excluded; before startTime: of the next day.'),
    weekDays: listOf(word(DAYS)).optional().describe('The days on which the hours begin; absent: all.'),
    zoneId: zoneText().optional().describe('A time zone of the IANA database. Default UTC.'),
  }),
  (context) => {
    const hasDate = context.startDateTime !== undefined || context.endDateTime !== undefined;
    const hasTime = isTimeForm(context);
    if (hasDate && hasTime) return [BOTH];
    if (!hasDate && !hasTime) return [EMPTY];
    const { startDateTime, endDateTime } = context;
    if (startDateTime !== undefined && endDateTime !== undefined && endDateTime <= startDateTime) return [ORDER];
    return [];
  },
);

type DateTimeContext = ShapeOutput<typeof shape>;

/** Whether the request comes within a range of dates, or within hours of the day on certain days of the week. Ranges
 *  are half-open. Source: Entrust's DateTimeContext. */
export const dateTime: FactorType<DateTimeContext> = {
  name: 'dateTime',
  property: 'dateTimeContext',
  isList: false,
  description: 'At risk outside an allowed range of time, or inside a denied one.',
  shape,
  needs: () => [],
  compile: (context) => (isTimeForm(context) ? timeJudge(context) : dateJudge(context)),
  unknownCounts: () => 'RISK',
  seen: (context) => `time ${new Date(context.nowMs).toISOString()}`,
};

/** The values tell the form. An export carries the booleans and an empty list of days with either form. */
function isTimeForm(context: DateTimeContext): boolean {
  return context.startTime !== undefined || context.endTime !== undefined || (context.weekDays?.length ?? 0) > 0;
}

function dateJudge(context: DateTimeContext): FactorJudge {
  const start = context.startDateTime ?? Number.NEGATIVE_INFINITY;
  const end = context.endDateTime ?? Number.POSITIVE_INFINITY;
  const riskInside = context.allowedDateTime === false;
  return ({ nowMs }) => ((nowMs >= start && nowMs < end) === riskInside ? 'RISK' : 'NO_RISK');
}

function timeJudge(context: DateTimeContext): FactorJudge {
  const start = context.startTime ?? 0;
  const end = context.endTime ?? DAY_SECONDS;
  const listed = DAYS.map((day) => !context.weekDays?.length || context.weekDays.includes(day));
  // A range that ends on the day after belongs to the day it starts.
  const listedYesterday = DAYS.map((_, day) => listed[(day + 6) % 7]);
  const riskInside = context.allowedTime === false;
  // The shape has found the zone.
  const offsetAt = zoneClock(context.zoneId ?? 'UTC') ?? (() => 0);

  const isInside = ({ nowMs }: EvaluationContext): boolean => {
    const utc = Math.floor(nowMs / 1000);
    const wall = utc + offsetAt(utc);
    const day = Math.floor(wall / DAY_SECONDS);
    const time = wall - day * DAY_SECONDS;
    // 1970-01-01 was a Thursday.
    const weekDay = (((day + 4) % 7) + 7) % 7;
    if (start < end) return listed[weekDay] === true && time >= start && time < end;
    if (start === end) return listed[weekDay] === true;
    return (listed[weekDay] === true && time >= start) || (listedYesterday[weekDay] === true && time < end);
  };
  return (request) => (isInside(request) === riskInside ? 'RISK' : 'NO_RISK');
}

/** RFC 3339 with an offset; milliseconds since the epoch. */
function dateTimeText() {
  return readText((value) => {
    const ms = readDateTime(value);
    return ms === undefined
      ? {
          code: 'date_time_invalid',
          text: `expected a date and time with an offset, found ${quoted(value)}`,
          mend: 'write e.g. 2027-04-05T06:00:00+02:00',
        }
      : { value: ms };
  });
}

function readDateTime(value: string): number | undefined {
  const parts =
    /^(\d{4})-(\d{2})-(\d{2})[Tt](\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d{2}):(\d{2}))$/.exec(value);
  if (!parts) return undefined;
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = parts.slice(1, 7).map(Number);
  const [fraction, sign, offsetHour, offsetMinute] = parts.slice(7);
  if (hour > 23 || minute > 59 || second > 59 || Number(offsetHour ?? 0) > 23 || Number(offsetMinute ?? 0) > 59)
    return undefined;
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  // A day that its month does not have has moved into the next one.
  if (month < 1 || date.getUTCMonth() !== month - 1 || date.getUTCDate() !== day) return undefined;
  const offset = (Number(offsetHour ?? 0) * 60 + Number(offsetMinute ?? 0)) * (sign === '-' ? -1 : 1);
  const minutes = hour * 60 + minute - offset;
  return date.getTime() + (minutes * 60 + second) * 1000 + Number(`0.${fraction ?? '0'}`) * 1000;
}

/** `hh:mm:ss`; seconds since midnight. */
function timeText() {
  return readText((value) => {
    const parts = /^(\d{2}):(\d{2}):(\d{2})$/.exec(value);
    const [hour = 24, minute = 60, second = 60] = parts?.slice(1).map(Number) ?? [];
    return hour > 23 || minute > 59 || second > 59
      ? {
          code: 'time_invalid',
          text: `expected a time from 00:00:00 to 23:59:59, found ${quoted(value)}`,
          mend: 'write hh:mm:ss, e.g. 08:30:00',
        }
      : { value: (hour * 60 + minute) * 60 + second };
  });
}

function zoneText() {
  return readText((value) =>
    zoneClock(value)
      ? { value }
      : {
          code: 'time_zone_unknown',
          text: `expected a time zone of the IANA database, found ${quoted(value)}`,
          mend: 'write e.g. America/Toronto or UTC',
        },
  );
}

const BOTH: Finding = {
  code: 'date_time_both',
  text: 'expected a range of dates or hours of the day, found both',
  mend: 'keep startDateTime and endDateTime, or startTime, endTime and weekDays',
};

const EMPTY: Finding = {
  code: 'date_time_empty',
  text: 'expected a range of dates or hours of the day, found neither',
  mend: 'give startDateTime or endDateTime, or any of startTime, endTime and weekDays',
};

const ORDER: Finding = {
  code: 'date_time_order',
  text: 'expected endDateTime to be after startDateTime',
  mend: 'swap the two',
  path: ['endDateTime'],
};
