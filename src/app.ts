/** The process's whole life: start, reload, drain, stop. */
import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { adminSite } from './admin-site.ts';
import type { Readiness } from './admin/probes.ts';
import type { PublishedKey } from './admin/public-keys.ts';
import { startAdminServer } from './admin/server.ts';
import type { AdminServer } from './admin/server.ts';
import { checkParts } from './check-parts.ts';
import { createCheckTls } from './check-tls.ts';
import type { CheckTls } from './check-tls.ts';
import { createWarningTeller, logShadowFaults } from './configuration-log.ts';
import { createDecisionOutput } from './decision-log.ts';
import type { DecisionFile, DecisionOutput } from './decision-log.ts';
import { createCheck } from './envoy/check.ts';
import { unavailableAnswer } from './envoy/response.ts';
import { startCheckServer } from './envoy/server.ts';
import type { CheckServer } from './envoy/server.ts';
import { createExpiryLog } from './expiry-log.ts';
import type { ExpiryLog } from './expiry-log.ts';
import { createExternalEvaluations } from './facts/external-evaluation.ts';
import { createKeySets } from './facts/key-set.ts';
import type { KeySetRead } from './facts/key-set.ts';
import { createOutbound } from './facts/outbound.ts';
import { createFailureLog } from './failure-log.ts';
import type { FailureLog } from './failure-log.ts';
import { pathOf } from './files.ts';
import { stateOf, tracingOf } from './fixed-parts.ts';
import { createKeySetLog } from './key-set-log.ts';
import { createLive } from './live.ts';
import { createLogger } from './log.ts';
import type { Logger } from './log.ts';
import { createMetrics } from './metrics.ts';
import type { Metrics } from './metrics.ts';
import type { LocatedFault } from './policy/fault-text.ts';
import { createLoader } from './revision.ts';
import type { Revision } from './revision.ts';
import { changedOnlyAtRestart } from './settings.ts';
import type { Settings } from './settings.ts';
import type { Override } from './settings-overrides.ts';
import { listenText } from './shared/listen.ts';
import { createTurns } from './shared/turns.ts';
import { changedSecrets } from './state/open.ts';
import type { State } from './state/state.ts';
import { createStatus } from './status.ts';
import type { Tracing } from './tracing.ts';
import { watchFolder } from './watch.ts';
import type { FolderWatch } from './watch.ts';

export interface AppOptions {
  readonly folder: string;
  readonly overrides: readonly Override[];
}

export interface App {
  /** Drains and stops: answers go on for a while, what is in hand is finished. A second call stops at once. */
  stop(): Promise<void>;
}

/** What keeps the process from starting, in lines that say what to type. */
export class StartError extends Error {
  readonly faults: readonly LocatedFault[];

  constructor(message: string, faults: readonly LocatedFault[] = []) {
    super(message);
    this.faults = faults;
  }
}

