/** A real Prometheus that scrapes one target every second. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

export interface Prometheus {
  /** The answer's `data`; throws the server's own words where it refuses. */
  ask(path: string, parameters: Readonly<Record<string, string>>): Promise<unknown>;
  stop(): Promise<void>;
}

export interface PrometheusOptions {
  readonly target: string;
  readonly ruleFiles?: readonly string[];
}

export async function startPrometheus({ target, ruleFiles = [] }: PrometheusOptions): Promise<Prometheus> {
  const folder = mkdtempSync(join(tmpdir(), 'postern-prometheus-'));
  const port = await freePort();
  writeFileSync(
    join(folder, 'prometheus.yml'),
    JSON.stringify({
      global: { scrape_interval: '1s', evaluation_interval: '1s' },
      rule_files: ruleFiles,
      scrape_configs: [{ job_name: 'postern', static_configs: [{ targets: [target] }] }],
    }),
  );
  const child = spawn(
    'prometheus',
    [
      `--config.file=${folder}/prometheus.yml`,
      `--storage.tsdb.path=${folder}/data`,
      `--web.listen-address=127.0.0.1:${port}`,
      '--enable-feature=exemplar-storage',
      '--log.level=warn',
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  let text = '';
  let failure: Error | undefined;
  child.on('error', (error) => (failure = error));
  child.stderr.on('data', (chunk: Buffer) => (text += chunk.toString()));
  const base = `http://127.0.0.1:${port}`;
  const end = Date.now() + 30_000;
  while (
    !(await fetch(`${base}/-/ready`).then(
      ({ ok }) => ok,
      () => false,
    ))
  ) {
    if (failure) throw new Error(`no prometheus: node test/real-parts.mjs prometheus (${failure.message})`);
    if (child.exitCode !== null || Date.now() > end) throw new Error(`prometheus did not start:\n${text}`);
    await sleep(50);
  }
  return {
    async ask(path, parameters) {
      const answer = await fetch(`${base}/api/v1/${path}?${new URLSearchParams(parameters).toString()}`);
      const { data, error } = (await answer.json()) as { data?: unknown; error?: string };
      if (error !== undefined) throw new Error(error);
      return data;
    },
    async stop() {
      if (child.exitCode === null && child.signalCode === null) {
        child.kill('SIGKILL');
        await once(child, 'exit');
      }
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
