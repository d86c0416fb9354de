// Writes docs/reference from the program itself, built before, and from the manual of faults in test/faults; with
// --check it writes nothing and fails where a page is not what would be written.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const target = join(root, 'docs/reference');
const main = join(root, 'dist/main.js');
const { REASONS } = await import('../dist/model/decision.js');

/** Licences that ask for no more than to be named. */
const PERMISSIVE = new Set([
  'MIT',
  'ISC',
  'Apache-2.0',
  'BSD-2-Clause',
  'BSD-3-Clause',
  'BlueOak-1.0.0',
  '0BSD',
  '(Apache-2.0 AND BSD-3-Clause)',
]);

const NOTE = '<!-- Written by docs/generate.mjs; do not edit: run `npm run generate`. -->';

const pages = {
  'settings.md': settingsPage(),
  'policy-files.md': policyPage(),
  'reasons.md': reasonsPage(),
  'faults.md': faultsPage(),
  'commands.md': commandsPage(),
  'licences.md': licencesPage(),
};

const isCheck = process.argv.includes('--check');
let wrong = 0;
for (const [name, text] of Object.entries(pages)) {
  const file = join(target, name);
  if (!isCheck) {
    mkdirSync(target, { recursive: true });
    writeFileSync(file, text);
  } else if (found(file) !== text) {
    console.error(`${relative(root, file)} is not what \`npm run generate\` writes`);
    wrong += 1;
  }
}
if (wrong > 0) {
  console.error('  mend: run `npm run generate` and commit the result');
  process.exit(1);
}
console.log(isCheck ? 'docs/reference is current' : `wrote ${Object.keys(pages).length} pages into docs/reference`);

function found(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}

function postern(...args) {
  const run = spawnSync(process.execPath, [main, ...args], {
    encoding: 'utf8',
    env: { ...process.env, NO_COLOR: '1' },
  });
  if (run.status !== 0) throw new Error(`postern ${args.join(' ')}: ${run.stderr}`);
  return run.stdout;
}

function page(title, intro, ...parts) {
  return `${[`# ${title}`, NOTE, intro, ...parts].join('\n\n')}\n`;
}

function table(heads, rows) {
  const line = (cells) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|').replaceAll('\n', ' ')).join(' | ')} |`;
  return [line(heads), line(heads.map(() => '---')), ...rows.map(line)].join('\n');
}

function settingsPage() {
  const schema = JSON.parse(postern('schema', 'settings'));
  const parts = Object.entries(schema.properties).map(([name, part]) => {
    const rows = keysOf(resolve(part, schema), name, schema, true);
    return `## ${name}\n\n${sentence(part)}\n\n${table(['key', 'type', 'default', 'meaning'], rows)}`;
  });
  return page(
    'Settings',
    'Every key of `postern.yaml`. All are optional unless marked *required*; unknown keys are faults. `--set KEY=VALUE` and the environment (`POSTERN_LISTEN_CHECK` for `listen.check`) override single keys. Paths are relative to the config folder.',
    ...parts,
  );
}

function policyPage() {
  const schema = JSON.parse(postern('schema', 'policies'));
  const lists = Object.entries(schema.properties).map(([name, list]) => {
    const item = resolve(list.items, schema);
    return `## ${name}\n\n${list.description}\n\n${table(['key', 'type', 'meaning'], keysOf(item, '', schema, false))}`;
  });
  const rules = ruleVariants(schema).map(([word, rule]) => {
    const inside = resolve(rule.properties[word], schema);
    const keys = Object.keys(inside.properties ?? {}).map((key) => `\`${key}\``);
    return [`\`${word}\``, keys.join(', ') || '`{}`', sentence(rule.properties[word]) || sentence(rule)];
  });
  return page(
    'Policy files',
    'Files below `policies/`, YAML or JSON. Each holds any of these lists; all files together are one set. Objects have the spelling of the system they come from: Cloudflare’s for applications, policies, groups, lists and tokens, Entrust’s for resource rules and authentication flows.',
    ...lists,
    `## Rules\n\nWhat \`include\`, \`require\` and \`exclude\` hold: objects with exactly one of these keys.\n\n${table(['rule', 'keys', 'meaning'], rules)}`,
  );
}

