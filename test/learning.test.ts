/** Users who travel, come back, use other machines and log in again, and what the program learns of them. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ISSUER } from './facts/token-maker.ts';
import { NAVIGATION, PORTO, SETTINGS, startLearning, strong, TOKYO, VIGO, weak } from './learning-program.ts';
import type { Asking, City, LearningProgram, Login, Told } from './learning-program.ts';

const PASSWORD = 'lowRiskAuthenticationFlow: { name: Password }';
const SECOND_FACTOR = [
  'mediumRiskAuthenticationFlow: { name: Password and Second Factor }',
  'highRiskAuthenticationFlow: { name: Password and Second Factor }',
].join(', ');
const PLACES = `locationHistoryContext: { riskPoint: 50 }, travelVelocityContext: { riskPoint: 50 }, ${PASSWORD}, ${SECOND_FACTOR}`;
const MACHINE = `machineContext: { riskPoint: 100, riskLimit: 15 }, ${PASSWORD}, ${SECOND_FACTOR}`;

/** Applications, each at a host of its name, with this in its one resource rule; undefined: it has none. */
const HOSTS: Readonly<Record<string, string | undefined>> = {
  orders: PLACES,
  /** Learns, and lets everybody in. */
  easy: `locationHistoryContext: { riskPoint: 0 }, ${PASSWORD}`,
  /** Learns, and lets nobody in. */
  closed: 'locationHistoryContext: { riskPoint: 0 }, lowRiskAuthenticationFlow: { name: Access Denied }',
  /** Learns nothing. */
  plain: PASSWORD,
  open: undefined,
  machines: MACHINE,
  /** Recognises machines, and a password is enough whatever they say. */
  lenient: `machineContext: { riskPoint: 10 }, ${PASSWORD}`,
  sso: `disableSSO: true, ${PASSWORD}`,
  'other-sso': `disableSSO: true, ${PASSWORD}`,
};

const POLICIES = policies(HOSTS);

function policies(hosts: Readonly<Record<string, string | undefined>>): string {
  const named = Object.entries(hosts).map(([host, rule], index) => ({ host, rule, index }));
  const id = (index: number): string => `9a4b2f0e-3f55-4a57-9b0e-00000000000${index}`;
  const applications = named.map(({ host, rule, index }) => {
    const policy =
      rule === undefined
        ? 'decision: bypass, include: [{ everyone: {} }]'
        : 'decision: allow, include: [{ email_domain: { domain: example.com } }]';
    return `  - { id: ${id(index)}, name: ${host}, destinations: [${host}.example.com], policies: [{ name: A, ${policy} }] }\n`;
  });
  const rules = named.flatMap(({ host, rule, index }) =>
    rule === undefined
      ? []
      : `  - { id: 0c3c0000-0000-4000-8000-00000000000${index}, name: ${host}, resourceId: ${id(index)}, groups: [{ name: All Groups }], lowRiskThreshold: 30, mediumRiskThreshold: 70, ${rule} }\n`,
  );
  return `applications:\n${applications.join('')}resource_rules:\n${rules.join('')}`;
}

let program: LearningProgram;
let users = 0;

beforeAll(async () => {
  program = await startLearning({ 'policies/all.yaml': POLICIES });
});
afterAll(() => program.stop());

/** Somebody of whom nothing is known. */
function newUser(): { readonly user: string } {
  users += 1;
  return { user: `user-${users}` };
}

type LoginKind = (at: number, more: Partial<Login>) => string;

/** Asks at a host, and says what came of it. */
async function outcome(token: string, from: City | undefined, at: number, more: Asking = {}): Promise<string> {
  const { outcome: told, level } = await program.ask({ token, at, ...(from && { from }), ...more });
  return level === undefined ? String(told) : `${String(told)} ${String(level)}`;
}

const at = (host: string): Asking => ({ host: `${host}.example.com` });

