/** External evaluation against a real endpoint, from the files of a configuration to the answer of a check. */
import { createHmac } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createExternalEvaluations } from '../../src/facts/external-evaluation.ts';
import type { ExternalEvaluations } from '../../src/facts/external-evaluation.ts';
import { createKeySets } from '../../src/facts/key-set.ts';
import { createOutbound } from '../../src/facts/outbound.ts';
import { importSigningKey } from '../../src/shared/jose.ts';
import type { SigningKey } from '../../src/shared/jose.ts';
import { certified, contextOf, identityOf } from '../rules/contexts.ts';
import { answerToken, isSignedBy, sendJson, startEvaluator } from './evaluator.ts';
import type { AnswerParts, Asked, Claims, Evaluator } from './evaluator.ts';
import { selfSigned } from './self-signed.ts';
import { encoded, pairFor, publicJwk } from './token-maker.ts';
import { IDENTITY, ORDERS, annToken, wholeCheck } from './whole-check.ts';
import type { Whole } from './whole-check.ts';

const OTHER = '9a4b2f0e-3f55-4a57-9b0e-000000000002';

let evaluator: Evaluator;
let whole: Whole | undefined;
let evaluations: ExternalEvaluations;
let failures: string[];
let cache: string[];
/** Added to the clock, and to the one that only goes up. */
let aheadMs: number;
let monotonicAheadMs: number;

beforeEach(async () => {
  evaluator = await startEvaluator();
  failures = [];
  cache = [];
  aheadMs = 0;
  monotonicAheadMs = 0;
  evaluations = createExternalEvaluations({
    outbound: createOutbound({ guarded: true }),
    nowMs: () => Date.now() + aheadMs,
    monotonicMs: () => performance.now() + aheadMs + monotonicAheadMs,
    onCacheRequest: (result) => cache.push(result),
    onFailed: (host, why) => failures.push(`${host}: ${why}`),
  });
});

afterEach(async () => {
  whole?.close();
  whole = undefined;
  await evaluator.close();
});

const SIGNING_KEY = pairFor('RS256', 'signing').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();

interface Parts {
  /** Members of `external_evaluation`. */
  readonly settings?: string;
  readonly more?: string;
  readonly application?: string;
  /** In place of the one policy that includes the rule. */
  readonly policies?: (rule: string) => string;
}

function filesOf({ settings = '', more = '', application = '', policies }: Parts = {}): Record<string, string> {
  const rule = `{ external_evaluation: { evaluate_url: "${evaluator.evaluateUrl}", keys_url: "${evaluator.keysUrl}" } }`;
  const list = policies?.(rule) ?? `[{ name: A, decision: allow, include: [${rule}] }]`;
  return {
    'postern.yaml': `${IDENTITY}external_evaluation: { allow_hosts: ["${evaluator.host}"]${settings} }\n${more}`,
    // Making one takes longer than everything else here.
    'keys/evaluation.pem': SIGNING_KEY,
    'policies/all.yaml': `applications: [{ id: ${ORDERS}, name: Orders, destinations: [orders.example.com]${application}, policies: ${list} }]\n`,
  };
}

async function load(parts: Parts = {}): Promise<Whole> {
  whole = await wholeCheck(filesOf(parts), { keySets: createKeySets(), evaluations });
  return whole;
}

const reasonOf = async (loaded: Whole, headers: object = {}): Promise<string> =>
  String((await loaded.ask({ headers }))['reason']);