/** [word, schema of the object] of every rule type, in their order. */
function ruleVariants(schema) {
  const variants = Object.values(schema.definitions ?? schema.$defs ?? {}).flatMap(
    (one) => one.oneOf ?? one.anyOf ?? [],
  );
  const rules = new Map();
  for (const variant of variants.map((one) => resolve(one, schema))) {
    const keys = Object.keys(variant.properties ?? {});
    if (keys.length === 1 && (variant.required ?? []).includes(keys[0])) rules.set(keys[0], variant);
  }
  if (rules.size < 20) throw new Error(`expected the rule types in the schema of policy files, found ${rules.size}`);
  return [...rules];
}

/** Rows of a schema's keys, those of objects inside with dotted names. */
function keysOf(schema, prefix, whole, withDefault) {
  const { properties } = schema;
  if (!properties) return [row(prefix, schema, whole, false, withDefault)];
  return Object.entries(properties).flatMap(([key, part]) => {
    const name = prefix === '' ? key : `${prefix}.${key}`;
    const inner = resolve(part, whole);
    const isRequired = (schema.required ?? []).includes(key);
    if (inner.properties) {
      return [
        row(name, { ...inner, ...part }, whole, isRequired, withDefault),
        ...keysOf(inner, name, whole, withDefault),
      ];
    }
    const items = inner.items && resolve(inner.items, whole);
    const below = items?.properties && withDefault ? keysOf(items, `${name}[]`, whole, withDefault) : [];
    return [row(name, { ...inner, ...part }, whole, isRequired, withDefault), ...below];
  });
}

function row(name, part, whole, isRequired, withDefault) {
  const cells = [`\`${name}\``, typeOf(part, whole), `${isRequired ? '*required.* ' : ''}${sentence(part)}`];
  if (!withDefault) return cells;
  const value = part.default;
  const isEmpty =
    value === undefined || (typeof value === 'object' && value !== null && Object.keys(value).length === 0);
  return [cells[0], cells[1], isEmpty ? '' : `\`${JSON.stringify(value)}\``, cells[2]];
}

function typeOf(part, whole) {
  if (part.enum) return part.enum.map((value) => `\`${value}\``).join(' ');
  if (part.const !== undefined) return `\`${part.const}\``;
  const choices = part.anyOf ?? part.oneOf;
  if (choices)
    return [...new Set(choices.map((one) => typeOf(resolve(one, whole), whole)))].filter(Boolean).join(' or ');
  const types = [part.type ?? 'any'].flat().filter((type) => type !== 'null');
  if (types.includes('array')) return `list of ${part.items ? typeOf(resolve(part.items, whole), whole) : 'any'}`;
  const range =
    part.minimum === undefined && part.maximum === undefined ? '' : ` ${part.minimum ?? ''}–${part.maximum ?? ''}`;
  return types.map((type) => (type === 'string' ? 'text' : type === 'object' ? 'map' : type)).join(' or ') + range;
}

function sentence(part) {
  // The heading says whose the keys of a list are; only those that differ say so themselves.
  return (part.description ?? '').replace(/ Source: (?:Cloudflare|Entrust)[^.]*\.$/, '').trim();
}

