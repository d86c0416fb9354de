/** Applications and policies: Cloudflare's objects, with what Entrust's resource rules need of an application. */
import { SIGNATURE_KEYS } from '../shared/jose.ts';
import { at, fault, warning } from '../model/fault.ts';
import type { Place, Report } from '../model/fault.ts';
import { MAX_NAME, exactObject, flag, id, listOf, nameText, quoted, shaped, text, word, z } from '../shared/shape.ts';
import type {
  ApplicationObject,
  DestinationText,
  IssuedTokens,
  PolicyObject,
  PolicyReference,
  TransactionDetailObject,
  TransactionSource,
} from './objects.ts';
import {
  EXCLUDE,
  INCLUDE,
  REQUIRE,
  asData,
  durationText,
  headerName,
  ignored,
  missingKey,
  readRuleSet,
  shapedParts,
  someOf,
  urlText,
  withoutEmpty,
  wholeFrom,
} from './shape-parts.ts';
import type { Data } from './shape-parts.ts';
import { isObject } from '../shared/object.ts';

const unsupported = (what: string): z.ZodOptional<z.ZodUnknown> =>
  z.unknown().describe(`${what} Postern cannot do this: anything but off is a fault.`).optional();

/** Source: Cloudflare Access, policies. */
export const policyShape = exactObject({
  id: id().describe('UUID of the policy; needed where it is reusable.').optional(),
  name: nameText().describe('Unique within the application, or among the reusable policies.'),
  decision: word(['allow', 'deny', 'non_identity', 'bypass']).describe(
    'What a match means: allow needs a login, non_identity (service auth) and bypass do not.',
  ),
  include: INCLUDE,
  require: REQUIRE,
  exclude: EXCLUDE,
  session_duration: durationText()
    .describe('Greatest age of the login, e.g. 24h; absent: as the application says.')
    .optional(),
  precedence: wholeFrom(0).describe('From exports: unique and ascending; the order of the list rules.').optional(),
  approval_required: unsupported('Temporary access with approval.'),
  approval_groups: unsupported('Who approves.'),
  purpose_justification_required: unsupported('Asking for a justification.'),
  purpose_justification_prompt: ignored(),
  isolation_required: unsupported('Browser isolation.'),
  mfa_config: unsupported("Cloudflare's own multi-factor step."),
  connection_rules: unsupported('Rules for RDP and SSH connections.'),
  uid: ignored(),
  created_at: ignored(),
  updated_at: ignored(),
  reusable: ignored(),
  app_count: ignored(),
  account_id: ignored(),
});

const keysShape = z
  .union([
    exactObject({ url: urlText().describe('Where the key set is read; https.') }),
    exactObject({ file: text().describe('A key set, relative to the config folder.') }),
  ])
  .describe('The JSON Web Key Set: { url } or { file }, relative to the config folder.');

const issuedTokensShape = exactObject({
  issuer: text().describe('Compared exactly with the claim iss.'),
  audiences: someOf(text()).describe('Any of these must be in the claim aud.'),
  keys: keysShape,
  algorithms: someOf(word(Object.keys(SIGNATURE_KEYS) as [string, ...string[]], 'algorithm_invalid'))
    .describe('JWS algorithms; default RS256 and ES256.')
    .optional(),
});

const transactionDetailShape = exactObject({
  header: headerName().describe('The header that holds the detail.').optional(),
  query: text().describe('The query parameter that holds the detail.').optional(),
  body: text().describe('JSON pointer (RFC 6901) into the body.').optional(),
  usage: listOf(word(['RBA', 'TVS']))
    .describe('Who sees the detail; without RBA risk does not. Default both.')
    .optional(),
});

