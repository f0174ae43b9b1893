/**
 * The shapes of the two configurations: the one that the runtime passes to the
 * shim (`00-multus.conf`) and the daemon's own, which may hold all keys of the
 * first. A wrong value is one line that names the source, the JSON path, what
 * was expected and what stands there.
 *
 * What a key means and what holds in its absence is in `configuration.ts`.
 *
 * As the Go daemon does, keys are recognised in any case (`LogFile` stands in
 * many files), `null` counts as absent, and unknown keys are nobody's business
 * here: they stay in the text.
 *
 * @module
 */
import * as z from "zod/mini";
import { CniError, ErrorCode, quote } from "../cni/error.ts";
import {
  getMember,
  type JsonText,
  readMembers,
  removeMember,
  setMember,
} from "../cni/json_text.ts";
import { isMultusType } from "../cni/conf.ts";
import { findJsonError } from "./json_place.ts";

// The texts of the schemas are what a message says after "expected".
const text = z.optional(z.string("a string"));
const flag = z.optional(z.boolean("true or false"));
const names = z.optional(
  z.array(z.string("a string"), "a list of strings"),
);

/** A whole number within bounds that the message names. */
function whole(from: number, to: number): z.ZodMiniOptional<z.ZodMiniNumber> {
  const expected = `a whole number from ${from} to ${to}`;
  return z.optional(
    z.number(expected).check(
      z.int(expected),
      z.gte(from, expected),
      z.lte(to, expected),
    ),
  );
}

// A file that is kept for more years or grows larger than this is not meant.
const DAYS_MAX = 36_500;
const MEGABYTES_MAX = 1_000_000;
const BACKUPS_MAX = 10_000;

const logOptions = z.looseObject({
  maxAge: whole(0, DAYS_MAX),
  maxSize: whole(0, MEGABYTES_MAX),
  maxBackups: whole(0, BACKUPS_MAX),
  compress: flag,
}, "an object");

const multusMembers = {
  name: text,
  type: z.optional(
    z.string('"multus-shim" or "multus"').check(
      z.refine(isMultusType, '"multus-shim" or "multus"'),
    ),
  ),
  cniVersion: text,
  confDir: text,
  cniDir: text,
  binDir: text,
  kubeconfig: text,
  clusterNetwork: text,
  defaultNetworks: names,
  delegates: z.optional(
    z.array(
      z.record(z.string(), z.unknown(), "an object"),
      "a list of CNI configurations",
    ),
  ),
  systemNamespaces: names,
  multusNamespace: text,
  namespaceIsolation: flag,
  globalNamespaces: text,
  readinessindicatorfile: text,
  capabilities: z.optional(
    z.record(z.string(), z.boolean("true or false"), "an object"),
  ),
  runtimeConfig: z.optional(
    z.record(z.string(), z.unknown(), "an object"),
  ),
  retryDeleteOnError: flag,
  auxiliaryCNIChainName: text,
  logFile: text,
  logLevel: text,
  logToStderr: flag,
  logOptions: z.optional(logOptions),
  daemonSocketDir: text,
} as const;

// Units as Go writes them: "24h", "1h30m", "90s".
const DURATION = /^(\d+(\.\d+)?(ms|s|m|h))+$/;

const perNodeCertificate = z.looseObject({
  enabled: flag,
  bootstrapKubeconfig: text,
  certDir: text,
  certDuration: z.optional(
    z.string('a duration such as "24h"').check(
      z.regex(DURATION, 'a duration such as "24h"'),
    ),
  ),
}, "an object");

// Longer than any runtime waits for an answer.
const TIMEOUT_SECONDS_MAX = 3_600;

// Each is a plugin process: more than this is not meant.
const CONCURRENCY_MAX = 1_000;

const PORT_MAX = 65_535;

const daemonMembers = {
  chrootDir: text,
  socketDir: text,
  metricsPort: whole(0, PORT_MAX),
  connectionLimit: whole(0, Number.MAX_SAFE_INTEGER),
  multusConfigFile: text,
  multusAutoconfigDir: text,
  cniConfigDir: text,
  multusMasterCNI: text,
  forceCNIVersion: flag,
  overrideNetworkName: flag,
  perNodeCertificate: z.optional(perNodeCertificate),
  enablePprof: flag,
  // From here on, keys that only this daemon knows.
  cleanupConfigOnExit: flag,
  libexecDir: text,
  serviceAccountDir: text,
  podResourcesSocket: text,
  deviceCheckpoint: text,
  deviceInfoDir: text,
  metricsBindAddress: text,
  logFormat: z.optional(z.enum(["text", "json"], '"text" or "json"')),
  addConcurrency: whole(1, CONCURRENCY_MAX),
  requestTimeoutSeconds: whole(1, TIMEOUT_SECONDS_MAX),
  pluginTimeoutSeconds: whole(1, TIMEOUT_SECONDS_MAX),
  shutdownTimeoutSeconds: whole(1, TIMEOUT_SECONDS_MAX),
} as const;

