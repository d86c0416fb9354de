import type { Headers, RequestFacts, SingleHeader } from '../../src/model/request.ts';
import { parseAddress } from '../../src/shared/address.ts';

/** What a test says of a request; a header has one value or several entries. */
export interface ConnectionRequest {
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  readonly sourceAddress?: string;
  readonly principal?: string;
  readonly certificate?: string;
  readonly metadata?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

/** A request with these facts and nothing else. A value with U+FFFD is unreadable, a comma means several. */
export function connectionRequest(told: ConnectionRequest = {}): RequestFacts {
  return {
    method: 'GET',
    host: 'orders.example.com',
    path: '/',
    query: undefined,
    target: '/',
    authority: 'orders.example.com',
    scheme: 'https',
    headers: headersOf(told.headers ?? {}),
    timeMs: undefined,
    sourceAddress: parseAddress(told.sourceAddress ?? ''),
    principal: told.principal ?? '',
    certificate: told.certificate ?? '',
    body: { state: 'absent' },
    metadata: (namespace) => told.metadata?.[namespace],
    streamId: '1',
    protocol: 'HTTP/2',
  };
}

function headersOf(given: Readonly<Record<string, string | readonly string[]>>): Headers {
  const values = new Map(Object.entries(given).map(([name, value]) => [name, [value].flat()]));
  const all = (name: string): readonly string[] => values.get(name) ?? [];
  return {
    has: (name) => values.has(name),
    all,
    single(name, options): SingleHeader {
      const [value, ...more] = all(name);
      if (value === undefined) return { state: 'absent' };
      if (more.length > 0) return { state: 'several' };
      if (value.includes('\uFFFD')) return { state: 'unreadable' };
      if (options?.commaAllowed !== true && value.includes(',')) return { state: 'several' };
      return { state: 'one', value };
    },
    cookies: () => [],
    names: () => values.keys(),
  };
}
