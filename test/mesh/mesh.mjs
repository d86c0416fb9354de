/** Istio as it is used: sidecars injected into the pods of a real node, mutual TLS between them, and Postern where
 *  docs/install.md puts it, by the lines that stand there: in the pod of a workload, and behind the ingress gateway.
 *  There is no cluster DNS and no kube-proxy, so callers ask cluster addresses, which the sidecars know. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parse, parseAllDocuments } from 'yaml';
import { ORDERS, makeDemoFolder } from '../../dist/demo/folder.js';
import { ask } from './ask.mjs';
import { installDefinitions, startCluster } from './cluster.mjs';
import { IMAGE_VALUES } from './image.mjs';
import { entrance, startIstiod } from './istiod.mjs';
import {
  askerImage,
  TOKENS,
  askerPod,
  followLogs,
  install,
  makeImages,
  seconds,
  startNode,
  timeOf,
} from './machine.mjs';
import { crew, finished, freePorts, onInterrupt, until, workFolder } from './processes.mjs';
import { ROOT, VERSIONS, envoyBinary, moduleFolder, program, run, systemProgram } from './programs.mjs';
import { checkKilled, startTraffic } from './traffic.mjs';

/** Where pods find what runs on the machine itself: an address of the loopback device, so that nobody else does. */
const ADDRESS = '10.88.78.1';

/** The agent of Istio with a stock Envoy, instead of Istio's own build of it. */
const proxyImage = (base) => ({
  dockerfile: `FROM ${base}
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends iptables iproute2
COPY proxy-envoy /usr/local/bin/envoy
COPY pilot-agent /usr/local/bin/pilot-agent
COPY envoy_bootstrap.json /var/lib/istio/envoy/envoy_bootstrap_tmpl.json
ENTRYPOINT ["/usr/local/bin/pilot-agent"]
`,
  files: {
    'proxy-envoy': envoyBinary(),
    'pilot-agent': program('pilot-agent'),
    'envoy_bootstrap.json': join(istioSource(), 'tools/packaging/common/envoy_bootstrap.json'),
  },
});

export async function checkMesh(expect) {
  const folder = workFolder('mesh');
  const parts = crew(folder);
  const demo = await makeDemoFolder(join(folder, 'demo'), Date.now());
  let machine;
  run(systemProgram('ip'), ['address', 'replace', `${ADDRESS}/32`, 'dev', 'lo']);
  onInterrupt(() => finished('ip', ['address', 'del', `${ADDRESS}/32`, 'dev', 'lo']));
  try {
    const images = makeImages(folder, (base) => ({
      proxy: proxyImage(base),
      asker: askerImage(base),
    }));
    const cluster = await startCluster(parts);
    await installDefinitions(cluster);
    // Changed ConfigMaps reach a pod with its next sync, which is after a minute otherwise.
    machine = await startNode(parts, cluster, images, { syncFrequency: '5s' });
    const world = await createWorld({ folder, parts, cluster, demo });
    await world.startIstio();
    await world.startCallers();
    await checkWorkload(expect, world);
    await checkCertificates(expect, world);
    await checkMistakes(expect, world);
    await checkEnds(expect, world);
    await checkSocket(expect, world);
    await checkGateway(expect, world);
  } finally {
    await (machine ?? parts).stop();
    run('ip', ['address', 'del', `${ADDRESS}/32`, 'dev', 'lo']);
  }
}

