import { describe, expect, it } from 'vitest';
import { openGeoDatabase } from '../../src/facts/geo-database.ts';
import type { GeoDatabase, GeoDatabaseKind } from '../../src/facts/geo-database.ts';
import { createLocationSource } from '../../src/facts/location.ts';
import type { GeoDatabases, LocationSettings } from '../../src/facts/location.ts';
import type { Location } from '../../src/model/facts.ts';
import { parseAddress } from '../../src/shared/address.ts';
import { writeMmdb } from '../fixtures/mmdb-writer.ts';
import type { MmdbValue } from '../fixtures/mmdb-writer.ts';
import { connectionRequest } from './connection-request.ts';
import type { ConnectionRequest } from './connection-request.ts';

const OTTAWA = {
  country: { iso_code: 'CA', names: { en: 'Canada' } },
  city: { names: { en: ' Ottawa ', fr: 'Ottawa (Ontario)' } },
  location: { latitude: 45.4215, longitude: -75.6972 },
};

const CITY = database('city', [
  ['203.0.113.0/24', OTTAWA],
  ['198.51.100.0/24', { country: { iso_code: 'PT' }, city: { names: { en: 'Porto' } } }],
  // A record without a country, and ones that make no sense.
  ['192.0.2.0/28', { city: { names: { en: 'Nowhere' } }, location: { latitude: 1, longitude: 2 } }],
  ['192.0.2.16/28', { country: { iso_code: 'Canada' }, location: { latitude: 91, longitude: 0 } }],
  ['192.0.2.32/28', { country: { iso_code: 'XX' } }],
  ['192.0.2.48/28', { country: { iso_code: 'ca' }, city: { names: { en: '' } }, location: { latitude: 'x' } }],
  ['192.0.2.64/28', { registered_country: { iso_code: 'CA' } }],
  ['10.1.0.0/16', { country: { iso_code: 'DE' }, city: { names: { en: 'Bonn' } } }],
]);
const ASN = database('asn', [
  ['203.0.113.0/24', { isp: 'Rede Norte', autonomous_system_organization: 'RN AS' }],
  ['198.51.100.0/24', { autonomous_system_number: 64_500, autonomous_system_organization: ' RN AS ' }],
]);
const ANONYMOUS = database('anonymous', [
  ['203.0.113.1', { is_anonymous: true }],
  ['203.0.113.2', { is_anonymous_vpn: true }],
  ['203.0.113.3', { is_public_proxy: true }],
  ['203.0.113.4', { is_residential_proxy: true }],
  ['203.0.113.5', { is_anonymous: true, is_tor_exit_node: true }],
  ['203.0.113.6', { is_hosting_provider: true }],
  ['203.0.113.8', { is_anonymous: false, is_tor_exit_node: false }],
  ['192.0.2.200', { is_tor_exit_node: true }],
]);
/** Damaged for the addresses of 203.0.113.0/24 only. */
const DAMAGED_CITY = damaged('city');
const DAMAGED_ANONYMOUS = damaged('anonymous');

const HEADERS = {
  country: 'cf-ipcountry',
  city: 'cf-ipcity',
  latitude: 'cf-iplatitude',
  longitude: 'cf-iplongitude',
  isp: 'x-isp',
  anonymous: 'x-anonymous',
};
const OFFICE = { country: 'CA', city: 'Ottawa' };

interface Case {
  readonly address?: string;
  readonly headers?: ConnectionRequest['headers'];
  readonly databases?: GeoDatabases;
  readonly settings?: Partial<LocationSettings>;
}

function locate({ address, headers, databases = {}, settings = {} }: Case): Location {
  const source = createLocationSource({ headers: undefined, private_addresses: 'unknown', ...settings }, databases);
  return source(
    connectionRequest(headers ? { headers } : {}),
    address === undefined ? undefined : parseAddress(address),
  );
}

