/** Resource rules: Entrust's ResourceRule, as its JSON has it. */
import { FIRST_STEPS, SECOND_STEPS } from '../flow/steps.ts';
import { at, fault, warning } from '../model/fault.ts';
import type { Place, Report } from '../model/fault.ts';
import { factorTypes } from '../risk/registry.ts';
import { exactObject, flag, id, integer, listOf, nameText, shaped, word, z } from '../shared/shape.ts';
import type { FactorObject, FlowObject, FlowUse, Level, ResourceRuleObject } from './objects.ts';
import { flowWords, mentionShape, readFlowUse, readMentions, versionOneAlternatives } from './shape-flows.ts';
import { asData, asList, shapedParts, wholeFrom } from './shape-parts.ts';
import type { Data } from './shape-parts.ts';

/** The properties that hold risk factors, in the order of Entrust's documentation. */
export const FACTOR_PROPERTIES = [
  'dateTimeContext',
  'ipContext',
  'locationContext',
  'locationHistoryContext',
  'travelVelocityContext',
  'machineContext',
  'deviceCertificateContext',
  'transactionContexts',
  'riskEngineContexts',
] as const;

export const LEVELS: readonly Level[] = ['low', 'medium', 'high'];

const TRANSACTION_CONTEXTS_MAX = 2;

const FILTERS = ['NA', 'NONE', 'ANY', 'SPECIFIC'] as const;

const kbaShape = z.looseObject({
  challengeSize: wholeFrom(1).optional().describe('Without effect.'),
  wrongAnswersAllowed: wholeFrom(0).optional().describe('Without effect.'),
});

const flowUse = (level: string): z.ZodOptional<z.ZodUnknown> =>
  z
    .unknown()
    .describe(`The authentication flow of ${level} risk: { id }, { name }, or the flow itself.`)
    .meta({ type: 'object', properties: { id: { type: 'string' }, name: { type: 'string' } } })
    .optional();

const levelShape = {
  lowRiskAuthenticationFlow: flowUse('low'),
  mediumRiskAuthenticationFlow: flowUse('medium'),
  highRiskAuthenticationFlow: flowUse('high'),
  lowRiskFirstStep: word(FIRST_STEPS).describe('Version 1; deprecated.').optional(),
  mediumRiskFirstStep: word(FIRST_STEPS).describe('Version 1; deprecated.').optional(),
  highRiskFirstStep: word(FIRST_STEPS).describe('Version 1; deprecated.').optional(),
  lowRiskSecondStep: listOf(word(SECOND_STEPS, 'steps_invalid')).describe('Version 1; deprecated.').optional(),
  mediumRiskSecondStep: listOf(word(SECOND_STEPS, 'steps_invalid')).describe('Version 1; deprecated.').optional(),
  highRiskSecondStep: listOf(word(SECOND_STEPS, 'steps_invalid')).describe('Version 1; deprecated.').optional(),
  lowRiskEnableSmartLogin: flag().describe('Version 1; deprecated.').optional(),
  mediumRiskEnableSmartLogin: flag().describe('Version 1; deprecated.').optional(),
  highRiskEnableSmartLogin: flag().describe('Version 1; deprecated.').optional(),
};

/** The factors' own shapes are `FactorType.shape`. */
export const resourceRuleShape = exactObject({
  id: id().describe('UUID of the rule.'),
  name: nameText().describe('Unique for its resource.'),
  description: z.string().describe('For people.').optional(),
  resourceId: id().describe("The application's id."),
  resourceName: z.string().describe('A copy for people; never read.').optional(),
  enabled: flag()
    .describe('A disabled rule never applies, but its application stays protected. Default true.')
    .optional(),
  groups: listOf(mentionShape).describe('Groups by id or name; "All Groups" is everyone.').optional(),
  acrFilter: word(FILTERS).describe('Whether an acr must be requested. Default NA.').optional(),
  acrs: listOf(mentionShape).describe('With acrFilter SPECIFIC: which.').optional(),
  domainIdpFilter: word(FILTERS)
    .describe("Whether the user's e-mail domain must have a provider. Default NA.")
    .optional(),
  domainIdps: listOf(mentionShape).describe('With domainIdpFilter SPECIFIC: which.').optional(),
  ...Object.fromEntries(FACTOR_PROPERTIES.map((property) => [property, z.unknown().optional()])),
  kbaContext: kbaShape.describe("Entrust's questions; kept, without effect.").optional(),
  lowRiskThreshold: integer(0, 101).describe('A score below it is low. Default 30.').optional(),
  mediumRiskThreshold: integer(0, 101).describe('Otherwise below it medium, else high. Default 70.').optional(),
  ...levelShape,
  disableSSO: flag().describe('The user must authenticate for this application anew. Default false.').optional(),
  skipSecondFactorIfUserNotExist: flag()
    .describe('Waives the second step for users that the token says do not exist. Default false.')
    .optional(),
  strictAccess: flag().describe("This rule's denial cannot be outvoted. Default false.").optional(),
  systemResourceContext: flag().describe('Guards a system resource: an API cannot delete it.').optional(),
  apiVersion: integer(1, 2).describe('1: steps; 2: flows.').optional(),
});

