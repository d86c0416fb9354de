/** Policies that are only tried, beside those in force: through the loader, the check, and a queue that waits. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createCheck } from '../src/envoy/check.ts';
import type { CheckCall, CheckFinished } from '../src/envoy/check.ts';
import { createKeySets } from '../src/facts/key-set.ts';
import { createLoader } from '../src/revision.ts';
import type { Loaded, Loader } from '../src/revision.ts';
import { createShadow } from '../src/shadow.ts';
import { decodeResponse, encodeRequest, metadataOf } from './envoy/official.ts';

const CALL: CheckCall = { deadlineMs: Infinity, signal: new AbortController().signal, cancelled: false };
const ORDERS = '9a4b2f0e-3f55-4a57-9b0e-000000000001';
const OTHER = '9a4b2f0e-3f55-4a57-9b0e-000000000002';

let folder: string;
let loader: Loader;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postern-shadow-'));
  for (const name of ['policies', 'policies-next']) mkdirSync(join(folder, name));
  writeFileSync(
    join(folder, 'postern.yaml'),
    'shadow: policies-next\nidentity: { headers: { enabled: true } }\ngeo: { headers: { country: x-country } }\n',
  );
  loader = createLoader({ folder, overrides: [], keySets: createKeySets(), makesKeys: false });
});

afterEach(() => rmSync(folder, { recursive: true }));

/** One application with one policy: its decision and rules. */
function application(policy: string, more = ''): string {
  return `applications: [{ id: ${ORDERS}, name: Orders, destinations: [orders.example.com], ${more} policies: [{ name: P, ${policy} }] }]\n`;
}

async function load(real: string, shadow: string | undefined): Promise<Loaded> {
  writeFileSync(join(folder, 'policies/all.yaml'), real);
  if (shadow !== undefined) writeFileSync(join(folder, 'policies-next/all.yaml'), shadow);
  return loader.load();
}

interface Run {
  /** `application: real → shadow`, in order. */
  readonly decided: string[];
  readonly differences: Record<string, unknown>[];
  readonly failures: unknown[];
  dropped: number;
  answer(headers?: Record<string, string>, host?: string, path?: string): Promise<Record<string, unknown>>;
  /** Gives the queue its turn. */
  work(): void;
}

function runOf(loaded: Loaded, change: (check: CheckFinished) => CheckFinished = (check) => check): Run {
  const { revision } = loaded;
  if (!revision) throw new Error(JSON.stringify(loaded.faults));
  const queue: (() => void)[] = [];
  const run: Run = {
    decided: [],
    differences: [],
    failures: [],
    dropped: 0,
    async answer(headers = {}, host = 'orders.example.com', path = '/x') {
      const bytes = await check(
        encodeRequest({
          attributes: {
            source: { address: { socket_address: { address: '203.0.113.7', port_value: 1 } } },
            request: { http: { method: 'GET', host, path, headers } },
          },
        }),
        CALL,
      );
      return metadataOf(decodeResponse(bytes));
    },
    work() {
      while (queue.length > 0) queue.shift()?.();
    },
  };
  const shadow = createShadow({
    metrics: {
      shadowDecided: (name, real, other) => void run.decided.push(`${name ?? ''}: ${real} → ${other}`),
      shadowDropped: () => (run.dropped += 1),
    },
    differs: (kind, message, fields) => void run.differences.push({ kind, message, ...fields }),
    failed: (_kind, _message, fields) => void run.failures.push(fields?.['error']),
    later: (one) => void queue.push(one),
  });
  const check = createCheck({
    snapshot: () => revision.snapshot,
    nowMs: Date.now,
    monotonicMs: () => performance.now(),
    newId: () => 'id-1',
    settle: (decision) => ({ decision, attempt: 1 }),
    watch: {
      stage: () => undefined,
      fact: () => undefined,
      finished: (one) => shadow.record(change(one)),
      failed(error) {
        throw error;
      },
    },
  });
  return run;
}

const STAFF = 'decision: allow, include: [{ email_domain: { domain: example.com } }]';
const IN_CANADA = `${STAFF}, require: [{ geo: { country_code: CA } }]`;
const ANN = { 'x-forwarded-email': 'ann@example.com' };

