/** Postern as a program of its own, asked as Envoy asks, by users who travel: where they are is told by trusted
 *  headers, and when by the request's own time. */
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { startPostern } from '../src/demo/parts.ts';
import { checkClient } from './envoy/check-client.ts';
import { decodeResponse, encodeRequest, metadataOf } from './envoy/official.ts';
import { keySetBytes, pairFor, publicJwk, tokenOf } from './facts/token-maker.ts';

/** The rules' clock when a test begins, milliseconds since the epoch: the tokens are good for an hour from now. */
export const START_MS = Math.floor(Date.now() / 1000) * 1000;
export const MINUTE = 60_000;

export interface City {
  readonly country: string;
  readonly city: string;
  readonly latitude: number;
  readonly longitude: number;
}

export const PORTO: City = { country: 'PT', city: 'Porto', latitude: 41.1579, longitude: -8.6291 };
export const VIGO: City = { country: 'ES', city: 'Vigo', latitude: 42.2406, longitude: -8.7207 };
export const TOKYO: City = { country: 'JP', city: 'Tokyo', latitude: 35.6762, longitude: 139.6503 };

/** One login. `at`: minutes after the start. */
export interface Login {
  readonly user?: string;
  readonly amr: readonly string[];
  readonly at?: number;
  readonly session?: string;
  /** Further claims; undefined takes one away. */
  readonly claims?: Readonly<Record<string, unknown>>;
}

export function login({ user = 'ann', amr, at = 0, session, claims }: Login): string {
  const time = START_MS / 1000 + at * 60;
  return tokenOf({
    claims: {
      sub: user,
      email: `${user}@example.com`,
      amr,
      auth_time: time,
      iat: START_MS / 1000,
      exp: START_MS / 1000 + 7_200,
      ...(session === undefined ? {} : { sid: session }),
      ...claims,
    },
  });
}

export const weak = (at = 0, more: Partial<Login> = {}): string => login({ amr: ['pwd'], at, ...more });
export const strong = (at = 0, more: Partial<Login> = {}): string => login({ amr: ['pwd', 'otp'], at, ...more });

export interface Asking {
  readonly token?: string;
  readonly from?: City;
  /** Minutes after the start. */
  readonly at?: number;
  readonly host?: string;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface Told {
  readonly outcome: unknown;
  readonly level: unknown;
  readonly reason: unknown;
  /** Values of `Set-Cookie` that the answer adds. */
  readonly cookies: readonly string[];
  /** Headers of a refusal. */
  readonly headers: Readonly<Record<string, string>>;
  readonly metadata: Readonly<Record<string, unknown>>;
  /** Headers to the upstream, set and removed. */
  readonly upstream: readonly string[];
}

export interface LearningProgram {
  readonly folder: string;
  /** Asks the admin port, with the token that may write. */
  admin(method: string, path: string): Promise<number>;
  ask(asking: Asking): Promise<Told>;
  readonly lines: readonly string[];
  metrics(): Promise<string>;
  stop(): Promise<void>;
}

export const ADMIN_TOKEN = 'a token that may write';

export const SETTINGS = `identity: { tokens: [{ issuer: "https://login.example.com", audiences: [orders], keys: { file: keys/jwks.json }, from: [{ bearer: authorization }] }] }
geo: { headers: { country: cf-ipcountry, city: cf-ipcity, latitude: cf-iplatitude, longitude: cf-iplongitude } }
log: { decisions: all }
admin: { tokens: [{ name: writer, sha256: ${createHash('sha256').update(ADMIN_TOKEN).digest('hex')}, scopes: [read, write] }] }
`;

/** Files of a config folder, with keys that `login` signs by. */
export function learningFolder(files: Readonly<Record<string, string>>): string {
  const folder = mkdtempSync(join(tmpdir(), 'postern-learning-'));
  const all = {
    'keys/jwks.json': Buffer.from(keySetBytes(publicJwk(pairFor('ES256'), { kid: 'k1' }))).toString(),
    'postern.yaml': SETTINGS,
    ...files,
  };
  for (const [name, text] of Object.entries(all)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  return folder;
}

/** Starts the program on this folder; `stop` leaves the folder where it is not the program's own. */
export async function startLearning(files: Readonly<Record<string, string>>): Promise<LearningProgram> {
  const folder = learningFolder(files);
  const program = await serveLearning(folder);
  return {
    ...program,
    async stop() {
      await program.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

export async function serveLearning(folder: string): Promise<LearningProgram> {
  const postern = await startPostern(folder);
  const client = checkClient(postern.check);
  return {
    folder,
    lines: postern.lines,
    async ask(asking) {
      return toldBy(await client.check(requestOf(asking)));
    },
    async admin(method, path) {
      const headers = { authorization: `Bearer ${ADMIN_TOKEN}` };
      return (await fetch(`http://${postern.admin}${path}`, { method, headers })).status;
    },
    async metrics() {
      return (await fetch(`http://${postern.admin}/metrics`)).text();
    },
    async stop() {
      client.close();
      await postern.kill();
    },
  };
}

/** As a browser opens a page. */
export const NAVIGATION: Readonly<Record<string, string>> = { 'sec-fetch-mode': 'navigate', accept: 'text/html' };

export function requestOf({
  token,
  from,
  at = 0,
  host = 'orders.example.com',
  method = 'GET',
  headers,
}: Asking): Uint8Array {
  const ms = START_MS + at * MINUTE;
  return encodeRequest({
    attributes: {
      source: { address: { socket_address: { address: '203.0.113.7', port_value: 51000 } } },
      request: {
        time: { seconds: Math.floor(ms / 1000), nanos: (ms % 1000) * 1_000_000 },
        http: {
          method,
          host,
          path: '/',
          headers: {
            ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
            ...(from && {
              'cf-ipcountry': from.country,
              'cf-ipcity': from.city,
              'cf-iplatitude': String(from.latitude),
              'cf-iplongitude': String(from.longitude),
            }),
            ...headers,
          },
        },
      },
    },
  });
}

export function toldBy(bytes: Uint8Array): Told {
  const message = decodeResponse(bytes);
  const metadata = metadataOf(message);
  const added = message.ok_response?.response_headers_to_add ?? [];
  const refusal = message.denied_response?.headers ?? [];
  return {
    outcome: metadata['outcome'],
    level: metadata['risk_level'],
    reason: metadata['reason'],
    cookies: added.map(({ header, append }) => {
      if (header?.key !== 'set-cookie' || append?.value !== true) throw new Error(`unexpected ${header?.key}`);
      return String(header.value);
    }),
    headers: Object.fromEntries(refusal.map(({ header }) => [header?.key, header?.value])),
    metadata,
    upstream: [
      ...(message.ok_response?.headers ?? []).map(({ header }) => `${header?.key}: ${header?.value}`),
      ...(message.ok_response?.headers_to_remove ?? []),
    ],
  };
}
