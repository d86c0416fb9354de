/** Decisions, requests and settings of every kind, for the properties of answers. */
import * as fc from 'fast-check';
import { answerOptions } from '../../src/envoy/answer.ts';
import type { AnswerMoment, AnswerOptions, UpstreamField } from '../../src/envoy/answer.ts';
import { readRequest } from '../../src/envoy/request.ts';
import type { Challenge, Decision, Named, Reason } from '../../src/model/decision.ts';
import { REASONS } from '../../src/model/decision.ts';
import type { Identity } from '../../src/model/identity.ts';
import type { RequestFacts } from '../../src/model/request.ts';
import type { EmulatedRequest, HeaderLine } from './emulator.ts';
import { encodeRequest } from './official.ts';

export const DECISION: Decision = {
  outcome: 'allow',
  reason: 'policy_allowed',
  application: { id: 'a1', name: 'Orders' },
  policy: { id: 'p1', name: 'Engineers' },
  resourceRule: { id: 'r1', name: 'Orders, staff' },
  riskLevel: 'LOW',
  riskScore: 12.5,
  identity: undefined,
  linkedIdentity: undefined,
  challenge: undefined,
  loginMayHelp: false,
  tokenSent: false,
  cookies: [],
  why: '',
};

export const IDENTITY: Identity = {
  source: 'token',
  issuer: 'https://issuer.example',
  audiences: [],
  subject: 'ann',
  email: 'ann@example.com',
  name: 'Ann',
  provider: { id: '11111111-1111-1111-1111-111111111111', type: 'okta' },
  groups: [],
  groupsIncomplete: false,
  amr: undefined,
  acr: undefined,
  authTime: undefined,
  issuedAt: undefined,
  expiresAt: undefined,
  session: undefined,
  tokenId: undefined,
  country: undefined,
  posture: undefined,
  riskScore: undefined,
  samlAttributes: new Map(),
  oidcClaims: new Map(),
  hasOidcFields: false,
  authContexts: [],
  accounts: [],
  userExists: true,
  clockSkewSeconds: 30,
};

export const MOMENT: AnswerMoment = { decisionId: '01JBDECISION', revision: '0123456789ab' };

/** A request as Envoy tells it, and as it stands on the wire. */
export interface Pair {
  readonly facts: RequestFacts;
  readonly sent: EmulatedRequest;
}

export function request(headers: readonly HeaderLine[] = [], fields: object = {}): Pair {
  const http = { method: 'GET', path: '/a?b=1', host: 'orders.example.com', scheme: 'https', ...fields };
  const bytes = encodeRequest({
    attributes: {
      request: {
        http: {
          ...http,
          header_map: { headers: headers.map(([key, value]) => ({ key, raw_value: Buffer.from(value) })) },
        },
      },
    },
  });
  const facts = readRequest(bytes);
  if ('reason' in facts) throw new Error(facts.why);
  return { facts, sent: { method: http.method, headers } };
}

/** What the client sends under names that are ours. */
export const FORGED = 'forged-by-client';

const FIELDS: readonly UpstreamField[] = [
  'subject',
  'email',
  'name',
  'groups',
  'provider',
  'application',
  'policy',
  'resource_rule',
  'risk_level',
  'risk_score',
  'decision_id',
];

const NAMES = ['x-postern-user', 'x-postern-email', 'x_under_score', 'authorization', 'x-a', 'x-b', 'x-c'];

export function options(): fc.Arbitrary<AnswerOptions> {
  return fc
    .record({
      headers: fc.dictionary(fc.constantFrom(...NAMES), fc.constantFrom(...FIELDS), { maxKeys: 5 }),
      remove: fc.subarray(['cf-access-client-secret', 'x-gone', 'x-a']),
      assertion: fc.option(fc.constant({ header: 'x-postern-assertion' }), { nil: undefined }),
      realm: fc.constantFrom(undefined, 'postern', 'a "quoted" \\ realm'),
      url: fc.constantFrom(undefined, 'https://login.example.com/', 'https://login.example.com/?a=b#c'),
    })
    .map(({ headers, remove, assertion, realm, url }) =>
      answerOptions({
        upstream: { headers, remove: remove.filter((name) => !Object.hasOwn(headers, name)), assertion },
        step_up: { realm },
        login: { url },
      }),
    );
}

