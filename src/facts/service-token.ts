import { createHash, timingSafeEqual } from 'node:crypto';
import { NO_CREDENTIALS } from '../model/facts.ts';
import type { ServiceCredentialsFact } from '../model/facts.ts';
import type { ServiceTokenObject } from '../model/objects.ts';
import type { RequestFacts, SingleHeader } from '../model/request.ts';

/** The header that names a service token. Source: Cloudflare Access, service tokens. */
export const CLIENT_ID_HEADER = 'cf-access-client-id';
/** The header that carries its secret. */
export const CLIENT_SECRET_HEADER = 'cf-access-client-secret';

/** The service tokens of one policy set. */
export interface ServiceTokens {
  /** The credentials of a request. Lifetimes are judged at `processNowMs`, milliseconds since the epoch. */
  read(request: RequestFacts, places: CredentialPlaces, processNowMs: number): ServiceCredentialsFact;
}

/** Where credentials may be beside the two headers. */
export interface CredentialPlaces {
  /** Name, in lower case, of the one header whose value may be a JSON object with both: the application's
   *  `read_service_tokens_from_header`, else the settings' `service_tokens_header`; undefined: there is none. */
  readonly header: string | undefined;
  /** `common_name` of a verified Access service JWT (an application token that Cloudflare issued for a service
   *  token); undefined: none was presented. Used where no credentials come in headers. */
  readonly serviceJwt: string | undefined;
}

/** Service tokens, indexed by client id. Secrets are compared as SHA-256 digests in constant time, with the current
 *  and the previous digest, both always, and with dummies where there is none, so that neither a client id nor a
 *  rotation can be told from the time an answer takes. A token that is disabled or ended is refused; an `expires_at`
 *  that is no date has ended. Source: Cloudflare Access, service tokens. */
export function createServiceTokens(objects: readonly ServiceTokenObject[]): ServiceTokens {
  const byClientId = new Map<string, Entry>();
  for (const object of objects) byClientId.set(object.client_id, entryOf(object));
  return {
    read(request, places, processNowMs) {
      const sent = credentialsOf(request, places.header);
      if (sent.state === 'malformed') return sent;
      if (sent.state === 'sent') return judged(byClientId.get(sent.clientId), sent.clientSecret, processNowMs);
      if (places.serviceJwt === undefined) return NO_CREDENTIALS;
      return judgedByName(byClientId.get(places.serviceJwt), processNowMs);
    },
  };
}

/** Names of the headers of this request that carry a service token's secret, or may: they never reach the upstream.
 *  The one-header form counts only where its value is an object, so that an `authorization` meant for the upstream
 *  stays. */
export function secretHeaders(request: RequestFacts, header: string | undefined): readonly string[] {
  if (header === undefined || !request.headers.all(header).some(mayHoldSecret)) return TWO_HEADERS_ONLY;
  return [CLIENT_SECRET_HEADER, header];
}

type Sent =
  | { readonly state: 'absent' }
  | { readonly state: 'malformed'; readonly why: string }
  | { readonly state: 'sent'; readonly clientId: string; readonly clientSecret: string };

interface Entry {
  readonly token: Extract<ServiceCredentialsFact, { state: 'valid' }>;
  readonly current: Buffer;
  readonly previous: Buffer;
  /** The previous secret is accepted before this time. */
  readonly previousEndMs: number;
  readonly enabled: boolean;
  readonly endMs: number;
}

const TWO_HEADERS_ONLY: readonly string[] = Object.freeze([CLIENT_SECRET_HEADER]);
const ABSENT: Sent = Object.freeze({ state: 'absent' });
const MAX_HEADER_BYTES = 1024;
const NO_DIGEST = Buffer.alloc(32);
const NEVER_ACCEPTED: Entry = Object.freeze({
  token: Object.freeze({ state: 'valid', tokenId: '', name: '', clientId: '' }),
  current: NO_DIGEST,
  previous: NO_DIGEST,
  previousEndMs: -Infinity,
  enabled: false,
  endMs: -Infinity,
});

function credentialsOf(request: RequestFacts, header: string | undefined): Sent {
  const two = twoHeaders(request);
  if (header === undefined) return two;
  const one = oneHeader(request, header);
  if (one.state === 'absent') return two;
  return two.state === 'absent' ? one : malformed('credentials in both styles');
}

