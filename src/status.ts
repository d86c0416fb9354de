/** What an operator sees of the process, kept up as it goes: revisions, refusals, traffic; and the pages that show it. */
import type { AuthzenOptions } from './admin/authzen.ts';
import type { AdminToken } from './admin/server.ts';
import { createRecent } from './admin/status/recent.ts';
import { statusPages } from './admin/status/routes.ts';
import type { StatusPages } from './admin/status/routes.ts';
import { createTraffic } from './admin/status/traffic.ts';
import type { CheckFinished } from './envoy/check.ts';
import { statedAgainst } from './revision.ts';
import type { Loaded, Revision } from './revision.ts';

export interface Status {
  readonly pages: StatusPages;
  /** Takes every check. Of one that was allowed it only counts. */
  record(check: CheckFinished): void;
  /** What was read is what runs, from the start on. */
  live(): void;
  /** What loaded but hardly means what it says, of what runs. */
  warned(warnings: Loaded['faults']): void;
  /** A change was not taken up. */
  refused(faults: Loaded['faults'], result: 'refused' | 'failed'): void;
}

export function createStatus(options: {
  readonly current: () => Revision;
  readonly tokens: () => readonly AdminToken[];
  readonly isReady: () => boolean;
  readonly nowMs: () => number;
}): Status {
  const { current, tokens, isReady, nowMs } = options;
  const startedMs = nowMs();
  const recent = createRecent();
  const traffic = createTraffic(startedMs);
  let warnings: Loaded['faults'] = [];
  let live = { revision: '', sinceMs: startedMs };
  let lastLoad: {
    readonly timeMs: number;
    readonly result: 'live' | 'refused' | 'failed';
    readonly faults: Loaded['faults'];
  } = { timeMs: startedMs, result: 'live', faults: [] };
  return {
    pages: statusPages({
      nowMs,
      recent,
      tokens,
      isSecure: () => current().settings.admin.url?.startsWith('https:') ?? false,
      overview() {
        const { id, set, shadow } = current();
        return {
          startedMs,
          ready: isReady(),
          revision: id,
          liveMs: live.sinceMs,
          lastLoad,
          warnings,
          shadow,
          applications: set.applications.map(({ id: application, name, destinations }) => ({
            id: application,
            name,
            destinations: destinations.map(({ text }) => text),
          })),
          traffic: traffic.read(nowMs()),
        };
      },
      running() {
        const revision = current();
        const { compiled, set, locate } = revision;
        const against = { ...statedAgainst(revision), reads: revision.snapshot.sources };
        return { revision: revision.id, against, explain: { compiled, set, locate, login: {} } };
      },
    }),
    record(check) {
      const now = nowMs();
      traffic.record(check.application?.named.id, check.decision.outcome, check.seconds, now);
      recent.record(check, now);
    },
    live() {
      const now = nowMs();
      if (live.revision !== current().id) live = { revision: current().id, sinceMs: now };
      lastLoad = { timeMs: now, result: 'live', faults: [] };
      traffic.keep(new Set(current().set.applications.map(({ id }) => id)));
    },
    warned(found) {
      warnings = found;
    },
    refused(faults, result) {
      lastLoad = { timeMs: nowMs(), result, faults };
    },
  };
}

/** Whoever states a login states all of it: nothing is taken from the entries of identity.tokens. */
export function authzenAgainst(revision: Revision): ReturnType<AuthzenOptions['against']> {
  return { ...statedAgainst(revision), tokens: [], reads: revision.snapshot.sources, revision: revision.id };
}
