import { readFile } from 'node:fs/promises';
import { explanationJson } from '../cases/explanation.ts';
import type { ExplanationJson } from '../cases/explanation.ts';
import { readHistory, readIdentity, readStatedRequest } from '../cases/shape.ts';
import type { Statement, StatedHistory, StatedRequest } from '../cases/shape.ts';
import { decideRequest, linkStatement, requestOf } from '../cases/stated.ts';
import type { StatedAgainst } from '../cases/stated.ts';
import { readRequestJson } from '../envoy/request-json.ts';
import type { EvaluationContext } from '../model/context.ts';
import type { Fault, Place } from '../model/fault.ts';
import type { RequestFacts, RequestRefusal } from '../model/request.ts';
import { faultsText } from '../policy/fault-text.ts';
import { parseYaml } from '../policy/read.ts';
import { decodeFacts, missingFacts, REPLAY_KEY } from '../policy/replay.ts';
import { statedAgainst } from '../revision.ts';
import type { Revision } from '../revision.ts';
import { CONFIG_HELP, CONFIG_OPTIONS, parsed, UsageError } from './arguments.ts';
import type { Command, Terminal } from './arguments.ts';
import { countText, overridesFrom, printedFaults } from './configuration.ts';
import { explanationText } from './explanation-text.ts';
import { explainerOf, loadOffline, readFolderCases } from './offline.ts';

const HELP = `Usage: postern explain [--config DIR] FILE|-
       postern explain [--config DIR] --host HOST [--path PATH] [--as EMAIL] …
       postern explain [--config DIR] --case NAME

Decides one request offline, by the same policies and the same code as serve, and says why: the application and why it
won over others, every policy and rule with the fact it saw and the line that wrote it, every risk factor with its
points, what the token proved and what is missing, and what would have been allowed.

FILE holds one CheckRequest (proto3 JSON, as Envoy sends it) or one line of the decision log; - reads standard input.
Options take the place of what FILE says.

      --method, --host, --path, --scheme   of the request (default: GET, path /, https)
      --header NAME:VALUE  a request header; may be repeated
      --ip ADDRESS         the client's address
      --country CODE       its country, in place of a database; XX: no data, T1: Tor, unknown: could not be had
      --at TIME            RFC 3339; when the request comes, for tokens too (default: the time of FILE, or now)
      --as EMAIL           who is logged in: taken as stated, no token is looked at. nobody: nobody is
      --subject, --provider, --issuer, --acr, --auth-time   of that login
      --amr METHODS        its authentication methods, e.g. pwd,otp
      --group NAME         a group of that login; may be repeated
      --service-token NAME the service token whose credentials are sent
      --certificate STATE  verified, none or unknown
      --history FILE       what has been learned of the user, in the form of cases; without it: nothing
      --case NAME          a case of tests/, in place of all of these
      --json               as JSON; its JSON Schema: postern schema explanation

Nothing is asked over the network: a token whose keys are at a URL is told to be unverifiable. Nothing is learned or
counted. No token, credential, cookie or query is printed.
Exit 0: the request was decided, whatever came of it. Exit 1: the request or the config folder cannot be used.

${CONFIG_HELP}
`;

const OPTIONS = {
  ...CONFIG_OPTIONS,
  method: { type: 'string' },
  host: { type: 'string' },
  path: { type: 'string' },
  scheme: { type: 'string' },
  header: { type: 'string', multiple: true },
  ip: { type: 'string' },
  country: { type: 'string' },
  at: { type: 'string' },
  as: { type: 'string' },
  subject: { type: 'string' },
  provider: { type: 'string' },
  issuer: { type: 'string' },
  acr: { type: 'string' },
  'auth-time': { type: 'string' },
  amr: { type: 'string', multiple: true },
  group: { type: 'string', multiple: true },
  'service-token': { type: 'string' },
  certificate: { type: 'string' },
  history: { type: 'string' },
  case: { type: 'string' },
  json: { type: 'boolean', default: false },
} as const;

type Values = ReturnType<typeof parsed<typeof OPTIONS>>['values'];