describe('the answer of an honest endpoint', () => {
  it.each([
    [true, 'policy_allowed'],
    [false, 'no_policy_matched'],
  ])('success: %s', async (success, reason) => {
    evaluator.decide(() => success);
    expect(await reasonOf(await load())).toBe(reason);
    expect(failures).toEqual([]);
  });

  it.each([
    ['RS256', {}],
    ['RS384', {}],
    ['RS512', {}],
    ['ES256', {}],
    ['RS256', { header: { typ: undefined } }],
    ['RS256', { header: { kid: undefined } }],
    ['RS256', { claims: { exp: Math.floor(Date.now() / 1000) - 10 } }],
    ['RS256', { claims: { iat: undefined, iss: 'anybody', aud: 'anything' } }],
  ] as [string, AnswerParts][])('signed %s, %j', async (algorithm, parts) => {
    evaluator.useKey(pairFor(algorithm), 'e1');
    evaluator.answer((question, response) =>
      sendJson(response, { token: answerToken(question, { algorithm, ...parts }) }),
    );
    expect(await reasonOf(await load())).toBe('policy_allowed');
  });

  it('an exclude obeys it too', async () => {
    const loaded = await load({
      policies: (rule) => `[{ name: A, decision: allow, include: [{ everyone: {} }], exclude: [${rule}] }]`,
    });
    expect(await reasonOf(loaded)).toBe('no_policy_matched');
  });
});

