/** From the files of a config folder to one revision that can decide: read, shape, link, compile, wholly aside. Faults
 *  leave what runs as it is; `postern validate` is the same without the swap. */
import { generateKeyPair } from 'node:crypto';
import { isDeepStrictEqual, promisify } from 'node:util';
import type { PublishedKey } from './admin/public-keys.ts';
import type { StatedAgainst } from './cases/stated.ts';
import { answerOptions } from './envoy/answer.ts';
import { createAssertion } from './envoy/assertion.ts';
import type { Snapshot } from './envoy/check.ts';
import { createPortal } from './envoy/portal.ts';
import type { TlsMaterial } from './envoy/server.ts';
import { readAuthorities } from './facts/certificate-chain.ts';
import type { Authorities } from './facts/certificate-chain.ts';
import { createCertificateSource } from './facts/certificate.ts';
import { clientAddress } from './facts/client-address.ts';
import { expiriesOf } from './facts/expiries.ts';
import type { Expiring } from './facts/expiries.ts';
import { createExternalEvaluations } from './facts/external-evaluation.ts';
import type { ExternalEvaluations } from './facts/external-evaluation.ts';
import type { Sources } from './facts/gather.ts';
import { openGeoDatabase } from './facts/geo-database.ts';
import type { GeoDatabase, GeoDatabaseKind } from './facts/geo-database.ts';
import { createIdentitySource } from './facts/identity.ts';
import type { KeysOption } from './facts/identity.ts';
import { fixedKeySource, readKeySetFile } from './facts/key-set.ts';
import type { KeySets, KeySource } from './facts/key-set.ts';
import { createHistorySource } from './facts/history.ts';
import type { Remembered } from './facts/history.ts';
import { createLinkedTokens } from './facts/linked-token.ts';
import { createLocationSource } from './facts/location.ts';
import { createOutbound } from './facts/outbound.ts';
import { createPostureSource } from './facts/posture.ts';
import { createRiskEngine } from './facts/risk-engine.ts';
import type { EngineSurroundings, RiskEngineClient } from './facts/risk-engine.ts';
import { createRiskScoreSource } from './facts/risk-score.ts';
import { createServiceTokens, secretHeaders } from './facts/service-token.ts';
import { createTransactionReader } from './facts/transaction.ts';
import { SETTINGS_FILE, createConfigReader, ensurePrivateFile, fileOf, pathOf } from './files.ts';
import type {
  ConfigFile,
  ConfigPlan,
  ConfigSnapshot,
  FileChange,
  FileReference,
  UnchangedSet,
  WatchedFolder,
} from './files.ts';
import type { Metrics } from './metrics.ts';
import { at, fault } from './model/fault.ts';
import type { Fault, Place, Position, Report } from './model/fault.ts';
import type { EngineAnswer } from './model/adaptive-facts.ts';
import { compile } from './policy/compile.ts';
import type { CompiledSet } from './policy/compile.ts';
import { locatedFaults } from './policy/fault-text.ts';
import type { LocatedFault } from './policy/fault-text.ts';
import { link, namedFiles } from './policy/link.ts';
import { createLookups, hasRule } from './policy/lookups.ts';
import type { Lookups } from './policy/lookups.ts';
import type { PolicySet } from './policy/objects.ts';
import { createLocator } from './policy/places.ts';
import type { KnownPositions } from './policy/places.ts';
import { createPolicyReader, parseYaml } from './policy/read.ts';
import type { ShapedSet } from './policy/read.ts';
import { warn } from './policy/warnings.ts';
import { defaultSettings, readSettings, referencedFiles } from './settings.ts';
import type { Settings } from './settings.ts';
import type { Override } from './settings-overrides.ts';
import { importSigningKey } from './shared/jose.ts';
import type { SigningKey } from './shared/jose.ts';
import { createKept } from './shared/kept.ts';
import type { Kept } from './shared/kept.ts';
import { readTraceHeaders } from './trace-headers.ts';
import { createPause } from './shared/pause.ts';
import { readStateKeys } from './state/keys.ts';
import type { StateKeys } from './state/keys.ts';
import { readPassword } from './state/open.ts';
import type { StateSecrets } from './state/open.ts';
import type { State } from './state/state.ts';
import type { Finding } from './shared/shape.ts';

