import type { Decision } from '../model/decision.ts';
import { signCompact } from '../shared/jose.ts';
import type { SigningKey } from '../shared/jose.ts';

/** Makes the signed JWT that lets an upstream insist on having been asked for: claims `iss`, `aud` (the application's
 *  id), `iat`, `exp`, `jti` (the decision's id), `sub` and `email` where somebody is logged in, and `postern` with the
 *  application, policy and risk level by name. Its `kid` is the key's RFC 7638 thumbprint. */
export function createAssertion(
  key: SigningKey,
  lifetimeSeconds: number,
): (decision: Decision, decisionId: string, nowMs: number) => Promise<string> {
  return (decision, decisionId, nowMs) => {
    const who = decision.identity ?? decision.linkedIdentity;
    const issuedAt = Math.floor(nowMs / 1000);
    return signCompact(
      {
        iss: 'postern',
        aud: decision.application?.id,
        iat: issuedAt,
        exp: issuedAt + lifetimeSeconds,
        jti: decisionId,
        sub: who?.subject,
        email: who?.email,
        postern: {
          application: decision.application?.name,
          policy: decision.policy?.name,
          risk_level: decision.riskLevel,
        },
      },
      key,
      { kid: key.thumbprint, typ: 'JWT' },
    );
  };
}
