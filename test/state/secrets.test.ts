/** The files that state in Redis needs: what is wrong with one is told where it is named, and never repeated. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { createKeySets } from '../../src/facts/key-set.ts';
import { createLoader } from '../../src/revision.ts';
import type { Loaded } from '../../src/revision.ts';
import { readStateKeys } from '../../src/state/keys.ts';
import { changedSecrets } from '../../src/state/open.ts';

const KEY = Buffer.from(Array.from({ length: 32 }, (_, index) => index * 7)).toString('base64');
const folders: string[] = [];

afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

async function loaded(files: Readonly<Record<string, string>>, more = ''): Promise<Loaded> {
  const folder = mkdtempSync(join(tmpdir(), 'postern-secrets-'));
  folders.push(folder);
  mkdirSync(join(folder, 'policies'));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text, { mode: 0o600 });
  writeFileSync(
    join(folder, 'postern.yaml'),
    `state:\n  redis:\n    url: redis://127.0.0.1:6379\n    key_file: state.key\n${more}`,
  );
  return createLoader({ folder, overrides: [], keySets: createKeySets(), makesKeys: false }).load();
}

describe('the files of state in Redis', () => {
  it('are read with the set', async () => {
    const { revision, faults } = await loaded(
      { 'state.key': `${KEY}\n`, 'redis.txt': 'open sesame\n' },
      '    password_file: redis.txt\n',
    );
    expect(faults).toEqual([]);
    expect(revision?.stateSecrets).toMatchObject({ password: 'open sesame', authorities: undefined });
    const keys = readStateKeys(KEY);
    expect(revision?.stateSecrets?.keys.userKeys('i', 's')).toEqual('value' in keys && keys.value.userKeys('i', 's'));
  });

  it.each<[string, Readonly<Record<string, string>>, string, string]>([
    ['a key that is short', { 'state.key': 'c2VjcmV0' }, '', '4:15 state_key_invalid'],
    ['no key', { 'state.key': '\n' }, '', '4:15 state_key_invalid'],
    ['a key file that is not there', {}, '', '4:15 file_missing'],
    [
      'a password file without a password',
      { 'state.key': KEY, 'redis.txt': '\n' },
      '    password_file: redis.txt\n',
      '5:20 password_file_invalid',
    ],
    [
      'a password file with two lines',
      { 'state.key': KEY, 'redis.txt': 'c2VjcmV0\nc2VjcmV0\n' },
      '    password_file: redis.txt\n',
      '5:20 password_file_invalid',
    ],
  ])('%s is a fault in its place', async (_, files, more, expected) => {
    const { revision, faults } = await loaded(files, more);
    expect(revision).toBeUndefined();
    expect(faults.map(({ fault, position }) => `${position?.line}:${position?.column} ${fault.code}`)).toEqual([
      expected,
    ]);
    expect(JSON.stringify(faults)).not.toContain('c2VjcmV0');
  });
});

describe('what an open state has read already', () => {
  const OTHER = Buffer.from(Array.from({ length: 32 }, (_, index) => index * 5)).toString('base64');
  const MORE = '    password_file: password\n';

  it.each<[string, Readonly<Record<string, string>>, string[]]>([
    ['nothing new', {}, []],
    ['a line end more', { 'state.key': `${KEY}\n\n`, password: 'secret\n' }, []],
    ['a key before the old one', { 'state.key': `${OTHER}\n${KEY}` }, ['state.redis.key_file']],
    ['another password', { password: 'another' }, ['state.redis.password_file']],
  ])('%s', async (_, files, expected) => {
    const first = { 'state.key': KEY, password: 'secret' };
    const before = (await loaded(first, MORE)).revision;
    const after = (await loaded({ ...first, ...files }, MORE)).revision;
    expect(before && after && changedSecrets(before.stateSecrets, after.stateSecrets)).toEqual(expected);
  });

  it('is none in memory', () => {
    expect(changedSecrets(undefined, undefined)).toEqual([]);
  });
});
