/**
 * The one seam between CNI and processes: finding a plugin's file and running it once. It leaves alone
 * what is said on stdin and stdout (`list.ts`) and knows two ways only by their common interface:
 * directly (here), and inside the host's root (`lib/host/host_root_exec.ts`).
 *
 * CNI specification 1.1.0, section 2 "Execution Protocol".
 *
 * @module
 */

import { CniError, ErrorCode } from "./error.ts";
import {
  OutputTooLargeError,
  type ProcessOutcome,
  ProcessTimeoutError,
  runProcess,
} from "./process.ts";

/** One run of one plugin. */
export interface PluginCall {
  /** The plugin's file, as `findInPath` gave it. */
  readonly path: string;
  /** Set in addition to what the process inherits. */
  readonly env: Readonly<Record<string, string>>;
  /** The whole of its input. */
  readonly stdin: string;
  /** The plugin, and what it forked, is ended when this is aborted. */
  readonly signal: AbortSignal;
  /** How long it may take, in milliseconds, before it is ended; as long as it likes, if left out. */
  readonly timeoutMs?: number;
  /** Called when a process has been started, for what can be done while it runs; must not throw. */
  readonly onStart?: () => void;
}

/** How a plugin ended, and what it said. */
export type PluginOutcome = ProcessOutcome;

/** Finds and runs plugins. */
export interface Exec {
  /**
   * The first regular, executable file of that name in the directories.
   *
   * @throws {CniError} 7 when there is none, naming type and directories; 999 when this process may not run it
   */
  findInPath(type: string, dirs: readonly string[]): Promise<string>;
  /**
   * Runs it until it has exited, however it exits.
   *
   * @throws {PluginBusyError} the file is just being replaced
   * @throws {CniError} it could not be started, or printed more than a result can be
   * @throws {ProcessTimeoutError} its own time was up, and it was ended
   * @throws the signal's reason, after the plugin was ended
   */
  run(call: PluginCall): Promise<PluginOutcome>;
}

/** A plugin's file is open for writing (ETXTBSY), as while it is being installed: worth another try. */
export class PluginBusyError extends CniError {
  /** For logs. */
  override readonly name = "PluginBusyError";

  /** Names the plugin by the last part of its path. */
  constructor(path: string, options?: { cause?: unknown }) {
    super(
      ErrorCode.tryAgainLater,
      `plugin ${nameOf(path)} is being replaced: text file busy`,
      options,
    );
  }
}

/** What an Exec may be told. */
export interface DirectExecOptions {
  /** The program `delegate-exec`, run as `delegate-exec end PID`; without it only the plugin itself can be ended, not what it forked. */
  readonly endDelegate?: string;
  /** How much it may print, in bytes. */
  readonly stdoutBytesMax?: number;
  /** How much of the end of a plugin's standard error is kept, in bytes. */
  readonly stderrBytesMax?: number;
}

/**
 * Runs plugins as children of this process, in its own root.
 *
 * Needs `--allow-read` for the plugin directories (a grant of the directory also covers links in it,
 * wherever they lead), and `--allow-run` for each plugin by the path in its directory (`DIR/TYPE`: for
 * a symbolic link the link, not its target) and for `endDelegate`.
 */
export function createDirectExec(options: DirectExecOptions): Exec {
  // This process gives no grant back: what was granted stays so.
  const granted = new Set<string>();
  return {
    findInPath: async (type, dirs) => {
      const path = await findPlugin(type, { dirs, isExecutable });
      if (!granted.has(path)) assertGranted(path);
      granted.add(path);
      return path;
    },
    run: (call) => runPlugin(call, options),
  };
}

/**
 * Looks for a plugin in one directory after the other; what counts as executable is the caller's. A
 * directory that this process may not look into is passed over, and named when there is no such plugin:
 * CNI_PATH is the runtime's, the grants are the operator's.
 *
 * @throws {CniError} 7 when it is in none of them, or is not a plain name
 */
export async function findPlugin(
  type: string,
  { dirs, isExecutable }: {
    dirs: readonly string[];
    isExecutable: (path: string) => boolean | Promise<boolean>;
  },
): Promise<string> {
  if (type === "" || type.includes("/") || type.includes("\0")) {
    throw new CniError(
      ErrorCode.invalidNetworkConfig,
      `plugin type is not a file name: ${JSON.stringify(type)}`,
    );
  }
  const closed: string[] = [];
  for (const dir of dirs) {
    const path = dir.endsWith("/") ? dir + type : `${dir}/${type}`;
    try {
      if (dir !== "" && await isExecutable(path)) return path;
    } catch (error) {
      if (!(error instanceof Deno.errors.NotCapable)) throw error;
      closed.push(dir);
    }
  }
  const where = dirs.join(", ") || "an empty CNI_PATH";
  const hint = closed.length === 0
    ? ""
    : ` (not granted to this process: ${closed.join(", ")})`;
  throw new CniError(
    ErrorCode.invalidNetworkConfig,
    `plugin ${type} is not installed: no such executable file in ${where}${hint}`,
  );
}

/** Whether that is a regular file with an executable bit; a file that cannot be looked at is none. */
export function isExecutableFile(info: Deno.FileInfo): boolean {
  return info.isFile && ((info.mode ?? 0) & 0o111) !== 0;
}

/**
 * Runs a plugin, or a program that stands in for it, and names the plugin in what goes wrong.
 *
 * Needs `--allow-run` for the path and for `endDelegate`.
 *
 * @throws see `Exec.run`
 */
export async function runPlugin(
  call: PluginCall & { readonly args?: readonly string[] },
  options: DirectExecOptions & {
    readonly plugin?: string;
  },
): Promise<PluginOutcome> {
  const plugin = options.plugin ?? call.path;
  try {
    return await runProcess(call, options);
  } catch (error) {
    if (call.signal.aborted && error === call.signal.reason) throw error;
    if (error instanceof ProcessTimeoutError) throw error;
    throw toStartError(error, plugin);
  }
}

/** Known before anything is run: then nothing has to be undone by a plugin that cannot be. */
function assertGranted(path: string): void {
  const permission = { name: "run", command: path } as const;
  const { state } = Deno.permissions.querySync(permission);
  if (state !== "granted") throw notGranted(path);
}

function notGranted(path: string, options?: { cause: unknown }): CniError {
  return new CniError(
    ErrorCode.internal,
    `plugin ${
      nameOf(path)
    } is not among the programs granted to this process: ${path}`,
    options,
  );
}

/** A look into the kernel's own cache: a turn of the thread pool would take ten times as long. */
function isExecutable(path: string): boolean {
  try {
    return isExecutableFile(Deno.statSync(path));
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw error;
    return false; // Not there, not to be reached, or a link in a circle: the next directory may have it.
  }
}

function toStartError(error: unknown, path: string): CniError {
  const plugin = nameOf(path);
  const message = error instanceof Error ? error.message : String(error);
  if (message.includes("(os error 26)")) {
    return new PluginBusyError(path, { cause: error });
  }
  if (error instanceof OutputTooLargeError) {
    return new CniError(
      ErrorCode.decodingFailure,
      `plugin ${plugin} printed more than ${error.bytesMax} bytes and was ended`,
      { cause: error },
    );
  }
  if (error instanceof Deno.errors.NotCapable) {
    return notGranted(path, { cause: error });
  }
  const reason = message.replace(/^Failed to spawn '.*': /s, "");
  return new CniError(
    ErrorCode.ioFailure,
    `plugin ${plugin} could not be started: ${reason}`,
    { cause: error },
  );
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}
