import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test, vi } from 'vitest';
import type { WatchedFolder } from '../src/files.ts';
import { watchFolder } from '../src/watch.ts';
import type { FolderWatch, WatchOptions } from '../src/watch.ts';

interface Scene {
  readonly home: string;
  readonly folder: string;
  calls: number;
  /** A watch that has made its first call and is quiet. */
  watching(options?: Partial<WatchOptions>): Promise<FolderWatch>;
  /** Until no call has come for longer than a burst may be quiet. */
  quiet(): Promise<void>;
  /** Until a call has come. */
  told(): Promise<void>;
}

/** Each test has a folder and a watch of its own, so that they can wait side by side. */
const it = test.extend<{ scene: Scene }>({
  // eslint-disable-next-line no-empty-pattern
  scene: async ({}, use) => {
    const home = mkdtempSync(join(tmpdir(), 'postern-watch-'));
    const folder = join(home, 'config');
    mkdirSync(join(folder, 'policies'), { recursive: true });
    writeFileSync(join(folder, 'postern.yaml'), 'log: { level: info }\n');
    writeFileSync(join(folder, 'policies', 'a.yaml'), 'groups: []\n');
    const watches: FolderWatch[] = [];
    const errors: Error[] = [];
    const scene: Scene = {
      home,
      folder,
      calls: 0,
      async watching(options = {}) {
        const watch = watchFolder({
          paths: [{ path: folder, deep: true }],
          onChange: () => {
            scene.calls += 1;
          },
          onError: (error) => errors.push(error),
          // Nothing but the system's own events may be what tells.
          sweepMs: 3_600_000,
          quietMs: 50,
          ...options,
        });
        watches.push(watch);
        await watch.ready;
        await scene.quiet();
        scene.calls = 0;
        return watch;
      },
      async quiet() {
        for (let before = -1; before !== scene.calls;) {
          before = scene.calls;
          await sleep(300);
        }
      },
      async told() {
        await vi.waitUntil(() => scene.calls > 0, { timeout: 10_000, interval: 10 });
      },
    };
    await use(scene);
    await Promise.all(watches.map((one) => one.stop()));
    rmSync(home, { recursive: true, force: true });
    if (errors.length > 0) throw new AggregateError(errors, 'the watch failed');
  },
});

/** A volume as the kubelet writes it; each call swaps in another version. */
function volume(path: string): (version: number) => void {
  mkdirSync(path, { recursive: true });
  let old: string | undefined;
  return (version) => {
    const name = `..2026_01_31_10_00_00.${version}`;
    mkdirSync(join(path, name));
    writeFileSync(join(path, name, 'x.yaml'), `# ${version}\n`);
    symlinkSync(name, join(path, '..data_tmp'));
    renameSync(join(path, '..data_tmp'), join(path, '..data'));
    if (old === undefined) symlinkSync('..data/x.yaml', join(path, 'x.yaml'));
    else rmSync(join(path, old), { recursive: true });
    old = name;
  };
}