/** What all checks use: the cluster, who asks, and the workload's own chart. */
async function createWorld({ folder, parts, cluster, demo }) {
  const { must: kubectl, apply } = cluster;
  const podOf = async (namespace, label) => {
    const { items } = JSON.parse(await kubectl('-n', namespace, 'get', 'pod', '-l', label, '-o', 'json'));
    return items.find(({ metadata }) => metadata.deletionTimestamp === undefined);
  };
  for (const name of ['istio-system', 'postern', 'shop']) await kubectl('create', 'namespace', name);
  for (const name of ['postern', 'shop']) await kubectl('label', 'namespace', name, 'istio-injection=enabled');
  const callers = new Map();
  const world = {
    folder,
    parts,
    cluster,
    demo,
    kubectl,
    apply,
    podOf,
    settings: {
      log: { decisions: 'all' },
      identity: { tokens: [TOKENS] },
      upstream: { headers: { 'x-postern-user': 'subject' } },
    },
    /** The service's address. */
    address: undefined,
    async startIstio() {
      const [secure] = await freePorts(1);
      const { webhooks, manifests } = await installIstio({ folder, parts, cluster, secure, apply });
      await apply(manifests(webhooks));
      const bundle = () =>
        kubectl(
          'get',
          'mutatingwebhookconfiguration',
          'istio-sidecar-injector',
          '-o',
          'jsonpath={.webhooks[*].clientConfig.caBundle}',
        );
      await until('the webhook has its authority', async () => (await bundle()) !== '');
      const authority = await until('the authority of the mesh', () =>
        kubectl('-n', 'shop', 'get', 'configmap', 'istio-ca-root-cert', '-o', 'jsonpath={.data.root-cert\\.pem}'),
      );
      for (const namespace of ['shop', 'postern'])
        await apply(
          JSON.stringify({
            apiVersion: 'v1',
            kind: 'Secret',
            metadata: { name: 'postern-keys', namespace },
            stringData: {
              'jwks.json': readFileSync(join(demo.config, 'keys/jwks.json'), 'utf8'),
              'mesh.pem': authority,
              'other.pem': strangersAuthority(folder),
            },
          }),
        );
    },
    async startCallers() {
      for (const name of ['client', 'other']) await apply(askerPod(name, 'shop'));
      for (const name of ['client', 'other']) {
        await kubectl('-n', 'shop', 'wait', '--for=condition=Ready', `pod/${name}`, '--timeout=180s');
        callers.set(name, (await podOf('shop', `app=${name}`)).status.podIP);
      }
    },
    /** One request from inside the mesh. */
    async from(caller, what) {
      const body = JSON.stringify({ host: world.address, port: 80, path: '/', ...what });
      const told = await ask({ host: callers.get(caller), port: 7000, path: '/', headers: {}, body });
      if (told.status !== 200) throw new Error(`the caller ${caller} is gone: ${told.body}`);
      return JSON.parse(told.body);
    },
    /** The same for the application, with a user's token or with none. */
    ask(token, path = '/', headers = {}, caller = 'client') {
      return world.from(caller, {
        path,
        headers: { host: 'orders.shop', 'x-postern-user': 'root', ...bearer(demo, token), ...headers },
      });
    },
    async status(...args) {
      return (await world.ask(...args)).status;
    },
    /** Somebody outside the mesh asks the pod itself, in clear. */
    async plainly(token, path = '/', headers = {}) {
      const pod = await podOf('shop', 'app=orders');
      const all = { host: 'orders.shop', ...bearer(demo, token), ...headers };
      return (await ask({ host: pod.status.podIP, port: 8080, path, headers: all })).status;
    },
    installOrders: (changes = {}) => installOrders(world, changes),
  };
  return world;
}

