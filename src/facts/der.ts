/** The little of DER (ITU-T X.690) that reading certificates takes: definite lengths, one-byte tags. */

export interface DerElement {
  readonly tag: number;
  readonly content: Uint8Array;
  /** Tag and length included. */
  readonly raw: Uint8Array;
}

/** The elements that fill these bytes, in order; undefined where they do not fill them exactly, or a tag or length
 *  has another form. */
export function readElements(bytes: Uint8Array): readonly DerElement[] | undefined {
  const elements: DerElement[] = [];
  let at = 0;
  while (at < bytes.length) {
    const element = readElement(bytes, at);
    if (element === undefined) return undefined;
    elements.push(element);
    at += element.raw.length;
  }
  return elements;
}

/** An object identifier in dotted form; undefined where the element is none. */
export function readObjectIdentifier(element: DerElement): string | undefined {
  const { content } = element;
  if (element.tag !== 0x06 || content.length === 0 || content.length > MAX_IDENTIFIER) return undefined;
  const arcs: number[] = [];
  let arc = 0;
  for (const [index, byte] of content.entries()) {
    if (arc > MAX_ARC || (arc === 0 && byte === 0x80)) return undefined;
    arc = arc * 128 + (byte & 0x7f);
    if (byte >= 0x80) {
      if (index === content.length - 1) return undefined;
      continue;
    }
    if (arcs.length === 0) {
      const first = Math.min(Math.floor(arc / 40), 2);
      arcs.push(first, arc - first * 40);
    } else arcs.push(arc);
    arc = 0;
  }
  return arcs.join('.');
}

const MAX_IDENTIFIER = 64;
const MAX_ARC = 2 ** 45;

function readElement(bytes: Uint8Array, start: number): DerElement | undefined {
  const tag = bytes[start];
  const first = bytes[start + 1];
  if (tag === undefined || first === undefined || (tag & 0x1f) === 0x1f) return undefined;
  let length = first;
  let contentStart = start + 2;
  if (first >= 0x80) {
    const count = first & 0x7f;
    // Four bytes of length are 4 GiB; none at all is the indefinite form, which DER does not have.
    if (count === 0 || count > 4) return undefined;
    length = 0;
    for (let index = 0; index < count; index++) length = length * 256 + (bytes[contentStart + index] ?? 0);
    contentStart += count;
  }
  const end = contentStart + length;
  if (end > bytes.length) return undefined;
  return { tag, content: bytes.subarray(contentStart, end), raw: bytes.subarray(start, end) };
}
