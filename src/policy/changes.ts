/** What would have to be different for a request to be allowed. Every change that is told has been tried: the facts
 *  were changed and the request was decided again, by the same policies. */
import type { CompiledFlow } from '../flow/satisfaction.ts';
import { forIssuer } from '../flow/satisfaction.ts';
import { EvaluationContext } from '../model/context.ts';
import type { Location } from '../model/facts.ts';
import type { Identity } from '../model/identity.ts';
import type { RuleObject, ServiceTokenObject } from '../model/objects.ts';
import type { Verdict } from '../model/verdict.ts';
import type { Judge, RuleScope } from '../rules/rule.ts';
import { addressFromBytes, parseAddress } from '../shared/address.ts';
import { parseCidr } from '../shared/cidr.ts';
import type { Cidr } from '../shared/cidr.ts';
import { listed } from '../shared/shape.ts';
import type { CompiledApplication } from './compile.ts';
import type { AdaptiveResult } from './adaptive.ts';
import { decide } from './engine.ts';
import type { EngineDecision } from './engine.ts';
import type { GroupObject, PolicySet, ResourceRuleObject, RuleSetObject } from './objects.ts';
import { NOTHING_STATED } from '../model/identity.ts';

/** A change that would be allowed. */
export interface Change {
  /** After "would be allowed": `from CA or US`, `with amr containing otp, and from CA`. */
  readonly text: string;
  /** What it changes of the request, in the form of users' cases; any one is enough. */
  readonly anyOf: readonly StatedChange[];
}

/** Members of a case that replace those of the request. */
export interface StatedChange {
  readonly request?: Readonly<Record<string, unknown>>;
  readonly identity?: Readonly<Record<string, unknown>>;
  readonly history?: Readonly<Record<string, unknown>>;
  readonly machine?: Readonly<Record<string, unknown>>;
  readonly engines?: Readonly<Record<string, unknown>>;
  readonly evaluations?: Readonly<Record<string, unknown>>;
}

/** What a login that is only supposed has besides what rules ask of it. */
export type LoginDefaults = Partial<Pick<Identity, 'issuer' | 'provider' | 'audiences' | 'clockSkewSeconds'>>;

export interface ChangeParts {
  readonly scope: RuleScope;
  readonly group: (idOrName: string) => GroupObject | undefined;
  readonly resourceRule: (id: string) => ResourceRuleObject | undefined;
  /** The judge of one rule by itself, made once. */
  readonly judge: (rule: RuleObject) => Judge;
  readonly set: Pick<PolicySet, 'serviceTokens' | 'applications' | 'riskEngines'>;
  readonly login: LoginDefaults;
}

/** The fewest changes after which the request is allowed; changes that differ in one value are told together. Empty
 *  where none was found: not every fact can be supposed to be another. */
export function changesFor(
  application: CompiledApplication,
  context: EvaluationContext,
  parts: ChangeParts,
): readonly Change[] {
  const search: Search = { application, parts, triesLeft: TRIES_MAX };
  let states: readonly State[] = [{ context, edits: [], decision: decide(application, context) }];
  let found: readonly State[] = [];
  const known = new Set<string>();
  for (let depth = 1; depth <= DEPTH_MAX && states.length > 0; depth += 1) {
    const next: State[] = [];
    const allowed: State[] = [];
    for (const state of states) {
      for (const edit of editsFor(state, search)) {
        if (isRepeated(edit, state.edits)) continue;
        const edits = [...state.edits, edit];
        const signature = edits
          .map(({ key, value }) => `${key}=${value}`)
          .toSorted()
          .join('\n');
        if (known.has(signature)) continue;
        known.add(signature);
        if (search.triesLeft <= 0) break;
        search.triesLeft -= 1;
        const supposed = changedContext(state.context, edit);
        if (!isPossible(supposed, application)) continue;
        if (found.some((one) => isPartOf(one, edits))) continue;
        const changed: State = { context: supposed, edits, decision: decide(application, supposed) };
        if (changed.decision.outcome === 'allow') allowed.push(changed);
        else if (next.length < STATES_MAX) next.push(changed);
      }
    }
    found = [...found, ...allowed];
    // What a service would show helps no user: more changes may.
    if (allowed.some(({ edits }) => !edits.every(({ key }) => OF_SERVICES.has(key)))) break;
    states = next;
  }
  return told(found);
}

