import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createConfigReader, ensurePrivateFile, fileOf, pathOf, readYamlFolder, treeSignature } from '../src/files.ts';
import type { ConfigPlan, ConfigReaderOptions, ConfigSnapshot, FileReference } from '../src/files.ts';

let home: string;
let folder: string;

beforeEach(() => {
  home = realpathSync(mkdtempSync(join(tmpdir(), 'postern-files-')));
  folder = join(home, 'config');
  write('postern.yaml', 'log: {}\n');
  write('policies/orders.yaml', 'groups: []\n');
});

afterEach(() => {
  rmSync(home, { recursive: true, force: true });
});

function write(name: string, content: string, mode = 0o644): void {
  const path = join(folder, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content, { mode });
}

function reference(name: string, use: FileReference['use'] = 'public'): FileReference {
  return { name, use, place: { file: 'postern.yaml', path: ['geo', 'city_database'] } };
}

function plan(...files: FileReference[]): ConfigPlan {
  return { settings: () => ({ policies: 'policies', files }) };
}

async function read(wanted = plan(), options: ConfigReaderOptions = {}): Promise<ConfigSnapshot> {
  return createConfigReader(folder, options).read(wanted);
}

function texts(snapshot: ConfigSnapshot): Record<string, string> {
  return Object.fromEntries([...snapshot.files].map(([name, file]) => [name, Buffer.from(file.bytes).toString()]));
}

function codes(snapshot: ConfigSnapshot): string[] {
  return snapshot.faults.map(({ severity, code, place }) => `${severity} ${code} ${place.file}`);
}

describe('the set', () => {
  it('is the settings, the YAML and JSON files of the policy folder, and every file that is named', async () => {
    write('policies/team/more.yml', 'lists: []\n');
    write('policies/managed/groups/1.json', '{}');
    write('keys/jwks.json', '{"keys":[]}');
    write('unnamed.pem', 'x');
    write('tests/cases.yaml', '[]');
    const snapshot = await read(plan(reference('keys/jwks.json')));
    expect(texts(snapshot)).toEqual({
      'keys/jwks.json': '{"keys":[]}',
      'policies/managed/groups/1.json': '{}',
      'policies/orders.yaml': 'groups: []\n',
      'policies/team/more.yml': 'lists: []\n',
      'postern.yaml': 'log: {}\n',
    });
    expect(snapshot.policies).toEqual([
      'policies/managed/groups/1.json',
      'policies/orders.yaml',
      'policies/team/more.yml',
    ]);
    expect(snapshot.faults).toEqual([]);
  });

  it.each([
    'policies/.hidden.yaml',
    'policies/.git/x.yaml',
    'policies/README.md',
    'policies/orders.yaml~',
    'policies/orders.yaml.bak',
    'policies/#orders.yaml#',
  ])('has nothing of %s', async (name) => {
    write(name, 'x');
    expect((await read()).policies).toEqual(['policies/orders.yaml']);
  });

  it('reads an ending in any letter case: a policy must not be passed over', async () => {
    write('policies/A.YAML', 'x');
    write('policies/b.Json', 'x');
    expect((await read()).policies).toEqual(['policies/A.YAML', 'policies/b.Json', 'policies/orders.yaml']);
  });

  it('takes its policy folder and files from the settings as they are read', async () => {
    write('postern.yaml', 'elsewhere\n');
    write('elsewhere/a.yaml', 'a');
    const seen: (string | undefined)[] = [];
    const snapshot = await read({
      settings(bytes) {
        seen.push(bytes && Buffer.from(bytes).toString());
        return { policies: './elsewhere/', files: [] };
      },
    });
    expect(seen).toEqual(['elsewhere\n']);
    expect(snapshot.policies).toEqual(['elsewhere/a.yaml']);
  });

  it('has the files that policies name', async () => {
    write('keys/engine.txt', 'password', 0o600);
    const snapshot = await read({
      ...plan(),
      policies: (files) => (files.length === 1 ? [reference('keys/engine.txt', 'secret')] : []),
    });
    expect(Object.keys(texts(snapshot))).toContain('keys/engine.txt');
  });

  it('finds a file by the name that was written, relative or absolute', async () => {
    const outside = join(home, 'outside.pem');
    writeFileSync(outside, 'pem');
    write('keys/a.pem', 'a');
    const snapshot = await read(
      plan(reference('./keys/../keys/a.pem'), reference(outside), reference('../outside.pem')),
    );
    expect(fileOf(snapshot, './keys/../keys/a.pem')).toBe(fileOf(snapshot, 'keys/a.pem'));
    expect(fileOf(snapshot, 'keys/a.pem')?.hash).toBe(createHash('sha256').update('a').digest('hex'));
    expect(Buffer.from(fileOf(snapshot, outside)?.bytes ?? []).toString()).toBe('pem');
    expect(Buffer.from(fileOf(snapshot, '../outside.pem')?.bytes ?? []).toString()).toBe('pem');
    expect(fileOf(snapshot, 'keys/b.pem')).toBeUndefined();
    expect([pathOf(folder, 'keys/a.pem'), pathOf(folder, outside)]).toEqual([join(folder, 'keys/a.pem'), outside]);
  });

  it('follows links to files and folders', async () => {
    mkdirSync(join(home, 'shared'));
    writeFileSync(join(home, 'shared', 'a.yaml'), 'shared');
    symlinkSync(join(home, 'shared'), join(folder, 'policies', 'linked'));
    symlinkSync(join(home, 'shared', 'a.yaml'), join(folder, 'policies', 'one.yaml'));
    expect((await read()).policies).toEqual(['policies/linked/a.yaml', 'policies/one.yaml', 'policies/orders.yaml']);
  });
});

