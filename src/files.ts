/** The config folder as one consistent set of bytes: the settings, the policy files, and every file they name. */
import { createHash, randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import type { BigIntStats } from 'node:fs';
import { link, lstat, mkdir, open, readdir, readlink, realpath, stat, unlink } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, normalize, resolve, sep } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fault, warning } from './model/fault.ts';
import type { Fault, Place } from './model/fault.ts';
import { flush, flushFolder } from './shared/flush.ts';
import { byText } from './shared/order.ts';

/** The file of the config folder that holds the settings. */
export const SETTINGS_FILE = 'postern.yaml';

/** A file that settings or policies name. */
export interface FileReference {
  /** Relative to the config folder, or absolute. */
  readonly name: string;
  /** Where it is named. */
  readonly place: Place;
  /** `public`: anybody may read it. `secret`: others should not be able to. `made`: a private key that Postern makes
   *  where it is missing, and so may be missing. */
  readonly use: 'public' | 'secret' | 'made';
  /** The command that prints one, where it is the user's to make. */
  readonly madeBy?: string | undefined;
}

export interface ConfigFile {
  /** Relative to the config folder with `/`, or absolute where it is named so. */
  readonly name: string;
  readonly bytes: Uint8Array;
  /** SHA-256 of the bytes, hex. */
  readonly hash: string;
}

/** What belongs to the set is told step by step, since the settings name other files, and policies may too. */
export interface ConfigPlan {
  /** Given `postern.yaml`, or undefined where there is none: the folder of policy files and the other files. */
  readonly settings: (bytes: Uint8Array | undefined) => {
    readonly policies: string;
    /** A second folder, of policies that are only tried; undefined: none. */
    readonly shadow?: string | undefined;
    readonly files: readonly FileReference[];
  };
  /** Given the policy files: the files that they name. */
  readonly policies?: (files: readonly ConfigFile[]) => readonly FileReference[];
}

export interface ConfigSnapshot {
  /** By name, sorted. Every file that is there; files are looked up with `fileOf`. */
  readonly files: ReadonlyMap<string, ConfigFile>;
  /** Names of the policy files, sorted. */
  readonly policies: readonly string[];
  /** Names of the policy files that are only tried, sorted. */
  readonly shadow: readonly string[];
  /** What keeps those from being read: no fault of the set. */
  readonly shadowFaults: readonly Fault[];
  /** SHA-256 over names and bytes, the first 12 hex digits. */
  readonly revision: string;
  /** Of a set read with a change: what the folder itself held. Undefined where nothing was changed. */
  readonly unchanged: UnchangedSet | undefined;
  /** What is missing or cannot be read, and warnings. With a fault the set is not whole and must not be used. */
  readonly faults: readonly Fault[];
  /** What must be watched besides the config folder, absolute. */
  readonly outside: readonly WatchedFolder[];
}

/** One policy file that a set is read with as if it had been written, or removed, already. */
export interface FileChange {
  /** Relative to the config folder, below the folder of policy files. */
  readonly name: string;
  /** Undefined: removed. */
  readonly bytes: Uint8Array | undefined;
}

/** The same reading without its change. */
export interface UnchangedSet {
  readonly revision: string;
  /** SHA-256 of the file that is changed, hex; undefined: there is none. */
  readonly hash: string | undefined;
}

export interface WatchedFolder {
  readonly path: string;
  /** Folders below it too. */
  readonly deep: boolean;
}

export interface ConfigReader {
  /** Reads the set, with `change` in it where one is given. Never throws for what the user can mend: see `faults` of
   *  the snapshot. One call at a time. */
  read(plan: ConfigPlan, change?: FileChange): Promise<ConfigSnapshot>;
}

export interface ConfigReaderOptions {
  /** Called before each file is read, so that a test can change the folder at that moment. */
  readonly beforeFile?: (name: string) => void | Promise<void>;
  /** How often a set that changes under the reader is read again before it gives up. */
  readonly attemptsMax?: number;
  /** Milliseconds since the epoch, by the clock of the files' times. */
  readonly now?: () => number;
}