/** Postern beside a workload: sidecar.yaml as it stands. */
async function checkWorkload(expect, world) {
  const { kubectl, apply, podOf, status } = world;
  await world.installOrders();
  world.address = await kubectl('-n', 'shop', 'get', 'service', 'orders', '-o', 'jsonpath={.spec.clusterIP}');
  const pod = await podOf('shop', 'app=orders');
  await expect(
    'the pod, in the order of its containers',
    'istio-init,istio-proxy,postern,app',
    [...pod.spec.initContainers, ...pod.spec.containers].map(({ name }) => name).join(),
  );
  await until('the service', async () => (await status()) === 200, 60_000).catch(() => undefined);
  await expect('before sidecar.yaml: nobody', 200, await status());
  await apply(own('sidecar.yaml'));
  // What is open already goes on until it is drained.
  const applied = Date.now();
  const unasked = await steady(status, 401, { forMs: 15_000, limitMs: 180_000, everyMs: 50 });
  console.log(
    `     the last request that nobody was asked about came ${seconds(unasked - applied)} s after sidecar.yaml`,
  );
  const nobody = await world.ask();
  await expect('nobody', 401, nobody.status);
  await expect("and it is Postern's answer", 'not_authenticated', reasonOf(nobody));
  const ann = await world.ask('ann');
  await expect('ann', 200, ann.status);
  await expect("ann's name reaches the application", 'ann@example.com', seenBy(ann, 'x-postern-user'));
  await expect('mallory', 403, await status('mallory'));
  const admin = await world.ask('ann', '/admin');
  await expect('ann at /admin', 401, admin.status);
  await expect('is told to step up', /insufficient_user_authentication/, admin.headers['www-authenticate']);
  await expect('ann at /admin after a code', 200, await status('ann-strong', '/admin'));
  await expect('in clear, from outside the mesh: ann', 'none', await world.plainly('ann'));
  const asked = /for path in (.*); do/.exec(readFileSync(join(ROOT, 'docs/install.md'), 'utf8'))?.[1] ?? '';
  const paths = asked.split(' ').map((path) => path.replaceAll('"', ''));
  const seen = [];
  for (const path of paths) seen.push(`${path} ${await status(undefined, path)}`);
  await expect(
    '"Is it closed?", by nobody',
    '/ 401,/healthz 401,/api/x 401,/admin 401,/admin/../x 401,/a%2fb 400,/no-such-page 401',
    seen.join(),
  );
}

/** Who calls is said by certificates: Postern's rules and Istio's. */
async function checkCertificates(expect, world) {
  const { kubectl, apply, status } = world;
  const internal = (caller, headers) => status(undefined, '/internal', headers, caller);
  await expect('a certificate of the mesh, chain verified here: /internal', 200, await internal('client'));
  const line = JSON.parse(await logged(world, /"path":"\/internal"/));
  await expect('and the log names the caller', 'spiffe://cluster.local/ns/shop/sa/client', line.principal);

  // The root that Istio's leaf chains to is replaced by one that signed nothing here.
  await change(world, { certificates: { trusted_authorities: 'keys/other.pem' } }, () => internal('client'), 403);
  await expect('below an authority that is not theirs: /internal', 403, await internal('client'));
  await change(world, { certificates: { from: ['xfcc'] } }, () => internal('client'), 200);
  await expect('by x-forwarded-client-cert alone: /internal', 200, await internal('client'));

  await apply(policyOf('ALLOW', '[{ from: [{ source: { principals: [cluster.local/ns/shop/sa/client] } }] }]'));
  await steady(() => internal('other'), 403);
  const other = await world.ask(undefined, '/internal', {}, 'other');
  await expect('only one workload may, by an ALLOW policy: another', 403, other.status);
  await expect("and it is Istio's answer", 'RBAC: access denied', other.body);
  await expect('the one: /internal', 200, await internal('client'));
  await expect('the one without a token', 401, await status());
  await kubectl('-n', 'shop', 'delete', 'authorizationpolicy', 'callers');

  await apply(own('sidecar.yaml').replace('mode: STRICT', 'mode: PERMISSIVE'));
  await steady(() => world.plainly('ann'), 200);
  await expect('PERMISSIVE, in clear: ann', 200, await world.plainly('ann'));
  await expect('PERMISSIVE, in clear: nobody', 401, await world.plainly());
  const forged = { 'x-forwarded-client-cert': FORGED };
  const answer = await world.plainly(undefined, '/internal', forged);
  await expect('PERMISSIVE, in clear, with a header that names a certificate: /internal', 403, answer);
  await expect('the same header within the mesh: /internal', 200, await internal('client', forged));
}

/** What deploy/istio/README.md says of conditions on principals. */
async function checkMistakes(expect, world) {
  const { apply } = world;
  const conditional = own('sidecar.yaml')
    .replace('mode: STRICT', 'mode: PERMISSIVE')
    .replace('rules: [{}]', 'rules: [{ from: [{ source: { principals: ["*"] } }] }]');
  await apply(conditional);
  await steady(() => world.plainly(), 200);
  await expect('PERMISSIVE and a condition on principals: nobody, in clear', 200, await world.plainly());
  await apply(own('sidecar.yaml'));
  await steady(() => world.plainly('ann'), 'none');
  await expect('STRICT again: nobody, in clear', 'none', await world.plainly());
}

