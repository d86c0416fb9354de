import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { answerFor, isGrpc } from '../../src/envoy/answer.ts';
import { encodeAnswer, failureAnswer, unavailableAnswer } from '../../src/envoy/response.ts';
import { decisions, FORGED, moments, options, request, requests } from './arbitrary.ts';
import { apply } from './emulator.ts';
import type { EmulatedRequest, EmulatorOptions } from './emulator.ts';
import { decodeResponse, encodeResponse, ourProtos } from './official.ts';
import type { ResponseMessage } from './official.ts';

const RELEASED: EmulatorOptions = {
  semantics: 'released',
  failureModeAllow: false,
  validateMutations: false,
  dropEmpty: false,
};

/** Every way in which an Envoy may read an answer. */
const WAYS: readonly EmulatorOptions[] = (['released', 'append_action'] as const).flatMap((semantics) =>
  [false, true].flatMap((failureModeAllow) =>
    [false, true].flatMap((validateMutations) =>
      [false, true].map((dropEmpty) => ({ semantics, failureModeAllow, validateMutations, dropEmpty })),
    ),
  ),
);

describe('every decision', () => {
  it('is forwarded if and only if it is an allow, and every Envoy reads it alike', () => {
    fc.assert(
      fc.property(cases(), ({ decision, made, moment, pair }) => {
        const bytes = encodeAnswer(answerFor(decision, pair.facts, made, moment));
        const effect = apply(bytes, pair.sent, RELEASED);
        expect(effect.kind === 'forward').toBe(decision.outcome === 'allow');
        for (const way of WAYS) expect(apply(bytes, pair.sent, way)).toEqual(effect);
      }),
      { numRuns: 300 },
    );
  });

  it("lets nothing of the client's through under a managed name, in whatever spelling", () => {
    fc.assert(
      fc.property(cases(), ({ decision, made, moment, pair }) => {
        const effect = apply(encodeAnswer(answerFor(decision, pair.facts, made, moment)), pair.sent, RELEASED);
        fc.pre(effect.kind === 'forward');
        expect(effect.headers.filter(([, value]) => value.includes(FORGED))).toEqual([]);
        for (const name of made.managed) {
          const values = effect.headers.filter(([other]) => folded(other) === folded(name));
          const isSet = made.headers.some(([other]) => folded(other) === folded(name)) || name === made.assertionHeader;
          expect(values.length).toBeLessThanOrEqual(isSet ? 1 : 0);
          expect(values.every(([, value]) => value !== '')).toBe(true);
        }
        expect(effect.headers).toContainEqual(['x-other', 'kept']);
      }),
      { numRuns: 300 },
    );
  });

  it('answers each name once, says what it is in the metadata, and decodes alike under both protos', () => {
    fc.assert(
      fc.property(cases(), ({ decision, made, moment, pair }) => {
        const bytes = encodeAnswer(answerFor(decision, pair.facts, made, moment));
        expect(bytes.length).toBeGreaterThan(0);
        expect(decodeResponse(bytes, ourProtos)).toEqual(decodeResponse(bytes));
        const effect = apply(bytes, pair.sent, RELEASED);
        expect(effect.metadata).toEqual(
          withoutUndefined({
            decision_id: moment.decisionId,
            outcome: decision.outcome,
            reason: decision.reason,
            revision: moment.revision,
            application: decision.application?.name,
            policy: decision.policy?.name,
            resource_rule: decision.resourceRule?.name,
            risk_level: decision.riskLevel,
            risk_score: decision.riskScore,
          }),
        );
        if (effect.kind === 'forward') {
          expect(effect.responseHeaders).toEqual(decision.cookies.map((cookie) => ['set-cookie', cookie]));
          return;
        }
        const names = effect.headers.map(([name]) => name);
        expect(names).toEqual([...new Set(names)]);
        expect(names).toContain('content-type');
        expect(effect.headers).toContainEqual(['cache-control', 'no-store']);
        expect(names).not.toContain('set-cookie');
        const statuses = isGrpc(pair.facts) ? [200] : [302, 400, 401, 403, 503];
        expect(statuses).toContain(effect.status);
        expect(effect.body.length).toBeLessThan(4096);
        expect(effect.body).toMatch(/^[\n -~]*$/);
      }),
      { numRuns: 300 },
    );
  });
});

describe('answers without a decision', () => {
  it.each([
    ['our failure', 'internal_error', failureAnswer('01JB', '0123456789ab')],
    ['too many checks', 'overloaded', unavailableAnswer('overloaded', '01JB', '0123456789ab')],
    ['too late', 'fact_unavailable', unavailableAnswer('fact_unavailable', '01JB', '0123456789ab')],
  ])('%s is 503 for every Envoy', (_, reason, bytes) => {
    for (const way of WAYS) {
      expect(apply(bytes, request().sent, way)).toMatchObject({
        kind: 'reply',
        status: 503,
        metadata: { decision_id: '01JB', outcome: 'unavailable', reason, revision: '0123456789ab' },
      });
    }
  });

  it('cannot fail, whatever the id', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), (id, revision) => {
        expect(apply(failureAnswer(id, revision), request().sent, RELEASED)).toMatchObject({
          kind: 'reply',
          status: 503,
        });
      }),
    );
    const broken = undefined as unknown as string;
    expect(apply(failureAnswer(broken, broken), request().sent, RELEASED)).toMatchObject({
      kind: 'reply',
      status: 503,
    });
  });
});

