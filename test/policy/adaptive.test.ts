import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decideAdaptive, requirementOf } from '../../src/policy/adaptive.ts';
import type { AdaptiveResult } from '../../src/policy/adaptive.ts';
import { EvaluationContext } from '../../src/model/context.ts';
import { from, inCountry, requestFacts } from '../rules/contexts.ts';
import { acrId, ask, contextFor, history, IDPS, NOW_MS, ORDERS, protect, ruleId } from './adaptive-parts.ts';
import type { Asking, Protection } from './adaptive-parts.ts';

const password = { lowRiskAuthenticationFlow: { name: 'Password' } };
const passkey = { lowRiskAuthenticationFlow: { name: 'Passkey' } };
const denies = { lowRiskAuthenticationFlow: { name: 'Access Denied' } };
/** At risk for every request in these tests, whose address is unknown; or not, as `onUnknown` says. */
const ipFactor = { allowedIpRanges: ['192.0.2.0/24'], riskPoint: 0 };
/** UNAVAILABLE, since nothing tells the address. */
const unavailable = { ...password, ipContext: { ...ipFactor, onUnknown: 'UNAVAILABLE' } };

function mentions(list: readonly (string | object)[]): readonly object[] {
  return list.map((one) => (typeof one === 'string' ? { name: one } : one));
}

/** A rule of so many points, with one flow at low and medium risk. */
function pointed(points: number, flow: string): Readonly<Record<string, unknown>> {
  return {
    ipContext: { ...ipFactor, riskPoint: points },
    lowRiskThreshold: 30,
    lowRiskAuthenticationFlow: { name: flow },
    mediumRiskAuthenticationFlow: { name: flow },
  };
}

function requirement(acrValues: readonly string[], maxAgeSeconds?: number): string {
  return requirementOf({ acrValues, maxAgeSeconds, onlyFreshness: false, promptLogin: false });
}

/** A result without the traces of rules. */
function withoutRules({ trace, ...rest }: AdaptiveResult): object {
  return { ...rest, alternatives: trace.alternatives };
}

function outcomeOf({ outcome, reason }: AdaptiveResult): string {
  return `${outcome} ${reason}`;
}

describe('which rules apply', () => {
  const yes = 'allow policy_allowed';
  const no = 'deny no_resource_rule';

  it.each([
    ['member of one of its groups', { groups: ['Nurses', 'Doctors'] }, {}, yes],
    ['member of none', { groups: ['Nurses'] }, {}, no],
    ['disabled', { enabled: false }, {}, no],
    ['everyone by id', { groups: [{ id: '00000000-0000-4000-8000-00000000a110' }] }, {}, yes],
    ['an acr requested, NONE', { acrFilter: 'NONE' }, { requested: ['loa3'] }, no],
    ['no acr, NONE', { acrFilter: 'NONE' }, {}, yes],
    ['an acr requested, ANY', { acrFilter: 'ANY' }, { requested: ['loa7'] }, yes],
    ['no acr, ANY', { acrFilter: 'ANY' }, {}, no],
    ['one of those listed', { acrFilter: 'SPECIFIC', acrs: [{ name: 'loa4' }] }, { requested: ['loa2', 'loa4'] }, yes],
    ['by id', { acrFilter: 'SPECIFIC', acrs: [{ id: acrId(0), name: 'x' }] }, { requested: ['loa4'] }, yes],
    ['letter case counts', { acrFilter: 'SPECIFIC', acrs: [{ name: 'loa4' }] }, { requested: ['LOA4'] }, no],
    ['an empty list never applies', { acrFilter: 'SPECIFIC', acrs: [] }, { requested: ['loa4'] }, no],
    ['read only when SPECIFIC', { acrFilter: 'NA', acrs: [{ name: 'loa4' }] }, {}, yes],
    ["the token's own acr plays no part", { acrFilter: 'NONE' }, { identity: { acr: 'loa4' } }, yes],
    ['no domain provider, NONE', { domainIdpFilter: 'NONE' }, {}, yes],
    ['a domain provider, NONE', { domainIdpFilter: 'NONE' }, { email: 'a@p1.example' }, no],
    ['a domain provider, ANY', { domainIdpFilter: 'ANY' }, { email: 'a@p1.example' }, yes],
    ['no domain provider, ANY', { domainIdpFilter: 'ANY' }, {}, no],
    ['no e-mail, ANY', { domainIdpFilter: 'ANY' }, { identity: { email: undefined } }, no],
    ['no sub-domains', { domainIdpFilter: 'ANY' }, { email: 'a@eu.p1.example' }, no],
    ['the last @ counts', { domainIdpFilter: 'ANY' }, { email: 'a@p1.example@other.example' }, no],
    ['one of those listed', { domainIdpFilter: 'SPECIFIC', domainIdps: ['P1', 'P3'] }, { email: 'a@p1.example' }, yes],
    ['another', { domainIdpFilter: 'SPECIFIC', domainIdps: ['P1'] }, { email: 'a@p3.example' }, no],
    ['none', { domainIdpFilter: 'SPECIFIC', domainIdps: ['P1'] }, {}, no],
    ['an empty list never applies', { domainIdpFilter: 'SPECIFIC', domainIdps: [] }, { email: 'a@p3.example' }, no],
    ['by id', { domainIdpFilter: 'SPECIFIC', domainIdps: [{ id: IDPS.P1.id }] }, { email: 'a@p1.example' }, yes],
    [
      'by another provider than the token',
      { domainIdpFilter: 'ANY' },
      { email: 'a@p1.example', identity: { provider: { id: IDPS.P2.id, type: 'oidc' } } },
      yes,
    ],
  ] as const)('%s: %j, %j: %s', (_, rule, asking, outcome) => {
    const { requested = [], email, identity } = asking as { requested?: string[]; email?: string; identity?: object };
    const written = {
      ...password,
      ...rule,
      ...('groups' in rule ? { groups: mentions(rule.groups) } : {}),
      ...('domainIdps' in rule ? { domainIdps: mentions(rule.domainIdps) } : {}),
    };
    const compiled = protect({
      rules: [written],
      acrs: ['loa4'],
      application: { requested_acrs: requested },
      groups: { Nurses: 'unmet', Doctors: 'met' },
    });
    const result = ask(compiled, { identity: { ...(email === undefined ? {} : { email }), ...identity } });
    expect(outcomeOf(result)).toBe(outcome);
  });

  it.each([
    [{ enabled: false }, 'disabled'],
    [{ acrFilter: 'ANY' }, 'acr_filter'],
    [{ domainIdpFilter: 'ANY' }, 'domain_idp_filter'],
    [{ groups: [{ name: 'Nurses' }] }, 'groups'],
  ])('says why not: %j: %s', (rule, whyNot) => {
    const compiled = protect({ rules: [{ ...password, ...rule, ipContext: ipFactor }], groups: { Nurses: 'unmet' } });
    const [trace] = ask(compiled).trace.rules;
    expect(trace).toMatchObject({ applies: 'no', whyNot, factors: [], result: undefined });
  });
});