/** One consistent set of files, compiled. */
export interface Revision {
  readonly id: string;
  readonly settings: Settings;
  readonly set: PolicySet;
  readonly compiled: CompiledSet;
  readonly snapshot: Snapshot;
  /** The policies that are only tried; undefined: the settings name none. */
  readonly shadow: ShadowSet | undefined;
  /** Of the check port; undefined: clear text. */
  readonly tls: TlsMaterial | undefined;
  /** For state in Redis; read at start only. Undefined: in memory. */
  readonly stateSecrets: StateSecrets | undefined;
  /** URLs of key sets that it names. */
  readonly keySetUrls: readonly string[];
  /** URLs of the key sets that answers to external evaluations are verified by. */
  readonly evaluationKeysUrls: readonly string[];
  /** Public keys to publish. */
  readonly publicKeys: readonly PublishedKey[];
  /** Headers for the collector of traces. */
  readonly traceHeaders: Readonly<Record<string, string>>;
  /** Of the portal's state; told to the portal alone. */
  readonly portalKeys: readonly PublishedKey[];
  /** What will cease to be valid. */
  readonly expiries: readonly Expiring[];
  /** Where a place of the set stands in its file. */
  locate(place: Place): Position;
  /** The text of one of its files; undefined: it has none of that name. */
  source(file: string): string | undefined;
  /** What loads but hardly means what it says, by place. Looked for when asked for, since nobody should wait for it to
   *  have the revision in force. */
  warnings(): Promise<readonly LocatedFault[]>;
}

/** Policies that are only tried. Their faults keep nothing from running. */
export interface ShadowSet {
  /** Undefined: they have faults, and are not tried. */
  readonly compiled: CompiledSet | undefined;
  /** By place. */
  readonly faults: readonly LocatedFault[];
}

/** What came of reading a config folder. Without a revision there is at least one fault. */
export interface Loaded {
  readonly revision: Revision | undefined;
  /** Faults and warnings by place. */
  readonly faults: readonly LocatedFault[];
  /** The revision's id, faults or not; "" where the folder could not be read. */
  readonly id: string;
  /** What must be watched besides the config folder. */
  readonly outside: readonly WatchedFolder[];
}

export interface LoaderOptions {
  readonly folder: string;
  readonly overrides: readonly Override[];
  /** Outlive revisions. */
  readonly keySets: KeySets;
  /** Outlives revisions; default: its own. */
  readonly evaluations?: ExternalEvaluations | undefined;
  /** How risk engines are asked; default: as `evaluations` are by default. */
  readonly engines?: EngineSurroundings | undefined;
  /** Makes private keys that are configured and missing. Not for `validate`. */
  readonly makesKeys: boolean;
  readonly metrics?: Pick<Metrics, 'cacheRequest'> | undefined;
  /** What is remembered of users; outlives revisions, and is asked for when the first request needs it. Absent: nothing
   *  can be had of it. */
  readonly state?: (() => State) | undefined;
}

/** Loads a config folder again and again; only what changed is read and parsed anew. One load at a time. */
export interface Loader {
  load(): Promise<Loaded>;
  /** What `load` would give, were one policy file written or removed. Nothing is: whoever does it then calls `keep`. */
  loadWith(change: FileChange): Promise<Trial>;
}

/** A set that is not on disk yet. */
export interface Trial {
  readonly loaded: Loaded;
  /** The folder as it is, at the same instant. */
  readonly unchanged: UnchangedSet;
  /** It is on disk now: the next load of these very files is no change. */
  keep(): void;
}

/** What cases, explanations and policy testers state requests against. */
export function statedAgainst({ compiled, snapshot, set, settings }: Revision): StatedAgainst {
  const { providers, tokens } = settings.identity;
  return { destinations: compiled.destinations, sources: snapshot.sources, set, providers, tokens };
}

