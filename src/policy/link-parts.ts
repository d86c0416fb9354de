/** What linking of all kinds of objects shares. */
import { at, fault } from '../model/fault.ts';
import type { Fault, Place, Report } from '../model/fault.ts';
import { quoted } from '../shared/shape.ts';
import type { Lookups } from './lookups.ts';

/** Reports an id that an earlier object of the kind has. */
export function uniqueId<T extends { readonly id: string; readonly name: string; readonly place: Place }>(
  noun: string,
  all: readonly T[],
  object: T,
  report: Report,
): void {
  const first = firstBy(all, 'id').get(object.id);
  if (object.id === '' || !first || first === object) return;
  report(duplicate('id_duplicate', noun, 'id', object, first));
}

/** Reports a name that an earlier object of the kind has. */
export function uniqueName<T extends { readonly id: string; readonly name: string; readonly place: Place }>(
  noun: string,
  all: readonly T[],
  object: T,
  report: Report,
): void {
  const first = firstBy(all, 'name').get(object.name);
  if (object.name === '' || !first || first === object) return;
  report(duplicate('name_duplicate', noun, 'name', object, first));
}

/** The fault of a reference to nothing. */
export function unknown(
  code: string,
  noun: string,
  written: string,
  place: Place,
  near: string | undefined,
  otherwise: string,
): Fault {
  return fault(
    place,
    code,
    `no ${noun} ${quoted(written)}`,
    near === undefined ? otherwise : `did you mean ${quoted(near)}?`,
  );
}

/** The fault of a provider that the settings do not have. */
export function providerUnknown(written: string, place: Place, lookups: Lookups): Fault {
  return unknown(
    'provider_unknown',
    'identity provider has the id or name',
    written,
    place,
    lookups.nearest('provider', written),
    'name one of identity.providers in postern.yaml',
  );
}

const FIRSTS = new WeakMap<readonly object[], Map<'id' | 'name', Map<string, unknown>>>();

/** The first object of each id or name; worked out once per list. */
function firstBy<T extends { readonly id: string; readonly name: string }>(
  all: readonly T[],
  key: 'id' | 'name',
): Map<string, T> {
  let firsts = FIRSTS.get(all);
  if (!firsts) {
    firsts = new Map();
    FIRSTS.set(all, firsts);
  }
  let known = firsts.get(key) as Map<string, T> | undefined;
  if (!known) {
    known = new Map();
    for (const object of all) if (!known.has(object[key])) known.set(object[key], object);
    firsts.set(key, known);
  }
  return known;
}

function duplicate(
  code: string,
  noun: string,
  key: 'id' | 'name',
  object: { readonly id: string; readonly name: string; readonly place: Place },
  first: { readonly name: string; readonly place: Place },
): Fault {
  const owner = key === 'id' ? ` ${quoted(first.name)}` : '';
  return fault(
    at(object.place, key),
    code,
    `expected ${key === 'id' ? 'an id' : 'a name'} of its own, found that of ${key === 'id' ? noun : `another ${noun}`}${owner} in ${first.place.file}`,
    key === 'id' ? 'give one of them another id' : 'rename one of them',
  );
}
