import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { learn } from '../../src/state/learn.ts';
import type { LearnableEvent, Learned, LearnSettings, MachineEvent } from '../../src/state/learn.ts';
import { eventIn, lastAt, placesAt, recallMachine } from '../../src/state/recall.ts';
import { NO_RECORD, readRecord } from '../../src/state/record.ts';
import type { MachineMarks, UserRecord } from '../../src/state/record.ts';

const NOW = Date.UTC(2026, 2, 4, 14, 30);
const SECOND = 1000;
const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const ORDERS = '9a4b2f0e-3f55-4a57-9b0e-000000000001';
const PORTO = { latitude: 41.157_94, longitude: -8.629_12 };
const SETTINGS: LearnSettings = { locations_max: 5, location_lifetime_hours: 0, location_check_ip: false };
const MARKS: MachineMarks = { browser: 'firefox', platform: 'linux', language: 'pt' };
const OTHER_MARKS: MachineMarks = { browser: 'chrome', platform: 'windows', language: 'ja' };

/** Hashes stand for themselves here. */
function event(name: string, part: Partial<LearnableEvent> & { readonly city?: string } = {}): LearnableEvent {
  const { city = 'Porto', ...more } = part;
  return {
    hashes: [name],
    nowMs: NOW,
    coordinates: PORTO,
    place: { kind: 'named', country: 'PT', city, isp: undefined },
    addressHashes: ['192.0.2.15'],
    admitTo: undefined,
    machine: undefined,
    ...more,
  };
}

function browser(
  part: Partial<MachineEvent> & { readonly cookie?: string; readonly next?: string } = {},
): MachineEvent {
  const { cookie, next = 'n2.s2', ...more } = part;
  const [nonce, sequence] = cookie?.split('.') ?? [];
  const [nonceHash = '', sequenceHash = ''] = next.split('.');
  return {
    presented: nonce !== undefined && sequence !== undefined ? presented(nonce, sequence) : undefined,
    marks: MARKS,
    refreshMarks: true,
    register: true,
    fresh: { nonceHash, sequenceHash },
    ...more,
  };
}

function presented(nonce: string, sequence: string) {
  return { nonceHashes: [nonce] as [string], sequenceHashes: [sequence] as [string] };
}

/** What a record becomes by one event after the other; those that change nothing included. */
function after(events: readonly LearnableEvent[], settings = SETTINGS, before?: UserRecord): UserRecord {
  let record = before;
  for (const one of events) record = learn(record, one, settings)?.record ?? record;
  return record ?? NO_RECORD;
}

function placesOf(record: UserRecord): readonly (readonly [string | undefined, number])[] {
  return record.places.map(({ city, isp, count }) => [isp === undefined ? city : `${city}, ${isp}`, count] as const);
}

