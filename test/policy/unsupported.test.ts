import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createKeySets } from '../../src/facts/key-set.ts';
import { createLoader } from '../../src/revision.ts';

const APPLICATION = '9a4b2f0e-3f55-4a57-9b0e-000000000001';

/** The codes of the faults of a folder with these files. */
async function codesOf(policies: string, settings = ''): Promise<readonly string[]> {
  const folder = mkdtempSync(join(tmpdir(), 'postern-unsupported-'));
  try {
    mkdirSync(join(folder, 'policies'));
    writeFileSync(join(folder, 'postern.yaml'), settings);
    writeFileSync(join(folder, 'policies/all.yaml'), policies);
    const { revision, faults } = await createLoader({
      folder,
      overrides: [],
      keySets: createKeySets(),
      makesKeys: false,
    }).load();
    const codes = faults.filter(({ fault }) => fault.severity === 'fault').map(({ fault }) => fault.code);
    expect(revision === undefined).toBe(codes.length > 0);
    return codes;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function withContext(context: string, more = ''): string {
  return `
applications: [{ id: ${APPLICATION}, name: Orders, destinations: [orders.example.com], transaction: { amount: { header: x-amount } }, policies: [{ name: A, decision: allow, include: [{ everyone: {} }], require: [{ email_domain: { domain: example.com } }] }] }]
transaction_rules: [{ id: 11111111-0000-4000-8000-000000000001, name: large, item: amount, type: Numeric, operator: GREATER_THAN, value: 100 }]
resource_rules: [{ id: 0c3c0000-0000-4000-8000-000000000001, name: R, resourceId: ${APPLICATION}, groups: [{ name: All Groups }], ${context}, lowRiskAuthenticationFlow: { name: Password }, mediumRiskAuthenticationFlow: { name: Password }, highRiskAuthenticationFlow: { name: Password } }]
${more}`;
}

describe('a file that asks for what has no facts yet is refused, never half obeyed', () => {
  it('riskEngineContexts', async () => {
    const engines = `risk_engines: [{ id: 22222222-0000-4000-8000-000000000001, name: E, url: "https://e.example.com", company_id: c, risk_provider: p, identifier: i, rules: [{ id: 22222222-0000-4000-8000-000000000002, name: high, item: Risk, operator: GREATER_THAN, value: 65 }] }]\n`;
    const context =
      'riskEngineContexts: [{ name: e, riskPoint: 100, transactionRuleRisks: [{ transactionRuleId: high, riskPoint: 50 }] }]';
    expect(await codesOf(withContext(context, engines))).toEqual(['context_unsupported']);
  });

  it.each([
    'ipContext: { allowedIpRanges: [10.0.0.0/8], riskPoint: 100 }',
    'locationHistoryContext: { riskPoint: 100 }',
    'travelVelocityContext: { riskPoint: 100 }',
    'machineContext: { riskPoint: 100 }',
    'disableSSO: true',
    'transactionContexts: [{ name: t, riskPoint: 100, transactionRuleRisks: [{ transactionRuleId: large, riskPoint: 50 }] }]',
  ])('what works stays allowed: %s', async (context) => {
    expect(await codesOf(withContext(context))).toEqual([]);
  });
});
