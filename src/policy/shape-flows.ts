/** Authentication flows, authenticators and acrs: Entrust's objects that say what a token must prove, and how it
 *  does. */
import { FIRST_STEPS, SECOND_STEPS } from '../flow/steps.ts';
import type { FirstStep, FlowAlternative, ProvableStep, SecondStep } from '../flow/steps.ts';
import { at, fault, warning } from '../model/fault.ts';
import type { Place, Report } from '../model/fault.ts';
import { MAX_NAME, exactObject, flag, id, isId, listOf, listed, shaped, text, word, z } from '../shared/shape.ts';
import type { AcrObject, AuthenticatorObject, FlowObject, FlowUse, Mention } from './objects.ts';
import { acrText, asData, ignored, missingKey, shapedParts, wholeFrom } from './shape-parts.ts';
import type { Data } from './shape-parts.ts';
import { isObject } from '../shared/object.ts';

const LOGIN_FLOWS = ['USER_LOGIN', 'SMART_LOGIN', 'IDP_LOGIN', 'PASSKEY_LOGIN', 'USER_CERTIFICATE_LOGIN'] as const;

/** `{ id, name }` as Entrust's objects mention another; further members of an export are not read. */
export const mentionShape = z.looseObject({
  id: id().describe('Decides where it is given.').optional(),
  name: text(MAX_NAME).describe('Used where there is no id.').optional(),
});

/** Source: Entrust's AuthenticationFlow; `maxAge` and `acrValues` are Postern's. */
export const flowShape = exactObject({
  id: id().describe('UUID of the flow.'),
  name: text(MAX_NAME).describe('Unique name of the flow.'),
  description: z.string().describe('For people.').optional(),
  readOnly: ignored(),
  loginFlows: listOf(
    z.looseObject({
      loginFlowType: word(LOGIN_FLOWS).describe('The way to log in.'),
      enabled: flag().optional().describe('Default true.'),
    }),
  )
    .describe('The ways to log in; those enabled are alternatives.')
    .optional(),
  userLoginFirstStep: word(FIRST_STEPS, 'steps_invalid').describe('What USER_LOGIN asks for first.').optional(),
  userLoginSecondStep: listOf(word(SECOND_STEPS, 'steps_invalid'))
    .describe('What it asks for then, any one; absent: nothing.')
    .optional(),
  idpDomainBased: flag().describe("IDP_LOGIN: only the provider of the user's e-mail domain.").optional(),
  idpLoginSecondStep: listOf(word(SECOND_STEPS, 'steps_invalid'))
    .describe('What IDP_LOGIN asks for then, any one; absent: nothing.')
    .optional(),
  oidcIdentityProviders: listOf(mentionShape).describe('IDP_LOGIN: the providers that count; empty: all.').optional(),
  applications: ignored(),
  maxAge: wholeFrom(0).describe('Greatest age of the authentication, seconds.').optional(),
  acrValues: listOf(acrText())
    .describe('Advertised when the flow is not satisfied; a token with one of them proves the flow.')
    .optional(),
});

/** Source: Entrust's Acr. */
export const acrShape = exactObject({
  id: id().describe('UUID of the acr.'),
  name: text(MAX_NAME).describe('The acr value; letter case counts.'),
  description: z.string().describe('For people.').optional(),
});

const PROVABLE = [...new Set([...FIRST_STEPS, ...SECOND_STEPS])].filter(
  (step): step is ProvableStep => step !== 'NONE' && step !== 'DENY' && step !== 'IDP',
) as [ProvableStep, ...ProvableStep[]];

const stepsShape = z.union([word(PROVABLE), listOf(word(PROVABLE))]);

/** How the tokens of one issuer prove steps. Postern's own. */
export const authenticatorShape = exactObject({
  issuer: text().describe('The claim iss, exactly.'),
  acr: z.record(z.string(), stepsShape).describe('acr → the steps that a token with it proves.').optional(),
  amr: z
    .record(z.string(), stepsShape)
    .describe('amr value → what it means for this issuer, instead of the default; [] means nothing.')
    .optional(),
  trust_bare_mfa: flag().describe('amr mfa proves a password and a second factor. Default false.').optional(),
});

/** A declared flow. */
export function shapeFlow(raw: unknown, place: Place, report: Report): FlowObject | undefined {
  const data = asData(raw, place, report);
  return data && readFlow(data, place, report, true);
}

/** The flow of a level of a resource rule: a mention, with or without the flow itself. */
export function readFlowUse(raw: unknown, place: Place, report: Report): FlowUse | undefined {
  const data = asData(raw, place, report);
  if (!data) return undefined;
  if (!Object.hasOwn(data, 'id') && !Object.hasOwn(data, 'name')) {
    report(fault(place, 'key_missing', 'missing key "name"', 'add the name or id of an authentication flow'));
  }
  const isMention = Object.keys(data).every((key) => key === 'id' || key === 'name' || key === 'readOnly');
  if (isMention) {
    const mention = readMention(data, place, report);
    return mention && { ...mention, inline: undefined };
  }
  const inline = readFlow(data, place, report, false);
  return {
    id: typeof data['id'] === 'string' && isId(data['id']) ? data['id'].toLowerCase() : undefined,
    name: typeof data['name'] === 'string' ? data['name'] : undefined,
    inline,
    place,
  };
}

