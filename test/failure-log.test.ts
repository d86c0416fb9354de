import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createFailureLog } from '../src/failure-log.ts';
import type { LogFields } from '../src/log.ts';
import { decodeResponse, encodeRequest, metadataOf } from './envoy/official.ts';
import { startKeyServer } from './facts/key-server.ts';
import { AUDIENCE, ISSUER, tokenOf } from './facts/token-maker.ts';
import { eventually, serve } from './served.ts';

interface Setup {
  readonly lines: { readonly message: string; readonly fields: LogFields | undefined }[];
  fail(kind: string, times?: number): void;
  /** A second passes. */
  pass(): void;
}

function setup(): Setup {
  const lines: { message: string; fields: LogFields | undefined }[] = [];
  let due: (() => void)[] = [];
  let count = 0;
  const log = createFailureLog({
    logger: { error: (message, fields) => void lines.push({ message, fields }) },
    schedule(run, delayMs) {
      expect(delayMs).toBe(1000);
      due.push(run);
    },
  });
  return {
    lines,
    fail(kind, times = 1) {
      for (let one = 0; one < times; one += 1) log(kind, `${kind} failed`, { number: (count += 1) });
    },
    pass() {
      const runs = due;
      due = [];
      for (const run of runs) run();
    },
  };
}

describe('the log of failures', () => {
  it('writes the first at once, and counts the others of its second in one line', () => {
    const { lines, fail, pass } = setup();
    fail('overloaded', 1000);
    expect(lines).toEqual([{ message: 'overloaded failed', fields: { kind: 'overloaded', number: 1 } }]);
    pass();
    expect(lines.slice(1)).toEqual([
      { message: 'overloaded failed', fields: { kind: 'overloaded', number: 1000, suppressed: 999 } },
    ]);
  });

  it('writes one line a second however long it lasts, and none is lost from the count', () => {
    const { lines, fail, pass } = setup();
    for (let second = 0; second < 60; second += 1) {
      fail('overloaded', 500);
      pass();
    }
    expect(lines).toHaveLength(61);
    const told = lines.map(({ fields }) => Number(fields?.['suppressed'] ?? 1));
    expect(told.reduce((sum, one) => sum + one, 0)).toBe(60 * 500);
  });

  it('is quiet after a quiet second, and begins again', () => {
    const { lines, fail, pass } = setup();
    fail('late');
    pass();
    pass();
    expect(lines).toHaveLength(1);
    fail('late');
    expect(lines).toHaveLength(2);
  });

  it('lets no kind hide another', () => {
    const { lines, fail } = setup();
    fail('overloaded', 100);
    fail('thrown');
    expect(lines.map(({ fields }) => fields?.['kind'])).toEqual(['overloaded', 'thrown']);
  });
});

it('a program with too many checks waiting refuses the others at once, and says so in a few lines that count them all', async () => {
  const keys = await startKeyServer();
  // Whoever needs keys waits.
  keys.answer(() => undefined);
  const folder = mkdtempSync(join(tmpdir(), 'postern-flood-'));
  mkdirSync(join(folder, 'policies'));
  writeFileSync(
    join(folder, 'postern.yaml'),
    `identity: { tokens: [{ issuer: "${ISSUER}", audiences: [${AUDIENCE}], keys: { url: "${keys.url}" } }] }\nlog: { decisions: none }\n`,
  );
  writeFileSync(
    join(folder, 'policies/all.yaml'),
    'applications: [{ id: 9a4b2f0e-3f55-4a57-9b0e-000000000001, name: Orders, destinations: [orders.example.com], policies: [{ name: A, decision: allow, include: [{ everyone: {} }] }] }]\n',
  );
  const served = await serve(folder);
  try {
    const authorization = `Bearer ${tokenOf()}`;
    const request = encodeRequest({
      attributes: {
        request: { http: { method: 'GET', host: 'orders.example.com', path: '/', headers: { authorization } } },
      },
    });
    const answers = await Promise.all(Array.from({ length: 1_400 }, () => served.client.check(request)));
    const reasons = answers.map((answer) => metadataOf(decodeResponse(answer))['reason']);
    const refused = reasons.filter((reason) => reason === 'overloaded').length;
    expect(refused).toBeGreaterThan(0);
    expect(reasons.filter((reason) => reason !== 'overloaded' && reason !== 'fact_unavailable')).toEqual([]);
    const lines = await eventually(() => {
      const found = served
        .text()
        .split('\n')
        .filter((line) => line.includes('"kind":"overloaded"'))
        .map((line) => JSON.parse(line) as { suppressed?: number });
      return found.reduce((sum, { suppressed = 1 }) => sum + suppressed, 0) === refused ? found : undefined;
    }, served.text);
    expect(lines.length).toBeLessThan(refused / 4);
    const metrics = await (await fetch(`http://${served.admin}/metrics`)).text();
    expect(metrics).toContain(`postern_check_failures_total{kind="overloaded"} ${refused}\n`);
  } finally {
    await served.kill();
    await keys.close();
    rmSync(folder, { recursive: true, force: true });
  }
}, 60_000);
