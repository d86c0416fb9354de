/** The charts and the plain manifests: linted, held against the schemas of Kubernetes and against what helm-unittest says
 *  of them (deploy/helm/postern/tests), and every configuration in them loaded by Postern itself. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { MANIFESTS, helm, rendered, withCharts } from './manifests.mjs';
import { kubernetesSchemas, tool } from './tools.mjs';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const work = mkdtempSync(join(tmpdir(), 'postern-manifests-'));

afterAll(() => rmSync(work, { recursive: true, force: true }));

/** Kinds of other projects: their schemas come with their own servers, which `npm run test:mesh` asks. */
const CUSTOM = ['ServiceMonitor', 'PodMonitor', 'PrometheusRule'];

/** Values that turn everything on, one way and the other. */
const VALUES: Readonly<Record<string, readonly string[]>> = {
  'shared, as it comes': [],
  'shared, with everything': [
    'replicas=3',
    'autoscaling.enabled=true',
    'redis.enabled=true,redis.keySecret.name=state,redis.passwordSecret.name=redis',
    'tls.secret=postern-tls',
    'secretFiles[0].secret=postern-keys,secretFiles[0].folder=keys',
    'policyConfigMaps={team-a,team-b}',
    'networkPolicy.adminFrom[0].podSelector.matchLabels.app=prometheus',
    'metrics.serviceMonitor.enabled=true,metrics.prometheusRule.enabled=true,metrics.dashboards.enabled=true',
    'imagePullSecrets[0].name=registry,priorityClassName=high',
    'tolerations[0].key=edge,tolerations[0].operator=Exists,nodeSelector.zone=a',
    'extraEnv[0].name=NODE_OPTIONS,extraEnv[0].value=--max-old-space-size=256',
  ],
  'sidecar, with everything': [
    'mode=sidecar',
    'socket.enabled=true',
    'metrics.podMonitor.enabled=true,metrics.podMonitor.selector.app=orders',
  ],
};

describe('the charts', () => {
  it('have nothing that helm lint names', () => {
    withCharts((charts) => {
      for (const chart of ['postern', 'orders'])
        expect(lint(join(charts, chart))).toMatch(/1 chart\(s\) linted, 0 chart\(s\) failed/);
    });
  });

  it('are as their own tests say', () => {
    expect(unittest(`${ROOT}deploy/helm/postern`)).toMatchObject({ status: 0 });
  });

  it.each([
    ['root', '_pod.tpl', 'runAsNonRoot: true', 'runAsNonRoot: false'],
    ['a lost capability drop', '_pod.tpl', 'capabilities: { drop: [ALL] }', 'capabilities: {}'],
    ['probes that do not tell ready from alive', '_pod.tpl', 'path: /livez', 'path: /readyz'],
    ['secrets that all may read', '_pod.tpl', 'defaultMode: 0440', 'defaultMode: 0444'],
    [
      'pods that restart on every change',
      'deployment.yaml',
      '      labels:\n        {{',
      '      annotations: { checksum: x }\n      labels:\n        {{',
    ],
    ['a port that nobody can name', 'service.yaml', 'appProtocol: grpc', 'appProtocol: tcp'],
  ])('would be told of %s', (_, file, from, to) => {
    withCharts(
      (charts) => {
        expect(unittest(join(charts, 'postern')).status).toBe(1);
      },
      (charts) => edit(join(charts, 'postern/templates', file), from, to),
    );
  });

  it.each(Object.entries(VALUES))('%s: are what Kubernetes takes', (name, values) => {
    const text = withCharts((charts) =>
      helm(
        ['template', 'postern', join(charts, 'postern'), '-n', 'postern', ...values.flatMap((one) => ['--set', one])],
        charts,
      ),
    );
    expect(conformity(`${name.replaceAll(/\W+/g, '-')}.yaml`, text)).toEqual([]);
  });

  it.each([
    ['a mistyped value', 'mode=sidecar,sockets.enabled=true', /sockets/],
    ['a mode that there is not', 'mode=daemon', /mode/],
    ['root', 'user=0', /user/],
    ['a digest that is none', 'image.digest=latest', /digest/],
    ['less time to stop than draining takes', 'terminationGracePeriodSeconds=10', /terminationGracePeriodSeconds/],
    ['a password in an address', 'redis.url=redis://user:secret@redis:6379', /url/],
    ['a policy file that is not read', 'policies.orders\\.txt=x', /orders\.txt/],
    ['Secrets over the policies', 'secretFiles[0].secret=a,secretFiles[0].folder=policies', /folder/],
  ])('%s is refused by the schema of the values', (_, values, named) => {
    withCharts((charts) => {
      expect(() => helm(['template', join(charts, 'postern'), '--set', values], charts)).toThrow(named);
    });
  });
});

