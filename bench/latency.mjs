/** Latency as callers feel it: checks are sent at their time whether or not earlier ones have been answered, and the
 *  clock starts at the time a check was due, so that a pause of the server or the client counts for all it delays. */
import { quantile } from './material.mjs';

/** p50, p99, p99.9 and the longest in milliseconds at so many checks a second.
 *  @param request Bytes, or a function that gives the bytes of the next check. */
export async function measureLatency(server, request, { rate, seconds }) {
  await run(server, request, dueTimes(rate, 1));
  const times = await run(server, request, dueTimes(rate, seconds));
  const sorted = times.toSorted((a, b) => a - b);
  const at = (share) => quantile(sorted, share);
  return { p50: at(0.5), p99: at(0.99), p999: at(0.999), longest: sorted.at(-1) };
}

/** Independent callers: exponential gaps, the same ones for every server. */
function dueTimes(rate, seconds) {
  const due = [];
  let state = 1;
  for (let at = 0; at < seconds * 1000;) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    at += (-Math.log((state + 1) / 2 ** 32) * 1000) / rate;
    due.push(at);
  }
  return due;
}

function run(server, request, due) {
  const next = typeof request === 'function' ? request : () => request;
  return new Promise((resolve, reject) => {
    const times = [];
    const began = performance.now();
    let sent = 0;
    // A turn of the loop at a time, without a timer: timers are a millisecond late.
    const turn = () => {
      const now = performance.now() - began;
      while (sent < due.length && due[sent] <= now) {
        const dueAt = due[sent];
        sent += 1;
        server.call(next(), (error) => {
          if (error) return reject(error);
          times.push(performance.now() - began - dueAt);
          return times.length === due.length ? resolve(times) : undefined;
        });
      }
      if (sent < due.length) setImmediate(turn);
    };
    turn();
  });
}
