/** Settings from the environment and from `--set`: which name means which key, and what the value is. */
import { fault } from './model/fault.ts';
import type { Place, Report } from './model/fault.ts';
import { settingsShape } from './settings-shape.ts';
import { nearest } from './shared/nearest.ts';
import { quoted, z } from './shared/shape.ts';

/** One setting given outside the file. */
export interface Override {
  /** Steps from the root of the settings. */
  readonly path: readonly string[];
  readonly value: unknown;
  /** As it is named in faults: `--set listen.check` or `POSTERN_LISTEN_CHECK`. */
  readonly source: string;
}

/** Parses a YAML value; `problem` says in a few words why it is none. */
export type ParseValue = (text: string) => { readonly value: unknown } | { readonly problem: string };

export interface OverrideInput {
  /** The process's environment; only names that begin with `POSTERN_` are looked at. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Values of `--set`, each `KEY=VALUE`, in order. */
  readonly assignments: readonly string[];
  readonly parseValue: ParseValue;
}

/** Settings given outside the file, the later ones winning: the environment first, then `--set` in order. Text
 *  settings take their value as it stands, others are read as YAML, so that lists and objects can be given in flow
 *  style. Faults, each naming the variable or flag and never the value: `setting_unknown`, `setting_malformed`. */
export function readOverrides(input: OverrideInput, report: Report): readonly Override[] {
  const names = settingNames();
  const overrides: Override[] = [];
  for (const variable of Object.keys(input.environment).toSorted()) {
    const text = input.environment[variable];
    if (!variable.startsWith(PREFIX) || text === undefined) continue;
    const name = names.find((known) => variableName(known.dotted) === variable);
    if (name) add(overrides, name.dotted.split('.'), name.shape, text, variable, input.parseValue, report);
    else if (!isServiceLink(variable)) reportUnknownVariable(variable, names, report);
  }
  for (const assignment of input.assignments) {
    const equals = assignment.indexOf('=');
    const dotted = equals < 0 ? assignment : assignment.slice(0, equals);
    const source = `--set ${dotted}`;
    const path = dotted.split('.');
    const shape = shapeAt(path);
    if (equals < 1) {
      report(
        fault(
          wholly('--set'),
          'setting_malformed',
          'expected KEY=VALUE, found no name and =',
          'write --set listen.check=127.0.0.1:9001',
        ),
      );
    } else if (shape === undefined) {
      const mend = mendFor(dotted, names);
      report(fault(wholly(source), 'setting_unknown', `expected the name of a setting, found ${quoted(dotted)}`, mend));
    } else {
      add(overrides, path, shape, assignment.slice(equals + 1), source, input.parseValue, report);
    }
  }
  return overrides;
}

/** Every dotted name there is, objects and lists as well as single values, in the order of the file. */
export function settingNames(): readonly { readonly dotted: string; readonly shape: unknown }[] {
  return namesBelow(settingsShape, []);
}

/** `listen.check` → `POSTERN_LISTEN_CHECK`. No two settings have the same. */
export function variableName(dotted: string): string {
  return PREFIX + dotted.toUpperCase().replaceAll('.', '_');
}

/** The data of the file with the overrides in it; the file's data is not changed. Where the file has something other
 *  than an object on the way, it is left, and its own fault says so. */
export function withOverrides(data: unknown, overrides: readonly Override[]): unknown {
  return overrides.reduce((whole, one) => placed(whole, one.path, one.value), data);
}

/** Who gave a faulty value, where it was not the file: the last override of it or of a whole that it is part of, else,
 *  where the file has nothing in this place, the last one of a part of it. */
export function sourceOf(
  path: readonly (string | number)[],
  data: unknown,
  overrides: readonly Override[],
): string | undefined {
  const isWithin = (outer: readonly (string | number)[], inner: readonly (string | number)[]): boolean =>
    outer.every((step, index) => inner[index] === step);
  const whole = overrides.findLast((one) => isWithin(one.path, path));
  if (whole || isInFile(data, path)) return whole?.source;
  return overrides.findLast((one) => isWithin(path, one.path))?.source;
}

/** A place outside all files. */
export function wholly(source: string): Place {
  return { file: source, path: [], position: { line: 1, column: 1 } };
}

const PREFIX = 'POSTERN_';

/** What Kubernetes puts into every pod for a service that happens to be called `postern` or `postern-…`:
 *  `POSTERN_SERVICE_HOST`, `POSTERN_PORT_9001_TCP_ADDR` and their like. */
