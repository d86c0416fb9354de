import type { StateKeys } from './keys.ts';
import type { StateStore } from './store.ts';

/** What Postern remembers, for as long as the process lives: where it is kept, and under which names. */
export interface State {
  readonly store: StateStore;
  readonly keys: StateKeys;
}
