import { describe, expect, it } from 'vitest';
import { encodeAnswer, failureAnswer } from '../../src/envoy/response.ts';
import type { AllowAnswer, Answer, AnswerMetadata, RefusalAnswer } from '../../src/envoy/response.ts';
import { request } from './arbitrary.ts';
import { apply } from './emulator.ts';
import { decodeResponse, metadataOf } from './official.ts';

const METADATA: AnswerMetadata = {
  decisionId: '01JB',
  reason: 'policy_allowed',
  revision: '0123456789ab',
  application: undefined,
  policy: undefined,
  resourceRule: undefined,
  riskLevel: undefined,
  riskScore: undefined,
};
const ALLOW: AllowAnswer = { kind: 'allow', set: [], remove: [], cookies: [], metadata: METADATA };
const DENY: RefusalAnswer = {
  kind: 'refusal',
  outcome: 'deny',
  httpStatus: 403,
  headers: [],
  body: 'no',
  metadata: { ...METADATA, reason: 'policy_denied' },
};

/** Answers as bytes, all of which were given to Envoy 1.36.2 to 1.40.0. */
describe('answers that Envoy was seen to read', () => {
  it.each([
    ['nothing at all', '', 'forward'],
    ['a status', '0a00', 'forward'],
    ['a status of 0', '0a020800', 'forward'],
    ['a status of 0 beside a denial', '0a02080012050a03089303', 'forward'],
    ['a denial', '0a02080712090a030893031a026e6f', 403],
    [
      'an allow with changes',
      '0a001a2612150a0f0a06782d757365721205616c696365120018022a0d617574686f72697a6174696f6e',
      'forward',
    ],
    [
      'the same by protobufjs',
      '0a001a2812170a0f0a06782d757365721205616c6963651202080018022a0d617574686f72697a6174696f6e',
      'forward',
    ],
    ['an allow with metadata', '0a001a0022100a0e0a0373756212071a05616c696365', 'forward'],
    ['a denial with metadata', '0a02080712050a0308930322190a170a0a7269736b5f73636f72651209110000000000004540', 403],
    [
      'a redirect',
      '0a02081012350a0308ae02122e0a260a086c6f636174696f6e121a68747470733a2f2f6c6f67696e2e6578616d706c652e636f6d2f120208001802',
      302,
    ],
    [
      'unavailable',
      '0a02080e122f0a0308f70312220a1a0a0c636f6e74656e742d74797065120a746578742f706c61696e1202080018021a04646f776e',
      503,
    ],
    ['an error', '0a02080d2a0b0a0308f7031a04646f776e', 503],
  ])('%s', (_, hex, meaning) => {
    const sent = {
      method: 'GET',
      headers: [
        ['x-user', 'mallory'],
        ['authorization', 'secret'],
      ] as const,
    };
    const effect = apply(Buffer.from(hex, 'hex'), sent, {
      semantics: 'released',
      failureModeAllow: false,
      validateMutations: true,
      dropEmpty: false,
    });
    expect(effect.kind === 'forward' ? 'forward' : effect.status).toBe(meaning);
    if (hex.includes('782d75736572')) expect(effect.headers).toEqual([['x-user', 'alice']]);
  });
});

