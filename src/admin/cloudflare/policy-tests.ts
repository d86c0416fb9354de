/** The policy tester: who of some users would be let in by some policies. Source:
 *  https://developers.cloudflare.com/api/resources/zero_trust/subresources/access/subresources/applications/subresources/policy_tests/ */
import { randomBytes, randomUUID } from 'node:crypto';
import { readIdentity } from '../../cases/shape.ts';
import type { StatedIdentity, Statement } from '../../cases/shape.ts';
import { decideStated, linkStatement } from '../../cases/stated.ts';
import type { StatedAgainst } from '../../cases/stated.ts';
import type { Fault, Place } from '../../model/fault.ts';
import type { Decision } from '../../model/decision.ts';
import type { LocatedFault } from '../../policy/fault-text.ts';
import { pointerTo } from '../managed-faults.ts';
import type { AdminResponse } from '../server.ts';
import { invalid, invalidAll, notFound, success } from './answers.ts';
import { bodyOf, idOf, isRefusal, paged, parameter, unknownKeys } from './call.ts';
import type { Call, Data, Endpoint } from './call.ts';

export interface PolicyTestParts {
  /** Compiles an application beside everything that runs, for nobody but the caller. Without `against` there is a
   *  fault. */
  compile(application: Data): Promise<{
    /** The file that it would stand in alone. */
    readonly file: string;
    readonly faults: readonly LocatedFault[];
    readonly against: StatedAgainst | undefined;
  }>;
  /** Everybody in the users' own cases, for tests that name nobody. */
  identities(): Promise<readonly StatedIdentity[]>;
  now(): number;
}

export function policyTestEndpoints(parts: PolicyTestParts): readonly Endpoint[] {
  const tests = new Map<string, PolicyTest>();
  const one = 'access/policy-tests/{id}';
  return [
    // A test changes nothing: whoever may read may ask.
    { method: 'POST', path: 'access/policy-tests', scope: 'read', handle: (call) => create(call, parts, tests) },
    { method: 'GET', path: one, scope: 'read', handle: (call) => get(call, parts, tests) },
    { method: 'GET', path: `${one}/users`, scope: 'read', handle: (call) => listUsers(call, parts, tests) },
  ];
}

const TESTS_MAX = 100;
const KEPT_MS = 3_600_000;
const USERS_MAX = 1000;
const POLICIES_MAX = 100;

interface PolicyTest {
  readonly untilMs: number;
  readonly users: readonly TestedUser[];
}

interface TestedUser {
  readonly id: string;
  readonly email: string | undefined;
  readonly name: string | undefined;
  readonly status: UserStatus;
}

type UserStatus = 'approved' | 'blocked' | 'error';

const STATUS_OF: Readonly<Record<string, UserStatus>> = { success: 'approved', fail: 'blocked', error: 'error' };

async function create(call: Call, parts: PolicyTestParts, tests: Map<string, PolicyTest>): Promise<AdminResponse> {
  const { revision } = call;
  const body = bodyOf(call);
  if (isRefusal(body)) return body.response;
  const unknown = unknownKeys(body, ['policies', 'users'], revision);
  if (unknown) return unknown;
  const { policies, users } = body;
  if (!Array.isArray(policies) || policies.length === 0 || policies.length > POLICIES_MAX)
    return invalid(
      revision.id,
      'type_wrong',
      `expected policies to be a list of 1 to ${POLICIES_MAX} policies or ids`,
      '/policies',
    );
  if (users !== undefined && (!Array.isArray(users) || users.length > USERS_MAX))
    return invalid(revision.id, 'type_wrong', `expected users to be a list of at most ${USERS_MAX}`, '/users');

  const { file, faults, against } = await parts.compile({
    id: randomUUID(),
    name: 'policy test',
    destinations: [HOST],
    policies,
  });
  if (!against) return refused(revision.id, faults, file);

  const wrong: Fault[] = [];
  const report = (found: Fault): void => void wrong.push(found);
  const identities: StatedIdentity[] = [];
  for (const [index, user] of (users ?? (await parts.identities())).entries()) {
    const place: Place = { file: '', path: ['users', index] };
    const identity = users === undefined ? (user as StatedIdentity) : readIdentity(user, place, report);
    if (!identity) continue;
    // Those of the cases may name what is gone; their test is to say so.
    if (users !== undefined)
      linkStatement(statementOf(identity), place, against, (found) => report(withoutStep(found)));
    identities.push(identity);
  }
  if (wrong.length > 0)
    return invalidAll(
      revision.id,
      wrong.map(({ code, text, mend, place }) => ({ code, text: `${text}; ${mend}`, pointer: pointerTo(place.path) })),
    );

  const tested: TestedUser[] = [];
  for (const [index, identity] of identities.entries()) {
    const { decision } = await decideStated(statementOf(identity), against, parts.now());
    const { subject, email, name } = identity;
    tested.push({ id: subject ?? email ?? `user-${index + 1}`, email, name, status: statusOf(decision.outcome) });
  }
  const id = randomBytes(32).toString('hex');
  forget(tests, parts.now());
  tests.set(id, { untilMs: parts.now() + KEPT_MS, users: tested });
  return success(revision.id, 200, { id, status: 'success' });
}

