/** From the four entities of an AuthZEN evaluation to what is stated of a request. Members that nobody reads are passed
 *  over, as the standard asks (section 10.1.1). */
import { linkStatement } from '../cases/stated.ts';
import type { StatedAgainst } from '../cases/stated.ts';
import { readIdentity, readStatedRequest } from '../cases/shape.ts';
import type { Statement, StatedIdentity, StatedRequest } from '../cases/shape.ts';
import type { Fault, Place, Report } from '../model/fault.ts';
import { normalEmail } from '../shared/email.ts';
import { isObject } from '../shared/object.ts';

/** One evaluation, read and found to name nothing that the revision does not have. */
export interface Evaluation {
  readonly statement: Statement;
}

/** Reads one evaluation. `wrong` says what was expected, of which member.
 *  - `subject.type` `user`: `id` is the subject, and the e-mail address where it is one and no other is stated;
 *    `properties` has the rest of the login. `service`: `id` is a service token's id, name or client id, which the
 *    caller has verified. `anonymous`: nobody is logged in.
 *  - `resource`: `properties.host` and `properties.path`, else `id` as a URL or `host/path`; `properties.headers`,
 *    `properties.body`.
 *  - `action`: `properties.method`, else `name` where it is a method in upper case, else GET: policies do not tell
 *    methods apart, only a CORS preflight from the rest.
 *  - `context`: `ip`, `time`, `country` and further properties of the place, in place of databases. */
export function readEvaluation(
  value: Readonly<Record<string, unknown>>,
  against: StatedAgainst,
  nowMs: number,
): Evaluation | { readonly wrong: string } {
  const reading = new Reading(against, nowMs);
  const subject = reading.entity(value, 'subject', ['type', 'id']);
  const action = reading.entity(value, 'action', ['name']);
  const resource = reading.entity(value, 'resource', ['type', 'id']);
  const context = reading.object(value['context'] ?? {}, 'context');
  if (!subject || !action || !resource || !context) return { wrong: reading.wrong };
  const request = reading.request(action, resource, context, serviceOf(subject));
  const identity = reading.caller(subject);
  if (!request || !identity) return { wrong: reading.wrong };
  const statement: Statement = {
    request,
    identity,
    // Of whom nobody says who vouches for him, nobody can say what was learned.
    history: typeof identity === 'object' && identity.issuer === undefined ? { available: false } : undefined,
    machine: undefined,
    engines: undefined,
    evaluations: undefined,
  };
  linkStatement(statement, PLACE, against, reading.report);
  return reading.wrong === '' ? { statement } : { wrong: reading.wrong };
}

type JsonObject = Readonly<Record<string, unknown>>;

interface Entity {
  readonly name: string;
  readonly values: JsonObject;
  readonly properties: JsonObject;
}

const PLACE: Place = { file: '', path: [] };
const LOCATION_KEYS = ['country', 'city', 'isp', 'latitude', 'longitude', 'anonymous', 'certificate'] as const;
const LOGIN_KEYS = [
  'email',
  'name',
  'issuer',
  'provider',
  'groups',
  'amr',
  'acr',
  'session',
  'posture',
  'risk_score',
  'saml_attributes',
  'oidc_claims',
  'auth_contexts',
  'accounts',
  'user_exists',
] as const;

/** Keeps the first thing that is wrong, which is what the caller is told. */
class Reading {
  readonly #against: StatedAgainst;
  readonly #nowMs: number;
  #wrong = '';

  constructor(against: StatedAgainst, nowMs: number) {
    this.#against = against;
    this.#nowMs = nowMs;
  }

  /** "" where nothing is. */
  get wrong(): string {
    return this.#wrong;
  }

  readonly report: Report = (found: Fault) => {
    const where = found.place.path.map(String).join('.');
    this.#say(where === '' ? found.text : `${where}: ${found.text}`);
  };

