/** Whether a token satisfies an authentication flow. */
import type { HistoryFact } from '../model/adaptive-facts.ts';
import type { Identity } from '../model/identity.ts';
import { advertisedAcrs } from './acr-values.ts';
import { flowAssurance } from './assurance.ts';
import type { Assurance } from './assurance.ts';
import type { Authenticators, IssuerProofs, Proof } from './proofs.ts';
import type { Flow, FlowAlternative, ProviderMention } from './steps.ts';

/** Age in seconds at which an authentication must have been when it first reached an application that demands to be
 *  authenticated for anew. */
export const REAUTHENTICATION_SECONDS = 300;

/** A flow, ready to be compared with tokens. */
export interface CompiledFlow {
  readonly flow: Flow;
  /** No token satisfies it. */
  readonly denies: boolean;
  readonly assurance: Assurance;
  /** Some alternative asks for the user's domain-based provider. */
  readonly readsDomainProvider: boolean;
  readonly byIssuer: ReadonlyMap<string, IssuerFlow>;
  readonly others: IssuerFlow;
}

/** A flow as the tokens of one issuer can prove it. */
export interface IssuerFlow {
  /** To advertise in a challenge; empty: none. */
  readonly acrValues: readonly string[];
  /** acr → the steps it proves. */
  readonly acr: ReadonlyMap<string, ReadonlySet<string>>;
  readonly alternatives: readonly IssuerAlternative[];
}

interface IssuerAlternative {
  readonly source: FlowAlternative;
  readonly firstProofs: readonly Proof[];
  readonly hasSecond: boolean;
  readonly secondProofs: readonly Proof[];
  readonly providers: ReadonlySet<string> | undefined;
  /** It has a second step or is a passkey, smart login or certificate: strong enough to remember a machine by. */
  readonly isStrong: boolean;
  readonly missingFirst: string;
  readonly missingSecond: string;
}

/** What a flow asks of one request besides its steps. */
export interface Demand {
  /** The rules' clock, milliseconds since the epoch. */
  readonly nowMs: number;
  /** The user's domain-based provider; undefined: none. */
  readonly domainProvider: string | undefined;
  /** The rule demands an authentication made for this application (disableSSO) and this one is not admitted to it. */
  readonly reauthenticate: boolean;
  /** A second step after EXTERNAL is waived. */
  readonly waivesSecond: boolean;
}

/** How a token stands to a flow. */
export interface Satisfaction {
  readonly satisfied: boolean;
  /** The steps are proven and only the authentication is too old. */
  readonly onlyFreshness: boolean;
  readonly isFresh: boolean;
  /** Greatest age in seconds that was asked for; undefined: none. */
  readonly limitSeconds: number | undefined;
  /** The alternative that is proven; undefined: none, or the whole flow by the token's acr. */
  readonly proven: FlowAlternative | undefined;
  /** What proved the flow is strong enough to remember a machine by. */
  readonly isStrong: boolean;
  /** What is not proven, in a few words; "" where nothing is missing. */
  readonly missing: string;
}

/** Compiles a flow for all issuers. `providerId` finds the id of a provider that is mentioned by id or name. */
export function compileFlow(
  flow: Flow,
  authenticators: Authenticators,
  providerId: (mention: ProviderMention) => string | undefined,
): CompiledFlow {
  return Object.freeze({
    flow,
    denies: flow.alternatives.every(({ first }) => first === 'DENY'),
    assurance: flowAssurance(flow.alternatives),
    readsDomainProvider: flow.alternatives.some(({ idpDomainBased }) => idpDomainBased),
    byIssuer: new Map(
      [...authenticators.byIssuer].map(([issuer, proofs]) => [issuer, issuerFlow(flow, proofs, providerId)]),
    ),
    others: issuerFlow(flow, authenticators.others, providerId),
  });
}

/** The flow as tokens of an issuer prove it; undefined: the identity has no issuer. */
export function forIssuer(flow: CompiledFlow, issuer: string | undefined): IssuerFlow {
  return (issuer === undefined ? undefined : flow.byIssuer.get(issuer)) ?? flow.others;
}

/** Whether the identity satisfies the flow: it is fresh, and one alternative is proven, its second step by other amr
 *  values than its first. Pure. */
export function satisfies(flow: CompiledFlow, identity: Identity, demand: Demand): Satisfaction {
  const limitSeconds = limitOf(flow.flow, demand.reauthenticate);
  const isFresh = limitSeconds === undefined || isYounger(identity, limitSeconds, demand.nowMs);
  const own = forIssuer(flow, identity.issuer);
  const amr = identity.source === 'headers' ? NO_AMR : (identity.amr ?? NO_AMR);
  const acr = identity.source === 'headers' ? undefined : identity.acr;

  let steps = false;
  let proven: FlowAlternative | undefined;
  let isStrong = false;
  if (acr !== undefined && !flow.denies && flow.flow.acrValues.includes(acr)) {
    steps = true;
    isStrong = own.alternatives.every((alternative) => alternative.isStrong);
  } else {
    const acrSteps = acr === undefined ? undefined : own.acr.get(acr);
    for (const alternative of own.alternatives) {
      const waived = demand.waivesSecond && alternative.source.first === 'EXTERNAL';
      if (!isProven(alternative, identity, amr, acrSteps, demand.domainProvider, waived)) continue;
      steps = true;
      proven = alternative.source;
      isStrong = alternative.isStrong && !waived;
      break;
    }
  }
  return {
    satisfied: steps && isFresh,
    onlyFreshness: steps && !isFresh,
    isFresh,
    limitSeconds,
    proven,
    isStrong,
    missing: steps && isFresh ? '' : missingText(steps, isFresh, limitSeconds, own, identity, amr, acr, demand),
  };
}

