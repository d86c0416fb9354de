import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { diff } from '../../src/cli/diff.ts';
import { openRevisionFolder } from '../../src/cli/revision-folder.ts';
import { printable } from '../../src/cli/printable.ts';
import { folderWith, POLICIES, removeFolders, SETTINGS } from './folders.ts';
import { run } from './terminal.ts';

afterEach(() => {
  vi.unstubAllEnvs();
  removeFolders();
});

const CASES = `- name: ann is let in from Canada
  request: { host: orders.example.com, client_ip: 203.0.113.7, country: CA, time: 2026-03-04T15:00:00Z }
  identity: { email: ann@example.com, amr: [pwd] }
  expect: { outcome: allow }
- name: ann is not let in from France
  request: { host: orders.example.com, client_ip: 203.0.113.7, country: FR, time: 2026-03-04T15:00:00Z }
  identity: { email: ann@example.com, amr: [pwd] }
  expect: { outcome: deny }
`;

const FILES = { 'postern.yaml': SETTINGS, 'policies/orders.yaml': POLICIES, 'tests/orders.yaml': CASES };

function steady(text: string): string {
  return text.replaceAll(/revision [0-9a-f]{12}/g, 'revision R').replaceAll(/\/\S*postern-cases-\w+/g, 'FOLDER');
}

function repository(files: Readonly<Record<string, string>>): string {
  const folder = folderWith(files);
  git(folder, 'init', '-q', '-b', 'main');
  commit(folder, 'first');
  return folder;
}

function git(folder: string, ...args: readonly string[]): void {
  execFileSync('git', ['-C', folder, '-c', 'user.name=t', '-c', 'user.email=t@example.com', ...args], {
    stdio: 'pipe',
  });
}

function commit(folder: string, message: string): void {
  git(folder, 'add', '-A');
  git(folder, 'commit', '-q', '-m', message);
}

describe('postern diff', () => {
  it('says that nothing differs', async () => {
    const { code, out, error } = await run(diff, [folderWith(FILES), folderWith(FILES)]);
    expect({ code, error }).toEqual({ code: 0, error: '' });
    expect(steady(out)).toBe(
      'FOLDER, revision R → FOLDER, revision R\n\nthe two sets say the same\n\ncases: all 2 come out as before\n',
    );
  });

  it('says what differs, which cases come out otherwise, and exits 3 where a denial is gone', async () => {
    const after = folderWith({
      ...FILES,
      'postern.yaml': SETTINGS.replace('cf-ipcountry', 'x-country'),
      'policies/orders.yaml': POLICIES.replace('country_code: CA', 'country_code: FR'),
    });
    const { code, out } = await run(diff, [folderWith(FILES), after]);
    expect(code).toBe(3);
    expect(steady(out)).toBe(`FOLDER, revision R → FOLDER, revision R

settings
  geo.headers.country: cf-ipcountry → x-country

applications
  ~ Orders  policies/orders.yaml:2:5
      policy Engineers: require: + geo country_code: FR
      policy Engineers: require: − geo country_code: CA

cases that come out otherwise (2 of 2)
  tests/orders.yaml:1:3 ann is let in from Canada
      allow, policy_allowed by Engineers → deny, no_policy_matched
      now by policies/orders.yaml:18:9 policy Robots
      now by policies/orders.yaml:21:13 rule service_token token_id: 3537a672-e4d8-4d89-aab9-26cb622918a1
      now by policies/orders.yaml:11:9 policy Engineers
      now by policies/orders.yaml:17:13 rule geo country_code: FR
  tests/orders.yaml:5:3 ann is not let in from France
      denied becomes allowed: deny, no_policy_matched → allow, policy_allowed by Engineers
      now by policies/orders.yaml:11:9 policy Engineers
      now by policies/orders.yaml:14:13 rule email_domain domain: example.com

something that was denied becomes allowed; --accept says that it is meant to
`);
    expect((await run(diff, [folderWith(FILES), after, '--accept'])).code).toBe(0);
  });

  it('runs cases that the change takes away, too', async () => {
    const after = folderWith({
      ...FILES,
      'policies/orders.yaml': POLICIES.replace('country_code: CA', 'country_code: FR'),
      'tests/orders.yaml': '',
    });
    const { code, out } = await run(diff, [folderWith(FILES), after]);
    expect(code).toBe(3);
    expect(steady(out)).toContain('tests/orders.yaml:5:3 of FOLDER ann is not let in from France');
  });

  it('tells cases that one of the two cannot run', async () => {
    const tests = CASES.replace(
      'identity: { email: ann@example.com, amr: [pwd] }',
      'identity: { email: ann@example.com, provider: New }',
    );
    const settings = SETTINGS.replace('name: Entra', 'name: New');
    const { code, out } = await run(diff, [
      folderWith(FILES),
      folderWith({ ...FILES, 'postern.yaml': settings, 'tests/orders.yaml': tests }),
    ]);
    expect(code).toBe(0);
    expect(steady(out)).toContain(
      'tests/orders.yaml:1:3 ann is let in from Canada: FOLDER has no identity provider has the id or name "New"',
    );
  });

  it('tells no secret', async () => {
    const digest = 'cd'.repeat(32);
    const token = (sha256: string) => `admin: { tokens: [{ name: ci, sha256: ${sha256}, scopes: [read] }] }\n`;
    const { out } = await run(diff, [
      folderWith({ ...FILES, 'postern.yaml': SETTINGS + token('ab'.repeat(32)) }),
      folderWith({
        ...FILES,
        'postern.yaml': SETTINGS + token(digest),
        'policies/orders.yaml': POLICIES.replace('ab'.repeat(32), digest),
      }),
    ]);
    expect(out).toContain('admin.tokens.[ci].sha256: changed');
    expect(out).toContain('client_secret: changed');
    expect(out).not.toContain('abab');
    expect(out).not.toContain('cdcd');
  });

  it.each([
    [['a'], 'expected two config folders, OLD and NEW, found 1'],
    [['/nowhere', '/nowhere'], '/nowhere is no folder; write a folder, or git:REV for a revision of git'],
  ])('%s is told to be wrong', async (args, wanted) => {
    const { code, error } = await run(diff, args);
    expect({ code, error }).toEqual({ code: 1, error: wanted });
  });

  it('a set with faults is told with them', async () => {
    const { code, error } = await run(diff, [
      folderWith(FILES),
      folderWith({ ...FILES, 'policies/b.yaml': 'groups: 1' }),
    ]);
    expect(code).toBe(1);
    expect(error).toContain('policies/b.yaml:1:9 type_wrong');
  });

  it('a log that is not there is told before anything is done', async () => {
    const folder = folderWith(FILES);
    expect(await run(diff, [folder, folder, '--requests', '/nowhere.log'])).toMatchObject({
      code: 1,
      error: '/nowhere.log cannot be read',
    });
  });

  it('lines without facts are counted and left', async () => {
    const folder = folderWith(FILES);
    const lines = [
      '{"msg":"ready"}',
      'no JSON "decision"',
      '{"msg":"decision","outcome":"deny","host":"orders.example.com"}',
      '{"msg":"decision","outcome":"bad_request"}',
      '{"msg":"decision","outcome":"deny","host":"x","replay":{"facts":1}}',
    ];
    const { code, out } = await run(diff, [folder, folder, '--requests', '-'], lines.join('\n'));
    expect(code).toBe(0);
    expect(out).toContain('recorded requests: 0 of 3 decided again, 0 as before');
    expect(out).toContain('1 could not be decided again: no facts recorded (log.requests: replay)');
    expect(out).toContain('1 could not be decided again: the request could not be read');
    expect(out).toContain('1 could not be decided again: facts that cannot be read: ');
  });
});

