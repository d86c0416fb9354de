import type { EvaluationContext, FactName, Need } from '../model/context.ts';
import type { Named } from '../model/decision.ts';
import type { Verdict } from '../model/verdict.ts';
import { judgeAll, judgesOf, needsOf } from '../rules/registry.ts';
import type { Judge, LinkedGroup, RuleScope } from '../rules/rule.ts';
import { judgeRuleSet } from './access.ts';
import type { CompiledAccess, CompiledPolicy, CompiledRuleSet } from './access.ts';
import { compileResourceRules } from './adaptive.ts';
import type { AdaptiveInput, CompiledAdaptive } from './adaptive.ts';
import { attributesRead } from './attributes.ts';
import type { AttributesRead } from './attributes.ts';
import { DestinationIndexBuilder, destinationOf } from './destinations.ts';
import type { DestinationIndex } from './destinations.ts';
import type { Lookups } from './lookups.ts';
import { isReference } from './objects.ts';
import type {
  ApplicationObject,
  GroupObject,
  ObjectKind,
  PolicyObject,
  PolicySet,
  ResourceRuleObject,
  RuleSetObject,
} from './objects.ts';

/** A policy set that is free of faults, turned into what a request needs: an index of destinations, and for each
 *  application its judges and the union of their needs. */
export interface CompiledSet {
  readonly destinations: DestinationIndex<CompiledApplication>;
  readonly applications: readonly CompiledApplication[];
  /** Of the rules, with groups that judge: `explain` judges value by value with it. */
  readonly scope: RuleScope;
  /** For the next revision: what the applications were compiled on, and each of them by its source. */
  readonly foundation: Foundation;
}

export interface Foundation {
  readonly set: PolicySet;
  readonly built: ReadonlyMap<ApplicationObject, BuiltApplication>;
}

interface BuiltApplication {
  readonly application: CompiledApplication;
  readonly resourceRules: readonly ResourceRuleObject[] | undefined;
}

export interface CompiledApplication {
  readonly named: Named;
  readonly access: CompiledAccess;
  /** Undefined: no resource rule names this application. */
  readonly adaptive: CompiledAdaptive | undefined;
  readonly needs: ApplicationNeeds;
  /** A token's audience must meet these too; empty: the issuer's list alone decides. */
  readonly audiences: readonly string[];
  /** Lower-case provider ids; empty: any. */
  readonly allowedProviders: readonly string[];
  /** Of the single-header form; undefined: the settings' header. */
  readonly serviceTokensHeader: string | undefined;
  readonly source: ApplicationObject;
  /** In list order, references resolved. */
  readonly policies: readonly PolicyObject[];
  /** The claims, attributes and posture checks that its rules name; found at the first call. */
  readonly attributesRead: () => AttributesRead;
}

/** What must be gathered for an application. */
export interface ApplicationNeeds {
  readonly facts: ReadonlySet<FactName>;
  /** Application ids. */
  readonly linkedTokens: readonly string[];
  readonly evaluations: readonly { readonly evaluateUrl: string; readonly keysUrl: string }[];
  /** Engine ids. */
  readonly engines: readonly string[];
}

/** What compiling needs from the settings besides the set itself. */
export type CompileSettings = Pick<AdaptiveInput, 'settings' | 'providers'>;

/** Compiles a linked set without faults. `pause` is awaited every few applications, so that the event loop goes on
 *  deciding requests by the revision before.
 *  @param before The revision before, where it had the same settings: what cannot have changed is taken over from it.
 *  Files that did not change have the same objects, so that this is told by identity. */
export async function compile(
  set: PolicySet,
  lookups: Lookups,
  settings: CompileSettings,
  pause: () => Promise<void>,
  before?: CompiledSet,
): Promise<CompiledSet> {
  const ground = before && isSameGround(before.foundation.set, set) ? before : undefined;
  const scope = ground?.scope ?? groupScope(set, lookups);
  const reusable = new Map(set.policies.map((policy) => [policy.id, policy]));
  const rulesByApplication = new Map<string, ResourceRuleObject[]>();
  for (const rule of set.resourceRules) {
    const rules = rulesByApplication.get(rule.resourceId);
    if (rules) rules.push(rule);
    else rulesByApplication.set(rule.resourceId, [rule]);
  }
  const builder = new DestinationIndexBuilder<CompiledApplication>();
  const built = new Map<ApplicationObject, BuiltApplication>();
  for (const source of set.applications) {
    const resourceRules = rulesByApplication.get(source.id);
    const known = ground?.foundation.built.get(source);
    const application =
      known && areSame(known.resourceRules ?? [], resourceRules ?? [])
        ? known.application
        : compileApplication(source, resourceRules, { set, lookups, scope, reusable, settings });
    built.set(source, { application, resourceRules });
    for (const written of source.destinations) {
      const destination = destinationOf(written);
      // Linking has refused such a set; never leave an application out quietly.
      if ('code' in destination) throw new Error(`unlinked destination ${written.text}`);
      builder.add(destination.value, application);
    }
    await pause();
  }
  return {
    destinations: builder.build(),
    applications: [...built.values()].map(({ application }) => application),
    scope,
    foundation: { set, built },
  };
}

/** Whether all that an application may name is the same. What it names of other applications is their ids alone. */
function isSameGround(before: PolicySet, now: PolicySet): boolean {
  return (Object.keys(now) as ObjectKind[]).every(
    (kind) => kind === 'applications' || kind === 'resourceRules' || areSame(before[kind], now[kind]),
  );
}

function areSame(before: readonly unknown[], now: readonly unknown[]): boolean {
  return before.length === now.length && before.every((one, index) => one === now[index]);
}