describe.concurrent('what is told', () => {
  const changes: readonly [string, (folder: string) => void][] = [
    ['an edit', (folder) => writeFileSync(join(folder, 'policies', 'a.yaml'), 'groups: [] # edited\n')],
    ['an edit of the same size', (folder) => writeFileSync(join(folder, 'policies', 'a.yaml'), 'groups: {}\n')],
    ['an added line', (folder) => appendFileSync(join(folder, 'postern.yaml'), '# more\n')],
    ['a new file', (folder) => writeFileSync(join(folder, 'policies', 'b.yaml'), 'lists: []\n')],
    ['a removed file', (folder) => unlinkSync(join(folder, 'policies', 'a.yaml'))],
    [
      'an atomic rename over a file',
      (folder) => {
        writeFileSync(join(folder, 'policies', '.a.yaml.tmp'), 'groups: [] # whole\n');
        renameSync(join(folder, 'policies', '.a.yaml.tmp'), join(folder, 'policies', 'a.yaml'));
      },
    ],
    [
      'a new folder with a file in it',
      (folder) => {
        mkdirSync(join(folder, 'policies', 'team', 'deep'), { recursive: true });
        writeFileSync(join(folder, 'policies', 'team', 'deep', 'c.yaml'), 'groups: []\n');
      },
    ],
    [
      'a file moved to another folder',
      (folder) => {
        mkdirSync(join(folder, 'off'));
        renameSync(join(folder, 'policies', 'a.yaml'), join(folder, 'off', 'a.yaml'));
      },
    ],
    ['a link that is pointed elsewhere', (folder) => symlinkSync('policies/a.yaml', join(folder, 'link.yaml'))],
  ];

  it.for(changes)('%s', async ([, change], { scene }) => {
    await scene.watching();
    change(scene.folder);
    await scene.told();
  });

  it.for(changes)('%s, a second time after the first was told', async ([, change], { scene }) => {
    await scene.watching();
    writeFileSync(join(scene.folder, 'policies', 'first.yaml'), '');
    await scene.told();
    await scene.quiet();
    scene.calls = 0;
    change(scene.folder);
    await scene.told();
  });

  it('an edit below a folder that was made after the watch began', async ({ scene }) => {
    await scene.watching();
    mkdirSync(join(scene.folder, 'policies', 'later'));
    await scene.told();
    await scene.quiet();
    scene.calls = 0;
    writeFileSync(join(scene.folder, 'policies', 'later', 'a.yaml'), 'groups: []\n');
    await scene.told();
    await scene.quiet();
    scene.calls = 0;
    writeFileSync(join(scene.folder, 'policies', 'later', 'a.yaml'), 'groups: [] # edited\n');
    await scene.told();
  });

  it('nothing of what editors and Postern itself write under names that begin with a dot', async ({ scene }) => {
    await scene.watching();
    writeFileSync(join(scene.folder, 'policies', '.a.yaml.swp'), 'x');
    mkdirSync(join(scene.folder, '.git'));
    writeFileSync(join(scene.folder, '.git', 'index'), 'x');
    await scene.quiet();
    expect(scene.calls).toBe(0);
  });
});

describe.concurrent('Kubernetes volumes', () => {
  it('tells each of several swaps of ..data', async ({ scene }) => {
    const swap = volume(join(scene.folder, 'policies', 'volume'));
    swap(1);
    await scene.watching();
    for (const version of [2, 3, 4]) {
      swap(version);
      await scene.told();
      await scene.quiet();
      scene.calls = 0;
    }
  });

  it('tells a swap before the old version is removed', async ({ scene }) => {
    const path = join(scene.folder, 'policies', 'volume');
    volume(path)(1);
    await scene.watching();
    mkdirSync(join(path, '..2'));
    writeFileSync(join(path, '..2', 'x.yaml'), '# 2\n');
    await scene.quiet();
    scene.calls = 0;
    symlinkSync('..2', join(path, '..data_tmp'));
    renameSync(join(path, '..data_tmp'), join(path, '..data'));
    await scene.told();
  });

  it('tells swaps where the config folder itself is the volume', async ({ scene }) => {
    const path = join(scene.home, 'volume');
    const swap = volume(path);
    swap(1);
    await scene.watching({ paths: [{ path, deep: true }] });
    swap(2);
    await scene.told();
  });
});

describe.concurrent('the scene.folder itself', () => {
  it('is found again when it was removed and made anew', async ({ scene }) => {
    await scene.watching();
    rmSync(scene.folder, { recursive: true });
    await scene.told();
    await scene.quiet();
    scene.calls = 0;
    mkdirSync(scene.folder);
    await scene.told();
    await scene.quiet();
    scene.calls = 0;
    writeFileSync(join(scene.folder, 'postern.yaml'), 'log: { level: debug }\n');
    await scene.told();
  });

  it('is found again when another one took its place', async ({ scene }) => {
    await scene.watching();
    renameSync(scene.folder, join(scene.home, 'old'));
    mkdirSync(scene.folder);
    await scene.told();
    await scene.quiet();
    scene.calls = 0;
    writeFileSync(join(scene.folder, 'postern.yaml'), '');
    await scene.told();
  });

  it('may be a link, and is watched where the link leads now', async ({ scene }) => {
    const link = join(scene.home, 'current');
    symlinkSync('config', link);
    await scene.watching({ paths: [{ path: link, deep: true }] });
    mkdirSync(join(scene.home, 'next'));
    symlinkSync('next', join(scene.home, 'tmp'));
    renameSync(join(scene.home, 'tmp'), link);
    await scene.told();
    await scene.quiet();
    scene.calls = 0;
    writeFileSync(join(scene.home, 'next', 'postern.yaml'), '');
    await scene.told();
  });

  it('need not be there when the watch begins', async ({ scene }) => {
    const late = join(scene.home, 'late');
    await scene.watching({ paths: [{ path: late, deep: true }] });
    mkdirSync(late);
    await scene.told();
    await scene.quiet();
    scene.calls = 0;
    writeFileSync(join(late, 'postern.yaml'), '');
    await scene.told();
  });
});

