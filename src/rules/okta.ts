import { groupsJudge, linkProvider, providerJudge, seenGroups, seenProvider } from './rule.ts';
import type { RuleType } from './rule.ts';
import { at } from '../model/fault.ts';
import { exactObject, id, text } from '../shared/shape.ts';
import type { ShapeOutput } from '../shared/shape.ts';

const shape = exactObject({
  name: text().describe('The name of the group.'),
  identity_provider_id: id("write the identity provider's id").describe(
    'The identity provider that the login must have come from, by its id in identity.providers.',
  ),
});

/** A group of Okta, by name. Source: Cloudflare Access, rule type `okta`. */
export const okta: RuleType<ShapeOutput<typeof shape>> = {
  word: 'okta',
  description:
    'Met when the login came from this provider and the user is in its group of this name, letter case included.',
  reads: 'provider',
  shape,
  needs: () => [{ fact: 'identity' }],
  link({ value, place }, scope, report) {
    linkProvider(value.identity_provider_id, at(place, 'identity_provider_id'), scope, report);
  },
  anyOf: (values) =>
    providerJudge(values, (ofOne) => {
      const names = new Set(ofOne.map((value) => value.name));
      return groupsJudge((group) => group.name !== undefined && names.has(group.name));
    }),
  seen: (context) => seenProvider(context, seenGroups),
  providerTypes: ['okta'],
};
