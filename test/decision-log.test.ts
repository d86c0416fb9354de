import { describe, expect, it } from 'vitest';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createDecisionLog, createDecisionOutput, decidedFacts, decisionLine } from '../src/decision-log.ts';
import type { DecisionLogMode, DecisionRecord } from '../src/decision-log.ts';
import { schema } from '../src/cli/schema.ts';
import { decisionLineSchema, decisionLineShape } from '../src/decision-log-shape.ts';
import { decodeFacts } from '../src/policy/replay.ts';
import { createLogger } from '../src/log.ts';
import type { Decision, Outcome } from '../src/model/decision.ts';
import type { Identity } from '../src/model/identity.ts';
import type { Headers, RequestFacts } from '../src/model/request.ts';

const JWT = 'eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl';
const SECRET = 'marked-secret';

const IDENTITY: Identity = {
  source: 'token',
  issuer: 'https://example.cloudflareaccess.com',
  audiences: [SECRET],
  subject: 'ann-1',
  email: 'ann@example.com',
  name: SECRET,
  provider: { id: '11111111-1111-1111-1111-111111111111', type: 'okta' },
  groups: [{ id: SECRET, name: SECRET, email: undefined }],
  groupsIncomplete: false,
  amr: ['pwd'],
  acr: undefined,
  authTime: undefined,
  issuedAt: undefined,
  expiresAt: undefined,
  session: SECRET,
  tokenId: SECRET,
  country: SECRET,
  posture: new Map([['x', SECRET]]),
  riskScore: SECRET,
  samlAttributes: new Map([['x', SECRET]]),
  oidcClaims: new Map([['x', SECRET]]),
  hasOidcFields: false,
  authContexts: [],
  accounts: [SECRET],
  userExists: true,
  clockSkewSeconds: 30,
};

const DECISION: Decision = {
  outcome: 'deny',
  reason: 'policy_denied',
  application: { id: '9a4b2f0e-3f55-4a57-9b0e-000000000001', name: 'Orders' },
  policy: { id: 'p-1', name: 'Blocked' },
  resourceRule: { id: 'r-1', name: 'Orders, staff' },
  riskLevel: 'MEDIUM',
  riskScore: 42.25,
  identity: IDENTITY,
  linkedIdentity: undefined,
  challenge: undefined,
  loginMayHelp: false,
  tokenSent: true,
  cookies: [SECRET],
  why: 'policy "Blocked" matched by email',
};

function headers(traceparent?: string): Headers {
  return {
    has: () => true,
    all: () => [SECRET],
    single: (name) =>
      name === 'traceparent' && traceparent !== undefined
        ? { state: 'one', value: traceparent }
        : { state: name === 'traceparent' ? 'absent' : 'several' },
    cookies: () => [SECRET],
    names: () => [SECRET],
  };
}

function request(more: Partial<RequestFacts> = {}): RequestFacts {
  return {
    method: 'GET',
    host: 'orders.example.com',
    path: '/api/v1/orders',
    query: SECRET,
    target: `/api/v1/orders?${SECRET}`,
    authority: SECRET,
    scheme: 'https',
    headers: headers('00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'),
    timeMs: 0,
    sourceAddress: undefined,
    principal: 'spiffe://cluster.local/ns/shop/sa/client',
    certificate: SECRET,
    body: { state: 'whole', bytes: Buffer.from(SECRET) },
    metadata: () => ({ secret: SECRET }),
    streamId: SECRET,
    protocol: SECRET,
    ...more,
  };
}

function record(more: Partial<DecisionRecord> = {}): DecisionRecord {
  return {
    decisionId: '0198f3c2-0000-7000-8000-000000000001',
    timeMs: Date.parse('2026-03-04T14:30:00Z'),
    durationMs: 0.123_456,
    revision: '0123456789ab',
    decision: DECISION,
    request: request(),
    clientAddress: () => ({ text: '203.0.113.7', family: 4, bytes: Uint8Array.of(203, 0, 113, 7) }),
    country: 'CA',
    facts: () => decidedFacts({ request: request(), context: undefined, application: undefined }, 0),
    ...more,
  };
}

function parsed(more: Partial<DecisionRecord> = {}): Record<string, unknown> {
  return JSON.parse(decisionLine(record(more), ALL)) as Record<string, unknown>;
}

