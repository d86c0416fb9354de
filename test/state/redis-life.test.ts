/** A Redis that is killed, hangs, is slow, full, a replica, locked or moved: what a store does then, on real servers. */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { openState } from '../../src/state/open.ts';
import { randomStateKeys } from '../../src/state/keys.ts';
import { createRedisStore } from '../../src/state/redis.ts';
import type { RedisStore, RedisStoreOptions } from '../../src/state/redis.ts';
import { slotOf } from '../../src/state/slot.ts';
import { attemptField, StateError } from '../../src/state/store.ts';
import type { CountedAttempt, StateErrorKind, StateStore } from '../../src/state/store.ts';
import { makeCertificateFiles } from '../fixtures/certificates/make.ts';
import { recordOf } from './records.ts';
import { kill, startCluster, startServer, until } from './redis-server.ts';
import type { TestServer } from './redis-server.ts';

/** The machine may be busy; what hangs, hangs for seconds. */
const SLACK_MS = 5000;

const ends: (() => Promise<void> | void)[] = [];

afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
});

interface Watched {
  readonly store: RedisStore;
  /** operation kind, of each failure. */
  readonly failures: string[];
  /** up host:port or down host:port, of each change. */
  readonly changes: string[];
}

function open(url: string | readonly [string, ...string[]], options: Partial<RedisStoreOptions> = {}): Watched {
  const failures: string[] = [];
  const changes: string[] = [];
  const store = createRedisStore({
    urls: typeof url === 'string' ? [url] : url,
    isCluster: typeof url !== 'string',
    password: undefined,
    authorities: undefined,
    timeoutMs: 1000,
    monotonicMs: () => performance.now(),
    watch: {
      finished: () => undefined,
      failed: (operation, { kind }) => void failures.push(`${operation} ${kind}`),
      connection: (change) => void changes.push(`${change.isUp ? 'up' : 'down'} ${change.server}`),
    },
    ...options,
  });
  ends.push(() => store.close());
  return { store, failures, changes };
}

async function server(args: readonly string[] = []): Promise<TestServer> {
  const started = await startServer(args);
  ends.push(() => started.stop());
  return started;
}

function newUser(): string {
  return randomBytes(32).toString('base64url');
}

function counted(changes: Partial<CountedAttempt> = {}): CountedAttempt {
  return {
    field: attemptField('orders', 'mfa'),
    event: undefined,
    max: 2,
    lifetimeMs: 600_000,
    nowMs: Date.now(),
    ...changes,
  };
}

/** How an operation ends, and after how long. */
async function outcome(run: () => unknown): Promise<{ readonly kind: StateErrorKind | 'done'; readonly ms: number }> {
  const began = performance.now();
  try {
    await run();
    return { kind: 'done', ms: performance.now() - began };
  } catch (error) {
    if (!(error instanceof StateError)) throw error;
    return { kind: error.kind, ms: performance.now() - began };
  }
}

function everything(store: StateStore, user = newUser()): readonly (() => unknown)[] {
  return [
    () => store.read(user),
    () => store.write(user, recordOf(), 0),
    () => store.countAttempt(user, counted()),
    () => store.clearAttempts(user, 'orders'),
    () => store.readRiskLevel(user),
    () => store.writeRiskLevel(user, 'low'),
    () => store.removeRecord(user),
    () => store.erase([user]),
  ];
}

async function works(store: StateStore): Promise<boolean> {
  return (await outcome(() => store.read(newUser()))).kind === 'done';
}