/** Reads `[{ id, name }]`. */
export function readMentions(raw: unknown, place: Place, report: Report): readonly Mention[] {
  if (!Array.isArray(raw)) return [];
  return raw.flatMap((item, index) => {
    const here = at(place, index);
    const data = asData(item, here, report);
    if (!data) return [];
    if (!Object.hasOwn(data, 'id') && !Object.hasOwn(data, 'name')) {
      report(fault(here, 'key_missing', 'missing key "id"', 'add an id or a name'));
      return [];
    }
    const mention = readMention(data, here, report);
    return mention ? [mention] : [];
  });
}

export function shapeAcr(raw: unknown, place: Place, report: Report): AcrObject | undefined {
  const data = asData(raw, place, report);
  if (!data) return undefined;
  const parts = shapedParts(acrShape, data, place, report);
  return { id: parts.id ?? '', name: parts.name ?? '', place };
}

export function shapeAuthenticator(raw: unknown, place: Place, report: Report): AuthenticatorObject | undefined {
  const data = asData(raw, place, report);
  if (!data) return undefined;
  const parts = shapedParts(authenticatorShape, data, place, report);
  for (const name of isObject(data['acr']) ? Object.keys(data['acr']) : []) {
    shaped(ACR, name, { file: place.file, path: [...place.path, 'acr', name], atKey: true }, report);
  }
  return {
    issuer: parts.issuer ?? '',
    acr: readMeanings(parts.acr),
    amr: readMeanings(parts.amr),
    trustBareMfa: parts.trust_bare_mfa ?? false,
    place,
  };
}

/** Reads what version 1 of a resource rule says of one level as alternatives of a flow. `f`: first step, `s`: second
 *  steps, `b`: Smart Login too. Undefined where the steps are wrong. */
export function versionOneAlternatives(
  steps: { readonly first: FirstStep; readonly second: readonly SecondStep[] | undefined; readonly smart: boolean },
  places: { readonly first: Place; readonly second: Place },
  report: Report,
): readonly FlowAlternative[] | undefined {
  const { first, second, smart } = steps;
  if (first === 'DENY') {
    if (smart || (second !== undefined && !isNone(second))) report(stepsIgnored(places.second));
    return [alternative('DENY', NO_SECOND)];
  }
  const read = readSteps(first, second, places, report);
  if (!read) return undefined;
  return smart ? [read, alternative('SMART_LOGIN', NO_SECOND)] : [read];
}

/** What a flow asks for, in words: "PASSWORD, then TOKEN or OTP". */
export function flowWords(alternatives: readonly FlowAlternative[]): string {
  return alternatives
    .map(({ first, second }) => {
      if (isNone(second)) return first;
      return first === 'NONE' ? listed(second) : `${first}, then ${listed(second)}`;
    })
    .join(', or ');
}

/** A first step with a choice of second ones. */
export function alternative(first: FirstStep, second: readonly SecondStep[]): FlowAlternative {
  return { first, second, idpDomainBased: false, oidcIdentityProviders: [] };
}

export const NO_SECOND: readonly SecondStep[] = Object.freeze(['NONE']);

const ACR = acrText();

const inlineFlowShape = flowShape.extend({ id: id().optional() });

function readMention(data: Data, place: Place, report: Report): Mention | undefined {
  const mention = shaped(mentionShape, data, place, report);
  return mention && { id: mention.id, name: mention.name, place };
}

function readMeanings(
  meanings: Readonly<Record<string, ProvableStep | readonly ProvableStep[]>> | undefined,
): readonly { readonly value: string; readonly steps: readonly ProvableStep[] }[] {
  return Object.entries(meanings ?? {}).map(([value, steps]) => ({
    value,
    steps: typeof steps === 'string' ? [steps] : steps,
  }));
}

function readFlow(data: Data, place: Place, report: Report, declared: boolean): FlowObject {
  const parts = shapedParts(declared ? flowShape : inlineFlowShape, data, place, report);
  const whole: FlowParts = {
    first: parts.userLoginFirstStep,
    second: parts.userLoginSecondStep,
    idpSecond: parts.idpLoginSecondStep,
    idpDomainBased: parts.idpDomainBased ?? false,
    providers: readMentions(data['oidcIdentityProviders'], at(place, 'oidcIdentityProviders'), silent),
  };
  const types = loginTypes(data, parts.loginFlows);
  const alternatives = types.flatMap((type) => {
    const read = readLogin(type, whole, data, place, report);
    return read ? [read] : [];
  });
  if (types.length === 0 && (data['loginFlows'] === undefined || parts.loginFlows)) {
    report(
      fault(
        Array.isArray(data['loginFlows']) ? at(place, 'loginFlows') : place,
        'flow_empty',
        'expected at least one enabled way to log in, found none',
        'give userLoginFirstStep, or enable one of loginFlows; "Access Denied" is the flow that denies',
      ),
    );
  }
  const allowing = alternatives.filter(({ first }) => first !== 'DENY');
  return {
    id: parts.id ?? '',
    name: parts.name ?? '',
    system: false,
    // Beside a way in, a way that denies adds nothing.
    alternatives: allowing.length > 0 ? allowing : alternatives.slice(0, 1),
    maxAge: parts.maxAge,
    acrValues: parts.acrValues ?? [],
    written: data,
    place,
  };
}