/** Source: Cloudflare Access, applications; `requested_acrs`, `acr_hint_header` and `transaction` are Postern's. */
export const applicationShape = exactObject({
  id: id().describe('UUID of the application.'),
  name: nameText().describe('Name in logs, metrics and metadata.'),
  description: z.string().describe('For people.').optional(),
  type: text().describe('self_hosted (default), or saas: it only issues linked tokens.').optional(),
  destinations: z
    .array(z.unknown())
    .describe('What the application covers: host[/path], the most specific wins.')
    .meta({
      items: {
        anyOf: [
          { type: 'string' },
          {
            type: 'object',
            properties: {
              type: { const: 'public', description: 'Only public.' },
              uri: { type: 'string', description: 'host[/path].' },
            },
            required: ['uri'],
          },
        ],
      },
    })
    .optional(),
  domain: text().describe('Used where destinations is absent.').optional(),
  self_hosted_domains: listOf(text()).describe('Used where destinations is absent.').optional(),
  session_duration: durationText()
    .describe("Greatest age of the login, e.g. 24h; absent: the token's own lifetime.")
    .optional(),
  policies: z.array(z.unknown()).describe('In order: policies, or ids of reusable ones.').optional(),
  aud: z
    .union([text(), listOf(text())])
    .describe("The token's audience must meet this too.")
    .optional(),
  issued_tokens: z.unknown().describe('How tokens that this application issues are verified.').optional(),
  allowed_idps: listOf(id()).describe('Ids of the providers that count here; empty: all.').optional(),
  options_preflight_bypass: flag().describe('CORS preflight requests pass.').optional(),
  read_service_tokens_from_header: headerName()
    .describe('The header that holds service token credentials as JSON.')
    .optional(),
  requested_acrs: listOf(text()).describe('Acr names this application asks for (adaptive).').optional(),
  acr_hint_header: headerName()
    .describe('A header through which a client may ask for acrs; off by default.')
    .optional(),
  transaction: z
    .record(text(MAX_NAME), z.unknown())
    .describe('Where transaction details are read: name → { header } or { query } or { body }.')
    .optional(),
  enable_binding_cookie: flag().describe('Without effect here.').optional(),
  mfa_config: unsupported("Cloudflare's own multi-factor step."),
  oauth_configuration: unsupported('Access as an OAuth server.'),
  scim_config: unsupported('Provisioning by SCIM.'),
  overrides: unsupported('Paths that are public.'),
  ...Object.fromEntries(
    [
      'uid',
      'created_at',
      'updated_at',
      'tags',
      'logo_url',
      'allow_iframe',
      'app_launcher_visible',
      'auto_redirect_to_identity',
      'allow_authenticate_via_warp',
      'skip_interstitial',
      'service_auth_401_redirect',
      'cors_headers',
      'http_only_cookie_attribute',
      'same_site_cookie_attribute',
      'path_cookie_attribute',
      'eager_redirect_cookie_setting',
      'use_clientless_isolation_app_launcher_url',
      'saas_app',
      'domain_type',
    ].map((key) => [key, ignored()]),
  ),
});

/** For the JSON Schema of an item of `applications[].policies`. */
export const POLICIES = applicationShape.shape.policies;
export const ISSUED_TOKENS = issuedTokensShape;
export const TRANSACTION_DETAIL = transactionDetailShape;

