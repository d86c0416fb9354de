/** `docs/remembered.md` says what is so: its files are taken without a word, and its settings are the defaults. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { machineSetCookie } from '../src/facts/machine.ts';
import { parseYaml } from '../src/policy/read.ts';
import { defaultSettings } from '../src/settings.ts';
import { load } from './policy/loading.ts';

const PAGE = readFileSync(new URL('../docs/remembered.md', import.meta.url), 'utf8');
const [policies = '', settings = ''] = [...PAGE.matchAll(/^```yaml\n(.*?)^```$/gms)].map(([, text]) => text);

describe('the page about what is remembered', () => {
  it('has policies without a fault or a warning', async () => {
    expect(policies).toContain('locationHistoryContext');
    const { faults } = await load({ 'policies/payroll.yaml': policies });
    expect(faults.map(({ code }) => code)).toEqual([]);
  });

  it('shows the defaults of risk', () => {
    const parsed = parseYaml(settings, 'postern.yaml');
    if ('faults' in parsed) throw new Error(JSON.stringify(parsed.faults));
    const { risk } = parsed.data as { readonly risk: object };
    expect(defaultSettings().risk).toMatchObject(risk);
    expect(Object.keys(risk)).toHaveLength(7);
  });

  it('shows the cookie', () => {
    const [line] = /^Set-Cookie: .*$/m.exec(PAGE) ?? [];
    expect(line).toBe(`Set-Cookie: ${machineSetCookie('<machine nonce>', '<sequence nonce>')}`);
  });
});
