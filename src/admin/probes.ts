/** What an orchestrator and Prometheus ask for. */
import type { AdminRoute } from './server.ts';

/** Whether requests should come here; `reason` is one plain line. */
export type Readiness = { readonly ready: true } | { readonly ready: false; readonly reason: string };

export interface ProbeOptions {
  /** Read for every probe. Ready means that a revision is loaded and the process is not draining; nothing outside the
   *  process is asked. */
  readonly readiness: () => Readiness;
  readonly metrics: { render(): Promise<{ readonly contentType: string; readonly body: string }> };
}

/** `/livez`: 200 while the event loop turns; a restart helps against nothing else. `/readyz`: 200, or 503 with the
 *  reason. `/metrics`: the text exposition format 0.0.4, whatever is accepted: OpenMetrics names counters in another
 *  way, and Prometheus reads both. All are open. */
export function probeRoutes(options: ProbeOptions): readonly AdminRoute[] {
  return [
    { method: 'GET', path: '/livez', scope: 'open', handle: () => plain(200, 'ok') },
    {
      method: 'GET',
      path: '/readyz',
      scope: 'open',
      handle() {
        const readiness = options.readiness();
        return readiness.ready ? plain(200, 'ok') : plain(503, `not ready: ${readiness.reason}`);
      },
    },
    {
      method: 'GET',
      path: '/metrics',
      scope: 'open',
      async handle() {
        const { contentType, body } = await options.metrics.render();
        return { status: 200, headers: { 'content-type': contentType }, body };
      },
    },
  ];
}

function plain(
  status: number,
  line: string,
): {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
} {
  return { status, headers: { 'content-type': 'text/plain; charset=utf-8' }, body: `${line}\n` };
}
