/** The certificate of the check port: one that has ended is never taken up in place of one that has not, and says so. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createCheckTls } from '../src/check-tls.ts';
import type { CheckTls } from '../src/check-tls.ts';
import type { TlsMaterial } from '../src/envoy/server.ts';
import { eventually, serve } from './served.ts';
import type { Served } from './served.ts';

const DAY_MS = 24 * 3_600_000;
const place = mkdtempSync(join(tmpdir(), 'postern-check-tls-'));
let brief: TlsMaterial;
let long: TlsMaterial;
let ended: TlsMaterial;

beforeAll(() => {
  [brief, long, ended] = [issued('brief', 5), issued('long', 30), issued('ended', -1)];
});

afterAll(() => rmSync(place, { recursive: true, force: true }));

function issued(name: string, days: number): TlsMaterial {
  const file = (suffix: string): string => join(place, `${name}.${suffix}`);
  const openssl = (line: string): void => void execFileSync('openssl', line.split(' '), { stdio: 'ignore' });
  openssl(
    `req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=${name} -keyout ${file('key')} -out ${file('csr')}`,
  );
  openssl(`x509 -req -in ${file('csr')} -signkey ${file('key')} -days ${days} -out ${file('pem')}`);
  return { certificate: readFileSync(file('pem'), 'utf8'), key: readFileSync(file('key'), 'utf8') };
}

describe('the material that the check port shows', () => {
  const lines: string[] = [];
  let shown: TlsMaterial[];
  let now: number;
  let fails: boolean;

  beforeEach(() => {
    lines.length = 0;
    shown = [];
    now = Date.now();
    fails = false;
  });

  function started(first: TlsMaterial | undefined): CheckTls {
    const server = {
      replaceTls(material: TlsMaterial) {
        if (fails) throw new Error('no pair');
        shown.push(material);
      },
    };
    const logger = { info: (text: string) => void lines.push(text), error: (text: string) => void lines.push(text) };
    return createCheckTls(server, first, logger, () => now);
  }

  it('is replaced by what is new, and by nothing else', () => {
    const tls = started(brief);
    tls.offer({ ...brief });
    tls.offer(undefined);
    expect([shown, lines, tls.hasEnded()]).toEqual([[], [], false]);
    tls.offer(long);
    tls.offer({ ...long });
    expect([shown, lines]).toEqual([[long], ['the check port has new TLS material']]);
    now += 6 * DAY_MS;
    expect(tls.hasEnded()).toBe(false);
    now += 30 * DAY_MS;
    expect(tls.hasEnded()).toBe(true);
  });

  it('is kept where the new one has ended, as long as it has not ended itself', () => {
    const tls = started(brief);
    tls.offer(ended);
    expect([shown, lines, tls.hasEnded()]).toEqual([
      [],
      ['the check port keeps its TLS material: the new certificate has ended'],
      false,
    ]);
    now += 6 * DAY_MS;
    expect(tls.hasEnded()).toBe(true);
    tls.offer(ended);
    expect([shown, tls.hasEnded()]).toEqual([[ended], true]);
    tls.offer(long);
    expect([shown.at(-1), tls.hasEnded()]).toEqual([long, false]);
  });

  it('is kept where the new one cannot be used', () => {
    const tls = started(brief);
    fails = true;
    tls.offer(long);
    fails = false;
    now += 6 * DAY_MS;
    expect([lines, tls.hasEnded()]).toEqual([['the check port keeps its TLS material'], true]);
  });

  it('is none in clear text, which never ends', () => {
    expect(started(undefined).hasEnded()).toBe(false);
  });
});

describe('the program with a certificate that has ended', { timeout: 60_000 }, () => {
  let served: Served | undefined;
  afterEach(async () => served?.kill());

  it('is not ready and says why, until there is a new one', async () => {
    const folder = join(place, 'config');
    mkdirSync(join(folder, 'policies'), { recursive: true });
    const put = ({ certificate, key }: TlsMaterial): void => {
      for (const [name, text] of [
        ['tls.key', key],
        ['tls.crt', certificate],
      ] as const) {
        writeFileSync(join(place, name), text, { mode: 0o600 });
        renameSync(join(place, name), join(folder, name));
      }
    };
    put(ended);
    writeFileSync(join(folder, 'postern.yaml'), 'listen: { tls: { certificate: tls.crt, key: tls.key } }\n');
    served = await serve(folder);
    const { admin, text } = served;
    const readiness = async (): Promise<string> => {
      const answer = await fetch(`http://${admin}/readyz`);
      return `${answer.status} ${await answer.text()}`.trim();
    };
    expect(await readiness()).toBe('503 not ready: the certificate of the check port has ended');
    expect(text()).toMatch(/"level":"error".*"kind":"check_certificate".*"a certificate of the check port has ended"/);
    put(long);
    await eventually(async () => (await readiness()).startsWith('200') || undefined, text);
    put(ended);
    await eventually(() => /the new certificate has ended/.test(text()) || undefined, text);
    expect(await readiness()).toBe('200 ok');
  });
});
