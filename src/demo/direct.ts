/** Asking Postern without Envoy: the same Check call, over gRPC. */
import { credentials } from '@grpc/grpc-js';
import type { HeaderValueOption } from '../envoy/generated/envoy/config/core/v3/base.ts';
import { AuthorizationClient, CheckRequest } from '../envoy/generated/envoy/service/auth/v3/external_auth.ts';
import type { CheckResponse } from '../envoy/generated/envoy/service/auth/v3/external_auth.ts';
import type { Answer, Ask, Part } from './parts.ts';

export interface DirectClient extends Part {
  /** Allow reads as 200 with the headers that Envoy would set, as the echo of the upstream would show them. */
  ask(request: Ask): Promise<Answer>;
}

/** A client of the check port at `address`. */
export function directClient(address: string): DirectClient {
  const client = new AuthorizationClient(address, credentials.createInsecure());
  return {
    ask: (request) =>
      new Promise((resolve, reject) => {
        client.check(checkRequest(request), (error, answer) => {
          if (error) reject(error);
          else resolve(answerOf(answer));
        });
      }),
    async stop() {
      client.close();
    },
  };
}

function checkRequest({ method = 'GET', host, path, headers = {} }: Ask): CheckRequest {
  const socket = { address: '127.0.0.1', portSpecifier: { $case: 'portValue', value: 50_000 } } as const;
  return CheckRequest.fromPartial({
    attributes: {
      source: { address: { address: { $case: 'socketAddress', value: socket } } },
      request: { http: { method, host, path, headers, scheme: 'http', protocol: 'HTTP/1.1' } },
    },
  });
}

function answerOf({ status, httpResponse }: CheckResponse): Answer {
  if (httpResponse?.$case === 'okResponse' && status?.code === 0) {
    const headers = Object.fromEntries(pairs(httpResponse.value.headers));
    return { status: 200, headers: new Map(), body: JSON.stringify({ headers }) };
  }
  const denied = httpResponse?.$case === 'deniedResponse' ? httpResponse.value : undefined;
  return {
    status: denied?.status?.code ?? 403,
    headers: new Map(pairs(denied?.headers ?? [])),
    body: denied?.body ?? '',
  };
}

function pairs(options: readonly HeaderValueOption[]): [string, string][] {
  return options.map(({ header }) => [header?.key ?? '', header?.value ?? '']);
}
