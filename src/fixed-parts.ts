/** Parts that are opened once, at start: what their settings say later counts at the next start. */
import type { FailureLog } from './failure-log.ts';
import type { Logger } from './log.ts';
import type { Metrics } from './metrics.ts';
import type { Revision } from './revision.ts';
import type { RedisSettings, TracingSettings } from './settings.ts';
import { openState } from './state/open.ts';
import type { RedisStateOptions, StateOptions, StateSecrets } from './state/open.ts';
import type { State } from './state/state.ts';
import type { Tracing } from './tracing.ts';

/** What is remembered of users, in memory or in Redis. */
export function stateOf(revision: Revision, metrics: Metrics, logger: Logger, logFailure: FailureLog): Promise<State> {
  return openState(stateOptions(revision, metrics, logger, logFailure));
}

/** Nothing of it is loaded where it is not configured. */
export async function tracingOf(
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
        else
          logger.warn('the state store cannot be reached; it is tried again and again', {
            server,
            why,
            mend: `start it, and try: redis-cli -u redis://${server} ping; until then nobody is known, which costs step-ups and opens nothing`,
          });
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
