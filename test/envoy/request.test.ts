import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readHeaders, readRequest } from '../../src/envoy/request.ts';
import { readRequestJson, requestBytes } from '../../src/envoy/request-json.ts';
import type { RequestFacts } from '../../src/model/request.ts';
import { decodeRequest, encodeRequest } from './official.ts';

describe('bytes that Envoy could send', () => {
  it('GET /a?b=1', () => {
    const request = read('0a2522231221120347455422062f613f623d312a126f72646572732e6578616d706c652e636f6d');
    expect(request).toMatchObject({
      method: 'GET',
      path: '/a',
      query: 'b=1',
      target: '/a?b=1',
      host: 'orders.example.com',
      authority: 'orders.example.com',
      scheme: undefined,
      timeMs: undefined,
      sourceAddress: undefined,
      principal: '',
      certificate: '',
      body: { state: 'absent' },
      streamId: '',
      protocol: '',
    });
    expect(request.metadata('x')).toBeUndefined();
  });

  it('a header_map with x-a twice, once not UTF-8', () => {
    const { headers } = read('0a2622241222120347455422022f612a01686a140a080a03782d611a01310a080a03782d611a01ff');
    expect(headers.all('x-a')).toEqual(['1', '\uFFFD']);
    expect(headers.single('x-a')).toEqual({ state: 'several' });
  });

  it('no HTTP part', () => {
    expect(refusal('0a170a150a130a11120b3230332e302e3131332e3718b88e03')).toBe('request_malformed');
  });

  it('nothing at all', () => {
    expect(refusal('')).toBe('request_malformed');
  });

  it('a header named __proto__', () => {
    const headers = readHeaders(hex('0a172215121322012f1a0e0a095f5f70726f746f5f5f120178'));
    expect(headers.all('__proto__')).toEqual(['x']);
    expect([...headers.names()]).toEqual(['__proto__']);
    expect(headers.has('constructor')).toBe(false);
    expect(headers.single('tostring')).toEqual({ state: 'absent' });
    expect(headers.all('toString')).toEqual([]);
  });

  it('the map entries a=1 and a=2', () => {
    expect(readHeaders(hex('0a172215121322012f1a060a01611201311a060a0161120132')).all('a')).toEqual(['2']);
  });

  it('a header that is not UTF-8', () => {
    const headers = readHeaders(hex('0a122210120e22012f1a090a03782d61120261ff'));
    expect(headers.all('x-a')).toEqual(['a\uFFFD']);
    expect(headers.single('x-a')).toEqual({ state: 'unreadable' });
  });

  it('the size -1', () => {
    expect(() => readRequest(hex('0a122210120e22012f48ffffffffffffffffff01'))).not.toThrow();
  });

  it('http split over two sub-messages, of which neither has a host', () => {
    expect(refusal('0a092207120512034745540a082206120422022f78')).toBe('request_malformed');
  });

  it('http split over two sub-messages is put together', () => {
    const first = encodeRequest({ attributes: { request: { http: { method: 'GET', host: 'a', path: '/x' } } } });
    const second = encodeRequest({
      attributes: { request: { http: { path: '/y', headers: { 'x-a': '1' } } }, source: { principal: 'p' } },
    });
    const request = readRequest(Buffer.concat([first, second]));
    expect(request).toMatchObject({ method: 'GET', host: 'a', path: '/y', principal: 'p' });
  });

  it.each([
    ['truncated', '0a2522231221120347'],
    ['a length beyond the end', '0aff01'],
    ['a length over 32 bits', '0affffffffff0f'],
    ['a number without end', '0a0b2209ffffffffffffffffffffff'],
    ['field number 0', '0000'],
    ['wire type 6', '0e00'],
    ['wire type 7', '0f00'],
    ['the end of a group that never began', '0c'],
    ['a group without end', '0b'],
    ['the end of another group', '0b14'],
    ['a field that leaves its message', '0a0322052203'],
    ['a header entry cut short', '0a132211120f12034745542a016822022f781a010a'],
  ])('%s throws', (_, bytes) => {
    expect(() => readRequest(hex(bytes))).toThrow(RangeError);
  });

  it.each([
    ['a varint', '9806ffffffffffffffffff01'],
    ['eight bytes', '99060102030405060708'],
    ['a text', '9a06027a7a'],
    ['a group of groups', '9b060b08010c9c06'],
    ['four bytes', '9d0601020304'],
  ])('an unknown field, %s, is stepped over', (_, unknown) => {
    const request = read(`${unknown}0a2522231221120347455422062f613f623d312a126f72646572732e6578616d706c652e636f6d`);
    expect(request.path).toBe('/a');
  });

  it('a known field of another wire type is stepped over', () => {
    const bytes = Buffer.concat([http({}), hex('0a06220412022001')]);
    expect(readRequest(bytes)).toMatchObject({ path: '/' });
  });
});

