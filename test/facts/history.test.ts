/** What is remembered, from the store to the decision: the vectors of `test/vectors/resource-rules.json` about places,
 *  travel and machines, each on a record that was written before, through the bytes of a request. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { createKeySets } from '../../src/facts/key-set.ts';
import { createHistorySource } from '../../src/facts/history.ts';
import { EvaluationContext } from '../../src/model/context.ts';
import type { Identity } from '../../src/model/identity.ts';
import { parseAddress } from '../../src/shared/address.ts';
import { createStateKeys } from '../../src/state/keys.ts';
import { createMemoryStore } from '../../src/state/memory.ts';
import { NO_RECORD } from '../../src/state/record.ts';
import type { UserRecord } from '../../src/state/record.ts';
import type { StateStore } from '../../src/state/store.ts';
import { identityOf, requestFacts } from '../rules/contexts.ts';
import { EARTH_RADIUS_KM } from '../../src/risk/haversine.ts';
import { annToken, IDENTITY, ORDERS, wholeCheck } from './whole-check.ts';
import { ISSUER } from './token-maker.ts';

interface Vector {
  readonly id: string;
  readonly area: string;
  readonly given: Given;
  readonly expect: { readonly risk: boolean };
}

type Given = Readonly<Record<string, unknown>>;
type Texts = Readonly<Record<string, string>>;

interface Waypoint {
  readonly lat: number;
  readonly lon: number;
  readonly time: string;
}

/** A record, the request that meets it, and the settings and context that judge. */
interface Meeting {
  readonly record: Partial<UserRecord>;
  readonly headers: Texts;
  readonly address?: string;
  readonly timeMs: number;
  readonly risk: object;
  readonly context: string;
}

const keys = createStateKeys([Buffer.alloc(32, 'no secret, but long enough for all')]);
const NOW = '2026-03-05T12:00:00Z';
const NONCE = 'AAAAAAAAAAAAAAAAAAAAAA';
const HEADERS = {
  country: 'x-country',
  city: 'x-city',
  isp: 'x-isp',
  latitude: 'x-latitude',
  longitude: 'x-longitude',
};

const AREAS: Readonly<Record<string, (given: Given) => Meeting>> = {
  locationHistory({ settings, history, expectedLocations, current, now }) {
    const { maxLocations, lifetimeHours, trustThreshold, checkIp } = settings as Given;
    const { country = '', city = '', isp = '', ip = '' } = current as Texts;
    return {
      record: {
        places: (history as readonly Texts[]).map((place) => ({
          country: place['country'],
          city: place['city'],
          isp: place['isp'],
          addressHash: addressHash(place['ip'] ?? ''),
          private: false,
          firstMs: Date.parse(place['lastSeen'] ?? ''),
          lastMs: Date.parse(place['lastSeen'] ?? ''),
          count: Number(place['count']),
        })),
      },
      headers: { 'x-country': country, 'x-city': city, 'x-isp': isp },
      address: ip,
      timeMs: Date.parse(now as string),
      risk: {
        locations_max: maxLocations,
        location_lifetime_hours: lifetimeHours,
        location_trust_threshold: trustThreshold,
        location_check_ip: checkIp,
        expected_locations: expectedLocations,
      },
      context: 'locationHistoryContext: { riskPoint: 100 }',
    };
  },
  travelVelocity(given) {
    const { previous, current } = waypoints(given);
    return {
      record: {
        last: previous && { latitude: previous.lat, longitude: previous.lon, timeMs: Date.parse(previous.time) },
      },
      headers: { 'x-country': 'PT', 'x-latitude': String(current.lat), 'x-longitude': String(current.lon) },
      timeMs: Date.parse(current.time),
      risk: { travel_velocity_max_kmh: given['maxVelocityKmh'], travel_distance_min_km: given['minDistanceKm'] },
      context: 'travelVelocityContext: { riskPoint: 100 }',
    };
  },
  machine({ present, machineRisk, riskLimit }) {
    const mark = (name: string, value: string): string => keys.markHashes(name, value)[0];
    return {
      record: {
        machines: [
          {
            nonceHash: keys.nonceHashes(NONCE)[0],
            sequenceHash: keys.nonceHashes(NONCE)[0],
            previousHash: undefined,
            marks: {
              browser: mark('browser', machineRisk === 0 ? 'Firefox/' : 'Chrome/'),
              platform: mark('platform', ''),
              language: mark('language', 'pt'),
            },
            createdMs: Date.parse(NOW),
            usedMs: Date.parse(NOW),
          },
        ],
      },
      headers: {
        'user-agent': 'Firefox/130.0',
        'accept-language': 'pt',
        ...(present === true ? { cookie: `__Host-postern-machine=${NONCE}.${NONCE}` } : {}),
      },
      timeMs: Date.parse(NOW),
      risk: { machine: { points: { browser: machineRisk, platform: 100, language: 100 } } },
      context: `machineContext: { riskPoint: 100, riskLimit: ${String(riskLimit)} }`,
    };
  },
};

