/** A config folder to the answers of its check, in this process: everything but the transport. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createCheck } from '../../src/envoy/check.ts';
import type { CheckFinished, CheckParts } from '../../src/envoy/check.ts';
import { createLoader } from '../../src/revision.ts';
import type { LoaderOptions, Revision } from '../../src/revision.ts';
import { decodeResponse, encodeRequest, metadataOf } from '../envoy/official.ts';
import { keySetBytes, pairFor, publicJwk, tokenOf } from './token-maker.ts';

export const ORDERS = '9a4b2f0e-3f55-4a57-9b0e-000000000001';

/** Accepts the tokens of `token-maker.ts`, whose key `filesOf` adds. */
export const IDENTITY = `identity: { tokens: [{ issuer: "https://login.example.com", audiences: [orders], keys: { file: keys/jwks.json }, from: [{ bearer: authorization }] }] }\n`;

/** ann's token, which she got with a password just now. */
export function annToken(claims: Readonly<Record<string, unknown>> = {}): string {
  const now = Math.floor(Date.now() / 1000);
  return tokenOf({ claims: { amr: ['pwd'], auth_time: now, iat: now, exp: now + 3_600, ...claims } });
}

export interface Whole {
  readonly folder: string;
  readonly revision: Revision;
  /** Asks once, as Envoy would, and gives the metadata of the answer. */
  ask(http: Readonly<Record<string, unknown>>, deadlineMs?: number): Promise<Readonly<Record<string, unknown>>>;
  /** The same, with whether the answer was there at once. */
  answer(http: Readonly<Record<string, unknown>>, deadlineMs?: number): { readonly atOnce: boolean };
  /** Every check that is over. */
  readonly finished: readonly CheckFinished[];
  /** Every awaited fact, as the metrics are told of it. */
  readonly facts: readonly { readonly fact: string; readonly had: boolean }[];
  /** Reads the folder again, with these files changed. */
  reload(files: Readonly<Record<string, string>>): Promise<void>;
  close(): void;
}

export interface WholeOptions extends Omit<LoaderOptions, 'folder' | 'overrides' | 'makesKeys'> {
  /** After the decision; absent: nothing happens then. */
  readonly settle?: CheckParts['settle'];
}

/** Writes the files, beside the key of `token-maker.ts`, and loads them. Throws where they have faults. */
export async function wholeCheck(
  files: Readonly<Record<string, string>>,
  { settle = (decision) => ({ decision, attempt: 1 }), ...options }: WholeOptions,
): Promise<Whole> {
  const folder = mkdtempSync(join(tmpdir(), 'postern-whole-'));
  write(folder, {
    'keys/jwks.json': Buffer.from(keySetBytes(publicJwk(pairFor('ES256'), { kid: 'k1' }))).toString(),
    ...files,
  });
  const loader = createLoader({ folder, overrides: [], makesKeys: true, ...options });
  const load = async (): Promise<Revision> => {
    const loaded = await loader.load();
    if (!loaded.revision) throw new Error(JSON.stringify(loaded.faults, undefined, 1));
    return loaded.revision;
  };
  const remove = (): void => rmSync(folder, { recursive: true, force: true });
  let revision = await load().catch((error: unknown) => {
    remove();
    throw error;
  });
  const finished: CheckFinished[] = [];
  const facts: { readonly fact: string; readonly had: boolean }[] = [];
  const check = createCheck({
    snapshot: () => revision.snapshot,
    nowMs: Date.now,
    monotonicMs: () => performance.now(),
    newId: () => 'id',
    settle,
    watch: {
      stage: () => undefined,
      fact: (fact, _, had) => void facts.push({ fact, had }),
      finished: (one) => void finished.push(one),
      failed: (error) => {
        throw error;
      },
    },
  });
  const run = (http: Readonly<Record<string, unknown>>, deadlineMs: number): Uint8Array | Promise<Uint8Array> =>
    check(checkRequest(http), {
      deadlineMs: Date.now() + deadlineMs,
      signal: new AbortController().signal,
      cancelled: false,
    });
  return {
    folder,
    get revision() {
      return revision;
    },
    async ask(http, deadlineMs = 5_000) {
      return metadataOf(decodeResponse(await run(http, deadlineMs)));
    },
    answer(http, deadlineMs = 5_000) {
      return { atOnce: !(run(http, deadlineMs) instanceof Promise) };
    },
    finished,
    facts,
    async reload(changed) {
      write(folder, changed);
      revision = await load();
    },
    close: remove,
  };
}

/** A CheckRequest of ann's for orders.example.com, unless `http` says otherwise. In it `timeMs` is the request's
 *  time, `address` the client's. */
export function checkRequest(http: Readonly<Record<string, unknown>>): Uint8Array {
  const { headers, timeMs, address = '203.0.113.7', ...rest } = http;
  return encodeRequest({
    attributes: {
      source: { address: { socket_address: { address, port_value: 51000 } } },
      request: {
        ...(typeof timeMs === 'number' ? { time: { seconds: Math.floor(timeMs / 1000) } } : {}),
        http: {
          method: 'POST',
          host: 'orders.example.com',
          path: '/',
          ...rest,
          ...('header_map' in rest
            ? {}
            : { headers: { authorization: `Bearer ${annToken()}`, ...(headers as object) } }),
        },
      },
    },
  });
}

function write(folder: string, files: Readonly<Record<string, string>>): void {
  for (const [name, text] of Object.entries(files)) {
    const file = join(folder, name);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
  }
}
