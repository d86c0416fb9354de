/** The vectors of `test/vectors/resource-rules.json`, each through the part of Postern that it is about. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { answerFor, answerOptions } from '../../src/envoy/answer.ts';
import { noApplication } from '../../src/policy/engine.ts';
import { distanceKm } from '../../src/risk/haversine.ts';
import { levelOf, scoreOf } from '../../src/risk/score.ts';
import { dateTime } from '../../src/risk/date-time.ts';
import { ip } from '../../src/risk/ip.ts';
import { location } from '../../src/risk/location.ts';
import { locationHistory } from '../../src/risk/location-history.ts';
import { machine } from '../../src/risk/machine.ts';
import { transaction } from '../../src/risk/transaction.ts';
import { travelVelocity } from '../../src/risk/travel-velocity.ts';
import { addressOf, contextOf, inCountry, PLACE, requestFacts } from '../rules/contexts.ts';
import type { Facts } from '../rules/contexts.ts';
import { factorScopeOf, verdictOf } from '../risk/factors.ts';
import type { FactorScopeParts } from '../risk/factors.ts';
import { ask, contextFor, history, IDPS, ISSUER, protect } from './adaptive-parts.ts';
import type { Asking } from './adaptive-parts.ts';
import { decideAdaptive } from '../../src/policy/adaptive.ts';
import { load } from './loading.ts';

interface Vector {
  readonly id: string;
  readonly area: string;
  // What is given and expected differs from area to area; the file itself is the description.
  readonly given: Readonly<Record<string, never>>;
  readonly expect: Readonly<Record<string, unknown>>;
}

const FILE = JSON.parse(readFileSync(new URL('../vectors/resource-rules.json', import.meta.url), 'utf8')) as {
  readonly count: number;
  readonly earthRadiusKm: number;
  readonly tolerance: { readonly distanceKm: number; readonly velocityKmh: number };
  readonly vectors: readonly Vector[];
};

/** Writing through the admin API is told by the tests of that API. */
const OF_THE_ADMIN_API = ['AD-01', 'AD-02'];

type Run = (given: Given, expected: Readonly<Record<string, unknown>>) => void | Promise<void>;
type Given = Readonly<Record<string, unknown>> & {
  readonly contexts: readonly Factor[];
  readonly context: Readonly<Record<string, unknown>>;
  readonly now: string;
  readonly lowRiskThreshold: number;
  readonly mediumRiskThreshold: number;
};

interface Factor {
  readonly type: string;
  readonly riskPoint: number;
  readonly triggered: boolean;
  readonly denyAccess?: boolean;
}

