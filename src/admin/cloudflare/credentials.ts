import type { IncomingHttpHeaders } from 'node:http';
import { bearerToken } from '../server.ts';
import type { Presented } from '../server.ts';

/** What a caller of Cloudflare's API presents: a bearer token; else an API key beside any e-mail address, which is
 *  logged as the actor; else a user service key. An `Authorization` that is wrong is not rescued by another header.
 *  Source: https://developers.cloudflare.com/fundamentals/api/how-to/make-api-calls/ */
export function presentedCredentials(headers: IncomingHttpHeaders): Presented | undefined {
  if (headers.authorization !== undefined) return bearerToken(headers);
  const key = text(headers['x-auth-key']);
  const email = text(headers['x-auth-email']);
  if (key !== '' && email !== '') return { secret: key, actor: email };
  const serviceKey = text(headers['x-auth-user-service-key']);
  return serviceKey === '' ? undefined : { secret: serviceKey };
}

function text(value: string | readonly string[] | undefined): string {
  return typeof value === 'string' ? value.trim() : '';
}
