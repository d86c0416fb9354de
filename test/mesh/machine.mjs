/** A machine of the cluster: kubelet, containerd, scheduler and controller manager beside the API server, and the images
 *  that its pods are made of. */
import { mkdirSync, openSync, readFileSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeCharts } from '../deploy/manifests.mjs';
import { CONTAINERS, HYBRID, IMAGE, buildImage, podman } from './image.mjs';
import { finished, freePorts, onInterrupt, until } from './processes.mjs';
import { ROOT, envoyBinary, program, run, systemProgram } from './programs.mjs';

/** An application that answers what it was asked, on `HOST` or loopback. */
const APP = `import { createServer } from 'node:http';
const server = createServer((request, response) => response.end(JSON.stringify({ path: request.url, headers: request.headers })));
server.listen(8080, process.env.HOST ?? '127.0.0.1', () => console.log('app ready'));
process.on('SIGTERM', () => { console.log('app stopping'); setTimeout(() => process.exit(0), 1000); });
`;

/** Ends at once when it is told to. */
const PAUSE =
  '#include <unistd.h>\n#include <signal.h>\nstatic void end(int s) { _exit(0); }\nint main(void) { signal(SIGTERM, end); signal(SIGINT, end); for (;;) pause(); }\n';

/** Whose tokens count in a pod: as makeDemoFolder writes them, with the keys from a Secret. */
export const TOKENS = {
  issuer: 'https://login.example.com',
  audiences: ['orders'],
  keys: { file: 'keys/jwks.json' },
  from: [{ bearer: 'authorization' }],
  algorithms: ['RS256'],
};

/** Images as archives: Postern's own; Envoy and an application on the same base; the pause of every pod; and those of
 *  `more(base)`: name → { dockerfile, files: name → path }. */
export function makeImages(folder, more = () => ({})) {
  const base = buildImage();
  const context = join(folder, 'images');
  mkdirSync(context);
  writeFileSync(join(context, 'app.mjs'), APP);
  writeFileSync(join(context, 'pause.c'), PAUSE);
  run('cc', ['-static', '-O1', '-o', join(context, 'pause'), join(context, 'pause.c')]);
  const recipes = {
    pause: { dockerfile: 'FROM scratch\nCOPY pause /pause\nUSER 65535:65535\nENTRYPOINT ["/pause"]\n' },
    envoy: {
      dockerfile: `FROM ${base}\nCOPY envoy /usr/local/bin/envoy\nENTRYPOINT ["/usr/local/bin/envoy"]\n`,
      files: { envoy: envoyBinary() },
    },
    app: { dockerfile: `FROM ${base}\nCOPY app.mjs /app.mjs\nENTRYPOINT ["node", "/app.mjs"]\n` },
    ...more(base),
  };
  const archives = [];
  for (const [name, { dockerfile, files = {} }] of Object.entries(recipes)) {
    for (const [as, path] of Object.entries(files)) run('cp', [path, join(context, as)]);
    writeFileSync(join(context, `${name}.Dockerfile`), dockerfile);
    run(
      systemProgram('buildah'),
      ['bud', '--network', 'host', '--pull-never', '-f', `${name}.Dockerfile`, '-t', `localhost/${name}:mesh`, '.'],
      { cwd: context, env: CONTAINERS, stdio: ['ignore', 'ignore', 'pipe'] },
    );
  }
  for (const image of [IMAGE, ...Object.keys(recipes).map((name) => `localhost/${name}:mesh`)]) {
    const archive = join(context, `${archives.length}.tar`);
    podman(['save', '-q', '--format', 'docker-archive', '-o', archive, image]);
    archives.push(archive);
  }
  return archives;
}

/** For `more`: the image of a caller (asker.mjs). */
export const askerImage = (base) => ({
  dockerfile: `FROM ${base}\nCOPY ask.mjs asker.mjs /\nENTRYPOINT ["node", "/asker.mjs"]\n`,
  files: { 'ask.mjs': join(ROOT, 'test/mesh/ask.mjs'), 'asker.mjs': join(ROOT, 'test/mesh/asker.mjs') },
});