const AREAS: Readonly<Record<string, Run>> = {
  score: ({ contexts, lowRiskThreshold, mediumRiskThreshold }, expected) => {
    const atRisk = total(contexts.filter(({ triggered }) => triggered));
    const sum = scoreOf('sum', atRisk, total(contexts));
    expect(sum).toBe(expected['scoreSum']);
    expect(scoreOf('percent', atRisk, total(contexts))).toBeCloseTo(Number(expected['scorePercent']), 9);
    const level = levelOf(sum, contexts.length > 0, lowRiskThreshold, mediumRiskThreshold);
    expect(level).toBe(expected['riskLevel']);
  },
  dateTime: ({ context, now }, expected) => {
    expect(verdictOf(dateTime, context, contextOf({}, { timeMs: Date.parse(now) }))).toBe(verdict(expected));
  },
  ip: ({ context, clientIp, ipLists }, expected) => {
    const lists = Object.entries((ipLists ?? {}) as Record<string, string[]>).map(([id, items]) => ({
      id,
      name: id,
      type: 'IP',
      items: items.map((value) => ({ value })),
      place: PLACE,
    }));
    const facts = contextOf({ address: addressOf(String(clientIp)) });
    const { context: read, judge } = ipOf(context, { lists });
    expect(judge(facts)).toBe(verdict(expected));
    expect(read.riskPoint).toBe(10);
  },
  location: ({ context, country, anonymous }, expected) => {
    const facts = inCountry(typeof country === 'string' ? country : undefined);
    const given = contextOf({ location: facts.location && { ...facts.location, anonymous: anonymous === true } });
    expect(verdictOf(location, context, given).replace('UNKNOWN, ', '')).toBe(verdict(expected));
  },
  locationHistory: (given, expected) => {
    const settings = given['settings'] as Record<string, number> & { readonly checkIp: boolean };
    const places = given['history'] as readonly Record<string, string>[];
    const current = given['current'] as Record<string, string>;
    const facts: Facts = {
      address: addressOf(current['ip'] ?? ''),
      location: {
        country: current['country'],
        city: current['city'],
        isp: current['isp'],
        latitude: undefined,
        longitude: undefined,
        anonymous: false,
        source: 'database',
      },
      ...history({
        addressHashes: [current['ip'] ?? ''],
        places: places.map((place) => ({
          country: place['country'],
          city: place['city'],
          isp: place['isp'],
          addressHash: place['ip'] ?? '',
          private: false,
          firstMs: Date.parse(place['lastSeen'] ?? ''),
          lastMs: Date.parse(place['lastSeen'] ?? ''),
          count: Number(place['count']),
        })),
      }),
    };
    const risk = {
      locations_max: settings['maxLocations'] ?? Number.NaN,
      location_lifetime_hours: settings['lifetimeHours'] ?? Number.NaN,
      location_trust_threshold: settings['trustThreshold'] ?? Number.NaN,
      location_check_ip: settings.checkIp,
      expected_locations: given['expectedLocations'] as readonly { readonly country: string }[],
    };
    const context = locationHistory.shape.parse({ riskPoint: 10 });
    const judge = locationHistory.compile(context, scopeWith(risk));
    expect(judge(contextOf(facts, { timeMs: Date.parse(given.now) }))).toBe(verdict(expected));
  },
  travelVelocity: (given, expected) => {
    const settings = {
      travel_velocity_max_kmh: Number(given['maxVelocityKmh']),
      travel_distance_min_km: Number(given['minDistanceKm']),
    };
    const { previous, current } = waypoints(given);
    if (previous && typeof expected['distanceKm'] === 'number') {
      const km = distanceKm(previous.lat, previous.lon, current.lat, current.lon);
      expect(Math.abs(km - expected['distanceKm'])).toBeLessThanOrEqual(FILE.tolerance.distanceKm);
      if (typeof expected['velocityKmh'] === 'number') {
        const hours = (Date.parse(current.time) - Date.parse(previous.time)) / 3_600_000;
        expect(Math.abs(km / hours - expected['velocityKmh'])).toBeLessThanOrEqual(FILE.tolerance.velocityKmh);
      }
    }
    const facts: Facts = {
      location: {
        country: undefined,
        city: undefined,
        isp: undefined,
        latitude: current.lat,
        longitude: current.lon,
        anonymous: false,
        source: 'database',
      },
      ...history({
        last: previous && { latitude: previous.lat, longitude: previous.lon, timeMs: Date.parse(previous.time) },
      }),
    };
    const context = contextOf(facts, { timeMs: Date.parse(current.time) });
    expect(verdictOf(travelVelocity, {}, context, { settings })).toBe(verdict(expected));
  },
  machine: ({ present, machineRisk, riskLimit }, expected) => {
    const fact =
      present === true
        ? { state: 'present' as const, risk: Number(machineRisk) }
        : { state: 'absent' as const, why: 'no cookie' };
    expect(verdictOf(machine, { riskLimit }, contextOf({ machine: fact }))).toBe(verdict(expected));
  },
  transaction: ({ transactionDetails, rules, riskLimit }, expected) => {
    const written = rules as readonly {
      item: string;
      type: 'String' | 'Numeric';
      operator: string;
      value: string | number;
      risk: number;
    }[];
    const details = transactionDetails as readonly { detail: string; value: string }[];
    const parts: FactorScopeParts = {
      transactionRules: written.map((rule) => ({
        id: rule.item,
        name: rule.item,
        item: rule.item,
        type: rule.type,
        operator: rule.operator,
        value: String(rule.value),
        required: false,
        default: undefined,
      })),
      transactionDetails: Object.fromEntries(written.map(({ item }) => [item, ['RBA' as const]])),
    };
    const facts = contextOf({
      transaction: new Map(details.map(({ detail, value }) => [detail, { state: 'text' as const, value }])),
    });
    const at = (limit: unknown): string => {
      const risks = written.map(({ item, risk }) => ({ transactionRuleId: item, riskPoint: risk }));
      return verdictOf(transaction, { name: 'payment', riskLimit: limit, transactionRuleRisks: risks }, facts, parts);
    };
    expect(at(riskLimit)).toBe(verdict(expected));
    // The points are those just not above which the limit must be.
    expect(at(expected['accumulated'])).toBe('NO_RISK');
    if (expected['accumulated'] !== 0) expect(at(Number(expected['accumulated']) - 1)).toBe('RISK');
  },
  acrFilter: ({ acrFilter, requestedAcrs, acrs }, expected) => {
    const names = acrs as readonly string[];
    const rule = { acrFilter, acrs: names.map((name) => ({ name })) };
    expect(applies(rule, { application: { requested_acrs: requestedAcrs }, acrs: names })).toBe(expected['applies']);
  },
  domainIdpFilter: ({ domainIdpFilter, userDomainIdp, domainIdps }, expected) => {
    const rule = {
      domainIdpFilter,
      domainIdps: (domainIdps as readonly string[]).map((one) => ({ id: domainIdp(one).id })),
    };
    const email = `ann@${domainIdp(userDomainIdp).domains[0]}`;
    expect(applies(rule, {}, { identity: { email } })).toBe(expected['applies']);
  },
  applies: ({ enabled, groups, userGroups }, expected) => {
    const named = groups as readonly string[];
    const member = userGroups as readonly string[];
    const verdicts = Object.fromEntries(
      named.map((name) => [name, member.includes(name) ? ('met' as const) : ('unmet' as const)]),
    );
    const rule = { enabled, groups: named.map((name) => ({ name })) };
    expect(applies(rule, { groups: verdicts })).toBe(expected['applies']);
  },
  combine: ({ applicableRules }, expected) => {
    const flows = [
      { name: 'F1', userLoginFirstStep: 'PASSWORD' },
      { name: 'F2', userLoginFirstStep: 'PASSKEY' },
    ];
    const applicable = applicableRules as readonly { result: string; strictAccess: boolean }[];
    const rules = applicable.map(({ result, strictAccess }) => ({
      strictAccess,
      lowRiskAuthenticationFlow: { name: result === 'DENY' ? 'Access Denied' : result },
    }));
    // An application that is protected, and of which no rule applies.
    const nothing = { enabled: false, lowRiskAuthenticationFlow: { name: 'Password' } };
    const compiled = protect({ rules: rules.length > 0 ? rules : [nothing], flows });
    if (expected['decision'] === 'DENY') {
      for (const amr of [['pwd'], ['hwk', 'pin']]) expect(ask(compiled, { amr }).outcome).toBe('deny');
      return;
    }
    expect(expected['decision']).toBe('ALLOW_IF_ANY_FLOW');
    const result = ask(compiled, { amr: [] });
    expect(result.outcome).toBe('step_up');
    expect(result.trace.alternatives.map(({ flow }) => flow)).toEqual(expected['flows']);
    for (const amr of [['pwd'], ['hwk', 'pin']]) expect(ask(compiled, { amr }).outcome).toBe('allow');
  },
  denyAccess: ({ contexts }, expected) => {
    const [denying, other] = contexts;
    const rule = {
      lowRiskAuthenticationFlow: { name: 'Password' },
      ipContext: { allowedIpRanges: ['192.0.2.0/24'], riskPoint: denying?.riskPoint, denyAccess: denying?.denyAccess },
      dateTimeContext: { startTime: '00:00:00', riskPoint: other?.riskPoint, denyAccess: other?.denyAccess },
    };
    const result = ask(protect({ rules: [rule] }), { facts: { address: addressOf('198.51.100.1') } });
    expect(result).toMatchObject({ outcome: 'deny', reason: 'risk_factor_denied', score: expected['scoreSum'] });
    expect(result.trace.rules[0]?.result).toBe(expected['ruleResult']);
  },
  flow: ({ highRiskFirstStep, highRiskSecondStep, riskLevel }, expected) => {
    const rule = {
      highRiskFirstStep,
      highRiskSecondStep,
      lowRiskThreshold: 0,
      mediumRiskThreshold: 0,
      ipContext: { allowedIpRanges: ['192.0.2.0/24'], riskPoint: 1 },
    };
    const result = ask(protect({ rules: [rule] }));
    expect(result).toMatchObject({ outcome: 'deny', reason: 'risk_level_denied', level: riskLevel });
    expect(result.trace.rules[0]?.result).toBe(expected['ruleResult']);
  },
  flowSatisfied: ({ firstStep, secondStep, token }, expected) => {
    const {
      amr,
      now,
      auth_time: authTime,
      maxAge,
      userExists,
      skipSecondFactorIfUserNotExist,
      riskLevel,
    } = token as {
      readonly amr: readonly string[];
      readonly now?: number;
      readonly auth_time?: number;
      readonly maxAge?: number;
      readonly userExists?: boolean;
      readonly skipSecondFactorIfUserNotExist?: boolean;
      readonly riskLevel?: string;
    };
    const flow = {
      name: 'F',
      userLoginFirstStep: firstStep,
      userLoginSecondStep: secondStep,
      ...(maxAge === undefined ? {} : { maxAge }),
    };
    const points = riskLevel === 'MEDIUM' ? 50 : 0;
    const rule = {
      ipContext: { allowedIpRanges: ['192.0.2.0/24'], riskPoint: points },
      lowRiskAuthenticationFlow: { name: 'F' },
      mediumRiskAuthenticationFlow: { name: 'F' },
      skipSecondFactorIfUserNotExist: skipSecondFactorIfUserNotExist ?? false,
    };
    const given = contextFor({ amr, identity: { userExists: userExists ?? true, authTime } });
    const context = contextOf({ identity: given.identity }, now === undefined ? {} : { timeMs: now * 1000 });
    const result = decideAdaptive(protect({ rules: [rule], flows: [flow] }), context);
    expect(result.outcome === 'allow').toBe(expected['satisfied']);
    expect(result.level).toBe(riskLevel ?? 'LOW');
  },
  response: ({ decision, acrValues, maxAge, client, method }, expected) => {
    const options = answerOptions({
      upstream: { headers: {}, remove: [], assertion: undefined },
      step_up: { realm: undefined },
      login: { url: 'https://login.example.com/' },
    });
    const isStepUp = decision === 'STEP_UP';
    const refused = {
      ...noApplication(),
      outcome: isStepUp ? ('step_up' as const) : ('unauthenticated' as const),
      reason: isStepUp ? ('step_up_required' as const) : ('not_authenticated' as const),
      loginMayHelp: !isStepUp,
      challenge: isStepUp
        ? {
            acrValues: (acrValues ?? []) as readonly string[],
            maxAgeSeconds: maxAge as number | undefined,
            onlyFreshness: false,
            promptLogin: false,
          }
        : undefined,
    };
    const headers = contextFor(client === 'browser' ? { headers: { 'sec-fetch-mode': 'navigate' } } : {}).request
      .headers;
    const request = requestFacts({ method: typeof method === 'string' ? method : 'GET', headers });
    const answer = answerFor(refused, request, options, { decisionId: 'd', revision: 'r' });
    if (answer.kind !== 'refusal') throw new Error('an allow');
    expect(answer.httpStatus).toBe(expected['status']);
    const challenge = answer.headers.find(([name]) => name === 'www-authenticate')?.[1];
    if (expected['wwwAuthenticate'] !== undefined) expect(challenge).toBe(expected['wwwAuthenticate']);
    expect(challenge).toMatch(/^Bearer/);
  },
  admin: async ({ body }, expected) => {
    // What the loader finds wrong is what the API refuses.
    const contexts = Array.from(
      { length: (body as { readonly transactionContexts: number }).transactionContexts },
      () => ({
        name: 'payment',
        riskPoint: 10,
        transactionRuleRisks: [{ transactionRuleId: 'total', riskPoint: 10 }],
      }),
    );
    const { faults } = await load({
      'policies/rules.json': JSON.stringify({ resource_rules: [{ transactionContexts: contexts }] }),
    });
    expect(faults.some(({ code }) => code === 'transaction_contexts_too_many')).toBe(expected['rejected']);
  },
};

