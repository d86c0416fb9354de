import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readXfcc } from '../../src/facts/xfcc.ts';
import type { XfccElement } from '../../src/facts/xfcc.ts';

const H = '0123456789abcdef'.repeat(4);
const NOTHING: XfccElement = {
  hash: undefined,
  certificate: undefined,
  chain: undefined,
  subject: undefined,
  uris: [],
  dnsNames: [],
};

describe('readXfcc', () => {
  it.each<[string, Partial<XfccElement>]>([
    [`By=spiffe://td/a;Hash=${H};Subject="";URI=spiffe://td/b`, { hash: H, subject: '', uris: ['spiffe://td/b'] }],
    [
      `Hash=${H};Subject="CN=ann,O=Acme\\, Inc.";DNS=a.example;DNS=b.example`,
      { hash: H, subject: 'CN=ann,O=Acme\\, Inc.', dnsNames: ['a.example', 'b.example'] },
    ],
    [`Hash=${H};URI=https://x/?a=b`, { hash: H, uris: ['https://x/?a=b'] }],
    [`Hash=${H};URI=`, { hash: H }],
    [`Hash=${H},By=spiffe://gw;Hash=${H};URI=spiffe://td/last`, { hash: H, uris: ['spiffe://td/last'] }],
    [`By=spiffe://gw,Hash=${H}`, { hash: H }],
    [`Hash=${H};Subject="CN=a\\"b"`, { hash: H, subject: 'CN=a\\"b' }],
    [`Hash=${H};Subject="CN=a\\\\";URI=spiffe://x`, { hash: H, subject: 'CN=a\\\\', uris: ['spiffe://x'] }],
    [`Hash=${H};Subject="CN=a,URI=spiffe://evil"`, { hash: H, subject: 'CN=a,URI=spiffe://evil' }],
    [`hash=${H};SUBJECT=CN=a`, { hash: H, subject: 'CN=a' }],
    [` Hash=${H} ; URI=spiffe://x`, { hash: H, uris: ['spiffe://x'] }],
    [`Hash=${H}\t,\tHash=${H}\t;\tDNS=a.example\t`, { hash: H, dnsNames: ['a.example'] }],
    [`Hash=${H};Issuer="CN=ca";Future=1`, { hash: H }],
    [`Hash=${H};Future=1;Future=2;By=a;By=b`, { hash: H }],
    [`Hash=${H};URI="spiffe://td/a\\"\\\\;b"`, { hash: H, uris: ['spiffe://td/a"\\;b'] }],
    [`Hash=${H};URI=a\\b`, { hash: H, uris: ['a\\b'] }],
    [`Hash=${H};Cert="-----BEGIN%20X%2B+%0A"`, { hash: H, certificate: '-----BEGIN X++\n' }],
    [`Cert="a";Chain="b%0A"`, { certificate: 'a', chain: 'b\n' }],
    ['URI=spiffe://td/a', { uris: ['spiffe://td/a'] }],
    ['DNS=a.example', { dnsNames: ['a.example'] }],
    ['Subject="CN=a"', { subject: 'CN=a' }],
  ])('%s', (header, expected) => {
    expect(readXfcc(header)).toEqual({ state: 'present', element: { ...NOTHING, ...expected } });
  });

  it.each([
    'By=spiffe://gw',
    'Foo=1',
    '',
    ' ',
    'Hash=',
    'Subject=""',
    'URI=;DNS=',
    `Hash=${H};Hash=${H}`,
    `Hash=;Hash=${H}`,
    `hash=${H};HASH=${H}`,
    `Hash=${H};Issuer=a;Issuer=b`,
    `Hash=${H};Hash=${H},Hash=${H}`,
    `Hash=${H};Subject="CN=a`,
    `Hash=${H};Subject="CN=a\\"`,
    `Hash=${H};Subject="CN=a"x`,
    `Hash=${H};Subject="CN=a" x`,
    `Hash=${H};Subject="CN=a""b"`,
    `Hash=${H};URI=a"b`,
    `Hash=${H};URI= "a"`,
    `Hash=${H};;URI=x`,
    `Hash=${H};`,
    `Hash=${H},`,
    `,Hash=${H}`,
    `Hash=${H},,Hash=${H}`,
    '=x',
    'Hash',
    `Hash =${H}`,
    `Ha-sh=${H}`,
    `${'a'.repeat(65)}=x;Hash=${H}`,
    `Hash=${H};URI=spiffe://a;b`,
    `Hash=${H};URI=spiffe://a,b`,
    `Hash=${H};Cert="%zz"`,
    `Hash=${H};Cert="%4"`,
    `Hash=${H};Cert="%FF"`,
    `Hash=${H};Chain="%"`,
    `Hash=${H};Cert="%zz",Hash=${H}`,
    `[{"Hash":"${H}"}]`,
    `{"Hash":"${H}"}`,
    `[{"Hash":"${H}"}],Hash=${H}`,
    `Hash=${H};URI=a\u0001b`,
    `Hash=${H};URI=a\nb`,
    `Hash=${H};Subject="CN=\u0000"`,
    `Hash=${H};URI=a\u007fb`,
    `Hash=${H};URI=\uFFFD`,
    `Hash=${H};Subject="CN=Jürgen"`,
    `Hash=${H};URI=${'a'.repeat(65_536)}`,
  ])('%j is unreadable as a whole', (header) => {
    expect(readXfcc(header).state).toBe('unreadable');
  });

  it('reads a header of the greatest length', () => {
    const header = `Hash=${H};URI=${'a'.repeat(65_536)}`.slice(0, 65_536);
    expect(readXfcc(header).state).toBe('present');
  });

  const plain = fc.stringMatching(/^[!#-+\-./0-9:<-~]{0,20}$/);
  const key = fc.constantFrom('By', 'URI', 'DNS', 'Hash', 'Cert', 'Chain', 'Subject', 'Issuer', 'Future');
  const pair = fc.record({ key, value: plain, quoted: fc.boolean() });
  const blank = fc.constantFrom('', ' ', '\t', '  ');

  it('is the last element, whatever comes before it', () => {
    fc.assert(
      fc.property(
        fc.array(fc.uniqueArray(pair, { minLength: 1, selector: (p) => p.key }), { maxLength: 4 }),
        blank,
        (before, gap) => {
          const last = `Hash=${H};URI=spiffe://td/last`;
          const header = [...before.map((pairs) => pairs.map(written).join(`${gap};${gap}`)), last].join(
            `${gap},${gap}`,
          );
          const reading = readXfcc(header);
          if (before.flat().some((p) => /^(?:Cert|Chain)$/.test(p.key) && p.value.includes('%'))) {
            expect(['present', 'unreadable']).toContain(reading.state);
          } else {
            expect(reading).toEqual({
              state: 'present',
              element: { ...NOTHING, hash: H, uris: ['spiffe://td/last'] },
            });
          }
        },
      ),
    );
  });

  it('never throws, and a broken element anywhere spoils the whole', () => {
    const broken = fc.constantFrom('', '=x', 'Hash', 'URI="a', 'URI=a"b', `Hash=${H};Hash=${H}`, `Hash=${H};;URI=x`);
    fc.assert(
      fc.property(
        fc.array(fc.constant<string>(`Hash=${H}`), { maxLength: 3 }),
        broken,
        fc.nat(3),
        (good, bad, place) => {
          const elements = good.toSpliced(Math.min(place, good.length), 0, bad);
          expect(readXfcc(elements.join(',')).state).toBe('unreadable');
        },
      ),
    );
    fc.assert(
      fc.property(
        fc.oneof(fc.string(), fc.stringMatching(/^(?:[,;="\\ %a]|Hash=|URI=|Subject=|Cert=){0,40}$/)),
        (text) => {
          expect(['present', 'unreadable']).toContain(readXfcc(text).state);
        },
      ),
    );
  });
});

function written({ key, value, quoted }: { key: string; value: string; quoted: boolean }): string {
  return quoted ? `${key}="${value.replaceAll('\\', '\\\\')}"` : `${key}=${value}`;
}
