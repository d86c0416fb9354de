/** What users take whose records are as full as they can be: run as a child process with --expose-gc; sends bytes of
 *  JSON and bytes of memory, each for one user. */
import { randomBytes } from 'node:crypto';
import { learn } from '../dist/state/learn.js';
import { createMemoryStore } from '../dist/state/memory.js';

const USERS = process.argv.includes('--quick') ? 2000 : 20_000;
const SETTINGS = { locations_max: 10, location_lifetime_hours: 0, location_check_ip: true };
const START = Date.now();

const store = createMemoryStore({ usersMax: USERS, nowMs: Date.now });
const before = used();
let json = 0;
for (let user = 0; user < USERS; user++) {
  let record;
  // Full after forty logins; no list grows any more.
  for (let login = 0; login < 40; login++) record = learn(record, eventOf(login), SETTINGS)?.record ?? record;
  const whole = { ...record, version: 1 };
  json = Math.max(json, Buffer.byteLength(JSON.stringify(whole)));
  store.write(hash(), whole, 0);
}
const after = used();
// Still in use here, so that it was there to be measured.
if (store.read('nobody')) throw new Error('expected nobody');
process.send({ users: USERS, jsonBytes: json, memoryBytes: (after - before) / USERS });

function eventOf(login) {
  return {
    hashes: [hash()],
    nowMs: START + login * 1000,
    coordinates: { latitude: 41.157_912 + login, longitude: -8.629_134 },
    place: { kind: 'named', country: 'PT', city: `Vila Nova de Famalicão ${login}`, isp: 'Provedora do Norte S.A.' },
    addressHashes: [hash()],
    admitTo: `9a4b2f0e-3f55-4a57-9b0e-${String(login).padStart(12, '0')}`,
    machine: {
      presented: undefined,
      marks: { browser: hash(), platform: hash(), language: hash() },
      refreshMarks: true,
      register: true,
      fresh: { nonceHash: hash(), sequenceHash: hash() },
    },
  };
}

function hash() {
  return randomBytes(16).toString('base64url');
}

function used() {
  globalThis.gc();
  const { heapUsed, external, arrayBuffers } = process.memoryUsage();
  return heapUsed + external + arrayBuffers;
}
