/** The objects of a set seen together: references, duplicates, circles. Every fault of the whole set is reported at
 *  once. */
import { at, fault } from '../model/fault.ts';
import type { Fault, Place, Report } from '../model/fault.ts';
import type { RuleObject } from '../model/objects.ts';
import { linkRule, typeOf } from '../rules/registry.ts';
import type { RuleScope } from '../rules/rule.ts';
import { quoted } from '../shared/shape.ts';
import { destinationOf } from './destinations.ts';
import { providerUnknown, uniqueId, uniqueName, unknown } from './link-parts.ts';
import { linkResourceRules } from './link-rules.ts';
import { groupOf, ruleScope, rulesOf } from './lookups.ts';
import type { Lookups } from './lookups.ts';
import { ALL_GROUPS, isReference } from './objects.ts';
import type { ApplicationObject, GroupObject, PolicyObject, PolicySet, RuleSetObject } from './objects.ts';
import type { ShapedSet } from './read.ts';

/** A file that a policy set names, relative to the config folder or absolute. */
export interface NamedFile {
  readonly name: string;
  readonly place: Place;
  readonly use: 'public' | 'secret';
}

/** Links a shaped set and reports every fault that only the whole set shows. `pause` is awaited between objects, so
 *  that the event loop keeps its turn. References to nothing are held back while a file cannot be read, since it may
 *  define what they mean. */
export async function link(
  shaped: ShapedSet,
  lookups: Lookups,
  report: Report,
  pause: () => Promise<void>,
): Promise<void> {
  const held: Report = shaped.isIncomplete
    ? (found) => {
        if (!REFERENCE_CODES.has(found.code)) report(found);
      }
    : report;
  const { set } = shaped;
  const linking: Linking = { set, lookups, scope: ruleScope(lookups), report: held, pause };
  await linkGroups(linking);
  for (const list of set.lists) uniqueId('list', set.lists, list, held);
  linkServiceTokens(linking);
  linkScimGroups(linking);
  await linkPolicies(linking);
  await linkApplications(linking);
  await linkResourceRules(set, lookups, held, pause);
}

/** The files that a set names, which belong to its revision. */
export function namedFiles(set: PolicySet): readonly NamedFile[] {
  const keys = set.applications.flatMap(({ issuedTokens }) =>
    issuedTokens && 'file' in issuedTokens.keys
      ? [{ name: issuedTokens.keys.file, place: at(issuedTokens.place, 'keys', 'file'), use: 'public' as const }]
      : [],
  );
  const passwords = set.riskEngines.flatMap(({ passwordFile, place }) =>
    passwordFile === undefined
      ? []
      : [{ name: passwordFile, place: at(place, 'password_file'), use: 'secret' as const }],
  );
  return [...keys, ...passwords];
}

/** References that a file which cannot be read may make good. */
const REFERENCE_CODES: ReadonlySet<string> = new Set([
  'group_unknown',
  'list_unknown',
  'service_token_unknown',
  'application_unknown',
  'policy_unknown',
  'resource_unknown',
  'acr_unknown',
  'flow_unknown',
  'transaction_rule_unknown',
  'engine_rule_unknown',
]);

interface Linking {
  readonly set: PolicySet;
  readonly lookups: Lookups;
  readonly scope: RuleScope;
  readonly report: Report;
  readonly pause: () => Promise<void>;
}

async function linkRuleSet(rules: RuleSetObject, { scope, report, pause }: Linking): Promise<void> {
  let count = 0;
  for (const list of [rules.include, rules.require, rules.exclude]) {
    for (const rule of list) {
      linkRule(rule, scope, report);
      count += 1;
      if (count % RULES_PER_PAUSE === 0) await pause();
    }
  }
}

const RULES_PER_PAUSE = 100;

