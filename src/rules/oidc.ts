import { attributesJudge, linkProvider, providerJudge, seenProvider } from './rule.ts';
import type { RuleType } from './rule.ts';
import { at } from '../model/fault.ts';
import { exactObject, id, text } from '../shared/shape.ts';
import type { ShapeOutput } from '../shared/shape.ts';

const shape = exactObject({
  claim_name: text().describe('The name of the claim.'),
  claim_value: text().describe('The value that it must have; numbers and booleans as JSON writes them.'),
  identity_provider_id: id("write the identity provider's id").describe(
    'The identity provider that the login must have come from, by its id in identity.providers.',
  ),
});

/** A value of an OpenID Connect claim. Source: Cloudflare Access, rule type `oidc`. */
export const oidc: RuleType<ShapeOutput<typeof shape>> = {
  word: 'oidc',
  description:
    'Met when the login came from this provider and the claim of this name, or one element of it, is exactly this.',
  reads: 'provider',
  shape,
  needs: () => [{ fact: 'identity' }],
  link({ value, place }, scope, report) {
    linkProvider(value.identity_provider_id, at(place, 'identity_provider_id'), scope, report);
  },
  anyOf: (values) =>
    providerJudge(values, (ofOne) => {
      const judge = attributesJudge(ofOne.map((value) => [value.claim_name, value.claim_value]));
      return ({ oidcClaims }) => judge(oidcClaims);
    }),
  seen: (context, { claim_name: name }) =>
    seenProvider(context, ({ oidcClaims }) =>
      oidcClaims.has(name) ? `${name} = ${JSON.stringify(oidcClaims.get(name))}` : `no claim ${name}`,
    ),
  providerTypes: ['oidc', 'okta', 'azureAD', 'google-apps', 'google', 'onelogin', 'pingone', 'centrify', 'linkedin'],
};
