/** Why a fact could not be had. The cause chooses the answer the caller gets:
 *  - `no_identity`: nobody is logged in; a login could turn the verdict either way;
 *  - `unavailable`: a source failed, is not configured or says the answer lies elsewhere; the operator must act;
 *  - `not_stated`: the caller is known, but the token or certificate does not say. */
export type Cause = 'no_identity' | 'unavailable' | 'not_stated';

/** What a judge says of one request: met, unmet, or unknown with its cause. */
export type Verdict = 'met' | 'unmet' | Cause;

export function isUnknown(verdict: Verdict): verdict is Cause {
  return verdict !== 'met' && verdict !== 'unmet';
}

/** The cause of a whole is the first of `no_identity`, `unavailable`, `not_stated` found among its unknown parts. */
export function firstCause(a: Cause, b: Cause): Cause {
  if (a === 'no_identity' || b === 'no_identity') return 'no_identity';
  if (a === 'unavailable' || b === 'unavailable') return 'unavailable';
  return 'not_stated';
}

/** OR: met if any is met, else unknown if any is unknown, else unmet. */
export function either(a: Verdict, b: Verdict): Verdict {
  if (a === 'met' || b === 'met') return 'met';
  if (a === 'unmet') return b;
  if (b === 'unmet') return a;
  return firstCause(a, b);
}

/** AND: unmet if any is unmet, else unknown if any is unknown, else met. */
export function both(a: Verdict, b: Verdict): Verdict {
  if (a === 'unmet' || b === 'unmet') return 'unmet';
  if (a === 'met') return b;
  if (b === 'met') return a;
  return firstCause(a, b);
}

/** NOT: turns met and unmet round; an unknown stays as it is. */
export function negated(verdict: Verdict): Verdict {
  if (verdict === 'met') return 'unmet';
  if (verdict === 'unmet') return 'met';
  return verdict;
}
