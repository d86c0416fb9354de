/** X.509 certificates (RFC 5280), read once into what decisions ask of them. OpenSSL reads them first; what Node does
 *  not tell of them is read from their DER. */
import { X509Certificate } from 'node:crypto';
import { readElements, readObjectIdentifier } from './der.ts';
import type { DerElement } from './der.ts';
import { commonNameOfDer } from './distinguished-name.ts';
import type { CommonName } from './distinguished-name.ts';

export interface Certificate {
  readonly x509: X509Certificate;
  /** SHA-256 of the DER, 64 lower-case hex digits. */
  readonly fingerprint: string;
  /** Valid from this instant, milliseconds since the epoch. */
  readonly fromMs: number;
  /** Valid before this instant: the second after notAfter. */
  readonly untilMs: number;
  /** DER of the names, in hex, so that they compare byte by byte. */
  readonly subject: string;
  readonly issuer: string;
  readonly commonName: CommonName;
  readonly uris: readonly string[];
  readonly dnsNames: readonly string[];
  /** basicConstraints says that it is a CA. */
  readonly isAuthority: boolean;
  /** basicConstraints pathLenConstraint. */
  readonly pathLength: number | undefined;
  /** Undefined: the extension is absent, which restricts nothing. */
  readonly keyUsage: { readonly digitalSignature: boolean; readonly certificateSign: boolean } | undefined;
  /** Object identifiers; undefined: the extension is absent. */
  readonly extendedKeyUsage: readonly string[] | undefined;
  /** Extensions that may not be ignored and that nobody here understands, name constraints among them. */
  readonly unknownCritical: readonly string[];
  /** Name constraints restrict the names below; they are not evaluated here, critical or not. */
  readonly hasNameConstraints: boolean;
  /** Signed with MD5 or SHA-1. */
  readonly hasWeakSignature: boolean;
  /** RSA below 2048 bits. */
  readonly hasWeakKey: boolean;
}

/** Reads one certificate from DER; undefined where it is none, or is ill-formed: an extension twice, dates of another
 *  form, bytes after the end. */
export function readCertificate(der: Uint8Array): Certificate | undefined {
  if (der.length > MAX_DER) return undefined;
  try {
    return certificateOf(new X509Certificate(der), der);
  } catch {
    return undefined;
  }
}

/** The `CERTIFICATE` blocks of a PEM text in order, as DER. Undefined: there is none, a block does not end or is not
 *  base64, or there are more than `blocksMax`. Text between blocks is skipped. */
export function readPem(pem: string, blocksMax: number): readonly Uint8Array[] | undefined {
  const blocks: Uint8Array[] = [];
  let at = pem.indexOf(BEGIN);
  while (at >= 0) {
    const start = at + BEGIN.length;
    const end = pem.indexOf(END, start);
    if (end < 0 || blocks.length === blocksMax) return undefined;
    const base64 = pem.slice(start, end).replaceAll(/[\t\n\r ]+/g, '');
    if (!/^[A-Za-z0-9+/]+={0,2}$/.test(base64)) return undefined;
    blocks.push(Buffer.from(base64, 'base64'));
    at = pem.indexOf(BEGIN, end + END.length);
  }
  return blocks.length === 0 ? undefined : blocks;
}

/** Whether a key with these usages may prove who a client is: extended key usage is absent or holds clientAuth or
 *  anyExtendedKeyUsage. */
export function allowsClientAuthentication(certificate: Certificate): boolean {
  const { extendedKeyUsage } = certificate;
  return extendedKeyUsage === undefined || extendedKeyUsage.some((usage) => CLIENT_USAGES.has(usage));
}

const BEGIN = '-----BEGIN CERTIFICATE-----';
const END = '-----END CERTIFICATE-----';
const MAX_DER = 65_536;
const CLIENT_USAGES: ReadonlySet<string> = new Set(['1.3.6.1.5.5.7.3.2', '2.5.29.37.0']);

const BOOLEAN = 0x01;
const INTEGER = 0x02;
const BIT_STRING = 0x03;
const OCTET_STRING = 0x04;
const UTC_TIME = 0x17;
const GENERALIZED_TIME = 0x18;
const SEQUENCE = 0x30;
const VERSION = 0xa0;
const EXTENSIONS = 0xa3;
const DNS_NAME = 0x82;
const URI = 0x86;

