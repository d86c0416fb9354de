/** Did this user authenticate strongly enough for the risk of this request? The law of Entrust's resource rules:
 *  risk factors add points, points choose a level, a level chooses an authentication flow; a flow that the token does
 *  not satisfy is a step-up. */
import type { EvaluationContext, Need } from '../model/context.ts';
import type { Challenge, Named, Reason, RiskLevel } from '../model/decision.ts';
import type { ProviderObject } from '../model/objects.ts';
import type { RiskSettings } from '../risk/factor.ts';
import type { RuleScope } from '../rules/rule.ts';
import type { ApplicationObject, PolicySet, ResourceRuleObject } from './objects.ts';

/** What compiling one application's resource rules reads; all of it linked and free of faults. */
export interface AdaptiveInput {
  readonly application: ApplicationObject;
  /** The rules whose `resourceId` is the application, disabled ones included; at least one. */
  readonly rules: readonly ResourceRuleObject[];
  /** For flows, acrs, authenticators, lists, transaction rules and risk engines. */
  readonly set: PolicySet;
  /** For groups that judge. */
  readonly scope: RuleScope;
  readonly settings: RiskSettings;
  readonly providers: readonly ProviderObject[];
  /** Some source tells whether an address is anonymous. */
  readonly anonymousSource: boolean;
}

/** The resource rules of one application, ready to decide. */
export interface CompiledAdaptive {
  /** What must be gathered: of the factors, groups and filters of all enabled rules. Always `identity`. */
  readonly needs: readonly Need[];
  /** Some enabled rule has locationHistory, travelVelocity, machine or disableSSO, so that an allowed authentication
   *  event is to be remembered. */
  readonly learns: boolean;
}

/** What the resource rules say of one request. */
export interface AdaptiveResult {
  /** `bad_request`: the acr hint cannot be read. */
  readonly outcome: 'allow' | 'step_up' | 'deny' | 'unavailable' | 'bad_request';
  readonly reason: Reason;
  /** Of the first satisfied alternative; on a step-up of the first alternative; on a deny of the rule that denies. */
  readonly rule: Named | undefined;
  readonly level: RiskLevel | undefined;
  /** At most two decimals. */
  readonly score: number | undefined;
  /** With `step_up` only. */
  readonly challenge: Challenge | undefined;
  /** With `allow` only: what may be remembered of it. */
  readonly memory: AdaptiveMemory | undefined;
  /** For the log, never for the caller. */
  readonly why: string;
  readonly trace: AdaptiveTrace;
}

/** What the state may learn from an allowed request. */
export interface AdaptiveMemory {
  /** As CompiledAdaptive.learns: the event is to be recorded, where it is not yet in the record. */
  readonly learn: boolean;
  /** The application re-authenticates (disableSSO) and this event is young enough to be admitted to it. */
  readonly admit: boolean;
  /** A rule with machineContext applied, and the authentication was strong enough to register a new machine. */
  readonly registerMachine: boolean;
}

/** How the result came about: numbers and references, for log and explain. */
export interface AdaptiveTrace {
  readonly rules: readonly RuleTrace[];
  /** In order of preference. */
  readonly alternatives: readonly AlternativeTrace[];
}

export interface RuleTrace {
  readonly rule: Named;
  readonly applies: 'yes' | 'no' | 'unknown';
  /** Undefined where it applies. */
  readonly whyNot: 'disabled' | 'acr_filter' | 'domain_idp_filter' | 'groups' | 'groups_unknown' | undefined;
  /** Empty where the rule does not apply. */
  readonly factors: readonly FactorTrace[];
  readonly score: number | undefined;
  readonly level: RiskLevel | undefined;
  /** Name of the level's flow; undefined: none. */
  readonly flow: string | undefined;
  readonly result: 'ALLOW' | 'DENY' | 'UNAVAILABLE' | undefined;
}

export interface FactorTrace {
  /** `ip`, `transaction.0` … */
  readonly name: string;
  /** After the default for UNKNOWN. */
  readonly verdict: 'RISK' | 'NO_RISK' | 'UNAVAILABLE';
  /** The default for UNKNOWN was used. */
  readonly unknown: boolean;
  readonly points: number;
  readonly deny: boolean;
  /** What the factor saw, in a few words. Costs something: for explain. */
  seen(context: EvaluationContext): string;
}

export interface AlternativeTrace {
  readonly rule: Named;
  readonly level: RiskLevel;
  readonly score: number;
  /** Name of the flow. */
  readonly flow: string;
  readonly satisfied: boolean;
  /** What the token does not prove, in a few words each. */
  readonly missing: readonly string[];
}

/** Compiles the resource rules of one application. */
export function compileResourceRules(input: AdaptiveInput): CompiledAdaptive {
  throw new Error(`not yet: ${input.application.name}`);
}

/** Decides one request that an allow policy has let through. Pure and synchronous. Throws where nobody is logged in,
 *  which an allow policy rules out. */
export function decideAdaptive(compiled: CompiledAdaptive, context: EvaluationContext): AdaptiveResult {
  throw new Error(`not yet: ${String(compiled.learns)} ${context.nowMs}`);
}

/** What a step-up asks for as one text: the key of the loop guard. */
export function requirementOf(challenge: Challenge): string {
  // No acr value holds a quotation mark.
  return `${challenge.acrValues.join(' ')}"${challenge.maxAgeSeconds ?? ''}`;
}
