/** The facts of one decision as plain JSON, and back: what a decision log keeps so that a request can be decided again,
 *  by the same policies or by others. No token, cookie, body or query is in it, and of the headers only what deciding
 *  itself reads. Hashes of addresses and of authentication events are replaced by numbers of their own, which are
 *  equal exactly where the hashes were. */
import { EvaluationContext } from '../model/context.ts';
import type { FactName, LinkedTokenFact } from '../model/context.ts';
import type { HistoryFact, HistoryRecord } from '../model/adaptive-facts.ts';
import type { Location, PostureFact } from '../model/facts.ts';
import type { Identity, IdentityFact } from '../model/identity.ts';
import type { Headers, SingleHeader } from '../model/request.ts';
import { parseAddress } from '../shared/address.ts';
import { z } from '../shared/shape.ts';
import type { AttributesRead } from './attributes.ts';
import { preflightHeaders } from './access.ts';
import type { CompiledApplication } from './compile.ts';

const VERDICT = z.enum(['met', 'unmet', 'no_identity', 'unavailable', 'not_stated']);

const IDENTITY = z.object({
  source: z.enum(['token', 'envoy_jwt_authn', 'headers']),
  issuer: z.string().optional(),
  audiences: z.array(z.string()),
  subject: z.string().optional(),
  email: z.string().optional(),
  provider: z.object({ id: z.string(), type: z.string().optional() }).optional(),
  groups: z.array(z.object({ id: z.string().optional(), name: z.string().optional(), email: z.string().optional() })),
  groups_incomplete: z.boolean(),
  amr: z.array(z.string()).optional(),
  acr: z.string().optional(),
  auth_time: z.number().optional(),
  issued_at: z.number().optional(),
  posture: z.array(z.tuple([z.string(), z.boolean()])).optional(),
  risk_score: z.union([z.string(), z.literal(false)]).optional(),
  saml_attributes: z.array(z.tuple([z.string(), z.json()])),
  oidc_claims: z.array(z.tuple([z.string(), z.json()])),
  auth_contexts: z.array(z.string()),
  accounts: z.array(z.string()),
  user_exists: z.boolean(),
  clock_skew_seconds: z.number(),
});

const HISTORY = z.union([
  z.object({ state: z.literal('unavailable') }),
  z.object({
    state: z.literal('known'),
    last: z.object({ time_ms: z.number(), latitude: z.number(), longitude: z.number() }).optional(),
    places: z.array(
      z.object({
        country: z.string().optional(),
        city: z.string().optional(),
        isp: z.string().optional(),
        address: z.string(),
        private: z.boolean(),
        first_ms: z.number(),
        last_ms: z.number(),
        count: z.number(),
      }),
    ),
    admitted: z.array(z.tuple([z.string(), z.array(z.string())])),
    event: z.string().optional(),
    event_known: z.boolean(),
    addresses: z.array(z.string()),
  }),
]);

