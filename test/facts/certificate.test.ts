import { X509Certificate } from 'node:crypto';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { chainWindows, readAuthorities } from '../../src/facts/certificate-chain.ts';
import type { Authorities } from '../../src/facts/certificate-chain.ts';
import { createCertificateSource } from '../../src/facts/certificate.ts';
import type { CertificateSettings } from '../../src/facts/certificate.ts';
import { readCertificate, readPem } from '../../src/facts/x509.ts';
import type { Certificate } from '../../src/facts/x509.ts';
import type { CertificateFact } from '../../src/model/facts.ts';
import { AUTHORITY, CLIENT, encodedLikeEnvoy, makeCertificates } from '../fixtures/certificates/make.ts';
import { connectionRequest } from './connection-request.ts';
import type { ConnectionRequest } from './connection-request.ts';

const RSA_1024 = ['rsa:1024'];
const LEAF = { subject: '/O=Acme/CN=ann', extensions: CLIENT };

const PEM = makeCertificates({
  root: { subject: '/O=Acme/CN=Root', days: 100, extensions: AUTHORITY },
  leaf: {
    ...LEAF,
    by: 'root',
    extensions: [
      ...CLIENT,
      'subjectAltName = URI:spiffe://td/ann, DNS:a.example, DNS:b.example, email:ann@example.com',
    ],
  },
  intermediate: {
    subject: '/O=Acme/CN=Intermediate',
    by: 'root',
    days: 20,
    extensions: ['basicConstraints = critical, CA:TRUE, pathlen:0', 'keyUsage = critical, keyCertSign'],
  },
  leafOfIntermediate: { ...LEAF, by: 'intermediate' },
  sub: { subject: '/O=Acme/CN=Sub', by: 'intermediate', extensions: AUTHORITY },
  leafOfSub: { ...LEAF, by: 'sub' },
  // Self-issued certificates (a key rollover) do not count towards the path length.
  rollover: { subject: '/O=Acme/CN=Intermediate', by: 'intermediate', extensions: AUTHORITY },
  leafOfRollover: { ...LEAF, by: 'rollover' },
  notAuthority: { subject: '/O=Acme/CN=Clerk', by: 'root', extensions: ['basicConstraints = critical, CA:FALSE'] },
  leafOfNotAuthority: { ...LEAF, by: 'notAuthority' },
  noConstraints: { subject: '/O=Acme/CN=Old', by: 'root', extensions: ['keyUsage = keyCertSign'] },
  leafOfNoConstraints: { ...LEAF, by: 'noConstraints' },
  noSigning: {
    subject: '/O=Acme/CN=NoSigning',
    by: 'root',
    extensions: ['basicConstraints = critical, CA:TRUE', 'keyUsage = critical, digitalSignature'],
  },
  leafOfNoSigning: { ...LEAF, by: 'noSigning' },
  serverAuthority: {
    subject: '/O=Acme/CN=ServerAuthority',
    by: 'root',
    extensions: [...AUTHORITY, 'extendedKeyUsage = serverAuth'],
  },
  leafOfServerAuthority: { ...LEAF, by: 'serverAuthority' },
  constrained: {
    subject: '/O=Acme/CN=Constrained',
    by: 'root',
    extensions: [...AUTHORITY, 'nameConstraints = permitted;DNS:example.com'],
  },
  leafOfConstrained: { ...LEAF, by: 'constrained' },
  weakAuthority: { subject: '/O=Acme/CN=Weak', by: 'root', key: RSA_1024, extensions: AUTHORITY },
  leafOfWeakAuthority: { ...LEAF, by: 'weakAuthority' },
  serverOnly: { subject: '/CN=ann', by: 'root', extensions: ['extendedKeyUsage = serverAuth'] },
  anyUsage: { subject: '/CN=ann', by: 'root', extensions: ['extendedKeyUsage = serverAuth, anyExtendedKeyUsage'] },
  noExtensions: { subject: '/CN=ann', by: 'root' },
  keyAgreement: { subject: '/CN=ann', by: 'root', extensions: ['keyUsage = critical, keyAgreement'] },
  unknownCritical: { subject: '/CN=ann', by: 'root', extensions: [...CLIENT, '1.2.3.4 = critical, ASN1:NULL'] },
  unknownExtension: { subject: '/CN=ann', by: 'root', extensions: [...CLIENT, '1.2.3.4 = ASN1:NULL'] },
  sha1: { ...LEAF, by: 'root', digest: 'sha1' },
  rsa: { ...LEAF, by: 'root', key: ['rsa:2048'] },
  rsa1024: { ...LEAF, by: 'root', key: RSA_1024 },
  selfSigned: { ...LEAF, extensions: [...CLIENT, 'subjectAltName = URI:spiffe://td/ann'] },
  sameNameRoot: { subject: '/O=Acme/CN=Root', days: 100, extensions: AUTHORITY },
  leafOfSameName: { ...LEAF, by: 'sameNameRoot' },
  sha1Root: { subject: '/O=Acme/CN=Old root', digest: 'sha1', extensions: AUTHORITY },
  leafOfSha1Root: { ...LEAF, by: 'sha1Root' },
  weakRoot: { subject: '/O=Acme/CN=Weak root', key: RSA_1024, extensions: AUTHORITY },
  escapes: { subject: '/C=CA/O=Acme, Inc./CN=a\\/b\\+c,d"e' },
  umlaut: { subject: '/CN=Jürgen 😀' },
  twoNames: { subject: '/CN=ann/CN=bob' },
  twoInOne: { subject: '/O=Acme+CN=ann+CN=ann' },
  multiValued: { subject: '/O=Acme+CN=ann' },
  nameless: { subject: '/O=Acme' },
  patchMe: { subject: '/CN=aXYb' },
});

