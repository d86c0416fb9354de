/** What happens to the world: three stories that go on side by side until the end. Each tells the facts before it
 *  acts, and settles them once the parts have said, or shown in their answers, that they have seen it. */
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ORDERS, ORDERS_BROKEN, ORDERS_WITHOUT_ANN } from '../../dist/demo/folder.js';
import { until } from './parts.mjs';

/** `note(name, work)` runs one trouble and keeps when it was and how long its effect took; `isOver()` ends the stories. */
export function tellStories({ world, traffic, note, isOver }) {
  const tell = async (steps) => {
    while (!isOver())
      for (const [name, work] of steps) {
        if (isOver()) return;
        await note(name, work);
        await sleep(1_000);
      }
  };
  return Promise.all([
    tell(posternStory(world, traffic)),
    tell(redisStory(world, traffic)),
    tell(keysStory(world, traffic)),
  ]);
}

function posternStory({ facts, config, work, replicas, renewCertificates }, traffic) {
  const [, mortal] = replicas;
  let edits = 0;
  let file = 'demo.yaml';
  const both = (text) => Promise.all(replicas.map(({ postern }) => postern.heard(text)));
  const listen = () => replicas.forEach(({ postern }) => postern.listen());
  const put = (text) => {
    const next = join(work, 'policies.next');
    writeFileSync(next, `${text}# ${(edits += 1)}\n`);
    listen();
    renameSync(next, join(config, 'policies', file));
  };
  const change = (value, text) => async () => {
    facts.policies.begin(value);
    put(text);
    await both('"revision is live"');
    facts.policies.settle();
  };
  const rest = async () => {
    traffic.forget();
    await until('answers', () => traffic.isSettled('nobody', 401));
    // It has yet to find Redis, which may be away itself.
    mortal.up.set('starting');
    await until('Redis in use', () => traffic.isSettled('home', 200) && traffic.isSettled('home, strict', 200));
    mortal.up.set('up');
  };
  return [
    ['policies without ann', change('out', ORDERS_WITHOUT_ANN)],
    [
      'a broken file, open to everyone',
      async () => {
        put(ORDERS_BROKEN);
        await both('was refused');
      },
    ],
    ['policies with ann', change('in', ORDERS)],
    [
      'a file renamed',
      async () => {
        listen();
        const name = file === 'demo.yaml' ? 'orders.yaml' : 'demo.yaml';
        renameSync(join(config, 'policies', file), join(config, 'policies', name));
        file = name;
        await both('"revision is live"');
      },
    ],
    [
      'Postern killed, started 2 s later',
      async () => {
        mortal.up.begin('down');
        await mortal.postern.end('SIGKILL');
        await sleep(2_000);
        await mortal.postern.start();
        await rest();
      },
    ],
    [
      'a plain edit, written in place',
      async () => {
        listen();
        writeFileSync(join(config, 'policies', file), `${ORDERS}# ${(edits += 1)}\n`);
        await both('"revision is live"');
      },
    ],
    [
      'certificates of both ends renewed',
      async () => {
        listen();
        renewCertificates();
        await both('new TLS material');
      },
    ],
    [
      'Postern drained, started again',
      async () => {
        const gone = mortal.postern.end('SIGTERM');
        // It goes on to answer for five seconds, and says to Envoy when it will not.
        await Promise.race([gone, sleep(DRAIN_MS)]);
        mortal.up.begin('down');
        await gone;
        await mortal.postern.start();
        await rest();
      },
    ],
  ];
}

/** A little less than the time for which a Postern that drains still answers all. */
const DRAIN_MS = 4_800;

function redisStory({ facts, redis }, traffic) {
  const back = async () => {
    traffic.forget();
    await until('Redis in use again', () => traffic.isSettled('home', 200) && traffic.isSettled('home, strict', 200));
    facts.redis.set('up');
  };
  return [
    ['', () => sleep(5_000)],
    [
      'Redis killed, started 3 s later',
      async () => {
        facts.redis.begin('away');
        await redis.end();
        await sleep(3_000);
        await redis.start();
        await back();
      },
    ],
    ['', () => sleep(10_000)],
    [
      'Redis hung for 3 s',
      async () => {
        facts.redis.begin('away');
        redis.signal('SIGSTOP');
        await sleep(3_000);
        redis.signal('SIGCONT');
        await back();
      },
    ],
  ];
}

function keysStory({ facts, keyServer, generation }, traffic) {
  return [
    [
      'the key server fails for 15 s',
      async () => {
        facts.keyServer.begin('failing');
        keyServer.fails = true;
        await sleep(15_000);
        keyServer.fails = false;
        traffic.forget();
        await until(
          'the keys',
          () => traffic.isSettled('a stranger to the partner', 401) && traffic.isSettled('partner, key in use', 200),
        );
        facts.keyServer.set('up');
      },
    ],
    [
      'the partner rotates its keys',
      async () => {
        facts.next.begin('known');
        keyServer.published = [generation.current, generation.current + 1];
        traffic.forget();
        await until('the key to come', () => traffic.isSettled('partner, key to come', 200));
        facts.next.set('unknown');
        facts.old.set('fading');
        generation.current += 1;
        keyServer.published = [generation.current];
        traffic.forget();
        await until('the key of old to go', () => traffic.isSettled('partner, key of old', 401));
        facts.old.set('gone');
      },
    ],
  ];
}
