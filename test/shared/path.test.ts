import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonicalPath, canonicalPathText, MAX_PATH } from '../../src/shared/path.ts';

/** Method where it is not GET, target, and the canonical path or A (ambiguous) or M (malformed). */
const rows: readonly (readonly [target: string, expected: string, method?: string])[] = [
  ['/', '/'],
  ['/api/v1/orders/', '/api/v1/orders/'],
  ['/a?b=c', '/a'],
  ['/a?x=/../b', '/a'],
  ['/%61pi', '/api'],
  ['/file%2etxt', '/file.txt'],
  ['/a%2Db%7Ec', '/a-b~c'],
  ['/caf%c3%a9', '/caf%C3%A9'],
  ['/x/%F0%9F%98%80', '/x/%F0%9F%98%80'],
  ['/a%20b', '/a%20b'],
  ['/a|b', '/a%7Cb'],
  ['/a%7cb', '/a%7Cb'],
  ['/a[0]', '/a%5B0%5D'],
  ['/a"<>^`{}', '/a%22%3C%3E%5E%60%7B%7D'],
  ['/a%3Ab@c', '/a:b@c'],
  ['/it%27s', "/it's"],
  ['/a%2Bb', '/a+b'],
  ['/a%3Bb', '/a%3Bb'],
  ['/a%3bb', '/a%3Bb'],
  ['/100%25', '/100%25'],
  ['/100%25zz', '/100%25zz'],
  ['/what%3F', '/what%3F'],
  ['/%23', '/%23'],
  ['/.well-known/x', '/.well-known/x'],
  ['/a/...', '/a/...'],
  ['/a/.b/..c/d.', '/a/.b/..c/d.'],
  ['/A/b', '/A/b'],
  ['*', '*', 'OPTIONS'],
  ['/a', '/a', 'OPTIONS'],
  ["/!$&'()*+,=:@-._~", "/!$&'()*+,=:@-._~"],
  [`/${'a'.repeat(MAX_PATH - 1)}`, `/${'a'.repeat(MAX_PATH - 1)}`],
  ['/a?', '/a'],
  ['/a?b?c', '/a'],
  ['/a?é', '/a'],
  ['/public?/../admin', '/public'],
  ['/x?y=/admin', '/x'],

  ['/a//b', 'A'],
  ['//a', 'A'],
  ['//', 'A'],
  ['/a//', 'A'],
  ['/a/./b', 'A'],
  ['/.', 'A'],
  ['/./', 'A'],
  ['/..', 'A'],
  ['/a/../b', 'A'],
  ['/a/..', 'A'],
  ['/a/%2e%2e/b', 'A'],
  ['/a/.%2E/b', 'A'],
  ['/a/%2e', 'A'],
  ['/a%2fb', 'A'],
  ['/a%2Fb', 'A'],
  ['/a\\b', 'A'],
  ['/a%5cb', 'A'],
  ['/a;x=1', 'A'],
  ['/a/..;/b', 'A'],
  ['/a%00', 'A'],
  ['/a%0d%0ab', 'A'],
  ['/a%1F', 'A'],
  ['/a%7f', 'A'],
  ['/a%252e%252e/b', 'A'],
  ['/a%25%32%65', 'A'],
  ['/a%2525', 'A'],
  ['/a%c0%ae', 'A'],
  ['/a%E9', 'A'],
  ['/a%ed%a0%80', 'A'],
  ['/a%e0%80%80', 'A'],
  ['/a%f0%80%80%80', 'A'],
  ['/a%f4%90%80%80', 'A'],
  ['/a%f5%80%80%80', 'A'],
  ['/a%c3x', 'A'],
  ['/a%80', 'A'],
  ['/a%e2%82', 'A'],

  ['', 'M'],
  ['api', 'M'],
  ['?a', 'M'],
  ['*?a', 'M', 'OPTIONS'],
  ['**', 'M', 'OPTIONS'],
  ['http://h/a', 'M'],
  ['/a#b', 'M'],
  ['/a?b#c', 'M'],
  ['/a b', 'M'],
  ['/a?b c', 'M'],
  ['/a?b\tc', 'M'],
  ['/a?b\u007f', 'M'],
  ['/a\u0000', 'M'],
  ['/a\u007f', 'M'],
  ['/aé', 'M'],
  ['/a%', 'M'],
  ['/a%4', 'M'],
  ['/a%zz', 'M'],
  ['/a%4é', 'M'],
  ['/a;%zz', 'M'],
  ['*', 'M'],
  ['*', 'M', 'options'],
  ['/a', 'M', 'CONNECT'],
  ['', 'M', 'CONNECT'],
  [`/${'a'.repeat(MAX_PATH)}`, 'M'],
];

