import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EvaluationContext } from '../../src/model/context.ts';
import type { Need } from '../../src/model/context.ts';
import { either } from '../../src/model/verdict.ts';
import type { Verdict } from '../../src/model/verdict.ts';
import { judgeOne, needsOf, ruleTypes, typeOf } from '../../src/rules/registry.ts';
import {
  ann,
  certified,
  contextOf,
  from,
  inCountry,
  PLACE,
  PROVIDERS,
  requestFacts,
  ruleOf,
  scopeOf,
} from './contexts.ts';
import type { Facts } from './contexts.ts';
import { facts, IDS, VALUES } from './arbitrary.ts';

/** Laws that hold for every type. */

const scopes = [true, false].map((fromIdentity) =>
  scopeOf({
    lists: [
      {
        id: IDS[0] ?? '',
        name: 'mails',
        type: 'EMAIL',
        items: [{ value: 'Bob@example.com' }, { value: 'x' }],
        place: PLACE,
      },
      { id: IDS[1] ?? '', name: 'blocks', type: 'IP', items: [{ value: '10.0.0.0/9' }, { value: 'x' }], place: PLACE },
    ],
    serviceTokens: IDS.map((id) => ({ id, name: id, client_id: id, client_secret_sha256: '', place: PLACE })),
    applications: IDS.map((id) => ({ id, issuesTokens: true })),
    groups: {
      offices: { include: [{ ip: { ip: '10.0.0.0/8' } }, { geo: { country_code: 'CA' } }] },
      staff: { include: [{ email_domain: { domain: 'example.com' } }], exclude: [{ group: { id: 'offices' } }] },
    },
    accounts: ['account-1'],
    evaluationHosts: ['policy.example.com'],
    postureFromIdentity: fromIdentity,
    riskScoreFromIdentity: fromIdentity,
  }),
);
const scope = fc.constantFrom(...scopes);

const types = [...ruleTypes.values()];

it('generates values of every type', () => {
  expect(Object.keys(VALUES).toSorted()).toEqual([...ruleTypes.keys()].toSorted());
});

describe.each(types)('$word', (type) => {
  const value = VALUES[type.word] ?? fc.constant(undefined);
  const rule = scope.chain((one) =>
    value.map((written) => ({ scope: one, rule: ruleOf({ [type.word]: written }, one) })),
  );
  const bare = (context: EvaluationContext, one: (typeof scopes)[number], values: readonly unknown[]): Verdict =>
    type.anyOf(values, one)(context);

  it('is never met when nothing was gathered, unless it is everyone', () => {
    fc.assert(
      fc.property(rule, (made) => {
        const judged = judgeOne(made.rule, made.scope)(contextOf());
        if (type.word === 'everyone') expect(judged).toBe('met');
        else expect(judged).not.toBe('met');
      }),
    );
  });

  it('reads nothing but what it declares to need', () => {
    fc.assert(
      fc.property(rule, facts, (made, all) => {
        const needed = new EvaluationContext(requestFacts(), 0);
        for (const need of needsOf([made.rule], made.scope)) gather(needed, need, all);
        const judge = judgeOne(made.rule, made.scope);
        expect(judge(needed)).toBe(judge(contextOf(all)));
      }),
      { numRuns: 300 },
    );
  });

  it('finds of many values what it finds of each', () => {
    const many = scope.chain((one) =>
      fc.array(value, { maxLength: 6 }).map((written) => ({
        scope: one,
        values: written.map((single) => ruleOf({ [type.word]: single }, one).value),
      })),
    );
    fc.assert(
      fc.property(many, facts, (made, all) => {
        const context = contextOf(all);
        const each = made.values.map((single) => bare(context, made.scope, [single]));
        const whole = made.values.length === 0 ? undefined : bare(context, made.scope, made.values);
        if (whole !== undefined) expect(whole).toBe(each.reduce(either, 'unmet'));
      }),
      { numRuns: 300 },
    );
  });
});

/** Types of which every value is a source of its own that must be asked, however many there are. */
const ONE_BY_ONE = ['group', 'linked_app_token', 'external_evaluation'];

