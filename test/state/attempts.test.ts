import { describe, expect, it } from 'vitest';
import { createAttempts } from '../../src/state/attempts.ts';
import type { Attempts, StepUp } from '../../src/state/attempts.ts';
import { randomStateKeys } from '../../src/state/keys.ts';
import { createMemoryStore } from '../../src/state/memory.ts';
import { StateError } from '../../src/state/store.ts';
import type { StateStore } from '../../src/state/store.ts';
import { identityOf } from '../rules/contexts.ts';

const NOW = Date.UTC(2026, 2, 4, 14, 30);
/** Longer than what was forgotten is remembered. */
const LATER = NOW + 31_000;

function event(time: number | undefined, subject = 'ann') {
  return identityOf({ issuer: 'https://idp.example', subject, authTime: time });
}

function asked(part: Partial<StepUp> = {}): StepUp {
  return {
    identity: event(0),
    application: 'orders',
    requirement: 'mfa',
    byRedirect: false,
    nowMs: NOW,
    attemptsMax: 2,
    ...part,
  };
}

function memory(): StateStore {
  return createMemoryStore({ usersMax: 100, nowMs: () => NOW });
}

/** The same store, which has to be waited for. */
function awaited(store: StateStore): StateStore {
  return {
    ...store,
    countAttempt: async (...args) => store.countAttempt(...args),
    clearAttempts: async (...args) => store.clearAttempts(...args),
  };
}

function attemptsOn(store: StateStore): Attempts {
  return createAttempts({ store, keys: randomStateKeys() });
}

describe.each([
  ['at once', memory],
  ['later', () => awaited(memory())],
])('the loop guard, its store answering %s', (_, open) => {
  it('counts parallel calls of a program with one token once', async () => {
    const attempts = attemptsOn(open());
    const answers = await Promise.all([1, 2, 3].map(async () => attempts.count(asked())));
    for (const answer of answers) expect(answer).toEqual({ isExhausted: false, attempt: 1 });
  });

  it('refuses a program the third weak event, and goes on asking for the first two', async () => {
    const attempts = attemptsOn(open());
    const answers = [];
    for (const time of [0, 1, 2, 1, 2])
      answers.push((await attempts.count(asked({ identity: event(time) }))).isExhausted);
    expect(answers).toEqual([false, false, true, false, true]);
  });

  it('starts anew once the user was let in', async () => {
    const attempts = attemptsOn(open());
    await attempts.count(asked({ identity: event(0) }));
    await attempts.count(asked({ identity: event(1) }));
    attempts.clear(event(2), 'orders', NOW);
    expect(await attempts.count(asked({ identity: event(3) }))).toEqual({ isExhausted: false, attempt: 1 });
  });

  it('knows whether letting in was the success of a step-up, once, and for ten minutes', async () => {
    const attempts = attemptsOn(open());
    expect(attempts.clear(event(0), 'orders', NOW)).toBe(false);
    await attempts.count(asked({ identity: event(1) }));
    expect(attempts.clear(event(2), 'billing', NOW)).toBe(false);
    expect(attempts.clear(event(2, 'bob'), 'orders', NOW)).toBe(false);
    expect(attempts.clear(event(2), 'orders', NOW + 599_999)).toBe(true);
    expect(attempts.clear(event(2), 'orders', NOW + 599_999)).toBe(false);
    await attempts.count(asked({ identity: event(3) }));
    expect(attempts.clear(event(4), 'orders', NOW + 600_000)).toBe(false);
  });

  it('starts anew each time the user was let in, however often', async () => {
    const attempts = attemptsOn(open());
    for (let round = 0; round < 3; round += 1) {
      await attempts.count(asked({ identity: event(round * 2) }));
      await attempts.count(asked({ identity: event(round * 2 + 1) }));
      attempts.clear(event(100), 'orders', NOW + round);
      attempts.clear(event(100), 'orders', NOW + round);
    }
    expect(await attempts.count(asked({ identity: event(99) }))).toMatchObject({ isExhausted: false });
  });

  it('counts every redirect of a browser', async () => {
    const attempts = attemptsOn(open());
    const answers = [];
    for (let call = 0; call < 3; call += 1) answers.push(await attempts.count(asked({ byRedirect: true })));
    expect(answers).toEqual([
      { isExhausted: false, attempt: 1 },
      { isExhausted: false, attempt: 2 },
      { isExhausted: true, attempt: 2 },
    ]);
  });

  it('forgets ten minutes after the last attempt', async () => {
    const attempts = attemptsOn(open());
    await attempts.count(asked({ byRedirect: true }));
    await attempts.count(asked({ byRedirect: true, nowMs: NOW + 1000 }));
    expect((await attempts.count(asked({ byRedirect: true, nowMs: NOW + 600_999 }))).isExhausted).toBe(true);
    expect(await attempts.count(asked({ byRedirect: true, nowMs: NOW + 601_000 }))).toEqual({
      isExhausted: false,
      attempt: 1,
    });
  });

  it.each([
    ['user', { identity: event(9, 'bob') }],
    ['application', { application: 'billing' }],
    ['requirement', { requirement: 'phr' }],
  ])('counts each %s by itself', async (__, other) => {
    const attempts = attemptsOn(open());
    for (let i = 0; i < 3; i += 1) await attempts.count(asked({ byRedirect: true }));
    expect((await attempts.count(asked({ byRedirect: true, ...other }))).isExhausted).toBe(false);
  });

  it('counts nothing for a program that trusted headers name: there is no event', async () => {
    const attempts = attemptsOn(open());
    const identity = identityOf({ source: 'headers', email: 'ann@example.com' });
    for (let i = 0; i < 5; i += 1) expect((await attempts.count(asked({ identity }))).isExhausted).toBe(false);
  });
});

