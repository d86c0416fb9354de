/** Entrust's AuthenticationFlow: how it is written, what it comes to, and the flows that are always there. */
import { at, fault, warning } from '../model/fault.ts';
import type { Place, Report } from '../model/fault.ts';
import { nearest } from '../shared/nearest.ts';
import {
  checkedText,
  exactObject,
  flag,
  id,
  integer,
  listOf,
  MAX_NAME,
  quoted,
  text,
  word,
  z,
} from '../shared/shape.ts';
import type { Shape, ShapeOutput } from '../shared/shape.ts';
import { DENY_ALONE, FIRST_STEPS, SECOND_STEPS, stepAlone } from './steps.ts';
import type { AuthenticationFlow, FirstStep, Flow, FlowAlternative, ProviderMention, SecondStep } from './steps.ts';
import { SYSTEM_FLOWS, systemFlow } from './system-flows.ts';

/** Values of `loginFlowType`. */
export const LOGIN_FLOW_TYPES = [
  'USER_LOGIN',
  'SMART_LOGIN',
  'IDP_LOGIN',
  'PASSKEY_LOGIN',
  'USER_CERTIFICATE_LOGIN',
] as const;

/** A name that can stand in the `acr_values` of a challenge (RFC 9470, RFC 6749 `NQCHAR`); `acr_invalid`. */
export function acrText(): Shape<string> {
  return checkedText((written) =>
    /^[\u0021\u0023-\u005B\u005D-\u007E]+$/.test(written)
      ? undefined
      : {
          code: 'acr_invalid',
          text: `expected printable ASCII without spaces, " and \\, found ${quoted(written)}`,
          mend: 'write a name such as phr or urn:okta:loa:2fa:any',
        },
  );
}

/** A first step as written; anything else is `steps_invalid`. */
export function firstStepWord(): Shape<FirstStep> {
  return word(FIRST_STEPS, 'steps_invalid');
}

/** A second step as written; anything else is `steps_invalid`. */
export function secondStepWord(): Shape<SecondStep> {
  return word(SECOND_STEPS, 'steps_invalid');
}

/** An AuthenticationFlow as written. `readOnly` and `applications` have no effect; `maxAge` (seconds) and `acrValues`
 *  are Postern's own. Of a provider only `id` and `name` are read. */
export const flowShape = exactObject({
  id: id().optional(),
  name: text(MAX_NAME).optional(),
  readOnly: flag().optional(),
  loginFlows: listOf(exactObject({ loginFlowType: word(LOGIN_FLOW_TYPES), enabled: flag() })).optional(),
  userLoginFirstStep: firstStepWord().optional(),
  userLoginSecondStep: listOf(secondStepWord()).optional(),
  idpDomainBased: flag().optional(),
  idpLoginSecondStep: listOf(secondStepWord()).optional(),
  oidcIdentityProviders: listOf(z.looseObject({ id: text().optional(), name: text().optional() })).optional(),
  applications: z.unknown().optional(),
  maxAge: integer(0, Number.MAX_SAFE_INTEGER).optional(),
  acrValues: listOf(acrText()).optional(),
});

/** What `flowShape` gives, whole or in parts. */
export type WrittenFlow = Partial<ShapeOutput<typeof flowShape>>;

/** Whether the object says what is to be proven, and is not only a mention of a flow by id or name. */
export function hasFlowContent(written: WrittenFlow): boolean {
  return CONTENT.some((key) => written[key] !== undefined);
}

/** What a written flow comes to. Reports `flow_empty`, `steps_invalid`, `steps_ignored` (warning); after a fault the
 *  alternative is left out, and with no alternative left the flow is one that denies. */
export function readFlow(
  written: WrittenFlow,
  echoed: Readonly<Record<string, unknown>>,
  place: Place,
  report: Report,
): AuthenticationFlow {
  const alternatives = loginAlternatives(written, place, report);
  // An alternative that nobody can meet offers nothing beside others.
  const possible = alternatives.filter(({ first }) => first !== 'DENY');
  return {
    id: written.id ?? '',
    name: written.name ?? '',
    system: false,
    alternatives: possible.length > 0 ? possible : [DENY_ALONE],
    maxAge: written.maxAge,
    acrValues: written.acrValues ?? [],
    written: echoed,
    place,
  };
}

/** The version 1 fields of one level of a resource rule as a flow: `…FirstStep`, `…SecondStep` and
 *  `…EnableSmartLogin`. `keys` names them, for faults. Reports as `readFlow` does. */
export function flowOfSteps(
  steps: {
    readonly first: FirstStep;
    readonly second: readonly SecondStep[] | undefined;
    readonly smartLogin: boolean;
  },
  keys: { readonly first: string; readonly second: string; readonly smartLogin: string },
  place: Place,
  report: Report,
): AuthenticationFlow {
  const { first, second, smartLogin } = steps;
  if (first === 'DENY') {
    if (isGiven(second) || smartLogin) {
      report(
        warning(
          at(place, isGiven(second) ? keys.second : keys.smartLogin),
          'steps_ignored',
          `${keys.first} DENY stands alone, so that what is beside it has no effect`,
          `remove ${keys.second} and ${keys.smartLogin}`,
        ),
      );
    }
    return stepsFlow([DENY_ALONE], place);
  }
  const alternatives: FlowAlternative[] = [];
  const own = alternative(first, second, { first: at(place, keys.first), second: at(place, keys.second) }, report);
  if (own) alternatives.push(own);
  if (own && smartLogin) alternatives.push(stepAlone('SMART_LOGIN'));
  return stepsFlow(alternatives.length > 0 ? alternatives : [DENY_ALONE], place);
}

