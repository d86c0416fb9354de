/** docs/from-cloudflare.md, followed: its own commands, run by a shell with curl and jq, against a server that answers
 *  as Cloudflare's API does for an account of some thirty objects; then the program itself on what came of it. */
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkClient } from '../envoy/check-client.ts';
import { decodeResponse, encodeRequest, metadataOf } from '../envoy/official.ts';
import { startPostern } from '../../src/demo/parts.ts';
import type { Postern } from '../../src/demo/parts.ts';
import { needPrograms, postern, runShell, shellBlocks } from './shell.ts';
import type { Ran } from './shell.ts';

const ACCOUNT = '023e105f4ecef8ad9ca31a8372d0c353';
const TOKEN = 'token-of-the-test';
const SECRETS: Readonly<Record<string, string>> = {
  '88bf3b6d86161464f6509f7219099e57.access': 'secret of ci',
  '11bf3b6d86161464f6509f7219099e57.access': 'secret of the status checker',
};

type Envelope = { readonly result: readonly unknown[] };
const account = JSON.parse(readFileSync(join(import.meta.dirname, 'cloudflare/account.json'), 'utf8')) as Readonly<
  Record<string, Envelope>
>;

let work: string;
let api: string;
const asked: string[] = [];
const server = createServer((request, response) => {
  const path = (request.url ?? '').split('?')[0] ?? '';
  const name = path.replace(`/client/v4/accounts/${ACCOUNT}/`, '');
  const found = request.headers.authorization === `Bearer ${TOKEN}` ? account[name] : undefined;
  asked.push(name);
  response.writeHead(found ? 200 : 404, { 'content-type': 'application/json' });
  response.end(JSON.stringify(found ?? { success: false, result: null }));
});

beforeAll(async () => {
  needPrograms('curl', 'jq', 'bash');
  work = mkdtempSync(join(tmpdir(), 'postern-import-'));
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  api = `http://127.0.0.1:${(server.address() as AddressInfo).port}/client/v4`;
});

afterAll(() => {
  server.close();
  rmSync(work, { recursive: true, force: true });
});

/** The commands of the page, in order, without those that the reader fills in. */
function commands(): readonly string[] {
  const [settings = '', ...blocks] = shellBlocks('from-cloudflare.md');
  expect(settings).toContain('CLOUDFLARE_API_TOKEN=...');
  return [
    `export CLOUDFLARE_API=${api} CLOUDFLARE_ACCOUNT=${ACCOUNT} CLOUDFLARE_API_TOKEN=${TOKEN}`,
    settings.split('\n').find((line) => line.startsWith('get()')) ?? '',
    ...blocks.slice(0, 3),
  ];
}

const validate = (): Ran => postern('validate', '--config', join(work, 'config'));