describe('the acrs that a request asks for', () => {
  const specific = { ...password, acrFilter: 'SPECIFIC', acrs: [{ name: 'loa4' }] };
  const hinting = { acr_hint_header: 'X-Acr' };
  it.each([
    ['the hint', hinting, { 'x-acr': 'loa2 loa4' }, 'allow'],
    ['spaces around', hinting, { 'x-acr': '  loa4  ' }, 'allow'],
    ['another hint', hinting, { 'x-acr': 'loa2' }, 'deny'],
    ['no hint', hinting, {}, 'deny'],
    ['an empty hint', hinting, { 'x-acr': '' }, 'deny'],
    ["the application's list wins", { ...hinting, requested_acrs: ['loa2'] }, { 'x-acr': 'loa4' }, 'deny'],
    [
      "the application's list wins over a bad hint",
      { ...hinting, requested_acrs: ['loa4'] },
      { 'x-acr': 'é' },
      'allow',
    ],
    ['no hint is read without the setting', {}, { 'x-acr': 'loa4' }, 'deny'],
    ['ten values', hinting, { 'x-acr': `${'x '.repeat(9)}loa4` }, 'allow'],
    ['eleven values', hinting, { 'x-acr': `${'x '.repeat(10)}loa4` }, 'bad_request'],
    ['255 characters', hinting, { 'x-acr': `loa4 ${'x'.repeat(255)}` }, 'allow'],
    ['256 characters', hinting, { 'x-acr': `loa4 ${'x'.repeat(256)}` }, 'bad_request'],
    ['not ASCII', hinting, { 'x-acr': 'loa4 é' }, 'bad_request'],
    ['a tab', hinting, { 'x-acr': 'loa4\tx' }, 'bad_request'],
    ['sent twice', hinting, { 'x-acr': ['loa4', 'loa4'] }, 'bad_request'],
    ['unreadable', hinting, { 'x-acr': 'loa4\uFFFD' }, 'bad_request'],
  ] as const)('%s', (_, application, headers, outcome) => {
    const result = ask(protect({ rules: [specific], acrs: ['loa4'], application }), { headers });
    expect(result.outcome).toBe(outcome);
    if (outcome === 'bad_request') expect(result.reason).toBe('request_malformed');
  });
});

describe('a group of which it is not known whether the user is in it', () => {
  const visitors = { groups: [{ name: 'Visitors' }] };
  const doctors = { groups: [{ name: 'Doctors' }] };
  it.each([
    ['unavailable', [{ ...visitors, ...password }], 'unavailable fact_unavailable'],
    ['unavailable', [{ ...visitors, ...password }, password], 'allow policy_allowed'],
    ['unavailable', [{ ...visitors, ...denies }, password], 'allow policy_allowed'],
    ['unavailable', [{ ...visitors, ...denies, strictAccess: true }, password], 'unavailable fact_unavailable'],
    ['unavailable', [{ ...visitors, ...password, strictAccess: true }, password], 'allow policy_allowed'],
    ['unavailable', [{ ...visitors, ...unavailable, strictAccess: true }, password], 'unavailable fact_unavailable'],
    ['unavailable', [{ ...visitors, ...password }, denies], 'unavailable fact_unavailable'],
    [
      'unavailable',
      [
        { ...visitors, ...password },
        { ...denies, strictAccess: true },
      ],
      'deny risk_level_denied',
    ],
    ['no_identity', [{ ...visitors, ...password }], 'unavailable fact_unavailable'],
    ['not_stated', [{ ...visitors, ...password }], 'deny no_resource_rule'],
    ['not_stated', [{ ...visitors, ...denies }, password], 'allow policy_allowed'],
    ['not_stated', [{ ...visitors, ...denies, strictAccess: true }, password], 'deny risk_level_denied'],
    ['not_stated', [{ ...visitors, ...password, strictAccess: true }, password], 'allow policy_allowed'],
    ['not_stated', [{ ...visitors, ...unavailable, strictAccess: true }, password], 'unavailable fact_unavailable'],
    ['not_stated', [{ ...visitors, ...unavailable }, password], 'allow policy_allowed'],
    ['unavailable', [{ groups: [...visitors.groups, ...doctors.groups], ...password }], 'allow policy_allowed'],
  ] as const)('%s: %j: %s', (verdict, rules, outcome) => {
    const compiled = protect({ rules, groups: { Visitors: verdict, Doctors: 'met' } });
    expect(outcomeOf(ask(compiled))).toBe(outcome);
  });

  it('is told apart in the trace, with its factors', () => {
    const compiled = protect({
      rules: [{ ...visitors, ...password, ipContext: ipFactor }],
      groups: { Visitors: 'not_stated' },
    });
    expect(ask(compiled).trace.rules).toMatchObject([
      { applies: 'unknown', whyNot: 'groups_unknown', factors: [{ name: 'ip', verdict: 'RISK', unknown: true }] },
    ]);
  });
});