describe('a server that is not there', () => {
  it('keeps nothing from starting; every operation fails at once, until it comes', async () => {
    const redis = await server();
    await kill(redis);
    const began = performance.now();
    const failures: string[] = [];
    const state = await openState({
      usersMax: 1,
      redis: {
        keys: randomStateKeys(),
        password: undefined,
        authorities: undefined,
        urls: [redis.url],
        isCluster: false,
        timeoutMs: 60_000,
      },
      nowMs: Date.now,
      monotonicMs: () => performance.now(),
      watch: {
        finished: () => undefined,
        failed: (operation) => void failures.push(operation),
        connection: () => undefined,
      },
    });
    ends.push(() => state.store.close());
    expect(performance.now() - began).toBeLessThan(1500 + SLACK_MS);
    for (const run of everything(state.store)) {
      const { kind, ms } = await outcome(run);
      expect(['unavailable', 'left_alone']).toContain(kind);
      expect(ms).toBeLessThan(SLACK_MS);
    }
    expect(failures).toEqual(['read', 'write', 'count', 'clear', 'read_risk', 'write_risk', 'remove', 'erase']);
    await redis.start();
    await until(() => works(state.store));
  });

  it('killed under load fails what is in hand at once, and is used again when it is back', async () => {
    const redis = await server();
    const { store, failures, changes } = open(redis.url);
    await store.connected;
    const load = new AbortController();
    const loops = Array.from({ length: 4 }, async () => {
      const seen: { kind: string; ms: number }[] = [];
      while (!load.signal.aborted) {
        seen.push(await outcome(() => store.write(newUser(), recordOf(), 0)));
        await sleep(2);
      }
      return seen;
    });
    await sleep(100);
    await kill(redis);
    await sleep(300);
    await redis.start();
    await until(() => works(store));
    load.abort();
    const seen = (await Promise.all(loops)).flat();
    expect(new Set(seen.map(({ kind }) => kind))).toEqual(new Set(['done', 'unavailable', 'left_alone']));
    expect(Math.max(...seen.map(({ ms }) => ms))).toBeLessThan(1000 + SLACK_MS);
    expect(failures.length).toBeGreaterThan(0);
    expect(changes).toEqual([
      `up 127.0.0.1:${redis.port}`,
      `down 127.0.0.1:${redis.port}`,
      `up 127.0.0.1:${redis.port}`,
    ]);
  });
});

describe('a server that hangs', () => {
  it('costs the timeout five times, then nothing; and is used again when it goes on', async () => {
    const redis = await server();
    const { store, changes } = open(redis.url, { timeoutMs: 100 });
    await store.connected;
    redis.signal('SIGSTOP');
    const kinds: string[] = [];
    for (const run of [...everything(store), ...everything(store)]) {
      const { kind, ms } = await outcome(run);
      kinds.push(kind);
      expect(ms).toBeLessThan(100 + SLACK_MS);
    }
    expect(kinds.slice(0, 5)).toEqual(['late', 'late', 'late', 'late', 'late']);
    expect(kinds.slice(5, 16).filter((kind) => kind === 'late')).toEqual([]);
    redis.signal('SIGCONT');
    await until(() => works(store));
    expect(changes).toEqual([
      `up 127.0.0.1:${redis.port}`,
      `down 127.0.0.1:${redis.port}`,
      `up 127.0.0.1:${redis.port}`,
    ]);
  });

  it('is asked once a second at most while it hangs', async () => {
    const redis = await server();
    const { store } = open(redis.url, { timeoutMs: 20 });
    await store.connected;
    redis.signal('SIGSTOP');
    let asked = 0;
    const end = performance.now() + 2500;
    while (performance.now() < end) {
      const { kind } = await outcome(() => store.read(newUser()));
      if (kind !== 'left_alone') asked += 1;
      await sleep(5);
    }
    // Five, and one after each pause.
    expect(asked).toBeGreaterThanOrEqual(5);
    expect(asked).toBeLessThanOrEqual(8);
  });
});

