/** The program itself, over its contract: started, asked, changed under load, stopped. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { createKeySets } from '../src/facts/key-set.ts';
import { decide, noApplication } from '../src/policy/engine.ts';
import { decodeFacts } from '../src/policy/replay.ts';
import { createLoader } from '../src/revision.ts';
import { checkClient } from './envoy/check-client.ts';
import type { CheckClient } from './envoy/check-client.ts';
import { decodeResponse, encodeRequest, metadataOf } from './envoy/official.ts';

const MAIN = fileURLToPath(new URL('../dist/main.js', import.meta.url));
const APPLICATION = '9a4b2f0e-3f55-4a57-9b0e-000000000001';
const GROUP = '8f1c0000-0000-4000-8000-000000000001';

const children: ChildProcess[] = [];
const folders: string[] = [];

afterEach(async () => {
  for (const child of children.splice(0)) {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
  }
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

interface Served {
  readonly child: ChildProcess;
  readonly client: CheckClient;
  readonly admin: string;
  /** Everything written so far. */
  text(): string;
}

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'postern-serve-'));
  folders.push(folder);
  mkdirSync(join(folder, 'policies'));
  return folder;
}

function run(
  args: readonly string[],
  environment: Record<string, string> = {},
): { child: ChildProcess; text: () => string } {
  const child = spawn(process.execPath, [MAIN, ...args], {
    env: { ...process.env, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.push(child);
  let text = '';
  child.stdout?.on('data', (chunk: Buffer) => (text += chunk.toString()));
  child.stderr?.on('data', (chunk: Buffer) => (text += chunk.toString()));
  return { child, text: () => text };
}

async function serve(folder: string, ...more: string[]): Promise<Served> {
  const { child, text } = run([
    'serve',
    '--config',
    folder,
    '--set',
    'listen.check=127.0.0.1:0',
    '--set',
    'listen.admin=127.0.0.1:0',
    ...more,
  ]);
  const ready = await until(() => /^\{.*"msg":"ready".*\}$/m.exec(text())?.[0], text);
  const { check, admin } = JSON.parse(ready) as { check: string; admin: string };
  return { child, client: checkClient(check), admin, text };
}

async function until<T>(read: () => T | undefined, text: () => string, limitMs = 30_000): Promise<T> {
  const end = Date.now() + limitMs;
  for (;;) {
    const value = read();
    if (value !== undefined) return value;
    if (Date.now() > end) throw new Error(`not in time; the program wrote:\n${text()}`);
    await sleep(10);
  }
}

function request(address: string, headers: Record<string, string> = {}, path = '/'): Uint8Array {
  return encodeRequest({
    attributes: {
      source: { address: { socket_address: { address, port_value: 51000 } } },
      request: { http: { method: 'GET', host: 'orders.example.com', path, headers } },
    },
  });
}

/** Revision `n` of a set in which policy and group belong together: only 10.0.n.0 enters, by the policy p-n. */
function application(n: number): string {
  return `applications: [{ id: ${APPLICATION}, name: Orders, destinations: [orders.example.com], policies: [{ name: p-${n}, decision: bypass, include: [{ group: { id: ${GROUP} } }] }] }]\n`;
}

function group(n: number): string {
  return `groups: [{ id: ${GROUP}, name: Office, include: [{ ip: { ip: 10.0.${n}.0 } }] }]\n`;
}

/** Three ways in which files change, from the least to the most careful. */
const STYLES: Readonly<Record<string, (folder: string) => (n: number) => void>> = {
  'plain edits': (folder) => (n) => writeFileSync(join(folder, 'policies/all.yaml'), application(n) + group(n)),
  'atomic renames': (folder) => (n) => {
    writeFileSync(join(folder, 'policies/.all.yaml.tmp'), application(n) + group(n));
    renameSync(join(folder, 'policies/.all.yaml.tmp'), join(folder, 'policies/all.yaml'));
  },
  'swaps of a Kubernetes volume': (folder) => {
    const volume = join(folder, 'policies');
    let before = '';
    return (n) => {
      const version = `..2026_03_04_${n}`;
      mkdirSync(join(volume, version));
      writeFileSync(join(volume, version, 'applications.yaml'), application(n));
      writeFileSync(join(volume, version, 'groups.yaml'), group(n));
      symlinkSync(version, join(volume, '..data_tmp'));
      renameSync(join(volume, '..data_tmp'), join(volume, '..data'));
      if (before === '')
        for (const name of ['applications.yaml', 'groups.yaml']) symlinkSync(`..data/${name}`, join(volume, name));
      else rmSync(join(volume, before), { recursive: true });
      before = version;
    };
  },
};

const REVISIONS = 67;

describe('a policy set that changes under load', () => {
  it.each(Object.entries(STYLES))(
    '%s: no answer mixes two revisions, none is lost, and each becomes live',
    async (_, style) => {
      const folder = newFolder();
      writeFileSync(join(folder, 'postern.yaml'), 'log: { decisions: none }\n');
      const write = style(folder);
      write(0);
      const { client, text, child } = await serve(folder);
      const answers = { asked: 0, mixed: [] as string[] };
      let current = 0;
      const signal = { isOver: false };
      const load = async (): Promise<void> => {
        while (!signal.isOver) {
          const n = Math.max(0, current - (answers.asked % 3) + 1);
          answers.asked += 1;
          const answer = decodeResponse(await client.check(request(`10.0.${n}.0`)));
          const metadata = metadataOf(answer);
          if (
            metadata['outcome'] === 'allow'
              ? metadata['policy'] !== `p-${n}`
              : metadata['reason'] !== 'no_policy_matched'
          ) {
            answers.mixed.push(`10.0.${n}.0: ${JSON.stringify(metadata)}`);
          }
        }
      };
      const loads = Promise.all([load(), load(), load(), load()]);
      // A failure below must not hide behind the loads that it leaves without a server.
      loads.catch(() => undefined);
      for (current = 1; current <= REVISIONS; current += 1) {
        const n = current;
        write(n);
        const wrote = Date.now();
        for (;;) {
          const metadata = metadataOf(decodeResponse(await client.check(request(`10.0.${n}.0`))));
          if (metadata['outcome'] === 'allow') break;
          if (Date.now() - wrote > 5_000) throw new Error(`revision ${n} never became live:\n${text()}`);
          await sleep(5);
        }
      }
      signal.isOver = true;
      await loads;
      client.close();
      expect(answers.mixed).toEqual([]);
      expect(answers.asked).toBeGreaterThan(REVISIONS);
      expect(child.exitCode).toBeNull();
    },
    120_000,
  );

  it('is warned of what hardly means what it says, once', async () => {
    const folder = newFolder();
    const file = join(folder, 'policies/all.yaml');
    const open = application(0).replace('{ group: { id: ' + GROUP + ' } }', '{ everyone: {} }');
    writeFileSync(file, open);
    writeFileSync(join(folder, 'postern.yaml'), 'log: { decisions: none }\n');
    const { text } = await serve(folder);
    const warnings = (): string[] =>
      [...text().matchAll(/^\{"level":"warn".*"code":"(\w+)".*"msg":"configuration"/gm)].map(([, code]) => code ?? '');
    await until(() => (warnings().length > 0 ? true : undefined), text);
    expect(warnings()).toEqual(['application_open']);
    writeFileSync(file, open + group(1));
    await until(() => (warnings().length > 1 ? true : undefined), text);
    expect(warnings()).toEqual(['application_open', 'unused']);
  });

  it('keeps what runs when a change has a fault, says so in log and metrics, and recovers', async () => {
    const folder = newFolder();
    const file = join(folder, 'policies/all.yaml');
    writeFileSync(file, application(1) + group(1));
    const { client, admin, text } = await serve(folder);
    writeFileSync(file, application(2).replace(GROUP, 'Offise') + group(2));
    await until(() => /group_unknown/.exec(text())?.[0], text);
    expect(text()).toContain('policies/all.yaml:1:');
    expect(metadataOf(decodeResponse(await client.check(request('10.0.1.0'))))).toMatchObject({
      outcome: 'allow',
      policy: 'p-1',
    });
    const metrics = await (await fetch(`http://${admin}/metrics`)).text();
    expect(metrics).toMatch(/^postern_config_last_reload_successful 0$/m);
    expect(metrics).toMatch(/^postern_config_reloads_total\{result="failure"\} 1$/m);
    expect((await fetch(`http://${admin}/readyz`)).status).toBe(200);
    writeFileSync(file, application(3) + group(3));
    await until(() => /revision is live/.exec(text())?.[0], text);
    expect(metadataOf(decodeResponse(await client.check(request('10.0.3.0'))))).toMatchObject({
      outcome: 'allow',
      policy: 'p-3',
    });
    client.close();
  });
});

describe('what the log never holds', () => {
  it('is a secret of any kind', async () => {
    const marker = 'S3cr3tMarker';
    const folder = newFolder();
    writeFileSync(
      join(folder, 'postern.yaml'),
      'log: { level: trace, decisions: all, requests: replay }\nservice_tokens_header: authorization\nidentity: { tokens: [{ issuer: "https://idp.example", audiences: [a], keys: { file: jwks.json }, from: [{ header: x-token }, { cookie: session }, { bearer: authorization }] }] }\n',
    );
    writeFileSync(
      join(folder, 'jwks.json'),
      JSON.stringify({
        keys: [
          {
            kty: 'EC',
            crv: 'P-256',
            kid: 'k',
            x: 'f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU',
            y: 'x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0',
          },
        ],
      }),
    );
    const decision = (name: string, kind: string): string =>
      `{ name: ${name}, decision: ${kind}, include: [{ email_domain: { domain: example.com } }] }`;
    writeFileSync(
      join(folder, 'policies/all.yaml'),
      `applications: [{ id: ${APPLICATION}, name: Orders, destinations: [orders.example.com], acr_hint_header: x-acr, policies: [${decision('A', 'allow')}, { name: S, decision: non_identity, include: [{ any_valid_service_token: {} }] }] }]\n`,
    );
    const { client, text, child } = await serve(folder);
    const places: readonly [Record<string, string>, string][] = [
      [{ 'x-token': `eyJ${marker}.eyJ${marker}.${marker}` }, '/'],
      [{ cookie: `session=${marker}; other=${marker}` }, '/'],
      [{ authorization: `Bearer ${marker}` }, '/'],
      [{ authorization: `Basic ${marker}` }, '/'],
      [
        { authorization: JSON.stringify({ 'cf-access-client-id': 'x.access', 'cf-access-client-secret': marker }) },
        '/',
      ],
      [{ 'cf-access-client-id': 'x.access', 'cf-access-client-secret': marker }, '/'],
      [{}, `/?token=${marker}`],
      [{}, `/eyJ${marker}.eyJ${marker}.${marker}`],
      [{ 'x-acr': `eyJ${marker}.eyJ${marker}.${marker}` }, '/'],
    ];
    for (const [headers, path] of places) await client.check(request('10.0.0.1', headers, path));
    await until(() => (text().match(/"msg":"decision"/g)?.length === places.length ? true : undefined), text);
    child.kill('SIGTERM');
    child.kill('SIGTERM');
    await once(child, 'exit');
    expect(text()).not.toContain(marker);
    expect(text().match(/"replay":\{/g)).toHaveLength(places.length);
    client.close();
  });
});

describe('policies that are only tried', () => {
  it('change with the set, show where they differ, and answer nobody', async () => {
    const folder = newFolder();
    mkdirSync(join(folder, 'policies-next'));
    const next = join(folder, 'policies-next/all.yaml');
    writeFileSync(join(folder, 'postern.yaml'), 'shadow: policies-next\n');
    writeFileSync(join(folder, 'policies/all.yaml'), application(1) + group(1));
    writeFileSync(next, (application(2) + group(2)).replace('include', 'inclde'));
    const { client, admin, text } = await serve(folder);
    await until(() => /shadow policies have faults/.exec(text())?.[0], text);
    expect(text()).toContain('policies-next/all.yaml:1:');
    const metrics = async (): Promise<string> => (await fetch(`http://${admin}/metrics`)).text();
    expect(await metrics()).toMatch(/^postern_shadow_last_load_successful 0$/m);
    expect(await metrics()).toMatch(/^postern_config_last_reload_successful 1$/m);
    writeFileSync(next, application(2) + group(2));
    await until(() => /revision is live/.exec(text())?.[0], text);
    expect(metadataOf(decodeResponse(await client.check(request('10.0.1.0'))))).toMatchObject({
      outcome: 'allow',
      policy: 'p-1',
    });
    expect(metadataOf(decodeResponse(await client.check(request('10.0.2.0'))))).toMatchObject({ outcome: 'deny' });
    await until(() => /"shadow_outcome":"allow"/.exec(text())?.[0], text);
    expect(await metrics()).toMatch(
      /^postern_shadow_decisions_total\{application="Orders",real="allow",shadow="deny"\} 1$/m,
    );
    expect(await metrics()).toMatch(
      /^postern_shadow_decisions_total\{application="Orders",real="deny",shadow="allow"\} 1$/m,
    );
    expect(await metrics()).toMatch(/^postern_shadow_last_load_successful 1$/m);
    client.close();
  });

  it('are validated too, and only a strict validation fails for them', async () => {
    const folder = newFolder();
    mkdirSync(join(folder, 'next'));
    writeFileSync(join(folder, 'postern.yaml'), 'shadow: next\n');
    writeFileSync(join(folder, 'policies/all.yaml'), application(1) + group(1));
    writeFileSync(join(folder, 'next/all.yaml'), 'applicatons: []\n');
    for (const [strict, code] of [
      [[], 0],
      [['--strict'], 1],
    ] as const) {
      const { child, text } = run(['validate', '-c', folder, ...strict]);
      expect((await once(child, 'exit'))[0]).toBe(code);
      await until(() => /in the shadow policies, which would not be tried, 1 fault/.exec(text())?.[0], text);
      expect(text()).toMatch(/^next\/all\.yaml:1:1 key_unknown: /m);
    }
  });
});

describe('the decision log', () => {
  it('goes to the file that the settings name, from one revision to the next', async () => {
    const folder = newFolder();
    const logs = mkdtempSync(join(tmpdir(), 'postern-logs-'));
    folders.push(logs);
    const settings = (file: string): void =>
      writeFileSync(join(folder, 'postern.yaml'), `log: { decisions: all, ${file} }\n`);
    settings(`file: { path: ${logs}/a.log }`);
    writeFileSync(join(folder, 'policies/all.yaml'), application(1) + group(1));
    const { client, text } = await serve(folder);
    const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
    await client.check(request('10.0.1.0', { traceparent }));
    const line = (name: string): Promise<object> =>
      until(() => {
        const written = existsSync(join(logs, name)) ? readFileSync(join(logs, name), 'utf8') : '';
        return written.endsWith('\n') ? (JSON.parse(written) as object) : undefined;
      }, text);
    expect(await line('a.log')).toMatchObject({
      outcome: 'allow',
      trace_id: '4bf92f3577b34da6a3ce929d0e0e4736',
      span_id: '00f067aa0ba902b7',
    });
    settings(`file: { path: ${logs}/b.log }`);
    await until(() => /revision is live/.exec(text())?.[0], text);
    await until(() => (existsSync(join(logs, 'b.log')) ? true : undefined), text);
    await client.check(request('10.0.2.0'));
    expect(await line('b.log')).toMatchObject({ outcome: 'deny' });
    settings(`file: { path: ${logs}/missing/c.log }`);
    await until(() => /log\.file cannot be opened/.exec(text())?.[0], text);
    await client.check(request('10.0.2.0'));
    await until(() => (readFileSync(join(logs, 'b.log'), 'utf8').split('\n').length === 3 ? true : undefined), text);
    expect(text()).not.toContain('"msg":"decision"');
    client.close();
  });

  it('holds what each decision was made of: made again of that, it is the same', async () => {
    const folder = newFolder();
    const asked: readonly [string, Record<string, string>, string][] = ['10.0.1.0', '10.0.2.0', '203.0.113.7'].flatMap(
      (address) =>
        [
          {},
          { 'x-country': 'CA' },
          { 'x-country': 'US' },
          { 'x-forwarded-email': 'ann@example.com', 'x-country': 'CA' },
        ]
          .flatMap((headers) => ['/', '/admin/x', '/nowhere%2f'].map((path) => [address, headers, path] as const))
          .map(([from, headers, path]): [string, Record<string, string>, string] => [from, { ...headers }, path]),
    );
    writeFileSync(
      join(folder, 'postern.yaml'),
      'log: { decisions: all, requests: replay }\ngeo: { headers: { country: x-country } }\nidentity: { headers: { enabled: true } }\n',
    );
    writeFileSync(
      join(folder, 'policies/all.yaml'),
      `applications:
  - { id: ${APPLICATION}, name: Orders, destinations: [orders.example.com], policies: [{ name: B, decision: bypass, include: [{ ip: { ip: 10.0.1.0/24 } }] }] }
  - id: 9a4b2f0e-3f55-4a57-9b0e-000000000002
    name: Admin
    destinations: [orders.example.com/admin]
    policies:
      - { name: A, decision: allow, include: [{ email: { email: ann@example.com } }], require: [{ geo: { country_code: CA } }], exclude: [{ ip: { ip: 10.0.2.0 } }] }
`,
    );
    const { client, text } = await serve(folder);
    for (const [address, headers, path] of asked) await client.check(request(address, headers, path));
    const lines = await until(() => {
      const found = text().match(/^\{.*"msg":"decision".*\}$/gm) ?? [];
      return found.length === asked.length ? found : undefined;
    }, text);
    client.close();
    const { revision } = await createLoader({
      folder,
      overrides: [],
      keySets: createKeySets(),
      makesKeys: false,
    }).load();
    const outcomes = new Map<string, number>();
    for (const line of lines) {
      const logged = JSON.parse(line) as { outcome: string; reason: string; why: string; replay?: unknown };
      outcomes.set(logged.reason, (outcomes.get(logged.reason) ?? 0) + 1);
      if (logged.replay === undefined) {
        expect(logged.outcome).toBe('bad_request');
        continue;
      }
      const decoded = decodeFacts(logged.replay);
      if ('wrong' in decoded) throw new Error(decoded.wrong);
      const { context } = decoded;
      const found = revision?.compiled.destinations.find(context.request.host, context.request.path)?.target;
      const { outcome, reason, why } = found ? decide(found, context) : noApplication();
      expect({ outcome, reason, why }).toEqual({ outcome: logged.outcome, reason: logged.reason, why: logged.why });
    }
    expect([...outcomes.keys()].toSorted()).toEqual([
      'no_policy_matched',
      'not_authenticated',
      'policy_allowed',
      'policy_bypassed',
      'request_ambiguous',
    ]);
  });

  it.each<[string, (folder: string) => string]>([
    ['by its name', () => 'decisions.log'],
    ['from outside', (folder) => `../${basename(folder)}/x.log`],
    ['absolutely', (folder) => `${folder}/logs/x.log`],
  ])('is not written into the folder that is watched, named %s', async (_, path) => {
    const folder = newFolder();
    writeFileSync(join(folder, 'postern.yaml'), `log: { file: { path: ${path(folder)} } }\n`);
    const { text } = run(['validate', '-c', folder]);
    await until(() => /1 fault/.exec(text())?.[0], text);
    expect(text()).toMatch(/^postern\.yaml:1:\d+ path_invalid: expected a file outside the config folder/m);
  });
});

describe('what keeps it from starting is one clear line, and exit 1', () => {
  const outcome = async (args: readonly string[], environment: Record<string, string> = {}) => {
    const { child, text } = run(args, environment);
    const [code] = (await once(child, 'exit')) as [number];
    await sleep(20);
    return { code, text: text() };
  };

  it('a taken port', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const { port } = taken.address() as AddressInfo;
    const { code, text } = await outcome([
      'serve',
      '-c',
      newFolder(),
      '--set',
      `listen.check=127.0.0.1:${port}`,
      '--set',
      'listen.admin=127.0.0.1:0',
    ]);
    expect({ code, text }).toEqual({
      code: 1,
      text: `postern serve: check port 127.0.0.1:${port} is taken; stop the program that has it or set listen.check\n`,
    });
    taken.close();
  });

  it('a folder that is not there', async () => {
    const { code, text } = await outcome(['serve', '-c', '/nonexistent/config']);
    expect(code).toBe(1);
    expect(text).toContain('/nonexistent/config');
    expect(text).toContain('mend: ');
  });

  it('a missing key file', async () => {
    const folder = newFolder();
    writeFileSync(
      join(folder, 'postern.yaml'),
      'identity: { tokens: [{ issuer: "https://idp.example", audiences: [a], keys: { file: keys/none.json }, from: [{ bearer: authorization }] }] }\n',
    );
    const { code, text } = await outcome(['serve', '-c', folder]);
    expect(code).toBe(1);
    expect(text).toMatch(/^postern\.yaml:1:\d+ \w+: .*keys\/none\.json/m);
  });

  it.each([
    [['serve', '--confg', 'x'], 'Type: postern serve --help'],
    [['sreve'], 'Type: postern --help'],
    [['serve', '--set', 'listen.chekc=127.0.0.1:0'], 'listen.check'],
  ])('%j', async (args, said) => {
    const { code, text } = await outcome(args);
    expect(code).toBe(1);
    expect(text).toContain(said);
  });

  it('a variable of the environment that is no setting', async () => {
    const { code, text } = await outcome(['validate', '-c', newFolder()], { POSTERN_LISTEN_CHEKC: 'x' });
    expect(code).toBe(1);
    expect(text).toContain('POSTERN_LISTEN_CHECK');
  });
});

it('a signal that comes before it is ready ends it in order, as the first process of a container too', async () => {
  const folder = newFolder();
  const many = Array.from(
    { length: 20_000 },
    (_, n) =>
      `  - { id: 9a4b2f0e-3f55-4a57-9b0e-${String(n).padStart(12, '0')}, name: g-${n}, include: [{ ip: { ip: 10.0.0.0/8 } }] }`,
  );
  writeFileSync(join(folder, 'policies/many.yaml'), `groups:\n${many.join('\n')}\n`);
  // Nothing is printed so early: Node tells when the program has begun to listen for the signal.
  const hook = `process.on('newListener', (name) => name === 'SIGTERM' && process.nextTick(() => console.error('listens')))`;
  const { child, text } = run(
    ['serve', '--config', folder, '--set', 'listen.check=127.0.0.1:0', '--set', 'listen.admin=127.0.0.1:0'],
    { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(hook)}` },
  );
  await until(() => (text() === '' ? undefined : true), text);
  child.kill('SIGTERM');
  const [code, signal] = (await once(child, 'exit')) as [number | null, string | null];
  expect({ code, signal, text: text() }).toEqual({ code: 0, signal: null, text: 'listens\n' });
});

it('drains on a signal and leaves at once on a second', async () => {
  const folder = newFolder();
  const { child, admin, client } = await serve(folder);
  child.kill('SIGTERM');
  await sleep(300);
  expect((await fetch(`http://${admin}/readyz`)).status).toBe(503);
  expect((await client.check(request('10.0.0.1'))).length).toBeGreaterThan(0);
  child.kill('SIGTERM');
  const [code] = (await once(child, 'exit')) as [number];
  expect(code).toBe(0);
  client.close();
});
