/** The check port: binds a `Check` to gRPC, with health and reflection beside it. Nothing above knows that it is
 *  grpc-js: bytes and a deadline go up, bytes come down. */
import { X509Certificate } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import { existsSync } from 'node:fs';
import { chmod, lstat, unlink } from 'node:fs/promises';
import { connect, isIP } from 'node:net';
import { dirname } from 'node:path';
import { createSecureContext } from 'node:tls';
import type { SecureContextOptions } from 'node:tls';
import { Server, ServerCredentials, logVerbosity, setLogVerbosity } from '@grpc/grpc-js';
import type { ServerUnaryCall, ServiceDefinition, sendUnaryData } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { ReflectionService } from '@grpc/reflection';
import { HealthImplementation, protoPath as healthProto } from 'grpc-health-check';
import type { Reason } from '../model/decision.ts';
import { bindFailure, listenText, readListenAddress } from '../shared/listen.ts';
import type { ListenAddress } from '../shared/listen.ts';
import type { Check, CheckCall } from './check.ts';
import { AuthorizationClient, AuthorizationService } from './generated/envoy/service/auth/v3/external_auth.ts';

/** Why the transport itself answered 503 instead of the check: it threw, its promise was rejected, it gave no bytes,
 *  it was not done when the caller was about to give up, or too many were waiting already. */
export type CheckFailure = 'thrown' | 'rejected' | 'empty' | 'late' | 'overloaded';

/** The reasons a transport may give in an answer of its own. */
export type UnavailableReason = Extract<Reason, 'internal_error' | 'fact_unavailable' | 'overloaded'>;

/** PEM text. With `clientCa` only clients whose certificate those authorities signed are served. */
export interface TlsMaterial {
  readonly certificate: string | Buffer;
  readonly key: string | Buffer;
  readonly clientCa?: string | Buffer | undefined;
}

export interface CheckServerOptions {
  /** `host:port`, `[v6]:port` or `unix:///absolute/path`; port 0 takes a free one. */
  readonly address: string;
  /** Absent: cleartext HTTP/2. */
  readonly tls?: TlsMaterial | undefined;
  readonly check: Check;
  /** The finished bytes of an explicit 503 answer; asked once per failure, so they should be precomputed. */
  readonly unavailable: (reason: UnavailableReason) => Uint8Array;
  /** Told of every answer that is not the check's own, once each; `error` is what was thrown, where something was. */
  readonly failed?: ((kind: CheckFailure, error: unknown) => void) | undefined;
  /** The .proto of the service and the folders its imports are found in. Absent: no reflection. */
  readonly reflection?: { readonly proto: string; readonly folders: readonly string[] } | undefined;
  /** Checks that may wait at the same time; 1,000 where absent. Checks that answer synchronously never wait. */
  readonly waitingMax?: number | undefined;
  /** How long a check may take whose caller would wait longer; 5,250 where absent, since a check ends itself after
   *  5,000. */
  readonly checkMaxMs?: number | undefined;
}

export interface CheckServer {
  /** Where it really listens: `127.0.0.1:40001`, `[::1]:40001` or `unix:///run/postern/check.sock`. */
  readonly address: string;
  /** Checks whose answer is being waited for. */
  readonly waiting: number;
  /** What health says: SERVING or NOT_SERVING. NOT_SERVING at first, and for good once draining has begun. */
  setServing(serving: boolean): void;
  /** New connections get this material, those that exist keep theirs. Throws a plain Error, and keeps what it has, for
   *  material that does not fit together and where client certificates would begin or cease to be asked for: that, and
   *  turning TLS on or off, takes a restart. */
  replaceTls(material: TlsMaterial): void;
  /** Health says NOT_SERVING; after `graceMs`, still answering, no new connections and GOAWAY; what is in hand may
   *  finish until `deadlineMs` after that; then everything is closed. Resolves when all is closed. A second call gives
   *  the same promise. Envoy turns a connection that closes abruptly into a refused request, hence the patience. */
  drain(times: DrainTimes): Promise<void>;
  /** Closes everything now, also in the middle of a drain. */
  stopNow(): Promise<void>;
}

export interface DrainTimes {
  readonly graceMs: number;
  readonly deadlineMs: number;
}

/** The service whose health is told, beside `""` for the server as a whole. */
export const CHECK_SERVICE = AuthorizationClient.serviceName;

/** What is sent where even the precomputed answer cannot be had: status 14, HTTP 503, no body.
 *  Source: CheckResponse { status { code: 14 } denied_response { status { code: 503 } } }. */
