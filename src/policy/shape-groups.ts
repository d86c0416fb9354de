/** Groups, lists, service tokens and SCIM groups: Cloudflare's objects that policies refer to. */
import { at, fault } from '../model/fault.ts';
import type { Place, Report } from '../model/fault.ts';
import type { ListObject, ServiceTokenObject } from '../model/objects.ts';
import { ipListItemFinding } from '../shared/cidr.ts';
import { normalEmail } from '../shared/email.ts';
import {
  MAX_NAME,
  checkedText,
  exactObject,
  flag,
  id,
  listOf,
  quoted,
  readText,
  shaped,
  text,
  z,
} from '../shared/shape.ts';
import type { Shape } from '../shared/shape.ts';
import type { GroupObject, ScimGroupObject, Written } from './objects.ts';
import {
  EXCLUDE,
  INCLUDE,
  REQUIRE,
  asData,
  asList,
  durationOf,
  ignored,
  instantText,
  looseFlag,
  readRuleSet,
  shapedParts,
  wholeFrom,
} from './shape-parts.ts';

/** Source: Cloudflare Access, groups. */
export const groupShape = exactObject({
  id: id().describe('UUID of the group.'),
  name: text(MAX_NAME).describe('Unique name; rules and resource rules may name the group by it.'),
  include: INCLUDE,
  require: REQUIRE,
  exclude: EXCLUDE,
  is_default: looseFlag().describe('Preselects the group for new policies in a dashboard; decides nothing.').optional(),
  created_at: instantText().describe('When the group was made.').optional(),
  updated_at: instantText().describe('When the group was last changed.').optional(),
  uid: ignored(),
});

/** Source: Cloudflare Zero Trust, gateway lists. */
export const listShape = exactObject({
  id: id().describe('UUID of the list.'),
  name: text(MAX_NAME).describe('Name of the list.'),
  type: text().describe('EMAIL and IP take part in rules; other types are kept.'),
  items: z
    .array(z.unknown())
    .describe('The members.')
    .meta({
      items: {
        type: 'object',
        properties: { value: { type: 'string', description: 'An e-mail address, or an address or block.' } },
        required: ['value'],
      },
    }),
  description: z.string().describe('For people.').optional(),
  count: ignored(),
  created_at: instantText().describe('When the list was made.').optional(),
  updated_at: instantText().describe('When the list was last changed.').optional(),
});

/** Source: Cloudflare Access, service tokens; the secret only as its SHA-256. */
export const serviceTokenShape = exactObject({
  id: id().describe('UUID of the token; rules name it by this, not by its client id.'),
  name: text(MAX_NAME).describe('Name of the token.'),
  client_id: checkedText((written) =>
    /^[\u0021-\u002B\u002D-\u007E]+$/.test(written)
      ? undefined
      : {
          code: 'client_id_invalid',
          text: 'expected a client id of printable ASCII without spaces and commas',
          mend: 'copy it from where the token was made',
        },
  ).describe('What the caller sends as cf-access-client-id.'),
  client_secret_sha256: digestText().describe('SHA-256 of the secret, 64 hex digits.'),
  previous_client_secret_sha256: digestText()
    .describe('SHA-256 of the secret before, while both are accepted.')
    .optional(),
  previous_client_secret_expires_at: instantText()
    .describe('When the secret before is accepted no longer; absent: until it is removed.')
    .optional(),
  client_secret_version: wholeFrom(1).describe('Counts rotations.').optional(),
  enabled: flag().describe('false: refused. Default true.').optional(),
  expires_at: instantText().describe('From when on the token is refused; absent: never.').optional(),
  duration: checkedText((written) =>
    written === 'forever' || durationOf(written) !== undefined
      ? undefined
      : {
          code: 'duration_invalid',
          text: `expected a duration such as 8760h, or forever, found ${quoted(written)}`,
          mend: 'write hours such as 8760h',
        },
  )
    .describe('How long the token was made for; expires_at decides.')
    .optional(),
  created_at: instantText().describe('When the token was made.').optional(),
  updated_at: instantText().describe('When the token was last changed.').optional(),
  last_seen_at: ignored(),
});

/** Source: Cloudflare Zero Trust, SCIM groups (RFC 7643 Group). */
export const scimGroupShape = exactObject({
  identity_provider_id: id().describe('The provider that announced the group.'),
  id: text().describe("The group's id."),
  displayName: text(MAX_NAME).describe("The group's name at the provider."),
  externalId: text().describe("The provider's own id of the group.").optional(),
  meta: exactObject({
    created: instantText().optional().describe('RFC 3339.'),
    lastModified: instantText().optional().describe('RFC 3339.'),
  })
    .describe('When the group was made and last changed.')
    .optional(),
  schemas: listOf(text()).describe('SCIM schemas; default the core Group schema.').optional(),
});

