/** Which object a place of a policy file belongs to. */
import type { Place } from '../model/fault.ts';
import { isReference } from './objects.ts';
import type { ObjectKind, PolicySet } from './objects.ts';

/** What an object of each kind is called. */
export const NOUNS: Readonly<Record<ObjectKind, string>> = {
  applications: 'application',
  policies: 'policy',
  groups: 'group',
  lists: 'list',
  serviceTokens: 'service token',
  scimGroups: 'SCIM group',
  resourceRules: 'resource rule',
  flows: 'authentication flow',
  acrs: 'acr',
  authenticators: 'authenticator of issuer',
  transactionRules: 'transaction rule',
  riskEngines: 'risk engine',
};

/** The object that a place is in, as one says it: `group "Engineering"`, `policy "Engineers" of application "Orders"`.
 *  Undefined where the place is in none. */
export function ownerOf(set: PolicySet, place: Place): string | undefined {
  for (const kind of Object.keys(NOUNS) as ObjectKind[]) {
    for (const object of set[kind]) {
      if (!isWithin(place, object.place)) continue;
      const whole = `${NOUNS[kind]} ${JSON.stringify(nameOf(object))}`;
      if (!('policies' in object)) return whole;
      const inner = object.policies.find((entry) => !isReference(entry) && isWithin(place, entry.place));
      return inner && !isReference(inner) ? `policy ${JSON.stringify(inner.name)} of ${whole}` : whole;
    }
  }
  return undefined;
}

function isWithin(place: Place, whole: Place): boolean {
  return (
    place.file === whole.file &&
    place.path.length >= whole.path.length &&
    whole.path.every((step, depth) => place.path[depth] === step)
  );
}

function nameOf(object: PolicySet[ObjectKind][number]): string {
  if ('name' in object) return object.name;
  return 'displayName' in object ? object.displayName : object.issuer;
}
