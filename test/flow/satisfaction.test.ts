import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { flowAssurance } from '../../src/flow/assurance.ts';
import { isAdmitted } from '../../src/flow/satisfaction.ts';
import type { HistoryRecord } from '../../src/model/adaptive-facts.ts';
import { FIRST_STEPS, SECOND_STEPS } from '../../src/flow/steps.ts';
import { advertised, authenticator, compiled, flowOf, NOW_MS, satisfaction, throughProviders, token } from './flows.ts';

const seconds = NOW_MS / 1000;

describe('a flow and a token', () => {
  const acr = authenticator({ acr: { 'urn:okta:loa:2fa:any': ['PASSWORD', 'TOKENPUSH'] } });
  it.each([
    ['PASSWORD, then TOKENPUSH or FIDO', ['pwd', 'swk'], true, ['mfa']],
    ['PASSWORD, then TOKENPUSH or FIDO', ['pwd', 'pop'], true, ['mfa']],
    ['PASSWORD, then TOKENPUSH or FIDO', ['pwd', 'sms'], false, ['mfa']],
    ['OTP, then TOKEN', ['otp'], false, ['mfa']],
    ['OTP, then TOKEN', ['sms', 'otp'], true, ['mfa']],
    ['NONE, then FIDO', ['fido'], true, ['phr']],
    ['NONE, then FIDO', ['pwd'], false, ['phr']],
    ['PASSKEY', ['fido', 'fpt'], true, ['phr']],
    ['PASSKEY', ['pop', 'user'], false, ['phr']],
    ['SMART_LOGIN / PASSWORD', ['sc'], false, []],
    ['SMART_LOGIN / PASSWORD', ['sc', 'fpt'], true, []],
    ['SMART_LOGIN / PASSWORD', ['pwd', 'kba'], true, []],
    ['PASSWORD, then FIDO', ['pwd', 'hwk'], true, ['phr']],
    ['PASSWORD, then FIDO or USER_CERTIFICATE', ['pwd', 'x509'], true, ['phr']],
    ['USER_CERTIFICATE / PASSKEY', ['sc'], true, ['phr']],
    // A stronger method does not stand in for a listed one.
    ['PASSWORD', ['hwk', 'pin'], false, []],
    ['PASSWORD, then SMARTCREDENTIALPUSH', ['pwd', 'swk', 'pin'], true, ['mfa']],
    // One value may not serve both steps, but another proof of the first may free it.
    ['OTP, then TOKENCR', ['otp', 'tel'], true, ['mfa']],
    ['TOKENPUSH, then SMARTCREDENTIALPUSH', ['swk', 'pin'], false, ['mfa']],
    ['TOKENPUSH, then SMARTCREDENTIALPUSH', ['mca', 'swk', 'pin'], true, ['mfa']],
    ['USER_CERTIFICATE, then OTP', ['sc'], false, ['phr']],
    ['EXTERNAL, then PASSTHROUGH', ['wia', 'passthrough'], true, []],
    ['FACE', ['face'], true, []],
  ] as const)('%s, %j: %s, advertised %j', (text, amr, satisfied, acrs) => {
    const flow = compiled(flowOf(text));
    expect(satisfaction(flow, token(amr))).toMatchObject({ satisfied, onlyFreshness: false });
    expect(advertised(flow)).toEqual(acrs);
  });

  it('repeated and unknown values change nothing', () => {
    const flow = compiled(flowOf('OTP, then TOKEN'));
    expect(satisfaction(flow, token(['otp', 'otp', 'unheard-of'])).satisfied).toBe(false);
  });

  it("advertises the issuer's own acr where it satisfies the flow, in their order", () => {
    const flow = compiled(flowOf('PASSWORD, then TOKENPUSH'), [acr]);
    expect(advertised(flow)).toEqual(['urn:okta:loa:2fa:any']);
    expect(satisfaction(flow, token([], { acr: 'urn:okta:loa:2fa:any' })).satisfied).toBe(true);
    const several = authenticator({ acr: { b: ['PASSWORD', 'OTP'], weak: ['PASSWORD'], a: ['PASSWORD', 'OTP'] } });
    expect(advertised(compiled(flowOf('PASSWORD, then OTP'), [several]))).toEqual(['b', 'a']);
    expect(advertised(compiled(flowOf('IDP, then OTP'), [several]))).toEqual(['mfa']);
  });

  it.each([
    ['by its step', ['kba'], undefined, true],
    ['by neither', ['pwd'], undefined, false],
    ["by one of the flow's acrs", ['pwd'], 'loa4', true],
    ['by no other acr', ['pwd'], 'loa5', false],
  ])('a flow with acrValues is proven %s', (_, amr, claimed, satisfied) => {
    const flow = compiled(flowOf('KBA', { acrValues: ['loa3', 'loa4'] }));
    expect(satisfaction(flow, token(amr, { acr: claimed })).satisfied).toBe(satisfied);
    expect(advertised(flow)).toEqual(['loa3', 'loa4']);
  });

  it('an acr that proves the flow proves nothing of its age', () => {
    const flow = compiled(flowOf('KBA', { acrValues: ['loa4'], maxAge: 60 }));
    const old = token([], { acr: 'loa4', authTime: seconds - 61 });
    expect(satisfaction(flow, old)).toMatchObject({ satisfied: false, onlyFreshness: true, limitSeconds: 60 });
  });
});

