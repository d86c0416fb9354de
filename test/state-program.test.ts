/** The program with state in Redis: replicas that share it, keys that rotate, and a Redis that goes away under load. */
import { randomBytes } from 'node:crypto';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { learningFolder, PORTO, serveLearning, SETTINGS, strong, TOKYO, weak } from './learning-program.ts';
import type { Asking, LearningProgram } from './learning-program.ts';
import { kill, startServer, until } from './state/redis-server.ts';
import type { TestServer } from './state/redis-server.ts';

/** Each starts programs, which takes seconds where the machine is busy. */
const LIMIT = { timeout: 180_000 };
/** A hang lasts far longer than a busy machine makes anybody wait. */
const SLACK_MS = 4000;
const KEY = randomBytes(32).toString('base64');

const POLICIES = `applications:
  - { id: 9a4b2f0e-3f55-4a57-9b0e-000000000001, name: Orders, destinations: [orders.example.com], policies: [{ name: A, decision: allow, include: [{ everyone: {} }] }] }
  - { id: 9a4b2f0e-3f55-4a57-9b0e-000000000002, name: Strict, destinations: [strict.example.com], policies: [{ name: A, decision: allow, include: [{ everyone: {} }] }] }
  - { id: 9a4b2f0e-3f55-4a57-9b0e-000000000003, name: Guarded, destinations: [guarded.example.com], policies: [{ name: A, decision: allow, include: [{ everyone: {} }] }] }
resource_rules:
  - id: 0c3c0000-0000-4000-8000-000000000001
    name: Orders
    resourceId: 9a4b2f0e-3f55-4a57-9b0e-000000000001
    groups: [{ name: All Groups }]
    locationHistoryContext: { riskPoint: 100 }
    lowRiskAuthenticationFlow: { name: Password }
    mediumRiskAuthenticationFlow: { name: Password and Second Factor }
    highRiskAuthenticationFlow: { name: Password and Second Factor }
  - id: 0c3c0000-0000-4000-8000-000000000002
    name: Strict
    resourceId: 9a4b2f0e-3f55-4a57-9b0e-000000000002
    groups: [{ name: All Groups }]
    locationHistoryContext: { riskPoint: 100, onUnknown: UNAVAILABLE }
    lowRiskAuthenticationFlow: { name: Password }
    mediumRiskAuthenticationFlow: { name: Password and Second Factor }
    highRiskAuthenticationFlow: { name: Password and Second Factor }
  - id: 0c3c0000-0000-4000-8000-000000000003
    name: Guarded
    resourceId: 9a4b2f0e-3f55-4a57-9b0e-000000000003
    groups: [{ name: All Groups }]
    lowRiskAuthenticationFlow: { name: Password and Second Factor }
    mediumRiskAuthenticationFlow: { name: Password and Second Factor }
    highRiskAuthenticationFlow: { name: Password and Second Factor }
`;

const ends: (() => Promise<void> | void)[] = [];

afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
});

async function server(): Promise<TestServer> {
  const started = await startServer();
  ends.push(() => started.stop());
  return started;
}

/** `timeoutMs` is long where a test is not about time, so that a busy machine does not fail it. */
function folderOn({ url }: TestServer, timeoutMs = 5000): string {
  const folder = learningFolder({
    'postern.yaml': `${SETTINGS}state: { redis: { url: "${url}", key_file: state.key, timeout_ms: ${timeoutMs} } }\n`,
    'policies/all.yaml': POLICIES,
  });
  ends.push(() => rmSync(folder, { recursive: true, force: true }));
  writeKeys(folder, KEY);
  return folder;
}

function writeKeys(folder: string, ...lines: readonly string[]): void {
  writeFileSync(join(folder, 'state.key'), `${lines.join('\n')}\n`, { mode: 0o600 });
}

async function serve(folder: string): Promise<LearningProgram> {
  const program = await serveLearning(folder);
  ends.push(() => program.stop());
  return program;
}

async function outcomes(program: LearningProgram, ...askings: readonly Asking[]): Promise<readonly unknown[]> {
  const told: unknown[] = [];
  for (const asking of askings) {
    const { outcome, reason } = await program.ask(asking);
    told.push(reason === 'step_up_exhausted' ? reason : outcome);
  }
  return told;
}

const LEARN = { token: strong(1), from: PORTO, at: 1 };
const RETURN = { token: weak(2), from: PORTO, at: 2 };

async function errorsOf(program: LearningProgram, operation: string): Promise<number> {
  const line = new RegExp(`postern_state_errors_total\\{operation="${operation}"\\} (\\d+)`).exec(
    await program.metrics(),
  );
  if (!line) throw new Error(`no count of ${operation}`);
  return Number(line[1]);
}

async function keysOf(redis: TestServer): Promise<readonly string[]> {
  return [...(await redis.command('KEYS', '*')).matchAll(/postern:\{[^}]*\}:\w/g)].map(([key]) => key);
}

