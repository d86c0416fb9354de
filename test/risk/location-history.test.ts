import { describe, expect, it } from 'vitest';
import type { HistoryRecord, LearnedPlace } from '../../src/model/adaptive-facts.ts';
import type { Location } from '../../src/model/facts.ts';
import { currentPlace, locationHistory } from '../../src/risk/location-history.ts';
import { ann, contextOf, from } from '../rules/contexts.ts';
import type { Facts } from '../rules/contexts.ts';
import { factorOf, reportedOf, verdictOf } from './factors.ts';

const NOW = Date.UTC(2026, 2, 4, 14, 30);
const HOUR = 3_600_000;

/** Hashes stand for themselves here: the address they are of. */
function learned(part: Partial<LearnedPlace>): LearnedPlace {
  return {
    country: 'PT',
    city: 'Porto',
    isp: undefined,
    addressHash: '192.0.2.15',
    private: false,
    firstMs: NOW - 50 * HOUR,
    lastMs: NOW - 50 * HOUR,
    count: 4,
    ...part,
  };
}

function record(places: readonly LearnedPlace[], address: string | undefined): HistoryRecord {
  return {
    last: undefined,
    places,
    admitted: new Map(),
    event: undefined,
    eventKnown: false,
    addressHashes: address === undefined ? [] : ['of another key', address],
  };
}

function facts(
  place: { country?: string; city?: string; isp?: string; source?: Location['source'] },
  address: string | undefined,
  places: readonly LearnedPlace[] = [],
): Facts {
  return {
    ...ann(),
    ...from(address),
    location: {
      country: place.country,
      city: place.city,
      isp: place.isp,
      latitude: undefined,
      longitude: undefined,
      anonymous: false,
      source: place.source ?? (place.country === undefined ? 'none' : 'database'),
    },
    history: { state: 'known', record: record(places, address) },
  };
}

const norte = [learned({ isp: 'Rede Norte' })];
const noIsp = [learned({})];
const home = [learned({ country: undefined, city: undefined, private: true, addressHash: '10.20.0.4' })];
const porto = { country: 'PT', city: 'Porto' };
const vigo = [{ country: 'ES', city: 'Vigo' }];