describe('places', () => {
  it('from Porto to Vigo to Tokyo within minutes: stepped up, let in by two factors, learned, LOW', async () => {
    const who = newUser();
    const seen: string[] = [];
    const ask = async (login: LoginKind, from: City, minute: number): Promise<void> => {
      seen.push(`${from.city} ${minute} ${await outcome(login(minute, who), from, minute)}`);
    };
    await ask(weak, PORTO, 0);
    await ask(strong, PORTO, 1);
    await ask(weak, PORTO, 2);
    await ask(weak, VIGO, 3);
    await ask(strong, VIGO, 4);
    await ask(weak, VIGO, 5);
    await ask(weak, TOKYO, 6);
    await ask(strong, TOKYO, 7);
    await ask(weak, TOKYO, 8);
    await ask(weak, PORTO, 9);
    expect(seen).toEqual([
      'Porto 0 step_up MEDIUM',
      'Porto 1 allow MEDIUM',
      'Porto 2 allow LOW',
      'Vigo 3 step_up HIGH',
      'Vigo 4 allow HIGH',
      'Vigo 5 allow LOW',
      'Tokyo 6 step_up HIGH',
      'Tokyo 7 allow HIGH',
      'Tokyo 8 allow LOW',
      // A known place, but nobody gets there from Tokyo in a minute.
      'Porto 9 step_up MEDIUM',
    ]);
  });

  it('at leisure a known place is LOW, and a new one does not count as travel', async () => {
    const who = newUser();
    expect(await outcome(strong(0, who), PORTO, 0)).toBe('allow MEDIUM');
    expect(await outcome(weak(0, who), VIGO, 24 * 60)).toBe('step_up MEDIUM');
    expect(await outcome(weak(0, who), PORTO, 24 * 60)).toBe('allow LOW');
  });

  it('one user is not the other', async () => {
    expect(await outcome(strong(0, newUser()), PORTO, 0)).toBe('allow MEDIUM');
    expect(await outcome(weak(0, newUser()), PORTO, 1)).toBe('step_up MEDIUM');
  });

  it.each<[string, (who: { readonly user: string }) => Promise<string>]>([
    ['a step-up', (who) => outcome(weak(0, who), PORTO, 0)],
    ['a deny', (who) => outcome(strong(0, who), PORTO, 0, at('closed'))],
    ['an allow of an application that learns nothing', (who) => outcome(strong(0, who), PORTO, 0, at('plain'))],
    ['a bypass', (who) => outcome(strong(0, who), PORTO, 0, at('open'))],
  ])('%s writes nothing', async (_, first) => {
    const who = newUser();
    for (let time = 0; time < 3; time += 1) await first(who);
    expect(await outcome(weak(1, who), PORTO, 1)).toBe('step_up MEDIUM');
  });

  it('what one application learned another one knows', async () => {
    const who = newUser();
    expect(await outcome(weak(0, who), PORTO, 0, at('easy'))).toBe('allow LOW');
    expect(await outcome(weak(1, who), PORTO, 1)).toBe('allow LOW');
  });

  it('a known event from elsewhere writes nothing, though another rule lets it in', async () => {
    const who = newUser();
    const event = strong(0, who);
    expect(await outcome(event, PORTO, 0)).toBe('allow MEDIUM');
    expect(await outcome(event, VIGO, 24 * 60, at('easy'))).toBe('allow LOW');
    expect(await outcome(weak(1, who), VIGO, 24 * 60)).toBe('step_up MEDIUM');
  });

  it('an event more than a minute older than the last is dropped, a younger one is learned', async () => {
    const who = newUser();
    expect(await outcome(strong(0, who), PORTO, 60)).toBe('allow MEDIUM');
    expect(await outcome(strong(1, who), TOKYO, 59 - 1 / 60)).toBe('allow HIGH');
    expect(await outcome(weak(2, who), TOKYO, 24 * 60)).toBe('step_up MEDIUM');
    expect(await outcome(strong(3, who), TOKYO, 59.25)).toBe('allow HIGH');
    expect(await outcome(weak(4, who), TOKYO, 24 * 60)).toBe('allow LOW');
  });

  it('who is erased is a stranger, by the very login that was let in before', async () => {
    const who = newUser();
    const event = weak(1, who);
    expect(await outcome(strong(0, who), PORTO, 0)).toBe('allow MEDIUM');
    expect(await outcome(event, PORTO, 1)).toBe('allow LOW');
    const erase = `/api/state/users?issuer=${encodeURIComponent(ISSUER)}&subject=${who.user}`;
    expect(await program.admin('DELETE', erase)).toBe(204);
    expect(await outcome(event, PORTO, 1)).toBe('step_up MEDIUM');
    expect(await program.admin('DELETE', erase)).toBe(204);
  });

  it('a reload forgets nothing', async () => {
    const who = newUser();
    expect(await outcome(strong(0, who), PORTO, 0)).toBe('allow MEDIUM');
    const revision = async (): Promise<unknown> => (await program.ask({})).metadata['revision'];
    const before = await revision();
    writeFileSync(join(program.folder, 'policies/all.yaml'), `# changed\n${POLICIES}`);
    for (const end = Date.now() + 20_000; (await revision()) === before; await sleep(20))
      if (Date.now() > end) throw new Error('the change never became live');
    expect(await outcome(weak(1, who), PORTO, 1)).toBe('allow LOW');
  });
});

