import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createKeySets, fixedKeySource, readKeySetFile } from '../../src/facts/key-set.ts';
import type { KeyLookup, KeySetRead, KeySets } from '../../src/facts/key-set.ts';
import { createFakeTime, startKeyServer } from './key-server.ts';
import type { KeyServer } from './key-server.ts';
import { keySetBytes, pairFor, publicJwk } from './token-maker.ts';

const es256 = publicJwk(pairFor('ES256'));
const rsa = publicJwk(pairFor('RS256'));
const ed25519 = publicJwk(pairFor('EdDSA'));

describe('the keys of a set that fit a token', () => {
  it.each([
    ['the kid', [{ ...es256, kid: 'a' }], 'ES256', 'a', 1],
    ['the kid, in another letter case', [{ ...es256, kid: 'A' }], 'ES256', 'a', 'missing'],
    [
      'no kid in the token, one key fits',
      [
        { ...es256, kid: 'a' },
        { ...rsa, kid: 'b' },
      ],
      'ES256',
      undefined,
      1,
    ],
    [
      'no kid in the token, two keys fit',
      [
        { ...es256, kid: 'a' },
        { ...es256, kid: 'b' },
      ],
      'ES256',
      undefined,
      'missing',
    ],
    ['a kid in the token, none in the set', [es256], 'ES256', 'a', 'missing'],
    ['another type of key', [{ ...rsa, kid: 'a' }], 'ES256', 'a', 'missing'],
    ['another curve', [{ ...es256, kid: 'a' }], 'ES384', 'a', 'missing'],
    ['an RSA key for PS256', [{ ...rsa, kid: 'a' }], 'PS256', 'a', 1],
    ['Ed25519 for EdDSA', [{ ...ed25519, kid: 'a' }], 'EdDSA', 'a', 1],
    ['use: sig', [{ ...es256, kid: 'a', use: 'sig' }], 'ES256', 'a', 1],
    [
      'use: enc',
      [
        { ...es256, kid: 'a', use: 'enc' },
        { ...rsa, kid: 'b' },
      ],
      'ES256',
      'a',
      'missing',
    ],
    ['key_ops with verify', [{ ...es256, kid: 'a', key_ops: ['verify'] }], 'ES256', 'a', 1],
    [
      'key_ops without verify',
      [
        { ...es256, kid: 'a', key_ops: ['sign'] },
        { ...rsa, kid: 'b' },
      ],
      'ES256',
      'a',
      'missing',
    ],
    ["the key's own alg", [{ ...rsa, kid: 'a', alg: 'RS256' }], 'RS256', 'a', 1],
    ["the key's own alg, another", [{ ...rsa, kid: 'a', alg: 'RS256' }], 'RS512', 'a', 'missing'],
    ['four keys of one kid at most', Array.from({ length: 6 }, () => ({ ...es256, kid: 'a' })), 'ES256', 'a', 4],
    [
      'a key type of another use beside',
      [
        { kty: 'oct', k: 'AAAA', kid: 'a' },
        { ...es256, kid: 'a' },
      ],
      'ES256',
      'a',
      1,
    ],
    [
      'an elliptic curve for encryption beside',
      [{ kty: 'OKP', crv: 'X25519', x: 'AAAA', kid: 'a' }, es256],
      'EdDSA',
      'a',
      'missing',
    ],
  ] as const)('%s', (_, keys, algorithm, kid, found) => {
    const read = readKeySetFile(keySetBytes(...keys));
    if (!('set' in read)) throw new Error(JSON.stringify(read.findings));
    const lookup = fixedKeySource(read.set).find(algorithm, kid);
    if (lookup instanceof Promise) throw new Error('a fixed set has nothing to wait for');
    expect(lookup.state === 'found' ? lookup.keys.length : lookup.state).toBe(found);
  });
});

