import { identityJudge, seenIdentity } from './rule.ts';
import type { RuleType } from './rule.ts';
import { at, warning } from '../model/fault.ts';
import type { Verdict } from '../model/verdict.ts';
import { exactObject, isId, text } from '../shared/shape.ts';
import type { ShapeOutput } from '../shared/shape.ts';

const shape = exactObject({
  integration_uid: text().describe('The uid of the posture check.'),
  account_id: text().optional().describe('Accepted from exports, without effect.'),
});

/** A check of the user's device. `account_id` is accepted, without effect. Source: Cloudflare Access, rule type
 *  `device_posture`. */
export const devicePosture: RuleType<ShapeOutput<typeof shape>> = {
  word: 'device_posture',
  description: 'Met when the device passed this posture check: its entry says success: true.',
  reads: 'identity',
  shape,
  needs: (_, { postureFromIdentity }) => (postureFromIdentity ? [{ fact: 'identity' }] : [{ fact: 'posture' }]),
  link({ value, place }, _, report) {
    if (value.account_id !== undefined)
      report(
        warning(
          { ...at(place, 'account_id'), atKey: true },
          'setting_without_effect',
          'expected integration_uid alone, found an account_id beside it',
          'remove account_id',
        ),
      );
  },
  anyOf(values, { postureFromIdentity }) {
    const uids = new Set(values.map((value) => foldedUid(value.integration_uid)));
    const judge = (entries: ReadonlyMap<string, unknown> | undefined): Verdict => {
      if (entries) for (const [uid, entry] of entries) if (isPassed(entry) && uids.has(foldedUid(uid))) return 'met';
      return 'unmet';
    };
    if (postureFromIdentity) return identityJudge((identity) => judge(identity.posture));
    return ({ posture }) => (posture.state === 'known' ? judge(posture.entries) : 'unavailable');
  },
  seen(context, value) {
    if (context.posture.state === 'unavailable') return `posture not known: ${context.posture.why}`;
    if (context.posture.state === 'known') return seenEntry(context.posture.entries, value.integration_uid);
    return seenIdentity(context, (identity) => seenEntry(identity.posture, value.integration_uid));
  },
};

/** UUIDs are the same in any letter case; other uids are compared as they are. */
function foldedUid(uid: string): string {
  return isId(uid) ? uid.toLowerCase() : uid;
}

function isPassed(entry: unknown): boolean {
  return typeof entry === 'object' && entry !== null && 'success' in entry && entry.success === true;
}

function seenEntry(entries: ReadonlyMap<string, unknown> | undefined, uid: string): string {
  for (const [found, entry] of entries ?? [])
    if (foldedUid(found) === foldedUid(uid)) return `posture ${uid} ${isPassed(entry) ? 'passed' : 'not passed'}`;
  return `no posture entry ${uid}`;
}
