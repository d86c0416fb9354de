/** Errors as Entrust's administration API has them: `{"errorCode", "errorMessage", "parameters"}`. */
import type { WriteRefusal } from '../managed.ts';
import type { AdminResponse, Refusal } from '../server.ts';

export function json(status: number, body: unknown, headers: Readonly<Record<string, string>> = {}): AdminResponse {
  return { status, headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify(body) };
}

/** `errorCode` is a fault's code, or one of the API's own; `parameters` say where, as RFC 6901 pointers into the body
 *  or as names. */
export function failure(
  status: number,
  errorCode: string,
  errorMessage: string,
  parameters: readonly string[] = [],
): AdminResponse {
  return json(status, { errorCode, errorMessage, parameters });
}

/** The answer where no route answers. */
export function refused(refusal: Refusal): AdminResponse {
  switch (refusal.kind) {
    case 'unauthenticated':
      return failure(401, 'unauthorized', 'expected an admin token, found none or a wrong one');
    case 'forbidden':
      return failure(403, 'forbidden', 'the admin token does not have the scope');
    case 'not_found':
      return failure(404, 'not_found', 'no such resource');
    case 'method_not_allowed':
      return failure(405, 'method_not_allowed', `expected ${refusal.allow}`);
    case 'too_large':
      return failure(400, 'body_malformed', 'expected a body of 4 MiB at most');
    case 'failed':
      return failure(500, 'internal_error', 'the request failed');
  }
}

/** What came of a write that was refused. `inBody`: where in the body that stands which is at fault in the object. */
export function writeRefused(refusal: WriteRefusal, inBody: (pointer: string) => string): AdminResponse {
  switch (refusal.kind) {
    case 'faults': {
      const { faults } = refusal;
      const [first] = faults;
      const pointers = faults.flatMap(({ pointer }) => (pointer === undefined ? [] : [inBody(pointer)]));
      return failure(
        first?.code === 'rule_name_duplicate' ? 409 : 400,
        first?.code ?? 'body_malformed',
        first ? `${first.text}; ${first.mend}` : 'the change is at fault',
        [...new Set(pointers)],
      );
    }
    case 'in_use':
      return failure(409, 'in_use', `it is used by ${refusal.users.join(', ')}; take the reference out first`);
    case 'folder': {
      const { fault, position } = refusal.first;
      const place = `${fault.place.file}:${position.line}:${position.column}`;
      return failure(
        400,
        'set_has_faults',
        `${place} ${fault.code}: ${fault.text}; nothing is changed while the policy folder does not load`,
        [fault.place.file],
      );
    }
    case 'read_only':
      return failure(
        403,
        'read_only',
        `the policy folder cannot be written (${refusal.code}); change its files instead`,
      );
    case 'disk':
      return failure(500, 'internal_error', `the object could not be written (${refusal.code})`);
  }
}
