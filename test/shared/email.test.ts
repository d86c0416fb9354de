import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Fault } from '../../src/model/fault.ts';
import { domainText, emailListItemFinding, emailText, normalDomain, normalEmail } from '../../src/shared/email.ts';
import { shaped } from '../../src/shared/shape.ts';
import type { Shape } from '../../src/shared/shape.ts';

describe('an e-mail address', () => {
  it.each([
    ['ann@example.com', 'ann@example.com'],
    ['ANN@Example.COM', 'ann@example.com'],
    ['ann+x@example.com', 'ann+x@example.com'],
    ['a.n.n@example.com', 'a.n.n@example.com'],
    ["o'neil@example.com", "o'neil@example.com"],
    ['ann@bücher.example', 'ann@xn--bcher-kva.example'],
    ['ann@bücher.example/x', undefined],
    ['ann@bücher.example?x', undefined],
    ['ann@bücher.example:80', undefined],
    ['ann@bü\\x.example', undefined],
    ['ann@BÜCHER.example', 'ann@xn--bcher-kva.example'],
    ['ann@xn--bcher-kva.example', 'ann@xn--bcher-kva.example'],
    ['Änn@example.com', 'Änn@example.com'],
    ['ann', undefined],
    ['', undefined],
    ['@example.com', undefined],
    ['*@example.com', undefined],
    ['ann@', undefined],
    ['ann@localhost', undefined],
    ['ann@10.0.0.1', undefined],
    ['ann@[10.0.0.1]', undefined],
    ['ann@bob@example.com', undefined],
    ['ann@example.com.', undefined],
    ['ann@-example.com', undefined],
    ['ann@exa mple.com', undefined],
    ['ann smith@example.com', undefined],
    ['ann@example.com,bob@example.com', undefined],
    ['Ann <ann@example.com>', undefined],
    ['"ann"@example.com', undefined],
    ['ann\u0000@example.com', undefined],
    ['ann@example.com\n', undefined],
    [`${'a'.repeat(321)}@example.com`, undefined],
    [`ann@${'a.'.repeat(130)}example`, undefined],
    [`ann@${'a'.repeat(64)}.example`, undefined],
  ])('%j is %s', (written, normal) => {
    expect(normalEmail(written)).toBe(normal);
  });

  it('normalised is not changed by normalising', () => {
    fc.assert(
      fc.property(fc.emailAddress(), (written) => {
        const once = normalEmail(written);
        if (once !== undefined) expect(normalEmail(once)).toBe(once);
        expect(normalEmail(written.toUpperCase())).toBe(once);
      }),
    );
  });

  it('of hostile length is refused at once', () => {
    expect(normalEmail(`a@${'ü'.repeat(1_000_000)}.example`)).toBeUndefined();
    expect(normalEmail('@'.repeat(1_000_000))).toBeUndefined();
  });
});

describe('a domain', () => {
  it.each([
    ['example.com', 'example.com'],
    ['EXAMPLE.com', 'example.com'],
    ['a.b.example', 'a.b.example'],
    ['_x.example.com', '_x.example.com'],
    ['bücher.example', 'xn--bcher-kva.example'],
    ['example', undefined],
    ['example.com.', undefined],
    ['.example.com', undefined],
    ['a..example', undefined],
    ['*.example.com', undefined],
    ['example.com/x', undefined],
    ['example.com:443', undefined],
    ['https://example.com', undefined],
    ['10.0.0.1', undefined],
    ['', undefined],
  ])('%j is %s', (written, normal) => {
    expect(normalDomain(written)).toBe(normal);
  });
});

describe('in a policy file', () => {
  it.each([
    ['ann', 'email_invalid', 'write an address such as "ann@example.com"'],
    ['*@example.com', 'email_invalid', 'for a whole domain use { email_domain: { domain: "example.com" } }'],
    ['@example.com', 'email_invalid', 'for a whole domain use { email_domain: { domain: "example.com" } }'],
    [' ann@example.com', 'value_padded', 'write "ann@example.com"'],
  ])('the e-mail %j is %s', (written, code, mend) => {
    expect(faultOf(emailText(), written)).toMatchObject({ code, mend });
  });

  it.each([
    ['localhost', 'domain_invalid', 'write a domain such as "example.com"'],
    ['*.example.com', 'domain_invalid', 'write each domain by itself: a rule covers one, without its sub-domains'],
    ['@@example.com', 'domain_invalid', 'write a domain such as "example.com"'],
    ['', 'value_empty', 'write a value or remove the key'],
  ])('the domain %j is %s', (written, code, mend) => {
    expect(faultOf(domainText(), written)).toMatchObject({ code, mend });
  });

  it('a leading @ of a domain is tolerated', () => {
    expect(domainText().parse('@Example.com')).toBe('example.com');
  });

  it('an item of a list is an address', () => {
    expect(emailListItemFinding('Ann@example.com')).toBeUndefined();
    expect(emailListItemFinding('example.com')).toMatchObject({ code: 'email_invalid' });
  });
});

function faultOf(shape: Shape<string>, written: string): Fault | undefined {
  const faults: Fault[] = [];
  shaped(shape, written, { file: 'x.yaml', path: [] }, (fault) => faults.push(fault));
  expect(faults).toHaveLength(1);
  return faults[0];
}
