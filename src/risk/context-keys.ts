import { flag, integer, word } from '../shared/shape.ts';

/** The keys that every risk context carries besides its own. Source: `riskPoint` and `denyAccess` of Entrust's
 *  context models; `onUnknown` is Postern's own. */
export const contextKeys = {
  riskPoint: integer(0, 100),
  denyAccess: flag().optional(),
  onUnknown: word(['RISK', 'NO_RISK', 'UNAVAILABLE']).optional(),
};
