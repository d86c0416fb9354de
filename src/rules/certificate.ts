import { certificateVerdict, seenCertificate } from './rule.ts';
import type { RuleType } from './rule.ts';
import { exactObject } from '../shared/shape.ts';
import type { ShapeOutput } from '../shared/shape.ts';

const shape = exactObject({});

/** Any client certificate that counts as verified. Source: Cloudflare Access, rule type `certificate`. */
export const certificate: RuleType<ShapeOutput<typeof shape>> = {
  word: 'certificate',
  description: 'Met when the client presented a certificate that counts as verified.',
  reads: 'connection',
  shape,
  needs: () => [{ fact: 'certificate' }],
  anyOf: (values) => (values.length > 0 ? (context) => certificateVerdict(context.certificate) : () => 'unmet'),
  seen: (context) => seenCertificate(context.certificate),
};
