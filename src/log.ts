/** The log: one JSON object a line on standard output. */
import { pino } from 'pino';

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent';

/** Names are lower_snake_case and stay what they are: others search for them. */
export type LogFields = Readonly<Record<string, unknown>>;

export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  /** An Error among the fields is written with its type, text, code and stack. */
  error(message: string, fields?: LogFields): void;
  /** The line that says where the ports really are. Written at every level, `silent` too. */
  ready(where: { readonly check: string; readonly admin: string; readonly revision: string }): void;
  /** A finished line, written at every level; false where the buffer was full and it was dropped. */
  line(text: string): boolean;
  setLevel(level: LogLevel): void;
  /** Writes out what is buffered, for a second at most; what is logged later is lost. */
  close(): Promise<void>;
}

export interface LoggerOptions {
  readonly level: LogLevel;
  /** A file descriptor, or something that takes lines; standard output where absent. */
  readonly destination?: number | { write(line: string): void } | undefined;
  /** Milliseconds since the epoch; the process clock where absent. */
  readonly now?: (() => number) | undefined;
  /** Bytes that may wait to be written before lines are dropped; 8 MiB where absent, some 10,000 decisions. */
  readonly bufferMaxBytes?: number | undefined;
}

/** Writing never waits: lines go to a bounded buffer that is written out beside the checks, so that a reader that has
 *  stopped reading costs lines, not decisions.
 *
 *  No secret is written, whatever is logged: values under names that hold secrets are left out at every depth, and
 *  tokens, `Bearer …`, user info of URLs and private keys are cut out of all texts. */
export function createLogger(options: LoggerOptions): Logger {
  const now = options.now ?? Date.now;
  const sink = openSink(options.destination ?? STANDARD_OUTPUT, options.bufferMaxBytes ?? BUFFER_MAX_BYTES);
  const inner = pino(
    {
      level: options.level,
      base: null,
      timestamp: () => `,"time":"${timeText(now())}"`,
      formatters: { level: (label) => ({ level: label }), log: redactedFields },
    },
    { write: (line) => void sink.write(harmlessJson(line)) },
  );
  const at =
    (level: 'debug' | 'info' | 'warn' | 'error') =>
    (message: string, fields: LogFields = {}): void => {
      if (inner.isLevelEnabled(level)) inner[level](fields, redactedText(message, MESSAGE_MAX));
    };
  return {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    ready(where) {
      const { check, admin, revision } = where;
      sink.write(`${JSON.stringify({ level: 'info', time: timeText(now()), msg: 'ready', check, admin, revision })}\n`);
    },
    line: (text) => sink.write(`${text}\n`),
    setLevel(level) {
      inner.level = level;
    },
    close: sink.close,
  };
}

/** The text without tokens, credentials, user info of URLs and private keys, cut at `max` characters. Linear in its
 *  length. */
