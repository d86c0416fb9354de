/** What is remembered of users, over the admin port: erasing it, and the risk levels that the rule type
 *  `user_risk_score` compares where `risk_scores.from` is `state`. A user is named by `issuer` and `subject`, as his
 *  tokens have them, or by `email` where trusted headers name him. */
import type { Logger } from '../log.ts';
import { normalEmail } from '../shared/email.ts';
import type { Hashes } from '../state/keys.ts';
import type { State } from '../state/state.ts';
import { StateError } from '../state/store.ts';
import type { RiskLevelSet } from '../state/store.ts';
import { failure, json, refused } from './entrust/answers.ts';
import type { AdminGroup, AdminRequest, AdminResponse } from './server.ts';
import { jsonBody } from './json-body.ts';

export interface StateApiOptions {
  readonly state: State;
  /** Whether rules read levels from here; otherwise none can be set. */
  readonly readsLevels: () => boolean;
  readonly logger: Pick<Logger, 'info'>;
}

/** `DELETE /api/state/users` forgets everything of a user: 204, also when there was nothing. `GET`, `PUT` and `DELETE
 *  /api/state/users/risk`: his level, as `{"level": "low" | "medium" | "high"}`; `unscored` where none is set. Errors are
 *  `{"errorCode", "errorMessage", "parameters"}`; 503 where the store does not answer. */
export function stateApi(options: StateApiOptions): AdminGroup {
  const { state } = options;
  const { store } = state;
  const log = ({ caller }: AdminRequest, message: string): void =>
    options.logger.info(message, { token: caller?.name, actor: caller?.actor });
  return {
    prefix: '/api/state',
    refuse: refused,
    routes: [
      {
        method: 'DELETE',
        path: '/api/state/users',
        scope: 'write',
        handle: (request) =>
          ofUser(request, state, async (names) => {
            await store.erase(names);
            log(request, 'what was remembered of a user is erased');
            return { status: 204 };
          }),
      },
      {
        method: 'GET',
        path: '/api/state/users/risk',
        scope: 'read',
        handle: (request) =>
          ofUser(request, state, async (names) => {
            for (const name of names) {
              const level = await store.readRiskLevel(name);
              if (level !== undefined) return json(200, { level });
            }
            return json(200, { level: 'unscored' });
          }),
      },
      {
        method: 'PUT',
        path: '/api/state/users/risk',
        scope: 'write',
        handle(request) {
          if (!options.readsLevels())
            return failure(
              409,
              'risk_scores_elsewhere',
              'risk scores are read from tokens; set risk_scores.from: state',
            );
          const level = levelIn(request.body);
          if (typeof level !== 'string') return level;
          return ofUser(request, state, async ([first, ...others]) => {
            await store.writeRiskLevel(first, level);
            for (const name of others) await store.writeRiskLevel(name, undefined);
            log(request, 'the risk level of a user is set');
            return json(200, { level });
          });
        },
      },
      {
        method: 'DELETE',
        path: '/api/state/users/risk',
        scope: 'write',
        handle: (request) =>
          ofUser(request, state, async (names) => {
            for (const name of names) await store.writeRiskLevel(name, undefined);
            log(request, 'the risk level of a user is removed');
            return { status: 204 };
          }),
      },
    ],
  };
}

async function ofUser(
  request: AdminRequest,
  state: State,
  handle: (names: Hashes) => Promise<AdminResponse>,
): Promise<AdminResponse> {
  const names = namesIn(request.query, state);
  if ('status' in names) return names;
  try {
    return await handle(names);
  } catch (error) {
    if (!(error instanceof StateError)) throw error;
    if (error.kind === 'full') return failure(507, 'state_full', error.message);
    return failure(503, 'state_unavailable', 'the state store did not do it; try again');
  }
}

/** Every name under which the user may be kept, or the answer that says what is wrong. */
function namesIn(query: URLSearchParams, { keys }: State): Hashes | AdminResponse {
  const given = [...query.keys()];
  const unknown = given.find((key) => !PARAMETERS.includes(key));
  if (unknown !== undefined)
    return failure(400, 'key_unknown', `expected ${PARAMETERS.join(', ')}, found another parameter`, [unknown]);
  const twice = given.find((key, place) => given.indexOf(key) !== place);
  if (twice !== undefined) return failure(400, 'key_conflict', `expected ${twice} once, found it again`, [twice]);
  const [issuer, subject, email] = PARAMETERS.map((key) => query.get(key) ?? undefined);
  if (email !== undefined) {
    if (issuer !== undefined || subject !== undefined)
      return failure(400, 'key_conflict', 'expected issuer and subject, or email, found both', ['email']);
    const normal = normalEmail(email);
    if (normal === undefined) return failure(400, 'email_invalid', 'expected an e-mail address', ['email']);
    return keys.identityKeys({ issuer: undefined, subject: undefined, email: normal });
  }
  for (const [key, value] of [
    ['issuer', issuer],
    ['subject', subject],
  ] as const) {
    if (value === undefined) return failure(400, 'key_missing', `expected the parameter ${key}, found none`, [key]);
    if (value === '') return failure(400, 'value_empty', `expected a value of ${key}, found none`, [key]);
  }
  return keys.userKeys(issuer ?? '', subject ?? '');
}

const PARAMETERS: readonly string[] = ['issuer', 'subject', 'email'];
const LEVELS: readonly unknown[] = ['low', 'medium', 'high'] satisfies readonly RiskLevelSet[];

function levelIn(body: Uint8Array): RiskLevelSet | AdminResponse {
  const sent = jsonBody(body);
  if ('wrong' in sent) return failure(400, 'body_malformed', 'expected a JSON object such as {"level": "high"}');
  const unknown = Object.keys(sent.data).find((key) => key !== 'level');
  if (unknown !== undefined) return failure(400, 'key_unknown', 'expected level alone', [`/${pointed(unknown)}`]);
  const { level } = sent.data;
  if (level === undefined) return failure(400, 'key_missing', 'expected the key level, found none', ['/level']);
  return isLevel(level) ? level : failure(400, 'risk_level_invalid', 'expected low, medium or high', ['/level']);
}

function isLevel(value: unknown): value is RiskLevelSet {
  return LEVELS.includes(value);
}

/** RFC 6901, section 3. */
function pointed(key: string): string {
  return key.replaceAll('~', '~0').replaceAll('/', '~1');
}
