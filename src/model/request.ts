import type { Address } from './address.ts';

/** One request as Envoy told it, after canonicalisation; only what Envoy itself derived is trusted. */
export interface RequestFacts {
  /** RFC 9110 token, case kept. */
  readonly method: string;
  /** Lower-case ASCII, no port, no trailing dot; IPv6 in brackets. */
  readonly host: string;
  /** Canonical path (`shared/path.ts`), without the query; `*` for OPTIONS *. */
  readonly path: string;
  /** As the client sent it, after the first `?`, without it; undefined where there is none. */
  readonly query: string | undefined;
  /** The path and query exactly as they came, for a redirect's return address. */
  readonly target: string;
  /** The host exactly as it came (with its port), for a redirect's return address. */
  readonly authority: string;
  /** `http`, `https` or undefined. The caller's word. */
  readonly scheme: 'http' | 'https' | undefined;
  readonly headers: Headers;
  /** `attributes.request.time`, milliseconds since the epoch; undefined where absent. */
  readonly timeMs: number | undefined;
  /** `source.address`, normalised; undefined: unknown, never replaced by another source. */
  readonly sourceAddress: Address | undefined;
  /** `source.principal`; "" where absent. */
  readonly principal: string;
  /** `source.certificate`, percent-encoded PEM; "" where absent. */
  readonly certificate: string;
  readonly body: Body;
  /** Filter metadata of one namespace as plain data on null prototypes; undefined where absent. */
  metadata(namespace: string): Readonly<Record<string, unknown>> | undefined;
  /** For the log only: Envoy's stream id, protocol, bytes so far. */
  readonly streamId: string;
  readonly protocol: string;
}

export type Body =
  | { readonly state: 'absent' }
  | { readonly state: 'partial' }
  | { readonly state: 'whole'; readonly bytes: Uint8Array };

/** Header access. Names are lower case. From the `headers` map each name has one string, in which a comma may be a
 *  join of several; from `header_map` every entry is by itself. */
export interface Headers {
  has(name: string): boolean;
  /** Every value in order; empty where the header is absent. */
  all(name: string): readonly string[];
  /** For a header that can have one value only; two values, or a join of them, are `several`. `commaAllowed`: the value's grammar has commas.
   *  A header with U+FFFD or a byte ≥ 0x80 from raw_value is `unreadable`, except where `utf8Allowed`. */
  single(name: string, options?: { readonly commaAllowed?: boolean; readonly utf8Allowed?: boolean }): SingleHeader;
  /** All cookies of one name, in order, not decoded. */
  cookies(name: string): readonly string[];
  /** Names as they came (lower-cased), each once. */
  names(): Iterable<string>;
}

export type SingleHeader =
  | { readonly state: 'absent' }
  | { readonly state: 'several' }
  | { readonly state: 'unreadable' }
  | { readonly state: 'one'; readonly value: string };

/** Why a request could not be read: answered 400 with this reason. */
export interface RequestRefusal {
  readonly reason: 'request_malformed' | 'request_ambiguous';
  /** For the log and explain; never for the caller. */
  readonly why: string;
}
