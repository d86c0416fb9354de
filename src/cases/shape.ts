/** What users write under `tests/`: a request, who asks, what is known, and what must come of it. */
import { at, fault } from '../model/fault.ts';
import type { Place, Report } from '../model/fault.ts';
import { parseAddress } from '../shared/address.ts';
import { countryFinding, normalCountry } from '../shared/country.ts';
import { emailText } from '../shared/email.ts';
import { withNulls } from '../shared/json-schema.ts';
import {
  exactObject,
  flag,
  integer,
  listOf,
  number,
  quoted,
  readText,
  shaped,
  text,
  withoutNulls,
  word,
  z,
} from '../shared/shape.ts';
import type { Finding, Shape, ShapeOutput } from '../shared/shape.ts';

/** For facts that could not be had. */
const UNKNOWN = 'unknown';

const COORDINATES = {
  latitude: number(-90, 90).describe('Degrees.'),
  longitude: number(-180, 180).describe('Degrees.'),
};

const REQUEST_KEYS = {
  method: text().describe('The HTTP method; default GET.'),
  host: text().describe('As in the request, with or without a port.'),
  path: text(8192).describe('Path and query; default /.'),
  scheme: word(['http', 'https']).describe('Default https.'),
  client_ip: addressText().describe('The client\'s address; "unknown": it could not be had.'),
  country: countryText().describe(
    'In place of a database: ISO 3166-1 alpha-2, XX (no data), T1 (a Tor exit), or "unknown" (could not be had).',
  ),
  city: text().describe('In place of a database.'),
  isp: text().describe('In place of a database.'),
  latitude: COORDINATES.latitude.describe('In place of a database, degrees.'),
  longitude: COORDINATES.longitude.describe('In place of a database, degrees.'),
  anonymous: flag().describe('In place of a database: the address is that of an anonymising network.'),
  time: timeText().describe('When the request comes: RFC 3339 with an offset; default: now.'),
  headers: z
    .record(z.string(), z.union([z.string(), z.array(z.string())]))
    .describe('Further headers; several values of one are joined by commas, as Envoy joins them.'),
  body: z.union([z.string(), z.record(z.string(), z.unknown())]).describe('Text, or an object that is sent as JSON.'),
  certificate: z
    .union([
      word(['verified', 'none', 'unknown']),
      exactObject({
        verified: flag().optional().describe('Default true.'),
        common_name: text().optional().describe("The subject's one common name."),
        client_usage: flag().optional().describe('False: its key usage does not allow client authentication.'),
      }),
    ])
    .describe('The client certificate; unknown: one was presented and cannot be read.'),
  service_token: text().describe(
    'The id, name or client id of a service token whose credentials are sent; or refused, or none.',
  ),
  linked_tokens: listOf(text()).describe('Ids or names of applications of which a token is presented.'),
};

const IDENTITY_KEYS = {
  email: emailText().describe('The e-mail address.'),
  subject: text().describe('The sub claim.'),
  name: text().describe('The name claim.'),
  issuer: text().describe('The iss claim; default: that of the one entry of identity.tokens.'),
  audiences: listOf(text()).describe('The aud claim; default: meant for the application.'),
  provider: text().describe('The identity provider of the login, by id or name of identity.providers.'),
  groups: listOf(z.unknown()).describe('As the token has them: text, or objects with id, name, email.'),
  amr: z.union([text(), listOf(text())]).describe('Authentication methods (RFC 8176).'),
  acr: text().describe('The acr claim.'),
  auth_time: timeText().describe('When the user authenticated.'),
  issued_at: timeText().describe('When the token was issued; default: auth_time, else the time of the request.'),
  session: text().describe('The session claim.'),
  posture: z.record(z.string(), z.unknown()).describe('Posture checks: uid → { success: true }.'),
  risk_score: z.unknown().describe('The user risk level: low, medium or high.'),
  saml_attributes: z.record(z.string(), z.unknown()).describe('SAML attributes by name.'),
  oidc_claims: z.record(z.string(), z.unknown()).describe('OpenID Connect claims by name.'),
  auth_contexts: listOf(text()).describe('The acrs claim of Entra ID.'),
  accounts: listOf(text()).describe('Cloudflare account ids.'),
  user_exists: flag().describe('False: the token says that the user does not exist.'),
  source: word(['token', 'envoy_jwt_authn', 'headers']).describe('Where the identity comes from; default token.'),
};

const IDENTITY = exactObject(optionals(IDENTITY_KEYS));
const REQUEST = exactObject(optionals(REQUEST_KEYS));

const HISTORY = exactObject({
  available: flag().optional().describe('False: the store cannot be read. Default true.'),
  places: listOf(
    exactObject({
      country: text().optional().describe('ISO 3166-1 alpha-2; absent: told by the address alone.'),
      city: text().optional().describe('As the database has it.'),
      isp: text().optional().describe('As the database has it.'),
      ip: addressText().optional().describe('Compared where risk.location_check_ip is set.'),
      count: integer(1, 1_000_000).optional().describe('Authentications from there; default 1.'),
      last: timeText().describe('When the last one was.'),
    }),
  )
    .optional()
    .describe('Places that have been learned of the user.'),
  last: exactObject({ ...COORDINATES, time: timeText().describe('When it was.') })
    .optional()
    .describe('The last recorded authentication.'),
  admitted: listOf(text())
    .optional()
    .describe('Ids or names of applications that this authentication has been admitted to (disableSSO).'),
});

