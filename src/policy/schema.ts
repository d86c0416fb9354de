import { factorTypes } from '../risk/registry.ts';
import { ruleSchema } from '../rules/registry.ts';
import { z } from '../shared/shape.ts';
import { FILE_KEYS } from './shape.ts';
import { ISSUED_TOKENS, TRANSACTION_DETAIL } from './shape-applications.ts';
import { ENGINE_RULE } from './shape-risk.ts';

type Json = Record<string, unknown>;

/** The JSON Schema (draft 7, which editors know best) of a policy file. It describes what is written, for completion
 *  and hints; `postern validate` finds more. Any value may be null, which means absent. */
export function policySchema(): object {
  const definitions: Json = { rule: jsonOf(ruleSchema()) };
  const properties: Json = {};
  for (const [key, { shape, description }] of Object.entries(FILE_KEYS)) {
    definitions[key] = nullable(jsonOf(shape));
    properties[key] = { description, type: ['array', 'null'], items: { $ref: `#/definitions/${key}` } };
  }
  complete(definitions);
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    // Its references hold where it is a part of another schema, too.
    $id: 'urn:postern:policies',
    title: 'Postern policies',
    description: 'Applications, policies, groups and resource rules. All files of the folder together are one set.',
    type: 'object',
    additionalProperties: false,
    properties,
    definitions,
  };
}

const RULE_LISTS = ['include', 'require', 'exclude'] as const;

/** Fills in what the shapes leave to other readers: rules, risk contexts, inline policies and flows. */
function complete(definitions: Json): void {
  const rules = { type: ['array', 'null'], items: { $ref: '#/definitions/rule' } };
  for (const key of ['policies', 'groups']) {
    const members = propertiesOf(definitions[key]);
    for (const list of RULE_LISTS) members[list] = { ...(members[list] as Json), ...rules };
  }
  const application = propertiesOf(definitions['applications']);
  application['policies'] = {
    ...(application['policies'] as Json),
    items: {
      anyOf: [
        { type: 'string', description: 'The id of a reusable policy.' },
        {
          type: 'object',
          description: 'A reusable policy.',
          required: ['id'],
          properties: { id: { type: 'string' }, precedence: { type: 'integer' } },
          additionalProperties: false,
        },
        { $ref: '#/definitions/policies' },
      ],
    },
  };
  application['issued_tokens'] = { ...(application['issued_tokens'] as Json), ...nullable(jsonOf(ISSUED_TOKENS)) };
  application['transaction'] = {
    ...(application['transaction'] as Json),
    additionalProperties: jsonOf(TRANSACTION_DETAIL),
  };
  const own = definitions['applications'] as Json;
  own['patternProperties'] = { '^custom_': {} };
  const engine = propertiesOf(definitions['risk_engines']);
  engine['rules'] = { ...(engine['rules'] as Json), items: jsonOf(ENGINE_RULE) };
  const rule = propertiesOf(definitions['resource_rules']);
  for (const { property, isList, description, shape } of factorTypes) {
    const context = nullable(jsonOf(shape));
    rule[property] = isList ? { description, type: ['array', 'null'], items: context } : { description, ...context };
  }
  definitions['inline_flow'] = { ...(definitions['authentication_flows'] as Json), required: [] };
  for (const level of ['low', 'medium', 'high']) {
    const key = `${level}RiskAuthenticationFlow`;
    rule[key] = { ...(rule[key] as Json), $ref: '#/definitions/inline_flow' };
  }
}

function propertiesOf(definition: unknown): Json {
  return (definition as { readonly properties: Json }).properties;
}

function jsonOf(shape: z.ZodType): Json {
  const { $schema: _draft, ...json } = z.toJSONSchema(shape, {
    target: 'draft-7',
    io: 'input',
    unrepresentable: 'any',
  }) as Json;
  return json;
}

/** Every optional member may be null. */
function nullable(schema: Json): Json {
  const members = schema['properties'];
  if (members === null || typeof members !== 'object') return schema;
  const required = new Set(Array.isArray(schema['required']) ? (schema['required'] as unknown[]) : []);
  return {
    ...schema,
    properties: Object.fromEntries(
      Object.entries(members as Json).map(([key, member]) => [
        key,
        required.has(key) ? member : withNull(member as Json),
      ]),
    ),
  };
}

function withNull(member: Json): Json {
  const { description, ...rest } = member;
  if (Object.keys(rest).length === 0) return member;
  if (typeof rest['type'] === 'string' && !Array.isArray(rest['enum']))
    return { ...member, type: [rest['type'], 'null'] };
  if (Array.isArray(rest['type'])) return member;
  return { ...(description === undefined ? {} : { description }), anyOf: [rest, { type: 'null' }] };
}
