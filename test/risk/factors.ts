/** Shapes and compiles risk factors as the loader does. */
import { expect } from 'vitest';
import type { EvaluationContext } from '../../src/model/context.ts';
import type { Fault } from '../../src/model/fault.ts';
import type { ListObject } from '../../src/model/objects.ts';
import type {
  EngineRule,
  FactorCommon,
  FactorScope,
  FactorType,
  RiskEngine,
  RiskSettings,
  TransactionRule,
} from '../../src/risk/factor.ts';
import { shaped } from '../../src/shared/shape.ts';
import { PLACE } from '../rules/contexts.ts';

export const SETTINGS: RiskSettings = {
  locations_max: 5,
  location_lifetime_hours: 0,
  location_trust_threshold: 1,
  location_check_ip: false,
  travel_velocity_max_kmh: 800,
  travel_distance_min_km: 50,
  score: 'sum',
  expected_locations: [],
  machine: { points: { browser: 10, platform: 10, language: 10 } },
};

export interface FactorScopeParts {
  readonly lists?: readonly ListObject[];
  readonly transactionRules?: readonly TransactionRule[];
  readonly engines?: readonly (RiskEngine & { readonly rules: readonly EngineRule[] })[];
  readonly transactionDetails?: Readonly<Record<string, readonly ('RBA' | 'TVS')[]>>;
  readonly settings?: Partial<RiskSettings>;
  readonly anonymousSource?: boolean;
  readonly coordinatesSource?: boolean;
}

export function factorScopeOf(parts: FactorScopeParts = {}): FactorScope {
  return {
    list: (id) => parts.lists?.find((list) => list.id === id),
    transactionRule: (idOrName) => parts.transactionRules?.find(({ id, name }) => id === idOrName || name === idOrName),
    engineRule: (idOrName) => {
      for (const engine of parts.engines ?? []) {
        const rule = engine.rules.find(({ id, name }) => id === idOrName || name === idOrName);
        if (rule) return { engine, rule };
      }
      return undefined;
    },
    transactionDetails: new Map(
      Object.entries(parts.transactionDetails ?? {}).map(([name, usage]) => [name, { usage }]),
    ),
    settings: { ...SETTINGS, ...parts.settings },
    anonymousSource: parts.anonymousSource ?? true,
    coordinatesSource: parts.coordinatesSource ?? true,
    nearest: () => undefined,
  };
}

/** A context as written, with points of no interest, which must be without a fault or warning. */
export function factorOf<Context extends FactorCommon>(
  type: FactorType<Context>,
  written: object,
  parts: FactorScopeParts = {},
): { readonly context: Context; readonly judge: ReturnType<FactorType<Context>['compile']> } {
  const faults: Fault[] = [];
  const context = shaped(type.shape, { riskPoint: 10, ...written }, PLACE, (found) => faults.push(found));
  if (context) type.link?.(context, PLACE, factorScopeOf(parts), (found) => faults.push(found));
  expect(faults).toEqual([]);
  if (!context) throw new Error('no context');
  return { context, judge: type.compile(context, factorScopeOf(parts)) };
}

/** The verdict as it counts: UNKNOWN turned into what it counts as. */
export function verdictOf<Context extends FactorCommon>(
  type: FactorType<Context>,
  written: object,
  facts: EvaluationContext,
  parts: FactorScopeParts = {},
): string {
  const { context, judge } = factorOf(type, written, parts);
  const verdict = judge(facts);
  return verdict === 'UNKNOWN' ? `UNKNOWN, ${type.unknownCounts(context)}` : verdict;
}

/** Codes of everything that is reported of a context, `(warning)` after those of warnings. */
export function reportedOf<Context extends FactorCommon>(
  type: FactorType<Context>,
  written: object,
  parts: FactorScopeParts = {},
): readonly string[] {
  const faults: Fault[] = [];
  const context = shaped(type.shape, { riskPoint: 10, ...written }, PLACE, (found) => faults.push(found));
  if (context) type.link?.(context, PLACE, factorScopeOf(parts), (found) => faults.push(found));
  for (const found of faults) expect(found.mend).not.toBe('');
  return faults.map(({ code, severity }) => (severity === 'warning' ? `${code} (warning)` : code));
}
