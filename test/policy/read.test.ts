import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createPolicyReader, isPolicyFile, parseYaml } from '../../src/policy/read.ts';
import { parseJson } from '../../src/policy/json.ts';
import { parseText } from '../../src/policy/yaml.ts';
import { filesOf } from './loading.ts';

const GROUP = '8f1c0000-0000-4000-8000-000000000001';

function group(number: number): string {
  return `{ id: 8f1c0000-0000-4000-8000-${String(number).padStart(12, '0')}, name: G${number}, include: [{ everyone: {} }] }`;
}

describe('which files are read', () => {
  it.each([
    ['policies/orders.yaml', true],
    ['policies/orders.yml', true],
    ['policies/orders.json', true],
    ['policies/teams/core.YAML', true],
    ['policies/managed/groups/1.json', true],
    ['policies/README.md', false],
    ['policies/orders.yaml.bak', false],
    ['policies/.orders.yaml', false],
    ['policies/.git/orders.yaml', false],
    ['policies/..2026_03_04/orders.yaml', false],
    ['policies/yaml', false],
  ])('%s: %s', (name, isRead) => {
    expect(isPolicyFile(name)).toBe(isRead);
  });
});

describe('plain data', () => {
  it.each([
    ['nothing', '', undefined],
    ['a comment', '# nothing yet\n', undefined],
    ['null', 'null\n', undefined],
    ['a null member', '{ a: null, b: 1 }', { b: 1 }],
    ['a member without value', 'a:\nb: 1\n', { b: 1 }],
    ['null items stay', 'a: [null, 1]', { a: [null, 1] }],
    ['YAML 1.2: yes is text', 'a: yes\nb: on\nc: 012\nd: 0o14\n', { a: 'yes', b: 'on', c: 12, d: 12 }],
    ['a time is text', 'a: 2027-01-01T00:00:00Z', { a: '2027-01-01T00:00:00Z' }],
    ['keys are text', '1: a\ntrue: b\n', { 1: 'a', true: 'b' }],
    ['anchors', 'a: &x [1, 2]\nb: *x\n', { a: [1, 2], b: [1, 2] }],
    ['a merge key is a key', 'a: &x { b: 1 }\nc: { <<: *x }\n', { a: { b: 1 }, c: { '<<': { b: 1 } } }],
    ['a byte order mark', '\uFEFFa: 1', { a: 1 }],
    ['Windows line ends', 'a: 1\r\nb: 2\r\n', { a: 1, b: 2 }],
  ])('%s', (_, text, data) => {
    expect(parseYaml(text, 'a.yaml')).toEqual({ data });
  });

  it('has no prototype that a file could reach', () => {
    for (const name of ['a.yaml', 'a.json']) {
      const { data } = parseText('{"__proto__": {"admin": true}, "constructor": {"prototype": 1}}', name);
      expect((data as { readonly admin?: unknown }).admin).toBeUndefined();
      expect(Object.keys(data as object)).toEqual(['__proto__', 'constructor']);
    }
    expect(({} as { readonly admin?: unknown }).admin).toBeUndefined();
  });

  it('reads JSON alike by both of its readers', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 4 }), (value) => {
        const text = JSON.stringify(value);
        expect(parseJson(text)?.data).toEqual(parseText(text, 'a.yaml').data);
      }),
    );
  });

  it.each([
    ['{"a":1,"a":2}'],
    ['{"a":{"b":1},"c":[{"d":1,"d":2}]}'],
    [String.raw`{"a":1,"\u0061":2}`],
    ['{"a\\"":1,"a\\"":2}'],
  ])('leaves %s to the reader that knows where', (text) => {
    expect(parseJson(text)).toBeUndefined();
    expect(parseText(text, 'a.json').faults.map(({ code }) => code)).toEqual(['key_duplicate']);
  });

  it.each([['{"a":"b","b":"a"}'], ['[{"a":1},{"a":1}]'], ['{"a":{"a":{"a":"a,\\"a\\":"}}}'], ['{"a":["a","a"]}']])(
    'finds no duplicate in %s',
    (text) => {
      expect(parseJson(text)).toEqual({ data: JSON.parse(text) as unknown });
    },
  );

  it('refuses nesting that no parser survives', () => {
    const deep = '['.repeat(100_000);
    expect(parseText(deep, 'a.yaml').faults.map(({ code }) => code)).toEqual(['yaml_syntax']);
    expect(parseText(`${deep}${']'.repeat(100_000)}`, 'a.json').faults.map(({ code }) => code)).toEqual([
      'yaml_syntax',
    ]);
  });

  it('refuses bytes that are no UTF-8, and says where', async () => {
    const bytes = Buffer.concat([Buffer.from('groups: []\n# caf'), Buffer.from([0xe9, 0x0a])]);
    const { faults, isIncomplete } = await createPolicyReader().read(filesOf({ 'policies/a.yaml': bytes }));
    expect(faults).toMatchObject([{ code: 'yaml_syntax', place: { position: { line: 2, column: 6 } } }]);
    expect(isIncomplete).toBe(true);
  });
});