describe('an answer that cannot be believed is none: 503, whichever list the rule stands in', () => {
  const token =
    (parts: AnswerParts) =>
    (question: Asked, response: ServerResponse): void =>
      sendJson(response, { token: answerToken(question, parts) });
  const now = Math.floor(Date.now() / 1000);
  /** HS256, with the public key as the secret. */
  const confused = (question: Asked, response: ServerResponse): void => {
    const input = `${encoded({ alg: 'HS256', kid: 'e1' })}.${encoded({ success: true, exp: now + 60, nonce: question.claims['nonce'] })}`;
    const secret = pairFor('RS256').publicKey.export({ type: 'spki', format: 'pem' });
    sendJson(response, { token: `${input}.${createHmac('sha256', secret).update(input).digest('base64url')}` });
  };
  const unsigned = (question: Asked, response: ServerResponse): void =>
    sendJson(response, {
      token: `${encoded({ alg: 'none', kid: 'e1' })}.${encoded({ success: true, exp: now + 60, nonce: question.claims['nonce'] })}.`,
    });

  it.each<[string, (question: Asked, response: ServerResponse) => void, RegExp]>([
    ['403', (_, response) => response.writeHead(403).end('{}'), /found 403$/],
    ['500', (_, response) => response.writeHead(500).end('{}'), /found 500$/],
    ['201', (_, response) => response.writeHead(201).end('{}'), /found 201$/],
    ['a redirect to itself', (_, response) => response.writeHead(307, { location: '/evaluate' }).end(), /found 307$/],
    ['another nonce', token({ claims: { nonce: 'f'.repeat(32) } }), /nonce is not that of the question$/],
    ['no nonce', token({ claims: { nonce: undefined } }), /nonce is not that of the question$/],
    ['past its end', token({ claims: { exp: now - 60 } }), /expired$/],
    ['without end', token({ claims: { exp: undefined } }), /exp is missing/],
    ['an end that is no number', token({ claims: { exp: '9999999999' } }), /exp is missing, or no number$/],
    ['from the future', token({ claims: { iat: now + 120 } }), /issued in the future$/],
    ['not yet', token({ claims: { nbf: now + 120 } }), /not valid yet$/],
    ['alg none', unsigned, /signature is not base64url$/],
    ['the public key as a secret', confused, /alg is none that is accepted$/],
    ['an alg beyond the list', token({ algorithm: 'PS256' }), /alg is none that is accepted$/],
    ['EdDSA', token({ algorithm: 'EdDSA' }), /alg is none that is accepted$/],
    ['another key', token({ pair: pairFor('RS256', 'second') }), /signature is wrong$/],
    ['a kid that is not there', token({ header: { kid: 'e2' } }), /no RS256 key fits/],
    ['a kid that is no text', token({ header: { kid: 1 } }), /kid is no text$/],
    [
      'a key of its own in the header',
      token({ pair: pairFor('RS256', 'second'), header: { jwk: publicJwk(pairFor('RS256', 'second')) } }),
      /signature is wrong$/,
    ],
    ['crit', token({ header: { crit: ['exp'] } }), /has crit$/],
    ['another type of token', token({ header: { typ: 'logout+jwt' } }), /typ is neither/],
    ['success as text', token({ claims: { success: 'true' } }), /success is neither true nor false$/],
    ['success 1', token({ claims: { success: 1 } }), /success is neither/],
    ['no success', token({ claims: { success: undefined } }), /success is neither/],
    ['the question itself', (question, response) => sendJson(response, { token: question.token }), /no RS256 key fits/],
    ['no token', (_, response) => sendJson(response, { success: true }), /holds no token$/],
    ['a token that is no text', (_, response) => sendJson(response, { token: { success: true } }), /holds no token$/],
    ['no token at all', (_, response) => sendJson(response, { token: 'yes' }), /expected three parts$/],
    ['a list', (_, response) => sendJson(response, []), /expected a JSON object/],
    [
      'no JSON',
      (_, response) => response.writeHead(200, { 'content-type': 'application/json' }).end('{"token":'),
      /expected a JSON object/,
    ],
    [
      'HTML',
      (question, response) =>
        response.writeHead(200, { 'content-type': 'text/html' }).end(JSON.stringify({ token: answerToken(question) })),
      /is no JSON$/,
    ],
    [
      'over 64 KiB',
      (question, response) => sendJson(response, { token: answerToken(question), more: 'x'.repeat(65_536) }),
      /at most 65536 bytes/,
    ],
    [
      'cut short',
      (question, response) => {
        response
          .writeHead(200, { 'content-type': 'application/json', 'content-length': 9_999 })
          .write(JSON.stringify({ token: answerToken(question) }));
        setTimeout(() => response.destroy(), 20);
      },
      /broke off$/,
    ],
    ['a broken connection', (_, response) => response.socket?.resetAndDestroy(), /ECONNRESET$/],
  ])('%s', async (_, handler, why) => {
    evaluator.answer(handler);
    const loaded = await load();
    expect(await reasonOf(loaded)).toBe('fact_unavailable');
    expect(failures).toEqual([expect.stringMatching(why)]);
    expect(failures[0]).toMatch(new RegExp(`^${evaluator.host}: `));
    expect(evaluator.asked).toHaveLength(1);
    expect(loaded.facts).toContainEqual({ fact: 'external_evaluation', had: false });
  });

  it.each<[string, (question: Asked, response: ServerResponse) => void]>([
    ['no answer', () => undefined],
    [
      'an answer drop by drop',
      (question, response) => {
        const text = JSON.stringify({ token: answerToken(question) });
        response.writeHead(200, { 'content-type': 'application/json' });
        let sent = 0;
        const timer = setInterval(
          () => (response.destroyed ? clearInterval(timer) : response.write(text[sent++] ?? ' ')),
          10,
        );
      },
    ],
  ])('%s within timeout_ms', async (_, handler) => {
    evaluator.answer(handler);
    expect(await reasonOf(await load({ settings: ', timeout_ms: 150' }))).toBe('fact_unavailable');
    expect(failures).toEqual([`${evaluator.host}: no answer in time`]);
  });

  it.each<[string, ((response: ServerResponse) => void) | undefined]>([
    ['are not there', (response) => response.writeHead(404).end()],
    ['are elsewhere', (response) => response.writeHead(302, { location: '/keys2' }).end()],
    ['are none', (response) => sendJson(response, { keys: [] })],
    ['are no JSON', (response) => response.end('<html>')],
    [
      'are those of somebody else',
      (response) => sendJson(response, { keys: [publicJwk(pairFor('RS256', 'second'), { kid: 'e1' })] }),
    ],
    ['do not come', () => undefined],
  ])('its keys %s', async (_, handler) => {
    evaluator.answerKeys(handler);
    expect(await reasonOf(await load({ settings: ', timeout_ms: 300' }))).toBe('fact_unavailable');
    expect(evaluator.keysAsked()).toBeLessThanOrEqual(2);
  });

  it('in an exclude: nobody gets in', async () => {
    evaluator.answer((_, response) => response.writeHead(403).end());
    const loaded = await load({
      policies: (rule) => `[{ name: A, decision: allow, include: [{ everyone: {} }], exclude: [${rule}] }]`,
    });
    expect(await reasonOf(loaded)).toBe('fact_unavailable');
  });

  it('what can be decided without it is', async () => {
    evaluator.answer((_, response) => response.writeHead(403).end());
    const loaded = await load({
      policies: (rule) => `[{ name: A, decision: allow, include: [${rule}, { email: { email: ann@example.com } }] }]`,
    });
    expect(await reasonOf(loaded)).toBe('policy_allowed');
  });
});