function isPartOf({ edits }: State, whole: readonly Edit[]): boolean {
  return edits.every((edit) => whole.some(({ key, value }) => key === edit.key && value === edit.value));
}

const OF_SERVICES: ReadonlySet<string> = new Set(['service_token', 'linked_token', 'certificate']);

const DEPTH_MAX = 4;
const STATES_MAX = 100;
/** A decision takes microseconds: all tries together a few milliseconds. */
const TRIES_MAX = 2_000;
/** Of one rule list or flow, how many values are tried. */
const VALUES_MAX = 12;
const CHANGES_MAX = 8;

/** One fact that is supposed to be another. */
interface Edit {
  /** What it changes; edits of one key are alternatives of each other. */
  readonly key: string;
  /** In the words of the change. */
  readonly value: string;
  readonly phrase: (values: readonly string[]) => string;
  readonly apply: (context: EvaluationContext) => void;
  readonly stated: StatedChange;
  /** May be made more than once, of different values. */
  readonly adds?: boolean;
}

interface State {
  readonly context: EvaluationContext;
  readonly edits: readonly Edit[];
  readonly decision: EngineDecision;
}

interface Search {
  readonly application: CompiledApplication;
  readonly parts: ChangeParts;
  triesLeft: number;
}

function isRepeated({ key, value, adds }: Edit, edits: readonly Edit[]): boolean {
  return edits.some((one) => one.key === key && (adds !== true || one.value === value));
}

/** A login that the application does not take is nobody's. */
function isPossible({ identity }: EvaluationContext, { allowedProviders }: CompiledApplication): boolean {
  if (identity.state !== 'known' || allowedProviders.length === 0) return true;
  const provider = identity.identity.provider?.id;
  return provider !== undefined && allowedProviders.includes(provider);
}

function changedContext(context: EvaluationContext, edit: Edit): EvaluationContext {
  const changed = Object.assign(new EvaluationContext(context.request, context.processNowMs), context, {
    groupVerdicts: undefined,
  });
  edit.apply(changed);
  return changed;
}

/** Changes that differ in the value of one key become one, with all its values. */
function told(allowed: readonly State[]): readonly Change[] {
  const changes: Change[] = [];
  const earliest = new Map(allowed.toReversed().map((state) => [signatureWithout(state, 'time'), state]));
  const distinct = allowed.filter((state) => earliest.get(signatureWithout(state, 'time')) === state);
  const left = new Set(distinct);
  for (const state of distinct) {
    if (!left.has(state)) continue;
    const alike = likeIn(state, [...left]);
    for (const one of alike.states) left.delete(one);
    changes.push({
      text: textOf(state, alike.key, alike.states),
      anyOf: alike.states.slice(0, VALUES_MAX).map(({ edits }) => statedTogether(edits)),
    });
    if (changes.length === CHANGES_MAX) break;
  }
  return changes;
}

/** The largest set of changes that are this one but for the value of one key. */
function likeIn(state: State, others: readonly State[]): { readonly key: string; readonly states: readonly State[] } {
  let best: { readonly key: string; readonly states: readonly State[] } = { key: '', states: [state] };
  for (const { key } of state.edits) {
    const rest = signatureWithout(state, key);
    const states = others.filter((one) => one === state || signatureWithout(one, key) === rest);
    if (states.length > best.states.length) best = { key, states };
  }
  return best;
}

function signatureWithout({ edits }: State, key: string): string {
  return edits
    .map((edit) => (edit.key === key ? key : `${edit.key}=${edit.value}`))
    .toSorted()
    .join('\n');
}

function textOf(state: State, varied: string, alike: readonly State[]): string {
  return state.edits
    .map((edit) => {
      if (edit.key !== varied) return edit.phrase([edit.value]);
      const values = alike.flatMap(({ edits }) => edits.filter(({ key }) => key === varied).map(({ value }) => value));
      return edit.phrase([...new Set(values)]);
    })
    .join(', and ');
}

function statedTogether(edits: readonly Edit[]): StatedChange {
  const whole: Record<string, Record<string, unknown>> = {};
  for (const { stated } of edits)
    for (const [section, members] of Object.entries(stated) as [string, Record<string, unknown>][])
      whole[section] = { ...whole[section], ...members };
  return whole;
}

