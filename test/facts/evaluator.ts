/** An endpoint for external evaluations as an operator would write it, made with node:crypto alone; and how it can go
 *  wrong. */
import { createPublicKey, verify } from 'node:crypto';
import { createServer } from 'node:http';
import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { encoded, pairFor, publicJwk, signatureOf } from './token-maker.ts';
import type { Pair } from './token-maker.ts';

export type Claims = Readonly<Record<string, unknown>>;

/** What came: the token's header and claims. */
export interface Asked {
  readonly token: string;
  readonly header: Claims;
  readonly claims: Claims;
}

export interface Evaluator {
  readonly evaluateUrl: string;
  readonly keysUrl: string;
  readonly host: string;
  /** Questions so far. */
  readonly asked: readonly Asked[];
  keysAsked(): number;
  /** Whether users of this e-mail may enter; everybody may until somebody says otherwise. */
  decide(mayEnter: (claims: Claims) => unknown): void;
  /** What the next questions get. Undefined: an honest answer. */
  answer(handler: ((question: Asked, response: ServerResponse) => void) | undefined): void;
  /** What the next readers of the keys get. Undefined: the keys. */
  answerKeys(handler: ((response: ServerResponse) => void) | undefined): void;
  /** The pair whose public half is published, with its kid. */
  useKey(pair: Pair, kid: string | undefined): void;
  close(): Promise<void>;
}

export interface AnswerParts {
  readonly algorithm?: string;
  readonly pair?: Pair;
  readonly header?: Claims;
  readonly claims?: Claims;
}

/** A token that answers the question, good in every way but for what the parts say. `undefined` takes a member away. */
export function answerToken(
  question: Asked,
  { algorithm = 'RS256', pair = pairFor(algorithm), header, claims }: AnswerParts = {},
): string {
  const now = Math.floor(Date.now() / 1000);
  const input = `${encoded({ alg: algorithm, kid: 'e1', typ: 'JWT', ...header })}.${encoded({
    success: true,
    iat: now,
    exp: now + 60,
    nonce: question.claims['nonce'],
    ...claims,
  })}`;
  return `${input}.${signatureOf(input, algorithm, pair)}`;
}

export function sendJson(response: ServerResponse, body: unknown): void {
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

/** @param secure The server's key and certificate; undefined: plain HTTP. */
export async function startEvaluator(secure?: { readonly key: string; readonly cert: string }): Promise<Evaluator> {
  const asked: Asked[] = [];
  let keysAsked = 0;
  let mayEnter: (claims: Claims) => unknown = () => true;
  let handler: ((question: Asked, response: ServerResponse) => void) | undefined;
  let keysHandler: ((response: ServerResponse) => void) | undefined;
  let pair = pairFor('RS256');
  let kid: string | undefined = 'e1';
  const listener: RequestListener = (request, response) => {
    if (request.url === '/keys') {
      keysAsked += 1;
      if (keysHandler) keysHandler(response);
      else sendJson(response, { keys: [publicJwk(pair, { kid, use: 'sig' })], public_certs: [] });
      return;
    }
    void answerTo(request, response);
  };
  const answerTo = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const question = await questionOf(request);
    asked.push(question);
    if (handler) {
      handler(question, response);
      return;
    }
    const claims = { success: mayEnter(question.claims) };
    sendJson(response, { token: answerToken(question, { pair, header: { kid }, claims }) });
  };
  const server: Server = secure ? createSecureServer(secure, listener) : createServer(listener);
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const host = `${secure ? 'localhost' : '127.0.0.1'}:${(server.address() as AddressInfo).port}`;
  const base = `${secure ? 'https' : 'http'}://${host}`;
  return {
    evaluateUrl: `${base}/evaluate?from=postern`,
    keysUrl: `${base}/keys`,
    host,
    asked,
    keysAsked: () => keysAsked,
    decide(next) {
      mayEnter = next;
    },
    answer(next) {
      handler = next;
    },
    answerKeys(next) {
      keysHandler = next;
    },
    useKey(nextPair, nextKid) {
      pair = nextPair;
      kid = nextKid;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** Whether a published key of Postern signed the question. */
export function isSignedBy(question: Asked, keys: readonly Claims[]): boolean {
  const jwk = keys.find((key) => key['kid'] === question.header['kid']);
  if (!jwk || question.header['alg'] !== 'RS256') return false;
  const [header, payload, signature] = question.token.split('.');
  return verify(
    'sha256',
    Buffer.from(`${header}.${payload}`),
    createPublicKey({ key: jwk, format: 'jwk' }),
    Buffer.from(String(signature), 'base64url'),
  );
}

async function questionOf(request: IncomingMessage): Promise<Asked> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const { token } = JSON.parse(Buffer.concat(chunks).toString()) as { token: string };
  const [header = '', payload = ''] = token.split('.');
  const read = (part: string): Claims => JSON.parse(Buffer.from(part, 'base64url').toString()) as Claims;
  return { token, header: read(header), claims: read(payload) };
}
