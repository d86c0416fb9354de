/** What the shapes of all kinds of objects share. */
import { at, fault } from '../model/fault.ts';
import type { Place, Report } from '../model/fault.ts';
import type { RuleObject } from '../model/objects.ts';
import { readRule } from '../rules/registry.ts';
import { isLoopbackHost } from '../shared/host.ts';
import { nearest } from '../shared/nearest.ts';
import { also, checkedText, flag, listOf, quoted, readText, shaped, z } from '../shared/shape.ts';
import type { Finding, Shape, exactObject } from '../shared/shape.ts';
import type { RuleSetObject } from './objects.ts';
import { isObject } from '../shared/object.ts';

/** An object of a file, without nulls. */
export type Data = Readonly<Record<string, unknown>>;

/** A shape with exactly these keys, whose parts can be shaped one by one. */
export type ObjectShape = ReturnType<typeof exactObject>;

type Parts<S extends ObjectShape> = Partial<z.output<S>>;

/** The data as an object; otherwise a fault and undefined. */
export function asData(data: unknown, place: Place, report: Report): Data | undefined {
  if (isObject(data)) return data;
  shaped(ANY_OBJECT, data, place, report);
  return undefined;
}

/** The data as a list; absent is empty; otherwise a fault and an empty list. */
export function asList(data: unknown, place: Place, report: Report): readonly unknown[] {
  if (Array.isArray(data)) return data;
  if (data !== undefined) shaped(ANY_LIST, data, place, report);
  return [];
}

/** Shapes an object key by key, so that the fault of one hides no fault of another: unlike the shape as a whole, it
 *  gives the parts that are right. `alsoKnown`: further keys that are accepted, without effect. */
export function shapedParts<S extends ObjectShape>(
  shape: S,
  data: Data,
  place: Place,
  report: Report,
  alsoKnown: (key: string) => boolean = () => false,
): Parts<S> {
  const keys = shape.shape as Readonly<Record<string, Shape<unknown> | undefined>>;
  const parts: Record<string, unknown> = {};
  for (const key of Object.keys(data)) {
    const part = Object.hasOwn(keys, key) ? keys[key] : undefined;
    if (part) {
      const value = shaped(part, data[key], at(place, key), report);
      if (value !== undefined) parts[key] = value;
    } else if (!alsoKnown(key)) {
      report(unknownKey(key, Object.keys(keys), place));
    }
  }
  for (const key of requiredKeys(shape)) {
    if (!Object.hasOwn(data, key)) report(missingKey(key, place));
  }
  return parts as Parts<S>;
}

export function unknownKey(key: string, known: readonly string[], place: Place): ReturnType<typeof fault> {
  const near = nearest(key, known);
  return fault(
    { file: place.file, path: [...place.path, key], atKey: true },
    'key_unknown',
    `unknown key ${quoted(key)}`,
    near === undefined ? `known keys here: ${known.join(', ')}` : `did you mean ${quoted(near)}?`,
  );
}

export function missingKey(key: string, place: Place): ReturnType<typeof fault> {
  return fault(place, 'key_missing', `missing key ${quoted(key)}`, `add ${key}`);
}

/** The object without the members that are empty text: exports write them where there is nothing. */
export function withoutEmpty(data: Data, keys: readonly string[]): Data {
  if (!keys.some((key) => data[key] === '')) return data;
  return Object.fromEntries(Object.entries(data).filter(([key, value]) => value !== '' || !keys.includes(key)));
}

/** A list of Access rules in a shape; its items are read by their own types. */
export const RULES = z.array(z.unknown());

export const INCLUDE = RULES.describe('Met when any of these rules is met.');
export const REQUIRE = RULES.describe('Met when all of these rules are met.').optional();
export const EXCLUDE = RULES.describe('Not met when any of these rules is met.').optional();

/** Include, require and exclude of a group or policy. Empty include: `include_empty`. */
export function readRuleSet(data: Data, place: Place, report: Report): RuleSetObject {
  if (Array.isArray(data['include']) && data['include'].length === 0) {
    report(
      fault(
        at(place, 'include'),
        'include_empty',
        'expected at least one rule in include, found none',
        'add a rule; { everyone: {} } is everyone',
      ),
    );
  }
  return {
    include: readRules(data['include'], at(place, 'include'), report),
    require: readRules(data['require'], at(place, 'require'), report),
    exclude: readRules(data['exclude'], at(place, 'exclude'), report),
  };
}

/** The shape of a key that exports have and Postern does not act on. */
export function ignored(): z.ZodOptional<z.ZodUnknown> {
  return z.unknown().describe('Accepted from exports, without effect.').optional();
}

/** `is_default` as Cloudflare's clients write it: a boolean, or an empty list for false. */
export function looseFlag(): Shape<boolean> {
  return z.preprocess((written) => (Array.isArray(written) && written.length === 0 ? false : written), flag());
}

