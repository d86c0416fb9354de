import { X509Certificate } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { expiriesOf } from '../../src/facts/expiries.ts';
import type { Expiring, ExpiringParts } from '../../src/facts/expiries.ts';
import { AUTHORITY, makeCertificates } from '../fixtures/certificates/make.ts';

const PEM = makeCertificates({
  old: { subject: '/O=Acme/CN=Root', days: 5, extensions: AUTHORITY },
  new: { subject: '/O=Acme/CN=Root', days: 100, extensions: AUTHORITY },
  other: { subject: '/O=Acme/CN=Other', days: 50, extensions: AUTHORITY },
  server: { subject: '/CN=postern', days: 10 },
  nameless: { subject: '/O=Acme', days: 10 },
});

const NONE: ExpiringParts = {
  serviceTokens: [],
  checkCertificate: undefined,
  checkClientAuthority: undefined,
  trustedAuthorities: undefined,
};

/** The second after notAfter, which is the first in which the certificate is not valid. */
function endOf(pem: string): number {
  return Date.parse(new X509Certificate(pem).validTo) / 1000 + 1;
}

const SECRET = 'a'.repeat(64);

describe('what will cease to be valid', () => {
  it.each<[string, Partial<ExpiringParts>, readonly Expiring[]]>([
    ['nothing', {}, []],
    [
      'a service token with a last day, others have none',
      { serviceTokens: [{ name: 'ci', expires_at: '2027-01-01T00:00:00Z' }, { name: 'forever' }] },
      [{ kind: 'service_token', name: 'ci', epochSeconds: 1_798_761_600 }],
    ],
    [
      'a service token that is switched off is nothing to renew',
      { serviceTokens: [{ name: 'ci', enabled: false, expires_at: '2027-01-01T00:00:00Z' }] },
      [],
    ],
    [
      'the previous secret of a service token, where there is one',
      {
        serviceTokens: [
          {
            name: 'ci',
            previous_client_secret_sha256: SECRET,
            previous_client_secret_expires_at: '2027-01-01T00:00:00Z',
          },
          { name: 'other', previous_client_secret_expires_at: '2027-01-01T00:00:00Z' },
        ],
      },
      [{ kind: 'service_token_secret', name: 'ci', epochSeconds: 1_798_761_600 }],
    ],
    [
      'two service tokens of one name: the first to expire',
      {
        serviceTokens: [
          { name: 'ci', expires_at: '2028-01-01T00:00:00Z' },
          { name: 'ci', expires_at: '2027-01-01T00:00:00Z' },
        ],
      },
      [{ kind: 'service_token', name: 'ci', epochSeconds: 1_798_761_600 }],
    ],
    [
      'the certificate of the check port and what stands behind it',
      { checkCertificate: Buffer.from(PEM.server + PEM.other), checkClientAuthority: PEM.other },
      [
        { kind: 'check_certificate', name: 'postern', epochSeconds: endOf(PEM.server) },
        { kind: 'check_certificate', name: 'Other', epochSeconds: endOf(PEM.other) },
        { kind: 'check_client_authority', name: 'Other', epochSeconds: endOf(PEM.other) },
      ],
    ],
    [
      'authorities: a new one beside the old of the same name takes its place',
      { trustedAuthorities: PEM.old + PEM.other + PEM.new },
      [
        { kind: 'trusted_authority', name: 'Root', epochSeconds: endOf(PEM.new) },
        { kind: 'trusted_authority', name: 'Other', epochSeconds: endOf(PEM.other) },
      ],
    ],
    [
      'of the certificates of the check port with one name, the first',
      { checkCertificate: PEM.new + PEM.old },
      [{ kind: 'check_certificate', name: 'Root', epochSeconds: endOf(PEM.old) }],
    ],
    [
      'a certificate without a common name is called by its place',
      { trustedAuthorities: PEM.other + PEM.nameless },
      [
        { kind: 'trusted_authority', name: 'Other', epochSeconds: endOf(PEM.other) },
        { kind: 'trusted_authority', name: 'number 2', epochSeconds: endOf(PEM.nameless) },
      ],
    ],
    ['no certificates', { checkCertificate: 'nonsense' }, []],
  ])('%s', (_, parts, expected) => {
    expect(expiriesOf({ ...NONE, ...parts })).toEqual(expected);
  });
});
