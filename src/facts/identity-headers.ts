/** An identity from plain headers, as an authenticating proxy sets them (oauth2-proxy's `x-forwarded-email` and
 *  `x-forwarded-groups`). Without a proxy that removes the client's own copies this is an open door. */
import type { Identity, IdentityFact } from '../model/identity.ts';
import type { Headers, RequestFacts } from '../model/request.ts';
import { normalEmail } from '../shared/email.ts';
import { readGroups } from './claims.ts';
import type { Provider } from './claims.ts';
import { NOTHING_STATED } from '../model/identity.ts';

export interface IdentityHeadersOptions {
  /** Lower-case header name; its value is one address. */
  readonly email: string;
  /** Lower-case header name; its value is split at commas. undefined: no groups. */
  readonly groups?: string | undefined;
  /** The id of the provider that all of them logged in with; undefined: not stated. */
  readonly provider?: string | undefined;
}

/** undefined: nobody is named. */
export type ReadIdentityHeaders = (request: RequestFacts) => IdentityFact | undefined;

/** Prepares the reading, once, at load. */
export function createIdentityHeaders(
  options: IdentityHeadersOptions,
  providers: readonly Provider[],
): ReadIdentityHeaders {
  const id = options.provider?.toLowerCase();
  const type = providers.find((known) => known.id.toLowerCase() === id)?.type;
  const provider = id === undefined ? undefined : Object.freeze({ id, type });
  return ({ headers }) => {
    const written = headers.single(options.email, { utf8Allowed: true });
    if (written.state === 'absent') return undefined;
    if (written.state !== 'one') return { state: 'invalid', why: `${options.email}: ${written.state}` };
    const text = written.value.trim();
    if (text === '') return undefined;
    const email = normalEmail(text);
    if (email === undefined) return { state: 'invalid', why: `${options.email} is no e-mail address` };
    const groups = options.groups === undefined ? NO_GROUPS : groupsOf(headers, options.groups);
    return { state: 'known', identity: identityOf(email, groups, provider) };
  };
}

interface Groups {
  /** undefined: the header is absent. */
  readonly list: readonly string[] | undefined;
  /** The header holds something that is no text: who knows which group that was. */
  readonly incomplete: boolean;
}

const NO_GROUPS: Groups = Object.freeze({ list: undefined, incomplete: false });

function groupsOf(headers: Headers, name: string): Groups {
  const values = headers.all(name);
  if (values.length === 0) return NO_GROUPS;
  const list = values
    .filter((value) => !value.includes(REPLACEMENT))
    .flatMap((value) => value.split(','))
    .map((group) => group.trim())
    .filter((group) => group !== '');
  return { list, incomplete: values.some((value) => value.includes(REPLACEMENT)) };
}

/** Stands for bytes that are not UTF-8. */
const REPLACEMENT = '\uFFFD';

function identityOf(email: string, groups: Groups, provider: Identity['provider']): Identity {
  return {
    ...NOTHING_STATED,
    source: 'headers',
    email,
    provider,
    groups: readGroups(groups.list, provider?.type).list,
    groupsIncomplete: groups.incomplete,
    groupsClaim: groups.list,
  };
}
