import { describe, expect, it } from 'vitest';
import type { MachineFact } from '../../src/model/adaptive-facts.ts';
import { machine } from '../../src/risk/machine.ts';
import { contextOf } from '../rules/contexts.ts';
import { reportedOf, verdictOf } from './factors.ts';

const absent = (why: string): MachineFact => ({ state: 'absent', why });
const known = (risk: number): MachineFact => ({ state: 'present', risk });

describe('the machine', () => {
  it.each([
    [15, absent('no cookie'), 'RISK'],
    [15, absent('two cookies'), 'RISK'],
    [15, known(0), 'NO_RISK'],
    [15, known(10), 'NO_RISK'],
    [15, known(15), 'NO_RISK'],
    [15, known(20), 'RISK'],
    [0, known(0), 'NO_RISK'],
    [undefined, known(1), 'RISK'],
    [1000, absent('two sequences old'), 'RISK'],
    [1000, { state: 'unavailable' }, 'UNKNOWN, RISK'],
  ] satisfies [number | undefined, MachineFact, string][])('limit %s, %j: %s', (riskLimit, fact, verdict) => {
    const written = riskLimit === undefined ? {} : { riskLimit };
    expect(verdictOf(machine, written, contextOf({ machine: fact }))).toBe(verdict);
  });

  it.each([
    [{ riskLimit: -1 }, ['value_range']],
    [{ riskLimit: 1001 }, ['value_range']],
    [{ riskLimit: 0.5 }, ['value_range']],
  ])('%j: %j', (written, codes) => {
    expect(reportedOf(machine, written)).toEqual(codes);
  });
});
