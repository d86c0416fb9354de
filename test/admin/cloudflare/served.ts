/** The program with an admin token, for tests of the API that Cloudflare's clients drive. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Access } from './clients.ts';

export const ACCOUNT = '023e105f4ecef8ad9ca31a8372d0c353';
export const TOKEN = 'a3f1c5e7a3f1c5e7a3f1c5e7a3f1c5e7a3f1c5e7a3f1c5e7';
export const READER = 'b3f1c5e7a3f1c5e7a3f1c5e7a3f1c5e7a3f1c5e7a3f1c5e7';
export const WRITER = 'c3f1c5e7a3f1c5e7a3f1c5e7a3f1c5e7a3f1c5e7a3f1c5e7';

/** What rules of every type may name. */
export const IDS = {
  okta: '11111111-1111-4111-8111-111111111111',
  entra: '22222222-2222-4222-8222-222222222222',
  github: '33333333-3333-4333-8333-333333333333',
  google: '44444444-4444-4444-8444-444444444444',
  saml: '55555555-5555-4555-8555-555555555555',
  oidc: '66666666-6666-4666-8666-666666666666',
  cloudflare: '77777777-7777-4777-8777-777777777777',
  application: '9a4b2f0e-3f55-4a57-9b0e-000000000001',
  group: '8f1c0000-0000-4000-8000-000000000001',
  emails: '5a6b0000-0000-4000-8000-000000000001',
  addresses: '5a6b0000-0000-4000-8000-000000000002',
  serviceToken: '3537a672-e4d8-4d89-aab9-26cb622918a1',
} as const;

/** One rule of each type, as it is sent. */
export const RULES: Readonly<Record<string, object>> = {
  group: { id: IDS.group },
  any_valid_service_token: {},
  auth_context: { id: 'ctx', ac_id: 'c1', identity_provider_id: IDS.entra },
  auth_method: { auth_method: 'mfa' },
  azureAD: { id: '5f3aaaaa-0000-4000-8000-000000000001', identity_provider_id: IDS.entra },
  certificate: {},
  common_name: { common_name: 'api' },
  geo: { country_code: 'CA' },
  device_posture: { integration_uid: 'aa0a4aab-672b-4bdb-bc33-a59f1130a11f' },
  email_domain: { domain: 'example.com' },
  email_list: { id: IDS.emails },
  email: { email: 'ann@example.com' },
  everyone: {},
  external_evaluation: {
    evaluate_url: 'https://evaluate.example.com/check',
    keys_url: 'https://evaluate.example.com/keys',
  },
  'github-organization': { name: 'acme', team: 'core', identity_provider_id: IDS.github },
  gsuite: { email: 'eng@example.com', identity_provider_id: IDS.google },
  login_method: { id: IDS.okta },
  ip_list: { id: IDS.addresses },
  ip: { ip: '203.0.113.7' },
  okta: { name: 'Everyone', identity_provider_id: IDS.okta },
  saml: { attribute_name: 'dept', attribute_value: 'eng', identity_provider_id: IDS.saml },
  oidc: { claim_name: 'admin', claim_value: 'true', identity_provider_id: IDS.oidc },
  service_token: { token_id: IDS.serviceToken },
  linked_app_token: { app_uid: IDS.application },
  user_risk_score: { user_risk_score: ['low', 'medium'] },
  cloudflare_account_member: { account_id: ACCOUNT },
};

export interface Served extends Access {
  readonly child: ChildProcess;
  readonly folder: string;
  /** Where the check port listens. */
  readonly check: string;
  readonly admin: string;
  /** Everything written so far. */
  text(): string;
  /** Ends it at once, as a power cut would. */
  kill(): Promise<void>;
}