describe('a login at a provider', () => {
  const P1 = { provider: { id: 'p1', type: 'okta' } } as const;
  it.each([
    ['any', 'IDP', [], P1, undefined, true],
    ['provider not stated', 'IDP', [], {}, undefined, false],
    ['one of a list', 'IDP', ['p2', 'p1'], P1, undefined, true],
    ['none of a list', 'IDP', ['p2'], P1, undefined, false],
    ["the user's domain-based one", 'IDP, domain-based', [], P1, 'p1', true],
    ['domain of another', 'IDP, domain-based', [], P1, 'p2', false],
    ['domain of none', 'IDP, domain-based', [], P1, undefined, false],
    ['both asked for', 'IDP, domain-based', ['p1'], P1, 'p1', true],
    ['both asked for, one had', 'IDP, domain-based', ['p2'], P1, 'p1', false],
    ["from Envoy's payload", 'IDP', [], { ...P1, source: 'envoy_jwt_authn' }, undefined, true],
  ] as const)('%s: %s', (_, text, providers, identity, domainProvider, satisfied) => {
    const flow = compiled(throughProviders(flowOf(text), ...providers));
    expect(satisfaction(flow, token([], identity), { domainProvider }).satisfied).toBe(satisfied);
    expect(advertised(flow)).toEqual([]);
  });

  it('leaves every amr value for the second step', () => {
    const flow = compiled(flowOf('IDP, then TOKEN'));
    expect(satisfaction(flow, token(['otp'], P1)).satisfied).toBe(true);
    expect(satisfaction(flow, token([], P1)).satisfied).toBe(false);
  });

  it('a listed provider that nobody knows is met by no login', () => {
    const flow = throughProviders(flowOf('IDP'), 'p1');
    const unknown = compiled({
      ...flow,
      alternatives: flow.alternatives.map((one) => ({
        ...one,
        oidcIdentityProviders: one.oidcIdentityProviders.map((mention) => ({ ...mention, id: undefined })),
      })),
    });
    expect(satisfaction(unknown, token([], P1)).satisfied).toBe(false);
  });
});

describe('freshness', () => {
  const flow = compiled(flowOf('PASSWORD', { maxAge: 1200 }));
  it.each([
    ['at the limit', seconds - 1200, true],
    ['a second over', seconds - 1201, false],
    ['just now', seconds, true],
    ['ahead within the clock skew', seconds + 30, true],
    ['further ahead', seconds + 31, false],
    ['no auth_time', undefined, false],
  ])('%s: %s', (_, authTime, fresh) => {
    const found = satisfaction(flow, token(['pwd'], { authTime, issuedAt: seconds, clockSkewSeconds: 30 }));
    expect(found).toMatchObject({ satisfied: fresh, isFresh: fresh, onlyFreshness: !fresh, limitSeconds: 1200 });
  });

  it.each([
    ['no limit', undefined, false, undefined],
    ["the flow's", 900, false, 900],
    ['re-authentication', undefined, true, 300],
    ['the smaller', 900, true, 300],
    ['the smaller', 60, true, 60],
    ['none at all', 0, true, 0],
  ])('%s', (_, maxAge, reauthenticate, limitSeconds) => {
    const limited = compiled(flowOf('PASSWORD', { maxAge }));
    const found = satisfaction(limited, token(['pwd'], { authTime: seconds - 301 }), { reauthenticate });
    expect(found.limitSeconds).toBe(limitSeconds);
    expect(found.satisfied).toBe(limitSeconds === undefined || limitSeconds >= 301);
  });

  it('does not matter where no limit applies', () => {
    expect(satisfaction(compiled(flowOf('PASSWORD')), token(['pwd'], { authTime: undefined })).satisfied).toBe(true);
  });

  it('is not all that is missing where a step is', () => {
    const found = satisfaction(flow, token(['sms'], { authTime: seconds - 5000 }));
    expect(found).toMatchObject({ satisfied: false, onlyFreshness: false, isFresh: false });
    expect(found.missing).toBe('PASSWORD; and an authentication at most 1200 s old');
  });
});

