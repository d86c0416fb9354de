/** The program under Node's permission model: its own folder, the config folder, and nothing else. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect, it } from 'vitest';
import { checkClient } from './envoy/check-client.ts';
import { decodeResponse, encodeRequest, metadataOf } from './envoy/official.ts';

const ROOT = realpathSync(join(import.meta.dirname, '..'));
const FLAG = Number(process.versions.node.split('.')[0]) >= 22 ? '--permission' : '--experimental-permission';

/** Large enough for a thread of its own, which it may not start. */
const POLICIES = `applications:
${Array.from(
  { length: 400 },
  (_, index) =>
    `  - { id: 9a4b2f0e-3f55-4a57-9b0e-${String(index).padStart(12, '0')}, name: A${index}, destinations: [a${index}.example.com], policies: [{ name: P, decision: bypass, include: [{ ip: { ip: 203.0.113.0/24 } }] }] }`,
).join('\n')}
`;

it('serves, and makes its own keys, with no more than its folders', async () => {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'postern-permission-')));
  mkdirSync(join(folder, 'policies'));
  writeFileSync(join(folder, 'policies/all.yaml'), POLICIES);
  writeFileSync(
    join(folder, 'postern.yaml'),
    'upstream: { assertion: { header: x-postern-assertion, key: keys/assertion.pem } }\n',
  );
  const child = spawn(
    process.execPath,
    [
      FLAG,
      `--allow-fs-read=${ROOT}`,
      // Where a checkout shares its packages with another one.
      `--allow-fs-read=${realpathSync(join(ROOT, 'node_modules'))}`,
      `--allow-fs-read=${folder}`,
      `--allow-fs-write=${folder}`,
      join(ROOT, 'dist/main.js'),
      'serve',
      '--config',
      folder,
      '--set',
      'listen.check=127.0.0.1:0',
      '--set',
      'listen.admin=127.0.0.1:0',
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  const gone = once(child, 'exit');
  try {
    const lines: string[] = [];
    createInterface({ input: child.stderr }).on('line', (line) => lines.push(line));
    const check = await new Promise<string>((resolve, reject) => {
      createInterface({ input: child.stdout }).on('line', (line) => {
        lines.push(line);
        if (line.includes('"msg":"ready"')) resolve((JSON.parse(line) as { check: string }).check);
      });
      child.once('exit', () => reject(new Error(lines.join('\n'))));
    });
    const client = checkClient(check);
    const answer = await client.check(
      encodeRequest({
        attributes: {
          source: { address: { socket_address: { address: '203.0.113.7', port_value: 5000 } } },
          request: { http: { method: 'GET', host: 'a399.example.com', path: '/' } },
        },
      }),
    );
    client.close();
    expect(metadataOf(decodeResponse(answer))).toMatchObject({ outcome: 'allow', application: 'A399' });
  } finally {
    child.kill('SIGKILL');
    await gone;
    rmSync(folder, { recursive: true });
  }
}, 60_000);
