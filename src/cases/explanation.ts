/** An explanation as JSON: what `postern explain --json` prints, and whoever shows explanations may rely on. Keys may
 *  come to be added; none is taken away. No token, credential, cookie or query is ever in it. */
import { redactedText, timeText } from '../log.ts';
import type { EvaluationContext } from '../model/context.ts';
import { REASONS } from '../model/decision.ts';
import type { IdentityFact } from '../model/identity.ts';
import type { RequestFacts } from '../model/request.ts';
import { ruleText } from '../policy/explain.ts';
import type {
  At,
  Explanation,
  PolicyExplanation,
  ResourceRuleExplanation,
  RuleExplanation,
} from '../policy/explain.ts';
import { z } from '../shared/shape.ts';

const AT = z
  .object({ file: z.string(), line: z.number(), column: z.number() })
  .describe('Where it is written: file relative to the config folder, line and column from 1.');

const VERDICT = z
  .enum(['met', 'unmet', 'no_identity', 'unavailable', 'not_stated'])
  .describe(
    'The last three: unknown, because nobody is logged in, because the fact could not be had, because the token or certificate does not say.',
  );

const RULE: z.ZodType<RuleJson> = z.lazy(() =>
  z.object({
    type: z.string().describe('The word of the rule type.'),
    value: z.unknown().describe('As written.'),
    text: z.string().describe('The rule in a few words.'),
    verdict: VERDICT,
    saw: z.string().describe('The fact that it saw.'),
    at: AT,
    group: z
      .object({
        id: z.string(),
        name: z.string(),
        at: AT,
        above: z.boolean().describe('It is told further up; its lists are empty here.'),
        include: z.array(RULE),
        require: z.array(RULE),
        exclude: z.array(RULE),
      })
      .optional()
      .describe('What a group rule names.'),
  }),
);

