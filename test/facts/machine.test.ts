import { describe, expect, it } from 'vitest';
import { machineFact, machineMarks, machineSetCookie, newNonce, readMachineCookie } from '../../src/facts/machine.ts';
import type { MachineFact } from '../../src/model/adaptive-facts.ts';
import { createStateKeys } from '../../src/state/keys.ts';
import type { MachineRecord } from '../../src/state/record.ts';
import { NOW_MS, requestWith } from './token-maker.ts';

const OLD = Buffer.alloc(32, 'an old key, well above all bounds');
const NEW = Buffer.alloc(32, 'a key that has taken over from it');
const keys = createStateKeys([NEW, OLD]);
const oldKeys = createStateKeys([OLD]);

const NONCE = 'AAAAAAAAAAAAAAAAAAAAAA';
const CURRENT = 'BBBBBBBBBBBBBBBBBBBBBA';
const BEFORE = 'CCCCCCCCCCCCCCCCCCCCCA';
const NAME = '__Host-postern-machine';
const POINTS = { browser: 10, platform: 200, language: 3000 };

const FIREFOX = {
  'user-agent': 'Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0',
  'sec-ch-ua-platform': '"Linux"',
  'accept-language': 'pt-PT,pt;q=0.9,en;q=0.8',
};

type Sent = Readonly<Record<string, string | readonly string[]>>;

function headersOf(sent: Sent) {
  return requestWith(sent).headers;
}

/** A machine registered with the headers of FIREFOX, by these keys. */
function registered(by: typeof keys): readonly MachineRecord[] {
  return [
    {
      nonceHash: by.nonceHashes(NONCE)[0],
      sequenceHash: by.nonceHashes(CURRENT)[0],
      previousHash: by.nonceHashes(BEFORE)[0],
      marks: machineMarks(headersOf(FIREFOX), by),
      createdMs: NOW_MS,
      usedMs: NOW_MS,
    },
  ];
}

function factOf(sent: Sent, by = keys): MachineFact {
  return machineFact(registered(by), headersOf(sent), keys, POINTS, NOW_MS);
}

const cookie = (sequence: string): Sent => ({ cookie: `a=1; ${NAME}=${NONCE}.${sequence}; b=2` });

describe('the cookie', () => {
  it.each<[string, string, string]>([
    ['absent', 'a=1', 'no machine cookie'],
    ['of another name', `${NAME}s=${NONCE}.${CURRENT}`, 'no machine cookie'],
    ['twice', `${NAME}=${NONCE}.${CURRENT}; ${NAME}=${NONCE}.${CURRENT}`, 'several machine cookies'],
    ['empty', `${NAME}=`, 'the machine cookie cannot be read'],
    ['one nonce', `${NAME}=${NONCE}`, 'the machine cookie cannot be read'],
    ['too short', `${NAME}=${NONCE.slice(1)}.${CURRENT}`, 'the machine cookie cannot be read'],
    ['too long', `${NAME}=${NONCE}.${CURRENT}A`, 'the machine cookie cannot be read'],
    ['three parts', `${NAME}=${NONCE}.${CURRENT}.${CURRENT}`, 'the machine cookie cannot be read'],
    ['no base64url', `${NAME}=${NONCE.slice(1)}+.${CURRENT}`, 'the machine cookie cannot be read'],
    ['in quotes', `${NAME}="${NONCE}.${CURRENT}"`, 'the machine cookie cannot be read'],
  ])('%s', (_, text, why) => {
    expect(readMachineCookie(headersOf({ cookie: text }))).toEqual({ state: 'none', why });
    expect(factOf({ ...FIREFOX, cookie: text })).toEqual({ state: 'absent', why });
  });

  it('as it was set it is read', () => {
    const [nonce, sequence] = [newNonce(), newNonce()];
    const [pair = ''] = machineSetCookie(nonce, sequence).split(';');
    expect(readMachineCookie(headersOf({ cookie: pair }))).toEqual({ state: 'one', nonce, sequence });
  });
});

describe('the machine', () => {
  it.each<[string, Sent, MachineFact]>([
    ['the current nonce', cookie(CURRENT), { state: 'present', risk: 0 }],
    ['the one before', cookie(BEFORE), { state: 'present', risk: 0 }],
    [
      'an older one',
      cookie('DDDDDDDDDDDDDDDDDDDDDA'),
      { state: 'absent', why: 'an old sequence nonce: possibly a copy of the cookie', copied: true },
    ],
    [
      'another machine',
      { cookie: `${NAME}=DDDDDDDDDDDDDDDDDDDDDA.${CURRENT}` },
      { state: 'absent', why: 'a machine that the user has not registered' },
    ],
  ])('%s', (_, sent, fact) => {
    expect(factOf({ ...FIREFOX, ...sent })).toEqual(fact);
  });

  it.each<[string, Sent, number]>([
    ['nothing', {}, 0],
    ['another version', { 'user-agent': FIREFOX['user-agent'].replaceAll('130', '131') }, 0],
    ['another browser', { 'user-agent': 'curl/8.0' }, 10],
    ['no browser', { 'user-agent': [] }, 10],
    ['another platform', { 'sec-ch-ua-platform': '"Windows"' }, 200],
    ['no platform', { 'sec-ch-ua-platform': [] }, 200],
    ['later languages', { 'accept-language': 'pt-PT' }, 0],
    ['letter case of the language', { 'accept-language': 'PT-pt ;q=1,en' }, 0],
    ['another first language', { 'accept-language': 'en,pt-PT' }, 3000],
    ['everything', { 'user-agent': 'x', 'sec-ch-ua-platform': 'y', 'accept-language': 'z' }, 3210],
  ])('%s differs: %d points', (_, changed, risk) => {
    expect(factOf({ ...FIREFOX, ...cookie(CURRENT), ...changed })).toEqual({ state: 'present', risk });
  });

  it('what was recorded under the older key is still known', () => {
    expect(factOf({ ...FIREFOX, ...cookie(BEFORE) }, oldKeys)).toEqual({ state: 'present', risk: 0 });
    expect(factOf({ ...FIREFOX, ...cookie(CURRENT), 'user-agent': 'x' }, oldKeys)).toEqual({
      state: 'present',
      risk: 10,
    });
  });

  it.each([
    [90, 'present'],
    [90.001, 'absent'],
  ])('unused for %d days: %s', (days, state) => {
    const headers = headersOf({ ...FIREFOX, ...cookie(CURRENT) });
    expect(machineFact(registered(keys), headers, keys, POINTS, NOW_MS + days * 86_400_000).state).toBe(state);
  });
});
