/** What two policy sets say differently, in plain words. How a set is written plays no part: comments, order of rules,
 *  files, spellings of one address. Pure. */
import type { Place } from '../model/fault.ts';
import type { RuleObject } from '../model/objects.ts';
import { ruleKey } from '../rules/registry.ts';
import { parseDestination } from './destinations.ts';
import { ruleText } from './explain.ts';
import { isReference } from './objects.ts';
import type {
  ApplicationObject,
  FlowUse,
  GroupObject,
  Mention,
  ObjectKind,
  PolicyObject,
  PolicyReference,
  PolicySet,
  ResourceRuleObject,
  RuleSetObject,
} from './objects.ts';

/** One object that differs. */
export interface ObjectChange {
  readonly kind: ObjectKind;
  readonly change: 'added' | 'removed' | 'changed';
  readonly name: string;
  /** Where it is written: in the new set, or where it is removed in the old one. */
  readonly place: Place;
  /** What differs, one thing each; of an added or removed object what it is. */
  readonly words: readonly string[];
}

/** Everything that differs, by kind and then by name. Digests are compared and never told. */
export function compareSets(before: PolicySet, after: PolicySet): readonly ObjectChange[] {
  const names = { before: namesOf(before), after: namesOf(after) };
  return [
    ...compareKind('applications', before.applications, after.applications, (one, of) =>
      applicationTold(one, names[of]),
    ),
    ...compareKind('policies', before.policies, after.policies, (one, of) => policyTold(one, names[of])),
    ...compareKind('groups', before.groups, after.groups, (one, of) => groupTold(one, names[of])),
    ...compareKind('lists', before.lists, after.lists, ({ name, type, items }) => ({
      name,
      type,
      items: setOf(items.map(({ value }) => value)),
    })),
    ...compareKind('serviceTokens', before.serviceTokens, after.serviceTokens, (token) => ({
      name: token.name,
      client_id: token.client_id,
      client_secret: { digest: token.client_secret_sha256 },
      previous_client_secret: { digest: token.previous_client_secret_sha256 },
      previous_client_secret_expires_at: token.previous_client_secret_expires_at,
      enabled: String(token.enabled ?? true),
      expires_at: token.expires_at,
    })),
    ...compareKind('resourceRules', before.resourceRules, after.resourceRules, (rule, of) =>
      resourceRuleTold(rule, names[of]),
    ),
    ...compareKind('flows', before.flows, after.flows, (flow) => flowTold(flow)),
    ...compareKind('acrs', before.acrs, after.acrs, ({ name }) => ({ name })),
    ...compareKind(
      'authenticators',
      before.authenticators.map((one) => ({ ...one, id: one.issuer, name: one.issuer })),
      after.authenticators.map((one) => ({ ...one, id: one.issuer, name: one.issuer })),
      ({ acr, amr, trustBareMfa }) => ({
        trust_bare_mfa: String(trustBareMfa),
        acr: setOf(acr.map(({ value, steps }) => `${value} proves ${steps.join(', ') || 'nothing'}`)),
        amr: setOf(amr.map(({ value, steps }) => `${value} proves ${steps.join(', ') || 'nothing'}`)),
      }),
    ),
    ...compareKind('transactionRules', before.transactionRules, after.transactionRules, (rule) => ({
      name: rule.name,
      item: rule.item,
      type: rule.type,
      operator: rule.operator,
      value: [rule.value].flat().join(', '),
      required: String(rule.required),
      default: rule.default,
    })),
    ...compareKind(
      'riskEngines',
      before.riskEngines,
      after.riskEngines,
      ({ place: _place, rules, id: _id, ...rest }) => ({
        ...Object.fromEntries(
          Object.entries(rest).map(([key, value]) => [key, value === undefined ? undefined : String(value)]),
        ),
        rules: setOf(
          rules.map(({ name, item, operator, value }) => `${name}: ${item} ${operator} ${[value].flat().join(', ')}`),
        ),
      }),
    ),
    ...compareKind(
      'scimGroups',
      before.scimGroups.map((one) => ({ ...one, name: one.displayName })),
      after.scimGroups.map((one) => ({ ...one, name: one.displayName })),
      ({ displayName, externalId }) => ({ name: displayName, externalId }),
    ),
  ];
}