describe('score, level and result of one rule', () => {
  const levels = {
    lowRiskAuthenticationFlow: { name: 'Password' },
    mediumRiskAuthenticationFlow: { name: 'Password and Second Factor' },
    highRiskAuthenticationFlow: { name: 'Access Denied' },
  };
  const inside = { allowedIpRanges: ['192.0.2.0/24'] };
  const canada = { allowed: true, countryCodes: ['CA'] };
  const morning = { startTime: '08:00:00', endTime: '12:00:00' };
  const facts = { ...from('198.51.100.1'), ...inCountry('CA') };

  it.each([
    ['no factor', {}, ['pwd'], 'allow', 'LOW', 0],
    ['not at risk', { locationContext: { ...canada, riskPoint: 100 } }, ['pwd'], 'allow', 'LOW', 0],
    ['below low', { ipContext: { ...inside, riskPoint: 29 } }, ['pwd'], 'allow', 'LOW', 29],
    ['at low', { ipContext: { ...inside, riskPoint: 30 } }, ['pwd'], 'step_up', 'MEDIUM', 30],
    ['at low, strong', { ipContext: { ...inside, riskPoint: 30 } }, ['pwd', 'otp'], 'allow', 'MEDIUM', 30],
    [
      'several add up',
      { ipContext: { ...inside, riskPoint: 30 }, dateTimeContext: { ...morning, riskPoint: 39 } },
      ['pwd', 'otp'],
      'allow',
      'MEDIUM',
      69,
    ],
    [
      'at medium',
      { ipContext: { ...inside, riskPoint: 30 }, dateTimeContext: { ...morning, riskPoint: 40 } },
      ['pwd', 'otp'],
      'deny',
      'HIGH',
      70,
    ],
    [
      'above 100',
      { ipContext: { ...inside, riskPoint: 100 }, dateTimeContext: { ...morning, riskPoint: 100 } },
      ['pwd'],
      'deny',
      'HIGH',
      200,
    ],
  ] as const)('%s', (_, rule, amr, outcome, level, score) => {
    const result = ask(protect({ rules: [{ ...levels, ...rule }] }), { amr, facts });
    expect(result).toMatchObject({ outcome, level, score });
    if (outcome === 'deny') expect(result.reason).toBe('risk_level_denied');
  });

  it('as a percentage, shown with two decimals', () => {
    const rule = { ...levels, ipContext: { ...inside, riskPoint: 1 }, locationContext: { ...canada, riskPoint: 2 } };
    const result = ask(protect({ rules: [rule], settings: { score: 'percent' } }), { facts });
    expect(result).toMatchObject({ outcome: 'step_up', level: 'MEDIUM', score: 33.33 });
  });

  it.each([
    ['a factor at risk that denies', { ...inside, riskPoint: 2, denyAccess: true }, facts, 'deny risk_factor_denied'],
    [
      'one that denies and is not at risk',
      { ...inside, riskPoint: 2, denyAccess: true },
      from('192.0.2.1'),
      'allow policy_allowed',
    ],
    ['one that denies and is unknown', { ...inside, riskPoint: 2, denyAccess: true }, {}, 'deny risk_factor_denied'],
    [
      'unknown that counts as no risk',
      { ...inside, riskPoint: 2, denyAccess: true, onUnknown: 'NO_RISK' },
      {},
      'allow policy_allowed',
    ],
    [
      'unknown that makes it unavailable',
      { ...inside, riskPoint: 2, denyAccess: true, onUnknown: 'UNAVAILABLE' },
      {},
      'unavailable fact_unavailable',
    ],
  ] as const)('%s', (_, ipContext, given, outcome) => {
    const result = ask(protect({ rules: [{ ...levels, ipContext }] }), { facts: given });
    expect(outcomeOf(result)).toBe(outcome);
    if (result.outcome === 'deny') expect(result).toMatchObject({ level: 'LOW', score: 2 });
  });

  it('another factor denies whatever is unavailable', () => {
    const rule = {
      ...levels,
      ipContext: { ...inside, riskPoint: 2, onUnknown: 'UNAVAILABLE' },
      locationContext: { ...canada, riskPoint: 1, denyAccess: true },
    };
    expect(outcomeOf(ask(protect({ rules: [rule] }), { facts: inCountry('FR') }))).toBe('deny risk_factor_denied');
    expect(outcomeOf(ask(protect({ rules: [rule] }), { facts: inCountry('CA') }))).toBe('unavailable fact_unavailable');
  });

  it.each([
    [
      'the factor',
      {
        ipContext: { ...inside, riskPoint: 2, denyAccess: true },
        locationContext: { ...canada, riskPoint: 1, denyAccess: true },
      },
      'resource rule rule 0: ip at risk denies',
    ],
    [
      'the flow',
      { lowRiskAuthenticationFlow: { name: 'Access Denied' } },
      'resource rule rule 0: level LOW has the flow Access Denied',
    ],
    [
      'that there is none',
      {
        lowRiskThreshold: 0,
        mediumRiskThreshold: 0,
        highRiskAuthenticationFlow: undefined,
        ipContext: { ...inside, riskPoint: 2 },
      },
      'resource rule rule 0: level HIGH has no flow',
    ],
    [
      'the fact that failed',
      { ipContext: { ...inside, riskPoint: 2, onUnknown: 'UNAVAILABLE' } },
      'resource rule rule 0: a fact of a risk factor could not be had',
    ],
    [
      'the group that is unknown',
      { groups: [{ name: 'Visitors' }] },
      'resource rule rule 0: a fact of its groups could not be had',
    ],
  ])('the log is told %s', (_, rule, why) => {
    const { highRiskAuthenticationFlow: _high, ...lower } = levels;
    const written = JSON.parse(JSON.stringify({ ...lower, ...rule })) as Readonly<Record<string, unknown>>;
    const compiled = protect({ rules: [written], groups: { Visitors: 'unavailable' } });
    const unknown = why.includes('of a risk factor');
    expect(ask(compiled, { facts: unknown ? {} : facts }).why).toBe(why);
  });

  it('a level without a flow denies', () => {
    const rule = { ...password, ipContext: { ...inside, riskPoint: 50 } };
    expect(ask(protect({ rules: [rule] }), { facts })).toMatchObject({
      reason: 'risk_level_denied',
      level: 'MEDIUM',
      score: 50,
    });
  });

  it('every factor is judged, though one denies', () => {
    const rule = {
      ...levels,
      dateTimeContext: { ...morning, riskPoint: 5, denyAccess: true },
      ipContext: { ...inside, riskPoint: 10 },
      locationContext: { ...canada, riskPoint: 20, onUnknown: 'UNAVAILABLE' },
      locationHistoryContext: { riskPoint: 7 },
      travelVelocityContext: { riskPoint: 8 },
    };
    const context = contextFor({ facts: from('192.0.2.1') });
    const { trace } = decideAdaptive(protect({ rules: [rule] }), context);
    expect(trace.rules).toMatchObject([
      {
        rule: { id: ruleId('0'), name: 'rule 0' },
        applies: 'yes',
        factors: [
          { name: 'dateTime', verdict: 'RISK', unknown: false, points: 5, deny: true },
          { name: 'ip', verdict: 'NO_RISK', unknown: false, points: 10, deny: false },
          { name: 'location', verdict: 'UNAVAILABLE', unknown: true, points: 20, deny: false },
          { name: 'locationHistory', verdict: 'RISK', unknown: true, points: 7, deny: false },
          { name: 'travelVelocity', verdict: 'NO_RISK', unknown: true, points: 8, deny: false },
        ],
        score: 12,
        level: 'LOW',
        flow: 'Password',
        result: 'DENY',
      },
    ]);
    expect(trace.rules[0]?.factors[1]?.seen(context)).toBe('address 192.0.2.1');
  });
});

