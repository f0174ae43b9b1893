/**
 * The parameters of `multusctl install`: those of the entrypoint that the
 * Multus user's guide lists, with their names and meaning, and some of our
 * own. Each is checked before anything is done; what cannot be done here is
 * refused, or noted with what to do instead.
 *
 * @module
 */
import { isSupportedVersion, SUPPORTED_VERSIONS } from "../cni/version.ts";
import { present } from "../cni/present.ts";
import { parseGlobalNamespaces } from "../selection/isolation.ts";
import { type Parameter, UsageError } from "./command.ts";
import { type Distribution, isDistribution } from "./distributions.ts";

/** What `multusctl install` is asked to do, checked. */
export interface InstallOptions {
  /** The host's root as this process sees it. */
  readonly hostRoot?: string;
  /** A distribution whose directories to take. */
  readonly distribution?: Distribution;
  /** A profile whose directories to take. */
  readonly profileFile?: string;
  /** Where programs go, as this process sees it. */
  readonly binDir?: string;
  /** Where configurations go, as this process sees it. */
  readonly confDir?: string;
  /** Where the default network's configuration is looked for; `confDir` unless given. */
  readonly autoconfDir?: string;
  /** `auto`, or a file to be copied; without it no configuration is written. */
  readonly confFile?: string;
  /** Keys of the daemon's configuration that the parameters stand for. */
  readonly keys: Readonly<Record<string, string | boolean>>;
  /** The daemon's configuration file, to write the keys to. */
  readonly daemonConfig?: string;
  /** The default network's file is renamed, so that no runtime takes it. */
  readonly renamesConfFile: boolean;
  /** The shim to install in the place of ours. */
  readonly shimFile?: string;
  /** Only a configuration is wanted. */
  readonly skipsPrograms: boolean;
  /** Reference plugins to bring along, by name. */
  readonly plugins: readonly string[];
  /** Where those are; beside `multusctl`, in `plugins`, unless given. */
  readonly pluginDir?: string;
  /** What was asked for and is not done, with what to do instead. */
  readonly notes: readonly string[];
}

type Kind = "dir" | "file" | "path" | "text" | "bool";

interface OptionSpec {
  /** The name without dashes. */
  readonly name: string;
  readonly kind: Kind;
  readonly help: string;
  /** The key of the daemon's configuration that it stands for. */
  readonly key?: string;
  /** Says what is wrong with a value that has the right form; `undefined` when nothing is. */
  readonly fault?: (value: string) => string | undefined;
}

const LOG_LEVELS: readonly string[] = ["debug", "verbose", "error", "panic"];

/** A name of one part: no directory, no option. */
const FILE_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;
const NAMESPACE = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;
/** Also no comma: such a path could not be granted. */
// deno-lint-ignore no-control-regex -- control characters are what is looked for
const ABSOLUTE_PATH = /^\/[^,\u0000-\u001f\u007f]*$/;

