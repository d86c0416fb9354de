/** The shape of a line of the decision log: what readers may rely on. */
import { REASONS } from './model/decision.ts';
import { REPLAY_KEY, replayShape } from './policy/replay.ts';
import { z } from './shared/shape.ts';
import type { ShapeOutput } from './shared/shape.ts';

const OUTCOMES = ['allow', 'unauthenticated', 'step_up', 'deny', 'bad_request', 'unavailable'] as const;
const REASON_CODES = Object.keys(REASONS) as [keyof typeof REASONS, ...(keyof typeof REASONS)[]];

/** An object of the policy files. */
const NAMED = z.looseObject({
  id: z.string().describe('Its id in the policy files.'),
  name: z.string().describe('Its name at that time.'),
});

/** One line. Keys may come to be added: readers ignore what they do not know. */
export const decisionLineShape = z.looseObject({
  level: z.literal('info').describe('Always `info`: the setting `log.decisions` chooses the lines, not their level.'),
  time: z.iso.datetime({ precision: 3 }).describe('When it was decided, RFC 3339 in UTC with milliseconds.'),
  msg: z.literal('decision').describe('What tells these lines from the others of standard output.'),
  decision_id: z.string().describe('The id that the caller and the dynamic metadata of Envoy got too.'),
  outcome: z.enum(OUTCOMES).describe('What was decided. Only `allow` let the request through.'),
  reason: z.enum(REASON_CODES).describe('Why, of a closed list.'),
  why: z.string().describe('The same in words, for people. May be empty, may change.'),
  method: z.string().optional().describe('HTTP method.'),
  host: z.string().optional().describe('Lower case, without port.'),
  path: z.string().optional().describe('Canonical path, without the query.'),
  client_address: z.string().optional().describe('The IP address of the client, as `client_address` finds it.'),
  country: z.string().optional().describe('Of that address: ISO 3166-1 alpha-2, `XX` (no data) or `T1` (Tor).'),
  application: NAMED.optional().describe('The application that covers the request.'),
  policy: NAMED.optional().describe('The policy that decided.'),
  resource_rule: NAMED.optional().describe('The resource rule whose flow decided.'),
  risk_level: z.enum(['LOW', 'MEDIUM', 'HIGH']).optional().describe('The level that the risk came to.'),
  risk_score: z.number().optional().describe('Its points.'),
  subject: z
    .string()
    .optional()
    .describe('The id of the caller at the identity provider, where somebody is logged in.'),
  email: z.string().optional().describe('The e-mail address of the same.'),
  provider: z.string().optional().describe('The id of the identity provider of the same.'),
  principal: z
    .string()
    .optional()
    .describe(
      "Of the connection's client certificate, where Envoy asks for one, as Envoy names it (`source.principal`): its first URI, DNS name or subject. In a mesh the SPIFFE id of the workload that calls.",
    ),
  revision: z.string().describe('The revision of the configuration that decided.'),
  duration_ms: z.number().describe('From the bytes of the check to those of its answer.'),
  trace_id: z
    .string()
    .regex(/^[0-9a-f]{32}$/)
    .optional()
    .describe(
      'Of the `traceparent` that came with the call (Envoy that traces sends one), else of that of the request (W3C Trace Context), where it is valid.',
    ),
  span_id: z
    .string()
    .regex(/^[0-9a-f]{16}$/)
    .optional()
    .describe('Of the same: the span that asked.'),
  trace_flags: z
    .string()
    .regex(/^[0-9a-f]{2}$/)
    .optional()
    .describe('Of the same: `01` where the trace is sampled.'),
  allow_sample: z
    .number()
    .optional()
    .describe(
      'With an allow, where not all are logged: the share that is. Each such line stands for 1 / allow_sample.',
    ),
  [REPLAY_KEY]: replayShape
    .optional()
    .describe('With `log.requests: replay`, where the request could be read: the facts that it was decided on.'),
});

export type DecisionLine = ShapeOutput<typeof decisionLineShape>;

/** The JSON Schema of a line, draft 2020-12. */
export function decisionLineSchema(): object {
  return {
    ...z.toJSONSchema(decisionLineShape, { io: 'output', unrepresentable: 'any' }),
    title: 'Postern decision log line',
    description: 'One line of JSON per decision. Keys may come to be added: ignore what you do not know.',
  };
}
