/**
 * What a runtime gives a plugin in the environment: the CNI variables, which of
 * them a command needs, what they may hold, and the pairs of CNI_ARGS (CNI
 * specification, "Parameters"). The configuration on stdin is carried along
 * unread.
 *
 * @module
 */

import { CniError, ErrorCode, quote } from "./error.ts";
import type { Command } from "./version.ts";

/** What a plugin is called with. Variables that the command does not know are empty. */
export interface CmdArgs {
  /** CNI_COMMAND. */
  readonly command: Command;
  /** CNI_CONTAINERID. */
  readonly containerId: string;
  /** CNI_NETNS; may be empty for DEL. */
  readonly netns: string;
  /** CNI_IFNAME. */
  readonly ifname: string;
  /** CNI_ARGS as given. */
  readonly args: string;
  /** CNI_PATH as given: directories with colons between. */
  readonly path: string;
  /** The configuration. */
  readonly stdin: string;
}

/** Reads one variable of an environment. */
export type Env = (name: string) => string | undefined;

/** The pairs of CNI_ARGS, in their order. */
export type CniArgs = readonly (readonly [key: string, value: string])[];

interface Needs {
  readonly required: readonly string[];
  readonly optional: readonly string[];
}

/** Which variables a command needs, and which others it knows. */
const NEEDS: Readonly<Record<Command, Needs>> = {
  ADD: {
    required: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"],
    optional: ["CNI_ARGS"],
  },
  CHECK: {
    required: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"],
    optional: ["CNI_ARGS"],
  },
  DEL: {
    required: ["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"],
    optional: ["CNI_NETNS", "CNI_ARGS"],
  },
  GC: { required: ["CNI_PATH"], optional: ["CNI_ARGS"] },
  STATUS: { required: ["CNI_PATH"], optional: ["CNI_ARGS"] },
  VERSION: { required: [], optional: [] },
};

/** Container IDs and network names become file names, so they cannot name another directory. */
const IDENTIFIER = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;

/** IFNAMSIZ of the kernel, without the final zero. */
const IFNAME_BYTES_MAX = 15;

const IFNAME_FORBIDDEN = /[\s\u0085\0/:]/u;

/**
 * Reads what a runtime asks for.
 *
 * @throws {CniError} with code 4, naming each variable that is missing or invalid
 */
export function readCmdArgs(env: Env, stdin: string): CmdArgs {
  const command = readCommand(env("CNI_COMMAND") ?? "");
  const { required, optional } = NEEDS[command];
  const known = [...required, ...optional];
  const values = new Map(known.map((name) => [name, env(name) ?? ""]));
  const faults = known.flatMap((name) =>
    faultsOf(name, values.get(name) ?? "", required.includes(name))
  );
  if (faults.length > 0) {
    throw new CniError(
      ErrorCode.invalidEnvironment,
      `Invalid environment for ${command}: ${faults.join(", ")}`,
    );
  }
  return {
    command,
    containerId: values.get("CNI_CONTAINERID") ?? "",
    netns: values.get("CNI_NETNS") ?? "",
    ifname: values.get("CNI_IFNAME") ?? "",
    args: values.get("CNI_ARGS") ?? "",
    path: values.get("CNI_PATH") ?? "",
    stdin,
  };
}

/**
 * Checks a container ID.
 *
 * @throws {CniError} with code 4 if it is not one
 */
export function assertContainerId(value: string): void {
  if (IDENTIFIER.test(value)) return;
  throw new CniError(
    ErrorCode.invalidEnvironment,
    `Invalid container ID (letters, digits, "_", "." and "-"): ${quote(value)}`,
  );
}

/**
 * Checks the name of a network interface.
 *
 * @throws {CniError} with code 4 if the kernel would not take it
 */
export function assertInterfaceName(value: string): void {
  if (isInterfaceName(value)) return;
  throw new CniError(
    ErrorCode.invalidEnvironment,
    `Invalid interface name (1 to ${IFNAME_BYTES_MAX} bytes, no "/", ":" or white space): ${
      quote(value)
    }`,
  );
}

/**
 * Checks the name of a network.
 *
 * @throws {CniError} with code 7 if it is not one
 */
export function assertNetworkName(value: string): void {
  if (IDENTIFIER.test(value)) return;
  throw new CniError(
    ErrorCode.invalidNetworkConfig,
    `Invalid network name (letters, digits, "_", "." and "-"): ${quote(value)}`,
  );
}

/**
 * Reads the pairs of CNI_ARGS; a value may hold "=".
 *
 * @throws {CniError} with code 4 if a part is not KEY=VALUE
 */
export function parseCniArgs(text: string): CniArgs {
  if (text === "") return [];
  return text.split(";").map((pair) => {
    const at = pair.indexOf("=");
    if (at > 0) return [pair.slice(0, at), pair.slice(at + 1)];
    throw new CniError(
      ErrorCode.invalidEnvironment,
      `CNI_ARGS must be KEY=VALUE with semicolons between: ${quote(pair)}`,
    );
  });
}

/**
 * Writes pairs as CNI_ARGS.
 *
 * @throws {CniError} with code 4 if a key or value would be read as something else
 */
export function formatCniArgs(args: CniArgs): string {
  return args.map(([key, value]) => {
    if (/^[^=;\0]+$/.test(key) && !/[;\0]/.test(value)) {
      return `${key}=${value}`;
    }
    throw new CniError(
      ErrorCode.invalidEnvironment,
      `A pair of CNI_ARGS must be KEY=VALUE without semicolon: ${
        quote(`${key}=${value}`)
      }`,
    );
  }).join(";");
}

function readCommand(value: string): Command {
  if (Object.hasOwn(NEEDS, value)) return value as Command;
  throw new CniError(
    ErrorCode.invalidEnvironment,
    value === ""
      ? "Invalid environment: CNI_COMMAND is missing"
      : `Invalid environment: CNI_COMMAND is unknown: ${quote(value)}`,
  );
}

function faultsOf(name: string, value: string, isRequired: boolean): string[] {
  if (value === "") return isRequired ? [`${name} is missing`] : [];
  const isValid = name === "CNI_CONTAINERID"
    ? IDENTIFIER.test(value)
    : name === "CNI_IFNAME"
    ? isInterfaceName(value)
    : !value.includes("\0");
  return isValid ? [] : [`${name} is invalid: ${quote(value)}`];
}

function isInterfaceName(value: string): boolean {
  const bytes = new TextEncoder().encode(value).length;
  return bytes >= 1 && bytes <= IFNAME_BYTES_MAX && value !== "." &&
    value !== ".." && !IFNAME_FORBIDDEN.test(value);
}
