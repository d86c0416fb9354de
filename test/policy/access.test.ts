import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decideAccess, judgeRuleSet } from '../../src/policy/access.ts';
import type { CompiledAccess, CompiledPolicy, CompiledRuleSet } from '../../src/policy/access.ts';
import type { EvaluationContext } from '../../src/model/context.ts';
import type { ServiceCredentialsFact } from '../../src/model/facts.ts';
import type { Verdict } from '../../src/model/verdict.ts';
import { judgeAll, judgesOf } from '../../src/rules/registry.ts';
import type { Judge, RuleScope } from '../../src/rules/rule.ts';
import {
  PROVIDERS,
  ann,
  certified,
  contextOf,
  from,
  inCountry,
  invalidToken,
  loggedIn,
  nobody,
  ruleOf,
  scopeOf,
  unverifiableToken,
} from '../rules/contexts.ts';
import type { Facts, RuleSet } from '../rules/contexts.ts';

const T = '00000000-0000-4000-8000-0000000000aa';
const U = '00000000-0000-4000-8000-0000000000bb';

const scope = scopeOf({
  groups: { mallory: { include: [{ email: { email: 'mallory@example.com' } }] } },
  serviceTokens: [T, U].map((id) => ({
    id,
    name: id,
    client_id: `${id}.access`,
    client_secret_sha256: '0'.repeat(64),
    place: { file: '', path: [] },
  })),
});

interface PolicySketch extends RuleSet {
  readonly decision: CompiledPolicy['decision'];
  readonly hours?: number;
}

function access(policies: readonly PolicySketch[], applicationHours?: number): CompiledAccess {
  const compiled = policies.map(({ decision, include, require = [], exclude = [], hours }, i): CompiledPolicy => ({
    named: { id: '', name: `${decision} ${i}` },
    decision,
    rules: compiledSet({ include, require, exclude }, scope),
    sessionMs: hours === undefined ? undefined : hours * 3_600_000,
  }));
  return {
    first: compiled.filter(({ decision }) => decision === 'bypass' || decision === 'non_identity'),
    second: compiled.filter(({ decision }) => decision === 'allow' || decision === 'deny'),
    takesServiceTokens: policies.some(({ decision }) => decision === 'non_identity'),
    preflightBypass: false,
    sessionMs: applicationHours === undefined ? undefined : applicationHours * 3_600_000,
  };
}

function compiledSet(set: Required<RuleSet>, of: RuleScope): CompiledRuleSet {
  const read = (rules: readonly unknown[]) => rules.map((rule) => ruleOf(rule, of));
  return {
    include: judgesOf(read(set.include), of),
    require: judgeAll(read(set.require), of),
    exclude: judgesOf(read(set.exclude), of),
  };
}

const everyone = { everyone: {} };
const dom = { email_domain: { domain: 'example.com' } };
const geo = (country: string) => ({ geo: { country_code: country } });
const office = { ip: { ip: '198.51.100.0/24' } };
const azure = (id: string) => ({ azureAD: { id, identity_provider_id: PROVIDERS.ENTRA.id } });
const allow = (include: readonly unknown[], more: Partial<PolicySketch> = {}): PolicySketch => ({
  decision: 'allow',
  include,
  ...more,
});
const deny = (include: readonly unknown[]): PolicySketch => ({ decision: 'deny', include });
const bypass = (include: readonly unknown[]): PolicySketch => ({ decision: 'bypass', include });
const service = (include: readonly unknown[]): PolicySketch => ({ decision: 'non_identity', include });

const bob = loggedIn({ sub: 'bob', email: 'bob@other.example' });
const bobOfDomain = loggedIn({ sub: 'bob', email: 'bob@example.com' });
const noEmail = loggedIn({ sub: 'x' });
const overage = loggedIn({ sub: 'e', email: 'e@example.com', _claim_names: { groups: 'src1' } }, 'ENTRA');
const valid = (tokenId: string): Facts => ({
  serviceCredentials: { state: 'valid', tokenId, name: 'ci', clientId: 'x' } satisfies ServiceCredentialsFact,
});
const refusedCredentials: Facts = { serviceCredentials: { state: 'refused', why: 'wrong secret' } };
const malformedCredentials: Facts = { serviceCredentials: { state: 'malformed', why: 'no secret' } };
const issued = (hoursAgo: number): Facts => ann({ iat: Date.UTC(2026, 2, 4, 14, 30) / 1000 - hoursAgo * 3600 });

