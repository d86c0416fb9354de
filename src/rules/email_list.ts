import { emailJudge, linkList, seenEmail } from './rule.ts';
import type { RuleType } from './rule.ts';
import { at } from '../model/fault.ts';
import { normalEmail } from '../shared/email.ts';
import { exactObject, id } from '../shared/shape.ts';
import type { ShapeOutput } from '../shared/shape.ts';

const shape = exactObject({ id: id("write the list's id").describe('The id of a list of type EMAIL.') });

/** The e-mail addresses of a list of type EMAIL. Source: Cloudflare Access, rule type `email_list`. */
export const emailList: RuleType<ShapeOutput<typeof shape>> = {
  word: 'email_list',
  description: "Met when the user's e-mail address is an item of this list of type EMAIL.",
  reads: 'identity',
  shape,
  needs: () => [{ fact: 'identity' }],
  link({ value, place }, scope, report) {
    linkList(value.id, 'EMAIL', at(place, 'id'), scope, report);
  },
  anyOf(values, scope) {
    const lists = values.map((value) => scope.list(value.id));
    const addresses = new Set(lists.flatMap((list) => (list?.items ?? []).map((item) => normalEmail(item.value))));
    const otherwise = lists.includes(undefined) ? 'unavailable' : 'unmet';
    return emailJudge((address) => (addresses.has(address) ? 'met' : otherwise));
  },
  seen: seenEmail,
};
