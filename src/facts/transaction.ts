/** What a request says of the transaction it carries out: the details that resource rules and risk engines ask for,
 *  each read from a header, a query parameter or a JSON body, as the application's `transaction` map declares. */
import type { TransactionDetail } from '../model/adaptive-facts.ts';
import type { Headers, RequestFacts } from '../model/request.ts';
import type { TransactionDetailObject, TransactionSource } from '../policy/objects.ts';
import { valueAt } from './json-pointer.ts';

/** The details of one application's requests by their names; every declared one is there. */
export type TransactionReader = (request: RequestFacts) => ReadonlyMap<string, TransactionDetail>;

/** Prepares reading one application's details. Nothing here waits. A detail that was sent twice, that is partial or
 *  that two readers could read differently is unknown, never absent. */
export function createTransactionReader(details: readonly TransactionDetailObject[]): TransactionReader {
  const readers = details.map(({ name, source }) => [name, readerOf(source)] as const);
  return (request) => {
    const found = new Map<string, TransactionDetail>();
    let body: BodyText | undefined;
    const bodyOf = (): BodyText => (body ??= bodyText(request));
    for (const [name, read] of readers) found.set(name, read(request, bodyOf));
    return found;
  };
}

type Reader = (request: RequestFacts, body: () => BodyText) => TransactionDetail;

const ABSENT: TransactionDetail = Object.freeze({ state: 'absent' });

function readerOf(source: TransactionSource): Reader {
  if ('header' in source) return ({ headers }) => headerDetail(headers, source.header);
  if ('query' in source) return ({ query }) => queryDetail(query, source.query);
  const tokens = source.body
    .split('/')
    .slice(1)
    .map((token) => token.replaceAll('~1', '/').replaceAll('~0', '~'));
  return (_, body) => bodyDetail(body(), tokens);
}

function headerDetail(headers: Headers, name: string): TransactionDetail {
  const header = headers.single(name);
  switch (header.state) {
    case 'absent':
      return ABSENT;
    case 'one':
      return { state: 'text', value: header.value };
    case 'several':
      return unknown('sent twice');
    case 'unreadable':
      return unknown('no readable text');
  }
}

/** As forms are encoded. Source: WHATWG URL, application/x-www-form-urlencoded. */
function queryDetail(query: string | undefined, name: string): TransactionDetail {
  if (query === undefined) return ABSENT;
  const detail = parameter(query.split('&'), name);
  if (!query.includes(';')) return detail;
  // Some upstreams end a parameter at a semicolon too.
  const other = parameter(query.split(/[&;]/), name);
  const isSame =
    detail.state === other.state && (detail.state !== 'text' || other.state !== 'text' || detail.value === other.value);
  return isSame ? detail : unknown('a semicolon makes it doubtful');
}

function parameter(pairs: readonly string[], name: string): TransactionDetail {
  let found: string | undefined;
  for (const pair of pairs) {
    const equals = pair.indexOf('=');
    const key = formDecoded(equals < 0 ? pair : pair.slice(0, equals));
    // It might be this one.
    if (key === undefined) return unknown('a parameter name cannot be decoded');
    if (key !== name) continue;
    if (found !== undefined) return unknown('sent twice');
    found = equals < 0 ? '' : pair.slice(equals + 1);
  }
  if (found === undefined) return ABSENT;
  const value = formDecoded(found);
  return value === undefined ? unknown('cannot be decoded') : { state: 'text', value };
}

function formDecoded(written: string): string | undefined {
  if (!written.includes('%') && !written.includes('+')) return isReadable(written);
  try {
    return isReadable(decodeURIComponent(written.replaceAll('+', ' ')));
  } catch {
    return undefined;
  }
}

function isReadable(text: string): string | undefined {
  return text.includes('\uFFFD') ? undefined : text;
}

/** The body as JSON; `wrong`: there is one, or there should be, and nobody can tell what is in it. */
type BodyText = { readonly json: string } | { readonly wrong: string } | undefined;

