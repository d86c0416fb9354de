/** How risky requests are, which factors say so, and how stepping up goes. */
import { RowBuilder } from '@grafana/grafana-foundation-sdk/dashboard';
import type { Dashboard } from '@grafana/grafana-foundation-sdk/dashboard';
import { PercentUnit, RequestsPerSecond, Short } from '@grafana/grafana-foundation-sdk/units';
import { APPLICATION, HERE, dashboard, lines, number, rows } from './panels.ts';

export function risk(): Dashboard {
  return dashboard(
    'postern-risk',
    'Postern: risk and step-up',
    'How risky requests are, which factors say so, and how stepping up goes.',
    { byApplication: true },
  )
    .withRow(new RowBuilder('Now'))
    .withPanel(
      number(
        { title: 'Judged', description: 'Requests in a second whose risk was found.' },
        RequestsPerSecond,
        `sum(rate(postern_risk_level_total{${APPLICATION}}[$__rate_interval]))`,
        { decimals: 2 },
      ),
    )
    .withPanel(
      number(
        { title: 'High risk', description: 'Share of the requests whose risk was found.' },
        PercentUnit,
        `sum(rate(postern_risk_level_total{${APPLICATION},level="HIGH"}[$__rate_interval])) / sum(rate(postern_risk_level_total{${APPLICATION}}[$__rate_interval]))`,
        { limits: [[0.1, 'orange']], none: 'none' },
      ),
    )
    .withPanel(
      number(
        { title: 'Asked to step up', description: 'Share of all decisions.' },
        PercentUnit,
        `sum(rate(postern_decisions_total{${APPLICATION},outcome="step_up"}[$__rate_interval])) / sum(rate(postern_decisions_total{${APPLICATION}}[$__rate_interval]))`,
        { limits: [[0.2, 'orange']] },
      ),
    )
    .withPanel(
      number(
        {
          title: 'Step-ups that succeed',
          description:
            'Users let in within ten minutes of having been asked, of all times they were asked. A user may be asked more than once.',
        },
        PercentUnit,
        `sum(increase(postern_step_ups_succeeded_total{${APPLICATION}}[$__range])) / sum(increase(postern_decisions_total{${APPLICATION},outcome="step_up"}[$__range]))`,
      ),
    )
    .withPanel(
      number(
        {
          title: 'Loops broken',
          description: 'Users who were refused because asking again would not help, over the chosen time.',
        },
        Short,
        `sum(increase(postern_decisions_total{${APPLICATION},reason="step_up_exhausted"}[$__range]))`,
        { limits: [[1, 'yellow']], decimals: 0, none: '0' },
      ),
    )
    .withPanel(
      number(
        { title: 'Factors that could not tell', description: 'Share of all verdicts of risk factors.' },
        PercentUnit,
        `sum(rate(postern_factor_verdicts_total{${HERE},verdict=~"UNKNOWN|UNAVAILABLE"}[$__rate_interval])) / sum(rate(postern_factor_verdicts_total{${HERE}}[$__rate_interval]))`,
        { limits: [[0.05, 'orange']], none: 'none' },
      ),
    )
    .withRow(new RowBuilder('Risk'))
    .withPanel(
      lines(
        { title: 'Risk levels', description: 'Of requests that resource rules look at.' },
        RequestsPerSecond,
        [
          {
            expr: `sum by (level) (rate(postern_risk_level_total{${APPLICATION}}[$__rate_interval]))`,
            legend: '{{level}}',
          },
        ],
        { stacked: true },
      ),
    )
    .withPanel(
      lines(
        { title: 'Factors at risk', description: 'How often each factor says that there is a risk.' },
        RequestsPerSecond,
        [
          {
            expr: `sum by (factor) (rate(postern_factor_verdicts_total{${HERE},verdict="RISK"}[$__rate_interval]))`,
            legend: '{{factor}}',
          },
        ],
        { none: 'none' },
      ),
    )
    .withPanel(
      rows(
        { title: 'Verdicts of factors', description: 'Over the chosen time.' },
        ['factor', 'verdict'],
        [
          {
            name: 'Verdicts',
            unit: Short,
            expr: `sum by (factor, verdict) (increase(postern_factor_verdicts_total{${HERE}}[$__range]))`,
          },
        ],
      ),
    )
    .withPanel(
      lines(
        { title: 'Not low, by application', description: 'Share of medium and high of the risks that were found.' },
        PercentUnit,
        [
          {
            expr: `sum by (application) (rate(postern_risk_level_total{${APPLICATION},level!="LOW"}[$__rate_interval])) / sum by (application) (rate(postern_risk_level_total{${APPLICATION}}[$__rate_interval]))`,
            legend: '{{application}}',
          },
        ],
        { max: 1, none: 'none' },
      ),
    )
    .withRow(new RowBuilder('Stepping up'))
    .withPanel(
      lines(
        { title: 'Asked, succeeded, given up', description: 'Asked without success, again and again, is a loop.' },
        RequestsPerSecond,
        [
          {
            expr: `sum(rate(postern_decisions_total{${APPLICATION},outcome="step_up"}[$__rate_interval]))`,
            legend: 'asked',
          },
          {
            expr: `sum(rate(postern_step_ups_succeeded_total{${APPLICATION}}[$__rate_interval]))`,
            legend: 'succeeded',
          },
          {
            expr: `sum(rate(postern_decisions_total{${APPLICATION},reason="step_up_exhausted"}[$__rate_interval]))`,
            legend: 'refused: loop',
          },
        ],
        { none: 'none' },
      ),
    )
    .withPanel(
      lines(
        { title: 'Asked to step up, by application', description: 'Share of all decisions of that application.' },
        PercentUnit,
        [
          {
            expr: `sum by (application) (rate(postern_decisions_total{${APPLICATION},outcome="step_up"}[$__rate_interval])) / sum by (application) (rate(postern_decisions_total{${APPLICATION}}[$__rate_interval]))`,
            legend: '{{application}}',
          },
        ],
        { limits: [[0.2, 'orange']], max: 1, none: 'none' },
      ),
    )
    .withPanel(
      lines(
        {
          title: 'Refused for their risk',
          description: 'A factor that denies by itself, a level that does, and loops.',
        },
        RequestsPerSecond,
        [
          {
            expr: `sum by (reason) (rate(postern_decisions_total{${APPLICATION},reason=~"risk_factor_denied|risk_level_denied|step_up_exhausted|no_resource_rule"}[$__rate_interval]))`,
            legend: '{{reason}}',
          },
        ],
        { none: 'none', wide: true },
      ),
    )
    .build();
}
