import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { EvaluationContext } from '../../src/model/context.ts';
import { decideAccess, judgeRuleSet } from '../../src/policy/access.ts';
import { decide } from '../../src/policy/engine.ts';
import { createExplainer, decidingRules, ruleText, walked } from '../../src/policy/explain.ts';
import type { Explanation } from '../../src/policy/explain.ts';
import { createLocator } from '../../src/policy/places.ts';
import { scoreOf, shownScore } from '../../src/risk/score.ts';
import { ann, contextOf, from, inCountry, nobody } from '../rules/contexts.ts';
import type { Facts } from '../rules/contexts.ts';
import { APPLICATION, compiledSet, contexts, HOST, policyData, settingsOf } from './sets.ts';
import type { CompiledTexts } from './sets.ts';

function explainerOf({ compiled, set, text }: CompiledTexts): ReturnType<typeof createExplainer> {
  return createExplainer({ compiled, set, locate: createLocator(() => text), login: {} });
}

describe('an explanation', () => {
  it(
    'comes value by value to what the indexes decided, for every rule type and factor',
    { timeout: 120_000 },
    async () => {
      const reasons = new Set<string>();
      const words = new Set<string>();
      const factors = new Set<string>();
      let changes = 0;
      await fc.assert(
        fc.asyncProperty(policyData, fc.array(contexts, { minLength: 6, maxLength: 6 }), async (made, asked) => {
          const texts = await compiledSet(made.data, settingsOf(made.fromIdentity));
          const application = texts.compiled.applications.find(({ named }) => named.id === APPLICATION);
          if (!application) throw new Error('no application');
          const explainer = explainerOf(texts);
          for (const context of asked) {
            const explanation = explainer.explain(HOST, context.request.path, context);
            const decision = decide(application, context);
            const { outcome, reason, policy, resourceRule, riskLevel, riskScore } = decision;
            expect(explanation.decision).toMatchObject({ outcome, reason, policy, resourceRule, riskLevel, riskScore });
            reasons.add(reason);
            const order = [...application.access.first, ...application.access.second];
            expect(explanation.policies.map(({ verdict }) => verdict)).toEqual(
              order.map(({ rules }) => judgeRuleSet(rules, fresh(context))),
            );
            expect(told(decideAccess(walked(application.access, explanation.policies), context))).toEqual(
              told(decideAccess(application.access, context)),
            );
            for (const one of explanation.policies)
              for (const rule of [...one.include, ...one.require, ...one.exclude]) words.add(rule.type);
            for (const rule of explanation.adaptive?.rules ?? []) {
              for (const { name } of rule.factors) factors.add(name.replace(/\..*/, ''));
              if (rule.applies === 'no') continue;
              const at = (only: boolean) =>
                rule.factors.reduce((sum, one) => sum + (!only || one.verdict === 'RISK' ? one.points : 0), 0);
              expect(rule.score).toBe(shownScore(scoreOf('sum', at(true), at(false))));
            }
            changes += explanation.changes.length;
          }
        }),
        // The rarest factor is in one of forty sets.
        { numRuns: 300 },
      );
      expect(words.size).toBe(26);
      expect(factors.size).toBe(9);
      expect(reasons.size).toBeGreaterThan(9);
      expect(changes).toBeGreaterThan(30);
    },
  );
});

/** What a decision is about, without the compiled parts it carries. */
function told(result: ReturnType<typeof decideAccess>): object {
  return { ...result, policy: result.policy?.named };
}

function fresh(context: EvaluationContext): EvaluationContext {
  return Object.assign(contextOf(), context, { groupVerdicts: undefined });
}

const OFFICE = '203.0.113.0/24';

async function explain(
  policies: readonly unknown[],
  facts: Facts,
  more: Record<string, unknown> = {},
): Promise<Explanation> {
  const texts = await compiledSet(
    {
      applications: [
        { id: APPLICATION, name: 'Orders', destinations: [HOST, `*.example.com/x`, '*'], policies },
        ...((more['applications'] as unknown[] | undefined) ?? []),
      ],
      groups: [
        {
          id: '8f1c0000-0000-4000-8000-000000000001',
          name: 'Engineering',
          include: [{ email_domain: { domain: 'example.com' } }],
        },
      ],
      ...(more['rest'] as object | undefined),
    },
    settingsOf(true),
  );
  return explainerOf(texts).explain(HOST, '/x', contextOf(facts, { host: HOST, path: '/x' }));
}

const allow = (include: readonly unknown[], more: object = {}) => ({
  name: 'Allow',
  decision: 'allow',
  include,
  ...more,
});
const dom = { email_domain: { domain: 'example.com' } };
const serviceId = (number: number) => `5e5e0000-0000-4000-8000-00000000000${number}`;
const geo = (code: string) => ({ geo: { country_code: code } });