/** A config folder with everything that `RULES` name. */
export function newFolder(policies = ''): string {
  const folder = mkdtempSync(join(tmpdir(), 'postern-admin-'));
  mkdirSync(join(folder, 'policies'));
  const provider = (type: string, id: string): string => `    - { id: ${id}, name: ${type}, type: ${type} }\n`;
  const token = (name: string, secret: string, scopes: string): string =>
    `    - { name: ${name}, sha256: ${digest(secret)}, scopes: [${scopes}] }\n`;
  writeFileSync(
    join(folder, 'postern.yaml'),
    `identity:
  providers:
${provider('okta', IDS.okta)}${provider('azureAD', IDS.entra)}${provider('github', IDS.github)}${provider('google-apps', IDS.google)}${provider('saml', IDS.saml)}${provider('oidc', IDS.oidc)}${provider('cloudflare', IDS.cloudflare)}admin:
  accounts: [${ACCOUNT}]
  tokens:
${token('terraform', TOKEN, 'read, write')}${token('reader', READER, 'read')}${token('writer', WRITER, 'write')}external_evaluation: { allow_hosts: [evaluate.example.com] }
log: { decisions: none }
`,
  );
  writeFileSync(
    join(folder, 'policies/base.yaml'),
    `applications:
  - id: ${IDS.application}
    name: Orders
    destinations: [orders.example.com]
    aud: orders
    policies:
      - name: Office
        decision: bypass
        include: [{ ip: { ip: 192.0.2.0/24 } }]
groups:
  - { id: ${IDS.group}, name: Base, include: [{ email_domain: { domain: example.com } }] }
lists:
  - { id: ${IDS.emails}, name: Contractors, type: EMAIL, items: [{ value: ann@partner.example }] }
  - { id: ${IDS.addresses}, name: Offices, type: IP, items: [{ value: 198.51.100.0/24 }] }
service_tokens:
  - { id: ${IDS.serviceToken}, name: ci, client_id: 88bf3b6d86161464f6509f7219099e57.access, client_secret_sha256: ${digest('secret')} }
`,
  );
  if (policies !== '') writeFileSync(join(folder, 'policies/more.yaml'), policies);
  return folder;
}

export async function serve(folder: string): Promise<Served> {
  const address = ['--set', 'listen.check=127.0.0.1:0', '--set', 'listen.admin=127.0.0.1:0'];
  const child = spawn(process.execPath, [MAIN, 'serve', '--config', folder, ...address], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (text += chunk.toString()));
  const end = Date.now() + 20_000;
  let ready: string | undefined;
  while ((ready = /^\{.*"msg":"ready".*\}$/m.exec(text)?.[0]) === undefined) {
    if (Date.now() > end || child.exitCode !== null) {
      child.kill('SIGKILL');
      throw new Error(`not ready; the program wrote:\n${text}`);
    }
    await sleep(5);
  }
  const { check, admin } = JSON.parse(ready) as { check: string; admin: string };
  return {
    child,
    folder,
    check,
    admin,
    baseURL: `http://${admin}/client/v4`,
    token: TOKEN,
    text: () => text,
    async kill() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill('SIGKILL');
      await once(child, 'exit');
    },
  };
}

export function removeFolder(folder: string): void {
  rmSync(folder, { recursive: true, force: true });
}

export function digest(secret: string): string {
  return createHash('sha256').update(secret).digest('hex');
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  /** Undefined where the body is no JSON. */
  readonly body: Envelope | undefined;
}

export interface Envelope {
  readonly success: boolean;
  readonly result: unknown;
  readonly errors: readonly {
    readonly code: number;
    readonly message: string;
    readonly source?: { readonly pointer: string };
  }[];
  readonly result_info?: Readonly<Record<string, number>>;
}

/** Asks without any client, for what a client would never send. `path` below the account, or absolute. */
export async function ask(
  served: Access,
  method: string,
  path: string,
  body?: unknown,
  headers: Readonly<Record<string, string>> = { authorization: `Bearer ${served.token}` },
): Promise<Answer> {
  const url = path.startsWith('/') ? `${served.baseURL}${path}` : `${served.baseURL}/accounts/${ACCOUNT}/${path}`;
  const response = await fetch(url, {
    method,
    headers,
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  const text = await response.text();
  let parsed: Envelope | undefined;
  try {
    parsed = JSON.parse(text) as Envelope;
  } catch {
    parsed = undefined;
  }
  return { status: response.status, headers: response.headers, body: parsed };
}

const MAIN = fileURLToPath(new URL('../../../dist/main.js', import.meta.url));
