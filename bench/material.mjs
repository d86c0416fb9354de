/** What all parts of the bench use: config folders, tokens and CheckRequests as Envoy sends them. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadSync } from '@grpc/proto-loader';
import { SignJWT, exportJWK, generateKeyPair } from 'jose';

const definition = loadSync('envoy/service/auth/v3/external_auth.proto', {
  includeDirs: [fileURLToPath(new URL('../proto', import.meta.url))],
  longs: String,
  enums: String,
});
const { Check } = definition['envoy.service.auth.v3.Authorization'];

/** The path of the one method. */
export const METHOD = Check.path;

const ISSUER = 'https://idp.example';
const PROVIDER = '11111111-1111-4111-8111-111111111111';

/** A key pair of the identity provider: `jwks` for the config folder, `sign` for tokens of a subject. */
export async function createIssuer() {
  const { publicKey, privateKey } = await generateKeyPair('RS256');
  const jwks = { keys: [{ ...(await exportJWK(publicKey)), kid: 'k1', alg: 'RS256', use: 'sig' }] };
  const now = Math.floor(Date.now() / 1000);
  return {
    jwks,
    sign: (subject = 'ann') =>
      new SignJWT({
        email: `${subject}@example.com`,
        amr: ['pwd', 'otp'],
        auth_time: now,
        groups: ['engineering', 'staff', 'on-call'],
        pad: 'x'.repeat(300),
      })
        .setProtectedHeader({ alg: 'RS256', kid: 'k1' })
        .setIssuer(ISSUER)
        .setAudience('orders')
        .setSubject(subject)
        .setIssuedAt()
        .setExpirationTime('2h')
        .sign(privateKey),
  };
}

/** Writes a config folder with so many applications, a hundred a file: each with one allow policy and one resource
 *  rule. Application `i` is `app-i.example.com`. Returns the folder's path. */
export function writeConfig({ jwks, applications = 1, entries = 0 }) {
  const folder = mkdtempSync(join(tmpdir(), 'postern-bench-'));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  mkdirSync(join(folder, 'keys'));
  mkdirSync(join(folder, 'policies'));
  writeFileSync(join(folder, 'keys/jwks.json'), JSON.stringify(jwks));
  writeFileSync(join(folder, 'postern.yaml'), SETTINGS);
  writePolicies(folder, { applications, entries });
  return folder;
}

/** Writes a config folder with one application whose allow policy has a rule of each of the 26 types: what lets ann in
 *  is included, everything else excluded, so that each is judged by every check. */
export function writeAllTypes({ jwks }) {
  const folder = writeConfig({ jwks });
  writeFileSync(join(folder, 'postern.yaml'), `${SETTINGS}${ALL_TYPES_SETTINGS}`);
  writeFileSync(join(folder, 'policies/0000.yaml'), ALL_TYPES);
  return folder;
}

/** Writes all policy files; `extra` names one more host, last, so that a changed set can be told by its answer. */
export function writePolicies(folder, { applications, entries = 0, extra }) {
  for (let first = 0; first < applications; first += 100) {
    const numbers = Array.from({ length: Math.min(100, applications - first) }, (_, index) => first + index);
    const hosts = numbers.map((number) => [number, `app-${number}.example.com`]);
    const isLast = first + 100 >= applications;
    if (isLast && extra) hosts.push([applications, extra]);
    const lines = [
      extra ? `# with ${extra}` : '# as first written',
      'applications:',
      ...hosts.map(([number, host]) => application(number, host, entries)),
      'resource_rules:',
      ...hosts.map(([number]) => resourceRule(number, entries)),
    ];
    writeFileSync(join(folder, `policies/${String(first / 100).padStart(4, '0')}.yaml`), `${lines.join('\n')}\n`);
  }
}

const SETTINGS = `
identity:
  providers:
    - { id: ${PROVIDER}, name: IdP, type: oidc }
    - { id: 22222222-2222-4222-8222-222222222222, name: Other, type: okta }
  tokens:
    - issuer: ${ISSUER}
      audiences: [orders]
      keys: { file: keys/jwks.json }
      from: [{ bearer: authorization }]
      algorithms: [RS256]
      provider: ${PROVIDER}
upstream:
  headers: { x-postern-user: subject, x-postern-email: email, x-postern-policy: policy, x-postern-risk: risk_level }
log: { decisions: none }
`;

