import type { Need } from '../model/context.ts';
import { at, fault, warning } from '../model/fault.ts';
import type { Fault, Place, Report } from '../model/fault.ts';
import type { RuleObject } from '../model/objects.ts';
import { nearest } from '../shared/nearest.ts';
import { exactObject, listed, quoted, shaped, withoutNulls, z } from '../shared/shape.ts';
import type { Shape } from '../shared/shape.ts';
import { anyValidServiceToken } from './any_valid_service_token.ts';
import { authContext } from './auth_context.ts';
import { authMethod } from './auth_method.ts';
import { azureAD } from './azureAD.ts';
import { certificate } from './certificate.ts';
import { cloudflareAccountMember } from './cloudflare_account_member.ts';
import { commonName } from './common_name.ts';
import { devicePosture } from './device_posture.ts';
import { email } from './email.ts';
import { emailDomain } from './email_domain.ts';
import { emailList } from './email_list.ts';
import { everyone } from './everyone.ts';
import { externalEvaluation } from './external_evaluation.ts';
import { geo } from './geo.ts';
import { githubOrganization } from './github-organization.ts';
import { group } from './group.ts';
import { gsuite } from './gsuite.ts';
import { ip } from './ip.ts';
import { ipList } from './ip_list.ts';
import { linkedAppToken } from './linked_app_token.ts';
import { loginMethod } from './login_method.ts';
import { oidc } from './oidc.ts';
import { okta } from './okta.ts';
import { allJudge, anyJudge } from './rule.ts';
import type { Judge, RuleScope, RuleType, SingleFact, Unusual } from './rule.ts';
import { saml } from './saml.ts';
import { serviceToken } from './service_token.ts';
import { userRiskScore } from './user_risk_score.ts';

/** Every rule type, by the word users write. The order is that of judging within an OR list: cheap ones first,
 *  groups, which may hold anything, last. */
export const ruleTypes: ReadonlyMap<string, RuleType<unknown>> = new Map(
  (
    [
      everyone,
      anyValidServiceToken,
      serviceToken,
      certificate,
      commonName,
      loginMethod,
      email,
      geo,
      emailDomain,
      emailList,
      ip,
      ipList,
      authMethod,
      cloudflareAccountMember,
      userRiskScore,
      authContext,
      okta,
      azureAD,
      gsuite,
      githubOrganization,
      saml,
      oidc,
      devicePosture,
      linkedAppToken,
      externalEvaluation,
      group,
    ] as readonly RuleType<unknown>[]
  ).map((type) => [type.word, type]),
);

/** Reads one rule: an object with exactly one key, the word of its type. Keys whose value is null are dropped, and so
 *  is an empty object of a type that needs a value, when another key remains (`setting_without_effect`).
 *  `connection_id` is read as `identity_provider_id`. Undefined where a fault was reported: `type_wrong`,
 *  `rule_empty`, `rule_unknown`, `rule_ambiguous`, or those of the type's shape. */
export function readRule(data: unknown, place: Place, report: Report): RuleObject | undefined {
  if (data === null || typeof data !== 'object' || Array.isArray(data)) {
    report(
      fault(
        place,
        'type_wrong',
        `expected a rule, an object with one key, found ${data === undefined ? 'nothing' : quoted(JSON.stringify(data))}`,
        'write a rule such as { email_domain: { domain: example.com } }',
      ),
    );
    return undefined;
  }
  const word = wordOf(data, place, report);
  const type = word === undefined ? undefined : ruleTypes.get(word);
  if (word === undefined || !type) return undefined;
  const { value, toWritten } = withProviderKey(withoutNulls((data as Record<string, unknown>)[word]), type);
  const shapedValue = shaped(type.shape, value, at(place, word), (found) => report(toWritten(found, place)));
  return shapedValue === undefined ? undefined : Object.freeze({ word, value: shapedValue, place });
}

/** Reports a rule's references to nothing, and whatever else only the whole set can tell. */
export function linkRule(rule: RuleObject, scope: RuleScope, report: Report): void {
  typeOf(rule).link?.({ value: rule.value, place: at(rule.place, rule.word) }, scope, report);
}

/** Judges an OR list: met when any rule is. The values of each type are handed to it at once. An empty list is
 *  unmet. */
export function judgesOf(rules: readonly RuleObject[], scope: RuleScope): Judge {
  const byWord = new Map<string, unknown[]>();
  for (const rule of rules) {
    const values = byWord.get(typeOf(rule).word);
    if (values) values.push(rule.value);
    else byWord.set(rule.word, [rule.value]);
  }
  const judges: Judge[] = [];
  for (const [word, type] of ruleTypes) {
    const values = byWord.get(word);
    if (values) judges.push(type.anyOf(values, scope));
  }
  return anyJudge(judges);
}

