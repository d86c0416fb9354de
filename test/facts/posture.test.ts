import { describe, expect, it } from 'vitest';
import { createPostureSource } from '../../src/facts/posture.ts';
import type { PostureFact } from '../../src/model/facts.ts';
import { connectionRequest } from './connection-request.ts';

const ENTRIES = { 'uid-1': { success: true, timestamp: '2026-01-01T00:00:00Z' }, 'uid-2': { success: false } };
const JSON_TEXT = JSON.stringify(ENTRIES);
const known = (entries: object): PostureFact => ({ state: 'known', entries: new Map(Object.entries(entries)) });

function ofHeader(value: string | readonly string[] | undefined): PostureFact {
  const headers = value === undefined ? {} : { 'x-posture': value };
  return createPostureSource('X-Posture')(connectionRequest({ headers }));
}

describe('posture', () => {
  it('of the token is left to the identity', () => {
    const request = connectionRequest({ headers: { token: '{}' }, metadata: { 'postern.posture': ENTRIES } });
    expect(createPostureSource('token')(request)).toEqual({ state: 'identity' });
  });

  it('of the filter metadata', () => {
    const source = createPostureSource('metadata');
    expect(source(connectionRequest({ metadata: { 'postern.posture': ENTRIES } }))).toEqual(known(ENTRIES));
    expect(source(connectionRequest({ metadata: { other: ENTRIES } }))).toEqual(known({}));
    expect(source(connectionRequest({ headers: { metadata: JSON_TEXT } }))).toEqual(known({}));
  });

  it.each<[string, string | readonly string[] | undefined, PostureFact]>([
    ['JSON', JSON_TEXT, known(ENTRIES)],
    ['JSON with white space around it', ` ${JSON_TEXT} `, known(ENTRIES)],
    ['base64url', Buffer.from(JSON_TEXT).toString('base64url'), known(ENTRIES)],
    ['base64url with padding', `${Buffer.from('{"a":1}').toString('base64url')}==`, known({ a: 1 })],
    ['base64url of UTF-8', Buffer.from('{"é":1}').toString('base64url'), known({ é: 1 })],
    ['an empty object', '{}', known({})],
    ['absent', undefined, known({})],
    ['blank', '  ', known({})],
  ])('of a header: %s', (_, value, expected) => {
    expect(ofHeader(value)).toEqual(expected);
  });

  it('keeps names that objects have by themselves', () => {
    const fact = ofHeader('{"__proto__":{"success":true},"constructor":1}');
    expect(fact.state === 'known' && [...fact.entries.keys()]).toEqual(['__proto__', 'constructor']);
    const none = ofHeader('{}');
    expect(none.state === 'known' && none.entries.get('toString')).toBeUndefined();
  });

  it.each<[string, string | readonly string[]]>([
    ['a list', '[]'],
    ['text', '"a"'],
    ['null in base64url', Buffer.from('null').toString('base64url')],
    ['a list in base64url', Buffer.from('[{}]').toString('base64url')],
    ['broken JSON', '{"a":'],
    ['two values in one', '{},{}'],
    ['two values', ['{}', '{}']],
    ['bad UTF-8', '{"a":"\uFFFD"}'],
    ['base64url of bad UTF-8', Buffer.from([0x7b, 0xff, 0x7d]).toString('base64url')],
    ['no base64url', 'e30.e30'],
    ['base64', '+/=='],
    ['too much', `{"a":"${'x'.repeat(65_536)}"}`],
  ])('of a header cannot be had from %s', (_, value) => {
    expect(ofHeader(value).state).toBe('unavailable');
  });
});
