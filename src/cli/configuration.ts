import { parseYaml } from '../policy/read.ts';
import { faultsText } from '../policy/fault-text.ts';
import type { LocatedFault } from '../policy/fault-text.ts';
import { faultText } from '../policy/fault-text.ts';
import type { Fault } from '../model/fault.ts';
import { readOverrides } from '../settings-overrides.ts';
import type { Override } from '../settings-overrides.ts';
import { UsageError } from './arguments.ts';
import type { Terminal } from './arguments.ts';

/** Settings from the environment and `--set`. A name or value that cannot be is a UsageError that lists all of them. */
export function overridesFrom(assignments: readonly string[], terminal: Terminal): readonly Override[] {
  const faults: Fault[] = [];
  const overrides = readOverrides(
    {
      environment: terminal.environment,
      assignments,
      parseValue(text) {
        const parsed = parseYaml(text, 'value');
        return 'data' in parsed ? { value: parsed.data } : { problem: parsed.faults[0]?.text ?? 'no YAML value' };
      },
    },
    (fault) => void faults.push(fault),
  );
  if (faults.length > 0)
    throw new UsageError(`\n${faultsText(faults, () => undefined, { color: terminal.colors })}`.trimEnd());
  return overrides;
}

/** Faults and warnings as they are printed, with how many there are. */
export function printedFaults(faults: readonly LocatedFault[], terminal: Terminal): string {
  return faults.map((one) => `${faultText(one, terminal.colors)}\n`).join('');
}

export function countText(faults: readonly LocatedFault[]): string {
  const wrong = faults.filter(({ fault }) => fault.severity === 'fault').length;
  const warned = faults.length - wrong;
  const parts = [wrong > 0 || warned === 0 ? plural(wrong, 'fault') : '', warned > 0 ? plural(warned, 'warning') : ''];
  return parts.filter((part) => part !== '').join(', ');
}

function plural(count: number, word: string): string {
  return `${count} ${word}${count === 1 ? '' : 's'}`;
}
