/** A connection to one server of Redis or Valkey. The only place that knows @redis/client. It is made, and made again,
 *  off the request path: a command is sent where there is a connection, and fails at once where there is none. */
import { createClient } from '@redis/client';
import { createBreaker } from './breaker.ts';
import { StateError } from './store.ts';

export interface RedisNode {
  /** Sends the commands in one go; resolves with the reply to the last one. Rejects with a StateError, or with a
   *  Redirected, at `deadlineMs` (monotonic clock) at the latest; an answer that comes later is dropped. */
  send(deadlineMs: number, ...commands: readonly (readonly string[])[]): Promise<unknown>;
  /** Whether a command would be sent. */
  readonly isReady: boolean;
  /** Resolves once a first connection stands, however long that takes. */
  readonly connected: Promise<void>;
  close(): void;
}

/** How to reach one server. */
export interface RedisAddress {
  readonly host: string;
  readonly port: number;
}

export interface RedisAccess {
  readonly isTls: boolean;
  /** PEM of the authorities that the server's certificate may chain to; undefined: those that Node.js trusts. */
  readonly authorities: string | undefined;
  /** Undefined: the default user. */
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly database: number;
}

export interface RedisWatch {
  readonly monotonicMs: () => number;
  /** Told when a connection is lost or stands again, once each. */
  readonly onConnection?: ((change: ConnectionChange) => void) | undefined;
}

export interface ConnectionChange {
  readonly isUp: boolean;
  /** host:port */
  readonly server: string;
  /** What the operating system or the server said; undefined: nothing. */
  readonly why: string | undefined;
}

/** The slot of the key is served elsewhere. Source: Redis cluster specification, MOVED and ASK redirection. */
export class Redirected extends Error {
  readonly kind: 'MOVED' | 'ASK';
  readonly address: RedisAddress;

  constructor(kind: 'MOVED' | 'ASK', address: RedisAddress) {
    super(kind);
    this.kind = kind;
    this.address = address;
  }
}

/** Begins to connect, and goes on until it is closed. Five failures in a row, and the server is left alone for a second;
 *  a connection that has not answered five times in a row, or whose server has become a replica, is made anew. */
export function connectNode(address: RedisAddress, access: RedisAccess, watch: RedisWatch): RedisNode {
  const { monotonicMs } = watch;
  const breaker = createBreaker({ failuresMax: FAILURES_MAX, pauseMs: PAUSE_MS });
  const tell = changeTeller(address, watch);
  let connected = (): void => undefined;
  const connectedOnce = new Promise<void>((resolve) => {
    connected = resolve;
  });
  const open = () => {
    const client = createClient(clientOptions(address, access));
    client.on('error', (error: unknown) => {
      if (client === current) tell(false, error);
    });
    client.on('ready', () => {
      if (client === next) {
        const old = current;
        [current, next] = [client, undefined];
        // What it has been asked it may still answer.
        void old.close();
        setTimeout(() => old.destroy(), PAUSE_MS).unref();
      }
      if (client !== current) return;
      breaker.succeeded();
      tell(true);
      connected();
    });
    client.connect().catch(() => undefined);
    return client;
  };
  let isClosed = false;
  let unanswered = 0;
  let current = open();
  /** Takes over once it is connected. */
  let next: typeof current | undefined;
  let renewedMs = -Infinity;
  const renew = (old: typeof current, isHung: boolean): void => {
    const now = monotonicMs();
    if (isClosed || old !== current || next || now - renewedMs < PAUSE_MS) return;
    renewedMs = now;
    if (isHung) {
      unanswered = 0;
      current = open();
      old.destroy();
    } else next = open();
  };
  const failed = (client: typeof current, error: unknown): StateError | Redirected => {
    const failure = failureOf(error);
    if (failure instanceof Redirected || ANSWERED.has(failure.kind)) {
      unanswered = 0;
      breaker.succeeded();
      if (failure instanceof StateError && failure.kind === 'read_only') renew(client, false);
      return failure;
    }
    breaker.failed(monotonicMs());
    unanswered = failure.kind === 'late' ? unanswered + 1 : 0;
    if (unanswered >= FAILURES_MAX) {
      tell(false, failure);
      renew(client, true);
    }
    return failure;
  };
  return {
    send(deadlineMs, ...commands) {
      const now = monotonicMs();
      if (isClosed) return Promise.reject(new StateError('closed', 'the state store is closed'));
      if (!breaker.mayAsk(now)) return Promise.reject(new StateError('left_alone', 'it failed, and is left alone'));
      const client = current;
      const replies = commands.map((command) => client.sendCommand([...command]));
      const last = replies.at(-1);
      if (!last) return Promise.reject(new Error('expected a command, found none'));
      for (const reply of replies) reply.catch(() => undefined);
      return inTime(last, deadlineMs - now).then(
        (reply) => {
          unanswered = 0;
          breaker.succeeded();
          return reply;
        },
        (error: unknown) => {
          throw failed(client, error);
        },
      );
    },
    get isReady() {
      return current.isReady;
    },
    connected: connectedOnce,
    close() {
      isClosed = true;
      current.destroy();
      next?.destroy();
    },
  };
}

