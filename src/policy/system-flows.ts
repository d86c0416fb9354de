/** The flows that are always there. Source: Entrust's system authentication flows; Passkey and the login flows after it
 *  are named by their first step. Entrust's ids and default second factors are not public: these are Postern's. */
import type { FirstStep, FlowAlternative, SecondStep } from '../flow/steps.ts';
import type { FlowObject } from './objects.ts';

/** A second factor where none in particular is asked for, strongest first. */
export const DEFAULT_SECOND_STEPS: readonly SecondStep[] = Object.freeze([
  'FIDO',
  'TOKENPUSH',
  'TOKEN',
  'TOKENCR',
  'SMARTCREDENTIALPUSH',
  'USER_CERTIFICATE',
  'OTP',
  'GRID',
  'TEMP_ACCESS_CODE',
] as const);

const NONE: readonly SecondStep[] = ['NONE'];

function step(first: FirstStep, second: readonly SecondStep[] = NONE, idpDomainBased = false): FlowAlternative {
  return { first, second, idpDomainBased, oidcIdentityProviders: [] };
}

const TABLE: readonly (readonly [name: string, ...alternatives: FlowAlternative[]])[] = [
  ['Access Denied', step('DENY')],
  ['Default Second Factor Only', step('NONE', DEFAULT_SECOND_STEPS)],
  ['Password and Second Factor', step('PASSWORD', DEFAULT_SECOND_STEPS)],
  ['External and Second Factor', step('EXTERNAL', DEFAULT_SECOND_STEPS)],
  ['Password and Software/Hardware Token', step('PASSWORD', ['TOKEN'])],
  ['Entrust Soft Token Push, Software/Hardware Token, One Time Password', step('NONE', ['TOKENPUSH', 'TOKEN', 'OTP'])],
  ['Domain-based IDP Only', step('IDP', NONE, true)],
  ['Domain-Based IDP or User Login', step('IDP', NONE, true), step('PASSWORD', DEFAULT_SECOND_STEPS)],
  ['Password', step('PASSWORD')],
  ['External', step('EXTERNAL')],
  ['Passkey', step('PASSKEY')],
  ['Smart Login', step('SMART_LOGIN')],
  ['User Certificate', step('USER_CERTIFICATE')],
];

/** In the order of their ids. */
export const SYSTEM_FLOWS: readonly FlowObject[] = Object.freeze(
  TABLE.map(([name, ...alternatives], index): FlowObject => {
    const id = `00000000-0000-4000-8000-00000000f0${(index + 1).toString(16).padStart(2, '0')}`;
    return Object.freeze({
      id,
      name,
      system: true,
      alternatives,
      maxAge: undefined,
      acrValues: [],
      written: written(id, name, alternatives),
      place: { file: 'built in', path: [name] },
    });
  }),
);

const BY_ID = new Map(SYSTEM_FLOWS.map((flow) => [flow.id, flow]));
const BY_NAME = new Map(SYSTEM_FLOWS.map((flow) => [flow.name.toLowerCase(), flow]));

/** The system flow of this id, or of this name in any letter case. */
export function systemFlow(idOrName: string): FlowObject | undefined {
  return BY_ID.get(idOrName.toLowerCase()) ?? BY_NAME.get(idOrName.toLowerCase());
}

/** As Entrust's JSON would have it. */
function written(
  id: string,
  name: string,
  alternatives: readonly FlowAlternative[],
): Readonly<Record<string, unknown>> {
  const json: Record<string, unknown> = { id, name, readOnly: true };
  json['loginFlows'] = alternatives.map(({ first }) => ({ loginFlowType: loginFlowType(first), enabled: true }));
  for (const { first, second, idpDomainBased } of alternatives) {
    if (first === 'IDP') {
      json['idpDomainBased'] = idpDomainBased;
      json['idpLoginSecondStep'] = second;
    } else if (loginFlowType(first) === 'USER_LOGIN') {
      json['userLoginFirstStep'] = first;
      json['userLoginSecondStep'] = second;
    }
  }
  return json;
}

function loginFlowType(first: FirstStep): string {
  switch (first) {
    case 'IDP':
      return 'IDP_LOGIN';
    case 'PASSKEY':
      return 'PASSKEY_LOGIN';
    case 'SMART_LOGIN':
      return 'SMART_LOGIN';
    case 'USER_CERTIFICATE':
      return 'USER_CERTIFICATE_LOGIN';
    default:
      return 'USER_LOGIN';
  }
}
