/** What goes wrong a thousand times a second is worth a line a second. */
import type { LogFields, Logger } from './log.ts';

/** Writes an error, or counts it where one of its kind was written less than a second ago. */
export type FailureLog = (kind: string, message: string, fields?: LogFields) => void;

export interface FailureLogOptions {
  readonly logger: Pick<Logger, 'error'>;
  /** Runs once after a delay; must not keep the process alive. `setTimeout`, unreferenced, where absent. */
  readonly schedule?: ((run: () => void, delayMs: number) => void) | undefined;
}

/** At most one line of each kind in each second: the first at once, and at the end of a second in which more came, one
 *  that counts those (`suppressed`) and shows the last of them. Kinds come from a closed list. */
export function createFailureLog(options: FailureLogOptions): FailureLog {
  const schedule = options.schedule ?? scheduleUnreferenced;
  const open = new Map<string, Held>();
  const write = (kind: string, message: string, fields: LogFields): void => {
    options.logger.error(message, { kind, ...fields });
    const held: Held = { suppressed: 0, message, fields };
    open.set(kind, held);
    schedule(() => {
      open.delete(kind);
      if (held.suppressed > 0) write(kind, held.message, { ...held.fields, suppressed: held.suppressed });
    }, INTERVAL_MS);
  };
  return (kind, message, fields = {}) => {
    const held = open.get(kind);
    if (!held) {
      write(kind, message, fields);
      return;
    }
    held.suppressed += 1;
    held.message = message;
    held.fields = fields;
  };
}

const INTERVAL_MS = 1_000;

interface Held {
  suppressed: number;
  /** Of the last one that was not written. */
  message: string;
  fields: LogFields;
}

function scheduleUnreferenced(run: () => void, delayMs: number): void {
  setTimeout(run, delayMs).unref();
}