type PemName = keyof typeof PEM;
const DAY_MS = 86_400_000;
const NOW = Date.parse(new X509Certificate(PEM.root).validFrom) + DAY_MS;

const AUTHORITIES = authorities('root');

function authorities(...names: readonly PemName[]): Authorities {
  const read = readAuthorities(names.map((name) => PEM[name]).join(''));
  if ('code' in read) throw new Error(read.text);
  return read.value;
}

function parsed(name: PemName): Certificate {
  const [der] = readPem(PEM[name], 1) ?? [];
  const certificate = der && readCertificate(der);
  if (certificate === undefined) throw new Error(`${name} cannot be read`);
  return certificate;
}

function fact(told: ConnectionRequest, settings: Partial<CertificateSettings> = {}, nowMs = NOW): CertificateFact {
  const source = createCertificateSource({
    from: ['peer'],
    authorities: undefined,
    verified_by_envoy: true,
    ...settings,
  });
  return source(connectionRequest(told), nowMs);
}

const peer = (name: PemName): ConnectionRequest => ({ certificate: encodedLikeEnvoy(PEM[name]) });
const xfcc = (value: string): ConnectionRequest => ({ headers: { 'x-forwarded-client-cert': value } });
const hash = (name: PemName): string => parsed(name).fingerprint;

function verified(certificateFact: CertificateFact): string {
  return certificateFact.state === 'present' ? certificateFact.verified : certificateFact.state;
}

