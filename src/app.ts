/** The process's whole life: start, reload, drain, stop. */
import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { cloudflareApi } from './admin/cloudflare/api.ts';
import { entrustApi } from './admin/entrust/api.ts';
import { createManaged } from './admin/managed.ts';
import { authzenApi, authzenMetadata } from './admin/authzen.ts';
import { probeRoutes } from './admin/probes.ts';
import { publicKeyRoutes } from './admin/public-keys.ts';
import type { PublishedKey } from './admin/public-keys.ts';
import { startAdminServer } from './admin/server.ts';
import { stateApi } from './admin/state.ts';
import type { AdminServer } from './admin/server.ts';
import { caseIdentities } from './cases/identities.ts';
import { createDecisionLog, createDecisionOutput, decidedFacts } from './decision-log.ts';
import type { DecisionFile, DecisionOutput } from './decision-log.ts';
import { createFailureLog } from './failure-log.ts';
import type { FailureLog } from './failure-log.ts';
import { createCheck } from './envoy/check.ts';
import type { CheckFinished, CheckParts } from './envoy/check.ts';
import { unavailableAnswer } from './envoy/response.ts';
import { startCheckServer } from './envoy/server.ts';
import type { CheckServer } from './envoy/server.ts';
import { createExternalEvaluations } from './facts/external-evaluation.ts';
import { createKeySets } from './facts/key-set.ts';
import type { KeySetRead } from './facts/key-set.ts';
import { createOutbound } from './facts/outbound.ts';
import { normalName, pathOf } from './files.ts';
import { createLearner } from './learning.ts';
import { createKeySetLog } from './key-set-log.ts';
import { createLogger } from './log.ts';
import type { Logger } from './log.ts';
import { createMetrics } from './metrics.ts';
import type { Metrics } from './metrics.ts';
import { byPlace, faultText } from './policy/fault-text.ts';
import type { LocatedFault } from './policy/fault-text.ts';
import { createLoader, statedAgainst } from './revision.ts';
import type { Loaded, Revision } from './revision.ts';
import { createSettle } from './settle.ts';
import { changedOnlyAtRestart } from './settings.ts';
import type { RedisSettings, Settings, TracingSettings } from './settings.ts';
import type { Override } from './settings-overrides.ts';
import { createShadow } from './shadow.ts';
import { authzenAgainst, createStatus } from './status.ts';
import type { Status } from './status.ts';
import { listenText } from './shared/listen.ts';
import { createTurns } from './shared/turns.ts';
import { createAttempts } from './state/attempts.ts';
import { openState } from './state/open.ts';
import type { RedisStateOptions, StateOptions, StateSecrets } from './state/open.ts';
import type { State } from './state/state.ts';
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
  const keySets = createKeySets({
    onRead(read) {
      metrics.keySetRead(read.url, read.failure === undefined, Date.now() / 1000);
      logKeySet(read);
    },
  });
  let logKeySet: (read: KeySetRead) => void = () => undefined;
  let logFailure: FailureLog = () => undefined;
  const outbound = createOutbound({ guarded: true });
  const evaluations = createExternalEvaluations({
    outbound,
    onCacheRequest: (result) => metrics.cacheRequest('external_evaluation', result),
    onFailed: (host, why) => logFailure('external_evaluation', 'an external evaluation failed', { host, why }),
  });
  const loader = createLoader({
    folder,
    overrides,
    keySets,
    evaluations,
    engines: {
      outbound,
      onCacheRequest: (result) => metrics.cacheRequest('risk_engine', result),
      onFailed: (engine, why) => logFailure('risk_engine', 'a risk engine failed', { engine, why }),
    },
    makesKeys: true,
    metrics,
    state: () => state,
  });
  const loaded = await loader.load();
  if (!loaded.revision) throw new StartError(`the configuration in ${folder} cannot be used`, loaded.faults);
  let revision = loaded.revision;
  const { settings } = revision;
  const logger = createLogger({ level: settings.log.level });
  logFailure = createFailureLog({ logger });
  logKeySet = createKeySetLog(logger);
  const state = await openState(stateOptions(revision, metrics, logger, logFailure));
  const running: Running = { draining: false };
  const status = createStatus({
    current: () => revision,
    tokens: () => revision.settings.admin.tokens,
    isReady: () => !running.draining,
    nowMs: Date.now,
  });
  const decisions = createDecisionOutput(logger, metrics.decisionLogDropped);
  const tracing = settings.tracing && (await tracingOf(settings.tracing, () => revision.traceHeaders, metrics, logger));
  const begun: (() => Promise<void>)[] = [
    async () => logger.close(),
    async () => tracing?.stop(),
    async () => decisions.close(),
    async () => keySets.stop(),
    async () => state.store.close(),
  ];
  try {
    await decisions.use(decisionFile(folder, settings));
    const logWarning = createFailureLog({ logger: { error: logger.warn } });
    const logDifference = createFailureLog({ logger: { error: logger.info } });
    const check = createCheck(
      checkParts({
        revision: () => revision,
        state,
        stateTimeoutMs: settings.state.redis?.timeout_ms,
        metrics,
        decisions,
        status,
        logFailure,
        logWarning,
        logDifference,
        tracing,
      }),
    );
    const checkServer = await startCheckServer({
      address: listenText(settings.listen.check),
      tls: revision.tls,
      check,
      unavailable: (reason) => unavailableAnswer(reason, randomUUID(), revision.id),
      failed(kind, error) {
        metrics.checkFailed(kind);
        logFailure(kind, 'a check was answered 503', { error });
      },
      reflection: PROTO,
    });
    begun.push(async () => checkServer.stopNow());
    metrics.watchWaiting(() => checkServer.waiting);
    /** Signatures of a key that was replaced are still on their way, or kept. */
    const published = new Map<string, PublishedKey>();
    const portalKeys = new Map<string, PublishedKey>();
    const use = (next: Revision): void => {
      keySets.keep(next.keySetUrls);
      evaluations.keep(next.evaluationKeysUrls);
      for (const key of next.publicKeys) published.set(key.kid, key);
      for (const key of next.portalKeys) portalKeys.set(key.kid, key);
      metrics.setRevision(next.id);
      metrics.keepKeySets(next.keySetUrls);
      metrics.setExpiries(next.expiries);
      metrics.keepApplications(next.compiled.applications.map(({ named }) => named.name));
      metrics.setShadow(next.shadow && next.shadow.compiled !== undefined);
      logShadowFaults(logger, next);
    };
    /** What was refused last, or could not even be read, where nothing went live since. */
    let refused: Loaded | 'unread' | undefined;
    const tellWarnings = createWarningTeller(logger, status.warned);
    let watched: FolderWatch | undefined;
    const goLive = (next: Loaded, compiled: Revision): void => {
      const before = revision;
      // The one assignment: a request has read the old revision, or reads this one.
      revision = compiled;
      use(revision);
      status.live();
      metrics.reloaded('success', Date.now() / 1000);
      logger.setLevel(revision.settings.log.level);
      void decisions
        .use(decisionFile(folder, revision.settings))
        .catch((error: unknown) =>
          logger.error('decisions go on where they went: log.file cannot be opened', { error }),
        );
      logger.info('revision is live', { revision: revision.id, before: before.id });
      tellWarnings(next.faults, revision);
      const fixed = changedOnlyAtRestart(before.settings, revision.settings);
      if (fixed.length > 0) logger.warn('settings changed that only a restart puts into effect', { settings: fixed });
      replaceTls(checkServer, before, revision, logger);
    };
    /** Makes the folder as it is live; its faults where it cannot be. */
    const reload = async (): Promise<Loaded['faults']> => {
      let next: Loaded;
      try {
        next = await loader.load();
      } catch (error) {
        refused = 'unread';
        metrics.reloaded('failure', Date.now() / 1000);
        status.refused([], 'failed');
        logger.error(`a changed configuration could not be read; revision ${revision.id} stays in force`, { error });
        throw error;
      }
      // The files are still those that were refused.
      if (next === refused) return next.faults;
      if (next.revision?.id === revision.id) {
        // What was wrong has been taken back: the files say again what runs.
        if (refused) metrics.reloaded('success', Date.now() / 1000);
        status.live();
        refused = undefined;
        return next.faults;
      }
      watched?.setPaths([{ path: folder, deep: true }, ...next.outside]);
      refused = next.revision ? undefined : next;
      if (next.revision) goLive(next, next.revision);
      else {
        metrics.reloaded('failure', Date.now() / 1000);
        status.refused(next.faults, 'refused');
        logRefused(logger, next, revision.id);
      }
      return next.faults;
    };
    const turns = createTurns();
    const managed = createManaged({
      folder,
      turns,
      current: () => revision,
      reload,
      async prepare(change) {
        const { loaded: next, unchanged, keep } = await loader.loadWith(change);
        return {
          faults: next.faults,
          unchanged,
          use() {
            if (!next.revision) throw new Error('a set with faults cannot be used');
            keep();
            goLive(next, next.revision);
          },
        };
      },
      logger,
    });
    const adminServer = await startAdminServer({
      address: listenText(settings.listen.admin),
      tokens: () => revision.settings.admin.tokens,
      groups: [
        cloudflareApi(managed, {
          async compile(application) {
            const bytes = new TextEncoder().encode(JSON.stringify({ applications: [application] }));
            const name = `${normalName(revision.settings.policies)}/managed/policy-test.json`;
            const { loaded: tried } = await turns.take(async () => loader.loadWith({ name, bytes }));
            return { file: name, faults: tried.faults, against: tried.revision && statedAgainst(tried.revision) };
          },
          identities: async () => caseIdentities(folder, TESTS_FOLDER),
          now: Date.now,
        }),
        entrustApi({ managed }),
        authzenApi({ against: () => authzenAgainst(revision), nowMs: Date.now }),
        stateApi({ state, readsLevels: () => revision.settings.risk_scores.from === 'state', logger }),
      ],
      failed: (error, method, path) => logger.error('an admin request failed', { method, path, error }),
      root: status.pages.root,
      routes: [
        ...probeRoutes({
          metrics,
          readiness: () => (running.draining ? { ready: false, reason: 'draining' } : { ready: true }),
        }),
        authzenMetadata({
          url: () => revision.settings.admin.url,
          isServed: () => revision.settings.admin.tokens.length > 0,
        }),
        ...publicKeyRoutes({ certs: () => published.values(), portal: () => portalKeys.values() }),
        ...status.pages.routes,
      ],
    });
    begun.push(async () => adminServer.stop());

    keySets.start();
    use(revision);
    status.live();
    metrics.reloaded('success', Date.now() / 1000);
    tellWarnings(loaded.faults, revision);

    const watch = watchFolder({
      paths: [{ path: folder, deep: true }, ...loaded.outside],
      onError: (error) =>
        logger.warn('changes are looked for twice a second, because the system does not tell of them', { error }),
      // What it fails with has been logged.
      onChange: () => turns.take(async () => void (await reload().catch(() => undefined))),
    });
    watched = watch;
    begun.push(async () => watch.stop());
    await watch.ready;
    checkServer.setServing(true);
    logger.ready({ check: checkServer.address, admin: adminServer.address, revision: revision.id });
    return lifeOf({ checkServer, adminServer, watch, keySets, state, decisions, tracing, logger, running });
  } catch (error) {
    for (const stop of begun.toReversed()) await stop().catch(() => undefined);
    throw error instanceof StartError ? error : new StartError(error instanceof Error ? error.message : String(error));
  }
}

