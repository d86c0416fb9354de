/** The admin port: one plain HTTP server, a table of routes, bearer tokens. What is served is written elsewhere, one
 *  file per resource, as data that this file turns into answers. */
import { createHash, timingSafeEqual } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import { createServer } from 'node:http';
import type { IncomingHttpHeaders, IncomingMessage, Server, ServerResponse } from 'node:http';
import { isIP } from 'node:net';
import { bindFailure, listenText, readListenAddress } from '../shared/listen.ts';
import { boundConnections } from './connections.ts';

/** `open`: anybody. `read` and `write`: an admin token with that scope; neither implies the other. `page`: `read` once
 *  there are tokens; before that anybody, where the port is on a loopback address, and nobody elsewhere. */
export type AdminScope = 'open' | 'read' | 'write' | 'page';

/** Plain data: what is served, and by whom it may be asked for. */
export interface AdminRoute {
  /** `GET` answers HEAD too. */
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** Segments as they are, or `{name}` for any one that is not empty: `/client/v4/accounts/{account}/access/groups`. */
  readonly path: string;
  readonly scope: AdminScope;
  handle(request: AdminRequest): AdminResponse | Promise<AdminResponse>;
}

/** Routes under one prefix that share how credentials are presented and how refusals look. Where a path fits two
 *  prefixes the longer one has it. */
export interface AdminGroup {
  /** `/client/v4`: that path itself and everything below. */
  readonly prefix: string;
  readonly routes: readonly AdminRoute[];
  /** What the caller presents as a token; undefined: nothing. `Authorization: Bearer` where this is absent. */
  readonly presented?: ((headers: IncomingHttpHeaders) => Presented | undefined) | undefined;
  /** The answer to a request that no route answers. Where absent: the plain status without a body. */
  readonly refuse?: ((refusal: Refusal, request: AdminRequest) => AdminResponse) | undefined;
}

/** A token, or the hash of one that was presented before: never a hash that a request came with. */
export type Presented = ({ readonly secret: string } | { readonly sha256: string }) & {
  /** Who says to be behind the token, for the log; undefined: nobody says. */
  readonly actor?: string | undefined;
};

/** Why no route answers. Credentials are looked at first, so that nobody learns without them what exists. */
export type Refusal =
  | { readonly kind: 'unauthenticated' }
  | { readonly kind: 'forbidden' }
  | { readonly kind: 'not_found' }
  | { readonly kind: 'method_not_allowed'; /** For the `allow` header, which is set already. */ readonly allow: string }
  | { readonly kind: 'too_large' }
  | { readonly kind: 'failed'; readonly error: unknown };

export interface AdminRequest {
  /** As sent; HEAD stays HEAD. */
  readonly method: string;
  /** Without the query, exactly as sent. */
  readonly path: string;
  /** Form-decoded: `+` is a space. */
  readonly query: URLSearchParams;
  /** The `{name}` segments of the route, percent-decoded. */
  readonly parameters: ReadonlyMap<string, string>;
  /** Lower-case names. */
  readonly headers: IncomingHttpHeaders;
  /** Whole; empty where there is none. Not read before the caller is known to be allowed. */
  readonly body: Uint8Array;
  /** Whose token was accepted; undefined on open routes. */
  readonly caller: AdminCaller | undefined;
}

export interface AdminCaller {
  /** The token's configured name. */
  readonly name: string;
  readonly actor: string | undefined;
  readonly scopes: readonly string[];
}

export interface AdminResponse {
  readonly status: number;
  /** Lower-case names. `cache-control: no-store` is added where nothing is said of it. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** Absent: no body. */
  readonly body?: string | Uint8Array | undefined;
}

export interface AdminToken {
  readonly name: string;
  /** SHA-256 of the token, in hex. */
  readonly sha256: string;
  readonly scopes: readonly string[];
}

export interface AdminServerOptions {
  /** `host:port` or `[v6]:port`; port 0 takes a free one. */
  readonly address: string;
  /** Routes outside every prefix: probes, metrics, our public keys, the status page. */
  readonly routes: readonly AdminRoute[];
  readonly groups?: readonly AdminGroup[] | undefined;
  /** How credentials are presented to those routes, and how refusals look, as in a group. */
  readonly root?: Pick<AdminGroup, 'presented' | 'refuse'> | undefined;
  /** Read for every request, so that a reload changes them. Empty: routes with a scope do not exist. */
  readonly tokens: () => readonly AdminToken[];
  /** Told what a handler threw; the caller gets a 500. */
  readonly failed?: ((error: unknown, method: string, path: string) => void) | undefined;
}

export interface AdminServer {
  /** Where it really listens. */
  readonly address: string;
  /** No new connections; what is in hand may finish for `graceMs`, then everything is closed. */
  stop(graceMs?: number): Promise<void>;
}

