/** The file with the headers that an OTLP collector asks for: one `name: value` a line. */
import type { Finding } from './shared/shape.ts';

/** Empty lines and lines that begin with `#` are passed over. What was found is not repeated: it is a secret. */
export function readTraceHeaders(text: string): { readonly value: Readonly<Record<string, string>> } | Finding {
  const headers: Record<string, string> = {};
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    const [, name, value] =
      /^([!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}):[ \t]*([\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)[ \t]*$/.exec(line) ?? [];
    if (name === undefined || value === undefined) {
      return {
        code: 'trace_headers_invalid',
        text: `expected "name: value" in line ${index + 1}, found something else`,
        mend: 'write one header a line, such as authorization: Bearer …',
      };
    }
    headers[name.toLowerCase()] = value;
  }
  return { value: headers };
}
