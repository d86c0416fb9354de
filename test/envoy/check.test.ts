/** A request's whole day, from bytes to bytes, and what happens when something in it fails. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createCheck } from '../../src/envoy/check.ts';
import type { CheckCall, CheckFinished, CheckParts, Snapshot } from '../../src/envoy/check.ts';
import { createKeySets } from '../../src/facts/key-set.ts';
import { NOTHING_READ } from '../../src/facts/identity.ts';
import type { IdentityReading } from '../../src/facts/identity.ts';
import { createLoader } from '../../src/revision.ts';
import { decodeResponse, encodeRequest, metadataOf } from './official.ts';

const CALL: CheckCall = { deadlineMs: Infinity, signal: new AbortController().signal, cancelled: false };
const APPLICATION = '9a4b2f0e-3f55-4a57-9b0e-000000000001';
const BYPASS = '9a4b2f0e-3f55-4a57-9b0e-000000000002';

const UNAVAILABLE: IdentityReading = {
  fact: { state: 'unavailable', why: 'no keys' },
  serviceJwt: undefined,
  sent: true,
};

let folder: string;
let snapshot: Snapshot;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'postern-check-'));
  mkdirSync(join(folder, 'policies'));
  writeFileSync(
    join(folder, 'policies/all.yaml'),
    `applications:
  - { id: ${APPLICATION}, name: Orders, destinations: [orders.example.com], policies: [{ name: A, decision: allow, include: [{ everyone: {} }] }] }
  - { id: ${BYPASS}, name: Open, destinations: [open.example.com], policies: [{ name: B, decision: bypass, include: [{ ip: { ip: 203.0.113.0/24 } }] }] }
`,
  );
  const loaded = await createLoader({ folder, overrides: [], keySets: createKeySets(), makesKeys: false }).load();
  if (!loaded.revision) throw new Error(JSON.stringify(loaded.faults));
  snapshot = loaded.revision.snapshot;
});

afterAll(() => {
  rmSync(folder, { recursive: true });
});

interface Watched {
  readonly finished: CheckFinished[];
  readonly failed: unknown[];
}

function parts(changes: Partial<CheckParts> = {}): CheckParts & Watched {
  const finished: CheckFinished[] = [];
  const failed: unknown[] = [];
  return {
    snapshot: () => snapshot,
    nowMs: Date.now,
    monotonicMs: () => performance.now(),
    newId: () => 'id-1',
    settle: (decision) => ({ decision, attempt: 1 }),
    watch: {
      stage: () => undefined,
      fact: () => undefined,
      finished: (check) => void finished.push(check),
      failed: (error) => void failed.push(error),
    },
    ...changes,
    finished,
    failed,
  };
}

function bytesFor(host: string, fields: object = {}): Uint8Array {
  return encodeRequest({
    attributes: {
      source: { address: { socket_address: { address: '203.0.113.7', port_value: 1 } } },
      request: { http: { method: 'GET', host, path: '/', ...fields } },
    },
  });
}

function withSources(changes: Partial<Snapshot['sources']>): Snapshot {
  return { ...snapshot, sources: { ...snapshot.sources, ...changes } };
}

describe('what needs nothing slow', () => {
  it('is answered without waiting', () => {
    const answer = createCheck(parts())(bytesFor('open.example.com'), CALL);
    expect(answer).toBeInstanceOf(Uint8Array);
    expect(metadataOf(decodeResponse(answer as Uint8Array))).toMatchObject({
      outcome: 'allow',
      reason: 'policy_bypassed',
      application: 'Open',
      policy: 'B',
      decision_id: 'id-1',
    });
  });

  it('asks no source that its application does not need', () => {
    const asked: string[] = [];
    const noting = new Proxy(snapshot.sources, {
      get(target, name: keyof Snapshot['sources']) {
        asked.push(name);
        return target[name];
      },
    });
    void createCheck(parts({ snapshot: () => ({ ...snapshot, sources: noting }) }))(bytesFor('open.example.com'), CALL);
    expect(new Set(asked)).toEqual(new Set(['clientAddress', 'secretHeaders']));
  });
});

describe('whatever fails, the answer is an explicit refusal', () => {
  const boom = (): never => {
    throw new Error('boom');
  };
  const rejected = (): Promise<never> => Promise.reject(new Error('boom'));
  it.each<[string, () => Partial<CheckParts>, string]>([
    ['no revision', () => ({ snapshot: () => undefined }), 'internal_error'],
    ['the snapshot throws', () => ({ snapshot: boom }), 'internal_error'],
    [
      'a source throws',
      () => ({ snapshot: () => withSources({ clientAddress: boom, identity: boom }) }),
      'internal_error',
    ],
    ['a source rejects', () => ({ snapshot: () => withSources({ identity: rejected }) }), 'fact_unavailable'],
    ['settling throws', () => ({ settle: boom }), 'internal_error'],
    ['settling rejects', () => ({ settle: rejected }), 'internal_error'],
    [
      'the destinations throw',
      () => ({ snapshot: () => ({ ...snapshot, destinations: { find: boom, all: boom } }) }),
      'internal_error',
    ],
    ['the clock throws', () => ({ monotonicMs: boom }), 'internal_error'],
    ['the log throws', () => ({ watch: { ...parts().watch, finished: boom } }), 'internal_error'],
    ['the assertion rejects', () => ({ snapshot: () => ({ ...snapshot, assertion: rejected }) }), 'internal_error'],
  ])('%s', async (name, changes, reason) => {
    const host = name === 'the assertion rejects' ? 'open.example.com' : 'orders.example.com';
    const message = decodeResponse(await createCheck(parts(changes()))(bytesFor(host), CALL));
    expect(message.status?.code).toBe(14);
    expect(message.denied_response).toBeDefined();
    expect(metadataOf(message)).toMatchObject({ outcome: 'unavailable', reason, decision_id: 'id-1' });
  });

  it('even telling of the failure may fail', async () => {
    const watch = { ...parts().watch, failed: boom };
    const message = decodeResponse(
      await createCheck(parts({ settle: boom, watch }))(bytesFor('orders.example.com'), CALL),
    );
    expect(message.status?.code).toBe(14);
  });

  it('20,000 malformed requests: no throw, no zero bytes, no allow', async () => {
    const check = createCheck(parts());
    const whole = Buffer.from(bytesFor('orders.example.com', { headers: { authorization: 'Bearer x' } }));
    const broken = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc.nat(whole.length).map((length) => whole.subarray(0, length)),
      fc.tuple(fc.nat(whole.length - 1), fc.nat(255)).map(([at, value]) => {
        const changed = Buffer.from(whole);
        changed[at] = value;
        return changed;
      }),
    );
    await fc.assert(
      fc.asyncProperty(broken, async (bytes) => {
        const answer = await check(bytes, CALL);
        expect(answer.length).toBeGreaterThan(0);
        const message = decodeResponse(answer);
        expect(message.status?.code ?? 0).not.toBe(0);
        expect(message.denied_response).toBeDefined();
      }),
      { numRuns: 20_000 },
    );
  }, 120_000);
});

describe('time', () => {
  it('facts that are late stay unknown, and the decision is made before the caller gives up', async () => {
    const late = parts({ snapshot: () => withSources({ identity: () => new Promise(() => undefined) }) });
    const deadlineMs = Date.now() + 100;
    const message = decodeResponse(await createCheck(late)(bytesFor('orders.example.com'), { ...CALL, deadlineMs }));
    expect(Date.now()).toBeLessThan(deadlineMs + 1000);
    expect(metadataOf(message)).toMatchObject({
      outcome: 'unavailable',
      reason: 'fact_unavailable',
      application: 'Orders',
    });
    expect(late.finished).toHaveLength(1);
  });

  it('a fact that comes after its deadline changes nothing any more', async () => {
    let arrive = (): void => undefined;
    const identity = () =>
      new Promise<typeof NOTHING_READ>((resolve) => {
        arrive = () => resolve(NOTHING_READ);
      });
    const late = parts({ snapshot: () => withSources({ identity }) });
    const answer = await createCheck(late)(bytesFor('orders.example.com'), { ...CALL, deadlineMs: Date.now() + 60 });
    const before = Buffer.from(answer).toString('hex');
    arrive();
    await new Promise((resolve) => {
      setTimeout(resolve, 50);
    });
    expect(Buffer.from(answer).toString('hex')).toBe(before);
    expect(late.finished).toHaveLength(1);
    expect(late.failed).toEqual([]);
  });

  it.each<[string, () => IdentityReading | Promise<IdentityReading>, readonly (readonly [string, boolean])[]]>([
    ['there at once', () => NOTHING_READ, []],
    ['there after waiting', () => Promise.resolve(NOTHING_READ), [['identity', true]]],
    ['known at once to be unavailable', () => UNAVAILABLE, [['identity', false]]],
    ['found to be unavailable', () => Promise.resolve(UNAVAILABLE), [['identity', false]]],
    ['that fails', () => Promise.reject(new Error('broken')), [['identity', false]]],
    [
      'that comes too late',
      () =>
        new Promise((resolve) => {
          setTimeout(() => resolve(NOTHING_READ), 150);
        }),
      [['identity', false]],
    ],
    ['that never comes', () => new Promise(() => undefined), [['identity', false]]],
  ])('of a fact %s it is told once whether it was had', async (_, identity, expected) => {
    const told: (readonly [string, boolean])[] = [];
    const watched = parts({ snapshot: () => withSources({ identity }) });
    const { watch } = watched;
    const check = createCheck({
      ...watched,
      watch: { ...watch, fact: (fact, seconds, had) => void (seconds >= 0 && told.push([fact, had])) },
    });
    await check(bytesFor('orders.example.com'), { ...CALL, deadlineMs: Date.now() + 60 });
    await new Promise((resolve) => {
      setTimeout(resolve, 200);
    });
    expect(told).toEqual(expected);
  });

  it('settling that never ends is given up, and what was decided is answered', async () => {
    const stuck = parts({ settle: () => new Promise(() => undefined) });
    const message = decodeResponse(
      await createCheck(stuck)(bytesFor('open.example.com'), { ...CALL, deadlineMs: Date.now() + 100 }),
    );
    expect(metadataOf(message)).toMatchObject({ outcome: 'allow', reason: 'policy_bypassed' });
  });

  it('a caller that has gone away counts as no decision', () => {
    let settled = 0;
    const watched = parts({
      settle: (decision) => {
        settled += 1;
        return { decision, attempt: 1 };
      },
    });
    void createCheck(watched)(bytesFor('open.example.com'), { ...CALL, cancelled: true });
    expect(watched.finished).toEqual([]);
    expect(settled).toBe(0);
  });
});

it('one request reads one revision, once', () => {
  let reads = 0;
  const watched = parts({
    snapshot: () => {
      reads += 1;
      return snapshot;
    },
  });
  void createCheck(watched)(bytesFor('open.example.com'), CALL);
  expect(reads).toBe(1);
});