describe('a server that is slow', () => {
  it('within the timeout is waited for; beyond it is not, and its late answers reach nobody', async () => {
    const redis = await server();
    const slow = await delayed(redis.port);
    const { store } = open(`redis://127.0.0.1:${slow.port}`, { timeoutMs: 2000 });
    await store.connected;
    const user = newUser();
    slow.delayMs = 50;
    expect(await store.write(user, recordOf(), 0)).toBe(true);
    expect(await store.read(user)).toEqual(recordOf());
    const hasty = open(`redis://127.0.0.1:${slow.port}`, { timeoutMs: 150 });
    await hasty.store.connected;
    slow.delayMs = 400;
    expect((await outcome(() => hasty.store.read(user))).kind).toBe('late');
    slow.delayMs = 0;
    // The answer to the first question comes before this one's, and must not be taken for it.
    await sleep(500);
    expect(await hasty.store.read(newUser())).toBeUndefined();
    expect(await hasty.store.read(user)).toEqual(recordOf());
  });
});

describe('a process that is held up itself', () => {
  it('does not take that for a server that is late', async () => {
    const redis = await server();
    const { store, failures } = open(redis.url, { timeoutMs: 100 });
    await store.connected;
    const reads = Array.from({ length: 10 }, () => store.read(newUser()));
    // The questions leave, the answers come, and nobody reads them.
    await new Promise((resolve) => setImmediate(resolve));
    const end = performance.now() + 400;
    while (performance.now() < end) {
      // As a long collection would.
    }
    await Promise.allSettled(reads);
    expect(failures).toEqual([]);
  });
});

describe('a server that is full', () => {
  it('refuses what needs room, and is still asked for the rest', async () => {
    const redis = await server(['--maxmemory-policy', 'noeviction']);
    const { store, failures } = open(redis.url);
    await store.connected;
    const user = newUser();
    await store.write(user, recordOf(), 0);
    await redis.command('CONFIG', 'SET', 'maxmemory', '1mb');
    for (let call = 0; call < 8; call += 1) {
      expect((await outcome(() => store.write(newUser(), recordOf(), 0))).kind).toBe('full');
      expect((await outcome(() => store.countAttempt(newUser(), counted()))).kind).toBe('full');
    }
    expect((await outcome(() => store.writeRiskLevel(newUser(), 'high'))).kind).toBe('full');
    expect(await store.read(user)).toEqual(recordOf());
    expect(failures.slice(0, 2)).toEqual(['write full', 'count full']);
    await store.erase([user]);
    await redis.command('CONFIG', 'SET', 'maxmemory', '0');
    expect(await store.write(newUser(), recordOf(), 0)).toBe(true);
  });
});

describe('a server that has become a replica', () => {
  it('refuses writes, is still asked for the rest, and is used when it writes again', async () => {
    const redis = await server();
    const { store } = open(redis.url);
    await store.connected;
    const user = newUser();
    await store.write(user, recordOf(), 0);
    await redis.command('REPLICAOF', '127.0.0.1', '1');
    for (let call = 0; call < 8; call += 1)
      expect((await outcome(() => store.write(newUser(), recordOf(), 0))).kind).toBe('read_only');
    expect(await store.read(user)).toEqual(recordOf());
    await redis.command('REPLICAOF', 'NO', 'ONE');
    await until(async () => (await outcome(() => store.write(newUser(), recordOf(), 0))).kind === 'done');
  });
});

describe('a server that has forgotten the scripts', () => {
  it('is given them again', async () => {
    const redis = await server();
    const { store, failures } = open(redis.url);
    await store.connected;
    const user = newUser();
    for (let version = 0; version < 3; version += 1) {
      await redis.command('SCRIPT', 'FLUSH');
      expect(await store.write(user, recordOf({ version: version + 1 }), version)).toBe(true);
      await redis.command('SCRIPT', 'FLUSH');
      expect(await store.countAttempt(user, counted({ max: 9 }))).toEqual({ isExhausted: false, count: version + 1 });
    }
    await redis.command('SCRIPT', 'FLUSH');
    await store.clearAttempts(user, 'orders');
    expect(failures).toEqual([]);
  });
});