interface FlowParts {
  readonly first: FirstStep | undefined;
  readonly second: readonly SecondStep[] | undefined;
  readonly idpSecond: readonly SecondStep[] | undefined;
  readonly idpDomainBased: boolean;
  readonly providers: readonly Mention[];
}

type LoginType = (typeof LOGIN_FLOWS)[number];

function loginTypes(
  data: Data,
  given: readonly { readonly loginFlowType: LoginType; readonly enabled?: boolean | undefined }[] | undefined,
): readonly LoginType[] {
  if (data['loginFlows'] !== undefined) {
    const enabled = (given ?? []).filter((one) => one.enabled !== false).map((one) => one.loginFlowType);
    return [...new Set(enabled)];
  }
  const hasIdp = IDP_KEYS.some((key) => Object.hasOwn(data, key) && data[key] !== false && !isEmptyList(data[key]));
  return [
    ...(Object.hasOwn(data, 'userLoginFirstStep') ? (['USER_LOGIN'] as const) : []),
    ...(hasIdp && data['userLoginFirstStep'] !== 'IDP' ? (['IDP_LOGIN'] as const) : []),
  ];
}

const IDP_KEYS = ['idpDomainBased', 'idpLoginSecondStep', 'oidcIdentityProviders'] as const;

function readLogin(
  type: LoginType,
  parts: FlowParts,
  data: Data,
  place: Place,
  report: Report,
): FlowAlternative | undefined {
  switch (type) {
    case 'SMART_LOGIN':
      return alternative('SMART_LOGIN', NO_SECOND);
    case 'PASSKEY_LOGIN':
      return alternative('PASSKEY', NO_SECOND);
    case 'USER_CERTIFICATE_LOGIN':
      return alternative('USER_CERTIFICATE', NO_SECOND);
    case 'IDP_LOGIN': {
      const places = { first: place, second: at(place, 'idpLoginSecondStep') };
      return withProviders(readSteps('IDP', parts.idpSecond, places, report), parts);
    }
    case 'USER_LOGIN': {
      if (!Object.hasOwn(data, 'userLoginFirstStep')) report(missingKey('userLoginFirstStep', place));
      if (parts.first === undefined) return undefined;
      const places = { first: at(place, 'userLoginFirstStep'), second: at(place, 'userLoginSecondStep') };
      if (parts.first === 'DENY') {
        if (parts.second !== undefined && !isNone(parts.second)) report(stepsIgnored(places.second));
        return alternative('DENY', NO_SECOND);
      }
      const read = readSteps(parts.first, parts.second, places, report);
      return parts.first === 'IDP' ? withProviders(read, parts) : read;
    }
  }
}

function withProviders(read: FlowAlternative | undefined, parts: FlowParts): FlowAlternative | undefined {
  return read && { ...read, idpDomainBased: parts.idpDomainBased, oidcIdentityProviders: parts.providers };
}

function readSteps(
  first: FirstStep,
  given: readonly SecondStep[] | undefined,
  places: { readonly first: Place; readonly second: Place },
  report: Report,
): FlowAlternative | undefined {
  const second: readonly SecondStep[] = given === undefined || given.length === 0 ? NO_SECOND : [...new Set(given)];
  if (second.includes('NONE') && second.length > 1) {
    report(
      fault(
        places.second,
        'steps_invalid',
        'expected NONE alone or other steps, found both',
        'remove NONE, or write a flow of its own for it',
      ),
    );
    return undefined;
  }
  if (first === 'NONE' && isNone(second)) {
    report(
      fault(
        places.first,
        'steps_invalid',
        'expected a step that proves something, found NONE first and NONE second',
        'name a first or a second step',
      ),
    );
    return undefined;
  }
  if (first === 'KBA' && !isNone(second)) {
    report(
      fault(
        places.second,
        'steps_invalid',
        `expected no second step after KBA, found ${listed(second)}`,
        'remove the second step, or put KBA second',
      ),
    );
    return undefined;
  }
  return alternative(first, second);
}

function stepsIgnored(place: Place): ReturnType<typeof warning> {
  return warning(
    place,
    'steps_ignored',
    'the first step is DENY, so that what else is written has no effect',
    'remove it, or choose another first step',
  );
}

function isNone(second: readonly SecondStep[]): boolean {
  return second.every((step) => step === 'NONE');
}

function isEmptyList(value: unknown): boolean {
  return Array.isArray(value) && value.length === 0;
}

/** The parts of a flow are shaped before its mentions are read, and have been complained of then. */
function silent(): void {
  // Nothing is said twice.
}
