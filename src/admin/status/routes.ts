/** The status pages: `/`, `/decisions/{id}`, `/try`, and signing in and out. They are read, never written: what a
 *  browser does on somebody else's behalf changes nothing. */
import { createHash } from 'node:crypto';
import type { StatedAgainst } from '../../cases/stated.ts';
import { decodeFacts, missingFacts } from '../../policy/replay.ts';
import { createExplainer } from '../../policy/explain.ts';
import type { Explainer, ExplainParts } from '../../policy/explain.ts';
import { bearerToken, callerOf } from '../server.ts';
import type { AdminGroup, AdminRequest, AdminResponse, AdminRoute, AdminToken } from '../server.ts';
import { explanationBody } from './explanation.ts';
import { html, when } from './html.ts';
import type { HtmlValue } from './html.ts';
import { outcomeTag, overviewBody } from './overview.ts';
import type { Overview } from './overview.ts';
import { page, timeElement } from './page.ts';
import type { Recent, Refusal } from './recent.ts';
import { createSessions, sessionCookie } from './sessions.ts';
import type { Sessions } from './sessions.ts';
import { PAGE_HEADERS } from './style.ts';
import { tryForm, tryRequest } from './try.ts';

export interface StatusOptions {
  /** Milliseconds since the epoch. */
  readonly nowMs: () => number;
  readonly recent: Recent;
  readonly overview: () => Omit<Overview, 'nowMs' | 'refusals' | 'passedOver'>;
  /** The revision that decides. */
  readonly running: () => {
    readonly revision: string;
    readonly against: StatedAgainst;
    readonly explain: ExplainParts;
  };
  readonly tokens: () => readonly AdminToken[];
  /** Whether browsers reach the page over TLS. */
  readonly isSecure: () => boolean;
}

export interface StatusPages {
  readonly routes: readonly AdminRoute[];
  /** How a browser presents its session, and what it sees without one. */
  readonly root: Pick<AdminGroup, 'presented' | 'refuse'>;
}

/** Pages with the scope `page`. A browser cannot send a token by itself, so it signs in with one by a form and gets a
 *  session in its place, which these pages take and no API does.
 *
 *  Forged requests: the cookie is SameSite=Strict, and pages of other ports of the same host, which count as the same
 *  site, are told apart by `Sec-Fetch-Site` and `Origin` where something is posted. All else is read only, and cannot
 *  be framed. */
export function statusPages(options: StatusOptions): StatusPages {
  const sessions = createSessions(options.nowMs);
  return {
    routes: [
      { method: 'GET', path: '/', scope: 'page', handle: (request) => showOverview(request, options) },
      { method: 'GET', path: '/decisions/{id}', scope: 'page', handle: (request) => showDecision(request, options) },
      { method: 'GET', path: '/try', scope: 'page', handle: (request) => showTrial(request, options) },
      { method: 'POST', path: '/sign-in', scope: 'open', handle: (request) => signIn(request, options, sessions) },
      { method: 'POST', path: '/sign-out', scope: 'open', handle: (request) => signOut(request, options, sessions) },
    ],
    root: {
      presented: (headers) => bearerToken(headers) ?? sessions.presented(headers),
      refuse(refusal, request) {
        switch (refusal.kind) {
          case 'unauthenticated':
            return signInPage(401, request.path, undefined);
          case 'forbidden':
            return signInPage(403, request.path, 'That token has not the scope read.');
          case 'not_found':
            return { status: 404 };
          case 'method_not_allowed':
            return { status: 405 };
          case 'too_large':
            return { status: 413 };
          case 'failed':
            return { status: 500 };
        }
      },
    },
  };
}

function showOverview(request: AdminRequest, options: StatusOptions): AdminResponse {
  const { recent } = options;
  const body = overviewBody({
    ...options.overview(),
    nowMs: options.nowMs(),
    refusals: recent.list(),
    passedOver: recent.passedOver,
  });
  return page(200, frame('Status', request), body);
}

function showDecision(request: AdminRequest, options: StatusOptions): AdminResponse {
  const refusal = options.recent.find(request.parameters.get('id') ?? '');
  if (!refusal) {
    const gone = html`<p class="empty">
      The last hundred refusals are remembered, and none of them has this id. The decision log has them all.
    </p>`;
    return page(404, frame('This decision is no longer here', request), gone);
  }
  return page(200, frame('Why it was not let in', request), [refusalSection(refusal), explained(refusal, options)]);
}

/** By the policies that run now, which need not be those that decided. */
function explained(refusal: Refusal, options: StatusOptions): HtmlValue {
  if (refusal.facts === undefined || !refusal.request) return undefined;
  const { revision, against, explain } = options.running();
  const decoded = decodeFacts(JSON.parse(refusal.facts));
  if ('wrong' in decoded) throw new Error(`facts of a decision cannot be read: ${decoded.wrong}`);
  const { context, facts } = decoded;
  const { host, path } = context.request;
  const application = against.destinations.find(host, path)?.target;
  const missing = application ? missingFacts(facts, application) : [];
  const explanation = explainerOf(explain).explain(host, path, context);
  const hasChanged = explanation.decision.reason !== refusal.reason || explanation.decision.outcome !== refusal.outcome;
  return [
    when(
      revision !== refusal.revision || hasChanged,
      () =>
        html`<section aria-labelledby="since">
          <h2 id="since">Since then</h2>
          <p>
            Revision <code>${refusal.revision}</code> decided; what follows is by <code>${revision}</code>, which
            decides
            now${when(hasChanged, () => html`: it would be ${outcomeTag(explanation.decision.outcome)} <code>${explanation.decision.reason}</code>`)}.
          </p>
          ${when(refusal.reason === 'step_up_exhausted', () => html`<p>The caller had been asked to step up too often, which a decision by itself does not know.</p>`)}
          ${when(missing.length > 0, () => html`<p>These policies also read what was not recorded then and counts as unknown: ${missing.join(', ')}.</p>`)}
        </section> `,
    ),
    explanationBody(explanation),
  ];
}