function get(call: Call, parts: PolicyTestParts, tests: Map<string, PolicyTest>): AdminResponse {
  const test = testOf(call, parts, tests);
  if (!test) return notFound(call.revision.id);
  const { users } = test;
  const count = (status: UserStatus): number => users.filter((user) => user.status === status).length;
  const percent = (status: UserStatus): number =>
    users.length === 0 ? 0 : Math.round((100 * count(status)) / users.length);
  return success(call.revision.id, 200, {
    id: idOf(call).toLowerCase(),
    status: 'complete',
    total_users: users.length,
    users_approved: count('approved'),
    users_blocked: count('blocked'),
    users_errored: count('error'),
    percent_approved: percent('approved'),
    percent_blocked: percent('blocked'),
    percent_errored: percent('error'),
    percent_users_processed: 100,
  });
}

function listUsers(call: Call, parts: PolicyTestParts, tests: Map<string, PolicyTest>): AdminResponse {
  const { revision } = call;
  const test = testOf(call, parts, tests);
  if (!test) return notFound(revision.id);
  const status = parameter(call, 'status');
  if (status !== undefined && !Object.hasOwn(STATUS_OF, status))
    return invalid(
      revision.id,
      'parameter_invalid',
      `expected status to be success, fail or error, found ${JSON.stringify(status)}`,
    );
  return paged(
    call,
    test.users.filter((user) => status === undefined || user.status === STATUS_OF[status]),
  );
}

function testOf(call: Call, parts: PolicyTestParts, tests: Map<string, PolicyTest>): PolicyTest | undefined {
  const test = tests.get(idOf(call).toLowerCase());
  return test && test.untilMs > parts.now() ? test : undefined;
}

/** Makes room: what is too old goes, and then the oldest. */
function forget(tests: Map<string, PolicyTest>, nowMs: number): void {
  for (const [id, { untilMs }] of tests) if (untilMs <= nowMs || tests.size >= TESTS_MAX) tests.delete(id);
}

/** No request can have it: a name under `.invalid` (RFC 6761) that nobody is told. */
const HOST = 'policy-test.invalid';

function statementOf(identity: StatedIdentity): Statement {
  return {
    request: { host: HOST },
    identity,
    history: undefined,
    machine: undefined,
    engines: undefined,
    evaluations: undefined,
  };
}

function statusOf(outcome: Decision['outcome']): UserStatus {
  if (outcome === 'allow') return 'approved';
  return outcome === 'unavailable' ? 'error' : 'blocked';
}

/** Places of a statement have the identity one step below. */
function withoutStep(found: Fault): Fault {
  const path = found.place.path.filter((step, depth) => !(depth === 2 && step === 'identity'));
  return { ...found, place: { ...found.place, path } };
}

/** The application stands at `["applications", 0]` of its file. */
function refused(revision: string, faults: readonly LocatedFault[], file: string): AdminResponse {
  return invalidAll(
    revision,
    faults
      .filter(({ fault }) => fault.severity === 'fault')
      .map(({ fault: { code, text, mend, place }, position }) =>
        place.file === file
          ? { code, text: `${text}; ${mend}`, pointer: pointerTo(place.path.slice(2)) }
          : { code, text: `${place.file}:${position.line}:${position.column}: ${text}`, pointer: undefined },
      ),
  );
}