export function createLoader(options: LoaderOptions): Loader {
  const configReader = createConfigReader(options.folder);
  const policyReader = createPolicyReader();
  const shadows = createShadowReader();
  const kept = createKept();
  const outbound = createOutbound({ guarded: true });
  const evaluations = options.evaluations ?? createExternalEvaluations({ outbound });
  const engines = options.engines ?? { outbound };
  let last: (Loaded & { readonly snapshot: ConfigSnapshot }) | undefined;
  /** The last set that compiled, and the settings it did so under. */
  let base: Base | undefined;

  /** Undefined: the files are those of the last load. */
  async function loaded(wanted: Wanted): Promise<(Loaded & { readonly snapshot: ConfigSnapshot }) | undefined> {
    const faults: Fault[] = [];
    const report: Report = (found) => void faults.push(found);
    const read = await readSet(configReader, policyReader, options, wanted, report);
    if (!read) return undefined;
    const { snapshot, settings } = read;
    const settingsFile = fileOf(snapshot, SETTINGS_FILE);
    const before = base && base.settingsFile === settingsFile ? base.compiled : undefined;
    const revision =
      settings && !faults.some(isFault)
        ? await build(read, settings, options, { kept, before, evaluations, engines, shadows }, report)
        : undefined;
    if (revision) base = { settingsFile, compiled: revision.compiled };
    return {
      // A fault found while building, such as a key that is none, makes the whole worthless.
      revision: faults.some(isFault) ? undefined : revision,
      faults: located(faults, snapshot),
      id: snapshot.revision,
      outside: snapshot.outside,
      snapshot,
    };
  }

  return {
    async load() {
      // The same bytes mean the same: most of what a watch tells of is no change at all.
      const next = (await loaded({ before: last?.snapshot })) ?? last;
      if (!next) throw new Error('nothing was read');
      last = next;
      return next;
    },
    async loadWith(change) {
      const next = await loaded({ change });
      if (!next) throw new Error('nothing was read');
      return {
        loaded: next,
        unchanged: next.snapshot.unchanged ?? { revision: next.id, hash: undefined },
        keep() {
          last = next;
        },
      };
    },
  };
}

interface Base {
  readonly settingsFile: ConfigFile | undefined;
  readonly compiled: CompiledSet;
}

/** What a build may take over from the one before. */
interface Legacy {
  readonly kept: Kept;
  /** Undefined: the settings are others. */
  readonly before: CompiledSet | undefined;
  readonly evaluations: ExternalEvaluations;
  readonly engines: EngineSurroundings;
  readonly shadows: ShadowReader;
}

/** Everything read and shaped, and linked as far as faults allow. */
interface ReadSet {
  readonly snapshot: ConfigSnapshot;
  readonly settings: Settings | undefined;
  readonly shaped: ShapedSet;
  readonly lookups: Lookups;
}

/** What is read: the folder as it is, or with one file changed. */
interface Wanted {
  /** The reading before. */
  readonly before?: ConfigSnapshot | undefined;
  readonly change?: FileChange | undefined;
}

/** Undefined: the files are those of the reading `before`. */
async function readSet(
  configReader: ReturnType<typeof createConfigReader>,
  policyReader: ReturnType<typeof createPolicyReader>,
  options: LoaderOptions,
  { before, change }: Wanted,
  report: Report,
): Promise<ReadSet | undefined> {
  let named: readonly FileReference[] = [];
  let made = false;
  for (;;) {
    const settingsFaults: Fault[] = [];
    let settings: Settings | undefined;
    const plan: ConfigPlan = {
      settings(bytes) {
        settingsFaults.length = 0;
        settings = settingsFrom(bytes, options.overrides, (found) => void settingsFaults.push(found));
        const known = settings ?? defaultSettings();
        const files = settings ? referencedFiles(settings) : [];
        return { policies: known.policies, shadow: settings?.shadow, files };
      },
      policies: () => named,
    };
    const snapshot = await configReader.read(plan, change);
    const policies = new Map(snapshot.policies.flatMap((name) => entryOf(snapshot, name)));
    const shaped = await policyReader.read(policies);
    const references = namedFiles(shaped.set);
    if (references.some((one) => !named.some((known) => known.name === one.name))) {
      named = references;
      continue;
    }
    if (before && isSameReading(snapshot, before)) return undefined;
    if (settings && options.makesKeys && !made) {
      made = true;
      if (await makeKeys(options.folder, snapshot, settings, shaped.set, report)) continue;
    }
    settingsFaults.forEach(report);
    snapshot.faults.forEach(report);
    shaped.faults.forEach(report);
    const lookups = createLookups(shaped.set, settings ?? defaultSettings());
    await link(shaped, lookups, settings ? report : withoutSettings(report), createPause());
    if (settings) reportLogFile(options.folder, settings, report);
    return { snapshot, settings, shaped, lookups };
  }
}