describe.concurrent('folders outside', () => {
  it('are watched when they are named, and no longer when they are not', async ({ scene }) => {
    const outside: WatchedFolder = { path: join(scene.home, 'keys'), deep: false };
    mkdirSync(outside.path);
    const watch = await scene.watching();
    writeFileSync(join(outside.path, 'a.pem'), '1');
    await scene.quiet();
    expect(scene.calls).toBe(0);
    watch.setPaths([{ path: scene.folder, deep: true }, outside]);
    await scene.told();
    await scene.quiet();
    scene.calls = 0;
    writeFileSync(join(outside.path, 'a.pem'), '22');
    await scene.told();
    watch.setPaths([{ path: scene.folder, deep: true }]);
    await scene.quiet();
    scene.calls = 0;
    writeFileSync(join(outside.path, 'a.pem'), '333');
    await scene.quiet();
    expect(scene.calls).toBe(0);
    writeFileSync(join(scene.folder, 'postern.yaml'), '');
    await scene.told();
  });
});

describe.concurrent('bursts', () => {
  it('are one change, told when they are over', async ({ scene }) => {
    let files: string[] = [];
    await scene.watching({
      quietMs: 500,
      longestMs: 60_000,
      onChange: () => {
        scene.calls += 1;
        files = readdirSync(join(scene.folder, 'policies'));
      },
    });
    for (let n = 0; n < 20; n += 1) {
      writeFileSync(join(scene.folder, 'policies', `n${n}.yaml`), `${n}`);
      await sleep(5);
    }
    await scene.told();
    await scene.quiet();
    expect(scene.calls).toBe(1);
    expect(files).toHaveLength(21);
  });

  it('are told while they go on, so that endless writing starves nobody', async ({ scene }) => {
    await scene.watching({ quietMs: 200, longestMs: 300 });
    let n = 0;
    const writing = setInterval(() => writeFileSync(join(scene.folder, 'policies', 'a.yaml'), `# ${n++}\n`), 10);
    try {
      await scene.told();
    } finally {
      clearInterval(writing);
    }
  });

  it('never have two calls at once, and what happens during a call is told after it', async ({ scene }) => {
    let under = 0;
    let most = 0;
    let release: (() => void) | undefined;
    let held = false;
    await scene.watching({
      onChange: async () => {
        scene.calls += 1;
        under += 1;
        most = Math.max(most, under);
        if (held) {
          await new Promise<void>((resolve) => {
            release = resolve;
          });
        }
        under -= 1;
      },
    });
    held = true;
    writeFileSync(join(scene.folder, 'policies', 'a.yaml'), '# 1\n');
    await scene.told();
    writeFileSync(join(scene.folder, 'policies', 'a.yaml'), '# 2\n');
    await sleep(400);
    expect(scene.calls).toBe(1);
    held = false;
    release?.();
    await expect.poll(() => scene.calls, { timeout: 10_000 }).toBeGreaterThan(1);
    expect(most).toBe(1);
  });
});

it('calls once when it begins, for what was written before', async ({ scene }) => {
  const calls: string[] = [];
  const watch = await scene.watching({ onChange: () => void calls.push('changed') });
  expect(calls).toEqual(['changed']);
  await watch.stop();
});

it('finds by sweeping what no event told', async ({ scene }) => {
  // A file behind a link is not watched: only comparing times shows that it has changed.
  const hidden = join(scene.home, 'elsewhere');
  mkdirSync(hidden);
  writeFileSync(join(hidden, 'x.yaml'), '1');
  symlinkSync(join(hidden, 'x.yaml'), join(scene.folder, 'policies', 'x.yaml'));
  await scene.watching({ sweepMs: 200 });
  writeFileSync(join(hidden, 'x.yaml'), '22');
  await scene.told();
});

it('calls nobody once it is stopped', async ({ scene }) => {
  const watch = await scene.watching({ sweepMs: 50 });
  writeFileSync(join(scene.folder, 'postern.yaml'), '# last\n');
  await watch.stop();
  scene.calls = 0;
  writeFileSync(join(scene.folder, 'postern.yaml'), '# later\n');
  await scene.quiet();
  expect(scene.calls).toBe(0);
});