describe('method, path and host', () => {
  it.each([
    ['', 'request_malformed'],
    ['GE T', 'request_malformed'],
    ['GÉT', 'request_malformed'],
    ['GET\n', 'request_malformed'],
    ['CONNECT', 'request_malformed'],
  ])('the method %j is %s', (method, reason) => {
    expect(readRequest(http({ method }))).toMatchObject({ reason });
  });

  it.each([['GET'], ['get'], ['M-SEARCH'], ["!#$%&'*+-.^_`|~09azAZ"]])('the method %s is kept', (method) => {
    expect(readRequest(http({ method }))).toMatchObject({ method });
  });

  it('path and host are refused for what their own laws refuse', () => {
    expect(readRequest(http({ path: '/a/../b' }))).toMatchObject({ reason: 'request_ambiguous' });
    expect(readRequest(http({ path: '/a b' }))).toMatchObject({ reason: 'request_malformed' });
    expect(readRequest(http({ host: '127.1' }))).toMatchObject({ reason: 'request_ambiguous' });
    expect(readRequest(http({ host: 'a,b' }))).toMatchObject({ reason: 'request_malformed' });
  });

  it('keeps what came for the way back', () => {
    expect(readRequest(http({ path: '/%61?x=%zz', host: 'A.Example.:8443', scheme: 'https' }))).toMatchObject({
      path: '/a',
      query: 'x=%zz',
      target: '/%61?x=%zz',
      host: 'a.example',
      authority: 'A.Example.:8443',
      scheme: 'https',
    });
  });

  it.each([['ftp'], ['HTTPS'], ['']])('the scheme %j is none', (scheme) => {
    expect(facts(http({ scheme })).scheme).toBeUndefined();
  });

  it.each([
    [{ ':authority': 'h.example' }],
    [{ host: 'H.EXAMPLE:443' }],
    [{ ':authority': 'h.example.', host: 'h.example' }],
  ])('the headers %j name the same host', (headers) => {
    expect(readRequest(http({ host: 'h.example:8443', headers }))).toMatchObject({ host: 'h.example' });
  });

  it.each([
    [{ ':authority': 'other.example' }],
    [{ host: 'other.example' }],
    [{ ':authority': 'h.example', host: 'other.example' }],
    [{ host: 'h.example,h.example' }],
    [{ host: '' }],
  ])('the headers %j are ambiguous', (headers) => {
    expect(readRequest(http({ host: 'h.example', headers }))).toMatchObject({ reason: 'request_ambiguous' });
  });

  it('a second host header in header_map is ambiguous where it differs', () => {
    const same = list([
      ['host', 'h'],
      ['Host', 'h'],
    ]);
    expect(readRequest(http({ host: 'h', header_map: same }))).toMatchObject({ host: 'h' });
    const other = list([
      ['host', 'h'],
      ['Host', 'g'],
    ]);
    expect(readRequest(http({ host: 'h', header_map: other }))).toMatchObject({ reason: 'request_ambiguous' });
  });

  it.each(
    [
      'x-original-url',
      'x-rewrite-url',
      'x-envoy-original-path',
      'x-forwarded-uri',
      'x-forwarded-host',
      'x-http-method-override',
      'x-envoy-external-address',
      'forwarded',
      ':path',
      ':method',
      ':scheme',
    ].map((name) => [name]),
  )('%s changes nothing', (name) => {
    const disguised = facts(http({ path: '/admin', headers: { [name]: '/public' } }));
    expect(disguised).toMatchObject({ method: 'GET', path: '/admin', host: 'h.example', scheme: undefined });
    expect(disguised.sourceAddress).toBeUndefined();
  });
});