describe('what an authentication leaves behind', () => {
  it('a first one: where, from which place, that it is known', () => {
    expect(learn(undefined, event('e1'), SETTINGS)).toEqual({
      record: {
        ...NO_RECORD,
        last: { timeMs: NOW, latitude: 41.1579, longitude: -8.6291 },
        places: [
          {
            country: 'PT',
            city: 'Porto',
            isp: undefined,
            addressHash: '192.0.2.15',
            private: false,
            firstMs: NOW,
            lastMs: NOW,
            count: 1,
          },
        ],
        events: ['e1'],
      },
      machine: undefined,
    });
  });

  it.each<[string, readonly LearnableEvent[], Partial<LearnSettings>, readonly (readonly [string, number])[]]>([
    ['e5, and 200 more requests of e5', Array.from({ length: 201 }, () => event('e5')), {}, [['Porto', 1]]],
    ['e5, then e6 from the same place', [event('e5'), event('e6')], {}, [['Porto', 2]]],
    ['e5, then e5 again from elsewhere', [event('e5'), event('e5', { city: 'Vigo' })], {}, [['Porto', 1]]],
    [
      'three places, of which two are kept',
      ['A', 'B', 'C'].map((city, index) => event(`e${index}`, { city, nowMs: NOW + index * SECOND })),
      { locations_max: 2 },
      [
        ['C', 1],
        ['B', 1],
      ],
    ],
    [
      'the place seen longest ago goes, not the one learned longest ago',
      ['A', 'B', 'A', 'C'].map((city, index) => event(`e${index}`, { city, nowMs: NOW + index * SECOND })),
      { locations_max: 2 },
      [
        ['C', 1],
        ['A', 2],
      ],
    ],
    ['no places are learned', [event('e1')], { locations_max: 0 }, []],
    ['61 s older than the last', [event('e1'), event('e2', { nowMs: NOW - 61 * SECOND })], {}, [['Porto', 1]]],
    ['60 s older', [event('e1'), event('e2', { nowMs: NOW - 60 * SECOND })], {}, [['Porto', 2]]],
    [
      'an internet provider tells places apart',
      [
        event('e1'),
        event('e2', { place: { kind: 'named', country: 'PT', city: 'Porto', isp: 'Rede Norte' }, nowMs: NOW + 1 }),
      ],
      {},
      [
        ['Porto, Rede Norte', 1],
        ['Porto', 1],
      ],
    ],
    [
      'addresses do not tell named places apart',
      [event('e1'), event('e2', { addressHashes: ['192.0.2.16'] })],
      {},
      [['Porto', 2]],
    ],
    [
      'addresses do where they are checked',
      [event('e1'), event('e2', { addressHashes: ['192.0.2.16'], nowMs: NOW + 1 })],
      { location_check_ip: true },
      [
        ['Porto', 1],
        ['Porto', 1],
      ],
    ],
    [
      'an address hashed under an older key is the same',
      [event('e1', { addressHashes: ['old'] }), event('e2', { addressHashes: ['new', 'old'] })],
      { location_check_ip: true },
      [['Porto', 2]],
    ],
    [
      'no address is like no address',
      [event('e1', { addressHashes: [] }), event('e2', { addressHashes: [] })],
      { location_check_ip: true },
      [['Porto', 2]],
    ],
    ['a hidden place', [event('e1', { place: { kind: 'hidden' } })], {}, []],
    [
      'a private address',
      [event('e1', { place: { kind: 'private' } }), event('e2', { place: { kind: 'private' } })],
      {},
      [[undefined as unknown as string, 2]],
    ],
    ['a private place without an address', [event('e1', { place: { kind: 'private' }, addressHashes: [] })], {}, []],
    ['a name too long to be one', [event('e1', { city: 'x'.repeat(101) })], {}, []],
    ['the longest name', [event('e1', { city: 'x'.repeat(100) })], {}, [['x'.repeat(100), 1]]],
    [
      'a place not seen for more than 90 days is forgotten',
      [event('e1'), event('e2', { city: 'Vigo', nowMs: NOW + 90 * DAY + 1 })],
      {},
      [['Vigo', 1]],
    ],
    [
      'a place seen 90 days ago is not',
      [event('e1'), event('e2', { city: 'Vigo', nowMs: NOW + 90 * DAY })],
      {},
      [
        ['Vigo', 1],
        ['Porto', 1],
      ],
    ],
    [
      'a lifetime that is shorter',
      [event('e1'), event('e2', { city: 'Vigo', nowMs: NOW + 50 * HOUR + 1 })],
      { location_lifetime_hours: 50 },
      [['Vigo', 1]],
    ],
  ])('places: %s', (_, events, settings, places) => {
    expect(placesOf(after(events, { ...SETTINGS, ...settings }))).toEqual(places);
  });

  it.each<[string, readonly LearnableEvent[], number | undefined]>([
    ['the newest event', [event('e1'), event('e2', { nowMs: NOW + 1 })], NOW + 1],
    ['45 s older leaves it alone', [event('e1'), event('e2', { nowMs: NOW - 45 * SECOND })], NOW],
    [
      'one without coordinates leaves it alone',
      [event('e1'), event('e2', { coordinates: undefined, nowMs: NOW + 1 })],
      NOW,
    ],
    ['never any coordinates', [event('e1', { coordinates: undefined })], undefined],
  ])('last: %s', (_, events, timeMs) => {
    expect(after(events).last?.timeMs).toBe(timeMs);
  });

  it('an event 61 s older than the last is dropped whole', () => {
    const before = after([event('e1')]);
    const late = event('e2', { nowMs: NOW - 61 * SECOND, admitTo: ORDERS, machine: browser() });
    expect(learn(before, late, SETTINGS)).toBeUndefined();
  });

  it('the 16 newest events are known', () => {
    const record = after(Array.from({ length: 20 }, (_, index) => event(`e${index}`)));
    expect(record.events).toEqual(Array.from({ length: 16 }, (_, index) => `e${index + 4}`));
  });

  it('an event recorded under an older key is known under the newer one, and keeps its hash', () => {
    const before = after([event('old')]);
    expect(learn(before, event('', { hashes: ['new', 'old'] }), SETTINGS)).toBeUndefined();
    const admitted = learn(before, event('', { hashes: ['new', 'old'], admitTo: ORDERS }), SETTINGS);
    expect(admitted?.record.admitted).toEqual({ [ORDERS]: ['old'] });
    expect(eventIn(admitted?.record ?? NO_RECORD, ['new', 'old'])).toBe('old');
    expect(eventIn(NO_RECORD, ['new', 'old'])).toBe('new');
  });
});

