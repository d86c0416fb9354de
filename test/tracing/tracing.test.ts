/** Tracing as a collector sees it: the program, asked with and without a trace, and a small OTLP receiver. */
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { startTracing } from '../../src/tracing.ts';
import type { TracingOptions } from '../../src/tracing.ts';
import type { CheckFinished } from '../../src/envoy/check.ts';
import { decodeResponse, encodeRequest, metadataOf } from '../envoy/official.ts';
import { AUDIENCE, ISSUER, keySetBytes, pairFor, publicJwk, requestWith, tokenOf } from '../facts/token-maker.ts';
import { eventually, serve } from '../served.ts';
import type { Served } from '../served.ts';
import { attributesOf, startReceiver } from './receiver.ts';
import type { ReceivedSpan, Receiver } from './receiver.ts';

const SECRET = 'S3cr3tMarker';
const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const PARENT = '00f067aa0ba902b7';
const CHECK = 'envoy.service.auth.v3.Authorization/Check';

let receiver: Receiver;
let folder: string;

beforeAll(async () => {
  receiver = await startReceiver();
  folder = mkdtempSync(join(tmpdir(), 'postern-tracing-'));
  mkdirSync(join(folder, 'policies'));
  writeFileSync(join(folder, 'jwks.json'), keySetBytes(publicJwk(pairFor('ES256'), { kid: 'k1' })));
  writeFileSync(join(folder, 'headers'), '# for the collector\nauthorization: Bearer first\n');
  writeFileSync(
    join(folder, 'policies/all.yaml'),
    'applications: [{ id: 9a4b2f0e-3f55-4a57-9b0e-000000000001, name: Orders, destinations: [orders.example.com], policies: [{ name: Staff, decision: allow, include: [{ email_domain: { domain: example.com } }] }] }]\n',
  );
});

afterAll(() => {
  receiver.close();
  rmSync(folder, { recursive: true });
});

afterEach(() => {
  receiver.behave('answer');
  for (const list of [receiver.spans, receiver.bodies, receiver.headers]) list.length = 0;
});

function settings(tracing: string): void {
  writeFileSync(
    join(folder, 'postern.yaml'),
    `identity: { tokens: [{ issuer: "${ISSUER}", audiences: [${AUDIENCE}], keys: { file: jwks.json } }] }\n${tracing}\n`,
  );
}

function request(headers: Record<string, string>, path = '/'): Uint8Array {
  return encodeRequest({
    attributes: { request: { http: { method: 'GET', host: 'orders.example.com', path, headers } } },
  });
}

function token(claims: Readonly<Record<string, unknown>> = {}): string {
  const now = Math.floor(Date.now() / 1000);
  return `Bearer ${tokenOf({ claims: { iat: now - 5, exp: now + 600, ...claims } })}`;
}

async function received(name: string, count = 1): Promise<readonly ReceivedSpan[]> {
  return eventually(() => {
    const found = receiver.spans.filter((span) => span.name === name);
    return found.length >= count ? found : undefined;
  });
}