describe('headers', () => {
  const both: readonly (readonly [string, (entries: [string, string][]) => object])[] = [
    ['the map', (entries) => ({ headers: Object.fromEntries(entries) })],
    ['header_map with raw values', (entries) => ({ header_map: list(entries) })],
    [
      'header_map with text values',
      (entries) => ({ header_map: { headers: entries.map(([key, value]) => ({ key, value })) } }),
    ],
  ];

  it.each(both)('in %s: names in any case, values as they came', (_, encoded) => {
    const { headers } = facts(
      http(
        encoded([
          ['X-Upper', 'Va lue'],
          ['x-empty', ''],
          ['a_b', '1'],
        ]),
      ),
    );
    expect([...headers.names()]).toEqual(['x-upper', 'x-empty', 'a_b']);
    expect(headers.has('x-upper')).toBe(true);
    expect(headers.has('X-Upper')).toBe(false);
    expect(headers.single('x-upper')).toEqual({ state: 'one', value: 'Va lue' });
    expect(headers.single('x-empty')).toEqual({ state: 'one', value: '' });
    expect(headers.single('a-b')).toEqual({ state: 'absent' });
  });

  it('only ASCII letters are folded', () => {
    const { headers } = facts(http({ headers: { '\u212Aey': '1', É: '2' } }));
    expect([...headers.names()].toSorted()).toEqual(['É', '\u212Aey'].toSorted());
    expect(headers.has('key')).toBe(false);
  });

  it('header_map is used alone, unless it is empty', () => {
    const map = { headers: { 'x-a': 'map' } };
    expect(facts(http({ ...map, header_map: list([['x-b', 'list']]) })).headers.has('x-a')).toBe(false);
    expect(facts(http({ ...map, header_map: list([]) })).headers.all('x-a')).toEqual(['map']);
  });

  it('raw_value wins over value, unless it is empty', () => {
    const header_map = {
      headers: [
        { key: 'x-a', value: 'text', raw_value: Buffer.from('raw') },
        { key: 'x-b', value: 'text', raw_value: Buffer.alloc(0) },
      ],
    };
    const { headers } = facts(http({ header_map }));
    expect(headers.all('x-a')).toEqual(['raw']);
    expect(headers.all('x-b')).toEqual(['text']);
  });

  it('keys of the map that differ in case are two values', () => {
    const { headers } = facts(http({ headers: { 'x-a': '1', 'X-A': '2', 'x-b': '3' } }));
    expect(headers.all('x-a')).toEqual(['1', '2']);
    expect(headers.single('x-a')).toEqual({ state: 'several' });
    expect(headers.all('x-b')).toEqual(['3']);
  });

  it('of equal keys of the map the last counts, wherever they stand', () => {
    const bytes = Buffer.concat([
      http({ headers: { 'x-a': '1', 'X-A': '2' } }),
      encodeRequest({ attributes: { request: { http: { headers: { 'x-a': '3' } } } } }),
    ]);
    expect(facts(bytes).headers.all('x-a').toSorted()).toEqual(['2', '3']);
  });

  it.each([
    ['a', {}, { state: 'one', value: 'a' }],
    ['a,b', {}, { state: 'several' }],
    ['a,b', { commaAllowed: true }, { state: 'one', value: 'a,b' }],
    ['é', {}, { state: 'unreadable' }],
    ['é', { utf8Allowed: true }, { state: 'one', value: 'é' }],
    ['\uFFFD', { utf8Allowed: true }, { state: 'unreadable' }],
  ])('the raw value %j read as one with %j is %j', (value, options, expected) => {
    expect(facts(http({ header_map: list([['x-a', value]]) })).headers.single('x-a', options)).toEqual(expected);
  });

  it('a raw value that is not UTF-8 is never readable', () => {
    const header_map = { headers: [{ key: 'x-a', raw_value: hex('61c3') }] };
    expect(facts(http({ header_map })).headers.single('x-a', { utf8Allowed: true })).toEqual({ state: 'unreadable' });
  });

  it('two entries are several, a comma allowed or not', () => {
    const { headers } = facts(
      http({
        header_map: list([
          ['x-a', '1'],
          ['X-a', '2'],
          ['x-a', '1'],
        ]),
      }),
    );
    expect(headers.single('x-a', { commaAllowed: true })).toEqual({ state: 'several' });
    expect(headers.all('x-a')).toEqual(['1', '2', '1']);
  });
});

