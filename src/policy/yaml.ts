/** YAML 1.2 (and so JSON) as plain data, and the way back from a path to a line. The only place that knows the
 *  `yaml` package. */
import { Alias, Composer, LineCounter, Parser, Scalar, YAMLMap, YAMLParseError, YAMLSeq } from 'yaml';
import type { CST, Document, Pair, Node as YamlNode, YAMLError } from 'yaml';
import { fault } from '../model/fault.ts';
import type { Fault, Place, Position } from '../model/fault.ts';
import { quoted } from '../shared/shape.ts';
import { parseJson } from './json.ts';

/** What one file holds. `data` is undefined for an empty file and for one that cannot be read, which has faults. */
export interface Parsed {
  readonly data: unknown;
  readonly faults: readonly Fault[];
}

/** Parses one file to plain data. Members of objects that are `null` are left out, since null means absent; items of
 *  lists stay. Faults: `yaml_syntax`, `key_duplicate`; both know their position. */
export function parseYaml(
  text: string,
  file: string,
): { readonly data: unknown } | { readonly faults: readonly Fault[] } {
  const { data, faults } = parseText(text, file);
  return faults.length > 0 ? { faults } : { data };
}

/** As `parseYaml`, but where only keys are given twice, the rest of the data comes too, so that its faults can be told
 *  in the same breath. */
export function parseText(text: string, file: string): Parsed {
  if (file.endsWith('.json')) {
    const json = parseJson(text);
    // Whatever is wrong, the YAML parser knows where.
    if (json) return { data: json.data, faults: [] };
  }
  const lines = new LineCounter();
  const document = parsed(text, lines);
  if (document instanceof TooDeep) {
    const place: Place = { file, path: [], position: positionAt(lines, document.offset) };
    return { data: undefined, faults: [tooDeep(place)] };
  }
  const faults = syntaxFaults(document, text, file, lines);
  if (faults.some((one) => one.code === 'yaml_syntax')) return { data: undefined, faults };
  const reader = new DataReader(document, file, lines);
  const data = reader.read();
  return reader.faults.length > 0 ? { data: undefined, faults: [...faults, ...reader.faults] } : { data, faults };
}

/** The bytes of a file as text; a fault where they are no UTF-8. A byte order mark is dropped. */
export function decodeFile(bytes: Uint8Array, file: string): { readonly text: string } | { readonly fault: Fault } {
  try {
    return { text: new TextDecoder('utf-8', { fatal: true }).decode(bytes) };
  } catch {
    const { line, column } = firstBadCharacter(new TextDecoder('utf-8').decode(bytes));
    return {
      fault: fault(
        { file, path: [], position: { line, column } },
        'yaml_syntax',
        'expected UTF-8, found bytes that are none',
        'save the file as UTF-8',
      ),
    };
  }
}

/** Finds positions in one text. It is parsed once, however many are asked for. A path that leads to nothing is where
 *  it ends: at the object that lacks the key. */
export function positions(text: string): (path: readonly (string | number)[], atKey: boolean) => Position {
  const lines = new LineCounter();
  const document = parsed(text, lines);
  return (path, atKey) => {
    const offset = document instanceof TooDeep ? document.offset : offsetOf(document, path, atKey);
    return positionAt(lines, offset);
  };
}

/** Aliases may stand for at most so many values in all: enough for any file written by people, too few to fill the
 *  memory with ten lines. */
const ALIASED_VALUES_MAX = 100_000;

/** As deep as a policy file may nest; no object of one nests deeper than ten. */
const DEPTH_MAX = 500;

/** As the package's own `parseDocument`, but for the depth. */
function parsed(text: string, lines: LineCounter): Document | TooDeep {
  const composer = new Composer({ version: '1.2', prettyErrors: false, lineCounter: lines, keepSourceTokens: false });
  const parser = new BoundedParser(lines.addNewLine);
  let whole: Document | undefined;
  try {
    for (const document of composer.compose(parser.parse(text), true, text.length)) {
      if (whole) {
        const [start, end] = document.range;
        whole.errors.push(new YAMLParseError([start, end], 'MULTIPLE_DOCS', 'several documents'));
        break;
      }
      whole = document;
    }
  } catch (error) {
    if (error instanceof TooDeep) return error;
    throw error;
  }
  return whole ?? new TooDeep(0);
}