describe('reading a set', () => {
  it('joins the files by name and their objects by place', async () => {
    const { set, faults } = await createPolicyReader().read(
      filesOf({
        'policies/b.yaml': `groups: [${group(3)}]`,
        'policies/a.yaml': `groups: [${group(1)}, ${group(2)}]`,
        'policies/empty.yaml': '# nothing yet',
        'policies/notes.txt': 'not: [ours',
      }),
    );
    expect(faults).toEqual([]);
    expect(set.groups.map(({ name }) => name)).toEqual(['G1', 'G2', 'G3']);
    expect(set.groups.map(({ place }) => `${place.file} ${place.path.join('/')}`)).toEqual([
      'policies/a.yaml groups/0',
      'policies/a.yaml groups/1',
      'policies/b.yaml groups/0',
    ]);
  });

  it('parses again only what has changed', async () => {
    const reader = createPolicyReader();
    const texts = { 'policies/a.yaml': `groups: [${group(1)}]`, 'policies/b.yaml': `groups: [${group(2)}]` };
    const first = await reader.read(filesOf(texts));
    expect(reader.parsed).toBe(2);
    const second = await reader.read(filesOf({ ...texts, 'policies/b.yaml': `groups: [${group(3)}]` }));
    expect(reader.parsed).toBe(3);
    expect(second.set.groups[0]).toBe(first.set.groups[0]);
    expect(second.set.groups[1]?.name).toBe('G3');
    const third = await reader.read(filesOf({ 'policies/b.yaml': `groups: [${group(3)}]` }));
    expect(reader.parsed).toBe(3);
    expect(third.set.groups.map(({ name }) => name)).toEqual(['G3']);
    await reader.read(filesOf(texts));
    expect(reader.parsed).toBe(5);
  });

  it('tells the faults of an unchanged file again', async () => {
    const reader = createPolicyReader();
    const files = filesOf({ 'policies/a.yaml': 'grups: []' });
    const first = await reader.read(files);
    const second = await reader.read(files);
    expect(first.faults).toHaveLength(1);
    expect(second.faults).toEqual(first.faults);
    expect(reader.parsed).toBe(1);
  });

  it('knows a file that was moved by its new place', async () => {
    const reader = createPolicyReader();
    await reader.read(filesOf({ 'policies/a.yaml': `groups: [${group(1)}]` }));
    const { set } = await reader.read(filesOf({ 'policies/b.yaml': `groups: [${group(1)}]` }));
    expect(set.groups[0]?.place.file).toBe('policies/b.yaml');
  });

  it.each([
    ['no YAML', 'groups: [', true],
    ['a list that is none', 'groups: Engineering', true],
    ['a misspelt list', 'grups: []', true],
    ['a faulty object', 'groups: [{ name: 7 }]', false],
  ])('is incomplete for %s: %s', async (_, text, isIncomplete) => {
    const shaped = await createPolicyReader().read(filesOf({ 'policies/a.yaml': text }));
    expect(shaped.faults).not.toEqual([]);
    expect(shaped.isIncomplete).toBe(isIncomplete);
  });

  it('gives the event loop its turn', async () => {
    const texts = Object.fromEntries(
      Array.from({ length: 200 }, (_, number) => [
        `policies/${number}.yaml`,
        `groups:\n${Array.from({ length: 20 }, (_unused, inner) => `  - ${group(number * 20 + inner)}\n`).join('')}`,
      ]),
    );
    let turns = 0;
    let isReading = true;
    const turn = (): void => {
      turns += 1;
      if (isReading) setImmediate(turn);
    };
    setImmediate(turn);
    const { set } = await createPolicyReader().read(filesOf(texts));
    isReading = false;
    expect(set.groups).toHaveLength(4000);
    expect(turns).toBeGreaterThan(10);
  });
});

