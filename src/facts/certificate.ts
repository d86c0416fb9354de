import { NO_CERTIFICATE } from '../model/facts.ts';
import type { CertificateFact } from '../model/facts.ts';
import type { RequestFacts } from '../model/request.ts';
import { createCache } from '../shared/cache.ts';
import type { CacheResult } from '../shared/cache.ts';
import { chainWindows } from './certificate-chain.ts';
import type { Authorities, ChainWindow } from './certificate-chain.ts';
import { commonNameOfText } from './distinguished-name.ts';
import type { CommonName } from './distinguished-name.ts';
import { allowsClientAuthentication, readCertificate, readPem } from './x509.ts';
import type { Certificate } from './x509.ts';
import { percentDecoded, xfccOf } from './xfcc.ts';
import type { XfccElement } from './xfcc.ts';

/** Reads the client certificate of a request. Lifetimes are judged at `processNowMs`, milliseconds since the epoch. */
export type CertificateSource = (request: RequestFacts, processNowMs: number) => CertificateFact;

/** `certificates` of the settings. */
export interface CertificateSettings {
  /** In order; the first that shows a certificate is used, readable or not. */
  readonly from: readonly ('peer' | 'xfcc')[];
  /** What `readAuthorities` made of the file `trusted_authorities`; undefined: none is configured. */
  readonly authorities: Authorities | undefined;
  /** Without authorities: whether a certificate that Envoy shows counts as verified by it. */
  readonly verified_by_envoy: boolean;
}

/** The client certificate from Envoy's `source.certificate` and `source.principal` (`peer`) or the last element of
 *  `x-forwarded-client-cert` (`xfcc`). Where a PEM is at hand everything is read from it. It counts as verified:
 *  - with authorities: when it chains to one now, over the `Chain` of the XFCC header or certificates of the file;
 *    `unknown` without a PEM;
 *  - without, and `verified_by_envoy`: when presented, and within its dates where a PEM is at hand, because connections
 *    outlive certificates;
 *  - without both: never, readable or not.
 *  Parsed certificates are kept, with the times at which they chain; dates are compared on every request. */
export function createCertificateSource(
  settings: CertificateSettings,
  onCacheRequest?: (result: CacheResult) => void,
): CertificateSource {
  const cache = createCache<string, Reading>({
    entriesMax: CACHED_CERTIFICATES,
    weightMax: CACHED_CHARACTERS,
    onRequest: onCacheRequest,
  });
  const { authorities } = settings;

  const readingOf = (encoded: Encoded): Reading => {
    const key = keyOf(encoded);
    const cached = cache.get(key, 0);
    if (cached !== undefined) return cached;
    const reading = read(encoded, authorities);
    if (key.length <= MAX_CACHED_KEY) cache.set(key, reading, Infinity, key.length);
    return reading;
  };

  const ofPeer = (request: RequestFacts, nowMs: number): CertificateFact => {
    if (request.certificate === '') {
      return request.principal === '' ? NO_CERTIFICATE : withoutPem(namesOfPrincipal(request.principal), settings);
    }
    const xfcc = authorities && xfccOf(request);
    const chain = xfcc?.state === 'present' ? xfcc.element.chain : undefined;
    return withPem(readingOf({ leaf: request.certificate, isPercentEncoded: true, chain }), settings, nowMs);
  };

  const ofXfcc = (request: RequestFacts, nowMs: number): CertificateFact => {
    const xfcc = xfccOf(request);
    if (xfcc.state === 'absent') return NO_CERTIFICATE;
    if (xfcc.state === 'unreadable') return unreadable(xfcc.why, settings);
    const { element } = xfcc;
    if (element.certificate === undefined) return withoutPem(namesOfElement(element), settings);
    const reading = readingOf({ leaf: element.certificate, isPercentEncoded: false, chain: element.chain });
    if (reading.state === 'read' && element.hash !== undefined) {
      if (element.hash.toLowerCase() !== reading.certificate.fingerprint)
        return unreadable('x-forwarded-client-cert: Cert and Hash differ', settings);
    }
    return withPem(reading, settings, nowMs);
  };

  return (request, processNowMs) => {
    for (const place of settings.from) {
      const fact = place === 'peer' ? ofPeer(request, processNowMs) : ofXfcc(request, processNowMs);
      if (fact.state !== 'none') return fact;
    }
    return NO_CERTIFICATE;
  };
}

type Present = Extract<CertificateFact, { state: 'present' }>;
type Names = Pick<Present, 'commonName' | 'uris' | 'dnsNames'>;

interface Encoded {
  readonly leaf: string;
  readonly isPercentEncoded: boolean;
  readonly chain: string | undefined;
}

/** What a PEM says, whenever it is asked. */
type Reading =
  | { readonly state: 'unreadable'; readonly why: string }
  | {
      readonly state: 'read';
      readonly certificate: Certificate;
      readonly names: Names;
      readonly clientUsage: 'fits' | 'unfit';
      /** Undefined: no authorities are configured. */
      readonly windows: readonly ChainWindow[] | undefined;
    };

