/** Service tokens. A secret is told once, to whoever had it made; what is kept is its SHA-256. Source:
 *  https://developers.cloudflare.com/api/resources/zero_trust/subresources/access/subresources/service_tokens/ */
import { createHash, randomBytes } from 'node:crypto';
import { durationOf } from '../../policy/shape-parts.ts';
import type { AdminRevision } from '../managed.ts';
import type { AdminResponse } from '../server.ts';
import { invalid, notFound, success, timeText, writtenTime } from './answers.ts';
import { bodyOf, idOf, isRefusal, otherId, paged, refusal, sought, unknownKeys } from './call.ts';
import type { AdminRefusal, Call, Data, Endpoint } from './call.ts';
import { inOrder, objectOf, writing } from './writes.ts';
import type { ObjectOf, Writes } from './writes.ts';

type Token = ObjectOf<'service_tokens'>;

export function serviceTokenEndpoints(writes: Writes): readonly Endpoint[] {
  const one = 'access/service_tokens/{id}';
  const write = writing(writes);
  return [
    { method: 'GET', path: 'access/service_tokens', scope: 'read', handle: list },
    { method: 'GET', path: one, scope: 'read', handle: get },
    write('POST', 'access/service_tokens', create),
    write('PUT', one, replace),
    write('DELETE', one, remove),
    write('POST', `${one}/rotate`, rotate),
    write('POST', `${one}/refresh`, refresh),
  ];
}

const FOREVER = 'forever';
const YEAR = '8760h';
const SENT = ['name', 'duration', 'enabled', 'client_secret_version', 'previous_client_secret_expires_at'] as const;
/** What clients send back of an answer, without meaning it. */
const SENT_BACK = ['id', 'uid', 'client_id', 'expires_at', 'last_seen_at', 'created_at', 'updated_at'] as const;

/** Never a secret, nor its digest. */
function tokenOut(token: Token): Data {
  return {
    id: token.id,
    name: token.name,
    client_id: token.client_id,
    duration: token.duration ?? (token.expires_at === undefined ? FOREVER : undefined),
    enabled: token.enabled ?? true,
    expires_at: writtenTime(token.expires_at),
    client_secret_version: token.client_secret_version ?? 1,
    previous_client_secret_expires_at: writtenTime(token.previous_client_secret_expires_at),
    created_at: writtenTime(token.written['created_at']),
    updated_at: writtenTime(token.written['updated_at']),
  };
}

function list(call: Call): AdminResponse {
  return paged(call, sought(call, inOrder(call.revision, 'service_tokens')).map(tokenOut));
}

function get(call: Call): AdminResponse {
  const { revision } = call;
  const token = objectOf(revision, 'service_tokens', idOf(call));
  return token ? success(revision.id, 200, tokenOut(token)) : notFound(revision.id);
}

async function create(call: Call, writes: Writes): Promise<AdminResponse> {
  const body = sentBody(call);
  if (isRefusal(body)) return body.response;
  const { previous_client_secret_expires_at: _, duration = YEAR, ...rest } = meant(body);
  const secret = newSecret();
  return writes.create(call, {
    key: 'service_tokens',
    sent: meant(body),
    content: () => ({
      client_secret_version: 1,
      enabled: true,
      ...rest,
      client_id: `${randomBytes(16).toString('hex')}.access`,
      client_secret_sha256: secret.digest,
      duration,
      ...expiry(duration, writes.now()),
    }),
    shown: (token, revision) => withSecret(token, revision, 201, secret),
    mayBeAlike: true,
  });
}

/** Keys that are absent stay as they are. A higher `client_secret_version` makes a new secret; another duration counts
 *  from now. */
