/** Work that must not overlap, done one after the other in the order in which it was asked for. */
export interface Turns {
  /** Settles as `work` does, once everything asked for before has ended, however it ended. */
  take<T>(work: () => Promise<T>): Promise<T>;
}

export function createTurns(): Turns {
  let last: Promise<unknown> = Promise.resolve();
  return {
    take(work) {
      const turn = last.then(work, work);
      last = turn.catch(() => undefined);
      return turn;
    },
  };
}
