import type { RuleObject } from '../model/objects.ts';
import { groupOf, rulesOf } from './lookups.ts';
import type { Lookups } from './lookups.ts';
import type { GroupObject, ResourceRuleObject, RuleSetObject } from './objects.ts';

/** What of a user's open-ended attributes the rules of one application can see, by name. Everything else a token
 *  says plays no part in its decisions. */
export interface AttributesRead {
  /** Claims that `oidc` rules name. */
  readonly claims: ReadonlySet<string>;
  /** Attributes that `saml` rules name. */
  readonly attributes: ReadonlySet<string>;
  /** Checks that `device_posture` rules name, in lower case. */
  readonly postureChecks: ReadonlySet<string>;
}

/** Walks the rules of the policies and of the groups that they and the resource rules name, at any depth. */
export function attributesRead(
  policies: readonly RuleSetObject[],
  resourceRules: readonly ResourceRuleObject[],
  lookups: Lookups,
): AttributesRead {
  const found: Found = { claims: new Set(), attributes: new Set(), postureChecks: new Set() };
  const seen = new Set<GroupObject>();
  const walk = (set: RuleSetObject): void => {
    for (const rule of rulesOf(set)) {
      note(rule, found);
      visit(groupOf(rule, lookups));
    }
  };
  const visit = (group: GroupObject | undefined): void => {
    if (!group || seen.has(group)) return;
    seen.add(group);
    walk(group);
  };
  policies.forEach(walk);
  for (const { groups } of resourceRules)
    for (const { id, name } of groups) visit(lookups.groupObject(id ?? name ?? ''));
  return found;
}

interface Found {
  readonly claims: Set<string>;
  readonly attributes: Set<string>;
  readonly postureChecks: Set<string>;
}

function note({ word, value }: RuleObject, found: Found): void {
  if (word === 'oidc') found.claims.add((value as { readonly claim_name: string }).claim_name);
  else if (word === 'saml') found.attributes.add((value as { readonly attribute_name: string }).attribute_name);
  else if (word === 'device_posture')
    found.postureChecks.add((value as { readonly integration_uid: string }).integration_uid.toLowerCase());
}