describe('a certificate of the peer', () => {
  it('is read whole', () => {
    expect(fact(peer('leaf'))).toEqual({
      state: 'present',
      verified: 'yes',
      commonName: { state: 'one', value: 'ann' },
      uris: ['spiffe://td/ann'],
      dnsNames: ['a.example', 'b.example'],
      clientUsage: 'fits',
      why: 'verified by Envoy',
    });
  });

  it('is read as it came, a plus being a plus', () => {
    const onlyEscapes = PEM.leaf.replaceAll('\n', '%0A');
    expect(fact({ certificate: onlyEscapes }).state).toBe('present');
    expect(fact({ certificate: PEM.leaf }).state).toBe('present');
  });

  it('is none where Envoy tells of none', () => {
    expect(fact({})).toEqual({ state: 'none' });
    expect(fact({}, { authorities: AUTHORITIES })).toEqual({ state: 'none' });
    expect(fact({}, { verified_by_envoy: false })).toEqual({ state: 'none' });
  });

  it.each<[string, string]>([
    ['broken escapes', '%zz'],
    ['no PEM', 'hello'],
    ['no end', encodedLikeEnvoy(PEM.leaf.slice(0, 200))],
    ['no base64', encodedLikeEnvoy(PEM.leaf.replace('\nMII', '\n!II'))],
    ['no certificate', encodedLikeEnvoy('-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n')],
    ['an empty block', encodedLikeEnvoy('-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n')],
    ['bytes after the certificate', encodedLikeEnvoy(pemOf(Buffer.concat([derOf('leaf'), Buffer.from([0])])))],
    ['a certificate cut short', encodedLikeEnvoy(pemOf(derOf('leaf').subarray(0, -1)))],
    ['too much', `${encodedLikeEnvoy(PEM.leaf)}${'a'.repeat(65_536)}`],
  ])('is unreadable: %s', (_, certificate) => {
    const told = { certificate, principal: 'CN=ann' };
    expect(fact(told).state).toBe('unreadable');
    expect(fact(told, { authorities: AUTHORITIES }).state).toBe('unreadable');
    // Nothing could make it count as verified.
    expect(verified(fact(told, { verified_by_envoy: false }))).toBe('no');
  });

  it('takes the first block for the leaf', () => {
    const told = { certificate: encodedLikeEnvoy(PEM.leaf + PEM.root) };
    expect(fact(told)).toMatchObject({ commonName: { value: 'ann' } });
  });

  it.each<[PemName, unknown]>([
    ['leaf', { state: 'one', value: 'ann' }],
    ['escapes', { state: 'one', value: 'a/b+c,d"e' }],
    ['umlaut', { state: 'one', value: 'Jürgen 😀' }],
    ['multiValued', { state: 'one', value: 'ann' }],
    ['twoNames', { state: 'several' }],
    ['twoInOne', { state: 'several' }],
    ['nameless', { state: 'none' }],
  ])('has the common name of %s', (name, commonName) => {
    expect(fact(peer(name))).toMatchObject({ commonName });
  });

  it('has no one common name with a NUL in it', () => {
    expect(fact({ certificate: patched([0x61, 0, 0x59, 0x62]) })).toMatchObject({ commonName: { state: 'several' } });
  });

  it('is unreadable with bad UTF-8 in a name: OpenSSL refuses it', () => {
    expect(fact({ certificate: patched([0x61, 0xff, 0x59, 0x62]) }).state).toBe('unreadable');
  });

  it.each<[PemName, string]>([
    ['leaf', 'fits'],
    ['anyUsage', 'fits'],
    ['noExtensions', 'fits'],
    ['serverOnly', 'unfit'],
    ['keyAgreement', 'unfit'],
  ])('of %s: usage %s for clients', (name, clientUsage) => {
    expect(fact(peer(name))).toMatchObject({ clientUsage });
  });
});

describe('a principal alone', () => {
  it.each<[string, unknown]>([
    ['spiffe://td/ann', { commonName: { state: 'hidden' }, uris: ['spiffe://td/ann'], dnsNames: [] }],
    ['spiffe://td/x?CN=ann', { commonName: { state: 'hidden' }, uris: ['spiffe://td/x?CN=ann'], dnsNames: [] }],
    ['urn:CN=ann', { commonName: { state: 'hidden' }, uris: ['urn:CN=ann'], dnsNames: [] }],
    ['ann.example', { commonName: { state: 'hidden' }, uris: [], dnsNames: ['ann.example'] }],
    ['CN=ann,O=Acme', { commonName: { state: 'one', value: 'ann' }, uris: [], dnsNames: [] }],
    ['CN=a,CN=b', { commonName: { state: 'several' }, uris: [], dnsNames: [] }],
    ['O=Acme', { commonName: { state: 'none' }, uris: [], dnsNames: [] }],
    ['/O=Acme/CN=ann', { commonName: { state: 'several' }, uris: [], dnsNames: [] }],
  ])('%s', (principal, names) => {
    expect(fact({ principal })).toMatchObject({
      state: 'present',
      verified: 'yes',
      clientUsage: 'hidden',
      ...Object(names),
    });
  });

  it('proves nothing where authorities are configured, and nothing where nobody verifies', () => {
    expect(verified(fact({ principal: 'CN=ann' }, { authorities: AUTHORITIES }))).toBe('unknown');
    expect(verified(fact({ principal: 'CN=ann' }, { verified_by_envoy: false }))).toBe('no');
  });

  it('is not looked at beside a certificate', () => {
    expect(fact({ ...peer('leaf'), principal: 'CN=root' })).toMatchObject({ commonName: { value: 'ann' } });
  });
});

