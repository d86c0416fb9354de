import { describe, expect, it } from 'vitest';
import { at } from '../../src/model/fault.ts';
import { faultsOf, PLACE, PROVIDERS, scopeOf } from './contexts.ts';

const GONE = '99999999-9999-4999-8999-999999999999';
const EMAILS = 'aaaaaaaa-0000-4000-8000-000000000001';
const ADDRESSES = 'bbbbbbbb-0000-4000-8000-000000000001';
const OPAQUE = 'dddddddd-0000-4000-8000-000000000002';
const OKTA = PROVIDERS.OKTA.id;
const through = { identity_provider_id: OKTA };

const scope = scopeOf({
  lists: [
    { id: EMAILS, name: 'Contractors', type: 'EMAIL', items: [], place: PLACE },
    { id: ADDRESSES, name: 'Offices', type: 'IP', items: [], place: PLACE },
  ],
  applications: [{ id: OPAQUE, issuesTokens: false }],
  evaluationHosts: ['policy.example.com', 'other.example.com:8443', '127.0.0.1:9000', 'localhost'],
});

const evaluate = (url: string): unknown => ({
  external_evaluation: { evaluate_url: url, keys_url: 'https://policy.example.com/keys' },
});

/** The code, and where below the rule. */
type Row = readonly [written: unknown, code: string, ...path: (string | number)[]];

describe('a rule object', () => {
  it.each<Row>([
    [{}, 'rule_empty'],
    [{ email: null }, 'rule_empty'],
    [null, 'type_wrong'],
    ['everyone', 'type_wrong'],
    [[{ everyone: {} }], 'type_wrong'],
    [{ email: { email: 'a@b.example' }, geo: { country_code: 'CA' } }, 'rule_ambiguous'],
    [{ everyone: {}, certificate: {} }, 'rule_ambiguous'],
    [{ everyone: {}, email: { email: 'a@b.example' } }, 'rule_ambiguous'],
    [{ common_name: {}, email: {} }, 'rule_ambiguous'],
    [{ emial: { email: 'a@b.example' } }, 'rule_unknown', 'emial'],
    [{ email: { email: 'a@b.example' }, comment: 'ours' }, 'rule_unknown', 'comment'],
    [{ constructor: {} }, 'rule_unknown', 'constructor'],
    [JSON.parse('{"__proto__":{}}'), 'rule_unknown', '__proto__'],
    [{ common_name: {} }, 'key_missing', 'common_name'],
    [{ common_name: { common_name: null } }, 'key_missing', 'common_name'],
    [{ email: { email: 'a@b.example', domain: 'b.example' } }, 'key_unknown', 'email', 'domain'],
    [{ email: 'a@b.example' }, 'type_wrong', 'email'],
    [{ email: ['a@b.example'] }, 'type_wrong', 'email'],
    [{ email: { email: 7 } }, 'type_wrong', 'email', 'email'],
    [{ email: { email: '' } }, 'value_empty', 'email', 'email'],
    [{ email: { email: ' a@b.example' } }, 'value_padded', 'email', 'email'],
    [{ okta: { name: 'x'.repeat(1025), ...through } }, 'value_too_long', 'okta', 'name'],
  ])('%j', (written, code, ...path) => {
    expect(faultsOf(written, scope).map((fault) => [fault.code, fault.place.path])).toEqual([
      [code, [...PLACE.path, ...path]],
    ]);
  });

  it.each([
    ['azure_ad', 'azureAD'],
    ['azuread', 'azureAD'],
    ['AzureAD', 'azureAD'],
    ['github_organization', 'github-organization'],
    ['github', 'github-organization'],
    ['emails_ending_in', 'email_domain'],
    ['emial', 'email'],
    ['emaildomain', 'email_domain'],
    ['ip_lists', 'ip_list'],
  ])('%s: did you mean %s?', (written, meant) => {
    expect(faultsOf({ [written]: {} }).map((fault) => fault.mend)).toEqual([`did you mean "${meant}"?`]);
  });

  it('names all words where none is near', () => {
    const [fault] = faultsOf({ xylophone: {} });
    expect(fault?.mend).toMatch(/^use any_valid_service_token, .* or user_risk_score$/);
  });

  it('drops nulls without a word', () => {
    expect(faultsOf({ email: { email: 'a@b.example', extra: null }, okta: null, nonsense: null })).toEqual([]);
  });

  it('drops an empty object beside another key, with a warning', () => {
    const found = faultsOf({ common_name: {}, email: { email: 'a@b.example' }, geo: { country_code: null } });
    expect(found.map(({ severity, code, place }) => [severity, code, place.path.at(-1), place.atKey])).toEqual([
      ['warning', 'setting_without_effect', 'common_name', true],
      ['warning', 'setting_without_effect', 'geo', true],
    ]);
  });

  it('keeps {} where it is the whole value', () => {
    expect(faultsOf({ everyone: {}, common_name: {} }).map((fault) => fault.code)).toEqual(['setting_without_effect']);
    expect(faultsOf({ certificate: {} })).toEqual([]);
    expect(faultsOf({ any_valid_service_token: {} })).toEqual([]);
  });

  it('reports the fault of connection_id where it is written', () => {
    expect(faultsOf({ okta: { name: 'x', connection_id: 'o' } }).map(({ code, place }) => [code, place.path])).toEqual([
      ['uuid_invalid', at(PLACE, 'okta', 'connection_id').path],
    ]);
  });

  it('does not choose between connection_id and another identity_provider_id', () => {
    const both = { name: 'x', connection_id: PROVIDERS.GH.id, identity_provider_id: OKTA };
    expect(faultsOf({ okta: both }).map((fault) => fault.code)).toEqual(['key_unknown']);
  });
});