/** What could be changed of a request that is not allowed as it is. */
function editsFor({ context, decision }: State, search: Search): readonly Edit[] {
  const { application, parts } = search;
  if (decision.reason === 'session_expired') return [login(context, application, parts, {}, 'a new login', 'fresh')];
  const { adaptive } = decision;
  if (adaptive) return adaptiveEdits(adaptive, context, search);
  const { serviceCredentials, identity } = context;
  const edits: Edit[] = [];
  if (serviceCredentials.state === 'malformed' || serviceCredentials.state === 'refused')
    edits.push(credentials(undefined, parts));
  for (const policy of application.policies) {
    if (policy.decision === 'deny') {
      if (application.access.second.length > 0) edits.push(...avoid(policy, context, search));
      continue;
    }
    edits.push(...meet(policy, context, search));
    if (policy.decision === 'allow' && identity.state !== 'known')
      edits.push(login(context, application, parts, {}, 'a login', 'login'));
  }
  return edits;
}

/** Edits each of which brings a rule set nearer to being met. */
function meet(set: RuleSetObject, context: EvaluationContext, search: Search): readonly Edit[] {
  const verdict = (rule: RuleObject): Verdict => search.parts.judge(rule)(context);
  const edits: Edit[] = [];
  if (!set.include.some((rule) => verdict(rule) === 'met'))
    for (const rule of sampled(set.include)) edits.push(...meetRule(rule, context, search));
  for (const rule of set.require) if (verdict(rule) !== 'met') edits.push(...meetRule(rule, context, search));
  for (const rule of set.exclude) if (verdict(rule) !== 'unmet') edits.push(...avoidRule(rule, context, search));
  return edits;
}

/** Edits each of which brings a rule set nearer to not being met. */
function avoid(set: RuleSetObject, context: EvaluationContext, search: Search): readonly Edit[] {
  const verdict = (rule: RuleObject): Verdict => search.parts.judge(rule)(context);
  const held = [...set.include, ...set.require].filter((rule) => verdict(rule) !== 'unmet');
  if (set.include.every((rule) => verdict(rule) === 'unmet')) return [];
  return held.flatMap((rule) => avoidRule(rule, context, search));
}

/** Lists of thousands are tried by a few of every type. */
function sampled(rules: readonly RuleObject[]): readonly RuleObject[] {
  const counts = new Map<string, number>();
  return rules.filter(({ word }) => {
    const count = (counts.get(word) ?? 0) + 1;
    counts.set(word, count);
    return count <= VALUES_MAX;
  });
}

type Value = Readonly<Record<string, unknown>>;

function text(value: Value, key: string): string {
  const found = value[key];
  return typeof found === 'string' ? found : '';
}

