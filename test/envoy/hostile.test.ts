import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { answerFor, answerOptions } from '../../src/envoy/answer.ts';
import { readHeaders, readRequest } from '../../src/envoy/request.ts';
import { encodeAnswer } from '../../src/envoy/response.ts';
import type { RequestFacts, RequestRefusal } from '../../src/model/request.ts';
import { DECISION, FORGED, IDENTITY, MOMENT } from './arbitrary.ts';
import { decodeRequest, encodeRequest, decodeResponse } from './official.ts';

/** Frames that Envoy never sends. Each is thrown at, refused, or read; what is read can be looked into without harm. */
describe('hostile frames', () => {
  const whole = frame({ headers: { 'x-a': '1', cookie: 'a=b' }, body: 'body' });

  it('cut short anywhere: thrown at, refused, or no more than was there', () => {
    for (let length = 0; length < whole.length; length++) {
      const result = attempt(whole.subarray(0, length));
      // The lengths around everything say that more was to come.
      expect(result).toBe(length === 0 ? 'refused' : 'thrown');
    }
    expect(attempt(whole)).toBe('read');
  });

  it('with one byte changed', () => {
    for (let place = 0; place < whole.length; place++) {
      for (const change of [0x01, 0x08, 0x80, 0xff]) {
        const bytes = Buffer.from(whole);
        bytes[place] = (bytes[place] ?? 0) ^ change;
        lookInto(bytes);
      }
    }
    expect.hasAssertions();
  });

  it('20,000 random ones', () => {
    let read = 0;
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        if (attempt(bytes) === 'read') read++;
      }),
      { numRuns: 10_000 },
    );
    // Random bytes have no method, path and host.
    expect(read).toBe(0);
    fc.assert(
      fc.property(mutations(whole), (bytes) => {
        lookInto(bytes);
      }),
      { numRuns: 10_000 },
    );
  });

  it('fields that nobody knows, of every wire type, change nothing', () => {
    fc.assert(
      fc.property(fc.array(unknownField(), { maxLength: 5 }), fc.boolean(), (unknown, isFirst) => {
        const parts = isFirst ? [...unknown, whole] : [whole, ...unknown];
        expect(readFacts(Buffer.concat(parts))).toMatchObject({ path: '/a', query: 'b=1', principal: 'p' });
        expect(decodeRequest(Buffer.concat(parts))).toEqual(decodeRequest(whole));
      }),
      { numRuns: 1000 },
    );
  });

  it('10,000 headers', () => {
    const entries = Array.from({ length: 10_000 }, (_, index) => ({ key: `x-${index}`, raw_value: Buffer.from('v') }));
    const facts = readFacts(frame({ header_map: { headers: entries } }));
    expect([...facts.headers.names()]).toHaveLength(10_000);
    expect(facts.headers.all('x-9999')).toEqual(['v']);
  });

  it('one header 10,000 times', () => {
    const entries = Array.from({ length: 10_000 }, (_, index) => ({
      key: 'cookie',
      raw_value: Buffer.from(`a=${index}`),
    }));
    const facts = readFacts(frame({ header_map: { headers: entries } }));
    expect(facts.headers.cookies('a')).toHaveLength(10_000);
    expect(facts.headers.cookies('a').at(-1)).toBe('9999');
  });

  it('one key of the map in 4,096 spellings, each twice', () => {
    const spellings = Array.from({ length: 4096 }, (_, bits) =>
      [...'abcdefghijkl'].map((letter, place) => ((bits >> place) & 1 ? letter.toUpperCase() : letter)).join(''),
    );
    const once = frame({ headers: Object.fromEntries(spellings.map((name) => [name, '1'])) });
    const twice = encodeRequest({
      attributes: { request: { http: { headers: Object.fromEntries(spellings.map((name) => [name, '2'])) } } },
    });
    const headers = readHeaders(Buffer.concat([once, twice]));
    expect(headers.all('abcdefghijkl')).toEqual(spellings.map(() => '2'));
  });

  it('every spelling of a managed name is removed, however many there are', () => {
    const name = 'x-p-o-s-t-e-r-n-u-s-r';
    const count = 2 ** 10;
    const entries = Array.from({ length: count }, (_, bits) => {
      let place = 0;
      const key = name.replaceAll('-', () => ((bits >> place++) & 1 ? '_' : '-'));
      return { key, raw_value: Buffer.from(FORGED) };
    });
    const facts = readFacts(frame({ header_map: { headers: entries } }));
    const options = answerOptions({
      upstream: { headers: { [name]: 'subject' }, remove: [], assertion: undefined },
      step_up: { realm: undefined },
      login: { url: undefined },
    });
    const bytes = encodeAnswer(answerFor({ ...DECISION, identity: IDENTITY }, facts, options, MOMENT));
    expect(new Set(decodeResponse(bytes).ok_response?.headers_to_remove).size).toBe(count - 1);
  });

  it('a header, a cookie and a body of a megabyte', () => {
    const large = 'x'.repeat(1 << 20);
    const facts = readFacts(frame({ headers: { 'x-a': large, cookie: `a=${large}` }, raw_body: Buffer.from(large) }));
    expect(facts.headers.single('x-a')).toEqual({ state: 'one', value: large });
    expect(facts.headers.cookies('a')).toEqual([large]);
    expect(facts.body).toMatchObject({ state: 'whole', bytes: { length: 1 << 20 } });
  });

  it('a target, a host and a method of a megabyte', () => {
    const large = 'a'.repeat(1 << 20);
    expect(attempt(frame({ path: `/${large}` }))).toBe('refused');
    expect(attempt(frame({ path: `/${'%61'.repeat(1 << 19)}` }))).toBe('refused');
    expect(attempt(frame({ host: large }))).toBe('refused');
    expect(attempt(frame({ host: 'a.'.repeat(1 << 19) }))).toBe('refused');
    expect(attempt(frame({ path: `/?${large}` }))).toBe('read');
  });

  it('groups within groups do not exhaust the stack', () => {
    expect(attempt(Buffer.concat([whole, Buffer.alloc(1 << 20, 0x0b)]))).toBe('thrown');
  });
});

