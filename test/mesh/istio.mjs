/** The files of deploy/istio in a real istiod, which tells stock Envoys what to do: one as ingress gateway, one as the
 *  sidecar of a workload. There is no node: the sidecar binds a port instead of catching traffic, and mutual TLS, for
 *  which each proxy would need its agent, is off. Filters that only Istio's own Envoy has are left out. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeDemoFolder } from '../../dist/demo/folder.js';
import { send, startPostern, startUpstream } from '../../dist/demo/parts.js';
import { installDefinitions, startCluster } from './cluster.mjs';
import { entrance, extAuthz, startIstiod } from './istiod.mjs';
import { crew, freePorts, until, workFolder } from './processes.mjs';
import { ROOT, envoyBinary } from './programs.mjs';

export async function checkIstio(expect) {
  const folder = workFolder('istio');
  const parts = crew(folder);
  const demo = await makeDemoFolder(join(folder, 'demo'), Date.now());
  const upstream = await startUpstream();
  let postern = await startPostern(demo.config);
  const check = Number(postern.check.split(':').at(-1));
  const [gateway, sidecar, gatewayAdmin, sidecarAdmin] = await freePorts(4);
  const own = (name) => readFileSync(join(ROOT, 'deploy/istio', name), 'utf8').replaceAll('9001', String(check));
  try {
    const cluster = await startCluster(parts);
    await installDefinitions(cluster);
    const { apply } = cluster;
    await apply(
      ['istio-system', 'postern', 'shop']
        .map((name) => JSON.stringify({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } }))
        .join('\n---\n'),
    );
    await apply(
      JSON.stringify({
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name: 'istio', namespace: 'istio-system' },
        data: { mesh: `${own('mesh-config.yaml')}enableAutoMtls: false\n` },
      }),
    );
    const { xds } = await startIstiod(parts, cluster);
    // What was there before it began, istiod 1.31-dev does not always tell the first proxies that connect.
    await apply(surroundings({ gateway, sidecar, upstream: upstream.port, check }));
    await apply(withoutMutualTls(own('sidecar.yaml')));
    await apply(withoutMutualTls(own('gateway.yaml')));
    // Addresses of their own: by its address istiod tells which services a proxy is an instance of.
    startProxy(parts, 'gateway', {
      xds,
      admin: gatewayAdmin,
      id: 'router~127.0.0.3~ingress-0.istio-system~istio-system.svc.cluster.local',
      namespace: 'istio-system',
      labels: { istio: 'ingressgateway' },
    });
    startProxy(parts, 'sidecar', {
      xds,
      admin: sidecarAdmin,
      id: 'sidecar~127.0.0.2~orders-0.shop~shop.svc.cluster.local',
      namespace: 'shop',
      labels: { app: 'orders' },
    });

    const ask = (port, token, path = '/') =>
      send(port, {
        host: 'orders.example.com',
        path,
        headers: { 'x-postern-user': 'root', ...(token ? { authorization: `Bearer ${demo.tokens.get(token)}` } : {}) },
      });
    for (const [name, port, admin] of [
      ['gateway', gateway, gatewayAdmin],
      ['sidecar', sidecar, sidecarAdmin],
    ]) {
      await until(`the ${name}`, async () => (await ask(port)).status === 401, 120_000).catch(() => undefined);
      await expect(`${name}: nobody`, 401, (await ask(port)).status);
      const ann = await ask(port, 'ann');
      await expect(`${name}: ann`, 200, ann.status);
      await expect(
        `${name}: ann's name reaches the upstream`,
        'ann@example.com',
        ann.status === 200 ? JSON.parse(ann.body).headers['x-postern-user'] : ann.body,
      );
      await expect(`${name}: mallory`, 403, (await ask(port, 'mallory')).status);
      await expect(`${name}: ann at /admin`, 401, (await ask(port, 'ann', '/admin')).status);
      const filter = await extAuthz(admin);
      for (const key of ['include_peer_certificate', 'include_tls_session', 'encode_raw_headers', 'validate_mutations'])
        await expect(`${name}: ${key}, by the EnvoyFilter`, true, filter?.[key]);
    }

    await postern.kill();
    await expect('gateway: ann while Postern is gone', 503, (await ask(gateway, 'ann')).status);
    await expect('sidecar: ann while Postern is gone', 503, (await ask(sidecar, 'ann')).status);
    postern = await startPostern(demo.config, `127.0.0.1:${check}`);
    await until('Postern again', async () => (await ask(sidecar, 'ann')).status === 200, 60_000);

    // What README.md says of mistakes.
    const policy = own('sidecar.yaml')
      .split('---\n')
      .find((document) => document.includes('kind: AuthorizationPolicy'));
    await apply(policy.replace('rules: [{}]', 'rules: [{ to: [{ operation: { paths: ["/api/*"] } }] }]'));
    await until('the path condition', async () => (await ask(sidecar)).status === 200, 60_000).catch(() => undefined);
    await expect('a path condition: nobody at a path that it does not name', 200, (await ask(sidecar)).status);
    await expect(
      'a path condition: nobody at one that it names',
      401,
      (await ask(sidecar, undefined, '/api/x')).status,
    );
    await apply(policy.replace('provider: { name: postern }', 'provider: { name: postren }'));
    await until('the wrong provider', async () => (await ask(sidecar, 'ann')).status === 403, 60_000).catch(
      () => undefined,
    );
    const wrong = await ask(sidecar, 'ann');
    await expect('a provider that does not exist: ann', 403, wrong.status);
    await expect('a provider that does not exist: the body', 'RBAC: access denied', wrong.body);
    await expect(
      'a provider that does not exist: istiod says so in its log',
      true,
      /postren/.test(readFileSync(join(folder, 'logs/istiod.log'), 'utf8')),
    );
    await apply(policy);
    await until('as before', async () => (await ask(sidecar, 'ann')).status === 200, 60_000);
    await apply(
      policy
        .replace('name: postern\n', 'name: second\n')
        .replace('provider: { name: postern }', 'provider: { name: postern-shared }'),
    );
    await until('two providers', async () => (await ask(sidecar, 'ann')).status === 403, 30_000).catch(() => undefined);
    await expect('two providers on one workload: ann', 403, (await ask(sidecar, 'ann')).status);
  } finally {
    await parts.stop();
    await postern.kill();
    await upstream.stop();
  }
}

/** What a cluster would have: the workload, the shared Postern as a service, the way from the gateway. */
function surroundings({ gateway, sidecar, upstream, check }) {
  return `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: postern, namespace: postern }
spec:
  hosts: [postern.postern.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: ${check}, name: grpc, protocol: GRPC }]
  endpoints: [{ address: 127.0.0.1 }]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: upstream, namespace: shop }
spec:
  hosts: [upstream.shop.svc.cluster.local]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{ number: 80, name: http, protocol: HTTP, targetPort: ${upstream} }]
  endpoints: [{ address: 127.0.0.1 }]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: orders, namespace: shop }
spec:
  hosts: [orders.shop.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: 80, name: http, protocol: HTTP, targetPort: ${sidecar} }]
  workloadSelector: { labels: { app: orders } }
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: orders, namespace: shop }
spec: { address: 127.0.0.2, labels: { app: orders }, serviceAccount: orders }
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: { name: orders, namespace: shop }
spec:
  workloadSelector: { labels: { app: orders } }
  ingress:
    - port: { number: ${sidecar}, name: http, protocol: HTTP }
      bind: 127.0.0.1
      captureMode: NONE
      defaultEndpoint: 127.0.0.1:${upstream}
  egress: [{ hosts: ["./*", "postern/*"], captureMode: NONE }]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: istio-system }
spec: { mtls: { mode: DISABLE } }
---
${entrance({ port: gateway, host: '*', destination: 'upstream.shop.svc.cluster.local' })}`;
}