describe('counts', () => {
  let strict: LearningProgram;
  beforeAll(async () => {
    strict = await startLearning({
      'postern.yaml': `${SETTINGS}risk: { location_trust_threshold: 2, locations_max: 2 }\n`,
      'policies/all.yaml': policies({
        orders: `locationHistoryContext: { riskPoint: 50 }, ${PASSWORD}, ${SECOND_FACTOR}`,
      }),
    });
  });
  afterAll(() => strict.stop());

  const level = async (token: string, from: City, minute: number): Promise<unknown> =>
    (await strict.ask({ token, from, at: minute })).level;

  it('one event let in 200 times counts once, a second event counts twice', async () => {
    const event = strong(0, { user: 'ann' });
    for (let minute = 0; minute < 200; minute += 1) expect(await level(event, PORTO, 0)).toBe('MEDIUM');
    expect(await level(strong(1, { user: 'ann' }), PORTO, 1)).toBe('MEDIUM');
    expect(await level(weak(2, { user: 'ann' }), PORTO, 2)).toBe('LOW');
  });

  it('of three places the two last seen are kept', async () => {
    const user = 'ben';
    for (const [index, city] of [PORTO, VIGO, TOKYO].entries())
      for (const half of [0, 1]) await level(strong(index * 2 + half, { user }), city, (index * 2 + half) * 24 * 60);
    const seen = [PORTO, VIGO, TOKYO].map((city) => level(weak(90, { user }), city, 10 * 24 * 60));
    expect(await Promise.all(seen)).toEqual(['MEDIUM', 'LOW', 'LOW']);
  });
});

describe('trusted headers', () => {
  it('name a user of whom nothing is learned', async () => {
    const headers = await startLearning({
      'postern.yaml': `${SETTINGS.replace('identity: {', 'identity: { headers: { enabled: true },')}`,
      'policies/all.yaml': policies({
        ...HOSTS,
        orders:
          'locationHistoryContext: { riskPoint: 50 }, lowRiskAuthenticationFlow: { name: External }, mediumRiskAuthenticationFlow: { name: External }',
      }),
    });
    try {
      const ask = async (): Promise<Told> =>
        headers.ask({ from: PORTO, headers: { 'x-forwarded-email': 'ann@example.com', ...NAVIGATION } });
      for (let time = 0; time < 3; time += 1)
        expect(await ask()).toMatchObject({ outcome: 'allow', level: 'MEDIUM', cookies: [] });
    } finally {
      await headers.stop();
    }
  });
});

