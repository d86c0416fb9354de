/** What is remembered, while the store fails, hangs or is being written by others: nothing that fails lets anybody in,
 *  and nothing that cannot be written keeps anybody out. */
import { afterEach, describe, expect, it } from 'vitest';
import { createKeySets } from '../src/facts/key-set.ts';
import { createLearner } from '../src/learning.ts';
import { following } from '../src/shared/following.ts';
import { createStateKeys, randomStateKeys } from '../src/state/keys.ts';
import { createMemoryStore } from '../src/state/memory.ts';
import { StateError } from '../src/state/store.ts';
import type { StateStore } from '../src/state/store.ts';
import { annToken, IDENTITY, ORDERS, wholeCheck } from './facts/whole-check.ts';
import type { Whole } from './facts/whole-check.ts';

const PASSWORD =
  'lowRiskAuthenticationFlow: { name: Password }, mediumRiskAuthenticationFlow: { name: Password and Second Factor }, highRiskAuthenticationFlow: { name: Password and Second Factor }';
const SETTINGS = `${IDENTITY}geo: { headers: { country: cf-ipcountry, city: cf-ipcity, latitude: cf-iplatitude, longitude: cf-iplongitude } }\n`;
const NAVIGATION = { 'sec-fetch-mode': 'navigate' };
const NOWHERE = { 'cf-ipcountry': '', 'cf-ipcity': '' };
const PORTO = { 'cf-ipcountry': 'PT', 'cf-ipcity': 'Porto', 'cf-iplatitude': '41.15', 'cf-iplongitude': '-8.62' };

function policies(rule: string): string {
  return `applications: [{ id: ${ORDERS}, name: Orders, destinations: [orders.example.com], policies: [{ name: A, decision: allow, include: [{ email_domain: { domain: example.com } }] }] }]
resource_rules: [{ id: 0c3c0000-0000-4000-8000-000000000001, name: R, resourceId: ${ORDERS}, groups: [{ name: All Groups }], lowRiskThreshold: 30, mediumRiskThreshold: 70, ${PASSWORD}, ${rule} }]\n`;
}

interface Remembering extends Whole {
  readonly conflicts: () => number;
  readonly failures: readonly unknown[];
}

const open: Whole[] = [];
afterEach(() => {
  for (const one of open.splice(0)) one.close();
});

/** Everything from a request's bytes to what is remembered of it, on this store. */
async function remembering(rule: string, store: StateStore, keys = randomStateKeys()): Promise<Remembering> {
  const state = { store, keys };
  const failures: unknown[] = [];
  let conflicts = 0;
  const learn = createLearner({
    state,
    settings: () => whole.revision.settings.risk,
    onConflict: () => (conflicts += 1),
    onFailure: (error) => failures.push(error),
  });
  const whole: Whole = await wholeCheck(
    { 'postern.yaml': SETTINGS, 'policies/all.yaml': policies(rule) },
    {
      keySets: createKeySets(),
      state: () => state,
      settle: (decision, context, application) =>
        following(learn(decision, context, application), (cookies) => ({
          decision: { ...decision, cookies },
          attempt: 0,
        })),
    },
  );
  open.push(whole);
  return Object.assign(Object.create(whole) as Whole, { conflicts: () => conflicts, failures });
}

function memory(changes: Partial<StateStore> = {}): StateStore & { readonly writes: () => number } {
  const store = createMemoryStore({ usersMax: 100, nowMs: Date.now });
  let writes = 0;
  return {
    ...store,
    write(...args) {
      writes += 1;
      return store.write(...args);
    },
    ...changes,
    writes: () => writes,
  };
}

const down = (): never => {
  throw new StateError('unavailable', 'no connection');
};
const refused = (): Promise<never> => Promise.reject(new StateError('unavailable', 'no connection'));
const hung = (): Promise<never> => new Promise(() => undefined);

type Http = Readonly<Record<string, unknown>>;

const weak = (more: object = {}, claims: object = {}): Http => ({
  headers: { ...PORTO, ...more, authorization: `Bearer ${annToken({ ...claims })}` },
});
const strong = (more: object = {}, claims: object = {}): Http => ({
  method: 'GET',
  headers: {
    ...PORTO,
    ...NAVIGATION,
    ...more,
    authorization: `Bearer ${annToken({ amr: ['pwd', 'otp'], ...claims })}`,
  },
});

