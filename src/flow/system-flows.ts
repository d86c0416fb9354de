/** The flows that are always there, as in Entrust's console. */
import { DENY_ALONE, stepAlone } from './steps.ts';
import type { AuthenticationFlow, FlowAlternative, SecondStep } from './steps.ts';

/** Any second factor at all. */
const ANY_SECOND: readonly SecondStep[] = [
  'FIDO',
  'TOKENPUSH',
  'TOKEN',
  'TOKENCR',
  'SMARTCREDENTIALPUSH',
  'USER_CERTIFICATE',
  'OTP',
  'GRID',
  'TEMP_ACCESS_CODE',
];

const DOMAIN_BASED: FlowAlternative = { ...stepAlone('IDP'), idpDomainBased: true };
const PASSWORD_THEN_ANY: FlowAlternative = { ...stepAlone('PASSWORD'), second: ANY_SECOND };

/** Name and alternatives; the place in the list makes the id, so that a new flow is added at the end. */
const FLOWS: readonly (readonly [name: string, ...alternatives: FlowAlternative[]])[] = [
  ['Access Denied', DENY_ALONE],
  ['Default Second Factor Only', { ...stepAlone('NONE'), second: ANY_SECOND }],
  ['Password and Second Factor', PASSWORD_THEN_ANY],
  ['External and Second Factor', { ...stepAlone('EXTERNAL'), second: ANY_SECOND }],
  ['Password and Software/Hardware Token', { ...stepAlone('PASSWORD'), second: ['TOKEN'] }],
  [
    'Entrust Soft Token Push, Software/Hardware Token, One Time Password',
    { ...stepAlone('NONE'), second: ['TOKENPUSH', 'TOKEN', 'OTP'] },
  ],
  ['Domain-based IDP Only', DOMAIN_BASED],
  ['Domain-Based IDP or User Login', DOMAIN_BASED, PASSWORD_THEN_ANY],
  ['Password', stepAlone('PASSWORD')],
  ['External', stepAlone('EXTERNAL')],
  ['Passkey', stepAlone('PASSKEY')],
  ['Smart Login', stepAlone('SMART_LOGIN')],
  ['User Certificate', stepAlone('USER_CERTIFICATE')],
];

/** The system flows. Their names match in any letter case and may not be declared again. */
export const SYSTEM_FLOWS: readonly AuthenticationFlow[] = Object.freeze(
  FLOWS.map(([name, ...alternatives], index): AuthenticationFlow => {
    const id = `00000000-0000-4000-8000-00000000f${(index + 1).toString(16).padStart(3, '0')}`;
    return Object.freeze({
      id,
      name,
      system: true,
      alternatives,
      maxAge: undefined,
      acrValues: [],
      written: { id, name, readOnly: true, ...writtenAlternatives(alternatives) },
      place: { file: '', path: [] },
    });
  }),
);

const BY_WORD: ReadonlyMap<string, AuthenticationFlow> = new Map(
  SYSTEM_FLOWS.flatMap((flow): [string, AuthenticationFlow][] => [
    [flow.id, flow],
    [flow.name.toLowerCase(), flow],
  ]),
);

/** The system flow of this id or name, in any letter case. */
export function systemFlow(idOrName: string): AuthenticationFlow | undefined {
  return BY_WORD.get(idOrName.toLowerCase());
}

/** The alternatives in the words of an AuthenticationFlow. */
function writtenAlternatives(alternatives: readonly FlowAlternative[]): Readonly<Record<string, unknown>> {
  const loginFlows: unknown[] = [];
  const keys: Record<string, unknown> = {};
  for (const { first, second, idpDomainBased } of alternatives) {
    if (first === 'PASSKEY') loginFlows.push(enabled('PASSKEY_LOGIN'));
    else if (first === 'SMART_LOGIN') loginFlows.push(enabled('SMART_LOGIN'));
    else if (first === 'USER_CERTIFICATE') loginFlows.push(enabled('USER_CERTIFICATE_LOGIN'));
    else if (first === 'IDP') {
      loginFlows.push(enabled('IDP_LOGIN'));
      keys['idpDomainBased'] = idpDomainBased;
      keys['idpLoginSecondStep'] = second;
    } else {
      loginFlows.push(enabled('USER_LOGIN'));
      keys['userLoginFirstStep'] = first;
      keys['userLoginSecondStep'] = second;
    }
  }
  return { loginFlows, ...keys };
}

function enabled(loginFlowType: string): unknown {
  return { loginFlowType, enabled: true };
}
