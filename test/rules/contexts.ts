/** Builders of the facts that rules read. */
import { expect } from 'vitest';
import { compileClaims, DEFAULT_CLAIM_PATHS } from '../../src/facts/claims.ts';
import { EvaluationContext } from '../../src/model/context.ts';
import type { CertificateFact, Location } from '../../src/model/facts.ts';
import type { Fault, Place } from '../../src/model/fault.ts';
import type { Identity } from '../../src/model/identity.ts';
import type { ListObject, ProviderObject, RuleObject, ServiceTokenObject } from '../../src/model/objects.ts';
import type { Headers, RequestFacts } from '../../src/model/request.ts';
import { parseAddress } from '../../src/shared/address.ts';
import { judgeRuleSet } from '../../src/policy/access.ts';
import { judgeAll, judgesOf, linkRule, needsOf, readRule } from '../../src/rules/registry.ts';
import type { Judge, LinkedGroup, RuleScope } from '../../src/rules/rule.ts';
import type { Address } from '../../src/model/address.ts';

export const PLACE: Place = { file: 'policies/test.yaml', path: ['groups', 0, 'include', 0] };

/** Providers by the names that tables use. */
export const PROVIDERS = {
  OKTA: provider('11111111-1111-1111-1111-111111111111', 'okta'),
  ENTRA: provider('22222222-2222-2222-2222-222222222222', 'azureAD'),
  GH: provider('33333333-3333-3333-3333-333333333333', 'github'),
  GOOG: provider('44444444-4444-4444-4444-444444444444', 'google-apps'),
  SAML: provider('55555555-5555-5555-5555-555555555555', 'saml'),
  OIDC: provider('66666666-6666-6666-6666-666666666666', 'oidc'),
  CF: provider('77777777-7777-7777-7777-777777777777', 'cloudflare'),
} as const;

export type ProviderName = keyof typeof PROVIDERS;

/** A request of no interest to rules; its time is the rules' clock. */
export function requestFacts(part: Partial<RequestFacts> = {}): RequestFacts {
  return {
    method: 'GET',
    host: 'orders.example.com',
    path: '/',
    query: undefined,
    target: '/',
    authority: 'orders.example.com',
    scheme: 'https',
    headers: NO_HEADERS,
    timeMs: Date.UTC(2026, 2, 4, 14, 30),
    sourceAddress: undefined,
    principal: '',
    certificate: '',
    body: { state: 'absent' },
    metadata: () => undefined,
    streamId: '',
    protocol: 'HTTP/1.1',
    ...part,
  };
}

/** The facts of one decision; what is not given is as if nothing had been gathered. */
export type Facts = Partial<Omit<EvaluationContext, 'request' | 'nowMs' | 'processNowMs' | 'groupVerdicts'>>;

export function contextOf(facts: Facts = {}, request: Partial<RequestFacts> = {}): EvaluationContext {
  return Object.assign(new EvaluationContext(requestFacts(request), Date.UTC(2026, 2, 4, 14, 30)), facts);
}

/** A logged-in user of whom nothing is stated but what is given. */
export function identityOf(part: Partial<Identity> = {}): Identity {
  return { ...compileClaims(MAPPING)({}), ...part };
}

/** Somebody logged in with these claims, through this provider; undefined: the token does not state it. */
export function loggedIn(claims: Record<string, unknown>, through: ProviderName | undefined = 'OKTA'): Facts {
  const map = compileClaims({ ...MAPPING, provider: through && PROVIDERS[through].id });
  return { identity: { state: 'known', identity: map(claims) } };
}

/** ann, with more claims. */
export function ann(claims: Record<string, unknown> = {}, through: ProviderName | undefined = 'OKTA'): Facts {
  return loggedIn({ sub: 'ann', email: 'ann@example.com', ...claims }, through);
}

export const nobody: Facts = { identity: { state: 'nobody' } };
export const invalidToken: Facts = { identity: { state: 'invalid', why: 'expired' } };
export const unverifiableToken: Facts = { identity: { state: 'unavailable', why: 'its keys could not be had' } };

/** Undefined: the caller's address could not be had. */
export function from(address: string | undefined): Facts {
  return { address: address === undefined ? undefined : addressOf(address) };
}

export function addressOf(text: string): Address {
  const address = parseAddress(text);
  if (!address) throw new Error(`no address: ${text}`);
  return address;
}