describe('what is kept and cannot be read', () => {
  it.each<[string, string]>([
    ['no JSON', '{'],
    ['a newer form', JSON.stringify({ ...recordOf(), form: 2 })],
    ['half a record', JSON.stringify({ form: 1, version: 1 })],
    ['a version that is none', JSON.stringify({ ...recordOf(), version: '1' })],
    ['a list', '[]'],
    ['a word', '"postern"'],
    ['nothing', ''],
  ])('%s counts as store down and stays as it is', async (_, kept) => {
    const redis = await server();
    const { store, failures } = open(redis.url);
    await store.connected;
    const user = newUser();
    const key = `postern:{${user}}:r`;
    await redis.command('SET', key, kept);
    for (let call = 0; call < 8; call += 1) expect((await outcome(() => store.read(user))).kind).toBe('unreadable');
    const written = await outcome(async () => {
      if (await store.write(user, recordOf(), 0)) throw new Error('it was overwritten');
    });
    expect(['unreadable', 'done']).toContain(written.kind);
    expect(await redis.command('GET', key)).toBe(`$${Buffer.byteLength(kept)}\r\n${kept}`.trimEnd());
    expect(failures[0]).toBe('read unreadable');
    // Nobody else has to do with it.
    expect(await store.read(newUser())).toBeUndefined();
    await store.erase([user]);
    expect(await store.read(user)).toBeUndefined();
  });

  it('a key of another type is not overwritten either', async () => {
    const redis = await server();
    const { store } = open(redis.url);
    await store.connected;
    const user = newUser();
    await redis.command('SADD', `postern:{${user}}:r`, 'x');
    await redis.command('SET', `postern:{${user}}:s`, 'x');
    expect((await outcome(() => store.read(user))).kind).toBe('unavailable');
    expect((await outcome(() => store.write(user, recordOf(), 0))).kind).toBe('unavailable');
    expect((await outcome(() => store.countAttempt(user, counted()))).kind).toBe('unavailable');
    expect(await redis.command('TYPE', `postern:{${user}}:r`)).toBe('+set');
  });
});

describe('what is kept in the server', () => {
  it('ends: a record 90 days after it was written, counts ten minutes after the last', async () => {
    const redis = await server();
    const { store } = open(redis.url);
    await store.connected;
    const user = newUser();
    await store.write(user, recordOf(), 0);
    await store.countAttempt(user, counted());
    await store.writeRiskLevel(user, 'high');
    const lifeOf = async (part: string) => Number((await redis.command('PTTL', `postern:{${user}}:${part}`)).slice(1));
    const dayMs = 86_400_000;
    expect(await lifeOf('r')).toBeGreaterThan(89.9 * dayMs);
    expect(await lifeOf('r')).toBeLessThanOrEqual(90 * dayMs);
    expect(await lifeOf('s')).toBeGreaterThan(540_000);
    expect(await lifeOf('s')).toBeLessThanOrEqual(600_000);
    expect(await lifeOf('l')).toBe(-1);
    await redis.command('PEXPIRE', `postern:{${user}}:r`, '1000');
    await store.write(user, recordOf({ version: 2 }), 1);
    expect(await lifeOf('r')).toBeGreaterThan(89.9 * dayMs);
  });
});