const multus = z.looseObject(multusMembers);
const daemon = z.looseObject({ ...multusMembers, ...daemonMembers });

/** The keys that a configuration may have. */
export interface KnownKeys {
  /** One member for each key. */
  readonly shape: Readonly<Record<string, unknown>>;
}

/** The keys of the configuration that the runtime passes to the shim. */
export const multusSchema: KnownKeys = multus;

/** The keys of the daemon's own configuration. */
export const daemonSchema: KnownKeys = daemon;

/** The keys that are there of the configuration that the runtime passes to the shim, spelled as in the file. */
export type MultusValues = {
  readonly name?: string | undefined;
  readonly type?: string | undefined;
  readonly cniVersion?: string | undefined;
  readonly confDir?: string | undefined;
  readonly cniDir?: string | undefined;
  readonly binDir?: string | undefined;
  readonly kubeconfig?: string | undefined;
  readonly clusterNetwork?: string | undefined;
  readonly defaultNetworks?: readonly string[] | undefined;
  readonly delegates?: readonly Readonly<Record<string, unknown>>[] | undefined;
  readonly systemNamespaces?: readonly string[] | undefined;
  readonly multusNamespace?: string | undefined;
  readonly namespaceIsolation?: boolean | undefined;
  readonly globalNamespaces?: string | undefined;
  readonly readinessindicatorfile?: string | undefined;
  readonly capabilities?: Readonly<Record<string, boolean>> | undefined;
  readonly runtimeConfig?: Readonly<Record<string, unknown>> | undefined;
  readonly retryDeleteOnError?: boolean | undefined;
  readonly auxiliaryCNIChainName?: string | undefined;
  readonly logFile?: string | undefined;
  readonly logLevel?: string | undefined;
  readonly logToStderr?: boolean | undefined;
  readonly logOptions?: {
    readonly maxAge?: number | undefined;
    readonly maxSize?: number | undefined;
    readonly maxBackups?: number | undefined;
    readonly compress?: boolean | undefined;
  } | undefined;
  readonly daemonSocketDir?: string | undefined;
};

/** The keys that are there of the daemon's own configuration, spelled as in the file. */
export type DaemonValues = MultusValues & {
  readonly chrootDir?: string | undefined;
  readonly socketDir?: string | undefined;
  readonly metricsPort?: number | undefined;
  readonly connectionLimit?: number | undefined;
  readonly multusConfigFile?: string | undefined;
  readonly multusAutoconfigDir?: string | undefined;
  readonly cniConfigDir?: string | undefined;
  readonly multusMasterCNI?: string | undefined;
  readonly forceCNIVersion?: boolean | undefined;
  readonly overrideNetworkName?: boolean | undefined;
  readonly perNodeCertificate?: {
    readonly enabled?: boolean | undefined;
    readonly bootstrapKubeconfig?: string | undefined;
    readonly certDir?: string | undefined;
    readonly certDuration?: string | undefined;
  } | undefined;
  readonly enablePprof?: boolean | undefined;
  readonly cleanupConfigOnExit?: boolean | undefined;
  readonly metricsBindAddress?: string | undefined;
  readonly libexecDir?: string | undefined;
  readonly serviceAccountDir?: string | undefined;
  readonly podResourcesSocket?: string | undefined;
  readonly deviceCheckpoint?: string | undefined;
  readonly deviceInfoDir?: string | undefined;
  readonly logFormat?: "text" | "json" | undefined;
  readonly addConcurrency?: number | undefined;
  readonly requestTimeoutSeconds?: number | undefined;
  readonly pluginTimeoutSeconds?: number | undefined;
  readonly shutdownTimeoutSeconds?: number | undefined;
};

/** A configuration that was found good. */
export interface Document<T> {
  /** The text with known keys in their own spelling, everything else as it was. */
  readonly text: JsonText;
  /** What was read of it. */
  readonly values: T;
}

