import type { RuleType } from './rule.ts';
import { exactObject } from '../shared/shape.ts';
import type { ShapeOutput } from '../shared/shape.ts';

const shape = exactObject({});

/** Any service token that is enabled and unexpired. Source: Cloudflare Access, rule type
 *  `any_valid_service_token`. */
export const anyValidServiceToken: RuleType<ShapeOutput<typeof shape>> = {
  word: 'any_valid_service_token',
  description: 'Met when the request carries the credentials of any enabled, unexpired service token.',
  reads: 'connection',
  shape,
  needs: () => [{ fact: 'service_token' }],
  anyOf: (values) =>
    values.length > 0 ? (context) => (context.serviceCredentials.state === 'valid' ? 'met' : 'unmet') : () => 'unmet',
  seen: ({ serviceCredentials }) =>
    serviceCredentials.state === 'valid'
      ? `service token ${serviceCredentials.name}`
      : `service credentials ${serviceCredentials.state}`,
};
