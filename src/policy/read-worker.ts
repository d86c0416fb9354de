/** The thread that parses and shapes large policy files, and hands its result over in small pieces. */
import { parentPort } from 'node:worker_threads';
import type { ObjectKind } from './objects.ts';
import { shapeBytes } from './read.ts';
import type { FromThread, ToThread } from './read.ts';
import type { ShapedFile } from './shape.ts';

/** Taking over so many values (texts, numbers, objects, lists) takes about a millisecond. */
const VALUES_PER_PIECE = 2000;
const ITEMS_PER_PIECE = 250;

let pieces: Iterator<FromThread> | undefined;

parentPort?.on('message', (message: ToThread) => {
  if (message !== 'next') pieces = piecesOf(shapeWhole(message.name, message.bytes));
  const step = pieces?.next();
  if (step && step.done !== true) parentPort?.postMessage(step.value, []);
});

function shapeWhole(name: string, bytes: Uint8Array): ShapedFile {
  const steps = shapeBytes(name, bytes);
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}

function* piecesOf(file: ShapedFile): Generator<FromThread> {
  for (const kind of Object.keys(file.objects) as ObjectKind[]) {
    let objects: unknown[] = [];
    let values = 0;
    for (const whole of file.objects[kind]) {
      const outline = new Outline(whole);
      objects.push(outline.object);
      values += outline.values;
      if (values < VALUES_PER_PIECE && outline.lists.length === 0) continue;
      yield { kind, objects };
      objects = [];
      values = 0;
      for (const { path, items } of outline.lists) {
        for (let i = 0; i < items.length; i += ITEMS_PER_PIECE) {
          yield { path, items: items.slice(i, i + ITEMS_PER_PIECE) };
        }
      }
    }
    if (objects.length > 0) yield { kind, objects };
  }
  for (let i = 0; i < file.faults.length; i += ITEMS_PER_PIECE) {
    yield { faults: file.faults.slice(i, i + ITEMS_PER_PIECE) };
  }
  yield { isUnreadable: file.isUnreadable };
}

/** A copy of an object whose long lists are empty; these are put aside with the path that leads to them. */
class Outline {
  readonly object: unknown;
  readonly lists: { readonly path: readonly (string | number)[]; readonly items: readonly unknown[] }[] = [];
  values = 0;

  constructor(whole: unknown) {
    this.object = this.#copy(whole, []);
  }

  #copy(value: unknown, path: readonly (string | number)[]): unknown {
    this.values += 1;
    if (Array.isArray(value)) {
      if (value.length > ITEMS_PER_PIECE) {
        this.lists.push({ path, items: value });
        return [];
      }
      return value.map((item, index) => this.#copy(item, [...path, index]));
    }
    if (value === null || typeof value !== 'object' || ArrayBuffer.isView(value)) return value;
    return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, this.#copy(member, [...path, key])]));
  }
}
