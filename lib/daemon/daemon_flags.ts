/**
 * The daemon's command line. Flags are written as Go programs take them: one
 * dash or two, the value behind `=` or as the next argument, booleans alone or
 * with `=`. Each flag but a few overrides one key of the configuration.
 *
 * It reads nothing but its arguments and prints nothing.
 *
 * @module
 */
import {
  Command,
  CommanderError,
  InvalidArgumentError,
  Option,
} from "commander";
import { DEFAULT_DAEMON_CONFIG } from "./configuration.ts";

/** What the command line says. */
export interface DaemonFlags {
  /** The configuration's file. */
  readonly configPath: string;
  /** Whether the path was asked for, and is not the default. */
  readonly isConfigGiven: boolean;
  /** Keys of the configuration with the values that replace what the file says. */
  readonly overrides: Readonly<Record<string, string | number | boolean>>;
}

/** What the command line asks for: to run, or to print a text and end well. */
export type FlagsOutcome =
  | { readonly kind: "run"; readonly flags: DaemonFlags }
  | { readonly kind: "print"; readonly text: string };

/** A command line that cannot be understood. */
export class UsageError extends Error {
  /** The name of the class. */
  override readonly name = "UsageError";
}

/** No flags at all. */
export const NO_FLAGS: DaemonFlags = {
  configPath: DEFAULT_DAEMON_CONFIG,
  isConfigGiven: false,
  overrides: {},
};

interface FlagSpec {
  readonly flag: string;
  /** The key that it overrides. */
  readonly key: string;
  readonly value: "text" | "port" | "bool";
  readonly help: string;
}

const PORT_MAX = 65_535;

// Wide enough for the longest flag and a sentence, on any terminal.
const HELP_WIDTH = 100;

const FLAGS: readonly FlagSpec[] = [
  {
    flag: "metricsPort",
    key: "metricsPort",
    value: "port",
    help: "serve metrics on this port",
  },
  {
    flag: "socket-dir",
    key: "socketDir",
    value: "text",
    help: "serve multus.sock in this directory",
  },
  {
    flag: "cni-conf-dir",
    key: "cniConfigDir",
    value: "text",
    help: "write 00-multus.conf into this directory",
  },
  {
    flag: "cni-version",
    key: "cniVersion",
    value: "text",
    help: "cniVersion of the generated configuration",
  },
  {
    flag: "multus-conf-file",
    key: "multusConfigFile",
    value: "text",
    help: '"auto" to generate 00-multus.conf, or a file to copy',
  },
  {
    flag: "multus-autoconfig-dir",
    key: "multusAutoconfigDir",
    value: "text",
    help: "look for the default network's configuration here",
  },
  {
    flag: "multus-master-cni-file-name",
    key: "multusMasterCNI",
    value: "text",
    help: "use this file as the default network, no other",
  },
  {
    flag: "multus-log-level",
    key: "logLevel",
    value: "text",
    help: "debug, verbose, error or panic",
  },
  {
    flag: "multus-log-file",
    key: "logFile",
    value: "text",
    help: "log into this file",
  },
  {
    flag: "multus-log-to-stderr",
    key: "logToStderr",
    value: "bool",
    help: "log to stderr",
  },
  {
    flag: "namespace-isolation",
    key: "namespaceIsolation",
    value: "bool",
    help: "let pods use networks of their own namespace only",
  },
  {
    flag: "global-namespaces",
    key: "globalNamespaces",
    value: "text",
    help: "namespaces whose networks all pods may use, with commas",
  },
  {
    flag: "readiness-indicator-file",
    key: "readinessindicatorfile",
    value: "text",
    help: "wait for this file of the default network",
  },
  {
    flag: "override-network-name",
    key: "overrideNetworkName",
    value: "bool",
    help: "give the generated configuration the default network's name",
  },
  {
    flag: "force-cni-version",
    key: "forceCNIVersion",
    value: "bool",
    help: "use --cni-version also where the default network's is another",
  },
];

const EXAMPLES = `
Flags take one dash or two, and their value behind "=" or as the next argument.

Examples:
  multus-daemon --config /etc/cni/net.d/multus.d/daemon-config.json
  multus-daemon -multus-conf-file=auto -multus-log-level=verbose`;

/**
 * Reads the command line, program name not included. `version` is what `--version` prints.
 *
 * @throws {UsageError} With one line that names the flag.
 */