/** Killed, rolled over and ended, under traffic. */
async function checkEnds(expect, world) {
  const { kubectl, podOf, parts, cluster, status } = world;
  await checkKilled(expect, status);

  const old = await podOf('shop', 'app=orders');
  const [app, postern, proxy] = followLogs(parts, old, ['app', 'postern', 'istio-proxy']);
  await sleep(2_000);
  const rolling = startTraffic(status);
  // A new version of the chart's release: every pod is replaced.
  await world.installOrders({ annotations: { version: 'second' } });
  await until('the old pod to be gone', async () => {
    const { code } = await cluster.kubectl(['-n', 'shop', 'get', 'pod', old.metadata.name]);
    return code !== 0;
  });
  const rolled = await rolling.stop();
  console.log(`     ${rolled.asked} requests of ann's meanwhile, ${rolled.refused} not answered 200`);
  await expect('helm upgrade under traffic: what nobody saw', /^401(,503)?$/, rolled.nobody);
  await expect('helm upgrade under traffic: what ann saw', /^200(,503)?$/, rolled.ann);
  const times = [
    timeOf(app.text(), /app stopping/),
    timeOf(postern.text(), /"stopped"/),
    timeOf(proxy.text(), /Agent has successfully terminated/),
  ];
  await expect(
    'stopped in order: the application, Postern, the sidecar',
    true,
    times.every((time) => time > 0) && times[0] <= times[1] && times[1] <= times[2],
  );
  await kubectl('-n', 'shop', 'rollout', 'status', 'deployment/orders', '--timeout=60s');
}

/** socket.yaml as it stands, and the annotations that it names. */
async function checkSocket(expect, world) {
  const { apply, kubectl, status } = world;
  const annotations = Object.fromEntries(
    [...own('socket.yaml').matchAll(/^# +(\S+istio\.io\/\S+): ['"](.*)['"]$/gm)].map(([, name, value]) => [
      name,
      value,
    ]),
  );
  await world.installOrders({ annotations, postern: { socket: { enabled: true } } });
  await apply(own('socket.yaml'));
  await steady(() => status('ann'), 200);
  await expect('over a unix socket: ann', 200, await status('ann'));
  await expect('over a unix socket: nobody', 401, await status());
  const pod = await world.podOf('shop', 'app=orders');
  await expect(
    'and the check port is none',
    'none',
    (await ask({ host: pod.status.podIP, port: 9001, path: '/', headers: {} })).status,
  );
  await kubectl('-n', 'shop', 'delete', 'serviceentry', 'postern-local');
  await steady(() => status('ann'), 403);
  await expect('without the ServiceEntry: ann', 403, await status('ann'));
  await apply(own('socket.yaml'));
  await until('the socket again', async () => (await status('ann')) === 200, 60_000);
}

