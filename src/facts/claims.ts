/** From the claims of a token, or of a payload that Envoy verified, to an identity. */
import type { Identity, IdentityGroup } from '../model/identity.ts';
import { normalEmail } from '../shared/email.ts';
import { isObject } from '../shared/object.ts';

/** Claims by name, as JSON had them. Only own members are ever read. */
export type Claims = Readonly<Record<string, unknown>>;

/** Where each part of an identity is found: one path or more each, of which the first that holds a value counts. A
 *  path is a claim's literal name (`https://example.com/groups`), else the way down, split at dots. */
export interface ClaimPaths {
  readonly subject: readonly string[];
  readonly email: readonly string[];
  readonly groups: readonly string[];
  readonly amr: readonly string[];
  readonly acr: readonly string[];
  readonly auth_time: readonly string[];
  readonly session: readonly string[];
  readonly country: readonly string[];
  readonly posture: readonly string[];
  readonly risk_score: readonly string[];
  readonly saml_attributes: readonly string[];
  readonly oidc_claims: readonly string[];
  readonly auth_contexts: readonly string[];
  readonly account: readonly string[];
  readonly user_exists: readonly string[];
}

/** Where the claims are where nobody says otherwise. */
export const DEFAULT_CLAIM_PATHS: ClaimPaths = Object.freeze({
  subject: ['sub'],
  email: ['email'],
  groups: ['groups'],
  amr: ['amr'],
  acr: ['acr'],
  auth_time: ['auth_time'],
  session: ['sid'],
  country: ['country'],
  posture: ['devicePosture'],
  risk_score: ['user_risk_score'],
  saml_attributes: ['saml_attributes'],
  oidc_claims: ['oidc_fields'],
  auth_contexts: ['acrs'],
  account: ['account_id'],
  user_exists: ['user_exists'],
});

/** The login's provider: one for all, or the paths of the claim that names it; undefined: not stated. */
export type ProviderSource = string | { readonly claim: readonly string[] } | undefined;

/** A configured provider's id, lower case, and its type (`okta`, `github` …). */
export interface Provider {
  readonly id: string;
  readonly type: string;
}

export interface ClaimMapping {
  readonly paths: ClaimPaths;
  readonly provider: ProviderSource;
  /** The configured providers, for their types. */
  readonly providers: readonly Provider[];
  readonly source: Identity['source'];
  /** Seconds. */
  readonly clockSkewSeconds: number;
}

/** Makes an identity of verified claims. What a claim does not say, or says in a type that the field cannot have,
 *  is absent. */
export type MapClaims = (claims: Claims) => Identity;

/** Prepares a mapping, once, at load. */
export function compileClaims(mapping: ClaimMapping): MapClaims {
  const { source, clockSkewSeconds } = mapping;
  const find = compilePaths(mapping.paths);
  const providerOf = compileProvider(mapping.provider, mapping.providers);
  const readName = compilePath(['name']);
  const groupsPaths = mapping.paths.groups;
  return (claims) => {
    const provider = providerOf(claims);
    const groupsClaim = find.groups(claims);
    const groups = readGroups(groupsClaim, provider?.type);
    const oidcFields = find.oidc_claims(claims);
    const hasOidcFields = isObject(oidcFields);
    return Object.freeze({
      source,
      issuer: textOf(own(claims, 'iss')),
      audiences: audiencesOf(claims) ?? [],
      subject: textOf(find.subject(claims)),
      email: emailOf(find.email(claims), claims),
      name: textOf(readName(claims)),
      provider,
      groups: groups.list,
      groupsIncomplete: groups.inexact || areGroupsElsewhere(claims, groupsPaths, groupsClaim, provider?.type),
      groupsClaim,
      amr: readAmr(find.amr(claims)),
      acr: textOf(find.acr(claims)),
      authTime: secondsOf(find.auth_time(claims)),
      issuedAt: secondsOf(own(claims, 'iat')),
      expiresAt: secondsOf(own(claims, 'exp')),
      session: textOf(find.session(claims)),
      tokenId: textOf(own(claims, 'jti')),
      country: textOf(find.country(claims)),
      posture: mapOf(find.posture(claims)),
      riskScore: find.risk_score(claims),
      samlAttributes: mapOf(find.saml_attributes(claims)) ?? NO_ENTRIES,
      oidcClaims: mapOf(hasOidcFields ? oidcFields : claims) ?? NO_ENTRIES,
      hasOidcFields,
      authContexts: textsOf(find.auth_contexts(claims)),
      accounts: textsOf(find.account(claims)),
      userExists: find.user_exists(claims) !== false,
      clockSkewSeconds,
    });
  };
}

