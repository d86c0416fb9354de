/** The machine cookie in real browsers: over https through real Envoy, kept by the one that was registered, and worth
 *  nothing in another that it was copied to. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import type { Browser, BrowserContext, BrowserContextOptions } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ENVOY_PROGRAM, envoyFile, startEnvoy, startPostern, startUpstream } from '../../src/demo/parts.ts';
import type { Envoy, Part } from '../../src/demo/parts.ts';
import { selfSigned } from '../facts/self-signed.ts';
import { learningFolder, strong, weak } from '../learning-program.ts';

const CHROMIUM = '/usr/bin/chromium';
const ORDERS = '9a4b2f0e-3f55-4a57-9b0e-000000000001';
const COOKIE = '__Host-postern-machine';
const POLICIES = `applications: [{ id: ${ORDERS}, name: Orders, destinations: [orders.example.test], policies: [{ name: A, decision: allow, include: [{ email_domain: { domain: example.com } }] }] }]
resource_rules: [{ id: 0c3c0000-0000-4000-8000-000000000001, name: Machines, resourceId: ${ORDERS}, groups: [{ name: All Groups }], machineContext: { riskPoint: 100 }, lowRiskAuthenticationFlow: { name: Password }, highRiskAuthenticationFlow: { name: Password and Second Factor } }]
`;

const begun: Part[] = [];
const folders: string[] = [];
let envoy: Envoy;
let browser: Browser;

beforeAll(async () => {
  for (const [path, name] of [
    [ENVOY_PROGRAM, 'envoy'],
    [CHROMIUM, 'chromium'],
  ] as const) {
    if (!existsSync(path)) throw new Error(`${path} is missing; get it with: node test/real-parts.mjs ${name}`);
  }
  const work = mkdtempSync(join(tmpdir(), 'postern-browser-'));
  const config = learningFolder({ 'policies/all.yaml': POLICIES });
  folders.push(work, config);
  const upstream = await startUpstream();
  begun.push(upstream);
  const postern = await startPostern(config);
  begun.push({ stop: () => postern.kill() });
  const ports = { listener: 0, upstream: upstream.port, postern: Number(postern.check.split(':').at(-1)) };
  envoy = await startEnvoy(ENVOY_PROGRAM, overTls(envoyFile(ports), work), work);
  begun.push(envoy);
  browser = await chromium.launch({
    executablePath: CHROMIUM,
    args: ['--no-sandbox', `--host-resolver-rules=MAP orders.example.test 127.0.0.1:${envoy.port}`],
  });
  begun.push({ stop: () => browser.close() });
}, 120_000);

afterAll(async () => {
  for (const part of begun.toReversed()) await part.stop();
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

it('is kept by the browser that was registered; copied to another one it is stepped up', async () => {
  const own = await browser.newContext({ ignoreHTTPSErrors: true, locale: 'pt-PT' });
  const steps: string[] = [];
  const visit = async (context: BrowserContext, who: string, token: string): Promise<void> => {
    await context.setExtraHTTPHeaders({ authorization: `Bearer ${token}` });
    const page = await context.newPage();
    const answer = await page.goto('https://orders.example.test/');
    const setCookie = (await answer?.headersArray())?.some(
      ({ name, value }) => name.toLowerCase() === 'set-cookie' && value.startsWith(`${COOKIE}=`),
    );
    await page.close();
    steps.push(`${who} ${answer?.status()}${setCookie === true ? ' cookie' : ''}`);
  };

  await visit(own, 'weak, a stranger', weak(-9));
  await visit(own, 'strong', strong(-8));
  const [first, ...others] = await own.cookies();
  expect(others).toEqual([]);
  expect(first).toMatchObject({
    name: COOKIE,
    domain: 'orders.example.test',
    path: '/',
    secure: true,
    httpOnly: true,
    sameSite: 'Lax',
  });
  const days = (Number(first?.expires) - Date.now() / 1000) / 86_400;
  expect(days).toBeGreaterThan(89);
  expect(days).toBeLessThanOrEqual(90);

  const weakLogin = weak(-7);
  await visit(own, 'weak, known', weakLogin);
  await visit(own, 'weak, again', weakLogin);

  const elsewhere: BrowserContextOptions = { ignoreHTTPSErrors: true, locale: 'ja-JP', userAgent: 'Another browser' };
  const thief = await browser.newContext(elsewhere);
  await thief.addCookies(await own.cookies());
  await visit(thief, 'weak, copied', weak(-6));
  const without = await browser.newContext({ ignoreHTTPSErrors: true, locale: 'pt-PT' });
  await visit(without, 'weak, no cookie', weak(-5));
  await visit(own, 'weak, still known', weak(-4));
  expect(steps).toEqual([
    'weak, a stranger 401',
    'strong 200 cookie',
    'weak, known 200 cookie',
    'weak, again 200',
    'weak, copied 401',
    'weak, no cookie 401',
    'weak, still known 200 cookie',
  ]);
}, 120_000);

/** The same Envoy file, with a certificate of its own for clients. */
function overTls(text: string, place: string): string {
  selfSigned(place);
  const socket = `        - transport_socket:
            name: envoy.transport_sockets.tls
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
              common_tls_context: { tls_certificates: [{ certificate_chain: { filename: ${place}/server.pem }, private_key: { filename: ${place}/server.key } }] }
          filters:
`;
  const edited = text.replace('        - filters:\n', socket);
  if (edited === text) throw new Error('the Envoy file has no filter chain where one was expected');
  return edited;
}
