/** Why a request was decided as it was: the same policies, walked value by value through the same judges, so that the
 *  rule that decided can be named with the line that wrote it. Pure; for people and not for the request path. */
import type { EvaluationContext } from '../model/context.ts';
import type { Place, Position } from '../model/fault.ts';
import type { RuleObject } from '../model/objects.ts';
import { both, either, isUnknown, negated } from '../model/verdict.ts';
import type { Verdict } from '../model/verdict.ts';
import { judgeOne, typeOf } from '../rules/registry.ts';
import type { Judge, RuleScope } from '../rules/rule.ts';
import { nearest } from '../shared/nearest.ts';
import { decideAccess } from './access.ts';
import type { AccessResult, CompiledAccess, CompiledPolicy } from './access.ts';
import type { CompiledRule, FactorTrace, RuleTrace } from './adaptive.ts';
import { changesFor } from './changes.ts';
import type { Change, LoginDefaults } from './changes.ts';
import type { CompiledApplication, CompiledSet } from './compile.ts';
import type { Destination } from './destinations.ts';
import { decide, noApplication, refused } from './engine.ts';
import type { EngineDecision } from './engine.ts';
import type { RequestRefusal } from '../model/request.ts';
import type { GroupObject, PolicyObject, PolicySet, ResourceRuleObject, RuleSetObject } from './objects.ts';

/** Where something was written. */
export interface At extends Position {
  readonly file: string;
}

/** One decision with how it came about. */
export interface Explanation {
  readonly decision: EngineDecision;
  /** Undefined: none covers the request, or it cannot be read. */
  readonly application: ApplicationExplanation | undefined;
  /** In the order in which they are asked: bypass and service auth first, then allow and deny. */
  readonly policies: readonly PolicyExplanation[];
  /** Undefined: the adaptive step was not asked. */
  readonly adaptive: AdaptiveExplanation | undefined;
  /** The lines that decided; empty where no line did. */
  readonly decidedBy: readonly Deciding[];
  /** Where no application covers the request: the destinations nearest to it. */
  readonly nearest: readonly { readonly application: string; readonly destination: string; readonly at: At }[];
  /** What else would be allowed; each was tried. Empty for an allow, and where nothing was found. */
  readonly changes: readonly Change[];
}

export interface ApplicationExplanation {
  readonly id: string;
  readonly name: string;
  readonly at: At;
  /** The pattern that covers the request. */
  readonly destination: string;
  readonly destinationAt: At;
  /** Patterns that cover it too, the most specific first, with why each lost. */
  readonly others: readonly {
    readonly application: string;
    readonly destination: string;
    readonly at: At;
    readonly because: string;
  }[];
}

/** How a policy took part: it decided; it matched and something before it left the answer open; a fact of it is
 *  unknown, which left the answer open; it did not match; it was not asked any more. */
export type Standing = 'decides' | 'matches' | 'open' | 'passes' | 'not_asked';

export interface PolicyExplanation extends RuleSetExplanation {
  readonly id: string;
  readonly name: string;
  readonly decision: PolicyObject['decision'];
  readonly at: At;
  /** Of its rules; an allow policy that is met still needs somebody to be logged in. */
  readonly verdict: Verdict;
  readonly standing: Standing;
}

export interface RuleSetExplanation {
  readonly include: readonly RuleExplanation[];
  readonly require: readonly RuleExplanation[];
  readonly exclude: readonly RuleExplanation[];
}

export interface RuleExplanation {
  /** The word of its type. */
  readonly type: string;
  /** Its value as written. */
  readonly value: unknown;
  readonly at: At;
  readonly verdict: Verdict;
  /** The fact it saw, in a few words. */
  readonly saw: string;
  /** Of a `group` rule; its lists are empty where the group was explained before. */
  readonly group:
    | (RuleSetExplanation & { readonly id: string; readonly name: string; readonly at: At; readonly above: boolean })
    | undefined;
}

export interface AdaptiveExplanation {
  /** By id. */
  readonly rules: readonly ResourceRuleExplanation[];
  /** In order of preference: any one is enough. */
  readonly alternatives: readonly {
    readonly rule: { readonly id: string; readonly name: string };
    readonly flow: string;
    readonly satisfied: boolean;
    /** In words; "" where it is satisfied. */
    readonly missing: string;
  }[];
}

