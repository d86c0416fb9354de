import { spawnSync } from 'node:child_process';
import { constants, mkdtempSync, openSync, readFileSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { createLogger, redactedText } from '../src/log.ts';
import type { LogFields, LogLevel, Logger } from '../src/log.ts';

const NOW = Date.parse('2026-03-04T14:30:00Z');
const JWT = 'eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl-_';

function captured(level: LogLevel = 'debug'): { readonly logger: Logger; readonly lines: string[] } {
  const lines: string[] = [];
  const logger = createLogger({ level, destination: { write: (line) => lines.push(line) }, now: () => NOW });
  return { logger, lines };
}

function written(fields: LogFields): Record<string, unknown> {
  const { logger, lines } = captured();
  logger.info('something', fields);
  return JSON.parse(lines[0] ?? '') as Record<string, unknown>;
}

describe('a line', () => {
  it('does nothing to a terminal', () => {
    const { logger, lines } = captured();
    logger.info('\u009b2J', { name: '\u202e\u001b[2J' });
    expect(lines[0]).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/);
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({ msg: '\u009b2J', name: '\u202e\u001b[2J' });
  });

  it('is one JSON object with level, time, message and fields', () => {
    const { logger, lines } = captured();
    logger.info('reloaded', { revision: '0123456789ab', files: 3 });
    expect(lines).toEqual([
      '{"level":"info","time":"2026-03-04T14:30:00.000Z","revision":"0123456789ab","files":3,"msg":"reloaded"}\n',
    ]);
  });

  it('holds no line break, whatever is logged', () => {
    const { logger, lines } = captured();
    logger.warn('a\nb', { 'c\nd': 'e\r\nf' });
    expect(lines.map((line) => line.indexOf('\n'))).toEqual([(lines[0]?.length ?? 0) - 1]);
  });

  it.each<[LogLevel, string[]]>([
    ['debug', ['debug', 'info', 'warn', 'error']],
    ['info', ['info', 'warn', 'error']],
    ['warn', ['warn', 'error']],
    ['error', ['error']],
    ['fatal', []],
    ['silent', []],
  ])('at level %s is written for %j', (level, expected) => {
    const { logger, lines } = captured('info');
    logger.setLevel(level);
    logger.debug('x');
    logger.info('x');
    logger.warn('x');
    logger.error('x');
    expect(lines.map((line) => (JSON.parse(line) as { level: string }).level)).toEqual(expected);
  });

  it.each<LogLevel>(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'])(
    'of readiness is written at level %s',
    (level) => {
      const { logger, lines } = captured(level);
      logger.ready({ check: '127.0.0.1:40001', admin: '127.0.0.1:40002', revision: '0123456789ab' });
      expect(lines.map((line) => JSON.parse(line) as object)).toEqual([
        {
          level: 'info',
          time: '2026-03-04T14:30:00.000Z',
          msg: 'ready',
          check: '127.0.0.1:40001',
          admin: '127.0.0.1:40002',
          revision: '0123456789ab',
        },
      ]);
    },
  );

  it('of an error has its type, text, code, stack and cause', () => {
    const error = Object.assign(new TypeError(`broken ${JWT}`, { cause: new Error('deeper') }), {
      code: 'ECONNREFUSED',
    });
    const { error: told } = written({ error }) as { error: Record<string, unknown> };
    expect(told).toMatchObject({
      type: 'TypeError',
      message: 'broken [redacted]',
      code: 'ECONNREFUSED',
      cause: { type: 'Error', message: 'deeper' },
    });
    expect(String(told['stack'])).toContain('log.test.ts');
    expect(JSON.stringify(told)).not.toContain('eyJ');
  });

  it.each<[string, unknown, unknown]>([
    ['bytes', new Uint8Array(5), '[5 bytes]'],
    ['a Map', new Map([['a', 1]]), { a: 1 }],
    ['a Set', new Set(['a']), ['a']],
    ['a date', new Date(NOW), '2026-03-04T14:30:00.000Z'],
    ['no date', new Date(NaN), null],
    ['a bigint', 10n ** 20n, '100000000000000000000'],
    ['null', null, null],
    ['a long text', 'x'.repeat(3_000), `${'x'.repeat(2_047)}…`],
    ['a deep object', { a: { b: { c: { d: { e: { f: 1 } } } } } }, { a: { b: { c: { d: { e: '[deeper]' } } } } }],
  ])('of %s stays a line', (_name, value, expected) => {
    expect(written({ value })['value']).toEqual(expected);
  });

  it('of what refers to itself ends', () => {
    const loop: Record<string, unknown> = {};
    loop['loop'] = loop;
    expect(JSON.stringify(written({ loop })).length).toBeLessThan(300);
  });
});

