/** What is read and judged already, but whose facts nobody gathers yet. A file that asks for it is refused: judged
 *  without its facts, a transaction above its limit would pass for none at all. */
import { fault } from '../model/fault.ts';
import type { Report } from '../model/fault.ts';
import type { PolicySet } from './objects.ts';

/** Names of risk factors without facts. */
const FACTORS: ReadonlySet<string> = new Set(['riskEngine']);

/** Reports `context_unsupported`. */
export function reportUnsupported(set: PolicySet, report: Report): void {
  for (const rule of set.resourceRules) {
    for (const { type, place } of rule.factors) {
      if (!FACTORS.has(type)) continue;
      report(
        fault(
          place,
          'context_unsupported',
          `the risk factor ${type} is not supported yet`,
          'remove it; all other contexts work',
        ),
      );
    }
  }
}
