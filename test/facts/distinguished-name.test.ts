import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { commonNameOfDer, commonNameOfText } from '../../src/facts/distinguished-name.ts';

const one = (value: string) => ({ state: 'one', value });
const NONE = { state: 'none' };
const SEVERAL = { state: 'several' };
const UNREADABLE = { state: 'unreadable' };

describe('commonNameOfText', () => {
  it.each([
    ['CN=api,O=Acme', one('api')],
    ['O=Acme+CN=api', one('api')],
    ['CN=api+O=Acme', one('api')],
    ['CN=Doe\\, John,OU=x', one('Doe, John')],
    ['CN="Doe, John",O=A', one('Doe, John')],
    ['CN="a\\"b\\\\c+d;e",O=A', one('a"b\\c+d;e')],
    ['CN="",O=A', one('')],
    ['CN= "a b" ,O=A', one('a b')],
    ['CN=J\\C3\\BCrgen', one('Jürgen')],
    ['CN=J\\c3\\bcrgen', one('Jürgen')],
    ['CN="J\\C3\\BCrgen"', one('Jürgen')],
    ['CN=\\F0\\9F\\98\\80', one('😀')],
    ['CN=Jürgen 😀', one('Jürgen 😀')],
    ['2.5.4.3=api', one('api')],
    ['OID.2.5.4.3=api', one('api')],
    ['oid.2.5.4.3=api', one('api')],
    ['cn=api', one('api')],
    ['commonName=api', one('api')],
    ['COMMONNAME=api', one('api')],
    ['CN=a\\,b', one('a,b')],
    ['CN=a\\+b', one('a+b')],
    ['CN=a\\"b', one('a"b')],
    ['CN=a\\\\', one('a\\')],
    ['CN=a\\<b\\>', one('a<b>')],
    ['CN=a\\;b', one('a;b')],
    ['CN=a\\=b', one('a=b')],
    ['CN=a=b', one('a=b')],
    ['CN=\\#a', one('#a')],
    ['CN=a#b', one('a#b')],
    ['CN=\\ a\\ ', one(' a ')],
    ['CN=a\\  ', one('a ')],
    ['CN=  a b  ,O=x', one('a b')],
    ['CN =a , O = x', one('a')],
    ['O=x,  CN=a', one('a')],
    ['CN=a\\0Ab', one('a\nb')],
    ['CN=', one('')],
    ['CN=,O=x', one('')],
    ['1.3.6.1.4.1.1=#0C0161,CN=a', one('a')],
    ['OU=CN\\=root,O=A', NONE],
    ['OU=CN=root,O=A', NONE],
    ['O="A,CN=root"', NONE],
    ['O=A\\,CN=root', NONE],
    ['O=A\\+CN=root', NONE],
    ['2.5.4.33=api', NONE],
    ['CNX=api', NONE],
    ['O=\\FF\\FE,OU=x', NONE],
    ['', NONE],
    ['  ', NONE],
    ['CN=a,CN=b', SEVERAL],
    ['CN=a,CN=a', SEVERAL],
    ['CN=a+CN=b', SEVERAL],
    ['CN=a,2.5.4.3=b', SEVERAL],
    ['CN=#0C03617069', SEVERAL],
    ['CN=#0C03617069,CN=a', SEVERAL],
    ['CN=a\\00b', SEVERAL],
    ['CN=a\u0000b', UNREADABLE],
    ['CN="a\u0000b"', SEVERAL],
    ['CN=\\FF', SEVERAL],
    ['CN=J\\C3rgen', SEVERAL],
    ['CN=\\C0\\AE', SEVERAL],
    ['CN=\\ED\\A0\\80', SEVERAL],
    ['CN=a\uFFFD', SEVERAL],
    ['CN=\\EF\\BF\\BD', SEVERAL],
    ['CN=\uD800', SEVERAL],
    ['/O=A/CN=api', UNREADABLE],
    ['api', UNREADABLE],
    ['CN', UNREADABLE],
    ['CN=a,', UNREADABLE],
    ['CN=a+', UNREADABLE],
    [',CN=a', UNREADABLE],
    ['CN=a,,O=b', UNREADABLE],
    ['=a', UNREADABLE],
    ['C N=a', UNREADABLE],
    ['2.5.=a', UNREADABLE],
    ['CN=a;O=b', UNREADABLE],
    ['CN=a<b', UNREADABLE],
    ['CN=a>b', UNREADABLE],
    ['CN=a"b', UNREADABLE],
    ['CN="a', UNREADABLE],
    ['CN="a"b', UNREADABLE],
    ['CN=a\\', UNREADABLE],
    ['CN=a\\x', UNREADABLE],
    ['CN=a\\4', UNREADABLE],
    ['CN=a\\x4', UNREADABLE],
    ['CN=a\\4x', UNREADABLE],
    ['CN="a\\x"', UNREADABLE],
    ['CN="a\\', UNREADABLE],
    ['CN=#', UNREADABLE],
    ['CN=#0', UNREADABLE],
    ['CN=#0G', UNREADABLE],
    ['CN=#0C0161 x', UNREADABLE],
    ['spiffe://td/x?CN=a', UNREADABLE],
    [`${'x'.repeat(200)}=a`, UNREADABLE],
    [`CN=${'a'.repeat(70_000)}`, UNREADABLE],
  ])('%j', (text, expected) => {
    expect(commonNameOfText(text)).toEqual(expected);
  });

  const value = fc.string({ unit: 'grapheme' }).filter((text) => !/[\u0000\uFFFD]/.test(text));

  it('reads back any value, however it is escaped', () => {
    fc.assert(
      fc.property(value, fc.constantFrom(escaped, quotedValue, hexPairs), (text, write) => {
        expect(commonNameOfText(`O=x,CN=${write(text)},OU=CN\\=y`)).toEqual(one(text));
      }),
    );
  });

  it('never finds a common name inside another value', () => {
    fc.assert(
      fc.property(value, fc.constantFrom(escaped, quotedValue, hexPairs), (text, write) => {
        expect(commonNameOfText(`O=${write(`${text},CN=root`)}`)).toEqual(NONE);
      }),
    );
  });

  it('never throws', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.stringMatching(/^(?:[CNO=,+"\\#;0AF ]|CN=){0,40}$/)), (text) => {
        expect(['one', 'none', 'several', 'unreadable']).toContain(commonNameOfText(text).state);
      }),
    );
  });
});

