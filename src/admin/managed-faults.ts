/** Faults that a change would bring into the policy set, told in terms of the body that asked for it. */
import type { LocatedFault } from '../policy/fault-text.ts';
import type { PolicySet } from '../policy/objects.ts';
import { ownerOf } from '../policy/owners.ts';
import type { FileKey } from '../policy/shape.ts';

/** An object to put in place of whatever its id had before, or to remove. */
export interface ManagedChange {
  /** The word of its list in a policy file. */
  readonly key: FileKey;
  /** Lower case; names the file. */
  readonly id: string;
  /** As it is written to the file, `id` among its members; undefined: removed. */
  readonly object: Readonly<Record<string, unknown>> | undefined;
}

export interface PointedFault {
  readonly code: string;
  /** What was expected, then what was found; where another file is at fault, who is and where. */
  readonly text: string;
  readonly mend: string;
  /** RFC 6901, into the object; undefined: no place in it is at fault. */
  readonly pointer: string | undefined;
}

/** `file` is that of the object; its one object stands at `[<list>, 0]`. `before`: the set without the change. */
export function pointedFault(
  { fault, position }: LocatedFault,
  change: ManagedChange,
  file: string,
  before: PolicySet,
): PointedFault {
  const { code, text, mend, place } = fault;
  if (place.file === file) return { code, text, mend, pointer: pointerTo(place.path.slice(2)) };
  const owner = ownerOf(before, place);
  const where = `${place.file}:${position.line}:${position.column}`;
  if (code === 'name_duplicate' && owner !== undefined)
    return { code, text: `expected a name of its own, found that of ${owner} (${where})`, mend, pointer: '/name' };
  return {
    code,
    text: `${text}, in ${owner === undefined ? where : `${owner} (${where})`}`,
    mend,
    pointer: pointerElsewhere(code, change, before),
  };
}

/** RFC 6901; undefined for the whole. */
export function pointerTo(path: readonly (string | number)[]): string | undefined {
  if (path.length === 0) return undefined;
  return path.map((step) => `/${String(step).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');
}

/** What of the change makes another file wrong. */
function pointerElsewhere(code: string, change: ManagedChange, before: PolicySet): string | undefined {
  if (code === 'group_cycle') return cyclePointer(change, before);
  // A reference by name that finds nothing now found the object before.
  if (code === 'rule_name_duplicate' || code.endsWith('_unknown')) return '/name';
  return code === 'list_type_mismatch' ? '/type' : undefined;
}

/** The first `group` rule of the object from which the object can be reached. */
function cyclePointer({ object = {}, id }: ManagedChange, { groups }: PolicySet): string | undefined {
  const byReference = new Map(
    [...groups].flatMap((group) => [[group.id, group] as const, [group.name, group] as const]),
  );
  const reaches = (from: string): boolean => {
    const seen = new Set<string>();
    const queue = [from];
    for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
      const group = byReference.get(next.toLowerCase()) ?? byReference.get(next);
      if (!group || seen.has(group.id)) continue;
      if (group.id === id) return true;
      seen.add(group.id);
      for (const { word, value } of [...group.include, ...group.require, ...group.exclude])
        if (word === 'group') queue.push((value as { readonly id: string }).id);
    }
    return false;
  };
  for (const list of ['include', 'require', 'exclude']) {
    const rules = object[list];
    for (const [index, rule] of (Array.isArray(rules) ? rules : []).entries()) {
      const named: unknown = (rule as { group?: { id?: unknown } }).group?.id;
      if (typeof named === 'string' && reaches(named)) return pointerTo([list, index, 'group']);
    }
  }
  return undefined;
}