/** The shared Postern behind the ingress gateway: gateway.yaml as it stands. */
async function checkGateway(expect, world) {
  const { apply, kubectl, podOf, cluster, demo, folder } = world;
  const [, docs] =
    /## Istio, the ingress gateway\n([^]*?)\n## /.exec(readFileSync(join(ROOT, 'docs/install.md'), 'utf8')) ?? [];
  const flags = [...docs.matchAll(/--set-json '([^']+)'/g)].flatMap(([, value]) => ['--set-json', value]);
  if (flags.length === 0) throw new Error('docs/install.md no longer says --set-json: adapt this part');
  const values = join(folder, 'shared.json');
  const policies = { 'orders.yaml': policiesOf() };
  const installShared = (changes) => {
    writeFileSync(values, JSON.stringify({ ...posternValues(world, changes), policies, replicas: 2 }));
    return install(cluster, ['postern', 'postern', 'postern'], ['-f', values, ...flags, '--wait', '--timeout', '240s']);
  };
  await installShared({});
  await apply(gatewayOf());
  await kubectl('-n', 'istio-system', 'rollout', 'status', 'deployment/ingress', '--timeout=180s');
  const gateway = (await podOf('istio-system', 'istio=ingressgateway')).status.podIP;
  const enter = (token, path = '/') =>
    ask({
      host: gateway,
      port: 8080,
      path,
      headers: { host: 'orders.example.com', 'x-postern-user': 'root', ...bearer(demo, token) },
    });
  await until('the gateway', async () => (await enter('ann')).status === 200, 120_000).catch(() => undefined);
  await apply(own('gateway.yaml'));
  const shared = async () =>
    (await logsOf(world, 'postern', 'app.kubernetes.io/name=postern')).includes('orders.example.com');
  await until('the shared one to be asked', async () => (await enter()) && shared(), 60_000).catch(() => undefined);
  await expect('gateway: the shared Postern is asked', true, await shared());
  await expect('gateway: nobody', 401, (await enter()).status);
  const ann = await enter('ann');
  await expect('gateway: ann, through both', 200, ann.status);
  await expect("gateway: ann's name reaches the application", 'ann@example.com', seenBy(ann, 'x-postern-user'));
  await expect('gateway: mallory', 403, (await enter('mallory')).status);
  await expect('gateway: ann at /admin', 401, (await enter('ann', '/admin')).status);
  await expect('gateway: a slash in an escape', 400, (await enter('ann', '/a%2fb')).status);

  const service = await kubectl('-n', 'postern', 'get', 'service', 'postern', '-o', 'jsonpath={.spec.clusterIP}');
  const check = { isGrpc: true, host: service, port: 9001, path: '/envoy.service.auth.v3.Authorization/Check' };
  await expect(
    'another workload asks the shared Postern (7: permission denied)',
    'grpc 7',
    (await world.from('client', check)).status,
  );
  const replica = (await podOf('postern', 'app.kubernetes.io/name=postern')).status.podIP;
  await expect(
    'somebody outside the mesh asks it',
    'none',
    (await ask({ host: replica, port: 9001, path: '/', headers: {} })).status,
  );

  const upgrading = startTraffic(async (token) => (await enter(token)).status);
  await installShared({ podLabels: { version: 'second' } });
  const upgraded = await upgrading.stop();
  console.log(`     ${upgraded.asked} requests of ann's meanwhile, ${upgraded.refused} not answered 200`);
  await expect('gateway: helm upgrade of two replicas: what nobody saw', '401', upgraded.nobody);
  await expect('gateway: helm upgrade of two replicas: what ann saw', '200', upgraded.ann);

  await kubectl('-n', 'postern', 'scale', 'deployment', 'postern', '--replicas=0');
  const traffic = startTraffic(async (token) => (await enter(token)).status);
  await until(
    'Postern to be gone',
    async () => (await podOf('postern', 'app.kubernetes.io/name=postern')) === undefined,
  );
  await steady(async () => (await enter('ann')).status, 503);
  await expect('gateway: ann while the shared Postern is gone', 503, (await enter('ann')).status);
  const seen = await traffic.stop();
  await expect('gateway: what nobody saw while it went', /^401(,503)?$/, seen.nobody);
  await expect('gateway: what ann saw while it went', /^200,503$/, seen.ann);
}

