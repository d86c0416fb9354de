import type { EvaluationContext, Need } from '../model/context.ts';
import type { Place, Report } from '../model/fault.ts';
import type { ListObject, ProviderObject, ServiceTokenObject } from '../model/objects.ts';
import type { Identity } from '../model/identity.ts';
import { firstCause, isUnknown } from '../model/verdict.ts';
import type { Verdict } from '../model/verdict.ts';
import type { Shape } from '../shared/shape.ts';

/** Says of one request whether a rule, or any of many rules of one type, is met. Pure and synchronous. */
export type Judge = (context: EvaluationContext) => Verdict;

/** One value of a rule type with the place it was written. */
export interface Placed<Value> {
  readonly value: Value;
  readonly place: Place;
}

/** One of the rule types of access.md 1.2. The file's name is the word users write. */
export interface RuleType<Value = never> {
  /** The key on the wire, e.g. `email_domain`. */
  readonly word: string;
  /** One sentence for the JSON Schema and the reference, with its source. */
  readonly description: string;
  /** `identity` (I) and `provider` (P) rules read the logged-in user, `connection` rules need nobody. `group` is
   *  told by what it contains. */
  readonly reads: 'identity' | 'provider' | 'connection' | 'group';
  /** The shape of the value: exact keys, with the fault codes of access.md 1.1. Its output is normalised. */
  readonly shape: Shape<Value>;
  /** What must be gathered before it can be judged. */
  needs(value: Value, scope: RuleScope): readonly Need[];
  /** Load time: references, and what only the whole set can tell. */
  link?(placed: Placed<Value>, scope: RuleScope, report: Report): void;
  /** Load time: all values of this type in one OR list at once, so that the type can build its own index. */
  anyOf(values: readonly Value[], scope: RuleScope): Judge;
  /** For `explain`: the fact that the rule saw, in a few words, never a secret. */
  seen(context: EvaluationContext, value: Value): string;
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