describe('without authorities', () => {
  const leafUntil = Date.parse(new X509Certificate(PEM.leaf).validTo);
  const leafFrom = Date.parse(new X509Certificate(PEM.leaf).validFrom);

  it.each<[string, number, string]>([
    ['before notBefore', leafFrom - 1, 'no'],
    ['at notBefore', leafFrom, 'yes'],
    ['in notAfter, a whole second', leafUntil + 999, 'yes'],
    ['after notAfter', leafUntil + 1000, 'no'],
  ])('%s: verified %s', (_, nowMs, expected) => {
    expect(verified(fact(peer('leaf'), {}, nowMs))).toBe(expected);
  });

  it('does not ask who signed it: Envoy did', () => {
    expect(verified(fact(peer('selfSigned')))).toBe('yes');
  });

  it('never counts where Envoy does not verify', () => {
    expect(verified(fact(peer('leaf'), { verified_by_envoy: false }))).toBe('no');
    expect(verified(fact(xfcc(`Hash=${hash('leaf')}`), { from: ['xfcc'], verified_by_envoy: false }))).toBe('no');
  });
});

describe('with authorities', () => {
  it.each<[PemName, string]>([
    ['leaf', 'yes'],
    ['anyUsage', 'yes'],
    ['noExtensions', 'yes'],
    ['keyAgreement', 'yes'],
    ['unknownExtension', 'yes'],
    ['rsa', 'yes'],
    ['root', 'yes'],
    ['serverOnly', 'no'],
    ['selfSigned', 'no'],
    ['leafOfSameName', 'no'],
    ['leafOfIntermediate', 'no'],
    ['unknownCritical', 'no'],
    ['sha1', 'no'],
    ['rsa1024', 'no'],
  ])('%s: verified %s', (name, expected) => {
    expect(verified(fact(peer(name), { authorities: AUTHORITIES }))).toBe(expected);
    // Envoy's word makes no difference.
    expect(verified(fact(peer(name), { authorities: AUTHORITIES, verified_by_envoy: false }))).toBe(expected);
  });

  it.each<[string, PemName, readonly PemName[], string]>([
    ['an intermediate', 'leafOfIntermediate', ['intermediate'], 'yes'],
    [
      'the chain as Envoy sends it, with leaf and root',
      'leafOfIntermediate',
      ['leafOfIntermediate', 'intermediate', 'root'],
      'yes',
    ],
    ['any order', 'leafOfIntermediate', ['root', 'selfSigned', 'intermediate', 'leafOfIntermediate'], 'yes'],
    ['a self-issued certificate below path length 0', 'leafOfRollover', ['rollover', 'intermediate'], 'yes'],
    ['path length 0 with an authority below', 'leafOfSub', ['sub', 'intermediate'], 'no'],
    ['an issuer that is no authority', 'leafOfNotAuthority', ['notAuthority'], 'no'],
    ['an issuer without basic constraints', 'leafOfNoConstraints', ['noConstraints'], 'no'],
    ['an issuer whose key may not sign', 'leafOfNoSigning', ['noSigning'], 'no'],
    ['an issuer for servers only', 'leafOfServerAuthority', ['serverAuthority'], 'no'],
    ['an issuer with name constraints', 'leafOfConstrained', ['constrained'], 'no'],
    ['an issuer with a weak key', 'leafOfWeakAuthority', ['weakAuthority'], 'no'],
    ['a chain to another root', 'leafOfSameName', ['sameNameRoot'], 'no'],
    ['a gap', 'leafOfSub', ['sub'], 'no'],
    ['nothing', 'leafOfIntermediate', [], 'no'],
  ])('over %s', (_, leaf, chain, expected) => {
    const sent = chain.map((name) => PEM[name]).join('');
    const header = `Hash=${hash(leaf)};Cert="${encodedLikeEnvoy(PEM[leaf])}";Chain="${encodedLikeEnvoy(sent)}"`;
    expect(verified(fact(xfcc(header), { from: ['xfcc'], authorities: AUTHORITIES }))).toBe(expected);
    expect(verified(fact({ ...xfcc(header), ...peer(leaf) }, { authorities: AUTHORITIES }))).toBe(expected);
    const windows = chainWindows(parsed(leaf), chain.map(parsed), AUTHORITIES);
    expect(windows.length > 0).toBe(expected === 'yes');
  });

  it('takes intermediates from the file', () => {
    expect(verified(fact(peer('leafOfIntermediate'), { authorities: authorities('root', 'intermediate') }))).toBe(
      'yes',
    );
    expect(verified(fact(peer('leafOfSub'), { authorities: authorities('root', 'intermediate', 'sub') }))).toBe('no');
  });

  it('ends at an intermediate whose issuer is not in the file', () => {
    const only = authorities('intermediate');
    expect(verified(fact(peer('leafOfIntermediate'), { authorities: only }))).toBe('yes');
    expect(verified(fact(peer('leaf'), { authorities: only }))).toBe('no');
  });

  it('tells authorities of one name apart', () => {
    const both = authorities('sameNameRoot', 'root');
    expect(verified(fact(peer('leaf'), { authorities: both }))).toBe('yes');
    expect(verified(fact(peer('leafOfSameName'), { authorities: both }))).toBe('yes');
    expect(verified(fact(peer('leafOfSameName'), { authorities: AUTHORITIES }))).toBe('no');
  });

  it('does not mind how an authority of the file is signed itself', () => {
    expect(verified(fact(peer('leafOfSha1Root'), { authorities: authorities('sha1Root') }))).toBe('yes');
  });

  it('asks for the dates of every certificate of the chain', () => {
    const both = authorities('root', 'intermediate');
    const at = (days: number): string =>
      verified(fact(peer('leafOfIntermediate'), { authorities: both }, NOW + days * DAY_MS));
    // The intermediate ends after 20 days, the leaf after 30, the root after 100.
    expect([at(-2), at(0), at(18), at(20), at(25), at(40)]).toEqual(['no', 'yes', 'yes', 'no', 'no', 'no']);
    const [window] = chainWindows(parsed('leafOfIntermediate'), [], both);
    expect(window?.untilMs).toBe(parsed('intermediate').untilMs);
  });

  it('says from one source at different times what holds then', () => {
    const source = createCertificateSource({ from: ['peer'], authorities: AUTHORITIES, verified_by_envoy: true });
    const request = connectionRequest(peer('leaf'));
    const at = (days: number): string => verified(source(request, NOW + days * DAY_MS));
    expect([at(0), at(40), at(0), at(-2)]).toEqual(['yes', 'no', 'yes', 'no']);
  });

  it('uses a chain of the header also for the certificate of the peer, and does not mind a broken header', () => {
    const told = { ...peer('leaf'), ...xfcc('Hash="') };
    expect(verified(fact(told, { authorities: AUTHORITIES }))).toBe('yes');
  });

  it('stays quick and says no when a peer sends a forest', () => {
    const sent = [parsed('sub'), parsed('rollover'), parsed('intermediate'), parsed('sameNameRoot'), parsed('root')];
    const forest = Array.from({ length: 200 }, () => sent).flat();
    expect(chainWindows(parsed('leafOfSub'), forest, authorities('sha1Root'))).toEqual([]);
  });
});

