/** The objects of a policy set between shaping and compiling: plain data that survives a structured clone, nulls
 *  dropped, ids in lower case, values normalised. `place` says where each was written.
 *
 *  In a set that has faults, objects may lack parts and ids may be ""; such a set is linked, to find the faults that
 *  are left, and never compiled. */
import type { Flow, ProvableStep } from '../flow/steps.ts';
import type { Place } from '../model/fault.ts';
import type { ListObject, RuleObject, ServiceTokenObject } from '../model/objects.ts';
import type { EngineRule, FactorCommon, RiskEngine, TransactionRule } from '../risk/factor.ts';

/** Everything all files of a policy folder hold, by file name and then by place. */
export interface PolicySet {
  readonly applications: readonly ApplicationObject[];
  /** Reusable policies; each has an id. */
  readonly policies: readonly PolicyObject[];
  readonly groups: readonly GroupObject[];
  readonly lists: readonly (ListObject & Written)[];
  readonly serviceTokens: readonly (ServiceTokenObject & Written)[];
  readonly scimGroups: readonly ScimGroupObject[];
  readonly resourceRules: readonly ResourceRuleObject[];
  /** Declared flows; the system flows are not among them. */
  readonly flows: readonly FlowObject[];
  readonly acrs: readonly AcrObject[];
  readonly authenticators: readonly AuthenticatorObject[];
  readonly transactionRules: readonly TransactionRuleObject[];
  readonly riskEngines: readonly RiskEngineObject[];
}

/** A word of the policy set: which list an object stands in. */
export type ObjectKind = keyof PolicySet;

export interface Written {
  /** The object as written, without nulls: what an API echoes. */
  readonly written: Readonly<Record<string, unknown>>;
}

/** Include is any of, require is all of, exclude is none of. */
export interface RuleSetObject {
  readonly include: readonly RuleObject[];
  readonly require: readonly RuleObject[];
  readonly exclude: readonly RuleObject[];
}

/** A Cloudflare Access group. */
export interface GroupObject extends RuleSetObject, Written {
  readonly id: string;
  readonly name: string;
  readonly isDefault: boolean;
  /** RFC 3339, as written; undefined where the file has none. */
  readonly createdAt: string | undefined;
  readonly updatedAt: string | undefined;
  readonly place: Place;
}

export type PolicyDecision = 'allow' | 'deny' | 'non_identity' | 'bypass';

/** A Cloudflare Access policy, inline or reusable. */
export interface PolicyObject extends RuleSetObject, Written {
  /** "" for an inline policy without one. */
  readonly id: string;
  readonly name: string;
  readonly decision: PolicyDecision;
  /** Greatest age of the login, milliseconds; undefined: the application's. */
  readonly sessionDurationMs: number | undefined;
  readonly precedence: number | undefined;
  readonly place: Place;
}

/** An application's use of a reusable policy. */
export interface PolicyReference {
  /** The policy's id. */
  readonly reference: string;
  readonly precedence: number | undefined;
  readonly place: Place;
}

/** An application: Cloudflare's, with what Entrust's resource rules need besides. */
export interface ApplicationObject extends Written {
  readonly id: string;
  readonly name: string;
  readonly type: 'self_hosted' | 'saas';
  /** Patterns as written. From `destinations`, or where that is absent from `domain` and `self_hosted_domains`,
   *  each text once; empty: it only issues linked tokens. */
  readonly destinations: readonly DestinationText[];
  /** In list order: inline, or a reference to a reusable one. */
  readonly policies: readonly (PolicyObject | PolicyReference)[];
  /** A token's audience must meet these too; empty: the issuer's list alone decides. */
  readonly audiences: readonly string[];
  readonly issuedTokens: IssuedTokens | undefined;
  /** Provider ids; empty: any. */
  readonly allowedProviders: readonly string[];
  /** Milliseconds; undefined: the token's own lifetime. */
  readonly sessionDurationMs: number | undefined;
  readonly optionsPreflightBypass: boolean;
  /** Lower case; undefined: the settings' header, if any. */
  readonly readServiceTokensFromHeader: string | undefined;
  /** Acr names this application asks for. */
  readonly requestedAcrs: readonly string[];
  /** Lower case; undefined: a client may not ask. */
  readonly acrHintHeader: string | undefined;
  readonly transaction: readonly TransactionDetailObject[];
  readonly place: Place;
}

export interface DestinationText {
  readonly text: string;
  readonly place: Place;
}

/** How tokens that an application issues are verified where another application's rule asks for them. */
export interface IssuedTokens {
  readonly issuer: string;
  readonly audiences: readonly string[];
  readonly keys: { readonly url: string } | { readonly file: string };
  /** JWS algorithms. */
  readonly algorithms: readonly string[];
  readonly place: Place;
}

