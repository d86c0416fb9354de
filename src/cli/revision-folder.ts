/** A config folder to compare: one on disk, or one as a revision of git has it. */
import { execFile, spawn } from 'node:child_process';
import { cp, mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { promisify } from 'node:util';
import { UsageError } from './arguments.ts';

export interface RevisionFolder {
  /** As it was asked for. */
  readonly name: string;
  readonly path: string;
  /** Removes what was made for it. */
  remove(): Promise<void>;
}

/** Opens `DIR`, or `git:REV`, or `git:REV:DIR`: the folder as the revision has it, in a temporary one. Files that git
 *  does not have, such as keys, are taken from the folder as it is now, so that it can be loaded; policies and cases
 *  never are.
 *  @param folder Which folder of the repository `git:REV` means; also says which repository.
 *  @throws UsageError where there is no such folder or revision. */
export async function openRevisionFolder(name: string, folder: string): Promise<RevisionFolder> {
  const asked = /^git:([^:]+)(?::(.+))?$/.exec(name);
  if (!asked) {
    const isFolder = await stat(name).then(
      (found) => found.isDirectory(),
      () => false,
    );
    if (!isFolder) throw new UsageError(`${name} is no folder; write a folder, or git:REV for a revision of git`);
    return { name, path: name, remove: async () => undefined };
  }
  const [, revision = '', below] = asked;
  if (revision.startsWith('-')) throw new UsageError(`${name} names no revision of git`);
  const working = resolve(below ?? folder);
  const top = (await git(['-C', await nearestFolder(working), 'rev-parse', '--show-toplevel'], name)).trim();
  const inside = relative(top, working) || '.';
  const commit = (
    await git(['-C', top, 'rev-parse', '--verify', '--end-of-options', `${revision}^{commit}`], name)
  ).trim();
  const path = await mkdtemp(join(tmpdir(), 'postern-diff-'));
  const remove = async (): Promise<void> => rm(path, { recursive: true, force: true });
  try {
    await extract(top, inside === '.' ? commit : `${commit}:${inside}`, path, name);
    await takeUntracked(top, inside, working, path);
    return { name, path, remove };
  } catch (error) {
    await remove();
    throw error;
  }
}

const run = promisify(execFile);

async function git(args: readonly string[], name: string): Promise<string> {
  try {
    const { stdout } = await run('git', [...args], { maxBuffer: 64 * 1024 * 1024 });
    return stdout;
  } catch (error) {
    throw new UsageError(`${name}: ${failureOf(error)}`);
  }
}

function failureOf(error: unknown): string {
  if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 'git is not installed';
  const { stderr } = error as { readonly stderr?: unknown };
  const text =
    typeof stderr === 'string' && stderr.trim() !== '' ? stderr : error instanceof Error ? error.message : '';
  return text.trim().split('\n')[0] ?? '';
}

/** The folder itself may be there in the revision alone. */
async function nearestFolder(path: string): Promise<string> {
  for (let at = path; ; at = resolve(at, '..')) {
    const isFolder = await stat(at).then(
      (found) => found.isDirectory(),
      () => false,
    );
    if (isFolder || at === resolve(at, '..')) return at;
  }
}

/** What git has, without touching the repository or its work tree. */
async function extract(top: string, tree: string, into: string, name: string): Promise<void> {
  const archive = spawn('git', ['-C', top, 'archive', '--format=tar', tree], { stdio: ['ignore', 'pipe', 'pipe'] });
  const tar = spawn('tar', ['-x', '-C', into], { stdio: ['pipe', 'ignore', 'pipe'] });
  archive.stdout.pipe(tar.stdin);
  // A reader that ends early is told by its own exit.
  tar.stdin.on('error', () => undefined);
  await Promise.all([ended(archive, name), ended(tar, name)]);
}

async function ended(child: ReturnType<typeof spawn>, name: string): Promise<void> {
  let errors = '';
  child.stderr?.on('data', (chunk: Buffer) => (errors += chunk.toString()));
  await new Promise<void>((done, fail) => {
    child.on('error', (error) => fail(new UsageError(`${name}: ${error.message}`)));
    child.on('close', (code) => {
      if (code === 0) done();
      else fail(new UsageError(`${name}: ${errors.trim().split('\n')[0] ?? `exit ${code}`}`));
    });
  });
}

async function takeUntracked(top: string, inside: string, working: string, into: string): Promise<void> {
  const listed = await git(['-C', top, 'ls-files', '--others', '-z', '--', inside], working).catch(() => '');
  for (const name of listed.split('\0')) {
    if (name === '') continue;
    const below = relative(working, join(top, name));
    if (below.startsWith('..') || /\.(?:ya?ml|json)$/i.test(below)) continue;
    await cp(join(top, name), join(into, below), { force: false, errorOnExist: false });
  }
}
