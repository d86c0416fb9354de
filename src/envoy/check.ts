/** What a transport tells of one call. */
export interface CheckCall {
  /** When the caller gives up, milliseconds since the epoch; `Infinity`: it does not say. */
  readonly deadlineMs: number;
  /** Aborted when the caller goes away before the answer. Made only when somebody asks for it. */
  readonly signal: AbortSignal;
}

/** A request's whole day: the bytes of a CheckRequest in, the bytes of a CheckResponse out. Never throws, never
 *  rejects, never answers zero bytes; a promise only where something had to be waited for. */
export type Check = (request: Uint8Array, call: CheckCall) => Uint8Array | Promise<Uint8Array>;