const SHAPE = z
  .object({
    facts: z.array(z.string()).describe('Names of the facts that were gathered; what is not here is not known.'),
    time_ms: z.number().optional().describe('When the request came, by Envoy; absent: Envoy did not say.'),
    process_time_ms: z.number().describe('When it was decided.'),
    method: z.string(),
    host: z.string().describe('Canonical.'),
    path: z.string().describe('Canonical, without the query.'),
    headers: z
      .array(z.tuple([z.string(), z.object({ state: z.string(), value: z.string().optional() })]))
      .describe('Those that deciding reads: whether the request is a CORS preflight, and the acr hint.'),
    address: z.string().optional(),
    location: z
      .object({
        country: z.string().optional(),
        exit_country: z.string().optional(),
        city: z.string().optional(),
        isp: z.string().optional(),
        latitude: z.number().optional(),
        longitude: z.number().optional(),
        anonymous: z.boolean(),
        source: z.enum(['database', 'header', 'private', 'none']),
      })
      .optional(),
    certificate: z
      .union([
        z.object({ state: z.literal('unreadable'), why: z.string() }),
        z.object({
          state: z.literal('present'),
          verified: z.enum(['yes', 'no', 'unknown']),
          common_name: z.union([
            z.object({ state: z.literal('one'), value: z.string() }),
            z.object({ state: z.enum(['none', 'several', 'hidden']) }),
          ]),
          client_usage: z.enum(['fits', 'unfit', 'hidden']),
        }),
      ])
      .optional()
      .describe('Absent: none was presented.'),
    identity: z
      .union([
        z.object({ state: z.literal('nobody') }),
        z.object({ state: z.enum(['invalid', 'unavailable']), why: z.string() }),
        IDENTITY.extend({ state: z.literal('known') }),
      ])
      .optional(),
    service_credentials: z
      .union([
        z.object({ state: z.enum(['malformed', 'refused']), why: z.string() }),
        z.object({ state: z.literal('valid'), token_id: z.string() }),
      ])
      .optional()
      .describe('Absent: none were sent.'),
    posture: z
      .union([
        z.object({ state: z.literal('known'), entries: z.array(z.tuple([z.string(), z.boolean()])) }),
        z.object({ state: z.literal('unavailable'), why: z.string() }),
      ])
      .optional(),
    risk_score: z
      .union([
        z.object({ state: z.literal('known'), level: z.union([z.string(), z.literal(false)]).optional() }),
        z.object({ state: z.literal('unavailable'), why: z.string() }),
      ])
      .optional(),
    linked_tokens: z
      .array(
        z.object({
          application: z.string(),
          verdict: VERDICT,
          subject: z.string().optional(),
          email: z.string().optional(),
        }),
      )
      .optional(),
    evaluations: z.array(z.tuple([z.string(), VERDICT])).optional(),
    history: HISTORY.optional(),
    machine: z
      .union([
        z.object({ state: z.literal('unavailable') }),
        z.object({ state: z.literal('absent'), why: z.string() }),
        z.object({ state: z.literal('present'), risk: z.number() }),
      ])
      .optional(),
    transaction: z
      .array(
        z.tuple([
          z.string(),
          z.union([
            z.object({ state: z.literal('absent') }),
            z.object({ state: z.literal('unknown'), why: z.string() }),
            z.object({ state: z.literal('text'), value: z.string() }),
          ]),
        ]),
      )
      .optional(),
    engines: z
      .array(
        z.tuple([
          z.string(),
          z.union([
            z.object({ state: z.literal('failure'), why: z.string() }),
            z.object({ state: z.literal('disabled') }),
            z.object({ state: z.literal('answered'), risk_score: z.number(), mismatch: z.boolean() }),
          ]),
        ]),
      )
      .optional(),
  })
  .describe('The facts of a decision, so that it can be made again.');

export { SHAPE as replayShape };

/** The member of a decision-log line that holds them. */
export const REPLAY_KEY = 'replay';

/** The facts of one decision: JSON without undefined members once written. */
export type ReplayFacts = z.infer<typeof SHAPE>;

/** The JSON Schema of ReplayFacts, draft 7, for the schema of the decision log. */
export function replaySchema(): object {
  const { $schema: _draft, ...schema } = z.toJSONSchema(SHAPE, { target: 'draft-7' }) as Record<string, unknown>;
  return schema;
}

/** What a request to an application was decided by. `application` undefined: none covers the request, so that nothing
 *  was gathered. Pure; costs something, so only where a log asks for it. */
