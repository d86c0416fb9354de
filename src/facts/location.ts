import type { Address } from '../model/address.ts';
import type { Location } from '../model/facts.ts';
import type { RequestFacts } from '../model/request.ts';
import { isPrivateAddress } from '../shared/address.ts';
import { createCache } from '../shared/cache.ts';
import type { CacheResult } from '../shared/cache.ts';
import { NO_COUNTRY, TOR } from '../shared/country.ts';
import type { GeoDatabase } from './geo-database.ts';

/** Tells where a client is, from its address and from trusted headers of the request. */
export type LocationSource = (request: RequestFacts, address: Address | undefined) => Location;

/** `geo` of the settings. */
export interface LocationSettings {
  /** Names of trusted headers, in lower case. */
  readonly headers: LocationHeaders | undefined;
  /** The place of private, loopback, link-local, shared and unique-local addresses. */
  readonly private_addresses: 'unknown' | { readonly country: string; readonly city?: string | undefined };
}

export interface LocationHeaders {
  readonly country?: string | undefined;
  readonly city?: string | undefined;
  readonly latitude?: string | undefined;
  readonly longitude?: string | undefined;
  readonly isp?: string | undefined;
  readonly anonymous?: string | undefined;
}

/** The databases of one revision; undefined: none is configured. */
export interface GeoDatabases {
  readonly city?: GeoDatabase | undefined;
  readonly asn?: GeoDatabase | undefined;
  readonly anonymous?: GeoDatabase | undefined;
}

/** Locations by these sources, in this order: the city database, trusted headers where no database answers,
 *  `private_addresses`. Country, city and coordinates come from the city database's `country.iso_code`,
 *  `city.names.en`, `location`; the ISP from `isp`, else `autonomous_system_organization`.
 *  - A Tor exit, by the anonymous database or by a header that says `T1`, has the country `T1`, whatever else is known.
 *  - An address that no source knows has the country `XX`, as Cloudflare has it.
 *  - The country is undefined where there is neither address nor header, no source is configured at all, the country
 *    header is unreadable (neither two letters nor `T1`, or sent twice) or a database is damaged.
 *  - `anonymous`: one of the five marks of the anonymous database, a header `true`, `1` or `yes`, or a Tor exit. A mark
 *    that cannot be read counts as set.
 *  What databases say is kept for up to 10,000 addresses. Source: Cloudflare Access' country rule and `CF-IPCountry`;
 *  MaxMind's GeoIP2 City, ASN and Anonymous IP databases. */
export function createLocationSource(
  settings: LocationSettings,
  databases: GeoDatabases,
  onCacheRequest?: (result: CacheResult) => void,
): LocationSource {
  const known = createCache<string, Known>({ entriesMax: CACHED_ADDRESSES, onRequest: onCacheRequest });
  const hasDatabases = databases.city !== undefined || databases.asn !== undefined || databases.anonymous !== undefined;
  const knownOf = (address: Address): Known => {
    if (!hasDatabases) return NOTHING_KNOWN;
    const cached = known.get(address.text, 0);
    if (cached !== undefined) return cached;
    const fresh = look(databases, address);
    known.set(address.text, fresh, Infinity);
    return fresh;
  };
  const { headers } = settings;
  const hasPlaces = databases.city !== undefined || headers?.country !== undefined;
  return (request, address) => {
    const data = address === undefined ? NOTHING_KNOWN : knownOf(address);
    const said = headers === undefined ? NOTHING_SAID : readHeaders(request, headers);
    return locate(address, data, said, settings.private_addresses, hasPlaces);
  };
}

/** What the databases say of an address. */
interface Known {
  /** The city database could not be read for this address. */
  readonly cityFailed: boolean;
  /** The anonymous database could not: this may be a Tor exit. */
  readonly marksFailed: boolean;
  readonly country: string | undefined;
  readonly city: string | undefined;
  readonly coordinates: Coordinates | undefined;
  readonly isp: string | undefined;
  readonly tor: boolean;
  readonly anonymous: boolean;
}

/** What the trusted headers say. */
interface Said {
  readonly country: string | undefined;
  readonly countryUnreadable: boolean;
  readonly city: string | undefined;
  readonly coordinates: Coordinates | undefined;
  readonly isp: string | undefined;
  readonly anonymous: boolean;
}

interface Coordinates {
  readonly latitude: number;
  readonly longitude: number;
}

const CACHED_ADDRESSES = 10_000;

const NOTHING_KNOWN: Known = Object.freeze({
  cityFailed: false,
  marksFailed: false,
  country: undefined,
  city: undefined,
  coordinates: undefined,
  isp: undefined,
  tor: false,
  anonymous: false,
});

const NOTHING_SAID: Said = Object.freeze({
  country: undefined,
  countryUnreadable: false,
  city: undefined,
  coordinates: undefined,
  isp: undefined,
  anonymous: false,
});

const ANONYMOUS_MARKS = [
  'is_anonymous',
  'is_anonymous_vpn',
  'is_public_proxy',
  'is_residential_proxy',
  'is_tor_exit_node',
] as const;