  /** An entity with its required members, which are text. */
  entity(value: JsonObject, name: string, required: readonly string[]): Entity | undefined {
    const values = this.object(value[name], name);
    if (!values) return undefined;
    const missing = required.find((key) => typeof values[key] !== 'string' || values[key] === '');
    if (missing !== undefined) return this.#say(`${name}.${missing}: expected text`);
    const properties = this.object(values['properties'] ?? {}, `${name}.properties`);
    return properties && { name, values, properties };
  }

  object(value: unknown, name: string): JsonObject | undefined {
    if (isObject(value)) return value;
    return this.#say(`${name}: expected an object`);
  }

  request(
    action: Entity,
    resource: Entity,
    context: JsonObject,
    serviceToken: string | undefined,
  ): StatedRequest | undefined {
    const place = placeOf(resource);
    if (!place) return this.#say('resource: expected properties.host, or a URL or host/path as id');
    return readStatedRequest(
      withoutUndefined({
        ...place,
        method: methodOf(action),
        headers: resource.properties['headers'],
        body: resource.properties['body'],
        client_ip: context['ip'],
        time: timeOf(context['time']),
        ...picked(context, LOCATION_KEYS),
        service_token: serviceToken === undefined ? undefined : this.#usable(serviceToken),
      }),
      { ...PLACE, path: ['request'] },
      this.report,
    );
  }

  caller({ values, properties }: Entity): StatedIdentity | 'nobody' | undefined {
    const { type, id } = values;
    if (type === 'anonymous' || type === 'service') return 'nobody';
    if (type !== 'user') return this.#say('subject.type: expected user, service or anonymous');
    const authTime = timeOf(properties['auth_time']);
    return readIdentity(
      withoutUndefined({
        ...picked(properties, LOGIN_KEYS),
        subject: id,
        email: properties['email'] ?? normalEmail(String(id)),
        auth_time: authTime,
        // Where nobody says when the login was it has no age that a session may have.
        issued_at: timeOf(properties['issued_at']) ?? authTime ?? BEGINNING,
      }),
      { ...PLACE, path: ['subject', 'properties'] },
      this.report,
    );
  }

  /** A service token that is disabled or has ended is refused, whoever has verified its secret. */
  #usable(written: string): string {
    const token = this.#against.set.serviceTokens.find(
      ({ id, name, client_id: clientId }) => written === id || written === name || written === clientId,
    );
    if (!token) return written;
    const hasEnded = token.expires_at !== undefined && !(Date.parse(token.expires_at) > this.#nowMs);
    return token.enabled === false || hasEnded ? 'refused' : token.id;
  }

  #say(text: string): undefined {
    if (this.#wrong === '') this.#wrong = text;
    return undefined;
  }
}

const BEGINNING = '1970-01-01T00:00:00Z';

function serviceOf({ values }: Entity): string | undefined {
  return values['type'] === 'service' ? String(values['id']) : undefined;
}

/** Host and path, with the query. */
function placeOf({ values, properties }: Entity): JsonObject | undefined {
  const { host, path, scheme } = properties;
  if (host !== undefined) return { host, path: path ?? '/', scheme };
  const parts = /^(?:(https?):\/\/)?([^/?#\s]+)([/?][^#\s]*)?$/.exec(String(values['id']));
  if (!parts) return undefined;
  const target = parts[3] ?? '/';
  return { scheme: parts[1], host: parts[2], path: target.startsWith('/') ? target : `/${target}` };
}

function methodOf({ values, properties }: Entity): unknown {
  if (properties['method'] !== undefined) return properties['method'];
  const name = String(values['name']);
  return /^[A-Z]+$/.test(name) ? name : 'GET';
}

/** A NumericDate (RFC 7519, section 2) becomes text; whatever else it is, the shape judges. */
function timeOf(value: unknown): unknown {
  if (typeof value !== 'number') return value;
  const time = new Date(value * 1000);
  return Number.isNaN(time.getTime()) ? String(value) : time.toISOString();
}

function picked(from: JsonObject, keys: readonly string[]): JsonObject {
  return Object.fromEntries(keys.flatMap((key) => (Object.hasOwn(from, key) ? [[key, from[key]]] : [])));
}

function withoutUndefined(value: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(value).filter(([, member]) => member !== undefined));
}
