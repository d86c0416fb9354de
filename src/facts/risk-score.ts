/** The risk level of a user that was set through the admin API. */
import type { RiskScoreFact } from '../model/facts.ts';
import type { Identity } from '../model/identity.ts';
import { following } from '../shared/following.ts';
import type { State } from '../state/state.ts';

/** A promise only where the store has to be waited for; rejects where it cannot answer. */
export type RiskScoreSource = (identity: Identity | undefined) => RiskScoreFact | Promise<RiskScoreFact>;

/** `token`: the identity says it. Otherwise it is read from the state; undefined: there is none to read from. */
export function createRiskScoreSource(from: 'token' | 'state', state: (() => State) | undefined): RiskScoreSource {
  if (from === 'token') return () => OF_IDENTITY;
  if (!state) return () => NO_STATE;
  return (identity) => {
    if (!identity) return NO_LEVEL;
    const { store, keys } = state();
    const [first, older] = keys.identityKeys(identity);
    return following(store.readRiskLevel(first), (level): RiskScoreFact | Promise<RiskScoreFact> => {
      if (level !== undefined || older === undefined) return { state: 'known', level };
      return following(store.readRiskLevel(older), (kept): RiskScoreFact => ({ state: 'known', level: kept }));
    });
  };
}

const OF_IDENTITY: RiskScoreFact = Object.freeze({ state: 'identity' });
const NO_LEVEL: RiskScoreFact = Object.freeze({ state: 'known', level: undefined });
const NO_STATE: RiskScoreFact = Object.freeze({ state: 'unavailable', why: 'there is no state to read it from' });
