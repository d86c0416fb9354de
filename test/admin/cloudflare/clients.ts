/** Cloudflare's official clients, all driven in one way. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import Cloudflare from 'cloudflare';
import CloudflareOld from 'cloudflare-4';

export interface ClientError {
  /** The class that a program would catch. */
  readonly type: string;
  readonly status: number;
  readonly errors: readonly {
    readonly code: number;
    readonly message: string;
    readonly source?: { readonly pointer: string };
  }[];
}

export type Called<T> = { readonly result: T } | { readonly error: ClientError };

export interface OfficialClient {
  /** `path` below the client, in the way of npm: `zeroTrust.access.groups.update`. */
  call<T = Record<string, unknown>>(
    path: string,
    ids: readonly string[],
    params: Readonly<Record<string, unknown>>,
  ): Promise<Called<T>>;
  /** All items of all pages, as the client itself turns them. */
  all<T = Record<string, unknown>>(
    path: string,
    ids: readonly string[],
    params: Readonly<Record<string, unknown>>,
  ): Promise<Called<readonly T[]>>;
  close(): void;
}

export interface Access {
  readonly baseURL: string;
  readonly token: string;
}

export const CLIENTS: Readonly<Record<string, (access: Access) => OfficialClient>> = {
  'npm cloudflare 7': ({ baseURL, token }) =>
    npmClient(new Cloudflare({ apiToken: token, apiEmail: null, apiKey: null, baseURL, maxRetries: 0 })),
  'npm cloudflare 4': ({ baseURL, token }) =>
    npmClient(new CloudflareOld({ apiToken: token, apiEmail: null, apiKey: null, baseURL, maxRetries: 0 })),
  'PyPI cloudflare 5': pythonClient,
};

/** The result; an error fails the test with all it says. */
export function resultOf<T>(answer: Called<T>): T {
  if ('error' in answer) throw new Error(JSON.stringify(answer.error, undefined, 2));
  return answer.result;
}

export function errorOf<T>(answer: Called<T>): ClientError {
  if ('result' in answer) throw new Error(`expected an error, found ${JSON.stringify(answer.result)}`);
  return answer.error;
}

const PYTHON = fileURLToPath(new URL('../../../.venv-cloudflare/bin/python', import.meta.url));
const BRIDGE = fileURLToPath(new URL('bridge.py', import.meta.url));

type Method = (...parameters: readonly unknown[]) => Promise<unknown> & AsyncIterable<unknown>;

function npmClient(client: object): OfficialClient {
  const method = (path: string): Method => {
    const steps = path.split('.');
    let resource: unknown = client;
    for (const step of steps.slice(0, -1)) resource = (resource as Record<string, unknown>)[step];
    const found = (resource as Record<string, Method | undefined>)[steps.at(-1) ?? ''];
    if (!found) throw new Error(`the client has no ${path}`);
    return found.bind(resource);
  };
  return {
    call: (path, ids, params) => called(async () => (await method(path)(...ids, params)) as never),
    all: (path, ids, params) =>
      called(async () => {
        const items: never[] = [];
        for await (const item of method(path)(...ids, params)) items.push(item as never);
        return items;
      }),
    close: () => undefined,
  };
}

async function called<T>(work: () => Promise<T>): Promise<Called<T>> {
  try {
    return { result: await work() };
  } catch (error) {
    const { status, errors } = error as { readonly status?: number; readonly errors?: ClientError['errors'] };
    if (status === undefined) throw error;
    return { error: { type: (error as Error).constructor.name, status, errors: errors ?? [] } };
  }
}

function pythonClient({ baseURL, token }: Access): OfficialClient {
  if (!existsSync(PYTHON)) throw new Error('the Python client is missing: node test/real-parts.mjs cloudflare');
  // The published type of is_default is a list by mistake; the client takes the boolean and warns.
  const quiet = { PYTHONWARNINGS: 'ignore' };
  const environment = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !name.startsWith('CLOUDFLARE_')),
  );
  const child = spawn(PYTHON, [BRIDGE, baseURL, token], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...environment, ...quiet },
  });
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  let last: Promise<unknown> = Promise.resolve();
  const ask = async <T>(call: object): Promise<Called<T>> => {
    const turn = last.then(async () => {
      child.stdin.write(`${JSON.stringify(call)}\n`);
      const line = await lines.next();
      if (line.done === true) throw new Error('the Python client has ended');
      return JSON.parse(line.value) as Called<T>;
    });
    last = turn.catch(() => undefined);
    return turn;
  };
  return {
    call: (path, ids, params) => ask({ path: snake(path), ids, params, all: false }),
    all: (path, ids, params) => ask({ path: snake(path), ids, params, all: true }),
    close: () => child.stdin.end(),
  };
}

function snake(path: string): string {
  return path.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
