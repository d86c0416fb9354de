/** What a revision takes over from the one before, and what it must not. */
import { describe, expect, it } from 'vitest';
import { compile } from '../../src/policy/compile.ts';
import type { CompiledSet } from '../../src/policy/compile.ts';
import { createLookups } from '../../src/policy/lookups.ts';
import { createPolicyReader } from '../../src/policy/read.ts';
import { SETTINGS, filesOf } from './loading.ts';

const GROUP = '8f1c0000-0000-4000-8000-000000000001';
const LIST = '5a6b0000-0000-4000-8000-000000000001';

const application = (number: number, rule = `{ group: { id: ${GROUP} } }`): string =>
  `{ id: 9a4b2f0e-3f55-4a57-9b0e-00000000000${number}, name: A${number}, destinations: [a${number}.example.com], policies: [{ name: P, decision: allow, include: [${rule}] }] }`;

const resourceRule = (number: number, points: number): string =>
  `{ id: 0c3c0000-0000-4000-8000-00000000000${number}, name: R${number}, resourceId: 9a4b2f0e-3f55-4a57-9b0e-00000000000${number}, groups: [{ name: All Groups }], ipContext: { allowedIpRanges: [203.0.113.0/24], riskPoint: ${points} }, lowRiskAuthenticationFlow: { name: Password } }`;

const TEXTS: Readonly<Record<string, string>> = {
  'policies/a.yaml': `applications: [${application(1)}]\nresource_rules: [${resourceRule(1, 100)}]\n`,
  'policies/b.yaml': `applications: [${application(2)}]\n`,
  'policies/groups.yaml': `groups: [{ id: ${GROUP}, name: Staff, include: [{ email_list: { id: ${LIST} } }] }]\n`,
  'policies/lists.yaml': `lists: [{ id: ${LIST}, name: Staff, type: EMAIL, items: [{ value: ann@example.com }] }]\n`,
};

/** One reader for both revisions, as in the program: unchanged files keep their objects. */
async function twice(change: Readonly<Record<string, string>>): Promise<readonly [CompiledSet, CompiledSet]> {
  const reader = createPolicyReader();
  const build = async (texts: Readonly<Record<string, string>>, before?: CompiledSet): Promise<CompiledSet> => {
    const { set, faults } = await reader.read(filesOf(texts));
    expect(faults).toEqual([]);
    const settings = { settings: SETTINGS.risk, providers: SETTINGS.identity.providers };
    return compile(set, createLookups(set, SETTINGS), settings, async () => undefined, before);
  };
  const first = await build(TEXTS);
  return [first, await build({ ...TEXTS, ...change }, first)];
}

describe('a revision takes over', () => {
  it.each<[string, Record<string, string>, string[]]>([
    ['nothing changed', {}, ['A1', 'A2']],
    [
      'another application changed',
      { 'policies/b.yaml': `applications: [${application(2, '{ everyone: {} }')}]\n` },
      ['A1'],
    ],
    ['an application came', { 'policies/c.yaml': `applications: [${application(3)}]\n` }, ['A1', 'A2']],
    [
      'its resource rule changed',
      { 'policies/a.yaml': `applications: [${application(1)}]\nresource_rules: [${resourceRule(1, 50)}]\n` },
      ['A2'],
    ],
    [
      'a resource rule came from another file',
      { 'policies/c.yaml': `resource_rules: [${resourceRule(2, 50)}]\n` },
      ['A1'],
    ],
    [
      'a group changed',
      { 'policies/groups.yaml': `groups: [{ id: ${GROUP}, name: Staff, include: [{ everyone: {} }] }]\n` },
      [],
    ],
    [
      'a list that only a group names changed',
      {
        'policies/lists.yaml': `lists: [{ id: ${LIST}, name: Staff, type: EMAIL, items: [{ value: bob@example.com }] }]\n`,
      },
      [],
    ],
  ])('%s', async (_, change, taken) => {
    const [before, after] = await twice(change);
    const same = after.applications.filter((one) => before.applications.includes(one));
    expect(same.map(({ named }) => named.name)).toEqual(taken);
  });

  it('a linked application that came is found under any spelling of its id', async () => {
    const id = '9A4B2F0E-3F55-4A57-9B0E-00000000000F';
    const issuer = `{ id: ${id}, name: Issuer, aud: issued }`;
    const uses = application(3, `{ linked_app_token: { app_uid: ${id} } }`).replace('allow', 'non_identity');
    const [, after] = await twice({ 'policies/c.yaml': `applications: [${issuer}, ${uses}]\n` });
    const found = after.applications.find(({ named }) => named.name === 'A3');
    expect(found?.needs.linkedTokens).toEqual([id.toLowerCase()]);
    expect(after.applications.map(({ named }) => named.id)).toContain(id.toLowerCase());
  });

  it('finds every application by its destination, taken over or not', async () => {
    const [, after] = await twice({ 'policies/b.yaml': `applications: [${application(2, '{ everyone: {} }')}]\n` });
    for (const name of ['A1', 'A2']) {
      const found = after.destinations.find(`${name.toLowerCase()}.example.com`, '/');
      expect(found?.target).toBe(after.applications.find(({ named }) => named.name === name));
    }
  });
});