export function redactedText(text: string, max: number): string {
  const cut = text.length > max ? `${text.slice(0, max - 1)}…` : text;
  if (!SUSPICIOUS.test(cut)) return cut;
  return cut
    .replace(/-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*(?:-----END [A-Z ]*PRIVATE KEY-----)?/g, REDACTED)
    .replace(/\b(bearer|basic)\s+[^\s"',]+/gi, `$1 ${REDACTED}`)
    .replace(/:\/\/[^\s/@"']+@/g, `://${REDACTED}@`)
    .replace(/[\w.=-]{20,}/g, (run) => (run.includes('eyJ') && run.includes('.') ? REDACTED : run));
}

/** JSON that means the same and does nothing to a terminal: JSON itself escapes the controls of ASCII alone. Names in
 *  tokens are whatever an issuer lets people call themselves. */
export function harmlessJson(json: string): string {
  return ACTIVE.test(json)
    ? json.replace(ACTIVE_ALL, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
    : json;
}

/** `2026-03-04T14:30:00.000Z` */
export function timeText(epochMs: number): string {
  return new Date(epochMs).toISOString();
}

const STANDARD_OUTPUT = 1;
const BUFFER_MAX_BYTES = 8 * 1024 * 1024;
/** One write per turn of the event loop is all that is sent, so it must take all that a busy turn logs: with the usual
 *  16 KiB, turns of 200 decisions lost 70 % of them on a file that takes anything; with this, none. */
const WRITE_MAX_BYTES = 1024 * 1024;
const CLOSE_MAX_MS = 1_000;
const MESSAGE_MAX = 2_048;
const STACK_MAX = 8_192;
const DEPTH_MAX = 6;
const ITEMS_MAX = 100;
const REDACTED = '[redacted]';
/** DEL and the controls of ISO 6429 beyond ASCII, line and paragraph separators, marks that turn the direction of what
 *  follows. */
const ACTIVE = /[\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/;
const ACTIVE_ALL = new RegExp(ACTIVE, 'g');
const SUSPICIOUS = /PRIVATE KEY|bearer|basic|:\/\/|eyJ/i;

/** Names whose values are secrets or carry one: header names, members of tokens, settings. `token_name`, `token_id`
 *  and the like are no secrets. */
const SECRET_NAME =
  /authorization|cookie|secret|passw|credential|private|assertion|api[-_]?key|auth[-_]key|service-key|signing_key|(?:^|[-_])(?:token|tokens|jwt|nonce|otp)$|token$/i;
/** Names that only look like one: hashes and names are said with what they are. */
const HARMLESS_NAME = /_(?:name|id|count|file)$/i;

interface Sink {
  /** False where the line was dropped. */
  write(line: string): boolean;
  close(): Promise<void>;
}

/** The stream in its mode for bytes, which its types do not know. */
interface LineStream {
  write(bytes: Buffer): boolean;
  end(): void;
  on(event: 'drop' | 'error', listener: () => void): void;
  once(event: 'close', listener: () => void): void;
}

function openSink(destination: number | { write(line: string): void }, maxBytes: number): Sink {
  if (typeof destination !== 'number') {
    return {
      write(line) {
        destination.write(line);
        return true;
      },
      close: () => Promise.resolve(),
    };
  }
  const stream = pino.destination({
    fd: destination,
    sync: false,
    maxLength: maxBytes,
    maxWrite: WRITE_MAX_BYTES,
    contentMode: 'buffer',
  }) as unknown as LineStream;
  let dropped = false;
  let closed: Promise<void> | undefined;
  stream.on('drop', () => {
    dropped = true;
  });
  // Nobody reads the log any more, or the disk is full: that is no reason to stop deciding.
  stream.on('error', () => undefined);
  return {
    write(line) {
      if (closed) return false;
      dropped = false;
      stream.write(Buffer.from(line));
      return !dropped;
    },
    close() {
      closed ??= new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, CLOSE_MAX_MS);
        stream.once('close', () => {
          clearTimeout(timer);
          resolve();
        });
        stream.end();
      });
      return closed;
    },
  };
}

function redactedFields(fields: Record<string, unknown>): Record<string, unknown> {
  return redactedObject(fields, 0);
}

function redactedObject(value: object, depth: number): Record<string, unknown> {
  const kept: Record<string, unknown> = {};
  let room = ITEMS_MAX;
  for (const [name, inner] of Object.entries(value)) {
    if (room === 0) break;
    room -= 1;
    const isSecret = SECRET_NAME.test(name) && !HARMLESS_NAME.test(name) && inner !== undefined;
    Object.defineProperty(kept, name, {
      value: isSecret ? REDACTED : redactedValue(inner, depth + 1),
      enumerable: true,
    });
  }
  return kept;
}

function redactedValue(value: unknown, depth: number): unknown {
  if (typeof value === 'string') return redactedText(value, MESSAGE_MAX);
  if (typeof value === 'bigint') return value.toString();
  if (value === null || typeof value !== 'object') return typeof value === 'function' ? undefined : value;
  if (value instanceof Error) return redactedError(value, depth);
  if (depth >= DEPTH_MAX) return '[deeper]';
  if (value instanceof Uint8Array) return `[${value.byteLength} bytes]`;
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString();
  if (value instanceof Map) return redactedObject(Object.fromEntries(value), depth);
  if (Array.isArray(value) || value instanceof Set)
    return [...value].slice(0, ITEMS_MAX).map((item) => redactedValue(item, depth + 1));
  return redactedObject(value, depth);
}

function redactedError(error: Error, depth: number): Record<string, unknown> {
  return {
    type: error.name,
    message: redactedText(error.message, MESSAGE_MAX),
    ...('code' in error ? { code: redactedValue(error.code, DEPTH_MAX) } : {}),
    ...(error.stack === undefined ? {} : { stack: redactedText(error.stack, STACK_MAX) }),
    ...(error.cause === undefined || depth >= DEPTH_MAX ? {} : { cause: redactedValue(error.cause, depth + 1) }),
  };
}
