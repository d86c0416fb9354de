import { describe, expect, it } from 'vitest';
import { NO_RECORD, readRecord } from '../../src/state/record.ts';
import { recordOf } from './records.ts';

const [place] = recordOf().places;
const [machine] = recordOf().machines;
if (!place || !machine) throw new Error('expected a place and a machine');

describe('a record', () => {
  it.each([
    ['with everything', recordOf()],
    ['with nothing', { ...NO_RECORD, version: 1 }],
    ['without a last authentication', recordOf({ last: undefined })],
    ['with a previous sequence', recordOf({ machines: [{ ...machine, previousHash: 'p' }] })],
    [
      'with a key of old JavaScript',
      recordOf({ admitted: JSON.parse('{"__proto__": ["e"]}') as Record<string, string[]> }),
    ],
  ])('%s is read as it was written', (_, record) => {
    const read = readRecord(JSON.stringify(record));
    expect(JSON.stringify(read)).toBe(JSON.stringify(record));
    expect(read).toEqual(record);
  });

  it('with members that are not known is read without them', () => {
    expect(readRecord(JSON.stringify({ ...recordOf(), more: 1 }))).toEqual(recordOf());
  });

  it.each<[string, unknown]>([
    ['null', null],
    ['a list', []],
    ['no form', { ...recordOf(), form: undefined }],
    ['form 2', { ...recordOf(), form: 2 }],
    ['form "1"', { ...recordOf(), form: '1' }],
    ['version 0', { ...recordOf(), version: 0 }],
    ['version 1.5', { ...recordOf(), version: 1.5 }],
    ['version absent', { ...recordOf(), version: undefined }],
    ['last null', { ...recordOf(), last: null }],
    ['last without a time', { ...recordOf(), last: { latitude: 1, longitude: 1 } }],
    ['a latitude of 91', { ...recordOf(), last: { timeMs: 1, latitude: 91, longitude: 1 } }],
    ['a longitude of -181', { ...recordOf(), last: { timeMs: 1, latitude: 1, longitude: -181 } }],
    ['places absent', { ...recordOf(), places: undefined }],
    ['a place that is a text', { ...recordOf(), places: ['PT'] }],
    ['a place with a number for a city', { ...recordOf(), places: [{ ...place, city: 1 }] }],
    ['a place with null for a city', { ...recordOf(), places: [{ ...place, city: null }] }],
    ['a place without a count', { ...recordOf(), places: [{ ...place, count: undefined }] }],
    ['a place with a count of -1', { ...recordOf(), places: [{ ...place, count: -1 }] }],
    ['a place without private', { ...recordOf(), places: [{ ...place, private: undefined }] }],
    ['one good place and one bad', { ...recordOf(), places: [place, {}] }],
    ['machines absent', { ...recordOf(), machines: undefined }],
    ['a machine without marks', { ...recordOf(), machines: [{ ...machine, marks: undefined }] }],
    ['a machine without a mark', { ...recordOf(), machines: [{ ...machine, marks: { browser: 'b', platform: 'p' } }] }],
    ['a machine without a nonce', { ...recordOf(), machines: [{ ...machine, nonceHash: undefined }] }],
    ['events absent', { ...recordOf(), events: undefined }],
    ['an event that is a number', { ...recordOf(), events: [1] }],
    ['admitted a list', { ...recordOf(), admitted: [] }],
    ['admitted with a text', { ...recordOf(), admitted: { a: 'e' } }],
  ])('that has %s is none', (_, value) => {
    expect(readRecord(JSON.stringify(value))).toBeUndefined();
  });

  it.each(['', '{', 'undefined', '{"form":1'])('of the text %s is none', (text) => {
    expect(readRecord(text)).toBeUndefined();
  });
});