describe('an event that was admitted to an application', () => {
  const record: HistoryRecord = {
    last: undefined,
    places: [],
    admitted: new Map([['orders', ['e1', 'e2']]]),
    event: 'e2',
    eventKnown: true,
    addressHashes: [],
  };
  it.each([
    ['this one', { state: 'known', record }, 'orders', true],
    ['another application', { state: 'known', record }, 'payroll', false],
    ['another event', { state: 'known', record: { ...record, event: 'e3' } }, 'orders', false],
    ['no event', { state: 'known', record: { ...record, event: undefined } }, 'orders', false],
    ['store down', { state: 'unavailable' }, 'orders', false],
  ] as const)('%s: %s', (_, history, application, admitted) => {
    expect(isAdmitted(history, application)).toBe(admitted);
  });
});

describe('what is missing', () => {
  const issuer = [authenticator({ acr: { pwd: ['PASSWORD'], front: ['EXTERNAL'] } })];
  it.each([
    ['PASSWORD', [], undefined, 'PASSWORD'],
    ['PASSWORD, then TOKENPUSH or FIDO', [], undefined, 'PASSWORD, then TOKENPUSH or FIDO'],
    ['PASSWORD, then TOKENPUSH or FIDO', ['hwk'], undefined, 'PASSWORD, then TOKENPUSH or FIDO'],
    ['PASSWORD, then TOKENPUSH or FIDO', ['pwd'], undefined, 'TOKENPUSH or FIDO after PASSWORD'],
    ['PASSWORD, then TOKENPUSH', [], 'pwd', 'TOKENPUSH after PASSWORD'],
    ['OTP, then TOKEN', ['otp'], undefined, 'TOKEN after OTP'],
    ['NONE, then FIDO', [], undefined, 'FIDO'],
    ['EXTERNAL, then OTP', [], 'front', 'OTP after EXTERNAL'],
    ['PASSKEY / PASSWORD, then OTP', ['pwd'], undefined, 'PASSKEY; or OTP after PASSWORD'],
    ['EXTERNAL', [], 'front', ''],
    ['PASSWORD', ['pwd'], undefined, ''],
  ] as const)('%s, %j, acr %s: %s', (text, amr, acr, missing) => {
    expect(satisfaction(compiled(flowOf(text), issuer), token(amr, { acr }))).toMatchObject({
      missing,
      satisfied: missing === '',
    });
  });
});

describe('a waived second step', () => {
  it.each([
    ['after EXTERNAL', 'EXTERNAL, then TOKEN', ['wia'], true],
    ['the first step stays', 'EXTERNAL, then TOKEN', ['pwd'], false],
    ['after another first step', 'PASSWORD, then TOKEN', ['pwd'], false],
    ['of one alternative only', 'PASSWORD, then TOKEN / EXTERNAL, then TOKEN', ['pwd'], false],
  ])('%s', (_, text, amr, satisfied) => {
    expect(satisfaction(compiled(flowOf(text)), token(amr), { waivesSecond: true }).satisfied).toBe(satisfied);
  });
});

describe('strength enough to remember a machine by', () => {
  it.each([
    ['PASSWORD', ['pwd'], false],
    ['PASSWORD, then OTP', ['pwd', 'otp'], true],
    ['NONE, then OTP', ['otp'], true],
    ['PASSKEY', ['hwk', 'pin'], true],
    ['SMART_LOGIN', ['sc', 'pin'], true],
    ['USER_CERTIFICATE', ['x509'], true],
    ['PASSWORD / PASSKEY', ['pwd'], false],
    ['PASSWORD / PASSKEY', ['hwk', 'pin'], true],
  ])('%s, %j: %s', (text, amr, isStrong) => {
    expect(satisfaction(compiled(flowOf(text)), token(amr))).toMatchObject({ satisfied: true, isStrong });
  });

  it('is that of nobody who proved nothing', () => {
    expect(satisfaction(compiled(flowOf('PASSKEY')), token([]))).toMatchObject({ satisfied: false, isStrong: false });
  });

  it('is not that of a step that was waived', () => {
    const flow = compiled(flowOf('EXTERNAL, then TOKEN'));
    expect(satisfaction(flow, token(['wia']), { waivesSecond: true }).isStrong).toBe(false);
    expect(satisfaction(flow, token(['wia', 'otp'])).isStrong).toBe(true);
  });

  it('is that of every alternative where the acr proves the whole', () => {
    const weak = compiled(flowOf('PASSWORD / PASSKEY', { acrValues: ['loa'] }));
    const strong = compiled(flowOf('PASSWORD, then OTP / PASSKEY', { acrValues: ['loa'] }));
    expect(satisfaction(weak, token([], { acr: 'loa' })).isStrong).toBe(false);
    expect(satisfaction(strong, token([], { acr: 'loa' })).isStrong).toBe(true);
  });
});

