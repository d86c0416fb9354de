import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { PackageDefinition } from '@grpc/proto-loader';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  AuthorizationClient,
  AuthorizationService,
  CheckRequest,
  CheckResponse,
} from '../../src/envoy/generated/envoy/service/auth/v3/external_auth.ts';
import {
  decodeRequest,
  decodeResponse,
  encodeRequest,
  encodeResponse,
  loadOfficial,
  loadOurs,
  officialProtos,
  ourProtos,
} from './official.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

const ourOneofs = loadOurs({ oneofs: true });
const officialOneofs = loadOfficial({ oneofs: true });
const officialWhole = loadOfficial({ defaults: true });

const messages = [
  'envoy.service.auth.v3.CheckRequest',
  'envoy.service.auth.v3.CheckResponse',
  'envoy.service.auth.v3.DeniedHttpResponse',
  'envoy.service.auth.v3.OkHttpResponse',
  'envoy.service.auth.v3.AttributeContext',
  'envoy.service.auth.v3.AttributeContext.Peer',
  'envoy.service.auth.v3.AttributeContext.Request',
  'envoy.service.auth.v3.AttributeContext.HttpRequest',
  'envoy.service.auth.v3.AttributeContext.TLSSession',
  'envoy.config.core.v3.Address',
  'envoy.config.core.v3.SocketAddress',
  'envoy.config.core.v3.Pipe',
  'envoy.config.core.v3.EnvoyInternalAddress',
  'envoy.config.core.v3.HeaderMap',
  'envoy.config.core.v3.HeaderValue',
  'envoy.config.core.v3.HeaderValueOption',
  'envoy.config.core.v3.Metadata',
  'envoy.config.core.v3.QueryParameter',
  'envoy.type.v3.HttpStatus',
  'google.rpc.Status',
  'google.protobuf.Struct',
  'google.protobuf.Value',
  'google.protobuf.ListValue',
  'google.protobuf.Timestamp',
  'google.protobuf.Any',
  'google.protobuf.BoolValue',
];

const enums = [
  'envoy.config.core.v3.SocketAddress.Protocol',
  'envoy.config.core.v3.HeaderValueOption.HeaderAppendAction',
  'envoy.type.v3.StatusCode',
  'google.protobuf.NullValue',
];

/** Fields of today's API that the copy in @grpc/grpc-js-xds is too old to have. */
const newer: Readonly<Record<string, readonly string[]>> = {
  'envoy.service.auth.v3.CheckResponse': ['error_response = 5: TYPE_MESSAGE DeniedHttpResponse LABEL_OPTIONAL'],
  'envoy.config.core.v3.SocketAddress': ['network_namespace_filepath = 7: TYPE_STRING LABEL_OPTIONAL'],
};

describe("our protos are Envoy's", () => {
  it.each(messages)('%s', (name) => {
    const theirs = fields(officialProtos, name);
    expect(theirs).not.toEqual([]);
    expect(fields(ourProtos, name)).toEqual([...theirs, ...(newer[name] ?? [])].toSorted());
  });

  it.each(enums)('%s', (name) => {
    const theirs = members(officialProtos, name);
    expect(theirs).not.toEqual([]);
    expect(members(ourProtos, name)).toEqual(theirs);
  });

  it('the service', () => {
    expect(path(ourProtos)).toBe('/envoy.service.auth.v3.Authorization/Check');
    expect(path(ourProtos)).toBe(path(officialProtos));
  });

  it.each([
    ['1200', { http_response: 'denied_response', denied_response: {} }],
    ['1a00', { http_response: 'ok_response', ok_response: {} }],
  ])('the answer %s is of one kind', (hex, message) => {
    const bytes = Buffer.from(hex, 'hex');
    expect(decodeResponse(bytes, ourOneofs)).toEqual(message);
    expect(decodeResponse(bytes, officialOneofs)).toEqual(message);
  });

  it('so is an error', () => {
    const message = { http_response: 'error_response', error_response: {} };
    expect(decodeResponse(Buffer.from('2a00', 'hex'), ourOneofs)).toEqual(message);
  });

  it('and so are addresses and ports', () => {
    const attributes = {
      source: { address: { pipe: { path: '/x' } } },
      destination: { address: { socket_address: { address: '10.0.0.1', named_port: 'http' } } },
    };
    const bytes = encodeRequest({ attributes });
    const message = {
      attributes: {
        source: { address: { address: 'pipe', pipe: { path: '/x' } } },
        destination: {
          address: {
            address: 'socket_address',
            socket_address: { address: '10.0.0.1', port_specifier: 'named_port', named_port: 'http' },
          },
        },
      },
    };
    expect(decodeRequest(bytes, ourOneofs)).toEqual(message);
    expect(decodeRequest(bytes, officialOneofs)).toEqual(message);
  });
});

