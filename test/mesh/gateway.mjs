/** The files of deploy/envoy-gateway in a real Envoy Gateway, which runs by itself: resources from files, Envoy as its
 *  child. Postern is a process on loopback, so a Backend stands where the files name the Service, and it is in the
 *  policy's own namespace: of files, Envoy Gateway 1.9.1 reads no Services and matches no ReferenceGrant (the API server
 *  has taken ours, see manifests). */
import { mkdirSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeDemoFolder } from '../../dist/demo/folder.js';
import { send, startPostern, startUpstream } from '../../dist/demo/parts.js';
import { crew, finished, freePorts, until, workFolder } from './processes.mjs';
import { ROOT, envoyBinary, program } from './programs.mjs';

const ENVOY = '1.40.0';

export async function checkGateway(expect) {
  const folder = workFolder('gateway');
  const parts = crew(folder);
  const demo = await makeDemoFolder(join(folder, 'demo'), Date.now());
  const upstream = await startUpstream();
  let postern = await startPostern(demo.config);
  const check = Number(postern.check.split(':').at(-1));
  const [port] = await freePorts(1);
  try {
    await startGateway(parts, resources({ port, upstream: upstream.port, check }));
    const ask = (token, path = '/') =>
      send(port, {
        host: 'orders.example.com',
        path,
        headers: { 'x-postern-user': 'root', ...(token ? { authorization: `Bearer ${demo.tokens.get(token)}` } : {}) },
      });
    await until('the gateway', async () => (await ask()).status === 401, 120_000);
    await expect('nobody', 401, (await ask()).status);
    const ann = await ask('ann');
    await expect('ann', 200, ann.status);
    await expect(
      "ann's name reaches the upstream in place of the caller's own",
      'ann@example.com',
      JSON.parse(ann.body).headers['x-postern-user'],
    );
    await expect('mallory', 403, (await ask('mallory')).status);
    await expect('ann at /admin', 401, (await ask('ann', '/admin')).status);
    await expect('ann at /admin after a code', 200, (await ask('ann-strong', '/admin')).status);
    const dump = await adminText(parts, '/config_dump');
    const filter = extAuthz(dump);
    for (const [key, value] of [
      ['include_peer_certificate', true],
      ['encode_raw_headers', true],
      ['validate_mutations', true],
      ['failure_mode_allow', undefined],
    ])
      await expect(`${key} of the filter, as patched`, value, filter?.[key]);

    await postern.kill();
    await expect('ann while Postern is gone', 503, (await ask('ann')).status);
    postern = await startPostern(demo.config, `127.0.0.1:${check}`);
    await until('Postern again', async () => (await ask('ann')).status === 200, 60_000);
    await expect('ann when it is back', 200, (await ask('ann')).status);
  } finally {
    await parts.stop();
    await postern.kill();
    await upstream.stop();
  }

  // What README.md says of mistakes.
  for (const [what, edit, expected] of [
    [
      'a backend that does not exist',
      (text) => text.replace('kind: Backend, name: postern, port', 'kind: Backend, name: postren, port'),
      500,
    ],
    [
      'a patch that matches nothing',
      (text) => text.replaceAll('ext_authz//default/postern', 'ext_authz//default/other'),
      401,
    ],
  ]) {
    const own = crew(workFolder('gateway'));
    const [other] = await freePorts(1);
    const again = await startPostern(demo.config);
    try {
      const text = edit(resources({ port: other, upstream: 9, check: Number(again.check.split(':').at(-1)) }));
      await startGateway(own, text);
      const ask = () => send(other, { host: 'orders.example.com', path: '/' });
      await until('an answer', async () => (await ask()).status > 0);
      await until('what is expected', async () => (await ask()).status === expected, 20_000).catch(() => undefined);
      await expect(what, expected, (await ask()).status);
    } finally {
      await own.stop();
      await again.kill();
    }
  }
}

