/** A shared Postern on a real node, with the switches of its chart that mean something in a cluster only: replicas by
 *  checks per second (HorizontalPodAutoscaler, a real Prometheus, prometheus-adapter), who may reach it and whom it may
 *  reach (NetworkPolicy, enforced by kube-router), how many may be missing (PodDisruptionBudget), a new version of the
 *  release. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, credentials } from '@grpc/grpc-js';
import { parse } from 'yaml';
import { ask } from './ask.mjs';
import { startCluster } from './cluster.mjs';
import { IMAGE_VALUES } from './image.mjs';
import { askerImage, askerPod, install, makeImages, seconds, startNode } from './machine.mjs';
import { crew, finished, freePorts, onInterrupt, until, workFolder } from './processes.mjs';
import { ROOT, program, systemProgram } from './programs.mjs';

const CHECK = '/envoy.service.auth.v3.Authorization/Check';
const LABEL = 'app.kubernetes.io/name=postern';

export async function checkShared(expect) {
  const folder = workFolder('shared');
  const parts = crew(folder);
  let machine;
  let firewall;
  let endMetrics = () => undefined;
  try {
    const images = makeImages(folder, (base) => ({ asker: askerImage(base) }));
    const cluster = await startCluster(parts);
    machine = await startNode(parts, cluster, images);
    const { must: kubectl } = cluster;
    const world = { folder, parts, cluster, kubectl };
    for (const name of ['postern', 'envoys', 'monitoring', 'others']) await kubectl('create', 'namespace', name);
    await kubectl('label', 'namespace', 'postern', 'pod-security.kubernetes.io/enforce=restricted');
    endMetrics = await startMetrics(world);
    await upgrade(world, {});
    await checkAutoscaling(expect, world);
    await checkBudget(expect, world);
    firewall = await checkNetworkPolicy(expect, world);
    await checkUpgrade(expect, world);
  } finally {
    endMetrics();
    await firewall?.stop();
    await (machine ?? parts).stop();
  }
}

/** Prometheus, and the adapter with the rules of deploy/kubernetes. Debian's Prometheus cannot ask the API server for pods,
 *  so it is told by a file, with the labels that the operator adds. Gives what ends the telling. */
async function startMetrics(world) {
  const { folder, parts, cluster, kubectl } = world;
  const [port, adapter] = await freePorts(2);
  const targets = join(folder, 'targets.json');
  const job = { job_name: 'postern', scrape_interval: '5s', file_sd_configs: [{ files: [targets] }] };
  writeFileSync(join(folder, 'prometheus.json'), JSON.stringify({ scrape_configs: [job] }));
  parts.start('prometheus', systemProgram('prometheus'), [
    `--config.file=${join(folder, 'prometheus.json')}`,
    `--storage.tsdb.path=${join(folder, 'prometheus')}`,
    `--web.listen-address=127.0.0.1:${port}`,
  ]);
  const certificates = join(folder, 'adapter');
  mkdirSync(certificates);
  // The file is for the adapter's chart, which hands its rules on so.
  const { rules } = parse(readFileSync(join(ROOT, 'deploy/kubernetes/prometheus-adapter.yaml'), 'utf8'));
  writeFileSync(join(folder, 'adapter.json'), JSON.stringify({ rules: rules.custom }));
  parts.start('prometheus-adapter', program('prometheus-adapter'), [
    `--config=${join(folder, 'adapter.json')}`,
    `--prometheus-url=http://127.0.0.1:${port}`,
    '--metrics-relist-interval=10s',
    '--bind-address=127.0.0.1',
    `--secure-port=${adapter}`,
    `--cert-dir=${certificates}`,
    ...['lister', 'authentication', 'authorization'].map((part) => `--${part}-kubeconfig=${cluster.kubeconfig}`),
  ]);
  // The adapter is a process of this machine: its Service says where.
  const service = {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'adapter', namespace: 'monitoring' },
    spec: { type: 'ExternalName', externalName: 'localhost', ports: [{ port: adapter }] },
  };
  const api = {
    apiVersion: 'apiregistration.k8s.io/v1',
    kind: 'APIService',
    metadata: { name: 'v1beta1.custom.metrics.k8s.io' },
    spec: {
      group: 'custom.metrics.k8s.io',
      version: 'v1beta1',
      insecureSkipTLSVerify: true,
      groupPriorityMinimum: 100,
      versionPriority: 100,
      service: { name: 'adapter', namespace: 'monitoring', port: adapter },
    },
  };
  await cluster.apply([service, api].map((one) => JSON.stringify(one)).join('\n---\n'));
  const telling = setInterval(async () => {
    const pods = await podsOf(world).catch(() => undefined);
    const told = pods?.map(({ metadata: { namespace, name }, status }) => ({
      targets: [`${status.podIP}:9002`],
      labels: { namespace, pod: name },
    }));
    if (told) writeFileSync(targets, JSON.stringify(told));
  }, 2_000);
  await until('the metrics API', async () => /custom\.metrics/.test(await kubectl('get', '--raw', '/apis')));
  return () => clearInterval(telling);
}

