/** The part of Cloudflare's API that Postern answers on its admin port, driven by Cloudflare's own clients. */
import type { Managed } from '../managed.ts';
import type { AdminGroup } from '../server.ts';
import { refused } from './answers.ts';
import { routesOf } from './call.ts';
import { presentedCredentials } from './credentials.ts';
import { groupEndpoints } from './groups.ts';
import { createWrites } from './writes.ts';

export function cloudflareApi(managed: Managed): AdminGroup {
  const writes = createWrites({ managed });
  return {
    prefix: '/client/v4',
    routes: routesOf(groupEndpoints(writes), ['accounts', 'zones'], managed),
    presented: presentedCredentials,
    refuse: (refusal, request) => refused(managed.current().id, refusal, request),
  };
}
