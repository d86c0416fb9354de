/** One file's data as objects of the policy set: which list is which, and what is in it. */
import { at, fault } from '../model/fault.ts';
import type { Fault, Place, Report } from '../model/fault.ts';
import { listed } from '../shared/shape.ts';
import type { exactObject } from '../shared/shape.ts';
import { nearest } from '../shared/nearest.ts';
import type { ObjectKind, PolicySet } from './objects.ts';
import { applicationShape, policyShape, shapeApplication, shapePolicy } from './shape-applications.ts';
import { acrShape, authenticatorShape, flowShape, shapeAcr, shapeAuthenticator, shapeFlow } from './shape-flows.ts';
import {
  groupShape,
  listShape,
  scimGroupShape,
  serviceTokenShape,
  shapeGroup,
  shapeList,
  shapeScimGroup,
  shapeServiceToken,
} from './shape-groups.ts';
import { asData, asList, unknownKey } from './shape-parts.ts';
import type { Data } from './shape-parts.ts';
import { riskEngineShape, shapeRiskEngine, shapeTransactionRule, transactionRuleShape } from './shape-risk.ts';
import { resourceRuleShape, shapeResourceRule } from './shape-rules.ts';
import { isObject } from '../shared/object.ts';

/** The objects of one file, lists that may be added to. */
export type Objects = { -readonly [K in ObjectKind]: PolicySet[K][number][] };

/** One file, shaped. */
export interface ShapedFile {
  readonly objects: Objects;
  readonly faults: readonly Fault[];
  /** The file is no YAML, or its lists could not be told: what it defines is not known. */
  readonly isUnreadable: boolean;
}

/** The keys of a policy file: the word, the list it fills, and the shape of an item. */
export const FILE_KEYS = {
  applications: { kind: 'applications', shape: applicationShape, description: 'What is protected.' },
  policies: { kind: 'policies', shape: policyShape, description: 'Reusable policies.' },
  groups: { kind: 'groups', shape: groupShape, description: 'Groups that policies and resource rules name.' },
  lists: { kind: 'lists', shape: listShape, description: 'Lists of e-mail addresses or IP addresses.' },
  service_tokens: { kind: 'serviceTokens', shape: serviceTokenShape, description: 'Credentials of programs.' },
  scim_groups: { kind: 'scimGroups', shape: scimGroupShape, description: 'Groups that a provider announced by SCIM.' },
  resource_rules: {
    kind: 'resourceRules',
    shape: resourceRuleShape,
    description: 'Risk of a request, and what it asks for.',
  },
  authentication_flows: { kind: 'flows', shape: flowShape, description: 'What a token must prove.' },
  acrs: { kind: 'acrs', shape: acrShape, description: 'Authentication context class references.' },
  authenticators: {
    kind: 'authenticators',
    shape: authenticatorShape,
    description: 'How a token proves a step, per issuer.',
  },
  transaction_rules: {
    kind: 'transactionRules',
    shape: transactionRuleShape,
    description: 'Conditions on transaction details.',
  },
  risk_engines: { kind: 'riskEngines', shape: riskEngineShape, description: 'External risk engines.' },
} as const satisfies Readonly<
  Record<
    string,
    { readonly kind: ObjectKind; readonly shape: ReturnType<typeof exactObject>; readonly description: string }
  >
>;

export type FileKey = keyof typeof FILE_KEYS;

/** Lists that may be added to, all empty. */
export function noObjects(): Objects {
  return {
    applications: [],
    policies: [],
    groups: [],
    lists: [],
    serviceTokens: [],
    scimGroups: [],
    resourceRules: [],
    flows: [],
    acrs: [],
    authenticators: [],
    transactionRules: [],
    riskEngines: [],
  };
}

/** Shapes what one file holds; undefined is an empty file. Gives control back after each object, so that a large file
 *  can be shaped in slices. Besides Postern's own lists, a response of Cloudflare's or Entrust's API is taken as it
 *  is, where its objects tell what they are. */
export function* shapeFile(data: unknown, file: string): Generator<void, ShapedFile> {
  const faults: Fault[] = [];
  const report: Report = (one) => {
    faults.push(one);
  };
  const objects = noObjects();
  const root: Place = { file, path: [] };
  let isUnreadable = false;
  if (data !== undefined) {
    const exported = exportOf(data, root);
    if (exported) {
      const key = keyOfExport(exported.items);
      if (key) yield* shapeItems(key, exported.items, exported.placeOf, objects, report);
      else {
        isUnreadable = exported.items.length > 0;
        if (isUnreadable) report(unclearExport(exported.place));
      }
    } else {
      const members = asData(data, root, report);
      if (!members) isUnreadable = true;
      for (const [key, list] of Object.entries(members ?? {})) {
        if (Object.hasOwn(FILE_KEYS, key)) {
          const place = at(root, key);
          yield* shapeItems(key as FileKey, asList(list, place, report), (index) => at(place, index), objects, report);
          isUnreadable ||= !Array.isArray(list);
        } else {
          report(unknownList(key, list, root));
          // What stands under a misspelt word may be what others refer to.
          isUnreadable = true;
        }
      }
    }
  }
  return { objects, faults, isUnreadable };
}