interface Running {
  draining: boolean;
}

const PROTO = {
  proto: 'envoy/service/auth/v3/external_auth.proto',
  folders: [fileURLToPath(new URL('../proto', import.meta.url))],
};

/** Of the config folder: the users' own cases. */
const TESTS_FOLDER = 'tests';

const DRAIN = { graceMs: 5_000, deadlineMs: 10_000 };

function stateOptions(
  { settings, stateSecrets }: Revision,
  metrics: Metrics,
  logger: Logger,
  logFailure: FailureLog,
): StateOptions {
  const { memory, redis } = settings.state;
  return {
    usersMax: memory.users_max,
    redis: redis && redisOptions(redis, stateSecrets),
    nowMs: Date.now,
    monotonicMs: () => performance.now(),
    watch: {
      finished: metrics.stateFinished,
      failed(operation, error) {
        metrics.stateError(operation);
        logFailure(`state_${error.kind}`, 'the state store failed', { operation, kind: error.kind, error });
      },
      connection({ isUp, server, why }) {
        if (isUp) logger.info('the state store is connected', { server });
        else logger.warn('the state store cannot be reached; it is tried again and again', { server, why });
      },
    },
  };
}

function redisOptions(
  { url, urls, timeout_ms: timeoutMs }: RedisSettings,
  secrets: StateSecrets | undefined,
): RedisStateOptions {
  const [first, ...others] = urls ?? [url];
  if (!secrets || first === undefined)
    throw new Error('expected a server and a key file for state in Redis, found none');
  return {
    ...secrets,
    urls: [first, ...others.filter((one) => one !== undefined)],
    isCluster: urls !== undefined,
    timeoutMs,
  };
}