function resources({ port, upstream, check }) {
  const files = ['security-policy.yaml', 'patch.yaml'].map((name) =>
    readFileSync(join(ROOT, 'deploy/envoy-gateway', name), 'utf8'),
  );
  const ours = files
    .join('---\n')
    .replace(
      'group: "", kind: Service, name: postern, namespace: postern, port: 9001',
      'group: gateway.envoyproxy.io, kind: Backend, name: postern, port: 9001',
    );
  if (!ours.includes('kind: Backend, name: postern, port: 9001'))
    throw new Error('security-policy.yaml has changed: adapt this part');
  return `${ours}---
apiVersion: v1
kind: Namespace
metadata: { name: postern }
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: { name: eg }
spec:
  controllerName: gateway.envoyproxy.io/gatewayclass-controller
  parametersRef: { group: gateway.envoyproxy.io, kind: EnvoyProxy, name: host, namespace: envoy-gateway-system }
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyProxy
metadata: { name: host, namespace: envoy-gateway-system }
spec:
  provider: { type: Host, host: { envoyVersion: "${ENVOY}" } }
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: eg, namespace: default }
spec:
  gatewayClassName: eg
  listeners: [{ name: http, protocol: HTTP, port: ${port} }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: orders, namespace: default }
spec:
  parentRefs: [{ name: eg }]
  rules: [{ backendRefs: [{ group: gateway.envoyproxy.io, kind: Backend, name: orders }] }]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: { name: orders, namespace: default }
spec: { endpoints: [{ ip: { address: 127.0.0.1, port: ${upstream} } }] }
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: { name: postern, namespace: default }
spec: { endpoints: [{ ip: { address: 127.0.0.1, port: ${check} } }] }
`;
}

async function startGateway(parts, text) {
  const { folder } = parts;
  const home = (name) => join(folder, 'home', name);
  mkdirSync(join(folder, 'resources'));
  writeFileSync(join(folder, 'resources/all.yaml'), text);
  const bin = join(home('data'), 'envoy-versions', ENVOY, 'bin');
  mkdirSync(bin, { recursive: true });
  symlinkSync(envoyBinary(), join(bin, 'envoy'));
  const host = {
    configHome: home('config'),
    dataHome: home('data'),
    stateHome: home('state'),
    runtimeDir: home('run'),
  };
  writeFileSync(
    join(folder, 'envoy-gateway.yaml'),
    JSON.stringify({
      apiVersion: 'gateway.envoyproxy.io/v1alpha1',
      kind: 'EnvoyGateway',
      gateway: { controllerName: 'gateway.envoyproxy.io/gatewayclass-controller' },
      provider: {
        type: 'Custom',
        custom: {
          resource: { type: 'File', file: { paths: [join(folder, 'resources')] } },
          infrastructure: { type: 'Host', host },
        },
      },
      extensionApis: { enableBackend: true, enableEnvoyPatchPolicy: true },
    }),
  );
  const made = await finished(program('envoy-gateway'), ['certgen', '--local', '--config-home', home('config')]);
  if (made.code !== 0) throw new Error(made.stderr);
  parts.start('envoy-gateway', program('envoy-gateway'), [
    'server',
    '--config-path',
    join(folder, 'envoy-gateway.yaml'),
  ]);
}

/** From the admin port of the Envoy that Envoy Gateway started, a free one that it tells in a file. */
async function adminText({ folder }, path) {
  const home = join(folder, 'home');
  const file = readdirSync(home, { recursive: true, encoding: 'utf8' }).find((name) =>
    name.endsWith('admin-address.txt'),
  );
  if (!file) throw new Error(`no admin address below ${home}`);
  const answer = await fetch(`http://${readFileSync(join(home, file), 'utf8').trim()}${path}`);
  return answer.text();
}

function extAuthz(dump) {
  const found = [];
  JSON.parse(dump, (_, value) => {
    if (typeof value?.['@type'] === 'string' && value['@type'].endsWith('ext_authz.v3.ExtAuthz')) found.push(value);
    return value;
  });
  return found[0];
}