describe('what is generated from them', () => {
  it('reads and writes every request as the official protos do', () => {
    fc.assert(
      fc.property(requestMessages(), (message) => {
        const bytes = encodeRequest(message);
        const read = CheckRequest.decode(bytes);
        const again = CheckRequest.encode(read).finish();
        expect(decodeRequest(again, officialWhole)).toEqual(decodeRequest(bytes, officialWhole));
        expect(read.attributes?.request?.http?.path ?? '').toBe(message.attributes.request?.http.path ?? '');
      }),
    );
  });

  it('reads every answer as it was written', () => {
    fc.assert(
      fc.property(fc.string({ minLength: 1 }), fc.constantFrom(200, 302, 401, 403, 503), (body, code) => {
        const denied = { status: { code }, headers: [{ header: { key: 'location', value: 'https://a/' } }], body };
        const read = CheckResponse.decode(encodeResponse({ status: { code: 7 }, denied_response: denied }));
        expect(read.status?.code).toBe(7);
        if (read.httpResponse?.$case !== 'deniedResponse') throw new Error('expected a denied response');
        expect(read.httpResponse.value).toMatchObject(denied);
      }),
    );
  });

  it('names the service and its method', () => {
    expect(AuthorizationService.check.path).toBe(path(officialProtos));
    expect(path(officialProtos)).toBe(`/${AuthorizationClient.serviceName}/Check`);
  });

  it('is committed', () => {
    const run = check(root);
    expect(run.stderr).toBe('');
    expect(run.status).toBe(0);
  });

  it('is missed where a proto changes', () => {
    const copy = mkdtempSync(join(tmpdir(), 'postern-protos-'));
    try {
      cpSync(join(root, 'proto'), join(copy, 'proto'), { recursive: true });
      cpSync(join(root, 'src/envoy/generated'), join(copy, 'src/envoy/generated'), { recursive: true });
      symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
      writeFileSync(
        join(copy, 'proto/envoy/type/v3/http_status.proto'),
        'syntax = "proto3"; package envoy.type.v3; enum StatusCode { Empty = 0; } message HttpStatus { StatusCode code = 1; }',
      );
      const run = check(copy);
      expect(run.status).toBe(1);
      for (const name of ['descriptors.ts', 'envoy/type/v3/http_status.ts'])
        expect(run.stderr).toContain(`src/envoy/generated/${name} does not belong to proto/**/*.proto`);
      expect(run.stderr).toContain('mend: run `npm run generate`');
    } finally {
      rmSync(copy, { recursive: true });
    }
  });
});

function requestMessages(): fc.Arbitrary<{ readonly attributes: { readonly request?: { http: { path: string } } } }> {
  const text = fc.string({ unit: 'grapheme', maxLength: 20 });
  const address = fc.oneof(
    fc.record({ socket_address: fc.record({ address: text, port_value: fc.nat(65_535) }) }),
    fc.record({ pipe: fc.record({ path: text }) }),
  );
  const http = fc.record({
    id: text,
    method: text,
    path: text,
    host: text,
    headers: fc.dictionary(text, text, { maxKeys: 4 }),
    header_map: fc.record({
      headers: fc.array(fc.record({ key: text, raw_value: fc.uint8Array({ maxLength: 9 }) }), { maxLength: 4 }),
    }),
    body: text,
    raw_body: fc.uint8Array({ maxLength: 9 }),
    size: fc.integer({ min: -1, max: 2 ** 31 }),
  });
  const time = fc.record({ seconds: fc.nat(), nanos: fc.nat(999_999_999) });
  return fc.record({
    attributes: fc.record(
      { source: fc.record({ address, principal: text, certificate: text }), request: fc.record({ time, http }) },
      { requiredKeys: [] },
    ),
  });
}

function path(protos: PackageDefinition): unknown {
  return (protos['envoy.service.auth.v3.Authorization'] as { Check?: { path: string } }).Check?.path;
}

function check(folder: string): { status: number | null; stderr: string } {
  return spawnSync(process.execPath, [join(folder, 'proto/generate.mjs'), '--check'], { encoding: 'utf8' });
}

interface MessageType {
  readonly name: string;
  readonly field: readonly FieldType[];
  readonly nestedType: readonly MessageType[];
  readonly enumType: readonly EnumType[];
}

interface FieldType {
  readonly name: string;
  readonly number: number;
  readonly type: string;
  readonly typeName: string;
  readonly label: string;
}

interface EnumType {
  readonly name: string;
  readonly value: readonly { readonly name: string; readonly number: number }[];
}

/** `name = number: type label`, and the fields of a map's entries with it. */
function fields(protos: PackageDefinition, name: string): string[] {
  const type = found(protos, name, 'nestedType') as MessageType | undefined;
  if (type === undefined) return [];
  return type.field
    .map((field) => {
      const entry = type.nestedType.find((nested) => nested.name === field.typeName);
      const inner = entry && field.label === 'LABEL_REPEATED' ? ` of ${entry.field.map(written).join(', ')}` : '';
      return written(field) + inner;
    })
    .toSorted();
}

function written(field: FieldType): string {
  return `${field.name} = ${field.number}: ${[field.type, field.typeName, field.label].filter(Boolean).join(' ')}`;
}

function members(protos: PackageDefinition, name: string): string[] {
  const type = found(protos, name, 'enumType') as EnumType | undefined;
  return (type?.value ?? []).map((value) => `${value.name} = ${value.number}`);
}

/** Types within types are not listed by themselves. */
function found(protos: PackageDefinition, name: string, kind: 'nestedType' | 'enumType'): unknown {
  const whole = protos[name] as { readonly type?: unknown } | undefined;
  if (whole) return whole.type;
  const dot = name.lastIndexOf('.');
  const outer = (protos[name.slice(0, dot)] as { readonly type?: MessageType } | undefined)?.type;
  return outer?.[kind].find((inner) => inner.name === name.slice(dot + 1));
}
