/** The status pages in a real browser, as an operator reads them, and as somebody attacks them. */
import { createServer, get } from 'node:http';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { POLICIES, openBrowser, servePages, token } from './pages.ts';
import type { Pages } from './pages.ts';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const SECRET = 'operator-token-of-forty-characters-or-so-1';

/** What runs in the page: what has the focus, with whether that can be seen. */
const FOCUSED = `(() => {
  const element = document.activeElement;
  if (!element || element === document.body) return '';
  const { outlineStyle, outlineWidth } = getComputedStyle(element);
  const isShown = outlineStyle !== 'none' && outlineWidth !== '0px';
  return (isShown ? '' : 'NO OUTLINE ') + (element.getAttribute('aria-label') ?? element.textContent ?? '').trim();
})()`;

/** Elements that no template has, addresses that lead elsewhere, and all text. */
const FOUND = `({
  foreign: document.querySelectorAll('script, img, iframe, object, embed, base, b, i, [onerror], [onclick]').length,
  links: [...document.querySelectorAll('[href], [src], [action]')]
    .map((element) => element.getAttribute('href') ?? element.getAttribute('src') ?? element.getAttribute('action'))
    .filter((target) => !/^(?:\\/(?:try|metrics|decisions\\/[\\w-]+)?|#main|data:image\\/svg\\+xml,.*)$/.test(target)),
  text: document.body.innerText + [...document.querySelectorAll('input')].map(({ value }) => value).join(' '),
  title: document.title,
})`;

const INJECTED = `(() => {
  const script = document.createElement('script');
  script.textContent = "document.title = 'owned'";
  document.body.append(script);
  return document.title === 'owned';
})()`;

const EXAMINED = `axe.run().then(({ violations, passes }) => ({
  passes: passes.length,
  violations: violations.map(({ id, nodes }) => id + ': ' + nodes.map(({ html }) => html).join(' ')),
}))`;

let browser: Browser;
let pages: Pages;
let context: BrowserContext;
let page: Page;

beforeAll(async () => {
  browser = await openBrowser();
});

afterAll(async () => {
  await browser.close();
});

beforeEach(async () => {
  pages = await servePages(POLICIES);
});

afterEach(async () => {
  await context.close();
  await pages.stop();
});

async function open(path: string, options: Parameters<Browser['newContext']>[0] = {}): Promise<void> {
  context = await browser.newContext({ javaScriptEnabled: false, ...options });
  context.setDefaultTimeout(20_000);
  page = await context.newPage();
  await page.goto(pages.origin + path);
}

async function someTraffic(): Promise<void> {
  for (let time = 0; time < 4; time += 1) await pages.ask('www.example.com', '/');
  await pages.ask('orders.example.com', '/api/7?token=x', {
    'x-forwarded-email': 'bob@example.com',
    'x-country': 'US',
  });
  await pages.ask('orders.example.com', '/a/../b');
}