/** What could not be read has no bytes that a revision could tell: a policy file that is a pipe or a link to nothing, a
 *  folder that is missing where an empty one would deny everything. */
function isSameReading(snapshot: ConfigSnapshot, before: ConfigSnapshot): boolean {
  return snapshot.revision === before.revision && isDeepStrictEqual(snapshot.faults, before.faults);
}

function entryOf(snapshot: ConfigSnapshot, name: string): [string, ConfigFile][] {
  const file = snapshot.files.get(name);
  return file ? [[name, file]] : [];
}

function settingsFrom(
  bytes: Uint8Array | undefined,
  overrides: readonly Override[],
  report: Report,
): Settings | undefined {
  const parsed = bytes ? parseYaml(new TextDecoder().decode(bytes), SETTINGS_FILE) : { data: {} };
  if ('faults' in parsed) {
    parsed.faults.forEach(report);
    return undefined;
  }
  return readSettings({ data: parsed.data, overrides }, report);
}

/** Makes the keys that are used and missing; true: some were made, so the set must be read again. */
async function makeKeys(
  folder: string,
  snapshot: ConfigSnapshot,
  settings: Settings,
  set: PolicySet,
  report: Report,
): Promise<boolean> {
  let some = false;
  for (const { name, use, place } of referencedFiles(settings)) {
    if (use !== 'made' || fileOf(snapshot, name)) continue;
    const isForEvaluation = name === settings.external_evaluation.signing_key;
    if (isForEvaluation && !hasRule(set, 'external_evaluation')) continue;
    try {
      if (await ensurePrivateFile(pathOf(folder, name), isForEvaluation ? newRsaKey : newEcKey)) some = true;
    } catch (error) {
      report(
        fault(
          place,
          'key_file_missing',
          error instanceof Error ? error.message : String(error),
          'make the folder writable, or put a private key there',
        ),
      );
    }
  }
  return some;
}

async function newEcKey(): Promise<string> {
  const { privateKey } = await promisify(generateKeyPair)('ec', { namedCurve: 'P-256' });
  return privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
}

async function newRsaKey(): Promise<string> {
  const { privateKey } = await promisify(generateKeyPair)('rsa', { modulusLength: 2048 });
  return privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
}

/** Every line written into the folder would be a change of what is watched there. */
function reportLogFile(folder: string, { log }: Settings, report: Report): void {
  if (!log.file || !pathOf(folder, log.file.path).startsWith(`${pathOf(folder, '.')}/`)) return;
  report(
    fault(
      { file: SETTINGS_FILE, path: ['log', 'file', 'path'] },
      'path_invalid',
      'expected a file outside the config folder, which is watched for changes, found one in it',
      'write a path such as /var/log/postern/decisions.log',
    ),
  );
}

/** Reads the policies that are only tried; what did not change is not compiled anew. */
interface ShadowReader {
  read(snapshot: ConfigSnapshot, settings: Settings): Promise<ShadowSet>;
}