describe('the place of a request against what was learned', () => {
  it.each([
    ['the same place', {}, facts({ ...porto, isp: 'Rede Norte' }, '192.0.2.16', norte), 'NO_RISK'],
    [
      'white space at the ends',
      {},
      facts({ country: 'PT', city: ' Porto ', isp: 'Rede Norte ' }, '192.0.2.16', norte),
      'NO_RISK',
    ],
    ['letter case counts', {}, facts({ ...porto, isp: 'Rede norte' }, '192.0.2.16', norte), 'RISK'],
    ['another city', {}, facts({ country: 'PT', city: 'Braga', isp: 'Rede Norte' }, '192.0.2.16', norte), 'RISK'],
    [
      'seen as long ago as the lifetime',
      { location_lifetime_hours: 50 },
      facts({ ...porto, isp: 'Rede Norte' }, '192.0.2.16', norte),
      'NO_RISK',
    ],
    [
      'seen longer ago',
      { location_lifetime_hours: 49 },
      facts({ ...porto, isp: 'Rede Norte' }, '192.0.2.16', norte),
      'RISK',
    ],
    [
      'seen often enough',
      { location_trust_threshold: 4 },
      facts({ ...porto, isp: 'Rede Norte' }, '192.0.2.16', norte),
      'NO_RISK',
    ],
    [
      'seen too rarely',
      { location_trust_threshold: 5 },
      facts({ ...porto, isp: 'Rede Norte' }, '192.0.2.16', norte),
      'RISK',
    ],
    ['absent equals absent', {}, facts(porto, '192.0.2.16', noIsp), 'NO_RISK'],
    ['absent equals nothing else', {}, facts({ ...porto, isp: 'Rede Norte' }, '192.0.2.16', noIsp), 'RISK'],
    ['an empty provider is absent', {}, facts({ ...porto, isp: ' ' }, '192.0.2.16', noIsp), 'NO_RISK'],
    ['another address, checked', { location_check_ip: true }, facts(porto, '192.0.2.16', noIsp), 'RISK'],
    ['the same address, checked', { location_check_ip: true }, facts(porto, '192.0.2.15', noIsp), 'NO_RISK'],
    ['no address, checked', { location_check_ip: true }, facts(porto, undefined, noIsp), 'RISK'],
    ['a private address learned', {}, facts({}, '10.20.0.4', home), 'NO_RISK'],
    ['another private address', {}, facts({}, '10.20.0.5', home), 'RISK'],
    [
      'private addresses that were given a place',
      {},
      facts({ country: 'CA', city: 'Ottawa', source: 'private' }, '10.20.0.4', home),
      'NO_RISK',
    ],
    [
      'private addresses that were given a place',
      {},
      facts({ country: 'CA', city: 'Ottawa', source: 'private' }, '10.20.0.5', home),
      'RISK',
    ],
    [
      'a named place is not the private one of its address',
      {},
      facts({}, '10.20.0.4', [learned({ addressHash: '10.20.0.4' })]),
      'RISK',
    ],
    [
      'expected, any provider',
      { expected_locations: vigo },
      facts({ country: 'ES', city: 'Vigo', isp: 'R' }, '192.0.2.16'),
      'NO_RISK',
    ],
    [
      'expected, another city',
      { expected_locations: vigo },
      facts({ country: 'ES', city: 'Lugo' }, '192.0.2.16'),
      'RISK',
    ],
    [
      'expected of somebody else',
      { expected_locations: [{ country: 'ES', emails: ['bob@example.com'] }] },
      facts({ country: 'ES' }, '192.0.2.16'),
      'RISK',
    ],
    [
      'expected of her',
      { expected_locations: [{ country: 'es', emails: ['Ann@example.com'] }] },
      facts({ country: 'ES' }, '192.0.2.16'),
      'NO_RISK',
    ],
    ['a first login', {}, facts(porto, '192.0.2.16'), 'RISK'],
    ['told by a header, address unknown', {}, facts({ ...porto, source: 'header' }, undefined, noIsp), 'NO_RISK'],
    ['place unknown', {}, facts({}, '192.0.2.16', noIsp), 'UNKNOWN, RISK'],
    ['no data for the address', {}, facts({ country: 'XX', source: 'header' }, '192.0.2.16', noIsp), 'UNKNOWN, RISK'],
    ['store down', {}, { ...facts(porto, '192.0.2.16'), history: { state: 'unavailable' } as const }, 'UNKNOWN, RISK'],
    [
      'store down, but expected',
      { expected_locations: [{ country: 'PT' }] },
      { ...facts(porto, '192.0.2.16'), history: { state: 'unavailable' } as const },
      'NO_RISK',
    ],
  ])('%s', (_, settings, given, verdict) => {
    expect(verdictOf(locationHistory, {}, contextOf(given), { settings })).toBe(verdict);
  });

  it('is not evaluated where no places are learned, with a warning', () => {
    const settings = { locations_max: 0 };
    expect(reportedOf(locationHistory, {}, { settings })).toEqual(['history_disabled (warning)']);
    const { context } = factorOf(locationHistory, {});
    const scope = { settings } as unknown as Parameters<typeof locationHistory.compile>[1];
    expect(locationHistory.compile(context, scope)(contextOf())).toBe('NO_RISK');
    expect(locationHistory.needs(context, scope)).toEqual([]);
  });

  it.each([
    ['database', { country: 'PT', source: 'database' }, '192.0.2.1', 'named'],
    ['a private address that a database names', { country: 'PT', source: 'database' }, '10.0.0.1', 'named'],
    ['private', {}, '10.0.0.1', 'private'],
    ['link-local', {}, 'fe80::1', 'private'],
    ['public without a country', {}, '192.0.2.1', 'hidden'],
    ['Tor', { country: 'T1', source: 'header' }, '192.0.2.1', 'hidden'],
    ['nothing', {}, undefined, 'hidden'],
  ] as const)('current place: %s', (_, place, address, kind) => {
    expect(currentPlace(contextOf(facts(place, address))).kind).toBe(kind);
  });
});
