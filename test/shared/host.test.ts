import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonicalHost } from '../../src/shared/host.ts';

const label63 = 'a'.repeat(63);

/** Authority, and the canonical host or A (ambiguous) or M (malformed). */
const rows: readonly (readonly [authority: string, expected: string])[] = [
  ['Orders.Example.COM:8443', 'orders.example.com'],
  ['orders.example.com.:443', 'orders.example.com'],
  ['orders.example.com.', 'orders.example.com'],
  ['localhost', 'localhost'],
  ['a_b.example.com', 'a_b.example.com'],
  ['xn--bcher-kva.example', 'xn--bcher-kva.example'],
  ['192.0.2.7:80', '192.0.2.7'],
  ['192.0.2.7', '192.0.2.7'],
  ['0.0.0.0', '0.0.0.0'],
  ['192.0.2.7.', '192.0.2.7'],
  ['[2001:DB8:0:0:0:0:0:1]:443', '[2001:db8::1]'],
  ['[::1]', '[::1]'],
  ['[::ffff:1.2.3.4]', '[::ffff:102:304]'],
  ['h:1', 'h'],
  ['h:65535', 'h'],
  ['h:00080', 'h'],
  ['1a.example', '1a.example'],
  ['7.example', '7.example'],
  ['example.1a', 'example.1a'],
  [label63, label63],
  [
    `${[label63, label63, label63, 'a'.repeat(61)].join('.')}`,
    `${[label63, label63, label63, 'a'.repeat(61)].join('.')}`,
  ],

  ['', 'M'],
  ['.', 'M'],
  [':80', 'M'],
  ['a..b', 'M'],
  ['.a', 'M'],
  ['example.com..', 'M'],
  ['user@example.com', 'M'],
  ['ex%61mple.com', 'M'],
  ['h/p', 'M'],
  ['a.example,b.example', 'M'],
  ['a b', 'M'],
  [' a', 'M'],
  ['bücher.example', 'M'],
  ['\u212Aelvin.example', 'M'],
  ['example.com:', 'M'],
  ['h:0', 'M'],
  ['h:65536', 'M'],
  ['h:99999', 'M'],
  ['h:000080', 'M'],
  ['h:8a', 'M'],
  ['h:+80', 'M'],
  ['h:80:80', 'M'],
  ['2001:db8::1', 'M'],
  ['[2001:db8::1', 'M'],
  ['[]', 'M'],
  ['[fe80::1%25eth0]', 'M'],
  ['[fe80::1%eth0]', 'M'],
  ['[::1]x', 'M'],
  ['[::1]:', 'M'],
  ['[::1]:0', 'M'],
  ['[1.2.3.4]', 'M'],
  ['[1:2]', 'M'],
  ['a[::1]', 'M'],
  [`${label63}a`, 'M'],
  [`${label63}a.example`, 'M'],
  [`${[label63, label63, label63, 'a'.repeat(62)].join('.')}`, 'M'],

  ['127.1', 'A'],
  ['2130706433', 'A'],
  ['0x7f.0.0.1', 'A'],
  ['0x7f', 'A'],
  ['0X7F', 'A'],
  ['1.2.3.0x4', 'A'],
  ['010.0.0.1', 'A'],
  ['1.2.3.04', 'A'],
  ['256.1.1.1', 'A'],
  ['1.2.3.4.5', 'A'],
  ['example.7', 'A'],
  ['1.2.3:80', 'A'],
];

describe('an authority', () => {
  it.each(rows)('%s is %s', (authority, expected) => {
    expect(short(canonicalHost(authority))).toBe(expected);
  });
});

describe('laws', () => {
  it('the canonical form of a canonical host is itself', () => {
    fc.assert(
      fc.property(authorities(), (text) => {
        const host = canonicalHost(text);
        fc.pre(typeof host === 'string');
        expect(canonicalHost(host)).toBe(host);
      }),
      { numRuns: 2000 },
    );
  });

  it('case, a port and one trailing dot make no difference', () => {
    fc.assert(
      fc.property(fc.domain(), fc.integer({ min: 1, max: 65_535 }), (domain, port) => {
        const host = canonicalHost(domain);
        expect(host).toBe(domain.toLowerCase());
        expect(canonicalHost(domain.toUpperCase())).toBe(host);
        expect(canonicalHost(`${domain}.`)).toBe(host);
        expect(canonicalHost(`${domain}:${port}`)).toBe(host);
        expect(canonicalHost(`${domain}.:${port}`)).toBe(host);
      }),
    );
  });

  it('the URL parser reads every canonical host as itself', () => {
    fc.assert(
      fc.property(authorities(), (text) => {
        const host = canonicalHost(text);
        fc.pre(typeof host === 'string' && !host.includes('xn--'));
        expect(new URL(`http://${host}/`).hostname).toBe(host);
      }),
      { numRuns: 2000 },
    );
  });

  it('IPv6 is written as the URL parser writes it', () => {
    fc.assert(
      fc.property(fc.ipV6(), (address) => {
        expect(canonicalHost(`[${address}]`)).toBe(new URL(`http://[${address}]/`).hostname);
      }),
    );
  });

  it('any text is either a host or refused', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        expect(short(canonicalHost(text))).toMatch(/^(?:[AM]|[a-z0-9._-]+|\[[0-9a-f:]+\])$/);
      }),
      { numRuns: 2000 },
    );
  });
});

function short(result: ReturnType<typeof canonicalHost>): string {
  if (typeof result === 'string') return result;
  return result.reason === 'request_ambiguous' ? 'A' : 'M';
}

function authorities(): fc.Arbitrary<string> {
  const piece = fc.oneof(
    { weight: 5, arbitrary: fc.constantFrom('a', 'B', 'example', '-', '_', '.', '.', '0', '7', '255', '0x', '10') },
    { weight: 1, arbitrary: fc.constantFrom(':80', ':', '[::1]', '[2001:DB8::A]', '@', '%', ' ', 'é', ',') },
  );
  return fc.array(piece, { minLength: 1, maxLength: 8 }).map((pieces) => pieces.join(''));
}
