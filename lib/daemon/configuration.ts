/**
 * The configuration: what the runtime passed to the shim, overridden key by key
 * by the daemon's own file and flags, and what holds where neither says
 * anything. All defaults stand in this file, each with its reason.
 *
 * Shapes are in `configuration_schema.ts`. Delegates, and what the runtime put
 * in for one request, stay text: plugins get what their author wrote.
 *
 * A configuration is read and checked once for its content, not once for each
 * request: thousands of requests bring the same one.
 *
 * @module
 */
import { CniError, ErrorCode } from "../cni/error.ts";
import {
  getMember,
  type JsonText,
  mergeObjects,
  readElements,
  readMembers,
  removeMember,
  setMember,
} from "../cni/json_text.ts";
import { DEFAULT_VERSION } from "../cni/version.ts";
import { present } from "../cni/present.ts";
import { CHECKPOINT_FILE } from "../devices/checkpoint.ts";
import { DEVICE_INFO_DIR } from "../devices/device_info.ts";
import { POD_RESOURCES_SOCKET } from "../devices/pod_resources.ts";
import { parseGlobalNamespaces } from "../selection/isolation.ts";
import { DEFAULT_CNI_DIR, DEFAULT_SOCKET_DIR } from "../wire/places.ts";
import {
  type DaemonValues,
  type Document,
  type MultusValues,
  readDaemonDocument,
  readMultusDocument,
} from "./configuration_schema.ts";
import type { DaemonFlags } from "./daemon_flags.ts";

/** How much is logged, from little to much. */
export type LogLevel = "panic" | "error" | "verbose" | "debug";

/** When a log file is rotated, and how long old ones are kept. */
export interface LogOptions {
  /** Old files are removed after so many days; 0 for never. */
  readonly maxAgeDays: number;
  /** A file is rotated when it is larger than this. */
  readonly maxSizeMegabytes: number;
  /** So many old files are kept; 0 for all. */
  readonly maxBackups: number;
  /** Old files are compressed. */
  readonly compress: boolean;
}

/** An attachment that GC is told to leave alone. */
export interface ValidAttachment {
  /** The container, spelled as on the wire. */
  readonly containerID: string;
  /** Its interface. */
  readonly ifname: string;
}

/** What came on the shim's stdin. */
export interface ShimConf {
  /** The configuration without what the runtime put in for this one request. */
  readonly document: Document<MultusValues>;
  /** What the runtime asks of the default network, byte for byte. */
  readonly runtimeConfig?: JsonText;
  /** The result of the ADD, for CHECK and DEL. */
  readonly prevResult?: JsonText;
  /** GC's list; `undefined` when the runtime gave none. */
  readonly validAttachments?: readonly ValidAttachment[];
}

/** The Multus CNI configuration as it holds for a request, with all defaults. */
export interface MultusConf {
  /** The network's name. */
  readonly name: string;
  /** The version that the runtime speaks. */
  readonly cniVersion: string;
  /** CNI files for networks that are given by name. */
  readonly confDir: string;
  /** State: records, results, left-over DELs. */
  readonly cniDir: string;
  /** The plugin directory that is searched first. */
  readonly binDir: string;
  /** Credentials; without it, those of the pod. */
  readonly kubeconfig?: string;
  /** The default network: a name, a directory or a file. It makes `delegates` void. */
  readonly clusterNetwork?: string;
  /** More networks for every pod outside `systemNamespaces`. */
  readonly defaultNetworks: readonly string[];
  /** Configurations in place, byte for byte; the first is the default network. */
  readonly delegates: readonly JsonText[];
  /** Namespaces whose pods get no `defaultNetworks`. */
  readonly systemNamespaces: readonly string[];
  /** Where the networks of the operator's live. */
  readonly multusNamespace: string;
  /** Pods may use networks of their own namespace and of `globalNamespaces` only. */
  readonly namespaceIsolation: boolean;
  /** Namespaces whose networks are open to all. */
  readonly globalNamespaces: readonly string[];
  /** The default network's sign of life. */
  readonly readinessIndicatorFile?: string;
  /** What the delegates can do, for the runtime to read. */
  readonly capabilities: Readonly<Record<string, boolean>>;
  /** What the runtime asks of the default network, byte for byte. */
  readonly runtimeConfig?: JsonText;
  /** The result of the ADD, for CHECK and DEL. */
  readonly prevResult?: JsonText;
  /** GC's list; absent when the runtime gave none. */
  readonly validAttachments?: readonly ValidAttachment[];
  /** A DEL that a delegate failed is the runtime's to try again. */
  readonly retryDeleteOnError: boolean;
  /** One more chain of this name, from a directory beside the default network's. */
  readonly auxiliaryCNIChainName?: string;
  /** Where logs are written besides stderr. */
  readonly logFile?: string;
  /** How much is logged. */
  readonly logLevel: LogLevel;
  /** Logs are written to stderr. */
  readonly logToStderr: boolean;
  /** Rotation of `logFile`. */
  readonly logOptions: LogOptions;
  /** Where the shim finds the daemon. */
  readonly daemonSocketDir: string;
  /** Time for one request, waiting included; only the daemon's configuration sets it. */
  readonly requestTimeoutMs: number;
  /** Time for one plugin; only the daemon's configuration sets it. */
  readonly pluginTimeoutMs: number;
  /** The whole, unknown keys included, without what belongs to one request. */
  readonly text: JsonText;
  /** What was understood, but perhaps not as it was meant; for the log. */
  readonly warnings: readonly string[];
}