type ShapeItem<K extends ObjectKind> = (raw: unknown, place: Place, report: Report) => PolicySet[K][number] | undefined;

const SHAPERS: { readonly [K in ObjectKind]: ShapeItem<K> } = {
  applications: shapeApplication,
  policies: (raw, place, report) => shapePolicy(raw, place, report, true),
  groups: shapeGroup,
  lists: shapeList,
  serviceTokens: shapeServiceToken,
  scimGroups: shapeScimGroup,
  resourceRules: shapeResourceRule,
  flows: shapeFlow,
  acrs: shapeAcr,
  authenticators: shapeAuthenticator,
  transactionRules: shapeTransactionRule,
  riskEngines: shapeRiskEngine,
};

function* shapeItems(
  key: FileKey,
  items: readonly unknown[],
  placeOf: (index: number) => Place,
  objects: Objects,
  report: Report,
): Generator<void, void> {
  for (const [index, item] of items.entries()) {
    shapeItem(FILE_KEYS[key].kind, item, placeOf(index), objects, report);
    yield;
  }
}

function shapeItem<K extends ObjectKind>(kind: K, raw: unknown, place: Place, objects: Objects, report: Report): void {
  const object = SHAPERS[kind](raw, place, report);
  if (object) objects[kind].push(object);
}

function unknownList(key: string, list: unknown, root: Place): Fault {
  const known = Object.keys(FILE_KEYS);
  const fallback = unknownKey(key, known, root);
  const meant = nearest(key, known);
  if (meant === undefined && Array.isArray(list)) {
    const told = keyOfExport(list);
    if (told) return { ...fallback, mend: `these look like ${told}; write ${told}:` };
  }
  return fallback;
}

const ENVELOPE = new Set(['result', 'success', 'errors', 'messages', 'result_info']);

interface Export {
  readonly items: readonly unknown[];
  readonly place: Place;
  readonly placeOf: (index: number) => Place;
}

/** The items of an API's response: Cloudflare's envelope, or a list by itself, as Entrust answers. */
function exportOf(data: unknown, root: Place): Export | undefined {
  if (Array.isArray(data)) return { items: data, place: root, placeOf: (index) => at(root, index) };
  if (!isObject(data) || !Object.hasOwn(data, 'result')) return undefined;
  if (!Object.keys(data).every((key) => ENVELOPE.has(key))) return undefined;
  const result = data['result'];
  const place = at(root, 'result');
  return Array.isArray(result)
    ? { items: result, place, placeOf: (index) => at(place, index) }
    : { items: [result], place, placeOf: () => place };
}

/** What the objects of an export are, told by their keys: the first of these whose mark all of them carry. */
const MARKS: readonly (readonly [key: FileKey, isOne: (item: Data) => boolean])[] = [
  ['resource_rules', (item) => Object.hasOwn(item, 'resourceId')],
  ['authentication_flows', (item) => Object.hasOwn(item, 'loginFlows') || Object.hasOwn(item, 'userLoginFirstStep')],
  ['service_tokens', (item) => Object.hasOwn(item, 'client_id')],
  ['policies', (item) => Object.hasOwn(item, 'decision') && Object.hasOwn(item, 'include')],
  ['groups', (item) => Object.hasOwn(item, 'include')],
  [
    'applications',
    (item) =>
      ['destinations', 'domain', 'self_hosted_domains', 'aud', 'policies'].some((key) => Object.hasOwn(item, key)),
  ],
  ['scim_groups', (item) => Object.hasOwn(item, 'displayName')],
  ['lists', (item) => Object.hasOwn(item, 'type') && (Object.hasOwn(item, 'items') || Object.hasOwn(item, 'count'))],
];

function keyOfExport(items: readonly unknown[]): FileKey | undefined {
  if (items.length === 0) return undefined;
  return MARKS.find(([, isOne]) => items.every((item) => isObject(item) && isOne(item)))?.[0];
}

function unclearExport(place: Place): Fault {
  return fault(
    place,
    'export_unclear',
    'expected objects of one kind that an API exports, found some that cannot be told',
    `write ${listed(Object.keys(FILE_KEYS).slice(0, 5))}: before the list`,
  );
}
