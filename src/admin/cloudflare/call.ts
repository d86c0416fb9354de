/** What every endpoint of the Cloudflare API reads of a request before it does its own work. */
import { jsonBody } from '../json-body.ts';
import type { AdminRevision, Managed } from '../managed.ts';
import type { AdminCaller, AdminRequest, AdminResponse, AdminRoute } from '../server.ts';
import { nearest } from '../../shared/nearest.ts';
import { quoted } from '../../shared/shape.ts';
import { pointerTo } from '../managed-faults.ts';
import { forbidden, invalid, invalidAll, success } from './answers.ts';

export type Data = Readonly<Record<string, unknown>>;

export interface Call {
  readonly request: AdminRequest;
  readonly caller: AdminCaller;
  /** What runs as the request comes; a write sees a later one. */
  readonly revision: AdminRevision;
}

export interface Endpoint {
  readonly method: AdminRoute['method'];
  /** Below the account or zone: `access/groups/{id}`. */
  readonly path: string;
  readonly scope: 'read' | 'write';
  handle(call: Call): AdminResponse | Promise<AdminResponse>;
}

/** The routes of endpoints that answer below each of `scopes`; an account or zone that the settings do not list is
 *  403. A list is also found under its path with a slash behind, which clients ask for when given an empty id. */
export function routesOf(
  endpoints: readonly Endpoint[],
  scopes: readonly ('accounts' | 'zones')[],
  managed: Managed,
): readonly AdminRoute[] {
  return endpoints.flatMap(({ method, path, scope, handle }) =>
    scopes.flatMap((level) =>
      [path, ...(method === 'GET' && !path.endsWith('}') ? [`${path}/`] : [])].map((end) => ({
        method,
        path: `/client/v4/${level}/{scope}/${end}`,
        scope,
        handle(request: AdminRequest) {
          const revision = managed.current();
          const isListed = revision.settings.admin.accounts.includes(
            (request.parameters.get('scope') ?? '').toLowerCase(),
          );
          if (!isListed || !request.caller) return forbidden(revision.id);
          return handle({ request, caller: request.caller, revision });
        },
      })),
    ),
  );
}

/** The body as an object without nulls; or the answer that says why it is none. No body at all is `{}` where that may
 *  be. The content type is not looked at. */
export function bodyOf(
  { request, revision }: Call,
  options: { readonly optional?: boolean } = {},
): Data | AdminRefusal {
  if (options.optional === true && request.body.length === 0) return {};
  const refuse = (text: string): AdminRefusal => refusal(invalid(revision.id, 'body_invalid', text));
  const body = jsonBody(request.body);
  if ('data' in body) return body.data;
  return refuse(BODY_PROBLEMS[body.wrong]);
}

const BODY_PROBLEMS = {
  bytes: 'expected JSON in UTF-8, found bytes that are none',
  json: 'expected JSON that gives each key once and nests at most 500 levels, found none',
  list: 'expected a JSON object, found a list',
  other: 'expected a JSON object, found none',
} as const;

/** What makes an answer stand in place of a value: no body that was sent can hold it. */
const REFUSAL: unique symbol = Symbol('refusal');

/** An answer in place of a value. */
export interface AdminRefusal {
  readonly [REFUSAL]: true;
  readonly response: AdminResponse;
}

export function refusal(response: AdminResponse): AdminRefusal {
  return { [REFUSAL]: true, response };
}

export function isRefusal(value: object): value is AdminRefusal {
  return REFUSAL in value;
}

/** One page of `items`: `page` counts from 1, `per_page` is 10,000 where absent and at most. A page past the end is
 *  empty. */
export function paged(call: Call, items: readonly unknown[]): AdminResponse {
  const { revision } = call;
  const page = wholeParameter(call, 'page', 1);
  const wanted = wholeParameter(call, 'per_page', PER_PAGE_MAX);
  for (const one of [page, wanted]) if (typeof one === 'object') return one.response;
  const perPage = Math.min(Number(wanted), PER_PAGE_MAX);
  const start = (Number(page) - 1) * perPage;
  const result = items.slice(start, start + perPage);
  return success(revision.id, 200, result, {
    page: Number(page),
    per_page: perPage,
    count: result.length,
    total_count: items.length,
    total_pages: Math.ceil(items.length / perPage),
  });
}

/** The `{id}` of the path, as it came. */
export function idOf({ request }: Call): string {
  return request.parameters.get('id') ?? '';
}

/** The answer to a body that has another id than the path; undefined where it has the same or none. */
export function otherId(body: Data, id: string, revision: AdminRevision): AdminRefusal | undefined {
  const sent = body['id'];
  if (sent === undefined || (typeof sent === 'string' && sent.toLowerCase() === id)) return undefined;
  return refusal(invalid(revision.id, 'id_changed', 'expected the id of the path or none, found another', '/id'));
}

/** The answer to a body with keys that are not `known`, each with the nearest that is; undefined where there is none.
 *  For bodies that are no object of a policy file, whose keys the loader does not see. */
export function unknownKeys(body: Data, known: readonly string[], revision: AdminRevision): AdminResponse | undefined {
  const unknown = Object.keys(body).filter((key) => !known.includes(key));
  if (unknown.length === 0) return undefined;
  return invalidAll(
    revision.id,
    unknown.map((key) => {
      const near = nearest(key, known);
      const mend = near === undefined ? `known keys here: ${known.join(', ')}` : `did you mean ${quoted(near)}?`;
      return { code: 'key_unknown', text: `unknown key ${quoted(key)}; ${mend}`, pointer: pointerTo([key]) };
    }),
  );
}

/** Those whose name is `name`, letter case ignored, and whose name holds `search`, or whose id it is. */
export function sought<T extends { readonly id: string; readonly name: string }>(
  call: Call,
  objects: readonly T[],
): readonly T[] {
  const name = parameter(call, 'name')?.toLowerCase();
  const search = parameter(call, 'search')?.toLowerCase();
  return objects.filter(
    (object) =>
      (name === undefined || object.name.toLowerCase() === name) &&
      (search === undefined || object.name.toLowerCase().includes(search) || object.id === search),
  );
}

/** A parameter of the query; undefined where it is absent or empty. */
export function parameter({ request }: Call, name: string): string | undefined {
  const value = request.query.get(name);
  return value === null || value === '' ? undefined : value;
}

const PER_PAGE_MAX = 10_000;

function wholeParameter(call: Call, name: string, otherwise: number): number | AdminRefusal {
  const written = parameter(call, name);
  if (written === undefined) return otherwise;
  // Larger numbers count as what they are: far past the end.
  if (/^0*[1-9]\d{0,14}$/.test(written)) return Number(written);
  return refusal(
    invalid(
      call.revision.id,
      'parameter_invalid',
      `expected ${name} to be a whole number from 1, found ${JSON.stringify(written)}`,
    ),
  );
}