describe('several rules', () => {
  const second = { lowRiskAuthenticationFlow: { name: 'Password and Second Factor' } };
  const strict = { strictAccess: true };
  it.each([
    ['A allows, B denies', [password, denies], 'allow policy_allowed', 'rule 0'],
    ['A allows, B denies strictly', [password, { ...denies, ...strict }], 'deny risk_level_denied', 'rule 1'],
    ['all deny', [denies, denies, denies], 'deny risk_level_denied', 'rule 0'],
    ['all deny, one strictly', [denies, { ...denies, ...strict }, denies], 'deny risk_level_denied', 'rule 1'],
    [
      'two strict ones',
      [denies, { ...denies, ...strict }, { ...denies, ...strict }],
      'deny risk_level_denied',
      'rule 1',
    ],
    ['A unavailable, B allows', [unavailable, password], 'allow policy_allowed', 'rule 1'],
    [
      'A strict and unavailable, B allows',
      [{ ...unavailable, ...strict }, password],
      'unavailable fact_unavailable',
      'rule 0',
    ],
    ['A unavailable, B denies', [unavailable, denies], 'unavailable fact_unavailable', 'rule 0'],
    [
      'strict deny before strict unavailable',
      [
        { ...unavailable, ...strict },
        { ...denies, ...strict },
      ],
      'deny risk_level_denied',
      'rule 1',
    ],
    [
      'strict on an allowing rule changes nothing',
      [{ ...passkey, ...strict }, password],
      'allow policy_allowed',
      'rule 1',
    ],
    ['either flow will do', [passkey, password], 'allow policy_allowed', 'rule 1'],
    ['neither is met', [passkey, second], 'step_up step_up_required', 'rule 0'],
  ] as const)('%s', (_, rules, outcome, rule) => {
    const result = ask(protect({ rules }));
    expect(outcomeOf(result)).toBe(outcome);
    expect(result.rule?.name).toBe(rule);
  });

  it('alternatives come by assurance, then level, score and id', () => {
    const compiled = protect({
      rules: [
        { ...pointed(40, 'Passkey'), id: 'a', name: 'medium passkey' },
        { ...pointed(10, 'Passkey'), id: 'c', name: 'low passkey, 10' },
        { ...pointed(5, 'Passkey'), id: 'd', name: 'low passkey, 5' },
        { ...pointed(5, 'Password and Second Factor'), id: 'b', name: 'low second factor, 5' },
        { ...pointed(60, 'External'), id: 'e', name: 'external' },
      ],
    });
    const result = ask(compiled);
    expect(result.trace.alternatives.map(({ rule }) => rule.name)).toEqual([
      'external',
      'low second factor, 5',
      'low passkey, 5',
      'low passkey, 10',
      'medium passkey',
    ]);
    // The order in which rules are written plays no part.
    expect(result.trace.rules.map(({ rule }) => rule.name)).toEqual([
      'medium passkey',
      'low second factor, 5',
      'low passkey, 10',
      'low passkey, 5',
      'external',
    ]);
    expect(result).toMatchObject({ outcome: 'step_up', rule: { name: 'external' }, level: 'MEDIUM', score: 60 });
    const strong = ask(compiled, { amr: ['hwk', 'pin'] });
    expect(strong).toMatchObject({ outcome: 'allow', rule: { name: 'low passkey, 5' }, level: 'LOW', score: 5 });
    expect(strong.trace.alternatives.map(({ satisfied }) => satisfied)).toEqual([false, false, true, true, true]);
  });

  it('of two rules alike up to assurance, the lower level is asked for', () => {
    const medium = {
      ipContext: { ...ipFactor, riskPoint: 40 },
      mediumRiskAuthenticationFlow: { name: 'Password and Second Factor' },
    };
    const result = ask(protect({ rules: [medium, passkey] }));
    expect(result).toMatchObject({ rule: { name: 'rule 1' }, challenge: { acrValues: ['phr'] } });
  });
});

