import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { distanceKm, EARTH_RADIUS_KM } from '../../src/risk/haversine.ts';
import { travelVelocity } from '../../src/risk/travel-velocity.ts';
import { ann, contextOf } from '../rules/contexts.ts';
import type { Facts } from '../rules/contexts.ts';
import { reportedOf, verdictOf } from './factors.ts';

const NOW = Date.UTC(2026, 2, 4, 14, 30);

type Point = readonly [latitude: number, longitude: number];

const MONTREAL: Point = [45.5019, -73.5674];
const VANCOUVER: Point = [49.2827, -123.1207];
const NAIROBI: Point = [-1.2921, 36.8219];
const CAIRO: Point = [30.0444, 31.2357];
const WELLINGTON: Point = [-41.2866, 174.7756];
const PAPEETE: Point = [-17.5516, -149.5585];
const PORTO: Point = [41.1579, -8.6291];
const BRAGA: Point = [41.5454, -8.4265];
const LISBON: Point = [38.7223, -9.1393];

const MINUTE = 60;
const HOUR = 3600;

function traveller(before: Point | undefined, now: Point | undefined, seconds: number): Facts {
  return {
    ...ann(),
    location: {
      country: undefined,
      city: undefined,
      isp: undefined,
      latitude: now?.[0],
      longitude: now?.[1],
      anonymous: false,
      source: 'database',
    },
    history: {
      state: 'known',
      record: {
        last: before && { latitude: before[0], longitude: before[1], timeMs: NOW - seconds * 1000 },
        places: [],
        admitted: new Map(),
        event: undefined,
        eventKnown: false,
        addressHashes: [],
      },
    },
  };
}

describe('the way since the last authentication', () => {
  it.each([
    ['819.18 km/h', MONTREAL, VANCOUVER, 4.5 * HOUR, 3686.31, 800, 'RISK'],
    ['819.18 km/h', MONTREAL, VANCOUVER, 4.5 * HOUR, 3686.31, 820, 'NO_RISK'],
    ['800.26 km/h', NAIROBI, CAIRO, 4 * HOUR + 25 * MINUTE, 3534.49, 800, 'RISK'],
    ['785.44 km/h', NAIROBI, CAIRO, 4.5 * HOUR, 3534.49, 800, 'NO_RISK'],
    ['716.18 km/h over the date line', WELLINGTON, PAPEETE, 6 * HOUR, 4297.08, 800, 'NO_RISK'],
    ['716.18 km/h over the date line', WELLINGTON, PAPEETE, 6 * HOUR, 4297.08, 715, 'RISK'],
    ['nearer than the minimum', PORTO, BRAGA, 60, 46.29, 800, 'NO_RISK'],
    ['at once', PORTO, LISBON, 0, 274.3, 800, 'RISK'],
    ['back in time', PORTO, LISBON, -30, 274.3, 800, 'RISK'],
    ['nowhere, at once', PORTO, PORTO, 0, 0, 800, 'NO_RISK'],
  ] as const)('%s: %s to %s in %i s', (_, before, now, seconds, km, maximum, verdict) => {
    expect(distanceKm(...before, ...now)).toBeCloseTo(km, 1);
    const settings = { travel_velocity_max_kmh: maximum };
    expect(verdictOf(travelVelocity, {}, contextOf(traveller(before, now, seconds)), { settings })).toBe(verdict);
  });

  it('exactly the maximum is not above it: 450 km in 2,025 s at 800 km/h', () => {
    // Both are whole numbers of kilometres along a meridian, so that the division comes out exactly.
    const degrees = 450 / ((Math.PI / 180) * EARTH_RADIUS_KM);
    const km = distanceKm(0, 0, degrees, 0);
    const facts = contextOf(traveller([0, 0], [degrees, 0], 2025));
    const at = (maximum: number) =>
      verdictOf(travelVelocity, {}, facts, { settings: { travel_velocity_max_kmh: maximum } });
    expect(km).toBeCloseTo(450, 9);
    expect(at(km / (2025 / 3600))).toBe('NO_RISK');
    expect(at(799.99)).toBe('RISK');
  });

  it.each([
    ['no record', traveller(undefined, LISBON, 0), 'NO_RISK'],
    ['no record, no coordinates', traveller(undefined, undefined, 0), 'NO_RISK'],
    ['no coordinates', traveller(PORTO, undefined, 60), 'UNKNOWN, NO_RISK'],
    ['no location', { ...traveller(PORTO, LISBON, 60), location: undefined }, 'UNKNOWN, NO_RISK'],
    ['store down', { ...traveller(PORTO, LISBON, 60), history: { state: 'unavailable' } as const }, 'UNKNOWN, NO_RISK'],
  ])('%s: %s', (_, facts, verdict) => {
    expect(verdictOf(travelVelocity, {}, contextOf(facts))).toBe(verdict);
  });
});