class TooDeep extends Error {
  readonly offset: number;

  constructor(offset: number) {
    super('nesting too deep');
    this.offset = offset;
  }
}

/** Composing recurses for each level of nesting, and V8 ends the whole process where a stack that is nearly full leaves
 *  no room to compile a regular expression: so nesting is measured before anything recurses. */
class BoundedParser extends Parser {
  override *next(source: string): Generator<CST.Token, void> {
    yield* super.next(source);
    if (this.stack.length > DEPTH_MAX) throw new TooDeep(this.offset);
  }
}

function tooDeep(place: Place): Fault {
  return fault(place, 'yaml_syntax', 'expected a policy file, found nesting too deep to read', 'nest less deeply');
}

function positionAt(lines: LineCounter, offset: number): Position {
  const { line, col } = lines.linePos(offset);
  return { line: Math.max(line, 1), column: Math.max(col, 1) };
}

/** Every key given twice, and the first thing that is no YAML: what follows one is mostly its consequence. */
function syntaxFaults(document: Document, text: string, file: string, lines: LineCounter): Fault[] {
  const faults: Fault[] = [];
  let broken = false;
  for (const error of document.errors) {
    const place: Place = { file, path: [], position: positionAt(lines, error.pos[0]) };
    if (error.code === 'DUPLICATE_KEY') {
      faults.push(
        fault(
          place,
          'key_duplicate',
          `expected each key once in an object, found ${keyAt(text, error.pos[0])} twice`,
          'keep one of the two',
        ),
      );
    } else if (!broken) {
      broken = true;
      faults.push(fault(place, 'yaml_syntax', syntaxText(error), SYNTAX_MENDS[error.code] ?? 'correct the YAML'));
    }
  }
  const [unresolved] = document.warnings;
  if (unresolved && !broken) {
    const place: Place = { file, path: [], position: positionAt(lines, unresolved.pos[0]) };
    faults.push(fault(place, 'yaml_syntax', `expected plain YAML, found: ${unresolved.message}`, 'remove the tag'));
    broken = true;
  }
  const { version, explicit } = document.directives?.yaml ?? { version: '1.2', explicit: false };
  if (!broken && explicit === true && version !== '1.2') {
    const place: Place = { file, path: [], position: { line: 1, column: 1 } };
    faults.push(fault(place, 'yaml_syntax', `expected YAML 1.2, found %YAML ${version}`, 'remove the %YAML line'));
  }
  return faults;
}

/** The key that is written at an offset. */
function keyAt(text: string, offset: number): string {
  const line = text.slice(offset, offset + 200);
  const quote = line[0];
  const end = quote === '"' || quote === "'" ? line.indexOf(quote, 1) : line.search(/[\s:,{}[\]]/);
  return quoted(line.slice(quote === '"' || quote === "'" ? 1 : 0, end < 0 ? undefined : end));
}

function syntaxText(error: YAMLError): string {
  if (error.code === 'MULTIPLE_DOCS') return 'expected one document in a file, found several';
  return `expected YAML, found: ${error.message}`;
}

const SYNTAX_MENDS: Readonly<Record<string, string | undefined>> = {
  TAB_AS_INDENT: 'indent with spaces',
  MULTIPLE_DOCS: 'move what follows the second `---` to a file of its own',
  BAD_SCALAR_START: 'put the value in quotes',
  BLOCK_AS_IMPLICIT_KEY: 'put a value that holds ": " in quotes',
  MISSING_CHAR: 'close what was opened, or indent by spaces alone',
  BAD_INDENT: 'indent the lines of one object alike',
};

/** Makes plain data of a document. */
class DataReader {
  readonly faults: Fault[] = [];
  readonly #document: Document;
  readonly #file: string;
  readonly #lines: LineCounter;
  /** Anchor → its value and how many values that holds; undefined while it is being read. */
  readonly #anchors = new Map<string, { readonly data: unknown; readonly size: number } | undefined>();
  #values = 0;
  #aliased = 0;

  constructor(document: Document, file: string, lines: LineCounter) {
    this.#document = document;
    this.#file = file;
    this.#lines = lines;
  }