export function shapeResourceRule(raw: unknown, place: Place, report: Report): ResourceRuleObject | undefined {
  const data = asData(raw, place, report);
  if (!data) return undefined;
  const parts = shapedParts(resourceRuleShape, data, place, report);
  if (data['groups'] === undefined || (Array.isArray(data['groups']) && data['groups'].length === 0)) {
    report(
      fault(
        Array.isArray(data['groups']) ? at(place, 'groups') : place,
        'rule_groups_missing',
        'expected the groups that the rule is for, found none',
        'name groups, or write groups: [{ name: All Groups }] for everyone',
      ),
    );
  }
  const low = parts.lowRiskThreshold ?? 30;
  const medium = parts.mediumRiskThreshold ?? 70;
  if (low > medium) {
    report(
      fault(
        at(place, Object.hasOwn(data, 'lowRiskThreshold') ? 'lowRiskThreshold' : 'mediumRiskThreshold'),
        'threshold_order',
        `expected lowRiskThreshold to be at most mediumRiskThreshold, found ${low} and ${medium}`,
        'exchange the two, or set both',
      ),
    );
  }
  if (parts.kbaContext) {
    report(
      warning(
        at(place, 'kbaContext'),
        'kba_context_ignored',
        'how questions are put is decided by the identity provider',
        'remove kbaContext',
      ),
    );
  }
  const groups = readMentions(parts.groups, at(place, 'groups'), report);
  return {
    id: parts.id ?? '',
    name: parts.name ?? '',
    description: parts.description ?? '',
    resourceId: parts.resourceId ?? '',
    enabled: parts.enabled ?? true,
    groups,
    acrFilter: parts.acrFilter ?? 'NA',
    acrs: readMentions(parts.acrs, at(place, 'acrs'), report),
    domainIdpFilter: parts.domainIdpFilter ?? 'NA',
    domainIdps: readMentions(parts.domainIdps, at(place, 'domainIdps'), report),
    factors: readFactors(data, place, report),
    lowRiskThreshold: low,
    mediumRiskThreshold: medium,
    flows: {
      low: readLevel('low', data, parts, place, report),
      medium: readLevel('medium', data, parts, place, report),
      high: readLevel('high', data, parts, place, report),
    },
    disableSSO: parts.disableSSO ?? false,
    skipSecondFactorIfUserNotExist: parts.skipSecondFactorIfUserNotExist ?? false,
    strictAccess: parts.strictAccess ?? false,
    systemResourceContext: parts.systemResourceContext ?? false,
    apiVersion: parts.apiVersion === 1 || parts.apiVersion === 2 ? parts.apiVersion : versionOf(data),
    written: data,
    place,
  };
}

const FACTORS = new Map(factorTypes.map((type) => [type.property, type]));

function readFactors(data: Data, place: Place, report: Report): readonly FactorObject[] {
  const factors: FactorObject[] = [];
  for (const property of FACTOR_PROPERTIES) {
    const raw = data[property];
    if (raw === undefined) continue;
    const here = at(place, property);
    const type = FACTORS.get(property);
    if (!type) {
      report(
        fault(
          here,
          'context_unsupported',
          'expected a risk factor that is evaluated here, found another',
          `remove ${property}`,
        ),
      );
      continue;
    }
    if (!type.isList) {
      const context = shaped(type.shape, raw, here, report);
      if (context) factors.push({ type: type.name, name: type.name, context, place: here });
      continue;
    }
    const items = asList(raw, here, report);
    if (property === 'transactionContexts' && items.length > TRANSACTION_CONTEXTS_MAX) {
      report(
        fault(
          at(here, TRANSACTION_CONTEXTS_MAX),
          'transaction_contexts_too_many',
          `expected at most ${TRANSACTION_CONTEXTS_MAX} transaction contexts, found ${items.length}`,
          'put the rules into two contexts',
        ),
      );
    }
    for (const [index, item] of items.entries()) {
      const context = shaped(type.shape, item, at(here, index), report);
      if (context) factors.push({ type: type.name, name: `${type.name}.${index}`, context, place: at(here, index) });
    }
  }
  return factors;
}

type Parts = { readonly [key in keyof typeof levelShape]?: z.output<(typeof levelShape)[key]> };

function readLevel(level: Level, data: Data, parts: Parts, place: Place, report: Report): FlowUse | undefined {
  const flowKey = `${level}RiskAuthenticationFlow` as const;
  const firstKey = `${level}RiskFirstStep` as const;
  const secondKey = `${level}RiskSecondStep` as const;
  const smartKey = `${level}RiskEnableSmartLogin` as const;
  const first = parts[firstKey];
  if (data[flowKey] !== undefined) {
    if (first !== undefined) {
      report(
        warning(
          at(place, firstKey),
          'v1_steps_ignored',
          `the level has ${flowKey}, so that its steps have no effect`,
          `remove ${firstKey}, ${secondKey} and ${smartKey}`,
        ),
      );
    }
    return readFlowUse(data[flowKey], at(place, flowKey), report);
  }
  if (first === undefined || (Object.hasOwn(data, secondKey) && parts[secondKey] === undefined)) return undefined;
  const places = {
    first: at(place, firstKey),
    second: at(place, Object.hasOwn(data, secondKey) ? secondKey : smartKey),
  };
  const alternatives = versionOneAlternatives(
    { first, second: parts[secondKey], smart: parts[smartKey] ?? false },
    places,
    report,
  );
  if (!alternatives) return undefined;
  const inline: FlowObject = {
    id: '',
    name: first === 'DENY' ? 'Access Denied' : flowWords(alternatives),
    system: false,
    alternatives,
    maxAge: undefined,
    acrValues: [],
    written: {},
    place: places.first,
  };
  return { id: undefined, name: undefined, inline, place: places.first };
}

/** An absent `apiVersion` is told by what is there. */
function versionOf(data: Data): 1 | 2 {
  const has = (suffixes: readonly string[]): boolean =>
    LEVELS.some((level) => suffixes.some((suffix) => Object.hasOwn(data, `${level}Risk${suffix}`)));
  return has(['AuthenticationFlow']) || !has(['FirstStep', 'SecondStep', 'EnableSmartLogin']) ? 2 : 1;
}
