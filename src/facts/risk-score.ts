/** The risk level of a user that was set through the admin API. */
import type { RiskScoreFact } from '../model/facts.ts';
import type { Identity } from '../model/identity.ts';
import { following } from '../shared/following.ts';
import type { State } from '../state/state.ts';
import type { RiskLevelSet } from '../state/store.ts';

/** A promise only where the store has to be waited for; rejects where it cannot answer. */
export type RiskScoreSource = (identity: Identity | undefined) => RiskScoreFact | Promise<RiskScoreFact>;

/** `token`: the identity says it. Otherwise it is read from the state; undefined: there is none to read from. */
export function createRiskScoreSource(from: 'token' | 'state', state: (() => State) | undefined): RiskScoreSource {
  if (from === 'token') return () => OF_IDENTITY;
  if (!state) return () => NO_STATE;
  return (identity) => {
    if (!identity) return NO_LEVEL;
    const { store, keys } = state();
    const [first, second] = keys.identityKeys(identity);
    const reading = store.readRiskLevel(first);
    // Asked for at once, so that rotating keys costs nobody time.
    const readingOlder = second === undefined ? undefined : store.readRiskLevel(second);
    if (readingOlder instanceof Promise) readingOlder.catch(() => undefined);
    return following(reading, (level): RiskScoreFact | Promise<RiskScoreFact> =>
      level === undefined ? following(readingOlder, known) : known(level),
    );
  };
}

function known(level: RiskLevelSet | undefined): RiskScoreFact {
  return { state: 'known', level };
}

const OF_IDENTITY: RiskScoreFact = Object.freeze({ state: 'identity' });
const NO_LEVEL: RiskScoreFact = Object.freeze({ state: 'known', level: undefined });
const NO_STATE: RiskScoreFact = Object.freeze({ state: 'unavailable', why: 'there is no state to read it from' });
