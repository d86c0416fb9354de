/** Shapes of what users write, on top of zod. Faults carry stable codes; a shape also yields the
 *  JSON Schema. The only place that knows zod. */
import { z } from 'zod';
import { fault } from '../model/fault.ts';
import type { Place, Report } from '../model/fault.ts';
import { nearest } from './nearest.ts';

/** Checks plain data and gives it back normalised. */
export type Shape<Output> = z.ZodType<Output>;
export type ShapeOutput<S> = z.output<S>;

export const MAX_NAME = 350;
export const MAX_TEXT = 1024;

/** A particular fault found inside a shape: `code` is stable, `text` says expected, then found. */
export interface Finding {
  readonly code: string;
  readonly text: string;
  readonly mend: string;
  /** Further down from the value that is being checked. */
  readonly path?: readonly (string | number)[];
}

/** Non-empty text without white space at its ends. */
export function text(max = MAX_TEXT): z.ZodString {
  return z.string().superRefine((value, context) => {
    const finding = textFinding(value, max);
    if (finding) context.addIssue(issue(finding));
  }) as unknown as z.ZodString;
}

/** Non-empty text that `check` finds nothing wrong with. The general checks come first. */
export function checkedText(check: (value: string) => Finding | undefined, max = MAX_TEXT): Shape<string> {
  return z.string().superRefine((value, context) => {
    const finding = textFinding(value, max) ?? check(value);
    if (finding) context.addIssue(issue(finding));
  });
}

/** The name of something that headers to the upstream and metadata tell of: a control character or half a character
 *  could not be sent, and would make 503 of every request that is let in. */
export function nameText(): Shape<string> {
  return checkedText(
    (value) =>
      // oxlint-disable-next-line no-control-regex -- it is there to find them
      /[\u0000-\u001f\u007f]/.test(value) || /\p{Surrogate}/u.test(value)
        ? {
            code: 'value_invalid',
            text: `expected a name without control characters and halves of characters, found ${quoted(value)}`,
            mend: 'write it in one line of plain text',
          }
        : undefined,
    MAX_NAME,
  );
}

/** Text that is read into something else: `read` gives the value or what is wrong with it. */
export function readText<T>(read: (value: string) => { readonly value: T } | Finding, max = MAX_TEXT): Shape<T> {
  return z.string().transform((value, context): T => {
    const general = textFinding(value, max);
    const result = general ?? read(value);
    if ('value' in result) return result.value;
    context.addIssue(issue(result));
    return z.NEVER;
  });
}

/** One of a closed list of words. */
export function word<const W extends readonly [string, ...string[]]>(
  words: W,
  code = 'value_unknown',
): Shape<W[number]> {
  return z.enum(words, {
    error: (raised) =>
      typeof raised.input === 'string'
        ? encode({
            code,
            text: `expected ${listed(words)}, found ${quoted(raised.input)}`,
            mend: mendFor(raised.input, words) ?? `use ${listed(words)}`,
          })
        : undefined,
  }) as unknown as Shape<W[number]>;
}

export function flag(): Shape<boolean> {
  return z.boolean();
}

/** A whole number within bounds, both included. */
export function integer(min: number, max: number, code = 'value_range'): Shape<number> {
  return z.number().superRefine((value, context) => {
    if (!Number.isInteger(value) || value < min || value > max) {
      context.addIssue(
        issue({
          code,
          text: `expected a whole number from ${min} to ${max}, found ${value}`,
          mend: `write a whole number from ${min} to ${max}`,
        }),
      );
    }
  });
}

export function number(min: number, max: number, code = 'value_range'): Shape<number> {
  return z.number().superRefine((value, context) => {
    if (!(value >= min && value <= max)) {
      context.addIssue(
        issue({
          code,
          text: `expected a number from ${min} to ${max}, found ${value}`,
          mend: `write a number from ${min} to ${max}`,
        }),
      );
    }
  });
}

/** An object with exactly these keys. Make a key optional with `.optional()`. */
export function exactObject<S extends z.core.$ZodLooseShape>(keys: S): z.ZodObject<S, z.core.$strict> {
  return z.strictObject(keys);
}

/** A further check of a shape that is otherwise right. */
export function also<T>(shape: Shape<T>, check: (value: T) => readonly Finding[]): Shape<T> {
  return shape.superRefine((value, context) => {
    for (const finding of check(value)) context.addIssue(issue(finding));
  });
}