function application(number, host, entries) {
  const emails = Array.from({ length: entries }, (_, index) => `{ email: { email: nobody-${index}@example.com } }`);
  const ranges = Array.from({ length: entries }, (_, index) => `{ ip: { ip: ${range(index)} } }`);
  const include = entries > 0 ? [...emails, '{ email: { email: ann@example.com } }'] : [DOMAIN_RULE];
  return `  - id: ${applicationId(number)}
    name: Application ${number}
    destinations: [${host}]
    policies:
      - name: Engineers
        decision: allow
        include: [${include.join(', ')}]
        exclude: [${ranges.join(', ')}]`;
}

const DOMAIN_RULE = '{ email_domain: { domain: example.com } }';

function resourceRule(number, entries) {
  const ranges = ['203.0.113.0/24', ...Array.from({ length: entries }, (_, index) => range(index))];
  return `  - id: 0c3c0000-0000-4000-8000-${hex(number)}
    name: Rule ${number}
    resourceId: ${applicationId(number)}
    groups: [{ name: All Groups }]
    ipContext: { allowedIpRanges: [${ranges.join(', ')}], riskPoint: 100 }
    lowRiskAuthenticationFlow: { name: Password }
    mediumRiskAuthenticationFlow: { name: Password and Second Factor }
    highRiskAuthenticationFlow: { name: Password and Second Factor }`;
}

function applicationId(number) {
  return `9a4b2f0e-3f55-4a57-9b0e-${hex(number)}`;
}

function hex(number) {
  return number.toString(16).padStart(12, '0');
}

function range(index) {
  return `10.${index >> 8}.${index & 255}.0/24`;
}

const OTHER = '22222222-2222-4222-8222-222222222222';
const LINKED = '9a4b2f0e-3f55-4a57-9b0e-ffffffffffff';
const GROUP = '8f1c0000-0000-4000-8000-000000000001';
const EMAILS = '5a6b0000-0000-4000-8000-000000000001';
const ADDRESSES = '5a6b0000-0000-4000-8000-000000000002';
const TOKEN = '3537a672-e4d8-4d89-aab9-26cb622918a1';
const ACCOUNT = '023e105f4ecef8ad9ca31a8372d0c353';
const ENDPOINT = 'http://127.0.0.1:9';

const ALL_TYPES_SETTINGS = `geo: { headers: { country: cf-ipcountry } }
external_evaluation: { allow_hosts: ['127.0.0.1:9'], timeout_ms: 100 }
admin: { accounts: [${ACCOUNT}] }
`;

const ofProvider = (rest) => `{ ${rest}, identity_provider_id: ${PROVIDER} }`;
const EXCLUDED = [
  `group: { id: ${GROUP} }`,
  'any_valid_service_token: {}',
  `auth_context: ${ofProvider('id: x, ac_id: c1')}`,
  'auth_method: { auth_method: sms }',
  `azureAD: ${ofProvider('id: 7b9e5c5e-7f0c-4d3e-9d55-4c2f0f6f0a11')}`,
  'certificate: {}',
  'common_name: { common_name: api }',
  'geo: { country_code: KP }',
  'device_posture: { integration_uid: u }',
  `email_list: { id: ${EMAILS} }`,
  'email: { email: mallory@example.com }',
  `github-organization: ${ofProvider('name: acme')}`,
  `gsuite: ${ofProvider('email: eng@example.com')}`,
  `login_method: { id: ${OTHER} }`,
  `ip_list: { id: ${ADDRESSES} }`,
  'ip: { ip: 198.51.100.0/24 }',
  `okta: ${ofProvider('name: nobody')}`,
  `saml: ${ofProvider('attribute_name: dept, attribute_value: none')}`,
  `oidc: ${ofProvider('claim_name: dept, claim_value: none')}`,
  `service_token: { token_id: ${TOKEN} }`,
  `linked_app_token: { app_uid: ${LINKED} }`,
  'user_risk_score: { user_risk_score: [high] }',
  `cloudflare_account_member: { account_id: ${ACCOUNT} }`,
];
const INCLUDED = [
  'everyone: {}',
  'email_domain: { domain: example.com }',
  // Nobody answers there, which is known for a second at a time.
  `external_evaluation: { evaluate_url: '${ENDPOINT}/check', keys_url: '${ENDPOINT}/keys' }`,
];

