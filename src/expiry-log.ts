/** What ends soon, and what has ended, is told in the log: once each, when it is read and while time passes. */
import type { Expiring } from './facts/expiries.ts';
import type { Logger } from './log.ts';

export interface ExpiryLog {
  /** Of the revision that is live from now on. */
  watch(expiries: readonly Expiring[]): void;
  stop(): void;
}

export interface ExpiryLogOptions {
  readonly logger: Pick<Logger, 'warn' | 'error'>;
  /** Milliseconds since the epoch. */
  readonly nowMs: () => number;
}

/** `watch` looks at once; after that it is looked every hour. */
export function createExpiryLog({ logger, nowMs }: ExpiryLogOptions): ExpiryLog {
  let watched: readonly Expiring[] = [];
  const told = new Map<string, Stage>();
  const look = (): void => {
    for (const expiring of watched) {
      const { kind, name, epochSeconds } = expiring;
      const stage = stageOf(epochSeconds * 1000 - nowMs());
      const key = keyOf(expiring);
      if (told.get(key) === stage) continue;
      told.set(key, stage);
      const { what, mend, ended } = WORDS[kind];
      const fields = { kind, name, at: new Date(epochSeconds * 1000).toISOString(), mend };
      if (stage === 'ended') logger[ended](`${what} has ended`, fields);
      else if (stage === 'soon') logger.warn(`${what} ends in less than two days`, fields);
    }
  };
  const timer = setInterval(look, LOOK_MS);
  timer.unref();
  return {
    watch(expiries) {
      watched = expiries;
      const keys = new Set(expiries.map(keyOf));
      for (const key of told.keys()) if (!keys.has(key)) told.delete(key);
      look();
    },
    stop: () => clearInterval(timer),
  };
}

function keyOf({ kind, name, epochSeconds }: Expiring): string {
  return `${kind} ${name} ${epochSeconds}`;
}

type Stage = 'ended' | 'soon' | 'far';

function stageOf(leftMs: number): Stage {
  if (leftMs <= 0) return 'ended';
  return leftMs < SOON_MS ? 'soon' : 'far';
}

/** As the alert PosternExpiresVerySoon has it. */
const SOON_MS = 2 * 24 * 3_600_000;
const LOOK_MS = 3_600_000;

interface Words {
  readonly what: string;
  readonly mend: string;
  /** How loud its end is: tokens are made to end. */
  readonly ended: 'warn' | 'error';
}

const WORDS: Readonly<Record<Expiring['kind'], Words>> = {
  service_token: { what: 'a service token', mend: 'give it a later expires_at, or remove it', ended: 'warn' },
  service_token_secret: {
    what: 'the previous secret of a service token',
    mend: 'its clients must use the new secret by then',
    ended: 'warn',
  },
  check_certificate: {
    what: 'a certificate of the check port',
    mend: 'put a new certificate and key in place; they are taken up without a restart',
    ended: 'error',
  },
  check_client_authority: {
    what: 'an authority for clients of the check port',
    mend: 'put the new authority beside it in client_ca',
    ended: 'error',
  },
  trusted_authority: {
    what: 'an authority for client certificates',
    mend: 'put the new authority beside it in certificates.trusted_authorities',
    ended: 'error',
  },
};
