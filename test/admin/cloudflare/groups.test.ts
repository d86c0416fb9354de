/** The groups API asked by hand: what no client would send, and what clients of other makes send. */
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { ACCOUNT, IDS, READER, TOKEN, WRITER, ask, newFolder, removeFolder, serve } from './served.ts';
import type { Answer, Served } from './served.ts';

// A busy machine takes its time.
vi.setConfig({ testTimeout: 120_000 });

let folder: string;
let served: Served;
beforeAll(async () => {
  folder = newFolder();
  served = await serve(folder);
});
afterAll(async () => {
  await served?.kill();
  removeFolder(folder);
});

const everyone = [{ everyone: {} }];
const PATH = 'access/groups';

function files(): readonly string[] {
  const names = readdirSync(join(folder, 'policies'), { recursive: true, encoding: 'utf8' }).toSorted();
  return names.map((name) => {
    const path = join(folder, 'policies', name);
    return statSync(path).isFile() ? `${name} ${readFileSync(path, 'utf8')}` : name;
  });
}

function resultIn<T>({ body }: Answer): T {
  if (body?.success !== true) throw new Error(JSON.stringify(body));
  return body.result as T;
}

async function make(body: object): Promise<Record<string, unknown> & { readonly id: string }> {
  const answer = await ask(served, 'POST', PATH, body);
  const made = resultIn<Record<string, unknown> & { readonly id: string }>(answer);
  expect(answer.status).toBe(201);
  return made;
}

async function remove(id: string): Promise<void> {
  expect((await ask(served, 'DELETE', `${PATH}/${id}`)).status).toBe(202);
}

/** What is told of an answer in a table: status, code, fault code and pointers. */
function told({ status, body }: Answer): string {
  const errors = (body?.errors ?? []).map(({ code, message, source }) => {
    const word = /^access\.api\.error\.(?:invalid_request: )?(\w+)/.exec(message)?.[1] ?? message;
    return `${code} ${word}${source ? ` ${source.pointer}` : ''}`;
  });
  return `${status} ${errors.join(', ')}`.trim();
}

describe('every answer', () => {
  it.each([
    ['GET', PATH],
    ['GET', `${PATH}/`],
    ['GET', `${PATH}/${IDS.group}`],
    ['GET', `${PATH}/nothing`],
    ['PATCH', PATH],
    ['GET', 'access/nothing'],
    ['GET', '/accounts'],
    ['GET', `/accounts/${'0'.repeat(32)}/access/groups`],
  ])('%s %s is an envelope in JSON that is not stored and names its revision', async (method, path) => {
    const { headers, body } = await ask(served, method, path);
    expect(headers.get('content-type')).toBe('application/json');
    expect(headers.get('cache-control')).toBe('no-store');
    expect(headers.get('postern-revision')).toMatch(/^[0-9a-f]{12}$/);
    expect(Object.keys(body ?? {})).toEqual(expect.arrayContaining(['success', 'errors', 'messages', 'result']));
    expect(body?.success).toBe(body?.errors.length === 0);
  });

  it('to HEAD has no body and the length of the one to GET', async () => {
    const response = await fetch(`${served.baseURL}/accounts/${ACCOUNT}/${PATH}/${IDS.group}`, {
      method: 'HEAD',
      headers: { authorization: `Bearer ${READER}` },
    });
    expect(response.status).toBe(200);
    expect(Number(response.headers.get('content-length'))).toBeGreaterThan(100);
  });
});