/** What is compared of an object: one text, many of which the order means nothing, or a list of others. Undefined: it
 *  has none. */
type Told = string | undefined | ReadonlyMap<string, string> | Nested | Digest;

/** Compared, and never told. */
interface Digest {
  readonly digest: string | undefined;
}

/** Objects within an object, in order. */
interface Nested {
  readonly noun: string;
  readonly objects: readonly Inner[];
}

interface Inner {
  /** What it is known by. */
  readonly key: string;
  readonly title: string;
  readonly told: Record<string, Told>;
  /** Order means something among those of one phase; undefined: none. */
  readonly phase: string | undefined;
}

type Side = 'before' | 'after';

interface Identified {
  readonly id: string;
  readonly name: string;
  readonly place: Place;
}

function compareKind<T extends Identified>(
  kind: ObjectKind,
  before: readonly T[],
  after: readonly T[],
  tell: (object: T, of: Side) => Record<string, Told>,
): readonly ObjectChange[] {
  const old = new Map(before.map((one) => [one.id, one]));
  const now = new Map(after.map((one) => [one.id, one]));
  const changes: ObjectChange[] = [];
  for (const [id, object] of old) {
    const next = now.get(id);
    if (!next) {
      changes.push({ kind, change: 'removed', name: object.name, place: object.place, words: [] });
      continue;
    }
    // A file that did not change has the same objects; references may still mean another.
    const words = wordsOf(tell(object, 'before'), tell(next, 'after'));
    if (words.length > 0) changes.push({ kind, change: 'changed', name: next.name, place: next.place, words });
  }
  for (const [id, object] of now)
    if (!old.has(id))
      changes.push({
        kind,
        change: 'added',
        name: object.name,
        place: object.place,
        words: summaryOf(tell(object, 'after')),
      });
  return changes.toSorted((a, b) => compareText(a.name, b.name));
}

function wordsOf(before: Record<string, Told>, after: Record<string, Told>): readonly string[] {
  return [...new Set([...Object.keys(before), ...Object.keys(after)])].flatMap((key) => {
    const [old, now] = [before[key], after[key]];
    if (isNested(old) && isNested(now)) return nestedWords(old, now);
    if (isDigest(old) && isDigest(now)) return digestWords(key, old.digest, now.digest);
    if (old instanceof Map || now instanceof Map) return setWords(key, asMap(old), asMap(now));
    if (old === now) return [];
    return [`${key}: ${asText(old)} → ${asText(now)}`];
  });
}

function setWords(
  key: string,
  before: ReadonlyMap<string, string>,
  after: ReadonlyMap<string, string>,
): readonly string[] {
  return [
    ...[...after].filter(([one]) => !before.has(one)).map(([, text]) => `${key}: + ${text}`),
    ...[...before].filter(([one]) => !after.has(one)).map(([, text]) => `${key}: − ${text}`),
  ];
}

function nestedWords(before: Nested, after: Nested): readonly string[] {
  const words: string[] = [];
  const old = new Map(before.objects.map((one) => [one.key, one]));
  const now = new Map(after.objects.map((one) => [one.key, one]));
  for (const [key, one] of now) {
    const was = old.get(key);
    const told = (word: string): string => `${after.noun} ${one.title}: ${word}`;
    if (was) words.push(...wordsOf(was.told, one.told).map(told));
    else words.push(`+ ${after.noun} ${one.title}${positionOf(one, after)}`, ...summaryOf(one.told).map(told));
  }
  for (const [key, one] of old) if (!now.has(key)) words.push(`− ${before.noun} ${one.title}`);
  for (const phase of new Set(after.objects.map((one) => one.phase))) {
    if (phase === undefined) continue;
    // Of those that stay in it: what comes and goes is told already.
    const stays = ({ key }: Inner): boolean => old.get(key)?.phase === phase && now.get(key)?.phase === phase;
    const [was, is] = [before.objects.filter(stays), after.objects.filter(stays)];
    if (was.some((one, index) => one.key !== is[index]?.key))
      words.push(`order of ${phase}: now ${is.map(({ title }) => title).join(', ')}`);
  }
  return words;
}