describe('the encoder', () => {
  it.each<[string, Answer, string]>([
    ['an allow', ALLOW, '0a001a00'],
    [
      'an allow with changes',
      { ...ALLOW, set: [['x-user', 'alice']], remove: ['authorization'] },
      '0a001a2612150a0f0a06782d757365721205616c696365120018022a0d617574686f72697a6174696f6e',
    ],
    [
      'an allow with a cookie',
      { ...ALLOW, cookies: ['a=b'] },
      '0a001a1932170a110a0a7365742d636f6f6b69651203613d6212020801',
    ],
    ['a denial', DENY, '0a02080712090a030893031a026e6f'],
    [
      'a redirect',
      { ...DENY, outcome: 'step_up', httpStatus: 302, headers: [['location', 'https://login.example.com/']], body: '' },
      '0a02081012350a0308ae02122c0a260a086c6f636174696f6e121a68747470733a2f2f6c6f67696e2e6578616d706c652e636f6d2f120018021a00',
    ],
    [
      'unavailable',
      { ...DENY, outcome: 'unavailable', httpStatus: 503, headers: [['content-type', 'text/plain']], body: 'down' },
      '0a02080e122d0a0308f70312200a1a0a0c636f6e74656e742d74797065120a746578742f706c61696e120018021a04646f776e',
    ],
  ])('writes %s canonically, then the metadata', (_, answer, hex) => {
    const written = Buffer.from(encodeAnswer(answer)).toString('hex');
    expect(written.slice(0, hex.length)).toBe(hex);
    expect(written.slice(hex.length, hex.length + 2)).toBe('22');
  });

  it.each<[RefusalAnswer, number]>([
    [{ ...DENY, outcome: 'unauthenticated', httpStatus: 401 }, 16],
    [{ ...DENY, outcome: 'step_up', httpStatus: 401 }, 16],
    [{ ...DENY, outcome: 'deny', httpStatus: 403 }, 7],
    [{ ...DENY, outcome: 'bad_request', httpStatus: 400 }, 3],
    [{ ...DENY, outcome: 'unavailable', httpStatus: 503 }, 14],
  ])('%j has the status code %i', (answer, code) => {
    const message = decodeResponse(encodeAnswer(answer));
    expect(message.status?.code).toBe(code);
    expect(message.denied_response?.status?.code).toBe(answer.httpStatus);
    expect(message.ok_response).toBeUndefined();
    expect(metadataOf(message)['outcome']).toBe(answer.outcome);
  });

  it('marks every entry as overwriting, in both ways that Envoy may ask', () => {
    const set = [
      ['x-a', '1'],
      ['x-b', 'ü 😀'],
    ] as const;
    const message = decodeResponse(encodeAnswer({ ...ALLOW, set }));
    expect(message.ok_response?.headers).toEqual([
      { header: { key: 'x-a', value: '1' }, append: {}, append_action: 2 },
      { header: { key: 'x-b', value: 'ü 😀' }, append: {}, append_action: 2 },
    ]);
    const denied = decodeResponse(encodeAnswer({ ...DENY, headers: set }));
    expect(denied.denied_response?.headers).toEqual(message.ok_response?.headers);
  });

  it('writes all metadata there is: texts, and the score as a number', () => {
    const metadata: AnswerMetadata = {
      ...METADATA,
      application: 'Örders',
      policy: 'Engineers',
      resourceRule: 'Staff',
      riskLevel: 'HIGH',
      riskScore: 42.25,
    };
    const message = decodeResponse(encodeAnswer({ ...ALLOW, metadata }));
    expect(Object.entries(metadataOf(message))).toEqual([
      ['decision_id', '01JB'],
      ['outcome', 'allow'],
      ['reason', 'policy_allowed'],
      ['application', 'Örders'],
      ['policy', 'Engineers'],
      ['resource_rule', 'Staff'],
      ['risk_level', 'HIGH'],
      ['risk_score', 42.25],
      ['revision', '0123456789ab'],
    ]);
    expect(message.ok_response?.dynamic_metadata).toBeUndefined();
  });

  it.each<[string, Answer]>([
    ['a line break', { ...ALLOW, set: [['x-a', 'a\nb']] }],
    ['a carriage return', { ...DENY, headers: [['location', 'a\r\nset-cookie: b']] }],
    ['a null', { ...ALLOW, set: [['x-a', 'a\0']] }],
    ['a tab', { ...ALLOW, set: [['x-a', 'a\tb']] }],
    ['DEL', { ...ALLOW, set: [['x-a', '\u007f']] }],
    ['half a character', { ...ALLOW, set: [['x-a', 'a\ud800']] }],
    ['the other half', { ...ALLOW, set: [['x-a', '\udc00a']] }],
    ['16,385 bytes', { ...ALLOW, set: [['x-a', 'a'.repeat(16_385)]] }],
    ['16,386 bytes in half as many characters', { ...ALLOW, set: [['x-a', 'é'.repeat(8193)]] }],
    ['16,388 bytes in a quarter as many characters', { ...ALLOW, set: [['x-a', '😀'.repeat(4097)]] }],
    ['an empty value', { ...ALLOW, set: [['x-a', '']] }],
    ['no name', { ...ALLOW, set: [['', 'a']] }],
    ['an upper-case name', { ...ALLOW, set: [['X-A', 'a']] }],
    ['a name with a space', { ...ALLOW, set: [['x a', 'a']] }],
    ['a pseudo-header', { ...ALLOW, set: [[':path', '/admin']] }],
    ['a name that is no token to remove', { ...ALLOW, remove: ['x\r\n'] }],
    [
      'a name twice',
      {
        ...ALLOW,
        set: [
          ['x-a', '1'],
          ['x-b', '2'],
          ['x-a', '3'],
        ],
      },
    ],
    [
      'a name twice in a denial',
      {
        ...DENY,
        headers: [
          ['x-a', '1'],
          ['x-a', '2'],
        ],
      },
    ],
    ['a name set and removed', { ...ALLOW, set: [['x-a', '1']], remove: ['x-b', 'x-a'] }],
    ['a cookie with a line break', { ...ALLOW, cookies: ['a=b\r\nx: y'] }],
    ['a score that is no number', { ...ALLOW, metadata: { ...METADATA, riskScore: Number.NaN } }],
    ['an endless score', { ...ALLOW, metadata: { ...METADATA, riskScore: Number.POSITIVE_INFINITY } }],
  ])('throws for %s rather than send it', (_, answer) => {
    expect(() => encodeAnswer(answer)).toThrow(RangeError);
    // What was half written must not get into the next answer.
    expect(encodeAnswer(ALLOW)).toEqual(encodeAnswer({ ...ALLOW }));
    expect(decodeResponse(encodeAnswer(ALLOW)).ok_response).toEqual({});
  });

  it('does not repeat the value in the error', () => {
    expect(() => encodeAnswer({ ...ALLOW, set: [['x-a', 'secret\n']] })).toThrow(/^(?!.*secret)/);
  });

  it.each([
    ['16,384 bytes', 'a'.repeat(16_384)],
    ['16,384 bytes in half as many characters', 'é'.repeat(8192)],
    ['16,384 bytes in a quarter as many characters', '😀'.repeat(4096)],
  ])('sends %s', (_, value) => {
    const message = decodeResponse(encodeAnswer({ ...ALLOW, set: [['x-a', value]] }));
    expect(message.ok_response?.headers?.[0]?.header?.value).toBe(value);
  });

  it('outgrows its buffer', () => {
    const set = Array.from({ length: 20 }, (_, index) => [`x-${index}`, String(index).repeat(5000)] as const);
    const message = decodeResponse(encodeAnswer({ ...ALLOW, set }));
    expect(message.ok_response?.headers?.map(({ header }) => [header?.key, header?.value])).toEqual(set);
  });

  it('gives each answer bytes of its own', () => {
    const first = encodeAnswer(ALLOW);
    const before = Buffer.from(first).toString('hex');
    encodeAnswer(DENY);
    expect(Buffer.from(first).toString('hex')).toBe(before);
  });
});

describe('our own failure', () => {
  it('is an explicit 503 with a body for programs', () => {
    const message = decodeResponse(failureAnswer('01JB', '0123456789ab'));
    expect(message.status?.code).toBe(14);
    expect(message.denied_response?.status?.code).toBe(503);
    expect(message.denied_response?.headers?.map(({ header }) => [header?.key, header?.value])).toEqual([
      ['content-type', 'application/problem+json'],
      ['cache-control', 'no-store'],
    ]);
    expect(JSON.parse(message.denied_response?.body ?? '')).toMatchObject({ status: 503, decision_id: '01JB' });
    expect(metadataOf(message)).toEqual({
      decision_id: '01JB',
      outcome: 'unavailable',
      reason: 'internal_error',
      revision: '0123456789ab',
    });
  });

  it('is the same for a gRPC caller', () => {
    const effect = apply(failureAnswer('01JB', 'r'), request([['content-type', 'application/grpc']]).sent, {
      semantics: 'released',
      failureModeAllow: true,
      validateMutations: true,
      dropEmpty: true,
    });
    expect(effect).toMatchObject({ kind: 'reply', status: 200 });
    expect(effect.headers).toContainEqual(['grpc-status', '14']);
  });
});
