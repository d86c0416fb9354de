/** What is worth a word in a set without faults: it loads, but hardly means what it says. */
import { at, warning } from '../model/fault.ts';
import type { Place, Report } from '../model/fault.ts';
import type { RuleObject } from '../model/objects.ts';
import { contradict, factOf, providerTypesOf, readsIdentity, ruleKey, unusual } from '../rules/registry.ts';
import type { RuleScope } from '../rules/rule.ts';
import type { Cidr } from '../shared/cidr.ts';
import { listed, quoted } from '../shared/shape.ts';
import { groupOf, ruleScope, rulesOf } from './lookups.ts';
import type { LinkSettings, Lookups } from './lookups.ts';
import { isReference } from './objects.ts';
import type { ApplicationObject, GroupObject, PolicyObject, PolicySet, RuleSetObject } from './objects.ts';
import { warnOfDestinations } from './warnings-destinations.ts';
import { warnOfResourceRules } from './warnings-rules.ts';

/** Reports the warnings of a linked set that has no faults. `nowMs`: milliseconds since the epoch, for service tokens
 *  that end. */
export async function warn(
  set: PolicySet,
  lookups: Lookups,
  settings: LinkSettings,
  nowMs: number,
  report: Report,
  pause: () => Promise<void>,
): Promise<void> {
  const warned: Warning = {
    set,
    lookups,
    settings,
    nowMs,
    report,
    scope: ruleScope(lookups),
    missing: new Set(),
    scim: scimNames(set),
  };
  for (const group of set.groups) {
    warnOfRules(group, warned);
    await pause();
  }
  for (const policy of set.policies) {
    warnOfPolicy(policy, warned);
    await pause();
  }
  for (const application of set.applications) {
    warnOfApplication(application, warned);
    await pause();
  }
  warnOfTokens(warned);
  warnOfNames(warned);
  warnOfUse(warned);
  warnOfAudiences(warned);
  await warnOfDestinations(set, report, pause);
  await warnOfResourceRules(set, lookups, settings, report, pause);
}

interface Warning {
  readonly set: PolicySet;
  readonly lookups: Lookups;
  readonly settings: LinkSettings;
  readonly nowMs: number;
  readonly report: Report;
  readonly scope: RuleScope;
  /** Sources that were complained of already. */
  readonly missing: Set<string>;
  /** Provider id → every name its SCIM groups go by, lower case. */
  readonly scim: ReadonlyMap<string, ReadonlySet<string>>;
}

function scimNames(set: PolicySet): ReadonlyMap<string, ReadonlySet<string>> {
  const names = new Map<string, Set<string>>();
  for (const { identityProviderId, id, displayName, externalId } of set.scimGroups) {
    const known = names.get(identityProviderId) ?? new Set();
    for (const name of [id, displayName, externalId]) if (name !== undefined) known.add(name.toLowerCase());
    names.set(identityProviderId, known);
  }
  return names;
}

function placeOf(rule: RuleObject): Place {
  return at(rule.place, rule.word);
}

function warnOfRules(rules: RuleSetObject, context: Warning): void {
  warnOfContradictions(rules.require, context.report);
  warnOfRedundancy(rules, context.report);
  for (const rule of rulesOf(rules)) {
    const found = unusual(rule);
    if (found) context.report(warning(placeOf(rule), 'value_unusual', found.text, found.mend));
    warnOfProvider(rule, context);
    warnOfSource(rule, context);
  }
}

/** So many required rules are compared with each other. */
const REQUIRED_MAX = 100;

function warnOfContradictions(require: readonly RuleObject[], report: Report): void {
  const single = require.filter(({ word }) => factOf(word) !== undefined).slice(0, REQUIRED_MAX);
  for (const [index, rule] of single.entries()) {
    const other = single.slice(0, index).find((one) => contradict(one, rule));
    if (!other) continue;
    report(
      warning(
        placeOf(rule),
        'require_contradicts',
        `no request has two values of the ${factOf(rule.word) ?? rule.word}, and require asks for both`,
        'put the two into the include of a group, and require that group',
      ),
    );
  }
}

