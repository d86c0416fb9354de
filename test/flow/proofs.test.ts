import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FIRST_STEPS, SECOND_STEPS } from '../../src/flow/steps.ts';
import { authenticator, compiled, flowOf, satisfaction, token } from './flows.ts';

/** Step → the sets of amr values that prove it. */
const PROOFS: Readonly<Record<string, string>> = {
  PASSWORD: '{pwd}',
  KBA: '{kba}',
  OTP: '{otp} {sms} {tel}',
  TOKEN: '{otp}',
  TOKENCR: '{otp}',
  TOKENPUSH: '{push} {mca} {swk}',
  SMARTCREDENTIALPUSH: '{sc} {swk pin} {swk fpt} {swk face}',
  SMART_LOGIN: '{sc pin} {sc fpt} {sc face}',
  PASSKEY: ['hwk', 'swk', 'pop', 'fido']
    .flatMap((key) => ['pin', 'fpt', 'face', 'iris', 'retina', 'mfa'].map((check) => `{${key} ${check}}`))
    .join(' '),
  FIDO: '{hwk} {pop} {fido}',
  USER_CERTIFICATE: '{sc} {x509}',
  FACE: '{face}',
  GRID: '{grid}',
  TEMP_ACCESS_CODE: '{tac}',
  MAGICLINK: '{email} {magiclink}',
  EXTERNAL: '{ext} {wia}',
  PASSTHROUGH: '{passthrough}',
  IDP: '',
  NONE: '',
  DENY: '',
};

const VALUES = [...new Set(Object.values(PROOFS).flatMap((text) => text.match(/[a-z0-9]+/g) ?? []))];
const PROVING_NOTHING = ['geo', 'rba', 'user', 'vbm', 'pin', 'fpt', 'iris', 'retina', 'mfa', 'PWD', 'made-up', ''];

/** Each step where it can stand alone: as first, or as second after NONE. */
const ALONE = [
  ...FIRST_STEPS.filter((step) => step !== 'NONE').map((step) => [step, step] as const),
  ...SECOND_STEPS.filter((step) => step !== 'NONE').map((step) => [step, `NONE, then ${step}`] as const),
];

describe('what proves a step', () => {
  it('every step is in the table', () => {
    expect(Object.keys(PROOFS).toSorted()).toEqual([...new Set([...FIRST_STEPS, ...SECOND_STEPS])].toSorted());
  });

  it.each(ALONE)('%s as %s: every set of its own, and no set without one of them', (step, text) => {
    const sets = [...(PROOFS[step] ?? '').matchAll(/\{([^}]+)\}/g)].map(([, values = '']) => values.split(' '));
    const flow = compiled(flowOf(text));
    for (const set of sets) expect(satisfaction(flow, token(set)).satisfied, set.join(' ')).toBe(true);
    fc.assert(
      fc.property(fc.subarray([...VALUES, ...PROVING_NOTHING]), (amr) => {
        expect(satisfaction(flow, token(amr)).satisfied).toBe(
          sets.some((set) => set.every((one) => amr.includes(one))),
        );
      }),
    );
  });

  it('a token without an amr claim proves nothing', () => {
    for (const step of ['PASSWORD', 'NONE, then OTP'])
      expect(satisfaction(compiled(flowOf(step)), token([], { amr: undefined })).satisfied).toBe(false);
  });

  it('nothing ever proves DENY', () => {
    expect(satisfaction(compiled(flowOf('DENY')), token(VALUES, { acr: 'phr' })).satisfied).toBe(false);
    const flow = compiled(flowOf('DENY', { acrValues: ['phr'] }));
    expect(satisfaction(flow, token(VALUES, { acr: 'phr' })).satisfied).toBe(false);
  });
});

describe('an identity from trusted headers', () => {
  it.each([
    ['EXTERNAL', true],
    ['EXTERNAL, then OTP', false],
    ['PASSWORD', false],
    ['IDP', false],
    ['PASSKEY', false],
  ])('%s: %s, whatever else it carries', (text, satisfied) => {
    const identity = token(VALUES, {
      source: 'headers',
      acr: 'phr',
      provider: { id: 'p1', type: 'okta' },
      authTime: undefined,
    });
    expect(satisfaction(compiled(flowOf(text)), identity).satisfied).toBe(satisfied);
    expect(satisfaction(compiled(flowOf('PASSWORD', { acrValues: ['phr'] })), identity).satisfied).toBe(false);
  });
});