describe('the revision', () => {
  it('is 12 hex digits and the same for the same names and bytes, wherever and whenever', async () => {
    const first = await read();
    expect(first.revision).toMatch(/^[0-9a-f]{12}$/);
    const other = join(home, 'other');
    mkdirSync(join(other, 'policies'), { recursive: true });
    writeFileSync(join(other, 'policies', 'orders.yaml'), 'groups: []\n');
    writeFileSync(join(other, 'postern.yaml'), 'log: {}\n');
    expect((await createConfigReader(other).read(plan())).revision).toBe(first.revision);
  });

  it.each<[string, () => void]>([
    ['bytes of a policy file', () => write('policies/orders.yaml', 'groups: {}\n')],
    ['bytes of the settings', () => write('postern.yaml', 'log: {} \n')],
    ['bytes of a named file', () => write('keys/jwks.json', '{ }')],
    ['a name', () => renameSync(join(folder, 'policies/orders.yaml'), join(folder, 'policies/shop.yaml'))],
    ['a file more', () => write('policies/b.yaml', '')],
    ['a file less', () => unlinkSync(join(folder, 'policies/orders.yaml'))],
  ])('is another with %s', async (_, change) => {
    write('keys/jwks.json', '{}');
    const wanted = plan(reference('keys/jwks.json'));
    const reader = createConfigReader(folder);
    const before = await reader.read(wanted);
    change();
    expect((await reader.read(wanted)).revision).not.toBe(before.revision);
  });

  it('is the same again when a change is undone', async () => {
    const reader = createConfigReader(folder);
    const before = await reader.read(plan());
    write('policies/orders.yaml', 'groups: {}\n');
    await reader.read(plan());
    write('policies/orders.yaml', 'groups: []\n');
    expect((await reader.read(plan())).revision).toBe(before.revision);
  });
});

describe('reading again', () => {
  it('gives the very same file where nothing changed, and another where it did', async () => {
    write('policies/b.yaml', 'b');
    const reader = createConfigReader(folder);
    const before = await reader.read(plan());
    write('policies/b.yaml', 'c');
    const after = await reader.read(plan());
    expect(after.files.get('policies/orders.yaml')).toBe(before.files.get('policies/orders.yaml'));
    expect(after.files.get('policies/b.yaml')).not.toBe(before.files.get('policies/b.yaml'));
  });

  it('sees every edit of the same size, however fast one follows another', async () => {
    const reader = createConfigReader(folder);
    for (let n = 0; n < 100; n += 1) {
      const text = String(n).padStart(4, '0');
      write('policies/orders.yaml', text);
      expect(texts(await reader.read(plan()))['policies/orders.yaml']).toBe(text);
    }
  });

  it('waits for a file that its writer has emptied and not filled yet', async () => {
    const reader = createConfigReader(folder);
    await reader.read(plan());
    write('policies/orders.yaml', '');
    const reading = reader.read(plan());
    await sleep(150);
    write('policies/orders.yaml', 'groups: []\n');
    expect(texts(await reading)['policies/orders.yaml']).toBe('groups: []\n');
  });

  it('takes one that stays empty for what it is', async () => {
    const reader = createConfigReader(folder);
    await reader.read(plan());
    write('policies/orders.yaml', '');
    expect(texts(await reader.read(plan()))['policies/orders.yaml']).toBe('');
  });

  it('sees an edit whose size and modification time are those of before', async () => {
    // Late enough for the files to count as settled, so that only their times can tell.
    const reader = createConfigReader(folder, { now: () => Date.now() + 60_000 });
    const past = new Date('2026-01-31T10:00:00Z');
    utimesSync(join(folder, 'policies/orders.yaml'), past, past);
    await reader.read(plan());
    // More than one tick of the kernel's clock.
    await sleep(50);
    write('policies/orders.yaml', 'groups: {}\n');
    utimesSync(join(folder, 'policies/orders.yaml'), past, past);
    expect(texts(await reader.read(plan()))['policies/orders.yaml']).toBe('groups: {}\n');
  });
});