export const LAST_RESORT: Uint8Array = Uint8Array.from([
  0x0a, 0x02, 0x08, 0x0e, 0x12, 0x05, 0x0a, 0x03, 0x08, 0xf7, 0x03,
]);

/** How long a check whose caller gives up at `deadlineMs` may take before it is answered without it: what is left, less
 *  a quarter of the margin that a check keeps itself (a tenth, 5 to 50 ms). The check gives up its facts at the whole of
 *  that margin and everything else at half of it, so it speaks first. Milliseconds; `Infinity` where the caller does not
 *  say. */
export function patienceMs(deadlineMs: number, nowMs: number): number {
  const leftMs = deadlineMs - nowMs;
  return Math.max(0, leftMs - Math.min(Math.max(leftMs / 40, 1.25), 12.5));
}

/** Binds the port and begins to answer. Rejects with one plain line where the port cannot be had, TLS material does
 *  not fit together, or the .proto of reflection is missing. */
export async function startCheckServer(options: CheckServerOptions): Promise<CheckServer> {
  const wanted = readListenAddress(options.address);
  if (!wanted) throw new Error(`check port ${options.address}: expected host:port, [v6]:port or unix:///path`);
  // It would write to the error stream in a form of its own; every failure of a bind is in our rejection already.
  setLogVerbosity(logVerbosity.NONE);
  const credentials = options.tls ? new ReplaceableTls(options.tls) : ServerCredentials.createInsecure();
  const server = new Server({
    'grpc.max_receive_message_length': RECEIVE_MAX_BYTES,
    ...(wanted.kind === 'tcp'
      ? { 'grpc.keepalive_time_ms': KEEPALIVE_MS, 'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS }
      : {}),
  });
  const desk = createDesk(options);
  server.addService(CHECK_DEFINITION, { check: desk.answer });
  const health = new HealthImplementation({ '': 'NOT_SERVING', [CHECK_SERVICE]: 'NOT_SERVING' });
  health.addToServer(server);
  if (options.reflection) addReflection(server, options.reflection.proto, options.reflection.folders);

  const bound = await bind(server, wanted, credentials, options.address);
  const address = listenText(bound);

  let drained: Promise<void> | undefined;
  let closed = false;
  const hurried = new AbortController();
  const setHealth = (serving: boolean): void => {
    for (const service of ['', CHECK_SERVICE]) health.setStatus(service, serving ? 'SERVING' : 'NOT_SERVING');
  };
  const closeAll = (): void => {
    if (closed) return;
    closed = true;
    // It closes connections only while channelz, on by default, keeps a list of them.
    server.forceShutdown();
  };

  return {
    address,
    get waiting(): number {
      return desk.waiting();
    },
    setServing(serving) {
      if (!drained && !closed) setHealth(serving);
    },
    replaceTls(material) {
      if (!(credentials instanceof ReplaceableTls)) throw new Error('TLS can be turned on by a restart only');
      credentials.replace(material);
    },
    drain(times) {
      drained ??= (async () => {
        setHealth(false);
        await pause(times.graceMs, hurried.signal);
        if (!closed) {
          // Never told of while somebody watches the health: hence the deadline.
          server.tryShutdown(() => hurried.abort());
          await pause(times.deadlineMs, hurried.signal);
        }
        closeAll();
        await settle();
      })();
      return drained;
    },
    async stopNow() {
      closeAll();
      hurried.abort();
      await drained;
      await settle();
    },
  };
}

/** Envoy sends bodies up to its `max_request_bytes`; above this limit the transport fails the call, which Envoy may
 *  take for a reason to let the request through. Hence far more than any sensible setting. */
const RECEIVE_MAX_BYTES = 16 * 1024 * 1024;
const KEEPALIVE_MS = 60_000;
const KEEPALIVE_TIMEOUT_MS = 20_000;
const WAITING_MAX = 1_000;
const CHECK_MAX_MS = 5_250;

const CHECK_DEFINITION: ServiceDefinition = {
  check: {
    ...AuthorizationService.check,
    // Bytes pass through: a request that cannot be decoded must become an answer, not a failed call.
    requestSerialize: (bytes: Buffer) => bytes,
    requestDeserialize: (bytes: Buffer) => bytes,
    responseSerialize: asBuffer,
    responseDeserialize: (bytes: Buffer) => bytes,
  },
};

/** Hands calls to the check and sees to it that every one is answered with bytes that say something. */
function createDesk(options: CheckServerOptions): {
  readonly answer: (call: ServerUnaryCall<Buffer, Uint8Array>, respond: sendUnaryData<Uint8Array>) => void;
  readonly waiting: () => number;
} {
  const { check } = options;
  const waitingMax = options.waitingMax ?? WAITING_MAX;
  const checkMaxMs = options.checkMaxMs ?? CHECK_MAX_MS;
  let waiting = 0;

  const refuse = (respond: sendUnaryData<Uint8Array>, kind: CheckFailure, error: unknown): void => {
    let bytes = LAST_RESORT;
    try {
      const own = options.unavailable(REASON_OF[kind]);
      if (saysSomething(own)) bytes = own;
      options.failed?.(kind, error);
    } catch {
      // The answer matters more than whoever wanted to hear of it.
    }
    respond(null, bytes);
  };

  const wait = (
    promise: Promise<Uint8Array>,
    incoming: IncomingCall,
    call: ServerUnaryCall<Buffer, Uint8Array>,
    respond: sendUnaryData<Uint8Array>,
  ): void => {
    waiting += 1;
    let open = true;
    const close = (): boolean => {
      if (!open) return false;
      open = false;
      waiting -= 1;
      clearTimeout(timer);
      incoming.close();
      // Nobody is there to be answered, and a cancelled check is not a failed one.
      return !call.cancelled;
    };
    const timer = setTimeout(
      () => {
        if (!close()) return;
        // Whatever it decides from here on reaches nobody.
        incoming.abandon();
        refuse(respond, 'late', undefined);
      },
      Math.min(patienceMs(incoming.deadlineMs, Date.now()), checkMaxMs),
    );
    const answer = (bytes: Uint8Array): void => {
      if (!close()) return;
      if (saysSomething(bytes)) respond(null, bytes);
      else refuse(respond, 'empty', undefined);
    };
    const apologise = (error: unknown): void => {
      if (close()) refuse(respond, 'rejected', error);
    };
    void promise.then(answer, apologise);
  };

  return {
    waiting: () => waiting,
    answer(call, respond) {
      if (waiting >= waitingMax) {
        refuse(respond, 'overloaded', undefined);
        return;
      }
      const incoming = new IncomingCall(call);
      let result: Uint8Array | Promise<Uint8Array>;
      try {
        result = check(call.request, incoming);
      } catch (error) {
        refuse(respond, 'thrown', error);
        return;
      }
      if (result instanceof Promise) wait(result, incoming, call, respond);
      else if (saysSomething(result)) {
        incoming.close();
        respond(null, result);
      } else refuse(respond, 'empty', undefined);
    },
  };
}

const REASON_OF: Readonly<Record<CheckFailure, UnavailableReason>> = {
  thrown: 'internal_error',
  rejected: 'internal_error',
  empty: 'internal_error',
  late: 'fact_unavailable',
  overloaded: 'overloaded',
};

/** Zero bytes are a CheckResponse with status 0, which Envoy reads as allow. */
function saysSomething(bytes: unknown): bytes is Uint8Array {
  return bytes instanceof Uint8Array && bytes.byteLength > 0;
}

/** One call as the check sees it. The listener is added only when somebody wants to hear of the caller's leaving:
 *  most checks answer at once. */
class IncomingCall implements CheckCall {
  readonly deadlineMs: number;
  readonly #call: ServerUnaryCall<Buffer, Uint8Array>;
  #controller: AbortController | undefined = undefined;
  #open = true;
  #abandoned = false;

  constructor(call: ServerUnaryCall<Buffer, Uint8Array>) {
    this.#call = call;
    const deadline = call.getDeadline();
    this.deadlineMs = typeof deadline === 'number' ? deadline : deadline.getTime();
  }

  get signal(): AbortSignal {
    if (!this.#controller) {
      this.#controller = new AbortController();
      if (this.cancelled) this.#controller.abort();
      else
        this.#call.once('cancelled', () => {
          // grpc-js says so after every normal answer too.
          if (this.#open) this.#controller?.abort();
        });
    }
    return this.#controller.signal;
  }

  get cancelled(): boolean {
    return this.#abandoned || (this.#open && this.#call.cancelled);
  }

  metadata(name: string): string | undefined {
    const [value, ...others] = this.#call.metadata.get(name);
    return typeof value === 'string' && value !== '' && others.length === 0 ? value : undefined;
  }

  /** The answer is given: what the caller does from here on is of no interest. */
  close(): void {
    this.#open = false;
  }

  /** It was answered without the check. */
  abandon(): void {
    this.#abandoned = true;
    this.#controller?.abort();
  }
}

