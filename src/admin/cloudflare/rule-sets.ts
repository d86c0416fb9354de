/** Bodies with include, exclude and require. */
import type { Data } from './call.ts';

/** Of one object, all three lists together. */
export const RULES_MAX = 10_000;

/** The body with all three lists where they can be told, and provider rules with `identity_provider_id` where old
 *  clients wrote `connection_id`. Rules are otherwise kept as they are, right or wrong. */
export function rulesSent(body: Data): Data {
  return {
    ...body,
    ...(body['include'] === undefined ? {} : { include: rules(body['include']) }),
    exclude: rules(body['exclude'] ?? []),
    require: rules(body['require'] ?? []),
  };
}

function rules(written: unknown): unknown {
  return Array.isArray(written) ? written.map(rule) : written;
}

function rule(written: unknown): unknown {
  if (!isData(written)) return written;
  const values = Object.entries(written);
  if (!values.some(([, value]) => isData(value) && Object.hasOwn(value, 'connection_id'))) return written;
  return Object.fromEntries(values.map(([word, value]) => [word, isData(value) ? renamed(value) : value]));
}

function renamed(value: Data): Data {
  if (!Object.hasOwn(value, 'connection_id') || Object.hasOwn(value, 'identity_provider_id')) return value;
  const { connection_id: provider, ...rest } = value;
  return { ...rest, identity_provider_id: provider };
}

function isData(value: unknown): value is Data {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}
