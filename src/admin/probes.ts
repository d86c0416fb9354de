/** What an orchestrator and Prometheus ask for. */
import type { MetricsFormat } from '../metrics.ts';
import type { AdminRoute } from './server.ts';

/** Whether requests should come here; `reason` is one plain line. */
export type Readiness = { readonly ready: true } | { readonly ready: false; readonly reason: string };

export interface ProbeOptions {
  /** Read for every probe. Ready means that a revision is loaded and the process is not draining; nothing outside the
   *  process is asked. */
  readonly readiness: () => Readiness;
  readonly metrics: {
    render(format?: MetricsFormat): Promise<{ readonly contentType: string; readonly body: string }>;
  };
}

/** `/livez`: 200 while the event loop turns; a restart helps against nothing else. `/readyz`: 200, or 503 with the
 *  reason. `/metrics`: OpenMetrics 1.0.0 for those who accept it at least as gladly as `text/plain`, the text exposition
 *  format 0.0.4 for all others. All are open. */
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
      async handle({ headers: { accept } }) {
        const { contentType, body } = await options.metrics.render(formatFor(accept));
        return { status: 200, headers: { 'content-type': contentType, vary: 'accept' }, body };
      },
    },
  ];
}

/** RFC 9110, section 12.5.1, for the two formats there are. Wildcards and no header at all get the older one. */
function formatFor(accept: string | undefined): MetricsFormat {
  let text = 0;
  let open = 0;
  for (const range of (accept ?? '').slice(0, ACCEPT_MAX).toLowerCase().split(',')) {
    const [type = '', ...parameters] = range.split(';').map((part) => part.trim());
    const quality = Number(parameters.find((part) => part.startsWith('q='))?.slice(2) ?? 1) || 0;
    const version = parameters.find((part) => part.startsWith('version='))?.slice(8);
    if (type === 'text/plain') text = Math.max(text, quality);
    if (type === 'application/openmetrics-text' && (version === undefined || version === '1.0.0'))
      open = Math.max(open, quality);
  }
  return open > 0 && open >= text ? 'openmetrics' : 'text';
}

const ACCEPT_MAX = 1_024;

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
