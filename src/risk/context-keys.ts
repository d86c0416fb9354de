import { flag, integer, word } from '../shared/shape.ts';

/** The keys that every risk context carries besides its own. Source: `riskPoint` and `denyAccess` of Entrust's
 *  context models; `onUnknown` is Postern's own. */
export const contextKeys = {
  riskPoint: integer(0, 100).describe('Points that the factor adds when it is at risk, 0 to 100.'),
  denyAccess: flag().optional().describe('At risk, it denies whatever the score. Default false.'),
  onUnknown: word(['RISK', 'NO_RISK', 'UNAVAILABLE'])
    .optional()
    .describe("How it counts where its fact could not be had; absent: as the factor's documentation says."),
};