  read(): unknown {
    return this.#document.contents === null ? undefined : (this.#value(this.#document.contents) ?? undefined);
  }

  #value(node: unknown): unknown {
    if (node instanceof Alias) return this.#alias(node);
    const anchor =
      node instanceof Scalar || node instanceof YAMLMap || node instanceof YAMLSeq ? node.anchor : undefined;
    if (anchor === undefined) return this.#plain(node);
    const before = this.#values;
    this.#anchors.set(anchor, undefined);
    const data = this.#plain(node);
    this.#anchors.set(anchor, { data, size: this.#values - before });
    return data;
  }

  #plain(node: unknown): unknown {
    this.#values += 1;
    if (node instanceof Scalar) return node.value;
    if (node instanceof YAMLSeq) return node.items.map((item) => this.#value(item));
    if (node instanceof YAMLMap) return this.#object(node);
    return null;
  }

  #object(map: YAMLMap): unknown {
    const data: Record<string, unknown> = {};
    for (const pair of map.items) {
      const key = keyOf(pair);
      if (key === undefined) {
        this.#fault(pair.key, 'expected text as a key, found an object or a list', 'write text before the colon');
        continue;
      }
      const value = this.#value(pair.value);
      if (value === null) continue;
      // A plain assignment of `__proto__` would change the object's prototype.
      if (key === '__proto__')
        Object.defineProperty(data, key, { value, enumerable: true, writable: true, configurable: true });
      else data[key] = value;
    }
    return data;
  }

  #alias(alias: Alias): unknown {
    const target = this.#anchors.get(alias.source);
    if (!target) {
      const inside = this.#anchors.has(alias.source);
      this.#fault(
        alias,
        inside
          ? `expected a finite value, found *${alias.source} inside the value it stands for`
          : `expected an anchor &${alias.source} before its use, found none`,
        inside ? 'write the value out' : `set &${alias.source} first`,
      );
      return null;
    }
    this.#aliased += target.size;
    this.#values += target.size;
    if (this.#aliased > ALIASED_VALUES_MAX) {
      if (this.#aliased - target.size <= ALIASED_VALUES_MAX)
        this.#fault(
          alias,
          `expected aliases that stand for at most ${ALIASED_VALUES_MAX} values, found more`,
          'write fewer aliases of aliases',
        );
      return null;
    }
    return target.data;
  }

  #fault(node: unknown, text: string, mend: string): void {
    const position = positionAt(this.#lines, startOf(node) ?? 0);
    this.faults.push(fault({ file: this.#file, path: [], position }, 'yaml_syntax', text, mend));
  }
}

function keyOf(pair: Pair<unknown, unknown>): string | undefined {
  const { key } = pair;
  if (!(key instanceof Scalar)) return undefined;
  return typeof key.value === 'string' ? key.value : (key.source ?? String(key.value));
}

function startOf(node: unknown): number | undefined {
  return (node as YamlNode | null | undefined)?.range?.[0];
}

function offsetOf(document: Document, path: readonly (string | number)[], atKey: boolean): number {
  let node: unknown = document.contents;
  let offset = startOf(node) ?? 0;
  for (const [depth, step] of path.entries()) {
    if (node instanceof Alias) node = node.resolve(document);
    let next: unknown;
    if (node instanceof YAMLMap) {
      const pair = node.items.find((one) => keyOf(one) === String(step));
      if (!pair) return offset;
      if (atKey && depth === path.length - 1) return startOf(pair.key) ?? offset;
      next = pair.value;
      // `key:` with nothing behind it has no place of its own that an editor would show.
      if (next === null || (next instanceof Scalar && next.source === '' && next.type === 'PLAIN'))
        return startOf(pair.key) ?? offset;
    } else if (node instanceof YAMLSeq) {
      next = node.items[Number(step)];
    }
    if (next === undefined) return offset;
    node = next;
    offset = startOf(node) ?? offset;
  }
  return offset;
}

/** The first replacement character's position: where decoding went wrong, or nearly so. */
function firstBadCharacter(text: string): Position {
  const before = text.slice(0, Math.max(text.indexOf('\uFFFD'), 0));
  const line = before.split('\n').length;
  return { line, column: before.length - (before.lastIndexOf('\n') + 1) + 1 };
}
