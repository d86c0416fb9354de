/** Whether keys can be read is told when it changes, not each time. */
import type { KeySetRead } from './facts/key-set.ts';
import type { Logger } from './log.ts';

/** Takes every read of a key set. URLs are named without a query, which could hold a key. */
export function createKeySetLog(logger: Pick<Logger, 'warn' | 'info'>): (read: KeySetRead) => void {
  const failing = new Set<string>();
  return ({ url, failure }) => {
    const { origin, pathname } = new URL(url);
    if (failure === undefined) {
      if (failing.delete(url)) logger.info('a key set can be read again', { key_set: origin + pathname });
    } else if (!failing.has(url)) {
      failing.add(url);
      logger.warn('a key set cannot be read; it is tried again and again', {
        key_set: origin + pathname,
        why: failure,
      });
    }
  };
}