describe('a server that asks who is there', () => {
  it('is told the password, and the user where one is named', async () => {
    const redis = await server([
      '--requirepass',
      'open sesame',
      '--user',
      'postern',
      'on',
      '>pässword',
      '~postern:*',
      '+@all',
    ]);
    const anonymous = open(redis.url, { password: 'open sesame' });
    await anonymous.store.connected;
    expect(await works(anonymous.store)).toBe(true);
    const named = open(`redis://postern@127.0.0.1:${redis.port}`, { password: 'pässword' });
    await named.store.connected;
    expect(await works(named.store)).toBe(true);
    expect(await named.store.write(newUser(), recordOf(), 0)).toBe(true);
  });

  it('and is told a wrong one is not used, nor is the password repeated anywhere', async () => {
    const redis = await server(['--requirepass', 'open sesame']);
    const said: string[] = [];
    const { store } = open(redis.url, {
      password: 'swordfish',
      watch: {
        finished: () => undefined,
        failed: (_, error) => void said.push(JSON.stringify([error.message, String(error.cause)])),
        connection: (change) => void said.push(JSON.stringify(change)),
      },
    });
    await until(() => said.some((line) => line.includes('WRONGPASS')));
    for (const run of everything(store)) expect(['unavailable', 'left_alone']).toContain((await outcome(run)).kind);
    expect(said.join('\n')).not.toContain('swordfish');
  });

  it('over TLS is used where its certificate chains to the authorities, and not otherwise', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'postern-redis-tls-'));
    ends.push(() => rmSync(folder, { recursive: true }));
    makeCertificateFiles(folder, {
      ca: { subject: '/CN=Redis CA', extensions: ['basicConstraints = critical, CA:TRUE'] },
      other: { subject: '/CN=Other CA', extensions: ['basicConstraints = critical, CA:TRUE'] },
      server: { subject: '/CN=redis', by: 'ca', extensions: ['subjectAltName = IP:127.0.0.1'] },
    });
    const pem = (name: string): string => join(folder, `${name}.pem`);
    const tls = ['--tls-cert-file', pem('server'), '--tls-key-file', join(folder, 'server.key')];
    const port = await freeTlsPort();
    const redis = await startServer([
      '--tls-port',
      String(port),
      ...tls,
      '--tls-ca-cert-file',
      pem('ca'),
      '--tls-auth-clients',
      'no',
    ]);
    ends.push(() => redis.stop());
    const url = redis.url.replace('redis:', 'rediss:');
    const trusted = open(url, { authorities: readFileSync(pem('ca'), 'utf8') });
    await trusted.store.connected;
    expect(await trusted.store.write(newUser(), recordOf(), 0)).toBe(true);
    const distrusted = open(url, { authorities: readFileSync(pem('other'), 'utf8') });
    await until(() => distrusted.changes.length > 0);
    expect(distrusted.changes).toEqual([`down 127.0.0.1:${redis.port}`]);
    expect(await works(distrusted.store)).toBe(false);
  });
});