function refusalSection(refusal: Refusal): HtmlValue {
  const { request } = refusal;
  return html`<section aria-labelledby="asked">
    <h2 id="asked">Request</h2>
    <dl class="facts">
      <div class="whole">
        <dt>Request</dt>
        <dd>${request ? html`<code>${request.method} ${request.host}${request.path}</code>` : 'could not be read'}</dd>
      </div>
      <div>
        <dt>Answer</dt>
        <dd>${outcomeTag(refusal.outcome)} <code>${refusal.reason}</code></dd>
      </div>
      <div>
        <dt>Who</dt>
        <dd><bdi>${refusal.who ?? 'nobody who is signed in'}</bdi></dd>
      </div>
      <div>
        <dt>From</dt>
        <dd>${refusal.clientAddress ?? 'unknown'}</dd>
      </div>
      <div>
        <dt>When</dt>
        <dd>${timeElement(refusal.timeMs)}</dd>
      </div>
      <div>
        <dt>Decision id</dt>
        <dd><code>${refusal.id}</code></dd>
      </div>
    </dl>
    ${when(refusal.why !== '', () => html`<p><bdi>${refusal.why}</bdi></p>`)}
  </section> `;
}

async function showTrial(request: AdminRequest, options: StatusOptions): Promise<AdminResponse> {
  const { against, explain } = options.running();
  const trial = await tryRequest(request.query, against, options.nowMs());
  const result: HtmlValue =
    trial.state !== 'decided'
      ? undefined
      : trial.decided.request
        ? explanationBody(
            explainerOf(explain).explain(trial.decided.request.host, trial.decided.request.path, trial.decided.context),
          )
        : html`<section aria-labelledby="decision">
            <h2 id="decision">Decision</h2>
            <p>
              ${outcomeTag(trial.decided.decision.outcome)} <code>${trial.decided.decision.reason}</code>:
              ${trial.decided.decision.why}
            </p>
          </section> `;
  return page(200, frame('Try a request', request), [result, tryForm(request.query, trial, against.providers)]);
}

/** One explainer for each revision. */
function explainerOf(parts: ExplainParts): Explainer {
  const known = EXPLAINERS.get(parts.compiled);
  if (known) return known;
  const made = createExplainer(parts);
  EXPLAINERS.set(parts.compiled, made);
  return made;
}

const EXPLAINERS = new WeakMap<object, Explainer>();

function frame(title: string, { caller }: AdminRequest): Parameters<typeof page>[1] {
  return { title, caller: caller?.name, isOpen: true };
}

function signInPage(status: number, returnTo: string, wrong: string | undefined): AdminResponse {
  return page(
    status,
    { title: 'Sign in', caller: undefined, isOpen: false },
    html`<section class="narrow" aria-label="Sign in">
      <p>These pages are for holders of an admin token with the scope read.</p>
      ${when(wrong !== undefined, () => html`<p role="alert"><span class="tag bad">${wrong}</span></p>`)}
      <form method="post" action="/sign-in">
        <label for="token">Admin token</label
        ><input id="token" name="token" type="password" autocomplete="current-password" required /><input
          type="hidden"
          name="return"
          value="${pageOf(returnTo)}"
        /><button>Sign in</button>
      </form>
    </section> `,
  );
}

function signIn(request: AdminRequest, options: StatusOptions, sessions: Sessions): AdminResponse {
  const tokens = options.tokens();
  if (tokens.length === 0) return { status: 404 };
  if (!isOwnForm(request)) return FOREIGN;
  const form = new URLSearchParams(Buffer.from(request.body).toString('utf8'));
  const returnTo = pageOf(form.get('return') ?? '/');
  const secret = (form.get('token') ?? '').trim();
  const caller = callerOf({ secret }, tokens);
  if (!caller) return signInPage(401, returnTo, 'No admin token is this one.');
  if (!caller.scopes.includes('read')) return signInPage(403, returnTo, 'That token has not the scope read.');
  const value = sessions.begin(createHash('sha256').update(secret, 'utf8').digest('hex'));
  return seeOther(returnTo, sessionCookie(value, options.isSecure()));
}

function signOut(request: AdminRequest, options: StatusOptions, sessions: Sessions): AdminResponse {
  if (!isOwnForm(request)) return FOREIGN;
  sessions.end(request.headers);
  return seeOther('/', sessionCookie(undefined, options.isSecure()));
}

const FOREIGN: AdminResponse = {
  status: 403,
  headers: { ...PAGE_HEADERS, 'content-type': 'text/plain; charset=utf-8' },
  body: 'That form was sent by another page.\n',
};

function seeOther(location: string, cookie: string): AdminResponse {
  return { status: 303, headers: { ...PAGE_HEADERS, location, 'set-cookie': cookie } };
}

/** Posted by a page of this very port. Browsers say so; what is no browser has no session to be abused. */
function isOwnForm({ headers }: AdminRequest): boolean {
  const site = headers['sec-fetch-site'];
  if (site !== undefined && site !== 'same-origin' && site !== 'none') return false;
  const { origin } = headers;
  if (origin === undefined) return true;
  return URL.canParse(origin) && new URL(origin).host === headers.host;
}

/** One of our own pages, or the first. */
function pageOf(path: string): string {
  return /^\/(?:try|decisions\/[\w-]{1,64})?$/.test(path) ? path : '/';
}
