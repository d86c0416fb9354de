/** From what is stated of a request to the facts that decide it: what a case, a flag or an operator's question says
 *  takes the place of the source that would have told it, and everything else is read from the request as serve reads
 *  it. Nothing here asks the network or learns anything. */
import { compileClaims } from '../facts/claims.ts';
import type { Claims, ClaimPaths } from '../facts/claims.ts';
import type { Evaluation } from '../facts/external-evaluation.ts';
import { gather } from '../facts/gather.ts';
import type { Sources } from '../facts/gather.ts';
import { NOTHING_READ } from '../facts/identity.ts';
import type { IdentityReading } from '../facts/identity.ts';
import { isAboutAnother } from '../facts/risk-engine.ts';
import type { EngineAnswer, HistoryFact, LearnedPlace, MachineFact } from '../model/adaptive-facts.ts';
import type { Address } from '../model/address.ts';
import { EvaluationContext } from '../model/context.ts';
import type { LinkedTokenFact } from '../model/context.ts';
import { NO_CERTIFICATE, NO_CREDENTIALS } from '../model/facts.ts';
import type { CertificateFact, Location, ServiceCredentialsFact } from '../model/facts.ts';
import type { Identity, IdentityFact } from '../model/identity.ts';
import { at, fault } from '../model/fault.ts';
import type { Place, Report } from '../model/fault.ts';
import type { ProviderObject } from '../model/objects.ts';
import type { RequestFacts, RequestRefusal } from '../model/request.ts';
import type { CompiledApplication } from '../policy/compile.ts';
import type { DestinationIndex } from '../policy/destinations.ts';
import { decide, noApplication, refused } from '../policy/engine.ts';
import type { EngineDecision } from '../policy/engine.ts';
import type { PolicySet } from '../policy/objects.ts';
import { readRequest } from '../envoy/request.ts';
import { parseAddress } from '../shared/address.ts';
import { TOR } from '../shared/country.ts';
import { nearest } from '../shared/nearest.ts';
import { quoted } from '../shared/shape.ts';
import { checkRequestBytes } from './check-request.ts';
import type { Statement, StatedHistory, StatedIdentity, StatedRequest } from './shape.ts';

/** What statements are made about: one revision, and what its settings say of logins. */
export interface StatedAgainst {
  readonly destinations: DestinationIndex<CompiledApplication>;
  /** Read what is not stated from the request itself; without network. */
  readonly sources: Sources;
  readonly set: Pick<PolicySet, 'applications' | 'serviceTokens' | 'riskEngines'>;
  readonly providers: readonly ProviderObject[];
  /** The entries of identity.tokens: where there is one alone, a stated login is one that it accepted. */
  readonly tokens: readonly LoginEntry[];
  /** What is remembered of a user, and kept as his risk level, is read where nothing is stated of it. Absent: there is
   *  nothing of the kind. */
  readonly reads?: Pick<Sources, 'remembered' | 'riskScore'> | undefined;
}

/** What a stated login takes from the entry of identity.tokens. */
export interface LoginEntry {
  readonly issuer: string;
  readonly audiences: readonly string[];
  readonly provider?: string | { readonly claim: readonly string[] } | undefined;
  readonly clock_skew_seconds: number;
}

/** A request that was decided by what was stated of it. */
export interface StatedDecision {
  readonly decision: EngineDecision;
  /** Undefined: the request cannot be read. */
  readonly request: RequestFacts | undefined;
  /** Undefined: none covers it, or it cannot be read. */
  readonly application: CompiledApplication | undefined;
  readonly context: EvaluationContext | undefined;
}

/** Reports what a statement names and the revision does not have: `provider_unknown`, `service_token_unknown`,
 *  `application_unknown`, `risk_engine_unknown`. */