describe('a key set file', () => {
  it.each([
    ['no JSON', Buffer.from('keys: []'), 'expected JSON, found something else'],
    ['bad UTF-8', Buffer.from([0x7b, 0xff, 0x7d]), 'expected JSON, found something else'],
    ['a list', Buffer.from('[]'), 'expected an object with a list "keys" (RFC 7517), found something else'],
    [
      'keys that are no list',
      Buffer.from('{"keys":{}}'),
      'expected an object with a list "keys" (RFC 7517), found something else',
    ],
    ['no keys', keySetBytes(), 'expected at least one public key that verifies signatures, found none'],
    [
      'only a shared secret',
      keySetBytes({ kty: 'oct', k: 'AAAA' }),
      'expected at least one public key that verifies signatures, found none',
    ],
    [
      'a private key',
      keySetBytes(pairFor('ES256').privateKey.export({ format: 'jwk' })),
      'key 1: expected a public key, found a private one',
    ],
    [
      'a small RSA key',
      keySetBytes(es256, publicJwk(pairFor('RS256', 'small'))),
      'key 2: expected 2048 bits or more, found 1024',
    ],
    [
      'a key that is none',
      keySetBytes({ kty: 'EC', crv: 'P-256', x: 'AAAA', y: 'AAAA' }),
      'key 1: expected a public key, found one that cannot be read',
    ],
    [
      'a key without its members',
      keySetBytes({ kty: 'RSA', n: 5 }),
      'key 1: expected a public key, found one that cannot be read',
    ],
    [
      'a kid that is no text',
      keySetBytes({ ...es256, kid: 5 }),
      'key 1: expected a "kid" that is text, found something else',
    ],
    ['a key that is no object', keySetBytes('key'), 'key 1: expected an object, found something else'],
    [
      'over 100 keys',
      keySetBytes(...Array.from({ length: 101 }, () => ({ kty: 'oct' }))),
      'expected at most 100 keys, found 101',
    ],
    ['over 512 KiB', Buffer.alloc(512 * 1024 + 1, 0x20), 'expected at most 524288 bytes, found 524289'],
  ])('of %s is a fault', (_, bytes, text) => {
    const read = readKeySetFile(bytes);
    expect('findings' in read ? read.findings.map((finding) => [finding.code, finding.text]) : []).toEqual([
      ['key_set_invalid', text],
    ]);
  });
});