describe('the question', () => {
  const asked = (): Asked => {
    const [question] = evaluator.asked;
    if (!question) throw new Error('nothing was asked');
    return question;
  };

  it('is signed by a key that is made at first start, for nobody else to read, and published', async () => {
    const { 'keys/evaluation.pem': _, ...files } = filesOf();
    const loaded = await wholeCheck(files, { keySets: createKeySets(), evaluations });
    whole = loaded;
    await loaded.ask({});
    const file = join(loaded.folder, 'keys/evaluation.pem');
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(readFileSync(file, 'utf8')).toContain('PRIVATE KEY');
    const keys = loaded.revision.publicKeys.map(({ kid, publicJwk: jwk }) => ({ kid, ...jwk }));
    expect(keys).toHaveLength(1);
    expect(keys[0]?.kid).toMatch(/^[0-9a-f]{64}$/);
    expect(isSignedBy(asked(), keys)).toBe(true);
    expect(asked().header).toEqual({ alg: 'RS256', kid: keys[0]?.kid, typ: 'JWT' });
  });

  it('says for whom, when, and a nonce of its own', async () => {
    const loaded = await load({ settings: ', issuer: postern-eu, cache_seconds: 0' });
    await loaded.ask({});
    await loaded.ask({});
    const { claims } = asked();
    const { iat } = claims as { readonly iat: number };
    expect(claims).toMatchObject({
      iss: 'postern-eu',
      aud: [ORDERS],
      sub: 'user-1',
      email: 'ann@example.com',
      type: 'app',
      nbf: iat,
      exp: iat + 60,
    });
    expect(Math.abs(iat - Date.now() / 1000)).toBeLessThan(60);
    const nonces = evaluator.asked.map(({ claims: { nonce } }) => nonce);
    expect(nonces).toHaveLength(2);
    expect(new Set(nonces).size).toBe(2);
    for (const nonce of nonces) expect(nonce).toMatch(/^[0-9a-f]{32}$/);
    expect(Object.keys(claims).sort()).toEqual([
      'aud',
      'email',
      'exp',
      'iat',
      'identity',
      'iss',
      'nbf',
      'nonce',
      'sub',
      'type',
    ]);
  });

  it('names the audience of the application where it has one', async () => {
    const loaded = await load({ application: ', aud: [orders, more]' });
    await loaded.ask({});
    expect(asked().claims['aud']).toEqual(['orders', 'more']);
  });

  it('tells of a user with what is known of him, and Cloudflare’s empty values', async () => {
    const loaded = await load();
    await loaded.ask({});
    expect(asked().claims['identity']).toEqual({
      id: 'user-1',
      user_uuid: 'user-1',
      email: 'ann@example.com',
      amr: ['pwd'],
      ip: '203.0.113.7',
      iat: asked().claims['iat'],
      auth_status: 'NONE',
      common_name: '',
      service_token_id: '',
      service_token_status: false,
      is_warp: false,
      is_gateway: false,
      mtls_auth: { cert_presented: false, auth_status: 'NONE' },
      version: 2,
    } satisfies Claims);
  });

  it('tells of everything that is known', async () => {
    const loaded = await load({ more: 'geo: { headers: { country: cf-ipcountry } }\nposture: { from: x-posture }\n' });
    const groups = [{ id: 'g1', name: 'Core' }, 'plain'];
    const token = annToken({
      name: 'Ann',
      groups,
      oidc_fields: { team: 'core' },
      saml_attributes: { dept: ['eng'] },
      account_id: '023e105f4ecef8ad9ca31a8372d0c353',
      other: 'not this',
    });
    await loaded.ask({
      headers: {
        authorization: `Bearer ${token}`,
        'cf-ipcountry': 'PT',
        'x-posture': '{"u1":{"success":true}}',
      },
    });
    expect(asked().claims['identity']).toMatchObject({
      name: 'Ann',
      groups,
      geo: { country: 'PT' },
      devicePosture: { u1: { success: true } },
      oidc_fields: { team: 'core' },
      saml_attributes: { dept: ['eng'] },
      account_id: '023e105f4ecef8ad9ca31a8372d0c353',
    });
    expect(JSON.stringify(asked().claims)).not.toContain('not this');
  });

  it('tells of a certificate', async () => {
    const loaded = await load();
    const { snapshot } = loaded.revision;
    const [certificate] = [certified().certificate];
    if (certificate) Object.assign(snapshot.sources, { certificate: () => certificate });
    await loaded.ask({});
    expect(asked().claims['identity']).toMatchObject({
      auth_status: 'SUCCESS',
      common_name: 'api',
      mtls_auth: { cert_presented: true, auth_status: 'SUCCESS' },
    });
  });

  it('is not asked when nobody is logged in, nor of a token that is none', async () => {
    const loaded = await load();
    expect(await reasonOf(loaded, { authorization: '' })).toBe('not_authenticated');
    expect(await reasonOf(loaded, { authorization: 'Bearer x.y.z' })).toBe('token_invalid');
    expect(evaluator.asked).toHaveLength(0);
    expect(loaded.facts).not.toContainEqual(expect.objectContaining({ fact: 'external_evaluation' }));
  });

  it('cannot be asked of claims too deep to be written down', async () => {
    let groupsClaim: unknown = 'g';
    for (let depth = 0; depth < 50_000; depth += 1) groupsClaim = [groupsClaim];
    const { key } = (await importSigningKey(SIGNING_KEY)) as { readonly key: SigningKey };
    const source = evaluations.source({ key, issuer: 'postern', timeoutMs: 1_000, cacheSeconds: 60 });
    const ask = source({ id: ORDERS, audiences: [] }, identityOf({ groupsClaim }), contextOf());
    expect(await ask({ evaluateUrl: evaluator.evaluateUrl, keysUrl: evaluator.keysUrl })).toEqual({
      verdict: 'unavailable',
    });
    expect(evaluator.asked).toEqual([]);
  });
});