/** The `aud` of a token: text or a list of texts; undefined: none, or of another type. RFC 7519 section 4.1.3. */
export function audiencesOf(claims: Claims): readonly string[] | undefined {
  const audience = own(claims, 'aud');
  if (typeof audience === 'string') return [audience];
  return Array.isArray(audience) && audience.every((one) => typeof one === 'string') ? audience : undefined;
}

/** A claim of that literal name; undefined: none. */
export function own(claims: Claims, name: string): unknown {
  return Object.hasOwn(claims, name) ? claims[name] : undefined;
}

/** Groups in all the forms that providers send. `providerType` undefined: not known. `inexact`: one could not be
 *  read without loss, so that the list is not all there is. */
export function readGroups(
  claim: unknown,
  providerType: string | undefined,
): { readonly list: readonly IdentityGroup[]; readonly inexact: boolean } {
  if (claim === undefined) return NO_GROUPS;
  const found = new Map<string, IdentityGroup>();
  const add = (id: string | undefined, name: string | undefined, email: string | undefined): void => {
    if (id === undefined && name === undefined && email === undefined) return;
    found.set(JSON.stringify([id, name, email]), Object.freeze({ id, name, email }));
  };
  let inexact = false;
  for (const item of Array.isArray(claim) ? (claim as readonly unknown[]) : [claim]) {
    if (typeof item === 'number' && decimal(item) === undefined) inexact = true;
    const text = groupText(item);
    if (text !== undefined) {
      add(text, text, normalEmail(text));
    } else if (isObject(item)) {
      const email = textOf(own(item, 'email'));
      const name = groupText(own(item, 'name'));
      const id = groupText(own(item, 'id'));
      if (typeof own(item, 'id') === 'number' && id === undefined) inexact = true;
      const organization = sendsOrganizations(providerType) ? organizationOf(item) : undefined;
      add(id, organization ?? name, email === undefined ? undefined : normalEmail(email));
      if (organization !== undefined) {
        for (const team of teamsOf(item)) add(undefined, `${organization}/${team}`, undefined);
      }
    }
  }
  return { list: [...found.values()], inexact };
}

type PathReader = (claims: Claims) => unknown;

function compilePaths(paths: ClaimPaths): { readonly [claim in keyof ClaimPaths]: PathReader } {
  return {
    subject: compilePath(paths.subject),
    email: compilePath(paths.email),
    groups: compilePath(paths.groups),
    amr: compilePath(paths.amr),
    acr: compilePath(paths.acr),
    auth_time: compilePath(paths.auth_time),
    session: compilePath(paths.session),
    country: compilePath(paths.country),
    posture: compilePath(paths.posture),
    risk_score: compilePath(paths.risk_score),
    saml_attributes: compilePath(paths.saml_attributes),
    oidc_claims: compilePath(paths.oidc_claims),
    auth_contexts: compilePath(paths.auth_contexts),
    account: compilePath(paths.account),
    user_exists: compilePath(paths.user_exists),
  };
}

/** undefined: no path holds a value; null is none. */
function compilePath(paths: readonly string[]): PathReader {
  const split = paths.map((path) => ({ path, steps: path.split('.') }));
  return (claims) => {
    for (const { path, steps } of split) {
      const value = own(claims, path) ?? (steps.length > 1 ? walked(claims, steps) : undefined);
      if (value !== undefined && value !== null) return value;
    }
    return undefined;
  };
}

function walked(claims: Claims, steps: readonly string[]): unknown {
  let value: unknown = claims;
  for (const step of steps) {
    if (!isObject(value)) return undefined;
    value = own(value, step);
  }
  return value;
}