export function linkStatement(statement: Statement, place: Place, against: StatedAgainst, report: Report): void {
  const unknown = (kind: string, noun: string, written: string, known: readonly string[], where: Place): void => {
    const near = nearest(written, known);
    report(
      fault(
        where,
        `${kind}_unknown`,
        `no ${noun} has the id or name ${quoted(written)}`,
        near === undefined ? `name an existing ${noun}` : `did you mean ${quoted(near)}?`,
      ),
    );
  };
  const { identity, request, history, engines } = statement;
  const { set, providers } = against;
  if (typeof identity === 'object' && identity.provider !== undefined && !named(providers, identity.provider)) {
    const known = providers.flatMap(({ id, name }) => [name, id]);
    unknown('provider', 'identity provider', identity.provider, known, at(place, 'identity', 'provider'));
  }
  const token = request.service_token;
  if (token !== undefined && token !== REFUSED && token !== NONE && !serviceTokenOf(set, token)) {
    const known = set.serviceTokens.flatMap(({ name, id }) => [name, id]);
    unknown('service_token', 'service token', token, known, at(place, 'request', 'service_token'));
  }
  const applications = [
    ...(request.linked_tokens ?? []).map((one, index) => [one, at(place, 'request', 'linked_tokens', index)] as const),
    ...(history?.admitted ?? []).map((one, index) => [one, at(place, 'history', 'admitted', index)] as const),
  ];
  for (const [written, where] of applications)
    if (!named(set.applications, written))
      unknown(
        'application',
        'application',
        written,
        set.applications.map(({ name }) => name),
        where,
      );
  for (const written of Object.keys(engines ?? {}))
    if (!named(set.riskEngines, written))
      unknown(
        'risk_engine',
        'risk engine',
        written,
        set.riskEngines.map(({ name }) => name),
        { ...at(place, 'engines', written), atKey: true },
      );
}

/** Decides a stated request. A promise only where a token of its headers has to be verified.
 *  @param nowMs The process clock, for tokens of the headers; the rules' clock too where the request has no time. */
export function decideStated(
  statement: Statement,
  against: StatedAgainst,
  nowMs: number,
): StatedDecision | Promise<StatedDecision> {
  const request = requestOf(statement.request);
  if ('reason' in request)
    return { decision: refused(request), request: undefined, application: undefined, context: undefined };
  return decideRequest(request, statement, against, statement.request.time ?? nowMs);
}

/** Decides a request that was read already, by what is stated besides. */
export function decideRequest(
  request: RequestFacts,
  statement: Statement,
  against: StatedAgainst,
  processNowMs: number,
): StatedDecision | Promise<StatedDecision> {
  const application = against.destinations.find(request.host, request.path)?.target;
  if (!application) return { decision: noApplication(), request, application: undefined, context: undefined };
  const context = new EvaluationContext(request, processNowMs);
  const decided = (): StatedDecision => ({ decision: decide(application, context), request, application, context });
  const sources = statedSources(statement, against, application, context);
  const gathering = gather(application, context, sources, QUIET, never);
  return gathering ? gathering.then(decided) : decided();
}

/** What a stated login is as a fact. `application` undefined: meant for whichever asks.
 *  @param timeMs When it is used, which is also when the token was issued where nothing says otherwise. */
export function identityFact(
  stated: StatedIdentity | 'nobody' | 'invalid' | 'unavailable',
  against: Pick<StatedAgainst, 'providers' | 'tokens'>,
  timeMs: number,
  application?: Pick<CompiledApplication, 'audiences'>,
): IdentityFact {
  switch (stated) {
    case 'nobody':
      return { state: 'nobody' };
    case 'invalid':
      return { state: 'invalid', why: 'the token is stated to be invalid' };
    case 'unavailable':
      return { state: 'unavailable', why: 'the token is stated to be unverifiable' };
    default:
      return { state: 'known', identity: mapped(stated, against, timeMs, application) };
  }
}

/** The request that a statement describes, read as Envoy's are; or why it would be answered 400. */
export function requestOf(stated: StatedRequest): RequestFacts | RequestRefusal {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(stated.headers ?? {}))
    headers[name.toLowerCase()] = Array.isArray(value) ? value.join(',') : value;
  const { body, client_ip: address } = stated;
  return readRequest(
    checkRequestBytes({
      method: stated.method ?? 'GET',
      host: stated.host ?? '',
      path: stated.path ?? '/',
      scheme: stated.scheme ?? 'https',
      headers,
      body: body === undefined || typeof body === 'string' ? body : JSON.stringify(body),
      address: address === 'unknown' ? undefined : address,
      timeMs: stated.time,
    }),
  );
}

const REFUSED = 'refused';
const NONE = 'none';

const QUIET = { finished: () => undefined, monotonicMs: () => 0 };

function never(): Promise<void> {
  return new Promise(() => undefined);
}