const ALL: DecisionLogMode = { decisions: 'all', allow_sample: 1, requests: 'none' };

describe('the line of a decision', () => {
  it('says what was decided, of what, for whom and why', () => {
    expect(parsed()).toEqual({
      level: 'info',
      time: '2026-03-04T14:30:00.000Z',
      msg: 'decision',
      decision_id: '0198f3c2-0000-7000-8000-000000000001',
      outcome: 'deny',
      reason: 'policy_denied',
      why: 'policy "Blocked" matched by email',
      method: 'GET',
      host: 'orders.example.com',
      path: '/api/v1/orders',
      client_address: '203.0.113.7',
      country: 'CA',
      application: { id: '9a4b2f0e-3f55-4a57-9b0e-000000000001', name: 'Orders' },
      policy: { id: 'p-1', name: 'Blocked' },
      resource_rule: { id: 'r-1', name: 'Orders, staff' },
      risk_level: 'MEDIUM',
      risk_score: 42.25,
      subject: 'ann-1',
      email: 'ann@example.com',
      provider: '11111111-1111-1111-1111-111111111111',
      principal: 'spiffe://cluster.local/ns/shop/sa/client',
      revision: '0123456789ab',
      duration_ms: 0.123,
      trace_id: '4bf92f3577b34da6a3ce929d0e0e4736',
      span_id: '00f067aa0ba902b7',
      trace_flags: '01',
    });
  });

  it('leaves out what is not known', () => {
    const bare: Decision = {
      ...DECISION,
      outcome: 'bad_request',
      reason: 'request_malformed',
      application: undefined,
      policy: undefined,
      resourceRule: undefined,
      riskLevel: undefined,
      riskScore: undefined,
      identity: undefined,
    };
    const line = parsed({ decision: bare, request: undefined, clientAddress: () => undefined, country: undefined });
    expect(Object.keys(line)).toEqual([
      'level',
      'time',
      'msg',
      'decision_id',
      'outcome',
      'reason',
      'why',
      'revision',
      'duration_ms',
    ]);
  });

  it('keeps a risk score of zero', () => {
    expect(parsed({ decision: { ...DECISION, riskScore: 0 } })['risk_score']).toBe(0);
  });

  it('names the linked identity where nobody is logged in', () => {
    const linkedIdentity = { subject: 'bot-1', email: undefined };
    const line = parsed({ decision: { ...DECISION, identity: undefined, linkedIdentity } });
    expect([line['subject'], line['email'], line['provider']]).toEqual(['bot-1', undefined, undefined]);
  });

  it('names no certificate where there is none, and no longer one than there can be', () => {
    expect(parsed({ request: request({ principal: '' }) })).not.toHaveProperty('principal');
    expect(parsed({ request: request({ principal: 'x'.repeat(10_000) }) })['principal']).toHaveLength(2_048);
  });

  it('holds no header, cookie, query, body, certificate or claim', () => {
    expect(decisionLine(record(), ALL)).not.toContain(SECRET);
  });

  it('holds no token that stands in a path or a reason', () => {
    const decision = { ...DECISION, why: `the token ${JWT} is expired` };
    const line = parsed({ decision, request: request({ path: `/verify/${JWT}` }) });
    expect([line['why'], line['path']]).toEqual(['the token [redacted] is expired', '/verify/[redacted]']);
  });

  it('holds the facts of the decision where it is asked for, without what looks like a token', () => {
    const unread = { context: undefined, application: undefined };
    const facts = decidedFacts({ request: request({ path: `/a/${JWT}` }), ...unread }, 5);
    expect(parsed({ facts: () => facts })['replay']).toBeUndefined();
    const line = decisionLine(record({ facts: () => facts }), { ...ALL, requests: 'replay' });
    expect(line).not.toContain(JWT);
    expect(line).not.toContain(SECRET);
    const decoded = decodeFacts((JSON.parse(line) as { replay: unknown }).replay);
    expect(decoded).toMatchObject({
      context: { processNowMs: 5, request: { host: 'orders.example.com', path: '/a/[redacted]' } },
    });
  });

  it('holds no facts of a request that could not be read', () => {
    expect(decisionLine(record({ facts: () => undefined }), { ...ALL, requests: 'replay' })).not.toContain('replay');
  });

  it('does nothing to a terminal, and says what was said', () => {
    const name = 'ann\u001b[2J\u009b2J\u007f\u2028\u202enimda\u2066é\u0300';
    const decision = { ...DECISION, why: name, identity: { ...IDENTITY, subject: name, email: name } };
    const line = decisionLine(record({ decision }), ALL);
    expect(line).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/);
    expect(JSON.parse(line)).toMatchObject({ why: name, subject: name, email: name });
  });

  it('is one line of bounded length, whatever is asked for', () => {
    const long = 'é\n"'.repeat(20_000);
    const decision = { ...DECISION, why: long, identity: { ...IDENTITY, subject: long, email: long } };
    const line = decisionLine(record({ decision, request: request({ method: long, host: long, path: long }) }), ALL);
    expect(line).not.toContain('\n');
    expect(line.length).toBeLessThan(12_000);
  });

  const TRACE = ['4bf92f3577b34da6a3ce929d0e0e4736', '00f067aa0ba902b7'];
  const NONE = [undefined, undefined, undefined];

  it.each([
    ['00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01', [...TRACE, '01']],
    ['00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00', [...TRACE, '00']],
    ['cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future-brings', [...TRACE, '01']],
    ['00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x', NONE],
    ['cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.x', NONE],
    ['ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01', NONE],
    ['00-00000000000000000000000000000000-00f067aa0ba902b7-01', NONE],
    ['00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01', NONE],
    ['00-4BF92F3577B34DA6A3CE929D0E0E4736-00F067AA0BA902B7-01', NONE],
    ['00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01', NONE],
    ['00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7', NONE],
    [SECRET, NONE],
    ['', NONE],
    [undefined, NONE],
  ])('of the traceparent %j has trace, span and flags %j', (traceparent, expected) => {
    const line = parsed({ request: request({ headers: headers(traceparent) }) });
    expect([line['trace_id'], line['span_id'], line['trace_flags']]).toEqual(expected);
  });
});

