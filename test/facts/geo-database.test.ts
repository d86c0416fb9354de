import { gzipSync } from 'node:zlib';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { openGeoDatabase } from '../../src/facts/geo-database.ts';
import type { GeoDatabase, GeoDatabaseKind, GeoLookup } from '../../src/facts/geo-database.ts';
import { addressFromBytes, parseAddress } from '../../src/shared/address.ts';
import { METADATA_MARK, writeMmdb } from '../fixtures/mmdb-writer.ts';
import type { MmdbOptions } from '../fixtures/mmdb-writer.ts';

const NETWORKS = [
  ['198.51.100.0/24', { n: 'whole' }],
  ['198.51.100.128/25', { n: 'half' }],
  ['198.51.100.200', { n: 'one' }],
  ['2001:db8::/32', { n: 'six', long: 'x'.repeat(300), list: [1, 2.5, true], nested: { a: { b: 'c' } } }],
] as const;

function open(bytes: Uint8Array, kind: GeoDatabaseKind = 'city'): GeoDatabase {
  const opened = openGeoDatabase(bytes, kind);
  if ('code' in opened) throw new Error(opened.text);
  return opened.value;
}

function look(database: GeoDatabase, text: string): GeoLookup {
  const address = parseAddress(text);
  if (address === undefined) throw new Error(`no address: ${text}`);
  return database.lookup(address);
}

function found(database: GeoDatabase, text: string): unknown {
  const lookup = look(database, text);
  return lookup.state === 'found' ? (lookup.record as { n: string }).n : lookup.state;
}

describe('lookup', () => {
  describe.each<MmdbOptions>([{ recordSize: 24 }, { recordSize: 28 }, { recordSize: 32 }])('with %j', (options) => {
    const database = open(writeMmdb(NETWORKS, options));

    it.each([
      ['198.51.100.0', 'whole'],
      ['198.51.100.127', 'whole'],
      ['198.51.100.128', 'half'],
      ['198.51.100.200', 'one'],
      ['198.51.100.201', 'half'],
      ['::ffff:198.51.100.201', 'half'],
      ['198.51.99.255', 'none'],
      ['198.51.101.0', 'none'],
      ['2001:db8:ffff::1', 'six'],
      ['2001:db9::', 'none'],
      // Not an IPv4 address, although the tree keeps IPv4 there.
      ['::198.51.100.200', 'none'],
      ['::', 'none'],
    ])('%s: %s', (text, expected) => {
      expect(found(database, text)).toBe(expected);
    });
  });

  it('gives the record as plain data', () => {
    const database = open(writeMmdb(NETWORKS));
    expect(look(database, '2001:db8::1')).toEqual({ state: 'found', record: NETWORKS[3][1] });
  });

  it('does not take the first bytes of an IPv6 address for IPv4', () => {
    const database = open(writeMmdb([['32.1.13.184/29', { n: 'four' }]], { ipVersion: 4 }));
    expect(found(database, '32.1.13.184')).toBe('four');
    expect(found(database, '2001:db8::1')).toBe('none');
  });

  it('agrees with a plain search for the longest prefix', () => {
    const byte = fc.nat(255);
    const network = fc.tuple(fc.tuple(byte, byte), fc.integer({ min: 1, max: 16 }));
    fc.assert(
      fc.property(fc.array(network, { minLength: 1, maxLength: 8 }), fc.tuple(byte, byte), (given, [a, b]) => {
        const networks = given
          .map(([[c, d], prefix], index) => ({ bits: ((c << 8) | d) >> (16 - prefix), prefix, c, d, index }))
          .toSorted((x, y) => x.prefix - y.prefix);
        const database = open(
          writeMmdb(networks.map(({ c, d, prefix, index }) => [`${c}.${d}.0.0/${prefix}`, { n: String(index) }])),
        );
        const match = networks.findLast(({ bits, prefix }) => ((a << 8) | b) >> (16 - prefix) === bits);
        expect(found(database, `${a}.${b}.7.7`)).toBe(match === undefined ? 'none' : String(match.index));
      }),
      { numRuns: 50 },
    );
  });

  it('names itself', () => {
    const database = open(writeMmdb(NETWORKS, { databaseType: 'Our-City', builtMs: 1_600_000_000_000 }));
    expect(database).toMatchObject({ kind: 'city', databaseType: 'Our-City', builtMs: 1_600_000_000_000 });
  });

  it('never throws, whatever is broken', () => {
    const whole = writeMmdb(NETWORKS);
    const addresses = ['198.51.100.200', '2001:db8::1', '203.0.113.7'].map((text) => parseAddress(text));
    fc.assert(
      fc.property(fc.nat(whole.length - 1), fc.nat(255), (place, byte) => {
        const changed = Buffer.from(whole);
        changed[place] = byte;
        const opened = openGeoDatabase(changed, 'city');
        if ('code' in opened) {
          expect(opened.code).toBe('database_invalid');
          return;
        }
        for (const address of addresses) {
          if (address) expect(['found', 'none', 'failed']).toContain(opened.value.lookup(address).state);
        }
      }),
    );
  });

  it('says that it failed where damage is met on the way', () => {
    const bytes = writeMmdb([['198.51.100.77', { n: 'here' }]]);
    const record = bytes.indexOf('here') - 1;
    // An extended type that does not exist.
    bytes.set([0, 0], record);
    expect(look(open(bytes), '198.51.100.77').state).toBe('failed');
    expect(look(open(bytes), '198.51.100.78').state).toBe('none');
  });
});

