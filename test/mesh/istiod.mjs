/** Istio's control plane as a process beside the API server, and what it made of the filter that asks Postern. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { freePorts, until } from './processes.mjs';
import { program } from './programs.mjs';

/** Starts it, and waits until it is ready. Pods reach it at `address`, with TLS at the port `secure`. Gives the ports of
 *  its discovery service in clear (`xds`) and of its webhooks, both on loopback. */
export async function startIstiod(parts, { kubeconfig }, { address = '127.0.0.1', secure, env = {} } = {}) {
  const [xds, free, http, webhooks, monitoring] = await freePorts(5);
  const run = join(parts.folder, 'istiod');
  mkdirSync(run);
  parts.start(
    'istiod',
    program('pilot-discovery'),
    [
      'discovery',
      `--kubeconfig=${kubeconfig}`,
      `--grpcAddr=127.0.0.1:${xds}`,
      `--secureGRPCAddr=${address}:${secure ?? free}`,
      `--httpAddr=127.0.0.1:${http}`,
      `--httpsAddr=127.0.0.1:${webhooks}`,
      `--monitoringAddr=127.0.0.1:${monitoring}`,
      '--ctrlz_port=0',
    ],
    {
      cwd: run,
      env: {
        ...process.env,
        POD_NAMESPACE: 'istio-system',
        POD_NAME: 'istiod-0',
        // Filters that only Istio's own build of Envoy has.
        PILOT_ENABLE_METADATA_EXCHANGE: 'false',
        PILOT_ENABLE_ALPN_FILTER: 'false',
        PILOT_DISABLE_MX_ALPN: 'true',
        ...env,
      },
    },
  );
  await until('istiod', async () => (await fetch(`http://127.0.0.1:${http}/ready`)).ok, 180_000);
  return { xds, webhooks };
}

/** The way in from the ingress gateway's port to a service of the workload's namespace. */
export function entrance({ port, host, destination }) {
  return `apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: ingress, namespace: istio-system }
spec:
  selector: { istio: ingressgateway }
  servers: [{ port: { number: ${port}, name: http, protocol: HTTP }, hosts: ["${host}"] }]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: orders, namespace: shop }
spec:
  hosts: ["${host}"]
  gateways: [istio-system/ingress]
  http: [{ route: [{ destination: { host: ${destination}, port: { number: 80 } } }] }]
`;
}

/** The first filter that asks Postern, of an Envoy with this admin port. */
export async function extAuthz(admin) {
  const dump = await (await fetch(`http://127.0.0.1:${admin}/config_dump`)).text();
  const found = [];
  JSON.parse(dump, (_, value) => {
    if (typeof value?.['@type'] === 'string' && value['@type'].endsWith('http.ext_authz.v3.ExtAuthz'))
      found.push(value);
    return value;
  });
  return found[0];
}
