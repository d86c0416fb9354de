/** Every query of every panel, variable and annotation, asked of a real Prometheus that scrapes a real Postern under
 *  traffic. What has no data there has none anywhere. */
import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startPrometheus } from '../prometheus/server.ts';
import type { Prometheus } from '../prometheus/server.ts';
import { eventually } from '../served.ts';
import { startBusy } from './traffic.ts';
import type { Busy } from './traffic.ts';

interface Panel {
  readonly type: string;
  readonly title: string;
  readonly description?: string;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly targets?: readonly { readonly expr: string; readonly exemplar?: boolean }[];
  readonly panels?: readonly Panel[];
  readonly fieldConfig?: {
    readonly defaults?: { readonly unit?: string };
    readonly overrides?: readonly { readonly properties: readonly { readonly id: string }[] }[];
  };
}

interface Dashboard {
  readonly uid: string;
  readonly title: string;
  readonly panels: readonly Panel[];
  readonly templating: {
    readonly list: readonly { readonly type: string; readonly name: string; readonly definition?: string }[];
  };
  readonly annotations: { readonly list: readonly { readonly name: string; readonly expr: string }[] };
}

const FOLDER = fileURLToPath(new URL('../../deploy/grafana', import.meta.url));
const RULES = fileURLToPath(new URL('../../deploy/prometheus/postern.rules.yaml', import.meta.url));
const dashboards = readdirSync(FOLDER)
  .filter((name) => name.startsWith('postern-'))
  .map((name) => JSON.parse(readFileSync(`${FOLDER}/${name}`, 'utf8')) as Dashboard);
const panels = dashboards.flatMap(({ uid, panels: top }) =>
  top.flatMap((panel) => [panel, ...(panel.panels ?? [])]).map((panel) => ({ uid, ...panel })),
);
const charts = panels.filter(({ type }) => type !== 'row');
const queries = charts.flatMap(({ uid, title, targets = [] }) =>
  targets.map(({ expr }, index) => ({ name: `${uid}: ${title} (${index + 1})`, expr })),
);

describe('the dashboards', () => {
  it('are what their code makes', () => {
    execFileSync(process.execPath, [`${FOLDER}/generate.mjs`, '--check'], { stdio: 'pipe' });
  }, 120_000);

  it('are three', () => {
    expect(dashboards.map(({ uid }) => uid).toSorted()).toEqual([
      'postern-decisions',
      'postern-operations',
      'postern-risk',
    ]);
    expect(charts.length).toBeGreaterThan(40);
  });

  it.each(charts.map((panel) => [`${panel.uid}: ${panel.title}`, panel] as const))('%s can be read', (_, panel) => {
    expect(panel.description).toMatch(/\.$/);
    const { defaults, overrides = [] } = panel.fieldConfig ?? {};
    const units = overrides.flatMap(({ properties }) => properties.filter(({ id }) => id === 'unit'));
    if (panel.type === 'heatmap') expect(JSON.stringify(panel)).toContain('"yAxis":{"unit":"s"');
    else if (panel.type === 'table') expect(units).toHaveLength(panel.targets?.length ?? 0);
    else expect(defaults?.unit).toBeTruthy();
    const { x, w, h } = panel.gridPos;
    expect(x + w).toBeLessThanOrEqual(24);
    expect(w).toBeGreaterThanOrEqual(4);
    expect(h).toBeGreaterThanOrEqual(4);
  });

  it('lead from latency to traces', () => {
    const withExemplars = charts.filter(({ targets = [] }) => targets.some(({ exemplar }) => exemplar));
    expect(withExemplars.map(({ title }) => title)).toEqual(['Latency', 'Latency quantiles']);
  });

  it('of each kind of thing have one look: no two panels of a dashboard share a place', () => {
    for (const { panels: own } of dashboards) {
      const taken = new Set<string>();
      for (const { gridPos } of own) {
        for (let x = gridPos.x; x < gridPos.x + gridPos.w; x += 1) {
          for (let y = gridPos.y; y < gridPos.y + gridPos.h; y += 1) {
            expect(taken.has(`${x} ${y}`)).toBe(false);
            taken.add(`${x} ${y}`);
          }
        }
      }
    }
  });
});