export function shapeGroup(raw: unknown, place: Place, report: Report): GroupObject | undefined {
  const data = asData(raw, place, report);
  if (!data) return undefined;
  const parts = shapedParts(groupShape, data, place, report);
  return {
    id: parts.id ?? '',
    name: parts.name ?? '',
    ...readRuleSet(data, place, report),
    isDefault: parts.is_default ?? false,
    createdAt: parts.created_at,
    updatedAt: parts.updated_at,
    written: data,
    place,
  };
}

export function shapeList(raw: unknown, place: Place, report: Report): (ListObject & Written) | undefined {
  const data = asData(raw, place, report);
  if (!data) return undefined;
  const parts = shapedParts(listShape, data, place, report);
  const items: { readonly value: string }[] = [];
  const type = parts.type ?? '';
  for (const [index, item] of asList(parts.items, at(place, 'items'), report).entries()) {
    const value = readItem(item, type, at(place, 'items', index), report);
    if (value !== undefined) items.push({ value });
  }
  return { id: parts.id ?? '', name: parts.name ?? '', type, items, written: data, place };
}

export function shapeServiceToken(
  raw: unknown,
  place: Place,
  report: Report,
): (ServiceTokenObject & Written) | undefined {
  const data = asData(raw, place, report);
  if (!data) return undefined;
  if (Object.hasOwn(data, 'client_secret')) {
    report(
      fault(
        { file: place.file, path: [...place.path, 'client_secret'], atKey: true },
        'digest_invalid',
        'expected client_secret_sha256, found client_secret, a secret in clear',
        'write the SHA-256 of the secret as client_secret_sha256, and make a new secret: this one has been written down',
      ),
    );
  }
  const parts = shapedParts(serviceTokenShape, data, place, report, (key) => key === 'client_secret');
  return {
    id: parts.id ?? '',
    name: parts.name ?? '',
    client_id: parts.client_id ?? '',
    client_secret_sha256: parts.client_secret_sha256 ?? '',
    previous_client_secret_sha256: parts.previous_client_secret_sha256,
    previous_client_secret_expires_at: parts.previous_client_secret_expires_at,
    client_secret_version: parts.client_secret_version,
    enabled: parts.enabled,
    expires_at: parts.expires_at,
    duration: parts.duration,
    written: data,
    place,
  };
}

export function shapeScimGroup(raw: unknown, place: Place, report: Report): ScimGroupObject | undefined {
  const data = asData(raw, place, report);
  if (!data) return undefined;
  const parts = shapedParts(scimGroupShape, data, place, report);
  return {
    identityProviderId: parts.identity_provider_id ?? '',
    id: parts.id ?? '',
    displayName: parts.displayName ?? '',
    externalId: parts.externalId,
    meta: parts.meta,
    schemas: parts.schemas ?? ['urn:ietf:params:scim:schemas:core:2.0:Group'],
    written: data,
    place,
  };
}

/** A SHA-256 in hex, lower case. What is none may be the secret itself: nothing of it reaches a fault. */
function digestText(): Shape<string> {
  const digest = readText((written) =>
    isDigest(written)
      ? { value: written.toLowerCase() }
      : {
          code: 'digest_invalid',
          text: 'expected the SHA-256 of the secret, 64 hex digits, found something else, which is not shown',
          mend:
            written === SECRET
              ? 'if this is the secret itself, write its SHA-256 instead, and make a new secret: this one has been written down'
              : 'write what `printf %s "$SECRET" | sha256sum` prints',
        },
  );
  return z.preprocess((written) => {
    if (typeof written !== 'string' && typeof written !== 'number') return written;
    const found = String(written);
    return isDigest(found) ? found : /^\S{20,}$/.test(found.trim()) ? SECRET : 'no digest';
  }, digest);
}

const SECRET = 'a secret';

function isDigest(written: string): boolean {
  return /^[0-9a-f]{64}$/i.test(written);
}

function readItem(item: unknown, type: string, place: Place, report: Report): string | undefined {
  // Lists are long, so the common item is read without a shape.
  if (item === null || typeof item !== 'object' || !('value' in item) || typeof item.value !== 'string') {
    return shaped(ITEM, item, place, report)?.value;
  }
  const { value } = item;
  if (value === '' || value.trim() !== value || Object.keys(item).length > 1) {
    const whole = shaped(ITEM, item, place, report);
    if (!whole) return undefined;
  }
  const finding = type === 'EMAIL' ? emailFinding(value) : type === 'IP' ? ipListItemFinding(value) : undefined;
  if (!finding) return value;
  report(fault(at(place, 'value'), finding.code, finding.text, finding.mend));
  return undefined;
}

const ITEM = exactObject({ value: text(), description: z.string().optional(), created_at: z.unknown().optional() });

function emailFinding(
  value: string,
): { readonly code: string; readonly text: string; readonly mend: string } | undefined {
  if (normalEmail(value) !== undefined) return undefined;
  return {
    code: 'email_invalid',
    text: `expected an e-mail address, found ${quoted(value)}`,
    mend: 'write an address such as "ann@example.com"',
  };
}
