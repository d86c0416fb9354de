import { unknownReference } from './rule.ts';
import type { LinkedGroup, RuleType } from './rule.ts';
import { at } from '../model/fault.ts';
import { firstCause, isUnknown } from '../model/verdict.ts';
import type { Verdict } from '../model/verdict.ts';
import { exactObject, text } from '../shared/shape.ts';
import type { ShapeOutput } from '../shared/shape.ts';

const shape = exactObject({ id: text().describe('The id or the exact name of the group.') });

/** A group of this policy set, by id or by exact name; its own verdict, unknown included. Source: Cloudflare Access,
 *  rule type `group`. */
export const group: RuleType<ShapeOutput<typeof shape>> = {
  word: 'group',
  description: 'Met when this group is met: named by its id, or by its exact name.',
  reads: 'group',
  shape,
  needs: (value, scope) => scope.group(value.id)?.needs ?? [],
  link({ value, place }, scope, report) {
    if (!scope.group(value.id)) report(unknownReference('group', 'group', value.id, at(place, 'id'), scope));
  },
  anyOf(values, scope) {
    const named = values.map((value) => scope.group(value.id));
    const groups = [...new Set(named)].filter((one) => one !== undefined);
    const otherwise: Verdict = named.includes(undefined) ? 'unavailable' : 'unmet';
    return (context) => anyOfGroups(groups, context, otherwise);
  },
  seen(context, value) {
    return `group ${value.id}${context.identity.state === 'known' ? '' : ', nobody known to be logged in'}`;
  },
};

/** Groups are asked when judging and not before, because they may name each other in any order. */
function anyOfGroups(
  groups: readonly LinkedGroup[],
  context: Parameters<LinkedGroup['judge']>[0],
  otherwise: Verdict,
): Verdict {
  let whole = otherwise;
  for (const one of groups) {
    const verdict = one.judge(context);
    if (verdict === 'met') return 'met';
    if (isUnknown(verdict)) whole = isUnknown(whole) ? firstCause(whole, verdict) : verdict;
  }
  return whole;
}
