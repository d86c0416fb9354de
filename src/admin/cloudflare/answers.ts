/** The envelope of Cloudflare's API, and its errors. Source: https://developers.cloudflare.com/fundamentals/api/ and
 *  what its official clients make of an answer. */
import type { WriteRefusal } from '../managed.ts';
import type { AdminRequest, AdminResponse, Refusal } from '../server.ts';

/** One entry of `errors`. */
export interface ApiError {
  readonly code: number;
  readonly message: string;
  /** RFC 6901, into the body; absent where no place in it is at fault. */
  readonly source?: { readonly pointer: string };
}

/** Where a list stands among all pages. */
export interface ResultInfo {
  readonly page: number;
  readonly per_page: number;
  /** Items on this page. */
  readonly count: number;
  readonly total_count: number;
  /** 0 for an empty list. */
  readonly total_pages: number;
}

/** `revision` names the one answered from. */
export function success(revision: string, status: number, result: unknown, info?: ResultInfo): AdminResponse {
  return answer(revision, status, {
    success: true,
    errors: [],
    messages: [],
    result,
    ...(info ? { result_info: info } : {}),
  });
}

export function failure(
  revision: string,
  status: number,
  errors: readonly ApiError[],
  headers: Readonly<Record<string, string>> = {},
): AdminResponse {
  const body = { success: false, errors: errors.slice(0, ERRORS_MAX), messages: [], result: null };
  return answer(revision, status, body, headers);
}

/** 400. `code` is a fault code. */
export function invalid(revision: string, code: string, text: string, pointer?: string): AdminResponse {
  return failure(revision, 400, [invalidError(code, text, pointer)]);
}

/** 400 with one error for each. */
export function invalidAll(
  revision: string,
  faults: readonly { readonly code: string; readonly text: string; readonly pointer: string | undefined }[],
): AdminResponse {
  return failure(
    revision,
    400,
    faults.map(({ code, text, pointer }) => invalidError(code, text, pointer)),
  );
}

export function notFound(revision: string): AdminResponse {
  return failure(revision, 404, [{ code: 12135, message: 'access.api.error.not_found: no such object' }]);
}

export function forbidden(revision: string): AdminResponse {
  return failure(revision, 403, [{ code: 9109, message: 'Unauthorized to access requested resource' }]);
}

/** What came of a write that was refused. `noun` is what the object is called (`service token`), `name` its name. */
export function writeRefused(revision: string, refusal: WriteRefusal, noun: string, name: string): AdminResponse {
  switch (refusal.kind) {
    case 'faults':
      return invalidAll(
        revision,
        refusal.faults.map(({ code, text, mend, pointer }) => ({ code, text: `${text}; ${mend}`, pointer })),
      );
    case 'in_use':
      return invalid(
        revision,
        `${noun.replaceAll(' ', '_')}_in_use`,
        `${noun} ${JSON.stringify(name)} is used by ${refusal.users.join(', ')}; take the reference out first` +
          ' (Terraform destroys before it updates: apply that on its own, or set create_before_destroy)',
      );
    case 'folder': {
      const { fault, position } = refusal.first;
      const place = `${fault.place.file}:${position.line}:${position.column}`;
      return invalid(
        revision,
        fault.code,
        `${place}: ${fault.text}; nothing is changed while the policy folder does not load`,
      );
    }
    case 'read_only':
      return failure(revision, 403, [
        {
          code: 12130,
          message: `access.api.error.read_only: the policy folder cannot be written (${refusal.code}); change its files instead`,
        },
      ]);
    case 'disk':
      return failed(revision, `the object could not be written (${refusal.code})`);
  }
}

/** The answer where no route answers. */
export function refused(revision: string, refusal: Refusal, request: AdminRequest): AdminResponse {
  switch (refusal.kind) {
    case 'unauthenticated':
      return failure(revision, 401, [{ code: 10000, message: 'Authentication error' }]);
    case 'forbidden':
      return forbidden(revision);
    case 'not_found':
      return failure(revision, 404, [
        {
          code: 7003,
          message: `Could not route to ${request.path}, perhaps your object identifier is invalid?`,
        },
      ]);
    case 'method_not_allowed':
      return failure(revision, 405, [{ code: 7001, message: `Method ${request.method} not available for that URI` }]);
    case 'too_large':
      return invalid(revision, 'body_too_large', 'expected a body of at most 4 MiB, found a larger one');
    case 'failed':
      return failed(revision, 'internal error');
  }
}

/** `2026-03-04T14:30:00Z` */
export function timeText(epochMs: number): string {
  return `${new Date(epochMs).toISOString().slice(0, 19)}Z`;
}

/** A time of a policy file in that form; undefined where none is written. */
export function writtenTime(written: unknown): string | undefined {
  const epochMs = typeof written === 'string' ? Date.parse(written) : Number.NaN;
  return Number.isNaN(epochMs) ? undefined : timeText(epochMs);
}

const ERRORS_MAX = 100;

function invalidError(code: string, text: string, pointer: string | undefined): ApiError {
  const message = `access.api.error.invalid_request: ${code}: ${text}`;
  return pointer === undefined ? { code: 12130, message } : { code: 12130, message, source: { pointer } };
}

/** The clients would repeat a 5xx twice, to no use. */
function failed(revision: string, message: string): AdminResponse {
  return failure(revision, 500, [{ code: 10001, message }], { 'x-should-retry': 'false' });
}

function answer(
  revision: string,
  status: number,
  body: unknown,
  headers: Readonly<Record<string, string>> = {},
): AdminResponse {
  return {
    status,
    headers: { 'content-type': 'application/json', 'postern-revision': revision, ...headers },
    body: JSON.stringify(body),
  };
}
