/** Applications and their policies, read only: they are written in files. Source:
 *  https://developers.cloudflare.com/api/resources/zero_trust/subresources/access/subresources/applications/ */
import { isReference } from '../../policy/objects.ts';
import type { ApplicationObject, PolicySet } from '../../policy/objects.ts';
import type { AdminResponse } from '../server.ts';
import { notFound, success, writtenTime } from './answers.ts';
import { idOf, paged, parameter, sought } from './call.ts';
import type { Call, Data, Endpoint } from './call.ts';
import { policyOut } from './policies.ts';

export function applicationEndpoints(): readonly Endpoint[] {
  const one = 'access/apps/{id}';
  return [
    { method: 'GET', path: 'access/apps', scope: 'read', handle: list },
    { method: 'GET', path: one, scope: 'read', handle: get },
    { method: 'GET', path: `${one}/policies`, scope: 'read', handle: listPolicies },
    { method: 'GET', path: `${one}/policies/{policy}`, scope: 'read', handle: getPolicy },
  ];
}

/** As written, with its destinations in the form of the API and its policies in full. */
function applicationOut(application: ApplicationObject, set: PolicySet): Data {
  const { id: _, uid: __, self_hosted_domains: ___, ...written } = application.written;
  const destinations = application.destinations.map(({ text }) => ({ type: 'public', uri: text }));
  return {
    ...written,
    id: application.id,
    type: application.type,
    ...(destinations[0] ? { domain: destinations[0].uri, destinations } : {}),
    aud: written['aud'],
    policies: policiesOf(application, set),
    created_at: writtenTime(written['created_at']),
    updated_at: writtenTime(written['updated_at']),
  };
}

function policiesOf({ policies }: ApplicationObject, set: PolicySet): readonly Data[] {
  return policies.flatMap((entry, index) => {
    const policy = isReference(entry) ? set.policies.find(({ id }) => id === entry.reference) : entry;
    return policy ? [policyOut(policy, set, index + 1)] : [];
  });
}

function list(call: Call): AdminResponse {
  const { set } = call.revision;
  const domain = parameter(call, 'domain')?.toLowerCase();
  const audience = parameter(call, 'aud');
  const found = sought(call, set.applications).filter(
    ({ destinations, audiences }) =>
      (domain === undefined || destinations.some(({ text }) => text.toLowerCase() === domain)) &&
      (audience === undefined || audiences.includes(audience)),
  );
  return paged(
    call,
    found.map((application) => applicationOut(application, set)),
  );
}

function get(call: Call): AdminResponse {
  const { revision } = call;
  const application = applicationOf(call);
  return application ? success(revision.id, 200, applicationOut(application, revision.set)) : notFound(revision.id);
}

function listPolicies(call: Call): AdminResponse {
  const application = applicationOf(call);
  return application ? paged(call, policiesOf(application, call.revision.set)) : notFound(call.revision.id);
}

function getPolicy(call: Call): AdminResponse {
  const { revision, request } = call;
  const application = applicationOf(call);
  const wanted = (request.parameters.get('policy') ?? '').toLowerCase();
  const policy = application && policiesOf(application, revision.set).find(({ id }) => id === wanted);
  return policy ? success(revision.id, 200, policy) : notFound(revision.id);
}

function applicationOf(call: Call): ApplicationObject | undefined {
  const wanted = idOf(call).toLowerCase();
  return call.revision.set.applications.find(({ id }) => id === wanted);
}
