/** Geographic databases in the MaxMind DB format, version 2. The only place that knows the reader. */
import { Reader } from 'maxmind';
import type { CityResponse } from 'maxmind';
import type { Address } from '../model/address.ts';
import { quoted } from '../shared/shape.ts';
import type { Finding } from '../shared/shape.ts';

/** What a database is configured for: `geo.city_database`, `geo.asn_database`, `geo.anonymous_database`. */
export type GeoDatabaseKind = 'city' | 'asn' | 'anonymous';

/** An open database. It never changes: a new file is a new database of a new revision. */
export interface GeoDatabase {
  readonly kind: GeoDatabaseKind;
  /** As the file names itself, e.g. `GeoLite2-City`. */
  readonly databaseType: string;
  /** When it was built, milliseconds since the epoch. */
  readonly builtMs: number;
  /** What the database says of an address. Never throws: damage that is only met on the way is `failed`. */
  lookup(address: Address): GeoLookup;
}

export type GeoLookup =
  | { readonly state: 'none' | 'failed' }
  | { readonly state: 'found'; /** Plain data as the file has it. */ readonly record: unknown };

/** Opens a database from the bytes of its file, or says what is wrong with it (`database_invalid`): not this format,
 *  cut short, damaged where a few hundred addresses are looked up, or made for something else.
 *  Source: MaxMind DB File Format Specification 2.0. */
export function openGeoDatabase(bytes: Uint8Array, kind: GeoDatabaseKind): { readonly value: GeoDatabase } | Finding {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (buffer[0] === 0x1f && buffer[1] === 0x8b) return invalid('a compressed file', 'unpack it (gunzip)');
  let reader: Reader<CityResponse>;
  try {
    reader = new Reader<CityResponse>(buffer);
  } catch {
    return invalid(`${buffer.length} bytes of something else`, MEND);
  }
  const damage = damageOf(reader, buffer) ?? mismatchOf(reader.metadata.databaseType, kind);
  if (damage !== undefined) return damage;
  const database: GeoDatabase = Object.freeze({
    kind,
    databaseType: reader.metadata.databaseType,
    builtMs: reader.metadata.buildEpoch.getTime(),
    lookup: (address: Address) => look(reader, address),
  });
  if (PROBES.some((address) => database.lookup(address).state === 'failed'))
    return invalid('damaged data in one', MEND);
  return { value: database };
}

const MEND = 'download or build the database anew, in the MaxMind DB format';
const NONE: GeoLookup = Object.freeze({ state: 'none' });
const FAILED: GeoLookup = Object.freeze({ state: 'failed' });
/** Two per /8 of IPv4, and the like in 2000::/3. */
const PROBES: readonly Address[] = Array.from({ length: 256 }, (_, index): readonly Address[] => [
  { text: `${index}.1.2.3`, family: 4, bytes: Uint8Array.of(index, 1, 2, 3) },
  {
    text: `2${index.toString(16).padStart(3, '0')}::1`,
    family: 6,
    bytes: Uint8Array.of(0x20 | (index >> 8), index & 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1),
  },
]).flat();

function look(reader: Reader<CityResponse>, address: Address): GeoLookup {
  // The reader would take the first four bytes of an IPv6 address for an IPv4 address in a tree that knows only these.
  if (address.family === 6 && (reader.metadata.ipVersion === 4 || isInFourTree(address.bytes))) return NONE;
  try {
    const record: unknown = reader.get(address.text);
    return record === null || record === undefined ? NONE : { state: 'found', record };
  } catch {
    return FAILED;
  }
}

/** `::/96` is where the tree keeps IPv4. An IPv6 address there is not the IPv4 address of the same last bytes. */
function isInFourTree(bytes: Uint8Array): boolean {
  for (let at = 0; at < 12; at++) if (bytes[at] !== 0) return false;
  return true;
}

function damageOf(reader: Reader<CityResponse>, buffer: Buffer): Finding | undefined {
  const { metadata } = reader;
  if (metadata.binaryFormatMajorVersion !== 2)
    return invalid(`format version ${String(metadata.binaryFormatMajorVersion)}`, MEND);
  if (metadata.ipVersion !== 4 && metadata.ipVersion !== 6) return invalid('neither IPv4 nor IPv6 data', MEND);
  if (typeof metadata.databaseType !== 'string') return invalid('a database that does not name its type', MEND);
  const treeEnd = metadata.searchTreeSize;
  if (!Number.isInteger(metadata.nodeCount) || metadata.nodeCount < 1 || !(treeEnd + 16 <= buffer.length))
    return invalid('a file that was cut short', MEND);
  if (buffer.subarray(treeEnd, treeEnd + 16).some((byte) => byte !== 0))
    return invalid('a search tree of another size than the file says', MEND);
  return undefined;
}

/** A file named for another purpose, which would silently never answer. Names of a maker's own are let through. */
function mismatchOf(databaseType: string, kind: GeoDatabaseKind): Finding | undefined {
  const isOwn = TYPE_WORDS[kind].test(databaseType);
  const isOther = Object.values(TYPE_WORDS).some((words) => words.test(databaseType));
  return isOwn || !isOther
    ? undefined
    : {
        code: 'database_invalid',
        text: `expected a database for ${PURPOSES[kind]}, found one of type ${quoted(databaseType)}`,
        mend: `name it under the key for its type, and ${EXAMPLES[kind]} here`,
      };
}

const TYPE_WORDS: Readonly<Record<GeoDatabaseKind, RegExp>> = {
  city: /city|country|location|enterprise/i,
  asn: /asn|isp|enterprise/i,
  anonymous: /anonymous|proxy|vpn|privacy|tor\b/i,
};
const PURPOSES: Readonly<Record<GeoDatabaseKind, string>> = {
  city: 'countries and cities',
  asn: 'networks and their owners',
  anonymous: 'anonymous addresses',
};
const EXAMPLES: Readonly<Record<GeoDatabaseKind, string>> = {
  city: 'one such as GeoLite2-City',
  asn: 'one such as GeoLite2-ASN',
  anonymous: 'one such as GeoIP2-Anonymous-IP',
};

function invalid(found: string, mend: string): Finding {
  return { code: 'database_invalid', text: `expected a database in the MaxMind DB format, found ${found}`, mend };
}
