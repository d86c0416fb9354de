import { exactObject, flag, integer } from '../shared/shape.ts';

/** How Entrust puts its questions. No factor: kept and echoed, without effect here, its `denyAccess` included.
 *  Source: Entrust's KbaContext. */
export const kbaShape = exactObject({
  riskPoint: integer(0, 100).optional(),
  denyAccess: flag().optional(),
  challengeSize: integer(1, Number.MAX_SAFE_INTEGER).optional(),
  wrongAnswersAllowed: integer(0, Number.MAX_SAFE_INTEGER).optional(),
});
