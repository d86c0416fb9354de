import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Address } from '../../src/model/address.ts';
import { addressFromBytes, parseAddress } from '../../src/shared/address.ts';
import { cidrsOf, ipListItemFinding, isWithin, parseCidr, prefixTable } from '../../src/shared/cidr.ts';
import type { Cidr } from '../../src/shared/cidr.ts';

describe('a block is read', () => {
  it.each([
    ['203.0.113.0/24', '203.0.113.0/24'],
    ['203.0.113.7', '203.0.113.7/32'],
    ['2001:db8::1', '2001:db8::1/128'],
    ['0.0.0.0/0', '0.0.0.0/0'],
    ['::/0', '::/0'],
    ['192.168.100.77/24', '192.168.100.0/24'],
    ['10.255.255.255/9', '10.128.0.0/9'],
    ['203.0.113.7/31', '203.0.113.6/31'],
    ['2001:DB8:0:0::FFFF/33', '2001:db8::/33'],
    ['2001:db8:8000::/33', '2001:db8:8000::/33'],
    ['::ffff:203.0.113.9', '203.0.113.9/32'],
    ['::ffff:203.0.113.9/120', '203.0.113.0/24'],
    ['::ffff:cb00:7109/104', '203.0.0.0/8'],
    ['::ffff:0:0/96', '0.0.0.0/0'],
    ['::203.0.113.9', '::cb00:7109/128'],
    ['64:ff9b::192.0.2.1/96', '64:ff9b::/96'],
  ])('%s as %s', (written, text) => {
    expect(parseCidr(written)).toEqual({ value: expect.objectContaining({ text }) });
  });

  it('masks host bits off', () => {
    expect(read('203.0.113.7/20')).toMatchObject({ family: 4, prefix: 20, bytes: Uint8Array.of(203, 0, 112, 0) });
  });
});

describe('no block is', () => {
  it.each([
    ['office', /write an address or a block/],
    ['', /write an address or a block/],
    ['/24', /write an address or a block/],
    ['203.0.113.0/', /from \/0 to \/32/],
    ['203.0.113.0/24/8', /from \/0 to \/32/],
    ['203.0.113.0/-1', /from \/0 to \/32/],
    ['203.0.113.0/+8', /from \/0 to \/32/],
    ['203.0.113.0/ 8', /from \/0 to \/32/],
    ['203.0.113.0/255.255.255.0', /from \/0 to \/32/],
    ['203.0.113.0/33', /at most \/32/],
    ['2001:db8::/129', /at most \/128/],
    ['203.0.113.0/08', /"203\.0\.113\.0\/8"/],
    ['010.0.0.1', /write 10\.0\.0\.1/],
    ['10.00.0.1/8', /write 10\.0\.0\.1/],
    ['::ffff:010.0.0.1', /write 10\.0\.0\.1/],
    ['10.0.1', /all four numbers/],
    ['167772161', /all four numbers/],
    ['0x0a000001', /write an address or a block/],
    ['10.0.0.256', /at most 255/],
    ['10.0.0.1.5', /all four numbers/],
    ['fe80::1%eth0', /write "fe80::1"/],
    ['fe80::%1/64', /write "fe80::"/],
    ['203.0.113.7:443', /write an address or a block/],
    ['[2001:db8::1]', /write an address or a block/],
    ['2001:db8:::1', /write an address or a block/],
    ['2001:db8::g', /write an address or a block/],
    ['::ffff:203.0.113.9/64', /write the IPv4 block itself/],
    ['::ffff:203.0.113.9/95', /write the IPv4 block itself/],
    ['203.0.113.1-203.0.113.9', /write an address or a block/],
    ['２０３.0.113.7', /write an address or a block/],
  ])('%j', (written, mend) => {
    expect(parseCidr(written)).toEqual(
      expect.objectContaining({ code: 'cidr_invalid', mend: expect.stringMatching(mend) }),
    );
    expect(ipListItemFinding(written)).toEqual(parseCidr(written));
  });
});

describe('an item of a list', () => {
  it('that is right has no finding', () => {
    expect(ipListItemFinding('10.0.0.0/8')).toBeUndefined();
  });

  it('that is wrong is left out', () => {
    expect(cidrsOf([{ value: '10.0.0.0/8' }, { value: 'x' }]).map((cidr) => cidr.text)).toEqual(['10.0.0.0/8']);
  });
});

describe('within', () => {
  it.each([
    ['10.1.0.0/16', '10.0.0.0/8', true],
    ['10.0.0.0/8', '10.1.0.0/16', false],
    ['10.0.0.0/8', '10.0.0.0/8', true],
    ['10.0.0.0/8', '::/0', false],
    ['::/0', '0.0.0.0/0', false],
    ['2001:db8:8000::/34', '2001:db8:8000::/33', true],
    ['2001:db8::/34', '2001:db8:8000::/33', false],
  ])('%s in %s: %s', (inner, outer, within) => {
    expect(isWithin(read(inner), read(outer))).toBe(within);
  });
});

/** Addresses and blocks near each other, so that they often meet: high bits from a few, low bits from anywhere. */
const bytesOf = (family: 4 | 6): fc.Arbitrary<Uint8Array> =>
  fc
    .tuple(
      fc.array(fc.constantFrom<number>(0, 1, 127, 128, 255), {
        minLength: family === 4 ? 4 : 16,
        maxLength: family === 4 ? 4 : 16,
      }),
      fc.integer({ min: 0, max: 255 }),
      fc.nat({ max: family === 4 ? 3 : 15 }),
    )
    .map(([all, odd, at]) => Uint8Array.from(all.with(at, odd)));