/** Its pod, as who the service account of the same name is. */
export function askerPod(name, namespace) {
  return `apiVersion: v1
kind: ServiceAccount
metadata: { name: ${name}, namespace: ${namespace} }
---
apiVersion: v1
kind: Pod
metadata:
  name: ${name}
  namespace: ${namespace}
  labels: { app: ${name} }
  annotations: { traffic.sidecar.istio.io/excludeInboundPorts: "7000" }
spec:
  serviceAccountName: ${name}
  containers: [{ name: asker, image: localhost/asker:mesh, imagePullPolicy: IfNotPresent }]
`;
}

/** Starts it, and waits until it is ready. `settings`: of the kubelet, beside those that it needs here. */
export async function startNode(parts, { kubectl, kubeconfig, key }, archives, settings = {}) {
  const at = (...names) => join(parts.folder, ...names);
  const socket = at('containerd.sock');
  for (const name of ['iptables', 'runc', 'containerd']) systemProgram(name);
  mkdirSync(at('cni'));
  const network = {
    type: 'ptp',
    ipMasq: false,
    ipam: { type: 'host-local', subnet: '10.88.77.0/24', routes: [{ dst: '0.0.0.0/0' }], dataDir: at('ipam') },
  };
  writeFileSync(
    at('cni/10-mesh.conflist'),
    JSON.stringify({ cniVersion: '0.4.0', name: 'mesh', plugins: [network, { type: 'loopback' }] }),
  );
  writeFileSync(
    at('containerd.toml'),
    `version = 2
root = "${at('containerd')}"
state = "${at('containerd-state')}"
oom_score = 0
[grpc]
  address = "${socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:mesh"
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "${at('cni')}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
`,
  );
  const [port, health] = await freePorts(2);
  writeFileSync(
    at('kubelet.json'),
    JSON.stringify({
      apiVersion: 'kubelet.config.k8s.io/v1beta1',
      kind: 'KubeletConfiguration',
      address: '127.0.0.1',
      port,
      healthzPort: health,
      readOnlyPort: 0,
      authentication: { anonymous: { enabled: true }, webhook: { enabled: false } },
      authorization: { mode: 'AlwaysAllow' },
      cgroupDriver: 'cgroupfs',
      failCgroupV1: false,
      failSwapOn: false,
      // The machine's own firewall is none of its business here.
      makeIPTablesUtilChains: false,
      enforceNodeAllocatable: ['none'],
      oomScoreAdj: 0,
      localStorageCapacityIsolation: false,
      evictionHard: { 'memory.available': '0%', 'nodefs.available': '0%', 'imagefs.available': '0%' },
      imageGCHighThresholdPercent: 100,
      containerRuntimeEndpoint: `unix://${socket}`,
      clusterDomain: 'cluster.local',
      podLogsDir: at('pod-logs'),
      ...settings,
    }),
  );
  // One mount space for both, so that containers find the volumes that the kubelet mounts.
  const containerd = parts.start('containerd', 'unshare', [
    '-m',
    'sh',
    '-c',
    `mount --make-rprivate /; ${HYBRID}; exec containerd -c ${at('containerd.toml')}`,
  ]);
  const ctr = (...args) => finished('ctr', ['-a', socket, '-n', 'k8s.io', ...args]);
  await until('containerd', async () => (await ctr('version')).code === 0, 60_000);
  for (const archive of archives) {
    const { code, stderr } = await ctr('images', 'import', archive);
    if (code !== 0) throw new Error(stderr);
  }
  const common = [`--kubeconfig=${kubeconfig}`, '--leader-elect=false', '--secure-port=0'];
  parts.start('controller-manager', program('kube-controller-manager'), [
    ...common,
    '--use-service-account-credentials=false',
    `--service-account-private-key-file=${key}`,
    '--controllers=*,-nodeipam,-cloud-node-lifecycle',
    '--horizontal-pod-autoscaler-sync-period=5s',
    '--horizontal-pod-autoscaler-initial-readiness-delay=1s',
  ]);
  parts.start('scheduler', program('kube-scheduler'), common);
  const kubelet = parts.start('kubelet', 'nsenter', [
    '-t',
    String(containerd.child.pid),
    '-m',
    program('kubelet'),
    `--config=${at('kubelet.json')}`,
    `--kubeconfig=${kubeconfig}`,
    `--root-dir=${at('kubelet')}`,
    `--cert-dir=${at('pki')}`,
    '--hostname-override=localhost',
  ]);
  await until(
    'the node',
    async () =>
      /True/.test(
        (await kubectl(['get', 'node', 'localhost', '-o', 'jsonpath={.status.conditions[?(@.type=="Ready")].status}']))
          .stdout,
      ),
    120_000,
    1000,
  );
  const machine = {
    /** Where the volumes that the kubelet mounts can be seen. */
    root: `/proc/${containerd.child.pid}/root`,
    /** Ends everything: what runs in containers outlives containerd, and would be started again by the kubelet. */
    async stop() {
      kubelet.child.kill('SIGKILL');
      await until('the end of the kubelet', () => kubelet.gone, 10_000).catch(() => undefined);
      for (const id of (await ctr('tasks', 'ls', '-q')).stdout.split('\n').filter(Boolean))
        await ctr('tasks', 'delete', '--force', id);
      await parts.stop();
      rmSync(at('containerd'), { recursive: true, force: true });
    },
  };
  onInterrupt(machine.stop);
  return machine;
}