/** Where something stands among those that it is weighed against. */
function positionOf({ key, phase }: Inner, { objects }: Nested): string {
  if (phase === undefined) return '';
  const rivals = objects.filter((one) => one.phase === phase);
  const next = rivals[rivals.findIndex((one) => one.key === key) + 1];
  if (rivals.length === 1) return '';
  return next ? `, before ${next.title}` : ', last';
}

/** What an object is that was not there before. */
function summaryOf(told: Record<string, Told>): readonly string[] {
  return Object.entries(told).flatMap(([key, value]) => {
    if (value === undefined || key === 'name' || isDigest(value)) return [];
    if (typeof value === 'string') return [`${key}: ${value}`];
    if (isNested(value))
      return value.objects.flatMap(({ title, told: inner }) => [
        `${value.noun} ${title}`,
        ...summaryOf(inner).map((word) => `${value.noun} ${title}: ${word}`),
      ]);
    return value.size === 0 ? [] : [`${key}: ${[...value.values()].join('; ')}`];
  });
}

function isNested(told: Told): told is Nested {
  return typeof told === 'object' && 'noun' in told;
}

function asMap(told: Told): ReadonlyMap<string, string> {
  return told instanceof Map ? told : new Map();
}

function asText(told: Told): string {
  return typeof told === 'string' ? told : 'none';
}

function setOf(texts: readonly string[]): ReadonlyMap<string, string> {
  return new Map(texts.map((text) => [text, text]));
}

function isDigest(told: Told): told is Digest {
  return typeof told === 'object' && 'digest' in told;
}

function digestWords(key: string, before: string | undefined, after: string | undefined): readonly string[] {
  if (before === after) return [];
  if (before === undefined) return [`${key}: set`];
  return [`${key}: ${after === undefined ? 'removed' : 'changed'}`];
}

interface Names {
  readonly application: (id: string) => string;
  readonly group: (idOrName: string) => { readonly id: string; readonly name: string };
  readonly list: (id: string) => string;
  readonly policy: (id: string) => PolicyObject | undefined;
}

function namesOf(set: PolicySet): Names {
  const index = (objects: readonly { readonly id: string; readonly name: string }[]) => {
    const names = new Map(objects.map(({ id, name }) => [id, name]));
    return (idOrName: string): string => names.get(idOrName.toLowerCase()) ?? idOrName;
  };
  const policies = new Map(set.policies.map((policy) => [policy.id, policy]));
  const groups = new Map(set.groups.map((group) => [group.name, group]));
  for (const group of set.groups) groups.set(group.id, group);
  return {
    application: index(set.applications),
    group: (idOrName) => groups.get(idOrName.toLowerCase()) ?? groups.get(idOrName) ?? { id: idOrName, name: idOrName },
    list: index(set.lists),
    policy: (id) => policies.get(id),
  };
}

/** Rules by what they say, with the names of what they name. */
function rulesTold(rules: readonly RuleObject[], written: unknown, names: Names): ReadonlyMap<string, string> {
  return new Map(
    rules.map((rule) => {
      const value = rule.value as Readonly<Record<string, unknown>>;
      if (rule.word === 'group') {
        const { id, name } = names.group(String(value['id']));
        return [`group ${id}`, `group ${name}`];
      }
      if (rule.word === 'ip_list' || rule.word === 'email_list')
        return [ruleKey(rule), `${rule.word} ${names.list(String(value['id']))}`];
      const index = rule.place.path.at(-1);
      const item: unknown =
        Array.isArray(written) && typeof index === 'number' ? (written as readonly unknown[])[index] : undefined;
      const text = typeof item === 'object' && item !== null ? (item as Record<string, unknown>)[rule.word] : undefined;
      return [ruleKey(rule), ruleText({ type: rule.word, value: text, group: undefined })];
    }),
  );
}