describe('cookies', () => {
  it.each([
    [['a=1'], 'a', ['1']],
    [['a=1; b=2;c=3'], 'c', ['3']],
    [['a=1; a=2'], 'a', ['1', '2']],
    [['a=1', 'b=2; a=3'], 'a', ['1', '3']],
    [['aa=1; a=2; ba=3'], 'a', ['2']],
    [['a=x=y%20"z"'], 'a', ['x=y%20"z"']],
    [['  a=1 \t;\ta= 2'], 'a', ['1', ' 2']],
    [['a=; a'], 'a', ['']],
    [['a'], 'a', []],
    [['a =1'], 'a', []],
    [['A=1'], 'a', []],
    [['; ;;'], 'a', []],
    [['__proto__=1'], '__proto__', ['1']],
  ])('%j: %s is %j', (values, name, expected) => {
    const header_map = list(values.map((value) => ['cookie', value] as const));
    expect(facts(http({ header_map })).headers.cookies(name)).toEqual(expected);
  });

  it('there are none without the header', () => {
    expect(facts(http({})).headers.cookies('a')).toEqual([]);
  });

  it('the second of two headers disappears where the map joined them with a comma', () => {
    const { headers } = facts(http({ headers: { cookie: 'a=1,b=2' } }));
    expect(headers.cookies('a')).toEqual(['1,b=2']);
    expect(headers.cookies('b')).toEqual([]);
  });
});

describe('source', () => {
  it.each([
    [{ socket_address: { address: '203.0.113.7', port_value: 51_000 } }, '203.0.113.7'],
    [{ socket_address: { address: '::ffff:203.0.113.7' } }, '203.0.113.7'],
    [{ socket_address: { address: '2001:DB8::1' } }, '2001:db8::1'],
    [{ socket_address: { address: 'host.example' } }, undefined],
    [{ socket_address: {} }, undefined],
    [{ pipe: { path: '203.0.113.7' } }, undefined],
    [{ envoy_internal_address: { server_listener_name: '203.0.113.7' } }, undefined],
    [undefined, undefined],
  ])('%j is %s', (address, expected) => {
    const request = facts(check({ source: { address } }));
    expect(request.sourceAddress?.text).toBe(expected);
  });

  it('a pipe after a socket address takes its place', () => {
    const bytes = Buffer.concat([
      check({ source: { address: { socket_address: { address: '203.0.113.7' } } } }),
      encodeRequest({ attributes: { source: { address: { pipe: { path: '/x' } } } } }),
    ]);
    expect(facts(bytes).sourceAddress).toBeUndefined();
  });

  it('the destination is not the source', () => {
    const destination = { address: { socket_address: { address: '10.0.0.1' } }, principal: 'us', certificate: 'ours' };
    expect(facts(check({ destination }))).toMatchObject({ sourceAddress: undefined, principal: '', certificate: '' });
  });

  it('principal and certificate as they came', () => {
    expect(facts(check({ source: { principal: 'spiffe://td/a', certificate: '-----BEGIN%20' } }))).toMatchObject({
      principal: 'spiffe://td/a',
      certificate: '-----BEGIN%20',
    });
  });
});

