/** Everything that is measured, under the names that dashboards and alerts are built on. */
import { Registry, collectDefaultMetrics } from 'prom-client';
import type { Metric } from 'prom-client';
import type { FactName } from './model/context.ts';
import type { Outcome, Reason, RiskLevel } from './model/decision.ts';
import { STATE_OPERATIONS } from './state/store.ts';
import type { StateOperation } from './state/store.ts';

/** The parts of a check: bytes to request, gathering facts, deciding, decision to bytes. */
export type Stage = 'map' | 'gather' | 'decide' | 'respond';

/** All times are seconds. Label values come from configuration or from closed lists, never from a request; that of
 *  requests which no application covers is "". */
export interface Metrics {
  /** `postern_check_duration_seconds`: once per answered check, bytes in to bytes out. With a trace id, an exemplar of
   *  its bucket. */
  checkFinished(outcome: Outcome, seconds: number, traceId?: string): void;
  /** `postern_stage_duration_seconds` */
  stageFinished(stage: Stage, seconds: number): void;
  /** `postern_decisions_total`; `application` is the name. */
  decided(application: string | undefined, outcome: Outcome, reason: Reason): void;
  /** `postern_risk_level_total` */
  riskLevel(application: string | undefined, level: RiskLevel): void;
  /** `postern_step_ups_succeeded_total`: a user was let in whom this process had asked to step up. */
  stepUpSucceeded(application: string): void;
  /** `postern_factor_verdicts_total`: how often each risk factor was at risk, not at risk or could not tell. */
  factorVerdict(factor: string, verdict: string): void;
  /** `postern_config_reloads_total`, `postern_config_last_reload_successful` and, of a success,
   *  `postern_config_last_reload_success_timestamp_seconds`. The load at start counts too. */
  reloaded(result: 'success' | 'failure', epochSeconds: number): void;
  /** `postern_config_info`: the revision that is served. */
  setRevision(revision: string): void;
  /** The applications of that revision, by name. Series of all others are forgotten; a late decision under an older
   *  revision counts under "". */
  keepApplications(names: Iterable<string>): void;
  /** `postern_fact_duration_seconds`, and where it could not be had `postern_fact_errors_total`. */
  factFinished(fact: FactName, seconds: number, had: boolean): void;
  /** `postern_key_set_reads_total` and, of a success, `postern_key_set_last_success_timestamp_seconds`. */
  keySetRead(url: string, had: boolean, epochSeconds: number): void;
  /** The key sets of the revision that is served; a new one may have been read already. Series of all others are
   *  forgotten. */
  keepKeySets(urls: Iterable<string>): void;
  /** `postern_expiry_timestamp_seconds`: what the revision that is served holds and will cease to be valid. */
  setExpiries(expiries: readonly Expiry[]): void;
  /** `postern_cache_requests_total` */
  cacheRequest(cache: string, result: 'hit' | 'miss'): void;
  /** `postern_state_errors_total` */
  stateError(operation: StateOperation): void;
  /** `postern_state_duration_seconds` */
  stateFinished(operation: StateOperation, seconds: number): void;
  /** `postern_check_failures_total`: answers of the transport's own because the check gave none. */
  checkFailed(kind: string): void;
  /** `postern_spans_total`: what became of the spans of tracing. */
  spansCounted(result: string, spans: number): void;
  /** `postern_decision_log_dropped_total`: lines that found the log's buffer full, or could not be written. */
  decisionLogDropped(lines: number): void;
  /** `postern_shadow_decisions_total`: how policies that are only tried decide beside those in force; `unknown`: they
   *  read facts that were not gathered. */
  shadowDecided(application: string | undefined, real: Outcome, shadow: Outcome | 'unknown'): void;
  /** `postern_shadow_dropped_total`: requests that were not tried, because too many waited. */
  shadowDropped(): void;
  /** `postern_shadow_last_load_successful`: whether the policies that are tried are free of faults; undefined: none are
   *  tried. */
  setShadow(isLoaded: boolean | undefined): void;
  /** `postern_checks_waiting`: read when scraped. */
  watchWaiting(read: () => number): void;
  /** `text`: the text exposition format 0.0.4. `openmetrics`: OpenMetrics 1.0.0, the only one that has exemplars. */
  render(format?: MetricsFormat): Promise<{ readonly contentType: string; readonly body: string }>;
}

