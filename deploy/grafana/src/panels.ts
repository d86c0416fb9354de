/** The few kinds of panel that the dashboards are made of: sizes that a laptop shows without scrolling sideways, a unit
 *  for every number, and a sentence for whoever sees it for the first time. */
import {
  BigValueColorMode,
  BigValueGraphMode,
  GraphThresholdsStyleConfigBuilder,
  GraphThresholdsStyleMode,
  LegendDisplayMode,
  LegendPlacement,
  ReduceDataOptionsBuilder,
  SortOrder,
  StackingConfigBuilder,
  StackingMode,
  TooltipDisplayMode,
  VisibilityMode,
  VizLegendOptionsBuilder,
  VizTooltipOptionsBuilder,
} from '@grafana/grafana-foundation-sdk/common';
import type { DataSourceRef } from '@grafana/grafana-foundation-sdk/common';
import type { Builder } from '@grafana/grafana-foundation-sdk/cog';
import {
  AnnotationQueryBuilder,
  DashboardBuilder,
  DashboardCursorSync,
  DashboardLinkBuilder,
  DashboardLinkType,
  DatasourceVariableBuilder,
  QueryVariableBuilder,
  ThresholdsConfigBuilder,
  ThresholdsMode,
  VariableRefresh,
  VariableSort,
} from '@grafana/grafana-foundation-sdk/dashboard';
import type { DynamicConfigValue, Panel, Threshold } from '@grafana/grafana-foundation-sdk/dashboard';
import * as heatmap from '@grafana/grafana-foundation-sdk/heatmap';
import { DataqueryBuilder, PromQueryFormat } from '@grafana/grafana-foundation-sdk/prometheus';
import * as stat from '@grafana/grafana-foundation-sdk/stat';
import * as table from '@grafana/grafana-foundation-sdk/table';
import * as timeseries from '@grafana/grafana-foundation-sdk/timeseries';
import { Seconds } from '@grafana/grafana-foundation-sdk/units';

/** Labels that every series of one Postern has. */
export const HERE = 'job=~"$job",instance=~"$instance"';
/** The same of one application. */
export const APPLICATION = `${HERE},application=~"$application"`;

/** `exemplars`: the traces behind it are shown. */
export interface Query {
  readonly expr: string;
  readonly legend: string;
  readonly exemplars?: boolean;
}

/** Green below the first value, then the colour of each. */
export type Limits = readonly (readonly [value: number, color: string])[];

export interface Words {
  readonly title: string;
  readonly description: string;
}

/** One number now: a sixth of the width. */
export function number(
  words: Words,
  unit: string,
  expr: string,
  options: { readonly limits?: Limits; readonly decimals?: number; readonly none?: string } = {},
): Builder<Panel> {
  const panel = new stat.PanelBuilder()
    .title(words.title)
    .description(words.description)
    .datasource(DATASOURCE)
    .span(4)
    .height(4)
    .unit(unit)
    .graphMode(BigValueGraphMode.Area)
    .colorMode(options.limits ? BigValueColorMode.Value : BigValueColorMode.None)
    .reduceOptions(new ReduceDataOptionsBuilder().calcs(['lastNotNull']))
    .thresholds(limitsOf(options.limits ?? []))
    .withTarget(query({ expr, legend: words.title }));
  if (options.decimals !== undefined) panel.decimals(options.decimals);
  if (options.none !== undefined) panel.noValue(options.none);
  return panel;
}

/** Lines over time: half the width, or `wide` all of it. */
export function lines(
  words: Words,
  unit: string,
  queries: readonly Query[],
  options: {
    readonly limits?: Limits;
    readonly stacked?: boolean;
    readonly wide?: boolean;
    readonly max?: number;
    readonly none?: string;
  } = {},
): Builder<Panel> {
  const panel = new timeseries.PanelBuilder()
    .title(words.title)
    .description(words.description)
    .datasource(DATASOURCE)
    .span(options.wide ? 24 : 12)
    .height(8)
    .unit(unit)
    .min(0)
    .lineWidth(1)
    .fillOpacity(options.stacked ? 40 : 8)
    .showPoints(VisibilityMode.Never)
    .legend(
      new VizLegendOptionsBuilder()
        .showLegend(true)
        .displayMode(LegendDisplayMode.Table)
        .placement(LegendPlacement.Right)
        .calcs(['mean', 'max'])
        .sortBy('Mean')
        .sortDesc(true)
        .width(220),
    )
    .tooltip(new VizTooltipOptionsBuilder().mode(TooltipDisplayMode.Multi).sort(SortOrder.Descending));
  if (options.stacked) panel.stacking(new StackingConfigBuilder().mode(StackingMode.Normal).group('A'));
  if (options.limits) {
    panel
      .thresholds(limitsOf(options.limits))
      .thresholdsStyle(new GraphThresholdsStyleConfigBuilder().mode(GraphThresholdsStyleMode.Dashed));
  }
  if (options.max !== undefined) panel.max(options.max);
  if (options.none !== undefined) panel.noValue(options.none);
  for (const one of queries) panel.withTarget(query(one));
  return panel;
}