interface CheckSurroundings {
  readonly revision: () => Revision;
  readonly state: State;
  /** Undefined: it never has to be waited for. */
  readonly stateTimeoutMs: number | undefined;
  readonly metrics: Metrics;
  readonly decisions: DecisionOutput;
  readonly status: Status;
  readonly logFailure: FailureLog;
  readonly logWarning: FailureLog;
  readonly logDifference: FailureLog;
  readonly tracing: Tracing | undefined;
}

/** Nothing of it is loaded where it is not configured. */
async function tracingOf(
  settings: TracingSettings,
  headers: () => Readonly<Record<string, string>>,
  metrics: Metrics,
  logger: Logger,
): Promise<Tracing> {
  const { startTracing } = await import('./tracing.ts');
  return startTracing({
    url: settings.otlp_url,
    sample: settings.sample,
    serviceName: settings.service_name,
    headers,
    counted: metrics.spansCounted,
    failing(error) {
      if (error) logger.warn('traces cannot be sent', { error });
      else logger.info('traces are sent again');
    },
  });
}

function checkParts(surroundings: CheckSurroundings): CheckParts {
  const {
    revision,
    state,
    stateTimeoutMs,
    metrics,
    decisions,
    status,
    logFailure,
    logWarning,
    logDifference,
    tracing,
  } = surroundings;
  const learn = createLearner({
    state,
    settings: () => revision().settings.risk,
    onConflict: () => metrics.stateError('conflict'),
    onFailure: (error) => logFailure('state', 'an authentication could not be remembered', { error }),
  });
  const shadow = createShadow({ metrics, differs: logDifference, failed: logFailure });
  const logDecision = createDecisionLog({
    output: decisions,
    mode: () => revision().settings.log,
    dropped: () => metrics.decisionLogDropped(1),
  });
  return {
    snapshot: () => revision().snapshot,
    nowMs: Date.now,
    monotonicMs: () => performance.now(),
    newId: randomUUID,
    keepsFactTimes: tracing !== undefined,
    settle: createSettle({
      attempts: createAttempts(state),
      learn,
      attemptsMax: () => revision().settings.step_up.attempts_max,
      timeoutMs: stateTimeoutMs,
      stepUpSucceeded: metrics.stepUpSucceeded,
    }),
    watch: {
      stage: metrics.stageFinished,
      fact: metrics.factFinished,
      finished(check) {
        count(check, metrics, tracing?.record(check));
        status.record(check);
        shadow.record(check);
        noteCopy(check, logWarning);
        logDecision({
          decisionId: check.decisionId,
          timeMs: Date.now(),
          durationMs: check.seconds * 1000,
          revision: check.snapshot.revision,
          decision: check.decision,
          request: check.request,
          clientAddress: () => check.request && check.snapshot.sources.clientAddress(check.request),
          country: check.context?.location?.country,
          traceparent: () => check.call.metadata?.('traceparent'),
          facts: () => decidedFacts(check, Date.now()),
        });
      },
      failed(error, decisionId) {
        metrics.checkFailed('thrown');
        metrics.decided(undefined, 'unavailable', 'internal_error');
        logFailure('thrown', 'a check failed and was answered 503', { decision_id: decisionId, error });
      },
    },
  };
}

