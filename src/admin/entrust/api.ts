/** The part of Entrust's administration API that Postern answers on its admin port: resource rules in both versions, and
 *  what they name. Source: Entrust Identity as a Service, Administration API, ResourceRulesApi. */
import { randomUUID } from 'node:crypto';
import type { FlowObject, PolicySet, ResourceRuleObject } from '../../policy/objects.ts';
import { SYSTEM_FLOWS } from '../../policy/system-flows.ts';
import { canonical } from '../../shared/canonical.ts';
import { isManaged } from '../managed.ts';
import type { AdminRevision, Managed, Plan } from '../managed.ts';
import type { AdminGroup, AdminRequest, AdminResponse, AdminRoute } from '../server.ts';
import { failure, json, refused, writeRefused } from './answers.ts';
import { isProblem, readParameters } from './parameters.ts';
import type { Data, ReadParameters } from './parameters.ts';
import { byText } from '../../shared/order.ts';
import { jsonBody } from '../json-body.ts';
import { createRepeats } from '../repeats.ts';

export interface EntrustApiOptions {
  readonly managed: Managed;
  /** Milliseconds since the epoch. */
  readonly now?: (() => number) | undefined;
  readonly newId?: (() => string) | undefined;
}

export function entrustApi({ managed, now = Date.now, newId = randomUUID }: EntrustApiOptions): AdminGroup {
  const repeats = createRepeats<undefined>(now);
  const answered = (revision: AdminRevision, response: AdminResponse): AdminResponse => ({
    ...response,
    headers: { 'postern-revision': revision.id, ...response.headers },
  });
  const read = (
    path: string,
    handle: (request: AdminRequest, revision: AdminRevision) => AdminResponse,
  ): AdminRoute => ({
    method: 'GET',
    path: `/api/web/${path}`,
    scope: 'read',
    handle(request) {
      const revision = managed.current();
      return answered(revision, handle(request, revision));
    },
  });

  async function written(
    { caller }: AdminRequest,
    plan: (revision: AdminRevision) => Plan<AdminResponse>,
    inBody: (pointer: string) => string = (pointer) => pointer,
  ): Promise<AdminResponse> {
    if (!caller) throw new Error('a write without a caller');
    const outcome = await managed.write(caller, plan);
    const response = 'answer' in outcome ? outcome.answer : writeRefused(outcome.refused, inBody);
    return answered(managed.current(), response);
  }

  function create(request: AdminRequest, version: 1 | 2): AdminResponse | Promise<AdminResponse> {
    const body = parametersOf(request, version);
    if ('status' in body) return answered(managed.current(), body);
    const { rule, inBody } = body;
    const asked = [request.caller?.name, version, rule];
    const id = newId().toLowerCase();
    const object = { id, ...rule, apiVersion: version };
    return written(
      request,
      ({ set }) => {
        const before = repeats.find(asked, (made) => ruleOf(set, made)?.written);
        if (before) return { answer: shown(theRule(set, before.id), set) };
        return {
          change: { key: 'resource_rules', id, object },
          done(after) {
            repeats.keep(asked, { id, object, kept: undefined });
            return shown(theRule(after.set, id), after.set);
          },
        };
      },
      inBody,
    );
  }

  function replace(request: AdminRequest, version: 1 | 2): AdminResponse | Promise<AdminResponse> {
    const body = parametersOf(request, version);
    if ('status' in body) return answered(managed.current(), body);
    const { rule, inBody } = body;
    return written(
      request,
      (revision) => {
        const { set } = revision;
        const found = changeable(revision, idOf(request));
        if ('status' in found) return { answer: found };
        const refusal = replacementRefusal(found, rule, version, set);
        if (refusal) return { answer: refusal };
        const { id, systemResourceContext } = found;
        const object = {
          id,
          resourceId: found.resourceId,
          ...rule,
          ...(systemResourceContext ? { systemResourceContext } : {}),
          apiVersion: version,
        };
        if (canonical(object) === canonical(found.written)) return { answer: shown(found, set) };
        return {
          change: { key: 'resource_rules', id, object },
          done: (after) => shown(theRule(after.set, id), after.set),
        };
      },
      inBody,
    );
  }

  function remove(request: AdminRequest): Promise<AdminResponse> {
    return written(request, (revision) => {
      const found = changeable(revision, idOf(request));
      if ('status' in found) return { answer: found };
      if (found.systemResourceContext)
        return {
          answer: failure(409, 'resource_rule_system', `${nameOf(found)} guards a system resource and stays`, [
            found.id,
          ]),
        };
      return { change: { key: 'resource_rules', id: found.id, object: undefined }, done: () => ({ status: 200 }) };
    });
  }

  const versions = ([1, 2] as const).flatMap((version): readonly AdminRoute[] => [
    read(`v${version}/resourcerules`, (_, { set }) =>
      json(
        200,
        sorted(set.resourceRules, set).map((rule) => out(rule, set)),
      ),
    ),
    read(`v${version}/resourcerules/{id}`, (request, { set }) => {
      const rule = ruleOf(set, idOf(request));
      return rule ? shown(rule, set) : notFound();
    }),
    read(`v${version}/resourcerules/resource/{id}`, (request, { set }) => {
      const id = idOf(request);
      if (!set.applications.some((application) => application.id === id))
        return failure(404, 'resource_not_found', 'no application has this id', [id]);
      const rules = set.resourceRules.filter(({ resourceId }) => resourceId === id);
      return json(
        200,
        sorted(rules, set).map((rule) => out(rule, set)),
      );
    }),
    {
      method: 'POST',
      path: `/api/web/v${version}/resourcerules`,
      scope: 'write',
      handle: (request) => create(request, version),
    },
    {
      method: 'PUT',
      path: `/api/web/v${version}/resourcerules/{id}`,
      scope: 'write',
      handle: (request) => replace(request, version),
    },
    { method: 'DELETE', path: `/api/web/v${version}/resourcerules/{id}`, scope: 'write', handle: remove },
  ]);
  return {
    prefix: '/api/web',
    refuse: refused,
    routes: [
      ...versions,
      read('v2/authenticationflows', (_, { set }) => json(200, flowsOf(set).map(flowOut))),
      read('v2/authenticationflows/{id}', (request, { set }) => {
        const flow = flowsOf(set).find(({ id }) => id === idOf(request));
        return flow
          ? json(200, flowOut(flow))
          : failure(404, 'authentication_flow_not_found', 'no authentication flow has this id', [idOf(request)]);
      }),
      read('v1/transactionrules', (_, { set }) =>
        json(
          200,
          set.transactionRules.map(({ place: _place, ...rule }) => rule),
        ),
      ),
    ],
  };
}