describe('without JavaScript', () => {
  it('the first page shows revision, applications with their traffic, and who was not let in', async () => {
    await someTraffic();
    await open('/');
    const text = await page.locator('main').innerText();
    expect(text).toMatch(/Revision\s+[0-9a-f]{12}/);
    const site = page.getByRole('row', { name: /^Site / });
    expect(await site.innerText()).toMatch(/www\.example\.com\s+[\d.]+\s+100 %\s+0 %\s+0 %\s+[\d.]+ ms\s+[\d.]+ ms/);
    expect(await page.getByRole('row', { name: /^Orders / }).innerText()).toMatch(/0 %\s+0 %\s+100 %/);
    const rows = page.getByRole('table').nth(1).locator('tbody tr');
    expect(await rows.count()).toBe(2);
    expect(await rows.nth(0).innerText()).toMatch(/bad request\s+could not be read\s+–\s+–\s+request_ambiguous/);
    expect(await rows.nth(1).innerText()).toMatch(
      /denied\s+GET orders\.example\.com\/api\/7\s+Orders\s+bob@example\.com\s+203\.0\.113\.7\s+no_policy_matched/,
    );
  });

  it('one click explains a refusal to the line', async () => {
    await someTraffic();
    await open('/');
    await page.getByRole('link', { name: /^no_policy_matched/ }).click();
    expect(await page.title()).toBe('Why it was not let in – Postern');
    const text = await page.locator('main').innerText();
    expect(text).toContain('GET orders.example.com/api/7');
    expect(text).toMatch(/geo country_code: CA policies\/all\.yaml:10:\d+/);
    expect(text).toContain('from CA');
    expect(text).not.toContain('token=x');
    expect(await page.getByText('Since then').count()).toBe(0);
  });

  it('a refusal is explained by what runs now, and says so where that differs', async () => {
    await someTraffic();
    await pages.change(POLICIES.replace('country_code: CA', 'country_code: US'));
    await open('/');
    await page.getByRole('link', { name: /^no_policy_matched/ }).click();
    const since = await page.getByRole('region', { name: 'Since then' }).innerText();
    expect(since).toMatch(
      /Revision [0-9a-f]{12} decided; what follows is by [0-9a-f]{12}.*it would be allowed\s+policy_allowed/s,
    );
  });

  it('says which facts were not recorded, where other policies read more', async () => {
    await pages.ask('www.example.com', '/', { 'x-forwarded-email': 'bob@example.com' });
    await pages.change(POLICIES.replace('203.0.113.0/24', '198.51.100.0/24'));
    await pages.ask('www.example.com', '/');
    await pages.change(POLICIES.replace('203.0.113.0/24 } }]', '198.51.100.0/24 } }, { geo: { country_code: CA } }]'));
    await open('/');
    await page.getByRole('link', { name: /^no_policy_matched/ }).click();
    expect(await page.getByRole('region', { name: 'Since then' }).innerText()).toContain('counts as unknown: location');
  });

  it('a decision that is no longer remembered is 404, and says where it may be', async () => {
    await open('/');
    const response = await page.goto(`${pages.origin}/decisions/nobody-knows`);
    expect(response?.status()).toBe(404);
    expect(await page.locator('main').innerText()).toContain('The decision log has them all.');
  });

  it('faults and warnings of the last change are shown with their place and what to do', async () => {
    const place = { file: 'policies/<i>.yaml', path: [] };
    const one = {
      severity: 'fault',
      code: 'group_unknown',
      text: 'no group "<b>"',
      mend: 'did you mean "b"?',
      place,
    } as const;
    pages.status.refused([{ fault: one, position: { line: 3, column: 7 } }], 'refused');
    await open('/');
    const text = await page.getByRole('region', { name: 'Configuration' }).innerText();
    pages.status.warned([{ fault: { ...one, severity: 'warning', code: 'unused' }, position: { line: 5, column: 1 } }]);
    await page.reload();
    expect(await page.getByRole('region', { name: 'Configuration' }).innerText()).toContain(
      'policies/<i>.yaml:5:1 unused',
    );
    expect(text).toContain('refused: the revision before stays');
    expect(text).toContain('policies/<i>.yaml:3:7 group_unknown: no group "<b>"\ndid you mean "b"?');
  });

  it('the form decides what it says, keeps what was written, and its address can be kept', async () => {
    await open('/try');
    await page.getByLabel('Host').fill('orders.example.com');
    await page.getByLabel('E-mail address').fill('bob@example.com');
    await page.getByLabel('Country, in place of a database').fill('US');
    await page.getByRole('button', { name: 'Decide' }).click();
    const decision = page.getByRole('region', { name: 'Decision' });
    expect(await decision.innerText()).toMatch(/denied no_policy_matched.*Would be allowed.*from CA/s);
    expect(await page.getByLabel('E-mail address').inputValue()).toBe('bob@example.com');
    await page.goto(page.url().replace('country=US', 'country=CA'));
    expect(await decision.innerText()).toContain('allowed policy_allowed');
    // Neither counts as traffic, nor as a refusal.
    await page.goto(pages.origin);
    expect(await page.locator('main').innerText()).toContain('Everybody was let in so far.');
  });

  it('the form says what is wrong with it', async () => {
    await open('/try?host=orders.example.com&email=bob&country=USA&client_ip=here&time=noon');
    const alert = await page.getByRole('alert').innerText();
    for (const name of ['email', 'country', 'client_ip', 'time']) expect(alert).toContain(`${name}: expected`);
    await page.goto(`${pages.origin}/try?host=a..b`);
    expect(await page.getByRole('region', { name: 'Decision' }).innerText()).toContain('request_malformed');
  });
});

