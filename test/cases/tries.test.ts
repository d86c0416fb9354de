/** Every "would be allowed" is tried, through the form in which users would try it. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { readCases } from '../../src/cases/shape.ts';
import type { Case } from '../../src/cases/shape.ts';
import { decideStated, linkStatement } from '../../src/cases/stated.ts';
import type { StatedAgainst } from '../../src/cases/stated.ts';
import { explainerOf } from '../../src/cli/offline.ts';
import type { Fault } from '../../src/model/fault.ts';
import type { Explainer } from '../../src/policy/explain.ts';
import { statedAgainst } from '../../src/revision.ts';
import { folderWith, removeFolders, revisionOf, SETTINGS } from './folders.ts';
import { DATA, ENTRA, hosts } from './many.ts';

const NOW_MS = Date.parse('2026-03-04T15:00:00Z');
const WHO = [
  undefined,
  { email: 'ann@example.com', amr: ['pwd'], auth_time: '2026-03-04T12:00:00Z' },
  { email: 'bob@other.example', provider: ENTRA, risk_score: 'high' },
  'invalid',
];
const WHERE = [
  { client_ip: '203.0.113.7', country: 'FR' },
  { client_ip: '198.51.100.1', country: 'CA' },
];

let against: StatedAgainst;
let explainer: Explainer;

beforeAll(async () => {
  const revision = await revisionOf(
    folderWith({ 'postern.yaml': SETTINGS, 'policies/all.json': JSON.stringify(DATA) }),
  );
  against = statedAgainst(revision);
  explainer = explainerOf(revision);
});
afterAll(removeFolders);

function caseOf(request: object, identity: unknown, more: object = {}): Case {
  const faults: Fault[] = [];
  const written = {
    name: 'x',
    request,
    ...(identity === undefined ? {} : { identity }),
    ...more,
    expect: { outcome: 'allow' },
  };
  const [one] = readCases([written], 'tests/a.yaml', (found) => faults.push(found));
  if (one) linkStatement(one, one.place, against, (found) => faults.push(found));
  expect(faults).toEqual([]);
  if (!one) throw new Error('no case');
  return one;
}

it.each(hosts)('%s', async (_, host) => {
  let denied = 0;
  let tried = 0;
  for (const identity of WHO) {
    for (const where of WHERE) {
      const request = { host, time: new Date(NOW_MS).toISOString(), ...where };
      const { decision, context } = await decideStated(caseOf(request, identity), against, NOW_MS);
      if (decision.outcome === 'allow') continue;
      denied += 1;
      const { changes } = explainer.explain(host, '/', context);
      expect(changes, `${JSON.stringify(identity)} ${JSON.stringify(where)}`).not.toEqual([]);
      for (const { text, anyOf } of changes) {
        for (const { request: changedRequest, identity: changedIdentity, ...more } of anyOf) {
          const who =
            changedIdentity && typeof identity === 'object'
              ? { ...identity, ...changedIdentity }
              : (changedIdentity ?? identity);
          const again = caseOf({ ...request, ...changedRequest }, who, more);
          const { outcome, reason } = (await decideStated(again, against, NOW_MS)).decision;
          expect({ text, outcome, reason }).toMatchObject({ outcome: 'allow' });
          tried += 1;
        }
      }
    }
  }
  expect(denied).toBeGreaterThan(0);
  expect(tried).toBeGreaterThan(0);
});
