import { connect as connectHttp2 } from 'node:http2';
import type { ClientHttp2Session, IncomingHttpHeaders } from 'node:http2';
import { sample, uint8Array } from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import type { Check, CheckCall } from '../../src/envoy/check.ts';
import { LAST_RESORT, patienceMs, startCheckServer } from '../../src/envoy/server.ts';
import type { CheckServer, CheckServerOptions } from '../../src/envoy/server.ts';
import {
  ALLOW,
  CHECK_PATH,
  DENY,
  checkClient,
  deferred,
  serverOptions,
  turn,
  unavailableBytes,
  until,
} from './check-client.ts';
import type { CheckClient } from './check-client.ts';

const open: { server?: CheckServer; client?: CheckClient } = {};

afterEach(async () => {
  open.client?.close();
  await open.server?.stopNow();
  delete open.client;
  delete open.server;
});

async function serving(options: CheckServerOptions): Promise<{ server: CheckServer; client: CheckClient }> {
  const server = await startCheckServer(options);
  const client = checkClient(server.address);
  Object.assign(open, { server, client });
  return { server, client };
}

const NEVER = new Promise<Uint8Array>(() => undefined);
const INTERNAL = unavailableBytes('internal_error');

describe('a check', () => {
  it.each<[string, Check]>([
    ['synchronous', () => DENY],
    ['promised', () => Promise.resolve(DENY)],
    ['not a Buffer', () => Uint8Array.from(DENY)],
    ['a view into a larger buffer', () => new Uint8Array(Buffer.concat([ALLOW, DENY]).buffer.slice(0)).subarray(4, 8)],
  ])('that is %s is answered with its very bytes', async (name, check) => {
    const larger = new Uint8Array([...ALLOW, ...DENY]);
    const options = serverOptions(name.startsWith('a view') ? () => larger.subarray(4) : check);
    const { client } = await serving(options);
    expect(await client.check(Buffer.from('request'))).toEqual(DENY);
    expect(options.failures).toEqual([]);
  });

  it('is handed the very bytes of the request, of whatever size', async () => {
    const seen: string[] = [];
    const { client } = await serving(
      serverOptions((bytes) => {
        seen.push(`${bytes.byteLength}:${Buffer.from(bytes).subarray(0, 3).toString('hex')}`);
        return DENY;
      }),
    );
    // 5 MiB is more than the 4 MiB that gRPC libraries receive by default.
    for (const size of [0, 1, 100_000, 5 * 1024 * 1024]) await client.check(Buffer.alloc(size, 0xfe));
    expect(seen).toEqual(['0:', '1:fe', '100000:fefefe', '5242880:fefefe']);
  });

  it.each<[string, Check, string]>([
    [
      'throws',
      () => {
        throw new Error('broken');
      },
      'thrown',
    ],
    [
      'throws what is no error',
      () => {
        throw undefined as unknown as Error;
      },
      'thrown',
    ],
    ['rejects', () => Promise.reject(new Error('broken')), 'rejected'],
    [
      'rejects later',
      () => new Promise((_, reject) => void setTimeout(() => reject(new Error('broken')), 5)),
      'rejected',
    ],
    ['gives nothing', () => undefined as unknown as Uint8Array, 'empty'],
    ['gives zero bytes, which Envoy reads as allow', () => new Uint8Array(0), 'empty'],
    ['gives a string', () => 'allow' as unknown as Uint8Array, 'empty'],
    ['promises nothing', () => Promise.resolve(undefined as unknown as Uint8Array), 'empty'],
    ['promises zero bytes', () => Promise.resolve(new Uint8Array(0)), 'empty'],
  ])('that %s is answered an explicit 503, counted once', async (_name, check, kind) => {
    const options = serverOptions(check);
    const { client, server } = await serving(options);
    expect(await client.check(Buffer.from('request'))).toEqual(INTERNAL);
    expect(options.failures).toEqual([kind]);
    expect(server.waiting).toBe(0);
  });

  it.each<[string, Partial<CheckServerOptions>]>([
    [
      'throws',
      {
        unavailable: () => {
          throw new Error('broken');
        },
      },
    ],
    ['is empty', { unavailable: () => new Uint8Array(0) }],
    ['is missing', { unavailable: () => undefined as unknown as Uint8Array }],
  ])('that fails where even the 503 %s is answered the last resort', async (_name, more) => {
    const { client } = await serving(serverOptions(() => new Uint8Array(0), more));
    const answer = await client.check(Buffer.from('request'));
    expect(answer).toEqual(Buffer.from(LAST_RESORT));
    expect(answer.toString('hex')).toBe('0a02080e12050a0308f703');
  });

  it('that fails is answered also where the listener of failures fails', async () => {
    const { client } = await serving(
      serverOptions(() => new Uint8Array(0), {
        failed() {
          throw new Error('broken');
        },
      }),
    );
    expect(await client.check(Buffer.from('request'))).toEqual(INTERNAL);
  });
});

