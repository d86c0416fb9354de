import { identityJudge, seenIdentity } from './rule.ts';
import type { RuleType } from './rule.ts';
import type { Verdict } from '../model/verdict.ts';
import { also, exactObject, listOf, word } from '../shared/shape.ts';
import type { ShapeOutput } from '../shared/shape.ts';

const LEVELS = ['low', 'medium', 'high', 'unscored'] as const;

const shape = exactObject({
  user_risk_score: also(listOf(word(LEVELS, 'risk_level_invalid')), (levels) =>
    levels.length > 0
      ? []
      : [
          {
            code: 'risk_level_invalid',
            text: 'expected at least one of low, medium, high or unscored, found an empty list',
            mend: 'list the levels that meet the rule',
          },
        ],
  ).describe('The levels, any of which will do.'),
});

/** The user's risk level is one of these: membership, not a threshold. Source: Cloudflare Access, rule type
 *  `user_risk_score`. */
export const userRiskScore: RuleType<ShapeOutput<typeof shape>> = {
  word: 'user_risk_score',
  description: "Met when the user's risk level is in this list; a user without a score is unscored.",
  reads: 'identity',
  shape,
  needs: (_, { riskScoreFromIdentity }) =>
    riskScoreFromIdentity ? [{ fact: 'identity' }] : [{ fact: 'identity' }, { fact: 'risk_score' }],
  anyOf(values, { riskScoreFromIdentity }) {
    const levels = new Set<unknown>(values.flatMap((value) => value.user_risk_score));
    const judge = (score: unknown): Verdict => {
      const level = levelOf(score);
      if (level === undefined) return 'not_stated';
      return levels.has(level) ? 'met' : 'unmet';
    };
    if (riskScoreFromIdentity) return identityJudge((identity) => judge(identity.riskScore));
    return identityJudge((_, { riskScore }) => (riskScore.state === 'known' ? judge(riskScore.level) : 'unavailable'));
  },
  seen: (context) =>
    seenIdentity(context, (identity) => {
      const fact = context.riskScore;
      if (fact.state === 'unavailable') return `risk level not known: ${fact.why}`;
      return `risk level ${levelOf(fact.state === 'known' ? fact.level : identity.riskScore) ?? 'unreadable'}`;
    }),
  singleFact: 'risk level',
  compatible: (a, b) => a.user_risk_score.some((level) => b.user_risk_score.includes(level)),
};

/** Absent is `unscored`; undefined: a value that is no level. */
function levelOf(score: unknown): (typeof LEVELS)[number] | undefined {
  if (score === undefined || score === null) return 'unscored';
  if (typeof score !== 'string') return undefined;
  const written = score.toLowerCase();
  return LEVELS.find((level) => level === written);
}