describe('the XFCC header', () => {
  const settings = { from: ['xfcc'] } as const;

  it.each<[string, unknown]>([
    [
      `By=spiffe://td/a;Hash=${'0'.repeat(64)};Subject="";URI=spiffe://td/b`,
      { commonName: { state: 'none' }, uris: ['spiffe://td/b'] },
    ],
    [
      `Hash=H;Subject="CN=ann,O=Acme\\, Inc.";DNS=a.example;DNS=b.example`,
      { commonName: { state: 'one', value: 'ann' }, dnsNames: ['a.example', 'b.example'] },
    ],
    ['Hash=H;URI=https://x/?a=b', { commonName: { state: 'hidden' }, uris: ['https://x/?a=b'] }],
    ['Hash=H;URI=', { commonName: { state: 'hidden' }, uris: [] }],
    ['Hash=H,By=spiffe://gw;Hash=H;URI=spiffe://td/last', { uris: ['spiffe://td/last'] }],
    ['Hash=H;Subject="CN=a\\"b"', { commonName: { state: 'one', value: 'a"b' } }],
    ['Hash=H;Subject="CN=a\\\\";URI=spiffe://x', { commonName: { state: 'one', value: 'a\\' }, uris: ['spiffe://x'] }],
    ['Hash=H;Subject="CN=a,URI=spiffe://evil"', { commonName: { state: 'one', value: 'a' }, uris: [] }],
    ['hash=H;SUBJECT=CN=a', { commonName: { state: 'one', value: 'a' } }],
    ['Hash=H;Issuer="CN=ca";Future=1', { commonName: { state: 'hidden' } }],
    ['Hash=H;Subject="CN=a,CN=b"', { commonName: { state: 'several' } }],
    ['Hash=H;Subject="CN=#0C0161"', { commonName: { state: 'several' } }],
    ['Hash=H;Subject="/C=CA/CN=a"', { commonName: { state: 'several' } }],
  ])('%s', (header, names) => {
    expect(fact(xfcc(header), settings)).toMatchObject({
      state: 'present',
      verified: 'yes',
      clientUsage: 'hidden',
      ...Object(names),
    });
    expect(verified(fact(xfcc(header), { ...settings, authorities: AUTHORITIES }))).toBe('unknown');
  });

  it('reads the certificate where there is one, and nothing else', () => {
    const header = `Hash=${hash('leaf').toUpperCase()};Cert="${encodedLikeEnvoy(PEM.leaf)}";Subject="CN=root";URI=spiffe://evil`;
    expect(fact(xfcc(header), settings)).toMatchObject({
      commonName: { state: 'one', value: 'ann' },
      uris: ['spiffe://td/ann'],
      clientUsage: 'fits',
    });
    expect(verified(fact(xfcc(header), settings, NOW + 40 * DAY_MS))).toBe('no');
  });

  it.each<[string, string]>([
    ['another hash', `Hash=${'0'.repeat(64)};Cert="${encodedLikeEnvoy(PEM.leaf)}"`],
    ['a hash that is none', `Hash=H;Cert="${encodedLikeEnvoy(PEM.leaf)}"`],
    ['a certificate that is none', `Hash=${hash('leaf')};Cert="hello"`],
    ['an open quote', `Hash=${hash('leaf')};Subject="CN=a`],
    ['nothing', ''],
    ['another element that is broken', `Cert="%zz",Hash=${hash('leaf')};Subject="CN=a"`],
  ])('is unreadable with %s', (_, header) => {
    expect(fact(xfcc(header), settings).state).toBe('unreadable');
    expect(verified(fact(xfcc(header), { ...settings, verified_by_envoy: false }))).toBe('no');
  });

  it('is one list where it comes several times', () => {
    const headers = { 'x-forwarded-client-cert': ['Hash=H;Subject="CN=a"', 'Hash=H;Subject="CN=b"'] };
    expect(fact({ headers }, settings)).toMatchObject({ commonName: { value: 'b' } });
    const split = { 'x-forwarded-client-cert': ['Hash=H;Subject="CN=a', 'Hash=H;Subject="CN=b"'] };
    expect(fact({ headers: split }, settings).state).toBe('unreadable');
  });

  it('is not looked at unless it is configured', () => {
    expect(fact(xfcc(`Hash=H;Subject="CN=ann"`))).toEqual({ state: 'none' });
  });
});