function isServiceLink(variable: string): boolean {
  return /_SERVICE_(?:HOST|PORT)(?:_[A-Z0-9_]+)?$|_PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?$/.test(
    variable,
  );
}

/** The nearest name, or what there is at the last step that is right. */
function mendFor(dotted: string, names: ReturnType<typeof settingNames>): string {
  const known = names.map((name) => name.dotted);
  const near = nearest(dotted, known);
  if (near !== undefined) return `did you mean ${near}?`;
  const parent = known.findLast((name) => dotted.startsWith(`${name}.`));
  if (parent === undefined) return 'write the name as in postern.yaml, with dots';
  const below = known.filter((name) => name.startsWith(`${parent}.`) && !name.includes('.', parent.length + 1));
  return below.length > 0 ? `known names here: ${below.join(', ')}` : `set it as a whole: --set ${parent}=VALUE`;
}

function reportUnknownVariable(variable: string, names: ReturnType<typeof settingNames>, report: Report): void {
  const near = nearest(
    variable,
    names.map((name) => variableName(name.dotted)),
  );
  const mend = near === undefined ? 'unset it: names that begin with POSTERN_ are settings' : `did you mean ${near}?`;
  report(fault(wholly(variable), 'setting_unknown', `expected the name of a setting, found ${quoted(variable)}`, mend));
}

function add(
  overrides: Override[],
  path: readonly string[],
  shape: unknown,
  text: string,
  source: string,
  parseValue: ParseValue,
  report: Report,
): void {
  if (isText(shape)) {
    overrides.push({ path, value: text, source });
    return;
  }
  const parsed = parseValue(text);
  if ('value' in parsed) overrides.push({ path, value: parsed.value, source });
  else
    report(
      fault(
        wholly(source),
        'setting_malformed',
        `expected a YAML value, found: ${parsed.problem}`,
        'write a number, true, false, text, or a list or object in flow style',
      ),
    );
}

function placed(data: unknown, path: readonly string[], value: unknown): unknown {
  const [step, ...rest] = path;
  if (step === undefined) return value;
  if (data !== undefined && data !== null && (typeof data !== 'object' || Array.isArray(data))) return data;
  const members = (data ?? {}) as Readonly<Record<string, unknown>>;
  return { ...members, [step]: placed(Object.hasOwn(members, step) ? members[step] : undefined, rest, value) };
}

function isInFile(data: unknown, path: readonly (string | number)[]): boolean {
  let current = data;
  for (const step of path) {
    if (current === null || typeof current !== 'object' || !Object.hasOwn(current, step)) return false;
    current = (current as Record<string | number, unknown>)[step];
  }
  return true;
}

function namesBelow(shape: unknown, path: readonly string[]): { readonly dotted: string; readonly shape: unknown }[] {
  const object = objectOf(shape);
  if (!object) return [];
  return Object.entries(object.shape as Record<string, unknown>).flatMap(([key, value]) => {
    const here = [...path, key];
    return [{ dotted: here.join('.'), shape: value }, ...namesBelow(value, here)];
  });
}

/** The shape at a dotted name; members of free objects (`upstream.headers.x-user`) included. */
function shapeAt(path: readonly string[]): unknown {
  let shape: unknown = settingsShape;
  for (const step of path) {
    const inner = unwrapped(shape);
    if (inner instanceof z.ZodRecord && step !== '') shape = inner.valueType;
    else {
      const members = objectOf(inner)?.shape as Record<string, unknown> | undefined;
      if (!members || !Object.hasOwn(members, step)) return undefined;
      shape = members[step];
    }
  }
  return shape;
}

function objectOf(shape: unknown): z.ZodObject | undefined {
  const inner = unwrapped(shape);
  return inner instanceof z.ZodObject ? inner : undefined;
}

function isText(shape: unknown): boolean {
  const inner = unwrapped(shape);
  return inner instanceof z.ZodString || inner instanceof z.ZodEnum;
}

function unwrapped(shape: unknown): unknown {
  let inner = shape;
  while (
    inner instanceof z.ZodOptional ||
    inner instanceof z.ZodDefault ||
    inner instanceof z.ZodPrefault ||
    inner instanceof z.ZodPipe
  )
    inner = inner instanceof z.ZodPipe ? inner.in : inner.unwrap();
  return inner;
}
