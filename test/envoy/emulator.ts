/** What Envoy's HTTP ext_authz filter does with an answer, as seen on Envoy 1.36.2 to 1.40.0. Reads the bytes with
 *  Envoy's own protos, so that it shares nothing with the encoder under test. */
import { decodeResponse, metadataOf, ourProtos } from './official.ts';
import type { DeniedMessage, OptionMessage, ResponseMessage } from './official.ts';

export type HeaderLine = readonly [name: string, value: string];

export interface EmulatedRequest {
  readonly method: string;
  readonly headers: readonly HeaderLine[];
}

export interface EmulatorOptions {
  /** `released`: 1.36.2 to 1.40.0. `append_action`: builds that carried envoy#42878. */
  readonly semantics: 'released' | 'append_action';
  readonly failureModeAllow: boolean;
  readonly validateMutations: boolean;
  /** As envoy#45003 would have it: an entry with an empty value is dropped. */
  readonly dropEmpty: boolean;
}

export type Effect =
  | {
      readonly kind: 'forward';
      /** What the upstream sees. */
      readonly headers: readonly HeaderLine[];
      /** Added to the upstream's response. */
      readonly responseHeaders: readonly HeaderLine[];
      readonly metadata: Readonly<Record<string, string | number | undefined>>;
    }
  | {
      readonly kind: 'reply';
      readonly status: number;
      readonly headers: readonly HeaderLine[];
      readonly body: string;
      readonly metadata: Readonly<Record<string, string | number | undefined>>;
    };

/** @param answer The bytes of the CheckResponse; `rpc_error`: the call itself failed, in whatever way. */
export function apply(answer: Uint8Array | 'rpc_error', request: EmulatedRequest, options: EmulatorOptions): Effect {
  const message = answer === 'rpc_error' ? undefined : decoded(answer);
  if (answer === 'rpc_error' || message === undefined) return failed(request, options, undefined, {});
  const metadata = metadataOf(message);
  if ((message.status?.code ?? 0) === 0) return forwarded(message, request, options, metadata);
  const error = decodeResponse(answer, ourProtos).error_response;
  if (error !== undefined) return failed(request, options, error, metadata);
  return denied(message.denied_response ?? {}, request, options, metadata);
}

function decoded(answer: Uint8Array): ResponseMessage | undefined {
  try {
    return decodeResponse(answer);
  } catch {
    return undefined;
  }
}

type Metadata = Readonly<Record<string, string | number | undefined>>;

function failed(
  request: EmulatedRequest,
  options: EmulatorOptions,
  error: DeniedMessage | undefined,
  metadata: Metadata,
): Effect {
  if (options.failureModeAllow) {
    return { kind: 'forward', headers: lowered(request.headers), responseHeaders: [], metadata };
  }
  return denied(error ?? {}, request, options, metadata);
}

function forwarded(
  message: ResponseMessage,
  request: EmulatedRequest,
  options: EmulatorOptions,
  metadata: Metadata,
): Effect {
  const ok = message.ok_response ?? {};
  const toUpstream = kept(ok.headers, options);
  const toClient = kept(ok.response_headers_to_add, options);
  if (![...toUpstream, ...toClient].every(isValid)) {
    return reply(options.validateMutations ? 500 : 503, [], '', request, metadata);
  }
  let headers = lowered(request.headers);
  const inOrder =
    options.semantics === 'append_action'
      ? toUpstream
      : [...toUpstream.filter((entry) => !isAppended(entry)), ...toUpstream.filter(isAppended)];
  for (const entry of inOrder) headers = changed(headers, entry, options);
  for (const name of ok.headers_to_remove ?? []) {
    const removed = name.toLowerCase();
    if (removed !== 'host' && !removed.startsWith(':')) headers = headers.filter(([other]) => other !== removed);
  }
  let responseHeaders: HeaderLine[] = [];
  for (const entry of toClient) {
    if (isAppended(entry)) responseHeaders.push(line(entry));
    else responseHeaders = byAction(responseHeaders, entry);
  }
  return { kind: 'forward', headers, responseHeaders, metadata };
}

/** One entry of `ok_response.headers`. */
function changed(headers: readonly HeaderLine[], entry: OptionMessage, options: EmulatorOptions): HeaderLine[] {
  if (isAppended(entry)) return joined(headers, entry, options.semantics === 'append_action');
  if (options.semantics === 'released' || entry.append !== undefined) return replaced(headers, entry);
  return byAction(headers, entry);
}

