import { anyJudge, unknownReference } from './rule.ts';
import type { Judge, RuleType } from './rule.ts';
import { at, fault } from '../model/fault.ts';
import { exactObject, id } from '../shared/shape.ts';
import type { ShapeOutput } from '../shared/shape.ts';

const shape = exactObject({
  app_uid: id("write the application's id").describe('The id of the application that issued the token.'),
});

/** A token issued for another application. Source: Cloudflare Access, rule type `linked_app_token`. */
export const linkedAppToken: RuleType<ShapeOutput<typeof shape>> = {
  word: 'linked_app_token',
  description: 'Met when the request carries a token that was issued for this application.',
  reads: 'connection',
  shape,
  needs: (value) => [{ fact: 'linked_token', application: idOf(value) }],
  link({ value, place }, scope, report) {
    const application = scope.application(value.app_uid);
    const here = at(place, 'app_uid');
    if (!application) report(unknownReference('application', 'application', value.app_uid, here, scope));
    else if (!application.issuesTokens)
      report(
        fault(
          here,
          'application_without_audience',
          `expected an application with aud or issued_tokens, found application ${application.id} with neither`,
          'give that application its aud',
        ),
      );
  },
  anyOf(values) {
    const applications = [...new Set(values.map(idOf))];
    return anyJudge(
      applications.map(
        (application): Judge =>
          ({ linkedTokens }) =>
            linkedTokens.get(application)?.verdict ?? 'unavailable',
      ),
    );
  },
  seen: ({ linkedTokens }, value) =>
    `token for ${value.app_uid}: ${linkedTokens.get(idOf(value))?.verdict ?? 'not looked for'}`,
};

/** Ids are lower case, however a rule writes them. */
function idOf(value: ShapeOutput<typeof shape>): string {
  return value.app_uid.toLowerCase();
}