describe('a step-up', () => {
  const slow = { name: 'Recent', userLoginFirstStep: 'PASSWORD', maxAge: 1200 };
  it.each([
    [
      'a stronger method',
      passkey,
      {},
      { acrValues: ['phr'], maxAgeSeconds: undefined, onlyFreshness: false, promptLogin: false },
    ],
    [
      'two factors',
      { lowRiskAuthenticationFlow: { name: 'Password and Second Factor' } },
      {},
      { acrValues: ['mfa'], maxAgeSeconds: undefined, onlyFreshness: false, promptLogin: false },
    ],
    [
      'a recent login',
      { lowRiskAuthenticationFlow: { name: 'Recent' } },
      { authTime: NOW_MS / 1000 - 1201 },
      { acrValues: [], maxAgeSeconds: 1200, onlyFreshness: true, promptLogin: false },
    ],
    [
      'another and recent one',
      { lowRiskAuthenticationFlow: { name: 'Recent' } },
      { amr: [], authTime: NOW_MS / 1000 - 1201 },
      { acrValues: [], maxAgeSeconds: 1200, onlyFreshness: false, promptLogin: false },
    ],
    [
      'a login for this application',
      { ...password, disableSSO: true },
      { authTime: NOW_MS / 1000 - 301 },
      { acrValues: [], maxAgeSeconds: 300, onlyFreshness: true, promptLogin: true },
    ],
    [
      'a stronger login for this application',
      { ...passkey, disableSSO: true },
      { authTime: NOW_MS / 1000 - 301 },
      { acrValues: ['phr'], maxAgeSeconds: 300, onlyFreshness: false, promptLogin: true },
    ],
    [
      'a stronger login, this one young enough',
      { ...passkey, disableSSO: true },
      {},
      { acrValues: ['phr'], maxAgeSeconds: 300, onlyFreshness: false, promptLogin: false },
    ],
  ] as const)('asks for %s', (_, rule, identity, challenge) => {
    const result = ask(protect({ rules: [rule], flows: [slow] }), { identity, facts: history() });
    expect(result).toMatchObject({ outcome: 'step_up', reason: 'step_up_required', challenge, memory: undefined });
    expect(result.why).toMatch(/missing/);
  });

  it('advertises what the issuer of the token can give', () => {
    const authenticators = [
      { issuer: 'https://example.okta.com', acr: { 'urn:okta:loa:2fa:any': ['PASSWORD', 'TOKENPUSH'] } },
    ];
    const rule = { lowRiskAuthenticationFlow: { name: 'Password and Second Factor' } };
    const compiled = protect({ rules: [rule], authenticators });
    expect(ask(compiled).challenge?.acrValues).toEqual(['urn:okta:loa:2fa:any']);
    expect(ask(compiled, { identity: { issuer: 'https://other.example' } }).challenge?.acrValues).toEqual(['mfa']);
    expect(outcomeOf(ask(compiled, { identity: { acr: 'urn:okta:loa:2fa:any' } }))).toBe('allow policy_allowed');
  });

  it('is one requirement with another that asks for the same, and with no other', () => {
    expect(requirement(['a', 'b'], 300)).toBe(
      requirementOf({ acrValues: ['a', 'b'], maxAgeSeconds: 300, onlyFreshness: true, promptLogin: true }),
    );
    const all = [
      requirement([]),
      requirement(['a']),
      requirement(['a', 'b']),
      requirement(['b', 'a']),
      requirement(['ab']),
      requirement(['a'], 3),
      requirement([], 3),
      requirement(['a3']),
      requirement([], 0),
      requirement(['a'], 4),
    ];
    expect(new Set(all).size).toBe(all.length);
  });
});

