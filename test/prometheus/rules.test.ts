/** The alerts, asked of promtool: each fires when it should, is quiet when it should, and no threshold can be wrong by
 *  an order of magnitude without a case that notices. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { createMetrics } from '../../src/metrics.ts';
import { promtool } from './promtool.ts';

interface Rule {
  readonly record?: string;
  readonly alert?: string;
  readonly expr: string;
  readonly for?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}

interface Case {
  readonly name: string;
  readonly alert_rule_test: readonly { readonly alertname: string; readonly exp_alerts: readonly unknown[] }[];
}

const FOLDER = new URL('../../deploy/prometheus/', import.meta.url);
const RULES = fileURLToPath(new URL('postern.rules.yaml', FOLDER));
const TESTS = fileURLToPath(new URL('postern.rules.test.yaml', FOLDER));
const { groups } = parse(readFileSync(RULES, 'utf8')) as { groups: { rules: Rule[] }[] };
const suite = parse(readFileSync(TESTS, 'utf8')) as { evaluation_interval: string; tests: Case[] };
const rules = groups.flatMap((group) => group.rules);
const recorded = rules.filter(({ record }) => record !== undefined);
const alerts = rules.filter((rule): rule is Rule & { alert: string; for: string } => rule.alert !== undefined);

const folder = mkdtempSync(join(tmpdir(), 'postern-rules-'));
afterAll(() => rmSync(folder, { recursive: true }));

it('the rules are rules, and every case holds', async () => {
  expect(await promtool('check', 'rules', RULES)).toMatchObject({ ok: true });
  const { ok, text } = await promtool('test', 'rules', TESTS);
  expect(ok, text).toBe(true);
}, 120_000);

describe('every alert', () => {
  const page = readFileSync(new URL('../../docs/operate.md', import.meta.url), 'utf8');
  const anchors = new Set([...page.matchAll(/^#+ (.*)$/gm)].map(([, title = '']) => anchorOf(title)));

  it.each(alerts.map((alert) => [alert.alert, alert] as const))('%s says what to do', (name, alert) => {
    expect(['page', 'ticket']).toContain(alert.labels?.['severity']);
    const { summary, description, runbook_url: runbook } = alert.annotations ?? {};
    expect(summary).toBeTruthy();
    expect(description).toBeTruthy();
    expect(runbook).toBe(`docs/operate.md#${name.toLowerCase()}`);
    expect(anchors).toContain(name.toLowerCase());
  });

  it.each(alerts.map(({ alert }) => [alert]))(
    '%s has a case in which it fires and one in which it is quiet',
    (name) => {
      const own = suite.tests
        .flatMap((one) => one.alert_rule_test)
        .filter(({ alertname }) => alertname === name)
        .map(({ exp_alerts: expected }) => expected.length > 0);
      expect(new Set(own)).toEqual(new Set([true, false]));
    },
  );

  it('has a section that it leads to, and no section is left of one that is gone', () => {
    const sections = [...page.matchAll(/^### (Postern\w+)$/gm)].map(([, name]) => name);
    expect(sections.toSorted()).toEqual(alerts.map(({ alert }) => alert).toSorted());
  });
});

it('the rules ask for metrics that there are', async () => {
  const metrics = createMetrics();
  const { body } = await metrics.render();
  const known = new Set<string>(recorded.map(({ record = '' }) => record));
  for (const [, name = '', type] of body.matchAll(/^# TYPE (\S+) (\S+)$/gm)) {
    if (type === 'histogram') for (const ending of ['bucket', 'count', 'sum']) known.add(`${name}_${ending}`);
    else known.add(name);
  }
  const asked = rules.flatMap(({ expr }) => expr.match(/(?:\w+:)?(?:postern|nodejs|process)_[\w:]+/g) ?? []);
  expect(asked.length).toBeGreaterThan(30);
  expect(asked.filter((name) => !known.has(name))).toEqual([]);
});

describe('a wrong threshold is noticed', () => {
  const mutants = alerts.flatMap((alert) => [
    ...[...alert.expr.matchAll(/(?:[<>]=?|==) (\d+(?:\.\d+)?)/g)].flatMap(({ 0: whole, 1: number = '', index }) => {
      const values = number === '0' ? ['1000', '-1000'] : [String(Number(number) * 10), String(Number(number) / 10)];
      return values.map((value) => ({
        name: `${alert.alert}: ${whole} made ${value}`,
        rule: { ...alert, expr: replaced(alert.expr, index + whole.length - number.length, number, value) },
      }));
    }),
    ...[10, 0.1].map((factor) => ({
      name: `${alert.alert}: for ${alert.for}, times ${factor}`,
      rule: { ...alert, for: `${secondsOf(alert.for) * factor}s` },
    })),
  ]);

  it('and the alerts are told right without one', async () => {
    expect(mutants.length).toBeGreaterThan(80);
    for (const alert of alerts) {
      const { ok, text } = await judged(alert.alert, alert);
      expect(ok, `${alert.alert}: ${text}`).toBe(true);
    }
  }, 300_000);

  it.each(mutants.map(({ name, rule }) => [name, rule] as const))(
    '%s',
    async (_, rule) => {
      const { ok, text } = await judged(rule.alert, rule);
      expect(ok).toBe(false);
      expect(text).toContain(`alertname: ${rule.alert}`);
    },
    120_000,
  );
});

/** Puts one alert, with the recording rules, before its own cases. */
async function judged(name: string, rule: Rule): Promise<{ readonly ok: boolean; readonly text: string }> {
  const needed = recorded.filter(({ record = '' }) => isNeeded(record, rule.expr));
  const rulesFile = join(folder, 'rules.yaml');
  const testsFile = join(folder, 'tests.yaml');
  const named = [
    ...(needed.length > 0 ? [{ name: 'recording', rules: needed }] : []),
    { name: 'alerts', rules: [rule] },
  ];
  writeFileSync(rulesFile, stringify({ groups: named }));
  writeFileSync(
    testsFile,
    stringify({
      ...suite,
      rule_files: [rulesFile],
      group_eval_order: named.map((group) => group.name),
      tests: suite.tests
        .filter((one) => one.alert_rule_test.some(({ alertname }) => alertname === name))
        .map((one) => ({
          ...one,
          alert_rule_test: one.alert_rule_test.filter(({ alertname }) => alertname === name),
        })),
    }),
  );
  return promtool('test', 'rules', testsFile);
}

/** Whether an expression asks for a recorded series, or for one that is recorded from it. */
function isNeeded(record: string, expression: string): boolean {
  return (
    expression.includes(record) ||
    recorded.some(({ record: other = '', expr }) => expression.includes(other) && expr.includes(record))
  );
}

function replaced(text: string, at: number, old: string, now: string): string {
  return text.slice(0, at) + now + text.slice(at + old.length);
}

function secondsOf(duration: string): number {
  const [, count = '', unit = ''] = /^(\d+)([smh])$/.exec(duration) ?? [];
  const factor = { s: 1, m: 60, h: 3_600 }[unit];
  if (factor === undefined) throw new Error(`expected a duration such as 5m, found ${duration}`);
  return Number(count) * factor;
}

/** As GitHub makes anchors of headings. */
function anchorOf(title: string): string {
  return title
    .toLowerCase()
    .replaceAll(/[^\w\- ]/g, '')
    .replaceAll(' ', '-');
}
