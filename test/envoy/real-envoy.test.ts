/** Each outcome through real Envoys, with the very file that `deploy/envoy/` ships. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeDemoFolder } from '../../src/demo/folder.ts';
import type { DemoFolder, TokenName } from '../../src/demo/folder.ts';
import { ENVOY_PROGRAM, ROOT, envoyFile, send, startEnvoy, startPostern, startUpstream } from '../../src/demo/parts.ts';
import type { Answer, Envoy, Part, Postern } from '../../src/demo/parts.ts';

const OLDEST = `${ROOT}.venv-envoy-1.36.2/bin/envoy`;
/** Both must be there: a version that is missing fails, and says how to get it. */
const VERSIONS: [string, string][] = [
  ['1.40.0', ENVOY_PROGRAM],
  ['1.36.2', OLDEST],
];

describe.each(VERSIONS)('Envoy %s', (version, program) => {
  const begun: Part[] = [];
  let folder: DemoFolder;
  let postern: Postern;
  let envoy: Envoy;
  let work: string | undefined;

  beforeAll(async () => {
    if (!existsSync(program)) {
      throw new Error(`Envoy ${version} is missing at ${program}; get it with: node test/real-parts.mjs envoy`);
    }
    work = mkdtempSync(join(tmpdir(), 'postern-envoy-'));
    folder = await makeDemoFolder(join(work, 'demo'), Date.now());
    const upstream = await startUpstream();
    begun.push(upstream);
    postern = await startPostern(folder.config);
    begun.push(postern);
    const ports = { listener: 0, upstream: upstream.port, postern: Number(postern.check.split(':').at(-1)) };
    envoy = await startEnvoy(program, envoyFile(ports), work);
    begun.push(envoy);
  });

  afterAll(async () => {
    for (const part of begun.toReversed()) await part.stop();
    if (work !== undefined) rmSync(work, { recursive: true, force: true });
  });

  const ask = (path: string, token?: TokenName, headers: Record<string, string> = {}): Promise<Answer> =>
    send(envoy.port, {
      host: 'orders.example.com',
      path,
      headers: { ...headers, ...(token && { authorization: `Bearer ${folder.tokens.get(token)}` }) },
    });

  it('anonymous: 401 with a challenge', async () => {
    const { status, headers, body } = await ask('/');
    expect(status).toBe(401);
    expect(headers.get('www-authenticate')).toBe('Bearer');
    expect(headers.get('cache-control')).toBe('no-store');
    expect(headers.get('content-type')).toBe('application/problem+json');
    expect(JSON.parse(body)).toMatchObject({ status: 401, reason: 'not_authenticated' });
  });

  it('allowed: managed headers are ours, whatever the client sent under their names', async () => {
    const forged = { 'x-postern-user': 'root', 'X-Postern-Email': 'root@example.com', 'x-postern-risk': 'LOW' };
    const { status, body } = await ask('/a?b=1', 'ann', forged);
    expect(status).toBe(200);
    const { path, headers } = JSON.parse(body) as { path: string; headers: Record<string, string> };
    expect(path).toBe('/a?b=1');
    expect(headers['x-postern-user']).toBe('ann@example.com');
    expect(headers['x-postern-email']).toBe('ann@example.com');
    expect(headers['x-postern-policy']).toBe('Engineers');
    expect(headers).not.toHaveProperty('x-postern-risk');
  });

  it('a managed name spelt with underscores does not reach the upstream', async () => {
    expect((await ask('/', 'ann', { x_postern_user: 'root' })).status).toBe(400);
  });

  it('nor does one that only CGI would take for it', async () => {
    const { status, body } = await ask('/', 'ann', { 'x.postern.user': 'root', 'x-postern~email': 'root@example.com' });
    expect(status).toBe(200);
    const { headers } = JSON.parse(body) as { headers: Record<string, string> };
    expect(headers['x-postern-user']).toBe('ann@example.com');
    expect(headers).not.toHaveProperty('x.postern.user');
    expect(headers).not.toHaveProperty('x-postern~email');
  });

  it('denied: 403 that does not say why', async () => {
    const { status, body } = await ask('/', 'mallory');
    expect(status).toBe(403);
    expect(body).not.toContain('Engineers');
  });

  it('step-up: 401 with the challenge of RFC 9470, and 200 for the stronger login', async () => {
    const { status, headers } = await ask('/admin', 'ann');
    expect(status).toBe(401);
    expect(headers.get('www-authenticate')).toMatch(/error="insufficient_user_authentication".*acr_values="/);
    expect((await ask('/admin', 'ann-strong')).status).toBe(200);
  });

  it.each([
    ['/a/..%2fadmin', 400],
    ['/a%5c..%5cadmin', 400],
    ['/admin%00', 400],
    ['//admin', 401],
    ['/a/../admin', 401],
    ['/./admin', 401],
    ['/%61dmin', 401],
    ['/x?/../admin', 200],
    ['/orders', 200],
  ])('raw target %s of a password login: %i', async (target, status) => {
    expect(await rawStatus(envoy.port, target, String(folder.tokens.get('ann')))).toBe(status);
  });

  it('Postern killed: 503, and nobody gets through', async () => {
    expect((await ask('/', 'ann')).status).toBe(200);
    await postern.kill();
    expect((await ask('/', 'ann')).status).toBe(503);
    expect((await ask('/')).status).toBe(503);
  });
});

/** Status of a request whose target no client has touched. */
function rawStatus(port: number, target: string, token: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    let text = '';
    socket.setEncoding('latin1');
    socket.on('error', reject);
    socket.on('data', (chunk: string) => {
      text += chunk;
    });
    socket.on('close', () => resolve(Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1])));
    socket.write(
      `GET ${target} HTTP/1.1\r\nhost: orders.example.com\r\nauthorization: Bearer ${token}\r\nconnection: close\r\n\r\n`,
    );
  });
}
