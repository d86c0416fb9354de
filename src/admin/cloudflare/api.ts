/** The part of Cloudflare's API that Postern answers on its admin port, driven by Cloudflare's own clients. */
import type { Managed } from '../managed.ts';
import type { AdminGroup } from '../server.ts';
import { refused } from './answers.ts';
import { applicationEndpoints } from './applications.ts';
import { routesOf } from './call.ts';
import { presentedCredentials } from './credentials.ts';
import { groupEndpoints } from './groups.ts';
import { identityProviderEndpoints, scimGroupEndpoints } from './identity-providers.ts';
import { listEndpoints } from './lists.ts';
import { policyEndpoints } from './policies.ts';
import { policyTestEndpoints } from './policy-tests.ts';
import type { PolicyTestParts } from './policy-tests.ts';
import { serviceTokenEndpoints } from './service-tokens.ts';
import { createWrites } from './writes.ts';

export function cloudflareApi(managed: Managed, tester: PolicyTestParts): AdminGroup {
  const writes = createWrites({ managed });
  const anywhere = [
    ...groupEndpoints(writes),
    ...serviceTokenEndpoints(writes),
    ...applicationEndpoints(),
    ...identityProviderEndpoints(),
  ];
  const inAccounts = [
    ...listEndpoints(writes),
    ...policyEndpoints(writes),
    ...policyTestEndpoints(tester),
    ...scimGroupEndpoints(),
  ];
  return {
    prefix: '/client/v4',
    routes: [...routesOf(anywhere, ['accounts', 'zones'], managed), ...routesOf(inAccounts, ['accounts'], managed)],
    presented: presentedCredentials,
    refuse: (refusal, request) => refused(managed.current().id, refusal, request),
  };
}
