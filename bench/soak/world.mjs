/** The world of a soak: the demo's configuration with history in Redis, keys behind a URL and mutual TLS; who asks in
 *  it, and what each may be answered. */
import { createPrivateKey, generateKeyPairSync, randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { once } from 'node:events';
import { join } from 'node:path';
import { SignJWT, exportJWK } from 'jose';

const HISTORY = 'history.example.com';
const STRICT = 'strict.example.com';
const PARTNER = 'partner.example.com';
const BROWSER = { accept: 'text/html', 'sec-fetch-mode': 'navigate' };
const PORTO = place('PT', 'Porto', 41.1579, -8.6291);
const TOKYO = place('JP', 'Tokyo', 35.6762, 139.6503);
const USERS = 5_000;

function place(country, city, latitude, longitude) {
  return {
    'cf-ipcountry': country,
    'cf-ipcity': city,
    'cf-iplatitude': `${latitude}`,
    'cf-iplongitude': `${longitude}`,
  };
}

/** Adds to the demo's folder what a soak needs more. */
export function extendConfig(config, { redisUrl, keysUrl, tls }) {
  const file = join(config, 'postern.yaml');
  const more = `
    - { issuer: 'https://partner.example', audiences: [partner], keys: { url: '${keysUrl}' }, from: [{ header: x-partner-token }] }`;
  const settings = readFileSync(file, 'utf8')
    .replace('algorithms: [RS256]', `algorithms: [RS256]${more}`)
    .replace('decisions: all', 'decisions: none');
  writeFileSync(
    file,
    `${settings}
listen: { tls: { certificate: '${tls}/tls.crt', key: '${tls}/tls.key', client_ca: '${tls}/ca.crt' } }
geo: { headers: { country: cf-ipcountry, city: cf-ipcity, latitude: cf-iplatitude, longitude: cf-iplongitude } }
state: { redis: { url: '${redisUrl}', key_file: state.key, timeout_ms: 300 } }
login: { url: 'https://login.example.com/' }
`,
  );
  writeFileSync(join(config, 'state.key'), `${randomBytes(32).toString('base64')}\n`, { mode: 0o600 });
  const include = '[{ everyone: {} }]';
  writeFileSync(
    join(config, 'policies/soak.yaml'),
    `applications:
${application(4, HISTORY, include)}
${application(5, STRICT, include)}
${application(6, PARTNER, '[{ email_domain: { domain: partner.example } }]')}
resource_rules:
${rule(4, '{ riskPoint: 100 }')}
${rule(5, '{ riskPoint: 100, onUnknown: UNAVAILABLE }')}
`,
  );
}

function application(number, host, include) {
  const policies = `[{ name: Soak, decision: allow, include: ${include} }]`;
  return `  - { id: 9a4b2f0e-3f55-4a57-9b0e-00000000000${number}, name: ${host}, destinations: [${host}], policies: ${policies} }`;
}

function rule(number, context) {
  const second = '{ name: Password and Second Factor }';
  return `  - id: 0c3c0000-0000-4000-8000-00000000000${number}
    name: Soak ${number}
    resourceId: 9a4b2f0e-3f55-4a57-9b0e-00000000000${number}
    groups: [{ name: All Groups }]
    locationHistoryContext: ${context}
    lowRiskAuthenticationFlow: { name: Password }
    mediumRiskAuthenticationFlow: ${second}
    highRiskAuthenticationFlow: ${second}`;
}

/** The partner's key server. Generations of keys are numbered; `fails` makes it answer 500. */
export async function startKeyServer() {
  const keys = [];
  const server = { published: [0], fails: false, url: '', token: undefined, stop: undefined };
  const key = async (generation) => {
    if (keys[generation]) return keys[generation];
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const jwk = { ...(await exportJWK(publicKey)), kid: `generation-${generation}`, alg: 'ES256', use: 'sig' };
    return (keys[generation] = { privateKey, jwk });
  };
  const http = createServer(async (_, response) => {
    const jwks = await Promise.all(server.published.map(async (one) => (await key(one)).jwk));
    response.writeHead(server.fails ? 500 : 200, { 'content-type': 'application/json', 'cache-control': 'max-age=60' });
    response.end(JSON.stringify({ keys: jwks }));
  });
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  server.url = `http://127.0.0.1:${http.address().port}/jwks.json`;
  server.token = async (generation) => {
    const { privateKey, jwk } = await key(generation);
    const issued = { iss: 'https://partner.example', aud: 'partner', sub: 'pat', email: 'pat@partner.example' };
    return sign(issued, privateKey, jwk.alg, jwk.kid);
  };
  server.stop = async () => {
    http.closeAllConnections();
    http.close();
  };
  return server;
}

function sign(claims, key, alg, kid) {
  return new SignJWT(claims)
    .setProtectedHeader({ alg, kid, typ: 'JWT' })
    .setIssuedAt()
    .setExpirationTime('2h')
    .sign(key);
}

/** Everybody who asks. `ask()` gives the request; `right(facts)` the statuses that are right where the facts are these;
 *  `email` is what the upstream must be told in an allowed request. Facts: `policies` in | out (is ann let in);
 *  `redis` up | away; `keyServer` up | failing; `next` unknown | known and `old` fading | gone, of the keys beside the
 *  one in use; of the replica that is asked `up` up | down | starting and `isSteady`, never restarted. */
export async function createKinds({ config, tokens, keyServer, generation }) {
  const { keys } = JSON.parse(readFileSync(join(config, 'keys/jwks.json'), 'utf8'));
  const issuerKey = createPrivateKey(readFileSync(join(config, '../keys/issuer.pem')));
  const began = Math.floor(Date.now() / 1000);
  const login = (user, amr) => {
    const whose = { sub: user, email: `${user}@example.com`, amr, auth_time: began };
    return sign({ iss: 'https://login.example.com', aud: 'orders', ...whose }, issuerKey, 'RS256', keys[0].kid);
  };
  const homeStrong = await login('home', ['pwd', 'otp']);
  const homeWeak = await login('home', ['pwd']);
  const orders = (path, token, headers) => ({
    host: 'orders.example.com',
    path,
    headers: { ...headers, ...bearer(token) },
  });
  const at = (host, token, from) => ({ host, path: '/', headers: { ...from, ...bearer(token) } });
  const partner = async (number) => ({
    host: PARTNER,
    path: '/',
    headers: { 'x-partner-token': await keyServer.token(number) },
  });
  const service = (secret) => ({
    host: 'reports.example.com',
    path: '/',
    headers: { 'cf-access-client-id': tokens.get('ci-id'), 'cf-access-client-secret': secret },
  });
  const inOut =
    (whenIn, whenOut) =>
    ({ policies }) => [policies === 'in' ? whenIn : whenOut];
  const always = (status) => () => [status];
  const ann = 'ann@example.com';
  const kind = (name, ask, right, email) => ({ name, ask, right, email });
  return [
    kind('ann', () => orders('/', tokens.get('ann')), inOut(200, 403), ann),
    kind('ann, a new token each time', async () => orders('/', await login('ann', ['pwd'])), inOut(200, 403), ann),
    kind('ann at /admin', () => orders('/admin', tokens.get('ann')), inOut(401, 403)),
    kind('ann at /admin, after a code', () => orders('/admin', tokens.get('ann-strong')), inOut(200, 403), ann),
    kind('mallory, forging', () => orders('/', tokens.get('mallory'), { 'x-postern-email': ann }), always(403)),
    kind('nobody', () => orders('/', undefined), always(401)),
    kind('nobody, a browser', () => orders('/', undefined, BROWSER), always(302)),
    kind('a path said twice', () => orders('/admin%2f..%2f', tokens.get('ann-strong')), always(400)),
    kind('a machine', () => service(tokens.get('ci-secret')), always(200)),
    kind('a machine, wrong secret', () => service('0'.repeat(64)), always(401)),
    kind('home, after a code', () => at(HISTORY, homeStrong, PORTO), always(200), 'home@example.com'),
    kind(
      'home',
      () => at(HISTORY, homeWeak, PORTO),
      ({ redis, up }) => (redis === 'up' && up === 'up' ? [200] : [200, 401]),
      'home@example.com',
    ),
    kind(
      'home, strict',
      () => at(STRICT, homeWeak, PORTO),
      ({ redis, up }) => (redis === 'up' && up === 'up' ? [200] : [200, 401, 503]),
      'home@example.com',
    ),
    kind('home from far away', () => at(HISTORY, homeWeak, TOKYO), always(401)),
    kind(
      'many, after a code',
      async () => at(HISTORY, await login(`u${Math.floor(Math.random() * USERS)}`, ['pwd', 'otp']), TOKYO),
      always(200),
    ),
    kind(
      'partner, key in use',
      () => partner(generation.current),
      // Only who was started while the keys could not be had has none.
      ({ keyServer: state, isSteady }) => (state === 'up' || isSteady ? [200] : [200, 503]),
      'pat@partner.example',
    ),
    kind(
      'partner, key to come',
      () => partner(generation.current + 1),
      ({ keyServer: state, next }) => [...(next === 'unknown' ? [401] : [200, 401]), ...(state === 'up' ? [] : [503])],
      'pat@partner.example',
    ),
    kind(
      'partner, key of old',
      () => partner(Math.max(0, generation.current - 1)),
      ({ keyServer: state, old }) => [...(old === 'gone' ? [401] : [200, 401]), ...(state === 'up' ? [] : [503])],
      'pat@partner.example',
    ),
    kind(
      'a stranger to the partner',
      () => partner(1_000_000),
      ({ keyServer: state }) => (state === 'up' ? [401] : [401, 503]),
    ),
  ];
}

function bearer(token) {
  return token === undefined ? {} : { authorization: `Bearer ${token}` };
}
