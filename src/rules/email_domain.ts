import { emailJudge, seenEmail } from './rule.ts';
import type { RuleType } from './rule.ts';
import { domainText } from '../shared/email.ts';
import { exactObject } from '../shared/shape.ts';
import type { ShapeOutput } from '../shared/shape.ts';

const shape = exactObject({ domain: domainText().describe('The domain, e.g. example.com.') });

/** All e-mail addresses of one domain, its sub-domains not included. Source: Cloudflare Access, rule type
 *  `email_domain`. */
export const emailDomain: RuleType<ShapeOutput<typeof shape>> = {
  word: 'email_domain',
  description: "Met when the user's e-mail address is of exactly this domain; sub-domains do not count.",
  reads: 'identity',
  shape,
  needs: () => [{ fact: 'identity' }],
  anyOf(values) {
    const domains = new Set(values.map((value) => value.domain));
    return emailJudge((address) => (domains.has(address.slice(address.lastIndexOf('@') + 1)) ? 'met' : 'unmet'));
  },
  seen: seenEmail,
  singleFact: 'email domain',
};
