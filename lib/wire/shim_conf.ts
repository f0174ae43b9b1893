/**
 * The few keys of the network configuration that the shim itself goes by: the version, where the daemon is, and
 * how long to wait for it. Everything else is the daemon's to read; the bytes go there untouched.
 *
 * @module
 */

import {
  DEFAULT_CNI_DIR,
  DEFAULT_SOCKET_DIR,
  socketPathIn,
  spoolDirIn,
} from "./places.ts";

/** What the shim goes by. */
export interface ShimConf {
  /** Empty when the configuration has none. */
  readonly cniVersion: string;
  /** The daemon's socket in `daemonSocketDir`. */
  readonly socketPath: string;
  /** The spool directory in `cniDir`. */
  readonly spoolDir: string;
  /** `shimWaitSeconds`: how long an ADD waits for a daemon that is not there. */
  readonly addWaitMs: number;
  /** The plugin type that the configuration is for. */
  readonly type: string;
  /** What the plugin before gave; undefined when there is none. */
  readonly prevResult: unknown;
}

/** A node that boots has its daemon within this, or something is wrong that waiting does not cure. */
const WAIT_SECONDS = 60;

/** Upper bound of `shimWaitSeconds`: less than the 4 minutes that the kubelet gives a sandbox to start. */
const WAIT_SECONDS_MAX = 200;

/** A message quotes no more of a value than this. */
const QUOTED_LENGTH_MAX = 48;

/**
 * Reads the keys from the text of a configuration.
 *
 * @throws {SyntaxError} If the text is not a JSON object
 * @throws {TypeError} If a key has the wrong type
 * @throws {RangeError} If a key's value is not a possible one
 */
export function readShimConf(text: string): ShimConf {
  const conf = parseObject(text);
  return {
    cniVersion: readText(conf, "cniVersion"),
    socketPath: socketPathIn(
      readDir(conf, "daemonSocketDir", DEFAULT_SOCKET_DIR),
    ),
    spoolDir: spoolDirIn(readDir(conf, "cniDir", DEFAULT_CNI_DIR)),
    addWaitMs: readWait(conf) * 1000,
    type: typeof conf.type === "string" ? conf.type : "",
    prevResult: conf.prevResult ?? undefined,
  };
}

type Conf = Readonly<Record<string, unknown>>;

function parseObject(text: string): Conf {
  if (text.trim() === "") {
    throw new SyntaxError("Network configuration is missing: stdin is empty");
  }
  let conf: unknown;
  try {
    conf = JSON.parse(text);
  } catch (cause) {
    // V8's own message would show a piece of the configuration.
    const position = / at position \d+/.exec(String(cause))?.[0] ?? "";
    throw new SyntaxError(
      `Network configuration on stdin is not JSON${position}`,
      { cause },
    );
  }
  if (typeof conf === "object" && conf !== null && !Array.isArray(conf)) {
    return conf as Conf;
  }
  throw new SyntaxError("Network configuration on stdin is not a JSON object");
}

function readText(conf: Conf, key: string): string {
  const value = conf[key] ?? "";
  if (typeof value === "string") return value;
  throw new TypeError(
    `${key} of the network configuration is not text: ${show(value)}`,
  );
}

function readDir(conf: Conf, key: string, fallback: string): string {
  const dir = readText(conf, key) || fallback;
  if (dir.startsWith("/") && !dir.includes("\0")) return dir;
  throw new RangeError(
    `${key} of the network configuration is not an absolute path: ${show(dir)}`,
  );
}

function readWait(conf: Conf): number {
  const seconds = conf.shimWaitSeconds ?? WAIT_SECONDS;
  if (typeof seconds !== "number") {
    throw new TypeError(
      `shimWaitSeconds of the network configuration is not a number: ${
        show(seconds)
      }`,
    );
  }
  if (seconds >= 0 && seconds <= WAIT_SECONDS_MAX) return seconds;
  throw new RangeError(
    `shimWaitSeconds of the network configuration is not within 0 and ${WAIT_SECONDS_MAX}: ${seconds}`,
  );
}

function show(value: unknown): string {
  return (JSON.stringify(value) ?? "").slice(0, QUOTED_LENGTH_MAX);
}
