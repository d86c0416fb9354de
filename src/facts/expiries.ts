/** What of a revision will cease to be valid, and when: for those who must renew it in time. */
import { readCertificate, readPem } from './x509.ts';

/** `service_token`; `service_token_secret`: the previous secret of one; `check_certificate`: a certificate that the
 *  check port shows; `check_client_authority` and `trusted_authority`: one that client certificates chain to. */
export type ExpiryKind =
  | 'service_token'
  | 'service_token_secret'
  | 'check_certificate'
  | 'check_client_authority'
  | 'trusted_authority';

/** `name`: the service token's name, or the certificate's common name (without one: its place in the file, from 1). */
export interface Expiring {
  readonly kind: ExpiryKind;
  readonly name: string;
  readonly epochSeconds: number;
}

export interface ExpiringParts {
  readonly serviceTokens: readonly {
    readonly name: string;
    readonly enabled?: boolean | undefined;
    /** RFC 3339; undefined: never. */
    readonly expires_at?: string | undefined;
    readonly previous_client_secret_sha256?: string | undefined;
    readonly previous_client_secret_expires_at?: string | undefined;
  }[];
  /** PEM texts; undefined: there is none. */
  readonly checkCertificate: string | Buffer | undefined;
  readonly checkClientAuthority: string | Buffer | undefined;
  readonly trustedAuthorities: string | undefined;
}

/** One for each kind and name. Of authorities with the same name the last to expire counts, since a new one is put
 *  beside the old; of certificates that are shown, and of tokens, the first. Service tokens that are switched off and
 *  what cannot be read as a certificate are left out: the latter is a fault of its own. */
export function expiriesOf(parts: ExpiringParts): readonly Expiring[] {
  const found = new Map<string, Expiring>();
  const add = (kind: ExpiryKind, name: string, epochMs: number, keep: 'first' | 'last'): void => {
    if (!Number.isFinite(epochMs)) return;
    const key = `${kind} ${name}`;
    const known = found.get(key)?.epochSeconds;
    const epochSeconds = Math.floor(epochMs / 1000);
    if (known === undefined || (keep === 'first' ? epochSeconds < known : epochSeconds > known))
      found.set(key, { kind, name, epochSeconds });
  };
  for (const token of parts.serviceTokens) {
    if (token.enabled === false) continue;
    if (token.expires_at !== undefined) add('service_token', token.name, Date.parse(token.expires_at), 'first');
    const previous = token.previous_client_secret_expires_at;
    if (token.previous_client_secret_sha256 !== undefined && previous !== undefined)
      add('service_token_secret', token.name, Date.parse(previous), 'first');
  }
  const addAll = (kind: ExpiryKind, pem: string | Buffer | undefined, keep: 'first' | 'last'): void => {
    const blocks = (pem === undefined ? undefined : readPem(pem.toString(), CERTIFICATES_MAX)) ?? [];
    for (const [index, der] of blocks.entries()) {
      const certificate = readCertificate(der);
      if (!certificate) continue;
      const { commonName, untilMs } = certificate;
      add(kind, commonName.state === 'one' ? commonName.value : `number ${index + 1}`, untilMs, keep);
    }
  };
  addAll('check_certificate', parts.checkCertificate, 'first');
  addAll('check_client_authority', parts.checkClientAuthority, 'last');
  addAll('trusted_authority', parts.trustedAuthorities, 'last');
  return [...found.values()];
}

const CERTIFICATES_MAX = 1_000;
