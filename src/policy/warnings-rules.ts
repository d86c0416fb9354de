/** Warnings of Entrust's objects. */
import { at, warning } from '../model/fault.ts';
import type { Report } from '../model/fault.ts';
import { quoted } from '../shared/shape.ts';
import { isAllGroups } from './link-rules.ts';
import type { LinkSettings, Lookups } from './lookups.ts';
import type { FlowObject, Level, Mention, PolicySet, ResourceRuleObject } from './objects.ts';
import { LEVELS } from './shape-rules.ts';

/** Reports what is worth a word in resource rules and flows. */
export async function warnOfResourceRules(
  set: PolicySet,
  lookups: Lookups,
  settings: LinkSettings,
  report: Report,
  pause: () => Promise<void>,
): Promise<void> {
  for (const flow of set.flows) warnOfProviders(flow, lookups, report);
  for (const rule of set.resourceRules) {
    warnOfMentions(rule, lookups, report);
    warnOfFilters(rule, lookups, report);
    warnOfPoints(rule, settings, report);
    warnOfLevels(rule, settings, report);
    warnOfSkip(rule, lookups, report);
    await pause();
  }
}

function warnOfProviders(flow: FlowObject, lookups: Lookups, report: Report): void {
  for (const { oidcIdentityProviders } of flow.alternatives) {
    for (const mention of oidcIdentityProviders) warnOfName(mention, lookups.mentionedProvider(mention)?.name, report);
  }
}

function warnOfMentions(rule: ResourceRuleObject, lookups: Lookups, report: Report): void {
  for (const mention of rule.groups) {
    if (!isAllGroups(mention, lookups.groupObject))
      warnOfName(mention, lookups.groupObject(mention.id ?? '')?.name, report);
  }
  for (const mention of rule.acrs) warnOfName(mention, lookups.acr(mention)?.name, report);
  for (const mention of rule.domainIdps) warnOfName(mention, lookups.mentionedProvider(mention)?.name, report);
}

function warnOfName({ id, name, place }: Mention, real: string | undefined, report: Report): void {
  if (id === undefined || name === undefined || real === undefined || real === name) return;
  report(
    warning(
      at(place, 'name'),
      'name_differs',
      `the id is that of ${quoted(real)}, and decides; the name beside it is ${quoted(name)}`,
      `write ${quoted(real)}, or remove the name`,
    ),
  );
}

function warnOfFilters(rule: ResourceRuleObject, lookups: Lookups, report: Report): void {
  const filters = [
    ['acrFilter', rule.acrFilter, rule.acrs, 'acrs'],
    ['domainIdpFilter', rule.domainIdpFilter, rule.domainIdps, 'domainIdps'],
  ] as const;
  for (const [key, filter, mentions, list] of filters) {
    if (filter !== 'SPECIFIC' || mentions.length > 0) continue;
    report(
      warning(
        at(rule.place, key),
        'rule_never_applies',
        `${key} is SPECIFIC and ${list} is empty, so that the rule never applies`,
        `fill ${list}, or write ${key}: NA`,
      ),
    );
  }
  for (const mention of rule.domainIdps) {
    const provider = lookups.mentionedProvider(mention);
    if (!provider || provider.domains.length > 0) continue;
    report(
      warning(
        mention.place,
        'provider_without_domains',
        `the provider ${quoted(provider.name)} has no domains, so that it is nobody's domain-based provider`,
        'give it domains in postern.yaml',
      ),
    );
  }
}

function warnOfPoints(rule: ResourceRuleObject, settings: LinkSettings, report: Report): void {
  if (settings.risk.score !== 'sum' || rule.factors.length === 0) return;
  const total = totalOf(rule);
  if (total === 100) return;
  report(
    warning(
      rule.place,
      'points_total',
      `the points of the risk factors total ${total}, not 100`,
      'make them total 100, so that a score is a percentage too, or set risk.score: percent',
    ),
  );
}

function totalOf(rule: ResourceRuleObject): number {
  return rule.factors.reduce((sum, { context }) => sum + context.riskPoint, 0);
}

function warnOfLevels(rule: ResourceRuleObject, settings: LinkSettings, report: Report): void {
  const reached = reachableLevels(rule, settings.risk.score === 'percent');
  for (const level of LEVELS) {
    if (rule.flows[level] || !reached.has(level)) continue;
    report(
      warning(
        rule.place,
        'level_without_flow',
        `${level} risk can be reached and has no authentication flow, so that it denies`,
        `add ${level}RiskAuthenticationFlow; { name: Access Denied } where that is meant`,
      ),
    );
  }
}

/** The levels that some combination of the factors leads to. */
function reachableLevels(rule: ResourceRuleObject, isPercent: boolean): ReadonlySet<Level> {
  if (rule.factors.length === 0) return new Set(['low']);
  let sums = new Set([0]);
  for (const { context } of rule.factors) {
    sums = new Set([...sums, ...[...sums].map((sum) => sum + context.riskPoint)]);
  }
  const total = totalOf(rule);
  const levels = new Set<Level>();
  for (const sum of sums) {
    const score = isPercent ? (total === 0 ? 0 : (100 * sum) / total) : sum;
    levels.add(score < rule.lowRiskThreshold ? 'low' : score < rule.mediumRiskThreshold ? 'medium' : 'high');
  }
  return levels;
}

function warnOfSkip(rule: ResourceRuleObject, lookups: Lookups, report: Report): void {
  if (!rule.skipSecondFactorIfUserNotExist) return;
  const use = rule.flows.low;
  const flow = use && lookups.flow(use);
  if (flow?.alternatives.some(({ first }) => first === 'EXTERNAL') === true) return;
  report(
    warning(
      at(rule.place, 'skipSecondFactorIfUserNotExist'),
      'skip_without_external',
      'the flow of low risk has no first step EXTERNAL, so that nothing is ever waived',
      'remove it, or use a flow that begins with EXTERNAL',
    ),
  );
}