/** A whole number of at least `min`; `value_range`. */
export function wholeFrom(min: number): Shape<number> {
  return also(z.number(), (found) =>
    Number.isSafeInteger(found) && found >= min
      ? []
      : [
          {
            code: 'value_range',
            text: `expected a whole number of at least ${min}, found ${found}`,
            mend: `write a whole number of at least ${min}`,
          },
        ],
  );
}

/** A list of at least one item; `value_empty`. */
export function someOf<T>(item: Shape<T>): Shape<T[]> {
  return also(listOf(item), (items) =>
    items.length > 0
      ? []
      : [
          {
            code: 'value_empty',
            text: 'expected at least one item, found none',
            mend: 'add an item or remove the key',
          },
        ],
  );
}

/** A Go duration (`24h`, `2h45m`, `300ms`) in milliseconds; `duration_invalid`. */
export function durationText(): Shape<number> {
  return readText((written) => {
    const durationMs = durationOf(written);
    return durationMs === undefined
      ? {
          code: 'duration_invalid',
          text: `expected a duration such as 24h, 2h45m or 300ms, found ${quoted(written)}`,
          mend: written.startsWith('-') ? 'a duration is not negative' : 'write numbers with the units h, m, s or ms',
        }
      : { value: durationMs };
  });
}

/** Milliseconds of a Go duration; undefined where the text is none or negative. */
export function durationOf(written: string): number | undefined {
  if (written === '0' || written === '+0') return 0;
  const text = written.startsWith('+') ? written.slice(1) : written;
  if (text === '' || text.length > 100 || !/^(?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|h|m|s))+$/.test(text))
    return undefined;
  let sum = 0;
  for (const [, amount = '', unit = ''] of text.matchAll(/([\d.]+)([a-zµμ]+)/g))
    sum += Number(amount) * (UNIT_MS[unit] ?? 0);
  return sum;
}

/** An instant in RFC 3339 with its offset; kept as written; `time_invalid`. */
export function instantText(): Shape<string> {
  return checkedText((written) =>
    /^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)$/.test(written) &&
    Number.isFinite(Date.parse(written))
      ? undefined
      : {
          code: 'time_invalid',
          text: `expected a time such as 2027-01-01T00:00:00Z, found ${quoted(written)}`,
          mend: 'write date, T, time and Z or an offset',
        },
  );
}

/** The name of a header (RFC 9110 token), lower case; `header_invalid`. */
export function headerName(): Shape<string> {
  return readText((written) =>
    /^[\w!#$%&'*+.^`|~-]+$/.test(written)
      ? { value: written.toLowerCase() }
      : {
          code: 'header_invalid',
          text: `expected the name of a header, found ${quoted(written)}`,
          mend: 'write letters, digits and -',
        },
  );
}

/** An absolute URL, https, or http to a loopback host, without user info or fragment; `url_invalid`,
 *  `url_insecure`. */
export function urlText(): Shape<string> {
  return checkedText(urlFinding);
}

/** A name that can stand in the `acr_values` of a challenge (RFC 9470); `acr_invalid`. */
export function acrText(): Shape<string> {
  return checkedText((written) =>
    /^[\u0021\u0023-\u005B\u005D-\u007E]+$/.test(written)
      ? undefined
      : {
          code: 'acr_invalid',
          text: `expected printable ASCII without spaces, " and \\, found ${quoted(written)}`,
          mend: 'write a name such as phr or urn:okta:loa:2fa:any',
        },
  );
}

const ANY_OBJECT = z.looseObject({});
const ANY_LIST = z.array(z.unknown());

const UNIT_MS: Readonly<Record<string, number | undefined>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  μs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

function readRules(data: unknown, place: Place, report: Report): readonly RuleObject[] {
  if (!Array.isArray(data)) return [];
  const rules: RuleObject[] = [];
  for (const [index, item] of data.entries()) {
    const rule = readRule(item, at(place, index), report);
    if (rule) rules.push(rule);
  }
  return rules;
}

const REQUIRED = new WeakMap<ObjectShape, readonly string[]>();

function requiredKeys(shape: ObjectShape): readonly string[] {
  const known = REQUIRED.get(shape);
  if (known) return known;
  const keys = Object.entries(shape.shape as Readonly<Record<string, Shape<unknown>>>)
    .filter(([, part]) => !part.safeParse(undefined).success)
    .map(([key]) => key);
  REQUIRED.set(shape, keys);
  return keys;
}

function urlFinding(written: string): Finding | undefined {
  const url = URL.canParse(written) ? new URL(written) : undefined;
  if (!url || !/^https?:\/\//i.test(written) || url.username !== '' || url.password !== '' || url.hash !== '') {
    return {
      code: 'url_invalid',
      // What is no plain URL may hold a password.
      text: 'expected an absolute URL without user info and fragment, found something else',
      mend: 'write it such as https://example.com/path',
    };
  }
  if (url.protocol === 'http:' && !isLoopbackHost(url.hostname)) {
    return {
      code: 'url_insecure',
      text: `expected https, found http to ${url.hostname}`,
      mend: 'write https; http is only for loopback hosts',
    };
  }
  return undefined;
}