describe('flows of system and file', () => {
  it.each([
    ['Access Denied', ['pwd', 'otp'], 'deny'],
    ['access denied', ['pwd', 'otp'], 'deny'],
    ['Default Second Factor Only', ['otp'], 'allow'],
    ['Default Second Factor Only', ['pwd'], 'step_up'],
    ['Password and Second Factor', ['pwd', 'grid'], 'allow'],
    ['Password and Second Factor', ['pwd', 'face'], 'step_up'],
    ['External and Second Factor', ['wia', 'fido'], 'allow'],
    ['Password and Software/Hardware Token', ['pwd', 'otp'], 'allow'],
    ['Password and Software/Hardware Token', ['pwd', 'sms'], 'step_up'],
    ['Entrust Soft Token Push, Software/Hardware Token, One Time Password', ['push'], 'allow'],
    ['Entrust Soft Token Push, Software/Hardware Token, One Time Password', ['tel'], 'allow'],
    ['Entrust Soft Token Push, Software/Hardware Token, One Time Password', ['hwk'], 'step_up'],
    ['Domain-based IDP Only', ['pwd', 'otp'], 'step_up'],
    ['Domain-Based IDP or User Login', ['pwd', 'otp'], 'allow'],
    ['Domain-Based IDP or User Login', ['pwd'], 'step_up'],
    ['Password', ['pwd'], 'allow'],
    ['External', ['ext'], 'allow'],
    ['PASSKEY', ['hwk', 'pin'], 'allow'],
    ['Smart Login', ['sc', 'pin'], 'allow'],
    ['User Certificate', ['x509'], 'allow'],
  ] as const)('%s, %j: %s', (name, amr, outcome) => {
    expect(ask(protect({ rules: [{ lowRiskAuthenticationFlow: { name } }] }), { amr }).outcome).toBe(outcome);
  });

  it.each([
    [
      'OTP, smart',
      { lowRiskFirstStep: 'OTP', lowRiskSecondStep: ['NONE'], lowRiskEnableSmartLogin: true },
      ['sc', 'pin'],
      'allow',
    ],
    [
      'OTP, smart',
      { lowRiskFirstStep: 'OTP', lowRiskSecondStep: ['NONE'], lowRiskEnableSmartLogin: true },
      ['sms'],
      'allow',
    ],
    ['IDP, then GRID or TOKEN', { lowRiskFirstStep: 'IDP', lowRiskSecondStep: ['GRID', 'TOKEN'] }, ['otp'], 'allow'],
    ['IDP, then GRID or TOKEN', { lowRiskFirstStep: 'IDP', lowRiskSecondStep: ['GRID', 'TOKEN'] }, ['sms'], 'step_up'],
    [
      'DENY stands alone',
      { lowRiskFirstStep: 'DENY', lowRiskSecondStep: ['TOKEN'], lowRiskEnableSmartLogin: true },
      ['sc', 'pin'],
      'deny',
    ],
    ['a flow wins over steps', { lowRiskFirstStep: 'FACE', ...password }, ['pwd'], 'allow'],
    [
      'PASSKEY with a further demand',
      { lowRiskFirstStep: 'PASSKEY', lowRiskSecondStep: ['OTP'] },
      ['hwk', 'pin'],
      'step_up',
    ],
    [
      'PASSKEY with a further demand',
      { lowRiskFirstStep: 'PASSKEY', lowRiskSecondStep: ['OTP'] },
      ['hwk', 'pin', 'sms'],
      'allow',
    ],
    ['without a first step there is none', { lowRiskSecondStep: ['OTP'] }, ['sms'], 'deny'],
  ] as const)('version 1: %s', (_, rule, amr, outcome) => {
    const identity = { provider: { id: IDPS.P1.id, type: 'oidc' } };
    expect(ask(protect({ rules: [rule] }), { amr, identity }).outcome).toBe(outcome);
  });

  it.each([
    ['token of its domain provider', { email: 'ann@p1.example', provider: { id: IDPS.P1.id, type: 'oidc' } }, 'allow'],
    ['token of another provider', { email: 'ann@p2.example', provider: { id: IDPS.P1.id, type: 'oidc' } }, 'step_up'],
    ['an e-mail domain of none', { email: 'ann@example.com', provider: { id: IDPS.P1.id, type: 'oidc' } }, 'step_up'],
  ])('domain-based: %s', (_, identity, outcome) => {
    const rule = { lowRiskAuthenticationFlow: { name: 'Domain-based IDP Only' } };
    expect(ask(protect({ rules: [rule] }), { identity }).outcome).toBe(outcome);
  });

  it.each([
    ['P1 by name', [{ name: 'P1' }], 'allow'],
    ['P1 by id', [{ id: IDPS.P1.id.toUpperCase() }], 'allow'],
    ['P2', [{ name: 'P2' }], 'step_up'],
  ])('through listed providers: %s', (_, oidcIdentityProviders, outcome) => {
    const flows = [
      { name: 'Listed', loginFlows: [{ loginFlowType: 'IDP_LOGIN', enabled: true }], oidcIdentityProviders },
    ];
    const identity = { provider: { id: IDPS.P1.id, type: 'oidc' } };
    expect(
      ask(protect({ rules: [{ lowRiskAuthenticationFlow: { name: 'Listed' } }], flows }), { identity }).outcome,
    ).toBe(outcome);
  });
});

describe('re-authentication for an application', () => {
  const rule = { ...password, disableSSO: true };
  it.each([
    ['first request at 240 s', 240, {}, 'allow', true],
    ['first request at 300 s', 300, {}, 'allow', true],
    ['first request at 301 s', 301, {}, 'step_up', undefined],
    ['the same event 3 h later', 10_800, { admitted: new Map([[ORDERS, ['e1']]]) }, 'allow', false],
    ['admitted to another application', 10_800, { admitted: new Map([['other', ['e1']]]) }, 'step_up', undefined],
    ['another event', 10_800, { admitted: new Map([[ORDERS, ['e0']]]) }, 'step_up', undefined],
  ])('%s', (_, age, record, outcome, admit) => {
    const result = ask(protect({ rules: [rule] }), {
      identity: { authTime: NOW_MS / 1000 - age },
      facts: history(record),
    });
    expect([result.outcome, result.memory?.admit]).toEqual([outcome, admit]);
  });

  it('store down, nothing is admitted', () => {
    const compiled = protect({ rules: [rule] });
    expect(ask(compiled, { identity: { authTime: NOW_MS / 1000 - 301 } }).outcome).toBe('step_up');
    expect(ask(compiled, { identity: { authTime: NOW_MS / 1000 - 300 } }).outcome).toBe('allow');
  });
});

