/** Asking Postern without Envoy: the same Check call, over gRPC. */
import { credentials, loadPackageDefinition } from '@grpc/grpc-js';
import type { ServiceError } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { ROOT } from './parts.ts';
import type { Answer, Ask, Part } from './parts.ts';

export interface DirectClient extends Part {
  /** Allow reads as 200 with the headers that Envoy would set, as the echo of the upstream would show them. */
  ask(request: Ask): Promise<Answer>;
}

/** A client of the check port at `address`. */
export function directClient(address: string): DirectClient {
  const loaded = loadPackageDefinition(
    loadSync('envoy/service/auth/v3/external_auth.proto', {
      includeDirs: [`${ROOT}proto`],
      keepCase: true,
      enums: Number,
    }),
  ) as unknown as Loaded;
  const client = new loaded.envoy.service.auth.v3.Authorization(address, credentials.createInsecure());
  return {
    ask: ({ method = 'GET', host, path, headers = {} }) =>
      new Promise((resolve, reject) => {
        const source = { address: { socket_address: { address: '127.0.0.1', port_value: 50_000 } } };
        const http = { method, host, path, headers, scheme: 'http', protocol: 'HTTP/1.1' };
        client.Check({ attributes: { source, request: { http } } }, (error, answer) => {
          if (error) reject(error);
          else if (answer) resolve(answerOf(answer));
        });
      }),
    async stop() {
      client.close();
    },
  };
}

interface Entry {
  readonly header: { readonly key: string; readonly value: string };
}

interface CheckAnswer {
  readonly status?: { readonly code?: number };
  readonly ok_response?: { readonly headers?: readonly Entry[] };
  readonly denied_response?: {
    readonly status?: { readonly code?: number };
    readonly headers?: readonly Entry[];
    readonly body?: string;
  };
}

interface AuthorizationClient {
  Check(request: object, done: (error: ServiceError | null, answer?: CheckAnswer) => void): void;
  close(): void;
}

interface Loaded {
  readonly envoy: {
    readonly service: {
      readonly auth: {
        readonly v3: {
          readonly Authorization: new (address: string, channel: object) => AuthorizationClient;
        };
      };
    };
  };
}

function answerOf({ status, ok_response: allowed, denied_response: denied }: CheckAnswer): Answer {
  if ((status?.code ?? 0) === 0) {
    const headers = Object.fromEntries((allowed?.headers ?? []).map(({ header }) => [header.key, header.value]));
    return { status: 200, headers: new Map(), body: JSON.stringify({ headers }) };
  }
  const headers = new Map((denied?.headers ?? []).map(({ header }) => [header.key, header.value] as const));
  return { status: denied?.status?.code ?? 403, headers, body: denied?.body ?? '' };
}
