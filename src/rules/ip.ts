import type { RuleType } from './rule.ts';
import { cidrText, isWithin, prefixTable } from '../shared/cidr.ts';
import { exactObject } from '../shared/shape.ts';
import type { ShapeOutput } from '../shared/shape.ts';

const shape = exactObject({ ip: cidrText().describe('An address or a CIDR block, e.g. 203.0.113.0/24.') });

/** A block of client addresses. Source: Cloudflare Access, rule type `ip`. */
export const ip: RuleType<ShapeOutput<typeof shape>> = {
  word: 'ip',
  description: "Met when the client's address is in this block; a bare address is a block of one.",
  reads: 'connection',
  shape,
  needs: () => [{ fact: 'address' }],
  anyOf(values) {
    const table = prefixTable(values.map((value) => value.ip));
    return ({ address }) => {
      if (!address) return 'unavailable';
      return table.has(address) ? 'met' : 'unmet';
    };
  },
  seen: ({ address }) => (address ? `address ${address.text}` : 'address not known'),
  singleFact: 'address',
  compatible: (a, b) => isWithin(a.ip, b.ip) || isWithin(b.ip, a.ip),
};
