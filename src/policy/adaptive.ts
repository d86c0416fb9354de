/** Did this user authenticate strongly enough for the risk of this request? The law of Entrust's resource rules:
 *  risk factors add points, points choose a level, a level chooses an authentication flow; a flow that the token does
 *  not satisfy is a step-up. */
import { compileAuthenticators } from '../flow/proofs.ts';
import {
  compileFlow,
  forIssuer,
  isAdmitted,
  isYounger,
  REAUTHENTICATION_SECONDS,
  satisfies,
} from '../flow/satisfaction.ts';
import type { CompiledFlow, Satisfaction } from '../flow/satisfaction.ts';
import type { Flow } from '../flow/steps.ts';
import type { EvaluationContext, Need } from '../model/context.ts';
import type { Challenge, Named, Reason, RiskLevel } from '../model/decision.ts';
import type { Identity } from '../model/identity.ts';
import type { ProviderObject } from '../model/objects.ts';
import { isUnknown } from '../model/verdict.ts';
import type { Cause } from '../model/verdict.ts';
import type { FactorJudge, FactorScope, RiskSettings } from '../risk/factor.ts';
import { factorType } from '../risk/registry.ts';
import { levelOf, scoreOf, shownScore } from '../risk/score.ts';
import { anyJudge } from '../rules/rule.ts';
import type { Judge, RuleScope } from '../rules/rule.ts';
import { isAllGroups } from './link-rules.ts';
import type { Lookups } from './lookups.ts';
import type { ApplicationObject, FactorObject, Filter, FlowUse, PolicySet, ResourceRuleObject } from './objects.ts';

/** What compiling one application's resource rules reads; all of it linked and free of faults. */
export interface AdaptiveInput {
  readonly application: ApplicationObject;
  /** The rules whose `resourceId` is the application, disabled ones included; at least one. */
  readonly rules: readonly ResourceRuleObject[];
  readonly set: Pick<PolicySet, 'authenticators'>;
  readonly lookups: Pick<Lookups, 'flow' | 'acr' | 'mentionedProvider' | 'factorScope'>;
  /** For groups that judge. */
  readonly scope: RuleScope;
  readonly settings: RiskSettings;
  readonly providers: readonly ProviderObject[];
}

/** The resource rules of one application, ready to decide. */
export interface CompiledAdaptive {
  /** What must be gathered: of the factors, groups and filters of all enabled rules. Always `identity`. */
  readonly needs: readonly Need[];
  /** Some enabled rule has locationHistory, travelVelocity, machine or disableSSO, so that an allowed authentication
   *  event is to be remembered. */
  readonly learns: boolean;
  /** Some enabled rule has disableSSO. */
  readonly reauthenticates: boolean;
  readonly application: Named;
  /** The application's own; empty: the hint header's, if there is one. */
  readonly requestedAcrs: readonly string[];
  /** Lower case; undefined: a client may not ask. */
  readonly acrHintHeader: string | undefined;
  /** E-mail domain → the provider that has it; undefined: nothing asks. */
  readonly domainProviders: ReadonlyMap<string, string> | undefined;
  readonly score: RiskSettings['score'];
  /** By id. */
  readonly rules: readonly CompiledRule[];
}

/** One resource rule. */
export interface CompiledRule {
  readonly named: Named;
  readonly enabled: boolean;
  readonly strict: boolean;
  readonly acrFilter: Filter;
  /** Names. */
  readonly acrs: ReadonlySet<string>;
  readonly domainFilter: Filter;
  /** Provider ids. */
  readonly domainProviders: ReadonlySet<string>;
  /** Whether the user is in one of its groups; undefined: everyone is. */
  readonly group: Judge | undefined;
  readonly factors: readonly CompiledFactor[];
  readonly pointsInAll: number;
  readonly lowBelow: number;
  readonly mediumBelow: number;
  /** A level without a flow denies. */
  readonly flows: Readonly<Record<RiskLevel, CompiledFlow | undefined>>;
  readonly reauthenticates: boolean;
  readonly skipsSecond: boolean;
  readonly hasMachine: boolean;
  /** The trace of a rule that does not apply, ready made. */
  readonly passedOver: Readonly<Record<PassedOver, RuleTrace>>;
}

type PassedOver = 'disabled' | 'acr_filter' | 'domain_idp_filter' | 'groups';