const byDatabase = (address: string): Case => ({ address, databases: { city: CITY } });
const byHeader = (country: string | readonly string[], address?: string): Case => ({
  ...(address === undefined ? {} : { address }),
  headers: { 'cf-ipcountry': country },
  settings: { headers: HEADERS },
});

const anonymousHeader = (value: string | readonly string[]): Case => ({
  address: '203.0.113.7',
  headers: { 'x-anonymous': value },
  settings: { headers: HEADERS },
});

describe('country', () => {
  it.each<[string, Case, string | undefined, Location['source']]>([
    ['in the database', byDatabase('203.0.113.7'), 'CA', 'database'],
    ['in the database, lower case', byDatabase('192.0.2.48'), 'CA', 'database'],
    ['not in the database', byDatabase('192.0.2.255'), 'XX', 'none'],
    ['record without a country', byDatabase('192.0.2.1'), 'XX', 'none'],
    ['record with a registered country only', byDatabase('192.0.2.64'), 'XX', 'none'],
    ['record with no country code', byDatabase('192.0.2.17'), 'XX', 'none'],
    ['record with XX', byDatabase('192.0.2.32'), 'XX', 'none'],
    ['private address', byDatabase('10.20.0.4'), 'XX', 'none'],
    ['private address that the database knows', byDatabase('10.1.0.4'), 'DE', 'database'],
    ['no address', { databases: { city: CITY } }, undefined, 'none'],
    ['nothing configured', { address: '203.0.113.7' }, undefined, 'none'],
    ['only an ASN database', { address: '203.0.113.7', databases: { asn: ASN } }, undefined, 'none'],

    ['header', byHeader('CA', '203.0.113.7'), 'CA', 'header'],
    ['header in lower case', byHeader(' ca ', '203.0.113.7'), 'CA', 'header'],
    ['header without an address', byHeader('CA'), 'CA', 'header'],
    ['header with XX', byHeader('XX', '203.0.113.7'), 'XX', 'none'],
    ['header with XX without an address', byHeader('XX'), 'XX', 'none'],
    ['empty header says nothing', byHeader('', '203.0.113.7'), 'XX', 'none'],
    ['empty header without an address', byHeader(' '), undefined, 'none'],
    ['no header', { address: '203.0.113.7', settings: { headers: HEADERS } }, 'XX', 'none'],
    ['no header and no address', { settings: { headers: HEADERS } }, undefined, 'none'],
    ['only a city header', { address: '203.0.113.7', settings: { headers: { city: 'cf-ipcity' } } }, undefined, 'none'],
    ['unreadable: a name', byHeader('Canada', '203.0.113.7'), undefined, 'none'],
    ['unreadable: one letter', byHeader('C', '203.0.113.7'), undefined, 'none'],
    ['unreadable: T2', byHeader('T2', '203.0.113.7'), undefined, 'none'],
    ['unreadable: twice', byHeader(['CA', 'CA'], '203.0.113.7'), undefined, 'none'],
    ['unreadable: joined', byHeader('CA,CA', '203.0.113.7'), undefined, 'none'],
    ['unreadable: bad UTF-8', byHeader('\uFFFD', '203.0.113.7'), undefined, 'none'],
    [
      'a header that is not configured',
      { address: '203.0.113.7', headers: { 'cf-ipcountry': 'CA' } },
      undefined,
      'none',
    ],

    ['database before header', { ...byHeader('US', '203.0.113.7'), databases: { city: CITY } }, 'CA', 'database'],
    [
      'database before an unreadable header',
      { ...byHeader('?', '203.0.113.7'), databases: { city: CITY } },
      'CA',
      'database',
    ],
    [
      'header where the database has nothing',
      { ...byHeader('US', '192.0.2.255'), databases: { city: CITY } },
      'US',
      'header',
    ],
    [
      'unreadable header where the database has nothing',
      { ...byHeader('?', '192.0.2.255'), databases: { city: CITY } },
      undefined,
      'none',
    ],
    [
      'header where the database is damaged',
      { ...byHeader('US', '203.0.113.7'), databases: { city: DAMAGED_CITY } },
      'US',
      'header',
    ],
    [
      'header with XX where the database is damaged',
      { ...byHeader('XX', '203.0.113.7'), databases: { city: DAMAGED_CITY } },
      undefined,
      'none',
    ],
    ['damaged database', { address: '203.0.113.7', databases: { city: DAMAGED_CITY } }, undefined, 'none'],
    ['damaged elsewhere', { address: '192.0.2.1', databases: { city: DAMAGED_CITY } }, 'XX', 'none'],
    [
      'perhaps a Tor exit',
      { address: '203.0.113.7', databases: { city: CITY, anonymous: DAMAGED_ANONYMOUS } },
      undefined,
      'none',
    ],
  ])('%s', (_, given, country, source) => {
    expect(locate(given)).toMatchObject({ country, source });
  });
});

