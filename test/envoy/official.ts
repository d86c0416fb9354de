/** Envoy's own protos, as @grpc/grpc-js-xds carries them, beside ours: the oracle for everything on the wire. */
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadSync } from '@grpc/proto-loader';
import type { PackageDefinition, ServiceDefinition } from '@grpc/proto-loader';

const xds = join(dirname(createRequire(import.meta.url).resolve('@grpc/grpc-js-xds/package.json')), 'deps');

export const officialProtos = loadOfficial();
export const ourProtos = loadOurs();

export interface LoadOptions {
  /** Messages also say which member of a oneof is set. */
  readonly oneofs?: boolean;
  /** What is absent on the wire reads as what absence means. */
  readonly defaults?: boolean;
}

export function loadOfficial(options: LoadOptions = {}): PackageDefinition {
  const folders = ['envoy-api', 'xds', 'googleapis', 'protoc-gen-validate'];
  return load(
    folders.map((folder) => join(xds, folder)),
    options,
  );
}

export function loadOurs(options: LoadOptions = {}): PackageDefinition {
  return load([fileURLToPath(new URL('../../proto', import.meta.url))], options);
}

/** CheckResponse as proto-loader gives it; what is absent on the wire is absent here. */
export interface ResponseMessage {
  readonly status?: { readonly code?: number };
  readonly denied_response?: DeniedMessage;
  readonly ok_response?: OkMessage;
  readonly error_response?: DeniedMessage;
  readonly dynamic_metadata?: StructMessage;
}

export interface DeniedMessage {
  readonly status?: { readonly code?: number };
  readonly headers?: readonly OptionMessage[];
  readonly body?: string;
}

export interface OkMessage {
  readonly headers?: readonly OptionMessage[];
  readonly headers_to_remove?: readonly string[];
  readonly response_headers_to_add?: readonly OptionMessage[];
  readonly dynamic_metadata?: StructMessage;
  readonly query_parameters_to_set?: readonly unknown[];
  readonly query_parameters_to_remove?: readonly string[];
}

export interface OptionMessage {
  readonly header?: { readonly key?: string; readonly value?: string; readonly raw_value?: Uint8Array };
  /** Present, though perhaps empty, or absent. */
  readonly append?: { readonly value?: boolean };
  readonly append_action?: number;
  readonly keep_empty_value?: boolean;
}

export interface StructMessage {
  readonly fields?: Readonly<Record<string, { readonly stringValue?: string; readonly numberValue?: number }>>;
}

/** @throws where the bytes are no CheckResponse. */
export function decodeResponse(bytes: Uint8Array, protos: PackageDefinition = officialProtos): ResponseMessage {
  return check(protos).responseDeserialize(Buffer.from(bytes)) as ResponseMessage;
}

export function encodeResponse(message: ResponseMessage, protos: PackageDefinition = officialProtos): Uint8Array {
  return check(protos).responseSerialize(message);
}

/** A CheckRequest, in snake_case. */
export function encodeRequest(message: object, protos: PackageDefinition = officialProtos): Uint8Array {
  return check(protos).requestSerialize(message);
}

export function decodeRequest(bytes: Uint8Array, protos: PackageDefinition = officialProtos): object {
  return check(protos).requestDeserialize(Buffer.from(bytes));
}

/** Plain values of the dynamic metadata. */
export function metadataOf(message: ResponseMessage): Record<string, string | number | undefined> {
  return Object.fromEntries(
    Object.entries(message.dynamic_metadata?.fields ?? {}).map(([key, value]) => [
      key,
      value.stringValue ?? value.numberValue,
    ]),
  );
}

function load(includeDirs: string[], { oneofs = false, defaults = false }: LoadOptions): PackageDefinition {
  return loadSync('envoy/service/auth/v3/external_auth.proto', {
    includeDirs,
    keepCase: true,
    longs: String,
    enums: Number,
    defaults,
    oneofs,
  });
}

function check(protos: PackageDefinition): ServiceDefinition[string] {
  const service = protos['envoy.service.auth.v3.Authorization'] as ServiceDefinition;
  const method = service['Check'];
  if (method === undefined) throw new Error('expected the method Check, found none');
  return method;
}
