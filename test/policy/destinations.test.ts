import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  DestinationIndexBuilder,
  bySpecificity,
  coversHost,
  coversPath,
  parseDestination,
} from '../../src/policy/destinations.ts';
import type { Destination } from '../../src/policy/destinations.ts';
import { canonicalHost } from '../../src/shared/host.ts';
import { canonicalPath } from '../../src/shared/path.ts';

function parsed(text: string): Destination {
  const result = parseDestination(text);
  if ('code' in result) throw new Error(`${text}: ${result.code} ${result.text}`);
  return result.value;
}

function indexOf(patterns: Readonly<Record<string, string>>) {
  const builder = new DestinationIndexBuilder<string>();
  for (const [name, text] of Object.entries(patterns)) builder.add(parsed(text), name);
  return builder.build();
}

const PATTERNS = {
  A: 'example.com',
  B: 'example.com/alpha/*',
  C: 'example.com/foo*/bar',
  D: '*.example.com',
  E: '*test.example.com',
  F: '*.shop.example.com/admin*',
  G: 'orders.example.com/api',
  H: 'orders.example.com/api/internal',
  I: 'orders.example.com/*/export',
  J: '127.0.0.1/health',
  K: 'example.com/eng',
  L: 'bücher.example/café',
};

function ask(index: ReturnType<typeof indexOf>, url: string): string | undefined {
  const slash = url.indexOf('/');
  const host = canonicalHost(url.slice(0, slash));
  const path = canonicalPath('GET', url.slice(slash));
  if (typeof host !== 'string' || 'reason' in path) return 'refused';
  return index.find(host, path.path)?.target;
}

describe('the most specific pattern wins', () => {
  const patterns = indexOf(PATTERNS);
  it.each([
    ['example.com/', 'A'],
    ['EXAMPLE.com:8443/x', 'A'],
    ['example.com./x', 'A'],
    ['example.com/alpha', 'A'],
    ['example.com/alpha/', 'B'],
    ['example.com/alpha/x/y', 'B'],
    ['example.com/foo/bar', 'C'],
    ['example.com/food/bar', 'C'],
    ['example.com/food/stuff/bar', 'C'],
    ['example.com/foo/bar/baz', 'C'],
    ['example.com/foo/barn', 'A'],
    ['example.com/eng', 'K'],
    ['example.com/eng/', 'K'],
    ['example.com/engineering', 'A'],
    ['example.com/ENG', 'A'],
    ['example.com/eng?to=/alpha/x', 'K'],
    ['example.com/%65ng', 'K'],
    ['127.0.0.1:8080/health', 'J'],
    ['127.0.0.1/healthz', undefined],
    ['other.test/', undefined],
    ['a.example.com/', 'D'],
    ['a.b.example.com/', undefined],
    ['test.example.com/', 'E'],
    ['alphatest.example.com/x', 'E'],
    ['testalpha.example.com/', 'D'],
    ['eu.shop.example.com/admin', 'F'],
    ['eu.shop.example.com/administrator', 'F'],
    ['eu.shop.example.com/admin/x', 'F'],
    ['eu.shop.example.com/', undefined],
    ['shop.example.com/admin', 'D'],
    ['orders.example.com/api/v1', 'G'],
    ['orders.example.com/api/internal/x', 'H'],
    ['orders.example.com/api/internals', 'G'],
    ['orders.example.com/apis', 'D'],
    ['orders.example.com/eu/export', 'I'],
    ['orders.example.com/api/export', 'I'],
    ['xn--bcher-kva.example/caf%c3%a9', 'L'],
    ['example.com/a%2Fb', 'refused'],
  ])('%s → %s', (url, application) => {
    expect(ask(patterns, url)).toBe(application);
  });

  it.each([
    ['other.test/metrics', 'M'],
    ['example.com/metrics', 'A'],
  ])('with */metrics: %s → %s', (url, application) => {
    expect(ask(indexOf({ ...PATTERNS, M: '*/metrics' }), url)).toBe(application);
  });

  it.each([
    ['*.*.*.*', '10.0.0.1', undefined],
    ['*', '10.0.0.1', 'X'],
    ['*', '[2001:db8::1]', 'X'],
    ['[2001:DB8::1]', '[2001:db8::1]', 'X'],
    ['10.0.0.1', '10.0.0.1', 'X'],
  ])('an IP literal: %s for %s → %s', (pattern, host, application) => {
    expect(indexOf({ X: pattern }).find(host, '/')?.target).toBe(application);
  });

  it('lets OPTIONS * reach only what covers the whole host', () => {
    expect(indexOf({ X: 'example.com', Y: 'example.com/a' }).find('example.com', '*')?.target).toBe('X');
    expect(indexOf({ Y: 'example.com/a', Z: 'example.com/*/b' }).find('example.com', '*')).toBeUndefined();
  });

  it('reads an escaped * as a character and a raw one as the wildcard', () => {
    const index = indexOf({ X: 'example.com/a%2Ab', Y: 'example.com/c*d' });
    expect(ask(index, 'example.com/a*b')).toBe('X');
    expect(ask(index, 'example.com/axb')).toBeUndefined();
    expect(ask(index, 'example.com/cxd')).toBe('Y');
  });

  it('takes no word of the path for a wildcard, however it is escaped', () => {
    const index = indexOf({ X: 'example.com/a%7ASTARzb*' });
    expect(ask(index, 'example.com/azSTARzbc')).toBe('X');
    expect(ask(index, 'example.com/axb')).toBeUndefined();
  });

  it('of two patterns alike in all that counts takes the lesser text', () => {
    const index = indexOf({ X: 'example.com/x*/x!', Y: 'example.com/x!/x*' });
    expect(ask(index, 'example.com/x!/x!')).toBe('Y');
  });
});