describe('the schema of a line', () => {
  const names = Object.keys(decisionLineShape.shape);

  it.each<[string, Partial<DecisionRecord>]>([
    ['a refusal', {}],
    ['an allow', { decision: { ...DECISION, outcome: 'allow', reason: 'policy_allowed', why: '' } }],
    ['a request that cannot be read', { request: undefined, clientAddress: () => undefined, country: undefined }],
  ])('fits %s, and names every key of it', (_, more) => {
    const line = parsed(more);
    expect(decisionLineShape.safeParse(line).error).toBeUndefined();
    expect(Object.keys(line).filter((key) => !names.includes(key))).toEqual([]);
  });

  it('names no key that no line has', () => {
    const sampled = decisionLine(record({ decision: { ...DECISION, outcome: 'allow' } }), {
      ...ALL,
      allow_sample: 0.5,
      requests: 'replay',
    });
    expect(Object.keys(JSON.parse(sampled) as object).toSorted()).toEqual(names.toSorted());
  });

  it('refuses what is no such line', () => {
    for (const wrong of [
      {},
      { ...parsed(), outcome: 'maybe' },
      { ...parsed(), trace_id: 'x' },
      { ...parsed(), time: 1 },
    ])
      expect(decisionLineShape.safeParse(wrong).success).toBe(false);
  });

  it('is what `postern schema decisions` prints', async () => {
    let text = '';
    const terminal = { out: (more: string) => (text += more), error: () => undefined, colors: false, environment: {} };
    expect(await schema.run(['decisions'], { ...terminal, input: () => Promise.resolve('') })).toBe(0);
    expect(JSON.parse(text)).toEqual(decisionLineSchema());
  });

  it('describes every key, and docs/decision-log.md says the same', () => {
    const { properties, required } = decisionLineSchema() as {
      properties: Record<string, { description?: string }>;
      required: readonly string[];
    };
    const rows = Object.entries(properties).map(
      ([name, { description }]) =>
        `| \`${name}\` | ${required.includes(name) ? 'always' : ''} | ${description ?? '?'} |`,
    );
    expect(rows.join('\n')).not.toContain('?');
    expect(readFileSync(new URL('../docs/decision-log.md', import.meta.url), 'utf8')).toContain(rows.join('\n'));
  });
});