/** Judges an AND list: met when all rules are. An empty list is met. */
export function judgeAll(rules: readonly RuleObject[], scope: RuleScope): Judge {
  const order = [...ruleTypes.keys()];
  return allJudge(
    rules
      .toSorted((a, b) => order.indexOf(a.word) - order.indexOf(b.word))
      .map((rule) => typeOf(rule).anyOf([rule.value], scope)),
  );
}

/** Judges one rule by itself: `explain` walks a list with it. */
export function judgeOne(rule: RuleObject, scope: RuleScope): Judge {
  return typeOf(rule).anyOf([rule.value], scope);
}

/** What must be gathered before the rules can be judged; each need once. */
export function needsOf(rules: readonly RuleObject[], scope: RuleScope): Need[] {
  const needs = new Map<string, Need>();
  for (const rule of rules) for (const need of typeOf(rule).needs(rule.value, scope)) needs.set(needKey(need), need);
  return [...needs.values()];
}

/** Whether judging the rule looks at the logged-in user, directly or through groups. */
export function readsIdentity(rule: RuleObject, scope: RuleScope): boolean {
  return typeOf(rule)
    .needs(rule.value, scope)
    .some((need) => need.fact === 'identity');
}

/** The type of a rule that was read. */
export function typeOf(rule: Pick<RuleObject, 'word'>): RuleType<unknown> {
  const type = ruleTypes.get(rule.word);
  if (!type) throw new Error(`no rule type ${rule.word}`);
  return type;
}

/** Text that two rules share exactly when they say the same: `sameRule` for many. */
export function ruleKey(rule: Pick<RuleObject, 'word' | 'value'>): string {
  return `${rule.word} ${canonical(rule.value)}`;
}

/** Whether two rules say the same, wherever and however they were written. */
export function sameRule(a: Pick<RuleObject, 'word' | 'value'>, b: Pick<RuleObject, 'word' | 'value'>): boolean {
  return a.word === b.word && ruleKey(a) === ruleKey(b);
}

/** The single-valued fact that a type reads; undefined: none, or one that may have several values at once. */
export function factOf(word: string): SingleFact | undefined {
  return ruleTypes.get(word)?.singleFact;
}

/** Whether no request can meet both rules, because they want two values of a fact that has one. */
export function contradict(a: Pick<RuleObject, 'word' | 'value'>, b: Pick<RuleObject, 'word' | 'value'>): boolean {
  if (a.word === b.word) {
    const type = typeOf(a);
    if (type.singleFact === undefined) return false;
    return type.compatible ? !type.compatible(a.value, b.value) : !sameRule(a, b);
  }
  if (a.word === email.word && b.word === emailDomain.word) return !isOfDomain(a.value, b.value);
  return b.word === email.word && a.word === emailDomain.word && !isOfDomain(b.value, a.value);
}

/** Types of identity provider that a provider rule fits; undefined: the word names no provider rule. */
export function providerTypesOf(word: string): readonly string[] | undefined {
  return ruleTypes.get(word)?.providerTypes;
}

/** What is unusual about a rule that is right all the same; undefined: nothing. */
export function unusual(rule: RuleObject): Unusual | undefined {
  return typeOf(rule).unusual?.(rule.value);
}

/** The shape of a rule object for the JSON Schema: one of the words, with its value. It is for describing; reading
 *  is `readRule`'s. */
export function ruleSchema(): Shape<unknown> {
  const options = [...ruleTypes.values()].map((type) =>
    exactObject({ [type.word]: type.shape.describe(sourced(type)) }).describe(sourced(type)),
  );
  return z.union(options).describe('A rule: an object with exactly one key, the word of its type.');
}

function sourced({ word, description }: RuleType<unknown>): string {
  return `${description} Source: Cloudflare Access, rule type ${word}.`;
}

/** Words that people write for others: the names of Cloudflare's SDKs, of old exports, of its dashboard. */
const ALIASES: ReadonlyMap<string, string> = new Map([
  ['azure', 'azureAD'],
  ['azure_ad', 'azureAD'],
  ['azuread', 'azureAD'],
  ['entra', 'azureAD'],
  ['entra_id', 'azureAD'],
  ['github', 'github-organization'],
  ['github_organization', 'github-organization'],
  ['emails', 'email'],
  ['emails_ending_in', 'email_domain'],
  ['domain', 'email_domain'],
  ['country', 'geo'],
  ['ip_range', 'ip'],
  ['ip_ranges', 'ip'],
  ['google_groups', 'gsuite'],
  ['google_workspace', 'gsuite'],
  ['idp', 'login_method'],
  ['any_service_token', 'any_valid_service_token'],
  ['valid_certificate', 'certificate'],
  ['mtls', 'certificate'],
  ['anyone', 'everyone'],
]);

