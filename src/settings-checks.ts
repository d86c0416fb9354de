/** What is wrong with settings as a whole. Reads the data as written, so that these faults are told in the same breath
 *  as those of single values; a part that has the wrong form is passed over, since its own fault says so. */
import { normalize } from 'node:path';
import { at, fault, warning } from './model/fault.ts';
import type { Place, Report } from './model/fault.ts';
import { UPSTREAM_DEFAULTS } from './settings-shape.ts';
import { isLoopbackHost } from './shared/host.ts';
import { normalDomain } from './shared/email.ts';
import { nearest } from './shared/nearest.ts';
import { quoted } from './shared/shape.ts';

/** Duplicates, references to nothing, contradictions, and what would have no effect. */
export function checkSettings(data: unknown, root: Place, report: Report): void {
  checkProviders(data, root, report);
  checkProviderReferences(data, root, report);
  checkPayloads(data, root, report);
  checkAdmin(data, root, report);
  checkUpstream(data, root, report);
  checkBrowserUrls(data, root, report);
  checkTracing(data, root, report);
  checkLog(data, root, report);
  checkShadow(data, root, report);
  if (valueAt(data, ['client_address', 'from']) !== 'forwarded') {
    const hops = valueAt(data, ['client_address', 'trusted_hops']);
    if (typeof hops === 'number' && hops > 0) {
      report(
        warning(
          at(root, 'client_address', 'trusted_hops'),
          'setting_without_effect',
          'trusted_hops counts entries of x-forwarded-for, which is not read',
          'write from: forwarded, or remove trusted_hops',
        ),
      );
    }
  }
}

/** A file of both sets would be tried against itself. */
function checkShadow(data: unknown, root: Place, report: Report): void {
  const [shadow, policies] = [valueAt(data, ['shadow']), valueAt(data, ['policies']) ?? 'policies'].map((value) =>
    typeof value === 'string' ? `${normalize(value).replace(/\/+$/, '')}/` : undefined,
  );
  if (shadow === undefined || policies === undefined) return;
  if (!shadow.startsWith(policies) && !policies.startsWith(shadow)) return;
  report(
    fault(
      at(root, 'shadow'),
      'path_invalid',
      'expected a folder beside that of the policies, found one that shares files with it',
      'write policies-next, and keep the policies that are tried there',
    ),
  );
}

function checkLog(data: unknown, root: Place, report: Report): void {
  const log = membersAt(data, ['log']);
  const decisions = log['decisions'] ?? 'deny';
  const idle = (key: string, text: string, mend: string): void =>
    report(warning(at(root, 'log', key), 'setting_without_effect', text, mend));
  if (typeof log['allow_sample'] === 'number' && decisions !== 'all')
    idle(
      'allow_sample',
      'allow_sample chooses among allows, which are not logged',
      'write decisions: all, or remove it',
    );
  if (decisions !== 'none') return;
  if (log['requests'] === 'replay')
    idle('requests', 'no decision is logged, so none with its facts', 'write decisions: all, or remove it');
  if (log['file'] !== undefined) idle('file', 'no decision is logged', 'write decisions: deny, or remove it');
}

function checkProviders(data: unknown, root: Place, report: Report): void {
  const path = ['identity', 'providers'];
  distinct(
    textsAt(data, path, ['id']).map((one) => ({ ...one, key: one.text.toLowerCase() })),
    root,
    (one, first) => ({
      code: 'id_duplicate',
      text: `expected each identity provider to have an id of its own, found ${quoted(one.text)} again`,
      mend: `give one of them another id; the first is ${written(first)}`,
    }),
    report,
  );
  distinct(
    textsAt(data, path, ['name']).map((one) => ({ ...one, key: one.text })),
    root,
    (one, first) => ({
      code: 'name_duplicate',
      text: `expected each identity provider to have a name of its own, found ${quoted(one.text)} again`,
      mend: `rename one of them; the first is ${written(first)}`,
    }),
    report,
  );
  const domains = listAt(data, path).flatMap((provider, index) =>
    listAt(provider, ['domains']).flatMap((domain, position) => {
      if (typeof domain !== 'string') return [];
      const key = normalDomain(domain.startsWith('@') ? domain.slice(1) : domain);
      return key === undefined ? [] : [{ key, text: domain, path: [...path, index, 'domains', position] }];
    }),
  );
  distinct(
    domains,
    root,
    (one, first) => ({
      code: 'domain_claimed_twice',
      text: `expected each domain to have one provider, found ${quoted(one.text)} again`,
      mend: `keep it in one of them; the first is ${written(first)}`,
    }),
    report,
  );
}

