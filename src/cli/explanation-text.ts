import type { ExplanationJson } from '../cases/explanation.ts';
import { printable } from './printable.ts';

/** An explanation as lines that a person reads at three in the morning: what was decided, by which lines of which
 *  files, and what would have been allowed. `color`: for a terminal. */
export function explanationText(told: ExplanationJson, color: boolean): string {
  const pen: Pen = {
    bold: paint(color, 1),
    dim: paint(color, 2),
    good: paint(color, 32),
    bad: paint(color, 31),
    open: paint(color, 33),
  };
  const parts = [
    headLines(told, pen),
    noteLines(told, pen),
    applicationLines(told, pen),
    callerLines(told, pen),
    policyLines(told, pen),
    adaptiveLines(told, pen),
    deciderLines(told, pen),
    changeLines(told, pen),
  ];
  return `${parts
    .filter((lines) => lines.length > 0)
    .map((lines) => lines.join('\n'))
    .join('\n\n')}\n`;
}

type Rule = ExplanationJson['policies'][number]['include'][number];
type Verdict = Rule['verdict'];
type At = Rule['at'];

interface Pen {
  readonly bold: (text: string) => string;
  readonly dim: (text: string) => string;
  readonly good: (text: string) => string;
  readonly bad: (text: string) => string;
  readonly open: (text: string) => string;
}

/** Of rules that are not met and so say the same, so many are told. */
const ALIKE_MAX = 8;

function paint(color: boolean, code: number): (text: string) => string {
  return (text) => (color ? `\u001B[${code}m${text}\u001B[0m` : text);
}

function place({ file, line, column }: At, { dim }: Pen): string {
  return dim(`${printable(file)}:${line}:${column}`);
}

function headLines({ outcome, reason, meaning, why, request, revision, time }: ExplanationJson, pen: Pen): string[] {
  const shade =
    outcome === 'allow' ? pen.good : outcome === 'step_up' || outcome === 'unauthenticated' ? pen.open : pen.bad;
  return [
    `${pen.bold(shade(outcome.toUpperCase().replace('_', ' ')))}  ${reason}: ${meaning}`,
    ...(why === '' ? [] : [`  ${printable(why)}`]),
    pen.dim(
      `  ${request ? printable(`${request.method} ${request.host}${request.path}`) : 'a request that cannot be read'} at ${time}, revision ${revision}`,
    ),
  ];
}

function noteLines({ notes }: ExplanationJson, { open }: Pen): string[] {
  return notes.map((note) => `${open('note')}  ${printable(note)}`);
}

function applicationLines({ application, request, reason, nearest }: ExplanationJson, pen: Pen): string[] {
  if (!application) {
    if (!request || reason !== 'no_application') return [];
    return [
      `${pen.bold('application')}  none: no destination covers this host and path`,
      ...(nearest ?? []).map(
        (one) => `  near it: ${printable(one.destination)} of ${printable(one.application)}  ${place(one.at, pen)}`,
      ),
    ];
  }
  return [
    `${pen.bold('application')}  ${printable(application.name)}  ${place(application.at, pen)}`,
    `  covers it by ${printable(application.destination)}  ${place(application.destination_at, pen)}`,
    ...application.others.map(
      (other) =>
        `  won over ${printable(other.destination)} of ${printable(other.application)}: ${other.because}  ${place(other.at, pen)}`,
    ),
  ];
}

function callerLines({ identity, time }: ExplanationJson, pen: Pen): string[] {
  const head = pen.bold('caller');
  switch (identity.state) {
    case 'not_read':
      return [];
    case 'nobody':
      return [`${head}  nobody is logged in`];
    case 'invalid':
      return [`${head}  the token is not acceptable: ${printable(identity.why ?? '')}`];
    case 'unverifiable':
      return [
        `${head}  the token is unverifiable: ${printable(identity.why ?? '')}`,
        '  to see what its user would get, say who it is: --as EMAIL, --amr …',
      ];
    case 'known': {
      const age = identity.auth_time === undefined ? undefined : Date.parse(time) / 1000 - identity.auth_time;
      const proved = [
        `amr ${identity.amr ? identity.amr.join(' ') || 'empty' : 'not stated'}`,
        ...(identity.acr === undefined ? [] : [`acr ${identity.acr}`]),
        age === undefined ? 'time of authentication not stated' : `authenticated ${ageText(age)}`,
      ];
      const who = identity.email ?? identity.subject ?? 'somebody';
      const through =
        identity.provider === undefined
          ? 'provider not stated'
          : `through ${identity.provider_name ?? identity.provider}`;
      return [
        `${head}  ${printable(who)}, ${printable(through)}`,
        `  the token proves: ${printable(proved.join(', '))}`,
      ];
    }
  }
}

