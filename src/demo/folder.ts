/** What the demo writes: fresh keys, tokens of an identity provider, and Postern's configuration. */
import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { importSigningKey, signCompact } from '../shared/jose.ts';

/** Where things are in the demo's folder. */
export interface DemoFolder {
  readonly config: string;
  /** Tokens by name, as the files under `tokens/` hold them. */
  readonly tokens: ReadonlyMap<TokenName, string>;
  /** Replaces the policies in one step, as an editor's atomic save does. */
  writePolicies(text: string): void;
}

/** ann logged in with her password, ann-strong with a one-time code as well; mallory is of another company; ci-id and
 *  ci-secret are a service token's. */
export type TokenName = 'ann' | 'ann-strong' | 'mallory' | 'ci-id' | 'ci-secret';

/** Makes the folder anew. Keys and tokens are readable by their owner only. */
export async function makeDemoFolder(folder: string, nowMs: number): Promise<DemoFolder> {
  rmSync(folder, { recursive: true, force: true });
  const write = (name: string, text: string): void => {
    const file = join(folder, name);
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    writeFileSync(file, text, { mode: 0o600 });
  };
  const pem = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ type: 'pkcs8', format: 'pem' });
  const imported = await importSigningKey(String(pem));
  if ('wrong' in imported) throw new Error(`the new key cannot be read: ${imported.wrong}`);
  const { key } = imported;
  write('keys/issuer.pem', String(pem));
  const jwk = { ...key.publicJwk, kid: key.thumbprint, alg: key.algorithm, use: 'sig' };
  write('config/keys/jwks.json', JSON.stringify({ keys: [jwk] }));

  const now = Math.floor(nowMs / 1000);
  const login = (email: string, amr: readonly string[]): Promise<string> =>
    signCompact(
      { iss: ISSUER, aud: AUDIENCE, sub: email, email, amr, auth_time: now, iat: now, nbf: now, exp: now + 43_200 },
      key,
      { kid: key.thumbprint, typ: 'JWT' },
    );
  const secret = randomBytes(32).toString('hex');
  const tokens = new Map<TokenName, string>([
    ['ann', await login('ann@example.com', ['pwd'])],
    ['ann-strong', await login('ann@example.com', ['pwd', 'otp'])],
    ['mallory', await login('mallory@elsewhere.example', ['pwd', 'otp'])],
    ['ci-id', `${randomBytes(16).toString('hex')}.access`],
    ['ci-secret', secret],
  ]);
  for (const [name, token] of tokens) write(`tokens/${name}`, token);

  write('config/postern.yaml', SETTINGS);
  write('config/policies/demo.yaml', ORDERS);
  write('config/policies/reports.yaml', reports(String(tokens.get('ci-id')), secret));
  return {
    config: join(folder, 'config'),
    tokens,
    writePolicies(text) {
      // Written outside the watched folder, so that the set changes once.
      write('policies.next', text);
      renameSync(join(folder, 'policies.next'), join(folder, 'config/policies/demo.yaml'));
    },
  };
}

/** Who may reach orders.example.com, and that its /admin asks for a second factor. */
export const ORDERS = `\
applications:
  - id: 9a4b2f0e-3f55-4a57-9b0e-000000000001
    name: Orders
    destinations: [orders.example.com]
    policies:
      - name: Engineers
        decision: allow
        include: [{ group: { id: 8f1c0000-0000-4000-8000-000000000001 } }]
  - id: 9a4b2f0e-3f55-4a57-9b0e-000000000002
    name: Orders, administration
    destinations: [orders.example.com/admin]
    policies:
      - name: Engineers
        decision: allow
        include: [{ group: { id: 8f1c0000-0000-4000-8000-000000000001 } }]
groups:
  - id: 8f1c0000-0000-4000-8000-000000000001
    name: Engineering
    include: [{ email_domain: { domain: example.com } }]
resource_rules:
  - id: 0c3c0000-0000-4000-8000-000000000002
    name: Administration needs a second factor
    resourceId: 9a4b2f0e-3f55-4a57-9b0e-000000000002
    groups: [{ name: Engineering }]
    lowRiskThreshold: 30
    mediumRiskThreshold: 70
    lowRiskAuthenticationFlow: { name: Password and Second Factor }
    mediumRiskAuthenticationFlow: { name: Password and Second Factor }
    highRiskAuthenticationFlow: { name: Access Denied }
`;

/** The same, without ann. */
export const ORDERS_WITHOUT_ANN = ORDERS.replaceAll(
  '    include: [{ email_domain: { domain: example.com } }]',
  '    include: [{ email_domain: { domain: example.com } }]\n    exclude: [{ email: { email: ann@example.com } }]',
);

/** The same, open to everyone, and with a slip of the pen in a group's name. */
export const ORDERS_BROKEN = ORDERS.replace(
  'include: [{ group: { id: 8f1c0000-0000-4000-8000-000000000001 } }]',
  'include: [{ everyone: {} }]',
).replace('groups: [{ name: Engineering }]', 'groups: [{ name: Enginering }]');

const ISSUER = 'https://login.example.com';
const AUDIENCE = 'orders';

const SETTINGS = `\
identity:
  tokens:
    - issuer: ${ISSUER}
      audiences: [${AUDIENCE}]
      keys: { file: keys/jwks.json }
      from: [{ bearer: authorization }]
      algorithms: [RS256]
upstream:
  headers: { x-postern-user: subject, x-postern-email: email, x-postern-policy: policy, x-postern-risk: risk_level }
  remove: [cf-access-client-secret]
log: { level: info, decisions: all }
`;

const reports = (clientId: string, secret: string): string => `\
applications:
  - id: 9a4b2f0e-3f55-4a57-9b0e-000000000003
    name: Reports
    destinations: [reports.example.com]
    policies:
      - name: Machines
        decision: non_identity
        include: [{ service_token: { token_id: 3537a672-e4d8-4d89-aab9-26cb622918a1 } }]
service_tokens:
  - id: 3537a672-e4d8-4d89-aab9-26cb622918a1
    name: ci
    client_id: ${clientId}
    client_secret_sha256: ${createHash('sha256').update(secret).digest('hex')}
    enabled: true
    expires_at: 2100-01-01T00:00:00Z
`;
