import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCase } from '../dist/cases/run.js';
import { loadOffline, readFolderCases } from '../dist/cli/offline.js';
import { statedAgainst } from '../dist/revision.js';

/** Milliseconds that users' cases take once folder and cases are loaded, and that reading the cases takes. */
export async function measureCases(count) {
  const folder = mkdtempSync(join(tmpdir(), 'postern-bench-cases-'));
  try {
    for (const name of ['policies', 'tests']) mkdirSync(join(folder, name));
    writeFileSync(join(folder, 'postern.yaml'), 'geo: { headers: { country: cf-ipcountry } }\n');
    writeFileSync(join(folder, 'policies/orders.yaml'), POLICIES);
    writeFileSync(
      join(folder, 'tests/orders.json'),
      JSON.stringify(Array.from({ length: count }, (_, n) => caseOf(n))),
    );
    const { revision } = await loadOffline(folder, []);
    if (!revision) throw new Error('the folder of the bench has faults');
    const began = performance.now();
    const { cases } = await readFolderCases(folder, revision, []);
    const read = performance.now();
    const against = statedAgainst(revision);
    for (const one of cases) {
      const { differences } = await runCase(one, against, Date.now());
      if (differences.length > 0) throw new Error(`the case ${one.name} fails`);
    }
    return { readMs: read - began, runMs: performance.now() - read };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function caseOf(n) {
  return {
    name: `case ${n}`,
    request: {
      host: 'orders.example.com',
      path: `/api/${n}`,
      client_ip: `203.0.113.${n % 250}`,
      country: n % 2 === 0 ? 'CA' : 'FR',
      time: '2026-03-04T14:30:00Z',
    },
    identity: { email: `user${n}@example.com`, amr: ['pwd'] },
    expect: n % 2 === 0 ? { outcome: 'allow', policy: 'Engineers' } : { outcome: 'deny' },
  };
}

const POLICIES = `applications:
  - id: 9a4b2f0e-3f55-4a57-9b0e-000000000001
    name: Orders
    destinations: [orders.example.com]
    policies:
      - name: Engineers
        decision: allow
        include: [{ email_domain: { domain: example.com } }]
        require: [{ geo: { country_code: CA } }]
resource_rules:
  - id: 0c3c0000-0000-4000-8000-000000000001
    name: Orders, staff
    resourceId: 9a4b2f0e-3f55-4a57-9b0e-000000000001
    groups: [{ name: All Groups }]
    ipContext: { allowedIpRanges: [203.0.113.0/24], riskPoint: 100 }
    lowRiskAuthenticationFlow: { name: Password }
    mediumRiskAuthenticationFlow: { name: Password and Second Factor }
    highRiskAuthenticationFlow: { name: Password and Second Factor }
`;