describe('Tor', () => {
  const T1 = { country: 'T1', anonymous: true };

  it.each<[string, Case, Partial<Location>]>([
    [
      'anonymous database alone',
      { address: '192.0.2.200', databases: { anonymous: ANONYMOUS } },
      { exitCountry: undefined, source: 'database' },
    ],
    [
      'anonymous database over the city',
      { address: '203.0.113.5', databases: { city: CITY, anonymous: ANONYMOUS } },
      { exitCountry: 'CA', city: 'Ottawa', latitude: 45.4215 },
    ],
    [
      'anonymous database over a header',
      { ...byHeader('US', '192.0.2.200'), databases: { anonymous: ANONYMOUS } },
      { exitCountry: undefined },
    ],
    ['header', byHeader('T1', '203.0.113.7'), { source: 'header' }],
    ['header in lower case', byHeader('t1', '203.0.113.7'), {}],
    ['header without an address', byHeader('T1'), { source: 'header' }],
    [
      'header over the city',
      { ...byHeader('T1', '203.0.113.7'), databases: { city: CITY } },
      { exitCountry: 'CA', city: 'Ottawa' },
    ],
    ['header over a damaged database', { ...byHeader('T1', '203.0.113.7'), databases: { city: DAMAGED_CITY } }, {}],
  ])('%s', (_, given, expected) => {
    expect(locate(given)).toMatchObject({ ...T1, ...expected });
  });
});

describe('private addresses', () => {
  const settings = { private_addresses: OFFICE };
  const place = { ...OFFICE, source: 'private' };

  it.each(['10.20.0.4', '127.0.0.1', '169.254.1.1', '100.64.0.1', '192.168.1.1', '::1', 'fe80::1', 'fd00::1'])(
    '%s has the place of the settings',
    (address) => {
      expect(locate({ address, settings })).toMatchObject(place);
      expect(locate({ address, settings, databases: { city: CITY } })).toMatchObject(place);
    },
  );

  it.each<[string, Case, unknown]>([
    ['a public address', { address: '192.0.2.255', settings }, { country: undefined }],
    [
      'a public address without data',
      { address: '192.0.2.255', settings, databases: { city: CITY } },
      { country: 'XX' },
    ],
    ['no address', { settings }, { country: undefined }],
    [
      'a database that knows it',
      { address: '10.1.0.4', settings, databases: { city: CITY } },
      { country: 'DE', source: 'database' },
    ],
    [
      'a header that knows it',
      { ...byHeader('US', '10.20.0.4'), settings: { ...settings, headers: HEADERS } },
      { country: 'US', source: 'header' },
    ],
    ['a header with XX', { ...byHeader('XX', '10.20.0.4'), settings: { ...settings, headers: HEADERS } }, place],
    [
      'an unreadable header',
      { ...byHeader('?', '10.20.0.4'), settings: { ...settings, headers: HEADERS } },
      { country: undefined },
    ],
    [
      'a country without a city',
      { address: '10.20.0.4', settings: { private_addresses: { country: 'CA' } } },
      { country: 'CA', city: undefined },
    ],
  ])('%s', (_, given, expected) => {
    expect(locate(given)).toMatchObject(Object(expected));
  });
});

