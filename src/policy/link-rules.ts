/** Linking of Entrust's objects: resource rules, flows, acrs, authenticators, transaction rules, risk engines. */
import { at, fault } from '../model/fault.ts';
import type { Place, Report } from '../model/fault.ts';
import { factorTypes } from '../risk/registry.ts';
import { nearest } from '../shared/nearest.ts';
import { quoted } from '../shared/shape.ts';
import { providerUnknown, uniqueId, uniqueName, unknown } from './link-parts.ts';
import type { Lookups } from './lookups.ts';
import { ALL_GROUPS } from './objects.ts';
import type { FlowObject, FlowUse, Mention, PolicySet, ResourceRuleObject, TransactionRuleObject } from './objects.ts';
import { LEVELS } from './shape-rules.ts';
import { SYSTEM_FLOWS, systemFlow } from './system-flows.ts';

/** Links every object of Entrust's. */
export async function linkResourceRules(
  set: PolicySet,
  lookups: Lookups,
  report: Report,
  pause: () => Promise<void>,
): Promise<void> {
  linkFlows(set, lookups, report);
  for (const acr of set.acrs) {
    uniqueId('acr', set.acrs, acr, report);
    uniqueName('acr', set.acrs, acr, report);
  }
  linkAuthenticators(set, report);
  linkTransactionRules(set, report);
  linkEngines(set, report);
  const names = new Map<string, ResourceRuleObject>();
  const inline = new Map<string, FlowObject>();
  for (const rule of set.resourceRules) {
    uniqueId('resource rule', set.resourceRules, rule, report);
    linkName(rule, names, report);
    linkRule(rule, set, lookups, report);
    for (const level of LEVELS) linkFlowUse(rule.flows[level], set, lookups, inline, report);
    await pause();
  }
}

/** Whether a resource rule's mention is of everyone: by the built-in id, or by the name, which no group may take. An
 *  export has the name beside an id of its own; an id that is some group's decides.
 *  @param group The group of an id; undefined: there is none. */
export function isAllGroups(
  { id, name }: Pick<Mention, 'id' | 'name'>,
  group: (id: string) => object | undefined,
): boolean {
  return id === ALL_GROUPS.id || (name === ALL_GROUPS.name && (id === undefined || group(id) === undefined));
}

const FACTORS = new Map(factorTypes.map((type) => [type.name, type]));

function linkName(rule: ResourceRuleObject, names: Map<string, ResourceRuleObject>, report: Report): void {
  if (rule.name === '') return;
  const key = `${rule.resourceId}\n${rule.name}`;
  const first = names.get(key);
  if (!first) {
    names.set(key, rule);
    return;
  }
  report(
    fault(
      at(rule.place, 'name'),
      'rule_name_duplicate',
      `expected a name of its own among the rules of one resource, found that of a rule in ${first.place.file}`,
      'rename one of them',
    ),
  );
}

function linkRule(rule: ResourceRuleObject, set: PolicySet, lookups: Lookups, report: Report): void {
  const application = lookups.applicationObject(rule.resourceId);
  if (rule.resourceId !== '' && !application) {
    report(
      unknown(
        'resource_unknown',
        'application has the id',
        rule.resourceId,
        at(rule.place, 'resourceId'),
        lookups.nearest('application', rule.resourceId),
        "write the application's id",
      ),
    );
  }
  for (const mention of rule.groups) {
    if (isAllGroups(mention, lookups.groupObject) || lookups.groupObject(mention.id ?? mention.name ?? '')) continue;
    report(
      unknown(
        'group_unknown',
        'group has the id or name',
        mention.id ?? mention.name ?? '',
        mentionPlace(mention),
        lookups.nearest('group', mention.id ?? mention.name ?? ''),
        'define it under groups:, or write "All Groups" for everyone',
      ),
    );
  }
  for (const mention of rule.acrs) {
    if (lookups.acr(mention)) continue;
    report(
      unknown(
        'acr_unknown',
        mention.id === undefined ? 'acr has the name' : 'acr has the id',
        mention.id ?? mention.name ?? '',
        mentionPlace(mention),
        nearest(
          mention.id ?? mention.name ?? '',
          set.acrs.map((acr) => (mention.id === undefined ? acr.name : acr.id)),
        ),
        'define it under acrs:',
      ),
    );
  }
  for (const mention of rule.domainIdps) linkProvider(mention, lookups, report);
  if (
    rule.skipSecondFactorIfUserNotExist &&
    !rule.groups.some((mention) => isAllGroups(mention, lookups.groupObject))
  ) {
    report(
      fault(
        at(rule.place, 'skipSecondFactorIfUserNotExist'),
        'skip_needs_all_groups',
        'expected a rule for "All Groups", since a user who does not exist is in no group; found others',
        'write groups: [{ name: All Groups }], or remove skipSecondFactorIfUserNotExist',
      ),
    );
  }
  const scope = lookups.factorScope(application);
  for (const { type, context, place } of rule.factors) FACTORS.get(type)?.link?.(context, place, scope, report);
}