function withoutMutualTls(text) {
  if (!text.includes('mode: STRICT')) throw new Error('the file no longer asks for mutual TLS: adapt this part');
  return text.replaceAll('mode: STRICT', 'mode: DISABLE').replaceAll('mode: PERMISSIVE', 'mode: DISABLE');
}

function startProxy(parts, name, { xds, admin, id, namespace, labels }) {
  const file = join(parts.folder, `${name}.json`);
  const http2 = {
    '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
    explicit_http_config: { http2_protocol_options: {} },
  };
  const address = (port) => ({ socket_address: { address: '127.0.0.1', port_value: port } });
  writeFileSync(
    file,
    JSON.stringify({
      node: {
        id,
        cluster: name,
        metadata: {
          NAMESPACE: namespace,
          LABELS: labels,
          ISTIO_VERSION: '1.31.0',
          CLUSTER_ID: 'Kubernetes',
          INTERCEPTION_MODE: 'NONE',
        },
      },
      admin: { address: address(admin) },
      dynamic_resources: {
        ads_config: {
          api_type: 'GRPC',
          transport_api_version: 'V3',
          set_node_on_first_message_only: true,
          grpc_services: [{ envoy_grpc: { cluster_name: 'xds-grpc' } }],
        },
        cds_config: { ads: {}, resource_api_version: 'V3' },
        lds_config: { ads: {}, resource_api_version: 'V3' },
      },
      static_resources: {
        clusters: [
          {
            name: 'xds-grpc',
            type: 'STATIC',
            connect_timeout: '1s',
            typed_extension_protocol_options: { 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': http2 },
            load_assignment: {
              cluster_name: 'xds-grpc',
              endpoints: [{ lb_endpoints: [{ endpoint: { address: address(xds) } }] }],
            },
          },
        ],
      },
    }),
  );
  parts.start(name, envoyBinary(), ['-c', file, '--use-dynamic-base-id', '--concurrency', '1', '-l', 'warning']);
}
