/** What users and requests wrote may hold control characters, which must not reach a terminal. `painted`: our own
 *  colours are in it already, and stay. */
export function printable(text: string, painted = false): string {
  const shown = painted ? text.replaceAll(COLOR, (code) => `\uE000${code.slice(2)}`) : text;
  const plain = shown.replaceAll(/[\u0000-\u001F\u007F-\u009F\u2028\u2029]/g, '\uFFFD');
  return painted ? plain.replaceAll(/\uE000(\d+m)/g, '\u001B[$1') : plain;
}

const COLOR = /\u001B\[\d+m/g;
