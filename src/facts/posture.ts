import type { PostureFact } from '../model/facts.ts';
import type { RequestFacts } from '../model/request.ts';

/** Reads the device posture of a request. */
export type PostureSource = (request: RequestFacts) => PostureFact;

/** Device posture from where `posture.from` says: `token` (the identity has it), `metadata` (filter metadata of
 *  the namespace `postern.posture`), or else the name of a header, whose value is a JSON object or the base64url of
 *  one. Entries are integration uid → `{ success, timestamp }`, as Cloudflare's application token has them in
 *  `devicePosture`. A header or namespace that is absent has no entries; one that cannot be read is unavailable. */
export function createPostureSource(from: string): PostureSource {
  if (from === 'token') return () => OF_IDENTITY;
  if (from === 'metadata') {
    return (request) => {
      const entries = request.metadata(POSTURE_NAMESPACE);
      return entries === undefined ? NO_ENTRIES : { state: 'known', entries: new Map(Object.entries(entries)) };
    };
  }
  const name = from.toLowerCase();
  return (request) => {
    const header = request.headers.single(name, { commaAllowed: true });
    if (header.state === 'absent') return NO_ENTRIES;
    if (header.state !== 'one') return unavailable(`the header ${name} has ${header.state} values`);
    const value = header.value.trim();
    if (value === '') return NO_ENTRIES;
    const json = jsonOf(value);
    if (json === undefined) return unavailable(`the header ${name} is neither JSON nor base64url`);
    return entriesOf(json) ?? unavailable(`the header ${name} holds no JSON object`);
  };
}

const POSTURE_NAMESPACE = 'postern.posture';
const MAX_HEADER = 65_536;
const OF_IDENTITY: PostureFact = Object.freeze({ state: 'identity' });
const NO_ENTRIES: PostureFact = Object.freeze({ state: 'known', entries: new Map<string, unknown>() });

function unavailable(why: string): PostureFact {
  return { state: 'unavailable', why };
}

function jsonOf(value: string): string | undefined {
  if (value.length > MAX_HEADER) return undefined;
  if (value.startsWith('{')) return value;
  if (!/^[\w-]+={0,2}$/.test(value)) return undefined;
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.from(value, 'base64url'));
  } catch {
    return undefined;
  }
}

function entriesOf(json: string): PostureFact | undefined {
  try {
    const parsed: unknown = JSON.parse(json);
    if (parsed === null || typeof parsed !== 'object' || Array.isArray(parsed)) return undefined;
    return { state: 'known', entries: new Map(Object.entries(parsed)) };
  } catch {
    return undefined;
  }
}
