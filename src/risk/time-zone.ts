/** How far the wall clock of one time zone is ahead of UTC at an instant: seconds since the epoch (whole) in, seconds
 *  out; west of Greenwich is negative. */
export type ZoneClock = (epochSeconds: number) => number;

/** The clock of an IANA time zone; undefined: there is no such zone. The zone's offset is asked once for each hour in
 *  which requests come, because one question to `Intl` costs about 3 microseconds and an answer from memory 10
 *  nanoseconds; an hour in which the clocks change is cut at the very second. */
export function zoneClock(zoneId: string): ZoneClock | undefined {
  // `Intl` of later Node releases takes offsets ("+05:30") too; they are no names of the IANA database.
  if (!/^[A-Za-z]/.test(zoneId)) return undefined;
  let format: Intl.DateTimeFormat;
  try {
    format = new Intl.DateTimeFormat('en-US', { timeZone: zoneId, timeZoneName: 'longOffset' });
  } catch {
    return undefined;
  }
  let piece: Piece = { start: 0, end: 0, offset: 0 };
  return (epochSeconds) => {
    if (epochSeconds < piece.start || epochSeconds >= piece.end) piece = pieceAt(format, epochSeconds);
    return piece.offset;
  };
}

/** A stretch of time, [start, end) in seconds since the epoch, in which the offset stays the same. */
interface Piece {
  readonly start: number;
  readonly end: number;
  readonly offset: number;
}

const HOUR = 3600;

function pieceAt(format: Intl.DateTimeFormat, epochSeconds: number): Piece {
  const start = Math.floor(epochSeconds / HOUR) * HOUR;
  const end = start + HOUR;
  const first = offsetAt(format, start);
  const last = offsetAt(format, end - 1);
  if (first === last) return { start, end, offset: first };
  let before = start;
  let after = end - 1;
  while (after - before > 1) {
    const middle = before + Math.floor((after - before) / 2);
    if (offsetAt(format, middle) === first) before = middle;
    else after = middle;
  }
  return epochSeconds < after ? { start, end: after, offset: first } : { start: after, end, offset: last };
}

/** Reads `GMT`, `GMT+05:30` or, before standard time, `GMT-00:36:45`. */
function offsetAt(format: Intl.DateTimeFormat, epochSeconds: number): number {
  const name = format.formatToParts(epochSeconds * 1000).find((part) => part.type === 'timeZoneName')?.value ?? '';
  const [, sign, hours, minutes, seconds] = /^GMT(?:([+-])(\d{2}):(\d{2})(?::(\d{2}))?)?$/.exec(name) ?? [];
  if (sign === undefined) {
    if (name === 'GMT') return 0;
    throw new Error(`expected an offset such as GMT+05:30 from Intl, found ${JSON.stringify(name)}`);
  }
  const size = Number(hours) * HOUR + Number(minutes) * 60 + Number(seconds ?? 0);
  return sign === '-' ? -size : size;
}
