import { identityJudge, seenProvider } from './rule.ts';
import type { RuleType } from './rule.ts';
import { fault } from '../model/fault.ts';
import { exactObject, text } from '../shared/shape.ts';
import type { ShapeOutput } from '../shared/shape.ts';

const shape = exactObject({
  account_id: text().optional().describe('The Cloudflare account; absent: any of admin.accounts.'),
});

/** A member of a Cloudflare account. Source: Cloudflare Access, rule type `cloudflare_account_member`. */
export const cloudflareAccountMember: RuleType<ShapeOutput<typeof shape>> = {
  word: 'cloudflare_account_member',
  description:
    'Met when the login came from a provider of type cloudflare and the user belongs to this account; without account_id, to any of admin.accounts.',
  reads: 'identity',
  shape,
  needs: () => [{ fact: 'identity' }],
  link({ value, place }, scope, report) {
    if (value.account_id === undefined && scope.accounts.length === 0)
      report(
        fault(
          place,
          'account_missing',
          'expected account_id, or admin.accounts in the settings, found neither',
          'add account_id',
        ),
      );
  },
  anyOf(values, scope) {
    const accounts = new Set(
      values
        .flatMap((value) => (value.account_id === undefined ? scope.accounts : [value.account_id]))
        .map((account) => account.toLowerCase()),
    );
    return identityJudge((identity) => {
      if (!identity.provider) return 'not_stated';
      if (identity.provider.type !== 'cloudflare') return 'unmet';
      return identity.accounts.some((account) => accounts.has(account.toLowerCase())) ? 'met' : 'unmet';
    });
  },
  seen: (context) => seenProvider(context, ({ accounts }) => `accounts ${accounts.join(' ') || 'none'}`),
};