function idOf({ parameters }: AdminRequest): string {
  return (parameters.get('id') ?? '').toLowerCase();
}

function ruleOf(set: PolicySet, id: string): ResourceRuleObject | undefined {
  return set.resourceRules.find((rule) => rule.id === id);
}

function theRule(set: PolicySet, id: string): ResourceRuleObject {
  const rule = ruleOf(set, id);
  if (!rule) throw new Error(`resource rule ${id} was written and is not there`);
  return rule;
}

function shown(rule: ResourceRuleObject, set: PolicySet): AdminResponse {
  return json(200, out(rule, set));
}

/** As written; what every answer has, and the name of the application as it is now. */
function out(rule: ResourceRuleObject, set: PolicySet): Data {
  return {
    ...rule.written,
    id: rule.id,
    resourceName: resourceName(rule, set),
    enabled: rule.enabled,
    disableSSO: rule.disableSSO,
    skipSecondFactorIfUserNotExist: rule.skipSecondFactorIfUserNotExist,
    strictAccess: rule.strictAccess,
    apiVersion: rule.apiVersion,
  };
}

function resourceName(rule: ResourceRuleObject, set: PolicySet): string {
  return set.applications.find(({ id }) => id === rule.resourceId)?.name ?? '';
}

/** By the resource's name, then the rule's, then by id. */
function sorted(rules: readonly ResourceRuleObject[], set: PolicySet): readonly ResourceRuleObject[] {
  const names = new Map(set.applications.map(({ id, name }) => [id, name]));
  const nameOfResource = (rule: ResourceRuleObject): string => names.get(rule.resourceId) ?? '';
  return rules.toSorted(
    (a, b) => byText(nameOfResource(a), nameOfResource(b)) || byText(a.name, b.name) || byText(a.id, b.id),
  );
}

function flowsOf(set: PolicySet): readonly FlowObject[] {
  return [...SYSTEM_FLOWS, ...set.flows];
}

function flowOut(flow: FlowObject): Data {
  return { ...flow.written, id: flow.id, name: flow.name, readOnly: flow.system };
}

function parametersOf({ body }: AdminRequest, version: 1 | 2): ReadParameters | AdminResponse {
  const sent = jsonBody(body);
  if ('wrong' in sent) {
    return failure(
      400,
      'body_malformed',
      sent.wrong === 'bytes'
        ? 'expected JSON in UTF-8, found bytes that are none'
        : 'expected a JSON object that gives each key once, found none',
    );
  }
  const read = readParameters(sent.data, version);
  return isProblem(read) ? failure(400, read.code, read.text, read.pointers) : read;
}

/** The rule of an id, or why it may not be changed here. */
function changeable(revision: AdminRevision, id: string): ResourceRuleObject | AdminResponse {
  const rule = ruleOf(revision.set, id);
  if (!rule) return notFound();
  if (isManaged(revision, 'resource_rules', rule)) return rule;
  const { line, column } = revision.locate(rule.place);
  const { file } = rule.place;
  return failure(
    409,
    'resource_rule_not_managed',
    `${nameOf(rule)} is defined in ${file}:${line}:${column}; change it there`,
    [file],
  );
}

function replacementRefusal(
  found: ResourceRuleObject,
  rule: Data,
  version: 1 | 2,
  set: PolicySet,
): AdminResponse | undefined {
  if (version === 1 && found.apiVersion === 2) {
    return failure(
      409,
      'resource_rule_api_version',
      `${nameOf(found)} has authentication flows; change it through /api/web/v2`,
      [found.id],
    );
  }
  const { resourceId } = rule;
  if (resourceId !== undefined && !(typeof resourceId === 'string' && resourceId.toLowerCase() === found.resourceId)) {
    return failure(400, 'resource_changed', `expected the resource ${found.resourceId}, found another`, [
      '/resourceId',
    ]);
  }
  const others = set.resourceRules.some(
    (other) => other !== found && other.enabled && other.resourceId === found.resourceId,
  );
  if (found.systemResourceContext && found.enabled && rule['enabled'] === false && !others) {
    return failure(
      409,
      'resource_rule_last_enabled',
      `${nameOf(found)} is the last enabled rule of a system resource`,
      [found.id],
    );
  }
  return undefined;
}

function notFound(): AdminResponse {
  return failure(404, 'resource_rule_not_found', 'no resource rule has this id');
}

function nameOf({ name }: ResourceRuleObject): string {
  return `resource rule ${JSON.stringify(name)}`;
}
