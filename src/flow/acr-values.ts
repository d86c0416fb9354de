import { flowAssurance } from './assurance.ts';
import type { IssuerProofs } from './proofs.ts';
import type { Flow, FlowAlternative } from './steps.ts';

/** The `acr_values` to advertise for a flow to a token of one issuer (RFC 9470): the flow's own; else the names that
 *  the issuer is configured to give and whose steps satisfy the flow; else `phr` where only phishing-resistant steps
 *  will do, or `mfa` where two factors will (OpenID EAP ACR Values 1.0); else none. */
export function advertisedAcrs(flow: Flow, issuer: IssuerProofs): readonly string[] {
  if (flow.acrValues.length > 0) return flow.acrValues;
  const names = issuer.advertised
    .filter(({ steps }) => flow.alternatives.some((alternative) => isProvenBy(steps, alternative)))
    .map(({ value }) => value);
  if (names.length > 0) return names;
  if (flow.alternatives.every(resistsPhishing)) return ['phr'];
  return flowAssurance(flow.alternatives) === 2 ? ['mfa'] : [];
}

/** No acr stands for a login at a provider, so that no flow that begins with one is proven. */
function isProvenBy(steps: ReadonlySet<string>, { first, second }: FlowAlternative): boolean {
  if (first !== 'NONE' && !steps.has(first)) return false;
  return second.some((step) => step === 'NONE' || steps.has(step));
}

function resistsPhishing({ first, second }: FlowAlternative): boolean {
  if (first === 'PASSKEY' || first === 'SMART_LOGIN' || first === 'USER_CERTIFICATE') return true;
  return second.every((step) => step === 'FIDO' || step === 'USER_CERTIFICATE');
}