function warnOfRedundancy({ include, require, exclude }: RuleSetObject, report: Report): void {
  const redundant = (rule: RuleObject, text: string, mend = 'remove the rule'): void => {
    report(warning(placeOf(rule), 'rule_redundant', text, mend));
  };
  const everyone = include.find(({ word }) => word === 'everyone');
  for (const list of [include, require, exclude]) {
    const seen = new Set<string>();
    for (const rule of list) {
      const key = ruleKey(rule);
      if (seen.has(key)) redundant(rule, 'the same rule stands earlier in this list');
      else if (list === include && everyone && rule !== everyone) redundant(rule, 'include has everyone already');
      seen.add(key);
    }
  }
  const included = new Set(include.map(ruleKey));
  for (const rule of require) {
    if (rule.word === 'everyone') continue;
    if (included.has(ruleKey(rule))) {
      redundant(
        rule,
        'the same rule stands in include, which is met whenever this one is',
        'remove it from require, or write include: [{ everyone: {} }]',
      );
    }
  }
}

function warnOfProvider(rule: RuleObject, { lookups, scim, report }: Warning): void {
  const types = providerTypesOf(rule.word);
  const value = rule.value as Readonly<Record<string, unknown>>;
  const id = value['identity_provider_id'];
  if (typeof id !== 'string') return;
  const provider = lookups.provider(id);
  if (types && provider && !types.includes(provider.type)) {
    report(
      warning(
        at(placeOf(rule), 'identity_provider_id'),
        'provider_type_mismatch',
        `expected a provider of type ${listed(types)}, found ${quoted(provider.name)} of type ${provider.type}`,
        `name a provider of type ${listed(types)}, or use the rule of ${provider.type}`,
      ),
    );
  }
  const groups = scim.get(id.toLowerCase());
  const key = SCIM_KEYS.get(rule.word);
  const name = key === undefined ? undefined : value[key];
  if (groups && key !== undefined && typeof name === 'string' && !groups.has(name.toLowerCase())) {
    report(
      warning(
        at(placeOf(rule), key),
        'value_unusual',
        `no group of the provider in scim_groups has the id or name ${quoted(name)}`,
        'correct it, or bring scim_groups up to date',
      ),
    );
  }
}

/** Rule type → the key that names a group of the provider. */
const SCIM_KEYS: ReadonlyMap<string, string> = new Map([
  ['azureAD', 'id'],
  ['okta', 'name'],
  ['gsuite', 'email'],
]);

function warnOfSource(rule: RuleObject, context: Warning): void {
  const { geo, certificates, risk_scores: riskScores, admin } = context.settings;
  if (rule.word === 'geo' && geo.city_database === undefined && geo.headers.country === undefined) {
    missing(
      'location',
      rule,
      'nothing tells the country of an address',
      'set geo.city_database or geo.headers.country',
    );
  }
  const isCertificate = rule.word === 'certificate' || rule.word === 'common_name';
  if (isCertificate && !certificates.verified_by_envoy && certificates.trusted_authorities === undefined) {
    missing(
      'certificates',
      rule,
      'no certificate counts as verified',
      'set certificates.trusted_authorities, or verified_by_envoy: true where Envoy verifies them',
    );
  }
  if (rule.word === 'user_risk_score' && riskScores.from === 'state' && admin.tokens.length === 0) {
    missing(
      'risk scores',
      rule,
      'risk scores are set through the admin API, which has no tokens',
      'add admin.tokens, or set risk_scores.from: token',
    );
  }

  function missing(source: string, first: RuleObject, text: string, mend: string): void {
    if (context.missing.has(source)) return;
    context.missing.add(source);
    context.report(warning(placeOf(first), 'source_missing', `${text}, so that this rule is never met`, mend));
  }
}

function warnOfPolicy(policy: PolicyObject, context: Warning): void {
  warnOfRules(policy, context);
  const { decision } = policy;
  if (decision === 'allow') warnOfOpenAllow(policy, context);
  if (decision === 'allow' || decision === 'deny') warnOfTokensInAllow(policy, context.report);
  if (decision === 'non_identity') warnOfIdentity(policy, context);
  warnOfNever(policy, context);
  if (policy.sessionDurationMs !== undefined) warnOfSession(at(policy.place, 'session_duration'), context);
}

function warnOfOpenAllow(policy: PolicyObject, { lookups, report }: Warning): void {
  if (policy.require.length > 0) return;
  const everyone = policy.include.find(({ word }) => word === 'everyone') ?? anyAddress(policy.include);
  if (everyone) {
    report(
      warning(
        placeOf(everyone),
        'allow_everyone',
        'an allow policy includes everyone and requires nothing: anybody who can log in gets in',
        'include a domain or a group, or require one',
      ),
    );
  }
  const [only] = policy.include;
  if (only?.word !== 'login_method' || policy.include.length > 1) return;
  const provider = lookups.provider((only.value as { readonly id: string }).id);
  if (provider?.type !== 'onetimepin') return;
  report(
    warning(
      placeOf(only),
      'one_time_pin_alone',
      'an allow policy includes every one-time PIN login: anybody who has a mailbox gets in',
      'require an e-mail domain',
    ),
  );
}

