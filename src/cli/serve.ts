import { StartError, startApp } from '../app.ts';
import { CONFIG_HELP, CONFIG_OPTIONS, parsed } from './arguments.ts';
import type { Command } from './arguments.ts';
import { countText, overridesFrom, printedFaults } from './configuration.ts';

const HELP = `Usage: postern serve [--config DIR]

Answers Envoy's authorization checks by the policies of a config folder, and follows every change of it. When it is
ready it prints one JSON line with "msg":"ready" and the real addresses; port 0 takes a free one.
SIGTERM or SIGINT drains: five seconds still answering but no longer ready, then what is in hand is finished.
A second signal leaves at once.

${CONFIG_HELP}
`;

/** `postern serve`: runs until a signal. */
export const serve: Command = {
  summary: 'answer checks by the policies of a config folder',
  help: HELP,
  async run(args, terminal) {
    const { values } = parsed(args, CONFIG_OPTIONS);
    const overrides = overridesFrom(values.set, terminal);
    const signals = listenForSignals();
    try {
      const app = await startApp({ folder: values.config, overrides });
      await signals.stopped(app.stop);
      return 0;
    } catch (error) {
      if (!(error instanceof StartError)) throw error;
      terminal.error(printedFaults(error.faults, terminal));
      const counted = error.faults.length > 0 ? ` (${countText(error.faults)})` : '';
      terminal.error(`postern serve: ${error.message}${counted}\n`);
      return 1;
    }
  },
};

interface Signals {
  /** From now on the first signal calls `stop`, and the next one leaves now. Resolves when the app has stopped. */
  stopped(stop: () => Promise<void>): Promise<void>;
}

/** Listens before anything is started: the first process of a container has no default for signals, so that one which
 *  came too early would be lost, and the container be killed at the end of its grace. Until the app runs there is
 *  nothing to finish, and any signal leaves now. */
function listenForSignals(): Signals {
  // oxlint-disable-next-line unicorn/no-process-exit -- a signal during the start, or a second one, means now
  let onSignal = (): void => process.exit(0);
  const leave = onSignal;
  process.on('SIGTERM', () => onSignal());
  process.on('SIGINT', () => onSignal());
  return {
    stopped: (stop) =>
      new Promise((resolve, reject) => {
        onSignal = () => {
          onSignal = leave;
          stop().then(resolve, reject);
        };
      }),
  };
}
