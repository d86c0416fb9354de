/** Two programs that share one Redis learn and forget as one; without it they let nobody in whom they would not have
 *  let in for the first time. */
import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { learningFolder, NAVIGATION, PORTO, serveLearning, SETTINGS, strong, VIGO, weak } from './learning-program.ts';
import type { Asking, LearningProgram, Told } from './learning-program.ts';
import { kill, startServer, until } from './state/redis-server.ts';
import type { TestServer } from './state/redis-server.ts';

const TIMEOUT_MS = 5_000;
const SECOND_FACTOR =
  'mediumRiskAuthenticationFlow: { name: Password and Second Factor }, highRiskAuthenticationFlow: { name: Password and Second Factor }';

/** Host → its resource rule. */
const RULES = {
  places: `locationHistoryContext: { riskPoint: 50 }, ${SECOND_FACTOR}`,
  travel: `travelVelocityContext: { riskPoint: 50 }, ${SECOND_FACTOR}`,
  machines: `machineContext: { riskPoint: 50 }, ${SECOND_FACTOR}`,
  sso: 'disableSSO: true',
  strict: `locationHistoryContext: { riskPoint: 50, onUnknown: UNAVAILABLE }, ${SECOND_FACTOR}`,
} as const;

type Host = keyof typeof RULES;

function policies(): string {
  const entries = Object.entries(RULES).map(([host, rule], index) => ({
    host,
    rule,
    id: `9a4b2f0e-3f55-4a57-9b0e-00000000000${index}`,
  }));
  return `applications:\n${entries
    .map(
      ({ host, id }) =>
        `  - { id: ${id}, name: ${host}, destinations: [${host}.example.com], policies: [{ name: A, decision: allow, include: [{ email_domain: { domain: example.com } }] }] }\n`,
    )
    .join('')}resource_rules:\n${entries
    .map(
      ({ host, id, rule }) =>
        `  - { id: ${id.replace('9a4b', '0c3c')}, name: ${host}, resourceId: ${id}, groups: [{ name: All Groups }], lowRiskThreshold: 30, mediumRiskThreshold: 70, lowRiskAuthenticationFlow: { name: Password }, ${rule} }\n`,
    )
    .join('')}`;
}

let redis: TestServer;
let folder: string;
let one: LearningProgram;
let other: LearningProgram;
let users = 0;

beforeAll(async () => {
  redis = await startServer();
  folder = learningFolder({
    'postern.yaml': `${SETTINGS}risk: { location_trust_threshold: 2 }
state: { redis: { url: "${redis.url}", key_file: keys/state.key, timeout_ms: ${TIMEOUT_MS} } }\n`,
    'policies/all.yaml': policies(),
    'keys/state.key': randomBytes(32).toString('base64'),
  });
  [one, other] = await Promise.all([serveLearning(folder), serveLearning(folder)]);
});

afterAll(async () => {
  await one.stop();
  await other.stop();
  await redis.stop();
  rmSync(folder, { recursive: true, force: true });
});

function newUser(): { readonly user: string } {
  users += 1;
  return { user: `user-${users}` };
}

function ask(program: LearningProgram, host: Host, token: string, more: Asking = {}): Promise<Told> {
  return program.ask({ token, host: `${host}.example.com`, from: PORTO, headers: NAVIGATION, ...more });
}

