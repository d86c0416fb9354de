/** Config folders of tests, loaded as the commands load them. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createKeySets } from '../../src/facts/key-set.ts';
import { faultText } from '../../src/policy/fault-text.ts';
import { createLoader } from '../../src/revision.ts';
import type { Revision } from '../../src/revision.ts';

const folders: string[] = [];

/** A folder of its own with these files, by name. */
export function folderWith(files: Readonly<Record<string, string>>): string {
  const folder = mkdtempSync(join(tmpdir(), 'postern-cases-'));
  folders.push(folder);
  for (const [name, text] of Object.entries(files)) {
    const path = join(folder, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
  return folder;
}

/** To be called after every test. */
export function removeFolders(): void {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
}

/** Loads such a folder; it must be without a fault. */
export async function revisionOf(folder: string): Promise<Revision> {
  const loader = createLoader({ folder, overrides: [], keySets: createKeySets(), makesKeys: false });
  const { revision, faults } = await loader.load();
  if (!revision) throw new Error(faults.map((one) => faultText(one)).join(''));
  return revision;
}

export const OKTA = '11111111-1111-1111-1111-111111111111';
export const ORDERS = '9a4b2f0e-3f55-4a57-9b0e-000000000001';

/** One issuer, whose keys are a URL that nothing answers at. */
export const SETTINGS = `
identity:
  providers:
    - { id: ${OKTA}, name: Corporate Okta, type: okta, domains: [example.com] }
    - { id: 22222222-2222-2222-2222-222222222222, name: Entra, type: azureAD }
  tokens:
    - issuer: https://login.example.com
      audiences: [postern]
      keys: { url: "https://login.example.com/keys" }
      from: [{ bearer: authorization }]
      provider: ${OKTA}
geo: { headers: { country: cf-ipcountry } }
`;

/** Orders, for engineers in Canada; strongly where the address is not the office's. */
export const POLICIES = `applications:
  - id: ${ORDERS}
    name: Orders
    destinations: [orders.example.com, "*.orders.example.com/api"]
    session_duration: 24h
    policies:
      - name: No mallory
        decision: deny
        include:
          - email: { email: mallory@example.com }
      - name: Engineers
        decision: allow
        include:
          - email_domain: { domain: example.com }
          - group: { id: Partners }
        require:
          - geo: { country_code: CA }
      - name: Robots
        decision: non_identity
        include:
          - service_token: { token_id: 3537a672-e4d8-4d89-aab9-26cb622918a1 }
groups:
  - id: 8f1c0000-0000-4000-8000-000000000001
    name: Partners
    include:
      - email: { email: ann@partner.example }
      - okta: { name: partners, identity_provider_id: ${OKTA} }
service_tokens:
  - { id: 3537a672-e4d8-4d89-aab9-26cb622918a1, name: ci, client_id: 88bf.access, client_secret_sha256: ${'ab'.repeat(32)} }
resource_rules:
  - id: 0c3c0000-0000-4000-8000-000000000001
    name: Orders, staff
    resourceId: ${ORDERS}
    groups: [{ name: All Groups }]
    lowRiskThreshold: 30
    mediumRiskThreshold: 70
    ipContext: { allowedIpRanges: [203.0.113.0/24], riskPoint: 40 }
    dateTimeContext: { startTime: "08:00:00", endTime: "18:00:00", zoneId: America/Toronto, riskPoint: 60 }
    lowRiskAuthenticationFlow: { name: Password }
    mediumRiskAuthenticationFlow: { name: Password and Second Factor }
    highRiskAuthenticationFlow: { name: Access Denied }
`;