describe('a user who does not exist', () => {
  const external = { name: 'External then token', userLoginFirstStep: 'EXTERNAL', userLoginSecondStep: ['TOKEN'] };
  const skips = {
    skipSecondFactorIfUserNotExist: true,
    lowRiskAuthenticationFlow: { name: external.name },
    mediumRiskAuthenticationFlow: { name: external.name },
  };
  it.each([
    ['the second step is waived', skips, { amr: ['wia'], userExists: false }, 'allow'],
    ['absent means that he exists', skips, { amr: ['wia'], userExists: true }, 'step_up'],
    [
      'only where the rule says so',
      { ...skips, skipSecondFactorIfUserNotExist: false },
      { amr: ['wia'], userExists: false },
      'step_up',
    ],
    [
      'at low risk only',
      { ...skips, ipContext: { ...ipFactor, riskPoint: 40 } },
      { amr: ['wia'], userExists: false },
      'step_up',
    ],
    [
      'after EXTERNAL only',
      { ...skips, lowRiskAuthenticationFlow: { name: 'Password and Second Factor' } },
      { userExists: false },
      'step_up',
    ],
    ['said by a token, not by headers', skips, { source: 'headers', userExists: false }, 'step_up'],
  ] as const)('%s', (_, rule, identity, outcome) => {
    expect(ask(protect({ rules: [rule], flows: [external] }), { identity }).outcome).toBe(outcome);
  });
});

describe('what may be remembered of an allowed request', () => {
  const machine = { machineContext: { riskPoint: 0, riskLimit: 1000 } };
  it.each([
    ['nothing', [password], {}, { learn: false, admit: false, registerMachine: false }],
    [
      'places',
      [{ ...password, locationHistoryContext: { riskPoint: 0 } }],
      {},
      { learn: true, admit: false, registerMachine: false },
    ],
    [
      'the way',
      [{ ...password, travelVelocityContext: { riskPoint: 0 } }],
      {},
      { learn: true, admit: false, registerMachine: false },
    ],
    [
      'a machine, not by a password',
      [{ ...password, ...machine }],
      {},
      { learn: true, admit: false, registerMachine: false },
    ],
    [
      'a machine at risk, by a password: it goes on, and its marks stay as they are',
      [{ ...password, machineContext: { riskPoint: 0 } }],
      { facts: { ...history(), machine: { state: 'present', risk: 20 } } },
      { learn: true, recognizeMachine: true, refreshMarks: false, registerMachine: false },
    ],
    [
      'a machine not at risk, by a password',
      [{ ...password, ...machine }],
      { facts: { ...history(), machine: { state: 'present', risk: 0 } } },
      { learn: true, recognizeMachine: true, refreshMarks: true, registerMachine: false },
    ],
    [
      'a machine at risk in one rule, not in another, by a password',
      [
        { ...password, ...machine },
        { ...password, machineContext: { riskPoint: 0, riskLimit: 19 } },
      ],
      { facts: { ...history(), machine: { state: 'present', risk: 20 } } },
      { learn: true, recognizeMachine: true, refreshMarks: false, registerMachine: false },
    ],
    [
      'a machine, by a passkey',
      [{ ...passkey, ...machine }],
      { amr: ['hwk', 'pin'] },
      { learn: true, admit: false, recognizeMachine: true, refreshMarks: true, registerMachine: true },
    ],
    [
      'no machine, by a passkey',
      [{ ...passkey, disableSSO: true }],
      { amr: ['hwk', 'pin'] },
      { learn: true, admit: true, recognizeMachine: false, refreshMarks: false, registerMachine: false },
    ],
    [
      'by another rule than that of the machine',
      [{ ...password, ...machine }, passkey],
      { amr: ['hwk', 'pin'] },
      { learn: true, admit: false, registerMachine: true },
    ],
    [
      'not for a rule that does not apply',
      [passkey, { ...password, ...machine, acrFilter: 'ANY' }],
      { amr: ['hwk', 'pin'] },
      { learn: true, admit: false, registerMachine: false },
    ],
    ['admission', [{ ...password, disableSSO: true }], {}, { learn: true, admit: true, registerMachine: false }],
    [
      'admission, though another rule allows',
      [{ ...passkey, disableSSO: true }, password],
      {},
      { learn: true, admit: true, registerMachine: false },
    ],
    [
      'disabled rules learn nothing',
      [password, { ...password, ...machine, disableSSO: true, enabled: false }],
      {},
      { learn: false, admit: false, registerMachine: false },
    ],
  ] as const)('%s', (_, rules, asking, memory) => {
    expect(ask(protect({ rules }), { facts: history(), ...asking })).toMatchObject({ outcome: 'allow', memory });
  });

  it.each([
    ['deny', [{ ...denies, ...machine }]],
    ['step_up', [{ ...passkey, ...machine }]],
    ['unavailable', [{ ...unavailable, ...machine }]],
  ])('nothing at all on %s', (outcome, rules) => {
    expect(ask(protect({ rules }))).toMatchObject({ outcome, memory: undefined });
  });
});

