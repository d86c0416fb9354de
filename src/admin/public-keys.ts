import type { AdminRoute } from './server.ts';

/** A key whose signatures others verify. */
export interface PublishedKey {
  /** The `kid` that its signatures carry. */
  readonly kid: string;
  /** JWS algorithm. */
  readonly algorithm: string;
  /** The members that make the key, `kty` among them. */
  readonly publicJwk: Readonly<Record<string, string>>;
}

/** `/cdn-cgi/access/certs`, open: our public keys as a JSON Web Key Set (RFC 7517, section 5), under the path at which
 *  Cloudflare Access has its own. Read for every request; without any key the set is empty. */
export function publicKeyRoutes(keys: () => Iterable<PublishedKey>): readonly AdminRoute[] {
  return [
    {
      method: 'GET',
      path: '/cdn-cgi/access/certs',
      scope: 'open',
      handle: () => ({
        status: 200,
        headers: { 'content-type': 'application/json', 'cache-control': 'public, max-age=300' },
        body: JSON.stringify({
          keys: [...keys()].map(({ kid, algorithm, publicJwk }) => ({ kid, ...publicJwk, alg: algorithm, use: 'sig' })),
        }),
      }),
    },
  ];
}