describe('the decision log', () => {
  const OUTCOMES: readonly Outcome[] = ['allow', 'unauthenticated', 'step_up', 'deny', 'bad_request', 'unavailable'];

  it.each<[DecisionLogMode['decisions'], readonly Outcome[]]>([
    ['all', OUTCOMES],
    ['deny', OUTCOMES.slice(1)],
    ['none', []],
  ])('of %s writes %j, at every level of the log', (decisions, expected) => {
    const lines: string[] = [];
    const logger = createLogger({ level: 'silent', destination: { write: (line) => lines.push(line) } });
    const output = createDecisionOutput(logger, () => undefined);
    const write = createDecisionLog({ output, mode: () => ({ decisions, allow_sample: 1, requests: 'none' }) });
    for (const outcome of OUTCOMES) write(record({ decision: { ...DECISION, outcome } }));
    expect(lines.map((line) => (JSON.parse(line) as { outcome: string }).outcome)).toEqual(expected);
    expect(lines.every((line) => line.endsWith('}\n'))).toBe(true);
  });

  it('asks for its mode anew each time', () => {
    let decisions: DecisionLogMode['decisions'] = 'none';
    const lines: string[] = [];
    const write = createDecisionLog({
      output: { line: (line) => lines.push(line) > 0 },
      mode: () => ({ decisions, allow_sample: 1, requests: 'none' }),
    });
    write(record());
    decisions = 'all';
    write(record());
    expect(lines).toHaveLength(1);
  });

  it('tells of every line that is dropped', () => {
    let dropped = 0;
    const write = createDecisionLog({
      output: { line: () => false },
      mode: () => ({ decisions: 'deny', allow_sample: 1, requests: 'none' }),
      dropped: () => (dropped += 1),
    });
    write(record());
    write(record({ decision: { ...DECISION, outcome: 'allow' } }));
    write(record());
    expect(dropped).toBe(2);
  });

  it.each([
    [0, 0],
    [0.25, 64],
    [0.5, 128],
    [1, 256],
  ])('keeps of 256 allows, sampled at %d, %d, whatever trace the caller names', (allow_sample, expected) => {
    const lines: string[] = [];
    const write = createDecisionLog({
      output: { line: (line) => lines.push(line) > 0 },
      mode: () => ({ decisions: 'all', allow_sample, requests: 'none' }),
    });
    for (let first = 0; first < 256; first += 1) {
      const decisionId = `${first.toString(16).padStart(2, '0')}98f3c2-0000-7000-8000-000000000001`;
      write(record({ decisionId, decision: { ...DECISION, outcome: 'allow' } }));
      write(record({ decisionId }));
    }
    const outcomes = lines.map((line) => JSON.parse(line) as { outcome: string; allow_sample?: number });
    const allows = outcomes.filter(({ outcome }) => outcome === 'allow');
    expect(allows).toHaveLength(expected);
    expect(outcomes.length - allows.length).toBe(256);
    expect(new Set(allows.map((one) => one.allow_sample))).toEqual(
      new Set(expected === 0 ? [] : [allow_sample < 1 ? allow_sample : undefined]),
    );
  });

  it('goes to a file, to another, and back to the log, where it is told to', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'postern-decisions-'));
    const logged: string[] = [];
    const logger = createLogger({ level: 'info', destination: { write: (line) => logged.push(line) } });
    const output = createDecisionOutput(logger, () => undefined);
    const file = (name: string) => ({ path: join(folder, name), max_bytes: 1_000_000, keep: 1 });
    output.line('1');
    await output.use(file('a'));
    await output.use(file('a'));
    output.line('2');
    await expect(output.use(file('missing/b'))).rejects.toThrow('ENOENT');
    output.line('3');
    await output.use(file('b'));
    output.line('4');
    await output.use(undefined);
    output.line('5');
    await output.close();
    expect([logged, readFileSync(join(folder, 'a'), 'utf8'), readFileSync(join(folder, 'b'), 'utf8')]).toEqual([
      ['1\n', '5\n'],
      '2\n3\n',
      '4\n',
    ]);
    rmSync(folder, { recursive: true });
  });
});