/** Istio's own installation: its configuration and the webhook that injects, which is reached at a port of ours. */
async function installIstio({ folder, parts, cluster, secure, apply }) {
  const operator = join(folder, 'operator.json');
  const reached = `${ADDRESS}:${secure}`;
  const global = {
    imagePullPolicy: 'IfNotPresent',
    caAddress: reached,
    proxy: { image: 'proxy' },
    proxy_init: { image: 'proxy' },
  };
  writeFileSync(
    operator,
    JSON.stringify({
      apiVersion: 'install.istio.io/v1alpha1',
      kind: 'IstioOperator',
      spec: {
        profile: 'default',
        hub: 'localhost',
        tag: 'mesh',
        values: { telemetry: { enabled: false }, global },
        meshConfig: { ...parse(own('mesh-config.yaml')), defaultConfig: { discoveryAddress: reached } },
      },
    }),
  );
  const { code, stdout, stderr } = await finished(
    program('istioctl'),
    ['manifest', 'generate', '--manifests', join(istioSource(), 'manifests'), '-f', operator],
    { env: { ...process.env, KUBECONFIG: cluster.kubeconfig } },
  );
  if (code !== 0) throw new Error(`istioctl: ${stderr}`);
  const documents = parseAllDocuments(stdout)
    .map((document) => document.toJS())
    .filter(Boolean);
  const named = (kind, name) => documents.find((one) => one.kind === kind && one.metadata.name === name);
  const configuration = ['istio', 'istio-sidecar-injector'].map((name) => named('ConfigMap', name));
  await apply(configuration.map((one) => JSON.stringify(one)).join('\n---\n'));
  const { webhooks } = await startIstiod(parts, cluster, {
    address: ADDRESS,
    secure,
    env: { ISTIOD_CUSTOM_HOST: `localhost,${ADDRESS}`, REVISION: 'default', ENABLE_NATIVE_SIDECARS: 'true' },
  });
  const manifests = (port) => {
    const injector = named('MutatingWebhookConfiguration', 'istio-sidecar-injector');
    for (const webhook of injector.webhooks)
      webhook.clientConfig = { url: `https://localhost:${port}${webhook.clientConfig.service.path}` };
    return JSON.stringify(injector);
  };
  return { webhooks, manifests };
}

/** A chart of the user's own, as docs/install.md says to write it; `changes`: annotations of the pod, and values of
 *  Postern's. */