export type MetricsFormat = 'text' | 'openmetrics';

/** Something with a last day: its name comes from the configuration. */
export interface Expiry {
  readonly kind: string;
  readonly name: string;
  readonly epochSeconds: number;
}

/** Upper bounds in seconds, dense below 10 ms, where a check of a sidecar lives. */
export const CHECK_BUCKETS: readonly number[] = [
  0.000_05, 0.000_1, 0.000_15, 0.000_2, 0.000_3, 0.000_4, 0.000_5, 0.000_75, 0.001, 0.001_5, 0.002, 0.003, 0.004, 0.005,
  0.007_5, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1,
];

/** `nodeMetrics: false` leaves out Node's own (event-loop lag, heap, collector), which are read from the process.
 *
 *  Counts are kept here and handed to prom-client when scraped: a check makes some fifteen of these calls, and
 *  prom-client hashes labels in each. Measured with Node 20.20 on one core: its `observe` 450–490 ns and `inc`
 *  380–390 ns, with or without `labels()` kept; these 56 ns and 28 ns. At 8,000 checks a second that is 5 % of the
 *  core against 0.5 %. */
export function createMetrics(options: { readonly nodeMetrics?: boolean } = {}): Metrics {
  const registry = new Registry();
  const openRegistry = new Registry<typeof Registry.OPENMETRICS_CONTENT_TYPE>();
  openRegistry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE);
  if (options.nodeMetrics !== false) collectDefaultMetrics({ register: registry });
  const durations = (name: string, help: string, label: string, buckets: readonly number[]): DurationFamily => {
    const family = new DurationFamily(name, help, label, buckets);
    registry.registerMetric(family as unknown as Metric);
    return family;
  };
  const counts = (name: string, help: string, ...labels: readonly string[]): CountFamily => {
    const family = new CountFamily(name, help, labels);
    registry.registerMetric(family as unknown as Metric);
    return family;
  };
  const gauge = (name: string, help: string, read: () => readonly Sample[]): void => {
    registry.registerMetric({ name, get: () => published(name, help, 'gauge', read()) } as unknown as Metric);
  };

  const checks = durations(
    'postern_check_duration_seconds',
    'Time from the bytes of a check to the bytes of its answer.',
    'outcome',
    CHECK_BUCKETS,
  );
  const stages = durations(
    'postern_stage_duration_seconds',
    'Time spent in each stage of a check.',
    'stage',
    STAGE_BUCKETS,
  );
  const decisions = counts(
    'postern_decisions_total',
    'Decisions by application, outcome and reason.',
    'application',
    'outcome',
    'reason',
  );
  const risks = counts('postern_risk_level_total', 'Risk levels found, by application.', 'application', 'level');
  const stepUps = counts(
    'postern_step_ups_succeeded_total',
    'Users who were let in within ten minutes of having been asked to step up, by this process.',
    'application',
  );
  const factors = counts('postern_factor_verdicts_total', 'Verdicts of each risk factor.', 'factor', 'verdict');
  const reloads = counts('postern_config_reloads_total', 'Loads of the configuration, by result.', 'result');
  const facts = durations('postern_fact_duration_seconds', 'Time to gather each fact.', 'fact', [
    ...CHECK_BUCKETS,
    2.5,
    5,
  ]);
  const factErrors = counts('postern_fact_errors_total', 'Facts that could not be had.', 'fact');
  const caches = counts('postern_cache_requests_total', 'Look-ups in each cache.', 'cache', 'result');
  const stateErrors = counts('postern_state_errors_total', 'Failed operations of the state store.', 'operation');
  const states = durations(
    'postern_state_duration_seconds',
    'Time of each operation of the state store.',
    'operation',
    CHECK_BUCKETS,
  );
  const failures = counts(
    'postern_check_failures_total',
    'Checks that the transport answered 503 because they gave no answer.',
    'kind',
  );
  const dropped = counts(
    'postern_decision_log_dropped_total',
    'Decision log lines lost: the buffer was full, or they could not be written.',
  );

  const keySetReads = counts(
    'postern_key_set_reads_total',
    'Reads of key sets from their URLs, by result.',
    'key_set',
    'result',
  );
  const spans = counts('postern_spans_total', 'Spans of tracing: recorded, and what became of them.', 'result');

  const shadows = counts(
    'postern_shadow_decisions_total',
    'Decisions of policies that are only tried, beside those in force.',
    'application',
    'real',
    'shadow',
  );
  const shadowsDropped = counts('postern_shadow_dropped_total', 'Requests that were not tried, too many waiting.');

  let revision: string | undefined;
  let lastResult: 'success' | 'failure' | undefined;
  let lastSuccess: number | undefined;
  let waiting: (() => number) | undefined;
  let applications: ReadonlySet<string> | undefined;
  let expiries: readonly Expiry[] = [];
  /** Label of a key set → when it was last read with success, seconds since the epoch; 0: never. */
  let keySets = new Map<string, number>();
  gauge('postern_config_info', 'The revision that is served.', () =>
    revision === undefined ? [] : [{ labels: { revision }, value: 1 }],
  );
  gauge('postern_config_last_reload_successful', 'Whether the last load of the configuration succeeded.', () =>
    lastResult === undefined ? [] : [{ labels: {}, value: lastResult === 'success' ? 1 : 0 }],
  );
  gauge(
    'postern_config_last_reload_success_timestamp_seconds',
    'When the configuration was last loaded with success.',
    () => (lastSuccess === undefined ? [] : [{ labels: {}, value: lastSuccess }]),
  );
  gauge(
    'postern_key_set_last_success_timestamp_seconds',
    'When each key set was last read with success; 0: never.',
    () => [...keySets].map(([label, value]) => ({ labels: { key_set: label }, value })),
  );
  gauge('postern_expiry_timestamp_seconds', 'When certificates and service tokens cease to be valid.', () =>
    expiries.map(({ kind, name, epochSeconds }) => ({ labels: { kind, name }, value: epochSeconds })),
  );
  let shadowLoaded: boolean | undefined;
  gauge('postern_shadow_last_load_successful', 'Whether the policies that are only tried are free of faults.', () =>
    shadowLoaded === undefined ? [] : [{ labels: {}, value: shadowLoaded ? 1 : 0 }],
  );
  gauge('postern_checks_waiting', 'Checks whose answer is being waited for.', () => [
    { labels: {}, value: waiting?.() ?? 0 },
  ]);

  // A series that exists from the start can be alerted on before its first event.
  for (const outcome of OUTCOMES) checks.of(outcome);
  for (const stage of STAGES) stages.of(stage);
  for (const result of ['success', 'failure']) reloads.of(result);
  for (const kind of FAILURES) failures.of(kind);
  for (const operation of STATE_OPERATIONS) stateErrors.of(operation);
  dropped.of();
  shadowsDropped.of();
  for (const metric of registry.getMetricsAsArray())
    openRegistry.registerMetric(openMetric(metric as unknown as Scraped));

  const applicationLabel = (name: string | undefined): string =>
    name === undefined || (applications && !applications.has(name)) ? '' : name;

  return {
    checkFinished: (outcome, seconds, traceId) => checks.of(outcome).observe(seconds, traceId),
    stageFinished: (stage, seconds) => stages.of(stage).observe(seconds),
    decided(application, outcome, reason) {
      decisions.of(applicationLabel(application), outcome, reason).value += 1;
    },
    riskLevel(application, level) {
      risks.of(applicationLabel(application), level).value += 1;
    },
    stepUpSucceeded(application) {
      stepUps.of(applicationLabel(application)).value += 1;
    },
    factorVerdict(factor, verdict) {
      factors.of(factor, verdict).value += 1;
    },
    reloaded(result, epochSeconds) {
      reloads.of(result).value += 1;
      lastResult = result;
      if (result === 'success') lastSuccess = epochSeconds;
    },
    setRevision(text) {
      revision = text;
    },
    keepApplications(names) {
      applications = new Set(names);
      decisions.keep((name) => name === '' || (applications?.has(name) ?? false));
      risks.keep((name) => name === '' || (applications?.has(name) ?? false));
      shadows.keep((name) => name === '' || (applications?.has(name) ?? false));
      stepUps.keep((name) => name === '' || (applications?.has(name) ?? false));
    },
    factFinished(fact, seconds, had) {
      facts.of(fact).observe(seconds);
      if (!had) factErrors.of(fact).value += 1;
    },
    keySetRead(url, had, epochSeconds) {
      const label = keySetLabel(url);
      keySetReads.of(label, had ? 'success' : 'failure').value += 1;
      if (had || !keySets.has(label)) keySets.set(label, had ? epochSeconds : 0);
    },
    keepKeySets(urls) {
      const labels = [...urls].map(keySetLabel);
      keySets = new Map(labels.map((label) => [label, keySets.get(label) ?? 0]));
      keySetReads.keep((label) => keySets.has(label));
      for (const label of labels) for (const result of ['success', 'failure']) keySetReads.of(label, result);
    },
    spansCounted(result, count) {
      spans.of(result).value += count;
    },
    setExpiries(all) {
      expiries = all;
    },
    cacheRequest(cache, result) {
      // A cache in which nothing was found yet has a share of 0, not none.
      if (caches.of(cache).below.size === 0) for (const one of ['hit', 'miss']) caches.of(cache, one);
      caches.of(cache, result).value += 1;
    },
    stateError(operation) {
      stateErrors.of(operation).value += 1;
    },
    stateFinished: (operation, seconds) => states.of(operation).observe(seconds),
    checkFailed(kind) {
      failures.of(kind).value += 1;
    },
    decisionLogDropped(lines) {
      dropped.of().value += lines;
    },
    shadowDecided(application, real, shadow) {
      shadows.of(applicationLabel(application), real, shadow).value += 1;
    },
    shadowDropped() {
      shadowsDropped.of().value += 1;
    },
    setShadow(isLoaded) {
      shadowLoaded = isLoaded;
    },
    watchWaiting(read) {
      waiting = read;
    },
    async render(format = 'text') {
      const chosen = format === 'openmetrics' ? openRegistry : registry;
      return { contentType: chosen.contentType, body: await chosen.metrics() };
    },
  };
}

