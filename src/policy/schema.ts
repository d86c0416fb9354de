import { factorTypes } from '../risk/registry.ts';
import { ruleSchema } from '../rules/registry.ts';
import { z } from '../shared/shape.ts';
import { FILE_KEYS } from './shape.ts';
import type { FileKey } from './shape.ts';
import { ISSUED_TOKENS, TRANSACTION_DETAIL } from './shape-applications.ts';
import { ENGINE_RULE } from './shape-risk.ts';

type Json = Record<string, unknown>;

/** The JSON Schema (draft 7, which editors know best) of a policy file. It describes what is written, for completion
 *  and hints; `postern validate` finds more. Any value may be null, which means absent. */
export function policySchema(): object {
  const definitions: Json = { rule: jsonOf(ruleSchema()) };
  const properties: Json = {};
  for (const [key, { shape, description }] of Object.entries(FILE_KEYS) as [FileKey, (typeof FILE_KEYS)[FileKey]][]) {
    definitions[key] = nullable(jsonOf(shape));
    const source = SOURCES[key];
    properties[key] = {
      description: `${description} Source: ${source}.`,
      type: ['array', 'null'],
      items: { $ref: `#/definitions/${key}` },
    };
  }
  complete(definitions);
  for (const key of Object.keys(FILE_KEYS) as FileKey[]) nameSources(definitions[key] as Json, SOURCES[key]);
  for (const { property } of factorTypes) {
    const context = propertiesOf(definitions['resource_rules'])[property] as Json;
    nameSources((context['items'] ?? context) as Json, `Entrust IDaaS, ${modelOf(property)}`);
  }
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

/** Whose words the keys of each list are. */
const SOURCES: Readonly<Record<FileKey, string>> = {
  applications: 'Cloudflare Access, applications',
  policies: 'Cloudflare Access, policies',
  groups: 'Cloudflare Access, groups',
  lists: 'Cloudflare Gateway, lists',
  service_tokens: 'Cloudflare Access, service tokens',
  scim_groups: 'Cloudflare Access, SCIM groups',
  resource_rules: 'Entrust IDaaS, ResourceRule',
  authentication_flows: 'Entrust IDaaS, AuthenticationFlow',
  acrs: 'Entrust IDaaS, Acr',
  authenticators: 'Postern',
  transaction_rules: 'Entrust IDaaS, transaction rules',
  risk_engines: 'Entrust IDaaS, Generic API',
};

/** Keys that Postern adds to what it takes over. */
const OWN_KEYS: ReadonlySet<string> = new Set([
  'transaction',
  'requested_acrs',
  'acr_hint_header',
  'issued_tokens',
  'client_secret_sha256',
  'previous_client_secret_sha256',
  'maxAge',
  'acrValues',
  'onUnknown',
]);

/** The model of a context: `ipContext` holds an IpContext, `transactionContexts` a list of TransactionContext. */
function modelOf(property: string): string {
  if (property === 'riskEngineContexts') return 'TransactionContext';
  return `${property.charAt(0).toUpperCase()}${property.slice(1).replace(/s$/, '')}`;
}

/** Says with every key whose it is. */
function nameSources(definition: Json, source: string): void {
  const members = definition['properties'] as Json | undefined;
  for (const [key, member] of Object.entries(members ?? {})) {
    const described = member as { description?: string };
    described.description =
      `${described.description ?? ''} Source: ${OWN_KEYS.has(key) ? 'Postern' : source}.`.trimStart();
  }
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
          properties: {
            id: { type: 'string', description: 'The id of the policy.' },
            precedence: { type: 'integer', description: 'From exports: unique and ascending.' },
          },
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
    const { description } = rule[key] as Json;
    rule[key] = { description, anyOf: [{ $ref: '#/definitions/inline_flow' }, { type: 'null' }] };
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