function frame(http: object): Uint8Array {
  return encodeRequest({
    attributes: {
      source: { address: { socket_address: { address: '203.0.113.7', port_value: 51_000 } }, principal: 'p' },
      request: {
        time: { seconds: '1772634600', nanos: 5 },
        http: { method: 'GET', path: '/a?b=1', host: 'orders.example.com', ...http },
      },
      metadata_context: { filter_metadata: { a: { fields: { x: { listValue: { values: [{ numberValue: 1 }] } } } } } },
    },
  });
}

function attempt(bytes: Uint8Array): 'thrown' | 'refused' | 'read' {
  const result = lookInto(bytes);
  if (result === undefined) return 'thrown';
  return 'reason' in result ? 'refused' : 'read';
}

/** Reads everything that anybody may read. Only RangeErrors may come of it. */
function lookInto(bytes: Uint8Array): RequestFacts | RequestRefusal | undefined {
  const result = orRangeError(() => readRequest(bytes));
  if (result === undefined) return undefined;
  if ('reason' in result) {
    expect(result.reason).toMatch(/^request_(malformed|ambiguous)$/);
    return result;
  }
  expect(result.path).toMatch(/^(?:\/[!-~]*|\*)$/);
  expect(result.host).toMatch(/^[a-z0-9._:[\]-]+$/);
  orRangeError(() => result.metadata('a'));
  const { headers, body, principal, certificate, sourceAddress, timeMs, streamId, protocol, scheme } = result;
  for (const name of headers.names()) headers.single(name);
  headers.cookies('a');
  expect([body.state, principal, certificate, streamId, protocol].every((text) => typeof text === 'string')).toBe(true);
  expect(timeMs === undefined || Number.isSafeInteger(timeMs)).toBe(true);
  expect(scheme ?? sourceAddress?.text ?? '').toEqual(expect.any(String));
  return result;
}

function orRangeError<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    expect(error).toBeInstanceOf(RangeError);
    return undefined;
  }
}

function readFacts(bytes: Uint8Array): RequestFacts {
  const result = readRequest(bytes);
  if ('reason' in result) throw new Error(`expected a request, found ${result.why}`);
  return result;
}

/** The frame with a few bytes replaced, cut out or put in. */
function mutations(bytes: Uint8Array): fc.Arbitrary<Uint8Array> {
  const edit = fc.record({
    at: fc.nat({ max: bytes.length - 1 }),
    cut: fc.nat({ max: 4 }),
    put: fc.uint8Array({ maxLength: 4 }),
  });
  return fc.array(edit, { minLength: 1, maxLength: 4 }).map((edits) => {
    let result = Buffer.from(bytes);
    for (const { at, cut, put } of edits) {
      result = Buffer.concat([result.subarray(0, at), put, result.subarray(at + cut)]);
    }
    return result;
  });
}

/** With the numbers 2 to 15, of which CheckRequest has none. */
function unknownField(): fc.Arbitrary<Uint8Array> {
  const number = fc.integer({ min: 2, max: 15 });
  const content = fc.oneof(
    fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map((value) => ({ type: 0, bytes: varint(value) })),
    fc.uint8Array({ minLength: 8, maxLength: 8 }).map((bytes) => ({ type: 1, bytes })),
    fc
      .uint8Array({ maxLength: 100 })
      .map((bytes) => ({ type: 2, bytes: Buffer.concat([Buffer.from([bytes.length]), bytes]) })),
    fc.uint8Array({ minLength: 4, maxLength: 4 }).map((bytes) => ({ type: 5, bytes })),
  );
  const simple = fc
    .tuple(number, content)
    .map(([field, { type, bytes }]) => Buffer.concat([Buffer.from([field * 8 + type]), bytes]));
  const group = fc
    .tuple(number, fc.array(simple, { maxLength: 3 }))
    .map(([field, inner]) => Buffer.concat([Buffer.from([field * 8 + 3]), ...inner, Buffer.from([field * 8 + 4])]));
  return fc.oneof(simple, group);
}

function varint(value: bigint): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x80n; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  return Buffer.from([...bytes, Number(rest)]);
}