/** `postern explain`: one request, decided offline, with the whole reasoning. */
export const explain: Command = {
  summary: 'decide one request offline and say why',
  help: HELP,
  async run(args, terminal) {
    const { values, positionals } = parsed(args, OPTIONS, true);
    checkUsage(values, positionals);
    const { revision, faults } = await loadOffline(values.config, overridesFrom(values.set, terminal));
    if (!revision) {
      terminal.error(printedFaults(faults, terminal));
      terminal.error(`${values.config}: ${countText(faults)}\n`);
      return 1;
    }
    const told = await explained(revision, values, positionals[0], terminal);
    terminal.out(values.json ? `${JSON.stringify(told, null, 2)}\n` : explanationText(told, terminal.colors));
    return 0;
  },
};

function checkUsage(values: Values, positionals: readonly string[]): void {
  if (positionals.length > 1) throw new UsageError(`expected one file, found ${positionals.length}`);
  const sources = [positionals.length > 0, values.case !== undefined].filter(Boolean).length;
  if (sources > 1) throw new UsageError('expected a file or --case, found both');
  if (sources === 0 && values.host === undefined)
    throw new UsageError('expected a file, - for standard input, --host or --case, found none');
  if (values.case !== undefined) {
    const others = Object.keys(values).filter(
      (name) => STATING.has(name) && values[name as keyof Values] !== undefined,
    );
    if (others.length > 0) throw new UsageError(`expected --case alone, found --${others[0]} beside it`);
  }
}

const STATING: ReadonlySet<string> = new Set([
  'method',
  'host',
  'path',
  'scheme',
  'header',
  'ip',
  'country',
  'at',
  'as',
  'subject',
  'provider',
  'issuer',
  'acr',
  'auth-time',
  'amr',
  'group',
  'service-token',
  'certificate',
  'history',
]);

async function explained(
  revision: Revision,
  values: Values,
  file: string | undefined,
  terminal: Terminal,
): Promise<ExplanationJson> {
  const asked = await askedOf(revision, values, file, terminal);
  const explainer = explainerOf(revision);
  const { request, context, notes } = asked;
  const isRefused = 'reason' in request;
  const explanation = isRefused ? explainer.refused(request) : explainer.explain(request.host, request.path, context);
  return explanationJson({
    explanation,
    revision: revision.id,
    request: isRefused ? undefined : request,
    context,
    timeMs: context?.nowMs ?? (isRefused ? Date.now() : (request.timeMs ?? Date.now())),
    notes,
    providerName: (id) => revision.settings.identity.providers.find((one) => one.id === id)?.name,
  });
}

/** A request with its facts. */
interface Asked {
  readonly request: RequestFacts | RequestRefusal;
  /** Undefined: it cannot be read, or no application covers it. */
  readonly context: EvaluationContext | undefined;
  readonly notes: readonly string[];
}

async function askedOf(
  revision: Revision,
  values: Values,
  file: string | undefined,
  terminal: Terminal,
): Promise<Asked> {
  const against = statedAgainst(revision);
  if (values.case !== undefined) return askedByCase(revision, values.config, values.case, against);
  const statement = await statementOf(values, against);
  if (file === undefined) return decidedWith(requestOf(statement.request), statement, against, values, []);
  const json = await readJson(file, terminal);
  if (isLogLine(json)) return askedByLine(json, values, statement, revision, against);
  return decidedWith(readCheckRequest(withRequest(json, statement.request), file), statement, against, values, []);
}

async function decidedWith(
  request: RequestFacts | RequestRefusal,
  statement: Statement,
  against: StatedAgainst,
  values: Values,
  notes: readonly string[],
): Promise<Asked> {
  if ('reason' in request) return { request, context: undefined, notes };
  const nowMs = values.at === undefined ? Date.now() : (request.timeMs ?? Date.now());
  const { context } = await decideRequest(request, statement, against, nowMs);
  return { request, context, notes };
}

async function askedByCase(revision: Revision, folder: string, name: string, against: StatedAgainst): Promise<Asked> {
  const { cases } = await readFolderCases(folder, revision, []);
  const found = cases.find((one) => one.name === name);
  if (!found) throw new UsageError(`no case of ${folder}/tests has the name ${JSON.stringify(name)}`);
  const request = requestOf(found.request);
  if ('reason' in request) return { request, context: undefined, notes: [] };
  const { context } = await decideRequest(request, found, against, found.request.time ?? Date.now());
  return { request, context, notes: [`case of ${found.place.file}`] };
}