describe('secrets', () => {
  const MARK = 'marked-secret';

  it.each([
    'authorization',
    'Authorization',
    'proxy-authorization',
    'cookie',
    'set-cookie',
    'cf-access-client-secret',
    'cf-access-jwt-assertion',
    'client_secret',
    'clientSecret',
    'client_secret_sha256',
    'password',
    'passwd',
    'token',
    'tokens',
    'access_token',
    'id-token',
    'accessToken',
    'jwt',
    'nonce',
    'otp',
    'x-auth-key',
    'x-auth-user-service-key',
    'api_key',
    'apiKey',
    'private_key',
    'signing_key',
    'portal_private',
    'credentials',
    'x-postern-assertion',
  ])('under %s are left out, at every depth', (name) => {
    for (const fields of [
      { [name]: MARK },
      { a: { [name]: MARK } },
      { a: [{ b: { [name]: [MARK] } }] },
      { a: new Map([[name, MARK]]) },
    ]) {
      const text = JSON.stringify(written(fields));
      expect(text).not.toContain(MARK);
      expect(text).toContain('[redacted]');
    }
  });

  it.each([
    'token_name',
    'service_token_id',
    'token_count',
    'client_id',
    'key_file',
    'kid',
    'host',
    'issuer',
    'monkey',
  ])('are not suspected under %s', (name) => {
    expect(written({ [name]: MARK })[name]).toBe(MARK);
  });

  it.each([
    [`failed for ${JWT}`, 'failed for [redacted]'],
    [`CF_Authorization=${JWT}; a=b`, '[redacted]; a=b'],
    [`header ${JWT.split('.').slice(0, 2).join('.')}`, 'header [redacted]'],
    ['Authorization: Bearer abc.def', 'Authorization: Bearer [redacted]'],
    ['basic dXNlcjpwYXNz, more', 'basic [redacted], more'],
    ['redis://user:pass@127.0.0.1:6379/0', 'redis://[redacted]@127.0.0.1:6379/0'],
    ['https://example.com/a@b', 'https://example.com/a@b'],
    ['-----BEGIN EC PRIVATE KEY-----\nMHcC\n-----END EC PRIVATE KEY-----', '[redacted]'],
    ['-----BEGIN PRIVATE KEY-----\nMHcC', '[redacted]'],
    ['no group has the id or name "Enginering"', 'no group has the id or name "Enginering"'],
  ])('are cut out of the text %j', (text, expected) => {
    expect(redactedText(text, 2_048)).toBe(expected);
    const { logger, lines } = captured();
    logger.info(text, { why: text });
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({ msg: expected, why: expected });
  });

  it('do not survive being cut', () => {
    for (let max = 5; max < 80; max += 1)
      expect(redactedText(`failed for Bearer ${JWT}`, max)).not.toContain('c2lnbmF0');
  });
});

describe('the destination', () => {
  const undo: (() => void)[] = [];
  afterEach(() => {
    for (const step of undo.splice(0).toReversed()) step();
  });

  function place(): string {
    const path = mkdtempSync(join(tmpdir(), 'postern-log-'));
    undo.push(() => rmSync(path, { recursive: true, force: true }));
    return path;
  }

  it('has every line once the log is closed, and takes none afterwards', async () => {
    const file = join(place(), 'log');
    const descriptor = openSync(file, 'w');
    const logger = createLogger({ level: 'info', destination: descriptor, now: () => NOW });
    for (let count = 0; count < 5_000; count += 1) logger.info('line', { count });
    expect(logger.line('{"last":true}')).toBe(true);
    await logger.close();
    expect(logger.line('{"after":true}')).toBe(false);
    logger.info('after');
    const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
    expect(lines).toHaveLength(5_001);
    expect(lines.at(-1)).toBe('{"last":true}');
    expect(lines.slice(0, -1).map((line) => (JSON.parse(line) as { count: number }).count)).toEqual(
      Array.from({ length: 5_000 }, (_, count) => count),
    );
  });

  it('that nobody reads costs lines, never time: they are dropped whole, and told', async () => {
    const pipe = join(place(), 'pipe');
    expect(spawnSync('mkfifo', [pipe]).status).toBe(0);
    const descriptor = openSync(pipe, constants.O_RDWR | constants.O_NONBLOCK);
    const logger = createLogger({ level: 'info', destination: descriptor, bufferMaxBytes: 100_000 });
    const line = JSON.stringify({ text: 'x'.repeat(988) });
    let taken = 0;
    let dropped = 0;
    for (let count = 0; count < 1_000; count += 1) {
      if (logger.line(line)) taken += 1;
      else dropped += 1;
      // Lets what can be written be written, as between checks.
      if (count % 100 === 0) await new Promise((resolve) => void setImmediate(resolve));
    }
    expect(dropped).toBeGreaterThan(500);
    expect(taken).toBeGreaterThan(90);
    // Somebody reads again: what was taken arrives, and lines are taken anew.
    const read = Buffer.alloc(65_536);
    let text = '';
    for (let tries = 0; tries < 200 && text.split('\n').length <= taken; tries += 1) {
      try {
        text += read.subarray(0, readSync(descriptor, read)).toString();
      } catch {
        await new Promise((resolve) => void setTimeout(resolve, 20));
      }
    }
    const lines = text.split('\n');
    expect([lines.length - 1, new Set(lines.slice(0, -1))]).toEqual([taken, new Set([line])]);
    expect(logger.line(line)).toBe(true);
    await logger.close();
  });

  it('that fails does not fail who logs', async () => {
    const file = join(place(), 'log');
    const readOnly = openSync(file, constants.O_CREAT | constants.O_RDONLY);
    const logger = createLogger({ level: 'info', destination: readOnly });
    logger.info('lost');
    await new Promise((resolve) => void setTimeout(resolve, 20));
    logger.info('lost too');
    await logger.close();
    expect(readFileSync(file, 'utf8')).toBe('');
  });
});