function ruleSetTold(
  set: RuleSetObject & { readonly written: Readonly<Record<string, unknown>> },
  names: Names,
): Record<string, Told> {
  return {
    include: rulesTold(set.include, set.written['include'], names),
    require: rulesTold(set.require, set.written['require'], names),
    exclude: rulesTold(set.exclude, set.written['exclude'], names),
  };
}

function groupTold(group: GroupObject, names: Names): Record<string, Told> {
  return { name: group.name, is_default: String(group.isDefault), ...ruleSetTold(group, names) };
}

function policyTold(policy: PolicyObject, names: Names): Record<string, Told> {
  return {
    name: policy.name,
    decision: policy.decision,
    session_duration: durationText(policy.sessionDurationMs),
    ...ruleSetTold(policy, names),
  };
}

function applicationTold(application: ApplicationObject, names: Names): Record<string, Told> {
  const { issuedTokens } = application;
  return {
    name: application.name,
    type: application.type,
    destinations: new Map(
      application.destinations.map(({ text }) => {
        const parsed = parseDestination(text);
        return ['value' in parsed ? parsed.value.key : text, text];
      }),
    ),
    session_duration: durationText(application.sessionDurationMs),
    aud: setOf(application.audiences),
    issued_tokens:
      issuedTokens &&
      `${issuedTokens.issuer} for ${issuedTokens.audiences.join(', ')}, ${issuedTokens.algorithms.join(', ')}, keys ${'url' in issuedTokens.keys ? issuedTokens.keys.url : issuedTokens.keys.file}`,
    allowed_idps: setOf(application.allowedProviders),
    options_preflight_bypass: String(application.optionsPreflightBypass),
    read_service_tokens_from_header: application.readServiceTokensFromHeader,
    requested_acrs: setOf(application.requestedAcrs),
    acr_hint_header: application.acrHintHeader,
    transaction: setOf(
      application.transaction.map(
        ({ name, source, usage }) =>
          `${name} from ${Object.entries(source)
            .map(([key, value]) => `${key} ${String(value)}`)
            .join(' ')}, for ${usage.join(' and ')}`,
      ),
    ),
    policies: policiesTold(application.policies, names),
  };
}

/** Inline policies are known by their name, which is unique in an application; a reusable one is told where it is
 *  declared. */
function policiesTold(policies: readonly (PolicyObject | PolicyReference)[], names: Names): Nested {
  return {
    noun: 'policy',
    objects: policies.map((entry) => {
      if (!isReference(entry)) {
        const { name: _name, ...told } = policyTold(entry, names);
        return { key: `inline ${entry.name}`, title: entry.name, told, phase: phaseOf(entry.decision) };
      }
      const policy = names.policy(entry.reference);
      return {
        key: `reusable ${entry.reference}`,
        title: `${policy?.name ?? entry.reference} (reusable)`,
        told: {},
        phase: policy && phaseOf(policy.decision),
      };
    }),
  };
}

function phaseOf(decision: PolicyObject['decision']): string {
  return decision === 'allow' || decision === 'deny' ? 'allow and deny policies' : 'bypass and service policies';
}