function createShadowReader(): ShadowReader {
  const policyReader = createPolicyReader();
  let last: { readonly key: string; readonly shadow: ShadowSet } | undefined;
  return {
    async read(snapshot, settings) {
      const names = [SETTINGS_FILE, ...snapshot.shadow];
      const key = names.map((name) => `${name} ${snapshot.files.get(name)?.hash ?? ''}`).join('\n');
      if (last?.key === key) return last.shadow;
      const faults: Fault[] = [...snapshot.shadowFaults];
      const report: Report = (found) => void faults.push(found);
      const shaped = await policyReader.read(new Map(snapshot.shadow.flatMap((name) => entryOf(snapshot, name))));
      shaped.faults.forEach(report);
      const lookups = createLookups(shaped.set, settings);
      await link(shaped, lookups, report, createPause());
      const compiling = { settings: settings.risk, providers: settings.identity.providers };
      const shadow = Object.freeze({
        compiled: faults.some(isFault)
          ? undefined
          : await compile(shaped.set, lookups, compiling, createPause(), undefined),
        faults: locatedFaults(faults, (name) => textOf(snapshot, name)),
      });
      // A folder that is missing has no file that would tell when it comes.
      last = snapshot.shadowFaults.length === 0 ? { key, shadow } : undefined;
      return shadow;
    },
  };
}

/** While the settings cannot be read, what policies need of them may be right. */
function withoutSettings(report: Report): Report {
  return (found) => {
    if (!NEEDS_SETTINGS.has(found.code)) report(found);
  };
}

const NEEDS_SETTINGS = new Set([
  'provider_unknown',
  'account_missing',
  'evaluation_host_not_allowed',
  'source_missing',
]);

/** Builds a revision from a linked set without faults. Key files, certificates and databases are opened here; what is
 *  wrong with one is reported where the file is named. */
async function build(
  read: ReadSet,
  settings: Settings,
  options: LoaderOptions,
  legacy: Legacy,
  report: Report,
): Promise<Revision | undefined> {
  const { snapshot, shaped, lookups } = read;
  const files = new Files(snapshot, legacy.kept, report);
  const keys = keySourcesOf(files, settings, shaped.set, options.keySets);
  const { risk, identity } = settings;
  const compiled = await compile(
    shaped.set,
    lookups,
    { settings: risk, providers: identity.providers },
    createPause(),
    legacy.before,
  );
  const evaluation = settings.external_evaluation;
  const evaluationKey = await files.rsaKey(evaluation.signing_key, ['external_evaluation', 'signing_key']);
  const engines = riskEnginesOf(files, settings, shaped.set, legacy);
  const sources: Sources = {
    ...createSources(files, settings, shaped.set, compiled, keys, options, legacy.kept),
    riskEngine: (id, told) => engines.get(id)?.ask(told) ?? NO_ENGINE,
    evaluations: legacy.evaluations.source({
      key: evaluationKey,
      issuer: evaluation.issuer,
      timeoutMs: evaluation.timeout_ms,
      cacheSeconds: evaluation.cache_seconds,
    }),
  };
  const portalKey =
    settings.step_up.portal_url === undefined
      ? undefined
      : await files.signingKey(settings.step_up.portal_key, ['step_up', 'portal_key']);
  const { assertion } = settings.upstream;
  const assertionKey = assertion && (await files.signingKey(assertion.key, ['upstream', 'assertion', 'key']));
  const tls = tlsOf(files, settings);
  const stateSecrets = stateSecretsOf(files, settings);
  const traceHeaders = files.traceHeaders(settings.tracing?.headers_file);
  if (files.hasFaults) return undefined;
  const shadow = settings.shadow === undefined ? undefined : await legacy.shadows.read(snapshot, settings);
  return Object.freeze({
    id: snapshot.revision,
    settings,
    set: shaped.set,
    compiled,
    shadow,
    snapshot: Object.freeze({
      revision: snapshot.revision,
      destinations: compiled.destinations,
      shadow: shadow?.compiled?.destinations,
      sources,
      answers: answerOptions(settings),
      assertion: assertionKey && assertion && createAssertion(assertionKey, assertion.lifetime_seconds),
      portal:
        portalKey && settings.step_up.portal_url !== undefined
          ? createPortal(settings.step_up.portal_url, portalKey)
          : undefined,
    }),
    tls,
    stateSecrets,
    keySetUrls: keys.urls,
    evaluationKeysUrls: compiled.applications.flatMap(({ needs }) => needs.evaluations.map(({ keysUrl }) => keysUrl)),
    publicKeys: [
      ...(evaluationKey ? [published(evaluationKey, evaluationKey.thumbprintHex)] : []),
      ...(assertionKey ? [published(assertionKey, assertionKey.thumbprint)] : []),
    ],
    traceHeaders,
    portalKeys: portalKey ? [published(portalKey, portalKey.thumbprint)] : [],
    expiries: expiriesOf({
      serviceTokens: shaped.set.serviceTokens,
      checkCertificate: tls?.certificate,
      checkClientAuthority: tls?.clientCa,
      trustedAuthorities:
        settings.certificates.trusted_authorities && files.text(settings.certificates.trusted_authorities),
    }),
    source: (file: string) => textOf(snapshot, file),
    locate: (place: Place) => createLocator((name) => textOf(snapshot, name))(place),
    async warnings() {
      const found: Fault[] = [];
      await warn(shaped.set, lookups, settings, Date.now(), (one) => void found.push(one), createPause());
      return located(found, snapshot);
    },
  });
}