interface Compiling {
  readonly set: PolicySet;
  readonly lookups: Lookups;
  readonly scope: RuleScope;
  readonly reusable: ReadonlyMap<string, PolicyObject>;
  readonly settings: CompileSettings;
}

function compileApplication(
  source: ApplicationObject,
  resourceRules: readonly ResourceRuleObject[] | undefined,
  compiling: Compiling,
): CompiledApplication {
  const policies = source.policies.map((entry) => {
    if (!isReference(entry)) return entry;
    const policy = compiling.reusable.get(entry.reference);
    if (!policy) throw new Error(`unlinked policy ${entry.reference}`);
    return policy;
  });
  const adaptive =
    resourceRules &&
    compileResourceRules({
      application: source,
      rules: resourceRules,
      set: compiling.set,
      lookups: compiling.lookups,
      scope: compiling.scope,
      ...compiling.settings,
    });
  return Object.freeze({
    named: Object.freeze({ id: source.id, name: source.name }),
    access: compileAccess(source, policies, compiling.scope),
    adaptive,
    needs: compileNeeds(policies, adaptive, compiling.scope),
    audiences: source.audiences,
    allowedProviders: source.allowedProviders,
    serviceTokensHeader: source.readServiceTokensFromHeader,
    source,
    policies,
    attributesRead: once(() => attributesRead(policies, resourceRules ?? [], compiling.lookups)),
  });
}

function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => (made ??= { value: make() }).value;
}

function compileAccess(source: ApplicationObject, policies: readonly PolicyObject[], scope: RuleScope): CompiledAccess {
  const compiled = policies.map((policy): CompiledPolicy => ({
    named: Object.freeze({ id: policy.id, name: policy.name }),
    decision: policy.decision,
    rules: compileRuleSet(policy, scope),
    sessionMs: policy.sessionDurationMs,
  }));
  return Object.freeze({
    first: compiled.filter(({ decision }) => decision === 'bypass' || decision === 'non_identity'),
    second: compiled.filter(({ decision }) => decision === 'allow' || decision === 'deny'),
    takesServiceTokens: compiled.some(({ decision }) => decision === 'non_identity'),
    preflightBypass: source.optionsPreflightBypass,
    sessionMs: source.sessionDurationMs,
  });
}

function compileRuleSet(set: RuleSetObject, scope: RuleScope): CompiledRuleSet {
  return {
    include: judgesOf(set.include, scope),
    require: judgeAll(set.require, scope),
    exclude: judgesOf(set.exclude, scope),
  };
}

function compileNeeds(
  policies: readonly PolicyObject[],
  adaptive: CompiledAdaptive | undefined,
  scope: RuleScope,
): ApplicationNeeds {
  const facts = new Set<FactName>();
  const linkedTokens = new Set<string>();
  const evaluations = new Map<string, { readonly evaluateUrl: string; readonly keysUrl: string }>();
  const engines = new Set<string>();
  const add = (need: Need): void => {
    facts.add(need.fact);
    if (need.fact === 'linked_token') linkedTokens.add(need.application);
    else if (need.fact === 'external_evaluation') evaluations.set(`${need.evaluateUrl}\n${need.keysUrl}`, need);
    else if (need.fact === 'risk_engine') engines.add(need.engine);
  };
  for (const policy of policies) {
    for (const rules of [policy.include, policy.require, policy.exclude]) needsOf(rules, scope).forEach(add);
    // An allow policy needs a login whatever its rules say, a service-auth policy looks at the credentials.
    if (policy.decision === 'allow') facts.add('identity');
    if (policy.decision === 'non_identity') facts.add('service_token');
  }
  adaptive?.needs.forEach(add);
  return Object.freeze({
    facts,
    linkedTokens: [...linkedTokens],
    evaluations: [...evaluations.values()],
    engines: [...engines],
  });
}

/** The scope of the rules, with groups that judge: each compiled when first named, judged at most once per request. */
function groupScope(set: PolicySet, lookups: Lookups): RuleScope {
  const byId = new Map<string, CompiledGroup>();
  const byName = new Map<string, CompiledGroup>();
  const scope: RuleScope = {
    ...lookups,
    group: (idOrName) => byId.get(idOrName.toLowerCase()) ?? byName.get(idOrName),
  };
  set.groups.forEach((source, number) => {
    const group = new CompiledGroup(source, number, scope);
    byId.set(source.id, group);
    byName.set(source.name, group);
  });
  return scope;
}

class CompiledGroup implements LinkedGroup {
  readonly id: string;
  readonly name: string;
  readonly judge: Judge;
  readonly #source: GroupObject;
  readonly #scope: RuleScope;
  #rules: CompiledRuleSet | undefined;
  #needs: readonly Need[] | undefined;

  constructor(source: GroupObject, number: number, scope: RuleScope) {
    this.id = source.id;
    this.name = source.name;
    this.#source = source;
    this.#scope = scope;
    this.judge = (context: EvaluationContext): Verdict => {
      const verdicts = (context.groupVerdicts ??= new Map());
      const known = verdicts.get(number);
      if (known !== undefined) return known;
      const verdict = judgeRuleSet(this.#compiled(), context);
      verdicts.set(number, verdict);
      return verdict;
    };
  }

  get needs(): readonly Need[] {
    // Compiled here, at load, and not by the first request that asks.
    this.#compiled();
    this.#needs ??= [this.#source.include, this.#source.require, this.#source.exclude].flatMap((rules) =>
      needsOf(rules, this.#scope),
    );
    return this.#needs;
  }

  #compiled(): CompiledRuleSet {
    this.#rules ??= compileRuleSet(this.#source, this.#scope);
    return this.#rules;
  }
}
