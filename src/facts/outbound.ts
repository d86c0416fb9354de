/** Calls to servers of others: one deadline for everything, a limit to what is read, no redirect followed, no retry, no
 *  proxy of the environment. What goes wrong is told without the URL, a header or anything of the answer. */
import { lookup as resolve } from 'node:dns';
import type { LookupAddress } from 'node:dns';
import { Agent as HttpAgent, request as httpRequest } from 'node:http';
import type { ClientRequest, IncomingMessage, RequestOptions } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { isIP } from 'node:net';
import type { LookupFunction } from 'node:net';
import { promisify } from 'node:util';
import { brotliDecompress, unzip } from 'node:zlib';
import { parseAddress, reachOf } from '../shared/address.ts';
import { isLoopbackHost } from '../shared/host.ts';

export interface OutboundRequest {
  /** http or https, without user and fragment; its path and query are sent as they are written. */
  readonly url: string;
  /** Lower-case names. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** Sent as `application/json` by POST; undefined: GET. */
  readonly json?: unknown;
  /** A longer answer is refused. */
  readonly bytesMax: number;
}

/** An answer with status 200. */
export interface OutboundAnswer {
  readonly bytes: Uint8Array;
  /** Without parameters, lower case; "" where there is none. */
  readonly type: string;
  /** "" where there is none. */
  readonly cacheControl: string;
}

/** Calls once. Rejects with an OutboundError and nothing else; at the latest when `deadline` is aborted. */
export type Outbound = (request: OutboundRequest, deadline: AbortSignal) => Promise<OutboundAnswer>;

export interface OutboundOptions {
  /** Refuses addresses that nobody serves from: link-local (where clouds keep credentials), multicast, unspecified;
   *  and loopback unless the URL names this machine. Looked at when the connection is made, so that a name cannot
   *  lead elsewhere later. */
  readonly guarded: boolean;
  /** PEM, in place of the authorities that Node trusts. For tests. */
  readonly authorities?: string | undefined;
  /** In place of the system's resolver. For tests. */
  readonly resolve?: typeof resolve | undefined;
}

/** What went wrong, in a few words for the log. */
export class OutboundError extends Error {
  /** Of an answer other than 200; undefined: there was none, or it was something else. */
  readonly status: number | undefined;

  constructor(why: string, status?: number) {
    super(why);
    this.status = status;
  }
}

/** Connections are kept for a few seconds and used again. */
export function createOutbound({ guarded, authorities, resolve: resolver = resolve }: OutboundOptions): Outbound {
  // Idle connections go before any server in common use closes them: a call must not meet one that is just closing.
  const kept = { keepAlive: true, timeout: IDLE_MS, maxSockets: CONNECTIONS_MAX, maxFreeSockets: 8 };
  const http = new HttpAgent(kept);
  const https = new HttpsAgent({ ...kept, ca: authorities, rejectUnauthorized: true });
  const lookup = sharedLookup(resolver, guarded ? isReachable : () => true);
  return (request, deadline) =>
    new Promise((succeed, fail) => {
      const url = new URL(request.url);
      const host = url.hostname.replace(/^\[|\]$/g, '');
      if (guarded && isIP(host) !== 0 && !isReachable(host, host)) {
        fail(new OutboundError(ADDRESS_REFUSED));
        return;
      }
      const body = request.json === undefined ? undefined : Buffer.from(JSON.stringify(request.json));
      const isSecure = url.protocol === 'https:';
      const options: RequestOptions = {
        agent: isSecure ? https : http,
        host,
        port: url.port || (isSecure ? 443 : 80),
        method: body === undefined ? 'GET' : 'POST',
        path: targetOf(request.url, url),
        headers: {
          accept: 'application/json',
          'accept-encoding': 'identity',
          'user-agent': 'postern',
          ...(body && { 'content-type': 'application/json', 'content-length': body.length }),
          ...request.headers,
        },
        lookup,
      };
      exchange(() => (isSecure ? httpsRequest : httpRequest)(options), body, request.bytesMax, deadline).then(
        succeed,
        fail,
      );
    });
}

/** Rejects with an OutboundError where `deadline` is aborted before the promise is settled. */
export function before<T>(deadline: AbortSignal, promise: Promise<T>): Promise<T> {
  return new Promise((succeed, fail) => {
    const late = (): void => fail(new OutboundError(LATE));
    if (deadline.aborted) late();
    else deadline.addEventListener('abort', late, { once: true });
    promise.then(succeed, fail).finally(() => deadline.removeEventListener('abort', late));
  });
}

/** The JSON object that an answer is. Throws an OutboundError where it is none. */
export function jsonObject(bytes: Uint8Array): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    value = undefined;
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value))
    throw new OutboundError('expected a JSON object, found something else');
  return value as Readonly<Record<string, unknown>>;
}

const IDLE_MS = 4_000;
/** To one host at once; more wait for their turn within their deadline. */
const CONNECTIONS_MAX = 128;

const LATE = 'no answer in time';
const ADDRESS_REFUSED = 'an address that must not be called';