/** Word → the value with this number: all different, and none that the caller below has. */
const NUMBERED: Readonly<Record<string, (n: number) => unknown>> = {
  service_token: (n) => ({ token_id: uuid(n) }),
  common_name: (n) => ({ common_name: `name ${n}` }),
  login_method: (n) => ({ id: uuid(n) }),
  email: (n) => ({ email: `user${n}@example.com` }),
  geo: (n) => ({ country_code: ['FR', 'US', 'GB', 'XX'][n % 4] }),
  email_domain: (n) => ({ domain: `d${n}.example` }),
  email_list: (n) => ({ id: uuid(n) }),
  ip: (n) => ({ ip: `10.${n >> 8}.${n & 255}.0/24` }),
  ip_list: (n) => ({ id: uuid(n) }),
  auth_method: (n) => ({ auth_method: `method ${n}` }),
  cloudflare_account_member: (n) => ({ account_id: `other ${n}` }),
  user_risk_score: () => ({ user_risk_score: ['low'] }),
  auth_context: (n) => ({ id: 'x', ac_id: `c${n}`, identity_provider_id: PROVIDERS.CF.id }),
  okta: (n) => ({ name: `group ${n}`, identity_provider_id: PROVIDERS.CF.id }),
  azureAD: (n) => ({ id: uuid(n), identity_provider_id: PROVIDERS.CF.id }),
  gsuite: (n) => ({ email: `group${n}@example.com`, identity_provider_id: PROVIDERS.CF.id }),
  'github-organization': (n) => ({ name: `org${n}`, team: `team ${n}`, identity_provider_id: PROVIDERS.CF.id }),
  saml: (n) => ({ attribute_name: `name ${n % 50}`, attribute_value: `v${n}`, identity_provider_id: PROVIDERS.CF.id }),
  oidc: (n) => ({ claim_name: `name ${n}`, claim_value: 'v', identity_provider_id: PROVIDERS.CF.id }),
  device_posture: (n) => ({ integration_uid: `uid ${n}` }),
};

describe('ten thousand values', () => {
  const many = 10_000;
  const big = scopeOf({
    lists: Array.from({ length: many }, (_, n) => ({
      id: uuid(n),
      name: `list ${n}`,
      type: 'EMAIL',
      items: [{ value: `user${n}@example.com` }, { value: `10.${n >> 8}.${n & 255}.0/24` }],
      place: PLACE,
    })),
    accounts: ['account-1'],
  });
  const caller: Facts = {
    ...ann(
      {
        groups: ['a', 'b@c.example'],
        amr: ['pwd'],
        acrs: ['none'],
        account_id: 'account-3',
        user_risk_score: 'high',
        saml_attributes: { dept: 'x' },
        devicePosture: { u: { success: true } },
      },
      'CF',
    ),
    ...from('192.0.2.1'),
    ...inCountry('CA'),
    ...certified(),
    serviceCredentials: { state: 'valid', tokenId: IDS[0] ?? '', name: '', clientId: '' },
  };

  it('are generated for every type with values that are looked up', () => {
    const others = ['everyone', 'any_valid_service_token', 'certificate', ...ONE_BY_ONE];
    expect([...Object.keys(NUMBERED), ...others].toSorted()).toEqual([...ruleTypes.keys()].toSorted());
  });

  it.each(Object.entries(NUMBERED))('of %s read the facts no more often than ten do', (word, valueOf) => {
    const readsWith = (count: number): number => {
      const type = typeOf({ word });
      const values = Array.from({ length: count }, (_, n) => type.shape.parse(valueOf(n)));
      const judge = type.anyOf(values, big);
      const counter = { reads: 0 };
      expect(judge(counted(contextOf(structuredClone(caller)), counter))).toBe('unmet');
      return counter.reads;
    };
    const few = readsWith(10);
    expect(few).toBeGreaterThan(0);
    expect(readsWith(many)).toBeLessThanOrEqual(few + 10);
  });
});

function gather(context: EvaluationContext, need: Need, all: Facts): void {
  const kept: Partial<Record<Need['fact'], keyof Facts>> = {
    identity: 'identity',
    address: 'address',
    location: 'location',
    certificate: 'certificate',
    service_token: 'serviceCredentials',
    posture: 'posture',
    risk_score: 'riskScore',
  };
  const name = kept[need.fact];
  if (name) Object.assign(context, { [name]: all[name] });
  else if (need.fact === 'linked_token') {
    const found = all.linkedTokens?.get(need.application);
    if (found) context.linkedTokens = new Map([...context.linkedTokens, [need.application, found]]);
  } else if (need.fact === 'external_evaluation') {
    const key = `${need.evaluateUrl}\n${need.keysUrl}`;
    const found = all.evaluations?.get(key);
    if (found) context.evaluations = new Map([...context.evaluations, [key, found]]);
  } else throw new Error(`no rule needs ${need.fact}`);
}

/** The same thing, of which every read, at any depth, is counted. */
function counted<T extends object>(target: T, counter: { reads: number }): T {
  return new Proxy(target, {
    get(of, key) {
      counter.reads += 1;
      const value: unknown = Reflect.get(of, key, of);
      if (typeof value === 'function') return value.bind(of instanceof Map ? of : counted(of, counter));
      return typeof value === 'object' && value !== null ? counted(value, counter) : value;
    },
  });
}

function uuid(n: number): string {
  return `ffffffff-0000-4000-8000-${n.toString(16).padStart(12, '0')}`;
}
