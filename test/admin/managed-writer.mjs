/** Writes one file of a policy folder again and again, until it is killed: state n is the object of generation n, or no
 *  file where n ends in 4 or 9. Says `begin n` before a write and `end n` after it, each written out before it goes on.
 *
 *  Usage: node managed-writer.mjs FILE ID, and then the first state on standard input. */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, readSync, writeSync } from 'node:fs';
import { writeManagedFile } from '../../dist/admin/managed-files.js';

const [path, id] = process.argv.slice(2);
writeSync(1, 'ready\n');
const line = Buffer.alloc(16);
const first = Number(line.toString('utf8', 0, readSync(0, line)));
let before = existsSync(path) ? createHash('sha256').update(readFileSync(path)).digest('hex') : undefined;
for (let state = first; ; state += 1) {
  const include = [{ ip: { ip: `10.0.${(state >> 8) & 255}.${state & 255}` } }];
  const bytes =
    state % 5 === 4
      ? undefined
      : new TextEncoder().encode(JSON.stringify({ groups: [{ id, name: `generation ${state}`, include }] }));
  writeSync(1, `begin ${state}\n`);
  const isWritten = await writeManagedFile({ path, bytes, before, written: () => undefined }, (error) => {
    throw error;
  });
  if (!isWritten) throw new Error('another file was there');
  writeSync(1, `end ${state}\n`);
  before = bytes && createHash('sha256').update(bytes).digest('hex');
}
