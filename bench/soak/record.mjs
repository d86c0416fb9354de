/** Samples of a soak over time, and what is made of them: a picture and a table. */
import { execFileSync } from 'node:child_process';
import { cpus, loadavg } from 'node:os';
import { ENVOY_VERSION } from '../../dist/demo/parts.js';

/** What Postern tells of itself. Undefined: it is not there to be asked. */
export async function sampleOf(admin) {
  if (admin === undefined) return undefined;
  try {
    const text = await (await fetch(`http://${admin}/metrics`, { signal: AbortSignal.timeout(3_000) })).text();
    const value = (name) => Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1]);
    return {
      rssMb: value('process_resident_memory_bytes') / 1e6,
      heapMb: value('nodejs_heap_size_used_bytes') / 1e6,
      descriptors: value('process_open_fds'),
      handles: value('nodejs_active_handles_total'),
    };
  } catch {
    return undefined;
  }
}

/** What was counted, in Markdown, and the pictures, in one SVG. `seen`: kind → status → how often. */
export function report({ state, seen, samples, troubles, minutes, rate }) {
  const fixed = (digits) => (value) => value?.toFixed(digits);
  const parts = [
    ['RSS MB', ({ steady }) => steady?.rssMb, 1],
    ['heap used MB', ({ steady }) => steady?.heapMb, 1],
    ['open descriptors', ({ steady }) => steady?.descriptors, 0],
    ['active handles', ({ steady }) => steady?.handles, 0],
    ['p50 ms', ({ p50 }) => p50, 1],
    ['p99 ms', ({ p99 }) => p99, 1],
    ['p99.9 ms', ({ p999 }) => p999, 1],
  ].map(([name, read, digits]) => {
    const medians = thirds(samples, read);
    const ratio = medians[2] === undefined ? undefined : medians[2] / medians[1];
    return [name, ...medians.map(fixed(digits)), fixed(2)(ratio)];
  });
  const names = [...new Set(troubles.map(({ name }) => name))];
  const byTrouble = names.map((name) => {
    const lasted = troubles
      .filter((one) => one.name === name && one.toS !== undefined)
      .map((one) => one.toS - one.fromS);
    return [name, lasted.length, lasted.length > 0 ? Math.max(...lasted).toFixed(1) : ''];
  });
  const byKind = [...seen].map(([name, counts]) => [
    name,
    [...counts]
      .toSorted(([a], [b]) => a - b)
      .map(([status, count]) => `${status}: ${count}`)
      .join(', '),
  ]);
  const redis = /v=([\d.]+)/.exec(execFileSync('redis-server', ['--version'], { encoding: 'utf8' }))?.[1];
  const text = `${new Date().toISOString().slice(0, 10)}: ${minutes.toFixed(1)} minutes at ${rate} requests a second; Node ${process.versions.node}, Envoy ${ENVOY_VERSION}, Redis ${redis}; ${cpus().length} × ${cpus()[0]?.model.trim()}, load average ${loadavg()[0].toFixed(1)}.

${table(
  ['counted', ''],
  [
    ['requests sent', state.sent],
    ['of these: only one answer was right', state.certain],
    ['not sent, because too many were waiting', state.skipped],
    ['answered 503', state.unavailable],
    ['refused after a deadline had passed, with nothing down', state.late],
    ['wrong answers', state.wrong],
    ['of the wrong ones: let in', state.passes],
  ],
)}

${table(['the replica that lived throughout, medians', 'first third', 'middle third', 'last third', 'last ÷ middle'], parts)}

${table(['trouble', 'times', 'longest, s'], byTrouble)}

${table(['who asked', 'answers'], byKind)}
`;
  return { text, pictures: plot(samples, troubles) };
}

export function quantile(sorted, share) {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
}

