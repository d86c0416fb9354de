import { anyJudge, identityJudge, seenIdentity } from './rule.ts';
import type { RuleScope, RuleType } from './rule.ts';
import { at, fault } from '../model/fault.ts';
import type { Place, Report } from '../model/fault.ts';
import { isLoopbackHost } from '../shared/host.ts';
import { exactObject, quoted, readText } from '../shared/shape.ts';
import type { Finding, Shape, ShapeOutput } from '../shared/shape.ts';

const shape = exactObject({
  evaluate_url: urlText().describe('The endpoint that is asked; its host is one of external_evaluation.allow_hosts.'),
  keys_url: urlText().describe('Where the keys are that sign its answers.'),
});

/** The signed answer of an endpoint of one's own. Source: Cloudflare Access, rule type `external_evaluation`. */
export const externalEvaluation: RuleType<ShapeOutput<typeof shape>> = {
  word: 'external_evaluation',
  description: 'Met when the endpoint at evaluate_url answers success: true, signed by a key at keys_url.',
  reads: 'identity',
  shape,
  // The endpoint is told where from and by what the user comes, as far as that is known.
  needs: ({ evaluate_url: evaluateUrl, keys_url: keysUrl }) => [
    { fact: 'identity' },
    { fact: 'address' },
    { fact: 'location' },
    { fact: 'certificate' },
    { fact: 'service_token' },
    { fact: 'posture' },
    { fact: 'external_evaluation', evaluateUrl, keysUrl },
  ],
  link({ value, place }, scope, report) {
    linkUrl(value.evaluate_url, at(place, 'evaluate_url'), scope, report);
    linkUrl(value.keys_url, at(place, 'keys_url'), scope, report);
  },
  anyOf(values) {
    const keys = new Set(values.map((value) => `${value.evaluate_url}\n${value.keys_url}`));
    const judge = anyJudge(
      [...keys].map(
        (key) =>
          ({ evaluations }) =>
            evaluations.get(key) ?? 'unavailable',
      ),
    );
    return identityJudge((_, context) => judge(context));
  },
  seen: (context, value) =>
    seenIdentity(
      context,
      () =>
        `${value.evaluate_url}: ${context.evaluations.get(`${value.evaluate_url}\n${value.keys_url}`) ?? 'not asked'}`,
    ),
};

/** A URL that is used as it is written. */
function urlText(): Shape<string> {
  return readText((written) => {
    const mend = URL.canParse(written)
      ? urlMend(new URL(written), written)
      : 'write a URL such as "https://policy.example.com/evaluate"';
    return mend === undefined ? { value: written } : urlFinding(written, mend);
  });
}

function urlMend(url: URL, written: string): string | undefined {
  if (url.protocol !== 'https:' && url.protocol !== 'http:') return 'write an https URL';
  if (!/^https?:\/\/[^/\\]/i.test(written) || url.hostname === '') return 'write the host after "https://"';
  if (url.username !== '' || url.password !== '' || /^[^?#]*\/\/[^/?#]*@/.test(written))
    return 'remove the user and password';
  if (written.includes('#')) return 'remove the part from "#" on';
  return /[\s\\\u0000-\u001f\u007f]/.test(written) ? 'percent-encode white space and backslashes' : undefined;
}

function urlFinding(written: string, mend: string): Finding {
  const shown = written.replace(/\/\/[^/?#]*@/, '//…@');
  return { code: 'url_invalid', text: `expected an https URL without user and fragment, found ${quoted(shown)}`, mend };
}

/** Who may write policies must not be able to aim Postern at a host of their choice, so the hosts are in the
 *  settings. */
function linkUrl(written: string, place: Place, scope: RuleScope, report: Report): void {
  const url = new URL(written);
  if (url.protocol === 'http:' && !isLoopbackHost(url.hostname))
    report(fault(place, 'url_insecure', `expected https, found ${quoted(written)}`, 'write https://'));
  else if (!isListed(url, scope.evaluationHosts))
    report(
      fault(
        place,
        'evaluation_host_not_allowed',
        `expected a host of external_evaluation.allow_hosts, found ${quoted(url.host)}`,
        `add ${quoted(url.host)} to external_evaluation.allow_hosts in postern.yaml`,
      ),
    );
}

/** Exactly the host, at any port, or exactly the host and port. */
function isListed(url: URL, hosts: readonly string[]): boolean {
  const port = url.port || (url.protocol === 'https:' ? '443' : '80');
  return hosts.includes(url.hostname) || hosts.includes(`${url.hostname}:${port}`);
}
