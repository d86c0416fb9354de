/** CheckRequests that people write, in proto3's JSON. The only place that knows the protobuf library: it turns them
 *  into bytes, and these are read as Envoy's are, so that there is one reading of a request. */
import { createFileRegistry, fromBinary, fromJson, toBinary } from '@bufbuild/protobuf';
import type { DescMessage, JsonValue } from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import type { RequestFacts, RequestRefusal } from '../model/request.ts';
import { DESCRIPTORS } from './generated/descriptors.ts';
import { readRequest } from './request.ts';

/** Reads one CheckRequest from proto3 JSON: names in lowerCamelCase or as in the .proto file, bytes as base64, times as
 *  RFC 3339, 64-bit numbers as text or number, enums by name or number, a Struct as a plain object.
 *  @param json As JSON.parse gives it.
 *  @returns The request, or why it would be answered 400.
 *  @throws Error where it is no CheckRequest, an unknown field included; the message names the field. */
export function readRequestJson(json: unknown): RequestFacts | RequestRefusal {
  return readRequest(requestBytes(json));
}

/** The same CheckRequest as the bytes that Envoy would send. */
export function requestBytes(json: unknown): Uint8Array {
  const schema = checkRequest();
  return toBinary(schema, fromJson(schema, json as JsonValue, { ignoreUnknownFields: false }));
}

let known: DescMessage | undefined;

/** Made at the first use: a server never needs it. */
function checkRequest(): DescMessage {
  if (known !== undefined) return known;
  const files = fromBinary(FileDescriptorSetSchema, Buffer.from(DESCRIPTORS, 'base64'));
  const found = createFileRegistry(files).getMessage('envoy.service.auth.v3.CheckRequest');
  if (found === undefined) throw new Error('expected CheckRequest among the descriptors, found none');
  known = found;
  return found;
}
