/** HTML whose every inserted text is escaped: there is no other way to make one. */

/** Markup that is safe to send. Nobody outside of this file can make one. */
export type Html = Markup;

/** Text and numbers are escaped, lists are joined, undefined is nothing. */
export type HtmlValue = Html | string | number | undefined | readonly HtmlValue[];

/** A piece of a page. Values may stand between tags and inside quoted attributes, nowhere else; a test holds the
 *  templates to that. */
export function html(strings: TemplateStringsArray, ...values: readonly HtmlValue[]): Html {
  let markup = strings[0] ?? '';
  for (const [place, value] of values.entries()) markup += textOf(value) + (strings[place + 1] ?? '');
  return new Markup(markup);
}

/** A style element with exactly this text, which is a constant of this program: entities mean nothing in it. */
export function styleElement(text: string): Html {
  if (/[&<]/.test(text)) throw new Error('expected a style sheet without & and <');
  return new Markup(`<style>${text}</style>`);
}

/** Nothing at all where the condition does not hold. */
export function when(condition: boolean, piece: () => HtmlValue): HtmlValue {
  return condition ? piece() : undefined;
}

class Markup {
  readonly #markup: string;

  constructor(markup: string) {
    this.#markup = markup;
  }

  toString(): string {
    return this.#markup;
  }
}

function textOf(value: HtmlValue): string {
  if (value === undefined) return '';
  if (value instanceof Markup) return value.toString();
  if (typeof value === 'number') return String(value);
  if (typeof value === 'string') return escaped(value);
  return value.map(textOf).join('');
}

/** Everything that means something between tags or in a quoted attribute. Characters that a page cannot hold or that
 *  nobody sees become visible: a name must not look like another one. */
function escaped(text: string): string {
  if (!SPECIAL.test(text)) return text;
  return text.replace(/[&<>"'`=]/g, (character) => `&#${character.charCodeAt(0)};`).replace(HIDDEN, '\uFFFD');
}

/** Controls but for tab and line ends; marks that turn the direction of what follows; lone surrogates. */
// oxlint-disable-next-line no-control-regex -- it is there to find them
const HIDDEN =
  /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;
// oxlint-disable-next-line no-control-regex -- likewise
const SPECIAL =
  /[&<>"'`=\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]/;
