/** A risk engine as Entrust's Generic API has them, that does what it is told. */
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface EngineCall {
  readonly path: string;
  readonly method: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: Readonly<Record<string, unknown>>;
}

export type EngineHandler = (call: EngineCall, response: ServerResponse) => void;

export interface EngineServer {
  readonly url: string;
  readonly calls: readonly EngineCall[];
  /** Calls of one of the two paths. */
  of(path: 'authenticate' | 'riskscore'): readonly EngineCall[];
  /** What the next calls get; undefined: a token, and a score of 10. */
  authenticate(handler: EngineHandler | undefined): void;
  riskscore(handler: EngineHandler | undefined): void;
  close(): Promise<void>;
}

export function sendAnswer(response: ServerResponse, body: unknown): void {
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

export async function startEngineServer(): Promise<EngineServer> {
  const calls: EngineCall[] = [];
  let authenticate: EngineHandler | undefined;
  let riskscore: EngineHandler | undefined;
  let tokens = 0;
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const { url: path = '', method = '', headers } = request;
    const body = JSON.parse(Buffer.concat(chunks).toString()) as EngineCall['body'];
    const call = { path, method, headers, body };
    calls.push(call);
    if (path.endsWith('/v1/authenticate')) {
      tokens += 1;
      if (authenticate) authenticate(call, response);
      else sendAnswer(response, { token: `token-${tokens}` });
    } else if (path.endsWith('/v1/riskscore')) {
      if (riskscore) riskscore(call, response);
      else sendAnswer(response, { riskScore: 10 });
    } else response.writeHead(404).end();
  };
  const server = createServer((request, response) => void answer(request, response));
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/engine`,
    calls,
    of: (name) => calls.filter(({ path }) => path.endsWith(`/v1/${name}`)),
    authenticate(handler) {
      authenticate = handler;
    },
    riskscore(handler) {
      riskscore = handler;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
