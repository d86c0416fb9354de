/** One trace through a real Envoy that traces: the upstream, Envoy's call to Postern and Postern's spans are all in it. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { makeDemoFolder } from '../../src/demo/folder.ts';
import type { DemoFolder } from '../../src/demo/folder.ts';
import {
  ENVOY_PROGRAM,
  ENVOY_VERSION,
  envoyFile,
  send,
  startEnvoy,
  startPostern,
  startUpstream,
} from '../../src/demo/parts.ts';
import type { Envoy, Part, Postern } from '../../src/demo/parts.ts';
import { eventually } from '../served.ts';
import { startReceiver } from './receiver.ts';
import type { Receiver } from './receiver.ts';

const CLIENT_TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const CLIENT_SPAN = '00f067aa0ba902b7';

const begun: Part[] = [];
let work: string;
let receiver: Receiver;
let demo: DemoFolder;
let postern: Postern;
let envoy: Envoy;

beforeAll(async () => {
  if (!existsSync(ENVOY_PROGRAM))
    throw new Error(`Envoy ${ENVOY_VERSION} is missing; get it with: node test/real-parts.mjs envoy`);
  work = mkdtempSync(join(tmpdir(), 'postern-traced-'));
  receiver = await startReceiver();
  demo = await makeDemoFolder(join(work, 'demo'), Date.now());
  const file = join(demo.config, 'postern.yaml');
  const more = `tracing: { otlp_url: "${receiver.url}" }\nlog: { decisions: all }\n`;
  writeFileSync(file, readFileSync(file, 'utf8').replace(/^log:.*$/m, '') + more);
  // Envoy sends its own spans here, as protobuf.
  const sink = createServer((_, response) => response.end()).listen(0, '127.0.0.1');
  begun.push({
    async stop() {
      sink.close();
      sink.closeAllConnections();
    },
  });
  const upstream = await startUpstream();
  begun.push(upstream);
  postern = await startPostern(demo.config);
  begun.push(postern);
  const ports = { listener: 0, upstream: upstream.port, postern: Number(postern.check.split(':').at(-1)) };
  envoy = await startEnvoy(ENVOY_PROGRAM, traced(envoyFile(ports), (sink.address() as AddressInfo).port), work);
  begun.push(envoy);
}, 60_000);

afterAll(async () => {
  for (const part of begun.toReversed()) await part.stop();
  receiver?.close();
  rmSync(work, { recursive: true, force: true });
});

it.each([
  ['begins here, with Envoy', undefined],
  ['comes from the client', `00-${CLIENT_TRACE}-${CLIENT_SPAN}-01`],
])(
  "a trace that %s goes on in Postern, below Envoy's call",
  async (_, traceparent) => {
    receiver.spans.length = 0;
    const answer = await send(envoy.port, {
      host: 'orders.example.com',
      path: '/',
      headers: { authorization: `Bearer ${demo.tokens.get('ann') ?? ''}`, ...(traceparent && { traceparent }) },
    });
    expect(answer.status).toBe(200);
    const { headers } = JSON.parse(answer.body) as { headers: Record<string, string> };
    const [, traceId, upstreamSpan] = (headers['traceparent'] ?? '').split('-');
    if (traceparent) expect(traceId).toBe(CLIENT_TRACE);
    const [check, fact] = await eventually(() => {
      const own = receiver.spans.find(({ name }) => name.endsWith('/Check'));
      const below = receiver.spans.find(({ name }) => name === 'fact identity');
      return own && (below || traceparent) ? [own, below] : undefined;
    });
    expect(check.traceId).toBe(traceId);
    expect(check.parentSpanId).toMatch(/^[0-9a-f]{16}$/);
    expect([CLIENT_SPAN, upstreamSpan]).not.toContain(check.parentSpanId);
    if (fact) expect(fact).toMatchObject({ traceId, parentSpanId: check.spanId });
    const line = await eventually(() => postern.lines.find((one) => one.includes(`"trace_id":"${traceId}"`)));
    expect(JSON.parse(line)).toMatchObject({ msg: 'decision', span_id: check.parentSpanId });
  },
  60_000,
);

/** The file of `deploy/envoy`, with tracing on. */
function traced(file: string, collectorPort: number): string {
  const listener = '                http_filters:';
  const clusters = '  clusters:\n';
  expect(file).toContain(listener);
  expect(file).toContain(clusters);
  return file
    .replace(
      listener,
      `                tracing:
                  provider:
                    name: envoy.tracers.opentelemetry
                    typed_config:
                      "@type": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig
                      service_name: edge
                      http_service: { http_uri: { uri: "http://127.0.0.1:${collectorPort}/v1/traces", cluster: collector, timeout: 1s } }
${listener}`,
    )
    .replace(
      clusters,
      `${clusters}    - name: collector
      type: STATIC
      load_assignment:
        cluster_name: collector
        endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: ${collectorPort} } } } }] }]
`,
    );
}