/** Finds flows as resource rules mention them. */
export interface FlowIndex {
  /** By id, else by name: a declared flow, or a system flow, whose names match in any letter case. */
  find(mention: {
    readonly id?: string | undefined;
    readonly name?: string | undefined;
  }): AuthenticationFlow | undefined;
  /** The nearest known name, for a mend. */
  nearest(name: string): string | undefined;
}

/** The index of the declared flows and the system flows. Reports nothing: where two have one id or name, the first
 *  counts. */
export function flowIndex<Declared extends AuthenticationFlow>(declared: readonly Declared[]): FlowIndex {
  const byId = new Map<string, AuthenticationFlow>();
  const byName = new Map<string, AuthenticationFlow>();
  for (const flow of declared) {
    if (flow.id !== '' && !byId.has(flow.id.toLowerCase())) byId.set(flow.id.toLowerCase(), flow);
    if (flow.name !== '' && !byName.has(flow.name)) byName.set(flow.name, flow);
  }
  return {
    find: (mention) =>
      (mention.id === undefined ? undefined : (byId.get(mention.id.toLowerCase()) ?? systemFlow(mention.id))) ??
      (mention.name === undefined ? undefined : (systemFlow(mention.name) ?? byName.get(mention.name))),
    nearest: (name) => nearest(name, [...byName.keys(), ...SYSTEM_FLOWS.map((flow) => flow.name)]),
  };
}

/** The flow that a level of a rule means: the declared or system flow of its id, else of its name, else the one
 *  written inline. Reports `flow_unknown`, and `name_differs` (warning) where the id names a flow of another name. */
export function resolveFlow<Inline extends AuthenticationFlow>(
  use: {
    readonly id: string | undefined;
    readonly name: string | undefined;
    readonly inline: Inline | undefined;
    readonly place: Place;
  },
  index: FlowIndex,
  report: Report,
): AuthenticationFlow | undefined {
  const found = index.find(use);
  if (!found) {
    if (use.inline) return use.inline;
    const wanted = use.name ?? use.id ?? '';
    const near = index.nearest(wanted);
    report(
      fault(
        use.place,
        'flow_unknown',
        `no authentication flow has the id or name ${quoted(wanted)}`,
        near === undefined ? 'declare it under authentication_flows:' : `did you mean ${quoted(near)}?`,
      ),
    );
    return undefined;
  }
  const byId = use.id !== undefined && found.id === use.id.toLowerCase();
  if (byId && use.name !== undefined && use.name.toLowerCase() !== found.name.toLowerCase()) {
    report(
      warning(
        use.place,
        'name_differs',
        `the flow of this id is named ${quoted(found.name)}, not ${quoted(use.name)}; the id decides`,
        `write ${quoted(found.name)}, or the id of the flow that is meant`,
      ),
    );
  }
  return found;
}

/** Whether two flows written in different places demand the same. */
export function isSameFlow(a: Flow, b: Flow): boolean {
  return JSON.stringify(demand(a)) === JSON.stringify(demand(b));
}

/** The flow in words, for log and explain: `PASSWORD, then TOKEN or OTP`. */
export function describeAlternatives(alternatives: readonly FlowAlternative[]): string {
  return alternatives.map(describeAlternative).join('; or ');
}

export function describeAlternative({ first, second }: FlowAlternative): string {
  const later = second.filter((step) => step !== 'NONE').join(' or ');
  if (later === '') return first;
  return first === 'NONE' ? later : `${first}, then ${later}`;
}

const CONTENT = [
  'loginFlows',
  'userLoginFirstStep',
  'userLoginSecondStep',
  'idpDomainBased',
  'idpLoginSecondStep',
  'oidcIdentityProviders',
] as const satisfies readonly (keyof WrittenFlow)[];

function loginAlternatives(written: WrittenFlow, place: Place, report: Report): readonly FlowAlternative[] {
  const enabled = enabledLoginFlows(written);
  if (enabled.size === 0) {
    report(
      fault(
        place,
        'flow_empty',
        'expected at least one way to log in, found none enabled',
        'enable one of loginFlows, or give userLoginFirstStep',
      ),
    );
    return [];
  }
  const alternatives: (FlowAlternative | undefined)[] = [];
  if (enabled.has('USER_LOGIN')) alternatives.push(userLogin(written, place, report));
  if (enabled.has('IDP_LOGIN')) alternatives.push(idpLogin(written, 'idpLoginSecondStep', place, report));
  if (enabled.has('PASSKEY_LOGIN')) alternatives.push(stepAlone('PASSKEY'));
  if (enabled.has('SMART_LOGIN')) alternatives.push(stepAlone('SMART_LOGIN'));
  if (enabled.has('USER_CERTIFICATE_LOGIN')) alternatives.push(stepAlone('USER_CERTIFICATE'));
  return alternatives.filter((one) => one !== undefined);
}