/** One risk factor of a rule, with its traces ready made. */
export interface CompiledFactor {
  readonly judge: FactorJudge;
  readonly risk: FactorTrace;
  readonly noRisk: FactorTrace;
  readonly unknown: FactorTrace;
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
  /** A rule with machineContext applied: a machine that the user has registered goes on with a new sequence nonce. */
  readonly recognizeMachine: boolean;
  /** Its marks are recorded anew: they were not too different, or the authentication was strong. A copied cookie whose
   *  marks differ thus stays recognisable where a weak authentication suffices all the same. */
  readonly refreshMarks: boolean;
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
  /** What is not proven, in a few words; "" where nothing is missing. */
  readonly missing: string;
}

/** Compiles the resource rules of one application. Throws where the set has not been linked. */
export function compileResourceRules(input: AdaptiveInput): CompiledAdaptive {
  const parts = partsOf(input);
  const scope = input.lookups.factorScope(input.application);
  const rules = input.rules
    .map((rule) => compileRule(rule, input, parts, scope))
    .sort((a, b) => (a.named.id < b.named.id ? -1 : 1));
  const enabled = input.rules.filter((rule) => rule.enabled);
  const asksForDomain = rules.some(
    (rule) =>
      rule.domainFilter !== 'NA' || Object.values(rule.flows).some((flow) => flow?.readsDomainProvider === true),
  );
  return Object.freeze({
    needs: needsOf(enabled, input.scope, scope),
    learns: enabled.some(learnsOf),
    reauthenticates: enabled.some((rule) => rule.disableSSO),
    application: Object.freeze({ id: input.application.id, name: input.application.name }),
    requestedAcrs: input.application.requestedAcrs,
    acrHintHeader: input.application.acrHintHeader,
    domainProviders: asksForDomain ? parts.domainProviders : undefined,
    score: input.settings.score,
    rules,
  });
}

/** Decides one request that an allow policy has let through. Pure and synchronous. Throws where nobody is logged in,
 *  which an allow policy rules out. */
export function decideAdaptive(compiled: CompiledAdaptive, context: EvaluationContext): AdaptiveResult {
  if (context.identity.state !== 'known') throw new Error(`expected a user, found ${context.identity.state}`);
  const { identity } = context.identity;
  const acrs = requestedAcrs(compiled, context);
  if (!acrs) return BAD_HINT;
  const domainProvider = domainProviderOf(compiled, identity);

  const traces: RuleTrace[] = [];
  const standing: Standing = {
    allowing: [],
    strictDeny: undefined,
    strictUnavailable: undefined,
    unavailable: undefined,
    deny: undefined,
    machine: false,
    machineAtRisk: false,
  };
  for (const rule of compiled.rules) {
    const passedOver = passesOver(rule, acrs, domainProvider);
    const group = passedOver || !rule.group ? 'met' : rule.group(context);
    if (passedOver || group === 'unmet') {
      traces.push(rule.passedOver[passedOver ?? 'groups']);
      continue;
    }
    const judged = judgeRule(rule, compiled.score, isUnknown(group) ? group : undefined, context);
    traces.push(judged.trace);
    weigh(judged, standing);
  }

  if (standing.strictDeny) return denied(standing.strictDeny, traces);
  if (standing.strictUnavailable) return unavailable(standing.strictUnavailable, traces);
  if (standing.allowing.length > 0) return offered(standing, traces, compiled, identity, domainProvider, context);
  if (standing.unavailable) return unavailable(standing.unavailable, traces);
  if (standing.deny) return denied(standing.deny, traces);
  return {
    ...NOTHING,
    outcome: 'deny',
    reason: 'no_resource_rule',
    why: 'no resource rule of the application applies',
    trace: { rules: traces, alternatives: [] },
  };
}

/** What a step-up asks for as one text: the key of the loop guard. */
export function requirementOf(challenge: Challenge): string {
  // No acr value holds a quotation mark.
  return `${challenge.acrValues.join(' ')}"${challenge.maxAgeSeconds ?? ''}`;
}

/** Factors whose facts are learned from allowed authentications. */
const LEARNING_FACTORS: ReadonlySet<string> = new Set(['locationHistory', 'travelVelocity', 'machine']);