/** Certificate and key that can be replaced while the port is open: Node's TLS server takes a new secure context for
 *  the connections to come, and grpc-js passes one on to it. */
class ReplaceableTls extends ServerCredentials {
  readonly #clientCertificate: boolean;

  constructor(material: TlsMaterial) {
    const asksClients = material.clientCa !== undefined;
    super({ requestCert: asksClients, rejectUnauthorized: asksClients }, secureContext(material));
    this.#clientCertificate = asksClients;
  }

  replace(material: TlsMaterial): void {
    if ((material.clientCa !== undefined) !== this.#clientCertificate)
      throw new Error('listen.tls.client_ca can be added or removed by a restart only');
    // Checked before: grpc-js closes the port to everybody when it is handed a context that does not work.
    this.updateSecureContextOptions(secureContext(material));
  }

  override _equals(other: ServerCredentials): boolean {
    return this === other;
  }
}

function secureContext(material: TlsMaterial): SecureContextOptions {
  const { certificate, key, clientCa } = material;
  const context = { cert: certificate, key, minVersion: 'TLSv1.2' } as const;
  try {
    // Empty text would pass below: as no certificate at all, and as the public authorities for clients.
    for (const pem of clientCa === undefined ? [certificate] : [certificate, clientCa]) assertCertificate(pem);
    const whole: SecureContextOptions = clientCa === undefined ? context : { ...context, ca: clientCa };
    createSecureContext(whole);
    return whole;
  } catch (error) {
    throw new Error(
      `listen.tls: expected PEM files of a certificate, its own key and the clients' authority, found some that do not fit (${codeOf(error)})`,
      { cause: error },
    );
  }
}

function assertCertificate(pem: string | Buffer): X509Certificate {
  return new X509Certificate(pem);
}

async function bind(
  server: Server,
  wanted: ListenAddress,
  credentials: ServerCredentials,
  written: string,
): Promise<ListenAddress> {
  if (wanted.kind === 'unix') await clearLeftoverSocket(wanted.path, written);
  const target = wanted.kind === 'tcp' ? { ...wanted, host: await oneAddress(wanted.host, written) } : wanted;
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(listenText(target), credentials, (error, found) => {
      if (error) reject(new Error(bindFailure('check', written, systemCode(error.message)), { cause: error }));
      else resolve(found);
    });
  });
  if (target.kind === 'unix') {
    try {
      // Envoy runs as another user as a rule; a shared group lets it in, and nobody else.
      await chmod(target.path, 0o660);
    } catch (error) {
      server.forceShutdown();
      throw new Error(bindFailure('check', written, codeOf(error)), { cause: error });
    }
    return target;
  }
  return { ...target, port };
}

