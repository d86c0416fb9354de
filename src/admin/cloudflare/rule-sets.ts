/** Bodies with include, exclude and require. */
import type { AdminRevision } from '../managed.ts';
import type { AdminResponse } from '../server.ts';
import { invalid } from './answers.ts';
import type { Data } from './call.ts';
import { isObject } from '../../shared/object.ts';

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

/** The answer to an object with too many rules, all three lists together; undefined where they are few enough. */
export function tooManyRules(revision: AdminRevision, sent: Data): AdminResponse | undefined {
  const count = ['include', 'exclude', 'require'].reduce((sum, key) => {
    const list = sent[key];
    return sum + (Array.isArray(list) ? list.length : 0);
  }, 0);
  if (count <= RULES_MAX) return undefined;
  return invalid(revision.id, 'rules_too_many', `expected at most ${RULES_MAX} rules, found ${count}`);
}

const RULES_MAX = 10_000;

function rules(written: unknown): unknown {
  return Array.isArray(written) ? written.map(rule) : written;
}

function rule(written: unknown): unknown {
  if (!isObject(written)) return written;
  const values = Object.entries(written);
  if (!values.some(([, value]) => isObject(value) && Object.hasOwn(value, 'connection_id'))) return written;
  return Object.fromEntries(values.map(([word, value]) => [word, isObject(value) ? renamed(value) : value]));
}

function renamed(value: Data): Data {
  if (!Object.hasOwn(value, 'connection_id') || Object.hasOwn(value, 'identity_provider_id')) return value;
  const { connection_id: provider, ...rest } = value;
  return { ...rest, identity_provider_id: provider };
}