/** What would meet a rule. */
function meetRule(rule: RuleObject, context: EvaluationContext, search: Search): readonly Edit[] {
  const { parts, application } = search;
  const value = rule.value as Value;
  const as = (changes: Partial<Identity>, words: string, key: string, stated?: Value): Edit =>
    login(context, application, parts, changes, words, key, stated);
  const provider = text(value, 'identity_provider_id');
  switch (rule.word) {
    case 'everyone':
      return [];
    case 'group': {
      const group = parts.group(text(value, 'id'));
      return group ? meet(group, context, search) : [];
    }
    case 'email':
      return [as({ email: text(value, 'email') }, text(value, 'email'), 'email')];
    case 'email_domain': {
      const domain = text(value, 'domain');
      return [as({ email: `somebody@${domain}` }, `an e-mail address at ${domain}`, 'email_domain')];
    }
    case 'email_list':
      return itemsOf(value, parts).map((item) => as({ email: item.toLowerCase() }, item, 'email'));
    case 'geo':
      return [place(text(value, 'country_code'))];
    case 'ip':
      return [fromBlock(value['ip'] as Cidr)];
    case 'ip_list':
      return itemsOf(value, parts).flatMap((item) => {
        const block = parseCidr(item);
        return 'value' in block ? [fromBlock(block.value)] : [];
      });
    case 'auth_method':
      return [methods([text(value, 'auth_method')], context, search)];
    case 'certificate':
      return [certificate(undefined)];
    case 'common_name':
      return [certificate(text(value, 'common_name'))];
    case 'any_valid_service_token':
    case 'service_token': {
      const wanted = rule.word === 'service_token' ? text(value, 'token_id') : undefined;
      return parts.set.serviceTokens
        .filter((token) => (wanted ?? token.id) === token.id && isAccepted(token, context.processNowMs))
        .slice(0, VALUES_MAX)
        .map(({ id }) => credentials(id, parts));
    }
    case 'login_method':
      return [as(throughProvider(text(value, 'id'), parts), nameOf(text(value, 'id'), parts), 'provider')];
    case 'okta':
    case 'azureAD':
    case 'gsuite':
    case 'github-organization': {
      const name = groupName(rule.word, value);
      const groups = [{ id: name, name, email: rule.word === 'gsuite' ? name : undefined }];
      const member = `a member of ${name} at ${nameOf(provider, parts)}`;
      return [as({ ...throughProvider(provider, parts), groups }, member, 'member', { groups: [name] })];
    }
    case 'auth_context': {
      const authContexts = [text(value, 'ac_id')];
      const words = `the authentication context ${text(value, 'ac_id')} of ${nameOf(provider, parts)}`;
      return [
        as({ ...throughProvider(provider, parts), authContexts }, words, 'auth_context', {
          auth_contexts: authContexts,
        }),
      ];
    }
    case 'saml': {
      const [name, wanted] = [text(value, 'attribute_name'), text(value, 'attribute_value')];
      const changes = { ...throughProvider(provider, parts), samlAttributes: new Map([[name, wanted]]) };
      return [as(changes, `the attribute ${name} = ${wanted}`, 'saml', { saml_attributes: { [name]: wanted } })];
    }
    case 'oidc': {
      const [name, wanted] = [text(value, 'claim_name'), text(value, 'claim_value')];
      const changes = { ...throughProvider(provider, parts), oidcClaims: new Map([[name, wanted]]) };
      return [as(changes, `the claim ${name} = ${wanted}`, 'oidc', { oidc_claims: { [name]: wanted } })];
    }
    case 'device_posture':
      return parts.scope.postureFromIdentity ? [posture(text(value, 'integration_uid'), context, search)] : [];
    case 'user_risk_score':
      return parts.scope.riskScoreFromIdentity
        ? (value['user_risk_score'] as readonly string[]).map((level) => riskScore(level, context, search))
        : [];
    case 'cloudflare_account_member': {
      const account = text(value, 'account_id') || parts.scope.accounts[0];
      return account === undefined
        ? []
        : [as({ accounts: [account] }, `a member of the account ${account}`, 'account', { accounts: [account] })];
    }
    case 'linked_app_token':
      return [linkedToken(text(value, 'app_uid'), parts)];
    case 'external_evaluation':
      return [evaluation(value, true)];
    default:
      return [];
  }
}

/** What would leave a rule unmet, for those facts that can be supposed to be others. */
function avoidRule(rule: RuleObject, context: EvaluationContext, search: Search): readonly Edit[] {
  const { parts, application } = search;
  const value = rule.value as Value;
  switch (rule.word) {
    case 'group': {
      const group = parts.group(text(value, 'id'));
      return group ? avoid(group, context, search) : [];
    }
    case 'geo':
      return OTHER_COUNTRIES.filter((country) => country !== value['country_code']).map((country) =>
        place(country, `a country other than ${text(value, 'country_code')}`),
      );
    case 'ip':
      return fromElsewhere((value['ip'] as Cidr).text);
    case 'ip_list':
      return fromElsewhere('those addresses');
    case 'email':
    case 'email_list':
    case 'email_domain': {
      const { identity } = context;
      const now = identity.state === 'known' ? identity.identity.email : undefined;
      const domain =
        rule.word !== 'email_domain' && now !== undefined ? now.slice(now.lastIndexOf('@') + 1) : 'elsewhere.example';
      return [login(context, application, parts, { email: `somebody-else@${domain}` }, 'somebody else', 'email')];
    }
    case 'certificate':
    case 'common_name':
      return [noCertificate()];
    case 'any_valid_service_token':
    case 'service_token':
      return [credentials(undefined, parts)];
    case 'user_risk_score':
      return parts.scope.riskScoreFromIdentity
        ? ['low', 'medium', 'high']
            .filter((level) => !(value['user_risk_score'] as readonly string[]).includes(level))
            .map((level) => riskScore(level, context, search))
        : [];
    case 'external_evaluation':
      return [evaluation(value, false)];
    default:
      return [];
  }
}

