import type { EvaluationContext } from '../model/context.ts';
import type { Named, Reason } from '../model/decision.ts';
import type { Identity } from '../model/identity.ts';
import { both, negated } from '../model/verdict.ts';
import type { Verdict } from '../model/verdict.ts';
import type { Judge } from '../rules/rule.ts';

/** Access' law: which of an application's policies decides. Source: Cloudflare Access policies (rule types, order of
 *  execution), closed where Cloudflare is silent. */

/** One rule set, a group's or a policy's: any of include, all of require, none of exclude. */
export interface CompiledRuleSet {
  readonly include: Judge;
  /** Met where there is nothing to require. */
  readonly require: Judge;
  /** Unmet where there is nothing to exclude. */
  readonly exclude: Judge;
}

export interface CompiledPolicy {
  readonly named: Named;
  readonly decision: 'allow' | 'deny' | 'non_identity' | 'bypass';
  readonly rules: CompiledRuleSet;
  /** Milliseconds; undefined: the application's. */
  readonly sessionMs: number | undefined;
}

export interface CompiledAccess {
  /** Phase 1: bypass and non_identity, in list order. */
  readonly first: readonly CompiledPolicy[];
  /** Phase 2: allow and deny, in list order. */
  readonly second: readonly CompiledPolicy[];
  /** One of the first is non_identity. */
  readonly takesServiceTokens: boolean;
  readonly preflightBypass: boolean;
  /** Milliseconds; undefined: the token's own lifetime. */
  readonly sessionMs: number | undefined;
}

export type AccessResult =
  | {
      readonly outcome: 'allow';
      readonly reason: 'policy_allowed' | 'policy_bypassed';
      /** Absent for a preflight. */
      readonly policy: CompiledPolicy | undefined;
      /** Who was let in by an allow policy: only then does the adaptive step follow. */
      readonly identity: Identity | undefined;
    }
  | {
      readonly outcome: 'deny';
      readonly reason: Extract<Reason, 'policy_denied' | 'no_policy_matched'>;
      readonly policy: CompiledPolicy | undefined;
    }
  | {
      readonly outcome: 'unauthenticated';
      readonly reason: Extract<Reason, 'not_authenticated' | 'token_invalid' | 'session_expired'>;
      readonly policy: CompiledPolicy | undefined;
      readonly loginMayHelp: boolean;
      readonly tokenSent: boolean;
      readonly why: string;
    }
  | {
      readonly outcome: 'unavailable';
      readonly reason: 'fact_unavailable';
      readonly policy: CompiledPolicy | undefined;
      readonly why: string;
    };

/** Headers of a request of which deciding about a preflight asks whether they are there. */
export function preflightHeaders(): readonly string[] {
  return [...PREFLIGHT_HEADERS, ...OVERRIDE_HEADERS];
}

/** The verdict of a rule set. A group's unknown is kept: it is read as "no" only at the policy. */
export function judgeRuleSet(set: CompiledRuleSet, context: EvaluationContext): Verdict {
  const include = set.include(context);
  if (include === 'unmet') return 'unmet';
  const required = both(include, set.require(context));
  return required === 'unmet' ? 'unmet' : both(required, negated(set.exclude(context)));
}

/** The walk. Where a fact is unknown the answer is the one that every possible outcome of it agrees on; where they
 *  differ, the caller logs in, or else 503. Never an allow. */
export function decideAccess(access: CompiledAccess, context: EvaluationContext): AccessResult {
  if (access.preflightBypass && isPreflight(context))
    return { outcome: 'allow', reason: 'policy_bypassed', policy: undefined, identity: undefined };
  const credentials = context.serviceCredentials;
  if (access.takesServiceTokens && (credentials.state === 'malformed' || credentials.state === 'refused')) {
    return {
      outcome: 'unauthenticated',
      reason: 'token_invalid',
      policy: undefined,
      loginMayHelp: false,
      tokenSent: true,
      why: credentials.why,
    };
  }
  const walk: Walk = { openLogin: undefined, openUnavailable: undefined, allowPossible: false, denyOpen: false };
  for (const policy of access.first) {
    const verdict = judgeRuleSet(policy.rules, context);
    if (verdict === 'met') {
      return {
        outcome: 'allow',
        reason: policy.decision === 'bypass' ? 'policy_bypassed' : 'policy_allowed',
        policy,
        identity: undefined,
      };
    }
    if (verdict === 'no_identity' || verdict === 'unavailable') keepOpen(walk, policy, verdict, true);
  }
  if (access.takesServiceTokens && credentials.state === 'valid') {
    return walk.openUnavailable
      ? unavailable(walk.openUnavailable)
      : { outcome: 'deny', reason: 'no_policy_matched', policy: undefined };
  }
  for (const policy of access.second) {
    const verdict = policy.decision === 'allow' ? judgeAllow(policy, context) : judgeDeny(policy, context);
    if (verdict === 'unmet') continue;
    if (verdict !== 'met') {
      keepOpen(walk, policy, verdict, policy.decision === 'allow');
      if (policy.decision === 'deny') walk.denyOpen = true;
      continue;
    }
    if (policy.decision === 'allow') return walk.denyOpen ? undecided(walk, context) : allowed(access, policy, context);
    return walk.allowPossible ? undecided(walk, context) : { outcome: 'deny', reason: 'policy_denied', policy };
  }
  return walk.allowPossible
    ? undecided(walk, context)
    : { outcome: 'deny', reason: 'no_policy_matched', policy: undefined };
}

