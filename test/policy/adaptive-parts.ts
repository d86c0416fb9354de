/** One application protected by resource rules, as users write them, compiled without files. */
import { EvaluationContext } from '../../src/model/context.ts';
import type { Fault } from '../../src/model/fault.ts';
import type { HistoryRecord } from '../../src/model/adaptive-facts.ts';
import type { Identity } from '../../src/model/identity.ts';
import type { ProviderObject } from '../../src/model/objects.ts';
import type { Headers } from '../../src/model/request.ts';
import type { Verdict } from '../../src/model/verdict.ts';
import { compileResourceRules, decideAdaptive } from '../../src/policy/adaptive.ts';
import type { AdaptiveResult, CompiledAdaptive } from '../../src/policy/adaptive.ts';
import { createLookups, ruleScope } from '../../src/policy/lookups.ts';
import { shapeFile } from '../../src/policy/shape.ts';
import type { RiskSettings } from '../../src/risk/factor.ts';
import { identityOf, requestFacts } from '../rules/contexts.ts';
import type { Facts } from '../rules/contexts.ts';
import { SETTINGS } from './loading.ts';

export const ORDERS = '9a4b2f0e-3f55-4a57-9b0e-000000000001';
export const NOW_MS = Date.UTC(2026, 2, 4, 14, 30);
export const ISSUER = 'https://example.okta.com';

/** Providers whose domains are those of users' e-mail addresses. */
export const IDPS = {
  P1: provider('a0000000-0000-4000-8000-000000000001', 'P1', 'p1.example'),
  P2: provider('a0000000-0000-4000-8000-000000000002', 'P2', 'p2.example'),
  P3: provider('a0000000-0000-4000-8000-000000000003', 'P3', 'p3.example'),
} as const;

export interface Protection {
  /** ResourceRules; `id` is made of the letter or number given, everything else that is required has a default. */
  readonly rules: readonly Readonly<Record<string, unknown>>[];
  readonly flows?: readonly Readonly<Record<string, unknown>>[];
  readonly acrs?: readonly string[];
  readonly authenticators?: readonly unknown[];
  readonly lists?: readonly unknown[];
  readonly application?: Readonly<Record<string, unknown>>;
  readonly settings?: Partial<RiskSettings>;
  /** Group → what it says of the user. */
  readonly groups?: Readonly<Record<string, Verdict>>;
}

/** The adaptive step of an application. Throws where a file with this in it would have a fault of shape. */
export function protect(protection: Protection): CompiledAdaptive {
  const data = {
    applications: [{ id: ORDERS, name: 'Orders', destinations: ['orders.example.com'], ...protection.application }],
    resource_rules: protection.rules.map((rule, index) => ({
      name: `rule ${index}`,
      resourceId: ORDERS,
      groups: [{ name: 'All Groups' }],
      ...rule,
      id: ruleId(String(rule['id'] ?? index)),
    })),
    authentication_flows: (protection.flows ?? []).map((flow, index) => ({ id: uuid('f', index), ...flow })),
    acrs: (protection.acrs ?? []).map((name, index) => ({ id: acrId(index), name })),
    authenticators: protection.authenticators ?? [],
    lists: protection.lists ?? [],
  };
  const { objects, faults } = finished(shapeFile(data, 'policies/test.yaml'));
  const wrong = faults.filter(({ severity }: Fault) => severity === 'fault');
  if (wrong.length > 0) throw new Error(wrong.map(({ code, text }) => `${code}: ${text}`).join('\n'));
  const [application] = objects.applications;
  if (!application) throw new Error('no application');
  const providers = Object.values(IDPS);
  const risk = { ...SETTINGS.risk, ...protection.settings };
  const lookups = createLookups(objects, { ...SETTINGS, identity: { ...SETTINGS.identity, providers }, risk });
  const groups = new Map(Object.entries(protection.groups ?? {}));
  return compileResourceRules({
    application,
    rules: objects.resourceRules,
    set: objects,
    lookups,
    scope: {
      ...ruleScope(lookups),
      group: (name) => {
        const verdict = groups.get(name);
        return verdict && { id: name, name, judge: () => verdict, needs: [{ fact: 'posture' }] };
      },
    },
    settings: risk,
    providers,
  });
}

/** A UUID of a rule, so that ids sort as their letters do. */
export function ruleId(letter: string): string {
  return `00000000-0000-4000-8000-${letter.codePointAt(0)?.toString(16).padStart(12, '0')}`;
}

export function acrId(index: number): string {
  return uuid('c', index);
}

export interface Asking {
  readonly amr?: readonly string[];
  readonly identity?: Partial<Identity>;
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  readonly facts?: Facts;
}

/** Decides one request of ann, who logged in with a password just now. */
export function ask(compiled: CompiledAdaptive, asking: Asking = {}): AdaptiveResult {
  return decideAdaptive(compiled, contextFor(asking));
}

export function contextFor(asking: Asking = {}): EvaluationContext {
  const identity = identityOf({
    issuer: ISSUER,
    subject: 'ann',
    email: 'ann@example.com',
    amr: asking.amr ?? ['pwd'],
    authTime: NOW_MS / 1000,
    ...asking.identity,
  });
  const request = requestFacts({ timeMs: NOW_MS, headers: headersOf(asking.headers ?? {}) });
  return Object.assign(new EvaluationContext(request, NOW_MS), {
    identity: { state: 'known' as const, identity },
    ...asking.facts,
  });
}

/** What is remembered of a user of whom nothing is. */
export function history(part: Partial<HistoryRecord> = {}): Facts {
  const record = {
    last: undefined,
    places: [],
    admitted: new Map<string, readonly string[]>(),
    event: 'e1',
    eventKnown: false,
    addressHashes: [],
    ...part,
  };
  return { history: { state: 'known', record } };
}

function headersOf(given: Readonly<Record<string, string | readonly string[]>>): Headers {
  const values = new Map(Object.entries(given).map(([name, value]) => [name, [value].flat()]));
  return {
    has: (name) => values.has(name),
    all: (name) => values.get(name) ?? [],
    single: (name) => {
      const all = values.get(name) ?? [];
      const [value] = all;
      if (value === undefined) return { state: 'absent' };
      if (all.length > 1) return { state: 'several' };
      return value.includes('\uFFFD') ? { state: 'unreadable' } : { state: 'one', value };
    },
    cookies: () => [],
    names: () => values.keys(),
  };
}

function finished<T>(steps: Generator<void, T>): T {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}

function provider(id: string, name: string, domain: string): ProviderObject {
  return { id, name, type: 'oidc', domains: [domain], place: { file: 'postern.yaml', path: [] } };
}

function uuid(kind: string, index: number): string {
  return `${kind.padEnd(8, '0')}-0000-4000-8000-${index.toString(16).padStart(12, '0')}`;
}