const OTHER_COUNTRIES = ['CA', 'US', 'GB', 'DE', 'FR', 'JP'];
/** Of the blocks that are kept for documentation (RFC 5737, RFC 3849), and others, so that one is outside. */
const OTHER_ADDRESSES = ['192.0.2.1', '198.51.100.1', '203.0.113.1', '8.8.8.8', '2001:db8::1'];

function adaptiveEdits(adaptive: AdaptiveResult, context: EvaluationContext, search: Search): readonly Edit[] {
  const { application, parts } = search;
  const compiled = application.adaptive;
  if (!compiled) return [];
  const edits: Edit[] = [];
  for (const trace of adaptive.trace.rules) {
    const rule = compiled.rules.find(({ named }) => named.id === trace.rule.id);
    const source = parts.resourceRule(trace.rule.id);
    if (!rule || !source) continue;
    if (trace.whyNot === 'groups' || trace.whyNot === 'groups_unknown') {
      for (const mention of source.groups) {
        const group = parts.group(mention.id ?? mention.name ?? '');
        if (group) edits.push(...meet(group, context, search));
      }
    }
    if (trace.applies === 'no') continue;
    const flow = trace.level && rule.flows[trace.level];
    if (flow) edits.push(...flowEdits(flow, context, search));
    trace.factors.forEach((factor, index) => {
      if (factor.verdict !== 'NO_RISK' || factor.unknown) edits.push(...factorEdits(source, index, context, search));
    });
  }
  return edits;
}

/** What would prove a flow. */
function flowEdits(flow: CompiledFlow, context: EvaluationContext, search: Search): readonly Edit[] {
  const { identity } = context;
  if (identity.state !== 'known' || flow.denies) return [];
  const user = identity.identity;
  const edits: Edit[] = [recent(context, search)];
  const own = forIssuer(flow, user.issuer);
  for (const acr of flow.flow.acrValues)
    edits.push(login(context, search.application, search.parts, { acr }, `acr ${acr}`, 'acr'));
  const held = new Set(user.amr);
  const missing = new Map<string, readonly string[]>();
  for (const { firstProofs, secondProofs, hasSecond, source, providers } of own.alternatives) {
    if (source.first === 'IDP') {
      const ids = providers ? [...providers] : user.provider ? [user.provider.id] : [];
      for (const id of ids)
        edits.push(
          login(
            context,
            search.application,
            search.parts,
            throughProvider(id, search.parts),
            nameOf(id, search.parts),
            'provider',
          ),
        );
    }
    const firsts =
      source.first === 'NONE' || source.first === 'IDP' || firstProofs.length === 0
        ? [{ needs: [], uses: [] }]
        : firstProofs;
    const seconds = hasSecond ? secondProofs : [{ needs: [], uses: [] }];
    for (const first of firsts) {
      for (const second of seconds) {
        if (second.uses.some((value) => first.uses.includes(value))) continue;
        const more = [...new Set([...first.needs, ...second.needs])].filter((value) => !held.has(value));
        if (more.length > 0) missing.set(more.toSorted().join(' '), more);
      }
    }
  }
  const fewest = [...missing.values()].toSorted((a, b) => a.length - b.length).slice(0, VALUES_MAX);
  return [...edits, ...fewest.map((values) => methods(values, context, search))];
}

/** What would leave a factor without risk. */
function factorEdits(
  { factors }: ResourceRuleObject,
  index: number,
  context: EvaluationContext,
  { parts }: Search,
): readonly Edit[] {
  const factor = factors[index];
  if (!factor) return [];
  const fields = factor.context as unknown as Value;
  const listBlocks = (key: string): readonly Cidr[] =>
    typeof fields[key] === 'string'
      ? itemsOf({ id: fields[key] }, parts).flatMap((item) => {
          const block = parseCidr(item);
          return 'value' in block ? [block.value] : [];
        })
      : [];
  switch (factor.type) {
    case 'ip': {
      const allowed = [
        ...((fields['allowedIpRanges'] as readonly Cidr[] | undefined) ?? []),
        ...listBlocks('allowedIpList'),
      ];
      return allowed.length > 0 ? allowed.slice(0, VALUES_MAX).map(fromBlock) : fromElsewhere('the denied addresses');
    }
    case 'location': {
      const codes = (fields['countryCodes'] as readonly string[] | undefined) ?? [];
      return fields['allowed'] === true
        ? codes.slice(0, VALUES_MAX).map((code) => place(code))
        : OTHER_COUNTRIES.filter((code) => !codes.includes(code)).map((code) => place(code));
    }
    case 'dateTime':
      return atOtherTimes(context);
    case 'machine':
      return [knownMachine()];
    case 'deviceCertificate':
      return [certificate(undefined)];
    case 'riskEngine':
      return [calmEngines(parts)];
    case 'locationHistory':
      return [learnedPlace(context)];
    default:
      return [];
  }
}