/** Whether the authentication is at most so many seconds old, the boundary included. One without a time, or with a
 *  time further ahead than the clock skew allows, is not. */
export function isYounger(identity: Identity, limitSeconds: number, nowMs: number): boolean {
  if (identity.authTime === undefined) return false;
  const age = nowMs / 1000 - identity.authTime;
  return age <= limitSeconds && age >= -identity.clockSkewSeconds;
}

/** Whether this request's authentication event has been admitted to an application before (disableSSO). */
export function isAdmitted(history: HistoryFact, applicationId: string): boolean {
  if (history.state !== 'known' || history.record.event === undefined) return false;
  return history.record.admitted.get(applicationId)?.includes(history.record.event) === true;
}

const NO_AMR: readonly string[] = [];

function issuerFlow(
  flow: Flow,
  proofs: IssuerProofs,
  providerId: (mention: ProviderMention) => string | undefined,
): IssuerFlow {
  return Object.freeze({
    acrValues: Object.freeze(advertisedAcrs(flow, proofs)),
    acr: proofs.acr,
    alternatives: flow.alternatives.map((source): IssuerAlternative => {
      const second = source.second.filter((step) => step !== 'NONE');
      const later = second.join(' or ');
      return {
        source,
        firstProofs: proofs.first(source.first),
        hasSecond: second.length > 0,
        secondProofs: second.flatMap((step) => proofs.second(step)),
        // Providers that nobody knows leave an empty set, which no login meets.
        providers:
          source.oidcIdentityProviders.length > 0
            ? new Set(source.oidcIdentityProviders.map(providerId).filter((id) => id !== undefined))
            : undefined,
        isStrong:
          second.length > 0 ||
          source.first === 'PASSKEY' ||
          source.first === 'SMART_LOGIN' ||
          source.first === 'USER_CERTIFICATE',
        missingFirst: describeAlternative(source),
        missingSecond: source.first === 'NONE' ? later : `${later} after ${source.first}`,
      };
    }),
  });
}

/** `PASSWORD, then TOKEN or OTP`. */
function describeAlternative({ first, second }: FlowAlternative): string {
  const later = second.filter((step) => step !== 'NONE').join(' or ');
  if (later === '') return first;
  return first === 'NONE' ? later : `${first}, then ${later}`;
}

function limitOf(flow: Flow, reauthenticate: boolean): number | undefined {
  if (!reauthenticate) return flow.maxAge;
  return flow.maxAge === undefined || flow.maxAge > REAUTHENTICATION_SECONDS ? REAUTHENTICATION_SECONDS : flow.maxAge;
}

function isProven(
  alternative: IssuerAlternative,
  identity: Identity,
  amr: readonly string[],
  acrSteps: ReadonlySet<string> | undefined,
  domainProvider: string | undefined,
  waived: boolean,
): boolean {
  const needsSecond = alternative.hasSecond && !waived;
  const secondByAcr = !needsSecond || isAnyStep(acrSteps, alternative.source);
  if (isFirstByItself(alternative, identity, acrSteps, domainProvider))
    return secondByAcr || isAnyProof(alternative.secondProofs, amr, NO_AMR);
  for (const first of alternative.firstProofs) {
    if (!isHeld(first, amr)) continue;
    if (secondByAcr || isAnyProof(alternative.secondProofs, amr, first.uses)) return true;
  }
  return false;
}

/** Proven without using up any amr value. */
function isFirstByItself(
  { source, providers }: IssuerAlternative,
  identity: Identity,
  acrSteps: ReadonlySet<string> | undefined,
  domainProvider: string | undefined,
): boolean {
  switch (source.first) {
    case 'NONE':
      return true;
    case 'DENY':
      return false;
    case 'IDP': {
      const provider = identity.provider?.id;
      if (provider === undefined || identity.source === 'headers') return false;
      if (providers && !providers.has(provider)) return false;
      return !source.idpDomainBased || provider === domainProvider;
    }
    case 'EXTERNAL':
      return identity.source === 'headers' || acrSteps?.has('EXTERNAL') === true;
    default:
      return acrSteps?.has(source.first) === true;
  }
}

function isAnyStep(acrSteps: ReadonlySet<string> | undefined, { second }: FlowAlternative): boolean {
  if (!acrSteps) return false;
  for (const step of second) if (acrSteps.has(step)) return true;
  return false;
}

/** Whether one of the proofs is held that uses none of the values used up. */
function isAnyProof(proofs: readonly Proof[], amr: readonly string[], used: readonly string[]): boolean {
  for (const proof of proofs) {
    if (isHeld(proof, amr) && !proof.uses.some((value) => used.includes(value))) return true;
  }
  return false;
}

function isHeld({ needs }: Proof, amr: readonly string[]): boolean {
  for (const value of needs) if (!amr.includes(value)) return false;
  return true;
}

function missingText(
  steps: boolean,
  isFresh: boolean,
  limitSeconds: number | undefined,
  own: IssuerFlow,
  identity: Identity,
  amr: readonly string[],
  acr: string | undefined,
  demand: Demand,
): string {
  const parts: string[] = [];
  if (!steps) {
    const acrSteps = acr === undefined ? undefined : own.acr.get(acr);
    parts.push(
      own.alternatives
        .map((alternative) => {
          const isFirstProven = isProven(alternative, identity, amr, acrSteps, demand.domainProvider, true);
          return isFirstProven ? alternative.missingSecond : alternative.missingFirst;
        })
        .join('; or '),
    );
  }
  if (!isFresh) parts.push(`an authentication at most ${limitSeconds} s old`);
  return parts.join('; and ');
}