describe('a store that cannot be read', () => {
  it.each<[string, StateStore['read'], number]>([
    ['it throws', down, 5_000],
    ['it rejects', refused, 5_000],
    ['it hangs', hung, 150],
  ])('%s: places and machines are a risk, travel is none, nothing is admitted', async (_, read, deadlineMs) => {
    for (const [rule, expected] of [
      ['locationHistoryContext: { riskPoint: 50 }', { outcome: 'step_up', risk_level: 'MEDIUM' }],
      ['machineContext: { riskPoint: 50 }', { outcome: 'step_up', risk_level: 'MEDIUM' }],
      ['travelVelocityContext: { riskPoint: 50 }', { outcome: 'allow', risk_level: 'LOW' }],
      [
        'travelVelocityContext: { riskPoint: 50, onUnknown: UNAVAILABLE }',
        { outcome: 'unavailable', reason: 'fact_unavailable' },
      ],
      [
        'locationHistoryContext: { riskPoint: 50, onUnknown: UNAVAILABLE }',
        { outcome: 'unavailable', reason: 'fact_unavailable' },
      ],
      ['machineContext: { riskPoint: 50, onUnknown: NO_RISK }', { outcome: 'allow', risk_level: 'LOW' }],
      ['disableSSO: true', { outcome: 'allow' }],
    ] as const) {
      const store = memory({ read });
      const whole = await remembering(rule, store);
      expect(await whole.ask(weak(), deadlineMs)).toMatchObject(expected);
      expect(whole.facts).toContainEqual({ fact: 'history', had: false });
      // What could not be read is not written either, nor is that asked of a store that is down.
      expect(store.writes()).toBe(0);
      expect(whole.failures).toEqual([]);
    }
  });

  it('an event that was admitted is admitted no longer while the store is down', async () => {
    const store = memory();
    let isDown = false;
    const whole = await remembering('disableSSO: true', {
      ...store,
      read: (user) => (isDown ? refused() : store.read(user)),
    });
    const now = Math.floor(Date.now() / 1000);
    const event = { auth_time: now - 290 };
    const soon = { ...strong({}, event), timeMs: now * 1000 };
    const later = { ...soon, timeMs: (now + 3_600) * 1000 };
    expect(await whole.ask(soon)).toMatchObject({ outcome: 'allow' });
    expect(await whole.ask(later)).toMatchObject({ outcome: 'allow' });
    isDown = true;
    expect(await whole.ask(soon)).toMatchObject({ outcome: 'allow' });
    expect(await whole.ask(later)).toMatchObject({ outcome: 'step_up' });
  });
});

describe('a store that cannot be written', () => {
  it.each<[string, StateStore['write'], number]>([
    ['it throws', down, 1],
    ['it rejects', refused, 1],
    ['somebody else is first, each time', () => false, 0],
    ['the same, later', () => Promise.resolve(false), 0],
  ])('%s: let in all the same, without a cookie', async (_, write, failures) => {
    const whole = await remembering('machineContext: { riskPoint: 50 }', memory({ write }));
    expect(await whole.ask(strong())).toMatchObject({ outcome: 'allow', risk_level: 'MEDIUM' });
    expect(whole.finished[0]?.decision.cookies).toEqual([]);
    expect(whole.failures).toHaveLength(failures);
    expect(whole.conflicts()).toBe(1 - failures);
  });

  it('it hangs: let in before the caller gives up, without a cookie', async () => {
    const whole = await remembering('machineContext: { riskPoint: 50 }', memory({ write: hung }));
    const began = Date.now();
    expect(await whole.ask(strong(), 400)).toMatchObject({ outcome: 'allow', risk_level: 'MEDIUM' });
    expect(Date.now() - began).toBeLessThan(10_000);
    expect(whole.finished[0]?.decision.cookies).toEqual([]);
    expect(whole.finished).toHaveLength(1);
  });

  it('somebody else is first, twice: read again and written, with one cookie', async () => {
    const store = memory();
    let left = 2;
    const whole = await remembering('machineContext: { riskPoint: 50 }', {
      ...store,
      write(user, record, expected) {
        left -= 1;
        // Another replica records an event of its own in between.
        if (left >= 0) {
          const kept = store.read(user);
          const other = { ...record, machines: [], events: [`other ${left}`] };
          if (!(kept instanceof Promise)) void store.write(user, { ...other, version: expected + 1 }, expected);
        }
        return store.write(user, record, expected);
      },
    });
    expect(await whole.ask(strong())).toMatchObject({ outcome: 'allow' });
    expect(whole.finished[0]?.decision.cookies).toHaveLength(1);
    expect(whole.conflicts()).toBe(0);
  });
});