/** A reader of one config folder. It remembers the files of the last set and reads only those that changed.
 *
 *  A set is one that existed at one instant: after the last file is read, every file, listing and link is looked at
 *  again, and if any is not as it was, all is read anew. A Kubernetes volume (`..data` → `..2026_01_31_…`) is entered
 *  through its link once, so that a swap cannot mix two versions. Source: Kubernetes, atomic writer of volumes. */
export function createConfigReader(folder: string, options: ConfigReaderOptions = {}): ConfigReader {
  const { beforeFile, attemptsMax = ATTEMPTS_MAX, now = Date.now } = options;
  let remembered: ReadonlyMap<string, Remembered> = new Map();
  const seen = new Set<string>();
  return {
    async read(plan, change) {
      for (let attempt = 1; ; attempt += 1) {
        const reading = new Reading(folder, remembered, seen, now(), beforeFile);
        try {
          const snapshot = await reading.read(plan, change);
          if (await reading.isUnchanged()) {
            remembered = reading.remembered;
            // A file that only might be written has not been seen.
            if (change) return snapshot;
            for (const name of snapshot.files.keys()) seen.add(name);
            if (snapshot.policies.length > 0) seen.add(POLICIES);
            return snapshot;
          }
        } catch (error) {
          if (!(error instanceof Moved)) throw error;
        }
        if (attempt >= attemptsMax) return unsettled(folder, attempt);
        await sleep(Math.min(2 ** attempt, PAUSE_MAX_MS));
      }
    },
  };
}

/** The file of a name as settings and policies write it (`./keys/a.pem` is `keys/a.pem`); undefined: not there. */
export function fileOf(snapshot: Pick<ConfigSnapshot, 'files'>, name: string): ConfigFile | undefined {
  return snapshot.files.get(normalName(name));
}

/** A name as files of a set have it: `./policies/` is `policies`. */
export function normalName(name: string): string {
  const normal = normalize(name).split(sep).join('/');
  return normal.length > 1 && normal.endsWith('/') ? normal.slice(0, -1) : normal;
}

/** The absolute path of such a name. */
export function pathOf(folder: string, name: string): string {
  return resolve(folder, name);
}

/** All YAML and JSON files below a folder of the config folder that is no part of the set, by name, such as the
 *  users' own tests. Empty where there is no such folder. Throws where one cannot be read. */
export async function readYamlFolder(folder: string, below: string): Promise<readonly ConfigFile[]> {
  const reading = new Reading(folder, new Map(), new Set(), 0, undefined);
  const files = await reading.folderFiles(normalName(below));
  const problem = reading.faults.find((one) => one.severity === 'fault');
  if (problem) throw new Error(problem.text);
  return files;
}

/** Makes a private file (mode 0600) where there is none; an existing one is never touched. `make` gives its content
 *  and is only called when it is needed. True: it was made. Two processes may try at once; one of them makes it.
 *  Throws an error that says what to do where the folder cannot be written. */
export async function ensurePrivateFile(path: string, make: () => Promise<string | Uint8Array>): Promise<boolean> {
  if (await exists(path)) return false;
  const content = await make();
  const folder = dirname(path);
  try {
    await makeFolder(folder);
    const temporary = join(folder, `.${basename(path)}.${randomUUID()}`);
    await writePrivately(temporary, content);
    const made = await linked(temporary, path).finally(() => unlink(temporary));
    if (made) await flushFolder(folder);
    else if (!(await exists(path)))
      throw new Error(`cannot create ${path}: a link of that name leads nowhere; remove it`);
    return made;
  } catch (error) {
    if (!(error instanceof Error && 'code' in error)) throw error;
    const code = codeOf(error);
    throw new Error(`cannot create ${path} (${code}): ${CREATE_MENDS[code] ?? 'put a private key there yourself'}`, {
      cause: error,
    });
  }
}

