/** Browsers that have signed in with an admin token. A session stands for the token and ends with it. */
import { createHash, randomBytes } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import type { Presented } from '../server.ts';

export interface Sessions {
  /** Begins a session for the token with this hash; the value of the cookie. */
  begin(tokenSha256: string): string;
  /** What the cookie of a request stands for; undefined: no session that still runs. */
  presented(headers: IncomingHttpHeaders): Presented | undefined;
  end(headers: IncomingHttpHeaders): void;
}

/** Sessions last eight hours, in memory: only the hash of a cookie's value is kept. */
export function createSessions(nowMs: () => number): Sessions {
  const running = new Map<string, { readonly tokenSha256: string; readonly endMs: number }>();
  return {
    begin(tokenSha256) {
      for (const [key, { endMs }] of running) if (endMs <= nowMs()) running.delete(key);
      const [oldest] = running.keys();
      if (running.size >= SESSIONS_MAX && oldest !== undefined) running.delete(oldest);
      const value = randomBytes(32).toString('base64url');
      running.set(hashOf(value), { tokenSha256, endMs: nowMs() + LIFETIME_MS });
      return value;
    },
    presented(headers) {
      const value = cookieOf(headers);
      const session = value === undefined ? undefined : running.get(hashOf(value));
      return session && session.endMs > nowMs() ? { sha256: session.tokenSha256 } : undefined;
    },
    end(headers) {
      const value = cookieOf(headers);
      if (value !== undefined) running.delete(hashOf(value));
    },
  };
}

/** The header that gives a browser its session, or takes it away. No script reads it, no other site sends it along;
 *  `isSecure` where browsers reach the page over TLS. RFC 6265bis, section 4.1. */
export function sessionCookie(value: string | undefined, isSecure: boolean): string {
  const lifetime = value === undefined ? 0 : LIFETIME_MS / 1000;
  return `${COOKIE}=${value ?? ''}; Path=/; Max-Age=${lifetime}; HttpOnly; SameSite=Strict${isSecure ? '; Secure' : ''}`;
}

const COOKIE = 'postern_status';
const LIFETIME_MS = 8 * 60 * 60 * 1000;
const SESSIONS_MAX = 100;

function cookieOf(headers: IncomingHttpHeaders): string | undefined {
  const found = (headers.cookie ?? '')
    .split(';')
    .map((pair) => pair.trim())
    .filter((pair) => pair.startsWith(`${COOKIE}=`));
  // Two of one name: who knows whose the other is.
  return found.length === 1 ? found[0]?.slice(COOKIE.length + 1) : undefined;
}

function hashOf(value: string): string {
  return createHash('sha256').update(value).digest('hex');
}