const ALL_TYPES = `applications:
  - id: ${applicationId(0)}
    name: Every type of rule
    destinations: [app-0.example.com]
    policies:
      - name: Engineers
        decision: allow
        include: [${INCLUDED.map((rule) => `{ ${rule} }`).join(', ')}]
        exclude: [${EXCLUDED.map((rule) => `{ ${rule} }`).join(', ')}]
  - { id: ${LINKED}, name: Linked, aud: linked, policies: [] }
groups: [{ id: ${GROUP}, name: Nobody, include: [{ email: { email: nobody@example.com } }] }]
lists:
  - { id: ${EMAILS}, name: E-mails, type: EMAIL, items: [{ value: nobody@example.com }] }
  - { id: ${ADDRESSES}, name: Addresses, type: IP, items: [{ value: 198.51.100.7 }] }
service_tokens: [{ id: ${TOKEN}, name: ci, client_id: ci.access, client_secret_sha256: ${'a'.repeat(64)} }]
resource_rules:
${resourceRule(0, 0)}
`;

/** The bytes of a CheckRequest of about 2 KB. `token` undefined: without one; `claims`: as Envoy's jwt_authn filter has
 *  verified them. */
export function requestBytes({
  token,
  host = 'app-0.example.com',
  path = '/api/v1/orders?x=1',
  address = '203.0.113.7',
  headers: more = {},
  claims,
}) {
  const headers = {
    ':authority': host,
    ':method': 'GET',
    ':path': path,
    ':scheme': 'https',
    ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    accept: 'application/json',
    'user-agent': 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0 Safari/537.36',
    'accept-encoding': 'gzip, deflate, br',
    'accept-language': 'en-US,en;q=0.9',
    'x-forwarded-for': address,
    'x-forwarded-proto': 'https',
    'x-request-id': '0c5b6d0e-1c7a-4a0c-9b5e-5b8f2b9b9f00',
    'cache-control': 'no-cache',
    cookie: 'a=b; c=d; session=0123456789abcdef0123456789abcdef',
    'sec-fetch-mode': 'cors',
    'sec-fetch-site': 'same-origin',
    referer: `https://${host}/`,
    ...more,
  };
  const http = { id: '123', method: 'GET', path, host, scheme: 'https', protocol: 'HTTP/2', headers };
  const source = { address: { socketAddress: { address, portValue: 1234 } } };
  const time = { seconds: String(Math.floor(Date.now() / 1000)) };
  const metadataContext = claims && {
    filterMetadata: { 'envoy.filters.http.jwt_authn': { fields: { payload: structValue(claims) } } },
  };
  return Check.requestSerialize({
    attributes: { source, request: { time, http }, ...(metadataContext && { metadataContext }) },
  });
}

/** google.protobuf.Value. */
function structValue(value) {
  if (typeof value === 'string') return { stringValue: value };
  if (typeof value === 'number') return { numberValue: value };
  if (Array.isArray(value)) return { listValue: { values: value.map(structValue) } };
  const fields = Object.fromEntries(Object.entries(value).map(([key, one]) => [key, structValue(one)]));
  return { structValue: { fields } };
}

/** Whether the bytes of a CheckResponse let the request through. */
export function isAllowed(bytes) {
  const answer = Check.responseDeserialize(Buffer.from(bytes));
  return answer.okResponse !== undefined && answer.okResponse !== null && (answer.status?.code ?? 0) === 0;
}

/** Fails the run where what is measured is not what was meant. */
export function mustAllow(bytes, where) {
  if (isAllowed(bytes)) return;
  throw new Error(`${where}: not allowed: ${JSON.stringify(Check.responseDeserialize(Buffer.from(bytes)))}`);
}

/** The value below which so much of the sorted samples lies. */
export function quantile(sorted, share) {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
}

/** The middle of some numbers. */
export function median(numbers) {
  return quantile(
    numbers.toSorted((a, b) => a - b),
    0.5,
  );
}
