import { linkList } from './rule.ts';
import type { RuleType } from './rule.ts';
import { at } from '../model/fault.ts';
import { cidrsOf, prefixTable } from '../shared/cidr.ts';
import { exactObject, id } from '../shared/shape.ts';
import type { ShapeOutput } from '../shared/shape.ts';

const shape = exactObject({ id: id("write the list's id").describe('The id of a list of type IP.') });

/** Client addresses of a list of type IP. Source: Cloudflare Access, rule type `ip_list`. */
export const ipList: RuleType<ShapeOutput<typeof shape>> = {
  word: 'ip_list',
  description: "Met when the client's address is in an item of this list of type IP.",
  reads: 'connection',
  shape,
  needs: () => [{ fact: 'address' }],
  link({ value, place }, scope, report) {
    linkList(value.id, 'IP', at(place, 'id'), scope, report);
  },
  anyOf(values, scope) {
    const lists = values.map((value) => scope.list(value.id));
    const table = prefixTable(lists.flatMap((list) => (list ? cidrsOf(list.items) : [])));
    const otherwise = lists.includes(undefined) ? 'unavailable' : 'unmet';
    return ({ address }) => {
      if (!address) return 'unavailable';
      return table.has(address) ? 'met' : otherwise;
    };
  },
  seen: ({ address }) => (address ? `address ${address.text}` : 'address not known'),
};