const MACHINE = exactObject({
  present: flag().describe('The machine is known.'),
  risk: integer(0, 1000).optional().describe('Points of the marks that differ; default 0.'),
});

const ENGINES = z.record(
  z.string(),
  z.union([
    word(['FAILURE']),
    exactObject({
      riskScore: number(-1e9, 1e9).describe('The score that it answers.'),
      userId: text().optional().describe('Whom it answers about; another than the caller is a mismatch.'),
      mismatch: flag().optional().describe('It answers about another user.'),
    }),
  ]),
);

const EVALUATIONS = z.record(z.string(), z.union([flag(), word(['unavailable'])]));

const EXPECT = exactObject({
  outcome: word(['allow', 'unauthenticated', 'step_up', 'deny', 'bad_request', 'unavailable'])
    .optional()
    .describe('What the caller gets.'),
  reason: text().optional().describe('The reason code.'),
  application: text().optional().describe('Its name or id.'),
  policy: text().optional().describe('Name or id of the policy that decides; none: none does.'),
  resource_rule: text().optional().describe('Name or id of the resource rule that is reported; none: none is.'),
  risk_level: word(['LOW', 'MEDIUM', 'HIGH']).optional().describe('Of the resource rule that is reported.'),
  risk_score: number(0, 1_000_000).optional().describe('Of the same.'),
  acr_values: z
    .union([text(), listOf(text())])
    .optional()
    .describe('What a step-up asks for.'),
  max_age: integer(0, 1e9).optional().describe('Seconds; what a step-up asks for.'),
});

const WHO = z
  .union([IDENTITY, word(['nobody', 'invalid', 'unavailable'])])
  .describe('Who asks; absent or nobody: nobody is logged in; invalid, unavailable: a token that is so.');

const SECTIONS = {
  request: REQUEST.optional().describe('What is asked for, and from where.'),
  identity: WHO.optional(),
  history: HISTORY.optional().describe('What has been learned of the user; absent: nothing.'),
  machine: MACHINE.optional().describe('Whether the machine is known; absent: it is not.'),
  engines: ENGINES.optional().describe('Answers of risk engines, by name or id; absent: FAILURE.'),
  evaluations: EVALUATIONS.optional().describe('Answers of external evaluations, by evaluate_url.'),
  expect: EXPECT.optional().describe('What must come of it; at least one of these.'),
};

const ROW = exactObject({ name: text().optional().describe('What the row shows.'), ...SECTIONS });

const CASE = exactObject({
  name: text().describe('What the case shows.'),
  ...SECTIONS,
  table: listOf(ROW)
    .optional()
    .describe(
      'Many cases in one: each row is the case with what the row says in its place; a row that expects an outcome of its own expects nothing else of what the case does.',
    ),
});

export type StatedIdentity = ShapeOutput<typeof IDENTITY>;
export type StatedRequest = ShapeOutput<typeof REQUEST>;
export type StatedHistory = ShapeOutput<typeof HISTORY>;
export type Expectation = ShapeOutput<typeof EXPECT>;

/** What a case, or somebody on the command line, says of a request. */
export interface Statement {
  readonly request: StatedRequest;
  /** Undefined: whoever the request's own headers show. */
  readonly identity: StatedIdentity | 'nobody' | 'invalid' | 'unavailable' | undefined;
  readonly history: StatedHistory | undefined;
  readonly machine: ShapeOutput<typeof MACHINE> | undefined;
  readonly engines: ShapeOutput<typeof ENGINES> | undefined;
  readonly evaluations: ShapeOutput<typeof EVALUATIONS> | undefined;
}

/** One case of the users' own tests. */
export interface Case extends Statement {
  /** Of the case, and of the row where it has one. */
  readonly name: string;
  readonly expect: Expectation;
  readonly place: Place;
}

/** Reads the cases of one file. `data` as `parseYaml` gives it; undefined: an empty file. A table becomes one case for
 *  each of its rows. Faults are those of every file: `key_unknown`, `type_wrong` …, and `case_expects_nothing`,
 *  `name_duplicate`. */
export function readCases(data: unknown, file: string, report: Report): readonly Case[] {
  if (data === undefined || data === null) return [];
  const root: Place = { file, path: [] };
  if (!Array.isArray(data)) {
    report(
      fault(root, 'type_wrong', 'expected a list of cases, found something else', 'begin each case with "- name:"'),
    );
    return [];
  }
  const names = new Map<string, Place>();
  return data.flatMap((item: unknown, index) => {
    const place = at(root, index);
    const read = shaped(CASE, withoutNulls(item), place, report);
    return read ? casesOf(read, place, names, report) : [];
  });
}

