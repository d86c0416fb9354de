import { attributesJudge, linkProvider, providerJudge, seenProvider } from './rule.ts';
import type { RuleType } from './rule.ts';
import { at } from '../model/fault.ts';
import { exactObject, id, text } from '../shared/shape.ts';
import type { ShapeOutput } from '../shared/shape.ts';

const shape = exactObject({
  attribute_name: text().describe('The name of the attribute.'),
  attribute_value: text().describe('The value that it must have.'),
  identity_provider_id: id("write the identity provider's id").describe(
    'The identity provider that the login must have come from, by its id in identity.providers.',
  ),
});

/** A value of a SAML attribute. Source: Cloudflare Access, rule type `saml`. */
export const saml: RuleType<ShapeOutput<typeof shape>> = {
  word: 'saml',
  description:
    'Met when the login came from this provider and this SAML attribute, or one of its values, is exactly this.',
  reads: 'provider',
  shape,
  needs: () => [{ fact: 'identity' }],
  link({ value, place }, scope, report) {
    linkProvider(value.identity_provider_id, at(place, 'identity_provider_id'), scope, report);
  },
  anyOf: (values) =>
    providerJudge(values, (ofOne) => {
      const judge = attributesJudge(ofOne.map((value) => [value.attribute_name, value.attribute_value]));
      return ({ samlAttributes }) => judge(samlAttributes);
    }),
  seen: (context, { attribute_name: name }) =>
    seenProvider(context, ({ samlAttributes }) =>
      samlAttributes.has(name) ? `${name} = ${JSON.stringify(samlAttributes.get(name))}` : `no attribute ${name}`,
    ),
  providerTypes: ['saml'],
};