describe('time', () => {
  it.each([
    [{ seconds: '1772634600', nanos: 500_999_999 }, 1_772_634_600_500],
    [{}, 0],
    [{ seconds: '-1', nanos: 1_000_000 }, -999],
    [undefined, undefined],
  ])('%j is %s ms', (time, expected) => {
    expect(facts(check({}, { time })).timeMs).toBe(expected);
  });

  it.each([
    [{ seconds: '253402300800' }],
    [{ seconds: '9223372036854775807' }],
    [{ seconds: '-9223372036854775808' }],
    [{ nanos: -1 }],
    [{ nanos: 1_000_000_000 }],
  ])('%j is malformed', (time) => {
    expect(readRequest(check({}, { time }))).toMatchObject({ reason: 'request_malformed' });
  });
});

describe('body', () => {
  const raw_body = Buffer.from([0x7b, 0xff]);
  it.each([
    [{}, undefined, 'absent', ''],
    [{ body: '', raw_body: Buffer.alloc(0) }, undefined, 'absent', ''],
    [{ body: 'text' }, undefined, 'whole', '74657874'],
    [{ body: 'text', raw_body }, undefined, 'whole', '7bff'],
    [{ raw_body }, 'false', 'whole', '7bff'],
    [{}, 'false', 'whole', ''],
    [{ raw_body }, 'true', 'partial', ''],
    [{ raw_body }, 'false,true', 'partial', ''],
    [{ raw_body }, 'no', 'partial', ''],
    [{}, 'true', 'partial', ''],
  ])('%j with x-envoy-auth-partial-body %s is %s', (fields, partial, state, bytes) => {
    const headers = partial === undefined ? {} : { 'x-envoy-auth-partial-body': partial };
    const { body } = facts(http({ ...fields, headers }));
    expect(body.state).toBe(state);
    expect(body.state === 'whole' ? Buffer.from(body.bytes).toString('hex') : '').toBe(bytes);
  });
});

describe('metadata', () => {
  it('is plain data without a prototype', () => {
    const payload = struct({
      sub: { stringValue: 'ann' },
      iat: { numberValue: 1.5 },
      ok: { boolValue: true },
      no: { boolValue: false },
      nothing: { nullValue: 0 },
      none: {},
      list: { listValue: { values: [{ numberValue: 1 }, { listValue: {} }, { structValue: {} }] } },
      deep: { structValue: struct({ constructor: { stringValue: 'x' } }) },
    });
    const request = facts(check({ metadata_context: { filter_metadata: { a: payload, b: struct({}) } } }));
    const data = request.metadata('a');
    expect(Object.getPrototypeOf(data)).toBeNull();
    expect(Object.getPrototypeOf(data?.['deep'])).toBeNull();
    expect(structuredClone(data)).toEqual({
      sub: 'ann',
      iat: 1.5,
      ok: true,
      no: false,
      nothing: null,
      none: null,
      list: [1, [], {}],
      deep: { constructor: 'x' },
    });
    expect(request.metadata('b')).toEqual({});
    expect(request.metadata('c')).toBeUndefined();
    expect(request.metadata('toString')).toBeUndefined();
  });

  it('__proto__ is a name like any other', () => {
    const polluting = JSON.parse(
      '{"attributes":{"request":{"http":{"method":"GET","path":"/","host":"h"}},"metadataContext":{"filterMetadata":{"__proto__":{"__proto__":{"admin":true}}}}}}',
    ) as unknown;
    const data = facts(requestBytes(polluting)).metadata('__proto__');
    expect(Object.keys(data ?? {})).toEqual(['__proto__']);
    expect(({} as { admin?: boolean }).admin).toBeUndefined();
  });

  it('of equal namespaces the last counts', () => {
    expect(facts(Buffer.concat([http({}), metadataAlone('x'), metadataAlone('y')])).metadata('a')).toEqual({ y: null });
  });

  it("the route's metadata is not read", () => {
    expect(
      facts(check({ route_metadata_context: { filter_metadata: { a: struct({}) } } })).metadata('a'),
    ).toBeUndefined();
  });

  it.each([
    ['objects', (inner: object) => ({ structValue: struct({ x: inner }) })],
    ['lists', (inner: object) => ({ listValue: { values: [inner] } })],
  ])('%s 32 deep are read, 33 deep throw', (_, wrap) => {
    const nested = (depth: number): object => {
      let value: object = { stringValue: 'x' };
      for (let level = 1; level < depth; level++) value = wrap(value);
      return check({ metadata_context: { filter_metadata: { a: struct({ x: value }) } } });
    };
    expect(facts(nested(32) as Uint8Array).metadata('a')).toBeDefined();
    const deeper = facts(nested(33) as Uint8Array);
    expect(() => deeper.metadata('a')).toThrow(RangeError);
  });

  it('objects 1,000 deep throw, and do not exhaust the stack', () => {
    let value = field(3, Buffer.from('x'));
    for (let level = 0; level < 1000; level++)
      value = field(5, field(1, Buffer.concat([field(1, Buffer.from('x')), field(2, value)])));
    const whole = field(1, Buffer.concat([field(1, Buffer.from('x')), field(2, value)]));
    const entry = Buffer.concat([field(1, Buffer.from('a')), field(2, whole)]);
    const request = facts(Buffer.concat([http({}), field(1, field(11, field(1, entry)))]));
    expect(() => request.metadata('a')).toThrow('deep');
  });
});