/** How this node gets a certificate of its own. */
export interface PerNodeCertificate {
  /** Credentials to ask for the first certificate with. */
  readonly bootstrapKubeconfig: string;
  /** Where key and certificate are kept. */
  readonly certDir: string;
  /** How long a certificate is asked for. */
  readonly certDurationMs: number;
}

/** The daemon's configuration with all defaults; as a `MultusConf`, what holds where the shim says nothing. */
export interface DaemonConf extends MultusConf {
  /** The file it came from. */
  readonly path: string;
  /** What the file and the flags say, defaults apart: this overrides the shim's configuration. */
  readonly document: Document<DaemonValues>;
  /** The host's root file system; absent outside a pod. */
  readonly chrootDir?: string;
  /** Where the daemon serves `multus.sock`. */
  readonly socketDir: string;
  /** Without it, no metrics are served; 0 is any free port. */
  readonly metricsPort?: number;
  /** The address that metrics are served on. */
  readonly metricsBindAddress: string;
  /** The Go daemon's bound on what it does at once. */
  readonly connectionLimit?: number;
  /** How many ADDs run at once, if not worked out from the machine. */
  readonly addConcurrency?: number;
  /** `auto`, or a file to be copied; without it, no configuration is written. */
  readonly multusConfigFile?: string;
  /** Where the default network's configuration is looked for. */
  readonly multusAutoconfigDir: string;
  /** Where `00-multus.conf` is written. */
  readonly cniConfigDir: string;
  /** The file to use as the default network, and no other. */
  readonly multusMasterCNI?: string;
  /** `cniVersion` counts for the generated configuration whatever the default network's is. */
  readonly forceCNIVersion: boolean;
  /** The generated configuration takes the default network's name. */
  readonly overrideNetworkName: boolean;
  /** A certificate of this node's own; absent when switched off. */
  readonly perNodeCertificate?: PerNodeCertificate;
  /** Known, and without effect: it is about the Go runtime. */
  readonly enablePprof: boolean;
  /** `00-multus.conf` is removed when the daemon stops. */
  readonly cleanupConfigOnExit: boolean;
  /** Where `delegate-exec` and `default-route` lie. */
  readonly libexecDir: string;
  /** Where the pod's own credentials lie, if not where Kubernetes puts them. */
  readonly serviceAccountDir?: string;
  /** The kubelet's socket for devices. */
  readonly podResourcesSocket: string;
  /** The kubelet's file for devices, where there is no socket. */
  readonly deviceCheckpoint: string;
  /** Device information files. */
  readonly deviceInfoDir: string;
  /** Lines for people, or JSON. */
  readonly logFormat: "text" | "json";
  /** Time to finish what runs when the daemon is told to stop. */
  readonly shutdownTimeoutMs: number;
}

