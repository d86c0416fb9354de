/** `docs/state.md` says what is so: its settings are taken without a fault, its user of Redis may do all that is done. */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import { parseYaml } from '../../src/policy/read.ts';
import { readSettings } from '../../src/settings.ts';
import { readStateKeys } from '../../src/state/keys.ts';
import { createRedisStore } from '../../src/state/redis.ts';
import { attemptField } from '../../src/state/store.ts';
import { recordOf } from './records.ts';
import { startCluster, startServer, valkeyProgram } from './redis-server.ts';
import type { TestServer } from './redis-server.ts';

const PAGE = readFileSync(new URL('../../docs/state.md', import.meta.url), 'utf8');
const ends: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
});

describe('the page about state', () => {
  const blocks = [...PAGE.matchAll(/^```yaml\n(.*?)^```$/gms)].map(([, text]) => text ?? '');

  it('has three ways to write the settings', () => {
    expect(blocks).toHaveLength(3);
  });

  it.each(blocks)('has settings without a fault: %s', (block) => {
    const parsed = parseYaml(block, 'postern.yaml');
    if ('faults' in parsed) throw new Error(JSON.stringify(parsed.faults));
    const faults: string[] = [];
    const settings = readSettings({ data: parsed.data }, ({ code }) => void faults.push(code));
    expect(faults).toEqual([]);
    expect(settings?.state).toBeDefined();
  });

  it('makes keys of the right kind', () => {
    expect(PAGE).toContain('openssl rand -base64 32');
    expect('value' in readStateKeys(`${randomBytes(32).toString('base64')}\n`)).toBe(true);
  });

  it.each<[string, () => Promise<readonly TestServer[]>]>([
    ['one Redis', async () => [await startServer()]],
    ['one Valkey', async () => [await startServer([], valkeyProgram())]],
    ['a Redis Cluster', () => startCluster()],
  ])('names a user of Redis who may do what is done, and nothing else, on %s', async (_, start) => {
    const [, rules = ''] = /`ACL SETUSER postern on >… ([^`]+)`/.exec(PAGE) ?? [];
    const servers = await start();
    for (const server of servers) {
      ends.push(() => server.stop());
      expect(await server.command('ACL', 'SETUSER', 'postern', 'on', '>sesame', ...rules.split(' '))).toBe('+OK');
    }
    const [first = '', ...others] = servers.map(({ port }) => `redis://postern@127.0.0.1:${port}`);
    const failures: string[] = [];
    const store = createRedisStore({
      urls: [first, ...others],
      isCluster: others.length > 0,
      password: 'sesame',
      authorities: undefined,
      timeoutMs: 10_000,
      monotonicMs: () => performance.now(),
      watch: {
        finished: () => undefined,
        failed: (operation, { message }) => void failures.push(`${operation} ${message}`),
        connection: () => undefined,
      },
    });
    ends.push(() => store.close());
    await store.connected;
    for (let round = 0; round < 5; round += 1) {
      const user = randomBytes(32).toString('base64url');
      expect(await store.write(user, recordOf(), 0)).toBe(true);
      expect(await store.read(user)).toEqual(recordOf());
      for (let index = 0; index <= 65; index += 1) {
        const field = attemptField('orders', `${index}`);
        await store.countAttempt(user, { field, event: 'e', max: 2, lifetimeMs: 60_000, nowMs: Date.now() + index });
      }
      await store.clearAttempts(user, 'orders');
      await store.writeRiskLevel(user, 'low');
      expect(await store.readRiskLevel(user)).toBe('low');
      await store.writeRiskLevel(user, undefined);
      await store.removeRecord(user);
      await store.erase([user]);
    }
    expect(failures).toEqual([]);
    for (const server of servers) {
      expect(await server.command('ACL', 'DRYRUN', 'postern', 'FLUSHALL')).not.toBe('+OK');
      expect(await server.command('ACL', 'DRYRUN', 'postern', 'GET', 'other')).not.toBe('+OK');
    }
  });

  it('names every error of the API', () => {
    const source = readFileSync(new URL('../../src/admin/state.ts', import.meta.url), 'utf8');
    const codes = new Set([...source.matchAll(/failure\(\s*\d{3},\s*'(\w+)'/g)].map(([, code]) => code ?? ''));
    // The answers of the port itself, which every API has.
    for (const code of ['not_found', 'method_not_allowed', 'internal_error']) codes.delete(code);
    expect([...codes]).toEqual(expect.arrayContaining(['key_missing', 'risk_level_invalid', 'state_unavailable']));
    for (const code of ['unauthorized', 'forbidden', ...codes]) expect(PAGE).toContain(`\`${code}\``);
  });
});