describe('two replicas on one Redis', LIMIT, () => {
  it('know what either has learned, and a third that starts later does too', async () => {
    const redis = await server();
    const folder = folderOn(redis);
    const [a, b] = [await serve(folder), await serve(folder)];
    expect(await outcomes(a, { token: weak(0), from: PORTO }, LEARN)).toEqual(['step_up', 'allow']);
    expect(await outcomes(b, RETURN, { token: weak(2), from: TOKYO, at: 2 })).toEqual(['allow', 'step_up']);
    await a.stop();
    expect(await outcomes(await serve(folder), RETURN)).toEqual(['allow']);
  });

  it('lose nothing of what they record at once', async () => {
    const redis = await server();
    const folder = folderOn(redis);
    const programs = [await serve(folder), await serve(folder)];
    await Promise.all(
      Array.from({ length: 6 }, async (_, index) =>
        programs[index % 2]?.ask({ token: strong(1, { session: `s${index}` }), from: PORTO, at: 1 }),
      ),
    );
    const key = (await keysOf(redis)).find((name) => name.endsWith(':r')) ?? '';
    const record = JSON.parse((await redis.command('GET', key)).split('\r\n')[1] ?? '') as {
      readonly places: readonly { readonly count: number }[];
      readonly events: readonly string[];
    };
    const conflicts = (await Promise.all(programs.map(async (one) => errorsOf(one, 'conflict')))).reduce(
      (a, b) => a + b,
    );
    // Each is either there or told of as given up.
    expect(record.places.map(({ count }) => count)).toEqual([6 - conflicts]);
    expect(record.events).toHaveLength(6 - conflicts);
    expect(conflicts).toBeLessThan(4);
  });

  it('send nobody in circles, and let him start anew once either has let him in', async () => {
    const redis = await server();
    const folder = folderOn(redis);
    const [a, b] = [await serve(folder), await serve(folder)];
    const asking = (token: string): Asking => ({ token, host: 'guarded.example.com', from: PORTO });
    const weakOnes = [1, 2, 3, 4].map((at) => asking(weak(-at)));
    expect(await outcomes(a, ...weakOnes.slice(0, 1))).toEqual(['step_up']);
    expect(await outcomes(b, ...weakOnes.slice(0, 2))).toEqual(['step_up', 'step_up']);
    expect(await outcomes(a, ...weakOnes.slice(1, 3))).toEqual(['step_up', 'step_up_exhausted']);
    expect(await outcomes(b, asking(strong(-5)))).toEqual(['allow']);
    await until(async () => !(await keysOf(redis)).some((key) => key.endsWith(':s')));
    expect(await outcomes(a, ...weakOnes.slice(2, 4))).toEqual(['step_up', 'step_up']);
  });
});

describe('what stands in Redis', LIMIT, () => {
  it('tells neither who, nor from where, nor with which machine', async () => {
    const redis = await server();
    const program = await serve(folderOn(redis));
    await program.ask(LEARN);
    await program.ask({ token: weak(0), from: PORTO, host: 'guarded.example.com' });
    const keys = await keysOf(redis);
    expect(keys.map((key) => key.slice(-1)).toSorted()).toEqual(['r', 's']);
    let all = '';
    for (const key of keys)
      all += `${key} ${await redis.command(...(key.endsWith('r') ? ['GET', key] : ['HGETALL', key]))}\n`;
    expect(all).toContain('Porto');
    for (const secret of ['ann', 'example.com', '203.0.113.7', 'login']) expect(all).not.toContain(secret);
  });
});

describe('keys that rotate', LIMIT, () => {
  it('the old one still reads, the new one writes; then it may go', async () => {
    const redis = await server();
    const folder = folderOn(redis);
    const next = randomBytes(32).toString('base64');
    const first = await serve(folder);
    expect(await outcomes(first, LEARN)).toEqual(['allow']);
    const [oldKey] = await keysOf(redis);
    writeKeys(folder, next, KEY);
    await until(() => first.lines.some((line) => /"state\.redis\.key_file".*only a restart/.test(line)));
    await first.stop();
    const second = await serve(folder);
    expect(await outcomes(second, RETURN)).toEqual(['allow']);
    await until(async () => !(await keysOf(redis)).includes(oldKey ?? ''));
    expect((await keysOf(redis)).filter((key) => key.endsWith(':r'))).toHaveLength(1);
    await second.stop();
    writeKeys(folder, next);
    expect(await outcomes(await serve(folder), { token: weak(3), from: PORTO, at: 3 })).toEqual(['allow']);
  });

  it('an only key that is another one knows nobody', async () => {
    const redis = await server();
    const folder = folderOn(redis);
    const first = await serve(folder);
    await first.ask(LEARN);
    await first.stop();
    writeKeys(folder, randomBytes(32).toString('base64'));
    expect(await outcomes(await serve(folder), RETURN)).toEqual(['step_up']);
  });
});