export function shapeApplication(raw: unknown, place: Place, report: Report): ApplicationObject | undefined {
  const written = asData(raw, place, report);
  if (!written) return undefined;
  const data = withoutEmpty(written, ['session_duration', 'read_service_tokens_from_header', 'aud', 'domain', 'type']);
  const parts = shapedParts(applicationShape, data, place, report, (key) => key.startsWith('custom_'));
  const type = readType(parts.type, at(place, 'type'), report);
  reportUnsupported(data, APPLICATION_UNSUPPORTED, place, report);
  if (parts.enable_binding_cookie === true) {
    report(
      warning(
        at(place, 'enable_binding_cookie'),
        'setting_without_effect',
        'the binding cookie is not set here',
        'remove enable_binding_cookie',
      ),
    );
  }
  const issuedTokens =
    data['issued_tokens'] === undefined
      ? undefined
      : readIssuedTokens(data['issued_tokens'], at(place, 'issued_tokens'), report);
  const destinations =
    type === 'saas' ? readSaasDestinations(data, place, report) : readDestinations(data, place, report);
  const issues = Object.hasOwn(data, 'aud') || Object.hasOwn(data, 'issued_tokens');
  const wrong =
    data['destinations'] !== undefined && !(Array.isArray(data['destinations']) && data['destinations'].length === 0);
  if (destinations.length === 0 && !issues && !wrong && type !== undefined) {
    report(
      fault(
        place,
        'key_missing',
        'missing key "destinations"',
        'add destinations such as orders.example.com/api; aud or issued_tokens where it only issues linked tokens',
      ),
    );
  }
  return {
    id: parts.id ?? '',
    name: parts.name ?? '',
    type: type ?? 'self_hosted',
    destinations,
    policies: readPolicies(data['policies'], at(place, 'policies'), report),
    audiences: parts.aud === undefined ? [] : typeof parts.aud === 'string' ? [parts.aud] : parts.aud,
    issuedTokens,
    allowedProviders: parts.allowed_idps ?? [],
    sessionDurationMs: parts.session_duration,
    optionsPreflightBypass: parts.options_preflight_bypass ?? false,
    readServiceTokensFromHeader: parts.read_service_tokens_from_header,
    requestedAcrs: parts.requested_acrs ?? [],
    acrHintHeader: parts.acr_hint_header,
    transaction: readTransaction(data['transaction'], at(place, 'transaction'), report),
    written,
    place,
  };
}

/** A policy. `reusable`: it stands in the list of its own and needs an id. */
export function shapePolicy(raw: unknown, place: Place, report: Report, reusable: boolean): PolicyObject | undefined {
  const written = asData(raw, place, report);
  if (!written) return undefined;
  const data = withoutEmpty(written, ['session_duration']);
  const parts = shapedParts(policyShape, data, place, report);
  if (reusable && !Object.hasOwn(data, 'id')) report(missingKey('id', place));
  reportUnsupported(data, POLICY_UNSUPPORTED, place, report);
  return {
    id: parts.id ?? '',
    name: parts.name ?? '',
    decision: parts.decision ?? 'deny',
    ...readRuleSet(data, place, report),
    sessionDurationMs: parts.session_duration,
    precedence: parts.precedence,
    written,
    place,
  };
}

/** A setting that lets in fewer people than ignoring it would: a fault unless it is off. */
interface Unsupported {
  readonly key: string;
  readonly isOff: (value: unknown) => boolean;
  readonly code: string;
  readonly found: string;
  readonly mend: string;
}

const isNothing = (value: unknown): boolean =>
  value === false ||
  value === '' ||
  (Array.isArray(value) && value.length === 0) ||
  (isObject(value) && Object.values(value).every(isNothing));

const MFA: Unsupported = {
  key: 'mfa_config',
  isOff: (value) => isNothing(value) || (isObject(value) && value['mfa_disabled'] === true),
  code: 'mfa_unsupported',
  found: 'a multi-factor step of Cloudflare',
  mend: 'require { auth_method: { auth_method: mfa } }, or protect the application by a resource rule',
};

const POLICY_UNSUPPORTED: readonly Unsupported[] = [
  {
    key: 'approval_required',
    isOff: isNothing,
    code: 'approval_unsupported',
    found: 'access upon approval',
    mend: 'remove it, and let in only those who need no approval',
  },
  {
    key: 'approval_groups',
    isOff: isNothing,
    code: 'approval_unsupported',
    found: 'access upon approval',
    mend: 'remove it, and let in only those who need no approval',
  },
  {
    key: 'purpose_justification_required',
    isOff: isNothing,
    code: 'purpose_justification_unsupported',
    found: 'access upon a justification',
    mend: 'set it to false',
  },
  {
    key: 'isolation_required',
    isOff: isNothing,
    code: 'isolation_unsupported',
    found: 'access in an isolated browser',
    mend: 'set it to false',
  },
  MFA,
  {
    key: 'connection_rules',
    isOff: isNothing,
    code: 'setting_unsupported',
    found: 'rules for RDP or SSH connections',
    mend: 'remove connection_rules',
  },
];