const CACHED_CERTIFICATES = 1000;
/** Of their keys, which hold leaf and chain. */
const CACHED_CHARACTERS = 8 * 1024 * 1024;
/** A leaf with a chain of three takes some 8,000 characters. */
const MAX_CACHED_KEY = 32_768;
const MAX_ENCODED = 65_536;
const MAX_BLOCKS = 32;
const HIDDEN_NAME: Present['commonName'] = Object.freeze({ state: 'hidden' });
const NO_NAMES: Names = Object.freeze({ commonName: HIDDEN_NAME, uris: [], dnsNames: [] });

/** Unambiguous: where the chain ends is said before it. */
function keyOf({ leaf, isPercentEncoded, chain = '' }: Encoded): string {
  return `${isPercentEncoded ? 'p' : 'x'}${chain.length}:${chain}${leaf}`;
}

function read(encoded: Encoded, authorities: Authorities | undefined): Reading {
  if (encoded.leaf.length > MAX_ENCODED) return { state: 'unreadable', why: 'the certificate is too long' };
  const pem = encoded.isPercentEncoded ? percentDecoded(encoded.leaf) : encoded.leaf;
  const [der] = (pem !== undefined && readPem(pem, MAX_BLOCKS)) || [];
  const certificate = der && readCertificate(der);
  if (certificate === undefined) return { state: 'unreadable', why: 'the certificate is not X.509 in PEM form' };
  return {
    state: 'read',
    certificate,
    names: {
      commonName: withoutUnreadable(certificate.commonName),
      uris: certificate.uris,
      dnsNames: certificate.dnsNames,
    },
    clientUsage:
      allowsClientAuthentication(certificate) && certificate.keyUsage?.digitalSignature !== false ? 'fits' : 'unfit',
    windows: authorities && chainWindows(certificate, sentChain(encoded.chain), authorities),
  };
}

/** A chain is only material: what cannot be read of it is left out. */
function sentChain(pem: string | undefined): readonly Certificate[] {
  const blocks = (pem !== undefined && readPem(pem, MAX_BLOCKS)) || [];
  return blocks.map(readCertificate).filter((certificate) => certificate !== undefined);
}

function withPem(reading: Reading, settings: CertificateSettings, nowMs: number): CertificateFact {
  if (reading.state === 'unreadable') return unreadable(reading.why, settings);
  const { certificate, windows } = reading;
  const [verified, why] = verdictOf(certificate, windows, settings, nowMs);
  return { state: 'present', verified, ...reading.names, clientUsage: reading.clientUsage, why };
}

function verdictOf(
  certificate: Certificate,
  windows: readonly ChainWindow[] | undefined,
  settings: CertificateSettings,
  nowMs: number,
): readonly ['yes' | 'no', string] {
  if (nowMs < certificate.fromMs) return ['no', 'it is not valid yet'];
  if (nowMs >= certificate.untilMs) return ['no', 'it has expired'];
  if (windows !== undefined) {
    if (windows.some(({ fromMs, untilMs }) => nowMs >= fromMs && nowMs < untilMs))
      return ['yes', 'it chains to a trusted authority'];
    return ['no', windows.length > 0 ? 'its chain is not valid now' : 'it chains to no trusted authority'];
  }
  return settings.verified_by_envoy ? ['yes', 'verified by Envoy'] : ['no', NOBODY_VERIFIES];
}

const NOBODY_VERIFIES = 'nobody verifies certificates';

function withoutPem(names: Names, settings: CertificateSettings): CertificateFact {
  const [verified, why] =
    settings.authorities !== undefined
      ? (['unknown', 'the certificate itself is not at hand'] as const)
      : settings.verified_by_envoy
        ? (['yes', 'verified by Envoy'] as const)
        : (['no', NOBODY_VERIFIES] as const);
  return { state: 'present', verified, ...names, clientUsage: 'hidden', why };
}

/** Where no certificate counts as verified anyway, what cannot be read makes no difference. */
function unreadable(why: string, settings: CertificateSettings): CertificateFact {
  return settings.authorities === undefined && !settings.verified_by_envoy
    ? { state: 'present', verified: 'no', ...NO_NAMES, clientUsage: 'hidden', why: NOBODY_VERIFIES }
    : { state: 'unreadable', why };
}

function namesOfElement(element: XfccElement): Names {
  return {
    commonName: element.subject === undefined ? HIDDEN_NAME : withoutUnreadable(commonNameOfText(element.subject)),
    uris: element.uris,
    dnsNames: element.dnsNames,
  };
}

/** Envoy's principal is the first URI SAN, else the first DNS SAN, else the subject, and does not say which. */
function namesOfPrincipal(principal: string): Names {
  if (/^[a-z][a-z0-9+.-]*:/i.test(principal)) return { commonName: HIDDEN_NAME, uris: [principal], dnsNames: [] };
  const commonName = commonNameOfText(principal);
  if (commonName.state !== 'unreadable') return { commonName, uris: [], dnsNames: [] };
  // Neither: a DNS name, or a subject in another notation, of which the name cannot be told.
  return principal.includes('=')
    ? { commonName: withoutUnreadable(commonName), uris: [], dnsNames: [] }
    : { commonName: HIDDEN_NAME, uris: [], dnsNames: [principal] };
}

function withoutUnreadable(name: CommonName): Present['commonName'] {
  return name.state === 'unreadable' ? { state: 'several' } : name;
}
