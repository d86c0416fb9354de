/** What the status pages are made of, without a browser. */
import { readFileSync, readdirSync } from 'node:fs';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { html, styleElement, when } from '../../../src/admin/status/html.ts';
import { createRecent } from '../../../src/admin/status/recent.ts';
import { createSessions, sessionCookie } from '../../../src/admin/status/sessions.ts';
import { createTraffic } from '../../../src/admin/status/traffic.ts';
import type { CheckFinished } from '../../../src/envoy/check.ts';
import { decodeFacts } from '../../../src/policy/replay.ts';
import { refused } from '../../../src/policy/engine.ts';
import { requestFacts } from '../../rules/contexts.ts';

describe('a piece of a page', () => {
  it.each([
    ['a & b', 'a &#38; b'],
    [`<script>"'\`=`, '&#60;script&#62;&#34;&#39;&#96;&#61;'],
    ['&lt;', '&#38;lt;'],
    ['tab\tand line\n', 'tab\tand line\n'],
    ['\u0000\u001b\u202e\u200b\ufeff', '\ufffd\ufffd\ufffd\ufffd\ufffd'],
    ['\ud800x\udc00', '\ufffdx\ufffd'],
    ['😀 Żółć', '😀 Żółć'],
  ])('holds %j as %j', (text, expected) => {
    expect(html`<p title="${text}">${text}</p>`.toString()).toBe(`<p title="${expected}">${expected}</p>`);
  });

  it('holds numbers, lists, other pieces, and nothing', () => {
    const list = ['<', html`<b>${'&'}</b>`, undefined, [1, ['>']]];
    expect(html`${list}|${when(false, () => 'x')}|${when(true, () => 'y')}`.toString()).toBe(
      '&#60;<b>&#38;</b>1&#62;||y',
    );
  });

  it('cannot be had of text: nothing that looks like one is taken for one', () => {
    const pretender = { toString: () => '<script>' } as unknown as string;
    expect(() => html`${pretender}`.toString()).toThrow();
  });

  it('keeps whatever text in its place', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const made = html`<a title="${text}">${text}</a>`.toString();
        const [, title = '', content = ''] = /^<a title="([^"<>]*)">([^<>]*)<\/a>$/s.exec(made) ?? [];
        expect(title).toBe(content);
        const back = content.replace(/&#(\d+);/g, (_, code: string) => String.fromCharCode(Number(code)));
        expect(back.length).toBe(text.length);
      }),
    );
  });

  it('of a style sheet refuses what could end it', () => {
    expect(() => styleElement('a{}</style>')).toThrow('without & and <');
  });

  it('has its values between tags or in quoted attributes, in every template', () => {
    const folder = new URL('../../../src/admin/status/', import.meta.url);
    let templates = 0;
    for (const name of readdirSync(folder)) {
      for (const template of templatesOf(readFileSync(new URL(name, folder), 'utf8'))) {
        templates += 1;
        expect(`${name}: ${wrongPlaceOf(template) ?? 'right'}`).toBe(`${name}: right`);
      }
    }
    expect(templates).toBeGreaterThan(60);
    // It does find what is wrong.
    for (const wrong of [
      '<a href=¤>',
      '<a ¤>',
      '<¤>',
      '<script>¤</script>',
      "<a onclick='¤'>",
      '<a href="¤x">',
      '<!-- ¤ -->',
    ])
      expect([wrong, wrongPlaceOf(wrong)]).not.toEqual([wrong, undefined]);
  });
});

const VALUE = '¤';