describe('assurance', () => {
  it.each([
    ['PASSWORD', 1],
    ['KBA', 0],
    ['PASSKEY', 2],
    ['SMART_LOGIN', 2],
    ['SMARTCREDENTIALPUSH', 2],
    ['USER_CERTIFICATE', 1],
    ['FACE', 0],
    ['MAGICLINK', 0],
    ['EXTERNAL', 1],
    ['IDP', 1],
    ['OTP', 1],
    ['PASSWORD, then OTP', 2],
    ['PASSWORD, then OTP or FACE', 1],
    ['PASSWORD, then KBA', 1],
    ['MAGICLINK, then KBA', 0],
    ['FACE, then MAGICLINK', 1],
    ['PASSKEY, then MAGICLINK', 2],
    ['NONE, then FIDO', 1],
    ['NONE, then FIDO or PASSTHROUGH', 0],
    ['NONE, then SMARTCREDENTIALPUSH', 2],
    ['EXTERNAL, then PASSTHROUGH', 1],
    ['PASSKEY / PASSWORD', 1],
    ['PASSKEY / PASSWORD, then GRID or TEMP_ACCESS_CODE or TOKENCR or USER_CERTIFICATE', 2],
  ])('%s: %i', (text, assurance) => {
    expect(flowAssurance(flowOf(text).alternatives)).toBe(assurance);
  });
});

describe('laws', () => {
  const VALUES = ['pwd', 'kba', 'otp', 'sms', 'push', 'swk', 'sc', 'pin', 'fpt', 'face', 'mfa', 'pop', 'x509', 'ext'];
  const alternative = fc
    .tuple(fc.constantFrom(...FIRST_STEPS), fc.subarray(SECOND_STEPS.slice(1), { minLength: 0, maxLength: 3 }))
    .map(([first, second]) => (second.length === 0 ? first : `${first}, then ${second.join(' or ')}`));
  const flows = fc.array(alternative, { minLength: 1, maxLength: 3 });
  const amrs = fc.subarray(VALUES);

  it('one value more in amr, or one alternative more, never takes a satisfied flow away', () => {
    fc.assert(
      fc.property(
        flows,
        alternative,
        amrs,
        fc.constantFrom(...VALUES),
        fc.boolean(),
        (texts, more, amr, value, trusts) => {
          const issuer = [authenticator({ trustBareMfa: trusts })];
          const flow = compiled(flowOf(texts.join(' / ')), issuer);
          if (!satisfaction(flow, token(amr)).satisfied) return;
          expect(satisfaction(flow, token([...amr, value])).satisfied).toBe(true);
          expect(satisfaction(compiled(flowOf([...texts, more].join(' / ')), issuer), token(amr)).satisfied).toBe(true);
        },
      ),
    );
  });

  it('two steps are proven by no fewer than two values', () => {
    fc.assert(
      fc.property(alternative, fc.constantFrom(...VALUES), (text, value) => {
        if (!text.includes(', then ') || text.startsWith('NONE')) return;
        expect(satisfaction(compiled(flowOf(text)), token([value])).satisfied).toBe(false);
      }),
    );
  });

  it('something is missing exactly where the flow is not satisfied', () => {
    fc.assert(
      fc.property(flows, amrs, fc.option(fc.nat(900), { nil: undefined }), fc.nat(900), (texts, amr, maxAge, age) => {
        const flow = compiled(flowOf(texts.join(' / '), { maxAge }));
        const found = satisfaction(flow, token(amr, { authTime: seconds - age }));
        expect(found.missing === '').toBe(found.satisfied);
      }),
    );
  });
});