describe('faults', () => {
  it.each<[string, () => void, ConfigPlan, string[]]>([
    ['no config folder', () => rmSync(folder, { recursive: true }), plan(), ['fault folder_missing <folder>']],
    [
      'a file in place of the config folder',
      () => {
        rmSync(folder, { recursive: true });
        writeFileSync(folder, '');
      },
      plan(),
      ['fault folder_missing <folder>'],
    ],
    ['no settings', () => unlinkSync(join(folder, 'postern.yaml')), plan(), ['warning file_missing postern.yaml']],
    [
      'no policies',
      () => rmSync(join(folder, 'policies'), { recursive: true }),
      plan(),
      ['warning folder_missing policies'],
    ],
    [
      'a file in place of the policies',
      () => {
        rmSync(join(folder, 'policies'), { recursive: true });
        write('policies', '');
      },
      plan(),
      ['fault folder_unreadable policies'],
    ],
    ['a named file that is missing', () => {}, plan(reference('geo/city.mmdb')), ['fault file_missing postern.yaml']],
    [
      'a named file that is a folder',
      () => mkdirSync(join(folder, 'geo')),
      plan(reference('geo')),
      ['fault file_unreadable postern.yaml'],
    ],
    ['a key that Postern makes and that is missing', () => {}, plan(reference('keys/portal.pem', 'made')), []],
    [
      'a link among the policies that leads nowhere',
      () => symlinkSync('nowhere.yaml', join(folder, 'policies', 'x.yaml')),
      plan(),
      ['fault file_missing policies/x.yaml'],
    ],
    [
      'a folder linked into itself',
      () => symlinkSync('.', join(folder, 'policies', 'loop')),
      plan(),
      ['fault folder_loop policies/loop'],
    ],
    [
      'a policy file that would take all memory',
      () => {
        write('policies/x.yaml', '');
        truncateSync(join(folder, 'policies/x.yaml'), 1024 ** 3);
      },
      plan(),
      ['fault file_unreadable policies/x.yaml'],
    ],
    ['a folder with the name of a policy file', () => mkdirSync(join(folder, 'policies', 'x.yaml')), plan(), []],
  ])('%s', async (_, change, wanted, expected) => {
    change();
    const snapshot = await read(wanted);
    expect(codes(snapshot).map((one) => one.replace(folder, '<folder>'))).toEqual(expected);
    for (const fault of snapshot.faults) expect([fault.text, fault.mend]).not.toContain('');
  });

  it('name the missing file as it is written and the path it is looked for at', async () => {
    const [fault] = (await read(plan(reference('geo/city.mmdb')))).faults;
    expect(fault?.text).toBe('expected a file at geo/city.mmdb, found none');
    expect(fault?.mend).toBe(`put it at ${join(folder, 'geo/city.mmdb')}, or correct the path`);
    expect(fault?.place).toEqual(reference('').place);
  });

  it.each<[string, () => void, string]>([
    ['settings', () => unlinkSync(join(folder, 'postern.yaml')), 'fault file_missing postern.yaml'],
    ['policies', () => rmSync(join(folder, 'policies'), { recursive: true }), 'fault folder_missing policies'],
    ['a key of ours', () => unlinkSync(join(folder, 'keys/portal.pem')), 'fault file_missing postern.yaml'],
  ])('tell of %s that were there and are gone, and nothing once they are back', async (_, remove, expected) => {
    write('keys/portal.pem', 'x', 0o600);
    const wanted = plan(reference('keys/portal.pem', 'made'));
    const reader = createConfigReader(folder);
    const before = await reader.read(wanted);
    expect(before.faults).toEqual([]);
    remove();
    expect(codes(await reader.read(wanted))).toEqual([expected]);
    write('postern.yaml', 'log: {}\n');
    write('policies/orders.yaml', 'groups: []\n');
    write('keys/portal.pem', 'x', 0o600);
    const after = await reader.read(wanted);
    expect([after.faults, after.revision]).toEqual([[], before.revision]);
  });

  it.each<[FileReference['use'], number, string[]]>([
    ['secret', 0o644, ['warning key_permissions postern.yaml']],
    ['made', 0o604, ['warning key_permissions postern.yaml']],
    ['secret', 0o640, []],
    ['secret', 0o600, []],
    ['public', 0o644, []],
  ])('a %s file of mode %o', async (use, mode, expected) => {
    write('keys/a.pem', 'x');
    chmodSync(join(folder, 'keys/a.pem'), mode);
    expect(codes(await read(plan(reference('keys/a.pem', use))))).toEqual(expected);
  });

  it('files and folders that may not be read', async () => {
    write('policies/secret.yaml', 'x', 0o000);
    mkdirSync(join(folder, 'policies', 'closed'), { mode: 0o000 });
    chmodSync(home, 0o755);
    const snapshot = await asNobody(() => read());
    expect(codes(snapshot).toSorted()).toEqual([
      'fault file_unreadable policies/secret.yaml',
      `fault folder_unreadable ${join(folder, 'policies', 'closed')}`,
    ]);
  });
});