/** Reads one identity as cases write it; undefined where a fault was reported. */
export function readIdentity(data: unknown, place: Place, report: Report): StatedIdentity | undefined {
  return shaped(IDENTITY, withoutNulls(data), place, report);
}

/** Reads a history as cases write it; undefined where a fault was reported. */
export function readHistory(data: unknown, place: Place, report: Report): StatedHistory | undefined {
  return shaped(HISTORY, withoutNulls(data), place, report);
}

/** Reads the request of a statement; undefined where a fault was reported. */
export function readStatedRequest(data: unknown, place: Place, report: Report): StatedRequest | undefined {
  return shaped(REQUEST, withoutNulls(data), place, report);
}

/** The JSON Schema (draft 7) of a file of cases. */
export function casesSchema(): object {
  const { $schema: _draft, ...json } = z.toJSONSchema(z.array(CASE), {
    target: 'draft-7',
    io: 'input',
    unrepresentable: 'any',
  }) as Record<string, unknown>;
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    $id: 'urn:postern:cases',
    title: 'Postern cases',
    description: 'The files under tests/: requests, and what must come of them. Run with: postern test',
    ...(withNulls(json) as object),
  };
}

function optionals<S extends Record<string, z.ZodType>>(keys: S): { [K in keyof S]: z.ZodOptional<S[K]> } {
  return Object.fromEntries(
    Object.entries(keys).map(([key, shape]) => [
      key,
      shape.description === undefined ? shape.optional() : shape.optional().describe(shape.description),
    ]),
  ) as { [K in keyof S]: z.ZodOptional<S[K]> };
}

type Written = ShapeOutput<typeof CASE>;
type Row = ShapeOutput<typeof ROW>;

function casesOf(written: Written, place: Place, names: Map<string, Place>, report: Report): readonly Case[] {
  const rows: readonly (readonly [Row, Place])[] = written.table
    ? written.table.map((row, index) => [row, at(place, 'table', index)] as const)
    : [[{}, place] as const];
  return rows.flatMap(([row, rowPlace], index) => {
    const suffix = written.table ? `: ${row.name ?? `row ${index + 1}`}` : '';
    const name = `${written.name}${suffix}`;
    if (names.has(name))
      report(
        fault(rowPlace, 'name_duplicate', `expected a name once, found ${quoted(name)} twice`, 'rename one of the two'),
      );
    names.set(name, rowPlace);
    const request = { ...written.request, ...row.request };
    // With another outcome the rest of what the case expects means nothing.
    const expect = row.expect?.outcome === undefined ? { ...written.expect, ...row.expect } : row.expect;
    const isWhole = checkWhole(request, expect, rowPlace, report);
    if (!isWhole) return [];
    return [
      {
        name,
        place: rowPlace,
        request,
        identity: whoOf(written.identity, row.identity),
        history: row.history ?? written.history,
        machine: row.machine ?? written.machine,
        engines: row.engines ?? written.engines,
        evaluations: row.evaluations ?? written.evaluations,
        expect,
      },
    ];
  });
}

function whoOf(base: Written['identity'], row: Row['identity']): Written['identity'] {
  if (row === undefined) return base;
  return typeof row === 'object' && typeof base === 'object' ? { ...base, ...row } : row;
}

function checkWhole(request: StatedRequest, expect: Expectation, place: Place, report: Report): boolean {
  let isWhole = true;
  if (request.host === undefined) {
    isWhole = false;
    report(fault(place, 'key_missing', 'missing key "host" of request', 'add request: { host: … }'));
  }
  if (Object.values(expect).every((value) => value === undefined)) {
    isWhole = false;
    report(
      fault(
        place,
        'case_expects_nothing',
        'expected what must come of the request, found nothing',
        'add e.g. expect: { outcome: deny }',
      ),
    );
  }
  return isWhole;
}

/** RFC 3339 with an offset; milliseconds since the epoch. */
function timeText(): Shape<number> {
  return readText((written) => {
    const value = /^\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?:[Zz]|[+-]\d{2}:\d{2})$/.test(written)
      ? Date.parse(written)
      : Number.NaN;
    return Number.isNaN(value) ? timeFinding(written) : { value };
  });
}

function timeFinding(written: string): Finding {
  return {
    code: 'date_time_invalid',
    text: `expected a date and time with an offset, found ${quoted(written)}`,
    mend: 'write e.g. 2026-03-04T14:30:00Z',
  };
}

/** "unknown" stays as it is. */
function addressText(): Shape<string> {
  return readText((written) => {
    if (written === UNKNOWN) return { value: written };
    const address = parseAddress(written);
    return address
      ? { value: address.text }
      : {
          code: 'address_invalid',
          text: `expected an IP address or unknown, found ${quoted(written)}`,
          mend: 'write e.g. 203.0.113.7',
        };
  });
}

function countryText(): Shape<string> {
  return readText((written) => {
    if (written === UNKNOWN) return { value: written };
    const country = normalCountry(written);
    return country === undefined ? countryFinding(written) : { value: country };
  });
}
