import type { Address } from './address.ts';
import { NO_CERTIFICATE, NO_CREDENTIALS } from './facts.ts';
import type { CertificateFact, Location, PostureFact, RiskScoreFact, ServiceCredentialsFact } from './facts.ts';
import { NOBODY } from './identity.ts';
import type { Identity, IdentityFact } from './identity.ts';
import type { EngineAnswer, HistoryFact, MachineFact, TransactionDetail } from './adaptive-facts.ts';
import type { RequestFacts } from './request.ts';
import type { Verdict } from './verdict.ts';

/** The facts that must be gathered before a request can be decided. */
export type FactName =
  | 'address'
  | 'location'
  | 'certificate'
  | 'identity'
  | 'service_token'
  | 'posture'
  | 'risk_score'
  | 'linked_token'
  | 'external_evaluation'
  | 'history'
  | 'machine'
  | 'transaction'
  | 'risk_engine';

/** One need of a rule or factor. Most are only a name; some say which one. */
export type Need =
  | { readonly fact: Exclude<FactName, 'linked_token' | 'external_evaluation' | 'risk_engine'> }
  | { readonly fact: 'linked_token'; readonly application: string }
  | { readonly fact: 'external_evaluation'; readonly evaluateUrl: string; readonly keysUrl: string }
  | { readonly fact: 'risk_engine'; readonly engine: string };

/** Everything one decision may read. Filled by gathering, before deciding, with what the application needs;
 *  deciding only reads it. What was not gathered reads as "could not be had" or as absent, so that a rule
 *  that forgets to declare a need fails closed. */
export class EvaluationContext {
  readonly request: RequestFacts;
  /** The rules' clock: `attributes.request.time`, else the process clock. Milliseconds since the epoch. */
  readonly nowMs: number;
  /** Token and certificate lifetimes use this one. Milliseconds since the epoch. */
  readonly processNowMs: number;
  address: Address | undefined = undefined;
  location: Location | undefined = undefined;
  certificate: CertificateFact = NO_CERTIFICATE;
  identity: IdentityFact = NOBODY;
  serviceCredentials: ServiceCredentialsFact = NO_CREDENTIALS;
  posture: PostureFact = { state: 'identity' };
  riskScore: RiskScoreFact = { state: 'identity' };
  /** Application id → whether a token issued for it was presented. */
  linkedTokens: ReadonlyMap<string, LinkedTokenFact> = NOTHING;
  /** `evaluateUrl + "\n" + keysUrl` → verdict. */
  evaluations: ReadonlyMap<string, Verdict> = NOTHING;
  history: HistoryFact = { state: 'unavailable' };
  machine: MachineFact = { state: 'unavailable' };
  /** Detail name → what the request says of it; only details that the application declares. */
  transaction: ReadonlyMap<string, TransactionDetail> = NOTHING;
  /** Engine id → its answer. */
  engines: ReadonlyMap<string, EngineAnswer> = NOTHING;
  /** How long gathering has waited for the state store, milliseconds. What is left of its time is for settling. */
  stateWaitedMs = 0;
  /** Group number → verdict, so that each group is judged at most once per request; made by the first group. */
  groupVerdicts: Map<number, Verdict> | undefined = undefined;

  constructor(request: RequestFacts, processNowMs: number) {
    this.request = request;
    this.processNowMs = processNowMs;
    this.nowMs = request.timeMs ?? processNowMs;
  }
}

export type LinkedTokenFact = { readonly verdict: Verdict; readonly identity?: Pick<Identity, 'subject' | 'email'> };

const NOTHING: ReadonlyMap<string, never> = new Map<string, never>();
