/** What proves a step: values of a token's `amr` and `acr`, by default and as one issuer uses them. */
import { FIRST_STEPS, SECOND_STEPS } from './steps.ts';
import type { FirstStep, ProvableStep, SecondStep } from './steps.ts';

/** How an issuer's tokens prove steps, as users configure it. Source: `authenticators` of the policy files. */
export interface Authenticator {
  /** Compared exactly with `iss`. */
  readonly issuer: string;
  /** A token with this acr proves all these steps, each by itself; in the order they are to be advertised in. */
  readonly acr: readonly { readonly value: string; readonly steps: readonly ProvableStep[] }[];
  /** What this amr value means in place of its default meaning; no step: nothing. */
  readonly amr: readonly { readonly value: string; readonly steps: readonly ProvableStep[] }[];
  /** The amr value `mfa` proves a password and a code or push. */
  readonly trustBareMfa: boolean;
}

/** One way to prove a step: all of `needs` must be in amr. What proves the first step cannot prove the second one
 *  too, so `uses` of the two must have nothing in common. */
export interface Proof {
  readonly needs: readonly string[];
  readonly uses: readonly string[];
}

/** How the tokens of one issuer prove steps. */
export interface IssuerProofs {
  first(step: FirstStep): readonly Proof[];
  second(step: SecondStep): readonly Proof[];
  /** acr → the steps it proves. */
  readonly acr: ReadonlyMap<string, ReadonlySet<string>>;
  /** Names the issuer is configured to give, in order. */
  readonly advertised: readonly { readonly value: string; readonly steps: ReadonlySet<string> }[];
}

/** How tokens prove steps, by issuer. */
export interface Authenticators {
  /** The issuers that are configured. */
  readonly byIssuer: ReadonlyMap<string, IssuerProofs>;
  /** For every other issuer. */
  readonly others: IssuerProofs;
}

/** Compiles the authenticators, of which there is one for an issuer at most. */
export function compileAuthenticators(authenticators: readonly Authenticator[]): Authenticators {
  return {
    byIssuer: new Map(authenticators.map((entry) => [entry.issuer, issuerProofs(entry)])),
    others: issuerProofs({ issuer: '', acr: [], amr: [], trustBareMfa: false }),
  };
}

/** Values that RFC 8176 registers, and those (push, fido, x509, grid, tac, email, magiclink, ext, passthrough) that
 *  it does not but identity providers commonly send. All values of one list must be there. IDP is proven by the
 *  token's provider, and an identity from trusted headers proves EXTERNAL. */
const DEFAULT_PROOFS: Readonly<Record<ProvableStep, readonly (readonly string[])[]>> = {
  PASSWORD: [['pwd']],
  KBA: [['kba']],
  OTP: [['otp'], ['sms'], ['tel']],
  TOKEN: [['otp']],
  TOKENCR: [['otp']],
  TOKENPUSH: [['push'], ['mca'], ['swk']],
  SMARTCREDENTIALPUSH: [['sc'], ['swk', 'pin'], ['swk', 'fpt'], ['swk', 'face']],
  SMART_LOGIN: [
    ['sc', 'pin'],
    ['sc', 'fpt'],
    ['sc', 'face'],
  ],
  PASSKEY: ['hwk', 'swk', 'pop', 'fido'].flatMap((key) =>
    ['pin', 'fpt', 'face', 'iris', 'retina', 'mfa'].map((verification) => [key, verification]),
  ),
  FIDO: [['hwk'], ['pop'], ['fido']],
  USER_CERTIFICATE: [['sc'], ['x509']],
  FACE: [['face']],
  GRID: [['grid']],
  TEMP_ACCESS_CODE: [['tac']],
  MAGICLINK: [['email'], ['magiclink']],
  EXTERNAL: [['ext'], ['wia']],
  PASSTHROUGH: [['passthrough']],
};

/** Phishing-resistant, and that with a hardware-protected key. Source: OpenID EAP ACR Values 1.0. */
const DEFAULT_ACRS: readonly (readonly [acr: string, steps: readonly ProvableStep[]])[] = [
  ['phr', ['PASSKEY', 'FIDO']],
  ['phrh', ['PASSKEY', 'FIDO']],
];

/** Steps that `mfa` alone proves as second where the issuer is trusted with it. It is never a key that resists
 *  phishing, nor a certificate, nor a question. */
const BARE_MFA_SECOND: ReadonlySet<string> = new Set<SecondStep>(['OTP', 'TOKEN', 'TOKENCR', 'TOKENPUSH', 'GRID']);

function issuerProofs(entry: Authenticator): IssuerProofs {
  const meanings = new Map<string, readonly ProvableStep[]>();
  for (const { value, steps } of entry.amr) if (!meanings.has(value)) meanings.set(value, steps);
  const acr = new Map<string, ReadonlySet<string>>();
  for (const { value, steps } of entry.acr) if (!acr.has(value)) acr.set(value, new Set(steps));
  const advertised = [...acr].map(([value, steps]) => ({ value, steps }));
  for (const [value, steps] of DEFAULT_ACRS) if (!acr.has(value)) acr.set(value, new Set(steps));

  const proofsOf = (step: FirstStep | SecondStep): Proof[] => {
    if (!Object.hasOwn(DEFAULT_PROOFS, step)) return [];
    const kept = DEFAULT_PROOFS[step as ProvableStep].filter((values) => !values.some((value) => meanings.has(value)));
    const own = [...meanings].filter(([, steps]) => steps.includes(step as ProvableStep)).map(([value]) => [value]);
    return [...kept, ...own].map((values) => ({ needs: values, uses: values }));
  };
  const first = new Map(FIRST_STEPS.map((step) => [step, proofsOf(step)]));
  const second = new Map(SECOND_STEPS.map((step) => [step, proofsOf(step)]));
  if (entry.trustBareMfa) {
    // Two factors are behind it, so that it proves a password and still the second step.
    first.get('PASSWORD')?.push({ needs: ['mfa'], uses: [] });
    for (const [step, proofs] of second) if (BARE_MFA_SECOND.has(step)) proofs.push({ needs: ['mfa'], uses: ['mfa'] });
  }
  return {
    first: (step) => first.get(step) ?? [],
    second: (step) => second.get(step) ?? [],
    acr,
    advertised,
  };
}