describe('the official encoder and this reader agree', () => {
  it('on every header, field and value', () => {
    const text = fc.string({ unit: 'grapheme', maxLength: 200 });
    const name = fc.stringMatching(/^[a-z0-9_-]{1,60}$/);
    fc.assert(
      fc.property(
        fc.array(fc.tuple(name, text), { maxLength: 30 }),
        fc.boolean(),
        fc.record({ id: text, principal: text, certificate: text, sni: text, extension: text, protocol: text }),
        fc.integer({ min: -62_135_596_800, max: 253_402_300_799 }),
        fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
        (entries, isList, texts, seconds, size) => {
          fc.pre(entries.every(([key]) => key !== 'host'));
          const bytes = check(
            {
              source: { principal: texts.principal, certificate: texts.certificate, labels: { a: 'b' } },
              destination: { service: texts.sni },
              tls_session: { sni: texts.sni },
              context_extensions: { x: texts.extension },
            },
            {
              time: { seconds: String(seconds) },
              http: {
                id: texts.id,
                method: 'GET',
                path: '/',
                host: 'h.example',
                protocol: texts.protocol,
                size: String(size),
                ...(isList ? { header_map: list(entries) } : { headers: Object.fromEntries(entries) }),
              },
            },
          );
          const request = facts(bytes);
          expect(request).toMatchObject({
            principal: texts.principal,
            certificate: texts.certificate,
            streamId: texts.id,
            protocol: texts.protocol,
            timeMs: seconds * 1000,
          });
          const wanted = isList ? entries : Object.entries(Object.fromEntries(entries));
          expect(new Set(request.headers.names())).toEqual(new Set(wanted.map(([key]) => key)));
          for (const [key] of wanted) {
            expect(request.headers.all(key)).toEqual(
              wanted.filter(([other]) => other === key).map(([, value]) => value),
            );
          }
        },
      ),
      { numRuns: 300 },
    );
  });
});