const OF_GUIDE: readonly OptionSpec[] = [
  {
    name: "cni-conf-dir",
    kind: "dir",
    help: "put configurations here",
    key: "cniConfigDir",
  },
  { name: "cni-bin-dir", kind: "dir", help: "put programs here" },
  {
    name: "multus-conf-file",
    kind: "text",
    help: "auto: write 00-multus.conf; a file: copy it",
    key: "multusConfigFile",
    fault: (value) =>
      value === "auto" || ABSOLUTE_PATH.test(value)
        ? undefined
        : '"auto" or an absolute path',
  },
  {
    name: "multus-autoconfig-dir",
    kind: "dir",
    help: "look for the default network here",
    key: "multusAutoconfigDir",
  },
  {
    name: "multus-kubeconfig-file-host",
    kind: "path",
    help: "kubeconfig to write into 00-multus.conf",
    key: "kubeconfig",
  },
  {
    name: "multus-master-cni-file-name",
    kind: "text",
    help: "the default network's file, no other",
    key: "multusMasterCNI",
    fault: (value) => FILE_NAME.test(value) ? undefined : "a plain file name",
  },
  {
    name: "multus-log-level",
    kind: "text",
    help: "debug, verbose, error or panic",
    key: "logLevel",
    fault: (value) =>
      LOG_LEVELS.includes(value) ? undefined : LOG_LEVELS.join(", "),
  },
  {
    name: "multus-log-file",
    kind: "path",
    help: "log into this file",
    key: "logFile",
  },
  {
    name: "multus-log-to-stderr",
    kind: "bool",
    help: "log to stderr",
    key: "logToStderr",
  },
  {
    name: "namespace-isolation",
    kind: "bool",
    help: "pods use networks of their own namespace only",
    key: "namespaceIsolation",
  },
  {
    name: "global-namespaces",
    kind: "text",
    help: "namespaces whose networks all pods may use, with commas",
    key: "globalNamespaces",
    fault: (value) =>
      parseGlobalNamespaces(value).every((name) => NAMESPACE.test(name))
        ? undefined
        : "names of namespaces with commas between",
  },
  { name: "multus-bin-file", kind: "file", help: "install this as the shim" },
  {
    name: "cni-version",
    kind: "text",
    help: "cniVersion of 00-multus.conf where the default network has none",
    key: "cniVersion",
    fault: (value) =>
      isSupportedVersion(value) ? undefined : SUPPORTED_VERSIONS.join(", "),
  },
  {
    name: "cleanup-config-on-exit",
    kind: "bool",
    help: "the daemon removes 00-multus.conf when it stops",
    key: "cleanupConfigOnExit",
  },
  { name: "restart-crio", kind: "bool", help: "not done: see below" },
  {
    name: "rename-conf-file",
    kind: "bool",
    help: "add .old to the default network's file",
  },
  {
    name: "additional-bin-dir",
    kind: "path",
    help: "search this directory for plugins first",
    key: "binDir",
  },
  {
    name: "skip-multus-binary-copy",
    kind: "bool",
    help: "install no programs",
  },
  {
    name: "readiness-indicator-file",
    kind: "path",
    help: "the default network's sign of life",
    key: "readinessindicatorfile",
  },
  {
    name: "override-network-name",
    kind: "bool",
    help: "give 00-multus.conf the default network's name",
    key: "overrideNetworkName",
  },
  { name: "skip-tls-verify", kind: "bool", help: "refused: see below" },
];

const OWN: readonly OptionSpec[] = [
  {
    name: "profile",
    kind: "text",
    help:
      "a distribution, or a profile's file; without it the node is looked at",
  },
  { name: "host-root", kind: "dir", help: "where the host's root is mounted" },
  {
    name: "daemon-config",
    kind: "path",
    help: "write what the daemon is to do into this file",
  },
  {
    name: "plugins",
    kind: "text",
    help: "reference plugins to bring along, with commas",
    fault: (value) =>
      value.split(",").every((name) => FILE_NAME.test(name))
        ? undefined
        : "plain file names with commas between",
  },
  {
    name: "plugin-dir",
    kind: "dir",
    help: "where those plugins are; beside multusctl, in plugins",
  },
];

const SPECS: readonly OptionSpec[] = [...OWN, ...OF_GUIDE];

/** Keys that have a meaning only for who writes 00-multus.conf. */
const GENERATOR_KEYS: readonly string[] = [
  "cniConfigDir",
  "multusConfigFile",
  "multusAutoconfigDir",
];

/** The options, as the command line library takes them. */
export const INSTALL_PARAMETERS: readonly Parameter[] = SPECS.map((
  { name, kind, help },
) => ({
  syntax: kind === "bool" ? `--${name} [bool]` : `--${name} <${kind}>`,
  summary: help,
}));

/**
 * Checks what the command line gave.
 *
 * @throws {UsageError} With the option, what it takes, and what stood there.
 */
export function readInstallOptions(
  given: Readonly<Record<string, unknown>>,
): InstallOptions {
  const values = new Map<string, string | boolean>();
  for (const spec of SPECS) {
    const value = given[camelCase(spec.name)];
    if (value !== undefined && value !== "") {
      values.set(spec.name, readValue(spec, value));
    }
  }
  refuse(values);
  return toOptions(values);
}

type Values = ReadonlyMap<string, string | boolean>;

