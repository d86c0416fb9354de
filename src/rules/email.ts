import { emailJudge, seenEmail } from './rule.ts';
import type { RuleType } from './rule.ts';
import { emailText } from '../shared/email.ts';
import { exactObject } from '../shared/shape.ts';
import type { ShapeOutput } from '../shared/shape.ts';

const shape = exactObject({ email: emailText().describe('The e-mail address.') });

/** One e-mail address. Source: Cloudflare Access, rule type `email`. */
export const email: RuleType<ShapeOutput<typeof shape>> = {
  word: 'email',
  description: 'Met when the user has exactly this e-mail address (letter case aside).',
  reads: 'identity',
  shape,
  needs: () => [{ fact: 'identity' }],
  anyOf(values) {
    const addresses = new Set(values.map((value) => value.email));
    return emailJudge((address) => (addresses.has(address) ? 'met' : 'unmet'));
  },
  seen: seenEmail,
  singleFact: 'email',
};
