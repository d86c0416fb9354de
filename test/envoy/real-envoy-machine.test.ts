/** The machine cookie through real Envoys: it reaches the browser on an allow, beside the upstream's own cookies, and
 *  nobody else at any other time. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { IncomingHttpHeaders, Server } from 'node:http';
import { request as httpRequest } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ENVOY_PROGRAM, ROOT, envoyFile, startEnvoy, startPostern } from '../../src/demo/parts.ts';
import type { Envoy, Part } from '../../src/demo/parts.ts';
import { learningFolder, NAVIGATION, strong, weak } from '../learning-program.ts';

const VERSIONS: [string, string][] = [
  ['1.40.0', ENVOY_PROGRAM],
  ['1.36.2', `${ROOT}.venv-envoy-1.36.2/bin/envoy`],
];

const ORDERS = '9a4b2f0e-3f55-4a57-9b0e-000000000001';
const POLICIES = `applications: [{ id: ${ORDERS}, name: Orders, destinations: [orders.example.com], policies: [{ name: A, decision: allow, include: [{ email_domain: { domain: example.com } }] }] }]
resource_rules: [{ id: 0c3c0000-0000-4000-8000-000000000001, name: Machines, resourceId: ${ORDERS}, groups: [{ name: All Groups }], machineContext: { riskPoint: 100 }, lowRiskAuthenticationFlow: { name: Password }, highRiskAuthenticationFlow: { name: Password and Second Factor } }]
`;
const FIREFOX = { 'user-agent': 'Firefox', 'accept-language': 'pt' };

describe.each(VERSIONS)('Envoy %s', (version, program) => {
  const begun: Part[] = [];
  let upstream: Server;
  let envoy: Envoy;
  const folders: string[] = [];

  beforeAll(async () => {
    if (!existsSync(program)) {
      throw new Error(`Envoy ${version} is missing at ${program}; get it with: node test/real-parts.mjs envoy`);
    }
    upstream = createServer((request, response) => {
      response.setHeader('set-cookie', ['session=1; Path=/', 'theme=dark']);
      response.end(JSON.stringify(request.headers));
    });
    await new Promise<void>((resolve) => {
      upstream.listen(0, '127.0.0.1', resolve);
    });
    const config = learningFolder({ 'policies/all.yaml': POLICIES });
    const work = mkdtempSync(join(tmpdir(), 'postern-machine-'));
    folders.push(config, work);
    const postern = await startPostern(config);
    begun.push({ stop: () => postern.kill() });
    const ports = {
      listener: 0,
      upstream: (upstream.address() as AddressInfo).port,
      postern: Number(postern.check.split(':').at(-1)),
    };
    envoy = await startEnvoy(program, envoyFile(ports), work);
    begun.push(envoy);
  });

  afterAll(async () => {
    for (const part of begun.toReversed()) await part.stop();
    upstream.closeAllConnections();
    upstream.close();
    for (const folder of folders) rmSync(folder, { recursive: true, force: true });
  });

  interface Page {
    readonly status: number;
    readonly setCookies: readonly string[];
    /** What reached the upstream; undefined: nothing did. */
    readonly forwarded: IncomingHttpHeaders | undefined;
  }

  function open(token: string, headers: Readonly<Record<string, string>> = {}): Promise<Page> {
    return new Promise((resolve, reject) => {
      const sent = {
        host: 'orders.example.com',
        authorization: `Bearer ${token}`,
        ...NAVIGATION,
        ...FIREFOX,
        ...headers,
      };
      const call = httpRequest({ host: '127.0.0.1', port: envoy.port, headers: sent, agent: false }, (response) => {
        let body = '';
        response.setEncoding('utf8');
        response.on('data', (text: string) => (body += text));
        response.on('error', reject);
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            setCookies: response.headers['set-cookie'] ?? [],
            forwarded: response.statusCode === 200 ? (JSON.parse(body) as IncomingHttpHeaders) : undefined,
          }),
        );
      });
      call.on('error', reject);
      call.end();
    });
  }

  it('comes with the allow of a strong login, goes on with the next event, and a copy of it steps up', async () => {
    const who = { user: 'ann' };
    const refused = await open(weak(-5, who));
    expect(refused).toEqual({ status: 401, setCookies: [], forwarded: undefined });

    const let_in = await open(strong(-4, who));
    expect(let_in.status).toBe(200);
    const [own, other, ours = '', ...more] = let_in.setCookies;
    expect([own, other, more]).toEqual(['session=1; Path=/', 'theme=dark', []]);
    expect(ours).toMatch(
      /^__Host-postern-machine=[\w-]{22}\.[\w-]{22}; Path=\/; Secure; HttpOnly; SameSite=Lax; Max-Age=7776000$/,
    );
    const cookie = ours.split(';')[0] ?? '';
    expect(JSON.stringify(let_in.forwarded)).not.toContain('postern-machine');

    const known = await open(weak(-3, who), { cookie: `session=1; ${cookie}` });
    expect(known.status).toBe(200);
    const [, , renewed = ''] = known.setCookies;
    expect(renewed.split('.')[0]).toBe(cookie.split('.')[0]);
    expect(renewed).not.toContain(cookie);
    expect((await open(weak(-3, who), { cookie })).setCookies).toEqual(['session=1; Path=/', 'theme=dark']);

    const copied = await open(weak(-2, who), { cookie, 'user-agent': 'Other', 'accept-language': 'ja' });
    expect(copied).toEqual({ status: 401, setCookies: [], forwarded: undefined });
    const forged = await open(weak(-1, who), { 'set-cookie': ours, cookie: `${cookie}; ${cookie}` });
    expect(forged).toEqual({ status: 401, setCookies: [], forwarded: undefined });
  });
});