/** What the options state. */
async function statementOf(values: Values, against: StatedAgainst): Promise<Statement> {
  const faults: Fault[] = [];
  const report = (found: Fault): void => void faults.push(found);
  const place: Place = { file: 'options', path: [] };
  const request = readStatedRequest(
    withoutUndefined({
      method: values.method,
      host: values.host,
      path: values.path,
      scheme: values.scheme,
      headers: values.header && headersOf(values.header),
      client_ip: values.ip,
      country: values.country,
      time: values.at,
      service_token: values['service-token'],
      certificate: values.certificate,
    }),
    place,
    report,
  );
  const login = withoutUndefined({
    email: values.as,
    subject: values.subject,
    provider: values.provider,
    issuer: values.issuer,
    acr: values.acr,
    auth_time: values['auth-time'],
    amr: values.amr?.flatMap((one) => one.split(/[\s,]+/)).filter((one) => one !== ''),
    groups: values.group,
  });
  const isStated = Object.keys(login).length > 0;
  const identity = values.as === 'nobody' ? 'nobody' : isStated ? readIdentity(login, place, report) : undefined;
  const history = values.history === undefined ? undefined : await historyOf(values.history);
  const statement: Statement = {
    request: request ?? {},
    identity,
    history,
    machine: undefined,
    engines: undefined,
    evaluations: undefined,
  };
  if (faults.length === 0) linkStatement(statement, place, against, report);
  if (faults.length > 0) throw new UsageError(faults.map(({ text, mend }) => `${text}; ${mend}`).join('\n  '));
  return statement;
}

async function historyOf(file: string): Promise<StatedHistory | undefined> {
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    throw new UsageError(`${file} cannot be read: ${error instanceof Error ? error.message : String(error)}`);
  });
  const read = parseYaml(text, file);
  const faults: Fault[] = 'faults' in read ? [...read.faults] : [];
  const data = 'data' in read ? read.data : undefined;
  // The whole file is the history, or a case with one.
  const inner = typeof data === 'object' && data !== null && 'history' in data ? data.history : data;
  const history = faults.length > 0 ? undefined : readHistory(inner, { file, path: [] }, (found) => faults.push(found));
  if (faults.length > 0) throw new UsageError(`\n${faultsText(faults, () => text)}`.trimEnd());
  return history;
}

function headersOf(written: readonly string[]): Readonly<Record<string, string | readonly string[]>> {
  const headers: Record<string, string[]> = {};
  for (const one of written) {
    const colon = one.indexOf(':', 1);
    // What stands behind the name may be a secret, and is not repeated.
    if (colon < 0) throw new UsageError('expected --header NAME:VALUE, found no colon');
    const name = one.slice(0, colon).toLowerCase();
    (headers[name] ??= []).push(one.slice(colon + 1).trim());
  }
  return headers;
}

function withoutUndefined(members: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined));
}

async function readJson(file: string, terminal: Terminal): Promise<Record<string, unknown>> {
  const name = file === '-' ? 'standard input' : file;
  const text =
    file === '-'
      ? await terminal.input()
      : await readFile(file, 'utf8').catch((error: unknown) => {
          throw new UsageError(`${file} cannot be read: ${error instanceof Error ? error.message : String(error)}`);
        });
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    const lines = text.split('\n').filter((line) => line.trim() !== '');
    const hint = lines.length > 1 && lines.every(isJson) ? `, found ${lines.length} lines of it: pass one` : '';
    throw new UsageError(`expected one JSON object in ${name}${hint}`);
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json))
    throw new UsageError(`expected one JSON object in ${name}, found something else`);
  return json as Record<string, unknown>;
}

function isJson(line: string): boolean {
  try {
    JSON.parse(line);
    return true;
  } catch {
    return false;
  }
}

