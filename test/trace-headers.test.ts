import { describe, expect, it } from 'vitest';
import { readTraceHeaders } from '../src/trace-headers.ts';

describe('headers for a collector', () => {
  it.each<[string, Readonly<Record<string, string>>]>([
    ['', {}],
    ['authorization: Bearer abc.def\n', { authorization: 'Bearer abc.def' }],
    ['X-Key:abc\r\n\n# a remark\nx-other: a b  \n', { 'x-key': 'abc', 'x-other': 'a b' }],
  ])('%j', (text, value) => {
    expect(readTraceHeaders(text)).toEqual({ value });
  });

  it.each([
    ['S3cr3t', 1],
    ['x-key: a\nS3cr3t value\n', 2],
    ['x-key:\n', 1],
    ['x key: S3cr3t\n', 1],
    ['x-key: S3cr3t\u0000\n', 1],
  ])('%j is refused, and not repeated', (text, line) => {
    const found = readTraceHeaders(text);
    expect(found).toMatchObject({ code: 'trace_headers_invalid' });
    expect(JSON.stringify(found)).toContain(`in line ${line}`);
    expect(JSON.stringify(found)).not.toContain('S3cr3t');
  });
});