describe('a traced program', () => {
  let served: Served;

  beforeAll(async () => {
    settings(`tracing: { otlp_url: "${receiver.url}", service_name: gate, headers_file: headers, sample: 0 }`);
    served = await serve(folder);
  });

  afterAll(() => served.kill());

  it('continues the trace of the request: a span of the check, below it one of each fact that was waited for', async () => {
    const before = Date.now();
    const answer = await served.client.check(
      request({ authorization: token(), traceparent: `00-${TRACE}-${PARENT}-01`, tracestate: 'a=1,b=2' }),
    );
    const metadata = metadataOf(decodeResponse(answer));
    expect(metadata).toMatchObject({ outcome: 'allow' });
    const [check] = await received(CHECK);
    const [fact] = await received('fact identity');
    if (!check || !fact) throw new Error('no spans');
    expect(check).toMatchObject({ traceId: TRACE, parentSpanId: PARENT, kind: 2, status: { code: 0 } });
    expect(attributesOf(check)).toEqual({
      'rpc.system.name': 'grpc',
      'rpc.method': CHECK,
      'http.request.method': 'GET',
      'server.address': 'orders.example.com',
      'postern.decision_id': metadata['decision_id'],
      'postern.outcome': 'allow',
      'postern.reason': 'policy_allowed',
      'postern.application': 'Orders',
      'postern.policy': 'Staff',
      'postern.revision': metadata['revision'],
    });
    expect(fact).toMatchObject({ traceId: TRACE, parentSpanId: check.spanId, status: { code: 0 } });
    expect(attributesOf(fact)).toEqual({ 'postern.fact': 'identity' });
    const times = [check.startTimeUnixNano, fact.startTimeUnixNano, fact.endTimeUnixNano, check.endTimeUnixNano];
    expect(times).toEqual(times.toSorted());
    expect(Number(times[0]) / 1e6).toBeGreaterThan(before - 1_000);
    expect(Number(times[3]) / 1e6).toBeLessThan(Date.now() + 1_000);
    expect(receiver.services).toEqual(new Set(['gate']));
    expect(receiver.headers[0]?.authorization).toBe('Bearer first');
  });

  it.each<[string, Record<string, string>]>([
    ['without a trace, none being begun here (sample 0)', {}],
    ['of a trace that the caller does not sample', { traceparent: `00-${TRACE}-${PARENT}-00` }],
    ['with a traceparent that is none', { traceparent: `00-${TRACE}-${'0'.repeat(16)}-01` }],
    ['with two of them', { traceparent: `00-${TRACE}-${PARENT}-01,00-${TRACE}-${PARENT}-01` }],
  ])('sends nothing of a check %s', async (_, headers) => {
    await served.client.check(request(headers));
    const last = TRACE.replace('4b', '5c');
    await served.client.check(request({ traceparent: `00-${last}-${PARENT}-01` }));
    await received(CHECK);
    expect(receiver.spans.map(({ traceId }) => traceId)).toEqual([last]);
  });

  it('sends no secret, no path, no user', async () => {
    const traceparent = `00-${TRACE}-${PARENT}-01`;
    const email = `${SECRET}@example.com`;
    const sent: readonly [Record<string, string>, string][] = [
      [{ authorization: `Bearer ${SECRET}` }, '/'],
      [{ authorization: token({ email, sub: SECRET, sid: SECRET }) }, '/'],
      [{ cookie: `CF_Authorization=${SECRET}` }, '/'],
      [{ 'cf-access-client-id': SECRET, 'cf-access-client-secret': SECRET, 'x-any': SECRET }, '/'],
      [{}, `/${SECRET}?token=${SECRET}`],
      [{ tracestate: 'a=b', 'user-agent': SECRET }, '/'],
    ];
    for (const [headers, path] of sent) await served.client.check(request({ traceparent, ...headers }, path));
    await received(CHECK, sent.length);
    expect(receiver.bodies.join('')).not.toContain(SECRET);
  });

  it('takes up new headers for the collector without a restart', async () => {
    writeFileSync(join(folder, 'headers'), 'authorization: Bearer second\n');
    await eventually(async () => {
      await served.client.check(request({ traceparent: `00-${TRACE}-${PARENT}-01` }));
      return receiver.headers.some(({ authorization }) => authorization === 'Bearer second') || undefined;
    }, served.text);
  });

  it('counts its spans, and names a trace beside the latency', async () => {
    await served.client.check(request({ traceparent: `00-${TRACE}-${PARENT}-01` }));
    await received(CHECK);
    const accept = 'application/openmetrics-text;version=1.0.0,text/plain;q=0.5';
    const body = await eventually(async () => {
      const text = await (await fetch(`http://${served.admin}/metrics`, { headers: { accept } })).text();
      return /^postern_spans_total\{result="exported"\} [1-9]/m.test(text) ? text : undefined;
    });
    expect(body).toMatch(/^postern_spans_total\{result="recorded"\} [1-9]/m);
    expect(body).toMatch(
      new RegExp(`^postern_check_duration_seconds_bucket\\{.*\\} \\d+ # \\{trace_id="${TRACE}"\\} `, 'm'),
    );
  });

  it.each(['fail', 'hang'] as const)(
    'answers as before while its collector can only %s, and leaves on time',
    async (how) => {
      receiver.behave(how);
      const other = await serve(folder);
      try {
        const asked = Array.from({ length: 300 }, () =>
          other.client.check(request({ authorization: token(), traceparent: `00-${TRACE}-${PARENT}-01` })),
        );
        for (const answer of await Promise.all(asked))
          expect(metadataOf(decodeResponse(answer))).toMatchObject({ outcome: 'allow' });
        await eventually(async () => {
          const text = await (await fetch(`http://${other.admin}/metrics`)).text();
          return Number(/^postern_spans_total\{result="failed"\} (\d+)$/m.exec(text)?.[1] ?? 0) > 0 || undefined;
        }, other.text);
        expect(other.text()).toContain('traces cannot be sent');
        other.child.kill('SIGTERM');
        const stopping = eventually(() => (other.text().includes('draining') ? true : undefined));
        await stopping;
        const [code] = (await once(other.child, 'exit')) as [number];
        expect(code).toBe(0);
        expect(other.text()).toContain('"msg":"stopped"');
      } finally {
        await other.kill();
      }
    },
    60_000,
  );
});