describe('the deadline', () => {
  const SHORT = { checkMaxMs: 20 };

  it.each([
    // left, patience
    [Infinity, Infinity],
    [600_000, 599_987.5],
    [10_000, 9_987.5],
    [200, 195],
    [100, 97.5],
    [20, 18.75],
    [1, 0],
    [0, 0],
    [-5_000, 0],
  ])('that is %s ms away leaves a check %s ms', (left, patience) => {
    expect(patienceMs(1_000_000 + left, 1_000_000)).toBe(patience);
  });

  it('is the one the caller sends, in milliseconds since the epoch', async () => {
    const seen: number[] = [];
    const { client } = await serving(
      serverOptions((_bytes, call) => {
        seen.push(call.deadlineMs);
        return DENY;
      }),
    );
    const before = Date.now();
    await client.check(Buffer.alloc(0), { deadline: before + 60_000 });
    await client.check(Buffer.alloc(0));
    expect(Math.abs((seen[0] ?? 0) - before - 60_000)).toBeLessThan(5_000);
    expect(seen[1]).toBe(Infinity);
  });

  it('passes with an explicit 503, not with a failed call, where the check never ends', async () => {
    const seen: CheckCall[] = [];
    const options = serverOptions((_bytes, call) => {
      seen.push(call);
      return NEVER;
    }, SHORT);
    const { client, server } = await serving(options);
    const answer = await client.check(Buffer.alloc(0));
    expect(answer).toEqual(unavailableBytes('fact_unavailable'));
    expect(options.failures).toEqual(['late']);
    expect(server.waiting).toBe(0);
    // What the check still finds reaches nobody.
    expect(seen.map((call) => [call.cancelled, call.signal.aborted])).toEqual([[true, true]]);
  });

  it('counts a check once that ends after it', async () => {
    const end = deferred<Uint8Array>();
    const options = serverOptions(() => end.promise, SHORT);
    const { client, server } = await serving(options);
    await client.check(Buffer.alloc(0));
    end.resolve(ALLOW);
    await turn();
    expect(options.failures).toEqual(['late']);
    expect(server.waiting).toBe(0);
  });
});

describe('a caller that goes away', () => {
  it('aborts the signal that was asked for, and is no failure', async () => {
    const aborted = deferred<boolean>();
    const began = deferred<CheckCall>();
    const options = serverOptions((_bytes, call) => {
      call.signal.addEventListener('abort', () => aborted.resolve(call.cancelled));
      began.resolve(call);
      return aborted.promise.then(() => ALLOW);
    });
    const { client, server } = await serving(options);
    const { call, answer } = client.call(Buffer.alloc(0));
    const incoming = await began.promise;
    expect([incoming.cancelled, incoming.signal.aborted]).toEqual([false, false]);
    call.cancel();
    await expect(answer).rejects.toMatchObject({ code: 1 });
    expect(await aborted.promise).toBe(true);
    await turn();
    expect(server.waiting).toBe(0);
    expect(options.failures).toEqual([]);
  });

  it.each<[string, () => Promise<Uint8Array>]>([
    ['rejects', () => Promise.reject(new Error('given up'))],
    ['gives nothing', () => Promise.resolve(new Uint8Array(0))],
  ])('is no failure of a check that then %s', async (_name, end) => {
    const began = deferred<CheckCall>();
    const gone = deferred<void>();
    const options = serverOptions((_bytes, call) => {
      began.resolve(call);
      return gone.promise.then(end);
    });
    const { client, server } = await serving(options);
    const { call, answer } = client.call(Buffer.alloc(0));
    const incoming = await began.promise;
    call.cancel();
    await expect(answer).rejects.toMatchObject({ code: 1 });
    await until(() => incoming.cancelled);
    gone.resolve();
    await until(() => server.waiting === 0);
    await turn();
    expect(options.failures).toEqual([]);
  });

  it('is seen by a check that asks for the signal afterwards', async () => {
    const began = deferred<CheckCall>();
    const { client } = await serving(
      serverOptions((_bytes, call) => {
        began.resolve(call);
        return NEVER;
      }),
    );
    const { call, answer } = client.call(Buffer.alloc(0));
    const incoming = await began.promise;
    call.cancel();
    await expect(answer).rejects.toMatchObject({ code: 1 });
    await until(() => incoming.cancelled);
    expect(incoming.signal.aborted).toBe(true);
  });

  it('after the answer aborts nothing', async () => {
    const calls: CheckCall[] = [];
    const signals: AbortSignal[] = [];
    const { client } = await serving(
      serverOptions(async (_bytes, call) => {
        calls.push(call);
        signals.push(call.signal);
        return DENY;
      }),
    );
    await client.check(Buffer.alloc(0));
    // grpc-js says `cancelled` after every call that ended well, some turns later.
    await new Promise((resolve) => void setTimeout(resolve, 30));
    expect(signals.map((signal) => signal.aborted)).toEqual([false]);
    expect(calls.map((call) => call.cancelled)).toEqual([false]);
  });
});

