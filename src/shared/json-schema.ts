/** JSON Schemas of what users write, where `null` means absent: every member that is not required may be null, at any
 *  depth. */
type Json = Record<string, unknown>;

export function withNulls(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(withNulls);
  if (typeof schema !== 'object' || schema === null) return schema;
  const inner = Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, withNulls(value)])) as Json;
  const members = inner['properties'];
  if (typeof members !== 'object' || members === null || Array.isArray(members)) return inner;
  const required = new Set(Array.isArray(inner['required']) ? (inner['required'] as unknown[]) : []);
  return {
    ...inner,
    properties: Object.fromEntries(
      Object.entries(members as Json).map(([key, member]) => [
        key,
        required.has(key) ? member : orNull(member as Json),
      ]),
    ),
  };
}

/** Description and default stay where editors look for them. */
function orNull(member: Json): Json {
  const { type } = member;
  if (Array.isArray(type))
    return type.includes('null') ? member : { ...member, type: [...(type as unknown[]), 'null'] };
  if (typeof type === 'string' && !('enum' in member) && !('const' in member))
    return { ...member, type: [type, 'null'] };
  const { description, default: standard, ...rest } = member;
  if (Object.keys(rest).length === 0) return member;
  const options =
    Array.isArray(rest['anyOf']) && Object.keys(rest).length === 1 ? (rest['anyOf'] as unknown[]) : [rest];
  return {
    ...(description === undefined ? {} : { description }),
    ...(standard === undefined ? {} : { default: standard }),
    anyOf: [...options, { type: 'null' }],
  };
}