/** The second of two rules that together are all addresses. */
function anyAddress(include: readonly RuleObject[]): RuleObject | undefined {
  const whole = include.filter((rule) => cidrOf(rule)?.prefix === 0);
  const families = new Set(whole.map((rule) => cidrOf(rule)?.family));
  return families.size === 2 ? whole.at(-1) : undefined;
}

function cidrOf(rule: RuleObject): Cidr | undefined {
  return rule.word === 'ip' ? (rule.value as { readonly ip: Cidr }).ip : undefined;
}

function warnOfTokensInAllow(policy: PolicyObject, report: Report): void {
  for (const rule of policy.include) {
    const isService = rule.word === 'service_token' || rule.word === 'any_valid_service_token';
    if (!isService && rule.word !== 'linked_app_token') continue;
    report(
      warning(
        placeOf(rule),
        isService ? 'service_token_in_allow' : 'linked_app_token_in_allow',
        `${isService ? 'a service token' : 'a linked token'} logs nobody in, and ${policy.decision === 'allow' ? 'an allow' : 'a deny'} policy stands among those for users`,
        'write decision: non_identity',
      ),
    );
  }
}

function warnOfIdentity(policy: PolicyObject, context: Warning): void {
  for (const rule of rulesOf(policy)) {
    if (!isOfIdentity(rule, context, new Set())) continue;
    context.report(
      warning(
        placeOf(rule),
        'identity_in_non_identity',
        'a service-auth policy reads the user here; at Cloudflare such a rule is never met',
        'write decision: allow, or use a rule that needs no user',
      ),
    );
  }
}

function isOfIdentity(rule: RuleObject, context: Warning, seen: Set<GroupObject>): boolean {
  const group = groupOf(rule, context.lookups);
  if (!group) return readsIdentity(rule, context.scope);
  if (seen.has(group)) return false;
  seen.add(group);
  return rulesOf(group).some((inner) => isOfIdentity(inner, context, seen));
}

function warnOfNever(policy: PolicyObject, context: Warning): void {
  const why = neverWhy(policy, context);
  if (!why) return;
  context.report(warning(why.place, 'policy_never_matches', why.text, 'correct the policy or remove it'));
}

function neverWhy(
  { include, exclude }: PolicyObject,
  { lookups, nowMs }: Warning,
): { readonly place: Place; readonly text: string } | undefined {
  const everyone = exclude.find(({ word }) => word === 'everyone');
  if (everyone) return { place: placeOf(everyone), text: 'exclude has everyone, so that the policy never matches' };
  const excluded = new Map(exclude.map((rule) => [ruleKey(rule), rule]));
  const [first] = include;
  if (!first) return undefined;
  const counterpart = excluded.get(ruleKey(first));
  if (counterpart && include.every((rule) => excluded.has(ruleKey(rule)))) {
    return { place: placeOf(counterpart), text: 'exclude has every rule of include, so that the policy never matches' };
  }
  const isEmpty = (rule: RuleObject): boolean =>
    (rule.word === 'email_list' || rule.word === 'ip_list') &&
    lookups.list((rule.value as { readonly id: string }).id)?.items.length === 0;
  if (include.every(isEmpty)) {
    return { place: placeOf(first), text: 'include has only empty lists, so that the policy never matches' };
  }
  const isOver = (rule: RuleObject): boolean => {
    if (rule.word !== 'service_token') return false;
    const token = lookups.serviceToken((rule.value as { readonly token_id: string }).token_id);
    return token?.enabled === false || (token?.expires_at !== undefined && Date.parse(token.expires_at) <= nowMs);
  };
  if (include.every(isOver)) {
    return {
      place: placeOf(first),
      text: 'include has only service tokens that are disabled or have ended, so that the policy never matches',
    };
  }
  return undefined;
}

function warnOfSession(place: Place, { settings, report, missing }: Warning): void {
  const { headers, tokens, envoy_jwt_authn: payloads } = settings.identity;
  if (!headers.enabled || tokens.length > 0 || payloads.enabled || missing.has('session')) return;
  missing.add('session');
  report(
    warning(
      place,
      'source_missing',
      'identities come from headers, which do not say when the login was, so that every session counts as expired',
      'remove session_duration, or accept tokens',
    ),
  );
}