function itemsOf(value: Value, { scope }: ChangeParts): readonly string[] {
  return (scope.list(text(value, 'id'))?.items ?? []).slice(0, VALUES_MAX).map((item) => item.value);
}

function nameOf(providerId: string, { scope }: ChangeParts): string {
  return scope.provider(providerId)?.name ?? providerId;
}

function throughProvider(id: string, { scope }: ChangeParts): Pick<Identity, 'provider'> {
  return { provider: { id: id.toLowerCase(), type: scope.provider(id)?.type } };
}

function groupName(word: string, value: Value): string {
  if (word === 'azureAD') return text(value, 'id');
  if (word === 'gsuite') return text(value, 'email');
  const team = text(value, 'team');
  return word === 'github-organization' && team !== '' ? `${text(value, 'name')}/${team}` : text(value, 'name');
}

/** Identity members under the names that cases give them. */
const STATED_NAMES: Readonly<Partial<Record<keyof Identity, string>>> = {
  email: 'email',
  acr: 'acr',
  accounts: 'accounts',
};

/** A login with these changes: of the user who is logged in, else of one of whom nothing else is known. */
function login(
  context: EvaluationContext,
  application: CompiledApplication,
  parts: ChangeParts,
  changes: Partial<Identity>,
  words: string,
  key: string,
  stated: Value = {},
): Edit {
  const { identity: fact, nowMs, processNowMs } = context;
  const isNew = fact.state !== 'known' || key === 'fresh';
  const identity: Record<string, unknown> = { ...stated };
  for (const [member, name] of Object.entries(STATED_NAMES))
    if (Object.hasOwn(changes, member)) identity[name] = changes[member as keyof Identity];
  if (changes.provider) identity['provider'] = changes.provider.id;
  if (isNew) {
    identity['auth_time'] = instant(nowMs);
    identity['issued_at'] = instant(processNowMs);
  }
  return {
    key,
    value: words,
    phrase: PHRASES[key] ?? ((values) => `with ${listed(values)}`),
    apply(changed) {
      const base = fact.state === 'known' ? fact.identity : strangerOf(application, parts);
      const times = isNew ? { authTime: Math.floor(nowMs / 1000), issuedAt: Math.floor(processNowMs / 1000) } : {};
      changed.identity = { state: 'known', identity: { ...base, ...times, ...changes } };
    },
    stated: { identity },
  };
}

const PHRASES: Readonly<Record<string, (values: readonly string[]) => string>> = {
  email: (values) => `as ${listed(values)}`,
  member: (values) => `as ${listed(values)}`,
  account: (values) => `as ${listed(values)}`,
  provider: (values) => `with a login through ${listed(values)}`,
};

/** Somebody who has just logged in, and of whom nothing else is known. */
function strangerOf(
  { audiences, allowedProviders }: CompiledApplication,
  { login: defaults, scope }: ChangeParts,
): Identity {
  const only =
    allowedProviders.length > 0 && !allowedProviders.includes(defaults.provider?.id ?? '')
      ? allowedProviders[0]
      : undefined;
  return {
    ...NOTHING_STATED,
    source: 'token',
    issuer: defaults.issuer,
    audiences: [...audiences, ...(defaults.audiences ?? [])],
    provider: only === undefined ? defaults.provider : { id: only, type: scope.provider(only)?.type },
    hasOidcFields: true,
    clockSkewSeconds: defaults.clockSkewSeconds ?? 30,
  };
}

/** More authentication methods, besides those there are. */
function methods(values: readonly string[], context: EvaluationContext, { application, parts }: Search): Edit {
  const { identity: fact } = context;
  const amr = [...new Set([...(fact.state === 'known' ? (fact.identity.amr ?? []) : []), ...values])];
  return {
    ...login(context, application, parts, { amr }, values.join(' and '), 'amr', { amr }),
    phrase: methodsPhrase,
    adds: true,
  };
}