async function replace(call: Call, writes: Writes): Promise<AdminResponse> {
  const body = sentBody(call);
  if (isRefusal(body)) return body.response;
  const secret = newSecret();
  let isNew = false;
  return writes.replace(call, {
    key: 'service_tokens',
    id: idOf(call),
    content(token, revision) {
      const problem = otherId(body, token.id, revision);
      if (problem) return problem;
      const { previous_client_secret_expires_at: previousEnd, duration, ...rest } = meant(body);
      const version = token.client_secret_version ?? 1;
      const wanted = rest['client_secret_version'];
      if (typeof wanted === 'number' && wanted < version)
        return refusal(
          invalid(
            revision.id,
            'value_range',
            `expected client_secret_version to be at least ${version}, found ${wanted}; a higher one makes a new secret`,
            '/client_secret_version',
          ),
        );
      isNew = typeof wanted === 'number' && wanted > version;
      const old = contentOf(token);
      return {
        ...old,
        ...rest,
        ...(duration === undefined || duration === token.duration ? {} : moved(old, duration, writes.now())),
        ...(isNew ? rotated(token, secret, previousEnd, writes.now()) : {}),
        ...(!isNew && previousEnd !== undefined && token.previous_client_secret_sha256 !== undefined
          ? { previous_client_secret_expires_at: previousEnd }
          : {}),
      };
    },
    shown: (token, revision) =>
      isNew ? withSecret(token, revision, 200, secret) : success(revision.id, 200, tokenOut(token)),
  });
}

async function remove(call: Call, writes: Writes): Promise<AdminResponse> {
  return writes.remove(call, {
    key: 'service_tokens',
    id: idOf(call),
    shown: (token, revision) => success(revision.id, 200, tokenOut(token)),
  });
}

/** A new secret for the same client id. The one before ends when the body says, by default now. */
async function rotate(call: Call, writes: Writes): Promise<AdminResponse> {
  const body = bodyOf(call, { optional: true });
  if (isRefusal(body)) return body.response;
  const problem = unknownKeys(body, ['previous_client_secret_expires_at'], call.revision);
  if (problem) return problem;
  const secret = newSecret();
  return writes.replace(call, {
    key: 'service_tokens',
    id: idOf(call),
    content: (token) => ({
      ...contentOf(token),
      client_secret_version: (token.client_secret_version ?? 1) + 1,
      ...rotated(token, secret, body['previous_client_secret_expires_at'], writes.now()),
    }),
    shown: (token, revision) => withSecret(token, revision, 200, secret),
  });
}

/** The token ends a whole duration from now. */
async function refresh(call: Call, writes: Writes): Promise<AdminResponse> {
  return writes.replace(call, {
    key: 'service_tokens',
    id: idOf(call),
    content: (token) => moved(contentOf(token), token.duration ?? FOREVER, writes.now()),
    shown: (token, revision) => success(revision.id, 200, tokenOut(token)),
  });
}

interface Secret {
  readonly text: string;
  readonly digest: string;
}

function newSecret(): Secret {
  const text = randomBytes(32).toString('hex');
  return { text, digest: createHash('sha256').update(text).digest('hex') };
}

function withSecret(token: Token, revision: AdminRevision, status: number, secret: Secret): AdminResponse {
  return success(revision.id, status, { ...tokenOut(token), client_secret: secret.text });
}

/** What a policy file may say and this API may not, above all a digest, is unknown here. */
function sentBody(call: Call): Data | AdminRefusal {
  const body = bodyOf(call);
  if (isRefusal(body)) return body;
  const problem = unknownKeys(body, [...SENT, ...SENT_BACK], call.revision);
  return problem ? refusal(problem) : body;
}

/** The body without what clients send back of an answer. */
function meant(body: Data): Data {
  return Object.fromEntries(SENT.flatMap((key) => (body[key] === undefined ? [] : [[key, body[key]]])));
}

function contentOf(token: Token): Data {
  const { id: _, created_at: __, updated_at: ___, ...content } = token.written;
  return content;
}

/** What a duration makes of the end; a duration that is none is the loader's to refuse. */
function expiry(duration: unknown, nowMs: number): Data {
  const durationMs = typeof duration === 'string' && duration !== FOREVER ? durationOf(duration) : undefined;
  const end = durationMs === undefined ? Number.NaN : nowMs + durationMs;
  return Number.isNaN(new Date(end).getTime()) ? {} : { expires_at: timeText(end) };
}

function moved(content: Data, duration: unknown, nowMs: number): Data {
  const { expires_at: _, ...rest } = content;
  return { ...rest, duration, ...expiry(duration, nowMs) };
}

function rotated(token: Token, secret: Secret, previousEnd: unknown, nowMs: number): Data {
  return {
    client_secret_sha256: secret.digest,
    previous_client_secret_sha256: token.client_secret_sha256,
    previous_client_secret_expires_at: previousEnd ?? timeText(nowMs),
  };
}
