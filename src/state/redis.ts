/** State in Redis or Valkey, shared by all replicas with the same key file. For a user: `postern:{<user>}:r` the record
 *  as JSON, `:s` the loop guard's counters as a hash, `:l` the risk level. The braces keep them in one slot. */
import { createHash } from 'node:crypto';
import { COUNTERS_MAX, RECORD_LIFETIME_MS } from './memory.ts';
import { readRecord, RECORD_FORM } from './record.ts';
import { connectCluster } from './redis-cluster.ts';
import { connectNode } from './redis-node.ts';
import type { ConnectionChange, RedisAccess, RedisAddress } from './redis-node.ts';
import { StateError } from './store.ts';
import type { AttemptResult, RiskLevelSet, StateOperation, StateStore } from './store.ts';

export interface RedisStoreOptions {
  /** `redis://` or `rediss://`, without a password; of a cluster one node or more. */
  readonly urls: readonly [string, ...string[]];
  readonly isCluster: boolean;
  readonly password: string | undefined;
  /** PEM; undefined: the authorities that Node.js trusts. */
  readonly authorities: string | undefined;
  /** For each operation, its commands together. */
  readonly timeoutMs: number;
  readonly monotonicMs: () => number;
  readonly watch: StoreWatch;
}

/** What happens, for metrics and log. */
export interface StoreWatch {
  finished(operation: StateOperation, seconds: number): void;
  failed(operation: StateOperation, error: StateError): void;
  connection(change: ConnectionChange): void;
}

export interface RedisStore extends StateStore {
  /** Resolves once a first connection stands, however long that takes. */
  readonly connected: Promise<void>;
}

/** Begins to connect. Nothing here fails because a server is not there yet. */
export function createRedisStore(options: RedisStoreOptions): RedisStore {
  const { timeoutMs, monotonicMs, watch } = options;
  const connection = connect(options);

  /** Does one operation in time, and tells how it went. */
  const operate = async <T>(operation: StateOperation, run: (deadlineMs: number) => Promise<T>): Promise<T> => {
    const began = monotonicMs();
    try {
      const result = await run(began + timeoutMs);
      watch.finished(operation, (monotonicMs() - began) / 1000);
      return result;
    } catch (error) {
      watch.finished(operation, (monotonicMs() - began) / 1000);
      const failure = error instanceof StateError ? error : new StateError('unavailable', 'the store failed', error);
      watch.failed(operation, failure);
      throw failure;
    }
  };
  const evaluate = async (deadlineMs: number, { sha1, text }: Script, key: string, ...values: readonly string[]) => {
    try {
      return await connection.send(key, deadlineMs, ['EVALSHA', sha1, '1', key, ...values]);
    } catch (error) {
      if (!(error instanceof StateError) || error.kind !== 'no_script') throw error;
      return connection.send(key, deadlineMs, ['EVAL', text, '1', key, ...values]);
    }
  };
  return {
    read: (user) =>
      operate('read', async (deadlineMs) => {
        const key = recordKey(user);
        const reply = await connection.send(key, deadlineMs, ['GET', key]);
        if (reply === null) return undefined;
        const record = typeof reply === 'string' ? readRecord(reply) : undefined;
        if (!record) throw unreadable();
        return record;
      }),
    write: (user, record, expected) =>
      operate('write', async (deadlineMs) => {
        const key = recordKey(user);
        const values = [String(expected), JSON.stringify(record), String(RECORD_LIFETIME_MS), String(RECORD_FORM)];
        const reply = await evaluate(deadlineMs, WRITE, key, ...values);
        if (reply !== 0 && reply !== 1) throw unreadable();
        return reply === 1;
      }),
    removeRecord: (user) =>
      operate('remove', async (deadlineMs) => {
        const key = recordKey(user);
        await connection.send(key, deadlineMs, ['DEL', key]);
      }),
    countAttempt: (user, { field, event, max, lifetimeMs, nowMs }) =>
      operate('count', async (deadlineMs) => {
        const numbers = [max, lifetimeMs, nowMs, COUNTERS_MAX].map((value) => String(Math.trunc(value)));
        return attemptOf(await evaluate(deadlineMs, COUNT, countsKey(user), field, event ?? '', ...numbers));
      }),
    clearAttempts: (user, application) =>
      operate('clear', async (deadlineMs) => {
        await evaluate(deadlineMs, CLEAR, countsKey(user), `${application}\n`);
      }),
    readRiskLevel: (user) =>
      operate('read_risk', async (deadlineMs) => {
        const key = levelKey(user);
        const reply = await connection.send(key, deadlineMs, ['GET', key]);
        if (reply === null) return undefined;
        if (!isLevel(reply)) throw unreadable();
        return reply;
      }),
    writeRiskLevel: (user, level) =>
      operate('write_risk', async (deadlineMs) => {
        const key = levelKey(user);
        await connection.send(key, deadlineMs, level === undefined ? ['DEL', key] : ['SET', key, level]);
      }),
    erase: (users) =>
      operate('erase', async (deadlineMs) => {
        await Promise.all(
          users.map(async (user) => {
            const key = recordKey(user);
            await connection.send(key, deadlineMs, ['DEL', key, countsKey(user), levelKey(user)]);
          }),
        );
      }),
    connected: connection.connected,
    close: async () => connection.close(),
  };
}

