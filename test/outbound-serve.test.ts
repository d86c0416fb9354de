/** The program itself, asking others: over gRPC in, over HTTP and HTTPS out. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { checkClient } from './envoy/check-client.ts';
import type { CheckClient } from './envoy/check-client.ts';
import { decodeResponse, metadataOf } from './envoy/official.ts';
import { sendAnswer, startEngineServer } from './facts/engine-server.ts';
import type { EngineServer } from './facts/engine-server.ts';
import { answerToken, isSignedBy, sendJson, startEvaluator } from './facts/evaluator.ts';
import type { Claims, Evaluator } from './facts/evaluator.ts';
import { selfSigned } from './facts/self-signed.ts';
import { keySetBytes, pairFor, publicJwk } from './facts/token-maker.ts';
import { IDENTITY, ORDERS, annToken, checkRequest } from './facts/whole-check.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const LIMIT_MS = 20_000;

let folder: string;
const children: ChildProcess[] = [];
const clients: CheckClient[] = [];
const evaluators: Evaluator[] = [];
const engines: EngineServer[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postern-outbound-serve-'));
  write('keys/jwks.json', Buffer.from(keySetBytes(publicJwk(pairFor('ES256'), { kid: 'k1' }))).toString());
});

afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  for (const child of children.splice(0)) await killed(child);
  for (const evaluator of evaluators.splice(0)) await evaluator.close();
  for (const engine of engines.splice(0)) await engine.close();
  rmSync(folder, { recursive: true });
});

function write(name: string, text: string): void {
  mkdirSync(dirname(join(folder, name)), { recursive: true });
  writeFileSync(join(folder, name), text);
}

async function killed(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGKILL');
  await once(child, 'exit');
}

interface Running {
  readonly child: ChildProcess;
  text(): string;
}

function run(args: readonly string[], environment: Readonly<Record<string, string>> = {}): Running {
  const child = spawn(process.execPath, args, {
    env: { ...process.env, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.push(child);
  let text = '';
  child.stdout?.on('data', (chunk: Buffer) => (text += chunk.toString()));
  child.stderr?.on('data', (chunk: Buffer) => (text += chunk.toString()));
  return { child, text: () => text };
}

async function until<T>(read: () => T | undefined | Promise<T | undefined>, text: () => string): Promise<T> {
  for (const end = Date.now() + LIMIT_MS; Date.now() < end; await sleep(20)) {
    const value = await read();
    if (value !== undefined) return value;
  }
  throw new Error(`not in time; the program wrote:\n${text()}`);
}

interface Served extends Running {
  readonly admin: string;
  ask(http?: Readonly<Record<string, unknown>>): Promise<Readonly<Record<string, unknown>>>;
}

async function serve(environment: Readonly<Record<string, string>> = {}): Promise<Served> {
  const ports = ['--set', 'listen.check=127.0.0.1:0', '--set', 'listen.admin=127.0.0.1:0'];
  const running = run([`${ROOT}dist/main.js`, 'serve', '--config', folder, ...ports], environment);
  const ready = await until(() => /^\{.*"msg":"ready".*\}$/m.exec(running.text())?.[0], running.text);
  const { check, admin } = JSON.parse(ready) as { check: string; admin: string };
  const client = checkClient(check);
  clients.push(client);
  return {
    ...running,
    admin,
    ask: async (http = {}) => metadataOf(decodeResponse(await client.check(checkRequest(http)))),
  };
}

async function metric(admin: string, line: RegExp): Promise<string | undefined> {
  return line.exec(await (await fetch(`http://${admin}/metrics`)).text())?.[0];
}

async function publishedKeys(admin: string): Promise<readonly Claims[]> {
  const answer = await fetch(`http://${admin}/cdn-cgi/access/certs`);
  expect(answer.status).toBe(200);
  expect(answer.headers.get('cache-control')).toBe('public, max-age=300');
  expect(answer.headers.get('content-type')).toMatch(/^application\/json/);
  return ((await answer.json()) as { readonly keys: readonly Claims[] }).keys;
}

describe('external evaluation', () => {
  const configure = ({ host, evaluateUrl, keysUrl }: Pick<Evaluator, 'host' | 'evaluateUrl' | 'keysUrl'>): void => {
    write(
      'postern.yaml',
      `${IDENTITY}external_evaluation: { allow_hosts: ["${host}"] }\nlog: { level: trace, decisions: all }\n`,
    );
    const rule = `{ external_evaluation: { evaluate_url: "${evaluateUrl}", keys_url: "${keysUrl}" } }`;
    write(
      'policies/all.yaml',
      `applications: [{ id: ${ORDERS}, name: Orders, destinations: [orders.example.com], policies: [{ name: Evaluated, decision: allow, include: [${rule}] }] }]\n`,
    );
  };

  it('over https, with a key of its own that is published, kept over a restart, and stays published when replaced', async () => {
    const secure = selfSigned(folder);
    const evaluator = await startEvaluator(secure);
    evaluators.push(evaluator);
    evaluator.decide(({ email }) => email === 'ann@example.com');
    configure(evaluator);
    const environment = { NODE_EXTRA_CA_CERTS: join(folder, 'server.pem') };
    const first = await serve(environment);
    expect(await first.ask()).toMatchObject({ outcome: 'allow', policy: 'Evaluated' });
    const bob = { authorization: `Bearer ${annToken({ sub: 'bob', email: 'bob@example.com' })}` };
    expect(await first.ask({ headers: bob })).toMatchObject({ outcome: 'deny', reason: 'no_policy_matched' });
    expect(await first.ask({ headers: { authorization: '' } })).toMatchObject({ reason: 'not_authenticated' });
    expect(evaluator.asked).toHaveLength(2);
    const keys = await publishedKeys(first.admin);
    expect(keys).toEqual([
      { kid: expect.any(String), kty: 'RSA', n: expect.any(String), e: 'AQAB', alg: 'RS256', use: 'sig' },
    ]);
    for (const question of evaluator.asked) expect(isSignedBy(question, keys)).toBe(true);
    expect(statSync(join(folder, 'keys/evaluation.pem')).mode & 0o777).toBe(0o600);

    await killed(first.child);
    const second = await serve(environment);
    expect(await publishedKeys(second.admin)).toEqual(keys);

    const other = pairFor('RS256', 'replacement').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    write('keys/evaluation.pem', other);
    const both = await until(async () => {
      const now = await publishedKeys(second.admin);
      return now.length === 2 ? now : undefined;
    }, second.text);
    expect(both[0]).toEqual(keys[0]);
    expect(await second.ask()).toMatchObject({ outcome: 'allow' });
    expect(evaluator.asked.at(-1)?.header['kid']).toBe(both[1]?.['kid']);
  });

  it('that fails is 503, counted, and said in the log without a word of question or answer', async () => {
    const marker = 'S3cr3tMarker';
    const evaluator = await startEvaluator();
    evaluators.push(evaluator);
    evaluator.answer((question, response) =>
      sendJson(response, { token: answerToken(question, { claims: { nonce: marker, [marker]: marker } }) }),
    );
    configure({ ...evaluator, evaluateUrl: `${evaluator.evaluateUrl}&secret=${marker}` });
    const served = await serve();
    expect(await served.ask()).toMatchObject({ outcome: 'unavailable', reason: 'fact_unavailable' });
    await until(() => /an external evaluation failed/.exec(served.text())?.[0], served.text);
    expect(served.text()).toContain(`"host":"${evaluator.host}"`);
    expect(await metric(served.admin, /^postern_fact_errors_total\{fact="external_evaluation"\} 1$/m)).toBeDefined();
    expect(
      await metric(served.admin, /^postern_fact_duration_seconds_count\{fact="external_evaluation"\} 1$/m),
    ).toBeDefined();
    expect(
      await metric(served.admin, /^postern_cache_requests_total\{cache="external_evaluation",result="miss"\} 1$/m),
    ).toBeDefined();
    const [question] = evaluator.asked;
    served.child.kill('SIGTERM');
    served.child.kill('SIGTERM');
    await once(served.child, 'exit');
    expect(served.text()).not.toContain(marker);
    for (const part of question?.token.split('.') ?? ['']) expect(served.text()).not.toContain(part);
  });

  it('by the endpoint that the documentation shows', async () => {
    const page = readFileSync(`${ROOT}docs/external-evaluation.md`, 'utf8');
    const example = /```js\n([\s\S]+?)```/.exec(page)?.[1];
    write('endpoint.mjs', String(example));
    // The two know each other's ports, so that one of them is told beforehand.
    const free = await startEvaluator();
    const { host } = free;
    await free.close();
    configure({ host, evaluateUrl: `http://${host}/evaluate`, keysUrl: `http://${host}/keys` });
    const served = await serve();
    const endpoint = run([join(folder, 'endpoint.mjs')], {
      PORT: String(host.split(':')[1]),
      ON_CALL: 'ann@example.com,carl@example.com',
      POSTERN_KEYS: `http://${served.admin}/cdn-cgi/access/certs`,
    });
    await until(() => /listening on/.exec(endpoint.text())?.[0], endpoint.text);
    expect(await served.ask()).toMatchObject({ outcome: 'allow' });
    const bob = { authorization: `Bearer ${annToken({ sub: 'bob', email: 'bob@example.com' })}` };
    expect(await served.ask({ headers: bob })).toMatchObject({ outcome: 'deny', reason: 'no_policy_matched' });
    const forged = await fetch(`http://${host}/evaluate`, {
      method: 'POST',
      body: JSON.stringify({ token: answerToken({ token: '', header: {}, claims: {} }) }),
    });
    expect(forged.status).toBe(400);
  });
});

describe('risk engines', () => {
  const PASSWORD = 'S3cr3tPassword';
  const TOKEN = 'S3cr3tToken';

  it('score a payment: above the limit steps up, below does not; nothing secret is logged', async () => {
    const engine = await startEngineServer();
    engines.push(engine);
    engine.authenticate(({ body }, response) => {
      if (body['password'] === PASSWORD) sendAnswer(response, { token: TOKEN });
      else response.writeHead(401).end();
    });
    engine.riskscore(({ headers, body }, response) => {
      if (headers.authorization === TOKEN) sendAnswer(response, { riskScore: Number(body['amount']) / 10 });
      else response.writeHead(401).end();
    });
    write('postern.yaml', `${IDENTITY}log: { level: trace, decisions: all }\n`);
    write('keys/fraud.password', `${PASSWORD}\n`);
    const page = yamlOf('policies/payments.yaml');
    write(
      'policies/payments.yaml',
      page.replace('https://fraud.example.com/api', engine.url).replace('pay.example.com', 'orders.example.com'),
    );
    const served = await serve();
    const pay = (amount: number) =>
      served.ask({
        raw_body: Buffer.from(JSON.stringify({ payment: { amount } })),
        headers: { 'content-type': 'application/json' },
      });
    expect(await pay(640)).toMatchObject({ outcome: 'allow', risk_level: 'LOW', risk_score: 0 });
    expect(await pay(660)).toMatchObject({ outcome: 'step_up', risk_level: 'MEDIUM', risk_score: 50 });
    expect(await pay(1001)).toMatchObject({ outcome: 'deny', risk_level: 'HIGH', risk_score: 100 });
    expect(engine.of('authenticate')).toHaveLength(1);
    expect(engine.of('riskscore').map(({ body }) => body['amount'])).toEqual(['640', '660', '1001']);
    expect(await metric(served.admin, /^postern_fact_duration_seconds_count\{fact="risk_engine"\} 3$/m)).toBeDefined();
    expect(
      await metric(served.admin, /^postern_factor_verdicts_total\{factor="riskEngine",verdict="RISK"\} 2$/m),
    ).toBeDefined();

    write('keys/fraud.password', 'wrong\n');
    await until(() => /revision is live/.exec(served.text())?.[0], served.text);
    expect(await pay(10)).toMatchObject({ outcome: 'step_up', risk_level: 'MEDIUM' });
    await until(() => /a risk engine failed/.exec(served.text())?.[0], served.text);
    expect(served.text()).toContain('"engine":"Fraud","why":"expected status 200, found 401"');
    expect(await metric(served.admin, /^postern_fact_errors_total\{fact="risk_engine"\} 1$/m)).toBeDefined();
    served.child.kill('SIGTERM');
    served.child.kill('SIGTERM');
    await once(served.child, 'exit');
    for (const secret of [PASSWORD, TOKEN, 'wrong']) expect(served.text()).not.toContain(secret);
  });
});

it('what the documentation shows is accepted', async () => {
  write('postern.yaml', `${IDENTITY}${yamlOf('postern.yaml')}`);
  write('policies/orders.yaml', yamlOf('policies/orders.yaml'));
  write('policies/payments.yaml', yamlOf('policies/payments.yaml'));
  write('keys/fraud.password', 'x');
  const { child, text } = run([`${ROOT}dist/main.js`, 'validate', '--config', folder]);
  const [code] = (await once(child, 'exit')) as [number];
  expect({ code, text: code === 0 ? '' : text() }).toEqual({ code: 0, text: '' });
});

/** The block of the page that begins with this file's name. */
function yamlOf(name: string): string {
  const page = readFileSync(`${ROOT}docs/external-evaluation.md`, 'utf8');
  const block = [...page.matchAll(/```yaml\n([\s\S]+?)```/g)].map(([, text = '']) => text);
  const found = block.find((text) => text.startsWith(`# ${name}\n`));
  if (found === undefined) throw new Error(`the page shows no ${name}`);
  return found;
}
