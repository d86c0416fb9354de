/** The first page: what runs, how it goes, and who was not let in. */
import type { LocatedFault } from '../../policy/fault-text.ts';
import type { Outcome } from '../../model/decision.ts';
import { html, when } from './html.ts';
import type { Html, HtmlValue } from './html.ts';
import { tag, timeElement } from './page.ts';
import type { Refusal } from './recent.ts';
import type { ApplicationTraffic } from './traffic.ts';

/** Everything that the page shows. */
export interface Overview {
  readonly nowMs: number;
  readonly startedMs: number;
  readonly ready: boolean;
  readonly revision: string;
  /** Since when that revision decides. */
  readonly liveMs: number;
  /** The last time that the configuration was read; `refused`: it had faults, and the revision before stays. */
  readonly lastLoad: {
    readonly timeMs: number;
    readonly result: 'live' | 'refused' | 'failed';
    readonly faults: readonly LocatedFault[];
  };
  /** Of the revision that decides. */
  readonly warnings: readonly LocatedFault[];
  /** Policies that are only tried; undefined: none are. */
  readonly shadow: { readonly faults: readonly LocatedFault[] } | undefined;
  readonly applications: readonly ShownApplication[];
  readonly traffic: ReadonlyMap<string | undefined, ApplicationTraffic>;
  /** The newest first. */
  readonly refusals: readonly Refusal[];
  readonly passedOver: number;
}

export interface ShownApplication {
  readonly id: string;
  readonly name: string;
  readonly destinations: readonly string[];
}

export function overviewBody(overview: Overview): Html {
  return html`${revisionSection(overview)}${applicationsSection(overview)}${refusalsSection(overview)}`;
}

/** How an outcome is shown everywhere. */
export function outcomeTag(outcome: Outcome): Html {
  return tag(OUTCOME_WORDS[outcome], TONES[outcome]);
}

const OUTCOME_WORDS: Readonly<Record<Outcome, string>> = {
  allow: 'allowed',
  unauthenticated: 'not signed in',
  step_up: 'step-up',
  deny: 'denied',
  bad_request: 'bad request',
  unavailable: 'unavailable',
};

const TONES: Readonly<Record<Outcome, 'good' | 'bad' | 'warn' | 'idle'>> = {
  allow: 'good',
  unauthenticated: 'idle',
  step_up: 'warn',
  deny: 'bad',
  bad_request: 'bad',
  unavailable: 'bad',
};

/** A page that takes a browser long to show helps nobody; what is left out is in the metrics. */
const APPLICATIONS_MAX = 200;
const FAULTS_MAX = 50;

function revisionSection({ nowMs, startedMs, ready, revision, liveMs, lastLoad, warnings, shadow }: Overview): Html {
  const faults = lastLoad.faults.filter(({ fault }) => fault.severity === 'fault');
  const result =
    lastLoad.result === 'live'
      ? tag('live', 'good')
      : tag(lastLoad.result === 'refused' ? 'refused: the revision before stays' : 'could not be read', 'bad');
  return html`<section aria-labelledby="revision">
    <h2 id="revision">Configuration</h2>
    <dl class="facts">
      <div>
        <dt>Revision</dt>
        <dd><code>${revision}</code></dd>
      </div>
      <div>
        <dt>Decides since</dt>
        <dd>${timeElement(liveMs)}</dd>
      </div>
      <div>
        <dt>Last read</dt>
        <dd>${timeElement(lastLoad.timeMs)} ${result}</dd>
      </div>
      <div>
        <dt>State</dt>
        <dd>${ready ? tag('ready', 'good') : tag('draining', 'warn')} for ${duration(nowMs - startedMs)}</dd>
      </div>
    </dl>
    ${faultList('Faults of the change that was refused', faults)}${faultList('Faults of the policies that are tried', shadow?.faults ?? [])}${faultList('Warnings', warnings)}
  </section> `;
}

function faultList(title: string, faults: readonly LocatedFault[]): HtmlValue {
  if (faults.length === 0) return undefined;
  const items = faults
    .slice(0, FAULTS_MAX)
    .map(
      ({ fault, position }) =>
        html`<li>
          <code>${fault.place.file}:${position.line}:${position.column}</code> <code>${fault.code}</code>:
          ${fault.text}<br /><span class="note">${fault.mend}</span>
        </li> `,
    );
  const more = faults.length - FAULTS_MAX;
  return html`<h3>${title}</h3>
    <ul class="faults">
      ${items}${when(more > 0, () => html`<li>and ${more} more</li>`)}
    </ul>`;
}

