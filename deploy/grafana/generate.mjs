/** Compiles `src` and lets it write the dashboards beside this file; `--check` only compares. */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));
const root = fileURLToPath(new URL('../..', import.meta.url));
const run = (...args) => execFileSync(process.execPath, args, { cwd: root, stdio: 'inherit' });
try {
  run('node_modules/typescript/bin/tsc', '-p', `${here}tsconfig.json`);
  run('node_modules/.cache/grafana/main.js', here.replace(/\/$/, ''), ...process.argv.slice(2));
} catch {
  // What is wrong has been said.
  process.exitCode = 1;
}