function ageText(seconds: number): string {
  if (seconds < 0) return `${Math.round(-seconds)} s in the future`;
  if (seconds < 120) return `${Math.round(seconds)} s ago`;
  if (seconds < 7_200) return `${Math.round(seconds / 60)} min ago`;
  return `${Math.round(seconds / 3_600)} h ago`;
}

const STANDINGS: Readonly<Record<ExplanationJson['policies'][number]['standing'], string>> = {
  decides: 'decides',
  matches: 'matches, but what is unknown before it leaves the answer open',
  open: 'open: a fact of it is unknown',
  passes: 'does not match',
  not_asked: 'not asked',
};

function policyLines({ policies, application }: ExplanationJson, pen: Pen): string[] {
  if (!application) return [];
  if (policies.length === 0) return [`${pen.bold('policies')}  none: nobody is let in`];
  return [
    pen.bold('policies'),
    ...policies.flatMap((policy) => {
      const mark = policy.standing === 'not_asked' ? pen.dim('·') : markOf(policy.verdict, pen);
      const standing = STANDINGS[policy.standing];
      const line = `  ${mark} ${policy.decision} ${pen.bold(printable(policy.name))}: ${policy.standing === 'decides' ? pen.bold(standing) : standing}  ${place(policy.at, pen)}`;
      return policy.standing === 'not_asked' ? [line] : [line, ...listLines(policy, 6, pen)];
    }),
  ];
}

function listLines(
  lists: { readonly include: readonly Rule[]; readonly require: readonly Rule[]; readonly exclude: readonly Rule[] },
  indent: number,
  pen: Pen,
): string[] {
  const pad = ' '.repeat(indent);
  return (
    [
      ['include, any of', lists.include],
      ['require, all of', lists.require],
      ['exclude, none of', lists.exclude],
    ] as const
  ).flatMap(([title, rules]) =>
    rules.length === 0
      ? []
      : [
          `${pad}${title}`,
          ...someOf(rules).flatMap((rule) => ruleLines(rule, indent + 2, pen, rules === lists.exclude)),
          ...restLine(rules, indent + 2),
        ],
  );
}

/** All that are met or unknown, and the first of those that are not met. */
function someOf(rules: readonly Rule[]): readonly Rule[] {
  let unmet = 0;
  return rules.filter(({ verdict }) => verdict !== 'unmet' || (unmet += 1) <= ALIKE_MAX);
}

function restLine(rules: readonly Rule[], indent: number): string[] {
  const more = rules.filter(({ verdict }) => verdict === 'unmet').length - ALIKE_MAX;
  return more > 0 ? [`${' '.repeat(indent)}… and ${more} more that are not met`] : [];
}

function ruleLines(rule: Rule, indent: number, pen: Pen, excludes: boolean): string[] {
  const mark = excludes ? excludingMark(rule.verdict, pen) : markOf(rule.verdict, pen);
  const line = `${' '.repeat(indent)}${mark} ${printable(rule.text)}${unknownText(rule.verdict)}  ${pen.dim('saw')} ${printable(rule.saw)}  ${place(rule.at, pen)}`;
  const { group } = rule;
  return group && !group.above ? [line, ...listLines(group, indent + 4, pen)] : [line];
}

function unknownText(verdict: Verdict): string {
  switch (verdict) {
    case 'no_identity':
      return ' (unknown: nobody is logged in)';
    case 'unavailable':
      return ' (unknown: the fact could not be had)';
    case 'not_stated':
      return ' (unknown: not stated)';
    default:
      return '';
  }
}