async function linkGroups(linking: Linking): Promise<void> {
  const { set, report, pause } = linking;
  for (const group of set.groups) {
    uniqueId('group', set.groups, group, report);
    uniqueName('group', set.groups, group, report);
    if (group.name === ALL_GROUPS.name || group.id === ALL_GROUPS.id) {
      const key = group.name === ALL_GROUPS.name ? 'name' : 'id';
      report(
        fault(
          at(group.place, key),
          'name_reserved',
          `expected another ${key}, found that of the built-in group "All Groups"`,
          'rename the group; "All Groups" is everyone and need not be defined',
        ),
      );
    }
    await linkRuleSet(group, linking);
    await pause();
  }
  await followGroups(linking);
}

/** Looks for circles depth first, without recursion: groups may nest as deeply as anybody likes. */
async function followGroups({ set, lookups, report, pause }: Linking): Promise<void> {
  /** Of groups that are followed to their ends: how many levels they have, their own included. */
  const done = new Map<GroupObject, number>();
  for (const start of set.groups) {
    if (done.has(start)) continue;
    const open = new Set<GroupObject>([start]);
    const stack: Followed[] = [followed(start)];
    for (let top = stack.at(-1); top; top = stack.at(-1)) {
      const reference = top.references.pop();
      if (!reference) {
        stack.pop();
        open.delete(top.group);
        done.set(top.group, top.levels);
        const above = stack.at(-1);
        if (above?.followed) deepen(above, top.levels, above.followed, report);
        continue;
      }
      const target = groupOf(reference, lookups);
      if (!target) continue;
      const levels = done.get(target);
      if (levels !== undefined) {
        deepen(top, levels, reference, report);
        continue;
      }
      if (open.has(target)) {
        report(cycle(top.group, target, reference));
        continue;
      }
      open.add(target);
      top.followed = reference;
      stack.push(followed(target));
    }
    await pause();
  }
}

/** The group rules of a group, the first one last. */
function groupReferences(group: GroupObject): RuleObject[] {
  return rulesOf(group)
    .filter(({ word }) => word === 'group')
    .toReversed();
}

/** Judging recurses for each level. */
const GROUP_LEVELS_MAX = 250;

interface Followed {
  readonly group: GroupObject;
  /** Those that are not followed yet. */
  readonly references: RuleObject[];
  /** The one that is being followed. */
  followed: RuleObject | undefined;
  /** Of what is followed already, with its own. */
  levels: number;
}

function followed(group: GroupObject): Followed {
  return { group, references: groupReferences(group), followed: undefined, levels: 1 };
}

/** Reported where the level is that is one too many, and not for all that lies above it. */
function deepen(above: Followed, levels: number, reference: RuleObject, report: Report): void {
  const wasFine = above.levels <= GROUP_LEVELS_MAX;
  above.levels = Math.max(above.levels, levels + 1);
  if (!wasFine || above.levels !== GROUP_LEVELS_MAX + 1) return;
  report(
    fault(
      at(reference.place, 'group'),
      'group_too_deep',
      `expected groups in groups at most ${GROUP_LEVELS_MAX} levels deep, found ${quoted(above.group.name)} on top of as many`,
      'name the inner groups directly',
    ),
  );
}

function cycle(from: GroupObject, to: GroupObject, reference: RuleObject): Fault {
  return fault(
    at(reference.place, 'group'),
    'group_cycle',
    from === to
      ? `expected groups that do not contain themselves, found ${quoted(to.name)} in itself`
      : `expected groups that do not contain themselves, found ${quoted(to.name)} in ${quoted(from.name)}, which is in ${quoted(to.name)}`,
    from === to ? 'remove this rule' : 'remove this rule, or the one that leads here',
  );
}