/** Where the values of a histogram lie, over time. */
export function heat(words: Words, expr: string): Builder<Panel> {
  return new heatmap.PanelBuilder()
    .title(words.title)
    .description(words.description)
    .datasource(DATASOURCE)
    .span(12)
    .height(8)
    .calculate(false)
    .color(
      new heatmap.HeatmapColorOptionsBuilder()
        .mode(heatmap.HeatmapColorMode.Scheme)
        .scheme('Spectral')
        .scale(heatmap.HeatmapColorScale.Exponential)
        .exponent(0.5)
        .steps(64)
        .reverse(true),
    )
    .yAxis(new heatmap.YAxisConfigBuilder().unit(Seconds))
    .exemplarsColor('rgba(255,0,255,0.9)')
    .withTarget(query({ expr, legend: '{{le}}', exemplars: true }).format(PromQueryFormat.Heatmap));
}

/** A row for each of something now, one column for each query; `labels` are the first columns. */
export function rows(
  words: Words,
  labels: readonly string[],
  columns: readonly {
    readonly name: string;
    readonly unit: string;
    readonly expr: string;
    readonly limits?: Limits;
  }[],
): Builder<Panel> {
  const panel = new table.PanelBuilder()
    .title(words.title)
    .description(words.description)
    .datasource(DATASOURCE)
    .span(12)
    .height(8)
    .filterable(true);
  const renamed: Record<string, string> = {};
  for (const [index, column] of columns.entries()) {
    const refId = String.fromCharCode(65 + index);
    panel.withTarget(query({ expr: column.expr, legend: '' }).instant().format(PromQueryFormat.Table).refId(refId));
    const name = columns.length === 1 ? 'Value' : `Value #${refId}`;
    renamed[name] = column.name;
    const properties: DynamicConfigValue[] = [{ id: 'unit', value: column.unit }];
    if (column.limits) {
      properties.push(
        { id: 'thresholds', value: limitsOf(column.limits).build() },
        { id: 'custom.cellOptions', value: { type: 'color-text' } },
      );
    }
    panel.overrideByName(column.name, properties);
  }
  const indexByName = Object.fromEntries([...labels, ...Object.keys(renamed)].map((name, index) => [name, index]));
  return panel.withTransformation({ id: 'merge', options: {} }).withTransformation({
    id: 'organize',
    options: { excludeByName: { Time: true }, indexByName, renameByName: renamed },
  });
}

/** A dashboard with what all of them share: variables, links to the others, and a mark at every reload. `byApplication`:
 *  one can choose applications. */
export function dashboard(
  uid: string,
  title: string,
  description: string,
  options: { readonly byApplication?: boolean } = {},
): DashboardBuilder {
  const builder = new DashboardBuilder(title)
    .uid(uid)
    .description(description)
    .tags([TAG])
    .editable()
    .timezone('browser')
    .refresh('30s')
    .time({ from: 'now-3h', to: 'now' })
    .tooltip(DashboardCursorSync.Crosshair)
    .link(
      new DashboardLinkBuilder('Postern')
        .type(DashboardLinkType.Dashboards)
        .tags([TAG])
        .includeVars(true)
        .keepTime(true),
    )
    .withVariable(new DatasourceVariableBuilder('datasource').label('Data source').type('prometheus'))
    .withVariable(variable('job', 'Job', 'label_values(postern_config_info, job)'))
    .withVariable(variable('instance', 'Instance', 'label_values(postern_config_info{job=~"$job"}, instance)'));
  if (options.byApplication) {
    builder.withVariable(
      variable(
        'application',
        'Application',
        'label_values(postern_decisions_total{job=~"$job",instance=~"$instance"}, application)',
      ),
    );
  }
  return builder
    .annotation(
      mark(
        'Reloads',
        'blue',
        `changes(postern_config_last_reload_success_timestamp_seconds{${HERE}}[1m]) > 0`,
        'A revision went live',
      ),
    )
    .annotation(
      mark('Refused changes', 'red', `postern_config_last_reload_successful{${HERE}} == 0`, 'The files have faults'),
    );
}

const TAG = 'postern';
const DATASOURCE: DataSourceRef = { type: 'prometheus', uid: '${datasource}' };

function query({ expr, legend, exemplars }: Query): DataqueryBuilder {
  const made = new DataqueryBuilder().datasource(DATASOURCE).expr(expr).legendFormat(legend);
  return exemplars ? made.exemplar(true) : made;
}

function variable(name: string, label: string, definition: string): QueryVariableBuilder {
  return new QueryVariableBuilder(name)
    .label(label)
    .datasource(DATASOURCE)
    .query({ query: definition, refId: name })
    .definition(definition)
    .refresh(VariableRefresh.OnTimeRangeChanged)
    .sort(VariableSort.AlphabeticalAsc)
    .multi(true)
    .includeAll(true)
    .allValue('.*')
    .current({ selected: true, text: 'All', value: '$__all' });
}

function mark(name: string, color: string, expr: string, title: string): AnnotationQueryBuilder {
  return new AnnotationQueryBuilder()
    .name(name)
    .datasource(DATASOURCE)
    .enable(true)
    .iconColor(color)
    .expr(expr)
    .step('1m')
    .titleFormat(title)
    .textFormat('{{instance}}');
}

function limitsOf(limits: Limits): ThresholdsConfigBuilder {
  // The first step has no lower end, which JSON writes as null.
  const first = { value: null, color: 'green' } as unknown as Threshold;
  const steps = limits.map(([value, color]): Threshold => ({ value, color }));
  return new ThresholdsConfigBuilder().mode(ThresholdsMode.Absolute).steps([first, ...steps]);
}