/** Stages are shorter than the check they are parts of. */
const STAGE_BUCKETS: readonly number[] = [0.000_005, 0.000_01, 0.000_025, ...CHECK_BUCKETS];
const OUTCOMES: readonly Outcome[] = ['allow', 'unauthenticated', 'step_up', 'deny', 'bad_request', 'unavailable'];
const STAGES: readonly Stage[] = ['map', 'gather', 'decide', 'respond'];
const FAILURES: readonly string[] = ['thrown', 'rejected', 'empty', 'late', 'overloaded'];
/** Of one label below the same others. Callers only have closed lists and configured names; this holds even if one
 *  errs. */
const LABEL_VALUES_MAX = 10_000;
const TOO_MANY = 'other';

interface Sample {
  readonly labels: Readonly<Record<string, string | number>>;
  readonly value: number;
  readonly metricName?: string;
  /** Written in OpenMetrics only. Timestamp in seconds. */
  readonly exemplar?: {
    readonly labelSet: { readonly trace_id: string };
    readonly value: number;
    readonly timestamp: number;
  };
}

/** What prom-client asks of a metric when it is scraped. */
interface Published {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly values: readonly Sample[];
  readonly aggregator: 'sum';
}

function published(name: string, help: string, type: Published['type'], values: readonly Sample[]): Promise<Published> {
  return Promise.resolve({ name, help, type, values, aggregator: 'sum' });
}