const BASIC_CONSTRAINTS = '2.5.29.19';
const KEY_USAGE = '2.5.29.15';
const EXTENDED_KEY_USAGE = '2.5.29.37';
const SUBJECT_ALTERNATIVE_NAME = '2.5.29.17';
const NAME_CONSTRAINTS = '2.5.29.30';
/** Those read here, and certificate policies, which mean nothing where no policy is asked for. */
const UNDERSTOOD: ReadonlySet<string> = new Set([
  BASIC_CONSTRAINTS,
  KEY_USAGE,
  EXTENDED_KEY_USAGE,
  SUBJECT_ALTERNATIVE_NAME,
  '2.5.29.32',
]);

/** md2, md4, md5 and sha1 with RSA, DSA and ECDSA. */
const WEAK_SIGNATURES: ReadonlySet<string> = new Set([
  '1.2.840.113549.1.1.2',
  '1.2.840.113549.1.1.3',
  '1.2.840.113549.1.1.4',
  '1.2.840.113549.1.1.5',
  '1.3.14.3.2.29',
  '1.2.840.10040.4.3',
  '1.2.840.10045.4.1',
]);

function certificateOf(x509: X509Certificate, der: Uint8Array): Certificate | undefined {
  if (x509.raw.length !== der.length) return undefined;
  const [outer, ...after] = readElements(der) ?? [];
  const [tbs, signature] = childrenOf(outer) ?? [];
  const fields = childrenOf(tbs)?.filter(({ tag }) => tag !== VERSION);
  if (after.length > 0 || fields === undefined) return undefined;
  const [, , issuer, validity, subject] = fields;
  const [notBefore, notAfter] = (childrenOf(validity) ?? []).map(timeOf);
  const extensions = extensionsOf(fields.find(({ tag }) => tag === EXTENSIONS));
  if (issuer === undefined || subject === undefined || notBefore === undefined || notAfter === undefined)
    return undefined;
  if (extensions === undefined) return undefined;
  const read = readExtensions(extensions);
  if (read === undefined) return undefined;
  const { publicKey } = x509;
  const modulusLength = publicKey.asymmetricKeyDetails?.modulusLength;
  const algorithm = childrenOf(signature)?.[0];
  return Object.freeze({
    x509,
    fingerprint: x509.fingerprint256.replaceAll(':', '').toLowerCase(),
    fromMs: notBefore,
    untilMs: notAfter + 1000,
    subject: Buffer.from(subject.raw).toString('hex'),
    issuer: Buffer.from(issuer.raw).toString('hex'),
    commonName: commonNameOfDer(subject.raw),
    ...read,
    hasWeakSignature: algorithm === undefined || WEAK_SIGNATURES.has(readObjectIdentifier(algorithm) ?? ''),
    hasWeakKey: modulusLength !== undefined && modulusLength < 2048,
  });
}

interface Extension {
  readonly isCritical: boolean;
  readonly content: Uint8Array;
}

/** By object identifier; none where the certificate has none. */
function extensionsOf(wrapper: DerElement | undefined): ReadonlyMap<string, Extension> | undefined {
  const extensions = new Map<string, Extension>();
  if (wrapper === undefined) return extensions;
  const list = childrenOf(readElements(wrapper.content)?.[0]);
  if (list === undefined) return undefined;
  for (const entry of list) {
    const parts = childrenOf(entry) ?? [];
    const [type, second] = parts;
    const value = parts.at(-1);
    const name = type && readObjectIdentifier(type);
    if (name === undefined || extensions.has(name) || value?.tag !== OCTET_STRING || parts.length > 3) return undefined;
    const isCritical = parts.length === 3 && second?.tag === BOOLEAN && second.content[0] !== 0;
    if (parts.length === 3 && second?.tag !== BOOLEAN) return undefined;
    extensions.set(name, { isCritical, content: value.content });
  }
  return extensions;
}

type ReadExtensions = Pick<
  Certificate,
  | 'uris'
  | 'dnsNames'
  | 'isAuthority'
  | 'pathLength'
  | 'keyUsage'
  | 'extendedKeyUsage'
  | 'unknownCritical'
  | 'hasNameConstraints'
>;