/** Where the daemon's configuration lies if no flag says otherwise. */
export const DEFAULT_DAEMON_CONFIG =
  "/etc/cni/net.d/multus.d/daemon-config.json";

// What begins every message about the shim's configuration: there is no file that it is known to come from.
const SHIM_SOURCE = "Multus CNI configuration";

// Runtimes bring one configuration, and an old and a new one while it is being replaced.
const CACHED_MAX = 8;

// What a runtime puts into the configuration for one request.
const PREV_RESULT = "prevResult";
const RUNTIME_CONFIG = "runtimeConfig";
const VALID_ATTACHMENTS = "cni.dev/valid-attachments";
// The same under its name in older versions of libcni.
const ATTACHMENTS = "cni.dev/attachments";
const REQUEST_KEYS: ReadonlySet<string> = new Set([
  PREV_RESULT,
  RUNTIME_CONFIG,
  VALID_ATTACHMENTS,
  ATTACHMENTS,
]);

// What the node runs from when nothing is said: the paths of the Go Multus and of most distributions.
const DEFAULT_NAME = "multus-cni-network";
const DEFAULT_CONF_DIR = "/etc/cni/multus/net.d";
const DEFAULT_BIN_DIR = "/opt/cni/bin";
const DEFAULT_CNI_CONFIG_DIR = "/etc/cni/net.d";
// Where the image and `multusctl install` put the two scripts.
const DEFAULT_LIBEXEC_DIR = "/usr/libexec/multus";
const DEFAULT_CERT_DIR = "/etc/cni/multus/certs";
const DEFAULT_NAMESPACE = "kube-system";
const DEFAULT_GLOBAL_NAMESPACES = "default";

// As users know them: quiet in the log, loud on stderr, half a gigabyte on disk at most.
const DEFAULT_LOG_LEVEL: LogLevel = "panic";
const DEFAULT_LOG_OPTIONS: LogOptions = {
  maxAgeDays: 5,
  maxSizeMegabytes: 100,
  maxBackups: 5,
  compress: true,
};

// All addresses, as the Go daemon listens: metrics are scraped from outside the node.
const DEFAULT_METRICS_ADDRESS = "0.0.0.0";

// The kubelet gives the runtime 2 minutes for a request and twice that for making or removing a
// sandbox; two thirds of it leave the shim its time to wait for a daemon, and us to undo.
const REQUEST_TIMEOUT_SECONDS = 160;

// One plugin may take a little more than half of that (a DHCP server that does not answer takes a
// minute), so that what was begun can still be undone and the error names the plugin.
const PLUGIN_SHARE = 9 / 16;

// Kubernetes kills 30 s after SIGTERM; some of it is for closing what is open.
const SHUTDOWN_TIMEOUT_SECONDS = 25;

// The API server is asked for a new certificate twice a day at most, and one that leaks is soon worthless.
const CERT_DURATION = "24h";

const LEVELS: Readonly<Record<string, LogLevel>> = {
  panic: "panic",
  error: "error",
  verbose: "verbose",
  debug: "debug",
  // Not levels of Multus, but of every other program: the nearest one.
  fatal: "panic",
  warn: "error",
  warning: "error",
  info: "verbose",
  trace: "debug",
};

const documents = new Map<JsonText, Document<MultusValues>>();
const merged = new WeakMap<
  Document<MultusValues>,
  WeakMap<Document<DaemonValues>, MultusConf>
>();

/**
 * Reads what the runtime passed to the shim.
 *
 * @throws {CniError} Decoding failure, or invalid configuration; one line that names the place.
 */
export function parseShimConf(text: string): ShimConf {
  const { lasting, own } = splitRequest(text);
  const runtimeConfig = own.get(RUNTIME_CONFIG);
  const prevResult = own.get(PREV_RESULT);
  const attachments = own.get(VALID_ATTACHMENTS) ?? own.get(ATTACHMENTS);
  return {
    document: readCached(lasting),
    ...(runtimeConfig !== undefined && {
      runtimeConfig: assertObject(runtimeConfig, RUNTIME_CONFIG),
    }),
    ...(prevResult !== undefined && { prevResult }),
    ...(attachments !== undefined && {
      validAttachments: parseAttachments(attachments),
    }),
  };
}