type LoginFlowType = (typeof LOGIN_FLOW_TYPES)[number];

function enabledLoginFlows(written: WrittenFlow): ReadonlySet<LoginFlowType> {
  if (written.loginFlows)
    return new Set(written.loginFlows.filter((one) => one.enabled).map((one) => one.loginFlowType));
  const enabled = new Set<LoginFlowType>();
  if (written.userLoginFirstStep === undefined) {
    if (
      written.idpDomainBased !== undefined ||
      written.idpLoginSecondStep !== undefined ||
      written.oidcIdentityProviders !== undefined
    )
      enabled.add('IDP_LOGIN');
    return enabled;
  }
  enabled.add('USER_LOGIN');
  // Beside another first step, `idpDomainBased: false` or an empty list asks for no login at a provider, which would
  // be a second way in. With IDP first, the keys say which provider is meant.
  const qualifies = written.idpDomainBased === true || isGiven(written.oidcIdentityProviders);
  if (isGiven(written.idpLoginSecondStep) || (qualifies && written.userLoginFirstStep !== 'IDP'))
    enabled.add('IDP_LOGIN');
  return enabled;
}

function userLogin(written: WrittenFlow, place: Place, report: Report): FlowAlternative | undefined {
  const first = written.userLoginFirstStep;
  if (first === undefined) {
    report(
      fault(
        place,
        'steps_invalid',
        'expected a first step for USER_LOGIN, found none',
        'give userLoginFirstStep, or disable USER_LOGIN',
      ),
    );
    return undefined;
  }
  if (first === 'IDP') return idpLogin(written, 'userLoginSecondStep', place, report);
  if (first === 'DENY') {
    if (isGiven(written.userLoginSecondStep)) {
      report(
        warning(
          at(place, 'userLoginSecondStep'),
          'steps_ignored',
          'the first step DENY stands alone, so that the second steps have no effect',
          'remove userLoginSecondStep',
        ),
      );
    }
    return DENY_ALONE;
  }
  return alternative(
    first,
    written.userLoginSecondStep,
    { first: at(place, 'userLoginFirstStep'), second: at(place, 'userLoginSecondStep') },
    report,
  );
}

function idpLogin(
  written: WrittenFlow,
  secondKey: 'idpLoginSecondStep' | 'userLoginSecondStep',
  place: Place,
  report: Report,
): FlowAlternative | undefined {
  const found = alternative('IDP', written[secondKey], { first: place, second: at(place, secondKey) }, report);
  return (
    found && {
      ...found,
      idpDomainBased: written.idpDomainBased === true,
      oidcIdentityProviders: (written.oidcIdentityProviders ?? []).map((provider, index): ProviderMention => ({
        id: provider.id?.toLowerCase(),
        name: provider.name,
        place: at(place, 'oidcIdentityProviders', index),
      })),
    }
  );
}

function alternative(
  first: FirstStep,
  written: readonly SecondStep[] | undefined,
  places: { readonly first: Place; readonly second: Place },
  report: Report,
): FlowAlternative | undefined {
  const second = written && written.length > 0 ? [...new Set(written)] : (['NONE'] as const);
  const hasSecond = second[0] !== 'NONE' || second.length > 1;
  if (hasSecond && second.includes('NONE')) {
    report(
      fault(
        places.second,
        'steps_invalid',
        'expected NONE or other steps, found NONE together with others: every second step could be left out',
        'remove NONE, or everything but NONE',
      ),
    );
    return undefined;
  }
  if (first === 'NONE' && !hasSecond) {
    report(
      fault(
        places.first,
        'steps_invalid',
        'expected something to prove, found NONE first and NONE second',
        'name a first or a second step',
      ),
    );
    return undefined;
  }
  if (first === 'KBA' && hasSecond) {
    report(
      fault(
        places.second,
        'steps_invalid',
        `expected no second step after KBA, found ${second.join(', ')}`,
        'remove the second steps, or take another first step',
      ),
    );
    return undefined;
  }
  return { first, second, idpDomainBased: false, oidcIdentityProviders: [] };
}

function isGiven(list: readonly unknown[] | undefined): boolean {
  return list !== undefined && list.length > 0 && !(list.length === 1 && list[0] === 'NONE');
}

function stepsFlow(alternatives: readonly FlowAlternative[], place: Place): AuthenticationFlow {
  return {
    id: '',
    name: describeAlternatives(alternatives),
    system: false,
    alternatives,
    maxAge: undefined,
    acrValues: [],
    written: {},
    place,
  };
}

/** What a flow demands, without where it was written. */
function demand(flow: Flow): unknown {
  return [
    flow.maxAge ?? null,
    flow.acrValues,
    flow.alternatives.map((one) => [
      one.first,
      one.second,
      one.idpDomainBased,
      one.oidcIdentityProviders.map((provider) => provider.id ?? provider.name ?? ''),
    ]),
  ];
}