/** Root may read anything, so that it must become somebody else for a while. */
async function asNobody<T>(work: () => Promise<T>): Promise<T> {
  if (process.geteuid?.() !== 0) return work();
  process.seteuid?.(65_534);
  try {
    return await work();
  } finally {
    process.seteuid?.(0);
  }
}

describe('a set that changes while it is read', () => {
  it('is read again, as a whole', async () => {
    write('policies/a.yaml', '1');
    write('policies/b.yaml', '1');
    let changed = false;
    const snapshot = await read(plan(), {
      beforeFile(name) {
        if (name !== 'policies/b.yaml' || changed) return;
        changed = true;
        write('policies/a.yaml', '2');
        write('policies/b.yaml', '2');
      },
    });
    expect(texts(snapshot)).toMatchObject({ 'policies/a.yaml': '2', 'policies/b.yaml': '2' });
  });

  it.each<[string, () => void, string[]]>([
    ['a file appears', () => write('policies/c.yaml', ''), ['policies/c.yaml', 'policies/orders.yaml']],
    ['a file goes', () => unlinkSync(join(folder, 'policies/orders.yaml')), []],
    [
      'a file is renamed',
      () => renameSync(join(folder, 'policies/orders.yaml'), join(folder, 'policies/x.yaml')),
      ['policies/x.yaml'],
    ],
  ])('%s', async (_, change, expected) => {
    let changed = false;
    const snapshot = await read(plan(reference('postern.yaml')), {
      beforeFile(name) {
        if (changed || name === 'postern.yaml') return;
        changed = true;
        change();
      },
    });
    expect([snapshot.policies, snapshot.faults]).toEqual([expected, []]);
  });

  it('has a missing file when that comes meanwhile', async () => {
    const wanted = plan(reference('a.pem'), reference('b.pem'));
    write('b.pem', 'b');
    const snapshot = await read(wanted, {
      async beforeFile(name) {
        if (name !== 'b.pem' || existsSync(join(folder, 'a.pem'))) return;
        await sleep(50);
        write('a.pem', 'a');
      },
    });
    expect([texts(snapshot)['a.pem'], snapshot.faults]).toEqual(['a', []]);
  });

  it('that never holds still is a fault after some attempts', async () => {
    let n = 0;
    const snapshot = await read(plan(), {
      attemptsMax: 3,
      beforeFile: () => write('postern.yaml', '#'.repeat(++n)),
    });
    expect(codes(snapshot)).toEqual([`fault config_unsettled ${folder}`]);
    expect(snapshot.files.size).toBe(0);
  });
});

