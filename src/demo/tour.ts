/** The tour: requests, the lines that send them, and their real answers. */
import { setTimeout as sleep } from 'node:timers/promises';
import { ORDERS, ORDERS_BROKEN, ORDERS_WITHOUT_ANN } from './folder.ts';
import type { DemoFolder, TokenName } from './folder.ts';
import type { Answer, Ask, Postern } from './parts.ts';

export interface TourParts {
  readonly folder: DemoFolder;
  readonly postern: Postern;
  /** Envoy's port; undefined where Postern is asked directly. */
  readonly port: number | undefined;
  ask(request: Ask): Promise<Answer>;
  say(text: string): void;
}

/** Walks the whole tour; whether every answer was the expected one. */
export async function tour(parts: TourParts): Promise<boolean> {
  const { folder, postern, say } = parts;
  let asExpected = true;
  const judge = (wrong: string | undefined): void => {
    if (wrong === undefined) return;
    asExpected = false;
    say(`   UNEXPECTED: ${wrong}`);
  };
  const stop = async (title: string, step: Step): Promise<void> => {
    say(`\n${title}\n   $ ${curlLine(step, parts.port)}`);
    const answer = await parts.ask(requestOf(step, folder));
    show(answer, say);
    judge(wrongWith(answer, step));
  };

  await stop('1. Nobody: who are you?', { host: ORDERS_HOST, path: '/', status: 401, challenge: 'Bearer' });
  await stop('2. A valid token of somebody else: no.', {
    host: ORDERS_HOST,
    path: '/',
    bearer: 'mallory',
    status: 403,
  });
  await stop('3. Ann, an engineer: yes. The upstream is told who she is, and her forged header never gets there.', {
    host: ORDERS_HOST,
    path: '/',
    bearer: 'ann',
    forged: true,
    status: 200,
    user: 'ann@example.com',
  });
  await stop('4. Ann at /admin, logged in with a password only: authenticate again, more strongly (RFC 9470).', {
    host: ORDERS_HOST,
    path: '/admin',
    bearer: 'ann',
    status: 401,
    challenge: 'error="insufficient_user_authentication"',
    alsoChallenge: 'acr_values=',
  });
  await stop('5. Ann after a one-time code: yes.', {
    host: ORDERS_HOST,
    path: '/admin',
    bearer: 'ann-strong',
    status: 200,
    user: 'ann@example.com',
  });
  await stop('6. A machine with a service token: yes.', {
    host: 'reports.example.com',
    path: '/daily',
    service: true,
    status: 200,
  });
  await stop('7. A person where only machines may go: no.', {
    host: 'reports.example.com',
    path: '/daily',
    bearer: 'ann',
    status: 403,
  });

  const ann = { host: ORDERS_HOST, path: '/', bearer: 'ann' } as const;
  say('\n   The policies are edited while everything runs: the group excludes ann.');
  folder.writePolicies(ORDERS_WITHOUT_ANN);
  judge(await becomes(parts, { ...ann, status: 403 }));
  await stop('8. Ann, now excluded: no.', { ...ann, status: 403 });
  say('\n   … and back.');
  folder.writePolicies(ORDERS);
  judge(await becomes(parts, { ...ann, status: 200 }));
  await stop('9. Ann again: yes.', { ...ann, status: 200, user: 'ann@example.com' });

  say('\n   A broken edit: the application is opened to everyone, and a group is misspelt.');
  folder.writePolicies(ORDERS_BROKEN);
  const fault = await faultOf(postern);
  if (fault === undefined) judge(`no fault in Postern's log within ${LIVE_MS} ms`);
  else say(`   Postern's log: ${fault}`);
  await stop('10. Nothing of it is in force: mallory is still refused,', {
    host: ORDERS_HOST,
    path: '/',
    bearer: 'mallory',
    status: 403,
  });
  await stop('11. and ann still gets in.', { ...ann, status: 200, user: 'ann@example.com' });
  folder.writePolicies(ORDERS);
  return asExpected;
}