describe('what would have to change', () => {
  it.each([
    [
      'a country',
      [allow([dom], { require: [{ group: { id: 'NA' } }] })],
      { ...ann(), ...inCountry('FR') },
      ['from CA or US'],
    ],
    ['a login', [allow([{ everyone: {} }])], nobody, ['with a login']],
    [
      'an address',
      [{ name: 'Office', decision: 'bypass', include: [{ ip: { ip: OFFICE } }] }],
      from('10.0.0.1'),
      [`from ${OFFICE}`],
    ],
    [
      'a service token, but none that is disabled or has ended',
      [{ name: 'Service', decision: 'non_identity', include: [{ any_valid_service_token: {} }] }],
      nobody,
      ['with the credentials of service token ci'],
    ],
    [
      'nothing, where the token that is wanted is disabled',
      [{ name: 'Service', decision: 'non_identity', include: [{ service_token: { token_id: serviceId(2) } }] }],
      nobody,
      [],
    ],
    [
      'a domain and a country',
      [allow([dom], { require: [geo('CA')] })],
      { ...nobody, ...inCountry('FR') },
      ['with an e-mail address at example.com, and from CA'],
    ],
    [
      'a deny that matches',
      [{ name: 'No', decision: 'deny', include: [geo('RU')] }, allow([dom])],
      { ...ann(), ...inCountry('RU') },
      ['from a country other than RU'],
    ],
    ['nothing, where nothing lets anybody in', [], ann(), []],
    [
      'either of two policies',
      [allow([dom], { require: [geo('CA')] }), allow([geo('US')], { name: 'US' })],
      { ...ann(), ...inCountry('FR') },
      ['from CA or US'],
    ],
    [
      'a method',
      [allow([dom], { require: [{ auth_method: { auth_method: 'mfa' } }] })],
      ann({ amr: ['pwd'] }),
      ['with amr containing mfa'],
    ],
  ])('%s', async (_, policies, facts, wanted) => {
    const rest = {
      groups: [{ id: '8f1c0000-0000-4000-8000-000000000002', name: 'NA', include: [geo('CA'), geo('US')] }],
      service_tokens: [
        { name: 'ci' },
        { name: 'off', enabled: false },
        { name: 'old', expires_at: '2020-01-01T00:00:00Z' },
      ].map((token, index) => ({
        id: serviceId(index + 1),
        client_id: `${token.name}.access`,
        client_secret_sha256: '0'.repeat(64),
        ...token,
      })),
    };
    const { changes } = await explain(policies, facts, { rest });
    expect(changes.map(({ text }) => text)).toEqual(wanted);
  });

  it('a step-up names what would prove the flow', async () => {
    const rest = {
      resource_rules: [
        {
          id: '0c3c0000-0000-4000-8000-000000000001',
          name: 'Staff',
          resourceId: APPLICATION,
          groups: [{ name: 'All Groups' }],
          lowRiskAuthenticationFlow: { name: 'Password and one-time code' },
        },
      ],
      authentication_flows: [
        {
          id: '0c3c0000-0000-4000-8000-000000000002',
          name: 'Password and one-time code',
          userLoginFirstStep: 'PASSWORD',
          userLoginSecondStep: ['TOKEN', 'FIDO'],
        },
      ],
    };
    const { decision, changes, decidedBy } = await explain([allow([dom])], ann({ amr: ['pwd'] }), { rest });
    expect(decision.reason).toBe('step_up_required');
    expect(changes).toEqual([
      {
        text: 'with amr containing otp, hwk, pop or fido',
        anyOf: ['otp', 'hwk', 'pop', 'fido'].map((value) => ({ identity: { amr: ['pwd', value] } })),
      },
    ]);
    expect(decidedBy).toMatchObject([{ what: 'resource_rule', text: 'Staff' }]);
  });
});

describe('an explanation names', () => {
  it('the application, and why it won over others', async () => {
    const { application } = await explain([allow([dom])], ann());
    expect(application).toMatchObject({
      name: 'Orders',
      destination: HOST,
      others: [
        { destination: '*.example.com/x', because: 'its host has a *' },
        { destination: '*', because: 'it covers any host' },
      ],
    });
  });

  it('the line of the rule that decided, through groups', async () => {
    const { decidedBy, policies } = await explain([allow([geo('CA'), { group: { id: 'Engineering' } }])], {
      ...ann(),
      ...inCountry('FR'),
    });
    expect(decidedBy.map(({ what, text }) => `${what} ${text}`)).toEqual([
      'policy Allow',
      'rule email_domain domain: example.com',
    ]);
    const [policy] = policies;
    expect(policy?.include.map((rule) => [ruleText(rule), rule.verdict, rule.saw])).toEqual([
      ['geo country_code: CA', 'unmet', 'country FR (database)'],
      ['group Engineering', 'met', 'its rules, below'],
    ]);
    expect(policy && decidingRules(policy)).toHaveLength(1);
    const line = decidedBy[1]?.at.line ?? 0;
    expect(line).toBeGreaterThan(decidedBy[0]?.at.line ?? 0);
  });

  it('what kept everybody out', async () => {
    const { decidedBy } = await explain(
      [allow([dom], { exclude: [{ email: { email: 'ann@example.com' } }] }), allow([geo('CA')], { name: 'Canada' })],
      { ...ann(), ...inCountry('FR') },
    );
    expect(decidedBy.map(({ text }) => text)).toEqual([
      'Allow',
      'email email: ann@example.com',
      'Canada',
      'geo country_code: CA',
    ]);
  });
});
