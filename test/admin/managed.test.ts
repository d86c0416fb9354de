/** The one writer of objects: what it writes, when that is live, and what it leaves alone. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import * as files from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createManaged } from '../../src/admin/managed.ts';
import type { ManagedChange } from '../../src/admin/managed-faults.ts';
import type { Managed, Plan, Written } from '../../src/admin/managed.ts';
import { createKeySets } from '../../src/facts/key-set.ts';
import type { LogFields } from '../../src/log.ts';
import { createLoader } from '../../src/revision.ts';
import type { Loader, Revision } from '../../src/revision.ts';
import { createTurns } from '../../src/shared/turns.ts';

// A busy machine takes its time.
vi.setConfig({ testTimeout: 120_000 });

vi.mock('node:fs/promises', async (original) => ({ ...(await original<typeof files>()) }));

const ID = '8f1c0000-0000-4000-8000-0000000000aa';
const OTHER = '8f1c0000-0000-4000-8000-0000000000bb';
const CALLER = { name: 'terraform', actor: 'ann@example.com', scopes: ['write'] };

let folder: string;
let loader: Loader;
let revision: Revision;
let managed: Managed;
let logged: (LogFields & { readonly message: string })[];
/** Called when the set with the change has been compiled and nothing is on disk yet. */
let afterPreparing: () => void;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'postern-managed-'));
  mkdirSync(join(folder, 'policies'));
  writeFileSync(
    join(folder, 'policies/base.yaml'),
    `applications:
  - id: 9a4b2f0e-3f55-4a57-9b0e-000000000001
    name: Orders
    destinations: [orders.example.com]
    policies: [{ name: Engineers, decision: allow, include: [{ everyone: {} }] }]
`,
  );
  loader = createLoader({ folder, overrides: [], keySets: createKeySets({}), makesKeys: false });
  revision = compiled((await loader.load()).revision);
  logged = [];
  afterPreparing = () => undefined;
  const log = (message: string, fields: LogFields = {}): void => void logged.push({ message, ...fields });
  managed = createManaged({
    folder,
    turns: createTurns(),
    current: () => revision,
    async reload() {
      const loaded = await loader.load();
      if (loaded.revision) revision = loaded.revision;
      return loaded.faults;
    },
    async prepare(change) {
      const { loaded, unchanged, keep } = await loader.loadWith(change);
      afterPreparing();
      return {
        faults: loaded.faults,
        unchanged,
        use() {
          keep();
          revision = compiled(loaded.revision);
        },
      };
    },
    logger: { info: log, warn: log, error: log },
  });
});

afterEach(() => {
  vi.restoreAllMocks();
  rmSync(folder, { recursive: true, force: true });
});

function compiled(loaded: Revision | undefined): Revision {
  if (!loaded) throw new Error('the set has faults');
  return loaded;
}

function group(name: string, ip = '10.0.0.1', id = ID): ManagedChange {
  return { key: 'groups', id, object: { id, name, include: [{ ip: { ip } }] } };
}

const REMOVAL: ManagedChange = { key: 'groups', id: ID, object: undefined };

async function write(change: ManagedChange): Promise<Written<string>> {
  return managed.write(CALLER, () => ({ change, done: (after) => after.id }));
}

function pathOf(id = ID): string {
  return join(folder, `policies/managed/groups/${id}.json`);
}

function everything(): readonly string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' }).toSorted();
}

