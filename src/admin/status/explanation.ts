/** Why a request was decided as it was, as a tree to read. */
import { redactedText } from '../../log.ts';
import { REASONS } from '../../model/decision.ts';
import type { Verdict } from '../../model/verdict.ts';
import { ruleText } from '../../policy/explain.ts';
import type {
  AdaptiveExplanation,
  At,
  Explanation,
  FactorExplanation,
  PolicyExplanation,
  ResourceRuleExplanation,
  RuleExplanation,
  RuleSetExplanation,
  Standing,
} from '../../policy/explain.ts';
import { html, when } from './html.ts';
import type { Html, HtmlValue } from './html.ts';
import { outcomeTag } from './overview.ts';
import { tag } from './page.ts';

/** Decision, lines that decided, what would be allowed; then policies and risk, step by step. */
export function explanationBody({ decision, application, policies, adaptive, decidedBy, changes }: Explanation): Html {
  const { challenge } = decision;
  return html`<section aria-labelledby="decision">
      <h2 id="decision">Decision</h2>
      <p>${outcomeTag(decision.outcome)} <code>${decision.reason}</code>: ${REASONS[decision.reason]}</p>
      ${when(decision.why !== '', () => html`<p>${shown(decision.why)}</p>`)}
      ${when(challenge !== undefined, () => html`<p>Asked for: ${challenge && challenge.acrValues.length > 0 ? html`<code>acr_values=${challenge.acrValues.join(' ')}</code>` : 'another login'}${when(challenge?.maxAgeSeconds !== undefined, () => html`, not older than ${challenge?.maxAgeSeconds} s`)}</p>`)}
      ${when(
        decidedBy.length > 0,
        () =>
          html`<h3>Decided by</h3>
            <ul>
              ${decidedBy.map(({ text, at }) => html`<li>${shown(text)} ${where(at)}</li>`)}
            </ul>`,
      )}
      ${when(
        changes.length > 0,
        () =>
          html`<h3>Would be allowed</h3>
            <ul>
              ${changes.map(({ text }) => html`<li>${shown(text)}</li>`)}
            </ul>`,
      )}
    </section>
    ${when(application !== undefined, () => applicationSection(application))}${when(
      policies.length > 0,
      () =>
        html`<section aria-labelledby="policies">
          <h2 id="policies">Policies, in the order in which they are asked</h2>
          <ul class="tree">
            ${policies.map(policyItem)}
          </ul>
        </section> `,
    )}${when(adaptive !== undefined, () => adaptive && adaptiveSection(adaptive))}`;
}

const STANDING: Readonly<Record<Standing, Html>> = {
  decides: tag('decides', 'good'),
  matches: tag('matches, but something before it is unknown', 'warn'),
  open: tag('cannot be told', 'warn'),
  passes: tag('does not match', 'idle'),
  not_asked: tag('not asked any more', 'idle'),
};

const VERDICTS: Readonly<Record<Verdict, Html>> = {
  met: tag('met', 'good'),
  unmet: tag('not met', 'idle'),
  no_identity: tag('unknown: nobody is signed in', 'warn'),
  unavailable: tag('unknown: could not be had', 'warn'),
  not_stated: tag('unknown: not stated', 'warn'),
};

function applicationSection(application: Explanation['application']): HtmlValue {
  if (!application) return undefined;
  return html`<section aria-labelledby="application">
    <h2 id="application">Application <bdi>${application.name}</bdi></h2>
    <p><code>${application.destination}</code> covers the request ${where(application.destinationAt)}</p>
    ${when(
      application.others.length > 0,
      () =>
        html`<ul>
          ${application.others.map((other) => html`<li><bdi>${other.application}</bdi> <code>${other.destination}</code> covers it too: ${other.because} ${where(other.at)}</li>`)}
        </ul>`,
    )}
  </section> `;
}

function policyItem(policy: PolicyExplanation): Html {
  const isOpen = policy.standing === 'decides' || policy.standing === 'open';
  return html`<li>${isOpen ? html`<details open>` : html`<details>`}<summary><strong><bdi>${policy.name}</bdi></strong> (${policy.decision}) ${STANDING[policy.standing]}</summary>
${where(policy.at)}
<ul>${ruleSet(policy)}</ul></details></li>
`;
}

