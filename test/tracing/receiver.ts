/** A small OTLP receiver: takes what an exporter of traces posts, as JSON.
 *  Source: OpenTelemetry protocol, OTLP/HTTP, `ExportTraceServiceRequest`. */
import { createServer } from 'node:http';
import type { IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface ReceivedSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly name: string;
  readonly kind: number;
  readonly startTimeUnixNano: string;
  readonly endTimeUnixNano: string;
  readonly attributes: readonly { readonly key: string; readonly value: Readonly<Record<string, unknown>> }[];
  readonly status: { readonly code?: number; readonly message?: string };
}

export interface Receiver {
  readonly url: string;
  readonly spans: ReceivedSpan[];
  /** Bodies as they came. */
  readonly bodies: string[];
  readonly headers: IncomingHttpHeaders[];
  readonly services: Set<unknown>;
  /** What it does from now on: `hang` takes the request and says nothing. */
  behave(how: 'answer' | 'fail' | 'hang'): void;
  close(): void;
}

export async function startReceiver(): Promise<Receiver> {
  const spans: ReceivedSpan[] = [];
  const bodies: string[] = [];
  const headers: IncomingHttpHeaders[] = [];
  const services = new Set<unknown>();
  let behaviour: 'answer' | 'fail' | 'hang' = 'answer';
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => void chunks.push(chunk));
    request.on('end', () => {
      if (behaviour === 'hang') return;
      if (behaviour === 'fail' || request.method !== 'POST' || request.url !== '/v1/traces') {
        response.writeHead(behaviour === 'fail' ? 500 : 404).end();
        return;
      }
      const body = Buffer.concat(chunks).toString();
      bodies.push(body);
      headers.push(request.headers);
      const message = JSON.parse(body) as Export;
      for (const { resource, scopeSpans } of message.resourceSpans) {
        services.add(resource.attributes.find(({ key }) => key === 'service.name')?.value['stringValue']);
        for (const scope of scopeSpans) spans.push(...scope.spans);
      }
      response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
    });
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/v1/traces`,
    spans,
    bodies,
    headers,
    services,
    behave: (how) => {
      behaviour = how;
    },
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

/** Plain values by key. */
export function attributesOf({ attributes }: ReceivedSpan): Readonly<Record<string, unknown>> {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]]));
}

interface Export {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: ReceivedSpan['attributes'] };
    readonly scopeSpans: readonly { readonly spans: readonly ReceivedSpan[] }[];
  }[];
}
