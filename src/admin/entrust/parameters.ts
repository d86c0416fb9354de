/** Bodies as Entrust's ResourceRuleParms has them, turned into the resource rule that is written. */
import { ALL_GROUPS } from '../../policy/objects.ts';
import { LEVELS } from '../../policy/shape-rules.ts';

export type Data = Readonly<Record<string, unknown>>;

export interface ReadParameters {
  /** Without id, version and whatever else a body does not decide. Unknown members stay, to be told as faults. */
  readonly rule: Data;
  /** Pointer into the rule → pointer into the body. */
  readonly inBody: (pointer: string) => string;
}

/** A body that says something twice, or in the form of the other version. */
export interface ParameterProblem {
  readonly code: 'key_conflict' | 'flow_needs_v2' | 'steps_need_v1';
  readonly text: string;
  readonly pointers: readonly string[];
}

/** @param body Without nulls.
 *  @param version Of the path: 1 has steps, 2 has authentication flows. */
export function readParameters(body: Data, version: 1 | 2): ReadParameters | ParameterProblem {
  const rule: Record<string, unknown> = { ...body };
  for (const name of IGNORED) delete rule[name];
  const renamed = new Map<string, string>();
  for (const [parameter, property] of [
    ['acrIds', 'acrs'],
    ['domainIdpIds', 'domainIdps'],
  ] as const) {
    if (body[parameter] === undefined) continue;
    if (body[property] !== undefined) return conflict(parameter, property);
    rule[property] = mentions(body[parameter]);
    delete rule[parameter];
    renamed.set(property, parameter);
  }
  for (const level of LEVELS) {
    const property = `${level}RiskAuthenticationFlow`;
    const parameter = `${property}Id`;
    const id = body[parameter];
    if (id === undefined) continue;
    if (body[property] !== undefined) return conflict(parameter, property);
    rule[property] = { id };
    delete rule[parameter];
    renamed.set(property, parameter);
  }
  const problem = version === 1 ? flowsOf(rule, renamed) : stepsOf(rule);
  if (problem) return problem;
  const { groups } = body;
  const isForAll = groups === undefined || (Array.isArray(groups) && groups.length === 0);
  rule['groups'] = isForAll ? [{ ...ALL_GROUPS }] : mentions(groups);
  for (const name of ALWAYS) rule[name] ??= false;
  rule['enabled'] ??= true;
  return { rule, inBody: (pointer) => inBody(pointer, body, renamed) };
}

export function isProblem(read: ReadParameters | ParameterProblem): read is ParameterProblem {
  return 'code' in read;
}

/** What a body cannot change; a rule that was read can be sent back. */
const IGNORED = ['id', 'apiVersion', 'resourceName', 'systemResourceContext', 'created_at', 'updated_at'] as const;
const ALWAYS = ['disableSSO', 'skipSecondFactorIfUserNotExist', 'strictAccess'] as const;
const STEPS = ['FirstStep', 'SecondStep', 'EnableSmartLogin'] as const;

/** Ids stand for objects with that id; whatever else is left for the loader to judge. */
function mentions(value: unknown): unknown {
  return Array.isArray(value) ? value.map((one: unknown) => (typeof one === 'string' ? { id: one } : one)) : value;
}

function flowsOf(rule: Data, renamed: ReadonlyMap<string, string>): ParameterProblem | undefined {
  const found = LEVELS.map((level) => `${level}RiskAuthenticationFlow`).filter((name) => rule[name] !== undefined);
  if (found.length === 0) return undefined;
  return {
    code: 'flow_needs_v2',
    text: 'expected steps, found an authentication flow; write it through /api/web/v2',
    pointers: found.map((name) => `/${renamed.get(name) ?? name}`),
  };
}

/** Steps of a level that has a flow are dropped; of another one they are a problem. */
function stepsOf(rule: Record<string, unknown>): ParameterProblem | undefined {
  const wrong: string[] = [];
  for (const level of LEVELS) {
    for (const step of STEPS) {
      const name = `${level}Risk${step}`;
      if (rule[name] === undefined) continue;
      if (rule[`${level}RiskAuthenticationFlow`] === undefined) wrong.push(`/${name}`);
      else delete rule[name];
    }
  }
  if (wrong.length === 0) return undefined;
  return {
    code: 'steps_need_v1',
    text: 'expected an authentication flow, found steps; write them through /api/web/v1',
    pointers: wrong,
  };
}

function conflict(parameter: string, property: string): ParameterProblem {
  return {
    code: 'key_conflict',
    text: `expected ${parameter} or ${property}, found both`,
    pointers: [`/${parameter}`, `/${property}`],
  };
}

function inBody(pointer: string, body: Data, renamed: ReadonlyMap<string, string>): string {
  const [, first = '', ...rest] = pointer.split('/');
  const parameter = renamed.get(first) ?? first;
  if (parameter.endsWith('FlowId')) return `/${parameter}`;
  const sent = body[parameter];
  // What was sent as an id has nothing below it.
  const isId = Array.isArray(sent) && typeof sent[Number(rest[0])] === 'string';
  return ['', parameter, ...(isId ? rest.slice(0, 1) : rest)].join('/');
}
