import { changedNames } from '../shared/changed.ts';
import type { Finding } from '../shared/shape.ts';
import { randomStateKeys } from './keys.ts';
import type { StateKeys } from './keys.ts';
import { createMemoryStore } from './memory.ts';
import type { StoreWatch } from './redis.ts';
import type { State } from './state.ts';

export interface StateOptions {
  readonly usersMax: number;
  /** Undefined: in memory. */
  readonly redis: RedisStateOptions | undefined;
  /** Milliseconds since the epoch. */
  readonly nowMs: () => number;
  readonly monotonicMs: () => number;
  readonly watch: StoreWatch;
}

export interface RedisStateOptions extends StateSecrets {
  /** One server, or nodes of a cluster. */
  readonly urls: readonly [string, ...string[]];
  readonly isCluster: boolean;
  readonly timeoutMs: number;
}

/** What state in Redis needs from files. */
export interface StateSecrets {
  readonly keys: StateKeys;
  /** Undefined: none is sent. */
  readonly password: string | undefined;
  /** PEM; undefined: the authorities that Node.js trusts. */
  readonly authorities: string | undefined;
}

/** The files whose content differs, by the dotted names of their settings: a state that is open keeps what it read. */
export function changedSecrets(before: StateSecrets | undefined, after: StateSecrets | undefined): readonly string[] {
  if (!before || !after) return [];
  return changedNames([
    ['state.redis.key_file', sampleOf(before.keys), sampleOf(after.keys)],
    ['state.redis.password_file', before.password, after.password],
    ['state.redis.trusted_authorities', before.authorities, after.authorities],
  ]);
}

/** Equal for equal keys in the same order. */
function sampleOf(keys: StateKeys): unknown {
  return keys.nonceHashes('');
}

/** Opens the state for the life of the process. Resolves once it can be used, or soon where its server is not there: it
 *  may come later, and until then everything that is asked of it fails. */
export async function openState({ usersMax, redis, nowMs, monotonicMs, watch }: StateOptions): Promise<State> {
  if (!redis) return { store: createMemoryStore({ usersMax, nowMs }), keys: randomStateKeys() };
  const { keys, ...server } = redis;
  // Its library takes a sixth of the time that loading the program takes, which nobody pays who keeps state in memory.
  const { createRedisStore } = await import('./redis.ts');
  const store = createRedisStore({ ...server, monotonicMs, watch });
  let timer: NodeJS.Timeout | undefined;
  const soon = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, CONNECT_WAIT_MS);
  });
  await Promise.race([store.connected, soon]);
  clearTimeout(timer);
  return { store, keys };
}

/** Longer than a connection takes, short enough for a start without it. */
const CONNECT_WAIT_MS = 1500;

/** Reads a file that holds a password alone; what ends its line is not part of it. */
export function readPassword(text: string): { readonly value: string } | Finding {
  const password = text.replace(/\r?\n$/, '');
  if (password !== '' && !/[\r\n]/.test(password)) return { value: password };
  return {
    code: 'password_file_invalid',
    text: `expected a password on one line, found ${password === '' ? 'an empty file' : 'several lines'}`,
    mend: 'write the password alone, or remove password_file',
  };
}