const APPLICATION_UNSUPPORTED: readonly Unsupported[] = [
  MFA,
  {
    key: 'overrides',
    isOff: isNothing,
    code: 'destination_unsupported',
    found: 'paths that are made public',
    mend: 'write an application of its own for such a path, with a bypass policy',
  },
  {
    key: 'oauth_configuration',
    isOff: (value) => isNothing(value) || (isObject(value) && value['enabled'] === false),
    code: 'setting_unsupported',
    found: 'Access as an OAuth server',
    mend: 'remove oauth_configuration',
  },
  {
    key: 'scim_config',
    isOff: (value) => isNothing(value) || (isObject(value) && value['enabled'] !== true),
    code: 'setting_unsupported',
    found: 'provisioning by SCIM',
    mend: 'set scim_config.enabled to false',
  },
];

function reportUnsupported(data: Data, settings: readonly Unsupported[], place: Place, report: Report): void {
  for (const { key, isOff, code, found, mend } of settings) {
    const value = data[key];
    if (value === undefined || isOff(value)) continue;
    report(fault(at(place, key), code, `expected what a sidecar can do, found ${found}`, mend));
  }
}

function readType(type: string | undefined, place: Place, report: Report): 'self_hosted' | 'saas' | undefined {
  if (type === undefined || type === 'self_hosted') return 'self_hosted';
  if (type === 'saas') return 'saas';
  report(
    fault(
      place,
      'application_type_unsupported',
      `expected self_hosted or saas, found ${quoted(type)}`,
      'a sidecar sees HTTP requests to its own workload; take this application out',
    ),
  );
  return undefined;
}

/** What Cloudflare names for a SaaS application is an address of its own, not one of ours. */
function readSaasDestinations(data: Data, place: Place, report: Report): readonly DestinationText[] {
  if (Array.isArray(data['destinations']) && data['destinations'].length > 0) {
    report(
      fault(
        at(place, 'destinations'),
        'application_type_unsupported',
        'expected no destinations in an application of type saas, found some',
        'write type: self_hosted, or remove destinations',
      ),
    );
  }
  return [];
}

function readDestinations(data: Data, place: Place, report: Report): readonly DestinationText[] {
  const found: DestinationText[] = [];
  if (data['destinations'] !== undefined && !Array.isArray(data['destinations'])) return [];
  if (Array.isArray(data['destinations']) && data['destinations'].length > 0) {
    for (const [index, item] of data['destinations'].entries()) {
      const destination = readDestination(item, at(place, 'destinations', index), report);
      if (destination) found.push(destination);
    }
    return found;
  }
  if (typeof data['domain'] === 'string') found.push({ text: data['domain'], place: at(place, 'domain') });
  const more = data['self_hosted_domains'];
  if (Array.isArray(more)) {
    for (const [index, one] of more.entries()) {
      if (typeof one === 'string' && !found.some((known) => known.text === one)) {
        found.push({ text: one, place: at(place, 'self_hosted_domains', index) });
      }
    }
  }
  return found;
}

const DESTINATION_TEXT = text();
const DESTINATION = exactObject({ type: word(['public']).optional(), uri: text(), overrides: z.unknown().optional() });

function readDestination(item: unknown, place: Place, report: Report): DestinationText | undefined {
  if (typeof item === 'string') {
    const written = shaped(DESTINATION_TEXT, item, place, report);
    return written === undefined ? undefined : { text: written, place };
  }
  const data = asData(item, place, report);
  if (!data) return undefined;
  const type = data['type'];
  if (typeof type === 'string' && type !== 'public') {
    report(
      fault(
        at(place, 'type'),
        'destination_unsupported',
        `expected a destination of type public, found ${quoted(type)}`,
        'name the host and path that requests to this workload carry',
      ),
    );
    return undefined;
  }
  reportUnsupported(
    data,
    APPLICATION_UNSUPPORTED.filter(({ key }) => key === 'overrides'),
    place,
    report,
  );
  const { uri } = shapedParts(DESTINATION, data, place, report);
  return uri === undefined ? undefined : { text: uri, place: at(place, 'uri') };
}