describe('by keyboard alone', () => {
  it('everything is reached in order, shows where one is, and works', async () => {
    await someTraffic();
    await open('/', { javaScriptEnabled: true });
    const focused = (): Promise<string> => page.evaluate<string>(FOCUSED);
    const order: string[] = [];
    for (let step = 0; step < 9; step += 1) {
      await page.keyboard.press('Tab');
      order.push(await focused());
    }
    expect(order.map((one) => one.replace(/\s+of .*$/s, ''))).toEqual([
      'Skip to the content',
      'Postern',
      'Status',
      'Try a request',
      'Metrics',
      'Applications, may be wider than the screen',
      'Refusals, may be wider than the screen',
      'request_ambiguous',
      'no_policy_matched',
    ]);
    await page.keyboard.press('Enter');
    await page.waitForURL('**/decisions/*');
    await page.goto(`${pages.origin}/try`);
    await page.getByLabel('Host').focus();
    await page.keyboard.type('www.example.com');
    await page.keyboard.press('Enter');
    await page.waitForURL('**/try?host=www.example.com*');
    expect(await page.getByRole('region', { name: 'Decision' }).innerText()).toContain('fact_unavailable');
  });

  it('the link over the head of the page goes to its content', async () => {
    await open('/', { javaScriptEnabled: true });
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    expect(new URL(page.url()).hash).toBe('#main');
    await page.keyboard.press('Tab');
    expect(await page.evaluate<boolean>("document.activeElement.closest('main') !== null")).toBe(true);
  });
});

describe('whatever names and requests hold', () => {
  const HOSTILE = `<img src=x onerror="document.title='owned'"><script>document.title='owned'</script>'"><a href=javascript:1>&lt;b>`;
  const yaml = (text: string): string => JSON.stringify(text);
  const HOSTILE_POLICIES = `applications:
  - id: 9a4b2f0e-3f55-4a57-9b0e-000000000001
    name: ${yaml(`App ${HOSTILE}`)}
    destinations: [orders.example.com]
    policies: [{ name: ${yaml(`Policy ${HOSTILE}`)}, decision: allow, include: [{ group: { id: 8f1c0000-0000-4000-8000-000000000001 } }, { oidc: { claim_name: ${yaml(HOSTILE)}, claim_value: ${yaml(HOSTILE)}, identity_provider_id: 11111111-1111-1111-1111-111111111111 } }] }]
groups: [{ id: 8f1c0000-0000-4000-8000-000000000001, name: ${yaml(`Group ${HOSTILE}`)}, include: [{ email: { email: ann@example.com } }] }]
`;

  it('it stays text: no element of it is made, and nothing of it runs', async () => {
    await pages.change(HOSTILE_POLICIES);
    const path = `/${encodeURIComponent(HOSTILE)}/%3Cscript%3E`;
    await pages.ask('orders.example.com', path, { 'x-forwarded-email': '"<b>x</b>"@example.com' });
    await pages.ask('orders.example.com', '/x', { 'x-forwarded-email': 'eve@example.com' });
    await open('/', { javaScriptEnabled: true });
    const dialogs: string[] = [];
    page.on('dialog', (dialog) => void dialogs.push(dialog.message()));
    const id = (await page.getByRole('link', { name: /^no_policy_matched/ }).getAttribute('href')) ?? '';
    const query = new URLSearchParams(
      [
        'host',
        'path',
        'method',
        'email',
        'subject',
        'provider',
        'groups',
        'amr',
        'acr',
        'auth_time',
        'client_ip',
        'country',
        'time',
      ].map((name): [string, string] => [name, HOSTILE]),
    );
    const good = new URLSearchParams({
      host: 'orders.example.com',
      subject: HOSTILE,
      groups: HOSTILE,
      acr: HOSTILE,
      amr: HOSTILE,
      path,
    });
    for (const where of ['/', id, `/try?${query}`, `/try?${good}`]) {
      await page.goto(pages.origin + where);
      const found = await page.evaluate<{ foreign: number; links: string[]; text: string; title: string }>(FOUND);
      expect([where, found.foreign, found.links]).toEqual([where, 0, []]);
      expect(found.title).not.toBe('owned');
      expect(found.text).toContain('onerror="document.title=\'owned\'"');
    }
    expect(dialogs).toEqual([]);
  });

  it('marks that nobody sees, or that turn the direction of writing, are shown as what they are', async () => {
    await pages.change(POLICIES.replace('name: Orders', `name: ${yaml('Or\u202eders\u200b')}`));
    await open('/');
    expect(await page.locator('main').innerText()).toContain('Or\uFFFDders\uFFFD');
  });

  it('no script may run even if one came in, nothing is loaded from elsewhere, nobody frames it', async () => {
    await someTraffic();
    await open('/', { javaScriptEnabled: true });
    const asked: string[] = [];
    page.on('request', (request) => void asked.push(new URL(request.url()).host));
    const response = await page.goto(`${pages.origin}/`);
    const policy = response?.headers()['content-security-policy'] ?? '';
    expect(policy.split('; ').filter((one) => !one.startsWith('style-src'))).toEqual([
      "default-src 'none'",
      'img-src data:',
      "form-action 'self'",
      "frame-ancestors 'none'",
      "base-uri 'none'",
    ]);
    const isRun = await page.evaluate<boolean>(INJECTED);
    expect(isRun).toBe(false);
    expect(new Set(asked)).toEqual(new Set([new URL(pages.origin).host]));
    // The style sheet's hash is right: the page has its look.
    expect(await page.evaluate<string>("getComputedStyle(document.querySelector('.tag')).borderRadius")).toBe('99px');
  });
});