function count({ decision, seconds }: CheckFinished, metrics: Metrics, traceId: string | undefined): void {
  const application = decision.application?.name;
  metrics.checkFinished(decision.outcome, seconds, traceId);
  metrics.decided(application, decision.outcome, decision.reason);
  if (decision.riskLevel) metrics.riskLevel(application, decision.riskLevel);
  if (!decision.adaptive) return;
  for (const rule of decision.adaptive.trace.rules) {
    for (const { name, verdict, unknown } of rule.factors)
      metrics.factorVerdict(name.replace(/\.\d+$/, ''), unknown ? 'UNKNOWN' : verdict);
  }
}

/** A machine's cookie came with a sequence nonce of long ago: somebody may have copied it. */
function noteCopy({ context, decision, decisionId }: CheckFinished, log: FailureLog): void {
  if (context?.machine.state !== 'absent' || context.machine.copied !== true) return;
  const application = decision.application?.name;
  log('machine_copy', 'a machine cookie is an old one, or a copy of it', { decision_id: decisionId, application });
}

function decisionFile(folder: string, { log }: Settings): DecisionFile | undefined {
  return log.file && { ...log.file, path: pathOf(folder, log.file.path) };
}

/** Logs what is worth a word in a revision: what reading it found, and what is looked for once it is in force. What was
 *  said of the revision before is not said again; a newer one puts an end to what is not said yet. */
