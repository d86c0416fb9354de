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

async function ask(path: string, readiness: Readiness): Promise<AdminResponse> {
  const routes = probeRoutes({ readiness: () => readiness, metrics: createMetrics({ nodeMetrics: false }) });
  const route = routes.find((candidate) => candidate.path === path);
  if (!route) throw new Error(`no route ${path}`);
  expect([route.method, route.scope]).toEqual(['GET', 'open']);
  return route.handle(REQUEST);
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

  it('/metrics is the text exposition format', async () => {
    const { status, headers, body } = await ask('/metrics', { ready: true });
    expect([status, headers?.['content-type']]).toEqual([200, 'text/plain; version=0.0.4; charset=utf-8']);
    expect(body).toContain('# TYPE postern_check_duration_seconds histogram\n');
  });
});