describe('admission', () => {
  it('an event that is known is admitted to one more application, and nothing else is written', () => {
    const before = after([event('e1', { admitTo: ORDERS })]);
    const elsewhere = event('e1', { admitTo: 'other', city: 'Vigo', nowMs: NOW + HOUR, machine: browser() });
    expect(learn(before, elsewhere, SETTINGS)).toEqual({
      record: { ...before, admitted: { [ORDERS]: ['e1'], other: ['e1'] } },
      machine: undefined,
    });
  });

  it('an event that is admitted already leaves nothing to write', () => {
    const before = after([event('e1', { admitTo: ORDERS })]);
    expect(learn(before, event('e1', { admitTo: ORDERS, nowMs: NOW + HOUR }), SETTINGS)).toBeUndefined();
  });

  it('four events for each application, 32 applications', () => {
    const events = Array.from({ length: 6 }, (_, index) => event(`e${index}`, { admitTo: ORDERS }));
    expect(after(events).admitted).toEqual({ [ORDERS]: ['e2', 'e3', 'e4', 'e5'] });
    const applications = Array.from({ length: 40 }, (_, index) => event('e1', { admitTo: `application ${index}` }));
    const kept = Object.keys(after(applications).admitted);
    expect(kept).toHaveLength(32);
    expect(kept.at(0)).toBe('application 8');
    expect(kept.at(-1)).toBe('application 39');
  });
});

