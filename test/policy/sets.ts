/** Generated policy sets with every rule type and every risk factor, compiled without files, and requests to them. */
import * as fc from 'fast-check';
import type { EngineAnswer, HistoryRecord, MachineFact, TransactionDetail } from '../../src/model/adaptive-facts.ts';
import { EvaluationContext } from '../../src/model/context.ts';
import type { Fault } from '../../src/model/fault.ts';
import type { Headers, SingleHeader } from '../../src/model/request.ts';
import { compile } from '../../src/policy/compile.ts';
import type { CompiledSet } from '../../src/policy/compile.ts';
import { link } from '../../src/policy/link.ts';
import { createLookups } from '../../src/policy/lookups.ts';
import type { LinkSettings, Lookups } from '../../src/policy/lookups.ts';
import type { PolicySet } from '../../src/policy/objects.ts';
import { createPolicyReader } from '../../src/policy/read.ts';
import { ruleTypes } from '../../src/rules/registry.ts';
import { facts, IDS, VALUES } from '../rules/arbitrary.ts';
import { PROVIDERS, requestFacts } from '../rules/contexts.ts';
import { filesOf, SETTINGS } from './loading.ts';

export const APPLICATION = '9a4b2f0e-3f55-4a57-9b0e-000000000001';
export const HOST = 'orders.example.com';
/** A Wednesday. */
const NOW_MS = Date.UTC(2026, 2, 4, 14, 30);
const FILE = 'policies/test.json';

export interface CompiledTexts {
  readonly set: PolicySet;
  readonly lookups: Lookups;
  readonly compiled: CompiledSet;
  readonly text: string;
}

/** Settings under which generated sets are free of faults. `fromIdentity`: posture and risk scores come from the
 *  token. */
export function settingsOf(fromIdentity: boolean): LinkSettings {
  return {
    ...SETTINGS,
    identity: {
      ...SETTINGS.identity,
      providers: Object.values(PROVIDERS).map((one) => ({
        ...one,
        domains: one.type === 'okta' ? ['example.com'] : [],
      })),
    },
    admin: { accounts: ['account-1'], tokens: [] },
    external_evaluation: { allow_hosts: ['policy.example.com'] },
    posture: { from: fromIdentity ? 'token' : 'x-posture' },
    risk_scores: { from: fromIdentity ? 'token' : 'state' },
  };
}

/** Compiles what a policy file with this data in it holds. Throws where there is a fault. */
export async function compiledSet(data: unknown, settings: LinkSettings = SETTINGS): Promise<CompiledTexts> {
  const text = JSON.stringify(data, null, 1);
  const faults: Fault[] = [];
  const shaped = await createPolicyReader().read(filesOf({ [FILE]: text }));
  faults.push(...shaped.faults);
  const lookups = createLookups(shaped.set, settings);
  await link(shaped, lookups, (found) => faults.push(found), pause);
  const wrong = faults.filter(({ severity }) => severity === 'fault');
  if (wrong.length > 0)
    throw new Error(wrong.map((one) => `${one.place.path.join('.')} ${one.code}: ${one.text}`).join('\n'));
  const { risk: riskSettings, identity } = settings;
  const compiled = await compile(shaped.set, lookups, { settings: riskSettings, providers: identity.providers }, pause);
  return { set: shaped.set, lookups, compiled, text };
}

const connectionWords = [...ruleTypes.values()].filter(({ reads }) => reads === 'connection').map(({ word }) => word);

function rulesOf(words: readonly string[], maxLength: number, minLength = 0): fc.Arbitrary<readonly unknown[]> {
  const rule = fc
    .constantFrom(...words)
    .chain((word) => (VALUES[word] ?? fc.constant({})).map((value) => ({ [word]: value })));
  return fc.array(rule, { minLength, maxLength });
}

const allWords = [...ruleTypes.keys()];

const policy = fc.constantFrom('allow', 'allow', 'deny', 'non_identity', 'bypass').chain((decision) => {
  const words = decision === 'bypass' ? connectionWords : allWords;
  return fc.record({
    decision: fc.constant(decision),
    include: rulesOf(words, 5, 1),
    require: fc.oneof({ weight: 2, arbitrary: fc.constant([]) }, { weight: 1, arbitrary: rulesOf(words, 2) }),
    exclude: fc.oneof({ weight: 2, arbitrary: fc.constant([]) }, { weight: 1, arbitrary: rulesOf(words, 2) }),
    session_duration: fc.constantFrom(undefined, undefined, '1h'),
  });
});

