/** docs/from-entrust.md, followed: its own commands against a server that answers as Entrust's administration API does. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { needPrograms, postern, runShell, shellBlocks } from './shell.ts';

const APPLICATION = '4f3d7e0e-6d1f-4f4e-9a53-0f2f2a1a7c55';
const SECRET = 'shared secret of the test';

const account = JSON.parse(readFileSync(join(import.meta.dirname, 'entrust/account.json'), 'utf8')) as {
  readonly 'v1/adminapi/authenticate': { readonly authToken: string };
  readonly 'v2/resourcerules': readonly { readonly id: string; readonly name: string }[];
};

const authenticated = account['v1/adminapi/authenticate'];
const server = createServer((request, response) => {
  const answer = async (): Promise<object | undefined> => {
    if (request.url === '/api/web/v1/adminapi/authenticate' && request.method === 'POST') {
      const credentials = JSON.parse(await text(request)) as unknown;
      return JSON.stringify(credentials) === JSON.stringify({ applicationId: APPLICATION, sharedSecret: SECRET })
        ? authenticated
        : undefined;
    }
    const isKnown = request.headers.authorization === authenticated.authToken;
    return isKnown && request.url === '/api/web/v2/resourcerules' ? account['v2/resourcerules'] : undefined;
  };
  const respond = async (): Promise<void> => {
    const body = await answer();
    response.writeHead(body ? 200 : 401, { 'content-type': 'application/json' });
    response.end(JSON.stringify(body ?? { errorCode: 'access_denied' }));
  };
  respond().catch((error: unknown) => response.destroy(error instanceof Error ? error : undefined));
});

let work: string;

beforeAll(async () => {
  needPrograms('curl', 'jq', 'bash');
  work = mkdtempSync(join(tmpdir(), 'postern-entrust-'));
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
});

afterAll(() => {
  server.close();
  rmSync(work, { recursive: true, force: true });
});

describe.sequential('an account of Entrust', () => {
  it('is copied by the commands of the page', async () => {
    const [settings = '', ...blocks] = shellBlocks('from-entrust.md');
    expect(settings).toContain('ENTRUST_SECRET=...');
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const filled = `export ENTRUST=${url} ENTRUST_APPLICATION=${APPLICATION} ENTRUST_SECRET='${SECRET}'`;
    await runShell(work, [filled, ...blocks.slice(0, 3)]);
    const read = JSON.parse(readFileSync(join(work, 'config/policies/resource_rules.json'), 'utf8')) as unknown;
    expect(read).toEqual({ resource_rules: account['v2/resourcerules'] });
  });

  it('says what is still to be filled in, and nothing of the rules', () => {
    const { status, text: printed } = postern('validate', '--config', join(work, 'config'));
    expect(status).toBe(1);
    const codes = [...printed.matchAll(/^(policies\/\S+?):\S+ (\w+):/gm)].map(([, file, code]) => `${file} ${code}`);
    expect(codes.toSorted()).toEqual([
      'policies/applications.yaml key_missing',
      'policies/applications.yaml key_missing',
      'policies/groups.yaml include_empty',
    ]);
  });

  it('loads once that is done, every rule of it', () => {
    const fill = (name: string, change: (text: string) => string): void => {
      const file = join(work, 'config/policies', name);
      writeFileSync(file, change(readFileSync(file, 'utf8')));
    };
    let host = 0;
    fill('applications.yaml', (before) =>
      before
        .replaceAll('destinations: []', () => `destinations: [app-${(host += 1)}.example.com]`)
        .replaceAll('policies: []', 'policies: [{ name: Staff, decision: allow, include: [{ everyone: {} }] }]'),
    );
    fill('groups.yaml', (before) =>
      before.replace('include: []', 'include: [{ email_domain: { domain: example.com } }]'),
    );
    const { status, text: printed } = postern('validate', '--config', join(work, 'config'));
    expect(printed).not.toMatch(/^\S+:\d+:\d+ (?!warning)/m);
    expect(printed).toContain('2 applications, 1 groups, 4 resource rules');
    expect(status).toBe(0);
  });
});