describe('a store in this process', () => {
  it('is not waited for', () => {
    expect(attemptsOn(memory()).count(asked())).not.toBeInstanceOf(Promise);
  });
});

describe('a store that fails', () => {
  const failure = new StateError('late', 'no answer in time');
  const throws = (): never => {
    throw failure;
  };
  it.each<[string, Partial<StateStore>]>([
    ['at once', { countAttempt: throws, clearAttempts: throws }],
    ['later', { countAttempt: () => Promise.reject(failure), clearAttempts: () => Promise.reject(failure) }],
  ])('%s counts nobody, and fails no request', async (_, failing) => {
    const attempts = attemptsOn({ ...memory(), ...failing });
    for (let call = 0; call < 5; call += 1) {
      attempts.clear(event(0), 'orders', NOW);
      expect(await attempts.count(asked({ byRedirect: true }))).toEqual({ isExhausted: false, attempt: 1 });
    }
  });
});

describe('allows', () => {
  interface Watched {
    readonly attempts: Attempts;
    readonly cleared: () => number;
    fails: boolean;
  }

  function watched(): Watched {
    const store = memory();
    let cleared = 0;
    const state: Watched = {
      attempts: attemptsOn({
        ...store,
        async clearAttempts(...args) {
          cleared += 1;
          if (state.fails) throw new StateError('late', 'no answer in time');
          await store.clearAttempts(...args);
        },
      }),
      cleared: () => cleared,
      fails: false,
    };
    return state;
  }

  it('of a user at work tell the store once in half a minute for each application', () => {
    const { attempts, cleared } = watched();
    for (let request = 0; request < 1000; request += 1) attempts.clear(event(request), 'orders', NOW + request);
    attempts.clear(event(0), 'billing', NOW);
    expect(cleared()).toBe(2);
    attempts.clear(event(0), 'orders', LATER);
    expect(cleared()).toBe(3);
  });

  it('tell it again at once where an attempt was counted here meanwhile', async () => {
    const { attempts, cleared } = watched();
    attempts.clear(event(0), 'orders', NOW);
    await attempts.count(asked({ identity: event(1) }));
    attempts.clear(event(0), 'orders', NOW);
    expect(cleared()).toBe(2);
  });

  it('tell it again where it failed', async () => {
    const state = watched();
    state.fails = true;
    state.attempts.clear(event(0), 'orders', NOW);
    await Promise.resolve();
    await Promise.resolve();
    state.fails = false;
    state.attempts.clear(event(0), 'orders', NOW);
    expect(state.cleared()).toBe(2);
  });
});