describe('several sources', () => {
  const both = { from: ['peer', 'xfcc'] } as const;

  it('uses the first that shows one', () => {
    const header = xfcc('Hash=H;Subject="CN=bob"');
    expect(fact({ ...peer('leaf'), ...header }, both)).toMatchObject({ commonName: { value: 'ann' } });
    expect(fact({ ...peer('leaf'), ...header }, { from: ['xfcc', 'peer'] })).toMatchObject({
      commonName: { value: 'bob' },
    });
    expect(fact(header, both)).toMatchObject({ commonName: { value: 'bob' } });
    expect(fact({}, both)).toEqual({ state: 'none' });
  });

  it('does not go on to the next where the first is unreadable', () => {
    expect(fact({ certificate: 'hello', ...xfcc('Hash=H;Subject="CN=bob"') }, both).state).toBe('unreadable');
    expect(fact({ ...peer('leaf'), ...xfcc('Hash="') }, { from: ['xfcc', 'peer'] }).state).toBe('unreadable');
  });

  it('keeps what it read of one from being taken for another', () => {
    const source = createCertificateSource({ from: ['xfcc'], authorities: AUTHORITIES, verified_by_envoy: true });
    const ask = (leaf: string, chain: string): CertificateFact =>
      source(connectionRequest(xfcc(`Cert="${encodedLikeEnvoy(leaf)}";Chain="${encodedLikeEnvoy(chain)}"`)), NOW);
    expect(verified(ask(PEM.leafOfIntermediate, PEM.intermediate))).toBe('yes');
    // The same text, cut at another place.
    expect(ask(PEM.selfSigned + PEM.leaf, PEM.root)).toMatchObject({ verified: 'no' });
    expect(ask(PEM.leaf, PEM.root + PEM.selfSigned)).toMatchObject({ verified: 'yes' });
    expect(ask(PEM.selfSigned + PEM.leaf, PEM.root)).toMatchObject({ verified: 'no' });
  });
});

