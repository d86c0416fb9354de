import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { addressFromBytes, fourBytes, isPrivateAddress, parseAddress, sixBytes } from '../../src/shared/address.ts';

describe('parseAddress', () => {
  it.each([
    ['203.0.113.7', '203.0.113.7', 4],
    ['0.0.0.0', '0.0.0.0', 4],
    ['255.255.255.255', '255.255.255.255', 4],
    ['203.0.113.7:443', '203.0.113.7', 4],
    ['203.0.113.7:65535', '203.0.113.7', 4],
    ['::ffff:203.0.113.7', '203.0.113.7', 4],
    ['::FFFF:cb00:7107', '203.0.113.7', 4],
    ['0:0:0:0:0:ffff:cb00:7107', '203.0.113.7', 4],
    ['[::ffff:203.0.113.7]:443', '203.0.113.7', 4],
    ['::', '::', 6],
    ['::1', '::1', 6],
    ['2001:DB8:0:0:0:0:0:1', '2001:db8::1', 6],
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1', 6],
    ['1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0', 6],
    ['[2001:db8::1]', '2001:db8::1', 6],
    ['[2001:db8::1]:443', '2001:db8::1', 6],
    ['fe80::1%eth0', 'fe80::1', 6],
    ['[fe80::1%25eth0]:80', 'fe80::1', 6],
    // An IPv4-compatible address is not a mapped one (RFC 4291, 2.5.5).
    ['::1.2.3.4', '::102:304', 6],
    ['64:ff9b::1.2.3.4', '64:ff9b::102:304', 6],
    ['1:2:3:4:5:6:1.2.3.4', '1:2:3:4:5:6:102:304', 6],
  ])('%s is %s', (text, canonical, family) => {
    const address = parseAddress(text);
    expect(address?.text).toBe(canonical);
    expect(address?.family).toBe(family);
    expect(address?.bytes.length).toBe(family === 4 ? 4 : 16);
  });

  it.each([
    '',
    ' ',
    ' 203.0.113.7',
    '203.0.113.7 ',
    '203.0.113',
    '203.0.113.7.1',
    '203.0.113.256',
    '203.0.113.07',
    '0203.0.113.7',
    '00.0.0.0',
    '203.0.113.',
    '.203.0.113',
    '203..113.7',
    '203.0.113.-7',
    '203.0.113.+7',
    '0x7f.0.0.1',
    '127.1',
    '2130706433',
    '203.0.113.7:',
    '203.0.113.7:0',
    '203.0.113.7:65536',
    '203.0.113.7:4 3',
    '203.0.113.7:443:1',
    '203.0.113.7%eth0',
    '[203.0.113.7]',
    '[203.0.113.7]:80',
    '[2001:db8::1',
    '2001:db8::1]',
    '[2001:db8::1]443',
    '[2001:db8::1]:',
    '[2001:db8::1]:99999',
    '[[2001:db8::1]]',
    '2001:db8::1::',
    ':2001:db8::1',
    '2001:db8:::1',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '12345::',
    '::g',
    '::ffff:010.0.0.1',
    '::ffff:1.2.3',
    '::ffff:1.2.3.4.5',
    'fe80::1%',
    'fe80::1%a b',
    'unknown',
    '_hidden',
    'localhost',
    '/run/envoy.sock',
    '203.0.113.7\u0000',
    '２０３.0.113.7',
    `fe80::1%${'a'.repeat(200)}`,
  ])('%j is no address', (text) => {
    expect(parseAddress(text)).toBeUndefined();
  });

  it('is its own inverse on what it writes, and agrees with the bytes', () => {
    const bytes = fc.oneof(
      fc.uint8Array({ minLength: 4, maxLength: 4 }),
      fc.uint8Array({ minLength: 16, maxLength: 16 }),
      fc.uint8Array({ minLength: 4, maxLength: 4 }).map((tail) => Uint8Array.from([...MAPPED, ...tail])),
      fc.array(fc.constantFrom(0, 0, 0, 255), { minLength: 16, maxLength: 16 }).map((list) => Uint8Array.from(list)),
    );
    fc.assert(
      fc.property(bytes, (given) => {
        const address = addressFromBytes(given);
        expect(address).toBeDefined();
        const text = address?.text ?? '';
        expect(parseAddress(text)).toEqual(address);
        expect(parseAddress(address?.family === 6 ? `[${text}]:8443` : `${text}:8443`)).toEqual(address);
        // RFC 5952 is also how the URL standard writes hosts.
        if (address?.family === 6) expect(`[${text}]`).toBe(new URL(`http://[${text}]/`).hostname);
      }),
    );
  });

  it('never throws', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[0-9a-f:.%[\]]{0,60}$/)), (text) => {
        const address = parseAddress(text);
        if (address) expect(parseAddress(address.text)).toEqual(address);
        else expect(address).toBeUndefined();
      }),
    );
  });
});

describe('the bytes below it', () => {
  it('reads the two families apart', () => {
    expect(fourBytes('10.20.30.40')).toEqual(Uint8Array.of(10, 20, 30, 40));
    expect(fourBytes('::1')).toBeUndefined();
    expect(sixBytes('::ffff:10.20.30.40')).toEqual(Uint8Array.of(...MAPPED, 10, 20, 30, 40));
    expect(sixBytes('fe80::1%eth0')).toBeUndefined();
    expect(sixBytes('10.20.30.40')).toBeUndefined();
    expect(addressFromBytes(Uint8Array.of(1, 2, 3))).toBeUndefined();
  });
});

describe('isPrivateAddress', () => {
  it.each([
    ['10.0.0.0', true],
    ['10.255.255.255', true],
    ['11.0.0.0', false],
    ['172.15.255.255', false],
    ['172.16.0.0', true],
    ['172.31.255.255', true],
    ['172.32.0.0', false],
    ['192.167.255.255', false],
    ['192.168.0.0', true],
    ['192.169.0.0', false],
    ['127.0.0.1', true],
    ['127.255.255.255', true],
    ['169.254.0.1', true],
    ['169.255.0.1', false],
    ['100.63.255.255', false],
    ['100.64.0.0', true],
    ['100.127.255.255', true],
    ['100.128.0.0', false],
    ['203.0.113.7', false],
    ['::ffff:10.0.0.1', true],
    ['::ffff:203.0.113.7', false],
    ['::1', true],
    ['::', false],
    ['::2', false],
    ['fe80::1', true],
    ['febf::1', true],
    ['fec0::1', false],
    ['fc00::1', true],
    ['fdff::1', true],
    ['fe00::1', false],
    ['2001:db8::1', false],
  ])('%s: %s', (text, expected) => {
    const address = parseAddress(text);
    expect(address && isPrivateAddress(address)).toBe(expected);
  });
});

const MAPPED = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
