/** Values that are dear to make, taken over for as long as what they were made of stays the same. */
export interface Kept {
  /** The value of the last call under this name where its inputs were the very same (`Object.is`), else a new one. */
  of<T>(name: string, inputs: readonly unknown[], make: () => T): T;
}

export function createKept(): Kept {
  const values = new Map<string, { readonly inputs: readonly unknown[]; readonly value: unknown }>();
  return {
    of<T>(name: string, inputs: readonly unknown[], make: () => T): T {
      const known = values.get(name);
      if (
        known?.inputs.length === inputs.length &&
        known.inputs.every((input, index) => Object.is(input, inputs[index]))
      )
        return known.value as T;
      const value = make();
      values.set(name, { inputs: [...inputs], value });
      return value;
    },
  };
}
