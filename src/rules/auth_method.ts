import { identityJudge, seenIdentity } from './rule.ts';
import type { RuleType } from './rule.ts';
import { exactObject, quoted, text } from '../shared/shape.ts';
import type { ShapeOutput } from '../shared/shape.ts';

const shape = exactObject({ auth_method: text().describe('A value of the amr claim, e.g. mfa.') });

/** A method by which the user authenticated (`amr`, RFC 8176). Source: Cloudflare Access, rule type `auth_method`. */
export const authMethod: RuleType<ShapeOutput<typeof shape>> = {
  word: 'auth_method',
  description: "Met when the token's amr claim holds this authentication method (RFC 8176), letter case included.",
  reads: 'identity',
  shape,
  needs: () => [{ fact: 'identity' }],
  anyOf(values) {
    const methods = new Set(values.map((value) => value.auth_method));
    return identityJudge(({ amr }) => {
      if (amr === undefined) return 'not_stated';
      return amr.some((method) => methods.has(method)) ? 'met' : 'unmet';
    });
  },
  seen: (context) =>
    seenIdentity(context, ({ amr }) => (amr === undefined ? 'amr not stated' : `amr ${amr.join(' ') || 'empty'}`)),
  unusual: ({ auth_method: method }) =>
    REGISTERED.has(method)
      ? undefined
      : {
          text: `${quoted(method)} is no authentication method of RFC 8176`,
          mend: 'compare it with the amr of a real token',
        },
};

/** RFC 8176 section 2. */
const REGISTERED: ReadonlySet<string> = new Set(
  'face fpt geo hwk iris kba mca mfa otp pin pop pwd rba retina sc sms swk tel user vbm wia'.split(' '),
);