/** Such a rule needs what is remembered of the user, and what is to be remembered of him. */
function learnsOf({ disableSSO, factors }: ResourceRuleObject): boolean {
  return disableSSO || factors.some(({ type }) => LEARNING_FACTORS.has(type));
}

const HINT_VALUES_MAX = 10;
const HINT_LENGTH_MAX = 255;

const NOTHING = Object.freeze({
  rule: undefined,
  level: undefined,
  score: undefined,
  challenge: undefined,
  memory: undefined,
});

const BAD_HINT: AdaptiveResult = Object.freeze({
  ...NOTHING,
  outcome: 'bad_request',
  reason: 'request_malformed',
  why: 'the acr hint header cannot be read',
  trace: Object.freeze({ rules: [], alternatives: [] }),
});

/** The acrs that the request asks for; undefined: the hint cannot be read. A token's own acr plays no part. */
function requestedAcrs(compiled: CompiledAdaptive, { request }: EvaluationContext): readonly string[] | undefined {
  if (compiled.requestedAcrs.length > 0 || compiled.acrHintHeader === undefined) return compiled.requestedAcrs;
  const header = request.headers.single(compiled.acrHintHeader);
  if (header.state === 'absent') return compiled.requestedAcrs;
  if (header.state !== 'one' || !/^[\u0020-\u007E]*$/.test(header.value)) return undefined;
  const values = header.value.split(' ').filter((value) => value !== '');
  return values.length > HINT_VALUES_MAX || values.some((value) => value.length > HINT_LENGTH_MAX) ? undefined : values;
}

/** The provider that has exactly the user's e-mail domain; not necessarily the one that issued the token. */
function domainProviderOf({ domainProviders }: CompiledAdaptive, { email }: Identity): string | undefined {
  if (!domainProviders || email === undefined) return undefined;
  return domainProviders.get(email.slice(email.lastIndexOf('@') + 1));
}

function passesOver(
  rule: CompiledRule,
  acrs: readonly string[],
  domainProvider: string | undefined,
): PassedOver | undefined {
  if (!rule.enabled) return 'disabled';
  if (!passesAcrs(rule, acrs)) return 'acr_filter';
  return passesDomain(rule, domainProvider) ? undefined : 'domain_idp_filter';
}

function passesAcrs({ acrFilter, acrs }: CompiledRule, requested: readonly string[]): boolean {
  switch (acrFilter) {
    case 'NA':
      return true;
    case 'NONE':
      return requested.length === 0;
    case 'ANY':
      return requested.length > 0;
    case 'SPECIFIC':
      return requested.some((acr) => acrs.has(acr));
  }
}

function passesDomain({ domainFilter, domainProviders }: CompiledRule, provider: string | undefined): boolean {
  switch (domainFilter) {
    case 'NA':
      return true;
    case 'NONE':
      return provider === undefined;
    case 'ANY':
      return provider !== undefined;
    case 'SPECIFIC':
      return provider !== undefined && domainProviders.has(provider);
  }
}

/** A rule that applies, or may apply, with what it says. */
interface Judged {
  readonly rule: CompiledRule;
  /** Set where it could not be told whether the user is in its groups. */
  readonly groupUnknown: Cause | undefined;
  readonly trace: RuleTrace;
  readonly level: RiskLevel;
  /** Unrounded. */
  readonly score: number;
  readonly flow: CompiledFlow | undefined;
  readonly result: 'ALLOW' | 'DENY' | 'UNAVAILABLE';
  readonly factorDenies: boolean;
}

