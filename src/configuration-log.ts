/** What the log says of configurations: warnings, refusals, and what a change does not do. */
import type { Logger } from './log.ts';
import { byPlace, faultText } from './policy/fault-text.ts';
import type { LocatedFault } from './policy/fault-text.ts';
import type { Loaded, Revision } from './revision.ts';
import type { Status } from './status.ts';

/** Logs what is worth a word in a revision: what reading it found, and what is looked for once it is in force. What was
 *  said of the revision before is not said again; a newer one puts an end to what is not said yet. */
export function createWarningTeller(
  logger: Logger,
  show: Status['warned'],
): (found: Loaded['faults'], revision: Revision) => void {
  let told: ReadonlySet<string> = new Set();
  let newest: Revision | undefined;
  const tell = async (found: Loaded['faults'], revision: Revision): Promise<void> => {
    const later = await revision.warnings();
    if (newest !== revision) return;
    const warnings = [...found, ...later].filter(({ fault }) => fault.severity === 'warning').toSorted(byPlace);
    show(warnings);
    const fresh = warnings.filter((one) => !told.has(faultText(one)));
    told = new Set(warnings.map((one) => faultText(one)));
    for (const one of fresh.slice(0, FAULTS_LOGGED_MAX)) logger.warn('configuration', faultFields(one));
    if (fresh.length > FAULTS_LOGGED_MAX)
      logger.warn('more warnings than are shown here; `postern validate` prints them all', { warnings: fresh.length });
  };
  return (found, revision) => {
    newest = revision;
    tell(found, revision).catch((error: unknown) => logger.error('warnings could not be looked for', { error }));
  };
}

/** Policies that are only tried keep nothing from running, whatever is wrong with them. */
export function logShadowFaults(logger: Logger, { shadow }: Revision): void {
  if (!shadow || shadow.compiled) return;
  logger.warn('the shadow policies have faults and are not tried', { faults: shadow.faults.length });
  for (const one of shadow.faults.slice(0, FAULTS_LOGGED_MAX)) logger.warn('shadow', faultFields(one));
}

export function logRefused(logger: Logger, { faults, id }: Loaded, running: string): void {
  const wrong = faults.filter(({ fault }) => fault.severity === 'fault');
  logger.error(`a changed configuration was refused; revision ${running} stays in force`, {
    refused: id,
    revision: running,
    faults: wrong.length,
  });
  for (const one of wrong.slice(0, FAULTS_LOGGED_MAX)) logger.error('configuration', faultFields(one));
}

const FAULTS_LOGGED_MAX = 100;

function faultFields(located: LocatedFault): Readonly<Record<string, unknown>> {
  const { fault } = located;
  return { fault: faultText(located).split('\n')[0], code: fault.code, mend: fault.mend };
}
