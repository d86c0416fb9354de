/** The nodes of a Redis Cluster as one: each command goes to the master of its key's slot. Each node has its own
 *  connection and is left alone by itself, so that one that is down takes only its own keys with it. Source: Redis
 *  cluster specification; CLUSTER SLOTS. */
import { connectNode, Redirected } from './redis-node.ts';
import type { RedisAccess, RedisAddress, RedisNode, RedisWatch } from './redis-node.ts';
import { slotOf, SLOTS } from './slot.ts';
import { StateError } from './store.ts';

export interface RedisCluster {
  /** As RedisNode.send, for commands on this key. */
  send(key: string, deadlineMs: number, command: readonly string[]): Promise<unknown>;
  /** Resolves once it is known which node has which slots, and each of them is connected. */
  readonly connected: Promise<void>;
  close(): void;
}

/** Begins to connect; `seeds` are nodes to learn the others from. Which node has which slots is asked again where a node
 *  says so and while one is not connected, once a second at most, off the request path. */
export function connectCluster(seeds: readonly RedisAddress[], access: RedisAccess, watch: RedisWatch): RedisCluster {
  const nodes = new Map<string, RedisNode>();
  const nodeOf = ({ host, port }: RedisAddress): RedisNode => {
    const name = `${host}:${port}`;
    const known = nodes.get(name);
    if (known) return known;
    const made = connectNode({ host, port }, access, watch);
    nodes.set(name, made);
    return made;
  };
  for (const seed of seeds) nodeOf(seed);
  let slots: readonly (RedisNode | undefined)[] = [];
  let isClosed = false;
  let timer: NodeJS.Timeout | undefined;
  let isLearning = false;
  let connected = (): void => undefined;
  const connectedOnce = new Promise<void>((resolve) => {
    connected = resolve;
  });

  const learn = async (): Promise<void> => {
    for (const node of nodes.values()) {
      if (!node.isReady) continue;
      const reply = await node.send(watch.monotonicMs() + LEARN_MS, ['CLUSTER', 'SLOTS']).catch(() => undefined);
      const ranges = rangesOf(reply, addressOf(node));
      if (!ranges) continue;
      use(ranges);
      return;
    }
  };
  const addressOf = (node: RedisNode): RedisAddress | undefined => {
    for (const [name, one] of nodes) if (one === node) return parsedAddress(name);
    return undefined;
  };
  const use = (ranges: readonly SlotRange[]): void => {
    if (isClosed) return;
    const next = Array.from<RedisNode | undefined>({ length: SLOTS });
    const used = new Set<RedisNode>();
    for (const { from, to, master } of ranges) {
      const node = nodeOf(master);
      used.add(node);
      next.fill(node, from, to + 1);
    }
    slots = next;
    const keep = new Set(seeds.map(({ host, port }) => `${host}:${port}`));
    for (const [name, node] of nodes) {
      if (used.has(node) || keep.has(name)) continue;
      node.close();
      nodes.delete(name);
    }
    if ([...used].every(({ isReady }) => isReady)) connected();
  };
  /** Soon, and from then on every second for as long as something is missing. */
  const learnSoon = (afterMs: number): void => {
    if (isClosed || timer || isLearning) return;
    timer = setTimeout(() => {
      timer = undefined;
      isLearning = true;
      void learn().finally(() => {
        isLearning = false;
        const isWhole = slots.length > 0 && slots.every((node) => node?.isReady === true);
        if (!isWhole) learnSoon(slots.length === 0 ? LEARN_FIRST_MS : LEARN_AGAIN_MS);
      });
    }, afterMs);
    timer.unref();
  };
  learnSoon(0);

  const redirected = (redirection: Redirected, deadlineMs: number, command: readonly string[]): Promise<unknown> => {
    const node = nodeOf(redirection.address);
    if (redirection.kind === 'ASK') return node.send(deadlineMs, ['ASKING'], command);
    learnSoon(0);
    return node.send(deadlineMs, command);
  };
  return {
    send(key, deadlineMs, command) {
      const node = slots[slotOf(key)];
      if (!node?.isReady) learnSoon(LEARN_AGAIN_MS);
      if (!node) return Promise.reject(new StateError('unavailable', 'no node of the cluster is known for the key'));
      return node.send(deadlineMs, command).catch((error: unknown) => {
        if (!(error instanceof Redirected)) throw error;
        return redirected(error, deadlineMs, command).catch((again: unknown) => {
          throw again instanceof Redirected
            ? new StateError('unavailable', 'the nodes of the cluster do not agree', again)
            : again;
        });
      });
    },
    connected: connectedOnce,
    close() {
      isClosed = true;
      clearTimeout(timer);
      for (const node of nodes.values()) node.close();
    },
  };
}

const LEARN_MS = 1000;
const LEARN_FIRST_MS = 50;
const LEARN_AGAIN_MS = 1000;

interface SlotRange {
  readonly from: number;
  readonly to: number;
  readonly master: RedisAddress;
}

/** From the reply to CLUSTER SLOTS: lists of first slot, last slot, master and replicas, each of them a list of host,
 *  port and more. A node that does not know its own host is where it was asked. Undefined: something else. */
function rangesOf(reply: unknown, asked: RedisAddress | undefined): readonly SlotRange[] | undefined {
  if (!Array.isArray(reply) || reply.length === 0) return undefined;
  const ranges: SlotRange[] = [];
  for (const entry of reply) {
    if (!Array.isArray(entry)) return undefined;
    const [from, to, master] = entry as readonly unknown[];
    if (!isSlot(from) || !isSlot(to) || !Array.isArray(master)) return undefined;
    const [host, port] = master as readonly unknown[];
    const named = typeof host === 'string' && host !== '' && host !== '?' ? host : asked?.host;
    if (named === undefined || typeof port !== 'number') return undefined;
    ranges.push({ from, to, master: { host: named, port } });
  }
  return ranges;
}

function isSlot(value: unknown): value is number {
  return Number.isInteger(value) && Number(value) >= 0 && Number(value) < SLOTS;
}

function parsedAddress(name: string): RedisAddress {
  const colon = name.lastIndexOf(':');
  return { host: name.slice(0, colon), port: Number(name.slice(colon + 1)) };
}
