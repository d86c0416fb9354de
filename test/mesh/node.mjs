/** The chart of an application with Postern and Envoy as native sidecars (deploy/helm/orders) on a real node: installed
 *  by helm, asked over the network, changed, broken and stopped. */
import { lstatSync, readFileSync, readdirSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeDemoFolder } from '../../dist/demo/folder.js';
import { ask as httpAsk } from './ask.mjs';
import { startCluster } from './cluster.mjs';
import { IMAGE, IMAGE_VALUES } from './image.mjs';
import { TOKENS, followLogs, install, makeImages, seconds, startNode, timeOf } from './machine.mjs';
import { crew, finished, until, workFolder } from './processes.mjs';
import { ROOT, program } from './programs.mjs';
import { checkKilled, startTraffic } from './traffic.mjs';

export async function checkNode(expect) {
  const folder = workFolder('node');
  const parts = crew(folder);
  const demo = await makeDemoFolder(join(folder, 'demo'), Date.now());
  let node;
  try {
    const images = makeImages(folder);
    const cluster = await startCluster(parts);
    node = await startNode(parts, cluster, images);
    const { must: kubectl } = cluster;
    await newNamespace(kubectl, 'shop');
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
    await install(cluster, ['orders', 'shop', 'orders'], ['-f', values, '--wait', '--timeout', '180s']);
    const { stdout: state } = await helmStatus(cluster, 'orders');
    await expect('helm install --wait', 'deployed', JSON.parse(state).info.status);
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
    const ask = async (token, path = '/') => {
      const headers = {
        host: 'orders.example.com',
        ...(token && { authorization: `Bearer ${demo.tokens.get(token)}` }),
      };
      return (await httpAsk({ host: address, port: 8000, path, headers })).status;
    };
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

    await checkKilled(expect, ask);

    const followed = followLogs(parts, pod, ['postern', 'envoy', 'app']);
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
      timeOf(app.text(), /app stopping/),
      timeOf(envoy.text(), /SIGTERM/),
      timeOf(postern.text(), /draining/),
    ];
    const times = when(followed);
    await expect(
      'stopped in order: the application, Envoy, Postern',
      true,
      times.every((time) => time > 0) && times[0] <= times[1] && times[1] <= times[2],
    );
    await kubectl('delete', 'namespace', 'shop', '--timeout=100s');
    await checkPlain(expect, cluster);
    await checkStarts(expect, cluster);
  } finally {
    await (node ?? parts).stop();
  }
}

/** deploy/kubernetes/sidecar.yaml as it stands, but for the images. */
async function checkPlain(expect, cluster) {
  const { must: kubectl } = cluster;
  await newNamespace(kubectl, 'shop');
  await cluster.apply(plainText());
  await kubectl('-n', 'shop', 'rollout', 'status', 'deployment/orders', '--timeout=180s');
  const { items } = JSON.parse(await kubectl('-n', 'shop', 'get', 'pod', '-l', 'app=orders', '-o', 'json'));
  await expect('kubectl apply of sidecar.yaml: pods that are ready', 2, items.length);
  const seen = await Promise.all(items.map(({ status }) => statusAt(status.podIP)));
  await expect('sidecar.yaml: nobody, at each', '401,401', seen.join());
  await kubectl('delete', 'namespace', 'shop', '--timeout=100s');
}

