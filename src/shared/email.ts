import { domainToASCII } from 'node:url';
import { quoted, readText } from './shape.ts';
import type { Finding, Shape } from './shape.ts';

/** An e-mail address, normalised: ASCII lower case, domain as A-labels; undefined where the text is none.
 *  No plus or dot folding. */
export function normalEmail(written: string): string | undefined {
  const split = written.lastIndexOf('@');
  if (split < 1 || split > 320 || /[\s,<>"\u0000-\u001f\u007f]/.test(written)) return undefined;
  const local = written.slice(0, split);
  if (local.includes('@')) return undefined;
  const domain = normalDomain(written.slice(split + 1));
  return domain === undefined ? undefined : `${asciiLower(local)}@${domain}`;
}

/** A host name of two or more labels as lower-case A-labels; undefined where the text is none. */
export function normalDomain(written: string): string | undefined {
  const domain = isAscii(written) ? asciiLower(written) : domainToASCII(written);
  if (domain.length > 253) return undefined;
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
          mend: 'write a domain such as "example.com"',
        }
      : { value: domain };
  });
}

function emailFinding(value: string): Finding {
  return {
    code: 'email_invalid',
    text: `expected an e-mail address, found ${quoted(value)}`,
    mend: value.startsWith('*@')
      ? `for a whole domain use { email_domain: { domain: ${quoted(value.slice(2))} } }`
      : 'write an address such as "ann@example.com"',
  };
}

function isAscii(text: string): boolean {
  return /^[\u0000-\u007f]*$/.test(text);
}

function asciiLower(text: string): string {
  return text.replaceAll(/[A-Z]/g, (letter) => letter.toLowerCase());
}