describe('a request', () => {
  it.each<[string, string, string, Record<string, string>, string]>([
    ['the same policies', STAFF, STAFF, ANN, 'allow → allow'],
    ['a rule less for nobody', STAFF, STAFF, {}, 'unauthenticated → unauthenticated'],
    ['a country that is asked for, and is it', STAFF, IN_CANADA, { ...ANN, 'x-country': 'CA' }, 'allow → allow'],
    ['a country that is asked for, and is another', STAFF, IN_CANADA, { ...ANN, 'x-country': 'US' }, 'allow → deny'],
    ['a country that is no longer asked for', IN_CANADA, STAFF, { ...ANN, 'x-country': 'US' }, 'deny → allow'],
    ['an address that is asked for', STAFF, `${STAFF}, exclude: [{ ip: { ip: 203.0.113.0/24 } }]`, ANN, 'allow → deny'],
    [
      'a login where nobody was looked at',
      'decision: bypass, include: [{ everyone: {} }]',
      STAFF,
      ANN,
      'allow → unknown',
    ],
    ['no login any more', STAFF, 'decision: bypass, include: [{ everyone: {} }]', {}, 'unauthenticated → allow'],
    ['a certificate that nobody looked at', STAFF, `${STAFF}, require: [{ certificate: {} }]`, ANN, 'allow → unknown'],
    [
      'a certificate that must not be shown, and nobody looked at',
      STAFF,
      `${STAFF}, exclude: [{ certificate: {} }]`,
      ANN,
      'allow → unknown',
    ],
    [
      'a certificate as one way of two, where the other is known',
      STAFF,
      'decision: allow, include: [{ certificate: {} }, { email_domain: { domain: example.com } }]',
      ANN,
      'allow → allow',
    ],
  ])('%s', async (_, real, shadow, headers, expected) => {
    const run = runOf(await load(application(real), application(shadow)));
    const metadata = await run.answer(headers);
    expect([metadata['outcome'], run.decided]).toEqual([expected.split(' → ')[0], []]);
    run.work();
    expect(run.decided).toEqual([`Orders: ${expected}`]);
    expect(run.differences).toHaveLength(expected.split(' → ')[0] === expected.split(' → ')[1] ? 0 : 1);
    expect(run.failures).toEqual([]);
  });

  it('is told with both decisions where they differ, and with what is not known', async () => {
    const run = runOf(await load(application(STAFF), application(`${STAFF}, require: [{ certificate: {} }]`)));
    await run.answer(ANN, 'orders.example.com', '/eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl?secret=1');
    run.work();
    expect(run.differences).toEqual([
      {
        kind: 'shadow_allow_unknown',
        message: 'the policies that are tried would decide otherwise',
        decision_id: 'id-1',
        revision: expect.stringMatching(/^[0-9a-f]{12}$/) as unknown,
        method: 'GET',
        host: 'orders.example.com',
        path: '/[redacted]',
        application: 'Orders',
        outcome: 'allow',
        reason: 'policy_allowed',
        policy: 'P',
        shadow_application: 'Orders',
        shadow_outcome: 'unknown',
        shadow_reason: expect.any(String) as unknown,
        shadow_policy: undefined,
        unknown_facts: ['certificate'],
      },
    ]);
  });

  it('of applications that only one of the two has', async () => {
    const other = application(STAFF).replace(ORDERS, OTHER).replace('orders.example.com', 'other.example.com');
    const run = runOf(await load(application(STAFF), other.replace('Orders', 'Other')));
    await run.answer(ANN);
    await run.answer(ANN, 'other.example.com');
    await run.answer(ANN, 'nowhere.example.com');
    await run.answer(ANN, 'orders.example.com', '/a/../b');
    run.work();
    expect(run.decided).toEqual(['Orders: allow → deny', 'Other: deny → unknown', ': deny → deny']);
  });

  it.each([
    ['other audiences', 'audiences: [x],', STAFF],
    ['other providers', 'allowed_idps: [11111111-1111-1111-1111-111111111111],', STAFF],
  ])('whose identity counts for %s is not known', async (_, more, policy) => {
    writeFileSync(
      join(folder, 'postern.yaml'),
      'shadow: policies-next\nidentity: { headers: { enabled: true }, providers: [{ id: 11111111-1111-1111-1111-111111111111, name: Okta, type: okta }] }\n',
    );
    const run = runOf(await load(application(policy), application(policy, more.replace('audiences: [x]', 'aud: x'))));
    await run.answer(ANN);
    run.work();
    expect(run.decided).toEqual(['Orders: allow → unknown']);
  });

  it('is decided by groups of the set that is tried, whatever those of the other concluded', async () => {
    const group = (domain: string): string =>
      `groups: [{ id: 8f1c0000-0000-4000-8000-000000000001, name: G, include: [{ email_domain: { domain: ${domain} } }] }]\n`;
    const policy = 'decision: allow, include: [{ group: { id: 8f1c0000-0000-4000-8000-000000000001 } }]';
    const run = runOf(
      await load(application(policy) + group('example.com'), application(policy) + group('other.example')),
    );
    await run.answer(ANN);
    await run.answer({ 'x-forwarded-email': 'bob@other.example' });
    run.work();
    expect(run.decided).toEqual(['Orders: allow → deny', 'Orders: deny → allow']);
  });

  it('that was asked to step up too often counts as asked', async () => {
    const run = runOf(await load(application(STAFF), application(STAFF)), (check) => ({
      ...check,
      decision: { ...check.decision, outcome: 'deny', reason: 'step_up_exhausted' },
    }));
    await run.answer(ANN);
    run.work();
    expect(run.decided).toEqual(['Orders: step_up → allow']);
  });
});