describe('Kubernetes volumes', () => {
  /** Writes versions of a volume as the kubelet does: a new folder, a link renamed over `..data`, links for new names,
   *  then the old folder and the links of old names are removed. */
  class Volume {
    readonly #path: string;
    #version = 0;
    #old: string | undefined;

    constructor(path: string) {
      this.#path = path;
      mkdirSync(path, { recursive: true });
    }

    begin(files: Readonly<Record<string, string>>): string {
      this.#version += 1;
      const name = `..2026_01_31_10_00_00.${this.#version}`;
      for (const [file, content] of Object.entries(files)) {
        mkdirSync(dirname(join(this.#path, name, file)), { recursive: true });
        writeFileSync(join(this.#path, name, file), content);
      }
      return name;
    }

    swap(name: string): void {
      symlinkSync(name, join(this.#path, '..data_tmp'));
      renameSync(join(this.#path, '..data_tmp'), join(this.#path, '..data'));
    }

    end(name: string): void {
      const visible = readdirSync(join(this.#path, name));
      for (const entry of readdirSync(this.#path)) {
        if (!entry.startsWith('..') && !visible.includes(entry)) rmSync(join(this.#path, entry));
      }
      for (const entry of visible) {
        const link = join(this.#path, entry);
        if (!existsSync(link)) symlinkSync(`..data/${entry}`, link);
      }
      if (this.#old !== undefined) rmSync(join(this.#path, this.#old), { recursive: true });
      this.#old = name;
    }

    write(files: Readonly<Record<string, string>>): void {
      const name = this.begin(files);
      this.swap(name);
      this.end(name);
    }
  }

  function version(n: number): Record<string, string> {
    return {
      'postern.yaml': `# ${n}\n`,
      'policies/a.yaml': `# ${n}\n`,
      'policies/b.yaml': `# ${n}\n`,
      'keys/jwks.json': `${n}`,
    };
  }

  const wanted = plan(reference('keys/jwks.json'));

  beforeEach(() => rmSync(folder, { recursive: true }));

  it('the config folder is one: the names are those that a pod sees', async () => {
    new Volume(folder).write(version(1));
    const snapshot = await read(wanted);
    expect(texts(snapshot)).toEqual(version(1));
    expect([snapshot.faults, snapshot.outside]).toEqual([[], []]);
  });

  it('the policies are one, mounted within another', async () => {
    const outer = new Volume(folder);
    outer.write({ 'postern.yaml': 'log: {}\n' });
    const inner = new Volume(join(folder, 'policies'));
    inner.write({ 'a.yaml': '1', 'b.yaml': '1' });
    const reader = createConfigReader(folder);
    expect((await reader.read(plan())).policies).toEqual(['policies/a.yaml', 'policies/b.yaml']);
    inner.write({ 'b.yaml': '2', 'c.yaml': '2' });
    expect(texts(await reader.read(plan()))).toEqual({
      'postern.yaml': 'log: {}\n',
      'policies/b.yaml': '2',
      'policies/c.yaml': '2',
    });
  });

  it('has the same revision after a swap to the same content', async () => {
    const volume = new Volume(folder);
    volume.write(version(1));
    const reader = createConfigReader(folder);
    const before = await reader.read(wanted);
    volume.write(version(1));
    const after = await reader.read(wanted);
    expect(after.revision).toBe(before.revision);
    expect(after.files.get('policies/a.yaml')).toBe(before.files.get('policies/a.yaml'));
  });

  it('reads the new version between the swap and the links', async () => {
    const volume = new Volume(folder);
    volume.write({ 'postern.yaml': '1', 'policies/a.yaml': '1', 'old.pem': '1' });
    const next = volume.begin({ 'postern.yaml': '2', 'policies/new.yaml': '2', 'new.pem': '2' });
    volume.swap(next);
    const snapshot = await read(plan(reference('new.pem')));
    expect(texts(snapshot)).toEqual({ 'postern.yaml': '2', 'policies/new.yaml': '2', 'new.pem': '2' });
  });

  it.each(Object.keys(version(1)))('a swap before %s is read never mixes two versions', async (at) => {
    const volume = new Volume(folder);
    volume.write(version(1));
    let n = 1;
    const snapshot = await read(wanted, {
      beforeFile(name) {
        if (name === at && n === 1) volume.write(version(++n));
      },
    });
    expect([texts(snapshot), snapshot.faults]).toEqual([version(2), []]);
  });

  it('a swap whose old version stays is noticed too', async () => {
    const volume = new Volume(folder);
    volume.write(version(1));
    let swapped = false;
    const snapshot = await read(wanted, {
      beforeFile(name) {
        if (name !== 'policies/b.yaml' || swapped) return;
        swapped = true;
        volume.swap(volume.begin(version(2)));
      },
    });
    expect(texts(snapshot)).toEqual(version(2));
  });

  it('a hundred swaps under a reader: each set that it gives is one of them, whole', async () => {
    const volume = new Volume(folder);
    volume.write(version(0));
    const reader = createConfigReader(folder);
    const sets = new Set(Array.from({ length: 101 }, (_, n) => JSON.stringify(sorted(version(n)))));
    const swapping = { done: false };
    const swaps = (async () => {
      for (let n = 1; n <= 100; n += 1) {
        volume.write(version(n));
        await sleep(n % 4);
      }
      swapping.done = true;
    })();
    let whole = 0;
    while (!swapping.done) {
      const snapshot = await reader.read(wanted);
      if (snapshot.faults.length > 0) {
        expect(codes(snapshot)).toEqual([`fault config_unsettled ${folder}`]);
        continue;
      }
      whole += 1;
      expect(sets).toContain(JSON.stringify(sorted(texts(snapshot))));
    }
    await swaps;
    expect(whole).toBeGreaterThan(0);
    expect(texts(await reader.read(wanted))).toEqual(version(100));
  });

  function sorted(files: Record<string, string>): [string, string][] {
    return Object.entries(files).toSorted(([a], [b]) => (a < b ? -1 : 1));
  }
});

describe('what must be watched besides', () => {
  it('are folders of files outside, whether they are there or not, and where links lead', async () => {
    const elsewhere = join(home, 'elsewhere');
    mkdirSync(elsewhere);
    writeFileSync(join(elsewhere, 'a.yaml'), '');
    symlinkSync(join(elsewhere, 'a.yaml'), join(folder, 'policies', 'linked.yaml'));
    const snapshot = await read(plan(reference(join(home, 'keys', 'missing.pem')), reference('inside.pem')));
    expect(snapshot.outside).toEqual([
      { path: elsewhere, deep: false },
      { path: join(home, 'keys'), deep: false },
    ]);
  });

  it('is a policy folder outside, with all below it', async () => {
    mkdirSync(join(home, 'rules', 'deep'), { recursive: true });
    writeFileSync(join(home, 'rules', 'deep', 'a.yaml'), '');
    const snapshot = await read({ settings: () => ({ policies: '../rules', files: [] }) });
    expect(snapshot.policies).toEqual(['../rules/deep/a.yaml']);
    expect(snapshot.outside[0]).toEqual({ path: join(home, 'rules'), deep: true });
  });

  it('is a volume as a whole, not the version that goes with the next swap', async () => {
    mkdirSync(join(home, 'secret', '..1'), { recursive: true });
    writeFileSync(join(home, 'secret', '..1', 'a.pem'), 'a', { mode: 0o600 });
    symlinkSync('..1', join(home, 'secret', '..data'));
    symlinkSync('..data/a.pem', join(home, 'secret', 'a.pem'));
    const snapshot = await read(plan(reference(join(home, 'secret', 'a.pem'), 'secret')));
    expect(snapshot.outside).toEqual([{ path: join(home, 'secret'), deep: false }]);
    expect(snapshot.faults).toEqual([]);
  });
});

describe('ensurePrivateFile', () => {
  it('makes the file and its folder, for the owner alone', async () => {
    const path = join(folder, 'keys', 'portal.pem');
    expect(await ensurePrivateFile(path, async () => 'key')).toBe(true);
    expect(readFileSync(path, 'utf8')).toBe('key');
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readdirSync(dirname(path))).toEqual(['portal.pem']);
  });

  it('never touches a file that is there, and makes no key for it', async () => {
    write('a.pem', 'old');
    let made = 0;
    const make = async (): Promise<string> => {
      made += 1;
      return 'new';
    };
    expect(await ensurePrivateFile(join(folder, 'a.pem'), make)).toBe(false);
    expect([readFileSync(join(folder, 'a.pem'), 'utf8'), made]).toEqual(['old', 0]);
  });

  it('leaves a file that appears meanwhile', async () => {
    const path = join(folder, 'a.pem');
    const make = async (): Promise<string> => {
      writeFileSync(path, 'theirs');
      return 'ours';
    };
    expect(await ensurePrivateFile(path, make)).toBe(false);
    expect(readFileSync(path, 'utf8')).toBe('theirs');
    expect(readdirSync(folder).toSorted()).toEqual(['a.pem', 'policies', 'postern.yaml']);
  });

  it('is made once by many at a time', async () => {
    const path = join(folder, 'keys', 'a.pem');
    const made = await Promise.all(
      Array.from({ length: 20 }, async (_, n) => ensurePrivateFile(path, async () => `${n}`)),
    );
    expect(made.filter(Boolean)).toHaveLength(1);
    expect(readFileSync(path, 'utf8')).toBe(String(made.indexOf(true)));
  });

  it('does not follow a link that leads nowhere', async () => {
    symlinkSync('nowhere', join(folder, 'a.pem'));
    await expect(ensurePrivateFile(join(folder, 'a.pem'), async () => 'x')).rejects.toThrow(
      /^cannot create \S+a\.pem: a link of that name leads nowhere; remove it$/,
    );
    expect(readdirSync(folder).toSorted()).toEqual(['a.pem', 'policies', 'postern.yaml']);
  });

  it.each<[string, () => string, RegExp]>([
    [
      'a file on the way',
      () => join(folder, 'postern.yaml', 'a.pem'),
      /^cannot create \S+a\.pem \(ENOTDIR\): a part of the path is no folder; name another path$/,
    ],
    [
      'a folder of others',
      () => join(folder, 'keys', 'a.pem'),
      /^cannot create \S+a\.pem \(EACCES\): the folder may not be written by this user; put a private key there/,
    ],
    [
      'a folder that nobody can write, not even root',
      () => '/proc/postern/a.pem',
      /^cannot create \S+a\.pem \(E[A-Z]+\): ./,
    ],
  ])('says what is wrong with %s', async (_, prepare, expected) => {
    const path = prepare();
    chmodSync(home, 0o755);
    chmodSync(folder, 0o555);
    try {
      await asNobody(() => expect(ensurePrivateFile(path, async () => 'x')).rejects.toThrow(expected));
    } finally {
      chmodSync(folder, 0o755);
    }
  });
});

describe('readYamlFolder', () => {
  it('gives all YAML and JSON files below, sorted, and none where there is no folder', async () => {
    write('tests/b.yaml', 'b');
    write('tests/a/c.json', 'c');
    write('tests/notes.txt', '');
    const files = await readYamlFolder(folder, 'tests');
    expect(files.map(({ name, bytes }) => [name, Buffer.from(bytes).toString()])).toEqual([
      ['tests/a/c.json', 'c'],
      ['tests/b.yaml', 'b'],
    ]);
    expect(await readYamlFolder(folder, 'nowhere')).toEqual([]);
  });
});

describe('treeSignature', () => {
  it.each<[string, () => void]>([
    ['a longer file', () => write('policies/orders.yaml', 'groups: [ ]\n')],
    ['a new file', () => write('policies/b.yaml', '')],
    ['a removed file', () => unlinkSync(join(folder, 'postern.yaml'))],
    ['a file far below', () => write('a/b/c/d.yaml', '')],
    ['a moved ..data', () => symlinkSync('policies', join(folder, '..data'))],
    ['no folder', () => rmSync(folder, { recursive: true })],
  ])('is another with %s', async (_, change) => {
    const before = await treeSignature({ path: folder, deep: true });
    expect(await treeSignature({ path: folder, deep: true })).toBe(before);
    change();
    expect(await treeSignature({ path: folder, deep: true })).not.toBe(before);
    mkdirSync(folder, { recursive: true });
  });

  it('does not look below a shallow folder, nor for ever into a loop', async () => {
    write('a/b/c.yaml', '1');
    symlinkSync('..', join(folder, 'a', 'loop'));
    const before = await treeSignature({ path: folder, deep: false });
    write('a/b/c.yaml', '22');
    expect(await treeSignature({ path: folder, deep: false })).toBe(before);
    await treeSignature({ path: folder, deep: true });
  });
});