function bodyText(request: RequestFacts): BodyText {
  const { body, headers } = request;
  if (body.state === 'partial') return { wrong: 'the body is partial' };
  const announced = announcedLength(headers);
  if (body.state === 'absent') {
    return announced === 0 && !headers.has('transfer-encoding') ? undefined : { wrong: 'the body did not come' };
  }
  // Envoy calls a body whole that stopped just where its buffer was full.
  if (announced === undefined || announced > body.bytes.length) return { wrong: 'the body is partial' };
  if (headers.has('content-encoding')) return { wrong: 'the body is encoded' };
  if (!isJsonType(headers)) return { wrong: 'the body is no JSON' };
  try {
    const json = new TextDecoder('utf-8', { fatal: true }).decode(body.bytes);
    JSON.parse(json);
    return { json };
  } catch {
    return { wrong: 'the body is no JSON' };
  }
}

/** Bytes of a body that is on its way; 0 where nothing is said; undefined: cannot be read. */
function announcedLength(headers: Headers): number | undefined {
  const header = headers.single('content-length');
  if (header.state === 'absent') return 0;
  return header.state === 'one' && /^\d{1,15}$/.test(header.value) ? Number(header.value) : undefined;
}

/** `application/json`, or a type with the suffix `+json` (RFC 6839); no other encoding than UTF-8 (RFC 8259). */
function isJsonType(headers: Headers): boolean {
  const header = headers.single('content-type', { commaAllowed: true });
  if (header.state !== 'one') return false;
  const [type = '', ...parameters] = header.value.toLowerCase().split(';');
  if (!/^\s*(?:application\/json|[\w!#$&^.+-]+\/[\w!#$&^.+-]+\+json)\s*$/.test(type)) return false;
  return parameters.every((one) => !/^\s*charset\s*=/.test(one) || /^\s*charset\s*=\s*"?utf-8"?\s*$/.test(one));
}

function bodyDetail(body: BodyText, tokens: readonly string[]): TransactionDetail {
  if (body === undefined) return ABSENT;
  if ('wrong' in body) return unknown(body.wrong);
  const found = valueAt(body.json, tokens);
  switch (found.state) {
    case 'absent':
      return ABSENT;
    case 'several':
      return unknown('a member is there twice');
    case 'found':
      return scalar(found.source);
  }
}

/** A JSON value as text. Numbers as whole numbers are written, however the sender wrote them. */
function scalar(source: string): TransactionDetail {
  switch (source.charAt(0)) {
    case '"':
      return { state: 'text', value: JSON.parse(source) as string };
    case 't':
    case 'f':
      return { state: 'text', value: source };
    case 'n':
      return ABSENT;
    case '{':
    case '[':
      return unknown('no single value');
    default: {
      const value = safeInteger(source);
      return value === undefined ? unknown('a number that is no safe integer') : { state: 'text', value };
    }
  }
}

/** Decided by its digits: as a double, 640.00000000000000001 would be 640. */
function safeInteger(source: string): string | undefined {
  const parts = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(source);
  if (!parts || source.length > NUMBER_LENGTH_MAX) return undefined;
  const [, sign = '', whole = '', fraction = '', exponent = '0'] = parts;
  const digits = (whole + fraction).replace(/^0+/, '');
  if (digits === '') return '0';
  const zeros = Number(exponent) - fraction.length;
  if (zeros > 16 || (zeros < 0 && !/^0+$/.test(digits.slice(zeros)))) return undefined;
  const value = Number(zeros < 0 ? digits.slice(0, zeros) : digits + '0'.repeat(zeros));
  return Number.isSafeInteger(value) ? `${sign}${value}` : undefined;
}

/** Longer ones are not looked at: no safe integer needs as many. */
const NUMBER_LENGTH_MAX = 400;

function unknown(why: string): TransactionDetail {
  return { state: 'unknown', why };
}