/** Onto the first value that is there; where there is none, perhaps as a new one. */
function joined(headers: readonly HeaderLine[], entry: OptionMessage, adds: boolean): HeaderLine[] {
  const [name, value] = line(entry);
  const first = headers.findIndex(([other]) => other === name);
  if (first === -1) return adds ? [...headers, [name, value]] : [...headers];
  return headers.map((header, index) => (index === first ? [name, `${header[1]},${value}`] : header));
}

function replaced(headers: readonly HeaderLine[], entry: OptionMessage): HeaderLine[] {
  const [name] = line(entry);
  return [...headers.filter(([other]) => other !== name), line(entry)];
}

/** Without `append`, `append_action` counts, whose default adds another value. */
function byAction(headers: readonly HeaderLine[], entry: OptionMessage): HeaderLine[] {
  const [name] = line(entry);
  const exists = headers.some(([other]) => other === name);
  switch (entry.append_action ?? 0) {
    case 1:
      return exists ? [...headers] : [...headers, line(entry)];
    case 2:
      return replaced(headers, entry);
    case 3:
      return exists ? replaced(headers, entry) : [...headers];
    default:
      return [...headers, line(entry)];
  }
}

function denied(
  message: DeniedMessage,
  request: EmulatedRequest,
  options: EmulatorOptions,
  metadata: Metadata,
): Effect {
  const entries = kept(message.headers, options);
  if (options.validateMutations && !entries.every(isValid)) return reply(500, [], '', request, metadata);
  let headers: HeaderLine[] = [];
  if (options.semantics === 'released') {
    for (const entry of entries) if (!isAppended(entry)) headers.push(line(entry));
  } else {
    for (const entry of entries) {
      if (isAppended(entry)) headers.push(line(entry));
      else headers = entry.append === undefined ? byAction(headers, entry) : replaced(headers, entry);
    }
  }
  return reply(message.status?.code || 403, headers, message.body ?? '', request, metadata);
}

/** A local reply: in gRPC's own terms for gRPC clients. */
function reply(
  status: number,
  headers: readonly HeaderLine[],
  body: string,
  request: EmulatedRequest,
  metadata: Metadata,
): Effect {
  const type = request.headers.find(([name]) => name.toLowerCase() === 'content-type')?.[1] ?? '';
  if (type === 'application/grpc' || type.startsWith('application/grpc+')) {
    const own = headers.filter(([name]) => name !== 'content-type' && name !== 'grpc-message');
    const codes: Readonly<Record<number, number>> = {
      400: 13,
      401: 16,
      403: 7,
      404: 12,
      429: 14,
      502: 14,
      503: 14,
      504: 14,
    };
    const grpcStatus: HeaderLine[] = own.some(([name]) => name === 'grpc-status')
      ? []
      : [['grpc-status', String(codes[status] ?? 2)]];
    const message: HeaderLine[] = body === '' ? [] : [['grpc-message', encodeURI(body)]];
    return {
      kind: 'reply',
      status: 200,
      headers: [...own, ['content-type', 'application/grpc'], ...grpcStatus, ...message],
      body: '',
      metadata,
    };
  }
  const typed: HeaderLine[] =
    body !== '' && !headers.some(([name]) => name === 'content-type')
      ? [...headers, ['content-type', 'text/plain']]
      : [...headers];
  return { kind: 'reply', status, headers: typed, body: request.method === 'HEAD' ? '' : body, metadata };
}

function kept(entries: readonly OptionMessage[] | undefined, options: EmulatorOptions): readonly OptionMessage[] {
  return (entries ?? []).filter(
    (entry) => !options.dropEmpty || (entry.header?.value ?? '') !== '' || entry.keep_empty_value === true,
  );
}

function isAppended(entry: OptionMessage): boolean {
  return entry.append?.value === true;
}

function isValid(entry: OptionMessage): boolean {
  const [name, value] = line(entry);
  return /^[!#$%&'*+\-.^_`|~0-9a-z]+$/.test(name) && !/[\u0000-\u001F\u007F]/.test(value);
}

/** Envoy never reads `raw_value` of an answer. */
function line(entry: OptionMessage): HeaderLine {
  return [(entry.header?.key ?? '').toLowerCase(), entry.header?.value ?? ''];
}

function lowered(headers: readonly HeaderLine[]): HeaderLine[] {
  return headers.map(([name, value]) => [name.toLowerCase(), value]);
}
