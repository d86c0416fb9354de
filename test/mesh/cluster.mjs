/** A real Kubernetes API server on loopback: etcd and kube-apiserver, with the resource definitions of Istio, Envoy
 *  Gateway, Gateway API and the Prometheus operator. */
import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { finished, freePorts, until } from './processes.mjs';
import { definitions, program, run, systemProgram } from './programs.mjs';

/** Starts it. `kubectl(args, input)` speaks to it; `must(...args)` gives what that wrote, or throws; `apply(text)` applies
 *  manifests, whoever had them before. */
export async function startCluster(crew) {
  const folder = join(crew.folder, 'cluster');
  mkdirSync(folder, { recursive: true });
  const [client, peer, secure] = await freePorts(3);
  const etcd = `http://127.0.0.1:${client}`;
  crew.start('etcd', systemProgram('etcd'), [
    '--data-dir',
    join(folder, 'etcd'),
    '--listen-client-urls',
    etcd,
    '--advertise-client-urls',
    etcd,
    '--listen-peer-urls',
    `http://127.0.0.1:${peer}`,
    '--initial-advertise-peer-urls',
    `http://127.0.0.1:${peer}`,
    '--initial-cluster',
    `default=http://127.0.0.1:${peer}`,
  ]);
  const front = frontProxy(folder);
  const key = join(folder, 'service-accounts.pem');
  writeFileSync(
    key,
    generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ type: 'pkcs1', format: 'pem' }),
    { mode: 0o600 },
  );
  const token = join(folder, 'tokens.csv');
  writeFileSync(token, `${TOKEN},admin,1,system:masters\n`, { mode: 0o600 });
  const server = crew.start('kube-apiserver', program('kube-apiserver'), [
    `--etcd-servers=${etcd}`,
    `--secure-port=${secure}`,
    '--bind-address=127.0.0.1',
    '--advertise-address=10.0.0.1',
    `--cert-dir=${join(folder, 'certificates')}`,
    `--token-auth-file=${token}`,
    '--authorization-mode=RBAC',
    `--service-account-key-file=${key}`,
    `--service-account-signing-key-file=${key}`,
    '--service-account-issuer=https://kubernetes.default.svc.cluster.local',
    '--service-cluster-ip-range=10.96.0.0/16',
    '--allow-privileged=true',
    '--endpoint-reconciler-type=none',
    `--client-ca-file=${front.certificate}`,
    `--requestheader-client-ca-file=${front.certificate}`,
    '--requestheader-allowed-names=front-proxy',
    `--proxy-client-cert-file=${front.certificate}`,
    `--proxy-client-key-file=${front.key}`,
    '--requestheader-username-headers=X-Remote-User',
    '--requestheader-group-headers=X-Remote-Group',
    '--requestheader-extra-headers-prefix=X-Remote-Extra-',
  ]);
  const kubeconfig = join(folder, 'kubeconfig');
  writeFileSync(
    kubeconfig,
    JSON.stringify({
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'c', cluster: { server: `https://127.0.0.1:${secure}`, 'insecure-skip-tls-verify': true } }],
      users: [{ name: 'admin', user: { token: TOKEN } }],
      contexts: [{ name: 'c', context: { cluster: 'c', user: 'admin' } }],
      'current-context': 'c',
    }),
  );
  const kubectl = (args, input) => {
    const words = ['--kubeconfig', kubeconfig, ...args];
    return finished(program('kubectl'), words, { input, timeout: 300_000 });
  };
  await until(
    'the API server',
    async () => server.gone !== undefined || (await kubectl(['get', '--raw', '/readyz'])).code === 0,
    300_000,
    1000,
  );
  if (server.gone !== undefined) throw new Error(`the API server ${server.gone}: ${server.text.slice(-500)}`);
  const checked = async (args, input) => {
    const { code, stdout, stderr } = await kubectl(args, input);
    if (code !== 0) throw new Error(`kubectl ${args.join(' ')}: ${stderr}`);
    return stdout;
  };
  return {
    kubectl,
    must: (...args) => checked(args),
    apply: (text) => checked(['apply', '--server-side', '--force-conflicts', '-f', '-'], text),
    kubeconfig,
    key,
    folder,
  };
}

/** Of somebody who may do anything. */
const TOKEN = 'admintoken';

/** A certificate that vouches for itself, by which servers of further APIs know who asks them in whose name. */
function frontProxy(folder) {
  const [key, certificate] = ['front-proxy.key', 'front-proxy.pem'].map((name) => join(folder, name));
  const words = 'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=front-proxy';
  run('openssl', [...words.split(' '), '-addext', 'extendedKeyUsage=clientAuth', '-keyout', key, '-out', certificate], {
    stdio: 'ignore',
  });
  return { key, certificate };
}

/** Everything that the manifests name exists as a kind. */
export async function installDefinitions({ must }) {
  for (const file of definitions()) await must('apply', '--server-side', '--force-conflicts', '-f', file);
  await must('wait', '--for=condition=Established', 'crd', '--all', '--timeout=100s');
}