/** The plain status of a refusal. */
export const REFUSAL_STATUS: Readonly<Record<Refusal['kind'], number>> = {
  unauthenticated: 401,
  forbidden: 403,
  not_found: 404,
  method_not_allowed: 405,
  too_large: 413,
  failed: 500,
};

/** Bodies above this are refused. */
export const BODY_MAX_BYTES = 4 * 1024 * 1024;

/** Binds the port. Rejects with one plain line where it cannot be had.
 *
 *  On a loopback address, open routes are answered only to a Host that is an IP address or `localhost`: a web page whose
 *  name was made to point at 127.0.0.1 would otherwise read the status page through its visitor's browser. Other
 *  addresses are reached under names that nobody here knows, and routes with a scope are out of such a page's reach. */
export async function startAdminServer(options: AdminServerOptions): Promise<AdminServer> {
  const wanted = readListenAddress(options.address);
  if (wanted?.kind !== 'tcp') throw new Error(`admin port ${options.address}: expected host:port or [v6]:port`);
  const groups = [...(options.groups ?? [])]
    .toSorted((a, b) => b.prefix.length - a.prefix.length)
    .map((group) => ({ ...group, table: routeTable(group.routes) }));
  const site: Site = {
    groups,
    root: { ...options.root, prefix: '', routes: options.routes, table: routeTable(options.routes) },
    tokens: options.tokens,
    failed: options.failed,
    loopback: false,
  };
  const server = createServer(
    {
      maxHeaderSize: HEADERS_MAX_BYTES,
      headersTimeout: HEADERS_MAX_MS,
      requestTimeout: REQUEST_MAX_MS,
      keepAliveTimeout: IDLE_MAX_MS,
      connectionsCheckingInterval: 2_000,
    },
    (incoming, outgoing) => void serve(site, incoming, outgoing),
  );
  boundConnections(server, CONNECTIONS_MAX);
  server.maxHeadersCount = 100;
  const bound = await listen(server, wanted.host, wanted.port, options.address);
  site.loopback = isLoopback(bound.host);
  const address = listenText({ kind: 'tcp', ...bound });

  let stopped: Promise<void> | undefined;
  return {
    address,
    stop(graceMs = 2_000) {
      stopped ??= new Promise<void>((resolve) => {
        const timer = setTimeout(() => server.closeAllConnections(), graceMs);
        // Connections that are only kept alive it closes at once.
        server.close(() => {
          clearTimeout(timer);
          resolve();
        });
      });
      return stopped;
    },
  };
}

/** `Authorization: Bearer <token>` (RFC 6750, section 2.1); the scheme in any letter case. */
export function bearerToken(headers: IncomingHttpHeaders): Presented | undefined {
  const value = headers.authorization;
  if (value === undefined || value.slice(0, 7).toLowerCase() !== 'bearer ') return undefined;
  const secret = value.slice(7).trim();
  return secret === '' ? undefined : { secret };
}

/** The token whose hash is that of `secret`. Takes as long for a wrong one as for a right one: every hash is compared
 *  whole. */
export function callerOf(presented: Presented, tokens: readonly AdminToken[]): AdminCaller | undefined {
  const hash =
    'sha256' in presented
      ? Buffer.from(presented.sha256, 'hex')
      : createHash('sha256').update(presented.secret, 'utf8').digest();
  let caller: AdminCaller | undefined;
  for (const token of tokens) {
    const known = Buffer.from(token.sha256, 'hex');
    if (known.length === hash.length && timingSafeEqual(known, hash) && !caller)
      caller = { name: token.name, actor: presented.actor, scopes: token.scopes };
  }
  return caller;
}

const HEADERS_MAX_BYTES = 16 * 1024;
const HEADERS_MAX_MS = 10_000;
const REQUEST_MAX_MS = 30_000;
const LINGER_MAX_BYTES = 2 * BODY_MAX_BYTES;
const LINGER_MAX_MS = 1_000;
const IDLE_MAX_MS = 5_000;
/** Scrapers, probes and a few people: far fewer than this. */
const CONNECTIONS_MAX = 256;
const NO_BODY: Uint8Array = new Uint8Array(0);
const NO_PARAMETERS: ReadonlyMap<string, string> = new Map<string, string>();

interface Site {
  readonly groups: readonly RoutedGroup[];
  readonly root: RoutedGroup;
  readonly tokens: () => readonly AdminToken[];
  readonly failed: AdminServerOptions['failed'];
  loopback: boolean;
}

type RoutedGroup = AdminGroup & { readonly table: RouteTable };