describe('asked of Prometheus', () => {
  let busy: Busy;
  let prometheus: Prometheus;

  beforeAll(async () => {
    busy = await startBusy();
    prometheus = await startPrometheus({ target: busy.target, ruleFiles: [RULES] });
    // One query that needs everything to have begun: two scrapes under traffic.
    await eventually(async () => ((await found(queries[0]?.expr ?? '')) > 0 ? true : undefined), busy.text);
  }, 120_000);

  afterAll(async () => {
    await prometheus?.stop();
    await busy?.stop();
  });

  /** Series with a number. */
  async function found(expr: string): Promise<number> {
    const { result } = (await prometheus.ask('query', { query: filled(expr) })) as Result;
    return result.filter(({ value }) => Number.isFinite(Number(value[1]))).length;
  }

  it.each(queries.map(({ name, expr }) => [name, expr]))(
    '%s has data',
    async (_, expr) => {
      await eventually(
        async () => ((await found(expr)) > 0 ? true : undefined),
        () => filled(expr),
      );
    },
    60_000,
  );

  it('a misspelt metric has none', async () => {
    for (const { expr } of queries.slice(0, 5)) expect(await found(expr.replaceAll('postern_', 'postren_'))).toBe(0);
  });

  it.each(
    dashboards.flatMap(({ uid, templating }) =>
      templating.list
        .filter(({ type }) => type === 'query')
        .map(({ name, definition = '' }) => [`${uid}: $${name}`, definition] as const),
    ),
  )('%s has values', async (_, definition) => {
    const [, selector = '', label = ''] = /^label_values\((.+), (\w+)\)$/.exec(definition) ?? [];
    const values = (await prometheus.ask(`label/${label}/values`, { 'match[]': filled(selector) })) as string[];
    expect(values.length).toBeGreaterThan(0);
  });

  it.each(
    dashboards.flatMap(({ uid, annotations }) =>
      annotations.list.filter(({ expr }) => expr).map(({ name, expr }) => [`${uid}: ${name}`, expr] as const),
    ),
  )(
    'the mark %s is set',
    async (_, expr) => {
      await eventually(async () => {
        const now = Date.now() / 1000;
        const range = { start: String(now - 300), end: String(now), step: '1' };
        const { result } = (await prometheus.ask('query_range', { query: filled(expr), ...range })) as Result;
        return result.length > 0 ? true : undefined;
      });
    },
    60_000,
  );

  it('keeps exemplars that lead to traces which were sent', async () => {
    await eventually(async () => {
      const now = Date.now() / 1000;
      const series = (await prometheus.ask('query_exemplars', {
        query: 'postern_check_duration_seconds_bucket',
        start: String(now - 300),
        end: String(now + 5),
      })) as { exemplars: { labels: { trace_id?: string } }[] }[];
      const ids = series.flatMap(({ exemplars }) => exemplars.map(({ labels }) => labels.trace_id));
      const sent = new Set(busy.spans.map(({ traceId }) => traceId));
      return ids.some((id) => id !== undefined && sent.has(id)) ? true : undefined;
    });
  }, 60_000);

  it('evaluates the rules without an error, and records what alerts ask for', async () => {
    const rules = await eventually(async () => {
      const { groups } = (await prometheus.ask('rules', {})) as {
        groups: { rules: { name: string; type: string; health: string; lastError?: string }[] }[];
      };
      const all = groups.flatMap((group) => group.rules);
      // Unknown: not evaluated yet.
      return all.length > 0 && all.every(({ health }) => health !== 'unknown') ? all : undefined;
    });
    expect(rules.filter(({ health }) => health !== 'ok')).toEqual([]);
    const recorded = rules.filter(({ type }) => type === 'recording');
    expect(recorded.length).toBeGreaterThan(10);
    for (const { name } of recorded)
      await eventually(
        async () => ((await found(name)) > 0 ? true : undefined),
        () => name,
      );
  }, 60_000);

  it('has the alert of a key set that was never read waiting, and the log says why it cannot be', async () => {
    await eventually(async () => ((await found('ALERTS{alertname="PosternKeySetLost"}')) > 0 ? true : undefined));
    expect(busy.text()).toContain('"why":"expected status 200, found 500","msg":"a key set cannot be read');
  }, 60_000);

  it('scrapes OpenMetrics without dropping anything', async () => {
    const { activeTargets } = (await prometheus.ask('targets', {})) as {
      activeTargets: { health: string; lastError: string }[];
    };
    expect(activeTargets).toMatchObject([{ health: 'up', lastError: '' }]);
  });
});

interface Result {
  readonly result: readonly { readonly value: readonly [number, string] }[];
}

/** As Grafana fills in for "All" and a short range. */
function filled(expr: string): string {
  return expr
    .replaceAll(/\$(?:job|instance|application)\b/g, '.*')
    .replaceAll('$__rate_interval', '10s')
    .replaceAll('$__range', '1m');
}
