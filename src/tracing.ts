/** Spans of checks and of the facts they waited for, sent over OTLP. The one door of OpenTelemetry, and it is opened by
 *  `import()` where tracing is configured, so that nobody else loads a byte of it.
 *
 *  Spans are made when a check is over, from times that were taken anyway: while it runs, nothing is traced. */
import { ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import type { Attributes, TextMapGetter } from '@opentelemetry/api';
import { ExportResultCode, W3CTraceContextPropagator } from '@opentelemetry/core';
import type { ExportResult } from '@opentelemetry/core';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { resourceFromAttributes } from '@opentelemetry/resources';
import {
  BatchSpanProcessor,
  ParentBasedSampler,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from '@opentelemetry/sdk-trace';
import type { ReadableSpan, SpanExporter } from '@opentelemetry/sdk-trace';
import type { CheckFinished } from './envoy/check.ts';

export interface TracingOptions {
  /** Where traces are taken: `http://127.0.0.1:4318/v1/traces`. */
  readonly url: string;
  /** Share of the traces that begin here which is kept, 0 to 1. A caller's own decision is followed. */
  readonly sample: number;
  /** OpenTelemetry's `service.name`. */
  readonly serviceName: string;
  /** Sent with every export; asked each time, so that a reload changes them. */
  readonly headers: () => Readonly<Record<string, string>>;
  /** How many spans became what: `recorded` at first, then `exported` or `failed`. Those recorded beyond that were
   *  dropped from a full queue, or wait in it. */
  readonly counted: (result: SpanResult, spans: number) => void;
  /** Told when exports begin to fail, and with undefined when they work again. */
  readonly failing: (error: Error | undefined) => void;
}

export type SpanResult = 'recorded' | 'exported' | 'failed';

export interface Tracing {
  /** Records a check that is over, now; gives the trace it belongs to, undefined where it is not sampled. Never waits,
   *  never throws. */
  record(check: CheckFinished): string | undefined;
  /** Sends what waits, for a second at most. */
  stop(): Promise<void>;
}

export function startTracing(options: TracingOptions): Tracing {
  const processor = new BatchSpanProcessor({
    exporter: watched(
      new OTLPTraceExporter({
        url: options.url,
        headers: async () => ({ ...options.headers() }),
        timeoutMillis: EXPORT_MAX_MS,
      }),
      options,
    ),
    maxQueueSize: QUEUE_MAX,
    maxExportBatchSize: BATCH_MAX,
    scheduledDelayMillis: DELAY_MS,
    exportTimeoutMillis: EXPORT_MAX_MS + DELAY_MS,
  });
  const provider = new TracerProvider({
    resource: resourceFromAttributes({ 'service.name': options.serviceName }),
    sampler: new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(options.sample) }),
    spanLimits: { attributeValueLengthLimit: VALUE_MAX },
    spanProcessors: [processor],
  });
  const tracer = provider.getTracer('postern');
  const propagator = new W3CTraceContextPropagator();
  const recorded = (check: CheckFinished): string | undefined => {
    const endMs = Date.now();
    const beganMs = endMs - check.seconds * 1000;
    const parent = propagator.extract(ROOT_CONTEXT, check, CARRIED);
    const span = tracer.startSpan(CHECK_NAME, { kind: SpanKind.SERVER, startTime: beganMs }, parent);
    if (!span.isRecording()) return undefined;
    span.setAttributes(attributesOf(check));
    const { outcome, reason } = check.decision;
    if (outcome === 'unavailable') span.setStatus({ code: SpanStatusCode.ERROR, message: reason });
    const context = trace.setSpan(ROOT_CONTEXT, span);
    for (const { fact, sinceSeconds, seconds, had } of check.facts ?? []) {
      const startMs = beganMs + sinceSeconds * 1000;
      const child = tracer.startSpan(
        `fact ${fact}`,
        { startTime: startMs, attributes: { 'postern.fact': fact } },
        context,
      );
      if (!had) child.setStatus({ code: SpanStatusCode.ERROR, message: 'could not be had' });
      child.end(startMs + seconds * 1000);
    }
    span.end(endMs);
    options.counted('recorded', 1 + (check.facts?.length ?? 0));
    return span.spanContext().traceId;
  };
  return {
    record(check) {
      try {
        return recorded(check);
      } catch (error) {
        // A check is not worth less because its trace cannot be written.
        options.failing(error instanceof Error ? error : new Error(String(error)));
        return undefined;
      }
    },
    async stop() {
      let timer: NodeJS.Timeout | undefined;
      const enough = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, STOP_MAX_MS);
      });
      // An error has been told of already.
      await Promise.race([provider.shutdown().catch(() => undefined), enough]);
      clearTimeout(timer);
    },
  };
}

const CHECK_NAME = 'envoy.service.auth.v3.Authorization/Check';
/** Spans that wait, some 1 KB each; more are dropped. */
const QUEUE_MAX = 2_048;
/** Writing one batch as JSON holds the thread that decides: 128 spans take about a millisecond. */
const BATCH_MAX = 128;
const DELAY_MS = 1_000;
const EXPORT_MAX_MS = 5_000;
const STOP_MAX_MS = 1_000;
const VALUE_MAX = 256;
const METHOD_MAX = 32;

/** Envoy's own span comes with the call, where Envoy traces; otherwise the request's headers tell its sender's. A header
 *  that comes more than once cannot be continued (W3C Trace Context, section 3.2). */
const CARRIED: TextMapGetter<CheckFinished> = {
  keys: () => ['traceparent', 'tracestate'],
  get({ call, request }, name) {
    if (call.metadata?.('traceparent') !== undefined) return call.metadata(name);
    const found = request?.headers.single(name, { commaAllowed: name === 'tracestate' });
    return found?.state === 'one' ? found.value : undefined;
  },
};

/** Names of the configuration, closed lists, and the method and host. Never the path, the query, a header or who asks:
 *  those are for the decision log, which the decision's id leads to. */
function attributesOf({ decision, decisionId, request, snapshot }: CheckFinished): Attributes {
  const attributes: Attributes = {
    'rpc.system.name': 'grpc',
    'rpc.method': CHECK_NAME,
    'postern.decision_id': decisionId,
    'postern.outcome': decision.outcome,
    'postern.reason': decision.reason,
    'postern.revision': snapshot.revision,
  };
  if (request) {
    attributes['http.request.method'] = request.method.slice(0, METHOD_MAX);
    attributes['server.address'] = request.host;
  }
  if (decision.application) attributes['postern.application'] = decision.application.name;
  if (decision.policy) attributes['postern.policy'] = decision.policy.name;
  if (decision.resourceRule) attributes['postern.resource_rule'] = decision.resourceRule.name;
  if (decision.riskLevel) attributes['postern.risk_level'] = decision.riskLevel;
  if (decision.riskScore !== undefined) attributes['postern.risk_score'] = decision.riskScore;
  return attributes;
}

/** Counts what became of the spans, and tells when exporting begins to fail and to work. */
function watched(exporter: OTLPTraceExporter, { counted, failing }: TracingOptions): SpanExporter {
  let isFailing = false;
  return {
    export(spans: ReadableSpan[], done: (result: ExportResult) => void) {
      exporter.export(spans, (result) => {
        const failed = result.code !== ExportResultCode.SUCCESS;
        counted(failed ? 'failed' : 'exported', spans.length);
        if (failed !== isFailing) failing(failed ? (result.error ?? new Error('the export failed')) : undefined);
        isFailing = failed;
        done(result);
      });
    },
    forceFlush: () => exporter.forceFlush(),
    shutdown: () => exporter.shutdown(),
  };
}
