// Writes src/envoy/generated from the .proto files beside this one: the messages and the service as ts-proto makes
// them, and their descriptors. With --check it writes nothing and fails where a committed file is not what would be
// written.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const protos = dirname(fileURLToPath(import.meta.url));
const root = dirname(protos);
const target = join(root, 'src/envoy/generated');
const { resolve } = createRequire(import.meta.url);

/** Plain unions in place of enums and of groups of optional fields, so that the types can be erased and a switch over
 *  one is checked; numbers, because no 64-bit field here holds more than a time; no JSON, which is read strictly by
 *  src/envoy/request-json.ts. */
const TS_PROTO_OPTIONS = [
  'env=node',
  'esModuleInterop=true',
  'importSuffix=.ts',
  'enumsAsLiterals=true',
  'unrecognizedEnum=false',
  'oneof=unions-value',
  'useOptionals=none',
  'useDate=false',
  'forceLong=number',
  'outputJsonMethods=false',
  'outputServices=grpc-js',
  'annotateFilesWithVersion=false',
];

const wanted = generated();
const shown = relative(root, target);
if (process.argv.includes('--check')) {
  const found = filesIn(target);
  const names = [...new Set([...wanted.keys(), ...found.keys()])].toSorted();
  const wrong = names.filter((name) => wanted.get(name) !== found.get(name));
  for (const name of wrong) {
    const what = found.has(name) ? (wanted.has(name) ? 'something else' : 'a file that nothing writes') : 'nothing';
    console.error(
      `${shown}/${name} does not belong to proto/**/*.proto: expected what \`npm run generate\` writes, found ${what}`,
    );
  }
  if (wrong.length > 0) {
    console.error('  mend: run `npm run generate` and commit the result');
    process.exit(1);
  }
  console.log(`${shown} belongs to proto/**/*.proto`);
} else {
  rmSync(target, { recursive: true, force: true });
  for (const [name, text] of wanted) {
    mkdirSync(dirname(join(target, name)), { recursive: true });
    writeFileSync(join(target, name), text);
  }
  console.log(`wrote ${wanted.size} files into ${shown}`);
}

/** File name, relative to the folder, → text. */
function generated() {
  const folder = mkdtempSync(join(tmpdir(), 'postern-generated-'));
  try {
    const plugin = {
      local: [process.execPath, resolve('ts-proto/protoc-gen-ts_proto')],
      out: folder,
      opt: TS_PROTO_OPTIONS,
      include_imports: true,
      include_wkt: true,
    };
    buf('generate', protos, '--template', JSON.stringify({ version: 'v2', plugins: [plugin] }));
    return filesIn(folder).set('descriptors.ts', descriptors());
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function descriptors() {
  const bytes = buf('build', protos, '--as-file-descriptor-set', '--exclude-source-info', '-o', '-#format=binpb');
  const lines = bytes.toString('base64').match(/.{1,116}/g) ?? [];
  return [
    '// Generated from proto/ by proto/generate.mjs. Do not edit: run `npm run generate`.',
    '',
    '/** google.protobuf.FileDescriptorSet of every message in proto/ and of the well-known types they use, base64. */',
    'export const DESCRIPTORS =',
    ...lines.map((line, index) => `  '${line}'${index === lines.length - 1 ? ';' : ' +'}`),
    '',
  ].join('\n');
}

function buf(...args) {
  return execFileSync(process.execPath, [resolve('@bufbuild/buf/bin/buf'), ...args], { maxBuffer: 1 << 24 });
}

function filesIn(folder) {
  const files = new Map();
  let entries = [];
  try {
    entries = readdirSync(folder, { recursive: true, withFileTypes: true });
  } catch {
    // There is none yet.
  }
  for (const entry of entries) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    files.set(relative(folder, path), readFileSync(path, 'utf8'));
  }
  return files;
}