/** The shape of an explanation. */
export const explanationShape = z.object({
  outcome: z.enum(['allow', 'unauthenticated', 'step_up', 'deny', 'bad_request', 'unavailable']),
  reason: z.enum(Object.keys(REASONS) as [keyof typeof REASONS, ...(keyof typeof REASONS)[]]),
  meaning: z.string().describe('What the reason means.'),
  why: z.string().describe('More in words; may be empty.'),
  revision: z.string(),
  time: z.string().describe("By the rules' clock."),
  request: z
    .object({ method: z.string(), host: z.string(), path: z.string().describe('Canonical, without the query.') })
    .optional()
    .describe('Absent where it cannot be read.'),
  application: z
    .object({
      id: z.string(),
      name: z.string(),
      at: AT,
      destination: z.string().describe('The pattern that covers the request.'),
      destination_at: AT,
      others: z
        .array(z.object({ application: z.string(), destination: z.string(), at: AT, because: z.string() }))
        .describe('Patterns that cover it too, the most specific first, with why each lost.'),
    })
    .optional()
    .describe('Absent where none covers the request.'),
  nearest: z
    .array(z.object({ application: z.string(), destination: z.string(), at: AT }))
    .optional()
    .describe('Where none covers it: the destinations nearest to it.'),
  identity: z
    .object({
      state: z
        .enum(['nobody', 'known', 'invalid', 'unverifiable', 'not_read'])
        .describe('not_read: the application does not ask who it is.'),
      why: z.string().optional(),
      source: z.string().optional(),
      issuer: z.string().optional(),
      subject: z.string().optional(),
      email: z.string().optional(),
      provider: z.string().optional(),
      provider_name: z.string().optional(),
      amr: z.array(z.string()).optional(),
      acr: z.string().optional(),
      auth_time: z.number().optional().describe('Seconds since the epoch.'),
      issued_at: z.number().optional().describe('Seconds since the epoch.'),
    })
    .describe('Who it was decided for, and what the token proves.'),
  policy: z.string().optional().describe('The name of the policy that decided.'),
  resource_rule: z.string().optional().describe('The name of the resource rule that is reported.'),
  risk_level: z.enum(['LOW', 'MEDIUM', 'HIGH']).optional(),
  risk_score: z.number().optional(),
  challenge: z
    .object({ acr_values: z.array(z.string()), max_age: z.number().optional() })
    .optional()
    .describe('What a step-up asks for (RFC 9470).'),
  decided_by: z
    .array(
      z.object({
        what: z.enum(['destination', 'policy', 'rule', 'resource_rule', 'factor']),
        text: z.string(),
        at: AT,
      }),
    )
    .describe('The lines that decided; where nothing let the caller in, what kept each policy from it.'),
  policies: z
    .array(
      z.object({
        id: z.string(),
        name: z.string(),
        decision: z.enum(['allow', 'deny', 'non_identity', 'bypass']),
        at: AT,
        verdict: VERDICT,
        standing: z
          .enum(['decides', 'matches', 'open', 'passes', 'not_asked'])
          .describe(
            'decides; matches, but something unknown before it leaves the answer open; open: a fact is unknown; passes: does not match; not_asked any more.',
          ),
        include: z.array(RULE),
        require: z.array(RULE),
        exclude: z.array(RULE),
      }),
    )
    .describe('In the order in which they are asked.'),
  adaptive: z
    .object({
      rules: z.array(
        z.object({
          id: z.string(),
          name: z.string(),
          at: AT,
          applies: z.boolean(),
          why_not: z
            .enum(['disabled', 'acr_filter', 'domain_idp_filter', 'groups', 'groups_unknown'])
            .optional()
            .describe('groups_unknown: it offers nothing, and where it is strict its denial counts.'),
          strict: z.boolean(),
          groups: z.array(z.object({ name: z.string(), verdict: VERDICT, at: AT })),
          factors: z.array(
            z.object({
              name: z.string(),
              verdict: z.enum(['RISK', 'NO_RISK', 'UNAVAILABLE']).describe('After the default for UNKNOWN.'),
              unknown: z.boolean().describe('That default was used.'),
              points: z.number(),
              deny: z.boolean().describe('At risk, it denies whatever the score.'),
              saw: z.string(),
              at: AT,
            }),
          ),
          score: z.number().optional(),
          level: z.enum(['LOW', 'MEDIUM', 'HIGH']).optional(),
          thresholds: z.object({ low: z.number(), medium: z.number() }),
          flow: z.string().optional().describe("The level's flow; absent: none, which denies."),
          result: z.enum(['ALLOW', 'DENY', 'UNAVAILABLE']).optional(),
        }),
      ),
      alternatives: z
        .array(
          z.object({
            rule: z.string().describe('The id of the resource rule.'),
            rule_name: z.string(),
            flow: z.string(),
            satisfied: z.boolean(),
            missing: z.string().describe('Empty where it is satisfied.'),
          }),
        )
        .describe('In order of preference; any one is enough.'),
    })
    .optional()
    .describe('Absent where the adaptive step was not asked.'),
  would_be_allowed: z
    .array(
      z.object({
        text: z.string(),
        any_of: z
          .array(z.record(z.string(), z.record(z.string(), z.unknown())))
          .describe('Members of a case that replace those of the request; each was tried.'),
      }),
    )
    .describe('The fewest changes after which the request is allowed; empty for an allow, and where none was found.'),
  notes: z.array(z.string()).describe('What the reader should know of how this was found.'),
});

export type ExplanationJson = z.infer<typeof explanationShape>;

interface RuleJson {
  readonly type: string;
  readonly value?: unknown;
  readonly text: string;
  readonly verdict: z.infer<typeof VERDICT>;
  readonly saw: string;
  readonly at: At;
  readonly group?:
    | {
        readonly id: string;
        readonly name: string;
        readonly at: At;
        readonly above: boolean;
        readonly include: readonly RuleJson[];
        readonly require: readonly RuleJson[];
        readonly exclude: readonly RuleJson[];
      }
    | undefined;
}

/** The JSON Schema (draft 7) of an explanation. */
export function explanationSchema(): object {
  const { $schema: _draft, ...json } = z.toJSONSchema(explanationShape, { target: 'draft-7', io: 'output' }) as Record<
    string,
    unknown
  >;
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    $id: 'urn:postern:explanation',
    title: 'Postern explanation',
    description: 'What postern explain --json prints. Keys may come to be added: ignore what you do not know.',
    ...json,
  };
}

/** What was explained. */
export interface Explained {
  readonly explanation: Explanation;
  readonly revision: string;
  /** Undefined: it cannot be read. */
  readonly request: RequestFacts | undefined;
  /** Undefined: nothing was gathered. */
  readonly context: EvaluationContext | undefined;
  /** Milliseconds since the epoch. */
  readonly timeMs: number;
  readonly notes: readonly string[];
  /** The name of an identity provider, by its id. */
  readonly providerName: (id: string) => string | undefined;
}

