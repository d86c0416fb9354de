/** Cuts long work into slices, so that requests in between are answered: awaiting the result costs nothing until
 *  `sliceMs` have gone by since the loop last had its turn. */
export function createPause(sliceMs = 4, now: () => number = () => performance.now()): () => Promise<void> {
  let began = now();
  return async () => {
    if (now() - began < sliceMs) return;
    await new Promise<void>((resume) => {
      setImmediate(resume);
    });
    began = now();
  };
}
