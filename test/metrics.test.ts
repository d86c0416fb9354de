import { describe, expect, it } from 'vitest';
import { CHECK_BUCKETS, createMetrics } from '../src/metrics.ts';
import type { Metrics } from '../src/metrics.ts';

/** The lines of one metric, comments left out. */
async function lines(metrics: Metrics, name: string): Promise<string[]> {
  const { body } = await metrics.render();
  return body.split('\n').filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
}

function made(): Metrics {
  return createMetrics({ nodeMetrics: false });
}

describe('the metrics', () => {
  it('have the names, types and labels that dashboards are built on', async () => {
    const metrics = made();
    metrics.checkFinished('allow', 0.001);
    metrics.stageFinished('decide', 0.000_01);
    metrics.decided('Orders', 'allow', 'policy_allowed');
    metrics.riskLevel('Orders', 'LOW');
    metrics.stepUpSucceeded('Orders');
    metrics.factorVerdict('travel_velocity', 'RISK');
    metrics.setRevision('0123456789ab');
    metrics.reloaded('success', 1_772_634_600);
    metrics.factFinished('identity', 0.002, false);
    metrics.keySetRead('https://idp.example/keys', true, 1_772_634_600);
    metrics.setExpiries([{ kind: 'service_token', name: 'ci', epochSeconds: 1_772_634_600 }]);
    metrics.cacheRequest('tokens', 'hit');
    metrics.stateError('read');
    metrics.stateFinished('read', 0.001);
    metrics.checkFailed('thrown');
    metrics.spansCounted('recorded', 1);
    metrics.decisionLogDropped(1);
    metrics.shadowDecided('Orders', 'allow', 'unknown');
    metrics.shadowDropped();
    metrics.setShadow(true);
    const { body, contentType } = await metrics.render();
    expect(contentType).toBe('text/plain; version=0.0.4; charset=utf-8');
    const found = new Map<string, string>();
    for (const [, name = '', type = ''] of body.matchAll(/^# TYPE (\S+) (\S+)$/gm)) found.set(name, type);
    const labels = (name: string): string =>
      [
        ...new Set(
          [...body.matchAll(new RegExp(`^${name}(?:_bucket)?\\{(.*)\\} `, 'gm'))].flatMap(([, text = '']) =>
            [...text.matchAll(/(\w+)=/g)].map(([, label]) => label),
          ),
        ),
      ].join(' ');
    expect([...found].map(([name, type]) => [name, type, labels(name)])).toEqual([
      ['postern_check_duration_seconds', 'histogram', 'le outcome'],
      ['postern_stage_duration_seconds', 'histogram', 'le stage'],
      ['postern_decisions_total', 'counter', 'application outcome reason'],
      ['postern_risk_level_total', 'counter', 'application level'],
      ['postern_step_ups_succeeded_total', 'counter', 'application'],
      ['postern_factor_verdicts_total', 'counter', 'factor verdict'],
      ['postern_config_reloads_total', 'counter', 'result'],
      ['postern_fact_duration_seconds', 'histogram', 'le fact'],
      ['postern_fact_errors_total', 'counter', 'fact'],
      ['postern_cache_requests_total', 'counter', 'cache result'],
      ['postern_state_errors_total', 'counter', 'operation'],
      ['postern_state_duration_seconds', 'histogram', 'le operation'],
      ['postern_check_failures_total', 'counter', 'kind'],
      ['postern_decision_log_dropped_total', 'counter', ''],
      ['postern_key_set_reads_total', 'counter', 'key_set result'],
      ['postern_spans_total', 'counter', 'result'],
      ['postern_shadow_decisions_total', 'counter', 'application real shadow'],
      ['postern_shadow_dropped_total', 'counter', ''],
      ['postern_config_info', 'gauge', 'revision'],
      ['postern_config_last_reload_successful', 'gauge', ''],
      ['postern_config_last_reload_success_timestamp_seconds', 'gauge', ''],
      ['postern_key_set_last_success_timestamp_seconds', 'gauge', 'key_set'],
      ['postern_expiry_timestamp_seconds', 'gauge', 'kind name'],
      ['postern_shadow_last_load_successful', 'gauge', ''],
      ['postern_checks_waiting', 'gauge', ''],
    ]);
  });

  it('have buckets from 50 µs to 1 s, most of them below 10 ms', () => {
    expect([CHECK_BUCKETS[0], CHECK_BUCKETS.at(-1)]).toEqual([0.000_05, 1]);
    expect(CHECK_BUCKETS).toEqual([...CHECK_BUCKETS].toSorted((a, b) => a - b));
    expect(CHECK_BUCKETS.filter((bound) => bound <= 0.01).length).toBeGreaterThanOrEqual(15);
  });

  it('exist before their first event', async () => {
    const { body } = await made().render();
    for (const line of [
      'postern_check_duration_seconds_count{outcome="unavailable"} 0',
      'postern_stage_duration_seconds_count{stage="gather"} 0',
      'postern_config_reloads_total{result="failure"} 0',
      'postern_check_failures_total{kind="overloaded"} 0',
      'postern_decision_log_dropped_total 0',
      'postern_checks_waiting 0',
      'postern_state_errors_total{operation="read"} 0',
    ])
      expect(body.split('\n')).toContain(line);
  });

  it('of Node are there: event-loop lag, heap, collector', async () => {
    const { body } = await createMetrics().render();
    for (const name of [
      'nodejs_eventloop_lag_p99_seconds',
      'nodejs_heap_size_used_bytes',
      'nodejs_gc_duration_seconds',
      'process_cpu_seconds_total',
    ])
      expect(body).toContain(`# TYPE ${name} `);
  });
});

describe('a histogram', () => {
  it('counts each time in its bucket and all above it, and sums', async () => {
    const metrics = made();
    for (const seconds of [0, 0.000_05, 0.000_051, 0.009, 1, 7]) metrics.checkFinished('deny', seconds);
    const buckets = await lines(metrics, 'postern_check_duration_seconds_bucket');
    const counted = new Map(
      buckets
        .filter((line) => line.includes('outcome="deny"'))
        .map((line) => [/le="([^"]+)"/.exec(line)?.[1], line.split(' ')[1]]),
    );
    expect(['0.00005', '0.0001', '0.0075', '0.01', '0.5', '1', '+Inf'].map((bound) => counted.get(bound))).toEqual([
      '2',
      '3',
      '3',
      '4',
      '4',
      '5',
      '6',
    ]);
    expect(counted.size).toBe(CHECK_BUCKETS.length + 1);
    const { body } = await metrics.render();
    expect(Number(/^postern_check_duration_seconds_sum\{outcome="deny"\} (\S+)$/m.exec(body)?.[1])).toBeCloseTo(
      8.009_101,
      9,
    );
    expect(body).toContain('postern_check_duration_seconds_count{outcome="deny"} 6\n');
    expect(body).toContain('postern_check_duration_seconds_count{outcome="allow"} 0\n');
  });

  it.each([NaN, -1, Infinity, -Infinity])('does not count %s', async (seconds) => {
    const metrics = made();
    metrics.checkFinished('allow', seconds);
    const { body } = await metrics.render();
    expect(body).toContain('postern_check_duration_seconds_count{outcome="allow"} 0\n');
    expect(body).toContain('postern_check_duration_seconds_sum{outcome="allow"} 0\n');
  });
});

describe('counters', () => {
  it('count by all their labels', async () => {
    const metrics = made();
    metrics.decided('Orders', 'allow', 'policy_allowed');
    metrics.decided('Orders', 'allow', 'policy_allowed');
    metrics.decided('Orders', 'deny', 'policy_denied');
    metrics.decided(undefined, 'deny', 'no_application');
    expect(await lines(metrics, 'postern_decisions_total')).toEqual([
      'postern_decisions_total{application="Orders",outcome="allow",reason="policy_allowed"} 2',
      'postern_decisions_total{application="Orders",outcome="deny",reason="policy_denied"} 1',
      'postern_decisions_total{application="",outcome="deny",reason="no_application"} 1',
    ]);
  });

  it('escape what a name may hold', async () => {
    const metrics = made();
    metrics.decided('a "b" \\ c\nd', 'allow', 'policy_allowed');
    expect(await lines(metrics, 'postern_decisions_total')).toEqual([
      String.raw`postern_decisions_total{application="a \"b\" \\ c\nd",outcome="allow",reason="policy_allowed"} 1`,
    ]);
  });

  it('take names like those of Object for names', async () => {
    const metrics = made();
    for (const name of ['__proto__', 'constructor']) metrics.decided(name, 'allow', 'policy_allowed');
    expect(await lines(metrics, 'postern_decisions_total')).toHaveLength(2);
  });

  it('of a fact that could not be had tell the error beside the time', async () => {
    const metrics = made();
    metrics.factFinished('location', 0.001, true);
    metrics.factFinished('identity', 0.001, false);
    expect(await lines(metrics, 'postern_fact_errors_total')).toEqual(['postern_fact_errors_total{fact="identity"} 1']);
    const { body } = await metrics.render();
    expect(body).toContain('postern_fact_duration_seconds_count{fact="identity"} 1\n');
    expect(body).toContain('postern_fact_duration_seconds_count{fact="location"} 1\n');
  });
});

describe('applications', () => {
  it('that left the configuration are forgotten, and late decisions count under no name', async () => {
    const metrics = made();
    metrics.keepApplications(['Orders', 'Billing']);
    metrics.decided('Orders', 'allow', 'policy_allowed');
    metrics.decided('Billing', 'allow', 'policy_allowed');
    metrics.riskLevel('Billing', 'HIGH');
    metrics.decided(undefined, 'deny', 'no_application');
    metrics.keepApplications(['Orders']);
    metrics.decided('Billing', 'allow', 'policy_allowed');
    expect(await lines(metrics, 'postern_decisions_total')).toEqual([
      'postern_decisions_total{application="Orders",outcome="allow",reason="policy_allowed"} 1',
      'postern_decisions_total{application="",outcome="deny",reason="no_application"} 1',
      'postern_decisions_total{application="",outcome="allow",reason="policy_allowed"} 1',
    ]);
    expect(await lines(metrics, 'postern_risk_level_total')).toEqual([]);
  });

  it('cannot grow without bound, even if a caller errs', async () => {
    const metrics = made();
    for (let count = 0; count < 10_050; count += 1) metrics.cacheRequest(`cache ${count}`, 'hit');
    const counted = await lines(metrics, 'postern_cache_requests_total');
    expect(counted).toHaveLength(20_002);
    expect(counted.slice(-2)).toEqual([
      'postern_cache_requests_total{cache="other",result="hit"} 50',
      'postern_cache_requests_total{cache="other",result="miss"} 0',
    ]);
  });
});

describe('the configuration', () => {
  it('is told by its revision, the last one only', async () => {
    const metrics = made();
    expect(await lines(metrics, 'postern_config_info')).toEqual([]);
    metrics.setRevision('0123456789ab');
    metrics.setRevision('ba9876543210');
    expect(await lines(metrics, 'postern_config_info')).toEqual(['postern_config_info{revision="ba9876543210"} 1']);
  });

  it('keeps the time of the last success through failures', async () => {
    const metrics = made();
    metrics.reloaded('success', 100);
    metrics.reloaded('failure', 200);
    expect(await lines(metrics, 'postern_config_last_reload_successful')).toEqual([
      'postern_config_last_reload_successful 0',
    ]);
    expect(await lines(metrics, 'postern_config_last_reload_success_timestamp_seconds')).toEqual([
      'postern_config_last_reload_success_timestamp_seconds 100',
    ]);
    metrics.reloaded('success', 300);
    expect(await lines(metrics, 'postern_config_last_reload_successful')).toEqual([
      'postern_config_last_reload_successful 1',
    ]);
    expect(await lines(metrics, 'postern_config_reloads_total')).toEqual([
      'postern_config_reloads_total{result="success"} 2',
      'postern_config_reloads_total{result="failure"} 1',
    ]);
  });
});

describe('what waits', () => {
  it('is read when scraped', async () => {
    const metrics = made();
    let waiting = 3;
    metrics.watchWaiting(() => waiting);
    expect(await lines(metrics, 'postern_checks_waiting')).toEqual(['postern_checks_waiting 3']);
    waiting = 5;
    expect(await lines(metrics, 'postern_checks_waiting')).toEqual(['postern_checks_waiting 5']);
  });
});

describe('key sets', () => {
  const url = 'https://idp.example/keys';

  it('have their series before they are read, and keep the time of the last success through failures', async () => {
    const metrics = made();
    metrics.keepKeySets([url]);
    expect(await lines(metrics, 'postern_key_set_reads_total')).toEqual([
      `postern_key_set_reads_total{key_set="${url}",result="success"} 0`,
      `postern_key_set_reads_total{key_set="${url}",result="failure"} 0`,
    ]);
    expect(await lines(metrics, 'postern_key_set_last_success_timestamp_seconds')).toEqual([
      `postern_key_set_last_success_timestamp_seconds{key_set="${url}"} 0`,
    ]);
    metrics.keySetRead(url, true, 100);
    metrics.keySetRead(url, false, 200);
    expect(await lines(metrics, 'postern_key_set_reads_total')).toEqual([
      `postern_key_set_reads_total{key_set="${url}",result="success"} 1`,
      `postern_key_set_reads_total{key_set="${url}",result="failure"} 1`,
    ]);
    expect(await lines(metrics, 'postern_key_set_last_success_timestamp_seconds')).toEqual([
      `postern_key_set_last_success_timestamp_seconds{key_set="${url}"} 100`,
    ]);
  });

  it('of a new revision may be read before it is live; those that it does not name are forgotten', async () => {
    const metrics = made();
    metrics.keepKeySets([url]);
    metrics.keySetRead('https://other.example/keys', true, 300);
    metrics.keepKeySets(['https://other.example/keys']);
    expect(await lines(metrics, 'postern_key_set_last_success_timestamp_seconds')).toEqual([
      'postern_key_set_last_success_timestamp_seconds{key_set="https://other.example/keys"} 300',
    ]);
    expect(await lines(metrics, 'postern_key_set_reads_total')).toHaveLength(2);
  });

  it('are named without a query, which could hold a key', async () => {
    const metrics = made();
    metrics.keySetRead('https://idp.example/keys?api_key=S3cr3t', false, 100);
    const { body } = await metrics.render();
    expect(body).toContain('key_set="https://idp.example/keys"');
    expect(body).not.toContain('S3cr3t');
  });
});

describe('OpenMetrics', () => {
  it('has the exemplar of each bucket, the last one, and ends with EOF', async () => {
    const metrics = made();
    metrics.checkFinished('allow', 0.002, 'a'.repeat(32));
    metrics.checkFinished('allow', 0.0019, 'b'.repeat(32));
    metrics.checkFinished('allow', 0.04, 'c'.repeat(32));
    metrics.checkFinished('allow', 0.0001);
    const { body, contentType } = await metrics.render('openmetrics');
    expect(contentType).toBe('application/openmetrics-text; version=1.0.0; charset=utf-8');
    const exemplars = body.split('\n').filter((line) => line.includes(' # '));
    expect(exemplars.map((line) => line.replace(/ [\d.]+$/, ''))).toEqual([
      `postern_check_duration_seconds_bucket{le="0.002",outcome="allow"} 3 # {trace_id="${'b'.repeat(32)}"} 0.0019`,
      `postern_check_duration_seconds_bucket{le="0.05",outcome="allow"} 4 # {trace_id="${'c'.repeat(32)}"} 0.04`,
    ]);
    expect(body.endsWith('\n# EOF\n')).toBe(true);
    expect((await metrics.render()).body).not.toContain('trace_id');
  });

  it('has the same series as the older format, whichever is asked first', async () => {
    const metrics = createMetrics();
    metrics.decided('Orders', 'allow', 'policy_allowed');
    const names = (body: string): string[] =>
      body
        .split('\n')
        .filter((line) => line !== '' && !line.startsWith('#'))
        .map((line) => line.replace(/[{ ].*$/, ''));
    const before = names((await metrics.render()).body);
    const { body } = await metrics.render('openmetrics');
    const after = await metrics.render();
    expect(new Set(names(body))).toEqual(new Set(before));
    expect(new Set(names(after.body))).toEqual(new Set(before));
    expect(body).toContain('# TYPE postern_decisions counter\n');
    expect(body).toContain('# TYPE process_cpu_seconds counter\n');
    expect(after.body).toContain('# TYPE postern_decisions_total counter\n');
  });
});
