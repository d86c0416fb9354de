import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { clientAddress } from '../../src/facts/client-address.ts';
import type { ClientAddressSettings } from '../../src/facts/client-address.ts';
import { connectionRequest } from './connection-request.ts';

const ENVOY: ClientAddressSettings = { from: 'envoy', trusted_hops: 0 };
const forwarded = (hops: number): ClientAddressSettings => ({ from: 'forwarded', trusted_hops: hops });

function client(
  settings: ClientAddressSettings,
  forwardedFor: string | readonly string[] | undefined,
  sourceAddress: string,
): string | undefined {
  const headers = forwardedFor === undefined ? {} : { 'x-forwarded-for': forwardedFor };
  return clientAddress(connectionRequest({ headers, sourceAddress }), settings)?.text;
}

describe('clientAddress', () => {
  it.each<[ClientAddressSettings, string | readonly string[] | undefined, string, string | undefined]>([
    [ENVOY, '198.51.100.1', '203.0.113.7', '203.0.113.7'],
    [ENVOY, undefined, '::ffff:203.0.113.7', '203.0.113.7'],
    [ENVOY, '198.51.100.1', '', undefined],
    [ENVOY, '198.51.100.1', '/run/envoy.sock', undefined],
    [forwarded(0), '6.6.6.6, 203.0.113.7', '10.0.0.1', '203.0.113.7'],
    [forwarded(1), '6.6.6.6, 203.0.113.7, 10.0.0.1', '10.0.0.1', '203.0.113.7'],
    [forwarded(1), '203.0.113.7', '10.0.0.1', undefined],
    [forwarded(1), '203.0.113.7, bad', '10.0.0.1', undefined],
    [forwarded(0), '[2001:db8::1]:443', '10.0.0.1', '2001:db8::1'],
    [forwarded(0), '203.0.113.7:5000', '10.0.0.1', '203.0.113.7'],
    [forwarded(0), '::ffff:203.0.113.7', '10.0.0.1', '203.0.113.7'],
    [forwarded(0), undefined, '10.0.0.1', undefined],
    [forwarded(0), '', '10.0.0.1', undefined],
    [forwarded(0), '203.0.113.7,', '10.0.0.1', undefined],
    [forwarded(0), ',203.0.113.7', '10.0.0.1', '203.0.113.7'],
    [forwarded(0), 'unknown', '10.0.0.1', undefined],
    [forwarded(0), '203.0.113.07', '10.0.0.1', undefined],
    [forwarded(0), '203.0.113.7\u00a0', '10.0.0.1', undefined],
    [forwarded(0), '\t 203.0.113.7 \t', '10.0.0.1', '203.0.113.7'],
    [forwarded(1), 'bad, 203.0.113.7,10.0.0.1', '10.0.0.1', '203.0.113.7'],
    [forwarded(1), 'bad,10.0.0.1', '10.0.0.1', undefined],
    [forwarded(1), ',10.0.0.1', '10.0.0.1', undefined],
    [forwarded(2), '203.0.113.7, , 10.0.0.1', '10.0.0.1', undefined],
    [forwarded(3), '203.0.113.7, 10.0.0.1', '10.0.0.1', undefined],
    [forwarded(1), ['6.6.6.6', '203.0.113.7', '10.0.0.1'], '10.0.0.1', '203.0.113.7'],
    [forwarded(1), ['6.6.6.6, 203.0.113.7', '10.0.0.1'], '10.0.0.1', '203.0.113.7'],
    [forwarded(2), ['203.0.113.7, 10.0.0.2', '10.0.0.1'], '10.0.0.1', '203.0.113.7'],
    [forwarded(1), ['203.0.113.7', ''], '10.0.0.1', undefined],
    [forwarded(0), [], '10.0.0.1', undefined],
  ])('%j, x-forwarded-for %j, source %s: %s', (settings, forwardedFor, source, expected) => {
    expect(client(settings, forwardedFor, source)).toBe(expected);
  });

  it('cannot be moved by what the client puts before the proxies’ entries', () => {
    const entry = fc.oneof(fc.ipV4(), fc.ipV6(), fc.string());
    fc.assert(
      fc.property(fc.array(entry), fc.array(fc.ipV4(), { maxLength: 4 }), (before, hops) => {
        const list = [...before, '203.0.113.7', ...hops].join(', ');
        expect(client(forwarded(hops.length), list, '10.0.0.1')).toBe('203.0.113.7');
      }),
    );
  });

  it('is the same however the entries are spread over headers', () => {
    const entries = fc.array(fc.oneof(fc.ipV4(), fc.constantFrom('', 'bad', ' ')), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(entries, fc.nat(6), fc.nat(4), (list, cut, hops) => {
        const whole = client(forwarded(hops), list.join(','), '');
        const parts = [list.slice(0, cut), list.slice(cut)].filter((part) => part.length > 0);
        expect(
          client(
            forwarded(hops),
            parts.map((part) => part.join(',')),
            '',
          ),
        ).toBe(whole);
      }),
    );
  });
});