function statedSources(
  statement: Statement,
  against: StatedAgainst,
  application: CompiledApplication,
  { nowMs }: EvaluationContext,
): Sources {
  const { sources: base } = against;
  const { request, identity } = statement;
  return {
    clientAddress: (facts) => (request.client_ip === undefined ? base.clientAddress(facts) : addressOf(request)),
    location: (facts, address) => locationOf(request) ?? base.location(facts, address),
    certificate: (facts, now) => certificateOf(request) ?? base.certificate(facts, now),
    identity(facts, now) {
      if (identity === undefined) return base.identity(facts, now);
      return readingOf(identityFact(identity, against, nowMs, application));
    },
    serviceCredentials(facts, header, serviceJwt, now) {
      return credentialsOf(request, against) ?? base.serviceCredentials(facts, header, serviceJwt, now);
    },
    secretHeaders: base.secretHeaders,
    posture: base.posture,
    transaction: base.transaction,
    // Kept by Postern itself where it runs; offline it is what the statement says.
    riskScore: (user) =>
      user?.riskScore === undefined && against.reads
        ? against.reads.riskScore(user)
        : { state: 'known', level: user?.riskScore },
    remembered: (user, context) =>
      statement.history === undefined && statement.machine === undefined && against.reads
        ? against.reads.remembered(user, context)
        : { history: historyFact(statement.history, context, against), machine: machineFact(statement) },
    evaluations:
      () =>
      ({ evaluateUrl }) => ({ verdict: evaluationOf(statement.evaluations?.[evaluateUrl]) }),
    riskEngine: (id, { identity: user }) => engineAnswer(statement, id, user, against),
    linkedToken(id, facts, now) {
      const { linked_tokens: linked } = request;
      if (linked === undefined) return base.linkedToken(id, facts, now);
      return linked.some((one) => named(against.set.applications, one)?.id === id) ? LINKED : NOT_LINKED;
    },
  };
}

const LINKED: LinkedTokenFact = Object.freeze({ verdict: 'met' });
const NOT_LINKED: LinkedTokenFact = Object.freeze({ verdict: 'unmet' });

function evaluationOf(answer: boolean | 'unavailable' | undefined): Evaluation['verdict'] {
  if (answer === undefined || answer === 'unavailable') return 'unavailable';
  return answer ? 'met' : 'unmet';
}

function addressOf({ client_ip: address }: StatedRequest): Address | undefined {
  return address === undefined || address === 'unknown' ? undefined : parseAddress(address);
}

/** Undefined: nothing is stated of it. */
function locationOf(request: StatedRequest): Location | undefined {
  const { country, city, isp, latitude, longitude, anonymous } = request;
  if ([country, city, isp, latitude, longitude, anonymous].every((value) => value === undefined)) return undefined;
  return {
    country: country === 'unknown' ? undefined : country,
    city,
    isp,
    latitude,
    longitude,
    anonymous: anonymous ?? country === TOR,
    source: country === undefined || country === 'unknown' ? 'none' : 'database',
  };
}

function certificateOf({ certificate }: StatedRequest): CertificateFact | undefined {
  if (certificate === undefined) return undefined;
  if (certificate === 'none') return NO_CERTIFICATE;
  if (certificate === 'unknown') return { state: 'unreadable', why: 'it is stated to be unreadable' };
  const {
    verified,
    common_name: name,
    client_usage: usage,
  } = certificate === 'verified' ? ({} as Partial<Exclude<typeof certificate, string>>) : certificate;
  return {
    state: 'present',
    verified: verified === false ? 'no' : 'yes',
    commonName: name === undefined ? { state: 'none' } : { state: 'one', value: name },
    uris: [],
    dnsNames: [],
    clientUsage: usage === false ? 'unfit' : 'fits',
    why: '',
  };
}

function credentialsOf(
  { service_token: written }: StatedRequest,
  { set }: StatedAgainst,
): ServiceCredentialsFact | undefined {
  if (written === undefined) return undefined;
  if (written === NONE) return NO_CREDENTIALS;
  const token = written === REFUSED ? undefined : serviceTokenOf(set, written);
  return token
    ? { state: 'valid', tokenId: token.id, name: token.name, clientId: token.client_id }
    : { state: 'refused', why: 'the credentials are stated to be refused' };
}

function serviceTokenOf(set: StatedAgainst['set'], written: string): PolicySet['serviceTokens'][number] | undefined {
  return named(set.serviceTokens, written) ?? set.serviceTokens.find((token) => token.client_id === written);
}

function readingOf(fact: IdentityFact): IdentityReading {
  return fact.state === 'nobody' ? NOTHING_READ : { fact, serviceJwt: undefined, sent: true };
}

