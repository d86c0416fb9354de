import { exactObject, integer } from '../shared/shape.ts';
import type { ShapeOutput } from '../shared/shape.ts';
import { contextKeys } from './context-keys.ts';
import type { FactorType } from './factor.ts';

const shape = exactObject({
  ...contextKeys,
  riskLimit: integer(0, 1000).optional().describe('Points of difference up to which a machine is the same. Default 0.'),
});

/** Whether the request comes from a machine that the user has registered, and that has not changed too much since.
 *  Source: Entrust's MachineContext; of its two contradicting descriptions of `riskLimit`, "greater than the limit is
 *  a risk". */
export const machine: FactorType<ShapeOutput<typeof shape>> = {
  name: 'machine',
  property: 'machineContext',
  isList: false,
  description: 'At risk where the machine is not registered, or differs from its record by more than the limit.',
  shape,
  needs: () => [{ fact: 'machine' }, { fact: 'identity' }],
  compile(context) {
    const limit = context.riskLimit ?? 0;
    return ({ machine: found }) => {
      if (found.state === 'present') return found.risk > limit ? 'RISK' : 'NO_RISK';
      return found.state === 'absent' ? 'RISK' : 'UNKNOWN';
    };
  },
  unknownCounts: () => 'RISK',
  seen({ machine: found }) {
    if (found.state === 'present') return `known machine, ${found.risk} points of difference`;
    return found.state === 'absent' ? `no known machine: ${found.why}` : 'the record of the user could not be read';
  },
};
