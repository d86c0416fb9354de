import { groupsJudge, linkProvider, providerJudge, seenGroups, seenProvider } from './rule.ts';
import type { RuleType } from './rule.ts';
import { at } from '../model/fault.ts';
import { emailText } from '../shared/email.ts';
import { exactObject, id } from '../shared/shape.ts';
import type { ShapeOutput } from '../shared/shape.ts';

const shape = exactObject({
  email: emailText().describe('The e-mail address of the group.'),
  identity_provider_id: id("write the identity provider's id").describe(
    'The identity provider that the login must have come from, by its id in identity.providers.',
  ),
});

/** A group of Google Workspace, by e-mail address. Source: Cloudflare Access, rule type `gsuite`. */
export const gsuite: RuleType<ShapeOutput<typeof shape>> = {
  word: 'gsuite',
  description:
    'Met when the login came from this provider and the user is in its group of this e-mail address (letter case aside).',
  reads: 'provider',
  shape,
  needs: () => [{ fact: 'identity' }],
  link({ value, place }, scope, report) {
    linkProvider(value.identity_provider_id, at(place, 'identity_provider_id'), scope, report);
  },
  anyOf: (values) =>
    providerJudge(values, (ofOne) => {
      const addresses = new Set(ofOne.map((value) => value.email));
      return groupsJudge((group) => group.email !== undefined && addresses.has(group.email));
    }),
  seen: (context) => seenProvider(context, seenGroups),
  providerTypes: ['google-apps'],
};
