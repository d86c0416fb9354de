/** A real OpenID provider that logs ann in with a password, and with a one-time code as well where `acr_values` asks
 *  for it. Its pages are plain forms, for browsers and programs alike. */
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Provider, interactionPolicy } from 'oidc-provider';
import type { Configuration } from 'oidc-provider';
import type { Part } from '../../src/demo/parts.ts';

export interface OpenIdProvider extends Part {
  readonly issuer: string;
  /** Where it really listens, on the loopback. */
  readonly port: number;
}

export const CLIENT = { id: 'portal', secret: 'a-secret-of-the-test' };
export const PASSWORD = 'correct horse';
export const CODE = '246810';

/** The authentication context that the one-time code gives. */
export const STRONG = 'mfa';

/** `issuer`: the URL under which browsers reach it; nothing resolves that name but they. */
export async function startProvider(issuer: string, redirectUri: string): Promise<OpenIdProvider> {
  const policy = interactionPolicy.base();
  const login = policy.get('login');
  if (!login) throw new Error('expected the prompt login, found none');
  login.checks.add(
    new interactionPolicy.Check('stronger', 'a stronger login is needed', 'login_required', ({ oidc }) => {
      const asked = String(oidc.params?.['acr_values'] ?? '').split(' ');
      return asked.includes(STRONG) && oidc.acr !== STRONG
        ? interactionPolicy.Check.REQUEST_PROMPT
        : interactionPolicy.Check.NO_NEED_TO_PROMPT;
    }),
  );
  const configuration: Configuration = {
    clients: [
      {
        client_id: CLIENT.id,
        client_secret: CLIENT.secret,
        redirect_uris: [redirectUri],
        response_types: ['code'],
        grant_types: ['authorization_code'],
      },
    ],
    acrValues: [STRONG],
    claims: { openid: ['sub', 'acr', 'amr', 'auth_time'], email: ['email'] },
    conformIdTokenClaims: false,
    cookies: { keys: ['a-cookie-key-of-the-test'] },
    features: { devInteractions: { enabled: false } },
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, email: `${id}@example.com` }) }),
    interactions: { policy, url: (_, { uid }) => `/interaction/${uid}` },
    pkce: { required: () => false },
    ttl: { IdToken: 3600, Session: 3600, Interaction: 600, Grant: 3600, AuthorizationCode: 60 },
  };
  const provider = new Provider(issuer, configuration);
  const handle = provider.callback();
  const server = createServer((request, response) => {
    const isInteraction = request.url?.startsWith('/interaction/') ?? false;
    const done = isInteraction ? interaction(provider, request, response) : handle(request, response);
    Promise.resolve(done).catch((error: unknown) => {
      response.statusCode = 500;
      response.end(String(error));
    });
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  return {
    issuer,
    port: (server.address() as AddressInfo).port,
    async stop() {
      server.closeAllConnections();
      server.close();
    },
  };
}

async function interaction(provider: Provider, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const details = await provider.interactionDetails(request, response);
  const { prompt, params, session } = details;
  const isStrong = String(params['acr_values'] ?? '')
    .split(' ')
    .includes(STRONG);
  if (prompt.name === 'consent') {
    const accountId = session?.accountId ?? '';
    const grant = new provider.Grant({ accountId, clientId: String(params['client_id']) });
    grant.addOIDCScope('openid email');
    const consent = { grantId: await grant.save() };
    await provider.interactionFinished(request, response, { consent }, { mergeWithLastSubmission: true });
    return;
  }
  if (request.method !== 'POST') {
    response.setHeader('content-type', 'text/html; charset=utf-8');
    response.end(loginPage(isStrong));
    return;
  }
  const form = new URLSearchParams(await textOf(request));
  const hasCode = form.get('code') === CODE;
  if (form.get('password') !== PASSWORD || (isStrong && !hasCode)) {
    response.statusCode = 401;
    response.end('wrong password or code');
    return;
  }
  const amr = isStrong ? ['pwd', 'otp'] : ['pwd'];
  await provider.interactionFinished(
    request,
    response,
    { login: { accountId: 'ann', amr, ...(isStrong ? { acr: STRONG } : {}) } },
    { mergeWithLastSubmission: false },
  );
}

function loginPage(isStrong: boolean): string {
  const code = isStrong ? '<label>One-time code <input name="code"></label>' : '';
  return `<!doctype html><title>Log in</title><form method="post">
<label>Password <input name="password" type="password"></label>${code}<button>Log in</button></form>`;
}

export async function textOf(request: IncomingMessage): Promise<string> {
  let text = '';
  for await (const chunk of request) text += String(chunk);
  return text;
}