/** What a tree looks like from outside, without reading any file: names, links, sizes and times. Equal signatures mean
 *  that nothing changed, but for edits of the same size within one tick of the clock. */
export async function treeSignature(folder: WatchedFolder): Promise<string> {
  const hash = createHash('sha256');
  await addToSignature(folder.path, folder.deep ? DEPTH_MAX : 1, hash, new Set());
  return hash.digest('hex');
}

const ATTEMPTS_MAX = 12;
const PAUSE_MAX_MS = 100;
const PARALLEL = 32;
const DEPTH_MAX = 32;
const POLICIES = 'policies/';
/** Of `postern.yaml` and of a policy file: some hundred thousand rules. What is larger is something else, and would take
 *  the memory that requests need. */
const POLICY_MAX_BYTES = 64 * 1024 * 1024;
const DATA_LINK = '..data';

/** A file's times come from the kernel's clock, which may stand still for some milliseconds: what was changed this
 *  shortly before it was read may have been changed again without a trace, and is read again next time. */
const UNSETTLED_MS = 2000;

/** Less than the second within which a change is live. */
const EMPTIED_MS = 700;
const EMPTIED_LOOK_MS = 20;

const CREATE_MENDS: Readonly<Record<string, string>> = {
  EROFS: 'the folder is read-only; mount a private key there, or name a path that can be written',
  EACCES: 'the folder may not be written by this user; put a private key there, or allow writing',
  EPERM: 'the folder may not be written by this user; put a private key there, or allow writing',
  ENOTDIR: 'a part of the path is no folder; name another path',
  ENOSPC: 'the disk is full',
};

/** The folder changed under the reader. */
class Moved extends Error {}

interface Remembered {
  readonly signature: string;
  readonly file: ConfigFile;
  readonly settled: boolean;
}

/** One attempt to read the set, with everything that must be looked at again when it is done. */
class Reading {
  readonly faults: Fault[] = [];
  readonly remembered = new Map<string, Remembered>();
  readonly #folder: string;
  readonly #before: ReadonlyMap<string, Remembered>;
  readonly #seen: ReadonlySet<string>;
  readonly #nowMs: number;
  readonly #beforeFile: ((name: string) => void | Promise<void>) | undefined;
  /** Folder → what its `..data` says; undefined: it has none. */
  readonly #links = new Map<string, string | undefined>();
  /** Path → signature; "": not there. */
  readonly #looks = new Map<string, string>();
  /** Folder → its entries. */
  readonly #listings = new Map<string, string>();

  constructor(
    folder: string,
    before: ReadonlyMap<string, Remembered>,
    seen: ReadonlySet<string>,
    nowMs: number,
    beforeFile: ((name: string) => void | Promise<void>) | undefined,
  ) {
    this.#folder = resolve(folder);
    this.#before = before;
    this.#seen = seen;
    this.#nowMs = nowMs;
    this.#beforeFile = beforeFile;
  }