describe('revisions of git', () => {
  const nested = Object.fromEntries(Object.entries(FILES).map(([name, text]) => [`deploy/config/${name}`, text]));

  it('are compared with the folder as it is, and with each other, and leave nothing behind', async () => {
    const top = repository(nested);
    const config = join(top, 'deploy/config');
    writeFileSync(join(config, 'policies/orders.yaml'), POLICIES.replace('riskPoint: 40', 'riskPoint: 20'));
    // Others may compare at the same time: only what is left in a folder of our own counts.
    const temporary = folderWith({});
    vi.stubEnv('TMPDIR', temporary);
    expect(tmpdir()).toBe(temporary);
    const now = await run(diff, ['git:HEAD', config, '--config', config]);
    expect(now).toMatchObject({ code: 0, error: '' });
    expect(now.out).toContain('git:HEAD, revision');
    expect(now.out).toContain('factor ip: riskPoint: 40 → 20');
    commit(top, 'second');
    const both = await run(diff, ['git:main~1', 'git:main', '--config', config]);
    expect(both.out).toContain('factor ip: riskPoint: 40 → 20');
    const elsewhere = await run(diff, [`git:main~1:${config}`, `git:main:${config}`]);
    expect(elsewhere.out).toContain('factor ip: riskPoint: 40 → 20');
    expect(readdirSync(temporary)).toEqual([]);
  });

  it('take what git does not have, keys, from the folder as it is, but no policy and no case', async () => {
    const top = repository({ ...FILES, '.gitignore': 'keys\n' });
    mkdirSync(join(top, 'keys'));
    writeFileSync(join(top, 'keys/one.pem'), 'key');
    writeFileSync(join(top, 'policies/new.yaml'), 'groups: []\n');
    const opened = await openRevisionFolder('git:HEAD', top);
    try {
      expect(existsSync(join(opened.path, 'keys/one.pem'))).toBe(true);
      expect(existsSync(join(opened.path, 'policies/orders.yaml'))).toBe(true);
      expect(existsSync(join(opened.path, 'policies/new.yaml'))).toBe(false);
    } finally {
      await opened.remove();
    }
    expect(existsSync(opened.path)).toBe(false);
  });

  it('of a folder that is gone now are found', async () => {
    const top = repository(nested);
    rmSync(join(top, 'deploy'), { recursive: true });
    const opened = await openRevisionFolder('git:HEAD', join(top, 'deploy/config'));
    expect(existsSync(join(opened.path, 'postern.yaml'))).toBe(true);
    await opened.remove();
  });

  it.each([
    ['git:nowhere', 'git:nowhere: fatal: Needed a single revision'],
    ['git:--output=x', 'git:--output=x names no revision of git'],
  ])('%s is told', async (name, wanted) => {
    const top = repository(FILES);
    const { code, error } = await run(diff, [name, top, '--config', top]);
    expect({ code, error }).toEqual({ code: 1, error: wanted });
  });

  it('a folder outside of any repository is told', async () => {
    const folder = folderWith(FILES);
    const { code, error } = await run(diff, ['git:HEAD', folder, '--config', folder]);
    expect(code).toBe(1);
    expect(error).toContain('git:HEAD: fatal: not a git repository');
  });
});

describe('what is printed', () => {
  it('holds no control character but our own colours', () => {
    expect(printable('a\u001B[2Jb\nc')).toBe('a\uFFFD[2Jb\uFFFDc');
    expect(printable('\u001B[1mtitle\u001B[0m a\u001B[2Jb', true)).toBe('\u001B[1mtitle\u001B[0m a\uFFFD[2Jb');
  });
});