describe('credentials', () => {
  const bearer = { authorization: `Bearer ${TOKEN}` };
  const key = { 'x-auth-key': TOKEN, 'x-auth-email': 'ann@example.com' };
  it.each<[string, Record<string, string>, string]>([
    ['a bearer token', bearer, '200'],
    ['the scheme in capitals', { authorization: `BEARER ${TOKEN}` }, '200'],
    ['an API key with an e-mail address', key, '200'],
    ['a user service key', { 'x-auth-user-service-key': TOKEN }, '200'],
    ['none', {}, '401 10000 Authentication error'],
    ['another token', { authorization: `Bearer ${TOKEN}0` }, '401 10000 Authentication error'],
    ['an API key without an e-mail address', { 'x-auth-key': TOKEN }, '401 10000 Authentication error'],
    ['a wrong bearer beside a right key', { ...key, authorization: 'Bearer x' }, '401 10000 Authentication error'],
    ['a basic one beside a right key', { ...key, authorization: 'Basic x' }, '401 10000 Authentication error'],
    [
      'a wrong key beside a right service key',
      { ...key, 'x-auth-key': 'x', 'x-auth-user-service-key': TOKEN },
      '401 10000 Authentication error',
    ],
  ])('%s', async (_, headers, expected) => {
    const answer = await ask(served, 'GET', PATH, undefined, headers);
    expect(told(answer)).toBe(expected);
    expect(answer.headers.get('www-authenticate')).toBe(answer.status === 401 ? 'Bearer' : null);
  });

  it.each([
    ['GET', READER, 200],
    ['POST', READER, 403],
    ['PUT', READER, 403],
    ['DELETE', READER, 403],
    ['GET', WRITER, 403],
    ['POST', WRITER, 400],
  ])('%s with the scope of %s', async (method, token, status) => {
    const one = method === 'PUT' || method === 'DELETE' ? `${PATH}/${IDS.group}` : PATH;
    const answer = await ask(served, method, one, undefined, { authorization: `Bearer ${token}` });
    expect(answer.status).toBe(status);
    if (status === 403) expect(told(answer)).toBe('403 9109 Unauthorized to access requested resource');
  });

  it('without any admin token in the settings nothing is there', async () => {
    const bare = newFolder();
    writeFileSync(join(bare, 'postern.yaml'), '{}\n');
    rmSync(join(bare, 'policies/base.yaml'));
    const other = await serve(bare);
    try {
      const answer = await fetch(`${other.baseURL}/accounts/${ACCOUNT}/${PATH}`);
      expect([answer.status, await answer.text()]).toEqual([404, '']);
    } finally {
      await other.kill();
      removeFolder(bare);
    }
  });
});

