import { describe, expect, it } from 'vitest';
import { ip } from '../../src/risk/ip.ts';
import { contextOf, from, PLACE } from '../rules/contexts.ts';
import { reportedOf, verdictOf } from './factors.ts';

const BRANCHES = '5a6b0000-0000-4000-8000-000000000001';
const lists = [
  { id: BRANCHES, name: 'Branches', type: 'IP', items: [{ value: '198.51.100.40' }], place: PLACE },
  { id: 'emptied', name: 'Emptied', type: 'IP', items: [], place: PLACE },
  { id: 'people', name: 'People', type: 'EMAIL', items: [], place: PLACE },
];

describe('the client address', () => {
  it.each([
    ['allowed range or list', { allowedIpRanges: ['192.0.2.99/26'], allowedIpList: BRANCHES }, '192.0.2.66', 'NO_RISK'],
    ['allowed range or list', { allowedIpRanges: ['192.0.2.99/26'], allowedIpList: BRANCHES }, '192.0.2.128', 'RISK'],
    [
      'mapped is IPv4',
      { allowedIpRanges: ['192.0.2.99/26'], allowedIpList: BRANCHES },
      '::ffff:192.0.2.100',
      'NO_RISK',
    ],
    ['in the list', { allowedIpRanges: ['192.0.2.99/26'], allowedIpList: BRANCHES }, '198.51.100.40', 'NO_RISK'],
    ['not in the list', { allowedIpRanges: ['192.0.2.99/26'], allowedIpList: BRANCHES }, '198.51.100.41', 'RISK'],
    ['families never match', { allowedIpRanges: ['::/0'] }, '192.0.2.70', 'RISK'],
    ['families never match', { allowedIpRanges: ['0.0.0.0/0'] }, '2001:db8::1', 'RISK'],
    ['denied range', { deniedIpRanges: ['198.51.100.128/25', '2001:db8:c::/48'] }, '198.51.100.129', 'RISK'],
    [
      'outside the denied range',
      { deniedIpRanges: ['198.51.100.128/25', '2001:db8:c::/48'] },
      '198.51.100.20',
      'NO_RISK',
    ],
    ['denied IPv6 range', { deniedIpRanges: ['198.51.100.128/25', '2001:db8:c::/48'] }, '2001:db8:c:9::1', 'RISK'],
    ['denied list', { deniedIpList: BRANCHES }, '198.51.100.40', 'RISK'],
    ['no address', { deniedIpRanges: ['198.51.100.128/25'] }, undefined, 'UNKNOWN, RISK'],
    ['no address', { allowedIpRanges: ['0.0.0.0/0'] }, undefined, 'UNKNOWN, RISK'],
    ['an allowed list that was emptied allows nobody', { allowedIpList: 'emptied' }, '192.0.2.1', 'RISK'],
  ])('%s: %j, %s: %s', (_, written, address, verdict) => {
    expect(verdictOf(ip, written, contextOf(from(address)), { lists })).toBe(verdict);
  });

  it('what is denied is ignored where anything is allowed, with a warning', () => {
    const written = { allowedIpRanges: ['192.0.2.64/26'], deniedIpRanges: ['192.0.2.90'] };
    expect(reportedOf(ip, written)).toEqual(['denied_ignored (warning)']);
    const judge = ip.compile(ip.shape.parse({ riskPoint: 5, ...written }), {
      list: () => undefined,
    } as unknown as Parameters<typeof ip.compile>[1]);
    expect(judge(contextOf(from('192.0.2.90')))).toBe('NO_RISK');
  });
});

describe('what is reported', () => {
  it.each([
    [{}, ['ip_context_empty']],
    [{ allowedIpRanges: [], deniedIpRanges: [] }, ['ip_context_empty']],
    [{ allowedIpRanges: ['192.0.2.0/33'] }, ['cidr_invalid']],
    [{ allowedIpList: 'nowhere' }, ['list_unknown']],
    [{ deniedIpList: 'people' }, ['list_type_mismatch']],
    [{ type: 'COUNTRY', allowedIpList: BRANCHES }, ['value_unknown']],
    [{ type: 'CUSTOM', allowedIpList: BRANCHES }, []],
    [{ allowedIpList: BRANCHES, riskPoint: undefined }, ['key_missing']],
  ])('%j: %j', (written, codes) => {
    expect(reportedOf(ip, written, { lists })).toEqual(codes);
  });
});