/** An explanation as JSON. */
export function explanationJson({
  explanation,
  revision,
  request,
  context,
  timeMs,
  notes,
  providerName,
}: Explained): ExplanationJson {
  const { decision, application, adaptive } = explanation;
  const { challenge } = decision;
  return {
    outcome: decision.outcome,
    reason: decision.reason,
    meaning: REASONS[decision.reason],
    why: safe(decision.why),
    revision,
    time: timeText(timeMs),
    request: request && { method: request.method, host: request.host, path: safe(request.path) },
    application: application && {
      id: application.id,
      name: application.name,
      at: application.at,
      destination: application.destination,
      destination_at: application.destinationAt,
      others: [...application.others],
    },
    nearest: explanation.nearest.length > 0 ? [...explanation.nearest] : undefined,
    identity: context && application ? toldFact(context.identity, providerName) : { state: 'not_read' },
    policy: decision.policy?.name,
    resource_rule: decision.resourceRule?.name,
    risk_level: decision.riskLevel,
    risk_score: decision.riskScore,
    challenge: challenge && { acr_values: [...challenge.acrValues], max_age: challenge.maxAgeSeconds },
    decided_by: [...explanation.decidedBy],
    policies: explanation.policies.map(policyJson),
    adaptive: adaptive && {
      rules: adaptive.rules.map(resourceRuleJson),
      alternatives: adaptive.alternatives.map(({ rule, flow, satisfied, missing }) => ({
        rule: rule.id,
        rule_name: rule.name,
        flow,
        satisfied,
        missing,
      })),
    },
    would_be_allowed: explanation.changes.map(({ text, anyOf }) => ({
      text,
      any_of: anyOf.map((one) => ({ ...one })),
    })),
    notes: [...notes],
  };
}

const TEXT_MAX = 1_024;

/** What a request said may hold anything: what looks like a token or credential is left out. */
function safe(text: string): string {
  return redactedText(text, TEXT_MAX);
}

function toldFact(fact: IdentityFact, providerName: Explained['providerName']): ExplanationJson['identity'] {
  switch (fact.state) {
    case 'nobody':
      return { state: 'nobody' };
    case 'invalid':
      return { state: 'invalid', why: safe(fact.why) };
    case 'unavailable':
      return { state: 'unverifiable', why: safe(fact.why) };
    case 'known': {
      const { identity } = fact;
      return {
        state: 'known',
        source: identity.source,
        issuer: identity.issuer,
        subject: identity.subject,
        email: identity.email,
        provider: identity.provider?.id,
        provider_name: identity.provider && providerName(identity.provider.id),
        amr: identity.amr && [...identity.amr],
        acr: identity.acr,
        auth_time: identity.authTime,
        issued_at: identity.issuedAt,
      };
    }
  }
}

function policyJson(policy: PolicyExplanation): ExplanationJson['policies'][number] {
  const { id, name, decision, at, verdict, standing } = policy;
  return { id, name, decision, at, verdict, standing, ...listsJson(policy) };
}

function listsJson(lists: {
  readonly include: readonly RuleExplanation[];
  readonly require: readonly RuleExplanation[];
  readonly exclude: readonly RuleExplanation[];
}): { include: RuleJson[]; require: RuleJson[]; exclude: RuleJson[] } {
  return {
    include: lists.include.map(ruleJson),
    require: lists.require.map(ruleJson),
    exclude: lists.exclude.map(ruleJson),
  };
}

function ruleJson(rule: RuleExplanation): RuleJson {
  const { type, value, verdict, saw, at, group } = rule;
  return {
    type,
    value,
    text: ruleText(rule),
    verdict,
    saw: safe(saw),
    at,
    group: group && { id: group.id, name: group.name, at: group.at, above: group.above, ...listsJson(group) },
  };
}

function resourceRuleJson(rule: ResourceRuleExplanation): NonNullable<ExplanationJson['adaptive']>['rules'][number] {
  return {
    id: rule.id,
    name: rule.name,
    at: rule.at,
    applies: rule.applies === 'yes',
    why_not: rule.whyNot,
    strict: rule.strict,
    groups: [...rule.groups],
    factors: rule.factors.map((factor) => ({ ...factor, saw: safe(factor.saw) })),
    score: rule.score,
    level: rule.level,
    thresholds: rule.thresholds,
    flow: rule.flow,
    result: rule.result,
  };
}
