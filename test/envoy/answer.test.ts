import { describe, expect, it } from 'vitest';
import { answerFor, answerOptions, isBrowserNavigation, isGrpc, returnAddress } from '../../src/envoy/answer.ts';
import type { AnswerSettings, UpstreamField } from '../../src/envoy/answer.ts';
import { encodeAnswer } from '../../src/envoy/response.ts';
import type { Answer, RefusalAnswer } from '../../src/envoy/response.ts';
import type { Challenge, Decision } from '../../src/model/decision.ts';
import { DECISION, IDENTITY, MOMENT, request } from './arbitrary.ts';
import { apply } from './emulator.ts';
import type { HeaderLine } from './emulator.ts';

const NAVIGATION: HeaderLine = ['sec-fetch-mode', 'navigate'];
const GRPC: HeaderLine = ['content-type', 'application/grpc'];
const LOGIN = 'https://login.example.com/';
const PORTAL = 'https://login.example.com/step-up?state=eyJ';

const UNAUTHENTICATED: Decision = {
  ...DECISION,
  outcome: 'unauthenticated',
  reason: 'not_authenticated',
  loginMayHelp: true,
};
const STEP_UP: Decision = { ...DECISION, outcome: 'step_up', reason: 'step_up_required', challenge: challenge({}) };
const DENY: Decision = { ...DECISION, outcome: 'deny', reason: 'policy_denied' };
const BAD: Decision = { ...DECISION, outcome: 'bad_request', reason: 'request_ambiguous' };
const UNAVAILABLE: Decision = { ...DECISION, outcome: 'unavailable', reason: 'fact_unavailable' };