describe('worked examples', () => {
  it.each<[string, readonly PolicySketch[], Facts, string, string]>([
    ['no policy, anyone', [], ann(), 'deny', 'no_policy_matched'],
    ['allow everyone, nobody', [allow([everyone])], nobody, 'unauthenticated', 'not_authenticated'],
    ['allow everyone, ann', [allow([everyone])], ann(), 'allow', 'policy_allowed'],
    ['allow dom, bob of elsewhere', [allow([dom])], bob, 'deny', 'no_policy_matched'],
    ['allow dom, token expired', [allow([dom])], invalidToken, 'unauthenticated', 'token_invalid'],
    ['allow dom, keys cannot be reached', [allow([dom])], unverifiableToken, 'unavailable', 'fact_unavailable'],
    [
      'allow dom in CA, ann in FR',
      [allow([dom], { require: [geo('CA')] })],
      { ...ann(), ...inCountry('FR') },
      'deny',
      'no_policy_matched',
    ],
    [
      'allow dom in CA, nobody in FR',
      [allow([dom], { require: [geo('CA')] })],
      { ...nobody, ...inCountry('FR') },
      'deny',
      'no_policy_matched',
    ],
    [
      'allow dom in CA, nobody in CA',
      [allow([dom], { require: [geo('CA')] })],
      { ...nobody, ...inCountry('CA') },
      'unauthenticated',
      'not_authenticated',
    ],
    [
      'allow everyone but the group of mallory, no e-mail',
      [allow([everyone], { exclude: [{ group: { id: 'mallory' } }] })],
      noEmail,
      'deny',
      'no_policy_matched',
    ],
    [
      'deny RU; allow dom, nobody in RU',
      [deny([geo('RU')]), allow([dom])],
      { ...nobody, ...inCountry('RU') },
      'deny',
      'policy_denied',
    ],
    [
      'deny RU; allow dom, nobody in CA',
      [deny([geo('RU')]), allow([dom])],
      { ...nobody, ...inCountry('CA') },
      'unauthenticated',
      'not_authenticated',
    ],
    [
      'allow ann; deny everyone, nobody',
      [allow([{ email: { email: 'ann@example.com' } }]), deny([everyone])],
      nobody,
      'unauthenticated',
      'not_authenticated',
    ],
    [
      'allow ann; deny everyone, bob',
      [allow([{ email: { email: 'ann@example.com' } }]), deny([everyone])],
      bobOfDomain,
      'deny',
      'policy_denied',
    ],
    [
      'deny everyone; allow ann, ann',
      [deny([everyone]), allow([{ email: { email: 'ann@example.com' } }])],
      ann(),
      'deny',
      'policy_denied',
    ],
    [
      'deny everyone; allow ann, nobody',
      [deny([everyone]), allow([{ email: { email: 'ann@example.com' } }])],
      nobody,
      'deny',
      'policy_denied',
    ],
    [
      'deny mallory; allow everyone, no e-mail',
      [deny([{ email: { email: 'mallory@example.com' } }]), allow([everyone])],
      noEmail,
      'deny',
      'policy_denied',
    ],
    [
      'deny contractors; allow dom, groups elsewhere',
      [deny([azure('5f3a')]), allow([dom])],
      overage,
      'unavailable',
      'fact_unavailable',
    ],
    [
      'allow staff; allow dom, groups elsewhere',
      [allow([azure('5f3a')]), allow([dom])],
      overage,
      'allow',
      'policy_allowed',
    ],
    [
      'bypass office; allow dom, nobody in the office',
      [bypass([office]), allow([dom])],
      { ...nobody, ...from('198.51.100.9') },
      'allow',
      'policy_bypassed',
    ],
    [
      'bypass office; allow dom, stale cookie in the office',
      [bypass([office]), allow([dom])],
      { ...invalidToken, ...from('198.51.100.9') },
      'allow',
      'policy_bypassed',
    ],
    [
      'bypass office; allow dom, nobody elsewhere',
      [bypass([office]), allow([dom])],
      { ...nobody, ...from('192.0.2.1') },
      'unauthenticated',
      'not_authenticated',
    ],
    [
      'bypass CA; deny everyone, no location source',
      [bypass([geo('CA')]), deny([everyone])],
      { ...nobody, ...inCountry(undefined) },
      'unavailable',
      'fact_unavailable',
    ],
    [
      'service T; allow dom, T',
      [service([{ service_token: { token_id: T } }]), allow([dom])],
      { ...nobody, ...valid(T) },
      'allow',
      'policy_allowed',
    ],
    [
      'service T; allow dom, wrong secret beside a good token',
      [service([{ service_token: { token_id: T } }]), allow([dom])],
      { ...ann(), ...refusedCredentials },
      'unauthenticated',
      'token_invalid',
    ],
    [
      'service T; allow dom, only the client id',
      [service([{ service_token: { token_id: T } }]), allow([dom])],
      { ...nobody, ...malformedCredentials },
      'unauthenticated',
      'token_invalid',
    ],
    [
      'service T; allow dom, U beside a good token',
      [service([{ service_token: { token_id: T } }]), allow([dom])],
      { ...ann(), ...valid(U) },
      'deny',
      'no_policy_matched',
    ],
    [
      'service T; allow dom, ann without service headers',
      [service([{ service_token: { token_id: T } }]), allow([dom])],
      ann(),
      'allow',
      'policy_allowed',
    ],
    [
      'allow T, T but nobody',
      [allow([{ service_token: { token_id: T } }])],
      { ...nobody, ...valid(T) },
      'unauthenticated',
      'not_authenticated',
    ],
    [
      'allow T, wrong secret',
      [allow([{ service_token: { token_id: T } }])],
      { ...nobody, ...refusedCredentials },
      'deny',
      'no_policy_matched',
    ],
    [
      'service certificate, verified',
      [service([{ certificate: {} }])],
      { ...nobody, ...certified() },
      'allow',
      'policy_allowed',
    ],
    ['service certificate, none', [service([{ certificate: {} }])], nobody, 'deny', 'no_policy_matched'],
    [
      'service common_name, an unlisted service JWT',
      [service([{ common_name: { common_name: 'api' } }])],
      { ...nobody, ...refusedCredentials },
      'unauthenticated',
      'token_invalid',
    ],
    [
      'allow everyone for 1 h, issued 2 h ago',
      [allow([everyone], { hours: 1 })],
      issued(2),
      'unauthenticated',
      'session_expired',
    ],
    [
      'allow everyone for 1 h, issued just now',
      [allow([everyone], { hours: 1 })],
      issued(0.5),
      'allow',
      'policy_allowed',
    ],
    [
      'allow everyone for 0 s, issued within the clock skew',
      [allow([everyone], { hours: 0 })],
      issued(0),
      'allow',
      'policy_allowed',
    ],
    ['allow everyone for 1 h, no iat', [allow([everyone], { hours: 1 })], ann(), 'unauthenticated', 'session_expired'],
    [
      'service U open for want of a source',
      [service([geo('CA')])],
      { ...nobody, ...valid(U), ...inCountry(undefined) },
      'unavailable',
      'fact_unavailable',
    ],
  ])('%s', (_, policies, facts, outcome, reason) => {
    expect(decideAccess(access(policies), contextOf(facts))).toMatchObject({ outcome, reason });
  });

  it('lets the policy’s session duration win over the application’s', () => {
    expect(decideAccess(access([allow([everyone], { hours: 24 })], 1), contextOf(issued(2)))).toMatchObject({
      outcome: 'allow',
    });
    expect(decideAccess(access([allow([everyone])], 1), contextOf(issued(2)))).toMatchObject({
      reason: 'session_expired',
    });
  });

  it('runs Allow A, Deny B, Service Auth C, Bypass D, Allow E in the order C, D, A, B, E', () => {
    const order: string[] = [];
    const noting = (name: string): Judge => {
      return () => {
        order.push(name);
        return 'unmet';
      };
    };
    const made = (name: string, decision: CompiledPolicy['decision']): CompiledPolicy => ({
      named: { id: name, name },
      decision,
      rules: { include: noting(name), require: () => 'met', exclude: () => 'unmet' },
      sessionMs: undefined,
    });
    const result = decideAccess(
      {
        first: [made('C', 'non_identity'), made('D', 'bypass')],
        second: [made('A', 'allow'), made('B', 'deny'), made('E', 'allow')],
        takesServiceTokens: true,
        preflightBypass: false,
        sessionMs: undefined,
      },
      contextOf(ann()),
    );
    expect(order).toEqual(['C', 'D', 'A', 'B', 'E']);
    expect(result).toMatchObject({ outcome: 'deny', reason: 'no_policy_matched' });
  });
});