/**
 * Reads the daemon's configuration and puts the flags over it. A file that is not there is an error
 * only if it was asked for by name. Needs read of the file.
 *
 * @throws {CniError} I/O failure, decoding failure, or invalid configuration; one line that names file and place.
 */
export async function loadDaemonConf(
  path: string,
  flags: DaemonFlags,
): Promise<DaemonConf> {
  const text = await readConfig(path, flags);
  return parseDaemonConf(text, { path, flags });
}

/**
 * Reads the text of the daemon's configuration; see `loadDaemonConf`.
 *
 * @throws {CniError} Decoding failure, or invalid configuration; one line that names file and place.
 */
export function parseDaemonConf(
  given: string,
  { path, flags }: { readonly path: string; readonly flags: DaemonFlags },
): DaemonConf {
  const fromFile = readDaemonDocument(given, path);
  let { text } = fromFile;
  for (const [key, value] of Object.entries(flags.overrides)) {
    text = setMember(text, key, JSON.stringify(value));
  }
  const document = text === fromFile.text
    ? fromFile
    : readDaemonDocument(text, path);
  return {
    path,
    document,
    ...toMultusConf(document, timeouts(document.values)),
    ...daemonPart(document),
  };
}

/**
 * The configuration of one request: the shim's, overridden by the daemon's key by key, then the defaults.
 */
export function mergeConf(shim: ShimConf, daemon: DaemonConf): MultusConf {
  const known = merged.get(shim.document) ?? new WeakMap();
  merged.set(shim.document, known);
  const lasting: MultusConf = known.get(daemon.document) ??
    toMultusConf(overlay(shim.document, daemon.document), daemon);
  known.set(daemon.document, lasting);
  const { document: _, ...own } = shim;
  return { ...own, ...lasting };
}

/**
 * Refuses a configuration that names no default network; an ADD needs one.
 *
 * @throws {CniError} Invalid configuration.
 */
export function assertDefaultNetwork(
  conf: Pick<MultusConf, "clusterNetwork" | "delegates">,
): void {
  if (conf.clusterNetwork !== undefined || conf.delegates.length > 0) return;
  throw new CniError(
    ErrorCode.invalidNetworkConfig,
    `${SHIM_SOURCE}: there is no default network: "clusterNetwork" or "delegates" is needed`,
  );
}

function overlay(
  base: Document<MultusValues>,
  over: Document<DaemonValues>,
): Document<MultusValues> {
  return {
    text: mergeObjects(base.text, over.text),
    values: { ...base.values, ...over.values },
  };
}

function splitRequest(
  text: string,
): { lasting: JsonText; own: ReadonlyMap<string, JsonText> } {
  const own = new Map<string, JsonText>();
  let lasting = text;
  for (const { key, start, end } of membersOf(text)) {
    if (!REQUEST_KEYS.has(key)) continue;
    lasting = removeMember(lasting, key);
    const value = text.slice(start, end);
    if (value !== "null") own.set(key, value);
  }
  return { lasting, own };
}

// What is no object at all is refused where all shapes are, with the place of the mistake.
function membersOf(text: string): ReturnType<typeof readMembers> {
  try {
    return readMembers(text);
  } catch {
    return [];
  }
}

function readCached(text: JsonText): Document<MultusValues> {
  const known = documents.get(text);
  if (known !== undefined) return known;
  const document = readMultusDocument(text, SHIM_SOURCE);
  const [oldest] = documents.keys();
  if (documents.size >= CACHED_MAX && oldest !== undefined) {
    documents.delete(oldest);
  }
  documents.set(text, document);
  return document;
}

function assertObject(text: JsonText, key: string): JsonText {
  if (text.startsWith("{")) return text;
  throw invalid(`${key}: expected an object, found ${text.slice(0, 40)}`);
}