/** Where one detail of a transaction is read. */
export interface TransactionDetailObject {
  readonly name: string;
  readonly source: TransactionSource;
  readonly usage: readonly ('RBA' | 'TVS')[];
  readonly place: Place;
}

export type TransactionSource =
  /** Lower case. */
  | { readonly header: string }
  | { readonly query: string }
  /** An RFC 6901 pointer. */
  | { readonly body: string };

/** A group as a provider announced it by SCIM. Decides nothing. */
export interface ScimGroupObject extends Written {
  readonly identityProviderId: string;
  readonly id: string;
  readonly displayName: string;
  readonly externalId: string | undefined;
  readonly meta: { readonly created?: string | undefined; readonly lastModified?: string | undefined } | undefined;
  readonly schemas: readonly string[];
  readonly place: Place;
}

/** An Entrust acr. */
export interface AcrObject {
  readonly id: string;
  readonly name: string;
  readonly place: Place;
}

/** `{ id, name }` in an Entrust object: the id decides where it is given. */
export interface Mention {
  readonly id: string | undefined;
  readonly name: string | undefined;
  readonly place: Place;
}

export type Filter = 'NA' | 'NONE' | 'ANY' | 'SPECIFIC';

export type Level = 'low' | 'medium' | 'high';

/** An Entrust ResourceRule. */
export interface ResourceRuleObject extends Written {
  readonly id: string;
  readonly name: string;
  readonly description: string;
  /** The application's id. */
  readonly resourceId: string;
  readonly enabled: boolean;
  /** Never empty; "All Groups" is everyone. */
  readonly groups: readonly Mention[];
  readonly acrFilter: Filter;
  readonly acrs: readonly Mention[];
  readonly domainIdpFilter: Filter;
  readonly domainIdps: readonly Mention[];
  /** In a fixed order: by the order of the properties in the documentation, lists by place. */
  readonly factors: readonly FactorObject[];
  /** 0–101; score below it is LOW. */
  readonly lowRiskThreshold: number;
  /** 0–101; else below it is MEDIUM, else HIGH. */
  readonly mediumRiskThreshold: number;
  /** A level without a flow denies. */
  readonly flows: Readonly<Record<Level, FlowUse | undefined>>;
  readonly disableSSO: boolean;
  readonly skipSecondFactorIfUserNotExist: boolean;
  readonly strictAccess: boolean;
  readonly systemResourceContext: boolean;
  readonly apiVersion: 1 | 2;
  readonly place: Place;
}

/** One risk factor of a resource rule. */
export interface FactorObject {
  /** The factor type's name: `ip`, `transaction` … */
  readonly type: string;
  /** For log and explain: `ip`, or with its number where the property is a list: `transaction.0`. */
  readonly name: string;
  /** Of the factor type's shape. */
  readonly context: FactorCommon;
  readonly place: Place;
}

/** The flow of one level. A declared or system flow of the id, else of the name, is used; else the inline one. */
export interface FlowUse {
  readonly id: string | undefined;
  readonly name: string | undefined;
  /** Written inside the rule, or made of its version 1 steps. */
  readonly inline: FlowObject | undefined;
  readonly place: Place;
}

/** An Entrust AuthenticationFlow, reduced to what a token must prove. */
export interface FlowObject extends Flow, Written {
  /** Always there; may not be declared. */
  readonly system: boolean;
  readonly place: Place;
}

/** How an issuer's tokens prove steps. */
export interface AuthenticatorObject {
  readonly issuer: string;
  /** acr → the steps it proves, in file order. */
  readonly acr: readonly { readonly value: string; readonly steps: readonly ProvableStep[] }[];
  /** amr value → the steps it means; [] removes the default meaning. */
  readonly amr: readonly { readonly value: string; readonly steps: readonly ProvableStep[] }[];
  readonly trustBareMfa: boolean;
  readonly place: Place;
}

export interface TransactionRuleObject extends TransactionRule {
  readonly place: Place;
}

/** An external risk engine (Entrust's Generic API). */
export interface RiskEngineObject extends RiskEngine {
  readonly url: string;
  readonly companyId: string;
  readonly riskProvider: string;
  readonly identifier: string;
  /** Relative to the config folder; undefined: no password is sent. */
  readonly passwordFile: string | undefined;
  readonly tokenSeconds: number;
  readonly failOnUserMismatch: boolean;
  readonly timeoutMs: number;
  readonly cacheSeconds: number;
  readonly rules: readonly (EngineRule & { readonly place: Place })[];
  readonly place: Place;
}

/** Everyone, as resource rules name it. */
export const ALL_GROUPS = { id: '00000000-0000-4000-8000-00000000a110', name: 'All Groups' } as const;

export function isReference(policy: PolicyObject | PolicyReference): policy is PolicyReference {
  return 'reference' in policy;
}
