import type { EvaluationContext, Need } from '../model/context.ts';
import { fault } from '../model/fault.ts';
import type { Fault, Place, Report } from '../model/fault.ts';
import type { CertificateFact } from '../model/facts.ts';
import type { ListObject, ProviderObject, ServiceTokenObject } from '../model/objects.ts';
import type { Identity, IdentityGroup } from '../model/identity.ts';
import { both, firstCause, isUnknown } from '../model/verdict.ts';
import type { Verdict } from '../model/verdict.ts';
import { quoted } from '../shared/shape.ts';
import type { Shape } from '../shared/shape.ts';

/** Says of one request whether a rule, or any of many rules of one type, is met. Pure and synchronous. */
export type Judge = (context: EvaluationContext) => Verdict;

/** One value of a rule type with the place it was written. */
export interface Placed<Value> {
  readonly value: Value;
  readonly place: Place;
}

/** One of the rule types. The file's name is the word users write. */
export interface RuleType<Value = never> {
  /** The key on the wire, e.g. `email_domain`. */
  readonly word: string;
  /** One sentence for the JSON Schema and the reference, with its source. */
  readonly description: string;
  /** `identity` (I) and `provider` (P) rules read the logged-in user, `connection` rules need nobody. `group` is
   *  told by what it contains. */
  readonly reads: 'identity' | 'provider' | 'connection' | 'group';
  /** The shape of the value: exact keys, with its own fault codes. Its output is normalised. */
  readonly shape: Shape<Value>;
  /** What must be gathered before it can be judged. */
  needs(value: Value, scope: RuleScope): readonly Need[];
  /** Load time: references, and what only the whole set can tell. */
  link?(placed: Placed<Value>, scope: RuleScope, report: Report): void;
  /** Load time: all values of this type in one OR list at once, so that the type can build its own index. */
  anyOf(values: readonly Value[], scope: RuleScope): Judge;
  /** For `explain`: the fact that the rule saw, in a few words, never a secret. */
  seen(context: EvaluationContext, value: Value): string;
  /** For warnings: types of identity provider that a provider rule fits; absent: any. */
  readonly providerTypes?: readonly string[];
  /** For warnings: what is unusual about a value that is allowed all the same. */
  unusual?(value: Value): Unusual | undefined;
  /** For warnings: the fact of which a request has only one value, where the type reads such a one. */
  readonly singleFact?: SingleFact;
  /** With `singleFact`: whether one request can meet both, of two values of this type. */
  compatible?(a: Value, b: Value): boolean;
}

/** A fact of which every request has at most one value. */
export type SingleFact =
  | 'country'
  | 'email'
  | 'email domain'
  | 'provider'
  | 'common name'
  | 'service token'
  | 'address'
  | 'risk level';

/** What is worth a word about a value, without being wrong. */
export interface Unusual {
  readonly text: string;
  readonly mend: string;
}

/** What a rule type may ask of the set it belongs to, at load. Ids are compared without letter case. */
export interface RuleScope {
  /** By id or, failing that, by exact name. */
  group(idOrName: string): LinkedGroup | undefined;
  list(id: string): ListObject | undefined;
  serviceToken(id: string): ServiceTokenObject | undefined;
  provider(id: string): ProviderObject | undefined;
  /** `issuesTokens`: it has `aud` or `issued_tokens`. */
  application(id: string): { readonly id: string; readonly issuesTokens: boolean } | undefined;
  /** `admin.accounts`, lower case. */
  readonly accounts: readonly string[];
  /** `external_evaluation.allow_hosts`, lower case: `host` or `host:port`. */
  readonly evaluationHosts: readonly string[];
  /** `posture.from` is the token. */
  readonly postureFromIdentity: boolean;
  /** `risk_scores.from` is the token. */
  readonly riskScoreFromIdentity: boolean;
  /** The nearest known id or name of a kind, for a mend. */
  nearest(kind: 'group' | 'list' | 'service_token' | 'provider' | 'application', text: string): string | undefined;
}