export function encodeFacts(context: EvaluationContext, application: CompiledApplication | undefined): ReplayFacts {
  const { request } = context;
  const facts = application?.needs.facts ?? NO_FACTS;
  const has = (...names: readonly FactName[]): boolean => names.some((name) => facts.has(name));
  const attributes = application?.attributesRead() ?? NO_ATTRIBUTES;
  const pseudonyms = new Pseudonyms();
  return {
    facts: [...facts],
    time_ms: request.timeMs,
    process_time_ms: context.processNowMs,
    method: request.method,
    host: request.host,
    path: request.path,
    headers: headersRead(context, application),
    address: context.address?.text,
    location: has('location', 'history') ? locationToJson(context.location) : undefined,
    certificate: has('certificate') ? certificateToJson(context.certificate) : undefined,
    identity: has('identity', 'service_token') ? identityToJson(context.identity, attributes) : undefined,
    service_credentials: has('service_token') ? credentialsToJson(context.serviceCredentials) : undefined,
    posture: has('posture') ? postureToJson(context.posture, attributes) : undefined,
    risk_score: has('risk_score') ? riskScoreToJson(context.riskScore) : undefined,
    linked_tokens: has('linked_token')
      ? [...context.linkedTokens].map(([id, { verdict, identity }]) => ({
          application: id,
          verdict,
          subject: identity?.subject,
          email: identity?.email,
        }))
      : undefined,
    evaluations: has('external_evaluation') ? [...context.evaluations] : undefined,
    history: has('history') ? historyToJson(context.history, pseudonyms) : undefined,
    machine: has('machine') ? context.machine : undefined,
    transaction: has('transaction') ? [...context.transaction] : undefined,
    engines: has('risk_engine')
      ? [...context.engines].map(([id, answer]) => [
          id,
          answer.state === 'answered'
            ? { state: answer.state, risk_score: answer.riskScore, mismatch: answer.mismatch }
            : answer,
        ])
      : undefined,
  };
}

/** The way back. `wrong`: it is not what `encodeFacts` gives; says where. */
export function decodeFacts(
  json: unknown,
): { readonly context: EvaluationContext; readonly facts: ReplayFacts } | { readonly wrong: string } {
  const read = SHAPE.safeParse(json);
  if (!read.success) {
    const [issue] = read.error.issues;
    return { wrong: `${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'not readable'}` };
  }
  const facts = read.data;
  const context = new EvaluationContext(
    {
      method: facts.method,
      host: facts.host,
      path: facts.path,
      query: undefined,
      target: facts.path,
      authority: facts.host,
      scheme: undefined,
      headers: recordedHeaders(facts.headers),
      timeMs: facts.time_ms,
      sourceAddress: undefined,
      principal: '',
      certificate: '',
      body: { state: 'absent' },
      metadata: () => undefined,
      streamId: '',
      protocol: '',
    },
    facts.process_time_ms,
  );
  context.address = facts.address === undefined ? undefined : parseAddress(facts.address);
  if (facts.location) context.location = locationFromJson(facts.location);
  if (facts.certificate) {
    const { certificate } = facts;
    context.certificate =
      certificate.state === 'present'
        ? {
            state: 'present',
            verified: certificate.verified,
            commonName: certificate.common_name,
            uris: [],
            dnsNames: [],
            clientUsage: certificate.client_usage,
            why: '',
          }
        : certificate;
  }
  if (facts.identity) context.identity = identityFromJson(facts.identity);
  if (facts.service_credentials) {
    const credentials = facts.service_credentials;
    context.serviceCredentials =
      credentials.state === 'valid'
        ? { state: 'valid', tokenId: credentials.token_id, name: '', clientId: '' }
        : credentials;
  }
  if (facts.posture)
    context.posture =
      facts.posture.state === 'known' ? { state: 'known', entries: entriesOf(facts.posture.entries) } : facts.posture;
  if (facts.risk_score)
    context.riskScore =
      facts.risk_score.state === 'known' ? { state: 'known', level: facts.risk_score.level } : facts.risk_score;
  if (facts.linked_tokens)
    context.linkedTokens = new Map(
      facts.linked_tokens.map(({ application, verdict, subject, email }): [string, LinkedTokenFact] => [
        application,
        subject === undefined && email === undefined ? { verdict } : { verdict, identity: { subject, email } },
      ]),
    );
  if (facts.evaluations) context.evaluations = new Map(facts.evaluations);
  if (facts.history) context.history = historyFromJson(facts.history);
  if (facts.machine) context.machine = facts.machine;
  if (facts.transaction) context.transaction = new Map(facts.transaction);
  if (facts.engines)
    context.engines = new Map(
      facts.engines.map(([id, answer]) => [
        id,
        answer.state === 'answered'
          ? { state: 'answered', riskScore: answer.risk_score, mismatch: answer.mismatch }
          : answer,
      ]),
    );
  return { context, facts };
}

/** What an application reads that a recording does not hold, in words; empty: it can be decided from it. A recording
 *  holds what the policies of its day read. */