/** Each of these is a mistake that the properties above would have to find. */
describe('the emulator can tell', () => {
  const client: EmulatedRequest = { method: 'GET', headers: [['x-user', 'mallory']] };

  it('an empty answer lets the request through', () => {
    expect(apply(new Uint8Array(0), client, RELEASED).kind).toBe('forward');
  });

  it('an entry without append is read differently', () => {
    const bytes = allow({ headers: [{ header: { key: 'x-user', value: 'ann' } }] });
    expect(seen(bytes, 'released')).toEqual([['x-user', 'ann']]);
    expect(seen(bytes, 'append_action')).toEqual([
      ['x-user', 'mallory'],
      ['x-user', 'ann'],
    ]);
  });

  it('an appended entry joins what the client sent', () => {
    const bytes = allow({ headers: [{ header: { key: 'x-user', value: 'ann' }, append: { value: true } }] });
    expect(seen(bytes, 'released')).toEqual([['x-user', 'mallory,ann']]);
  });

  it('an appended entry of a denial is lost', () => {
    const entry = { header: { key: 'www-authenticate', value: 'Bearer' }, append: { value: true } };
    const bytes = encodeResponse({
      status: { code: 16 },
      denied_response: { status: { code: 401 }, headers: [entry] },
    });
    expect(apply(bytes, client, RELEASED)).toMatchObject({ status: 401, headers: [] });
    expect(apply(bytes, client, { ...RELEASED, semantics: 'append_action' })).toMatchObject({
      headers: [['www-authenticate', 'Bearer']],
    });
  });

  it('a name in both lists ends removed', () => {
    const bytes = allow({
      headers: [{ header: { key: 'x-user', value: 'ann' }, append: { value: false }, append_action: 2 }],
      headers_to_remove: ['X-User'],
    });
    expect(seen(bytes, 'released')).toEqual([]);
  });

  it('an empty value may be dropped, and then the client has its way', () => {
    const bytes = allow({
      headers: [{ header: { key: 'x-user', value: '' }, append: { value: false }, append_action: 2 }],
    });
    expect(seen(bytes, 'released')).toEqual([['x-user', '']]);
    expect(apply(bytes, client, { ...RELEASED, dropEmpty: true })).toMatchObject({ headers: [['x-user', 'mallory']] });
  });

  it('a value only in raw_value sets the header to nothing', () => {
    const bytes = allow({
      headers: [{ header: { key: 'x-user', raw_value: Buffer.from('ann') }, append: { value: false } }],
    });
    expect(seen(bytes, 'released')).toEqual([['x-user', '']]);
  });

  it('an error lets the request through where failures do', () => {
    const open = { ...RELEASED, failureModeAllow: true };
    expect(apply('rpc_error', client, open)).toMatchObject({ kind: 'forward', headers: [['x-user', 'mallory']] });
    expect(apply('rpc_error', client, RELEASED)).toMatchObject({ kind: 'reply', status: 403 });
    expect(apply(Buffer.from('0aff', 'hex'), client, open)).toMatchObject({ kind: 'forward' });
    const error = encodeResponse(
      { status: { code: 13 }, error_response: { status: { code: 503 }, body: 'down' } },
      ourProtos,
    );
    expect(apply(error, client, open)).toMatchObject({ kind: 'forward' });
    expect(apply(error, client, RELEASED)).toMatchObject({ kind: 'reply', status: 503, body: 'down' });
  });

  it('a denial beside status 0 lets the request through', () => {
    const bytes = encodeResponse({ status: { code: 0 }, denied_response: { status: { code: 403 } } });
    expect(apply(bytes, client, RELEASED).kind).toBe('forward');
  });

  it('a line break in a denial reaches the client, unless mutations are validated', () => {
    const entry = { header: { key: 'location', value: 'a\r\nset-cookie: b' }, append: { value: false } };
    const bytes = encodeResponse({
      status: { code: 16 },
      denied_response: { status: { code: 302 }, headers: [entry] },
    });
    expect(apply(bytes, client, RELEASED)).toMatchObject({ headers: [['location', 'a\r\nset-cookie: b']] });
    expect(apply(bytes, client, { ...RELEASED, validateMutations: true })).toMatchObject({ status: 500 });
  });

  function allow(ok: NonNullable<ResponseMessage['ok_response']>): Uint8Array {
    return encodeResponse({ status: {}, ok_response: ok });
  }

  function seen(bytes: Uint8Array, semantics: EmulatorOptions['semantics']): unknown {
    const effect = apply(bytes, client, { ...RELEASED, semantics });
    return effect.kind === 'forward' ? effect.headers : effect.status;
  }
});

function cases(): fc.Arbitrary<{
  decision: Parameters<typeof answerFor>[0];
  made: Parameters<typeof answerFor>[2];
  moment: Parameters<typeof answerFor>[3];
  pair: ReturnType<typeof request>;
}> {
  return options().chain((made) =>
    fc.record({ decision: decisions(), made: fc.constant(made), moment: moments(), pair: requests(made) }),
  );
}

function folded(name: string): string {
  return name.replaceAll('_', '-');
}

function withoutUndefined(data: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(data).filter(([, value]) => value !== undefined));
}