/** Text that a header can carry. */
const sendable = fc
  .string({ unit: 'grapheme', maxLength: 30 })
  .map((text) => text.replace(/[\u0000-\u001F\u007F]/g, ' '));
const named: fc.Arbitrary<Named> = fc.record({ id: fc.uuid(), name: sendable });

export function decisions(): fc.Arbitrary<Decision> {
  const maybe = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
    fc.option(arbitrary, { nil: undefined });
  return fc.record({
    outcome: fc.constantFrom('allow', 'unauthenticated', 'step_up', 'deny', 'bad_request', 'unavailable'),
    reason: fc.constantFrom(...(Object.keys(REASONS) as Reason[])),
    application: maybe(named),
    policy: maybe(named),
    resourceRule: maybe(named),
    riskLevel: fc.constantFrom(undefined, 'LOW', 'MEDIUM', 'HIGH'),
    riskScore: maybe(fc.integer({ min: 0, max: 100_000 }).map((hundredths) => hundredths / 100)),
    identity: maybe(identities()),
    linkedIdentity: maybe(fc.record({ subject: maybe(sendable), email: maybe(sendable) })),
    challenge: maybe(challenges()),
    loginMayHelp: fc.boolean(),
    tokenSent: fc.boolean(),
    cookies: fc.constantFrom([], ['m=1; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=7776000'], ['a=1', 'b=2']),
    why: fc.constant('why'),
  });
}

export function moments(): fc.Arbitrary<AnswerMoment> {
  return fc.record({
    decisionId: fc.constant(MOMENT.decisionId),
    revision: fc.constant(MOMENT.revision),
    assertion: fc.constantFrom(undefined, 'eyJhbGciOiJFZERTQSJ9.e30.c2ln'),
    portalLocation: fc.constantFrom(undefined, 'https://login.example.com/step-up?state=eyJ'),
    secretHeaders: fc.constantFrom(undefined, [], ['cf-access-client-secret', 'authorization']),
  });
}

/** Requests in which the client also sends every managed name, in several spellings. */
export function requests(made: AnswerOptions): fc.Arbitrary<Pair> {
  const spellings = [...made.managed].flatMap((name) => [
    name,
    name.toUpperCase(),
    name.replaceAll('-', '_'),
    name.replaceAll('_', '-'),
    name.replace('-', '_'),
  ]);
  return fc
    .record({
      method: fc.constantFrom('GET', 'HEAD', 'POST', 'OPTIONS'),
      path: fc.constantFrom('/', '/a?b=1', `/a?${'q'.repeat(3000)}`),
      forged: fc.subarray(spellings),
      kind: fc.constantFrom<readonly HeaderLine[]>(
        [],
        [['sec-fetch-mode', 'navigate']],
        [['accept', 'text/html,*/*;q=0.8']],
        [['content-type', 'application/grpc']],
        [['content-type', 'application/grpc+proto']],
        [['content-type', 'application/json']],
      ),
      origin: fc.constantFrom<readonly HeaderLine[]>([], [['origin', 'https://app.example']]),
    })
    .map(({ method, path, forged, kind, origin }) =>
      request([...forged.map((name): HeaderLine => [name, FORGED]), ...kind, ...origin, ['x-other', 'kept']], {
        method,
        path,
      }),
    );
}

function identities(): fc.Arbitrary<Identity> {
  const maybeText = fc.option(sendable, { nil: undefined });
  return fc
    .record({
      subject: maybeText,
      email: maybeText,
      name: maybeText,
      groups: fc.array(fc.record({ id: maybeText, name: maybeText, email: maybeText }), { maxLength: 4 }),
      provider: fc.option(fc.record({ id: sendable, type: fc.constant(undefined) }), { nil: undefined }),
    })
    .map((part) => ({ ...IDENTITY, ...part }));
}

function challenges(): fc.Arbitrary<Challenge> {
  return fc.record({
    acrValues: fc.subarray(['phr', 'loa3', 'loa4', 'urn:x:"y"\\']),
    maxAgeSeconds: fc.constantFrom(undefined, 0, 600),
    onlyFreshness: fc.boolean(),
    promptLogin: fc.boolean(),
  });
}
