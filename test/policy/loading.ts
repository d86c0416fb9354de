/** Loading of policy texts in tests: everything from bytes to the text of faults, without files. */
import { createHash } from 'node:crypto';
import type { Fault } from '../../src/model/fault.ts';
import { faultsText } from '../../src/policy/fault-text.ts';
import { link } from '../../src/policy/link.ts';
import { createLookups } from '../../src/policy/lookups.ts';
import type { LinkSettings, Lookups } from '../../src/policy/lookups.ts';
import type { PolicySet } from '../../src/policy/objects.ts';
import { createPolicyReader } from '../../src/policy/read.ts';
import type { PolicyFile } from '../../src/policy/read.ts';
import { warn } from '../../src/policy/warnings.ts';

/** Noon of a day in March. */
export const NOW_MS = Date.parse('2026-03-04T12:00:00Z');

const place = { file: 'postern.yaml', path: [] };

/** Identity providers of every kind that the tests name. */
export const PROVIDERS = {
  okta: {
    id: '11111111-1111-1111-1111-111111111111',
    name: 'Corporate Okta',
    type: 'okta',
    domains: ['example.com'],
    place,
  },
  entra: { id: '22222222-2222-2222-2222-222222222222', name: 'Entra', type: 'azureAD', domains: [], place },
  pin: { id: '33333333-3333-3333-3333-333333333333', name: 'One-time PIN', type: 'onetimepin', domains: [], place },
  github: { id: '44444444-4444-4444-4444-444444444444', name: 'GitHub', type: 'github', domains: [], place },
} as const;

export const SETTINGS: LinkSettings = {
  identity: {
    providers: Object.values(PROVIDERS),
    tokens: [{ issuer: 'https://example.okta.com', audiences: ['postern'], place }],
    envoy_jwt_authn: { enabled: false },
    headers: { enabled: false },
  },
  admin: { accounts: ['023e105f4ecef8ad9ca31a8372d0c353'], tokens: [{ name: 'terraform' }] },
  external_evaluation: { allow_hosts: ['evaluate.example.com'] },
  posture: { from: 'token' },
  risk_scores: { from: 'token' },
  risk: {
    locations_max: 5,
    location_lifetime_hours: 0,
    location_trust_threshold: 1,
    location_check_ip: false,
    travel_velocity_max_kmh: 800,
    travel_distance_min_km: 50,
    score: 'sum',
    expected_locations: [],
    machine: { points: { browser: 10, platform: 10, language: 10 } },
  },
  geo: {
    city_database: 'geo/city.mmdb',
    anonymous_database: 'geo/anonymous.mmdb',
    headers: { country: undefined, latitude: undefined, longitude: undefined, anonymous: undefined },
  },
  certificates: { trusted_authorities: undefined, verified_by_envoy: true },
};

export interface Loaded {
  readonly set: PolicySet;
  readonly lookups: Lookups;
  /** Warnings are there only where there is no fault. */
  readonly faults: readonly Fault[];
  /** As `postern validate` prints them. */
  readonly text: string;
}

/** Loads texts by file name, as `postern validate` would. */
export async function load(
  texts: Readonly<Record<string, string | Uint8Array>>,
  settings: LinkSettings = SETTINGS,
): Promise<Loaded> {
  const shaped = await createPolicyReader().read(filesOf(texts));
  const faults = [...shaped.faults];
  const report = (fault: Fault): void => {
    faults.push(fault);
  };
  const lookups = createLookups(shaped.set, settings);
  await link(shaped, lookups, report, pause);
  if (!faults.some(({ severity }) => severity === 'fault')) {
    await warn(shaped.set, lookups, settings, NOW_MS, report, pause);
  }
  const source = (file: string): string | undefined => {
    const text = texts[file];
    return typeof text === 'string' ? text : undefined;
  };
  return { set: shaped.set, lookups, faults, text: faultsText(faults, source) };
}

export function filesOf(texts: Readonly<Record<string, string | Uint8Array>>): ReadonlyMap<string, PolicyFile> {
  return new Map(
    Object.entries(texts).map(([name, text]) => {
      const bytes = Buffer.from(text);
      return [name, { bytes, hash: createHash('sha256').update(bytes).digest('hex') }];
    }),
  );
}

async function pause(): Promise<void> {
  // Nothing waits in tests.
}