export function listOf<T>(item: Shape<T>): z.ZodArray<Shape<T>> {
  return z.array(item);
}

/** UUID, or 32 hex digits; lower-cased. */
export function id(mend = 'write a UUID, e.g. from `uuidgen`'): Shape<string> {
  return readText((value) =>
    isId(value)
      ? { value: value.toLowerCase() }
      : { code: 'uuid_invalid', text: `expected a UUID or 32 hex digits, found ${quoted(value)}`, mend },
  );
}

export function isId(value: string): boolean {
  return /^(?:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{32})$/i.test(value);
}

export { z };

/** Shapes data found at a place. Faults are reported there, in order; undefined where there was one. */
export function shaped<T>(shape: Shape<T>, data: unknown, place: Place, report: Report): T | undefined {
  const result = shape.safeParse(data);
  if (result.success) return result.data;
  for (const raised of result.error.issues) reportIssue(raised, data, place, shape, report);
  return undefined;
}

/** `null` means absent, in every object of every file, as exports have it. Items of lists stay. */
export function withoutNulls(data: unknown): unknown {
  if (Array.isArray(data)) return data.map(withoutNulls);
  if (data === null || typeof data !== 'object') return data;
  const kept: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(data)) {
    if (value !== null)
      Object.defineProperty(kept, key, {
        value: withoutNulls(value),
        enumerable: true,
        writable: true,
        configurable: true,
      });
  }
  return kept;
}

export function quoted(value: string): string {
  return JSON.stringify(value.length > 80 ? `${value.slice(0, 77)}...` : value);
}

export function listed(words: readonly string[]): string {
  if (words.length === 1) return words[0] ?? '';
  return `${words.slice(0, -1).join(', ')} or ${words.at(-1) ?? ''}`;
}

function textFinding(value: string, max: number): Finding | undefined {
  if (value.trim() === '')
    return { code: 'value_empty', text: 'expected text, found none', mend: 'write a value or remove the key' };
  if (value.trim() !== value)
    return {
      code: 'value_padded',
      text: `expected no white space at either end, found ${quoted(value)}`,
      mend: `write ${quoted(value.trim())}`,
    };
  if ([...value].length > max)
    return {
      code: 'value_too_long',
      text: `expected at most ${max} characters, found ${[...value].length}`,
      mend: `shorten it to ${max} characters`,
    };
  return undefined;
}

function issue(finding: Finding): { code: 'custom'; message: string; path?: (string | number)[] } {
  return { code: 'custom', message: encode(finding), ...(finding.path ? { path: [...finding.path] } : {}) };
}

/** Zod carries one string per issue, so a finding travels through it as JSON. */
function encode(finding: Finding): string {
  return JSON.stringify({ code: finding.code, text: finding.text, mend: finding.mend });
}

function decode(message: string): Finding | undefined {
  if (!message.startsWith('{"code":')) return undefined;
  return JSON.parse(message) as Finding;
}

function reportIssue(raised: z.core.$ZodIssue, data: unknown, place: Place, shape: unknown, report: Report): void {
  const path = raised.path.map((step) => (typeof step === 'number' ? step : String(step)));
  const here: Place = { file: place.file, path: [...place.path, ...path] };
  const finding = decode(raised.message);
  if (finding) {
    report(fault(here, finding.code, finding.text, finding.mend));
    return;
  }
  const found = valueAt(data, path);
  if (raised.code === 'unrecognized_keys') {
    const known = knownKeys(shape, path);
    for (const key of raised.keys) {
      const near = nearest(key, known);
      report(
        fault(
          { file: place.file, path: [...here.path, key], atKey: true },
          'key_unknown',
          `unknown key ${quoted(key)}`,
          near
            ? `did you mean ${quoted(near)}?`
            : known.length > 0
              ? `known keys here: ${known.join(', ')}`
              : 'remove it',
        ),
      );
    }
    return;
  }
  if (raised.code === 'invalid_union') {
    reportUnion(raised, found, { file: place.file, path: here.path }, data, path, shape, report);
    return;
  }
  if (found === undefined) {
    const key = path.at(-1);
    report(
      fault(
        { file: place.file, path: here.path.slice(0, -1) },
        'key_missing',
        `missing key ${quoted(String(key))}`,
        `add ${String(key)}`,
      ),
    );
    return;
  }
  const expected =
    raised.code === 'invalid_type'
      ? named(raised.expected)
      : raised.code === 'invalid_value'
        ? listed(raised.values.map((v) => JSON.stringify(v)))
        : raised.message;
  report(fault(here, 'type_wrong', `expected ${expected}, found ${kind(found)}`, `write ${expected}`));
}