async function serve(site: Site, incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
  const method = incoming.method ?? '';
  const target = incoming.url ?? '';
  const mark = target.indexOf('?');
  const path = mark < 0 ? target : target.slice(0, mark);
  const isHead = method === 'HEAD';
  const group = site.groups.find(({ prefix }) => path === prefix || path.startsWith(`${prefix}/`)) ?? site.root;
  const request: { -readonly [Key in keyof AdminRequest]: AdminRequest[Key] } = {
    method,
    path,
    query: new URLSearchParams(mark < 0 ? '' : target.slice(mark + 1)),
    parameters: NO_PARAMETERS,
    headers: incoming.headers,
    body: NO_BODY,
    caller: undefined,
  };
  const refuse = (refusal: Refusal): AdminResponse => refused(group, refusal, request);
  try {
    const response = await respond(site, group, request, incoming, refuse);
    send(incoming, outgoing, response, isHead);
  } catch (error) {
    if (error instanceof CallerGone) {
      outgoing.destroy();
      return;
    }
    report(site, error, method, path);
    let response: AdminResponse = { status: 500 };
    try {
      response = refuse({ kind: 'failed', error });
    } catch (second) {
      report(site, second, method, path);
    }
    if (outgoing.headersSent) outgoing.destroy();
    else send(incoming, outgoing, response, isHead);
  }
}

async function respond(
  site: Site,
  group: RoutedGroup,
  request: { -readonly [Key in keyof AdminRequest]: AdminRequest[Key] },
  incoming: IncomingMessage,
  refuse: (refusal: Refusal) => AdminResponse,
): Promise<AdminResponse> {
  const tokens = site.tokens();
  const found = group.table.find(request.path);
  const wanted = request.method === 'HEAD' ? 'GET' : request.method;
  const match = found.find(({ route }) => route.method === wanted);
  const scopeOf = ({ scope }: AdminRoute): AdminScope => (scope === 'page' ? pageScope(site, tokens) : scope);
  const closed = match ? scopeOf(match.route) !== 'open' : group.table.allClosed;
  if (closed) {
    if (tokens.length === 0) return { status: 404 };
    const presented = (group.presented ?? bearerToken)(request.headers);
    request.caller = presented && callerOf(presented, tokens);
    if (!request.caller) return refuse({ kind: 'unauthenticated' });
  } else if (site.loopback && !isLocalName(request.headers.host)) {
    return {
      status: 421,
      headers: { 'content-type': 'text/plain; charset=utf-8' },
      body: 'This port answers under its address or localhost only.\n',
    };
  }
  const visible = tokens.length > 0 ? found : found.filter(({ route }) => scopeOf(route) === 'open');
  if (!match) {
    if (visible.length === 0) return refuse({ kind: 'not_found' });
    const allow = allowed(visible.map(({ route }) => route.method));
    const response = refuse({ kind: 'method_not_allowed', allow });
    return { ...response, headers: { allow, ...response.headers } };
  }
  const { route, parameters } = match;
  const scope = scopeOf(route);
  if (scope !== 'open' && !request.caller?.scopes.includes(scope)) return refuse({ kind: 'forbidden' });
  request.parameters = parameters;
  const body = await readBody(incoming);
  if (!body) return refuse({ kind: 'too_large' });
  request.body = body;
  return route.handle(request);
}

function pageScope({ loopback }: Site, tokens: readonly AdminToken[]): 'open' | 'read' {
  return tokens.length === 0 && loopback ? 'open' : 'read';
}

function refused(group: RoutedGroup, refusal: Refusal, request: AdminRequest): AdminResponse {
  const challenge: Readonly<Record<string, string>> =
    refusal.kind === 'unauthenticated' ? { 'www-authenticate': 'Bearer' } : {};
  if (!group.refuse) return { status: REFUSAL_STATUS[refusal.kind], headers: challenge };
  const response = group.refuse(refusal, request);
  return { ...response, headers: { ...challenge, ...response.headers } };
}

function allowed(methods: readonly string[]): string {
  return [...new Set(methods.flatMap((method) => (method === 'GET' ? ['GET', 'HEAD'] : [method])))].join(', ');
}

function send(incoming: IncomingMessage, outgoing: ServerResponse, response: AdminResponse, isHead: boolean): void {
  const body = typeof response.body === 'string' ? Buffer.from(response.body) : (response.body ?? NO_BODY);
  const headers: Record<string, string | number> = {
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    ...response.headers,
    'content-length': body.byteLength,
  };
  if (incoming.complete) {
    outgoing.writeHead(response.status, headers);
    outgoing.end(isHead ? undefined : body);
    return;
  }
  // Nobody shall keep us busy with what is thrown away, so the connection is not kept.
  outgoing.writeHead(response.status, { ...headers, connection: 'close' });
  if (isHead || body.byteLength === 0) outgoing.flushHeaders();
  else outgoing.write(body);
  linger(incoming, outgoing);
}