/** In the order of the page. */
describe.sequential('an account of Cloudflare', () => {
  let served: Postern | undefined;

  afterAll(async () => {
    await served?.stop();
  });

  it('is copied by the commands of the page', async () => {
    await runShell(work, commands());
    const objects = Object.values(account).reduce((sum, { result }) => sum + result.length, 0);
    expect(objects).toBeGreaterThanOrEqual(30);
    // Items of lists that take part in rules are fetched, of others they are not.
    const itemsOf = (type: string): string[] =>
      ((account['gateway/lists']?.result ?? []) as { id: string; type: string }[])
        .filter((list) => list.type === type)
        .map(({ id }) => `gateway/lists/${id}/items`);
    expect(asked).toEqual(expect.arrayContaining([...itemsOf('EMAIL'), ...itemsOf('IP')]));
    for (const path of itemsOf('DOMAIN')) expect(asked).not.toContain(path);
  });

  it('does not load before the secrets are in, and says so of each token alone', () => {
    const { status, text } = validate();
    expect(status).toBe(1);
    expect(text.match(/ [a-z]+_[a-z]+: /g)).toEqual([' digest_invalid: ', ' digest_invalid: ']);
  });

  it('loads once they are', () => {
    const file = join(work, 'config/policies/service_tokens.json');
    const tokens = JSON.parse(readFileSync(file, 'utf8')) as {
      service_tokens: { client_id: string; client_secret_sha256: string }[];
    };
    for (const token of tokens.service_tokens) {
      token.client_secret_sha256 = createHash('sha256')
        .update(SECRETS[token.client_id] ?? '')
        .digest('hex');
    }
    writeFileSync(file, JSON.stringify(tokens));
    const { status, text } = validate();
    expect(text).toContain('7 applications, 6 groups');
    expect(text.match(/warning \w+/g)?.toSorted()).toEqual([
      'warning application_open',
      'warning source_missing',
      'warning unused',
    ]);
    expect(status).toBe(0);
  });

  it.each([
    [
      'a machine with its secret',
      'builds.example.com',
      '/',
      { id: '88bf3b6d86161464f6509f7219099e57.access' },
      'allow',
    ],
    [
      'a machine with another one',
      'builds.example.com',
      '/',
      { id: '11bf3b6d86161464f6509f7219099e57.access' },
      'deny',
    ],
    ['health checks', 'orders.example.com', '/healthz', undefined, 'allow'],
    ['nobody at orders', 'orders.example.com', '/', undefined, 'unauthenticated'],
    ['nobody at a wildcard', 'nightly.builds.example.com', '/artifacts/1', undefined, 'unauthenticated'],
    ['an unknown host', 'elsewhere.example.com', '/', undefined, 'deny'],
  ] as const)('decides: %s', async (_, host, path, machine, outcome) => {
    served ??= await startPostern(join(work, 'config'));
    const client = checkClient(served.check);
    const headers: Record<string, string> = machine
      ? { 'cf-access-client-id': machine.id, 'cf-access-client-secret': SECRETS[machine.id] ?? '' }
      : {};
    const answer = await client.check(
      encodeRequest({ attributes: { request: { http: { method: 'GET', host, path, headers } } } }),
    );
    client.close();
    expect(metadataOf(decodeResponse(answer))).toMatchObject({ outcome });
  });
});

/** What a sidecar cannot do is said by name, never left out. */
describe('an account with what a sidecar cannot do', () => {
  const BROKEN: readonly (readonly [string, string, (objects: Record<string, unknown>[]) => void])[] = [
    ['approval_unsupported', 'policies', ([policy]) => Object.assign(policy ?? {}, { approval_required: true })],
    ['isolation_unsupported', 'policies', ([policy]) => Object.assign(policy ?? {}, { isolation_required: true })],
    [
      'purpose_justification_unsupported',
      'policies',
      ([policy]) => Object.assign(policy ?? {}, { purpose_justification_required: true }),
    ],
    [
      'mfa_unsupported',
      'policies',
      ([policy]) => Object.assign(policy ?? {}, { mfa_config: { allowed_authenticators: ['totp'] } }),
    ],
    ['application_type_unsupported', 'applications', ([one]) => Object.assign(one ?? {}, { type: 'ssh' })],
    [
      'destination_unsupported',
      'applications',
      ([one]) => Object.assign(one ?? {}, { destinations: [{ type: 'private', cidr: '10.0.0.0/8' }] }),
    ],
  ];

  it.each(BROKEN)('%s', (code, kind, change) => {
    const file = join(work, `config/policies/${kind}.json`);
    const before = readFileSync(file, 'utf8');
    const read = JSON.parse(before) as Record<string, Record<string, unknown>[]>;
    change(read[kind] ?? []);
    try {
      writeFileSync(file, JSON.stringify(read, null, 2));
      const { status, text } = validate();
      expect(status).toBe(1);
      expect(text).toMatch(new RegExp(`^policies/${kind}\\.json:\\d+:\\d+ ${code}: .*\\n  mend: .+`, 'm'));
    } finally {
      writeFileSync(file, before);
    }
  });
});
