/** Everything of a policy set by id or name. */
import type { Place } from '../model/fault.ts';
import type { ProviderObject, RuleObject } from '../model/objects.ts';
import type { EngineRule, FactorScope, RiskEngine, RiskSettings } from '../risk/factor.ts';
import type { RuleScope } from '../rules/rule.ts';
import { nearest } from '../shared/nearest.ts';
import type {
  AcrObject,
  ApplicationObject,
  FlowObject,
  FlowUse,
  GroupObject,
  Mention,
  PolicyObject,
  PolicySet,
  RuleSetObject,
  TransactionRuleObject,
} from './objects.ts';
import { systemFlow } from './system-flows.ts';

/** What linking and warning read of the settings. */
export interface LinkSettings {
  readonly identity: {
    readonly providers: readonly ProviderObject[];
    readonly tokens: readonly {
      readonly issuer: string;
      readonly audiences: readonly string[];
      readonly place: Place;
    }[];
    readonly envoy_jwt_authn: { readonly enabled: boolean };
    readonly headers: { readonly enabled: boolean };
  };
  readonly admin: { readonly accounts: readonly string[]; readonly tokens: readonly unknown[] };
  readonly external_evaluation: { readonly allow_hosts: readonly string[] };
  readonly posture: { readonly from: string };
  readonly risk_scores: { readonly from: 'token' | 'state' };
  readonly risk: RiskSettings;
  readonly geo: {
    readonly city_database: string | undefined;
    readonly anonymous_database: string | undefined;
    readonly headers: Readonly<Record<'country' | 'latitude' | 'longitude' | 'anonymous', string | undefined>>;
  };
  readonly certificates: { readonly trusted_authorities: string | undefined; readonly verified_by_envoy: boolean };
}

/** Everything of a set by id or name. */
export interface Lookups extends Omit<RuleScope, 'group'> {
  /** By id or, failing that, by exact name. */
  groupObject(idOrName: string): GroupObject | undefined;
  applicationObject(id: string): ApplicationObject | undefined;
  policy(id: string): PolicyObject | undefined;
  /** A declared flow by id, or by name; else a system flow; else the inline one. */
  flow(use: Pick<FlowUse, 'id' | 'name' | 'inline'>): FlowObject | undefined;
  acr(mention: Pick<Mention, 'id' | 'name'>): AcrObject | undefined;
  mentionedProvider(mention: Pick<Mention, 'id' | 'name'>): ProviderObject | undefined;
  transactionRule(idOrName: string): TransactionRuleObject | undefined;
  engineRule(idOrName: string): { readonly engine: RiskEngine; readonly rule: EngineRule } | undefined;
  /** What the factors of a resource rule may ask; `application` is undefined where the rule names none. */
  factorScope(application: ApplicationObject | undefined): FactorScope;
  readonly anonymousSource: boolean;
}

