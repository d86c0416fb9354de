/** Writes the JSON Schemas beside this file, as `postern schema` prints them; `npm run generate` runs it. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../../dist/main.js', import.meta.url));

for (const name of ['policies', 'settings', 'cases', 'decisions', 'explanation']) {
  const text = execFileSync(process.execPath, [MAIN, 'schema', name], { encoding: 'utf8' });
  writeFileSync(fileURLToPath(new URL(`${name}.json`, import.meta.url)), text);
}
