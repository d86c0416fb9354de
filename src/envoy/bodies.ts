/** What a refusal says to whom. Nothing of the request is in it, and never which rule or factor decided. ASCII and
 *  well under 4 KiB, because Envoy may cut a body at `max_denied_response_body_bytes`. */
import type { Outcome, Reason } from '../model/decision.ts';

/** Everything but an allow. */
export type RefusalOutcome = Exclude<Outcome, 'allow'>;

export type Audience = 'program' | 'browser' | 'grpc';

export interface Body {
  readonly contentType: string;
  readonly text: string;
}

/** The body for one refusal.
 *  @param decisionId What the log calls this decision, so that the caller can name it to those who can read the log. */
export function refusalBody(
  audience: Audience,
  outcome: RefusalOutcome,
  reason: Reason,
  status: RefusalStatus,
  decisionId: string,
): Body {
  const id = decisionId.replace(/[^0-9A-Za-z._:-]/g, '');
  const words = status === 302 ? REDIRECT : WORDS[outcome];
  if (audience === 'browser') return { contentType: 'text/html; charset=utf-8', text: page(words, id) };
  if (audience === 'grpc') return { contentType: 'text/plain; charset=utf-8', text: `${words.title} (decision ${id})` };
  return { contentType: 'application/problem+json', text: problem(words, coarse(outcome, reason), status, id) };
}

/** What a refused caller is told, in words: nothing of the policy. */
export function refusalWords(outcome: RefusalOutcome): Words {
  return WORDS[outcome];
}

export type RefusalStatus = 302 | 400 | 401 | 403 | 503;

export interface Words {
  readonly title: string;
  readonly detail: string;
}

const WORDS: Readonly<Record<RefusalOutcome, Words>> = Object.freeze({
  unauthenticated: { title: 'Authentication required', detail: 'Sign in and try again.' },
  step_up: { title: 'Stronger authentication required', detail: 'Confirm who you are once more and try again.' },
  deny: { title: 'Access denied', detail: 'You do not have access to this resource.' },
  bad_request: { title: 'Bad request', detail: 'The request could not be read without doubt.' },
  unavailable: { title: 'Temporarily unavailable', detail: 'Access could not be decided. Try again in a moment.' },
});

const REDIRECT: Words = Object.freeze({
  title: 'Continue to sign in',
  detail: 'You are being taken to the sign-in page.',
});

const PHRASES: Readonly<Record<RefusalStatus, string>> = Object.freeze({
  302: 'Found',
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  503: 'Service Unavailable',
});

/** What a caller may know of the reason: enough to do the right thing next, nothing of the policy. */
function coarse(outcome: RefusalOutcome, reason: Reason): string {
  if (outcome === 'deny') return reason === 'step_up_exhausted' ? reason : 'access_denied';
  return outcome === 'unavailable' ? 'unavailable' : reason;
}

/** RFC 9457. */
function problem(words: Words, reason: string, status: RefusalStatus, id: string): string {
  return JSON.stringify({
    type: 'about:blank',
    title: PHRASES[status],
    status,
    detail: words.detail,
    reason,
    decision_id: id,
  });
}

function page(words: Words, id: string): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${words.title}</title>
<style>
body { margin: 0; min-height: 100vh; display: grid; place-items: center; font: 1.125rem/1.5 system-ui, sans-serif; color: #1c2024; background: #fafbfc }
main { max-width: 32rem; padding: 2rem }
h1 { margin: 0 0 1rem; font-size: 1.75rem; line-height: 1.2 }
p { margin: 0 0 1rem }
.decision { color: #5a6169; font-size: .875rem }
code { font-family: ui-monospace, monospace; overflow-wrap: anywhere }
@media (prefers-color-scheme: dark) { body { color: #eceef0; background: #16181b } .decision { color: #a9b0b8 } }
</style>
</head>
<body>
<main>
<h1>${words.title}</h1>
<p>${words.detail}</p>
<p class="decision">Decision <code>${id}</code></p>
</main>
</body>
</html>
`;
}
