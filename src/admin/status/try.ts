/** A form to ask what would become of a request. It is a GET: its address can be kept and sent to a colleague, and
 *  nothing is changed by it. */
import { decideStated, linkStatement } from '../../cases/stated.ts';
import type { StatedAgainst, StatedDecision } from '../../cases/stated.ts';
import { readIdentity, readStatedRequest } from '../../cases/shape.ts';
import type { Statement, StatedIdentity } from '../../cases/shape.ts';
import type { Fault, Place } from '../../model/fault.ts';
import { html, when } from './html.ts';
import type { Html, HtmlValue } from './html.ts';

/** What came of the form: not filled in, filled in wrongly, or decided. */
export type Trial =
  | { readonly state: 'empty' }
  | { readonly state: 'wrong'; readonly faults: readonly Fault[] }
  | { readonly state: 'decided'; readonly decided: StatedDecision };

/** Decides what the form says. `nowMs`: of a request that says no time. */
export async function tryRequest(query: URLSearchParams, against: StatedAgainst, nowMs: number): Promise<Trial> {
  const written = (name: string): string | undefined => {
    const value = query.get(name)?.trim() ?? '';
    return value === '' ? undefined : value.slice(0, VALUE_MAX);
  };
  if (written('host') === undefined) return { state: 'empty' };
  const faults: Fault[] = [];
  const report = (found: Fault): void => void faults.push(found);
  const request = readStatedRequest(
    filledIn({
      method: written('method'),
      host: written('host'),
      path: written('path'),
      client_ip: written('client_ip'),
      country: written('country'),
      time: written('time'),
    }),
    { ...PLACE, path: ['request'] },
    report,
  );
  const identity = identityOf(written, report);
  if (!request || !identity) return { state: 'wrong', faults };
  const statement: Statement = {
    request,
    identity,
    history: undefined,
    machine: undefined,
    engines: undefined,
    evaluations: undefined,
  };
  linkStatement(statement, PLACE, against, report);
  if (faults.length > 0) return { state: 'wrong', faults };
  return { state: 'decided', decided: await decideStated(statement, against, nowMs) };
}

/** The form, filled in as it was sent, and above it what was wrong with it. */
export function tryForm(query: URLSearchParams, trial: Trial, providers: readonly { readonly name: string }[]): Html {
  const value = (name: string): string => (query.get(name) ?? '').slice(0, VALUE_MAX);
  const chosen = value('provider');
  return html`<section aria-labelledby="request">
    <h2 id="request">Request</h2>
    ${when(
      trial.state === 'wrong',
      () =>
        html`<div role="alert">
          <p>This cannot be asked yet:</p>
          <ul class="faults">
            ${trial.state === 'wrong' ? trial.faults.map(faultItem) : undefined}
          </ul>
        </div>`,
    )}
    <form class="try" method="get" action="/try">
      <fieldset>
        <legend>What is asked for</legend>
        ${field('host', 'Host', value, 'orders.example.com', true)}${field('path', 'Path and query', value, '/api/v1/orders')}${field('method', 'Method', value, 'GET')}
      </fieldset>
      <fieldset>
        <legend>Who asks, where somebody is signed in</legend>
        ${field('email', 'E-mail address', value, 'ann@example.com')}${field('subject', 'Subject', value)}
        <div>
          <label for="provider">Identity provider</label
          ><select id="provider" name="provider">
            <option value="">none stated</option>
            ${providers.map(({ name }) =>
              name === chosen
                ? html`<option value="${name}" selected>${name}</option>`
                : html`<option value="${name}">${name}</option>`,
            )}
          </select>
        </div>
        ${field('groups', 'Groups, divided by commas', value)}${field('amr', 'Methods (amr), divided by spaces', value, 'pwd otp')}${field('acr', 'Class (acr)', value)}${field('auth_time', 'Signed in at', value, '2026-03-04T14:00:00Z')}
      </fieldset>
      <fieldset>
        <legend>From where and when</legend>
        ${field('client_ip', 'IP address', value, '203.0.113.7')}${field('country', 'Country, in place of a database', value, 'CA')}${field('time', 'Time, where not now', value, '2026-03-04T14:30:00Z')}
      </fieldset>
      <div><button>Decide</button></div>
    </form>
    <p class="note">Decided by the policies that run. Nothing is learned, counted or sent; tokens are not asked for.</p>
  </section> `;
}

const PLACE: Place = { file: '', path: [] };
/** No value of the form is sensibly longer: the longest path. */
const VALUE_MAX = 8_192;

function identityOf(
  written: (name: string) => string | undefined,
  report: (found: Fault) => void,
): StatedIdentity | 'nobody' | undefined {
  const [email, subject, groups, amr] = [written('email'), written('subject'), written('groups'), written('amr')];
  if (email === undefined && subject === undefined) return 'nobody';
  const stated = filledIn({
    email,
    subject,
    provider: written('provider'),
    groups: groups
      ?.split(',')
      .map((one) => one.trim())
      .filter((one) => one !== ''),
    amr: amr?.split(/[\s,]+/),
    acr: written('acr'),
    auth_time: written('auth_time'),
  });
  return readIdentity(stated, { ...PLACE, path: ['identity'] }, report);
}

function filledIn(values: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
}

function field(
  name: string,
  label: string,
  value: (name: string) => string,
  sample?: string,
  isRequired = false,
): HtmlValue {
  const written = value(name);
  const placeholder = sample === undefined ? '' : `e.g. ${sample}`;
  return isRequired
    ? html`<div>
        <label for="${name}">${label}</label
        ><input
          id="${name}"
          name="${name}"
          value="${written}"
          placeholder="${placeholder}"
          autocomplete="off"
          required
        />
      </div>`
    : html`<div>
        <label for="${name}">${label}</label
        ><input id="${name}" name="${name}" value="${written}" placeholder="${placeholder}" autocomplete="off" />
      </div>`;
}

function faultItem({ place, text, mend }: Fault): Html {
  return html`<li><code>${place.path.at(-1) ?? ''}</code>: ${text}<br /><span class="note">${mend}</span></li>`;
}