/** What all ways have in common is said once: `with amr containing pwd and otp or hwk`. */
function methodsPhrase(ways: readonly string[]): string {
  const sets = ways.map((way) => way.split(' and '));
  const shared = (sets[0] ?? []).filter((value) => sets.every((set) => set.includes(value)));
  const rest = sets.map((set) => set.filter((value) => !shared.includes(value)).join(' and '));
  const isPlain = ways.length > 1 && shared.length > 0 && rest.every((own) => own !== '');
  return `with amr containing ${isPlain ? `${shared.join(' and ')} and ${listed(rest)}` : listed(ways)}`;
}

function recent(context: EvaluationContext, { application, parts }: Search): Edit {
  const seconds = Math.floor(context.nowMs / 1000);
  return {
    ...login(context, application, parts, { authTime: seconds }, 'an authentication just now', 'auth_time', {
      auth_time: instant(context.nowMs),
    }),
  };
}

function posture(uid: string, context: EvaluationContext, { application, parts }: Search): Edit {
  const { identity: fact } = context;
  const before = fact.state === 'known' ? fact.identity.posture : undefined;
  const entries = new Map<string, unknown>([...(before ?? []), [uid, { success: true }]]);
  return {
    ...login(context, application, parts, { posture: entries }, `the device check ${uid} passed`, 'posture', {
      posture: Object.fromEntries(entries),
    }),
    adds: true,
  };
}

function riskScore(level: string, context: EvaluationContext, { application, parts }: Search): Edit {
  return login(
    context,
    application,
    parts,
    { riskScore: level === 'unscored' ? undefined : level },
    `the user risk level ${level}`,
    'risk_score',
    {
      risk_score: level === 'unscored' ? 'unscored' : level,
    },
  );
}

function place(country: string, words = country): Edit {
  return {
    key: 'country',
    value: words,
    phrase: (values) => `from ${listed(values)}`,
    apply(changed) {
      const before: Location = changed.location ?? NOWHERE;
      changed.location = {
        ...before,
        country,
        exitCountry: undefined,
        anonymous: country === 'T1',
        source: 'database',
      };
    },
    stated: { request: { country } },
  };
}

const NOWHERE: Location = Object.freeze({
  country: undefined,
  city: undefined,
  isp: undefined,
  latitude: undefined,
  longitude: undefined,
  anonymous: false,
  source: 'none',
});

function fromBlock(block: Cidr): Edit {
  const address = addressFromBytes(block.bytes);
  return from(address?.text ?? '', block.text);
}

function fromElsewhere(than: string): readonly Edit[] {
  return OTHER_ADDRESSES.map((address) => from(address, `an address other than ${than}`));
}

function from(address: string, words: string): Edit {
  return {
    key: 'client_ip',
    value: words,
    phrase: (values) => `from ${listed(values)}`,
    apply(changed) {
      changed.address = parseAddress(address);
    },
    stated: { request: { client_ip: address } },
  };
}

function certificate(commonName: string | undefined): Edit {
  return {
    key: 'certificate',
    value:
      commonName === undefined ? 'a verified client certificate' : `a verified client certificate of ${commonName}`,
    phrase: (values) => `with ${listed(values)}`,
    apply(changed) {
      changed.certificate = {
        state: 'present',
        verified: 'yes',
        commonName: commonName === undefined ? { state: 'none' } : { state: 'one', value: commonName },
        uris: [],
        dnsNames: [],
        clientUsage: 'fits',
        why: '',
      };
    },
    stated: {
      request: { certificate: commonName === undefined ? 'verified' : { verified: true, common_name: commonName } },
    },
  };
}

function noCertificate(): Edit {
  return {
    key: 'certificate',
    value: 'no client certificate',
    phrase: (values) => `with ${listed(values)}`,
    apply(changed) {
      changed.certificate = { state: 'none' };
    },
    stated: { request: { certificate: 'none' } },
  };
}

/** Undefined: without any. */
function credentials(tokenId: string | undefined, { set }: ChangeParts): Edit {
  const token = set.serviceTokens.find(({ id }) => id === tokenId);
  return {
    key: 'service_token',
    value: token ? `the credentials of service token ${token.name}` : 'no service credentials',
    phrase: (values) => `with ${listed(values)}`,
    apply(changed) {
      changed.serviceCredentials = token
        ? { state: 'valid', tokenId: token.id, name: token.name, clientId: token.client_id }
        : { state: 'absent' };
    },
    stated: { request: { service_token: token?.id ?? 'none' } },
  };
}

