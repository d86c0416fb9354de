/** The YAML language server that VS Code runs, spoken to over standard input and output as an editor does. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';

export interface Diagnostic {
  readonly message: string;
  readonly range: { readonly start: { readonly line: number; readonly character: number } };
}

export interface LanguageServer {
  /** Opens a file, with another text than it has where one is given, and gives what is wrong with it. */
  open(path: string, text?: string): Promise<readonly Diagnostic[]>;
  /** Labels offered at a place, from 0, of a file that is open. */
  completion(path: string, line: number, character: number): Promise<readonly string[]>;
  /** What is shown over a place. */
  hover(path: string, line: number, character: number): Promise<string>;
  stop(): Promise<void>;
}

interface Message {
  readonly id?: number | string;
  readonly method?: string;
  readonly params?: unknown;
  readonly result?: unknown;
  readonly error?: { readonly message: string };
}

const SERVER = join(
  dirname(createRequire(import.meta.url).resolve('yaml-language-server/package.json')),
  'bin/yaml-language-server',
);

export async function startLanguageServer(folder: string): Promise<LanguageServer> {
  const child = spawn(process.execPath, [SERVER, '--stdio'], { stdio: ['pipe', 'pipe', 'ignore'] });
  const waiting = new Map<number, (message: Message) => void>();
  const diagnosed = new Map<string, (found: readonly Diagnostic[]) => void>();
  let buffered = Buffer.alloc(0);
  let last = 0;

  const send = (message: object): void => {
    const body = JSON.stringify({ jsonrpc: '2.0', ...message });
    child.stdin.write(`Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
  };
  const ask = async (method: string, params: object): Promise<unknown> => {
    const id = (last += 1);
    const answer = new Promise<Message>((resolve) => waiting.set(id, resolve));
    send({ id, method, params });
    const { result, error } = await answer;
    if (error) throw new Error(`${method}: ${error.message}`);
    return result;
  };
  const take = (message: Message): void => {
    if (message.method === undefined) {
      if (typeof message.id === 'number') waiting.get(message.id)?.(message);
      return;
    }
    if (message.method === 'textDocument/publishDiagnostics') {
      const { uri, diagnostics } = message.params as { uri: string; diagnostics: readonly Diagnostic[] };
      diagnosed.get(uri)?.(diagnostics);
      diagnosed.delete(uri);
      return;
    }
    // Whatever else it asks of an editor: settings are the defaults, and the rest is agreed to.
    if (message.id !== undefined)
      send({
        id: message.id,
        result:
          message.method === 'workspace/configuration'
            ? (message.params as { items: readonly unknown[] }).items.map(() => ({}))
            : null,
      });
  };
  child.stdout.on('data', (chunk: Buffer) => {
    buffered = Buffer.concat([buffered, chunk]);
    for (;;) {
      const split = buffered.indexOf('\r\n\r\n');
      const length = /Content-Length: (\d+)/i.exec(buffered.subarray(0, Math.max(split, 0)).toString())?.[1];
      if (length === undefined || buffered.length < split + 4 + Number(length)) return;
      const body = buffered.subarray(split + 4, split + 4 + Number(length)).toString();
      buffered = buffered.subarray(split + 4 + Number(length));
      take(JSON.parse(body) as Message);
    }
  });

  const uriOf = (path: string): string => pathToFileURL(path).href;
  await ask('initialize', {
    processId: process.pid,
    rootUri: uriOf(folder),
    workspaceFolders: [{ uri: uriOf(folder), name: 'folder' }],
    capabilities: {
      workspace: { configuration: true, workspaceFolders: true },
      textDocument: { completion: { completionItem: { documentationFormat: ['markdown'] } }, hover: {} },
    },
  });
  send({ method: 'initialized', params: {} });
  return {
    async open(path, text = readFileSync(path, 'utf8')) {
      const uri = uriOf(path);
      const found = new Promise<readonly Diagnostic[]>((resolve) => diagnosed.set(uri, resolve));
      send({ method: 'textDocument/didOpen', params: { textDocument: { uri, languageId: 'yaml', version: 1, text } } });
      return found;
    },
    async completion(path, line, character) {
      const found = (await ask('textDocument/completion', {
        textDocument: { uri: uriOf(path) },
        position: { line, character },
      })) as { readonly items: readonly { readonly label: string }[] };
      return found.items.map(({ label }) => label);
    },
    async hover(path, line, character) {
      const found = (await ask('textDocument/hover', {
        textDocument: { uri: uriOf(path) },
        position: { line, character },
      })) as { readonly contents: { readonly value: string } } | null;
      return found?.contents.value ?? '';
    },
    async stop() {
      child.kill();
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    },
  };
}