describe('two programs on one Redis', () => {
  it('what one has learned the other one knows, and one event is one event', async () => {
    const who = newUser();
    const first = strong(0, who);
    for (const program of [one, other, one]) expect((await ask(program, 'places', first)).level).toBe('MEDIUM');
    expect((await ask(other, 'places', strong(1, who), { at: 1 })).level).toBe('MEDIUM');
    expect((await ask(one, 'places', weak(2, who), { at: 2 })).level).toBe('LOW');
    expect((await ask(other, 'places', weak(2, who), { at: 2, from: VIGO })).level).toBe('MEDIUM');
  });

  it('two events at once, one at each, are both counted', async () => {
    for (let round = 0; round < 10; round += 1) {
      const who = newUser();
      const both = [ask(one, 'places', strong(0, who)), ask(other, 'places', strong(1, who))];
      expect((await Promise.all(both)).map(({ outcome }) => outcome)).toEqual(['allow', 'allow']);
      expect((await ask(one, 'places', weak(2, who))).level).toBe('LOW');
    }
  });

  it('a machine registered at one is known at the other; of one event there is one new cookie', async () => {
    const who = newUser();
    const [registered = ''] = (await ask(one, 'machines', strong(0, who))).cookies;
    const cookie = registered.split(';')[0] ?? '';
    const event = weak(1, who);
    const sent = { headers: { ...NAVIGATION, cookie } };
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, index) => ask(index % 2 === 0 ? one : other, 'machines', event, sent)),
    );
    expect(new Set(answers.map(({ level }) => level))).toEqual(new Set(['LOW']));
    const renewed = answers.flatMap(({ cookies }) => cookies);
    expect(renewed).toHaveLength(1);
    const next = { headers: { ...NAVIGATION, cookie: renewed[0]?.split(';')[0] ?? '' } };
    expect((await ask(other, 'machines', event, next)).level).toBe('LOW');
  });

  it('a login admitted at one is admitted at the other', async () => {
    const token = weak(0, newUser());
    expect((await ask(one, 'sso', token, { at: 4 })).outcome).toBe('allow');
    expect((await ask(other, 'sso', token, { at: 180 })).outcome).toBe('allow');
    expect((await ask(other, 'sso', weak(0, newUser()), { at: 180 })).outcome).toBe('step_up');
  });

  it('nothing in Redis names a user, an address or a nonce', async () => {
    const who = newUser();
    const { cookies } = await ask(one, 'machines', strong(0, who));
    const [, nonce = '', sequence = ''] = /=([\w-]{22})\.([\w-]{22});/.exec(cookies[0] ?? '') ?? [];
    expect(sequence).not.toBe('');
    const keys = (await redis.command('KEYS', '*')).match(/postern:\S+/g) ?? [];
    expect(keys.length).toBeGreaterThan(2);
    const values: string[] = [];
    for (const key of keys) values.push(await redis.command(key.endsWith(':r') ? 'GET' : 'HGETALL', key));
    const everything = [...keys, ...values].join('\n');
    expect(everything).toContain('Porto');
    for (const secret of [who.user, '@example.com', '203.0.113.7', 'login.example.com', nonce, sequence])
      expect(everything).not.toContain(secret);
  });
});

describe('without Redis', () => {
  it('nobody is let in by it, nobody is kept out but as a stranger, and it learns again afterwards', async () => {
    const who = newUser();
    await ask(one, 'places', strong(0, who));
    await ask(one, 'places', strong(1, who));
    const [registered = ''] = (await ask(one, 'machines', strong(2, who))).cookies;
    const machine = { headers: { ...NAVIGATION, cookie: registered.split(';')[0] ?? '' } };
    const admitted = weak(0, who);
    await ask(one, 'sso', admitted, { at: 4 });
    const token = weak(3, who);
    const told = async (): Promise<unknown[]> => [
      (await ask(one, 'places', token)).outcome,
      (await ask(one, 'machines', token, machine)).outcome,
      (await ask(one, 'sso', admitted, { at: 180 })).outcome,
      (await ask(one, 'travel', token)).outcome,
      (await ask(one, 'strict', token)).outcome,
    ];
    expect(await told()).toEqual(['allow', 'allow', 'allow', 'allow', 'allow']);

    await kill(redis);
    expect(await told()).toEqual(['step_up', 'step_up', 'step_up', 'allow', 'unavailable']);
    const strangers = [ask(one, 'places', strong(5, who)), ask(one, 'machines', strong(6, who))];
    expect(await Promise.all(strangers)).toMatchObject([
      { outcome: 'allow', level: 'MEDIUM', cookies: [] },
      { outcome: 'allow', level: 'MEDIUM', cookies: [] },
    ]);
    expect(await one.metrics()).toMatch(/^postern_fact_errors_total\{fact="history"\} [1-9]/m);

    await redis.start();
    await until(async () => (await ask(one, 'strict', strong(7, newUser()))).outcome === 'allow');
    // Either of them may find its way back later than the other.
    let minute = 8;
    await until(async () => {
      await ask(other, 'places', strong((minute += 1), who));
      return (await ask(one, 'places', weak((minute += 1), who))).level === 'LOW';
    });
  });
});