describe('a write', () => {
  it('is a file of one object, named after its id, and live when it is answered', async () => {
    expect(await write(group('Office'))).toEqual({ answer: revision.id });
    expect(JSON.parse(readFileSync(pathOf(), 'utf8'))).toEqual({
      groups: [{ id: ID, name: 'Office', include: [{ ip: { ip: '10.0.0.1' } }] }],
    });
    expect(revision.set.groups.map(({ name }) => name)).toEqual(['Office']);
  });

  it('makes the revision that the folder then has: reading it again changes nothing', async () => {
    await write(group('Office'));
    const before = revision;
    expect((await loader.load()).revision).toBe(before);
    const fresh = createLoader({ folder, overrides: [], keySets: createKeySets({}), makesKeys: false });
    expect((await fresh.load()).id).toBe(before.id);
  });

  it('is logged with token, actor, kind, id, name and revision', async () => {
    await write(group('Office'));
    const fields = { token_name: 'terraform', actor: 'ann@example.com', kind: 'group', id: ID, name: 'Office' };
    expect(logged).toEqual([{ message: 'an object was written', ...fields, revision: revision.id }]);
    await write(REMOVAL);
    expect(logged[1]).toEqual({ message: 'an object was removed', ...fields, revision: revision.id });
  });

  it('of a removal takes the file away, and the revision is the one before', async () => {
    const before = revision.id;
    await write(group('Office'));
    await write(REMOVAL);
    expect(existsSync(pathOf())).toBe(false);
    expect(revision.id).toBe(before);
  });

  it('that is at fault leaves disk and revision as they are, and says where in the object', async () => {
    const before = [everything(), revision.id];
    expect(await write(group('Office', '300.0.0.1'))).toEqual({
      refused: {
        kind: 'faults',
        faults: [expect.objectContaining({ code: 'cidr_invalid', pointer: '/include/0/ip/ip' })],
      },
    });
    expect([everything(), revision.id]).toEqual(before);
    expect(logged).toEqual([]);
  });

  it('planned as nothing is none', async () => {
    const before = everything();
    expect(await managed.write(CALLER, (): Plan<string> => ({ answer: 'as it is' }))).toEqual({ answer: 'as it is' });
    expect(everything()).toEqual(before);
  });

  it('waits for those before it, and sees what they did', async () => {
    const seen: (readonly string[])[] = [];
    const add = (id: string, name: string): Promise<Written<string>> =>
      managed.write(CALLER, (current) => {
        seen.push(current.set.groups.map((one) => one.name));
        return { change: group(name, '10.0.0.1', id), done: () => name };
      });
    await Promise.all([add(ID, 'first'), add(OTHER, 'second'), write(REMOVAL)]);
    expect(seen).toEqual([[], ['first']]);
    expect(revision.set.groups.map((one) => one.name)).toEqual(['second']);
  });
});

describe('an object that is named elsewhere', () => {
  const users = `applications:
  - id: 9a4b2f0e-3f55-4a57-9b0e-000000000002
    name: Billing
    destinations: [billing.example.com]
    policies:
      - { name: In, decision: allow, include: [{ group: { id: ${ID} } }] }
      - { name: Also in, decision: allow, include: [{ everyone: {} }], exclude: [{ group: { id: ${ID} } }] }
groups: [{ id: ${OTHER}, name: Outer, include: [{ group: { id: Office } }] }]
resource_rules:
  - id: 0c3c0000-0000-4000-8000-000000000001
    name: Staff
    resourceId: 9a4b2f0e-3f55-4a57-9b0e-000000000002
    groups: [{ name: Office }]
    lowRiskThreshold: 30
    mediumRiskThreshold: 70
    lowRiskAuthenticationFlow: { name: Password }
`;
  beforeEach(async () => {
    await write(group('Office'));
    writeFileSync(join(folder, 'policies/users.yaml'), users);
  });

  it('is not removed; every user is told with file and line', async () => {
    expect(await write(REMOVAL)).toEqual({
      refused: {
        kind: 'in_use',
        users: [
          expect.stringMatching(/^policy "In" of application "Billing" \(policies\/users\.yaml:6:\d+\)$/),
          expect.stringMatching(/^policy "Also in" of application "Billing" \(policies\/users\.yaml:7:\d+\)$/),
          expect.stringMatching(/^group "Outer" \(policies\/users\.yaml:8:\d+\)$/),
          expect.stringMatching(/^resource rule "Staff" \(policies\/users\.yaml:13:\d+\)$/),
        ],
      },
    });
    expect(existsSync(pathOf())).toBe(true);
  });

  it('is not renamed where others name it by its name', async () => {
    const written = await write(group('Bureau'));
    expect(written).toMatchObject({ refused: { kind: 'faults' } });
    expect(JSON.stringify(written)).toContain('group \\"Outer\\" (policies/users.yaml:8:');
    expect('refused' in written && written.refused.kind === 'faults' && written.refused.faults).toEqual(
      expect.arrayContaining([expect.objectContaining({ code: 'group_unknown', pointer: '/name' })]),
    );
    expect(await write(group('Office', '10.9.9.9'))).toEqual({ answer: revision.id });
  });

  it('may not come to contain who contains it', async () => {
    const include = [{ ip: { ip: '10.0.0.1' } }, { group: { id: OTHER } }];
    expect(await write({ key: 'groups', id: ID, object: { id: ID, name: 'Office', include } })).toMatchObject({
      refused: { kind: 'faults', faults: [{ code: 'group_cycle', pointer: '/include/1/group' }] },
    });
  });
});