export interface ResourceRuleExplanation {
  readonly id: string;
  readonly name: string;
  readonly at: At;
  readonly applies: RuleTrace['applies'];
  readonly whyNot: RuleTrace['whyNot'];
  readonly strict: boolean;
  readonly groups: readonly { readonly name: string; readonly verdict: Verdict; readonly at: At }[];
  readonly factors: readonly FactorExplanation[];
  readonly score: number | undefined;
  readonly level: RuleTrace['level'];
  readonly thresholds: { readonly low: number; readonly medium: number };
  readonly flow: string | undefined;
  readonly result: RuleTrace['result'];
}

export interface FactorExplanation {
  readonly name: string;
  /** After the default for UNKNOWN. */
  readonly verdict: FactorTrace['verdict'];
  readonly unknown: boolean;
  readonly points: number;
  readonly deny: boolean;
  readonly saw: string;
  readonly at: At;
}

/** A line that decided. */
export interface Deciding {
  readonly what: 'destination' | 'policy' | 'rule' | 'resource_rule' | 'factor';
  readonly text: string;
  readonly at: At;
}

/** What explanations of one set are made of. */
export interface ExplainParts {
  readonly compiled: CompiledSet;
  readonly set: PolicySet;
  /** Line and column of what was written. */
  readonly locate: (place: Place) => Position;
  /** What a login that is only supposed has besides what rules ask of it. */
  readonly login: LoginDefaults;
}

export interface Explainer {
  /** Explains a request whose facts are gathered. `context` undefined: no application covers it. `changes` false:
   *  what would have to change is not looked for, which takes most of the time. */
  explain(
    host: string,
    path: string,
    context: EvaluationContext | undefined,
    options?: { readonly changes: boolean },
  ): Explanation;
  /** Line and column of what was written. */
  at(place: Place): At;
  /** A request that cannot be read. */
  refused(refusal: RequestRefusal): Explanation;
}

/** Prepares what all explanations of one set share. */
export function createExplainer(parts: ExplainParts): Explainer {
  const groups = new Map<string, GroupObject>();
  for (const group of parts.set.groups) groups.set(group.name, group);
  // An id wins over a name.
  for (const group of parts.set.groups) groups.set(group.id, group);
  const judges = new WeakMap<RuleObject, Judge>();
  const places = new WeakMap<Place, At>();
  const words: Words = {
    ...parts,
    scope: parts.compiled.scope,
    judge(rule) {
      const known = judges.get(rule) ?? judgeOne(rule, parts.compiled.scope);
      judges.set(rule, known);
      return known;
    },
    at(place) {
      const known = places.get(place) ?? { file: place.file, ...parts.locate(place) };
      places.set(place, known);
      return known;
    },
    group: (idOrName) => groups.get(idOrName.toLowerCase()) ?? groups.get(idOrName),
    resourceRules: new Map(parts.set.resourceRules.map((rule) => [rule.id, rule])),
  };
  return {
    explain: (host, path, context, options) => explained(host, path, context, words, options?.changes !== false),
    at: words.at,
    refused: (refusal) => ({ ...NOTHING, decision: refused(refusal) }),
  };
}

interface Words extends ExplainParts {
  readonly scope: RuleScope;
  readonly judge: (rule: RuleObject) => Judge;
  readonly at: (place: Place) => At;
  readonly group: (idOrName: string) => GroupObject | undefined;
  readonly resourceRules: ReadonlyMap<string, ResourceRuleObject>;
}

const NOTHING = Object.freeze({
  application: undefined,
  policies: [],
  adaptive: undefined,
  decidedBy: [],
  nearest: [],
  changes: [],
} satisfies Omit<Explanation, 'decision'>);

function explained(
  host: string,
  path: string,
  context: EvaluationContext | undefined,
  words: Words,
  wantsChanges: boolean,
): Explanation {
  const application = words.compiled.destinations.find(host, path)?.target;
  if (!application || !context) return { ...NOTHING, decision: noApplication(), nearest: nearestTo(host, words) };
  const decision = decide(application, context);
  const walk = new Walk(context, words);
  const policies = walk.policies(application);
  const access = decideAccess(walked(application.access, policies), context);
  if (access.outcome !== decideAccess(application.access, context).outcome)
    throw new Error('the explanation does not come to what was decided');
  const adaptive = decision.adaptive && explainedAdaptive(application, decision.adaptive.trace, context, walk, words);
  const told = policies.map((policy, index) => ({
    ...policy,
    standing: standingOf(index, policies, access, application, context),
  }));
  const place = explainedApplication(host, path, application, words);
  return {
    decision,
    application: place,
    policies: told,
    adaptive,
    decidedBy: decidedBy(decision, told, adaptive, words),
    nearest: [],
    changes:
      decision.outcome === 'allow' || !wantsChanges
        ? []
        : changesFor(application, context, {
            scope: words.scope,
            group: words.group,
            resourceRule: (id) => words.resourceRules.get(id),
            judge: words.judge,
            set: words.set,
            login: words.login,
          }),
  };
}