function linkServiceTokens({ set, report }: Linking): void {
  const byClientId = new Map<string, string>();
  for (const token of set.serviceTokens) {
    uniqueId('service token', set.serviceTokens, token, report);
    const first = byClientId.get(token.client_id);
    if (token.client_id !== '' && first !== undefined) {
      report(
        fault(
          at(token.place, 'client_id'),
          'client_id_duplicate',
          `expected a client id of its own, found that of service token ${quoted(first)}`,
          'remove one of the two; one token may have a current and a previous secret',
        ),
      );
    } else byClientId.set(token.client_id, token.name);
  }
}

function linkScimGroups({ set, lookups, report }: Linking): void {
  const seen = new Set<string>();
  for (const group of set.scimGroups) {
    const { identityProviderId, id, place } = group;
    if (identityProviderId !== '' && !lookups.provider(identityProviderId)) {
      report(providerUnknown(identityProviderId, at(place, 'identity_provider_id'), lookups));
    }
    const key = `${identityProviderId}\n${id}`;
    if (id !== '' && seen.has(key)) {
      report(
        fault(
          at(place, 'id'),
          'id_duplicate',
          `expected an id of its own, found that of another group of the provider, ${quoted(id)}`,
          'remove one of them',
        ),
      );
    }
    seen.add(key);
  }
}

async function linkPolicies(linking: Linking): Promise<void> {
  const { set, report, pause } = linking;
  for (const policy of set.policies) {
    uniqueId('policy', set.policies, policy, report);
    uniqueName('policy', set.policies, policy, report);
    await linkPolicy(policy, linking);
    await pause();
  }
}

async function linkPolicy(policy: PolicyObject, linking: Linking): Promise<void> {
  await linkRuleSet(policy, linking);
  if (policy.decision !== 'bypass') return;
  for (const rule of rulesOf(policy)) {
    const path = identityPath(rule, linking);
    if (!path) continue;
    const groups = path.groups.map((name) => quoted(name)).join(' > ');
    linking.report(
      fault(
        at(rule.place, rule.word),
        'bypass_reads_identity',
        `expected rules that need no login in a bypass policy, found ${path.word}${groups === '' ? '' : ` through group ${groups}`}`,
        'a bypass policy can use addresses, countries, certificates and service tokens; for users write an allow policy',
      ),
    );
  }
}

interface IdentityPath {
  /** The rule that reads the identity. */
  readonly word: string;
  /** The groups that lead to it. */
  readonly groups: readonly string[];
}

const PATHS = new WeakMap<Lookups, Map<GroupObject, IdentityPath | undefined>>();

/** How a rule comes to read the logged-in user; undefined: it does not. Without recursion, since groups nest. */
function identityPath(rule: RuleObject, linking: Linking): IdentityPath | undefined {
  const direct = directly(rule, linking);
  if (direct) return direct;
  const first = groupOf(rule, linking.lookups);
  if (!first) return undefined;
  let known = PATHS.get(linking.lookups);
  if (!known) {
    known = new Map();
    PATHS.set(linking.lookups, known);
  }
  if (known.has(first)) return known.get(first);
  const seen = new Set<GroupObject>([first]);
  const queue: { readonly group: GroupObject; readonly names: readonly string[] }[] = [
    { group: first, names: [first.name] },
  ];
  let found: IdentityPath | undefined;
  for (let i = 0; i < queue.length && !found; i += 1) {
    const { group, names } = queue[i] ?? { group: first, names: [] };
    for (const inner of rulesOf(group)) {
      const word = directly(inner, linking)?.word;
      if (word !== undefined) {
        found = { word, groups: names };
        break;
      }
      const next = groupOf(inner, linking.lookups);
      if (next && !seen.has(next)) {
        seen.add(next);
        queue.push({ group: next, names: [...names, next.name] });
      }
    }
  }
  known.set(first, found);
  return found;
}

function directly(rule: RuleObject, { scope }: Linking): IdentityPath | undefined {
  if (rule.word === 'group') return undefined;
  const type = typeOf(rule);
  return type.needs(rule.value, scope).some(({ fact }) => fact === 'identity')
    ? { word: rule.word, groups: [] }
    : undefined;
}

