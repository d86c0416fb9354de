import type { Location } from '../model/facts.ts';
import { warning } from '../model/fault.ts';
import { countryFinding, isCountry, TOR } from '../shared/country.ts';
import { also, exactObject, flag, listOf, readText } from '../shared/shape.ts';
import type { Finding, ShapeOutput } from '../shared/shape.ts';
import { contextKeys } from './context-keys.ts';
import type { FactorType } from './factor.ts';

const shape = also(
  exactObject({
    ...contextKeys,
    allowed: flag().describe('Whether the countries are those allowed or those denied.'),
    countryCodes: listOf(
      readText((written) => {
        const code = written.toUpperCase();
        // XX (no data) and T1 (Tor) are answers about an address, not places one can allow or deny.
        return isCountry(code) ? { value: code } : countryFinding(written);
      }),
    )
      .optional()
      .describe('ISO 3166-1 alpha-2, e.g. CA.'),
    anonymousAllowed: flag().optional().describe('Whether anonymising networks are no risk. Default false.'),
  }),
  (context): readonly Finding[] => {
    if ((context.countryCodes?.length ?? 0) > 0) return [];
    if (context.allowed)
      return [
        {
          code: 'location_context_empty',
          text: 'expected the allowed countries, found none: every request would be at risk',
          mend: 'list countries in countryCodes, or set allowed: false',
        },
      ];
    if (context.anonymousAllowed === true)
      return [
        {
          code: 'location_context_empty',
          text: 'expected denied countries or anonymousAllowed: false, found neither: no request would be at risk',
          mend: 'list countries in countryCodes, or set anonymousAllowed: false',
        },
      ];
    return [];
  },
);

type LocationContext = ShapeOutput<typeof shape>;

/** Whether the client's address is in a country where it may be, and not an anonymising one. Source: Entrust's
 *  LocationContext. */
export const location: FactorType<LocationContext> = {
  name: 'location',
  property: 'locationContext',
  isList: false,
  description: 'At risk outside the allowed countries or inside the denied ones, and where the address is anonymous.',
  shape,
  needs: () => [{ fact: 'location' }],
  link(context, place, scope, report) {
    if (context.anonymousAllowed === true || scope.anonymousSource) return;
    report(
      warning(
        place,
        'anonymous_source_missing',
        'anonymous addresses are at risk here, but nothing tells which addresses are anonymous',
        'set geo.anonymous_database or geo.headers.anonymous, or anonymousAllowed: true',
      ),
    );
  },
  compile(context) {
    const listed: ReadonlySet<string> = new Set(context.countryCodes);
    const { allowed, anonymousAllowed } = context;
    return ({ location: found }) => {
      if (!found) return 'UNKNOWN';
      if (anonymousAllowed !== true && isAnonymous(found)) return 'RISK';
      if (listed.size === 0) return 'NO_RISK';
      // A Tor exit stands in a country all the same, where the database knows it.
      const country = found.country === TOR ? found.exitCountry : found.country;
      if (country === undefined || !isCountry(country)) return 'UNKNOWN';
      return listed.has(country) === allowed ? 'NO_RISK' : 'RISK';
    };
  },
  unknownCounts: (context) => (context.allowed ? 'RISK' : 'NO_RISK'),
  seen: ({ location: found }) =>
    found ? `country ${found.country ?? 'unknown'}${isAnonymous(found) ? ', anonymous' : ''}` : 'no location',
};

function isAnonymous(found: Location): boolean {
  return found.anonymous || found.country === TOR;
}