function ruleSet(set: RuleSetExplanation): HtmlValue {
  return [
    rulesOf('include: any of', set.include),
    rulesOf('require: all of', set.require),
    rulesOf('exclude: none of', set.exclude),
  ];
}

function rulesOf(title: string, rules: readonly RuleExplanation[]): HtmlValue {
  if (rules.length === 0) return undefined;
  const more = rules.length - RULES_MAX;
  const told = more > 0 ? [...rules].toSorted((a, b) => interest(b) - interest(a)).slice(0, RULES_MAX) : rules;
  return html`<li>
    ${title}
    <ul>
      ${told.map(ruleItem)}${when(more > 0, () => html`<li class="where">and ${more} more that are not met</li>`)}
    </ul>
  </li> `;
}

/** Of lists longer than anybody reads, those that are not plainly unmet come first. */
const RULES_MAX = 200;

function interest(rule: RuleExplanation): number {
  return rule.verdict === 'met' ? 2 : rule.verdict === 'unmet' ? 0 : 1;
}

function ruleItem(rule: RuleExplanation): Html {
  const { group } = rule;
  return html`<li>
    ${VERDICTS[rule.verdict]} ${shown(ruleText(rule))}
    ${when(rule.saw !== '', () => html`– saw ${shown(rule.saw)} `)}${where(rule.at)}${
      group &&
      (group.above
        ? html` <span class="where">told further up</span>`
        : html`<ul>
            ${ruleSet(group)}
          </ul>`)
    }
  </li> `;
}

function adaptiveSection({ rules, alternatives }: AdaptiveExplanation): Html {
  return html`<section aria-labelledby="risk">
    <h2 id="risk">Risk and authentication</h2>
    <ul class="tree">
      ${rules.map(resourceRuleItem)}
    </ul>
    ${when(
      alternatives.length > 0,
      () =>
        html`<h3>Any one of these is enough</h3>
          <ul>
            ${alternatives.map(({ flow, rule, satisfied, missing }) => html`<li>${satisfied ? tag('satisfied', 'good') : tag('not satisfied', 'warn')} <bdi>${flow}</bdi> of <bdi>${rule.name}</bdi>${when(missing !== '', () => html`: ${shown(missing)}`)}</li>`)}
          </ul>`,
    )}
  </section> `;
}

function resourceRuleItem(rule: ResourceRuleExplanation): Html {
  return html`<li>
    <strong><bdi>${rule.name}</bdi></strong>
    ${rule.applies ? tag('applies', 'good') : tag(`does not apply: ${(rule.whyNot ?? '').replaceAll('_', ' ')}`, 'idle')}
    ${where(rule.at)}
    <ul>
      ${when(
        rule.groups.length > 0,
        () =>
          html`<li>
            groups
            <ul>
              ${rule.groups.map(({ name, verdict, at }) => html`<li>${VERDICTS[verdict]} <bdi>${name}</bdi> ${where(at)}</li>`)}
            </ul>
          </li>`,
      )}${when(
        rule.factors.length > 0,
        () =>
          html`<li>
            factors
            <ul>
              ${rule.factors.map(factorItem)}
            </ul>
          </li>`,
      )}${when(
        rule.level !== undefined,
        () =>
          html`<li>
            ${rule.score ?? 0} points of ${rule.thresholds.low} and ${rule.thresholds.medium}: level ${rule.level}, flow
            <bdi>${rule.flow ?? 'none'}</bdi>
          </li>`,
      )}
    </ul>
  </li> `;
}

function factorItem(factor: FactorExplanation): Html {
  const verdict =
    factor.verdict === 'RISK'
      ? tag('at risk', 'bad')
      : factor.verdict === 'NO_RISK'
        ? tag('no risk', 'good')
        : tag('unavailable', 'warn');
  return html`<li>
    ${verdict}${when(factor.unknown, () => html` ${tag('unknown, so by default', 'warn')}`)}
    <code>${factor.name}</code>, ${factor.points} points${when(factor.deny, () => ', denies')}
    ${when(factor.saw !== '', () => html`– saw ${shown(factor.saw)} `)}${where(factor.at)}
  </li> `;
}

function where({ file, line, column }: At): Html {
  return html`<span class="where"><code>${file}:${line}:${column}</code></span>`;
}

/** What a request said stands in it. */
function shown(text: string): Html {
  return html`<bdi>${redactedText(text, TEXT_MAX)}</bdi>`;
}

const TEXT_MAX = 2_048;
