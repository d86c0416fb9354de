/** The site where browsers log in: what `login.url` and `step_up.portal_url` point to. It asks the OpenID provider,
 *  puts the token it gets into a cookie of the domain, and sends the browser back. */
import { randomBytes } from 'node:crypto';
import { createServer, request as httpRequest } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createLocalJWKSet, jwtVerify } from 'jose';
import type { JSONWebKeySet } from 'jose';
import type { Part } from '../../src/demo/parts.ts';
import { CLIENT } from './provider.ts';
import type { OpenIdProvider } from './provider.ts';

export interface Portal extends Part {
  readonly port: number;
  /** States that it has seen, with what they asked for. */
  readonly states: readonly Readonly<Record<string, unknown>>[];
}

export interface PortalOptions {
  /** Under which browsers reach it. */
  readonly origin: string;
  /** Of the cookie that holds the token. */
  readonly domain: string;
  readonly provider: () => OpenIdProvider;
  /** Postern's keys, as its admin port publishes them. */
  readonly keys: () => Promise<JSONWebKeySet>;
}

export async function startPortal({ origin, domain, provider, keys }: PortalOptions): Promise<Portal> {
  const states: Readonly<Record<string, unknown>>[] = [];
  const used = new Set<string>();
  /** `state` of the provider's protocol → where the browser goes afterwards. */
  const visits = new Map<string, string>();

  const authorize = (response: ServerResponse, back: string, asked: Readonly<Record<string, string>>): void => {
    const visit = randomBytes(16).toString('hex');
    visits.set(visit, back);
    const url = new URL('/auth', provider().issuer);
    const parameters = {
      client_id: CLIENT.id,
      redirect_uri: `${origin}/callback`,
      response_type: 'code',
      scope: 'openid email',
      state: visit,
      ...asked,
    };
    for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
    response.writeHead(302, { location: url.href }).end();
  };

  const stepUp = async (query: URLSearchParams, response: ServerResponse): Promise<void> => {
    const { payload } = await jwtVerify(query.get('state') ?? '', createLocalJWKSet(await keys()), {
      issuer: 'postern',
      audience: origin,
    });
    // Single use.
    if (used.has(String(payload.jti))) throw new Error('a state that was used before');
    used.add(String(payload.jti));
    states.push(payload);
    const asked = Object.fromEntries(
      ['acr_values', 'max_age', 'prompt'].flatMap((name) => {
        const value = payload[name];
        return value === undefined ? [] : [[name, String(value)]];
      }),
    );
    authorize(response, String(payload['return']), asked);
  };

  const callback = async (query: URLSearchParams, response: ServerResponse): Promise<void> => {
    const back = visits.get(query.get('state') ?? '');
    if (back === undefined) throw new Error('nobody was sent with this state');
    const token = await redeem(provider(), String(query.get('code')), `${origin}/callback`);
    response
      .writeHead(302, { location: back, 'set-cookie': `session=${token}; Domain=${domain}; Path=/; HttpOnly` })
      .end();
  };

  const server = createServer((request: IncomingMessage, response) => {
    const url = new URL(request.url ?? '/', origin);
    const run = async (): Promise<void> => {
      if (url.pathname === '/login') authorize(response, String(url.searchParams.get('return')), {});
      else if (url.pathname === '/step-up') await stepUp(url.searchParams, response);
      else if (url.pathname === '/callback') await callback(url.searchParams, response);
      else response.writeHead(404).end();
    };
    run().catch((error: unknown) => response.writeHead(400).end(String(error)));
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    states,
    async stop() {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** The ID token for a code. The provider's name is known to nobody but browsers, so its address is asked under it. */
export async function redeem({ issuer, port }: OpenIdProvider, code: string, redirectUri: string): Promise<string> {
  const body = new URLSearchParams({ grant_type: 'authorization_code', code, redirect_uri: redirectUri }).toString();
  const { text } = await ask({
    port,
    url: new URL('/token', issuer),
    method: 'POST',
    headers: {
      'content-type': 'application/x-www-form-urlencoded',
      authorization: `Basic ${Buffer.from(`${CLIENT.id}:${CLIENT.secret}`).toString('base64')}`,
    },
    body,
  });
  const { id_token: token } = JSON.parse(text) as { id_token?: string };
  if (token === undefined) throw new Error(`expected an ID token, found ${text}`);
  return token;
}

export interface Asked {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly text: string;
}

/** One request to a port of the loopback, under the name that the URL has. */
export function ask(options: {
  readonly port: number;
  readonly url: URL;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}): Promise<Asked> {
  const { port, url, method = 'GET', headers = {}, body } = options;
  return new Promise((resolve, reject) => {
    const call = httpRequest(
      {
        host: '127.0.0.1',
        port,
        path: url.pathname + url.search,
        method,
        headers: { host: url.host, ...headers },
        agent: false,
      },
      (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (chunk: string) => (text += chunk));
        response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, text }));
      },
    );
    call.on('error', reject);
    call.end(body);
  });
}