/** What keeps a pod from starting is said where one looks for it, and nobody is let in meanwhile. */
async function checkStarts(expect, cluster) {
  const { must: kubectl } = cluster;
  const text = plainText().replace('replicas: 2', 'replicas: 1');
  const cases = [
    ['a policy with a fault', text.replace('decision: allow', 'decision: alow'), /orders\.yaml:\d+:\d+ \w+: .*alow/],
    [
      'a Secret that is not there',
      text
        .replace('      volumes:\n', '      volumes:\n        - { name: keys, secret: { secretName: postern-keys } }\n')
        .replace(POLICIES, `${POLICIES}\n            - { name: keys, mountPath: /etc/postern/keys, readOnly: true }`),
      /secret "postern-keys" not found/,
    ],
    [
      'a key that no Secret holds',
      text.replace('    log:\n', `    ${STEP_UP}\n    log:\n`),
      /key_file_missing: cannot create \S+keys\/portal\.pem/,
    ],
  ];
  for (const [name, manifest, expected] of cases) {
    await newNamespace(kubectl, 'wrong');
    await cluster.apply(manifest.replaceAll('namespace: shop', 'namespace: wrong'));
    const told = async () => {
      const [pod] = JSON.parse(await kubectl('-n', 'wrong', 'get', 'pod', '-l', 'app=orders', '-o', 'json')).items;
      const { stdout: log } = await cluster.kubectl(['-n', 'wrong', 'logs', pod.metadata.name, '-c', 'postern']);
      const { stdout: events } = await cluster.kubectl([
        '-n',
        'wrong',
        'get',
        'events',
        '-o',
        'jsonpath={range .items[*]}{.message}{"\\n"}{end}',
      ]);
      const line = `${log}\n${events}`.split('\n').find((one) => expected.test(one));
      const isReady = pod.status.conditions.some(({ type, status }) => type === 'Ready' && status === 'True');
      return line && { line, isReady, address: pod.status.podIP };
    };
    const { line, isReady, address } = await until(name, told, 90_000, 1_000).catch((error) => ({
      line: error.message,
    }));
    await expect(`at the start, ${name}: it is said`, expected, line);
    await expect(`at the start, ${name}: the pod is ready`, false, isReady);
    await expect(`at the start, ${name}: nobody`, 'none', address ? await statusAt(address) : 'none');
    await kubectl('delete', 'namespace', 'wrong', '--timeout=100s');
  }
}

const POLICIES = '- { name: postern-policies, mountPath: /etc/postern/policies, readOnly: true }';
const STEP_UP = 'step_up: { portal_url: "https://login.example.com/", portal_key: keys/portal.pem }';

async function newNamespace(kubectl, name) {
  await kubectl('create', 'namespace', name);
  await kubectl('label', 'namespace', name, 'pod-security.kubernetes.io/enforce=restricted');
}

async function statusAt(host) {
  return (await httpAsk({ host, port: 8000, path: '/', headers: { host: 'orders.example.com' } })).status;
}

function plainText() {
  const images = { postern: IMAGE, envoy: 'localhost/envoy:mesh', orders: 'localhost/app:mesh' };
  return readFileSync(join(ROOT, 'deploy/kubernetes/sidecar.yaml'), 'utf8').replace(
    /image: "(?:\S+\/)?(postern|envoy|orders):[^"]+"/g,
    (_, name) => `image: "${images[name]}"`,
  );
}

/** postern.yaml and the policies as they stand, keys from the Secret. */
function valuesOf(demo) {
  const read = (name) => readFileSync(join(demo.config, name), 'utf8');
  const policies = Object.fromEntries(
    readdirSync(join(demo.config, 'policies')).map((name) => [name, read(`policies/${name}`)]),
  );
  return {
    replicas: 1,
    app: { image: 'localhost/app:mesh' },
    envoy: { image: 'localhost/envoy:mesh' },
    postern: {
      image: IMAGE_VALUES,
      settings: { log: { decisions: 'none' }, identity: { tokens: [TOKENS] } },
      policies: { ...policies, 'orders.yaml': null },
      secretFiles: [{ secret: 'postern-keys', folder: 'keys' }],
    },
  };
}

function helmStatus({ kubeconfig }, release) {
  return finished(program('helm'), ['--kubeconfig', kubeconfig, '-n', 'shop', 'status', release, '-o', 'json']);
}

/** When the kubelet swapped the volume of the policies, in milliseconds since the epoch: its new version's folder got its
 *  last file just before. */
function swapTime(folder, uid) {
  const volume = join(folder, 'kubelet/pods', uid, 'volumes/kubernetes.io~projected/postern-policies');
  return lstatSync(join(volume, readlinkSync(join(volume, '..data')))).mtimeMs;
}
