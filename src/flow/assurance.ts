import type { FirstStep, FlowAlternative, SecondStep } from './steps.ts';

/** Assurance after the authenticator assurance levels of NIST SP 800-63B; 0 does not count by itself, and 3 is never
 *  claimed, since no amr value proves a key that cannot leave its hardware. It orders alternatives and names acrs; it
 *  is never itself a condition. */
export type Assurance = 0 | 1 | 2;

/** The assurance of a flow: that of its weakest alternative. */
export function flowAssurance(alternatives: readonly FlowAlternative[]): Assurance {
  return weakest(alternatives.map(alternativeAssurance));
}

/** With a second step it is that of the weakest one, but not below the first step's own. */
export function alternativeAssurance({ first, second }: FlowAlternative): Assurance {
  const steps = second.filter((step) => step !== 'NONE');
  if (first === 'NONE') return weakest(steps.map((step) => ALONE[step]));
  const own = ALONE[first];
  if (steps.length === 0) return own;
  const after = weakest(steps.map((step) => AS_SECOND[step]));
  return after > own ? after : own;
}

const ALONE: Readonly<Record<FirstStep | SecondStep, Assurance>> = {
  NONE: 0,
  DENY: 0,
  PASSWORD: 1,
  KBA: 0,
  OTP: 1,
  TOKEN: 1,
  TOKENCR: 1,
  TOKENPUSH: 1,
  SMARTCREDENTIALPUSH: 2,
  SMART_LOGIN: 2,
  PASSKEY: 2,
  FIDO: 1,
  USER_CERTIFICATE: 1,
  FACE: 0,
  GRID: 1,
  TEMP_ACCESS_CODE: 1,
  MAGICLINK: 0,
  EXTERNAL: 1,
  IDP: 1,
  PASSTHROUGH: 0,
};

const AS_SECOND: Readonly<Record<SecondStep, Assurance>> = {
  NONE: 0,
  // Adds nothing to the first step.
  KBA: 0,
  OTP: 2,
  TOKEN: 2,
  TOKENCR: 2,
  TOKENPUSH: 2,
  SMARTCREDENTIALPUSH: 2,
  FIDO: 2,
  USER_CERTIFICATE: 2,
  FACE: 1,
  GRID: 2,
  TEMP_ACCESS_CODE: 2,
  MAGICLINK: 1,
  PASSTHROUGH: 1,
};

function weakest(levels: readonly Assurance[]): Assurance {
  let least: Assurance = 2;
  for (const level of levels) if (level < least) least = level;
  return levels.length === 0 ? 0 : least;
}