/**
 * Reads what the runtime passes to the shim. `source` begins every message.
 *
 * @throws {CniError} Decoding failure with line and column, or invalid configuration with the JSON path.
 */
export function readMultusDocument(
  given: string,
  source: string,
): Document<MultusValues> {
  const text = readObject(given, { keys: multus, source });
  return { text, values: check(text, { schema: multus, source }) };
}

/**
 * Reads the daemon's own configuration. `source` begins every message: the file's path.
 *
 * @throws {CniError} Decoding failure with line and column, or invalid configuration with the JSON path.
 */
export function readDaemonDocument(
  given: string,
  source: string,
): Document<DaemonValues> {
  const text = readObject(given, { keys: daemon, source });
  return { text, values: check(text, { schema: daemon, source }) };
}

function readObject(
  given: string,
  { keys, source }: { keys: KnownKeys; source: string },
): JsonText {
  const value = parseJson(given, source);
  if (!isObject(value)) throw wrong(source, { expected: "an object", value });
  return canonicalText(given, Object.keys(keys.shape));
}

function check<T extends z.ZodMiniObject>(
  text: JsonText,
  { schema, source }: { schema: T; source: string },
): z.infer<T> {
  const value = withoutNulls(JSON.parse(text), schema);
  const checked = schema.safeParse(value);
  if (checked.success) return checked.data;
  const [issue] = checked.error.issues;
  throw wrong(source, {
    path: issue?.path ?? [],
    expected: issue?.message ?? "something else",
    value: valueAt(value, issue?.path ?? []),
  });
}

function parseJson(text: string, source: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    const { line, column } = findJsonError(text);
    throw new CniError(
      ErrorCode.decodingFailure,
      `${source}: not JSON at line ${line}, column ${column}${
        text.trim() === "" ? ": the text is empty" : ""
      }`,
      { cause },
    );
  }
}

/** Gives known keys their own spelling; one that is there in its own spelling already wins. */
function canonicalText(given: JsonText, keys: readonly string[]): JsonText {
  const spelling = new Map(keys.map((key) => [key.toLowerCase(), key]));
  const members = readMembers(given);
  const present = new Set(members.map(({ key }) => key));
  let text = given;
  for (const { key } of members) {
    const own = spelling.get(key.toLowerCase()) ?? key;
    if (own === key) continue;
    const value = getMember(text, key);
    text = removeMember(text, key);
    if (value === undefined || present.has(own)) continue;
    text = setMember(text, own, value);
    present.add(own);
  }
  return text;
}

/** Takes out what is null, in nested objects of known shape as well. */
function withoutNulls(
  value: Readonly<Record<string, unknown>>,
  schema: z.ZodMiniObject,
): Record<string, unknown> {
  const entries = Object.entries(value)
    .filter(([, member]) => member !== null)
    .map(([key, member]) => {
      const nested = NESTED[key];
      const isNested = nested !== undefined && Object.hasOwn(schema.shape, key);
      if (!isNested || !isObject(member)) return [key, member];
      const text = canonicalText(
        JSON.stringify(member),
        Object.keys(nested.shape),
      );
      return [key, withoutNulls(JSON.parse(text), nested)];
    });
  return Object.fromEntries(entries);
}

const NESTED: Readonly<Record<string, z.ZodMiniObject>> = {
  logOptions,
  perNodeCertificate,
};

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>((at, key) => {
    if (typeof at !== "object" || at === null) return undefined;
    return Object.entries(at).find(([name]) => name === String(key))?.[1];
  }, value);
}

function wrong(
  source: string,
  { path = [], expected, value }: {
    path?: readonly PropertyKey[];
    expected: string;
    value: unknown;
  },
): CniError {
  const where = path.length === 0 ? "" : `${formatPath(path)}: `;
  return new CniError(
    ErrorCode.invalidNetworkConfig,
    `${source}: ${where}expected ${expected}, found ${shown(value)}`,
  );
}

function formatPath(path: readonly PropertyKey[]): string {
  return path.map((key, index) => {
    if (typeof key === "number") return `[${key}]`;
    return index === 0 ? String(key) : `.${String(key)}`;
  }).join("");
}

/** Scalars as they are, of the rest only the kind: a message holds no configuration. */
function shown(value: unknown): string {
  if (typeof value === "string") return quote(value);
  if (Array.isArray(value)) return "a list";
  if (isObject(value)) return "an object";
  return value === undefined ? "nothing" : String(value);
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