describe('a CORS preflight, where it may pass', () => {
  const SENT = { origin: 'https://a.example', 'access-control-request-method': 'DELETE' };
  const answer = (method: string, sent: Readonly<Record<string, string>>, preflightBypass = true): string => {
    const request = { method, headers: { ...contextOf().request.headers, has: (name: string) => name in sent } };
    return decideAccess({ ...access([allow([everyone])]), preflightBypass }, contextOf(nobody, request)).reason;
  };

  it.each<[string, string, Readonly<Record<string, string>>, string]>([
    ['OPTIONS with both headers', 'OPTIONS', SENT, 'policy_bypassed'],
    ['another method', 'DELETE', SENT, 'not_authenticated'],
    ['without origin', 'OPTIONS', { 'access-control-request-method': 'GET' }, 'not_authenticated'],
    ['without the method that is asked for', 'OPTIONS', { origin: 'null' }, 'not_authenticated'],
    ...['x-http-method-override', 'x-http-method', 'x-method-override'].map(
      (name): [string, string, Readonly<Record<string, string>>, string] => [
        `but for an upstream that obeys ${name} it is a DELETE`,
        'OPTIONS',
        { ...SENT, [name]: 'DELETE' },
        'not_authenticated',
      ],
    ),
  ])('%s', (_, method, sent, reason) => {
    expect(answer(method, sent)).toBe(reason);
  });

  it('passes nowhere else', () => {
    expect(answer('OPTIONS', SENT, false)).toBe('not_authenticated');
  });
});

