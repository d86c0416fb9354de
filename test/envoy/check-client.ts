/** A gRPC client of the check port, as Envoy is one: bytes in, bytes out. */
import { Client, Metadata, credentials } from '@grpc/grpc-js';
import type {
  CallOptions,
  ChannelCredentials,
  ClientReadableStream,
  ClientUnaryCall,
  ServiceError,
} from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import type { MethodDefinition, ServiceDefinition } from '@grpc/proto-loader';
import { protoPath } from 'grpc-health-check';
import type { CheckFailure, CheckServerOptions, UnavailableReason } from '../../src/envoy/server.ts';

export const CHECK_PATH = '/envoy.service.auth.v3.Authorization/Check';

/** status 0: `CheckResponse { status {} }` */
export const ALLOW = Buffer.from('0a020800', 'hex');
/** status 7 */
export const DENY = Buffer.from('0a020807', 'hex');

/** Status 14, HTTP 503 and a body that tells the reason apart. */
export function unavailableBytes(reason: UnavailableReason): Buffer {
  const body = Buffer.from(reason);
  const denied = Buffer.concat([Buffer.from('0a0308f703', 'hex'), Buffer.from([0x1a, body.length]), body]);
  return Buffer.concat([Buffer.from('0a02080e', 'hex'), Buffer.from([0x12, denied.length]), denied]);
}

/** Options of a server on a free port that remembers its failures. */
export function serverOptions(
  check: CheckServerOptions['check'],
  more: Partial<CheckServerOptions> = {},
): CheckServerOptions & { readonly failures: CheckFailure[] } {
  const failures: CheckFailure[] = [];
  return {
    address: '127.0.0.1:0',
    check,
    unavailable: unavailableBytes,
    failed: (kind) => failures.push(kind),
    ...more,
    failures,
  };
}

export interface CheckClient {
  /** The answer's bytes; a gRPC error rejects. */
  check(request: Uint8Array, options?: CallOptions): Promise<Buffer>;
  /** The same, with the call in hand. */
  call(
    request: Uint8Array,
    options?: CallOptions,
  ): { readonly call: ClientUnaryCall; readonly answer: Promise<Buffer> };
  health(service: string): Promise<string>;
  healthList(): Promise<Record<string, string>>;
  watch(service: string): ClientReadableStream<{ status: string }>;
  unary(path: string, request: Uint8Array): Promise<Buffer>;
  close(): void;
}

export function checkClient(address: string, channel: ChannelCredentials = credentials.createInsecure()): CheckClient {
  // A pool of its own: clients must not share a connection that another test closes.
  const client = new Client(address, channel, { 'grpc.use_local_subchannel_pool': 1 });
  const health = loadSync(protoPath, { enums: String, defaults: true })['grpc.health.v1.Health'] as ServiceDefinition;
  const unary = <T>(method: MethodDefinition<object, object>, request: object): Promise<T> =>
    new Promise((resolve, reject) => {
      client.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        request,
        (error, answer) => (error ? reject(error) : resolve(answer as T)),
      );
    });
  const call = (path: string, request: Uint8Array, options: CallOptions = {}) => {
    let made: ClientUnaryCall | undefined;
    const answer = new Promise<Buffer>((resolve, reject) => {
      const done = (error: ServiceError | null, bytes?: Buffer): void => {
        if (error) reject(error);
        else resolve(bytes ?? Buffer.alloc(0));
      };
      made = client.makeUnaryRequest(path, asIs, asIs, Buffer.from(request), new Metadata(), options, done);
    });
    if (!made) throw new Error('no call was made');
    return { call: made, answer };
  };
  return {
    check: (request, options) => call(CHECK_PATH, request, options).answer,
    call: (request, options) => call(CHECK_PATH, request, options),
    async health(service) {
      return (await unary<{ status: string }>(methodOf(health, 'Check'), { service })).status;
    },
    async healthList() {
      const { statuses } = await unary<{ statuses: Record<string, { status: string }> }>(methodOf(health, 'List'), {});
      return Object.fromEntries(Object.entries(statuses).map(([service, { status }]) => [service, status]));
    },
    watch(service) {
      const method = methodOf(health, 'Watch');
      const stream = client.makeServerStreamRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize as (bytes: Buffer) => { status: string },
        { service },
      );
      stream.on('error', () => undefined);
      return stream;
    },
    unary: (path, request) => call(path, request).answer,
    close: () => client.close(),
  };
}

function methodOf(service: ServiceDefinition, name: string): MethodDefinition<object, object> {
  const method = service[name];
  if (!method) throw new Error(`no method ${name}`);
  return method;
}

function asIs(bytes: Buffer): Buffer {
  return bytes;
}

/** A promise and the way to keep it. */
export function deferred<T>(): { readonly promise: Promise<T>; readonly resolve: (value: T) => void } {
  let keep: ((value: T) => void) | undefined;
  const promise = new Promise<T>((resolve) => {
    keep = resolve;
  });
  return { promise, resolve: (value) => keep?.(value) };
}

/** Long enough for what is on its way to arrive. */
export function turn(): Promise<void> {
  return new Promise((resolve) => void setTimeout(resolve, 5));
}

/** Resolves once it holds; fails where it does not within some seconds. */
export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 1_000; tries += 1) {
    if (await holds()) return;
    await turn();
  }
  throw new Error('it never held');
}