/** The application's walk with what was found value by value in place of its indexes: it must come to the same. */
export function walked(
  access: CompiledAccess,
  policies: readonly Pick<PolicyExplanation, 'verdict'>[],
): CompiledAccess {
  const order = [...access.first, ...access.second];
  const constant = (policy: CompiledPolicy): CompiledPolicy => {
    const verdict = policies[order.indexOf(policy)]?.verdict ?? 'unavailable';
    return { ...policy, rules: { include: () => verdict, require: () => 'met', exclude: () => 'unmet' } };
  };
  return { ...access, first: access.first.map(constant), second: access.second.map(constant) };
}

/** One request's walk; each group is explained once. */
class Walk {
  readonly #context: EvaluationContext;
  readonly #words: Words;
  readonly #groups = new Map<GroupObject, Verdict>();

  constructor(context: EvaluationContext, words: Words) {
    this.#context = context;
    this.#words = words;
  }

  policies({ access, policies }: CompiledApplication): readonly Omit<PolicyExplanation, 'standing'>[] {
    // Compiled in list order, and then told apart by phase.
    const isFirst = ({ decision }: PolicyObject): boolean => decision === 'bypass' || decision === 'non_identity';
    const ordered = [...policies.filter(isFirst), ...policies.filter((policy) => !isFirst(policy))];
    if (ordered.length !== access.first.length + access.second.length) throw new Error('a policy was not compiled');
    return ordered.map((policy) => ({
      id: policy.id,
      name: policy.name,
      decision: policy.decision,
      at: this.#words.at(policy.place),
      ...this.ruleSet(policy),
    }));
  }

