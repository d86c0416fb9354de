import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { levelOf, scoreOf, shownScore } from '../../src/risk/score.ts';

/** Points of a factor, negative where it is not at risk. */
function judged(points: readonly number[], low: number, medium: number): string {
  const atRisk = points.filter((point) => point > 0).reduce((sum, point) => sum + point, 0);
  const inAll = points.reduce((sum, point) => sum + Math.abs(point), 0);
  return (['sum', 'percent'] as const)
    .map((method) => {
      const score = scoreOf(method, atRisk, inAll);
      return `${shownScore(score)} ${levelOf(score, points.length > 0, low, medium)}`;
    })
    .join(', ');
}

describe('score and level', () => {
  it.each([
    ['no factor', [], 0, 0, '0 LOW, 0 LOW'],
    ['at the low threshold', [45, -55], 45, 80, '45 MEDIUM, 45 MEDIUM'],
    ['below it', [44, -56], 45, 80, '44 LOW, 44 LOW'],
    ['at the medium threshold', [60, 20, -20], 45, 80, '80 HIGH, 80 HIGH'],
    ['below it', [79, -21], 45, 80, '79 MEDIUM, 79 MEDIUM'],
    ['points that do not total 100', [15, -10], 45, 80, '15 LOW, 60 MEDIUM'],
    ['a factor alone', [15], 45, 80, '15 LOW, 100 HIGH'],
    ['low 0: out of reach once there is a factor', [-35], 0, 60, '0 MEDIUM, 0 MEDIUM'],
    ['medium empty', [33, -67], 33, 33, '33 HIGH, 33 HIGH'],
    ['shown with two decimals, compared unrounded', [1, -2], 33.334, 80, '1 LOW, 33.33 LOW'],
    ['no points at all', [0, 0], 30, 70, '0 LOW, 0 LOW'],
  ] as const)('%s: %j, %s and %s: %s', (_, points, low, medium, expected) => {
    expect(judged(points, low, medium)).toBe(expected);
  });

  it('medium 101 is reached by a sum above 100 only', () => {
    expect([levelOf(100, true, 30, 101), levelOf(101, true, 30, 101)]).toEqual(['MEDIUM', 'HIGH']);
  });
});

describe('laws', () => {
  const points = fc.array(fc.record({ points: fc.integer({ min: 0, max: 100 }), risk: fc.boolean() }), {
    minLength: 1,
    maxLength: 9,
  });
  const method = fc.constantFrom('sum' as const, 'percent' as const);
  const rank = { LOW: 0, MEDIUM: 1, HIGH: 2 };

  it('a factor that comes to be at risk never lowers score or level', () => {
    fc.assert(
      fc.property(points, fc.nat(), method, fc.nat(101), fc.nat(101), (factors, pick, by, a, b) => {
        const [low, medium] = a < b ? [a, b] : [b, a];
        const chosen = pick % factors.length;
        const at = (risk: boolean): number =>
          scored(
            factors.map((one, index) => (index === chosen ? { ...one, risk } : one)),
            by,
          );
        expect(at(true)).toBeGreaterThanOrEqual(at(false));
        expect(rank[levelOf(at(true), true, low, medium)]).toBeGreaterThanOrEqual(
          rank[levelOf(at(false), true, low, medium)],
        );
      }),
    );
  });

  it('a factor more that is not at risk never raises the sum, nor the percentage', () => {
    fc.assert(
      fc.property(points, fc.nat(100), method, (factors, more, by) => {
        expect(scored([...factors, { points: more, risk: false }], by)).toBeLessThanOrEqual(scored(factors, by));
      }),
    );
  });

  it('with points that total 100 both methods agree', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.nat(100), { maxLength: 8 }), fc.infiniteStream(fc.boolean()), (cuts, risks) => {
        const sorted = [0, ...cuts.toSorted((a, b) => a - b), 100];
        const factors = sorted
          .slice(1)
          .map((cut, index) => ({ points: cut - (sorted[index] ?? 0), risk: risks.next().value === true }));
        expect(scored(factors, 'percent')).toBeCloseTo(scored(factors, 'sum'), 9);
      }),
    );
  });
});

interface Factor {
  readonly points: number;
  readonly risk: boolean;
}

function scored(factors: readonly Factor[], by: 'sum' | 'percent'): number {
  return scoreOf(by, total(factors.filter(({ risk }) => risk)), total(factors));
}

function total(factors: readonly Factor[]): number {
  return factors.reduce((sum, { points }) => sum + points, 0);
}