describe('machines', () => {
  const registered = after([event('e1', { machine: browser({ next: 'n1.s1' }) })]);

  it('is registered with its marks', () => {
    expect(registered.machines).toEqual([
      { nonceHash: 'n1', sequenceHash: 's1', previousHash: undefined, marks: MARKS, createdMs: NOW, usedMs: NOW },
    ]);
  });

  it.each<[string, MachineEvent, Learned['machine'], readonly string[]]>([
    ['the current nonce: the sequence goes on', browser({ cookie: 'n1.s1' }), 'kept', ['n1 s2 s1']],
    ['an unknown machine nonce', browser({ cookie: 'n9.s1' }), 'registered', ['n2 s2 ', 'n1 s1 ']],
    ['no cookie', browser(), 'registered', ['n2 s2 ', 'n1 s1 ']],
    ['no cookie, and not strong enough to register', browser({ register: false }), undefined, ['n1 s1 ']],
    [
      'a sequence nonce of long ago, registered anew: the copy is worth nothing any more',
      browser({ cookie: 'n1.s0' }),
      'registered',
      ['n2 s2 '],
    ],
    [
      'a sequence nonce of long ago, not registered',
      browser({ cookie: 'n1.s0', register: false }),
      undefined,
      ['n1 s1 '],
    ],
  ])('%s', (_, machine, outcome, machines) => {
    const learned = learn(registered, event('e2', { machine }), SETTINGS);
    expect(learned?.machine).toBe(outcome);
    expect(
      learned?.record.machines.map(
        ({ nonceHash, sequenceHash, previousHash = '' }) => `${nonceHash} ${sequenceHash} ${previousHash}`,
      ),
    ).toEqual(machines);
  });

  it.each([
    [true, OTHER_MARKS],
    [false, MARKS],
  ])('marks are refreshed: %s', (refreshMarks, marks) => {
    const machine = browser({ cookie: 'n1.s1', marks: OTHER_MARKS, refreshMarks });
    expect(learn(registered, event('e2', { machine }), SETTINGS)?.record.machines[0]?.marks).toEqual(marks);
  });

  it('current and previous sequence nonce are good, two old is a copy', () => {
    const s2 = after([event('e2', { machine: browser({ cookie: 'n1.s1', next: '-.s2' }) })], SETTINGS, registered);
    // The answer with s2 was lost: the browser still has s1, and gets s3.
    const s3 = after([event('e3', { machine: browser({ cookie: 'n1.s1', next: '-.s3' }) })], SETTINGS, s2);
    const states = ['s1', 's2', 's3'].map(
      (sequence) => recallMachine(s3.machines, presented('n1', sequence), NOW).state,
    );
    expect(states).toEqual(['copied', 'known', 'known']);
  });

  it('five, the one not used longest goes', () => {
    const events = Array.from({ length: 5 }, (_, index) =>
      event(`e${index}`, { nowMs: NOW + index, machine: browser({ next: `m${index}.s` }) }),
    );
    const used = event('use', { nowMs: NOW + 10, machine: browser({ cookie: 'm0.s', next: '-.t' }) });
    const sixth = event('sixth', { nowMs: NOW + 20, machine: browser({ next: 'm5.s' }) });
    const record = after([...events, used, sixth]);
    expect(record.machines.map(({ nonceHash }) => nonceHash).toSorted()).toEqual(['m0', 'm2', 'm3', 'm4', 'm5']);
  });

  it.each([
    ['unused for 90 days', [90 * DAY], 'known'],
    ['unused for longer', [90 * DAY + 1], 'unknown'],
    ['used now and then, 180 days old', [80 * DAY, 160 * DAY, 180 * DAY], 'known'],
    ['used now and then, older', [80 * DAY, 160 * DAY, 180 * DAY + 1], 'unknown'],
  ])('%s: %s', (_, days, state) => {
    const uses = days.slice(0, -1);
    const record = after(
      uses.map((age) => event(`at ${age}`, { nowMs: NOW + age, machine: browser({ cookie: 'n1.s1', next: '-.s1' }) })),
      SETTINGS,
      registered,
    );
    const nowMs = NOW + (days.at(-1) ?? 0);
    expect(recallMachine(record.machines, presented('n1', 's1'), nowMs).state).toBe(state);
    const later = learn(record, event('later', { nowMs }), SETTINGS);
    expect(later?.record.machines).toHaveLength(state === 'known' ? 1 : 0);
  });

  it("another user's cookie says nothing", () => {
    expect(recallMachine(after([event('e1')]).machines, presented('n1', 's1'), NOW).state).toBe('unknown');
  });
});

describe('what is recalled', () => {
  it.each([
    [30 * DAY, true],
    [30 * DAY + 1, false],
  ])('the last place after %d ms: %s', (age, isRecalled) => {
    expect(lastAt(after([event('e1')]), NOW + age) !== undefined).toBe(isRecalled);
  });

  it('settings that have become narrower count at once', () => {
    const record = after(['A', 'B', 'C'].map((city, index) => event(`e${index}`, { city, nowMs: NOW + index })));
    const cities = (settings: Partial<LearnSettings>, nowMs = NOW + 2): (string | undefined)[] =>
      placesAt(record.places, nowMs, { ...SETTINGS, ...settings }).map(({ city }) => city);
    expect(cities({})).toEqual(['C', 'B', 'A']);
    expect(cities({ locations_max: 1 })).toEqual(['C']);
    expect(cities({ location_lifetime_hours: 1 }, NOW + HOUR + 1)).toEqual(['C', 'B']);
    expect(cities({}, NOW + 91 * DAY)).toEqual([]);
  });
});

