/** The program itself, started for a test on free ports. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import { checkClient } from './envoy/check-client.ts';
import type { CheckClient } from './envoy/check-client.ts';

export interface Served {
  readonly child: ChildProcess;
  readonly client: CheckClient;
  /** `127.0.0.1:40002` */
  readonly admin: string;
  /** Everything written so far. */
  text(): string;
  /** Now, and waits until it is gone. */
  kill(): Promise<void>;
}

/** Resolves once it is ready. */
export async function serve(folder: string, environment: Readonly<Record<string, string>> = {}): Promise<Served> {
  const ports = ['--set', 'listen.check=127.0.0.1:0', '--set', 'listen.admin=127.0.0.1:0'];
  const child = spawn(process.execPath, [MAIN, 'serve', '--config', folder, ...ports], {
    env: { ...process.env, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (text += chunk.toString()));
  const ready = await eventually(
    () => {
      if (child.exitCode !== null) throw new Error(`it has gone:\n${text}`);
      return /^\{.*"msg":"ready".*\}$/m.exec(text)?.[0];
    },
    () => text,
  );
  const { check, admin } = JSON.parse(ready) as { check: string; admin: string };
  const client = checkClient(check);
  return {
    child,
    client,
    admin,
    text: () => text,
    async kill() {
      client.close();
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill('SIGKILL');
      await once(child, 'exit');
    },
  };
}

/** The first value that is not undefined, within half a minute. */
export async function eventually<T>(
  read: () => T | undefined | Promise<T | undefined>,
  told: () => string = () => '',
): Promise<T> {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const value = await read();
    if (value !== undefined) return value;
    if (Date.now() > end) throw new Error(`not in time\n${told()}`);
    await sleep(20);
  }
}

const MAIN = fileURLToPath(new URL('../dist/main.js', import.meta.url));
const PATIENCE_MS = 30_000;
