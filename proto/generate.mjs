// Writes src/envoy/generated/descriptors.ts from the .proto files beside this one; with --check it writes nothing and
// fails where the committed file is not what would be written.
import { execFileSync } from 'node:child_process';
import { readFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const protos = dirname(fileURLToPath(import.meta.url));
const root = dirname(protos);
const target = join(root, 'src/envoy/generated/descriptors.ts');
const shown = relative(root, target);

const wanted = generated();
if (process.argv.includes('--check')) {
  if (found() !== wanted) {
    console.error(
      `${shown} does not belong to proto/**/*.proto: expected what \`npm run generate\` writes, found ${found() === '' ? 'nothing' : 'something else'}`,
    );
    console.error('  mend: run `npm run generate` and commit the result');
    process.exit(1);
  }
  console.log(`${shown} belongs to proto/**/*.proto`);
} else {
  mkdirSync(dirname(target), { recursive: true });
  writeFileSync(target, wanted);
  console.log(`wrote ${shown}`);
}

function generated() {
  const buf = createRequire(import.meta.url).resolve('@bufbuild/buf/bin/buf');
  const bytes = execFileSync(
    process.execPath,
    [buf, 'build', protos, '--as-file-descriptor-set', '--exclude-source-info', '-o', '-#format=binpb'],
    { maxBuffer: 1 << 24 },
  );
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

function found() {
  try {
    return readFileSync(target, 'utf8');
  } catch {
    return '';
  }
}