describe('an allow', () => {
  it('sets what has a value and removes every other managed header', () => {
    const answer = allow(
      { 'x-user': 'subject', 'x-name': 'name', 'x-risk': 'risk_level' },
      { ...DECISION, identity: { ...IDENTITY, name: undefined } },
      { remove: ['x-gone'], assertion: 'x-assertion' },
    );
    expect(answer.set).toEqual([
      ['x-user', 'ann'],
      ['x-risk', 'LOW'],
    ]);
    expect(answer.remove).toEqual(['x-name', 'x-assertion', 'x-gone']);
  });

  it('carries the assertion where there is one', () => {
    const answer = allow({}, DECISION, { assertion: 'x-assertion' }, [], 'eyJ.e30.c2ln');
    expect(answer.set).toEqual([['x-assertion', 'eyJ.e30.c2ln']]);
    expect(answer.remove).toEqual([]);
  });

  const known: Decision = {
    ...DECISION,
    identity: { ...IDENTITY, groups: [group('Staff'), group('Øst')] },
    linkedIdentity: { subject: 'linked', email: 'linked@example.com' },
  };
  it.each<[UpstreamField, string]>([
    ['subject', 'ann'],
    ['email', 'ann@example.com'],
    ['name', 'Ann'],
    ['groups', 'Staff, Øst'],
    ['provider', '11111111-1111-1111-1111-111111111111'],
    ['application', 'Orders'],
    ['policy', 'Engineers'],
    ['resource_rule', 'Orders, staff'],
    ['risk_level', 'LOW'],
    ['risk_score', '12.5'],
    ['decision_id', MOMENT.decisionId],
  ])('%s is %s', (field, value) => {
    expect(allow({ 'x-a': field }, known).set).toEqual([['x-a', value]]);
  });

  it.each<[UpstreamField]>([
    ['subject'],
    ['email'],
    ['name'],
    ['groups'],
    ['provider'],
    ['application'],
    ['policy'],
    ['resource_rule'],
    ['risk_level'],
    ['risk_score'],
  ])('%s is removed where there is none', (field) => {
    const nothing: Decision = {
      ...DECISION,
      application: undefined,
      policy: undefined,
      resourceRule: undefined,
      riskLevel: undefined,
      riskScore: undefined,
    };
    expect(allow({ 'x-a': field }, nothing)).toMatchObject({ set: [], remove: ['x-a'] });
  });

  it.each([[''], [' '], ['\u00A0']])('the value %j is none', (subject) => {
    expect(allow({ 'x-a': 'subject' }, { ...DECISION, identity: { ...IDENTITY, subject } })).toMatchObject({
      set: [],
      remove: ['x-a'],
    });
  });

  it('a risk score of 0 is a value', () => {
    expect(allow({ 'x-a': 'risk_score' }, { ...DECISION, riskScore: 0 }).set).toEqual([['x-a', '0']]);
  });

  it('a linked token fills subject and e-mail, and nothing else, where nobody is logged in', () => {
    const decision = { ...DECISION, linkedIdentity: { subject: 'linked', email: undefined } };
    expect(allow({ 'x-a': 'subject', 'x-b': 'email', 'x-c': 'name' }, decision)).toMatchObject({
      set: [['x-a', 'linked']],
      remove: ['x-b', 'x-c'],
    });
  });

  it('nobody can name a group so that it reads as two', () => {
    const identity = { ...IDENTITY, groups: [group('staff, admins'), group('100%2C'), group(' ')] };
    expect(allow({ 'x-a': 'groups' }, { ...DECISION, identity }).set).toEqual([['x-a', 'staff%2C admins, 100%252C']]);
  });

  it('a group without a name goes by its id, then by its e-mail', () => {
    const groups = [
      { id: 'g1', name: undefined, email: 'g1@example.com' },
      { id: undefined, name: undefined, email: 'g2@example.com' },
      { id: undefined, name: undefined, email: undefined },
    ];
    expect(allow({ 'x-a': 'groups' }, { ...DECISION, identity: { ...IDENTITY, groups } }).set).toEqual([
      ['x-a', 'g1, g2@example.com'],
    ]);
  });

  it('removes every spelling of a managed name, and no other', () => {
    const sent: HeaderLine[] = [
      ['x-postern-user', '1'],
      ['X_Postern_User', '2'],
      ['x-postern_user', '3'],
      ['x_gone', '4'],
      ['x-under-score', '5'],
      ['x_other', '6'],
      ['xposternuser', '7'],
      ['x.postern.user', '8'],
      ['X-Postern~User', '9'],
      ['x-posternuser', '10'],
    ];
    const answer = allow(
      { 'x-postern-user': 'subject', x_under_score: 'email' },
      { ...DECISION, identity: IDENTITY },
      { remove: ['x-gone'] },
      sent,
    );
    expect(answer.set.map(([name]) => name)).toEqual(['x-postern-user', 'x_under_score']);
    expect(answer.remove).toEqual([
      'x-gone',
      'x_postern_user',
      'x-postern_user',
      'x_gone',
      'x-under-score',
      'x.postern.user',
      'x-postern~user',
    ]);
  });

  it('removes the header that carried a secret, unless it is set', () => {
    const moment = { ...MOMENT, secretHeaders: ['cf-access-client-secret', 'authorization'] };
    const options = answerOptions(settings({ headers: { authorization: 'subject' } }));
    expect(answerFor({ ...DECISION, identity: IDENTITY }, undefined, options, moment)).toMatchObject({
      set: [['authorization', 'ann']],
      remove: ['cf-access-client-secret'],
    });
  });

  it('a name that is both set and removed is set', () => {
    const answer = allow({ 'x-a': 'subject' }, { ...DECISION, identity: IDENTITY }, { remove: ['x-a', 'x-b', 'x-b'] });
    expect(answer).toMatchObject({ set: [['x-a', 'ann']], remove: ['x-b'] });
  });

  it('adds its cookies to the response', () => {
    expect(allow({}, { ...DECISION, cookies: ['m=1; Secure'] }).cookies).toEqual(['m=1; Secure']);
  });
});

