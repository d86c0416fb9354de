/** Where what Postern remembers of users is kept: in this process, or in Redis for all replicas. Users are named by the
 *  hashes of StateKeys; a store never sees who they are. What can be answered at once is; a promise is returned only
 *  where it has to be waited for, so that state in memory costs a check no turn of the event loop. */
import type { UserRecord } from './record.ts';

export interface StateStore {
  /** The user's record; undefined: none. Fails with a StateError where the store cannot answer in time, or where the
   *  record cannot be read or is of a newer form. */
  read(user: string): UserRecord | undefined | Promise<UserRecord | undefined>;
  /** Compare and set: stores `record`, whose `version` is `expected` + 1, where the kept version is `expected` (0: there
   *  is no record). False: somebody else was first, and nothing is changed. A record that cannot be read, or is of a
   *  newer form, is never overwritten: StateError. */
  write(user: string, record: UserRecord, expected: number): boolean | Promise<boolean>;
  /** Removes the record alone; none does no harm. */
  removeRecord(user: string): void | Promise<void>;
  /** The loop guard's counter: counts one attempt at most. */
  countAttempt(user: string, attempt: CountedAttempt): AttemptResult | Promise<AttemptResult>;
  /** Forgets the user's counts of an application: of every field that `attemptField` makes for it. */
  clearAttempts(user: string, application: string): void | Promise<void>;
  /** The user's risk level as it was set; undefined: none was. */
  readRiskLevel(user: string): RiskLevelSet | undefined | Promise<RiskLevelSet | undefined>;
  /** Sets it, for good; undefined removes it. Fails with a StateError of the kind `full` where there is no room. */
  writeRiskLevel(user: string, level: RiskLevelSet | undefined): void | Promise<void>;
  /** Removes everything that is kept of these users; those of whom nothing is kept do no harm. */
  erase(users: readonly string[]): void | Promise<void>;
  /** Lets go of connections. Whatever is asked afterwards fails. */
  close(): Promise<void>;
}

/** A user's risk level, as the rule type `user_risk_score` compares it. Source: Cloudflare Zero Trust, user risk score. */
export type RiskLevelSet = 'low' | 'medium' | 'high';

export interface CountedAttempt {
  /** Which counter: see attemptField. */
  readonly field: string;
  /** Hash of the authentication event, which counts once; undefined: every call counts. */
  readonly event: string | undefined;
  /** Beyond it nothing is counted. */
  readonly max: number;
  /** The counter is forgotten this long after the last attempt that was counted. */
  readonly lifetimeMs: number;
  /** Process clock, milliseconds since the epoch. */
  readonly nowMs: number;
}

export interface AttemptResult {
  /** The count had reached `max`, and this attempt would have been one more. */
  readonly isExhausted: boolean;
  /** After this call. */
  readonly count: number;
}

/** The name of a counter of the loop guard: of one application and what is asked for there, as one text. */
export function attemptField(application: string, requirement: string): string {
  return `${application}\n${requirement}`;
}

/** Whether a counter belongs to the application. */
export function isFieldOf(field: string, application: string): boolean {
  return field.startsWith(`${application}\n`);
}

/** The store could not do what it was asked. Says nothing of the user. */
export class StateError extends Error {
  readonly kind: StateErrorKind;

  constructor(kind: StateErrorKind, message: string, cause?: unknown) {
    super(message, { cause });
    this.name = 'StateError';
    this.kind = kind;
  }
}

/** `unavailable`: no connection, or a refusal of the server. `late`: no answer in time. `left_alone`: it failed several
 *  times in a row and is not asked for a moment. `unreadable`: what is kept cannot be read. `full`: no room. `read_only`:
 *  the server is a replica. `no_script`: the server does not have a script yet. */
export type StateErrorKind =
  | 'unavailable'
  | 'late'
  | 'left_alone'
  | 'unreadable'
  | 'full'
  | 'read_only'
  | 'no_script'
  | 'closed';

/** What can fail or take time, for metrics; `conflict`: a write that lost three times against others. */
export type StateOperation = (typeof STATE_OPERATIONS)[number];

export const STATE_OPERATIONS = [
  'read',
  'write',
  'remove',
  'count',
  'clear',
  'read_risk',
  'write_risk',
  'erase',
  'conflict',
] as const;
