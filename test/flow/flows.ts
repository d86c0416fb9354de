/** Flows as tables write them, compiled. */
import { compileAuthenticators } from '../../src/flow/proofs.ts';
import type { Authenticator } from '../../src/flow/proofs.ts';
import { compileFlow, forIssuer, satisfies } from '../../src/flow/satisfaction.ts';
import type { CompiledFlow, Demand, Satisfaction } from '../../src/flow/satisfaction.ts';
import { FIRST_STEPS, SECOND_STEPS } from '../../src/flow/steps.ts';
import type { FirstStep, Flow, FlowAlternative, SecondStep } from '../../src/flow/steps.ts';
import type { Identity } from '../../src/model/identity.ts';
import { identityOf, PLACE } from '../rules/contexts.ts';

export const ISSUER = 'https://example.okta.com';
export const NOW_MS = Date.UTC(2026, 2, 4, 14, 30);

/** `PASSWORD`, `PASSWORD, then TOKENPUSH or FIDO`, `IDP, domain-based`, or several of them with ` / ` between. */
export function flowOf(text: string, more: Partial<Flow> = {}): Flow {
  return {
    id: '',
    name: text,
    alternatives: text.split(' / ').map(alternativeOf),
    maxAge: undefined,
    acrValues: [],
    ...more,
  };
}

export function compiled(flow: Flow, authenticators: readonly Authenticator[] = []): CompiledFlow {
  return compileFlow(flow, compileAuthenticators(authenticators), ({ id }) => id);
}

/** How one issuer's tokens prove steps, in the words of the policy files. */
export function authenticator(part: {
  readonly amr?: Readonly<Record<string, Authenticator['amr'][number]['steps']>>;
  readonly acr?: Readonly<Record<string, Authenticator['acr'][number]['steps']>>;
  readonly trustBareMfa?: boolean;
}): Authenticator {
  const meanings = (record: typeof part.amr = {}): Authenticator['amr'] =>
    Object.entries(record).map(([value, steps]) => ({ value, steps }));
  return {
    issuer: ISSUER,
    amr: meanings(part.amr),
    acr: meanings(part.acr),
    trustBareMfa: part.trustBareMfa ?? false,
  };
}

/** A token of the issuer with these amr values. */
export function token(amr: readonly string[], more: Partial<Identity> = {}): Identity {
  return identityOf({ issuer: ISSUER, amr, ...more });
}

export function satisfaction(flow: CompiledFlow, identity: Identity, demand: Partial<Demand> = {}): Satisfaction {
  return satisfies(flow, identity, {
    nowMs: NOW_MS,
    domainProvider: undefined,
    reauthenticate: false,
    waivesSecond: false,
    ...demand,
  });
}

export function advertised(flow: CompiledFlow): readonly string[] {
  return forIssuer(flow, ISSUER).acrValues;
}

function alternativeOf(text: string): FlowAlternative {
  const [first = '', second = 'NONE'] = text.replace(', domain-based', '').split(', then ');
  return {
    first: known(FIRST_STEPS, first),
    second: second.split(' or ').map((step) => known(SECOND_STEPS, step)),
    idpDomainBased: text.includes(', domain-based'),
    oidcIdentityProviders: [],
  };
}

function known<Step extends FirstStep | SecondStep>(steps: readonly Step[], text: string): Step {
  const step = steps.find((one) => one === text);
  if (step === undefined) throw new Error(`no step: ${text}`);
  return step;
}

/** The flow with its IDP alternatives bound to providers. */
export function throughProviders(flow: Flow, ...ids: readonly string[]): Flow {
  return {
    ...flow,
    alternatives: flow.alternatives.map((one) => ({
      ...one,
      oidcIdentityProviders: one.first === 'IDP' ? ids.map((id) => ({ id, name: undefined, place: PLACE })) : [],
    })),
  };
}