describe('a hand that edits the folder meanwhile', () => {
  it('loses nothing: another file changed since the last reload is part of what is written next', async () => {
    writeFileSync(
      join(folder, 'policies/by-hand.yaml'),
      `groups: [{ id: ${OTHER}, name: By hand, include: [{ everyone: {} }] }]\n`,
    );
    await write(group('Office'));
    expect(revision.set.groups.map(({ name }) => name)).toEqual(['By hand', 'Office']);
  });

  it('is seen also by who finds nothing to write', async () => {
    const asked = async (): Promise<unknown> =>
      managed.write(CALLER, (current): Plan<number> => ({ answer: current.set.groups.length }));
    expect(await asked()).toEqual({ answer: 0 });
    const text = `groups: [{ id: ${OTHER}, name: By hand, include: [{ everyone: {} }] }]\n`;
    writeFileSync(join(folder, 'policies/by-hand.yaml'), text);
    expect(await asked()).toEqual({ answer: 1 });
    writeFileSync(join(folder, 'policies/by-hand.yaml'), text.replace('everyone', 'nobody'));
    expect(await asked()).toEqual({ answer: 1 });
  });

  it('loses nothing: the file itself changed after the set was compiled is left, and the plan is asked again', async () => {
    await write(group('Office'));
    const mine = JSON.stringify({ groups: [{ id: ID, name: 'By hand', include: [{ everyone: {} }] }] });
    let edits = 0;
    afterPreparing = () => {
      if (edits === 0) writeFileSync(pathOf(), mine);
      edits += 1;
    };
    const seen: unknown[] = [];
    await managed.write(CALLER, (current): Plan<string> => {
      const name = current.set.groups[0]?.name;
      seen.push(name);
      return name === 'By hand' ? { answer: 'left' } : { change: group('Bureau'), done: () => 'written' };
    });
    expect(seen).toEqual(['Office', 'Office', 'By hand']);
    expect(readFileSync(pathOf(), 'utf8')).toBe(mine);
    expect(everything().filter((name) => name.includes('.new'))).toEqual([]);
  });

  it('that leaves a file at fault keeps everything as it is until that is mended', async () => {
    writeFileSync(join(folder, 'policies/by-hand.yaml'), `groups: [{ id: ${OTHER}, name: By hand, include: [] }]\n`);
    expect(await write(group('Office'))).toMatchObject({
      refused: { kind: 'folder', first: { fault: { code: 'include_empty' } } },
    });
    expect(existsSync(pathOf())).toBe(false);
    rmSync(join(folder, 'policies/by-hand.yaml'));
    expect(await write(group('Office'))).toEqual({ answer: revision.id });
  });
});

describe('a disk that refuses', () => {
  const failing = (code: string): Error => Object.assign(new Error(`${code}: made to fail`), { code });
  it.each([
    ['EROFS', 'read_only'],
    ['EACCES', 'read_only'],
    ['EPERM', 'read_only'],
    ['ENOSPC', 'disk'],
    ['EIO', 'disk'],
  ] as const)('%s before the rename: %s, nothing left behind, what runs stays', async (code, kind) => {
    const before = [everything(), revision.id];
    for (const step of ['mkdir', 'open', 'rename'] as const) {
      const spy = vi.spyOn(files, step);
      if (step === 'open') {
        const { open } = await vi.importActual<typeof files>('node:fs/promises');
        // Reading goes on; only writing fails.
        spy.mockImplementation((async (path: string, flags: string) => {
          if (flags === 'wx') throw failing(code);
          return open(path, flags);
        }) as never);
      } else spy.mockRejectedValue(failing(code) as never);
      expect(await write(group('Office'))).toEqual({ refused: { kind, code } });
      spy.mockRestore();
      expect([everything(), revision.id]).toEqual(before);
    }
    expect(await write(group('Office'))).toEqual({ answer: revision.id });
    vi.spyOn(files, 'unlink').mockRejectedValue(failing(code));
    expect(await write(REMOVAL)).toEqual({ refused: { kind, code } });
    expect(existsSync(pathOf())).toBe(true);
  });

  it('to flush the folder after the rename is logged, and the write stands', async () => {
    const { open } = await vi.importActual<typeof files>('node:fs/promises');
    vi.spyOn(files, 'open').mockImplementation((async (path: string, flags: string) => {
      if (path.endsWith('managed/groups')) throw failing('EIO');
      return open(path, flags);
    }) as never);
    expect(await write(group('Office'))).toEqual({ answer: revision.id });
    expect(revision.set.groups).toHaveLength(1);
    expect(logged[0]).toMatchObject({ message: 'a written object may be lost if the power fails now' });
  });

  it('where a file stands in the way of the folder: the system’s code, nothing changed', async () => {
    writeFileSync(join(folder, 'policies/managed'), 'in the way');
    await loader.load().then(({ revision: loaded }) => (revision = compiled(loaded)));
    expect(await write(group('Office'))).toEqual({ refused: { kind: 'disk', code: 'ENOTDIR' } });
    expect(readFileSync(join(folder, 'policies/managed'), 'utf8')).toBe('in the way');
  });
});