/** `helm upgrade --install` of one of the charts of deploy/helm, or of one beside them that `write(folder)` makes. */
export async function install({ kubeconfig }, [release, namespace, chart], args, write) {
  const charts = makeCharts(write, chart === 'postern' ? [] : [chart]);
  try {
    const home = { HELM_CACHE_HOME: charts, HELM_CONFIG_HOME: charts, HELM_DATA_HOME: charts };
    const { code, stderr } = await finished(
      program('helm'),
      ['--kubeconfig', kubeconfig, 'upgrade', '--install', release, join(charts, chart), '-n', namespace, ...args],
      { env: { ...process.env, ...home }, timeout: 300_000 },
    );
    if (code !== 0) throw new Error(`helm: ${stderr}`);
  } finally {
    rmSync(charts, { recursive: true, force: true });
  }
}

/** What containers of a pod have written and will write, each as something with a `text()`, with the time before each
 *  line. The files are open: they can be read when the pod is gone. */
export function followLogs(parts, pod, containers) {
  const { name, namespace, uid } = pod.metadata;
  return containers.map((container) => {
    const folder = join(parts.folder, 'pod-logs', `${namespace}_${name}_${uid}`, container);
    const newest = Math.max(...readdirSync(folder).map((file) => Number.parseInt(file, 10)));
    const descriptor = openSync(join(folder, `${newest}.log`), 'r');
    return { text: () => readFileSync(descriptor, 'utf8') };
  });
}

/** The process of a container whose command line holds the word. */
export function processOf(word) {
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    const line = readText(`/proc/${pid}/cmdline`);
    if (
      line.startsWith('node\0') &&
      line.includes(word) &&
      linkText(`/proc/${pid}/ns/pid`) !== linkText('/proc/self/ns/pid')
    )
      return Number(pid);
  }
  throw new Error(`no container runs ${word}`);
}

function readText(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function linkText(path) {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}

/** Milliseconds since the epoch of the first line that matches, by the time that stands before it; 0: none. */
export function timeOf(text, pattern) {
  const line = text.split('\n').find((one) => pattern.test(one));
  return line === undefined ? 0 : Date.parse(line.split(' ')[0]);
}

export function seconds(ms) {
  return (ms / 1000).toFixed(1);
}