export interface LinkedGroup {
  readonly id: string;
  readonly name: string;
  /** Judges the group, at most once per request. Only to be called when judging, not at load. */
  readonly judge: Judge;
  readonly needs: readonly Need[];
}

/** Identity rules without a user are unknown, whatever they look for. Written once, here. */
export function identityJudge(judge: (identity: Identity, context: EvaluationContext) => Verdict): Judge {
  return (context) => {
    const fact = context.identity;
    if (fact.state === 'known') return judge(fact.identity, context);
    return fact.state === 'unavailable' ? 'unavailable' : 'no_identity';
  };
}

/** Rules that read the user's e-mail address are unknown where the token states none. */
export function emailJudge(judge: (address: string) => Verdict): Judge {
  return identityJudge((identity) => (identity.email === undefined ? 'not_stated' : judge(identity.email)));
}

/** Provider rules also require the login to have come from the mentioned provider. Values are grouped by it;
 *  `index` builds the judge of the values that mention one provider. */
export function providerJudge<Value extends { readonly identity_provider_id: string }>(
  values: readonly Value[],
  index: (values: readonly Value[]) => (identity: Identity, context: EvaluationContext) => Verdict,
): Judge {
  const byProvider = new Map<string, Value[]>();
  for (const value of values) {
    const id = value.identity_provider_id.toLowerCase();
    const list = byProvider.get(id);
    if (list) list.push(value);
    else byProvider.set(id, [value]);
  }
  const judges = new Map([...byProvider].map(([id, list]) => [id, index(list)]));
  return identityJudge((identity, context) => {
    if (!identity.provider) return 'not_stated';
    return judges.get(identity.provider.id)?.(identity, context) ?? 'unmet';
  });
}

/** Judges membership in a group of the provider. Where the token's list is known to be incomplete, a group that is
 *  not in it may still be the user's. */
export function groupsJudge(isWanted: (group: IdentityGroup) => boolean): (identity: Identity) => Verdict {
  return (identity) => {
    for (const group of identity.groups) if (isWanted(group)) return 'met';
    return identity.groupsIncomplete ? 'unavailable' : 'unmet';
  };
}

/** Judges named attributes or claims: met when one of them, or one element of it, is exactly the wanted text.
 *  Numbers and booleans are compared as JSON writes them; objects, lists in lists and null are never equal. */
export function attributesJudge(
  wanted: readonly (readonly [name: string, value: string])[],
): (attributes: ReadonlyMap<string, unknown>) => Verdict {
  const index = new Map<string, Set<string>>();
  for (const [name, value] of wanted) {
    const values = index.get(name);
    if (values) values.add(value);
    else index.set(name, new Set([value]));
  }
  return (attributes) => {
    if (index.size <= attributes.size) {
      for (const [name, values] of index) if (isHeld(values, attributes.get(name))) return 'met';
    } else {
      for (const [name, found] of attributes) if (isHeld(index.get(name), found)) return 'met';
    }
    return 'unmet';
  };
}

/** The mentioned provider exists. */
export function linkProvider(id: string, place: Place, scope: RuleScope, report: Report): void {
  if (!scope.provider(id)) report(unknownReference('provider', 'identity provider', id, place, scope));
}

/** The mentioned list exists and is of the type that the rule reads. */
export function linkList(id: string, type: 'EMAIL' | 'IP', place: Place, scope: RuleScope, report: Report): void {
  const list = scope.list(id);
  if (!list) report(unknownReference('list', 'list', id, place, scope));
  else if (list.type !== type)
    report(
      fault(
        place,
        'list_type_mismatch',
        `expected a list of type ${type}, found list ${quoted(list.name)} of type ${quoted(list.type)}`,
        `name a list of type ${type}`,
      ),
    );
}

/** The fault of a reference to nothing: `group_unknown`, `list_unknown`, … with the nearest as its mend. */
export function unknownReference(
  kind: Parameters<RuleScope['nearest']>[0],
  noun: string,
  written: string,
  place: Place,
  scope: RuleScope,
): Fault {
  const near = scope.nearest(kind, written);
  return fault(
    place,
    `${kind}_unknown`,
    `no ${noun} has the id${kind === 'group' ? ' or name' : ''} ${quoted(written)}`,
    near === undefined
      ? `name ${noun === 'identity provider' ? 'one of identity.providers' : `an existing ${noun}`}`
      : `did you mean ${quoted(near)}?`,
  );
}