/** A request and what its answer must be. */
interface Step {
  readonly host: string;
  readonly path: string;
  readonly bearer?: TokenName;
  readonly service?: boolean;
  /** Sends an `x-postern-user` of its own. */
  readonly forged?: boolean;
  readonly status: number;
  /** Texts that `www-authenticate` must hold. */
  readonly challenge?: string;
  readonly alsoChallenge?: string;
  /** The `x-postern-user` that the upstream must have seen. */
  readonly user?: string;
}

const ORDERS_HOST = 'orders.example.com';

/** How long a change may take to be in force, here with room for a busy machine. */
const LIVE_MS = 2_000;

function curlLine({ host, path, bearer, service, forged }: Step, port: number | undefined): string {
  const words = [`curl -si http://127.0.0.1:${port ?? 10_000}${path} -H "host: ${host}"`];
  if (bearer) words.push(`-H "authorization: Bearer $(cat .demo/tokens/${bearer})"`);
  if (service) words.push('-H "cf-access-client-id: $(cat .demo/tokens/ci-id)"');
  if (service) words.push('-H "cf-access-client-secret: $(cat .demo/tokens/ci-secret)"');
  if (forged) words.push('-H "x-postern-user: root"');
  const line = words.join(' ');
  return port === undefined ? `# as if through Envoy: ${line}` : line;
}

function requestOf({ host, path, bearer, service, forged }: Step, { tokens }: DemoFolder): Ask {
  const headers: Record<string, string> = {};
  if (bearer) headers['authorization'] = `Bearer ${tokens.get(bearer)}`;
  if (service) headers['cf-access-client-id'] = String(tokens.get('ci-id'));
  if (service) headers['cf-access-client-secret'] = String(tokens.get('ci-secret'));
  if (forged) headers['x-postern-user'] = 'root';
  return { host, path, headers };
}

function show({ status, headers, body }: Answer, say: (text: string) => void): void {
  say(`   ${status}`);
  const challenge = headers.get('www-authenticate');
  if (challenge !== undefined) say(`   www-authenticate: ${challenge}`);
  if (status !== 200) {
    say(`   ${body.trim()}`);
    return;
  }
  const told = Object.entries(upstreamHeaders(body)).filter(([name]) => name.startsWith('x-postern-'));
  say(`   the upstream saw: ${told.map(([name, value]) => `${name}: ${value}`).join(', ') || 'no x-postern-* header'}`);
}

function wrongWith({ status, headers, body }: Answer, expected: Step): string | undefined {
  if (status !== expected.status) return `expected ${expected.status}, found ${status}`;
  const challenge = headers.get('www-authenticate') ?? '';
  for (const part of [expected.challenge, expected.alsoChallenge]) {
    if (part !== undefined && !challenge.includes(part))
      return `expected a challenge with ${part}, found "${challenge}"`;
  }
  if (expected.user === undefined) return undefined;
  const user = upstreamHeaders(body)['x-postern-user'];
  return user === expected.user ? undefined : `expected x-postern-user ${expected.user} upstream, found ${user}`;
}

function upstreamHeaders(body: string): Record<string, string> {
  return (JSON.parse(body) as { headers: Record<string, string> }).headers;
}

async function becomes({ ask, folder, say }: TourParts, step: Step): Promise<string | undefined> {
  const began = performance.now();
  while (performance.now() - began < LIVE_MS) {
    const { status } = await ask(requestOf(step, folder));
    if (status === step.status) {
      say(`   In force after ${Math.round(performance.now() - began)} ms.`);
      return undefined;
    }
    await sleep(25);
  }
  return `the change is not in force after ${LIVE_MS} ms`;
}

async function faultOf({ lines }: Postern): Promise<string | undefined> {
  for (const end = performance.now() + LIVE_MS; performance.now() < end; await sleep(25)) {
    const line = lines.find((one) => one.includes('"fault":') && one.includes('Enginering'));
    if (line !== undefined) {
      const { fault, mend } = JSON.parse(line) as { fault: string; mend?: string };
      return mend === undefined ? fault : `${fault}\n                  mend: ${mend}`;
    }
  }
  return undefined;
}
