import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { factorType, factorTypes } from '../../src/risk/registry.ts';
import { contextOf } from '../rules/contexts.ts';

describe('the table of risk factors', () => {
  it('has those of a resource rule, in the order of its properties', () => {
    expect(factorTypes.map(({ property, isList }) => `${property}${isList ? '[]' : ''}`)).toEqual([
      'dateTimeContext',
      'ipContext',
      'locationContext',
      'locationHistoryContext',
      'travelVelocityContext',
      'machineContext',
      'deviceCertificateContext',
      'transactionContexts[]',
      'riskEngineContexts[]',
    ]);
    for (const type of factorTypes) expect(factorType(type.name)).toBe(type);
    expect(factorType('kba')).toBeUndefined();
  });

  it('is the only file that imports factors, and no factor imports another', () => {
    const folder = new URL('../../src/risk/', import.meta.url);
    const files = readdirSync(folder);
    const factors = files.filter((file) => /: FactorType<.*> = \{/.test(readFileSync(new URL(file, folder), 'utf8')));
    expect(factors).toHaveLength(factorTypes.length);
    for (const file of files.filter((one) => one !== 'registry.ts')) {
      const text = readFileSync(new URL(file, folder), 'utf8');
      expect(
        factors.filter((factor) => text.includes(`from './${factor}'`)),
        file,
      ).toEqual([]);
    }
  });

  it.each(factorTypes.map((type) => [type.name, type] as const))(
    '%s says what it saw where nothing was gathered',
    (_, type) => {
      expect(type.seen(contextOf(), { riskPoint: 0 })).toMatch(/\S/);
    },
  );
});
