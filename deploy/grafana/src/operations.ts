/** Whether it is well: what it serves, what it waits for, what it has left. */
import { RowBuilder } from '@grafana/grafana-foundation-sdk/dashboard';
import type { Dashboard } from '@grafana/grafana-foundation-sdk/dashboard';
import {
  BytesIEC,
  DurationSeconds,
  OpsPerSecond,
  PercentUnit,
  RequestsPerSecond,
  Seconds,
  Short,
} from '@grafana/grafana-foundation-sdk/units';
import { HERE, dashboard, lines, number, rows } from './panels.ts';

const DAY = 86_400;

export function operations(): Dashboard {
  return dashboard(
    'postern-operations',
    'Postern: operations',
    'Whether it is well: what it serves, what it waits for, what it has left.',
  )
    .withRow(new RowBuilder('Now'))
    .withPanel(
      number({ title: 'Replicas', description: 'That are scraped and serve.' }, Short, `count(${info()})`, {
        limits: [],
      }),
    )
    .withPanel(
      number(
        { title: 'Revisions', description: 'More than one, for longer than a roll-out takes, is a fault.' },
        Short,
        `count(count by (revision) (${info()}))`,
        { limits: [[2, 'orange']] },
      ),
    )
    .withPanel(
      number(
        { title: 'Refusing a change', description: 'Replicas whose files have faults: the older revision serves.' },
        Short,
        `sum(1 - postern_config_last_reload_successful{${HERE}})`,
        { limits: [[1, 'red']] },
      ),
    )
    .withPanel(
      number(
        { title: 'Loop lag', description: 'The worst 99th percentile. 10 to 12 ms is calm.' },
        Seconds,
        `max(nodejs_eventloop_lag_p99_seconds{${HERE}})`,
        {
          limits: [
            [0.03, 'yellow'],
            [0.1, 'red'],
          ],
        },
      ),
    )
    .withPanel(
      number(
        { title: 'Checks waiting', description: 'At the busiest replica. From 1,000 on new ones are refused.' },
        Short,
        `max(postern_checks_waiting{${HERE}})`,
        {
          limits: [
            [100, 'yellow'],
            [500, 'red'],
          ],
        },
      ),
    )
    .withPanel(
      number(
        { title: 'Next to end', description: 'Until the first certificate or service token ceases to be valid.' },
        DurationSeconds,
        `min(postern_expiry_timestamp_seconds{${HERE}}) - time()`,
        {
          limits: [
            [-1_000_000_000, 'red'],
            [2 * DAY, 'orange'],
            [14 * DAY, 'green'],
          ],
          none: 'nothing ends',
        },
      ),
    )
    .withRow(new RowBuilder('Configuration'))
    .withPanel(
      rows(
        { title: 'What is served', description: 'The revision of each replica, and how old it is.' },
        ['instance', 'revision'],
        [
          {
            name: 'Age',
            unit: DurationSeconds,
            expr: `(time() - max by (instance) (postern_config_last_reload_success_timestamp_seconds{${HERE}})) * on (instance) group_right () max by (instance, revision) (${info()})`,
          },
        ],
      ),
    )
    .withPanel(
      lines(
        { title: 'Reloads', description: 'Changes of the files that were taken up, and that were refused.' },
        Short,
        [
          {
            expr: `sum by (result) (increase(postern_config_reloads_total{${HERE}}[$__rate_interval]))`,
            legend: '{{result}}',
          },
        ],
      ),
    )
    .withPanel(
      rows(
        { title: 'What ends when', description: 'Certificates and service tokens, the next first.' },
        ['kind', 'name'],
        [
          {
            name: 'Left',
            unit: DurationSeconds,
            expr: `sort(min by (kind, name) (postern_expiry_timestamp_seconds{${HERE}}) - time())`,
            limits: [
              [-1_000_000_000, 'red'],
              [2 * DAY, 'orange'],
              [14 * DAY, 'green'],
            ],
          },
        ],
      ),
    )
    .withPanel(
      rows(
        { title: 'Keys of issuers', description: 'A set serves for 24 hours after it was last read.' },
        ['key_set'],
        [
          {
            name: 'Last read',
            unit: DurationSeconds,
            expr: `time() - min by (key_set) (postern_key_set_last_success_timestamp_seconds{${HERE}})`,
            limits: [
              [72_000, 'orange'],
              [DAY, 'red'],
            ],
          },
          {
            name: 'Failed reads',
            unit: Short,
            expr: `sum by (key_set) (increase(postern_key_set_reads_total{${HERE},result="failure"}[$__range]))`,
            limits: [[1, 'orange']],
          },
        ],
      ),
    )
    .withRow(new RowBuilder('Facts, caches, state'))
    .withPanel(
      lines(
        { title: 'Facts that were waited for', description: '99th percentile of each.' },
        Seconds,
        [
          {
            expr: `histogram_quantile(0.99, sum by (fact, le) (rate(postern_fact_duration_seconds_bucket{${HERE}}[$__rate_interval])))`,
            legend: '{{fact}}',
          },
        ],
        { none: 'none' },
      ),
    )
    .withPanel(
      lines(
        { title: 'Facts that could not be had', description: 'Errors, and what was not there in time.' },
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
    .withPanel(
      lines(
        { title: 'Found in caches', description: 'Share of the look-ups. Few for tokens: many users, or short ones.' },
        PercentUnit,
        [
          {
            expr: `sum by (cache) (rate(postern_cache_requests_total{${HERE},result="hit"}[$__rate_interval])) / sum by (cache) (rate(postern_cache_requests_total{${HERE}}[$__rate_interval]))`,
            legend: '{{cache}}',
          },
        ],
        { max: 1, none: 'none' },
      ),
    )
    .withPanel(
      lines(
        { title: 'State store', description: '99th percentile of each operation.' },
        Seconds,
        [
          {
            expr: `histogram_quantile(0.99, sum by (operation, le) (rate(postern_state_duration_seconds_bucket{${HERE}}[$__rate_interval])))`,
            legend: '{{operation}}',
          },
        ],
        { none: 'not used' },
      ),
    )
    .withPanel(
      lines(
        { title: 'State store failures', description: 'conflict: a write that lost against others.' },
        OpsPerSecond,
        [
          {
            expr: `sum by (operation) (rate(postern_state_errors_total{${HERE}}[$__rate_interval]))`,
            legend: '{{operation}}',
          },
        ],
      ),
    )
    .withPanel(
      lines(
        {
          title: 'Lost on the way',
          description: 'Lines of the decision log that were dropped, and spans by what became of them.',
        },
        OpsPerSecond,
        [
          {
            expr: `sum(rate(postern_decision_log_dropped_total{${HERE}}[$__rate_interval]))`,
            legend: 'log lines dropped',
          },
          {
            expr: `sum by (result) (rate(postern_spans_total{${HERE}}[$__rate_interval]))`,
            legend: 'spans {{result}}',
          },
        ],
      ),
    )
    .withRow(new RowBuilder('Process'))
    .withPanel(
      lines(
        { title: 'Event loop lag', description: '99th percentile by replica, sampled every 10 ms.' },
        Seconds,
        [{ expr: `nodejs_eventloop_lag_p99_seconds{${HERE}}`, legend: '{{instance}}' }],
        { limits: [[0.1, 'red']] },
      ),
    )
    .withPanel(
      lines(
        { title: 'Checks waiting', description: 'By replica; those that need nothing from others never wait.' },
        Short,
        [{ expr: `postern_checks_waiting{${HERE}}`, legend: '{{instance}}' }],
        { limits: [[500, 'red']] },
      ),
    )
    .withPanel(
      lines(
        { title: 'Processor', description: 'Cores by replica. One thread decides: near 1 it is full.' },
        Short,
        [{ expr: `rate(process_cpu_seconds_total{${HERE}}[$__rate_interval])`, legend: '{{instance}}' }],
        { limits: [[0.7, 'orange']] },
      ),
    )
    .withPanel(
      lines({ title: 'Memory', description: 'Of the process, and of the heap within it.' }, BytesIEC, [
        { expr: `process_resident_memory_bytes{${HERE}}`, legend: '{{instance}} process' },
        { expr: `nodejs_heap_size_used_bytes{${HERE}}`, legend: '{{instance}} heap' },
      ]),
    )
    .withPanel(
      lines(
        { title: 'Garbage collection', description: 'Share of the time. While it runs, nothing is decided.' },
        PercentUnit,
        [
          {
            expr: `sum by (kind) (rate(nodejs_gc_duration_seconds_sum{${HERE}}[$__rate_interval]))`,
            legend: '{{kind}}',
          },
        ],
        { stacked: true, limits: [[0.1, 'orange']] },
      ),
    )
    .withPanel(
      lines(
        { title: 'Open files', description: 'Connections and files. It rises with load and must fall again.' },
        Short,
        [{ expr: `process_open_fds{${HERE}}`, legend: '{{instance}}' }],
      ),
    )
    .build();
}

function info(): string {
  return `postern_config_info{${HERE}}`;
}
