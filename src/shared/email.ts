import { domainToASCII } from 'node:url';
import { quoted, readText } from './shape.ts';
import type { Finding, Shape } from './shape.ts';

/** An e-mail address, normalised: ASCII lower case, domain as A-labels; undefined where the text is none.
 *  No plus or dot folding. */
export function normalEmail(written: string): string | undefined {
  const split = written.indexOf('@');
  if (split < 1 || split > MAX_LOCAL || written.length > MAX_LOCAL + MAX_DOMAIN) return undefined;
  if (/[\s,<>"\u0000-\u001f\u007f]/.test(written)) return undefined;
  const local = written.slice(0, split);
  // Whoever writes `*@` means a whole domain, and nobody has that address.
  if (local === '*') return undefined;
  const domain = normalDomain(written.slice(split + 1));
  return domain === undefined ? undefined : `${asciiLower(local)}@${domain}`;
}

/** A host name of two or more labels as lower-case A-labels; undefined where the text is none. */
export function normalDomain(written: string): string | undefined {
  if (written.length > MAX_DOMAIN) return undefined;
  // The conversion reads a URL's host and would quietly cut at a slash, a question mark, a hash or a port.
  if (/[\u0000-\u0020"#%/:<>?@[\\\]^`{|}\u007f]/.test(written)) return undefined;
  const domain = isAscii(written) ? written.toLowerCase() : domainToASCII(written);
  if (domain.length > MAX_DOMAIN) return undefined;
  return /^(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/.test(domain) &&
    !/^[\d.]+$/.test(domain)
    ? domain
    : undefined;
}

/** The shape of an e-mail address in a policy file; normalised. */
export function emailText(): Shape<string> {
  return readText((value) => {
    const email = normalEmail(value);
    return email === undefined ? emailFinding(value) : { value: email };
  });
}

/** The shape of a domain; a leading `@` is tolerated; normalised. */
export function domainText(): Shape<string> {
  return readText((value) => {
    const domain = normalDomain(value.startsWith('@') ? value.slice(1) : value);
    return domain === undefined
      ? {
          code: 'domain_invalid',
          text: `expected a host name of two or more labels, found ${quoted(value)}`,
          mend: value.includes('*')
            ? 'write each domain by itself: a rule covers one, without its sub-domains'
            : 'write a domain such as "example.com"',
        }
      : { value: domain };
  });
}

/** What is wrong with an item of a list of type EMAIL; undefined: nothing. */
export function emailListItemFinding(item: string): Finding | undefined {
  return normalEmail(item) === undefined ? emailFinding(item) : undefined;
}

/** RFC 5321 allows 64 octets before the `@`; some systems exceed that. */
const MAX_LOCAL = 320;
/** RFC 1035 section 2.3.4, as text without the final dot. */
const MAX_DOMAIN = 253;

function emailFinding(value: string): Finding {
  return {
    code: 'email_invalid',
    text: `expected an e-mail address, found ${quoted(value)}`,
    mend: /^\*?@[^@]+$/.test(value)
      ? `for a whole domain use { email_domain: { domain: ${quoted(value.slice(value.indexOf('@') + 1))} } }`
      : 'write an address such as "ann@example.com"',
  };
}

function isAscii(text: string): boolean {
  return /^[\u0000-\u007f]*$/.test(text);
}

/** Letters beyond ASCII keep their case: before the `@` only the mail server knows what they mean. */
function asciiLower(text: string): string {
  return isAscii(text) ? text.toLowerCase() : text.replaceAll(/[A-Z]/g, (letter) => letter.toLowerCase());
}