describe('what must be gathered', () => {
  it.each([
    ['the identity always', [password], ['identity']],
    [
      'what factors read',
      [{ ...password, ipContext: ipFactor, machineContext: { riskPoint: 1 } }],
      ['address', 'history', 'identity', 'machine'],
    ],
    [
      'each once',
      [
        { ...password, ipContext: ipFactor },
        { ...password, ipContext: ipFactor },
      ],
      ['address', 'identity'],
    ],
    ['nothing for a disabled rule', [password, { ...password, enabled: false, ipContext: ipFactor }], ['identity']],
    ['the history for re-authentication', [{ ...password, disableSSO: true }], ['history', 'identity']],
    ['what its groups read', [{ ...password, groups: [{ name: 'Nurses' }] }], ['identity', 'posture']],
  ] as const)('%s', (_, rules, facts) => {
    const { needs } = protect({ rules, groups: { Nurses: 'met' } });
    expect(needs.map(({ fact }) => fact).toSorted()).toEqual(facts);
  });
});

describe('without a user', () => {
  it('nothing is decided: an allow policy has one', () => {
    const compiled = protect({ rules: [password] });
    expect(() => decideAdaptive(compiled, new EvaluationContext(requestFacts(), NOW_MS))).toThrow(/expected a user/);
  });
});

describe('laws', () => {
  type Written = Protection['rules'][number];
  const flowName = fc.constantFrom('Password', 'Passkey', 'Password and Second Factor', 'Access Denied');
  const ipWritten = fc.record({
    allowedIpRanges: fc.constantFrom(['192.0.2.0/24'], ['198.51.100.0/24']),
    riskPoint: fc.nat(100),
    denyAccess: fc.boolean(),
    onUnknown: fc.constantFrom('RISK', 'NO_RISK', 'UNAVAILABLE'),
  });
  const rule: fc.Arbitrary<Written> = fc.record(
    {
      groups: fc.constantFrom('All Groups', 'In', 'Out', 'Failed', 'Silent').map((name) => [{ name }]),
      strictAccess: fc.boolean(),
      enabled: fc.boolean(),
      disableSSO: fc.boolean(),
      ipContext: ipWritten,
      lowRiskAuthenticationFlow: flowName.map((name) => ({ name })),
      mediumRiskAuthenticationFlow: flowName.map((name) => ({ name })),
      highRiskAuthenticationFlow: flowName.map((name) => ({ name })),
    },
    { requiredKeys: ['groups'] },
  );
  const asking: fc.Arbitrary<Asking> = fc.record({
    amr: fc.constantFrom(['pwd'], ['pwd', 'otp'], ['hwk', 'pin'], []),
    identity: fc.record({ authTime: fc.constantFrom(NOW_MS / 1000, NOW_MS / 1000 - 400) }),
    facts: fc.constantFrom(from('192.0.2.1'), from('198.51.100.1'), from(undefined)),
  });
  const groups = { In: 'met', Out: 'unmet', Failed: 'unavailable', Silent: 'not_stated' } as const;
  // Rules keep their ids when others come before or after them.
  const numbered = (rules: readonly Written[]): readonly Written[] =>
    rules.map((one, index) => ({ ...one, name: `n${index}`, id: String.fromCodePoint(98 + index) }));

  it('an added rule that is not strict never takes access away', () => {
    fc.assert(
      fc.property(
        fc.array(rule, { minLength: 1, maxLength: 4 }),
        rule,
        asking,
        fc.constantFrom('a', 'z'),
        (rules, more, given, id) => {
          const before = ask(protect({ rules: numbered(rules), groups }), given);
          if (before.outcome !== 'allow') return;
          const added = { ...more, strictAccess: false, name: 'added', id };
          expect(ask(protect({ rules: [...numbered(rules), added], groups }), given).outcome).toBe('allow');
        },
      ),
      { numRuns: 300 },
    );
  });

  it('an added strict rule never gives access but by what it offers itself', () => {
    fc.assert(
      fc.property(fc.array(rule, { minLength: 1, maxLength: 4 }), rule, asking, (rules, more, given) => {
        const without = ask(protect({ rules: numbered(rules), groups }), given);
        const added = ask(
          protect({ rules: [...numbered(rules), { ...more, strictAccess: true, name: 'added', id: 'z' }], groups }),
          given,
        );
        if (without.outcome !== 'allow' && added.outcome === 'allow') expect(added.rule?.name).toBe('added');
      }),
      { numRuns: 300 },
    );
  });

  it('allows only by a rule that is enabled, applies for certain, and whose flow is met', () => {
    fc.assert(
      fc.property(fc.array(rule, { minLength: 1, maxLength: 5 }), asking, (rules, given) => {
        const result = ask(protect({ rules: numbered(rules), groups }), given);
        const met = result.trace.alternatives.find(({ satisfied }) => satisfied);
        expect(result.outcome === 'allow').toBe(met !== undefined);
        if (!met) return;
        expect(result.rule).toBe(met.rule);
        const trace = result.trace.rules.find((one) => one.rule === met.rule);
        expect(trace).toMatchObject({ applies: 'yes', result: 'ALLOW', flow: met.flow, level: met.level });
        for (const one of result.trace.rules) {
          const written = numbered(rules).find(({ name }) => name === one.rule.name);
          if (written?.['strictAccess'] === true && one.applies !== 'no') {
            const mayBeOutvoted = one.result === 'ALLOW';
            expect(mayBeOutvoted).toBe(true);
          }
        }
      }),
      { numRuns: 300 },
    );
  });

  it('the order in which rules are written changes nothing', () => {
    fc.assert(
      fc.property(fc.array(rule, { minLength: 2, maxLength: 5 }), asking, (rules, given) => {
        const forward = ask(protect({ rules: numbered(rules), groups }), given);
        const backward = ask(protect({ rules: numbered(rules).toReversed(), groups }), given);
        expect(withoutRules(backward)).toEqual(withoutRules(forward));
      }),
      { numRuns: 200 },
    );
  });
});
