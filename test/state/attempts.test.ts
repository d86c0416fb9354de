import { describe, expect, it } from 'vitest';
import { createAttempts } from '../../src/state/attempts.ts';
import type { StepUp } from '../../src/state/attempts.ts';
import { identityOf } from '../rules/contexts.ts';

const NOW = Date.UTC(2026, 2, 4, 14, 30);

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

describe('the loop guard', () => {
  it('counts parallel calls of a program with one token once', () => {
    const attempts = createAttempts(100);
    for (let i = 0; i < 3; i += 1) expect(attempts.count(asked())).toEqual({ isExhausted: false, attempt: 1 });
  });

  it('refuses a program the third weak event, and goes on asking for the first two', () => {
    const attempts = createAttempts(100);
    const answers = [0, 1, 2, 1, 2].map((time) => attempts.count(asked({ identity: event(time) })).isExhausted);
    expect(answers).toEqual([false, false, true, false, true]);
  });

  it('starts anew once the user was let in', () => {
    const attempts = createAttempts(100);
    attempts.count(asked({ identity: event(0) }));
    attempts.count(asked({ identity: event(1) }));
    attempts.clear(event(2), 'orders');
    expect(attempts.count(asked({ identity: event(3) }))).toEqual({ isExhausted: false, attempt: 1 });
  });

  it('counts every redirect of a browser', () => {
    const attempts = createAttempts(100);
    const answers = [1, 2, 3].map(() => attempts.count(asked({ byRedirect: true })));
    expect(answers).toEqual([
      { isExhausted: false, attempt: 1 },
      { isExhausted: false, attempt: 2 },
      { isExhausted: true, attempt: 2 },
    ]);
  });

  it('forgets ten minutes after the last attempt', () => {
    const attempts = createAttempts(100);
    attempts.count(asked({ byRedirect: true }));
    attempts.count(asked({ byRedirect: true, nowMs: NOW + 1000 }));
    expect(attempts.count(asked({ byRedirect: true, nowMs: NOW + 600_999 })).isExhausted).toBe(true);
    expect(attempts.count(asked({ byRedirect: true, nowMs: NOW + 601_000 }))).toEqual({
      isExhausted: false,
      attempt: 1,
    });
  });

  it.each([
    ['user', { identity: event(9, 'bob') }],
    ['application', { application: 'billing' }],
    ['requirement', { requirement: 'phr' }],
  ])('counts each %s by itself', (_, other) => {
    const attempts = createAttempts(100);
    for (let i = 0; i < 3; i += 1) attempts.count(asked({ byRedirect: true }));
    expect(attempts.count(asked({ byRedirect: true, ...other })).isExhausted).toBe(false);
  });

  it('counts nothing for a program that trusted headers name: there is no event', () => {
    const attempts = createAttempts(100);
    const identity = identityOf({ source: 'headers', email: 'ann@example.com' });
    for (let i = 0; i < 5; i += 1) expect(attempts.count(asked({ identity })).isExhausted).toBe(false);
  });
});
