/** A real node: kubelet, containerd, scheduler and controller manager beside the API server. The chart of an application
 *  with Postern and Envoy as native sidecars (deploy/helm/orders) is installed by helm, asked over the network, changed,
 *  broken and stopped. */
import { lstatSync, mkdirSync, readFileSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeDemoFolder } from '../../dist/demo/folder.js';
import { withCharts } from '../deploy/manifests.mjs';
import { startCluster } from './cluster.mjs';
import { CONTAINERS, HYBRID, IMAGE, buildImage, podman } from './image.mjs';
import { crew, finished, freePorts, until, workFolder } from './processes.mjs';
import { envoyBinary, program, run, systemProgram } from './programs.mjs';

export async function checkNode(expect) {
  const folder = workFolder('node');
  const parts = crew(folder);
  const demo = await makeDemoFolder(join(folder, 'demo'), Date.now());
  let node;
  try {
    const images = makeImages(folder);
    const cluster = await startCluster(parts);
    node = await startNode(parts, cluster, images);
    const kubectl = async (...args) => {
      const { code, stdout, stderr } = await cluster.kubectl(args);
      if (code !== 0) throw new Error(`kubectl ${args.join(' ')}: ${stderr}`);
      return stdout;
    };
    await until(
      'the node',
      async () =>
        /True/.test(
          await kubectl('get', 'node', 'localhost', '-o', 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'),
        ),
      120_000,
      1000,
    );

    await kubectl('create', 'namespace', 'shop');
    await kubectl('label', 'namespace', 'shop', 'pod-security.kubernetes.io/enforce=restricted');
    await kubectl(
      '-n',
      'shop',
      'create',
      'secret',
      'generic',
      'postern-keys',
      `--from-file=${join(demo.config, 'keys/jwks.json')}`,
    );
    const values = join(folder, 'values.json');
    writeFileSync(values, JSON.stringify(valuesOf(demo)));
    const began = Date.now();
    const installed = await withCharts((charts) =>
      // Read before the copy of the charts goes away.
      helmInstall(
        charts,
        [
          'upgrade',
          '--install',
          'orders',
          join(charts, 'orders'),
          '-n',
          'shop',
          '-f',
          values,
          '--wait',
          '--timeout',
          '180s',
        ],
        cluster,
      ),
    );
    await expect('helm install --wait', 'deployed', installed);
    console.log(`     ready after ${seconds(Date.now() - began)} s`);

    const pod = JSON.parse(await kubectl('-n', 'shop', 'get', 'pod', '-l', 'app=orders', '-o', 'json')).items[0];
    const { podIP: address } = pod.status;
    const startedAt = (name) =>
      [...pod.status.initContainerStatuses, ...pod.status.containerStatuses].find((one) => one.name === name).state
        .running.startedAt;
    await expect(
      'started in order: Postern, Envoy, the application',
      true,
      startedAt('postern') <= startedAt('envoy') && startedAt('envoy') <= startedAt('app'),
    );
    const ask = (token, path = '/') => statusOf(address, path, token && demo.tokens.get(token));
    await expect('nobody', 401, await ask());
    await expect('ann, whose key is in a Secret', 200, await ask('ann'));
    await expect('mallory', 403, await ask('mallory'));

    const logs = () => kubectl('-n', 'shop', 'logs', pod.metadata.name, '-c', 'postern', '--tail=-1');
    const lastRevision = async () => [...(await logs()).matchAll(/^.*"msg":"revision is live".*$/gm)].at(-1)?.[0];
    const policy = readFileSync(join(demo.config, 'policies/demo.yaml'), 'utf8');
    const edit = async (text) => {
      await kubectl(
        '-n',
        'shop',
        'patch',
        'configmap',
        'orders-postern-policies',
        '--type=merge',
        '-p',
        JSON.stringify({ data: { 'demo.yaml': text } }),
      );
      return Date.now();
    };
    const patched = await edit(policy.replace('domain: example.com', 'domain: other.example'));
    await until('the new policy', async () => (await ask('ann')) === 403, 180_000, 20);
    const live = Date.now();
    await expect('a ConfigMap edited through the API: ann', 403, await ask('ann'));
    const swapped = swapTime(join(node.root, folder), pod.metadata.uid);
    const told = Date.parse(JSON.parse(await lastRevision()).time);
    console.log(
      `     live after ${seconds(live - patched)} s: the kubelet's part ${seconds(swapped - patched)} s, Postern's ${Math.round(told - swapped)} ms`,
    );
    await expect("Postern's own part, under 2 s", true, told - swapped < 2000);

    await edit(`${policy}\nbroken: [`);
    const refused = await until(
      'a broken policy',
      async () => /refused; revision .* stays in force/.test(await logs()),
      180_000,
      500,
    );
    await expect('a broken policy is refused, and the log says so', true, refused);
    await expect('and what ran before goes on: ann', 403, await ask('ann'));
    const mended = await edit(policy);
    await until('the mended policy', async () => (await ask('ann')) === 200, 180_000, 100);
    console.log(`     the mended one live after ${seconds(Date.now() - mended)} s`);
    await expect('mended: ann', 200, await ask('ann'));

    const traffic = startTraffic(ask);
    await sleep(1000);
    process.kill(processOf('/app/dist/main.js'), 'SIGKILL');
    await sleep(1000);
    await until('Postern again', async () => (await ask('ann')) === 200, 120_000, 100);
    const killed = await traffic.stop();
    await expect('Postern killed under traffic: what nobody saw', /^(401,503|401)$/, killed.nobody);
    await expect('Postern killed under traffic: what ann saw', /^(200,503|200)$/, killed.ann);

    const followed = ['postern', 'envoy', 'app'].map((name) =>
      parts.start(`pod-${name}`, program('kubectl'), [
        '--kubeconfig',
        cluster.kubeconfig,
        '-n',
        'shop',
        'logs',
        '-f',
        '--timestamps',
        '--tail=5',
        pod.metadata.name,
        '-c',
        name,
      ]),
    );
    await sleep(2000);
    const leaving = startTraffic(ask);
    await sleep(500);
    const { code } = await cluster.kubectl([
      '-n',
      'shop',
      'delete',
      'pod',
      pod.metadata.name,
      '--wait=true',
      '--timeout=100s',
    ]);
    const left = await leaving.stop();
    await expect('the pod ends in its time', 0, code);
    // 404: Envoy's own while it leaves, its routes are gone before its listener is.
    await expect('while it ends: what nobody saw', /^(?:401|404|503|none|,)*$/, left.nobody);
    const when = ([postern, envoy, app]) => [
      timeOf(app.text, /app stopping/),
      timeOf(envoy.text, /SIGTERM/),
      timeOf(postern.text, /draining/),
    ];
    const times = when(followed);
    await expect(
      'stopped in order: the application, Envoy, Postern',
      true,
      times.every((time) => time > 0) && times[0] <= times[1] && times[1] <= times[2],
    );
    await kubectl('delete', 'namespace', 'shop', '--timeout=100s');
  } finally {
    await node?.stop();
    await parts.stop();
    rmSync(join(folder, 'containerd'), { recursive: true, force: true });
  }
}

/** postern.yaml and the policies as they stand, keys from the Secret. */
function valuesOf(demo) {
  const read = (name) => readFileSync(join(demo.config, name), 'utf8');
  const policies = Object.fromEntries(
    readdirSync(join(demo.config, 'policies')).map((name) => [name, read(`policies/${name}`)]),
  );
  const [repository, tag] = IMAGE.split(/:(?=[^/]*$)/);
  return {
    replicas: 1,
    app: { image: 'localhost/app:mesh' },
    envoy: { image: 'localhost/envoy:mesh' },
    postern: {
      image: { repository, tag },
      settings: { log: { decisions: 'none' }, identity: { tokens: [TOKENS] } },
      policies: { ...policies, 'orders.yaml': null },
      secretFiles: [{ secret: 'postern-keys', folder: 'keys' }],
    },
  };
}

/** As makeDemoFolder writes them. */
const TOKENS = {
  issuer: 'https://login.example.com',
  audiences: ['orders'],
  keys: { file: 'keys/jwks.json' },
  from: [{ bearer: 'authorization' }],
  algorithms: ['RS256'],
};

function helmInstall(charts, args, { kubeconfig }) {
  const home = { HELM_CACHE_HOME: charts, HELM_CONFIG_HOME: charts, HELM_DATA_HOME: charts };
  run(program('helm'), ['--kubeconfig', kubeconfig, ...args], { env: { ...process.env, ...home } });
  return 'deployed';
}

/** Images as archives: Postern's own; Envoy and an application on the same base; and the pause of every pod. */
function makeImages(folder) {
  const base = buildImage();
  const context = join(folder, 'images');
  mkdirSync(context);
  writeFileSync(
    join(context, 'app.mjs'),
    `import { createServer } from 'node:http';
const server = createServer((request, response) => response.end(JSON.stringify({ path: request.url, headers: request.headers })));
server.listen(8080, '127.0.0.1', () => console.log('app ready'));
process.on('SIGTERM', () => { console.log('app stopping'); setTimeout(() => process.exit(0), 1000); });
`,
  );
  writeFileSync(
    join(context, 'pause.c'),
    '#include <unistd.h>\n#include <signal.h>\nstatic void end(int s) { _exit(0); }\nint main(void) { signal(SIGTERM, end); signal(SIGINT, end); for (;;) pause(); }\n',
  );
  run('cc', ['-static', '-O1', '-o', join(context, 'pause'), join(context, 'pause.c')]);
  run('cp', [envoyBinary(), join(context, 'envoy')]);
  const recipes = {
    pause: 'FROM scratch\nCOPY pause /pause\nUSER 65535:65535\nENTRYPOINT ["/pause"]\n',
    envoy: `FROM ${base}\nCOPY envoy /usr/local/bin/envoy\nENTRYPOINT ["/usr/local/bin/envoy"]\n`,
    app: `FROM ${base}\nCOPY app.mjs /app.mjs\nENTRYPOINT ["node", "/app.mjs"]\n`,
  };
  const archives = [];
  for (const [name, text] of Object.entries(recipes)) {
    writeFileSync(join(context, `${name}.Dockerfile`), text);
    run(
      systemProgram('buildah'),
      ['bud', '--network', 'host', '--pull-never', '-f', `${name}.Dockerfile`, '-t', `localhost/${name}:mesh`, '.'],
      { cwd: context, env: CONTAINERS, stdio: ['ignore', 'ignore', 'ignore'] },
    );
  }
  for (const image of [IMAGE, ...Object.keys(recipes).map((name) => `localhost/${name}:mesh`)]) {
    const archive = join(context, `${archives.length}.tar`);
    podman(['save', '-q', '--format', 'docker-archive', '-o', archive, image]);
    archives.push(archive);
  }
  return archives;
}

async function startNode(parts, { kubeconfig, key }, archives) {
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
  const [kubelet, health] = await freePorts(2);
  writeFileSync(
    at('kubelet.json'),
    JSON.stringify({
      apiVersion: 'kubelet.config.k8s.io/v1beta1',
      kind: 'KubeletConfiguration',
      address: '127.0.0.1',
      port: kubelet,
      healthzPort: health,
      readOnlyPort: 0,
      authentication: { anonymous: { enabled: true }, webhook: { enabled: false } },
      authorization: { mode: 'AlwaysAllow' },
      cgroupDriver: 'cgroupfs',
      failCgroupV1: false,
      failSwapOn: false,
      enforceNodeAllocatable: ['none'],
      oomScoreAdj: 0,
      localStorageCapacityIsolation: false,
      evictionHard: { 'memory.available': '0%', 'nodefs.available': '0%', 'imagefs.available': '0%' },
      imageGCHighThresholdPercent: 100,
      containerRuntimeEndpoint: `unix://${socket}`,
      clusterDomain: 'cluster.local',
      podLogsDir: at('pod-logs'),
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
  ]);
  parts.start('scheduler', program('kube-scheduler'), common);
  parts.start('kubelet', 'nsenter', [
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
  return {
    /** Where the volumes that the kubelet mounts can be seen. */
    root: `/proc/${containerd.child.pid}/root`,
    /** Whatever still runs in containers, which outlive containerd. */
    async stop() {
      for (const id of (await ctr('tasks', 'ls', '-q')).stdout.split('\n').filter(Boolean))
        await ctr('tasks', 'kill', '-s', 'SIGKILL', id);
    },
  };
}

function statusOf(host, path, token) {
  return new Promise((resolve) => {
    const call = request(
      {
        host,
        port: 8000,
        path,
        agent: false,
        timeout: 5000,
        headers: { host: 'orders.example.com', ...(token ? { authorization: `Bearer ${token}` } : {}) },
      },
      (response) => {
        response.resume();
        response.on('end', () => resolve(response.statusCode));
      },
    );
    call.on('timeout', () => call.destroy(new Error('took too long')));
    call.on('error', () => resolve('none'));
    call.end();
  });
}

/** Ann and nobody, one after the other; which answers each has seen. */
function startTraffic(ask) {
  const seen = { ann: new Set(), nobody: new Set() };
  const state = { over: false };
  const running = (async () => {
    while (!state.over) {
      seen.ann.add(await ask('ann'));
      seen.nobody.add(await ask());
      await sleep(20);
    }
  })();
  return {
    async stop() {
      state.over = true;
      await running;
      const text = (set) => [...set].toSorted().join(',');
      return { ann: text(seen.ann), nobody: text(seen.nobody) };
    },
  };
}

/** When the kubelet swapped the volume of the policies, in milliseconds since the epoch: its new version's folder got its
 *  last file just before. */
function swapTime(folder, uid) {
  const volume = join(folder, 'kubelet/pods', uid, 'volumes/kubernetes.io~projected/postern-policies');
  return lstatSync(join(volume, readlinkSync(join(volume, '..data')))).mtimeMs;
}

function processOf(word) {
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

/** Milliseconds since the epoch of the first line that matches, by the time that kubectl puts before it; 0: none. */
function timeOf(text, pattern) {
  const line = text.split('\n').find((one) => pattern.test(one));
  return line === undefined ? 0 : Date.parse(line.split(' ')[0]);
}

function seconds(ms) {
  return (ms / 1000).toFixed(1);
}