function applicationsSection({ applications, traffic }: Overview): Html {
  const rows: (ShownApplication & { readonly counts: ApplicationTraffic | undefined })[] = applications
    .map((application) => ({ ...application, counts: traffic.get(application.id) }))
    .toSorted(
      (a, b) =>
        (b.counts?.requests ?? 0) - (a.counts?.requests ?? 0) || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0),
    );
  const uncovered = traffic.get(undefined);
  const more = rows.length - APPLICATIONS_MAX;
  const body = [
    ...rows
      .slice(0, APPLICATIONS_MAX)
      .map(({ name, destinations, counts }) =>
        trafficRow(html`<bdi>${name}</bdi>`, html`${destinationsText(destinations)}`, counts),
      ),
    ...(uncovered
      ? [trafficRow(html`No application`, html`what nobody covers, and what cannot be read`, uncovered)]
      : []),
  ];
  return html`<section aria-labelledby="applications">
    <h2 id="applications">Applications</h2>
    ${
      body.length === 0
        ? html`<p class="empty">No application is configured: every request is refused.</p>`
        : html`<div class="scroll" tabindex="0" role="region" aria-label="Applications, may be wider than the screen">
            <table>
              <caption>
                The last five minutes. Latency is Postern’s own part of a request.
              </caption>
              <thead>
                <tr>
                  <th scope="col">Application</th>
                  <th scope="col">Destinations</th>
                  <th scope="col" class="number">Requests a minute</th>
                  <th scope="col" class="number">Allowed</th>
                  <th scope="col" class="number">Step-ups</th>
                  <th scope="col" class="number">Refused</th>
                  <th scope="col" class="number">Half within</th>
                  <th scope="col" class="number">99 % within</th>
                </tr>
              </thead>
              <tbody>
                ${body}
              </tbody>
            </table>
          </div>`
    }
    ${when(more > 0, () => html`<p class="note">and ${more} more, with fewer requests: see the <a href="/metrics">metrics</a></p>`)}
  </section> `;
}

function trafficRow(name: Html, destinations: Html, counts: ApplicationTraffic | undefined): Html {
  const cells = counts
    ? [
        rate(counts.perMinute),
        share(counts.allowed, counts.requests),
        share(counts.stepUps, counts.requests),
        share(counts.refused, counts.requests),
        latency(counts.median),
        latency(counts.p99),
      ]
    : ['0', '–', '–', '–', '–', '–'];
  return html`<tr>
    <th scope="row">${name}</th>
    <td class="wide">${destinations}</td>
    ${cells.map((text) => html`<td class="number">${text}</td>`)}
  </tr> `;
}

const DESTINATIONS_MAX = 5;

function destinationsText(destinations: readonly string[]): HtmlValue {
  const more = destinations.length - DESTINATIONS_MAX;
  return [
    destinations.slice(0, DESTINATIONS_MAX).map((one, place) => html`${place > 0 ? ', ' : ''}<code>${one}</code>`),
    when(more > 0, () => ` and ${more} more`),
  ];
}

function refusalsSection({ refusals, passedOver }: Overview): Html {
  return html`<section aria-labelledby="refusals">
    <h2 id="refusals">Not let in</h2>
    ${
      refusals.length === 0
        ? html`<p class="empty">Everybody was let in so far.</p>`
        : html`<div class="scroll" tabindex="0" role="region" aria-label="Refusals, may be wider than the screen">
            <table>
              <caption>
                The last ${refusals.length}, the newest first.
              </caption>
              <thead>
                <tr>
                  <th scope="col">Time</th>
                  <th scope="col">Outcome</th>
                  <th scope="col">Request</th>
                  <th scope="col">Application</th>
                  <th scope="col">Who</th>
                  <th scope="col">Reason</th>
                </tr>
              </thead>
              <tbody>
                ${refusals.map(refusalRow)}
              </tbody>
            </table>
          </div>`
    }
    ${when(passedOver > 0, () => html`<p class="note">${passedOver} more came too fast to be remembered.</p>`)}
  </section> `;
}

function refusalRow(refusal: Refusal): Html {
  const { request } = refusal;
  return html`<tr>
    <td class="time">${timeElement(refusal.timeMs)}</td>
    <td>${outcomeTag(refusal.outcome)}</td>
    <td class="wide">
      ${request ? html`<code>${request.method} ${request.host}${request.path}</code>` : 'could not be read'}
    </td>
    <td><bdi>${refusal.application ?? '–'}</bdi></td>
    <td>
      <bdi>${refusal.who ?? '–'}</bdi
      >${when(refusal.clientAddress !== undefined, () => html`<br /><span class="note">${refusal.clientAddress}</span>`)}
    </td>
    <td>
      <a href="/decisions/${encodeURIComponent(refusal.id)}"
        >${refusal.reason}<span class="skip"> of ${refusal.id}</span></a
      >
    </td>
  </tr> `;
}

function rate(perMinute: number): string {
  return perMinute >= 10 ? perMinute.toFixed(0) : perMinute.toFixed(1);
}

function share(part: number, whole: number): string {
  if (part === 0) return '0 %';
  const percent = (100 * part) / whole;
  return percent < 0.1 ? '< 0.1 %' : `${percent >= 10 ? percent.toFixed(0) : percent.toFixed(1)} %`;
}

function latency(seconds: number): string {
  if (seconds === Number.POSITIVE_INFINITY) return '> 1 s';
  return `${Number((seconds * 1000).toPrecision(3))} ms`;
}

function duration(ms: number): string {
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 1) return 'less than a minute';
  if (minutes < 120) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h` : `${Math.floor(hours / 24)} days`;
}