/** The literal texts of all `html` templates of a source, with a mark where values stand. */
function templatesOf(source: string): string[] {
  const found: string[] = [];
  const read = (start: number): number => {
    let text = '';
    let place = start;
    while (source[place] !== '`') {
      if (source[place] === undefined) throw new Error('a template without an end');
      if (source.startsWith('${', place)) {
        text += VALUE;
        place = skip(place + 2);
      } else text += source[place++] ?? '';
    }
    found.push(text);
    return place + 1;
  };
  /** Over an expression, with the templates in it. */
  const skip = (start: number): number => {
    let depth = 1;
    let place = start;
    while (depth > 0) {
      const character = source[place];
      if (character === undefined) throw new Error('an expression without an end');
      if (source.startsWith('html`', place)) place = read(place + 5);
      else if (character === '`') {
        place += 1;
        while (source[place] !== '`') place = source.startsWith('${', place) ? skip(place + 2) : place + 1;
        place += 1;
      } else if (character === "'") {
        place = source.indexOf("'", place + 1) + 1;
      } else {
        if (character === '{') depth += 1;
        if (character === '}') depth -= 1;
        place += 1;
      }
    }
    return place;
  };
  for (let place = source.indexOf('html`'); place >= 0; place = source.indexOf('html`', place)) {
    const isCode = !/[\w/*]/.test(source[place - 1] ?? '') && source[place - 1] !== '`';
    place = isCode ? read(place + 5) : place + 5;
  }
  return found;
}

/** Undefined: every value stands between tags, or is or ends an attribute of those that hold plain text, in quotes. An
 *  address may end in one only after a fixed beginning. */
function wrongPlaceOf(template: string): string | undefined {
  const without = template.replace(
    /\s(?:class|title|value|datetime|placeholder|for|id|name|aria-label)="[^"<>]*"|\shref="\/decisions\/¤"|\shref="¤"(?=\s*\/?>)/g,
    ' ',
  );
  if (/<(?:script|style|!--)/.test(without)) return 'in a script, style or comment';
  const tags = without.match(/<[^>]*>/g) ?? [];
  const wrong = tags.find((tag) => tag.includes(VALUE));
  if (wrong !== undefined) return wrong;
  return /href="¤"/.test(template) && !template.includes('<link rel="icon" href="¤"')
    ? 'an address that is a value'
    : undefined;
}

const SECOND = 1_000_000_000;

function finished(more: Partial<CheckFinished> = {}): CheckFinished {
  return {
    decision: refused({ reason: 'request_malformed', why: 'no host' }),
    decisionId: 'd-1',
    snapshot: { revision: 'r-1', sources: { clientAddress: () => undefined } } as unknown as CheckFinished['snapshot'],
    request: undefined,
    context: undefined,
    application: undefined,
    seconds: 0.001,
    call: { deadlineMs: Infinity, signal: new AbortController().signal, cancelled: false },
    facts: undefined,
    ...more,
  };
}

describe('the last refusals', () => {
  it('are the newest hundred, the newest first, found by their id', () => {
    const recent = createRecent();
    for (let n = 0; n < 250; n += 1) recent.record(finished({ decisionId: `d-${n}` }), n * 100);
    expect(recent.list().map(({ id }) => id)).toEqual(Array.from({ length: 100 }, (_, n) => `d-${249 - n}`));
    expect([recent.find('d-249')?.revision, recent.find('d-149')]).toEqual(['r-1', undefined]);
  });

  it('are no allows', () => {
    const recent = createRecent();
    recent.record(finished({ decision: { ...finished().decision, outcome: 'allow' } }), 0);
    expect(recent.list()).toEqual([]);
  });

  it('of one second are a hundred at most; the rest is counted', () => {
    const recent = createRecent();
    for (let n = 0; n < 1_000; n += 1) recent.record(finished({ decisionId: `a-${n}` }), SECOND + n / 2);
    recent.record(finished({ decisionId: 'b' }), SECOND + 1_000);
    expect([recent.list().length, recent.passedOver, recent.list()[0]?.id, recent.list()[1]?.id]).toEqual([
      100,
      900,
      'b',
      'a-99',
    ]);
  });

  it('hold what they were decided on, and nothing that looks like a token', () => {
    const recent = createRecent();
    const jwt = 'eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl';
    const request = requestFacts({ path: `/verify/${jwt}`, query: 'secret=1', target: '/?secret=1' });
    recent.record(finished({ request }), 5);
    const [one] = recent.list();
    expect(JSON.stringify(one)).not.toContain(jwt);
    expect(JSON.stringify(one)).not.toContain('secret=1');
    const decoded = decodeFacts(JSON.parse(one?.facts ?? ''));
    expect('wrong' in decoded ? decoded.wrong : decoded.context.request.host).toBe('orders.example.com');
  });
});

describe('traffic', () => {
  const MINUTE = 60_000;

  it('counts the last five minutes of each application', () => {
    const traffic = createTraffic(0);
    for (let minute = 0; minute < 10; minute += 1) {
      traffic.record('a', 'allow', 0.000_2, minute * MINUTE);
      traffic.record('a', minute % 2 === 0 ? 'deny' : 'step_up', 0.02, minute * MINUTE);
    }
    traffic.record(undefined, 'bad_request', 2, 9 * MINUTE);
    expect(traffic.read(9.5 * MINUTE)).toEqual(
      new Map([
        ['a', { requests: 10, allowed: 5, stepUps: 3, refused: 2, perMinute: 10 / 4.5, median: 0.000_2, p99: 0.025 }],
        [
          undefined,
          { requests: 1, allowed: 0, stepUps: 0, refused: 1, perMinute: 1 / 4.5, median: Infinity, p99: Infinity },
        ],
      ]),
    );
    expect(traffic.read(14 * MINUTE).size).toBe(0);
  });

  it('is a rate of the time that has been watched', () => {
    const traffic = createTraffic(10 * MINUTE);
    for (let n = 0; n < 30; n += 1) traffic.record('a', 'allow', 0.001, 10.4 * MINUTE);
    expect(traffic.read(10.5 * MINUTE).get('a')?.perMinute).toBe(60);
  });

  it('forgets applications that are no longer there', () => {
    const traffic = createTraffic(0);
    for (const name of ['a', 'b', undefined]) traffic.record(name, 'allow', 0.001, 1);
    traffic.keep(new Set(['b']));
    expect([...traffic.read(1).keys()]).toEqual(['b', undefined]);
  });
});

describe('a session', () => {
  it('stands for its token for eight hours, under a value that is never kept', () => {
    let now = 0;
    const sessions = createSessions(() => now);
    const value = sessions.begin('ab');
    const cookie = `other=1; postern_status=${value}`;
    expect(sessions.presented({ cookie })).toEqual({ sha256: 'ab' });
    now = 8 * 3_600_000 - 1;
    expect(sessions.presented({ cookie })).toEqual({ sha256: 'ab' });
    now += 1;
    expect(sessions.presented({ cookie })).toBeUndefined();
  });

  it('ends where it is ended, and is one of a hundred at most', () => {
    const sessions = createSessions(() => 0);
    const values = Array.from({ length: 101 }, () => sessions.begin('ab'));
    const cookieOf = (n: number): { cookie: string } => ({ cookie: `postern_status=${values[n] ?? ''}` });
    expect([sessions.presented(cookieOf(0)), sessions.presented(cookieOf(100))]).toEqual([undefined, { sha256: 'ab' }]);
    sessions.end(cookieOf(100));
    expect(sessions.presented(cookieOf(100))).toBeUndefined();
  });

  it.each(['', 'postern_status=', 'postern_status=x', 'postern_statusx=1'])('is not %j', (cookie) => {
    const sessions = createSessions(() => 0);
    sessions.begin('ab');
    expect(sessions.presented({ cookie })).toBeUndefined();
  });

  it('is not told by two cookies of its name', () => {
    const sessions = createSessions(() => 0);
    const value = sessions.begin('ab');
    expect(sessions.presented({ cookie: `postern_status=x; postern_status=${value}` })).toBeUndefined();
  });

  it('is a cookie that no script reads and no other site sends', () => {
    expect(sessionCookie('v', false)).toBe('postern_status=v; Path=/; Max-Age=28800; HttpOnly; SameSite=Strict');
    expect(sessionCookie(undefined, true)).toBe(
      'postern_status=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict; Secure',
    );
  });
});
