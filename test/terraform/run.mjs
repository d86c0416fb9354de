/** Cloudflare's Terraform provider against the admin API: groups, a policy, a service token and a list are created,
 *  changed and destroyed, and after each apply a second plan has no difference. Not part of `npm test`, because neither
 *  program comes as a package; with Go they are built from the module proxy, each in about ten minutes on two cores:
 *
 *    go mod download -json github.com/opentofu/opentofu@v1.12.6      # copy Dir, then: go build -o tofu ./cmd/tofu
 *    go mod download -json github.com/cloudflare/terraform-provider-cloudflare@v0.0.0-20260824180050-4f360d592a7d
 *                                              # 5.24.0; copy Dir, then: go build -o terraform-provider-cloudflare .
 *                                              # (leaving other services out of internal/provider.go saves most of it)
 *
 *  Usage: npm run -s build && node test/terraform/run.mjs TOFU FOLDER_OF_PROVIDER */
import { spawn, spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const [tofu, providers] = process.argv.slice(2).map((path) => resolve(path));
const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'postern-terraform-'));
const token = randomBytes(24).toString('hex');
const digest = createHash('sha256').update(token).digest('hex');
mkdirSync(join(folder, 'config/policies'), { recursive: true });
const provider = (id, type) => `{ id: ${id}, name: ${type}, type: ${type} }`;
writeFileSync(
  join(folder, 'config/postern.yaml'),
  `identity: { providers: [${provider('33333333-3333-4333-8333-333333333333', 'github')}, ${provider('22222222-2222-4222-8222-222222222222', 'azureAD')}] }
admin: { accounts: [023e105f4ecef8ad9ca31a8372d0c353], tokens: [{ name: terraform, sha256: ${digest}, scopes: [read, write] }] }
`,
);
const work = join(folder, 'work');
mkdirSync(work);
copyFileSync(join(root, 'test/terraform/main.tf'), join(work, 'main.tf'));
writeFileSync(
  join(folder, 'tofurc'),
  `provider_installation {\n  dev_overrides { "cloudflare/cloudflare" = ${JSON.stringify(providers)} }\n  direct {}\n}\n`,
);

const address = ['--set', 'listen.check=127.0.0.1:0', '--set', 'listen.admin=127.0.0.1:0'];
const serve = spawn(
  process.execPath,
  [join(root, 'dist/main.js'), 'serve', '--config', join(folder, 'config'), ...address],
  { stdio: ['ignore', 'pipe', 'inherit'] },
);
try {
  const admin = await new Promise((told, failed) => {
    let text = '';
    serve.stdout.on('data', (chunk) => {
      text += chunk;
      const ready = /^\{.*"msg":"ready".*\}$/m.exec(text)?.[0];
      if (ready) told(JSON.parse(ready).admin);
    });
    serve.once('exit', () => failed(new Error(`not ready:\n${text}`)));
  });
  const run = (name, args, wanted = 0) => {
    const started = Date.now();
    const { status, stdout, stderr } = spawnSync(tofu, args, {
      cwd: work,
      encoding: 'utf8',
      env: {
        ...process.env,
        TF_CLI_CONFIG_FILE: join(folder, 'tofurc'),
        TF_VAR_base_url: `http://${admin}/client/v4`,
        TF_VAR_token: token,
      },
    });
    const isRight = status === wanted;
    console.log(`${isRight ? 'ok' : 'WRONG'}  ${name} (${((Date.now() - started) / 1000).toFixed(1)} s)`);
    if (!isRight) throw new Error(`${args.join(' ')}: exit ${status}, expected ${wanted}\n${stdout}${stderr}`);
    return stdout;
  };
  const files = (kind) =>
    readdirSync(join(folder, 'config/policies/managed', kind)).filter((name) => !name.startsWith('.'));
  const expect = (found, wanted, what) => {
    if (found !== wanted) throw new Error(`${what}: found ${found}, expected ${wanted}`);
  };
  const apply = ['apply', '-auto-approve', '-no-color', '-input=false'];
  const plan = ['plan', '-detailed-exitcode', '-no-color', '-input=false'];
  run('create', apply);
  expect(files('groups').length, 33, 'groups');
  run('a second plan has no difference', plan);
  run('change', [...apply, '-var=change=true']);
  run('a second plan has no difference', [...plan, '-var=change=true']);
  run('the first plan again has one', plan, 2);
  run('list', ['output', '-no-color', 'groups']);
  run('destroy', ['destroy', '-auto-approve', '-no-color', '-input=false']);
  for (const kind of ['groups', 'policies', 'service_tokens', 'lists']) expect(files(kind).length, 0, kind);
} finally {
  serve.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
}