describe.each(Object.keys(MANIFESTS))('deploy/kubernetes/%s', (name) => {
  const text = readFileSync(`${ROOT}deploy/kubernetes/${name}`, 'utf8');

  it('is what the chart renders (else: node test/deploy/manifests.mjs)', () => {
    expect(withCharts((charts) => rendered(name, charts))).toBe(text);
  });

  it('is what Kubernetes takes', () => {
    expect(conformity(name, text)).toEqual([]);
    expect(conformity(`typo-${name}`, text.replace('volumeMounts:', 'volumeMount:'))).not.toEqual([]);
  });

  it('holds a configuration that Postern loads without a warning', () => {
    const config = configurationIn(text, name);
    expect(validate(config)).toMatchObject({ status: 0, stderr: '' });
    const policy = join(config, 'policies/orders.yaml');
    edit(policy, 'decision: allow', 'decision: alow');
    expect(validate(config)).toMatchObject({ status: 1, stderr: expect.stringContaining('alow') });
  });
});

it('the values that docs/install.md begins with render to a configuration that Postern loads without a warning', () => {
  const guide = readFileSync(`${ROOT}docs/install.md`, 'utf8');
  const values = join(work, 'values.yaml');
  writeFileSync(values, /^```yaml\n(image: [\s\S]*?)^```$/m.exec(guide)?.[1] ?? '');
  const text = withCharts((charts) => helm(['template', 'postern', join(charts, 'postern'), '-f', values], charts));
  expect(validate(configurationIn(text, 'guide'))).toMatchObject({ status: 0, stderr: '' });
});

it('the Envoy in sidecar.yaml is deploy/envoy/envoy-socket.yaml, and Envoy takes it', () => {
  const text = readFileSync(`${ROOT}deploy/kubernetes/sidecar.yaml`, 'utf8');
  const file = join(work, 'envoy.yaml');
  writeFileSync(file, dataOf(text, 'orders-envoy')['envoy.yaml'] ?? '');
  const envoy = `${ROOT}.venv-envoy/bin/envoy`;
  expect(execFileSync(envoy, ['--mode', 'validate', '-c', file], { encoding: 'utf8', stdio: 'pipe' })).toContain('OK');
  const envoys = readFileSync(`${ROOT}deploy/envoy/envoy-socket.yaml`, 'utf8');
  const ports = /port_value: \d+/g;
  expect(readFileSync(file, 'utf8').replace('0.0.0.0', '127.0.0.1').replace(ports, '').trim()).toBe(
    envoys.replace(ports, '').trim(),
  );
});

interface Run {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function lint(chart: string): string {
  return helm(['lint', '--strict', chart], work);
}

function unittest(chart: string): Run {
  return spawnSync(tool('helm-unittest'), ['--strict', chart], { encoding: 'utf8' });
}

function validate(config: string): Run {
  return spawnSync(process.execPath, [`${ROOT}dist/main.js`, 'validate', '--strict', '--config', config], {
    encoding: 'utf8',
  });
}

/** What kubeconform finds wrong; an unknown key counts. */
function conformity(name: string, text: string): string[] {
  const file = join(work, name);
  writeFileSync(file, text);
  const { stdout, stderr } = spawnSync(
    tool('kubeconform'),
    [
      '-strict',
      '-output',
      'json',
      '-verbose',
      '-schema-location',
      `${kubernetesSchemas()}/{{.ResourceKind}}{{.KindSuffix}}.json`,
      '-skip',
      CUSTOM.join(','),
      file,
    ],
    { encoding: 'utf8' },
  );
  if (stderr !== '') throw new Error(stderr);
  const { resources } = JSON.parse(stdout) as { resources: { kind: string; status: string; msg: string }[] };
  expect(resources.filter(({ status }) => status === 'statusValid').length).toBeGreaterThan(1);
  return resources
    .filter(({ status, kind }) => status !== 'statusValid' && !(status === 'statusSkipped' && CUSTOM.includes(kind)))
    .map(({ kind, msg }) => `${kind}: ${msg}`);
}

interface Manifest {
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly data?: Readonly<Record<string, string>>;
}

function dataOf(text: string, name: string): Readonly<Record<string, string>> {
  const found = parseAllDocuments(text)
    .map((document) => document.toJS() as Manifest)
    .find((one) => one.kind === 'ConfigMap' && one.metadata.name === name);
  if (!found?.data) throw new Error(`no ConfigMap ${name}`);
  return found.data;
}

/** A config folder as the pod has it. */
function configurationIn(text: string, name: string): string {
  const config = join(work, `config-${name}`);
  const release = /name: (\S*postern)-settings$/m.exec(text)?.[1] ?? '';
  for (const [file, content] of [
    ...Object.entries(dataOf(text, `${release}-settings`)),
    ...Object.entries(dataOf(text, `${release}-policies`)).map(([key, value]) => [`policies/${key}`, value] as const),
  ]) {
    mkdirSync(dirname(join(config, file)), { recursive: true });
    writeFileSync(join(config, file), content);
  }
  expect(readdirSync(join(config, 'policies')).length).toBeGreaterThan(0);
  return config;
}

function edit(file: string, from: string, to: string): void {
  const text = readFileSync(file, 'utf8');
  expect(text).toContain(from);
  writeFileSync(file, text.replaceAll(from, to));
}