async function installOrders(world, { annotations = {}, postern = {} }) {
  const text = readFileSync(join(ROOT, 'docs/install.md'), 'utf8');
  const fences = [...text.matchAll(/^```yaml\n([^]*?)^```$/gm)].map(([, content]) => content);
  const fence = (word) => {
    const found = fences.find((content) => content.includes(word));
    if (found === undefined) throw new Error(`docs/install.md says nothing of ${word} any more: adapt this part`);
    return found;
  };
  const dependency = fence('dependencies:').replace(/file:\/\/[^"]*/, 'file://../postern');
  const pod = fence('postern.sidecar');
  const values = join(world.folder, 'orders.json');
  const policies = { 'orders.yaml': policiesOf() };
  writeFileSync(
    values,
    JSON.stringify({
      annotations,
      postern: { ...posternValues(world, postern), mode: 'sidecar', policies },
    }),
  );
  const write = (folder) => {
    const chart = join(folder, 'own');
    mkdirSync(join(chart, 'templates'), { recursive: true });
    writeFileSync(join(chart, 'Chart.yaml'), `apiVersion: v2\nname: own\nversion: 0.1.0\n${dependency}`);
    writeFileSync(join(chart, 'values.yaml'), 'annotations: {}\n');
    writeFileSync(join(chart, 'templates/all.yaml'), `{{- define "pod" }}\n${pod}{{- end }}\n${ORDERS_CHART}`);
  };
  const args = ['-f', values, '--wait', '--timeout', '240s'];
  await install(world.cluster, ['orders', 'shop', 'own'], args, write);
}

const ORDERS_CHART = `apiVersion: apps/v1
kind: Deployment
metadata: { name: orders, labels: { app: orders } }
spec:
  selector: { matchLabels: { app: orders } }
  strategy: { rollingUpdate: { maxUnavailable: 0, maxSurge: 1 } }
  template:
    {{- $pod := include "pod" . | fromYaml }}
    {{- $own := include "own" . | fromYaml }}
    {{- mustMergeOverwrite $pod $own | toYaml | nindent 4 }}
---
apiVersion: v1
kind: Service
metadata: { name: orders }
spec:
  selector: { app: orders }
  ports: [{ name: http, port: 80, targetPort: 8080 }]
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: orders }
{{- define "own" }}
metadata:
  labels: { app: orders }
  annotations: {{ .Values.annotations | toJson }}
spec:
  serviceAccountName: orders
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 45
  containers:
    - name: app
      image: localhost/app:mesh
      imagePullPolicy: IfNotPresent
      env: [{ name: HOST, value: 0.0.0.0 }]
      ports: [{ containerPort: 8080 }]
{{- end }}
`;

function posternValues({ settings }, changes) {
  return {
    image: IMAGE_VALUES,
    settings: { certificates: { trusted_authorities: 'keys/mesh.pem' }, ...settings },
    secretFiles: [{ secret: 'postern-keys', folder: 'keys' }],
    ...changes,
  };
}

/** The demo's, at the hosts that callers here ask for, and a path for workloads. */
function policiesOf() {
  return `${ORDERS.replace('[orders.example.com]', '[orders.example.com, orders.shop]').replace(
    '[orders.example.com/admin]',
    '[orders.example.com/admin, orders.shop/admin]',
  )}`.replace(
    'groups:\n',
    `  - id: 9a4b2f0e-3f55-4a57-9b0e-000000000004
    name: Orders, for workloads
    destinations: [orders.shop/internal]
    policies: [{ name: Mesh, decision: non_identity, include: [{ certificate: {} }] }]
groups:\n`,
  );
}

/** Other settings by another upgrade of the release, which no pod is restarted for; waits until they show. */
async function change(world, more, probe, expected) {
  await world.installOrders({ postern: { settings: { ...world.settings, ...more } } });
  await until('new settings', async () => (await probe()) === expected, 180_000, 500).catch(() => undefined);
}

/** Of the Postern beside the application: its last line that matches. */
async function logged(world, pattern) {
  const text = await logsOf(world, 'shop', 'app=orders');
  return text.split('\n').findLast((line) => pattern.test(line));
}

async function logsOf({ cluster }, namespace, label) {
  const { stdout } = await cluster.kubectl(['-n', namespace, 'logs', '-l', label, '-c', 'postern', '--tail=-1']);
  return stdout;
}

function policyOf(action, rules) {
  return `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: callers, namespace: shop }
spec:
  selector: { matchLabels: { app: orders } }
  action: ${action}
  rules: ${rules}
`;
}

function gatewayOf() {
  return `apiVersion: v1
kind: ServiceAccount
metadata: { name: istio-ingressgateway-service-account, namespace: istio-system }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: ingress, namespace: istio-system }
spec:
  selector: { matchLabels: { istio: ingressgateway } }
  template:
    metadata:
      labels: { istio: ingressgateway, sidecar.istio.io/inject: "true" }
      annotations: { inject.istio.io/templates: gateway }
    spec:
      serviceAccountName: istio-ingressgateway-service-account
      containers: [{ name: istio-proxy, image: auto, imagePullPolicy: IfNotPresent }]
---
${entrance({ port: 8080, host: 'orders.example.com', destination: 'orders.shop.svc.cluster.local' })}`;
}

/** Waits until it is the answer for a while, or until the limit: what proxies have heard of, their workers and the
 *  connections between them take up one after the other. Gives when it last was another, or when the waiting began. */
async function steady(probe, expected, { forMs = 4_000, limitMs = 60_000, everyMs = 100 } = {}) {
  let last = Date.now();
  const isSteady = async () => {
    if ((await probe()) !== expected) last = Date.now();
    return Date.now() - last > forMs;
  };
  await until('one answer', isSteady, limitMs, everyMs).catch(() => undefined);
  return last;
}

const FORGED =
  'By=spiffe://cluster.local/ns/shop/sa/orders;Hash=00;Subject="";URI=spiffe://cluster.local/ns/shop/sa/client';

/** Of a mesh that is not ours. */
function strangersAuthority(folder) {
  const file = join(folder, 'other.pem');
  const words = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'];
  run('openssl', ['req', ...words, '-subj', '/O=other.example', '-keyout', join(folder, 'other.key'), '-out', file], {
    stdio: 'ignore',
  });
  return readFileSync(file, 'utf8');
}

function bearer(demo, token) {
  return token === undefined ? {} : { authorization: `Bearer ${demo.tokens.get(token)}` };
}

function own(name) {
  return readFileSync(join(ROOT, 'deploy/istio', name), 'utf8');
}

function istioSource() {
  return moduleFolder('istio.io/istio', VERSIONS.istio);
}

function reasonOf({ body }) {
  try {
    return JSON.parse(body).reason;
  } catch {
    return body;
  }
}

function seenBy({ status, body }, header) {
  return status === 200 ? JSON.parse(body).headers[header] : body;
}