describe('vectors', () => {
  it('are all here, and those left to other tests are known', () => {
    expect(FILE.vectors).toHaveLength(FILE.count);
    expect(new Set(FILE.vectors.map(({ id }) => id)).size).toBe(71);
    expect(FILE.vectors.filter(({ area }) => AREAS[area] === undefined)).toEqual([]);
    expect(FILE.vectors.map(({ id }) => id)).toEqual(expect.arrayContaining(OF_THE_ADMIN_API));
  });

  const here = FILE.vectors.filter(({ id }) => !OF_THE_ADMIN_API.includes(id));
  it.each(here.map((vector) => [vector.id, vector.area, vector] as const))('%s (%s)', async (_, area, vector) => {
    expect.hasAssertions();
    await AREAS[area]?.(vector.given as unknown as Given, vector.expect);
  });
});

function total(factors: readonly Factor[]): number {
  return factors.reduce((sum, { riskPoint }) => sum + riskPoint, 0);
}

function domainIdp(name: unknown): (typeof IDPS)['P1' | 'P2'] {
  return name === 'idp-a' ? IDPS.P1 : IDPS.P2;
}

function verdict(expected: Readonly<Record<string, unknown>>): string {
  return expected['risk'] === true ? 'RISK' : 'NO_RISK';
}