describe('a request target', () => {
  it.each(rows.map(([text, expected, method]): [string, string, string] => [text, expected, method ?? 'GET']))(
    '%s is %s',
    (target, expected, method) => {
      expect(short(canonicalPath(method, target))).toBe(expected);
    },
  );

  it.each([
    ['/a', undefined],
    ['/a?', ''],
    ['/a?b=c', 'b=c'],
    ['/a?b?c=%zz;\\', 'b?c=%zz;\\'],
  ])('%s has the query %s', (target, query) => {
    expect(canonicalPath('GET', target)).toEqual({ path: '/a', query });
  });
});

describe('path text alone', () => {
  it.each(rows.filter(isPathAlone).map(([text, expected]): [string, string] => [text, expected]))(
    '%s is %s, as in a request',
    (target, expected) => {
      expect(short(canonicalPathText(target))).toBe(expected);
    },
  );

  it.each([['/a?b'], ['/a#b'], ['*'], ['']])('%s is malformed', (text) => {
    expect(short(canonicalPathText(text))).toBe('M');
  });

  it('leaves * where it is', () => {
    expect(canonicalPathText('/%61*/b*')).toEqual({ path: '/a*/b*' });
  });
});

describe('laws', () => {
  it('the canonical form of a canonical path is itself', () => {
    fc.assert(
      fc.property(targets(), (text) => {
        const result = canonicalPath('GET', text);
        fc.pre(!('reason' in result));
        expect(canonicalPath('GET', result.path)).toEqual({ path: result.path, query: undefined });
      }),
      { numRuns: 3000 },
    );
  });

  it('a canonical path, decoded once, holds nothing that another parser could act on', () => {
    fc.assert(
      fc.property(targets(), (text) => {
        const result = canonicalPath('GET', text);
        fc.pre(!('reason' in result));
        const decoded = decodeURIComponent(result.path);
        expect(decoded).not.toMatch(/\/\/|\\|[\u0000-\u001f\u007f]|%[0-9a-f]{2}/i);
        expect(decoded.split('/').filter((segment) => segment === '.' || segment === '..')).toEqual([]);
        expect(result.path).toMatch(/^\/[!-~]*$/);
      }),
      { numRuns: 3000 },
    );
  });

  it('escaping an unreserved character changes neither the form nor the refusal', () => {
    fc.assert(
      fc.property(targets(), fc.nat(), fc.boolean(), (text, choice, isUpper) => {
        const places = unreservedPlaces(text);
        fc.pre(places.length > 0);
        const place = places[choice % places.length] ?? 0;
        const hex = text.charCodeAt(place).toString(16);
        const escaped = `${text.slice(0, place)}%${isUpper ? hex.toUpperCase() : hex}${text.slice(place + 1)}`;
        fc.pre(escaped.length <= MAX_PATH);
        expect(short(canonicalPath('GET', escaped))).toBe(short(canonicalPath('GET', text)));
      }),
      { numRuns: 3000 },
    );
  });

  it('any text is either a canonical path or refused', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const result = canonicalPath('GET', text);
        if ('reason' in result) expect(result.reason).toMatch(/^request_(malformed|ambiguous)$/);
        else expect(result.path.startsWith('/')).toBe(true);
      }),
      { numRuns: 2000 },
    );
  });
});

function isPathAlone([text, , method]: (typeof rows)[number]): boolean {
  return method === undefined && !/[?#]/.test(text) && text !== '*';
}

function short(result: { readonly path: string } | { readonly reason: string }): string {
  if ('path' in result) return result.path;
  return result.reason === 'request_ambiguous' ? 'A' : 'M';
}

/** Targets of pieces that matter, so that most are nearly right. */
function targets(): fc.Arbitrary<string> {
  const piece = fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom('a', 'B', '7', '-', '.', '_', '~', '/', '/a', '/b.c', '*', ':', '@', '+') },
    {
      weight: 2,
      arbitrary: fc.constantFrom('%61', '%2e', '%2D', '%20', '%25', '%3b', '%3F', '%c3%a9', '%F0%9F%98%80', '|'),
    },
    {
      weight: 1,
      arbitrary: fc.constantFrom('..', '//', ';', '\\', '%2f', '%5C', '%00', '%E9', '%', '%4', '[', '{', 'é'),
    },
    { weight: 1, arbitrary: fc.string({ minLength: 1, maxLength: 3 }) },
  );
  return fc.array(piece, { maxLength: 12 }).map((pieces) => `/${pieces.join('')}`);
}

/** Unreserved characters of the path part that do not belong to an escape. */
function unreservedPlaces(text: string): number[] {
  const end = text.search(/[?#]/);
  const path = end === -1 ? text : text.slice(0, end);
  const places: number[] = [];
  for (let index = 0; index < path.length; index++) {
    const isOfEscape = path.lastIndexOf('%', index) >= Math.max(0, index - 2) && path.lastIndexOf('%', index) !== -1;
    if (!isOfEscape && /[A-Za-z0-9._~-]/.test(path.charAt(index))) places.push(index);
  }
  return places;
}