function markOf(verdict: Verdict, { good, bad, open }: Pen): string {
  if (verdict === 'met') return good('✓');
  return verdict === 'unmet' ? bad('✗') : open('?');
}

/** Whom an exclude does not meet, it leaves alone. */
function excludingMark(verdict: Verdict, { bad, dim, open }: Pen): string {
  if (verdict === 'met') return bad('✓');
  return verdict === 'unmet' ? dim('–') : open('?');
}

const WHY_NOT: Readonly<Record<string, string>> = {
  disabled: 'does not apply: it is disabled',
  acr_filter: 'does not apply: the requested acrs do not pass its filter',
  domain_idp_filter: "does not apply: the user's domain-based provider does not pass its filter",
  groups: 'does not apply: the user is in none of its groups',
  groups_unknown: 'offers nothing: it is unknown whether the user is in its groups',
};

function adaptiveLines({ adaptive }: ExplanationJson, pen: Pen): string[] {
  if (!adaptive) return [];
  return [
    pen.bold('resource rules'),
    ...adaptive.rules.flatMap((rule) => {
      const strict = rule.strict ? ', strict' : '';
      const head = `${pen.bold(printable(rule.name))}${strict}`;
      if (!rule.applies)
        return [
          `  ${pen.dim('·')} ${head}: ${WHY_NOT[rule.why_not ?? ''] ?? ''}  ${place(rule.at, pen)}`,
          ...rule.groups.map(
            (group) => `      group ${printable(group.name)}: ${group.verdict}  ${place(group.at, pen)}`,
          ),
        ];
      const mark = rule.result === 'ALLOW' ? pen.good('✓') : rule.result === 'DENY' ? pen.bad('✗') : pen.open('?');
      return [
        `  ${mark} ${head}: score ${rule.score ?? 0} (low below ${rule.thresholds.low}, medium below ${rule.thresholds.medium}), level ${rule.level ?? 'none'}, flow ${printable(rule.flow ?? 'none')}  ${place(rule.at, pen)}`,
        ...rule.factors.map((factor) => factorLine(factor, pen)),
      ];
    }),
    ...adaptive.alternatives.map((one) =>
      one.satisfied
        ? `  ${pen.good('✓')} flow ${printable(one.flow)} of ${printable(one.rule_name)} is satisfied`
        : `  ${pen.bad('✗')} flow ${printable(one.flow)} of ${printable(one.rule_name)}: missing ${printable(one.missing)}`,
    ),
  ];
}

function factorLine(
  factor: NonNullable<ExplanationJson['adaptive']>['rules'][number]['factors'][number],
  pen: Pen,
): string {
  const isAtRisk = factor.verdict === 'RISK';
  const mark = isAtRisk ? pen.bad('✗') : factor.verdict === 'NO_RISK' ? pen.good('✓') : pen.open('?');
  const points = isAtRisk
    ? `at risk, +${factor.points}${factor.deny ? ', denies' : ''}`
    : factor.verdict === 'NO_RISK'
      ? `no risk (of ${factor.points})`
      : 'unavailable';
  return `      ${mark} ${factor.name}: ${points}${factor.unknown ? ' (unknown, counted so)' : ''}  ${pen.dim('saw')} ${printable(factor.saw)}  ${place(factor.at, pen)}`;
}

function deciderLines({ decided_by: decided, outcome }: ExplanationJson, pen: Pen): string[] {
  if (decided.length === 0) return [];
  const told = decided.slice(0, DECIDERS_MAX);
  return [
    pen.bold(outcome === 'allow' ? 'let in by' : 'decided by'),
    ...told.map(({ what, text, at }) => `  ${place(at, pen)}  ${what.replace('_', ' ')} ${printable(text)}`),
    ...(decided.length > told.length ? [`  … and ${decided.length - told.length} more`] : []),
  ];
}

const DECIDERS_MAX = 12;

function changeLines({ would_be_allowed: changes, outcome, application }: ExplanationJson, pen: Pen): string[] {
  if (outcome === 'allow' || !application) return [];
  if (changes.length === 0) return [`${pen.bold('would be allowed')}  by no change of the request that was found`];
  return [pen.bold('would be allowed'), ...changes.map(({ text }) => `  ${printable(text)}`)];
}
