import type { Identity } from '../model/identity.ts';

/** One authentication of a user, as the parts that StateKeys.eventHashes hashes: issuer, subject, session and the time
 *  he authenticated, else the time the token was issued; with neither time, issuer, subject and the token's id.
 *  Undefined: the identity has no such event (trusted headers, or a token without all three). */
export function authenticationEvent(identity: Identity): readonly string[] | undefined {
  if (identity.source === 'headers') return undefined;
  const { issuer = '', subject = '', session = '', tokenId } = identity;
  const time = identity.authTime ?? identity.issuedAt;
  if (time !== undefined) return [issuer, subject, session, String(time)];
  // One part fewer than with a time, so that no token id can pass for one.
  return tokenId === undefined ? undefined : [issuer, subject, tokenId];
}
