/** Writes the dashboards as Grafana imports them. `npm run generate` does it; `--check` only compares, and fails where
 *  a file is not what would be written. */
import { readFileSync, writeFileSync } from 'node:fs';
import { decisions } from './decisions.ts';
import { operations } from './operations.ts';
import { risk } from './risk.ts';

const folder = process.argv[2] ?? '';
const isCheck = process.argv.includes('--check');
for (const [name, dashboard] of Object.entries({ decisions, operations, risk })) {
  const file = `${folder}/postern-${name}.json`;
  const text = `${JSON.stringify(dashboard(), null, 2)}\n`;
  if (!isCheck) writeFileSync(file, text);
  else if (readFileSync(file, 'utf8') !== text) {
    process.stderr.write(`${file} is not what deploy/grafana/src makes: npm run generate\n`);
    process.exitCode = 1;
  }
}