describe('for everybody', () => {
  it.each(['light', 'dark'] as const)('axe finds nothing wrong, in %s', async (colorScheme) => {
    await someTraffic();
    const place = { file: 'policies/a.yaml', path: [] };
    const one = { severity: 'warning', code: 'unused', text: 'a group', mend: 'remove it', place } as const;
    pages.status.warned([{ fault: one, position: { line: 3, column: 7 } }]);
    pages.status.refused([{ fault: { ...one, severity: 'fault' }, position: { line: 4, column: 1 } }], 'refused');
    await open('/', { colorScheme, javaScriptEnabled: true, viewport: { width: 1100, height: 800 } });
    const decision = (await page.getByRole('link', { name: /^no_policy_matched/ }).getAttribute('href')) ?? '';
    const unreadable = (await page.getByRole('link', { name: /^request_ambiguous/ }).getAttribute('href')) ?? '';
    const results: unknown[] = [];
    const examine = async (where: string): Promise<void> => {
      await page.goto(pages.origin + where);
      await page.evaluate(AXE);
      const found = await page.evaluate<{ passes: number; violations: string[] }>(EXAMINED);
      expect(found.passes).toBeGreaterThan(10);
      results.push([where, found.violations]);
    };
    const trial = '/try?host=orders.example.com&email=bob@example.com&country=US&client_ip=203.0.113.7';
    const wheres = ['/', decision, unreadable, '/decisions/none', '/try', trial, '/try?host=a&country=USA'];
    for (const where of wheres) await examine(where);
    pages.tokens = [token('operator', SECRET, ['read'])];
    await examine('/');
    expect(results).toEqual([...wheres, '/'].map((where) => [where, []]));
  });
});

