import type { RuleType } from './rule.ts';
import { countryText } from '../shared/country.ts';
import { exactObject } from '../shared/shape.ts';
import type { ShapeOutput } from '../shared/shape.ts';

const shape = exactObject({
  country_code: countryText().describe('ISO 3166-1 alpha-2, e.g. CA; XK counts, and so do XX (no data) and T1 (Tor).'),
});

/** The country of the client's address now; never one that a token states. Source: Cloudflare Access, rule type
 *  `geo`. */
export const geo: RuleType<ShapeOutput<typeof shape>> = {
  word: 'geo',
  description:
    "Met when the client's address is in this country (ISO 3166-1 alpha-2) now; XX: no data for the address, T1: a Tor exit.",
  reads: 'connection',
  shape,
  needs: () => [{ fact: 'location' }],
  anyOf(values) {
    const countries = new Set(values.map((value) => value.country_code));
    return ({ location }) => {
      if (location?.country === undefined) return 'unavailable';
      return countries.has(location.country) ? 'met' : 'unmet';
    };
  },
  seen: ({ location }) =>
    location?.country === undefined ? 'country not known' : `country ${location.country} (${location.source})`,
  singleFact: 'country',
};
