/** `docs/admin-api.md` says what is so: everything that can be run on it is run, in order. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { TOKEN, newFolder, removeFolder, serve } from './cloudflare/served.ts';
import type { Served } from './cloudflare/served.ts';

// A busy machine takes its time.
vi.setConfig({ testTimeout: 120_000 });

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const PAGE = readFileSync(join(ROOT, 'docs/admin-api.md'), 'utf8');
/** Below the repository, where packages are found. */
const SCRATCH = join(ROOT, 'node_modules/.cache/admin-api-page');

let folder: string;
let served: Served;
beforeAll(async () => {
  folder = newFolder();
  mkdirSync(SCRATCH, { recursive: true });
  served = await serve(folder);
});
afterAll(async () => {
  await served?.kill();
  removeFolder(folder);
  rmSync(SCRATCH, { recursive: true, force: true });
});

function blocks(language: string): readonly string[] {
  return [...PAGE.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, 'gms'))].map(([, text = '']) => text);
}

function run(command: string, args: readonly string[]): string {
  const environment = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !name.startsWith('CLOUDFLARE_')),
  );
  const { status, stdout, stderr } = spawnSync(command, args, {
    cwd: SCRATCH,
    env: { ...environment, TOKEN, POSTERN: served.baseURL, PYTHONWARNINGS: 'ignore' },
    encoding: 'utf8',
  });
  expect(stderr).toBe('');
  expect(status).toBe(0);
  return stdout;
}

it('its commands', () => {
  const script = blocks('bash')
    .join('\n')
    .replace('TOKEN=$(openssl rand -hex 24)', `echo length: $(openssl rand -hex 24 | tr -d '\\n' | wc -c)`)
    .replace('127.0.0.1:9002', served.admin);
  expect(blocks('bash')).toHaveLength(3);
  const told = run('bash', ['-euo', 'pipefail', '-c', script]);
  expect(told).toContain('length: 48');
  expect(told).toMatch(/^[0-9a-f]{64}$/m);
  expect(told).toContain('"name": "Engineering"');
  expect(told).toContain('"ann@partner.example"');
  expect(told).toContain('cidr_invalid');
  expect(told).toContain('"/include/0/ip/ip"');
  expect(told).toMatch(/\{\n {2}"id": "[0-9a-f-]{36}"\n\}\n1\n1\n$/);
});

it('its program for npm', () => {
  const path = join(SCRATCH, 'page.mjs');
  writeFileSync(path, blocks('js')[0] ?? '');
  const told = run(process.execPath, [path]);
  expect(told).toContain(' Support\n');
  expect(told).toContain('400 /include/0/email/email\n');
});

it('its program for Python', () => {
  const told = run(join(ROOT, '.venv-cloudflare/bin/python'), ['-c', blocks('python')[0] ?? '']);
  expect(told).toMatch(/^[0-9a-f]{32}\.access 64$/m);
  expect(told).toMatch(/^deploy \d{4}-/m);
});

it('leaves nothing', () => {
  expect(spawnSync('find', [join(folder, 'policies/managed'), '-type', 'f'], { encoding: 'utf8' }).stdout).toBe('');
});