describe('a program that does not trace', () => {
  it.each([
    ['', false],
    ['tracing: { otlp_url: "http://127.0.0.1:9/v1/traces" }', true],
  ])(
    'with %j has OpenTelemetry loaded: %s',
    async (tracing, expected) => {
      settings(tracing);
      const coverage = mkdtempSync(join(tmpdir(), 'postern-coverage-'));
      const served = await serve(folder, { NODE_V8_COVERAGE: coverage });
      try {
        await served.client.check(request({ authorization: token() }));
        served.child.kill('SIGTERM');
        await sleep(200);
        served.child.kill('SIGTERM');
        await once(served.child, 'exit');
        const loaded = readdirSync(coverage)
          .flatMap((name) => (JSON.parse(readFileSync(join(coverage, name), 'utf8')) as Coverage).result)
          .map(({ url }) => url);
        expect(loaded.some((url) => url.endsWith('/dist/app.js'))).toBe(true);
        // The interface alone, which prom-client loads too, does nothing.
        const packages = loaded.filter((url) => /\/@opentelemetry\/(?!api\/)/.test(url));
        expect(packages.length > 0).toBe(expected);
        expect(loaded.some((url) => url.endsWith('/dist/tracing.js'))).toBe(expected);
      } finally {
        await served.kill();
        rmSync(coverage, { recursive: true });
      }
    },
    60_000,
  );
});

describe('the queue', () => {
  it('is bounded: beyond it spans are dropped, and recording stays quick', async () => {
    receiver.behave('hang');
    const counts = new Map<string, number>();
    const tracing = startTracing(options(counts));
    const check = finished();
    for (let count = 0; count < 10_000; count += 1) expect(tracing.record(check)).toBeDefined();
    await sleep(50);
    receiver.behave('answer');
    const began = Date.now();
    await tracing.stop();
    expect(Date.now() - began).toBeLessThan(20_000);
    expect(counts.get('recorded')).toBe(10_000);
    const told = (counts.get('exported') ?? 0) + (counts.get('failed') ?? 0);
    expect(told).toBeLessThanOrEqual(2_048 + 128);
    expect(receiver.spans.length).toBeLessThanOrEqual(2_048 + 128);
  });

  it('keeps a share of the traces that begin here', async () => {
    const tracing = startTracing({ ...options(new Map()), sample: 0.25 });
    const check = finished();
    let kept = 0;
    for (let count = 0; count < 4_000; count += 1) if (tracing.record(check) !== undefined) kept += 1;
    await tracing.stop();
    expect(kept).toBeGreaterThan(700);
    expect(kept).toBeLessThan(1_300);
  });

  it('tells what could not be had, and the 503 that came of it, as errors', async () => {
    const tracing = startTracing(options(new Map()));
    const check = finished();
    tracing.record({
      ...check,
      decision: { ...check.decision, outcome: 'unavailable', reason: 'fact_unavailable' },
      facts: [
        { fact: 'identity', sinceSeconds: 0.000_1, seconds: 0.000_8, had: false },
        { fact: 'history', sinceSeconds: 0.000_1, seconds: 0.000_2, had: true },
      ],
    });
    await tracing.stop();
    expect(receiver.spans.map(({ name, status }) => [name, status])).toEqual([
      ['fact identity', { code: 2, message: 'could not be had' }],
      ['fact history', { code: 0 }],
      [CHECK, { code: 2, message: 'fact_unavailable' }],
    ]);
    const [identity] = receiver.spans;
    expect(Number(BigInt(identity?.endTimeUnixNano ?? 0) - BigInt(identity?.startTimeUnixNano ?? 0)) / 1e6).toBeCloseTo(
      0.8,
      2,
    );
  });

  it('never throws, whatever the check is like', async () => {
    const told: unknown[] = [];
    const tracing = startTracing({ ...options(new Map()), failing: (error) => void told.push(error) });
    const broken = { ...finished(), decision: undefined } as unknown as CheckFinished;
    expect(tracing.record(broken)).toBeUndefined();
    expect(told).toHaveLength(1);
    await tracing.stop();
  });

  function options(counts: Map<string, number>): TracingOptions {
    return {
      url: receiver.url,
      sample: 1,
      serviceName: 'postern',
      headers: () => ({}),
      counted: (result, spans) => void counts.set(result, (counts.get(result) ?? 0) + spans),
      failing: () => undefined,
    };
  }

  function finished(): CheckFinished {
    return {
      decision: { outcome: 'deny', reason: 'no_application', why: '' } as CheckFinished['decision'],
      decisionId: 'id-1',
      snapshot: { revision: '0123456789ab' } as CheckFinished['snapshot'],
      request: requestWith({}),
      context: undefined,
      application: undefined,
      seconds: 0.001,
      call: { deadlineMs: Infinity, signal: new AbortController().signal, cancelled: false },
      facts: undefined,
    };
  }
});

interface Coverage {
  readonly result: readonly { readonly url: string }[];
}
