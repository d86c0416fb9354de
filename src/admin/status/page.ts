/** What all status pages have in common. */
import type { AdminResponse } from '../server.ts';
import { html, styleElement, when } from './html.ts';
import type { Html, HtmlValue } from './html.ts';
import { PAGE_HEADERS, STYLE } from './style.ts';

export interface PageFrame {
  readonly title: string;
  /** The name of the token that signed in; undefined: nobody had to. */
  readonly caller: string | undefined;
  /** Absent before somebody has signed in. */
  readonly isOpen: boolean;
}

/** A whole page as an answer. */
export function page(status: number, { title, caller, isOpen }: PageFrame, body: HtmlValue): AdminResponse {
  const document = html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        <title>${title} – Postern</title>
        <link rel="icon" href="${ICON}" />
        ${styleElement(STYLE)}
      </head>
      <body>
        <a class="skip" href="#main">Skip to the content</a>
        <header>
          <a class="brand" href="/">Postern</a
          >${when(isOpen, () => html`<nav aria-label="Pages"><a href="/">Status</a><a href="/try">Try a request</a><a href="/metrics">Metrics</a></nav>`)}${when(
            caller !== undefined,
            () =>
              html`<form method="post" action="/sign-out">
                <span>Signed in as <bdi>${caller}</bdi></span
                ><button class="plain">Sign out</button>
              </form>`,
          )}
        </header>
        <main id="main">
          <h1>${title}</h1>
          ${body}
        </main>
      </body>
    </html> `;
  return { status, headers: PAGE_HEADERS, body: document.toString() };
}

/** A time that a person reads and a machine too; UTC, so that it can be compared with logs. */
export function timeElement(epochMs: number): Html {
  const text = new Date(epochMs).toISOString();
  return html`<time datetime="${text}">${text.slice(0, 10)} ${text.slice(11, 19)} UTC</time>`;
}

/** A word on a coloured ground; the word alone says it all. */
export function tag(word: string, tone: 'good' | 'bad' | 'warn' | 'idle'): Html {
  return html`<span class="tag ${tone}">${word}</span>`;
}

const ICON =
  "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath d='M3 15V6a5 5 0 0 1 10 0v9z' fill='%231a55c4'/%3E%3Ccircle cx='10' cy='10' r='1.2' fill='white'/%3E%3C/svg%3E";