function linkProvider(mention: Mention, lookups: Lookups, report: Report): void {
  if (lookups.mentionedProvider(mention)) return;
  report(providerUnknown(mention.id ?? mention.name ?? '', mentionPlace(mention), lookups));
}

function mentionPlace(mention: Mention): Place {
  return at(mention.place, mention.id === undefined ? 'name' : 'id');
}

function linkFlows(set: PolicySet, lookups: Lookups, report: Report): void {
  for (const flow of set.flows) {
    uniqueId('authentication flow', set.flows, flow, report);
    uniqueName('authentication flow', set.flows, flow, report);
    for (const key of ['id', 'name'] as const) {
      if (!systemFlow(flow[key])) continue;
      report(
        fault(
          at(flow.place, key),
          'name_reserved',
          `expected another ${key}, found that of the system flow ${quoted(systemFlow(flow[key])?.name ?? '')}`,
          'rename the flow, or remove it: the system flow is there already',
        ),
      );
    }
    linkFlowProviders(flow, lookups, report);
  }
}

function linkFlowProviders(flow: FlowObject, lookups: Lookups, report: Report): void {
  const seen = new Set<Mention>();
  for (const { oidcIdentityProviders } of flow.alternatives) {
    for (const mention of oidcIdentityProviders) {
      if (seen.has(mention)) continue;
      seen.add(mention);
      linkProvider(mention, lookups, report);
    }
  }
}

function linkFlowUse(
  use: FlowUse | undefined,
  set: PolicySet,
  lookups: Lookups,
  inline: Map<string, FlowObject>,
  report: Report,
): void {
  if (!use || (use.id === undefined && use.name === undefined && !use.inline)) return;
  const flow = lookups.flow(use);
  if (!flow) {
    const written = use.name ?? use.id ?? '';
    const known = [...set.flows, ...SYSTEM_FLOWS];
    report(
      unknown(
        'flow_unknown',
        use.name === undefined ? 'authentication flow has the id' : 'authentication flow has the name',
        written,
        at(use.place, use.name === undefined ? 'id' : 'name'),
        nearest(written, use.name === undefined ? known.map(({ id }) => id) : known.map(({ name }) => name)),
        'define it under authentication_flows:',
      ),
    );
    return;
  }
  if (flow !== use.inline) return;
  linkFlowProviders(flow, lookups, report);
  if (flow.id === '') return;
  const other = inline.get(flow.id);
  if (!other) inline.set(flow.id, flow);
  else if (JSON.stringify(sorted(other.written)) !== JSON.stringify(sorted(flow.written))) {
    report(
      fault(
        use.place,
        'flow_conflict',
        `expected one flow of the id ${flow.id}, found another in ${other.place.file} that differs`,
        'define the flow once under authentication_flows: and name it here',
      ),
    );
  }
}

/** The same data with its keys in order. */
function sorted(data: unknown): unknown {
  if (Array.isArray(data)) return data.map(sorted);
  if (data === null || typeof data !== 'object') return data;
  return Object.entries(data)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => [key, sorted(value)]);
}

function linkAuthenticators(set: PolicySet, report: Report): void {
  const seen = new Set<string>();
  for (const { issuer, place } of set.authenticators) {
    if (issuer !== '' && seen.has(issuer)) {
      report(
        fault(
          at(place, 'issuer'),
          'issuer_duplicate',
          `expected one entry per issuer, found another of ${quoted(issuer)}`,
          'put what the two say into one entry',
        ),
      );
    }
    seen.add(issuer);
  }
}

function linkTransactionRules(set: PolicySet, report: Report): void {
  const items = new Map<string, TransactionRuleObject>();
  for (const rule of set.transactionRules) {
    uniqueId('transaction rule', set.transactionRules, rule, report);
    uniqueName('transaction rule', set.transactionRules, rule, report);
    if (rule.item === '') continue;
    const first = items.get(rule.item);
    if (!first) {
      items.set(rule.item, rule);
      continue;
    }
    const key = (['type', 'required', 'default'] as const).find((one) => first[one] !== rule[one]);
    if (key === undefined) continue;
    report(
      fault(
        at(rule.place, key),
        'transaction_item_conflict',
        `expected ${key} as in the other rules on ${quoted(rule.item)}, ${String(first[key] ?? 'none')}; found ${String(rule[key] ?? 'none')}`,
        `write the same ${key} in every rule on ${quoted(rule.item)}`,
      ),
    );
  }
}

function linkEngines(set: PolicySet, report: Report): void {
  const rules = set.riskEngines.flatMap((engine) => engine.rules);
  for (const engine of set.riskEngines) {
    uniqueId('risk engine', set.riskEngines, engine, report);
    uniqueName('risk engine', set.riskEngines, engine, report);
  }
  for (const rule of rules) {
    uniqueId('engine rule', rules, rule, report);
    uniqueName('engine rule', rules, rule, report);
  }
}
