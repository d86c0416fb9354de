/** Which lines of the policies no case ever decided: what could be changed there without a case that fails. */
import type { Place } from '../model/fault.ts';
import type { RuleObject } from '../model/objects.ts';
import { both } from '../model/verdict.ts';
import type { Verdict } from '../model/verdict.ts';
import type { CompiledSet } from '../policy/compile.ts';
import type { At, Explanation, RuleExplanation, RuleSetExplanation } from '../policy/explain.ts';
import { ruleText } from '../policy/explain.ts';
import type { PolicySet, RuleSetObject } from '../policy/objects.ts';

export type CoveredKind = 'application' | 'policy' | 'rule' | 'resource_rule' | 'factor';

/** A line that some case should decide. */
export interface Coverable {
  readonly kind: CoveredKind;
  readonly text: string;
  readonly at: At;
}

export interface CoverageReport {
  readonly counts: Readonly<Record<CoveredKind, { readonly covered: number; readonly all: number }>>;
  /** Lines of the policy files on which something is written that a case can decide. */
  readonly lines: { readonly covered: number; readonly all: number };
  /** By place. */
  readonly missing: readonly Coverable[];
}

export interface Coverage {
  /** A case that was run. */
  add(explanation: Explanation): void;
  report(): CoverageReport;
}

/** Counts what cases decide:
 *  - an application is covered by a case that reaches it, a policy by one that it decides;
 *  - a rule of `include` by one in which it is met, a rule of `require` by one in which somebody is included and it
 *    is what keeps him out or all of them let him in, a rule of `exclude` by one whom it excludes;
 *  - a resource rule by a case that it is reported of, a factor by one in which it is at risk. */
export function createCoverage(compiled: CompiledSet, set: PolicySet, at: (place: Place) => At): Coverage {
  const all = coverables(compiled, set, at);
  const covered = new Set<string>();
  const cover = (place: At): void => void covered.add(keyOf(place));
  return {
    add(explanation) {
      const { application, policies, adaptive, decision } = explanation;
      if (application) cover(application.at);
      for (const policy of policies) {
        if (policy.standing === 'decides') cover(policy.at);
        if (policy.standing !== 'not_asked') coverLists(policy, cover);
      }
      for (const rule of adaptive?.rules ?? []) {
        if (rule.id === decision.resourceRule?.id) cover(rule.at);
        for (const factor of rule.factors) if (factor.verdict === 'RISK') cover(factor.at);
      }
    },
    report() {
      const counts = Object.fromEntries(
        KINDS.map((kind) => {
          const ofKind = all.filter((one) => one.kind === kind);
          return [kind, { covered: ofKind.filter((one) => covered.has(keyOf(one.at))).length, all: ofKind.length }];
        }),
      ) as CoverageReport['counts'];
      const lines = new Map<string, boolean>();
      for (const one of all) {
        const line = `${one.at.file}:${one.at.line}`;
        lines.set(line, (lines.get(line) ?? true) && covered.has(keyOf(one.at)));
      }
      return {
        counts,
        lines: { covered: [...lines.values()].filter(Boolean).length, all: lines.size },
        missing: all
          .filter((one) => !covered.has(keyOf(one.at)))
          .toSorted((a, b) => compare(a.at.file, b.at.file) || a.at.line - b.at.line || a.at.column - b.at.column),
      };
    },
  };
}

const KINDS = ['application', 'policy', 'rule', 'resource_rule', 'factor'] as const;

function coverables(compiled: CompiledSet, set: PolicySet, at: (place: Place) => At): readonly Coverable[] {
  const found = new Map<string, Coverable>();
  const add = (kind: CoveredKind, text: string, place: Place): void => {
    const where = at(place);
    found.set(keyOf(where), { kind, text, at: where });
  };
  const addRules = (rules: RuleSetObject & { readonly written: Readonly<Record<string, unknown>> }): void => {
    for (const list of ['include', 'require', 'exclude'] as const)
      for (const rule of rules[list]) add('rule', textOf(rule, rules.written[list]), rule.place);
  };
  for (const application of compiled.applications) {
    if (application.source.destinations.length === 0) continue;
    add('application', application.named.name, application.source.place);
    for (const policy of application.policies) {
      add('policy', policy.name, policy.place);
      addRules(policy);
    }
  }
  set.groups.forEach(addRules);
  for (const rule of set.resourceRules) {
    if (!rule.enabled) continue;
    add('resource_rule', rule.name, rule.place);
    for (const factor of rule.factors) add('factor', factor.name, factor.place);
  }
  return [...found.values()];
}

function textOf(rule: RuleObject, list: unknown): string {
  const index = rule.place.path.at(-1);
  const item: unknown =
    Array.isArray(list) && typeof index === 'number' ? (list as readonly unknown[])[index] : undefined;
  const value =
    typeof item === 'object' && item !== null ? (item as Readonly<Record<string, unknown>>)[rule.word] : undefined;
  return ruleText({ type: rule.word, value, group: undefined });
}

function coverLists({ include, require, exclude }: RuleSetExplanation, cover: (at: At) => void): void {
  for (const rule of [...include, ...require, ...exclude])
    if (rule.group && !rule.group.above) coverLists(rule.group, cover);
  const isIncluded = include.some(({ verdict }) => verdict === 'met');
  for (const { verdict, at } of include) if (verdict === 'met') cover(at);
  if (!isIncluded) return;
  const required = allOf(require);
  for (const { verdict, at } of require) if (required === 'met' || verdict === 'unmet') cover(at);
  if (required === 'met') for (const { verdict, at } of exclude) if (verdict === 'met') cover(at);
}

function allOf(rules: readonly RuleExplanation[]): Verdict {
  return rules.reduce<Verdict>((so, { verdict }) => both(so, verdict), 'met');
}

function keyOf({ file, line, column }: At): string {
  return `${file}:${line}:${column}`;
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
