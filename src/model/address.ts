/** An IP address, normalised: IPv4-mapped IPv6 is IPv4, a zone is dropped. */
export interface Address {
  /** Canonical text: dotted IPv4, or IPv6 as RFC 5952 writes it. */
  readonly text: string;
  readonly family: 4 | 6;
  /** 4 or 16 bytes, network order. */
  readonly bytes: Uint8Array;
}
