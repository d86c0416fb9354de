/** What outlives a reload, and what must not. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ORDERS_WITHOUT_ANN, makeDemoFolder } from '../src/demo/folder.ts';
import type { DemoFolder } from '../src/demo/folder.ts';
import { readRequest } from '../src/envoy/request.ts';
import { createKeySets } from '../src/facts/key-set.ts';
import { createLoader } from '../src/revision.ts';
import type { Loader, Revision } from '../src/revision.ts';
import { encodeRequest } from './envoy/official.ts';

const NOW_MS = Date.now();

let work: string;
let demo: DemoFolder;
let loader: Loader;
let asked: string[];

beforeEach(async () => {
  work = mkdtempSync(join(tmpdir(), 'postern-revision-'));
  demo = await makeDemoFolder(work, NOW_MS);
  asked = [];
  loader = createLoader({
    folder: demo.config,
    overrides: [],
    keySets: createKeySets(),
    makesKeys: false,
    metrics: { cacheRequest: (cache, result) => void asked.push(`${cache} ${result}`) },
  });
});

afterEach(() => {
  rmSync(work, { recursive: true });
});

async function revision(): Promise<Revision> {
  const loaded = await loader.load();
  if (!loaded.revision) throw new Error(JSON.stringify(loaded.faults));
  return loaded.revision;
}

async function identityState({ snapshot }: Revision): Promise<string> {
  const bytes = encodeRequest({
    attributes: {
      request: {
        http: { method: 'GET', host: 'a', path: '/', headers: { authorization: `Bearer ${demo.tokens.get('ann')}` } },
      },
    },
  });
  const request = readRequest(bytes);
  if ('reason' in request) throw new Error(request.why);
  return (await snapshot.sources.identity(request, NOW_MS)).fact.state;
}

const edit = (name: string, change: (text: string) => string): void => {
  const file = join(demo.config, name);
  writeFileSync(file, change(readFileSync(file, 'utf8')));
};

describe('a verified token', () => {
  it('is not verified again after a reload of policies', async () => {
    expect(await identityState(await revision())).toBe('known');
    demo.writePolicies(ORDERS_WITHOUT_ANN);
    const second = await revision();
    expect(await identityState(second)).toBe('known');
    expect(asked).toEqual(['token miss', 'token hit']);
  });

  it('nor after one of settings that say nothing of identities', async () => {
    await identityState(await revision());
    edit('postern.yaml', (text) => text.replace('level: info', 'level: debug'));
    await identityState(await revision());
    expect(asked).toEqual(['token miss', 'token hit']);
  });

  it('is judged anew by other keys', async () => {
    expect(await identityState(await revision())).toBe('known');
    const other = await makeDemoFolder(join(work, 'other'), NOW_MS);
    writeFileSync(join(demo.config, 'keys/jwks.json'), readFileSync(join(other.config, 'keys/jwks.json')));
    expect(await identityState(await revision())).toBe('invalid');
    expect(asked).toEqual(['token miss', 'token miss']);
  });

  it('and by other settings of identities', async () => {
    expect(await identityState(await revision())).toBe('known');
    edit('postern.yaml', (text) => text.replace('audiences: [orders]', 'audiences: [reports]'));
    expect(await identityState(await revision())).toBe('invalid');
  });

  it('is still known after a reload with faults and one that mends them', async () => {
    await identityState(await revision());
    edit('policies/demo.yaml', (text) => `${text}unknown_key: 1\n`);
    expect((await loader.load()).revision).toBeUndefined();
    edit('policies/demo.yaml', (text) => text.replace('unknown_key: 1\n', '# mended\n'));
    await identityState(await revision());
    expect(asked).toEqual(['token miss', 'token hit']);
  });
});

describe('what has no bytes', () => {
  const faults = async (): Promise<readonly string[]> =>
    (await loader.load()).faults.filter(({ fault }) => fault.severity === 'fault').map(({ fault }) => fault.code);

  it('is told although the bytes of the set are what they were', async () => {
    const { id } = await revision();
    symlinkSync('nowhere', join(demo.config, 'policies/deny.yaml'));
    expect(await faults()).toEqual(['file_missing']);
    unlinkSync(join(demo.config, 'policies/deny.yaml'));
    mkdirSync(join(demo.config, 'policies/deny.yaml'));
    symlinkSync('..', join(demo.config, 'policies/deny.yaml/loop'));
    expect(await faults()).toEqual(['folder_loop']);
    rmSync(join(demo.config, 'policies/deny.yaml'), { recursive: true });
    expect((await revision()).id).toBe(id);
  });

  it('a folder of policies that is removed and made again lets nobody in any more', async () => {
    expect((await revision()).compiled.applications).not.toEqual([]);
    rmSync(join(demo.config, 'policies'), { recursive: true });
    expect(await faults()).toEqual(['folder_missing']);
    mkdirSync(join(demo.config, 'policies'));
    expect((await revision()).compiled.applications).toEqual([]);
  });
});