  ruleSet(set: RuleSetObject & { readonly written: Readonly<Record<string, unknown>> }): RuleSetExplanation & {
    readonly verdict: Verdict;
  } {
    const include = set.include.map((rule) => this.#rule(rule, set, 'include'));
    const require = set.require.map((rule) => this.#rule(rule, set, 'require'));
    const exclude = set.exclude.map((rule) => this.#rule(rule, set, 'exclude'));
    return { include, require, exclude, verdict: verdictOf({ include, require, exclude }) };
  }

  /** The verdict of a group by itself, value by value. */
  group(group: GroupObject): Verdict {
    const known = this.#groups.get(group);
    if (known !== undefined) return known;
    const { verdict } = this.ruleSet(group);
    this.#groups.set(group, verdict);
    return verdict;
  }

  #rule(
    rule: RuleObject,
    set: { readonly written: Readonly<Record<string, unknown>> },
    list: 'include' | 'require' | 'exclude',
  ): RuleExplanation {
    const { judge, at } = this.#words;
    const type = typeOf(rule);
    const base = {
      type: rule.word,
      value: writtenValue(rule, set.written[list]),
      at: at(rule.place),
      saw: type.seen(this.#context, rule.value),
    };
    const group = rule.word === 'group' ? this.#words.group((rule.value as { readonly id: string }).id) : undefined;
    if (!group) return { ...base, verdict: judge(rule)(this.#context), group: undefined };
    const named = { id: group.id, name: group.name, at: at(group.place) };
    const known = this.#groups.get(group);
    if (known !== undefined) {
      return {
        ...base,
        saw: 'its rules, above',
        verdict: known,
        group: { ...named, include: [], require: [], exclude: [], above: true },
      };
    }
    const { verdict, ...lists } = this.ruleSet(group);
    this.#groups.set(group, verdict);
    return { ...base, saw: 'its rules, below', verdict, group: { ...named, ...lists, above: false } };
  }
}

/** The law of a rule set over verdicts of single rules. */
function verdictOf({ include, require, exclude }: RuleSetExplanation): Verdict {
  const any = (rules: readonly RuleExplanation[]): Verdict =>
    rules.reduce<Verdict>((so, { verdict }) => either(so, verdict), 'unmet');
  const all = require.reduce<Verdict>((so, { verdict }) => both(so, verdict), 'met');
  return both(both(any(include), all), negated(any(exclude)));
}

/** As the file has it: rules keep their values normalised. */
function writtenValue(rule: RuleObject, list: unknown): unknown {
  const index = rule.place.path.at(-1);
  const item: unknown =
    Array.isArray(list) && typeof index === 'number' ? (list as readonly unknown[])[index] : undefined;
  return typeof item === 'object' && item !== null && Object.hasOwn(item, rule.word)
    ? (item as Readonly<Record<string, unknown>>)[rule.word]
    : undefined;
}

function standingOf(
  index: number,
  policies: readonly Omit<PolicyExplanation, 'standing'>[],
  result: AccessResult,
  { access }: CompiledApplication,
  context: EvaluationContext,
): Standing {
  const policy = policies[index];
  if (!policy) return 'not_asked';
  const order = [...access.first, ...access.second];
  const decider = result.policy ? order.findIndex(({ named }) => named === result.policy?.named) : -1;
  if (index === decider) return 'decides';
  if (decider >= 0 && index > decider) return 'not_asked';
  // A preflight and credentials that are refused are answered before any policy.
  if (decider < 0 && result.outcome === 'allow') return 'not_asked';
  if (result.outcome === 'unauthenticated' && !result.loginMayHelp) return 'not_asked';
  // A service that has shown itself is no user: the rest is not for it.
  const isService = access.takesServiceTokens && context.serviceCredentials.state === 'valid';
  if (isService && index >= access.first.length) return 'not_asked';
  if (policy.verdict === 'met') return 'matches';
  return isUnknown(policy.verdict) ? 'open' : 'passes';
}

function explainedApplication(
  host: string,
  path: string,
  application: CompiledApplication,
  { compiled, at }: Words,
): ApplicationExplanation {
  const [winner, ...others] = compiled.destinations.all(host, path);
  const placeOf = (target: CompiledApplication, destination: Destination): At => {
    const written = target.source.destinations.find(({ text }) => text === destination.text);
    return at(written?.place ?? target.source.place);
  };
  const { id, name } = application.named;
  return {
    id,
    name,
    at: at(application.source.place),
    destination: winner?.destination.text ?? '',
    destinationAt: winner ? placeOf(winner.target, winner.destination) : at(application.source.place),
    others: others.map(({ target, destination }) => ({
      application: target.named.name,
      destination: destination.text,
      at: placeOf(target, destination),
      because: winner ? whyLost(winner.destination, destination) : '',
    })),
  };
}

/** Destinations of the same host, else those whose text is nearest to it. */
function nearestTo(host: string, { compiled, at }: Words): Explanation['nearest'] {
  const all = compiled.applications.flatMap((application) =>
    application.source.destinations.map(({ text, place }) => ({ application: application.named.name, text, place })),
  );
  const hostOf = (text: string): string => text.split('/')[0] ?? text;
  const near = nearest(host, new Set(all.map(({ text }) => hostOf(text))));
  const same = all.filter(({ text }) => hostOf(text).toLowerCase() === host);
  return (same.length > 0 ? same : all.filter(({ text }) => hostOf(text) === near))
    .slice(0, NEAREST_MAX)
    .map(({ application, text, place }) => ({ application, destination: text, at: at(place) }));
}

const NEAREST_MAX = 5;

/** What the order of patterns goes by, in its order. */
function whyLost(winner: Destination, loser: Destination): string {
  if (loser.host === '*' && winner.host !== '*') return 'it covers any host';
  if (loser.hostWildcards !== winner.hostWildcards)
    return winner.hostWildcards === 0 ? 'its host has a *' : 'more labels of its host have a *';
  if (loser.hostLiterals !== winner.hostLiterals) return 'fewer characters of its host are given';
  if (loser.pathLiterals !== winner.pathLiterals) return 'fewer characters of its path are given';
  if (loser.pathPieces.length !== winner.pathPieces.length) return 'its path has more *';
  return 'it comes later in the order of letters';
}

function explainedAdaptive(
  application: CompiledApplication,
  trace: {
    readonly rules: readonly RuleTrace[];
    readonly alternatives: NonNullable<EngineDecision['adaptive']>['trace']['alternatives'];
  },
  context: EvaluationContext,
  walk: Walk,
  words: Words,
): AdaptiveExplanation {
  const compiled = new Map(application.adaptive?.rules.map((rule) => [rule.named.id, rule]));
  return {
    rules: trace.rules.map((rule) => explainedRule(rule, compiled.get(rule.rule.id), context, walk, words)),
    alternatives: trace.alternatives.map(({ rule, flow, satisfied, missing }) => ({ rule, flow, satisfied, missing })),
  };
}

function explainedRule(
  trace: RuleTrace,
  compiled: CompiledRule | undefined,
  context: EvaluationContext,
  walk: Walk,
  { resourceRules, at, group }: Words,
): ResourceRuleExplanation {
  const source = resourceRules.get(trace.rule.id);
  if (!source || !compiled) throw new Error(`no resource rule ${trace.rule.id}`);
  return {
    id: trace.rule.id,
    name: trace.rule.name,
    at: at(source.place),
    applies: trace.applies,
    whyNot: trace.whyNot,
    strict: compiled.strict,
    groups: source.groups.map((mention) => {
      const named = group(mention.id ?? mention.name ?? '');
      return {
        name: named?.name ?? mention.name ?? mention.id ?? '',
        // The one that is built in is no group of the files: everyone is in it.
        verdict: named ? walk.group(named) : 'met',
        at: at(mention.place),
      };
    }),
    factors: trace.factors.map((factor, index) => ({
      name: factor.name,
      verdict: factor.verdict,
      unknown: factor.unknown,
      points: factor.points,
      deny: factor.deny,
      saw: factor.seen(context),
      at: at(source.factors[index]?.place ?? source.place),
    })),
    score: trace.score,
    level: trace.level,
    thresholds: { low: compiled.lowBelow, medium: compiled.mediumBelow },
    flow: trace.flow,
    result: trace.result,
  };
}

function decidedBy(
  decision: EngineDecision,
  policies: readonly PolicyExplanation[],
  adaptive: AdaptiveExplanation | undefined,
  { at, resourceRules }: Words,
): readonly Deciding[] {
  const { resourceRule } = decision;
  if (resourceRule && decision.outcome !== 'allow') {
    const source = resourceRules.get(resourceRule.id);
    const rule = adaptive?.rules.find(({ id }) => id === resourceRule.id);
    return [
      ...(source ? [{ what: 'resource_rule' as const, text: resourceRule.name, at: at(source.place) }] : []),
      ...(rule?.factors ?? [])
        .filter(({ verdict }) => verdict !== 'NO_RISK')
        .map((factor) => ({ what: 'factor' as const, text: factor.name, at: factor.at })),
    ];
  }
  if (decision.reason === 'no_resource_rule')
    return (adaptive?.rules ?? []).map((rule) => ({ what: 'resource_rule', text: rule.name, at: rule.at }));
  const decider = policies.find(({ standing }) => standing === 'decides');
  if (decider) return [policyLine(decider), ...decidingRules(decider)];
  // Nothing let the caller in: what kept each policy that could have.
  return policies
    .filter(({ standing, decision: kind }) => standing !== 'not_asked' && (kind !== 'deny' || standing === 'open'))
    .flatMap((policy) => [policyLine(policy), ...decidingRules(policy)]);
}

function policyLine(policy: PolicyExplanation): Deciding {
  return { what: 'policy', text: policy.name, at: policy.at };
}

/** The rules of a set that make its verdict, down through groups. */
export function decidingRules(set: RuleSetExplanation): readonly Deciding[] {
  const verdict = verdictOf(set);
  const include = set.include.reduce<Verdict>((so, one) => either(so, one.verdict), 'unmet');
  const found = decisive(set, verdict, include);
  return found.flatMap((rule) => {
    const inner = rule.group && !rule.group.above ? decidingRules(rule.group) : [];
    return inner.length > 0 ? inner : [{ what: 'rule' as const, text: ruleText(rule), at: rule.at }];
  });
}

function decisive(set: RuleSetExplanation, verdict: Verdict, include: Verdict): readonly RuleExplanation[] {
  if (verdict === 'met') return set.include.filter((rule) => rule.verdict === 'met').slice(0, 1);
  if (include === 'unmet') return set.include;
  if (verdict === 'unmet') {
    const unmet = set.require.filter((rule) => rule.verdict === 'unmet');
    return unmet.length > 0 ? unmet : set.exclude.filter((rule) => rule.verdict === 'met');
  }
  return [...(include === 'met' ? [] : set.include), ...set.require, ...set.exclude].filter((rule) =>
    isUnknown(rule.verdict),
  );
}

/** A rule in a few words: `geo country_code: CA`. */
export function ruleText({ type, value, group }: Pick<RuleExplanation, 'type' | 'value' | 'group'>): string {
  if (group) return `group ${group.name}`;
  const members = typeof value === 'object' && value !== null ? Object.entries(value as Record<string, unknown>) : [];
  const told = members.map(([key, one]) => `${key}: ${typeof one === 'string' ? one : JSON.stringify(one)}`);
  return [type, told.join(', ')].filter((part) => part !== '').join(' ');
}
