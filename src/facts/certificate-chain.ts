/** Whether a client certificate chains to a trusted authority: path validation of RFC 5280, 6.1. */
import type { Finding } from '../shared/shape.ts';
import { allowsClientAuthentication, readCertificate, readPem } from './x509.ts';
import type { Certificate } from './x509.ts';

/** The authorities of `certificates.trusted_authorities`, and the intermediates beside them. */
export interface Authorities {
  /** Fingerprints of those at which a chain may end: the self-issued ones, and those whose own issuer is not in the
   *  file. */
  readonly ends: ReadonlySet<string>;
  /** All of them, by subject. */
  readonly bySubject: ReadonlyMap<string, readonly Certificate[]>;
}

/** When a chain holds: from `fromMs` on and before `untilMs`, milliseconds since the epoch. */
export interface ChainWindow {
  readonly fromMs: number;
  readonly untilMs: number;
}

/** Reads a file of PEM certificates, or says what is wrong with it (`authorities_invalid`). */
export function readAuthorities(pem: string): { readonly value: Authorities } | Finding {
  const blocks = readPem(pem, MAX_AUTHORITIES);
  if (blocks === undefined)
    return invalid(`1 to ${MAX_AUTHORITIES} certificates in PEM form`, 'none, or one that is cut short');
  const all: Certificate[] = [];
  for (const [index, block] of blocks.entries()) {
    const certificate = readCertificate(block);
    if (certificate === undefined) return invalid('certificates', `something else as number ${index + 1}`);
    if (!certificate.isAuthority)
      return invalid('certificates of authorities (basicConstraints CA)', `another one as number ${index + 1}`);
    if (certificate.hasNameConstraints || certificate.unknownCritical.length > 0)
      return invalid(
        'authorities without name constraints or unknown critical extensions',
        `one as number ${index + 1}`,
      );
    if (certificate.hasWeakKey)
      return invalid('RSA keys of at least 2048 bits', `a shorter one as number ${index + 1}`);
    all.push(certificate);
  }
  const bySubject = bySubjectOf(all);
  const ends = all.filter(({ subject, issuer }) => subject === issuer || !bySubject.has(issuer));
  return { value: { ends: new Set(ends.map(({ fingerprint }) => fingerprint)), bySubject } };
}

/** When this leaf chains to an authority, over the certificates its peer sent and those of the file; none: never.
 *  Checked for every chain: signatures and names, CA flags, path length, key usage of issuers, extended key usage (of
 *  issuers too, where they have one), unknown critical extensions, MD5 and SHA-1 signatures, RSA keys below 2048 bits,
 *  and as windows the dates of every certificate. An issuer with name constraints is not accepted, because they are not
 *  evaluated. Revocation is not looked at. The work is bounded, however many certificates the peer sends. */
export function chainWindows(
  leaf: Certificate,
  sent: readonly Certificate[],
  authorities: Authorities,
): readonly ChainWindow[] {
  const isEnd = authorities.ends.has(leaf.fingerprint);
  if (!allowsClientAuthentication(leaf) || isUnusable(leaf, isEnd)) return [];
  const search: Search = {
    authorities,
    sentBySubject: bySubjectOf(sent.slice(0, MAX_SENT)),
    signaturesLeft: MAX_SIGNATURES,
    found: [],
  };
  follow(search, [leaf], { fromMs: leaf.fromMs, untilMs: leaf.untilMs });
  return search.found;
}

interface Search {
  readonly authorities: Authorities;
  readonly sentBySubject: ReadonlyMap<string, readonly Certificate[]>;
  signaturesLeft: number;
  readonly found: ChainWindow[];
}

const MAX_AUTHORITIES = 1000;
/** Real chains have two to four certificates. */
const MAX_SENT = 16;
const MAX_LENGTH = 8;
/** A signature takes some 50 µs (P-256) to check on this class of machine. */
const MAX_SIGNATURES = 32;

/** Goes on from the last certificate of a path to all that may have issued it. */
function follow(search: Search, path: readonly Certificate[], window: ChainWindow): void {
  const last = path.at(-1);
  if (last === undefined || window.fromMs >= window.untilMs) return;
  if (search.authorities.ends.has(last.fingerprint)) {
    search.found.push(window);
    return;
  }
  if (path.length === MAX_LENGTH) return;
  const trusted = search.authorities.bySubject.get(last.issuer) ?? [];
  const sent = search.sentBySubject.get(last.issuer) ?? [];
  const issuers = new Map([...sent, ...trusted].map((issuer) => [issuer.fingerprint, issuer]));
  for (const issuer of issuers.values()) {
    if (path.some(({ fingerprint }) => fingerprint === issuer.fingerprint)) continue;
    const isEnd = search.authorities.ends.has(issuer.fingerprint);
    // The signature of an authority at the end proves nothing: it is trusted because it is in the file.
    if (!mayIssue(issuer, path) || isUnusable(issuer, isEnd) || !hasSigned(search, issuer, last)) continue;
    follow(search, [...path, issuer], {
      fromMs: Math.max(window.fromMs, issuer.fromMs),
      untilMs: Math.min(window.untilMs, issuer.untilMs),
    });
  }
}

/** Everything but the signature. */
function mayIssue(issuer: Certificate, path: readonly Certificate[]): boolean {
  const below = path.slice(1).filter(({ subject, issuer: its }) => subject !== its).length;
  return (
    issuer.isAuthority &&
    issuer.keyUsage?.certificateSign !== false &&
    (issuer.pathLength === undefined || below <= issuer.pathLength) &&
    allowsClientAuthentication(issuer) &&
    !issuer.hasNameConstraints
  );
}

function hasSigned(search: Search, issuer: Certificate, certificate: Certificate): boolean {
  if (search.signaturesLeft === 0) return false;
  search.signaturesLeft--;
  try {
    return certificate.x509.checkIssued(issuer.x509) && certificate.x509.verify(issuer.x509.publicKey);
  } catch {
    return false;
  }
}

function isUnusable(certificate: Certificate, isEnd: boolean): boolean {
  return certificate.hasWeakKey || (certificate.hasWeakSignature && !isEnd) || certificate.unknownCritical.length > 0;
}

function bySubjectOf(certificates: readonly Certificate[]): ReadonlyMap<string, readonly Certificate[]> {
  const bySubject = new Map<string, Certificate[]>();
  for (const certificate of certificates) {
    const list = bySubject.get(certificate.subject);
    if (list) list.push(certificate);
    else bySubject.set(certificate.subject, [certificate]);
  }
  return bySubject;
}

function invalid(expected: string, found: string): Finding {
  return {
    code: 'authorities_invalid',
    text: `expected ${expected}, found ${found}`,
    mend: 'name a file with the PEM certificates of the authorities that sign your client certificates',
  };
}