  async read(plan: ConfigPlan, change: FileChange | undefined): Promise<ConfigSnapshot> {
    const root = await stat(this.#folder).catch((error: unknown) => codeOf(error));
    if (typeof root === 'string' || !root.isDirectory()) {
      this.#looks.set(this.#folder, await look(this.#folder));
      const found =
        root === 'ENOENT' ? 'none' : typeof root === 'string' ? `one that cannot be read (${root})` : 'a file';
      this.#report(
        this.#folder,
        'folder_missing',
        `expected the config folder, found ${found}`,
        'name it with --config DIR',
      );
      return this.#snapshot({ files: [], policies: [], change });
    }
    const files: ConfigFile[] = [];
    const references: FileReference[] = [];
    const settings = await this.#file(SETTINGS_FILE, undefined);
    if (settings) files.push(settings);
    const named = plan.settings(settings?.bytes);
    references.push(...named.files);
    const folder = normalName(named.policies);
    const written = await this.folderFiles(folder);
    const policies = change ? changed(written, change) : written;
    files.push(...policies);
    references.push(...(plan.policies?.(policies) ?? []));
    const shadow = named.shadow === undefined ? undefined : await this.#shadowFiles(normalName(named.shadow));
    files.push(...(shadow?.files ?? []));
    const byName = new Map(references.toReversed().map((one) => [normalName(one.name), one]));
    for (const one of files) byName.delete(one.name);
    files.push(...(await this.#files([...byName].map(([name, reference]) => ({ name, reference })))));
    return this.#snapshot({ files, policies, folder, shadow, references, change, written });
  }

  /** Every YAML and JSON file below; names that begin with a dot are passed over. */
  async folderFiles(folder: string): Promise<ConfigFile[]> {
    const names: string[] = [];
    await this.#list(folder, names, []);
    return this.#files(names.map((name) => ({ name, reference: undefined })));
  }

  /** What is wrong with this folder is told apart: it must not keep the set from being used. */
  async #shadowFiles(folder: string): Promise<ShadowFiles> {
    const before = this.faults.length;
    const files = await this.folderFiles(folder);
    const faults = this.faults
      .splice(before)
      .map((found) =>
        found.code === 'folder_missing'
          ? fault(
              { file: SETTINGS_FILE, path: ['shadow'] },
              'folder_missing',
              `expected a folder of policy files at ${folder}, found none: nothing is tried`,
              `mkdir ${resolve(this.#folder, folder)}, or remove shadow from postern.yaml`,
            )
          : found,
      );
    return { folder, files, faults };
  }

  async isUnchanged(): Promise<boolean> {
    for (const [folder, target] of this.#links) if ((await dataLink(folder)) !== target) return false;
    for (const [folder, entries] of this.#listings) if ((await listing(folder)) !== entries) return false;
    return (await inParallel([...this.#looks], async ([path, before]) => (await look(path)) === before)).every(Boolean);
  }

  async #files(
    wanted: readonly { readonly name: string; readonly reference: FileReference | undefined }[],
  ): Promise<ConfigFile[]> {
    const files = await inParallel(wanted, ({ name, reference }) => this.#file(name, reference));
    return files.filter((file) => file !== undefined);
  }

  async #file(name: string, reference: FileReference | undefined): Promise<ConfigFile | undefined> {
    await this.#beforeFile?.(name);
    const path = await this.#locate(name);
    const before = this.#before.get(name);
    const found = await statOf(path, before !== undefined && before.file.bytes.length > 0);
    this.#looks.set(path, typeof found === 'string' ? found : signatureOf(found));
    const place = reference?.place ?? { file: name, path: [] };
    if (typeof found === 'string') {
      await this.#reportMissing(name, path, found, reference, place);
      return undefined;
    }
    if (!found.isFile()) {
      const kind = found.isDirectory() ? 'a folder' : 'something else';
      this.#reportAt(place, 'file_unreadable', `expected a file at ${name}, found ${kind}`, 'name a file');
      return undefined;
    }
    if (!reference && found.size > POLICY_MAX_BYTES) {
      const text = `expected at most ${POLICY_MAX_BYTES >> 20} MiB in ${name}, found ${found.size >> 20n} MiB`;
      this.#reportAt(place, 'file_unreadable', text, 'divide it: all files of the folder together are one policy set');
      return undefined;
    }
    // What others can do with a private key, they will.
    if (reference && reference.use !== 'public' && (found.mode & 0o004n) !== 0n) {
      const mode = (found.mode & 0o777n).toString(8).padStart(4, '0');
      this.faults.push(
        warning(
          place,
          'key_permissions',
          `expected ${name} to be readable by its owner and group only, found mode ${mode}`,
          `chmod o-rwx ${resolve(this.#folder, name)}, or in Kubernetes defaultMode: 0440`,
        ),
      );
    }
    const signature = signatureOf(found);
    if (before?.signature === signature && before.settled) {
      this.remembered.set(name, before);
      return before.file;
    }
    const read = await readWhole(path, signature).catch((error: unknown) => codeOf(error));
    if (typeof read === 'string') {
      await this.#reportMissing(name, path, read, reference, place);
      return undefined;
    }
    const hash = createHash('sha256').update(read).digest('hex');
    // The very same object where nothing changed, so that whoever built on it can tell by identity.
    const file = before?.file.hash === hash ? before.file : Object.freeze({ name, bytes: read, hash });
    const settled = this.#nowMs - Number(found.ctimeMs) > UNSETTLED_MS;
    this.remembered.set(name, { signature, file, settled });
    return file;
  }

  /** The path of a name, through the `..data` of every folder on the way as it was when first seen. */
  async #locate(name: string): Promise<string> {
    const steps = name.split('/').filter((step) => step !== '');
    let path = isAbsolute(name) ? sep : this.#folder;
    for (const step of steps) path = await this.#below(path, step);
    return path;
  }

  async #below(folder: string, step: string): Promise<string> {
    const data = await this.#data(folder);
    if (data === undefined || step.startsWith('..')) return join(folder, step);
    const inside = join(data, step);
    // A volume may be mounted within another one.
    return (await isThere(inside)) ? inside : join(folder, step);
  }

  /** Where `..data` of a folder leads; undefined where it has none. */
  async #data(folder: string): Promise<string | undefined> {
    if (!this.#links.has(folder)) this.#links.set(folder, await dataLink(folder));
    const target = this.#links.get(folder);
    return target === undefined ? undefined : resolve(folder, target);
  }

  async #list(name: string, names: string[], above: readonly string[]): Promise<void> {
    const folder = await this.#locate(name);
    const identity = await stat(folder, { bigint: true }).then(
      (found) => (found.isDirectory() ? `${found.dev}:${found.ino}` : 'ENOTDIR'),
      (error: unknown) => codeOf(error),
    );
    if (!identity.includes(':')) {
      this.#looks.set(folder, await look(folder));
      if (above.length === 0) this.#reportNoFolder(name, identity);
      return;
    }
    if (above.includes(identity) || above.length > DEPTH_MAX) {
      this.#report(name, 'folder_loop', 'expected folders that end, found a link to a folder above', 'remove the link');
      return;
    }
    for (const entry of await this.#entries(folder)) {
      const below = `${name}/${entry}`;
      const path = await this.#locate(below);
      const found = await stat(path).catch((error: unknown) => codeOf(error));
      if (typeof found !== 'string' && found.isDirectory()) await this.#list(below, names, [...above, identity]);
      else if (POLICY_FILE.test(entry)) names.push(below);
    }
  }

  /** The visible entries of a folder, in a volume those of its `..data` and whatever is mounted beside. */
  async #entries(folder: string): Promise<readonly string[]> {
    const data = await this.#data(folder);
    const own = await this.#listed(folder);
    if (data === undefined) return own;
    const inside = await this.#listed(data);
    const known = new Set(inside);
    const others: string[] = [];
    for (const entry of own) {
      // Links into `..data` are made after a swap and removed before the next: only the volume itself is right.
      const target = known.has(entry) ? '' : await readlink(join(folder, entry)).catch(() => undefined);
      if (target === undefined || !(target === '' || target.startsWith(`${DATA_LINK}/`))) others.push(entry);
    }
    return [...inside, ...others].toSorted();
  }

  async #listed(folder: string): Promise<readonly string[]> {
    const entries = await listing(folder);
    this.#listings.set(folder, entries);
    if (entries === '!ENOENT' || entries === '!ENOTDIR') throw new Moved();
    if (entries.startsWith('!')) {
      const code = entries.slice(1);
      this.#report(
        folder,
        'folder_unreadable',
        `expected to list ${folder}, found ${code}`,
        `let this user list ${folder}`,
      );
      return [];
    }
    return entries === '' ? [] : entries.split('/');
  }

  async #reportMissing(
    name: string,
    located: string,
    code: string,
    reference: FileReference | undefined,
    place: Place,
  ): Promise<void> {
    const isMissing = code === 'ENOENT' || code === 'ENOTDIR';
    const path = resolve(this.#folder, name);
    if (!isMissing) {
      this.#reportAt(place, 'file_unreadable', `expected to read ${name}, found ${code}`, `let this user read ${path}`);
    } else if (reference) {
      // A key that was there and is gone is a mistake, not a first start.
      if (reference.use === 'made' && !this.#seen.has(name)) return;
      this.#reportAt(
        place,
        'file_missing',
        `expected a file at ${name}, found none`,
        reference.madeBy === undefined
          ? `put it at ${path}, or correct the path`
          : `make it: (umask 077; ${reference.madeBy} > ${path}); or correct the path`,
      );
    } else if (name === SETTINGS_FILE && !this.#seen.has(name)) {
      this.faults.push(
        warning(
          place,
          'file_missing',
          `expected ${path}, found none: every setting has its default`,
          'create it, or name the config folder with --config DIR',
        ),
      );
    } else if (name === SETTINGS_FILE) {
      this.#reportAt(
        place,
        'file_missing',
        `expected ${path}, which was here before, found none`,
        'put it back; an empty file means the defaults',
      );
    } else if (await isThere(located)) {
      this.#reportAt(
        place,
        'file_missing',
        `expected a file at ${name}, found a link that leads nowhere`,
        'remove the link, or put back what it names',
      );
    } else {
      // Listed and gone a moment later.
      throw new Moved();
    }
  }

  #reportNoFolder(name: string, code: string): void {
    const path = resolve(this.#folder, name);
    if (code !== 'ENOENT') {
      const found = code === 'ENOTDIR' ? 'a file' : code;
      this.#report(
        name,
        'folder_unreadable',
        `expected a folder of policy files at ${name}, found ${found}`,
        `let this user read ${path}`,
      );
    } else if (this.#seen.has(POLICIES)) {
      this.#report(
        name,
        'folder_missing',
        `expected the folder ${name}, which was here before, found none`,
        'put it back; an empty folder denies every request',
      );
    } else {
      this.faults.push(
        warning(
          { file: name, path: [] },
          'folder_missing',
          `expected a folder of policy files at ${name}, found none: every request is denied`,
          `mkdir ${path}, or set policies in postern.yaml`,
        ),
      );
    }
  }

  #report(file: string, code: string, text: string, mend: string): void {
    this.#reportAt({ file, path: [] }, code, text, mend);
  }

  #reportAt(place: Place, code: string, text: string, mend: string): void {
    this.faults.push(fault(place, code, text, mend));
  }

  async #snapshot(read: ReadFiles): Promise<ConfigSnapshot> {
    const { files, policies, folder, shadow, references = [], change } = read;
    const sorted = files.toSorted((a, b) => byText(a.name, b.name));
    return {
      files: new Map(sorted.map((file) => [file.name, file])),
      policies: policies.map((file) => file.name).toSorted(byText),
      shadow: (shadow?.files ?? []).map((file) => file.name).toSorted(byText),
      shadowFaults: shadow?.faults ?? [],
      revision: revisionOf(sorted),
      unchanged: change && unchangedSet(read, change),
      faults: this.faults,
      outside: await this.#outside(
        [folder, shadow?.folder],
        references,
        sorted.map((file) => file.name),
      ),
    };
  }

  /** Folders that a watch of the config folder does not see: of files named by an absolute path, or behind links. */
  async #outside(
    policies: readonly (string | undefined)[],
    references: readonly FileReference[],
    names: readonly string[],
  ): Promise<WatchedFolder[]> {
    const root = await realpath(this.#folder).catch(() => this.#folder);
    const isInside = (path: string): boolean =>
      [root, this.#folder].some((top) => path === top || path.startsWith(top.endsWith(sep) ? top : top + sep));
    const folders = new Map<string, boolean>();
    const add = async (path: string, deep: boolean): Promise<void> => {
      const real = await realpath(path).catch(() => undefined);
      for (const one of [path, ...(real === undefined ? [] : [withoutVersion(real)])]) {
        if (!isInside(one)) folders.set(one, deep || folders.get(one) === true);
      }
    };
    for (const one of policies) if (one !== undefined) await add(resolve(this.#folder, one), true);
    // A file that is missing may come.
    const parents = new Set(references.map((one) => dirname(resolve(this.#folder, one.name))));
    for (const parent of parents) await add(parent, false);
    const reals = await inParallel(names, (name) => realpath(resolve(this.#folder, name)).catch(() => undefined));
    for (const real of new Set(reals.map((one) => one && withoutVersion(dirname(one))))) {
      if (real !== undefined) await add(real, false);
    }
    return [...folders].map(([path, deep]) => ({ path, deep })).toSorted((a, b) => byText(a.path, b.path));
  }
}

/** What one reading found. */
interface ReadFiles {
  /** The whole set, with the change. */
  readonly files: readonly ConfigFile[];
  /** The policy files of it. */
  readonly policies: readonly ConfigFile[];
  readonly folder?: string;
  readonly shadow?: ShadowFiles | undefined;
  readonly references?: readonly FileReference[];
  readonly change: FileChange | undefined;
  /** The policy files as they are in the folder. */
  readonly written?: readonly ConfigFile[];
}

interface ShadowFiles {
  readonly folder: string;
  readonly files: readonly ConfigFile[];
  readonly faults: readonly Fault[];
}

function changed(written: readonly ConfigFile[], { name, bytes }: FileChange): ConfigFile[] {
  const others = written.filter((file) => file.name !== name);
  if (!bytes) return others;
  const hash = createHash('sha256').update(bytes).digest('hex');
  return [...others, Object.freeze({ name, bytes, hash })].toSorted((a, b) => byText(a.name, b.name));
}

function unchangedSet({ files, policies, written = [] }: ReadFiles, { name }: FileChange): UnchangedSet {
  const replaced = new Set(policies);
  const others = files.filter((file) => !replaced.has(file));
  return {
    revision: revisionOf([...others, ...written].toSorted((a, b) => byText(a.name, b.name))),
    hash: written.find((file) => file.name === name)?.hash,
  };
}

function revisionOf(sorted: readonly ConfigFile[]): string {
  const hash = createHash('sha256');
  for (const file of sorted) hash.update(`${file.name}\0${file.hash}\n`);
  return hash.digest('hex').slice(0, 12);
}

const POLICY_FILE = /^[^.].*\.(?:yaml|yml|json)$/i;

function unsettled(folder: string, attempts: number): ConfigSnapshot {
  const place: Place = { file: folder, path: [] };
  const text = `expected a config folder that holds still while it is read, found one that changed ${attempts} times`;
  return {
    files: new Map(),
    policies: [],
    shadow: [],
    shadowFaults: [],
    revision: '',
    unchanged: undefined,
    faults: [
      fault(place, 'config_unsettled', text, 'stop writing to it all the time; write files whole and rename them'),
    ],
    outside: [],
  };
}

/** Whoever writes a file in place empties it first. One that had content a moment ago gets the time to have some again:
 *  read as empty, what it denied would be gone. */
async function statOf(path: string, hadContent: boolean): Promise<BigIntStats | string> {
  for (;;) {
    const found = await stat(path, { bigint: true }).catch((error: unknown) => codeOf(error));
    if (typeof found === 'string' || !hadContent || found.size > 0n || !found.isFile()) return found;
    if (Math.abs(Date.now() - Number(found.mtimeMs)) > EMPTIED_MS) return found;
    await sleep(EMPTIED_LOOK_MS);
  }
}

/** A file between two looks: anything but the very file that was seen is a change under the reader. */
async function readWhole(path: string, signature: string): Promise<Uint8Array> {
  const handle = await open(path, constants.O_RDONLY);
  try {
    const bytes = await handle.readFile();
    if (signatureOf(await handle.stat({ bigint: true })) !== signature) throw new Moved();
    return bytes;
  } finally {
    await handle.close();
  }
}

interface Stats {
  readonly dev: bigint;
  readonly ino: bigint;
  readonly size: bigint;
  readonly mode: bigint;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
}

function signatureOf(found: Stats): string {
  return `${found.dev}:${found.ino}:${found.size}:${found.mode}:${found.mtimeNs}:${found.ctimeNs}`;
}

/** A file's signature, or why it has none. */
async function look(path: string): Promise<string> {
  return stat(path, { bigint: true }).then(signatureOf, codeOf);
}

/** The visible entries, sorted and joined by `/`, which no name can hold; `!` and a code where there are none. */
async function listing(folder: string): Promise<string> {
  return readdir(folder).then(
    (entries) =>
      entries
        .filter((entry) => !entry.startsWith('.'))
        .toSorted()
        .join('/'),
    (error: unknown) => `!${codeOf(error)}`,
  );
}

async function dataLink(folder: string): Promise<string | undefined> {
  return readlink(join(folder, DATA_LINK)).catch(() => undefined);
}

async function isThere(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** `/secrets/..2026_01_31_10_00_00.1/a` → `/secrets`: what is versioned is watched from outside. */
function withoutVersion(path: string): string {
  const steps = path.split(sep);
  const version = steps.findIndex((step) => step.startsWith('..') && step.length > 2);
  return version < 1 ? path : steps.slice(0, version).join(sep) || sep;
}

async function inParallel<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (let start = 0; start < items.length; start += PARALLEL) {
    results.push(...(await Promise.all(items.slice(start, start + PARALLEL).map(work))));
  }
  return results;
}

async function addToSignature(
  path: string,
  depth: number,
  hash: ReturnType<typeof createHash>,
  above: ReadonlySet<string>,
): Promise<void> {
  const own = await lstat(path, { bigint: true }).then(signatureOf, codeOf);
  const found = await stat(path, { bigint: true }).catch((error: unknown) => codeOf(error));
  hash.update(`${path}\0${own}\0${typeof found === 'string' ? found : signatureOf(found)}\n`);
  if (typeof found === 'string' || !found.isDirectory() || depth === 0) return;
  const identity = `${found.dev}:${found.ino}`;
  if (above.has(identity)) return;
  const entries = await readdir(path).catch(() => []);
  for (const entry of entries.toSorted()) {
    if (entry.startsWith('.') && entry !== DATA_LINK) continue;
    await addToSignature(join(path, entry), depth - 1, hash, new Set([...above, identity]));
  }
}

/** Unlike a rename, a link fails where the file has appeared meanwhile: false. */
async function linked(from: string, to: string): Promise<boolean> {
  return link(from, to).then(
    () => true,
    (error: unknown) => {
      if (codeOf(error) === 'EEXIST') return false;
      throw error;
    },
  );
}

/** Not `recursive`: Node 20 tries for ever where a folder can be seen and nothing made in it. */
async function makeFolder(path: string): Promise<void> {
  if (await exists(path)) return;
  if (dirname(path) !== path) await makeFolder(dirname(path));
  await mkdir(path, { mode: 0o700 }).catch((error: unknown) => {
    if (codeOf(error) !== 'EEXIST') throw error;
  });
}

async function writePrivately(path: string, content: string | Uint8Array): Promise<void> {
  const handle = await open(path, 'wx', 0o600);
  try {
    await handle.writeFile(content);
    await flush(handle);
  } finally {
    await handle.close();
  }
}

function codeOf(error: unknown): string {
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') return error.code;
  throw error;
}
