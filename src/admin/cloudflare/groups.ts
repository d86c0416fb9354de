/** Access groups. Source: https://developers.cloudflare.com/api/resources/zero_trust/subresources/access/subresources/groups/ */
import type { GroupObject } from '../../policy/objects.ts';
import type { AdminResponse } from '../server.ts';
import { notFound, success, writtenTime } from './answers.ts';
import { bodyOf, idOf, isRefusal, otherId, paged, sought } from './call.ts';
import type { Call, Data, Endpoint } from './call.ts';
import { inOrder, objectOf, writing } from './writes.ts';
import type { Writes } from './writes.ts';
import { rulesSent, tooManyRules } from './rule-sets.ts';

export function groupEndpoints(writes: Writes): readonly Endpoint[] {
  const one = 'access/groups/{id}';
  const write = writing(writes);
  return [
    { method: 'GET', path: 'access/groups', scope: 'read', handle: list },
    { method: 'GET', path: one, scope: 'read', handle: get },
    write('POST', 'access/groups', create),
    write('PUT', one, replace),
    write('DELETE', one, remove),
  ];
}

/** A group as the API shows it: lists always there, in the order written, each rule as written. Times are left out
 *  where the file has none. */
export function groupOut(group: GroupObject): Data {
  const { written, isDefault, createdAt, updatedAt } = group;
  return {
    id: group.id,
    name: group.name,
    include: written['include'] ?? [],
    exclude: written['exclude'] ?? [],
    require: written['require'] ?? [],
    is_default: isDefault,
    created_at: writtenTime(createdAt),
    updated_at: writtenTime(updatedAt),
  };
}

function list(call: Call): AdminResponse {
  return paged(call, sought(call, inOrder(call.revision, 'groups')).map(groupOut));
}

function get(call: Call): AdminResponse {
  const { revision } = call;
  const group = objectOf(revision, 'groups', idOf(call));
  return group ? success(revision.id, 200, groupOut(group)) : notFound(revision.id);
}

async function create(call: Call, writes: Writes): Promise<AdminResponse> {
  const body = bodyOf(call);
  if (isRefusal(body)) return body.response;
  const sent = content(body);
  const problem = tooManyRules(call.revision, sent);
  if (problem) return problem;
  return writes.create(call, {
    key: 'groups',
    sent,
    content: () => sent,
    shown: (group, revision) => success(revision.id, 201, groupOut(group)),
    mayBeAlike: false,
  });
}

async function replace(call: Call, writes: Writes): Promise<AdminResponse> {
  const body = bodyOf(call);
  if (isRefusal(body)) return body.response;
  const sent = content(body);
  const problem = tooManyRules(call.revision, sent);
  if (problem) return problem;
  return writes.replace(call, {
    key: 'groups',
    id: idOf(call),
    content: (group, revision) => otherId(body, group.id, revision) ?? sent,
    shown: (group, revision) => success(revision.id, 200, groupOut(group)),
  });
}

async function remove(call: Call, writes: Writes): Promise<AdminResponse> {
  return writes.remove(call, {
    key: 'groups',
    id: idOf(call),
    shown: (group, revision) => success(revision.id, 202, { id: group.id }),
  });
}

/** What is written of a body: what clients send without meaning it is left out, what is unknown stays and is a fault. */
function content(body: Data): Data {
  const { id: _, uid: __, created_at: ___, updated_at: ____, is_default: isDefault, ...rest } = body;
  const isOff = isDefault === undefined || (Array.isArray(isDefault) && isDefault.length === 0);
  return { ...rulesSent(rest), is_default: isOff ? false : isDefault };
}