describe('the key set of a URL', () => {
  let server: KeyServer;
  let time: ReturnType<typeof createFakeTime>;
  let reads: KeySetRead[];
  let sets: KeySets;

  beforeEach(async () => {
    server = await startKeyServer();
    time = createFakeTime();
    reads = [];
    sets = createKeySets({ ...time, onRead: (read) => reads.push(read), readTimeoutMs: 2_000 });
    server.answerKeys([{ ...es256, kid: 'a' }]);
  });

  afterEach(async () => {
    sets.stop();
    await server.close();
  });

  const ask = async (kid = 'a'): Promise<KeyLookup['state']> =>
    (await sets.source(server.url).find('ES256', kid)).state;

  /** Waits for reads that nobody waits for. */
  const settled = async (count: number): Promise<void> => {
    while (reads.length < count) await new Promise((resolve) => setTimeout(resolve, 1));
  };

  it('is read at start, and those who ask meanwhile wait for that one read', async () => {
    sets.source(server.url);
    sets.start();
    expect(await Promise.all([ask(), ask(), ask('b')])).toEqual(['found', 'found', 'missing']);
    expect(server.asked()).toBe(1);
    expect(reads).toEqual([{ url: server.url, seconds: 0, failure: undefined }]);
  });

  it('is not read before it is needed where nobody starts it', async () => {
    sets.source(server.url);
    expect(server.asked()).toBe(0);
    expect(await ask()).toBe('found');
    expect(time.delays()).toEqual([]);
  });

  it('answers at once when it is there', async () => {
    await ask();
    expect(sets.source(server.url).find('ES256', 'a')).not.toBeInstanceOf(Promise);
  });

  it.each([
    ['no word of it', {}, 600],
    ['max-age', { 'cache-control': 'public, max-age=3600' }, 3600],
    ['max-age, quoted and in capitals', { 'cache-control': 'MAX-AGE="3600"' }, 3600],
    ['a max-age under a minute', { 'cache-control': 'max-age=0' }, 60],
    ['a max-age over a day', { 'cache-control': 'max-age=31536000' }, 86_400],
    ['only s-maxage', { 'cache-control': 's-maxage=3600' }, 600],
    ['a max-age that is no number', { 'cache-control': 'max-age=soon' }, 600],
  ])('is renewed at 80 %% of its lifetime: %s', async (_, headers, seconds) => {
    server.answerKeys([{ ...es256, kid: 'a' }], headers);
    sets.start();
    expect(await ask()).toBe('found');
    expect(time.delays()).toEqual([seconds * 800]);
    time.advance(seconds * 800);
    await settled(2);
    expect(server.asked()).toBe(2);
    expect(time.delays()).toEqual([seconds * 800]);
  });

  it('is the same set as long as its bytes are the same, and another after', async () => {
    sets.start();
    await ask();
    const source = sets.source(server.url);
    const first = source.current();
    time.advance(480_000);
    await settled(2);
    expect(source.current()).toBe(first);
    server.answerKeys([{ ...es256, kid: 'b' }]);
    time.advance(480_000);
    await settled(3);
    expect(source.current()).not.toBe(first);
  });

  it('drops a key that the issuer takes back, even the last one', async () => {
    sets.start();
    expect(await ask()).toBe('found');
    server.answerKeys([]);
    time.advance(480_000);
    await settled(2);
    time.advance(30_000);
    expect(await ask()).toBe('missing');
  });

  it('serves up to a day after its last read while renewing fails, then nothing', async () => {
    sets.start();
    await ask();
    server.answer((_, response) => response.writeHead(500).end());
    time.advance(480_000);
    await settled(2);
    expect(await ask()).toBe('found');
    time.advance(86_400_000 - 480_000 - 1);
    expect(await ask()).toBe('found');
    time.advance(1);
    expect(sets.source(server.url).current()).toBeUndefined();
    expect(await ask()).toBe('unavailable');
    await settled(reads.length);
    server.answerKeys([{ ...es256, kid: 'a' }]);
    while ((await ask()) !== 'found') {
      time.advance(30_000);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  });

  it('is tried again sooner and then later while it cannot be read, and nobody waits for that', async () => {
    server.answer((_, response) => response.writeHead(503).end());
    sets.start();
    expect(await ask()).toBe('unavailable');
    const delays: number[] = [];
    for (let count = 2; count < 9; count += 1) {
      expect(sets.source(server.url).find('ES256', 'a')).toMatchObject({ state: 'unavailable' });
      const [delay] = time.delays();
      if (delay === undefined) throw new Error('nothing is scheduled');
      delays.push(delay);
      time.advance(delay);
      await settled(count);
    }
    expect(delays).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
    expect(reads.every(({ failure }) => failure === 'expected status 200, found 503')).toBe(true);
  });

  it('is read again for an unknown kid, once for all and at most every 30 s', async () => {
    await ask();
    server.answerKeys([
      { ...es256, kid: 'a' },
      { ...es256, kid: 'b' },
    ]);
    expect(await Promise.all([ask('b'), ask('b'), ask('c')])).toEqual(['found', 'found', 'missing']);
    expect(server.asked()).toBe(2);
    server.answerKeys([{ ...es256, kid: 'c' }]);
    time.advance(29_999);
    expect(await ask('c')).toBe('missing');
    expect(server.asked()).toBe(2);
    time.advance(1);
    expect(await ask('c')).toBe('found');
    expect(server.asked()).toBe(3);
  });

  it('cannot tell of an unknown kid where reading it again fails', async () => {
    await ask();
    server.answer((_, response) => response.writeHead(500).end());
    expect(await ask('b')).toBe('unavailable');
    expect(await ask('b')).toBe('unavailable');
    expect(server.asked()).toBe(2);
    expect(await ask('a')).toBe('found');
  });

  it('is not read again for a token without kid, or for a kid of another type of key', async () => {
    server.answerKeys([
      { ...rsa, kid: 'a' },
      { ...es256, kid: 'b' },
      { ...es256, kid: 'c' },
    ]);
    expect(await ask('a')).toBe('missing');
    expect((await sets.source(server.url).find('ES256', undefined)).state).toBe('missing');
    expect(server.asked()).toBe(1);
  });

  it.each([
    ['an error', (_: unknown, response) => response.writeHead(500).end(), 'expected status 200, found 500'],
    ['another good status', (_: unknown, response) => response.writeHead(204).end(), 'expected status 200, found 204'],
    ['garbage', (_: unknown, response) => response.end('<html>'), 'expected JSON, found something else'],
    [
      'another object',
      (_: unknown, response) => response.end('{"jwks":[]}'),
      'expected an object with a list "keys" (RFC 7517), found something else',
    ],
    [
      'over 512 KiB',
      (_: unknown, response) => response.end(Buffer.alloc(600_000, 0x20)),
      'expected at most 524288 bytes, found more',
    ],
    [
      'over 512 KiB once unpacked',
      (_: unknown, response) =>
        response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync(Buffer.alloc(5_000_000, 0x20))),
      'expected at most 524288 bytes, found more',
    ],
    [
      'over 100 keys',
      (_: unknown, response) => response.end(JSON.stringify({ keys: Array.from({ length: 101 }, () => ({})) })),
      'expected at most 100 keys, found 101',
    ],
    ['a broken connection', (_: unknown, response) => response.destroy(), 'ECONNRESET'],
    [
      'an answer cut short',
      (_: unknown, response) => {
        response.writeHead(200, { 'content-length': '1000' });
        response.write('{"keys":[');
        setTimeout(() => response.destroy(), 5);
      },
      'the connection broke off',
    ],
  ] as const satisfies readonly (readonly [string, Parameters<KeyServer['answer']>[0], string])[])(
    'cannot be had from %s',
    async (_, handler, failure) => {
      server.answer(handler);
      expect(await ask()).toBe('unavailable');
      expect(reads.map((read) => read.failure)).toEqual([failure]);
    },
  );

  it('follows no redirect', async () => {
    const elsewhere = await startKeyServer();
    elsewhere.answerKeys([{ ...es256, kid: 'a' }]);
    server.answer((_, response) => response.writeHead(302, { location: elsewhere.url }).end());
    expect(await ask()).toBe('unavailable');
    expect([elsewhere.asked(), reads[0]?.failure]).toEqual([0, 'expected status 200, found 302']);
    await elsewhere.close();
  });

  it.each([
    ['never answers', () => undefined],
    [
      'never ends its answer',
      (_: unknown, response: { write: (text: string) => unknown }) => response.write('{"keys":['),
    ],
  ] as const)('is given up when the server %s', async (_, handler) => {
    sets = createKeySets({ ...time, onRead: (read) => reads.push(read), readTimeoutMs: 30 });
    server.answer(handler as Parameters<KeyServer['answer']>[0]);
    expect(await ask()).toBe('unavailable');
    expect(reads[0]?.failure).toBe('no answer in time');
  });

  it('is given up when nobody listens', async () => {
    await server.close();
    expect(await ask()).toBe('unavailable');
    expect(reads[0]?.failure).toBe('ECONNREFUSED');
  });

  it('leaves out keys that are of no use, and those it must not use', async () => {
    server.answerKeys([
      null,
      { kty: 'oct', k: 'AAAA', kid: 'a' },
      { ...publicJwk(pairFor('RS256', 'small')), kid: 'a' },
      { ...pairFor('ES256').privateKey.export({ format: 'jwk' }), kid: 'private' },
      { ...es256, kid: 'a' },
    ]);
    expect(await ask('a')).toBe('found');
    expect(await ask('private')).toBe('missing');
    expect((await sets.source(server.url).find('RS256', 'a')).state).toBe('missing');
  });

  it('outlives revisions that name it, and ends with the last', async () => {
    sets.start();
    await ask();
    const source = sets.source(server.url);
    sets.keep([server.url]);
    expect(sets.source(server.url)).toBe(source);
    expect(time.delays()).toHaveLength(1);
    sets.keep([]);
    expect(time.delays()).toEqual([]);
    expect(sets.source(server.url)).not.toBe(source);
    expect(source.find('ES256', 'a')).toMatchObject({ state: 'found' });
  });

  it('is not renewed after stop, not even by a read that was under way', async () => {
    sets.start();
    const asking = ask();
    sets.stop();
    expect(await asking).toBe('found');
    expect(time.delays()).toEqual([]);
  });
});
