/** What an editor makes of the schemas: the samples are right, faults are shown where they are, keys are offered and
 *  said what they are. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { schema } from '../../src/cli/schema.ts';
import { folderWith, POLICIES, removeFolders } from '../cases/folders.ts';
import { DATA } from '../cases/many.ts';
import { run } from '../cases/terminal.ts';
import { startLanguageServer } from './language-server.ts';
import type { LanguageServer } from './language-server.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const SCHEMAS = join(ROOT, 'docs/schema');
const PUBLISHED = ['policies', 'settings', 'cases', 'decisions', 'explanation'] as const;

describe('the published schemas', () => {
  it.each(PUBLISHED)('%s is what the program prints (else: npm run generate)', async (name) => {
    const { out } = await run(schema, [name]);
    expect(readFileSync(join(SCHEMAS, `${name}.json`), 'utf8')).toBe(out);
  });

  it.each(['policies', 'settings', 'cases', 'explanation', 'decisions'])('%s says of every key what it is', (name) => {
    const silent: string[] = [];
    const walk = (value: unknown, path: string): void => {
      if (typeof value !== 'object' || value === null) return;
      const { properties } = value as { readonly properties?: Readonly<Record<string, Described>> };
      // What is named and told by its place needs no more words in what we print ourselves.
      if (properties && isWritten(name))
        for (const [key, member] of Object.entries(properties)) if (!isDescribed(member)) silent.push(`${path}.${key}`);
      for (const [key, inner] of Object.entries(value)) walk(inner, `${path}.${key}`);
    };
    walk(JSON.parse(readFileSync(join(SCHEMAS, `${name}.json`), 'utf8')), '');
    expect(silent).toEqual([]);
  });

  it('say of every rule, and of every key of an object, whose it is', () => {
    const policies = JSON.parse(readFileSync(join(SCHEMAS, 'policies.json'), 'utf8')) as {
      readonly definitions: Readonly<
        Record<
          string,
          { readonly properties?: Readonly<Record<string, Described>>; readonly anyOf?: readonly Described[] }
        >
      >;
    };
    const rules = policies.definitions['rule']?.anyOf ?? [];
    expect(rules).toHaveLength(26);
    for (const { description } of rules) expect(description).toMatch(/Source: Cloudflare Access, rule type \S+\.$/);
    for (const key of ['applications', 'groups', 'lists', 'resource_rules', 'authentication_flows'])
      for (const [name, { description }] of Object.entries(policies.definitions[key]?.properties ?? {}))
        expect(`${name}: ${description ?? ''}`).toMatch(/Source: (?:Cloudflare|Entrust|Postern)/);
  });
});

interface Described {
  readonly description?: string;
  readonly anyOf?: readonly Described[];
}

function isDescribed({ description, anyOf }: Described): boolean {
  return description !== undefined || anyOf?.some(isDescribed) === true;
}

function isWritten(name: string): boolean {
  return name === 'policies' || name === 'settings' || name === 'cases';
}

describe('in an editor', { timeout: 60_000 }, () => {
  let server: LanguageServer;
  let folder: string;

  beforeAll(async () => {
    folder = folderWith({});
    server = await startLanguageServer(ROOT);
  }, 60_000);
  afterAll(async () => {
    await server.stop();
    removeFolders();
  });

  /** A file of the folder that names a schema in its first line. */
  function file(name: string, kind: (typeof PUBLISHED)[number], text: string): string {
    const path = join(folder, name);
    writeFileSync(path, `# yaml-language-server: $schema=${join(SCHEMAS, `${kind}.json`)}\n${text}`);
    return path;
  }

  it.each(['config/postern.yaml', 'config/policies/orders.yaml', 'config/tests/orders.yaml'])(
    'the sample %s is right',
    async (name) => {
      const path = join(ROOT, name);
      expect(readFileSync(path, 'utf8')).toMatch(
        /^# yaml-language-server: \$schema=\.\.\/(?:\.\.\/)?docs\/schema\/\w+\.json\n/,
      );
      expect(await server.open(path)).toEqual([]);
    },
  );

  it('the sample is wrong where its schema says so, so that it is read at all', async () => {
    const path = join(ROOT, 'config/policies/orders.yaml');
    const text = readFileSync(path, 'utf8').replace('applications:', 'aplications:');
    const other = join(folder, 'sample.yaml');
    const found = await server.open(other, text.replace('../../docs/schema', SCHEMAS));
    expect(found.map(({ message }) => message).join('\n')).toContain('aplications');
  });

  it('every rule type and factor of a large set is right', async () => {
    expect(await server.open(file('large.yaml', 'policies', JSON.stringify(DATA, null, 1)))).toEqual([]);
    expect(await server.open(file('orders.yaml', 'policies', POLICIES))).toEqual([]);
  });

  it.each([
    ['an unknown key', 'name: Orders', 'nmae: Orders', 'nmae'],
    ['a rule type that is none', 'email_domain: { domain', 'email_domian: { domain', 'email_domian'],
    ['a decision that is none', 'decision: deny', 'decision: denied', 'allow'],
    ['a text for a number', 'riskPoint: 40', 'riskPoint: forty', 'number'],
    ['a missing key', 'country_code: CA', '', 'country_code'],
  ])('%s is shown where it is', async (name, from, to, word) => {
    expect(POLICIES).toContain(from);
    // From 0, after the line that names the schema.
    const line = POLICIES.slice(0, POLICIES.indexOf(from)).split('\n').length;
    const found = await server.open(file(`${name.replaceAll(' ', '-')}.yaml`, 'policies', POLICIES.replace(from, to)));
    const told = found.map(({ range, message }) => `${range.start.line}: ${message}`);
    expect(
      told.some((one) => one.startsWith(`${line}: `) && one.includes(word)),
      told.join('\n'),
    ).toBe(true);
  });

  it('keys and rule types are offered, and said what they are', async () => {
    const text =
      'groups:\n  - id: 8f1c0000-0000-4000-8000-000000000001\n    name: A\n    include:\n      - geo: { country_code: CA }\n      - \n    \n';
    const path = file('complete.yaml', 'policies', text);
    await server.open(path);
    const rules = await server.completion(path, 6, 8);
    expect(rules).toEqual(expect.arrayContaining(['email_domain', 'github-organization', 'external_evaluation']));
    const started = file('keys.yaml', 'policies', 'groups:\n  - id: 8f1c0000-0000-4000-8000-000000000001\n    \n');
    await server.open(started);
    const keys = await server.completion(started, 3, 4);
    expect(keys).toEqual(expect.arrayContaining(['exclude', 'require', 'is_default']));
    expect(await server.hover(path, 5, 9)).toContain('Source: Cloudflare Access, rule type geo.');
    expect(await server.hover(path, 3, 6)).toContain('Unique name');
  });

  it('cases are completed and checked', async () => {
    const wrong = file(
      'cases.yaml',
      'cases',
      '- name: x\n  request: { host: a.example }\n  expect: { outcome: denied }\n  \n',
    );
    const found = await server.open(wrong);
    expect(found.map(({ range }) => range.start.line)).toEqual([3]);
    expect(await server.completion(wrong, 4, 2)).toEqual(expect.arrayContaining(['identity', 'history', 'table']));
  });

  it('settings are completed and checked', async () => {
    const wrong = file('postern.yaml', 'settings', 'log: { level: loud }\nrisk:\n  \n');
    const found = await server.open(wrong);
    expect(found.map(({ range }) => range.start.line)).toContain(1);
    expect(await server.completion(wrong, 3, 2)).toEqual(expect.arrayContaining(['locations_max', 'score']));
  });
});
