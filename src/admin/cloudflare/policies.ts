/** Reusable policies. Source:
 *  https://developers.cloudflare.com/api/resources/zero_trust/subresources/access/subresources/policies/ */
import { isReference } from '../../policy/objects.ts';
import type { PolicyObject, PolicySet } from '../../policy/objects.ts';
import type { AdminRevision } from '../managed.ts';
import type { AdminResponse } from '../server.ts';
import { notFound, success, writtenTime } from './answers.ts';
import { bodyOf, idOf, isRefusal, otherId, paged, sought } from './call.ts';
import type { Call, Data, Endpoint } from './call.ts';
import { rulesSent, tooManyRules } from './rule-sets.ts';
import { inOrder, objectOf, writing } from './writes.ts';
import type { Writes } from './writes.ts';

export function policyEndpoints(writes: Writes): readonly Endpoint[] {
  const one = 'access/policies/{id}';
  const write = writing(writes);
  return [
    { method: 'GET', path: 'access/policies', scope: 'read', handle: list },
    { method: 'GET', path: one, scope: 'read', handle: get },
    write('POST', 'access/policies', create),
    write('PUT', one, replace),
    write('DELETE', one, remove),
  ];
}

/** A policy as the API shows it, as written but for its lists, which are always there. `precedence`, from 1, only in
 *  an application. */
export function policyOut(policy: PolicyObject, set: PolicySet, precedence?: number): Data {
  const { id: _, uid: __, precedence: ___, ...written } = policy.written;
  const isReusable = policy.id !== '' && set.policies.some(({ id }) => id === policy.id);
  return {
    ...(policy.id === '' ? {} : { id: policy.id }),
    ...written,
    include: written['include'] ?? [],
    exclude: written['exclude'] ?? [],
    require: written['require'] ?? [],
    reusable: isReusable,
    ...(isReusable ? { app_count: uses(set).get(policy.id) ?? 0 } : {}),
    ...(precedence === undefined ? {} : { precedence }),
    created_at: writtenTime(written['created_at']),
    updated_at: writtenTime(written['updated_at']),
  };
}

function list(call: Call): AdminResponse {
  const { set } = call.revision;
  const found = sought(call, inOrder(call.revision, 'policies'));
  return paged(
    call,
    found.map((policy) => policyOut(policy, set)),
  );
}

function get(call: Call): AdminResponse {
  const { revision } = call;
  const policy = objectOf(revision, 'policies', idOf(call));
  return policy ? shown(policy, revision, 200) : notFound(revision.id);
}

async function create(call: Call, writes: Writes): Promise<AdminResponse> {
  const body = bodyOf(call);
  if (isRefusal(body)) return body.response;
  const sent = rulesSent(meant(body));
  const problem = tooManyRules(call.revision, sent);
  if (problem) return problem;
  return writes.create(call, {
    key: 'policies',
    sent,
    content: () => sent,
    shown: (policy, revision) => shown(policy, revision, 201),
    mayBeAlike: false,
  });
}

async function replace(call: Call, writes: Writes): Promise<AdminResponse> {
  const body = bodyOf(call);
  if (isRefusal(body)) return body.response;
  const sent = rulesSent(meant(body));
  const problem = tooManyRules(call.revision, sent);
  if (problem) return problem;
  return writes.replace(call, {
    key: 'policies',
    id: idOf(call),
    content: (policy, revision) => otherId(body, policy.id, revision) ?? sent,
    shown: (policy, revision) => shown(policy, revision, 200),
  });
}

async function remove(call: Call, writes: Writes): Promise<AdminResponse> {
  return writes.remove(call, {
    key: 'policies',
    id: idOf(call),
    shown: (policy, revision) => success(revision.id, 202, { id: policy.id }),
  });
}

function shown(policy: PolicyObject, revision: AdminRevision, status: number): AdminResponse {
  return success(revision.id, status, policyOut(policy, revision.set));
}

/** The body without what clients send back of an answer. */
function meant(body: Data): Data {
  const { id: _, uid: __, reusable: ___, app_count: ____, created_at: _____, updated_at: ______, ...rest } = body;
  return rest;
}

const USES = new WeakMap<PolicySet, ReadonlyMap<string, number>>();

/** Id of a reusable policy → how many applications name it. */
function uses(set: PolicySet): ReadonlyMap<string, number> {
  let known = USES.get(set);
  if (!known) {
    const counts = new Map<string, number>();
    for (const { policies } of set.applications) {
      const named = new Set(policies.flatMap((entry) => (isReference(entry) ? [entry.reference] : [])));
      for (const id of named) counts.set(id, (counts.get(id) ?? 0) + 1);
    }
    known = counts;
    USES.set(set, known);
  }
  return known;
}
