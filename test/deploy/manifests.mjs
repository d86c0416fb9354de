/** The plain manifests of deploy/kubernetes are what the charts render, without what only Helm reads.
 *
 *  Usage: node test/deploy/manifests.mjs   (writes them anew) */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { tool } from './tools.mjs';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** File → how it comes about. */
export const MANIFESTS = {
  'shared.yaml': {
    chart: 'postern',
    release: 'postern',
    namespace: 'postern',
    values: `${ROOT}deploy/kubernetes/values-shared.yaml`,
    says: 'Postern as a Deployment that many Envoys ask:  kubectl create namespace postern && kubectl apply -f shared.yaml',
  },
  'sidecar.yaml': {
    chart: 'orders',
    release: 'orders',
    namespace: 'shop',
    says: 'An application with Postern and Envoy as native sidecars:  kubectl create namespace shop && kubectl apply -f sidecar.yaml',
  },
};

/** A copy of both charts with the dependency in place; `edit` changes the copy. Removed after `work`. */
export function withCharts(work, edit) {
  const folder = makeCharts(edit);
  try {
    return work(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The folder of such a copy, which whoever asked for it removes. `dependents`: the charts in it that want the other. */
export function makeCharts(edit = () => undefined, dependents = ['orders']) {
  const folder = mkdtempSync(join(tmpdir(), 'postern-charts-'));
  cpSync(`${ROOT}deploy/helm`, folder, { recursive: true, dereference: true });
  edit(folder);
  for (const name of dependents) helm(['dependency', 'build', '--skip-refresh', join(folder, name)], folder);
  return folder;
}

/** What helm writes; throws what it said where it fails. */
export function helm(args, home) {
  // Neither the user's repositories nor their cluster.
  const env = {
    ...process.env,
    KUBECONFIG: '/dev/null',
    HELM_CACHE_HOME: home,
    HELM_CONFIG_HOME: home,
    HELM_DATA_HOME: home,
  };
  return execFileSync(tool('helm'), args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], env });
}

/** A manifest's text as it should be. */
export function rendered(name, charts) {
  const { chart, release, namespace, values, says } = MANIFESTS[name];
  const args = ['template', release, join(charts, chart), '--namespace', namespace, ...(values ? ['-f', values] : [])];
  const text = helm(args, charts)
    .split('\n')
    .filter((line) => !/^ +(?:helm\.sh\/chart|app\.kubernetes\.io\/(?:managed-by|version)): |^# Source: /.test(line))
    .map((line) => line.trimEnd())
    .join('\n')
    .replace(/^---\n/, '');
  return `# ${says}\n# Rendered from deploy/helm/${chart} by test/deploy/manifests.mjs: change it there.\n${text}`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  withCharts((charts) => {
    for (const name of Object.keys(MANIFESTS))
      writeFileSync(`${ROOT}deploy/kubernetes/${name}`, rendered(name, charts));
  });
}
