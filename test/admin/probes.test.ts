import { describe, expect, it } from 'vitest';
import { probeRoutes } from '../../src/admin/probes.ts';
import type { Readiness } from '../../src/admin/probes.ts';
import type { AdminRequest, AdminResponse } from '../../src/admin/server.ts';
import { createMetrics } from '../../src/metrics.ts';

const REQUEST: AdminRequest = {
  method: 'GET',
  path: '/',
  query: new URLSearchParams(),
  parameters: new Map(),
  headers: {},
  body: new Uint8Array(0),
  caller: undefined,
};

async function ask(path: string, readiness: Readiness, accept?: string): Promise<AdminResponse> {
  const routes = probeRoutes({ readiness: () => readiness, metrics: createMetrics({ nodeMetrics: false }) });
  const route = routes.find((candidate) => candidate.path === path);
  if (!route) throw new Error(`no route ${path}`);
  expect([route.method, route.scope]).toEqual(['GET', 'open']);
  return route.handle({ ...REQUEST, headers: accept === undefined ? {} : { accept } });
}

describe('the probes', () => {
  it.each<[string, Readiness, number, string]>([
    ['/readyz', { ready: true }, 200, 'ok\n'],
    ['/readyz', { ready: false, reason: 'no revision is loaded' }, 503, 'not ready: no revision is loaded\n'],
    ['/readyz', { ready: false, reason: 'draining' }, 503, 'not ready: draining\n'],
    ['/livez', { ready: true }, 200, 'ok\n'],
    ['/livez', { ready: false, reason: 'draining' }, 200, 'ok\n'],
  ])('%s while %j is %s', async (path, readiness, status, body) => {
    expect(await ask(path, readiness)).toEqual({
      status,
      headers: { 'content-type': 'text/plain; charset=utf-8' },
      body,
    });
  });

  const TEXT = 'text/plain; version=0.0.4; charset=utf-8';
  const OPEN = 'application/openmetrics-text; version=1.0.0; charset=utf-8';

  it.each<[string | undefined, string]>([
    [undefined, TEXT],
    ['', TEXT],
    ['*/*', TEXT],
    ['text/html, application/xhtml+xml, */*;q=0.8', TEXT],
    // Prometheus 2.42 and 3.16, as they ask.
    [
      'application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1',
      OPEN,
    ],
    [
      'application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1',
      OPEN,
    ],
    ['application/openmetrics-text', OPEN],
    ['Application/OpenMetrics-Text; Version=1.0.0', OPEN],
    ['application/openmetrics-text;version=0.0.1', TEXT],
    ['application/openmetrics-text;q=0', TEXT],
    ['application/openmetrics-text;q=0.1, text/plain', TEXT],
    ['application/openmetrics-text;q=x', TEXT],
  ])('/metrics for who accepts %j is %s', async (accept, type) => {
    const { status, headers, body } = await ask('/metrics', { ready: true }, accept);
    expect([status, headers?.['content-type'], headers?.['vary']]).toEqual([200, type, 'accept']);
    expect(body).toContain('# TYPE postern_check_duration_seconds histogram\n');
    expect(body?.toString().endsWith('# EOF\n')).toBe(type === OPEN);
  });
});
