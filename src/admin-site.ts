/** Everything that the admin port serves. */
import { authzenApi, authzenMetadata } from './admin/authzen.ts';
import { cloudflareApi } from './admin/cloudflare/api.ts';
import { entrustApi } from './admin/entrust/api.ts';
import { createManaged } from './admin/managed.ts';
import { probeRoutes } from './admin/probes.ts';
import type { Readiness } from './admin/probes.ts';
import { publicKeyRoutes } from './admin/public-keys.ts';
import type { PublishedKey } from './admin/public-keys.ts';
import type { AdminServerOptions } from './admin/server.ts';
import { stateApi } from './admin/state.ts';
import { caseIdentities } from './cases/identities.ts';
import { normalName } from './files.ts';
import type { Live } from './live.ts';
import type { Logger } from './log.ts';
import type { Metrics } from './metrics.ts';
import { statedAgainst } from './revision.ts';
import type { Loader } from './revision.ts';
import type { Turns } from './shared/turns.ts';
import type { State } from './state/state.ts';
import { authzenAgainst } from './status.ts';
import type { Status } from './status.ts';

export interface AdminSiteOptions {
  /** The config folder. */
  readonly folder: string;
  readonly live: Live;
  readonly loader: Loader;
  /** Of whoever loads or writes the folder. */
  readonly turns: Turns;
  readonly state: State;
  readonly status: Status;
  readonly metrics: Metrics;
  readonly readiness: () => Readiness;
  /** Public keys to publish, for everybody and for the portal. */
  readonly keys: { readonly certs: () => Iterable<PublishedKey>; readonly portal: () => Iterable<PublishedKey> };
  readonly logger: Logger;
}

export function adminSite(options: AdminSiteOptions): Pick<AdminServerOptions, 'groups' | 'root' | 'routes'> {
  const { folder, live, loader, turns, state, status, metrics, readiness, keys, logger } = options;
  const { current, reload, prepare } = live;
  const managed = createManaged({ folder, turns, current, reload, prepare, logger });
  return {
    groups: [
      cloudflareApi(managed, {
        async compile(application) {
          const bytes = new TextEncoder().encode(JSON.stringify({ applications: [application] }));
          const name = `${normalName(current().settings.policies)}/managed/policy-test.json`;
          const { loaded: tried } = await turns.take(async () => loader.loadWith({ name, bytes }));
          return { file: name, faults: tried.faults, against: tried.revision && statedAgainst(tried.revision) };
        },
        identities: async () => caseIdentities(folder, TESTS_FOLDER),
        now: Date.now,
      }),
      entrustApi({ managed }),
      authzenApi({ against: () => authzenAgainst(current()), nowMs: Date.now }),
      stateApi({ state, readsLevels: () => current().settings.risk_scores.from === 'state', logger }),
    ],
    root: status.pages.root,
    routes: [
      ...probeRoutes({ metrics, readiness }),
      authzenMetadata({
        url: () => current().settings.admin.url,
        isServed: () => current().settings.admin.tokens.length > 0,
      }),
      ...publicKeyRoutes(keys),
      ...status.pages.routes,
    ],
  };
}

/** Of the config folder: the users' own cases. */
const TESTS_FOLDER = 'tests';