describe('asked once', () => {
  it('for two policies with the same URLs', async () => {
    const loaded = await load({
      policies: (rule) =>
        `[{ name: A, decision: deny, include: [{ email: { email: bob@example.com } }], require: [${rule}] }, { name: B, decision: allow, include: [${rule}] }]`,
    });
    expect(await reasonOf(loaded)).toBe('policy_allowed');
    expect(evaluator.asked).toHaveLength(1);
  });

  it('by equal questions in flight', async () => {
    const waiting: (() => void)[] = [];
    evaluator.answer((question, response) => waiting.push(() => sendJson(response, { token: answerToken(question) })));
    const loaded = await load();
    const answers = [1, 2, 3].map(() => reasonOf(loaded));
    await expect.poll(() => waiting.length, { timeout: 5_000 }).toBe(1);
    answers.push(reasonOf(loaded));
    waiting[0]?.();
    expect(await Promise.all(answers)).toEqual(Array(4).fill('policy_allowed'));
    expect(evaluator.asked).toHaveLength(1);
  });

  it('whatever the verdict, for cache_seconds; then without waiting', async () => {
    evaluator.decide(() => false);
    const loaded = await load();
    const headers = { authorization: `Bearer ${annToken()}` };
    for (let i = 0; i < 3; i += 1) expect(await reasonOf(loaded, headers)).toBe('no_policy_matched');
    expect(loaded.answer({ headers })).toEqual({ atOnce: true });
    expect(evaluator.asked).toHaveLength(1);
    aheadMs = 61_000;
    await reasonOf(loaded, headers);
    expect(evaluator.asked).toHaveLength(2);
    expect(cache).toEqual(['miss', 'hit', 'hit', 'hit', 'miss']);
  });

  it('by a renewed token', async () => {
    const loaded = await load();
    const now = Math.floor(Date.now() / 1000);
    for (const iat of [now - 60, now - 30, now])
      expect(await reasonOf(loaded, { authorization: `Bearer ${annToken({ iat, exp: iat + 600 })}` })).toBe(
        'policy_allowed',
      );
    expect(evaluator.asked).toHaveLength(1);
  });

  it.each<[string, object, object]>([
    ['another user', {}, { authorization: `Bearer ${annToken({ sub: 'user-2' })}` }],
    ['other groups', {}, { authorization: `Bearer ${annToken({ groups: ['g'] })}` }],
    ['another application', {}, { host: 'other.example.com' }],
    ['another country', { 'cf-ipcountry': 'PT' }, { 'cf-ipcountry': 'ES' }],
  ])('but not by %s', async (_, first, second) => {
    const more = 'geo: { headers: { country: cf-ipcountry } }\n';
    // Of one audience: it is not that which tells the applications apart.
    const files = filesOf({ more, application: ', aud: [orders]' });
    const policies = String(files['policies/all.yaml']);
    const other = policies.replace(ORDERS, OTHER).replace('Orders', 'Other').replace('orders.', 'other.');
    whole = await wholeCheck({ ...files, 'policies/other.yaml': other }, { keySets: createKeySets(), evaluations });
    for (const told of [first, second]) {
      const { host = 'orders.example.com', ...headers } = told as { readonly host?: string };
      expect(await whole.ask({ host, headers })).toMatchObject({ reason: 'policy_allowed' });
    }
    expect(evaluator.asked).toHaveLength(2);
  });

  it('never beyond the answer’s own end', async () => {
    evaluator.answer((question, response) => {
      const exp = Math.floor(Date.now() / 1000) + 20;
      sendJson(response, { token: answerToken(question, { claims: { exp } }) });
    });
    const loaded = await load({ settings: ', cache_seconds: 3600' });
    await reasonOf(loaded);
    aheadMs = 15_000;
    await reasonOf(loaded);
    expect(evaluator.asked).toHaveLength(1);
    aheadMs = 21_000;
    evaluator.answer(undefined);
    await reasonOf(loaded);
    expect(evaluator.asked).toHaveLength(2);
  });

  it('every time with cache_seconds: 0', async () => {
    const loaded = await load({ settings: ', cache_seconds: 0' });
    for (let i = 0; i < 3; i += 1) await reasonOf(loaded);
    expect(evaluator.asked).toHaveLength(3);
  });

  it('for a second where it failed', async () => {
    evaluator.answer((_, response) => response.writeHead(500).end());
    const loaded = await load();
    expect([await reasonOf(loaded), await reasonOf(loaded)]).toEqual(['fact_unavailable', 'fact_unavailable']);
    expect(evaluator.asked).toHaveLength(1);
    evaluator.answer(undefined);
    aheadMs = 1_001;
    expect(await reasonOf(loaded)).toBe('policy_allowed');
  });

  it('across revisions', async () => {
    const loaded = await load();
    await reasonOf(loaded);
    const before = loaded.revision.id;
    await loaded.reload({ 'policies/more.yaml': 'groups: []\n' });
    expect(loaded.revision.id).not.toBe(before);
    expect(await reasonOf(loaded)).toBe('policy_allowed');
    expect(evaluator.asked).toHaveLength(1);
  });

  it('and the answer that came too late for one check serves the next', async () => {
    let answer = (): void => undefined;
    evaluator.answer((question, response) => {
      answer = () => sendJson(response, { token: answerToken(question) });
    });
    const loaded = await load();
    expect(await loaded.ask({}, 200)).toMatchObject({ reason: 'fact_unavailable' });
    answer();
    expect(await reasonOf(loaded)).toBe('policy_allowed');
    expect(evaluator.asked).toHaveLength(1);
  });
});

