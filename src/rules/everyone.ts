import type { RuleType } from './rule.ts';
import { exactObject } from '../shared/shape.ts';
import type { ShapeOutput } from '../shared/shape.ts';

const shape = exactObject({});

/** Anybody at all. Source: Cloudflare Access, rule type `everyone`. */
export const everyone: RuleType<ShapeOutput<typeof shape>> = {
  word: 'everyone',
  description: 'Always met. An allow policy still needs a login.',
  reads: 'connection',
  shape,
  needs: () => [],
  anyOf: (values) => (values.length > 0 ? () => 'met' : () => 'unmet'),
  seen: () => 'anybody',
};