function parseAttachments(text: JsonText): ValidAttachment[] {
  const expected = `${VALID_ATTACHMENTS}: expected a list of attachments`;
  if (!text.startsWith("[")) throw invalid(expected);
  const list: unknown[] = JSON.parse(text);
  return list.map((item, index) => {
    if (isAttachment(item)) {
      return { containerID: item.containerID, ifname: item.ifname };
    }
    throw invalid(
      `${VALID_ATTACHMENTS}[${index}]: expected an object with "containerID" and "ifname"`,
    );
  });
}

function isAttachment(value: unknown): value is ValidAttachment {
  return typeof value === "object" && value !== null &&
    "containerID" in value && typeof value.containerID === "string" &&
    "ifname" in value && typeof value.ifname === "string";
}

function invalid(message: string): CniError {
  return new CniError(
    ErrorCode.invalidNetworkConfig,
    `${SHIM_SOURCE}: ${message}`,
  );
}

async function readConfig(path: string, flags: DaemonFlags): Promise<string> {
  try {
    return await Deno.readTextFile(path);
  } catch (cause) {
    const isMissing = cause instanceof Deno.errors.NotFound;
    if (isMissing && !flags.isConfigGiven) return "{}";
    const reason = isMissing
      ? "no such file"
      : cause instanceof Error
      ? cause.message
      : String(cause);
    throw new CniError(
      ErrorCode.ioFailure,
      `Cannot read the daemon's configuration: ${reason}: ${path}`,
      { cause },
    );
  }
}

type Timeouts = Pick<MultusConf, "requestTimeoutMs" | "pluginTimeoutMs">;

function toMultusConf(
  { text, values }: Document<MultusValues>,
  { requestTimeoutMs, pluginTimeoutMs }: Timeouts,
): MultusConf {
  const { logLevel, warnings } = readLevel(values.logLevel);
  const delegates = values.delegates && getMember(text, "delegates");
  const { maxAge, maxSize, maxBackups, compress } = values.logOptions ?? {};
  const runtimeConfig = values.runtimeConfig && getMember(text, RUNTIME_CONFIG);
  const globalNamespaces = filled(values.globalNamespaces) ??
    DEFAULT_GLOBAL_NAMESPACES;
  return {
    name: filled(values.name) ?? DEFAULT_NAME,
    cniVersion: filled(values.cniVersion) ?? DEFAULT_VERSION,
    confDir: filled(values.confDir) ?? DEFAULT_CONF_DIR,
    cniDir: filled(values.cniDir) ?? DEFAULT_CNI_DIR,
    binDir: filled(values.binDir) ?? DEFAULT_BIN_DIR,
    defaultNetworks: values.defaultNetworks ?? [],
    delegates: delegates ? readElements(delegates) : [],
    systemNamespaces: values.systemNamespaces ?? [DEFAULT_NAMESPACE],
    multusNamespace: filled(values.multusNamespace) ?? DEFAULT_NAMESPACE,
    namespaceIsolation: values.namespaceIsolation ?? false,
    globalNamespaces: parseGlobalNamespaces(globalNamespaces),
    capabilities: values.capabilities ?? {},
    retryDeleteOnError: values.retryDeleteOnError ?? false,
    logLevel,
    logToStderr: values.logToStderr ?? true,
    logOptions: {
      maxAgeDays: maxAge ?? DEFAULT_LOG_OPTIONS.maxAgeDays,
      maxSizeMegabytes: maxSize ?? DEFAULT_LOG_OPTIONS.maxSizeMegabytes,
      maxBackups: maxBackups ?? DEFAULT_LOG_OPTIONS.maxBackups,
      compress: compress ?? DEFAULT_LOG_OPTIONS.compress,
    },
    daemonSocketDir: filled(values.daemonSocketDir) ?? DEFAULT_SOCKET_DIR,
    requestTimeoutMs,
    pluginTimeoutMs,
    text,
    warnings,
    ...present({
      kubeconfig: filled(values.kubeconfig),
      clusterNetwork: filled(values.clusterNetwork),
      readinessIndicatorFile: filled(values.readinessindicatorfile),
      runtimeConfig,
      auxiliaryCNIChainName: filled(values.auxiliaryCNIChainName),
      logFile: filled(values.logFile),
    }),
  };
}

type DaemonPart = Omit<DaemonConf, keyof MultusConf | "path" | "document">;