function checkProviderReferences(data: unknown, root: Place, report: Report): void {
  const providers = listAt(data, ['identity', 'providers']);
  const ids = textsAt(data, ['identity', 'providers'], ['id']).map((one) => one.text);
  const known = new Set(ids.map((id) => id.toLowerCase()));
  const references: { readonly text: unknown; readonly path: Path }[] = [
    ...listAt(data, ['identity', 'tokens']).map((token, index) => ({
      text: valueAt(token, ['provider']),
      path: ['identity', 'tokens', index, 'provider'],
    })),
    ...Object.entries(membersAt(data, ['identity', 'envoy_jwt_authn', 'payloads'])).map(([key, payload]) => ({
      text: valueAt(payload, ['provider']),
      path: ['identity', 'envoy_jwt_authn', 'payloads', key, 'provider'],
    })),
    { text: valueAt(data, ['identity', 'headers', 'provider']), path: ['identity', 'headers', 'provider'] },
  ];
  for (const { text, path } of references) {
    if (typeof text !== 'string' || !UUID.test(text) || known.has(text.toLowerCase())) continue;
    const near = nearest(text, ids);
    report(
      fault(
        at(root, ...path),
        'provider_unknown',
        `no identity provider has the id ${quoted(text)}`,
        near !== undefined
          ? `did you mean ${quoted(near)}?`
          : providers.length > 0
            ? `use the id of one of identity.providers: ${ids.join(', ')}`
            : 'add it to identity.providers',
      ),
    );
  }
}

function checkPayloads(data: unknown, root: Place, report: Report): void {
  const path = ['identity', 'envoy_jwt_authn'];
  if (valueAt(data, [...path, 'enabled']) !== true) return;
  if (Object.keys(membersAt(data, [...path, 'payloads'])).length > 0) return;
  report(
    fault(
      at(root, ...path),
      'key_missing',
      'expected payloads, since envoy_jwt_authn is enabled, found none',
      "add payloads: { <payload_in_metadata of Envoy's filter>: {} }",
    ),
  );
}

function checkAdmin(data: unknown, root: Place, report: Report): void {
  const path = ['admin', 'tokens'];
  distinct(
    textsAt(data, path, ['name']).map((one) => ({ ...one, key: one.text })),
    root,
    (one, first) => ({
      code: 'name_duplicate',
      text: `expected each admin token to have a name of its own, found ${quoted(one.text)} again`,
      mend: `rename one of them, so that the log tells who wrote; the first is ${written(first)}`,
    }),
    report,
  );
  distinct(
    textsAt(data, path, ['sha256']).flatMap((one) =>
      /^[0-9a-f]{64}$/i.test(one.text) ? [{ ...one, key: one.text.toLowerCase() }] : [],
    ),
    root,
    (_, first) => ({
      code: 'digest_duplicate',
      text: 'expected each admin token to be another one, found the same digest again',
      mend: `make a token for each name; the first is ${written(first)}`,
    }),
    report,
  );
  distinct(
    listAt(data, ['admin', 'accounts']).flatMap((account, index) =>
      typeof account === 'string'
        ? [{ key: account.toLowerCase(), text: account, path: ['admin', 'accounts', index] }]
        : [],
    ),
    root,
    (one) => ({
      code: 'id_duplicate',
      text: `expected each account once, found ${quoted(one.text)} again`,
      mend: 'remove one',
    }),
    report,
  );
}

