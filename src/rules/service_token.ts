import { unknownReference } from './rule.ts';
import type { RuleType } from './rule.ts';
import { at } from '../model/fault.ts';
import { exactObject, id } from '../shared/shape.ts';
import type { ShapeOutput } from '../shared/shape.ts';

const shape = exactObject({
  token_id: id("write the token's id, not its client_id").describe(
    'The id of a token of service_tokens; not its client id.',
  ),
});

/** One service token. Source: Cloudflare Access, rule type `service_token`. */
export const serviceToken: RuleType<ShapeOutput<typeof shape>> = {
  word: 'service_token',
  description: 'Met when the request carries the credentials of this service token, enabled and unexpired.',
  reads: 'connection',
  shape,
  needs: () => [{ fact: 'service_token' }],
  link({ value, place }, scope, report) {
    if (!scope.serviceToken(value.token_id))
      report(unknownReference('service_token', 'service token', value.token_id, at(place, 'token_id'), scope));
  },
  anyOf(values) {
    const ids = new Set(values.map((value) => value.token_id));
    return ({ serviceCredentials }) =>
      serviceCredentials.state === 'valid' && ids.has(serviceCredentials.tokenId.toLowerCase()) ? 'met' : 'unmet';
  },
  seen: ({ serviceCredentials }) =>
    serviceCredentials.state === 'valid'
      ? `service token ${serviceCredentials.name}`
      : `service credentials ${serviceCredentials.state}`,
  singleFact: 'service token',
};