function compileProvider(
  source: ProviderSource,
  providers: readonly Provider[],
): (claims: Claims) => Identity['provider'] {
  const byId = new Map(
    providers.map(({ id, type }) => [id.toLowerCase(), Object.freeze({ id: id.toLowerCase(), type })]),
  );
  const named = (id: string): Identity['provider'] =>
    byId.get(id.toLowerCase()) ?? { id: id.toLowerCase(), type: undefined };
  if (source === undefined) return () => undefined;
  if (typeof source === 'string') {
    const fixed = named(source);
    return () => fixed;
  }
  const find = compilePath(source.claim);
  return (claims) => {
    const id = textOf(find(claims));
    return id === undefined ? undefined : named(id);
  };
}

/** An address that the issuer says is not verified is as good as none. OpenID Connect Core 5.1; some issuers write
 *  the boolean as text or as a number, and whatever does not say "verified" says the contrary. */
function emailOf(value: unknown, claims: Claims): string | undefined {
  if (typeof value !== 'string') return undefined;
  const verified = own(claims, 'email_verified');
  const isVerified =
    verified === undefined ||
    verified === null ||
    verified === true ||
    verified === 1 ||
    (typeof verified === 'string' && /^(?:true|1)$/i.test(verified));
  return isVerified ? normalEmail(value) : undefined;
}

/** Okta sends 100 groups at most, and says nothing where there are more. */
const OKTA_GROUPS_MAX = 100;

/** Whether the token sends the reader elsewhere for groups: distributed claims (OpenID Connect Core 5.6.2), as
 *  Microsoft Entra has them for users in many groups, or its `hasgroups`. */
function areGroupsElsewhere(
  claims: Claims,
  paths: readonly string[],
  groups: unknown,
  providerType: string | undefined,
): boolean {
  const elsewhere = own(claims, '_claim_names');
  if (isObject(elsewhere) && paths.some((path) => Object.hasOwn(elsewhere, path))) return true;
  const has = own(claims, 'hasgroups');
  if (has === true || has === 'true') return true;
  return providerType === 'okta' && Array.isArray(groups) && groups.length >= OKTA_GROUPS_MAX;
}

/** Text, or a number as decimal text; undefined: neither. */
function groupText(value: unknown): string | undefined {
  return typeof value === 'number' ? decimal(value) : textOf(value);
}

/** undefined where the number may not be the one that was written. */
function decimal(value: number): string | undefined {
  const text = String(value);
  return (Number.isInteger(value) ? Number.isSafeInteger(value) : /^-?\d+\.\d+$/.test(text)) ? text : undefined;
}

/** Groups of other providers may have a `team` of their own meaning. */
function sendsOrganizations(providerType: string | undefined): boolean {
  return providerType === undefined || providerType === 'github' || providerType === 'oidc';
}

/** GitHub: `{ name | login | organization, team?, teams? }`. undefined: a group of another form. */
function organizationOf(group: Claims): string | undefined {
  const name = textOf(own(group, 'name'));
  const organization = textOf(own(group, 'organization')) ?? textOf(own(group, 'login'));
  if (organization !== undefined) return organization;
  return Object.hasOwn(group, 'team') || Object.hasOwn(group, 'teams') ? name : undefined;
}

function teamsOf(group: Claims): string[] {
  const several = own(group, 'teams');
  return [own(group, 'team'), ...(Array.isArray(several) ? (several as readonly unknown[]) : [several])].flatMap(
    (team) => {
      const name = isObject(team) ? (textOf(own(team, 'slug')) ?? textOf(own(team, 'name'))) : textOf(team);
      return name === undefined ? [] : [name];
    },
  );
}

/** RFC 8176 has a list; some issuers send one text with spaces. undefined: nothing is said. */
function readAmr(value: unknown): readonly string[] | undefined {
  if (typeof value === 'string') {
    const values = value.split(' ').filter((one) => one !== '');
    return values.length > 0 ? values : undefined;
  }
  if (!Array.isArray(value)) return undefined;
  const values = textsOf(value);
  return values.length > 0 || value.length === 0 ? values : undefined;
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function textsOf(value: unknown): readonly string[] {
  const list: readonly unknown[] = Array.isArray(value) ? value : [value];
  return list.filter((one): one is string => typeof one === 'string' && one !== '');
}

function secondsOf(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined;
}

function mapOf(value: unknown): ReadonlyMap<string, unknown> | undefined {
  return isObject(value) ? new Map(Object.entries(value)) : undefined;
}

const NO_ENTRIES: ReadonlyMap<string, unknown> = new Map();
const NO_GROUPS = { list: Object.freeze([]), inexact: false } as const;