/** Of the branches of a union, the one that got furthest speaks; where none fits the type at all, all are named. */
function reportUnion(
  raised: z.core.$ZodIssueInvalidUnion,
  found: unknown,
  here: Place,
  data: unknown,
  path: (string | number)[],
  shape: unknown,
  report: Report,
): void {
  const branches = raised.errors.filter(
    (issues) => !issues.some((one) => one.path.length === 0 && one.code === 'invalid_type'),
  );
  const best = branches.toSorted((a, b) => a.length - b.length)[0];
  if (best) {
    for (const one of best)
      reportIssue(
        { ...one, path: [...path, ...one.path] } as z.core.$ZodIssue,
        data,
        { file: here.file, path: here.path.slice(0, here.path.length - path.length) },
        shape,
        report,
      );
    return;
  }
  if (found === undefined) {
    report(
      fault(
        { file: here.file, path: here.path.slice(0, -1) },
        'key_missing',
        `missing key ${quoted(String(path.at(-1)))}`,
        `add ${String(path.at(-1))}`,
      ),
    );
    return;
  }
  const expected = listed([
    ...new Set(
      raised.errors.flatMap((issues) =>
        issues.map((one) => (one.code === 'invalid_type' ? named(one.expected) : 'another value')),
      ),
    ),
  ]);
  report(fault(here, 'type_wrong', `expected ${expected}, found ${kind(found)}`, `write ${expected}`));
}

/** The keys that the object at `path` may have, as far as the shape can tell. */
function knownKeys(shape: unknown, path: readonly (string | number)[]): string[] {
  let current: unknown = shape;
  for (const step of path) {
    current = unwrapped(current);
    if (current instanceof z.ZodObject) current = (current.shape as Record<string, unknown>)[String(step)];
    else if (current instanceof z.ZodArray) current = current.element;
    else if (current instanceof z.ZodRecord) current = current.valueType;
    else if (current instanceof z.ZodUnion)
      current = current.options
        .map(unwrapped)
        .find((option) => option instanceof z.ZodObject || option instanceof z.ZodArray);
    else return [];
    if (current instanceof z.ZodUnion)
      current =
        current.options
          .map(unwrapped)
          .find((option) => option instanceof z.ZodObject || option instanceof z.ZodArray) ?? current;
  }
  current = unwrapped(current);
  if (current instanceof z.ZodUnion)
    current = current.options.map(unwrapped).find((option) => option instanceof z.ZodObject);
  return current instanceof z.ZodObject ? Object.keys(current.shape as object) : [];
}

function unwrapped(shape: unknown): unknown {
  let current = shape;
  for (;;) {
    if (
      current instanceof z.ZodOptional ||
      current instanceof z.ZodDefault ||
      current instanceof z.ZodPrefault ||
      current instanceof z.ZodNullable
    )
      current = current.unwrap();
    else if (current instanceof z.ZodPipe) current = current.in instanceof z.ZodTransform ? current.out : current.in;
    else return current;
  }
}

function valueAt(data: unknown, path: readonly (string | number)[]): unknown {
  let current = data;
  for (const step of path) {
    if (current === null || typeof current !== 'object' || !Object.hasOwn(current, step)) return undefined;
    current = (current as Record<string | number, unknown>)[step];
  }
  return current;
}

function mendFor(value: string, words: readonly string[]): string | undefined {
  const near = nearest(value, words);
  return near ? `did you mean ${quoted(near)}?` : undefined;
}

function named(type: string): string {
  const names: Record<string, string> = {
    string: 'text',
    number: 'a number',
    int: 'a whole number',
    boolean: 'true or false',
    object: 'an object',
    record: 'an object',
    array: 'a list',
  };
  return names[type] ?? type;
}

function kind(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'an object';
  if (typeof value === 'string') return `the text ${quoted(value)}`;
  return `${typeof value === 'boolean' ? 'the boolean' : 'the number'} ${String(value)}`;
}
