/** What is decided, how fast, and how much of the error budget is left. */
import { RowBuilder } from '@grafana/grafana-foundation-sdk/dashboard';
import type { Dashboard } from '@grafana/grafana-foundation-sdk/dashboard';
import { PercentUnit, RequestsPerSecond, Seconds, Short } from '@grafana/grafana-foundation-sdk/units';
import { APPLICATION, HERE, dashboard, heat, lines, number, rows } from './panels.ts';

/** As the alerts have them: 99.9 % of checks are decided, 99 % within 10 ms. */
const DECIDED_BUDGET = 0.001;
const FAST_BUDGET = 0.01;

const CHECKS = `sum(rate(postern_check_duration_seconds_count{${HERE}}[$__rate_interval]))`;

export function decisions(): Dashboard {
  return dashboard(
    'postern-decisions',
    'Postern: decisions',
    'What is decided, how fast, and how much of the error budget is left.',
    { byApplication: true },
  )
    .withRow(new RowBuilder('Now'))
    .withPanel(
      number({ title: 'Checks', description: 'Checks answered in a second.' }, RequestsPerSecond, CHECKS, {
        decimals: 1,
      }),
    )
    .withPanel(
      number(
        { title: 'Median', description: 'Half of the checks are answered within this time.' },
        Seconds,
        quantile(0.5),
      ),
    )
    .withPanel(
      number(
        { title: '99th percentile', description: 'All but one of a hundred checks are answered within this time.' },
        Seconds,
        quantile(0.99),
        {
          limits: [
            [0.005, 'yellow'],
            [0.01, 'red'],
          ],
        },
      ),
    )
    .withPanel(
      number(
        { title: 'Allowed', description: 'Share of the decisions that let the request in.' },
        PercentUnit,
        `sum(rate(postern_decisions_total{${APPLICATION},outcome="allow"}[$__rate_interval])) / sum(rate(postern_decisions_total{${APPLICATION}}[$__rate_interval]))`,
      ),
    )
    .withPanel(
      number(
        {
          title: 'Budget left: 503',
          description: 'Of the 0.1 % of checks that may be answered 503, how much the chosen time has left.',
        },
        PercentUnit,
        `1 - (${unavailable('$__range')}) / ${DECIDED_BUDGET}`,
        {
          limits: [
            [-1_000_000, 'red'],
            [0, 'yellow'],
            [0.5, 'green'],
          ],
        },
      ),
    )
    .withPanel(
      number(
        {
          title: 'Budget left: slow',
          description: 'Of the 1 % of checks that may take longer than 10 ms, how much the chosen time has left.',
        },
        PercentUnit,
        `1 - (${slow('$__range')}) / ${FAST_BUDGET}`,
        {
          limits: [
            [-1_000_000, 'red'],
            [0, 'yellow'],
            [0.5, 'green'],
          ],
        },
      ),
    )
    .withRow(new RowBuilder('How fast'))
    .withPanel(
      heat(
        {
          title: 'Latency',
          description: 'From the bytes of a check to the bytes of its answer. Dots are traces: click one.',
        },
        `sum by (le) (increase(postern_check_duration_seconds_bucket{${HERE}}[$__rate_interval]))`,
      ),
    )
    .withPanel(
      lines(
        { title: 'Latency quantiles', description: 'The objective is 10 ms for 99 of 100 checks.' },
        Seconds,
        [
          { expr: quantile(0.5), legend: 'p50' },
          { expr: quantile(0.9), legend: 'p90' },
          { expr: quantile(0.99), legend: 'p99', exemplars: true },
          { expr: quantile(0.999), legend: 'p99.9' },
        ],
        { limits: [[0.01, 'red']] },
      ),
    )
    .withPanel(
      lines(
        { title: '99th percentile by outcome', description: 'Refusals are cheap; what is slow waits for facts.' },
        Seconds,
        [
          {
            expr: `histogram_quantile(0.99, sum by (outcome, le) (rate(postern_check_duration_seconds_bucket{${HERE}}[$__rate_interval])))`,
            legend: '{{outcome}}',
          },
        ],
        { limits: [[0.01, 'red']] },
      ),
    )
    .withPanel(
      lines(
        {
          title: 'Where the time goes',
          description: 'Mean time of each stage. gather is the one that waits for others.',
        },
        Seconds,
        [
          {
            expr: `sum by (stage) (rate(postern_stage_duration_seconds_sum{${HERE}}[$__rate_interval])) / sum by (stage) (rate(postern_stage_duration_seconds_count{${HERE}}[$__rate_interval]))`,
            legend: '{{stage}}',
          },
        ],
        { stacked: true },
      ),
    )
    .withRow(new RowBuilder('What was decided'))
    .withPanel(
      lines(
        { title: 'Decisions by outcome', description: 'Of the chosen applications.' },
        RequestsPerSecond,
        [
          {
            expr: `sum by (outcome) (rate(postern_decisions_total{${APPLICATION}}[$__rate_interval]))`,
            legend: '{{outcome}}',
          },
        ],
        { stacked: true },
      ),
    )
    .withPanel(
      lines(
        {
          title: 'Decisions by application',
          description: 'The ten busiest. One without a name: no application covers these requests.',
        },
        RequestsPerSecond,
        [
          {
            expr: `topk(10, sum by (application) (rate(postern_decisions_total{${APPLICATION}}[$__rate_interval])))`,
            legend: '{{application}}',
          },
        ],
        { stacked: true },
      ),
    )
    .withPanel(
      lines(
        { title: 'Why not', description: 'Reasons of all that was not let in; the ten most frequent.' },
        RequestsPerSecond,
        [
          {
            expr: `topk(10, sum by (reason) (rate(postern_decisions_total{${APPLICATION},outcome!="allow"}[$__rate_interval])))`,
            legend: '{{reason}}',
          },
        ],
        { stacked: true },
      ),
    )
    .withPanel(
      rows(
        { title: 'Applications', description: 'Over the chosen time.' },
        ['application'],
        [
          { name: 'Decisions', unit: Short, expr: byApplication('') },
          {
            name: 'Refused',
            unit: PercentUnit,
            expr: `${byApplication(',outcome=~"deny|unauthenticated"')} / ${byApplication('')}`,
            limits: [
              [0.2, 'yellow'],
              [0.5, 'red'],
            ],
          },
          {
            name: 'Stepped up',
            unit: PercentUnit,
            expr: `${byApplication(',outcome="step_up"')} / ${byApplication('')}`,
            limits: [[0.2, 'yellow']],
          },
          {
            name: '503',
            unit: PercentUnit,
            expr: `${byApplication(',outcome="unavailable"')} / ${byApplication('')}`,
            limits: [
              [0.001, 'yellow'],
              [0.01, 'red'],
            ],
          },
        ],
      ),
    )
    .withRow(new RowBuilder('Policies that are tried'))
    .withPanel(
      lines(
        {
          title: 'In force → tried',
          description: 'Requests by both outcomes. Pairs that differ are what going live would change.',
        },
        RequestsPerSecond,
        [
          {
            expr: `sum by (real, shadow) (rate(postern_shadow_decisions_total{${APPLICATION}}[$__rate_interval]))`,
            legend: '{{real}} → {{shadow}}',
          },
        ],
        { none: 'nothing is tried' },
      ),
    )
    .withPanel(
      lines(
        {
          title: 'Not tried',
          description: 'Requests passed over because too many waited, and replicas whose tried policies have faults.',
        },
        RequestsPerSecond,
        [
          {
            expr: `sum(rate(postern_shadow_dropped_total{${HERE}}[$__rate_interval]))`,
            legend: 'passed over',
          },
          { expr: `sum(1 - postern_shadow_last_load_successful{${HERE}})`, legend: 'replicas with faults' },
        ],
        { none: 'nothing is tried' },
      ),
    )
    .withRow(new RowBuilder('Error budget'))
    .withPanel(
      lines(
        {
          title: 'Burn rate: 503',
          description: '1 uses up exactly the budget. At 14.4 for an hour, or 6 for six hours, somebody is told.',
        },
        Short,
        [
          { expr: `(${unavailable('5m')}) / ${DECIDED_BUDGET}`, legend: 'over 5 minutes' },
          { expr: `(${unavailable('1h')}) / ${DECIDED_BUDGET}`, legend: 'over an hour' },
          { expr: `(${unavailable('6h')}) / ${DECIDED_BUDGET}`, legend: 'over six hours' },
        ],
        {
          limits: [
            [6, 'orange'],
            [14.4, 'red'],
          ],
        },
      ),
    )
    .withPanel(
      lines(
        {
          title: 'Burn rate: slow',
          description: '1 uses up exactly the budget. At 14.4 for an hour, or 6 for six hours, somebody is told.',
        },
        Short,
        [
          { expr: `(${slow('5m')}) / ${FAST_BUDGET}`, legend: 'over 5 minutes' },
          { expr: `(${slow('1h')}) / ${FAST_BUDGET}`, legend: 'over an hour' },
          { expr: `(${slow('6h')}) / ${FAST_BUDGET}`, legend: 'over six hours' },
        ],
        {
          limits: [
            [6, 'orange'],
            [14.4, 'red'],
          ],
        },
      ),
    )
    .withPanel(
      lines(
        {
          title: '503 by reason',
          description: 'fact_unavailable: something that decides could not be had. The others are our own.',
        },
        RequestsPerSecond,
        [
          {
            expr: `sum by (reason) (rate(postern_decisions_total{${APPLICATION},outcome="unavailable"}[$__rate_interval]))`,
            legend: '{{reason}}',
          },
          {
            expr: `sum by (kind) (rate(postern_check_failures_total{${HERE}}[$__rate_interval]))`,
            legend: 'transport: {{kind}}',
          },
        ],
        { none: 'none' },
      ),
    )
    .withPanel(
      lines(
        { title: 'Facts that could not be had', description: 'Behind most 503: which source failed or was late.' },
        RequestsPerSecond,
        [
          {
            expr: `sum by (fact) (rate(postern_fact_errors_total{${HERE}}[$__rate_interval]))`,
            legend: '{{fact}}',
          },
        ],
        { none: 'none' },
      ),
    )
    .build();
}

function quantile(share: number): string {
  return `histogram_quantile(${share}, sum by (le) (rate(postern_check_duration_seconds_bucket{${HERE}}[$__rate_interval])))`;
}

function unavailable(window: string): string {
  const failed = `sum(rate(postern_check_failures_total{${HERE}}[${window}]))`;
  const checks = (more: string): string => `sum(rate(postern_check_duration_seconds_count{${HERE}${more}}[${window}]))`;
  return `(${checks(',outcome="unavailable"')} + ${failed}) / (${checks('')} + ${failed})`;
}

function slow(window: string): string {
  return `1 - sum(rate(postern_check_duration_seconds_bucket{${HERE},le="0.01"}[${window}])) / sum(rate(postern_check_duration_seconds_count{${HERE}}[${window}]))`;
}

function byApplication(more: string): string {
  return `sum by (application) (increase(postern_decisions_total{${APPLICATION}${more}}[$__range]))`;
}
