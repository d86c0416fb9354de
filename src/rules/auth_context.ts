import { linkProvider, providerJudge, seenProvider } from './rule.ts';
import type { RuleType } from './rule.ts';
import { at } from '../model/fault.ts';
import { exactObject, id, text } from '../shared/shape.ts';
import type { ShapeOutput } from '../shared/shape.ts';

const shape = exactObject({
  id: text().describe('The id of the context at Entra; kept, without effect.'),
  ac_id: text().describe('The value that the acrs claim must hold, e.g. c1.'),
  identity_provider_id: id("write the identity provider's id").describe(
    'The identity provider that the login must have come from, by its id in identity.providers.',
  ),
});

/** An authentication context that Entra ID asked for (`acrs`). Source: Cloudflare Access, rule type `auth_context`. */
export const authContext: RuleType<ShapeOutput<typeof shape>> = {
  word: 'auth_context',
  description:
    "Met when the login came from this provider and the token's acrs claim holds this authentication context.",
  reads: 'provider',
  shape,
  needs: () => [{ fact: 'identity' }],
  link({ value, place }, scope, report) {
    linkProvider(value.identity_provider_id, at(place, 'identity_provider_id'), scope, report);
  },
  anyOf: (values) =>
    providerJudge(values, (ofOne) => {
      const contexts = new Set(ofOne.map((value) => value.ac_id));
      return ({ authContexts }) => (authContexts.some((one) => contexts.has(one)) ? 'met' : 'unmet');
    }),
  seen: (context) =>
    seenProvider(context, ({ authContexts }) => `authentication contexts ${authContexts.join(' ') || 'none'}`),
  providerTypes: ['azureAD'],
};
