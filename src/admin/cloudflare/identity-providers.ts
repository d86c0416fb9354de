/** Identity providers and the groups that they announced by SCIM, read only: they are written in files. Source:
 *  https://developers.cloudflare.com/api/resources/zero_trust/subresources/identity_providers/ */
import type { ProviderObject } from '../../model/objects.ts';
import type { ScimGroupObject } from '../../policy/objects.ts';
import type { AdminResponse } from '../server.ts';
import { invalid, notFound, success, writtenTime } from './answers.ts';
import { idOf, paged, parameter } from './call.ts';
import type { Call, Data, Endpoint } from './call.ts';

export function identityProviderEndpoints(): readonly Endpoint[] {
  return [
    { method: 'GET', path: 'access/identity_providers', scope: 'read', handle: list },
    { method: 'GET', path: 'access/identity_providers/{id}', scope: 'read', handle: get },
  ];
}

export function scimGroupEndpoints(): readonly Endpoint[] {
  const path = 'access/identity_providers/{id}/scim/groups';
  return [{ method: 'GET', path, scope: 'read', handle: listScimGroups }];
}

/** How a provider is reached is not ours to know, so that `config` is always empty. */
function providerOut({ id, name, type }: ProviderObject): Data {
  return { id, name, type, config: {} };
}

function list(call: Call): AdminResponse {
  return paged(call, call.revision.settings.identity.providers.map(providerOut));
}

function get(call: Call): AdminResponse {
  const { revision } = call;
  const provider = providerOf(call);
  return provider ? success(revision.id, 200, providerOut(provider)) : notFound(revision.id);
}

function providerOf(call: Call): ProviderObject | undefined {
  const wanted = idOf(call).toLowerCase();
  return call.revision.settings.identity.providers.find(({ id }) => id === wanted);
}

/** Of these at most one is given, and those that name ids not beside `name`. */
const SELECTORS = ['cf_resource_id', 'idp_resource_id', 'search_contains', 'search_starts_with'] as const;
const IDS_MAX = 50;

function listScimGroups(call: Call): AdminResponse {
  const { revision } = call;
  const provider = providerOf(call);
  if (!provider) return notFound(revision.id);
  const given = SELECTORS.filter((name) => valuesOf(call, name).length > 0);
  const name = parameter(call, 'name')?.toLowerCase();
  const refuse = (text: string): AdminResponse => invalid(revision.id, 'parameter_invalid', text);
  if (given.length > 1) return refuse(`expected one of ${SELECTORS.join(', ')}, found ${given.join(' and ')}`);
  const [selector] = given;
  if (name !== undefined && selector?.endsWith('_id') === true)
    return refuse(`expected name or ${selector}, found both`);
  const values = selector === undefined ? [] : valuesOf(call, selector);
  if (values.length > IDS_MAX) return refuse(`expected at most ${IDS_MAX} of ${selector}, found ${values.length}`);
  const found = revision.set.scimGroups.filter(
    (group) =>
      group.identityProviderId === provider.id &&
      (name === undefined || group.displayName.toLowerCase() === name) &&
      (selector === undefined || SELECTED[selector](group, values)),
  );
  return paged(call, found.map(scimGroupOut));
}

const SELECTED: Readonly<
  Record<(typeof SELECTORS)[number], (group: ScimGroupObject, values: readonly string[]) => boolean>
> = {
  cf_resource_id: ({ id }, values) => values.includes(id),
  idp_resource_id: ({ externalId }, values) => externalId !== undefined && values.includes(externalId),
  search_contains: ({ displayName }, [value = '']) => displayName.toLowerCase().includes(value.toLowerCase()),
  search_starts_with: ({ displayName }, [value = '']) => displayName.toLowerCase().startsWith(value.toLowerCase()),
};

function valuesOf({ request }: Call, name: string): readonly string[] {
  return request.query.getAll(name).filter((value) => value !== '');
}

/** Source: RFC 7643, section 4.2. */
function scimGroupOut({ id, displayName, externalId, meta, schemas }: ScimGroupObject): Data {
  return {
    id,
    displayName,
    externalId,
    meta: meta && { created: writtenTime(meta.created), lastModified: writtenTime(meta.lastModified) },
    schemas,
  };
}
