import { identityJudge, linkProvider, seenIdentity } from './rule.ts';
import type { RuleType } from './rule.ts';
import { at } from '../model/fault.ts';
import { exactObject, id } from '../shared/shape.ts';
import type { ShapeOutput } from '../shared/shape.ts';

const shape = exactObject({
  id: id("write the identity provider's id").describe('The id of a provider of identity.providers.'),
});

/** The identity provider of this login. Source: Cloudflare Access, rule type `login_method`. */
export const loginMethod: RuleType<ShapeOutput<typeof shape>> = {
  word: 'login_method',
  description: 'Met when this login came from this identity provider.',
  reads: 'identity',
  shape,
  needs: () => [{ fact: 'identity' }],
  link({ value, place }, scope, report) {
    linkProvider(value.id, at(place, 'id'), scope, report);
  },
  anyOf(values) {
    const ids = new Set(values.map((value) => value.id));
    return identityJudge(({ provider }) => {
      if (!provider) return 'not_stated';
      return ids.has(provider.id) ? 'met' : 'unmet';
    });
  },
  seen: (context) =>
    seenIdentity(context, ({ provider }) => (provider ? `through ${provider.id}` : 'identity provider not stated')),
  singleFact: 'provider',
};