const FILE = JSON.parse(readFileSync(new URL('../vectors/resource-rules.json', import.meta.url), 'utf8')) as {
  readonly vectors: readonly Vector[];
};
const here = FILE.vectors.filter(({ area }) => AREAS[area] !== undefined);

describe('vectors, from the store to the decision', () => {
  it('are all that learned facts decide', () => {
    expect(here.map(({ id }) => id.slice(0, 2))).toEqual([
      ...Array.from({ length: 5 }, () => 'LH'),
      ...Array.from({ length: 8 }, () => 'TV'),
      ...Array.from({ length: 2 }, () => 'MA'),
    ]);
  });

  it.each(here.map((vector) => [vector.id, vector] as const))('%s', async (_, { area, given, expect: expected }) => {
    const meeting = AREAS[area]?.(given);
    if (!meeting) throw new Error(area);
    const store = createMemoryStore({ usersMax: 10, nowMs: Date.now });
    await store.write(keys.userKeys(ISSUER, 'user-1')[0], { ...NO_RECORD, version: 1, ...meeting.record }, 0);
    const whole = await wholeCheck(
      {
        'postern.yaml': `${IDENTITY}geo: { headers: ${JSON.stringify(HEADERS)} }\nrisk: ${JSON.stringify(meeting.risk)}\n`,
        'policies/all.yaml': `applications: [{ id: ${ORDERS}, name: Orders, destinations: [orders.example.com], policies: [{ name: A, decision: allow, include: [{ email_domain: { domain: example.com } }] }] }]
resource_rules: [{ id: 0c3c0000-0000-4000-8000-000000000001, name: R, resourceId: ${ORDERS}, groups: [{ name: All Groups }], ${meeting.context}, lowRiskAuthenticationFlow: { name: Password }, mediumRiskAuthenticationFlow: { name: Password }, highRiskAuthenticationFlow: { name: Password } }]\n`,
      },
      { keySets: createKeySets(), state: () => ({ store, keys }) },
    );
    try {
      const { headers, timeMs, address } = meeting;
      const sent = { ...headers, authorization: `Bearer ${annToken()}` };
      const told = await whole.ask({ headers: sent, timeMs, ...(address !== undefined && { address }) });
      expect(told).toMatchObject({ outcome: 'allow', risk_score: expected.risk ? 100 : 0 });
    } finally {
      whole.close();
    }
  });
});

describe('whose record is read', () => {
  const settings = {
    locations_max: 5,
    location_lifetime_hours: 0,
    machine: { points: { browser: 1, platform: 1, language: 1 } },
  };
  it.each<[string, Partial<Identity>, readonly string[]]>([
    ['a token', { source: 'token', issuer: ISSUER, subject: 'ann' }, keys.userKeys(ISSUER, 'ann')],
    [
      "the same login by Envoy's filter",
      { source: 'envoy_jwt_authn', issuer: ISSUER, subject: 'ann' },
      keys.userKeys(ISSUER, 'ann'),
    ],
    [
      'another issuer',
      { issuer: 'https://other.example', subject: 'ann' },
      keys.userKeys('https://other.example', 'ann'),
    ],
    [
      'a token with an e-mail address alone',
      { issuer: ISSUER, email: 'ann@example.com' },
      keys.identityKeys(identityOf({ issuer: ISSUER, email: 'ann@example.com' })),
    ],
    ['no issuer: nobody', { source: 'envoy_jwt_authn', subject: 'ann' }, []],
    ['trusted headers: nobody', { source: 'headers', issuer: ISSUER, subject: 'ann', email: 'ann@example.com' }, []],
  ])('%s', async (_, part, names) => {
    const read: string[] = [];
    const store: StateStore = {
      ...createMemoryStore({ usersMax: 10, nowMs: Date.now }),
      read: (user) => void read.push(user),
    };
    const source = createHistorySource(() => ({ store, keys }), settings);
    const identity = identityOf(part);
    const { history } = await source(identity, new EvaluationContext(requestFacts(), Date.parse(NOW)));
    expect(read).toEqual(names);
    expect(history).toMatchObject({ state: 'known', record: { last: undefined, places: [], eventKnown: false } });
  });
});

function addressHash(text: string): string {
  const address = parseAddress(text);
  if (!address) throw new Error(`no address: ${text}`);
  return keys.addressHashes(address)[0];
}

/** Places as given, or two that are as far apart as given. */
function waypoints(given: Given): { readonly previous: Waypoint | undefined; readonly current: Waypoint } {
  if (typeof given['distanceKm'] !== 'number')
    return { previous: (given['previous'] as Waypoint | null) ?? undefined, current: given['current'] as Waypoint };
  const lat = given['distanceKm'] / ((Math.PI / 180) * EARTH_RADIUS_KM);
  const later = new Date(Date.parse(NOW) + Number(given['elapsedSeconds']) * 1000).toISOString();
  return { previous: { lat: 0, lon: 0, time: NOW }, current: { lat, lon: 0, time: later } };
}