/** The one word of a rule object; undefined where a fault was reported. */
function wordOf(data: object, place: Place, report: Report): string | undefined {
  const written = Object.entries(data).filter(([, value]) => value !== null);
  const unknown = written.filter(([word]) => !ruleTypes.has(word));
  for (const [word] of unknown) report(unknownWord(word, place));
  if (unknown.length > 0) return undefined;
  const junk = written.filter(([word, value]) => isJunk(word, value));
  const meant =
    junk.length < written.length && written.length > 1 ? written.filter((entry) => !junk.includes(entry)) : written;
  const [only] = meant;
  if (!only) {
    report(fault(place, 'rule_empty', 'expected a rule with one key, found none', 'write a rule or remove this entry'));
    return undefined;
  }
  if (meant.length > 1) {
    const words = meant.map(([word]) => word);
    report(
      fault(
        place,
        'rule_ambiguous',
        `expected one key, found ${words.join(', ')}`,
        'write one rule for each: several values are several rules',
      ),
    );
    return undefined;
  }
  if (meant !== written)
    for (const [word] of junk)
      report(
        warning(
          { ...at(place, word), atKey: true },
          'setting_without_effect',
          `expected one key, found an empty ${word} beside ${only[0]}`,
          `remove ${word}`,
        ),
      );
  return only[0];
}

function unknownWord(word: string, place: Place): Fault {
  const near = ALIASES.get(word.toLowerCase()) ?? nearest(word, ruleTypes.keys());
  return fault(
    { ...at(place, word), atKey: true },
    'rule_unknown',
    `no rule type is called ${quoted(word)}`,
    near === undefined ? `use ${listed([...ruleTypes.keys()].toSorted())}` : `did you mean ${quoted(near)}?`,
  );
}

/** Exports leave an empty object where a type has no value. `{}` is the whole value of some types. */
function isJunk(word: string, value: unknown): boolean {
  return (
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    Object.values(value).every((inner) => inner === null) &&
    ruleTypes.get(word)?.shape.safeParse({}).success !== true
  );
}

/** Old exports call `identity_provider_id` `connection_id`. Faults are reported where it was written. */
function withProviderKey(
  value: unknown,
  type: RuleType<unknown>,
): { readonly value: unknown; toWritten(found: Fault, place: Place): Fault } {
  const asIs = { value, toWritten: (found: Fault) => found };
  if (type.reads !== 'provider' || typeof value !== 'object' || value === null) return asIs;
  const { connection_id: old, ...rest } = value as Record<string, unknown>;
  if (old === undefined || Object.hasOwn(rest, PROVIDER_KEY)) return asIs;
  return {
    value: { ...rest, [PROVIDER_KEY]: old },
    toWritten: (found, place) => {
      const keyAt = place.path.length + 1;
      if (found.place.path[keyAt] !== PROVIDER_KEY) return found;
      return { ...found, place: { ...found.place, path: found.place.path.with(keyAt, 'connection_id') } };
    },
  };
}

const PROVIDER_KEY = 'identity_provider_id';

function needKey(need: Need): string {
  switch (need.fact) {
    case 'linked_token':
      return `${need.fact}\n${need.application}`;
    case 'external_evaluation':
      return `${need.fact}\n${need.evaluateUrl}\n${need.keysUrl}`;
    case 'risk_engine':
      return `${need.fact}\n${need.engine}`;
    default:
      return need.fact;
  }
}

/** JSON with sorted keys; sets of words sorted; blocks by their text. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${[...new Set(value.map(canonical))].toSorted().join()}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null';
  if (value instanceof Uint8Array) return JSON.stringify([...value]);
  const entries = Object.entries(value).filter(([, inner]) => inner !== undefined);
  return `{${entries
    .map(([key, inner]) => `${JSON.stringify(key)}:${canonical(inner)}`)
    .toSorted()
    .join()}}`;
}

function isOfDomain(address: unknown, domain: unknown): boolean {
  const mailed = (address as { readonly email: string }).email;
  return mailed.endsWith(`@${(domain as { readonly domain: string }).domain}`);
}