describe('city, coordinates and ISP', () => {
  const NOWHERE = { latitude: undefined, longitude: undefined };
  const all = { city: CITY, asn: ASN };
  const said = {
    'cf-ipcountry': 'US',
    'cf-ipcity': 'Washington, D.C.',
    'cf-iplatitude': '38.9072',
    'cf-iplongitude': '-77.0369',
    'x-isp': 'Acme, Inc.',
  };
  const settings = { headers: HEADERS };

  it.each<[string, Case, unknown]>([
    [
      'the database, trimmed',
      { address: '203.0.113.7', databases: all },
      { city: 'Ottawa', latitude: 45.4215, longitude: -75.6972, isp: 'Rede Norte' },
    ],
    [
      'an organisation where there is no ISP',
      { address: '198.51.100.7', databases: all },
      { city: 'Porto', isp: 'RN AS', ...NOWHERE },
    ],
    [
      'coordinates without a country',
      { address: '192.0.2.1', databases: all },
      { country: 'XX', city: undefined, latitude: 1, longitude: 2 },
    ],
    ['coordinates that are none', { address: '192.0.2.17', databases: all }, NOWHERE],
    ['an empty city, half a coordinate', { address: '192.0.2.48', databases: all }, { city: undefined, ...NOWHERE }],
    [
      'headers',
      { address: '192.0.2.255', headers: said, settings },
      { country: 'US', city: 'Washington, D.C.', latitude: 38.9072, longitude: -77.0369, isp: 'Acme, Inc.' },
    ],
    [
      'headers without an address',
      { headers: said, settings },
      { city: 'Washington, D.C.', latitude: 38.9072, isp: 'Acme, Inc.' },
    ],
    [
      'not the city of a header beside the country of the database',
      { address: '198.51.100.7', headers: said, settings, databases: all },
      { country: 'PT', city: 'Porto', isp: 'RN AS', latitude: 38.9072 },
    ],
    [
      'the ISP of a header where no database has one',
      { address: '203.0.113.7', headers: said, settings, databases: { city: CITY } },
      { country: 'CA', city: 'Ottawa', isp: 'Acme, Inc.', latitude: 45.4215 },
    ],
    ['letters beyond ASCII', { headers: { ...said, 'cf-ipcity': 'Montréal' }, settings }, { city: 'Montréal' }],
    [
      'a city that is unreadable',
      { headers: { ...said, 'cf-ipcity': 'Montr\uFFFDal' }, settings },
      { country: 'US', city: undefined },
    ],
    [
      'a city that came twice',
      { headers: { ...said, 'cf-ipcity': ['a', 'b'] }, settings },
      { country: 'US', city: undefined },
    ],
  ])('%s', (_, given, expected) => {
    expect(locate(given)).toMatchObject(Object(expected));
  });

  it.each([
    ['45', '7', true],
    ['-90', '180', true],
    ['+1.50', '-0.0', true],
    ['90.01', '0', false],
    ['0', '-180.5', false],
    ['1e1', '0', false],
    ['0x1', '0', false],
    ['NaN', '0', false],
    ['1,5', '0', false],
    ['1.', '0', false],
    ['', '0', false],
    ['0', '', false],
  ])('coordinates %j %j: %s', (latitude, longitude, isRight) => {
    const headers = { 'cf-iplatitude': latitude, 'cf-iplongitude': longitude };
    expect(locate({ headers, settings })).toMatchObject(
      isRight ? { latitude: Number(latitude), longitude: Number(longitude) } : NOWHERE,
    );
  });
});

