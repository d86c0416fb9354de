import { describe, expect, it } from 'vitest';
import { deviceCertificate } from '../../src/risk/device-certificate.ts';
import { certified, contextOf } from '../rules/contexts.ts';
import { verdictOf } from './factors.ts';

describe('the certificate of the connection', () => {
  it.each([
    ['verified, clientAuth', certified({ verified: 'yes', clientUsage: 'fits' }), 'NO_RISK'],
    [
      'verified, usage not visible: a principal alone',
      certified({ verified: 'yes', clientUsage: 'hidden' }),
      'NO_RISK',
    ],
    ['none', { certificate: { state: 'none' } as const }, 'RISK'],
    ['expired, with authorities', certified({ verified: 'no' }), 'RISK'],
    ['serverAuth only', certified({ verified: 'yes', clientUsage: 'unfit' }), 'RISK'],
    [
      'cannot be verified, and could not be used either',
      certified({ verified: 'unknown', clientUsage: 'unfit' }),
      'RISK',
    ],
    ['cannot be verified: no PEM at hand', certified({ verified: 'unknown', clientUsage: 'hidden' }), 'UNKNOWN, RISK'],
    ['unreadable', { certificate: { state: 'unreadable', why: '' } as const }, 'UNKNOWN, RISK'],
  ])('%s: %s', (_, facts, verdict) => {
    expect(verdictOf(deviceCertificate, {}, contextOf(facts))).toBe(verdict);
  });
});
