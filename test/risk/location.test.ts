import { describe, expect, it } from 'vitest';
import type { Location } from '../../src/model/facts.ts';
import { location } from '../../src/risk/location.ts';
import { contextOf } from '../rules/contexts.ts';
import { reportedOf, verdictOf } from './factors.ts';

const iberia = { allowed: true, countryCodes: ['PT', 'es'], anonymousAllowed: false };
const notThere = { allowed: false, countryCodes: ['AQ', 'BV'], anonymousAllowed: true };
const anyPlain = { allowed: false };

function at(country: string | undefined, anonymous = false): { location: Location } {
  return {
    location: {
      country,
      city: undefined,
      isp: undefined,
      latitude: undefined,
      longitude: undefined,
      anonymous,
      source: country === undefined ? 'none' : 'database',
    },
  };
}

/** A Tor exit whose own country a database names. */
function torIn(country: string): { location: Location } {
  return { location: { ...at('T1').location, exitCountry: country } };
}

describe('the country of the client address', () => {
  it.each([
    ['allowed', iberia, at('ES'), 'NO_RISK'],
    ['outside the allowed', iberia, at('BR'), 'RISK'],
    ['anonymous though allowed', iberia, at('PT', true), 'RISK'],
    ['unknown', iberia, at(undefined), 'UNKNOWN, RISK'],
    ['no data', iberia, at('XX'), 'UNKNOWN, RISK'],
    ['Tor is anonymous', iberia, at('T1'), 'RISK'],
    [
      'Tor, anonymous allowed: the country is unknown',
      { ...iberia, anonymousAllowed: true },
      at('T1'),
      'UNKNOWN, RISK',
    ],
    ['Tor in a denied country', notThere, torIn('AQ'), 'RISK'],
    ['Tor elsewhere', notThere, torIn('NO'), 'NO_RISK'],
    ['denied', notThere, at('AQ'), 'RISK'],
    ['anonymous, allowed', notThere, at('NO', true), 'NO_RISK'],
    ['denied list, unknown', notThere, at(undefined), 'UNKNOWN, NO_RISK'],
    ['only anonymity counts', anyPlain, at('FI', true), 'RISK'],
    ['only anonymity counts', anyPlain, at('FI'), 'NO_RISK'],
    ['only anonymity counts, country unknown', anyPlain, at(undefined), 'NO_RISK'],
    ['the location could not be had', iberia, { location: undefined }, 'UNKNOWN, RISK'],
    ['the location could not be had', anyPlain, { location: undefined }, 'UNKNOWN, NO_RISK'],
  ])('%s: %j', (_, written, facts, verdict) => {
    expect(verdictOf(location, written, contextOf(facts))).toBe(verdict);
  });
});

describe('what is reported', () => {
  it.each([
    [{ countryCodes: ['PT'] }, ['key_missing']],
    [{ allowed: true, countryCodes: ['UK'] }, ['country_unknown']],
    [{ allowed: true, countryCodes: ['T1'] }, ['country_unknown']],
    [{ allowed: false, countryCodes: ['XX'] }, ['country_unknown']],
    [{ allowed: true, countryCodes: ['XK'] }, []],
    [{ allowed: true, countryCodes: [] }, ['location_context_empty']],
    [{ allowed: true }, ['location_context_empty']],
    [{ allowed: false, countryCodes: [], anonymousAllowed: true }, ['location_context_empty']],
    [{ allowed: false, countryCodes: [] }, []],
  ])('%j: %j', (written, codes) => {
    expect(reportedOf(location, written)).toEqual(codes);
  });

  it.each([
    [iberia, ['anonymous_source_missing (warning)']],
    [notThere, []],
  ])('without a source of anonymity, %j: %j', (written, codes) => {
    expect(reportedOf(location, written, { anonymousSource: false })).toEqual(codes);
  });
});