describe('who is asking', () => {
  it.each<[HeaderLine[], string, boolean]>([
    [[NAVIGATION], 'GET', true],
    [[NAVIGATION], 'POST', true],
    [[['sec-fetch-mode', 'cors']], 'GET', false],
    [[['sec-fetch-mode', 'navigate, navigate']], 'GET', false],
    [[NAVIGATION, NAVIGATION], 'GET', false],
    [[], 'GET', false],
    [[['accept', '*/*']], 'GET', false],
    [[['accept', 'text/html']], 'GET', true],
    [[['accept', 'text/html']], 'HEAD', true],
    [[['accept', 'text/html']], 'POST', false],
    [[['accept', 'Text/HTML;charset=utf-8 ; Q=0.9, */*;q=0.8']], 'GET', true],
    [[['accept', 'text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8']], 'GET', true],
    [[['accept', 'application/json, text/html']], 'GET', false],
    [[['accept', 'application/json;q=0.9, text/html']], 'GET', true],
    [[['accept', 'text/html;q=0.5, application/json']], 'GET', false],
    [[['accept', 'text/html;q=0']], 'GET', false],
    [[['accept', 'text/html-not']], 'GET', false],
    [
      [
        ['accept', 'application/json;q=0.1'],
        ['accept', 'text/html'],
      ],
      'GET',
      true,
    ],
    [[NAVIGATION, GRPC], 'POST', false],
  ])('%j with %s: a browser navigation is %s', (headers, method, expected) => {
    expect(isBrowserNavigation(request(headers, { method }).facts)).toBe(expected);
  });

  it.each([
    ['application/grpc', true],
    ['application/grpc+proto', true],
    ['application/grpc;charset=utf-8', false],
    ['application/grpc-web', false],
    ['application/grpc-web+proto', false],
    ['Application/grpc', false],
    ['application/json', false],
    ['', false],
  ])('the content type %s: a gRPC call is %s', (type, expected) => {
    expect(isGrpc(request([['content-type', type]]).facts)).toBe(expected);
  });

  it('no content type is no gRPC call', () => {
    expect(isGrpc(request().facts)).toBe(false);
  });
});

describe('statuses', () => {
  const rows: readonly (readonly [string, Decision, number, number, number, number, number, string])[] = [
    // program, browser GET, browser HEAD, browser POST, gRPC status after Envoy's mapping
    ['unauthenticated', UNAUTHENTICATED, 401, 302, 302, 401, 401, '16'],
    [
      'unauthenticated, where a login cannot help',
      { ...UNAUTHENTICATED, loginMayHelp: false },
      401,
      401,
      401,
      401,
      401,
      '16',
    ],
    ['step_up', STEP_UP, 401, 302, 302, 401, 401, '16'],
    ['deny', DENY, 403, 403, 403, 403, 403, '7'],
    ['step_up_exhausted', { ...DENY, reason: 'step_up_exhausted' }, 403, 403, 403, 403, 403, '7'],
    ['bad request', BAD, 400, 400, 400, 400, 400, '3'],
    ['unavailable', UNAVAILABLE, 503, 503, 503, 503, 503, '14'],
  ];
  it.each([...rows])('%s', (_, decision, program, get, head, post, grpc, grpcStatus) => {
    expect(refuse(decision).httpStatus).toBe(program);
    expect(refuse(decision, [NAVIGATION]).httpStatus).toBe(get);
    expect(refuse(decision, [NAVIGATION], { method: 'HEAD' }).httpStatus).toBe(head);
    expect(refuse(decision, [NAVIGATION], { method: 'POST' }).httpStatus).toBe(post);
    const call = refuse(decision, [GRPC, NAVIGATION], { method: 'POST' });
    expect(call.httpStatus).toBe(grpc);
    const effect = apply(encodeAnswer(call), request([GRPC]).sent, {
      semantics: 'released',
      failureModeAllow: false,
      validateMutations: true,
      dropEmpty: false,
    });
    expect(effect).toMatchObject({ kind: 'reply', status: 200 });
    expect(effect.headers.filter(([name]) => name === 'grpc-status')).toEqual([['grpc-status', grpcStatus]]);
  });

  it('without a login page or a portal browsers get the 401 too, as a page', () => {
    for (const decision of [UNAUTHENTICATED, STEP_UP]) {
      const options = answerOptions(settings({}));
      const answer = answerFor(decision, request([NAVIGATION]).facts, options, MOMENT);
      expect(answer).toMatchObject({ kind: 'refusal', httpStatus: 401 });
      expect(header(answer, 'content-type')).toBe('text/html; charset=utf-8');
    }
  });

  it('what could not be read is answered as to a program', () => {
    const answer = answerFor(BAD, undefined, answerOptions(settings({})), MOMENT);
    expect(answer).toMatchObject({ httpStatus: 400 });
    expect(header(answer, 'content-type')).toBe('application/problem+json');
    expect(header(answer, 'grpc-status')).toBeUndefined();
  });
});