interface Walk {
  openLogin: CompiledPolicy | undefined;
  openUnavailable: CompiledPolicy | undefined;
  allowPossible: boolean;
  denyOpen: boolean;
}

function keepOpen(
  walk: Walk,
  policy: CompiledPolicy,
  verdict: Exclude<Verdict, 'met' | 'unmet' | 'not_stated'>,
  allows: boolean,
): void {
  if (verdict === 'no_identity') walk.openLogin ??= policy;
  else walk.openUnavailable ??= policy;
  if (allows) walk.allowPossible = true;
}

/** An allow policy always needs somebody to be logged in; what is not stated does not match. */
function judgeAllow(policy: CompiledPolicy, context: EvaluationContext): Exclude<Verdict, 'not_stated'> {
  const verdict = judgeRuleSet(policy.rules, context);
  if (verdict === 'not_stated') return 'unmet';
  if (verdict !== 'met') return verdict;
  const { state } = context.identity;
  if (state === 'known') return 'met';
  return state === 'unavailable' ? 'unavailable' : 'no_identity';
}

/** A deny policy needs nobody; what is not stated matches. */
function judgeDeny(policy: CompiledPolicy, context: EvaluationContext): Exclude<Verdict, 'not_stated'> {
  const verdict = judgeRuleSet(policy.rules, context);
  return verdict === 'not_stated' ? 'met' : verdict;
}

function allowed(access: CompiledAccess, policy: CompiledPolicy, context: EvaluationContext): AccessResult {
  const fact = context.identity;
  // judgeAllow has seen it; said again so that no later change can let somebody in without an identity.
  if (fact.state !== 'known') throw new Error('an allow policy matched without an identity');
  const { identity } = fact;
  const limitMs = policy.sessionMs ?? access.sessionMs;
  if (limitMs !== undefined) {
    const ageMs =
      identity.issuedAt === undefined ? Number.POSITIVE_INFINITY : context.processNowMs - identity.issuedAt * 1000;
    if (!(ageMs <= limitMs + identity.clockSkewSeconds * 1000)) {
      return {
        outcome: 'unauthenticated',
        reason: 'session_expired',
        policy,
        loginMayHelp: true,
        tokenSent: true,
        why: sessionWhy(ageMs, limitMs),
      };
    }
  }
  return { outcome: 'allow', reason: 'policy_allowed', policy, identity };
}

function undecided(walk: Walk, context: EvaluationContext): AccessResult {
  if (!walk.openLogin) return unavailable(walk.openUnavailable);
  const fact = context.identity;
  return fact.state === 'invalid'
    ? {
        outcome: 'unauthenticated',
        reason: 'token_invalid',
        policy: undefined,
        loginMayHelp: true,
        tokenSent: true,
        why: fact.why,
      }
    : {
        outcome: 'unauthenticated',
        reason: 'not_authenticated',
        policy: undefined,
        loginMayHelp: true,
        tokenSent: false,
        why: `policy "${walk.openLogin.named.name}" needs a login`,
      };
}

function unavailable(policy: CompiledPolicy | undefined): AccessResult {
  return {
    outcome: 'unavailable',
    reason: 'fact_unavailable',
    policy: undefined,
    why: policy ? `a fact of policy "${policy.named.name}" could not be had` : 'a fact could not be had',
  };
}

function sessionWhy(ageMs: number, limitMs: number): string {
  return Number.isFinite(ageMs)
    ? `the token is ${Math.round(ageMs / 1000)} s old, the session lasts ${Math.round(limitMs / 1000)} s`
    : 'the token does not say when it was issued';
}

/** No browser puts a method into a preflight by another header, and an upstream that obeys it would do anything for
 *  anybody. Source: Fetch, CORS-preflight fetch. */
function isPreflight({ request: { method, headers } }: EvaluationContext): boolean {
  return (
    method === 'OPTIONS' &&
    PREFLIGHT_HEADERS.every((name) => headers.has(name)) &&
    !OVERRIDE_HEADERS.some((name) => headers.has(name))
  );
}

const PREFLIGHT_HEADERS = ['origin', 'access-control-request-method'] as const;
const OVERRIDE_HEADERS = ['x-http-method-override', 'x-http-method', 'x-method-override'] as const;