/** Ends an answer that was given before the request had come whole. A client that is still writing would hear the
 *  connection break, and never the answer: so a little of what is left is read and thrown away. */
function linger(incoming: IncomingMessage, outgoing: ServerResponse): void {
  let left = LINGER_MAX_BYTES;
  const end = (): void => {
    clearTimeout(timer);
    outgoing.end();
  };
  const timer = setTimeout(end, LINGER_MAX_MS);
  incoming.on('data', (chunk: Buffer) => {
    left -= chunk.length;
    if (left < 0) end();
  });
  incoming.once('end', end);
  incoming.once('close', end);
  incoming.resume();
}

function report(site: Site, error: unknown, method: string, path: string): void {
  try {
    site.failed?.(error, method, path);
  } catch {
    // The answer matters more than whoever wanted to hear of it.
  }
}

class CallerGone extends Error {}

/** The whole body; undefined where it is too large. */
async function readBody(incoming: IncomingMessage): Promise<Uint8Array | undefined> {
  const told = Number(incoming.headers['content-length'] ?? 0);
  if (told > BODY_MAX_BYTES) return undefined;
  const chunks: Buffer[] = [];
  let size = 0;
  return new Promise((resolve, reject) => {
    incoming.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size <= BODY_MAX_BYTES) chunks.push(chunk);
      else {
        incoming.pause();
        resolve(undefined);
      }
    });
    incoming.once('end', () => resolve(Buffer.concat(chunks, size)));
    incoming.once('error', () => reject(new CallerGone()));
    incoming.once('close', () => reject(new CallerGone()));
  });
}

interface RouteMatch {
  readonly route: AdminRoute;
  readonly parameters: ReadonlyMap<string, string>;
}

interface RouteTable {
  /** Routes of any method whose path fits, those with fewer parameters first. */
  find(path: string): readonly RouteMatch[];
  /** No route is open: without credentials nothing here exists. */
  readonly allClosed: boolean;
}

function routeTable(routes: readonly AdminRoute[]): RouteTable {
  const entries = routes
    .map((route) => ({ route, segments: route.path.split('/').slice(1) }))
    .toSorted((a, b) => a.segments.filter(isParameter).length - b.segments.filter(isParameter).length);
  return {
    allClosed: routes.length > 0 && routes.every(({ scope }) => scope !== 'open'),
    find(path) {
      const parts = path.split('/').slice(1);
      const matches: RouteMatch[] = [];
      for (const { route, segments } of entries) {
        const parameters = segments.length === parts.length ? fitted(segments, parts) : undefined;
        if (parameters) matches.push({ route, parameters });
      }
      return matches;
    },
  };
}

function fitted(segments: readonly string[], parts: readonly string[]): ReadonlyMap<string, string> | undefined {
  let parameters: Map<string, string> | undefined;
  for (const [place, segment] of segments.entries()) {
    const part = parts[place] ?? '';
    if (isParameter(segment)) {
      const value = decoded(part);
      if (value === undefined || value === '') return undefined;
      parameters ??= new Map();
      parameters.set(segment.slice(1, -1), value);
    } else if (segment !== part) return undefined;
  }
  return parameters ?? NO_PARAMETERS;
}

function isParameter(segment: string): boolean {
  return segment.startsWith('{') && segment.endsWith('}');
}

function decoded(part: string): string | undefined {
  try {
    return decodeURIComponent(part);
  } catch {
    return undefined;
  }
}

async function listen(
  server: Server,
  host: string,
  port: number,
  written: string,
): Promise<{ readonly host: string; readonly port: number }> {
  try {
    // One address, as the check port does it, so that what is told is what is bound.
    const address = isIP(host) === 0 ? (await lookup(host)).address : host;
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host: address, port }, () => {
        server.off('error', reject);
        resolve();
      });
    });
    const bound = server.address();
    return { host: address, port: bound !== null && typeof bound === 'object' ? bound.port : port };
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';
    throw new Error(bindFailure('admin', written, code), { cause: error });
  }
}

function isLoopback(host: string): boolean {
  return host === '::1' || host.startsWith('127.');
}

/** Absent is fine: HTTP/1.0 checks of load balancers have none, browsers always do. */
function isLocalName(host: string | undefined): boolean {
  if (host === undefined) return true;
  const name = host.startsWith('[') ? host.slice(1, Math.max(1, host.indexOf(']'))) : (host.split(':')[0] ?? '');
  return isIP(name) !== 0 || name.toLowerCase() === 'localhost' || name.toLowerCase().endsWith('.localhost');
}
