/** What a request's body says of a transaction, through real Envoys that send it along. */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ENVOY_PROGRAM, ROOT, envoyFile, startEnvoy, startPostern, startUpstream } from '../../src/demo/parts.ts';
import type { Envoy, Part } from '../../src/demo/parts.ts';
import { keySetBytes, pairFor, publicJwk } from '../facts/token-maker.ts';
import { IDENTITY, ORDERS, annToken } from '../facts/whole-check.ts';

const VERSIONS: [string, string][] = [
  ['1.40.0', ENVOY_PROGRAM],
  ['1.36.2', `${ROOT}.venv-envoy-1.36.2/bin/envoy`],
];

const MAX_BYTES = 256;

const POLICIES = `
applications:
  - id: ${ORDERS}
    name: Payments
    destinations: [pay.example.com]
    policies: [{ name: Staff, decision: allow, include: [{ email_domain: { domain: example.com } }] }]
    transaction: { amount: { body: /payment/amount }, account: { header: x-account }, kind: { query: kind } }
transaction_rules:
  - { id: 11111111-0000-4000-8000-000000000001, name: large, item: amount, type: Numeric, operator: GREATER_THAN, value: 1000 }
  - { id: 11111111-0000-4000-8000-000000000002, name: abroad, item: account, type: String, operator: NOT_EQUALS, value: home, default: home }
  - { id: 11111111-0000-4000-8000-000000000003, name: gift, item: kind, type: String, operator: EQUALS, value: gift }
resource_rules:
  - id: 0c3c0000-0000-4000-8000-000000000001
    name: Large payments
    resourceId: ${ORDERS}
    groups: [{ name: All Groups }]
    transactionContexts:
      - name: payment
        riskPoint: 100
        transactionRuleRisks: [{ transactionRuleId: large, riskPoint: 50 }, { transactionRuleId: abroad, riskPoint: 50 }, { transactionRuleId: gift, riskPoint: 50 }]
    lowRiskAuthenticationFlow: { name: Password }
    mediumRiskAuthenticationFlow: { name: Password }
    highRiskAuthenticationFlow: { name: Password and Second Factor }
`;

describe.each(VERSIONS)('Envoy %s', (version, program) => {
  const begun: Part[] = [];
  let envoy: Envoy;
  const work = mkdtempSync(join(tmpdir(), 'postern-envoy-body-'));

  beforeAll(async () => {
    if (!existsSync(program)) {
      throw new Error(`Envoy ${version} is missing at ${program}; get it with: node test/real-parts.mjs envoy`);
    }
    const config = join(work, 'config');
    mkdirSync(join(config, 'policies'), { recursive: true });
    writeFileSync(join(config, 'postern.yaml'), IDENTITY);
    writeFileSync(join(config, 'policies/all.yaml'), POLICIES);
    mkdirSync(join(config, 'keys'));
    writeFileSync(join(config, 'keys/jwks.json'), keySetBytes(publicJwk(pairFor('ES256'), { kid: 'k1' })));
    const upstream = await startUpstream();
    begun.push(upstream);
    const postern = await startPostern(config);
    begun.push(postern);
    const ports = { listener: 0, upstream: upstream.port, postern: Number(postern.check.split(':').at(-1)) };
    const shipped = envoyFile(ports);
    const file = shipped.replace(/# (with_request_body: \{ max_request_bytes: )65536/, `$1${MAX_BYTES}`);
    expect(file).not.toBe(shipped);
    envoy = await startEnvoy(program, file, work);
    begun.push(envoy);
  });

  afterAll(async () => {
    for (const part of begun.toReversed()) await part.stop();
    rmSync(work, { recursive: true, force: true });
  });

  /** The status; the chunks are sent one by one, as they are. */
  const send = (
    chunks: readonly string[],
    headers: Readonly<Record<string, string | readonly string[]>> = {},
    path = '/',
  ): Promise<number> =>
    new Promise((resolve, reject) => {
      const call = httpRequest(
        {
          host: '127.0.0.1',
          port: envoy.port,
          method: 'POST',
          path,
          agent: false,
          headers: {
            host: 'pay.example.com',
            authorization: `Bearer ${annToken()}`,
            'content-type': 'application/json',
            ...headers,
          },
        },
        (response) => {
          response.resume();
          response.on('end', () => resolve(response.statusCode ?? 0));
        },
      );
      call.on('error', reject);
      void (async () => {
        for (const chunk of chunks) await new Promise((done) => call.write(chunk, done));
        call.end();
      })();
    });
  const pay = (amount: string): string => `{"payment":{"amount":${amount},"currency":"EUR"}}`;
  const spaces = (bytes: number): string => ' '.repeat(bytes);

  it.each<[string, readonly string[], Readonly<Record<string, string>>, number]>([
    ['an amount above the limit', [pay('1001')], {}, 401],
    ['an amount at the limit', [pay('1000')], {}, 200],
    ['far above', [pay('"123456789012345678901234567890"')], {}, 401],
    ['a number that no double holds', [pay('123456789012345678901234567890')], {}, 401],
    ['in two chunks', [pay('999').slice(0, 20), pay('999').slice(20)], {}, 200],
    ['with its length', [pay('999')], { 'content-length': String(pay('999').length) }, 200],
    ['as long as is sent along', [pay('999') + spaces(MAX_BYTES - pay('999').length)], {}, 200],
    ['longer than is sent along: cut', [pay('999') + spaces(MAX_BYTES)], {}, 401],
    [
      'cut where the buffer is full, the rest still on its way',
      [pay('999') + spaces(MAX_BYTES - pay('999').length), spaces(10)],
      { 'content-length': String(MAX_BYTES + 10) },
      401,
    ],
    ['a member twice', ['{"payment":{"amount":1,"amount":5000}}'], {}, 401],
    ['no JSON', ['payment=5000'], { 'content-type': 'application/x-www-form-urlencoded' }, 401],
    ['compressed, who knows', [pay('1')], { 'content-encoding': 'gzip' }, 401],
    ['nothing', [], { 'content-length': '0' }, 200],
  ])('%s', async (_, chunks, headers, status) => {
    expect(await send(chunks, headers)).toBe(status);
  });

  it.each<[string, Readonly<Record<string, string | readonly string[]>>, string, number]>([
    ['a header once', { 'x-account': 'home' }, '/', 200],
    ['a header twice', { 'x-account': ['home', 'home'] }, '/', 401],
    ['a header with a comma', { 'x-account': 'home,away' }, '/', 401],
    ['a parameter once', {}, '/?kind=rent', 200],
    ['a parameter twice', {}, '/?kind=rent&kind=rent', 401],
    ['a parameter twice, once escaped', {}, '/?kind=rent&%6bind=rent', 401],
  ])('%s', async (_, headers, path, status) => {
    expect(await send([pay('1')], headers, path)).toBe(status);
  });

  it('a partial header of the client’s own changes nothing', async () => {
    expect(await send([pay('1001')], { 'x-envoy-auth-partial-body': 'false' })).toBe(401);
    expect(await send([pay('999') + spaces(MAX_BYTES)], { 'x-envoy-auth-partial-body': 'false' })).toBe(401);
    expect(await send([pay('999')], { 'x-envoy-auth-partial-body': 'true' })).toBe(200);
  });
});
