import { exactObject } from '../shared/shape.ts';
import type { ShapeOutput } from '../shared/shape.ts';
import { contextKeys } from './context-keys.ts';
import type { FactorType } from './factor.ts';

const shape = exactObject(contextKeys);

/** Whether the connection presents a client certificate that counts as verified and may be used to authenticate a
 *  client. Revocation is Envoy's task. Source: Entrust's DeviceCertificateContext. */
export const deviceCertificate: FactorType<ShapeOutput<typeof shape>> = {
  name: 'deviceCertificate',
  property: 'deviceCertificateContext',
  isList: false,
  description: 'At risk where the connection has no verified client certificate.',
  shape,
  needs: () => [{ fact: 'certificate' }],
  compile:
    () =>
    ({ certificate }) => {
      if (certificate.state === 'none') return 'RISK';
      if (certificate.state === 'unreadable') return 'UNKNOWN';
      if (certificate.verified === 'no' || certificate.clientUsage === 'unfit') return 'RISK';
      return certificate.verified === 'yes' ? 'NO_RISK' : 'UNKNOWN';
    },
  unknownCounts: () => 'RISK',
  seen: ({ certificate }) => {
    if (certificate.state !== 'present') return `certificate ${certificate.state}`;
    return `certificate verified: ${certificate.verified}, usage: ${certificate.clientUsage}`;
  },
};