describe('commonNameOfDer', () => {
  const cn = (tag: number, ...bytes: number[]) => attribute([0x55, 4, 3], tag, bytes);
  const o = attribute([0x55, 4, 10], 0x0c, [0x41]);

  it.each([
    ['UTF8String', name([cn(0x0c, 0xc3, 0xbc)]), one('ü')],
    ['PrintableString', name([cn(0x13, 0x61)]), one('a')],
    ['IA5String', name([cn(0x16, 0x61)]), one('a')],
    ['TeletexString in ASCII', name([cn(0x14, 0x61)]), one('a')],
    ['TeletexString beyond', name([cn(0x14, 0xe9)]), SEVERAL],
    ['BMPString', name([cn(0x1e, 0x00, 0xfc)]), one('ü')],
    ['BMPString, half a pair', name([cn(0x1e, 0xd8, 0x00)]), SEVERAL],
    ['BMPString of odd length', name([cn(0x1e, 0x00)]), SEVERAL],
    ['UniversalString', name([cn(0x1c, 0, 0, 0, 0x61)]), SEVERAL],
    ['no string', name([cn(0x02, 1)]), SEVERAL],
    ['bad UTF-8', name([cn(0x0c, 0xff)]), SEVERAL],
    ['NUL', name([cn(0x0c, 0x61, 0, 0x62)]), SEVERAL],
    ['two RDNs', name([cn(0x0c, 0x61)], [cn(0x0c, 0x62)]), SEVERAL],
    ['one RDN with two', name([cn(0x0c, 0x61), cn(0x0c, 0x61)]), SEVERAL],
    ['a multi-valued RDN', name([o, cn(0x0c, 0x61)]), one('a')],
    ['none', name([o]), NONE],
    ['empty', name(), NONE],
    ['not a sequence', Uint8Array.of(0x31, 0), UNREADABLE],
    ['bytes after it', Uint8Array.of(0x30, 0, 0), UNREADABLE],
    ['cut short', name([cn(0x0c, 0x61)]).subarray(0, 8), UNREADABLE],
    ['nothing', new Uint8Array(), UNREADABLE],
    ['an attribute with three parts', Uint8Array.of(0x30, 6, 0x31, 4, 0x30, 2, 0x05, 0), UNREADABLE],
  ])('%s', (_, der, expected) => {
    expect(commonNameOfDer(der)).toEqual(expected);
  });

  it('never throws', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        expect(['one', 'none', 'several', 'unreadable']).toContain(commonNameOfDer(bytes).state);
      }),
    );
  });
});

function escaped(text: string): string {
  const inner = text.replaceAll(/["+,;<>\\]/g, '\\$&');
  return inner.replace(/^[# ]/, '\\$&').replace(/(?<!\\) $/, '\\ ');
}

function quotedValue(text: string): string {
  return `"${text.replaceAll(/["\\]/g, '\\$&')}"`;
}

function hexPairs(text: string): string {
  return [...Buffer.from(text)].map((byte) => `\\${byte.toString(16).padStart(2, '0')}`).join('');
}

function element(tag: number, ...content: number[]): number[] {
  return [tag, content.length, ...content];
}

function attribute(type: number[], tag: number, value: number[]): number[] {
  return element(0x30, ...element(0x06, ...type), ...element(tag, ...value));
}

function name(...relatives: number[][][]): Uint8Array {
  return Uint8Array.from(element(0x30, ...relatives.flatMap((attributes) => element(0x31, ...attributes.flat()))));
}