function published({ algorithm, publicJwk }: SigningKey, kid: string): PublishedKey {
  return { kid, algorithm, publicJwk };
}

interface KeySources {
  of(option: KeysOption): KeySource;
  readonly urls: readonly string[];
}

function keySourcesOf(files: Files, settings: Settings, set: PolicySet, keySets: KeySets): KeySources {
  const places: { readonly keys: KeysOption; readonly place: Place }[] = settings.identity.tokens.map(
    ({ keys, place }) => ({ keys, place: at(place, 'keys', 'file') }),
  );
  for (const { issuedTokens } of set.applications)
    if (issuedTokens) places.push({ keys: issuedTokens.keys, place: at(issuedTokens.place, 'keys', 'file') });
  const fromFiles = new Map<string, KeySource>();
  for (const { keys, place } of places) if ('file' in keys) fromFiles.set(keys.file, files.keySet(keys.file, place));
  return {
    of(option) {
      if ('url' in option) return keySets.source(option.url);
      const source = fromFiles.get(option.file);
      if (!source) throw new Error(`no key set was read from ${option.file}`);
      return source;
    },
    urls: places.flatMap(({ keys }) => ('url' in keys ? [keys.url] : [])),
  };
}

function createSources(
  files: Files,
  settings: Settings,
  set: PolicySet,
  compiled: CompiledSet,
  keys: KeySources,
  options: LoaderOptions,
  kept: Kept,
): Omit<Sources, 'evaluations' | 'riskEngine'> {
  const counted = (cache: string) => (result: 'hit' | 'miss') => options.metrics?.cacheRequest(cache, result);
  const tokenInputs = [
    JSON.stringify(settings.identity),
    ...settings.identity.tokens.map((token) => files.keyFile(token)),
  ];
  const identity = kept.of('identity', tokenInputs, () =>
    createIdentitySource(settings.identity, { keys: keys.of, onCacheRequest: counted('token') }),
  );
  // Each has a verifier with a cache of its own, so only those that some rule asks for.
  const linked = new Set(compiled.applications.flatMap(({ needs }) => needs.linkedTokens));
  const issuers = set.applications.filter(({ id }) => linked.has(id));
  const issuerFiles = issuers.map(({ issuedTokens }) => issuedTokens && files.keyFile(issuedTokens));
  const linkedTokens = kept.of('linked tokens', [...tokenInputs, ...issuers, ...issuerFiles], () =>
    createLinkedTokens(
      { applications: issuers, tokens: settings.identity.tokens },
      { keys: keys.of, onCacheRequest: counted('linked_token') },
    ),
  );
  const { certificates, geo } = settings;
  const authorities = files.authorities(certificates.trusted_authorities);
  const certificate = kept.of('certificate', [JSON.stringify(certificates), authorities], () =>
    createCertificateSource(
      { from: certificates.from, authorities, verified_by_envoy: certificates.verified_by_envoy },
      counted('certificate'),
    ),
  );
  const databases = {
    city: files.database(geo.city_database, 'city'),
    asn: files.database(geo.asn_database, 'asn'),
    anonymous: files.database(geo.anonymous_database, 'anonymous'),
  };
  const location = kept.of('location', [JSON.stringify(geo), ...Object.values(databases)], () =>
    createLocationSource(geo, databases, counted('location')),
  );
  const serviceTokens = createServiceTokens(set.serviceTokens);
  const posture = createPostureSource(settings.posture.from);
  const transactions = new Map(
    set.applications
      .filter(({ transaction }) => transaction.length > 0)
      .map(({ id, transaction }) => [id, createTransactionReader(transaction)]),
  );
  const remembered = options.state && createHistorySource(options.state, settings.risk);
  const { service_tokens_header: defaultHeader, client_address: addressSettings } = settings;
  return {
    clientAddress: (request) => clientAddress(request, addressSettings),
    location,
    certificate,
    identity: (request, nowMs) => identity.read(request, nowMs),
    serviceCredentials: (request, header, serviceJwt, nowMs) =>
      serviceTokens.read(request, { header: header ?? defaultHeader, serviceJwt: serviceJwt?.commonName }, nowMs),
    secretHeaders: (request, header) => secretHeaders(request, header ?? defaultHeader),
    posture,
    transaction: (application, request) => transactions.get(application)?.(request) ?? NO_DETAILS,
    riskScore: createRiskScoreSource(settings.risk_scores.from, options.state),
    remembered: remembered ?? (() => NOT_HAD),
    linkedToken: (application, request, nowMs) => linkedTokens.read(application, request, nowMs),
  };
}