describe('an issuer of its own habits', () => {
  const okta = [
    authenticator({
      amr: { okta_verify: ['TOKENPUSH'], swk: ['FACE'], otp: [], sms: ['PASSWORD', 'OTP'] },
      acr: { 'urn:okta:loa:2fa:any': ['PASSWORD', 'TOKENPUSH'], phrh: [] },
    }),
  ];
  it.each([
    ['a value of its own', 'NONE, then TOKENPUSH', ['okta_verify'], undefined, true],
    ['other default values stay', 'NONE, then TOKENPUSH', ['mca'], undefined, true],
    ['the default meaning is replaced', 'NONE, then TOKENPUSH', ['swk'], undefined, false],
    ['also where it is one of two', 'PASSKEY', ['swk', 'pin'], undefined, false],
    ['by what is written', 'NONE, then FACE', ['swk'], undefined, true],
    ['or by nothing', 'NONE, then TOKEN', ['otp'], undefined, false],
    ['one value that means two steps proves one of them', 'PASSWORD, then OTP', ['sms'], undefined, false],
    ['with another value both', 'PASSWORD, then OTP', ['sms', 'tel'], undefined, true],
    ['an acr proves all its steps', 'PASSWORD, then TOKENPUSH', [], 'urn:okta:loa:2fa:any', true],
    ['each by itself', 'PASSWORD', [], 'urn:okta:loa:2fa:any', true],
    ['and no others', 'PASSWORD, then OTP', [], 'urn:okta:loa:2fa:any', false],
    ['together with amr', 'OTP, then TOKENPUSH', ['tel'], 'urn:okta:loa:2fa:any', true],
    ['letter case counts', 'PASSWORD', [], 'URN:okta:loa:2fa:any', false],
    ['phishing-resistant', 'PASSKEY', [], 'phr', true],
    ['phishing-resistant, as second', 'PASSWORD, then FIDO', ['pwd'], 'phr', true],
    ['phishing-resistant says nothing of a password', 'PASSWORD, then FIDO', [], 'phr', false],
    ['its default meaning is removed', 'PASSKEY', [], 'phrh', false],
  ] as const)('%s: %s, %j, acr %s: %s', (_, text, amr, acr, satisfied) => {
    expect(satisfaction(compiled(flowOf(text), okta), token(amr, { acr })).satisfied).toBe(satisfied);
  });

  it.each([
    ['PASSKEY', 'phr', true],
    ['NONE, then FIDO', 'phrh', true],
    ['PASSWORD', 'urn:okta:loa:2fa:any', false],
  ])('%s by acr %s of another issuer: %s', (text, acr, satisfied) => {
    const identity = token([], { issuer: 'https://other.example', acr });
    expect(satisfaction(compiled(flowOf(text), okta), identity).satisfied).toBe(satisfied);
  });
});

describe('mfa, where the issuer is trusted with it', () => {
  const trusting = [authenticator({ trustBareMfa: true })];
  it.each([
    ['PASSWORD, then GRID', ['mfa'], true],
    ['PASSWORD, then OTP', ['mfa'], true],
    ['PASSWORD, then TOKEN', ['mfa'], true],
    ['PASSWORD, then TOKENCR', ['mfa'], true],
    ['PASSWORD, then TOKENPUSH', ['pwd', 'mfa'], true],
    ['PASSWORD', ['mfa'], true],
    ['NONE, then OTP', ['mfa'], true],
    ['OTP', ['mfa'], false],
    ['PASSWORD, then FIDO', ['mfa'], false],
    ['PASSWORD, then USER_CERTIFICATE', ['mfa'], false],
    ['PASSWORD, then SMARTCREDENTIALPUSH', ['mfa'], false],
    ['PASSWORD, then FACE', ['mfa'], false],
    ['PASSKEY', ['mfa'], false],
    ['KBA', ['mfa'], false],
    ['PASSKEY, then OTP', ['hwk', 'mfa'], false],
    ['PASSKEY, then OTP', ['hwk', 'pin', 'mfa'], true],
  ] as const)('%s, %j: %s', (text, amr, satisfied) => {
    expect(satisfaction(compiled(flowOf(text), trusting), token(amr)).satisfied).toBe(satisfied);
  });

  it.each(['PASSWORD, then GRID', 'PASSWORD', 'NONE, then OTP'])('%s: proves nothing where it is not', (text) => {
    expect(satisfaction(compiled(flowOf(text)), token(['mfa'])).satisfied).toBe(false);
  });
});
