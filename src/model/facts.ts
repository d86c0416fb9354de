/** The client certificate of this connection, as far as it can be known. Source: Envoy, `source.certificate`, `source.principal`, XFCC. */
export type CertificateFact =
  | { readonly state: 'none' }
  | { readonly state: 'unreadable'; readonly why: string }
  | {
      readonly state: 'present';
      /** `unknown`: authorities are configured but no PEM is at hand. */
      readonly verified: 'yes' | 'no' | 'unknown';
      /** `none`: no CN. `several`: no one common name. `hidden`: the subject is not visible. */
      readonly commonName:
        | { readonly state: 'one'; readonly value: string }
        | { readonly state: 'none' | 'several' | 'hidden' };
      /** URI SANs and DNS SANs, where visible. */
      readonly uris: readonly string[];
      readonly dnsNames: readonly string[];
      /** Whether key usage and extended key usage allow client authentication; `hidden` without a PEM. */
      readonly clientUsage: 'fits' | 'unfit' | 'hidden';
      /** For the log. */
      readonly why: string;
    };

export const NO_CERTIFICATE: CertificateFact = Object.freeze({ state: 'none' });

/** Where the client's address is now. */
export interface Location {
  /** ISO 3166-1 alpha-2, upper case; `XX`: no data for this address; `T1`: a Tor exit;
   *  undefined: could not be had (no address and no header, no source configured, unreadable header). */
  readonly country: string | undefined;
  /** Where `country` is `T1`: the country that the city database names all the same, which is where the exit is;
   *  undefined otherwise. Rules compare `country`; risk factors, which judge anonymity by itself, compare the place. */
  readonly exitCountry?: string | undefined;
  readonly city: string | undefined;
  readonly isp: string | undefined;
  readonly latitude: number | undefined;
  readonly longitude: number | undefined;
  readonly anonymous: boolean;
  /** `database`, `header`, `private` (geo.private_addresses) or `none`. */
  readonly source: 'database' | 'header' | 'private' | 'none';
}

/** Service token credentials of the request. Source: Cloudflare Access, service tokens. */
export type ServiceCredentialsFact =
  | { readonly state: 'absent' }
  | { readonly state: 'malformed'; readonly why: string }
  | { readonly state: 'refused'; readonly why: string }
  | { readonly state: 'valid'; readonly tokenId: string; readonly name: string; readonly clientId: string };

export const NO_CREDENTIALS: ServiceCredentialsFact = Object.freeze({ state: 'absent' });

/** Device posture: uid → entry. `identity`: read it from the identity (its own unknowns apply). */
export type PostureFact =
  | { readonly state: 'identity' }
  | { readonly state: 'known'; readonly entries: ReadonlyMap<string, unknown> }
  | { readonly state: 'unavailable'; readonly why: string };

/** User risk level kept by Postern itself. `identity`: read it from the identity. */
export type RiskScoreFact =
  | { readonly state: 'identity' }
  | { readonly state: 'known'; readonly level: unknown }
  | { readonly state: 'unavailable'; readonly why: string };