describe('machines', () => {
  const FIREFOX = { 'user-agent': 'Mozilla/5.0 (X11; rv:130.0) Firefox/130.0', 'accept-language': 'pt-PT,pt;q=0.9' };
  const UPDATED = { ...FIREFOX, 'user-agent': 'Mozilla/5.0 (X11; rv:131.2) Firefox/131.2' };
  const CHROME = {
    'user-agent': 'Mozilla/5.0 (Windows) Chrome/140.0',
    'sec-ch-ua-platform': '"Windows"',
    'accept-language': 'ja',
  };

  const browse = (
    token: string,
    cookie: string | undefined,
    browser: Readonly<Record<string, string>>,
    host = 'machines',
  ) =>
    program.ask({
      token,
      host: `${host}.example.com`,
      headers: { ...NAVIGATION, ...browser, ...(cookie !== undefined && { cookie }) },
    });

  /** The cookie as a browser sends it back. */
  function cookieOf({ cookies }: Told): string {
    expect(cookies).toHaveLength(1);
    const [pair = '', ...attributes] = (cookies[0] ?? '').split('; ');
    expect(pair).toMatch(/^__Host-postern-machine=[\w-]{22}\.[\w-]{22}$/);
    expect(attributes).toEqual(['Path=/', 'Secure', 'HttpOnly', 'SameSite=Lax', 'Max-Age=7776000']);
    return pair;
  }

  async function registered(): Promise<{ readonly user: string; readonly cookie: string }> {
    const who = newUser();
    return { ...who, cookie: cookieOf(await browse(strong(0, who), undefined, FIREFOX)) };
  }

  it('a strong login in a browser registers its machine, which is then LOW', async () => {
    const who = newUser();
    expect(await browse(weak(0, who), undefined, FIREFOX)).toMatchObject({ outcome: 'step_up', cookies: [] });
    const let_in = await browse(strong(1, who), undefined, FIREFOX);
    expect(let_in).toMatchObject({ outcome: 'allow', level: 'HIGH' });
    const cookie = cookieOf(let_in);
    expect(await browse(weak(2, who), `a=b; ${cookie}`, UPDATED)).toMatchObject({ outcome: 'allow', level: 'LOW' });
  });

  it('the cookie goes to the client alone: no header to the upstream has it', async () => {
    const who = newUser();
    const { upstream, cookies } = await browse(strong(0, who), undefined, { ...FIREFOX, 'set-cookie': 'forged=1' });
    expect(cookies).toHaveLength(1);
    expect(upstream.join('\n')).not.toContain('postern-machine');
    expect(cookies.join()).not.toContain('forged');
  });

  it.each<[string, (who: { readonly user: string }) => Promise<Told>]>([
    ['not by a program', (who) => program.ask({ token: strong(0, who), ...at('machines'), headers: FIREFOX })],
    ['not by a password alone', (who) => browse(weak(0, who), undefined, FIREFOX, 'lenient')],
    ['not where no rule asks about machines', (who) => browse(strong(0, who), undefined, FIREFOX, 'easy')],
    ['not by a step-up', (who) => browse(weak(0, who), undefined, FIREFOX)],
  ])('%s', async (_, ask) => {
    expect((await ask(newUser())).cookies).toEqual([]);
  });

  it.each<[string, (cookie: string) => string | undefined, object]>([
    ['no cookie', () => undefined, FIREFOX],
    ['two of the name', (cookie) => `${cookie}; ${cookie}`, FIREFOX],
    ['cut short', (cookie) => cookie.slice(0, -1), FIREFOX],
    ['the nonces swapped', (cookie) => cookie.replace(/=(.*)\.(.*)$/, '=$2.$1'), FIREFOX],
    ['a copy in another browser', (cookie) => cookie, CHROME],
  ])('%s: stepped up', async (_, changed, browser) => {
    const { user, cookie } = await registered();
    expect(await browse(weak(1, { user }), cookie, FIREFOX)).toMatchObject({ outcome: 'allow', level: 'LOW' });
    expect(await browse(weak(2, { user }), changed(cookie), { ...browser })).toMatchObject({
      outcome: 'step_up',
      level: 'HIGH',
      cookies: [],
    });
  });

  it("another user's cookie is no machine of this one", async () => {
    const { cookie } = await registered();
    expect(await browse(weak(0, newUser()), cookie, FIREFOX)).toMatchObject({ outcome: 'step_up', level: 'HIGH' });
  });

  it('the language alone (10) is within the limit of 15, and is learned; then the browser may change', async () => {
    const { user, cookie } = await registered();
    const travelled = { ...FIREFOX, 'accept-language': 'ja' };
    const next = cookieOf(await browse(weak(1, { user }), cookie, travelled));
    expect(await browse(weak(2, { user }), next, { ...travelled, 'user-agent': 'Other' })).toMatchObject({
      level: 'LOW',
    });
  });

  it('the sequence goes on with each event: the current nonce and the one before are good, an older one is a copy', async () => {
    const { user, cookie: first } = await registered();
    const event = weak(1, { user });
    const answer = await browse(event, first, FIREFOX);
    const second = cookieOf(answer);
    expect(second.split('.')[0]).toBe(first.split('.')[0]);
    expect(second).not.toBe(first);
    expect((await browse(event, second, FIREFOX)).cookies).toEqual([]);
    expect(await browse(event, first, FIREFOX)).toMatchObject({ level: 'LOW', cookies: [] });
    const third = cookieOf(await browse(weak(2, { user }), second, FIREFOX));
    for (const [cookie, level] of [
      [third, 'LOW'],
      [second, 'LOW'],
      [first, 'HIGH'],
    ] as const)
      expect((await browse(weak(2, { user }), cookie, FIREFOX)).level).toBe(level);
    expect(program.lines.filter((line) => line.includes('machine_copy'))).not.toEqual([]);
  });

  it('of parallel requests of one event one gets the new cookie, and none is stepped up', async () => {
    const { user, cookie } = await registered();
    const event = weak(1, { user });
    const answers = await Promise.all(Array.from({ length: 20 }, () => browse(event, cookie, FIREFOX)));
    expect(new Set(answers.map(({ outcome: told, level }) => `${String(told)} ${String(level)}`))).toEqual(
      new Set(['allow LOW']),
    );
    const [next = '', ...others] = answers.flatMap(({ cookies }) => cookies);
    expect(others).toEqual([]);
    const pair = next.split(';')[0] ?? '';
    for (const either of [pair, cookie]) expect(await browse(event, either, FIREFOX)).toMatchObject({ level: 'LOW' });
  });

  it('a copy let in by a password elsewhere goes on differing, until two factors vouch for it', async () => {
    const { user, cookie } = await registered();
    expect(await browse(weak(1, { user }), cookie, CHROME, 'lenient')).toMatchObject({
      outcome: 'allow',
      level: 'LOW',
    });
    expect(await browse(weak(2, { user }), cookie, CHROME)).toMatchObject({ outcome: 'step_up', level: 'HIGH' });
    const next = cookieOf(await browse(strong(3, { user }), cookie, CHROME));
    expect(await browse(weak(4, { user }), next, CHROME)).toMatchObject({ outcome: 'allow', level: 'LOW' });
  });
});