const NOT_HAD: Remembered = Object.freeze({
  history: Object.freeze({ state: 'unavailable' }),
  machine: Object.freeze({ state: 'unavailable' }),
});

const NO_DETAILS: ReadonlyMap<string, never> = new Map<string, never>();

/** The enabled engines by id; one that is as it was keeps its token and its answers. */
function riskEnginesOf(
  files: Files,
  { admin }: Settings,
  { riskEngines }: PolicySet,
  { kept, engines }: Legacy,
): ReadonlyMap<string, RiskEngineClient> {
  const clients = new Map<string, RiskEngineClient>();
  const [account = ''] = admin.accounts;
  for (const { rules: _, place, ...engine } of riskEngines) {
    if (!engine.enabled) continue;
    const password =
      engine.passwordFile === undefined ? undefined : files.password(engine.passwordFile, at(place, 'password_file'));
    const inputs = [JSON.stringify(engine), account, password];
    clients.set(
      engine.id,
      kept.of(`risk engine ${engine.id}`, inputs, () => createRiskEngine({ engine, account, password }, engines)),
    );
  }
  return clients;
}

const NO_ENGINE: EngineAnswer = Object.freeze({ state: 'failure', why: 'no such engine' });

function tlsOf(files: Files, settings: Settings): TlsMaterial | undefined {
  const { tls } = settings.listen;
  if (!tls) return undefined;
  const certificate = files.text(tls.certificate);
  const key = files.text(tls.key);
  const clientCa = tls.client_ca === undefined ? undefined : files.text(tls.client_ca);
  return certificate === undefined || key === undefined ? undefined : { certificate, key, clientCa };
}

function stateSecretsOf(files: Files, settings: Settings): StateSecrets | undefined {
  const { redis } = settings.state;
  if (!redis) return undefined;
  const keys = files.stateKeys(redis.key_file, ['state', 'redis', 'key_file']);
  const password =
    redis.password_file === undefined
      ? undefined
      : files.password(redis.password_file, {
          file: SETTINGS_FILE,
          path: ['state', 'redis', 'password_file'],
        });
  const authorities = redis.trusted_authorities === undefined ? undefined : files.text(redis.trusted_authorities);
  return keys && { keys, password, authorities };
}

/** The files that settings name, opened. What is missing the snapshot has reported already. */
class Files {
  readonly #snapshot: ConfigSnapshot;
  readonly #kept: Kept;
  readonly #report: Report;
  hasFaults = false;

  constructor(snapshot: ConfigSnapshot, kept: Kept, report: Report) {
    this.#snapshot = snapshot;
    this.#kept = kept;
    this.#report = report;
  }