describe('redirects', () => {
  it.each([
    [LOGIN, `${LOGIN}?return=R`],
    [`${LOGIN}?a=b`, `${LOGIN}?a=b&return=R`],
    [`${LOGIN}?`, `${LOGIN}?return=R`],
    [`${LOGIN}?a=b&`, `${LOGIN}?a=b&return=R`],
    [`${LOGIN}#c`, `${LOGIN}?return=R#c`],
    [`${LOGIN}?a=b#c?d`, `${LOGIN}?a=b&return=R#c?d`],
  ])('the login page %s becomes %s', (url, expected) => {
    const location = header(refuse(UNAUTHENTICATED, [NAVIGATION], {}, url), 'location');
    expect(location).toBe(expected.replace('R', encodeURIComponent('https://orders.example.com/a?b=1')));
    expect(new URL(location ?? '').searchParams.get('return')).toBe('https://orders.example.com/a?b=1');
  });

  it('the portal is visited as it was handed in', () => {
    const answer = refuse(STEP_UP, [NAVIGATION]);
    expect(header(answer, 'location')).toBe(PORTAL);
    expect(header(answer, 'www-authenticate')).toBeUndefined();
    expect(header(answer, 'cache-control')).toBe('no-store');
  });

  it.each([
    [{}, 'https://orders.example.com/a?b=1'],
    [{ scheme: 'http' }, 'http://orders.example.com/a?b=1'],
    [{ scheme: 'ftp' }, 'https://orders.example.com/a?b=1'],
    [{ host: 'Orders.Example.com:8443' }, 'https://Orders.Example.com:8443/a?b=1'],
    [{ path: '/%61?x=é' }, 'https://orders.example.com/%61?x=%C3%A9'],
    [{ path: `/a?${'q'.repeat(2018)}` }, `https://orders.example.com/a?${'q'.repeat(2018)}`],
    [{ path: `/a?${'q'.repeat(2020)}` }, 'https://orders.example.com/a'],
    [{ path: `/a?${'é'.repeat(400)}` }, 'https://orders.example.com/a'],
    [{ path: `/${'a'.repeat(2030)}?q` }, 'https://orders.example.com/'],
    [{ path: `/${'a'.repeat(2030)}` }, 'https://orders.example.com/'],
  ])('%j comes back to %s', (fields, expected) => {
    expect(returnAddress(request([], fields).facts)).toBe(expected);
  });

  it('a location is never too long to be sent', () => {
    for (const character of ['"', 'é', '\uFFFD', '😀', '%']) {
      for (const length of [100, 200, 340, 680, 2000, 8000]) {
        const answer = refuse(UNAUTHENTICATED, [NAVIGATION], { path: `/a?${character.repeat(length)}` });
        expect(encodeAnswer(answer).length).toBeGreaterThan(0);
      }
    }
  });
});