/** A metric as OpenMetrics wants it: the family of a counter is called without `_total`. Written this way because
 *  prom-client renames the metric itself, which spoils the other format. */
function openMetric(metric: Scraped): Metric {
  return {
    name: metric.name,
    async get() {
      const found = await metric.get();
      return found.type === 'counter' ? { ...found, name: found.name.replace(/_total$/, '') } : found;
    },
  } as unknown as Metric;
}

interface Scraped {
  readonly name: string;
  get(): Promise<Published>;
}

/** Where a key set is read, without a query, which could hold a key. */
function keySetLabel(url: string): string {
  const { origin, pathname } = new URL(url);
  return `${origin}${pathname}`;
}

/** One histogram's counts. The last one is of what exceeds every bound. */
class Durations {
  readonly #bounds: readonly number[];
  readonly counts: Float64Array;
  /** The last one of each bucket; undefined: none was traced. */
  exemplars: (Sample['exemplar'] | undefined)[] | undefined = undefined;
  sum = 0;

  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
    this.counts = new Float64Array(bounds.length + 1);
  }

  observe(seconds: number, traceId?: string): void {
    // A clock that was set back, or a caller's mistake: one bad value must not spoil the sum for good.
    if (!(seconds >= 0 && seconds < Infinity)) return;
    const bounds = this.#bounds;
    let place = 0;
    while (place < bounds.length && seconds > (bounds[place] ?? 0)) place += 1;
    this.counts[place] = (this.counts[place] ?? 0) + 1;
    this.sum += seconds;
    if (traceId === undefined) return;
    this.exemplars ??= Array.from({ length: this.counts.length });
    this.exemplars[place] = { labelSet: { trace_id: traceId }, value: seconds, timestamp: Date.now() / 1000 };
  }
}