export function parseDaemonFlags(
  args: readonly string[],
  { version }: { readonly version: string },
): FlagsOutcome {
  let text = "";
  const command = createCommand(version, (output) => text += output);
  try {
    command.parse(toLongFlags(args), { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return { kind: "print", text: text.trimEnd() };
    throw new UsageError(describe(error, command.args), { cause: error });
  }
  return { kind: "run", flags: readFlags(command.opts()) };
}

function createCommand(
  version: string,
  write: (output: string) => void,
): Command {
  const command = new Command("multus-daemon")
    .description("Gives pods more than one network. Runs until it is stopped.")
    .usage("[flags]")
    .version(`multus-daemon ${version}`, "--version", "print the version")
    .helpOption("-h, --help", "print this help")
    .addHelpText("after", EXAMPLES)
    .exitOverride()
    .configureHelp({ helpWidth: HELP_WIDTH })
    // Without these it asks the environment and the terminal, which are not ours to read.
    .configureOutput({
      writeOut: write,
      writeErr: (): void => {},
      getOutHasColors: (): boolean => false,
      getErrHasColors: (): boolean => false,
    })
    .optionsGroup("Flags:")
    .option("--config <file>", `configuration (${DEFAULT_DAEMON_CONFIG})`);
  command.optionsGroup("Flags that override a key of the configuration:");
  for (const spec of FLAGS) command.addOption(toOption(spec));
  return command;
}

function toOption({ flag, key, value, help }: FlagSpec): Option {
  const shown = value === "bool" ? "true|false" : value;
  const option = new Option(`--${flag} <${shown}>`, `${help} (${key})`);
  if (value === "bool") return option.argParser(parseBoolean);
  if (value === "port") return option.argParser(parsePort);
  return option;
}

const FLAG = /^--?([a-zA-Z][\w-]*)(=.*)?$/s;

/** Gives each flag two dashes, and booleans that stand alone their value. */
function toLongFlags(args: readonly string[]): string[] {
  const out: string[] = [];
  let isValue = false;
  for (const arg of args) {
    const parts: readonly string[] = isValue ? [] : FLAG.exec(arg) ?? [];
    const [, name = "", rest] = parts;
    const isFlag = name !== "" && name !== "h";
    out.push(isFlag ? `--${name}${rest ?? aloneValue(name)}` : arg);
    isValue = isFlag && rest === undefined && takesValue(name);
  }
  return out;
}

function specOf(name: string): FlagSpec | undefined {
  return FLAGS.find(({ flag }) => flag === name);
}

function aloneValue(name: string): string {
  return specOf(name)?.value === "bool" ? "=true" : "";
}

function takesValue(name: string): boolean {
  const spec = specOf(name);
  return name === "config" || (spec !== undefined && spec.value !== "bool");
}

function readFlags(values: Readonly<Record<string, unknown>>): DaemonFlags {
  const overrides: Record<string, string | number | boolean> = {};
  for (const spec of FLAGS) {
    const value = values[toOption(spec).attributeName()];
    if (
      typeof value === "string" || typeof value === "number" ||
      typeof value === "boolean"
    ) overrides[spec.key] = value;
  }
  const { config } = values;
  return {
    configPath: typeof config === "string" ? config : DEFAULT_DAEMON_CONFIG,
    isConfigGiven: typeof config === "string",
    overrides,
  };
}

/** The words that Go's flags take. */
function parseBoolean(value: string): boolean {
  if (["1", "t", "T", "true", "TRUE", "True"].includes(value)) return true;
  if (["0", "f", "F", "false", "FALSE", "False"].includes(value)) return false;
  throw new InvalidArgumentError("Expected true or false");
}

function parsePort(value: string): number {
  const port = /^\d{1,5}$/.test(value) ? Number(value) : Infinity;
  if (port <= PORT_MAX) return port;
  throw new InvalidArgumentError(
    `Expected a whole number from 0 to ${PORT_MAX}`,
  );
}

/** Commander's message in our form: one line, sentence case, no full stop. */
function describe(error: CommanderError, rest: readonly string[]): string {
  if (error.code === "commander.excessArguments") {
    return `Unexpected argument (the value of a true or false flag stands behind "="): ${
      rest.join(" ")
    }`;
  }
  const text = error.message.replace(/^error: /, "").replaceAll("\n", " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}