function resolve(part, whole) {
  let seen = part;
  while (seen?.$ref) {
    let at = whole;
    for (const step of seen.$ref.replace(/^#\//, '').split('/')) at = at[decodeURIComponent(step)];
    seen = { ...at, ...(seen.description ? { description: seen.description } : {}) };
  }
  return seen ?? {};
}

function reasonsPage() {
  return page(
    'Reasons',
    'Why a request was let in or not: in the log of decisions, in Envoy’s dynamic metadata (`envoy.filters.http.ext_authz`, key `reason`) and in `postern_decisions_total`. The list is closed. Callers are told a coarse form of it at most.',
    table(
      ['reason', 'meaning'],
      Object.entries(REASONS).map(([reason, text]) => [`\`${reason}\``, text]),
    ),
    [
      '## Outcomes',
      '',
      table(
        ['outcome', 'HTTP', 'when'],
        [
          [
            '`allow`',
            '–',
            'The request goes on, with our headers in place of whatever the client sent under their names.',
          ],
          [
            '`unauthenticated`',
            '401, or 302 to `login.url` for a browser on its way to a page',
            'A login is needed, or another one.',
          ],
          [
            '`step_up`',
            '401 with the challenge of RFC 9470, or 302 to `step_up.portal_url`',
            'Allowed, once the login is strong and fresh enough.',
          ],
          ['`deny`', '403', 'Everything else, and always when nothing matched.'],
          ['`bad_request`', '400', 'Path or host that two parsers could read differently.'],
          ['`unavailable`', '503', 'A fact that decides could not be had, or our own failure. Never an allow.'],
        ],
      ),
    ].join('\n'),
  );
}

/** Each code with the first text that the manual prints for it. */
function faultsPage() {
  const folder = join(root, 'test/faults');
  const codes = new Map();
  for (const name of readdirSync(folder)
    .filter((one) => one.endsWith('.txt'))
    .toSorted()) {
    const lines = readFileSync(join(folder, name), 'utf8').split('\n');
    for (const [index, line] of lines.entries()) {
      const match = /^(\S+?):\d+:\d+ (warning )?([a-z0-9_]+): (.*)$/.exec(line);
      const mend = /^ {2}mend: (.*)$/.exec(lines[index + 1] ?? '');
      if (!match || !mend || codes.has(match[3])) continue;
      codes.set(match[3], {
        isWarning: match[2] !== undefined,
        text: match[4],
        mend: mend[1],
        example: name.replace(/\.txt$/, ''),
      });
    }
  }
  const entries = [...codes].toSorted(([a], [b]) => (a < b ? -1 : 1));
  const rows = (isWarning) =>
    entries
      .filter(([, entry]) => entry.isWarning === isWarning)
      .map(([code, { text, mend }]) => [`\`${code}\``, text, mend]);
  return page(
    'Faults and warnings',
    'What `postern validate` and `serve` say of files. A fault keeps the set from loading: at start the program ends, later the running revision stays. A warning does not, unless `--strict`. Codes are stable; texts show one case of each.',
    `## Faults\n\n${table(['code', 'such as', 'mend'], rows(false))}`,
    `## Warnings\n\n${table(['code', 'such as', 'mend'], rows(true))}`,
  );
}

function commandsPage() {
  const help = postern('--help');
  const names = [...help.matchAll(/^ {2}([a-z]+) {2,}/gm)].map(([, name]) => name);
  if (!names.includes('serve')) throw new Error(`expected commands in the help, found ${names.join(', ')}`);
  const blocks = names.map((name) => `## postern ${name}\n\n\`\`\`\n${postern(name, '--help').trimEnd()}\n\`\`\``);
  return page('Commands', `\`\`\`\n${help.trimEnd()}\n\`\`\``, ...blocks);
}

/** Packages that are installed with Postern, by licence. Throws for a licence that asks for more than to be named. */
function licencesPage() {
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'));
  const byLicence = new Map();
  for (const [path, { version, license, dev }] of Object.entries(packages)) {
    if (path === '' || dev) continue;
    if (!PERMISSIVE.has(license))
      throw new Error(`${path} has the licence ${license}, which is not known to be permissive`);
    const names = byLicence.get(license) ?? [];
    byLicence.set(license, [...names, `${path.replace(/^.*node_modules\//, '')} ${version}`]);
  }
  const rows = [...byLicence]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([licence, names]) => [licence, [...new Set(names)].toSorted().join(', ')]);
  return page(
    'Licences',
    'Postern is under Apache-2.0. What is installed with it, from the lockfile; all of it is permissive.',
    table(['licence', 'packages'], rows),
  );
}