function camelCase(name: string): string {
  return name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

function readValue(spec: OptionSpec, given: unknown): string | boolean {
  if (spec.kind === "bool") return readBoolean(spec.name, given);
  const value = String(given);
  const isPath = ["dir", "file", "path"].includes(spec.kind);
  const expected = isPath && !ABSOLUTE_PATH.test(value)
    ? "an absolute path without comma"
    : spec.fault?.(value);
  if (expected !== undefined) throw wrong(spec.name, expected, value);
  return spec.kind === "dir" ? value.replace(/(?<=.)\/+$/, "") : value;
}

/** The words that Go's flags take; alone, an option means yes. */
function readBoolean(name: string, given: unknown): boolean {
  if (given === true || given === false) return given;
  const value = String(given);
  if (["1", "t", "T", "true", "TRUE", "True"].includes(value)) return true;
  if (["0", "f", "F", "false", "FALSE", "False"].includes(value)) return false;
  throw wrong(name, "true or false", value);
}

function wrong(name: string, expected: string, value: string): UsageError {
  return new UsageError(`--${name}: expected ${expected}, found "${value}"`);
}

function refuse(values: Values): void {
  if (values.get("skip-tls-verify") === true) {
    throw new UsageError(
      "--skip-tls-verify: the API server's certificate is always verified: give its authority in the kubeconfig, or use the pod's service account",
    );
  }
  if (values.get("rename-conf-file") === true) {
    if (values.get("multus-conf-file") !== "auto") {
      throw new UsageError(
        "--rename-conf-file needs --multus-conf-file=auto, which takes the file's content over",
      );
    }
    if (values.has("daemon-config")) {
      throw new UsageError(
        "--rename-conf-file and --daemon-config exclude each other: a daemon that writes 00-multus.conf needs the file under its name",
      );
    }
  }
}

function toOptions(values: Values): InstallOptions {
  const text = (name: string): string | undefined => {
    const value = values.get(name);
    return typeof value === "string" ? value : undefined;
  };
  return {
    ...readProfile(text("profile")),
    ...present({
      hostRoot: text("host-root"),
      binDir: text("cni-bin-dir"),
      confDir: text("cni-conf-dir"),
      autoconfDir: text("multus-autoconfig-dir"),
      confFile: text("multus-conf-file"),
      daemonConfig: text("daemon-config"),
      shimFile: text("multus-bin-file"),
      pluginDir: text("plugin-dir"),
    }),
    keys: keysOf(values),
    renamesConfFile: values.get("rename-conf-file") === true,
    skipsPrograms: values.get("skip-multus-binary-copy") === true,
    plugins: text("plugins")?.split(",") ?? [],
    notes: notesOf(values),
  };
}

function readProfile(
  value: string | undefined,
): Pick<InstallOptions, "distribution" | "profileFile"> {
  if (value === undefined) return {};
  if (isDistribution(value)) return { distribution: value };
  if (ABSOLUTE_PATH.test(value)) return { profileFile: value };
  throw wrong(
    "profile",
    "kubeadm, k3s, rke2, k0s, talos, crio, or the absolute path of a profile",
    value,
  );
}

function keysOf(values: Values): Record<string, string | boolean> {
  const keys: Record<string, string | boolean> = {};
  for (const { name, key } of SPECS) {
    const value = values.get(name);
    if (key !== undefined && value !== undefined) keys[key] = value;
  }
  return keys;
}

function notesOf(values: Values): string[] {
  const notes: string[] = [];
  if (values.get("restart-crio") === true) {
    notes.push(
      "--restart-crio: CRI-O is not restarted, which a container without the host's privileges cannot and need not do: it watches its configuration directory. Where one does not take 00-multus.conf up, run on the node: systemctl restart crio",
    );
  }
  const hasGenerator = values.get("multus-conf-file") === "auto" ||
    values.has("daemon-config");
  const idle = SPECS.filter(({ name, key }) =>
    key !== undefined && !GENERATOR_KEYS.includes(key) && values.has(name)
  );
  if (!hasGenerator && idle.length > 0) {
    const names = idle.map(({ name }) => `--${name}`).join(", ");
    notes.push(
      `${names}: without --multus-conf-file=auto or --daemon-config nothing is written that could say so`,
    );
  }
  if (
    values.get("cleanup-config-on-exit") === true &&
    !values.has("daemon-config")
  ) {
    notes.push(
      '--cleanup-config-on-exit: this command ends at once, it is the daemon that stays: set "cleanupConfigOnExit" in its configuration, or name that with --daemon-config',
    );
  }
  return notes;
}