describe('memory', () => {
  it('costs a check no waiting', async () => {
    const whole = await remembering(
      'machineContext: { riskPoint: 50 }, locationHistoryContext: { riskPoint: 20 }',
      memory(),
    );
    // The token is verified once; from then on everything is there at once.
    const asked = strong();
    await whole.ask(asked);
    expect(whole.answer(asked).atOnce).toBe(true);
    expect(whole.facts.filter(({ fact }) => fact === 'history')).toEqual([]);
  });

  it('is read once for all that ask, and written once for each event', async () => {
    let reads = 0;
    const store = memory();
    const counting: StateStore = {
      ...store,
      read(user) {
        reads += 1;
        return store.read(user);
      },
    };
    const whole = await remembering(
      'machineContext: { riskPoint: 20 }, locationHistoryContext: { riskPoint: 20 }, travelVelocityContext: { riskPoint: 20 }, disableSSO: true',
      counting,
    );
    const asked = strong();
    for (let time = 0; time < 5; time += 1) await whole.ask(asked);
    expect(reads).toBe(5);
    expect(store.writes()).toBe(1);
  });

  it.each<[string, string, Http]>([
    ['a step-up', 'locationHistoryContext: { riskPoint: 50 }', weak()],
    ['a deny', 'locationHistoryContext: { riskPoint: 50, denyAccess: true }', strong()],
    ['a rule that learns nothing', 'ipContext: { allowedIpRanges: [203.0.113.0/24], riskPoint: 50 }', strong()],
    ['somebody else', 'locationHistoryContext: { riskPoint: 50 }', strong({}, { email: 'eve@elsewhere.example' })],
    [
      'an event without a time or an id',
      'locationHistoryContext: { riskPoint: 50 }',
      strong({}, { auth_time: undefined, iat: undefined }),
    ],
  ])('is not written by %s', async (_, rule, asked) => {
    const store = memory();
    const whole = await remembering(rule, store);
    await whole.ask(asked);
    expect(whole.finished).toHaveLength(1);
    expect(store.writes()).toBe(0);
  });

  it('an older key still finds what it wrote, and what is written then is under the newer one', async () => {
    const store = memory();
    const [OLD, NEW] = [Buffer.alloc(32, 'an old key'), Buffer.alloc(32, 'a newer key')];
    const rule = 'locationHistoryContext: { riskPoint: 50 }, machineContext: { riskPoint: 10 }';
    const before = await remembering(rule, store, createStateKeys([OLD]));
    expect(await before.ask(strong())).toMatchObject({ risk_level: 'MEDIUM' });
    const [setCookie = ''] = before.finished[0]?.decision.cookies ?? [];
    const cookie = setCookie.split(';')[0] ?? '';
    expect(cookie).not.toBe('');

    const rotated = await remembering(rule, store, createStateKeys([NEW, OLD]));
    const next = weak({ cookie }, { auth_time: Math.floor(Date.now() / 1000) - 1 });
    expect(await rotated.ask(next)).toMatchObject({ outcome: 'allow', risk_score: 0 });
    const [renewed = ''] = rotated.finished[0]?.decision.cookies ?? [];
    const after = await remembering(rule, store, createStateKeys([NEW]));
    for (const either of [cookie, renewed.split(';')[0] ?? ''])
      expect(await after.ask(weak({ cookie: either }))).toMatchObject({ outcome: 'allow', risk_score: 0 });
    const forgotten = await remembering(rule, store, createStateKeys([OLD]));
    expect(await forgotten.ask(weak({ cookie }))).toMatchObject({ outcome: 'step_up' });
  });
});

describe('places told by an address', () => {
  const CHECKED = 'risk: { location_check_ip: true }\n';
  const WITH_PLACE = PORTO;
  const WITHOUT = {};
  it.each<[string, string, object, readonly [learned: string, then: string], 'LOW' | 'MEDIUM']>([
    ['a private address', '', WITHOUT, ['10.20.0.4', '10.20.0.4'], 'LOW'],
    ['another private address', '', WITHOUT, ['10.20.0.4', '10.20.0.5'], 'MEDIUM'],
    ['a public address tells no place', '', WITHOUT, ['203.0.113.7', '203.0.113.7'], 'MEDIUM'],
    ['a named place, whatever the address', '', WITH_PLACE, ['203.0.113.7', '203.0.113.8'], 'LOW'],
    ['a named place, with its address', CHECKED, WITH_PLACE, ['203.0.113.7', '203.0.113.7'], 'LOW'],
    ['a named place, with another', CHECKED, WITH_PLACE, ['203.0.113.7', '203.0.113.8'], 'MEDIUM'],
    ['the same address in IPv6', CHECKED, WITH_PLACE, ['203.0.113.7', '::ffff:203.0.113.7'], 'LOW'],
    ['the same /64', CHECKED, WITH_PLACE, ['2001:db8:0:1::1', '2001:db8:0:1:ffff::2'], 'LOW'],
    ['another /64', CHECKED, WITH_PLACE, ['2001:db8:0:1::1', '2001:db8:0:2::1'], 'MEDIUM'],
  ])('%s', async (_, settings, place, [learned, then], level) => {
    const whole = await remembering('locationHistoryContext: { riskPoint: 50 }', memory());
    await whole.reload({ 'postern.yaml': `${SETTINGS}${settings}` });
    const ask = async (kind: typeof weak, address: string): Promise<Readonly<Record<string, unknown>>> => {
      const http = kind({ ...PORTO, ...NOWHERE, ...place });
      return whole.ask({ ...http, address });
    };
    expect(await ask(strong, learned)).toMatchObject({ outcome: 'allow', risk_level: 'MEDIUM' });
    expect(await ask(weak, then)).toMatchObject({ risk_level: level });
  });
});