describe('load', () => {
  it('beyond the cap is refused at once, and what waits is answered', async () => {
    const release = deferred<Uint8Array>();
    const options = serverOptions(() => release.promise, { waitingMax: 3 });
    const { client, server } = await serving(options);
    const waiting = [1, 2, 3].map(() => client.check(Buffer.alloc(0)));
    await until(() => server.waiting === 3);
    expect(await client.check(Buffer.alloc(0))).toEqual(unavailableBytes('overloaded'));
    expect(options.failures).toEqual(['overloaded']);
    release.resolve(ALLOW);
    expect(await Promise.all(waiting)).toEqual([ALLOW, ALLOW, ALLOW]);
    expect(server.waiting).toBe(0);
    expect(await client.check(Buffer.alloc(0))).toEqual(ALLOW);
  });

  it('has a cap of 1,000 waiting checks', async () => {
    const release = deferred<Uint8Array>();
    const options = serverOptions(() => release.promise);
    const { client, server } = await serving(options);
    const waiting = Array.from({ length: 1_000 }, () => client.check(Buffer.alloc(0)));
    await until(() => server.waiting === 1_000);
    expect(await client.check(Buffer.alloc(0))).toEqual(unavailableBytes('overloaded'));
    release.resolve(DENY);
    await Promise.all(waiting);
    expect(options.failures).toEqual(['overloaded']);
  });
});

describe('whatever comes', () => {
  it('20,000 requests of garbage to a check that misbehaves in every way end without one failed call', async () => {
    const misbehave: readonly Check[] = [
      () => DENY,
      () => Promise.resolve(DENY),
      () => {
        throw new TypeError('broken');
      },
      () => Promise.reject(new Error('broken')),
      () => new Uint8Array(0),
      () => undefined as unknown as Uint8Array,
      () => Promise.resolve(undefined as unknown as Uint8Array),
      () => 0 as unknown as Uint8Array,
    ];
    const options = serverOptions((bytes, call) => {
      const way = misbehave[(bytes[0] ?? 0) % misbehave.length] ?? (() => DENY);
      return way(bytes, call);
    });
    const { server } = await serving(options);
    const garbage = sample(uint8Array({ maxLength: 64 }), { numRuns: 2_000, seed: 42 });
    const answers = { own: 0, refused: 0 };
    // Plain HTTP/2: a gRPC client in the same process would take most of the time.
    const session = connectHttp2(`http://${server.address}`);
    for (let round = 0; round < 10; round += 1) {
      for (let from = 0; from < garbage.length; from += 100) {
        const sent = garbage.slice(from, from + 100).map((bytes) => rawCall(session, CHECK_PATH, bytes));
        for (const { status, answer } of await Promise.all(sent)) {
          if (status === '0' && answer.equals(DENY)) answers.own += 1;
          else if (status === '0' && answer.equals(INTERNAL)) answers.refused += 1;
        }
      }
    }
    session.destroy();
    expect(answers.own + answers.refused).toBe(20_000);
    expect(options.failures.length).toBe(answers.refused);
    expect(Math.min(answers.own, answers.refused)).toBeGreaterThan(1_000);
  });

  it.each([
    // HTTP/2 itself wants the slash (RFC 9113, section 8.3.1): the stream is reset before any method is looked for.
    ['without the slash before it', CHECK_PATH.slice(1), 'reset'],
    ['in another case', CHECK_PATH.toLowerCase(), '12'],
    ['of version 2', '/envoy.service.auth.v2.Authorization/Check', '12'],
    ['with a slash after it', `${CHECK_PATH}/`, '12'],
    ['with a query', `${CHECK_PATH}?x=1`, '12'],
  ])('a method path %s is not implemented', async (_name, path, status) => {
    let checks = 0;
    const { server, client } = await serving(
      serverOptions(() => {
        checks += 1;
        return ALLOW;
      }),
    );
    const session = connectHttp2(`http://${server.address}`);
    session.on('error', () => undefined);
    expect((await rawCall(session, path, Buffer.alloc(0))).status).toBe(status);
    session.destroy();
    expect(checks).toBe(0);
    expect(await client.check(Buffer.alloc(0))).toEqual(ALLOW);
  });
});

/** One unary call to any path: its grpc-status, or `reset`, and the bytes of the answer. */
function rawCall(
  session: ClientHttp2Session,
  path: string,
  message: Uint8Array,
): Promise<{ readonly status: string; readonly answer: Buffer }> {
  return new Promise((resolve) => {
    const frame = Buffer.alloc(5 + message.byteLength);
    frame.writeUInt32BE(message.byteLength, 1);
    frame.set(message, 5);
    const stream = session.request({
      ':method': 'POST',
      ':path': path,
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    const chunks: Buffer[] = [];
    let status = 'none';
    const read = (headers: IncomingHttpHeaders): void => {
      if (headers['grpc-status'] !== undefined) status = String(headers['grpc-status']);
    };
    stream.on('response', read);
    stream.on('trailers', read);
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.once('error', () => resolve({ status: 'reset', answer: Buffer.alloc(0) }));
    stream.once('end', () => resolve({ status, answer: Buffer.concat(chunks).subarray(5) }));
    stream.end(frame);
  });
}