/** The chart, with as little load as makes it grow. */
async function upgrade({ folder, cluster }, podAnnotations) {
  const values = join(folder, 'values.json');
  const from = (name) => [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': name } } }];
  writeFileSync(
    values,
    JSON.stringify({
      image: IMAGE_VALUES,
      autoscaling: { enabled: true, minReplicas: 1, maxReplicas: 3, checksPerSecond: 20, cpuPercent: 0 },
      networkPolicy: { checkFrom: from('envoys'), adminFrom: from('monitoring') },
      podAnnotations,
    }),
  );
  await install(cluster, ['postern', 'postern', 'postern'], ['-f', values, '--wait', '--timeout', '240s']);
}

async function checkAutoscaling(expect, world) {
  const { kubectl } = world;
  const path = '/apis/custom.metrics.k8s.io/v1beta1/namespaces/postern/pods/*/postern_checks_per_second';
  const replicas = async () =>
    Number(await kubectl('-n', 'postern', 'get', 'hpa', 'postern', '-o', 'jsonpath={.status.desiredReplicas}'));
  const [pod] = await podsOf(world);
  const load = startLoad(pod.status.podIP, 100);
  try {
    const metric = await until('the metric', async () => {
      const { items } = JSON.parse(await kubectl('get', '--raw', path));
      return items.length > 0 && items;
    }).catch((error) => error.message);
    await expect(
      'postern_checks_per_second, by the metrics API, of pod',
      pod.metadata.name,
      metric[0]?.describedObject?.name,
    );
    const began = Date.now();
    await until('three replicas', async () => (await replicas()) === 3, 180_000, 1_000).catch(() => undefined);
    console.log(`     three replicas were wanted after ${seconds(Date.now() - began)} s`);
    await expect('replicas wanted at five times the checks that one shall have (at most 3)', 3, await replicas());
    await until('all ready', async () => (await podsOf(world)).length === 3).catch(() => undefined);
    await expect('replicas that are ready', 3, (await podsOf(world)).length);
  } finally {
    load.stop();
  }
  await expect('checks that were not answered meanwhile', 0, load.failed());
}

async function checkBudget(expect, world) {
  const evict = async ({ metadata: { name, namespace } }) => {
    const body = JSON.stringify({ apiVersion: 'policy/v1', kind: 'Eviction', metadata: { name, namespace } });
    const path = `/api/v1/namespaces/${namespace}/pods/${name}/eviction`;
    const { code, stderr } = await world.cluster.kubectl(['create', '--raw', path, '-f', '-'], body);
    return code === 0 ? 'evicted' : stderr.trim();
  };
  const [first, second] = await podsOf(world);
  await expect('a node is drained: the first replica', 'evicted', await evict(first));
  await expect('the second at the same time', /disruption budget/, await evict(second));
  await until('its successor', async () => {
    const pods = await podsOf(world);
    return pods.length === 3 && pods.every(({ metadata }) => metadata.name !== first.metadata.name);
  });
}

/** Gives what ends the firewall. */
async function checkNetworkPolicy(expect, world) {
  const { kubectl, cluster, parts } = world;
  const callers = new Map();
  for (const namespace of ['envoys', 'monitoring', 'others']) await cluster.apply(askerPod('caller', namespace));
  for (const namespace of ['envoys', 'monitoring', 'others']) {
    await kubectl('-n', namespace, 'wait', '--for=condition=Ready', 'pod/caller', '--timeout=120s');
    callers.set(namespace, await kubectl('-n', namespace, 'get', 'pod', 'caller', '-o', 'jsonpath={.status.podIP}'));
  }
  const [replica] = await podsOf(world);
  const from = async (namespace, what) => {
    const body = JSON.stringify({ host: replica.status.podIP, headers: {}, ...what });
    const answer = await ask({ host: callers.get(namespace), port: 7000, path: '/', headers: {}, body });
    return JSON.parse(answer.body).status;
  };
  const check = (namespace) => from(namespace, { isGrpc: true, port: 9001, path: CHECK });
  const metrics = (namespace) => from(namespace, { port: 9002, path: '/metrics' });
  const reach = async (host, port) => {
    const script = `require('net').connect(${port}, '${host}').setTimeout(3000, () => process.exit(3)).on('connect', () => process.exit(0)).on('error', () => process.exit(2))`;
    const words = ['-n', 'postern', 'exec', replica.metadata.name, '-c', 'postern', '--', 'node', '-e', script];
    return (await cluster.kubectl(words)).code === 0;
  };
  await expect('without enforcement: another namespace asks', 'grpc 0', await check('others'));
  await expect('without enforcement: Postern reaches a pod', true, await reach(callers.get('others'), 7000));

  for (const name of ['ipset', 'iptables']) systemProgram(name);
  const before = await Promise.all(TABLES.map((name) => finished(`${name}-save`, [])));
  const sets = await setsOf();
  const router = parts.start('kube-router', program('kube-router'), [
    `--kubeconfig=${cluster.kubeconfig}`,
    '--hostname-override=localhost',
    '--run-firewall=true',
    '--run-router=false',
    '--run-service-proxy=false',
    '--service-cluster-ip-range=10.96.0.0/16',
    '--iptables-sync-period=10s',
    '--health-port=0',
    '--metrics-port=0',
  ]);
  await until('enforcement', async () => (await check('others')) === 'none', 120_000).catch(() => undefined);
  await expect('NetworkPolicy: the namespace of the Envoys asks', 'grpc 0', await check('envoys'));
  await expect('NetworkPolicy: another one asks', 'none', await check('others'));
  await expect('NetworkPolicy: Prometheus asks', 'none', await check('monitoring'));
  await expect('NetworkPolicy: Prometheus reads metrics', 200, await metrics('monitoring'));
  await expect('NetworkPolicy: the Envoys read metrics', 'none', await metrics('envoys'));
  await expect('NetworkPolicy: Postern reaches a pod', false, await reach(callers.get('others'), 7000));
  await sleep(15_000);
  await expect("and the kubelet's probes go on: replicas that are ready", 3, (await podsOf(world)).length);
  const firewall = {
    /** Ends it, and puts the machine's own rules back. */
    async stop() {
      router.child.kill('SIGTERM');
      await until('the end of the firewall', () => router.gone, 20_000).catch(() => router.child.kill('SIGKILL'));
      for (const [index, { stdout }] of before.entries())
        await finished(`${TABLES[index]}-restore`, [], { input: stdout });
      for (const name of await setsOf()) if (!sets.includes(name)) await finished('ipset', ['destroy', name]);
    },
  };
  onInterrupt(firewall.stop);
  return firewall;
}

const TABLES = ['iptables', 'ip6tables'];

async function setsOf() {
  return (await finished('ipset', ['list', '-n'])).stdout.split('\n').filter(Boolean);
}

async function checkUpgrade(expect, world) {
  const { kubectl } = world;
  const before = new Set((await podsOf(world)).map(({ metadata }) => metadata.name));
  await upgrade(world, { version: 'second' });
  const after = (await podsOf(world)).map(({ metadata }) => metadata.name);
  await expect('helm upgrade: pods of before', 0, after.filter((name) => before.has(name)).length);
  const wanted = await kubectl('-n', 'postern', 'get', 'deployment', 'postern', '-o', 'jsonpath={.spec.replicas}');
  await expect('helm upgrade leaves the replicas to the autoscaler', '3', wanted);
}

/** Those that are ready and stay. */
async function podsOf({ kubectl }) {
  const { items } = JSON.parse(await kubectl('-n', 'postern', 'get', 'pod', '-l', LABEL, '-o', 'json'));
  return items.filter(
    ({ metadata, status }) =>
      metadata.deletionTimestamp === undefined &&
      status.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True'),
  );
}

/** So many empty checks a second. */
function startLoad(address, rate) {
  const client = new Client(`${address}:9001`, credentials.createInsecure());
  const same = (bytes) => bytes;
  let failed = 0;
  const timer = setInterval(() => {
    client.makeUnaryRequest(CHECK, same, same, Buffer.alloc(0), { deadline: Date.now() + 5_000 }, (error) => {
      if (error) failed += 1;
    });
  }, 1_000 / rate);
  return {
    failed: () => failed,
    stop() {
      clearInterval(timer);
      client.close();
    },
  };
}