function readExtensions(extensions: ReadonlyMap<string, Extension>): ReadExtensions | undefined {
  const constraints = basicConstraintsOf(extensions.get(BASIC_CONSTRAINTS));
  const usage = keyUsageOf(extensions.get(KEY_USAGE));
  const extended = identifiersOf(extensions.get(EXTENDED_KEY_USAGE));
  const names = alternativeNamesOf(extensions.get(SUBJECT_ALTERNATIVE_NAME));
  if (constraints === undefined || usage === undefined || extended === undefined || names === undefined)
    return undefined;
  return {
    ...constraints,
    ...usage,
    extendedKeyUsage: extended.identifiers,
    ...names,
    unknownCritical: [...extensions]
      .filter(([name, { isCritical }]) => isCritical && !UNDERSTOOD.has(name))
      .map(([name]) => name),
    hasNameConstraints: extensions.has(NAME_CONSTRAINTS),
  };
}

function basicConstraintsOf(
  extension: Extension | undefined,
): Pick<Certificate, 'isAuthority' | 'pathLength'> | undefined {
  if (extension === undefined) return { isAuthority: false, pathLength: undefined };
  const parts = onlySequence(extension.content);
  if (parts === undefined || parts.length > 2) return undefined;
  const flag = parts.find(({ tag }) => tag === BOOLEAN);
  const length = parts.find(({ tag }) => tag === INTEGER);
  if (parts.length !== Number(flag !== undefined) + Number(length !== undefined)) return undefined;
  const isAuthority = flag !== undefined && flag.content[0] !== 0;
  if (length === undefined) return { isAuthority, pathLength: undefined };
  const [first = 0x80] = length.content;
  // A chain as long as a two-byte number does not exist; a negative number is an error.
  if (first >= 0x80) return undefined;
  return { isAuthority, pathLength: length.content.length === 1 ? first : 255 };
}

function keyUsageOf(extension: Extension | undefined): Pick<Certificate, 'keyUsage'> | undefined {
  if (extension === undefined) return { keyUsage: undefined };
  const [bits, ...rest] = readElements(extension.content) ?? [];
  if (bits?.tag !== BIT_STRING || rest.length > 0 || bits.content.length === 0) return undefined;
  const first = bits.content[1] ?? 0;
  return { keyUsage: { digitalSignature: (first & 0x80) !== 0, certificateSign: (first & 0x04) !== 0 } };
}

function identifiersOf(
  extension: Extension | undefined,
): { readonly identifiers: readonly string[] | undefined } | undefined {
  if (extension === undefined) return { identifiers: undefined };
  const identifiers = onlySequence(extension.content)?.map(readObjectIdentifier);
  return identifiers?.every((identifier) => identifier !== undefined) ? { identifiers } : undefined;
}

function alternativeNamesOf(extension: Extension | undefined): Pick<Certificate, 'uris' | 'dnsNames'> | undefined {
  if (extension === undefined) return { uris: [], dnsNames: [] };
  const names = onlySequence(extension.content);
  if (names === undefined) return undefined;
  return { uris: textsOf(names, URI), dnsNames: textsOf(names, DNS_NAME) };
}

/** The names of one kind, IA5 strings; those that are none are left out. */
function textsOf(names: readonly DerElement[], tag: number): readonly string[] {
  return names
    .filter((name) => name.tag === tag && name.content.every((byte) => byte > 0x20 && byte < 0x7f))
    .map(({ content }) => Buffer.from(content).toString('latin1'));
}

/** UTCTime and GeneralizedTime as RFC 5280 has them: seconds, and `Z`. */
function timeOf({ tag, content }: DerElement): number | undefined {
  const text = Buffer.from(content).toString('latin1');
  const isUtcTime = tag === UTC_TIME;
  if (!isUtcTime && tag !== GENERALIZED_TIME) return undefined;
  const match = (isUtcTime ? /^(\d\d)(\d{10})Z$/ : /^(\d{4})(\d{10})Z$/).exec(text);
  const [, year = '', rest = ''] = match ?? [];
  if (match === null) return undefined;
  const fullYear = isUtcTime ? `${Number(year) >= 50 ? '19' : '20'}${year}` : year;
  const [month, day, hour, minute, second] = rest.match(/\d\d/g) ?? [];
  const timeMs = Date.parse(`${fullYear}-${month}-${day}T${hour}:${minute}:${second}Z`);
  return Number.isNaN(timeMs) ? undefined : timeMs;
}

function childrenOf(element: DerElement | undefined): readonly DerElement[] | undefined {
  return element?.tag === SEQUENCE ? readElements(element.content) : undefined;
}

function onlySequence(bytes: Uint8Array): readonly DerElement[] | undefined {
  const elements = readElements(bytes);
  return elements?.length === 1 ? childrenOf(elements[0]) : undefined;
}