function createWarningTeller(
  logger: Logger,
  show: Status['warned'],
): (found: Loaded['faults'], revision: Revision) => void {
  let told: ReadonlySet<string> = new Set();
  let newest: Revision | undefined;
  const tell = async (found: Loaded['faults'], revision: Revision): Promise<void> => {
    const later = await revision.warnings();
    if (newest !== revision) return;
    const warnings = [...found, ...later].filter(({ fault }) => fault.severity === 'warning').toSorted(byPlace);
    show(warnings);
    const fresh = warnings.filter((one) => !told.has(faultText(one)));
    told = new Set(warnings.map((one) => faultText(one)));
    for (const one of fresh.slice(0, FAULTS_LOGGED_MAX)) logger.warn('configuration', faultFields(one));
    if (fresh.length > FAULTS_LOGGED_MAX)
      logger.warn('more warnings than are shown here; `postern validate` prints them all', { warnings: fresh.length });
  };
  return (found, revision) => {
    newest = revision;
    tell(found, revision).catch((error: unknown) => logger.error('warnings could not be looked for', { error }));
  };
}

/** Policies that are only tried keep nothing from running, whatever is wrong with them. */
function logShadowFaults(logger: Logger, { shadow }: Revision): void {
  if (!shadow || shadow.compiled) return;
  logger.warn('the shadow policies have faults and are not tried', { faults: shadow.faults.length });
  for (const one of shadow.faults.slice(0, FAULTS_LOGGED_MAX)) logger.warn('shadow', faultFields(one));
}

function logRefused(logger: Logger, { faults, id }: Loaded, running: string): void {
  const wrong = faults.filter(({ fault }) => fault.severity === 'fault');
  logger.error(`a changed configuration was refused; revision ${running} stays in force`, {
    refused: id,
    revision: running,
    faults: wrong.length,
  });
  for (const one of wrong.slice(0, FAULTS_LOGGED_MAX)) logger.error('configuration', faultFields(one));
}

const FAULTS_LOGGED_MAX = 100;

function faultFields(located: LocatedFault): Readonly<Record<string, unknown>> {
  const { fault } = located;
  return { fault: faultText(located).split('\n')[0], code: fault.code, mend: fault.mend };
}

function replaceTls(server: CheckServer, before: Revision, after: Revision, logger: Logger): void {
  if (!after.tls || JSON.stringify(after.tls) === JSON.stringify(before.tls)) return;
  try {
    server.replaceTls(after.tls);
    logger.info('the check port has new TLS material');
  } catch (error) {
    logger.error('the check port keeps its TLS material', { error });
  }
}

interface Parts {
  readonly checkServer: CheckServer;
  readonly adminServer: AdminServer;
  readonly watch: FolderWatch;
  readonly keySets: ReturnType<typeof createKeySets>;
  readonly state: State;
  readonly decisions: DecisionOutput;
  readonly tracing: Tracing | undefined;
  readonly logger: Logger;
  readonly running: Running;
}

/** What happens at the end. */
function lifeOf({ checkServer, adminServer, watch, keySets, state, decisions, tracing, logger, running }: Parts): App {
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
      await state.store.close();
      await decisions.close();
      await tracing?.stop();
      logger.info('stopped');
      await logger.close();
    },
  };
}