export function missingFacts(facts: ReplayFacts, application: CompiledApplication): readonly string[] {
  const recorded = new Set(facts.facts);
  const missing: string[] = [...application.needs.facts].filter((name) => !recorded.has(name));
  const { identity } = facts;
  const read = application.attributesRead();
  if (identity?.state === 'known') {
    const claims = new Set(identity.oidc_claims.map(([name]) => name));
    for (const name of read.claims) if (!claims.has(name)) missing.push(`claim ${name}`);
    const attributes = new Set(identity.saml_attributes.map(([name]) => name));
    for (const name of read.attributes) if (!attributes.has(name)) missing.push(`attribute ${name}`);
  }
  const checks = new Set(
    [
      ...(identity?.state === 'known' ? (identity.posture ?? []) : []),
      ...(facts.posture?.state === 'known' ? facts.posture.entries : []),
    ].map(([uid]) => uid.toLowerCase()),
  );
  if (identity?.state === 'known' || facts.posture?.state === 'known')
    for (const uid of read.postureChecks) if (!checks.has(uid)) missing.push(`posture ${uid}`);
  const headers = new Set(facts.headers.map(([name]) => name));
  for (const name of headerNames(application)) if (!headers.has(name)) missing.push(`header ${name}`);
  const linked = new Set(facts.linked_tokens?.map(({ application: id }) => id));
  for (const id of application.needs.linkedTokens) if (!linked.has(id)) missing.push(`linked token of ${id}`);
  const evaluated = new Set(facts.evaluations?.map(([key]) => key));
  for (const { evaluateUrl, keysUrl } of application.needs.evaluations)
    if (!evaluated.has(`${evaluateUrl}\n${keysUrl}`)) missing.push(`evaluation by ${evaluateUrl}`);
  const engines = new Set(facts.engines?.map(([id]) => id));
  for (const id of application.needs.engines) if (!engines.has(id)) missing.push(`risk engine ${id}`);
  const details = new Set(facts.transaction?.map(([name]) => name));
  if (recorded.has('transaction'))
    for (const { name } of application.source.transaction) if (!details.has(name)) missing.push(`detail ${name}`);
  return [...new Set(missing)];
}

const NO_FACTS: ReadonlySet<FactName> = new Set<FactName>();
const NO_ATTRIBUTES: AttributesRead = { claims: new Set(), attributes: new Set(), postureChecks: new Set() };
const NO_ENTRIES: ReadonlyMap<string, unknown> = new Map<string, unknown>();
/** Whether they are there, and not what is in them. */
const PREFLIGHT_HEADERS: ReadonlySet<string> = new Set(preflightHeaders());
/** Longer than any level: whatever is longer is none. */
const LEVEL_MAX = 16;

/** Hashes by numbers, so that a log tells which are equal and nothing else. */
class Pseudonyms {
  readonly #numbers = new Map<string, string>();