/** Starts the parts in order; if one fails, those begun are stopped, the newest first. */
export async function startApp({ folder, overrides }: AppOptions): Promise<App> {
  const metrics = createMetrics();
  const log: StartLog = { keySetRead: () => undefined, failure: () => undefined };
  const keySets = createKeySets({
    onRead(read) {
      metrics.keySetRead(read.url, read.failure === undefined, Date.now() / 1000);
      log.keySetRead(read);
    },
  });
  const outbound = createOutbound({ guarded: true });
  const evaluations = createExternalEvaluations({
    outbound,
    onCacheRequest: (result) => metrics.cacheRequest('external_evaluation', result),
    onFailed: (host, why) => log.failure('external_evaluation', 'an external evaluation failed', { host, why }),
  });
  const engines = {
    outbound,
    onCacheRequest: (result: 'hit' | 'miss') => metrics.cacheRequest('risk_engine', result),
    onFailed: (engine: string, why: string) => log.failure('risk_engine', 'a risk engine failed', { engine, why }),
  };
  const loader = createLoader({
    folder,
    overrides,
    keySets,
    evaluations,
    engines,
    makesKeys: true,
    metrics,
    state: () => state,
  });
  const first = await loader.load();
  if (!first.revision) throw new StartError(`the configuration in ${folder} cannot be used`, first.faults);
  const { settings } = first.revision;
  const logger = createLogger({ level: settings.log.level });
  log.failure = createFailureLog({ logger });
  log.keySetRead = createKeySetLog(logger);
  const state = await stateOf(first.revision, metrics, logger, log.failure);
  const tracing =
    settings.tracing && (await tracingOf(settings.tracing, () => live.current().traceHeaders, metrics, logger));
  const decisions = createDecisionOutput(logger, metrics.decisionLogDropped);
  const begun: (() => Promise<void>)[] = [
    async () => logger.close(),
    async () => tracing?.stop(),
    async () => decisions.close(),
    async () => keySets.stop(),
    async () => state.store.close(),
  ];
  const running: Running = { draining: false };
  let tls: CheckTls | undefined;
  const status = createStatus({
    current: () => live.current(),
    tokens: () => live.current().settings.admin.tokens,
    isReady: () => readinessOf(running, tls).ready,
    nowMs: Date.now,
  });
  const tellWarnings = createWarningTeller(logger, status.warned);
  const expiryLog = createExpiryLog({ logger, nowMs: Date.now });
  begun.push(async () => expiryLog.stop());
  /** Signatures of a key that was replaced are still on their way, or kept. */
  const certs = new Map<string, PublishedKey>();
  const portalKeys = new Map<string, PublishedKey>();
  let watched: FolderWatch | undefined;
  const live = createLive({
    loader,
    first,
    metrics,
    status,
    logger,
    onRead: (outside) => watched?.setPaths([{ path: folder, deep: true }, ...outside]),
    onLive(revision, found, before) {
      keySets.keep(revision.keySetUrls);
      evaluations.keep(revision.evaluationKeysUrls);
      for (const key of revision.publicKeys) certs.set(key.kid, key);
      for (const key of revision.portalKeys) portalKeys.set(key.kid, key);
      measure(revision, metrics);
      logShadowFaults(logger, revision);
      tellWarnings(found, revision);
      expiryLog.watch(revision.expiries);
      if (!before) return;
      logger.setLevel(revision.settings.log.level);
      void decisions
        .use(decisionFile(folder, revision.settings))
        .catch((error: unknown) =>
          logger.error('decisions go on where they went: log.file cannot be opened', { error }),
        );
      const fixed = [
        ...changedOnlyAtRestart(before.settings, revision.settings),
        ...changedSecrets(before.stateSecrets, revision.stateSecrets),
      ];
      if (fixed.length > 0) logger.warn('settings changed that only a restart puts into effect', { settings: fixed });
      tls?.offer(revision.tls);
    },
  });
  try {
    await decisions.use(decisionFile(folder, settings));
    const checkServer = await startCheckServer({
      address: listenText(settings.listen.check),
      tls: first.revision.tls,
      check: createCheck(checkParts({ live, state, metrics, decisions, status, tracing, logger, log: log.failure })),
      unavailable: (reason) => unavailableAnswer(reason, randomUUID(), live.current().id),
      failed(kind, error) {
        metrics.checkFailed(kind);
        log.failure(kind, 'a check was answered 503', { error });
      },
      reflection: PROTO,
    });
    begun.push(async () => checkServer.stopNow());
    metrics.watchWaiting(() => checkServer.waiting);
    tls = createCheckTls(checkServer, first.revision.tls, logger, Date.now);

    const turns = createTurns();
    const adminServer = await startAdminServer({
      address: listenText(settings.listen.admin),
      tokens: () => live.current().settings.admin.tokens,
      failed: (error, method, path) => logger.error('an admin request failed', { method, path, error }),
      ...adminSite({
        folder,
        live,
        loader,
        turns,
        state,
        status,
        metrics,
        readiness: () => readinessOf(running, tls),
        keys: { certs: () => certs.values(), portal: () => portalKeys.values() },
        logger,
      }),
    });
    begun.push(async () => adminServer.stop());

    keySets.start();
    live.begin();
    const watch = watchFolder({
      paths: [{ path: folder, deep: true }, ...first.outside],
      onError: (error) =>
        logger.warn('changes are looked for twice a second, because the system does not tell of them', { error }),
      // What it fails with has been logged.
      onChange: () => turns.take(async () => void (await live.reload().catch(() => undefined))),
    });
    watched = watch;
    begun.push(async () => watch.stop());
    await watch.ready;
    checkServer.setServing(true);
    logger.ready({ check: checkServer.address, admin: adminServer.address, revision: live.current().id });
    return lifeOf({ checkServer, adminServer, watch, keySets, state, decisions, tracing, expiryLog, logger, running });
  } catch (error) {
    for (const stop of begun.toReversed()) await stop().catch(() => undefined);
    throw error instanceof StartError ? error : new StartError(error instanceof Error ? error.message : String(error));
  }
}

/** Loggers come with the first revision; what is told before is told to nobody. */
interface StartLog {
  keySetRead: (read: KeySetRead) => void;
  failure: FailureLog;
}

function readinessOf(running: Running, tls: CheckTls | undefined): Readiness {
  if (running.draining) return { ready: false, reason: 'draining' };
  if (tls?.hasEnded()) return { ready: false, reason: 'the certificate of the check port has ended' };
  return { ready: true };
}

interface Running {
  draining: boolean;
}

const PROTO = {
  proto: 'envoy/service/auth/v3/external_auth.proto',
  folders: [fileURLToPath(new URL('../proto', import.meta.url))],
};

const DRAIN = { graceMs: 5_000, deadlineMs: 10_000 };

function measure(revision: Revision, metrics: Metrics): void {
  metrics.setRevision(revision.id);
  metrics.keepKeySets(revision.keySetUrls);
  metrics.setExpiries(revision.expiries);
  metrics.keepApplications(revision.compiled.applications.map(({ named }) => named.name));
  metrics.setShadow(revision.shadow && revision.shadow.compiled !== undefined);
}

function decisionFile(folder: string, { log }: Settings): DecisionFile | undefined {
  return log.file && { ...log.file, path: pathOf(folder, log.file.path) };
}

interface Parts {
  readonly checkServer: CheckServer;
  readonly adminServer: AdminServer;
  readonly watch: FolderWatch;
  readonly keySets: ReturnType<typeof createKeySets>;
  readonly state: State;
  readonly decisions: DecisionOutput;
  readonly tracing: Tracing | undefined;
  readonly expiryLog: ExpiryLog;
  readonly logger: Logger;
  readonly running: Running;
}

/** What happens at the end. */
function lifeOf(parts: Parts): App {
  const { checkServer, adminServer, watch, keySets, state, decisions, tracing, expiryLog, logger, running } = parts;
  return {
    async stop() {
      if (running.draining) {
        await checkServer.stopNow();
        return;
      }
      running.draining = true;
      logger.info('draining: still answering, no longer ready', {
        grace_ms: DRAIN.graceMs,
        deadline_ms: DRAIN.deadlineMs,
      });
      await watch.stop();
      await checkServer.drain(DRAIN);
      await adminServer.stop();
      keySets.stop();
      expiryLog.stop();
      await state.store.close();
      await decisions.close();
      await tracing?.stop();
      logger.info('stopped');
      await logger.close();
    },
  };
}