function exchange(
  send: () => ClientRequest,
  body: Uint8Array | undefined,
  bytesMax: number,
  deadline: AbortSignal,
): Promise<OutboundAnswer> {
  return new Promise((succeed, fail) => {
    let request: ClientRequest | undefined;
    let isOver = false;
    let isAnswered = false;
    const end = (settle: () => void): void => {
      if (isOver) return;
      isOver = true;
      deadline.removeEventListener('abort', late);
      settle();
    };
    const give = (answer: OutboundAnswer): void => end(() => succeed(answer));
    const refuse = (why: string, status?: number): void =>
      end(() => {
        fail(new OutboundError(why, status));
        request?.destroy();
      });
    const late = (): void => refuse(LATE);
    if (deadline.aborted) {
      late();
      return;
    }
    deadline.addEventListener('abort', late, { once: true });
    try {
      request = send();
    } catch (error) {
      refuse(reasonOf(error));
      return;
    }
    request.on('error', (error) => refuse(reasonOf(error)));
    request.on('response', (response) => {
      isAnswered = true;
      read(response, bytesMax, give, refuse);
    });
    request.on('close', () => {
      if (!isAnswered) refuse(BROKEN_OFF);
    });
    request.end(body);
  });
}

const BROKEN_OFF = 'the connection broke off';

/** Once an answer is given or refused, later calls of either change nothing. */
function read(
  response: IncomingMessage,
  bytesMax: number,
  give: (answer: OutboundAnswer) => void,
  refuse: (why: string, status?: number) => void,
): void {
  const { statusCode = 0, headers } = response;
  response.on('error', () => refuse(BROKEN_OFF));
  response.on('close', () => {
    if (!response.complete) refuse(BROKEN_OFF);
  });
  if (statusCode !== 200) {
    refuse(`expected status 200, found ${statusCode}`, statusCode);
    return;
  }
  const tooLong = `expected at most ${bytesMax} bytes, found more`;
  const chunks: Uint8Array[] = [];
  let length = 0;
  response.on('data', (chunk: Uint8Array) => {
    length += chunk.length;
    chunks.push(chunk);
    if (length > bytesMax) refuse(tooLong);
  });
  response.on('end', () => {
    if (!response.complete || length > bytesMax) return;
    const type = (headers['content-type'] ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? '';
    const cacheControl = headers['cache-control'] ?? '';
    decoded(Buffer.concat(chunks), headers['content-encoding'], bytesMax).then(
      (bytes) => give({ bytes, type, cacheControl }),
      (error: unknown) => refuse(codeOf(error) === 'ERR_BUFFER_TOO_LARGE' ? tooLong : 'the answer cannot be unpacked'),
    );
  });
}

/** It was asked for as it is, but files that are stored packed come packed to everybody. */
async function decoded(bytes: Uint8Array, encoding: string | undefined, maxOutputLength: number): Promise<Uint8Array> {
  switch (encoding) {
    case undefined:
    case 'identity':
      return bytes;
    case 'gzip':
    case 'x-gzip':
    case 'deflate':
      return promisify(unzip)(bytes, { maxOutputLength });
    case 'br':
      return promisify(brotliDecompress)(bytes, { maxOutputLength });
    default:
      throw new OutboundError('an unknown encoding');
  }
}

/** Those who want to know the addresses of one host at the same time ask once: the system's resolver occupies one of
 *  Node's four threads, which signatures are verified on too, for as long as a name server does not answer. */
function sharedLookup(resolver: typeof resolve, isAllowed: (address: string, host: string) => boolean): LookupFunction {
  const underWay = new Map<string, Told[]>();
  return (host, options, done) => {
    const tell: Told = (error, found) => {
      const allowed = found.filter(({ address }) => isAllowed(address, host));
      const [first] = allowed;
      if (error) done(error, []);
      else if (first === undefined) done(new OutboundError(ADDRESS_REFUSED), []);
      else if (options.all === true) done(null, allowed);
      else done(null, first.address, first.family);
    };
    const name = `${host} ${options.family ?? 0} ${options.hints ?? 0}`;
    const waiting = underWay.get(name);
    if (waiting) {
      waiting.push(tell);
      return;
    }
    const all = [tell];
    underWay.set(name, all);
    resolver(host, { ...options, all: true }, (error, found) => {
      underWay.delete(name);
      for (const one of all) one(error, error ? [] : found);
    });
  };
}

type Told = (error: NodeJS.ErrnoException | null, found: readonly LookupAddress[]) => void;

function isReachable(text: string, host: string): boolean {
  const address = parseAddress(text);
  const reach = address && reachOf(address);
  return reach === 'any' || (reach === 'loopback' && isLoopbackHost(host));
}

/** Path and query as written, which parsing would rewrite. */
function targetOf(written: string, url: URL): string {
  const rest = /^[a-z]+:\/\/[^/?]*(.*)$/is.exec(written)?.[1] ?? '';
  if (!/^[\u0021-\u007e]*$/.test(rest)) return url.pathname + url.search;
  return rest.startsWith('/') ? rest : `/${rest}`;
}

/** A system's or library's code, such as ECONNREFUSED or CERT_HAS_EXPIRED; messages may hold more than should be said. */
function reasonOf(error: unknown): string {
  if (error instanceof OutboundError) return error.message;
  return codeOf(error instanceof AggregateError ? error.errors[0] : error) ?? 'the connection failed';
}

function codeOf(error: unknown): string | undefined {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return typeof code === 'string' ? code : undefined;
}