interface Connection {
  send(key: string, deadlineMs: number, command: readonly string[]): Promise<unknown>;
  readonly connected: Promise<void>;
  close(): void;
}

function connect(options: RedisStoreOptions): Connection {
  const [first, ...others] = options.urls.map((url) => new URL(url));
  if (!first) throw new Error('expected a URL, found none');
  const access: RedisAccess = {
    isTls: first.protocol === 'rediss:',
    authorities: options.authorities,
    username: first.username === '' ? undefined : decodeURIComponent(first.username),
    password: options.password,
    database: Number(first.pathname.slice(1) || '0'),
  };
  const watch = { monotonicMs: options.monotonicMs, onConnection: options.watch.connection };
  if (options.isCluster) return connectCluster([first, ...others].map(addressOf), access, watch);
  const node = connectNode(addressOf(first), access, watch);
  return {
    send: (_, deadlineMs, command) => node.send(deadlineMs, command),
    connected: node.connected,
    close: () => node.close(),
  };
}

function addressOf({ hostname, port }: URL): RedisAddress {
  return { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port || '6379') };
}

function recordKey(user: string): string {
  return `postern:{${user}}:r`;
}

function countsKey(user: string): string {
  return `postern:{${user}}:s`;
}

function levelKey(user: string): string {
  return `postern:{${user}}:l`;
}

interface Script {
  readonly text: string;
  readonly sha1: string;
}

function script(text: string): Script {
  return { text, sha1: createHash('sha1').update(text).digest('hex') };
}

/** KEYS: record. ARGV: expected version, record, its life in ms, form. 1: written; 0: another version is kept; -1: what is
 *  kept cannot be read. */
const WRITE = script(`local kept = redis.call('GET', KEYS[1])
local version = 0
if kept then
  local ok, record = pcall(cjson.decode, kept)
  if not ok or type(record) ~= 'table' or record.form ~= tonumber(ARGV[4]) or type(record.version) ~= 'number' then
    return -1
  end
  version = record.version
end
if version ~= tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1`);

/** KEYS: counters. ARGV: field, event or '', most attempts, life in ms, now in ms, most counters. A counter is kept as
 *  "<count> <until in ms> <events>". Answers whether it is exhausted, and the count. */
const COUNT = script(`local function read(value)
  local count, untilMs, events = string.match(value, '^(%d+) (%d+)(.*)$')
  if count then return tonumber(count), tonumber(untilMs), events end
  return 0, 0, ''
end
local field, event, max, now = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[5])
local count, untilMs, events = read(redis.call('HGET', KEYS[1], field) or '')
if untilMs <= now then count, events = 0, '' end
if event ~= '' and string.find(events, ' ' .. event, 1, true) then return {0, count} end
if count >= max then return {1, count} end
count = count + 1
if event ~= '' then events = events .. ' ' .. event end
local value = string.format('%d %.0f', count, now + tonumber(ARGV[4])) .. events
redis.call('HSET', KEYS[1], field, value)
redis.call('PEXPIRE', KEYS[1], ARGV[4])
if redis.call('HLEN', KEYS[1]) > tonumber(ARGV[6]) then
  local oldest, oldestMs
  local all = redis.call('HGETALL', KEYS[1])
  for i = 1, #all, 2 do
    local _, untilOther = read(all[i + 1])
    if not oldestMs or untilOther < oldestMs then oldest, oldestMs = all[i], untilOther end
  end
  redis.call('HDEL', KEYS[1], oldest)
end
return {0, count}`);

/** KEYS: counters. ARGV: what the fields to remove begin with. */
const CLEAR = script(`for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(field, 1, #ARGV[1]) == ARGV[1] then redis.call('HDEL', KEYS[1], field) end
end
return 0`);

function attemptOf(reply: unknown): AttemptResult {
  const [isExhausted, count] = Array.isArray(reply) ? (reply as readonly unknown[]) : [];
  if (typeof count !== 'number') throw unreadable();
  return { isExhausted: isExhausted === 1, count };
}

function isLevel(value: unknown): value is RiskLevelSet {
  return value === 'low' || value === 'medium' || value === 'high';
}

function unreadable(): StateError {
  return new StateError('unreadable', 'what is kept cannot be read');
}
