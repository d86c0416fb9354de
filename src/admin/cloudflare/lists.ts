/** Lists of e-mail addresses, IP addresses and whatever else. Source:
 *  https://developers.cloudflare.com/api/resources/zero_trust/subresources/gateway/subresources/lists/ */
import type { AdminResponse } from '../server.ts';
import { invalid, notFound, success, timeText, writtenTime } from './answers.ts';
import { bodyOf, idOf, isRefusal, otherId, paged, refusal, unknownKeys } from './call.ts';
import type { Call, Data, Endpoint } from './call.ts';
import { inOrder, objectOf, writing } from './writes.ts';
import type { ObjectOf, Writes } from './writes.ts';

type List = ObjectOf<'lists'>;

export function listEndpoints(writes: Writes): readonly Endpoint[] {
  const one = 'gateway/lists/{id}';
  const write = writing(writes);
  return [
    { method: 'GET', path: 'gateway/lists', scope: 'read', handle: list },
    { method: 'GET', path: one, scope: 'read', handle: get },
    { method: 'GET', path: `${one}/items`, scope: 'read', handle: items },
    write('POST', 'gateway/lists', create),
    write('PUT', one, replace),
    write('PATCH', one, edit),
    write('DELETE', one, remove),
  ];
}

function listOut(found: List): Data {
  const { written } = found;
  return {
    id: found.id,
    name: found.name,
    type: found.type,
    description: written['description'],
    count: found.items.length,
    items: written['items'] ?? [],
    created_at: writtenTime(written['created_at']),
    updated_at: writtenTime(written['updated_at']),
  };
}

/** All of them in one answer: the clients ask once. */
function list(call: Call): AdminResponse {
  const { revision } = call;
  const type = call.request.query.get('type');
  const found = inOrder(revision, 'lists').filter((one) => type === null || type === '' || one.type === type);
  return success(revision.id, 200, found.map(listOut), {
    page: 1,
    per_page: found.length,
    count: found.length,
    total_count: found.length,
    total_pages: found.length === 0 ? 0 : 1,
  });
}

function get(call: Call): AdminResponse {
  const { revision } = call;
  const found = objectOf(revision, 'lists', idOf(call));
  return found ? success(revision.id, 200, listOut(found)) : notFound(revision.id);
}

function items(call: Call): AdminResponse {
  const found = objectOf(call.revision, 'lists', idOf(call));
  if (!found) return notFound(call.revision.id);
  const written = found.written['items'];
  return paged(call, Array.isArray(written) ? written : []);
}

async function create(call: Call, writes: Writes): Promise<AdminResponse> {
  const body = bodyOf(call);
  if (isRefusal(body)) return body.response;
  const sent = meant(body);
  return writes.create(call, {
    key: 'lists',
    sent,
    content: () => ({ ...sent, items: dated(sent['items'] ?? [], [], writes.now()) }),
    shown: (made, revision) => success(revision.id, 201, listOut(made)),
    mayBeAlike: true,
  });
}

/** Items that are absent are kept; a list keeps its type. */
async function replace(call: Call, writes: Writes): Promise<AdminResponse> {
  const body = bodyOf(call);
  if (isRefusal(body)) return body.response;
  return writes.replace(call, {
    key: 'lists',
    id: idOf(call),
    content(old, revision) {
      const sent = meant(body);
      const isOther = sent['type'] !== undefined && sent['type'] !== old.type;
      const problem = isOther
        ? refusal(invalid(revision.id, 'type_changed', `expected the type of the list, ${old.type}, or none`, '/type'))
        : otherId(body, old.id, revision);
      if (problem) return problem;
      const kept = itemsOf(old);
      return {
        ...sent,
        type: old.type,
        items: sent['items'] === undefined ? kept : dated(sent['items'], kept, writes.now()),
      };
    },
    shown: (changed, revision) => success(revision.id, 200, listOut(changed)),
  });
}

/** `{ append: [{ value, description? }], remove: [value] }`; what is removed and appended stands at the end. */
async function edit(call: Call, writes: Writes): Promise<AdminResponse> {
  const body = bodyOf(call);
  if (isRefusal(body)) return body.response;
  const unknown = unknownKeys(body, ['append', 'remove'], call.revision);
  if (unknown) return unknown;
  const { append = [], remove: removed = [] } = body;
  for (const [key, value] of Object.entries({ append, remove: removed })) {
    if (!Array.isArray(value))
      return invalid(call.revision.id, 'type_wrong', `expected ${key} to be a list, found something else`, `/${key}`);
  }
  const values = removed as readonly unknown[];
  const wrong = values.findIndex((value) => typeof value !== 'string');
  if (wrong >= 0)
    return invalid(call.revision.id, 'type_wrong', 'expected the value of an item, found no text', `/remove/${wrong}`);
  let before = 0;
  return writes.replace(call, {
    key: 'lists',
    id: idOf(call),
    content(old) {
      const added = append as readonly unknown[];
      const gone = new Set<unknown>([...values, ...added.map(valueOf)]);
      const kept = itemsOf(old).filter((item) => !gone.has(valueOf(item)));
      before = kept.length;
      return {
        ...contentOf(old),
        items: [...kept, ...(dated(added, itemsOf(old), writes.now()) as readonly unknown[])],
      };
    },
    inBody: (pointer) => pointer.replace(/^\/items\/(\d+)/, (_, index) => `/append/${Number(index) - before}`),
    shown: (changed, revision) => success(revision.id, 200, listOut(changed)),
  });
}

async function remove(call: Call, writes: Writes): Promise<AdminResponse> {
  return writes.remove(call, {
    key: 'lists',
    id: idOf(call),
    shown: (_, revision) => success(revision.id, 200, {}),
  });
}

/** The body without what clients send back of an answer. */
function meant(body: Data): Data {
  const { id: _, uid: __, count: ___, created_at: ____, updated_at: _____, ...rest } = body;
  return rest;
}

function contentOf(of: List): Data {
  return meant(of.written);
}

function itemsOf({ written }: List): readonly unknown[] {
  return Array.isArray(written['items']) ? written['items'] : [];
}

/** The items with the time since when they are in the list. What is no list or no item is the loader's to refuse. */
function dated(sent: unknown, before: readonly unknown[], nowMs: number): unknown {
  if (!Array.isArray(sent)) return sent;
  const known = new Map(before.map((item) => [valueOf(item), item]));
  return sent.map((item: unknown) => {
    if (item === null || typeof item !== 'object' || Array.isArray(item)) return item;
    const old = known.get(valueOf(item)) as { readonly created_at?: unknown } | undefined;
    return { ...item, created_at: old?.created_at ?? timeText(nowMs) };
  });
}

function valueOf(item: unknown): unknown {
  return item !== null && typeof item === 'object' && 'value' in item ? item.value : undefined;
}