describe('once there are admin tokens', () => {
  beforeEach(() => {
    pages.tokens = [token('operator', SECRET, ['read']), token('writer', 'writer-token', ['write'])];
  });

  const signIn = async (secret: string): Promise<void> => {
    await page.getByLabel('Admin token').fill(secret);
    await page.getByRole('button', { name: 'Sign in' }).click();
  };

  it('the pages are read by those who sign in with one that may read', async () => {
    await someTraffic();
    await open('/try');
    expect(await page.locator('main').innerText()).toContain('with the scope read');
    expect(await page.locator('body').innerText()).not.toContain('Metrics');
    await signIn('wrong');
    expect(await page.getByRole('alert').innerText()).toBe('No admin token is this one.');
    await signIn('writer-token');
    expect(await page.getByRole('alert').innerText()).toBe('That token has not the scope read.');
    await signIn(SECRET);
    expect(page.url()).toBe(`${pages.origin}/try`);
    expect(await page.locator('header').innerText()).toContain('Signed in as operator');
    const [cookie] = await context.cookies();
    expect(cookie).toMatchObject({ httpOnly: true, sameSite: 'Strict', path: '/', name: 'postern_status' });
    expect(cookie?.value).not.toContain(SECRET);
    await page.goto(pages.origin);
    expect(await page.getByRole('row', { name: /^Site / }).count()).toBe(1);
    await page.getByRole('button', { name: 'Sign out' }).click();
    expect(await page.getByLabel('Admin token').count()).toBe(1);
    expect(await context.cookies()).toEqual([]);
    await context.addCookies([{ ...cookie, name: 'postern_status', value: cookie?.value ?? '' }]);
    await page.goto(pages.origin);
    expect(await page.getByLabel('Admin token').count()).toBe(1);
  });

  it('a session ends with its token', async () => {
    await open('/');
    await signIn(SECRET);
    expect(await page.locator('h1').innerText()).toBe('Status');
    pages.tokens = [token('another', 'x', ['read'])];
    const response = await page.reload();
    expect([response?.status(), await page.locator('h1').innerText()]).toEqual([401, 'Sign in']);
  });

  it('a token in a header does as well, and what has none gets 401', async () => {
    await open('/');
    const read = async (headers: Record<string, string>): Promise<(number | string | null)[]> => {
      const response = await fetch(`${pages.origin}/`, { headers });
      return [response.status, response.headers.get('www-authenticate'), response.headers.get('cache-control')];
    };
    expect(await read({})).toEqual([401, 'Bearer', 'no-store']);
    expect(await read({ cookie: 'postern_status=x' })).toEqual([401, 'Bearer', 'no-store']);
    expect(await read({ authorization: 'Bearer writer-token' })).toEqual([403, null, 'no-store']);
    expect(await read({ authorization: `Bearer ${SECRET}` })).toEqual([200, null, 'no-store']);
  });

  it('signs nobody in or out for another page, of another port of the same host too', async () => {
    const other =
      await otherSite(`<form method="post" action="${pages.origin}/sign-in"><input name="token" value="${SECRET}"><button>Go</button></form>
      <form method="post" action="${pages.origin}/sign-out"><button>Out</button></form>`);
    await open('/');
    await signIn(SECRET);
    const [before] = await context.cookies();
    for (const button of ['Out', 'Go']) {
      await page.goto(other.url);
      const answered = page.waitForResponse((response) => response.url().startsWith(pages.origin));
      await page.getByRole('button', { name: button }).click();
      expect((await answered).status()).toBe(403);
    }
    expect(await context.cookies(pages.origin)).toEqual([before]);
    await page.goto(pages.origin);
    expect(await page.locator('h1').innerText()).toBe('Status');
    other.server.close();
  });

  it('sends nobody away after signing in', async () => {
    await open('/');
    for (const target of [
      '//evil.example',
      'https://evil.example/',
      '/\\evil.example',
      '/try\r\nx: y',
      '/decisions/../x',
    ]) {
      const response = await fetch(`${pages.origin}/sign-in`, {
        method: 'POST',
        body: new URLSearchParams({ token: SECRET, return: target }),
        redirect: 'manual',
      });
      expect([response.status, response.headers.get('location')]).toEqual([303, '/']);
    }
  });

  it('a session opens no API', async () => {
    await open('/');
    await signIn(SECRET);
    const [cookie] = await context.cookies();
    const headers = { cookie: `postern_status=${cookie?.value ?? ''}` };
    expect((await fetch(`${pages.origin}/`, { headers })).status).toBe(200);
    expect((await fetch(`${pages.origin}/guarded/thing`, { headers })).status).toBe(401);
    expect(
      (await fetch(`${pages.origin}/guarded/thing`, { headers: { authorization: `Bearer ${SECRET}` } })).status,
    ).toBe(200);
  });
});

describe('on an address that others reach', () => {
  it('there are no pages without tokens', async () => {
    const wide = await servePages(POLICIES, '0.0.0.0:0');
    await open('/');
    const at = wide.origin.replace('0.0.0.0', '127.0.0.1');
    for (const path of ['/', '/try', '/decisions/x']) expect((await fetch(at + path)).status).toBe(404);
    expect((await fetch(`${at}/sign-in`, { method: 'POST' })).status).toBe(404);
    wide.tokens = [token('operator', SECRET, ['read'])];
    expect((await fetch(`${at}/`)).status).toBe(401);
    expect((await fetch(`${at}/`, { headers: { authorization: `Bearer ${SECRET}` } })).status).toBe(200);
    await wide.stop();
  });

  it('and on a loopback address none for a name that was made to point there', async () => {
    await open('/');
    const { port } = new URL(pages.origin);
    const answered = await new Promise<number | undefined>((resolve, reject) => {
      get({ host: '127.0.0.1', port, path: '/', headers: { host: 'evil.example' } }, (response) => {
        response.resume();
        resolve(response.statusCode);
      }).once('error', reject);
    });
    expect(answered).toBe(421);
  });
});

async function otherSite(body: string): Promise<{ readonly url: string; readonly server: Server }> {
  const server = createServer((_, response) => {
    response.setHeader('content-type', 'text/html');
    response.end(body);
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, server };
}
