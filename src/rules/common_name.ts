import { certificateVerdict, seenCertificate } from './rule.ts';
import type { RuleType } from './rule.ts';
import type { CertificateFact } from '../model/facts.ts';
import { both } from '../model/verdict.ts';
import type { Verdict } from '../model/verdict.ts';
import { exactObject, text } from '../shared/shape.ts';
import type { ShapeOutput } from '../shared/shape.ts';

const shape = exactObject({ common_name: text().describe("The one common name of the certificate's subject.") });

/** A verified client certificate whose subject has exactly this common name. Source: Cloudflare Access, rule type
 *  `common_name`. */
export const commonName: RuleType<ShapeOutput<typeof shape>> = {
  word: 'common_name',
  description:
    'Met when the client presented a verified certificate whose subject has this one common name, letter case included.',
  reads: 'connection',
  shape,
  needs: () => [{ fact: 'certificate' }],
  anyOf(values) {
    const names = new Set(values.map((value) => value.common_name));
    return ({ certificate }) => both(certificateVerdict(certificate), nameVerdict(certificate, names));
  },
  seen: (context) => seenCertificate(context.certificate),
  singleFact: 'common name',
};

function nameVerdict(certificate: CertificateFact, names: ReadonlySet<string>): Verdict {
  if (certificate.state === 'none') return 'unmet';
  if (certificate.state === 'unreadable') return 'unavailable';
  const { commonName: found } = certificate;
  switch (found.state) {
    case 'one':
      return names.has(found.value) ? 'met' : 'unmet';
    case 'none':
      return 'unmet';
    case 'several':
      return 'not_stated';
    case 'hidden':
      return 'unavailable';
  }
}