describe('applications that want a login of their own (disableSSO)', () => {
  /** Seconds after a login at minute 0. */
  const visit = async (token: string, seconds: number, host = 'sso', more: Asking = {}): Promise<Told> =>
    program.ask({ token, at: seconds / 60, ...at(host), ...more });

  it.each([
    ['at once', [0], ['allow']],
    ['within five minutes, and then for hours', [240, 3 * 3600], ['allow', 'allow']],
    ['five minutes to the second', [300, 3 * 3600], ['allow', 'allow']],
    ['a second later, and no sooner for coming again', [301, 310], ['step_up', 'step_up']],
  ] as const)('%s: %j %j', async (_, seconds, expected) => {
    const token = weak(0, newUser());
    const seen: unknown[] = [];
    for (const second of seconds) seen.push((await visit(token, second)).outcome);
    expect(seen).toEqual(expected);
  });

  it('each application has its own logins', async () => {
    const token = weak(0, newUser());
    expect(await visit(token, 100)).toMatchObject({ outcome: 'allow' });
    expect(await visit(token, 200, 'other-sso')).toMatchObject({ outcome: 'allow' });
    expect(await visit(token, 9_000)).toMatchObject({ outcome: 'allow' });
    expect(await visit(token, 9_000, 'other-sso')).toMatchObject({ outcome: 'allow' });
    const late = weak(0, newUser());
    expect(await visit(late, 100)).toMatchObject({ outcome: 'allow' });
    expect(await visit(late, 400, 'other-sso')).toMatchObject({ outcome: 'step_up' });
  });

  it('each login is admitted by itself', async () => {
    const who = newUser();
    expect(await visit(weak(0, who), 0)).toMatchObject({ outcome: 'allow' });
    // The same user and the same time, in another session: another event.
    expect(await visit(weak(0, { ...who, session: 's2' }), 400)).toMatchObject({ outcome: 'step_up' });
    expect(await visit(weak(6, who), 400)).toMatchObject({ outcome: 'allow' });
  });

  it('a token that does not say when its user logged in is not fresh', async () => {
    const token = weak(0, { ...newUser(), claims: { auth_time: undefined } });
    expect(await visit(token, 0)).toMatchObject({ outcome: 'step_up' });
  });

  it('the challenge asks for a login of the last five minutes', async () => {
    const { headers } = await visit(weak(0, newUser()), 301);
    expect(headers['www-authenticate']).toBe(
      'Bearer error="insufficient_user_authentication", error_description="More recent authentication is required", max_age="300"',
    );
  });

  it('the portal is asked to make the user log in', async () => {
    const portal = await startLearning({
      'postern.yaml': `${SETTINGS}step_up: { portal_url: "https://login.example.com/step-up" }\n`,
      'policies/all.yaml': POLICIES,
    });
    try {
      const { headers } = await portal.ask({ token: weak(0), at: 6, ...at('sso'), headers: NAVIGATION });
      const query = new URL(headers['location'] ?? '').searchParams;
      expect(query.get('max_age')).toBe('300');
      expect(query.get('prompt')).toBe('login');
    } finally {
      await portal.stop();
    }
  });
});

it('neither log nor metadata nor metrics tell of a place finer than the country, or anything a cookie holds', async () => {
  const who = newUser();
  const headers = { ...NAVIGATION, 'user-agent': 'Firefox' };
  const told = await program.ask({ token: strong(0, who), from: VIGO, ...at('machines'), headers });
  const [cookie = ''] = told.cookies;
  await program.ask({
    token: weak(1, who),
    from: VIGO,
    ...at('machines'),
    headers: { ...headers, cookie: cookie.split(';')[0] ?? '' },
  });
  const nonces = /=([\w-]{22})\.([\w-]{22});/.exec(cookie)?.slice(1) ?? [];
  expect(nonces).toHaveLength(2);
  const text = [...program.lines, JSON.stringify(told.metadata), await program.metrics()].join('\n');
  expect(text).toContain(who.user);
  expect(text).toContain('"country":"ES"');
  const coordinates = [VIGO.latitude, VIGO.longitude].map(String);
  for (const secret of [...nonces, ...coordinates, 'Vigo', 'Porto', 'Tokyo']) expect(text).not.toContain(secret);
});