/** Who is logged in, for `seen`. */
export function seenIdentity(context: EvaluationContext, tell: (identity: Identity) => string): string {
  const fact = context.identity;
  switch (fact.state) {
    case 'known':
      return tell(fact.identity);
    case 'invalid':
      return 'the token is not acceptable';
    case 'unavailable':
      return 'the token could not be verified';
    case 'nobody':
      return 'nobody is logged in';
  }
}

/** The user's e-mail address, for `seen`. */
export function seenEmail(context: EvaluationContext): string {
  return seenIdentity(context, (identity) => `e-mail ${identity.email ?? 'not stated'}`);
}

/** The provider of the login and something it says, for `seen` of provider rules. */
export function seenProvider(context: EvaluationContext, tell: (identity: Identity) => string): string {
  return seenIdentity(context, (identity) =>
    identity.provider ? `through ${identity.provider.id}: ${tell(identity)}` : 'identity provider not stated',
  );
}

/** Groups of the login, for `seen`: the first few. */
export function seenGroups(identity: Identity): string {
  const names = identity.groups.map((group) => group.name ?? group.id ?? group.email ?? '');
  const more = names.length > SEEN_MAX ? ` and ${names.length - SEEN_MAX} more` : '';
  const incomplete = identity.groupsIncomplete ? ', the token does not carry all' : '';
  return names.length === 0
    ? `no groups${incomplete}`
    : `groups ${names.slice(0, SEEN_MAX).join(', ')}${more}${incomplete}`;
}

/** Whether a client certificate was presented and counts as verified. */
export function certificateVerdict(certificate: CertificateFact): Verdict {
  if (certificate.state === 'none') return 'unmet';
  if (certificate.state === 'unreadable' || certificate.verified === 'unknown') return 'unavailable';
  return certificate.verified === 'yes' ? 'met' : 'unmet';
}

/** The client certificate, for `seen`. */
export function seenCertificate(certificate: CertificateFact): string {
  if (certificate.state === 'none') return 'no certificate';
  if (certificate.state === 'unreadable') return `certificate unreadable: ${certificate.why}`;
  const verified = { yes: 'verified', no: 'not verified', unknown: 'verification impossible' }[certificate.verified];
  const name = certificate.commonName.state === 'one' ? certificate.commonName.value : certificate.commonName.state;
  return `certificate ${verified}, common name ${name}`;
}

/** Several judges as one: unmet as soon as one is unmet, met where all are. */
export function allJudge(judges: readonly Judge[]): Judge {
  const [only] = judges;
  if (judges.length === 1 && only) return only;
  return (context) => {
    let whole: Verdict = 'met';
    for (const judge of judges) {
      whole = both(whole, judge(context));
      if (whole === 'unmet') return 'unmet';
    }
    return whole;
  };
}

/** Several judges as one: met as soon as one is met. */
export function anyJudge(judges: readonly Judge[]): Judge {
  const [only] = judges;
  if (judges.length === 1 && only) return only;
  return (context) => {
    let whole: Verdict = 'unmet';
    for (const judge of judges) {
      const verdict = judge(context);
      if (verdict === 'met') return 'met';
      if (isUnknown(verdict)) whole = isUnknown(whole) ? firstCause(whole, verdict) : verdict;
    }
    return whole;
  };
}

/** How many groups or values `seen` names. */
const SEEN_MAX = 5;

function isHeld(values: ReadonlySet<string> | undefined, found: unknown): boolean {
  if (values === undefined) return false;
  return Array.isArray(found) ? found.some((one) => isAmong(values, one)) : isAmong(values, found);
}

function isAmong(values: ReadonlySet<string>, found: unknown): boolean {
  if (typeof found === 'string') return values.has(found);
  return (typeof found === 'number' || typeof found === 'boolean') && values.has(JSON.stringify(found));
}