function ipOf(written: object, parts: FactorScopeParts) {
  const context = ip.shape.parse({ riskPoint: 10, ...written });
  return { context, judge: ip.compile(context, scopeWith({}, parts)) };
}

function scopeWith(settings: FactorScopeParts['settings'], parts: FactorScopeParts = {}) {
  return factorScopeOf({ ...parts, settings: settings ?? {} });
}

function applies(
  rule: Readonly<Record<string, unknown>>,
  more: Partial<Parameters<typeof protect>[0]>,
  asking: Asking = {},
): boolean {
  const compiled = protect({ ...more, rules: [{ lowRiskAuthenticationFlow: { name: 'Password' }, ...rule }] });
  const [trace] = ask(compiled, { ...asking, identity: { issuer: ISSUER, ...asking.identity } }).trace.rules;
  return trace?.applies === 'yes';
}

interface Waypoint {
  readonly lat: number;
  readonly lon: number;
  readonly time: string;
}

/** Places as given, or two that are as far apart as given. */
function waypoints(given: Given): { readonly previous: Waypoint | undefined; readonly current: Waypoint } {
  if (typeof given['distanceKm'] === 'number') {
    const degrees = given['distanceKm'] / ((Math.PI / 180) * FILE.earthRadiusKm);
    const start = Date.UTC(2026, 2, 5, 12);
    return {
      previous: { lat: 0, lon: 0, time: new Date(start).toISOString() },
      current: { lat: degrees, lon: 0, time: new Date(start + Number(given['elapsedSeconds']) * 1000).toISOString() },
    };
  }
  return {
    previous: (given['previous'] as Waypoint | null) ?? undefined,
    current: given['current'] as Waypoint,
  };
}