function twoHeaders(request: RequestFacts): Sent {
  const clientId = request.headers.single(CLIENT_ID_HEADER);
  const clientSecret = request.headers.single(CLIENT_SECRET_HEADER);
  if (isBlank(clientId) && isBlank(clientSecret)) return ABSENT;
  if (clientId.state !== 'one' || isBlank(clientId)) return malformed(`${CLIENT_ID_HEADER} ${stateOf(clientId)}`);
  if (clientSecret.state !== 'one' || isBlank(clientSecret))
    return malformed(`${CLIENT_SECRET_HEADER} ${stateOf(clientSecret)}`);
  if (isTooLong(clientId.value) || isTooLong(clientSecret.value)) return malformed('a header is too long');
  // Envoy joins duplicates with commas, and neither value can hold one.
  if (clientId.value.includes(',') || clientSecret.value.includes(',')) return malformed('a header came twice');
  return { state: 'sent', clientId: clientId.value.trim(), clientSecret: clientSecret.value.trim() };
}

function oneHeader(request: RequestFacts, name: string): Sent {
  const values = request.headers.all(name);
  if (!values.some(isObjectText)) return ABSENT;
  const header = request.headers.single(name, { commaAllowed: true });
  if (header.state !== 'one') return malformed(`${name} ${stateOf(header)}`);
  if (isTooLong(header.value)) return malformed(`${name} is too long`);
  const members = membersOf(header.value);
  if (members === undefined) return malformed(`${name} is not JSON`);
  const clientId = members.get(CLIENT_ID_HEADER);
  const clientSecret = members.get(CLIENT_SECRET_HEADER);
  if (typeof clientId !== 'string' || clientId === '' || typeof clientSecret !== 'string' || clientSecret === '')
    return malformed(`${name} lacks a member`);
  return { state: 'sent', clientId, clientSecret };
}

function judged(known: Entry | undefined, clientSecret: string, nowMs: number): ServiceCredentialsFact {
  const entry = known ?? NEVER_ACCEPTED;
  const digest = createHash('sha256').update(clientSecret, 'utf8').digest();
  const isCurrent = timingSafeEqual(digest, entry.current);
  const isPrevious = timingSafeEqual(digest, entry.previous);
  if (known === undefined) return refused('unknown client id');
  if (!isCurrent && !(isPrevious && nowMs < entry.previousEndMs)) return refused('wrong secret');
  return judgedByName(known, nowMs);
}

function judgedByName(entry: Entry | undefined, nowMs: number): ServiceCredentialsFact {
  if (entry === undefined) return refused('unknown client id');
  if (!entry.enabled) return refused('token disabled');
  if (!(nowMs < entry.endMs)) return refused('token expired');
  return entry.token;
}

function entryOf(object: ServiceTokenObject): Entry {
  const current = digestOf(object.client_secret_sha256);
  const previous = digestOf(object.previous_client_secret_sha256);
  return Object.freeze({
    token: Object.freeze({
      state: 'valid',
      tokenId: object.id.toLowerCase(),
      name: object.name,
      clientId: object.client_id,
    }),
    current: current ?? NO_DIGEST,
    previous: previous ?? NO_DIGEST,
    previousEndMs: previous === undefined ? -Infinity : endOf(object.previous_client_secret_expires_at),
    enabled: object.enabled !== false && current !== undefined,
    endMs: endOf(object.expires_at),
  });
}

function digestOf(hex: string | undefined): Buffer | undefined {
  return hex !== undefined && /^[0-9a-f]{64}$/i.test(hex) ? Buffer.from(hex, 'hex') : undefined;
}

function endOf(time: string | undefined): number {
  if (time === undefined) return Infinity;
  const endMs = Date.parse(time);
  return Number.isNaN(endMs) ? -Infinity : endMs;
}

/** Also where it was joined to another value of the same name. */
function mayHoldSecret(value: string): boolean {
  return isObjectText(value) || value.includes(CLIENT_SECRET_HEADER);
}

function isObjectText(value: string): boolean {
  return value.trimStart().startsWith('{');
}

function isBlank(header: SingleHeader): boolean {
  return header.state === 'absent' || (header.state === 'one' && header.value.trim() === '');
}

function isTooLong(value: string): boolean {
  return Buffer.byteLength(value) > MAX_HEADER_BYTES;
}

function stateOf(header: SingleHeader): string {
  return header.state === 'several' ? 'came twice' : header.state === 'unreadable' ? 'is unreadable' : 'is missing';
}

function membersOf(json: string): ReadonlyMap<string, unknown> | undefined {
  try {
    const parsed: unknown = JSON.parse(json);
    return parsed !== null && typeof parsed === 'object' && !Array.isArray(parsed)
      ? new Map(Object.entries(parsed))
      : undefined;
  } catch {
    return undefined;
  }
}

function malformed(why: string): Extract<Sent, { state: 'malformed' }> {
  return { state: 'malformed', why };
}

function refused(why: string): ServiceCredentialsFact {
  return { state: 'refused', why };
}