function readPolicies(raw: unknown, place: Place, report: Report): readonly (PolicyObject | PolicyReference)[] {
  if (!Array.isArray(raw)) return [];
  const policies: (PolicyObject | PolicyReference)[] = [];
  for (const [index, item] of raw.entries()) {
    const here = at(place, index);
    const policy =
      typeof item === 'string'
        ? readReference(item, undefined, here, report)
        : isReferenceData(item)
          ? readReference(item['id'], item['precedence'], at(here, 'id'), report)
          : shapePolicy(item, here, report, false);
    if (policy) policies.push(policy);
  }
  return policies;
}

/** `{ id }`, with `precedence` beside it or not. */
function isReferenceData(item: unknown): item is Data {
  return (
    isObject(item) &&
    Object.hasOwn(item, 'id') &&
    Object.keys(item).every((key) => key === 'id' || key === 'precedence')
  );
}

const POLICY_ID = id("name a reusable policy by its id, or write the policy's name, decision and include here");
const PRECEDENCE = wholeFrom(0);

function readReference(raw: unknown, precedence: unknown, place: Place, report: Report): PolicyReference | undefined {
  const reference = shaped(POLICY_ID, raw, place, report);
  if (reference === undefined) return undefined;
  const order =
    precedence === undefined
      ? undefined
      : shaped(PRECEDENCE, precedence, { ...place, path: [...place.path.slice(0, -1), 'precedence'] }, report);
  return { reference, precedence: order, place };
}

function readIssuedTokens(raw: unknown, place: Place, report: Report): IssuedTokens | undefined {
  const data = asData(raw, place, report);
  if (!data) return undefined;
  const { issuer, audiences, keys, algorithms } = shapedParts(issuedTokensShape, data, place, report);
  if (issuer === undefined || audiences === undefined || keys === undefined) return undefined;
  return { issuer, audiences, keys, algorithms: algorithms ?? ['RS256', 'ES256'], place };
}

const SOURCES = ['header', 'query', 'body'] as const;

function readTransaction(raw: unknown, place: Place, report: Report): readonly TransactionDetailObject[] {
  const details: TransactionDetailObject[] = [];
  for (const [name, item] of isObject(raw) ? Object.entries(raw) : []) {
    const here = at(place, name);
    const data = asData(item, here, report);
    if (!data) continue;
    const parts = shapedParts(transactionDetailShape, data, here, report);
    const given = SOURCES.filter((source) => Object.hasOwn(data, source));
    const [only] = given;
    if (only === undefined || given.length > 1) {
      report(
        only === undefined
          ? fault(here, 'key_missing', 'missing key "header"', 'add header, query or body')
          : fault(
              here,
              'transaction_source_ambiguous',
              `expected one of header, query and body, found ${given.join(' and ')}`,
              'keep the one that holds the detail',
            ),
      );
      continue;
    }
    const source = readSource(only, parts[only], at(here, only), report);
    if (source) details.push({ name, source, usage: parts.usage ?? ['RBA', 'TVS'], place: here });
  }
  return details;
}

function readSource(
  kind: (typeof SOURCES)[number],
  value: string | undefined,
  place: Place,
  report: Report,
): TransactionSource | undefined {
  if (value === undefined) return undefined;
  if (kind === 'header') return { header: value };
  if (kind === 'query') return { query: value };
  if (value.startsWith('/') && !/~(?![01])/.test(value)) return { body: value };
  report(
    fault(
      place,
      'pointer_invalid',
      `expected a JSON pointer, found ${quoted(value)}`,
      value.startsWith('/')
        ? 'write ~ as ~0'
        : `write it with a slash first: ${quoted(`/${value.replace(/^\$?\.?/, '').replaceAll('.', '/')}`)}`,
    ),
  );
  return undefined;
}
