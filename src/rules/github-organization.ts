import { groupsJudge, linkProvider, providerJudge, seenGroups, seenProvider } from './rule.ts';
import type { RuleType } from './rule.ts';
import { at } from '../model/fault.ts';
import type { IdentityGroup } from '../model/identity.ts';
import { exactObject, id, text, z } from '../shared/shape.ts';
import type { ShapeOutput } from '../shared/shape.ts';

const shape = exactObject({
  name: text().describe('The organisation.'),
  team: z
    .preprocess((written) => (written === '' ? undefined : written), text().optional())
    .optional()
    .describe('The team, by name or slug; absent: any member will do.'),
  identity_provider_id: id("write the identity provider's id").describe(
    'The identity provider that the login must have come from, by its id in identity.providers.',
  ),
});

/** An organisation of GitHub, or one of its teams. The token names memberships `organisation` or
 *  `organisation/team`. Source: Cloudflare Access, rule type `github-organization`. */
export const githubOrganization: RuleType<ShapeOutput<typeof shape>> = {
  word: 'github-organization',
  description:
    'Met when the login came from this provider and the user is a member of this organisation, and of the team where one is named (letter case aside; teams by name or slug).',
  reads: 'provider',
  shape,
  needs: () => [{ fact: 'identity' }],
  link({ value, place }, scope, report) {
    linkProvider(value.identity_provider_id, at(place, 'identity_provider_id'), scope, report);
  },
  anyOf: (values) => providerJudge(values, (ofOne) => groupsJudge(membershipIn(ofOne))),
  seen: (context) => seenProvider(context, seenGroups),
  providerTypes: ['github'],
};

interface Teams {
  /** Any member will do. */
  whole: boolean;
  /** Lower-case names, and the slugs of them. */
  readonly names: Set<string>;
  /** Those that were written as slugs. */
  readonly slugs: Set<string>;
}

function membershipIn(values: readonly ShapeOutput<typeof shape>[]): (group: IdentityGroup) => boolean {
  const organizations = new Map<string, Teams>();
  for (const { name, team } of values) {
    const key = name.toLowerCase();
    const teams = organizations.get(key) ?? { whole: false, names: new Set(), slugs: new Set() };
    organizations.set(key, teams);
    if (team === undefined) {
      teams.whole = true;
      continue;
    }
    const lower = team.toLowerCase();
    const slug = slugOf(lower);
    teams.names.add(lower).add(slug);
    if (slug === lower) teams.slugs.add(slug);
  }
  return (group) => {
    const written = (group.name ?? group.id)?.toLowerCase();
    if (written === undefined) return false;
    const slash = written.indexOf('/');
    const teams = organizations.get(slash < 0 ? written : written.slice(0, slash));
    if (!teams) return false;
    if (teams.whole) return true;
    if (slash < 0) return false;
    const team = written.slice(slash + 1);
    return teams.names.has(team) || teams.slugs.has(slugOf(team));
  };
}

/** A team's slug as GitHub makes it: lower case, other characters to `-`. Letters of every script are kept: two names
 *  must not become one because neither is Latin. A name's slug is compared with a slug, never with the slug of
 *  another name ("C++" and "C#" share one). */
function slugOf(lower: string): string {
  const slug = lower
    .replaceAll(/[^\p{L}\p{M}\p{N}_]+/gu, '-')
    .replace(/^-/, '')
    .replace(/-$/, '');
  return slug === '' ? lower : slug;
}