function daemonPart({ values }: Document<DaemonValues>): DaemonPart {
  const cniConfigDir = filled(values.cniConfigDir) ?? DEFAULT_CNI_CONFIG_DIR;
  return {
    socketDir: filled(values.socketDir) ?? DEFAULT_SOCKET_DIR,
    metricsBindAddress: filled(values.metricsBindAddress) ??
      DEFAULT_METRICS_ADDRESS,
    cniConfigDir,
    // The other plugins' configurations lie where ours goes: runtimes know one directory.
    multusAutoconfigDir: filled(values.multusAutoconfigDir) ?? cniConfigDir,
    forceCNIVersion: values.forceCNIVersion ?? false,
    overrideNetworkName: values.overrideNetworkName ?? false,
    enablePprof: values.enablePprof ?? false,
    // A pod that starts while the daemon restarts must wait for its networks, not start without.
    cleanupConfigOnExit: values.cleanupConfigOnExit ?? false,
    libexecDir: filled(values.libexecDir) ?? DEFAULT_LIBEXEC_DIR,
    podResourcesSocket: filled(values.podResourcesSocket) ??
      POD_RESOURCES_SOCKET,
    deviceCheckpoint: filled(values.deviceCheckpoint) ?? CHECKPOINT_FILE,
    deviceInfoDir: filled(values.deviceInfoDir) ?? DEVICE_INFO_DIR,
    logFormat: values.logFormat ?? "text",
    shutdownTimeoutMs: 1_000 *
      (values.shutdownTimeoutSeconds ?? SHUTDOWN_TIMEOUT_SECONDS),
    ...present({
      chrootDir: filled(values.chrootDir),
      metricsPort: values.metricsPort,
      connectionLimit: values.connectionLimit || undefined,
      addConcurrency: values.addConcurrency,
      serviceAccountDir: filled(values.serviceAccountDir),
      multusConfigFile: filled(values.multusConfigFile),
      multusMasterCNI: filled(values.multusMasterCNI),
      perNodeCertificate: readCertificate(values.perNodeCertificate),
    }),
  };
}

function timeouts(values: DaemonValues): Timeouts {
  const request = values.requestTimeoutSeconds ?? REQUEST_TIMEOUT_SECONDS;
  const plugin = values.pluginTimeoutSeconds ?? request * PLUGIN_SHARE;
  return {
    requestTimeoutMs: request * 1_000,
    pluginTimeoutMs: Math.min(plugin, request) * 1_000,
  };
}

function readCertificate(
  values: DaemonValues["perNodeCertificate"],
): PerNodeCertificate | undefined {
  if (values?.enabled !== true) return undefined;
  return {
    bootstrapKubeconfig: values.bootstrapKubeconfig ?? "",
    certDir: filled(values.certDir) ?? DEFAULT_CERT_DIR,
    certDurationMs: parseDuration(values.certDuration ?? CERT_DURATION),
  };
}

const UNIT_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
};

/** Milliseconds of a duration as Go writes it, such as "1h30m"; the schema has seen to its form. */
function parseDuration(text: string): number {
  const parts = text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g);
  return [...parts].reduce(
    (sum, [, count, unit = "s"]) => sum + Number(count) * (UNIT_MS[unit] ?? 0),
    0,
  );
}

function readLevel(
  given: string | undefined,
): { logLevel: LogLevel; warnings: string[] } {
  if (filled(given) === undefined || given === undefined) {
    return { logLevel: DEFAULT_LOG_LEVEL, warnings: [] };
  }
  const name = given.toLowerCase();
  const logLevel = Object.hasOwn(LEVELS, name) ? LEVELS[name] : undefined;
  if (logLevel === name) return { logLevel, warnings: [] };
  const used = logLevel ?? DEFAULT_LOG_LEVEL;
  return {
    logLevel: used,
    warnings: [
      `logLevel: taken as "${used}", expected "debug", "verbose", "error" or "panic", found ${
        JSON.stringify(given)
      }`,
    ],
  };
}

/** An empty text says nothing, as with the Go daemon. */
function filled(value: string | undefined): string | undefined {
  return value === "" ? undefined : value;
}