function locate(
  address: Address | undefined,
  data: Known,
  said: Said,
  privatePlace: LocationSettings['private_addresses'],
  hasPlaces: boolean,
): Location {
  const isTor = data.tor || said.country === TOR;
  const shared = {
    isp: data.isp ?? said.isp,
    ...(data.coordinates ?? said.coordinates ?? NO_COORDINATES),
    anonymous: data.anonymous || said.anonymous || isTor,
  };
  if (isTor) {
    const fromDatabase = data.tor || data.country !== undefined;
    const city = data.country === undefined ? said.city : data.city;
    return { country: TOR, exitCountry: data.country, city, ...shared, source: fromDatabase ? 'database' : 'header' };
  }
  const saysCountry = said.country !== undefined && said.country !== NO_COUNTRY;
  if (data.marksFailed || (data.cityFailed && !saysCountry))
    return { country: undefined, city: undefined, ...shared, source: 'none' };
  if (data.country !== undefined) return { country: data.country, city: data.city, ...shared, source: 'database' };
  if (said.countryUnreadable) return { country: undefined, city: undefined, ...shared, source: 'none' };
  if (saysCountry) return { country: said.country, city: said.city, ...shared, source: 'header' };
  if (privatePlace !== 'unknown' && address !== undefined && isPrivateAddress(address))
    return { country: privatePlace.country, city: privatePlace.city, ...shared, source: 'private' };
  const isAnswered = said.country !== undefined || (address !== undefined && hasPlaces);
  return { country: isAnswered ? NO_COUNTRY : undefined, city: undefined, ...shared, source: 'none' };
}

const NO_COORDINATES = Object.freeze({ latitude: undefined, longitude: undefined });

function look(databases: GeoDatabases, address: Address): Known {
  const place = databases.city?.lookup(address);
  const network = databases.asn?.lookup(address);
  const marks = databases.anonymous?.lookup(address);
  const record = place?.state === 'found' ? place.record : undefined;
  const marked = marks?.state === 'found' ? marks.record : undefined;
  const location = member(record, 'location');
  return Object.freeze({
    cityFailed: place?.state === 'failed',
    marksFailed: marks?.state === 'failed',
    country: countryOf(member(member(record, 'country'), 'iso_code')),
    city: textOf(member(member(member(record, 'city'), 'names'), 'en')),
    coordinates: coordinatesOf(member(location, 'latitude'), member(location, 'longitude')),
    isp: network?.state === 'found' ? ispOf(network.record) : undefined,
    tor: member(marked, 'is_tor_exit_node') === true,
    anonymous: marks?.state === 'failed' || ANONYMOUS_MARKS.some((mark) => member(marked, mark) === true),
  });
}

function readHeaders(request: RequestFacts, names: LocationHeaders): Said {
  const country = headerText(request, names.country);
  const code = country?.toUpperCase();
  const isReadable = code === undefined || code === TOR || /^[A-Z]{2}$/.test(code);
  const anonymous = headerText(request, names.anonymous);
  return {
    country: isReadable ? code : undefined,
    countryUnreadable: !isReadable,
    city: readable(headerText(request, names.city, FREE_TEXT)),
    coordinates: coordinatesOf(
      numberOf(headerText(request, names.latitude)),
      numberOf(headerText(request, names.longitude)),
    ),
    isp: readable(headerText(request, names.isp, FREE_TEXT)),
    anonymous: anonymous !== undefined && (anonymous === UNREADABLE || /^(?:true|1|yes)$/i.test(anonymous)),
  };
}

/** Names of cities and networks hold commas, and letters beyond ASCII. */
const FREE_TEXT = { commaAllowed: true, utf8Allowed: true } as const;
/** No header value can hold a NUL. */
const UNREADABLE = '\u0000';

/** The one value of a header, trimmed; undefined where it is absent or blank. */
function headerText(
  request: RequestFacts,
  name: string | undefined,
  options?: { readonly commaAllowed: boolean; readonly utf8Allowed: boolean },
): string | undefined {
  if (name === undefined) return undefined;
  const header = request.headers.single(name, options);
  if (header.state === 'absent') return undefined;
  if (header.state !== 'one') return UNREADABLE;
  return textOf(header.value);
}

function readable(text: string | undefined): string | undefined {
  return text === UNREADABLE ? undefined : text;
}

function numberOf(text: string | undefined): number | undefined {
  return text !== undefined && /^[+-]?\d{1,3}(?:\.\d{1,20})?$/.test(text) ? Number(text) : undefined;
}

function coordinatesOf(latitude: unknown, longitude: unknown): Coordinates | undefined {
  return typeof latitude === 'number' &&
    typeof longitude === 'number' &&
    Math.abs(latitude) <= 90 &&
    Math.abs(longitude) <= 180
    ? { latitude, longitude }
    : undefined;
}

function countryOf(code: unknown): string | undefined {
  return typeof code === 'string' && /^[A-Z]{2}$/i.test(code) && code.toUpperCase() !== NO_COUNTRY
    ? code.toUpperCase()
    : undefined;
}

function ispOf(record: unknown): string | undefined {
  return textOf(member(record, 'isp')) ?? textOf(member(record, 'autonomous_system_organization'));
}

function textOf(value: unknown): string | undefined {
  const text = typeof value === 'string' ? value.trim() : '';
  return text === '' ? undefined : text;
}

function member(data: unknown, key: string): unknown {
  return data !== null && typeof data === 'object' && Object.hasOwn(data, key)
    ? (data as Record<string, unknown>)[key]
    : undefined;
}
