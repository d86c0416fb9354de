/** What serve decided, explain says and a replay repeats: through the program, its log and the commands. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { explanationShape } from '../src/cases/explanation.ts';
import { decideRequest } from '../src/cases/stated.ts';
import { diff } from '../src/cli/diff.ts';
import { explain } from '../src/cli/explain.ts';
import { explainerOf, loadOffline } from '../src/cli/offline.ts';
import { readRequestJson, requestBytes } from '../src/envoy/request-json.ts';
import { statedAgainst } from '../src/revision.ts';
import { folderWith, removeFolders, SETTINGS } from './cases/folders.ts';
import { DATA, hosts } from './cases/many.ts';
import { run } from './cases/terminal.ts';
import { decodeResponse, metadataOf } from './envoy/official.ts';
import { keySetBytes, pairFor, publicJwk, tokenOf } from './facts/token-maker.ts';
import { eventually, serve } from './served.ts';
import type { Served } from './served.ts';

const NOW = Math.floor(Date.now() / 1000);

const FILES = {
  'postern.yaml':
    SETTINGS.replace('{ url: "https://login.example.com/keys" }', '{ file: keys.json }').replace(
      '[postern]',
      '[orders]',
    ) + 'log: { decisions: all, requests: replay }\n',
  'keys.json': Buffer.from(keySetBytes(publicJwk(pairFor('ES256'), { kid: 'k1' }))).toString(),
  'policies/all.json': JSON.stringify(DATA),
};

const times = { iat: NOW - 60, exp: NOW + 3600, auth_time: NOW - 120 };

const TOKENS = {
  nobody: undefined,
  ann: tokenOf({ claims: { ...times, amr: ['pwd'], groups: ['staff'], dept: 'eng', team: 'core' } }),
  bob: tokenOf({
    claims: {
      ...times,
      sub: 'bob',
      email: 'bob@other.example',
      amr: ['pwd', 'otp', 'mfa'],
      user_risk_score: 'low',
      devicePosture: { disk: { success: true } },
    },
  }),
  old: tokenOf({ claims: { ...times, iat: NOW - 7200, amr: ['pwd'] } }),
  expired: tokenOf({ claims: { ...times, exp: NOW - 3600 } }),
  forged: tokenOf({ pair: pairFor('ES256', 'another'), claims: times }),
};

const WHERE = [
  { address: '203.0.113.7', country: 'FR' },
  { address: '192.0.2.9', country: 'CA' },
  { address: '192.0.2.9', country: 'FR' },
  { address: '10.0.0.1', country: '??' },
];

interface Sent {
  readonly json: unknown;
  readonly host: string;
  readonly metadata: Record<string, string | number | undefined>;
}

let folder: string;
let served: Served;
const sent: Sent[] = [];
let log: string;

beforeAll(async () => {
  folder = folderWith(FILES);
  served = await serve(folder);
  for (const [, host] of hosts) {
    for (const token of Object.values(TOKENS)) {
      for (const { address, country } of WHERE) {
        const json = {
          attributes: {
            source: { address: { socketAddress: { address, portValue: 4000 } } },
            request: {
              time: '2026-03-04T08:30:00Z',
              http: {
                method: 'GET',
                host,
                path: '/api?secret=MARKER7f3a',
                headers: {
                  'cf-ipcountry': country,
                  ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
                  cookie: 'a=MARKER7f3a',
                },
              },
            },
          },
        };
        const metadata = metadataOf(decodeResponse(await served.client.check(requestBytes(json))));
        sent.push({ json, host, metadata });
      }
    }
  }
  const lines = await eventually(
    () => {
      const found = served
        .text()
        .split('\n')
        .filter((line) => line.includes('"msg":"decision"'));
      return found.length >= sent.length ? found : undefined;
    },
    () => served.text(),
  );
  log = join(folder, '..', `${folder.split('/').at(-1)}.log`);
  writeFileSync(log, `${lines.join('\n')}\n`);
}, 120_000);

afterAll(async () => {
  await served.kill();
  removeFolders();
});

describe('what serve decided', () => {
  it('is of many kinds', () => {
    expect(sent.length).toBeGreaterThan(250);
    const reasons = new Set(sent.map(({ metadata }) => metadata['reason']));
    expect([...reasons].toSorted()).toEqual(
      expect.arrayContaining([
        'fact_unavailable',
        'no_policy_matched',
        'not_authenticated',
        'policy_allowed',
        'policy_bypassed',
        'session_expired',
        'step_up_required',
        'token_invalid',
      ]),
    );
  });

  it('is what an explanation says of each, with the lines that decided', async () => {
    const { revision } = await loadOffline(folder, []);
    if (!revision) throw new Error('no revision');
    const explainer = explainerOf(revision);
    for (const { json, host, metadata } of sent) {
      const request = readRequestJson(json);
      if ('reason' in request) throw new Error(request.why);
      const { context } = await decideRequest(
        request,
        {
          request: {},
          identity: undefined,
          history: undefined,
          machine: undefined,
          engines: undefined,
          evaluations: undefined,
        },
        statedAgainst(revision),
        Date.now(),
      );
      const { decision, decidedBy, application } = explainer.explain(host, request.path, context, { changes: false });
      expect({
        outcome: decision.outcome,
        reason: decision.reason,
        application: application?.name,
        policy: decision.policy?.name,
        resource_rule: decision.resourceRule?.name,
        risk_level: decision.riskLevel,
        risk_score: decision.riskScore,
      }).toEqual({
        outcome: metadata['outcome'],
        reason: metadata['reason'] === 'step_up_exhausted' ? 'step_up_required' : metadata['reason'],
        application: metadata['application'],
        policy: metadata['policy'],
        resource_rule: metadata['resource_rule'],
        risk_level: metadata['risk_level'],
        risk_score: metadata['risk_score'],
      });
      expect(decidedBy.length).toBeGreaterThan(0);
      for (const { at } of decidedBy)
        expect(at).toMatchObject({ file: 'policies/all.json', line: expect.any(Number) as number });
    }
  });

  it('is what the command says, without a word of token, cookie or query', { timeout: 120_000 }, async () => {
    const some = sent.filter((_, index) => index % 37 === 0);
    for (const { json, metadata } of some) {
      const { code, out, error } = await run(explain, ['--config', folder, '--json', '-'], JSON.stringify(json));
      expect({ code, error }).toEqual({ code: 0, error: '' });
      const told = explanationShape.parse(JSON.parse(out));
      expect({ outcome: told.outcome, reason: told.reason }).toEqual({
        outcome: metadata['outcome'],
        reason: metadata['reason'],
      });
      expect(out).not.toContain('MARKER7f3a');
      for (const token of Object.values(TOKENS))
        for (const part of token?.split('.') ?? []) expect(out).not.toContain(part);
    }
  });

  it('is in the log without a word of them either', () => {
    const lines = served.text();
    expect(lines).not.toContain('MARKER7f3a');
    for (const token of Object.values(TOKENS))
      for (const part of token?.split('.') ?? []) expect(lines).not.toContain(part);
  });
});

describe('a replay of the log', () => {
  interface Told {
    readonly requests: {
      readonly lines: number;
      readonly replayed: number;
      readonly same: number;
      readonly groups: readonly { readonly loosens: boolean; readonly count: number }[];
      readonly left: object;
    };
    readonly denied_becomes_allowed: boolean;
    readonly objects: readonly { readonly words: readonly string[] }[];
  }

  it('on the same revision gives the same decisions, every one', async () => {
    const { code, out } = await run(diff, [folder, folder, '--requests', log, '--json']);
    expect(code).toBe(0);
    const { requests, objects } = JSON.parse(out) as Told;
    expect(objects).toEqual([]);
    expect(requests).toEqual({ lines: sent.length, replayed: sent.length, same: sent.length, groups: [], left: {} });
  });

  it('explains each line as it was decided', { timeout: 120_000 }, async () => {
    const lines = (await run(diff, [folder, folder, '--requests', log])).out;
    expect(lines).toContain(
      `recorded requests: ${sent.length} of ${sent.length} decided again, ${sent.length} as before`,
    );
    const some = served
      .text()
      .split('\n')
      .filter((line) => line.includes('"msg":"decision"'))
      .filter((_, index) => index % 41 === 0);
    for (const line of some) {
      const { out } = await run(explain, ['--config', folder, '--json', '-'], line);
      const { outcome, reason } = JSON.parse(line) as { outcome: string; reason: string };
      expect(explanationShape.parse(JSON.parse(out))).toMatchObject({ outcome, reason });
    }
  });

  it('on a looser revision names what becomes allowed, and exits 3 unless it is meant', async () => {
    const looser = folderWith({
      ...FILES,
      'policies/all.json': FILES['policies/all.json'].replace(
        '"require":[{"geo":{"country_code":"CA"}}]',
        '"require":[{"geo":{"country_code":"FR"}}]',
      ),
    });
    const { code, out } = await run(diff, [folder, looser, '--requests', log, '--json']);
    expect(code).toBe(3);
    const told = JSON.parse(out) as Told;
    expect(told.denied_becomes_allowed).toBe(true);
    expect(told.objects).toMatchObject([
      { words: ['policy Allow: require: + geo country_code: FR', 'policy Allow: require: − geo country_code: CA'] },
    ]);
    expect(told.requests.groups.some(({ loosens, count }) => loosens && count > 0)).toBe(true);
    expect(told.requests.groups.some(({ loosens }) => !loosens)).toBe(true);
    const changed = told.requests.groups.reduce((sum, { count }) => sum + count, 0);
    expect(told.requests.same + changed).toBe(told.requests.replayed);
    expect((await run(diff, [folder, looser, '--requests', log, '--accept'])).code).toBe(0);
  });

  it('says which requests a revision cannot be judged by, because it reads what was not recorded', async () => {
    const other = folderWith({
      ...FILES,
      'policies/all.json': FILES['policies/all.json'].replace(
        '"include":[{"login_method"',
        '"include":[{"certificate":{}},{"login_method"',
      ),
    });
    const { out } = await run(diff, [folder, other, '--requests', log, '--json']);
    expect((JSON.parse(out) as Told).requests.left).toEqual({
      'not recorded: certificate': Object.keys(TOKENS).length * WHERE.length,
    });
  });
});