describe('what is refused changes nothing', () => {
  const long = 'n'.repeat(351);
  const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;
  const rules = (count: number) =>
    Array.from({ length: count }, (_, n) => ({ ip: { ip: `10.${n >> 8}.${n & 255}.1` } }));
  it.each<[string, unknown, string]>([
    ['no body', '', '400 12130 body_invalid'],
    ['no JSON', '{"name":', '400 12130 body_invalid'],
    ['a list', [], '400 12130 body_invalid'],
    ['null', 'null', '400 12130 body_invalid'],
    ['a key twice', '{"name":"a","name":"b","include":[{"everyone":{}}]}', '400 12130 body_invalid'],
    ['deep nesting', `{"name":"a","include":${deep}}`, '400 12130 body_invalid'],
    [
      'nesting that JSON allows',
      { name: 'a', include: [{ email: JSON.parse(`${'['.repeat(400)}${']'.repeat(400)}`) }] },
      '400 12130 type_wrong /include/0/email',
    ],
    [
      'a key that is no common one',
      '{"name":"a","include":[{"everyone":{}}],"__proto__":{"is_default":true}}',
      '400 12130 key_unknown /__proto__',
    ],
    [
      'such a key in a rule',
      '{"name":"a","include":[{"__proto__":{}}]}',
      '400 12130 rule_unknown /include/0/__proto__',
    ],
    ['over 4 MiB', { name: 'a', include: everyone, x: 'x'.repeat(4 * 1024 * 1024) }, '400 12130 body_too_large'],
    ['nothing in it', {}, '400 12130 key_missing, 12130 key_missing'],
    ['no include', { name: 'a' }, '400 12130 key_missing'],
    ['an empty include', { name: 'a', include: [] }, '400 12130 include_empty /include'],
    ['a null include', { name: 'a', include: null }, '400 12130 key_missing'],
    ['include no list', { name: 'a', include: {} }, '400 12130 type_wrong /include'],
    ['exclude no list', { name: 'a', include: everyone, exclude: 'x' }, '400 12130 type_wrong /exclude'],
    ['require no list', { name: 'a', include: everyone, require: 1 }, '400 12130 type_wrong /require'],
    ['a rule no object', { name: 'a', include: ['everyone'] }, '400 12130 type_wrong /include/0'],
    ['a null rule', { name: 'a', include: [null] }, '400 12130 type_wrong /include/0'],
    ['an empty rule', { name: 'a', include: [{}] }, '400 12130 rule_empty /include/0'],
    [
      'two keys in a rule',
      { name: 'a', include: [{ everyone: {}, certificate: {} }] },
      '400 12130 rule_ambiguous /include/0',
    ],
    ['an unknown rule', { name: 'a', include: [{ azure_ad: {} }] }, '400 12130 rule_unknown /include/0/azure_ad'],
    ['a key of another kind', { name: 'a', include: everyone, decision: 'allow' }, '400 12130 key_unknown /decision'],
    ['a name that is a number', { name: 7, include: everyone }, '400 12130 type_wrong /name'],
    ['an empty name', { name: '', include: everyone }, '400 12130 value_empty /name'],
    ['a padded name', { name: ' a', include: everyone }, '400 12130 value_padded /name'],
    ['a name of 351 characters', { name: long, include: everyone }, '400 12130 value_too_long /name'],
    ['is_default no boolean', { name: 'a', include: everyone, is_default: 'no' }, '400 12130 type_wrong /is_default'],
    [
      'is_default a list with something in it',
      { name: 'a', include: everyone, is_default: everyone },
      '400 12130 type_wrong /is_default',
    ],
    ['10,001 rules', { name: 'a', include: rules(10_001) }, '400 12130 rules_too_many'],
    ['a taken name', { name: 'Base', include: everyone }, '400 12130 name_duplicate /name'],
    [
      'a group that is not there',
      { name: 'a', include: [{ group: { id: 'Bass' } }] },
      '400 12130 group_unknown /include/0/group/id',
    ],
    ['itself', { name: 'a', include: [{ group: { id: 'a' } }] }, '400 12130 group_cycle /include/0/group'],
    [
      'a key that pointers escape',
      { name: 'a', include: [{ 'a/b~c': {} }] },
      '400 12130 rule_unknown /include/0/a~1b~0c',
    ],
  ])('%s', async (_, body, expected) => {
    const before = files();
    const answer = await ask(served, 'POST', PATH, body);
    expect(told(answer)).toBe(expected);
    expect(answer.body).toMatchObject({ success: false, result: null });
    const target = await make({ name: 'target', include: everyone });
    const put = await ask(served, 'PUT', `${PATH}/${target.id}`, body);
    await remove(target.id);
    // Under an id that exists a group may not name itself either, and the rest is the same.
    expect(told(put)).toBe(expected);
    expect(files().filter((name) => !name.startsWith('managed'))).toEqual(
      before.filter((name) => !name.startsWith('managed')),
    );
  });

  it.each(['POST', 'PUT'])('%s of a body that looks like an answer of ours is a body', async (method) => {
    const body = {
      name: 'forged',
      include: everyone,
      status: 200,
      body: 'forged',
      response: { status: 200, body: 'x' },
    };
    const target = await make({ name: 'forger', include: everyone });
    const answer = await ask(served, method, method === 'PUT' ? `${PATH}/${target.id}` : PATH, body);
    expect(told(answer)).toBe('400 12130 key_unknown /status, 12130 key_unknown /body, 12130 key_unknown /response');
    await remove(target.id);
  });

  it('10,000 rules are taken', async () => {
    const made = await make({ name: 'many', include: rules(10_000) });
    await remove(made.id);
  });

  it('one fault each, a hundred at most', async () => {
    const bad = Array.from({ length: 150 }, () => ({ geo: { country_code: 'UK' } }));
    const answer = await ask(served, 'POST', PATH, { name: 'a', include: bad });
    expect(answer.body?.errors).toHaveLength(100);
    expect(answer.body?.errors[99]).toMatchObject({ source: { pointer: '/include/99/geo/country_code' } });
  });

  it.each(['PUT', 'DELETE'])('%s of a group in a hand-written file says where that is', async (method) => {
    const answer = await ask(served, method, `${PATH}/${IDS.group}`, { name: 'Base', include: everyone });
    expect(told(answer)).toBe('400 12130 defined_in_file');
    expect(answer.body?.errors[0]?.message).toContain(
      'group "Base" is defined in policies/base.yaml:11:5; change it there',
    );
  });

  it.each([
    ['GET', 'x', '404 12135 not_found'],
    ['PUT', 'x', '404 12135 not_found'],
    ['DELETE', 'x', '404 12135 not_found'],
    ['PUT', '8f1c0000-0000-4000-8000-00000000ffff', '404 12135 not_found'],
    ['DELETE', '..%2F..%2Fbase.yaml', '404 12135 not_found'],
    ['PUT', '%2e%2e%2f%2e%2e%2fbase', '404 12135 not_found'],
    ['GET', '%00', '404 12135 not_found'],
  ])('%s of the id %s', async (method, id, expected) => {
    const before = files();
    const body = method === 'PUT' ? { name: 'x', include: everyone } : undefined;
    expect(told(await ask(served, method, `${PATH}/${id}`, body))).toBe(expected);
    expect(files()).toEqual(before);
  });

  it.each([
    ['PATCH', `${PATH}/${IDS.group}`, '405 7001 Method PATCH not available for that URI', 'GET, HEAD, PUT, DELETE'],
    ['DELETE', `${PATH}/`, '405 7001 Method DELETE not available for that URI', 'GET, HEAD'],
    ['PUT', PATH, '405 7001 Method PUT not available for that URI', 'GET, HEAD, POST'],
    [
      'GET',
      `${PATH}/a/b`,
      `404 7003 Could not route to /client/v4/accounts/${ACCOUNT}/access/groups/a/b, perhaps your object identifier is invalid?`,
      null,
    ],
  ])('%s %s', async (method, path, expected, allow) => {
    const answer = await ask(served, method, path);
    expect(told(answer)).toBe(expected);
    expect(answer.headers.get('allow')).toBe(allow);
  });

  it('while the rest of the folder does not load, with its first fault; and what runs goes on', async () => {
    const file = join(folder, 'policies/broken.yaml');
    writeFileSync(file, 'groups: [{ id: 1, name: x, include: [] }]\n');
    try {
      const answer = await ask(served, 'POST', PATH, { name: 'a', include: everyone });
      expect(told(answer)).toBe('400 12130 type_wrong');
      expect(answer.body?.errors[0]?.message).toContain('policies/broken.yaml:1:');
      expect((await ask(served, 'GET', `${PATH}/${IDS.group}`)).status).toBe(200);
    } finally {
      rmSync(file);
    }
    const made = await make({ name: 'a', include: everyone });
    await remove(made.id);
  });
});