class DurationFamily {
  readonly name: string;
  readonly #help: string;
  readonly #label: string;
  readonly #bounds: readonly number[];
  readonly #series = new Map<string, Durations>();

  constructor(name: string, help: string, label: string, bounds: readonly number[]) {
    this.name = name;
    this.#help = help;
    this.#label = label;
    this.#bounds = bounds;
  }

  of(value: string): Durations {
    const known = this.#series.get(value);
    if (known) return known;
    if (this.#series.size >= LABEL_VALUES_MAX && value !== TOO_MANY) return this.of(TOO_MANY);
    const made = new Durations(this.#bounds);
    this.#series.set(value, made);
    return made;
  }

  get(): Promise<Published> {
    const samples: Sample[] = [];
    for (const [value, series] of this.#series) {
      let total = 0;
      for (const [place, count] of series.counts.entries()) {
        total += count;
        const exemplar = series.exemplars?.[place];
        samples.push({
          labels: { le: this.#bounds[place] ?? '+Inf', [this.#label]: value },
          value: total,
          metricName: `${this.name}_bucket`,
          ...(exemplar && { exemplar }),
        });
      }
      const labels = { [this.#label]: value };
      samples.push({ labels, value: series.sum, metricName: `${this.name}_sum` });
      samples.push({ labels, value: total, metricName: `${this.name}_count` });
    }
    return published(this.name, this.#help, 'histogram', samples);
  }
}

/** A counter under up to three labels: a tree of maps, so that a hit makes no key. */
class CountFamily {
  readonly name: string;
  readonly #help: string;
  readonly #labels: readonly string[];
  readonly #root: CountNode = { value: 0, below: new Map() };

  constructor(name: string, help: string, labels: readonly string[]) {
    this.name = name;
    this.#help = help;
    this.#labels = labels;
  }

  of(first?: string, second?: string, third?: string): CountNode {
    let node = this.#root;
    if (first !== undefined) node = child(node, first);
    if (second !== undefined) node = child(node, second);
    if (third !== undefined) node = child(node, third);
    return node;
  }

  /** Forgets the series whose first label does not fit. */
  keep(fits: (first: string) => boolean): void {
    for (const value of this.#root.below.keys()) if (!fits(value)) this.#root.below.delete(value);
  }

  get(): Promise<Published> {
    const samples: Sample[] = [];
    const visit = (node: CountNode, labels: Readonly<Record<string, string>>, depth: number): void => {
      const label = this.#labels[depth];
      if (label === undefined) samples.push({ labels, value: node.value });
      else for (const [value, next] of node.below) visit(next, { ...labels, [label]: value }, depth + 1);
    };
    visit(this.#root, {}, 0);
    return published(this.name, this.#help, 'counter', samples);
  }
}

interface CountNode {
  value: number;
  readonly below: Map<string, CountNode>;
}

function child(node: CountNode, value: string): CountNode {
  const known = node.below.get(value);
  if (known) return known;
  if (node.below.size >= LABEL_VALUES_MAX && value !== TOO_MANY) return child(node, TOO_MANY);
  const made: CountNode = { value: 0, below: new Map() };
  node.below.set(value, made);
  return made;
}