describe('the endpoint’s keys', () => {
  it('are read once an hour', async () => {
    const loaded = await load({ settings: ', cache_seconds: 0' });
    await reasonOf(loaded);
    monotonicAheadMs = 3_500_000;
    evaluator.answerKeys((response) => response.writeHead(500).end());
    expect(await reasonOf(loaded)).toBe('policy_allowed');
    expect(evaluator.keysAsked()).toBe(1);
    monotonicAheadMs = 3_700_000;
    expect(await reasonOf(loaded)).toBe('fact_unavailable');
    evaluator.answerKeys(undefined);
    aheadMs = 1_001;
    expect(await reasonOf(loaded)).toBe('policy_allowed');
  });

  it('may be replaced: an unknown kid reloads them, at most every 30 s', async () => {
    const loaded = await load({ settings: ', cache_seconds: 0' });
    await reasonOf(loaded);
    evaluator.useKey(pairFor('RS256', 'second'), 'e2');
    expect(await reasonOf(loaded)).toBe('policy_allowed');
    expect(evaluator.keysAsked()).toBe(2);
    evaluator.useKey(pairFor('RS256', 'third'), 'e3');
    aheadMs = 2_000;
    expect(await reasonOf(loaded)).toBe('fact_unavailable');
    expect(evaluator.keysAsked()).toBe(2);
    aheadMs = 31_000;
    expect(await reasonOf(loaded)).toBe('policy_allowed');
    expect(evaluator.keysAsked()).toBe(3);
  });
});