/** Undefined: the country could not be had. */
export function inCountry(country: string | undefined, source: Location['source'] = 'database'): Facts {
  return {
    location: {
      country,
      city: undefined,
      isp: undefined,
      latitude: undefined,
      longitude: undefined,
      anonymous: false,
      source: country === undefined ? 'none' : source,
    },
  };
}

type Present = Extract<CertificateFact, { state: 'present' }>;

/** A certificate that was presented, verified unless said otherwise. */
export function certified(part: Partial<Present> = {}): Facts {
  return {
    certificate: {
      state: 'present',
      verified: 'yes',
      commonName: { state: 'one', value: 'api' },
      uris: [],
      dnsNames: [],
      clientUsage: 'fits',
      why: '',
      ...part,
    },
  };
}

export interface ScopeParts {
  readonly lists?: readonly ListObject[];
  readonly serviceTokens?: readonly ServiceTokenObject[];
  readonly applications?: readonly { readonly id: string; readonly issuesTokens: boolean }[];
  /** Name → rule set; the id is the name. */
  readonly groups?: Readonly<Record<string, RuleSet>>;
  readonly accounts?: readonly string[];
  readonly evaluationHosts?: readonly string[];
  readonly postureFromIdentity?: boolean;
  readonly riskScoreFromIdentity?: boolean;
}

export interface RuleSet {
  readonly include: readonly unknown[];
  readonly require?: readonly unknown[];
  readonly exclude?: readonly unknown[];
}

/** What rules may ask at load: the providers above, and what is given. */
export function scopeOf(parts: ScopeParts = {}): RuleScope {
  const groups = new Map<string, LinkedGroup>();
  const lists = new Map(parts.lists?.map((list) => [list.id, list]));
  const scope: RuleScope = {
    group: (idOrName) => groups.get(idOrName),
    list: (id) => lists.get(id),
    serviceToken: (id) => parts.serviceTokens?.find((token) => token.id === id),
    provider: (id) => Object.values(PROVIDERS).find((one) => one.id === id),
    application: (id) => parts.applications?.find((one) => one.id === id),
    accounts: parts.accounts ?? [],
    evaluationHosts: parts.evaluationHosts ?? [],
    postureFromIdentity: parts.postureFromIdentity ?? true,
    riskScoreFromIdentity: parts.riskScoreFromIdentity ?? true,
    nearest: () => undefined,
  };
  for (const [name, rules] of Object.entries(parts.groups ?? {})) groups.set(name, groupOf(name, rules, scope));
  return scope;
}

/** Reads and links a rule; it must be without a fault. */
export function ruleOf(written: unknown, scope: RuleScope): RuleObject {
  const faults: Fault[] = [];
  const rule = readRule(written, PLACE, (fault) => faults.push(fault));
  if (rule) linkRule(rule, scope, (fault) => faults.push(fault));
  expect(faults).toEqual([]);
  if (!rule) throw new Error('no rule');
  return rule;
}

/** Everything that is reported of a rule. */
export function faultsOf(written: unknown, scope: RuleScope = scopeOf()): readonly Fault[] {
  const faults: Fault[] = [];
  const rule = readRule(written, PLACE, (fault) => faults.push(fault));
  if (rule) linkRule(rule, scope, (fault) => faults.push(fault));
  return faults;
}

/** The judge of one rule as written. */
export function judgeOf(written: unknown, scope: RuleScope): Judge {
  return judgesOf([ruleOf(written, scope)], scope);
}

function groupOf(name: string, rules: RuleSet, scope: RuleScope): LinkedGroup {
  const lists = [readAll(rules.include), readAll(rules.require), readAll(rules.exclude)] as const;
  return {
    id: name,
    name,
    judge: (context) =>
      judgeRuleSet(
        { include: judgesOf(lists[0], scope), require: judgeAll(lists[1], scope), exclude: judgesOf(lists[2], scope) },
        context,
      ),
    get needs() {
      return lists.flatMap((list) => needsOf(list, scope));
    },
  };
}

function readAll(list: readonly unknown[] = []): readonly RuleObject[] {
  return list.flatMap((written) => readRule(written, PLACE, () => undefined) ?? []);
}

function provider(id: string, type: string): ProviderObject {
  return { id, name: type, type, domains: [], place: PLACE };
}

const MAPPING = {
  paths: DEFAULT_CLAIM_PATHS,
  provider: undefined,
  providers: Object.values(PROVIDERS),
  source: 'token',
  clockSkewSeconds: 30,
} as const;

const NO_HEADERS: Headers = {
  has: () => false,
  all: () => [],
  single: () => ({ state: 'absent' }),
  cookies: () => [],
  names: () => [],
};
