/** The status pages over HTTP as the program serves them, with checks that go through the real check. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import type { Browser } from 'playwright-core';
import { startAdminServer } from '../../../src/admin/server.ts';
import type { AdminToken } from '../../../src/admin/server.ts';
import { createCheck } from '../../../src/envoy/check.ts';
import type { CheckCall } from '../../../src/envoy/check.ts';
import { createKeySets } from '../../../src/facts/key-set.ts';
import { createLoader } from '../../../src/revision.ts';
import type { Loaded, Revision } from '../../../src/revision.ts';
import { createStatus } from '../../../src/status.ts';
import type { Status } from '../../../src/status.ts';
import { encodeRequest } from '../../envoy/official.ts';

export interface Pages {
  readonly origin: string;
  readonly status: Status;
  /** Sends a check; the headers may name who asks (`x-forwarded-email`) and from where (`x-country`). */
  ask(host: string, path: string, headers?: Record<string, string>): Promise<void>;
  /** Makes other policies live. */
  change(policies: string): Promise<void>;
  tokens: readonly AdminToken[];
  stop(): Promise<void>;
}

export async function servePages(policies: string, address = '127.0.0.1:0'): Promise<Pages> {
  const folder = mkdtempSync(join(tmpdir(), 'postern-status-'));
  mkdirSync(join(folder, 'policies'));
  writeFileSync(
    join(folder, 'postern.yaml'),
    'identity: { headers: { enabled: true }, providers: [{ id: 11111111-1111-1111-1111-111111111111, name: "Okta <b>", type: okta }] }\ngeo: { headers: { country: x-country } }\n',
  );
  const loader = createLoader({ folder, overrides: [], keySets: createKeySets(), makesKeys: false });
  const read = async (text: string): Promise<Loaded & { readonly revision: Revision }> => {
    writeFileSync(join(folder, 'policies/all.yaml'), text);
    const loaded = await loader.load();
    const { revision } = loaded;
    if (!revision) throw new Error(JSON.stringify(loaded.faults, null, 1));
    return { ...loaded, revision };
  };
  let loaded = await read(policies);
  const pages = { tokens: [] as readonly AdminToken[] };
  const status = createStatus({
    current: () => loaded.revision,
    tokens: () => pages.tokens,
    isReady: () => true,
    nowMs: Date.now,
  });
  status.live();
  const check = createCheck({
    snapshot: () => loaded.revision.snapshot,
    nowMs: Date.now,
    monotonicMs: () => performance.now(),
    newId: () => crypto.randomUUID(),
    settle: (decision) => ({ decision, attempt: 1 }),
    watch: {
      stage: () => undefined,
      fact: () => undefined,
      finished: (one) => status.record(one),
      failed(error) {
        throw error;
      },
    },
  });
  const server = await startAdminServer({
    address,
    tokens: () => pages.tokens,
    root: status.pages.root,
    routes: status.pages.routes,
    groups: [
      {
        prefix: '/guarded',
        routes: [{ method: 'GET', path: '/guarded/thing', scope: 'read', handle: () => ({ status: 200 }) }],
      },
    ],
    failed(error) {
      console.error(error);
    },
  });
  return Object.assign(pages, {
    origin: `http://${server.address}`,
    status,
    async ask(host: string, path: string, headers: Record<string, string> = {}) {
      await check(
        encodeRequest({
          attributes: {
            source: { address: { socket_address: { address: '203.0.113.7', port_value: 1 } } },
            request: { http: { method: 'GET', host, path, headers } },
          },
        }),
        CALL,
      );
    },
    async change(text: string) {
      loaded = await read(text);
      status.live();
    },
    async stop() {
      await server.stop(0);
      rmSync(folder, { recursive: true });
    },
  });
}

/** Chromium as Debian packages it; `node test/real-parts.mjs chromium` installs it. */
export async function openBrowser(): Promise<Browser> {
  const executablePath = '/usr/bin/chromium';
  if (!existsSync(executablePath)) throw new Error('expected Chromium, found none: node test/real-parts.mjs chromium');
  return chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] });
}

export function token(name: string, secret: string, scopes: readonly string[]): AdminToken {
  return { name, sha256: createHash('sha256').update(secret).digest('hex'), scopes };
}

export const POLICIES = `applications:
  - id: 9a4b2f0e-3f55-4a57-9b0e-000000000001
    name: Orders
    destinations: [orders.example.com, "*.shop.example.com/admin*"]
    policies:
      - { name: Contractors, decision: deny, include: [{ email_domain: { domain: partner.example } }] }
      - name: Engineers
        decision: allow
        include: [{ group: { id: 8f1c0000-0000-4000-8000-000000000001 } }]
        require: [{ geo: { country_code: CA } }]
  - id: 9a4b2f0e-3f55-4a57-9b0e-000000000002
    name: Site
    destinations: [www.example.com]
    policies: [{ name: Everybody, decision: bypass, include: [{ ip: { ip: 203.0.113.0/24 } }] }]
groups:
  - id: 8f1c0000-0000-4000-8000-000000000001
    name: Engineering
    include: [{ email_domain: { domain: example.com } }, { email: { email: ann@other.example } }]
`;

const CALL: CheckCall = { deadlineMs: Infinity, signal: new AbortController().signal, cancelled: false };
