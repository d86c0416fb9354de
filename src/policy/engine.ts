import type { EvaluationContext } from '../model/context.ts';
import type { Decision, Named, Outcome, Reason } from '../model/decision.ts';
import type { RequestRefusal } from '../model/request.ts';
import { decideAccess } from './access.ts';
import type { AccessResult } from './access.ts';
import { decideAdaptive } from './adaptive.ts';
import type { AdaptiveResult } from './adaptive.ts';
import type { CompiledApplication } from './compile.ts';

/** A decision with what the adaptive step saw and concluded: for log, metrics, explain and learning. */
export interface EngineDecision extends Decision {
  /** Undefined where it was not asked. */
  readonly adaptive: AdaptiveResult | undefined;
}

/** Decides one request of an application: first whether the caller may reach it at all, then whether he proved
 *  himself strongly enough for the risk. Pure and synchronous; an allow comes from nowhere but here. */
export function decide(application: CompiledApplication, context: EvaluationContext): EngineDecision {
  const access = decideAccess(application.access, context);
  if (access.outcome !== 'allow') return refusedByAccess(application, access, context);
  // Nobody authenticated for a bypass or a service, so there is no authentication to judge.
  if (!access.identity || !application.adaptive) return allowed(application, access, context, undefined);
  const adaptive = decideAdaptive(application.adaptive, context);
  if (adaptive.outcome === 'allow') return allowed(application, access, context, adaptive);
  return {
    ...BLANK,
    outcome: adaptive.outcome,
    reason: adaptive.reason,
    application: application.named,
    policy: access.policy?.named,
    resourceRule: adaptive.rule,
    riskLevel: adaptive.level,
    riskScore: adaptive.score,
    identity: access.identity,
    challenge: adaptive.challenge,
    why: adaptive.why,
    adaptive,
  };
}

/** No application covers this host and path. */
export function noApplication(): EngineDecision {
  return { ...BLANK, outcome: 'deny', reason: 'no_application', why: 'no application covers this host and path' };
}

/** The request cannot be read, or could be read in two ways. */
export function refused(refusal: RequestRefusal): EngineDecision {
  return { ...BLANK, outcome: 'bad_request', reason: refusal.reason, why: refusal.why };
}

/** A step-up that would only send the caller in circles is refused. */
export function exhausted(decision: EngineDecision): EngineDecision {
  return {
    ...decision,
    outcome: 'deny',
    reason: 'step_up_exhausted',
    challenge: undefined,
    why: 'asked to step up too often in ten minutes',
  };
}

/** The deadline has passed while something was still being waited for. */
export function lateDecision(application: CompiledApplication | undefined): EngineDecision {
  return {
    ...BLANK,
    outcome: 'unavailable',
    reason: 'fact_unavailable',
    application: application?.named,
    why: 'the deadline passed',
  };
}

const BLANK = Object.freeze({
  application: undefined as Named | undefined,
  policy: undefined as Named | undefined,
  resourceRule: undefined as Named | undefined,
  riskLevel: undefined,
  riskScore: undefined,
  identity: undefined,
  linkedIdentity: undefined,
  challenge: undefined,
  loginMayHelp: false,
  tokenSent: false,
  cookies: [],
  why: '',
  adaptive: undefined,
} satisfies Omit<EngineDecision, 'outcome' | 'reason'>);

function allowed(
  application: CompiledApplication,
  access: Extract<AccessResult, { outcome: 'allow' }>,
  context: EvaluationContext,
  adaptive: AdaptiveResult | undefined,
): EngineDecision {
  return {
    ...BLANK,
    outcome: 'allow',
    reason: access.reason,
    application: application.named,
    policy: access.policy?.named,
    resourceRule: adaptive?.rule,
    riskLevel: adaptive?.level,
    riskScore: adaptive?.score,
    identity: access.identity,
    linkedIdentity: access.identity || access.reason === 'policy_bypassed' ? undefined : linkedIdentity(context),
    adaptive,
  };
}

function refusedByAccess(
  application: CompiledApplication,
  access: Exclude<AccessResult, { outcome: 'allow' }>,
  context: EvaluationContext,
): EngineDecision {
  const unauthenticated = access.outcome === 'unauthenticated';
  return {
    ...BLANK,
    outcome: access.outcome satisfies Outcome,
    reason: access.reason satisfies Reason,
    application: application.named,
    policy: access.policy?.named,
    // For the log: who it was that was refused.
    identity: context.identity.state === 'known' ? context.identity.identity : undefined,
    loginMayHelp: unauthenticated && access.loginMayHelp,
    tokenSent: unauthenticated && access.tokenSent,
    why: 'why' in access ? access.why : '',
  };
}

/** The subject and e-mail of a linked application token that was accepted. */
function linkedIdentity(context: EvaluationContext): Decision['linkedIdentity'] {
  for (const { verdict, identity } of context.linkedTokens.values()) if (verdict === 'met' && identity) return identity;
  return undefined;
}