/** Every factor is judged, whatever the others say, so that log and explain are complete. */
function judgeRule(
  rule: CompiledRule,
  method: RiskSettings['score'],
  groupUnknown: Cause | undefined,
  context: EvaluationContext,
): Judged {
  const factors: FactorTrace[] = [];
  let points = 0;
  let factorDenies = false;
  let isUnavailable = false;
  for (const factor of rule.factors) {
    const verdict = factor.judge(context);
    const trace = verdict === 'RISK' ? factor.risk : verdict === 'NO_RISK' ? factor.noRisk : factor.unknown;
    factors.push(trace);
    if (trace.verdict === 'RISK') {
      points += trace.points;
      factorDenies ||= trace.deny;
    } else if (trace.verdict === 'UNAVAILABLE') isUnavailable = true;
  }
  const score = scoreOf(method, points, rule.pointsInAll);
  const level = levelOf(score, rule.factors.length > 0, rule.lowBelow, rule.mediumBelow);
  const flow = rule.flows[level];
  const denies = factorDenies || (!isUnavailable && (flow === undefined || flow.denies));
  const result = denies ? 'DENY' : isUnavailable ? 'UNAVAILABLE' : 'ALLOW';
  const trace: RuleTrace = {
    rule: rule.named,
    applies: groupUnknown === undefined ? 'yes' : 'unknown',
    whyNot: groupUnknown === undefined ? undefined : 'groups_unknown',
    factors,
    score: shownScore(score),
    level,
    flow: flow?.flow.name,
    result,
  };
  return { rule, groupUnknown, trace, level, score, flow, result, factorDenies };
}

/** What the rules judged so far come to; of each kind the first, which is the one of the least id. */
interface Standing {
  readonly allowing: Judged[];
  strictDeny: Judged | undefined;
  strictUnavailable: Judged | undefined;
  unavailable: Judged | undefined;
  deny: Judged | undefined;
  /** A rule with a machine factor applies. */
  machine: boolean;
  /** In one of them the machine is at risk. */
  machineAtRisk: boolean;
}

/** A rule of which it is not known whether it is for this user offers nothing; but a strict one must not be evaded by
 *  leaving its groups in doubt. */
function weigh(judged: Judged, standing: Standing): void {
  const { rule, result, groupUnknown } = judged;
  if (groupUnknown === undefined) {
    if (rule.hasMachine) {
      standing.machine = true;
      standing.machineAtRisk ||= judged.trace.factors.some(
        ({ name, verdict }) => name === 'machine' && verdict !== 'NO_RISK',
      );
    }
    if (result === 'ALLOW') standing.allowing.push(judged);
    else if (result === 'DENY') {
      standing.deny ??= judged;
      if (rule.strict) standing.strictDeny ??= judged;
    } else {
      standing.unavailable ??= judged;
      if (rule.strict) standing.strictUnavailable ??= judged;
    }
    return;
  }
  if (groupUnknown !== 'not_stated') standing.unavailable ??= judged;
  if (!rule.strict || result === 'ALLOW') return;
  if (groupUnknown === 'not_stated' && result === 'DENY') standing.strictDeny ??= judged;
  else standing.strictUnavailable ??= judged;
}

function denied(judged: Judged, traces: readonly RuleTrace[]): AdaptiveResult {
  return {
    ...NOTHING,
    outcome: 'deny',
    reason: judged.factorDenies ? 'risk_factor_denied' : 'risk_level_denied',
    rule: judged.rule.named,
    level: judged.level,
    score: shownScore(judged.score),
    why: whyDenied(judged),
    trace: { rules: traces, alternatives: [] },
  };
}

function whyDenied({ rule, trace, level, factorDenies, flow }: Judged): string {
  if (factorDenies) {
    const names = trace.factors.filter(({ verdict, deny }) => verdict === 'RISK' && deny).map(({ name }) => name);
    return `resource rule ${rule.named.name}: ${names.join(', ')} at risk denies`;
  }
  return `resource rule ${rule.named.name}: level ${level} ${flow ? `has the flow ${flow.flow.name}` : 'has no flow'}`;
}

function unavailable({ rule, groupUnknown }: Judged, traces: readonly RuleTrace[]): AdaptiveResult {
  return {
    ...NOTHING,
    outcome: 'unavailable',
    reason: 'fact_unavailable',
    rule: rule.named,
    why: `resource rule ${rule.named.name}: ${groupUnknown === undefined ? 'a fact of a risk factor' : 'a fact of its groups'} could not be had`,
    trace: { rules: traces, alternatives: [] },
  };
}