describe('equal patterns have equal keys', () => {
  it.each([
    ['example.com', 'EXAMPLE.com/'],
    ['example.com', 'example.com/*'],
    ['example.com/eng', 'example.com/eng/'],
    ['example.com/eng', 'example.com/%65ng'],
    ['bücher.example', 'xn--bcher-kva.example'],
    ['example.com/caf%c3%a9', 'example.com/café'],
  ])('%s = %s', (a, b) => {
    expect(parsed(a).key).toBe(parsed(b).key);
  });
  it.each([
    ['example.com/a*b', 'example.com/a%2Ab'],
    ['example.com/alpha', 'example.com/alpha/*'],
    ['*.example.com', '*a.example.com'],
  ])('%s ≠ %s', (a, b) => {
    expect(parsed(a).key).not.toBe(parsed(b).key);
  });
});

describe('faults', () => {
  it.each([
    'https://example.com',
    'example.com:8443',
    'ex*am*ple.com',
    'example.com/a*b*c',
    'example.com/**',
    'a..example.com',
    'example.com/x?y=1',
    'example.com/x#y',
    'user@example.com',
    'example.com.',
    ' example.com',
    'exa mple.com/x',
    '10.0.0.*',
    '*.0.0.1',
    '[2001:db8::*]',
    '[2001:db8::1]:443',
    'xn--*.example.com',
    '/path',
    '',
    `${'a'.repeat(64)}.example.com`,
    '1.2.3',
    'exam%70le.com',
    'bü\\x.example.com',
    'bü:80.example.com',
  ])('%s is destination_invalid', (text) => {
    expect(parseDestination(text)).toMatchObject({ code: 'destination_invalid' });
  });
  it.each([
    'example.com/a/../b',
    'example.com//a',
    'example.com/a%2fb',
    'example.com/a;b',
    'example.com/a\\b',
    'example.com/%zz',
    'example.com/a%252e',
  ])('%s is destination_unreachable', (text) => {
    expect(parseDestination(text)).toMatchObject({ code: 'destination_unreachable' });
  });
});

describe('the index', () => {
  const label = fc.constantFrom('a', 'b', 'ab', 'ba', '*', 'a*', '*b');
  const segment = fc.constantFrom('a', 'b', 'ab', '*', 'a*', '*b');
  const pattern = fc
    .tuple(
      fc.oneof(
        fc.constant('*'),
        fc.array(label, { minLength: 1, maxLength: 3 }).map((labels) => labels.join('.')),
      ),
      fc.array(segment, { maxLength: 3 }),
    )
    .map(([host, segments]) => [host, ...segments].join('/'));
  const request = fc.tuple(
    fc
      .array(fc.constantFrom('a', 'b', 'ab', 'ba', 'aab'), { minLength: 1, maxLength: 3 })
      .map((labels) => labels.join('.')),
    fc.array(fc.constantFrom('a', 'b', 'ab', 'ba', 'c'), { maxLength: 4 }).map((segments) => `/${segments.join('/')}`),
  );
  it('finds what a search through all patterns finds', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(pattern, { maxLength: 12, selector: (text) => parsed(text).key }),
        request,
        (patterns, [host, path]) => {
          const builder = new DestinationIndexBuilder<string>();
          for (const text of patterns) builder.add(parsed(text), text);
          const index = builder.build();
          const best = patterns
            .map(parsed)
            .filter((destination) => coversHost(destination, host) && coversPath(destination.pathPieces, path))
            .toSorted(bySpecificity)[0];
          expect(index.find(host, path)?.target).toBe(best?.text);
          expect(index.all(host, path)[0]?.target).toBe(best?.text);
        },
      ),
      { numRuns: 3000 },
    );
  });
});