describe('one rule set', () => {
  const set = (include: Verdict, require: Verdict, exclude: Verdict): CompiledRuleSet => ({
    include: () => include,
    require: () => require,
    exclude: () => exclude,
  });
  it.each<[Verdict, Verdict, Verdict, Verdict]>([
    ['met', 'met', 'unmet', 'met'],
    ['met', 'met', 'unavailable', 'unavailable'],
    ['met', 'met', 'met', 'unmet'],
    ['met', 'not_stated', 'unmet', 'not_stated'],
    ['met', 'not_stated', 'met', 'unmet'],
    ['no_identity', 'met', 'unavailable', 'no_identity'],
    ['not_stated', 'unavailable', 'unmet', 'unavailable'],
    ['not_stated', 'met', 'met', 'unmet'],
    ['unmet', 'met', 'unmet', 'unmet'],
    ['met', 'unmet', 'unavailable', 'unmet'],
    ['no_identity', 'unmet', 'unmet', 'unmet'],
  ])('include %s, require %s, exclude %s → %s', (include, require, exclude, whole) => {
    expect(judgeRuleSet(set(include, require, exclude), contextOf())).toBe(whole);
  });
});

describe('laws', () => {
  const verdict = fc.constantFrom<Verdict>('met', 'unmet', 'no_identity', 'unavailable', 'not_stated');
  const sketch = fc.record({
    decision: fc.constantFrom<CompiledPolicy['decision']>('allow', 'deny', 'bypass', 'non_identity'),
    verdict,
  });
  const identity = fc.constantFrom<Facts>(nobody, ann(), invalidToken, unverifiableToken);
  const credentials = fc.constantFrom<Facts>({}, valid(T), refusedCredentials, malformedCredentials);

  const decided = (
    sketches: readonly { decision: CompiledPolicy['decision']; verdict: Verdict }[],
    context: EvaluationContext,
  ) => {
    const compiled = sketches.map(({ decision, verdict: fixed }, i): CompiledPolicy => ({
      named: { id: '', name: String(i) },
      decision,
      rules: { include: () => fixed, require: () => 'met', exclude: () => 'unmet' },
      sessionMs: undefined,
    }));
    return decideAccess(
      {
        first: compiled.filter(({ decision }) => decision === 'bypass' || decision === 'non_identity'),
        second: compiled.filter(({ decision }) => decision === 'allow' || decision === 'deny'),
        takesServiceTokens: compiled.some(({ decision }) => decision === 'non_identity'),
        preflightBypass: false,
        sessionMs: undefined,
      },
      context,
    );
  };

  it('allows only by a policy that is met, and by an allow policy only somebody who is logged in', () => {
    fc.assert(
      fc.property(fc.array(sketch, { maxLength: 6 }), identity, credentials, (sketches, who, service_) => {
        const result = decided(sketches, contextOf({ ...who, ...service_ }));
        if (result.outcome !== 'allow') return;
        const policy = sketches[Number(result.policy?.named.name)];
        expect(policy?.verdict).toBe('met');
        expect(policy?.decision).not.toBe('deny');
        if (policy?.decision === 'allow') expect(who.identity?.state).toBe('known');
      }),
      { numRuns: 5000 },
    );
  });

  it('gives the answer that every possible outcome of what is unavailable agrees on, and 503 or 401 where they differ', () => {
    fc.assert(
      fc.property(fc.array(sketch, { maxLength: 5 }), (sketches) => {
        const context = contextOf(ann());
        const open = sketches.map((one) => one.verdict === 'unavailable' || one.verdict === 'no_identity');
        const known = sketches.map((one) =>
          one.verdict === 'no_identity' ? { ...one, verdict: 'unavailable' as const } : one,
        );
        const result = decided(known, context);
        const outcomes = new Set<string>();
        for (let bits = 0; bits < 2 ** sketches.length; bits += 1) {
          const world = known.map((one, i) =>
            open[i]
              ? { ...one, verdict: Math.floor(bits / 2 ** i) % 2 === 1 ? ('met' as const) : ('unmet' as const) }
              : one,
          );
          outcomes.add(decided(world, context).outcome);
        }
        if (outcomes.size > 1) expect(['unavailable', 'unauthenticated']).toContain(result.outcome);
        else if (result.outcome !== 'unavailable') expect(outcomes).toEqual(new Set([result.outcome]));
      }),
      { numRuns: 3000 },
    );
  });
});
