/** Every manifest is taken by a real API server (`--dry-run=server`): Kubernetes' own validation, and the schemas and
 *  rules of the other projects' resource definitions. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { helm, withCharts } from '../deploy/manifests.mjs';
import { installDefinitions, startCluster } from './cluster.mjs';
import { crew, workFolder } from './processes.mjs';
import { ROOT } from './programs.mjs';

const FILES = [
  'kubernetes/shared.yaml',
  'kubernetes/sidecar.yaml',
  'istio/sidecar.yaml',
  'istio/socket.yaml',
  'istio/gateway.yaml',
  'istio/ambient.yaml',
  'envoy-gateway/security-policy.yaml',
  'envoy-gateway/backend-tls.yaml',
  'envoy-gateway/patch.yaml',
];

const NAMESPACES = ['postern', 'shop', 'istio-system', 'envoy-gateway-system'];

/** Values with every switch on. */
const EVERYTHING = [
  'autoscaling.enabled=true,redis.enabled=true,redis.keySecret.name=state,tls.secret=postern-tls',
  'secretFiles[0].secret=postern-keys,secretFiles[0].folder=keys',
  'metrics.serviceMonitor.enabled=true,metrics.podMonitor.enabled=true,metrics.prometheusRule.enabled=true,metrics.dashboards.enabled=true',
  'networkPolicy.adminFrom[0].podSelector.matchLabels.app=prometheus',
];

/** [file, from, to]: what the server must refuse, so that its consent means something. */
const WRONG = [
  ['kubernetes/sidecar.yaml', 'restartPolicy: Always', 'restartPolicy: Alwayz'],
  ['istio/sidecar.yaml', 'action: CUSTOM', 'action: CUSTOMS'],
  ['envoy-gateway/security-policy.yaml', 'failOpen: false', 'failOpen: "no"'],
];

export async function checkManifests(expect) {
  const parts = crew(workFolder('manifests'));
  try {
    const cluster = await startCluster(parts);
    await installDefinitions(cluster);
    // Restricted: the API server itself says what of a pod does not meet the standard.
    for (const name of NAMESPACES) {
      const labels = {
        'pod-security.kubernetes.io/enforce': 'restricted',
        'pod-security.kubernetes.io/warn': 'restricted',
      };
      await cluster.kubectl(
        ['apply', '-f', '-'],
        JSON.stringify({ apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } }),
      );
    }
    const dryRun = async (file) => {
      const { code, stdout, stderr } = await cluster.kubectl(['apply', '--dry-run=server', '-f', file]);
      const count = stdout.split('\n').filter((line) => /dry run/.test(line)).length;
      return code === 0 && stderr === '' && count > 0 ? 'taken' : stderr.trim().split('\n')[0];
    };
    for (const name of FILES) await expect(`${name}`, 'taken', await dryRun(join(ROOT, 'deploy', name)));
    const chart = join(parts.folder, 'chart.yaml');
    withCharts((charts) => {
      const args = [
        'template',
        'postern',
        join(charts, 'postern'),
        '-n',
        'postern',
        ...EVERYTHING.flatMap((one) => ['--set', one]),
      ];
      writeFileSync(chart, helm(args, charts));
    });
    await expect('the chart with every switch on', 'taken', await dryRun(chart));
    for (const [name, from, to] of WRONG) {
      const file = join(parts.folder, 'wrong.yaml');
      writeFileSync(file, readFileSync(join(ROOT, 'deploy', name), 'utf8').replace(from, to));
      const told = await dryRun(file);
      await expect(`${name} with "${to}"`, 'refused', told === 'taken' ? 'taken' : 'refused');
    }
  } finally {
    await parts.stop();
  }
}