  text(name: string): string | undefined {
    const file = fileOf(this.#snapshot, name);
    return file && new TextDecoder().decode(file.bytes);
  }

  /** The file of a key set; the same object for as long as its bytes are the same. */
  keyFile({ keys }: { readonly keys: KeysOption }): ConfigFile | undefined {
    return 'file' in keys ? fileOf(this.#snapshot, keys.file) : undefined;
  }

  keySet(name: string, place: Place): KeySource {
    const file = fileOf(this.#snapshot, name);
    const read = file ? readKeySetFile(file.bytes) : { findings: [] };
    if ('set' in read) return fixedKeySource(read.set);
    for (const finding of read.findings) this.#fault(place, finding);
    return fixedKeySource({ keys: [] });
  }

  authorities(name: string | undefined): Authorities | undefined {
    const file = name === undefined ? undefined : fileOf(this.#snapshot, name);
    const read =
      file && this.#kept.of('authorities', [file], () => readAuthorities(new TextDecoder().decode(file.bytes)));
    return read && this.#opened(read, ['certificates', 'trusted_authorities']);
  }

  database(name: string | undefined, kind: GeoDatabaseKind): GeoDatabase | undefined {
    const file = name === undefined ? undefined : fileOf(this.#snapshot, name);
    const opened = file && this.#kept.of(`${kind} database`, [file], () => openGeoDatabase(file.bytes, kind));
    return opened && this.#opened(opened, ['geo', `${kind}_database`]);
  }

  stateKeys(name: string, path: readonly string[]): StateKeys | undefined {
    const text = this.text(name);
    return text === undefined ? undefined : this.#opened(readStateKeys(text), path);
  }

  password(name: string, place: Place): string | undefined {
    const text = this.text(name);
    const read = text === undefined ? undefined : readPassword(text);
    if (read === undefined || 'value' in read) return read?.value;
    this.#fault(place, read);
    return undefined;
  }

  traceHeaders(name: string | undefined): Readonly<Record<string, string>> {
    const text = name === undefined ? undefined : this.text(name);
    return (text !== undefined && this.#opened(readTraceHeaders(text), ['tracing', 'headers_file'])) || {};
  }

  async signingKey(name: string, path: readonly string[]): Promise<SigningKey | undefined> {
    const pem = this.text(name);
    if (pem === undefined) return undefined;
    const read = await importSigningKey(pem);
    if ('key' in read) return read.key;
    this.#fault(
      { file: SETTINGS_FILE, path },
      {
        code: 'signing_key_invalid',
        text: read.wrong,
        mend: `replace ${name}, or remove it and a new one is made at start`,
      },
    );
    return undefined;
  }

  async rsaKey(name: string, path: readonly string[]): Promise<SigningKey | undefined> {
    const key = await this.signingKey(name, path);
    if (!key || key.algorithm === 'RS256') return key;
    this.#fault(
      { file: SETTINGS_FILE, path },
      {
        code: 'signing_key_invalid',
        text: `expected an RSA key, found one that signs ${key.algorithm}`,
        mend: `replace ${name}, or remove it and a new one is made at start`,
      },
    );
    return undefined;
  }

  #opened<T>(result: { readonly value: T } | Finding, path: readonly string[]): T | undefined {
    if ('value' in result) return result.value;
    this.#fault({ file: SETTINGS_FILE, path }, result);
    return undefined;
  }

  #fault(place: Place, { code, text, mend }: Finding): void {
    this.hasFaults = true;
    this.#report(fault(place, code, text, mend));
  }
}

function isFault(found: Fault): boolean {
  return found.severity === 'fault';
}

/** A file that did not change is the same object: what was found in it is not looked for again. */
const POSITIONS = new WeakMap<ConfigFile, KnownPositions>();

function located(faults: readonly Fault[], snapshot: ConfigSnapshot): readonly LocatedFault[] {
  return locatedFaults(
    faults,
    (name) => textOf(snapshot, name),
    (name) => {
      const file = snapshot.files.get(name);
      if (!file) return undefined;
      const known = POSITIONS.get(file) ?? new Map<string, Position>();
      POSITIONS.set(file, known);
      return known;
    },
  );
}

function textOf(snapshot: ConfigSnapshot, name: string): string | undefined {
  const file = snapshot.files.get(name);
  return file && new TextDecoder().decode(file.bytes);
}
