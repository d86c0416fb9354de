/** The contract of a state store, run on everything that keeps state. */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createMemoryStore } from '../../src/state/memory.ts';
import { createRedisStore } from '../../src/state/redis.ts';
import type { RedisStore } from '../../src/state/redis.ts';
import { slotOf } from '../../src/state/slot.ts';
import { attemptField } from '../../src/state/store.ts';
import type { CountedAttempt, StateStore } from '../../src/state/store.ts';
import { readUser, updateUser } from '../../src/state/update.ts';
import { recordOf } from './records.ts';
import { startCluster, startServer, valkeyProgram } from './redis-server.ts';
import type { TestServer } from './redis-server.ts';

interface Kept {
  /** Stores on the same data; the first two are different clients of it, where there can be two. */
  readonly stores: readonly [StateStore, StateStore];
  stop(): Promise<void>;
}

const PLACES: readonly (readonly [string, () => Promise<Kept>])[] = [
  ['memory', inMemory],
  ['one Redis', () => onServers([startServer()], false)],
  ['a Redis Cluster of three nodes', () => onServers([startCluster()], true)],
  ['one Valkey', () => onServers([startServer([], valkeyProgram())], false)],
  ['a Valkey Cluster of three nodes', () => onServers([startCluster(valkeyProgram())], true)],
];

async function inMemory(): Promise<Kept> {
  const store = createMemoryStore({ usersMax: 1000, nowMs: Date.now });
  return { stores: [store, store], stop: () => store.close() };
}

async function onServers(
  starting: readonly Promise<TestServer | readonly TestServer[]>[],
  isCluster: boolean,
): Promise<Kept> {
  const servers = (await Promise.all(starting)).flat();
  const [first, ...others] = servers.map(({ url }) => url);
  if (first === undefined) throw new Error('no server was started');
  const open = (): RedisStore =>
    createRedisStore({
      urls: [first, ...others],
      isCluster,
      password: undefined,
      authorities: undefined,
      // Long, so that a busy machine does not fail what is not about time.
      timeoutMs: 10_000,
      monotonicMs: () => performance.now(),
      watch: { finished: () => undefined, failed: () => undefined, connection: () => undefined },
    });
  const stores = [open(), open()] as const;
  await Promise.all(stores.map(({ connected }) => connected));
  return {
    stores,
    async stop() {
      for (const store of stores) await store.close();
      for (const server of servers) await server.stop();
    },
  };
}

function newUser(): string {
  return randomBytes(32).toString('base64url');
}

function counted(changes: Partial<CountedAttempt> = {}): CountedAttempt {
  return {
    field: attemptField('orders', 'mfa'),
    event: 'e'.repeat(22),
    max: 2,
    lifetimeMs: 600_000,
    nowMs: Date.now(),
    ...changes,
  };
}

