import type { LearnedPlace } from '../model/adaptive-facts.ts';
import type { EvaluationContext } from '../model/context.ts';
import type { Location } from '../model/facts.ts';
import { warning } from '../model/fault.ts';
import { isPrivateAddress } from '../shared/address.ts';
import { isCountry } from '../shared/country.ts';
import { exactObject } from '../shared/shape.ts';
import type { ShapeOutput } from '../shared/shape.ts';
import { contextKeys } from './context-keys.ts';
import type { FactorType, RiskSettings } from './factor.ts';

/** The place a request comes from, as it is learned and compared: named by country, city and internet provider where a
 *  database or a header names a country, else told by the private address alone. `hidden`: neither. */
export type CurrentPlace =
  | {
      readonly kind: 'named';
      readonly country: string;
      readonly city: string | undefined;
      readonly isp: string | undefined;
    }
  | { readonly kind: 'private' }
  | { readonly kind: 'hidden' };

/** Where the request comes from. */
export function currentPlace({ location, address }: Pick<EvaluationContext, 'location' | 'address'>): CurrentPlace {
  if (location && namesCountry(location)) {
    return {
      kind: 'named',
      country: location.country,
      city: trimmed(location.city),
      isp: trimmed(location.isp),
    };
  }
  return address && isPrivateAddress(address) ? PRIVATE : HIDDEN;
}

/** Whether a learned place is the one that a request comes from. `addressHashes`: of the request's address, one under
 *  each key that reads. Named places are compared character by character, absent parts equal only to absent ones. */
export function isSamePlace(
  place: LearnedPlace,
  here: CurrentPlace,
  addressHashes: readonly string[],
  checksAddress: boolean,
): boolean {
  if (here.kind === 'named') {
    return (
      !place.private &&
      place.country === here.country &&
      place.city === here.city &&
      place.isp === here.isp &&
      (!checksAddress || addressHashes.includes(place.addressHash))
    );
  }
  return here.kind === 'private' && place.private && addressHashes.includes(place.addressHash);
}

const shape = exactObject(contextKeys);

/** Whether the user has authenticated from this place before, or is expected there. Source: Entrust's
 *  LocationHistoryContext and its risk-based authentication settings. */
export const locationHistory: FactorType<ShapeOutput<typeof shape>> = {
  name: 'locationHistory',
  property: 'locationHistoryContext',
  isList: false,
  description: 'At risk where the user has not authenticated from this place before, and is not expected there.',
  shape,
  needs: (_, { settings }) =>
    settings.locations_max === 0
      ? []
      : [{ fact: 'history' }, { fact: 'location' }, { fact: 'address' }, { fact: 'identity' }],
  link(_, place, { settings }, report) {
    if (settings.locations_max > 0) return;
    report(
      warning(
        place,
        'history_disabled',
        'risk.locations_max is 0, so that no place is learned and this factor is never at risk',
        'set risk.locations_max to 1 or more, or remove locationHistoryContext',
      ),
    );
  },
  compile(_, { settings }) {
    if (settings.locations_max === 0) return () => 'NO_RISK';
    const expected = expectedPlaces(settings);
    const isTrusted = trust(settings);
    return (context) => {
      const here = currentPlace(context);
      if (here.kind === 'named' && isExpected(expected, here, context)) return 'NO_RISK';
      if (here.kind === 'hidden' || context.history.state !== 'known') return 'UNKNOWN';
      const { record } = context.history;
      for (const place of record.places) {
        if (
          isTrusted(place, context.nowMs) &&
          isSamePlace(place, here, record.addressHashes, settings.location_check_ip)
        )
          return 'NO_RISK';
      }
      return 'RISK';
    };
  },
  unknownCounts: () => 'RISK',
  seen(context) {
    const here = currentPlace(context);
    const learned =
      context.history.state === 'known'
        ? `${context.history.record.places.length} places learned`
        : 'the record of the user could not be read';
    if (here.kind === 'named') return `country ${here.country}; ${learned}`;
    return `${here.kind === 'private' ? 'a private address' : 'place unknown'}; ${learned}`;
  },
};

const PRIVATE: CurrentPlace = Object.freeze({ kind: 'private' });
const HIDDEN: CurrentPlace = Object.freeze({ kind: 'hidden' });

/** `geo.private_addresses` gives every private address one and the same country, which tells no places apart. */
function namesCountry(location: Location): location is Location & { readonly country: string } {
  if (location.source !== 'database' && location.source !== 'header') return false;
  return location.country !== undefined && isCountry(location.country);
}

function trimmed(text: string | undefined): string | undefined {
  const rest = text?.trim();
  return rest === '' ? undefined : rest;
}

interface ExpectedPlace {
  readonly country: string;
  readonly city: string | undefined;
  readonly isp: string | undefined;
  readonly emails: ReadonlySet<string> | undefined;
}

function expectedPlaces(settings: RiskSettings): readonly ExpectedPlace[] {
  return settings.expected_locations.map((one) => ({
    country: one.country.toUpperCase(),
    city: trimmed(one.city),
    isp: trimmed(one.isp),
    emails: one.emails && new Set(one.emails.map((email) => email.toLowerCase())),
  }));
}

function isExpected(
  expected: readonly ExpectedPlace[],
  here: CurrentPlace & { readonly kind: 'named' },
  { identity }: EvaluationContext,
): boolean {
  for (const one of expected) {
    if (one.country !== here.country) continue;
    if (one.city !== undefined && one.city !== here.city) continue;
    if (one.isp !== undefined && one.isp !== here.isp) continue;
    if (!one.emails) return true;
    const email = identity.state === 'known' ? identity.identity.email : undefined;
    if (email !== undefined && one.emails.has(email)) return true;
  }
  return false;
}

function trust(settings: RiskSettings): (place: LearnedPlace, nowMs: number) => boolean {
  const { location_trust_threshold: threshold, location_lifetime_hours: hours } = settings;
  const lifetimeMs = hours === 0 ? Number.POSITIVE_INFINITY : hours * 3_600_000;
  return (place, nowMs) => place.count >= threshold && nowMs - place.lastMs <= lifetimeMs;
}
