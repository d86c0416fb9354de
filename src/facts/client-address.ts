import type { Address } from '../model/address.ts';
import type { RequestFacts } from '../model/request.ts';
import { parseAddress } from '../shared/address.ts';

/** `client_address` of the settings: whose address counts as the client's. */
export interface ClientAddressSettings {
  /** `envoy`: `source.address` of the CheckRequest, the remote address of the connection. `forwarded`: an entry of
   *  `x-forwarded-for`. */
  readonly from: 'envoy' | 'forwarded';
  /** `forwarded` only: how many entries, from the right, are our own proxies. */
  readonly trusted_hops: number;
}

/** The client's address; undefined: unknown. An unknown address is never replaced by another source.
 *  In `forwarded` mode the entries of all `x-forwarded-for` headers count as one list; every entry from the right up to
 *  and including the client's must be an address, otherwise the proxies did not write them and the count means nothing.
 *  Source: Envoy's `attributes.source.address`; Envoy docs, x-forwarded-for. */
export function clientAddress(request: RequestFacts, settings: ClientAddressSettings): Address | undefined {
  return settings.from === 'envoy'
    ? request.sourceAddress
    : forwardedAddress(request.headers.all('x-forwarded-for'), settings.trusted_hops);
}

function forwardedAddress(values: readonly string[], trustedHops: number): Address | undefined {
  let skipped = 0;
  for (let index = values.length - 1; index >= 0; index--) {
    const value = values[index] ?? '';
    let end = value.length;
    for (;;) {
      const comma = end === 0 ? -1 : value.lastIndexOf(',', end - 1);
      const address = parseAddress(trimmed(value, comma + 1, end));
      if (address === undefined || skipped === trustedHops) return address;
      skipped++;
      if (comma < 0) break;
      end = comma;
    }
  }
  return undefined;
}

/** Without the white space HTTP allows around list items: spaces and tabs. */
function trimmed(value: string, from: number, to: number): string {
  let start = from;
  let end = to;
  while (start < end && isBlank(value.charCodeAt(start))) start++;
  while (end > start && isBlank(value.charCodeAt(end - 1))) end--;
  return value.slice(start, end);
}

function isBlank(unit: number): boolean {
  return unit === 0x20 || unit === 0x09;
}