/** The median of a sampled value in each third of the run; undefined where there is none. */
function thirds(samples, read) {
  const size = Math.ceil(samples.length / 3);
  return [0, 1, 2].map((third) => {
    const values = samples.slice(third * size, (third + 1) * size).map(read);
    return quantile(
      values.filter((value) => value !== undefined).toSorted((a, b) => a - b),
      0.5,
    );
  });
}

function table(head, rows) {
  const line = (cells) => `| ${cells.map((cell) => cell ?? '').join(' | ')} |`;
  return [line(head), line(head.map((_, index) => (index === 0 ? '---' : '---:'))), ...rows.map(line)].join('\n');
}

/** Title, then what is drawn: name → the value in a sample. */
const PANELS = [
  ['steady: memory, MB', { RSS: (one) => one.steady?.rssMb, 'heap used': (one) => one.steady?.heapMb }],
  ['mortal: memory, MB', { RSS: (one) => one.mortal?.rssMb, 'heap used': (one) => one.mortal?.heapMb }],
  ['steady: open', { descriptors: (one) => one.steady?.descriptors, handles: (one) => one.steady?.handles }],
  ['latency, ms', { p50: (one) => one.p50, p99: (one) => one.p99 }],
  ['so far', { 'answered 503': (one) => one.unavailable, late: (one) => one.late, wrong: (one) => one.wrong }],
];

const WIDTH = 1_000;
const HEIGHT = 150;
const LEFT = 60;
const GAP = 45;
const COLORS = ['#1f6feb', '#d1242f', '#2da44e', '#9a6700'];

/** One panel above the other; a grey rule where a trouble began. */
function plot(samples, troubles) {
  const endS = Math.max(samples.at(-1)?.atS ?? 1, 1);
  const x = (atS) => LEFT + (atS / endS) * (WIDTH - LEFT - 10);
  const rules = troubles.map(
    ({ name, fromS }) => `<path d="M${x(fromS).toFixed(1)} 0v${HEIGHT}" stroke="#ccc"><title>${name}</title></path>`,
  );
  const drawn = PANELS.map(([title, lines], index) => {
    const top = GAP + index * (HEIGHT + GAP);
    const most = Math.max(...Object.values(lines).flatMap((read) => samples.map((one) => read(one) ?? 0)), 1e-9) * 1.1;
    const y = (value) => top + HEIGHT - (value / most) * HEIGHT;
    const marks = [0, 0.5, 1].map(
      (share) =>
        `<text x="${LEFT - 5}" y="${y(share * most) + 4}" text-anchor="end">${(share * most).toPrecision(3)}</text>`,
    );
    const drawnLines = Object.entries(lines).map(([name, read], number) => {
      const points = samples.map((one) => [x(one.atS), read(one)]);
      // A gap where there is no value, and a dot where one stands alone.
      const path = points
        .map(([at, value], place) =>
          value === undefined
            ? ''
            : points[place - 1]?.[1] === undefined
              ? `M${at.toFixed(1)} ${y(value).toFixed(1)}h0`
              : `L${at.toFixed(1)} ${y(value).toFixed(1)}`,
        )
        .join('');
      const color = COLORS[number];
      return `<path d="${path}" fill="none" stroke="${color}" stroke-width="2" stroke-linecap="round"/><text x="${LEFT + 260 + number * 170}" y="${top - 8}" fill="${color}">${name}</text>`;
    });
    const frame = `<rect x="${LEFT}" y="${top}" width="${WIDTH - LEFT - 10}" height="${HEIGHT}" fill="none" stroke="#888"/>`;
    return `<text x="${LEFT}" y="${top - 8}" font-weight="bold">${title}</text><use href="#troubles" y="${top}"/>${frame}${marks.join('')}${drawnLines.join('')}`;
  });
  const height = GAP + PANELS.length * (HEIGHT + GAP);
  const foot = `<text x="${WIDTH - 10}" y="${height - 25}" text-anchor="end">${Math.round(endS)} s</text>`;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="#fff"/><defs><g id="troubles">${rules.join('')}</g></defs>${drawn.join('')}${foot}</svg>\n`;
}