function readCheckRequest(json: unknown, file: string): RequestFacts | RequestRefusal {
  try {
    return readRequestJson(json);
  } catch (error) {
    throw new UsageError(
      `${file === '-' ? 'standard input' : file} is no CheckRequest: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}

/** A CheckRequest with what options say of its HTTP part in its place. */
function withRequest(json: Record<string, unknown>, stated: StatedRequest): unknown {
  const { method, host, path, scheme, headers, time, client_ip: address } = stated;
  const http = withoutUndefined({ method, host, path, scheme });
  if (Object.keys(http).length === 0 && headers === undefined && time === undefined && address === undefined)
    return json;
  const attributes = member(json, 'attributes');
  const request = member(attributes, 'request');
  const before = member(request, 'http');
  const added = Object.fromEntries(
    Object.entries(headers ?? {}).map(([name, value]) => [name, Array.isArray(value) ? value.join(',') : value]),
  );
  return {
    ...json,
    attributes: {
      ...attributes,
      ...(address === undefined || address === 'unknown'
        ? {}
        : { source: { ...member(attributes, 'source'), address: { socketAddress: { address, portValue: 0 } } } }),
      request: {
        ...request,
        ...(time === undefined ? {} : { time: new Date(time).toISOString() }),
        http: { ...before, ...http, headers: { ...member(before, 'headers'), ...added } },
      },
    },
  };
}

function member(data: unknown, name: string): Record<string, unknown> {
  const found = typeof data === 'object' && data !== null ? (data as Record<string, unknown>)[name] : undefined;
  return typeof found === 'object' && found !== null ? (found as Record<string, unknown>) : {};
}

function isLogLine(json: Record<string, unknown>): boolean {
  return json['msg'] === 'decision' && typeof json['outcome'] === 'string';
}

/** A line of the decision log: by its facts where it holds them, else by the little that it says. */
async function askedByLine(
  line: Record<string, unknown>,
  values: Values,
  statement: Statement,
  revision: Revision,
  against: StatedAgainst,
): Promise<Asked> {
  const text = (name: string): string | undefined => {
    const found = line[name];
    return typeof found === 'string' ? found : undefined;
  };
  const before = `the line says ${text('outcome')}, ${text('reason')}, by revision ${text('revision') ?? 'unknown'}`;
  if (line[REPLAY_KEY] !== undefined) {
    const options = Object.keys(values).filter(
      (name) => STATING.has(name) && values[name as keyof Values] !== undefined,
    );
    if (options.length > 0)
      throw new UsageError(`the line holds the facts of its decision: --${options[0]} cannot take their place`);
    const decoded = decodeFacts(line[REPLAY_KEY]);
    if ('wrong' in decoded) throw new UsageError(`the recorded facts cannot be read: ${decoded.wrong}`);
    const { context, facts } = decoded;
    const application = revision.compiled.destinations.find(context.request.host, context.request.path)?.target;
    const missing = application ? missingFacts(facts, application) : [];
    const notes = [before];
    if (missing.length > 0) notes.push(`not recorded, and so unknown: ${missing.join(', ')}`);
    return { request: context.request, context: application && context, notes };
  }
  if (text('host') === undefined) throw new UsageError('the line holds no request: it could not be read');
  const faults: Fault[] = [];
  const place: Place = { file: 'line', path: [] };
  const said = readStatedRequest(
    withoutUndefined({
      method: text('method'),
      host: text('host'),
      path: text('path'),
      client_ip: text('client_address'),
      country: text('country'),
      time: text('time'),
    }),
    place,
    (found) => faults.push(found),
  );
  const login = withoutUndefined({ email: text('email'), subject: text('subject'), provider: text('provider') });
  const who = Object.keys(login).length > 0 ? readIdentity(login, place, (found) => faults.push(found)) : undefined;
  if (faults.length > 0) throw new UsageError(faults.map((one) => one.text).join('\n  '));
  const nobody = text('reason') === 'token_invalid' ? ('invalid' as const) : ('nobody' as const);
  const { identity } = statement;
  const whole: Statement = {
    ...statement,
    request: { ...said, ...statement.request },
    identity: typeof identity === 'object' && who ? { ...who, ...identity } : (identity ?? who ?? nobody),
  };
  return decidedWith(requestOf(whole.request), whole, against, { ...values, at: values.at ?? 'line' }, [
    before,
    'decided by the little that the line says: headers, authentication methods, groups and claims are not in it; log.requests: replay keeps them',
  ]);
}