describe('anonymous', () => {
  const databases = { anonymous: ANONYMOUS };
  it.each<[string, Case, boolean]>([
    ['is_anonymous', { address: '203.0.113.1', databases }, true],
    ['is_anonymous_vpn', { address: '203.0.113.2', databases }, true],
    ['is_public_proxy', { address: '203.0.113.3', databases }, true],
    ['is_residential_proxy', { address: '203.0.113.4', databases }, true],
    ['is_tor_exit_node', { address: '203.0.113.5', databases }, true],
    ['is_hosting_provider', { address: '203.0.113.6', databases }, false],
    ['not in the database', { address: '203.0.113.7', databases }, false],
    ['marks that are false', { address: '203.0.113.8', databases }, false],
    ['a database that cannot be read', { address: '203.0.113.7', databases: { anonymous: DAMAGED_ANONYMOUS } }, true],
    ['header true', anonymousHeader('true'), true],
    ['header 1', anonymousHeader('1'), true],
    ['header yes', anonymousHeader('YES'), true],
    ['header false', anonymousHeader('false'), false],
    ['header 0', anonymousHeader('0'), false],
    ['header empty', anonymousHeader(''), false],
    ['header twice', anonymousHeader(['false', 'true']), true],
    ['header joined', anonymousHeader('false,true'), true],
    ['header over a database', { ...anonymousHeader('true'), databases }, true],
    ['database over a header', { ...anonymousHeader('false'), address: '203.0.113.1', databases }, true],
    ['no source', { address: '203.0.113.7' }, false],
  ])('%s', (_, given, expected) => {
    expect(locate(given).anonymous).toBe(expected);
  });
});

describe('the cache', () => {
  it('asks the databases once per address, and the headers each time', () => {
    let lookups = 0;
    const results: string[] = [];
    const counted: GeoDatabase = {
      ...CITY,
      lookup: (address) => {
        lookups++;
        return CITY.lookup(address);
      },
    };
    const source = createLocationSource(
      { headers: HEADERS, private_addresses: 'unknown' },
      { city: counted },
      (result) => results.push(result),
    );
    const ask = (address: string, country: string): string | undefined =>
      source(connectionRequest({ headers: { 'cf-ipcountry': country } }), parseAddress(address)).country;
    expect([ask('192.0.2.255', 'US'), ask('192.0.2.255', 'FR'), ask('203.0.113.7', 'US')]).toEqual(['US', 'FR', 'CA']);
    expect(lookups).toBe(2);
    expect(results).toEqual(['miss', 'hit', 'miss']);
  });

  it('belongs to one revision', () => {
    const settings = { headers: undefined, private_addresses: 'unknown' } as const;
    const request = connectionRequest();
    const address = parseAddress('203.0.113.7');
    const before = createLocationSource(settings, { city: CITY });
    expect(before(request, address).country).toBe('CA');
    const after = createLocationSource(settings, {
      city: database('city', [['203.0.113.0/24', { country: { iso_code: 'PT' } }]]),
    });
    expect(after(request, address).country).toBe('PT');
    expect(before(request, address).country).toBe('CA');
  });
});

function database(kind: GeoDatabaseKind, networks: readonly (readonly [string, MmdbValue])[]): GeoDatabase {
  return opened(writeMmdb(networks, { databaseType: `Test-${kind}` }), kind);
}

function damaged(kind: GeoDatabaseKind): GeoDatabase {
  const bytes = writeMmdb([['203.0.113.0/24', { country: 'here' }]], { databaseType: `Test-${kind}` });
  // An extended type that does not exist.
  bytes.set([0, 0], bytes.indexOf('here') - 1);
  return opened(bytes, kind);
}

function opened(bytes: Uint8Array, kind: GeoDatabaseKind): GeoDatabase {
  const result = openGeoDatabase(bytes, kind);
  if ('code' in result) throw new Error(result.text);
  return result.value;
}
