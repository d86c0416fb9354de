import type { AdminResponse, AdminRoute } from './server.ts';

/** A key whose signatures others verify. */
export interface PublishedKey {
  /** The `kid` that its signatures carry. */
  readonly kid: string;
  /** JWS algorithm. */
  readonly algorithm: string;
  /** The members that make the key, `kty` among them. */
  readonly publicJwk: Readonly<Record<string, string>>;
}

/** Our public keys as JSON Web Key Sets (RFC 7517, section 5), read for every request; without any key a set is empty.
 *
 *  `/cdn-cgi/access/certs`, open, where Cloudflare Access has its own: of what endpoints and upstreams get from us.
 *  `/api/portal/keys`, scope read: of the state that a browser takes along to the portal. */
export function publicKeyRoutes(keys: {
  readonly certs: () => Iterable<PublishedKey>;
  readonly portal: () => Iterable<PublishedKey>;
}): readonly AdminRoute[] {
  return [
    { method: 'GET', path: '/cdn-cgi/access/certs', scope: 'open', handle: () => keySet(keys.certs()) },
    { method: 'GET', path: '/api/portal/keys', scope: 'read', handle: () => keySet(keys.portal()) },
  ];
}

function keySet(keys: Iterable<PublishedKey>): AdminResponse {
  return {
    status: 200,
    headers: { 'content-type': 'application/json', 'cache-control': 'public, max-age=300' },
    body: JSON.stringify({
      keys: [...keys].map(({ kid, algorithm, publicJwk }) => ({ kid, ...publicJwk, alg: algorithm, use: 'sig' })),
    }),
  };
}