describe('challenges', () => {
  it.each([
    ['no token', UNAUTHENTICATED, 'Bearer'],
    ['a token', { ...UNAUTHENTICATED, tokenSent: true }, 'Bearer error="invalid_token"'],
  ])('unauthenticated with %s', (_, decision, expected) => {
    expect(header(refuse(decision), 'www-authenticate')).toBe(expected);
  });

  const LEVEL =
    'error="insufficient_user_authentication", error_description="A different authentication level is required"';
  const FRESH = 'error="insufficient_user_authentication", error_description="More recent authentication is required"';
  it.each<[Partial<Challenge>, string | undefined, string]>([
    [{ acrValues: ['phr'] }, undefined, `Bearer ${LEVEL}, acr_values="phr"`],
    [
      { acrValues: ['loa3', 'loa4'], maxAgeSeconds: 600 },
      undefined,
      `Bearer ${LEVEL}, acr_values="loa3 loa4", max_age="600"`,
    ],
    [{ maxAgeSeconds: 1200, onlyFreshness: true }, undefined, `Bearer ${FRESH}, max_age="1200"`],
    [
      { acrValues: ['mfa'], maxAgeSeconds: 300, onlyFreshness: true },
      'postern',
      `Bearer realm="postern", ${FRESH}, acr_values="mfa", max_age="300"`,
    ],
    [{}, '', `Bearer ${LEVEL}`],
    [{ maxAgeSeconds: 0 }, undefined, `Bearer ${LEVEL}, max_age="0"`],
    [{ acrValues: ['a"b\\c'] }, 'r"s', `Bearer realm="r\\"s", ${LEVEL}, acr_values="a\\"b\\\\c"`],
  ])('%j with the realm %s', (part, realm, expected) => {
    const options = answerOptions({ ...settings({}), step_up: { realm } });
    const answer = answerFor({ ...STEP_UP, challenge: challenge(part) }, request().facts, options, MOMENT);
    expect(header(answer, 'www-authenticate')).toBe(expected);
  });

  it.each([
    ['deny', DENY],
    ['step_up_exhausted', { ...DENY, reason: 'step_up_exhausted' as const }],
    ['bad request', BAD],
    ['unavailable', UNAVAILABLE],
  ])('%s has none: authenticating again cannot help', (_, decision) => {
    expect(header(refuse(decision), 'www-authenticate')).toBeUndefined();
  });

  it('scripts of other origins may read it', () => {
    const origin: HeaderLine = ['origin', 'https://app.example'];
    for (const decision of [UNAUTHENTICATED, STEP_UP]) {
      expect(header(refuse(decision, [origin]), 'access-control-expose-headers')).toBe('WWW-Authenticate');
      expect(header(refuse(decision), 'access-control-expose-headers')).toBeUndefined();
      expect(header(refuse(decision, [origin]), 'access-control-allow-origin')).toBeUndefined();
    }
    expect(header(refuse(DENY, [origin]), 'access-control-expose-headers')).toBeUndefined();
  });

  it('a gRPC caller gets it as a header', () => {
    expect(header(refuse(STEP_UP, [GRPC]), 'www-authenticate')).toMatch(/^Bearer error=/);
  });
});