/** A managed header is set or removed. Names that differ in `-` and `_` only are one name to many upstreams. */
function checkUpstream(data: unknown, root: Place, report: Report): void {
  const headers = valueAt(data, ['upstream', 'headers']) ?? UPSTREAM_DEFAULTS;
  const set: Named[] = Object.keys(membersAt(headers, [])).map((name) => ({
    key: folded(name),
    text: name,
    path: ['upstream', 'headers', name],
  }));
  const header = valueAt(data, ['upstream', 'assertion', 'header']);
  if (typeof header === 'string') {
    set.push({ key: folded(header), text: header, path: ['upstream', 'assertion', 'header'] });
  }
  distinct(
    set,
    root,
    (one, first) => ({
      code: 'header_duplicate',
      text: `expected each header to be set once, found ${quoted(one.text)} again`,
      mend: `choose another name; the first is ${written(first)}`,
    }),
    report,
  );
  const removed = listAt(data, ['upstream', 'remove']);
  for (const [index, name] of removed.entries()) {
    if (typeof name !== 'string') continue;
    const other = set.find((one) => one.key === folded(name));
    if (!other) continue;
    report(
      fault(
        at(root, 'upstream', 'remove', index),
        'header_set_and_removed',
        `expected a header that is not set, found ${quoted(name)}, which ${written(other)} sets`,
        "remove it here: the client's own copy never arrives anyway",
      ),
    );
  }
}

/** Browsers follow these in the open where they are http. */
function checkBrowserUrls(data: unknown, root: Place, report: Report): void {
  for (const path of [
    ['step_up', 'portal_url'],
    ['login', 'url'],
  ]) {
    const text = valueAt(data, path);
    if (typeof text !== 'string' || !URL.canParse(text)) continue;
    const { protocol, hostname } = new URL(text);
    if (protocol === 'http:' && !isLoopbackHost(hostname)) {
      report(
        warning(at(root, ...path), 'url_insecure', `expected https, found http to ${quoted(hostname)}`, 'write https'),
      );
    }
  }
  if (
    valueAt(data, ['step_up', 'portal_key']) !== undefined &&
    valueAt(data, ['step_up', 'portal_url']) === undefined
  ) {
    report(
      warning(
        at(root, 'step_up', 'portal_key'),
        'setting_without_effect',
        'portal_key signs what is sent to portal_url, which is not set',
        'add portal_url, or remove portal_key',
      ),
    );
  }
}

/** Spans hold no secret, but those headers may. */
function checkTracing(data: unknown, root: Place, report: Report): void {
  const text = valueAt(data, ['tracing', 'otlp_url']);
  if (valueAt(data, ['tracing', 'headers_file']) === undefined || typeof text !== 'string' || !URL.canParse(text))
    return;
  const { protocol, hostname } = new URL(text);
  if (protocol === 'http:' && !isLoopbackHost(hostname)) {
    report(
      warning(
        at(root, 'tracing', 'otlp_url'),
        'url_insecure',
        `expected https, because headers_file is sent along, found http to ${quoted(hostname)}`,
        'write https, or remove headers_file',
      ),
    );
  }
}

type Path = readonly (string | number)[];

interface Named {
  readonly key: string;
  readonly text: string;
  readonly path: Path;
}

const UUID = /^(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32})$/i;

function distinct(
  items: readonly Named[],
  root: Place,
  finding: (one: Named, first: Named) => { readonly code: string; readonly text: string; readonly mend: string },
  report: Report,
): void {
  const seen = new Map<string, Named>();
  for (const item of items) {
    const first = seen.get(item.key);
    if (!first) {
      seen.set(item.key, item);
      continue;
    }
    const { code, text, mend } = finding(item, first);
    report(fault(at(root, ...item.path), code, text, mend));
  }
}

/** `identity.providers[0].id` */
function written(one: Named): string {
  return one.path
    .map((step, index) => (typeof step === 'number' ? `[${step}]` : index === 0 ? step : `.${step}`))
    .join('');
}

function folded(header: string): string {
  return header.toLowerCase().replaceAll('_', '-');
}

function textsAt(data: unknown, path: Path, below: Path): { readonly text: string; readonly path: Path }[] {
  return listAt(data, path).flatMap((item, index) => {
    const text = valueAt(item, below);
    return typeof text === 'string' ? [{ text, path: [...path, index, ...below] }] : [];
  });
}

function listAt(data: unknown, path: Path): readonly unknown[] {
  const value = valueAt(data, path);
  return Array.isArray(value) ? value : [];
}

function membersAt(data: unknown, path: Path): Readonly<Record<string, unknown>> {
  const value = valueAt(data, path);
  return value !== null && typeof value === 'object' && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}

function valueAt(data: unknown, path: Path): unknown {
  let current = data;
  for (const step of path) {
    if (current === null || typeof current !== 'object' || !Object.hasOwn(current, step)) return undefined;
    current = (current as Record<string | number, unknown>)[step];
  }
  return current;
}
