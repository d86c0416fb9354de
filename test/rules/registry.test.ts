import { readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { z } from '../../src/shared/shape.ts';
import {
  contradict,
  factOf,
  judgeAll,
  judgesOf,
  needsOf,
  providerTypesOf,
  readRule,
  readsIdentity,
  ruleKey,
  ruleSchema,
  ruleTypes,
  sameRule,
  unusual,
} from '../../src/rules/registry.ts';
import type { RuleObject } from '../../src/model/objects.ts';
import type { Verdict } from '../../src/model/verdict.ts';
import { ann, contextOf, from, inCountry, nobody, PLACE, PROVIDERS, ruleOf, scopeOf } from './contexts.ts';
import type { Facts } from './contexts.ts';

const APPLICATION = 'dddddddd-0000-4000-8000-000000000001';
const OTHER_APPLICATION = 'dddddddd-0000-4000-8000-000000000002';
const scope = scopeOf({
  groups: {
    offices: { include: [{ ip: { ip: '198.51.100.0/24' } }, { geo: { country_code: 'CA' } }] },
    staff: { include: [{ email_domain: { domain: 'example.com' } }], exclude: [{ group: { id: 'offices' } }] },
  },
  applications: [APPLICATION, OTHER_APPLICATION].map((id) => ({ id, issuesTokens: true })),
  evaluationHosts: ['policy.example.com'],
});
const OKTA = PROVIDERS.OKTA.id;

const mail = (email: string): RuleObject => ruleOf({ email: { email } }, scope);
const domain = (name: string): RuleObject => ruleOf({ email_domain: { domain: name } }, scope);
const ip = (block: string): RuleObject => ruleOf({ ip: { ip: block } }, scope);
const geo = (code: string): RuleObject => ruleOf({ geo: { country_code: code } }, scope);
const group = (id: string): RuleObject => ruleOf({ group: { id } }, scope);
const levels = (...words: string[]): RuleObject => ruleOf({ user_risk_score: { user_risk_score: words } }, scope);

describe('the table', () => {
  it('has the 26 types, each in the file of its word', () => {
    const files = readdirSync(new URL('../../src/rules/', import.meta.url)).map((name) => name.replace(/\.ts$/, ''));
    expect([...ruleTypes.keys()].toSorted()).toEqual(
      files.filter((name) => name !== 'rule' && name !== 'registry').toSorted(),
    );
    expect(ruleTypes.size).toBe(26);
  });

  it('describes every type in a sentence', () => {
    for (const type of ruleTypes.values()) expect(type.description).toMatch(/^[A-Z].*\.$/);
  });

  it('tells provider rules from others by their key', () => {
    const withProvider = [...ruleTypes.values()].filter((type) =>
      JSON.stringify(z.toJSONSchema(type.shape, { io: 'input' })).includes('identity_provider_id'),
    );
    expect(withProvider.map((type) => type.word).toSorted()).toEqual(
      [...ruleTypes.values()]
        .filter((type) => type.reads === 'provider')
        .map((type) => type.word)
        .toSorted(),
    );
  });
});

describe('an OR list', () => {
  it.each<readonly [string, Facts, Verdict]>([
    ['ann, in CA', { ...ann(), ...inCountry('CA') }, 'met'],
    ['nobody, in CA', { ...nobody, ...inCountry('CA') }, 'met'],
    ['bob, in FR', { ...ann({ email: 'bob@example.com' }), ...inCountry('FR') }, 'unmet'],
    ['nobody, in FR', { ...nobody, ...inCountry('FR') }, 'no_identity'],
    ['bob, anywhere', ann({ email: 'bob@example.com' }), 'unavailable'],
    ['nobody, anywhere', nobody, 'no_identity'],
  ])('email ann or geo CA: %s', (_, facts, verdict) => {
    const rules = [mail('ann@example.com'), geo('CA')];
    expect(judgesOf(rules, scope)(contextOf(facts))).toBe(verdict);
    expect(judgesOf(rules.toReversed(), scope)(contextOf(facts))).toBe(verdict);
  });

  it('is unmet when empty', () => {
    expect(judgesOf([], scope)(contextOf())).toBe('unmet');
  });
});

describe('an AND list', () => {
  it.each<readonly [string, Facts, Verdict]>([
    ['ann, in CA', { ...ann(), ...inCountry('CA') }, 'met'],
    ['nobody, in CA', { ...nobody, ...inCountry('CA') }, 'no_identity'],
    ['nobody, in FR', { ...nobody, ...inCountry('FR') }, 'unmet'],
    ['ann, anywhere', ann(), 'unavailable'],
    ['bob, anywhere', ann({ email: 'bob@example.com' }), 'unmet'],
  ])('email ann and geo CA: %s', (_, facts, verdict) => {
    const rules = [mail('ann@example.com'), geo('CA')];
    expect(judgeAll(rules, scope)(contextOf(facts))).toBe(verdict);
    expect(judgeAll(rules.toReversed(), scope)(contextOf(facts))).toBe(verdict);
  });

  it('takes two values of one type for two rules', () => {
    const rules = [ip('198.51.100.0/24'), ip('198.51.100.128/25')];
    expect(judgeAll(rules, scope)(contextOf(from('198.51.100.7')))).toBe('unmet');
    expect(judgeAll(rules, scope)(contextOf(from('198.51.100.200')))).toBe('met');
  });

  it('is met when empty', () => {
    expect(judgeAll([], scope)(contextOf())).toBe('met');
  });
});

describe('a reference to nothing, judged all the same', () => {
  it.each([
    [{ group: { id: 'gone' } }],
    [{ email_list: { id: APPLICATION } }],
    [{ ip_list: { id: APPLICATION } }],
    [{ linked_app_token: { app_uid: '00000000-0000-4000-8000-000000000000' } }],
  ])('%j is unknown', (written) => {
    const rule = readRule(written, PLACE, () => undefined);
    if (!rule) throw new Error('no rule');
    expect(judgesOf([rule], scope)(contextOf({ ...ann(), ...from('10.0.0.1') }))).toBe('unavailable');
  });
});

describe('needs', () => {
  it('are said once each', () => {
    expect(needsOf([mail('ann@example.com'), domain('example.com'), geo('CA'), geo('FR')], scope)).toEqual([
      { fact: 'identity' },
      { fact: 'location' },
    ]);
  });

  it('come from groups too', () => {
    expect(
      needsOf([group('staff')], scope)
        .map((need) => need.fact)
        .toSorted(),
    ).toEqual(['address', 'identity', 'location']);
  });

  it('name the application and the endpoint', () => {
    const evaluation = { evaluate_url: 'https://policy.example.com/e', keys_url: 'https://policy.example.com/k' };
    const rules = [
      ruleOf({ linked_app_token: { app_uid: APPLICATION } }, scope),
      ruleOf({ linked_app_token: { app_uid: OTHER_APPLICATION } }, scope),
      ruleOf({ external_evaluation: evaluation }, scope),
    ];
    expect(needsOf(rules, scope)).toEqual(
      expect.arrayContaining([
        { fact: 'linked_token', application: APPLICATION },
        { fact: 'linked_token', application: OTHER_APPLICATION },
        {
          fact: 'external_evaluation',
          evaluateUrl: 'https://policy.example.com/e',
          keysUrl: 'https://policy.example.com/k',
        },
      ]),
    );
  });

  it('tell which rules look at the user', () => {
    const posture = ruleOf({ device_posture: { integration_uid: 'u' } }, scope);
    expect(readsIdentity(mail('ann@example.com'), scope)).toBe(true);
    expect(readsIdentity(group('staff'), scope)).toBe(true);
    expect(readsIdentity(group('offices'), scope)).toBe(false);
    expect(readsIdentity(geo('CA'), scope)).toBe(false);
    expect(readsIdentity(posture, scope)).toBe(true);
    expect(readsIdentity(posture, { ...scope, postureFromIdentity: false })).toBe(false);
  });
});

describe('what warnings are made of', () => {
  it.each([
    [mail('ANN@example.com'), mail('ann@example.com'), true],
    [mail('bob@example.com'), mail('ann@example.com'), false],
    [mail('ann@example.com'), domain('example.com'), false],
    [ip('198.51.100.7/24'), ip('198.51.100.0/24'), true],
    [ip('198.51.100.0/24'), ip('198.51.100.0/25'), false],
    [geo('ca'), geo('CA'), true],
    [levels('low', 'high'), levels('high', 'low'), true],
    [levels('low'), levels('high', 'low'), false],
    [
      ruleOf({ okta: { name: 'Core', connection_id: OKTA } }, scope),
      ruleOf({ okta: { identity_provider_id: OKTA, name: 'Core' } }, scope),
      true,
    ],
  ])('%# same rule', (a, b, same) => {
    expect(sameRule(a, b)).toBe(same);
    expect(ruleKey(a) === ruleKey(b)).toBe(same);
  });

  it.each([
    [geo('CA'), geo('FR'), true],
    [geo('CA'), geo('ca'), false],
    [mail('ann@example.com'), mail('bob@example.com'), true],
    [mail('ann@example.com'), domain('example.com'), false],
    [mail('ann@example.com'), domain('other.example'), true],
    [domain('example.com'), mail('ann@sub.example.com'), true],
    [domain('example.com'), domain('other.example'), true],
    [ip('10.0.0.0/8'), ip('10.1.0.0/16'), false],
    [ip('10.0.0.0/16'), ip('10.1.0.0/16'), true],
    [ip('0.0.0.0/0'), ip('::/0'), true],
    [levels('low', 'medium'), levels('medium', 'high'), false],
    [levels('low'), levels('high'), true],
    [group('staff'), group('offices'), false],
    [geo('CA'), mail('ann@example.com'), false],
    [ruleOf({ login_method: { id: OKTA } }, scope), ruleOf({ login_method: { id: PROVIDERS.GH.id } }, scope), true],
    [ruleOf({ common_name: { common_name: 'a' } }, scope), ruleOf({ common_name: { common_name: 'b' } }, scope), true],
    [
      ruleOf({ auth_method: { auth_method: 'pwd' } }, scope),
      ruleOf({ auth_method: { auth_method: 'otp' } }, scope),
      false,
    ],
  ])('%# contradicts', (a, b, contradicts) => {
    expect(contradict(a, b)).toBe(contradicts);
    expect(contradict(b, a)).toBe(contradicts);
  });

  it('names the facts with one value', () => {
    expect([...ruleTypes.keys()].filter((word) => factOf(word) !== undefined).toSorted()).toEqual([
      'common_name',
      'email',
      'email_domain',
      'geo',
      'ip',
      'login_method',
      'service_token',
      'user_risk_score',
    ]);
    expect(factOf('geo')).toBe('country');
    expect(factOf('no such word')).toBeUndefined();
  });

  it('knows the provider types of every provider rule, and of no other', () => {
    for (const type of ruleTypes.values())
      expect(providerTypesOf(type.word) !== undefined, type.word).toBe(type.reads === 'provider');
    expect(providerTypesOf('gsuite')).toEqual(['google-apps']);
  });

  it.each([
    [{ azureAD: { id: 'staff', identity_provider_id: PROVIDERS.ENTRA.id } }, 'GUID'],
    [{ auth_method: { auth_method: 'MFA' } }, 'RFC 8176'],
  ])('%j is unusual', (written, why) => {
    expect(unusual(ruleOf(written, scope))?.text).toContain(why);
  });

  it.each([
    [{ azureAD: { id: '5F3A0000-0000-4000-8000-000000000001', identity_provider_id: PROVIDERS.ENTRA.id } }],
    [{ auth_method: { auth_method: 'mfa' } }],
    [{ geo: { country_code: 'CA' } }],
  ])('%j is not', (written) => {
    expect(unusual(ruleOf(written, scope))).toBeUndefined();
  });
});

describe('the JSON Schema', () => {
  const schema = z.toJSONSchema(ruleSchema(), { io: 'input' }) as {
    readonly anyOf: readonly {
      readonly description: string;
      readonly required: readonly string[];
      readonly additionalProperties: boolean;
      readonly properties: Record<string, { readonly description: string; readonly additionalProperties: boolean }>;
    }[];
  };

  it('offers each word once, as the only key, with its description', () => {
    expect(schema.anyOf.map((option) => option.required)).toEqual([...ruleTypes.keys()].map((word) => [word]));
    for (const option of schema.anyOf) {
      const [word = ''] = option.required;
      expect(option.additionalProperties).toBe(false);
      expect(option.properties[word]?.additionalProperties).toBe(false);
      expect(option.properties[word]?.description).toBe(
        `${ruleTypes.get(word)?.description} Source: Cloudflare Access, rule type ${word}.`,
      );
    }
  });
});

describe('what explain says', () => {
  it.each<readonly [unknown, Facts, string]>([
    [{ everyone: {} }, {}, 'anybody'],
    [{ email: { email: 'bob@example.com' } }, ann(), 'e-mail ann@example.com'],
    [{ email: { email: 'bob@example.com' } }, nobody, 'nobody is logged in'],
    [{ geo: { country_code: 'CA' } }, inCountry('FR'), 'country FR (database)'],
    [{ geo: { country_code: 'CA' } }, {}, 'country not known'],
    [{ ip: { ip: '10.0.0.0/8' } }, from('192.0.2.1'), 'address 192.0.2.1'],
    [
      { okta: { name: 'Core', identity_provider_id: OKTA } },
      ann({ groups: ['a', 'b', 'c', 'd', 'e', 'f'] }),
      `through ${OKTA}: groups a, b, c, d, e and 1 more`,
    ],
    [{ common_name: { common_name: 'api' } }, {}, 'no certificate'],
  ])('%j', (written, facts, told) => {
    const rule = ruleOf(written, scope);
    expect(ruleTypes.get(rule.word)?.seen(contextOf(facts), rule.value)).toBe(told);
  });
});
