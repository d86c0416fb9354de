import { describe, expect, it } from 'vitest';
import { createCache } from '../../src/shared/cache.ts';

describe('a bounded cache', () => {
  it.each([
    ['before its end', 99, 'value'],
    ['at its end', 100, undefined],
    ['after its end', 101, undefined],
  ])('gives an entry %s', (_, nowMs, found) => {
    const cache = createCache<string, string>({ entriesMax: 2 });
    cache.set('key', 'value', 100);
    expect(cache.get('key', nowMs)).toBe(found);
    expect(cache.size).toBe(found === undefined ? 0 : 1);
  });

  it('drops the least recently used entry when it is full', () => {
    const cache = createCache<string, number>({ entriesMax: 2 });
    cache.set('a', 1, Infinity);
    cache.set('b', 2, Infinity);
    cache.get('a', 0);
    cache.set('c', 3, Infinity);
    expect([cache.get('a', 0), cache.get('b', 0), cache.get('c', 0)]).toEqual([1, undefined, 3]);
  });

  it('drops the least recently used entries when all together weigh too much, and keeps none that does alone', () => {
    const cache = createCache<string, number>({ entriesMax: 10, weightMax: 10 });
    for (const key of ['a', 'b', 'c']) cache.set(key, 1, Infinity, 4);
    expect([cache.get('a', 0), cache.get('b', 0), cache.get('c', 0)]).toEqual([undefined, 1, 1]);
    cache.set('large', 1, Infinity, 11);
    expect([cache.get('large', 0), cache.size]).toEqual([undefined, 2]);
  });

  it('is as large as what is valid, not as large as it once became', () => {
    const cache = createCache<string, number>({ entriesMax: 1_000 });
    for (let number = 0; number < 100; number += 1) cache.set(`old ${number}`, number, 60);
    cache.set('for ever', 0, Infinity);
    for (let number = 0; number < 50; number += 1) {
      cache.get(`new ${number}`, 60);
      cache.set(`new ${number}`, number, 120);
    }
    expect(cache.size).toBe(51);
    expect([cache.get('for ever', 60), cache.get('new 0', 60), cache.get('new 49', 60)]).toEqual([0, 0, 49]);
  });

  it('keeps what is valid when something before it has expired', () => {
    const cache = createCache<string, number>({ entriesMax: 10 });
    cache.set('short', 1, 10);
    cache.set('long', 2, 100);
    cache.get('other', 10);
    cache.set('other', 3, 100);
    expect([cache.size, cache.get('long', 10), cache.get('other', 10)]).toEqual([2, 2, 3]);
  });

  it('tells of every hit and miss', () => {
    const results: string[] = [];
    const cache = createCache<string, number>({ entriesMax: 2, onRequest: (result) => results.push(result) });
    cache.get('a', 0);
    cache.set('a', 1, 10);
    cache.get('a', 9);
    cache.get('a', 10);
    expect(results).toEqual(['miss', 'hit', 'miss']);
  });

  it('forgets what is deleted or cleared', () => {
    const cache = createCache<string, number>({ entriesMax: 3 });
    for (const key of ['a', 'b', 'c']) cache.set(key, 1, Infinity);
    cache.delete('a');
    expect([cache.get('a', 0), cache.size]).toEqual([undefined, 2]);
    cache.clear();
    expect(cache.size).toBe(0);
  });
});