  of(hash: string): string {
    const known = this.#numbers.get(hash);
    if (known !== undefined) return known;
    const number = String(this.#numbers.size);
    this.#numbers.set(hash, number);
    return number;
  }
}

/** Headers that deciding itself reads. */
function headerNames(application: CompiledApplication | undefined): readonly string[] {
  const hint = application?.adaptive?.acrHintHeader;
  const hintRead = hint !== undefined && application?.adaptive?.requestedAcrs.length === 0;
  return [...(application?.access.preflightBypass ? PREFLIGHT_HEADERS : []), ...(hintRead ? [hint] : [])];
}

function headersRead(
  { request }: EvaluationContext,
  application: CompiledApplication | undefined,
): ReplayFacts['headers'] {
  return headerNames(application).map((name) => {
    if (PREFLIGHT_HEADERS.has(name)) return [name, { state: request.headers.has(name) ? 'one' : 'absent' }];
    return [name, request.headers.single(name)];
  });
}

function recordedHeaders(recorded: ReplayFacts['headers']): Headers {
  const headers = new Map(recorded);
  const single = (name: string): SingleHeader => {
    const found = headers.get(name);
    if (found?.state === 'one') return { state: 'one', value: found.value ?? '' };
    return { state: found?.state === 'several' || found?.state === 'unreadable' ? found.state : 'absent' };
  };
  return {
    has: (name) => single(name).state !== 'absent',
    all(name) {
      const header = single(name);
      return header.state === 'one' ? [header.value] : [];
    },
    single,
    cookies: () => [],
    names: () => headers.keys(),
  };
}

function locationToJson(location: Location | undefined): ReplayFacts['location'] {
  if (!location) return undefined;
  const { exitCountry, ...rest } = location;
  return { ...rest, exit_country: exitCountry };
}

function locationFromJson({
  exit_country: exitCountry,
  country,
  city,
  isp,
  latitude,
  longitude,
  anonymous,
  source,
}: NonNullable<ReplayFacts['location']>): Location {
  return { country, exitCountry, city, isp, latitude, longitude, anonymous, source };
}

function certificateToJson(certificate: EvaluationContext['certificate']): ReplayFacts['certificate'] {
  switch (certificate.state) {
    case 'none':
      return undefined;
    case 'unreadable':
      return { state: 'unreadable', why: certificate.why };
    case 'present':
      return {
        state: 'present',
        verified: certificate.verified,
        common_name: certificate.commonName,
        client_usage: certificate.clientUsage,
      };
  }
}

function credentialsToJson(credentials: EvaluationContext['serviceCredentials']): ReplayFacts['service_credentials'] {
  switch (credentials.state) {
    case 'absent':
      return undefined;
    case 'valid':
      return { state: 'valid', token_id: credentials.tokenId };
    default:
      return { state: credentials.state, why: credentials.why };
  }
}

function identityToJson(fact: IdentityFact, read: AttributesRead): ReplayFacts['identity'] {
  if (fact.state === 'nobody') return { state: 'nobody' };
  if (fact.state !== 'known') return { state: fact.state, why: fact.why };
  const { identity } = fact;
  return {
    state: 'known',
    source: identity.source,
    issuer: identity.issuer,
    audiences: [...identity.audiences],
    subject: identity.subject,
    email: identity.email,
    provider: identity.provider,
    groups: identity.groups.map(({ id, name, email }) => ({ id, name, email })),
    groups_incomplete: identity.groupsIncomplete,
    amr: identity.amr && [...identity.amr],
    acr: identity.acr,
    auth_time: identity.authTime,
    issued_at: identity.issuedAt,
    posture: read.postureChecks.size === 0 ? undefined : passedChecks(identity.posture ?? NO_ENTRIES, read),
    risk_score: levelToJson(identity.riskScore),
    saml_attributes: named(identity.samlAttributes, read.attributes),
    oidc_claims: named(identity.oidcClaims, read.claims),
    auth_contexts: [...identity.authContexts],
    accounts: [...identity.accounts],
    user_exists: identity.userExists,
    clock_skew_seconds: identity.clockSkewSeconds,
  };
}

function identityFromJson(json: NonNullable<ReplayFacts['identity']>): IdentityFact {
  if (json.state !== 'known') return json;
  const identity: Identity = {
    source: json.source,
    issuer: json.issuer,
    audiences: json.audiences,
    subject: json.subject,
    email: json.email,
    name: undefined,
    provider: json.provider && { id: json.provider.id, type: json.provider.type },
    groups: json.groups.map(({ id, name, email }) => ({ id, name, email })),
    groupsIncomplete: json.groups_incomplete,
    amr: json.amr,
    acr: json.acr,
    authTime: json.auth_time,
    issuedAt: json.issued_at,
    expiresAt: undefined,
    session: undefined,
    tokenId: undefined,
    country: undefined,
    posture: json.posture && entriesOf(json.posture),
    riskScore: json.risk_score,
    samlAttributes: held(json.saml_attributes),
    oidcClaims: held(json.oidc_claims),
    hasOidcFields: true,
    authContexts: json.auth_contexts,
    accounts: json.accounts,
    userExists: json.user_exists,
    clockSkewSeconds: json.clock_skew_seconds,
  };
  return { state: 'known', identity };
}

/** Every name that rules ask for, with what is said of it; null: nothing, or nothing that a rule could be met by. */
function named(values: ReadonlyMap<string, unknown>, wanted: ReadonlySet<string>): [string, z.core.util.JSONType][] {
  return [...wanted].map((name) => [name, comparable(values.get(name))]);
}

/** Rules compare scalars and the scalars of a list; objects are never equal to anything. */
function comparable(value: unknown): z.core.util.JSONType {
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') return value;
  return Array.isArray(value) ? value.map((one) => (Array.isArray(one) ? null : comparable(one))) : null;
}

function held(entries: readonly (readonly [string, z.core.util.JSONType])[]): ReadonlyMap<string, unknown> {
  return new Map(entries.filter(([, value]) => value !== null));
}

function postureToJson(posture: PostureFact, read: AttributesRead): ReplayFacts['posture'] {
  switch (posture.state) {
    case 'identity':
      return undefined;
    case 'known':
      return { state: 'known', entries: passedChecks(posture.entries, read) };
    case 'unavailable':
      return { state: 'unavailable', why: posture.why };
  }
}

/** Every check that rules ask for, with whether it was passed. A uid that is no UUID is compared as it is written. */
function passedChecks(entries: ReadonlyMap<string, unknown>, read: AttributesRead): [string, boolean][] {
  const found = [...entries]
    .filter(([uid]) => read.postureChecks.has(uid.toLowerCase()))
    .map(([uid, entry]): [string, boolean] => [
      uid,
      typeof entry === 'object' && entry !== null && 'success' in entry && entry.success === true,
    ]);
  const there = new Set(found.map(([uid]) => uid.toLowerCase()));
  return [
    ...found,
    ...[...read.postureChecks].filter((uid) => !there.has(uid)).map((uid): [string, boolean] => [uid, false]),
  ];
}

function entriesOf(entries: readonly (readonly [string, boolean])[]): ReadonlyMap<string, unknown> {
  return new Map(entries.map(([uid, success]) => [uid, { success }]));
}

function riskScoreToJson(fact: EvaluationContext['riskScore']): ReplayFacts['risk_score'] {
  switch (fact.state) {
    case 'identity':
      return undefined;
    case 'known':
      return { state: 'known', level: levelToJson(fact.level) };
    case 'unavailable':
      return { state: 'unavailable', why: fact.why };
  }
}

/** `false`: something that is no level. */
function levelToJson(level: unknown): string | false | undefined {
  if (level === undefined || level === null) return undefined;
  return typeof level === 'string' && level.length <= LEVEL_MAX ? level : false;
}

function historyToJson(history: HistoryFact, pseudonyms: Pseudonyms): ReplayFacts['history'] {
  if (history.state === 'unavailable') return { state: 'unavailable' };
  const { record } = history;
  const hashed = (hash: string): string => pseudonyms.of(hash);
  return {
    state: 'known',
    last: record.last && {
      time_ms: record.last.timeMs,
      latitude: record.last.latitude,
      longitude: record.last.longitude,
    },
    places: record.places.map((place) => ({
      country: place.country,
      city: place.city,
      isp: place.isp,
      address: hashed(place.addressHash),
      private: place.private,
      first_ms: place.firstMs,
      last_ms: place.lastMs,
      count: place.count,
    })),
    admitted: [...record.admitted].map(([application, events]) => [application, events.map(hashed)]),
    event: record.event === undefined ? undefined : hashed(record.event),
    event_known: record.eventKnown,
    addresses: record.addressHashes.map(hashed),
  };
}

function historyFromJson(json: NonNullable<ReplayFacts['history']>): HistoryFact {
  if (json.state === 'unavailable') return json;
  const record: HistoryRecord = {
    last: json.last && { timeMs: json.last.time_ms, latitude: json.last.latitude, longitude: json.last.longitude },
    places: json.places.map((place) => ({
      country: place.country,
      city: place.city,
      isp: place.isp,
      addressHash: place.address,
      private: place.private,
      firstMs: place.first_ms,
      lastMs: place.last_ms,
      count: place.count,
    })),
    admitted: new Map(json.admitted),
    event: json.event,
    eventKnown: json.event_known,
    addressHashes: json.addresses,
  };
  return { state: 'known', record };
}