/** The flows of the allowing rules are alternatives: any one is enough. */
function offered(
  standing: Standing,
  traces: readonly RuleTrace[],
  compiled: CompiledAdaptive,
  identity: Identity,
  domainProvider: string | undefined,
  context: EvaluationContext,
): AdaptiveResult {
  const { allowing } = standing;
  if (allowing.length > 1) allowing.sort(byPreference);
  const alternatives: AlternativeTrace[] = [];
  let first: Offer | undefined;
  let met: Offer | undefined;
  for (const judged of allowing) {
    const offer = offerOf(judged, compiled, identity, domainProvider, context);
    if (!offer) continue;
    first ??= offer;
    if (offer.satisfaction.satisfied) met ??= offer;
    alternatives.push(alternativeTrace(offer));
  }
  const chosen = met ?? first;
  if (!chosen) throw new Error('expected a flow of a rule that allows, found none');
  const { judged, satisfaction, flow } = chosen;
  return {
    outcome: met ? 'allow' : 'step_up',
    reason: met ? 'policy_allowed' : 'step_up_required',
    rule: judged.rule.named,
    level: judged.level,
    score: shownScore(judged.score),
    challenge: met
      ? undefined
      : {
          acrValues: forIssuer(flow, identity.issuer).acrValues,
          maxAgeSeconds: satisfaction.limitSeconds,
          onlyFreshness: satisfaction.onlyFreshness,
          promptLogin: chosen.reauthenticate && !satisfaction.isFresh,
        },
    memory: met
      ? {
          learn: compiled.learns,
          admit: compiled.reauthenticates && isYounger(identity, REAUTHENTICATION_SECONDS, context.nowMs),
          recognizeMachine: standing.machine,
          refreshMarks: standing.machine && (satisfaction.isStrong || !standing.machineAtRisk),
          registerMachine: standing.machine && satisfaction.isStrong,
        }
      : undefined,
    why: met ? '' : `flow ${flow.flow.name}: ${satisfaction.missing} is missing`,
    trace: { rules: traces, alternatives },
  };
}

/** Least assurance first, then least level, score and id. */
function byPreference(a: Judged, b: Judged): number {
  return (
    (a.flow?.assurance ?? 0) - (b.flow?.assurance ?? 0) ||
    LEVEL_RANK[a.level] - LEVEL_RANK[b.level] ||
    a.score - b.score ||
    (a.rule.named.id < b.rule.named.id ? -1 : 1)
  );
}

const LEVEL_RANK: Readonly<Record<RiskLevel, number>> = { LOW: 0, MEDIUM: 1, HIGH: 2 };

interface Offer {
  readonly judged: Judged;
  readonly flow: CompiledFlow;
  readonly satisfaction: Satisfaction;
  readonly reauthenticate: boolean;
}

function offerOf(
  judged: Judged,
  compiled: CompiledAdaptive,
  identity: Identity,
  domainProvider: string | undefined,
  context: EvaluationContext,
): Offer | undefined {
  const { rule, flow, level } = judged;
  if (!flow) return undefined;
  const reauthenticate = rule.reauthenticates && !isAdmitted(context.history, compiled.application.id);
  const satisfaction = satisfies(flow, identity, {
    nowMs: context.nowMs,
    domainProvider,
    reauthenticate,
    waivesSecond: rule.skipsSecond && level === 'LOW' && !identity.userExists && identity.source !== 'headers',
  });
  return { judged, flow, satisfaction, reauthenticate };
}

function alternativeTrace({ judged, flow, satisfaction }: Offer): AlternativeTrace {
  return {
    rule: judged.rule.named,
    level: judged.level,
    score: shownScore(judged.score),
    flow: flow.flow.name,
    satisfied: satisfaction.satisfied,
    missing: satisfaction.missing,
  };
}

/** What the rules of all applications of one set share. */
interface SetParts {
  /** E-mail domain → provider id. */
  readonly domainProviders: ReadonlyMap<string, string>;
  readonly compiledFlow: (flow: Flow) => CompiledFlow;
}

/** Kept as long as the lookups of a set, so that a set of many applications does not pay for each of them. */
const PARTS = new WeakMap<AdaptiveInput['lookups'], SetParts>();

function partsOf({ set, lookups, providers }: AdaptiveInput): SetParts {
  const known = PARTS.get(lookups);
  if (known) return known;
  const authenticators = compileAuthenticators(set.authenticators);
  const flows = new Map<Flow, CompiledFlow>();
  const parts: SetParts = {
    domainProviders: new Map(providers.flatMap(({ id, domains }) => domains.map((domain) => [domain, id] as const))),
    compiledFlow: (flow) => {
      const compiled =
        flows.get(flow) ?? compileFlow(flow, authenticators, (mention) => lookups.mentionedProvider(mention)?.id);
      flows.set(flow, compiled);
      return compiled;
    },
  };
  PARTS.set(lookups, parts);
  return parts;
}