it.each([
  [true, []],
  [false, ['coordinates_source_missing (warning)']],
])('a source of coordinates: %s, %j', (coordinatesSource, codes) => {
  expect(reportedOf(travelVelocity, {}, { coordinatesSource })).toEqual(codes);
});

describe('laws of the distance', () => {
  const point = fc.tuple(
    fc.double({ min: -90, max: 90, noNaN: true }),
    fc.double({ min: -180, max: 180, noNaN: true }),
  );
  const HALF_ROUND = Math.PI * EARTH_RADIUS_KM;
  /** Opposite points: the sine is 1 there whatever its last digits, whose root makes centimetres. */
  const TOLERANCE_KM = 1e-3;

  it('is symmetric, never negative and at most half way round', () => {
    fc.assert(
      fc.property(point, point, (a, b) => {
        const km = distanceKm(...a, ...b);
        expect(distanceKm(...b, ...a)).toBeCloseTo(km, 6);
        expect(km).toBeGreaterThanOrEqual(0);
        expect(km).toBeLessThanOrEqual(HALF_ROUND + 1e-6);
      }),
    );
  });

  it('no detour is shorter', () => {
    fc.assert(
      fc.property(point, point, point, (a, b, c) => {
        expect(distanceKm(...a, ...c)).toBeLessThanOrEqual(
          distanceKm(...a, ...b) + distanceKm(...b, ...c) + TOLERANCE_KM,
        );
      }),
    );
  });

  it('every longitude of a pole is the same place', () => {
    fc.assert(
      fc.property(
        point,
        fc.double({ min: -180, max: 180, noNaN: true }),
        fc.constantFrom(90, -90),
        ([latitude, longitude], other, pole) => {
          expect(distanceKm(latitude, longitude, pole, other)).toBeCloseTo(
            Math.abs(pole - latitude) * (HALF_ROUND / 180),
            4,
          );
        },
      ),
    );
  });

  it('a whole turn over the date line changes nothing', () => {
    fc.assert(
      fc.property(point, point, ([latitudeA, longitudeA], [latitudeB, longitudeB]) => {
        const turned = longitudeB > 0 ? longitudeB - 360 : longitudeB + 360;
        expect(distanceKm(latitudeA, longitudeA, latitudeB, turned)).toBeCloseTo(
          distanceKm(latitudeA, longitudeA, latitudeB, longitudeB),
          3,
        );
      }),
    );
  });

  it('antipodes are half way round', () => {
    fc.assert(
      fc.property(point, ([latitude, longitude]) => {
        expect(distanceKm(latitude, longitude, -latitude, longitude + 180)).toBeCloseTo(HALF_ROUND, 3);
      }),
    );
  });

  it('agrees with the angle between the two directions', () => {
    fc.assert(
      fc.property(point, point, (a, b) => {
        const [u, v] = [direction(a), direction(b)];
        const cross = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]] as const;
        const dot = u[0] * v[0] + u[1] * v[1] + u[2] * v[2];
        expect(distanceKm(...a, ...b)).toBeCloseTo(Math.atan2(Math.hypot(...cross), dot) * EARTH_RADIUS_KM, 3);
      }),
    );
  });
});

/** The unit vector from the centre of the earth. */
function direction([latitude, longitude]: Point): readonly [number, number, number] {
  const [phi, lambda] = [(latitude * Math.PI) / 180, (longitude * Math.PI) / 180];
  return [Math.cos(phi) * Math.cos(lambda), Math.cos(phi) * Math.sin(lambda), Math.sin(phi)];
}