/** Whoever shows one that is disabled or has ended is refused. */
function isAccepted({ enabled, expires_at: end }: ServiceTokenObject, nowMs: number): boolean {
  return enabled !== false && (end === undefined || nowMs < Date.parse(end));
}

function linkedToken(id: string, { set }: ChangeParts): Edit {
  const application = set.applications.find((one) => one.id === id.toLowerCase());
  return {
    key: 'linked_token',
    value: `a token of ${application?.name ?? id}`,
    phrase: (values) => `with ${listed(values)}`,
    apply(changed) {
      changed.linkedTokens = new Map([...changed.linkedTokens, [id.toLowerCase(), { verdict: 'met' }]]);
    },
    stated: { request: { linked_tokens: [id.toLowerCase()] } },
  };
}

function evaluation(value: Value, answer: boolean): Edit {
  const url = text(value, 'evaluate_url');
  return {
    key: 'evaluation',
    value: `${url} answering ${answer}`,
    phrase: (values) => `with ${listed(values)}`,
    apply(changed) {
      const key = `${url}\n${text(value, 'keys_url')}`;
      changed.evaluations = new Map([...changed.evaluations, [key, answer ? 'met' : 'unmet']]);
    },
    stated: { evaluations: { [url]: answer } },
    adds: true,
  };
}

/** The next hours of a week: the first that will do is told. */
function atOtherTimes({ nowMs }: EvaluationContext): readonly Edit[] {
  const hour = 3_600_000;
  const first = Math.ceil(nowMs / hour) * hour;
  const hours = [...Array(24).keys(), 48, 54, 60, 72, 78, 84, 96, 102, 108, 120, 126, 132, 144, 150, 156];
  return hours.map((after): Edit => {
    const timeMs = first + after * hour;
    return {
      key: 'time',
      value: instant(timeMs),
      phrase: (values) => `at ${values[0] ?? ''}`,
      apply(changed) {
        Object.assign(changed, { nowMs: timeMs });
      },
      stated: { request: { time: instant(timeMs) } },
    };
  });
}

function knownMachine(): Edit {
  return {
    key: 'machine',
    value: 'a known machine',
    phrase: (values) => `from ${listed(values)}`,
    apply(changed) {
      changed.machine = { state: 'present', risk: 0 };
    },
    stated: { machine: { present: true } },
  };
}

function calmEngines({ set }: ChangeParts): Edit {
  return {
    key: 'engines',
    value: 'no risk',
    phrase: () => 'with risk engines that answer a score of 0',
    apply(changed) {
      changed.engines = new Map(
        set.riskEngines.map(({ id, enabled }) => [
          id,
          enabled ? { state: 'answered', riskScore: 0, mismatch: false } : { state: 'disabled' },
        ]),
      );
    },
    stated: {
      engines: Object.fromEntries(set.riskEngines.map(({ name }) => [name, { riskScore: 0, mismatch: false }])),
    },
  };
}

function learnedPlace({ location, nowMs }: EvaluationContext): Edit {
  const { country, city, isp } = location ?? NOWHERE;
  return {
    key: 'history',
    value: 'a place that has been learned of the user',
    phrase: (values) => `from ${listed(values)}`,
    apply(changed) {
      const before = changed.history.state === 'known' ? changed.history.record : undefined;
      changed.history = {
        state: 'known',
        record: {
          last: before?.last,
          places: [
            {
              country,
              city,
              isp,
              addressHash: before?.addressHashes[0] ?? '',
              private: false,
              firstMs: nowMs,
              lastMs: nowMs,
              count: LEARNED_OFTEN,
            },
          ],
          admitted: before?.admitted ?? new Map(),
          event: before?.event,
          eventKnown: before?.eventKnown ?? false,
          addressHashes: before?.addressHashes ?? [],
        },
      };
    },
    stated: { history: { places: [{ country, city, isp, last: instant(nowMs), count: LEARNED_OFTEN }] } },
  };
}

/** The highest threshold that can be set. */
const LEARNED_OFTEN = 100;

function instant(ms: number): string {
  return new Date(ms).toISOString();
}
