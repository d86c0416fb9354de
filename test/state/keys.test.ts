import { createHmac, randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { parseAddress } from '../../src/shared/address.ts';
import { createStateKeys, randomStateKeys, readStateKeys } from '../../src/state/keys.ts';
import type { Address } from '../../src/model/address.ts';
import { identityOf } from '../rules/contexts.ts';

const OLD = Buffer.from(Array.from({ length: 32 }, (_, index) => index + 1));
const NEW = Buffer.from(Array.from({ length: 32 }, (_, index) => 200 - index));

function address(text: string): Address {
  const parsed = parseAddress(text);
  if (!parsed) throw new Error(`${text} is no address`);
  return parsed;
}

describe('the names of users', () => {
  it('are HMAC-SHA-256 of word, issuer and subject with NULs between', () => {
    const expected = createHmac('sha256', OLD).update('user\0https://idp.example\0ann').digest('base64url');
    expect(createStateKeys([OLD]).userKeys('https://idp.example', 'ann')).toEqual([expected]);
  });

  it('come one under each key, that of the first key first', () => {
    const both = createStateKeys([NEW, OLD]).userKeys('i', 's');
    expect(both).toEqual([createStateKeys([NEW]).userKeys('i', 's')[0], createStateKeys([OLD]).userKeys('i', 's')[0]]);
    expect(both[0]).not.toBe(both[1]);
  });

  it('of somebody without a subject are told by the e-mail address, and never meet those of a subject', () => {
    const keys = createStateKeys([OLD]);
    const byEmail = keys.identityKeys(identityOf({ issuer: undefined, subject: undefined, email: 'ann@example.com' }));
    expect(byEmail).not.toEqual(keys.userKeys('', 'ann@example.com'));
    expect(keys.identityKeys(identityOf({ issuer: 'i', subject: 's', email: 'ann@example.com' }))).toEqual(
      keys.userKeys('i', 's'),
    );
  });

  it('of another process in memory are others', () => {
    expect(randomStateKeys().userKeys('i', 's')).not.toEqual(randomStateKeys().userKeys('i', 's'));
  });
});

describe('hashes', () => {
  const keys = createStateKeys([OLD]);

  it.each<[string, string, boolean]>([
    ['192.0.2.15', '192.0.2.15', true],
    ['192.0.2.15', '192.0.2.16', false],
    ['2001:db8:1:2::1', '2001:db8:1:2:ffff::9', true],
    ['2001:db8:1:2::1', '2001:db8:1:3::1', false],
    ['::ffff:192.0.2.15', '192.0.2.15', true],
  ])('of the addresses %s and %s are the same: %s', (a, b, same) => {
    const equal = keys.addressHashes(address(a))[0] === keys.addressHashes(address(b))[0];
    expect(equal).toBe(same);
  });

  it('of one text differ by what it is', () => {
    const all = [keys.nonceHashes('x'), keys.markHashes('x', ''), keys.eventHashes(['x']), keys.userKeys('x', '')];
    expect(new Set(all.map(([one]) => one.slice(0, 22))).size).toBe(4);
    for (const [one] of all.slice(0, 3)) expect(one).toHaveLength(22);
  });

  it('of events tell a token id from a time', () => {
    expect(keys.eventHashes(['i', 's', '', '7'])).not.toEqual(keys.eventHashes(['i', 's', '7']));
  });
});

describe('a key file', () => {
  const line = NEW.toString('base64');

  it.each<[string, string]>([
    ['one line', `${line}\n`],
    ['one line that does not end', line],
    ['CRLF and white space', `\r\n  ${line}  \r\n`],
    ['base64url', NEW.toString('base64url')],
  ])('with %s is one key', (_, text) => {
    const read = readStateKeys(text);
    expect('value' in read && read.value.userKeys('i', 's')).toEqual(createStateKeys([NEW]).userKeys('i', 's'));
  });

  it('with two lines writes under the first and reads under both', () => {
    const read = readStateKeys(`${line}\n${OLD.toString('base64')}\n`);
    expect('value' in read && read.value.userKeys('i', 's')).toEqual(createStateKeys([NEW, OLD]).userKeys('i', 's'));
  });

  it.each<[string, string, string]>([
    ['nothing', '\n', 'expected one or two lines, found an empty file'],
    ['three lines', [1, 2, 3].map(() => randomBytes(32).toString('base64')).join('\n'), 'one or two lines, found 3'],
    ['a short key', randomBytes(31).toString('base64'), 'line 1: expected 32 bytes or more, found 31'],
    ['other characters', `${line}\nsecret sauce!`, 'line 2: expected base64, found other characters'],
    ['a placeholder', Buffer.alloc(32).toString('base64'), 'hardly more than one byte repeated'],
    ['one key twice', `${line}\n${NEW.toString('base64url')}`, 'found one key twice'],
  ])('with %s is a fault that does not repeat it', (_, text, expected) => {
    const read = readStateKeys(text);
    if ('value' in read) throw new Error('expected a fault');
    expect(read).toMatchObject({ code: 'state_key_invalid' });
    expect(read.text).toContain(expected);
    expect(`${read.text} ${read.mend}`).not.toContain(line);
    expect(`${read.text} ${read.mend}`).not.toContain('sauce');
  });
});