/** Everything of a set by id or name; in a set with duplicates, the first. */
export function createLookups(set: PolicySet, settings: LinkSettings): Lookups {
  const groups = index(set.groups);
  const lists = index(set.lists);
  const serviceTokens = index(set.serviceTokens);
  const providers = index(settings.identity.providers);
  const applications = index(set.applications);
  const policies = index(set.policies);
  const flows = index(set.flows);
  const acrs = index(set.acrs);
  const transactionRules = index(set.transactionRules);
  const engineRules = index(
    set.riskEngines.flatMap((engine) => engine.rules.map((rule) => ({ id: rule.id, name: rule.name, engine, rule }))),
  );
  const kinds = {
    group: groups,
    list: lists,
    service_token: serviceTokens,
    provider: providers,
    application: applications,
    transaction_rule: transactionRules,
    engine_rule: engineRules,
  };
  const sought = new Map<string, number>();
  const near = (kind: keyof typeof kinds, text: string): string | undefined => {
    const count = (sought.get(kind) ?? 0) + 1;
    sought.set(kind, count);
    if (count > NEAREST_MAX) return undefined;
    const { byId, byName } = kinds[kind];
    return nearest(text, byName.keys()) ?? nearest(text, byId.keys());
  };
  const { anonymous_database: anonymousDatabase, city_database: cityDatabase, headers } = settings.geo;
  const anonymousSource = anonymousDatabase !== undefined || headers.anonymous !== undefined;
  const coordinatesSource =
    cityDatabase !== undefined || (headers.latitude !== undefined && headers.longitude !== undefined);
  return {
    groupObject: (idOrName) => groups.byId.get(idOrName.toLowerCase()) ?? groups.byName.get(idOrName),
    list: (id) => lists.byId.get(id.toLowerCase()),
    serviceToken: (id) => serviceTokens.byId.get(id.toLowerCase()),
    provider: (id) => providers.byId.get(id.toLowerCase()),
    application(id) {
      const found = applications.byId.get(id.toLowerCase());
      return found && { id: found.id, issuesTokens: found.audiences.length > 0 || found.issuedTokens !== undefined };
    },
    applicationObject: (id) => applications.byId.get(id.toLowerCase()),
    policy: (id) => policies.byId.get(id.toLowerCase()),
    flow({ id, name, inline }) {
      const declared =
        (id === undefined ? undefined : flows.byId.get(id)) ??
        (name === undefined ? undefined : flows.byName.get(name));
      return (
        declared ??
        (id === undefined ? undefined : systemFlow(id)) ??
        (name === undefined ? undefined : systemFlow(name)) ??
        inline
      );
    },
    acr: (mention) => mentioned(acrs, mention),
    mentionedProvider: (mention) => mentioned(providers, mention),
    transactionRule: (idOrName) => byEither(transactionRules, idOrName),
    engineRule: (idOrName) => byEither(engineRules, idOrName),
    factorScope: (application) => ({
      list: (id) => lists.byId.get(id.toLowerCase()),
      transactionRule: (idOrName) => byEither(transactionRules, idOrName),
      engineRule: (idOrName) => byEither(engineRules, idOrName),
      transactionDetails: new Map((application?.transaction ?? []).map(({ name, usage }) => [name, { usage }])),
      settings: settings.risk,
      anonymousSource,
      coordinatesSource,
      nearest: near,
    }),
    accounts: settings.admin.accounts,
    evaluationHosts: settings.external_evaluation.allow_hosts,
    postureFromIdentity: settings.posture.from === 'token',
    riskScoreFromIdentity: settings.risk_scores.from === 'token',
    anonymousSource,
    nearest: near,
  };
}

/** The scope of rules where nothing is judged: groups are only looked up. */
export function ruleScope(lookups: Lookups): RuleScope {
  return {
    ...lookups,
    group(idOrName) {
      const found = lookups.groupObject(idOrName);
      return found && { id: found.id, name: found.name, judge: () => 'unavailable', needs: [] };
    },
  };
}

/** Whether some group or policy has a rule of this type. */
export function hasRule(set: PolicySet, word: string): boolean {
  const has = (rules: RuleSetObject): boolean => rulesOf(rules).some((rule) => rule.word === word);
  return (
    set.groups.some(has) ||
    set.policies.some(has) ||
    set.applications.some(({ policies }) => policies.some((policy) => 'include' in policy && has(policy)))
  );
}

/** Every rule of a set of rules. */
export function rulesOf(set: RuleSetObject): readonly RuleObject[] {
  return [...set.include, ...set.require, ...set.exclude];
}

/** The group that a `group` rule names; undefined: another rule, or a reference to nothing. */
export function groupOf(rule: RuleObject, lookups: Lookups): GroupObject | undefined {
  return rule.word === 'group' ? lookups.groupObject((rule.value as { readonly id: string }).id) : undefined;
}

/** Looking for what was meant reads every name: so many misspelt references of a kind get a suggestion. */
const NEAREST_MAX = 100;

interface Index<T> {
  readonly byId: ReadonlyMap<string, T>;
  readonly byName: ReadonlyMap<string, T>;
}

function index<T extends { readonly id: string; readonly name: string }>(objects: readonly T[]): Index<T> {
  const byId = new Map<string, T>();
  const byName = new Map<string, T>();
  for (const object of objects) {
    if (object.id !== '' && !byId.has(object.id)) byId.set(object.id, object);
    if (object.name !== '' && !byName.has(object.name)) byName.set(object.name, object);
  }
  return { byId, byName };
}

function byEither<T>({ byId, byName }: Index<T>, idOrName: string): T | undefined {
  return byId.get(idOrName.toLowerCase()) ?? byName.get(idOrName);
}

/** The id decides where it is given. */
function mentioned<T>({ byId, byName }: Index<T>, { id, name }: Pick<Mention, 'id' | 'name'>): T | undefined {
  return id !== undefined ? byId.get(id) : name === undefined ? undefined : byName.get(name);
}