const common = {
  riskPoint: fc.constantFrom(0, 20, 40, 100),
  denyAccess: fc.oneof({ weight: 5, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
};
const onUnknown = fc.constantFrom(undefined, undefined, 'RISK', 'NO_RISK', 'UNAVAILABLE');

/** Property of a resource rule → the context written there. */
export const CONTEXTS: Readonly<Record<string, fc.Arbitrary<unknown>>> = {
  dateTimeContext: fc.record({
    ...common,
    allowedTime: fc.boolean(),
    startTime: fc.constantFrom('08:00:00', '14:30:00', '20:00:00'),
    endTime: fc.constantFrom('06:00:00', '18:00:00'),
    weekDays: fc.constantFrom(undefined, ['Wed'], ['Sat', 'Sun']),
    zoneId: fc.constantFrom('UTC', 'America/Toronto'),
  }),
  ipContext: fc.record({
    ...common,
    onUnknown,
    allowedIpRanges: fc.constantFrom(['10.0.0.0/8'], ['192.0.2.0/24', '2001:db8::/32']),
  }),
  locationContext: fc.record({
    ...common,
    onUnknown,
    allowed: fc.boolean(),
    countryCodes: fc.constantFrom(['CA'], ['FR', 'US']),
    anonymousAllowed: fc.boolean(),
  }),
  locationHistoryContext: fc.record({ ...common, onUnknown }),
  travelVelocityContext: fc.record({ ...common, onUnknown }),
  machineContext: fc.record({ ...common, onUnknown, riskLimit: fc.constantFrom(undefined, 10) }),
  deviceCertificateContext: fc.record({ ...common, onUnknown }),
  transactionContexts: fc.array(
    fc.record({
      ...common,
      name: fc.constant('Money'),
      riskLimit: fc.constantFrom(0, 20),
      transactionRuleRisks: fc.constantFrom(
        [{ transactionRuleId: 'Large', riskPoint: 30 }],
        [
          { transactionRuleId: 'Large', riskPoint: 10 },
          { transactionRuleId: 'Foreign', riskPoint: 15 },
        ],
      ),
    }),
    { maxLength: 2 },
  ),
  riskEngineContexts: fc.array(
    fc.record({
      ...common,
      onUnknown,
      name: fc.constant('Engine'),
      riskLimit: fc.constantFrom(0, 20),
      transactionRuleRisks: fc.constantFrom(
        [{ transactionRuleId: 'High score', riskPoint: 30 }],
        [{ transactionRuleId: 'Engine fails', riskPoint: 30 }],
      ),
    }),
    { maxLength: 2 },
  ),
};

const flow = fc
  .constantFrom(
    'Password',
    'Password',
    'Passkey',
    'External',
    'Password and Second Factor',
    'Default Second Factor Only',
    'Domain-based IDP Only',
    'Recent',
    'Named',
    'Access Denied',
  )
  .map((name) => ({ name }));

const resourceRule = fc.record(
  {
    enabled: fc.constantFrom(true, true, true, false),
    groups: fc.constantFrom('All Groups', 'All Groups', 'staff', 'offices').map((name) => [{ name }]),
    acrFilter: fc.constantFrom('NA', 'NA', 'NONE', 'ANY', 'SPECIFIC'),
    acrs: fc.constant([{ name: 'phr' }]),
    domainIdpFilter: fc.constantFrom('NA', 'NA', 'NONE', 'ANY'),
    strictAccess: fc.constantFrom(false, false, true),
    disableSSO: fc.constantFrom(false, false, true),
    skipSecondFactorIfUserNotExist: fc.constant(false),
    lowRiskAuthenticationFlow: flow,
    mediumRiskAuthenticationFlow: flow,
    highRiskAuthenticationFlow: flow,
    ...CONTEXTS,
  },
  { requiredKeys: ['groups', 'enabled', 'lowRiskAuthenticationFlow'] },
);

/** What a policy file holds, as data, with the settings it is right under. */
export const policyData: fc.Arbitrary<{ readonly data: Record<string, unknown>; readonly fromIdentity: boolean }> = fc
  .record({
    fromIdentity: fc.boolean(),
    policies: fc.array(policy, { maxLength: 4 }),
    rules: fc.array(resourceRule, { maxLength: 3 }),
    application: fc.record(
      {
        requested_acrs: fc.constantFrom([], ['phr']),
        acr_hint_header: fc.constantFrom('x-acr', undefined),
        options_preflight_bypass: fc.boolean(),
        session_duration: fc.constantFrom('24h', undefined),
        allowed_idps: fc.constantFrom([], [PROVIDERS.OKTA.id, PROVIDERS.ENTRA.id]),
      },
      { requiredKeys: ['requested_acrs'] },
    ),
  })
  .map(({ fromIdentity, policies, rules, application }) => ({
    fromIdentity,
    data: {
      applications: [
        {
          id: APPLICATION,
          name: 'Orders',
          destinations: [HOST, `${HOST}/api`],
          ...application,
          policies: policies.map((one, index) => ({ name: `policy ${index}`, ...one })),
          transaction: { amount: { header: 'x-amount' }, currency: { header: 'x-currency' } },
        },
        ...IDS.map((id, index) => ({ id, name: `issuer ${index}`, aud: `aud-${index}` })),
      ],
      groups: [
        { id: uuid(1), name: 'offices', include: [{ ip: { ip: '10.0.0.0/8' } }, { geo: { country_code: 'CA' } }] },
        {
          id: uuid(2),
          name: 'staff',
          include: [{ email_domain: { domain: 'example.com' } }],
          exclude: [{ group: { id: 'offices' } }],
        },
      ],
      lists: [
        { id: IDS[0], name: 'mails', type: 'EMAIL', items: [{ value: 'Bob@example.com' }] },
        { id: IDS[1], name: 'blocks', type: 'IP', items: [{ value: '10.0.0.0/9' }] },
      ],
      service_tokens: IDS.map((id, index) => ({
        id,
        name: `token ${index}`,
        client_id: `client-${index}`,
        client_secret_sha256: 'a'.repeat(64),
      })),
      acrs: [{ id: uuid(3), name: 'phr' }],
      authentication_flows: [
        { id: uuid(4), name: 'Recent', userLoginFirstStep: 'PASSWORD', maxAge: 600 },
        {
          id: uuid(5),
          name: 'Named',
          userLoginFirstStep: 'PASSWORD',
          userLoginSecondStep: ['GRID'],
          acrValues: ['gold'],
        },
      ],
      transaction_rules: [
        { id: uuid(6), name: 'Large', item: 'amount', type: 'Numeric', operator: 'GREATER_THAN', value: 100 },
        { id: uuid(7), name: 'Foreign', item: 'currency', type: 'String', operator: 'NOT_EQUALS', value: 'CAD' },
      ],
      risk_engines: [
        {
          id: uuid(8),
          name: 'Engine',
          url: 'https://engine.example.com',
          company_id: 'c',
          risk_provider: 'p',
          identifier: 'i',
          rules: [
            { id: uuid(9), name: 'High score', item: 'Risk', operator: 'GREATER_THAN', value: 60 },
            { id: uuid(10), name: 'Engine fails', item: 'serviceStatus', operator: 'EQUALS', value: 'FAILURE' },
          ],
        },
      ],
      resource_rules: rules.map((one, index) => ({
        id: uuid(20 + index),
        name: `rule ${index}`,
        resourceId: APPLICATION,
        ...one,
      })),
    },
  }));

const history: fc.Arbitrary<HistoryRecord> = fc.record({
  last: fc.constantFrom(
    undefined,
    { timeMs: NOW_MS - 3_600_000, latitude: 45.5, longitude: -73.6 },
    { timeMs: NOW_MS - 60_000, latitude: 48.9, longitude: 2.35 },
  ),
  places: fc.array(
    fc.record({
      country: fc.constantFrom('CA', 'FR', undefined),
      city: fc.constantFrom(undefined, 'Ottawa'),
      isp: fc.constant(undefined),
      addressHash: fc.constantFrom('hash a', 'hash b'),
      private: fc.boolean(),
      firstMs: fc.constant(NOW_MS - 10_000_000),
      lastMs: fc.constant(NOW_MS - 1_000_000),
      count: fc.integer({ min: 1, max: 3 }),
    }),
    { maxLength: 3 },
  ),
  admitted: fc.constantFrom(new Map<string, readonly string[]>(), new Map([[APPLICATION, ['event 1']]])),
  event: fc.constantFrom('event 1', 'event 2', undefined),
  eventKnown: fc.boolean(),
  addressHashes: fc.constantFrom([], ['hash a'], ['hash c', 'hash b']),
});

const detail = fc.constantFrom<TransactionDetail>(
  { state: 'absent' },
  { state: 'unknown', why: 'sent twice' },
  { state: 'text', value: '50' },
  { state: 'text', value: '500' },
  { state: 'text', value: 'CAD' },
);

const engineAnswer = fc.constantFrom<EngineAnswer>(
  { state: 'failure', why: 'no answer' },
  { state: 'disabled' },
  { state: 'answered', riskScore: 12.5, mismatch: false },
  { state: 'answered', riskScore: 80, mismatch: false },
  { state: 'answered', riskScore: 1, mismatch: true },
);

/** A request with everything that could have been gathered for it. */
export const contexts: fc.Arbitrary<EvaluationContext> = fc
  .record({
    facts,
    amr: fc.constantFrom(undefined, [], ['pwd'], ['pwd'], ['pwd', 'otp'], ['hwk', 'pin'], ['pwd', 'grid']),
    acr: fc.constantFrom(undefined, undefined, 'phr', 'gold'),
    authTime: fc.constantFrom(undefined, NOW_MS / 1000 - 60, NOW_MS / 1000 - 4000),
    issuedAt: fc.constantFrom(undefined, NOW_MS / 1000 - 60, NOW_MS / 1000 - 4000),
    place: fc.constantFrom({}, { latitude: 45.5, longitude: -73.6, city: 'Ottawa' }, { anonymous: true }),
    history: fc.option(history, { nil: undefined }),
    machine: fc.constantFrom<MachineFact>(
      { state: 'unavailable' },
      { state: 'absent', why: 'no cookie' },
      { state: 'present', risk: 0 },
      { state: 'present', risk: 20 },
    ),
    transaction: fc.tuple(detail, detail),
    engine: engineAnswer,
    method: fc.constantFrom('GET', 'GET', 'POST', 'OPTIONS'),
    path: fc.constantFrom('/', '/api/v1'),
    headers: fc.constantFrom<Readonly<Record<string, SingleHeader>>>(
      {},
      { 'x-acr': { state: 'one', value: 'phr' } },
      { 'x-acr': { state: 'several' } },
      {
        origin: { state: 'one', value: 'https://a.example' },
        'access-control-request-method': { state: 'one', value: 'GET' },
      },
    ),
    timeMs: fc.constantFrom(NOW_MS, NOW_MS - 3_600_000 * 9, undefined),
  })
  .map((made) => {
    const request = requestFacts({
      host: HOST,
      method: made.method,
      path: made.path,
      timeMs: made.timeMs,
      headers: headersOf(made.headers),
    });
    const context = Object.assign(new EvaluationContext(request, NOW_MS), made.facts);
    if (context.location) context.location = { ...context.location, ...made.place };
    const { identity } = context;
    if (identity.state === 'known') {
      const { amr, acr, authTime, issuedAt } = made;
      context.identity = {
        state: 'known',
        identity: { ...identity.identity, amr: amr ?? identity.identity.amr, acr, authTime, issuedAt },
      };
    }
    context.history = made.history ? { state: 'known', record: made.history } : { state: 'unavailable' };
    context.machine = made.machine;
    context.transaction = new Map([
      ['amount', made.transaction[0]],
      ['currency', made.transaction[1]],
    ]);
    context.engines = new Map([[uuid(8), made.engine]]);
    return context;
  });

function headersOf(given: Readonly<Record<string, SingleHeader>>): Headers {
  const single = (name: string): SingleHeader => given[name] ?? { state: 'absent' };
  return {
    has: (name) => single(name).state !== 'absent',
    all(name) {
      const header = single(name);
      return header.state === 'one' ? [header.value] : [];
    },
    single,
    cookies: () => [],
    names: () => Object.keys(given),
  };
}

function uuid(n: number): string {
  return `eeeeeeee-0000-4000-8000-${n.toString(16).padStart(12, '0')}`;
}

async function pause(): Promise<void> {
  // Nothing waits in tests.
}
