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
    try {
      const app = await startApp({ folder: values.config, overrides });
      await stopped(app.stop);
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

/** Resolves when the app has stopped after a signal; a second one leaves now. */
function stopped(stop: () => Promise<void>): Promise<void> {
  return new Promise((resolve, reject) => {
    let signals = 0;
    const leave = (): void => {
      signals += 1;
      // oxlint-disable-next-line unicorn/no-process-exit -- a second signal means now
      if (signals > 1) process.exit(0);
      stop().then(resolve, reject);
    };
    process.on('SIGTERM', leave);
    process.on('SIGINT', leave);
  });
}