describe('a value', () => {
  it.each<Row>([
    [{ group: { id: 'Enginering' } }, 'group_unknown', 'group', 'id'],
    [{ group: {} }, 'key_missing', 'group'],
    [{ any_valid_service_token: { id: 'x' } }, 'key_unknown', 'any_valid_service_token', 'id'],
    [{ everyone: { name: 'x' } }, 'key_unknown', 'everyone', 'name'],
    [{ everyone: true }, 'type_wrong', 'everyone'],
    [{ certificate: { cn: 'x' } }, 'key_unknown', 'certificate', 'cn'],
    [{ auth_context: { id: 'x', ...through } }, 'key_missing', 'auth_context'],
    [{ auth_context: { ac_id: 'c1', ...through } }, 'key_missing', 'auth_context'],
    [{ auth_context: { id: 'x', ac_id: 'c1' } }, 'key_missing', 'auth_context'],
    [
      { auth_context: { id: 'x', ac_id: 'c1', identity_provider_id: GONE } },
      'provider_unknown',
      'auth_context',
      'identity_provider_id',
    ],
    [{ azureAD: { id: 'x', identity_provider_id: GONE } }, 'provider_unknown', 'azureAD', 'identity_provider_id'],
    [{ azureAD: { id: 'x' } }, 'key_missing', 'azureAD'],
    [{ okta: { name: 'x', identity_provider_id: 'okta' } }, 'uuid_invalid', 'okta', 'identity_provider_id'],
    [{ okta: { name: 'x', identity_provider_id: GONE } }, 'provider_unknown', 'okta', 'identity_provider_id'],
    [
      { gsuite: { email: 'x@y.example', identity_provider_id: GONE } },
      'provider_unknown',
      'gsuite',
      'identity_provider_id',
    ],
    [{ gsuite: { email: 'eng', ...through } }, 'email_invalid', 'gsuite', 'email'],
    [
      { saml: { attribute_name: 'a', attribute_value: 'b', identity_provider_id: GONE } },
      'provider_unknown',
      'saml',
      'identity_provider_id',
    ],
    [{ saml: { attribute_name: 'a', ...through } }, 'key_missing', 'saml'],
    [
      { oidc: { claim_name: 'a', claim_value: 'b', identity_provider_id: GONE } },
      'provider_unknown',
      'oidc',
      'identity_provider_id',
    ],
    [{ oidc: { claim_name: 'a', claim_value: true, ...through } }, 'type_wrong', 'oidc', 'claim_value'],
    [
      { 'github-organization': { name: 'acme', identity_provider_id: GONE } },
      'provider_unknown',
      'github-organization',
      'identity_provider_id',
    ],
    [
      { 'github-organization': { name: 'acme', team: ' x', ...through } },
      'value_padded',
      'github-organization',
      'team',
    ],
    [{ 'github-organization': { name: 'acme', team: 7, ...through } }, 'type_wrong', 'github-organization', 'team'],
    [{ geo: { country_code: 'UK' } }, 'country_unknown', 'geo', 'country_code'],
    [{ geo: { country_code: 'ZZ' } }, 'country_unknown', 'geo', 'country_code'],
    [{ geo: { country_code: ['CA'] } }, 'type_wrong', 'geo', 'country_code'],
    [{ device_posture: {} }, 'key_missing', 'device_posture'],
    [{ device_posture: { integration_uid: '' } }, 'value_empty', 'device_posture', 'integration_uid'],
    [{ email_domain: { domain: 'localhost' } }, 'domain_invalid', 'email_domain', 'domain'],
    [{ email_domain: { domain: '*.example.com' } }, 'domain_invalid', 'email_domain', 'domain'],
    [{ email_domain: { domain: 'example.com/x' } }, 'domain_invalid', 'email_domain', 'domain'],
    [{ email_list: { id: 'L' } }, 'uuid_invalid', 'email_list', 'id'],
    [{ email_list: { id: GONE } }, 'list_unknown', 'email_list', 'id'],
    [{ email_list: { id: ADDRESSES } }, 'list_type_mismatch', 'email_list', 'id'],
    [{ ip_list: { id: GONE } }, 'list_unknown', 'ip_list', 'id'],
    [{ ip_list: { id: EMAILS } }, 'list_type_mismatch', 'ip_list', 'id'],
    [{ email: { email: '*@example.com' } }, 'email_invalid', 'email', 'email'],
    [{ ip: { ip: '10.0.0.0/33' } }, 'cidr_invalid', 'ip', 'ip'],
    [{ ip: { ip: '010.0.0.0/8' } }, 'cidr_invalid', 'ip', 'ip'],
    [{ ip: { ip: 'fe80::1%eth0' } }, 'cidr_invalid', 'ip', 'ip'],
    [{ ip: { ip: 'office' } }, 'cidr_invalid', 'ip', 'ip'],
    [{ login_method: { id: GONE } }, 'provider_unknown', 'login_method', 'id'],
    [{ login_method: { id: 'onetimepin' } }, 'uuid_invalid', 'login_method', 'id'],
    [{ service_token: { token_id: '88bf3b6d86161464.access' } }, 'uuid_invalid', 'service_token', 'token_id'],
    [{ service_token: { token_id: GONE } }, 'service_token_unknown', 'service_token', 'token_id'],
    [{ linked_app_token: { app_uid: GONE } }, 'application_unknown', 'linked_app_token', 'app_uid'],
    [{ linked_app_token: { app_uid: OPAQUE } }, 'application_without_audience', 'linked_app_token', 'app_uid'],
    [{ user_risk_score: { user_risk_score: [] } }, 'risk_level_invalid', 'user_risk_score', 'user_risk_score'],
    [
      { user_risk_score: { user_risk_score: ['low', 'severe'] } },
      'risk_level_invalid',
      'user_risk_score',
      'user_risk_score',
      1,
    ],
    [{ user_risk_score: { user_risk_score: 'low' } }, 'type_wrong', 'user_risk_score', 'user_risk_score'],
    [{ cloudflare_account_member: {} }, 'account_missing', 'cloudflare_account_member'],
    [evaluate('policy.example.com'), 'url_invalid', 'external_evaluation', 'evaluate_url'],
    [evaluate('https://ann:secret@policy.example.com/'), 'url_invalid', 'external_evaluation', 'evaluate_url'],
    [evaluate('https://@policy.example.com/'), 'url_invalid', 'external_evaluation', 'evaluate_url'],
    [evaluate('https://policy.example.com/#part'), 'url_invalid', 'external_evaluation', 'evaluate_url'],
    [evaluate('https:policy.example.com/'), 'url_invalid', 'external_evaluation', 'evaluate_url'],
    [evaluate('https:\\\\policy.example.com/'), 'url_invalid', 'external_evaluation', 'evaluate_url'],
    [evaluate('ftp://policy.example.com/'), 'url_invalid', 'external_evaluation', 'evaluate_url'],
    [evaluate('http://policy.example.com/'), 'url_insecure', 'external_evaluation', 'evaluate_url'],
    [evaluate('https://evil.example/'), 'evaluation_host_not_allowed', 'external_evaluation', 'evaluate_url'],
    [evaluate('https://other.example.com/'), 'evaluation_host_not_allowed', 'external_evaluation', 'evaluate_url'],
    [evaluate('https://x.policy.example.com/'), 'evaluation_host_not_allowed', 'external_evaluation', 'evaluate_url'],
    [evaluate('http://127.0.0.1:9001/'), 'evaluation_host_not_allowed', 'external_evaluation', 'evaluate_url'],
    [evaluate('http://127.0.0.2/'), 'evaluation_host_not_allowed', 'external_evaluation', 'evaluate_url'],
  ])('%j', (written, code, ...path) => {
    expect(faultsOf(written, scope).map((fault) => [fault.code, fault.place.path])).toEqual([
      [code, [...PLACE.path, ...path]],
    ]);
  });

  it.each([
    [evaluate('https://policy.example.com/evaluate?x=1')],
    [evaluate('https://POLICY.example.com:9443')],
    [evaluate('https://other.example.com:8443/')],
    [evaluate('http://127.0.0.1:9000/')],
    [evaluate('http://localhost:1234/')],
    [{ auth_method: { auth_method: 'our-own' } }],
    [{ login_method: { id: OKTA.toUpperCase() } }],
    [{ email_domain: { domain: '@Example.COM' } }],
    [{ geo: { country_code: 'xk' } }],
    [{ azureAD: { id: 'any text', ...through } }],
  ])('%j is right', (written) => {
    expect(faultsOf(written, scope)).toEqual([]);
  });

  it('says that the account of device_posture has no effect', () => {
    const found = faultsOf({ device_posture: { integration_uid: 'u', account_id: 'a' } }, scope);
    expect(found.map(({ severity, code }) => [severity, code])).toEqual([['warning', 'setting_without_effect']]);
  });

  it('mends', () => {
    expect(mendOf({ geo: { country_code: 'UK' } })).toBe('did you mean "GB"?');
    expect(mendOf({ email: { email: '*@example.com' } })).toContain('email_domain');
    expect(mendOf({ service_token: { token_id: '88bf3b6d.access' } })).toBe("write the token's id, not its client_id");
    expect(mendOf({ user_risk_score: { user_risk_score: ['hihg'] } })).toBe('did you mean "high"?');
  });

  it('never shows the password of a URL', () => {
    const shown = JSON.stringify(faultsOf(evaluate('https://ann:hunter2@policy.example.com/'), scope));
    expect(shown).not.toContain('hunter2');
  });

  it('names the nearest group', () => {
    const near = { ...scope, nearest: () => 'Engineering' };
    expect(faultsOf({ group: { id: 'Enginering' } }, near)).toEqual([
      expect.objectContaining({
        code: 'group_unknown',
        text: 'no group has the id or name "Enginering"',
        mend: 'did you mean "Engineering"?',
      }),
    ]);
  });
});

function mendOf(written: unknown): string | undefined {
  return faultsOf(written, scope)[0]?.mend;
}
