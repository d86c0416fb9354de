/** Bodies that are JSON objects, read as policy files are: each key once, and without nulls. */
import { parseJson } from '../policy/json.ts';
import { isObject } from '../shared/object.ts';

export type JsonBody =
  | { readonly data: Readonly<Record<string, unknown>> }
  /** `bytes`: no UTF-8. `json`: no JSON, a key twice, or nested too deep. `list`, `other`: JSON that is no object. */
  | { readonly wrong: 'bytes' | 'json' | 'list' | 'other' };

export function jsonBody(body: Uint8Array): JsonBody {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(body);
  } catch {
    return { wrong: 'bytes' };
  }
  const parsed = parseJson(text);
  if (!parsed) return { wrong: 'json' };
  const { data } = parsed;
  if (isObject(data)) return { data };
  return { wrong: Array.isArray(data) ? 'list' : 'other' };
}