describe('openGeoDatabase finds fault with', () => {
  const whole = writeMmdb(NETWORKS);

  it.each<[string, Uint8Array, RegExp]>([
    ['nothing', new Uint8Array(), /found 0 bytes/],
    ['text', Buffer.from('hello'), /found 5 bytes/],
    ['a compressed file', gzipSync(whole), /compressed/],
    ['a file without its end', whole.subarray(0, whole.lastIndexOf(METADATA_MARK)), /something else/],
    ['a file without its start', whole.subarray(50), /another size/],
    ['metadata alone', whole.subarray(whole.lastIndexOf(METADATA_MARK)), /cut short/],
    ['another version', edited(whole, 'binary_format_major_version', 3), /version 3/],
    ['another IP version', edited(whole, 'ip_version', 5), /neither IPv4 nor IPv6/],
    ['another record size', edited(whole, 'record_size', 20), /something else/],
    ['no nodes', edited(whole, 'node_count', 0), /cut short/],
    ['more nodes', edited(whole, 'node_count', 200), /another size|cut short/],
  ])('%s', (_, bytes, text) => {
    const opened = openGeoDatabase(bytes, 'city');
    expect(opened).toMatchObject({ code: 'database_invalid' });
    expect('code' in opened && opened.text).toMatch(text);
    expect('code' in opened && opened.mend).not.toBe('');
  });

  it('data that is damaged where it is tried', () => {
    const bytes = writeMmdb([['0.0.0.0/1', { n: 'here' }]]);
    bytes.set([0, 0], bytes.indexOf('here') - 1);
    expect(openGeoDatabase(bytes, 'city')).toMatchObject({ code: 'database_invalid' });
  });

  it.each<[GeoDatabaseKind, string, boolean]>([
    ['city', 'GeoLite2-City', true],
    ['city', 'GeoLite2-Country', true],
    ['city', 'GeoIP2-Enterprise', true],
    ['city', 'DBIP-Location-ISP (compat=Enterprise)', true],
    ['city', 'Ours', true],
    ['city', 'GeoLite2-ASN', false],
    ['city', 'GeoIP2-Anonymous-IP', false],
    ['asn', 'GeoLite2-ASN', true],
    ['asn', 'GeoIP2-ISP', true],
    ['asn', 'GeoLite2-City', false],
    ['anonymous', 'GeoIP2-Anonymous-IP', true],
    ['anonymous', 'Ours', true],
    ['anonymous', 'GeoLite2-ASN', false],
  ])('as %s database: %s: %s', (kind, databaseType, isRight) => {
    const opened = openGeoDatabase(writeMmdb(NETWORKS, { databaseType }), kind);
    expect('value' in opened).toBe(isRight);
    if ('code' in opened) expect(opened.text).toContain(databaseType);
  });

  it('reads a file that lies inside a larger buffer', () => {
    const larger = Buffer.concat([Buffer.alloc(7), whole, Buffer.alloc(9)]);
    const database = open(larger.subarray(7, 7 + whole.length));
    const address = addressFromBytes(Uint8Array.of(198, 51, 100, 200));
    expect(address && database.lookup(address)).toMatchObject({ state: 'found' });
  });
});

/** With another value of a number in the metadata. */
function edited(bytes: Buffer, key: string, value: number): Buffer {
  const changed = Buffer.from(bytes);
  const place = changed.lastIndexOf(key) + key.length + 1;
  changed.writeUInt32BE(value, place);
  return changed;
}
