import { expect, it } from 'vitest';
import { createKeySetLog } from '../src/key-set-log.ts';

it('tells of each key set when it begins to fail, and when it can be read again', () => {
  const lines: unknown[] = [];
  const told = createKeySetLog({
    warn: (message, fields) => void lines.push(['warn', message, fields]),
    info: (message, fields) => void lines.push(['info', message, fields]),
  });
  const read = (url: string, failure?: string): void => told({ url, seconds: 0.1, failure });
  read('https://a.example/keys?api_key=S3cr3t');
  for (const why of ['found 500', 'found 500', 'found 503']) read('https://a.example/keys?api_key=S3cr3t', why);
  read('https://b.example/keys', 'found 404');
  for (let times = 0; times < 2; times += 1) read('https://a.example/keys?api_key=S3cr3t');
  expect(lines).toEqual([
    [
      'warn',
      'a key set cannot be read; it is tried again and again',
      { key_set: 'https://a.example/keys', why: 'found 500' },
    ],
    [
      'warn',
      'a key set cannot be read; it is tried again and again',
      { key_set: 'https://b.example/keys', why: 'found 404' },
    ],
    ['info', 'a key set can be read again', { key_set: 'https://a.example/keys' }],
  ]);
});
