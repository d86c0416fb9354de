import { describe, expect, it } from 'vitest';
import { countryFinding, countryText, isCountry, normalCountry } from '../../src/shared/country.ts';

const LETTERS = [...'ABCDEFGHIJKLMNOPQRSTUVWXYZ'];

describe('a country code', () => {
  it.each([
    ['CA', 'CA'],
    ['ca', 'CA'],
    ['Gb', 'GB'],
    ['XK', 'XK'],
    ['xx', 'XX'],
    ['t1', 'T1'],
    ['UK', undefined],
    ['EU', undefined],
    ['AN', undefined],
    ['SU', undefined],
    ['ZZ', undefined],
    ['T2', undefined],
    ['CAN', undefined],
    ['C', undefined],
    ['', undefined],
    [' CA', undefined],
  ])('%j is %s', (written, code) => {
    expect(normalCountry(written)).toBe(code);
  });

  it('is one of 249 assigned by ISO 3166-1, or XK', () => {
    const codes = LETTERS.flatMap((a) => LETTERS.map((b) => a + b)).filter(isCountry);
    expect(codes).toHaveLength(250);
    expect(codes).toContain('XK');
  });

  it('of no country is not a country', () => {
    expect(isCountry('XX')).toBe(false);
    expect(isCountry('T1')).toBe(false);
    expect(isCountry('ca')).toBe(false);
  });

  it.each([
    ['UK', 'did you mean "GB"?'],
    ['uk', 'did you mean "GB"?'],
    ['USA', 'did you mean "US"?'],
    ['ZZ', 'write a two-letter code such as "CA"'],
  ])('%s: %s', (written, mend) => {
    expect(countryFinding(written)).toMatchObject({ code: 'country_unknown', mend });
  });

  it('is upper case once shaped', () => {
    expect(countryText().parse('ca')).toBe('CA');
    expect(countryText().safeParse('UK').success).toBe(false);
  });
});