function warnOfApplication(application: ApplicationObject, context: Warning): void {
  const policies = application.policies.flatMap((entry) => {
    const policy = isReference(entry) ? context.lookups.policy(entry.reference) : entry;
    return policy ? [{ policy, place: entry.place, isInline: !isReference(entry) }] : [];
  });
  for (const { policy, isInline } of policies) if (isInline) warnOfPolicy(policy, context);
  if (application.sessionDurationMs !== undefined) warnOfSession(at(application.place, 'session_duration'), context);
  if (application.destinations.length === 0) return;
  if (policies.length === 0) {
    context.report(
      warning(
        application.place,
        'application_closed',
        `application ${quoted(application.name)} has no policy, so that nobody gets in`,
        'add a policy',
      ),
    );
    return;
  }
  if (policies.every(({ policy }) => isOpen(policy))) {
    context.report(
      warning(
        application.place,
        'application_open',
        `every policy of application ${quoted(application.name)} lets everyone pass without a login`,
        'if that is meant, leave it; otherwise write an allow policy',
      ),
    );
  }
  warnOfShadows(policies, context.report);
  warnOfUnreachable(policies, context.report);
}

function isOpen({ decision, include, require, exclude }: PolicyObject): boolean {
  return (
    decision === 'bypass' && include.some(({ word }) => word === 'everyone') && require.length + exclude.length === 0
  );
}

type PolicyUse = { readonly policy: PolicyObject; readonly place: Place; readonly isInline: boolean };

function warnOfShadows(policies: readonly PolicyUse[], report: Report): void {
  if (!policies.some(({ policy }) => policy.decision === 'allow' || policy.decision === 'deny')) return;
  for (const { policy, place, isInline } of policies) {
    if (policy.decision !== 'bypass' || policy.require.length > 0) continue;
    const wide = policy.include.find(isWide);
    if (!wide) continue;
    report(
      warning(
        isInline ? placeOf(wide) : place,
        'bypass_shadows_allow',
        `whoever ${wide.word === 'everyone' ? 'comes' : 'is there'} passes without a login, and the allow and deny policies beside do not protect the application from them`,
        'require the address or country in the allow policy instead',
      ),
    );
  }
}

function isWide(rule: RuleObject): boolean {
  if (rule.word === 'everyone' || rule.word === 'geo') return true;
  const cidr = cidrOf(rule);
  return cidr !== undefined && cidr.prefix < (cidr.family === 4 ? 16 : 32);
}

/** So many policies of an application are compared with each other. */
const POLICIES_MAX = 100;

function warnOfUnreachable(policies: readonly PolicyUse[], report: Report): void {
  const phases = [
    policies.filter(({ policy }) => policy.decision === 'bypass' || policy.decision === 'non_identity'),
    policies.filter(({ policy }) => policy.decision === 'allow' || policy.decision === 'deny'),
  ];
  for (const phase of phases) {
    const keyed = phase.slice(0, POLICIES_MAX).map((use) => ({ ...use, keys: keysOf(use.policy) }));
    for (const [index, later] of keyed.entries()) {
      const earlier = keyed.slice(0, index).find((one) => covers(one.keys, later.keys));
      if (!earlier) continue;
      report(
        warning(
          later.place,
          'policy_unreachable',
          `policy ${quoted(later.policy.name)} never decides: ${quoted(earlier.policy.name)} before it matches whenever it does`,
          'put it first, or remove it',
        ),
      );
    }
  }
}

interface Keys {
  readonly hasEveryone: boolean;
  readonly include: ReadonlySet<string>;
  readonly require: ReadonlySet<string>;
  readonly exclude: ReadonlySet<string>;
}

function keysOf({ include, require, exclude }: PolicyObject): Keys {
  return {
    hasEveryone: include.some(({ word }) => word === 'everyone'),
    include: new Set(include.map(ruleKey)),
    require: new Set(require.filter(({ word }) => word !== 'everyone').map(ruleKey)),
    exclude: new Set(exclude.map(ruleKey)),
  };
}

function covers(earlier: Keys, later: Keys): boolean {
  return (
    (earlier.hasEveryone || isSubset(later.include, earlier.include)) &&
    isSubset(earlier.require, later.require) &&
    isSubset(earlier.exclude, later.exclude)
  );
}

function isSubset(inner: ReadonlySet<string>, outer: ReadonlySet<string>): boolean {
  if (inner.size > outer.size) return false;
  for (const key of inner) if (!outer.has(key)) return false;
  return true;
}