describe('proto3 JSON', () => {
  it('names in either spelling, base64, RFC 3339, numbers as text, enums by name', () => {
    const plain = { method: 'POST', path: '/a', host: 'h', headers: { 'X-A': '1' } };
    const snake = readRequestJson(
      json({
        source: { address: { socket_address: { protocol: 'TCP', address: '203.0.113.7', port_value: '51000' } } },
        request: { time: '2026-03-04T14:30:00Z', http: { ...plain, raw_body: 'aGk=', size: '9007199254740993' } },
        metadata_context: { filter_metadata: { a: { n: [1, 'x', null, { b: true }] } } },
      }),
    );
    const camel = readRequestJson(
      json({
        source: { address: { socketAddress: { protocol: 0, address: '203.0.113.7', portValue: 51_000 } } },
        request: { time: '2026-03-04T14:30:00.000Z', http: { ...plain, rawBody: 'aGk', size: 2 } },
        metadataContext: { filterMetadata: { a: { n: [1, 'x', null, { b: true }] } } },
      }),
    );
    for (const request of [snake, camel]) {
      if ('reason' in request) throw new Error(request.why);
      expect(request.sourceAddress?.text).toBe('203.0.113.7');
      expect(request.timeMs).toBe(Date.parse('2026-03-04T14:30:00Z'));
      expect(request.body).toEqual({ state: 'whole', bytes: Buffer.from('hi') });
      expect(request.headers.all('x-a')).toEqual(['1']);
      expect(structuredClone(request.metadata('a'))).toEqual({ n: [1, 'x', null, { b: true }] });
    }
  });

  it('gives the bytes that the official encoder gives', () => {
    const attributes = {
      source: { principal: 'p' },
      request: { http: { method: 'GET', path: '/', host: 'h', header_map: { headers: [{ key: 'a', value: 'b' }] } } },
    };
    expect(decodeRequest(requestBytes(json(attributes)))).toEqual({ attributes });
  });

  it('refuses what bytes are refused for', () => {
    expect(readRequestJson({})).toMatchObject({ reason: 'request_malformed' });
    expect(readRequestJson(json({ request: { http: { method: 'GET', path: '/..', host: 'h' } } }))).toMatchObject({
      reason: 'request_ambiguous',
    });
  });

  it.each([
    [json({ requests: {} }), 'requests'],
    [json({ request: { http: { pfad: '/' } } }), 'pfad'],
    [json({ request: { http: { path: 5 } } }), 'path'],
    [json({ request: { time: 'yesterday' } }), 'RFC 3339'],
    [json({ request: { http: { size: 1.5 } } }), 'size'],
    [[], 'CheckRequest'],
    [null, 'CheckRequest'],
    ['text', 'CheckRequest'],
    [undefined, 'CheckRequest'],
  ])('%j is no CheckRequest, and the error names what is wrong', (wrong, named) => {
    expect(() => readRequestJson(wrong)).toThrow(named);
  });
});

function struct(fields: object): object {
  return { fields };
}

function json(attributes: object): object {
  return { attributes };
}

/** The namespace `a` with one null under this name, and no more. */
function metadataAlone(name: string): Uint8Array {
  return encodeRequest({ attributes: { metadata_context: { filter_metadata: { a: struct({ [name]: {} }) } } } });
}

function hex(text: string): Buffer {
  return Buffer.from(text, 'hex');
}

function facts(bytes: Uint8Array): RequestFacts {
  const request = readRequest(bytes);
  if ('reason' in request) throw new Error(`expected a request, found ${request.reason}: ${request.why}`);
  return request;
}

function read(text: string): RequestFacts {
  return facts(hex(text));
}

function refusal(text: string): string {
  const request = readRequest(hex(text));
  return 'reason' in request ? request.reason : 'none';
}

/** A length-delimited field. */
function field(number: number, content: Buffer): Buffer {
  const length: number[] = [];
  for (let rest = content.length; ; rest >>>= 7) {
    if (rest < 0x80) {
      length.push(rest);
      break;
    }
    length.push((rest & 0x7f) | 0x80);
  }
  return Buffer.concat([Buffer.from([number * 8 + 2, ...length]), content]);
}

/** A CheckRequest with these fields of its HTTP part, by Envoy's own protos. */
function http(fields: object): Uint8Array {
  return check({}, { http: { method: 'GET', path: '/', host: 'h.example', ...fields } });
}

function check(attributes: object, request: object = {}): Uint8Array {
  return encodeRequest({
    attributes: { ...attributes, request: { http: { method: 'GET', path: '/', host: 'h.example' }, ...request } },
  });
}

function list(entries: readonly (readonly [string, string])[]): object {
  return { headers: entries.map(([key, value]) => ({ key, raw_value: Buffer.from(value) })) };
}