describe('a cluster', { timeout: 120_000 }, () => {
  async function cluster(): Promise<readonly [TestServer, TestServer, TestServer]> {
    const [a, b, c] = await startCluster();
    if (!a || !b || !c) throw new Error('three servers were expected');
    ends.push(async () => {
      for (const one of [a, b, c]) await one.stop();
    });
    return [a, b, c];
  }

  /** A user whose keys are on the node with this number. */
  function userOn(node: number): string {
    for (;;) {
      const user = newUser();
      const slot = slotOf(`postern:{${user}}:r`);
      if (Math.min(2, Math.floor((slot * 3) / 16_384)) === node && slot % 5461 > 10 && slot % 5461 < 5400) return user;
    }
  }

  it.each<[string, (node: TestServer) => Promise<void> | void, (node: TestServer) => Promise<void> | void]>([
    ['killed', kill, (node) => node.start()],
    ['hung', (node) => node.signal('SIGSTOP'), (node) => node.signal('SIGCONT')],
  ])('with one node %s loses its keys alone, and waits for nothing', async (how, break_, mend) => {
    const nodes = await cluster();
    const [a, b, c] = nodes;
    const { store } = open([a.url, b.url, c.url], { timeoutMs: 1500 });
    await store.connected;
    for (const node of [0, 1, 2]) expect(await store.write(userOn(node), recordOf(), 0)).toBe(true);
    await break_(b);
    for (let round = 0; round < 8; round += 1) {
      const lost = await outcome(() => store.read(userOn(1)));
      expect(['unavailable', 'late', 'left_alone']).toContain(lost.kind);
      expect(lost.ms).toBeLessThan(1500 + SLACK_MS);
      for (const node of [0, 2]) {
        expect((await outcome(() => store.write(userOn(node), recordOf(), 0))).kind).toBe('done');
      }
    }
    if (how === 'hung') {
      await mend(b);
      await until(async () => (await outcome(() => store.read(userOn(1)))).kind === 'done');
    }
  });

  it('is learnt from whichever node answers, also where the first one does not', async () => {
    const [a, b, c] = await cluster();
    await kill(a);
    const { store } = open([a.url, b.url, c.url], { timeoutMs: 1500 });
    await until(async () => (await outcome(() => store.read(userOn(1)))).kind === 'done');
    await until(async () => (await outcome(() => store.read(userOn(2)))).kind === 'done');
    expect((await outcome(() => store.read(userOn(0)))).kind).not.toBe('done');
  });

  it('is learnt from one node alone', async () => {
    const [a] = await cluster();
    const { store } = open([a.url], { isCluster: true });
    await store.connected;
    for (const node of [0, 1, 2]) expect(await store.write(userOn(node), recordOf(), 0)).toBe(true);
  });

  it('that moves a slot is followed while it moves and when it has moved', async () => {
    const [a, b, c] = await cluster();
    const { store, failures } = open([a.url, b.url, c.url]);
    await store.connected;
    const [stays, comes] = [userOn(0), userOn(0)];
    const idOf = async (node: TestServer) => (await node.command('CLUSTER', 'MYID')).split('\r\n')[1] ?? '';
    await store.write(stays, recordOf(), 0);
    for (const user of [stays, comes]) {
      const slot = String(slotOf(user));
      await b.command('CLUSTER', 'SETSLOT', slot, 'IMPORTING', await idOf(a));
      await a.command('CLUSTER', 'SETSLOT', slot, 'MIGRATING', await idOf(b));
    }
    // Still where it was, and already there: ASK.
    expect(await store.read(stays)).toEqual(recordOf());
    expect(await store.write(comes, recordOf(), 0)).toBe(true);
    expect(await store.read(comes)).toEqual(recordOf());
    expect(await b.command('CLUSTER', 'COUNTKEYSINSLOT', String(slotOf(comes)))).toBe(':1');
    for (const node of [b, a, c])
      await node.command('CLUSTER', 'SETSLOT', String(slotOf(comes)), 'NODE', await idOf(b));
    // MOVED, and from then on straight.
    expect(await store.read(comes)).toEqual(recordOf());
    await until(async () => {
      const before = Number(/calls=(\d+)/.exec(await a.command('INFO', 'commandstats'))?.[1] ?? 0);
      const moved = async () =>
        Number(/errorstat_MOVED:count=(\d+)/.exec(await a.command('INFO', 'errorstats'))?.[1] ?? 0);
      const count = await moved();
      await store.read(comes);
      return before >= 0 && (await moved()) === count;
    });
    expect(failures).toEqual([]);
  });
});

describe('a store that is closed', () => {
  it('fails whatever is asked', async () => {
    const redis = await server();
    const { store } = open(redis.url);
    await store.connected;
    await store.close();
    for (const run of everything(store)) expect((await outcome(run)).kind).toBe('closed');
  });
});

interface Delayed {
  readonly port: number;
  delayMs: number;
}

/** Passes on to a port; what comes back is held for a while. */
async function delayed(target: number): Promise<Delayed> {
  const sockets = new Set<Socket>();
  const proxy: Server = createServer((client) => {
    const upstream = connect({ host: '127.0.0.1', port: target });
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        client.destroy();
        upstream.destroy();
      });
    }
    client.on('data', (bytes) => upstream.write(bytes));
    upstream.on('data', (bytes) => {
      setTimeout(() => client.write(bytes), state.delayMs);
    });
  }).listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  const state: Delayed = { port: (proxy.address() as AddressInfo).port, delayMs: 0 };
  ends.push(async () => {
    for (const socket of sockets) socket.destroy();
    proxy.close();
    await once(proxy, 'close');
  });
  return state;
}

async function freeTlsPort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  return port;
}
