import { groupsJudge, linkProvider, providerJudge, seenGroups, seenProvider } from './rule.ts';
import type { RuleType } from './rule.ts';
import { at } from '../model/fault.ts';
import { exactObject, id, isId, quoted, text } from '../shared/shape.ts';
import type { ShapeOutput } from '../shared/shape.ts';

const shape = exactObject({
  id: text().describe('The object id of the group.'),
  identity_provider_id: id("write the identity provider's id").describe(
    'The identity provider that the login must have come from, by its id in identity.providers.',
  ),
});

/** A group of Microsoft Entra ID, by object id. Source: Cloudflare Access, rule type `azureAD`. */
export const azureAD: RuleType<ShapeOutput<typeof shape>> = {
  word: 'azureAD',
  description:
    'Met when the login came from this provider and the user is in its group of this id (letter case aside).',
  reads: 'provider',
  shape,
  needs: () => [{ fact: 'identity' }],
  link({ value, place }, scope, report) {
    linkProvider(value.identity_provider_id, at(place, 'identity_provider_id'), scope, report);
  },
  anyOf: (values) =>
    providerJudge(values, (ofOne) => {
      const ids = new Set(ofOne.map((value) => value.id.toLowerCase()));
      return groupsJudge((group) => group.id !== undefined && ids.has(group.id.toLowerCase()));
    }),
  seen: (context) => seenProvider(context, seenGroups),
  providerTypes: ['azureAD'],
  unusual: ({ id: group }) =>
    isId(group)
      ? undefined
      : { text: `group id ${quoted(group)} is no GUID`, mend: 'write the Object ID that Entra shows for the group' },
};
