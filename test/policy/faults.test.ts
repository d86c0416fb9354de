/** The manual of faults: each `*.bad.yaml` of `test/faults`, or folder of files, prints exactly the text beside it. */
import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { LinkSettings } from '../../src/policy/lookups.ts';
import { parseText } from '../../src/policy/yaml.ts';
import { SETTINGS, load } from './loading.ts';

const FOLDER = join(import.meta.dirname, '../faults');

const cases = readdirSync(FOLDER)
  .filter((name) => /\.bad\.(?:yaml|json)$/.test(name) || statSync(join(FOLDER, name)).isDirectory())
  .map((name) => name.replace(/\.bad\.(?:yaml|json)$/, ''))
  .toSorted();

/** Stable codes that loading a policy set can report. */
const CODES = [
  'account_missing',
  'acr_invalid',
  'acr_unknown',
  'algorithm_invalid',
  'allow_everyone',
  'application_closed',
  'application_open',
  'application_type_unsupported',
  'application_unknown',
  'application_without_audience',
  'approval_unsupported',
  'audience_shared',
  'bypass_reads_identity',
  'bypass_shadows_allow',
  'cidr_invalid',
  'client_id_duplicate',
  'client_id_invalid',
  'country_unknown',
  'default_groups_many',
  'destination_duplicate',
  'destination_hidden',
  'destination_invalid',
  'destination_tie',
  'destination_unreachable',
  'destination_unsupported',
  'digest_invalid',
  'domain_invalid',
  'duration_invalid',
  'email_invalid',
  'engine_rule_unknown',
  'evaluation_host_not_allowed',
  'export_unclear',
  'flow_conflict',
  'flow_empty',
  'flow_unknown',
  'group_cycle',
  'group_too_deep',
  'group_unknown',
  'header_invalid',
  'id_duplicate',
  'identity_in_non_identity',
  'include_empty',
  'ip_context_empty',
  'isolation_unsupported',
  'issuer_duplicate',
  'kba_context_ignored',
  'key_duplicate',
  'key_missing',
  'key_unknown',
  'level_without_flow',
  'linked_app_token_in_allow',
  'list_type_mismatch',
  'list_unknown',
  'mfa_unsupported',
  'name_differs',
  'name_duplicate',
  'name_reserved',
  'name_shared',
  'one_time_pin_alone',
  'operator_invalid',
  'pointer_invalid',
  'points_total',
  'policy_never_matches',
  'policy_unknown',
  'policy_unreachable',
  'precedence_conflict',
  'provider_type_mismatch',
  'provider_unknown',
  'provider_without_domains',
  'purpose_justification_unsupported',
  'require_contradicts',
  'resource_unknown',
  'risk_level_invalid',
  'rule_ambiguous',
  'rule_empty',
  'rule_groups_missing',
  'rule_name_duplicate',
  'rule_never_applies',
  'rule_redundant',
  'rule_unknown',
  'secret_stale',
  'service_token_in_allow',
  'service_token_unknown',
  'setting_unsupported',
  'setting_without_effect',
  'skip_needs_all_groups',
  'skip_without_external',
  'source_missing',
  'steps_ignored',
  'steps_invalid',
  'threshold_order',
  'time_invalid',
  'transaction_contexts_too_many',
  'transaction_item_conflict',
  'transaction_rule_unknown',
  'transaction_source_ambiguous',
  'type_wrong',
  'unused',
  'url_insecure',
  'url_invalid',
  'uuid_invalid',
  'v1_steps_ignored',
  'value_empty',
  'value_invalid',
  'value_padded',
  'value_range',
  'value_too_long',
  'value_unknown',
  'value_unusual',
  'yaml_syntax',
];

describe('the manual of faults', () => {
  it.each(cases)('%s', async (name) => {
    const { text } = await load(textsOf(name), settingsOf(name));
    expect(text).not.toBe('');
    await expect(text).toMatchFileSnapshot(join(FOLDER, `${name}.txt`));
  });

  it.each(CODES)('has %s', (code) => {
    const texts = cases.map((name) => readFileSync(join(FOLDER, `${name}.txt`), 'utf8'));
    expect(texts.some((text) => new RegExp(String.raw`^\S+:\d+:\d+ (?:warning )?${code}: `, 'm').test(text))).toBe(
      true,
    );
  });

  it('knows every code that it shows', () => {
    const shown = cases.flatMap((name) =>
      [...readFileSync(join(FOLDER, `${name}.txt`), 'utf8').matchAll(/^\S+:\d+:\d+ (?:warning )?(\w+): /gm)].map(
        ([, code]) => code,
      ),
    );
    expect([...new Set(shown)].toSorted()).toEqual(CODES);
  });
});

/** A folder is a set of files; otherwise there is one. */
function textsOf(name: string): Record<string, string> {
  const folder = join(FOLDER, name);
  if (existsSync(folder)) {
    return Object.fromEntries(
      readdirSync(folder)
        .toSorted()
        .map((file) => [`policies/${file}`, readFileSync(join(folder, file), 'utf8')]),
    );
  }
  const file = ['yaml', 'json']
    .map((extension) => `${name}.bad.${extension}`)
    .find((one) => existsSync(join(FOLDER, one)));
  return { [`policies/${file ?? ''}`]: readFileSync(join(FOLDER, file ?? ''), 'utf8') };
}

/** `<name>.settings.yaml` changes members of the settings, one level down; `none` is undefined. */
function settingsOf(name: string): LinkSettings {
  const path = join(FOLDER, `${name}.settings.yaml`);
  if (!existsSync(path)) return SETTINGS;
  const changes = parseText(readFileSync(path, 'utf8'), path).data as Record<string, object>;
  const settings: Record<string, object> = { ...SETTINGS };
  for (const [key, change] of Object.entries(changes)) {
    const members = Object.entries(change).map(([member, value]) => [
      member,
      value === 'none' ? undefined : (value as unknown),
    ]);
    settings[key] = { ...settings[key], ...(Object.fromEntries(members) as object) };
  }
  return settings as unknown as LinkSettings;
}