/** Claims under the names that cases use, so that what is stated is read as a token is. */
const PATHS: ClaimPaths = {
  subject: ['subject'],
  email: ['email'],
  groups: ['groups'],
  amr: ['amr'],
  acr: ['acr'],
  auth_time: ['auth_time'],
  session: ['session'],
  country: ['country'],
  posture: ['posture'],
  risk_score: ['risk_score'],
  saml_attributes: ['saml_attributes'],
  oidc_claims: ['oidc_claims'],
  auth_contexts: ['auth_contexts'],
  account: ['accounts'],
  user_exists: ['user_exists'],
};

function mapped(
  stated: StatedIdentity,
  { providers, tokens }: Pick<StatedAgainst, 'providers' | 'tokens'>,
  timeMs: number,
  application: Pick<CompiledApplication, 'audiences'> | undefined,
): Extract<IdentityFact, { state: 'known' }>['identity'] {
  const [entry] = tokens.length === 1 ? tokens : [];
  const { auth_time: authTime, issued_at: issuedAt, provider: written, audiences, issuer, source, ...rest } = stated;
  const provider =
    written === undefined
      ? typeof entry?.provider === 'string'
        ? entry.provider
        : undefined
      : (named(providers, written)?.id ?? written.toLowerCase());
  const claims: Claims = {
    ...rest,
    iss: issuer ?? entry?.issuer,
    aud: audiences ?? [...(application?.audiences ?? []), ...(entry?.audiences ?? [])],
    iat: Math.floor((issuedAt ?? authTime ?? timeMs) / 1000),
    ...(authTime === undefined ? {} : { auth_time: authTime / 1000 }),
    oidc_claims: rest.oidc_claims ?? {},
  };
  return compileClaims({
    paths: PATHS,
    provider,
    providers,
    source: source ?? 'token',
    clockSkewSeconds: entry?.clock_skew_seconds ?? 30,
  })(claims);
}

function historyFact(
  stated: StatedHistory | undefined,
  context: EvaluationContext,
  against: StatedAgainst,
): HistoryFact {
  if (stated?.available === false) return { state: 'unavailable' };
  return {
    state: 'known',
    record: {
      last: stated?.last && {
        timeMs: stated.last.time,
        latitude: stated.last.latitude,
        longitude: stated.last.longitude,
      },
      places: (stated?.places ?? []).map((place): LearnedPlace => ({
        country: place.country,
        city: place.city,
        isp: place.isp,
        addressHash: networkOf(place.ip === undefined ? undefined : parseAddress(place.ip)) ?? '',
        private: place.country === undefined,
        firstMs: place.last,
        lastMs: place.last,
        count: place.count ?? 1,
      })),
      admitted: new Map(
        (stated?.admitted ?? []).map((one) => [named(against.set.applications, one)?.id ?? one, [THIS_EVENT]]),
      ),
      event: THIS_EVENT,
      eventKnown: false,
      addressHashes: [networkOf(context.address)].filter((network) => network !== undefined),
    },
  };
}

const THIS_EVENT = 'this authentication';

/** What addresses of one user are compared by: IPv4 whole, IPv6 by its /64. Never kept, so never hashed. */
function networkOf(address: Address | undefined): string | undefined {
  if (!address) return undefined;
  return address.family === 4 ? address.text : Buffer.from(address.bytes.subarray(0, 8)).toString('hex');
}

function machineFact({ machine }: Statement): MachineFact {
  if (!machine) return { state: 'absent', why: 'none is stated' };
  return machine.present ? { state: 'present', risk: machine.risk ?? 0 } : { state: 'absent', why: 'stated so' };
}

function engineAnswer({ engines }: Statement, id: string, user: Identity, { set }: StatedAgainst): EngineAnswer {
  const engine = set.riskEngines.find((one) => one.id === id);
  const stated = engine && (engines?.[engine.name] ?? engines?.[engine.id]);
  if (stated === undefined) return { state: 'failure', why: 'no answer is stated' };
  if (stated === 'FAILURE') return { state: 'failure', why: 'stated so' };
  const isOther = engine?.failOnUserMismatch === true && isAboutAnother(stated.userId, user);
  return { state: 'answered', riskScore: stated.riskScore, mismatch: stated.mismatch ?? isOther };
}

function named<T extends { readonly id: string; readonly name: string }>(
  objects: readonly T[],
  idOrName: string,
): T | undefined {
  return objects.find(({ id }) => id === idOrName.toLowerCase()) ?? objects.find(({ name }) => name === idOrName);
}
