import type { Settings } from '../settings.ts';

/** What two revisions' settings say differently, by dotted names. Values that stand for secrets are told to be changed
 *  and no more. */
export function settingsWords(before: Settings, after: Settings): readonly string[] {
  const old = flattened(before);
  const now = flattened(after);
  return [...new Set([...old.keys(), ...now.keys()])]
    .filter((key) => old.get(key) !== now.get(key))
    .toSorted()
    .map((key) => {
      if (SECRET.test(key)) return `${key}: ${old.has(key) ? (now.has(key) ? 'changed' : 'removed') : 'set'}`;
      return `${key}: ${old.get(key) ?? 'none'} → ${now.get(key) ?? 'none'}`;
    });
}

const SECRET = /sha256|password|secret(?!s?_)/;

/** Leaves by their dotted names; members of lists by what they are known by, or by themselves. */
function flattened(value: unknown): ReadonlyMap<string, string> {
  const leaves = new Map<string, string>();
  const walk = (one: unknown, path: readonly string[]): void => {
    if (one === undefined || one === null) return;
    if (Array.isArray(one)) {
      one.forEach((item: unknown, index) => walk(item, [...path, memberName(item, index)]));
      return;
    }
    if (typeof one === 'object') {
      for (const [key, inner] of Object.entries(one)) if (key !== 'place') walk(inner, [...path, key]);
      return;
    }
    leaves.set(path.join('.'), String(one));
  };
  walk(value, []);
  return leaves;
}

function memberName(item: unknown, index: number): string {
  if (typeof item !== 'object' || item === null) return `[${String(item)}]`;
  const known = ['id', 'name', 'issuer', 'country'].map((key) => (item as Record<string, unknown>)[key]);
  const found = known.find((one) => typeof one === 'string');
  return `[${found === undefined ? index : String(found)}]`;
}
