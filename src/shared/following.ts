/** Goes on with a value that may have to be waited for: at once where it is there, later where it is a promise. */
export function following<T, U>(value: T | Promise<T>, next: (value: T) => U | Promise<U>): U | Promise<U> {
  // oxlint-disable-next-line promise/no-callback-in-promise -- handed on, not called back
  return value instanceof Promise ? value.then(next) : next(value);
}
