/** The one style sheet of the status pages. Colours hold at least 4.5:1 in light and dark (WCAG 2.2, 1.4.3). */
import { createHash } from 'node:crypto';

export const STYLE = `
:root { color-scheme: light dark; --page: #f6f7f9; --card: #ffffff; --ink: #1a2230; --soft: #55607a; --line: #d9dee8;
  --link: #1a55c4; --good: #17663a; --good-bg: #e2f3e8; --bad: #a3212d; --bad-bg: #fbe6e8; --warn: #7a4b00; --warn-bg: #fdf0d8;
  --idle: #47526b; --idle-bg: #e9edf4; --field: #ffffff; --accent: #1a55c4; --on-accent: #ffffff; }
@media (prefers-color-scheme: dark) { :root { --page: #10151d; --card: #18202b; --ink: #e6ebf4; --soft: #a4b0c5;
  --line: #2d3848; --link: #8ab4ff; --good: #7fdca4; --good-bg: #14352299; --bad: #ff9aa2; --bad-bg: #44191e99;
  --warn: #f5c26b; --warn-bg: #3d2b0a99; --idle: #b3bed2; --idle-bg: #28334399; --field: #10151d; --accent: #8ab4ff;
  --on-accent: #0c1a33; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
a { color: var(--link); }
a:focus-visible, button:focus-visible, input:focus-visible, select:focus-visible, summary:focus-visible,
[tabindex]:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.skip { position: absolute; left: -999px; } .skip:focus { left: 1rem; top: 1rem; background: var(--card); padding: .5rem; }
header, main { max-width: 76rem; margin: 0 auto; padding: 0 1.25rem; }
header { display: flex; flex-wrap: wrap; gap: .5rem 1.5rem; align-items: center; padding-top: 1.1rem; padding-bottom: .6rem; }
header .brand { font-weight: 650; font-size: 1.15rem; color: inherit; text-decoration: none; }
header nav { display: flex; gap: 1rem; } header form { margin-left: auto; display: flex; gap: .6rem; align-items: baseline; }
main { padding-bottom: 3rem; }
h1 { font-size: 1.3rem; margin: .6rem 0; } h2 { font-size: 1.05rem; margin: 0 0 .6rem; } h3 { font-size: 1rem; margin: 1rem 0 .4rem; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 1rem 1.15rem; margin: 0 0 1rem; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .8rem 1.5rem; margin: 0; }
.facts div { min-width: 0; } dt { color: var(--soft); font-size: .85rem; } dd { margin: 0; overflow-wrap: anywhere; }
.facts .whole { grid-column: 1 / -1; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); font-size: .88rem; padding-bottom: .4rem; }
th, td { text-align: left; padding: .38rem .9rem .38rem 0; border-top: 1px solid var(--line); vertical-align: top; }
thead th { border-top: 0; font-weight: 600; color: var(--soft); font-size: .85rem; white-space: nowrap; }
tbody th { font-weight: 600; } td.number, th.number { text-align: right; white-space: nowrap; } td.time { white-space: nowrap; }
td.wide { min-width: 14rem; overflow-wrap: anywhere; }
code { font: .92em/1.4 ui-monospace, monospace; overflow-wrap: anywhere; }
.tag { display: inline-block; padding: .05rem .5rem; border-radius: 99px; font-size: .84rem; white-space: nowrap; color: var(--idle); background: var(--idle-bg); }
.good { color: var(--good); background: var(--good-bg); } .bad { color: var(--bad); background: var(--bad-bg); } .warn { color: var(--warn); background: var(--warn-bg); }
.note { color: var(--soft); margin: .3rem 0; } .empty { color: var(--soft); margin: 0; }
.faults { margin: .6rem 0 1rem; padding-left: 1.1rem; } .faults li { margin: .35rem 0; }
.tree, .tree ul { list-style: none; margin: 0; padding: 0; } .tree ul { padding-left: 1.2rem; border-left: 2px solid var(--line); margin: .25rem 0 .35rem .25rem; }
.tree li { margin: .25rem 0; } .tree .where { color: var(--soft); font-size: .85rem; }
form.try { display: grid; grid-template-columns: repeat(auto-fit, minmax(14rem, 1fr)); gap: .2rem 1.2rem; align-items: start; }
form.try fieldset { grid-column: 1 / -1; display: grid; grid-template-columns: inherit; gap: .6rem 1.2rem; border: 0; margin: 0 0 .6rem; padding: 0; }
legend { font-weight: 600; padding: 0; margin-bottom: .4rem; } label { display: block; font-size: .88rem; color: var(--soft); }
input, select { width: 100%; font: inherit; color: var(--ink); background: var(--field); border: 1px solid var(--soft); border-radius: 6px; padding: .38rem .5rem; }
::placeholder { color: var(--soft); opacity: .85; }
button { font: inherit; font-weight: 600; color: var(--on-accent); background: var(--accent); border: 0; border-radius: 6px; padding: .45rem 1.1rem; cursor: pointer; }
button.plain { background: none; color: var(--link); padding: 0; font-weight: 400; text-decoration: underline; }
.narrow { max-width: 26rem; margin: 3rem auto; } .narrow input { margin: .2rem 0 .8rem; }
`;

/** No script runs, nothing is loaded, nobody frames the page; the one style sheet is known by its hash. */
export const PAGE_HEADERS: Readonly<Record<string, string>> = Object.freeze({
  'content-type': 'text/html; charset=utf-8',
  'content-security-policy': [
    "default-src 'none'",
    `style-src 'sha256-${createHash('sha256').update(STYLE).digest('base64')}'`,
    'img-src data:',
    "form-action 'self'",
    "frame-ancestors 'none'",
    "base-uri 'none'",
  ].join('; '),
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  // With no-referrer a form of this page would be sent with the origin null.
  'referrer-policy': 'same-origin',
});
