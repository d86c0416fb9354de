import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A key server that does what it is told. */
export interface KeyServer {
  readonly url: string;
  /** Requests so far. */
  asked(): number;
  /** What the next requests get. */
  answer(handler: (request: IncomingMessage, response: ServerResponse) => void): void;
  answerKeys(keys: readonly unknown[], headers?: Readonly<Record<string, string>>): void;
  close(): Promise<void>;
}

function answerNothing(_: IncomingMessage, response: ServerResponse): void {
  response.end();
}

export async function startKeyServer(): Promise<KeyServer> {
  let asked = 0;
  let handle = answerNothing;
  const server = createServer((request, response) => {
    asked += 1;
    handle(request, response);
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/keys`,
    asked: () => asked,
    answer(handler) {
      handle = handler;
    },
    answerKeys(keys, headers = {}) {
      handle = (_, response) => {
        response.writeHead(200, { 'content-type': 'application/json', ...headers });
        response.end(JSON.stringify({ keys }));
      };
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => {
          resolve();
        });
        server.closeAllConnections();
      }),
  };
}

/** A clock and timers that move only when told to. */
export function createFakeTime(): {
  readonly now: () => number;
  readonly schedule: (run: () => void, delayMs: number) => () => void;
  /** The delays of what is scheduled, sorted. */
  readonly delays: () => number[];
  readonly advance: (ms: number) => void;
} {
  let now = 1_000_000;
  const tasks = new Set<{ readonly atMs: number; readonly run: () => void }>();
  return {
    now: () => now,
    schedule(run, delayMs) {
      const task = { atMs: now + delayMs, run };
      tasks.add(task);
      return () => {
        tasks.delete(task);
      };
    },
    delays: () => [...tasks].map(({ atMs }) => atMs - now).toSorted((a, b) => a - b),
    advance(ms) {
      now += ms;
      for (const task of [...tasks].toSorted((a, b) => a.atMs - b.atMs)) {
        if (task.atMs > now) continue;
        tasks.delete(task);
        task.run();
      }
    },
  };
}