describe.each(PLACES)('state in %s', (_, open) => {
  let kept: Kept;
  let store: StateStore;
  let other: StateStore;

  beforeAll(async () => {
    kept = await open();
    [store, other] = kept.stores;
  });

  afterAll(async () => {
    await kept.stop();
  });

  describe('a record', () => {
    it('is not there at first', async () => {
      expect(await store.read(newUser())).toBeUndefined();
    });

    it('comes back whole, to every store', async () => {
      const user = newUser();
      expect(await store.write(user, recordOf(), 0)).toBe(true);
      expect(await store.read(user)).toEqual(recordOf());
      expect(await other.read(user)).toEqual(recordOf());
    });

    it('with letters of other alphabets comes back as it was', async () => {
      const user = newUser();
      const [place] = recordOf().places;
      if (!place) throw new Error('expected a place');
      const record = recordOf({ places: [{ ...place, city: 'Montréal 東京 \u{1f680} "\\', isp: '' }] });
      await store.write(user, record, 0);
      expect(await other.read(user)).toEqual(record);
    });

    it.each<[string, number | undefined, number, boolean]>([
      ['none, expecting none', undefined, 0, true],
      ['none, expecting one', undefined, 1, false],
      ['version 1, expecting none', 1, 0, false],
      ['version 1, expecting 1', 1, 1, true],
      ['version 1, expecting 2', 1, 2, false],
    ])('is written only over the version that was read: %s', async (__, version, expected, isWritten) => {
      const user = newUser();
      const before = version === undefined ? undefined : recordOf({ version, events: ['before'] });
      if (before) await store.write(user, before, 0);
      const next = recordOf({ version: expected + 1, events: ['after'] });
      expect(await other.write(user, next, expected)).toBe(isWritten);
      expect(await store.read(user)).toEqual(isWritten ? next : before);
    });

    it('loses nothing of what two stores write at once', async () => {
      const user = newUser();
      const names = [user] as const;
      const events = Array.from({ length: 16 }, (__, index) => `e${index}`);
      await Promise.all(
        events.map(async (event, index) => {
          const mine = index % 2 === 0 ? store : other;
          for (;;) {
            const read = await readUser(mine, names);
            const result = await updateUser(mine, names, read, (record) =>
              recordOf({ ...record, events: [...(record?.events ?? []), event] }),
            );
            if (result !== 'conflict') break;
          }
        }),
      );
      const record = await store.read(user);
      expect(record?.events.toSorted()).toEqual(events.toSorted());
      expect(record?.version).toBe(events.length);
    });

    it('is removed alone, and erased with everything', async () => {
      const user = newUser();
      await store.write(user, recordOf(), 0);
      await store.writeRiskLevel(user, 'high');
      await other.removeRecord(user);
      expect(await store.read(user)).toBeUndefined();
      expect(await store.readRiskLevel(user)).toBe('high');
      await store.write(user, recordOf(), 0);
      await store.countAttempt(user, counted());
      await other.erase([newUser(), user]);
      expect(await store.read(user)).toBeUndefined();
      expect(await store.readRiskLevel(user)).toBeUndefined();
      expect(await store.countAttempt(user, counted())).toEqual({ isExhausted: false, count: 1 });
    });

    it('that was never there is erased and removed all the same', async () => {
      await store.erase([newUser(), newUser()]);
      await store.removeRecord(newUser());
      await store.writeRiskLevel(newUser(), undefined);
      await store.clearAttempts(newUser(), 'orders');
    });
  });

  describe('a record found under an older key', () => {
    it('is read there, written under the first, and removed there', async () => {
      const names = [newUser(), newUser()] as const;
      await store.write(names[1], recordOf({ events: ['old'] }), 0);
      await store.writeRiskLevel(names[1], 'high');
      const read = await readUser(other, names);
      expect(read).toMatchObject({ expected: 0, oldName: names[1], record: { events: ['old'] } });
      const result = await updateUser(other, names, read, (record) =>
        recordOf({ ...record, events: [...(record?.events ?? []), 'new'] }),
      );
      expect(result).toBe('written');
      expect(await store.read(names[0])).toMatchObject({ version: 1, events: ['old', 'new'] });
      expect(await store.read(names[1])).toBeUndefined();
      expect(await store.readRiskLevel(names[1])).toBe('high');
    });
  });

  describe('an update', () => {
    it('that changes nothing writes nothing', async () => {
      const names = [newUser()] as const;
      const read = await readUser(store, names);
      expect(await updateUser(store, names, read, () => undefined)).toBe('unchanged');
      expect(await store.read(names[0])).toBeUndefined();
    });

    it('gives up after three others were first, and keeps what they wrote', async () => {
      const names = [newUser()] as const;
      const read = await readUser(store, names);
      let tries = 0;
      // Each time just before the write, another one writes.
      const slow: StateStore = {
        ...store,
        async write(user, record, expected) {
          tries += 1;
          await other.write(user, recordOf({ version: expected + 1, events: [`first ${tries}`] }), expected);
          return store.write(user, record, expected);
        },
      };
      const result = await updateUser(slow, names, read, (record) => recordOf({ ...record, events: ['mine'] }));
      expect([result, tries]).toEqual(['conflict', 3]);
      expect(await store.read(names[0])).toMatchObject({ version: 3, events: ['first 3'] });
    });
  });

  describe('the loop guard', () => {
    it('counts an event once, and refuses beyond the most', async () => {
      const user = newUser();
      const answers = [];
      for (const event of ['e0', 'e0', 'e1', 'e2', 'e1']) {
        answers.push(await (answers.length % 2 === 0 ? store : other).countAttempt(user, counted({ event })));
      }
      expect(answers).toEqual([
        { isExhausted: false, count: 1 },
        { isExhausted: false, count: 1 },
        { isExhausted: false, count: 2 },
        { isExhausted: true, count: 2 },
        { isExhausted: false, count: 2 },
      ]);
    });

    it('counts every call without an event', async () => {
      const user = newUser();
      const answers = [];
      for (let call = 0; call < 3; call += 1)
        answers.push(await store.countAttempt(user, counted({ event: undefined })));
      expect(answers.map(({ isExhausted }) => isExhausted)).toEqual([false, false, true]);
    });

    it('counts ten parallel calls as ten', async () => {
      const user = newUser();
      const answers = await Promise.all(
        Array.from({ length: 10 }, async (__, call) =>
          (call % 2 === 0 ? store : other).countAttempt(user, counted({ event: undefined, max: 6 })),
        ),
      );
      expect(
        answers
          .filter(({ isExhausted }) => !isExhausted)
          .map(({ count }) => count)
          .toSorted(),
      ).toEqual([1, 2, 3, 4, 5, 6]);
    });

    it('counts fields apart, and clears those of one application', async () => {
      const user = newUser();
      const fields = [attemptField('orders', 'mfa'), attemptField('orders', 'phr'), attemptField('orders2', 'mfa')];
      for (const field of fields) await store.countAttempt(user, counted({ field, event: undefined, max: 1 }));
      await other.clearAttempts(user, 'orders');
      const answers = [];
      for (const field of fields)
        answers.push(await store.countAttempt(user, counted({ field, event: undefined, max: 1 })));
      expect(answers.map(({ isExhausted }) => isExhausted)).toEqual([false, false, true]);
    });

    it('forgets a counter when its life is over', async () => {
      const user = newUser();
      const nowMs = Date.now();
      const attempt = counted({ event: undefined, max: 1, nowMs });
      await store.countAttempt(user, attempt);
      expect(await store.countAttempt(user, { ...attempt, nowMs: nowMs + 599_999 })).toMatchObject({
        isExhausted: true,
      });
      expect(await store.countAttempt(user, { ...attempt, nowMs: nowMs + 600_000 })).toEqual({
        isExhausted: false,
        count: 1,
      });
    });

    it('keeps 64 counters of a user: the one counted longest ago goes', async () => {
      const user = newUser();
      const nowMs = Date.now();
      for (let index = 0; index <= 64; index += 1) {
        const field = attemptField('orders', `r${index}`);
        await store.countAttempt(user, counted({ field, event: undefined, max: 1, nowMs: nowMs + index }));
      }
      const again = async (index: number) =>
        store.countAttempt(
          user,
          counted({ field: attemptField('orders', `r${index}`), event: undefined, max: 1, nowMs: nowMs + 100 }),
        );
      expect(await again(64)).toMatchObject({ isExhausted: true });
      expect(await again(1)).toMatchObject({ isExhausted: true });
      expect(await again(0)).toMatchObject({ isExhausted: false });
    });

    it('takes application and requirement as they are', async () => {
      const user = newUser();
      const field = attemptField('a%d[x]', 'acr with \u{1f680} " and \\ 300');
      await store.countAttempt(user, counted({ field, event: undefined, max: 1 }));
      expect(await other.countAttempt(user, counted({ field, event: undefined, max: 1 }))).toMatchObject({
        isExhausted: true,
      });
      await other.clearAttempts(user, 'a%d[x]');
      expect(await store.countAttempt(user, counted({ field, event: undefined, max: 1 }))).toMatchObject({ count: 1 });
    });
  });

  describe('a risk level', () => {
    it('is not set at first, is set, changed and removed', async () => {
      const user = newUser();
      const seen = [await store.readRiskLevel(user)];
      for (const level of ['low', 'high', undefined, 'medium'] as const) {
        await store.writeRiskLevel(user, level);
        seen.push(await other.readRiskLevel(user));
      }
      expect(seen).toEqual([undefined, 'low', 'high', undefined, 'medium']);
    });
  });
});

describe('the slot of a key', () => {
  let node: TestServer;
  beforeAll(async () => {
    node = await startServer(['--cluster-enabled', 'yes']);
  });
  afterAll(() => node.stop());

  it('is the one that Redis says', async () => {
    const keys = [
      '123456789',
      '{user}.a{b}',
      '{}user',
      'a{b',
      'a}b{c}d',
      'a{{b}}c',
      '',
      'é',
      `postern:{${newUser()}}:r`,
    ];
    for (let index = 0; index < 100; index += 1)
      keys.push(`{${newUser()}}:${index}`, randomBytes(9).toString('base64'));
    for (const key of keys)
      expect([key, `:${slotOf(key)}`]).toEqual([key, await node.command('CLUSTER', 'KEYSLOT', key)]);
  });

  it('keeps what is kept of one user together', () => {
    const user = newUser();
    expect(new Set(['r', 's', 'l'].map((part) => slotOf(`postern:{${user}}:${part}`))).size).toBe(1);
  });
});