const FAILURES_MAX = 5;
const PAUSE_MS = 1000;
const RECONNECT_MS = 250;
const CONNECT_TIMEOUT_MS = 2000;
/** Commands that wait for an answer. More are refused: an answer that late would be of no use. */
const WAITING_MAX = 10_000;
/** A connection over which nobody speaks is tried, so that it is made anew before somebody needs it. */
const PING_MS = 1000;
const SILENCE_MAX_MS = 5000;
/** Refusals of one command by a server that answers others. */
const ANSWERED: ReadonlySet<string> = new Set(['full', 'read_only', 'no_script']);

function clientOptions({ host, port }: RedisAddress, access: RedisAccess) {
  const { isTls, authorities, username, password, database } = access;
  return {
    socket: {
      host,
      port,
      connectTimeout: CONNECT_TIMEOUT_MS,
      socketTimeout: SILENCE_MAX_MS,
      reconnectStrategy: () => RECONNECT_MS,
      ...(isTls ? { tls: true as const, ...(authorities === undefined ? {} : { ca: authorities }) } : {}),
    },
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(database === 0 ? {} : { database }),
    disableOfflineQueue: true,
    commandsQueueMaxLength: WAITING_MAX,
    pingInterval: PING_MS,
    maintNotifications: 'disabled' as const,
    disableClientInfo: true,
    // Each command has a deadline of our own, which ends the wait whether it was sent or not.
    commandOptions: { timeout: 0 },
  };
}

/** Resolves or rejects as the promise does, or rejects as `late` when the time is over. */
async function inTime<T>(promise: Promise<T>, waitMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const end = (): void => reject(new StateError('late', 'no answer in time'));
    // Where this process was held up, the answer may be here and not read yet: timers come before sockets.
    timer = setTimeout(() => setImmediate(end), Math.max(1, waitMs));
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** A server says in the first word of a refusal what kind it is. */
function failureOf(error: unknown): StateError | Redirected {
  if (error instanceof StateError) return error;
  const message = error instanceof Error ? error.message : '';
  const redirection = /^(MOVED|ASK) \d+ (\S+):(\d+)$/.exec(message);
  if (redirection) {
    const [, kind, host = '', port] = redirection;
    return new Redirected(kind === 'ASK' ? 'ASK' : 'MOVED', { host, port: Number(port) });
  }
  const word = /^[A-Z]{2,}(?= |$)/.exec(message)?.[0];
  if (word === 'OOM') return new StateError('full', 'the server is full', error);
  if (word === 'READONLY') return new StateError('read_only', 'the server is a replica', error);
  if (word === 'NOSCRIPT') return new StateError('no_script', 'the server does not have the script', error);
  return new StateError('unavailable', word ? `the server refuses: ${word}` : 'no connection', error);
}

/** Tells of changes only. */
function changeTeller({ host, port }: RedisAddress, { onConnection }: RedisWatch) {
  const server = `${host}:${port}`;
  let isUp: boolean | undefined;
  return (now: boolean, error?: unknown): void => {
    if (now === isUp) return;
    isUp = now;
    onConnection?.({ isUp: now, server, why: error instanceof Error ? error.message : undefined });
  };
}
