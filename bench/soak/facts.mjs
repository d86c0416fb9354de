/** What is true of the world while it changes. A request that lasted from one moment to another may have been answered
 *  by any value that a fact had between them. */

/** A fact with its first value. `begin`: from now on it may be the old value or this one; `settle`: the old one is past. */
export function createFact(value) {
  let spans = [{ value, fromMs: 0, toMs: Infinity }];
  const settle = () => {
    const now = performance.now();
    for (const span of spans.slice(0, -1)) span.toMs = Math.min(span.toMs, now);
    spans = spans.filter(({ toMs }) => toMs > now - KEPT_MS);
  };
  return {
    begin: (next) => void spans.push({ value: next, fromMs: performance.now(), toMs: Infinity }),
    settle,
    /** At once: for what is known to have been so for a while. */
    set(next) {
      this.begin(next);
      settle();
    },
    possible: (fromMs, toMs) =>
      spans.filter((span) => span.fromMs <= toMs && span.toMs >= fromMs).map((one) => one.value),
  };
}

/** No request lasts longer. */
const KEPT_MS = 60_000;

/** Every combination of what the facts may have been: `{ policies: 'in', redis: 'away' }` and so on. */
export function combinations(facts, fromMs, toMs) {
  return Object.entries(facts).reduce(
    (all, [name, fact]) =>
      all.flatMap((one) => fact.possible(fromMs, toMs).map((value) => ({ ...one, [name]: value }))),
    [{}],
  );
}