const address = fc.constantFrom<4 | 6>(4, 6).chain(bytesOf).map(addressOf);
const block = fc
  .tuple(address, fc.nat({ max: 128 }))
  .map(([of, bits]) => read(`${of.text}/${of.family === 4 ? bits % 33 : bits}`));

describe('a table', () => {
  it('finds what looking at every block finds', () => {
    fc.assert(
      fc.property(
        fc.array(block, { maxLength: 40 }),
        fc.array(address, { minLength: 1, maxLength: 40 }),
        (blocks, addresses) => {
          const table = prefixTable(blocks);
          for (const one of addresses) expect(table.has(one), one.text).toBe(blocks.some((cidr) => holds(cidr, one)));
        },
      ),
      { numRuns: 500 },
    );
  });

  it('finds the first and the last address of every block, and neither neighbour that is in none', () => {
    fc.assert(
      fc.property(fc.array(block, { minLength: 1, maxLength: 20 }), (blocks) => {
        const table = prefixTable(blocks);
        for (const cidr of blocks)
          for (const edge of edgesOf(cidr))
            expect(table.has(edge), edge.text).toBe(blocks.some((one) => holds(one, edge)));
      }),
      { numRuns: 500 },
    );
  });

  it('takes them in any order, and twice', () => {
    fc.assert(
      fc.property(fc.array(block, { maxLength: 20 }), address, (blocks, one) => {
        const found = prefixTable(blocks).has(one);
        expect(prefixTable(blocks.toReversed()).has(one)).toBe(found);
        expect(prefixTable([...blocks, ...blocks])).toMatchObject({ size: prefixTable(blocks).size });
      }),
    );
  });

  it('keeps no block inside another', () => {
    const blocks = ['10.0.0.0/8', '10.0.0.0/16', '10.1.0.0/16', '10.1.2.3', '11.0.0.0/8', '::/0', '::1'].map(read);
    expect(prefixTable(blocks).size).toBe(3);
    expect(prefixTable(blocks.toReversed()).size).toBe(3);
  });

  it('of nothing holds nothing', () => {
    const table = prefixTable([]);
    expect(table.has(addressOf(Uint8Array.of(0, 0, 0, 0)))).toBe(false);
    expect(table.has(addressOf(new Uint8Array(16)))).toBe(false);
  });

  it('of one family holds nothing of the other', () => {
    expect(prefixTable([read('0.0.0.0/0')]).has(parsed('::1'))).toBe(false);
    expect(prefixTable([read('::/0')]).has(parsed('203.0.113.7'))).toBe(false);
    expect(prefixTable([read('::/0')]).has(parsed('::ffff:203.0.113.7'))).toBe(false);
  });

  it('holds the highest addresses', () => {
    const table = prefixTable(['255.255.255.255', 'ffff::/16', '0.0.0.0'].map(read));
    expect(table.has(parsed('255.255.255.255'))).toBe(true);
    expect(table.has(parsed('255.255.255.254'))).toBe(false);
    expect(table.has(parsed('ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'))).toBe(true);
    expect(table.has(parsed('fffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff'))).toBe(false);
  });

  it('of ten thousand blocks is right about each, and about the gaps', () => {
    const table = prefixTable(Array.from({ length: 10_000 }, (_, n) => read(`10.${n >> 8}.${n & 255}.128/25`)));
    expect(table.size).toBe(10_000);
    for (let n = 0; n < 10_000; n += 1) {
      expect(table.has(addressOf(Uint8Array.of(10, n >> 8, n & 255, 200)))).toBe(true);
      expect(table.has(addressOf(Uint8Array.of(10, n >> 8, n & 255, 100)))).toBe(false);
    }
  });
});

function read(written: string): Cidr {
  const result = parseCidr(written);
  if (!('value' in result)) throw new Error(result.text);
  return result.value;
}

function parsed(text: string): Address {
  const one = parseAddress(text);
  if (!one) throw new Error(text);
  return one;
}

function addressOf(bytes: Uint8Array): Address {
  const one = addressFromBytes(bytes);
  if (!one) throw new Error('no address');
  return one;
}

/** Bit by bit: slow and plain. */
function holds(cidr: Cidr, one: Address): boolean {
  return cidr.family === one.family && bitsOf(one.bytes).startsWith(bitsOf(cidr.bytes).slice(0, cidr.prefix));
}

function bitsOf(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(2).padStart(8, '0')).join('');
}

/** The first and last address of a block, and those before and after. */
function edgesOf(cidr: Cidr): readonly Address[] {
  const width = BigInt(cidr.bytes.length * 8);
  const first = BigInt(`0b${bitsOf(cidr.bytes)}`);
  const last = first + (1n << (width - BigInt(cidr.prefix))) - 1n;
  return [first - 1n, first, last, last + 1n]
    .filter((number) => number >= 0n && number < 1n << width)
    .map((number) => {
      const hex = number.toString(16).padStart(cidr.bytes.length * 2, '0');
      return addressOf(Uint8Array.from(Buffer.from(hex, 'hex')));
    });
}