describe('a Redis that goes away under load', LIMIT, () => {
  it.each<[string, (redis: TestServer) => Promise<unknown> | void, (redis: TestServer) => Promise<unknown> | void]>([
    ['killed and restarted', kill, (redis) => redis.start()],
    ['hung', (redis) => redis.signal('SIGSTOP'), (redis) => redis.signal('SIGCONT')],
    [
      'full',
      (redis) => redis.command('CONFIG', 'SET', 'maxmemory', '1mb'),
      (redis) => redis.command('CONFIG', 'SET', 'maxmemory', '0'),
    ],
    ['slow', (redis) => redis.command('CLIENT', 'PAUSE', '7000', 'ALL'), () => undefined],
    [
      'read only',
      (redis) => redis.command('REPLICAOF', '127.0.0.1', '1'),
      (redis) => redis.command('REPLICAOF', 'NO', 'ONE'),
    ],
  ])('%s: costs step-ups, opens nothing, delays nobody for long, and is found again', async (how, break_, mend) => {
    const timeoutMs = 100;
    const redis = await server();
    const program = await serve(folderOn(redis, timeoutMs));
    // A busy machine may be late once.
    await until(async () => {
      await program.ask(LEARN);
      return (await program.ask(RETURN)).outcome === 'allow';
    });
    const ready = JSON.parse(program.lines.find((line) => line.includes('"msg":"ready"')) ?? '{}') as { admin: string };

    const load = new AbortController();
    const seen: { readonly who: string; readonly outcome: string; readonly ms: number }[] = [];
    const asks: readonly (readonly [string, (round: number) => Asking])[] = [
      ['home', () => RETURN],
      ['away', () => ({ token: weak(2), from: TOKYO, at: 2 })],
      ['proved', (round) => ({ token: strong(2, { user: 'bob', session: `s${round}` }), from: TOKYO, at: 2 })],
      ['strict', () => ({ ...RETURN, host: 'strict.example.com' })],
      ['weak', (round) => ({ token: weak(2, { user: `u${round}` }), host: 'guarded.example.com', from: PORTO })],
    ];
    const loops = asks.map(async ([who, asking]) => {
      for (let round = 0; !load.signal.aborted; round += 1) {
        const began = performance.now();
        const { outcome } = await program.ask(asking(round));
        seen.push({ who, outcome: String(outcome), ms: performance.now() - began });
        await sleep(5);
      }
    });
    await sleep(150);
    await break_(redis);
    await sleep(800);
    const probe = await fetch(`http://${ready.admin}/readyz`);
    await mend(redis);
    const mended = seen.length;
    const allows = (wanted: string): number =>
      seen.slice(mended).filter(({ who, outcome }) => who === wanted && outcome === 'allow').length;
    try {
      await until(async () => {
        // A server that was restarted has forgotten her.
        await program.ask(LEARN);
        return allows('home') > 3 && allows('strict') > 3;
      });
    } finally {
      load.abort();
      await Promise.all(loops);
    }

    const of = (who: string): ReadonlySet<string> =>
      new Set(seen.filter((one) => one.who === who).map(({ outcome }) => outcome));
    expect(probe.status).toBe(200);
    const isBlind = !['full', 'read only'].includes(how);
    // Whoever has proved enough is let in, and nothing of it is needed to be written.
    expect(of('proved')).toEqual(new Set(['allow']));
    expect(of('weak')).toEqual(new Set(['step_up']));
    expect(of('away')).toEqual(new Set(['step_up']));
    expect(of('home')).toEqual(new Set(isBlind ? ['allow', 'step_up'] : ['allow']));
    // Once restarted, the server has forgotten her.
    const forgotten = how.startsWith('killed') ? ['step_up'] : [];
    expect(of('strict')).toEqual(new Set(isBlind ? ['allow', 'unavailable', ...forgotten] : ['allow']));
    expect(Math.max(...seen.map(({ ms }) => ms))).toBeLessThan(timeoutMs + SLACK_MS);
    const errors = await Promise.all(['read', 'write', 'count'].map(async (operation) => errorsOf(program, operation)));
    expect(errors.reduce((a, b) => a + b)).toBeGreaterThan(0);
    expect(program.lines.join('\n')).not.toContain(KEY);
  });
});

describe('a Redis that is not there at the start', LIMIT, () => {
  it('keeps nobody from being asked to step up, and is used once it comes', async () => {
    const redis = await server();
    await kill(redis);
    const program = await serve(folderOn(redis));
    expect(await outcomes(program, RETURN, { token: strong(1), from: PORTO, at: 1 })).toEqual(['step_up', 'allow']);
    expect(await errorsOf(program, 'read')).toBeGreaterThan(0);
    await redis.start();
    await until(async () => (await outcomes(program, LEARN, RETURN))[1] === 'allow');
    expect(program.lines.some((line) => line.includes('the state store cannot be reached'))).toBe(true);
    expect(program.lines.some((line) => line.includes('the state store is connected'))).toBe(true);
  });
});
