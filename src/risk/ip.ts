import { fault, at, warning } from '../model/fault.ts';
import { cidrsOf, cidrText, prefixTable } from '../shared/cidr.ts';
import type { PrefixTable } from '../shared/cidr.ts';
import { also, exactObject, listOf, quoted, text, word } from '../shared/shape.ts';
import type { ShapeOutput } from '../shared/shape.ts';
import { contextKeys } from './context-keys.ts';
import type { FactorScope, FactorType } from './factor.ts';

const shape = also(
  exactObject({
    ...contextKeys,
    type: word(['CUSTOM']).optional().describe('Only CUSTOM.'),
    allowedIpList: text().optional().describe('The id of a list of type IP.'),
    deniedIpList: text().optional().describe('The id of a list of type IP; without effect where anything is allowed.'),
    allowedIpRanges: listOf(cidrText()).optional().describe('Addresses and CIDR blocks.'),
    deniedIpRanges: listOf(cidrText())
      .optional()
      .describe('Addresses and CIDR blocks; without effect where anything is allowed.'),
  }),
  (context) =>
    isAnythingAllowed(context) || isAnythingDenied(context)
      ? []
      : [
          {
            code: 'ip_context_empty',
            text: 'expected allowed or denied addresses, found none',
            mend: 'give allowedIpRanges, deniedIpRanges, allowedIpList or deniedIpList',
          },
        ],
);

type IpContext = ShapeOutput<typeof shape>;

/** Whether the client's address is where it may be. A list and the ranges of one kind are a union; where anything is
 *  allowed, what is denied has no effect. Source: Entrust's IpContext. */
export const ip: FactorType<IpContext> = {
  name: 'ip',
  property: 'ipContext',
  isList: false,
  description: 'At risk outside the allowed addresses; where none are allowed, inside the denied ones.',
  shape,
  needs: () => [{ fact: 'address' }],
  link(context, place, scope, report) {
    for (const key of ['allowedIpList', 'deniedIpList'] as const) {
      const id = context[key];
      if (id === undefined) continue;
      const list = scope.list(id);
      if (!list) {
        const near = scope.nearest('list', id);
        report(
          fault(
            at(place, key),
            'list_unknown',
            `no list has the id ${quoted(id)}`,
            near === undefined ? 'add the list under lists:' : `did you mean ${quoted(near)}?`,
          ),
        );
      } else if (list.type !== 'IP') {
        report(
          fault(
            at(place, key),
            'list_type_mismatch',
            `expected a list of type IP, found one of type ${list.type}`,
            'name a list of type IP',
          ),
        );
      }
    }
    if (isAnythingAllowed(context) && isAnythingDenied(context)) {
      report(
        warning(
          place,
          'denied_ignored',
          'addresses are allowed, so that the denied ones have no effect',
          'remove deniedIpList and deniedIpRanges, or use a second rule for them',
        ),
      );
    }
  },
  compile(context, scope) {
    // An allowed list that has become empty allows nobody; it does not let everybody in.
    const mustBeInside = isAnythingAllowed(context);
    const table = mustBeInside
      ? tableOf(context.allowedIpList, context.allowedIpRanges, scope)
      : tableOf(context.deniedIpList, context.deniedIpRanges, scope);
    return ({ address }) => {
      if (!address) return 'UNKNOWN';
      return table.has(address) === mustBeInside ? 'NO_RISK' : 'RISK';
    };
  },
  unknownCounts: () => 'RISK',
  seen: ({ address }) => (address ? `address ${address.text}` : 'no readable address'),
};

function isAnythingAllowed(context: IpContextKeys): boolean {
  return context.allowedIpList !== undefined || (context.allowedIpRanges?.length ?? 0) > 0;
}

function isAnythingDenied(context: IpContextKeys): boolean {
  return context.deniedIpList !== undefined || (context.deniedIpRanges?.length ?? 0) > 0;
}

interface IpContextKeys {
  readonly allowedIpList?: string | undefined;
  readonly deniedIpList?: string | undefined;
  readonly allowedIpRanges?: readonly unknown[] | undefined;
  readonly deniedIpRanges?: readonly unknown[] | undefined;
}

function tableOf(listId: string | undefined, ranges: IpContext['allowedIpRanges'], scope: FactorScope): PrefixTable {
  const list = listId === undefined ? undefined : scope.list(listId);
  return prefixTable([...(ranges ?? []), ...cidrsOf(list?.items ?? [])]);
}