describe('laws', () => {
  const hash = fc.stringMatching(/^[\w-]{22}$/);
  const hashes = fc.array(hash, { minLength: 1, maxLength: 2 }) as fc.Arbitrary<[string, ...string[]]>;
  const place: fc.Arbitrary<LearnableEvent['place']> = fc.oneof(
    fc.record({
      kind: fc.constant('named' as const),
      country: fc.constantFrom('PT', 'ES', 'JP'),
      city: fc.option(fc.oneof(fc.constantFrom('Porto', 'Vigo'), fc.string({ unit: 'grapheme', maxLength: 120 })), {
        nil: undefined,
      }),
      isp: fc.option(fc.string({ unit: 'grapheme', maxLength: 120 }), { nil: undefined }),
    }),
    fc.constant({ kind: 'private' as const }),
    fc.constant({ kind: 'hidden' as const }),
  );
  const machine = fc.record({
    presented: fc.option(
      fc.constantFrom('m0', 'm1', 'm2').map((nonce) => presented(nonce, `s${nonce}`)),
      { nil: undefined },
    ),
    marks: fc.constantFrom(MARKS, OTHER_MARKS),
    refreshMarks: fc.boolean(),
    register: fc.boolean(),
    fresh: fc.record({ nonceHash: fc.oneof(hash, fc.constantFrom('m0', 'm1', 'm2')), sequenceHash: hash }),
  });
  const events: fc.Arbitrary<LearnableEvent> = fc.record({
    hashes,
    nowMs: fc.integer({ min: NOW, max: NOW + 200 * DAY }),
    coordinates: fc.option(
      fc.record({
        latitude: fc.double({ min: -90, max: 90, noNaN: true }),
        longitude: fc.double({ min: -180, max: 180, noNaN: true }),
      }),
      { nil: undefined },
    ),
    place,
    addressHashes: fc.array(hash, { maxLength: 2 }),
    admitTo: fc.option(fc.oneof(fc.uuid(), fc.constant(ORDERS)), { nil: undefined }),
    machine: fc.option(machine, { nil: undefined }),
  });
  const settings = fc.record({
    locations_max: fc.integer({ min: 0, max: 10 }),
    location_lifetime_hours: fc.constantFrom(0, 1, 48, 876_000),
    location_check_ip: fc.boolean(),
  });
  /** In the order of time, as most events come: otherwise nearly all would be dropped. */
  const lives = fc
    .array(events, { minLength: 1, maxLength: 80 })
    .map((all) => all.toSorted((a, b) => a.nowMs - b.nowMs));

  it('no list ever outgrows its bound, nor the record 6 KB; what is written can be read back', () => {
    fc.assert(
      fc.property(lives, settings, (life, given) => {
        let record: UserRecord | undefined;
        for (const one of life) {
          const learned = learn(record, one, given);
          if (!learned) continue;
          record = learned.record;
          expect(record.places.length).toBeLessThanOrEqual(given.locations_max);
          expect(record.machines.length).toBeLessThanOrEqual(5);
          expect(record.events.length).toBeLessThanOrEqual(16);
          expect(Object.keys(record.admitted).length).toBeLessThanOrEqual(32);
          for (const admitted of Object.values(record.admitted)) expect(admitted.length).toBeLessThanOrEqual(4);
          const json = JSON.stringify({ ...record, version: 1 });
          expect(Buffer.byteLength(json)).toBeLessThanOrEqual(6144);
          expect(JSON.stringify(readRecord(json))).toBe(json);
        }
      }),
      { numRuns: 200 },
    );
  });

  it('an event is recorded once: learning it again changes nothing', () => {
    fc.assert(
      fc.property(lives, settings, (life, given) => {
        let record: UserRecord | undefined;
        for (const one of life) {
          record = learn(record, one, given)?.record ?? record;
          expect(learn(record, one, given)).toBeUndefined();
        }
      }),
    );
  });

  it('what was given is never changed', () => {
    fc.assert(
      fc.property(lives, settings, (life, given) => {
        let record: UserRecord | undefined;
        for (const one of life) {
          const before = JSON.stringify(record);
          const learned = learn(record, one, given);
          expect(JSON.stringify(record)).toBe(before);
          record = learned?.record ?? record;
        }
      }),
    );
  });

  it('full lists of ordinary names fit, with 15 applications of four events', () => {
    const name = (index: number): string => `${index}`.padStart(22, 'x');
    let record: UserRecord | undefined;
    for (let index = 0; index < 60; index += 1) {
      const one = event('', {
        hashes: [name(index)],
        nowMs: NOW + index,
        admitTo: `9a4b2f0e-3f55-4a57-9b0e-${String(index % 15).padStart(12, '0')}`,
        place: { kind: 'named', country: 'PT', city: `Vila Nova ${index % 10}`, isp: 'Rede Norte S.A.' },
        addressHashes: [name(index)],
        machine: browser({
          next: `${name(index)}.${name(index)}`,
          marks: { browser: name(1), platform: name(2), language: name(3) },
        }),
      });
      record = learn(record, one, { ...SETTINGS, locations_max: 10 })?.record ?? record;
    }
    expect(record?.places).toHaveLength(10);
    expect(record?.machines).toHaveLength(5);
    expect(Object.values(record?.admitted ?? {}).map((one) => one.length)).toEqual(Array.from({ length: 15 }, () => 4));
  });
});