const STALE_MS = 30 * 24 * 3_600_000;

function warnOfTokens({ set, nowMs, report }: Warning): void {
  for (const token of set.serviceTokens) {
    const { place } = token;
    const endMs = token.expires_at === undefined ? undefined : Date.parse(token.expires_at);
    if (endMs !== undefined && endMs <= nowMs + STALE_MS) {
      report(
        warning(
          at(place, 'expires_at'),
          'secret_stale',
          `service token ${quoted(token.name)} ${endMs <= nowMs ? 'has ended' : 'ends within 30 days'}`,
          'rotate it, or move expires_at',
        ),
      );
    }
    if (token.previous_client_secret_sha256 !== undefined && token.previous_client_secret_expires_at === undefined) {
      report(
        warning(
          at(place, 'previous_client_secret_sha256'),
          'secret_stale',
          `the previous secret of service token ${quoted(token.name)} is accepted without end`,
          'set previous_client_secret_expires_at, or remove it',
        ),
      );
    }
  }
}

function warnOfNames({ set, report }: Warning): void {
  const kinds = [
    ['application', set.applications],
    ['list', set.lists],
    ['service token', set.serviceTokens],
  ] as const;
  for (const [noun, objects] of kinds) {
    const seen = new Set<string>();
    for (const { name, place } of objects) {
      if (seen.has(name)) {
        report(
          warning(
            at(place, 'name'),
            'name_shared',
            `another ${noun} is called ${quoted(name)} too, and logs and metrics show names`,
            'rename one of them',
          ),
        );
      }
      seen.add(name);
    }
  }
  const defaults = set.groups.filter(({ isDefault }) => isDefault);
  for (const { place } of defaults.slice(1)) {
    report(
      warning(
        at(place, 'is_default'),
        'default_groups_many',
        `group ${quoted(defaults[0]?.name ?? '')} is the default already`,
        'keep is_default: true in one group',
      ),
    );
  }
}

function warnOfUse(context: Warning): void {
  const { set, lookups, report } = context;
  const used = new Set<object | undefined>();
  let anyToken = false;
  const use = (rules: RuleSetObject): void => {
    for (const rule of rulesOf(rules)) {
      const value = rule.value as Readonly<Record<string, string>>;
      if (rule.word === 'group') used.add(groupOf(rule, lookups));
      else if (rule.word === 'email_list' || rule.word === 'ip_list') used.add(lookups.list(value['id'] ?? ''));
      else if (rule.word === 'service_token') used.add(lookups.serviceToken(value['token_id'] ?? ''));
      else if (rule.word === 'any_valid_service_token') anyToken = true;
    }
  };
  set.groups.forEach(use);
  set.policies.forEach(use);
  for (const { policies } of set.applications) {
    for (const entry of policies) {
      if (isReference(entry)) used.add(lookups.policy(entry.reference));
      else use(entry);
    }
  }
  for (const { groups, factors } of set.resourceRules) {
    for (const mention of groups) used.add(lookups.groupObject(mention.id ?? mention.name ?? ''));
    for (const { context: factor } of factors) {
      const { allowedIpList, deniedIpList } = factor as {
        readonly allowedIpList?: string;
        readonly deniedIpList?: string;
      };
      for (const id of [allowedIpList, deniedIpList]) if (id !== undefined) used.add(lookups.list(id));
    }
  }
  const kinds = [
    ['group', set.groups],
    ['list', set.lists],
    ['reusable policy', set.policies],
    ['service token', anyToken ? [] : set.serviceTokens],
  ] as const;
  for (const [noun, objects] of kinds) {
    for (const object of objects) {
      if (used.has(object)) continue;
      report(
        warning(object.place, 'unused', `nothing names the ${noun} ${quoted(object.name)}`, 'remove it, or use it'),
      );
    }
  }
}

function warnOfAudiences({ set, settings, report }: Warning): void {
  const open = set.applications.find(
    ({ audiences, destinations }) => destinations.length > 0 && audiences.length === 0,
  );
  if (!open) return;
  for (const { issuer, audiences, place } of settings.identity.tokens) {
    if (audiences.length < 2) continue;
    report(
      warning(
        at(place, 'audiences'),
        'audience_shared',
        `a token of ${quoted(issuer)} for any of ${audiences.length} audiences opens every application without aud, such as ${quoted(open.name)}`,
        'set aud on the applications',
      ),
    );
  }
}