describe('the queue', () => {
  it('drops what finds too many waiting, counts it, and takes requests again after its turn', async () => {
    const run = runOf(await load(application(STAFF), application(STAFF)));
    for (let n = 0; n < 300; n += 1) await run.answer(ANN);
    expect([run.decided.length, run.dropped]).toEqual([0, 44]);
    run.work();
    expect(run.decided).toHaveLength(256);
    await run.answer(ANN);
    run.work();
    expect([run.decided.length, run.dropped]).toEqual([257, 44]);
  });

  it('goes on where one request cannot be tried', async () => {
    let isBroken = true;
    const run = runOf(await load(application(STAFF), application(STAFF)), (check) => {
      if (!isBroken) return check;
      isBroken = false;
      const find = (): never => {
        throw new Error('broken');
      };
      return {
        ...check,
        snapshot: { ...check.snapshot, shadow: { find } as unknown as NonNullable<typeof check.snapshot.shadow> },
      };
    });
    await run.answer(ANN);
    await run.answer(ANN);
    run.work();
    expect([run.decided, run.dropped, run.failures.map(String)]).toEqual([
      ['Orders: allow → allow'],
      1,
      ['Error: broken'],
    ]);
  });

  it('does nothing where nothing is tried', async () => {
    writeFileSync(join(folder, 'postern.yaml'), 'identity: { headers: { enabled: true } }\n');
    const loaded = await load(application(STAFF), application(IN_CANADA));
    expect(loaded.revision?.shadow).toBeUndefined();
    const run = runOf(loaded);
    await run.answer(ANN);
    run.work();
    expect([run.decided, run.dropped]).toEqual([[], 0]);
  });
});

describe('a set that is tried', () => {
  it('is part of the revision, and is loaded anew with it', async () => {
    const first = await load(application(STAFF), application(STAFF));
    const second = await load(application(STAFF), application(IN_CANADA));
    expect(second.id).not.toBe(first.id);
    const run = runOf(second);
    await run.answer({ ...ANN, 'x-country': 'US' });
    run.work();
    expect(run.decided).toEqual(['Orders: allow → deny']);
    const third = await load(application(IN_CANADA), undefined);
    // What did not change is not compiled again.
    expect(third.revision?.shadow).toBe(second.revision?.shadow);
  });

  it('with faults stops nothing, says what is wrong in its own files, and is not tried', async () => {
    const loaded = await load(application(STAFF), application(STAFF.replace('email_domain', 'email_domian')));
    expect(loaded.faults).toEqual([]);
    expect(loaded.revision?.shadow?.compiled).toBeUndefined();
    expect(
      loaded.revision?.shadow?.faults.map(({ fault, position }) => [fault.place.file, position.line, fault.code]),
    ).toEqual([['policies-next/all.yaml', 1, 'rule_unknown']]);
    const run = runOf(loaded);
    expect((await run.answer(ANN))['outcome']).toBe('allow');
    run.work();
    expect(run.decided).toEqual([]);
    const mended = await load(application(STAFF), application(STAFF));
    expect(mended.revision?.shadow?.compiled).toBeDefined();
  });

  it('whose folder is missing stops nothing either, and is taken up when it comes', async () => {
    rmSync(join(folder, 'policies-next'), { recursive: true });
    const loaded = await load(application(STAFF), undefined);
    expect(loaded.faults).toEqual([]);
    expect(loaded.revision?.shadow?.faults.map(({ fault }) => [fault.code, fault.place.file, fault.text])).toEqual([
      [
        'folder_missing',
        'postern.yaml',
        'expected a folder of policy files at policies-next, found none: nothing is tried',
      ],
    ]);
    mkdirSync(join(folder, 'policies-next'));
    const come = await load(application(STAFF), application(STAFF));
    expect(come.revision?.shadow?.compiled).toBeDefined();
  });
});