async function linkApplications(linking: Linking): Promise<void> {
  const { set, lookups, report, pause } = linking;
  const owners = new Map<string, ApplicationObject>();
  for (const application of set.applications) {
    uniqueId('application', set.applications, application, report);
    for (const [number, id] of application.allowedProviders.entries()) {
      if (!lookups.provider(id)) report(providerUnknown(id, at(application.place, 'allowed_idps', number), lookups));
    }
    linkDestinations(application, owners, report);
    linkDetails(application, linking);
    await linkPolicyList(application, linking);
    await pause();
  }
}

function linkDestinations(
  application: ApplicationObject,
  owners: Map<string, ApplicationObject>,
  report: Report,
): void {
  for (const written of application.destinations) {
    const { text, place } = written;
    const parsed = destinationOf(written);
    if ('code' in parsed) {
      report(fault(place, parsed.code, parsed.text, parsed.mend));
      continue;
    }
    const owner = owners.get(parsed.value.key);
    if (owner && owner !== application) {
      report(
        fault(
          place,
          'destination_duplicate',
          `expected a pattern of its own, found ${quoted(text)}, which application ${quoted(owner.name)} in ${owner.place.file} covers already`,
          'leave it to one of the two',
        ),
      );
    } else owners.set(parsed.value.key, application);
  }
}

/** Members of a question to a risk engine that a transaction detail would overwrite. Source: Entrust's Generic API. */
const ENGINE_MEMBERS: ReadonlySet<string> = new Set([
  'companyId',
  'riskProvider',
  'IDaaS_AccountId',
  'IDaaS_UserId',
  'IDaaS_UserUuid',
  'IDaaS_ClientIpAddress',
  'IDaaS_UserAliases',
]);

function linkDetails(application: ApplicationObject, { set, report }: Linking): void {
  if (set.riskEngines.length === 0) return;
  for (const { name, usage, place } of application.transaction) {
    if (!usage.includes('RBA') || !ENGINE_MEMBERS.has(name)) continue;
    report(
      fault(
        { ...place, atKey: true },
        'name_reserved',
        `expected another name, found ${quoted(name)}, which risk engines are told otherwise`,
        'rename the detail, or give it usage: [TVS]',
      ),
    );
  }
}

async function linkPolicyList(application: ApplicationObject, linking: Linking): Promise<void> {
  const { lookups, report } = linking;
  const names = new Set<string>();
  let last = -1;
  for (const entry of application.policies) {
    const policy = isReference(entry) ? lookups.policy(entry.reference) : entry;
    if (!isReference(entry)) await linkPolicy(entry, linking);
    else if (!policy) {
      report(
        unknown(
          'policy_unknown',
          'reusable policy has the id',
          entry.reference,
          entry.place,
          undefined,
          'define it under policies:, or write the policy here',
        ),
      );
    }
    if (policy && policy.name !== '' && names.has(policy.name)) {
      report(
        fault(
          isReference(entry) ? entry.place : at(entry.place, 'name'),
          'name_duplicate',
          `expected a name of its own, found ${quoted(policy.name)} twice in application ${quoted(application.name)}`,
          'rename one of the policies',
        ),
      );
    }
    if (policy) names.add(policy.name);
    const { precedence } = entry;
    if (precedence === undefined) continue;
    if (precedence <= last) {
      report(
        fault(
          precedencePlace(entry.place, isReference(entry)),
          'precedence_conflict',
          `expected precedence to rise from policy to policy, found ${precedence} after ${last}`,
          'put the policies in order, or remove precedence: the order of the list rules',
        ),
      );
    }
    last = Math.max(last, precedence);
  }
}

/** A reference's place is its id. */
function precedencePlace(place: Place, isReferenced: boolean): Place {
  return isReferenced
    ? { file: place.file, path: [...place.path.slice(0, -1), 'precedence'] }
    : at(place, 'precedence');
}
