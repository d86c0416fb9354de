import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const SRC = fileURLToPath(new URL('../src', import.meta.url));

/** Lower floors know nothing of upper ones. A folder, or a file directly in src, by its floor. */
const FLOORS: readonly (readonly string[])[] = [
  ['model'],
  ['shared'],
  ['rules', 'risk', 'flow', 'state'],
  ['policy'],
  ['facts'],
  [
    'envoy',
    'admin',
    'cases',
    'watch.ts',
    'files.ts',
    'metrics.ts',
    'log.ts',
    'log-file.ts',
    'decision-log.ts',
    'decision-log-shape.ts',
    'learning.ts',
    'settle.ts',
    'failure-log.ts',
    'key-set-log.ts',
    'expiry-log.ts',
    'trace-headers.ts',
  ],
  ['tracing.ts', 'check-tls.ts'],
  ['settings.ts', 'settings-shape.ts', 'settings-checks.ts', 'settings-overrides.ts'],
  ['revision.ts', 'status.ts', 'shadow.ts'],
  ['configuration-log.ts', 'fixed-parts.ts'],
  ['live.ts'],
  ['admin-site.ts', 'check-parts.ts'],
  ['app.ts'],
  ['cli'],
  ['main.ts', 'demo'],
];

/** Each outside package has one door, so that changing it is one file's work. */
const DOORS: Readonly<Record<string, readonly string[]>> = {
  zod: ['shared/shape.ts'],
  'ipaddr.js': ['shared/address.ts'],
  'lru-cache': ['shared/cache.ts'],
  jose: ['shared/jose.ts'],
  yaml: ['policy/yaml.ts'],
  '@redis/client': ['state/redis-node.ts'],
  maxmind: ['facts/geo-database.ts'],
  'prom-client': ['metrics.ts'],
  pino: ['log.ts'],
  chokidar: ['watch.ts'],
  '@opentelemetry/api': ['tracing.ts'],
  '@opentelemetry/core': ['tracing.ts'],
  '@opentelemetry/exporter-trace-otlp-http': ['tracing.ts'],
  '@opentelemetry/resources': ['tracing.ts'],
  '@opentelemetry/sdk-trace': ['tracing.ts'],
};

interface Import {
  readonly from: string;
  readonly to: string;
}

const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
const imports: readonly Import[] = files.flatMap((from) =>
  [...readFileSync(join(SRC, from), 'utf8').matchAll(/^(?:import|export)\s[^;]*?from '([^']+)';$/gms)].map((match) => ({
    from,
    to: match[1] ?? '',
  })),
);
const inside = imports
  .filter(({ to }) => to.startsWith('.'))
  .map(({ from, to }) => ({ from, to: relative(SRC, join(SRC, dirname(from), to)) }));

function floorOf(file: string): number {
  const room = file.split('/')[0] ?? '';
  const floor = FLOORS.findIndex((rooms) => rooms.includes(room));
  if (floor < 0) throw new Error(`${file} is on no floor: add its room to FLOORS`);
  return floor;
}

describe('imports', () => {
  it('are found at all', () => {
    expect(inside.length).toBeGreaterThan(200);
    for (const file of files) expect(floorOf(file)).toBeGreaterThanOrEqual(0);
  });

  it('go down only', () => {
    const upward = inside.filter(({ from, to }) => floorOf(to) > floorOf(from));
    expect(upward.map(({ from, to }) => `${from} imports ${to}`)).toEqual([]);
  });

  it('of a rule or a risk factor never name another one', () => {
    for (const [room, shared] of [
      ['rules', new Set(['rules/rule.ts'])],
      ['risk', new Set(['risk/factor.ts'])],
    ] as const) {
      const types = new Set(
        inside
          .filter(({ from }) => from === `${room}/registry.ts`)
          .map(({ to }) => to)
          .filter((to) => to.startsWith(`${room}/`) && !shared.has(to)),
      );
      expect(types.size).toBeGreaterThan(3);
      const between = inside.filter(
        ({ from, to }) => from !== `${room}/registry.ts` && types.has(from) && types.has(to),
      );
      expect(between.map(({ from, to }) => `${from} imports ${to}`)).toEqual([]);
    }
  });

  it('of an outside package have one door', () => {
    const wrong = imports.filter(({ from, to }) => {
      const doors = Object.hasOwn(DOORS, to) ? DOORS[to] : undefined;
      return doors !== undefined && !doors.includes(from);
    });
    expect(wrong.map(({ from, to }) => `${from} imports ${to}`)).toEqual([]);
  });
});
