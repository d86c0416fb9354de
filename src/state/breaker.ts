/** Whether something that keeps failing is asked at all, so that nobody waits for what does not answer. Reads no clock. */
export interface Breaker {
  /** Whether to ask now. Whoever is told yes must report what came of it. After a pause one may ask, alone. */
  mayAsk(nowMs: number): boolean;
  succeeded(): void;
  failed(nowMs: number): void;
}

export interface BreakerOptions {
  /** This many failures in a row, and it is left alone. */
  readonly failuresMax: number;
  readonly pauseMs: number;
}

/** Closed at first. */
export function createBreaker({ failuresMax, pauseMs }: BreakerOptions): Breaker {
  let failures = 0;
  let pausedUntilMs = 0;
  let isTrying = false;
  return {
    mayAsk(nowMs) {
      if (failures < failuresMax) return true;
      if (isTrying || nowMs < pausedUntilMs) return false;
      isTrying = true;
      return true;
    },
    succeeded() {
      failures = 0;
      isTrying = false;
    },
    failed(nowMs) {
      failures += 1;
      isTrying = false;
      if (failures >= failuresMax) pausedUntilMs = nowMs + pauseMs;
    },
  };
}