describe('exports dropped in as they are', () => {
  const envelope = (result: unknown): string =>
    JSON.stringify({ result, success: true, errors: [], messages: [], result_info: { page: 1, per_page: 25 } });
  const include = [{ everyone: {} }];

  it.each([
    ['groups', envelope([{ id: GROUP, uid: GROUP, name: 'G', include, exclude: null, require: [] }]), 'groups'],
    ['one group', envelope({ id: GROUP, name: 'G', include }), 'groups'],
    [
      'policies',
      envelope([{ id: GROUP, name: 'P', decision: 'allow', include, reusable: true, app_count: 2 }]),
      'policies',
    ],
    [
      'applications',
      envelope([
        { id: GROUP, uid: GROUP, name: 'A', type: 'self_hosted', aud: 'x', domain: 'a.example.com', policies: [] },
      ]),
      'applications',
    ],
    [
      'lists',
      envelope([{ id: GROUP, name: 'L', type: 'EMAIL', count: 1, items: [{ value: 'ann@example.com' }] }]),
      'lists',
    ],
    [
      'SCIM groups',
      envelope([{ id: 'core', displayName: 'Core', identity_provider_id: '11111111-1111-1111-1111-111111111111' }]),
      'scimGroups',
    ],
    ['a bare list', JSON.stringify([{ id: GROUP, name: 'G', include }]), 'groups'],
    [
      'resource rules',
      JSON.stringify([{ id: GROUP, name: 'R', resourceId: GROUP, groups: [{ name: 'All Groups' }], acrs: null }]),
      'resourceRules',
    ],
    [
      'authentication flows',
      JSON.stringify([{ id: GROUP, name: 'F', userLoginFirstStep: 'PASSWORD', readOnly: false }]),
      'flows',
    ],
    ['nothing', envelope([]), undefined],
  ] as const)('%s', async (_, text, kind) => {
    const { set, faults } = await createPolicyReader().read(filesOf({ 'policies/export.json': text }));
    expect(faults).toEqual([]);
    const filled = Object.entries(set)
      .filter(([, objects]) => (objects as readonly unknown[]).length > 0)
      .map(([name]) => name);
    expect(filled).toEqual(kind === undefined ? [] : [kind]);
  });
});

describe('the thread of large files', () => {
  // The thread runs only compiled, so the part is compiled for this test, beside the packages it imports.
  let folder = '';
  let compiled: { readonly createPolicyReader: typeof createPolicyReader };

  beforeAll(async () => {
    const root = join(import.meta.dirname, '../..');
    folder = mkdtempSync(join(root, 'node_modules/.cache/thread-'));
    const tsc = join(root, 'node_modules/typescript/bin/tsc');
    const config = [
      '-p',
      root,
      '--outDir',
      folder,
      '--declaration',
      'false',
      '--incremental',
      'false',
      '--sourceMap',
      'false',
    ];
    execFileSync(process.execPath, [tsc, ...config], { stdio: 'ignore' });
    compiled = (await import(/* @vite-ignore */ pathToFileURL(join(folder, 'policy/read.js')).href)) as typeof compiled;
  });

  afterAll(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  it('reads what is read without it, long lists and faults included', async () => {
    const rules = Array.from({ length: 2000 }, (_, number) => `{ email: { email: user${number}@example.com } }`).join(
      ', ',
    );
    const items = Array.from({ length: 3000 }, (_, number) => `{ value: user${number}@example.com }`).join(', ');
    const faulty = Array.from({ length: 600 }, () => '{}').join(', ');
    const files = filesOf({
      'policies/large.yaml': `groups:
  - { id: ${GROUP}, name: Large, include: [${rules}], require: [{ ip: { ip: 203.0.113.0/24 } }] }
  - ${Array.from({ length: 300 }, (_, number) => group(number + 10)).join('\n  - ')}
lists:
  - { id: ${GROUP}, name: Many, type: EMAIL, items: [${items}] }
acrs: [${faulty}]
`,
      'policies/small.yaml': `groups: [${group(5)}]`,
    });
    const threaded = await compiled.createPolicyReader({ workerBytes: 1000 }).read(files);
    const plain = await createPolicyReader().read(files);
    expect(threaded).toEqual(plain);
    expect(threaded.set.groups[0]?.include).toHaveLength(2000);
    expect(threaded.set.lists[0]?.items).toHaveLength(3000);
    expect(threaded.faults).toHaveLength(1200);
  });

  it('gives the event loop its turn between two pieces', async () => {
    const large = `groups:\n${Array.from({ length: 3000 }, (_, number) => `  - ${group(number)}\n`).join('')}`;
    let turns = 0;
    let isReading = true;
    const turn = (): void => {
      turns += 1;
      if (isReading) setImmediate(turn);
    };
    setImmediate(turn);
    const { set } = await compiled
      .createPolicyReader({ workerBytes: 1000 })
      .read(filesOf({ 'policies/a.yaml': large }));
    isReading = false;
    expect(set.groups).toHaveLength(3000);
    expect(turns).toBeGreaterThan(20);
  });

  it('rests between calls, and then keeps no process from ending', async () => {
    const reader = compiled.createPolicyReader({ workerBytes: 1 });
    await reader.read(
      filesOf({ 'policies/a.yaml': `groups: [${group(1)}]`, 'policies/b.yaml': `groups: [${group(2)}]` }),
    );
    const { set } = await reader.read(filesOf({ 'policies/a.yaml': `groups: [${group(3)}]` }));
    expect(set.groups.map(({ name }) => name)).toEqual(['G3']);
    expect(process.getActiveResourcesInfo().filter((name) => name === 'MessagePort')).toEqual([]);
  });
});
