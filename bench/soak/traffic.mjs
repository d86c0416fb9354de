/** Asks at a steady rate through the Envoys, and judges every answer. */
import { Agent, request as httpRequest } from 'node:http';
import { combinations } from './facts.mjs';

/** So long after it was sent, a 503 or a step-up is the price of a deadline that passed on a machine that was too busy:
 *  Postern waits 300 ms for Redis, Envoy 500 ms for Postern. It is counted apart; it lets nobody in. */
const LATE_MS = 290;
const IN_FLIGHT_MAX = 150;
const EXAMPLES_MAX = 20;

/** `replicas`: `{ name, envoyPort, isSteady, up }` where `up` is a fact, up | down |
 *  starting. `facts`: what is the same for both. */
export function startTraffic({ replicas, kinds, facts, rate }) {
  const agent = new Agent({ keepAlive: true, maxSockets: IN_FLIGHT_MAX, scheduling: 'fifo' });
  const seen = new Map(kinds.map(({ name }) => [name, new Map()]));
  const streaks = new Map();
  const state = {
    sent: 0,
    certain: 0,
    skipped: 0,
    wrong: 0,
    passes: 0,
    late: 0,
    unavailable: 0,
    examples: [],
    latencies: [],
  };
  const waiting = { count: 0 };
  const beganMs = performance.now();

  const judge = (kind, replica, fromMs, answer) => {
    const toMs = performance.now();
    state.latencies.push(toMs - fromMs);
    const all = combinations({ ...facts, up: replica.up }, fromMs, toMs);
    const right = new Set(all.flatMap((one) => kind.right({ ...one, isSteady: replica.isSteady })));
    if (all.some(({ up }) => up === 'down')) right.add(503);
    if (right.size === 1) state.certain += 1;
    const { status } = answer;
    const counts = seen.get(kind.name);
    counts.set(status, (counts.get(status) ?? 0) + 1);
    if (status === 503) state.unavailable += 1;
    const last = streaks.get(`${kind.name} ${replica.name}`);
    streaks.set(`${kind.name} ${replica.name}`, { status, length: last?.status === status ? last.length + 1 : 1 });
    const isTold = status !== 200 || kind.email === undefined || answer.email === kind.email;
    if (right.has(status) && isTold) return;
    if (toMs - fromMs > LATE_MS && (status === 503 || (status === 401 && kind.name.startsWith('home')))) {
      state.late += 1;
      return;
    }
    state.wrong += 1;
    if (status < 300 && status > 0) state.passes += 1;
    if (state.examples.length >= EXAMPLES_MAX) return;
    state.examples.push(
      `${((toMs - beganMs) / 1000).toFixed(1)} s, ${replica.name}, ${kind.name}: ${status} after ${Math.round(toMs - fromMs)} ms, ` +
        `not ${[...right].join(' or ')}${isTold ? '' : `, as ${answer.email}`} ${JSON.stringify(all)} ${answer.why ?? ''}`,
    );
  };

  const askOne = async () => {
    const kind = kinds[state.sent % kinds.length];
    const replica = replicas[Math.floor(state.sent / kinds.length) % replicas.length];
    state.sent += 1;
    waiting.count += 1;
    try {
      const fromMs = performance.now();
      const asked = await kind.ask();
      const answer = await ask(agent, replica.envoyPort, asked);
      judge(kind, replica, fromMs, answer);
    } catch (error) {
      state.wrong += 1;
      state.examples.push(`${kind.name}: ${error.message}`);
    } finally {
      waiting.count -= 1;
    }
  };

  let due = 0;
  let lastMs = beganMs;
  const timer = setInterval(() => {
    const now = performance.now();
    // What a stall of this process has missed is not made up for.
    due += (Math.min(now - lastMs, 100) * rate) / 1000;
    lastMs = now;
    for (; due >= 1; due -= 1) {
      if (waiting.count < IN_FLIGHT_MAX) void askOne();
      else state.skipped += 1;
    }
  }, 10);

  return {
    state,
    seen,
    /** Whether both were last answered so, five times in a row, counted from `forget`. */
    isSettled: (name, status, among = replicas) =>
      among.every((replica) => {
        const streak = streaks.get(`${name} ${replica.name}`);
        return streak !== undefined && streak.status === status && streak.length >= 5;
      }),
    forget: () => streaks.clear(),
    /** Milliseconds, sorted, since the last call. */
    takeLatencies: () => state.latencies.splice(0).toSorted((a, b) => a - b),
    async stop() {
      clearInterval(timer);
      while (waiting.count > 0) await new Promise((resolve) => void setTimeout(resolve, 20));
      agent.destroy();
    },
  };
}

/** Status 0: no answer at all. `email`: what the upstream was told. */
function ask(agent, port, { host, path, headers }) {
  return new Promise((resolve) => {
    const fail = (error) => resolve({ status: 0, why: error.message });
    const call = httpRequest({ host: '127.0.0.1', port, path, headers: { host, ...headers }, agent }, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (text) => (body += text));
      response.on('error', fail);
      response.on('end', () => {
        const status = response.statusCode;
        if (status !== 200) return resolve({ status, why: body.slice(0, 200) });
        return resolve({ status, email: JSON.parse(body).headers['x-postern-email'] });
      });
    });
    call.setTimeout(20_000, () => call.destroy(new Error('no answer in 20 s')));
    call.on('error', fail);
    call.end();
  });
}