describe('hosts', () => {
  it('of endpoint and keys may be two, both listed', async () => {
    const keys = await startEvaluator();
    keys.useKey(pairFor('RS256', 'second'), 'e9');
    evaluator.useKey(pairFor('RS256', 'second'), 'e9');
    const files = filesOf();
    const rule = String(files['policies/all.yaml']).replace(evaluator.keysUrl, keys.keysUrl);
    const both = `${IDENTITY}external_evaluation: { allow_hosts: ["${evaluator.host}", "${keys.host}"] }\n`;
    const surroundings = { keySets: createKeySets(), evaluations };
    await expect(wholeCheck({ ...files, 'policies/all.yaml': rule }, surroundings)).rejects.toThrow(
      'evaluation_host_not_allowed',
    );
    whole = await wholeCheck({ ...files, 'postern.yaml': both, 'policies/all.yaml': rule }, surroundings);
    expect(await reasonOf(whole)).toBe('policy_allowed');
    expect([evaluator.keysAsked(), keys.keysAsked(), keys.asked.length]).toEqual([0, 1, 0]);
    await keys.close();
  });

  it('that are not listed are faults', async () => {
    const files = filesOf();
    await expect(
      wholeCheck(
        { ...files, 'postern.yaml': `${IDENTITY}external_evaluation: { allow_hosts: [policy.example.com] }\n` },
        { keySets: createKeySets(), evaluations },
      ),
    ).rejects.toThrow(/evaluation_host_not_allowed.*evaluation_host_not_allowed/s);
  });

  it('over https are believed only with a certificate of a trusted authority', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'postern-evaluator-'));
    try {
      const secure = selfSigned(folder);
      await evaluator.close();
      evaluator = await startEvaluator(secure);
      expect(await reasonOf(await load())).toBe('fact_unavailable');
      expect(failures).toEqual([`${evaluator.host}: DEPTH_ZERO_SELF_SIGNED_CERT`]);
      whole?.close();
      evaluations = createExternalEvaluations({
        outbound: createOutbound({ guarded: true, authorities: secure.cert }),
      });
      expect(await reasonOf(await load())).toBe('policy_allowed');
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe('the signing key', () => {
  it('is not made before a rule needs it', async () => {
    const policies = (): string => '[{ name: A, decision: allow, include: [{ everyone: {} }] }]';
    const { 'keys/evaluation.pem': _, ...files } = filesOf({ policies });
    const loaded = await wholeCheck(files, { keySets: createKeySets(), evaluations });
    whole = loaded;
    expect(() => statSync(join(loaded.folder, 'keys/evaluation.pem'))).toThrow('ENOENT');
    expect(loaded.revision.publicKeys).toEqual([]);
  });

  it.each([
    ['a key of another type', pairFor('ES256')],
    ['a small one', pairFor('RS256', 'small')],
  ])('%s is a fault', async (_, { privateKey }) => {
    const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    await expect(
      wholeCheck({ ...filesOf(), 'keys/evaluation.pem': pem }, { keySets: createKeySets(), evaluations }),
    ).rejects.toThrow('signing_key_invalid');
  });
});