function resourceRuleTold(rule: ResourceRuleObject, names: Names): Record<string, Told> {
  const named = (mentions: readonly Mention[]): ReadonlyMap<string, string> =>
    setOf(mentions.map(({ id, name }) => name ?? id ?? ''));
  return {
    name: rule.name,
    description: rule.description === '' ? undefined : rule.description,
    application: new Map([[rule.resourceId, names.application(rule.resourceId)]]),
    enabled: String(rule.enabled),
    groups: new Map(
      rule.groups.map((mention) => {
        const { id, name } = names.group(mention.id ?? mention.name ?? '');
        return [id, name];
      }),
    ),
    acrFilter: rule.acrFilter,
    acrs: named(rule.acrs),
    domainIdpFilter: rule.domainIdpFilter,
    domainIdps: named(rule.domainIdps),
    lowRiskThreshold: String(rule.lowRiskThreshold),
    mediumRiskThreshold: String(rule.mediumRiskThreshold),
    lowRiskAuthenticationFlow: flowUseText(rule.flows.low),
    mediumRiskAuthenticationFlow: flowUseText(rule.flows.medium),
    highRiskAuthenticationFlow: flowUseText(rule.flows.high),
    disableSSO: String(rule.disableSSO),
    skipSecondFactorIfUserNotExist: String(rule.skipSecondFactorIfUserNotExist),
    strictAccess: String(rule.strictAccess),
    systemResourceContext: String(rule.systemResourceContext),
    factors: {
      noun: 'factor',
      objects: rule.factors.map(({ name, context }) => ({
        key: name,
        title: name,
        told: factorTold(context, names),
        phase: undefined,
      })),
    },
  };
}

/** Members of a risk context; lists in any order. */
function factorTold(context: object, names: Names): Record<string, Told> {
  return Object.fromEntries(
    Object.entries(context).map(([key, value]: [string, unknown]): [string, Told] => {
      if (value === undefined) return [key, undefined];
      if (Array.isArray(value)) return [key, setOf(value.map(memberText))];
      if (key === 'allowedIpList' || key === 'deniedIpList') return [key, names.list(String(value))];
      return [key, memberText(value)];
    }),
  );
}

function memberText(value: unknown): string {
  if (typeof value !== 'object' || value === null) return String(value);
  // A block of addresses has its text; what else is an object is short.
  if ('text' in value && typeof value.text === 'string') return value.text;
  return Object.entries(value)
    .map(([key, inner]) => `${key} ${String(inner)}`)
    .join(', ');
}

function flowUseText(use: FlowUse | undefined): string | undefined {
  if (!use) return undefined;
  if (!use.inline || (use.name !== undefined && use.inline.alternatives.length === 0)) return use.name ?? use.id;
  const { name: _name, ...rest } = flowTold(use.inline);
  const words = summaryOf(rest).join('; ');
  return [use.name ?? use.id ?? 'its own', words].filter((part) => part !== '').join(': ');
}

function flowTold(
  flow: Parameters<typeof alternativesText>[0] & {
    readonly name: string;
    readonly maxAge: number | undefined;
    readonly acrValues: readonly string[];
  },
): Record<string, Told> {
  return {
    name: flow.name,
    alternatives: setOf(alternativesText(flow)),
    maxAge: flow.maxAge === undefined ? undefined : `${flow.maxAge} s`,
    acrValues: flow.acrValues.length > 0 ? flow.acrValues.join(' ') : undefined,
  };
}

function alternativesText({
  alternatives,
}: {
  readonly alternatives: readonly {
    readonly first: string;
    readonly second: readonly string[];
    readonly idpDomainBased: boolean;
    readonly oidcIdentityProviders: readonly { readonly id: string | undefined; readonly name: string | undefined }[];
  }[];
}): readonly string[] {
  return alternatives.map(({ first, second, idpDomainBased, oidcIdentityProviders }) => {
    const later = second.filter((step) => step !== 'NONE').join(' or ');
    const providers = oidcIdentityProviders.map(({ id, name }) => name ?? id ?? '').join(' or ');
    return [
      first,
      ...(idpDomainBased ? ['domain-based'] : []),
      ...(providers === '' ? [] : [`through ${providers}`]),
      ...(later === '' ? [] : [`then ${later}`]),
    ].join(', ');
  });
}

function durationText(ms: number | undefined): string | undefined {
  if (ms === undefined) return undefined;
  if (ms % 3_600_000 === 0) return `${ms / 3_600_000} h`;
  return ms % 60_000 === 0 ? `${ms / 60_000} min` : `${ms / 1000} s`;
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
