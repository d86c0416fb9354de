import type { Place } from '../model/fault.ts';

/** Values of `userLoginFirstStep` and of `lowRiskFirstStep` and its like. Source: Entrust's AuthenticationFlow. */
export const FIRST_STEPS = [
  'NONE',
  'EXTERNAL',
  'PASSWORD',
  'KBA',
  'OTP',
  'TOKEN',
  'TOKENPUSH',
  'SMARTCREDENTIALPUSH',
  'IDP',
  'PASSKEY',
  'SMART_LOGIN',
  'USER_CERTIFICATE',
  'FACE',
  'DENY',
  'MAGICLINK',
] as const;
export type FirstStep = (typeof FIRST_STEPS)[number];

/** Values of `userLoginSecondStep`, `idpLoginSecondStep`, and of `lowRiskSecondStep` and its like. */
export const SECOND_STEPS = [
  'NONE',
  'KBA',
  'TEMP_ACCESS_CODE',
  'OTP',
  'GRID',
  'TOKEN',
  'TOKENCR',
  'TOKENPUSH',
  'FIDO',
  'USER_CERTIFICATE',
  'SMARTCREDENTIALPUSH',
  'FACE',
  'PASSTHROUGH',
  'MAGICLINK',
] as const;
export type SecondStep = (typeof SECOND_STEPS)[number];

/** What an amr or acr value can prove: every step but NONE and DENY, and IDP, which the token's provider proves. */
export type ProvableStep = Exclude<FirstStep | SecondStep, 'NONE' | 'DENY' | 'IDP'>;

/** What a token must prove, as a flow demands it: any one of its alternatives. */
export interface Flow {
  /** "" where none was written. */
  readonly id: string;
  readonly name: string;
  /** Any one suffices; never empty. One whose first step is DENY is never satisfied. */
  readonly alternatives: readonly FlowAlternative[];
  /** Greatest age of the authentication in seconds; undefined: no limit. */
  readonly maxAge: number | undefined;
  /** Names to advertise; a token whose acr is one of them proves the whole flow, not its freshness. */
  readonly acrValues: readonly string[];
}

/** A first step and a choice of second ones. */
export interface FlowAlternative {
  readonly first: FirstStep;
  /** Any one suffices; never empty; `["NONE"]`: no second step. */
  readonly second: readonly SecondStep[];
  /** With IDP: the login must have come from the user's domain-based provider. */
  readonly idpDomainBased: boolean;
  /** With IDP: the providers it may have come from; empty: any. */
  readonly oidcIdentityProviders: readonly ProviderMention[];
}

export interface ProviderMention {
  readonly id: string | undefined;
  readonly name: string | undefined;
  readonly place: Place;
}