describe('readAuthorities', () => {
  it.each<[string, string]>([
    ['nothing', ''],
    ['no PEM', 'hello'],
    ['a key', '-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n'],
    ['a block without end', PEM.root.slice(0, 300)],
    ['a broken one', PEM.root + pemOf(derOf('root').subarray(0, -1))],
    ['no authority', PEM.root + PEM.leaf],
    ['one without basic constraints', PEM.noConstraints],
    ['name constraints', PEM.root + PEM.constrained],
    ['a weak key', PEM.weakRoot],
  ])('finds fault with %s', (_, pem) => {
    expect(readAuthorities(pem)).toMatchObject({ code: 'authorities_invalid' });
  });

  it('reads several, with text between them', () => {
    const read = readAuthorities(`Our root:\n${PEM.root}\r\nand another\r\n${PEM.sha1Root.replaceAll('\n', '\r\n')}`);
    expect('value' in read && read.value.ends.size).toBe(2);
  });
});

describe('readCertificate', () => {
  it('never throws, whatever byte of a certificate is changed', () => {
    const der = derOf('leaf');
    fc.assert(
      fc.property(fc.nat(der.length - 1), fc.nat(255), (place, byte) => {
        const changed = Buffer.from(der);
        changed[place] = byte;
        const certificate = readCertificate(changed);
        if (certificate === undefined) return;
        // Whatever it says now, it no longer chains, unless nothing was changed.
        const isSame = changed.equals(der);
        expect(chainWindows(certificate, [], AUTHORITIES).length > 0).toBe(isSame);
      }),
      { numRuns: 300 },
    );
  });

  it('agrees with Node on every certificate made here', () => {
    for (const name of Object.keys(PEM) as PemName[]) {
      const node = new X509Certificate(PEM[name]);
      const ours = parsed(name);
      expect(ours.isAuthority && ours.keyUsage?.certificateSign !== false, name).toBe(node.ca);
      expect(ours.fromMs, name).toBe(Date.parse(node.validFrom));
      expect(ours.untilMs, name).toBe(Date.parse(node.validTo) + 1000);
      expect(ours.extendedKeyUsage, name).toEqual(node.keyUsage);
      for (const uri of ours.uris) expect(node.subjectAltName).toContain(`URI:${uri}`);
    }
  });
});

/** A certificate whose common name, `aXYb` before, has these bytes. Its signature is then wrong. */
function patched(bytes: readonly number[]): string {
  const der = Buffer.from(derOf('patchMe'));
  // The last is the subject's; the issuer is the same and comes before it.
  const found = der.lastIndexOf('aXYb');
  if (found < 0) throw new Error('the common name is not there');
  der.set(bytes, found);
  return encodedLikeEnvoy(pemOf(der));
}

function derOf(name: PemName): Buffer {
  return new X509Certificate(PEM[name]).raw;
}

function pemOf(der: Uint8Array): string {
  return `-----BEGIN CERTIFICATE-----\n${Buffer.from(der).toString('base64')}\n-----END CERTIFICATE-----\n`;
}