/** A name is bound at its first address, as Node does for every other server: grpc-js would bind all of them and be
 *  content with one, so that another program could have the rest. */
async function oneAddress(host: string, written: string): Promise<string> {
  if (isIP(host) !== 0) return host;
  try {
    return (await lookup(host)).address;
  } catch (error) {
    throw new Error(bindFailure('check', written, codeOf(error)), { cause: error });
  }
}

/** A socket file outlives a process that was killed. One that nobody answers is removed; anything else is left alone
 *  and said. */
async function clearLeftoverSocket(path: string, written: string): Promise<void> {
  let found;
  try {
    found = await lstat(path);
  } catch (error) {
    // A folder that is missing would be told as one that may not be written.
    if (codeOf(error) === 'ENOENT' && existsSync(dirname(path))) return;
    throw new Error(bindFailure('check', written, codeOf(error)), { cause: error });
  }
  if (!found.isSocket())
    throw new Error(`check port ${written}: a file that is no socket is there; remove it or set listen.check`);
  if (await answers(path)) throw new Error(bindFailure('check', written, 'EADDRINUSE'));
  await unlink(path);
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    // Refused: nobody listens. Any other failure (no permission) leaves the file to its owner.
    socket.once('error', (error) => resolve(codeOf(error) !== 'ECONNREFUSED'));
  });
}

function addReflection(server: Server, proto: string, folders: readonly string[]): void {
  const definitions = loadSync([proto, healthProto], { includeDirs: [...folders], keepCase: true });
  new ReflectionService(definitions).addToServer(server);
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function systemCode(message: string): string {
  return /\bE[A-Z]{3,}\b/.exec(message)?.[0] ?? 'unknown error';
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';
}

/** Resolves after the time, or at once when aborted. */
async function pause(ms: number, cut: AbortSignal): Promise<void> {
  if (cut.aborted) return;
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, ms);
    cut.addEventListener(
      'abort',
      () => {
        clearTimeout(timer);
        resolve();
      },
      { once: true },
    );
  });
}

/** Destroyed connections close on the next turns of the event loop. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 3; turn += 1) {
    await new Promise((resolve) => {
      setTimeout(resolve, 0);
    });
  }
}