function compileRule(
  rule: ResourceRuleObject,
  input: AdaptiveInput,
  parts: SetParts,
  scope: FactorScope,
): CompiledRule {
  const named = Object.freeze({ id: rule.id, name: rule.name });
  const flowOf = (use: FlowUse | undefined): CompiledFlow | undefined => {
    if (!use) return undefined;
    const flow = input.lookups.flow(use);
    if (!flow) throw new Error(`unlinked flow of resource rule ${rule.id}`);
    return parts.compiledFlow(flow);
  };
  const passedOver = (whyNot: PassedOver): RuleTrace =>
    Object.freeze({
      rule: named,
      applies: 'no',
      whyNot,
      factors: [],
      score: undefined,
      level: undefined,
      flow: undefined,
      result: undefined,
    });
  return Object.freeze({
    named,
    enabled: rule.enabled,
    strict: rule.strictAccess,
    acrFilter: rule.acrFilter,
    acrs: new Set(rule.acrs.map((mention) => input.lookups.acr(mention)?.name).filter((name) => name !== undefined)),
    domainFilter: rule.domainIdpFilter,
    domainProviders: new Set(
      rule.domainIdps.map((mention) => input.lookups.mentionedProvider(mention)?.id).filter((id) => id !== undefined),
    ),
    group: groupJudge(rule, input.scope),
    factors: rule.factors.map((factor) => compileFactor(factor, scope)),
    pointsInAll: rule.factors.reduce((sum, { context }) => sum + context.riskPoint, 0),
    lowBelow: rule.lowRiskThreshold,
    mediumBelow: rule.mediumRiskThreshold,
    flows: { LOW: flowOf(rule.flows.low), MEDIUM: flowOf(rule.flows.medium), HIGH: flowOf(rule.flows.high) },
    reauthenticates: rule.disableSSO,
    skipsSecond: rule.skipSecondFactorIfUserNotExist,
    hasMachine: rule.factors.some(({ type }) => type === 'machine'),
    passedOver: {
      disabled: passedOver('disabled'),
      acr_filter: passedOver('acr_filter'),
      domain_idp_filter: passedOver('domain_idp_filter'),
      groups: passedOver('groups'),
    },
  });
}

function groupJudge(rule: ResourceRuleObject, scope: RuleScope): Judge | undefined {
  if (rule.groups.some((mention) => isAllGroups(mention, scope.group))) return undefined;
  return anyJudge(
    rule.groups.map((mention) => {
      const group = scope.group(mention.id ?? mention.name ?? '');
      if (!group) throw new Error(`unlinked group of resource rule ${rule.id}`);
      return group.judge;
    }),
  );
}

function compileFactor({ type: typeName, name, context }: FactorObject, scope: FactorScope): CompiledFactor {
  const type = factorType(typeName);
  if (!type) throw new Error(`unknown risk factor ${typeName}`);
  const traceOf = (verdict: FactorTrace['verdict'], unknown: boolean): FactorTrace =>
    Object.freeze({
      name,
      verdict,
      unknown,
      points: context.riskPoint,
      deny: context.denyAccess === true,
      seen: (request: EvaluationContext) => type.seen(request, context),
    });
  return Object.freeze({
    judge: type.compile(context, scope),
    risk: traceOf('RISK', false),
    noRisk: traceOf('NO_RISK', false),
    unknown: traceOf(context.onUnknown ?? type.unknownCounts(context), true),
  });
}

function needsOf(rules: readonly ResourceRuleObject[], scope: RuleScope, factors: FactorScope): readonly Need[] {
  const needs = new Map<string, Need>();
  const add = (need: Need): void => {
    needs.set(JSON.stringify(need), need);
  };
  add({ fact: 'identity' });
  for (const rule of rules) {
    if (learnsOf(rule)) add({ fact: 'history' });
    for (const mention of rule.groups) {
      if (!isAllGroups(mention, scope.group)) scope.group(mention.id ?? mention.name ?? '')?.needs.forEach(add);
    }
    for (const { type, context } of rule.factors) factorType(type)?.needs(context, factors).forEach(add);
  }
  return [...needs.values()];
}