describe('bodies', () => {
  it('as cloudflare-go sends them: ids and times, often null, are no news', async () => {
    const made = await make({
      id: null,
      uid: 'x',
      created_at: null,
      updated_at: '0001-01-01T00:00:00Z',
      name: 'go',
      include: everyone,
      exclude: null,
      require: null,
      is_default: null,
    });
    expect(made).toMatchObject({ name: 'go', include: everyone, exclude: [], require: [], is_default: false });
    expect(made.id).not.toBe('x');
    const one = `${PATH}/${made.id.toUpperCase()}`;
    expect((await ask(served, 'GET', one)).body?.result).toEqual(made);
    const same = await ask(served, 'PUT', one, { ...made, id: made.id.toUpperCase() });
    expect(same.body?.result).toEqual(made);
    expect(told(await ask(served, 'PUT', one, { ...made, id: IDS.group }))).toBe('400 12130 id_changed /id');
    const on = await ask(served, 'PUT', one, { name: 'go', include: everyone, is_default: true });
    expect(on.body?.result).toMatchObject({ is_default: true });
    const off = await ask(served, 'PUT', one, { name: 'go', include: everyone, is_default: [] });
    expect(off.body?.result).toMatchObject({ is_default: false });
    await remove(made.id);
  });

  it('are echoed rule by rule as written', async () => {
    const include = [
      { ip: { ip: '203.0.113.7' } },
      { ip: { ip: '203.0.113.7/32' } },
      { ip: { ip: '192.168.100.1/24' } },
      { email: { email: 'Ann@EXAMPLE.com' } },
      { geo: { country_code: 'ca' } },
    ];
    const made = await make({ name: 'as written', include });
    expect(made['include']).toEqual(include);
    await remove(made.id);
  });

  it('with connection_id are read, and show identity_provider_id', async () => {
    const made = await make({ name: 'old', include: [{ okta: { name: 'Everyone', connection_id: IDS.okta } }] });
    expect(made['include']).toEqual([{ okta: { name: 'Everyone', identity_provider_id: IDS.okta } }]);
    await remove(made.id);
  });

  it('of any content type, and DELETE with a type and no body', async () => {
    const text = { authorization: `Bearer ${TOKEN}`, 'content-type': 'text/plain' };
    const answer = await ask(served, 'POST', PATH, { name: 'text', include: everyone }, text);
    expect(answer.status).toBe(201);
    const { id } = resultIn<{ id: string }>(answer);
    const json = { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' };
    expect((await ask(served, 'DELETE', `${PATH}/${id}`, undefined, json)).status).toBe(202);
  });
});

describe('writes', () => {
  it('that change nothing write nothing', async () => {
    const made = await make({ name: 'still', include: everyone });
    const path = join(folder, `policies/managed/groups/${made.id}.json`);
    const before = statSync(path, { bigint: true });
    const again = await ask(served, 'PUT', `${PATH}/${made.id}`, { include: everyone, name: 'still', require: [] });
    expect(again.body?.result).toEqual(made);
    const after = statSync(path, { bigint: true });
    expect([after.ino, after.mtimeNs]).toEqual([before.ino, before.mtimeNs]);
    await remove(made.id);
  });

  it('repeated by the same token are answered with what was made, while that stands', async () => {
    const body = { name: 'again', include: everyone };
    const made = await make(body);
    expect(await make({ include: everyone, name: 'again' })).toEqual(made);
    const other = await ask(served, 'POST', PATH, body, { authorization: `Bearer ${WRITER}` });
    expect(told(other)).toBe('400 12130 name_duplicate /name');
    await ask(served, 'PUT', `${PATH}/${made.id}`, { ...body, require: everyone });
    expect(told(await ask(served, 'POST', PATH, body))).toBe('400 12130 name_duplicate /name');
    await remove(made.id);
    const fresh = await make(body);
    expect(fresh.id).not.toBe(made.id);
    await remove(fresh.id);
  });

  it('ten at once all happen, one after the other', async () => {
    const made = await Promise.all(
      Array.from({ length: 10 }, (_, n) => make({ name: `one of ten ${n}`, include: everyone })),
    );
    expect(new Set(made.map(({ id }) => id)).size).toBe(10);
    await Promise.all(made.map(({ id }) => remove(id)));
  });

  it('of a group that shares its file with others are refused: it is no longer ours alone', async () => {
    const made = await make({ name: 'shared', include: everyone });
    const path = join(folder, `policies/managed/groups/${made.id}.json`);
    const whole = JSON.parse(readFileSync(path, 'utf8')) as { groups: object[] };
    whole.groups.push({ id: '8f1c0000-0000-4000-8000-0000000000cc', name: 'guest', include: everyone });
    writeFileSync(path, JSON.stringify(whole));
    const answer = await ask(served, 'DELETE', `${PATH}/${made.id}`);
    expect(told(answer)).toBe('400 12130 defined_in_file');
    rmSync(path);
    await vi.waitFor(
      async () => expect(told(await ask(served, 'GET', `${PATH}/${made.id}`))).toBe('404 12135 not_found'),
      { timeout: 20_000, interval: 20 },
    );
  });

  it('are logged with the name of the token and who says to use it, and no secret is', async () => {
    const headers = { 'x-auth-key': TOKEN, 'x-auth-email': 'ann@example.com' };
    const answer = await ask(served, 'POST', PATH, { name: 'logged', include: everyone }, headers);
    const { id } = resultIn<{ id: string }>(answer);
    // The log is written beside the answers.
    const line = await vi.waitFor(
      () => {
        const found = served
          .text()
          .split('\n')
          .find((one) => one.includes(id) && one.includes('an object was written') && one.endsWith('}'));
        expect(found).toBeDefined();
        return found ?? '';
      },
      { timeout: 20_000, interval: 20 },
    );
    expect(JSON.parse(line)).toMatchObject({
      msg: 'an object was written',
      token_name: 'terraform',
      actor: 'ann@example.com',
      kind: 'group',
      name: 'logged',
      revision: answer.headers.get('postern-revision'),
    });
    await remove(id);
    expect(served.text()).not.toContain(TOKEN);
  });
});

describe('the list', () => {
  it.each([
    ['', { page: 1, per_page: 10_000, count: 1, total_count: 1, total_pages: 1 }],
    ['?page=2', { page: 2, per_page: 10_000, count: 0, total_count: 1, total_pages: 1 }],
    ['?per_page=20000', { page: 1, per_page: 10_000, count: 1, total_count: 1, total_pages: 1 }],
    ['?page=1&per_page=25', { page: 1, per_page: 25, count: 1, total_count: 1, total_pages: 1 }],
    ['?name=nobody', { page: 1, per_page: 10_000, count: 0, total_count: 0, total_pages: 0 }],
    ['?name=&search=&direction=up', { page: 1, per_page: 10_000, count: 1, total_count: 1, total_pages: 1 }],
    ['?page=99999999999999', { page: 99_999_999_999_999, per_page: 10_000, count: 0, total_count: 1, total_pages: 1 }],
  ])('%s', async (query, expected) => {
    const { status, body } = await ask(served, 'GET', `${PATH}${query}`);
    expect([status, body?.result_info]).toEqual([200, expected]);
    expect(body?.result).toHaveLength(expected.count);
  });

  it.each(['page=0', 'page=-1', 'page=x', 'page=1.5', 'per_page=0', 'per_page=1e3', 'page=1%00'])(
    '?%s is refused',
    async (query) => {
      expect(told(await ask(served, 'GET', `${PATH}?${query}`))).toBe('400 12130 parameter_invalid');
    },
  );

  it('has hand-written groups by file and place first, then ours by when they were made; a name with a space is found either way', async () => {
    mkdirSync(join(folder, 'policies/zz'), { recursive: true });
    const hand = (id: string, name: string) =>
      `{ id: 8f1c0000-0000-4000-8000-0000000000${id}, name: ${name}, include: [{ everyone: {} }] }`;
    writeFileSync(
      join(folder, 'policies/zz/last.yaml'),
      `groups: [${hand('f2', 'hand two')}, ${hand('f1', 'hand one')}]\n`,
    );
    const made = await make({ name: 'a made one', include: everyone });
    const listed = resultIn<{ name: string }[]>(await ask(served, 'GET', PATH));
    expect(listed.map(({ name }) => name)).toEqual(['Base', 'hand two', 'hand one', 'a made one']);
    for (const query of ['name=HAND%20one', 'name=hand+one', 'search=nd+o'])
      expect((await ask(served, 'GET', `${PATH}?${query}`)).body?.result).toHaveLength(1);
    expect((await ask(served, 'GET', `${PATH}/8f1c0000-0000-4000-8000-0000000000f1`)).body?.result).not.toHaveProperty(
      'created_at',
    );
    await remove(made.id);
    rmSync(join(folder, 'policies/zz'), { recursive: true });
    expect(existsSync(join(folder, 'policies/zz'))).toBe(false);
  });
});