describe('bodies', () => {
  it.each([
    [UNAUTHENTICATED, 401, 'Unauthorized', 'not_authenticated'],
    [{ ...UNAUTHENTICATED, reason: 'token_invalid' as const }, 401, 'Unauthorized', 'token_invalid'],
    [{ ...UNAUTHENTICATED, reason: 'session_expired' as const }, 401, 'Unauthorized', 'session_expired'],
    [STEP_UP, 401, 'Unauthorized', 'step_up_required'],
    [DENY, 403, 'Forbidden', 'access_denied'],
    [{ ...DENY, reason: 'no_application' as const }, 403, 'Forbidden', 'access_denied'],
    [{ ...DENY, reason: 'risk_factor_denied' as const }, 403, 'Forbidden', 'access_denied'],
    [{ ...DENY, reason: 'step_up_exhausted' as const }, 403, 'Forbidden', 'step_up_exhausted'],
    [BAD, 400, 'Bad Request', 'request_ambiguous'],
    [UNAVAILABLE, 503, 'Service Unavailable', 'unavailable'],
  ])('for programs: $outcome $reason', (decision, status, title, reason) => {
    const answer = refuse(decision);
    expect(header(answer, 'content-type')).toBe('application/problem+json');
    expect(JSON.parse(answer.body)).toEqual({
      type: 'about:blank',
      title,
      status,
      detail: expect.stringMatching(/^[A-Z].*\.$/) as unknown,
      reason,
      decision_id: MOMENT.decisionId,
    });
  });

  it('for browsers: a page that loads and runs nothing', () => {
    const answer = refuse(DENY, [NAVIGATION]);
    expect(answer.headers).toEqual([
      ['content-type', 'text/html; charset=utf-8'],
      ['cache-control', 'no-store'],
      ['content-security-policy', "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"],
      ['x-content-type-options', 'nosniff'],
    ]);
    expect(answer.body).toContain('<h1>Access denied</h1>');
    expect(answer.body).toContain(`<code>${MOMENT.decisionId}</code>`);
    expect(answer.body).not.toMatch(/<script|https?:|src=|href=/);
  });

  it('for gRPC: one short line', () => {
    const answer = refuse(DENY, [GRPC]);
    expect(answer.body).toBe(`Access denied (decision ${MOMENT.decisionId})`);
    expect(answer.headers.map(([name]) => name)).toEqual(['content-type', 'cache-control']);
  });

  it('nothing of the request, and no name of a policy, rule, risk or person is in any of them', () => {
    const marker = 'zzmarkerzz';
    const identity = { ...IDENTITY, subject: marker, email: marker, name: marker };
    const named = { id: marker, name: marker };
    for (const decision of [UNAUTHENTICATED, STEP_UP, DENY, BAD, UNAVAILABLE]) {
      for (const kind of [[NAVIGATION], [GRPC], []]) {
        const answer = refuse(
          {
            ...decision,
            identity,
            application: named,
            policy: named,
            resourceRule: named,
            why: marker,
            riskLevel: 'HIGH',
          },
          [...kind, ['x-marker', marker], ['referer', marker]],
          { path: `/${marker}?${marker}`, host: `${marker}.example` },
        );
        expect(answer.body).not.toContain(marker);
        expect(answer.body).not.toContain('HIGH');
        const others = answer.headers.filter(([name]) => name !== 'location');
        expect(JSON.stringify(others)).not.toContain(marker);
      }
    }
  });

  it('an id cannot break out', () => {
    const moment = { ...MOMENT, decisionId: '<b>"x"\n\u00e9' };
    for (const kind of [[NAVIGATION], [GRPC], []]) {
      const answer = answerFor(DENY, request(kind).facts, answerOptions(settings({})), moment);
      expect(answer.kind === 'refusal' ? answer.body : '').toMatch(/bx/);
      expect(answer.kind === 'refusal' ? answer.body : '').not.toMatch(/<b>|é/);
    }
  });
});

function settings(upstream: Partial<AnswerSettings['upstream']>, url?: string): AnswerSettings {
  return {
    upstream: { headers: {}, remove: [], assertion: undefined, ...upstream },
    step_up: { realm: undefined },
    login: { url },
  };
}

function allow(
  headers: Readonly<Record<string, UpstreamField>>,
  decision: Decision,
  more: { readonly remove?: readonly string[]; readonly assertion?: string } = {},
  sent: readonly HeaderLine[] = [],
  assertion?: string,
): Extract<Answer, { kind: 'allow' }> {
  const options = answerOptions(
    settings({
      headers,
      remove: more.remove ?? [],
      assertion: more.assertion === undefined ? undefined : { header: more.assertion },
    }),
  );
  const answer = answerFor(decision, request(sent).facts, options, { ...MOMENT, assertion });
  if (answer.kind !== 'allow') throw new Error(`expected an allow, found ${answer.outcome}`);
  return answer;
}

function refuse(
  decision: Decision,
  sent: readonly HeaderLine[] = [],
  fields: object = {},
  loginUrl: string = LOGIN,
): RefusalAnswer {
  const options = answerOptions(settings({}, loginUrl));
  const answer = answerFor(decision, request(sent, fields).facts, options, { ...MOMENT, portalLocation: PORTAL });
  if (answer.kind !== 'refusal') throw new Error('expected a refusal, found an allow');
  return answer;
}

function header(answer: Answer, name: string): string | undefined {
  return answer.kind === 'refusal' ? answer.headers.find(([other]) => other === name)?.[1] : undefined;
}

function challenge(part: Partial<Challenge>): Challenge {
  return { acrValues: [], maxAgeSeconds: undefined, onlyFreshness: false, promptLogin: false, ...part };
}

function group(name: string): { id: string; name: string; email: string } {
  return { id: name, name, email: name };
}
