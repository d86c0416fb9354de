import type { Challenge } from '../model/decision.ts';
import type { RequestFacts } from '../model/request.ts';
import { signCompact } from '../shared/jose.ts';
import type { SigningKey } from '../shared/jose.ts';
import { returnAddress } from './answer.ts';

/** What the address of one step-up is made of. */
export interface PortalVisit {
  readonly challenge: Challenge;
  /** The browser comes back to it. */
  readonly request: RequestFacts;
  /** From 1. */
  readonly attempt: number;
  /** Milliseconds since the epoch. */
  readonly nowMs: number;
  /** 128 random bits as text; never used twice. */
  readonly id: string;
}

/** Makes the address a browser is sent to for a step-up: `portal_url` with `state`, and where they apply `acr_values`,
 *  `max_age` and `prompt=login`; a query already in the URL is kept. `state` is a compact JWS (RFC 7515) of `iss`,
 *  `aud` (the portal's origin), `iat`, `exp` (300 s later), `jti`, `return`, `acr_values` (space-joined), `max_age`,
 *  `prompt` and `attempt`; its `kid` is the key's RFC 7638 thumbprint. No user, rule, factor or score is in it. */
export function createPortal(url: string, key: SigningKey): (visit: PortalVisit) => Promise<string> {
  const audience = new URL(url).origin;
  return async ({ challenge, request, attempt, nowMs, id }) => {
    const asked = {
      ...(challenge.acrValues.length > 0 ? { acr_values: challenge.acrValues.join(' ') } : {}),
      ...(challenge.maxAgeSeconds === undefined ? {} : { max_age: challenge.maxAgeSeconds }),
      ...(challenge.promptLogin ? { prompt: 'login' } : {}),
    };
    const issuedAt = Math.floor(nowMs / 1000);
    const state = await signCompact(
      {
        iss: 'postern',
        aud: audience,
        iat: issuedAt,
        exp: issuedAt + LIFETIME_SECONDS,
        jti: id,
        return: returnAddress(request),
        ...asked,
        attempt,
      },
      key,
      { kid: key.thumbprint, typ: 'postern-state+jwt' },
    );
    const location = new URL(url);
    location.searchParams.set('state', state);
    for (const [name, value] of Object.entries(asked)) location.searchParams.set(name, String(value));
    return location.href;
  };
}

const LIFETIME_SECONDS = 300;
